"""Fractional max-pooling: regions one or two steps apart, drawn anew, so that a picture shrinks by less than two.

Graham, "Fractional Max-Pooling", 2014 (arXiv 1412.6071). Equation tags are those of
`notebooks/fractional_max_pooling`, and from FMP.15 on of `notebooks/fractional_max_pooling_theory`.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    for name, count in (("n_in", n_in), ("n_out", n_out)):
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise TypeError(f"{name} must be an int, got {count!r}")
    _check_choice("kind", kind, Kind)
    _check_choice("overlap", overlap, Overlap)
    if kind == "random" and phase is not None:
        raise ValueError(f"phase {phase} is for pseudorandom regions, kind is 'random'")
    ratio = None if phase is None else _exact(phase)
    starts, most, sizes = _draw(n_in, n_out, kind, overlap, ratio, size, generator)
    return starts, starts + (most if sizes is None else sizes)


def _draw(
    n_in: int,
    n_out: int,
    kind: Kind,
    overlap: Overlap,
    phase: tuple[int, int] | None,
    size: Sequence[int],
    generator: torch.Generator | None = None,
) -> "_Axis":
    """Regions as `pooling_regions` describes them, of a phase that is a numerator and a denominator."""
    if n_in < 3:
        raise ValueError(f"n_in must be at least 3, got {n_in}: steps of 1 and 2 leave no size to pool to")
    if not n_out < n_in < 2 * n_out:
        fits = f"[{n_in // 2 + 1}, {n_in - 1}]"
        raise ValueError(f"n_out {n_out} does not fit n_in {n_in}: every step is 1 or 2, so it must lie in {fits}")
    steps, distance = {
        "disjoint": (n_out, n_in),
        "square": (n_out - 1, n_in - 2),
        "interval": (n_out, n_in - 1),
    }[overlap]
    device = "cpu" if generator is None else generator.device
    source: dict[str, Any] = {} if generator is None else {"generator": generator}  # torch.compile balks at None
    if kind == "random":
        order = torch.rand(*size, steps, dtype=torch.float64, device=device, **source).argsort(-1)
        lengths = 1 + (order < distance - steps).long()
        marks = torch.cat((lengths.new_zeros(*size, 1), lengths.cumsum(-1)), -1)
    else:
        # ⌊i · distance / steps + phase⌋ is one more than the quotient where the remainder reaches steps · (1 − phase).
        # A uniform phase makes each such threshold, 1 … steps, as likely as any other (FMP.15).
        if phase is None:
            threshold = torch.randint(1, steps + 1, size, device=device, **source)
        else:
            threshold = torch.full(size, steps - steps * phase[0] // phase[1], device=device)
        products = torch.arange(0, steps * distance + 1, distance, device=device).view(-1, *[1] * len(size))
        marks = (products // steps + (products % steps >= threshold)).movedim(0, -1)
    if overlap == "square":
        return _Axis(marks, 2)
    starts, sizes = marks[..., :-1], marks.diff()
    return _Axis(starts, 2, sizes) if overlap == "disjoint" else _Axis(starts, 3, sizes + 1)


def fractional_max_pool2d(x: Tensor, rows: Regions, columns: Regions) -> Tensor:
    """The largest value of each region: y[…, i, j] = max of x[…, rows i, columns j], eq. (FMP.1).

    Of equal values the first in row-major order is the one that gets the gradient, and a NaN wins, as in torch. What
    is kept for the backward pass is the place of each value in its plane: two bytes an output, four in planes of more
    than 2¹⁵ places. Planes are worked on a few at a time.

    Values and gradients are those of `torch.nn.FractionalMaxPool2d` bit by bit where the starts are the same: squares,
    a draw for each channel, for every sample u of torch the phase u α − ⌊u α⌋. torch computes starts in its samples'
    kind of number: in float32 one differs from exact arithmetic now and then (93 → 74: in a few of 20,000 draws).
    And in half precision it rounds the gradients that meet at one place one by one, here their sum is rounded once.

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
    return _pool(x, _axis("rows", rows, x), _axis("columns", columns, x))


