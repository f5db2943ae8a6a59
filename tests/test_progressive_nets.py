"""Progressive networks against loops that follow the formulas, a column, a unit and a draw at a time."""

import copy
import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments.progressive_nets.cost import COST, Cost, LoopedNetwork, measure
from workedpapers.progressive_nets import (
    Features,
    ProgressiveNetwork,
    average_fisher_sensitivity,
    average_perturbation_sensitivity,
    fisher_information,
    transfer_score,
)

OPTIONS = {
    "linear": {},
    "adapter": {"lateral": "adapter"},
    "narrow adapter": {"lateral": "adapter", "adapter_width": 2},
    "gate": {"gate": -1.0},
    "gated adapter": {"lateral": "adapter", "gate": 0.5},
    "same": {"sources": "same"},
    "all": {"sources": "all"},
    "adapter of all": {"sources": "all", "lateral": "adapter", "adapter_width": 5},
    "mixture": {"sources": "mixture"},
    "adapter of a mixture": {"sources": "mixture", "lateral": "adapter"},
}
CONV_OPTIONS = ["linear", "adapter", "narrow adapter", "gated adapter"]


def double(*sizes, seed=0):
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(*widths, inputs=5, norm=False):
    """A maker of columns: widths of column 0, of column 1, and so on."""

    def make(number):
        layers, before = [], inputs
        for width in widths[number]:
            layers += [nn.Linear(before, width), *([nn.BatchNorm1d(width), nn.Dropout(0.3)] if norm else []), nn.ReLU()]
            before = width
        return nn.Sequential(*layers)

    return make


def convolutional(number, norm=False):
    def after(n):
        return [*([nn.BatchNorm2d(n), nn.Dropout2d(0.3)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        *after(4),
        nn.Conv2d(4, 3 + number, (3, 2), padding=(2, 0), dilation=(2, 1), padding_mode="circular"),
        *after(3 + number),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear((3 + number) * 2, 5),
        nn.ReLU(),
    )


EQUAL, UNEQUAL = [(4, 4, 4)] * 3, [(3,), (4, 6, 2), (5, 3), (2, 2, 3, 3)]


def network(make, columns=3, double_=True, outputs=3, shake=True, **options):
    """A small one, away from the special values of the initialisation."""
    torch.manual_seed(1)
    model = ProgressiveNetwork(make, **options)
    for k in range(columns):
        model.add_column(f"task {k}", outputs)
    model = model.double() if double_ else model
    if shake:
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.add_(0.3 * double(*parameter.shape, seed=i).to(parameter.dtype))
    return model


def by_hand(model, x, k):
    """Outputs of column k and hidden activations by column, from eqs. 1 and 2 of the paper, one example at a time."""
    array = lambda tensor: tensor.detach().numpy()  # noqa: E731
    outputs, stored = [], []
    for example in x.numpy():
        hidden = []
        for column in model.columns[: k + 1]:
            h, own, depth = example, [], len(column.layers) - 1
            for i, layer in enumerate(column.layers):
                z = array(layer.own.bias).copy()
                for m, row in enumerate(array(layer.own.weight)):
                    z[m] += sum(w * value for w, value in zip(row, h, strict=True))
                if i and hidden:
                    levels = {"previous": [i - 1], "same": [min(i, depth - 1)]}.get(model.sources, range(depth))
                    read = [[other[min(level, len(other) - 1)] for other in hidden] for level in levels]
                    if model.sources == "mixture":
                        e = np.exp(array(layer.mixture))
                        shares = e / e.sum()
                        read = [
                            [
                                sum(s * level[j] for s, level in zip(shares, read, strict=True))
                                for j in range(len(hidden))
                            ]
                        ]
                    z += arriving(layer, [vector for level in read for vector in level], array)
                h = z if i == depth else np.maximum(z, 0)
                own.append(h)
            hidden.append(own[:-1])
        outputs.append(h)
        stored.append(hidden)
    return np.array(outputs), stored


def arriving(layer, vectors, array):
    U = array(layer.lateral.weight)
    if layer.scale is None:
        total, start = 0, 0
        for vector in vectors:  # Σ_j U^{(k:j)} h^{(j)}
            total = total + U[:, start : start + len(vector)] @ vector
            start += len(vector)
        assert start == U.shape[1]
    else:
        V, inner, start = array(layer.project.weight), array(layer.project.bias).copy(), 0
        for alpha, vector in zip(array(layer.scale), vectors, strict=True):
            inner += V[:, start : start + len(vector)] @ (alpha * vector)
            start += len(vector)
        assert start == V.shape[1]
        total = U @ np.maximum(inner, 0)
    return total if layer.gate is None else total / (1 + np.exp(-array(layer.gate)))


@pytest.mark.parametrize("widths", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_and_hidden_activations_are_those_of_the_formulas(name, widths):
    if "mixture" in name and widths is UNEQUAL:
        widths = [(3,), (4, 4, 4), (5, 5), (2, 2, 2, 2)]
    model, x = network(dense(*widths), len(widths), **OPTIONS[name]), double(6, 5)
    for k, task in enumerate(model.tasks):
        output, hidden = model.run(x, task)
        expected, stored = by_hand(model, x, k)
        np.testing.assert_allclose(output.detach(), expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(model(x, task), output)
        assert len(hidden) == len(widths[k])
        for i, row in enumerate(hidden):
            assert len(row) == k + 1
            for j, h in enumerate(row):
                want = [example[j][min(i, len(widths[j]) - 1)] for example in stored]
                np.testing.assert_allclose(h.detach(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONV_OPTIONS)
def test_maps_are_those_of_one_convolution_over_concatenated_maps(name):
    model, x = network(convolutional, 3, **OPTIONS[name]), double(3, 2, 7, 7)
    for k, task in enumerate(model.tasks):
        first, second, third = [], [], []
        for j in range(k + 1):
            a, b, c, head = model.columns[j].layers
            z = F.conv2d(x, a.own.weight, a.own.bias, stride=2, padding=1)
            assert a.lateral is None
            maps = [*first, z.relu()]
            # One product over [U … U W] (PNN.3) on maps that are wrapped round by hand.
            pad = lambda h: F.pad(h, (0, 0, 2, 2), mode="circular")  # noqa: E731
            z = F.conv2d(pad(maps[-1]), b.own.weight, b.own.bias, dilation=(2, 1))
            if j:
                z = z + lateral_maps(b, maps[:-1], pad)
            flat = F.max_pool2d(z.relu(), 2).flatten(1)
            fc = c.own(flat) + (lateral_units(c, second) if j else 0)
            out = head.own(fc.relu()) + (lateral_units(head, third) if j else 0)
            first, second, third = maps, [*second, flat], [*third, fc.relu()]
        torch.testing.assert_close(model(x, task), out, rtol=1e-12, atol=1e-12)
        hidden = model.run(x, task)[1]
        for row, want in zip(hidden, (first, second, third), strict=True):
            for h, w in zip(row, want, strict=True):
                torch.testing.assert_close(h, w, rtol=1e-12, atol=1e-12)


def lateral_maps(layer, maps, pad):
    if layer.scale is None:
        y = F.conv2d(pad(torch.cat(maps, 1)), layer.lateral.weight, dilation=(2, 1))
    else:
        scaled = torch.cat([alpha * h for alpha, h in zip(layer.scale, maps, strict=True)], 1)
        inner = torch.einsum("rc,bchw->brhw", layer.project.weight[:, :, 0, 0], scaled)
        inner = (inner + layer.project.bias[:, None, None]).relu()
        y = F.conv2d(pad(inner), layer.lateral.weight, dilation=(2, 1))
    return y if layer.gate is None else torch.sigmoid(layer.gate)[:, None, None] * y


def lateral_units(layer, units):
    if layer.scale is None:
        y = torch.cat(units, 1) @ layer.lateral.weight.T
    else:
        scaled = torch.cat([alpha * h for alpha, h in zip(layer.scale, units, strict=True)], 1)
        y = (scaled @ layer.project.weight.T + layer.project.bias).relu() @ layer.lateral.weight.T
    return y if layer.gate is None else torch.sigmoid(layer.gate) * y


def test_convolutions_in_groups_have_laterals_across_all_maps():
    make = lambda _: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 6, 1, groups=2), nn.Flatten(), nn.Linear(6, 2))  # noqa: E731
    model, x = network(make, 2), double(3, 2, 1, 1)
    assert model.columns[1].layers[1].lateral.weight.shape == (6, 4, 1, 1)
    a, b = (column.layers[0].own(x) for column in model.columns)
    layer = model.columns[1].layers[1]
    torch.testing.assert_close(
        model.run(x, "task 1")[1][1][1], (layer.own(b) + F.conv2d(a, layer.lateral.weight)).flatten(1)
    )


def test_the_first_column_is_the_sequential_and_an_output_layer():
    model, x = network(dense((4, 6)), 1), double(7, 5)
    layers = model.columns[0].layers
    plain = nn.Sequential(layers[0].own, nn.ReLU(), layers[1].own, nn.ReLU(), layers[2].own)
    assert torch.equal(model(x, "task 0"), plain(x))
    assert all(layer.lateral is None for layer in layers)


def test_what_comes_before_the_first_layer_is_done_to_the_input_of_each_column():
    model = network(lambda _: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh()), 2)
    other = network(lambda _: nn.Sequential(nn.Linear(6, 4), nn.Tanh()), 2)
    x = double(3, 2, 3)
    assert torch.equal(model(x, "task 1"), other(x.flatten(1), "task 1"))
    words = network(lambda _: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 4)), 2)
    assert words(torch.tensor([[1, 2], [8, 0]]), "task 1").shape == (2, 3)
    info = fisher_information(words, [torch.tensor([[1, 2], [8, 0], [3, 4]])], "task 1")
    assert all(units.sum() > 0 for row in info for units in row)


