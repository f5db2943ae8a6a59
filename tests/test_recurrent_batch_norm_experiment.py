"""What the experiments of recurrent batch normalization train, and how they measure it."""

import copy
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments import recurrent_batch_norm as experiment
from workedpapers.experiments.recurrent_batch_norm import (
    EXPERIMENTS,
    KINDS,
    RATES,
    SEARCH_SEEDS,
    Dead,
    Gain,
    Pixels,
    Recall,
    Recurrent,
    StepwiseLSTM,
    Text,
    Timed,
    claims,
    descent,
    gains,
    measure,
    norms,
    pixel_order,
    pixels,
    recall,
    scoreboard,
    search,
    sequences,
    standardize,
    stepwise,
    text,
    train,
)
from workedpapers.lab import chosen, missing, sweep
from workedpapers.recurrent_batch_norm import BatchNormLSTM
from workedpapers.tasks.splits import Split

CPU = torch.device("cpu")
TINY = Pixels(hidden_size=4, updates=2, batch_size=20, train_size=60, test_size=50)
TINY_TEXT = Text(data="counting", hidden_size=4, updates=1, batch_size=4, length=10)
TINY_RECALL = Recall(hidden_size=4, updates=1, batch_size=6, shortest=5, longest=10, test_size=80)


def normalized(z, dim, eps=1e-5):
    return (z - z.mean(dim, keepdim=True)) / (z.var(dim, correction=0, keepdim=True) + eps).sqrt()


