"""The experiments on progressive networks: Catch soup, changed images, pruning, transfer scores, rates."""

import math
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments.progressive_nets import (
    EXPERIMENTS,
    GROUPS,
    LIVE,
    SOUP_ARMS,
    Soup,
    Transfer,
    claims,
    explored,
    fit,
    games,
    images,
    named,
    search_images,
    search_soup,
    silenced,
    soup,
    tables,
)
from workedpapers.experiments.progressive_nets.tables import TUNED, TUNED_SOUP
from workedpapers.lab.paths import folder_from
from workedpapers.lab.sweeps import read_rows
from workedpapers.progressive_nets import ProgressiveNetwork, average_fisher_sensitivity
from workedpapers.tasks import catch
from workedpapers.tasks import images as raw
from workedpapers.tasks.splits import Split

CPU = torch.device("cpu")
TINY = Soup(target="black", sources=("catch",), updates=20, source_updates=10, boards=8)
IMAGE = Transfer(target="inverted", sources=("base",), updates=20, source_updates=20)
BOTH = pytest.mark.parametrize(("module", "config"), [(games, TINY), (images, IMAGE)], ids=["games", "images"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def policy_at_random(seed=0):
    return (2 * torch.randn(len(games.ROWS), 3, generator=seeded(seed))).softmax(1)


def number(row, column, paddle):
    """Of a board; the paddle is that of `catch`, 1 to 8."""
    return (row * 10 + column) * 8 + paddle - 1


# Catch as a table


@pytest.mark.parametrize("look", catch.VARIANTS)
def test_every_board_is_what_catch_shows(look):
    every = games.boards(look)
    seen = set()
    game = None
    for _ in range(20):
        game = catch.Catch(look, 64, seeded(len(seen)))
        for row in range(catch.STEPS):
            places = number(row, game.column, game.paddle)
            assert torch.equal(every[places], game.observe())
            seen |= set(places.tolist())
            game.step(torch.randint(3, (64,), generator=seeded(row)))
    assert max(seen) < len(every) == 720
    assert len(seen) > 700


def test_the_expected_score_is_that_of_a_loop_over_what_may_follow():
    policy = policy_at_random()
    table = policy.tolist()

    def score(row, column, paddle):
        if row == 9:
            return 1.0 if abs(column - paddle) <= 1 else -1.0
        chances = table[number(row, column, paddle)]
        return sum(p * after[row + 1, column, min(max(paddle + a - 1, 1), 8)] for a, p in enumerate(chances))

    after = {}
    for row in range(9, -1, -1):
        for column in range(10):
            for paddle in range(1, 9):
                after[row, column, paddle] = score(row, column, paddle)
    first = [after[0, column, paddle] for column in range(10) for paddle in range(1, 9)]
    assert games.expected_score(policy) == pytest.approx(sum(first) / 80, abs=1e-6)


def test_the_expected_score_is_that_of_playing_catch():
    policy, n = policy_at_random(1), 40_000
    game, generator = catch.Catch("catch", n, seeded()), seeded(1)
    for row in range(catch.STEPS):
        chances = policy[number(row, game.column, game.paddle)]
        reward = game.step(torch.multinomial(chances, 1, generator=generator).squeeze(1))
    error = float(reward.std()) / math.sqrt(n)
    assert games.expected_score(policy) == pytest.approx(float(reward.mean()), abs=4 * error)
    assert games.expected_score(torch.full((720, 3), 1 / 3)) == pytest.approx(catch.random_score(), abs=1e-6)


def test_episodes_follow_the_rules_of_catch_and_actions_their_probabilities():
    policy, n = policy_at_random(2), 4000
    seen, acted, reward = games.play(policy, n, seeded())
    game = catch.Catch("catch", n, seeded())
    game.column, game.paddle = games.COLUMNS[seen[:, 0]].clone(), games.PADDLE[seen[:, 0]] + 1
    assert len(set(zip(game.column.tolist(), game.paddle.tolist(), strict=True))) == 80
    for row in range(catch.STEPS):
        assert torch.equal(seen[:, row], number(row, game.column, game.paddle))
        found = game.step(acted[:, row])
    assert torch.equal(found, reward)
    chances = policy[seen]
    for action in range(3):
        p = chances[..., action].double()
        spread = math.sqrt(float((p * (1 - p)).sum()))
        assert float((acted == action).sum() - p.sum()) == pytest.approx(0, abs=4 * spread)


def test_an_update_is_one_of_an_actor_critic_by_hand(monkeypatch):
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)  # whose step is the gradient
    config = replace(TINY, updates=1, learning_rate=1.0, discount=0.8, entropy=0.3)
    network = games.pretrained(config, 0, CPU)
    torch.manual_seed(3)
    parameters = network.add_column("target", games.OUTPUTS)
    before = [parameter.detach().clone() for parameter in parameters]

    generator = seeded(5)
    where = torch.randint(10, (8,), generator=generator).tolist()
    paddles = torch.randint(8, (8,), generator=generator).tolist()
    draws = torch.rand(9, 8, generator=generator).tolist()
    log_chosen, values, returns, entropies = [], [], [], []
    for episode in range(8):
        paddle = paddles[episode] + 1
        for row in range(9):
            ball = torch.tensor([[row, where[episode]]])
            output = network(catch.render(ball, torch.tensor([paddle]), "black"), "target")[0]
            policy = output[:3].softmax(0)
            left, stay, _ = policy.tolist()
            draw = draws[row][episode]
            action = 0 if draw <= left else 1 if draw <= left + stay else 2
            paddle = min(max(paddle + action - 1, 1), 8)
            log_chosen.append(policy[action].log())
            values.append(output[3])
            entropies.append(-(policy * policy.log()).sum())
        reward = 1.0 if abs(paddle - where[episode]) <= 1 else -1.0
        returns += [reward * 0.8 ** (8 - row) for row in range(9)]
    errors = torch.tensor(returns) - torch.stack(values)
    advantages = errors.detach() / (errors.detach().std() + 1e-3)
    loss = (0.5 * errors**2 - torch.stack(log_chosen) * advantages - 0.3 * torch.stack(entropies)).mean()
    gradients = torch.autograd.grad(loss, parameters)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))

    games.learn(network, "target", "black", parameters, config, seeded(5))
    for parameter, was, gradient in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), was - gradient / max(norm, 1), atol=1e-5, rtol=1e-4)


