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
    memory, lstm, matched, feedforward = (
        _arm(group, name)
        for group, name in (("memories", "memory"), ("rivals", LSTM), ("rivals", "matched"), ("rivals", "feedforward"))
    )
    neighbours = sweep(NEIGHBOURS, "book", device="cpu")
    one, four = (arm(neighbours, features="pixels", neighbours=k) for k in (1, 4))
    budget = "3,500 updates here; not tested"
    claims = [
        _claim("LSTM less MANN: 2nd showing", -33.3, _at(lstm, 2) - _at(memory, 2), "not tested"),
        _claim("LSTM less MANN, 10th: 10th showing", -35.6, _at(lstm, 10) - _at(memory, 10), "not tested"),
        _claim(
            "LSTM as large, less MANN: 2nd showing", "a review asks", _at(matched, 2) - _at(memory, 2), "not tested"
        ),
        _claim("Feed-forward less MANN: 2nd showing", -63.2, _at(feedforward, 2) - _at(memory, 2), "not tested"),
        _claim("24% less MANN: 1st showing", -12.4, 24 - _at(memory, 1), budget),
        _claim("Nearest pixels less MANN: 2nd showing", -32.8, _at(one, 2) - _at(memory, 2), budget),
        _claim(
            "Four neighbours less one: 2nd showing",
            "a review expects above 0",
            _at(four, 2) - _at(one, 2),
            "not tested",
        ),
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
