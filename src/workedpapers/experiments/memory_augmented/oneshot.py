"""The official one-shot runs of Omniglot as a test from outside: each character is shown once, then asked."""

from collections.abc import Iterator

import torch
from torch import Tensor

from workedpapers.tasks.omniglot import Characters, features, oneshot_runs

from .episodes import Batch, Learner
from .labels import answer, deal, symbols, values_in_use

ORDERS = 10  # in which the characters of a question are shown


def questions(ways: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """The 400 questions, 20 at a time, each `ORDERS` times: drawings shown and asked, and which class each is of.

    With fewer ways than 20 the other characters are dropped at random, the right one never.

    Yields: (ways + 1, 20, pixels) and (ways + 1, 20), the last step of which is the question.
    """
    *images, targets = oneshot_runs()
    exist = torch.ones(targets.shape, dtype=torch.bool)
    training, test = (features(Characters(part, exist, exist[:, 0].long(), ("",))) for part in images)
    for run, target in enumerate(targets):
        for _ in range(ORDERS):
            others = torch.rand(20, 20, generator=generator).scatter_(1, target.unsqueeze(1), 2.0)
            chosen = others.topk(ways).indices  # the right one first, (20 questions, ways)
            order = torch.rand(20, ways, generator=generator).argsort(1)
            drawing = torch.cat((training[run][chosen.gather(1, order).T], test[run].unsqueeze(0)))
            shown = torch.arange(ways).unsqueeze(1).expand(-1, 20)
            yield drawing, torch.cat((shown, (order == 0).int().argmax(1).unsqueeze(0)))


@torch.no_grad()
def official(learner: Learner, ways: int, device: torch.device) -> float:
    """Share of right answers when one of so many characters of a run is asked after each was shown once."""
    labels = learner.config.labels
    generator = torch.Generator().manual_seed(0)
    right = []
    for drawing, which in questions(ways, generator):
        digits, values = deal(labels, ways, which.shape[1], generator), values_in_use(labels, ways)
        batch = Batch(drawing, which, torch.ones_like(which), digits, values, device)
        found = answer(learner(batch)[-1], symbols(labels, ways)[0])
        right.append((found == batch.digits[-1]).all(-1).float())
    return float(torch.cat(right).mean())
