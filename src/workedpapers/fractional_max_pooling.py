"""Fractional max-pooling: regions one or two steps apart, drawn anew, so that a picture shrinks by less than two.

Graham, "Fractional Max-Pooling", 2014 (arXiv 1412.6071). Equation tags are those of the chapter
`notebooks/fractional_max_pooling`.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

Kind = Literal["pseudorandom", "random"]
Overlap = Literal["disjoint", "square", "interval"]
Draw = Literal["batch", "image", "channel"]
Regions = tuple[Tensor, Tensor]

SLAB = 2**18  # numbers in a piece that, with the work space, a processor's cache holds: 1 MB in float32


def pooling_regions(
    n_in: int,
    n_out: int,
    *,
    kind: Kind = "pseudorandom",
    overlap: Overlap = "square",
    phase: float | None = None,
    size: Sequence[int] = (),
    generator: torch.Generator | None = None,
) -> Regions:
    """Regions along one axis: n_out intervals that cover 0 … n_in, whose starts are one or two apart.

    Pseudorandom regions start at ⌊α i + phase⌋, eq. (FMP.5) of `notebooks/fractional_max_pooling`, computed in whole
    numbers: no rounding slips. Random ones have as many steps of two, in a random order.

    Args:
        n_in, n_out: sizes before and after, n_out < n_in < 2 n_out.
        kind: "pseudorandom" or "random".
        overlap: "disjoint", a partition of 0 … n_in, α = n_in / n_out; "square", every region two wide (the author's
            code and torch's), α = (n_in − 2) / (n_out − 1); "interval", neighbours share a line (the paper's formula
            for overlapping regions), α = (n_in − 1) / n_out.
        phase: in [0, 1), of pseudorandom regions; None draws it uniformly. The sample u of
            `torch.nn.FractionalMaxPool2d` is the phase u α − ⌊u α⌋.
        size: how many independent draws; all alike if there is a phase.
        generator: of what is drawn; regions lie on its device. None for torch's own, on the CPU.
    Returns: starts and stops, half-open and counted from 0, int64, shape (*size, n_out) each.
    Raises: ValueError, TypeError: an argument outside what is listed.
    """
    _check_sizes(n_in, n_out)
    _check_choice("kind", kind, Kind)
    _check_choice("overlap", overlap, Overlap)
    steps, distance = {
        "disjoint": (n_out, n_in),
        "square": (n_out - 1, n_in - 2),
        "interval": (n_out, n_in - 1),
    }[overlap]
    device = "cpu" if generator is None else generator.device
    source: dict[str, Any] = {} if generator is None else {"generator": generator}  # torch.compile balks at None
    if kind == "random":
        if phase is not None:
            raise ValueError(f"phase {phase} is for pseudorandom regions, kind is 'random'")
        order = torch.rand(*size, steps, dtype=torch.float64, device=device, **source).argsort(-1)
        lengths = 1 + (order < distance - steps).long()
        marks = torch.cat((lengths.new_zeros(*size, 1), lengths.cumsum(-1)), -1)
    else:
        products = torch.arange(steps + 1, device=device) * distance
        # ⌊i · distance / steps + phase⌋ is one more than the quotient where the remainder reaches steps · (1 − phase).
        # A uniform phase makes each such threshold, 1 … steps, as likely as any other (FMP.9).
        if phase is None:
            threshold = torch.randint(1, steps + 1, (*size, 1), device=device, **source)
        else:
            threshold = torch.full((*size, 1), math.ceil(steps * (1 - _exact(phase))), device=device)
        marks = products // steps + (products % steps >= threshold)
    starts = marks[..., :n_out]
    stops = {"disjoint": marks[..., 1:], "square": starts + 2, "interval": marks[..., 1:] + 1}[overlap]
    return starts, stops


def fractional_max_pool2d(x: Tensor, rows: Regions, columns: Regions) -> Tensor:
    """The largest value of each region: y[…, i, j] = max of x[…, rows i, columns j], eq. (FMP.1).

    Of equal values the first in row-major order is the one that gets the gradient, and a NaN wins, as in torch. What
    is kept for the backward pass is the starts and, in two bytes an output (four in very wide pictures), how far down
    and right in its region the largest value is. Planes are worked on a few at a time.

    Args:
        x: floating point, shape (*lead, H, W).
        rows, columns: starts and stops as from `pooling_regions`, (n_out,) for all planes, or (*draws, n_out) where
            draws broadcasts against lead: for x of shape (N, C, H, W), (N, 1, n_out) is one draw per image.
    Returns: shape (*lead, n_rows, n_columns), dtype of x; differentiable any number of times by backward passes (not
        by the transforms of `torch.func`).
    Raises:
        ValueError: fewer than two dimensions; regions that are empty, leave x, do not start one after the other or
            do not broadcast. TypeError: regions that are not int64. NotImplementedError: x not floating point.
    """
    if x.dim() < 2:
        raise ValueError(f"x must have shape (*lead, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise NotImplementedError(f"x must be floating point, got {x.dtype}")
    down, right = _axis("rows", rows, x), _axis("columns", columns, x)
    y: Tensor = _Pool.apply(x, down, right)  # type: ignore[no-untyped-call]
    return y


class FractionalMaxPool2d(nn.Module):
    """Max-pooling over regions drawn anew at every call, in evaluation too: average several passes.

    Args:
        output_size: height and width after pooling, or one int for both.
        output_ratio: instead, those sizes over the ones before, in (1/2, 1); n_in · ratio is rounded to the nearest
            size that can be, eq. (FMP.17), as in the paper: 35 / √2 gives 25 (torch rounds down).
        kind, overlap: as for `pooling_regions`.
        draw: what shares one draw: the whole "batch", the channels of one "image" (the author's code), or nothing,
            "channel" (torch).
        deterministic_eval: in evaluation, regions of phase 1/2 for all instead, each start the whole number nearest
            to its mean (FMP.13).
    Shape: input (N, C, H, W) or (C, H, W) → the same with the sizes after pooling.
    Raises: ValueError, TypeError: neither or both of size and ratio, or an argument outside what is listed. Called:
        ValueError: another rank, or a size that the input's does not fit; else as `fractional_max_pool2d`.
    """

    def __init__(
        self,
        output_size: int | Sequence[int] | None = None,
        output_ratio: float | Sequence[float] | None = None,
        *,
        kind: Kind = "pseudorandom",
        overlap: Overlap = "square",
        draw: Draw = "image",
        deterministic_eval: bool = False,
    ) -> None:
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError("give either output_size or output_ratio")
        for name, choice, choices in (("kind", kind, Kind), ("overlap", overlap, Overlap), ("draw", draw, Draw)):
            _check_choice(name, choice, choices)
        self.output_size = None if output_size is None else _pair("output_size", output_size, Integral)
        self.output_ratio = None if output_ratio is None else _pair("output_ratio", output_ratio, Real)
        if self.output_size and min(self.output_size) < 2:
            raise ValueError(f"output_size must be at least 2, got {output_size}")
        if self.output_ratio and not all(0.5 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must lie in (1/2, 1), got {output_ratio}")
        self.kind, self.overlap, self.draw = kind, overlap, draw
        self.deterministic_eval = deterministic_eval

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        size = f"output_size={self.output_size}" if self.output_size else f"output_ratio={self.output_ratio}"
        return (
            f"{size}, kind={self.kind!r}, overlap={self.overlap!r}, draw={self.draw!r}, "
            f"deterministic_eval={self.deterministic_eval}"
        )

    def forward(self, input: Tensor) -> Tensor:
        """Pool over new regions, drawn by torch's generator on the CPU whatever the input's device."""
        if input.dim() not in (3, 4):
            raise ValueError(f"expected 3D or 4D input (got {input.dim()}D input)")
        fixed = self.deterministic_eval and not self.training
        kind: Kind = "pseudorandom" if fixed else self.kind
        draws = {"batch": (), "image": (*input.shape[:-3], 1), "channel": input.shape[:-2]}[self.draw]
        rows, columns = (
            pooling_regions(
                n_in,
                n_out,
                kind=kind,
                overlap=self.overlap,
                phase=0.5 if fixed else None,
                size=() if fixed else draws,
            )
            for n_in, n_out in zip(input.shape[-2:], self._sizes(input), strict=True)
        )
        return fractional_max_pool2d(input, rows, columns)

    def _sizes(self, input: Tensor) -> tuple[int, ...]:
        if self.output_size:
            return self.output_size
        ratios = self.output_ratio or ()
        nearest = [math.floor(n_in * ratio + 0.5) for n_in, ratio in zip(input.shape[-2:], ratios, strict=True)]
        return tuple(
            min(max(n_out, n_in // 2 + 1), n_in - 1) for n_in, n_out in zip(input.shape[-2:], nearest, strict=True)
        )


class _Axis(NamedTuple):
    """Regions along the rows or columns of planes, on their device.

    Attributes:
        starts, sizes: shape (*draws, n_out).
        most: the largest size.
        equal: whether all sizes are.
        dim: -2 for rows, -1 for columns.
        stride: from one place of a plane to the next along this axis, where places are numbered row by row.
    """

    starts: Tensor
    sizes: Tensor
    most: int
    equal: bool
    dim: int
    stride: int


def _axis(name: str, regions: Regions, x: Tensor) -> _Axis:
    """Regions along the rows or columns of x, checked, on x's device."""
    starts, stops = regions
    if starts.dtype != torch.int64 or stops.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {starts.dtype} and {stops.dtype}")
    if starts.shape != stops.shape or starts.dim() == 0 or not starts.shape[-1]:
        shapes = f"{tuple(starts.shape)} and {tuple(stops.shape)}"
        raise ValueError(f"{name} must be starts and stops of one shape (*draws, n_out), got {shapes}")
    draws, lead = starts.shape[:-1], x.shape[:-2]
    if len(draws) > len(lead) or any(a not in (1, b) for a, b in zip(draws[::-1], lead[::-1], strict=False)):
        raise ValueError(f"{name}: draws {tuple(draws)} do not broadcast against {tuple(lead)}")
    dim = -2 if name == "rows" else -1
    n_in = x.shape[dim]
    if (starts < 0).any() or (stops > n_in).any() or (stops <= starts).any():
        raise ValueError(f"{name} must be intervals, start below stop, within 0 … {n_in}")
    if (starts.diff() <= 0).any():
        raise ValueError(f"{name} must start one after the other")
    sizes = stops - starts
    most = int(sizes.max()) if sizes.numel() else 1
    equal = not (sizes < most).any()
    return _Axis(starts.to(x.device), sizes.to(x.device), most, equal, dim, x.shape[-1] if dim == -2 else 1)


class _Pool(torch.autograd.Function):
    """Every place is pooled as if a region started there (FMP.15): that needs no index, neighbours are the same numbers
    read further on. Then each region that there is looks up the row of its value, the column there, and the value.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: _Axis, right: _Axis) -> Tensor:
        planes = _fold(x.flatten(-2))
        y = x.new_empty(*x.shape[:-2], down.starts.shape[-1], right.starts.shape[-1])
        furthest = (down.most - 1) * down.stride + right.most - 1
        offsets = torch.empty(y.shape, dtype=torch.int16 if furthest < 2**15 else torch.int32, device=x.device)
        rows, columns = (_fold_draws(axis.starts, x.shape[:-2]) for axis in (down, right))
        # Offsets are computed in x's own kind of number where that has room for them; half never has.
        scale = torch.float32 if furthest < 2**24 and x.dtype != torch.float64 else torch.float64
        work: list[Tensor] = []
        for slab in _slabs(planes):
            inputs, values, offset = (_cut(t, slab) for t in (planes, _fold(y.flatten(-2)), _fold(offsets.flatten(-2))))
            if not work:  # used again for each slab: new memory would cost more than the arithmetic
                work = [torch.empty_like(inputs, dtype=dtype) for dtype in 3 * [x.dtype] + 3 * [scale]]
                outs = [torch.empty_like(values, dtype=dtype) for dtype in (torch.int64, scale, scale)]
            here = tuple(slice(count) for count in inputs.shape[:2])
            in_row, in_region, within, to_right, to_below, spare = (space[here] for space in work)
            places, below, beside = (space[here] for space in outs)
            has_nan = x.device.type != "cpu" or bool(inputs.amax().isnan())
            _largest_from(inputs, right, _caps(right, x, slab), has_nan, in_row, to_right, spare, within, last=False)
            _largest_from(in_row, down, _caps(down, x, slab), has_nan, in_region, to_below, spare, within, last=True)
            starts = _first_places(_cut(rows, slab), _cut(columns, slab), down.stride).expand(values.shape)
            torch.gather(to_below, -1, starts, out=below).mul_(down.stride)
            torch.gather(to_right, -1, places.copy_(below).add_(starts), out=beside)
            offset.copy_(beside.add_(below))
            torch.gather(inputs, -1, places.copy_(beside).add_(starts), out=values)
        ctx.save_for_backward(down.starts, right.starts, offsets)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Route.apply(grad, *ctx.saved_tensors, ctx.shape), None, None  # type: ignore[no-untyped-call]


class _Route(torch.autograd.Function):
    """The gradient of every output, added to the place of its value in the order of the outputs, eq. (FMP.16)."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, rows: Tensor, columns: Tensor, offsets: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(rows, columns, offsets)
        ctx.shape = shape
        grad_x = grad.new_zeros(shape)
        planes, sources, steps = (_fold(tensor.flatten(-2)) for tensor in (grad_x, grad, offsets))
        rows, columns = (_fold_draws(starts, shape[:-2]) for starts in (rows, columns))
        places = None
        for slab in _slabs(planes):
            step = _cut(steps, slab)
            places = torch.empty_like(step, dtype=torch.int64) if places is None else places
            first = _first_places(_cut(rows, slab), _cut(columns, slab), shape[-1])
            here = places[: step.shape[0], : step.shape[1]].copy_(step).add_(first)
            _cut(planes, slab).scatter_add_(-1, here, _cut(sources, slab))
        return grad_x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *starts, offsets = ctx.saved_tensors
        rows, columns = (_fold_draws(start, ctx.shape[:-2]) for start in starts)
        places = _fold(offsets.flatten(-2)) + _first_places(rows, columns, ctx.shape[-1])
        return _fold(grad.flatten(-2)).gather(-1, places).view(offsets.shape), None, None, None, None


def _fold(x: Tensor) -> Tensor:
    """(*lead, n) → (all leading dimensions but the last, the last, n)."""
    lead = (1, 1, *x.shape[:-1])
    return x.reshape(math.prod(lead[:-1]), *lead[-1:], x.shape[-1])


def _fold_draws(draws: Tensor, lead: torch.Size) -> Tensor:
    """(*draws, n) → as `_fold`, but ones where all planes share a draw."""
    shared = [1] * (len(lead) + 1 - draws.dim()) + list(draws.shape)
    if math.prod(shared[:-2]) > 1:
        shared[:-2] = lead[:-1]
    return _fold(draws.expand(shared))


def _first_places(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Where in its plane each region starts, from folded starts of rows and columns."""
    return (rows.unsqueeze(-1) * width + columns.unsqueeze(-2)).flatten(-2)


def _caps(axis: _Axis, x: Tensor, slab: tuple[slice, slice]) -> list[Tensor]:
    """For unequal regions, what a value may be at most that is 1, 2 … strides on from a place.

    ∞ where the region that starts at the place goes so far, else −∞.
    """
    if axis.equal:
        return []
    starts, sizes = (_cut(_fold_draws(draws, x.shape[:-2]), slab) for draws in (axis.starts, axis.sizes))
    by_place = sizes.new_zeros(*sizes.shape[:2], x.shape[axis.dim]).scatter_(-1, starts, sizes)
    by_place = by_place.unsqueeze(-1 if axis.dim == -2 else -2)
    return [
        torch.where(by_place > k, math.inf, -math.inf).to(x.dtype).expand(-1, -1, *x.shape[-2:]).flatten(-2)
        for k in range(1, axis.most)
    ]


def _cut(folded: Tensor, slab: tuple[slice, slice]) -> Tensor:
    """A slab of what belongs to all planes, or what they share."""
    for dim, part in enumerate(slab):
        if folded.shape[dim] > 1:
            folded = folded[(slice(None),) * dim + (part,)]
    return folded


def _largest_from(
    x: Tensor,
    axis: _Axis,
    caps: list[Tensor],
    has_nan: bool,
    best: Tensor,
    choice: Tensor,
    spare: Tensor,
    within: Tensor,
    last: bool,
) -> None:
    """From every place on, along an axis, the largest value of a region, `best`, and how far on it is, `choice`.

    Along the last axis nobody asks for `best` any more.
    """
    alone = x.shape[-1] - axis.stride if axis.most > 1 else 0  # from there on, a place has none after it
    best[..., alone:] = x[..., alone:]
    choice[..., alone:] = 0
    for k in range(1, axis.most):
        end = x.shape[-1] - k * axis.stride
        candidates, found = x[..., -end:], (x if k == 1 else best)[..., :end]
        larger = (choice if k == 1 else spare)[..., :end]  # 0 or 1 in a floating dtype: five times faster than bool
        if caps:  # −inf in place of what lies beyond the region
            cap, capped = caps[k - 1][..., :end], within[..., :end]
            if has_nan:  # the minimum of −inf and NaN would be NaN
                candidates = torch.where(cap > 0, candidates, cap, out=capped)
            else:
                candidates = torch.minimum(candidates, cap, out=capped)
        torch.gt(candidates, found, out=larger)
        if has_nan:
            torch.maximum(larger, (candidates != candidates).to(larger), out=larger)
        if not last or k + 1 < axis.most:
            torch.maximum(candidates, found, out=best[..., :end])
        if k > 1:
            torch.maximum(choice[..., :end], larger.mul_(k), out=choice[..., :end])


def _slabs(planes: Tensor) -> Iterator[tuple[slice, slice]]:
    """Some planes of a folded tensor after the other: as many as a processor's cache, or part of a device, holds."""
    if planes.numel():
        fit = max(1, (SLAB if planes.device.type == "cpu" else 128 * SLAB) // planes.shape[-1])
        many, few = max(1, fit // planes.shape[1]), min(fit, planes.shape[1])
        for start in range(0, planes.shape[0], many):
            for place in range(0, planes.shape[1], few):
                yield slice(start, start + many), slice(place, place + few)


def _check_sizes(n_in: int, n_out: int) -> None:
    for name, count in (("n_in", n_in), ("n_out", n_out)):
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise TypeError(f"{name} must be an int, got {count!r}")
    if n_in < 3:
        raise ValueError(f"n_in must be at least 3, got {n_in}: steps of 1 and 2 leave no size to pool to")
    if not n_out < n_in < 2 * n_out:
        fits = f"[{n_in // 2 + 1}, {n_in - 1}]"
        raise ValueError(f"n_out {n_out} does not fit n_in {n_in}: every step is 1 or 2, so it must lie in {fits}")


def _check_choice(name: str, choice: str, choices: Any) -> None:
    if choice not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")


def _exact(phase: float) -> Fraction:
    if not isinstance(phase, Real) or isinstance(phase, bool):
        raise TypeError(f"phase must be a number, got {phase!r}")
    if not 0 <= float(phase) < 1:  # a fraction just below 1 may round to it
        raise ValueError(f"phase must lie in [0, 1), got {phase}")
    return Fraction(float(phase))


def _pair(name: str, value: Any, number: type) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(part, number) and not isinstance(part, bool) for part in pair):
        raise TypeError(f"{name} must be one or two numbers ({number.__name__.lower()}), got {value!r}")
    return pair[0], pair[1]
