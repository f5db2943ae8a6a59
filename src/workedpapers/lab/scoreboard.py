"""Claims of a paper beside what was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

Verdict = Literal["holds", "holds in part", "not reached", "fails"]


@dataclass(frozen=True)
class Claim:
    """One line of the scoreboard.

    Args:
        claim: what is measured, with its unit.
        paper: the paper's value, or in words what it finds, such as "below 0".
        runs: ours, one value a seed.
        scale: at which scale the runs were made.
        verdict: "holds", "holds in part", "not reached" (within our budget) or "fails".
        cause: where the two differ, why; else empty.
    Raises: ValueError: no runs, or a claim that differs from the paper without a cause.
    """

    claim: str
    paper: float | str
    runs: tuple[float, ...]
    scale: str
    verdict: Verdict
    cause: str = ""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f"claim {self.claim!r} has no runs")
        if self.verdict != "holds" and not self.cause:
            raise ValueError(f"claim {self.claim!r} has the verdict {self.verdict!r} and names no cause")

    @property
    def ours(self) -> float:
        """Mean over the seeds."""
        return float(pd.Series(self.runs).mean())

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds; NaN for one seed."""
        return float(pd.Series(self.runs).std())


def scoreboard_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """The claims as a table, ready to show."""
    return pd.DataFrame(
        [
            {
                "claim": claim.claim,
                "paper": claim.paper if isinstance(claim.paper, str) else f"{claim.paper:g}",
                "ours (mean ± sd)": f"{claim.ours:.2f} ± {claim.spread:.2f}",
                "seeds": len(claim.runs),
                "scale": claim.scale,
                "verdict": claim.verdict,
                "cause of the gap": claim.cause,
            }
            for claim in claims
        ]
    )


def judge(differences: Sequence[float], sign: int) -> Verdict:
    """Of a claim about a sign: it holds if every run has it, in part if their mean has it, else it fails.

    Args:
        differences: one value a run.
        sign: 1 or −1, what the claim says.
    """
    if all(difference * sign > 0 for difference in differences):
        return "holds"
    return "holds in part" if sum(differences) * sign > 0 else "fails"
