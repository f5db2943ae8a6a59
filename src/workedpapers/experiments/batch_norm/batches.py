"""What is in a batch: how many images, of which classes, and how many are normalised together."""

from dataclasses import replace
from itertools import product

from .layers import SHORT
from .rates import cnn
from .training import GROUPS, RATES, SEARCH_SEED, Training, trainings

SIZES = (2, 4, 8, 16, 32, 64)
MAPS_GRID = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FEATURES_GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def _one_pass(base: Training, size: int) -> Training:
    """One pass over 20,000 images in batches of `size`."""
    updates = 20_000 // size
    return replace(base, batch_size=size, updates=updates, evaluate_every=updates, train_size=20_000)


def maps(norm: str, size: int, learning_rate: float) -> Training:
    """The convolutional network, in which a batch of two has many values a map."""
    return _one_pass(cnn(norm, learning_rate), size)


def features(norm: str, size: int, learning_rate: float) -> Training:
    """The fully connected network, in which a batch of two has two values a feature."""
    return _one_pass(Training(activation="relu", norm=norm, learning_rate=learning_rate), size)


#: The rate for each size, by validation error.
SEARCH_MAPS = trainings([maps(*arm) for arm in product(("batch", "group"), SIZES, MAPS_GRID)], SEARCH_SEED)
SEARCH_FEATURES = trainings([features(*arm) for arm in product(("batch", "none"), SIZES, FEATURES_GRID)], SEARCH_SEED)
#: What they chose, in the order of `SIZES`.
MAPS_RATES = {"batch": (0.3, 1.0, 1.0, 1.0, 3.0, 3.0), "group": (0.3, 1.0, 1.0, 1.0, 1.0, 3.0)}
FEATURES_RATES = {"batch": (0.003, 0.03, 0.1, 0.1, 1.0, 1.0), "none": (0.03, 0.03, 0.1, 0.1, 0.3, 0.3)}
#: Smaller and smaller batches.
BATCH_SIZES = trainings(
    [maps(norm, size, rate) for norm, rates in MAPS_RATES.items() for size, rate in zip(SIZES, rates, strict=True)],
    range(3),
)
FULLY_CONNECTED = trainings(
    [
        features(norm, size, rate)
        for norm, rates in FEATURES_RATES.items()
        for size, rate in zip(SIZES, rates, strict=True)
    ],
    range(3),
)


def ordered(norm: str, order: str, learning_rate: float) -> Training:
    """3,000 updates with batches of one class, of half the classes, or of all."""
    return replace(SHORT, norm=norm, order=order, updates=3_000, evaluate_every=3_000, learning_rate=learning_rate)


#: The rate for each order, by validation error.
SEARCH_ORDER = trainings(
    [ordered(*arm) for arm in product(("none", "batch"), GROUPS, (0.01, 0.03, *RATES))],
    SEARCH_SEED,
)
#: What `SEARCH_ORDER` chose.
ORDER_RATES = {
    ("none", "shuffled"): 3.0,
    ("none", "sorted"): 1.0,
    ("none", "halves"): 3.0,
    ("batch", "shuffled"): 3.0,
    ("batch", "sorted"): 0.3,
    ("batch", "halves"): 0.03,
}
#: Batches that hold only some of the classes.
ORDER = trainings([ordered(*key, rate) for key, rate in ORDER_RATES.items()], range(3))


def few(norm: str, ghost_size: int, learning_rate: float) -> Training:
    """2,000 images in batches of 256, normalised in groups of `ghost_size`."""
    return replace(
        SHORT,
        activation="relu",
        norm=norm,
        ghost_size=ghost_size,
        batch_size=256,
        train_size=2_000,
        updates=1_000,
        evaluate_every=1_000,
        learning_rate=learning_rate,
    )


GHOSTS = (("none", 0), ("batch", 0), ("batch", 64), ("batch", 16))
#: The rate for each group size, by the mean validation error of three runs: near its best an arm may fail at random.
SEARCH_GHOST = trainings(
    [few(*arm, rate) for arm, rate in product(GHOSTS, (0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0))], range(100, 103)
)
#: What `SEARCH_GHOST` chose, in the order of `GHOSTS`.
GHOST_RATES = (1.0, 5.0, 3.0, 2.0)
#: Few images, large batches: is the noise of small groups a regulariser? The last is a safer rate for the first.
GHOST = trainings(
    [*(few(*arm, rate) for arm, rate in zip(GHOSTS, GHOST_RATES, strict=True)), few("none", 0, 0.3)],
)
