"""Batch normalisation against loops in float64, torch's own layers, finite differences and real processes."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
import unittest
import warnings
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from workedpapers import batch_norm as module
from workedpapers.batch_norm import (
    SLAB,
    SMALL,
    BatchNorm,
    _slabs,
    batch_norm,
    batch_norm_backward,
    combine_statistics,
    fold,
    population_statistics,
    sync_batch_norm,
)
from workedpapers.lab.timing import saved_bytes

SHAPES = [(7, 3), (5, 3, 4), (4, 3, 2, 5), (2, 3, 2, 3, 2)]
PEERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def double(*sizes, seed=0):
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def numpy_batch_norm(x, weight, bias, eps):
    """The definition, channel by channel."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        centered = x[:, c] - x[:, c].mean()
        y[:, c] = weight[c] * centered / np.sqrt((centered**2).mean() + eps) + bias[c]
    return y


def torch_batch_norm(x, weight, bias, eps=1e-5):
    return nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def values_and_gradients(function, grad_output, *tensors):
    """y, then its gradients with respect to the tensors."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, grad_output.to(y.dtype))]


def relative_errors(results, expected):
    return [((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(results, expected, strict=True)]


def exception(function):
    try:
        function()
    except Exception as error:
        return type(error)
    return None


def assert_same_state(ours, theirs, **tolerances):
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, **tolerances)


def trained(cls=BatchNorm, features=3, seed=0, **options):
    """A layer with parameters and running statistics away from their initial values, in evaluation mode."""
    norm = cls(features, **options).double().eval()
    with torch.no_grad():
        for i, (name, tensor) in enumerate(norm.state_dict().items()):
            if name != "num_batches_tracked":
                numbers = double(features, seed=seed + i)
                tensor.copy_(numbers.abs() + 0.2 if name == "running_var" else numbers)
    return norm


@pytest.fixture(params=["few calls", "few passes", "slabs"])
def each_path(request, monkeypatch):
    """A batch as small as it is, or treated as a larger one: whole, and cut into its examples."""
    if request.param != "few calls":
        monkeypatch.setattr(module, "SMALL", 0)
    if request.param == "slabs":
        monkeypatch.setattr(module, "SLAB", 2)


paths = pytest.mark.usefixtures("each_path")
torch_deprecates = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what its own compiler uses

# --- batch_norm and its gradients ---


@paths
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_values_follow_the_definition(shape, eps):
    x, weight, bias = 2 * double(*shape) + 1, double(3, seed=1), double(3, seed=2)
    expected = numpy_batch_norm(x.numpy(), weight.numpy(), bias.numpy(), eps)
    np.testing.assert_allclose(batch_norm(x, weight, bias, eps), expected, rtol=1e-12, atol=1e-12)


@paths
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_gradients_equal_torchs(shape, eps):
    tensors = double(*shape, seed=3), 2 * double(*shape) + 1, double(3, seed=1), double(3, seed=2)
    ours = values_and_gradients(lambda *args: batch_norm(*args, eps), *tensors)
    theirs = values_and_gradients(lambda *args: torch_batch_norm(*args, eps), *tensors)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@paths
@pytest.mark.parametrize("shape", SHAPES)
def test_first_and_second_derivatives_equal_finite_differences(shape):
    tensors = [t.requires_grad_() for t in (double(*shape), double(3, seed=1), double(3, seed=2))]
    for eps in (1e-5, 0.3):
        assert torch.autograd.gradcheck(lambda *args, eps=eps: batch_norm(*args, eps), tensors)
        assert torch.autograd.gradgradcheck(lambda *args, eps=eps: batch_norm(*args, eps), tensors)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_the_closed_form_equals_torchs_gradients(shape, eps):
    grad_output, x, weight = double(*shape, seed=3), 2 * double(*shape) + 1, double(3, seed=1)
    _, *expected = values_and_gradients(
        lambda *args: torch_batch_norm(*args, eps), grad_output, x, weight, torch.zeros(3).double()
    )
    torch.testing.assert_close(list(batch_norm_backward(grad_output, x, weight, eps)), expected)
    expected[0] /= weight.view(-1, *[1] * (len(shape) - 2))
    torch.testing.assert_close(list(batch_norm_backward(grad_output, x, None, eps)), expected)


def test_the_closed_form_has_a_derivative():
    tensors = [t.requires_grad_() for t in (double(4, 2, 3, seed=3), double(4, 2, 3), double(2, seed=1))]
    assert torch.autograd.gradcheck(batch_norm_backward, tensors)


@paths
@pytest.mark.parametrize("missing", ["weight", "bias", "both"])
def test_none_stands_for_weight_one_and_bias_zero(missing):
    grad_output, x = double(4, 3, 5, seed=3), double(4, 3, 5)
    weight = None if missing in ("weight", "both") else double(3, seed=1)
    bias = None if missing in ("bias", "both") else double(3, seed=2)
    ours = values_and_gradients(lambda x: batch_norm(x, weight, bias), grad_output, x)
    theirs = values_and_gradients(lambda x: torch_batch_norm(x, weight, bias), grad_output, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@paths
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)]
)
@pytest.mark.parametrize("parameters", ["same", "float32"])
def test_every_precision_is_exact_up_to_its_last_digit(dtype, tolerance, parameters):
    x, grad_output = double(16, 3, 5).to(dtype), double(16, 3, 5, seed=3).to(dtype)
    size = dtype if parameters == "same" else torch.float32
    weight, bias = double(3, seed=1).to(size), double(3, seed=2).to(size)
    ours = values_and_gradients(batch_norm, grad_output, x, weight, bias)
    assert [tensor.dtype for tensor in ours] == [dtype, dtype, size, size]
    expected = values_and_gradients(torch_batch_norm, *(t.double() for t in (grad_output, x, weight, bias)))
    for result, exact in zip(ours, expected, strict=True):
        torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=4e-6)
    closed = batch_norm_backward(grad_output, x, weight)
    assert [tensor.dtype for tensor in closed] == [dtype, size, size]
    for result, exact in zip(closed, expected[1:], strict=True):
        torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=4e-6)


LARGE = [(37, 3, 70, 70), (5, 3, 250, 200), (100000, 3)]  # several slabs; of one example each; ragged last ones


@pytest.mark.parametrize("shape", LARGE)
def test_a_batch_larger_than_the_cache_gives_the_same(shape):
    assert np.prod(shape) > SLAB
    tensors = double(*shape, seed=3), 2 * double(*shape) + 1, double(3, seed=1), double(3, seed=2)
    ours = values_and_gradients(batch_norm, *tensors)
    theirs = values_and_gradients(torch_batch_norm, *tensors)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", LARGE)
def test_digits_survive_where_the_first_examples_lie_far_from_the_rest(shape):
    x = double(*shape).sort(0).values + 1e3
    x[0] -= 1e3
    tensors = [t.float() for t in (double(*shape, seed=3), x, double(3, seed=1), double(3, seed=2))]
    ours = values_and_gradients(batch_norm, *tensors)
    exact = values_and_gradients(torch_batch_norm, *(t.double() for t in tensors))
    assert max(relative_errors(ours, exact)) < 3e-6


@paths
@pytest.mark.parametrize("shape", [(200, 8), (64, 8, 40, 40)])
def test_nothing_is_lost_in_float32_where_the_mean_is_large(shape):
    tensors = [t.float() for t in (double(*shape, seed=3), 1e4 + double(*shape), double(8, seed=1), double(8, seed=2))]
    exact = values_and_gradients(torch_batch_norm, *(t.double() for t in tensors))
    # torch's own errors: values 1e-4 to 6e-4, gradient of weight 5e-4 to 2e-3
    assert max(relative_errors(values_and_gradients(batch_norm, *tensors), exact)) < 1e-6
    assert max(relative_errors(batch_norm_backward(*tensors[:3]), exact[1:])) < 1e-6


def test_second_derivatives_keep_their_digits_where_the_mean_is_large():
    def second(function, *tensors):
        x, weight, bias = (tensor.requires_grad_() for tensor in tensors)
        (grad_x,) = torch.autograd.grad(function(x, weight, bias).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(grad_x.square().sum(), (x, weight, bias))

    tensors = [t.float() for t in (1e4 + double(50, 3), double(3, seed=1) + 2, double(3, seed=2))]
    exact = second(torch_batch_norm, *(t.double() for t in tensors))
    assert max(relative_errors(second(batch_norm, *tensors), exact)) < 1e-5


@paths
@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 1e18, 1e30, 3e38])
@pytest.mark.parametrize("shape", [(2, 3), (100, 3), (7, 3, 150, 150)])
def test_a_constant_channel_gives_the_bias(value, shape):
    x, grad_output = torch.full(shape, value), double(*shape).float()
    weight, bias = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 0.0, -1.0])
    y, grad_x, grad_weight, grad_bias = values_and_gradients(batch_norm, grad_output, x, weight, bias)
    sites = [1] * (len(shape) - 2)
    torch.testing.assert_close(y, bias.view(-1, *sites).expand(shape), rtol=0, atol=0)
    others = [0, *range(2, len(shape))]
    centered = grad_output.double() - grad_output.double().mean(others, keepdim=True)
    expected = weight.double().view(-1, *sites) * centered / 1e-5**0.5
    assert max(relative_errors([grad_x, grad_bias], [expected, grad_output.double().sum(others)])) < 2e-6
    assert not grad_weight.any()
    closed = batch_norm_backward(grad_output, x, weight)
    torch.testing.assert_close(list(closed), [grad_x, grad_weight, grad_bias], rtol=1e-5, atol=2e-3)


def layouts():
    base = double(6, 5, 4, 3)
    yield "channels last", base.to(memory_format=torch.channels_last)
    yield "transposed", base.transpose(0, 1)
    yield "strided", base[::2, :, 1:, ::2]
    yield "expanded", base[:, :, :1, :1].expand(6, 5, 4, 3)
    yield "broadcast over channels", base[:, :1].expand(6, 5, 4, 3)
    yield "reversed rows", double(5, 6).t()
    yield "channels last 3d", double(2, 3, 4, 2, 3).to(memory_format=torch.channels_last_3d)


@paths
@pytest.mark.parametrize("name", dict(layouts()))
def test_the_order_in_memory_does_not_matter(name):
    x = dict(layouts())[name]
    weight, bias = double(x.shape[1], seed=1), double(x.shape[1], seed=2)
    for grad_output in (double(*x.shape, seed=3), double(*x.shape[::-1], seed=3).permute(*range(x.dim() - 1, -1, -1))):
        ours = values_and_gradients(batch_norm, grad_output, x, weight, bias)
        theirs = values_and_gradients(torch_batch_norm, grad_output, x, weight, bias)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        assert ours[0].stride() == torch.empty_like(x).stride()


def test_large_batches_with_the_channels_last_give_the_same():
    x = double(80, 8, 30, 30).to(memory_format=torch.channels_last)
    assert x.numel() > 2 * SLAB
    tensors = double(*x.shape, seed=3), x, double(8, seed=1), double(8, seed=2)
    ours, theirs = values_and_gradients(batch_norm, *tensors), values_and_gradients(torch_batch_norm, *tensors)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@paths
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0), (0, 3, 2, 2), (2, 3, 0, 2)])
def test_an_empty_batch_passes_through(shape):
    results = values_and_gradients(batch_norm, torch.empty(shape), torch.empty(shape), torch.ones(3), torch.zeros(3))
    assert results[0].shape == results[1].shape == shape
    assert not any(tensor.any() for tensor in results)
    closed = batch_norm_backward(torch.empty(shape), torch.empty(shape), None)
    assert [tensor.shape for tensor in closed] == [shape, (3,), (3,)]
    assert not any(tensor.any() for tensor in closed)


def test_the_input_is_left_as_it_was():
    x = double(64, 4, 30, 30)
    before = x.clone()
    grad_output = torch.ones_like(x)
    values_and_gradients(batch_norm, grad_output, x, torch.ones(4).double(), torch.zeros(4).double())
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    assert grad_output.eq(1).all()


def test_only_the_input_and_a_few_numbers_per_channel_are_kept_for_the_backward_pass():
    x = torch.randn(32, 8, 10, 10, requires_grad=True)
    assert x.numel() > SMALL
    weight, bias = torch.ones(8, requires_grad=True), torch.zeros(8, requires_grad=True)
    assert saved_bytes(lambda: batch_norm(x, weight, bias)) <= 4 * (x.numel() + 4 * 8)


@pytest.mark.parametrize("shape", [(64, 16, 64, 64), (400000, 3)])
@pytest.mark.parametrize("share", [8, 32])
def test_the_variance_keeps_its_digits_where_the_first_slab_lies_far_from_the_rest(shape, share):
    x = double(*shape).float()
    x[: len(x) // share] += 1e3
    norm = BatchNorm(shape[1], momentum=1.0)
    norm(x)
    variance = x.double().var((0, *range(2, x.dim())))
    assert relative_errors([norm.running_var], [variance])[0] < 1e-6  # 9e-6 with the first slab's mean for all


@paths
@pytest.mark.parametrize("shape", [(64, 3), (20, 3, 5, 5), (1000, 3)])
@pytest.mark.parametrize("size", [1e19, 1e30, 1e35])
def test_values_whose_squares_overflow_give_what_torch_gives(shape, size):
    tensors = [t.float() for t in (double(*shape, seed=3), double(*shape), double(3, seed=1), double(3, seed=2))]
    tensors[1] = tensors[1].sign() * size * tensors[1].abs().clamp(0.5, 1)
    ours, theirs = values_and_gradients(batch_norm, *tensors), values_and_gradients(torch_batch_norm, *tensors)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert all(tensor.isfinite().all() for tensor in ours)


@paths
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3.3e38])
def test_a_channel_that_cannot_be_summed_is_nan_and_no_other(value):
    x = double(20, 3, 5).float()
    x[1:, 0] = value
    norm, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    y = norm(x)
    if value != 3.3e38:
        torch.testing.assert_close(y, theirs(x), equal_nan=True)
    assert y[:, 0].isnan().all()
    assert y[:, 1:].isfinite().all()
    assert norm.running_var.isfinite().tolist() == [False, True, True]


def scalar(function):
    return lambda *tensors: function(*tensors).sin().sum()


TRANSFORMS = {
    "grad": lambda f, x, w, b: grad(scalar(f), (0, 1, 2))(x[0], w, b),
    "jvp": lambda f, x, w, b: jvp(f, (x[0], w, b), (x[1], b, w)),
    "forward_ad": lambda f, x, w, b: forward_derivative(f, x[0], x[1], w, b),
    "jacrev": lambda f, x, w, b: jacrev(f, (0, 1, 2))(x[0], w, b),
    "jacfwd": lambda f, x, w, b: jacfwd(f, (0, 1, 2))(x[0], w, b),
    "hessian": lambda f, x, w, b: hessian(scalar(f), (0, 1))(x[0], w, b),
    "jacrev of jacrev": lambda f, x, w, b: jacrev(jacrev(scalar(f)))(x[0], w, b),
    "jacfwd of jacfwd": lambda f, x, w, b: jacfwd(jacfwd(scalar(f)))(x[0], w, b),
    "third derivative": lambda f, x, w, b: grad(scalar(grad(scalar(grad(scalar(f))))))(x[0], w, b),
    "vmap": lambda f, x, w, b: vmap(f, (0, None, None))(x, w, b),
    "vmap over all": lambda f, x, w, b: vmap(f, (1, 0, 0), 1)(x.transpose(0, 1), w.expand(4, -1), x[:, 0]),
    "vmap of vmap": lambda f, x, w, b: vmap(vmap(lambda x: f(x, w, b)))(x.unflatten(0, (2, 2))),
    "vmap of grad": lambda f, x, w, b: vmap(grad(scalar(f)), (0, None, None))(x, w, b),
    "vmap of hessian": lambda f, x, w, b: vmap(hessian(scalar(f)), (0, None, None))(x, w, b),
    "functionalize": lambda f, x, w, b: torch.func.functionalize(f)(x[0], w, b),
    "many gradients at once": lambda f, x, w, b: torch.autograd.functional.jacobian(f, (x[0], w, b), vectorize=True),
}


def forward_derivative(function, x, direction, *parameters):
    with forward_ad.dual_level():
        return tuple(forward_ad.unpack_dual(function(forward_ad.make_dual(x, direction), *parameters)))


def formula(x, weight, bias):
    centered = x - x.mean(0)
    return weight * centered / (centered.square().mean(0) + 1e-5).sqrt() + bias


@torch_deprecates
@paths
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_transforms_of_torch_give_what_they_give_for_the_formula(name):
    """Not for torch's kernel: its own third derivatives, hessian and jacfwd of jacfwd are wrong (2.13)."""
    arguments = double(4, 6, 3), double(3, seed=1), double(3, seed=2)
    ours, expected = (TRANSFORMS[name](function, *arguments) for function in (batch_norm, formula))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_layers_of_an_ensemble_move_their_own_running_statistics(momentum):
    results = []
    for cls in (BatchNorm, nn.BatchNorm1d):
        layers = [cls(3, momentum=momentum or 1.0).double() for _ in range(4)]
        layers[0].momentum = momentum if cls is BatchNorm else momentum or 1.0  # torch's cannot average under vmap
        parameters, buffers = stack_module_state(layers)
        y = vmap(lambda p, b, x, layer=layers[0]: functional_call(layer, (p, b), x))(
            parameters, buffers, double(4, 6, 3)
        )
        results.append((y, buffers))
        assert buffers["num_batches_tracked"].tolist() == [1] * 4
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("cls", [BatchNorm, nn.BatchNorm1d])
def test_one_layers_running_statistics_do_not_follow_a_transform(cls):
    for transform, x in ((vmap, double(4, 6, 3)), (grad, double(6, 3)), (jacrev, double(6, 3))):
        with pytest.raises(RuntimeError):
            transform(scalar(cls(3).double()))(x)


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # torch says so of that one release
@torch_deprecates
@pytest.mark.parametrize("shape", [(8, 3), (40, 3, 50, 50)])
@pytest.mark.parametrize("momentum", [0.1, None])  # torch's layer is no single graph with None (2.13)
def test_a_compiled_layer_is_one_graph_and_gives_the_same(shape, momentum):
    torch._dynamo.reset()
    layers = BatchNorm(3, momentum=momentum).double(), BatchNorm(3, momentum=momentum).double()
    functions = layers[0], torch.compile(layers[1], backend="aot_eager", fullgraph=True)
    results = [values_and_gradients(function, double(*shape, seed=3), double(*shape)) for function in functions]
    torch.testing.assert_close(*results)
    assert_same_state(*layers)
    if len(shape) == 2:
        batches, free = double(4, *shape), BatchNorm(3, track_running_stats=False).double()
        compiled = torch.compile(vmap(free), backend="aot_eager")
        torch.testing.assert_close(compiled(batches), vmap(free)(batches))


