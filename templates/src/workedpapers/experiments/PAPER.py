"""TITLE, the experiments (chapter `notebooks/PAPER`).

As in section … of the paper: … Ours: …
"""

from dataclasses import dataclass

import torch

from workedpapers.lab import Claim, Experiment, judge, missing, sweep
from workedpapers.PAPER import trace


@dataclass(frozen=True)
class Follow:
    """One configuration: a trace that follows a random walk. (Stands here until the paper's experiment does.)

    Args:
        decay: of the trace.
        steps: of the walk.
    """

    decay: float = 0.5
    steps: int = 100


def train(config: Follow, seed: int, device: torch.device) -> dict[str, object]:
    """Follow one walk; the metrics of the row.

    Returns: `distance`, the root mean square between the walk and the trace, which is scaled to sum to one.
    """
    generator = torch.Generator().manual_seed(seed)
    walk = torch.randn(config.steps, 1, generator=generator, dtype=torch.float64).to(device).cumsum(0)
    held = [(1 - config.decay) * trace(walk[: step + 1], config.decay) for step in range(config.steps)]
    return {"distance": (torch.stack(held) - walk).square().mean().sqrt().item()}


DECAYS = (0.2, 0.5, 0.8)
GRID = {"check": [Follow(steps=10)], "book": [Follow(decay) for decay in DECAYS]}
TABLE = Experiment("PAPER", Follow, train, GRID, {"check": (0,), "book": range(5)})
EXPERIMENTS = {"table": TABLE}


def scoreboard() -> list[Claim]:
    """The paper's claims beside the recorded rows of `TABLE`; empty while rows are missing."""
    if missing(TABLE, "book"):
        return []  # this is asked for when the book is built, which must not start to train
    rows = sweep(TABLE, "book", device="cpu").pivot(index="seed", columns="decay", values="distance")
    longer = tuple(rows[0.8] - rows[0.2])
    verdict = judge(longer, sign=1)
    cause = "" if verdict == "holds" else "untested"
    return [Claim("Distance of the longer memory minus that of the shorter", "above 0", longer, "book", verdict, cause)]
