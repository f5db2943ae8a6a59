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

# %% [markdown]
# # Generative models with memory: the experiments
#
# Each section asks one question: what was run, a figure, the verdict in bold. Tables are folded. [The lesson](temporal_memory.ipynb) has the method, [the theory](temporal_memory_theory.ipynb) the proofs, the other memories step by step and errata.
#
# **Read this first.** The paper has figures and no tables, and its text was not at hand; so tasks, sizes and models are ours, and nothing here is a digit of the paper's. What can be compared is who wins. Frames are scikit-learn's digits of 8×8 pixels, zeros and ones, also moved by a pixel; 1,400 to train on, 397 by other writers to test on (1,000 sequences, the same for all). *Told* frames follow from the past, *new* ones do not; numbers are the bound $\mathcal F$ in nats a frame (higher is better), from one sample, unless said. Models: a latent of 16, a controller of 96 units, encoder, decoder and heads of 64; memories have a row for each frame and one read head, slots 24 numbers. The baseline is a VRNN: no memory, and its controller gets the encoded frame beside the latent; it has the most parameters of all (108,736 against 88,202 to 100,589 on digits). 2,500 updates of 32 sequences, Adam at 0.003, the best of 0.001, 0.003 and 0.01 for each model (perfect recall, one search seed; the other tasks have the same rate), gradients clipped at 1; three seeds. The NTM starts as a tape, which reads by content; with torch's starting values it learned no recall in single tries, not recorded.

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
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from workedpapers.experiments import temporal_memory as experiment
from workedpapers.lab import figures, scoreboard_table, setup, sweep

setup(seed=0)
MODELS = ("VRNN", "Introspection", "LRU", "NTM", "DNC")
COLOR = dict(
    zip(
        MODELS,
        (figures.COLORS[r] for r in ("baseline", "learned", "fast", "wrong", "data")),
        strict=True,
    )
)
MUTED = figures.COLORS["muted"]


@cache
def rows_of(group, name):
    """The rows of one arm of a table."""
    return sweep(experiment.named(group, name), "book")


def summary(lines, columns=("told", "new", "told_kl", "new_kl")):
    """Mean and seeds of told frames, means of the rest."""
    found = {}
    for label, (group, name) in lines.items():
        rows = rows_of(group, name)
        found[label] = {c: rows[c].mean() for c in columns}
        found[label] |= {
            f"told, {s}": v for s, v in zip(rows.seed, rows.told, strict=True)
        }
        found[label]["parameters"] = rows.parameters.iloc[0]
    return pd.DataFrame(found).T.round(2)


def by_frame(ax, group, name, color, label=None, part=0):
    """Surprise (part 0) or KL (part 1) by frame: every seed a dot, the mean a line."""
    runs = np.array(rows_of(group, name).by_frame.to_list())[:, part]
    runs = -runs if part == 0 else runs
    ax.plot(range(1, runs.shape[1] + 1), runs.T, ".", color=color, ms=4)
    ax.plot(range(1, runs.shape[1] + 1), runs.mean(0), color=color, label=label or name)


# %% [markdown]
# ## 1. Is what comes back cheaper?
#
# Perfect recall: six random digits, then the first three again. The bound by frame, and that of told frames as the training goes on (another 250 test sequences).

# %%
recall = {name: rows_of("recall", name) for name in MODELS}

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT1@@"}} tags=["hide-input"]
# @title Figure: surprise by frame, and learning curves
fig, axes = figures.panels(2)
for name, color in COLOR.items():
    by_frame(axes[0], "recall", name, color)
    curves = np.array(recall[name].curve.to_list())[:, :, 0]
    updates = np.linspace(0, 2500, curves.shape[1] + 1)[1:]
    axes[1].plot(updates, curves.T, color=color, lw=0.7, alpha=0.5)
    axes[1].plot(updates, curves.mean(0), color=color)
