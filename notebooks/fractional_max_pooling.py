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
# # Fractional max-pooling: shrink by less than two, at random
#
# **The problem.** Max-pooling over 2×2 halves a picture: 28, 14, 7, 3. Three layers, and hardly anything is left to pool. What if a
# network should shrink more slowly, by $\sqrt2$, say?
#
# **The idea.** Let neighbouring regions start one *or* two pixels apart, and *draw* which, anew for every picture and layer. The draw is an
# augmentation inside the network. And a network that draws is a whole ensemble: ask it several times and average. In the form that you
# will build, region $i=0,\dots,N_\text{out}-1$ is two wide, and the starts walk in steps of $\alpha$, rounded down:
#
# $$ y_{ij}=\max_{k\in R_i,\;l\in C_j}x_{kl}, \qquad R_i=[m_i,\,m_i+2), \qquad m_i=\lfloor\alpha\,i+\theta\rfloor, \qquad \alpha=\frac{N_\text{in}-2}{N_\text{out}-1}, \qquad \theta\text{ drawn from }[0,1) $$
#
# From 6 to 4, $\alpha=\frac43$: with $\theta=0.5$ the regions start at 0, 1, 3 and 4. (The picture below cuts into *disjoint* pieces
# instead, the simplest form.)

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
import math
from fractions import Fraction
from itertools import accumulate, pairwise, product

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments import fractional_max_pooling as experiment
from workedpapers.fractional_max_pooling import (
    FractionalMaxPool2d,
    fractional_max_pool2d,
    pooling_regions,
)
from workedpapers.lab import check, explore, figures, progress, setup, sweep
from workedpapers.tasks.splits import Split

device = setup(seed=0)
DRAWN, FIXED, DATA, MUTED, ODD = (
    figures.COLORS[role] for role in ("learned", "baseline", "data", "muted", "wrong")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "The digits of pi as a picture of six by six numbers, twice, cut into four by four rectangles of one or two pixels a side, and beside each the picture of the four by four largest numbers. The two draws cut at other places and keep partly other numbers."}} tags=["hide-input"]
# @title The idea in one picture: two draws of pieces side by side
LINES = ("314159", "265358", "979323", "846264", "338327", "950288")
PI = [[int(digit) for digit in line] for line in LINES]


def show(ax, numbers, rows=(), columns=(), title=""):
    """A picture as numbers on squares, with lines where regions start."""
    numbers = torch.as_tensor(numbers)
    ax.imshow(numbers, cmap="Blues", vmin=0, vmax=14)
    for i, j in product(*map(range, numbers.shape)):
        ax.text(j, i, int(numbers[i, j]), ha="center", va="center")
    for mark in rows:
        ax.axhline(mark - 0.5, color=ODD, linewidth=2)
    for mark in columns:
        ax.axvline(mark - 0.5, color=ODD, linewidth=2)
    ax.set(xticks=[], yticks=[], title=title)


fig, axes = plt.subplots(2, 2, figsize=(4.5, 4.6))
for pair, rows, columns, draw in (
    (axes[0], [0, 1, 3, 4, 6], [0, 2, 3, 5, 6], "one draw"),
    (axes[1], [0, 2, 4, 5, 6], [0, 1, 2, 4, 6], "another"),
):
    show(pair[0], PI, rows, columns, f"6×6, {draw}")
    cut = [torch.tensor(PI)[a:b] for a, b in pairwise(rows)]
    kept = [[part[:, c:d].max() for c, d in pairwise(columns)] for part in cut]
    show(pair[1], kept, title="4×4, the largest of each")
plt.show()

# %% [markdown]
# **What we found**, in the paper's network at a small size:
#
# - averaged over twelve passes, pseudorandom regions halve the errors of fixed ones on MNIST (4.6 against 9.3%) and save 1.9 points on Fashion-MNIST; the smaller steps alone bring nothing clear;
# - stretching, turning and shifting the pictures at random, with *fixed* regions, does better (3.8%);
# - in a small network of parallel branches with batch norm the gain is within the scatter (13.4 against 14.2% on Fashion-MNIST).
#
# **Use it** when you want a bit of ensemble from one training and do not know which changes of a picture leave its label alone. **Not** where an augmentation is at hand.
#
# **Minutes:** problem 2 · marks 2 · overlap 4 · the phase 5 · how even 2 · the layer 5 · explore 3 · sizes 3 · it works 4 · passes 4 ·
# the paper's numbers 2 · worth 2.
#
# **Beside this lesson:** [the experiments](fractional_max_pooling_experiments.ipynb), a figure for each question;
# [the theory](fractional_max_pooling_theory.ipynb), with counts, proofs, other people's code, errata, cost; the paper, Graham 2014
# ([arXiv 1412.6071](https://arxiv.org/abs/1412.6071));
# [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/fractional_max_pooling.ipynb);
# [the source of the layer](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/fractional_max_pooling.py).
#
# Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. The problem in numbers
#
# **Cut each side into pieces of one and two, and keep the largest number of each rectangle.**
#
# Here are 36 digits of π as a picture of 6×6. Max-pooling over 2×2 leaves 3×3 of them. You want 4×4. Then six rows must become four:
# two pieces of one row and two pieces of two. The same for the columns. Which pieces are the long ones? Take some order:

# %%
x = torch.tensor(PI)
rows, columns = [0, 1, 3, 4, 6], [0, 2, 3, 5, 6]  # where the pieces meet

for a, b in pairwise(rows):
    print([x[a:b, c:d].max().item() for c, d in pairwise(columns)])

# %% [markdown]
# That is the first of the two draws above. Follow the corner: row 0 alone with columns 0 and 1 holds 3 and 1, so the first number is 3.
#
# **Change it.** In the cell above, write `rows, columns = [0, 2, 4, 5, 6]` for `rows, columns = [0, 1, 3, 4, 6]`: the twos first.
#
# <details><summary>What happens</summary>
#
# ```text
# [6, 5, 5, 9]
# [9, 9, 6, 4]
# [3, 8, 3, 7]
# [9, 0, 8, 8]
# ```
#
# The columns are cut as before, and yet nine of the sixteen numbers are others.
#
# </details>
#
# So a network would see other numbers for the same picture each time. *Stochastic pooling*, which came before, keeps the
# regions and picks a random number of each. Here the regions are random and the number is the largest. How many ways are there to cut, and
# may pieces overlap?

# %% [markdown]
# ## 2. Marks
#
# **How many steps are twos is settled; only their order is free.**
#
# An $N_\text{in}\times N_\text{in}$ picture $x$ becomes an $N_\text{out}\times N_\text{out}$ picture $y$. There are intervals
# $R_0,\dots,R_{N_\text{out}-1}$ of rows and $C_0,\dots$ of columns, and
#
# $$ y_{ij} = \max_{k\in R_i,\;l\in C_j} x_{kl} \tag{FMP.1} $$
#
# All intervals of one side come from *marks*: start at zero and take $S$ steps of one or two until you have gone the distance $D$. If $t$
# of the steps are twos, then $S+t=D$. So
#
# $$ m_0=0,\quad m_{i+1}-m_i\in\{1,2\},\quad m_S=D \quad\Rightarrow\quad D-S\text{ twos and } 2S-D \text{ ones} \tag{FMP.2} $$
#
# In section 1, $S=4$ and $D=6$: two of each. All orders:


