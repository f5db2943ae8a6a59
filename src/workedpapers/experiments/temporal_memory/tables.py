"""What is trained for the experiments page, and at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workedpapers.lab import Experiment

from .training import Temporal, run

SEEDS = range(3)
SEARCH = (100,)
RATES = (0.001, 0.003, 0.01)
UPDATES = 2500

BASE = Temporal(updates=UPDATES)
#: The models that are compared; the VRNN has more parameters than any of the others.
MODELS: Mapping[str, Temporal] = {
    "VRNN": replace(BASE, memory="none", carry="both"),
    "Introspection": BASE,
    "LRU": replace(BASE, memory="lru"),
    "NTM": replace(BASE, memory="ntm"),
    "DNC": replace(BASE, memory="dnc"),
}


def table(configs: Sequence[Temporal], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[Temporal]:
    """A table of the page."""
    return Experiment("temporal_memory", Temporal, run, {scale: configs}, {scale: seeds})


SEARCH_RATES = table([replace(arm, learning_rate=r) for arm in MODELS.values() for r in RATES], SEARCH)
