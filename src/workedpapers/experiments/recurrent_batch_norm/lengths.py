"""Sequences of unequal length: what padding does to the statistics."""

from .recall import TREATMENTS, Recall, trainings
from .search import searched, tuned

RECALL = {"lstm": Recall(model="lstm")} | {padding: Recall(padding=padding) for padding in TREATMENTS}
TUNED_RECALL = {
    RECALL["lstm"]: 0.03,
    RECALL["masked"]: 0.003,
    RECALL["padded"]: 0.003,
    RECALL["read at the end"]: 0.03,
}
SEARCH_RECALL, RECALLS = searched(trainings, TUNED_RECALL), tuned(trainings, TUNED_RECALL, range(5))
#: Either search is a tie of two rates; the higher one.
TIED = tuned(trainings, {RECALL["masked"]: 0.01, RECALL["padded"]: 0.01}, range(5))
