"""Batch normalization: every feature standardised over the mini-batch, in training, inference and across processes.

Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", 2015
(arXiv 1502.03167). Equations up to (BN.20) are those of `notebooks/batch_norm`, from (BN.21) on of
`notebooks/batch_norm_theory`.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

SLAB = 2**18  # numbers in a piece that a processor's cache holds: 1 MB in float32
SMALL = 2**14  # numbers below which few calls count for more than few passes over memory

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Standardise every channel of x over all its values in the batch, then scale and shift it (training mode).

    y = weight · (x − mean) / √(var + eps) + bias, eqs. (BN.1) and (BN.2) of `notebooks/batch_norm`; algorithm 1 of
    the paper. The variance is the biased one. Derivatives of any order go through mean and variance, forwards and
    backwards, under torch.func (vmap, jvp, hessian, …) as well. Where squares leave the range of the dtype (values from
    about 1e19 in float32), the variance is infinite, y = bias and the gradients of x and weight are 0, as in torch;
    where the sum over a channel leaves it too, that channel is NaN.

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
    return _batch_norm(x, *_parameters(x, weight, bias), eps)[0]


def batch_norm_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor | None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `batch_norm`, in closed form.

    With x̂ the standardised x, iv = 1/√(var + eps) and m values a channel, eqs. (BN.6) and (BN.7):

        grad_bias = Σ grad_output;  grad_weight = Σ grad_output · x̂
        grad_x = weight · iv · (grad_output − grad_bias / m − x̂ · grad_weight / m)

    Args:
        grad_output: gradient with respect to y, shape of x.
        x, weight, eps: as for `batch_norm`.
    Returns: grad_x (shape of x), grad_weight and grad_bias (both (C,)); differentiable.
    Raises: as `batch_norm`; RuntimeError: grad_output of another shape than x.
    """
    _check(x, eps, weight=weight)
    if grad_output.shape != x.shape:
        raise RuntimeError(f"grad_output has shape {tuple(grad_output.shape)}, x {tuple(x.shape)}: expected the same")
    weight, _ = _parameters(x, weight, None)
    standardized, invstd, *_ = _standardize(x, eps)
    return _closed_form(grad_output, x, weight, standardized, invstd)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with running statistics, for inputs of two to five dimensions.

    In training, `batch_norm`, and running ← (1 − momentum) · running + momentum · batch statistic, with the unbiased
    variance (eqs. (BN.11), (BN.13)). In evaluation one affine map, eq. (BN.10). Arguments, parameters, buffers, numbers
    and checkpoints are those of `torch.nn.BatchNorm1d`, `2d` and `3d`, with which it shares its base class: tools that
    look for that class find it (`SyncBatchNorm.convert_sync_batchnorm`, `swa_utils.update_bn`). What expects exactly
    torch's layers does not know ours: `torch.ao.quantization.fuse_modules` (see `fold`), `torch.fx.symbolic_trace` and
    `torch.jit.script`. As torch's layers do, those that move running statistics need them as batched buffers under
    torch.func, and may count a batch twice where torch.utils.checkpoint repeats the forward pass.

    Args:
        num_features: channels C.
        eps: added to the variance, above zero.
        momentum: weight of the newest batch; None averages all batches alike.
        affine: whether γ (`weight`) and β (`bias`) are learned.
        track_running_stats: whether there are running statistics; without them, evaluation uses the batch's own.
        device, dtype: of parameters and running statistics.
        bias: whether β is learned where γ is; by keyword, where torch's layers take it.
    Shape: input (N, C) or (N, C, *sites) → the same.
    Raises: called, as `batch_norm`; ValueError: more than five dimensions.
    """

    running_mean: Tensor  # None without running statistics
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, move the running statistics towards the batch's own."""
        if input.dim() > 5:
            raise ValueError(f"expected 2D to 5D input (got {input.dim()}D input)")
        buffers = {"running_mean": self.running_mean, "running_var": self.running_var}
        fixed = not self.training and self.running_mean is not None
        condition = None if fixed else "when training" if self.training else "without running statistics"
        _check(input, self.eps, condition, weight=self.weight, bias=self.bias, **buffers)
        weight, bias = _parameters(input, self.weight, self.bias)
        if fixed:
            scale = weight * torch.rsqrt(_widen(self.running_var) + self.eps)
            centered = _widen(input) - _spread(self.running_mean, input)  # a·x + b cancels where the mean is large
            return torch.addcmul(_spread(bias, input), centered, _spread(scale, input)).to(input.dtype)
        output, mean, var = _batch_norm(input, weight, bias, self.eps)
        if self.training and self.track_running_stats and self.running_mean is not None:
            self._track(mean.view(-1), var.view(-1), _count(input))
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        if count == 0:
            return
        momentum = 1 / self.num_batches_tracked.double() if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, var * (count / (count - 1)))):
            running.mul_(1 - momentum).add_(new.to(running.dtype) * momentum)


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
    batches the latter is m/(m−1) times the mean variance, eq. (BN.12). Parameters and modes stay as they are.

    Args:
        model: with layers `BatchNorm` or `torch.nn.BatchNorm1d`, `2d`, `3d` that have running statistics, frozen ones
            too. Other kinds (`SyncBatchNorm`, layers without running statistics) are left alone.
        batches: inputs of the model, or tuples and lists that begin with them, as a DataLoader gives.
    Raises:
        TypeError: another kind of batch, such as a dict; give its input alone.
        ValueError: no batch, or no layer with running statistics, or one that the model does not call.
    """
    layers = {
        cast(BatchNorm, module): name
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no batch normalisation with running statistics")
    totals: dict[BatchNorm, list[Any]] = {layer: [0, 0, 0.0, 0.0] for layer in layers}  # calls, m, Σ m mean, Σ m var

    def add(layer: BatchNorm, inputs: tuple[Tensor, ...], named: dict[str, Tensor], _: Tensor) -> None:
        x = _widen(inputs[0] if inputs else named["input"])
        count = _count(x)
        shift, offset, var = (part.view(-1).cpu().double() for part in _moments(x, torch.empty_like(x)))
        for i, term in enumerate((bool(count), count, count * (shift + offset), count * var)):
            totals[layer][i] += term

    names = "training", "track_running_stats"
    modes = [(part, name, getattr(part, name)) for part in model.modules() for name in names if hasattr(part, name)]
    hooks = [layer.register_forward_hook(add, with_kwargs=True) for layer in layers]
    try:
        model.eval()
        for layer in layers:  # the batch's own statistics, the running ones left alone
            layer.training, layer.track_running_stats = True, False
        for batch in batches:
            if not isinstance(batch, Tensor | tuple | list):
                raise TypeError(f"expected a tensor, or a tuple or list that begins with one, got a {type(batch)}")
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
    """One layer that computes `norm(layer(x))` in evaluation, eq. (BN.16): no cost at inference is left.

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

    mean = Σ n_k mean_k / n and var = Σ n_k (var_k + (mean_k − mean)²) / n, eq. (BN.43).

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
    of weight and bias are those of the process's own part: their sum over the group is that of the whole batch. First
    derivatives only, and without torch.func.

    Args:
        x: this process's part, shape (N, C) or (N, C, *sites); N and sites may differ between processes, N may be 0.
        weight, bias, eps: as for `batch_norm`, equal on all processes.
        group: processes that share the statistics; None for all. Every one of them must make the call.
    Returns: shape and dtype of x.
    Raises: as `batch_norm`; RuntimeError: torch.distributed is not initialised.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("sync_batch_norm needs a process group: call torch.distributed.init_process_group first")
    _check(x, eps, None, weight=weight, bias=bias)  # the count is that of all processes together
    y: Tensor = _SyncBatchNorm.apply(x, *_parameters(x, weight, bias), eps, group)  # type: ignore[no-untyped-call]
    return y


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, and mean and variance of x in the shape (1, C, 1, …), which carry no gradient."""
    if _transformed():
        standardized, _, mean, var = _standardize(x, eps)
        y = torch.addcmul(_spread(bias, x), standardized, _spread(weight, x))
        return y.to(x.dtype), mean.detach(), var.detach()
    results: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    return results


def _transformed() -> bool:
    """Whether torch.func or forward-mode differentiation watches, which know no operations in place."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x̂, 1/√(var + eps), mean and variance, in few operations that every transform of torch knows.

    A first value far from the rest costs √m / 2²⁴ of the deviation.
    """
    wide, share = _widen(x), 1 / max(_count(x), 1)
    first = _first_values(wide).detach()
    near = wide - first  # so that the mean is not rounded too coarsely where it is large
    total = _sum(near)
    centered = torch.sub(near, total, alpha=share)
    var = _sum(centered * centered) * share
    invstd = torch.rsqrt(var + eps)
    return centered * invstd, invstd, torch.add(first, total, alpha=share), var


def _closed_form(
    grad_output: Tensor, x: Tensor, weight: Tensor, standardized: Tensor, invstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Eqs. (BN.6) and (BN.7), in operations that can be differentiated again."""
    grad, m = _widen(grad_output), max(_count(x), 1)
    grad_bias, grad_weight = _sum(grad), _sum(grad * standardized)
    grad_x = _spread(weight, x) * invstd * (grad - grad_bias / m - standardized * (grad_weight / m))
    return grad_x.to(x.dtype), grad_weight.view(-1).to(weight.dtype), grad_bias.view(-1).to(weight.dtype)


