"""What is trained for the experiments page, and at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workedpapers.lab import Experiment

from .training import Temporal, run

SEEDS = range(3)
SEARCH = (100,)
RATES = (0.001, 0.003, 0.01)
UPDATES = 2500
LENGTHS = (1, 2, 4, 8)  # frames after which the first comes again

BASE = Temporal(updates=UPDATES)
#: The models that are compared; the VRNN has more parameters than any of the others.
MODELS: Mapping[str, Temporal] = {
    "VRNN": replace(BASE, memory="none", carry="both"),
    "Introspection": BASE,
    "LRU": replace(BASE, memory="lru"),
    "NTM": replace(BASE, memory="ntm"),
    "DNC": replace(BASE, memory="dnc"),
}
#: The tasks, each with its sizes.
TASKS: Mapping[str, Mapping[str, object]] = {
    "recall": {"samples": 100, "shown": True},
    "parity": {"task": "parity"},
    "one-shot": {"stock": "omniglot", "latent": 32, "code": 128},
    "pointer": {"task": "pointer", "stored": 4, "recalled": 3},
    "cue": {"task": "cue", "stored": 4, "recalled": 2, "shown": True},
    "walk": {"task": "walk", "stored": 3, "recalled": 16},
    "panorama": {"task": "panorama", "recalled": 12},
    "strings": {"task": "strings", "stored": 3},
}
WIDE = 192  # units of a larger VRNN's controller


def _on(task: str, arm: Temporal, **changes: object) -> Temporal:
    return replace(arm, **{**TASKS[task], **changes})  # type: ignore[arg-type]


VRNN, INTROSPECTION = MODELS["VRNN"], MODELS["Introspection"]
_plain = {"samples": 0, "shown": False}
#: By table and arm.
ARMS: Mapping[str, Mapping[str, Temporal]] = {
    **{task: {name: _on(task, arm) for name, arm in MODELS.items()} for task in TASKS},
    "small walk": {name: _on("walk", arm, stored=2, recalled=10) for name, arm in MODELS.items()},
    "start": {"NTM": replace(MODELS["NTM"], tape=False)},
    "ceilings": {"parity, answered": _on("parity", VRNN, answered=True)},
    "addressing": {
        f"{task}, {by}": _on(task, INTROSPECTION, addressing=by, **_plain)
        for task in ("recall", "cue")
        for by in ("content", "both")
    },
    "lengths": {
        f"{name}, {length}": replace(arm, stored=length, recalled=1)
        for length in LENGTHS
        for name, arm in {
            "VRNN": VRNN,
            "VRNN, wide": replace(VRNN, hidden=WIDE),
            "Introspection": INTROSPECTION,
            "Introspection, both": replace(INTROSPECTION, carry="both"),
        }.items()
    },
    "carry": {
        **{f"Introspection, {carry}": replace(INTROSPECTION, carry=carry) for carry in ("mean", "both")},
        "Introspection, code": replace(INTROSPECTION, carry="code", shown=True),
        "LRU, code": replace(MODELS["LRU"], carry="code"),
        "VRNN, sample": replace(VRNN, carry="sample"),
    },
    "carry, panorama": {
        "VRNN, sample": _on("panorama", VRNN, carry="sample"),
        "Introspection, both": _on("panorama", INTROSPECTION, carry="both"),
        "LRU, both": _on("panorama", MODELS["LRU"], carry="both"),
    },
    "carry, strings": {
        "LRU, both": _on("strings", MODELS["LRU"], carry="both"),
        "Introspection, both": _on("strings", INTROSPECTION, carry="both", addressing="both"),
    },
    "scored": {
        "Introspection": replace(INTROSPECTION, scored="told"),
        "VRNN": replace(VRNN, scored="told"),
    },
    "free": {"Introspection": replace(INTROSPECTION, free=2.0), "VRNN": replace(VRNN, free=2.0)},
    "longer": {
        "VRNN": replace(VRNN, updates=3 * UPDATES),
        "Introspection": replace(INTROSPECTION, updates=3 * UPDATES),
    },
    "mnist": {name: replace(MODELS[name], stock="mnist", latent=32, code=128) for name in ("VRNN", "Introspection")},
}


def table(configs: Sequence[Temporal], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[Temporal]:
    """A table of the page."""
    return Experiment("temporal_memory", Temporal, run, {scale: configs}, {scale: seeds})


def named(group: str, *names: str) -> Experiment[Temporal]:
    """Some arms of a table, all if none is named."""
    return table([ARMS[group][name] for name in names or ARMS[group]])


SEARCH_RATES = table([replace(arm, learning_rate=rate) for arm in MODELS.values() for rate in RATES], SEARCH)
#: What the lesson trains before the reader's eyes.
LIVE = Temporal(stored=4, recalled=2, hidden=64, updates=700, learning_rate=0.005)

_tiny = Temporal(stored=3, recalled=2, latent=3, code=8, hidden=8, width=4, batch=4, learning_rate=0.1, updates=4)
CHECK = table(
    [
        replace(_tiny, samples=3, learning_rate=0.02, updates=40),
        replace(_tiny, addressing="content", carry="mean", reads=2, scored="told"),
        replace(_tiny, addressing="both", carry="code", free=0.5),
        replace(_tiny, memory="none", carry="both", shown=True),
        replace(_tiny, task="parity", memory="lru", reads=2),
        replace(_tiny, task="parity", answered=True, memory="none", carry="both", scored="told", free=0.5),
        replace(_tiny, task="pointer", memory="ntm", shown=True),
        replace(_tiny, task="cue", memory="dnc", carry="both", reads=2, shown=True),
        replace(_tiny, task="walk", recalled=6, memory="none", samples=2),
        replace(_tiny, task="panorama", recalled=12, memory="lru"),
        replace(_tiny, task="strings", stored=2, memory="dnc", samples=2),
    ],
    range(1),
    "check",
)
#: The paper's kind of sizes, for a GPU; its own are not known here.
_paper = {"stock": "mnist", "stored": 10, "recalled": 5, "latent": 32, "code": 128, "hidden": 200, "updates": 100_000}
PAPER = table([replace(arm, **_paper) for arm in MODELS.values()], SEEDS, "paper")  # type: ignore[arg-type]
