"""What the experiments train, and how they judge it. The rows are in test_experiments."""

import pytest
import torch

from workedpapers.experiments.PAPER import TABLE, Follow, scoreboard, train

CPU = torch.device("cpu")


def test_a_trace_that_forgets_at_once_follows_the_walk_exactly():
    assert train(Follow(decay=0.0, steps=20), 0, CPU)["distance"] == pytest.approx(0)


def test_training_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    train(TABLE.configs("check")[0], 0, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_claim_that_does_not_hold_names_a_cause():
    assert all(claim.cause or claim.verdict == "holds" for claim in scoreboard())
