"""Sequences of unequal length: a small cloze task of our own, for what padding does to statistics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment

from .descent import descend, seeded
from .models import Recurrent

LETTERS = 8  # symbols that are to be recalled; then the marker, then the padding
MARKER, PADDING = LETTERS, LETTERS + 1
TREATMENTS = ("masked", "padded", "read at the end")


@dataclass(frozen=True)
class Recall:
    """One configuration.

    A sequence of random letters, of 5 to 40 steps, with a marker somewhere; the letter behind the marker is to be said
    after the last step. All are padded to 40 steps.

    Args:
        model: of `models.KINDS`.
        padding: "masked": padded steps count in no statistic; "padded": they count; either is read after the
            sequence's own last step. "read at the end": they count, and the state goes through them.
        shortest, longest: of the training sequences, all lengths alike often.
        hidden_size: units of the recurrent layer.
        weight_init: of every scale γ.
        learning_rate: of Adam's first update; the rate falls linearly to zero.
        updates, batch_size: of gradient descent on new sequences; gradients are clipped at norm 1.
        test_size: new sequences for a test.
    """

    model: str = "batch"
    padding: str = "masked"
    shortest: int = 5
    longest: int = 40
    hidden_size: int = 64
    weight_init: float = 0.1
    learning_rate: float = 3e-3
    updates: int = 600
    batch_size: int = 32
    test_size: int = 4_000


def draw(size: int, shortest: int, longest: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols (size, longest), padded; lengths and answers (size,)."""
    lengths = torch.randint(shortest, longest + 1, (size,), generator=generator)
    symbols = torch.randint(LETTERS, (size, longest), generator=generator)
    place = (torch.rand(size, generator=generator) * (lengths - 1)).long()
    rows = torch.arange(size)
    answers = symbols[rows, place + 1]
    symbols[rows, place] = MARKER
    symbols[torch.arange(longest) >= lengths.unsqueeze(1)] = PADDING
    return symbols, lengths, answers


class Reader(Recurrent):
    """Logits (batch, letters) of the letter behind the marker, from symbols (batch, time) and lengths (batch,)."""

    def __init__(self, config: Recall) -> None:
        super().__init__(
            config.model,
            (LETTERS + 2, config.hidden_size, LETTERS),
            max_length=config.longest,
            weight_init=config.weight_init,
        )
        self.padding = config.padding

    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        """Logits."""
        one_hot = F.one_hot(symbols.t(), LETTERS + 2).float()
        outputs = super().forward(one_hot, None, lengths if self.padding == "masked" else None)
        last = torch.full_like(lengths, len(outputs)) if self.padding == "read at the end" else lengths
        logits: Tensor = self.head(outputs[last - 1, torch.arange(len(last), device=last.device)])
        return logits


def train(config: Recall, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network; the metrics of the row.

    Returns: `test_error`, % on new sequences; `validation_error`, on others; `long_error`: on sequences one to two
        times as long as the longest of training; `short_error`, `middle_error`, `end_error`: those of the shortest,
        middle and longest third; `loss`: mean of the last 50 updates.
    Raises: ValueError: an unknown treatment of the padding.
    """
    if config.padding not in TREATMENTS:
        raise ValueError(f"padding must be one of {', '.join(TREATMENTS)}, got {config.padding!r}")
    with seeded(seed, device):
        model = Reader(config).to(device)
        batches = _batches(config, torch.Generator().manual_seed(seed), device)

        def loss() -> Tensor:
            symbols, lengths, answers = next(batches)
            return F.cross_entropy(model(symbols, lengths), answers)

        run = descend(model, loss, config, f"{config.model} {config.padding}")
        model.settle(next(batches)[:2] for _ in range(100))
        generator = torch.Generator().manual_seed(10_000 + seed)
        validation, test = (draw(config.test_size, config.shortest, config.longest, generator) for _ in range(2))
        longer = draw(config.test_size, config.longest + 1, 2 * config.longest, generator)
        wrong = _wrong(model, test)
        thirds = torch.linspace(config.shortest, config.longest + 1, 4)
        third = torch.bucketize(test[1].float(), thirds[1:-1], right=True)
        return {
            "test_error": _percent(wrong),
            "validation_error": _percent(_wrong(model, validation)),
            "long_error": _percent(_wrong(model, longer)),
            **{f"{name}_error": _percent(wrong[third == i]) for i, name in enumerate(("short", "middle", "end"))},
            "loss": run.loss,
        }


def _batches(
    config: Recall, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    while True:
        symbols, lengths, answers = draw(config.batch_size, config.shortest, config.longest, generator)
        yield symbols.to(device), lengths.to(device), answers.to(device)


def _wrong(model: nn.Module, drawn: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = zip(*(part.split(500) for part in drawn), strict=True)
        answers = [model(symbols.to(device), lengths.to(device)).argmax(1).cpu() for symbols, lengths, _ in parts]
    return torch.cat(answers) != drawn[2]


def _percent(wrong: Tensor) -> float:
    return 100 * float(wrong.double().mean())


def trainings(book: Sequence[Recall], seeds: Sequence[int] = range(3)) -> Experiment[Recall]:
    """A table of this task: its configurations at scale `book`, and their seeds."""
    return Experiment("recurrent_batch_norm_recall", Recall, train, {"book": book}, {"book": seeds})
