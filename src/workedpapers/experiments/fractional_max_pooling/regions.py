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


#: What `SEARCH_REGIONS` chose, in the order of `ARMS`.
REGION_RATES = {
    "mnist": (0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02),
    "fashion-mnist": (0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02),
}
TUNED_REGIONS = {
    arm(data, *parts): rate for data, rates in REGION_RATES.items() for parts, rate in zip(ARMS, rates, strict=True)
}
#: Where the search had chosen twice that rate, and a run with another seed diverged.
DIVERGED_REGIONS = {
    arm("mnist", "fixed", "square"): 0.04,
    arm("mnist", "pseudorandom", "interval"): 0.04,
    arm("fashion-mnist", "pseudorandom", "disjoint"): 0.08,
}
SEARCH_REGIONS = searched(TUNED_REGIONS | DIVERGED_REGIONS)
DIVERGED = tuned(DIVERGED_REGIONS, range(3))
REGIONS = tuned(TUNED_REGIONS, range(3))


def regions(data: str) -> pd.DataFrame:
    """The rows of the comparison on one data set."""
    rows = sweep(REGIONS, "book", device="cpu")
    return rows[rows.data == data]
