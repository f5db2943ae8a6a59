"""What the experiments of the fast-weights chapter train, and how they judge it. The rows are in test_experiments."""

import dataclasses

import pandas as pd
import pytest
import torch

from workedpapers.experiments.fast_weights import (
    LEARNING_RATES,
    LONG_RATES,
    LONG_SEARCH,
    MODELS,
    SEARCH,
    WITHOUT_MEMORY,
    WITHOUT_MEMORY_SEARCH,
    Retrieval,
    RetrievalNetwork,
    evaluate,
    race,
    scoreboard,
    train,
)
from workedpapers.experiments.fast_weights.retrieval import _fresh
from workedpapers.experiments.fast_weights.table import _claim
from workedpapers.lab import Experiment, missing, sweep
from workedpapers.tasks.retrieval import Strings, associative_retrieval

CPU = torch.device("cpu")


def best(search: Experiment, arms: list[str], chosen: list[str]) -> dict:
    """What a search chose for each arm: the lowest validation error at the end."""
    assert missing(search, "book") == []  # a test trains none of these
    rows = sweep(search, "book", n_jobs=1)
    rows["final"] = rows["validation_error"].str[-1]
    winners = rows.loc[rows.groupby(arms)["final"].idxmin()].set_index(arms)[chosen]
    return winners[chosen[0]].to_dict() if len(chosen) == 1 else winners.to_dict("index")


def test_the_learning_rates_are_what_the_search_chose():
    assert best(SEARCH, ["model"], ["learning_rate"]) == LEARNING_RATES


def test_the_rates_of_the_longer_runs_are_what_their_search_chose():
    assert best(LONG_SEARCH, ["model", "hidden_size", "falling"], ["learning_rate"]) == LONG_RATES


def test_the_networks_without_memory_start_as_their_search_chose():
    found = best(WITHOUT_MEMORY_SEARCH, ["norm_preliminary"], ["recurrent_scale", "learning_rate"])
    for config in WITHOUT_MEMORY.configs("book"):
        assert config.inner_steps == 0
        assert found[config.norm_preliminary] == {
            "recurrent_scale": config.recurrent_scale,
            "learning_rate": config.learning_rate,
        }


def test_a_falling_rate_ends_at_zero_and_a_constant_one_stays(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def spy(optimizer, *args, **kwargs):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    small = Retrieval(pairs=1, hidden_size=4, updates=4, evaluate_every=4, learning_rate=8e-3)
    train(small, 0, CPU)
    train(dataclasses.replace(small, falling=True), 0, CPU)
    assert rates == pytest.approx([8e-3] * 4 + [8e-3, 6e-3, 4e-3, 2e-3])


def test_fresh_strings_are_other_strings_in_every_batch():
    stream = _fresh(4, 0, CPU)
    first, second = next(stream), next(stream)
    assert first.tokens.shape == (128, 11)
    assert not torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.tokens, next(_fresh(4, 0, CPU)).tokens)
    seen = {tuple(row) for row in associative_retrieval(4, "train").tokens.tolist()}
    assert not seen & {tuple(row) for row in first.tokens.tolist()}


@pytest.mark.parametrize("model", ["irnn", "fast_weights"])
def test_the_start_of_the_recurrent_matrix_can_be_set(model):
    network = RetrievalNetwork(Retrieval(model=model, hidden_size=8, recurrent_scale=0.25))
    (matrix,) = [value for name, value in network.recurrent.named_parameters() if "weight_hh" in name]
    assert torch.equal(matrix, 0.25 * torch.eye(8))


@pytest.mark.parametrize("model", MODELS)
def test_a_network_maps_tokens_to_ten_logits_of_the_last_step(model):
    network = RetrievalNetwork(Retrieval(model=model, hidden_size=8))
    tokens = torch.randint(37, (5, 11))
    logits = network(tokens)
    assert logits.shape == (5, 10)
    # The same without the table of expanded symbols.
    outputs, _ = network.recurrent(torch.relu(network.expand(network.embedding(tokens))))
    torch.testing.assert_close(logits, network.head(outputs[:, -1]))