axes[0].axvspan(6.5, 9.5, color="0.93", zorder=0)
axes[0].set(xlabel="frame", xticks=range(1, 10), ylabel="surprise, nats")
axes[1].set(xlabel="update", ylabel="bound, told frames", ylim=(-32, -14))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
fig.suptitle("@@TITLE1@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: told and new frames, nats a frame
display(summary({name: ("recall", name) for name in MODELS}))
lines = {n: np.array(recall[n].by_frame.to_list()).mean(0) for n in MODELS}
print("KL by frame")
display(
    pd.DataFrame({n: v[1] for n, v in lines.items()}, index=range(1, 10)).T.round(2)
)

# %% [markdown]
# @@VERDICT1@@

# %% [markdown]
# ## 2. Which memory for which task?
#
# Eight tasks. *Parity*: six digits, then for the first three a random 1 where the digit is odd, else a random 0. *One-shot*: as recall, with characters of alphabets that training has not seen (Omniglot, 14×14). *Pointer*: four digits whose classes are places; the first comes again, then the one at the place that it names, and so on, three in all. *Cue*: four digits, one of them again, then the two that followed it (the cue itself is not counted). *Walk*: a random walk of 16 steps on a 3×3 map of digits whose edges meet, the move given as context. *Panorama*: a view of 4 pixels that turns by known angles in a ring of 16 real numbers, with noise; told once the turn is complete. *Strings*: three letter-digit pairs, two question marks, a letter, its digit (symbols; the answer is told).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT2@@"}} tags=["hide-input"]
# @title Figure: the bound of told frames by task and model, every seed a dot
TASKS = (
    "recall",
    "parity",
    "one-shot",
    "pointer",
    "cue",
    "walk",
    "panorama",
    "strings",
)
fig, axes = plt.subplots(2, 4, figsize=(9, 4.6))
for ax, task in zip(axes.flat, TASKS, strict=True):
    for place, (name, color) in enumerate(COLOR.items()):
        told = rows_of(task, name).told
        figures.dots(ax, place, told, color)
        ax.plot(place, told.mean(), "_", ms=14, mew=2, color=color)
    new = np.mean([rows_of(task, name).new.mean() for name in MODELS])
    if task != "strings":
        ax.axhline(new, color=MUTED, lw=0.8, ls=":")
    ax.set_title(task)
    ax.set_xticks([])
for ax in axes[1]:
    ax.set_xticks(range(5), MODELS, rotation=60, ha="right", fontsize=9)
for ax in axes[:, 0]:
    ax.set_ylabel("bound, told frames")
fig.suptitle("@@TITLE2@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: told frames by task and model, mean and seeds; what new ones cost; ceilings
for column in ("told", "new", "told_kl", "new_kl"):
    print(column)
    found = {
        task: {name: rows_of(task, name)[column].mean() for name in MODELS}
        for task in TASKS
    }
    display(pd.DataFrame(found).round(2))
print("told, by seed")
found = {
    task: {name: rows_of(task, name).told.round(2).to_list() for name in MODELS}
    for task in TASKS
}
display(pd.DataFrame(found))
display(summary({"parity, the answer given": ("ceilings", "parity, answered")}))
print("parameters")
found = {
    task: {name: rows_of(task, name).parameters.iloc[0] for name in MODELS}
    for task in TASKS
}
display(pd.DataFrame(found))

# %% [markdown]
# @@VERDICT2@@

# %% [markdown]
# ## 3. How much can a controller keep?
#
# $l$ digits, then the first of them again: how many frames must be kept before the VRNN fails? Controllers of 96 and 192 units, against Introspection. The saving is the bound of the told frame less that of the new ones.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT3@@"}} tags=["hide-input"]
# @title Figure: what is saved when the first frame comes back, by the frames to keep
LENGTHS = (1, 2, 4, 8)
LENGTHS_OF = {
    "VRNN": (COLOR["VRNN"], "VRNN, 96 units"),
    "VRNN, wide": (figures.COLORS["peer"], "VRNN, 192 units"),
    "Introspection": (COLOR["Introspection"], "Introspection, 96 units"),
}


def saving(name, length):
    rows = rows_of("lengths", f"{name}, {length}")
    return rows.told - rows.new


fig, ax = plt.subplots(figsize=(4.5, 3.2))
for name, (color, label) in LENGTHS_OF.items():
    runs = np.array([saving(name, length) for length in LENGTHS])
    ax.plot(range(4), runs, ".", color=color)
    ax.plot(range(4), runs.mean(1), color=color, label=label)
ax.axhline(0, color=MUTED, lw=0.8)
ax.set_xticks(range(4), LENGTHS)
ax.set(xlabel="frames to keep", ylabel="saved, nats a frame")
fig.legend(loc="outside lower center", ncols=1)
ax.set_title("@@TITLE3@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: what is saved, by seed, and parameters
found = {
    f"{name}, {length}": {
        **{f"seed {s}": v for s, v in enumerate(saving(name, length))},
        "mean": saving(name, length).mean(),
        "parameters": rows_of("lengths", f"{name}, {length}").parameters.iloc[0],
    }
    for name in LENGTHS_OF
    for length in LENGTHS
}
display(pd.DataFrame(found).T.round(2))

# %% [markdown]
# @@VERDICT3@@

# %% [markdown]
# ## 4. Would it come with more training?
#
# Perfect recall of section 1, 10,000 updates instead of 2,500.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT4@@"}} tags=["hide-input"]
# @title Figure: four times the updates
LONGER = {
    "VRNN": (COLOR["VRNN"], "VRNN, 96 units"),
    "VRNN, wide": (figures.COLORS["peer"], "VRNN, 192 units"),
    "Introspection": (COLOR["Introspection"], "Introspection"),
}
fig, axes = figures.panels(2, sharey=True)
for ax, part, title in ((axes[0], 0, "told frames"), (axes[1], 1, "new frames")):
    for name, (color, label) in LONGER.items():
        curves = np.array(rows_of("longer", name).curve.to_list())[:, :, part]
        updates = np.linspace(0, 10_000, curves.shape[1] + 1)[1:]
        ax.plot(updates, curves.T, color=color, lw=0.7, alpha=0.5)
        ax.plot(updates, curves.mean(0), color=color, label=label)
    ax.set(xlabel="update", title=title, ylim=(-30, -12))
axes[0].set_ylabel("bound, nats a frame")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("@@TITLE4@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: after 10,000 updates
display(summary({name: ("longer", name) for name in LONGER}))

# %% [markdown]
# @@VERDICT4@@

# %% [markdown]
# ## 5. Is looking back by age a hack?
#
# A review called Introspection's reads "hacky": they depend on how old a row is, not on what it holds. The same memory read by *content* (a key against the rows, as a transformer's decoder does), and by *both* (the logits summed).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT5@@"}} tags=["hide-input"]
# @title Figure: told frames by how Introspection addresses
fig, axes = figures.panels(3, columns=3)
for ax, task in zip(axes, ("recall", "pointer", "cue"), strict=True):
    for place, by in enumerate(("lag", "content", "both")):
        arm = (
            (task, "Introspection") if by == "lag" else ("addressing", f"{task}, {by}")
        )
        told = rows_of(*arm).told
        figures.dots(ax, place, told, COLOR["Introspection"])
        ax.plot(place, told.mean(), "_", ms=14, mew=2, color=COLOR["Introspection"])
    ax.axhline(rows_of(task, "VRNN").told.mean(), color=COLOR["VRNN"], lw=1)
    ax.set_xticks(range(3), ("lag", "content", "both"))
    ax.set_title(task)
axes[0].set_ylabel("bound, told frames")
fig.suptitle("@@TITLE5@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: by addressing
for task in ("recall", "pointer", "cue"):
    print(task)
    display(
        summary(
            {"lag": (task, "Introspection")}
            | {by: ("addressing", f"{task}, {by}") for by in ("content", "both")}
        )
    )

# %% [markdown]
# @@VERDICT5@@

# %% [markdown]
# ## 6. Where do the memories look?
#
# Read weights of the first test sequence, one seed, a column a frame: left perfect recall, right the cue task. The rows of Introspection are frames back, those of the others slots.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT6@@"}} tags=["hide-input"]
# @title Figure: attention over the frames
fig, axes = plt.subplots(2, 4, figsize=(9, 4.6))
for line, task in zip(axes, ("recall", "cue"), strict=True):
    for ax, name in zip(line, MODELS[1:], strict=True):
        attention = rows_of(task, name).attention[0]
        size = len(attention)
        weights = np.zeros((size, size))
        for t, w in enumerate(attention):
            weights[: len(w), t] = w
        ax.imshow(weights, cmap="Blues", vmin=0, vmax=1)
        ax.set(xticks=range(size), yticks=range(size))
        ax.set_xticklabels(range(1, size + 1), fontsize=8)
        ax.set_yticklabels(range(1, size + 1), fontsize=8)
        ax.set_title(f"{name}, {task}", fontsize=10)
        ax.set_xlabel("frame", fontsize=9)
    line[0].set_ylabel("frames back", fontsize=9)
    line[1].set_ylabel("slot", fontsize=9)
fig.suptitle("@@TITLE6@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: largest read weight at each frame, first seed
found = {
    f"{name}, {task}": {
        t + 1: max(w, default=0.0)
        for t, w in enumerate(rows_of(task, name).attention[0])
    }
    for task in ("recall", "cue")
    for name in MODELS[1:]
}
display(pd.DataFrame(found).T.round(2))

# %% [markdown]
# @@VERDICT6@@

# %% [markdown]
# ## 7. What should be carried on?
#
# The paper hands on the latent as it was drawn. Instead: the posterior's *mean*, the encoder's *code*, or *both* sample and code, as the VRNN does. Perfect recall, and the panorama, where frames are real numbers.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT7@@"}} tags=["hide-input"]
# @title Figure: told frames by what is carried on
KINDS = ("sample", "mean", "code", "both")
CARRIED = {
    ("recall", "Introspection", "sample"): ("recall", "Introspection"),
    ("recall", "VRNN", "both"): ("recall", "VRNN"),
    ("panorama", "Introspection", "sample"): ("panorama", "Introspection"),
    ("panorama", "LRU", "sample"): ("panorama", "LRU"),
    ("panorama", "VRNN", "both"): ("panorama", "VRNN"),
    ("panorama", "VRNN", "sample"): ("carry, panorama", "VRNN, sample"),
    ("panorama", "Introspection", "both"): ("carry, panorama", "Introspection, both"),
    ("panorama", "LRU", "both"): ("carry, panorama", "LRU, both"),
    **{
        ("recall", "Introspection", k): ("carry", f"Introspection, {k}")
        for k in KINDS[1:]
    },
    **{("recall", "VRNN", k): ("carry", f"VRNN, {k}") for k in ("sample", "code")},
}
fig, axes = figures.panels(2)
for ax, task in zip(axes, ("recall", "panorama"), strict=True):
    for (of, name, kind), arm in CARRIED.items():
        if of == task:
            place = KINDS.index(kind) + 0.2 * (
                ("VRNN", "Introspection", "LRU").index(name) - 1
            )
            told = rows_of(*arm).told
            figures.dots(ax, place, told, COLOR[name])
            ax.plot(place, told.mean(), "_", ms=12, mew=2, color=COLOR[name])
    ax.set_xticks(range(4), KINDS)
    ax.set_title(task)
for name in ("VRNN", "Introspection", "LRU"):
    axes[1].plot([], [], "o", color=COLOR[name], label=name)
axes[0].set_ylabel("bound, told frames")
fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("@@TITLE7@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: by what is carried on
display(summary({", ".join(key): arm for key, arm in sorted(CARRIED.items())}))

# %% [markdown]
# @@VERDICT7@@

# %% [markdown]
# ## 8. Which frames should the loss count?
#
# The public code that we know trains on the told frames alone. Perfect recall, loss on all frames or on told ones; and with two nats of divergence a frame free of charge (*free bits*), a usual remedy where a model ignores its latents.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT8@@"}} tags=["hide-input"]
# @title Figure: told and new frames by what is trained on
fig, axes = figures.panels(2)
for ax, column, title in (
    (axes[0], "told", "told frames"),
    (axes[1], "new", "new frames"),
):
    for n, name in enumerate(("VRNN", "Introspection")):
        for place, group in enumerate(("recall", "scored", "free")):
            values = rows_of(group, name)[column]
            figures.dots(ax, place + 0.2 * (n - 0.5), values, COLOR[name])
    ax.set_xticks(range(3), ("all", "told only", "free bits"))
    ax.set_title(title)
for name in ("VRNN", "Introspection"):
    axes[1].plot([], [], "o", color=COLOR[name], label=name)
axes[0].set_ylabel("bound, nats a frame")
fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
fig.suptitle("@@TITLE8@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: by what is trained on
display(
    summary(
        {
            f"{name}, {label}": (group, name)
            for name in ("VRNN", "Introspection")
            for group, label in (
                ("recall", "all"),
                ("scored", "told only"),
                ("free", "free"),
            )
        }
    )
)

# %% [markdown]
# @@VERDICT8@@

# %% [markdown]
# ## 9. How loose is the bound?
#
# With many samples the importance-weighted bound comes nearer to $\ln p(\mathbf x)$ ([section 9 of the theory](temporal_memory_theory.ipynb)): 100 samples a sequence, 200 test sequences, perfect recall. Would the order of the models change?

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT9@@"}} tags=["hide-input"]
# @title Figure: the bound of a whole sequence, from one sample and from a hundred
fig, ax = plt.subplots(figsize=(4.5, 3))
for place, (name, color) in enumerate(COLOR.items()):
    pairs = np.array(recall[name].closer.to_list())
    for plain, closer in pairs:
        ax.plot([place, place], [plain, closer], color=color, lw=1, alpha=0.6)
    ax.plot(len(pairs) * [place], pairs[:, 0], "o", mfc="white", color=color, ms=5)
    ax.plot(len(pairs) * [place], pairs[:, 1], "o", color=color, ms=5)
ax.set_xticks(range(5), MODELS)
ax.set_ylabel("nats a sequence")
ax.set_title("@@TITLE9@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: one sample, a hundred, and the difference, nats a sequence of nine frames
found = {
    name: dict(
        zip(
            ("one", "hundred"),
            np.array(recall[name].closer.to_list()).mean(0),
            strict=True,
        )
    )
    for name in MODELS
}
found = pd.DataFrame(found).T
found["difference"] = found.hundred - found.one
display(found.round(2))

# %% [markdown]
# @@VERDICT9@@

# %% [markdown]
# ## 10. Larger pictures
#
# Perfect recall of MNIST digits at 14×14 (60,000 to train on), a latent of 32, layers of 128; beside it the unseen Omniglot characters of section 2, of the same size.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT10@@"}} tags=["hide-input"]
# @title Figure: surprise by frame, 196 pixels
fig, axes = figures.panels(2)
for ax, group, title in (
    (axes[0], "mnist", "MNIST"),
    (axes[1], "one-shot", "Omniglot, unseen"),
):
    for name in ("VRNN", "Introspection", "DNC"):
        by_frame(ax, group, name, COLOR[name])
    ax.axvspan(6.5, 9.5, color="0.93", zorder=0)
    ax.set(xlabel="frame", xticks=range(1, 10), title=title)
axes[0].set_ylabel("surprise, nats")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
fig.suptitle("@@TITLE10@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: 196 pixels
display(
    summary(
        {f"MNIST, {n}": ("mnist", n) for n in ("VRNN", "Introspection", "DNC")}
        | {f"Omniglot, {n}": ("one-shot", n) for n in MODELS}
    )
)

# %% [markdown]
# @@VERDICT10@@

# %% [markdown]
# ## 11. The scoreboard
#
# Each claim is a difference in nats a told frame that should be below zero. A claim *holds* if every seed has the sign, *in part* if their mean has. The paper's text was not at hand; its statements are as others report them.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "@@ALT11@@"}} tags=["hide-input"]
# @title Figure: the claims, every seed a dot
claims = experiment.scoreboard()
ax = figures.verdicts(claims)
ax.set_title("@@TITLE11@@")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: the scoreboard
display(scoreboard_table(claims))

# %% [markdown]
# @@VERDICT11@@
