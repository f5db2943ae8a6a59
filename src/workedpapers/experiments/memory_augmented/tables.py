"""What is trained for the experiments page, and at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workedpapers.lab import Experiment

from .episodes import FewShot
from .training import run

SEEDS = range(3)
SEARCH = (100,)
RATES = (0.001, 0.003, 0.01)
SHARP = 10.0  # key strength of the sharpened memory

#: Five classes, 50 steps.
ARMS: Mapping[str, FewShot] = {
    "memory": FewShot(ways=(5,), probed=True),
    "sharp": FewShot(sharpness=SHARP, ways=(5,), probed=True),
    "lstm": FewShot(model="lstm", ways=(5,)),
    "lstm, doubled": FewShot(model="lstm", scale=2.0, ways=(5,)),
    "matched": FewShot(model="lstm", hidden=112, scale=2.0, ways=(5,)),
    "feedforward": FewShot(model="feedforward", ways=(5,)),
    "transformer": FewShot(model="transformer", ways=(5,)),
    "matching": FewShot(model="matching", ways=(5,)),
}
#: Three classes, 24 steps, 16 slots: what the readings of the paper and the bindings are compared on.
SMALL = FewShot(classes=3, length=24, slots=16, sharpness=SHARP, updates=1200)
READINGS: Mapping[str, FewShot] = {
    "base": SMALL,
    "strength 1": replace(SMALL, sharpness=None),
    "strength 3": replace(SMALL, sharpness=3.0),
    "strength learned": replace(SMALL, sharpness="learned"),
    "gate: a constant": replace(SMALL, gate="learned"),
    "content of its own": replace(SMALL, content="separate"),
    "two write heads": replace(SMALL, writes=2),
    "all least used": replace(SMALL, targets="shared"),
    "addressed before": replace(SMALL, order="address"),
    "no erasing": replace(SMALL, erase=False),
    "ties all": replace(SMALL, ties="all"),
    "decay 0.5": replace(SMALL, decay=0.5),
    "decay 0.99": replace(SMALL, decay=0.99),
    "NTM": replace(SMALL, addressing="ntm", sharpness=None),
}
#: How a drawing and its label come together.
BINDINGS: Mapping[str, FewShot] = {
    "no feedback": replace(SMALL, feedback=False),
    "feed-forward": replace(SMALL, controller="feedforward"),
    "feed-forward, no feedback": replace(SMALL, controller="feedforward", feedback=False),
    "aligned": replace(SMALL, inputs="aligned"),
    "aligned, feed-forward": replace(SMALL, inputs="aligned", controller="feedforward"),
    "lstm": replace(SMALL, model="lstm", scale=2.0, sharpness=None),
    "aligned, lstm": replace(SMALL, model="lstm", scale=2.0, sharpness=None, inputs="aligned"),
    "not wiped": replace(SMALL, wiped=False),
}


def table(configs: Sequence[FewShot], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[FewShot]:
    """A table of the page."""
    return Experiment("memory_augmented", FewShot, run, {scale: configs}, {scale: seeds})


def searched(arms: Mapping[str, FewShot]) -> Experiment[FewShot]:
    """Each arm at every rate, on a seed that no other table has; without what is asked of it afterwards."""
    bare = [replace(arm, ways=(), probed=False) for arm in arms.values()]
    return table([replace(arm, learning_rate=rate) for arm in bare for rate in RATES], SEARCH)


SEARCH_FIVE, SEARCH_READINGS, SEARCH_BINDINGS = searched(ARMS), searched(READINGS), searched(BINDINGS)
