"""The paper's comparison: ordinary pooling, fixed and drawn regions, three kinds of overlap, on two data sets."""

from itertools import product

import pandas as pd

from workedpapers.fractional_max_pooling import Overlap
from workedpapers.lab import sweep

from .training import OVERLAPS, Training, searched, tuned

DATA_SETS = {"MNIST": "mnist", "Fashion-MNIST": "fashion-mnist"}
#: Pooling and overlap; "max" is 2×2 with stride two.
ARMS: tuple[tuple[str, Overlap], ...] = (("max", "square"), *product(("fixed", "pseudorandom", "random"), OVERLAPS))


def arm(data: str, pooling: str, overlap: Overlap = "square") -> Training:
    """One arm; squares with draws are measured with up to 32 passes."""
    long = overlap == "square" and pooling in ("pseudorandom", "random")
    return Training(data, pooling=pooling, overlap=overlap, passes=32 if long else 12)


#: The rates of the arms, in the order of `ARMS`: what `SEARCH_REGIONS` chose, or half of that, see `DIVERGED_REGIONS`.
REGION_RATES = {
    "mnist": (0.02, 0.02, 0.02, 0.02, 0.04, 0.02, 0.02, 0.08, 0.04, 0.04),
    "fashion-mnist": (0.02, 0.02, 0.01, 0.01, 0.04, 0.04, 0.04, 0.04, 0.04, 0.02),
}
TUNED_REGIONS = {
    arm(data, *parts): rate for data, rates in REGION_RATES.items() for parts, rate in zip(ARMS, rates, strict=True)
}
#: The rate that the search chose where at least one of three final runs diverged at it.
DIVERGED_REGIONS = {
    arm("mnist", "fixed", "square"): 0.04,
    arm("mnist", "pseudorandom", "interval"): 0.04,
    arm("fashion-mnist", "pseudorandom", "disjoint"): 0.08,
}
SEARCH_REGIONS = searched(TUNED_REGIONS | DIVERGED_REGIONS, (0.01, 0.02, 0.04, 0.08))
SQUARES = tuned({config: rate for config, rate in TUNED_REGIONS.items() if config.overlap == "square"})
OTHERS = tuned({config: rate for config, rate in TUNED_REGIONS.items() if config.overlap != "square"}, range(3))


def regions(data: str) -> pd.DataFrame:
    """The rows of the comparison on one data set, five seeds of squares and three of the others."""
    rows = pd.concat([sweep(table, "book", device="cpu") for table in (SQUARES, OTHERS)])
    return rows[rows.data == data]
