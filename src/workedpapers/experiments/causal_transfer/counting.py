"""Learners that count: one that remembers, one that is told what is new."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

from .episodes import chunks, moments, quantiles


@dataclass(frozen=True)
class Counting:
    """Episodes for two learners without a learning rate, a single example at a time.

    Args:
        values, prior, intervention, steps, runs: as in `Episodes`.
        strength: how many examples the training distribution counts for with the learner that remembers.
    """

    values: int = 10
    prior: str = "rows"
    intervention: str = "cause"
    strength: float = 10.0
    steps: int = 400
    runs: int = 10_000


def count(config: Counting, seed: int, device: torch.device) -> dict[str, object]:
    """Online log-likelihoods of both learners, in both directions.

    The learner that remembers has prior counts, the training distribution times `strength`. The one that is told
    holds the conditional, forgets the marginal, and counts the cause from one a value.

    Returns: `after`, numbers of steps; at each, means over runs of what an example cost so far beyond its entropy,
        in nats: `remembers_causal`, `remembers_anticausal`, `told_causal`, `told_anticausal`; `largest_delta`, the
        largest |Δ| of the learner that remembers; of the one that is told `delta`, quantiles, and `negative`.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [_chunk(config, runs, generator) for runs in chunks(config.runs, 10 * config.values**2)]
    totals = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    after = moments(config.steps)[1:]
    best = totals.pop("best")
    found: dict[str, object] = {"after": after}
    for name, values in totals.items():
        found[name] = ((best - values).mean(0) / torch.tensor(after)).tolist()
    remembered = totals["remembers_causal"] - totals["remembers_anticausal"]
    delta = totals["told_causal"] - totals["told_anticausal"]
    found["largest_delta"] = float(remembered.abs().max())
    found["delta"] = quantiles(delta)
    found["negative"] = (delta < 0).double().mean(0).tolist()
    return found


def _chunk(config: Counting, runs: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Log-likelihoods so far, (runs, moments), of both learners and of the transfer distribution."""
    before = random_joint(runs, config.values, config.prior, generator=generator)
    after = intervene(before, config.intervention, generator=generator)
    samples = draw_pairs(after, config.steps, generator=generator).squeeze(-2)
    at = torch.tensor(moments(config.steps)[1:]) - 1
    a, b = samples.unbind(-1)
    rows = torch.arange(runs)
    found = {"best": after[rows.unsqueeze(-1), a, b].log()}
    for name, joint, cause, effect in (("causal", before, a, b), ("anticausal", before.mT, b, a)):
        found[f"remembers_{name}"], found[f"told_{name}"] = _online(joint, cause, effect, config.strength)
    return {name: values.cumsum(-1)[:, at] for name, values in found.items()}


def _online(joint: Tensor, cause: Tensor, effect: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities, (runs, steps), of each example before it is counted: by who remembers, and by who is told."""
    rows = torch.arange(len(joint))
    pairs, causes = strength * joint, strength * joint.sum(-1)
    fresh = torch.ones_like(causes)
    remembered, told = [], []
    for a, b in zip(cause.unbind(-1), effect.unbind(-1), strict=True):
        conditional = pairs[rows, a, b] / causes[rows, a]
        remembered.append(causes[rows, a] / causes.sum(-1) * conditional)
        told.append(fresh[rows, a] / fresh.sum(-1) * joint[rows, a, b] / joint[rows, a].sum(-1))
        for counts in (causes, fresh):
            counts[rows, a] += 1
        pairs[rows, a, b] += 1
    return torch.stack(remembered, -1).log(), torch.stack(told, -1).log()


COUNTING = Experiment(
    "causal_transfer_counting",
    Counting,
    count,
    {
        "check": [Counting(values=3, steps=6, runs=40)],
        "book": [
            *(Counting(strength=strength) for strength in (1.0, 10.0, 100.0)),
            Counting(values=100, strength=100.0, runs=2000),
            Counting(intervention="mirror"),
            Counting(intervention="effect"),
        ],
    },
    {"check": range(1), "book": range(3)},
)