# %%
def words(S, D):
    """All lists of S steps of one or two that go the distance D."""
    return [word for word in product((1, 2), repeat=S) if sum(word) == D]


print(*words(4, 6))
for S, D in ((4, 6), (9, 13), (7, 12)):
    counted = {(word.count(2), word.count(1)) for word in words(S, D)}
    check("FMP.2", counted == {(D - S, 2 * S - D)}, True, f"{S} steps to {D}")

# %% [markdown]
# **Change it.** In the cell above, write `print(*words(4, 8))` for `print(*words(4, 6))`: how many ways to go from eight rows to four?
#
# <details><summary>What happens</summary>
#
# ```text
# (2, 2, 2, 2)
# ```
#
# One. Ordinary max-pooling is the end of the scale at which nothing is left to draw. So fractional pooling is for
# $N_\text{out}<N_\text{in}<2N_\text{out}$, and the library refuses other sizes.
#
# </details>

# %% [markdown]
# ## 3. Three ways to make regions of marks
#
# **Disjoint pieces, squares that start at the marks, or intervals that share a line: three layers under one name.**
#
# In section 1 each pixel lay in one region. Graham finds regions that overlap better, and his formula and his program
# make them in two ways. Half-open and counted from zero, with the names that we give them: *disjoint*, *square*, *interval*:
#
# $$ R_i = [m_i,\,m_{i+1}),\qquad [m_i,\,m_i+2),\qquad [m_i,\,m_{i+1}+1) \tag{FMP.3} $$
#
# A square is always two wide; the program and PyTorch's layer have these. An interval, the formula of the paper for overlapping
# regions, has the mark at *both* ends: neighbours share a line, and it is two or three wide.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Six rows of a picture as six cells, and below them the four regions that each kind makes: disjoint ones of 1, 2, 1 and 2 rows side by side; squares of two rows each that start at 0, 1, 3 and 4; intervals of 2, 3, 2 and 2 rows, of which neighbours share one."}} tags=["hide-input"]
# @title The three kinds, from 6 to 4
BY_HAND = {
    "disjoint": [(0, 1), (1, 3), (3, 4), (4, 6)],
    "square": [(0, 2), (1, 3), (3, 5), (4, 6)],
    "interval": [(0, 2), (1, 4), (3, 5), (4, 6)],
}
fig, axes = plt.subplots(3, 1, figsize=(4.5, 3.6), sharex=True)
for ax, (kind, regions) in zip(axes, BY_HAND.items(), strict=True):
    for i, (start, stop) in enumerate(regions):
        ax.barh(-i, stop - start, left=start, color=DATA, edgecolor="white")
        ax.text((start + stop) / 2, -i, f"R{i}", ha="center", va="center")
    ax.set(title=kind, yticks=[], xticks=range(7), xlim=(0, 6))
    ax.grid(axis="x", color=MUTED, linewidth=0.5)
axes[-1].set_xlabel("row of the picture")
plt.show()

# %% [markdown]
# Every region must lie in the picture, and every row in a region. Disjoint regions and intervals lie *between* two marks, so
# $N_\text{out}$ of them take $N_\text{out}$ steps; a square needs only the mark at which it starts, so one step less. The last disjoint
# region ends at its mark, the last interval one past it, the last square two past it. All must end at $N_\text{in}$:
#
# $$ (S,\,D) = (N_\text{out},\,N_\text{in}),\qquad (N_\text{out}-1,\,N_\text{in}-2),\qquad (N_\text{out},\,N_\text{in}-1) \tag{FMP.4} $$
#
# The ratio $\alpha=D/S$ is the mean step. The cell builds every possible list of regions, and looks up whether the library's draw is one.

# %%
OVERLAPS = ("disjoint", "square", "interval")


def regions_of(word, overlap):
    """Regions (FMP.3) as ranges, from a list of steps."""
    m = [0, *accumulate(word)]
    return {
        "disjoint": [range(a, b) for a, b in pairwise(m)],
        "square": [range(a, a + 2) for a in m],
        "interval": [range(a, b + 1) for a, b in pairwise(m)],
    }[overlap]


# %%
def steps_and_distance(n_in, n_out, overlap):
    """Eq. (FMP.4)."""
    return {
        "disjoint": (n_out, n_in),
        "square": (n_out - 1, n_in - 2),
        "interval": (n_out, n_in - 1),
    }[overlap]


