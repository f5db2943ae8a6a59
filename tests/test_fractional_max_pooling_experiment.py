"""What the experiments of the chapter on fractional max-pooling train, and how they judge it."""

import math
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments.fractional_max_pooling import (
    AUGMENTED,
    DATA_SETS,
    DIVERGED,
    EXPERIMENTS,
    OVERLAPS,
    PAPER,
    TUNED_AUGMENTED,
    TUNED_DRAWS,
    TUNED_DROPOUT,
    TUNED_LONGER,
    TUNED_MODERN,
    TUNED_REGIONS,
    Affine,
    Block,
    Cost,
    Fixed,
    Training,
    build,
    by_passes,
    claims,
    errors,
    flips,
    layer_sizes,
    measure,
    multiplications,
    predict,
    scoreboard,
    set_regions,
    train,
    training,
)
from workedpapers.fractional_max_pooling import Draw, FractionalMaxPool2d, pooling_regions
from workedpapers.lab import chosen, missing, sweep
from workedpapers.tasks import cifar
from workedpapers.tasks.splits import Split

CPU = torch.device("cpu")
INCEPTION = next(iter(TUNED_MODERN))  # of the modern networks, one
SMALL = Training("digits", filters=4, layers=3, updates=20, batch_size=20, train_size=100, test_size=60, passes=2)


def kinds(config, side=28):
    return [type(module).__name__ for module in build(config, 1, side)]


def test_sizes_are_those_of_the_papers_networks():
    assert layer_sizes(6, 2) == [(35, 25), (24, 17), (16, 11), (10, 7), (6, 4), (3, 2)]
    ins = [93, 73, 57, 44, 34, 26, 20, 15, 11, 8, 5, 3]
    outs = [74, 58, 45, 35, 27, 21, 16, 12, 9, 6, 4, 2]
    assert layer_sizes(12, 3) == list(zip(ins, outs, strict=True))


