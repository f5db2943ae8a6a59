"""The paper's claims, and its reviewers' questions, beside the recorded rows."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from workedpapers.lab import Claim, Experiment, arm, judge, missing, sweep

from .neighbours import NEIGHBOURS
from .tables import named

TABLES: tuple[Experiment[Any], ...] = (
    *(named(group) for group in ("memories", "rivals", "readings", "bindings")),
    NEIGHBOURS,
)
LATER = slice(1, 8)  # showings 2 to 8


def scoreboard() -> list[Claim]:
    """Claims, each a difference in points of accuracy that should be below zero; empty while rows are missing."""
    if any(missing(table, "book") for table in TABLES):
        return []  # this is asked for when the book is built, which must not start to train
    lstm, matched, feedforward = (_arm("rivals", name) for name in (LSTM, "matched", "feedforward"))
    neighbours = sweep(NEIGHBOURS, "book", device="cpu")
    one = arm(neighbours, features="pixels", neighbours=1)
    claims = []
    for memory, name in ((_arm("memories", "memory"), "MANN"), (_arm("memories", "sharp"), "MANN at β = 10")):
        cause = "key strength, or updates (experiments, section 1)" if name == "MANN" else "not tested"
        claims += [
            _claim(f"LSTM less {name}: 2nd showing", -33.3, _at(lstm, 2) - _at(memory, 2), cause),
            _claim(
                f"LSTM as large, less {name}: 2nd showing", "a review asks", _at(matched, 2) - _at(memory, 2), cause
            ),
            _claim(f"Feed-forward less {name}: 2nd showing", -63.2, _at(feedforward, 2) - _at(memory, 2), cause),
            _claim(f"24% less {name}: 1st showing", -12.4, 24 - _at(memory, 1), cause),
            _claim(f"Nearest pixels less {name}: 2nd showing", -32.8, _at(one, 2) - _at(memory, 2), cause),
        ]
    base, strength, ntm = (_arm("readings", name) for name in ("base", "strength 1", "NTM"))
    claims += [
        _claim("NTM addressing less LRU: showings 2 to 8", -27.2, _later(ntm) - _later(base), "not tested"),
        _claim("Strength 1 less 10: showings 2 to 8", "no number", _later(strength) - _later(base), "not tested"),
    ]
    forward, kept = (_arm("bindings", name) for name in ("feed-forward", "not wiped"))
    claims += [
        _claim(
            "Feed-forward controller less LSTM: showings 2 to 8", -61.5, _later(forward) - _later(base), "not tested"
        ),
        _claim(
            "Not wiped less wiped: showings 2 to 8", "below 0 (as reported)", _later(kept) - _later(base), "not tested"
        ),
    ]
    return claims


LSTM = "lstm, doubled"  # the better of the two starts


def _arm(group: str, name: str) -> pd.DataFrame:
    return sweep(named(group, name), "book", device="cpu")


def _at(rows: pd.DataFrame, showing: int) -> pd.Series:
    """Accuracy at a showing in per cent, by seed."""
    return pd.Series([100 * accuracy[showing - 1] for accuracy in rows.accuracy])


def _later(rows: pd.DataFrame) -> pd.Series:
    return pd.Series([100 * sum(accuracy[LATER]) / len(accuracy[LATER]) for accuracy in rows.accuracy])


def _claim(text: str, paper: float | str, differences: Iterable[float], cause: str) -> Claim:
    """A difference in points that should be below zero."""
    values = tuple(float(value) for value in differences)
    verdict = judge(values, -1)
    if verdict == "holds in part":
        cause = "seeds disagree"
    return Claim(text, paper, values, "book", verdict, "" if verdict == "holds" else cause)
