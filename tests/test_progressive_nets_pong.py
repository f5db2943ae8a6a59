"""The actor-critic of the Pong soup: loss and returns against formulas, its arms, and a game of our own to learn."""

import math
from dataclasses import replace

import pytest
import torch

from workedpapers.experiments.progressive_nets import pong
from workedpapers.experiments.progressive_nets.pong import (
    ARMS,
    PONG,
    PongRun,
    actor_critic_loss,
    learn,
    n_step_returns,
    prepare,
    pretrained,
    train,
)
from workedpapers.tasks.pong import ACTIONS, VARIANTS

CPU = torch.device("cpu")
TINY = PongRun(environments=2, steps=3, frames=48, source_frames=24)
GOOD = 3  # the action that wins


class Game:
    """Every action gains or loses a point; a game is over after four."""

    length = 4

    def __init__(self, variant, environments, seed, device):
        self.generator = torch.Generator().manual_seed(100 * VARIANTS.index(variant) + seed)
        self.environments, self.time = environments, 0

    def observe(self):
        return torch.rand(self.environments, 4, 84, 84, generator=self.generator)

    def step(self, action):
        self.time += 1
        over = torch.full((self.environments,), self.time % self.length == 0)
        return torch.where(action == GOOD, 1.0, -1.0), over


@pytest.fixture(autouse=True)
def game(monkeypatch):
    """The game of our own in place of the emulator; no network from another test."""
    monkeypatch.setattr(pong, "Pong", Game)
    monkeypatch.setattr(pong, "WATCHED", 8)
    pretrained.cache_clear()


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_loss_has_the_value_and_the_slopes_of_its_formula():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    values = torch.randn(7, generator=generator, dtype=torch.float64, requires_grad=True)
    returns = torch.randn(7, generator=generator, dtype=torch.float64)
    actions = torch.tensor([0, 1, 2, 3, 3, 0, 1])
    loss = actor_critic_loss(logits, values, actions, returns, 0.3)
    expected, to_logits, to_values = 0.0, torch.zeros(7, 4).double(), torch.zeros(7).double()
    for i, action in enumerate(actions.tolist()):
        exponentials = [math.exp(float(z)) for z in logits[i].detach()]
        policy = [e / sum(exponentials) for e in exponentials]
        entropy = -sum(p * math.log(p) for p in policy)
        error = float(returns[i] - values[i].detach())
        expected += (error**2 / 2 - error * math.log(policy[action]) - 0.3 * entropy) / 7
        to_values[i] = -error / 7
        for a, p in enumerate(policy):
            to_logits[i, a] = (error * (p - (a == action)) + 0.3 * p * (math.log(p) + entropy)) / 7
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    slopes = torch.autograd.grad(loss, (logits, values))
    torch.testing.assert_close(slopes[0], to_logits)
    torch.testing.assert_close(slopes[1], to_values)


def test_returns_end_with_the_game_or_go_on_with_what_is_expected():
    generator = torch.Generator().manual_seed(1)
    rewards = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    over = torch.zeros(5, 3, dtype=torch.bool)
    over[1, 0] = over[4, 1] = over[0, 1] = True
    value = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    found = n_step_returns(rewards, over, value, 0.9)
    for step in range(5):
        for game in range(3):
            total, later = 0.0, step
            while later < 5:
                total += 0.9 ** (later - step) * float(rewards[later, game])
                if over[later, game]:
                    break
                later += 1
            else:
                total += 0.9 ** (5 - step) * float(value[game])
            assert float(found[step, game]) == pytest.approx(total, rel=1e-12)


def test_an_arm_alone_trains_all_of_a_network_of_its_own():
    network, task, parameters = prepare(TINY, 0, CPU)
    assert len(network.columns) == 1
    assert {id(p) for p in parameters} == {id(p) for p in network.parameters()}
    x = torch.rand(2, 4, 84, 84)
    assert network(x, task).shape == (2, ACTIONS + 1)
    sizes = [tuple(p.shape) for p in parameters if p.dim() > 1]
    assert sizes == [(8, 4, 8, 8), (16, 8, 4, 4), (256, 16 * 81), (7, 256)]


@pytest.mark.parametrize("arm", ["head", "finetune", "progressive"])
def test_an_arm_with_a_source_begins_with_its_network(arm):
    config = replace(TINY, source="noisy", arm=arm)
    source = pretrained(replace(TINY, target="noisy", frames=TINY.source_frames), 1000, CPU)
    known = weights(source)
    network, task, parameters = prepare(config, 0, CPU)
    if arm == "progressive":
        assert len(network.columns) == 2
        assert same(weights(network.columns[0]), known)
        assert {id(p) for p in parameters} == {id(p) for p in network.columns[1].parameters()}
    else:
        found = weights(network)
        assert len(network.columns) == 1
        assert same(found[:-2], known[:-2])
        assert not torch.equal(found[-2], known[-2])  # the new head
        assert len(parameters) == (2 if arm == "head" else len(found))
        kept, _, _ = prepare(replace(config, new_head=False), 0, CPU)
        assert same(weights(kept), known)
    learn(network, task, "zoom", parameters, config, 0, CPU)
    assert same(weights(source), known)
    if arm == "progressive":
        assert same(weights(network.columns[0]), known)
    elif arm == "head":
        assert same(weights(network)[:-2], known[:-2])
        assert not same(weights(network)[-2:], found[-2:])
    else:
        assert not any(same([a], [b]) for a, b in zip(weights(network), found, strict=True))