def shaken(layer):
    """In float64, with parameters that no start would have."""
    generator = torch.Generator().manual_seed(7)
    for parameter in layer.double().parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def drawn(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GATES = {
    "layer": lambda p, x, h: p.scale * normalized(x + h, 1),
    "layer_each": lambda p, x, h: p.scale * normalized(h, 1) + p.scale_ih * normalized(x, 1),
    "joint": lambda p, x, h: p.scale * normalized(x + h, 0),
    "input": lambda p, x, h: p.scale * normalized(x, 0) + h,
}
CELL = {
    "layer": lambda p, c: p.scale_c * normalized(c, 1) + p.bias_c,
    "layer_each": lambda p, c: p.scale_c * normalized(c, 1) + p.bias_c,
    "joint": lambda p, c: p.scale_c * normalized(c, 0) + p.bias_c,
    "input": lambda p, c: c,
}


@pytest.mark.parametrize("kind", GATES)
def test_other_norms_are_those_of_their_formulas(kind):
    layer = shaken(StepwiseLSTM(kind, 3, 4, max_length=5, weight_init=0.5))
    x, h, c = drawn(5, 6, 3), drawn(6, 4, seed=4), drawn(6, 4, seed=5)
    found = layer(x, (h, c))
    for t in range(5):
        a = GATES[kind](layer, x[t] @ layer.weight_ih.T, h @ layer.weight_hh.T) + layer.bias
        i, f, g, o = a.split(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * CELL[kind](layer, c).tanh()
        torch.testing.assert_close(found[t], h)


@pytest.mark.parametrize("kind", ["joint", "input"])
def test_other_batch_norms_use_what_is_stored_of_a_step_and_past_the_last_that_ones(kind):
    model = Recurrent(kind, (3, 4, 2), max_length=2)
    batches = [torch.randn(2, 9, 3), torch.randn(2, 9, 3)]
    model.settle((batch,) for batch in batches)
    assert not model.training
    rows = [torch.cat([batch[t] for batch in batches]) @ model.layer.weight_ih.T for t in (0, 1)]
    if kind == "input":
        for norm, row in zip(model.layer.norms, rows, strict=True):
            torch.testing.assert_close(norm.running_mean, row.mean(0).detach())
    x = torch.randn(4, 5, 3)
    steps = []
    for step, layer in enumerate(model.layer.norms):
        layer.register_forward_hook(lambda *_, step=step: steps.append(step))
    model(x)
    assert steps == [0, 1, 1, 1]
    torch.testing.assert_close(model(x)[:, :2], model(x[:, :2]))  # an example's outputs do not depend on the others


def test_the_cell_is_normalised_in_the_joint_form_and_not_where_the_input_alone_is():
    assert len(StepwiseLSTM("joint", 1, 4, max_length=3, weight_init=0.1).cell_norms) == 3
    layer = StepwiseLSTM("input", 1, 4, max_length=3, weight_init=0.1)
    assert (len(layer.norms), len(layer.cell_norms), layer.scale_c) == (3, 0, None)


def test_the_papers_layer_is_the_loop_of_three_norms():
    layer = shaken(BatchNormLSTM(3, 4, max_length=6))
    other = copy.deepcopy(layer)
    x, slope = drawn(6, 7, 3), drawn(6, 7, 4, seed=8)
    ours, theirs = layer(x)[0], stepwise(other, x)
    torch.testing.assert_close(ours, theirs)
    found, expected = (
        torch.autograd.grad(outputs, list(module.parameters()), slope)
        for outputs, module in ((ours, layer), (theirs, other))
    )
    torch.testing.assert_close(found, expected)
    for name, value in other.named_buffers():
        if "running" in name:
            torch.testing.assert_close(layer.get_buffer(name), value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_starts_with_orthogonal_weights_and_a_forget_bias_of_one(kind):
    model = Recurrent(kind, (1, 4, 2), max_length=3)
    named = dict(model.layer.named_parameters())
    weight = named["weight_hh_l0" if kind == "lstm" else "weight_hh"]
    torch.testing.assert_close(weight.T @ weight, torch.eye(4))
    biases = [value for name, value in named.items() if name.startswith("bias") and name != "bias_c"]
    assert sum(biases).tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert all(bool((value == 0.1).all()) for name, value in named.items() if "scale" in name)


def test_torchs_layer_starts_with_the_identity_for_g_or_with_its_own_weights():
    model = Recurrent("lstm", (1, 5, 2), max_length=3, hidden_init="identity")
    i, f, g, o = model.layer.weight_hh_l0.split(5)
    assert torch.equal(g, torch.eye(5))
    gates = torch.cat((i, f, o))
    torch.testing.assert_close(gates.T @ gates, torch.eye(5))
    torch.manual_seed(1)
    own = nn.LSTM(1, 5)
    torch.manual_seed(1)
    model = Recurrent("lstm", (1, 5, 2), max_length=3, hidden_init="torch")
    assert torch.equal(model.layer.weight_hh_l0, own.weight_hh_l0)
    assert torch.equal(model.layer.weight_ih_l0, own.weight_ih_l0)
    assert (model.layer.bias_ih_l0 + model.layer.bias_hh_l0).tolist() == [0] * 5 + [1] * 5 + [0] * 10


def test_options_reach_the_papers_layer():
    layer = pixels.build(replace(TINY, weight_init=0.3, eps=0.1, normalize_cell=False, hidden_init="identity"), 9).layer
    assert (layer.weight_init, layer.eps, layer.normalize_cell, layer.hidden_init) == (0.3, 0.1, False, "identity")
    assert (layer.max_length, layer.statistics) == (9, "per_step")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": "gru"}, "model must be one of lstm, batch, layer, layer_each, joint, input, got 'gru'"),
        ({"hidden_init": "torch"}, "hidden_init of model 'batch' must be one of orthogonal, identity, got 'torch'"),
        (
            {"model": "layer", "hidden_init": "identity"},
            "hidden_init of model 'layer' must be one of orthogonal, got 'identity'",
        ),
        ({"order": "columns"}, "order must be one of rows, permuted, redrawn, got 'columns'"),
    ],
)
def test_an_unknown_choice_is_named(change, problem):
    with pytest.raises(ValueError, match=problem):
        train(replace(TINY, **change), 0, CPU)


def test_an_unknown_treatment_of_the_padding_is_named():
    with pytest.raises(ValueError, match="padding must be one of masked, padded, read at the end, got 'cut'"):
        recall.train(replace(TINY_RECALL, padding="cut"), 0, CPU)


@pytest.mark.parametrize("length", [64, 196])
def test_a_permutation_reads_every_pixel_once_and_one_that_is_redrawn_does_not(length):
    permuted, redrawn = (pixel_order(order, length).tolist() for order in ("permuted", "redrawn"))
    assert len(set(permuted)) == len(permuted) == length
    assert permuted != pixel_order("rows", length).tolist() == list(range(length))
    assert len(set(redrawn)) / length == pytest.approx(1 - math.exp(-1), abs=0.07)
    assert len(redrawn) == length
    torch.manual_seed(99)
    assert pixel_order("permuted", length).tolist() == permuted


@pytest.fixture
def split(monkeypatch):
    """Pictures of 28×28, the same for all parts but for a factor."""
    whole = Split(torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2]))
    shrunk = Split(whole.images / 3, whole.labels)
    monkeypatch.setattr(Split, "load", staticmethod(lambda data, part, device: whole if part == "train" else shrunk))
    return whole