@pytest.mark.parametrize("lateral", ["linear", "adapter"])
def test_without_laterals_a_column_is_a_network_of_its_own_and_has_its_gradients(lateral):
    model = network(dense(*EQUAL), 3, lateral=lateral, lateral_gain=0.0, shake=False)
    x, column = double(6, 5), model.columns[2]
    plain = nn.Sequential(*[part for layer in column.layers for part in (layer.own, layer.after)])
    torch.testing.assert_close(model(x, "task 2"), plain(x))
    loss = model(x, "task 2").square().sum()
    ours = torch.autograd.grad(loss, [layer.own.weight for layer in column.layers])
    theirs = torch.autograd.grad(plain(x).square().sum(), [layer.own.weight for layer in column.layers])
    torch.testing.assert_close(ours, theirs)
    for layer in column.layers[1:]:
        assert not layer.lateral.weight.any()


def test_with_zero_laterals_and_zero_scales_only_a_bias_keeps_adapters_alive():
    def slopes(scale, gain, bias=True):
        model = network(dense(*EQUAL), 2, lateral="adapter", scale_init=scale, lateral_gain=gain, shake=False)
        layer = model.columns[1].layers[1]
        if not bias:
            layer.project.bias.data.zero_()
        model(double(6, 5), "task 1").square().sum().backward()
        return [bool(part.grad.any()) for part in (layer.scale, layer.project.weight, layer.lateral.weight)]

    assert slopes(0.0, 0.0, bias=False) == [False, False, False]  # PNN.28
    assert slopes(0.0, 0.0) == [False, False, True]
    assert slopes(0.0, 1.0) == [True, False, True]
    assert slopes(0.5, 0.0) == [False, False, True]


