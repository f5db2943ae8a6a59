"""The experiments on tables and networks: episodes, beliefs, shared rows, learners that count, wagers, searches."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workedpapers.causal_transfer import TabularModel, adapt
from workedpapers.experiments.causal_transfer import (
    EXPERIMENTS,
    HORIZON,
    SHORT,
    TUNED_CELLS,
    TUNED_NETWORKS,
    TUNED_RATES,
    TUNED_SHARING,
    TUNED_TRUTH,
    Belief,
    Counting,
    Episodes,
    Networks,
    Sharing,
    Timed,
    Wager,
    at,
    beliefs,
    by_autograd,
    claims,
    climb,
    counting,
    episodes,
    measure,
    networks,
    scoreboard,
    sharing,
    wagers,
)
from workedpapers.lab import chosen, missing, sweep
from workedpapers.tasks.pairs import PRIORS, draw_pairs, intervene, random_joint

CPU = torch.device("cpu")
SHARES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
TINY_NETWORKS = Networks(
    values=3, hidden=4, updates=5, steps=3, batch=2, learning_rate=0.4, reverse_rate=0.2, worlds=2, episodes=4
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def divergence(p, q):
    return float((p * np.log(p / q)).sum())


def by_hand(held, samples, rate, target):
    """SGD one example after the other: log-likelihoods (steps,), and KL(target‖model) (steps + 1,), of one run."""
    marginal, rows = np.log(held.sum(1)), np.log(held)
    scores, excess = [], []
    for batch in [*samples, None]:
        p, each = softmax(marginal), softmax(rows)
        excess.append(divergence(target, p[:, None] * each))
        if batch is not None:
            scores.append(sum(math.log(p[a] * each[a, b]) for a, b in batch))
            marginal, rows = marginal.copy(), rows.copy()
            for a, b in batch:
                marginal += rate / len(batch) * ((np.arange(len(p)) == a) - p)
                rows[a] += rate / len(batch) * ((np.arange(len(p)) == b) - each[a])
    return np.array(scores), np.array(excess)


def both_by_hand(held, samples, rates, target):
    """`by_hand` in A → B and in B → A."""
    causal = by_hand(held, samples, rates[0], target)
    return causal, by_hand(held.T, samples[..., ::-1], rates[1], target.T)


def quantiles(values):
    return np.quantile(np.stack(values), SHARES, axis=0).T


# Episodes


@pytest.mark.parametrize(
    ("prior", "intervention", "start"),
    [("rows", "cause", "exact"), ("cells", "mirror", 20), ("rows", "both", "uniform")],
)
def test_an_episode_is_the_loop_of_steps(monkeypatch, prior, intervention, start):
    config = Episodes(3, prior, intervention, start, steps=12, batch=2, learning_rate=0.9, reverse_rate=0.4, runs=5)
    monkeypatch.setattr(episodes, "NUMBERS", 2 * 90)  # two runs at a time
    found = episodes.follow(config, 7, CPU)
    generator, runs = seeded(7), []
    for size in (2, 2, 1):
        before = random_joint(size, 3, prior, generator=generator)
        after = intervene(before, intervention, generator=generator)
        held = episodes.start_table(before, start, generator)
        samples = draw_pairs(after, 12, 2, generator=generator)
        runs += [
            both_by_hand(*(table.numpy() for table in (h, s)), (0.9, 0.4), q.numpy())
            for h, s, q in zip(held, samples, after, strict=True)
        ]
    at = [*range(11), 12]
    assert found["after"] == at
    for place, name in enumerate(("causal", "anticausal")):
        excess = [run[place][1] for run in runs]
        np.testing.assert_allclose(found[name], quantiles([curve[at] for curve in excess]), atol=1e-10)
        regret = [np.mean([curve[:t].mean() for curve in excess]) for t in at[1:]]
        np.testing.assert_allclose(found[f"regret_{name}"], regret, atol=1e-10)
    gaps = [anticausal[1][at] - causal[1][at] for causal, anticausal in runs]
    np.testing.assert_allclose(found["gap"], quantiles(gaps), atol=1e-10)
    np.testing.assert_allclose(found["mean_gap"], np.mean(gaps, 0), atol=1e-10)
    deltas = np.array([[causal[0][:t].sum() - anticausal[0][:t].sum() for t in at[1:]] for causal, anticausal in runs])
    assert 0 < (deltas < 0).mean() < 1
    np.testing.assert_allclose(found["delta"], quantiles(deltas), atol=1e-10)
    expected = {
        "mean_delta": deltas.mean(0),
        "sd_delta": deltas.std(0, ddof=1),
        "mean_ratio": np.exp(-deltas).mean(0),
        "sd_ratio": np.exp(-deltas).std(0, ddof=1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, err_msg=name)
    assert found["negative"][1:] == (deltas < 0).mean(0)[1:].tolist()  # before the first step Δ is rounding


def test_both_directions_have_one_rate_unless_the_other_is_named():
    config = Episodes(3, steps=4, learning_rate=0.7, runs=20)
    assert episodes.follow(config, 0, CPU) == episodes.follow(replace(config, reverse_rate=0.7), 0, CPU)
    other = episodes.follow(replace(config, reverse_rate=0.1), 0, CPU)
    assert other["causal"] == episodes.follow(config, 0, CPU)["causal"]
    assert other["anticausal"] != episodes.follow(config, 0, CPU)["anticausal"]


@pytest.mark.parametrize("start", ["exact", "uniform", 50])
def test_both_directions_start_level(start):
    found = episodes.follow(Episodes(5, start=start, steps=1, runs=30), 0, CPU)
    assert max(abs(gap) for gap in found["gap"][0]) < 1e-13


def test_a_start_is_the_table_the_uniform_one_or_counts_plus_one():
    joint = random_joint(4, 3, generator=seeded())
    assert torch.equal(episodes.start_table(joint, "exact", seeded(1)), joint)
    torch.testing.assert_close(episodes.start_table(joint, "uniform", seeded(1)), torch.full_like(joint, 1 / 9))
    found = episodes.start_table(joint, 40, seeded(1))
    for run, drawn in enumerate(draw_pairs(joint, 40, generator=seeded(1)).flatten(1, 2).tolist()):
        expected = [[(drawn.count([a, b]) + 1) / 49 for b in range(3)] for a in range(3)]
        assert found[run].tolist() == [pytest.approx(row) for row in expected]
    many = episodes.start_table(joint, 100_000, seeded(1))
    torch.testing.assert_close(many, joint, atol=0.006, rtol=0)


@pytest.mark.parametrize("start", ["counts", 1.5])
def test_an_unknown_start_is_named(start):
    joint = random_joint(1, 2, generator=seeded())
    with pytest.raises(ValueError, match=f"start must be 'exact', 'uniform' or a number of examples, got {start!r}"):
        episodes.start_table(joint, start, seeded())


def test_a_curve_is_kept_after_round_numbers_of_steps():
    assert episodes.moments(3) == [0, 1, 2, 3]
    assert episodes.moments(12) == [*range(11), 12]
    assert episodes.moments(400) == [*range(11), 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 400]
    assert HORIZON in episodes.moments(400)


def test_a_curve_is_read_after_so_many_steps_with_or_without_its_start():
    rows = pd.DataFrame({"after": [[0, 1, 5], [0, 5, 7]], "gap": [[1, 2, 3], [4, 5, 6]], "delta": [[7, 8], [9, 10]]})
    rows.index = [3, 4]
    assert at(rows, "gap", 5).to_dict() == {3: 3, 4: 5}
    assert at(rows, "delta", 5).to_dict() == {3: 8, 4: 9}
    assert at(rows, "gap", 0).to_dict() == {3: 1, 4: 4}
    with pytest.raises(ValueError, match="6 is not in list"):
        at(rows, "gap", 6)


def test_chunks_hold_all_runs_and_no_more_numbers_than_allowed(monkeypatch):
    monkeypatch.setattr(episodes, "NUMBERS", 100)
    assert list(episodes.chunks(7, 30)) == [3, 3, 1]
    assert list(episodes.chunks(6, 30)) == [3, 3]
    assert list(episodes.chunks(2, 30)) == [2]
    assert list(episodes.chunks(2, 1_000)) == [1, 1]


# Rows that share a vector


def shared_by_autograd(held, samples, rate, share):
    """Log-likelihoods (steps,) of one run: SGD on the logits of the cause, the rows' own, and what all rows have."""
    marginal = held.sum(1).log().requires_grad_()
    own = held.log().requires_grad_()
    common = torch.zeros(held.shape[1], dtype=torch.float64, requires_grad=True)
    descent = torch.optim.SGD([marginal, own, common], lr=rate)
    scores = []
    for a, b in samples.tolist():
        rows = own + math.sqrt(share) * common
        score = marginal.log_softmax(0)[a] + rows.log_softmax(1)[a, b]
        descent.zero_grad()
        (-score).backward()
        descent.step()
        scores.append(score.item())
    return torch.tensor(scores, dtype=torch.float64)


