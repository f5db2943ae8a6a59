"""The abstract's wish and a reviewer's question beside the recorded rows."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from workedpapers.lab import Claim, Experiment, judge, missing, sweep

from .estimators import ESTIMATORS
from .fits import APART, FITS
from .posteriors import DIGITS, MNIST
from .variance import SEPARATIONS, VARIANCE

TABLES: tuple[Experiment[Any], ...] = (VARIANCE, FITS, DIGITS, MNIST)
#: Cost, components, dimensions: the cells of the map that the scoreboard shows.
CELLS = (("cos", 3, 1), ("cos", 3, 8), ("linear", 3, 8), ("square", 3, 8))
WISH = "no number: wants low variance"
BORDER = "the distance of the centres, and the cost (experiments, section 2)"
DISAGREE = "seeds disagree"


def scoreboard() -> list[Claim]:
    """Claims; empty while rows are missing."""
    if any(missing(table, "book") for table in TABLES):
        return []  # this is asked for when the book is built, which must not start to train
    claims = []
    maps = sweep(VARIANCE, "book", device="cpu")
    for separation, (cost, k, d) in product((SEPARATIONS[0], SEPARATIONS[-1]), CELLS):
        cell = (maps.cost == cost) & (maps.components == k) & (maps.dimensions == d) & (maps.separation == separation)
        rows = maps[cell]
        ratios = (rows.leibniz_logits / rows.responsibilities_logits).map(math.log10)
        text = f"Cost {cost}, D = {d}, spread {separation:g}: variance for logits over that of the score (log10)"
        claims.append(_claim(text, WISH, ratios, BORDER))
    fits = sweep(FITS, "book", device="cpu")
    fits = fits[fits.max_norm.isna()].assign(logs=lambda rows: rows.divergence.map(math.log10))
    for apart, estimator in product((APART[0], APART[-1]), ("leibniz", "rule + trick")):
        runs = fits[fits.apart == apart].pivot(index="seed", columns="estimator", values="logs")
        text = f"Fit at {apart:g}, {estimator}: divergence over that with responsibilities (log10)"
        claims.append(
            _claim(text, WISH, runs[estimator] - runs["responsibilities"], "possible, not tested: its variance")
        )
    for name, table in (("Digits", DIGITS), ("MNIST", MNIST)):
        runs = sweep(table, "book", device="cpu").pivot(
            index="seed", columns=["components", "estimator"], values="test_nll"
        )
        for estimator in (name for name in ESTIMATORS if (5, name) in runs):
            gain = runs[5, estimator] - runs[1, "all components"]
            text = f"{name}, {estimator}: −log p of five components less that of one (nats)"
            claim = _claim(text, "no number: a reviewer asks", gain, "not tested")
            if name == "MNIST":
                cause = "most posteriors are one normal, whatever K is (experiments, section 8)"
                claim = replace(claim, verdict="not reached", cause=cause)
            claims.append(claim)
    return claims


def _claim(text: str, paper: str, differences: Sequence[float] | pd.Series, cause: str) -> Claim:
    """A difference that should be below zero."""
    runs = tuple(float(value) for value in differences)
    verdict = judge(runs, -1)
    if verdict == "holds in part":
        cause = DISAGREE
    return Claim(text, paper, runs, "book", verdict, "" if verdict == "holds" else cause)
