"""Pairs A → B: the laws of the tables, what an intervention changes and keeps, examples from a table."""

import math

import pytest
import torch

from workedpapers.tasks import pairs
from workedpapers.tasks.pairs import INTERVENTIONS, PRIORS, draw_pairs, intervene, random_joint, uniform_table

RUNS, N = 20_000, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def parts(joint):
    """P(A), P(B|A), P(B) and P(A|B), the last with a row for each value of B."""
    cause, effect = joint.sum(-1), joint.sum(-2)
    return cause, joint / cause[..., None], effect, joint.mT / effect[..., None]


def assert_mean(values, expected, errors=4.0):
    """The mean over runs, element by element, within standard errors of what is expected."""
    error = (values.mean(0) - expected).abs() / (values.std(0) / math.sqrt(len(values)))
    assert float(error.max()) < errors


def assert_uniform(vectors, errors=4.0):
    """Vectors (runs, size) are Dirichlet(1): sums, moments up to the third, and the tail of a single element."""
    size = vectors.shape[-1]
    torch.testing.assert_close(vectors.sum(-1), torch.ones(len(vectors), dtype=torch.float64))
    assert float(vectors.min()) > 0
    assert_mean(vectors, 1 / size, errors)
    second = (1 + torch.eye(size, dtype=torch.float64)) / (size * (size + 1))
    assert_mean(vectors[:, :, None] * vectors[:, None, :], second, errors)
    assert_mean(vectors**3, 6 / (size * (size + 1) * (size + 2)), errors)
    assert_mean((vectors > 0.4).double(), 0.6 ** (size - 1), errors)


def assert_unrelated(one, other, errors=4.5):
    """No element of one has a correlation with an element of the other."""
    left, right = (x.flatten(1) - x.flatten(1).mean(0) for x in (one, other))
    assert_mean(left[:, :, None] * right[:, None, :], 0.0, errors)


def test_tables_are_uniform_on_their_simplex():
    assert_uniform(uniform_table(RUNS, 4, generator=seeded()))
    assert uniform_table(2, 3, 4, generator=seeded()).dtype == torch.float64


def test_with_the_prior_of_rows_the_cause_and_every_row_are_uniform_and_unrelated():
    cause, rows, *_ = parts(random_joint(RUNS, N, generator=seeded()))
    assert_uniform(cause)
    for a in range(N):
        assert_uniform(rows[:, a])
        assert_unrelated(rows[:, a, :-1], rows[:, (a + 1) % N, :-1])
    assert_unrelated(cause[:, :-1], rows[:, :, :-1])


def test_with_the_prior_of_cells_all_cells_together_are_uniform():
    assert_uniform(random_joint(RUNS, N, "cells", generator=seeded(1)).flatten(1))


@pytest.mark.parametrize(("prior", "ratio"), [("rows", 2 / (N + 1)), ("cells", 1.0)])
def test_the_effects_marginal_is_flatter_than_the_causes_with_the_prior_of_rows_alone(prior, ratio):
    joint = random_joint(RUNS, N, prior, generator=seeded())
    spread = [(joint.sum(dim) - 1 / N).square() for dim in (-1, -2)]
    assert_mean(spread[1] - ratio * spread[0], 0.0)
    assert_mean(joint, 1 / N**2)


