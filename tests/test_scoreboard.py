"""Claims and their table."""

import pytest

from workedpapers.lab import Claim, judge, scoreboard_table


def test_a_claim_averages_its_runs():
    claim = Claim("error (%)", 1.8, (1.0, 2.0, 3.0), "book", "holds")
    assert claim.ours == 2
    assert claim.spread == 1


def test_the_table_shows_paper_and_ours_side_by_side():
    row = scoreboard_table([Claim("error (%)", 1.8, (1.0, 2.0), "book", "not reached", "fewer updates")]).iloc[0]
    assert row.to_dict() == {
        "claim": "error (%)",
        "paper": "1.8",
        "ours (mean ± sd)": "1.50 ± 0.71",
        "seeds": 2,
        "scale": "book",
        "verdict": "not reached",
        "cause of the gap": "fewer updates",
    }


def test_a_finding_without_a_number_is_shown_in_words():
    claim = Claim("error, ours less theirs (points)", "below 0", (-1.0, -2.0), "book", "holds")
    assert scoreboard_table([claim]).iloc[0]["paper"] == "below 0"


def test_a_claim_needs_runs_and_a_gap_needs_a_cause():
    with pytest.raises(ValueError, match=r"claim 'error \(%\)' has no runs"):
        Claim("error (%)", 1.8, (), "book", "holds")
    with pytest.raises(ValueError, match="has the verdict 'fails' and names no cause"):
        Claim("error (%)", 1.8, (9.0,), "book", "fails")


@pytest.mark.parametrize(
    ("differences", "sign", "verdict"),
    [
        ((-1.0, -2.0), -1, "holds"),
        ((1.0, 2.0), 1, "holds"),
        ((1.0, -2.0), -1, "holds in part"),
        ((2.0, -1.0), -1, "fails"),
        ((-1.0, -2.0), 1, "fails"),
        ((-1.0, 0.0), -1, "holds in part"),
        ((-1.0, 1.0), -1, "fails"),
    ],
)
def test_a_claim_about_a_sign_is_judged_by_every_run_and_by_the_mean(differences, sign, verdict):
    assert judge(differences, sign) == verdict
