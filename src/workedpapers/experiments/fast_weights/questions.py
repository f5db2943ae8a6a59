"""What reviewers asked: which rule, is it the memory, how many inner steps, how many pairs."""

from dataclasses import replace
from itertools import product

import pandas as pd

from workedpapers.fast_weights import Write

from .retrieval import Retrieval, experiment

WRITES: tuple[Write, ...] = ("after", "delayed", "preliminary")
BEST: tuple[tuple[Write, bool], ...] = (("after", False), ("preliminary", True))  # write, norm_preliminary

_race = Retrieval(updates=10_000, target_error=1.0, evaluate_every=250)

#: What the fast matrix holds, and whether h_0 is normalised: updates until 1% error.
RULES = experiment(
    *(replace(_race, write=write, norm_preliminary=norm) for write, norm in product(WRITES, (False, True))),
)


def without_memory(norm: bool, scale: float, rate: float) -> Retrieval:
    """A network that never reads: plain ReLU units, or with layer norm; W starts at scale times the identity."""
    return replace(_race, inner_steps=0, norm_preliminary=norm, recurrent_scale=scale, learning_rate=rate)


#: The two networks that are left without memory: start of W and learning rate, by validation error.
WITHOUT_MEMORY_SEARCH = experiment(
    *(
        without_memory(norm, scale, rate)
        for norm, scale, rate in product((False, True), (0.05, 0.25, 0.5, 1.0), (5e-4, 1e-3, 2e-3, 4e-3))
    ),
    seeds=(100,),
)
#: The best of each; the one with layer norm learns late, so it gets more updates.
WITHOUT_MEMORY = experiment(
    without_memory(False, 1.0, 1e-3),
    replace(without_memory(True, 0.5, 1e-3), updates=20_000, target_error=0.0, evaluate_every=500),
)
#: More reads a step, for the two best rules; those with one are among `RULES`.
INNER_STEPS = experiment(
    *(
        replace(_race, write=write, norm_preliminary=norm, inner_steps=steps)
        for (write, norm), steps in product(BEST, (2, 3))
    ),
    seeds=range(3),
)
#: Fewer and more pairs; those with four are among `RULES`.
PAIRS = experiment(*(replace(_race, pairs=pairs) for pairs in (2, 8)), seeds=range(3))


def race(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Who reaches the target error, when, and where the runs end.

    Args:
        rows: of `RULES`, `INNER_STEPS`, `WITHOUT_MEMORY` or `PAIRS`.
        by: the columns that tell the arms apart.
    Returns: one row an arm: how many runs reached the target, the median over all runs of the updates until then, and
        the mean test error at the cap of those that did not.
    """
    table = []
    for arm, runs in rows.groupby(by, sort=False):
        reached = runs.validation_error.str[-1] <= runs.target_error
        median = runs.updates_done.where(reached, float("inf")).median()
        table.append(
            dict(zip(by, arm, strict=True))
            | {
                "reached 1%": f"{reached.sum()} of {len(runs)}",
                "updates until then (median)": f"{median:,.0f}" if median < float("inf") else "not reached",
                "error of the others (%)": "" if reached.all() else f"{runs.test_error[~reached].mean():.1f}",
            }
        )
    return pd.DataFrame(table)