class _Statistics(NamedTuple):
    """Biased variance and mean of every channel, (1, C, 1, …); shift + offset, as one number is coarse where large."""

    shift: Tensor
    offset: Tensor
    var: Tensor


class _BatchNorm(torch.autograd.Function):
    """Saves x and a few numbers a channel (and x̂ where it is small). Mean and variance carry no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        if x.numel() < SMALL:
            *saved, mean, var = _standardize(x, eps)
            y = torch.addcmul(_spread(bias, x), saved[0], _spread(weight, x)).to(x.dtype)
        else:
            wide = _widen(x)
            y = torch.empty_like(wide)
            statistics = _moments(wide, y)
            y = _normalize(wide, weight, bias, eps, statistics, y).to(x.dtype)
            saved, mean, var = [*statistics], statistics.shift + statistics.offset, statistics.var
        ctx.eps = eps
        ctx.save_for_backward(x, weight, *saved)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *saved = ctx.saved_tensors
        batched = torch._C._functorch.is_legacy_batchedtensor  # as `is_grads_batched` makes them
        if not torch.compiler.is_compiling() and (torch.is_grad_enabled() or batched(grad_output)):
            return *batch_norm_backward(grad_output, x, weight, ctx.eps), None  # here the statistics depend on x
        if x.numel() < SMALL:
            return *_closed_form(grad_output, x, weight, *saved), None
        return *_gradients(grad_output, x, weight, _Statistics(*saved), ctx.eps, _count(x)), None


class _SyncBatchNorm(torch.autograd.Function):
    """As `_BatchNorm`, with the statistics and the two sums of the backward pass taken over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: dist.ProcessGroup | None
    ) -> Tensor:
        wide = _widen(x)
        y = torch.empty_like(wide)
        shift, offset, var = _moments(wide, y)
        own = torch.cat((torch.full_like(var, _count(x)), shift, offset, var)).double()
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyone, own, group=group)
        counts, shifts, offsets, variances = torch.stack(everyone).flatten(2).unbind(1)
        ctx.count = int(counts[:, 0].sum())
        _check_count(x, ctx.count, "when training")
        mean, variance = (_spread(total, x) for total in _combine(counts[:, 0], shifts + offsets, variances))
        rounded = mean.to(shift.dtype)
        statistics = _Statistics(rounded, (mean - rounded).to(shift.dtype), variance.to(var.dtype))
        ctx.eps, ctx.group = eps, group
        ctx.save_for_backward(x, weight, *statistics)
        return _normalize(wide, weight, bias, eps, statistics, y).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors

        def everyone(*own: Tensor) -> tuple[Tensor, ...]:
            total = torch.stack(own).double()
            dist.all_reduce(total, group=ctx.group)
            return total.to(own[0].dtype).unbind()

        gradients = _gradients(grad_output, x, weight, _Statistics(*statistics), ctx.eps, ctx.count, everyone)
        return *gradients, None, None


