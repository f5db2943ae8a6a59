"""Tables whose rows share a vector: how much of the gap is left when a step for one cause moves all rows."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

from .episodes import ROUNDING, chunks, moments


@dataclass(frozen=True)
class Sharing:
    """Conditional logits that are a row of their own and √share times a vector that all rows have.

    Args:
        values, prior, intervention, steps, learning_rate, reverse_rate, runs: as in `Episodes`.
        share: for each α by which a step moves the row of its cause through itself, it moves all rows by α · share.
    """

    values: int = 10
    prior: str = "rows"
    intervention: str = "cause"
    share: float = 0.0
    steps: int = 100
    learning_rate: float = 1.0
    reverse_rate: float = 1.0
    runs: int = 4000


def follow_shared(joint: Tensor, samples: Tensor, learning_rate: float, share: float) -> Tensor:
    """Online log-likelihood of each example, (runs, steps).

    Args: joint: what the model holds at the start, (runs, N, N), rows the causes; samples: (runs, steps, 2).
    """
    at = torch.arange(len(joint))
    theta, rows = joint.sum(-1).log(), joint.log()
    one_hot = torch.eye(joint.shape[-1], dtype=joint.dtype)
    scores = []
    for a, b in samples.permute(1, 2, 0):
        marginal, row = theta.softmax(-1), rows[at, a].softmax(-1)
        scores.append((marginal[at, a] * row[at, b]).log())
        theta = theta + learning_rate * (one_hot[a] - marginal)
        step = learning_rate * (one_hot[b] - row)
        rows = rows + share * step.unsqueeze(-2)
        rows[at, a] += step
    return torch.stack(scores, -1)


def compare(config: Sharing, seed: int, device: torch.device) -> dict[str, object]:
    """Both directions through every episode.

    Returns: `after`, numbers of steps; at each, over runs: `regret_causal`, `regret_anticausal`, what an example has
        cost so far beyond its entropy, in nats; of Δ `mean_delta`, `sd_delta` and `negative`, the share below zero.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for runs in chunks(config.runs, 10 * config.values**2):
        before = random_joint(runs, config.values, config.prior, generator=generator)
        after = intervene(before, config.intervention, generator=generator)
        samples = draw_pairs(after, config.steps, generator=generator).squeeze(-2)
        best = torch.special.xlogy(after, after).sum((-2, -1)).unsqueeze(-1)
        causal = follow_shared(before, samples, config.learning_rate, config.share)
        anticausal = follow_shared(before.mT, samples.flip(-1), config.reverse_rate, config.share)
        parts.append((best - causal, best - anticausal))
    costs = [torch.cat(values).cumsum(-1) for values in zip(*parts, strict=True)]
    at = torch.tensor(moments(config.steps)[1:])
    causal, anticausal = (values[:, at - 1] for values in costs)
    delta = anticausal - causal
    return {
        "after": at.tolist(),
        "regret_causal": (causal.mean(0) / at).tolist(),
        "regret_anticausal": (anticausal.mean(0) / at).tolist(),
        "mean_delta": delta.mean(0).tolist(),
        "sd_delta": delta.std(0).tolist(),
        "negative": (delta < -ROUNDING).double().mean(0).tolist(),
    }


SHARES_OF_ROWS = (0.0, 0.03, 0.1, 0.3, 1.0)
SHARING_RATES = (0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0)
SEARCH_SHARING = Experiment(
    "causal_transfer_sharing",
    Sharing,
    compare,
    {
        "book": [
            Sharing(share=share, learning_rate=rate, reverse_rate=rate)
            for share, rate in product(SHARES_OF_ROWS, SHARING_RATES)
        ]
    },
    {"book": (100,)},
)
#: By share: rates of A → B and of B → A with the lowest own regret over 20 examples in the search.
TUNED_SHARING: dict[float, tuple[float, float]] = {
    0.0: (0.5, 0.3),
    0.03: (0.5, 0.5),
    0.1: (0.5, 0.5),
    0.3: (0.5, 0.5),
    1.0: (0.5, 0.5),
}
SHARING = Experiment(
    "causal_transfer_sharing",
    Sharing,
    compare,
    {
        "book": [
            Sharing(share=share, learning_rate=rate, reverse_rate=other)
            for share, (rate, other) in TUNED_SHARING.items()
        ]
    },
    {"book": range(3)},
)
CHECK_SHARING = Experiment(
    "causal_transfer_sharing",
    Sharing,
    compare,
    {"check": [Sharing(values=3, share=0.4, steps=5, runs=30)]},
    {"check": range(1)},
)
