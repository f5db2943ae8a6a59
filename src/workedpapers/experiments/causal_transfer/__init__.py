"""A meta-transfer objective at work (paper `causal_transfer`).

`episodes` are tables, thousands of pairs at once; the other files are what the experiments page asks: `beliefs`,
`networks`, `sharing`, `counting`, `wagers`, `continuous`, `encoder`, and `claims`, the scoreboard; `cost` belongs to
the theory page.
"""

from typing import Any

from workedpapers.lab import Experiment

from .beliefs import BELIEFS, MIXED, Belief, climb
from .claims import scoreboard
from .continuous import CONTINUOUS, Continuous
from .cost import COST, Timed, by_autograd, measure
from .counting import COUNTING, Counting
from .encoder import ENCODER, Encoder
from .episodes import (
    ADAPTATION,
    BATCHES,
    CAPACITY,
    CHECK,
    HORIZON,
    INTERVENED,
    SCRATCH,
    SEARCH_RATES,
    STARTS,
    TUNED,
    TUNED_RATES,
    Episodes,
    at,
)
from .networks import (
    CHECK_NETWORKS,
    NETWORKS,
    SEARCH_CELLS,
    SEARCH_NETWORKS,
    SEARCH_TRUTH,
    SHORT,
    TUNED_CELLS,
    TUNED_NETWORKS,
    TUNED_TRUTH,
    Networks,
)
from .sharing import CHECK_SHARING, SEARCH_SHARING, SHARING, TUNED_SHARING, Sharing
from .wagers import WAGERS, Wager

__all__ = [
    "ADAPTATION",
    "BELIEFS",
    "COST",
    "EXPERIMENTS",
    "HORIZON",
    "SHORT",
    "TUNED_CELLS",
    "TUNED_NETWORKS",
    "TUNED_RATES",
    "TUNED_SHARING",
    "TUNED_TRUTH",
    "Belief",
    "Continuous",
    "Counting",
    "Encoder",
    "Episodes",
    "Networks",
    "Sharing",
    "Timed",
    "Wager",
    "at",
    "by_autograd",
    "climb",
    "measure",
    "scoreboard",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "check_networks": CHECK_NETWORKS,
    "check_sharing": CHECK_SHARING,
    "adaptation": ADAPTATION,
    "beliefs": BELIEFS,
    "capacity": CAPACITY,
    "search_rates": SEARCH_RATES,
    "tuned": TUNED,
    "search_networks": SEARCH_NETWORKS,
    "search_truth": SEARCH_TRUTH,
    "search_cells": SEARCH_CELLS,
    "networks": NETWORKS,
    "search_sharing": SEARCH_SHARING,
    "sharing": SHARING,
    "intervened": INTERVENED,
    "batches": BATCHES,
    "scratch": SCRATCH,
    "starts": STARTS,
    "counting": COUNTING,
    "mixed": MIXED,
    "wagers": WAGERS,
    "continuous": CONTINUOUS,
    "encoder": ENCODER,
    "cost": COST,
}
