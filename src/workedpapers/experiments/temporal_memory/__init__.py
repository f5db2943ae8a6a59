"""Generative models with a memory at work (paper `temporal_memory`).

`training` is a row, a model trained and tested; `tables` are what the page asks; `claims` is the scoreboard;
`cost` belongs to the theory page.
"""

from typing import Any

from workedpapers.lab import Experiment

from .claims import scoreboard
from .cost import COST, MEMORY_COST
from .tables import ARMS, CHECK, LIVE, PAPER, SEARCH_RATES, named
from .training import Temporal, draw, measure, run, train

__all__ = ["ARMS", "EXPERIMENTS", "LIVE", "Temporal", "draw", "measure", "named", "run", "scoreboard", "train"]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search_rates": SEARCH_RATES,
    **{group: named(group) for group in ARMS},
    "paper": PAPER,
    "cost": COST,
    "cost_memories": MEMORY_COST,
}