def test_a_curve_goes_from_before_the_first_update_to_after_the_last():
    network = games.pretrained(TINY, 0, CPU)
    torch.manual_seed(0)
    parameters = network.add_column("target", games.OUTPUTS)
    first = games.score(network, "target", "black")
    curve = games.learn(network, "target", "black", parameters, TINY, seeded())
    assert len(curve) == 3
    assert curve[0] == pytest.approx(first, abs=1e-6)
    assert curve[-1] == pytest.approx(games.score(network, "target", "black"), abs=1e-6)


def test_a_policy_for_catch_is_learned():
    found = games.train(Soup(updates=200, learning_rate=0.01), 1, CPU)
    assert found["final"] > 0.8
    assert found["curve"][0] == pytest.approx(catch.random_score(), abs=0.05)


# Arms


@pytest.fixture
def spied(monkeypatch):
    """What `learn` was called for: the network, the task, and all tensors before and after."""

    def of(module):
        calls, learn = [], module.learn

        def state(network):
            return {name: tensor.clone() for name, tensor in network.state_dict().items()}

        def spy(network, task, *others):
            before = state(network)
            curve = learn(network, task, *others)
            calls.append(SimpleNamespace(network=network, task=task, before=before, after=state(network)))
            return curve

        monkeypatch.setattr(module, "learn", spy)
        module._pretrained.cache_clear()
        return calls

    yield of
    games._pretrained.cache_clear()
    images._pretrained.cache_clear()


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def output_layer(state):
    last = max(name.split(".own")[0] for name in state if ".own" in name)
    return {f"{last}.own.weight", f"{last}.own.bias"}


@BOTH
def test_head_trains_the_output_layer_only(spied, module, config):
    calls = spied(module)
    module.train(replace(config, arm="head"), 0, CPU)
    source, target = calls
    assert target.task == source.task
    assert changed(target.before, target.after) == output_layer(target.before)


@BOTH
def test_finetune_trains_all_of_the_source(spied, module, config):
    calls = spied(module)
    module.train(replace(config, arm="finetune"), 0, CPU)
    source, target = calls
    assert changed(target.before, target.after) == set(target.before) == set(source.before)


@BOTH
@pytest.mark.parametrize("arm", ["head", "finetune"])
def test_a_kept_output_layer_is_the_source_s_and_a_new_one_drawn_anew(spied, module, config, arm):
    calls = spied(module)
    for new_head in (False, True):
        module.train(replace(config, arm=arm, new_head=new_head), 2, CPU)
    source, kept, new = calls  # the source is learned once
    assert changed(source.after, kept.before) == set()
    assert changed(source.after, new.before) == output_layer(new.before)
    weight, bias = sorted(output_layer(new.before), reverse=True)
    torch.manual_seed(2000)
    fresh = nn.Linear(*reversed(new.before[weight].shape))
    assert torch.equal(new.before[weight], fresh.weight)
    assert torch.equal(new.before[bias], fresh.bias)


@BOTH
@pytest.mark.parametrize("options", [{}, {"lateral": "adapter", "gate": -1.0}], ids=["linear", "adapter"])
def test_a_new_column_leaves_the_old_ones_as_they_are(spied, module, config, options):
    calls = spied(module)
    first = config.sources[0]
    sources = (first, "noisy" if module is games else "turned")
    module.train(replace(config, arm="progressive", sources=sources, **options), 0, CPU)
    *_, second, target = calls
    assert [call.task for call in calls] == [f"0 {sources[0]}", f"1 {sources[1]}", "target"]
    for k, call in enumerate(calls):
        new = {name for name in call.after if name.startswith(f"columns.{k}.")}
        assert changed(call.before, call.after) <= new
        assert changed(call.before, call.after) >= {name for name in new if "own.weight" in name}
    assert changed(second.after, {name: target.after[name] for name in second.after}) == set()


@BOTH
def test_a_random_source_is_drawn_and_never_trained(spied, module, config):
    calls = spied(module)
    module.train(replace(config, arm="progressive", sources=("random",)), 3, CPU)
    (target,) = calls
    torch.manual_seed(3001)
    hidden = module.column(0) if module is games else module.column(64, 64, 2)
    fresh = [*hidden.parameters(), *nn.Linear(64, 4 if module is games else 10).parameters()]
    found = [tensor for name, tensor in target.after.items() if name.startswith("columns.0.")]
    assert all(torch.equal(*pair) for pair in zip(found, fresh, strict=True))


@BOTH
def test_every_new_column_starts_with_the_weights_that_it_has_from_scratch(spied, module, config):
    calls = spied(module)
    first = config.sources[0]
    arms = (("scratch", ()), ("progressive", (first,)), ("progressive", ("random",)), ("progressive", (first, first)))
    for arm, sources in arms:
        module.train(replace(config, arm=arm, sources=sources, updates=0), 0, CPU)
    starts = [call.before for call in calls if call.task == "target"]
    assert len(starts) == 4
    for k, state in enumerate(starts):
        own = {name for name in starts[0] if ".own." in name}
        newest = max(int(name.split(".")[1]) for name in state)
        assert newest == (0, 1, 1, 2)[k]
        for name in own:
            assert torch.equal(starts[0][name], state[name.replace("columns.0", f"columns.{newest}")]), name


