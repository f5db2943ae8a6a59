"""Transfer between data sets of labelled images: what was learned on one is used on a change of it, with few labels."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

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

CLASSES = 10
EVERY = 10  # updates between two points of a curve
KEPT = (
    0.0,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
)  # shares of lateral features in the pruned networks


@dataclass(frozen=True)
class Transfer:
    """One column's training on one task.

    Args:
        data: `digits`, `mnist` or `fashion-mnist`.
        target, sources: names of `CHANGES`, or of another data set; a source `random` is a column that was never
            trained.
        labels: examples of the target.
        arm, new_head: as of `games.Soup`.
        lateral, layers, adapter_width, lateral_gain, scale_init, gate: of the progressive network; `layers` are its
            `sources`.
        width, depth: hidden units a layer and hidden layers.
        later_width: hidden units a layer of every column but the first, if they differ.
        target_depth: hidden layers of the target's column, if they differ.
        updates, source_updates, batch, learning_rate, source_rate: of Adam.
        pruned: whether accuracies after pruning lateral features are asked for.
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
    """A task's images, flat, and labels."""
    change = CHANGES.get(task, CHANGES["base"])
    split = change(Split.load(data if task in CHANGES else task, part, device))
    if part == "test":
        split = split.cut(slice(2000))
    elif len(split.labels) > 10000:
        split = split.cut(slice(10000))
    return Split(split.images.flatten(1), split.labels)


