"""Batch normalisation on handwritten digits (paper `batch_norm`).

`training` is one run; the other files are what the experiments page asks: `rates`, `steps`, `shift`, `layers`,
`batches`, `statistics`; `cost` belongs to the theory page.
"""

from dataclasses import replace
from typing import Any

from workedpapers.lab import Experiment

from .batches import (
    BATCH_SIZES,
    FEATURES_RATES,
    FULLY_CONNECTED,
    GHOST,
    GHOST_RATES,
    GHOSTS,
    MAPS_RATES,
    ORDER,
    ORDER_RATES,
    SEARCH_FEATURES,
    SEARCH_GHOST,
    SEARCH_MAPS,
    SEARCH_ORDER,
    SIZES,
)
from .cost import COST, Cost, measure, readable
from .layers import DEPTH, DEPTH_ARMS, POSITION, POSITION_ARMS, SEARCH_DEPTH, SEARCH_POSITION
from .rates import FIGURE, FIGURE_ARMS, FIGURE_LOW, RANGE, SEARCH
from .shift import LANDSCAPE, NOISE, NOISE_ARM, SEARCH_NOISE, Landscape, look
from .statistics import DOMAIN, SHIFTS, STATISTICS, Domain, adapt
from .steps import ARMS, CNN_RATES, SEARCH_CNN, STEPS_LOW, STEPS_TABLE, scoreboard, steps_table
from .training import Ghost, Noise, Run, Training, batch_statistics_error, build, error, load, train

__all__ = [
    "ARMS",
    "CNN_RATES",
    "DEPTH_ARMS",
    "EXPERIMENTS",
    "FEATURES_RATES",
    "FIGURE_ARMS",
    "GHOSTS",
    "GHOST_RATES",
    "MAPS_RATES",
    "NOISE_ARM",
    "ORDER_RATES",
    "POSITION_ARMS",
    "SHIFTS",
    "SIZES",
    "Cost",
    "Domain",
    "Ghost",
    "Landscape",
    "Noise",
    "Run",
    "Training",
    "adapt",
    "batch_statistics_error",
    "build",
    "error",
    "load",
    "look",
    "measure",
    "readable",
    "scoreboard",
    "steps_table",
    "train",
]

_check = Training("digits", updates=40, evaluate_every=20, batch_size=20, learning_rate=0.5, train_size=1_300)
#: Seconds each: every norm, network and position once. No norm after a ReLU: there units that are almost dead magnify
#: rounding, and the row would differ between processors.
CHECK = Experiment(
    "batch_norm",
    Training,
    train,
    {
        "check": [
            replace(_check, norm="none", std=0.2),
            replace(_check, population=True, position="after"),
            replace(_check, norm="noisy", activation="relu", learning_rate=0.1, train_size=1_400),
            replace(_check, batch_size=40, ghost_size=10, order="sorted"),
            replace(_check, network="cnn", activation="relu"),
            replace(_check, network="cnn", norm="group"),
        ]
    },
    {"check": range(1)},
)

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search": SEARCH,
    "figure": FIGURE,
    "figure_low": FIGURE_LOW,
    "range": RANGE,
    "search_cnn": SEARCH_CNN,
    "steps": STEPS_TABLE,
    "steps_low": STEPS_LOW,
    "search_noise": SEARCH_NOISE,
    "noise": NOISE,
    "landscape": LANDSCAPE,
    "search_position": SEARCH_POSITION,
    "position": POSITION,
    "search_depth": SEARCH_DEPTH,
    "depth": DEPTH,
    "search_maps": SEARCH_MAPS,
    "batch_sizes": BATCH_SIZES,
    "search_features": SEARCH_FEATURES,
    "fully_connected": FULLY_CONNECTED,
    "search_order": SEARCH_ORDER,
    "order": ORDER,
    "search_ghost": SEARCH_GHOST,
    "ghost": GHOST,
    "statistics": STATISTICS,
    "domain": DOMAIN,
    "cost": COST,
}
