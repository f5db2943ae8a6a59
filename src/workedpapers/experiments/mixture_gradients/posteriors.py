"""Mixtures as posteriors: an autoencoder whose encoder gives a mixture of normals for each picture."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment, progress
from workedpapers.mixture_gradients import MixtureNormal
from workedpapers.tasks.splits import Split

from .estimators import BASELINES, ESTIMATORS, PARAMETERS, Cost, mean_surrogate, parameters_of


@dataclass(frozen=True)
class Autoencoder:
    """One configuration.

    Args:
        data: "digits" or "mnist"; a pixel is one where it is brighter than half.
        components: K of the posterior.
        estimator: of `ESTIMATORS`.
        evaluations: of the decoder for each picture of an update; as many draws, or for "all components" a K-th of it.
        baseline: of `BASELINES`: what the scores subtract.
        latent, hidden: dimensions of the latent variable; units of the hidden layer of encoder and decoder.
        learning_rate: of Adam.
        updates, batch_size: of gradient ascent.
        train_size, test_size: the first so many images.
        bound_samples: draws for the bound of each test image.
        repeats: for the variances of the estimators.
        validation: measure the last 500 training images, which are then not trained on, instead of the test images.
    """

    data: str = "digits"
    components: int = 5
    estimator: str = "leibniz"
    evaluations: int = 5
    baseline: str = "draws"
    latent: int = 2
    hidden: int = 64
    learning_rate: float = 2e-3
    updates: int = 6_000
    batch_size: int = 100
    train_size: int = 60_000
    test_size: int = 500
    bound_samples: int = 2_000
    repeats: int = 100
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


def bound(network: Network, images: Tensor, samples: int) -> Tensor:
    """The bound of each picture, the mean of `samples` log importance weights."""
    bounds = []
    with torch.no_grad():
        for image in images.split(2):
            posterior = network.posterior(image)
            x = posterior.sample((samples,))
            bounds.append((network.log_joint(image, x) - posterior.log_prob(x)).mean(0))
    return torch.cat(bounds)


def log_likelihood(network: Network, images: Tensor, reach: float = 6.0, step: float = 0.03) -> Tensor:
    """log p of each picture, exact up to the trapezoidal rule on a grid over two latent dimensions.

    Importance sampling from a network's own posterior will not do: what the posterior misses is missed again.

    Raises: ValueError: another number of latent dimensions.
    """
    if network.latent != 2:
        raise ValueError(f"a grid needs two latent dimensions, got {network.latent}")
    axis = torch.arange(-reach, reach + step / 2, step, dtype=images.dtype, device=images.device)
    total = images.new_full((len(images),), -math.inf)
    with torch.no_grad():
        for x in torch.cartesian_prod(axis, axis).split(4_000):
            logits = network.decoder(x)
            prior = -F.softplus(logits).sum(-1) - 0.5 * x.square().sum(-1) - math.log(2 * math.pi)
            total = torch.logaddexp(total, (images @ logits.T + prior).logsumexp(-1))
    return total + 2 * math.log(step)


def train(config: Autoencoder, seed: int, device: torch.device) -> dict[str, object]:
    """Train one autoencoder; the metrics of the row.

    Returns: of the held-out pictures `test_bound`, minus the bound, and with two latent dimensions, where not for a
        search, `test_nll`, minus the log-likelihood (nats); `train_bound`: minus the bound, mean of the last 200
        updates; `perplexity`: exp of the entropy of the
        posterior's weights, mean over held-out pictures; `perplexity_overall`: of the weights' mean over pictures; and
        `separation`: distance of its two heaviest means in standard deviations, mean over pictures;
        `variance_<estimator>_<parameters>`: of the gradient for one picture at equal
        evaluations, one a component at least, summed over entries,
        mean over 100 pictures, for the scores by baseline, `variance_<estimator>_<baseline>_<parameters>`;
        `train_seconds`.
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
            posterior, cost = network.posterior(images), network.cost(images)
            loss = mean_surrogate(config.estimator, posterior, cost, config.baseline, config.evaluations) / len(images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        metrics: dict[str, object] = {"train_seconds": time.process_time() - started}
        metrics["test_bound"] = -float(bound(network, test, config.bound_samples).mean())
        if config.latent == 2 and not config.validation:
            metrics["test_nll"] = -float(log_likelihood(network, test).mean())
        metrics["train_bound"] = sum(losses[-200:]) / len(losses[-200:])
        evaluations = max(config.evaluations, config.components)
        return metrics | shape(network, test) | variances(network, test[:100], evaluations, config.repeats)


def shape(network: Network, images: Tensor) -> dict[str, float]:
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


def variances(network: Network, images: Tensor, evaluations: int, repeats: int) -> dict[str, float]:
    """The variance of every estimator at the posteriors of these images, with as many evaluations of the cost."""
    with torch.no_grad():
        posterior = network.posterior(images)
    found: dict[str, float] = {}
    for estimator in ESTIMATORS:
        scores = estimator in ("responsibilities", "one-hot")
        for baseline in BASELINES if scores else ("draws",):
            draws = []
            for _ in range(repeats):
                parameters, fresh = parameters_of(posterior)
                total = mean_surrogate(estimator, fresh, network.cost(images), baseline, evaluations)
                draws.append(torch.autograd.grad(total, parameters))
            arm = f"{estimator}_{baseline}" if scores else estimator
            for name, values in zip(PARAMETERS, zip(*draws, strict=True), strict=True):
                found[f"variance_{arm}_{name}"] = float(torch.stack(values).var(0).flatten(1).sum(-1).mean())
    return found


def trainings(arms: Sequence[Autoencoder], seeds: Sequence[int]) -> Experiment[Autoencoder]:
    """A table of the scale "book"."""
    return Experiment("mixture_gradients", Autoencoder, train, {"book": arms}, {"book": seeds})


RATES = (1e-3, 2e-3, 5e-3, 1e-2)
SEARCH_UPDATES = 3_000


def searched(best: Mapping[Autoencoder, float], seeds: Sequence[int]) -> Experiment[Autoencoder]:
    """The search of a table: the rate of every arm by the bound of held-out training images, with 3,000 updates.

    Each arm starts with `RATES`; where the best is the first or the last of them, the next by a factor of two follows.

    Args:
        best: what it chose.
        seeds: of the search; the mean over them is compared.
    """
    arms = []
    for arm, rate in best.items():
        search = replace(arm, updates=SEARCH_UPDATES, validation=True, bound_samples=500, repeats=2)
        rates = {*RATES, *((rate / 2, rate, 2 * rate) if not min(RATES) < rate < max(RATES) else ())}
        arms += [replace(search, learning_rate=value) for value in sorted(rates)]
    return trainings(arms, seeds)


def tuned(best: Mapping[Autoencoder, float], seeds: Sequence[int] = range(5)) -> Experiment[Autoencoder]:
    """The table of some arms, each at its rate."""
    return trainings([replace(arm, learning_rate=rate) for arm, rate in best.items()], seeds)


_digits = Autoencoder()
_mnist = Autoencoder("mnist", hidden=100, updates=5_000)


FEWER = ("leibniz", "responsibilities", "all components")


def arms_of(base: Autoencoder, estimators: Sequence[str] = ESTIMATORS) -> list[Autoencoder]:
    """One component, which leaves nothing to choose, and some estimators, each with as many evaluations as `base`."""
    single = replace(base, components=1, estimator="all components")
    return [single, *(replace(base, estimator=estimator) for estimator in estimators)]


def _tuned(arms: Sequence[Autoencoder], rates: Sequence[float]) -> dict[Autoencoder, float]:
    return dict(zip(arms, rates, strict=True))


#: What the searches chose.
TUNED_DIGITS = _tuned(arms_of(_digits), [0.002] * 6)
TUNED_MNIST = _tuned(arms_of(_mnist, FEWER), [0.01] * 4)
TUNED_WIDE = _tuned(arms_of(replace(_digits, latent=8), FEWER), [0.002] * 4)
#: Two evaluations: whose other costs does a score subtract?
TUNED_BASELINES = _tuned(
    [
        replace(_digits, evaluations=2),
        replace(_digits, evaluations=2, estimator="rule + trick"),
        *(
            replace(_digits, evaluations=2, estimator=estimator, baseline=baseline)
            for estimator in ("responsibilities", "one-hot")
            for baseline in BASELINES
        ),
    ],
    [0.002] * 6,
)
#: Seeds that no table of results has.
SEARCH_DIGITS = searched(TUNED_DIGITS | TUNED_WIDE | TUNED_BASELINES, range(100, 103))
SEARCH_MNIST = searched(TUNED_MNIST, range(100, 101))
DIGITS, BASELINE_ARMS = tuned(TUNED_DIGITS), tuned(TUNED_BASELINES)
MNIST, WIDE = tuned(TUNED_MNIST, range(3)), tuned(TUNED_WIDE, range(3))
_check = Autoencoder(
    hidden=8,
    updates=10,
    batch_size=20,
    train_size=100,
    test_size=20,
    bound_samples=50,
    repeats=4,
    components=3,
    evaluations=3,
)
#: Seconds each: every estimator and baseline once.
CHECK = Experiment(
    "mixture_gradients",
    Autoencoder,
    train,
    {
        "check": [
            *(replace(_check, estimator=estimator) for estimator in ESTIMATORS),
            replace(_check, estimator="one-hot", baseline="elements"),
        ]
    },
    {"check": range(1)},
)
