"""Does the variance matter? A mixture of three normals is fitted to three bumps, near together or far apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.mixture_gradients import MixtureNormal

from .estimators import ESTIMATORS, mean_surrogate


@dataclass(frozen=True)
class Fit:
    """One configuration; the seed draws the bumps as well.

    Args:
        estimator: of `ESTIMATORS`.
        apart: distance of the bumps' centres from their middle; each is about 0.8 wide.
        evaluations: of the cost, for each step.
        learning_rate: of Adam.
        max_norm: the norm that the gradient is cut to, if any.
        steps: of Adam.
    """

    estimator: str = "leibniz"
    apart: float = 1.25
    evaluations: int = 48
    learning_rate: float = 0.03
    max_norm: float | None = None
    steps: int = 250


def bumps(apart: float, generator: torch.Generator) -> MixtureNormal:
    """Three normals around the origin, turned by a random angle, with random widths and weights."""
    angles = 2 * math.pi * (torch.arange(3) / 3 + torch.rand(1, generator=generator))
    loc = apart * torch.stack((angles.cos(), angles.sin()), -1)
    scale = 0.6 + 0.4 * torch.rand(3, 2, generator=generator)
    return MixtureNormal(0.5 * torch.randn(3, generator=generator), loc, scale)


def fit(config: Fit, seed: int, device: torch.device) -> dict[str, object]:
    """Fit by stochastic gradients of E_q[log q − log p]; the means start halfway to their bumps, the widths at one.

    Returns: `divergence`: Kullback–Leibler divergence from q to the bumps at the end, in nats, on a grid; `start`: at
        the start; `largest`: the largest norm of a gradient over the median one.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        generator = torch.Generator().manual_seed(seed)
        drawn = bumps(config.apart, generator)
        target = MixtureNormal(*(getattr(drawn, name).to(device) for name in ("logits", "loc", "scale")))
        torch.manual_seed(seed)
        free = [torch.zeros(3), drawn.loc / 2, torch.zeros(3, 2)]
        free = [value.to(device).requires_grad_() for value in free]
        optimizer = torch.optim.Adam(free, lr=config.learning_rate)
        axis = torch.linspace(-9, 9, 121, device=device)
        plane, cell = torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2
        log_p = target.log_prob(plane)

        def divergence() -> float:
            with torch.no_grad():
                log_q = MixtureNormal(free[0], free[1], free[2].exp(), validate_args=False).log_prob(plane)
                return float((log_q.exp() * (log_q - log_p)).sum()) * cell

        def cost(x: Tensor, q: MixtureNormal) -> Tensor:
            return q.log_prob(x) - target.log_prob(x)

        start, norms = divergence(), []
        for _ in range(config.steps):
            q = MixtureNormal(free[0], free[1], free[2].exp(), validate_args=False)
            loss = mean_surrogate(config.estimator, q, cost, evaluations=config.evaluations)
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(free, config.max_norm or math.inf)))
            optimizer.step()
        return {
            "divergence": divergence(),
            "start": start,
            "largest": max(norms) / sorted(norms)[len(norms) // 2],
        }


def fits(arms: Sequence[Fit], seeds: Sequence[int]) -> Experiment[Fit]:
    """A table of the scale "book"."""
    return Experiment("mixture_gradients_fits", Fit, fit, {"book": arms}, {"book": seeds})


APART = (1.25, 2.5, 3.75)
MAX_NORM = 1.0
RATES = (0.0125, 0.025, 0.05, 0.1, 0.2)


def searched_fits(best: Mapping[Fit, float]) -> Experiment[Fit]:
    """The search: the rate of every arm by the mean divergence over ten seeds that no table of results has.

    Args:
        best: what it chose; at an end of `RATES` the search goes on by a factor of two.
    """
    arms = [
        replace(arm, learning_rate=rate)
        for arm, chosen in best.items()
        for rate in sorted({*RATES, *((chosen / 2, 2 * chosen) if not RATES[0] < chosen < RATES[-1] else ())})
    ]
    return fits(arms, range(100, 110))


#: What `SEARCH_FITS` chose, for each distance.
FIT_RATES = {
    ("leibniz", None): (0.0125, 0.0125, 0.0125),
    ("rule + trick", None): (0.0125, 0.0125, 0.0125),
    ("responsibilities", None): (0.0125, 0.0125, 0.0125),
    ("one-hot", None): (0.0125, 0.0125, 0.0125),
    ("all components", None): (0.0125, 0.0125, 0.025),
    ("leibniz", MAX_NORM): (0.0125, 0.0125, 0.0125),
    ("rule + trick", MAX_NORM): (0.0125, 0.0125, 0.0125),
}
TUNED_FITS = {
    Fit(estimator, apart, max_norm=max_norm): rate
    for (estimator, max_norm), rates in FIT_RATES.items()
    for apart, rate in zip(APART, rates, strict=True)
}
SEARCH_FITS = searched_fits(TUNED_FITS)
FITS = fits([replace(arm, learning_rate=rate) for arm, rate in TUNED_FITS.items()], range(10))
CHECK_FITS = Experiment(
    "mixture_gradients_fits",
    Fit,
    fit,
    {"check": [Fit(estimator, evaluations=6, steps=10, max_norm=0.5) for estimator in ESTIMATORS]},
    {"check": range(1)},
)