def test_rows_that_share_nothing_are_the_table():
    joint = random_joint(6, 4, generator=seeded())
    samples = draw_pairs(joint, 15, generator=seeded(1))
    expected = adapt(TabularModel.from_joint(joint), samples, 0.8).log_likelihood
    torch.testing.assert_close(sharing.follow_shared(joint, samples.squeeze(2), 0.8, 0.0), expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shared_rows_are_sgd_on_rows_and_a_vector_that_all_have(share):
    joint = random_joint(4, 3, generator=seeded())
    samples = draw_pairs(joint, 12, generator=seeded(1)).squeeze(2)
    copied = joint.clone()
    found = sharing.follow_shared(joint, samples, 0.7, share)
    expected = [shared_by_autograd(*run, 0.7, share) for run in zip(joint, samples, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))
    assert torch.equal(joint, copied)


def test_shared_rows_are_compared_on_the_same_examples(monkeypatch):
    monkeypatch.setattr(episodes, "NUMBERS", 3 * 90)
    config = Sharing(3, "cells", "cause", 0.4, steps=12, learning_rate=0.9, reverse_rate=0.3, runs=5)
    found = sharing.compare(config, 3, CPU)
    generator, costs = seeded(3), []
    for size in (3, 2):
        before = random_joint(size, 3, "cells", generator=generator)
        after = intervene(before, generator=generator)
        samples = draw_pairs(after, 12, generator=generator).squeeze(2)
        for held, drawn, q in zip(before, samples, after, strict=True):
            causal = shared_by_autograd(held, drawn, 0.9, 0.4)
            anticausal = shared_by_autograd(held.T, drawn.flip(1), 0.3, 0.4)
            entropy = -float((q * q.log()).sum())
            costs.append(
                [[-entropy * t - float(scores[:t].sum()) for t in found["after"]] for scores in (causal, anticausal)]
            )
    causal, anticausal = np.array(costs).transpose(1, 0, 2)
    after, deltas = np.array(found["after"]), anticausal - causal
    assert after.tolist() == [*range(1, 11), 12]
    expected = {
        "regret_causal": causal.mean(0) / after,
        "regret_anticausal": anticausal.mean(0) / after,
        "mean_delta": deltas.mean(0),
        "sd_delta": deltas.std(0, ddof=1),
    }
    assert set(found) == {"after", "negative", *expected}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-10, err_msg=name)
    assert found["negative"][1:] == (deltas < 0).mean(0)[1:].tolist()  # before the first step Δ is rounding