@BOTH
def test_a_source_is_learned_once_and_is_the_same_for_every_arm_whatever_is_done_with_it(spied, module, config):
    calls = spied(module)
    one = module.pretrained(config.__class__(**{**vars(config), "arm": "head"}), 0, CPU)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
    others = {"learning_rate": 0.5, "updates": 0, "target": config.sources[0], "new_head": False}
    for arm in ("head", "finetune", "progressive"):
        module.train(replace(config, arm=arm, **others), 0, CPU)
    source, *targets = calls
    assert len(targets) == 3
    for target in targets:
        assert changed(source.after, {name: target.before[name] for name in source.after}) == set()


@BOTH
def test_linear_and_adapter_columns_have_the_same_first_source(spied, module, config):
    calls = spied(module)
    for options in ({}, {"lateral": "adapter", "scale_init": 1.0}, {"lateral_gain": 0.0}):
        module.train(replace(config, arm="progressive", updates=0, **options), 0, CPU)
    first, *others = [call.after for call in calls if call.task != "target"]
    assert len(others) == 2
    assert all(changed(first, other) == set() for other in others)


@BOTH
def test_a_row_repeats_and_leaves_the_generator_alone(module, config):
    config = replace(config, arm="progressive", updates=10)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    module._pretrained.cache_clear()
    first = module.train(config, 0, CPU)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(6)
    module._pretrained.cache_clear()
    assert first == module.train(config, 0, CPU)
    assert first != module.train(config, 1, CPU)


ASKED = {
    "scratch": set(),
    "head": {"source_before", "source_after"},
    "finetune": {"source_before", "source_after"},
    "progressive": {"sensitivity"},
}


@pytest.mark.parametrize("arm", ASKED)
def test_a_row_of_catch_says_what_was_asked(arm):
    found = games.train(replace(TINY, arm=arm, updates=60), 0, CPU)
    assert set(found) == {"curve", "area", "final"} | ASKED[arm]
    assert len(found["curve"]) == 7
    assert found["area"] == pytest.approx(np.mean(found["curve"]))
    assert found["final"] == pytest.approx(np.mean(found["curve"][2:]))
    if arm == "progressive":
        assert np.array(found["sensitivity"]).shape == (3, 2)
        np.testing.assert_allclose(np.sum(found["sensitivity"], 1), 1, rtol=1e-5)


@pytest.mark.parametrize("arm", ASKED)
def test_a_row_of_images_says_what_was_asked(arm):
    found = images.train(replace(IMAGE, arm=arm, updates=30), 0, CPU)
    assert set(found) == {"curve", "area", "final", "parameters"} | (ASKED[arm] - {"source_before"})
    assert len(found["curve"]) == 4
    assert found["area"] == pytest.approx(np.mean(found["curve"]))
    assert found["final"] == pytest.approx(np.mean(found["curve"][1:]))
    sizes = {
        "scratch": 2 * 65 * 64 + 65 * 10,
        "head": 65 * 10,
        "finetune": 2 * 65 * 64 + 65 * 10,
        "progressive": 65 * 64 + (65 + 64) * (64 + 10),
    }
    assert found["parameters"] == sizes[arm]


# Sensitivities to noise


@pytest.fixture(scope="module")
def disturbed():
    """A network with a second column, and its shares by every measure."""
    config = replace(TINY, arm="progressive", target="noisy", updates=60, source_updates=100, learning_rate=0.01)
    network = games.pretrained(config, 0, CPU)
    torch.manual_seed(0)
    games.learn(network, "target", "noisy", network.add_column("target", 4), config, seeded())
    return network, {name: np.array(shares) for name, shares in games.noise(network, "target", "noisy").items()}


def test_slopes_squared_by_pixel_are_those_of_a_loop_over_boards_and_pixels(disturbed):
    network, _ = disturbed
    x = games.boards("noisy")[::40]
    tapped = {}

    def tap(i, j, h):
        h = h if h.requires_grad else h.requires_grad_()
        tapped[i, j] = h
        return h

    info = np.zeros((3, 2))
    values = {(i, j): [] for i in range(3) for j in range(2)}
    slopes = {place: [] for place in values}
    for board in x:
        output, _ = network.run(board[None], "target", tap=tap)
        policy = output[0, :3].softmax(0)
        for action in range(3):
            grads = torch.autograd.grad(policy[action].log(), list(tapped.values()), retain_graph=True)
            for place, grad in zip(tapped, grads, strict=True):
                slopes[place].append(float(policy[action].detach()) * grad.detach().numpy().reshape(-1) ** 2)
        for place, h in tapped.items():
            values[place].append(h.detach().numpy().reshape(-1))
    for (i, j), rows in values.items():
        maps = (8, 16, 64)[i]
        variance = np.array(rows).reshape(len(x), maps, -1).var((0, 2))
        squares = np.array(slopes[i, j]).reshape(3 * len(x), maps, -1).sum((0, 2)) / len(x)
        info[i, j] = (variance * squares).sum()
    typed = info / info.sum(1, keepdims=True)
    np.testing.assert_allclose(games.by_pixel(network, x, "target").numpy(), typed, rtol=1e-3)
    every = average_fisher_sensitivity(network, [x], "target", logits=games.policy_of).numpy()
    np.testing.assert_allclose(typed[2], every[2], rtol=1e-3)  # units have no pixels
    assert np.abs(typed[:2] - every[:2]).max() > 1e-3


