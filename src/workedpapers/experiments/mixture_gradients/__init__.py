"""Gradients through mixtures at work (paper `mixture_gradients`).

`estimators` are the five ways to estimate a gradient; the other files are what the experiments page asks: `variance`,
`fits`, `weights` (Pyro's), `posteriors`, and `claims`, the scoreboard; `cost` belongs to the theory page.
"""

from typing import Any

from workedpapers.lab import Experiment

from .claims import scoreboard
from .cost import COST, SHAPES, Timed, implicit_sample, measure
from .estimators import BASELINES, ESTIMATORS, draws_for, mean_surrogate, surrogate
from .fits import APART, CHECK_FITS, FITS, MAX_NORM, SEARCH_FITS, TUNED_FITS, Fit, bumps, fit
from .posteriors import (
    BASELINE_ARMS,
    CHECK,
    DIGITS,
    MNIST,
    SEARCH_DIGITS,
    SEARCH_MNIST,
    TUNED_BASELINES,
    TUNED_DIGITS,
    TUNED_MNIST,
    TUNED_WIDE,
    WIDE,
    Autoencoder,
    Network,
    bound,
    log_likelihood,
    shape,
    train,
    variances,
)
from .variance import COSTS, DIMENSIONS, MAPPED, SEPARATIONS, VARIANCE, Map, chart
from .weights import HALF_WIDTHS, PYRO, Peer, compare

__all__ = [
    "APART",
    "BASELINES",
    "COST",
    "COSTS",
    "DIMENSIONS",
    "ESTIMATORS",
    "EXPERIMENTS",
    "HALF_WIDTHS",
    "MAPPED",
    "MAX_NORM",
    "SEPARATIONS",
    "SHAPES",
    "TUNED_BASELINES",
    "TUNED_DIGITS",
    "TUNED_FITS",
    "TUNED_MNIST",
    "TUNED_WIDE",
    "Autoencoder",
    "Fit",
    "Map",
    "Network",
    "Peer",
    "Timed",
    "bound",
    "bumps",
    "chart",
    "compare",
    "draws_for",
    "fit",
    "implicit_sample",
    "log_likelihood",
    "mean_surrogate",
    "measure",
    "scoreboard",
    "shape",
    "surrogate",
    "train",
    "variances",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "check_fits": CHECK_FITS,
    "variance": VARIANCE,
    "search_fits": SEARCH_FITS,
    "fits": FITS,
    "pyro": PYRO,
    "search_digits": SEARCH_DIGITS,
    "digits": DIGITS,
    "baselines": BASELINE_ARMS,
    "search_mnist": SEARCH_MNIST,
    "mnist": MNIST,
    "wide": WIDE,
    "cost": COST,
}