def test_gradients_are_those_of_the_deltas_and_none_flows_into_frozen_columns():
    model, x = network(dense(*EQUAL), 3), double(6, 5)
    output, hidden = model.run(x, "task 2")
    output.square().sum().backward()
    frozen = [p for column in model.columns[:-1] for p in column.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    delta = 2 * output.detach()  # PNN.4, from the output downwards
    layers = model.columns[2].layers
    for i in (3, 2, 1):
        before = torch.cat(hidden[i - 1][:2], 1)
        torch.testing.assert_close(layers[i].lateral.weight.grad, delta.T @ before)
        torch.testing.assert_close(layers[i].own.weight.grad, delta.T @ hidden[i - 1][2])
        delta = (delta @ layers[i].own.weight) * (hidden[i - 1][2] > 0)
    torch.testing.assert_close(layers[0].own.weight.grad, delta.T @ x)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_of_the_input_pass_through_the_frozen_columns(name):
    model = network(dense(*EQUAL), 3, **OPTIONS[name])
    x = double(2, 5, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(partial(model, task="task 2"), (x,))
    assert torch.autograd.gradcheck(partial(model, task="task 0"), (x,))


def test_frozen_columns_leave_nothing_for_a_backward_pass_unless_the_input_wants_a_gradient():
    model, x = network(dense(*EQUAL), 3), double(2, 5)
    hidden = model.run(x, "task 2")[1]
    assert [[h.requires_grad for h in row] for row in hidden] == [[False, False, True]] * 3
    assert not model(x, "task 1").requires_grad
    for parameter in model.parameters():  # by hand, past the network
        parameter.requires_grad = True
    model(x, "task 2").sum().backward()
    assert all(p.grad is None for column in model.columns[:-1] for p in column.parameters())
    with torch.no_grad():
        assert not model(x.requires_grad_(), "task 2").requires_grad


@pytest.mark.parametrize("name", OPTIONS)
def test_cached_features_give_the_same_bits_and_gradients(name):
    model, x = network(dense(*EQUAL), 3, **OPTIONS[name]), double(6, 5)
    for task in model.tasks:
        features = model.features(x, task)
        assert features.task == task
        assert len(features.layers) == (0 if task == "task 0" else 3)
        assert torch.equal(model(x, task, features), model(x, task))
    parameters = list(model.columns[-1].parameters())
    model(x, "task 2", features).square().sum().backward()
    cached = [p.grad for p in parameters]
    model.zero_grad()
    model(x, "task 2").square().sum().backward()
    for a, b in zip(cached, parameters, strict=True):
        assert torch.equal(a, b.grad)
    some = torch.tensor([4, 1])
    assert isinstance(features[some], Features)
    torch.testing.assert_close(model(x[some], "task 2", features[some]), model(x, "task 2")[some])
    torch.testing.assert_close(model(x[2:5], "task 2", features[2:5]), model(x, "task 2")[2:5])


def test_features_of_maps_and_hidden_activations_from_features():
    model, x = network(convolutional, 3), double(3, 2, 7, 7)
    features = model.features(x, "task 2")
    assert [tuple(layer.shape) for layer in features.layers] == [(3, 8, 4, 4), (3, 14), (3, 10)]
    output, hidden = model.run(x, "task 2", features=features)
    assert torch.equal(output, model(x, "task 2"))
    for row, whole in zip(hidden, model.run(x, "task 2")[1], strict=True):
        assert torch.equal(row[0], torch.cat(whole[:2], 1))
        assert torch.equal(row[1], whole[2])
        assert not row[0].requires_grad
    assert [len(row) for row in model.run(x, "task 0", features=model.features(x, "task 0"))[1]] == [1, 1, 1]
    x.requires_grad_()
    with torch.no_grad():
        model(x, "task 2", features)
    model(x, "task 0", model.features(x, "task 0")).sum().backward()
    assert x.grad is not None


def test_a_tap_sees_every_hidden_activation_and_what_it_returns_goes_on():
    model, x, seen = network(dense(*EQUAL), 2), double(6, 5), []

    def tap(i, j, h):
        seen.append((j, i))
        return 2 * h if (i, j) == (1, 0) else h

    output, hidden = model.run(x, "task 1", tap=tap)
    assert seen == [(j, i) for j in range(2) for i in range(3)]
    plain = model.run(x, "task 1")[1]
    assert torch.equal(hidden[1][0], 2 * plain[1][0])
    third = model.columns[0].layers[2]
    torch.testing.assert_close(hidden[2][0], third.own(2 * plain[1][0]).relu())
    assert not torch.allclose(output, model(x, "task 1"))


def reparametrized(_):
    norm, rectify = nn.utils.parametrizations.weight_norm, nn.ReLU(inplace=True)
    return nn.Sequential(norm(nn.Linear(5, 4)), rectify, norm(nn.Linear(4, 4)), rectify)


KINDS = {
    "Linear": (dense(*EQUAL), (5,)),
    "Linear, BatchNorm, Dropout": (dense(*EQUAL, norm=True), (5,)),
    "Linear, weight norm, in place": (reparametrized, (5,)),
    "Conv2d": (convolutional, (2, 7, 7)),
    "Conv2d, BatchNorm, Dropout": (partial(convolutional, norm=True), (2, 7, 7)),
}
OPTIMISERS = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 0.1, weight_decay=0.5),
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.5),
}


def train(model, x, task, optimiser, steps=3):
    model.train()
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=False)
        F.cross_entropy(model(x, task), torch.arange(len(x)) % 3).backward()
        optimiser.step()


@pytest.mark.parametrize("lateral", ["linear", "adapter"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_old_outputs_keep_every_bit_while_a_new_column_learns(kind, name, lateral):
    make, sizes = KINDS[kind]
    torch.manual_seed(0)
    model, x = ProgressiveNetwork(make, lateral=lateral), torch.randn(8, *sizes)
    optimisers, outputs = [], {}
    for k in range(3):
        task = f"task {k}"
        mine = model.add_column(task, 3)
        optimisers += [OPTIMISERS[name](mine), OPTIMISERS[name](model.parameters())]
        for optimiser in optimisers[-2:]:
            train(model, x, task, optimiser)
        for optimiser in optimisers:  # with momentum and gradients of long ago
            optimiser.step()
        for old, output in outputs.items():
            assert torch.equal(model(x, old), output)  # even in training mode
        model.eval()
        outputs[task] = model(x, task).detach().clone()
        with torch.no_grad():  # another column moves, and its own output does
            assert k == 0 or not torch.equal(outputs[task], outputs["task 0"])


def test_freezing_gives_new_parameters_and_keeps_ties_buffers_and_values():
    def make(_):
        layer = nn.Linear(4, 4)
        return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), layer, nn.ReLU(), layer)

    model = ProgressiveNetwork(make)
    before = model.add_column("a", 2)
    values = [p.detach().clone() for p in before]
    for p in before:
        p.grad = torch.ones_like(p)
    model.add_column("b", 2)
    column = model.columns[0]
    after = list(column.parameters())
    assert not {id(p) for p in before} & {id(p) for p in after}
    assert all(torch.equal(a, b) for a, b in zip(values, after, strict=True))
    assert not any(p.requires_grad for p in after)
    assert all(p.grad is None for p in after)
    assert column.layers[1].own is column.layers[2].own
    assert column.layers[1].own.weight is column.layers[2].own.weight
    assert column.layers[0].after[0].num_batches_tracked is not None


def test_the_newest_column_follows_the_mode_and_frozen_ones_evaluate():
    model = network(dense(*EQUAL, norm=True), 2)
    model.eval().train()
    modes = [{module.training for module in column.modules()} for column in model.columns]
    assert modes == [{False}, {True}]
    model.columns[0].train()
    assert not model.columns[0].layers[0].after[0].training
    assert model.train(False) is model
    assert not any(module.training for module in model.columns[1].modules())
    model.train()
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters())
    model.train()
    assert not any(module.training for column in model.columns for module in column.modules())


def test_requires_grad_reaches_the_newest_column_only():
    model = network(dense(*EQUAL), 2)
    assert model.requires_grad_() is model
    assert {p.requires_grad for p in model.columns[0].parameters()} == {False}
    assert {p.requires_grad for p in model.columns[1].parameters()} == {True}
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())


def test_a_column_that_cannot_be_made_changes_nothing():
    model = network(lambda k: nn.Sequential(nn.Linear(5, 4)) if k < 2 else nn.Sequential(nn.ReLU()), 2)
    with pytest.raises(ValueError, match="must end in a Linear"):
        model.add_column("task 2", 3)
    assert model.tasks == ["task 0", "task 1"]
    assert [column.frozen for column in model.columns] == [True, False]


def test_a_state_dict_fits_a_network_with_the_same_columns():
    for options in OPTIONS.values():
        model, x = network(dense(*EQUAL, norm=True), 3, **options).eval(), double(6, 5)
        other = network(dense(*EQUAL, norm=True), 3, shake=False, **options).eval()
        assert not torch.equal(other(x, "task 2"), model(x, "task 2"))
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file))
        for task in model.tasks:
            assert torch.equal(other(x, task), model(x, task))


