"""Batch normalisation on handwritten digits (chapter `notebooks/batch_norm`).

As in section 4.1 of the paper: three hidden layers of 100 sigmoids on binary 28×28 images, cross-entropy over ten
classes, batches of 60, 50,000 updates. Ours, since the paper names none: plain stochastic gradient descent at a
constant learning rate that is searched for both arms alike (`SEARCH`), weights from N(0, 0.1²), biases from zero.
The convolutional network stands in for the paper's Inception.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.batch_norm import BatchNorm, batch_norm, population_statistics
from workedpapers.lab import Claim, Experiment, judge, missing, progress, sweep
from workedpapers.lab.timing import interleaved
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
    if config.network == "mlp":
        sizes = [pixels] + config.depth * [100]
        layers.append(nn.Flatten())
        hidden: list[nn.Module] = [nn.Linear(a, b, bias=config.norm == "none") for a, b in pairwise(sizes)]
        head = nn.Linear(sizes[-1], 10)
        for layer in (*hidden, head):
            nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    else:
        maps = (1, 16, 32, 64)
        hidden = [nn.Conv2d(a, b, 3, 2, 1, bias=config.norm == "none") for a, b in pairwise(maps)]
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
        observed = _observe_last_activation(run.model)
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


def _observe_last_activation(model: nn.Sequential) -> list[Tensor]:
    """A list to which each call of the model adds the input of its last nonlinearity."""
    observed: list[Tensor] = []
    last = [module for module in model if isinstance(module, tuple(ACTIVATIONS.values()))][-1]
    last.register_forward_hook(lambda _, inputs, __: observed.append(inputs[0].detach()))
    return observed


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


@dataclass(frozen=True)
class Landscape:
    """Train, and every so often look along the gradient and at what an update does to the layer above it."""

    data: str = "mnist"
    norm: str = "none"
    learning_rate: float = 1.0
    updates: int = 2_000
    measure_every: int = 50


STEPS = (0.5, 1.0, 2.0, 4.0)  # looks along the gradient, in units of the learning rate


def look(config: Landscape, seed: int, device: torch.device) -> dict[str, object]:
    """What the loss does along the gradient, and how much the layers below disturb the last hidden layer.

    Every measurement uses one training batch, and the same noise for all evaluations.

    Returns: curves over `curve_updates`: `loss`; `loss_low` and `loss_high`, the extremes at the `STEPS`;
        `gradient_change`, the largest ‖∇L(θ − ηg) − g‖ / ‖g‖ there; `layer_change`, ‖G − G'‖ / ‖G‖ for the gradient G
        of the last hidden layer's weights before, and G' after the layers below are updated (how Santurkar et al. 2018
        define internal covariate shift); `drift`, how far the mean input of its units moves in one update, in
        standard deviations, averaged over the units. At the end `test_error`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        settings = Training(config.data, norm=config.norm, learning_rate=config.learning_rate)
        run = Run(settings, seed, device)
        observed = _observe_last_activation(run.model)
        names = ("loss", "loss_low", "loss_high", "gradient_change", "layer_change", "drift")
        curves: dict[str, list[float]] = {name: [] for name in ("curve_updates", *names)}
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
    model, (images, labels) = run.model, next(run.batches)
    parameters = list(model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = torch.random.get_rng_state()

    def loss_and_gradient() -> tuple[float, list[Tensor]]:
        torch.random.set_rng_state(noise)
        loss = F.cross_entropy(model(images), labels)
        return loss.item(), list(torch.autograd.grad(loss, parameters))

    def move(steps: Iterable[float]) -> None:
        with torch.no_grad():
            for parameter, step, direction in zip(parameters, steps, gradient, strict=True):
                parameter.sub_(step * direction)

    def distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
        return math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(first, second, strict=True)))

    zeros = [torch.zeros(()) for _ in parameters]
    loss, gradient = loss_and_gradient()
    length = distance(gradient, zeros)
    losses, changes = [], []
    for step in STEPS:
        move([step * learning_rate] * len(parameters))
        there, its_gradient = loss_and_gradient()
        losses.append(there)
        changes.append(distance(its_gradient, gradient) / length)
        model.load_state_dict(before)

    # Weights of the hidden layers: the last of them has its own learned numbers, and those below it, updated first.
    weights = [module.weight for module in model if isinstance(module, nn.Linear)]
    last = next(i for i, parameter in enumerate(parameters) if parameter is weights[-2])
    observed.clear()
    loss_and_gradient()
    move([learning_rate if i < last else 0.0 for i in range(len(parameters))])
    _, disturbed = loss_and_gradient()
    layer_change = distance([disturbed[last]], [gradient[last]]) / distance([gradient[last]], [zeros[0]])
    model.load_state_dict(before)
    move([learning_rate] * len(parameters))
    torch.random.set_rng_state(noise)
    torch.rand(1)  # the next update has other noise
    with torch.no_grad():
        model(images)
    first, after = observed[0], observed[-1]
    drift = float(((after.mean(0) - first.mean(0)).abs() / first.std(0)).mean())
    model.load_state_dict(before)
    return loss, min(losses), max(losses), max(changes), layer_change, drift


