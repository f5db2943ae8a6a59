"""Two numbers instead of two categories: a curve with noise, two mixture density networks, and new means.

Both factorisations live in one model. Axis −3 of pairs and scores is the direction: 0 holds A and the model A → B,
1 holds B and B → A, so `flip(-3)` exchanges cause and effect.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline  # type: ignore[import-untyped]
from torch import Tensor

from workedpapers.causal_transfer import GaussianMixture, MixtureDensityNetwork, structural_gradient
from workedpapers.lab import Experiment

INTERVENTIONS = ("cause", "effect", "nothing")
MECHANISMS = ("spline", "linear")
REACH, ANCHORS = 8.0, 8
SPREAD, SHIFT = 2.0, 4.0  # standard deviation of A, largest new mean
COMPONENTS = 10
FIT_BATCHES, FIT_ROUNDS = 5, 25  # of EM for the marginals of the training distribution
REFIT_SAMPLES, REFIT_ROUNDS = 1_000, 5  # for those of a transfer distribution
TEST_SAMPLES = 10_000  # of the training distribution, that nothing is fitted to
CHUNK = 30_000  # values of A that are in work at a time


@dataclass(frozen=True)
class Continuous:
    """A batch of worlds B = f(A) + noise, each with its own pair of models and its own episodes.

    Args:
        intervention: what an episode changes, with μ uniform in −4 … 4: "cause", A ~ N(μ, 2²); "effect",
            B ~ N(μ, 2²) whatever A is; "nothing".
        samples: examples of a step.
        mechanism: f: "spline", a natural cubic spline through random heights; "linear", f(a) = a, a world in which
            either direction is linear with Gaussian noise.
        training: size of a fixed training set, whole at every iteration; None: fresh samples.
        worlds: trained side by side.
        episodes: of each world.
        iterations: of Adam before the episodes, 1e-3.
        batch: fresh samples of an iteration.
        steps: of Adam in an episode, 1e-3.
    """

    intervention: str = "cause"
    samples: int = 1_000
    mechanism: str = "spline"
    training: int | None = None
    worlds: int = 10
    episodes: int = 200
    iterations: int = 3_000
    batch: int = 1_000
    steps: int = 10


class Spline:
    """Natural cubic splines through heights at even positions from −8 to 8, one a world; straight lines outside.

    Args:
        heights: shape (worlds, anchors).
    """

    def __init__(self, heights: Tensor) -> None:
        worlds, anchors = heights.shape
        knots = np.linspace(-REACH, REACH, anchors)
        curve = CubicSpline(knots, heights.double().cpu().numpy().T, bc_type="natural")
        ends = curve(knots[[0, -1]], 1)
        table = np.zeros((anchors + 1, 4, worlds))  # of a segment: the powers 3, 2, 1, 0
        table[1:-1] = curve.c.swapaxes(0, 1)
        table[[0, -1], 2] = ends
        table[[0, -1], 3] = curve(knots[[0, -1]])
        self.knots = torch.as_tensor(knots).to(heights)
        self.origins = torch.cat((self.knots[:1], self.knots))
        self.powers = torch.as_tensor(table).to(heights).permute(1, 2, 0).flatten(1)  # (4, worlds · segments)

    def __call__(self, x: Tensor) -> Tensor:
        """The curves at x, (…, worlds, n) → the same shape."""
        segment = torch.bucketize(x.contiguous(), self.knots)
        offset = x - self.origins[segment]
        rows = segment + len(self.origins) * torch.arange(x.shape[-2], device=x.device)[:, None]
        cube, square, slope, height = self.powers[:, rows]
        found: Tensor = ((cube * offset + square) * offset + slope) * offset + height
        return found


def worlds(mechanism: str, count: int, device: torch.device) -> Spline:
    """Curves of so many worlds: heights uniform in −8 … 8, or f(a) = a.

    Raises: ValueError: an unknown mechanism.
    """
    if mechanism == "spline":
        return Spline(REACH * (2 * torch.rand(count, ANCHORS, device=device) - 1))
    if mechanism == "linear":
        return Spline(torch.linspace(-REACH, REACH, ANCHORS, device=device).expand(count, ANCHORS))
    raise ValueError(f"mechanism must be one of {', '.join(MECHANISMS)}, got {mechanism!r}")


def draw(curve: Spline, intervention: str, means: Tensor, samples: int) -> Tensor:
    """Pairs after an intervention, means (…, worlds) → (…, 2, worlds, samples), A before B.

    Raises: ValueError: an unknown intervention.
    """
    if intervention not in INTERVENTIONS:
        raise ValueError(f"intervention must be one of {', '.join(INTERVENTIONS)}, got {intervention!r}")
    first, second = torch.randn((2, *means.shape, samples), device=means.device)
    cause = SPREAD * first + (means.unsqueeze(-1) if intervention == "cause" else 0)
    effect = means.unsqueeze(-1) + SPREAD * second if intervention == "effect" else curve(cause) + second
    return torch.stack((cause, effect), -3)


class Models(NamedTuple):
    """Both factorisations of pairs: marginals of A and B, conditionals of B given A and of A given B."""

    marginals: GaussianMixture
    conditionals: MixtureDensityNetwork

    def log_prob(self, pairs: Tensor) -> Tensor:
        """log p(a) p(b|a), then log p(b) p(a|b), (…, 2, runs, n) → the same shape."""
        return self.marginals.log_prob(pairs) + self.conditionals.log_prob(pairs.flip(-3), pairs)


def copies(network: MixtureDensityNetwork, count: tuple[int, ...] = ()) -> MixtureDensityNetwork:
    """A copy of a network's runs to be trained apart, or `count` copies in new leading dimensions."""
    first = next(network.parameters())
    values = {name: value.expand(*count, *value.shape) for name, value in network.state_dict().items()}
    runs = (*count, *network.runs)
    copy = MixtureDensityNetwork(COMPONENTS, runs=runs, device=first.device, dtype=first.dtype)
    copy.load_state_dict(values)
    return copy