def test_mnist_is_read_as_means_of_four_pixels(split):
    found = sequences(Pixels("mnist", order="rows", blanks=2), "train", CPU)
    assert found.images.shape == (3, 198, 1)
    assert not found.images[:, :2].any()
    image = split.images[1, 0]
    for row, column in ((0, 0), (0, 13), (5, 2), (13, 13)):
        four = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert found.images[1, 2 + 14 * row + column, 0] == pytest.approx(float(four.sum()) / 4)
    permuted = sequences(Pixels("mnist"), "train", CPU)
    assert torch.equal(permuted.images[:, :, 0], found.images[:, 2:, 0][:, pixel_order("permuted", 196)])


def test_standardised_pictures_have_the_moments_of_the_training_pixels_and_blank_steps_stay_zero(split):
    plain, found = (sequences(Pixels("mnist", standardize=s), "test", CPU).images for s in (False, True))
    train_pixels = sequences(Pixels("mnist"), "train", CPU).images
    torch.testing.assert_close(found, (plain - train_pixels.mean()) / train_pixels.std())
    assert not sequences(Pixels("mnist", standardize=True, blanks=3), "test", CPU).images[:, :3].any()


def test_digits_are_read_as_they_are():
    found = sequences(Pixels(order="rows"), "test", CPU)
    assert torch.equal(found.images[:, :, 0], Split.load("digits", "test", CPU).images.flatten(1))


def test_noise_is_the_state_before_the_first_step():
    like = torch.zeros(300, 64, 1)
    assert pixels.noisy_state(TINY, like) is None
    torch.manual_seed(0)
    h, c = pixels.noisy_state(replace(TINY, noise=0.3, hidden_size=20), like)
    assert h.shape == c.shape == (300, 20)
    assert [float(part.std()) for part in (h, c)] == pytest.approx([0.3, 0.3], rel=0.03)
    assert abs(float((h * c).mean())) < 0.01
    model = pixels.build(replace(TINY, hidden_size=20), 64)
    hidden = model.layer(like.transpose(0, 1), (h, c))[0]
    model.layer.reset_running_stats()
    torch.testing.assert_close(model(like, (h, c)), model.head(hidden[-1]))


def test_training_and_its_statistics_see_noise_and_tests_do_not(monkeypatch):
    seen = []
    forward = pixels.Classifier.forward

    def spy(model, images, state=None):
        seen.append((model.layer.training, state is not None))
        return forward(model, images, state)

    monkeypatch.setattr(pixels.Classifier, "forward", spy)
    train(replace(TINY, order="rows", noise=0.1), 0, CPU)
    assert set(seen) == {(True, True), (False, False), (True, False)}
    assert seen.count((True, False)) == 1  # the test error with the statistics of a batch
    assert seen[-1] == (True, False)


def test_descent_is_adam_with_a_falling_rate_and_clipped_gradients():
    start, target = drawn(5), 10 * drawn(5, seed=4)
    model = nn.Linear(5, 1, bias=False).double()
    model.weight.data = start.clone()[None]
    run = descent.descend(model, lambda: (model.weight - target).pow(4).sum(), replace(TINY, updates=20), "")
    w, m, v, losses, lengths = start.clone(), 0.0, 0.0, [], []
    for t in range(1, 21):
        losses.append(float((w - target).pow(4).sum()))
        gradient = 4 * (w - target) ** 3
        lengths.append(float(gradient.norm()))
        gradient = gradient * min(1, 1 / (lengths[-1] + 1e-6))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = TINY.learning_rate * (1 - (t - 1) / 20)
        w = w - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(model.weight[0], w)
    assert run.losses == pytest.approx(losses)
    assert run.norms == pytest.approx(lengths)
    assert (run.moments, run.measured) == ([], [])


def test_a_descent_measures_at_ten_moments_and_its_loss_is_of_the_last_fifty_updates():
    model = nn.Linear(1, 1, bias=False)
    calls = []
    run = descent.descend(
        model, lambda: model.weight.sum(), replace(TINY, updates=80), "", lambda: calls.append(1) or len(calls)
    )
    assert run.moments == list(range(8, 81, 8))
    assert run.measured == list(range(1, 11))
    assert run.loss == pytest.approx(sum(run.losses[30:]) / 50)


