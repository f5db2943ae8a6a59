"""Is it covariate shift, or a smoother loss? Noise behind the layer, and a look along the gradient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment, progress

from .layers import DEEP_RATES, STDS, deep
from .training import SEARCH_SEED, Run, Training, error, observe_last_activation, trainings

#: Starting weights and rate of the network with noise, by validation error; its rivals are those of `DEPTH`.
SEARCH_NOISE = trainings([deep(3, "noisy", std, rate) for std, rate in product(STDS, DEEP_RATES)], SEARCH_SEED)
#: What `SEARCH_NOISE` chose: std and rate.
NOISE_ARM = (0.2, 3.0)
#: Noise behind the layer.
NOISE = trainings([deep(3, "noisy", *NOISE_ARM)])


@dataclass(frozen=True)
class Landscape:
    """Train, and every so often look along the gradient and at what an update does to the layer above it."""

    data: str = "mnist"
    norm: str = "none"
    learning_rate: float = 1.0
    updates: int = 2_000
    measure_every: int = 50


STEPS = (0.5, 1.0, 2.0, 4.0)  # looks along the gradient, in units of the learning rate
MEASURES = (
    "loss",
    "loss_low",
    "loss_high",
    "gradient_change",
    "shift",
    "relative_shift",
    "shift_cosine",
    "drift",
)


def look(config: Landscape, seed: int, device: torch.device) -> dict[str, object]:
    """What the loss does along the gradient, and how much the layers below disturb the last hidden layer.

    Every measurement uses one training batch, and the same noise for all evaluations.

    Returns: curves over `curve_updates`: `loss`; `loss_low` and `loss_high`, the extremes at the `STEPS`;
        `gradient_change`, the largest ‖∇L(θ − ηg) − g‖ / ‖g‖ there; for the gradient G of the last hidden layer's
        weights before, and G' after the layers below are updated: `shift` ‖G − G'‖, by which Santurkar et al. 2018
        define internal covariate shift, `relative_shift` ‖G − G'‖ / ‖G‖ and `shift_cosine`, the cosine of their
        angle; `drift`, how far the mean input of its units moves in one update, in standard deviations, averaged over
        the units. At the end `test_error`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        settings = Training(config.data, norm=config.norm, learning_rate=config.learning_rate)
        run = Run(settings, seed, device)
        observed = observe_last_activation(run.model)
        curves: dict[str, list[float]] = {name: [] for name in ("curve_updates", *MEASURES)}
        for update in progress(range(1, config.updates + 1), config.norm):
            if update % config.measure_every == 0:
                measured = _measure(run, config.learning_rate, observed)
                for name, value in zip(curves, (update, *measured), strict=True):
                    curves[name].append(value)
            run.update()
            observed.clear()
        run.model.eval()
        return {"test_error": error(run.model, run.test)[0], **curves}


def _measure(run: Run, learning_rate: float, observed: list[Tensor]) -> tuple[float, ...]:
    """The `MEASURES`, in their order; leaves the run as it was, but for a batch."""
    model, (images, labels) = run.model, next(run.batches)
    parameters = list(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = torch.random.get_rng_state()

    def loss_and_gradient() -> tuple[float, list[Tensor]]:
        torch.random.set_rng_state(noise)
        loss = F.cross_entropy(model(images), labels)
        return loss.item(), list(torch.autograd.grad(loss, parameters))

    def move(steps: Sequence[float]) -> None:
        with torch.no_grad():
            for parameter, step, direction in zip(parameters, steps, gradient, strict=True):
                parameter.sub_(step * direction)

    loss, gradient = loss_and_gradient()
    losses, changes = [], []
    for step in STEPS:
        move([step * learning_rate] * len(parameters))
        there, its_gradient = loss_and_gradient()
        losses.append(there)
        changes.append(_distance(its_gradient, gradient) / _length(gradient))
        model.load_state_dict(before)

    # Weights of the hidden layers: the last of them has its own learned numbers, and those below it, updated first.
    weights = [module.weight for module in model if isinstance(module, nn.Linear)]
    last = next(i for i, parameter in enumerate(parameters) if parameter is weights[-2])
    observed.clear()
    loss_and_gradient()
    move([learning_rate if i < last else 0.0 for i in range(len(parameters))])
    own, disturbed = gradient[last], loss_and_gradient()[1][last]
    shift = _distance([disturbed], [own])
    cosine = float(F.cosine_similarity(disturbed.flatten(), own.flatten(), dim=0))
    model.load_state_dict(before)
    move([learning_rate] * len(parameters))
    torch.random.set_rng_state(noise)
    torch.rand(1)  # the next update has other noise
    with torch.no_grad():
        model(images)
    first, after = observed[0], observed[-1]
    drift = float(((after.mean(0) - first.mean(0)).abs() / first.std(0)).mean())
    model.load_state_dict(before)
    return loss, min(losses), max(losses), max(changes), shift, shift / _length([own]), cosine, drift


def _length(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return _length([a - b for a, b in zip(first, second, strict=True)])


#: What the loss does along the gradient, and how the layers below disturb the one above; one rate for all.
LANDSCAPE = Experiment(
    "batch_norm_landscape",
    Landscape,
    look,
    {
        "check": [Landscape("digits", norm, updates=10, measure_every=5) for norm in ("none", "noisy")],
        "book": [Landscape(norm=norm) for norm in ("none", "batch", "noisy")],
    },
    {"check": range(1), "book": range(5)},
)
