"""One run of associative retrieval: a configuration, its network, how it is trained.

As in section 4.1 and appendix A.1 of the paper: 100,000 training strings, batches of 128, Adam, a 50-unit embedding
expanded to 100, a 100-unit head on the last output, λ = 0.9, η = 0.5, one inner step, the starting values of the
recurrent weights. Ours: PyTorch's starting values for all other layers and for the LSTM, the learning rates (searched),
gradients clipped at norm 5, and the end of a run: the first evaluation on the 10,000 validation strings at or below the
target error, or the cap on updates.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.fast_weights import FastWeights, Write
from workedpapers.lab import Experiment, progress
from workedpapers.tasks.retrieval import SYMBOLS, Strings, associative_retrieval, associative_stream, redraw_queries

BATCH_SIZE = 128


@dataclass(frozen=True)
class Retrieval:
    """One configuration.

    Args:
        model: "fast_weights", "lstm" or "irnn".
        hidden_size: units of the recurrent layer.
        pairs: letter-digit pairs in a string.
        updates: the cap on updates.
        target_error: in percent; a run ends at the first evaluation that reaches it.
        learning_rate: of Adam.
        evaluate_every: updates between evaluations.
        write, norm_preliminary, inner_steps, decay: of `FastWeights`; the other models do without.
        recurrent_scale: the recurrent matrix of `FastWeights` or the IRNN starts as this multiple of the identity;
            None: the paper's, 0.05 or 0.5.
        falling: whether the learning rate falls linearly to zero over `updates`, or stays.
        fresh: whether every batch is newly drawn, or the 100,000 training strings are shuffled again and again.
    """

    model: str = "fast_weights"
    hidden_size: int = 50
    pairs: int = 4
    updates: int = 20_000
    target_error: float = 0.0
    learning_rate: float = 1e-3
    evaluate_every: int = 500
    write: Write = "after"
    norm_preliminary: bool = False
    inner_steps: int = 1
    decay: float = 0.9
    recurrent_scale: float | None = None
    falling: bool = False
    fresh: bool = False


class RetrievalNetwork(nn.Module):
    """Embedding 50, expanded to 100 by a ReLU layer, a recurrent layer, a 100-unit ReLU head, ten digits.

    Shape: tokens (batch, time) → logits (batch, 10).
    """

    def __init__(self, config: Retrieval) -> None:
        super().__init__()
        size = config.hidden_size
        self.embedding = nn.Embedding(len(SYMBOLS), 50)
        self.expand = nn.Linear(50, 100)
        self.recurrent = _recurrent(config)
        self.head = nn.Sequential(nn.Linear(size, 100), nn.ReLU(), nn.Linear(100, 10))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the ten digits from the output after the last symbol."""
        table = torch.relu(self.expand(self.embedding.weight))  # 37 rows: cheaper than expanding every token
        outputs, _ = self.recurrent(F.embedding(tokens, table))
        logits: Tensor = self.head(outputs[:, -1])
        return logits


def _recurrent(config: Retrieval) -> nn.Module:
    size = config.hidden_size
    if config.model == "fast_weights":
        layer = FastWeights(
            100,
            size,
            decay=config.decay,
            rate=0.5,
            inner_steps=config.inner_steps,
            write=config.write,
            norm_preliminary=config.norm_preliminary,
        )
        if config.recurrent_scale is not None:
            _start_at(layer.weight_hh, config.recurrent_scale)
        return layer
    if config.model == "lstm":
        return nn.LSTM(100, size, batch_first=True)
    if config.model == "irnn":
        irnn = nn.RNN(100, size, nonlinearity="relu", batch_first=True)
        scale = 0.5 if config.recurrent_scale is None else config.recurrent_scale  # the paper's 0.5, not 1
        _start_at(irnn.get_parameter("weight_hh_l0"), scale)
        return irnn
    raise ValueError(f"model must be fast_weights, lstm or irnn, got {config.model!r}")