# %%
for overlap in OVERLAPS:
    S, D = steps_and_distance(13, 9, overlap)
    every = [regions_of(word, overlap) for word in words(S, D)]
    ends = {(len(R), R[0].start, R[-1].stop) for R in every}
    check("FMP.4", ends == {(9, 0, 13)}, True, f"{overlap}: nine regions, 0 to 13")
    starts, stops = pooling_regions(13, 9, kind="random", overlap=overlap)
    drawn = [range(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    check("FMP.3", drawn in every, True, f"{overlap}: what the library draws is one")

# %% [markdown]
# The layer must pool over what it draws. The definition, region by region, for the three kinds, with random regions:

# %%
x = torch.randn(13, 11, dtype=torch.float64)
for overlap in OVERLAPS:
    rows, columns = (
        pooling_regions(n_in, n_out, kind="random", overlap=overlap)
        for n_in, n_out in ((13, 9), (11, 6))
    )
    R, C = (
        [slice(a, b) for a, b in zip(*axis, strict=True)] for axis in (rows, columns)
    )
    y = torch.tensor([[x[r, c].max() for c in C] for r in R])
    library = fractional_max_pool2d(x, rows, columns)
    check("FMP.1", y, library, f"{overlap}: region by region = library")

# %% [markdown]
# ## 4. Which order? Random, or a phase
#
# **Shuffle the steps, or spread them evenly and draw one number: where the walk starts.**
#
# *Random* regions have the twos anywhere, all orders equally likely. *Pseudorandom* ones spread them: walk with the constant step
# $\alpha=D/S$ from a *phase* $\theta$, and round down:
#
# $$ m_i = \lfloor\alpha\,i+\theta\rfloor,\qquad 0\le\theta<1 \tag{FMP.5} $$
#
# Are these marks in the sense of (FMP.2)? First the steps. For $\alpha$ strictly between one and two
#
# $$ m_{i+1}-m_i\in\{\lfloor\alpha\rfloor,\lceil\alpha\rceil\}=\{1,2\} \tag{FMP.6} $$
#
# because $\alpha i+\theta=m_i+f$ with $0\le f<1$, so the next step is $\lfloor f+\alpha\rfloor$: at least $\lfloor\alpha\rfloor$, and at
# most $\lceil\alpha\rceil$, the largest whole number below $\alpha+1$. Then the ends. They fit *whatever the phase*, with no clipping:
#
# $$ m_0=\lfloor\theta\rfloor=0,\qquad m_S=\lfloor D+\theta\rfloor=D \tag{FMP.7} $$
#
# The paper prints three pseudorandom sequences of steps from 25 to 18 for its own form, $\lceil\alpha(i+u)\rceil$ with "some" $u$ in
# $(0,1)$. The cell computes with fractions, where nothing is rounded.


# %%
def marks_of(S, D, phase):
    """Eq. (FMP.5) in exact arithmetic."""
    return [math.floor(Fraction(D, S) * i + phase) for i in range(S + 1)]


def steps_of(marks):
    return [b - a for a, b in pairwise(marks)]


PHASES = [Fraction(k, 997) for k in range(997)]
THE_PAPERS = ("112112121121211212", "212112121121121211", "211211212112121121")
ours = {"".join(map(str, steps_of(marks_of(18, 25, phase)))) for phase in PHASES}
check("FMP.5", ours.issuperset(THE_PAPERS), True, "the paper's three examples")

# %%
taken, allowed, ends, library, exact = set(), set(), set(), [], []
for overlap, phase in product(OVERLAPS, PHASES):
    S, D = steps_and_distance(25, 18, overlap)
    m = marks_of(S, D, phase)
    taken |= set(steps_of(m))
    allowed |= {math.floor(Fraction(D, S)), math.ceil(Fraction(D, S))}
    ends.add((m[0], m[S] - D))
    starts, _ = pooling_regions(25, 18, overlap=overlap, phase=float(phase))
    library.append(starts)
    exact.append(marks_of(S, D, Fraction(float(phase)))[:18])
check("FMP.6", taken == allowed, True, "three kinds, 997 phases: ⌊α⌋ and ⌈α⌉")
check("FMP.6", sorted(allowed), [1, 2], "which are one and two")
check("FMP.7", ends == {(0, 0)}, True, "and both ends fit")
check("FMP.5", torch.stack(library), torch.tensor(exact), "the library's starts")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Eight draws of disjoint regions from 25 to 18, each a bar of 18 pieces. In the four pseudorandom ones the seven long pieces are spread evenly; in the four random ones they come in clusters."}} tags=["hide-input"]
# @title Four draws of each
fig, axes = plt.subplots(2, 1, figsize=(4.5, 3.4))
generator = torch.Generator().manual_seed(2)
for ax, kind in zip(axes, ("pseudorandom", "random"), strict=True):
    for draw in range(4):
        regions = pooling_regions(
            25, 18, kind=kind, overlap="disjoint", generator=generator
        )
        for a, b in zip(*(part.tolist() for part in regions), strict=True):
            color = DRAWN if b - a == 2 else "white"
            ax.barh(-draw, b - a, 0.7, left=a, color=color, edgecolor=MUTED)
    ax.set(title=kind, yticks=[], xlim=(0, 25), xticks=range(0, 26, 5))
axes[1].set_xlabel("row of the picture; filled: two of them")
plt.show()

# %% [markdown]
# How many different lists of marks are there? Far fewer than phases: squares from 25 to 18 have 17 pseudorandom lists and 12,376 random
# ones ([section 1 of the theory](fractional_max_pooling_theory.ipynb)). See the phase at work:


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: the phase and α
def draw_walk(sizes, phase):
    n_in, n_out = sizes
    S, D = steps_and_distance(n_in, n_out, "square")
    m = np.array(marks_of(S, D, Fraction(phase)))
    i = np.arange(S + 1)
    fig, ax = plt.subplots()
    ax.plot(i, i * D / S + phase, color=MUTED, linewidth=1, label="αi + θ")
    ax.step(i, m, "o-", where="post", color=DRAWN, markersize=4, label="marks m")
    for start in m:
        ax.barh(start + 1, 0.5, height=2, left=-1.2, color=DATA, alpha=0.45, lw=0)
    ax.set(xlabel="region i", ylabel="row of the picture", ylim=(0, n_in))
    ax.set(xlim=(-1.4, S + 0.5), xticks=range(0, S + 1, 2))
    ax.set_title("steps " + " ".join(map(str, steps_of(m))))
    ax.legend(loc="lower right")
    return fig


def describe_walk(sizes, phase):
    n_in, n_out = sizes
    S, D = steps_and_distance(n_in, n_out, "square")
    m = marks_of(S, D, Fraction(phase))
    return (
        f"A staircase of marks below the line of slope {D / S:.2f} that starts at {phase}, for squares from {n_in} to {n_out}: "
        f"marks {', '.join(map(str, m))}. At the left edge the squares, darker where two of them share a row."
    )


explore(
    draw_walk,
    alt=describe_walk,
    sizes=((14, 10), (14, 8), (14, 12)),
    phase=(0.0, 0.2, 0.4, 0.6, 0.8),
)

# %% [markdown]
# <details><summary>What you see</summary>
#
# A larger phase lifts the line, and the twos move to the left, one after the other. For $\alpha$ near one most squares share a row with a
# neighbour, near two hardly any.
#
# </details>
#
# ## 5. How even are they?
#
# **Pseudorandom marks keep within one pixel of an even scaling. Random ones wander.**
#
# In a random order every step is a two with the same probability $(D-S)/S$, so that a step is $\alpha$ on average. For a uniform phase,
# $\lfloor\alpha i+\theta\rfloor$ is on average $\alpha i$ as well. But one of the two never strays by a pixel:
#
# $$ \mathrm E\,m_i=\alpha i\ \text{ (both)},\qquad |m_i-\alpha i|<1\ \text{ (pseudorandom)} \tag{FMP.8} $$
#
# since $m_i\le\alpha i+\theta<m_i+1$. In the cell the fractions are ninths, so that the largest error is $\frac89$.

# %%
S, D = 9, 13
even = torch.arange(S + 1) * D / S
shuffled = torch.tensor([[0, *accumulate(word)] for word in words(S, D)])
check("FMP.8", shuffled.float().mean(0), even, "mean of all 126 random orders")
walks = torch.tensor([marks_of(S, D, phase) for phase in PHASES])
check("FMP.8", walks.float().mean(0), even, "mean over 997 phases", atol=2e-3)
off = walks - even
check("FMP.8", bool((off.abs() < 1).all()), True, "a phase: never a pixel off")
ends = torch.stack((off.min(), off.max()))
check("FMP.8", ends, torch.tensor([-8 / 9, 8 / 9]), "at most 8/9, either way")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "How far the marks of 40 draws are from an even scaling, for disjoint regions from 93 to 62 pixels. Pseudorandom ones stay within a pixel; random ones fan out to as much as seven pixels and come together at both ends."}} tags=["hide-input"]
# @title Forty draws
fig, axes = figures.panels(2, sharey=True)
generator = torch.Generator().manual_seed(0)
for ax, kind in zip(axes, ("pseudorandom", "random"), strict=True):
    starts, stops = pooling_regions(
        93, 62, kind=kind, overlap="disjoint", size=(40,), generator=generator
    )
    m = torch.cat((starts, stops[:, -1:]), 1)
    ax.plot((m - torch.arange(63) * 93 / 62).T, color=DRAWN, lw=0.6, alpha=0.6)
    ax.set(title=kind, xlabel="mark i")