def test_small_noise_finds_the_shares_of_slopes_squared_by_pixel(disturbed):
    _, found = disturbed
    assert set(found) == {"sensitivity_pixels", "noise_policy", "noise_part", "noise_half"}
    for shares in found.values():
        assert shares.shape == (3, 2)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found["noise_policy"], found["sensitivity_pixels"], atol=0.05)


def test_a_policy_that_is_no_better_than_chance_has_no_half_of_its_score():
    network = games.pretrained(replace(TINY, sources=("random",)), 0, CPU)
    parameters = network.add_column("target", 4)
    with torch.no_grad():  # to the left, whatever is seen
        parameters[-2].zero_()
        parameters[-1].copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
    found = games.noise(network, "target", "black")
    assert np.isnan(found["noise_part"]).all()
    assert np.isnan(found["noise_half"]).all()


@pytest.mark.parametrize("change", [{"arm": "head"}, {"arm": "scratch", "sources": ()}])
def test_only_a_column_beside_others_can_be_perturbed(change):
    with pytest.raises(ValueError, match="only a column beside others can be perturbed"):
        replace(TINY, perturbed=True, **change)


def test_networks_that_are_disturbed_are_those_of_the_soup():
    table = EXPERIMENTS["sensitivity"]
    assert set(table.configs("book")) == {
        replace(config, perturbed=True)
        for name, pairs in tables.PERTURBED.items()
        for config in soup(name).configs("book")
        if (*config.sources, config.target) in pairs
    }
    assert {pair for pairs in tables.PERTURBED.values() for pair in pairs} == set(tables.SHOWN)
    rows = recorded_metrics(Soup)
    for config in table.configs("book"):
        for seed in table.seeds("book"):
            one, other = (rows[seed, c] for c in (config, replace(config, perturbed=False)))
            np.testing.assert_allclose(one["curve"], other["curve"], atol=0.02)
            np.testing.assert_allclose(one["sensitivity"], other["sensitivity"], atol=0.02)


# Images


def of_numpy(change, part):
    """Images and labels of the digits under a change, by NumPy."""
    found = raw.digits(part)
    x, y = found.images.numpy().astype(np.float32) / 255, found.labels.numpy()
    if change in ("low", "high"):
        kept = (y < 5) if change == "low" else (y >= 5)
        return x[kept], y[kept]
    made = {
        "base": lambda: x,
        "rotated": lambda: np.stack([np.rot90(image) for image in x]),
        "turned": lambda: x[:, ::-1, ::-1],
        "mirrored": lambda: np.stack([np.fliplr(image) for image in x]),
        "inverted": lambda: np.float32(1) - x,
    }
    return made[change](), y


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("change", ["base", "rotated", "turned", "mirrored", "inverted", "low", "high"])
def test_a_change_is_what_numpy_makes_of_the_digits(change, part):
    found = images.load("digits", change, part, CPU)
    x, y = of_numpy(change, part)
    np.testing.assert_array_equal(found.images.numpy(), x.reshape(len(x), -1))
    np.testing.assert_array_equal(found.labels.numpy(), y)


@pytest.mark.parametrize("change", ["permuted", "permuted again"])
def test_a_permutation_is_one_of_pixels_the_same_in_both_parts(change):
    moved, base = (
        torch.cat([images.load("digits", name, part, CPU).images for part in ("train", "test")]).numpy()
        for name in (change, "base")
    )
    # A pixel is known by what it has been in all images, of either part.
    assert Counter(column.tobytes() for column in moved.T) == Counter(column.tobytes() for column in base.T)
    assert (moved != base).any(0).sum() > 40


def test_the_two_permutations_differ_and_keep_the_labels():
    one, other, base = (images.load("digits", name, "train", CPU) for name in ("permuted", "permuted again", "base"))
    assert not torch.equal(one.images, other.images)
    assert torch.equal(one.labels, base.labels)
    assert torch.equal(other.labels, base.labels)


def test_relabelling_gives_every_class_another_name_the_same_in_both_parts():
    names = set()
    for part in ("train", "test"):
        new, base = (images.load("digits", name, part, CPU) for name in ("relabelled", "base"))
        assert torch.equal(new.images, base.images)
        names |= set(zip(base.labels.tolist(), new.labels.tolist(), strict=True))
    assert sorted(was for was, _ in names) == sorted(now for _, now in names) == list(range(10))
    assert any(was != now for was, now in names)


def test_every_change_has_a_test():
    assert set(images.CHANGES) == {
        *("base", "rotated", "turned", "mirrored", "inverted", "low", "high"),
        *("permuted", "permuted again", "relabelled"),
    }


def test_only_the_first_images_are_taken_after_classes_are_chosen(monkeypatch):
    values = torch.arange(25_000.0)
    every = Split(values.view(-1, 1, 1, 1), (values % 10).long())
    monkeypatch.setattr(Split, "load", lambda data, part, device: every)
    load = images.load.__wrapped__
    assert load("mnist", "base", "train", CPU).images.flatten().tolist() == list(range(10_000))
    assert load("mnist", "base", "test", CPU).images.flatten().tolist() == list(range(2000))
    high = [i for i in range(25_000) if i % 10 >= 5]
    assert load("mnist", "high", "train", CPU).images.flatten().tolist() == high[:10_000]
    assert load("mnist", "high", "test", CPU).images.flatten().tolist() == high[:2000]


def test_images_that_are_kept_hold_no_others_in_memory():
    split = images.load("digits", "high", "test", CPU)
    assert split.images.untyped_storage().nbytes() == split.images.numel() * 4


