"""A memory-augmented network at work (paper `memory_augmented`)."""

from typing import Any

from workedpapers.lab import Experiment

from .episodes import FewShot, test, train
from .neighbours import NEIGHBOURS, Neighbours
from .tables import ARMS, CHECK, LIVE, SEARCH_READINGS, SEARCH_RIVALS, named, table

__all__ = ["ARMS", "EXPERIMENTS", "LIVE", "FewShot", "Neighbours", "named", "test", "train"]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search_rivals": SEARCH_RIVALS,
    "search_readings": SEARCH_READINGS,
    "neighbours": NEIGHBOURS,
    **{group: table(list(arms.values())) for group, arms in ARMS.items()},
}
