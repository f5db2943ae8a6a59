"""Time of a step: all runs in one tensor, in closed form, against one pair of modules at a time under autograd."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from workedpapers.causal_transfer import TabularModel, adapt
from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

STEPS, AUTOGRAD_STEPS, TEST = 100, 20, 10_000


@dataclass(frozen=True)
class Timed:
    """Both directions, single examples, rate 1, float64, one thread.

    Args:
        values: N.
        runs: of ours, side by side.
        peer: of `PEERS`.
        evaluation: whether every step is evaluated on the transfer distribution: exactly by ours, on 10,000 samples by
            the peer.
        repeats: of each, interleaved.
    """

    values: int
    runs: int
    peer: str = "published"
    evaluation: bool = True
    repeats: int = 5


class Published(nn.Module):
    """One factorisation in the shape of the published code, which gathers the row of every example to normalise it."""

    def __init__(self, joint: Tensor) -> None:
        super().__init__()
        self.marginal = nn.Parameter(joint.sum(-1).log())
        self.conditional = nn.Parameter(joint.log())

    def forward(self, pairs: Tensor) -> Tensor:
        """log P of pairs (n, 2)."""
        cause, effect = pairs.unbind(-1)
        log_marginal = self.marginal[cause] - self.marginal.logsumexp(0)
        return log_marginal + self.conditional[cause, effect] - self.conditional[cause].logsumexp(-1)


class Tables(Published):
    """The same, with one log-softmax for each table."""

    def forward(self, pairs: Tensor) -> Tensor:
        """log P of pairs (n, 2)."""
        cause, effect = pairs.unbind(-1)
        return self.marginal.log_softmax(0)[cause] + self.conditional.log_softmax(1)[cause, effect]


PEERS: dict[str, type[Published]] = {"published": Published, "tables": Tables}


def by_autograd(peer: str, before: Tensor, pairs: Tensor, test: Tensor | None) -> tuple[Tensor, Tensor]:
    """One run of `torch.optim.SGD` at rate 1 on a pair of modules; log L of both directions, each of shape (steps,).

    Args:
        peer: of `PEERS`.
        before: (N, N).
        pairs: (steps, 2).
        test: examples (n, 2) to evaluate on at every step, or None.
    """
    forward, reverse = PEERS[peer](before), PEERS[peer](before.T)
    descent = torch.optim.SGD([*forward.parameters(), *reverse.parameters()], lr=1.0)
    scores = []
    for pair in pairs.split(1):
        if test is not None:
            with torch.no_grad():
                forward(test).mean(), reverse(test.flip(-1)).mean()
        descent.zero_grad()
        both = forward(pair).mean(), reverse(pair.flip(-1)).mean()
        (-sum(both)).backward()
        descent.step()
        scores.append(torch.stack(both).detach())
    first, second = torch.stack(scores, -1)
    return first, second


def measure(config: Timed, seed: int, device: torch.device) -> dict[str, object]:
    """Returns: `ours_seconds`, `autograd_seconds`: per run and step, medians; `ratio`: the second over the first."""
    generator = torch.Generator().manual_seed(seed)
    before = random_joint(config.runs, config.values, generator=generator)
    after = intervene(before, generator=generator)
    samples = draw_pairs(after, STEPS, generator=generator)
    test = draw_pairs(after[0], TEST, generator=generator)[:, 0] if config.evaluation else None
    forward, reverse = TabularModel.from_joint(before), TabularModel.from_joint(before.mT)

    def side_by_side() -> None:
        adapt(forward, samples, 1.0, joint=after if config.evaluation else None)
        adapt(reverse, samples.flip(-1), 1.0, joint=after.mT if config.evaluation else None)

    def one_by_one() -> None:
        by_autograd(config.peer, before[0], samples[0, :AUTOGRAD_STEPS, 0], test)

    timings = interleaved({"autograd": one_by_one, "ours": side_by_side}, config.repeats)
    ours = timings["ours"].median_ms / 1e3 / (config.runs * STEPS)
    autograd = timings["autograd"].median_ms / 1e3 / AUTOGRAD_STEPS
    return {"ours_seconds": ours, "autograd_seconds": autograd, "ratio": autograd / ours}


#: N, and how many runs of ours.
SHAPES = ((10, 2000), (100, 200))
#: Best on an idle machine.
COST = Experiment(
    "causal_transfer_cost",
    Timed,
    measure,
    {
        "check": [Timed(3, 20, peer, repeats=2) for peer in PEERS],
        "book": [Timed(*shape, peer, evaluation) for shape, peer, evaluation in product(SHAPES, PEERS, (True, False))],
    },
    {"check": range(1), "book": range(1)},
)