axes[0].set_ylabel("mark − αi (pixels)")
fig.suptitle("From 93 to 62: random regions stretch here and squeeze there")
plt.show()

# %% [markdown]
# Random pooling distorts a picture like rubber, pseudorandom pooling only shivers
# ([section 2 of the theory](fractional_max_pooling_theory.ipynb) computes how much). Which is better for learning, we measure below.

# %% [markdown]
# ## 6. The whole layer
#
# **Pool with stride one, then read the result at the marks. All that is random is the reading.**
#
# The largest of a rectangle is the largest over its rows of the largest in each row. For squares that has a consequence. Let $M_{kl}$ be
# the largest of the four pixels whose upper left one is $(k,l)$: ordinary pooling with stride one. With marks $m$ of the rows and $m'$
# of the columns
#
# $$ y_{ij}=\max_{k\in R_i}\,\max_{l\in C_j}\,x_{kl}=M_{m_i,\,m'_j} \tag{FMP.9} $$
#
# That is a layer of a dozen lines. A phase $\theta=k/S$ with $k$ from $0,\dots,S-1$ is the same draw: the fractional parts of $\alpha i$ are multiples
# of $1/S$, so a mark jumps at such phases only, and all $\theta$ from $k/S$ to $(k+1)/S$ give the same marks. And whole numbers never round:


# %%
class MyFractionalMaxPool2d(nn.Module):
    """(N, C, H, W) → (N, C, n_out, n_out), squares, one draw for the batch."""

    def __init__(self, n_out, kind="pseudorandom"):
        super().__init__()
        self.n_out, self.kind = n_out, kind

    def marks(self, n_in):
        S, D = self.n_out - 1, n_in - 2  # (FMP.4)
        if not S <= D <= 2 * S:
            raise ValueError(f"steps of 1 and 2 do not go from {n_in} to {self.n_out}")
        if self.kind == "random":
            steps = 1 + (torch.randperm(S) < D - S).long()  # (FMP.2)
            return F.pad(steps.cumsum(0), (1, 0))
        k = torch.randint(S, ())  # θ = k / S
        return (torch.arange(S + 1) * D + k) // S  # (FMP.5)

    def forward(self, x):
        rows, columns = (self.marks(n_in) for n_in in x.shape[-2:])
        M = F.max_pool2d(x, 2, stride=1)
        return M[..., rows, :][..., columns]  # (FMP.9)


# %%
def drawn_by(layer, draws=2000):
    """All lists of steps that a layer draws from 13 pixels."""
    return {tuple(steps_of(layer.marks(13).tolist())) for _ in range(draws)}


shuffled = drawn_by(MyFractionalMaxPool2d(9, "random"))
check("FMP.2", shuffled == set(words(8, 11)), True, "random: all 56 orders")
spread = {tuple(steps_of(marks_of(8, 11, phase))) for phase in PHASES}
check("FMP.5", drawn_by(MyFractionalMaxPool2d(9)) == spread, True, "a phase: all 8")

# %%
torch.manual_seed(0)
layer, picture = MyFractionalMaxPool2d(4), torch.tensor(PI).float()[None, None]
outputs = {tuple(layer(picture).flatten().tolist()) for _ in range(200)}
print("different outputs for π in 200 calls:", len(outputs))

# %% [markdown]
# Three lists of marks for the rows times three for the columns.
#
# **Change it.** In the cell above, write `MyFractionalMaxPool2d(5)` for `MyFractionalMaxPool2d(4)`: from six to five.
#
# <details><summary>What happens</summary>
#
# ```text
# different outputs for π in 200 calls: 1
# ```
#
# A picture that loses a single pixel has $S=D=4$: all steps are one. Squares leave nothing to draw, and the last pooling of the paper's
# network, from 3 to 2, is such a one.
#
# </details>
#
# Does it do what PyTorch's layer does? That one draws a $u$ per image, channel and side, and has $\theta=\alpha u-\lfloor\alpha u\rfloor$, small phases more often than large ones
# ([section 4 of the theory](fractional_max_pooling_theory.ipynb)); handed our phase, it must agree. Neighbouring numbers are often equal here,
# so that it matters which of them counts as the largest: PyTorch takes the first, row by row. Each output sends its gradient there, and a
# pixel that won in several regions adds up what it gets:
#
# $$ \frac{\partial L}{\partial x_{kl}}=\sum_{ij\,:\,(k,l)=\operatorname{argmax}_{ij}}\frac{\partial L}{\partial y_{ij}} \tag{FMP.10} $$

# %%
torch.manual_seed(1)
x = torch.randint(0, 4, (1, 1, 26, 25)).double().requires_grad_()  # many ties
mine = MyFractionalMaxPool2d(18)
rows, columns = mine.marks(26), mine.marks(25)
mine.marks = lambda n_in: rows if n_in == 26 else columns  # hold the draw
y = mine(x)

by_region = [[x[0, 0, a : a + 2, b : b + 2].max() for b in columns] for a in rows]
by_region = torch.stack([torch.stack(row) for row in by_region])
check("FMP.9", y[0, 0], by_region, "M at the marks = region by region")
in_rows = torch.stack([x[..., b : b + 2].amax(-1) for b in columns], -1)
both = torch.stack([in_rows[..., a : a + 2, :].amax(-2) for a in rows], -2)
check("FMP.9", y, both, "= one axis after the other")