def test_an_update_whose_gradient_is_not_finite_is_left_out():
    model = nn.Linear(1, 1, bias=False)
    start = model.weight.item()
    factors = iter((math.inf, 1.0))
    run = descent.descend(model, lambda: (model.weight * next(factors)).sum(), replace(TINY, updates=2), "")
    assert not math.isfinite(run.norms[0])
    assert model.weight.item() == pytest.approx(start - TINY.learning_rate / 2, abs=1e-6)


def test_gradients_that_blow_up_are_counted():
    row = train(replace(TINY, order="rows", blanks=30), 0, CPU)
    assert row["skipped"] == 2
    assert row["gradient"] is None


def test_statistics_can_be_settled_for_a_while_averaged_and_restored():
    model = Recurrent("batch", (2, 3, 1), max_length=4)
    model(torch.randn(4, 8, 2))
    running = model.statistics()
    batches = [(torch.randn(4, 8, 2),) for _ in range(3)]
    with model.settled(batches):
        assert not model.training
        exact = model.statistics()
    assert model.training
    assert all(torch.equal(value, running[name]) for name, value in model.named_buffers())
    means = torch.stack([batch[0] for batch in batches]).flatten(1, 1).mean((0, 2)) @ model.layer.weight_ih.T
    torch.testing.assert_close(exact["layer.running_mean_ih"], means.detach())
    model.restore(exact)
    model.average_statistics()
    for name, value in model.named_buffers():
        if "running" in name:
            expected = sum(exact[name][t] for t in range(4)) / 4
            for t in range(4):
                torch.testing.assert_close(value[t], expected)
            assert not torch.allclose(exact[name][0], exact[name][3]) or "_ih" in name
        else:
            assert torch.equal(value, exact[name])


def test_every_error_has_the_statistics_and_the_pictures_that_its_name_says(monkeypatch):
    calls = []

    def spy(model, split, batch_statistics=False):
        calls.append((split, model.statistics(), batch_statistics))
        return float(len(calls))

    monkeypatch.setattr(pixels, "error", spy)
    row = train(TINY, 0, CPU)
    whole, test = (sequences(TINY, part, CPU) for part in ("train", "test"))
    of = {name: calls[int(row[f"{name}_error"]) - 1] for name in ("train", "validation", "test", "averaged")}
    of |= {name: calls[int(row[f"{name}_error"]) - 1] for name in ("running", "batch")}
    assert torch.equal(of["train"][0].images, whole.images[:60])
    assert torch.equal(of["validation"][0].images, whole.images[-400:])
    assert all(torch.equal(of[name][0].images, test.images[:50]) for name in ("test", "running", "averaged", "batch"))
    assert [name for name, call in of.items() if call[2]] == ["batch"]
    name = "layer.running_var_c"
    exact = of["test"][1][name]
    assert torch.equal(of["validation"][1][name], exact)
    torch.testing.assert_close(of["averaged"][1][name], exact.mean(0).expand_as(exact))
    assert not torch.allclose(of["running"][1][name], exact)
    assert float(of["running"][1]["layer.num_batches_tracked"].max()) == TINY.updates
    assert row["curve_updates"] == [1, 2]
    assert row["curve_error"] == [1.0, 2.0]


def test_an_error_is_a_share_of_the_pictures_by_stored_statistics_or_by_those_of_batches_of_100():
    model = pixels.build(replace(TINY, weight_init=1.0), 64)
    split = sequences(TINY, "test", CPU).cut(slice(150))
    model.settle([(split.images, None)])
    with torch.no_grad():
        answers = [model(split.images).argmax(1)]
        model.train()
        answers.append(torch.cat([model(split.images[:100]), model(split.images[100:])]).argmax(1))
        model.settle([(split.images, None)])
    assert not torch.equal(*answers)
    for answer, of_batches in zip(answers, (False, True), strict=True):
        expected = 100 * sum(a != b for a, b in zip(answer.tolist(), split.labels.tolist(), strict=True)) / 150
        assert pixels.error(model, split, of_batches) == pytest.approx(expected)
        assert not model.training


@pytest.mark.parametrize(
    ("run", "config"), [(train, TINY), (text.train, TINY_TEXT), (recall.train, TINY_RECALL), (gains.dead, Dead(1))]
)
def test_a_row_repeats_and_leaves_the_generator_alone(run, config):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = run(config, 0, CPU), run(config, 0, CPU)
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())
    assert first != run(config, 1, CPU)


def test_training_lowers_the_error():
    short, longer = (train(replace(TINY, updates=n, hidden_size=16, learning_rate=0.02), 0, CPU) for n in (1, 40))
    assert longer["loss"] < short["loss"]
    assert longer["train_error"] < short["train_error"] - 10