def descend(models: Models, optimizer: torch.optim.Optimizer, pairs: Tensor) -> Tensor:
    """A step of the conditionals on a batch; returns the log-likelihoods before it, (…, 2, runs, n)."""
    values = models.log_prob(pairs)
    optimizer.zero_grad()
    (-values.mean(-1).sum()).backward()
    optimizer.step()
    return values.detach()


def online(models: Models, batches: Iterable[Tensor], rate: float) -> Tensor:
    """Log-likelihood of each batch before Adam's step of the conditionals on it, (batches, …, 2, runs).

    It changes the conditionals.
    """
    optimizer = torch.optim.Adam(models.conditionals.parameters(), rate)
    return torch.stack([descend(models, optimizer, pairs).sum(-1) for pairs in batches])


@functools.lru_cache(8)  # most configurations differ in what comes after it
def pretrained(
    mechanism: str, count: int, training: int | None, iterations: int, batch: int, seed: int, device: torch.device
) -> tuple[Spline, Models]:
    """Worlds, and models of their training distribution; seeds the global generator."""
    torch.manual_seed(seed)
    curve, still = worlds(mechanism, count, device), torch.zeros(count, device=device)
    fixed = None if training is None else draw(curve, "nothing", still, training)
    sample = draw(curve, "nothing", still, FIT_BATCHES * batch) if fixed is None else fixed
    models = Models(
        GaussianMixture.fit(sample, COMPONENTS, FIT_ROUNDS),
        MixtureDensityNetwork(COMPONENTS, runs=(2, count), device=device),
    )
    optimizer = torch.optim.Adam(models.conditionals.parameters(), 1e-3)
    for _ in range(iterations):  # keeps no score: ten thousand small tensors would keep the large ones' memory
        descend(models, optimizer, draw(curve, "nothing", still, batch) if fixed is None else fixed)
    return curve, models


def means_of(config: Continuous, seed: int) -> Tensor:
    """The new mean μ of every episode, shape (episodes, worlds)."""
    generator = torch.Generator().manual_seed(seed)
    return SHIFT * (2 * torch.rand(config.episodes, config.worlds, generator=generator) - 1)