# %%
g = torch.randn(18, 18, dtype=torch.float64)
expected = torch.zeros(26, 25, dtype=torch.float64)
for (i, a), (j, b) in product(enumerate(rows), enumerate(columns)):
    first = x[0, 0, a : a + 2, b : b + 2].flatten().argmax()  # of equals
    expected[a + first // 2, b + first % 2] += g[i, j]
(mine_grad,) = torch.autograd.grad(y, x, g[None, None])
check("FMP.10", expected, mine_grad[0, 0], "first winners = autograd through M")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The same marks in PyTorch's layer and in the library's
samples = []
for m, n_in in ((columns, 25), (rows, 26)):  # torch's first sample is the columns'
    S, D = 17, n_in - 2
    k = next(k for k in range(S) if marks_of(S, D, Fraction(k, S)) == m.tolist())
    samples.append((k + 0.5) / D)  # θ = αu with u = θ/α, in the middle of its range
samples = torch.tensor(samples, dtype=torch.float64).view(1, 1, 2)
torchs = nn.FractionalMaxPool2d(2, 18, _random_samples=samples)(x)
check("FMP.9", y, torchs, "ours = torch's layer")
(grad,) = torch.autograd.grad(torchs, x, g[None, None])
check("FMP.10", expected, grad[0, 0], "first winners = torch's gradient")
library = fractional_max_pool2d(x, (rows, rows + 2), (columns, columns + 2))
check("FMP.9", y, library, "ours = the library's")
(grad,) = torch.autograd.grad(library, x, g[None, None])
check("FMP.10", expected, grad[0, 0], "first winners = the library's gradient")

# %% [markdown]
# The library's `FractionalMaxPool2d` has all three overlaps, draws for a batch (as here), an image (Graham's program, the default: [section 8 of the experiments](fractional_max_pooling_experiments.ipynb) compares them) or a channel
# (PyTorch), and in evaluation goes on drawing, unless you ask for fixed regions with `deterministic_eval=True`.

# %% [markdown]
# ## 7. Explore
#
# **The same digit, drawn again and again.**
#
# On the left a digit of 25×25 pixels, with lines where regions start; on the right the layer's output. Change the draw.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: a digit pooled by different draws
small = torch.from_numpy(load_digits().images[3]).float()[None, None] / 16
digit = F.interpolate(small, (25, 25), mode="bicubic").clamp(0, 1)[0, 0]


def drawn(kind, overlap, n_out, draw):
    generator = torch.Generator().manual_seed(draw)
    return [
        pooling_regions(25, n_out, kind=kind, overlap=overlap, generator=generator)
        for _ in range(2)
    ]


def draw_digit(kind, overlap, n_out, draw):
    rows, columns = drawn(kind, overlap, n_out, draw)
    fig, (left, right) = figures.panels(2)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1.1}
    left.imshow(digit, **grey)
    left.vlines(columns[0] - 0.5, -0.5, 24.5, color=ODD, lw=0.7)
    left.hlines(rows[0] - 0.5, -0.5, 24.5, color=ODD, lw=0.7)
    right.imshow(fractional_max_pool2d(digit, rows, columns), **grey)
    left.set_title("25×25: where regions start")
    right.set_title(f"{n_out}×{n_out}: the largest of each")
    for panel in (left, right):
        panel.axis("off")
    return fig


def describe_digit(kind, overlap, n_out, draw):
    regions = drawn(kind, overlap, n_out, draw)
    twos = [int((starts.diff() == 2).sum()) for starts, _ in regions]
    return (
        f"A handwritten three of 25 by 25 pixels under the grid of {kind} {overlap} regions, and what pooling to {n_out} "
        f"by {n_out} makes of it, draw {draw}. Of the {n_out - 1} steps from start to start, {twos[0]} down and {twos[1]} to the right are twos."
    )


explore(
    draw_digit,
    alt=describe_digit,
    kind=("pseudorandom", "random"),
    overlap=("disjoint", "square", "interval"),
    n_out=(18, 13, 22),
    draw=(1, 2, 3),
)

# %% [markdown]
# <details><summary>What you see</summary>
#
# Pseudorandom draws shift the digit by a pixel here and there. Random ones make it wider on one side and narrower on the other. Squares
# and intervals thicken the strokes, more so for larger `n_out`.
#
# </details>

# %% [markdown]
# ## 8. Sizes down a network
#
# **Count from the output: six poolings by $\sqrt2$ want a picture of 36×36, twelve by $\sqrt[3]2$ one of 94×94.**
#
# The paper's networks alternate convolutions of 2×2, each of which costs a pixel, with fractional poolings; a last convolution of
# 2×2 makes one pixel of four. Sizes are fixed from that end. Before a pooling to $N_\text{out}$ stands the whole number nearest to
# $\alpha N_\text{out}$. (In this section $\alpha$ is the ratio that one asks for, such as $\sqrt2$, not $D/S$.) Read the other way round, that is
#
# $$ N_\text{in}=\lfloor\alpha N_\text{out}+\tfrac12\rfloor \quad\Rightarrow\quad N_\text{out}=\lfloor N_\text{in}/\alpha+\tfrac12\rfloor \tag{FMP.11} $$
#
# because $|N_\text{in}-\alpha N_\text{out}|\le\frac12$ leaves $N_\text{in}/\alpha$ less than $\frac12$ away from $N_\text{out}$. So a layer
# that is given a ratio finds these sizes again if it *rounds*. The library's does. (PyTorch's `output_ratio` rounds down: 35 by $\sqrt2$
# becomes 24, not 25.)

# %%
ROOT, CUBE = 2 ** (1 / 2), 2 ** (1 / 3)
sizes = list(range(10, 400))
for alpha in (ROOT, CUBE, 1.1):
    ins = [math.floor(alpha * n_out + 0.5) for n_out in sizes]
    off = [abs(n_in - alpha * n_out) for n_in, n_out in zip(ins, sizes, strict=True)]
    check("FMP.11", max(off) < 0.5 + 1e-9, True, f"within ½ of αN_out, α = {alpha:.3f}")
    rounded = [math.floor(n_in / alpha + 0.5) for n_in in range(600)]
    check("FMP.11", [rounded[n_in] for n_in in ins], sizes, "and back to N_out")
    pool = FractionalMaxPool2d(output_ratio=1 / alpha)
    pooled = [pool(torch.zeros(1, n, n)).shape[-1] for n in range(10, 50)]
    check("FMP.11", pooled, rounded[10:50], "the library's layer rounds so")

# %% [markdown]
# With the side $s_l$ after pooling $l$, and one pixel for the convolution before it, walk back from $s_L=2$:
#
# $$ s_{l-1} = \max\bigl(\lfloor\alpha\,s_l+\tfrac12\rfloor,\;s_l+1\bigr)+1 \tag{FMP.12} $$
#
# The maximum matters for ratios near one, where rounding could give $s_l$ itself.


# %%
def sides(layers, alpha):
    """Sides of the picture before the first convolution and after each pooling, (FMP.12)."""
    found = [2]
    for _ in range(layers):
        found.insert(0, max(math.floor(alpha * found[0] + 0.5), found[0] + 1) + 1)
    return found


print(sides(6, ROOT), sides(12, CUBE))
backwards = sides(6, ROOT) + sides(12, CUBE) + sides(5, 1.1)
forwards = []
for alpha, layers, field in ((ROOT, 6, 36), (CUBE, 12, 94), (1.1, 5, 12)):
    x = torch.zeros(1, 1, field, field)
    forwards.append(field)
    for _ in range(layers):
        pool = FractionalMaxPool2d(output_ratio=1 / alpha)
        x = pool(F.conv2d(x, torch.ones(1, 1, 2, 2)))
        forwards.append(x.shape[-1])
check("FMP.12", backwards, forwards, "walked back = three networks run forwards")

