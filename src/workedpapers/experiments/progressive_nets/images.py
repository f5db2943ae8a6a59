"""Transfer between data sets of labelled images: what was learned on one is used on a change of it, with few labels."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.progressive_nets import (
    Features,
    Lateral,
    ProgressiveNetwork,
    Sources,
    average_fisher_sensitivity,
    fisher_information,
)
from workedpapers.tasks.splits import Split

from .arms import begin, seeded, summary

CLASSES = 10
EVERY = 10  # updates between two points of a curve
LAST = 3  # points of a curve that make the final accuracy
LIMITS = {"train": 10_000, "test": 2_000}  # images
KEPT = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)  # shares of lateral features in the pruned networks


@dataclass(frozen=True)
class Transfer:
    """One column's training on one task.

    Args:
        data: `digits`, `mnist` or `fashion-mnist`.
        target, sources: names of `CHANGES`, or of another data set; a source `random` is a column that is never
            trained.
        labels: examples of the target; the sources have all.
        arm, new_head: as of `games.Soup`.
        lateral, layers, adapter_width, lateral_gain, scale_init, gate: of the progressive network; `layers` are its
            `sources`.
        width, depth: hidden units a layer and hidden layers.
        later_width: hidden units a layer of every column but the first, if they differ.
        target_depth: hidden layers of the target's column, if they differ.
        updates, source_updates: of the target and of each source.
        batch: examples an update, of the target; of a source 32.
        learning_rate, source_rate: of Adam, for the target and for the sources.
        pruned: whether accuracies after pruning lateral features are asked for: of linear laterals from the previous
            layer, into a column as deep as the others.
    """

    data: str = "digits"
    target: str = "rotated"
    sources: tuple[str, ...] = ()
    labels: int = 100
    arm: str = "scratch"
    new_head: bool = True
    lateral: Lateral = "linear"
    layers: Sources = "previous"
    adapter_width: int | None = None
    lateral_gain: float = 1.0
    scale_init: float = 0.1
    gate: float | None = None
    width: int = 64
    depth: int = 2
    later_width: int | None = None
    target_depth: int | None = None
    updates: int = 200
    source_updates: int = 600
    batch: int = 32
    learning_rate: float = 0.003
    source_rate: float = 0.003
    pruned: bool = False

    def __post_init__(self) -> None:
        linear = self.lateral == "linear" and self.layers == "previous" and self.target_depth is None
        if self.pruned and not (linear and self.arm == "progressive"):
            raise ValueError(f"only linear laterals from the previous layer can be pruned, got {self}")


def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


#: What is done to images (size, 1, height, width) and labels.
CHANGES: dict[str, Callable[[Split], Split]] = {
    "base": lambda split: split,
    "rotated": lambda split: Split(split.images.rot90(1, (-2, -1)), split.labels),
    "turned": lambda split: Split(split.images.rot90(2, (-2, -1)), split.labels),
    "mirrored": lambda split: Split(split.images.flip(-1), split.labels),
    "inverted": lambda split: Split(1 - split.images, split.labels),
    "permuted": lambda split: _permuted(split, 1),
    "permuted again": lambda split: _permuted(split, 2),
    "relabelled": lambda split: Split(split.images, _order(CLASSES, 3).to(split.labels.device)[split.labels]),
    "low": lambda split: split.cut(split.labels < 5),
    "high": lambda split: split.cut(split.labels >= 5),
}


def _permuted(split: Split, seed: int) -> Split:
    pixels = split.images.flatten(1)
    order = _order(pixels.shape[1], seed).to(pixels.device)
    return Split(pixels[:, order].view_as(split.images), split.labels)


@lru_cache(maxsize=32)
def load(data: str, task: str, part: str, device: torch.device) -> Split:
    """A task's images, flat, and labels: the first of each part. They are kept, so do not write to them."""
    change = CHANGES.get(task, CHANGES["base"])
    split = change(Split.load(data if task in CHANGES else task, part, device)).cut(slice(LIMITS[part]))
    return Split(split.images.flatten(1).clone(), split.labels.clone())  # else all images would stay in memory


