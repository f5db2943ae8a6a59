"""Nearest neighbours among the earlier drawings of an episode, in pixels or in features that were learned."""

from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workedpapers.lab import Experiment, progress

from .episodes import SHOWINGS, SIZE, Batch, FewShot, drawings, tally, test_batches
from .oneshot import questions

FEATURES = ("pixels", "components", "classifier")
COMPONENTS = 50


@dataclass(frozen=True)
class Neighbours:
    """A vote of the nearest earlier drawings, without training on episodes.

    Args:
        data: as in `FewShot`, but not "all".
        features: "pixels"; "components": 50 principal ones of the training alphabets; "classifier": the last hidden
            layer of a network that was trained to tell all training characters apart.
        neighbours: how many vote; between labels with as many votes the nearest decides.
        classes, length: of an episode.
        updates, learning_rate: of the classifier, by Adam, 256 drawings at a time.
        episodes, batch: of the test.
        ways: the official one-shot runs, asked among so many characters.
    """

    data: str = "omniglot"
    features: str = "pixels"
    neighbours: int = 1
    classes: int = 5
    length: int = 50
    updates: int = 2000
    learning_rate: float = 0.001
    episodes: int = 400
    batch: int = 16
    ways: tuple[int, ...] = ()


def components(config: Neighbours, count: int) -> nn.Module:
    """A projection on the principal components of the training alphabets' drawings."""
    pixels, mask = drawings(config.data, "train")
    found = pixels[mask]
    _, _, axes = torch.pca_lowrank(found, count, niter=4)
    layer = nn.Linear(found.shape[1], count)
    with torch.no_grad():
        layer.weight.copy_(axes.T)
        layer.bias.copy_(-(found.mean(0) @ axes))
    return layer


def classifier(config: Neighbours, seed: int, device: torch.device) -> nn.Module:
    """The layers below the output of a small convolutional network that was trained on every training character."""
    pixels, mask = drawings(config.data, "train")
    character, drawing = mask.nonzero(as_tuple=True)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    features = nn.Sequential(
        nn.Unflatten(-1, (1, SIZE, SIZE)),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 9, 64),
    ).to(device)
    output = nn.Linear(64, len(pixels)).to(device)
    descent = torch.optim.Adam([*features.parameters(), *output.parameters()], lr=config.learning_rate)
    for _ in progress(range(config.updates), "classifier"):
        rows = torch.randint(len(character), (256,), generator=generator)
        drawn = pixels[character[rows], drawing[rows]].to(device)
        error = F.cross_entropy(output(features(drawn).relu()), character[rows].to(device))
        descent.zero_grad()
        error.backward()
        descent.step()
    return features


def vote(features: Tensor, labels: Tensor, neighbours: int, classes: int, generator: torch.Generator) -> Tensor:
    """The answers at every step, int64, (length, batch): random at the first, where nothing is known.

    Args: features: (length, batch, size), compared by Euclidean distance; labels: (length, batch).
    """
    length, batch = labels.shape
    answers = torch.randint(classes, (length, batch), generator=generator).to(labels.device)
    distance = torch.cdist(features.transpose(0, 1), features.transpose(0, 1))  # (batch, length, length)
    known = F.one_hot(labels, classes).float().transpose(0, 1)  # (batch, length, classes)
    for step in range(1, length):
        count = min(neighbours, step)
        near = distance[:, step, :step].topk(count, largest=False).indices
        votes = known.gather(1, near.unsqueeze(-1).expand(-1, -1, classes))
        weight = 1 + 0.5 ** torch.arange(2, count + 2, device=near.device)  # of as many votes the nearest decides
        answers[step] = (votes * weight.unsqueeze(-1)).sum(1).argmax(-1)
    return answers


@torch.no_grad()
def accuracy(features: nn.Module, config: Neighbours, device: torch.device) -> list[float]:
    """Share of right answers by showing."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(2, SHOWINGS, dtype=torch.float64)
    episodes = FewShot(
        data=config.data, classes=config.classes, length=config.length, episodes=config.episodes, batch=config.batch
    )
    for batch in test_batches(episodes, config.classes, device):
        hit = vote(_features(features, batch), batch.which, config.neighbours, config.classes, generator) == batch.which
        counts += tally(hit, batch.showing)
    shares: list[float] = (counts[0] / counts[1].clamp(min=1)).tolist()
    return shares


def _features(features: nn.Module, batch: Batch) -> Tensor:
    found: Tensor = features(batch.drawing.flatten(0, 1))
    apart: Tensor = found.unflatten(0, batch.drawing.shape[:2])
    return apart


@torch.no_grad()
def asked(features: nn.Module, config: Neighbours, ways: int, device: torch.device) -> float:
    """Share of right answers in the official runs, as in `oneshot.official`."""
    generator = torch.Generator().manual_seed(0)
    right = []
    for drawing, which in questions(ways, generator):
        batch = Batch(drawing, which, torch.ones_like(which), which.T.unsqueeze(-1), ways, device)
        found = vote(_features(features, batch), batch.which, config.neighbours, ways, generator)
        right.append((found[-1] == batch.which[-1]).float())
    return float(torch.cat(right).mean())


def run(config: Neighbours, seed: int, device: torch.device) -> dict[str, object]:
    """`accuracy`, by showing, and `official`: shares right at the numbers of `ways`.

    Raises: ValueError: other features.
    """
    if config.features not in FEATURES:
        raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {config.features!r}")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # the components are sought from a random start
        if config.features == "pixels":
            features: nn.Module = nn.Identity()
        elif config.features == "components":
            features = components(config, COMPONENTS).to(device)
        else:
            features = classifier(config, seed, device)
    found = [asked(features, config, ways, device) for ways in config.ways]
    return {"accuracy": accuracy(features, config, device), "official": found}


_check = Neighbours(data="strokes", classes=3, length=12, episodes=32)
NEIGHBOURS = Experiment(
    "memory_augmented_neighbours",
    Neighbours,
    run,
    {
        "book": [
            Neighbours(features=features, neighbours=k, ways=(5, 20)) for features, k in product(FEATURES, range(1, 6))
        ],
        "check": [replace(_check, neighbours=4), replace(_check, features="classifier", updates=3)],
    },
    {"book": range(3), "check": range(1)},
)
