"""Recurrent batch normalization: an LSTM whose gates and cell are normalised, with statistics of every time step.

Cooijmans, Ballas, Laurent, Gülçehre, Courville, "Recurrent Batch Normalization", 2017 (arXiv 1603.09025). Equations up
to (RBN.13) are those of `notebooks/recurrent_batch_norm`, from (RBN.14) on of `notebooks/recurrent_batch_norm_theory`.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.types import Device

Statistics = Literal["per_step", "shared"]
HiddenInit = Literal["orthogonal", "identity"]
State = tuple[Tensor, Tensor]
Pair = tuple[Tensor, Tensor]  # mean and variance
TERMS = ("ih", "hh", "c")  # what is normalised: W_x x, W_h h and the cell


class BatchNormLSTM(nn.Module):
    """An LSTM layer with batch normalisation of W_h h, of W_x x and of the cell where the output reads it.

    With BN(z; γ) = γ ⊙ (z − mean) / √(var + eps), eqs. (RBN.2) to (RBN.5), eqs. 6-8 of the paper:

        (i, f, g, o)_t = BN(weight_hh h_{t−1}; scale_hh) + BN(weight_ih x_t; scale_ih) + bias
        c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g);  h_t = σ(o) ⊙ tanh(BN(c_t; scale_c) + bias_c)

    In training, mean and variance are those of the batch at step t, and running ← (1 − momentum) · running + momentum ·
    batch statistic, with the unbiased variance. In evaluation they are the stored ones of step t; steps past the last
    one that has any use that one's. `population_statistics` replaces the running averages by exact ones.

    Args:
        input_size: features of one input vector.
        hidden_size: units H.
        max_length: steps that have stored statistics. In training, later ones use the batch's own and store nothing.
        weight_init: starting value of the three scales, 0.1 in the paper.
        eps: added to the variance, above zero.
        momentum: weight of the newest batch; None averages all batches alike.
        statistics: "per_step", or "shared": one stored set, the average over the steps (the paper warns of it).
            Training normalises by the step's own all the same.
        hidden_init: of weight_hh: "orthogonal" as a whole, or "identity" for g and orthogonal for the three gates.
        normalize_cell: whether the cell is normalised; if not, h_t = σ(o) ⊙ tanh(c_t), scale_c and bias_c are None.
        device, dtype: of parameters and running statistics.
    Attributes:
        weight_ih, weight_hh: (4H, input_size) and (4H, H), rows in the order i, f, g, o of `torch.nn.LSTM`.
        bias, scale_ih, scale_hh: (4H,); scale_c, bias_c: (H,).
        running_mean_ih, running_mean_hh, running_mean_c, running_var_…: (max_length, …), or (1, …) if shared.
        num_batches_tracked: batches that every step's statistics have seen.
    Shape: input (time, batch, input_size) → output (time, batch, hidden_size).
    Half precision: parameters may be of it; everything is computed in float32, under autocast as well. Half-precision
        running statistics lose small steps: keep the parameters in float32 and use autocast.
    Derivatives: first ones, backwards, one gradient at a time. `torch.func.functional_call` takes the layer; vmap, grad
        and the other transforms of torch.func, `is_grads_batched` and TorchScript do not. torch.compile leaves the
        recurrence as it is (a graph break). torch.utils.checkpoint counts a batch twice, as with torch's layers.
    Precision: where the batch has no variance, one step magnifies differences between examples, rounding included, by
        up to 251 at the start, eq. (RBN.19): noise on the first state keeps them apart.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """

    scale_c: nn.Parameter | None
    bias_c: nn.Parameter | None
    num_batches_tracked: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        max_length: int,
        weight_init: float = 0.1,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        statistics: Statistics = "per_step",
        hidden_init: HiddenInit = "orthogonal",
        normalize_cell: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "max_length": max_length}
        _check_arguments(sizes, weight_init, eps, momentum)
        for name, choice, choices in (
            ("statistics", statistics, get_args(Statistics)),
            ("hidden_init", hidden_init, get_args(HiddenInit)),
        ):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {choice!r}")
        self.input_size, self.hidden_size, self.max_length = input_size, hidden_size, max_length
        self.weight_init, self.eps, self.momentum = weight_init, eps, momentum
        self.statistics, self.hidden_init, self.normalize_cell = statistics, hidden_init, normalize_cell

        def parameter(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*sizes, device=device, dtype=dtype))

        rows = 4 * hidden_size
        self.weight_ih, self.weight_hh = parameter(rows, input_size), parameter(rows, hidden_size)
        self.bias, self.scale_ih, self.scale_hh = parameter(rows), parameter(rows), parameter(rows)
        for name in ("scale_c", "bias_c"):
            self.register_parameter(name, parameter(hidden_size) if normalize_cell else None)
        steps = max_length if statistics == "per_step" else 1
        for term in TERMS if normalize_cell else TERMS[:2]:
            for kind in ("mean", "var"):
                buffer = torch.empty(steps, hidden_size if term == "c" else rows, device=device, dtype=dtype)
                self.register_buffer(f"running_{kind}_{term}", buffer)
        self.register_buffer("num_batches_tracked", torch.zeros(steps, dtype=torch.int64, device=device))
        self.reset_running_stats()
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Orthogonal weights, `weight_init` for the scales, bias 1 for the forget gate, 0 for all else."""
        size = self.hidden_size
        self.weight_ih.copy_(_orthogonal(self.weight_ih))
        self.weight_hh.copy_(_orthogonal(self.weight_hh))
        if self.hidden_init == "identity":
            gates = _orthogonal(self.weight_hh[size:])
            identity = torch.eye(size, dtype=gates.dtype, device=gates.device)
            self.weight_hh.copy_(torch.cat((gates[: 2 * size], identity, gates[2 * size :])))
        self.bias.zero_()[size : 2 * size] = 1
        for scale in (self.scale_ih, self.scale_hh, self.scale_c):
            if scale is not None:
                scale.fill_(self.weight_init)
        if self.bias_c is not None:
            self.bias_c.zero_()

    def reset_running_stats(self) -> None:
        """Means 0, variances 1, no batch seen."""
        for name, buffer in self.named_buffers(recurse=False):
            buffer.fill_("var" in name)

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return (
            f"{self.input_size}, {self.hidden_size}, max_length={self.max_length}, weight_init={self.weight_init}, "
            f"eps={self.eps}, momentum={self.momentum}, statistics={self.statistics!r}, "
            f"hidden_init={self.hidden_init!r}, normalize_cell={self.normalize_cell}"
        )

    def forward(self, input: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over a batch of sequences; in training, move the running statistics towards the batch's own.

        With lengths, step t normalises only the sequences that still run, and only they count in its statistics. In
        training, a step with fewer than two of them uses the stored statistics as evaluation does, and leaves them.

        Args:
            input: shape (time, batch, input_size), time at least 1, of the parameters' dtype and device; under
                autocast any dtype but float64.
            state: h and c before the first step, each (batch, hidden_size); None for zeros. Step 1 of the statistics
                is the first step of the input all the same.
            lengths: integers in 1..time, shape (batch,), in any order; None where all sequences have the full length.
        Returns: the outputs, shape (time, batch, hidden_size), 0 past the end of a sequence; and (h, c) after the last
            step of every sequence. All of the parameters' dtype.
        Raises:
            ValueError, TypeError: another shape, dtype or device than these; a length out of range; in training, a
                batch of one without lengths.
        """
        self._check_input(input, state, lengths)
        (time, batch, _), dtype = input.shape, self.weight_hh.dtype
        counts = [batch] * time
        with _no_autocast(input.device):
            zeros = input.new_zeros(batch, self.hidden_size)
            x, h, c = (_widen(part) for part in (input, *((zeros, zeros) if state is None else state)))
            if lengths is not None:
                lengths, order = lengths.cpu().sort(descending=True, stable=True)
                counts = (lengths > torch.arange(time, device="cpu").unsqueeze(1)).sum(1).tolist()
                order = order.to(x.device)
                x, h, c = x[:, order], h[order], c[order]
            fixed = [not self.training or count < 2 for count in counts]
            output, h, c, statistics = self._run(x, h, c, counts, fixed)
            if lengths is not None:
                back = order.argsort()
                output, h, c = output[:, back], h[back], c[back]
        if self.training:
            self._track(counts[: fixed.count(False)], statistics)
        return output.to(dtype), (h.to(dtype), c.to(dtype))

    def _run(
        self, x: Tensor, h: Tensor, c: Tensor, counts: list[int], fixed: list[bool]
    ) -> tuple[Tensor, Tensor, Tensor, list[Pair]]:
        """Outputs, last h and c, and the batch's means and biased variances at every step, in the order of TERMS."""
        time, batch, size = *x.shape[:2], self.hidden_size
        weight_ih, weight_hh = _widen(self.weight_ih), _widen(self.weight_hh)
        # 1 − 2σ(−2a) = tanh(a): so one sigmoid, several times faster than tanh, serves all four gates and the cell.
        signs = x.new_ones(4, size)
        signs[2] = -2
        bias, scale_ih, scale_hh = (_widen(p) * signs.view(-1) for p in (self.bias, self.scale_ih, self.scale_hh))
        scale_c, bias_c = x.new_full((size,), -2.0), x.new_zeros(size)
        if self.scale_c is not None and self.bias_c is not None:
            scale_c, bias_c = -2 * _widen(self.scale_c), -2 * _widen(self.bias_c)

        stored = self._stored(time, x) if any(fixed) else None
        chosen = torch.tensor(fixed, device=x.device).unsqueeze(1)  # (time, 1)
        share: Tensor | float = 1 / max(batch, 1)  # of an example in the mean of its step; 0 where that is not taken
        if counts[-1] < batch or stored is not None:
            n = torch.tensor(counts, device=x.device).unsqueeze(1)
            running = torch.arange(batch, device=x.device) < n
            x = x.masked_fill(~running.unsqueeze(2), 0)  # whatever stands there, NaN too
            share = ((running & ~chosen).to(x.dtype) / n.clamp(min=1)).unsqueeze(2)
        mean_x = (x * share).sum(1, keepdim=True)
        x = x - mean_x

        maps = None
        if self.input_size == 1:  # W x has rank one, eq. (RBN.21): the variance of x gives that of every row
            shift, var_ih = bias, (share * x.square()).sum(1) * weight_ih.T.square()
            if stored is not None:
                var_ih = torch.where(chosen, stored[0][1], var_ih)
            factor = scale_ih * torch.rsqrt(var_ih + self.eps)
            if stored is not None:
                shift = bias - factor * torch.where(chosen, stored[0][0], 0)
            maps = torch.stack((factor * weight_ih.T, shift.expand(time, -1)), 1)
            x = F.pad(x, (0, 1), value=1.0)
        keep = torch.is_grad_enabled() and any(v.requires_grad for v in (x, h, c, *self.parameters()))
        plan = _Plan(counts, fixed, self.normalize_cell, self.eps, keep, stored)
        scales = scale_hh.unsqueeze(0) if maps is not None else torch.stack((scale_hh, scale_ih))
        x, h, c = x.transpose(1, 2).contiguous(), h.T.contiguous(), c.T.contiguous()
        output, h, c, mean_h, var_z, *cell = _recurrence(
            x, maps, weight_hh, weight_ih, scales, bias, scale_c, bias_c, h, c, plan
        )
        with torch.no_grad():
            means = mean_x.squeeze(1) @ weight_ih.T, mean_h @ weight_hh.T
        variances = var_z[:, 1] if maps is None else var_ih, var_z[:, 0]
        statistics = [*zip(means, variances, strict=True), (cell[0], cell[1])]
        return output, h.T.contiguous(), c.T.contiguous(), statistics

    def _running(self) -> list[Pair]:
        """The buffers: means and variances, in the order of TERMS."""
        terms = TERMS if self.normalize_cell else TERMS[:2]
        return [(getattr(self, f"running_mean_{term}"), getattr(self, f"running_var_{term}")) for term in terms]

    def _stored(self, time: int, like: Tensor) -> list[Pair]:
        """The stored statistics for the first steps, each (time, features)."""
        tracked = self.num_batches_tracked > 0
        last = (tracked * torch.arange(len(tracked), device=tracked.device)).amax()
        steps = torch.minimum(torch.arange(time, device=tracked.device), last)
        return [(mean[steps].to(like.dtype), var[steps].to(like.dtype)) for mean, var in self._running()]

    @torch.no_grad()
    def _track(self, counts: Sequence[int], statistics: Sequence[Pair]) -> None:
        """Take in the statistics of the first steps, one for each of the counts."""
        steps = min(len(counts), self.max_length)
        if steps == 0:
            return
        shared, mean_ih = self.statistics == "shared", statistics[0][0]
        n = torch.tensor(counts[:steps], dtype=mean_ih.dtype, device=mean_ih.device).unsqueeze(1)
        tracked = self.num_batches_tracked[: 1 if shared else steps]
        tracked += 1
        momentum = 1 / tracked.double().unsqueeze(1) if self.momentum is None else self.momentum
        for buffers, (mean, var) in zip(self._running(), statistics, strict=False):
            for buffer, new in zip(buffers, (mean[:steps], var[:steps] * (n / (n - 1))), strict=True):
                running = buffer[: len(tracked)]
                running.copy_(
                    _widen(running) * (1 - momentum) + (new.mean(0, keepdim=True) if shared else new) * momentum
                )

    def _check_input(self, input: Tensor, state: State | None, lengths: Tensor | None) -> None:
        weight = self.weight_hh
        _check_tensor("input", input, ("time", "batch", self.input_size), weight)
        time, batch, _ = input.shape
        if time == 0:
            raise ValueError(f"input needs at least one time step, got shape {tuple(input.shape)}")
        if state is not None:
            if not isinstance(state, tuple | list) or len(state) != 2:
                raise TypeError(f"state must be a pair (h, c) or None, got {type(state).__name__}")
            for name, part in zip(("h", "c"), state, strict=True):
                _check_tensor(f"state {name}", part, (batch, self.hidden_size), weight)
        if lengths is None:
            if self.training and batch == 1:
                raise ValueError(
                    f"expected more than 1 value per channel when training, got input size {tuple(input.shape)}"
                )
            return
        if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
            kind = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
            raise TypeError(f"lengths must be a tensor of integers or None, got {kind}")
        if lengths.shape != (batch,):
            raise ValueError(f"lengths must have shape ({batch},), got {tuple(lengths.shape)}")
        if batch and not 1 <= int(lengths.min()) <= int(lengths.max()) <= time:
            raise ValueError(f"lengths must lie in 1..{time}, got {int(lengths.min())} to {int(lengths.max())}")


@torch.no_grad()
def population_statistics(model: nn.Module, batches: Iterable[Tensor | Sequence[Any]]) -> None:
    """Replace the stored statistics of the layers `BatchNormLSTM` by exact ones, eq. (RBN.13).

    Every step of every batch is normalised by its own statistics, as in training; all other layers (dropout, say) are
    in evaluation mode. Over batches in which m_k sequences run at step t, E = Σ m_k mean_k / Σ m_k and
    Var = Σ m_k var_k / Σ (m_k − 1); shared statistics add up over the steps as well. A step that no batch has two
    sequences for is left without statistics. Parameters and modes stay as they are.

    Args:
        model: a `BatchNormLSTM`, or a module that calls one or several.
        batches: inputs of the model: a tensor, or a tuple or list of all positional arguments, such as
            (input, None, lengths) for the layer itself. Targets are to be left out: `(x for x, _ in loader)`.
    Raises:
        TypeError: another kind of batch, such as a dict.
        ValueError: no batch, no layer `BatchNormLSTM`, or one for which no batch gave statistics.
    """
    layers = {module: name for name, module in model.named_modules() if isinstance(module, BatchNormLSTM)}
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layer BatchNormLSTM")
    totals = {layer: _Totals(layer) for layer in layers}
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        for layer in layers:
            layer.training = True
            layer._track = totals[layer].add  # type: ignore[method-assign]
        for batch in batches:
            if not isinstance(batch, Tensor | tuple | list):
                kind = type(batch).__name__
                raise TypeError(f"expected a tensor, or a tuple or list of positional arguments, got a {kind}")
            model(*([batch] if isinstance(batch, Tensor) else batch))
    finally:
        for layer in layers:
            layer.__dict__.pop("_track", None)
        for part, mode in modes:
            part.training = mode
    for layer, total in totals.items():
        if not total.calls.any():
            raise ValueError(f"batch-normalised LSTM {layers[layer]!r} has seen no batch")
    for total in totals.values():
        total.store()


class _Totals:
    """Sums over batches, a row for each stored step, in float64."""

    def __init__(self, layer: BatchNormLSTM) -> None:
        self.layer = layer
        self.calls = torch.zeros(len(layer.num_batches_tracked), 1, dtype=torch.float64, device="cpu")
        self.count = torch.zeros_like(self.calls)  # Σ m
        self.sums = [[self.calls.new_zeros(buffer.shape) for buffer in pair] for pair in layer._running()]

    def add(self, counts: Sequence[int], statistics: Sequence[Pair]) -> None:
        """In the place of `BatchNormLSTM._track`."""
        m = self.calls.new_tensor(counts[: self.layer.max_length]).unsqueeze(1)
        shared = self.layer.statistics == "shared"
        news = [m * new[: len(m)].cpu().double() for pair in statistics for new in pair]
        totals = [total for pair in self.sums for total in pair]
        for total, each in zip((self.calls, self.count, *totals), (torch.ones_like(m), m, *news), strict=False):
            new = each.sum(0, keepdim=True) if shared else each
            total[: len(new)] += new

    def store(self) -> None:
        """Write the layer's buffers."""
        self.layer.reset_running_stats()
        seen = self.calls.squeeze(1) > 0
        for buffers, sums in zip(self.layer._running(), self.sums, strict=True):
            for buffer, total, by in zip(buffers, sums, (self.count, self.count - self.calls), strict=True):
                buffer[seen.to(buffer.device)] = (total / by)[seen].to(buffer)
        self.layer.num_batches_tracked.copy_(self.calls.squeeze(1))


class _Plan(NamedTuple):
    """What `_Recurrence` needs beside tensors that have gradients."""

    counts: list[int]  # sequences that run at each step
    fixed: list[bool]  # whether a step takes the stored statistics
    normalize_cell: bool
    eps: float
    keep: bool  # whether a backward pass may follow
    stored: list[Pair] | None  # in the order of TERMS


class _Recurrence(torch.autograd.Function):
    """The loop over time, with features as rows and examples as columns, those that run longest first.

    Of every step it keeps z = W h − mean and u = c − mean; all else is cheaper to compute again than to store, since
    fresh memory costs more than arithmetic. tanh(a) is 1 − 2σ(−2a): scales and biases come in times −2 for g and c.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (time, I, batch) without its mean; with maps, a second feature is 1
        maps: Tensor | None,  # (time, 2, 4H): input term and bias of every step; None for weight_ih x in the loop
        weight_hh: Tensor,
        weight_ih: Tensor,
        scales: Tensor,  # (K, 4H): of weight_hh h and, without maps, of weight_ih x
        bias: Tensor,
        scale_c: Tensor,
        bias_c: Tensor,
        h0: Tensor,  # (H, batch)
        c0: Tensor,
        plan: _Plan,
    ) -> tuple[Tensor, ...]:
        (time, _, batch), (rows, size), terms = x.shape, weight_hh.shape, len(scales)
        kept = time if plan.keep else 1
        z_all, u_all = x.new_empty(kept, terms, rows, batch), x.new_empty(kept, size, batch)
        norms, invstd = x.new_zeros(time, terms, rows, 1), x.new_empty(time, terms, rows, 1)
        norms_c, invstd_c = x.new_zeros(time, size, 1), x.new_empty(time, size, 1)
        sums_h, mean_c, center = x.new_zeros(time, size, 1), x.new_zeros(time, size, 1), x.new_empty(0)
        fixed_c = plan.fixed if plan.normalize_cell else [True] * time
        if plan.stored is not None:
            center, var_z = (
                torch.stack(part[1::-1][:terms], 1).unsqueeze(3) for part in zip(*plan.stored, strict=True)
            )
            invstd.copy_(torch.rsqrt(var_z + plan.eps))
        if not plan.normalize_cell:
            invstd_c.fill_(1)
        elif plan.stored is not None:
            mean_c.copy_(plan.stored[2][0].unsqueeze(2))
            invstd_c.copy_(torch.rsqrt(plan.stored[2][1] + plan.eps).unsqueeze(2))
        eps = x.new_full((1,), plan.eps)
        scales, scale_c = scales.unsqueeze(2), scale_c.unsqueeze(1)
        bias, bias_c = (part.unsqueeze(1).repeat(1, batch) for part in (bias, bias_c))  # a pass over memory less
        h, c = h0.clone(), c0.clone()
        gates, centered, s = x.new_empty(rows, batch), torch.empty_like(h), torch.empty_like(h)
        factor, factor_c = torch.empty_like(scales), torch.empty_like(scale_c)
        output = x.new_zeros(time, batch, size)
        steps = _steps(time, x, maps, z_all, u_all, norms, invstd, norms_c, invstd_c, sums_h, mean_c, output)
        width = -1
        for t, (x_t, map_t, z, u, norm, iv, norm_c, iv_c, sum_h, m_c, out) in enumerate(steps):
            n = plan.counts[t]
            if n != width:
                width, views = n, _columns(n, h, c, s, gates, centered, bias, bias_c)
                h_t, c_t, s_t, gates_t, centered_t, bias_t, bias_c_t = views
                (i, f, g, o), transposed = gates_t.chunk(4), h_t.t()
            if n < batch:
                x_t, z, u, out = *_columns(n, x_t, z, u), out[:n]
            operand = h_t
            if not plan.fixed[t]:
                torch.sum(h_t, 1, keepdim=True, out=sum_h)
                operand = torch.sub(h_t, sum_h, alpha=1 / n, out=centered_t)
            torch.mm(weight_hh, operand, out=z[0])
            if maps is None:
                torch.mm(weight_ih, x_t, out=z[1])
            if plan.fixed[t]:
                z.sub_(center[t])
            else:
                torch.linalg.vector_norm(z, dim=2, keepdim=True, out=norm)
                torch.addcmul(eps, norm, norm, value=1 / n, out=iv).rsqrt_()
            _gates(z, torch.mul(scales, iv, out=factor), map_t, x_t, bias_t, gates_t)
            torch.addcmul(i, f, c_t, out=c_t).addcmul_(i, g, value=-2)
            if fixed_c[t]:
                torch.sub(c_t, m_c, out=u)
            else:
                torch.sum(c_t, 1, keepdim=True, out=m_c).mul_(1 / n)
                torch.linalg.vector_norm(torch.sub(c_t, m_c, out=u), dim=1, keepdim=True, out=norm_c)
                torch.addcmul(eps, norm_c, norm_c, value=1 / n, out=iv_c).rsqrt_()
            torch.addcmul(bias_c_t, u, torch.mul(scale_c, iv_c, out=factor_c), out=s_t).sigmoid_()
            torch.addcmul(o, o, s_t, value=-2, out=h_t)
            out.copy_(transposed)
        m = torch.tensor(plan.counts, device=x.device).view(-1, 1, 1).clamp(min=1)
        var_z, var_c = norms.squeeze(3).square() / m, norms_c.squeeze(2).square() / m.squeeze(2)
        statistics = sums_h.squeeze(2) / m.squeeze(2), var_z, mean_c.squeeze(2), var_c
        if plan.keep:
            ctx.plan = plan
            ctx.set_materialize_grads(False)
            saved = scales, bias, scale_c, bias_c, h0, c0, z_all, u_all, invstd, invstd_c, mean_c
            ctx.save_for_backward(x, maps, weight_hh, weight_ih, *saved)
        ctx.mark_non_differentiable(*statistics)
        return output, h, c, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: torch.utils.checkpoint hands them out a single time
        with _no_autocast(saved[0].device):
            return _backward(ctx.plan, saved, ctx.needs_input_grad[0], *grads[:3])


def _backward(
    plan: _Plan,
    tensors: Sequence[Tensor],
    needs_x: bool,
    grad_output: Tensor | None,
    grad_h: Tensor | None,
    grad_c: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Eqs. (RBN.22) and following, in closed form: where a step has fixed statistics, its sums drop out."""
    x, maps, weight_hh, weight_ih, scales, bias, scale_c, bias_c, *saved = tensors
    h0, c0, z_all, u_all, invstd, invstd_c, mean_c = saved
    (time, _, batch), rows = x.shape, len(weight_hh)
    # dz = factor · grad + slope · (Σ grad z) z + level · Σ grad, and likewise for the cell
    shares = [0 if fixed else -1 / n for n, fixed in zip(plan.counts, plan.fixed, strict=True)]
    share = torch.tensor(shares, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
    factors, factors_c = scales * invstd, scale_c * invstd_c
    levels, levels_c = factors * share, factors_c * share.squeeze(3) * plan.normalize_cell
    slopes, slopes_c = levels * invstd.square(), levels_c * invstd_c.square()

    grad_x = torch.zeros_like(x) if needs_x else None
    grad_maps = None if maps is None else torch.empty_like(maps)
    sums = x.new_empty(time, rows, 1) if grad_maps is None else grad_maps[:, -1].unsqueeze(2)
    products, sums_c, products_c = torch.empty_like(invstd), torch.empty_like(mean_c), torch.empty_like(mean_c)
    grad_weight_hh, grad_weight_ih = torch.zeros_like(weight_hh), torch.zeros_like(weight_ih)
    dh, dc = (torch.zeros_like(h0) if v is None else v.clone() for v in (grad_h, grad_c))
    h = h0.clone()
    s, e, room = (torch.empty_like(dh) for _ in range(3))
    gates, grad, dz, room_z = (x.new_empty(*sizes, batch) for sizes in ((rows,), (rows,), *[scales.shape[:2]] * 2))
    small, small_c = torch.empty_like(scales), torch.empty_like(scale_c)
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    steps = _steps(time, x, maps, grad_x, grad_maps, grad_output, z_all, u_all, mean_c, factors, factors_c)
    sizes = _steps(time, levels, levels_c, slopes, slopes_c, sums, sums_c, products, products_c)
    width, transposed = -1, weight_hh.t()
    for t in range(time - 1, -1, -1):
        n = plan.counts[t]
        x_t, map_t, grad_x_t, grad_map, grad_out, z, u, _, factor, factor_c = steps[t]
        level, level_c, slope, slope_c, total, total_c, product, product_c = sizes[t]
        ended = width
        if n != width:
            width, views = n, _columns(n, dh, dc, h, s, e, room, gates, grad, dz, room_z, bias, bias_c)
            dh_t, dc_t, h_t, s_t, e_t, room_t, gates_t, grad_t, dz_t, room_z_t, bias_t, bias_c_t = views
            (i, f, g, o), (di, df, dg, do) = gates_t.chunk(4), grad_t.chunk(4)
            dz_h, dz_x, grad_transposed = dz_t[0], dz_t[-1], grad_t.t()
        if n < batch:
            x_t, z, u = _columns(n, x_t, z, u)
        _gates(z, factor, map_t, x_t, bias_t, gates_t)
        torch.addcmul(bias_c_t, u, factor_c, out=s_t).sigmoid_()
        if t < time - 1:  # what stands in dz is of the step after
            torch.addcmul(o, o, s_t, value=-2, out=h_t)
            grad_weight_hh.addmm_(dz[0, :, :ended], h[:, :ended].t())
        if grad_out is not None:
            dh_t.add_(grad_out[:n].t())
        torch.addcmul(dh_t, dh_t, s_t, value=-2, out=do)
        sigmoid_backward(torch.mul(dh_t, o, out=e_t).mul_(-2), s_t, grad_input=e_t)
        torch.sum(e_t, 1, keepdim=True, out=total_c)
        torch.sum(torch.mul(e_t, u, out=room_t), 1, keepdim=True, out=product_c)
        dc_t.addcmul_(e_t, factor_c).addcmul_(u, torch.mul(slope_c, product_c, out=small_c))
        dc_t.add_(torch.mul(level_c, total_c, out=small_c))
        before = torch.add(_columns(n, steps[t - 1][6])[0], steps[t - 1][7], out=room_t) if t else c0[:, :n]
        torch.mul(dc_t, before, out=df)
        torch.addcmul(dc_t, dc_t, g, value=-2, out=di)
        torch.mul(dc_t, i, out=dg).mul_(-2)
        dc_t.mul_(f)
        sigmoid_backward(grad_t, gates_t, grad_input=grad_t)
        if maps is None:
            torch.sum(grad_t, 1, keepdim=True, out=total)
        else:
            torch.mm(x_t, grad_transposed, out=grad_map)
        torch.sum(torch.mul(grad_t, z, out=room_z_t), 2, keepdim=True, out=product)
        torch.mul(grad_t, factor, out=dz_t).addcmul_(z, torch.mul(slope, product, out=small))
        dz_t.add_(torch.mul(level, total, out=small))
        torch.mm(transposed, dz_h, out=dh_t)
        if maps is None:
            grad_weight_ih.addmm_(dz_x, x_t.t())
        if grad_x is not None:
            source = (weight_ih.t(), dz_x) if maps is None else (map_t, grad_t)
            torch.mm(*source, out=grad_x_t[:, :n])
    grad_weight_hh.addmm_(dz[0, :, :width], h0[:, :width].t())
    grad_scales, grad_scale_c = (products * invstd).sum((0, 3)), (products_c * invstd_c).sum((0, 2))
    weights = [grad_weight_hh, None, grad_scales, None]
    if maps is None:
        weights[1::2] = grad_weight_ih, sums.sum((0, 2))
    return grad_x, grad_maps, *weights, grad_scale_c, sums_c.sum((0, 2)), dh, dc, None


def _steps(time: int, *tensors: Tensor | None) -> list[tuple[Any, ...]]:
    """The parts of every step; a tensor that has one step serves for all."""
    lists = [[None] * time if v is None else [*v.unbind()] * (time // len(v)) for v in tensors]
    return list(zip(*lists, strict=True))


def _columns(n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors if tensors[0].shape[-1] == n else tuple(tensor[..., :n] for tensor in tensors)


def _gates(z: Tensor, factor: Tensor, map: Tensor | None, x: Tensor, bias: Tensor, out: Tensor) -> None:
    """σ of the pre-activations, into `out`."""
    if map is None:
        torch.addcmul(bias, z[0], factor[0], out=out).addcmul_(z[1], factor[1]).sigmoid_()
    else:
        torch.mul(z[0], factor[0], out=out).addmm_(map.t(), x).sigmoid_()


def _recurrence(*arguments: Tensor | _Plan | None) -> tuple[Tensor, ...]:
    results: tuple[Tensor, ...] = _Recurrence.apply(*arguments)  # type: ignore[no-untyped-call]
    return results


# What torch.compiler.disable does, without the second that its import takes: the loop is no graph for a compiler.
_recurrence._torchdynamo_disable = True  # type: ignore[attr-defined]


def _no_autocast(device: torch.device) -> AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _orthogonal(like: Tensor) -> Tensor:
    """A matrix of like's shape with orthonormal rows or columns; half precision has no QR decomposition."""
    return nn.init.orthogonal_(_widen(torch.empty_like(like)))


def _check_arguments(sizes: dict[str, int], weight_init: float, eps: float, momentum: float | None) -> None:
    for name, count in sizes.items():
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise TypeError(f"{name} must be an int, got {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    for name, value in (("weight_init", weight_init), ("eps", eps), ("momentum", momentum)):
        if not (isinstance(value, Real) or (name == "momentum" and value is None)) or isinstance(value, bool):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(weight_init):
        raise ValueError(f"weight_init must be finite, got {weight_init}")
    if not (eps > 0 and math.isfinite(eps)):
        raise ValueError(f"eps must be positive and finite, got {eps}")
    if momentum is not None and not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie in [0, 1] or be None, got {momentum}")


def _check_tensor(name: str, tensor: Tensor, sizes: tuple[int | str, ...], like: Tensor) -> None:
    """Refuse another rank, another size where `sizes` holds a number, and another dtype or device than like's."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    fits = tensor.dim() == len(sizes) and all(
        want == have for want, have in zip(sizes, tensor.shape, strict=True) if not isinstance(want, str)
    )
    if not fits:
        raise ValueError(f"{name} must have shape ({', '.join(map(str, sizes))}), got {tuple(tensor.shape)}")
    if tensor.device != like.device:
        raise ValueError(f"{name} is on {tensor.device}, the parameters are on {like.device}")
    if tensor.dtype == like.dtype:
        return
    casts = torch.amp.is_autocast_available(like.device.type) and torch.is_autocast_enabled(like.device.type)
    if not casts or not tensor.is_floating_point() or torch.float64 in (tensor.dtype, like.dtype):
        raise TypeError(f"{name} is {tensor.dtype}, the parameters are {like.dtype}")