@pytest.mark.skipif(
    not all(
        ((folder_from("WORKEDPAPERS_DATA") or Path("none")) / name / "t10k-images-idx3-ubyte.gz").is_file()
        for name in ("mnist", "fashion-mnist")
    ),
    reason="WORKEDPAPERS_DATA holds no MNIST and Fashion-MNIST",
)
@pytest.mark.parametrize(("data", "task"), [("mnist", "fashion-mnist"), ("fashion-mnist", "mnist")])
def test_another_data_set_is_a_task_too(data, task):
    found = images.load(data, task, "test", CPU)
    expected = raw.load({"mnist": raw.MNIST, "fashion-mnist": raw.FASHION_MNIST}[task], "test")
    assert found.images.shape == (2000, 784)
    np.testing.assert_allclose(found.images[:50].numpy(), expected.images[:50].flatten(1).numpy() / 255, rtol=1e-6)
    assert torch.equal(found.labels, expected.labels[:2000])


def test_the_few_labelled_examples_of_a_seed_are_those_of_every_arm():
    short = replace(IMAGE, updates=0, source_updates=1, labels=30)
    arms = [
        replace(short, arm="scratch", sources=()),
        replace(short, arm="head"),
        replace(short, arm="finetune", new_head=False, learning_rate=0.1),
        replace(short, arm="progressive", lateral="adapter", target_depth=3),
        replace(short, arm="progressive", sources=("random", "low")),
    ]
    few, *others = [fit(config, 4, CPU).few for config in arms]
    assert few.images.shape == (30, 64)
    for other in others:
        assert torch.equal(few.images, other.images)
        assert torch.equal(few.labels, other.labels)
    assert not torch.equal(few.images, fit(arms[0], 5, CPU).few.images)
    x, y = of_numpy("inverted", "train")
    every = {(image.tobytes(), int(label)) for image, label in zip(x.reshape(len(x), -1), y, strict=True)}
    mine = {(image.tobytes(), int(label)) for image, label in zip(few.images.numpy(), few.labels, strict=True)}
    assert len(mine) == 30
    assert mine <= every


def test_more_labels_are_added_to_fewer():
    few, more = (fit(replace(IMAGE, arm="scratch", updates=0, labels=n), 0, CPU).few for n in (30, 100))
    assert torch.equal(few.images, more.images[:30])


def test_images_to_be_tested_are_as_they_were_and_none_is_learned():
    for arm in ("head", "progressive"):
        fitted = fit(replace(IMAGE, arm=arm), 0, CPU)
        np.testing.assert_array_equal(fitted.test.images.numpy().reshape(-1, 8, 8), of_numpy("inverted", "test")[0])
        test = {image.numpy().tobytes() for image in fitted.test.images}
        assert not test & {image.numpy().tobytes() for image in fitted.few.images}


@pytest.mark.parametrize(("labels", "batch"), [(50, 16), (10, 32)])
def test_from_scratch_is_a_plain_network_trained_by_a_loop(labels, batch):
    config = Transfer(labels=labels, batch=batch, updates=10, learning_rate=0.01)
    fitted = fit(config, 0, CPU)
    torch.manual_seed(0)
    hidden = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    plain = nn.Sequential(*hidden, nn.Linear(64, 10))
    optimiser, generator, order = torch.optim.Adam(plain.parameters(), 0.01), seeded(), []
    for _ in range(10):
        size = min(labels, batch)
        if len(order) < size:
            order = torch.randperm(labels, generator=generator).tolist()
        row, order = order[:size], order[size:]
        optimiser.zero_grad()
        F.cross_entropy(plain(fitted.few.images[row]), fitted.few.labels[row]).backward()
        optimiser.step()
    x = fitted.test.images
    torch.testing.assert_close(fitted.network(x, "target"), plain(x), atol=1e-4, rtol=1e-4)
    right = (plain(x).argmax(1) == fitted.test.labels).double().mean()
    assert fitted.curve[-1] == pytest.approx(float(right), abs=2 / len(x))
    assert len(fitted.curve) == 2


def test_a_second_column_on_kept_features_learns_what_it_learns_without():
    config = replace(IMAGE, arm="progressive", updates=3)
    fitted = fit(config, 0, CPU)
    network = images.pretrained(config, 0, CPU)
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(network.add_column("target", 10), config.learning_rate)
    for row in torch.randperm(100, generator=seeded())[:96].split(32):
        optimiser.zero_grad()
        F.cross_entropy(network(fitted.few.images[row], "target"), fitted.few.labels[row]).backward()
        optimiser.step()
    x = fitted.test.images
    torch.testing.assert_close(fitted.network(x, "target"), network(x, "target"), atol=1e-4, rtol=1e-4)


def test_the_accuracy_before_is_that_on_the_last_source():
    short = replace(IMAGE, updates=0)
    for arm in ("head", "progressive"):
        network = images.pretrained(replace(short, arm=arm), 0, CPU)
        split = images.load("digits", "base", "test", CPU)
        right = np.mean(network(split.images, "0 base").detach().numpy().argmax(1) == split.labels.numpy())
        assert fit(replace(short, arm=arm), 0, CPU).before == pytest.approx(right)
        assert images.tested(network, "0 base", "digits", "base") == pytest.approx(right)
    assert fit(replace(short, arm="scratch"), 0, CPU).before is None
    assert fit(replace(short, arm="progressive", sources=("random",)), 0, CPU).before is None


def shapes(fitted):
    return [[tuple(layer.own.weight.shape) for layer in column.layers] for column in fitted.network.columns]


def test_later_columns_may_be_narrower():
    config = replace(IMAGE, arm="progressive", sources=("base", "random"), updates=0, source_updates=0)
    first, narrow = [(64, 64), (64, 64), (10, 64)], [(16, 64), (16, 16), (10, 16)]
    assert shapes(fit(config, 0, CPU)) == [first] * 3
    assert shapes(fit(replace(config, later_width=16), 0, CPU)) == [first, narrow, narrow]
    alone = replace(config, arm="scratch", later_width=16)
    assert shapes(fit(alone, 0, CPU)) == [first]


