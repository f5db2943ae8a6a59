"""The paper's claims, and its reviewers' questions, beside the recorded rows."""

from collections.abc import Iterable
from statistics import median
from typing import Any

import pandas as pd

from workedpapers.lab import Claim, Experiment, arm, judge, missing, sweep

from .beliefs import BELIEFS
from .episodes import ADAPTATION, CAPACITY, INTERVENED, at
from .networks import NETWORKS
from .wagers import WAGERS

TABLES: tuple[Experiment[Any], ...] = (ADAPTATION, BELIEFS, CAPACITY, INTERVENED, NETWORKS, WAGERS)
MIDDLE = 2  # of the five quantiles


def scoreboard() -> list[Claim]:
    """Claims, each a difference that should be below zero; empty while rows are missing."""
    if any(missing(table, "book") for table in TABLES):
        return []  # this is asked for when the book is built, which must not start to train
    adaptation, beliefs, capacity, intervened, networks, wagers = (sweep(t, "book", device="cpu") for t in TABLES)
    claims = []
    for size in (10, 100):
        rows = arm(adaptation, values=size, batch=1, learning_rate=1.0)
        gap = [-quantiles[MIDDLE] for quantiles in at(rows, "gap", 10)]
        text = f"Tables, {size} values: median KL after ten examples, A → B less B → A (nats)"
        claims.append(_claim(text, "below 0 (a figure)", gap, "not tested"))
        last = arm(beliefs, values=size, batch=10)["last"]
        text = f"Belief, {size} values: 0.95 less the median belief after 1,000 episodes"
        claims.append(_claim(text, "below 0 (a figure)", _short_of(last), "not tested"))
    script = arm(networks, truth="network", updates=1000)
    fitted = arm(networks, truth="network", updates=3000)
    tables = arm(networks, truth="tables", prior="rows", updates=3000, hidden=8, shared=True)
    for name, rows, paper, cause in (
        (
            "Networks, their script",
            script,
            "below 0 (a figure)",
            "the best constant belief is no higher (experiments, section 2)",
        ),
        ("Networks, long fit", fitted, "no number", "not tested"),
        ("Networks, worlds of tables", tables, "no number", "what all rows share (experiments, section 4)"),
    ):
        text = f"{name}: 0.95 less the median belief at the end"
        claims.append(_claim(text, paper, _short_of(rows["last"]), cause))
    for steps in (20, 400):
        small, large = (at(arm(capacity, values=size), "mean_gap", steps).to_numpy() for size in (10, 100))
        text = f"Capacity, {steps} examples: gap at N = 10 less that at N = 100 (nats)"
        cause = "it takes more examples (experiments, section 3)"
        claims.append(_claim(text, "a review expects it", small - large, cause))
    for on, text in (("cause", "the cause"), ("effect", "the effect, at random"), ("mirror", "the effect, mirrored")):
        rows = arm(intervened, prior="cells", intervention=on)
        line = f"On {text}: share of episodes with Δ < 0 after 20 examples, less a half"
        paper = "below 0" if on == "cause" else "a reviewer asks"
        less = at(rows, "negative", 20) - 0.5
        claims.append(_claim(line, paper, less, "B → A is mended faster (experiments, section 5)"))
    rows = arm(wagers, loss=5.0, structural_rate=0.01)
    text = "Positive mean of Δ: 0.95 less the median belief at the end, Δ = +1 or −5"
    claims.append(_claim(text, "below 0, as commonly stated", _short_of(rows["last"]), "the mean of e^−Δ is 15.2"))
    return claims


def _short_of(beliefs: pd.Series) -> list[float]:
    """By seed, how far the median world is from .95."""
    return [0.95 - median(worlds) for worlds in beliefs]


def _claim(text: str, paper: str, differences: Iterable[float], cause: str) -> Claim:
    """A difference that should be below zero."""
    values = tuple(float(value) for value in differences)
    verdict = judge(values, -1)
    if verdict == "holds in part":
        cause = "seeds disagree"
    return Claim(text, paper, values, "book", verdict, "" if verdict == "holds" else cause)
