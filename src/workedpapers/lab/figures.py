"""The look of every figure in the book, and the few shapes that each chapter draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .scoreboard import Claim

COLORS: Mapping[str, str] = MappingProxyType(
    {
        "learned": "#0072B2",
        "fast": "#D55E00",
        "baseline": "#009E73",
        "peer": "#CC79A7",
        "wrong": "#E69F00",
        "data": "#56B4E9",
        "paper": "#000000",
        "muted": "#666666",
    }
)
"""One meaning a colour, through the whole book (Okabe and Ito's palette, safe for colour-blind readers).

learned: slow weights, what training changes; fast: what changes within a sequence; baseline: the method
compared with; peer: another implementation of the same; wrong: a refuted form; data: inputs and targets;
paper: a number the paper prints; muted: guides and context.
"""


def use_style() -> None:
    """Set matplotlib's defaults to the book's style: call it once, in a notebook's setup cell.

    A figure of 4.5 x 3 inches at 115 dpi is 518 pixels wide: on a telephone, 360 pixels wide, its smallest
    type is still 11 pixels.
    """
    cycle = [COLORS[role] for role in ("learned", "fast", "baseline", "peer", "wrong", "data")]
    plt.rcParams.update(
        {
            "figure.figsize": (4.5, 3.0),
            "figure.dpi": 115,
            "savefig.dpi": "figure",
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "figure.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=cycle),
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.cmap": "cividis",
            "svg.hashsalt": "workedpapers",
        }
    )


def panels(n: int, *, columns: int = 2, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, filled row by row.

    One column has panels 4.5 inches wide, and its letters stay largest on a narrow screen; with more columns
    each panel is 3.2 inches wide.

    Args:
        n: number of panels, at least one.
        columns: panels a row, at least one.
        subplots: passed to `plt.subplots`, such as `sharey=True`.
    Returns: the figure and its n axes.
    Raises: ValueError: n or columns below one.
    """
    if n < 1 or columns < 1:
        raise ValueError(f"n is {n} and columns is {columns}, expected at least one of each")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    width, height = (4.5, 3.0) if columns == 1 else (3.2, 2.6)
    fig, grid = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **subplots)
    axes = list(grid.flat)
    for spare in axes[n:]:
        spare.remove()
    return fig, axes[:n]


def curve_with_band(ax: Axes, x: ArrayLike, runs: ArrayLike, label: str, color: str) -> None:
    """Draw the mean over seeds as a line, and from the lowest to the highest run as a band.

    Args:
        ax: where to draw.
        x: shape (points,).
        runs: one row a seed, shape (seeds, points).
        label: of the line, for the legend.
        color: of the line and, paler, of the band.
    Raises: ValueError: shapes that do not agree.
    """
    x, runs = np.asarray(x), np.asarray(runs)
    if x.ndim != 1 or runs.ndim != 2 or len(runs) == 0 or runs.shape[1] != len(x):
        raise ValueError(f"x has shape {x.shape} and runs {runs.shape}, expected (points,) and (seeds, points)")
    ax.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.2, linewidth=0)
    ax.plot(x, runs.mean(axis=0), color=color, label=label)


def every_run(ax: Axes, runs: Iterable[tuple[ArrayLike, ArrayLike]], label: str, color: str) -> None:
    """Draw the curve of each run as a thin line with a dot at its end.

    Args:
        ax: where to draw.
        runs: x and y of each run; their lengths may differ between runs.
        label: of the first line, for the legend.
        color: of all lines.
    """
    for number, (x, y) in enumerate(runs):
        ax.plot(x, y, color=color, linewidth=1.1, alpha=0.8, label=None if number else label)
        ax.plot(np.asarray(x)[-1], np.asarray(y)[-1], "o", color=color, markersize=4)


def dots(ax: Axes, place: float, runs: ArrayLike, color: str, *, hollow: bool = False) -> None:
    """Draw every run as a dot; the runs stand side by side around a place on the x axis.

    Args:
        ax: where to draw.
        place: on the x axis; the dots take a third of a unit on either side.
        runs: one value a seed, shape (seeds,).
        color: of the dots.
        hollow: rings instead of filled dots.
    Raises: ValueError: no run, or more than one dimension.
    """
    runs = np.asarray(runs)
    if runs.ndim != 1 or len(runs) == 0:
        raise ValueError(f"runs has shape {runs.shape}, expected (seeds,) with at least one seed")
    across = place + np.linspace(-1, 1, len(runs)) / 3 if len(runs) > 1 else np.array([place])
    face = "white" if hollow else color
    ax.plot(across, runs, "o", markersize=4.5, markeredgecolor=color, markerfacecolor=face)


def paper_line(ax: Axes, value: float, label: str = "paper") -> None:
    """Draw the paper's own number as a dashed horizontal line.

    Args:
        ax: where to draw.
        value: the number, in the units of the y axis.
        label: for the legend.
    """
    ax.axhline(value, color=COLORS["paper"], linestyle="--", linewidth=1.2, label=label)


VERDICT_COLORS = {"holds": "baseline", "holds in part": "data", "fails": "wrong", "not reached": "muted"}


def verdicts(claims: Sequence[Claim]) -> Axes:
    """A figure of claims that say "below zero": one a row, every run a dot in the colour of the verdict.

    Args: claims: in the order from top to bottom; a row is called what stands before the colon of a claim.
    Returns: the axes, for a title.
    Raises: ValueError: no claims.
    """
    if not claims:
        raise ValueError("no claims to draw: their rows are not recorded")
    _, ax = plt.subplots(figsize=(5, 0.28 * len(claims) + 0.8))
    for place, claim in enumerate(reversed(claims)):
        color = COLORS[VERDICT_COLORS[claim.verdict]]
        ax.plot(claim.runs, len(claim.runs) * [place], "o", markersize=4, color=color)
    ax.axvline(0, color=COLORS["muted"], linewidth=0.8)
    ax.set_yticks(range(len(claims)), [claim.claim.split(":")[0] for claim in reversed(claims)], fontsize=9)
    wide = max(abs(run) for claim in claims for run in claim.runs) > 2  # where matplotlib's symlog is no longer linear
    ax.set(xscale="symlog" if wide else "linear", xlabel="below zero: the claim")
    return ax
