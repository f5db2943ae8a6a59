"""Mixtures as posteriors, and the variance of four estimators (chapter `notebooks/mixture_gradients`).

A variational autoencoder whose encoder gives a mixture of normals, with the gradient of the bound estimated in four
ways; the variance of the same four over mixtures drawn at random; Pyro's gradient beside exact ones; time and memory.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Claim, Experiment, judge, missing, progress, sweep
from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.mixture_gradients import MixtureMultivariateNormal, MixtureNormal, rao_blackwell_surrogate
from workedpapers.tasks.splits import Split

PARAMETERS = ("logits", "loc", "scale")
ESTIMATORS = ("leibniz", "responsibilities", "one-hot", "all components")
Cost = Callable[[Tensor, MixtureNormal], Tensor]  # draws (…, batch, D) → (…, batch)
Baseline = Callable[[Tensor], Tensor]


def surrogate(estimator: str, mixture: MixtureNormal, cost: Cost, baseline: Baseline) -> Tensor:
    """A scalar whose gradient estimates that of the sum over the batch of E[cost], by one draw for each element.

    Args:
        estimator: "leibniz", `rsample`; "responsibilities", `rao_blackwell_surrogate`; "one-hot", the drawn
            component's mean and scale, and the score of which component it was; "all components", a draw of each,
            weighted.
        mixture: with one batch dimension.
        cost: of draws and the mixture, on which it may depend itself.
        baseline: from the costs of a batch, what the two scores subtract.
    Raises: ValueError: an unknown estimator.
    """
    if estimator == "leibniz":
        return cost(mixture.rsample(), mixture).sum()
    if estimator == "responsibilities":
        x = mixture.sample().requires_grad_()
        costs = cost(x, mixture)
        return rao_blackwell_surrogate(mixture, x, costs, baseline(costs.detach()))
    log_weights = mixture.logits.log_softmax(-1)
    if estimator == "one-hot":
        component = torch.distributions.Categorical(logits=log_weights.detach()).sample().unsqueeze(-1)
        loc, scale = (
            parameter.take_along_dim(component.unsqueeze(-1), -2).squeeze(-2)
            for parameter in (mixture.loc, mixture.scale)
        )
        costs = cost(loc + scale * torch.randn_like(loc), mixture)
        score = (costs.detach() - baseline(costs.detach())) * log_weights.gather(-1, component).squeeze(-1)
        return costs.sum() + score.sum() - score.detach().sum()
    if estimator == "all components":
        x = mixture.loc + mixture.scale * torch.randn_like(mixture.loc)
        return (log_weights.exp() * cost(x.movedim(-2, 0), mixture).movedim(0, -1)).sum()
    raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")


def leave_one_out(costs: Tensor) -> Tensor:
    """For each element the mean of the others': a baseline that does not depend on the element's own draw."""
    return (costs.sum() - costs) / max(len(costs) - 1, 1)


def gradients(estimator: str, mixture: MixtureNormal, cost: Cost, baseline: Baseline) -> list[Tensor]:
    """For logits, loc and scale of each element of the batch, by one draw each; arguments as for `surrogate`."""
    parameters = [getattr(mixture, name).detach().clone().requires_grad_() for name in PARAMETERS]
    fresh = MixtureNormal(*parameters, validate_args=False)
    return list(torch.autograd.grad(surrogate(estimator, fresh, cost, baseline), parameters))


@dataclass(frozen=True)
class Autoencoder:
    """One configuration.

    Args:
        data: "digits" or "mnist"; a pixel is one where it is brighter than half.
        components: K of the posterior.
        estimator: of `ESTIMATORS`.
        latent, hidden: dimensions of the latent variable; units of the hidden layer of encoder and decoder.
        learning_rate: of Adam.
        updates, batch_size: of gradient ascent.
        train_size, test_size: the first so many images.
        importance_samples: for the likelihood of each test image.
        repeats: draws for the variances of the estimators.
        validation: measure the last 500 training images, which are then not trained on, instead of the test images.
    """

    data: str = "digits"
    components: int = 5
    estimator: str = "leibniz"
    latent: int = 2
    hidden: int = 64
    learning_rate: float = 2e-3
    updates: int = 4_000
    batch_size: int = 100
    train_size: int = 60_000
    test_size: int = 500
    importance_samples: int = 5_000
    repeats: int = 500
    validation: bool = False


class Network(nn.Module):
    """An encoder that gives a mixture for each picture, and a decoder that gives logits of its pixels."""

    def __init__(self, config: Autoencoder, pixels: int) -> None:
        super().__init__()
        self.components, self.latent = config.components, config.latent
        hidden, outputs = config.hidden, config.components * (1 + 2 * config.latent)
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
        self.decoder = nn.Sequential(nn.Linear(config.latent, hidden), nn.Tanh(), nn.Linear(hidden, pixels))

    def posterior(self, images: Tensor) -> MixtureNormal:
        """Pictures (batch, pixels) → q(x | picture)."""
        sizes = [self.components, self.components * self.latent, self.components * self.latent]
        logits, loc, log_scale = self.encoder(images).split(sizes, -1)
        loc, log_scale = (part.unflatten(-1, (self.components, self.latent)) for part in (loc, log_scale))
        return MixtureNormal(logits, loc, log_scale.exp(), validate_args=False)

    def log_joint(self, images: Tensor, x: Tensor) -> Tensor:
        """log p(picture, x) for x (…, batch, latent), shape (…, batch)."""
        logits = self.decoder(x)
        likelihood: Tensor = (images * logits).sum(-1) - F.softplus(logits).sum(-1)
        return likelihood - 0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)

    def cost(self, images: Tensor) -> Cost:
        """Minus what the bound is the expectation of, log p(picture, x) − log q(x)."""
        return lambda x, posterior: posterior.log_prob(x) - self.log_joint(images, x)


def likelihood(network: Network, images: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """For each picture the mean and the log of the mean of `samples` importance weights: bound and log-likelihood."""
    bounds, evidences = [], []
    with torch.no_grad():
        for image in images.split(2):
            posterior = network.posterior(image)
            x = posterior.sample((samples,))
            log_weights = network.log_joint(image, x) - posterior.log_prob(x)
            bounds.append(log_weights.mean(0))
            evidences.append(log_weights.logsumexp(0) - math.log(samples))
    return torch.cat(bounds), torch.cat(evidences)


def train(config: Autoencoder, seed: int, device: torch.device) -> dict[str, object]:
    """Train one autoencoder; the metrics of the row.

    Returns: `test_nll` (nats, by importance sampling) and `test_bound` (minus the bound, nats) of the held-out
        pictures; `train_bound`: minus the bound, mean of the last 200 updates; `perplexity`: exp of the entropy of the
        posterior's weights, mean over held-out pictures; `perplexity_overall`: of the weights' mean over pictures (not
        in the older rows); and `separation`: distance of its two heaviest means in standard deviations, mean over
        pictures; `variance_<estimator>_<parameters>`: of the gradient for one picture, summed over entries,
        mean over 100 pictures; `train_seconds`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        whole, test = (
            Split.load(config.data, part, device).images.flatten(1).gt(0.5).float() for part in ("train", "test")
        )
        if config.validation:
            whole, test = whole[:-500], whole[-500:]
        whole, test = whole[: config.train_size], test[: config.test_size]
        network = Network(config, whole.shape[-1]).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        order = torch.Generator().manual_seed(seed)
        losses: list[float] = []
        started = time.process_time()
        for _ in progress(range(config.updates), f"{config.estimator}, K = {config.components}"):
            images = whole[torch.randint(len(whole), (config.batch_size,), generator=order).to(device)]
            posterior = network.posterior(images)
            loss = surrogate(config.estimator, posterior, network.cost(images), leave_one_out) / len(images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        metrics: dict[str, object] = {"train_seconds": time.process_time() - started}
        bounds, evidences = likelihood(network, test, config.importance_samples)
        metrics["test_nll"], metrics["test_bound"] = -float(evidences.mean()), -float(bounds.mean())
        metrics["train_bound"] = sum(losses[-200:]) / len(losses[-200:])
        return metrics | _shape(network, test) | _variances(network, test[:100], config.repeats)


def _shape(network: Network, images: Tensor) -> dict[str, float]:
    """How many components the posteriors use, and how far apart the two heaviest are."""
    with torch.no_grad():
        posterior = network.posterior(images)
    weights = posterior.logits.softmax(-1)
    perplexity, overall = (
        float((-torch.special.xlogy(w, w).sum(-1)).exp().mean()) for w in (weights, weights.mean(0, keepdim=True))
    )
    if network.components == 1:
        return {"perplexity": perplexity, "perplexity_overall": overall, "separation": 0.0}
    heaviest = weights.topk(2).indices.unsqueeze(-1)
    (a, b), (s, t) = (value.take_along_dim(heaviest, -2).unbind(-2) for value in (posterior.loc, posterior.scale))
    separation = ((a - b).square() / (0.5 * (s.square() + t.square()))).sum(-1).sqrt().mean()
    return {"perplexity": perplexity, "perplexity_overall": overall, "separation": float(separation)}


def _variances(network: Network, images: Tensor, repeats: int) -> dict[str, float]:
    """The variance of every estimator at the posteriors of these images."""
    with torch.no_grad():
        posterior = network.posterior(images)
    found: dict[str, float] = {}
    for estimator in ESTIMATORS:
        draws = [gradients(estimator, posterior, network.cost(images), leave_one_out) for _ in range(repeats)]
        for name, values in zip(PARAMETERS, zip(*draws, strict=True), strict=True):
            found[f"variance_{estimator}_{name}"] = float(torch.stack(values).var(0).flatten(1).sum(-1).mean())
    return found


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
        for estimator in (*reversed(ESTIMATORS), "reversed"):
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
    parts = [gradients(estimator, mixture.expand((n,)), cost, lambda costs: mean.expand_as(costs)) for n in sizes]
    return [torch.cat(values).flatten(1) for values in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Pace:
    """The networks of a data set whose updates are timed in turn, on random pictures."""

    data: str = "digits"
    hidden: int = 64
    pixels: int = 64
    repeats: int = 200


def pace(config: Pace, seed: int, device: torch.device) -> dict[str, object]:
    """Time of an update of each arm over that of "leibniz" with five components, `ratio_<estimator>_<components>`."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        images = (torch.rand(100, config.pixels, device=device) > 0.5).float()

        def step(estimator: str, components: int) -> Callable[[], None]:
            network = Network(Autoencoder(components=components, hidden=config.hidden), config.pixels).to(device)
            optimizer = torch.optim.Adam(network.parameters())

            def update() -> None:
                loss = surrogate(estimator, network.posterior(images), network.cost(images), leave_one_out) / 100
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

            return update

        first = {"leibniz 5": step("leibniz", 5)}
        timings = interleaved(first | {f"{e} {k}": step(e, k) for e, k in _arms}, config.repeats)
    return {f"ratio_{name.replace(' ', '_')}": 1 / timing.ratio for name, timing in timings.items()}


HALF_WIDTHS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Peer:
    """Two equal components at (±1, shift) with standard deviation `sigma`, and a cost of `COSTS` or "separable".

    Args:
        points: of the grid on each axis; it reaches eight to each side of the middle.
        samples: of Pyro's own draws.
    """

    shift: float = 0.0
    sigma: float = 1.0
    cost: str = "cos"
    points: int = 1_201
    samples: int = 200_000


def compare(config: Peer, seed: int, device: torch.device) -> dict[str, object]:
    """The gradient for the first logit: exact, by ours and by Pyro 1.9.2's `MixtureOfDiagNormals`.

    Returns: `exact`, of the closed form; `ours`, `pyro`: the expectation of each estimator by the trapezoidal rule on
        the grid; `pyro_mean`, `pyro_error`: over its draws, with the standard error; `curve_half_widths`,
        `curve_ours`, `curve_pyro`: second moments over squares of growing half-width.
    Raises: ModuleNotFoundError: Pyro is not installed.
    """
    from pyro.distributions.diag_normal_mixture import MixtureOfDiagNormals, _MixDiagNormalSample

    loc = torch.tensor([[-1.0, config.shift], [1.0, config.shift]], dtype=torch.float64, device=device)
    scale, logits = torch.full_like(loc, config.sigma), torch.zeros_like(loc[:, 0]).requires_grad_()
    damped = (-0.5 * scale.square()).exp()
    cost: Callable[[Tensor], Tensor]
    if config.cost == "separable":
        by_component = (damped * (loc + 0.3).cos()).sum(-1)

        def cost(x: Tensor) -> Tensor:
            return (x + 0.3).cos().sum(-1)
    else:
        by_component = damped.prod(-1) * (loc.sum(-1) + 0.3).cos()

        def cost(x: Tensor) -> Tensor:
            return (x.sum(-1) + 0.3).cos()

    (exact,) = torch.autograd.grad((logits.softmax(-1) * by_component).sum(), logits)
    axis = torch.linspace(-8, 8, config.points, dtype=torch.float64, device=device)
    middle = torch.tensor([0.0, config.shift], dtype=torch.float64, device=device)
    grid = torch.cartesian_prod(axis, axis) + middle
    each = [value.detach().expand(len(grid), *value.shape) for value in (logits, loc, scale)]
    slope = _slope(cost, grid)
    free = each[0].clone().requires_grad_()
    mixture = MixtureNormal(free, *each[1:], validate_args=False)
    (ours,) = torch.autograd.grad(mixture.reparameterize(grid), free, slope)
    with torch.no_grad():
        context = SimpleNamespace(saved_tensors=(grid, each[2], each[1], each[0], each[0].softmax(-1)))
        theirs = _MixDiagNormalSample.backward(context, slope)[2]
        mass = mixture.log_prob(grid).exp() * (axis[1] - axis[0]).square()
        reach = (grid - middle).abs().amax(-1)
    found: dict[str, object] = {"exact": float(exact[0]), "curve_half_widths": list(HALF_WIDTHS)}
    for name, gradient in (("ours", ours[:, 0]), ("pyro", theirs[:, 0])):
        found[name] = float((mass * gradient).sum())
        squares = mass * gradient.square()
        found[f"curve_{name}"] = [float(squares[reach <= width].sum()) for width in HALF_WIDTHS]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        free, loc, scale = (value[:1].expand(config.samples, *value.shape[1:]).clone() for value in each)
        x = MixtureOfDiagNormals(loc, scale, free.requires_grad_()).rsample()
        (drawn,) = torch.autograd.grad(x, free, _slope(cost, x.detach()))
    found["pyro_mean"] = float(drawn[:, 0].mean())
    found["pyro_error"] = float(drawn[:, 0].std() / math.sqrt(config.samples))
    return found


def _slope(cost: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    free = x.clone().requires_grad_()
    return torch.autograd.grad(cost(free).sum(), free)[0]


@dataclass(frozen=True)
class Timed:
    """A batch, components and dimensions at which `rsample` and its gradient are timed, float32, one thread.

    Args:
        rival: "pyro", its `MixtureOfDiagNormals`; "autograd", `implicit_sample`; "full", our full covariances.
        repeats: of each, interleaved.
    """

    batch: int
    components: int
    dimensions: int
    rival: str = "pyro"
    repeats: int = 40


def measure(config: Timed, seed: int, device: torch.device) -> dict[str, object]:
    """Construction, draw and gradient by ours and a rival.

    Returns: `ours_seconds` and `rival_seconds`, medians; `time_ratio`, the median of ours over theirs; `ours_bytes`,
        `rival_bytes`: kept for the backward pass; `ours_lost`, `rival_lost`: elements of the batch with a gradient
        that is not finite, in the mean over 20 draws.
    Raises: ValueError: an unknown rival. ModuleNotFoundError: Pyro is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        k, d = config.components, config.dimensions
        logits, loc = torch.randn(config.batch, k), torch.randn(config.batch, k, d)
        scale, slope = 0.5 + torch.rand(config.batch, k, d), torch.randn(config.batch, d)
        parameters = [value.requires_grad_() for value in (logits, loc, scale)]
        draws: dict[str, Callable[[], Tensor]] = {"ours": lambda: MixtureNormal(*parameters).rsample()}
        inputs = {"ours": parameters, "rival": parameters}
        if config.rival == "pyro":
            from pyro.distributions import MixtureOfDiagNormals

            draws["rival"] = lambda: MixtureOfDiagNormals(loc, scale, logits).rsample()
        elif config.rival == "autograd":
            draws["rival"] = lambda: implicit_sample(MixtureNormal(*parameters))
        elif config.rival == "full":
            scale_tril = torch.diag_embed(scale.detach()).requires_grad_()
            inputs["rival"] = [logits, loc, scale_tril]
            draws["rival"] = lambda: MixtureMultivariateNormal(logits, loc, scale_tril).rsample()
        else:
            raise ValueError(f"rival must be one of pyro, autograd, full, got {config.rival!r}")

        def step(name: str) -> Callable[[], tuple[Tensor, ...]]:
            return lambda: torch.autograd.grad(draws[name](), inputs[name], slope)

        def lost(name: str, rounds: int = 20) -> float:
            finite = [
                torch.stack([value.isfinite().flatten(1).all(-1) for value in step(name)()]).all(0)
                for _ in range(rounds)
            ]
            return float((~torch.stack(finite)).sum()) / rounds

        timings = interleaved({"rival": step("rival"), "ours": step("ours")}, config.repeats)
        found: dict[str, object] = {"time_ratio": 1 / timings["ours"].ratio}
        for name in draws:
            found[f"{name}_seconds"] = timings[name].median_ms / 1e3
            found[f"{name}_bytes"] = saved_bytes(draws[name])
            found[f"{name}_lost"] = lost(name)
        return found


def implicit_sample(mixture: MixtureNormal) -> Tensor:
    """`mixture.rsample()` by automatic differentiation, (MIX.17): x − J⁻¹ F, where F are the conditional CDFs of x.

    Shape: (*batch, D). The Jacobian J = ∂F/∂x takes D backward passes.
    """
    x = mixture.sample()
    log_weights = mixture.logits.log_softmax(-1).unsqueeze(-1)

    def cdfs(x: Tensor) -> Tensor:
        normal = torch.distributions.Normal(mixture.loc, mixture.scale, validate_args=False)
        log_normal = normal.log_prob(x.unsqueeze(-2))
        before = (log_weights + log_normal.cumsum(-1) - log_normal).softmax(-2)
        values: Tensor = (before * normal.cdf(x.unsqueeze(-2))).sum(-2)
        return values

    free = x.clone().requires_grad_()
    values = cdfs(free)
    rows = [torch.autograd.grad(values[..., d].sum(), free, retain_graph=True)[0] for d in range(x.shape[-1])]
    jacobian = torch.stack(rows, -2).detach()
    moved = cdfs(x)
    step: Tensor = torch.linalg.solve_triangular(jacobian, (moved - moved.detach()).unsqueeze(-1), upper=False)
    return x - step.squeeze(-1)


RATES = (1e-3, 2e-3, 5e-3, 1e-2)
_check = Autoencoder(
    hidden=8, updates=10, batch_size=20, train_size=100, test_size=20, importance_samples=50, repeats=4, components=3
)


def _trainings(seeds: range = range(5), **grid: list[Autoencoder]) -> Experiment[Autoencoder]:
    return Experiment("mixture_gradients", Autoencoder, train, grid, dict.fromkeys(grid, seeds))


#: Seconds each: every estimator once.
CHECK = _trainings(range(1), check=[replace(_check, estimator=estimator) for estimator in ESTIMATORS])
_digits = Autoencoder(updates=6_000)
_mnist = Autoencoder("mnist", hidden=100, updates=5_000, learning_rate=5e-3)
#: With one component there is nothing to choose: each estimator is the ordinary one, and this one computes just that.
_single = ("all components", 1)
_arms = [_single, *product(ESTIMATORS, (2, 5))]


def _arm(base: Autoencoder, estimator: str, components: int, **changes: Any) -> Autoencoder:
    return replace(base, estimator=estimator, components=components, **changes)


#: The learning rate, by the bound on held-out training images, with 3,000 updates.
SEARCH = _trainings(
    range(100, 101),  # a seed that no other table uses
    book=[
        _arm(data, *arm, learning_rate=rate, updates=3_000, importance_samples=500, repeats=2, validation=True)
        for data, arm, rate in product((_digits, _mnist), [_single, *product(ESTIMATORS, (5,))], RATES)
    ],
)
#: Equal updates: one, two and five components.
DIGITS = _trainings(book=[_arm(_digits, *arm) for arm in _arms])
MNIST = _trainings(book=[_arm(_mnist, *arm) for arm in _arms])
#: Eight latent dimensions instead of two.
WIDE = _trainings(book=[_arm(_digits, *arm, latent=8) for arm in [_single, *product(ESTIMATORS, (5,))]])
#: Equal time: time of an update over that of "leibniz" with five components, one thread, interleaved.
UPDATE_TIMES = {
    "digits": dict(zip([_single, *product(ESTIMATORS[1:], (5,))], (0.68, 0.93, 0.77, 0.94), strict=True)),
    "mnist": dict(zip([_single, *product(ESTIMATORS[1:], (5,))], (0.86, 1.02, 0.89, 2.0), strict=True)),
}


def _timed(base: Autoencoder) -> list[Autoencoder]:
    """As many updates as the time of "leibniz" with five components allows."""
    times = UPDATE_TIMES[base.data]
    return [_arm(base, *arm, updates=100 * round(base.updates / time / 100)) for arm, time in times.items()]


DIGITS_TIMED = _trainings(book=_timed(_digits))
MNIST_TIMED = _trainings(book=_timed(_mnist))
#: The networks with five components once more, for how many of them are in use over all pictures.
USAGE = _trainings(
    range(2),
    book=[
        _arm(data, estimator, 5, importance_samples=1, repeats=2)
        for data, estimator in product((_digits, _mnist), ESTIMATORS)
    ],
)
SEPARATIONS = (0.5, 1.0, 2.0, 3.0)
SIZES = ((3, 1), (3, 2), (3, 8), (10, 16))
#: The variance of the estimators over random mixtures.
VARIANCE = Experiment(
    "mixture_gradients_variance",
    Map,
    chart,
    {
        "check": [Map(samples=500), Map(2, 1, 2.0, "linear", 300)],
        "book": [
            *(Map(k, d, separation) for (k, d), separation in product(SIZES, SEPARATIONS)),
            *(
                Map(3, d, separation, cost)
                for d, separation, cost in product((2, 8), SEPARATIONS, ("linear", "square"))
            ),
        ],
    },
    {"check": range(1), "book": range(10)},
)

#: Pyro 1.9.2's gradient for weights: where it is exact, and where it is not. Needs Pyro.
PYRO = Experiment(
    "mixture_gradients_pyro",
    Peer,
    compare,
    {
        "book": [
            Peer(),
            Peer(shift=1.5),
            Peer(shift=1.5, cost="separable"),
            Peer(sigma=0.8),
            Peer(sigma=0.5),
            Peer(sigma=0.5, cost="separable"),
        ]
    },
    {"book": range(1)},
)
SHAPES = ((256, 50, 16), (256, 10, 16), (1024, 10, 16), (256, 10, 64))
#: What `UPDATE_TIMES` goes by, best on an idle machine.
PACE = Experiment(
    "mixture_gradients_pace",
    Pace,
    pace,
    {"book": [Pace(), Pace("mnist", 100, 784)]},
    {"book": range(1)},
)
#: Time and memory, best on an idle machine. Needs Pyro, but for scale "check".
COST = Experiment(
    "mixture_gradients_cost",
    Timed,
    measure,
    {
        "check": [Timed(4, 3, 2, "autograd", 2), Timed(4, 3, 2, "full", 2)],
        "book": [Timed(*shape, rival) for shape, rival in product(SHAPES, ("pyro", "autograd", "full"))],
    },
    {"check": range(1), "book": range(1)},
)

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search": SEARCH,
    "digits": DIGITS,
    "mnist": MNIST,
    "wide": WIDE,
    "digits_timed": DIGITS_TIMED,
    "mnist_timed": MNIST_TIMED,
    "usage": USAGE,
    "pace": PACE,
    "variance": VARIANCE,
    "pyro": PYRO,
    "cost": COST,
}


def scoreboard() -> list[Claim]:
    """The abstract's wish and a reviewer's question beside the recorded rows; empty while rows are missing."""
    tables: list[Experiment[Any]] = [VARIANCE, DIGITS, MNIST]
    if any(missing(table, "book") for table in tables):
        return []  # this is asked for when the book is built, which must not start to train
    claims = []
    maps = sweep(VARIANCE, "book", device="cpu")
    shown = [("cos", *size) for size in SIZES] + [("linear", 3, 8), ("square", 3, 8)]
    for (separation, cause), (cost, k, d) in product(GAPS.items(), shown):
        rows = maps[
            (maps.cost == cost) & (maps.components == k) & (maps.dimensions == d) & (maps.separation == separation)
        ]
        ratios = (rows.leibniz_logits / rows.responsibilities_logits).map(math.log10)
        text = (
            f"Cost {cost}, K = {k}, D = {d}, spread {separation:g}: variance for logits over that of the score (log10)"
        )
        claims.append(_claim(text, "no number: wants low variance", ratios.tolist(), cause))
    for name, table in (("Digits", DIGITS), ("MNIST", MNIST)):
        rows = sweep(table, "book", device="cpu")
        rows = rows.pivot(index="seed", columns=["estimator", "components"], values="test_nll")
        for estimator, components in product(("leibniz", "all components"), (2, 5)):
            gain = rows[estimator, components] - rows[_single]
            text = f"{name}: -log p with {components} components ({estimator}) less that with one (nats)"
            claim = _claim(text, "no number: a reviewer asks", gain.tolist(), CAUSES[name])
            if name == "MNIST" and claim.verdict == "holds in part":
                claim = replace(claim, verdict="not reached")
            claims.append(claim)
    return claims


#: Why the gradient for logits is not the quieter one, by the spread of the means.
GAPS = {
    SEPARATIONS[0]: "components overlap; possible, not tested: the dimension, a cost that hardly depends on weights",
    SEPARATIONS[-1]: "draws must cross the gap between components (sections 10 and 15)",
}
#: Where a mixture posterior does not help.
CAUSES = {
    "Digits": "possible, not tested: the variance of the gradient for weights",
    "MNIST": "each posterior is one normal, whatever K is: these rows compare runs, not posteriors (section 15)",
}


def _claim(text: str, paper: str, differences: list[float], cause: str) -> Claim:
    """A difference that should be below zero."""
    verdict = judge(differences, -1)
    return Claim(text, paper, tuple(differences), "book", verdict, "" if verdict == "holds" else cause)
