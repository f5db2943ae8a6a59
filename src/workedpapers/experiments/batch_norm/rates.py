"""The paper's figure 1 with both arms tuned, and which rates work at all."""

from dataclasses import replace
from itertools import product

from .training import RATES, SEARCH_SEED, Training, trainings

NORMS = ("none", "batch")
STDS = (0.05, 0.1, 0.2, 0.4)


def figure(norm: str, std: float, learning_rate: float) -> Training:
    """The paper's network on binary MNIST, 50,000 updates."""
    return Training(binary=True, updates=50_000, norm=norm, std=std, learning_rate=learning_rate)


#: Starting weights and learning rate of the paper's network, by validation error after 10,000 updates.
SEARCH = trainings(
    [
        replace(figure(norm, std, rate), updates=10_000, train_size=50_000)
        for norm, std, rate in product(NORMS, STDS, RATES)
    ],
    SEARCH_SEED,
)
#: What `SEARCH` chose: std and rate.
FIGURE_ARMS = {"none": (0.2, 1.0), "batch": (0.1, 1.0)}
#: The paper's figure 1, each arm at its best.
FIGURE = trainings([figure(norm, *arm) for norm, arm in FIGURE_ARMS.items()])
#: The same at one low rate for both arms.
FIGURE_LOW = trainings([replace(figure(norm, 0.1, 0.1), updates=20_000) for norm in NORMS], range(3))


def cnn(norm: str, learning_rate: float, activation: str = "relu") -> Training:
    """The convolutional network, 6,000 updates in batches of 32 at a rate that falls to zero."""
    return Training(
        network="cnn",
        activation=activation,
        norm=norm,
        batch_size=32,
        learning_rate=learning_rate,
        decay=True,
        updates=6_000,
        evaluate_every=250,
    )


#: Which rates leave a network that has learned something after 1,000 updates.
RANGE = trainings(
    [
        replace(cnn(norm, rate), decay=False, updates=1_000, evaluate_every=1_000)
        for norm, rate in product(NORMS, (0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 30.0, 100.0))
    ],
    range(3),
)
