"""Recurrent batch normalization on pixels, characters and sequences of unequal length (paper `recurrent_batch_norm`).

`pixels`, `text`, `recall` and `gains` are what is run; `orders`, `gammas`, `parts`, `characters`, `lengths` and
`blanks` are what the experiments page asks, `claims` its scoreboard; `cost` belongs to the theory page.
"""

from dataclasses import replace
from typing import Any

from workedpapers.lab import Experiment

from .blanks import BLANK, BLANKS, SEARCH_BLANK, TUNED_BLANK
from .characters import SEARCH_TEXT, TEXT, TEXTS, TUNED_TEXT
from .claims import scoreboard
from .cost import COST, Timed, measure, stepwise
from .gains import DEAD, GAINS, Dead, Gain
from .gammas import (
    BY_GAMMA,
    GAMMA_RUNS,
    IDENTITIES,
    IDENTITY,
    SEARCH_GAMMAS,
    SEARCH_IDENTITY,
    TUNED_GAMMAS,
    TUNED_IDENTITY,
)
from .lengths import RECALL, RECALLS, SEARCH_RECALL, TUNED_RECALL
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
    STARTS,
    TUNED_DIGITS,
    TUNED_MNIST,
    TUNED_REDRAWN,
    TUNED_STARTS,
)
from .parts import LAYER_RUNS, LAYERS, PART_RUNS, PARTS, SEARCH_LAYERS, SEARCH_PARTS, TUNED_LAYERS, TUNED_PARTS
from .pixels import Pixels, pixel_order, train
from .recall import Recall
from .text import Text

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "gains": GAINS,
    "dead": DEAD,
    "search_digits": SEARCH_DIGITS,
    "digits": DIGITS,
    "search_starts": SEARCH_STARTS,
    "starts": STARTS,
    "search_mnist": SEARCH_MNIST,
    "mnist": MNIST,
    "search_redrawn": SEARCH_REDRAWN,
    "redrawn": REDRAWNS,
    "search_gammas": SEARCH_GAMMAS,
    "gammas": GAMMA_RUNS,
    "search_identity": SEARCH_IDENTITY,
    "identity": IDENTITIES,
    "search_parts": SEARCH_PARTS,
    "parts": PART_RUNS,
    "search_layers": SEARCH_LAYERS,
    "layers": LAYER_RUNS,
    "search_text": SEARCH_TEXT,
    "texts": TEXTS,
    "search_recall": SEARCH_RECALL,
    "recall": RECALLS,
    "search_blanks": SEARCH_BLANK,
    "blanks": BLANKS,
    "cost": COST,
}
