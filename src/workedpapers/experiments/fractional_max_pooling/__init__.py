"""Fractional max-pooling on small pictures (paper `fractional_max_pooling`).

`training` is one run; the other files are what the experiments page asks: `regions`, `longer`, `dropout`, `rivals`,
`draws`, `modern`, and `claims`, the scoreboard; `cost` belongs to the theory page.
"""

from dataclasses import replace
from typing import Any

from workedpapers.lab import Experiment

from .claims import errors, scoreboard
from .cost import COST, Cost, measure
from .draws import DIVERGED_DRAWS, DRAWS, SEARCH_DRAWS, TUNED_DRAWS
from .dropout import DIVERGED_DROPOUT, DROPOUT, DROPOUTS, SEARCH_DROPOUT, TUNED_DROPOUT
from .longer import DIVERGED_LONGER, LONGER, SEARCH_LONGER, TUNED_LONGER
from .modern import MODERN, SEARCH_MODERN, TUNED_MODERN
from .regions import DATA_SETS, DIVERGED_REGIONS, OTHERS, SEARCH_REGIONS, SQUARES, TUNED_REGIONS, regions
from .rivals import (
    AUGMENTATIONS,
    AUGMENTED,
    DIVERGED_AUGMENTED,
    ENSEMBLES,
    SEARCH_AUGMENTED,
    TUNED_AUGMENTED,
)
from .training import (
    OVERLAPS,
    Affine,
    Block,
    Fixed,
    Training,
    build,
    by_passes,
    flips,
    layer_sizes,
    multiplications,
    predict,
    set_regions,
    train,
    tuned,
)

__all__ = [
    "AUGMENTED",
    "DATA_SETS",
    "DIVERGED",
    "DROPOUT",
    "EXPERIMENTS",
    "OVERLAPS",
    "TUNED_AUGMENTED",
    "TUNED_DRAWS",
    "TUNED_DROPOUT",
    "TUNED_LONGER",
    "TUNED_MODERN",
    "TUNED_REGIONS",
    "Affine",
    "Block",
    "Cost",
    "Fixed",
    "Training",
    "build",
    "by_passes",
    "errors",
    "flips",
    "layer_sizes",
    "measure",
    "multiplications",
    "predict",
    "regions",
    "scoreboard",
    "set_regions",
    "train",
]

_check = Training("digits", filters=4, layers=3, updates=30, batch_size=20, train_size=200, test_size=200, passes=2)
#: Seconds each: every pooling, overlap and draw once, and both rivals.
CHECK = Experiment(
    "fractional_max_pooling",
    Training,
    train,
    {
        "check": [
            _check,
            replace(_check, pooling="random", overlap="disjoint", dropout=0.2, validation=True),
            replace(_check, pooling="random", overlap="interval", draw="channel"),
            replace(_check, pooling="fixed", overlap="interval"),
            replace(_check, pooling="fixed", augment=0.2, members=2),
            replace(_check, layers=4, pooling="max"),
            replace(_check, network="inception", filters=8, layers=5, draw="batch", updates=8),
        ]
    },
    {"check": range(1)},
)
_cifar = Training(
    "cifar-10",
    layers=12,
    roots=3,
    learning_rate=0.003,
    updates=400_000,
    train_size=50_000,
    test_size=10_000,
    passes=32,
)
#: The paper's own sizes, for a GPU: MNIST, and CIFAR-10 in the two sizes of the author's scripts.
PAPER = Experiment(
    "fractional_max_pooling",
    Training,
    train,
    {
        "paper": [
            Training(
                "mnist",
                filters=32,
                pooling="random",
                learning_rate=0.003,
                updates=240_000,
                batch_size=100,
                train_size=60_000,
                test_size=10_000,
            ),
            replace(_cifar, filters=32, pooling="random", dropout=0.1),
            replace(_cifar, filters=160, pooling="pseudorandom", dropout=0.5),
        ]
    },
    {"paper": range(1)},
)

#: Arms and the rates that their searches chose, at which at least one of three final runs diverged; they run at half.
DIVERGED = DIVERGED_REGIONS | DIVERGED_LONGER | DIVERGED_DROPOUT | DIVERGED_DRAWS | DIVERGED_AUGMENTED
EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search_regions": SEARCH_REGIONS,
    "squares": SQUARES,
    "others": OTHERS,
    "search_longer": SEARCH_LONGER,
    "longer": LONGER,
    "search_dropout": SEARCH_DROPOUT,
    "dropouts": DROPOUTS,
    "ensembles": ENSEMBLES,
    "search_augmented": SEARCH_AUGMENTED,
    "augmentations": AUGMENTATIONS,
    "search_draws": SEARCH_DRAWS,
    "draws": DRAWS,
    "search_modern": SEARCH_MODERN,
    "modern": MODERN,
    "diverged": tuned(DIVERGED, range(3)),
    "paper": PAPER,
    "cost": COST,
}
