# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fractional max-pooling: the experiments
#
# **Nine questions, a figure or two for each.** The claims of the paper (Graham 2014), and what its reviewers doubted.
# [The lesson](fractional_max_pooling.ipynb) comes first; [the theory](fractional_max_pooling_theory.ipynb) has the proofs.
#
# TODO-COMMON

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Setup: installs the package where it is missing
import importlib.util
import subprocess
import sys

source = "git+https://github.com/OWNER/worked-papers@v0.1.0"
if importlib.util.find_spec("workedpapers") is None:
    if sys.version_info < (3, 11):
        raise RuntimeError("workedpapers needs Python 3.11 or newer.")
    if "/OWNER/" in source:
        raise RuntimeError(
            "This copy names no address to install workedpapers from: run `pip install .` "
            "in the repository's folder, or `make address URL=…` if it is yours."
        )
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is missing, so pip brings it, too. This takes minutes.")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", source]
    run = subprocess.run(pip, capture_output=True, text=True)
    if run.returncode:
        print(run.stderr)
        raise RuntimeError(
            "pip could not install workedpapers: is there a network, and that release?"
        )
    importlib.invalidate_caches()

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Imports
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from sklearn.datasets import load_digits
from torch.nn import functional as F

from workedpapers.experiments import fractional_max_pooling as experiment
from workedpapers.fractional_max_pooling import fractional_max_pool2d, pooling_regions
from workedpapers.lab import figures, scoreboard_table, setup, sweep

device = setup(seed=0)
COLORS = {
    pooling: figures.COLORS[role]
    for pooling, role in (
        ("max", "muted"),
        ("fixed", "baseline"),
        ("pseudorandom", "learned"),
        ("random", "wrong"),
    )
}
NAMES = {
    "max": "2×2",
    "fixed": "fixed",
    "pseudorandom": "pseudo-\nrandom",
    "random": "random",
}
DATA_SETS = experiment.DATA_SETS


def rows_of(table):
    """The recorded rows of a table."""
    return sweep(experiment.EXPERIMENTS[table], "book", device="cpu")


def arm(rows, **fields):
    """The rows in which the fields have these values."""
    for name, value in fields.items():
        rows = rows[rows[name] == value]
    return rows


def places(ax, names, label):
    """Names under the places 0, 1, 2 …, and what is measured."""
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel=label, xlim=(-0.6, len(names) - 0.4))


def summary(rows, by, metrics):
    """Mean and standard deviation over the seeds of some metrics, an arm a row."""
    return rows.groupby(by, sort=False)[metrics].agg(["mean", "std"]).round(2)


# %% [markdown]
# ## 1. Random regions, or only more layers?
#
# TODO-Q1

# %%
regions = rows_of("regions")
squares = regions[regions.overlap == "square"]

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: error with one pass and with twelve
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, DATA_SETS.items(), strict=True):
    for place, (pooling, color) in enumerate(COLORS.items()):
        runs = arm(squares, data=data, pooling=pooling)
        if pooling in ("pseudorandom", "random"):
            figures.dots(ax, place - 0.15, runs.test_error, color, hollow=True)
        figures.dots(ax, place + 0.15, runs.vote_error, color)
    places(ax, NAMES.values(), "test error (%)")
    ax.set(title=name, ylim=(0, None))
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search for the rates; errors; multiplications
search = rows_of("search_regions")
display(
    search.pivot(
        index=["data", "pooling", "overlap"],
        columns="learning_rate",
        values="validation_vote",
    ).round(2)
)
metrics = ["learning_rate", "test_error", "vote_error", "fixed_error", "train_error"]
display(summary(squares, ["data", "pooling"], metrics))
pairs = squares.pivot(index=["data", "seed"], columns="pooling", values="vote_error")
display(pairs.round(2))
work = squares.groupby("pooling").multiplications.first()
print(f"multiplications, 2×2 over fixed: {work['max'] / work['fixed']:.2f}")

# %% [markdown]
# TODO-A1