def test_a_copy_goes_its_own_way():
    model, x = network(dense(*EQUAL, (4, 4, 4))), double(6, 5)
    model(x, "task 2").sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x, "task 2"), model(x, "task 2"))
    before = model(x, "task 2")
    optimiser = torch.optim.SGD(twin.add_column("task 3", 3), 0.1)
    train(twin, x, "task 3", optimiser)
    assert model.tasks == ["task 0", "task 1", "task 2"]
    assert torch.equal(model(x, "task 2"), before)
    assert torch.equal(twin(x, "task 2"), before)
    assert [column.frozen for column in model.columns] == [True, True, False]


def test_a_new_column_has_dtype_and_device_of_those_before():
    for lateral in ("linear", "adapter"):
        model = network(dense(*EQUAL), 2, lateral=lateral)
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        model.add_column("task 2", 3)
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        model(double(2, 5), "task 2")
    wide = ProgressiveNetwork(lambda _: nn.Sequential(nn.Linear(5, 4, dtype=torch.float64)), gate=1, lateral="adapter")
    wide.add_column("a", 2)
    wide.add_column("b", 2)
    assert {p.dtype for p in wide.parameters()} == {torch.float64}
    model = network(dense(*EQUAL), 2, double_=False).to("meta")
    model.add_column("task 2", 3)
    assert {p.device.type for p in model.parameters()} == {"meta"}


@pytest.mark.parametrize("lateral", ["linear", "adapter"])
def test_half_precision_and_autocast(lateral):
    model, x = network(dense(*EQUAL), 3, double_=False, lateral=lateral), torch.randn(6, 5)
    exact = model(x, "task 2")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x, "task 2", model.features(x, "task 2"))
        assert mixed.dtype == torch.bfloat16
        mixed.float().sum().backward()
    torch.testing.assert_close(mixed.float(), exact, rtol=0.1, atol=0.1)
    half = copy.deepcopy(model).bfloat16()
    output = half(x.bfloat16(), "task 2")
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), exact, rtol=0.1, atol=0.1)
    shares = average_fisher_sensitivity(half, [x.bfloat16()], "task 2")
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares, average_fisher_sensitivity(model, [x], "task 2"), rtol=0.2, atol=0.05)


def test_an_empty_batch_has_empty_outputs():
    for make, sizes in KINDS.values():
        model = network(make, 2, double_=False).eval()
        x = torch.zeros(0, *sizes)
        assert model(x, "task 1").shape == (0, 3)
        assert model(x, "task 1", model.features(x, "task 1")).shape == (0, 3)
        with pytest.raises(ValueError, match="at least one example"):
            average_fisher_sensitivity(model, [x], "task 1")
        some = torch.randn(5, *sizes)
        torch.testing.assert_close(
            average_fisher_sensitivity(model, [x, some, x], "task 1"),
            average_fisher_sensitivity(model, [some], "task 1"),
        )


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # torch says so of that one release
def test_forward_compiles_whole():
    torch.compiler.reset()
    model, x = network(dense(*EQUAL), 3, lateral="adapter"), double(6, 5)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x, "task 2"), model(x, "task 2"))


def test_vmap_over_seeds_is_a_loop_over_networks():
    models = [network(dense(*EQUAL), 2, lateral="adapter") for _ in range(3)]
    for s, model in enumerate(models):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * s * double(*p.shape, seed=s))
    x = double(3, 6, 5)
    features = [model.features(x[s], "task 1") for s, model in enumerate(models)]
    parameters, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0])

    def loss(parameters, buffers, x, layers=None):
        features = None if layers is None else Features("task 1", layers)
        return torch.func.functional_call(skeleton, (parameters, buffers), (x, "task 1", features)).square().sum()

    stacked = tuple(torch.stack(layers) for layers in zip(*(f.layers for f in features), strict=True))
    for layers in ((), (stacked,)):
        gradients, values = torch.vmap(torch.func.grad_and_value(loss))(parameters, buffers, x, *layers)
        for s, model in enumerate(models):
            model.zero_grad()
            want = model(x[s], "task 1").square().sum()
            want.backward()
            torch.testing.assert_close(values[s], want)
            for name, p in model.named_parameters():
                torch.testing.assert_close(gradients[name][s], torch.zeros_like(p) if p.grad is None else p.grad)


def counted(n, columns, **options):
    model = ProgressiveNetwork(lambda _: nn.Sequential(nn.Linear(7, n), nn.Linear(n, n)), **options)
    for k in range(columns):
        model.add_column(f"{k}", 3)
    layers = [column.layers[1] for column in model.columns]
    parts = [(layer.own, layer.lateral, getattr(layer, "project", None)) for layer in layers]
    return sum(part.weight.numel() for triple in parts for part in triple if part is not None)


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_weights_grow_as_the_formulas_say(columns):
    n = 6
    assert counted(n, columns) == n**2 * columns * (columns + 1) // 2  # PNN.7
    for r in (1, 4, n):
        expected = columns * n**2 + r * n * (columns - 1) * (columns + 2) // 2  # PNN.8
        assert counted(n, columns, lateral="adapter", adapter_width=r) == expected
    assert counted(n, columns, lateral="adapter") == counted(n, columns, lateral="adapter", adapter_width=n)


def test_laterals_begin_as_layers_of_their_own_would():
    model = ProgressiveNetwork(dense((400,), (25, 100), (50, 30), inputs=2), gate=-2.5)
    for k in range(3):
        model.add_column(f"{k}", 7)
    U = model.columns[2].layers[1].lateral.weight.detach()
    for part, size in ((U[:, :400], 400), (U[:, 400:], 25)):
        assert part.abs().max() < size**-0.5
        assert part.abs().max() > 0.99 * size**-0.5
        assert abs(part.mean()) < 0.1 * size**-0.5
    assert torch.equal(model.columns[2].layers[2].gate.detach(), torch.full((7,), -2.5))

    def make(k):
        n = [2, 50, 3][k]
        return nn.Sequential(nn.Conv2d(1, n, 3), nn.Conv2d(n, 40, 2), nn.Flatten(), nn.Linear(40, 5))

    maps = ProgressiveNetwork(make)
    for k in range(3):
        maps.add_column(f"{k}", 2)
    U = maps.columns[2].layers[1].lateral.weight.detach()
    for part, size in ((U[:, :2], 8), (U[:, 2:], 200)):
        assert 0.97 * size**-0.5 < part.abs().max() < size**-0.5
    for lateral in ("linear", "adapter"):
        torch.manual_seed(3)
        one = network(dense(*EQUAL), 2, lateral=lateral, shake=False)
        tenth = network(dense(*EQUAL), 2, lateral=lateral, shake=False, lateral_gain=0.1, scale_init=0.7)
        a, b = one.columns[1].layers[2], tenth.columns[1].layers[2]
        torch.testing.assert_close(0.1 * a.lateral.weight, b.lateral.weight)
        if lateral == "adapter":
            assert a.scale.item() == pytest.approx(0.1)
            assert b.scale.item() == pytest.approx(0.7)
    mixed = network(dense(*EQUAL), 2, sources="mixture", shake=False)
    assert mixed.columns[1].layers[3].mixture.tolist() == [0, 0, 0]


