"""How large is the variance? Four estimators over mixtures that are drawn at random."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.mixture_gradients import MixtureNormal

from .estimators import PARAMETERS, Cost, parameters_of, surrogate

#: Of two that share their draws for the logits and for the rest, "rule + trick" is not measured by itself.
MAPPED = ("leibniz", "responsibilities", "one-hot", "all components")
COSTS: dict[str, Cost] = {
    "cos": lambda x, _: torch.cos(x.sum(-1) + 0.3),
    "linear": lambda x, _: x.sum(-1),
    "square": lambda x, _: x.square().sum(-1),
}


@dataclass(frozen=True)
class Map:
    """A family of mixtures drawn at random; the seed is the draw.

    Args:
        components, dimensions: K and D.
        separation: standard deviation of the means in every coordinate; scales are uniform in 0.5 … 1.5, logits normal
            with standard deviation 0.5.
        cost: of `COSTS`.
        samples: for each estimator.
    """

    components: int = 3
    dimensions: int = 2
    separation: float = 1.0
    cost: str = "cos"
    samples: int = 100_000


def chart(config: Map, seed: int, device: torch.device) -> dict[str, object]:
    """The variance of every estimator for one mixture, with the mean cost as the baseline of the scores.

    Returns: `<estimator>_<parameters>`: variance summed over entries; `<estimator>_largest`: the largest draw's share
        in the sum of squares of the logits' gradients (near 1, the variance is not known); `<estimator>_deviation`:
        largest deviation of a mean from that of "all components", in standard errors; `reversed_…`: "leibniz" with
        the coordinates in reversed order.
    """
    k, d = config.components, config.dimensions
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        logits, loc, scale = 0.5 * torch.randn(k), config.separation * torch.randn(k, d), 0.5 + torch.rand(k, d)
        parameters = [parameter.double().to(device) for parameter in (logits, loc, scale)]
        cost = COSTS[config.cost]
        mixture = MixtureNormal(*parameters)
        mean = cost(mixture.sample((config.samples,)), mixture).mean()
        found: dict[str, object] = {}
        means: dict[str, list[Tensor]] = {}
        errors: dict[str, list[Tensor]] = {}
        for estimator in (*reversed(MAPPED), "reversed"):
            if estimator == "reversed":  # every cost is symmetric in the coordinates
                mixture = MixtureNormal(parameters[0], parameters[1].flip(-1), parameters[2].flip(-1))
            draws = _draws("leibniz" if estimator == "reversed" else estimator, mixture, cost, mean, config.samples)
            for name, values in zip(PARAMETERS, draws, strict=True):
                found[f"{estimator}_{name}"] = float(values.var(0).sum())
            squares = (draws[0] - draws[0].mean(0)).square().sum(-1)
            found[f"{estimator}_largest"] = float(squares.max() / squares.sum())
            means[estimator] = [values.mean(0) for values in draws]
            errors[estimator] = [values.var(0) / len(values) for values in draws]
            if estimator != "reversed":
                found[f"{estimator}_deviation"] = max(
                    float(((a - b).abs() / (s + t).sqrt().clamp_min(1e-12)).max())
                    for a, b, s, t in zip(
                        *(table[name] for table in (means, errors) for name in (estimator, "all components")),
                        strict=True,
                    )
                )
    return found


def _draws(estimator: str, mixture: MixtureNormal, cost: Cost, mean: Tensor, samples: int) -> list[Tensor]:
    """Gradients for logits, loc and scale of so many draws, (samples, entries) each."""
    chunk = max(1, min(samples, 1_000_000 // mixture.loc.numel()))
    sizes = [chunk] * (samples // chunk) + [samples % chunk] * (samples % chunk > 0)
    parts = []
    for n in sizes:
        parameters, fresh = parameters_of(mixture.expand((n,)))
        total = surrogate(estimator, fresh, cost, lambda costs: mean.expand_as(costs))
        parts.append(torch.autograd.grad(total, parameters))
    return [torch.cat(values).flatten(1) for values in zip(*parts, strict=True)]


SEPARATIONS = (0.5, 1.0, 2.0, 3.0)
DIMENSIONS = (1, 2, 4, 8, 16)
#: K = 3 for every cost, and once ten components.
VARIANCE = Experiment(
    "mixture_gradients_variance",
    Map,
    chart,
    {
        "check": [Map(samples=500), Map(2, 1, 2.0, "linear", 300)],
        "book": [
            *(Map(3, *sizes) for sizes in product(DIMENSIONS, SEPARATIONS, COSTS)),
            *(Map(10, 16, separation) for separation in SEPARATIONS),
        ],
    },
    {"check": range(1), "book": range(10)},
)
