"""Functions drawn from a Gaussian process, and what is best said about their next value.

Values are noisy: y = f(x) + noise · ε. The kernel is variance · exp(−|x − x'|² / 2 length_scale²).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..lab.bars import progress

#: What a learned kernel may be: length scale, variance, noise.
BOUNDS = ((0.05, 20.0), (0.01, 100.0), (0.01, 2.0))


class Kernel(NamedTuple):
    """A kernel and the noise, each a positive number, or one for each function, shape (batch,).

    Attributes:
        length_scale: in the units of the inputs.
        variance: of f(x).
        noise: the standard deviation of y around f(x).
    """

    length_scale: Tensor | float
    variance: Tensor | float = 1.0
    noise: Tensor | float = 0.1


class Points(NamedTuple):
    """Points of some functions, in the order in which they are shown.

    Attributes:
        x: float64, (length, batch, dims).
        y: float64, (length, batch).
    """

    x: Tensor
    y: Tensor


def covariance(x: Tensor, kernel: Kernel) -> Tensor:
    """Of the noisy values at some inputs.

    Args: x: (length, batch, dims).
    Returns: (batch, length, length).
    """
    x = x.movedim(1, 0)
    squares = (x.unsqueeze(2) - x.unsqueeze(1)).square().sum(-1)
    length_scale, variance, noise = (torch.as_tensor(value, dtype=x.dtype, device=x.device) for value in kernel)
    smooth = (-0.5 * squares / length_scale[..., None, None].square()).exp()
    eye = torch.eye(len(squares[0]), dtype=x.dtype, device=x.device)
    return variance[..., None, None] * smooth + noise[..., None, None].square() * eye


def draw_functions(
    batch: int, length: int, dims: int, kernel: Kernel, *, generator: torch.Generator | None = None
) -> Points:
    """Functions at random, seen at inputs that are uniform in the cube from −1 to 1.

    Args:
        batch, length, dims: functions, points of each, dimensions of the cube.
        kernel: of the process.
        generator: of the draws, on the CPU.
    Raises: ValueError: a count below one.
    """
    if min(batch, length, dims) < 1:
        raise ValueError(f"batch, length and dims must be at least 1, got {batch}, {length} and {dims}")
    x = 2 * torch.rand(length, batch, dims, generator=generator, dtype=torch.float64) - 1
    noise = torch.randn(batch, length, 1, generator=generator, dtype=torch.float64)
    return Points(x, (torch.linalg.cholesky(covariance(x, kernel)) @ noise).squeeze(-1).t())


def predictive(points: Points, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Mean and variance of each value given the values before it, by one factorisation.

    With K = L Lᵀ and y = L z, the mean of y_t is Σ_{s<t} L_ts z_s and its variance L_tt².

    Returns: mean and variance, each of shape (length, batch).
    """
    factor = torch.linalg.cholesky(covariance(points.x, kernel))
    z = torch.linalg.solve_triangular(factor, points.y.t().unsqueeze(-1), upper=False)
    mean = (factor.tril(-1) @ z).squeeze(-1)
    return mean.t(), factor.diagonal(dim1=-2, dim2=-1).square().t()


def negative_log_density(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """−log of the normal density at y, in nats; shapes broadcast."""
    return 0.5 * ((y - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi))


def evidence(points: Points, kernel: Kernel) -> Tensor:
    """−log p(y) of each function, (batch,): the sum of what `predictive` pays."""
    mean, variance = predictive(points, kernel)
    return negative_log_density(points.y, mean, variance.log()).sum(0)


def fit_kernel(points: Points, start: Kernel, steps: int, *, around: Kernel | None = None, rate: float = 0.1) -> Kernel:
    """Type-II maximum likelihood: Adam on the logarithms of length scale, variance and noise, within `BOUNDS`.

    Args:
        points: what is known.
        start: where Adam starts. Entries of shape (batch,): a kernel for each function; of one element: one for all.
        steps, rate: of Adam, whose state starts anew.
        around: where given, each logarithm has a normal prior of standard deviation one around that of this kernel.
    Returns: entries of the shapes of those of `start`, without gradient.
    """
    low, high = torch.tensor(BOUNDS, dtype=points.y.dtype, device=points.y.device).log().unbind(1)
    logs = [torch.as_tensor(value).to(points.y).log().detach().clone().requires_grad_() for value in start]
    centre = [torch.as_tensor(value).to(points.y).log() for value in around or ()]
    optimizer = torch.optim.Adam(logs, lr=rate)
    for _ in range(steps):
        loss = evidence(points, Kernel(*(value.exp() for value in logs))).sum()
        if around:
            loss = loss + sum((0.5 * (value - mean).square()).sum() for value, mean in zip(logs, centre, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for value, least, most in zip(logs, low, high, strict=True):
                value.clamp_(least, most)
    return Kernel(*(value.detach().exp() for value in logs))


def learned_predictive(
    points: Points, start: Kernel, steps: int, *, around: Kernel | None = None
) -> tuple[Tensor, Tensor]:
    """As `predictive`, with a kernel that is learned from the values before, anew after each point.

    Args: start: before the first point; steps, around: of `fit_kernel`, which goes on from the kernel before.
    """
    batch = points.y.shape[1]
    kernel = Kernel(*(torch.as_tensor(value).to(points.y).expand(batch) for value in start))
    found = []
    for seen in progress(range(len(points.y)), "learned kernel"):
        if seen:
            kernel = fit_kernel(Points(points.x[:seen], points.y[:seen]), kernel, steps, around=around)
        found.append([part[-1] for part in predictive(Points(points.x[: seen + 1], points.y[: seen + 1]), kernel)])
    mean, variance = zip(*found, strict=True)
    return torch.stack(mean), torch.stack(variance)