def test_print_names_the_arguments_and_the_tasks():
    text = repr(network(dense(*EQUAL), 1, lateral="adapter", adapter_width=2, gate=1.0))
    assert "lateral='adapter', sources='previous', adapter_width=2, scale_init=0.1, lateral_gain=1.0, gate=1.0" in text
    assert "tasks=['task 0']" in text


LINEAR = [nn.Linear(5, 4), nn.ReLU()]
ARGUMENTS = [
    (TypeError, "make_column must be callable", {"make_column": 3}),
    (ValueError, "lateral must be one of linear, adapter, got 'mlp'", {"lateral": "mlp"}),
    (ValueError, "sources must be one of previous, same, all, mixture, got 'every'", {"sources": "every"}),
    (ValueError, "adapter_width must be at least 1, got 0", {"adapter_width": 0}),
    (TypeError, "adapter_width must be an int, got 2.0", {"adapter_width": 2.0}),
    (TypeError, "scale_init must be a number, got '1'", {"scale_init": "1"}),
    (ValueError, "lateral_gain must lie between -inf and inf, got nan", {"lateral_gain": math.nan}),
    (TypeError, "scale_init must be a number, got None", {"scale_init": None}),
    (TypeError, "gate must be a number, got True", {"gate": True}),
    (ValueError, "gate must lie between -inf and inf, got inf", {"gate": math.inf}),
]


@pytest.mark.parametrize(("error", "message", "options"), ARGUMENTS)
def test_arguments_outside_what_is_listed_are_refused(error, message, options):
    with pytest.raises(error, match=message):
        ProgressiveNetwork(**{"make_column": dense(*EQUAL), **options})


COLUMNS = {
    "must return an nn.Sequential, got list": (TypeError, lambda _: [nn.Linear(5, 4)]),
    "must end in a Linear": (ValueError, lambda _: nn.Sequential()),
    "must end in a Linear and": (ValueError, lambda _: nn.Sequential(nn.Linear(5, 4), nn.Conv2d(1, 2, 3))),
    "must end in a Linear and what": (ValueError, lambda _: nn.Sequential(nn.ReLU())),
    "must stand in the Sequential itself": (ValueError, lambda _: nn.Sequential(nn.Sequential(nn.Linear(5, 4)))),
    "and know their sizes": (ValueError, lambda _: nn.Sequential(nn.LazyLinear(4))),
    "itself and know their sizes, got LazyBatch": (ValueError, lambda _: nn.Sequential(*LINEAR, nn.LazyBatchNorm1d())),
}


@pytest.mark.parametrize("message", COLUMNS)
def test_columns_that_do_not_fit_are_refused(message):
    error, make = COLUMNS[message]
    with pytest.raises(error, match=message):
        ProgressiveNetwork(make).add_column("a", 2)


def test_columns_that_do_not_fit_those_before_are_refused():
    shared = nn.Sequential(nn.Linear(5, 4), nn.Dropout())
    for make in (lambda _: shared, lambda _: nn.Sequential(nn.Linear(5, 4), shared[1])):
        model = ProgressiveNetwork(make)
        model.add_column("a", 2)
        with pytest.raises(ValueError, match="must make new modules"):
            model.add_column("b", 2)
    flat = [nn.Flatten(), nn.Linear(9, 4)]
    kinds = [
        lambda: nn.Sequential(nn.Conv2d(1, 2, 1), *copy.deepcopy(flat)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1), *copy.deepcopy(flat)),
    ]
    for order in ((0, 1), (1, 0)):
        model = ProgressiveNetwork(lambda k, order=order: kinds[order[k]]())
        model.add_column("a", 2)
        with pytest.raises(ValueError, match="from maps to units after the same layer"):
            model.add_column("b", 2)
    for sources in ("same", "all", "mixture"):
        for kind in kinds:
            with pytest.raises(ValueError, match=f"sources='{sources}' needs columns of Linear layers"):
                ProgressiveNetwork(lambda _, kind=kind: kind(), sources=sources).add_column("a", 2)
    model = ProgressiveNetwork(dense((4, 3), (2, 2)), sources="mixture")
    model.add_column("a", 2)
    with pytest.raises(ValueError, match="needs one width within a column"):
        model.add_column("b", 2)

    def strides(k):
        return nn.Sequential(nn.Conv2d(1, 2, 1, 1 + 2 * k), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear([18, 2][k], 4))

    with pytest.raises(ValueError, match="must have maps of one size"):
        network(strides, 2)(double(2, 1, 3, 3), "task 1")


def test_inputs_tasks_and_features_that_do_not_fit_are_refused():
    model, x = network(dense(*EQUAL, (4, 4, 4)), 3), double(6, 5)
    with pytest.raises(ValueError, match="task 'task 2' has a column"):
        model.add_column("task 2", 3)
    with pytest.raises(TypeError, match="must be a str, got 7"):
        model.add_column(7, 3)
    with pytest.raises(ValueError, match="n_outputs must be at least 1, got 0"):
        model.add_column("task 3", 0)
    with pytest.raises(TypeError, match="n_outputs must be an int, got True"):
        model.add_column("task 3", True)
    for call in (model, model.features, model.run):
        with pytest.raises(ValueError, match=r"one of \['task 0', 'task 1', 'task 2'\], got 'task 9'"):
            call(x, "task 9")
    with pytest.raises(ValueError, match=r"a batch of 2 dimensions, got \(2, 3, 5\)"):
        model(double(2, 3, 5), "task 0")
    with pytest.raises(ValueError, match=r"a batch of 4 dimensions, got \(2, 7, 7\)"):
        network(convolutional, 1)(double(2, 7, 7), "task 0")
    features = model.features(x, "task 2")
    with pytest.raises(TypeError, match="must be Features, got tuple"):
        model(x, "task 2", features.layers)
    with pytest.raises(ValueError, match="those for task 'task 1', got those for 'task 2'"):
        model(x, "task 1", features)
    with pytest.raises(ValueError, match=r"shapes \[\(5, 8\), \(5, 8\), \(5, 8\)\] by layer, got \[\(6, 8\)"):
        model(x[:5], "task 2", features)
    with pytest.raises(ValueError, match="features must have shapes"):
        network(dense(*UNEQUAL))(x, "task 2", features)
    with pytest.raises(ValueError, match="features must have shapes"):
        model(x, "task 2", Features("task 2", ()))
    with pytest.raises(ValueError, match="the gradient of x would miss"):
        model(x.clone().requires_grad_(), "task 2", features)


