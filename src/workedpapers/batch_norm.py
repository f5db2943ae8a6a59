"""Batch normalization: every feature standardised over the mini-batch, in training, inference and across processes.

Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", 2015
(arXiv 1502.03167). Equation tags are those of the chapter `notebooks/batch_norm`.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.types import Device

SLAB = 2**17  # numbers in a piece that a processor's cache holds: 512 kB in float32

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Standardise every channel of x over all its values in the batch, then scale and shift it (training mode).

    y = weight · (x − mean) / √(var + eps) + bias, eqs. (BN.1) and (BN.2) of `notebooks/batch_norm`; algorithm 1 of
    the paper. The variance is the biased one. First and second derivatives go through mean and variance.

    Args:
        x: shape (N, C) or (N, C, *sites); at least two values a channel. Half precision is computed in float32.
        weight, bias: γ and β, shape (C,), of x's dtype (or float32 beside half precision); None for 1 and 0.
        eps: added to the variance, above zero.
    Returns: shape and dtype of x.
    Raises:
        ValueError: another rank, one value per channel, eps not above zero.
        RuntimeError: weight or bias of another size, dtype or device; NotImplementedError for x not floating point.
    """
    _check(x, eps, weight=weight, bias=bias)
    y: Tensor = _BatchNorm.apply(x, *_parameters(x, weight, bias), eps)[0]  # type: ignore[no-untyped-call]
    return y


def batch_norm_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `batch_norm`, in closed form.

    With x̂ the standardised x, iv = 1/√(var + eps) and m values a channel, eqs. (BN.6) and (BN.11):

        grad_bias = Σ grad_output;  grad_weight = Σ grad_output · x̂
        grad_x = weight · iv · (grad_output − grad_bias / m − x̂ · grad_weight / m)

    Args:
        grad_output: gradient with respect to y, shape of x.
        x, weight, eps: as for `batch_norm`.
    Returns: grad_x (shape of x), grad_weight and grad_bias (both (C,)); differentiable once more.
    Raises: as `batch_norm`; RuntimeError: grad_output of another shape than x.
    """
    _check(x, eps, weight=weight)
    if grad_output.shape != x.shape:
        raise RuntimeError(f"grad_output has shape {tuple(grad_output.shape)}, x {tuple(x.shape)}: expected the same")
    weight, _ = _parameters(x, weight, None)
    grad, wide, m = _widen(grad_output), _widen(x), _count(x)
    near = wide - _spread(_first_values(wide), x)  # so that the mean is not rounded too coarsely where it is large
    centered = near - _spread(_sum(near) / m, x)
    invstd = torch.rsqrt(_sum(centered.square()) / m + eps)
    standardized = centered * _spread(invstd, x)
    grad_bias, grad_weight = _sum(grad), _sum(grad * standardized)
    inner = grad - _spread(grad_bias / m, x) - standardized * _spread(grad_weight / m, x)
    grad_x = _spread(weight * invstd, x) * inner
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation with running statistics, for inputs of two to five dimensions.

    In training, `batch_norm`, and running ← (1 − momentum) · running + momentum · batch statistic, with the unbiased
    variance (eqs. (BN.18), (BN.21)). In evaluation one affine map, eq. (BN.17). Numbers, parameters, buffers and
    `state_dict` are those of `torch.nn.BatchNorm1d`, `2d` and `3d`.

    Args:
        num_features: channels C.
        eps: added to the variance, above zero.
        momentum: weight of the newest batch; None averages all batches alike.
        affine: whether γ (`weight`) and β (`bias`) are learned.
        track_running_stats: whether there are running statistics; without them, evaluation uses the batch's own.
        device, dtype: of parameters and running statistics.
    Shape: input (N, C) or (N, C, *sites) → the same.
    Raises: ValueError: eps not above zero. Called: as `batch_norm`; ValueError: more than five dimensions.
    """

    weight: nn.Parameter  # None where affine is off
    bias: nn.Parameter
    running_mean: Tensor  # None without running statistics
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_eps(eps)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name in ("weight", "bias"):
            empty = torch.empty(num_features, device=device, dtype=dtype) if affine else None
            self.register_parameter(name, None if empty is None else nn.Parameter(empty))
        for name, size, kind in (
            ("running_mean", (num_features,), dtype),
            ("running_var", (num_features,), dtype),
            ("num_batches_tracked", (), torch.long),
        ):
            self.register_buffer(name, torch.empty(size, device=device, dtype=kind) if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start from γ = 1 and β = 0, with no batch seen."""
        self.reset_running_stats()
        if self.affine:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, move the running statistics towards the batch's own."""
        if input.dim() > 5:
            raise ValueError(f"expected 2D to 5D input (got {input.dim()}D input)")
        fixed = not self.training and self.running_mean is not None
        buffers = {"running_mean": self.running_mean, "running_var": self.running_var}
        _check(input, self.eps, training=not fixed, weight=self.weight, bias=self.bias, **buffers)
        weight, bias = _parameters(input, self.weight, self.bias)
        if fixed:
            scale = weight * torch.rsqrt(_widen(self.running_var) + self.eps)
            centered = _widen(input) - _spread(self.running_mean, input)  # a·x + b cancels where the mean is large
            return torch.addcmul(_spread(bias, input), centered, _spread(scale, input)).to(input.dtype)
        output: Tensor
        output, shift, offset, var = _BatchNorm.apply(input, weight, bias, self.eps)  # type: ignore[no-untyped-call]
        if self.training and self.track_running_stats:
            self._track(shift + offset, var, _count(input))
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        if count == 0:
            return
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), momentum)