class Table(nn.Module):
    """Logits that depend on the last character only."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, characters):
        return self.logits[characters.T]


def test_bits_are_minus_the_logarithm_of_the_probability_of_the_next_character():
    logits = drawn(3, 3)
    codes = torch.randint(3, (28,), generator=torch.Generator().manual_seed(0))
    found = text.bits(Table(logits), codes, 5)
    expected = []
    for step in range(5):
        costs = []
        for start in range(0, 25, 5):
            here, after = codes[start + step], codes[start + step + 1]
            weights = logits[here].exp()
            costs.append(-math.log2(weights[after] / weights.sum()))
        expected.append(sum(costs) / 5)
    assert found.tolist() == pytest.approx(expected)


def test_a_reader_predicts_the_next_character_and_bits_of_batches_use_fifty_sequences():
    model = text.Reader(TINY_TEXT, 6)
    codes = torch.randint(6, (601,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        costs = []
        for start in (0, 500):  # fifty sequences of ten, then ten
            part = codes[start : min(start + 500, 600)].view(-1, 10)
            hidden = model.layer(F.one_hot(part.T, 6).float())[0]
            target = codes[start + 1 : min(start + 501, 601)].view(-1, 10)
            costs.append(F.cross_entropy(model.head(hidden).permute(1, 2, 0), target, reduction="none"))
    expected = torch.cat(costs).mean(0) / math.log(2)
    torch.testing.assert_close(text.bits(model, codes, 10, True).float(), expected)
    assert not model.training
    assert not torch.allclose(text.bits(model, codes, 10).float(), expected)


def test_bits_of_averaged_statistics_are_measured_with_averages_and_those_of_batches_without(monkeypatch):
    calls = []

    def spy(model, codes, length, batch_statistics=False):
        calls.append((model.statistics(), len(codes), length, batch_statistics))
        return torch.full((length,), float(len(calls)))

    monkeypatch.setattr(text, "bits", spy)
    config = replace(TINY_TEXT, updates=2, test_size=1_000)
    row = text.train(config, 0, CPU)
    parts = {part: len(text.text("counting", part).codes) for part in ("validation", "test")}

    def of(name):
        return calls[round(row[name]) - 1]

    assert of("validation_bits")[1:] == (parts["validation"], 10, False)
    assert of("test_bits")[1:] == (parts["test"], 10, False)
    exact = of("test_bits")[0]["layer.running_mean_hh"]
    for length in text.LENGTHS:
        for name, batch_statistics in (("bits", False), ("averaged", False), ("batch", True)):
            stored, *rest = of(f"{name}_{length}")
            assert rest == [1_000, length, batch_statistics]
            expected = exact.mean(0).expand_as(exact) if name == "averaged" else exact
            torch.testing.assert_close(stored["layer.running_mean_hh"], expected)
    assert row["curve_validation"] == [1.0, 2.0]
    assert calls[0][1:] == (250, 10, False)
    assert len(row["curve_bits"]) == 40


def test_the_way_of_the_statistics_is_measured_in_deviations_of_the_last_step():
    layer = BatchNormLSTM(1, 4, max_length=3)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in layer.named_buffers():
        if "running" in name:
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    found = text._of_statistics(layer)
    far, wide = [], []
    for term, units in (("ih", 16), ("hh", 16), ("c", 4)):
        mean, var = layer.get_buffer(f"running_mean_{term}"), layer.get_buffer(f"running_var_{term}")
        for unit in range(units):
            far.append((float(mean[0, unit]) - float(mean[2, unit])) / math.sqrt(float(var[2, unit])))
            wide.append(0.5 * math.log(float(var[0, unit]) / float(var[2, unit])))
    assert found["curve_mean"][0] == pytest.approx(math.sqrt(sum(v * v for v in far) / 36), rel=1e-5)
    assert found["curve_spread"][0] == pytest.approx(math.sqrt(sum(v * v for v in wide) / 36), rel=1e-5)
    assert found["curve_mean"][2] == found["curve_spread"][2] == 0
    assert found["units_mean"][:3] == layer.get_buffer("running_mean_c")[:, 0].tolist()
    assert found["units_spread"][3:6] == pytest.approx(layer.get_buffer("running_var_c")[:, 1].sqrt().tolist())


def test_crops_are_pieces_of_the_text_from_anywhere():
    codes = torch.arange(30)
    crops = text._crops(codes, replace(TINY_TEXT, batch_size=400), torch.Generator().manual_seed(0))
    first = next(crops)
    assert torch.equal(first.diff(), torch.ones(400, 10, dtype=torch.int64))
    assert (int(first.min()), int(first.max())) == (0, 29)
    assert not torch.equal(first, next(crops))


def test_the_answer_stands_behind_the_marker_and_padding_behind_the_end():
    symbols, lengths, answers = recall.draw(500, 5, 9, torch.Generator().manual_seed(0))
    assert (int(lengths.min()), int(lengths.max())) == (5, 9)
    places = set()
    for row, length, answer in zip(symbols.tolist(), lengths.tolist(), answers.tolist(), strict=True):
        assert row[length:] == [recall.PADDING] * (9 - length)
        assert row[:length].count(recall.MARKER) == 1
        assert recall.PADDING not in row[:length]
        places.add((length, row.index(recall.MARKER)))
        assert row[row.index(recall.MARKER) + 1] == answer < recall.LETTERS
    assert places == {(length, place) for length in range(5, 10) for place in range(length - 1)}


@pytest.mark.parametrize(
    ("padding", "in_training", "in_evaluation"),
    [("masked", False, False), ("padded", True, False), ("read at the end", True, True)],
)
def test_what_the_padding_holds_matters_only_where_it_is_read_or_counted(padding, in_training, in_evaluation):
    model = recall.Reader(replace(TINY_RECALL, padding=padding))
    symbols, lengths, _ = recall.draw(20, 5, 10, torch.Generator().manual_seed(0))
    others = torch.where(symbols == recall.PADDING, 0, symbols)
    for training, matters in ((True, in_training), (False, in_evaluation)):
        model.train(training)
        with torch.no_grad():
            same = torch.allclose(model(symbols, lengths), model(others, lengths), atol=1e-6)
        assert same != matters


def test_a_sequence_is_read_after_its_own_last_step_or_after_the_padding():
    symbols, lengths, _ = recall.draw(20, 5, 10, torch.Generator().manual_seed(0))
    for padding in ("padded", "read at the end"):
        model = recall.Reader(replace(TINY_RECALL, model="lstm", padding=padding))
        outputs = model.layer(F.one_hot(symbols.T, recall.LETTERS + 2).float())[0]
        for row, length in enumerate(lengths.tolist()):
            last = 9 if padding == "read at the end" else length - 1
            torch.testing.assert_close(model(symbols, lengths)[row], model.head(outputs[last, row]))


def test_padded_steps_count_in_the_statistics_unless_they_are_masked():
    symbols, lengths, _ = recall.draw(50, 5, 10, torch.Generator().manual_seed(0))
    found = {}
    for padding in ("masked", "padded"):
        torch.manual_seed(0)
        model = recall.Reader(replace(TINY_RECALL, padding=padding))
        model.settle([(symbols, lengths)])
        found[padding] = model.layer.get_buffer("running_mean_ih")
        columns = model.layer.weight_ih.detach()[:, symbols[:, -1]]  # of the symbols at the last step
        kept = lengths == 10 if padding == "masked" else lengths > 0
        torch.testing.assert_close(found[padding][-1], columns[:, kept].mean(1))
    torch.testing.assert_close(found["masked"][:5], found["padded"][:5])  # no sequence is shorter


def test_recall_errors_are_of_thirds_by_length_and_of_longer_sequences(monkeypatch):
    asked = []

    def spy(model, sequences):
        asked.append(sequences[1])
        return (sequences[1] <= 6) | (sequences[1] == 10)

    monkeypatch.setattr(recall, "_wrong", spy)
    row = recall.train(TINY_RECALL, 0, CPU)
    lengths, validation, longer = asked
    assert (row["short_error"], row["middle_error"]) == (100, 0)  # 5 and 6, 7 and 8
    assert row["end_error"] == pytest.approx(100 * float((lengths == 10).sum() / (lengths >= 9).sum()))
    assert row["validation_error"] == pytest.approx(
        100 * float(((validation <= 6) | (validation == 10)).float().mean())
    )
    assert not torch.equal(lengths, validation)
    assert (int(longer.min()), int(longer.max())) == (11, 20)
    assert row["long_error"] == 0


def test_a_wrong_answer_is_another_letter_than_that_behind_the_marker():
    class Behind(nn.Module):
        """Says the letter behind the marker, for sequences of at least seven."""

        def __init__(self):
            super().__init__()
            self.free = nn.Parameter(torch.zeros(()))

        def forward(self, symbols, lengths):
            rows = torch.arange(len(symbols))
            letter = symbols[rows, (symbols == recall.MARKER).int().argmax(1) + 1]
            return F.one_hot(torch.where(lengths < 7, (letter + 1) % recall.LETTERS, letter), recall.LETTERS)

    sequences = recall.draw(1_200, 5, 9, torch.Generator().manual_seed(0))
    assert torch.equal(recall._wrong(Behind(), sequences), sequences[1] < 7)


def root_chi(gamma, inputs):
    """The gain of a wide network's step, by quadrature: γ √(E tanh'² / Var tanh) of a normal z."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    values = np.tanh(gamma * (math.sqrt(2) if inputs == "white" else 1) * z)
    return gamma * math.sqrt(weights @ (1 - values**2) ** 2 / (weights @ values**2))