# Sensitivity


def slopes_by_jacobian(model, x, task, place, head=slice(None)):
    """Of every example, action and unit, ∂ log π / ∂h: the Jacobian by what is added to a hidden activation."""
    i, j = place
    shape = model.run(x, task)[1][i][j].shape

    def log_p(added):
        tap = lambda a, b, h: h + added if (a, b) == place else h  # noqa: E731
        return model.run(x, task, tap=tap)[0][:, head].log_softmax(1)

    jacobian = torch.autograd.functional.jacobian(log_p, torch.zeros(shape, dtype=x.dtype))
    examples = torch.arange(len(x))
    return log_p(torch.zeros(shape, dtype=x.dtype)).exp().detach(), jacobian[examples, :, examples]


@pytest.mark.parametrize("widths", [EQUAL, [(3, 2), (4, 3), (2, 5)]])
def test_fisher_information_is_that_of_the_jacobian(widths):
    model, x = network(dense(*widths), 3), double(7, 5)
    info = fisher_information(model, [x], "task 2")
    shares = average_fisher_sensitivity(model, [x], "task 2")
    assert shares.shape == (len(widths[0]), 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(widths[0]), dtype=torch.float64))
    for i, row in enumerate(info):
        for j, units in enumerate(row):
            p, jacobian = slopes_by_jacobian(model, x, "task 2", (i, j))
            variance = model.run(x, "task 2")[1][i][j].var(0, correction=0)
            want = variance * torch.einsum("ba,bam->m", p, jacobian.square()) / len(x)
            torch.testing.assert_close(units, want.detach(), rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(shares[i, j], (units.sum() / sum(u.sum() for u in row)))


def test_fisher_information_is_that_of_actions_drawn():
    model, x = network(dense(*EQUAL), 2), double(5, 5)
    p, jacobian = slopes_by_jacobian(model, x, "task 1", (1, 0))
    generator = torch.Generator().manual_seed(0)
    actions = torch.multinomial(p, 40_000, replacement=True, generator=generator)
    drawn = jacobian[torch.arange(5)[:, None], actions].square().mean((0, 1))
    hidden = model.run(x, "task 1")[1][1][0]
    torch.testing.assert_close(
        fisher_information(model, [x], "task 1")[1][0], hidden.var(0, correction=0) * drawn, rtol=0.02, atol=1e-6
    )


def test_maps_are_units_whose_slopes_are_summed_over_pixels_flattened_or_not():
    model, x = network(convolutional, 2), double(4, 2, 7, 7)
    info = fisher_information(model, [x], "task 1")
    assert [[len(units) for units in row] for row in info] == [[4, 4], [3, 4], [5, 5]]
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)):
        p, jacobian = slopes_by_jacobian(model, x, "task 1", (i, j))
        h = model.run(x, "task 1")[1][i][j].detach()
        units = len(info[i][j])
        slopes = jacobian.reshape(4, 3, units, -1).sum(3)
        variance = torch.stack([h.reshape(4, units, -1)[:, m].var(correction=0) for m in range(units)])
        want = variance * torch.einsum("ba,bam->m", p, slopes.square()) / 4
        torch.testing.assert_close(info[i][j], want, rtol=1e-12, atol=1e-15)


def test_fisher_information_does_not_depend_on_batches_mode_or_gradient_mode():
    model, x = network(dense(*EQUAL, norm=True), 3), 3 + double(30, 5)
    model.columns[2].layers[0].after.eval()
    whole = fisher_information(model, [x], "task 2")
    with torch.no_grad():
        parts = fisher_information(model, iter([x[:1], x[1:12], x[12:]]), "task 2")
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-14)
    assert not any(units.requires_grad for row in whole for units in row)
    assert model.training
    assert model.columns[2].layers[1].after.training
    assert not model.columns[2].layers[0].after.training
    assert all(p.grad is None for p in model.parameters())
    assert not x.requires_grad
    model.eval()
    torch.testing.assert_close(fisher_information(model, [x], "task 2"), whole)


def test_the_variance_does_not_cancel_far_from_zero():
    model = network(lambda _: nn.Sequential(nn.Linear(1, 1)), 1, double_=False)
    with torch.no_grad():
        model.columns[0].layers[0].own.weight.fill_(1.0)
        model.columns[0].layers[0].own.bias.fill_(4096.0)
        model.columns[0].layers[1].own.weight.mul_(1e-3)
    x = torch.linspace(-1, 1, 101)[:, None]
    batches = [*x.split(3)]
    far = fisher_information(model, batches, "task 0")[0][0]
    model.columns[0].layers[0].own.bias.data.zero_()
    with torch.no_grad():  # the outputs as before
        head = model.columns[0].layers[1].own
        head.bias.add_(4096.0 * head.weight[:, 0])
    torch.testing.assert_close(far, fisher_information(model, batches, "task 0")[0][0], rtol=0.01, atol=0)


def test_a_column_that_is_not_read_has_no_share_and_a_dead_layer_no_shares():
    model, x = network(dense(*EQUAL), 3), double(6, 5)
    with torch.no_grad():
        for layer in model.columns[2].layers[1:]:
            layer.lateral.weight[:, 4:] = 0  # columns 1 and, by itself, column 0's way through it
    shares = average_fisher_sensitivity(model, [x], "task 2")
    assert shares[:, 1].tolist() == [0, 0, 0]
    assert (shares[:, [0, 2]] > 0).all()
    with torch.no_grad():
        for column in model.columns:
            column.layers[1].own.bias.fill_(-1e3)
    shares = average_fisher_sensitivity(model, [x], "task 2")
    assert shares[1].tolist() == [0, 0, 0]
    assert shares[2].tolist() == [0, 0, 0]  # constant
    assert not shares.isnan().any()
    assert average_fisher_sensitivity(model, [x], "task 2", paired=True)[1].tolist() == [0, 0, 0]


def test_paired_shares_are_taken_unit_by_unit():
    model, x = network(dense(*EQUAL), 3), double(6, 5)
    with torch.no_grad():
        for column in model.columns:
            column.layers[1].own.bias[2] = -1e3
    info = fisher_information(model, [x], "task 2")
    paired = average_fisher_sensitivity(model, [x], "task 2", paired=True)
    for i, row in enumerate(info):
        for j in range(3):
            want = 0.0
            for m in range(4):
                total = sum(row[other][m].item() for other in range(3))
                want += row[j][m].item() / total if total else 0.0
            assert paired[i, j].item() == pytest.approx(want, rel=1e-12)
    dead = [sum(all(units[m] == 0 for units in row) for m in range(4)) for row in info]
    assert dead[1] >= 1
    assert paired.sum(1).tolist() == pytest.approx([4 - n for n in dead])
    with pytest.raises(ValueError, match=r"columns of one width, got \[\[3, 4\]"):
        average_fisher_sensitivity(network(dense((3,), (4,)), 2), [x], "task 1", paired=True)


