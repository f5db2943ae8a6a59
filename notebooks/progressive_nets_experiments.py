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
# # Progressive networks: the experiments
#
# Each section asks one question: what was run, a figure, the verdict in bold. Tables are folded. [The lesson](progressive_nets.ipynb) has the method, [the theory](progressive_nets_theory.ipynb) growth, sensitivities and errata.
#
# **Read this first.** *Catch soup*: a ball falls nine rows on a 10×10 board, a paddle of three cells should be under it; reward 1 or −1; a random player gets −0.4. Eight looks: as it is (on grey), with frozen noise, on black, on white, zoomed to 70%, and flipped (the picture, not the actions). Columns have convolutions with 8 and 16 maps (3×3, stride 2) and 64 units; an advantage actor-critic plays 128 boards an update, 500 updates (sources: 1,000), Adam, discount 0.9, entropy 0.01. There are only 720 boards, so each update shows the network all of them; actions are still drawn, and the *expected* score of a policy is computed exactly. First columns learn Catch, the noisy or the left-right flipped one, as in the paper; three seeds. *Images*: multilayer perceptrons with two layers of 64 units, Adam, 200 updates of 32 images (sources 600); 10,000 training images at most for the source, few for the target; 2,000 test images (digits of scikit-learn: 397); five seeds. *Arms*: from scratch (baseline 1); the source's network with a new output layer, of which only that is trained (head only, 2), or all (fine-tuned with a new head, 3; fine-tuned as it is keeps the old one); a column beside a random one (4); a column beside the source's (linear laterals; adapters with as many units as the layer and α = 1 at first). *Rates*: each arm has its own, the one of 0.001, 0.003, 0.01, 0.03 (where the last was best, also 0.1; head only in Catch also 0.3) with the largest mean area on search seeds: over four looks from Catch (two seeds), over all changes of a data set at a number of labels (one seed). *Area*: the mean of a learning curve; differences of areas are in points of 100.

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
from IPython.display import display

from workedpapers.experiments import progressive_nets as experiment
from workedpapers.lab import figures, scoreboard_table, setup, sweep

setup(seed=0)
NEW, SIDE, SCRATCH, RANDOM, TUNED, HEAD, MUTED, PAPER = (
    figures.COLORS[role]
    for role in (
        "learned",
        "fast",
        "baseline",
        "peer",
        "wrong",
        "data",
        "muted",
        "paper",
    )
)
COLOR = {
    "scratch": SCRATCH,
    "random": RANDOM,
    "head": HEAD,
    "finetune": "0.7",
    "finetune, new head": TUNED,
    "linear": NEW,
    "linear, gain 0": MUTED,
    "adapter": SIDE,
    "adapter, scale 1": SIDE,
    "three columns": "k",
}
LABEL = {
    "scratch": "from scratch",
    "random": "beside a random column",
    "head": "head only",
    "finetune": "fine-tuned, old head",
    "finetune, new head": "fine-tuned, new head",
    "linear": "progressive, linear",
    "linear, gain 0": "linear, U = 0 at first",
    "adapter": "progressive, adapters",
    "adapter, scale 1": "progressive, adapters",
    "three columns": "three columns, adapters",
}


def rows_of(group, name):
    """The rows of one arm of a group."""
    return sweep(experiment.named(group, name), "book")


def by_target(group, name, metric="area"):
    """In per cent: a row a target, a column a seed."""
    found = rows_of(group, name)
    return 100 * found.pivot_table(index="target", columns="seed", values=metric)


# %% [markdown]
# ## 1. Catch soup: does it transfer?
#
# Every source to every other look: 21 pairs. The transfer score is the area above a random player's, in per cent of what a column from scratch has on the same look (PNN.11).