@dataclass(frozen=True)
class Cost:
    """What to time: an input of `batch_size` images of `side` × `side` sites; with side 0, of plain features.

    With `compiled`, the readable formula under torch.compile, too, which needs a compiler.
    """

    batch_size: int = 32
    channels: int = 64
    side: int = 32
    compiled: bool = True
    repeats: int = 30


def readable(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The formula of the paper as one would write it, for autograd to differentiate."""
    axes = [0, *range(2, x.dim())]
    mean = x.mean(axes, keepdim=True)
    var = ((x - mean) ** 2).mean(axes, keepdim=True)
    x_hat = (x - mean) / torch.sqrt(var + 1e-5)
    shape = (1, -1, *[1] * (x.dim() - 2))
    return weight.view(shape) * x_hat + bias.view(shape)


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward and backward passes, each rival in turn with torch's kernel, on one thread.

    Returns: `ours_ratio`, `readable_ratio` and, if asked for, `compiled_ratio`: the rival's time over that of
        `torch.nn.functional.batch_norm`, medians over the rounds.
    """
    generator = torch.Generator().manual_seed(seed)
    sites = (config.side, config.side) if config.side else ()
    x, grad_output = torch.randn(2, config.batch_size, config.channels, *sites, generator=generator).to(device)
    weight, bias = (torch.ones(config.channels, device=device, requires_grad=True) for _ in range(2))
    leaves = [x.requires_grad_(), weight, bias]

    def step(layer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(layer(*leaves), leaves, grad_output)

    def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, weight, bias, training=True)

    rivals: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"ours": batch_norm, "readable": readable}
    if config.compiled:
        rivals["compiled"] = torch.compile(readable)
    ratios: dict[str, object] = {}
    for name, rival in rivals.items():
        timed = interleaved({"rival": step(rival), "torch": step(torchs)}, config.repeats)
        ratios[f"{name}_ratio"] = timed["torch"].ratio
    return ratios


def _trainings(seeds: Sequence[int] = range(5), **grid: Sequence[Training]) -> Experiment[Training]:
    return Experiment("batch_norm", Training, train, grid, dict.fromkeys(grid, seeds))


RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
_search = range(100, 101)  # a seed that no other table uses

_figure = Training(binary=True, updates=50_000)
_cnn = Training(
    network="cnn", activation="relu", norm="none", batch_size=32, decay=True, updates=6_000, evaluate_every=250
)
_check = Training("digits", updates=40, evaluate_every=20, batch_size=20, learning_rate=0.5, train_size=1_300)

