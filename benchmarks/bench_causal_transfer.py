"""Causal transfer: all runs in one tensor and closed form, against one pair of modules at a time under autograd.

One process, interleaved, one thread, float64, both directions, single examples, learning rate 1. The others: logits as
parameters, autograd, torch.optim.SGD. `published` has the shape of the published code, which gathers the row of every
example and normalises each; `tables` normalises every table once. `evaluation`: the expected log-likelihood on the
transfer distribution at every step, exact on our side, on 10,000 samples on theirs.
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


class Published(nn.Module):
    def __init__(self, joint: torch.Tensor) -> None:
        super().__init__()
        self.marginal = nn.Parameter(joint.sum(1).log())
        self.conditional = nn.Parameter((joint / joint.sum(1, keepdim=True)).log())

    def forward(self, cause: torch.Tensor, effect: torch.Tensor) -> torch.Tensor:
        log_marginal = self.marginal[cause] - self.marginal.logsumexp(0)
        return log_marginal + self.conditional[cause, effect] - self.conditional[cause].logsumexp(1)


class Tables(Published):
    def forward(self, cause: torch.Tensor, effect: torch.Tensor) -> torch.Tensor:
        return self.marginal.log_softmax(0)[cause] + self.conditional.log_softmax(1)[cause, effect]


def by_autograd(kind: type[Published], before: torch.Tensor, stream: torch.Tensor, test: torch.Tensor | None) -> None:
    """One run: a pair of modules, their optimizer, an evaluation at every step."""
    models = nn.ModuleList([kind(before), kind(before.T)])
    optimizer = torch.optim.SGD(models.parameters(), lr=1.0)
    for a, b in stream.split(1, 1):
        if test is not None:
            with torch.no_grad():
                models[0](*test).mean(), models[1](*test.flip(0)).mean()
        optimizer.zero_grad()
        loss = -(models[0](a, b).mean() + models[1](b, a).mean())
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

    def theirs(kind: type[Published], evaluate: bool) -> None:
        by_autograd(kind, before[0], stream[0, :AUTOGRAD_STEPS, 0].T, test.T if evaluate else None)

    functions, counted = {}, {"ours": runs * STEPS, "published": AUTOGRAD_STEPS, "tables": AUTOGRAD_STEPS}
    for name, evaluate in (("with", True), ("without", False)):
        functions["ours", name] = lambda evaluate=evaluate: ours(evaluate)
        functions["published", name] = lambda evaluate=evaluate: theirs(Published, evaluate)
        functions["tables", name] = lambda evaluate=evaluate: theirs(Tables, evaluate)
    rows = [
        {"N": N, "evaluation": evaluation, "code": code, "us": 1e3 * timing.median_ms / counted[code]}
        for (code, evaluation), timing in interleaved(functions, 5).items()
    ]
    table = pd.DataFrame(rows).set_index(["N", "evaluation", "code"])["us"].unstack()
    return table.assign(
        faster_than_published=table["published"] / table["ours"], faster_than_tables=table["tables"] / table["ours"]
    )


if __name__ == "__main__":
    print(__doc__)
    print(pd.concat([compare(10, 2000), compare(100, 200)]).round(1).to_string())
    print("\nMicroseconds per run and step, 2,000 runs at N = 10 and 200 at N = 100.")
    print(f"Goal: {GOAL} times as fast as the published shape, with evaluation.")
