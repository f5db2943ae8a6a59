"""Which part of the method matters? One of them taken away at a time, on permuted digits."""

from dataclasses import replace

from .orders import PERMUTED
from .pixels import trainings
from .search import searched, tuned

_whole = PERMUTED["batch"]
PARTS = {
    "one norm of the sum": replace(_whole, model="joint"),
    "cell not normalised": replace(_whole, normalize_cell=False),
    "input only": replace(_whole, model="input"),
}
TUNED_PARTS = {
    PARTS["one norm of the sum"]: 0.003,
    PARTS["cell not normalised"]: 0.003,
    PARTS["input only"]: 0.01,
}
SEARCH_PARTS, PART_RUNS = searched(trainings, TUNED_PARTS), tuned(trainings, TUNED_PARTS, range(3))

#: Layer norm otherwise, on pixels as they are: of either term by itself, as published; and from small scales.
_layer = replace(PERMUTED["layer"], standardize=False)
LAYERS = {"either term": replace(_layer, model="layer_each"), "γ = 0.1": replace(_layer, weight_init=0.1)}
TUNED_LAYERS = {LAYERS["either term"]: 0.01, LAYERS["γ = 0.1"]: 0.003}
SEARCH_LAYERS, LAYER_RUNS = searched(trainings, TUNED_LAYERS), tuned(trainings, TUNED_LAYERS, range(3))
