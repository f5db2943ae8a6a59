"""What the paper says about memories, and its reviewers' questions, beside the recorded rows."""

import pandas as pd

from workedpapers.lab import Claim, judge, missing, sweep

from .tables import ARMS, TASKS, named

FIXED_LAGS = ("recall", "parity", "one-shot")  # tasks whose told frames come at the same distance always
CAUSES = {"panorama": "mostly what is carried (experiments, section 7)"}  # of a gap, by task, where one was tested
FORETOLD = 0.1  # of the KL of a new frame: what a frame that is foreseen costs at most


def scoreboard() -> list[Claim]:
    """Claims, each a difference by seed that should be below zero; empty while rows are missing.

    Of models it is the difference of their bounds, in nats a told frame. The paper gives figures, no numbers.
    """
    if any(missing(named(group), "book") for group in (*TASKS, "carry")):
        return []  # this is asked for when the book is built, which must not start to train
    bounds = {task: _by_seed(task, "told") for task in TASKS}
    claims = []
    for task, bound in bounds.items():
        paper = "a review asks" if task == "strings" else "below 0"
        text, less = f"VRNN, {task}: less Introspection", bound["VRNN"] - bound["Introspection"]
        claims.append(_claim(text, paper, less, CAUSES.get(task, "not tested")))
    kept = _by_seed("carry", "told")["Introspection, both"]
    text = "VRNN, recall, both carried: less Introspection that carries both"
    claims.append(_claim(text, "a review asks", bounds["recall"]["VRNN"] - kept))
    for task in FIXED_LAGS:
        bound = bounds[task]
        best = bound.drop(columns=["VRNN", "Introspection"]).mean().idxmax()
        claims.append(
            _claim(
                f"Best other memory, {task}: {best} less Introspection", "below 0", bound[best] - bound["Introspection"]
            )
        )
    for name in ("DNC", "LRU"):
        bound = bounds["cue"]
        claims.append(
            _claim(f"Introspection less {name}, cue: told frames", "below 0", bound["Introspection"] - bound[name])
        )
    told, new = (_by_seed("recall", kl)["Introspection"] for kl in ("told_kl", "new_kl"))
    text = "Told KL, recall: of Introspection, less a tenth of that of new frames"
    return [*claims, _claim(text, "below 0", told - FORETOLD * new)]


def _by_seed(task: str, metric: str) -> pd.DataFrame:
    """A metric of a task, a row for each seed, a column for each model."""
    return pd.DataFrame(
        {name: sweep(named(task, name), "book", device="cpu").set_index("seed")[metric] for name in ARMS[task]}
    )


def _claim(text: str, paper: str, differences: pd.Series, cause: str = "not tested") -> Claim:
    """A difference that should be below zero."""
    values = tuple(float(value) for value in differences)
    verdict = judge(values, -1)
    cause = {"holds": "", "holds in part": "seeds disagree"}.get(verdict, cause)
    return Claim(f"{text}, nats", paper, values, "book", verdict, cause)