# Networks


class OneWorld(nn.Module):
    """The networks of one world as torch's layers."""

    def __init__(self, weights, world):
        super().__init__()
        values, hidden = weights["embedding"].shape[1:]
        w = {name: value[world].detach() for name, value in weights.items()}
        self.first, self.last = nn.Linear(1, hidden, bias=False), nn.Linear(hidden, values)
        self.embedding, self.out = nn.Linear(values, hidden), nn.Linear(hidden, values)
        self.to(weights["bias"].dtype)
        with torch.no_grad():
            self.first.weight.copy_(w["marginal_hidden"].T)
            self.last.weight.copy_(w["marginal_out"].T)
            self.last.bias.copy_(w["marginal_bias"][0])
            self.embedding.weight.copy_(w["embedding"].T)
            self.embedding.bias.copy_(w["hidden_bias"][0])
            self.out.weight.copy_(w["out"].T)
            self.out.bias.copy_(w["bias"][0])

    def tables(self):
        """log P(cause) and log P(effect|cause), from an input of one and from one-hot causes."""
        act, one = nn.LeakyReLU(), torch.eye(self.out.out_features, dtype=self.out.bias.dtype)
        marginal = self.last(act(self.first(one[:1, :1])))[0]
        return marginal.log_softmax(0), self.out(act(self.embedding(one))).log_softmax(1)

    def score(self, examples):
        """Log-likelihood of each example, (n, 2)."""
        marginal, conditional = self.tables()
        return torch.stack([marginal[a] + conditional[a, b] for a, b in examples.tolist()])


def weights_of(worlds, dtype=torch.float64, seed=0):
    """Starting weights, larger than they would be."""
    return {k: 2 * v.to(dtype) for k, v in networks.start(worlds, 3, 4, seeded(seed)).items()}


def test_tables_of_networks_are_those_of_torchs_layers():
    weights = weights_of(3)
    marginal, conditional = networks.log_tables(weights)
    cause, effect = torch.tensor([[0, 2], [1, 1], [2, 0]]), torch.tensor([[1, 1], [0, 2], [2, 2]])
    scores = networks.log_prob(weights, cause, effect)
    for world in range(3):
        one = OneWorld(weights, world)
        torch.testing.assert_close(marginal[world], one.tables()[0].detach())
        torch.testing.assert_close(conditional[world], one.tables()[1].detach())
        torch.testing.assert_close(scores[world], one.score(torch.stack((cause, effect), 2)[world]).detach())


def test_networks_start_as_torchs_layers_do():
    weights = networks.start(300, 10, 9, seeded())
    bounds = dict.fromkeys(weights, 1 / 3) | {"marginal_hidden": 1, "embedding": 1}
    for name, bound in bounds.items():
        assert float(weights[name].abs().max()) == pytest.approx(bound, rel=0.01), name
        assert float(weights[name].square().mean()) == pytest.approx(bound**2 / 3, rel=0.05), name
        assert float((weights[name][0] - weights[name][1]).abs().min()) > 0, name


@pytest.mark.parametrize("shared", [True, False])
def test_an_episode_of_networks_is_torchs_sgd_and_frozen_biases_stay(shared):
    weights = weights_of(3)
    samples = draw_pairs(random_joint(3, 3, generator=seeded(1)), 6, 2, generator=seeded(2))
    kept = {name: value.clone() for name, value in weights.items()}
    found = networks.follow(weights, samples, 0.6, shared=shared)
    for run in range(3):
        one = OneWorld(kept, run)
        if not shared:
            one.embedding.bias.requires_grad_(False)
            one.out.bias.requires_grad_(False)
        descent = torch.optim.SGD(one.parameters(), lr=0.6)
        total = 0.0
        for batch in samples[run]:
            scores = one.score(batch)
            total += scores.sum().item()
            descent.zero_grad()
            (-scores.mean()).backward()
            descent.step()
        assert float(found[run]) == pytest.approx(total, rel=1e-6)
    assert all(torch.equal(weights[name], value) for name, value in kept.items())


