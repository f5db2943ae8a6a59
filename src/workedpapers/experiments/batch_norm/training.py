"""One run: a configuration, its network, how it is trained on handwritten digits.

As in section 4.1 of the paper: three hidden layers of 100 sigmoids on binary 28×28 images, cross-entropy over ten
classes, batches of 60, 50,000 updates, small random Gaussian weights. Ours, since the paper names none: plain gradient
descent; learning rate and deviation of the weights, searched for each arm. A convolutional network stands in for the
paper's Inception.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.batch_norm import BatchNorm, population_statistics
from workedpapers.lab import Experiment, progress
from workedpapers.tasks.splits import Split

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
PERCENTILES = (15, 50, 85)
GROUPS = {"shuffled": None, "sorted": 1, "halves": 5}  # neighbouring classes that share a batch


@dataclass(frozen=True)
class Training:
    """One configuration.

    Args:
        data: "mnist", "fashion-mnist" or "digits".
        binary: whether pixels are 0 or 1, as in the paper; else intensities from 0 to 1.
        network: "mlp" (`depth` hidden layers of 100 units) or "cnn" (three convolutions of stride 2: 16, 32, 64 maps).
        std: deviation of the starting weights of the "mlp"; the "cnn" has PyTorch's.
        activation: "sigmoid" or "relu".
        norm: "none", "batch", "group" (eight groups, convolutions only), or "noisy": batch normalisation, then noise
            with another mean and scale for every unit at every update.
        position: normalise "before" or "after" the nonlinearity.
        batch_size: images in a batch.
        ghost_size: normalise groups of so many images each by themselves; 0 for the whole batch.
        momentum: of the running statistics.
        learning_rate: of gradient descent.
        decay: whether the rate falls to zero, linearly over the updates; else it is constant.
        updates, evaluate_every: how many updates, and how many between evaluations.
        train_size: the first so many training images are trained on; the rest, if any, are for validation.
        order: "shuffled"; "sorted": every batch from one class; "halves": from the digits 0-4 or from 5-9.
        population: whether every evaluation is made with population statistics as well.
    """

    data: str = "mnist"
    binary: bool = False
    network: str = "mlp"
    depth: int = 3
    std: float = 0.1
    activation: str = "sigmoid"
    norm: str = "batch"
    position: str = "before"
    batch_size: int = 60
    ghost_size: int = 0
    momentum: float = 0.1
    learning_rate: float = 0.1
    decay: bool = False
    updates: int = 10_000
    evaluate_every: int = 1_000
    train_size: int = 60_000
    order: str = "shuffled"
    population: bool = False


class Ghost(nn.Module):
    """Batch normalisation of groups of `size` examples, each by itself; whole batches in evaluation."""

    def __init__(self, norm: BatchNorm, size: int) -> None:
        super().__init__()
        self.norm, self.size = norm, size

    def forward(self, x: Tensor) -> Tensor:
        """Normalise group by group in training."""
        parts = torch.split(x, self.size) if self.training else (x,)
        return torch.cat([self.norm(part) for part in parts])


class Noise(nn.Module):
    """In training, another scale in [0.5, 1.5] and shift in [−1, 1] for every unit at every call."""

    def forward(self, x: Tensor) -> Tensor:
        """Disturb the distribution of every unit."""
        if not self.training:
            return x
        scale, shift = torch.rand(2, x.shape[1], device=x.device)
        disturbed: Tensor = x * (0.5 + scale) + 2 * shift - 1
        return disturbed


def build(config: Training, pixels: int) -> nn.Sequential:
    """The network of a configuration.

    Args:
        config: which one.
        pixels: of an image.
    Shape: images (N, 1, height, width) → logits (N, 10).
    Raises: ValueError: an unknown network, activation, norm or position.
    """
    for name, value, known in (
        ("network", config.network, ("mlp", "cnn")),
        ("activation", config.activation, tuple(ACTIVATIONS)),
        ("norm", config.norm, ("none", "batch", "group", "noisy")),
        ("position", config.position, ("before", "after")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    layers: list[nn.Module] = []
    biased = config.norm == "none" or config.position == "after"  # a norm right behind takes every offset out
    if config.network == "mlp":
        sizes = [pixels] + config.depth * [100]
        layers.append(nn.Flatten())
        hidden: list[nn.Module] = [nn.Linear(a, b, bias=biased) for a, b in pairwise(sizes)]
        head = nn.Linear(sizes[-1], 10)
        for layer in (*hidden, head):
            nn.init.normal_(layer.weight, std=config.std)  # type: ignore[arg-type]
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    else:
        maps = (1, 16, 32, 64)
        hidden = [nn.Conv2d(a, b, 3, 2, 1, bias=biased) for a, b in pairwise(maps)]
        head = nn.Linear(64, 10)
    for layer in hidden:
        norm = _norm(config, len(layer.weight))  # type: ignore[arg-type]
        activation = ACTIVATIONS[config.activation]()
        layers += [layer, *([*norm, activation] if config.position == "before" else [activation, *norm])]
    if config.network == "cnn":
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, head)


def _norm(config: Training, features: int) -> list[nn.Module]:
    if config.norm == "none":
        return []
    if config.norm == "group":
        return [nn.GroupNorm(8, features)]
    norm: nn.Module = BatchNorm(features, momentum=config.momentum)
    if config.ghost_size:
        norm = Ghost(norm, config.ghost_size)  # type: ignore[arg-type]
    return [norm, Noise()] if config.norm == "noisy" else [norm]


def load(config: Training, part: str, device: torch.device) -> Split:
    """The "train" or "test" images of a configuration."""
    found = Split.load(config.data, part, device)
    return Split((found.images > 0.5).float(), found.labels) if config.binary else found


def error(model: nn.Module, split: Split) -> tuple[float, float]:
    """Error in percent and cross-entropy in nats, in the mode in which the model is."""
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(split.images, 1000)])
        wrong = int((logits.argmax(1) != split.labels).sum())
        return 100 * wrong / len(logits), float(F.cross_entropy(logits, split.labels))


def batch_statistics_error(model: nn.Module, split: Split, size: int) -> float:
    """Error in percent where every batch of `size` is normalised by its own statistics; leaves the model as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with torch.no_grad():
        parts = [part for part in torch.split(split.images, size) if len(part) == size]
        labels = split.labels[: size * len(parts)]
        wrong = int((torch.cat([model(part) for part in parts]).argmax(1) != labels).sum())
    model.load_state_dict(before)
    model.eval()
    return 100 * wrong / len(labels)


