"""The official one-shot runs of Omniglot as a test from outside: each character is shown once, then asked."""

import torch
import torch.nn.functional as F

from workedpapers.tasks.omniglot import oneshot_runs

from .episodes import SIZE, Batch, Learner
from .labels import answer, deal, symbols, values_in_use

ORDERS = 10  # in which the characters of a question are shown


@torch.no_grad()
def official(learner: Learner, ways: int, device: torch.device) -> float:
    """Share of right answers when one of so many characters of a run is asked after each was shown once.

    With fewer ways than 20 the others are dropped at random, the right one never; each of the 400 questions is asked
    after `ORDERS` random orders of showing.
    """
    runs = oneshot_runs()
    generator = torch.Generator().manual_seed(0)
    small = [F.avg_pool2d(part.float() / 255, part.shape[-1] // SIZE).flatten(2) for part in runs[:2]]
    training, test = small  # (runs, 20, pixels)
    right = []
    for run, target in enumerate(runs.target):
        for _ in range(ORDERS):
            others = torch.rand(20, 20, generator=generator).scatter_(1, target.unsqueeze(1), 2.0)
            chosen = others.topk(ways).indices  # the right one first, (20 questions, ways)
            order = torch.rand(20, ways, generator=generator).argsort(1)
            shown = chosen.gather(1, order)
            drawing = torch.cat((training[run][shown.T], test[run].unsqueeze(0)))  # (ways + 1, 20, pixels)
            which = torch.cat((torch.arange(ways).unsqueeze(1).expand(-1, 20), (order == 0).int().argmax(1)[None]))
            digits = deal(learner.config.labels, ways, 20, generator)
            values = values_in_use(learner.config.labels, ways)
            batch = Batch(drawing, which, torch.ones_like(which), digits, values, device)
            found = answer(learner(batch)[-1], symbols(learner.config.labels, ways)[0])
            right.append((found == batch.digits[-1]).all(-1).float())
    return float(torch.cat(right).mean())
