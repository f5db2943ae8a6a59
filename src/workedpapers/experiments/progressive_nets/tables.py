"""What is trained for the experiments page, and at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workedpapers.lab import Experiment
from workedpapers.tasks.catch import VARIANTS

from . import games, images
from .games import Soup
from .images import Transfer

SEEDS = range(5)
SOUP_SEEDS = range(3)
SEARCH = (100, 101)
RATES = (0.001, 0.003, 0.01, 0.03)
RATE = 0.01  # the best of most arms
#: Where the last of these was the best, or close to it.
FURTHER: Mapping[str, tuple[float, ...]] = dict.fromkeys(
    ("head", "finetune", "random", "scratch, 16", "linear, 16", "linear, 8"), (0.1,)
) | {"converged: scratch": (0.0003,)}
FURTHER_SOUP: Mapping[str, tuple[float, ...]] = {"head": (0.1, 0.3)}

SOURCES = ("catch", "noisy", "hflip")  # what first columns learn, as in the paper
LOOKS = ("noisy", "white", "hflip", "zoom")  # what the search is run on, from `catch`

#: Arms of Catch soup; baselines 1 and 4 have no trained source.
SOUP: Mapping[str, Soup] = {
    "scratch": Soup(),
    "random": Soup(arm="progressive", sources=("random",)),
    "head": Soup(arm="head"),
    "finetune": Soup(arm="finetune", new_head=False),
    "finetune, new head": Soup(arm="finetune"),
    "linear": Soup(arm="progressive"),
    "linear, gain 0.3": Soup(arm="progressive", lateral_gain=0.3),
    "linear, gain 0": Soup(arm="progressive", lateral_gain=0.0),
    "adapter, scale 0.1": Soup(arm="progressive", lateral="adapter"),
    "adapter": Soup(arm="progressive", lateral="adapter", scale_init=1.0),
    "three columns": Soup(arm="progressive", lateral="adapter", scale_init=1.0, sources=("catch", "noisy")),
}


def _after(arm: Soup, sources: tuple[str, ...]) -> Soup:
    """An arm with these sources, unless it has its own or takes none."""
    return arm if arm.arm == "scratch" or arm.sources else replace(arm, sources=sources)


def soup_table(configs: Sequence[Soup], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[Soup]:
    """A table of Catch soup."""
    return Experiment("progressive_nets", Soup, games.train, {scale: configs}, {scale: seeds})


def search_soup(*names: str) -> Experiment[Soup]:
    """Some arms of Catch soup at every rate; all but `three columns`, which has that of `adapter`, if none is named."""
    return soup_table(
        [
            _after(replace(SOUP[name], target=look, learning_rate=rate), ("catch",))
            for name in names or [name for name in SOUP if name != "three columns"]
            for rate in (*RATES, *FURTHER_SOUP.get(name, ()))
            for look in LOOKS
        ],
        SEARCH,
    )


#: Entropies that are tried besides, at every rate, for the two baselines that columns are to beat: so these have had
#: twelve tries, as many as linear laterals with their three gains.
ENTROPIES = (0.003, 0.03)
BASELINES = ("scratch", "random")


def search_even(*names: str) -> Experiment[Soup]:
    """Further tries of a baseline, of all of `BASELINES` if none is named."""
    return soup_table(
        [
            replace(SOUP[name], target=look, learning_rate=rate, entropy=entropy)
            for name in names or BASELINES
            for entropy in ENTROPIES
            for rate in RATES
            for look in LOOKS
        ],
        SEARCH,
    )


#: By arm of Catch soup: the rate with the largest mean area in the search.
TUNED_SOUP: Mapping[str, float] = {
    "scratch": 0.01,
    "random": 0.003,
    "head": 0.1,
    "finetune": 0.01,
    "finetune, new head": 0.01,
    "linear": 0.003,
    "adapter": 0.003,
    "three columns": 0.003,
}


#: By baseline, the rate and the entropy of the best of its twelve tries.
BEST_OF_TWELVE: Mapping[str, tuple[float, float]] = {"scratch": (0.01, 0.003), "random": (0.003, 0.003)}


def even(*names: str) -> Experiment[Soup]:
    """A baseline at the best of its twelve tries, on every look; all of `BASELINES` if none is named."""
    return soup_table(
        [
            replace(SOUP[name], learning_rate=rate, entropy=entropy, target=look)
            for name in names or BASELINES
            for rate, entropy in (BEST_OF_TWELVE[name],)
            for look in VARIANTS
        ],
        SOUP_SEEDS,
    )


#: What is run on every pair.
SOUP_ARMS = tuple(TUNED_SOUP)


def soup(*names: str) -> Experiment[Soup]:
    """Arms at their rates on every pair of a source and another look."""
    configs = []
    for name in names:
        arm = replace(SOUP[name], learning_rate=TUNED_SOUP[name])
        if name == "three columns":
            pairs = (("catch", "noisy"), ("catch", "hflip"), ("noisy", "hflip"))
            configs += [
                replace(arm, sources=pair, target=look) for pair in pairs for look in VARIANTS if look not in pair
            ]
        elif arm.arm == "scratch" or arm.sources:
            configs += [replace(arm, target=look) for look in VARIANTS]
        else:
            configs += [
                replace(arm, sources=(source,), target=look)
                for source in SOURCES
                for look in VARIANTS
                if look != source
            ]
    return soup_table(configs, SOUP_SEEDS)


#: Sources and targets whose sensitivities the page shows.
SHOWN = (
    *(("catch", look) for look in ("hflip", "vflip", "noisy")),
    ("noisy", "catch"),
    *(("catch", look) for look in ("black", "white", "zoom")),
    ("random", "catch"),
)
#: Those of them, by arm, whose networks are perturbed as well.
PERTURBED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "linear": SHOWN[:-1],
    "adapter": tuple(("catch", look) for look in ("hflip", "white", "zoom")),
    "random": SHOWN[-1:],
}


def sensitivity(*names: str) -> Experiment[Soup]:
    """A second column, perturbed after training; all arms of `PERTURBED` if none is named."""
    return soup_table(
        [
            replace(SOUP[name], learning_rate=TUNED_SOUP[name], sources=(source,), target=target, perturbed=True)
            for name in names or PERTURBED
            for source, target in PERTURBED[name]
        ],
        SOUP_SEEDS,
    )


def image_table(configs: Sequence[Transfer], seeds: Sequence[int] = SEEDS, scale: str = "book") -> Experiment[Transfer]:
    """A table of labelled images of one data set; those of a data set share a file of rows, and so do all searches."""
    part = "search" if set(seeds) <= set(SEARCH) else configs[0].data.replace("-", "_")
    return Experiment(f"progressive_nets_{part}", Transfer, images.train, {scale: configs}, {scale: seeds})


_TASKS = (("rotated", "base"), ("inverted", "base"), ("permuted", "base"), ("relabelled", "base"), ("high", "low"))
#: By data set: what is learned, and what is learned before.
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "digits": (*_TASKS, ("turned", "base")),
    "mnist": (*_TASKS, ("fashion-mnist", "base")),
    "fashion-mnist": (*_TASKS, ("mnist", "base")),
}
LABELS: Mapping[str, tuple[int, ...]] = {"digits": (30, 100, 1000), "mnist": (100, 1000), "fashion-mnist": (100, 1000)}
_progressive = Transfer(arm="progressive")
_arms: Mapping[str, Transfer] = {
    "scratch": Transfer(),
    "random": replace(_progressive, sources=("random",)),
    "head": Transfer(arm="head"),
    "finetune": Transfer(arm="finetune", new_head=False),
    "finetune, new head": Transfer(arm="finetune"),
    "linear": _progressive,
    "linear, gain 0": replace(_progressive, lateral_gain=0.0),
    "adapter": replace(_progressive, lateral="adapter"),
    "adapter, scale 1": replace(_progressive, lateral="adapter", scale_init=1.0),
}


def _on(arm: Transfer, data: str, labels: int) -> tuple[Transfer, ...]:
    """An arm on every pair of a data set."""
    arm = replace(arm, data=data, labels=labels)
    fixed = arm.arm == "scratch" or arm.sources
    return tuple(
        replace(arm, target=target, sources=arm.sources if fixed else (source,)) for target, source in PAIRS[data]
    )


_deep = replace(_progressive, depth=3)
_LAYERS = {"scratch": Transfer(depth=3)} | {
    kind: replace(_deep, layers=kind) for kind in ("previous", "same", "all", "mixture")
}
_DEPTHS = {
    "2 to 4: scratch": Transfer(depth=4),
    "4 to 2: scratch": Transfer(depth=2),
    **{f"2 to 4: {kind}": replace(_progressive, layers=kind, target_depth=4) for kind in ("previous", "same", "all")},
    **{
        f"4 to 2: {kind}": replace(_progressive, layers=kind, depth=4, target_depth=2)
        for kind in ("previous", "same", "all")
    },
}
_STARTS = {
    "scratch": Transfer(),
    **{f"gain {gain:g}": replace(_progressive, lateral_gain=gain) for gain in (1.0, 0.3, 0.0)},
    **{f"gate {gate:g}": replace(_progressive, gate=gate) for gate in (0.0, -2.0)},
    **{
        f"scale {scale:g}": replace(_progressive, lateral="adapter", scale_init=scale)
        for scale in (1.0, 0.1, 0.01, 0.0)
    },
    "scale 0, gain 0": replace(_progressive, lateral="adapter", scale_init=0.0, lateral_gain=0.0),
}
SEVEN = ("base", "turned", "mirrored", "inverted", "relabelled", "permuted", "permuted again")
_targets = ("rotated", "high")


def _both(arm: Transfer) -> tuple[Transfer, ...]:
    """An arm on both targets."""
    return tuple(replace(arm, target=target) for target in _targets)


_COLUMNS = {
    f"{kind}, {k}{', scaled' if scaled else ''}": replace(
        _progressive,
        sources=SEVEN[:k] if kind == "trained" else k * ("random",),
        lateral_gain=k**-0.5 if scaled else 1.0,
    )
    for kind in ("trained", "random")
    for k in (1, 2, 4, 7)
    for scaled in (False, True)
    if k > 1 or not scaled
}
_seven = replace(_progressive, sources=SEVEN)
_GROWTH = {
    **{f"scratch, {width}": Transfer(width=width) for width in (512, 256, 128, 64, 16, 8)},
    "linear, 64": replace(_seven, pruned=True),
    **{f"linear, {width}": replace(_seven, later_width=width) for width in (16, 8)},
    **{f"adapter, r = {width}": replace(_seven, lateral="adapter", adapter_width=width) for width in (64, 16, 8, 4)},
}
_CONVERGED = {name: _arms[name] for name in ("scratch", "head", "finetune", "finetune, new head", "linear")}
#: By group and arm, what shares a learning rate.
GROUPS: Mapping[str, Mapping[str, tuple[Transfer, ...]]] = {
    **{
        f"{data} {labels}": {name: _on(arm, data, labels) for name, arm in _arms.items()}
        for data in PAIRS
        for labels in LABELS[data]
    },
    "layers": {name: _on(arm, "digits", 100) for name, arm in _LAYERS.items()},
    "layers, mnist": {name: _on(arm, "mnist", 100) for name, arm in _LAYERS.items()},
    "depths": {name: _on(arm, "digits", 100) for name, arm in _DEPTHS.items()},
    "starts": {name: _on(arm, "digits", 100) for name, arm in _STARTS.items()},
    "columns": {name: _both(arm) for name, arm in {"scratch": Transfer(), **_COLUMNS}.items()},
    "growth": {name: _both(arm) for name, arm in _GROWTH.items()},
    "converged": {
        name: tuple(replace(c, updates=3000) for c in _on(arm, "digits", 1000)) for name, arm in _CONVERGED.items()
    },
}
#: Chosen by the accuracy at the end, the others by the area under the curve.
BY_FINAL = ("converged",)


def search_images(group: str, *names: str) -> Experiment[Transfer]:
    """Some arms of a group at every rate, all if none is named."""
    return image_table(
        [
            replace(config, learning_rate=rate, pruned=False)
            for name in names or GROUPS[group]
            for rate in (*RATES, *FURTHER.get(name, ()), *FURTHER.get(f"{group}: {name}", ()))
            for config in GROUPS[group][name]
        ],
        SEARCH[:1],
    )


#: By group and arm, where it is not `RATE`: the best rate of the search.
_OTHER_RATES: Mapping[str, Mapping[str, float]] = {
    "digits 30": {"head": 0.03, "finetune": 0.03, "adapter, scale 1": 0.003},
    "digits 100": {"head": 0.03, "finetune": 0.03},
    "digits 1000": {"random": 0.03, "head": 0.03, "finetune": 0.03},
    "mnist 100": {"scratch": 0.003, "random": 0.003, "head": 0.03, "linear, gain 0": 0.003, "adapter, scale 1": 0.003},
    "mnist 1000": {"scratch": 0.003, "random": 0.003, "head": 0.03, "linear, gain 0": 0.003, "adapter, scale 1": 0.003},
    "fashion-mnist 100": {"scratch": 0.003, "head": 0.03, "finetune": 0.003, "adapter, scale 1": 0.003},
    "fashion-mnist 1000": {"head": 0.03},
    "layers": {"all": 0.003},
    "layers, mnist": {"scratch": 0.003, "previous": 0.003, "all": 0.003},
    "depths": {"2 to 4: same": 0.003, "2 to 4: all": 0.003},
    "columns": {"trained, 2, scaled": 0.003, "trained, 7": 0.003, "trained, 7, scaled": 0.003},
    "growth": {
        "scratch, 512": 0.003,
        "scratch, 256": 0.003,
        "scratch, 16": 0.03,
        "linear, 64": 0.003,
        "linear, 16": 0.03,
        "linear, 8": 0.03,
    },
    "converged": {"scratch": 0.001, "finetune": 0.003},
}
TUNED: Mapping[str, Mapping[str, float]] = {
    group: {name: _OTHER_RATES.get(group, {}).get(name, RATE) for name in arms} for group, arms in GROUPS.items()
}


#: Groups with five seeds; the others have three.
FIVE_SEEDS = ("digits 30", "digits 100", "layers", "starts", "columns", "growth")


def named(group: str, *names: str) -> Experiment[Transfer]:
    """Some arms of a group at their rates, all if none is named."""
    return image_table(
        [
            replace(config, learning_rate=TUNED[group][name])
            for name in names or GROUPS[group]
            for config in GROUPS[group][name]
        ],
        SEEDS if group in FIVE_SEEDS else SEEDS[:3],
    )


#: What the lesson trains before the reader's eyes: inverted digits, 30 of them, at the rates of `digits 30`.
LIVE: Mapping[str, Transfer] = {
    label: replace(GROUPS["digits 30"][name][1], learning_rate=TUNED["digits 30"][name])
    for label, name in (
        ("from scratch", "scratch"),
        ("new head", "head"),
        ("fine-tuned", "finetune, new head"),
        ("second column", "linear"),
    )
}


def explored(target: str) -> Transfer:
    """A second column on another change of the digits, for the lesson."""
    return replace(LIVE["second column"], target=target)


_soup = Soup(target="noisy", sources=("catch",), updates=60, source_updates=150, learning_rate=0.01, source_rate=0.01)
_beside = replace(_soup, arm="progressive")
CHECK = soup_table(
    [
        replace(_soup, sources=(), updates=130),
        replace(_soup, arm="head", target="zoom"),
        replace(_soup, arm="finetune", new_head=False),
        replace(_beside, lateral_gain=0.3, gate=-1.0),
        replace(_beside, sources=("random",), boards=96, entropy=0.02, discount=0.8, updates=130),
        replace(_beside, sources=("catch", "random"), lateral="adapter", scale_init=1.0, target="black"),
        replace(_beside, perturbed=True),
    ],
    range(1),
    "check",
)
_image = Transfer(target="relabelled", sources=("base",), updates=30, source_updates=30)
_second = replace(_image, arm="progressive")
CHECK_IMAGES = image_table(
    [
        replace(_image, sources=(), depth=1, batch=8),
        replace(_image, arm="head", new_head=False),
        replace(_image, arm="finetune", target="permuted"),
        replace(_second, layers="same", target_depth=3, target="rotated"),
        replace(_second, layers="all", lateral="adapter", adapter_width=5, scale_init=1.0, target="mirrored"),
        replace(_second, layers="mixture", gate=-1.0, lateral_gain=0.3, target="inverted"),
        replace(_second, sources=("low", "turned"), later_width=16, pruned=True, target="high"),
        replace(_second, sources=("random",), width=32, labels=30, target="permuted again"),
    ],
    range(1),
    "check",
)