#: Seconds each: every norm, network and position once. No norm after a ReLU: there units that are almost dead magnify
#: rounding, and the row would differ between processors.
CHECK = _trainings(
    range(1),
    check=[
        replace(_check, norm="none"),
        replace(_check, population=True, position="after"),
        replace(_check, norm="noisy", activation="relu", learning_rate=0.1, train_size=1_400),
        replace(_check, batch_size=40, ghost_size=10, order="sorted"),
        replace(_check, network="cnn", activation="relu"),
        replace(_check, network="cnn", norm="group"),
    ],
)
#: The learning rate of the paper's network, by validation error after 10,000 updates.
SEARCH = _trainings(
    _search,
    book=[
        replace(_figure, norm=norm, learning_rate=rate, updates=10_000, train_size=50_000)
        for norm, rate in product(("none", "batch"), RATES)
    ],
)
#: The learning rate of the convolutional network without normalisation.
SEARCH_CNN = _trainings(
    _search,
    book=[
        replace(_cnn, activation=activation, learning_rate=rate, train_size=50_000, evaluate_every=1_000)
        for activation, rates in (("relu", (0.1, 0.3, 1.0, 3.0)), ("sigmoid", (0.3, 1.0, 3.0, 10.0)))
        for rate in rates
    ],
)
#: What the searches chose: lowest validation error.
BEST_RATES = {"none": 3.0, "batch": 1.0}
CNN_RATES = {"relu": 1.0, "sigmoid": 0.3}
LOW_RATE = 0.1  # a tenth of the best

#: The paper's figure 1, at the best rate of each arm.
FIGURE = _trainings(
    book=[replace(_figure, norm=norm, learning_rate=rate) for norm, rate in BEST_RATES.items()],
)
#: The same at one low rate for both arms.
FIGURE_LOW = _trainings(
    range(3), book=[replace(_figure, norm=norm, learning_rate=0.1, updates=20_000) for norm in BEST_RATES]
)
#: The paper's table of steps: the best rate of the network without normalisation, and five and thirty times that.
STEPS_TABLE = _trainings(
    range(3),
    book=[
        *(replace(_cnn, learning_rate=factor * CNN_RATES["relu"]) for factor in (1, 5)),
        *(
            replace(_cnn, norm="batch", learning_rate=factor * CNN_RATES["relu"], population=True)
            for factor in (1, 5, 30)
        ),
        replace(_cnn, activation="sigmoid", learning_rate=CNN_RATES["sigmoid"]),
        replace(_cnn, activation="sigmoid", norm="batch", learning_rate=5 * CNN_RATES["relu"], population=True),
    ],
)
#: The same from a rate that is ten times too low.
STEPS_LOW = _trainings(
    range(3),
    book=[
        replace(_cnn, learning_rate=LOW_RATE),
        *(replace(_cnn, norm="batch", learning_rate=factor * LOW_RATE, population=True) for factor in (1, 5, 30)),
    ],
)
#: Which rates leave a network that has learned something after 1,000 updates.
RANGE = _trainings(
    range(3),
    book=[
        replace(_cnn, norm=norm, learning_rate=rate, decay=False, updates=1_000, evaluate_every=1_000)
        for norm, rate in product(("none", "batch"), (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0))
    ],
)

