"""Characters of a text: the paper's second task on a small one, and test sequences longer than those of training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.recurrent_batch_norm import BatchNormLSTM
from workedpapers.tasks.text import PARTS, text

from .descent import descend, seeded
from .models import Recurrent

LENGTHS = (100, 200, 400)  # of the test sequences


@dataclass(frozen=True)
class Text:
    """One configuration.

    Args:
        model: of `models.KINDS`.
        hidden_size: units of the recurrent layer.
        weight_init: of every scale γ.
        learning_rate: of Adam's first update; the rate falls linearly to zero.
        updates, batch_size: of gradient descent; gradients are clipped at norm 1.
        length: of the training sequences, each cut out at a random place, read from a state of zeros.
        test_size: characters of the test text, for each length.
        data: a text of `tasks.text`.
    """

    model: str = "batch"
    hidden_size: int = 128
    weight_init: float = 0.1
    learning_rate: float = 3e-3
    updates: int = 1_000
    batch_size: int = 32
    length: int = 100
    test_size: int = 40_000
    data: str = "shakespeare"


class Reader(Recurrent):
    """Reads characters (batch, time) and predicts the next after each: logits (time, batch, symbols)."""

    def __init__(self, config: Text, symbols: int) -> None:
        super().__init__(
            config.model,
            (symbols, config.hidden_size, symbols),
            max_length=config.length,
            weight_init=config.weight_init,
        )
        self.symbols = symbols

    def forward(self, characters: Tensor) -> Tensor:  # type: ignore[override]
        """Logits."""
        one_hot = F.one_hot(characters.t(), self.symbols).float()
        logits: Tensor = self.head(super().forward(one_hot))
        return logits


def train(config: Text, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network; the metrics of the row.

    Returns: `train_bits` (mean of the last 50 updates), `validation_bits`, `test_bits` a character in sequences of the
        length of training; `bits_100`, `bits_200`, `bits_400`: the same in sequences so long, and for the paper's model
        `averaged_…` and `batch_…`, with statistics averaged over time or those of the test batch (of 50 sequences)
        instead of each step's own and, past the last, the last one's; `curve_bits`: bits by step in the longest, means
        of ten steps; `curve_updates`, `curve_validation`: bits on validation text at ten moments; for the paper's model
        `curve_mean`, `curve_spread`: how far the stored means and log deviations of step t are from those of the last
        step, root mean square over all units, in deviations of the last step (a variance of zero, as that of W_h h at
        step 1, counts as 1e-10); and `units_mean`, `units_spread`: those of four units of the cell.
    """
    with seeded(seed, device):
        texts = {part: text(config.data, part).codes.to(device) for part in PARTS}
        model = Reader(config, len(text(config.data).alphabet)).to(device)
        batches = _crops(texts["train"], config, torch.Generator().manual_seed(seed))

        def loss() -> Tensor:
            crops = next(batches)
            return F.cross_entropy(model(crops[:, :-1]).flatten(0, 1), crops[:, 1:].t().flatten())

        def validation_bits() -> float:
            with model.settled(_inputs(config, texts["train"], 20)):
                return _mean(bits(model, texts["validation"][: config.test_size // 4], config.length))

        run = descend(model, loss, config, f"{config.model} {config.hidden_size}", validation_bits)
        model.settle(_inputs(config, texts["train"], 100))
        test = texts["test"][: config.test_size]
        by_step = {length: bits(model, test, length) for length in LENGTHS}
        metrics: dict[str, object] = {
            "train_bits": run.loss / math.log(2),
            "validation_bits": _mean(bits(model, texts["validation"], config.length)),
            "test_bits": _mean(bits(model, texts["test"], config.length)),
            **{f"bits_{length}": _mean(values) for length, values in by_step.items()},
            "curve_bits": [round(float(v), 4) for v in by_step[LENGTHS[-1]].view(-1, 10).mean(1)],
        }
        if isinstance(model.layer, BatchNormLSTM):
            metrics |= _of_statistics(model.layer)
            exact = model.statistics()
            model.average_statistics()
            metrics |= {f"averaged_{length}": _mean(bits(model, test, length)) for length in LENGTHS}
            model.restore(exact)
            metrics |= {f"batch_{length}": _mean(bits(model, test, length, True)) for length in LENGTHS}
        return metrics | {"curve_updates": run.moments, "curve_validation": run.measured}


def bits(model: nn.Module, codes: Tensor, length: int, batch_statistics: bool = False) -> Tensor:
    """Bits of the character after each step, shape (length,): the mean over sequences cut out end to end."""
    model.train(batch_statistics)
    count = (len(codes) - 1) // length
    inputs, targets = (codes[start : start + count * length].view(count, length) for start in (0, 1))
    size = 50 if batch_statistics else 100
    total = torch.zeros(length, dtype=torch.float64)
    with torch.no_grad():
        for part, target in zip(inputs.split(size), targets.split(size), strict=True):
            loss = F.cross_entropy(model(part).flatten(0, 1), target.t().flatten(), reduction="none")
            total += loss.view(length, -1).double().sum(1).cpu()
    model.eval()
    return total / count / math.log(2)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _crops(codes: Tensor, config: Text, generator: torch.Generator) -> Iterator[Tensor]:
    steps = torch.arange(config.length + 1)
    while True:
        starts = torch.randint(len(codes) - config.length, (config.batch_size, 1), generator=generator)
        yield codes[(starts + steps).to(codes.device)]


def _inputs(config: Text, codes: Tensor, most: int) -> Iterator[tuple[Tensor]]:
    """Batches for exact statistics, always the same."""
    crops = _crops(codes, config, torch.Generator().manual_seed(1))
    for _ in range(most):
        yield (next(crops)[:, :-1],)


def _of_statistics(layer: BatchNormLSTM) -> dict[str, object]:
    """How the stored statistics come to rest."""
    kinds = ("ih", "hh", "c")
    means = torch.cat([layer.get_buffer(f"running_mean_{kind}") for kind in kinds], 1)
    logs = 0.5 * torch.cat([layer.get_buffer(f"running_var_{kind}") for kind in kinds], 1).clamp_min(1e-10).log()
    deviation = logs[-1].exp()
    mean_c, var_c = (layer.get_buffer(f"running_{kind}_c")[:, :4] for kind in ("mean", "var"))
    return {
        "curve_mean": ((means - means[-1]) / deviation).square().mean(1).sqrt().tolist(),
        "curve_spread": (logs - logs[-1]).square().mean(1).sqrt().tolist(),
        "units_mean": mean_c.t().flatten().tolist(),
        "units_spread": var_c.sqrt().t().flatten().tolist(),
    }


def trainings(book: Sequence[Text], seeds: Sequence[int] = range(3)) -> Experiment[Text]:
    """A table of this task: its configurations at scale `book`, and their seeds."""
    return Experiment("recurrent_batch_norm_text", Text, train, {"book": book}, {"book": seeds})
