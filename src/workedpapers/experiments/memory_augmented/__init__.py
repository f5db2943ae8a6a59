"""A memory-augmented network at work (paper `memory_augmented`)."""

from typing import Any

from workedpapers.lab import Experiment

from .neighbours import NEIGHBOURS, Neighbours
from .tables import ARMS, SEARCH_BINDINGS, SEARCH_READINGS, SEARCH_RIVALS, named, table

__all__ = ["ARMS", "EXPERIMENTS", "Neighbours", "named"]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "search_rivals": SEARCH_RIVALS,
    "search_readings": SEARCH_READINGS,
    "search_bindings": SEARCH_BINDINGS,
    "neighbours": NEIGHBOURS,
    **{group: table(list(arms.values())) for group, arms in ARMS.items()},
}
