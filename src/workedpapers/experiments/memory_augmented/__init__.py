"""A memory-augmented network at work (paper `memory_augmented`).

`episodes` are drawings to be named, `training` a row of theirs; `tables` are what the experiments page asks, with
`labels`, `neighbours`, `oneshot`, `probes`, `rivals` and `regression`; `claims` is the scoreboard; `cost` belongs to
the theory page.
"""

from typing import Any

from workedpapers.lab import Experiment

from .claims import scoreboard
from .cost import COST
from .episodes import FewShot, test, train
from .neighbours import NEIGHBOURS, Neighbours
from .regression import CHECK_REGRESSION, REFERENCES, REGRESSION, SEARCH_REGRESSION, Regression
from .tables import ARMS, CHECK, LIVE, PAPER, SEARCH_READINGS, SEARCH_RIVALS, named

__all__ = [
    "ARMS",
    "COST",
    "EXPERIMENTS",
    "LIVE",
    "FewShot",
    "Neighbours",
    "Regression",
    "named",
    "scoreboard",
    "test",
    "train",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "check_regression": CHECK_REGRESSION,
    "search_rivals": SEARCH_RIVALS,
    "search_readings": SEARCH_READINGS,
    "search_regression": SEARCH_REGRESSION,
    "neighbours": NEIGHBOURS,
    **{group: named(group) for group in ARMS},
    "paper": PAPER,
    "regression": REGRESSION,
    "references": REFERENCES,
    "cost": COST,
}