def test_a_fit_is_torchs_adam_with_a_rate_that_falls_to_zero(monkeypatch):
    monkeypatch.setattr(networks, "BLOCK", 2)
    monkeypatch.setattr(networks, "BATCH", 20)
    joint = random_joint(2, 3, generator=seeded(1))
    config = replace(TINY_NETWORKS, fit_rate=0.05)
    found = networks.fit(joint, config, seeded(2), CPU)
    generator = seeded(2)
    weights = networks.start(2, 3, 4, generator)
    samples = torch.cat([draw_pairs(joint, size, 20, generator=generator) for size in (2, 2, 1)], 1)
    for world in range(2):
        one = OneWorld(weights, world)
        descent = torch.optim.Adam(one.parameters())
        for update in range(5):
            descent.param_groups[0]["lr"] = 0.05 * (1 - update / 5)
            descent.zero_grad()
            (-one.score(samples[world, update]).mean()).backward()
            descent.step()
        expected = OneWorld(found, world)
        for name, value in one.state_dict().items():
            torch.testing.assert_close(expected.state_dict()[name], value, atol=2e-5, rtol=1e-4)
    assert not any(value.requires_grad for value in found.values())


def test_worlds_that_are_networks_have_the_laws_of_the_authors_script():
    joint = networks.random_network(2000, 5, 4, seeded())
    assert (joint.shape, joint.dtype) == ((2000, 5, 5), torch.float64)
    torch.testing.assert_close(joint.sum((1, 2)), torch.ones(2000, dtype=torch.float64))
    generator = np.random.default_rng(0)

    def uniform(bound, *shape):
        return generator.uniform(-bound, bound, (2000, *shape))

    def normal(fan_in, *shape):
        return math.sqrt(2 / fan_in) * generator.normal(size=(2000, *shape))

    def leaky(x):
        return np.where(x > 0, x, 0.01 * x)

    def spread(x):
        return np.mean((x - x.mean(-1, keepdims=True)) ** 2)

    marginal = leaky(uniform(1, 1, 4)) @ normal(5, 4, 5) + uniform(1, 1, 5)
    rows = leaky(normal(4, 5, 4) + uniform(1, 1, 4)) @ normal(5, 4, 5) + uniform(1, 1, 5)
    new = leaky(uniform(0.1, 1, 4)) @ normal(5, 4, 5) + uniform(0.1, 1, 5)
    marginals = networks.random_marginals(2000, 5, 4, seeded(1))
    cause = joint.sum(-1)
    for found, expected in ((cause, marginal), (joint / cause[..., None], rows), (marginals, new)):
        assert spread(found.log().numpy()) == pytest.approx(spread(expected), rel=0.05)


def test_episodes_of_a_world_that_is_a_network_keep_its_mechanism_and_have_marginals_of_their_own(monkeypatch):
    drawn = []

    def spy(joint, steps, batch, *, generator):
        drawn.append(joint)
        return draw_pairs(joint, steps, batch, generator=generator)

    monkeypatch.setattr(networks, "draw_pairs", spy)
    found = networks.run(replace(TINY_NETWORKS, truth="network", prior="cells", intervention="effect"), 5, CPU)
    before = networks.random_network(2, 3, 4, seeded(5))
    assert torch.equal(drawn[0], before)
    assert torch.equal(drawn[1], before.mT)
    for old, after in zip(before, drawn[2:], strict=True):
        assert after.shape == (4, 3, 3)
        rows = old / old.sum(1, keepdim=True)
        torch.testing.assert_close(after / after.sum(2, keepdim=True), rows.expand_as(after))
        assert len({tuple(marginal) for marginal in after.sum(2).tolist()}) == 4
    assert len(found["mean_delta"]) == 2


def test_an_unknown_truth_is_named():
    with pytest.raises(ValueError, match="truth must be one of tables, network, got 'tree'"):
        networks.run(replace(TINY_NETWORKS, truth="tree"), 0, CPU)


def test_worlds_do_not_learn_from_each_other():
    joint = random_joint(2, 3, generator=seeded(1))
    other = torch.stack((joint[0], joint[1].flip(0)))
    one, two = (networks.fit(tables, TINY_NETWORKS, seeded(2), CPU) for tables in (joint, other))
    for name, value in one.items():
        assert torch.equal(value[0], two[name][0])
    assert not torch.equal(one["out"][1], two["out"][1])


def test_a_long_fit_is_near_the_training_distribution():
    config = Networks(values=3, updates=400, steps=1, worlds=2, episodes=2)
    found = networks.run(config, 0, CPU)
    assert max(found["start_causal"] + found["start_anticausal"]) < 0.01
    short = networks.run(replace(config, updates=1), 0, CPU)
    assert min(short["start_causal"] + short["start_anticausal"]) > 0.05