def _moments(x: Tensor, room: Tensor) -> _Statistics:
    """Those of every slab, combined by Chan's rule, eq. (BN.43). Overwrites room, a tensor like x.

    Every slab is centred by the mean of the one before, the first by its own. No digits are lost: where two slabs of
    the share s of x lie d apart, the variance of x is at least s · d² / 2.
    """
    slabs, groups = _slabs(x), []
    first, origin = slabs[0][0], _first_values(x)
    centered = torch.sub(first, origin, out=room[: len(first)])
    shift = origin + _sum(centered) / max(_count(first), 1)
    for (slab,) in slabs:
        count = max(_count(slab), 1)
        centered = torch.sub(slab, shift, out=room[: len(slab)])
        offset = _sum(centered) / count
        square = _sum(centered.square_()) / count
        excess = offset.square().clamp(max=torch.finfo(x.dtype).max)  # ∞ − ∞ would be NaN
        groups.append((shift, offset, (square - excess).clamp(min=0)))
        shift = shift + offset
    if len(groups) == 1:
        return _Statistics(*groups[0])
    shifts, offsets, variances = (torch.cat(kind) for kind in zip(*groups, strict=True))
    counts = torch.tensor([len(slab) for (slab,) in slabs], device=x.device)
    offset, var = _combine(counts, shifts - shifts[:1] + offsets, variances)
    return _Statistics(shifts[:1], offset.unsqueeze(0), var.unsqueeze(0))


