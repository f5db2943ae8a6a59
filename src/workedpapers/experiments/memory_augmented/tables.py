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
    "lstm, doubled": FewShot(model="lstm", gain=2.0, ways=(5,)),
    "matched": FewShot(model="lstm", hidden=112, gain=2.0, ways=(5,)),
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
LONGER = replace(SMALL, updates=2000)
#: How a drawing and its label come together.
BINDINGS: Mapping[str, FewShot] = {
    "memory": replace(LONGER, probed=True),
    "no feedback": replace(LONGER, feedback=False, probed=True),
    "feed-forward": replace(LONGER, controller="feedforward", probed=True),
    "feed-forward, no feedback": replace(LONGER, controller="feedforward", feedback=False),
    "aligned": replace(LONGER, inputs="aligned", probed=True),
    "aligned, feed-forward": replace(LONGER, inputs="aligned", controller="feedforward"),
    "lstm": replace(LONGER, model="lstm", gain=2.0, sharpness=None),
    "aligned, lstm": replace(LONGER, model="lstm", gain=2.0, sharpness=None, inputs="aligned"),
    "not wiped": replace(LONGER, wiped=False),
}
#: Readings whose rate is searched; the others change little and take that of the base.
SEARCHED = ("base", "strength 1", "strength learned", "NTM")


def table(configs: Sequence[FewShot], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[FewShot]:
    """A table of the page."""
    return Experiment("memory_augmented", FewShot, run, {scale: configs}, {scale: seeds})


def searched(arms: Mapping[str, FewShot]) -> Experiment[FewShot]:
    """Each arm at every rate, on a seed that no other table has; without what is asked of it afterwards."""
    bare = [replace(arm, ways=(), probed=False) for arm in arms.values()]
    return table([replace(arm, learning_rate=rate) for arm in bare for rate in RATES], SEARCH)


SEARCH_FIVE = searched(ARMS)
SEARCH_READINGS = searched({name: READINGS[name] for name in SEARCHED})
SEARCH_BINDINGS = searched(BINDINGS)