@pytest.mark.parametrize("shared", [True, False])
def test_each_direction_of_networks_has_its_rate_and_its_worlds_distributions(shared):
    config = replace(TINY_NETWORKS, prior="cells", intervention="mirror", shared=shared, optimizer="sgd")
    found = networks.run(config, 5, CPU)
    generator = seeded(5)
    before = random_joint(2, 3, "cells", generator=generator)
    fitted = [networks.fit(joint, config, generator, CPU) for joint in (before, before.mT)]
    deltas = []
    for world in range(2):
        after = intervene(before[world].expand(4, 3, 3), "mirror", generator=generator)
        samples = draw_pairs(after, 3, 2, generator=generator)
        entropy = -float((after * after.log()).sum((1, 2)).mean())
        online = []
        for weights, drawn, rate, name, table in (
            (fitted[0], samples, 0.4, "causal", before[world]),
            (fitted[1], samples.flip(-1), 0.2, "anticausal", before[world].T),
        ):
            own = {k: v[world].expand(4, *v.shape[1:]) for k, v in weights.items()}
            online.append(networks.follow(own, drawn, rate, shared=shared))
            assert found[f"regret_{name}"][world] == pytest.approx(-float(online[-1].mean()) / 6 - entropy, abs=1e-5)
            marginal, conditional = (part.detach().double() for part in OneWorld(weights, world).tables())
            start = divergence(table.numpy(), (marginal[:, None] + conditional).exp().numpy())
            assert found[f"start_{name}"][world] == pytest.approx(start, abs=1e-5)
        deltas.append((online[0] - online[1]).double())
    expected = beliefs.summary(torch.stack(deltas), "sgd", config.structural_rate)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


# Beliefs


def some_deltas():
    return torch.randn(3, 40, generator=seeded(), dtype=torch.float64) * 2 + torch.tensor([[1.0], [0.2], [-0.5]])


def test_a_climb_by_sgd_adds_the_rate_times_what_an_episode_adds_to_the_belief():
    deltas = some_deltas()
    found = climb(deltas, "sgd", 0.3)
    for world in range(3):
        gamma, path = 0.0, [0.0]
        for delta in deltas[world].tolist():
            gamma += 0.3 * (sigmoid(gamma + delta) - sigmoid(gamma))
            path.append(gamma)
        assert found[world].tolist() == pytest.approx(path, abs=1e-12)


@pytest.mark.parametrize(("optimizer", "kind"), [("rmsprop", torch.optim.RMSprop), ("adam", torch.optim.Adam)])
def test_a_climb_of_many_worlds_is_one_scalar_at_a_time_on_the_loss_of_the_paper(optimizer, kind):
    deltas = some_deltas()
    found = climb(deltas, optimizer, 0.1)
    for world in range(3):
        gamma = torch.zeros((), dtype=torch.float64, requires_grad=True)
        descent, path = kind([gamma], lr=0.1), [0.0]
        for delta in deltas[world]:
            descent.zero_grad()
            belief = torch.sigmoid(gamma)
            (-torch.log(belief * delta.exp() + 1 - belief)).backward()
            descent.step()
            path.append(gamma.item())
        assert found[world].tolist() == pytest.approx(path, abs=1e-9)


def test_a_summary_is_that_of_its_worlds():
    deltas = torch.cat((some_deltas(), torch.full((1, 40), 3.0, dtype=torch.float64)))
    found = beliefs.summary(deltas, "sgd", 1.0)
    path = torch.sigmoid(climb(deltas, "sgd", 1.0)).numpy()
    assert found["after"] == list(range(41))
    np.testing.assert_allclose(found["belief"], np.quantile(path, SHARES, axis=0).T, atol=1e-12)
    assert found["last"] == path[:, -1].tolist()
    for world, steps in enumerate(found["first_95"]):
        above = [n for n, belief in enumerate(path[world]) if belief > 0.95]
        assert steps == (above[0] if above else -1)
    assert -1 in found["first_95"]
    assert max(found["first_95"]) > 0
    each = deltas.numpy()
    np.testing.assert_allclose(found["mean_delta"], each.mean(1))
    np.testing.assert_allclose(found["negative"], (each < 0).mean(1))
    np.testing.assert_allclose(found["mean_ratio"], np.exp(-each).mean(1))
    grid = np.linspace(0, 1, 20_001)
    losses = -np.log(grid * np.exp(each[..., None]) + 1 - grid).mean(1)
    np.testing.assert_allclose(found["optimum"], grid[losses.argmin(1)], atol=1e-4)


def test_a_long_path_is_kept_at_a_hundred_and_one_points_and_a_ratio_stays_finite():
    deltas = torch.full((2, 1000), -2000.0, dtype=torch.float64)
    found = beliefs.summary(deltas, "sgd", 0.1)
    assert found["after"] == list(range(0, 1001, 10))
    assert len(found["belief"]) == 101
    assert found["mean_ratio"] == [pytest.approx(1e300)] * 2
    assert found["optimum"] == [0.0, 0.0]


def test_beliefs_climb_on_the_episodes_of_each_world():
    config = Belief(3, "cells", "cause", "effect", 0.4, 3, 2, 0.8, "adam", 0.2, worlds=3, episodes=6)
    found = beliefs.believe(config, 4, CPU)
    generator, deltas = seeded(4), []
    for _ in range(3):
        before, after = beliefs.world(config, generator)
        samples = draw_pairs(after, 3, 2, generator=generator)
        runs = [
            both_by_hand(before.numpy(), drawn.numpy(), (0.8, 0.8), q.numpy())
            for drawn, q in zip(samples, after, strict=True)
        ]
        deltas.append([causal[0].sum() - anticausal[0].sum() for causal, anticausal in runs])
    expected = beliefs.summary(torch.tensor(np.array(deltas)), "adam", 0.2)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, err_msg=name)