def _normalize(x: Tensor, weight: Tensor, bias: Tensor, eps: float, statistics: _Statistics, y: Tensor) -> Tensor:
    """Fill y with eqs. (BN.1) and (BN.2), and return it."""
    shift, offset, var = statistics
    scale = _spread(weight, x) * torch.rsqrt(var + eps)
    constant = _spread(bias, x) - offset * scale
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
    everyone: Callable[..., tuple[Tensor, ...]] = lambda *own: own,
) -> tuple[Tensor, Tensor, Tensor]:
    """Eqs. (BN.6) and (BN.7) by slabs; `everyone` turns the sums over x into those over all `count` values."""
    (shift, offset, var), grad_output, wide = statistics, _widen(grad_output), _widen(x)
    grad_x, invstd = torch.empty_like(wide), torch.rsqrt(var + eps)
    products, sums = [], []
    for slab, grad in _slabs(wide, grad_output):
        centered = torch.sub(slab, shift, out=grad_x[: len(slab)])  # the same room for all of them
        products.append(_sum(centered.mul_(grad)))
        sums.append(_sum(grad))
    grad_bias = sum(sums[1:], sums[0])
    grad_weight = (sum(products[1:], products[0]) - offset * grad_bias) * invstd
    all_weight, all_bias = everyone(grad_weight, grad_bias)
    scale = _spread(weight, x) * invstd  # grad_x = scale · grad_output + slope · (x − shift) + constant
    slope = scale * invstd * all_weight / -max(count, 1)
    constant = scale * all_bias / -max(count, 1) - slope * offset
    for slab, grad, out in _slabs(wide, grad_output, grad_x):
        torch.sub(slab, shift, out=out).mul_(slope).addcmul_(grad, scale).add_(constant)
    return grad_x.to(x.dtype), grad_weight.view(-1).to(weight.dtype), grad_bias.view(-1).to(weight.dtype)


def _combine(counts: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    counts = counts.to(torch.promote_types(means.dtype, torch.float32))
    shares = (counts / counts.sum()).view(-1, *[1] * (means.dim() - 1))
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


def _slabs(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Like tensors in pieces along the batch that stay in the processor's cache from one operation to the next."""
    size = tensors[0].numel()
    if size < SLAB or tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
        return [tensors]
    return list(zip(*(tensor.chunk(1 + size // SLAB) for tensor in tensors), strict=True))


def _first_values(x: Tensor) -> Tensor:
    """A value of every channel, 0 in an empty batch: sums of differences from it are exact for constant channels."""
    first = x[(slice(1), slice(None), *[slice(1)] * (x.dim() - 2))]
    return first if x.numel() else _sum(first)


def _sum(x: Tensor) -> Tensor:
    """Over all but the channels, (N, C, *sites) → (1, C, 1, …)."""
    return x.sum([0, *range(2, x.dim())], keepdim=True)


def _spread(per_channel: Tensor, x: Tensor) -> Tensor:
    """(C,) as (1, C, 1, …), to broadcast against x."""
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))


def _count(x: Tensor) -> int:
    """Values per channel: m of the paper."""
    return x.numel() // max(x.shape[1], 1)


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _parameters(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """γ and β, where None stands for 1 and 0."""
    size, dtype = x.shape[1], torch.promote_types(x.dtype, torch.float32)
    weight = x.new_ones(size, dtype=dtype) if weight is None else weight
    return weight, x.new_zeros(size, dtype=dtype) if bias is None else bias


def _check_count(x: Tensor, count: int, condition: str) -> None:
    if count == 1:
        raise ValueError(f"expected more than 1 value per channel {condition}, got input size {tuple(x.shape)}")


def _check(x: Tensor, eps: float, several: str | None = "when training", **per_channel: Tensor | None) -> None:
    """Refuse what torch.nn.functional.batch_norm refuses; `several` says when one value per channel is too few."""
    if not eps > 0:
        raise ValueError(f"batch_norm eps must be positive, but got {eps}")
    if x.dim() < 2:
        raise ValueError(f"expected an input of shape (N, C) or (N, C, *sites), got {tuple(x.shape)}")
    if several:
        _check_count(x, _count(x), several)
    given = [(name, tensor) for name, tensor in per_channel.items() if tensor is not None]
    size, dtype, device = x.shape[1:2], x.dtype, x.device
    for name, tensor in given:
        if tensor.shape != size:
            raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, expected ({x.shape[1]},): one value a channel")
    if dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise NotImplementedError(f"batch_norm is not implemented for {dtype}: expected a floating-point input")
    for name, tensor in given:
        if tensor.device != device:
            raise RuntimeError(f"{name} is on {tensor.device}, the input on {device}")
        if tensor.dtype not in (dtype, torch.promote_types(dtype, torch.float32)):
            raise RuntimeError(f"{name} is {tensor.dtype}, the input {dtype}")