# %%
scores = experiment.soup_scores()

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A1@@"}} tags=["hide-input"]
# @title Figure: transfer scores by source and look
LOOKS = ["catch", "noisy", "black", "white", "zoom", "hflip", "vflip", "vhflip"]
fig, axes = figures.panels(4, sharex=True)
for ax, name in zip(
    axes, ("head", "finetune, new head", "linear", "adapter"), strict=True
):
    found = scores[scores.arm == name].pivot_table(
        index="source", columns="target", values="score"
    )
    found = found.reindex(index=["catch", "noisy", "hflip"], columns=LOOKS)
    ax.imshow(found, cmap="RdBu", vmin=0, vmax=200, aspect="auto")
    for i, line in enumerate(found.to_numpy()):
        for j, value in enumerate(line):
            if np.isfinite(value):
                ink = "white" if abs(value - 100) > 75 else "black"
                ax.text(
                    j, i, f"{value:.0f}", ha="center", va="center", size=8, color=ink
                )
    ax.set_xticks(range(8), LOOKS, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(3), found.index, fontsize=8)
    ax.set_title(f"{LABEL[name]}, median {np.nanmedian(found):.0f}")
fig.suptitle("@@F1@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: medians and means over pairs by seed, final scores
lines = {}
for name in experiment.SOUP_ARMS:
    found = scores[scores.arm == name]
    seeds = found.groupby("seed").score
    lines[LABEL[name]] = (
        {f"median, {s}": v for s, v in seeds.median().items()}
        | {f"mean, {s}": v for s, v in seeds.mean().items()}
        | {
            "below 100": 100 * (found.score < 100).mean(),
            "final": 100 * found.final.mean(),
            "area": 100 * found.area.mean(),
        }
    )
display(pd.DataFrame(lines).T.round(1))
display(
    scores.pivot_table(index="arm", columns="target", values="area").mul(100).round(1)
)
display(
    scores.pivot_table(index=["arm", "source"], columns="target", values="score").round(
        0
    )
)

# %% [markdown]
# @@V1@@
#
# **Which layers are used?** The share of the first column in the Fisher sensitivity of each layer (PNN.13), after training:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A1B@@"}} tags=["hide-input"]
# @title Figure: share of the old column by layer
SHOWN = [
    ("catch", "hflip"),
    ("catch", "vflip"),
    ("catch", "noisy"),
    ("noisy", "catch"),
    ("catch", "black"),
    ("catch", "white"),
    ("catch", "zoom"),
    ("random", "catch"),
]
maps = {
    name: sweep(experiment.soup(name), "book")
    for name in ("linear", "adapter", "random")
}
shares = {}
for name, found in maps.items():
    for row in found.itertuples():
        key = name, row.sources[0], row.target
        shares.setdefault(key, []).append(np.array(row.sensitivity)[:, 0])
fig, axes = figures.panels(2, sharey=True)
for ax, name in zip(axes, ("linear", "adapter"), strict=True):
    drawn = [
        np.mean(
            shares[("random" if source == "random" else name, source, target)],
            axis=0,
        )
        for source, target in SHOWN
    ]
    ax.imshow(np.array(drawn).T[::-1], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, column in enumerate(drawn):
        for layer, value in enumerate(column):
            ink = "white" if value > 0.6 else "black"
            ax.text(
                i,
                2 - layer,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                color=ink,
                size=8,
            )
    ax.set_xticks(
        range(len(SHOWN)),
        [f"{s} → {t}" for s, t in SHOWN],
        rotation=60,
        ha="right",
        fontsize=8,
    )
    ax.set_yticks(range(3), ["units", "conv 2", "conv 1"], fontsize=9)
    ax.set_title(LABEL[name])
fig.suptitle("@@F1B@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: shares of the old column in per cent, by layer, mean over seeds
display(
    pd.DataFrame(
        {
            " | ".join(key).replace(" | ", ", "): 100 * np.mean(value, axis=0)
            for key, value in shares.items()
        },
        index=["conv 1", "conv 2", "units"],
    ).T.round(0)
)

# %% [markdown]
# @@V1B@@

# %% [markdown]
# ## 2. Does it help beyond games?
#
# Images that are turned by 90 degrees, inverted, permuted (one fixed order of the pixels), relabelled (the same images, other names), split (classes 0–4, then 5–9), or of the other data set. With 100 labels, area over that of a column from scratch on the same labels:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A2@@"}} tags=["hide-input"]
# @title Figure: gains over a column from scratch, 100 labels
ARMS = ("random", "finetune, new head", "linear", "adapter, scale 1")
fig, axes = figures.panels(3, columns=3, sharey=True)
for ax, data in zip(axes, ("digits", "mnist", "fashion-mnist"), strict=True):
    base = by_target(f"{data} 100", "scratch")
    for n, name in enumerate(ARMS):
        gain = by_target(f"{data} 100", name) - base
        for place, target in enumerate(gain.index):
            at = place + 0.18 * (n - 1.5)
            figures.dots(ax, at, gain.loc[target], COLOR[name])
        ax.plot([], [], "o", color=COLOR[name], label=LABEL[name])
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.set_xticks(range(len(base)), base.index, rotation=45, ha="right", fontsize=8)
    ax.set_title(data)
axes[0].set_ylabel("area above scratch, points")
axes[0].legend(fontsize=7)
fig.suptitle("@@F2@@")
plt.show()

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A2B@@"}} tags=["hide-input"]
# @title Figure: fewer and more labels
fig, ax = plt.subplots(figsize=(4.5, 3))
for name in ARMS:
    means = []
    for labels in (30, 100, 1000):
        group = f"digits {labels}"
        means.append((by_target(group, name) - by_target(group, "scratch")).mean())
    figures.curve_with_band(
        ax, [30, 100, 1000], np.array(means).T, LABEL[name], COLOR[name]
    )
ax.axhline(0, color=MUTED, lw=0.8)
ax.set(xscale="log", xlabel="labelled digits", ylabel="area above scratch, points")
ax.legend(fontsize=8)
ax.set_title("@@F2B@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: areas of every arm, mean over seeds; gains with their spread
for group in (
    "digits 30",
    "digits 100",
    "digits 1000",
    "mnist 100",
    "mnist 1000",
    "fashion-mnist 100",
    "fashion-mnist 1000",
):
    print(group)
    table = pd.DataFrame(
        {name: by_target(group, name).mean(axis=1) for name in experiment.GROUPS[group]}
    ).T
    base = by_target(group, "scratch")
    gains = pd.DataFrame(
        {
            name: (by_target(group, name) - base).mean()
            for name in experiment.GROUPS[group]
        }
    ).T
    table["all"] = table.mean(axis=1)
    table["gain"] = gains.mean(axis=1)
    table["lowest seed"], table["highest seed"] = gains.min(axis=1), gains.max(axis=1)
    display(table.round(1))

# %% [markdown]
# @@V2@@

# %% [markdown]
# ## 3. Does training the head alone fail?
#
# A review of the paper found it "scary" that fine-tuning the output layer alone fails. Digits with 1,000 labels: accuracy after 200 updates, and after 3,000 (rates searched again there, by the accuracy at the end).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A3@@"}} tags=["hide-input"]
# @title Figure: accuracy at the end, by change
fig, axes = figures.panels(2, sharey=True)
for ax, group, title in (
    (axes[0], "digits 1000", "200 updates"),
    (axes[1], "converged", "3,000 updates"),
):
    for n, name in enumerate(("scratch", "head", "finetune, new head", "linear")):
        found = by_target(group, name, "final")
        for place, target in enumerate(found.index):
            figures.dots(ax, place + 0.18 * (n - 1.5), found.loc[target], COLOR[name])
        ax.plot([], [], "o", color=COLOR[name], label=LABEL[name])
    ax.set_xticks(range(len(found)), found.index, rotation=45, ha="right", fontsize=8)
    ax.set_title(title)
axes[0].set_ylabel("right at the end, %")
axes[1].legend(fontsize=7)
fig.suptitle("@@F3@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: accuracy at the end, mean and lowest and highest seed
for group in ("digits 1000", "converged"):
    print(group)
    found = {
        name: by_target(group, name, "final") for name in experiment.GROUPS["converged"]
    }
    display(
        pd.DataFrame({name: f.mean(axis=1) for name, f in found.items()}).T.round(1)
    )
    display(
        pd.DataFrame(
            {
                name: {
                    "lowest": f.mean().min(),
                    "mean": f.mean().mean(),
                    "highest": f.mean().max(),
                }
                for name, f in found.items()
            }
        ).T.round(1)
    )

# %% [markdown]
# @@V3@@

# %% [markdown]
# ## 4. Which layers should be read?
#
# The paper lets layer $i$ read layer $i-1$ of the earlier columns. A review asks why. Columns of three hidden layers, 100 labels: the *previous* layer, the *same* layer (which is already computed), *all* hidden layers (three times the lateral weights), or a learned *mixture* of all. And columns of different depth: where the source has fewer layers, its last stands for those it lacks.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A4@@"}} tags=["hide-input"]
# @title Figure: area by the layers that are read
fig, axes = figures.panels(3, columns=3)
KINDS = ("scratch", "previous", "same", "all", "mixture")
for ax, group, kinds, title in (
    (axes[0], "layers", KINDS, "digits, 3 layers"),
    (axes[1], "layers, mnist", KINDS, "MNIST, 3 layers"),
    (
        axes[2],
        "depths",
        [f"{d}: {k}" for d in ("2 to 4", "4 to 2") for k in KINDS[:4]],
        "digits, depths differ",
    ),
):
    for place, kind in enumerate(kinds):
        runs = by_target(group, kind).mean()
        color = SCRATCH if "scratch" in kind else NEW
        figures.dots(ax, place, runs, color)
        ax.plot(place, runs.mean(), "_", ms=16, mew=2, color=color)
    ax.set_xticks(range(len(kinds)), kinds, rotation=60, ha="right", fontsize=8)
    ax.set_title(title)
axes[0].set_ylabel("area, mean of the changes, %")
fig.suptitle("@@F4@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: areas by change, mean over seeds, and the seeds
for group in ("layers", "layers, mnist", "depths"):
    print(group)
    lines = {}
    for name in experiment.GROUPS[group]:
        found = by_target(group, name)
        lines[name] = (
            found.mean(axis=1).to_dict()
            | {"all": found.mean().mean()}
            | {f"seed {s}": v for s, v in found.mean().items()}
            | {"weights": rows_of(group, name).parameters.iloc[0]}
        )
    display(pd.DataFrame(lines).T.round(1))

# %% [markdown]
# @@V4@@

# %% [markdown]
# ## 5. Gates, and laterals that begin at zero
#
# Later methods (LoRA, ControlNet) begin with a side path that says nothing. Here: digits, 100 labels. *Gain*: factor on the initial $\mathbf U$. *Gate*: $\sigma(b)$ per unit on what arrives, $b$ at first. *Scale*: initial α of an adapter. "Scale 0, gain 0" is dead at first: no slope reaches $\mathbf U$, $\mathbf V$ or α (the bias of $\mathbf V$ included), so it must learn as a column from scratch.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A5@@"}} tags=["hide-input"]
# @title Figure: how the laterals begin
fig, axes = figures.panels(2)
for place, name in enumerate(experiment.GROUPS["starts"]):
    runs = by_target("starts", name).mean()
    color = SCRATCH if name == "scratch" else SIDE if name.startswith("scale") else NEW
    figures.dots(axes[0], place, runs, color)
    axes[0].plot(place, runs.mean(), "_", ms=14, mew=2, color=color)
axes[0].set_xticks(
    range(len(experiment.GROUPS["starts"])),
    experiment.GROUPS["starts"],
    rotation=60,
    ha="right",
    fontsize=8,
)
axes[0].set(ylabel="area, %", title="area, mean of six changes")


def above(name):
    """Accuracy less that from scratch, by change and seed, at every tenth update."""
    keys = ["target", "seed"]
    runs = {n: rows_of("starts", n).set_index(keys).curve for n in (name, "scratch")}
    return 100 * np.array(
        [np.subtract(runs[name][key], runs["scratch"][key]) for key in runs[name].index]
    )


for name, color in (("gain 1", NEW), ("gain 0", SIDE)):
    gap = above(name)[:, :11]
    axes[1].plot(10 * np.arange(11), gap.T, color=color, lw=0.4, alpha=0.5)
    axes[1].plot(10 * np.arange(11), gap.mean(0), color=color, lw=2.5, label=name)
axes[1].axhline(0, color=MUTED, lw=0.8)
axes[1].set(xlabel="updates", ylabel="accuracy above scratch, points")
axes[1].legend(fontsize=8)
axes[1].set_title("@@F5B@@")
fig.suptitle("@@F5@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: areas, and how many early points (updates 0 to 100) lie below the baseline
lines = {}
for name in experiment.GROUPS["starts"]:
    found = by_target("starts", name)
    gap = above(name)[:, :11]
    lines[name] = (
        found.mean(axis=1).to_dict()
        | {"all": found.mean().mean()}
        | {f"seed {s}": v for s, v in found.mean().items()}
        | {
            "below at 0": (gap[:, 0] < 0).sum(),
            "below at 10": (gap[:, 1] < 0).sum(),
            "below, 10–100": (gap[:, 1:] < 0).sum(),
            "of": gap[:, 1:].size,
        }
    )
display(pd.DataFrame(lines).T.round(1))

# %% [markdown]
# @@V5@@

# %% [markdown]
# ## 6. What does a further column cost?
#
# In time: a training step of the newest of $K$ columns, 784-256-256-10, 128 images ([section 2 of the theory](progressive_nets_theory.ipynb) compares with other implementations). In learning: the target is digits turned by 90 degrees, and the classes 5–9; the earlier columns were trained on up to seven other changes, in order, or are all random. Laterals begin at torch's size, or scaled by $1/\sqrt{k-1}$.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A6@@"}} tags=["hide-input"]
# @title Figure: time, and area, by the number of earlier columns
fig, axes = figures.panels(2)
axes[0].set(title="TODO")
base = by_target("columns", "scratch").mean()
COUNTS = (1, 2, 4, 7)
for kind, color in (("trained", NEW), ("random", RANDOM)):
    for scaled, style in ((False, "-"), (True, "--")):
        runs = [
            by_target(
                "columns", f"{kind}, {k}{', scaled' if scaled and k > 1 else ''}"
            ).mean()
            for k in COUNTS
        ]
        runs = np.array([base, *runs])
        axes[1].plot(
            [0, *COUNTS],
            runs.mean(1),
            "o" + style,
            ms=4,
            color=color,
            label=kind + (", scaled" if scaled else ""),
        )
        if not scaled:
            axes[1].plot([0, *COUNTS], runs, ".", ms=3, color=color, alpha=0.6)
axes[1].set(xlabel="earlier columns", ylabel="area, %")
axes[1].legend(fontsize=8)
axes[1].set_title("@@F6B@@")
fig.suptitle("@@F6@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: areas, updates to 80%, rates
lines = {}
for name in experiment.GROUPS["columns"]:
    found = rows_of("columns", name)
    area = by_target("columns", name)
    reached = np.array(found.curve.to_list()) >= 0.8
    first = np.where(reached.any(1), 10 * reached.argmax(1), np.nan)
    lines[name] = (
        area.mean(axis=1).to_dict()
        | {"both": area.mean().mean()}
        | {f"seed {s}": v for s, v in area.mean().items()}
        | {
            "updates to 80%": np.nanmean(first) if np.isfinite(first).any() else np.nan,
            "never": np.isnan(first).sum(),
            "final": 100 * found.final.mean(),
            "rate": found.learning_rate.iloc[0],
        }
    )
display(pd.DataFrame(lines).T.round(3))

# %% [markdown]
# @@V6@@

# %% [markdown]
# ## 7. Growth: what can be left out?
#
# An eighth column, beside seven, on the two targets of section 6. Narrower adapters; narrow later columns (all but the first); single columns of the same widths. On the right, the linear network of 64 units, *after* training: in every layer all lateral features but a share are replaced by their mean, chosen by Fisher information, by outgoing weights times spread, or at random; nothing is retrained.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A7@@"}} tags=["hide-input"]
# @title Figure: accuracy for parameters, and pruning
fig, axes = figures.panels(2)
for name in experiment.GROUPS["growth"]:
    found = rows_of("growth", name)
    runs = by_target("growth", name).mean()
    color = SCRATCH if "scratch" in name else SIDE if "adapter" in name else NEW
    size = found.parameters.mean()
    axes[0].plot([size] * len(runs), runs, ".", color=color, ms=4)
    axes[0].plot(size, runs.mean(), "_", ms=14, mew=2, color=color)
    axes[0].annotate(
        name.split(", ")[1],
        (size, runs.mean()),
        (5, 4),
        textcoords="offset points",
        fontsize=7,
    )
for label, color in (
    ("from scratch", SCRATCH),
    ("linear", NEW),
    ("adapters, columns of 64", SIDE),
):
    axes[0].plot([], [], "o", ms=4, color=color, label=label)
axes[0].set(xscale="log", xlabel="parameters of the eighth column", ylabel="area, %")
axes[0].legend(fontsize=8)
axes[0].set_title("@@F7@@")
KEPT = 100 * np.array([0.0, 0.05, 0.1, 0.25, 0.5, 1.0])
pruned = rows_of("growth", "linear, 64").pruning
for order, color, label in (
    ("fisher", NEW, "by Fisher information"),
    ("weights", SIDE, "by outgoing weights"),
    ("random", MUTED, "at random"),
):
    runs = 100 * np.array([row[order] for row in pruned])
    axes[1].plot(KEPT, runs.mean(0), "o-", ms=4, color=color, label=label)
axes[1].set(xlabel="lateral features kept, %", ylabel="right, %")
axes[1].legend(fontsize=8)
axes[1].set_title("@@F7B@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Tables: areas and parameters; accuracy after pruning
lines = {}
for name in experiment.GROUPS["growth"]:
    found, area = rows_of("growth", name), by_target("growth", name)
    lines[name] = (
        area.mean(axis=1).to_dict()
        | {"both": area.mean().mean()}
        | {f"seed {s}": v for s, v in area.mean().items()}
        | {"final": 100 * found.final.mean(), "parameters": found.parameters.iloc[0]}
    )
display(pd.DataFrame(lines).T.round(1))
display(
    pd.DataFrame(
        {
            order: 100 * np.mean([row[order] for row in pruned], axis=0)
            for order in ("fisher", "weights", "random")
        },
        index=KEPT,
    ).T.round(1)
)

# %% [markdown]
# @@V7@@

# %% [markdown]
# ## 8. Area or final score?
#
# The paper ranks by area. All runs of sections 1 and 2: how often do two arms change places, on the same target and seed, if one asks for the end instead?

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A8@@"}} tags=["hide-input"]
# @title Figure: area against final score
digits = pd.concat(
    [
        rows_of("digits 100", name).assign(arm=name)
        for name in experiment.GROUPS["digits 100"]
    ]
)
fig, axes = figures.panels(2)
for ax, found, title in (
    (axes[0], scores, "Catch"),
    (axes[1], digits, "digits, 100 labels"),
):
    for name in ("scratch", "head", "finetune, new head", "linear"):
        part = found[found.arm == name]
        ax.plot(part.area, part.final, ".", color=COLOR[name], label=LABEL[name], ms=5)
    ax.set(xlabel="area", ylabel="final score", title=title)
axes[0].legend(fontsize=7)
fig.suptitle("@@F8@@")
plt.show()


# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: rank correlation, and how often two arms change places
def disagreements(found, keys):
    """Pairs of arms on the same problem: how many, how many that area and end order otherwise."""
    pairs = swapped = 0
    for _, part in found.groupby(keys):
        area, final = part.area.to_numpy(), part.final.to_numpy()
        i, j = np.triu_indices(len(part), 1)
        pairs += len(i)
        swapped += int(((area[i] - area[j]) * (final[i] - final[j]) < 0).sum())
    return pairs, swapped


lines = {}
for label, found, keys in (
    ("Catch, all arms", scores, ["target", "seed"]),
    ("digits, 100 labels, all arms", digits, ["target", "seed"]),
):
    pairs, swapped = disagreements(found, keys)
    correlation = found[["area", "final"]].rank().corr().iloc[0, 1]
    lines[label] = {
        "rank correlation": round(correlation, 2),
        "pairs": pairs,
        "ordered otherwise": swapped,
        "%": round(100 * swapped / pairs, 1),
    }
display(pd.DataFrame(lines).T)
means = scores.groupby(["arm", "target"])[["area", "final"]].mean().mul(100).round(1)
display(means.unstack(0))

# %% [markdown]
# @@V8@@

# %% [markdown]
# ## 9. Scoreboard
#
# Each line is a difference that the paper's claim, or its name, says to be below zero, by seed.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@A9@@"}} tags=["hide-input"]
# @title Figure: claims, a dot a seed
claims = experiment.scoreboard()
figures.verdicts(claims)
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: claims
display(scoreboard_table(claims))

# %% [markdown]
# @@V9@@
