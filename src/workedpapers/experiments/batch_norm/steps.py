"""The paper's table of steps: how many times fewer updates with the layer, at multiples of the baseline's rate."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pandas as pd

from workedpapers.lab import Claim, Experiment, judge, missing, sweep

from .rates import NORMS, cnn
from .training import ACTIVATIONS, RATES, SEARCH_SEED, Training, trainings

#: The learning rate of the convolutional network, by validation error.
SEARCH_CNN = trainings(
    [
        replace(cnn(norm, rate, activation), train_size=50_000, evaluate_every=1_000)
        for activation, norm, rate in product(ACTIVATIONS, NORMS, RATES)
    ],
    SEARCH_SEED,
)
#: What `SEARCH_CNN` chose, by activation and norm.
CNN_RATES = {
    ("relu", "none"): 1.0,
    ("relu", "batch"): 3.0,
    ("sigmoid", "none"): 0.1,
    ("sigmoid", "batch"): 3.0,
}
BASELINE = CNN_RATES["relu", "none"]
LOW_RATE = BASELINE / 10

ARMS = {  # activation, norm, rate as a multiple of the baseline's; None: the arm's own best rate
    "no norm": ("relu", "none", 1.0),
    "no norm, ×5": ("relu", "none", 5.0),
    "batch norm, ×1": ("relu", "batch", 1.0),
    "batch norm, ×5": ("relu", "batch", 5.0),
    "batch norm, ×30": ("relu", "batch", 30.0),
    "batch norm, own best": ("relu", "batch", None),
    "sigmoid, no norm": ("sigmoid", "none", None),
    "sigmoid, batch norm": ("sigmoid", "batch", None),
}
LOW_ARMS = ("no norm", "batch norm, ×1", "batch norm, ×5", "batch norm, ×30")


def _config(arm: str, baseline: float) -> Training:
    activation, norm, multiple = ARMS[arm]
    rate = CNN_RATES[activation, norm] if multiple is None else round(multiple * baseline, 9)
    return replace(cnn(norm, rate, activation), population=norm == "batch")


#: At the best rate of the network without normalisation, and from a rate that is ten times too low.
STEPS_TABLE = trainings([_config(arm, BASELINE) for arm in ARMS], range(3))
STEPS_LOW = trainings([_config(arm, LOW_RATE) for arm in LOW_ARMS], range(3))


def steps_table(table: Experiment[Training] = STEPS_TABLE) -> pd.DataFrame:
    """Runs beside the baseline's run with the same seed.

    Runs with batch normalisation are judged with population statistics, as in the paper.

    Args:
        table: `STEPS_TABLE` or `STEPS_LOW`.
    Returns: one row a run: `arm`; `seed`; `best`, its best accuracy (%); `gain`, that less the baseline's; `speedup`,
        how many times fewer updates than the baseline it needs for the baseline's best accuracy, 0 if it never has it.
    """
    rows = sweep(table, "book", device="cpu")
    arms = zip(ARMS if table is STEPS_TABLE else LOW_ARMS, table.configs("book"), strict=True)
    runs: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
    for arm, config in arms:
        same = (rows.activation == config.activation) & (rows.norm == config.norm)
        for row in rows[same & (rows.learning_rate == config.learning_rate)].to_dict("records"):
            errors = row["curve_population" if config.population else "curve_error"]
            runs[arm, row["seed"]] = row["curve_updates"], [100 - error for error in errors]

    def until(arm: str, seed: int, goal: float) -> float:
        pairs = zip(*runs[arm, seed], strict=True)
        return next((update for update, accuracy in pairs if accuracy >= goal), math.inf)

    found = []
    for arm, seed in runs:
        goal = max(runs["no norm", seed][1])
        best = max(runs[arm, seed][1], default=math.nan)  # a run that diverged at once has no evaluation
        speedup = until("no norm", seed, goal) / until(arm, seed, goal)
        found.append({"arm": arm, "seed": seed, "best": best, "gain": best - goal, "speedup": speedup})
    return pd.DataFrame(found)


PAPER_STEPS = {  # the paper's table beside figure 3: millions of updates until 72.2%, best accuracy (%)
    "no norm": (31.0, 72.2),
    "batch norm, ×1": (13.3, 72.7),
    "batch norm, ×5": (2.1, 73.0),
    "batch norm, ×30": (2.7, 74.8),
}


def scoreboard() -> list[Claim]:
    """The paper's table of steps, relative to its baseline, beside the recorded rows; empty while rows are missing."""
    if missing(STEPS_TABLE, "book"):
        return []  # this is asked for when the book is built, which must not start to train
    table = steps_table()
    claims = []
    for arm, (updates, accuracy) in list(PAPER_STEPS.items())[1:]:
        runs = table[table.arm == arm]
        speedup, gain = PAPER_STEPS["no norm"][0] / updates, accuracy - PAPER_STEPS["no norm"][1]
        claims += [
            _claim(
                f"{arm}: times fewer updates to the best accuracy of the baseline",
                round(speedup, 1),
                runs.speedup.tolist(),
                1,
            ),
            _claim(f"{arm}: best accuracy, less that of the baseline (points)", round(gain, 1), runs.gain.tolist(), 0),
        ]
    return claims


def _claim(text: str, paper: float, runs: Sequence[float], neutral: float) -> Claim:
    """A claim holds if all runs lie on the paper's side of `neutral`, in part if the mean does, else it fails."""
    verdict = judge([(run - neutral) * (paper - neutral) for run in runs], 1)
    cause = "" if verdict == "holds" else "our baseline is at its best rate; possible, not tested: the task"
    return Claim(text, paper, tuple(runs), "book", verdict, cause)