CHANGES = {  # of P(A), P(B|A), P(B), P(A|B): those that stay
    "cause": {1},
    "effect": {0},
    "mechanism": {0},
    "both": set(),
    "mirror": {3},
    "nothing": {0, 1, 2, 3},
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("on", INTERVENTIONS)
def test_an_intervention_keeps_what_it_says_and_changes_the_rest(on, prior):
    before = random_joint(50, N, prior, generator=seeded(1))
    copy = before.clone()
    after = intervene(before, on, generator=seeded(2))
    assert torch.equal(before, copy)
    assert after.shape == before.shape
    torch.testing.assert_close(after.sum((-2, -1)), torch.ones(50, dtype=torch.float64))
    for place, (old, new) in enumerate(zip(parts(before), parts(after), strict=True)):
        moved = (old - new).abs().amax(-1)  # of every vector
        assert float(moved.max() if place in CHANGES[on] else -moved.min()) < (1e-12 if place in CHANGES[on] else 0)


@pytest.mark.parametrize(("on", "place"), [("cause", 0), ("effect", 2), ("both", 0), ("mirror", 2)])
def test_a_new_marginal_is_uniform_and_owes_nothing_to_the_old_one(on, place):
    before = random_joint(RUNS, N, generator=seeded(1))
    old, new = (parts(joint)[place] for joint in (before, intervene(before, on, generator=seeded(2))))
    assert_uniform(new)
    assert_unrelated(old[:, :-1], new[:, :-1])


@pytest.mark.parametrize("on", ["mechanism", "both"])
def test_rows_of_a_new_mechanism_are_uniform_and_owe_nothing_to_the_old_ones(on):
    before = random_joint(RUNS, N, generator=seeded(1))
    old, new = (parts(joint)[1] for joint in (before, intervene(before, on, generator=seeded(2))))
    for a in range(N):
        assert_uniform(new[:, a])
    assert_unrelated(old[:, :, :-1], new[:, :, :-1])


def test_an_effect_that_is_set_does_not_depend_on_the_cause():
    after = intervene(random_joint(9, N, generator=seeded(1)), "effect", generator=seeded(2))
    cause, rows, effect, _ = parts(after)
    torch.testing.assert_close(rows, effect[:, None].expand_as(rows))
    torch.testing.assert_close(after, cause[:, :, None] * effect[:, None])


@pytest.mark.parametrize("on", sorted(set(INTERVENTIONS) - {"nothing"}))
def test_every_run_of_one_table_has_an_intervention_of_its_own(on):
    before = random_joint(1, N, generator=seeded(1))
    after = intervene(before.expand(4, 5, N, N), on, generator=seeded(2))
    assert after.shape == (4, 5, N, N)
    assert len({tuple(table) for table in after.reshape(20, -1).tolist()}) == 20


def test_examples_come_as_often_as_the_table_says():
    joint = torch.tensor([[0.0, 0.1, 0.3, 0.0, 0.2, 0.4], [0.05, 0.0, 0.0, 0.6, 0.35, 0.0]]).double().view(2, 2, 3)
    drawn = draw_pairs(joint, 500, 80, generator=seeded())
    assert (drawn.shape, drawn.dtype) == ((2, 500, 80, 2), torch.int64)
    total = 500 * 80
    for run, table in enumerate(joint.tolist()):
        for a, row in enumerate(table):
            for b, share in enumerate(row):
                count = int(((drawn[run, :, :, 0] == a) & (drawn[run, :, :, 1] == b)).sum())
                assert abs(count - total * share) <= 3.5 * math.sqrt(total * share * (1 - share))


def test_an_example_owes_nothing_to_the_one_before_or_to_another_run():
    joint = torch.full((2, 2, 2), 0.25, dtype=torch.float64)
    drawn = draw_pairs(joint, 20_000, 2, generator=seeded()).double() - 0.5
    assert_unrelated(drawn[0, :-1, 0], drawn[0, 1:, 0])
    assert_unrelated(drawn[0, :, 0], drawn[0, :, 1])
    assert_unrelated(drawn[0, :, 0], drawn[1, :, 0])


@pytest.mark.parametrize(("uniform", "cell"), [(0.0, [0, 1]), (1 - 2**-53, [1, 0])])
@pytest.mark.parametrize("total", [1.0, 1 - 2**-53, 1.5, 0.1])
def test_the_ends_of_a_table_are_never_cells_of_probability_zero(monkeypatch, uniform, cell, total):
    joint = total * torch.tensor([[0.0, 0.25], [0.75, 0.0]]).double()
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, uniform, dtype=torch.float64))
    assert draw_pairs(joint, 1, generator=seeded()).tolist() == [[cell]]


def test_a_single_table_and_no_example_have_their_shapes():
    joint = random_joint(1, N, generator=seeded())[0]
    assert draw_pairs(joint, 7, generator=seeded()).shape == (7, 1, 2)
    assert draw_pairs(joint, 0, generator=seeded()).shape == (0, 1, 2)


def test_a_seed_repeats_and_the_global_generator_is_left_alone():
    def all_of(seed):
        generator = seeded(seed)
        joint = random_joint(5, N, "cells", generator=generator)
        after = intervene(joint, "both", generator=generator)
        return torch.cat((joint.flatten(), after.flatten(), draw_pairs(after, 6, generator=generator).flatten()))

    state = torch.random.get_rng_state()
    assert torch.equal(all_of(3), all_of(3))
    assert not torch.equal(all_of(3), all_of(4))
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_unknown_prior_or_intervention_is_named():
    with pytest.raises(ValueError, match="prior must be one of rows, cells, got 'table'"):
        random_joint(1, 2, "table", generator=seeded())
    with pytest.raises(ValueError, match=r"intervention must be one of cause, effect, .*nothing, got 'do'"):
        intervene(torch.ones(2, 2) / 4, "do", generator=seeded())
    assert set(CHANGES) == set(pairs.INTERVENTIONS)