# %% [markdown]
# ## 2. What if you can afford one pass only?
#
# TODO-Q2

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: one pass over drawn or fixed regions
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, DATA_SETS.items(), strict=True):
    for place, (pooling, metric) in enumerate(
        (
            ("fixed", "vote_error"),
            ("pseudorandom", "fixed_error"),
            ("pseudorandom", "test_error"),
            ("random", "fixed_error"),
            ("random", "test_error"),
        )
    ):
        runs = arm(squares, data=data, pooling=pooling)[metric]
        drawn = metric == "test_error"
        figures.dots(ax, place, runs, COLORS[pooling], hollow=drawn)
    places(
        ax,
        [
            "fixed",
            "pseudo,\nfixed",
            "pseudo,\ndrawn",
            "random,\nfixed",
            "random,\ndrawn",
        ],
        "test error of one pass (%)",
    )
    ax.set(title=name, ylim=(0, None))
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: one pass over fixed regions less the network with fixed regions, by seed
one = squares.pivot(index=["data", "seed"], columns="pooling", values="fixed_error")
drawn = squares.pivot(index=["data", "seed"], columns="pooling", values="test_error")
pd.concat(
    {
        "one fixed pass less the fixed network": one[["pseudorandom", "random"]].sub(
            one.fixed, axis=0
        ),
        "one drawn pass less the fixed network": drawn[["pseudorandom", "random"]].sub(
            one.fixed, axis=0
        ),
    },
    axis=1,
).round(2)

# %% [markdown]
# TODO-A2

# %% [markdown]
# ## 3. Why do overlapping regions win?
#
# TODO-Q3

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: three kinds of overlap
OVERLAPS = experiment.OVERLAPS
fig, axes = figures.panels(4, sharey="row")
for row, (metric, label) in enumerate(
    (("vote_error", "test error (%)"), ("flips", "predictions that flip (%)"))
):
    for column, (name, data) in enumerate(DATA_SETS.items()):
        ax = axes[2 * row + column]
        for shift, pooling in ((-0.2, "fixed"), (0, "pseudorandom"), (0.2, "random")):
            means = []
            for place, overlap in enumerate(OVERLAPS):
                runs = arm(regions, data=data, pooling=pooling, overlap=overlap)[metric]
                figures.dots(ax, place + shift, runs, COLORS[pooling])
                means.append(runs.mean())
            ax.plot(
                np.arange(3) + shift, means, color=COLORS[pooling], lw=1, label=pooling
            )
        places(ax, OVERLAPS, label if column == 0 else "")
        ax.set_title(name if row == 0 else "")
axes[1].legend(fontsize="small")
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: how much a draw changes what comes out
digits = torch.from_numpy(load_digits().images[:100]).float()[:, None] / 16
generator = torch.Generator().manual_seed(0)
pictures = {
    "digits": F.interpolate(digits, (25, 25), mode="bicubic").clamp(0, 1)[:, 0],
    "dense noise": torch.rand(100, 25, 25, generator=generator),
    "sparse dots": (torch.rand(100, 25, 25, generator=generator) < 0.05).float(),
}
fig, axes = figures.panels(2, sharey=True)
for ax, kind in zip(axes, ("pseudorandom", "random"), strict=True):
    for name, stack in pictures.items():
        ratios = []
        for overlap in OVERLAPS:
            rows, columns = (
                pooling_regions(
                    25,
                    18,
                    kind=kind,
                    overlap=overlap,
                    size=(64, 1),
                    generator=generator,
                )
                for _ in range(2)
            )
            pooled = fractional_max_pool2d(stack.expand(64, -1, -1, -1), rows, columns)
            ratios.append(float(pooled.var(0).mean() / pooled.mean(0).var(0).mean()))
        ax.plot(OVERLAPS, ratios, "o-", label=name)
        print(f"{kind}, {name}:", " ".join(f"{ratio:.2g}" for ratio in ratios))
    ax.set(title=kind, ylim=(0, None))
axes[0].set_ylabel("variance over draws\nthat over pictures")
axes[0].legend()
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: error, flips and training loss by overlap
metrics = ["learning_rate", "vote_error", "flips", "train_nats"]
display(
    summary(regions[regions.pooling != "max"], ["data", "pooling", "overlap"], metrics)
)
for metric in ("vote_error", "flips"):
    display(
        regions[regions.pooling != "max"]
        .pivot(index=["data", "pooling", "seed"], columns="overlap", values=metric)[
            list(OVERLAPS)
        ]
        .round(2)
    )

# %% [markdown]
# TODO-A3

# %% [markdown]
# ## 4. Random or pseudorandom?
#
# TODO-Q4

# %%
longer = pd.concat([squares[squares.data == "mnist"], rows_of("longer")])

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: 1,000 and 4,000 updates
fig, axes = figures.panels(2)
for ax, metric, label in zip(
    axes,
    ("train_error", "vote_error"),
    ("training error, one pass (%)", "test error, twelve passes (%)"),
    strict=True,
):
    for shift, pooling in ((-0.2, "fixed"), (0, "pseudorandom"), (0.2, "random")):
        means = []
        for place, updates in enumerate((1_000, 4_000)):
            runs = arm(longer, pooling=pooling, updates=updates)[metric]
            figures.dots(ax, place + shift, runs, COLORS[pooling])
            means.append(runs.mean())
        ax.plot([shift, 1 + shift], means, color=COLORS[pooling], lw=1, label=pooling)
    places(ax, ["1,000\nupdates", "4,000\nupdates"], label)
    ax.set_ylim(0, None)