@torch_deprecates
@pytest.mark.parametrize("training", [True, False])
def test_an_exported_layer_gives_the_same(training):
    norm, x = trained().train(training), double(5, 3, 4)
    expected = copy.deepcopy(norm)(x)
    torch.testing.assert_close(torch.export.export(norm, (x,)).module()(x), expected)


def test_autocast_gives_what_torch_gives():
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for x in (double(8, 3).bfloat16(), double(8, 3).float()):
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-2 if x.dtype == torch.bfloat16 else 1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [0, 0.0, -1e-5, float("nan")])
def test_eps_must_be_positive(eps):
    x = torch.zeros(4, 3)
    for function in (
        lambda: batch_norm(x, None, None, eps),
        lambda: batch_norm_backward(x, x, None, eps),
        lambda: BatchNorm(3, eps)(x),
        lambda: BatchNorm(3, eps).eval()(x),
    ):
        with pytest.raises(ValueError, match=f"eps must be positive, but got {eps}"):
            function()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((torch.zeros(3), None, None), ValueError, r"shape \(N, C\) or \(N, C, \*sites\), got \(3,\)"),
        ((torch.zeros(1, 3), None, None), ValueError, r"more than 1 value per channel .* got input size \(1, 3\)"),
        ((torch.zeros(1, 3, 1, 1), None, None), ValueError, "more than 1 value per channel"),
        ((torch.zeros(4, 3).long(), None, None), NotImplementedError, "torch.int64: expected a floating-point"),
        ((torch.zeros(4, 3), torch.ones(4), None), RuntimeError, r"weight has shape \(4,\), expected \(3,\)"),
        ((torch.zeros(4, 3), torch.ones(3, 1), None), RuntimeError, r"weight has shape \(3, 1\)"),
        ((torch.zeros(4, 3), None, torch.ones(2)), RuntimeError, r"bias has shape \(2,\), expected \(3,\)"),
        ((torch.zeros(4, 3), torch.ones(3).double(), None), RuntimeError, "weight is torch.float64, the input torch.f"),
        ((torch.zeros(4, 3).half(), None, torch.ones(3).bfloat16()), RuntimeError, "bias is torch.bfloat16"),
        ((torch.zeros(4, 3), torch.ones(3, device="meta"), None), RuntimeError, "weight is on meta, the input on cpu"),
        ((torch.zeros(4, 3, device="meta"), None, torch.ones(3)), RuntimeError, "bias is on cpu, the input on meta"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        batch_norm(*arguments)
    x, weight, bias = arguments
    if bias is None:
        with pytest.raises(error, match=words):
            batch_norm_backward(x, x, weight)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(RuntimeError, match=r"grad_output has shape \(4, 1\), x \(4, 3\)"):
        batch_norm_backward(torch.zeros(4, 1), torch.zeros(4, 3), None)


# --- the module ---


@paths
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("momentum", [0.1, 0.5, None, 0.0])
def test_the_layer_gives_torchs_numbers_in_training_and_evaluation(shape, momentum):
    torch.manual_seed(0)
    options = {"eps": 1e-3, "momentum": momentum}
    ours, theirs = BatchNorm(3, **options).double(), PEERS[len(shape)](3, **options).double()
    models = ours, theirs
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in models]
    for step in range(6):
        if step == 4:
            ours.eval(), theirs.eval()
        inputs = [(2 * double(*shape, seed=step) + 1).requires_grad_() for _ in models]
        outputs = [model(x) for model, x in zip(models, inputs, strict=True)]
        torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)
        for optimizer, output in zip(optimizers, outputs, strict=True):
            optimizer.zero_grad()
            output.sin().sum().backward()
            optimizer.step()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-11, atol=1e-11)
        assert_same_state(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("affine", "track_running_stats"), [pair for pair in product([True, False], repeat=2) if pair != (True, True)]
)
def test_without_parameters_or_running_statistics_the_layer_does_as_torchs(affine, track_running_stats):
    options = {"affine": affine, "track_running_stats": track_running_stats}
    ours, theirs = BatchNorm(3, **options).double(), nn.BatchNorm2d(3, **options).double()
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        x = double(4, 3, 2, 5) + 1
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
        assert_same_state(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_converted_layer_gives_torchs_numbers(dtype):
    ours, theirs = trained(eps=1e-3).to(dtype), trained(nn.BatchNorm1d, eps=1e-3).to(dtype)
    last_digit = torch.finfo(dtype).eps
    for training in (False, True, False):
        ours.train(training), theirs.train(training)
        x = (double(64, 3, 5) + 1).to(dtype)
        torch.testing.assert_close(ours(x), theirs(x), rtol=2 * last_digit, atol=8 * last_digit)
        assert_same_state(ours, theirs, rtol=2 * last_digit, atol=last_digit)


def test_a_half_precision_layer_is_exact_up_to_the_last_digit_in_evaluation():
    norm = trained().bfloat16()
    x = double(64, 3, 5).bfloat16()
    expected = copy.deepcopy(norm).double()(x.double())
    torch.testing.assert_close(norm(x).double(), expected, rtol=2**-8, atol=1e-6)


def test_evaluation_keeps_its_digits_where_the_running_mean_is_large():
    norm = BatchNorm(3).eval()
    norm.running_mean.fill_(1e4)
    x = (1e4 + double(50, 3)).float()
    assert relative_errors([norm(x)], [(x.double() - 1e4) / (1 + 1e-5) ** 0.5])[0] < 1e-6


@paths
def test_running_statistics_keep_their_digits_where_the_mean_is_large():
    norm = BatchNorm(3, momentum=1.0)
    x = (1e4 + double(50, 3)).float()
    norm(x)
    torch.testing.assert_close(norm.running_mean.double(), x.double().mean(0), rtol=1e-7, atol=0)
    torch.testing.assert_close(norm.running_var.double(), x.double().var(0), rtol=1e-6, atol=0)


@pytest.fixture(scope="module")
def samples_of_torch():
    """Sample inputs of torch's own tests, by class. Their module imports expecttest, of which samples need nothing."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "expecttest", SimpleNamespace(TestCase=unittest.TestCase))
        try:
            from torch.testing._internal.common_modules import module_db
        except ImportError as error:
            pytest.skip(f"torch's own tests cannot be imported: {error}")
    return {info.module_cls: info for info in module_db}


HAS_BIAS = "bias" in inspect.signature(nn.BatchNorm1d).parameters  # not in torch 2.5


@pytest.mark.parametrize("peer", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_the_sample_inputs_of_torchs_own_tests_give_torchs_numbers(samples_of_torch, peer, dtype, training):
    info = samples_of_torch[peer]
    samples = info.module_inputs_func(info, "cpu", dtype, requires_grad=True, training=training)
    last_digit = torch.finfo(dtype).eps
    assert len(samples) > 5
    for sample in samples:
        given, call = sample.constructor_input, sample.forward_input
        results, states = [], []
        for cls in (BatchNorm, peer):
            norm = cls(*given.args, **given.kwargs).to(dtype).train(training)
            (x,) = (tensor.detach().requires_grad_() for tensor in call.args)
            y = norm(x, **call.kwargs)
            y.sin().sum().backward()
            results.append([y, x.grad, *(parameter.grad for parameter in norm.parameters())])
            states.append(norm.state_dict())
        torch.testing.assert_close(*results, rtol=8 * last_digit, atol=64 * last_digit)
        torch.testing.assert_close(*states, rtol=8 * last_digit, atol=8 * last_digit)


@pytest.mark.skipif(not HAS_BIAS, reason="this torch's layers have no argument bias")
def test_a_layer_without_bias_is_torchs():
    ours, theirs = BatchNorm(3, bias=False), nn.BatchNorm1d(3, bias=False)
    assert_same_state(ours, theirs)
    assert ours.bias is None
    assert repr(ours) == repr(theirs).replace("BatchNorm1d", "BatchNorm")
    x = double(5, 3).float()
    torch.testing.assert_close(ours(x), theirs(x))
    with pytest.raises(TypeError):
        BatchNorm(3, 1e-5, 0.1, True, True, None, None, False)
    layer = nn.Linear(4, 3)
    torch.testing.assert_close(fold(layer, ours.eval())(double(2, 4).float()), ours(layer(double(2, 4).float())))


@pytest.mark.parametrize("version", [None, 1, 2])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("missing", [(), ("num_batches_tracked",), ("num_batches_tracked", "running_var")])
@pytest.mark.parametrize("options", [{}, {"track_running_stats": False}, {"device": "meta"}], ids=str)
def test_old_and_incomplete_checkpoints_load_as_torchs_do(version, strict, missing, options):
    found = []
    for cls in (BatchNorm, nn.BatchNorm1d):
        source = cls(3)
        source(double(5, 3).float())
        state = source.state_dict()
        state._metadata[""]["version"] = version
        for name in missing:
            del state[name]
        target = cls(3, **options)
        if not options:
            target(double(5, 3).float()), target(double(5, 3).float())
        try:
            keys = target.load_state_dict(state, strict=strict, assign="device" in options)
            found.append((keys, target.state_dict()))
        except RuntimeError as error:
            found.append(str(error).replace(cls.__name__, ""))
    (ours, ours_state), (theirs, theirs_state) = (item if isinstance(item, tuple) else (item, {}) for item in found)
    assert ours == theirs
    for name, value in theirs_state.items():
        assert ours_state[name].device == value.device
        if value.device.type != "meta":
            torch.testing.assert_close(ours_state[name], value)


def test_a_plain_dictionary_without_the_count_loads():
    state = {name: value for name, value in trained().state_dict().items() if name != "num_batches_tracked"}
    norm = BatchNorm(3).double()
    norm.load_state_dict(state)
    torch.testing.assert_close(norm.running_var, state["running_var"], rtol=0, atol=0)
    assert norm.num_batches_tracked == 0


def convolutional(cls):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), cls(4), nn.ReLU(), nn.Conv2d(4, 2, 1), cls(2)).double()


def updated(model, x):
    torch.optim.swa_utils.update_bn([x, 2 * x], model)
    return model.state_dict()


def checkpointed(model, x):
    checkpoint(model[:2], x, use_reentrant=True).sin().sum().backward()
    return x.grad, model[1].weight.grad, model.state_dict()


def without_tracking(model, x):
    torch.func.replace_all_batch_norm_modules_(model)
    return vmap(model, randomness="error")(torch.stack((x, x + 1)))


def changed_later(model, x):
    norm = type(model[1])(3, track_running_stats=False).double()
    norm.track_running_stats = True
    return norm(x)


def parametrized(model, x):
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    return model(x)


TOOLS = {
    "update_bn": updated,
    "fuse_conv_bn_eval": lambda model, x: nn.utils.fusion.fuse_conv_bn_eval(*model.eval()[:2])(x),
    "pickle": lambda model, x: pickle.loads(pickle.dumps(model))(x),
    "deepcopy": lambda model, x: copy.deepcopy(model)(x),
    "checkpoint": checkpointed,
    "replace_all_batch_norm_modules_": without_tracking,
    "tracking switched on later": changed_later,
    "parametrized weight": parametrized,
    "frozen": lambda model, x: values_and_gradients(model.requires_grad_(False), double(5, 2, 4, 4), x),
    "inference mode": lambda model, x: torch.inference_mode()(model)(x),
    "channels last": lambda model, x: model(x.to(memory_format=torch.channels_last)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TOOLS)
def test_the_tools_of_torch_treat_the_layer_as_torchs(name):
    x = double(5, 3, 6, 6)
    models = [convolutional(cls) for cls in (BatchNorm, nn.BatchNorm2d)]
    ours, theirs = (TOOLS[name](model, x.clone().requires_grad_(name == "checkpoint")) for model in models)
    torch.testing.assert_close(ours, theirs)
    assert_same_state(*models)


def test_layers_are_found_for_synchronisation():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(convolutional(BatchNorm))
    assert [type(model[i]) for i in (1, 4)] == [nn.SyncBatchNorm] * 2


def test_state_dicts_are_exchanged_with_torchs_layers():
    ours = BatchNorm(8)
    ours(torch.randn(4, 8, 3, 3))
    for peer in (nn.BatchNorm1d(8), nn.BatchNorm2d(8), nn.BatchNorm3d(8)):
        assert str(peer.load_state_dict(ours.state_dict())) == "<All keys matched successfully>"
        assert_same_state(peer, ours, rtol=0, atol=0)
        back = BatchNorm(8)
        assert str(back.load_state_dict(peer.state_dict())) == "<All keys matched successfully>"
        assert_same_state(back, ours, rtol=0, atol=0)


@pytest.mark.parametrize("target", [torch.float16, torch.bfloat16, torch.float64, "meta"])
def test_conversion_moves_what_torchs_layer_moves(target):
    ours, theirs = BatchNorm(3).to(target), nn.BatchNorm1d(3).to(target)
    for name, value in theirs.state_dict().items():
        held = ours.state_dict()[name]
        assert (held.dtype, held.device, held.shape) == (value.dtype, value.device, value.shape)


def placement(layer):
    return {name: (value.dtype, value.device.type, value.shape) for name, value in layer.state_dict().items()}


def test_the_constructor_takes_torchs_arguments_in_torchs_order():
    assert inspect.signature(BatchNorm) == inspect.signature(nn.BatchNorm1d)


@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_parameters_and_statistics_lie_where_torchs_do(affine, tracking):
    for device, dtype in product([None, "meta"], [None, torch.float64, torch.bfloat16]):
        arguments = (3, 1e-5, 0.1, affine, tracking, device, dtype)
        assert placement(BatchNorm(*arguments)) == placement(nn.BatchNorm1d(*arguments))
    with torch.device("meta"):  # the argument counts, not the default
        assert placement(BatchNorm(3)) == placement(nn.BatchNorm1d(3))
        assert placement(BatchNorm(3, device="cpu")) == placement(nn.BatchNorm1d(3, device="cpu"))


def test_a_layer_without_initialisation_is_initialised_later():
    for empty in (nn.utils.skip_init(BatchNorm, 3), BatchNorm(3, device="meta").to_empty(device="cpu")):
        for value in empty.state_dict().values():
            value.fill_(7)
        empty.reset_parameters()
        torch.testing.assert_close(empty.state_dict(), nn.BatchNorm1d(3).state_dict(), rtol=0, atol=0)


def test_the_layer_prints_its_arguments():
    for arguments in ((3,), (8, 0.5, None, False, False)):
        assert repr(BatchNorm(*arguments)) == repr(nn.BatchNorm1d(*arguments)).replace("BatchNorm1d", "BatchNorm")


def test_the_layer_has_torchs_attributes():
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for name in ("num_features", "eps", "momentum", "affine", "track_running_stats"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert_same_state(ours, theirs, rtol=0, atol=0)
    assert [parameter.requires_grad for parameter in ours.parameters()] == [True, True]
    without = BatchNorm(3, affine=False, track_running_stats=False)
    assert without.weight is without.bias is without.running_mean is without.num_batches_tracked is None


def test_a_copy_is_independent():
    ours = BatchNorm(3)
    ours(double(5, 3).float()).sum().backward()
    before, other = copy.deepcopy(ours.state_dict()), copy.deepcopy(ours)
    other(10 * double(5, 3).float())
    for name, value in before.items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    assert other.running_mean.ne(ours.running_mean).all()
    assert other.num_batches_tracked == 2


def test_running_statistics_leave_no_graph_behind():
    ours = BatchNorm(3)
    for _ in range(2):
        ours(torch.randn(5, 3, requires_grad=True))
    for buffer in ours.buffers():
        assert not buffer.requires_grad
        assert buffer.grad_fn is None


def test_parameters_and_running_statistics_may_lie_apart_in_memory():
    layers = BatchNorm(3), nn.BatchNorm2d(3)
    for norm in layers:
        for name in ("running_mean", "running_var"):
            setattr(norm, name, torch.ones(6)[::2])
        norm.weight = nn.Parameter(torch.arange(6.0)[::2])
        norm(double(4, 3, 5, 5).float().to(memory_format=torch.channels_last))
    assert_same_state(*layers)


def test_resetting_forgets_batches_and_parameters():
    ours = BatchNorm(3)
    with torch.no_grad():
        ours.weight.fill_(2), ours.bias.fill_(2)
    ours(torch.randn(5, 3))
    ours.reset_running_stats()
    assert ours.weight.eq(2).all()
    ours.reset_parameters()
    assert_same_state(ours, nn.BatchNorm1d(3), rtol=0, atol=0)
    bare = BatchNorm(3, affine=False, track_running_stats=False)
    bare.reset_parameters()
    assert not bare.state_dict()


def test_tracking_switched_off_later_does_as_torchs():
    ours, theirs = trained(), trained(nn.BatchNorm1d)
    ours.track_running_stats = theirs.track_running_stats = False
    for training in (False, True, False):
        ours.train(training), theirs.train(training)
        torch.testing.assert_close(ours(double(5, 3)), theirs(double(5, 3)), rtol=1e-12, atol=1e-12)
        assert_same_state(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)])
def test_an_empty_batch_leaves_the_running_statistics(shape):
    ours, theirs = trained().train(), trained(nn.BatchNorm1d).train()
    torch.testing.assert_close(ours(double(*shape)), theirs(double(*shape)))
    assert_same_state(ours, theirs, rtol=0, atol=0)


FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SIZES = [
    *[(), (3,), (4, 3, 2, 2, 2, 2)],  # no layer of torch has this rank
    *[(4, 3), (4, 3, 5), (4, 3, 1), (1, 3, 5), (2, 3, 5, 6), (4, 3, 2, 2, 2)],
    *[(4, 4), (4, 2, 5), (3, 1), (4, 4, 5, 6), (4, 4, 2, 2, 2)],  # another number of channels
    *[(1, 3), (1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1, 1), (1, 4)],  # one value per channel
]


@pytest.mark.parametrize(("affine", "tracking", "training"), [*product([True, False], repeat=3)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_torchs_layers_refuse_is_refused_with_the_same_exception(affine, tracking, training, dtype):
    def layer(cls):
        return cls(3, affine=affine, track_running_stats=tracking).to(dtype).train(training)

    ours = layer(BatchNorm)
    theirs = {cls: layer(cls) for cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)}
    for size, kind in product(SIZES, [*FLOATS, torch.int64, torch.uint8, torch.bool, torch.complex64]):
        x = torch.ones(size).to(kind)
        for input in (x, x.to("meta")) if kind == torch.float32 and (affine or tracking) else (x,):
            peers = [PEERS[x.dim()]] if x.dim() in PEERS else theirs
            (expected,) = {exception(lambda input=input, norm=theirs[cls]: norm(input)) for cls in peers}
            found = exception(lambda input=input: ours(input))
            assert found == expected, (size, kind, input.device)


@pytest.mark.parametrize(
    ("input", "words"),
    [
        (torch.zeros(2, 3, 1, 1, 1, 1), r"expected 2D to 5D input \(got 6D input\)"),
        (torch.zeros(3), r"shape \(N, C\) or \(N, C, \*sites\), got \(3,\)"),
    ],
)
def test_the_layer_names_a_wrong_rank(input, words):
    for training in (True, False):
        with pytest.raises(ValueError, match=words):
            BatchNorm(3).train(training)(input)


def test_one_value_is_too_few_in_evaluation_where_there_are_no_running_statistics():
    norm = BatchNorm(3, track_running_stats=False).eval()
    with pytest.raises(ValueError, match=r"1 value per channel without running statistics, got input size \(1, 3\)"):
        norm(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"1 value per channel when training"):
        norm.train()(torch.zeros(1, 3))


def test_the_layer_names_what_does_not_fit_the_input():
    with pytest.raises(RuntimeError, match=r"running_mean has shape \(3,\), expected \(4,\)"):
        BatchNorm(3, affine=False).eval()(torch.zeros(2, 4))
    broken = BatchNorm(3, affine=False).eval()
    broken.running_var = torch.ones(4)
    with pytest.raises(RuntimeError, match=r"running_var has shape \(4,\), expected \(3,\)"):
        broken(torch.zeros(2, 3))


def test_a_refused_batch_leaves_the_running_statistics():
    ours = BatchNorm(3)
    for x in (torch.zeros(1, 3), torch.zeros(4, 4)):
        with pytest.raises((ValueError, RuntimeError)):
            ours(x)
    assert_same_state(ours, nn.BatchNorm1d(3), rtol=0, atol=0)


# --- exact statistics for inference ---


def network(cls=nn.BatchNorm1d, dropout=0.0):
    """Two nested normalisations with a linear layer and dropout between them."""
    torch.manual_seed(3)
    inner = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.ReLU(), cls(4))
    return nn.Sequential(cls(3), inner, nn.Linear(4, 2)).double()


def numpy_statistics(model, batches):
    """Means and variances of both layers' inputs by two passes, the variances within the batches."""
    linear, inputs = model[1][0], [[], []]
    for x in batches:
        inputs[0].append(x.numpy())
        hidden = numpy_batch_norm(x.numpy(), np.ones(3), np.zeros(3), 1e-5)
        inputs[1].append(np.maximum(hidden @ linear.weight.detach().numpy().T + linear.bias.detach().numpy(), 0))
    for groups in inputs:
        squares = sum(((group - group.mean(0)) ** 2).sum(0) for group in groups)
        yield np.concatenate(groups).mean(0), squares / (sum(map(len, groups)) - len(groups))


@pytest.mark.parametrize("sizes", [[6, 6, 6], [2, 9, 5, 7], [40]])
@pytest.mark.parametrize("cls", [BatchNorm, nn.BatchNorm1d])
def test_population_statistics_equal_two_passes_over_the_set(sizes, cls):
    model = network(cls)
    batches = [2 * double(size, 3, seed=i) + i for i, size in enumerate(sizes)]
    population_statistics(model, batches)
    for norm, (mean, variance) in zip((model[0], model[1][3]), numpy_statistics(model, batches), strict=True):
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-12)
        assert norm.num_batches_tracked == len(sizes)