class FractionalMaxPool2d(nn.Module):
    """Max-pooling over regions drawn anew at every call, in evaluation too: average several passes.

    Args:
        output_size: height and width after pooling, or one int for both.
        output_ratio: instead, those sizes over the ones before, in (1/2, 1); n_in · ratio is rounded to the nearest
            size that can be, eq. (FMP.11), as in the paper: 35 / √2 gives 25 (torch rounds down).
        kind, overlap: as for `pooling_regions`.
        draw: what shares one draw: the whole "batch", the channels of one "image" (the author's code), or nothing,
            "channel" (torch).
        deterministic_eval: in evaluation, regions of phase 1/2 for all instead, each start the whole number nearest
            to its mean (FMP.8).
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
        phase, size = ((1, 2), ()) if fixed else (None, draws)
        rows, columns = (
            _draw(n_in, n_out, kind, self.overlap, phase, size)
            for n_in, n_out in zip(input.shape[-2:], self._sizes(input), strict=True)
        )
        return _pool(input, rows, columns)

    def _sizes(self, input: Tensor) -> tuple[int, ...]:
        if self.output_size:
            return self.output_size
        return tuple(
            min(max(math.floor(n_in * ratio + 0.5), n_in // 2 + 1), n_in - 1)
            for n_in, ratio in zip(input.shape[-2:], self.output_ratio or (), strict=True)
        )


class _Axis(NamedTuple):
    """Regions along the rows or columns: starts, (*draws, n_out); the largest size; all sizes where they differ."""

    starts: Tensor
    most: int
    sizes: Tensor | None = None

    def by_plane(self, x: Tensor) -> "_Axis":
        """On the device of x, (n_out, planes), or (n_out, 1) where all planes share a draw."""

        def by_plane(part: Tensor) -> Tensor:
            n_out = part.shape[-1]
            if part.numel() > n_out:
                part = part.expand(*x.shape[:-2], n_out)
            return part.movedim(-1, 0).reshape(n_out, -1).to(x.device)

        return _Axis(by_plane(self.starts), self.most, None if self.sizes is None else by_plane(self.sizes))

    def of(self, planes: slice) -> "_Axis":
        """Those of some planes."""
        if self.starts.shape[1] == 1:
            return self
        return _Axis(self.starts[:, planes], self.most, None if self.sizes is None else self.sizes[:, planes])

    def caps(self, shape: tuple[int, int, int], dim: int, dtype: torch.dtype) -> list[Tensor]:
        """For (planes, H, W) laid end to end, what a value may be at most that is 1, 2 … steps on from a place.

        ∞ where the region that starts at the place goes so far, else −∞. Nothing where all regions have one size.
        """
        if self.sizes is None:
            return []
        sizes = self.sizes.new_zeros(self.sizes.shape[1], shape[dim]).scatter(-1, self.starts.t(), self.sizes.t())
        sizes = sizes.unsqueeze(-1 if dim == -2 else -2)
        caps = (torch.where(sizes > k, math.inf, -math.inf).to(dtype) for k in range(1, self.most))
        return [cap.expand(shape).reshape(-1) for cap in caps]


def _axis(name: str, regions: Regions, x: Tensor) -> _Axis:
    """Regions along the rows or columns of x, checked."""
    starts, stops = regions
    if starts.dtype != torch.int64 or stops.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {starts.dtype} and {stops.dtype}")
    if starts.shape != stops.shape or starts.dim() == 0 or not starts.shape[-1]:
        shapes = f"{tuple(starts.shape)} and {tuple(stops.shape)}"
        raise ValueError(f"{name} must be starts and stops of one shape (*draws, n_out), got {shapes}")
    draws, lead = starts.shape[:-1], x.shape[:-2]
    if len(draws) > len(lead) or any(a not in (1, b) for a, b in zip(draws[::-1], lead[::-1], strict=False)):
        raise ValueError(f"{name}: draws {tuple(draws)} do not broadcast against {tuple(lead)}")
    n_in = x.shape[-2 if name == "rows" else -1]
    if (starts < 0).any() or (stops > n_in).any() or (stops <= starts).any():
        raise ValueError(f"{name} must be intervals, start below stop, within 0 … {n_in}")
    if (starts.diff() <= 0).any():
        raise ValueError(f"{name} must start one after the other")
    sizes = stops - starts
    most = int(sizes.max()) if sizes.numel() else 1
    return _Axis(starts, most, sizes if (sizes < most).any() else None)


def _pool(x: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """`fractional_max_pool2d` over regions that need no check."""
    if not x.is_floating_point():
        raise NotImplementedError(f"x must be floating point, got {x.dtype}")
    height, width = x.shape[-2:]
    planes = x.reshape(math.prod(x.shape[:-2]), height * width)
    rows, columns = rows.by_plane(x), columns.by_plane(x)
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_compiling():  # the same, in one piece and without a look at the values
        y = planes.gather(-1, _places(planes.detach(), (height, width), rows, columns, True).long())
    else:
        y = _Pool.apply(planes, (height, width), rows, columns)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-2], rows.starts.shape[0], columns.starts.shape[0])


class _Pool(torch.autograd.Function):
    """The value of every region of planes, (planes, H · W) to (planes, regions). All that is kept is their places."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, shape: tuple[int, int], rows: _Axis, columns: _Axis) -> Tensor:
        y = planes.new_empty(planes.shape[0], rows.starts.shape[0] * columns.starts.shape[0])
        places = torch.empty_like(y, dtype=_small(planes.shape[1]))
        on_cpu = planes.device.type == "cpu"
        fit = max(1, (SLAB if on_cpu else 128 * SLAB) // max(1, planes.shape[1]))
        for start in range(0, planes.shape[0], fit):
            part = slice(start, start + fit)
            some = planes[part]
            has_nan = not on_cpu or bool(some.amax().isnan())
            places[part] = found = _places(some, shape, rows.of(part), columns.of(part), has_nan)
            torch.gather(some, -1, found.long(), out=y[part])
        ctx.save_for_backward(places)
        ctx.size = planes.shape[1]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of every output, added to the place of its value in the order of the outputs, eq. (FMP.10)."""
        (places,) = ctx.saved_tensors
        grad_planes = grad.new_zeros(places.shape[0], ctx.size).scatter_add_(-1, places.long(), grad)
        return grad_planes, None, None, None


def _small(size: int) -> torch.dtype:
    """The smallest whole numbers that count the places of a plane."""
    return torch.int16 if size <= 2**15 else torch.int32 if size <= 2**31 else torch.int64


def _places(planes: Tensor, shape: tuple[int, int], rows: _Axis, columns: _Axis, has_nan: bool) -> Tensor:
    """Where in its plane the largest value of every region is, (planes, regions).

    Every place is pooled as if a region started there (FMP.9): that needs no index, neighbours are the same numbers
    read further on, in all planes laid end to end. Then each region that there is looks up its own place.
    """
    (count, size), (_, width) = planes.shape, shape
    # Places are computed in the planes' own kind of number where that has room for them; half never has.
    exact = torch.float32 if size <= 2**24 and planes.dtype != torch.float64 else torch.float64
    where = torch.arange(size, dtype=exact, device=planes.device).expand(count, size).reshape(-1)
    caps = columns.caps((count, *shape), -1, planes.dtype)
    best, where = _largest_from(planes.reshape(-1), where, 1, columns.most, caps, has_nan)
    caps = rows.caps((count, *shape), -2, planes.dtype)
    _, where = _largest_from(best, where, width, rows.most, caps, has_nan, last=True)
    found = torch.empty(count * size, dtype=_small(size), device=planes.device)
    found[: where.shape[0]] = where  # no region starts at the others
    starts = (rows.starts.unsqueeze(1) * width + columns.starts).flatten(0, 1).t().expand(count, -1)
    return found.view(count, size).gather(-1, starts)


def _largest_from(
    values: Tensor, places: Tensor, stride: int, most: int, caps: list[Tensor], has_nan: bool, last: bool = False
) -> tuple[Tensor, Tensor]:
    """From every place on, along an axis, the largest value of a region and its place.

    Places at the end are left out if no region can start there. The last axis has no need of the values.
    """
    reach = (most - 1) * stride
    if caps:  # regions that end early may start anywhere
        values, places = F.pad(values, (0, reach)), F.pad(places, (0, reach))
    count = values.shape[0] - reach
    best, where = values[:count], places[:count]
    for k in range(1, most):
        candidates, there = values[k * stride :][:count], places[k * stride :][:count]
        if caps:  # −∞ in place of what lies beyond the region; the minimum of −∞ and NaN would be NaN
            cap = caps[k - 1][:count]
            candidates = torch.where(cap > 0, candidates, cap) if has_nan else torch.minimum(candidates, cap)
        larger = torch.empty_like(where)
        torch.gt(candidates, best, out=larger)  # 0 or 1 in a floating dtype: five times faster than bool
        if has_nan:
            larger = torch.maximum(larger, (candidates != candidates).to(larger))
        where = torch.lerp(where, there, larger)
        if not last or k + 1 < most:
            best = torch.maximum(candidates, best)
    return best, where


def _check_choice(name: str, choice: str, choices: Any) -> None:
    if choice not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")


def _exact(phase: float) -> tuple[int, int]:
    if not isinstance(phase, Real) or isinstance(phase, bool):
        raise TypeError(f"phase must be a number, got {phase!r}")
    if not 0 <= float(phase) < 1:  # a fraction just below 1 may round to it
        raise ValueError(f"phase must lie in [0, 1), got {phase}")
    return float(phase).as_integer_ratio()


def _pair(name: str, value: Any, number: type) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(part, number) and not isinstance(part, bool) for part in pair):
        raise TypeError(f"{name} must be one or two numbers ({number.__name__.lower()}), got {value!r}")
    return pair[0], pair[1]