def kept(before, after):
    """For each episode: whether P(B|A) is as it was, and whether P(A|B) is."""
    pairs = ((before, after), (before.T, after.mT))
    return [
        ((old / old.sum(-1, keepdim=True)) - new / new.sum(-1, keepdim=True)).abs().amax((1, 2)) < 1e-12
        for old, new in pairs
    ]


def test_episodes_of_a_world_are_of_two_kinds_by_share():
    config = Belief(4, other="mirror", episodes=2000)
    for share in (0.0, 0.3, 1.0):
        causal, mirrored = kept(*beliefs.world(replace(config, share=share), seeded(1)))
        assert bool((causal ^ mirrored).all())
        assert float(mirrored.double().mean()) == pytest.approx(share, abs=0.03 if share == 0.3 else 0)


def test_shares_of_zero_and_one_are_the_pure_interventions():
    config = Belief(4, other="mirror", episodes=20)
    before, pure = beliefs.world(config, seeded(1))
    assert len({tuple(table.flatten().tolist()) for table in pure}) == 20
    same = random_joint(1, 4, generator=seeded(1))[0]
    assert torch.equal(before, same)
    generator = seeded(1)
    random_joint(1, 4, generator=generator)
    assert torch.equal(pure, intervene(same.expand(20, 4, 4), "cause", generator=generator))
    others = intervene(same.expand(20, 4, 4), "mirror", generator=generator)
    assert torch.equal(beliefs.world(replace(config, share=1.0), seeded(1))[1], others)


# Learners that count


def evidence(prior, counts):
    """Log-probability of a sequence of draws with these counts, for Dirichlet prior counts."""
    alpha, n = sum(prior), sum(counts)
    total = math.lgamma(alpha) - math.lgamma(alpha + n)
    return total + sum(math.lgamma(a + k) - math.lgamma(a) for a, k in zip(prior, counts, strict=True))


@pytest.mark.parametrize("strength", [1.0, 20.0])
def test_counting_is_the_evidence_of_dirichlet_laws_in_closed_form(monkeypatch, strength):
    monkeypatch.setattr(episodes, "NUMBERS", 3 * 90)
    config = Counting(3, "cells", "cause", strength, steps=12, runs=5)
    found = counting.count(config, 2, CPU)
    generator, runs = seeded(2), []
    for size in (3, 2):
        before = random_joint(size, 3, "cells", generator=generator)
        after = intervene(before, generator=generator)
        samples = draw_pairs(after, 12, generator=generator).squeeze(2)
        runs += zip(before.tolist(), after.tolist(), samples.tolist(), strict=True)
    assert found["after"] == [*range(1, 11), 12]
    names = [f"{who}_{way}" for who in ("remembers", "told") for way in ("causal", "anticausal")]
    costs = {name: [] for name in names}
    for before, after, samples in runs:
        p, line = np.array(before), {name: [] for name in names}
        for t in found["after"]:
            counts = np.zeros((3, 3))
            for a, b in samples[:t]:
                counts[a, b] += 1
            best = sum(math.log(after[a][b]) for a, b in samples[:t])
            for way, table, n in (("causal", p, counts), ("anticausal", p.T, counts.T)):
                remembered = evidence((strength * table).flatten(), n.flatten())
                conditional = table / table.sum(1, keepdims=True)
                told = evidence([1.0] * 3, n.sum(1)) + float((n * np.log(conditional)).sum())
                line[f"remembers_{way}"].append(best - remembered)
                line[f"told_{way}"].append(best - told)
        for name in names:
            costs[name].append(line[name])
    for name in names:
        np.testing.assert_allclose(found[name], np.mean(costs[name], 0) / found["after"], atol=1e-10, err_msg=name)
    deltas = np.array(costs["told_anticausal"]) - np.array(costs["told_causal"])
    assert 0 < (deltas < 0).mean() < 1
    np.testing.assert_allclose(found["delta"], quantiles(deltas), atol=1e-10)
    np.testing.assert_allclose(found["negative"], (deltas < 0).mean(0))
    assert found["largest_delta"] < 1e-10


@pytest.mark.parametrize("intervention", ["cause", "effect", "mirror"])
def test_who_remembers_cannot_tell_the_directions_apart(intervention):
    found = counting.count(Counting(6, intervention=intervention, steps=200, runs=100), 0, CPU)
    assert found["largest_delta"] < 1e-10
    assert found["remembers_causal"] == pytest.approx(found["remembers_anticausal"], abs=1e-12)


def test_who_is_told_costs_least_where_what_it_is_told_is_true():
    for intervention, better, worse in (("cause", "causal", "anticausal"), ("mirror", "anticausal", "causal")):
        found = counting.count(Counting(6, "cells", intervention, steps=100, runs=300), 0, CPU)
        assert found[f"told_{better}"][-1] < 0.15
        assert found[f"told_{worse}"][-1] > 0.25


# Wagers


def test_a_belief_settles_where_the_mean_loss_is_least_though_the_mean_is_above_zero():
    found = wagers.bet(Wager(structural_rate=0.03, episodes=3000, paths=100), 0, CPU)
    optimum = 0.9 / (1 - math.exp(-5)) - 0.1 / (math.e - 1)
    assert optimum == pytest.approx(0.848, abs=5e-4)
    assert np.mean(found["mean_delta"]) == pytest.approx(0.4, abs=0.02)
    assert np.mean(found["optimum"]) == pytest.approx(optimum, abs=0.003)
    assert np.mean(found["last"]) == pytest.approx(optimum, abs=0.01)