def test_population_statistics_of_one_batch_are_the_sets_own():
    model, x = BatchNorm(3).double(), 2 * double(9, 3, 4) + 1
    population_statistics(model, [x])
    np.testing.assert_allclose(model.running_mean, x.numpy().mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(model.running_var, x.numpy().var((0, 2), ddof=1), rtol=1e-12)


def test_population_statistics_keep_their_digits_in_float32_where_the_mean_is_large():
    model = BatchNorm(3)
    batches = [(1e4 + double(20, 3, 4, seed=i)).float() for i in range(5)]
    population_statistics(model, batches)
    variance = np.mean([batch.double().numpy().var((0, 2), ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(model.running_var, variance, rtol=1e-6)
    np.testing.assert_allclose(model.running_mean, torch.cat(batches).double().mean((0, 2)), rtol=1e-7)


def test_population_statistics_take_2d_and_3d_layers():
    for cls, shape in ((nn.BatchNorm2d, (4, 3, 2, 5)), (nn.BatchNorm3d, (2, 3, 2, 3, 2))):
        model, x = cls(3).double(), double(*shape)
        population_statistics(model, [x])
        others = (0, *range(2, len(shape)))
        np.testing.assert_allclose(model.running_var, x.numpy().var(others, ddof=1), rtol=1e-12)


def test_population_statistics_are_taken_with_dropout_switched_off():
    batches = [double(8, 3, seed=i) for i in range(3)]
    models = network(dropout=0.5), network(dropout=0.0)
    for model in models:
        population_statistics(model, batches)
    assert_same_state(*models, rtol=0, atol=0)


def test_population_statistics_do_not_depend_on_the_running_ones():
    batches = [double(8, 3, seed=i) for i in range(3)]
    fresh, used = network(), network()
    used(100 * double(8, 3))
    for model in (fresh, used):
        population_statistics(model, batches)
    assert_same_state(fresh, used, rtol=0, atol=0)


def test_a_layer_called_twice_counts_both_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = BatchNorm(3)

        def forward(self, x):
            return self.norm(x[:4]), self.norm(x[4:])

    model, x = Twice().double(), double(10, 3)
    population_statistics(model, [x])
    np.testing.assert_allclose(model.norm.running_mean, x.mean(0), rtol=1e-12)
    squares = sum(((part - part.mean(0)) ** 2).sum(0) for part in (x[:4].numpy(), x[4:].numpy()))
    np.testing.assert_allclose(model.norm.running_var, squares / 8, rtol=1e-12)
    assert model.norm.num_batches_tracked == 2


class Called(nn.Module):
    def __init__(self, norm, way):
        super().__init__()
        self.norm, self.way = norm, way

    def forward(self, x):
        return self.way(self.norm, x)


WAYS = {
    "by keyword": lambda norm, x: norm(input=x),
    "under checkpoint": lambda norm, x: checkpoint(norm, x, use_reentrant=False),
    "by functional_call": lambda norm, x: functional_call(norm, dict(norm.state_dict()), (x,)),
    "without gradients": lambda norm, x: torch.no_grad()(norm)(x),
}


@pytest.mark.parametrize("cls", [BatchNorm, nn.BatchNorm1d])
@pytest.mark.parametrize("name", WAYS)
def test_population_statistics_see_every_way_to_call_a_layer(cls, name):
    model, batches = Called(cls(3).double(), WAYS[name]), [double(8, 3, seed=i) for i in range(3)]
    population_statistics(model, batches)
    np.testing.assert_allclose(model.norm.running_mean, torch.cat(batches).mean(0), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")  # torch says so of that one release
@torch_deprecates
def test_population_statistics_of_a_compiled_model_that_has_already_run():
    torch._dynamo.reset()
    model, x = nn.Sequential(nn.BatchNorm1d(3).double()), double(8, 3)
    compiled = torch.compile(model, backend="eager")
    compiled(x), compiled.eval()(x)
    population_statistics(compiled, [x])
    np.testing.assert_allclose(model[0].running_mean, x.mean(0), rtol=1e-12)


@pytest.mark.parametrize("batch", [{"x": double(4, 3)}, np.zeros((4, 3)), "x", None])
def test_batches_of_other_kinds_are_refused(batch):
    with pytest.raises(
        TypeError, match=f"expected a tensor, or a tuple or list .* got a <class '.*{type(batch).__name__}'>"
    ):
        population_statistics(network(), [batch])


def test_an_empty_batch_changes_no_population_statistics():
    with_empty, without = network(BatchNorm), network(BatchNorm)
    population_statistics(with_empty, [double(6, 3), double(0, 3), double(4, 3, seed=1)])
    population_statistics(without, [double(6, 3), double(4, 3, seed=1)])
    assert_same_state(with_empty, without, rtol=1e-12, atol=0)


def test_batches_may_be_tuples_and_lists_that_begin_with_the_input():
    batches = [double(8, 3, seed=i) for i in range(4)]
    labelled = [(batches[0], torch.zeros(8)), [batches[1], torch.zeros(8)], batches[2], (batches[3],)]
    models = network(), network()
    for model, given_batches in zip(models, (batches, iter(labelled)), strict=True):
        population_statistics(model, given_batches)
    assert_same_state(*models, rtol=0, atol=0)


def settings_of(model):
    names = "training", "momentum", "track_running_stats"
    return [
        (*(getattr(module, name, None) for name in names), len(module._forward_hooks), len(module._forward_pre_hooks))
        for module in model.modules()
    ]


@pytest.mark.parametrize("cls", [BatchNorm, nn.BatchNorm1d])
@pytest.mark.parametrize("broken", [False, True])
def test_population_statistics_leave_modes_momentum_and_hooks_as_they_were(cls, broken):
    model = network(cls)
    model[1].eval()
    model[1][3].train()
    model[0].momentum = None
    before, state = settings_of(model), copy.deepcopy(model.state_dict())
    if broken:
        with pytest.raises(RuntimeError, match="weight"):
            population_statistics(model, [double(8, 3), double(8, 5)])
        for name, value in state.items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    else:
        population_statistics(model, [double(8, 3)])
    assert settings_of(model) == before
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), state[name], rtol=0, atol=0)
    assert not any(buffer.requires_grad for buffer in model.buffers())


def test_population_statistics_say_what_is_missing():
    with pytest.raises(ValueError, match="Linear has no batch normalisation with running statistics"):
        population_statistics(nn.Linear(3, 3), [torch.zeros(4, 3)])
    with pytest.raises(ValueError, match="no batch normalisation with running statistics"):
        population_statistics(BatchNorm(3, track_running_stats=False), [torch.zeros(4, 3)])
    model = network()
    with pytest.raises(ValueError, match="'0' has seen no batch"):
        population_statistics(model, [])
    with pytest.raises(ValueError, match="'0' has seen no batch"):
        population_statistics(model, [double(0, 3)])
    model[1].append(nn.Linear(4, 4).double())
    model[1][4].unused = nn.BatchNorm1d(4)
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"'1\.4\.unused' has seen no batch"):
        population_statistics(model, [double(8, 3)])
    for name, value in state.items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        population_statistics(model, [double(1, 3)])


def test_layers_without_running_statistics_are_passed_over():
    model = nn.Sequential(BatchNorm(3, track_running_stats=False), BatchNorm(3)).double()
    population_statistics(model, [double(8, 3)])
    assert model[1].num_batches_tracked == 1
    assert not model[0].track_running_stats


# --- folding ---

LAYERS = {
    "Linear": (lambda **kw: nn.Linear(4, 6, **kw), (5, 4)),
    "Conv1d": (lambda **kw: nn.Conv1d(4, 6, 3, stride=2, padding=1, **kw), (2, 4, 9)),
    "Conv2d": (lambda **kw: nn.Conv2d(4, 6, (3, 2), dilation=2, padding="same", groups=2, **kw), (2, 4, 7, 6)),
    "Conv2d reflect": (lambda **kw: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", **kw), (2, 4, 7, 6)),
    "Conv3d": (lambda **kw: nn.Conv3d(4, 6, 2, stride=(1, 2, 1), padding=1, groups=2, **kw), (2, 4, 3, 4, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("peer", [True, False])
def test_a_folded_layer_computes_what_the_two_did(name, bias, affine, peer):
    make, shape = LAYERS[name]
    layer = make(bias=bias).double()
    norm = trained(PEERS[len(shape)] if peer else BatchNorm, 6, affine=affine, eps=1e-2)
    before = copy.deepcopy([*layer.state_dict().values(), *norm.state_dict().values()])
    folded = fold(layer, norm)
    torch.testing.assert_close(folded(double(*shape)), norm(layer(double(*shape))), rtol=1e-12, atol=1e-12)
    assert type(folded) is type(layer)
    assert folded.bias.requires_grad
    assert folded.weight.requires_grad
    after = [*layer.state_dict().values(), *norm.state_dict().values()]
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)
    with torch.no_grad():
        for tensor in folded.parameters():
            tensor.zero_()
    assert all(tensor.any() for tensor in layer.parameters())


@pytest.mark.parametrize("missing", ["weight", "bias"])
def test_a_norm_with_one_parameter_alone_is_folded(missing):
    layer, norm = nn.Linear(4, 6).double(), trained(features=6)
    norm.register_parameter(missing, None)
    torch.testing.assert_close(fold(layer, norm)(double(5, 4)), norm(layer(double(5, 4))), rtol=1e-12, atol=1e-12)


def test_folding_keeps_frozen_layers_frozen_and_their_dtype():
    layer = nn.Linear(4, 6, bias=False).bfloat16().requires_grad_(False)
    folded = fold(layer, trained(features=6).float())
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_a_bfloat16_norm_is_folded_up_to_the_last_digit():
    layer, norm = nn.Linear(4, 6).double(), trained(features=6).bfloat16()
    expected = copy.deepcopy(norm).double()(layer(double(5, 4)))
    torch.testing.assert_close(fold(layer, norm)(double(5, 4)), expected, rtol=1e-6, atol=1e-6)


class Doubled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Shifted(nn.BatchNorm1d):
    def forward(self, input):
        return 1 + super().forward(input)


@pytest.mark.parametrize(
    ("layer", "norm", "error", "words"),
    [
        (nn.ConvTranspose1d(4, 6, 3), BatchNorm(6).eval(), TypeError, "Conv2d or Conv3d, got ConvTranspose1d"),
        (Doubled(4, 6), BatchNorm(6).eval(), TypeError, "layer must be .* got Doubled"),
        (nn.Embedding(6, 4), BatchNorm(6).eval(), TypeError, "got Embedding"),
        (nn.Linear(4, 6), nn.LayerNorm(6).eval(), TypeError, "norm must be a BatchNorm .* got LayerNorm"),
        (nn.Linear(4, 6), Shifted(6).eval(), TypeError, "got Shifted"),
        (nn.Linear(4, 6), nn.BatchNorm2d(6).eval(), TypeError, "for a Linear, got BatchNorm2d"),
        (nn.Conv2d(4, 6, 3), nn.BatchNorm1d(6).eval(), TypeError, "for a Conv2d, got BatchNorm1d"),
        (nn.Linear(4, 6), BatchNorm(6), ValueError, "in training mode"),
        (nn.Linear(4, 6), nn.BatchNorm1d(6), ValueError, "in training mode"),
        (nn.Linear(4, 6), BatchNorm(6, track_running_stats=False).eval(), ValueError, "no running statistics"),
        (nn.Linear(6, 4), BatchNorm(6).eval(), ValueError, "norm has 6 features, the layer has 4 outputs"),
        (nn.Conv1d(4, 6, 3), BatchNorm(1).eval(), ValueError, "norm has 1 features, the layer has 6 outputs"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), BatchNorm(6).eval(), TypeError, "Parametrized"),
    ],
)
def test_what_cannot_be_folded_exactly_is_refused(layer, norm, error, words):
    with pytest.raises(error, match=words):
        fold(layer, norm)


def test_layers_with_forward_hooks_are_not_folded():
    for register in ("register_forward_hook", "register_forward_pre_hook"):
        for hooked in (0, 1):
            parts = nn.Linear(4, 6), BatchNorm(6).eval()
            getattr(parts[hooked], register)(lambda *arguments: None)
            with pytest.raises(ValueError, match="forward hooks"):
                fold(*parts)


# --- statistics of several groups ---


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    features=st.integers(0, 3),
    mean=st.sampled_from([0.0, 1.0, -1e3]),
    seed=st.integers(0, 99),
    counts_type=st.sampled_from([torch.int64, torch.int32, torch.float64, torch.float32]),
)
@settings(deadline=None, max_examples=60)
def test_combined_statistics_are_those_of_the_union(sizes, features, mean, seed, counts_type):
    groups = [mean + (1 + i) * double(size, features, seed=seed + i).numpy() + i for i, size in enumerate(sizes)]
    means, variances = (torch.tensor(np.array([f(group, axis=0) for group in groups])) for f in (np.mean, np.var))
    combined = combine_statistics(torch.tensor(sizes, dtype=counts_type), means, variances)
    union = np.concatenate(groups)
    np.testing.assert_allclose(combined[0], union.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(combined[1], union.var(0), rtol=1e-11, atol=1e-11)
    assert combined[0].shape == combined[1].shape == (features,)


@pytest.mark.parametrize(
    ("counts", "means", "variances", "words"),
    [
        (torch.ones(2), torch.zeros(2, 3), torch.zeros(2, 4), r"got \(2,\), \(2, 3\) and \(2, 4\)"),
        (torch.ones(2), torch.zeros(3, 3), torch.zeros(3, 3), "expected counts"),
        (torch.ones(2), torch.zeros(2), torch.zeros(2), "expected counts"),
        (torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), "expected counts"),
        (torch.tensor(2), torch.zeros(1, 3), torch.zeros(1, 3), "expected counts"),
        (torch.zeros(0), torch.zeros(0, 3), torch.zeros(0, 3), r"at least one value, got counts \[\]"),
        (torch.tensor([2, 0]), torch.zeros(2, 3), torch.zeros(2, 3), r"at least one value, got counts \[2, 0\]"),
        (torch.tensor([-1, 5]), torch.zeros(2, 3), torch.zeros(2, 3), "at least one value"),
        (torch.tensor([1.0, float("nan")]), torch.zeros(2, 3), torch.zeros(2, 3), "at least one value"),
    ],
)
def test_groups_that_do_not_agree_are_refused(counts, means, variances, words):
    with pytest.raises(ValueError, match=words):
        combine_statistics(counts, means, variances)


# --- several processes ---

WORKER = """
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from workedpapers.batch_norm import sync_batch_norm

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)


def run(case, group=None):
    x, grad_output = case["x"][rank], case["grad_output"][rank]
    tensors = [None if t is None else t.requires_grad_() for t in (x, case["weight"], case["bias"])]
    options = {} if case["eps"] is None else {"eps": case["eps"]}
    y = sync_batch_norm(*tensors, group=group, **options)
    held = [tensor for tensor in tensors if tensor is not None]
    return [y.detach(), *torch.autograd.grad(y, held, grad_output)]


def error(function):
    try:
        function()
    except Exception as raised:
        return f"{type(raised).__name__}: {raised}"


for world in (2, 3):
    if rank >= world:
        continue
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    cases = torch.load(f"{folder}/cases{world}.pt")
    results = {name: run(case) for name, case in cases.items() if name != "group"}
    outer = dist.new_group([0, world - 1])
    if rank in (0, world - 1):
        results["group"] = run(cases["group"], outer)
    part = torch.zeros(1 if rank == 0 else 0, 3, dtype=torch.float64, requires_grad=True)
    results["one value"] = error(lambda: sync_batch_norm(part, None, None))
    x = torch.randn(2, 3, requires_grad=True)
    first = torch.autograd.grad(sync_batch_norm(x, None, None).square().sum(), x, create_graph=True)[0]
    results["second derivative"] = error(lambda: first.sum().backward())
    torch.save(results, f"{folder}/results{world}-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
"""


def sync_cases(world):
    """By name: the parts of every process, their output gradients and the parameters."""
    sizes = {
        "vectors": [(5, 3), (2, 3), (3, 3)],
        "one feature": [(5, 1), (2, 1), (3, 1)],
        "one example": [(1, 3), (4, 3), (1, 3)],
        "nothing on one process": [(0, 3), (6, 3), (2, 3)],
        "images of two sizes": [(2, 3, 4, 5), (1, 3, 2, 2), (3, 3, 1, 1)],
        "a large eps, no parameters": [(5, 3, 2), (2, 3, 2), (3, 3, 2)],
        "large": [(30, 3, 50, 60), (7, 3, 50, 60), (1, 3, 50, 60)],
        "group": [(5, 3), (2, 3), (3, 3)],
        "far from zero": [(50, 3), (20, 3), (9, 3)],
    }
    cases = {}
    for name, shapes in sizes.items():
        case = {
            "x": [2 * double(*shape, seed=i) + i for i, shape in enumerate(shapes[:world])],
            "grad_output": [double(*shape, seed=i + 5) for i, shape in enumerate(shapes[:world])],
            "weight": None if "no parameters" in name else double(shapes[0][1], seed=8),
            "bias": None if "no parameters" in name else double(shapes[0][1], seed=9),
            "eps": 0.5 if "large eps" in name else None,
        }
        if name == "far from zero":
            case["x"] = [(x + 1e4).float() for x in case["x"]]
            case["grad_output"] = [grad.float() for grad in case["grad_output"]]
            case["weight"], case["bias"] = case["weight"].float(), case["bias"].float()
        cases[name] = case
    return cases


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What three processes, first two and then all of them, found for their parts."""
    folder = tmp_path_factory.mktemp("processes")
    for world in (2, 3):
        torch.save(sync_cases(world), folder / f"cases{world}.pt")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    try:
        said = [worker.communicate(timeout=100)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0, 0], "\n".join(said)
    return {world: [torch.load(folder / f"results{world}-{rank}.pt") for rank in range(world)] for world in (2, 3)}


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", sync_cases(3))
def test_processes_together_equal_one_process_on_the_whole_batch(processes, world, name):
    case = sync_cases(world)[name]
    ranks = [0, world - 1] if name == "group" else range(world)

    def whole(parts):  # all values of a channel in one row, so that images of two sizes fit
        return torch.cat([parts[rank].transpose(0, 1).flatten(1) for rank in ranks], 1).t().double()

    parameters = [torch.ones(3), torch.zeros(3)] if case["weight"] is None else [case["weight"], case["bias"]]
    expected = values_and_gradients(
        lambda *args: torch_batch_norm(*args, case["eps"] or 1e-5),
        *(whole(case[key]) for key in ("grad_output", "x")),
        *(parameter.double() for parameter in parameters),
    )
    results = [processes[world][rank][name] for rank in ranks]
    tolerance = 3e-6 if name == "far from zero" else 1e-10
    by_rank = dict(zip(ranks, results, strict=True))
    for i in (0, 1):
        assert [result[i].shape for result in results] == [case["x"][rank].shape for rank in ranks]
        found = whole({rank: result[i] for rank, result in by_rank.items()})
        torch.testing.assert_close(found, expected[i], rtol=tolerance, atol=tolerance)
    for i in range(2, len(results[0])):
        found = sum(result[i].double() for result in results)
        torch.testing.assert_close(found, expected[i], rtol=tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("world", [2, 3])
def test_one_value_per_channel_in_all_processes_together_is_refused_by_each(processes, world):
    for result in processes[world]:
        assert result["one value"].startswith("ValueError: expected more than 1 value per channel")


@pytest.mark.parametrize("world", [2, 3])
def test_a_second_derivative_across_processes_is_refused(processes, world):
    for result in processes[world]:
        assert "once_differentiable" in result["second derivative"]


def test_without_a_process_group_the_distributed_form_says_what_to_call():
    with pytest.raises(RuntimeError, match="init_process_group"):
        sync_batch_norm(torch.zeros(4, 3), None, None)


def test_only_large_batches_on_a_processor_are_cut_into_slabs():
    rows = [[len(slab) for (slab,) in _slabs(x)] for x in (torch.zeros(7, 3), torch.zeros(0, 3))]
    assert rows == [[7], [0]]
    assert len(list(_slabs(torch.zeros(9, SLAB, device="meta")))) == 1
    large, same = torch.zeros(50, SLAB // 8), torch.ones(50, SLAB // 8)
    slabs = list(_slabs(large, same))
    assert all(slab.numel() <= SLAB and slab.shape == twin.shape for slab, twin in slabs)
    assert len(slabs) == 7  # of 6.25 times the size
    assert sum(len(slab) for slab, _ in slabs) == 50
