"""Causal transfer: all runs in one tensor and closed form, against one pair of modules at a time under autograd.

One process, interleaved, one thread, float64, both directions, single examples, learning rate 1. The autograd side has
the shape of the published code: logits as parameters, log-softmax of whole tables, torch.optim.SGD. `evaluation`: the
expected log-likelihood on the transfer distribution at every step, exact on our side, on 10,000 samples on the other.
"""

import pandas as pd
import torch
from torch import nn

from workedpapers.causal_transfer import TabularModel, adapt
from workedpapers.lab.timing import interleaved

STEPS, AUTOGRAD_STEPS, EVALUATION, GOAL = 100, 20, 10_000, 500


def intervention(runs: int, N: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joint distributions before and after, shape (runs, N, N), of an intervention on the cause."""
    marginals = torch.empty(2, runs, N, 1, dtype=torch.float64).exponential_()
    mechanism = torch.empty(runs, N, N, dtype=torch.float64).exponential_()
    before, after = marginals / marginals.sum(2, keepdim=True) * mechanism / mechanism.sum(2, keepdim=True)
    return before, after


def draw(joint: torch.Tensor, n: int) -> torch.Tensor:
    """Pairs (cause, effect), shape (runs, n, 2)."""
    cell = torch.multinomial(joint.flatten(1), n, replacement=True)
    return torch.stack([cell // joint.shape[-1], cell % joint.shape[-1]], -1)


class Tables(nn.Module):
    def __init__(self, joint: torch.Tensor) -> None:
        super().__init__()
        self.marginal = nn.Parameter(joint.sum(1).log())
        self.conditional = nn.Parameter((joint / joint.sum(1, keepdim=True)).log())

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        cause, effect = pairs.unbind(-1)
        return self.marginal.log_softmax(0)[cause] + self.conditional.log_softmax(1)[cause, effect]


def by_autograd(before: torch.Tensor, stream: torch.Tensor, test: torch.Tensor | None) -> None:
    """One run: a pair of modules, their optimizer, an evaluation at every step."""
    models = nn.ModuleList([Tables(before), Tables(before.T)])
    optimizer = torch.optim.SGD(models.parameters(), lr=1.0)
    for pair in stream.split(1):
        if test is not None:
            with torch.no_grad():
                [model(pairs).mean() for model, pairs in zip(models, (test, test.flip(-1)), strict=True)]
        optimizer.zero_grad()
        loss = -(models[0](pair).mean() + models[1](pair.flip(-1)).mean())
        loss.backward()
        optimizer.step()


def compare(N: int, runs: int) -> pd.DataFrame:
    torch.manual_seed(0)
    before, after = intervention(runs, N)
    stream, test = draw(after, STEPS).unsqueeze(2), draw(after[:1], EVALUATION)[0]
    models = TabularModel.from_joint(before), TabularModel.from_joint(before.mT)

    def ours(evaluate: bool) -> None:
        adapt(models[0], stream, 1.0, joint=after if evaluate else None)
        adapt(models[1], stream.flip(-1), 1.0, joint=after.mT if evaluate else None)

    functions = {
        ("ours", "with"): lambda: ours(True),
        ("autograd", "with"): lambda: by_autograd(before[0], stream[0, :AUTOGRAD_STEPS, 0], test),
        ("ours", "without"): lambda: ours(False),
        ("autograd", "without"): lambda: by_autograd(before[0], stream[0, :AUTOGRAD_STEPS, 0], None),
    }
    counted = {"ours": runs * STEPS, "autograd": AUTOGRAD_STEPS}
    rows = [
        {"N": N, "evaluation": evaluation, "code": code, "us": 1e3 * timing.median_ms / counted[code]}
        for (code, evaluation), timing in interleaved(functions, 5).items()
    ]
    table = pd.DataFrame(rows).set_index(["N", "evaluation", "code"])["us"].unstack()
    return table.assign(faster=table["autograd"] / table["ours"])


if __name__ == "__main__":
    print(__doc__)
    print(pd.concat([compare(10, 2000), compare(100, 200)]).round(2).to_string())
    print(
        f"\nMicroseconds per run and step, 2,000 runs at N = 10 and 200 at N = 100. Goal: {GOAL} times with evaluation."
    )
