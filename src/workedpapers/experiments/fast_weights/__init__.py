"""Associative retrieval with fast weights and their rivals (paper `fast_weights`).

`retrieval` is one run; `table`, `questions` and `cost` are what the experiments page asks, in its order.
"""

from dataclasses import replace
from typing import Any

from workedpapers.lab import Experiment

from .cost import COST, SPEED
from .questions import INNER_STEPS, PAIRS, RULES, WITHOUT_MEMORY, WITHOUT_MEMORY_SEARCH, race
from .retrieval import MODELS, NAMES, SIZES, Retrieval, RetrievalNetwork, evaluate, experiment, train
from .table import LEARNING_RATES, LONG, LONG_RATES, LONG_SEARCH, PAPER_ERRORS, SEARCH, TABLE, TABLE_WIDE, scoreboard

__all__ = [
    "EXPERIMENTS",
    "LEARNING_RATES",
    "LONG_RATES",
    "MODELS",
    "NAMES",
    "PAPER_ERRORS",
    "SIZES",
    "Retrieval",
    "RetrievalNetwork",
    "evaluate",
    "race",
    "scoreboard",
    "train",
]

_check = Retrieval(hidden_size=20, pairs=2, updates=60, evaluate_every=30)
#: Seconds each: every model and every option once.
CHECK = experiment(
    seeds=range(1),
    check=[
        *(replace(_check, model=model) for model in MODELS),
        replace(_check, write="preliminary", norm_preliminary=True),
        replace(_check, write="delayed", inner_steps=2, pairs=4),
        replace(_check, recurrent_scale=0.5, inner_steps=0, falling=True, fresh=True),
    ],
)

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "search": SEARCH,
    "table": TABLE,
    "table_wide": TABLE_WIDE,
    "long_search": LONG_SEARCH,
    "long": LONG,
    "rules": RULES,
    "without_memory_search": WITHOUT_MEMORY_SEARCH,
    "without_memory": WITHOUT_MEMORY,
    "inner_steps": INNER_STEPS,
    "pairs": PAIRS,
    "cost": COST,
    "speed": SPEED,
}