axes[1].legend()
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search at 4,000 updates; errors
display(
    rows_of("search_longer")
    .pivot(index="pooling", columns="learning_rate", values="validation_vote")
    .round(2)
)
display(
    summary(
        longer[longer.pooling != "max"],
        ["updates", "pooling"],
        ["learning_rate", "train_error", "test_error", "vote_error"],
    )
)
display(
    longer[longer.pooling != "max"]
    .pivot(index=["updates", "seed"], columns="pooling", values="vote_error")
    .round(2)
)

# %% [markdown]
# TODO-A4

# %% [markdown]
# ## 5. What does dropout do to it?
#
# TODO-Q5

# %%
dropouts = pd.concat([squares, rows_of("dropouts")])

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: without dropout and with a quarter
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, DATA_SETS.items(), strict=True):
    for shift, pooling in ((-0.2, "fixed"), (0, "pseudorandom"), (0.2, "random")):
        means = []
        for place, dropout in enumerate((0, experiment.DROPOUT)):
            runs = arm(dropouts, data=data, pooling=pooling, dropout=dropout).vote_error
            figures.dots(ax, place + shift, runs, COLORS[pooling])
            means.append(runs.mean())
        ax.plot([shift, 1 + shift], means, color=COLORS[pooling], lw=1, label=pooling)
    places(ax, ["no dropout", f"{experiment.DROPOUT:g}"], "test error (%)")
    ax.set(title=name, ylim=(0, None))
axes[1].legend()
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search with dropout; errors
display(
    rows_of("search_dropout")
    .pivot(index=["data", "pooling"], columns="learning_rate", values="validation_vote")
    .round(2)
)
display(
    summary(
        dropouts[dropouts.pooling != "max"],
        ["data", "dropout", "pooling"],
        ["learning_rate", "train_nats", "vote_error"],
    )
)
display(
    rows_of("dropouts")
    .pivot(index=["data", "seed"], columns="pooling", values="vote_error")
    .round(2)
)

# %% [markdown]
# TODO-A5

# %% [markdown]
# ## 6. How many passes?
#
# TODO-Q6

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: error against passes
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, DATA_SETS.items(), strict=True):
    for pooling in ("pseudorandom", "random"):
        runs = arm(squares, data=data, pooling=pooling)
        n = np.array(runs.curve_passes.iloc[0])
        curves = np.array(runs.curve_error.to_list())
        figures.every_run(
            ax, [(n, curve) for curve in curves], pooling, COLORS[pooling]
        )
        b, a = np.polyfit(1 / n, curves.mean(0), 1)
        ax.plot(n, a + b / n, "k:", lw=1)
    ax.set(xscale="log", xlabel="passes n", title=name, ylim=(0, None))
    ax.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    ax.minorticks_off()
axes[0].set_ylabel("test error (%)")
axes[0].legend()
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: the shares of the gain, and Brier's score predicted from one pass and two
table = {}
for (data, pooling), runs in squares[squares.passes == 32].groupby(["data", "pooling"]):
    brier, error = (
        np.array(runs[f"curve_{name}"].to_list()).mean(0) for name in ("brier", "error")
    )
    limit = 2 * brier[1] - brier[0]
    share = (error[0] - error) / (error[0] - error[-1])
    table[data, pooling] = {
        "Brier, one pass": brier[0],
        "Brier of 32, from one and two": limit + (brier[0] - limit) / 32,
        "Brier of 32, measured": brier[-1],
        **{
            f"share of the gain in error after {n}": share[k]
            for k, n in enumerate((1, 2, 4, 8, 12, 16, 32))
        },
    }
pd.DataFrame(table).round(3)

# %% [markdown]
# TODO-A6

# %% [markdown]
# ## 7. Against an ensemble, and against augmentation?
#
# TODO-Q7