def test_the_papers_network_alternates_convolutions_and_poolings():
    block = ["Conv2d", "LeakyReLU", "FractionalMaxPool2d"]
    end = ["Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "Flatten", "Linear"]
    assert kinds(Training()) == ["ZeroPad2d", *6 * block, *end]
    model = build(Training(filters=10), 1, 28)
    convolutions = [module for module in model if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [10 * n for n in range(1, 9)]
    assert [conv.kernel_size[0] for conv in convolutions] == [2] * 7 + [1]
    assert model[-1].weight.shape == (10, 80)
    assert all(module.negative_slope == 1 / 3 for module in model if isinstance(module, nn.LeakyReLU))


def test_pictures_stand_in_the_middle_of_the_field():
    pad = build(Training(), 1, 28)[0]
    assert pad(torch.ones(1, 1, 28, 28)).shape[-1] == 36
    assert pad.padding == (4, 4, 4, 4)
    assert build(SMALL, 1, 8)[0].padding == (1, 2, 1, 2)
    with pytest.raises(ValueError, match="pictures of 28×28 do not fit into the field of 11×11"):
        build(SMALL, 1, 28)


def test_every_arm_has_the_same_convolutions():
    shapes = {
        pooling: [tuple(p.shape) for p in build(Training(pooling=pooling), 1, 28).parameters()]
        for pooling in training.POOLINGS
    }
    assert len({str(found) for found in shapes.values()}) == 1


def test_halving_comes_after_every_second_convolution_and_ends_in_one_pixel():
    model = build(Training(pooling="max"), 1, 28)
    names = [type(module).__name__ for module in model]
    assert names[1:6] == ["Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "MaxPool2d"]
    assert names.count("MaxPool2d") == 3
    x = torch.zeros(1, 1, 28, 28)
    sides = []
    for module in model[: names.index("Flatten")]:
        x = module(x)
        if isinstance(module, nn.MaxPool2d):
            sides.append(x.shape[-1])
    assert sides == [17, 7, 2]
    assert x.shape[-2:] == (1, 1)


def test_options_reach_the_layers():
    model = build(Training(pooling="random", overlap="interval", draw="batch"), 1, 28)
    layers = [module for module in model if isinstance(module, FractionalMaxPool2d)]
    assert [layer.output_size for layer in layers] == [(n, n) for n in (25, 17, 11, 7, 4, 2)]
    assert {(layer.kind, layer.overlap, layer.draw) for layer in layers} == {("random", "interval", "batch")}
    layers = [module for module in build(Training(), 1, 28) if isinstance(module, FractionalMaxPool2d)]
    assert {(layer.kind, layer.overlap, layer.draw) for layer in layers} == {("pseudorandom", "square", "image")}


def test_dropout_rises_linearly_from_none_at_the_picture():
    model = build(replace(SMALL, dropout=0.4), 1, 8)
    rates = [module.p for module in model if isinstance(module, nn.Dropout)]
    assert rates == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert kinds(replace(SMALL, dropout=0.4), 8)[1] == "Conv2d"
    assert "Dropout" not in kinds(SMALL, 8)


def test_weights_start_as_he_et_al_say_for_the_slope():
    weight = build(Training(filters=40), 1, 28)[16].weight  # the last but one of 2×2
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (1 + 1 / 9) / weight[0].numel()), rel=0.03)
    assert not build(Training(), 1, 28)[1].bias.any()


def test_fixed_regions_are_those_of_phase_one_half():
    x = torch.randn(2, 3, 10, 10)
    starts, stops = pooling_regions(10, 7, overlap="interval", phase=0.5)
    expected = torch.stack(
        [
            torch.stack([x[..., a:b, c:d].amax((-2, -1)) for c, d in zip(starts, stops, strict=True)], -1)
            for a, b in zip(starts, stops, strict=True)
        ],
        -2,
    )
    pool = Fixed(7, "interval")
    assert torch.equal(pool(x), expected)
    assert torch.equal(pool.train()(x), pool.eval()(x))


def test_an_affine_map_moves_a_dot_as_its_six_numbers_say(monkeypatch):
    numbers = torch.tensor([[[1.0, 0.5, 0.75], [0.5, 0.5, 0.5]]])  # of [0, 1): 1/2 leaves the identity
    monkeypatch.setattr(torch, "rand", lambda *_: numbers)
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3, 6] = 1  # across: 6 is (6.5 − 4) / 4 = 0.625 to the right of the middle
    y = Affine(0.5)(x)
    # An output at place a shows what is at 1.5 a + 0.25: a = 0.25, that is pixel 4.5, between the fifth and the sixth.
    assert y[0, 0, 3].argmax().item() in (4, 5)
    assert y[0, 0, 3, 4] == pytest.approx(y[0, 0, 3, 5])
    assert y[0, 0, [2, 4]].sum() == 0


def test_an_affine_map_is_drawn_for_every_picture_and_left_out_where_nothing_is_drawn():
    layer, x = Affine(0.2), torch.rand(3, 1, 8, 8)
    assert not torch.equal(layer(x), layer(x))
    drawn = layer(x[:1].expand(3, -1, -1, -1))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(layer.eval()(x), x)
    layer.deterministic_eval = True
    assert torch.equal(layer(x), x)
    assert not torch.equal(layer.train()(x), x)


def test_augmentation_stands_behind_the_field_of_zeros():
    assert kinds(replace(SMALL, augment=0.2), 8)[:3] == ["ZeroPad2d", "Affine", "Conv2d"]
    assert "Affine" not in kinds(SMALL, 8)
    assert type(build(replace(INCEPTION, augment=0.2), 1, 28)[0]) is Affine


