"""The search for each arm's learning rate, alike for all arms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from workedpapers.lab import Experiment

from .pixels import Pixels
from .recall import Recall
from .text import Text

Arm = TypeVar("Arm", Pixels, Text, Recall)
Table = Callable[[Sequence[Arm], Sequence[int]], Experiment[Arm]]

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
SEARCH_SEEDS = (100, 101)  # no final run uses them


def tried(arm: Pixels | Text | Recall, chosen: float) -> list[float]:
    """The rates of a search: two to begin with, then on until the best has a worse neighbour on either side."""
    start = 4 if arm.model == "lstm" and isinstance(arm, Pixels) else 3
    best = RATES.index(chosen)
    return list(RATES[min(start, best - 1) : max(start + 1, best + 1) + 1])


def of_arm(rows: pd.DataFrame, arm: Pixels | Text | Recall) -> pd.DataFrame:
    """The rows of an arm, at whatever rate its search chose."""
    for name, value in vars(arm).items():
        if name != "learning_rate":
            rows = rows[rows[name] == value]
    return rows


def searched(table: Table[Arm], best: Mapping[Arm, float], seeds: Sequence[int] = SEARCH_SEEDS) -> Experiment[Arm]:
    """The search of some arms, by error or bits on validation data, in the mean over its seeds.

    Args:
        table: `trainings` of the task.
        best: each arm, and the rate that the search chose.
        seeds: of the search.
    """
    configs = [replace(arm, learning_rate=rate) for arm, chosen in best.items() for rate in tried(arm, chosen)]
    return table(configs, seeds)


def tuned(table: Table[Arm], best: Mapping[Arm, float], seeds: Sequence[int]) -> Experiment[Arm]:
    """The arms, each at its rate."""
    return table([replace(arm, learning_rate=rate) for arm, rate in best.items()], seeds)
