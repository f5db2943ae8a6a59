"""Characters of a text, and test sequences longer than those of training."""

from .search import searched, tuned
from .text import Text, trainings

TEXT = {
    "lstm": Text(model="lstm"),
    "layer": Text(model="layer", weight_init=1.0),
    "batch": Text(),
    "γ = 1": Text(weight_init=1.0),
}
TUNED_TEXT = {TEXT["lstm"]: 0.03, TEXT["layer"]: 0.03, TEXT["batch"]: 0.03, TEXT["γ = 1"]: 0.03}
SEARCH_TEXT, TEXTS = searched(trainings, TUNED_TEXT, (100,)), tuned(trainings, TUNED_TEXT, range(3))
