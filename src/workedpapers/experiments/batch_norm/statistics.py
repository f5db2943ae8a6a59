"""Whose statistics at inference: a running average, an extra pass, or those of another domain."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workedpapers.lab import Experiment, progress

from .rates import FIGURE_ARMS, figure
from .training import Run, Training, error, trainings

#: Running against population statistics, from the first update on.
STATISTICS = trainings(
    [
        replace(
            figure("batch", *FIGURE_ARMS["batch"]), momentum=momentum, updates=400, evaluate_every=20, population=True
        )
        for momentum in (0.1, 0.01)
    ]
)


@dataclass(frozen=True)
class Domain:
    """Train on digits as they are, then meet altered ones: with the statistics of training, and with new ones."""

    data: str = "mnist"
    learning_rate: float = 1.0
    updates: int = 5_000


SHIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "grey": lambda x: 0.3 * x + 0.4,
    "inverted": lambda x: 1 - x,
    "noisy": lambda x: x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device),
    "moved": lambda x: x.roll(x.shape[3] // 8, 3),
}


def adapt(config: Domain, seed: int, device: torch.device) -> dict[str, object]:
    """Errors (%) on altered test images; the labels of altered images are never used for adapting.

    Returns: for each of `SHIFTS`, `<name>_kept` and `<name>_new`: with the statistics of training, and with population
        statistics of the altered test images.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run = Run(Training(config.data, learning_rate=config.learning_rate), seed, device)
        for _ in progress(range(config.updates), "training"):
            run.update()
        run.recompute_statistics(run.train)
        run.model.eval()
        trained = {name: value.clone() for name, value in run.model.state_dict().items()}
        metrics: dict[str, object] = {}
        for name, shift in SHIFTS.items():
            altered = run.test.cut(slice(None))
            altered.images = shift(altered.images)
            metrics[f"{name}_kept"] = error(run.model, altered)[0]
            run.recompute_statistics(altered)
            metrics[f"{name}_new"] = error(run.model, altered)[0]
            run.model.load_state_dict(trained)
        return metrics


#: Altered digits.
DOMAIN = Experiment(
    "batch_norm_domain",
    Domain,
    adapt,
    {"check": [Domain("digits", updates=40)], "book": [Domain()]},
    {"check": range(1), "book": range(5)},
)
