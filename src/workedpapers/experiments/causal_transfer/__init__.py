"""A meta-transfer objective at work (paper `causal_transfer`).

`continuous` has two numbers instead of two categories, `encoder` turns a mixture of both back.
"""

from typing import Any

from workedpapers.lab import Experiment

from .continuous import CONTINUOUS, Continuous, Models, Spline, adapt, beliefs, copies, draw, means_of, online, worlds
from .encoder import ENCODER, Encoder, direction, distance, episode, rotate, train

__all__ = [
    "EXPERIMENTS",
    "Continuous",
    "Encoder",
    "Models",
    "Spline",
    "adapt",
    "beliefs",
    "copies",
    "direction",
    "distance",
    "draw",
    "episode",
    "means_of",
    "online",
    "rotate",
    "train",
    "worlds",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {"continuous": CONTINUOUS, "encoder": ENCODER}