@pytest.mark.parametrize("name", ["pooling", "network"])
def test_an_unknown_choice_is_named(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'other'"):
        build(replace(Training(), **{name: "other"}), 1, 28)


def test_an_inception_block_keeps_the_sides_and_concatenates_four_branches():
    block = Block(5, 24)
    assert block(torch.randn(2, 5, 9, 9)).shape == (2, 24, 9, 9)
    assert [branch(torch.randn(2, 5, 9, 9)).shape[1] for branch in block.branches] == [6, 12, 3, 3]


def test_inception_shrinks_by_four_with_either_pooling():
    sides = {}
    for pooling, layers in (("max", 3), ("max", 5), ("random", 5)):
        model = build(replace(INCEPTION, pooling=pooling, layers=layers), 1, 28)
        x, seen = torch.zeros(2, 1, 28, 28), []
        for module in model:
            x = module(x)
            if isinstance(module, Block):
                seen.append(x.shape[-1])
        sides[pooling, layers] = seen
    assert sides == {("max", 3): [28, 14, 7], ("max", 5): [28, 28, 14, 14, 7], ("random", 5): [28, 20, 14, 10, 7]}


def test_inception_arms_cost_the_same_within_a_few_percent():
    counts = [multiplications(build(config, 1, 28), (1, 28, 28)) for config in TUNED_MODERN]
    assert max(counts) / min(counts) < 1.07


def test_multiplications_are_those_of_the_layers():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    assert multiplications(model, (2, 5, 5)) == 16 * 3 * 2 * 4 + 12 * 5


class Coin(nn.Module):
    """Another answer at every call: the classes in turn, with certainty."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return 50.0 * F.one_hot(torch.full((len(x),), self.calls % 3), 3)


def test_every_pass_asks_the_model_anew():
    found = predict(Coin(), torch.zeros(4, 1, 2, 2), 5)
    assert found.shape == (5, 4, 3)
    assert found.argmax(-1)[:, 0].tolist() == [1, 2, 0, 1, 2]
    assert predict(Coin(), torch.zeros(1001, 1, 2, 2), 1).shape == (1, 1001, 3)


def test_curves_average_groups_of_passes():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(9, 7, 3, generator=generator, dtype=torch.float64).softmax(-1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    curves = by_passes(probabilities, labels)
    assert curves["curve_passes"] == [1, 2, 4, 8]
    for k, n in enumerate(curves["curve_passes"]):
        wrong, nats, brier = [], [], []
        for start in range(0, 9 - n + 1, n):
            for image, label in enumerate(labels.tolist()):
                mean = sum(probabilities[start + i, image] for i in range(n)) / n
                wrong.append(int(mean.argmax()) != label)
                nats.append(-math.log(mean[label]))
                brier.append(sum((float(mean[c]) - (c == label)) ** 2 for c in range(3)))
        assert curves["curve_error"][k] == pytest.approx(100 * sum(wrong) / len(wrong))
        assert curves["curve_nats"][k] == pytest.approx(sum(nats) / len(nats))
        assert curves["curve_brier"][k] == pytest.approx(sum(brier) / len(brier))


def test_a_sure_mistake_costs_a_finite_number_of_nats():
    assert by_passes(torch.tensor([[[1.0, 0.0]]]), torch.tensor([1]))["curve_nats"] == [pytest.approx(27.6, abs=0.1)]


def test_curves_stop_at_the_number_of_passes():
    assert by_passes(torch.ones(32, 1, 2) / 2, torch.tensor([0]))["curve_passes"] == [1, 2, 4, 8, 12, 16, 32]


class RightHalf(nn.Module):
    """Class 1 if there is more ink in the right half."""

    def forward(self, x):
        half = x.shape[-1] // 2
        ink = x[..., half:].sum((1, 2, 3)) - x[..., :half].sum((1, 2, 3))
        return torch.stack((-ink, ink), 1)


def test_flips_count_predictions_that_change_when_the_picture_moves_right():
    images = torch.zeros(4, 1, 2, 4)
    for picture, column in enumerate((0, 1, 2, 1)):
        images[picture, 0, 0, column] = 1
    assert flips(RightHalf(), images, 0) == 50


class Noisy(nn.Module):
    def forward(self, x):
        return torch.randn(len(x), 10)


def test_flips_use_the_same_draws_for_both_pictures():
    assert flips(Noisy(), torch.rand(50, 1, 4, 4), 0) == 0


def test_regions_can_be_fixed_for_evaluation():
    model = build(SMALL, 1, 8).eval()
    x = torch.rand(6, 1, 8, 8)
    set_regions(model, fixed=False)
    assert not torch.equal(model(x), model(x))
    set_regions(model, fixed=True)
    assert torch.equal(model(x), model(x))


def test_a_row_repeats_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = train(SMALL, 0, CPU), train(SMALL, 0, CPU)
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())
    assert first != train(SMALL, 1, CPU)


def test_training_is_gradient_descent_with_momentum_and_a_falling_rate():
    config = replace(SMALL, updates=3, pooling="fixed", train_size=60)
    losses = []
    torch.manual_seed(0)
    split = Split.load("digits", "train", CPU).cut(slice(60))
    model = build(config, 1, 8)
    batches = split.batches(20, torch.Generator().manual_seed(0))
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    for done in range(3):
        images, labels = next(batches)
        loss = F.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(0.9).add_(g)
                p.sub_(config.learning_rate * (1 - done / 3) * v)
        losses.append(loss.item())
    assert train(config, 0, CPU)["loss"] == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_metrics_are_of_one_pass_and_of_all():
    row = train(replace(SMALL, passes=4, validation=True), 0, CPU)
    assert row["test_error"] == row["curve_error"][0]
    assert row["vote_error"] == row["curve_error"][-1]
    assert row["curve_passes"] == [1, 2, 4]
    assert {"validation_error", "validation_vote"} <= set(row)
    assert train(replace(SMALL, pooling="fixed"), 0, CPU)["curve_passes"] == [1]


def test_twelve_passes_vote_even_where_more_are_made():
    row = train(replace(SMALL, updates=1, passes=32), 0, CPU)
    assert row["vote_error"] == row["curve_error"][row["curve_passes"].index(12)]


def test_members_are_networks_of_their_own_and_vote():
    config = replace(SMALL, pooling="fixed", updates=60, members=4)
    row, alone = train(config, 0, CPU), train(replace(config, members=1), 0, CPU)
    assert row["curve_passes"] == [1, 2, 4]
    assert row["vote_error"] == row["curve_error"][-1]
    assert row["fixed_error"] == alone["vote_error"]  # that of the first
    assert row["curve_brier"][2] < row["curve_brier"][0]
    assert (row["parameters"], row["loss"]) == (alone["parameters"], alone["loss"])


def test_passes_over_augmented_pictures_differ():
    row = train(replace(SMALL, pooling="fixed", augment=0.2, passes=4), 0, CPU)
    assert row["curve_passes"] == [1, 2, 4]
    assert row["curve_brier"][2] < row["curve_brier"][0]


def test_the_papers_network_for_cifar_trains_on_an_archive(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "cifar-10").mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = torch.randint(256, (4, 3073), generator=generator, dtype=torch.uint8)
        records[:, 0] %= 10
        (tmp_path / "cifar-10" / f"{name}.bin").write_bytes(records.numpy().tobytes())
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    monkeypatch.setattr(cifar, "SIZE", 4)
    _, small, big = PAPER.grid["paper"]
    for config in (small, big):
        short = replace(config, filters=2, updates=2, batch_size=10, train_size=20, test_size=4, passes=2)
        row = train(short, 0, CPU)
        assert math.isfinite(row["loss"])
        assert row["curve_passes"] == [1, 2]
        assert row["multiplications"] > 0


def test_a_diverging_run_stops(monkeypatch):
    done = []
    monkeypatch.setattr(training, "progress", lambda steps, _: (done.append(step) or step for step in steps))
    row = train(replace(SMALL, learning_rate=1e6, updates=50), 0, CPU)
    assert not math.isfinite(row["loss"])
    assert len(done) < 10


def test_a_row_is_measured_in_evaluation_on_the_right_pictures(monkeypatch):
    built = []
    monkeypatch.setattr(training, "build", lambda *arguments: built.append(build(*arguments)) or built[0])
    options = {"filters": 8, "dropout": 0.2, "learning_rate": 0.04, "updates": 250, "validation": True}
    row = train(replace(SMALL, train_size=150, test_size=397, passes=8, **options), 0, CPU)
    model = built[0].eval()
    whole, test = (Split.load("digits", part, CPU) for part in ("train", "test"))
    seen, held = whole.cut(slice(150)), whole.cut(slice(150, 2150))

    def error(split, fixed, passes):
        set_regions(model, fixed)
        means = sum(model(split.images).softmax(-1) for _ in range(passes)) / passes
        return 100 * (means.argmax(-1) != split.labels).double().mean().item()

    with torch.no_grad():
        assert row["fixed_error"] == pytest.approx(error(test, True, 1))  # exactly: no dropout, no draw
        assert row["vote_error"] == pytest.approx(error(test, False, 8), abs=3)
        assert row["test_error"] == pytest.approx(sum(error(test, False, 1) for _ in range(8)) / 8, abs=3)
        assert row["train_error"] == pytest.approx(error(seen, False, 1), abs=5)
        assert row["validation_vote"] == pytest.approx(error(held, False, 8), abs=1.5)
    assert row["vote_error"] + 3 < row["test_error"]
    assert row["train_error"] + 10 < row["test_error"]
    assert abs(row["validation_vote"] - row["vote_error"]) > 1.5


def test_the_papers_sizes_are_configurations():
    mnist, small, big = PAPER.grid["paper"]
    assert layer_sizes(mnist.layers, mnist.roots)[0][0] + 1 == 36
    assert layer_sizes(big.layers, big.roots)[0][0] + 1 == 94
    assert (mnist.filters, small.filters, big.filters) == (32, 32, 160)
    for config in (small, big):
        assert build(replace(config, filters=1), 3, 32)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_cost_compares_with_torchs_layer():
    row = measure(Cost(2, 3, 10, 7, repeats=2), 0, CPU)
    ratios = {name for name in row if name.endswith("_ratio")}
    assert ratios == {f"{name}_ratio" for name in ("halving", *map("_".join, product(OVERLAPS, get_args(Draw))))}
    assert all(row[name] > 0 for name in ratios)
    assert row["ours_bytes"] < row["torch_bytes"]


SEARCHES = {
    "search_regions": TUNED_REGIONS,
    "search_longer": TUNED_LONGER,
    "search_dropout": TUNED_DROPOUT,
    "search_augmented": AUGMENTED,
    "search_draws": TUNED_DRAWS,
    "search_modern": TUNED_MODERN,
}
ARM = ["data", "pooling", "overlap", "draw", "augment"]


def of_arm(rows, arm):
    for name in ARM:
        rows = rows[rows[name] == getattr(arm, name)]
    return rows


@pytest.mark.parametrize("table", SEARCHES)
def test_a_search_brackets_the_rate_that_it_chose(table):
    search = EXPERIMENTS[table]
    assert missing(search, "book") == []  # a test trains none of these
    rows = sweep(search, "book", device="cpu")
    best = chosen(rows, ARM, ["learning_rate"], "validation_vote").learning_rate
    for arm, rate in SEARCHES[table].items():
        found = best[tuple(getattr(arm, name) for name in ARM)]
        assert found == DIVERGED.get(arm, rate), arm
        tried = of_arm(rows, arm).learning_rate
        assert tried.min() < found < tried.max(), arm


def test_an_arm_runs_at_half_the_rate_that_its_search_chose_where_a_final_run_diverged():
    tuned = TUNED_REGIONS | TUNED_LONGER | TUNED_DROPOUT | TUNED_DRAWS | TUNED_AUGMENTED | TUNED_MODERN
    assert missing(EXPERIMENTS["diverged"], "book") == []
    rows = sweep(EXPERIMENTS["diverged"], "book", device="cpu").set_index("seed")
    rows = rows.assign(failed=~(rows.loss.map(math.isfinite) & (rows.vote_error < 80)))
    for arm, rate in DIVERGED.items():
        assert tuned[arm] == rate / 2
        same = of_arm(rows, arm)
        assert same[(same.dropout == arm.dropout) & (same.updates == arm.updates)].failed.any(), arm


def test_the_better_strength_of_an_augmentation_is_taken():
    rows = sweep(EXPERIMENTS["search_augmented"], "book", device="cpu")
    best = rows.loc[rows.groupby(["data", "pooling"]).validation_vote.idxmin()]
    taken = {(arm.data, arm.pooling): arm.augment for arm in TUNED_AUGMENTED}
    assert taken == {(run.data, run.pooling): run.augment for run in best.itertuples()}


def test_searches_and_final_runs_share_no_seed():
    for name, table in EXPERIMENTS.items():
        if "book" in table.grid and name != "cost":
            assert set(table.seeds("book")) <= ({100} if name.startswith("search") else set(range(5)))


def test_errors_are_those_of_one_arm_in_the_order_of_seeds():
    rows = sweep(EXPERIMENTS["others"], "book", device="cpu").query("data == 'mnist'")
    same = rows[(rows.pooling == "pseudorandom") & (rows.overlap == "disjoint")]
    by_seed = dict(zip(same.seed, same.vote_error, strict=True))
    assert errors("mnist", pooling="pseudorandom", overlap="disjoint") == [by_seed[seed] for seed in sorted(by_seed)]
    assert len(by_seed) == 3
    assert len(errors("mnist")) == 5
    assert len(errors("mnist", "flips", updates=4_000, pooling="fixed")) == 3


@pytest.mark.parametrize(
    ("runs", "sign", "cause", "verdict"),
    [
        ([-1.0, -2.0], -1, "noise", "holds"),
        ([-3.0, 1.0], -1, "noise", "holds in part"),
        ([3.0, -1.0], -1, "noise", "fails"),
        ([3.0, 1.0], -1, "too few updates", "not reached"),
        ([-3.0, 1.0], -1, "too few updates", "holds in part"),
        ([1.0, 2.0], 1, "too few updates", "holds"),
        ([0.0, 2.0], 1, "noise", "holds in part"),
        ([-1.0, -2.0], 1, "noise", "fails"),
    ],
)
def test_a_finding_holds_where_every_run_has_its_sign(runs, sign, cause, verdict):
    claim = claims._claim("error (points)", runs, sign, cause)
    assert claim.verdict == verdict
    assert claim.cause == ("" if verdict == "holds" else cause)
    assert claim.paper == ("below 0" if sign < 0 else "above 0")


def test_the_scoreboard_has_the_papers_number_and_each_finding_on_both_data_sets():
    board = {claim.claim: claim for claim in scoreboard()}
    assert len(board) == 1 + len(DATA_SETS) * (1 + len(claims.FINDINGS)) + 1
    best = board["MNIST: error, random squares, 12 passes, 4,000 updates (%)"]
    long = sweep(EXPERIMENTS["longer"], "book", device="cpu").set_index(["pooling", "seed"]).vote_error
    assert (best.paper, best.runs) == (0.32, tuple(long["random"]))
    order = board["MNIST, 4,000 updates: error, random less pseudorandom (points)"]
    assert order.runs == pytest.approx([long["random", seed] - long["pseudorandom", seed] for seed in range(3)])
    halving = board["Fashion-MNIST: error, squares, 12 passes, less 2×2 pooling with stride two (points)"]
    ours, theirs = errors("fashion-mnist"), errors("fashion-mnist", pooling="max")
    assert halving.runs == pytest.approx([a - b for a, b in zip(ours, theirs, strict=True)])
    overlap = board["MNIST: error, squares less disjoint regions (points)"]
    assert len(overlap.runs) == 3  # of five seeds and three, those that both have
    assert halving.paper == "below 0"


def test_the_scoreboard_is_empty_while_rows_are_missing(monkeypatch):
    monkeypatch.setattr(claims, "missing", lambda table, scale: [1])
    assert scoreboard() == []