@pytest.mark.parametrize("layers", ["previous", "same", "all"])
@pytest.mark.parametrize(("depth", "target"), [(2, 4), (4, 2)])
def test_the_column_of_the_target_may_be_deeper_or_flatter(layers, depth, target):
    config = replace(IMAGE, arm="progressive", layers=layers, depth=depth, updates=1, source_updates=0)
    first, second = shapes(fit(replace(config, target_depth=target), 0, CPU))
    assert (len(first), len(second)) == (depth + 1, target + 1)
    assert [len(column) for column in shapes(fit(config, 0, CPU))] == [depth + 1] * 2


def test_what_a_configuration_says_of_the_network_reaches_it():
    options = {"lateral": "adapter", "lateral_gain": 0.3, "scale_init": 0.7, "gate": -2.0}
    of_images = images.pretrained(replace(IMAGE, layers="all", adapter_width=5, **options), 0, CPU)
    of_games = games.pretrained(replace(TINY, **options), 0, CPU)
    for network in (of_images, of_games):
        assert {name: getattr(network, name) for name in options} == options
    assert (of_images.sources, of_images.adapter_width) == ("all", 5)


# Pruning


PRUNED = replace(IMAGE, arm="progressive", sources=("base", "turned"), later_width=16, pruned=True)


def right(fitted, output):
    return float((output.argmax(1) == fitted.test.labels).float().mean())


def test_a_network_with_all_features_is_itself_and_with_none_hears_what_is_usual_for_the_examples():
    fitted = fit(PRUNED, 0, CPU)
    x = fitted.test.images
    usual = fitted.network.features(fitted.few.images, "target")
    quiet = replace(usual, layers=tuple(layer.mean(0).expand(len(x), -1) for layer in usual.layers))
    found = images.pruning(fitted, 0)
    assert set(found) == {"fisher", "weights", "random"}
    for accuracies in found.values():
        assert len(accuracies) == len(images.KEPT)
        assert accuracies[-1] == right(fitted, fitted.network(x, "target"))
        assert accuracies[0] == right(fitted, fitted.network(x, "target", quiet))
    trained = images.train(PRUNED, 0, CPU)
    assert {order: trained[f"pruned_{order}"] for order in found} == found
    assert "pruned_fisher" not in images.train(replace(PRUNED, pruned=False), 0, CPU)


def test_half_of_the_features_by_what_they_send_is_what_a_loop_makes_of_it():
    fitted = fit(PRUNED, 0, CPU)
    network, x = fitted.network.requires_grad_(False), fitted.test.images
    layers = network.columns[-1].layers
    h = (x @ layers[0].own.weight.T + layers[0].own.bias).relu()
    of_all, of_few = (network.features(images, "target").layers for images in (x, fitted.few.images))
    for features, few, layer in zip(of_all, of_few, layers[1:], strict=True):
        size = [float(layer.lateral.weight[:, i].norm() * few[:, i].std()) for i in range(80)]
        for i in sorted(range(80), key=lambda i: size[i])[:40]:
            features[:, i] = few[:, i].mean()
        h = h @ layer.own.weight.T + layer.own.bias + features @ layer.lateral.weight.T
        h = h if layer is layers[-1] else h.relu()
    assert images.pruning(fitted, 0)["weights"][images.KEPT.index(0.5)] == pytest.approx(right(fitted, h), abs=0.003)


def test_a_silenced_network_answers_as_if_earlier_columns_saw_nothing():
    fitted = fit(replace(IMAGE, arm="progressive"), 0, CPU)
    quiet = silenced(fitted, fitted.few.images)
    for layer, every in zip(quiet.layers, fitted.network.features(fitted.test.images, "target").layers, strict=True):
        assert layer.shape == (100, 64)
        torch.testing.assert_close(layer, every.mean(0).repeat(100, 1))


@pytest.mark.parametrize("change", [{"lateral": "adapter"}, {"layers": "all"}, {"target_depth": 3}, {"arm": "head"}])
def test_what_cannot_be_pruned_is_refused(change):
    with pytest.raises(ValueError, match="only linear laterals from the previous layer can be pruned"):
        replace(PRUNED, **change)


# Transfer scores