def test_a_wager_that_never_loses_goes_to_one():
    found = wagers.bet(Wager(loss=0.0, episodes=2000, paths=20), 0, CPU)
    assert min(found["last"]) > 0.98
    assert found["optimum"] == [1.0] * 20
    assert min(found["first_95"]) > 0


def test_a_wager_has_two_values():
    found = wagers.bet(Wager(2.0, 3.0, 0.25, episodes=4000, paths=3), 0, CPU)
    assert found["negative"] == pytest.approx([0.75] * 3, abs=0.03)
    for mean, share in zip(found["mean_delta"], found["negative"], strict=True):
        assert mean == pytest.approx(2 - 5 * share)


# Rows, searches and tables

RUNS = [
    (episodes.follow, Episodes(3, steps=3, runs=5)),
    (beliefs.believe, Belief(3, share=0.5, worlds=2, episodes=4)),
    (counting.count, Counting(3, steps=3, runs=5)),
    (sharing.compare, Sharing(3, share=0.2, steps=3, runs=5)),
    (networks.run, TINY_NETWORKS),
    (wagers.bet, Wager(episodes=5, paths=3)),
]


@pytest.mark.parametrize(("run", "config"), RUNS)
def test_a_row_repeats_and_leaves_the_generator_alone(run, config):
    state = torch.random.get_rng_state()
    first = run(config, 0, CPU)
    assert first == run(config, 0, CPU)
    assert first != run(config, 1, CPU)
    assert torch.equal(state, torch.random.get_rng_state())


def test_check_rows_have_every_kind():
    rows = [config for table in EXPERIMENTS.values() for config in table.grid.get("check", ())]
    assert {type(row) for row in rows} >= {Episodes, Belief, Counting, Sharing, Networks, Wager}
    of = {kind: [row for row in rows if type(row) is kind] for kind in (Episodes, Belief, Sharing)}
    assert {row.prior for row in of[Episodes]} == set(PRIORS)
    assert {type(row.start) for row in of[Episodes]} == {str, int}
    assert {row.start for row in of[Episodes]} >= {"exact", "uniform"}
    assert {row.reverse_rate is None for row in of[Episodes]} == {True, False}
    assert len({row.batch > 1 for row in of[Episodes]}) == 2
    assert {row.optimizer for row in of[Belief]} == {"rmsprop", "sgd"}
    assert {row.share > 0 for row in of[Belief]} == {True, False}
    assert all(row.share for row in of[Sharing])


COSTS = ("regret_causal", "regret_anticausal")


def costs_of(table):
    """The rows of a search with what an example cost each direction: over `HORIZON` of them, or over an episode."""
    found = EXPERIMENTS[table]
    assert missing(found, "book") == []  # a test trains none of these
    rows = sweep(found, "book", device="cpu")
    if found.config is Networks:  # a list by world
        return rows.assign(**{name: rows[name].map(np.mean) for name in COSTS})
    return rows.assign(**{name: at(rows, name, HORIZON) for name in COSTS})


SEARCHES = {
    "search_rates": (["values"], TUNED_RATES, episodes.RATES, "tuned"),
    "search_sharing": (["share"], TUNED_SHARING, sharing.SHARING_RATES, "sharing"),
    "search_networks": (["hidden", "shared"], TUNED_NETWORKS, networks.NETWORK_RATES, "networks"),
    "search_truth": (["truth"], {"network": TUNED_TRUTH}, networks.NETWORK_RATES, "networks"),
    "search_cells": (["hidden", "shared"], TUNED_CELLS, networks.NETWORK_RATES, "networks"),
}


@pytest.mark.parametrize("table", SEARCHES)
def test_a_search_chose_the_rate_of_each_direction_by_its_own_cost_and_has_worse_ones_on_either_side(table):
    names, tuned, rates, _ = SEARCHES[table]
    rows = costs_of(table)
    for place, cost in enumerate(COSTS):
        best = chosen(rows, names, ["learning_rate"], cost).learning_rate
        assert set(best.index) == set(tuned)
        for arm, both in tuned.items():
            assert best[arm] == both[place], (arm, cost)
            assert min(rates) < both[place] < max(rates), (arm, cost)


@pytest.mark.parametrize("table", SEARCHES)
def test_a_search_tries_every_rate_for_both_directions_of_every_arm(table):
    names, tuned, rates, _ = SEARCHES[table]
    configs = EXPERIMENTS[table].configs("book")
    for config in configs:
        assert getattr(config, "reverse_rate", None) in (None, config.learning_rate)
    arms = [tuple(getattr(config, name) for name in names) for config in configs]
    assert {arm if len(names) > 1 else arm[0] for arm in arms} == set(tuned)
    tried = {(arm, config.learning_rate) for arm, config in zip(arms, configs, strict=True)}
    assert len(configs) == len(tried) == len(tuned) * len(rates)