def beliefs(deltas: Tensor, rate: float = 0.1) -> Tensor:
    """σ(γ) before and after every episode, γ by Adam from 0, deltas (episodes, …) → (episodes + 1, …)."""
    gamma = torch.zeros_like(deltas[0]).requires_grad_()
    optimizer = torch.optim.Adam([gamma], rate)
    found = [gamma.detach().sigmoid()]
    for delta in deltas:
        gamma.grad = structural_gradient(delta, torch.zeros_like(delta), gamma.detach())
        optimizer.step()
        found.append(gamma.detach().sigmoid())
    return torch.stack(found)


def adapt(config: Continuous, seed: int, device: torch.device) -> dict[str, object]:
    """Fit both directions, then let both adapt to every episode from there.

    The marginals of an episode are fitted to a sample of its own, so that only conditionals have something to learn.

    Returns: by world: `training_ab`, `training_ba`: log-likelihood of an example of the training distribution, in
        nats; `before_ab`, `before_ba`, `after_ab`, `after_ba`: of the transfer distribution, before the first step
        and after the last one; `belief`: σ(γ) after the last episode. By step: `gap`: of an example, A → B over
        B → A, before each step and after the last one. `delta`: of every episode, world after world.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        shape = config.mechanism, config.worlds, config.training, config.iterations, config.batch
        curve, models = pretrained(*shape, seed, device)
        torch.manual_seed(seed)
        scores = []
        means = means_of(config, seed).to(device)
        for part in means.split(max(1, CHUNK // (config.worlds * max(config.samples, REFIT_SAMPLES)))):
            sample = draw(curve, config.intervention, part, REFIT_SAMPLES)
            start = GaussianMixture(*(value.expand(len(part), *value.shape) for value in models.marginals))
            marginals = GaussianMixture.fit(sample, iterations=REFIT_ROUNDS, start=start)
            adapting = Models(marginals, copies(models.conditionals, (len(part),)))
            batches = (draw(curve, config.intervention, part, config.samples) for _ in range(config.steps + 1))
            scores.append(online(adapting, batches, 1e-3))
        score = torch.cat(scores, 1)  # (steps + 1, episodes, 2, worlds)
        delta = score[:-1].double().sum(0).diff(dim=1).squeeze(1).neg()
        mean = score / config.samples
        with torch.no_grad():
            still = torch.zeros(config.worlds, device=device)
            training = models.log_prob(draw(curve, "nothing", still, TEST_SAMPLES)).mean(-1)
        return {
            **_by_direction("training", training),
            **_by_direction("before", mean[0].mean(0)),
            **_by_direction("after", mean[-1].mean(0)),
            "belief": beliefs(delta)[-1].tolist(),
            "gap": mean.diff(dim=2).neg().mean((1, 2, 3)).tolist(),
            "delta": rounded(delta.T.flatten()),
        }


def _by_direction(name: str, values: Tensor) -> dict[str, object]:
    return {f"{name}_{way}": value.tolist() for way, value in zip(("ab", "ba"), values, strict=True)}


def rounded(values: Tensor) -> Sequence[float]:
    """To five digits: there are many."""
    return [float(f"{value:.5g}") for value in values.tolist()]


LONG = 10_000
CONTINUOUS = Experiment(
    "causal_transfer_continuous",
    Continuous,
    adapt,
    {
        "check": [
            Continuous(intervention, 20, mechanism, training, 2, 3, 5, 30, 2)
            for intervention, mechanism, training in (
                ("cause", "spline", None),
                ("effect", "spline", None),
                ("nothing", "linear", 50),
            )
        ],
        "book": [
            *(Continuous(samples=samples) for samples in (1_000, 100, 10)),
            *(Continuous(intervention, 100) for intervention in ("effect", "nothing")),
            *(Continuous(intervention, 100, iterations=LONG) for intervention in INTERVENTIONS),
            Continuous(samples=100, mechanism="linear"),
            *(Continuous(intervention, 100, training=1_000) for intervention in ("cause", "nothing")),
        ],
    },
    {"check": range(1), "book": range(3)},
)