def column(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Hidden layers of a column."""
    sizes = [inputs] + depth * [width]
    return nn.Sequential(*[module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), nn.ReLU())])


def learn(
    network: ProgressiveNetwork,
    task: str,
    parameters: list[nn.Parameter],
    train: Split,
    test: Split | None,
    config: Transfer,
    generator: torch.Generator,
) -> list[float]:
    """Cross-entropy by Adam, on features of the earlier columns that are computed once.

    Returns: the accuracy on `test`, if given, before every tenth update and at the end.
    """
    first = task == network.tasks[0]
    features = None if first else network.features(train.images, task)
    tested = None if first or test is None else network.features(test.images, task)
    optimiser = torch.optim.Adam(parameters, config.learning_rate)
    rows = _rows(len(train.labels), config.batch, generator)
    curve = []
    for update in range(config.updates + 1):
        if test is not None and update % EVERY == 0:
            with torch.no_grad():
                curve.append(_accuracy(network(test.images, task, tested), test.labels))
        if update == config.updates:
            break
        row = next(rows)
        output = network(train.images[row], task, None if features is None else features[row])
        loss = F.cross_entropy(output, train.labels[row])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return curve


def _rows(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Epochs without end; a smaller last batch is left out, but n examples or fewer are one batch."""
    batch = min(n, batch)
    while True:
        yield from torch.randperm(n, generator=generator)[: n // batch * batch].split(batch)


def _accuracy(output: Tensor, labels: Tensor) -> float:
    return (output.argmax(1) == labels).float().mean().item()


def pretrained(config: Transfer, seed: int, device: torch.device) -> ProgressiveNetwork:
    """A network with columns of the sources, each beside those before; the caller's own.

    Args: config: what is asked of the target makes no difference.
    """
    start = replace(
        config,
        target="",
        arm="",
        new_head=True,
        labels=0,
        target_depth=None,
        pruned=False,
        sources=() if config.arm == "scratch" else config.sources,
        updates=config.source_updates,
        learning_rate=config.source_rate,
        batch=Transfer.batch,
    )
    return deepcopy(_pretrained(start, seed, device))


@lru_cache(maxsize=8)
def _pretrained(config: Transfer, seed: int, device: torch.device) -> ProgressiveNetwork:
    if not config.sources:
        inputs = load(config.data, "base", "train", device).images.shape[1]
        return ProgressiveNetwork(
            lambda k: column(inputs, _width(config, k), config.depth),
            lateral=config.lateral,
            sources=config.layers,
            adapter_width=config.adapter_width,
            lateral_gain=config.lateral_gain,
            scale_init=config.scale_init,
            gate=config.gate,
        )
    *before, change = config.sources
    network = deepcopy(_pretrained(replace(config, sources=tuple(before)), seed, device))
    own, task = 1000 * seed + len(before) + 1, f"{len(before)} {change}"
    with seeded(own, device):
        parameters = network.add_column(task, CLASSES)
    network.to(device)
    if change != "random":
        train = load(config.data, change, "train", device)
        learn(network, task, parameters, train, None, config, torch.Generator().manual_seed(own))
    return network


def _width(config: Transfer, k: int) -> int:
    """Hidden units a layer of the column after k others."""
    return (config.later_width or config.width) if k else config.width


class Fitted(NamedTuple):
    """A network that has learned a target.

    Attributes:
        network, task: whose outputs for the task answer.
        curve: accuracies on the way.
        few, test: the examples of the target.
        parameters: how many were trained.
        before: the accuracy on the last source, if that was trained, before the target was.
    """

    network: ProgressiveNetwork
    task: str
    curve: list[float]
    few: Split
    test: Split
    parameters: int
    before: float | None


def fit(config: Transfer, seed: int, device: torch.device) -> Fitted:
    """Learn the target, from where the sources leave the network."""
    network = pretrained(config, seed, device)
    whole = load(config.data, config.target, "train", device)
    test = load(config.data, config.target, "test", device)
    chosen = torch.randperm(len(whole.labels), generator=torch.Generator().manual_seed(seed))[: config.labels]
    few = whole.cut(chosen.to(device))
    known = bool(network.tasks) and config.sources[-1] != "random"
    before = tested(network, network.tasks[-1], config.data, config.sources[-1]) if known else None
    depth = config.target_depth
    if depth is not None:
        network.make_column = lambda k: column(whole.images.shape[1], _width(config, k), depth)
    with seeded(1000 * seed, device):
        task, parameters = begin(network, config.arm, config.new_head, "target", CLASSES)
    network.to(device)
    curve = learn(network, task, parameters, few, test, config, torch.Generator().manual_seed(1000 * seed))
    count = sum(parameter.numel() for parameter in parameters)
    return Fitted(network, task, curve, few, test, count, before)


def train(config: Transfer, seed: int, device: torch.device) -> dict[str, object]:
    """Learn the target.

    Returns: `curve` of test accuracies, their mean `area`, the `final` accuracy (mean of the last three points), the
        number of `parameters` trained; for `head` and `finetune` `source_after`, the accuracy on the source; with
        earlier columns their `sensitivity`, a list for each layer (Eq. PNN.13), on the examples of the target; where
        asked for, accuracies after `pruning` all but shares of the lateral features: `pruned_` and the order.
    """
    fitted = fit(config, seed, device)
    network, task = fitted.network, fitted.task
    metrics = summary(fitted.curve, LAST) | {"parameters": fitted.parameters}
    if config.arm in ("head", "finetune"):
        metrics["source_after"] = tested(network, task, config.data, config.sources[-1])
    elif len(network.columns) > 1:
        metrics["sensitivity"] = average_fisher_sensitivity(network, [fitted.few.images], task).tolist()
        if config.pruned:
            metrics |= {f"pruned_{order}": accuracies for order, accuracies in pruning(fitted, seed).items()}
    return metrics


def tested(network: ProgressiveNetwork, task: str, data: str, change: str) -> float:
    """Accuracy of a task's outputs on the test images of a change."""
    split = load(data, change, "test", next(network.parameters()).device)
    with torch.no_grad():
        return _accuracy(network(split.images, task), split.labels)


def silenced(fitted: Fitted, x: Tensor) -> Features:
    """What the earlier columns say on average over the test images, for as many examples as x has."""
    features = fitted.network.features(fitted.test.images, fitted.task)
    return replace(features, layers=tuple(layer.mean(0).expand(len(x), -1) for layer in features.layers))


def pruning(fitted: Fitted, seed: int) -> dict[str, list[float]]:
    """Test accuracies when shares `KEPT` of each layer's lateral features stay, the others at their mean.

    First go those with the least Fisher information (`fisher`), those that send least, |U| times a standard deviation
    (`weights`), or any (`random`). Information, deviations and means are those of the examples of the target.
    """
    network, task, test = fitted.network, fitted.task, fitted.test
    features, seen = (network.features(split.images, task) for split in (test, fitted.few))
    information = fisher_information(network, [fitted.few.images], task)
    generator = torch.Generator().manual_seed(seed)
    newest: Any = network.columns[-1]
    orders: dict[str, list[Tensor]] = {"fisher": [], "weights": [], "random": []}
    for activations, units, reader in zip(seen.layers, information, newest.layers[1:], strict=True):
        orders["fisher"].append(torch.cat(units[:-1]))
        orders["weights"].append(reader.lateral.weight.detach().norm(dim=0) * activations.std(0))
        orders["random"].append(torch.rand(activations.shape[1], generator=generator).to(activations))

    @torch.no_grad()
    def accuracy(values: list[Tensor], share: float) -> float:
        layers = []
        for value, activations, known in zip(values, features.layers, seen.layers, strict=True):
            kept = torch.zeros_like(value, dtype=torch.bool)
            kept[value.argsort(descending=True)[: round(share * len(value))]] = True
            layers.append(torch.where(kept, activations, known.mean(0)))
        return _accuracy(network(test.images, task, replace(features, layers=tuple(layers))), test.labels)

    return {name: [accuracy(values, share) for share in KEPT] for name, values in orders.items()}
