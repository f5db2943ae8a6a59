"""What the experiments of the batch-norm chapter train, and how they judge it. The rows are in test_experiments."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.batch_norm import BatchNorm
from workedpapers.experiments.batch_norm import (
    CNN_RATES,
    DEPTH_ARMS,
    EXPERIMENTS,
    FEATURES_RATES,
    FIGURE_ARMS,
    GHOST_RATES,
    GHOSTS,
    MAPS_RATES,
    NOISE_ARM,
    ORDER_RATES,
    POSITION_ARMS,
    SIZES,
    Cost,
    Domain,
    Ghost,
    Landscape,
    Noise,
    Run,
    Training,
    adapt,
    batch_statistics_error,
    build,
    error,
    load,
    look,
    measure,
    readable,
    scoreboard,
    steps,
    steps_table,
    train,
)
from workedpapers.experiments.batch_norm.shift import _measure
from workedpapers.experiments.batch_norm.steps import _claim
from workedpapers.experiments.batch_norm.training import observe_last_activation
from workedpapers.lab import chosen, missing, sweep

CPU = torch.device("cpu")
SMALL = Training("digits", updates=30, evaluate_every=10, batch_size=20, learning_rate=0.3, train_size=1_400)


def kinds(config):
    return [type(module).__name__ for module in build(config, 64)]


def test_the_papers_network_has_three_hidden_layers_of_100_sigmoids():
    network = build(Training(norm="none"), 784)
    shapes = [tuple(module.weight.shape) for module in network if isinstance(module, nn.Linear)]
    assert shapes == [(100, 784), (100, 100), (100, 100), (10, 100)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 785 * 100 + 2 * 101 * 100 + 101 * 10
    assert [name for name in kinds(Training(norm="none")) if name == "Sigmoid"] == 3 * ["Sigmoid"]
    assert abs(network[1].weight.std() - 0.1) < 0.002
    assert not network[1].bias.any()


def test_the_starting_weights_have_the_deviation_that_is_asked_for():
    assert abs(build(Training(std=0.4), 784)[1].weight.std() - 0.4) < 0.008


def test_normalisation_stands_where_it_is_asked_for():
    assert kinds(Training(depth=1)) == ["Flatten", "Linear", "BatchNorm", "Sigmoid", "Linear"]
    assert kinds(Training(depth=1, position="after")) == ["Flatten", "Linear", "Sigmoid", "BatchNorm", "Linear"]
    assert kinds(Training(depth=1, norm="noisy")) == ["Flatten", "Linear", "BatchNorm", "Noise", "Sigmoid", "Linear"]
    assert kinds(Training(depth=1, ghost_size=4)) == ["Flatten", "Linear", "Ghost", "Sigmoid", "Linear"]
    assert kinds(Training(network="cnn", norm="group", activation="relu")) == [
        *3 * ["Conv2d", "GroupNorm", "ReLU"],
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]


@pytest.mark.parametrize(
    ("norm", "position", "biased"),
    [("none", "before", True), ("batch", "before", False), ("batch", "after", True)],
)
def test_a_bias_right_below_a_normalisation_is_left_out(norm, position, biased):
    network = build(Training(norm=norm, position=position, depth=2), 64)
    hidden = [module for module in network if isinstance(module, nn.Linear)]
    assert [module.bias is not None for module in hidden] == [biased, biased, True]


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_network_maps_images_to_ten_logits(network):
    model = build(Training(network=network), 64)
    assert model(torch.rand(5, 1, 8, 8)).shape == (5, 10)


@pytest.mark.parametrize("name", ["network", "activation", "norm", "position"])
def test_an_unknown_choice_is_named(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'other'"):
        build(replace(Training(), **{name: "other"}), 64)


def test_momentum_reaches_the_layers():
    assert build(Training(momentum=0.03), 64)[2].momentum == 0.03


def test_ghost_batches_are_normalised_group_by_group_and_whole_in_evaluation():
    ghost, x = Ghost(BatchNorm(3).double(), 4), torch.randn(10, 3, dtype=torch.float64)
    expected = torch.cat([F.batch_norm(part, None, None, training=True) for part in (x[:4], x[4:8], x[8:])])
    torch.testing.assert_close(ghost(x), expected)
    ghost.eval()
    torch.testing.assert_close(ghost(x), ghost.norm(x))


def test_noise_disturbs_units_not_examples_and_is_off_in_evaluation():
    noise, x = Noise(), torch.randn(200, 500)
    y = noise(x)
    scale = y.std(0) / x.std(0)
    shift = y.mean(0) - scale * x.mean(0)
    torch.testing.assert_close(y, x * scale + shift, rtol=1e-4, atol=1e-5)
    for value, low, high in ((scale, 0.5, 1.5), (shift, -1, 1)):
        assert low <= value.min() < low + 0.05
        assert high - 0.05 < value.max() <= high
    assert not torch.equal(y, noise(x))
    noise.eval()
    assert torch.equal(noise(x), x)


def test_binary_images_are_black_and_white():
    plain, binary = load(SMALL, "test", CPU), load(replace(SMALL, binary=True), "test", CPU)
    assert torch.equal(binary.images, (plain.images > 0.5).float())
    assert torch.equal(binary.labels, plain.labels)


class Reads(nn.Module):
    """Answers with the number in the first pixel, three nats above the others."""

    def forward(self, x):
        return 3.0 * F.one_hot(x[:, 0, 0, 0].long(), 10)


def test_the_error_counts_images_and_averages_nats():
    split = load(SMALL, "test", CPU).cut(slice(0, 200))
    split.labels = torch.arange(200) % 10
    split.images = torch.zeros(200, 1, 1, 1)
    split.images[:, 0, 0, 0] = torch.where(torch.arange(200) < 30, (split.labels + 1) % 10, split.labels)
    percent, nats = error(Reads(), split)
    assert percent == pytest.approx(15)
    assert nats == pytest.approx(torch.tensor([3.0] + 9 * [0.0]).logsumexp(0).item() - 3 * 0.85, rel=1e-5)


def test_batch_statistics_are_those_of_each_test_batch_and_leave_the_model_alone():
    run = Run(SMALL, 0, CPU)
    for _ in range(60):
        run.update()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    found = batch_statistics_error(run.model, run.test, 20)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert not run.model.training
    run.model.train()
    answers = torch.cat([run.model(part).argmax(1) for part in run.test.images[:380].split(20)])
    assert found == pytest.approx(100 * (answers != run.test.labels[:380]).float().mean().item(), abs=1e-4)


def test_population_statistics_leave_the_model_alone():
    run = Run(SMALL, 0, CPU)
    run.update()
    run.model.eval()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.population_error(run.test)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_a_run_without_decay_is_plain_gradient_descent():
    run = Run(replace(SMALL, norm="none"), 0, CPU)
    weight = run.model[1].weight.detach().clone()
    images, labels = next(run.train.batches(20, torch.Generator().manual_seed(0)))
    gradient = torch.autograd.grad(F.cross_entropy(run.model(images), labels), run.model[1].weight)[0]
    run.update()
    torch.testing.assert_close(run.model[1].weight.detach(), weight - 0.3 * gradient)


def test_decay_brings_the_rate_to_zero_in_a_straight_line():
    run = Run(replace(SMALL, decay=True, updates=4), 0, CPU)
    rates = []
    for _ in range(4):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.update()
    assert rates == pytest.approx([0.3, 0.225, 0.15, 0.075])


def test_training_reports_its_curves_and_learns():
    row = train(replace(SMALL, population=True, updates=25), 0, CPU)
    assert row["curve_updates"] == [10, 20, 25]
    for name in ("train_loss", "curve_error", "curve_population", "percentile_15", "percentile_50", "percentile_85"):
        assert len(row[name]) == 3, name
    assert row["curve_error"][-1] == row["test_error"]
    assert row["curve_population"][-1] == row["population_error"]
    assert "validation_error" not in row
    assert row["train_loss"][-1] < row["train_loss"][0]
    for low, middle, high in zip(row["percentile_15"], row["percentile_50"], row["percentile_85"], strict=True):
        assert low < middle < high
    assert "validation_error" in train(replace(SMALL, train_size=1_300), 0, CPU)
    assert "batch_error" not in train(replace(SMALL, norm="none"), 0, CPU)


def test_the_loss_of_a_curve_is_the_mean_since_the_last_point():
    often, seldom = (train(replace(SMALL, evaluate_every=every, updates=9), 0, CPU)["train_loss"] for every in (1, 6))
    assert seldom == pytest.approx([sum(often[:6]) / 6, sum(often[6:]) / 3], rel=1e-5)


def test_percentiles_are_those_of_one_input_of_the_last_nonlinearity():
    config = replace(SMALL, updates=1)
    row, run = train(config, 0, CPU), Run(config, 0, CPU)
    run.update()
    run.model.eval()
    inputs = run.model[:-2](run.test.images)[:, 0]
    assert row["percentile_85"] == pytest.approx([inputs.quantile(0.85).item()], rel=1e-5)
    assert row["percentile_15"] == pytest.approx([inputs.quantile(0.15).item()], rel=1e-5)


def test_a_run_that_diverges_ends_there():
    row = train(replace(SMALL, activation="relu", norm="none", learning_rate=1e6), 0, CPU)
    assert row["updates_done"] < 10
    assert row["curve_error"] == []


@pytest.mark.parametrize(
    "job",
    [
        lambda: train(replace(SMALL, updates=2), 0, CPU),
        lambda: adapt(Domain("digits", updates=2), 0, CPU),
        lambda: look(Landscape("digits", "noisy", updates=2, measure_every=1), 0, CPU),
    ],
)
def test_training_leaves_the_global_generator_alone(job):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    job()
    assert torch.equal(torch.rand(1), expected)


def test_new_statistics_undo_a_change_of_contrast_and_brightness_but_no_inversion():
    row = adapt(Domain("digits", updates=150), 0, CPU)
    assert row["none_kept"] < 15
    assert row["grey_kept"] > 30
    assert row["grey_new"] == pytest.approx(row["none_new"], abs=0.3)
    assert row["inverted_new"] > 60


def test_looking_around_leaves_the_model_where_it_is():
    settings = Training("digits", norm="noisy", learning_rate=1.0)
    run = Run(settings, 0, CPU)
    observed = observe_last_activation(run.model)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    _measure(run, 1.0, observed)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_the_landscape_is_measured_along_the_gradient_of_one_batch():
    settings = Training("digits", norm="none", learning_rate=1.0)
    run, twin = Run(settings, 3, CPU), Run(settings, 3, CPU)
    measured = _measure(run, 1.0, observe_last_activation(run.model))
    images, labels = next(twin.batches)
    weights = list(twin.model.parameters())
    hidden = twin.model[:-2]

    def loss_and_gradient():
        loss = F.cross_entropy(twin.model(images), labels)
        return loss.item(), torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    start = nn.utils.parameters_to_vector(weights).detach()
    loss, gradient = loss_and_gradient()
    inputs = hidden(images).detach()
    losses, changes = [], []
    for step in (0.5, 1, 2, 4):
        nn.utils.vector_to_parameters(start - step * gradient, weights)
        there, its_gradient = loss_and_gradient()
        losses.append(there)
        changes.append(((its_gradient - gradient).norm() / gradient.norm()).item())
        if step == 1:
            moved = hidden(images).detach()
    drift = ((moved.mean(0) - inputs.mean(0)).abs() / inputs.std(0)).mean().item()
    # The last hidden layer has 100 × 100 weights, before its bias and the head's 1,010 numbers.
    last = slice(-1010 - 100 - 10_000, -1010 - 100)
    below = gradient.clone()
    below[last.start :] = 0
    nn.utils.vector_to_parameters(start - below, weights)
    _, disturbed = loss_and_gradient()
    own, other = gradient[last], disturbed[last]
    shift, length = (own - other).norm().item(), own.norm().item()
    cosine = (own @ other).item() / (length * other.norm().item())
    expected = (loss, min(losses), max(losses), max(changes), shift, shift / length, cosine, drift)
    assert measured == pytest.approx(expected, rel=1e-4)


def one_rate(rates):
    return {arm: (rate,) for arm, rate in rates.items()}


def each_size(rates):
    return {(norm, size): (rate,) for norm, row in rates.items() for size, rate in zip(SIZES, row, strict=True)}


@pytest.mark.parametrize(
    ("table", "by", "what", "arms"),
    [
        ("search", ["norm"], ["std", "learning_rate"], FIGURE_ARMS),
        ("search_cnn", ["activation", "norm"], ["learning_rate"], one_rate(CNN_RATES)),
        ("search_noise", ["norm"], ["std", "learning_rate"], {"noisy": NOISE_ARM}),
        ("search_position", ["activation", "position"], ["std", "learning_rate"], POSITION_ARMS),
        ("search_depth", ["depth", "norm"], ["std", "learning_rate"], DEPTH_ARMS),
        ("search_maps", ["norm", "batch_size"], ["learning_rate"], each_size(MAPS_RATES)),
        ("search_features", ["norm", "batch_size"], ["learning_rate"], each_size(FEATURES_RATES)),
        ("search_order", ["norm", "order"], ["learning_rate"], one_rate(ORDER_RATES)),
        (
            "search_ghost",
            ["norm", "ghost_size"],
            ["learning_rate"],
            one_rate(dict(zip(GHOSTS, GHOST_RATES, strict=True))),
        ),
    ],
)
def test_every_arm_runs_with_what_its_search_chose(table, by, what, arms):
    search = EXPERIMENTS[table]
    assert missing(search, "book") == []  # a test trains none of these
    best = chosen(sweep(search, "book", n_jobs=1), by, ["std", "learning_rate"])
    assert dict(zip(best.index, map(tuple, best[what].to_numpy().tolist()), strict=True)) == arms


def test_the_table_of_steps_compares_with_the_baseline_of_the_same_seed(monkeypatch):
    curves = {
        "no norm": [[10.0, 6.0, 4.0], [10.0, 3.0, 3.5]],
        "batch norm, ×1": [[4.0, 3.0, 2.0], [5.0, 4.0, 3.0]],
        "batch norm, ×5": [[9.0, 9.0, 4.5], [9.0, 2.0, 2.0]],
    }
    rows = []
    for arm, runs in curves.items():
        activation, norm, multiple = steps.ARMS[arm]
        for seed, errors in enumerate(runs):
            rate = multiple * CNN_RATES["relu", "none"]
            settings = {"activation": activation, "norm": norm, "learning_rate": rate}
            found = {"curve_updates": [100, 200, 300], "curve_error": errors, "curve_population": errors}
            rows.append(settings | {"seed": seed} | found)
    monkeypatch.setattr(steps, "sweep", lambda *_, **__: pd.DataFrame(rows))
    table = steps_table().set_index(["arm", "seed"])
    assert table.best.tolist() == [96, 97, 98, 97, 95.5, 98]
    assert table.gain.tolist() == [0, 0, 2, 0, -0.5, 1]
    assert table.speedup.tolist() == pytest.approx([1, 1, 3, 2 / 3, 0, 1])


def test_the_scoreboard_compares_with_the_papers_table():
    claims = {claim.claim: claim for claim in scoreboard()}
    assert len(claims) == 6
    assert claims["batch norm, ×5: times fewer updates to the best accuracy of the baseline"].paper == 14.8
    assert claims["batch norm, ×30: best accuracy, less that of the baseline (points)"].paper == 2.6


@pytest.mark.parametrize(
    ("paper", "runs", "neutral", "verdict"),
    [
        (2.3, (1.1, 9.0), 1, "holds"),
        (2.3, (0.0, 2.1), 1, "holds in part"),
        (2.3, (0.0, 1.9), 1, "fails"),
        (2.6, (0.1, 0.2), 0, "holds"),
        (2.6, (-0.1, 0.2), 0, "holds in part"),
        (2.6, (-0.3, 0.2), 0, "fails"),
    ],
)
def test_a_claim_is_judged_by_the_side_of_the_baseline_on_which_the_runs_lie(paper, runs, neutral, verdict):
    claim = _claim("text", paper, runs, neutral)
    assert claim.verdict == verdict
    assert bool(claim.cause) == (verdict != "holds")


def test_the_readable_formula_is_torchs_layer_and_costs_are_positive():
    x, weight, bias = torch.randn(4, 3, 5, 5), torch.randn(3), torch.randn(3)
    torch.testing.assert_close(readable(x, weight, bias), F.batch_norm(x, None, None, weight, bias, training=True))
    row = measure(Cost(4, 3, 0, compiled=False, repeats=1), 0, CPU)
    assert row.keys() == {"ours_ratio", "readable_ratio"}
    assert all(ratio > 0 for ratio in row.values())