BATCH_NORMS = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FOLDABLE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}


@torch.no_grad()
def population_statistics(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """Replace the running statistics of a trained model by exact ones, algorithm 2 of the paper.

    Every batch is normalised by its own statistics, as in training; all other layers (dropout, say) are in evaluation
    mode. Over batches of m_k values, E[x] = Σ m_k mean_k / Σ m_k and Var[x] = Σ m_k var_k / Σ (m_k − 1). For equal
    batches the latter is m/(m−1) times the mean variance, eq. (BN.19). Parameters and modes stay as they are.

    Args:
        model: with layers `BatchNorm` or `torch.nn.BatchNorm1d`, `2d`, `3d` that have running statistics.
        batches: inputs of the model, or tuples and lists that begin with them, as a DataLoader gives.
    Raises:
        ValueError: no batch, or no layer with running statistics, or one that the model does not use.
    """
    layers = {
        cast(BatchNorm, module): name
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no batch normalisation with running statistics")
    totals: dict[BatchNorm, list[Any]] = {layer: [0, 0, 0.0, 0.0] for layer in layers}  # calls, m, Σ m mean, Σ m var

    def add(layer: BatchNorm, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        x, count = _widen(inputs[0]), _count(inputs[0])
        shift, offset, var = (statistic.cpu().double() for statistic in _moments(x, torch.empty_like(x)))
        for i, term in enumerate((bool(count), count, count * (shift + offset), count * var)):
            totals[layer][i] += term

    names = "training", "track_running_stats"
    modes = [(part, name, getattr(part, name)) for part in model.modules() for name in names if hasattr(part, name)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        model.eval()
        for layer in layers:  # the batch's own statistics, the running ones left alone
            layer.training, layer.track_running_stats = True, False
        for batch in batches:
            model(batch if isinstance(batch, Tensor) else batch[0])
    finally:
        for hook in hooks:
            hook.remove()
        for part, name, value in modes:
            setattr(part, name, value)
    if unused := [layers[layer] for layer, (calls, *_) in totals.items() if not calls]:
        raise ValueError(f"batch normalisation {unused[0]!r} has seen no batch")
    for layer, (calls, count, mean, var) in totals.items():
        layer.running_mean.copy_(mean / count)
        layer.running_var.copy_(var / (count - calls))
        layer.num_batches_tracked.fill_(calls)


def fold(layer: Layer, norm: nn.Module) -> Layer:
    """One layer that computes `norm(layer(x))` in evaluation, eq. (BN.26): no cost at inference is left.

    Args:
        layer: exactly `torch.nn.Linear` (on inputs of shape (N, in_features)) or `torch.nn.Conv1d`, `2d`, `3d`.
        norm: `BatchNorm` or torch's, in evaluation mode, with running statistics for the layer's outputs.
    Returns: a new layer of the same kind, with a bias; `layer` and `norm` stay as they are.
    Raises:
        TypeError: another kind of layer or norm (subclasses may compute something else).
        ValueError: norm in training mode, without running statistics or of another number of features; forward hooks.
    """
    if type(layer) not in FOLDABLE:
        raise TypeError(f"layer must be a Linear, Conv1d, Conv2d or Conv3d, got {type(layer).__name__}")
    if type(norm) not in (BatchNorm, FOLDABLE[type(layer)]):
        raise TypeError(f"norm must be a BatchNorm for a {type(layer).__name__}, got {type(norm).__name__}")
    norm = cast(BatchNorm, norm)
    if any(part._forward_hooks or part._forward_pre_hooks for part in (layer, norm)):
        raise ValueError("layer or norm has forward hooks, which may change what it computes: remove them first")
    if norm.training:
        raise ValueError("norm is in training mode, where it depends on the batch: call norm.eval() first")
    if norm.running_mean is None:
        raise ValueError("norm has no running statistics, so that it depends on the batch even in evaluation")
    outputs = len(layer.weight)
    if norm.num_features != outputs:
        raise ValueError(f"norm has {norm.num_features} features, the layer has {outputs} outputs")
    folded = copy.deepcopy(layer)
    with torch.no_grad():
        scale = torch.rsqrt(_widen(norm.running_var) + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = bias * scale if norm.bias is None else bias * scale + norm.bias
        folded.weight.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
        folded.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    return folded


def combine_statistics(counts: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of the union of groups, from each group's own (Chan's rule).

    mean = Σ n_k mean_k / n and var = Σ n_k (var_k + (mean_k − mean)²) / n, eq. (BN.43) of `notebooks/batch_norm`.

    Args:
        counts: values per group, shape (groups,).
        means, variances: per group and feature, shape (groups, features); variances are biased.
    Returns: mean and variance, each of shape (features,).
    Raises: ValueError: a count below one, or shapes that do not agree.
    """
    if counts.dim() != 1 or means.dim() != 2 or means.shape != variances.shape or len(means) != len(counts):
        raise ValueError(
            "expected counts (groups,), means and variances (groups, features), got "
            f"{tuple(counts.shape)}, {tuple(means.shape)} and {tuple(variances.shape)}"
        )
    if len(counts) == 0 or not (counts.is_meta or (counts >= 1).all()):
        raise ValueError(f"every group needs at least one value, got counts {counts.tolist()}")
    return _combine(counts, means, variances)


def sync_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float = 1e-5,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """`batch_norm` over the union of the batches of all processes in a group.

    Each process sends count, mean and variance of its part (eq. (BN.43)), and in the backward pass two sums. Gradients
    of weight and bias are those of the process's own part: their sum over the group is that of the whole batch.

    Args:
        x: this process's part, shape (N, C) or (N, C, *sites); N and sites may differ between processes, N may be 0.
        weight, bias, eps: as for `batch_norm`, equal on all processes.
        group: processes that share the statistics; None for all. Every one of them must make the call.
    Returns: shape and dtype of x.
    Raises: as `batch_norm`; RuntimeError: torch.distributed is not initialised.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("sync_batch_norm needs a process group: call torch.distributed.init_process_group first")
    _check(x, eps, training=False, weight=weight, bias=bias)  # the count is that of all processes together
    y: Tensor = _SyncBatchNorm.apply(x, *_parameters(x, weight, bias), eps, group)  # type: ignore[no-untyped-call]
    return y


class _Statistics(NamedTuple):
    """Mean and biased variance per channel. The mean is shift + offset: one number is too coarse where it is large."""

    shift: Tensor
    offset: Tensor
    var: Tensor


class _BatchNorm(torch.autograd.Function):
    """Saves x and three numbers a channel. Also returns the statistics, which carry no gradient."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        wide = _widen(x)
        y = torch.empty_like(wide)
        statistics = _moments(wide, y)
        return _normalize(wide, weight, bias, eps, statistics, y).to(x.dtype), *statistics

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, _, ctx.eps = inputs
        ctx.save_for_backward(x, weight, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted, in which the statistics depend on x
            return *batch_norm_backward(grad_output, x, weight, ctx.eps), None
        return *_gradients(grad_output, x, weight, _Statistics(*statistics), ctx.eps, _count(x)), None


class _SyncBatchNorm(torch.autograd.Function):
    """As `_BatchNorm`, with the statistics and the two sums of the backward pass taken over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: dist.ProcessGroup | None
    ) -> Tensor:
        wide = _widen(x)
        y = torch.empty_like(wide)
        shift, offset, var = _moments(wide, y)
        own = torch.stack((torch.zeros_like(var), shift, offset, var)).double()
        own[0] = _count(x)
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyone, own, group=group)
        counts, shifts, offsets, variances = torch.stack(everyone).unbind(1)
        ctx.count = int(counts[:, 0].sum())
        _check_count(x, ctx.count)
        mean, variance = _combine(counts[:, 0], shifts + offsets, variances)
        rounded = mean.to(shift.dtype)
        statistics = _Statistics(rounded, (mean - rounded).to(shift.dtype), variance.to(var.dtype))
        ctx.eps, ctx.group = eps, group
        ctx.save_for_backward(x, weight, *statistics)
        return _normalize(wide, weight, bias, eps, statistics, y).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors

        def everyone(own: Tensor) -> Tensor:
            total = own.to(torch.float64, copy=True)
            dist.all_reduce(total, group=ctx.group)
            return total.to(own.dtype)

        gradients = _gradients(grad_output, x, weight, _Statistics(*statistics), ctx.eps, ctx.count, everyone)
        return *gradients, None, None


def _moments(x: Tensor, room: Tensor) -> _Statistics:
    """From the sums of x − shift and its square, shift being the first slab's mean. Overwrites room, a tensor like x.

    A slab of the share s of x lies at most √(var / s) from the mean, so var = mean square − offset² loses no digits.
    """
    slabs = [slab for (slab,) in _slabs(x)]
    origin, first = _first_values(x), slabs[0]
    centered = torch.sub(first, _spread(origin, x), out=room[: len(first)])
    shift = origin + _sum(centered) / max(_count(first), 1)
    spread, total, squares = _spread(shift, x), torch.zeros_like(shift), torch.zeros_like(shift)
    for slab in slabs:
        centered = torch.sub(slab, spread, out=room[: len(slab)])
        total += _sum(centered)
        squares += _sum(centered.square_())
    count = max(_count(x), 1)
    offset = total / count
    return _Statistics(shift, offset, (squares / count - offset.square()).clamp(min=0))


def _normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float, statistics: _Statistics, y: Tensor) -> Tensor:
    """Fill y with eqs. (BN.1) and (BN.2), and return it."""
    scale = weight * torch.rsqrt(statistics.var + eps)
    shift, constant = _spread(statistics.shift, x), _spread(bias - statistics.offset * scale, x)
    scale = _spread(scale, x)
    for slab, out in _slabs(x, y):
        torch.sub(slab, shift, out=out).mul_(scale).add_(constant)
    return y


def _gradients(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    statistics: _Statistics,
    eps: float,
    count: int,
    everyone: Callable[[Tensor], Tensor] = lambda own: own,
) -> tuple[Tensor, Tensor, Tensor]:
    """Eqs. (BN.6) and (BN.11) by slabs; `everyone` turns the sums over x into those over all `count` values."""
    (shift, offset, var), grad_output, wide = statistics, _widen(grad_output), _widen(x)
    grad_x, invstd, spread = torch.empty_like(wide), torch.rsqrt(var + eps), _spread(shift, x)
    products, grad_bias = torch.zeros_like(shift), torch.zeros_like(shift)
    for slab, grad in _slabs(wide, grad_output):
        centered = torch.sub(slab, spread, out=grad_x[: len(slab)])  # the same room for all of them
        products += _sum(centered.mul_(grad))
        grad_bias += _sum(grad)
    sums = torch.stack(((products - offset * grad_bias) * invstd, grad_bias))
    mean_weight, mean_bias = everyone(sums) / max(count, 1)
    scale = weight * invstd  # grad_x = scale · grad_output + slope · (x − shift) + constant
    slope = -scale * invstd * mean_weight
    constant = _spread(-scale * mean_bias - slope * offset, x)
    scale, slope = _spread(scale, x), _spread(slope, x)
    for slab, grad, out in _slabs(wide, grad_output, grad_x):
        torch.sub(slab, spread, out=out).mul_(slope).addcmul_(grad, scale).add_(constant)
    grad_weight, grad_bias = sums.to(weight.dtype)
    return grad_x.to(x.dtype), grad_weight, grad_bias


def _combine(counts: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    counts = counts.to(torch.promote_types(means.dtype, torch.float32))
    shares = (counts / counts.sum()).unsqueeze(1)
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def _slabs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Like tensors in pieces along the batch that stay in the processor's cache from one operation to the next."""
    pieces = 1 + tensors[0].numel() // SLAB if tensors[0].device.type == "cpu" else 1
    return zip(*(torch.chunk(tensor, pieces) for tensor in tensors), strict=True)


def _first_values(x: Tensor) -> Tensor:
    """A value of every channel, 0 in an empty batch: sums of differences from it are exact for constant channels."""
    return _sum(x[(slice(1), slice(None), *[slice(1)] * (x.dim() - 2))])


def _sum(x: Tensor) -> Tensor:
    """Over all but the channels, (N, C, *sites) → (C,)."""
    return x.sum([0, *range(2, x.dim())])


def _spread(per_channel: Tensor, x: Tensor) -> Tensor:
    """(C,) as (1, C, 1, …), to broadcast against x."""
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))


def _count(x: Tensor) -> int:
    """Values per channel: m of the paper."""
    return x.numel() // max(x.shape[1], 1)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _parameters(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """γ and β, where None stands for 1 and 0."""
    size, dtype = x.shape[1], torch.promote_types(x.dtype, torch.float32)
    weight = x.new_ones(size, dtype=dtype) if weight is None else weight
    return weight, x.new_zeros(size, dtype=dtype) if bias is None else bias


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise ValueError(f"batch_norm eps must be positive, but got {eps}")


def _check_count(x: Tensor, count: int) -> None:
    if count == 1:
        raise ValueError(f"expected more than 1 value per channel when training, got input size {tuple(x.shape)}")


def _check(x: Tensor, eps: float, training: bool = True, **per_channel: Tensor | None) -> None:
    """Refuse what cannot be normalised, with the exception types of torch.nn.functional.batch_norm."""
    _check_eps(eps)
    if x.dim() < 2:
        raise ValueError(f"expected an input of shape (N, C) or (N, C, *sites), got {tuple(x.shape)}")
    if training:
        _check_count(x, _count(x))
    given = {name: tensor for name, tensor in per_channel.items() if tensor is not None}
    for name, tensor in given.items():
        if tensor.shape != x.shape[1:2]:
            raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, expected ({x.shape[1]},): one value a channel")
    if x.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise NotImplementedError(f"batch_norm is not implemented for {x.dtype}: expected a floating-point input")
    for name, tensor in given.items():
        if tensor.device != x.device:
            raise RuntimeError(f"{name} is on {tensor.device}, the input on {x.device}")
        if tensor.dtype not in (x.dtype, torch.promote_types(x.dtype, torch.float32)):
            raise RuntimeError(f"{name} is {tensor.dtype}, the input {x.dtype}")