def _start_at(weight: nn.Parameter, scale: float) -> None:
    with torch.no_grad():
        weight.copy_(scale * torch.eye(len(weight)))


def train(config: Retrieval, seed: int, device: torch.device) -> dict[str, object]:
    """Train one model; the metrics of the row.

    Returns: curves `curve_updates`, `curve_seconds`, `validation_error` (%), `validation_loss` (nats), one value an
        evaluation; `test_error`, `redrawn_error` (with queries redrawn) and `train_error` (the first 10,000 training
        strings), in %; `updates_done`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = RetrievalNetwork(config).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 1 - step / config.updates if config.falling else 1.0
        )
        strings = associative_retrieval(config.pairs, "train")
        batches = _fresh(config.pairs, seed, device) if config.fresh else _batches(strings, seed, device)
        validation = associative_retrieval(config.pairs, "validation")
        curve: dict[str, list[float]] = {
            "curve_updates": [],
            "curve_seconds": [],
            "validation_error": [],
            "validation_loss": [],
        }
        seconds = 0.0
        for done in progress(range(1, config.updates + 1), f"{config.model} {config.hidden_size}"):
            start = time.perf_counter()
            update(model, optimizer, next(batches))
            scheduler.step()
            seconds += time.perf_counter() - start
            if done % config.evaluate_every == 0 or done == config.updates:
                error, nats = evaluate(model, validation, device)
                for name, value in zip(curve, (done, round(seconds, 3), error, nats), strict=True):
                    curve[name].append(value)
                if error <= config.target_error:
                    break
        test = associative_retrieval(config.pairs, "test")
        seen = Strings(*(part[:10_000] for part in strings))
        return {
            "train_error": evaluate(model, seen, device)[0],
            "test_error": evaluate(model, test, device)[0],
            "redrawn_error": evaluate(model, redraw_queries(test), device)[0],
            "updates_done": done,
            **curve,
        }


def evaluate(model: nn.Module, strings: Strings, device: torch.device) -> tuple[float, float]:
    """Error in percent and cross-entropy in nats over all of `strings`."""
    wrong, nats = 0, 0.0
    with torch.no_grad():
        for start in range(0, len(strings.targets), 1000):
            tokens, targets = (part[start : start + 1000].to(device) for part in strings)
            logits = model(tokens)
            wrong += int((logits.argmax(1) != targets).sum())
            nats += float(F.cross_entropy(logits, targets, reduction="sum"))
    size = len(strings.targets)
    return 100 * wrong / size, nats / size


def update(model: nn.Module, optimizer: torch.optim.Optimizer, strings: Strings) -> None:
    """One step of training."""
    loss = F.cross_entropy(model(strings.tokens), strings.targets)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()


def _batches(strings: Strings, seed: int, device: torch.device) -> Iterator[Strings]:
    """Shuffled epochs without end; the last, smaller batch of an epoch is left out."""
    generator = torch.Generator().manual_seed(seed)
    tokens, targets = strings.tokens.to(device), strings.targets.to(device)
    while True:
        order = torch.randperm(len(targets), generator=generator).to(device)
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield Strings(tokens[rows], targets[rows])


def _fresh(pairs: int, seed: int, device: torch.device) -> Iterator[Strings]:
    for strings in associative_stream(pairs, BATCH_SIZE, seed=seed):
        yield Strings(*(part.to(device) for part in strings))


MODELS = ("irnn", "lstm", "fast_weights")
NAMES = {"irnn": "IRNN", "lstm": "LSTM", "fast_weights": "Fast weights"}
SIZES = (20, 50, 100)


def experiment(
    *book: Retrieval, seeds: Sequence[int] = range(5), **scales: Sequence[Retrieval]
) -> Experiment[Retrieval]:
    """A table of this task: its configurations at scale `book` and, by name, at others."""
    grid = ({"book": book} if book else {}) | scales
    return Experiment("fast_weights", Retrieval, train, grid, dict.fromkeys(grid, seeds))
