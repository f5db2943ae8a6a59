"""Pictures read pixel by pixel: the paper's first task at the sizes of this book."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.recurrent_batch_norm import BatchNormLSTM
from workedpapers.tasks.splits import Split

from .descent import descend, seeded
from .models import HiddenInit, Recurrent, State

SIDES = {"digits": 8, "mnist": 14}
HELD = {"digits": 400, "mnist": 5_000}  # the last training images, for validation


@dataclass(frozen=True)
class Pixels:
    """One configuration.

    Args:
        data: "digits" (8×8) or "mnist" (means of 2×2 pixels: 14×14).
        order: of the pixels: "rows", "permuted" (one fixed permutation) or "redrawn" (as many draws with replacement).
        blanks: pixels of value zero before the picture.
        model: of `models.KINDS`.
        hidden_size: units of the recurrent layer.
        weight_init, eps, normalize_cell, hidden_init: see `models.Recurrent`.
        noise: standard deviation of the state before the first step, in training.
        learning_rate: of Adam's first update; the rate falls linearly to zero.
        updates, batch_size: of gradient descent; gradients are clipped at norm 1.
        train_size, test_size: the first so many images.
        standardize: whether mean and deviation of all training pixels are taken out of the pictures first.
    """

    data: str = "digits"
    order: str = "permuted"
    blanks: int = 0
    model: str = "batch"
    hidden_size: int = 64
    weight_init: float = 0.1
    eps: float = 1e-5
    normalize_cell: bool = True
    hidden_init: HiddenInit = "orthogonal"
    noise: float = 0.0
    learning_rate: float = 3e-3
    updates: int = 600
    batch_size: int = 64
    train_size: int = 60_000
    test_size: int = 10_000
    standardize: bool = False


def pixel_order(order: str, length: int) -> Tensor:
    """Where each step looks, shape (length,), the same in every run.

    Raises: ValueError: an unknown order.
    """
    generator = torch.Generator().manual_seed(0)
    if order == "rows":
        return torch.arange(length)
    if order == "permuted":
        return torch.randperm(length, generator=generator)
    if order == "redrawn":
        return torch.randint(length, (length,), generator=generator)
    raise ValueError(f"order must be one of rows, permuted, redrawn, got {order!r}")


def sequences(config: Pixels, part: str, device: torch.device) -> Split:
    """The images as sequences: `images` of shape (size, time, 1)."""
    split = Split.load(config.data, part, device)
    images = F.adaptive_avg_pool2d(split.images, SIDES[config.data]).flatten(1)
    if config.standardize:
        every = Split.load(config.data, "train", device).images
        every = F.adaptive_avg_pool2d(every, SIDES[config.data])
        images = (images - every.mean()) / every.std()
    images = images[:, pixel_order(config.order, images.shape[1]).to(device)]
    return Split(F.pad(images, (config.blanks, 0)).unsqueeze(-1), split.labels)


class Classifier(Recurrent):
    """Reads sequences (batch, time, 1) and names the digit after the last step: logits (batch, 10)."""

    def forward(self, images: Tensor, state: State | None = None) -> Tensor:  # type: ignore[override]
        """Logits."""
        logits: Tensor = self.head(super().forward(images.transpose(0, 1), state)[-1])
        return logits


def build(config: Pixels, length: int) -> Classifier:
    """The network of a configuration, for sequences of a length."""
    return Classifier(
        config.model,
        (1, config.hidden_size, 10),
        max_length=length,
        weight_init=config.weight_init,
        eps=config.eps,
        normalize_cell=config.normalize_cell,
        hidden_init=config.hidden_init,
    )


def noisy_state(config: Pixels, like: Tensor) -> State | None:
    """h and c before the first step of a training batch."""
    if not config.noise:
        return None
    h, c = config.noise * torch.randn(2, len(like), config.hidden_size, device=like.device)
    return h, c


def train(config: Pixels, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network; the metrics of the row.

    Returns: `train_error` (the first 1,000 images), `validation_error`, `test_error`, in %, with exact statistics of
        every step where there are any; `loss`, mean of the last 50 updates; `curve_updates`, `curve_error`: error on
        the first 1,000 validation images at ten moments; `gradient`: largest norm of the gradient before clipping, in
        the first 20 updates (None where it is not finite); `skipped`: updates left out because it was not; for the
        paper's model also `running_error`, `averaged_error`, `batch_error`: test error with running statistics, with
        statistics averaged over time and with those of batches of 100.
    """
    with seeded(seed, device):
        whole, test = sequences(config, "train", device), sequences(config, "test", device)
        held = whole.cut(slice(-HELD[config.data], None))
        seen = whole.cut(slice(min(config.train_size, len(whole.labels) - HELD[config.data])))
        test = test.cut(slice(config.test_size))
        model = build(config, whole.images.shape[1]).to(device)
        batches = seen.batches(config.batch_size, torch.Generator().manual_seed(seed))

        def loss() -> Tensor:
            images, labels = next(batches)
            return F.cross_entropy(model(images, noisy_state(config, images)), labels)

        def validation_error() -> float:
            with model.settled(_arguments(config, seen, 20)):
                return error(model, held.cut(slice(1_000)))

        run = descend(model, loss, config, f"{config.model} {config.order}", validation_error)
        running = model.statistics()
        model.settle(_arguments(config, seen, 100))
        metrics: dict[str, object] = {
            "train_error": error(model, seen.cut(slice(1_000))),
            "validation_error": error(model, held),
            "test_error": error(model, test),
            "loss": run.loss,
            "gradient": max(run.norms[:20]) if all(map(math.isfinite, run.norms[:20])) else None,
            "skipped": sum(not math.isfinite(norm) for norm in run.norms),
        }
        if isinstance(model.layer, BatchNormLSTM):
            exact = model.statistics()
            model.restore(running)
            metrics["running_error"] = error(model, test)
            model.restore(exact)
            model.average_statistics()
            metrics["averaged_error"] = error(model, test)
            metrics["batch_error"] = error(model, test, batch_statistics=True)
        return metrics | {"curve_updates": run.moments, "curve_error": run.measured}


def error(model: Classifier, split: Split, batch_statistics: bool = False) -> float:
    """Error in percent, in evaluation; with the statistics of batches of 100 if asked for."""
    model.train(batch_statistics)
    with torch.no_grad():
        answers = [model(part).argmax(1) for part in torch.split(split.images, 100 if batch_statistics else 500)]
    model.eval()
    return 100 * float((torch.cat(answers) != split.labels).double().mean())


def _arguments(config: Pixels, seen: Split, most: int) -> Iterator[tuple[Tensor, State | None]]:
    """The first batches of the training images, and the states that they start from."""
    for part in torch.split(seen.images, config.batch_size)[:most]:
        if len(part) > 1:
            yield part, noisy_state(config, part)


def trainings(book: Sequence[Pixels], seeds: Sequence[int] = range(5)) -> Experiment[Pixels]:
    """A table of this task: its configurations at scale `book`, and their seeds."""
    return Experiment("recurrent_batch_norm", Pixels, train, {"book": book}, {"book": seeds})
