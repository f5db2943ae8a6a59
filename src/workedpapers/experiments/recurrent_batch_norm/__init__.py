"""Recurrent batch normalization on pixels, characters and sequences of unequal length (paper `recurrent_batch_norm`).

`pixels`, `text`, `recall` and `gains` are what is run, with the layers of `models` and one `descent`; `orders`,
`gammas`, `parts`, `characters`, `lengths` and `blanks` are what the experiments page asks, each arm with a `search` of
its own; `claims` is its scoreboard; `cost` belongs to the theory page.
"""

from dataclasses import replace
from typing import Any

from workedpapers.lab import Experiment

from .blanks import BLANK, BLANKS, SEARCH_BLANK, TUNED_BLANK
from .characters import SEARCH_TEXT, TEXT, TEXTS, TUNED_TEXT
from .claims import scoreboard
from .cost import COST, Timed, measure, stepwise
from .gains import DEAD, GAINS, Dead, Gain, dead, norms, standardize
from .gammas import (
    BY_GAMMA,
    GAMMA_RUNS,
    SEARCH_GAMMAS,
    TUNED_GAMMAS,
)
from .lengths import RECALL, RECALLS, SEARCH_RECALL, TIED, TUNED_RECALL
from .models import KINDS, Recurrent, StepwiseLSTM
from .orders import (
    DIGITS,
    MNIST,
    MNIST_PERMUTED,
    MNIST_ROWS,
    PERMUTED,
    REDRAWN,
    REDRAWNS,
    ROWS,
    SEARCH_DIGITS,
    SEARCH_MNIST,
    SEARCH_REDRAWN,
    SEARCH_STARTS,
    SLOWER,
    STARTS,
    TUNED_DIGITS,
    TUNED_MNIST,
    TUNED_REDRAWN,
    TUNED_STARTS,
)
from .parts import LAYER_RUNS, LAYERS, PART_RUNS, PARTS, SEARCH_LAYERS, SEARCH_PARTS, TUNED_LAYERS, TUNED_PARTS
from .pixels import Pixels, pixel_order, sequences, train
from .recall import TREATMENTS, Recall
from .recall import train as train_recall
from .search import RATES, SEARCH_SEEDS, of_arm
from .text import Text
from .text import train as train_text

__all__ = [
    "BLANK",
    "BY_GAMMA",
    "EXPERIMENTS",
    "KINDS",
    "LAYERS",
    "MNIST_PERMUTED",
    "MNIST_ROWS",
    "PARTS",
    "PERMUTED",
    "RATES",
    "RECALL",
    "REDRAWN",
    "ROWS",
    "SEARCH_SEEDS",
    "TEXT",
    "TREATMENTS",
    "TUNED_BLANK",
    "TUNED_DIGITS",
    "TUNED_GAMMAS",
    "TUNED_LAYERS",
    "TUNED_MNIST",
    "TUNED_PARTS",
    "TUNED_RECALL",
    "TUNED_REDRAWN",
    "TUNED_STARTS",
    "TUNED_TEXT",
    "Dead",
    "Gain",
    "Pixels",
    "Recall",
    "Recurrent",
    "StepwiseLSTM",
    "Text",
    "Timed",
    "dead",
    "measure",
    "norms",
    "of_arm",
    "pixel_order",
    "scoreboard",
    "sequences",
    "standardize",
    "stepwise",
    "train",
]

_pixels = Pixels(hidden_size=6, learning_rate=0.03, updates=3, batch_size=16, train_size=32, test_size=100)
#: Seconds in all: every model, order and option once.
CHECK = Experiment(
    "recurrent_batch_norm",
    Pixels,
    train,
    {
        "check": [
            _pixels,
            replace(_pixels, order="rows", noise=0.1, blanks=2),
            replace(_pixels, order="redrawn", normalize_cell=False, eps=0.1),
            replace(_pixels, hidden_init="identity", standardize=True),
            replace(_pixels, model="lstm"),
            replace(_pixels, model="lstm", hidden_init="identity"),
            replace(_pixels, model="lstm", hidden_init="torch"),
            *(replace(_pixels, model=model, weight_init=1.0) for model in ("layer", "layer_each")),
            *(replace(_pixels, model=model) for model in ("joint", "input")),
        ]
    },
    {"check": range(1)},
)
_text = Text(data="counting", hidden_size=6, learning_rate=0.03, updates=3, batch_size=8, length=20)
CHECK_TEXT = Experiment(
    "recurrent_batch_norm_text",
    Text,
    train_text,
    {"check": [replace(_text, model=model) for model in ("lstm", "layer", "batch")]},
    {"check": range(1)},
)
_recall = Recall(hidden_size=6, learning_rate=0.03, updates=3, batch_size=8, longest=12, test_size=60)
CHECK_RECALL = Experiment(
    "recurrent_batch_norm_recall",
    Recall,
    train_recall,
    {"check": [replace(_recall, model="lstm"), *(replace(_recall, padding=padding) for padding in TREATMENTS)]},
    {"check": range(1)},
)

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check": CHECK,
    "check_text": CHECK_TEXT,
    "check_recall": CHECK_RECALL,
    "gains": GAINS,
    "dead": DEAD,
    "search_digits": SEARCH_DIGITS,
    "digits": DIGITS,
    "search_starts": SEARCH_STARTS,
    "starts": STARTS,
    "search_mnist": SEARCH_MNIST,
    "mnist": MNIST,
    "slower": SLOWER,
    "search_redrawn": SEARCH_REDRAWN,
    "redrawn": REDRAWNS,
    "search_gammas": SEARCH_GAMMAS,
    "gammas": GAMMA_RUNS,
    "search_parts": SEARCH_PARTS,
    "parts": PART_RUNS,
    "search_layers": SEARCH_LAYERS,
    "layers": LAYER_RUNS,
    "search_text": SEARCH_TEXT,
    "texts": TEXTS,
    "search_recall": SEARCH_RECALL,
    "recall": RECALLS,
    "tied": TIED,
    "search_blanks": SEARCH_BLANK,
    "blanks": BLANKS,
    "cost": COST,
}