# For each arm of the tables below, the rate with the lowest mean validation error counts: `best_rate`.
_short = Training(updates=5_000, evaluate_every=5_000, train_size=50_000)
#: How many hidden layers of sigmoids can be trained.
DEPTH = _trainings(
    range(3),
    book=[
        replace(_short, depth=depth, norm=norm, learning_rate=rate)
        for depth, norm, rate in product((3, 6, 12), ("none", "batch"), (0.3, 1.0, 3.0))
    ],
)
#: Normalise before or after the nonlinearity.
POSITION = _trainings(
    range(3),
    book=[
        replace(_short, activation=activation, position=position, learning_rate=rate)
        for activation, position, rate in product(ACTIVATIONS, ("before", "after"), (0.3, 1.0, 3.0))
    ],
)
#: Smaller and smaller batches, 20,000 images in all; rates proportional to the size, chosen at 32.
SIZES = (2, 4, 8, 16, 32, 64)
SEARCH_SIZES = _trainings(
    _search,
    book=[
        replace(_cnn, norm=norm, learning_rate=rate, updates=625, evaluate_every=625, train_size=20_000)
        for norm, rate in product(("batch", "group"), RATES)
    ],
)
SIZES_RATES = {"batch": 3.0, "group": 1.0}
BATCH_SIZES = _trainings(
    range(3),
    book=[
        replace(
            _cnn,
            norm=norm,
            batch_size=size,
            learning_rate=rate * size / 32,
            updates=20_000 // size,
            evaluate_every=20_000 // size,
            train_size=20_000,
        )
        for (norm, rate), size in product(SIZES_RATES.items(), SIZES)
    ],
)
#: The same without sites: one value per feature and example. Not searched.
FULLY_CONNECTED = _trainings(
    range(3),
    book=[
        Training(
            activation="relu",
            batch_size=size,
            learning_rate=size / 64,
            updates=20_000 // size,
            evaluate_every=20_000 // size,
            train_size=20_000,
        )
        for size in SIZES
    ],
)
#: Batches that hold only some of the classes.
ORDER = _trainings(
    range(3),
    book=[
        replace(_short, norm=norm, order=order, updates=3_000, evaluate_every=3_000, learning_rate=0.3)
        for norm, order in product(("none", "batch"), GROUPS)
    ],
)
#: Few images, large batches: is the noise of small groups a regulariser?
GHOST = _trainings(
    range(3),
    book=[
        replace(
            _short,
            activation="relu",
            norm=norm,
            ghost_size=ghost,
            batch_size=256,
            train_size=2_000,
            updates=1_000,
            evaluate_every=1_000,
            learning_rate=rate,
        )
        for (norm, ghost), rate in product((("none", 0), ("batch", 0), ("batch", 64), ("batch", 16)), (0.1, 0.3, 1.0))
    ],
)
#: Running against population statistics, from the first update on.
STATISTICS = _trainings(
    book=[
        replace(
            _figure,
            learning_rate=BEST_RATES["batch"],
            momentum=momentum,
            updates=400,
            evaluate_every=20,
            population=True,
        )
        for momentum in (0.1, 0.01)
    ],
)
#: Altered digits.
DOMAIN = Experiment(
    "batch_norm_domain",
    Domain,
    adapt,
    {"check": [Domain("digits", updates=40)], "book": [Domain()]},
    {"check": range(1), "book": range(5)},
)
#: What the loss does along the gradient.
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

#: Time of a forward and a backward pass beside torch's kernel.
COST = Experiment(
    "batch_norm_cost",
    Cost,
    measure,
    {
        "check": [Cost(4, 3, 5, compiled=False, repeats=2)],
        "book": [Cost(60, 100, 0), Cost(256, 1024, 0), Cost(32, 64, 32), Cost(64, 128, 16), Cost(64, 16, 64)],
    },
    {"check": range(1), "book": range(1)},
)

EXPERIMENTS: dict[str, Experiment[Training] | Experiment[Domain] | Experiment[Landscape] | Experiment[Cost]] = {
    "check": CHECK,
    "search": SEARCH,
    "search_cnn": SEARCH_CNN,
    "search_sizes": SEARCH_SIZES,
    "figure": FIGURE,
    "figure_low": FIGURE_LOW,
    "steps": STEPS_TABLE,
    "steps_low": STEPS_LOW,
    "range": RANGE,
    "depth": DEPTH,
    "position": POSITION,
    "batch_sizes": BATCH_SIZES,
    "fully_connected": FULLY_CONNECTED,
    "order": ORDER,
    "ghost": GHOST,
    "statistics": STATISTICS,
    "domain": DOMAIN,
    "landscape": LANDSCAPE,
    "cost": COST,
}


ARMS = {  # rows of the table of steps: activation, norm, rate as a multiple of the baseline's
    "no norm": ("relu", "none", 1),
    "no norm, ×5": ("relu", "none", 5),
    "batch norm, ×1": ("relu", "batch", 1),
    "batch norm, ×5": ("relu", "batch", 5),
    "batch norm, ×30": ("relu", "batch", 30),
    "sigmoid, no norm": ("sigmoid", "none", 0.3),
    "sigmoid, batch norm, ×5": ("sigmoid", "batch", 5),
}