@pytest.mark.parametrize(("gamma", "inputs"), [(0.1, "none"), (1.0, "none"), (0.1, "white"), (1.0, "white")])
def test_the_gain_of_a_wide_network_with_orthogonal_weights_is_that_of_the_theory(gamma, inputs):
    found = norms(Gain(gamma, "orthogonal", inputs, units=300, batch_size=400, steps=24, back=12), 0, CPU)
    assert found["gain"] == pytest.approx(root_chi(gamma, inputs), rel=0.02)
    curve = found["curve_norm"]
    assert (curve[0], len(curve)) == (0, 13)
    assert found["gain"] == pytest.approx(10 ** (curve[-1] / 12), rel=1e-4)


def test_columns_are_standardised_over_the_batch():
    x = 3 + 2 * drawn(50, 3)
    found = standardize(x)
    torch.testing.assert_close(found.mean(0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found.square().mean(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(found * x.std(0, correction=0) + x.mean(0), x)


def test_a_network_of_two_points_has_kurtosis_one_and_a_linear_one_three():
    assert norms(Gain(1.0, "identity", units=20, steps=300, back=2), 0, CPU)["kurtosis"] == pytest.approx(1, abs=0.3)
    assert norms(Gain(0.01, units=20, batch_size=4_000, steps=10, back=2), 0, CPU)["kurtosis"] == pytest.approx(
        3, abs=0.2
    )


def gain_of_a_blank_step(**options):
    few, many = (gains.dead(Dead(blanks, double=True, **options), 0, CPU)["first"] for blanks in (4, 10))
    return 10 ** ((many - few) / 6)


def test_a_blank_step_multiplies_the_gradient_as_the_theory_says(monkeypatch):
    halved = gain_of_a_blank_step()
    assert halved == pytest.approx((250.73 - 0.731) / 2 + 0.731, rel=0.1)  # a quarter of an orthogonal matrix
    monkeypatch.setattr(
        gains, "BatchNormLSTM", lambda *sizes, **rest: BatchNormLSTM(*sizes, hidden_init="identity", **rest)
    )
    assert gain_of_a_blank_step() == pytest.approx(250.73, rel=1e-4)
    assert gain_of_a_blank_step(normalize_cell=False) == pytest.approx(8.64, rel=1e-3)
    assert gain_of_a_blank_step(noise=0.1) == pytest.approx(1, abs=0.35)


def test_a_gradient_beyond_float32_is_none():
    found = gains.dead(Dead(30), 0, CPU)
    assert found == {"gradient": None, "first": None}
    assert gains.dead(Dead(30, double=True), 0, CPU)["first"] > 40


def test_cost_compares_with_the_loop_and_with_torchs_layer():
    row = measure(Timed(4, 20, 2, 3, repeats=3), 0, CPU)
    assert set(row) == {f"{name}_{unit}" for name in ("ours", "stepwise", "lstm") for unit in ("seconds", "bytes")} | {
        "time_ratio",
        "lstm_ratio",
    }
    assert all(value > 0 for value in row.values())
    assert row["ours_bytes"] < row["stepwise_bytes"]


def test_check_rows_have_every_model_order_and_option():
    rows = EXPERIMENTS["check"].grid["check"]
    assert {row.model for row in rows} == set(KINDS)
    assert {row.order for row in rows} == {"rows", "permuted", "redrawn"}
    assert {(row.model, row.hidden_init) for row in rows} >= {
        *(("lstm", init) for init in ("orthogonal", "identity", "torch")),
        *(("batch", init) for init in ("orthogonal", "identity")),
    }
    for name in ("blanks", "noise", "standardize", "normalize_cell", "eps"):
        assert len({getattr(row, name) for row in rows}) > 1, name
    assert {row.padding for row in EXPERIMENTS["check_recall"].grid["check"]} == set(recall.TREATMENTS)


def test_a_search_begins_with_two_rates_and_goes_on_until_the_best_has_worse_neighbours():
    assert search.tried(Pixels(), 0.003) == [0.001, 0.003, 0.01]
    assert search.tried(Pixels(), 0.01) == [0.003, 0.01, 0.03]
    assert search.tried(Pixels(), 0.1) == [0.003, 0.01, 0.03, 0.1, 0.3]
    assert search.tried(Pixels(), 0.0003) == [0.0001, 0.0003, 0.001, 0.003, 0.01]
    assert search.tried(Pixels(model="lstm"), 0.03) == [0.01, 0.03, 0.1]
    assert search.tried(Text(model="lstm"), 0.003) == search.tried(Recall(), 0.003) == [0.001, 0.003, 0.01]


SEARCHES = {
    "search_digits": experiment.TUNED_DIGITS,
    "search_starts": experiment.TUNED_STARTS,
    "search_mnist": experiment.TUNED_MNIST,
    "search_redrawn": experiment.TUNED_REDRAWN,
    "search_gammas": experiment.TUNED_GAMMAS,
    "search_parts": experiment.TUNED_PARTS,
    "search_layers": experiment.TUNED_LAYERS,
    "search_text": experiment.TUNED_TEXT,
    "search_recall": experiment.TUNED_RECALL,
    "search_blanks": experiment.TUNED_BLANK,
}
FINAL = [
    name
    for name in EXPERIMENTS
    if not name.startswith(("search", "check")) and name not in ("gains", "dead", "cost", "slower", "tied")
]


def test_every_search_of_the_paper_is_tested():
    assert set(SEARCHES) == {name for name in EXPERIMENTS if name.startswith("search")}


@pytest.mark.parametrize("table", SEARCHES)
def test_a_search_chose_the_rate_of_each_arm_and_has_worse_ones_on_either_side(table):
    found = EXPERIMENTS[table]
    assert missing(found, "book") == []  # a test trains none of these
    rows = sweep(found, "book", device="cpu")
    names = [field.name for field in fields(found.config) if field.name != "learning_rate"]
    metric = "validation_bits" if found.config is Text else "validation_error"
    best = chosen(rows, names, ["learning_rate"], metric).learning_rate
    assert len(best) == len(SEARCHES[table])
    tried = rows.groupby(names).learning_rate.unique()
    for arm, rate in SEARCHES[table].items():
        key = tuple(getattr(arm, name) for name in names)
        assert best[key] == rate, arm
        places = sorted(RATES.index(value) for value in tried[key])
        assert places == list(range(places[0], places[-1] + 1)), arm
        assert places[0] < RATES.index(rate) < places[-1], arm


@pytest.mark.parametrize("table", FINAL)
def test_a_final_run_has_the_rate_that_the_search_of_its_arm_chose(table):
    rates = {}
    for tuned in SEARCHES.values():
        assert not rates.keys() & tuned.keys()  # no arm is searched twice
        rates |= tuned
    found = EXPERIMENTS[table]
    assert missing(found, "book") == []
    for config in found.configs("book"):
        arm = replace(config, learning_rate=found.config().learning_rate)
        assert rates[arm] == config.learning_rate, config


def test_every_arm_that_was_searched_has_final_runs():
    final = {config for table in FINAL for config in EXPERIMENTS[table].configs("book")}
    for tuned in SEARCHES.values():
        assert {replace(arm, learning_rate=rate) for arm, rate in tuned.items()} <= final


def test_searches_and_final_runs_share_no_seed():
    for name, table in EXPERIMENTS.items():
        if "book" in table.grid:
            seeds = set(table.seeds("book"))
            assert seeds <= set(SEARCH_SEEDS if name in SEARCHES else range(5)), name
            assert len(seeds) >= 3 or name in SEARCHES or name == "cost"


def test_arms_of_a_table_have_the_same_budget():
    for name in (*SEARCHES, *FINAL):
        by_data = {}
        for config in EXPERIMENTS[name].configs("book"):
            budget = config.updates, config.batch_size, config.hidden_size, config.test_size
            assert by_data.setdefault(getattr(config, "data", ""), budget) == budget, name


def test_the_scoreboard_is_empty_while_rows_are_missing(monkeypatch):
    monkeypatch.setattr(claims, "missing", lambda table, scale: [1])
    assert scoreboard() == []