# %%
ensembles, augmentations = rows_of("ensembles"), rows_of("augmentations")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: the rivals
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, DATA_SETS.items(), strict=True):
    rivals = (
        (arm(squares, data=data, pooling="fixed").vote_error, "fixed"),
        (arm(ensembles, data=data).vote_error, "fixed"),
        (arm(augmentations, data=data, pooling="fixed").vote_error, "fixed"),
        (arm(squares, data=data, pooling="pseudorandom").vote_error, "pseudorandom"),
        (
            arm(augmentations, data=data, pooling="pseudorandom").vote_error,
            "pseudorandom",
        ),
    )
    for place, (runs, pooling) in enumerate(rivals):
        figures.dots(ax, place, runs, COLORS[pooling])
    places(
        ax,
        ["fixed", "four\nnets", "affine", "drawn", "drawn,\naffine"],
        "test error (%)",
    )
    ax.set(title=name, ylim=(0, None))
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search for strength and rate; errors
display(
    rows_of("search_augmented")
    .pivot(
        index=["data", "pooling", "augment"],
        columns="learning_rate",
        values="validation_vote",
    )
    .round(2)
)
display(
    summary(
        augmentations,
        ["data", "pooling", "augment"],
        ["learning_rate", "train_error", "test_error", "vote_error", "fixed_error"],
    )
)
display(summary(ensembles, ["data"], ["learning_rate", "test_error", "vote_error"]))
display(
    pd.DataFrame(
        {
            (data, seed): dict(zip(passes, error, strict=True))
            for data, seed, passes, error in zip(
                ensembles.data,
                ensembles.seed,
                ensembles.curve_passes,
                ensembles.curve_error,
                strict=True,
            )
        }
    ).round(2)
)

# %% [markdown]
# TODO-A7

# %% [markdown]
# ## 8. One draw for whom?
#
# TODO-Q8

# %%
draws = pd.concat([rows_of("draws"), arm(squares, data="fashion-mnist")])

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: a draw for a batch, an image or a channel
SHARED = ("batch", "image", "channel")
fig, axes = figures.panels(2)
for ax, kind in zip(axes, ("pseudorandom", "random"), strict=True):
    for shift, metric, hollow in (
        (-0.15, "fixed_error", True),
        (0.15, "vote_error", False),
    ):
        for place, draw in enumerate(SHARED):
            runs = arm(draws, pooling=kind, draw=draw)[metric]
            figures.dots(ax, place + shift, runs, COLORS[kind], hollow=hollow)
    places(ax, SHARED, "test error (%)")
    ax.set_title(kind)
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search; errors; by seed
drawn = draws[draws.pooling.isin(["pseudorandom", "random"])]
display(
    rows_of("search_draws")
    .pivot(index=["pooling", "draw"], columns="learning_rate", values="validation_vote")
    .round(2)
)
display(
    summary(
        drawn,
        ["pooling", "draw"],
        ["learning_rate", "train_nats", "test_error", "vote_error", "fixed_error"],
    )
)
for metric in ("vote_error", "fixed_error", "train_nats"):
    display(
        drawn.pivot(index=["pooling", "seed"], columns="draw", values=metric)[
            list(SHARED)
        ].round(2)
    )

# %% [markdown]
# TODO-A8

# %% [markdown]
# ## 9. And in a modern network?
#
# TODO-Q9

# %%
modern = rows_of("modern")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "TODO"}} tags=["hide-input"]
# @title Figure: a small Inception-style network with batch normalisation
fig, (left, right) = figures.panels(2)
for place, (pooling, color) in enumerate(COLORS.items()):
    runs = arm(modern, pooling=pooling)
    if pooling in ("pseudorandom", "random"):
        figures.dots(left, place - 0.15, runs.test_error, color, hollow=True)
    figures.dots(left, place + 0.15, runs.vote_error, color)
    figures.dots(right, place, runs.flips, color)
places(left, NAMES.values(), "test error (%)")
places(right, NAMES.values(), "predictions that flip (%)")
left.set_ylim(0, None)
right.set_ylim(0, None)
fig.suptitle("TODO")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: the search; errors; multiplications
display(
    rows_of("search_modern")
    .pivot(index="pooling", columns="learning_rate", values="validation_vote")
    .round(2)
)
display(
    summary(
        modern,
        "pooling",
        [
            "learning_rate",
            "train_error",
            "test_error",
            "vote_error",
            "fixed_error",
            "flips",
        ],
    )
)
display(modern.pivot(index="seed", columns="pooling", values="vote_error").round(2))
display(
    modern.groupby("pooling", sort=False)[
        ["multiplications", "parameters", "layers"]
    ].first()
)

# %% [markdown]
# TODO-A9

# %% [markdown]
# ## 10. The paper's findings and ours

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The scoreboard
scoreboard_table(experiment.scoreboard())

# %% [markdown]
# TODO-A10
