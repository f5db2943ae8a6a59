"""What the paper finds, as far as it is run here."""

from collections.abc import Sequence

import pandas as pd

from workedpapers.lab import Claim, judge, missing, sweep

from .dropout import DROPOUT, DROPOUTS
from .longer import LONGER, UPDATES
from .regions import DATA_SETS, OTHERS, SQUARES

TABLES = (SQUARES, OTHERS, DROPOUTS, LONGER)
DISAGREE = "seeds disagree"
#: An arm less another, the sign of that difference in error, and where ours has another sign, why. What is not named
#: is random, square, without dropout, with 1,000 updates and twelve passes.
FINDINGS: list[tuple[str, dict[str, object], dict[str, object], int, str]] = [
    ("squares, 12 passes, less 2×2 pooling with stride two", {}, {"pooling": "max"}, -1, DISAGREE),
    ("squares less disjoint regions", {}, {"overlap": "disjoint"}, -1, DISAGREE),
    (
        "random less pseudorandom",
        {},
        {"pooling": "pseudorandom"},
        -1,
        "possible: too few updates (tested on MNIST)",
    ),
    (
        "random less pseudorandom, with dropout",
        {"dropout": DROPOUT},
        {"dropout": DROPOUT, "pooling": "pseudorandom"},
        1,
        DISAGREE,
    ),
]


def errors(data: str, metric: str = "vote_error", /, **arm: object) -> list[float]:
    """A metric of one arm, by seed.

    Args:
        data: as in the configurations.
        metric: of `train`.
        arm: fields of the configuration; what is not named is random, square, without dropout, 1,000 updates.
    """
    rows = pd.concat([sweep(table, "book", device="cpu") for table in TABLES])
    named = {"data": data, "pooling": "random", "overlap": "square", "dropout": 0.0, "updates": 1_000, **arm}
    for name, value in named.items():
        rows = rows[rows[name] == value]
    return list(rows.sort_values("seed")[metric])


def scoreboard() -> list[Claim]:
    """The paper's findings beside the recorded rows; empty while rows are missing."""
    if any(missing(table, "book") for table in TABLES):
        return []  # this is asked for when the book is built, which must not start to train
    best = f"MNIST: error, random squares, 12 passes, {UPDATES:,} updates (%)"
    cause = "possible, not tested: 1,000 training pictures and 6n filters; the paper has 60,000 and 32n"
    long: dict[str, object] = {"updates": UPDATES}
    claims = [Claim(best, 0.32, tuple(errors("mnist", **long)), "book", "not reached", cause)]
    for name, data in DATA_SETS.items():
        gain = _less(errors(data), errors(data, "test_error"))
        claims.append(_claim(f"{name}: error of 12 passes less that of one (points)", gain, -1, DISAGREE))
        for text, minuend, subtrahend, sign, cause in FINDINGS:
            difference = _less(errors(data, **minuend), errors(data, **subtrahend))
            claims.append(_claim(f"{name}: error, {text} (points)", difference, sign, cause))
    difference = _less(errors("mnist", **long), errors("mnist", pooling="pseudorandom", **long))
    text = f"MNIST, {UPDATES:,} updates: error, random less pseudorandom (points)"
    claims.append(_claim(text, difference, -1, DISAGREE))
    return claims


def _less(minuend: Sequence[float], subtrahend: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(minuend, subtrahend, strict=False)]  # the arms may have five seeds and three


def _claim(text: str, runs: Sequence[float], sign: int, cause: str) -> Claim:
    """A difference that should have a sign: it holds if all runs have it, in part if their mean has.

    Else it is not reached, where the cause names the budget, or fails.
    """
    verdict = judge(runs, sign)
    if verdict == "holds":
        cause = ""
    elif verdict == "fails" and "updates" in cause:
        verdict = "not reached"
    return Claim(text, "below 0" if sign < 0 else "above 0", tuple(runs), "book", verdict, cause)