# %% [markdown]
# **Change it.** In the cell above, write `print(sides(5, ROOT), sides(12, CUBE))` for `print(sides(6, ROOT), sides(12, CUBE))`.
#
# <details><summary>What happens</summary>
#
# ```text
# [25, 17, 11, 7, 4, 2] [94, 74, 58, 45, 35, 27, 21, 16, 12, 9, 6, 4, 2]
# ```
#
# A picture of 25×25 would do for five poolings. MNIST's 28×28 go into the middle of 36×36 zeros.
#
# </details>

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Side of the picture after each pooling on a log scale: halving falls from 28 to 3 in three steps, six poolings by the square root of two go from 36 to 2, twelve by the cube root from 94 to 2."}} tags=["hide-input"]
# @title Three ways down
fig, ax = plt.subplots()
for name, heights, color in (
    ("halving", [28, 14, 7, 3], FIXED),
    ("by √2", sides(6, ROOT), DRAWN),
    ("by ∛2", sides(12, CUBE), DATA),
):
    ax.plot(heights, "o-", color=color, label=name)
ax.set(xlabel="poolings", ylabel="side (pixels)", yscale="log", xticks=range(0, 13, 2))
ax.set_yticks([2, 5, 10, 20, 50, 90], ["2", "5", "10", "20", "50", "90"])
ax.minorticks_off()
ax.set_title("Smaller steps leave room for more layers")
ax.legend()
plt.show()

# %% [markdown]
# ## 9. It works
#
# **Drawing pays off, the more so once you average.**
#
# The paper's network with three poolings by $\sqrt2$, from 11×11 pixels down to one, on scikit-learn's 8×8 digits, of which it sees 500.
# The arms: your layer, and the same network with *fixed* regions (phase ½, nothing drawn). You do not switch anything in testing: your
# layer goes on drawing, so each pass over the test images gives other answers.


# %%
def network(pool, filters=6):
    layers, channels = [nn.ZeroPad2d((1, 2, 1, 2))], 1  # 8×8 → 11×11
    for n, n_out in enumerate(sides(3, ROOT)[1:], 1):
        layers += [
            nn.Conv2d(channels, filters * n, 2),
            nn.LeakyReLU(1 / 3),
            pool(n_out),
        ]
        channels = filters * n
    head = [nn.Conv2d(channels, 40, 2), nn.LeakyReLU(1 / 3), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(40, 10)).to(device)


# %%
def train(model, updates=800):
    data = Split.load("digits", "train", device).cut(slice(500))
    batches = data.batches(50, torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.04, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, updates)
    for _ in progress(range(updates)):
        images, labels = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


# %% mystnb={"image": {"alt": "Test error on small digits against the number of passes whose probabilities are averaged: with fixed regions a flat line at 15 percent, with drawn regions a curve that starts near it and falls to 8."}} tags=["nbval-ignore-output"]
test = Split.load("digits", "test", device)
pools = {
    "fixed": lambda n_out: experiment.Fixed(n_out, "square"),
    "drawn": MyFractionalMaxPool2d,
}
errors = {}
for (name, pool), color in zip(pools.items(), (FIXED, DRAWN), strict=True):
    torch.manual_seed(0)
    model = train(network(pool))
    with torch.no_grad():
        passes = torch.stack([model(test.images).softmax(-1) for _ in range(16)])
    means = passes.cumsum(0) / torch.arange(1, 17, device=device).view(-1, 1, 1)
    errors[name] = 100 * (means.argmax(-1) != test.labels).float().mean(1).cpu()
    plt.plot(range(1, 17), errors[name], "o-", label=name, color=color)
print("sixteen passes err less:", bool(errors["drawn"][-1] < errors["fixed"][-1]))
plt.gca().set(xlabel="passes averaged", ylabel="test error (%)", ylim=(0, 18))
plt.title("Drawn regions win, the more you average")
plt.legend()
plt.show()

# %% [markdown]
# One pass over drawn regions is a little better than the network with fixed ones; the mean of sixteen has about half of the errors. One seed,
# 397 pictures, one rate for both: a taste of what follows. Why is a mean of passes better than the passes?

# %% [markdown]
# ## 10. Averaging
#
# **The mean of $n$ passes never has a larger loss than they have on average, and in expectation the squared error falls exactly as
# $a+b/n$.**
#
# Each pass draws one network of the ensemble and gives a vector of class probabilities $p$. Let $\bar p_n$ be the mean of $n$ passes
# and $e$ the one-hot label. Squared error (*Brier's score*) and *minus* the logarithm are convex in $p$, so by Jensen's inequality
#
# $$ \lVert\bar p_n-e\rVert^2\le\frac1n\sum_k\lVert p_k-e\rVert^2,\qquad -\log\bar p_{n,\text{label}}\le-\frac1n\sum_k\log p_{k,\text{label}} \tag{FMP.13} $$
#
# How much better? Passes are independent, with mean $\mathrm E\,p$ and covariance $\Sigma$. Split
# $\bar p_n-e=(\bar p_n-\mathrm E\,p)+(\mathrm E\,p-e)$. The cross term has mean zero, and $\bar p_n$ has the covariance $\Sigma/n$:
#
# $$ \mathrm E\,\lVert\bar p_n-e\rVert^2=\lVert\mathrm E\,p-e\rVert^2+\frac{\operatorname{tr}\Sigma}n \tag{FMP.14} $$
#
# Of what averaging can gain over one pass in Brier's score, two passes have half, four three quarters, twelve eleven twelfths. Take four equally likely networks, and
# go through all sequences of up to three passes:

# %%
p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
p, e = p.double(), torch.tensor([1.0, 0, 0]).double()
limit, trace = (p.mean(0) - e).square().sum(), torch.cov(p.T, correction=0).trace()

# %%
gain, spread, nats, kl, measured = [], [], [], [], []
for n in (1, 2, 3):
    passes = torch.stack([p[list(ks)] for ks in product(range(4), repeat=n)])
    mean = passes.mean(1)
    score, scores = (mean - e).square().sum(1), (passes - e).square().sum(2)
    gain.append(scores.mean(1) - score)
    spread.append((passes - mean[:, None]).square().sum(2).mean(1))
    nats.append(mean[:, 0].log() - passes[..., 0].log().mean(1))
    share = passes[..., 0] / passes[..., 0].sum(1, keepdim=True)  # of each pass
    even = torch.full_like(share, 1 / n)
    kl.append(F.kl_div(share.log(), even, reduction="none").sum(1))
    measured.append(score.mean())
law = torch.stack([limit + trace / n for n in (1, 2, 3)])
check("FMP.13", torch.cat(gain), torch.cat(spread), "left less right = a spread, ≥ 0")
check("FMP.13", torch.cat(nats), torch.cat(kl), "right less left = a divergence, ≥ 0")
check("FMP.14", torch.stack(measured), law, "over all sequences: a + b/n")

# %% [markdown]
# Recorded networks obey. Below, from the runs of section 11, Brier's score of trained networks with 1 to 32 passes; the dotted line is computed from the means of one and two passes
# alone:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Brier's score against passes, 1 to 32, five runs of pseudorandom and five of random squares on each data set. All fall steeply at first and flatten from eight passes on; a dotted line computed from one and two passes lies on each bundle to the end."}} tags=["hide-input"]
# @title The law of passes, on recorded networks
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, experiment.DATA_SETS.items(), strict=True):
    rows = experiment.regions(data)
    for kind, color in (("pseudorandom", DRAWN), ("random", ODD)):
        arm = rows[(rows.pooling == kind) & (rows.overlap == "square")]
        n = np.array(arm.curve_passes.iloc[0])
        curves = np.array(arm.curve_brier.to_list())
        figures.every_run(ax, [(n, curve) for curve in curves], kind, color)
        one, two = curves.mean(0)[:2]
        ax.plot(n, 2 * two - one + 2 * (one - two) / n, ":", color=MUTED)
    ax.set(xscale="log", xlabel="passes n", title=name, ylim=(0, None))
    ax.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    ax.minorticks_off()