@pytest.mark.parametrize("table", SEARCHES)
def test_a_final_table_runs_each_arm_at_the_rates_that_its_search_chose_and_on_nothing_else_of_its_own(table):
    names, tuned, _, final = SEARCHES[table]
    assert missing(EXPERIMENTS[final], "book") == []
    searched = EXPERIMENTS[table].configs("book")
    configs = EXPERIMENTS[final].configs("book")
    if final == "networks":
        fitted = [config for config in configs if config.updates > SHORT.updates]
        kinds = {(config.truth, config.prior) for config in searched}
        configs = [config for config in fitted if (config.truth, config.prior) in kinds]
    assert len(configs) == len(tuned)
    for config in configs:
        key = tuple(getattr(config, name) for name in names)
        assert tuned[key if len(key) > 1 else key[0]] == (config.learning_rate, config.reverse_rate)
        same = {"learning_rate": 1.0, "reverse_rate": 1.0}
        sizes = {"tuned": {"steps": 1, "runs": 1}, "networks": {"worlds": 1, "episodes": 1}, "sharing": {}}[final]
        assert replace(config, **same, **sizes) in [replace(other, **same, **sizes) for other in searched]


def test_the_horizon_of_a_choice_is_that_of_the_final_runs():
    assert {config.steps for config in EXPERIMENTS["tuned"].configs("book")} == {HORIZON}
    for name in ("search_networks", "search_truth", "search_cells", "networks"):
        steps = {config.steps for config in EXPERIMENTS[name].configs("book") if config.updates > SHORT.updates}
        assert steps == {HORIZON}
    assert HORIZON in episodes.moments(Sharing().steps)


def test_the_authors_networks_keep_the_authors_settings():
    assert (SHORT.learning_rate, SHORT.reverse_rate, SHORT.fit_rate, SHORT.updates) == (0.01, 0.01, 0.001, 1000)
    assert (SHORT.steps, SHORT.batch, SHORT.hidden, SHORT.values) == (10, 1, 8, 10)
    short = [config for config in EXPERIMENTS["networks"].configs("book") if config.updates == SHORT.updates]
    assert short == [SHORT, replace(SHORT, truth="tables")]


def test_searches_and_other_tables_share_no_seed():
    searched = {seed for name in EXPERIMENTS if name.startswith("search") for seed in EXPERIMENTS[name].seeds("book")}
    assert {name for name in EXPERIMENTS if name.startswith("search")} == set(SEARCHES)
    for name, table in EXPERIMENTS.items():
        if not name.startswith("search") and "book" in table.grid:
            assert not searched & set(table.seeds("book")), name
            assert len(table.seeds("book")) >= 3 or name in ("cost", "encoder"), (
                name
            )  # a seed of the encoder is twenty runs


# Cost and scoreboard


@pytest.mark.parametrize("peer", ["published", "tables"])
def test_the_rivals_of_the_cost_take_the_same_steps(peer):
    before = random_joint(1, 4, generator=seeded())
    samples = draw_pairs(intervene(before, generator=seeded(1)), 9, generator=seeded(2))
    found = by_autograd(peer, before[0], samples[0, :, 0], samples[0, :, 0])
    for scores, joint, drawn in zip(found, (before, before.mT), (samples, samples.flip(-1)), strict=True):
        torch.testing.assert_close(scores, adapt(TabularModel.from_joint(joint), drawn, 1.0).log_likelihood[0])


def test_a_ratio_of_cost_is_of_the_two_times():
    for evaluation in (True, False):
        row = measure(Timed(3, 5, "tables", evaluation, repeats=2), 0, CPU)
        assert row["ratio"] == pytest.approx(row["autograd_seconds"] / row["ours_seconds"])
        assert min(row.values()) > 0


def test_the_scoreboard_is_empty_while_rows_are_missing(monkeypatch):
    monkeypatch.setattr(claims, "missing", lambda table, scale: [1])
    assert scoreboard() == []


def test_a_claim_of_the_scoreboard_is_a_difference_below_zero():
    for runs, verdict, cause in (((-1.0, -2.0), "holds", ""), ((-2.0, 1.0), "holds in part", "seeds disagree")):
        claim = claims._claim("text", "below 0", runs, "why")
        assert (claim.verdict, claim.cause, claim.runs) == (verdict, cause, runs)
    claim = claims._claim("text", "below 0", [1.0, 2.0], "why")
    assert (claim.verdict, claim.cause) == ("fails", "why")
    assert claims._short_of([[0.9, 1.0, 0.2], [0.98]]) == pytest.approx([0.05, -0.03])


def test_the_scoreboard_has_the_numbers_of_the_rows():
    board = {claim.claim: claim for claim in scoreboard()}
    assert board
    assert all(len(claim.runs) >= 3 for claim in board.values())
    rows = {
        name: sweep(EXPERIMENTS[name], "book", device="cpu").to_dict("records") for name in ("adaptation", "beliefs")
    }
    for size in (10, 100):
        gap = [
            -row["gap"][row["after"].index(10)][2]
            for row in rows["adaptation"]
            if (row["values"], row["batch"], row["learning_rate"]) == (size, 1, 1.0)
        ]
        name = f"Tables, {size} values: median KL after ten examples, A → B less B → A (nats)"
        assert board[name].runs == pytest.approx(gap)
        name = f"Belief, {size} values: 0.95 less the median belief after 1,000 episodes"
        last = [0.95 - np.median(row["last"]) for row in rows["beliefs"] if (row["values"], row["batch"]) == (size, 10)]
        assert board[name].runs == pytest.approx(last)