def test_layers_that_a_column_lacks_and_deeper_ones_that_are_not_read():
    model, x = network(dense((3,), (4, 3, 2), (5, 3)), 3), double(6, 5)
    info = fisher_information(model, [x], "task 2")
    assert [[len(units) for units in row] for row in info] == [[3, 4, 5], [0, 3, 3]]
    shares = average_fisher_sensitivity(model, [x], "task 2")
    assert shares[1, 0] == 0
    torch.testing.assert_close(shares.sum(1), torch.ones(2, dtype=torch.float64))
    p, jacobian = slopes_by_jacobian(model, x, "task 2", (0, 0))  # as layers 1 and 2 at once
    want = model.run(x, "task 2")[1][0][0].var(0, correction=0) * torch.einsum("ba,bam->m", p, jacobian.square()) / 6
    torch.testing.assert_close(info[0][0], want)


def test_logits_leave_out_a_value():
    model, x = network(dense(*EQUAL), 2, outputs=4), double(6, 5)
    info = fisher_information(model, [x], "task 1", logits=lambda output: output[:, :3])
    p, jacobian = slopes_by_jacobian(model, x, "task 1", (2, 0), slice(0, 3))
    variance = model.run(x, "task 1")[1][2][0].var(0, correction=0)
    torch.testing.assert_close(info[2][0], variance * torch.einsum("ba,bam->m", p, jacobian.square()) / 6)
    shares = average_fisher_sensitivity(model, [x], "task 1", logits=lambda output: output[:, :3])
    torch.testing.assert_close(shares[2, 0], info[2][0].sum() / (info[2][0].sum() + info[2][1].sum()))


def test_small_noise_costs_half_its_variance_times_the_information():
    model, x = network(dense(*EQUAL), 2), double(20, 5)
    clean, hidden = model.run(x, "task 1")
    log_p = clean.log_softmax(1).detach()
    for place in ((0, 0), (1, 0), (2, 1)):
        deviation = hidden[place[0]][place[1]].std(0, correction=0).detach()

        def divergence(noise, place=place, deviation=deviation):
            tap = lambda i, j, h: h + deviation * noise if (i, j) == place else h  # noqa: E731
            with torch.no_grad():
                other = model.run(x, "task 1", tap=tap)[0].log_softmax(1)
            return (log_p.exp() * (log_p - other)).sum(1).mean().item()

        # E[½ εᵀ H ε] = ½ σ² tr H: plus and minus along each axis instead of draws
        sigma, total = 1e-3, 0.0
        for m in range(4):
            for sign in (-1, 1):
                noise = torch.zeros(4, dtype=torch.float64)
                noise[m] = sign * sigma
                total += divergence(noise) / 2
        info = fisher_information(model, [x], "task 1")[place[0]][place[1]].sum().item()
        assert total == pytest.approx(0.5 * sigma**2 * info, rel=1e-3)


def linear_score(model, x, task):
    """One minus the mean squared change of the first output, which is linear in the last hidden layer."""
    clean = model(x, task)[:, 0].detach()
    return lambda predict: 1 - (predict(x)[:, 0] - clean).square().mean().item()