axes[0].set_ylabel("Brier's score")
axes[0].legend()
fig.suptitle("One and two passes tell what 32 will give")
plt.show()

# %% [markdown]
# The *error rate* has no such law, and averaging may even raise it
# ([section 7 of the theory](fractional_max_pooling_theory.ipynb)).

# %% [markdown]
# ## 11. The paper's numbers
#
# **Drawn regions beat fixed ones; an augmentation beats both.**
#
# The paper reports 0.32% on MNIST with random squares, 32n filters, 60,000 pictures and twelve passes, and no augmentation (32n: 32 filters
# in the first convolution, 64 in the second, and so on); 3.47% on CIFAR-10 with 100 passes and 26.39% on CIFAR-100 with twelve, in networks
# of twelve poolings. Two processor cores afford its MNIST network with 6n filters, 1,000 pictures and 1,000 updates. Every arm but four
# nets has a learning rate of its own. *4 nets* averages four networks with fixed regions; *affine* has fixed regions and stretches, turns
# and shifts every picture at random.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test errors, every run a dot. On MNIST 2\u00d72 and fixed regions lie between 7 and 11 percent, pseudorandom and random ones with twelve passes between 4 and 5, four networks at 5 to 6, affine augmentation at about 4 or below; the paper's 0.32 is a dashed line at the bottom. On Fashion-MNIST 2\u00d72 and fixed regions lie between 18 and 21, pseudorandom ones between 16 and 18, random ones between 16.7 and 19.5, four networks and affine augmentation at 16 to 17."}} tags=["hide-input"]
# @title The paper's comparison, and two rivals
ensembles = sweep(experiment.EXPERIMENTS["ensembles"], "book", device="cpu")
affine = sweep(experiment.EXPERIMENTS["augmentations"], "book", device="cpu")
fig, axes = figures.panels(2)
for ax, (name, data) in zip(axes, experiment.DATA_SETS.items(), strict=True):
    rows = experiment.regions(data).query("overlap == 'square'")
    arms = [
        (rows[rows.pooling == pooling], color)
        for pooling, color in (
            ("max", MUTED),
            ("fixed", FIXED),
            ("pseudorandom", DRAWN),
            ("random", ODD),
        )
    ]
    fixed = affine[(affine.data == data) & (affine.pooling == "fixed")]
    arms += [(ensembles[ensembles.data == data], FIXED), (fixed, FIXED)]
    for place, (runs, color) in enumerate(arms):
        figures.dots(ax, place, runs.vote_error, color)
    names = ["2×2", "fixed", "pseudo", "random", "4 nets", "affine"]
    ax.set_xticks(range(6), names, rotation=40, ha="right")
    ax.set(title=name, ylim=(0, 1.08 * ax.get_ylim()[1]), xlim=(-0.6, 5.6))
figures.paper_line(axes[0], 0.32)
axes[0].legend(loc="lower left")
axes[0].set_ylabel("test error (%)")
fig.suptitle("Drawing helps, and so do the rivals")
plt.show()

# %% [markdown]
# With twelve passes pseudorandom regions beat fixed ones and 2×2 pooling in all ten pairs of runs with the same seed. The paper's
# favourite, random ones, are level with them on MNIST and behind in all five pairs on Fashion-MNIST; after four times as many updates on
# MNIST random regions err on 2.4%, pseudorandom ones on 3.2 (three runs each, random ahead in all three pairs). Four networks are behind
# drawn regions on MNIST and ahead on Fashion-MNIST.
#
# ## 12. What is it worth?
#
# - **Is it the drawing, or the smaller steps?** The drawing: with fixed regions the network is 0.7 points behind one that halves on MNIST, and 0.8 ahead on Fashion-MNIST ([section 1 of the experiments](fractional_max_pooling_experiments.ipynb)).
# - **One pass only?** Train with draws, then use fixed regions: 6.6±0.6% on MNIST (mean and deviation over five runs), against 9.3±1.3 of a network trained with fixed ones ([section 2 of the experiments](fractional_max_pooling_experiments.ipynb)).
# - **Overlapping regions win** clearly where they are random, by 1.9 points on MNIST and 2.4 on Fashion-MNIST; pseudorandom ones gain nothing on MNIST and up to 1.8 on Fashion-MNIST ([section 3 of the experiments](fractional_max_pooling_experiments.ipynb)).
# - **Random before pseudorandom**, as the paper says, on MNIST if you train longer; dropout costs every network that draws ([sections 4 and 5 of the experiments](fractional_max_pooling_experiments.ipynb)).
# - **A fair rival** is augmentation of the pictures: it is ahead in all six pairs ([section 7 of the experiments](fractional_max_pooling_experiments.ipynb)).
#
# **When to use it:** a small plain network without batch norm, few pictures, no augmentation that you trust; a dozen passes affordable, or one with fixed regions. Take squares, a draw per image, `FractionalMaxPool2d(n_out)`, and no dropout beside it. **When not:** in the small network with batch norm and parallel branches that we tried the gain was within the scatter, though half as many predictions change when a picture moves by a pixel as with 2×2 pooling
# ([section 9 of the experiments](fractional_max_pooling_experiments.ipynb)). **What came after:** convolutions with stride two and residual networks took over; what lives on is subsampling with care: blur before it ([Zhang 2019](https://arxiv.org/abs/1904.11486)), or learn the stride ([Riad et al. 2022](https://arxiv.org/abs/2202.01653)).

# %% [markdown]
# ## 13. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(field)`: it prints "right", or raises with what is wrong. Harder
# ones are on [the theory page](fractional_max_pooling_theory.ipynb).
#
# **1 (calculation).** Which pictures would a network of `layers` poolings by `alpha` take if its convolutions were padded, so that they
# cost no pixel, and the last pooling left `last` pixels a side? Return the side of the picture.


