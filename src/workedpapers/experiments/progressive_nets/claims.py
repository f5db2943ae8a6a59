"""Transfer scores, and the paper's claims beside the recorded rows."""

from collections.abc import Mapping

import pandas as pd
import torch

from workedpapers.lab import Claim, Experiment, judge, missing, sweep
from workedpapers.progressive_nets import transfer_score
from workedpapers.tasks.catch import random_score

from .games import Soup
from .tables import BASELINES, SOUP_ARMS, SOURCES, named, soup

#: The paper's transfer scores over Pong and its variants, in per cent: mean and median (its Table 1).
TABLE_1: Mapping[str, tuple[float, float]] = {
    "baseline 2": (35, 7),
    "baseline 3": (181, 160),
    "baseline 4": (134, 131),
    "progressive, 2 columns": (209, 169),
    "progressive, 3 columns": (222, 183),
}
#: Our arms, and which of the paper's they are.
PEERS: Mapping[str, str] = {
    "head": "baseline 2",
    "finetune": "baseline 3",
    "finetune, new head": "baseline 3",
    "random": "baseline 4",
    "linear": "progressive, 2 columns",
    "adapter": "progressive, 2 columns",
    "three columns": "progressive, 3 columns",
}


def soup_scores(baseline: Experiment[Soup] | None = None) -> pd.DataFrame:
    """Every run of Catch soup by arm, source, target and seed: area, final score, and transfer score in per cent.

    Args: baseline: runs on every look, of which the mean over the seeds is 100; the columns from scratch if None.
    """
    scratch = sweep(baseline or soup("scratch"), "book", device="cpu")
    base = {str(look): torch.tensor(rows.curve.to_list()).mean(0) for look, rows in scratch.groupby("target")}
    return pd.DataFrame(
        [
            {
                "arm": name,
                "source": ", ".join(row["sources"]),
                "target": row["target"],
                "seed": row["seed"],
                "area": row["area"],
                "final": row["final"],
                "score": float(transfer_score(torch.tensor(row["curve"]), base[row["target"]], random_score())),
            }
            for name in SOUP_ARMS
            for row in sweep(soup(name), "book", device="cpu").to_dict("records")
        ]
    )


def on_pairs(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in which arms without a trained source count once for every pair, as looks weigh in those with one.

    Args: scores: as of `soup_scores`.
    """
    alone = scores.arm.isin(BASELINES)
    pairs = scores.loc[scores.arm == "linear", ["source", "target", "seed"]]
    return pd.concat([scores[~alone], scores[alone].drop(columns="source").merge(pairs, on=["target", "seed"])])


def scoreboard() -> list[Claim]:
    """Claims, each a difference that should be below zero; empty while rows are missing."""
    groups = ("digits 100", "layers", "starts")
    # This is asked for when the book is built, which must not start to train.
    if missing(soup(*SOUP_ARMS), "book") or any(missing(named(group), "book") for group in groups):
        return []
    scores = soup_scores()
    median, apart = (
        {str(name): rows.groupby("seed").score.median() for name, rows in part.groupby("arm")}
        for part in (on_pairs(scores), scores[~scores.target.isin(SOURCES)])
    )

    def area(group: str, name: str) -> pd.Series:
        return 100 * sweep(named(group, name), "book", device="cpu").groupby("seed").area.mean()

    def digits(less: str, more: str) -> pd.Series:
        return area("digits 100", less) - area("digits 100", more)

    games = (
        ("From scratch less progressive (linear)", 100 - 169, median["scratch"] - median["linear"]),
        ("From scratch less progressive (adapters)", 100 - 169, median["scratch"] - median["adapter"]),
        ("Fine-tuned less progressive (adapters)", 160 - 169, median["finetune, new head"] - median["adapter"]),
        ("Random column less progressive (linear)", 131 - 169, median["random"] - median["linear"]),
        ("Head only less from scratch", 7 - 100, median["head"] - median["scratch"]),
        ("Two columns less three, looks that are no source", 169 - 183, apart["adapter"] - apart["three columns"]),
    )
    images = (
        ("Digits, 100 labels, from scratch less progressive", "a review asks", digits("scratch", "linear")),
        ("Digits, 100 labels, head only less from scratch", "below 0", digits("head", "scratch")),
        (
            "Digits, reading all layers less the previous one",
            "a review asks",
            area("layers", "all") - area("layers", "previous"),
        ),
        (
            "Digits, laterals as they are less zero at first",
            "a review asks",
            area("starts", "gain 1") - area("starts", "gain 0"),
        ),
    )
    return [
        *[_claim(f"{text}: median score, points", paper, differences) for text, paper, differences in games],
        *[_claim(f"{text}: area, points", paper, differences) for text, paper, differences in images],
    ]


def _claim(text: str, paper: float | str, differences: pd.Series) -> Claim:
    """A difference that should be below zero."""
    values = tuple(float(value) for value in differences)
    verdict = judge(values, -1)
    cause = {"holds": "", "holds in part": "seeds disagree"}.get(verdict, "not tested")
    return Claim(text, paper, values, "book", verdict, cause)
