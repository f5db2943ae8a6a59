"""Sequences of unequal length: what padding does to the statistics."""

from .recall import TREATMENTS, Recall, trainings
from .search import searched, tuned

RECALL = {"lstm": Recall(model="lstm")} | {padding: Recall(padding=padding) for padding in TREATMENTS}
TUNED_RECALL = dict(zip(RECALL.values(), (0.01, 0.003, 0.003, 0.003), strict=True))
SEARCH_RECALL, RECALLS = searched(trainings, TUNED_RECALL), tuned(trainings, TUNED_RECALL, range(5))