class Run:
    """A network on its way: `update` does one step of gradient descent."""

    def __init__(self, config: Training, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.config = config
        whole, self.test = load(config, "train", device), load(config, "test", device)
        self.train = whole.cut(slice(config.train_size))
        self.validation = whole.cut(slice(config.train_size, None))
        self.model = build(config, whole.images[0].numel()).to(device)
        self.batches = self.train.batches(config.batch_size, torch.Generator().manual_seed(seed), GROUPS[config.order])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config.learning_rate)
        fall = 1 / config.updates if config.decay else 0.0
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda done: 1 - fall * done)

    def update(self) -> float:
        """One step; returns the loss before it."""
        images, labels = next(self.batches)
        loss = F.cross_entropy(self.model(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def recompute_statistics(self, split: Split, batches: int = 100) -> None:
        """Population statistics from so many batches of a split, as large as those of training."""
        generator = torch.Generator().manual_seed(0)
        size = min(self.config.batch_size, len(split.labels))
        some = split.batches(size, generator)
        population_statistics(self.model, (next(some)[0] for _ in range(batches)))

    def population_error(self, split: Split) -> float:
        """Error in percent with population statistics of the training images; leaves the model as it was."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.recompute_statistics(self.train)
        found = error(self.model, split)[0]
        self.model.load_state_dict(before)
        return found


def train(config: Training, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network; the metrics of the row.

    Returns: curves `curve_updates`, `train_loss` (mean since the last evaluation), `curve_error` (test, %),
        `curve_population` (the same with population statistics, if asked for), `percentile_15`, `_50`, `_85` (of the
        input of one sigmoid or ReLU of the last hidden layer over the test images); at the end `test_error`,
        `train_error` (first 10,000 images), `validation_error` (if there are such images), and with batch normalisation
        `population_error` and `batch_error` (test batches, grouped as in training, by their own statistics);
        `updates_done`, fewer than asked for if the loss diverged; `growth`, the length of the first layer's weights
        over that at the start.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run = Run(config, seed, device)
        observed = observe_last_activation(run.model)
        names = ["curve_updates", "train_loss", "curve_error", *(f"percentile_{p}" for p in PERCENTILES)]
        curves: dict[str, list[float]] = {name: [] for name in names + config.population * ["curve_population"]}
        first = next(parameter for parameter in run.model.parameters() if parameter.dim() > 1)
        length = float(first.detach().norm())
        loss = 0.0
        for update in progress(range(1, config.updates + 1), f"{config.network} {config.norm}"):
            loss += run.update()
            if not math.isfinite(loss):
                break
            if update % config.evaluate_every == 0 or update == config.updates:
                run.model.eval()
                observed.clear()
                curves["curve_updates"].append(update)
                curves["train_loss"].append(loss / ((update - 1) % config.evaluate_every + 1))
                curves["curve_error"].append(error(run.model, run.test)[0])
                inputs = torch.cat(observed)[:, 0].flatten()
                for p in PERCENTILES:
                    curves[f"percentile_{p}"].append(float(torch.quantile(inputs, p / 100)))
                if config.population:
                    curves["curve_population"].append(run.population_error(run.test))
                loss = 0.0
                run.model.train()
            observed.clear()
        run.model.eval()
        metrics: dict[str, object] = {
            "test_error": error(run.model, run.test)[0],
            "train_error": error(run.model, run.train.cut(slice(10_000)))[0],
            "updates_done": update,
            "growth": float(first.detach().norm()) / length,
        }
        if len(run.validation.labels):
            metrics["validation_error"] = error(run.model, run.validation)[0]
        if config.norm in ("batch", "noisy"):
            groups = run.test.labels // (GROUPS[config.order] or 10)
            alike = run.test.cut(groups.argsort(stable=True))  # batches as those of training
            metrics["population_error"] = run.population_error(run.test)
            metrics["batch_error"] = batch_statistics_error(run.model, alike, config.batch_size)
        return metrics | curves


def observe_last_activation(model: nn.Sequential) -> list[Tensor]:
    """A list to which each call of the model adds the input of its last nonlinearity."""
    observed: list[Tensor] = []
    last = [module for module in model if isinstance(module, tuple(ACTIVATIONS.values()))][-1]
    last.register_forward_hook(lambda _, inputs, __: observed.append(inputs[0].detach()))
    return observed


RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
SEARCH_SEED = (100,)  # no other table uses it


def trainings(book: Sequence[Training], seeds: Sequence[int] = range(5)) -> Experiment[Training]:
    """A table of this task: its configurations at scale `book`, and their seeds."""
    return Experiment("batch_norm", Training, train, {"book": book}, {"book": seeds})