def column(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Hidden layers of a column."""
    sizes = [inputs] + depth * [width]
    return nn.Sequential(
        *[module for n, m in zip(sizes, sizes[1:], strict=False) for module in (nn.Linear(n, m), nn.ReLU())]
    )


def learn(
    network: ProgressiveNetwork,
    task: str,
    parameters: list[nn.Parameter],
    train: Split,
    test: Split | None,
    config: Transfer,
    generator: torch.Generator,
) -> list[float]:
    """Cross-entropy by Adam on cached features. Returns: accuracy on `test` before every tenth update and at the end."""
    first = task == network.tasks[0]
    seen = None if first else network.features(train.images, task)
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
        output = network(train.images[row], task, None if seen is None else seen[row])
        loss = F.cross_entropy(output, train.labels[row])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return curve


def _rows(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(n, generator=generator)[: n // min(n, batch) * min(n, batch)].split(min(n, batch))


def _accuracy(output: Tensor, labels: Tensor) -> float:
    return (output.argmax(1) == labels).float().mean().item()


@lru_cache(maxsize=8)
def pretrained(config: Transfer, seed: int, device: torch.device) -> ProgressiveNetwork:
    """Columns of the sources, each beside those before."""
    if not config.sources:
        inputs = load(config.data, "base", "train", device).images.shape[1]

        def make_column(k: int) -> nn.Sequential:
            return column(
                inputs,
                (config.later_width or config.width) if k else config.width,
                config.depth,
            )

        return ProgressiveNetwork(
            make_column,
            lateral=config.lateral,
            sources=config.layers,
            adapter_width=config.adapter_width,
            lateral_gain=config.lateral_gain,
            scale_init=config.scale_init,
            gate=config.gate,
        ).to(device)
    *before, task = config.sources
    network = deepcopy(pretrained(replace(config, sources=tuple(before)), seed, device))
    torch.manual_seed(1000 * seed + len(before) + 1)
    generator = torch.Generator().manual_seed(1000 * seed + len(before) + 1)
    parameters = network.add_column(f"{len(before)} {task}", CLASSES)
    network.to(device)
    if task != "random":
        learn(
            network,
            network.tasks[-1],
            parameters,
            load(config.data, task, "train", device),
            None,
            config,
            generator,
        )
    return network


class Fitted(NamedTuple):
    """A network that has learned a target: the name of its task, accuracies on the way, the data, how many
    parameters were trained; and, with a trained source, the accuracy on it before."""

    network: ProgressiveNetwork
    task: str
    curve: list[float]
    few: Split
    test: Split
    parameters: int
    before: float | None


def fit(config: Transfer, seed: int, device: torch.device) -> Fitted:
    """Learn the target, from where the sources leave the network."""
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
    network = deepcopy(pretrained(start, seed, device))
    whole = load(config.data, config.target, "train", device)
    chosen = torch.randperm(len(whole.labels), generator=torch.Generator().manual_seed(seed))[: config.labels]
    few, test = (
        whole.cut(chosen.to(device)),
        load(config.data, config.target, "test", device),
    )
    known = bool(network.tasks) and config.sources[-1] != "random"
    before = tested(network, network.tasks[-1], config.data, config.sources[-1]) if known else None
    torch.manual_seed(1000 * seed)
    generator = torch.Generator().manual_seed(1000 * seed)
    if config.arm in ("head", "finetune"):
        task, column_ = network.tasks[-1], network.columns[-1]
        head = column_.layers[-1].own
        if config.new_head:
            head.reset_parameters()
        parameters = list((head if config.arm == "head" else column_).parameters())
    else:
        task = "target"
        if config.target_depth:
            width, depth = (
                (config.later_width or config.width) if network.tasks else config.width,
                config.target_depth,
            )
            network.make_column = lambda _: column(whole.images.shape[1], width, depth)
        parameters = network.add_column(task, CLASSES)
        network.to(device)
    curve = learn(network, task, parameters, few, test, config, generator)
    count = sum(parameter.numel() for parameter in parameters)
    return Fitted(network, task, curve, few, test, count, before)


def train(config: Transfer, seed: int, device: torch.device) -> dict[str, object]:
    """Learn the target.

    Returns: `curve` of test accuracies, their mean `area`, the `final` accuracy (mean of the last three points),
        `parameters` trained; for fine-tuning `source_before` and `source_after`, the accuracy on the source; with
        earlier columns their `sensitivity` by layer; where asked for, accuracies after `pruning` all but a share of
        the lateral features, by Fisher information, by outgoing weights and at random.
    """
    fitted = fit(config, seed, device)
    network, task, curve, few, test, parameters, _ = fitted
    metrics: dict[str, object] = {
        "curve": curve,
        "area": sum(curve) / len(curve),
        "final": sum(curve[-3:]) / 3,
        "parameters": parameters,
    }
    if config.arm in ("head", "finetune"):
        metrics["source_after"] = tested(network, task, config.data, config.sources[-1])
    elif len(network.columns) > 1:
        metrics["sensitivity"] = average_fisher_sensitivity(network, [few.images], task).tolist()
        if config.pruned:
            metrics["pruning"] = _pruning(
                network,
                task,
                fisher_information(network, [few.images], task),
                test,
                seed,
            )
    return metrics


def tested(network: ProgressiveNetwork, task: str, data: str, change: str) -> float:
    """Accuracy of a task's outputs on the test images of a change."""
    split = load(data, change, "test", next(network.parameters()).device)
    with torch.no_grad():
        return _accuracy(network(split.images, task), split.labels)


def silenced(fitted: Fitted, x: Tensor) -> Features:
    """What the earlier columns say on average over the test images, for as many examples as x has."""
    features = fitted.network.features(fitted.test.images, fitted.task)
    return replace(
        features,
        layers=tuple(layer.mean(0).expand(len(x), -1) for layer in features.layers),
    )


def _pruning(
    network: ProgressiveNetwork,
    task: str,
    information: list[list[Tensor]],
    test: Split,
    seed: int,
) -> dict[str, list[float]]:
    """Accuracy when only a share of the lateral features of each layer is kept, by three orders of them."""
    features = network.features(test.images, task)
    generator = torch.Generator().manual_seed(seed)
    last = network.columns[-1].layers
    orders = {"fisher": [], "weights": [], "random": []}  # type: ignore[var-annotated]
    for i, layer in enumerate(information):
        fisher = torch.cat(layer[:-1])
        orders["fisher"].append(fisher)
        spread = features.layers[i].std(0)
        orders["weights"].append(last[i + 1].lateral.weight.detach().norm(dim=0) * spread)
        orders["random"].append(torch.rand(len(fisher), generator=generator))
    found: dict[str, list[float]] = {}
    for name, values in orders.items():
        accuracies = []
        for share in KEPT:
            layers = []
            for value, activations in zip(values, features.layers, strict=True):
                kept = torch.zeros_like(value)
                kept[value.argsort(descending=True)[: round(share * len(value))]] = 1
                layers.append(torch.where(kept.bool(), activations, activations.mean(0)))
            with torch.no_grad():
                output = network(test.images, task, replace(features, layers=tuple(layers)))
            accuracies.append(_accuracy(output, test.labels))
        found[name] = accuracies
    return found