def test_perturbation_sensitivity_of_a_linear_score_is_known():
    model, x = network(dense(*[(3,), (4,), (2,)]), 3), double(400, 5)
    calls = []
    score = linear_score(model, x, "task 2")

    def counting(predict):
        calls.append(1)
        return score(predict)

    for drop in (0.5, 0.2):
        calls.clear()
        shares = average_perturbation_sensitivity(model, counting, "task 2", drop, chance=-1.0, seed=4)
        # 2 − σ² c_j = 2 (1 − drop) with c_j the mean square of Σ_m w_m s_m ε_m: Λ_j = c_j / (2 drop)
        hidden = model.run(x, "task 2")[1][0]
        head = model.columns[2].layers[1]
        weights = [*head.lateral.weight[0].split([3, 4]), head.own.weight[0]]
        c = []
        for w, h in zip(weights, hidden, strict=True):
            noise = torch.randn(h.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
            c.append(((noise * h.std(0, correction=0)) @ w).square().mean())
        want = torch.stack(c) / sum(c)
        assert shares.shape == (1, 3)
        np.testing.assert_allclose(shares[0], want.detach(), rtol=1e-3)
        assert len(calls) == 1 + 3 * 17
        expected = torch.stack(
            [(w.square() * h.var(0, correction=0)).sum() for w, h in zip(weights, hidden, strict=True)]
        )
        np.testing.assert_allclose(shares[0], (expected / expected.sum()).detach(), rtol=0.3)


def test_perturbation_sensitivity_is_zero_where_nothing_is_lost_and_at_its_bounds():
    model, x = network(dense(*EQUAL), 2), double(50, 5)
    with torch.no_grad():
        for layer in model.columns[1].layers[1:]:
            layer.lateral.weight.zero_()
    shares = average_perturbation_sensitivity(model, linear_score(model, x, "task 1"), "task 1")
    assert shares[:, 0].tolist() == [0, 0, 0]
    assert shares[:, 1].tolist() == [1, 1, 1]
    assert not average_perturbation_sensitivity(model, lambda predict: (predict(x), 1.0)[1], "task 1").any()
    fragile = iter([1.0, *[0.5] * 1000])  # falls by just a half at the least noise everywhere
    half = average_perturbation_sensitivity(model, lambda predict: (predict(x), next(fragile))[1], "task 1")
    assert half.tolist() == [[0.5, 0.5]] * 3


def test_noise_is_fresh_at_each_pass_the_same_at_every_level_and_leaves_the_network_alone():
    model, x, seen = network(dense(*EQUAL, norm=True), 1), double(5, 5), []

    def score(predict):
        assert not torch.is_grad_enabled()
        assert not model.columns[0].layers[0].after[0].training
        seen.append((predict(x), predict(x)))
        return 1.0 - len(seen) / 1000

    model.train()
    average_perturbation_sensitivity(model, score, "task 0", 0.001)
    assert model.columns[0].layers[0].after[0].training
    (clean, again), *noisy = seen
    assert torch.equal(clean, again)
    assert all(not torch.equal(a, b) for a, b in noisy)
    # In the last layer outputs are linear.
    directions = [F.normalize((a - clean).flatten(), dim=0) for a, _ in noisy[-17:]]
    for direction in directions[1:]:
        torch.testing.assert_close(direction, directions[0], rtol=1e-4, atol=1e-4)


def test_more_noise_is_needed_for_a_larger_drop_and_maps_share_a_deviation():
    model, x = network(convolutional, 1), double(6, 2, 7, 7)
    clean, hidden = model.run(x, "task 0")
    seen = []

    def score(predict):
        change = predict(x) - clean
        seen.append(change)
        return 1 - change.abs().max().item()

    assert average_perturbation_sensitivity(model, score, "task 0").tolist() == [[1], [1], [1]]
    # Rebuild the first noisy pass by hand: layer 0, σ = 10³, noise by pixel with the deviation of its map.
    h = hidden[0][0].detach()
    noise = torch.randn(h.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    deviation = torch.stack([h[:, m].std(correction=0) for m in range(4)])
    tap = lambda i, j, a: a + 1e3 * deviation[:, None, None] * noise if i == 0 else a  # noqa: E731
    torch.testing.assert_close(seen[1], (model.run(x, "task 0", tap=tap)[0] - clean).detach())
    flat = hidden[1][0].detach()
    noise = torch.randn(flat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    deviation = torch.stack([flat.view(6, 3, 2)[:, m].std(correction=0) for m in range(3)]).repeat_interleave(2)
    tap = lambda i, j, a: a + 1e3 * deviation * noise if i == 1 else a  # noqa: E731
    torch.testing.assert_close(seen[1 + 17], (model.run(x, "task 0", tap=tap)[0] - clean).detach())


def test_the_level_of_noise_is_found_to_a_part_in_five_thousand():
    model, x, changes = network(dense(*EQUAL), 1), double(30, 5), []
    clean = model(x, "task 0")

    def score(predict):
        predict(x[:0])  # takes no numbers
        predict(x[:1])
        changes.append((predict(x) - clean).square().mean().sqrt().item())
        return 1 - changes[-1]

    average_perturbation_sensitivity(model, score, "task 0", 0.25, chance=0.2)
    last = changes[-17:]  # of the last layer, linear in σ
    assert min(abs(change - 0.2) for change in last) < 0.2 * 3e-4  # 0.25 of 1 − 0.2 is lost
    assert last[0] / last[1] == pytest.approx(1e3)  # from 10³ to the middle of the logarithms


def test_layers_that_are_missing_have_no_precision():
    model, x = network(dense((3,), (4, 3, 2), (5, 3)), 3), double(40, 5)
    shares = average_perturbation_sensitivity(model, linear_score(model, x, "task 2"), "task 2")
    assert shares.shape == (2, 3)
    assert shares[1, 0] == 0
    torch.testing.assert_close(shares.sum(1), torch.ones(2))


def test_arguments_of_the_sensitivity_to_noise():
    model, x = network(dense(*EQUAL), 1), double(5, 5)
    perturb = partial(average_perturbation_sensitivity, model)
    for drop in (0, 1, -0.5):
        with pytest.raises(ValueError, match=f"drop must lie between 0 and 1, got {drop}"):
            perturb(lambda predict: 1.0, "task 0", drop)
    with pytest.raises(TypeError, match="drop must be a number"):
        perturb(lambda predict: 1.0, "task 0", "half")
    for score, chance in ((0.5, 0.5), (math.nan, 0.0), (0.0, 0)):
        with pytest.raises(ValueError, match=f"above chance, {chance}, got {score}"):
            perturb(lambda predict, score=score: predict(x).sum().item() * 0 + score, "task 0", chance=chance)
    with pytest.raises(ValueError, match="must call the function it is given"):
        perturb(lambda predict: 1.0, "task 0")
    with pytest.raises(ValueError, match="task must be one of"):
        perturb(lambda predict: 1.0, "task 5")
    with pytest.raises(ValueError, match="task must be one of"):
        fisher_information(model, [x], "task 5")


# Transfer


def test_the_transfer_score_is_the_ratio_of_areas_above_random():
    curve, baseline = double(4, 7, seed=1), 5 + double(1, 7, seed=2)
    for random in (0.0, -1.5, torch.full((4,), 2.0)):
        score = transfer_score(curve, baseline, random)
        for s in range(4):
            floor = float(torch.as_tensor(random).expand(4)[s])
            area = sum(v - floor for v in curve[s].tolist())
            assert score[s].item() == pytest.approx(100 * area / sum(v - floor for v in baseline[0].tolist()))
    assert transfer_score(baseline, baseline).item() == pytest.approx(100)
    assert transfer_score(torch.tensor([3.0]), torch.tensor([2.0])).item() == pytest.approx(150)
    shifted = transfer_score(3 * curve - 7, 3 * baseline - 7, 3 * 0.25 - 7)  # PNN.20
    torch.testing.assert_close(shifted, transfer_score(curve, baseline, 0.25))


def test_transfer_scores_without_a_meaning_are_refused():
    ones = torch.ones(2, 3)
    for baseline in (ones, torch.stack((2 * ones[0], ones[0])), torch.full((3,), torch.nan)):
        with pytest.raises(ValueError, match=r"above that of random, 1\.0"):
            transfer_score(ones, baseline, 1.0)
    for curve, baseline in (
        (ones, torch.ones(4)),
        (torch.ones(0), torch.ones(0)),
        (torch.tensor(1.0), ones),
        (ones, torch.tensor(1.0)),
    ):
        with pytest.raises(ValueError, match="with the same times"):
            transfer_score(curve, baseline)


# What the cost is held against


def test_the_loop_computes_what_ours_does():
    config = Cost(3, 4, 6, 5, 3)
    loop = LoopedNetwork(config).double()
    model = network(dense(*[(5, 5)] * 3, inputs=6), 3)
    own, lateral = iter(loop.own), iter(loop.lateral)
    with torch.no_grad():
        for k, column in enumerate(model.columns):
            for layer in column.layers:
                mine = next(own)
                mine.weight.copy_(layer.own.weight)
                mine.bias.copy_(layer.own.bias)
                if layer.lateral is not None:
                    for part in layer.lateral.weight.split(5, 1):
                        other = next(lateral)
                        other.weight.copy_(part)
                        other.bias.zero_()
            assert k or layer.lateral is None
    x = double(4, 6)
    torch.testing.assert_close(loop(x), model(x, "task 2"))
    trained = sum(p.numel() for p in loop.parameters() if p.requires_grad)
    redundant = 2 * 5 + 2 * 3  # a bias for every lateral connection
    assert trained == sum(p.numel() for p in model.columns[2].parameters()) + redundant


def test_the_cost_has_times_ratios_and_parameters_of_all():
    (config,) = COST.grid["check"]
    metrics = measure(config, 0, torch.device("cpu"))
    for name in ("uncached", "adapter", "uncached_adapter", "loop"):
        assert metrics[f"{name}_ratio"] > 0
        assert metrics[f"{name}_best_ratio"] > 0
        assert metrics[f"{name}_seconds"] > 0
    assert "ours_ratio" not in metrics
    alone, beside = 6 * 5 + 5 + 5 * 5 + 5 + 5 * 3 + 3, 5 * 5 + 5 * 3
    assert metrics["ours_parameters"] == metrics["uncached_parameters"] == 3 * alone + 3 * beside