def test_the_irnn_starts_from_half_the_identity():
    network = RetrievalNetwork(Retrieval(model="irnn", hidden_size=8))
    assert torch.equal(network.recurrent.weight_hh_l0, 0.5 * torch.eye(8))


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="model must be fast_weights, lstm or irnn, got 'gru'"):
        RetrievalNetwork(Retrieval(model="gru"))


def test_evaluation_counts_errors_and_averages_nats_over_all_strings():
    class Knows(torch.nn.Module):
        def forward(self, tokens):
            return 3.0 * torch.nn.functional.one_hot(tokens[:, 0] % 10, 10)

    tokens = torch.arange(2500).unsqueeze(1)
    targets = torch.where(tokens[:, 0] < 500, (tokens[:, 0] + 1) % 10, tokens[:, 0] % 10)
    error, nats = evaluate(Knows(), Strings(tokens, targets), CPU)
    partition = torch.tensor([3.0] + 9 * [0.0]).logsumexp(0).item()
    assert error == pytest.approx(20)
    assert nats == pytest.approx(partition - 3 * 0.8, rel=1e-5)


def test_a_run_ends_at_its_target_or_at_its_cap():
    small = Retrieval(pairs=1, hidden_size=20, updates=120, evaluate_every=40)
    easy = train(dataclasses.replace(small, target_error=95.0), 0, CPU)
    assert easy["updates_done"] == 40
    capped = train(dataclasses.replace(small, updates=50), 0, CPU)
    assert capped["curve_updates"] == [40, 50]
    assert capped["updates_done"] == 50


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(Retrieval(pairs=1, hidden_size=4, updates=2, evaluate_every=2), 0, CPU)
    assert torch.equal(torch.rand(1), expected)


def test_the_scoreboard_compares_with_the_papers_table_one():
    claims = {claim.claim: claim for claim in scoreboard()}
    assert claims["Fast weights, 20 units: test error (%)"].paper == 1.81
    assert claims["LSTM, 50 units: test error (%)"].paper == 1.85
    assert len(claims) == 9


@pytest.mark.parametrize(
    ("paper", "runs", "verdict"),
    [
        (1.8, (4.9, 3.0), "holds"),
        (60.2, (62.2, 61.0), "holds"),
        (1.8, (0.6, 2.8, 10.1), "holds in part"),
        (1.8, (4.0, 9.0), "not reached"),
        (0.3, (61.7, 61.6), "not reached"),
        (60.8, (9.0, 11.0), "fails"),
        (60.8, (2.0, 1.0), "fails"),
    ],
)
def test_a_claim_is_judged_by_whether_a_model_solves_the_task_or_rests_on_the_plateau(paper, runs, verdict):
    claim = _claim("lstm", 20, paper, runs)
    assert claim.verdict == verdict
    assert bool(claim.cause) == (verdict != "holds")


def test_a_race_counts_a_run_that_did_not_reach_its_target_as_late():
    rows = pd.DataFrame(
        {
            "write": ["after"] * 3 + ["delayed"] * 3,
            "target_error": 1.0,
            "validation_error": [[9.0, 1.0], [0.5], [30.0, 2.0], [0.9], [50.0], [40.0]],
            "updates_done": [500, 250, 10_000, 250, 10_000, 10_000],
            "test_error": [1.1, 0.6, 2.5, 0.8, 50.0, 41.0],
        }
    )
    assert race(rows, ["write"]).to_dict("records") == [
        {
            "write": "after",
            "reached 1%": "2 of 3",
            "updates until then (median)": "500",
            "error of the others (%)": "2.5",
        },
        {
            "write": "delayed",
            "reached 1%": "1 of 3",
            "updates until then (median)": "not reached",
            "error of the others (%)": "45.5",
        },
    ]