def steps_table(table: Experiment[Training] = STEPS_TABLE, rate: float = CNN_RATES["relu"]) -> pd.DataFrame:
    """Runs beside the baseline's run with the same seed.

    Runs with batch normalisation are judged with population statistics, as in the paper.

    Args:
        table: `STEPS_TABLE` or `STEPS_LOW`.
        rate: the baseline's learning rate.
    Returns: one row a run: `arm`; `seed`; `best`, its best accuracy (%); `gain`, that less the baseline's; `speedup`,
        how many times fewer updates than the baseline it needs for the baseline's best accuracy, 0 if it never has it.
    """
    arms = {(activation, norm, round(multiple * rate, 9)): arm for arm, (activation, norm, multiple) in ARMS.items()}
    runs: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
    for row in sweep(table, "book", device="cpu").to_dict("records"):
        errors = row["curve_population" if row["norm"] == "batch" else "curve_error"]
        arm = arms[row["activation"], row["norm"], round(row["learning_rate"], 9)]
        runs[arm, row["seed"]] = row["curve_updates"], [100 - error for error in errors]

    def until(arm: str, seed: int, goal: float) -> float:
        pairs = zip(*runs[arm, seed], strict=True)
        return next((update for update, accuracy in pairs if accuracy >= goal), math.inf)

    found = []
    for arm, seed in runs:
        goal = max(runs["no norm", seed][1])
        best = max(runs[arm, seed][1], default=math.nan)  # a run that diverged at once has no evaluation
        speedup = until("no norm", seed, goal) / until(arm, seed, goal)
        found.append({"arm": arm, "seed": seed, "best": best, "gain": best - goal, "speedup": speedup})
    return pd.DataFrame(found)


def best_rate(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The rows of each arm at the learning rate that has the lowest mean validation error; ties go to the lower rate.

    Args:
        rows: of `DEPTH`, `POSITION` or `GHOST`.
        by: the columns that tell the arms apart.
    """
    means = rows.groupby([*by, "learning_rate"], sort=False)["validation_error"].mean()
    best = means.groupby(by, sort=False).idxmin().tolist()
    return rows.set_index([*by, "learning_rate"]).loc[best].reset_index()


PAPER_STEPS = {  # the paper's table beside figure 3: millions of updates until 72.2%, best accuracy (%)
    "no norm": (31.0, 72.2),
    "batch norm, ×1": (13.3, 72.7),
    "batch norm, ×5": (2.1, 73.0),
    "batch norm, ×30": (2.7, 74.8),
}


def scoreboard() -> list[Claim]:
    """The paper's table of steps, relative to its baseline, beside the recorded rows; empty while rows are missing."""
    if missing(STEPS_TABLE, "book"):
        return []  # this is asked for when the book is built, which must not start to train
    table = steps_table()
    claims = []
    for arm, (updates, accuracy) in list(PAPER_STEPS.items())[1:]:
        runs = table[table.arm == arm]
        speedup, gain = PAPER_STEPS["no norm"][0] / updates, accuracy - PAPER_STEPS["no norm"][1]
        claims += [
            _claim(
                f"{arm}: times fewer updates to the best accuracy of the baseline",
                round(speedup, 1),
                runs.speedup.tolist(),
                1,
            ),
            _claim(f"{arm}: best accuracy, less that of the baseline (points)", round(gain, 1), runs.gain.tolist(), 0),
        ]
    return claims


def _claim(text: str, paper: float, runs: Sequence[float], neutral: float) -> Claim:
    """A claim holds if all runs lie on the paper's side of `neutral`, in part if the mean does, else it fails."""
    verdict = judge([(run - neutral) * (paper - neutral) for run in runs], 1)
    cause = (
        "" if verdict == "holds" else "our baseline is at its best rate (section 13); possible, not tested: the task"
    )
    return Claim(text, paper, tuple(runs), "book", verdict, cause)
