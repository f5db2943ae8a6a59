"""Where the layer stands, and how many of them: before or after the nonlinearity, three to twelve."""

from dataclasses import replace
from itertools import product

from .training import RATES, SEARCH_SEED, Training, trainings

SHORT = Training(updates=5_000, evaluate_every=5_000, train_size=50_000)  # the paper's network on grey MNIST
DEPTHS = (3, 6, 12)
STDS = (0.1, 0.2, 0.4, 0.8)
DEEP_RATES = (0.3, 1.0, 3.0, 10.0, 30.0)


def deep(depth: int, norm: str, std: float, learning_rate: float) -> Training:
    """A network of so many hidden layers of sigmoids."""
    return replace(SHORT, depth=depth, norm=norm, std=std, learning_rate=learning_rate)


#: Starting weights and rate for each depth, by validation error.
SEARCH_DEPTH = trainings(
    [deep(*arm) for arm in product(DEPTHS, ("none", "batch"), STDS, DEEP_RATES)],
    SEARCH_SEED,
)
#: What `SEARCH_DEPTH` chose: std and rate.
DEPTH_ARMS = {
    (3, "none"): (0.2, 3.0),
    (3, "batch"): (0.4, 10.0),
    (6, "none"): (0.2, 1.0),
    (6, "batch"): (0.4, 3.0),
    (12, "none"): (0.4, 1.0),
    (12, "batch"): (0.4, 1.0),
}
#: How many hidden layers of sigmoids can be trained.
DEPTH = trainings([deep(*key, *arm) for key, arm in DEPTH_ARMS.items()])


def placed(activation: str, position: str, std: float, learning_rate: float) -> Training:
    """Normalised before or after the nonlinearity."""
    return replace(SHORT, activation=activation, position=position, std=std, learning_rate=learning_rate)


#: Starting weights and rate for each position, by validation error; ReLUs take smaller ones of both.
SEARCH_POSITION = trainings(
    [
        placed(activation, *arm)
        for activation, stds, rates in (("sigmoid", STDS, DEEP_RATES), ("relu", STDS[:3], RATES[:4]))
        for arm in product(("before", "after"), stds, rates)
    ],
    SEARCH_SEED,
)
#: What `SEARCH_POSITION` chose: std and rate.
POSITION_ARMS = {
    ("sigmoid", "before"): (0.4, 10.0),
    ("sigmoid", "after"): (0.1, 1.0),
    ("relu", "before"): (0.1, 0.3),
    ("relu", "after"): (0.1, 0.3),
}
#: Normalise before or after the nonlinearity.
POSITION = trainings([placed(*key, *arm) for key, arm in POSITION_ARMS.items()])