def test_transfer_scores_are_areas_above_chance_over_that_of_the_mean_from_scratch(monkeypatch):
    curves = {
        ("scratch", (), "zoom", 0): [-0.4, 0.4],
        ("scratch", (), "zoom", 1): [-0.2, 0.6],
        ("scratch", (), "catch", 0): [0.0, 1.0],
        ("head", ("noisy",), "zoom", 0): [0.1, 0.9],
        ("head", ("noisy", "hflip"), "catch", 1): [-0.6, 0.0],
    }

    def made_up(name, scale, device):
        columns = ("sources", "target", "seed", "curve", "area", "final")
        rows = [
            dict(zip(columns, (*key[1:], curve, float(np.mean(curve)), curve[-1]), strict=True))
            for key, curve in curves.items()
            if key[0] == name
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(claims, "SOUP_ARMS", ("scratch", "head"))
    monkeypatch.setattr(claims, "soup", lambda name: name)
    monkeypatch.setattr(claims, "sweep", made_up)
    found = claims.soup_scores()
    assert found.arm.tolist() == ["scratch"] * 3 + ["head"] * 2
    assert found.source.tolist() == ["", "", "", "noisy", "noisy, hflip"]
    # Above −0.4: from scratch 0.4 and 0.6, mean 0.5, on zoom, 0.9 on catch; head 0.9 and 0.1.
    assert found.score.tolist() == pytest.approx([80, 120, 100, 180, 100 * 0.1 / 0.9], rel=1e-5)
    assert found.final.tolist() == [0.4, 0.6, 1.0, 0.9, 0.0]


def test_another_baseline_is_another_hundred():
    harder = claims.soup_scores(tables.even("scratch"))
    scores = claims.soup_scores()
    for name in ("scratch", "linear"):
        one, other = (found[found.arm == name].score.to_numpy() for found in (harder, scores))
        assert not np.allclose(one, other)
    rows = recorded_metrics(Soup)
    configs = {config.target: config for config in tables.even("scratch").configs("book")}
    row = harder[harder.arm == "linear"].iloc[0]
    area = np.mean([rows[seed, configs[row.target]]["area"] for seed in range(3)])
    assert row.score == pytest.approx(100 * (row.area + 0.4) / (area + 0.4), rel=1e-5)


def test_there_is_no_scoreboard_while_rows_are_missing(monkeypatch):
    monkeypatch.setattr(claims, "missing", lambda table, scale: ["one"])
    assert claims.scoreboard() == []


def test_a_claim_is_judged_by_its_differences():
    board = claims.scoreboard()
    assert len(board) == len({claim.claim for claim in board}) == 10
    scores = claims.soup_scores()
    assert set(scores.arm) == set(SOUP_ARMS)

    def by_pair(name):
        """Of every pair, what an arm without a source has on its look."""
        found = scores[scores.arm == name].set_index(["target", "seed"])
        pairs = scores[scores.arm == "linear"]
        return pairs.assign(score=[found.score[key] for key in zip(pairs.target, pairs.seed, strict=True)])

    assert {len(part) for _, part in claims.on_pairs(scores).groupby("arm")} == {3 * 21, 3 * 18}
    median = scores[scores.arm == "linear"].groupby("seed").score.median()
    alone = by_pair("scratch").groupby("seed").score.median()
    assert board[0].runs == pytest.approx(tuple(alone - median))
    assert board[3].runs == pytest.approx(tuple(by_pair("random").groupby("seed").score.median() - median))
    for claim in board:
        assert (claim.verdict == "holds") == all(run < 0 for run in claim.runs)


# Check rows, searches and tables


def test_check_rows_have_every_kind():
    rows, of_images = (EXPERIMENTS[name].configs("check") for name in ("check", "check_images"))
    shared = {
        "arm": {"scratch", "head", "finetune", "progressive"},
        "new_head": {True, False},
        "lateral": {"linear", "adapter"},
        "gate": {None, -1.0},
        "lateral_gain": {1.0, 0.3},
        "scale_init": {0.1, 1.0},
    }
    assert {row.perturbed for row in rows} == {True, False}
    only_images = {
        "data": {"digits"},  # which needs no download
        "layers": {"previous", "same", "all", "mixture"},
        "adapter_width": {None, 5},
        "later_width": {None, 16},
        "target_depth": {None, 3},
        "pruned": {True, False},
    }
    for name, values in shared.items():
        assert {getattr(row, name) for row in rows} == values, name
    for name, values in (shared | only_images).items():
        assert {getattr(row, name) for row in of_images} == values, name
    for found in (rows, of_images):
        assert max(len(row.sources) for row in found) == 2  # and so three columns
        assert any("random" in row.sources for row in found)


def bare(config):
    return replace(config, learning_rate=1.0, **({"pruned": False} if isinstance(config, Transfer) else {}))


@cache
def recorded_metrics(config_type):
    """Of the book's rows, by seed and configuration, read once."""
    table = EXPERIMENTS["search_soup" if config_type is Soup else "search_starts"]
    found = {}
    for row in read_rows(table).values():
        if row["scale"] == "book":
            fields = {name: tuple(value) if isinstance(value, list) else value for name, value in row["config"].items()}
            found[row["seed"], config_type(**fields)] = row["metrics"]
    return found


def means(table, metric):
    """Of a search, the mean over targets and seeds by rate; a test trains none of these."""
    by_rate = defaultdict(list)
    for config in table.configs("book"):
        for seed in table.seeds("book"):
            by_rate[config.learning_rate].append(recorded_metrics(table.config)[seed, config][metric])
    return {rate: float(np.mean(values)) for rate, values in by_rate.items()}


def assert_best_inside(found, rate, name):
    assert max(found, key=found.get) == rate, (name, found)
    assert min(found) < rate < max(found), (name, found)


def configs_of(table):
    return table.configs("book")


SEARCHED_SOUP = [
    name for name in tables.SOUP if set(configs_of(search_soup(name))) <= set(configs_of(EXPERIMENTS["search_soup"]))
]


@pytest.mark.parametrize("name", sorted(set(SEARCHED_SOUP) & set(SOUP_ARMS)))
def test_an_arm_of_catch_soup_has_the_rate_of_the_largest_area_with_smaller_ones_on_either_side(name):
    assert_best_inside(means(search_soup(name), "area"), TUNED_SOUP[name], name)


@pytest.mark.parametrize("group", GROUPS)
def test_an_arm_of_a_group_has_the_best_rate_with_worse_ones_on_either_side(group):
    assert set(TUNED[group]) == set(GROUPS[group])
    metric = "final" if group in tables.BY_FINAL else "area"
    for name, rate in TUNED[group].items():
        assert_best_inside(means(search_images(group, name), metric), rate, (group, name))


def test_a_baseline_has_twelve_tries_and_the_best_of_them():
    for name in tables.BASELINES:
        tried = configs_of(search_soup(name)) + configs_of(tables.search_even(name))
        settings = {(config.learning_rate, config.entropy) for config in tried}
        assert len(settings) == 12 == len(configs_of(search_soup("linear"))) * 3 / 4
        assert len(set(tried)) == len(tried) == 12 * len(tables.LOOKS)
        fixed = {"learning_rate": 1.0, "entropy": 1.0, "target": ""}
        assert {replace(config, **fixed) for config in tried} == {replace(tables.SOUP[name], **fixed)}
        areas = defaultdict(list)
        for config in tried:
            for seed in tables.SEARCH:
                areas[config.learning_rate, config.entropy].append(recorded_metrics(Soup)[seed, config]["area"])
        assert max(areas, key=lambda setting: np.mean(areas[setting])) == tables.BEST_OF_TWELVE[name]
        again = configs_of(tables.even(name))
        assert [config.target for config in again] == list(catch.VARIANTS)
        assert {(config.learning_rate, config.entropy) for config in again} == {tables.BEST_OF_TWELVE[name]}


def test_three_columns_have_the_rate_of_two():
    assert TUNED_SOUP["three columns"] == TUNED_SOUP["adapter"]
    three, two = (replace(tables.SOUP[name], sources=()) for name in ("three columns", "adapter"))
    assert three == two


LEFT_OUT = {"linear, gain 0.3": "linear", "linear, gain 0": "linear", "adapter, scale 0.1": "adapter"}


@pytest.mark.parametrize(("worse", "better"), LEFT_OUT.items())
def test_what_is_searched_and_left_out_is_no_better_than_what_stays(worse, better):
    assert max(means(search_soup(worse), "area").values()) < max(means(search_soup(better), "area").values())


def test_every_arm_of_catch_soup_is_kept_or_left_out():
    assert set(SOUP_ARMS) | set(LEFT_OUT) == set(tables.SOUP)
    assert set(SOUP_ARMS) == set(TUNED_SOUP)
    assert {*SEARCHED_SOUP, "three columns"} == set(tables.SOUP)


def test_a_search_of_catch_soup_tries_the_same_rates_for_every_arm_on_every_look():
    table = EXPERIMENTS["search_soup"]
    assert len(configs_of(table)) == len(set(configs_of(table)))
    assert set(configs_of(table)) == {config for name in SEARCHED_SOUP for config in configs_of(search_soup(name))}
    for name in SEARCHED_SOUP:
        tried = {(config.learning_rate, config.target) for config in configs_of(search_soup(name))}
        rates = {*tables.RATES, *tables.FURTHER_SOUP.get(name, ())}
        looks = set(tables.LOOKS) - set(tables.SOUP[name].sources)
        assert tried == {(rate, look) for rate in rates for look in looks}
        for config in configs_of(search_soup(name)):
            fixed = {"learning_rate": 1.0, "target": "", "sources": ()}
            assert replace(config, **fixed) == replace(tables.SOUP[name], **fixed)


@pytest.mark.parametrize("group", GROUPS)
def test_a_search_of_a_group_tries_all_rates_and_changes_nothing_else(group):
    configs = configs_of(EXPERIMENTS[f"search_{group}"])
    expected = []
    for name, arms in GROUPS[group].items():
        more = (*tables.FURTHER.get(name, ()), *tables.FURTHER.get(f"{group}: {name}", ()))
        expected += [replace(arm, learning_rate=rate, pruned=False) for rate in {*tables.RATES, *more} for arm in arms]
    assert set(configs) == set(expected)
    assert len(configs) == len(expected)


@pytest.mark.parametrize("group", GROUPS)
def test_a_table_has_every_arm_of_its_group_at_its_rate(group):
    configs = configs_of(EXPERIMENTS[group])
    assert [bare(c) for c in configs] == [bare(arm) for arms in GROUPS[group].values() for arm in arms]
    rates = [TUNED[group][name] for name, arms in GROUPS[group].items() for _ in arms]
    assert [config.learning_rate for config in configs] == rates
    assert configs_of(named(group, *GROUPS[group])) == configs


def test_catch_soup_has_every_pair_of_a_source_and_another_look():
    for name in SOUP_ARMS:
        configs = configs_of(soup(name))
        pairs = [(config.sources, config.target) for config in configs]
        assert len(pairs) == len(set(pairs)), name
        assert not any(target in sources for sources, target in pairs), name
        count = {"scratch": 8, "random": 8, "three columns": 3 * 6}.get(name, 3 * 7)
        assert len(pairs) == count, name
        fixed = {"learning_rate": 1.0, "target": "", "sources": ()}
        assert {replace(config, **fixed) for config in configs} == {replace(tables.SOUP[name], **fixed)}
        assert {config.learning_rate for config in configs} == {TUNED_SOUP[name]}
    assert set(configs_of(EXPERIMENTS["soup"])) == {config for name in SOUP_ARMS for config in configs_of(soup(name))}


def test_searches_and_other_tables_share_no_seed():
    ours = {name: table for name, table in EXPERIMENTS.items() if table.config in (Soup, Transfer)}
    searched = {seed for name, table in ours.items() if name.startswith("search") for seed in table.seeds("book")}
    assert {name for name in ours if name.startswith("search")} == {
        *("search_soup", "search_even"),
        *(f"search_{g}" for g in GROUPS),
    }
    for name, table in ours.items():
        if "book" in table.grid and not name.startswith("search"):
            assert not searched & set(table.seeds("book")), name
            assert len(table.seeds("book")) >= 3, name


def test_the_lesson_trains_rows_of_the_book_and_their_neighbours():
    assert set(LIVE.values()) <= set(configs_of(EXPERIMENTS["digits 30"]))
    for target in ("permuted", "relabelled"):
        assert explored(target) == replace(LIVE["second column"], target=target)


def test_networks_are_those_of_the_package():
    assert isinstance(games.pretrained(TINY, 0, CPU), ProgressiveNetwork)
    assert isinstance(images.pretrained(IMAGE, 0, CPU), ProgressiveNetwork)
