"""What both forms of the layer cost, and what an update of each model takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import nn

from workedpapers.fast_weights import FastWeights
from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.tasks.retrieval import Strings, associative_retrieval

from .retrieval import BATCH_SIZE, MODELS, SIZES, Retrieval, RetrievalNetwork, update


@dataclass(frozen=True)
class Cost:
    """What to time: layers of `hidden_size` units on `batch_size` sequences of `time` steps and 100 features."""

    hidden_size: int = 50
    time: int = 11
    batch_size: int = 32
    repeats: int = 9


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time both forms of the layer, interleaved on one thread, and count what they keep for the backward pass.

    Returns: `forward_ratio` and `training_ratio` (forward and backward), the attention form's time over the matrix
        form's, medians over the rounds; `attention_mb` and `matrix_mb` kept.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(config.batch_size, config.time, 100, generator=generator).to(device)
    attention = FastWeights(100, config.hidden_size, decay=0.9).to(device)
    matrix = FastWeights(100, config.hidden_size, decay=0.9, form="matrix").to(device)

    def training(layer: nn.Module) -> None:
        layer(x)[0].sum().backward()

    def ratio(run: Callable[[nn.Module], None]) -> float:
        timed = interleaved({"attention": lambda: run(attention), "matrix": lambda: run(matrix)}, config.repeats)
        return timed["matrix"].ratio

    with torch.no_grad():
        forward_ratio = ratio(lambda layer: layer(x))
    return {
        "forward_ratio": forward_ratio,
        "training_ratio": ratio(training),
        "attention_mb": saved_bytes(lambda: attention(x)) / 1e6,
        "matrix_mb": saved_bytes(lambda: matrix(x)) / 1e6,
    }


#: Where attention stops being cheaper, in units of the hidden size.
COST = Experiment(
    "fast_weights_cost",
    Cost,
    measure,
    {
        "check": [Cost(hidden_size=20, time=5, batch_size=4, repeats=2)],
        "book": [
            Cost(hidden_size=size, time=round(size * multiple))
            for size, multiple in product(SIZES, (0.25, 0.5, 1, 1.5, 2, 3))
        ],
    },
    {"check": (0,), "book": (0,)},
)


@dataclass(frozen=True)
class Speed:
    """What to time: one update of each model at `hidden_size` units."""

    hidden_size: int = 50
    repeats: int = 40


def measure_updates(config: Speed, seed: int, device: torch.device) -> dict[str, object]:
    """Milliseconds of one training update (batch of 128, four pairs), the three models interleaved on one thread.

    Returns: `irnn_ms`, `lstm_ms`, `fast_weights_ms`, medians.
    """
    strings = Strings(*(part.to(device) for part in associative_retrieval(size=BATCH_SIZE)))
    models = {
        name: RetrievalNetwork(Retrieval(model=name, hidden_size=config.hidden_size)).to(device) for name in MODELS
    }
    optimizers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}
    timed = interleaved(
        {name: partial(update, models[name], optimizers[name], strings) for name in MODELS}, config.repeats
    )
    return {f"{name}_ms": timing.median_ms for name, timing in timed.items()}


#: How long an update takes: for curves against time.
SPEED = Experiment(
    "fast_weights_speed", Speed, measure_updates, {"book": [Speed(hidden_size=size) for size in SIZES]}, {"book": (0,)}
)