def test_the_random_arm_has_a_frozen_column_that_learned_nothing():
    config = replace(TINY, arm="random")
    network, task, parameters = prepare(config, 0, CPU)
    before = weights(network.columns[0])
    assert len(network.columns) == 2
    assert not any(p.requires_grad for p in network.columns[0].parameters())
    learn(network, task, "pong", parameters, config, 0, CPU)
    assert same(weights(network.columns[0]), before)


def test_a_source_is_learned_once_for_all_targets_and_arms(monkeypatch):
    looks = []
    monkeypatch.setattr(pong, "learn", lambda network, task, look, *_: looks.append(look))
    for arm in ("head", "progressive"):
        for target in ("pong", "zoom"):
            prepare(replace(TINY, source="hflip", target=target, arm=arm), 0, CPU)
    assert looks == ["hflip"]
    prepare(replace(TINY, source="hflip", arm="head"), 1, CPU)
    assert looks == ["hflip"] * 2


@pytest.mark.parametrize("arm", ARMS)
def test_a_row_has_a_curve_by_frames_and_shares_where_there_are_two_columns(arm):
    source = None if arm in ("scratch", "random") else "noisy"
    config = replace(TINY, arm=arm, source=source, target="white")
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    metrics = train(config, 0, CPU)
    assert torch.equal(torch.rand(1), expected)
    assert metrics["frames"] == [24, 48]
    assert math.isnan(metrics["curve"][0])  # no game has ended after three steps
    assert -4 <= metrics["curve"][1] <= 4
    if arm in ("random", "progressive"):
        shares = torch.tensor(metrics["sensitivity"])
        assert shares.shape == (3, 2)
        torch.testing.assert_close(shares.sum(1), torch.ones(3))
    else:
        assert "sensitivity" not in metrics


def test_a_seed_repeats_a_row_and_another_does_not():
    config = replace(TINY, arm="progressive", source="noisy", frames=96)
    rows = []
    for seed in (0, 0, 1):
        pretrained.cache_clear()
        rows.append(train(config, seed, CPU))
    assert rows[0]["sensitivity"] == rows[1]["sensitivity"]
    assert rows[0]["curve"][1:] == rows[1]["curve"][1:]
    assert rows[0]["sensitivity"] != rows[2]["sensitivity"]


def test_a_curve_has_so_many_points_and_the_last_is_the_end(monkeypatch):
    monkeypatch.setattr(pong, "POINTS", 10)
    config = replace(TINY, environments=1, steps=1, frames=4 * 13 - 1)
    network, task, parameters = prepare(config, 0, CPU)
    frames, curve = learn(network, task, "pong", parameters, config, 0, CPU)
    assert frames == [8, 12, 16, 24, 28, 32, 40, 44, 48, 52]
    assert len(curve) == 10


def test_it_learns_which_action_wins():
    config = replace(TINY, environments=4, frames=4 * 3 * 4 * 40, learning_rate=2e-3)
    metrics = train(config, 0, CPU)
    assert metrics["curve"][1] < 0
    assert metrics["final"] > 3.5


def test_what_is_no_arm_is_refused():
    with pytest.raises(
        ValueError, match="arm must be one of scratch, head, finetune, random, progressive, got 'frozen'"
    ):
        PongRun(arm="frozen")
    for arm, source in (("scratch", "pong"), ("random", "pong"), ("head", None), ("progressive", None)):
        with pytest.raises(ValueError, match="a source belongs to head, finetune and progressive, got"):
            PongRun(arm=arm, source=source)


def test_the_papers_pairs_are_all_there_and_nothing_at_smaller_scales():
    assert set(PONG.grid) == {"paper"}
    configs, seeds = PONG.configs("paper"), PONG.seeds("paper")
    assert len(configs) == len(set(configs)) == 2 * 8 + 3 * 3 * 7
    assert seeds == [0, 1, 2]
    assert {config.source for config in configs} == {None, "pong", "noisy", "hflip"}
    assert all(config.source != config.target for config in configs)
    with pytest.raises(ValueError, match="scale 'book' is not one of paper"):
        PONG.configs("book")


def test_a_row_of_the_emulator(monkeypatch):
    pytest.importorskip("ale_py.vector_env")
    monkeypatch.undo()
    monkeypatch.setattr(pong, "WATCHED", 8)
    metrics = train(replace(TINY, arm="random", target="white"), 0, CPU)
    assert metrics["frames"] == [24, 48]
    assert len(metrics["sensitivity"]) == 3