# %% tags=["exercise-1"]
def field(layers: int, alpha: float, last: int) -> int:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(field):
    cases = (6, ROOT, 2), (3, 1.6, 7), (5, 1.1, 2), (12, CUBE, 3), (20, 1.1, 2)
    for layers, alpha, last in cases:
        answer, side = field(layers, alpha, last), last
        for _ in range(layers):
            fits = [
                n for n in range(side + 1, 2 * side + 1) if round(n / alpha) == side
            ]
            side = min(fits or [side + 1], key=lambda n: (abs(n - alpha * side), -n))
        assert answer == side, (
            f"{layers} layers, α {alpha:.3f}: {answer}, expected {side}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# (FMP.12) without the pixel of the convolution.
#
# ```python
# def field(layers, alpha, last):
#     for _ in range(layers):
#         last = max(math.floor(alpha * last + 0.5), last + 1)
#     return last
# ```
#
# </details>
#
# **2 (variation).** For disjoint regions $M$ of section 6 is no help: their sizes differ. Write the layer for them, given the marks
# of the rows and columns (the last one is the size of the picture), without a loop over outputs.
# Hint: a disjoint region is a square unless its step is one; then its second row is its first.


# %% tags=["exercise-2"]
def disjoint(x, rows, columns):
    """x (*, H, W), marks (n_rows + 1,) and (n_columns + 1,) -> (*, n_rows, n_columns)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(disjoint):
    x = torch.randn(2, 3, 13, 11, generator=torch.Generator().manual_seed(0))
    for word, other in zip(words(9, 13)[::21], words(6, 11), strict=True):
        rows, columns = (torch.tensor([0, *accumulate(w)]) for w in (word, other))
        cut = [x[..., a:b, :].amax(-2) for a, b in pairwise(rows)]
        cut = torch.stack(cut, -2)
        cut = [cut[..., c:d].amax(-1) for c, d in pairwise(columns)]
        expected = torch.stack(cut, -1)
        answer = disjoint(x, rows, columns)
        assert answer.shape == expected.shape, f"shape {tuple(answer.shape)}"
        assert torch.equal(answer, expected), f"wrong for the steps {word} and {other}"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# Read first and second row of every region, and take the larger; then the same for the columns.
#
# ```python
# def disjoint(x, rows, columns):
#     x = torch.maximum(x[..., rows[:-1], :], x[..., rows[1:] - 1, :])
#     return torch.maximum(x[..., columns[:-1]], x[..., columns[1:] - 1])
# ```
#
# </details>
#
# **3 (implementation).** Pool in three dimensions: x of shape $(*,T,H,W)$, with regions for each axis, by two calls of the library's
# `fractional_max_pool2d`. Hint: regions of one pixel, $[k,k+1)$, are allowed as well.


# %% tags=["exercise-3"]
def fractional_max_pool3d(x, depth, rows, columns):
    """x (*lead, T, H, W); each of the regions is (starts, stops) -> (*lead, n_depth, n_rows, n_columns)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(fractional_max_pool3d):
    x = torch.randn(2, 3, 7, 9, 11, generator=torch.Generator().manual_seed(0))
    for overlap in OVERLAPS:
        regions = [
            pooling_regions(n, out, kind="random", overlap=overlap)
            for n, out in ((7, 5), (9, 6), (11, 7))
        ]
        expected = torch.empty(2, 3, 5, 6, 7)
        spans = [[slice(a, b) for a, b in zip(*axis, strict=True)] for axis in regions]
        for t, i, j in product(range(5), range(6), range(7)):
            part = x[..., spans[0][t], spans[1][i], spans[2][j]]
            expected[..., t, i, j] = part.amax((-3, -2, -1))
        answer = fractional_max_pool3d(x, *regions)
        assert answer.shape == expected.shape, f"shape {tuple(answer.shape)}"
        assert torch.equal(answer, expected), (
            f"{overlap}: not the largest of the regions"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# The maximum separates, (FMP.9). Pool rows and columns, then fold them into one axis and pool the depth, with regions of one along that
# axis.
#
# ```python
# def fractional_max_pool3d(x, depth, rows, columns):
#     flat = fractional_max_pool2d(x, rows, columns)
#     k = torch.arange(flat.shape[-1] * flat.shape[-2])
#     pooled = fractional_max_pool2d(flat.flatten(-2), depth, (k, k + 1))
#     return pooled.unflatten(-1, flat.shape[-2:])
# ```
#
# </details>
#
# **4 (experiment).** Which overlap changes least when the picture moves? Pool `digit`, 25×25, to 18×18 with the phases
# $(k+\frac12)/17$, $k=0,\dots,16$, the same for rows and columns; pool the digit moved by one pixel to the right (zeros come in) with
# the *same* regions; return the mean over the phases of $\lVert y-y'\rVert/\lVert y\rVert$. Guess first.


# %% tags=["exercise-4"]
def change(overlap: str) -> float:
    """How much the pooled `digit` changes, for one kind of overlap."""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(change):
    moved = torch.cat((torch.zeros(25, 1), digit[:, :-1]), 1)
    found = dict.fromkeys(OVERLAPS, 0.0)
    for overlap, k in product(OVERLAPS, range(17)):
        regions = pooling_regions(25, 18, overlap=overlap, phase=(k + 0.5) / 17)
        starts, stops = (part.tolist() for part in regions)
        inside = [range(a, b) for a, b in zip(starts, stops, strict=True)]
        y, y_moved = (
            torch.stack(
                [torch.stack([p[r][:, c].max() for c in inside]) for r in inside]
            )
            for p in (digit, moved)
        )
        found[overlap] += float((y - y_moved).norm() / y.norm()) / 17
    for overlap, expected in found.items():
        answer = change(overlap)
        assert abs(answer - expected) < 1e-6, (
            f"{overlap}: {answer}, expected {expected}"
        )
    print("right:", " > ".join(sorted(found, key=found.get, reverse=True)))


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# The ratio falls from disjoint regions to intervals. But on a smooth digit the change itself is nearly the same for all three: larger
# regions make the *result brighter*.
#
# ```python
# def change(overlap):
#     moved = F.pad(digit, (1, -1))
#     ratios = []
#     for k in range(17):
#         regions = pooling_regions(25, 18, overlap=overlap, phase=(k + 0.5) / 17)
#         y, y_moved = (fractional_max_pool2d(p, regions, regions) for p in (digit, moved))
#         ratios.append(float((y - y_moved).norm() / y.norm()))
#     return sum(ratios) / len(ratios)
# ```
#
# </details>

# %% [markdown]
# ## 14. Symbols
#
# | symbol | in the library | shape | equation |
# |---|---|---|---|
# | $x$, $y$ | `x`, the result | $(*,N_\text{in},N_\text{in})$, $(*,N_\text{out},N_\text{out})$ | (FMP.1) |
# | $R_i$, $C_j$ | `rows`, `columns` | starts and stops, $(N_\text{out},)$ each | (FMP.1) |
# | $m_i$, $S$, $D$ | `marks`, `steps`, `distance` | $(S+1,)$, numbers | (FMP.2) |
# | $\alpha$, $\theta$ | –, `phase` | numbers; $\alpha=D/S$ | (FMP.4), (FMP.5) |
# | $M$ | – | $(*,N_\text{in}-1,N_\text{in}-1)$ | (FMP.9) |
# | $s_l$ | `layer_sizes` | number | (FMP.12) |
# | $p_k$, $\bar p_n$, $e$ | `probabilities` | (passes, images, classes), (classes,) | (FMP.13) |
# | $\Sigma$ | – | (classes, classes) | (FMP.14) |
