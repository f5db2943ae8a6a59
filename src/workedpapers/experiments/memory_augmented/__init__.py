"""A memory-augmented network at work (paper `memory_augmented`)."""

from typing import Any

from workedpapers.lab import Experiment

from .neighbours import NEIGHBOURS, Neighbours
from .tables import SEARCH_BINDINGS, SEARCH_FIVE, SEARCH_READINGS

__all__ = ["EXPERIMENTS", "Neighbours"]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "neighbours": NEIGHBOURS,
    "search_five": SEARCH_FIVE,
    "search_readings": SEARCH_READINGS,
    "search_bindings": SEARCH_BINDINGS,
}
