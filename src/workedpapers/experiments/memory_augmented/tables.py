"""What is trained for the experiments page, and at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workedpapers.lab import Experiment

from .episodes import FewShot
from .training import run

SEEDS = range(3)
SEARCH = (100,)
RATES = (0.001, 0.003, 0.01, 0.03)
FURTHER = {"transformer": (0.0001, 0.0003), "NTM": (0.1,)}  # where the best of these was the first or the last
MATCHED = 112  # units of an LSTM with as many parameters as the memory's network
SHARP = 10.0  # key strength of the sharpened memory

UPDATES = 3500
FIVE = FewShot(updates=UPDATES, ways=(5,))
#: Five classes, 50 steps: networks with a memory, at the key strength of the paper and sharpened.
MEMORIES: Mapping[str, FewShot] = {
    "memory": replace(FIVE, probed=True),
    "sharp": replace(FIVE, sharpness=SHARP, probed=True),
}
#: The others.
RIVALS: Mapping[str, FewShot] = {
    "lstm": replace(FIVE, model="lstm"),
    "lstm, doubled": replace(FIVE, model="lstm", gain=2.0),
    "matched": replace(FIVE, model="lstm", gain=2.0, hidden=MATCHED),
    "feedforward": replace(FIVE, model="feedforward"),
    "transformer": replace(FIVE, model="transformer"),
    "matching": replace(FIVE, model="matching"),
}
#: What more training does, one seed.
LONGER: Mapping[str, FewShot] = {
    name: replace(arm, updates=8000)
    for name, arm in {**MEMORIES, **RIVALS}.items()
    if name in ("memory", "lstm, doubled")
}
#: Three classes, 24 steps, 16 slots: what the readings of the paper and the bindings are compared on.
SMALL = FewShot(classes=3, length=24, slots=16, sharpness=SHARP, updates=1200)
READINGS: Mapping[str, FewShot] = {
    "base": SMALL,
    "strength 1": replace(SMALL, sharpness=None),
    "strength learned": replace(SMALL, sharpness="learned"),
    "gate: a constant": replace(SMALL, gate="learned"),
    "content of its own": replace(SMALL, content="separate"),
    "one read head": replace(SMALL, reads=1),
    "two write heads": replace(SMALL, writes=2),
    "all least used": replace(SMALL, targets="shared"),
    "addressed before": replace(SMALL, order="address"),
    "no erasing": replace(SMALL, erase=False),
    "ties all": replace(SMALL, ties="all"),
    "decay 0.5": replace(SMALL, decay=0.5),
    "NTM": replace(SMALL, addressing="ntm", sharpness=None),
}
#: How a drawing and its label come together, and a memory that is not wiped; beside the base of the readings.
BINDINGS: Mapping[str, FewShot] = {
    "no feedback": replace(SMALL, feedback=False, probed=True),
    "feed-forward": replace(SMALL, controller="feedforward", probed=True),
    "aligned": replace(SMALL, inputs="aligned", probed=True),
    "lstm": replace(SMALL, model="lstm", gain=2.0, sharpness=None),
    "aligned, lstm": replace(SMALL, model="lstm", gain=2.0, sharpness=None, inputs="aligned"),
    "not wiped": replace(SMALL, wiped=False),
}
#: Arms whose rate is searched; the others have the rate of the one that they vary.
SEARCHED_READINGS = ("base", "strength 1", "strength learned", "NTM")
SEARCHED_RIVALS = ("lstm", "lstm, doubled", "transformer", "matching")


#: Words of five letters; training begins with aaaaa, bbbbb, ccccc.
WORDS = FewShot(
    classes=3,
    length=30,
    labels="words",
    easier="numbers",
    sharpness=SHARP,
    updates=4000,
    tested=(5, 10, 15),
    ways=(5, 20),
)
WORD_ARMS: Mapping[str, FewShot] = {
    "words": WORDS,
    "spread": replace(WORDS, labels="spread", tested=(5,), ways=(5,)),
    "lstm, words": replace(WORDS, model="lstm", gain=2.0, sharpness=None),
    "lstm, spread": replace(WORDS, labels="spread", model="lstm", gain=2.0, sharpness=None, tested=(5,), ways=(5,)),
    "matching, words": replace(WORDS, model="matching", sharpness=None),
}


def table(configs: Sequence[FewShot], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[FewShot]:
    """A table of the page."""
    return Experiment("memory_augmented", FewShot, run, {scale: configs}, {scale: seeds})


def searched(arms: Mapping[str, FewShot]) -> Experiment[FewShot]:
    """Each arm at every rate, on a seed that no other table has; without what is asked of it afterwards."""
    configs = []
    for name, arm in arms.items():
        rates = {*RATES, *FURTHER.get(name, ())}
        configs += [replace(arm, ways=(), probed=False, learning_rate=rate) for rate in sorted(rates)]
    return table(configs, SEARCH)


SEARCH_RIVALS = searched({name: RIVALS[name] for name in SEARCHED_RIVALS})
#: The NTM also with key strengths that start at ten more, which is no better.
SEARCH_READINGS = searched(
    {name: READINGS[name] for name in SEARCHED_READINGS} | {"NTM, sharp": replace(READINGS["NTM"], sharpness=SHARP)}
)
#: By table and arm, where it is not that of `FewShot`: the rate with the lowest loss at the end of the search,
#: as a share of that of a guess among the classes that the training had come to.
TUNED: Mapping[str, Mapping[str, float]] = {
    "readings": {"NTM": 0.03},
    "rivals": {"lstm, doubled": 0.01, "matched": 0.01, "transformer": 0.0003, "matching": 0.01},
    "longer": {"lstm, doubled": 0.01},
    "bindings": {"lstm": 0.01, "aligned, lstm": 0.01},
    "words": {"lstm, words": 0.01, "lstm, spread": 0.01, "matching, words": 0.01},
}
ARMS: Mapping[str, Mapping[str, FewShot]] = {
    group: {
        name: replace(arm, learning_rate=TUNED.get(group, {}).get(name, arm.learning_rate))
        for name, arm in arms.items()
    }
    for group, arms in {
        "memories": MEMORIES,
        "rivals": {name: arm for name, arm in RIVALS.items() if name != "lstm"},  # the doubled one is better
        "readings": READINGS,
        "bindings": BINDINGS,
        "longer": LONGER,
        "words": WORD_ARMS,
    }.items()
}


def named(group: str, *names: str) -> Experiment[FewShot]:
    """Some arms of a table, all if none is named."""
    arms = [ARMS[group][name] for name in names or ARMS[group]]
    return table(arms, range(1) if group == "longer" else SEEDS)


_tiny = FewShot(
    data="strokes",
    classes=3,
    length=12,
    start=2,
    ready=0.3,
    hidden=12,
    slots=5,
    width=4,
    updates=60,
    batch=4,
    episodes=8,
)
CHECK = table(
    [
        replace(_tiny, probed=True),
        replace(_tiny, sharpness="learned", content="separate", gate="learned", writes=2, updates=3, tested=(4,)),
        replace(_tiny, controller="feedforward", inputs="aligned", wiped=False, updates=3),
        replace(_tiny, addressing="ntm", sharpness=SHARP, updates=3),
        replace(_tiny, order="address", targets="shared", ties="all", erase=False, feedback=False, updates=3),
        replace(_tiny, model="lstm", labels="spread", easier="numbers", updates=60, gain=2.0),
        replace(_tiny, model="transformer", updates=3),
        replace(_tiny, model="matching", labels="words", updates=3),
        replace(_tiny, model="feedforward", updates=3),
    ],
    range(1),
    "check",
)
#: What the lesson trains before the reader's eyes.
LIVE = FewShot(data="strokes", classes=3, length=24, slots=16, hidden=64, sharpness=SHARP, updates=400, episodes=96)
#: The paper's own sizes, for a GPU: no curriculum, all of Omniglot at 20 × 20.
_paper = FewShot(data="all", hidden=200, slots=128, width=40, reads=4, start=5, learning_rate=0.001, updates=100_000)
PAPER = table(
    [_paper, replace(_paper, sharpness=SHARP), replace(_paper, model="lstm"), replace(_paper, model="matching")],
    SEEDS,
    "paper",
)
