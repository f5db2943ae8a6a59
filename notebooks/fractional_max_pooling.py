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
# # Fractional Max-Pooling: regions drawn at random
#
# **Pooling regions of one and two pixels, drawn anew each time, shrink a picture by any factor between one and two.
# The draw is an augmentation inside the network, and one training gives an ensemble: average over draws.**
#
# Paper: Graham, *Fractional Max-Pooling*, 2014 ([arXiv 1412.6071](https://arxiv.org/abs/1412.6071)).
#
# The paper, its summaries, the author's code, PyTorch and TensorFlow disagree on where regions end, what overlapping
# means and what shares a draw. You derive which sequences are valid, how many there are and how far they wander, turn
# the maximum into a picture that is read at random places, and settle the disagreements one by one. Then you train the
# paper's network in all its variants and find out what the randomness is good for. You need PyTorch and
# backpropagation. Reading takes about an hour; running every cell takes half a minute on a laptop.
#
# [Open in
# Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/fractional_max_pooling.ipynb)
# · [source of the layer](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/fractional_max_pooling.py)
#
# The first cell installs the package where it is missing (on Colab, say) and never touches the PyTorch that is there.
# Every tagged equation is followed by code that computes both of its sides by different routes: `check` compares them
# and prints ✓, or stops the notebook. Tags with an E are *wrong* equations, printed somewhere or easily read into what
# is printed: `refute` prints ✗ once it has shown that they are wrong. A table of symbols stands at the end.

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

# %%
import inspect
import math
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise, product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from workedpapers import fractional_max_pooling as module
from workedpapers.experiments import fractional_max_pooling as experiment
from workedpapers.fractional_max_pooling import (
    FractionalMaxPool2d,
    fractional_max_pool2d,
    pooling_regions,
)
from workedpapers.lab import (
    check,
    explore,
    figures,
    refute,
    scoreboard_table,
    setup,
    sweep,
)
from workedpapers.lab.timing import saved_bytes

device = setup(seed=0)

# %% [markdown]
# ## 1. The problem in numbers
#
# **Max-pooling halves a picture. Three poolings make a 64th of it. What if you want to shrink by less than two?**
#
# Here is one row of a picture, ten numbers wide. Max-pooling of size two takes pairs:

# %%
row = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
print([max(row[k : k + 2]) for k in range(0, 10, 2)])

# %% [markdown]
# Five are left. After two more poolings there is one number, so a network with this layer has few layers. To go from
# ten to *seven* instead, cut the row into seven pieces, some of one number and some of two. Four ones and three twos
# add up to ten. Which pieces should be the long ones? Nothing decides it. So draw them. Three of the possible draws:

# %%
for steps in ([1, 2, 1, 2, 1, 2, 1], [2, 1, 1, 2, 1, 1, 2], [2, 2, 2, 1, 1, 1, 1]):
    marks = np.cumsum([0, *steps])
    pieces = [row[a:b] for a, b in pairwise(marks)]
    print(steps, "→", pieces, "→", [max(piece) for piece in pieces])

# %% [markdown]
# Do this to the rows and to the columns of a picture, with new pieces for every picture and every layer (section 10:
# for whom exactly): that is fractional max-pooling. Stochastic pooling, which came before it, keeps the regions and
# picks a random number of each region. Here the *regions* are random and what is taken from each is its largest
# number.
#
# Two questions are open already. The three draws keep different numbers: how far may the pieces wander before the
# picture is distorted? And pieces that overlap, as Graham prefers them, share numbers: how does one draw those?

# %% [markdown]
# ## 2. Regions
#
# **A region starts one or two steps after its neighbour; three ways to end it give three different layers.**
#
# An $N_\text{in}\times N_\text{in}$ picture $x$ becomes an $N_\text{out}\times N_\text{out}$ picture $y$. Along the
# rows there are intervals $R_0,\dots,R_{N_\text{out}-1}$, along the columns $C_0,\dots,C_{N_\text{out}-1}$, and
#
# $$ y_{ij} = \max_{k\in R_i,\;l\in C_j} x_{kl} \tag{FMP.1} $$
#
# All intervals of one axis come from a list of *marks*. Start at zero and take $S$ steps, each of one or two, until
# you have gone the distance $D$. Such a list of steps is called a *word*. How many of its steps are twos is settled:
#
# $$ m_0=0,\quad m_{i+1}-m_i\in\{1,2\},\quad m_S=D \quad\Rightarrow\quad D-S \text{ twos and } 2S-D \text{ ones} \tag{FMP.2} $$
#
# because the two numbers add up to $S$, and twice the one plus the other to $D$. Such marks exist for $S\le D\le 2S$.
#
# Three ways to make intervals of them are in use: *disjoint*, *square*, and *interval*. Half-open, counted from zero,
# they are in this order
#
# $$ R_i = [m_i,\,m_{i+1}),\qquad [m_i,\,m_i+2),\qquad [m_i,\,m_{i+1}+1) \tag{FMP.3} $$
#
# *Disjoint* regions are the pieces of section 1. *Squares* all have two rows and two columns, and one starts at every
# mark; the author's code and PyTorch have these. *Intervals* are what the formula of the paper says for overlapping
# regions, with the mark at both ends: two or three wide, neighbours share a line. The paper's text and its code call
# squares overlapping, its formula says intervals. These are two layers, so here they have two names.
#
# How many steps does each need, and how far do they go? Disjoint regions and intervals lie *between* two marks, so
# $N_\text{out}$ of them take $S=N_\text{out}$ steps. A square needs only the mark where it starts, so there are $S+1$.
# And the last region must end where the picture ends, at $N_\text{in}$: a disjoint one ends at its mark, a square two
# past it, an interval one past it.
#
# $$ (S,\,D) = (N_\text{out},\,N_\text{in}),\qquad (N_\text{out}-1,\,N_\text{in}-2),\qquad (N_\text{out},\,N_\text{in}-1) \tag{FMP.4} $$
#
# With these, every pixel lies in a region and no region sticks out. (Squares: neighbours start at most two apart, so
# they leave no gap.) The ratio $\alpha=D/S$ is the mean step. For $N_\text{out}<N_\text{in}<2N_\text{out}$ all three
# pairs satisfy $S\le D\le 2S$. Where a picture loses a single pixel, from 4 to 3 say, squares and intervals have
# $S=D$: all steps are one, and nothing is left to chance.
#
# In the library, `pooling_regions(n_in, n_out, kind=…, overlap=…)` returns starts and stops along one axis, and
# `fractional_max_pool2d(x, rows, columns)` pools the last two axes of `x`. The cell draws regions from it, and builds
# all words of ones and twos for a small case by itself.

# %%
RULES = {
    "disjoint": lambda n_in, n_out: (n_out, n_in),
    "square": lambda n_in, n_out: (n_out - 1, n_in - 2),
    "interval": lambda n_in, n_out: (n_out, n_in - 1),
}


def words(S, D):
    """All lists of S steps of one or two that add up to D."""
    return [word for word in product((1, 2), repeat=S) if sum(word) == D]


def regions_of(word, overlap):
    """Regions as ranges, from a word of steps."""
    marks = [0, *accumulate(word)]
    if overlap == "disjoint":
        return [range(a, b) for a, b in pairwise(marks)]
    if overlap == "square":
        return [range(a, a + 2) for a in marks]
    return [range(a, b + 1) for a, b in pairwise(marks)]


S, D = 9, 13
found = {(word.count(2), word.count(1)) for word in words(S, D)}
check(
    "FMP.2",
    found == {(D - S, 2 * S - D)},
    True,
    "every word of 9 steps to 13: 4 twos, 5 ones",
)
reached = [distance for distance in range(25) if words(S, distance)]
check(
    "FMP.2",
    reached,
    [*range(S, 2 * S + 1)],
    "nine steps reach 9 to 18 and nothing else",
)

n_in, n_out = 13, 9
for overlap, rule in RULES.items():
    every = [regions_of(word, overlap) for word in words(*rule(n_in, n_out))]
    covered = {frozenset(k for r in regions for k in r) for regions in every}
    check(
        "FMP.4", covered == {frozenset(range(n_in))}, True, f"{overlap}: all is covered"
    )
    check(
        "FMP.4",
        {len(regions) for regions in every} == {n_out},
        True,
        f"{overlap}: nine regions",
    )
    starts, stops = pooling_regions(n_in, n_out, kind="random", overlap=overlap)
    drawn = [range(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
    check(
        "FMP.3",
        drawn in every,
        True,
        f"{overlap}: what the library draws is one of them",
    )

x = torch.randn(13, 13, dtype=torch.float64)
rows = pooling_regions(13, 9, kind="random", overlap="interval")
columns = pooling_regions(13, 9, kind="random", overlap="interval")
R, C = (
    [slice(a, b) for a, b in zip(*regions, strict=True)] for regions in (rows, columns)
)
y = torch.stack([torch.stack([x[r, c].max() for c in C]) for r in R])
check(
    "FMP.1",
    y,
    fractional_max_pool2d(x, rows, columns),
    "the definition = the library's pooling",
)

# %% [markdown]
# ## 3. Pseudorandom regions
#
# **One number, the phase, places all steps as evenly as whole numbers allow. Both ends fit for every phase.**
#
# *Random* regions put the twos anywhere: all words are equally likely. The alternative is to spread them. Walk with
# the constant step $\alpha=D/S$ from a starting point $\theta$, the *phase*, and round down:
#
# $$ m_i = \lfloor \alpha i + \theta \rfloor, \qquad 0\le\theta<1 \tag{FMP.5} $$
#
# Regions with these marks are called *pseudorandom*; mathematicians know the marks as a Beatty sequence. Are they
# marks in the sense of (FMP.2)? The steps are right: for $\alpha$ strictly between one and two
#
# $$ m_{i+1}-m_i \in \{\lfloor\alpha\rfloor,\;\lceil\alpha\rceil\} = \{1,2\} \tag{FMP.6} $$
#
# *Proof.* Write $\alpha i+\theta=m_i+f$ with $0\le f<1$. The next mark is $m_{i+1}=m_i+\lfloor f+\alpha\rfloor$. Since
# $\alpha\le f+\alpha<\alpha+1$, its floor is at least $\lfloor\alpha\rfloor$, and at most $\lceil\alpha\rceil$: a
# whole number below $\alpha+1$ cannot exceed $\lceil\alpha\rceil$. $\blacksquare$
#
# (For $\alpha=1$ all steps are one.) The ends fit too, whatever the phase:
#
# $$ m_0=\lfloor\theta\rfloor=0, \qquad m_S=\lfloor D+\theta\rfloor=D \tag{FMP.7} $$
#
# No clipping, no forcing of the last mark. That is why this chapter uses the phase, and not the paper's form, which
# counts from one and rounds up: $a_i=\lceil\alpha(i+u)\rceil$ with "some $u\in(0,1)$". There the first mark is right
# only for some $u$, and for those the marks are those of a phase just below $\alpha u$: for all small $\varepsilon>0$
#
# $$ a_0=1 \iff 0<u\le\tfrac1\alpha, \qquad\text{and then}\quad a_i-1=\lfloor\alpha i+\alpha u-\varepsilon\rfloor \tag{FMP.8} $$
#
# $a_0=\lceil\alpha u\rceil$ is one exactly where $0<\alpha u\le1$. The second part is
# $\lceil z\rceil-1=\lfloor z-\varepsilon\rfloor$, which holds for every $z$ once $\varepsilon$ is small: for whole $z$
# both sides are $z-1$. For disjoint regions $a_{N_\text{out}}=\lceil N_\text{in}+\alpha u\rceil=N_\text{in}+1$. The
# paper says that the sequence ends with $N_\text{in}$; section 16 shows what is lost if it does.
#
# The paper's own examples are for 25 to 18. The cell computes with fractions, where nothing is rounded.


# %%
def marks_of(S, D, phase):
    """Eq. (FMP.5) in exact arithmetic."""
    return [math.floor(Fraction(D, S) * i + phase) for i in range(S + 1)]


phases = [Fraction(k, 1000) for k in range(1000)] + [1 - Fraction(1, 10**9)]
for overlap, rule in RULES.items():
    S, D = rule(25, 18)
    every = [marks_of(S, D, phase) for phase in phases]
    steps = {b - a for marks in every for a, b in pairwise(marks)}
    check("FMP.6", steps == {1, 2}, True, f"{overlap}: steps of one and two")
    ends = {(marks[0], marks[-1]) for marks in every}
    check("FMP.7", ends == {(0, D)}, True, f"{overlap}: both ends fit for 1,001 phases")
    ours = [
        pooling_regions(25, 18, overlap=overlap, phase=float(phase))[0].tolist()
        for phase in phases[:1000]
    ]
    exact = [marks_of(S, D, Fraction(float(phase)))[:18] for phase in phases[:1000]]
    check("FMP.5", np.array(ours), np.array(exact), f"{overlap}: the library's starts")

alpha = Fraction(25, 18)
first_is_one, agree = [], []
for u in [Fraction(k, 1000) for k in range(1, 1000)] + [1 / alpha]:
    paper = [math.ceil(alpha * (i + u)) for i in range(19)]
    first_is_one.append((paper[0] == 1) == (u <= 1 / alpha))
    just_below = alpha * u - Fraction(1, 10**9)
    agree.append(
        u > 1 / alpha or [a - 1 for a in paper] == marks_of(18, 25, just_below)
    )
check(
    "FMP.8", all(first_is_one), True, "the paper's sequence starts at one iff u ≤ 1/α"
)
check("FMP.8", all(agree), True, "and then it has a phase just below αu")

PAPER = ["112112121121211212", "212112121121121211", "211211212112121121"]
beatty = {
    "".join(str(b - a) for a, b in pairwise(marks_of(18, 25, phase)))
    for phase in phases
}
check("FMP.5", beatty.issuperset(PAPER), True, "the paper's three pseudorandom words")

# %% [markdown]
# ## 4. How many patterns?
#
# **Five against three million, for disjoint regions from 35 to 25: pseudorandom regions know few patterns, and each is
# as likely as any other.**
#
# The phase is a real number, the marks are whole. How many different words are there? Divide $iD$ by $S$ with
# remainder, $iD=q_iS+r_i$. Then $\alpha i+\theta=q_i+\frac{r_i}S+\theta$, and its floor is $q_i$ or one more:
#
# $$ m_i = q_i + \bigl[\,r_i\ge t\,\bigr], \qquad t=\lceil S(1-\theta)\rceil\in\{1,\dots,S\} \tag{FMP.9} $$
#
# ($[\cdot]$ is one if the condition holds, else zero.) The phase acts only through the whole number $t$, and a uniform
# phase makes all $S$ values of $t$ equally likely. This is how the library draws and how it computes (FMP.5) without
# ever rounding a fraction. The remainders $r_i$ are the multiples of $g=\gcd(S,D)$ below $S$, each of them once in
# every $S/g$ steps. Thresholds $t<t'$ give the same word if no remainder lies in $t,\dots,t'-1$, that is, no multiple
# of $g$. So $kg+1,\dots,(k+1)g$ belong together, and the $S$ thresholds fall into $S/g$ groups of $g$:
#
# $$ \#\text{pseudorandom} = \frac{S}{\gcd(S,D)}, \qquad \#\text{random} = \binom{S}{D-S} \tag{FMP.10} $$
#
# All words of one kind are equally likely, so the logarithm to base two is what one draw takes in bits.

# %%
for overlap, rule in RULES.items():
    found, formula, drawn, binomial = [], [], [], []
    for sizes in ((25, 18), (35, 25), (24, 17), (16, 11), (10, 7), (3, 2)):
        S, D = rule(*sizes)
        found.append(
            len({tuple(marks_of(S, D, Fraction(2 * k + 1, 2 * S))) for k in range(S)})
        )
        formula.append(S // math.gcd(S, D))
        if S < 17:
            drawn.append(len(words(S, D)))
            binomial.append(math.comb(S, D - S))
    check("FMP.10", found, formula, f"{overlap}: number of pseudorandom patterns")
    check("FMP.10", drawn, binomial, f"{overlap}: number of random patterns")

S, D = 18, 25
by_threshold = [
    [i * D // S + (i * D % S >= math.ceil(S * (1 - phase))) for i in range(S + 1)]
    for phase in phases
]
exact = [marks_of(S, D, phase) for phase in phases]
check(
    "FMP.9",
    np.array(by_threshold),
    np.array(exact),
    "quotients and a threshold = the floor",
)
thresholds = [math.ceil(S * (1 - Fraction(2 * k + 1, 36_000))) for k in range(18_000)]
check(
    "FMP.9",
    np.bincount(thresholds)[1:],
    np.full(18, 1000),
    "a uniform phase: thresholds alike",
)


def patterns(n_in, n_out, kind, overlap):
    """Eq. (FMP.10)."""
    S, D = RULES[overlap](n_in, n_out)
    return math.comb(S, D - S) if kind == "random" else S // math.gcd(S, D)


sizes = experiment.layer_sizes(
    layers=6, roots=2
)  # the paper's network for MNIST, section 8, section 8
table = pd.DataFrame(
    {
        (overlap, kind): [patterns(*size, kind, overlap) for size in sizes]
        for overlap in RULES
        for kind in ("pseudorandom", "random")
    },
    index=[f"{n_in} → {n_out}" for n_in, n_out in sizes],
)
bits = np.log2(table.astype(float)).sum().mul(2).round(0).astype(int)
table.loc["bits, both axes, all layers"] = bits
table

# %% [markdown]
# Each column counts the patterns of one axis of one layer, for the six poolings of the paper's network on MNIST. (Its
# example of 25 to 18, disjoint, has 18 against 31,824.) Over both axes and six layers a random network draws about
# three to four times as many bits as a pseudorandom one. Section 15 asks whether bits explain what is learned.

# %% [markdown]
# ## 5. The author's code, and PyTorch's
#
# **Both re-anchor the sequence, so every $u$ works. But a uniform $u$ is not a uniform phase.**
#
# The author's program, and PyTorch after it, keep $u$ and subtract what is too much:
#
# $$ m_i = \lfloor\alpha(i+u)\rfloor-\lfloor\alpha u\rfloor = \lfloor\alpha i+\theta\rfloor, \qquad \theta=\alpha u-\lfloor\alpha u\rfloor \tag{FMP.11} $$
#
# (write $\alpha u=\lfloor\alpha u\rfloor+\theta$ and pull the whole number out of the floor). So the sample $u$ of
# PyTorch is our phase $\theta$, the fractional part of $\alpha u$. If $u$ is uniform in $(0,1)$, as in PyTorch, then
# $\alpha u$ is uniform in $(0,\alpha)$ with density $1/\alpha$. A phase below $\alpha-1$ is reached twice, from
# $\theta$ and from $1+\theta$, any other once:
#
# $$ p(\theta) = \tfrac2\alpha \;\text{ for }\theta<\alpha-1, \qquad p(\theta)=\tfrac1\alpha \;\text{ for }\theta>\alpha-1 \tag{FMP.12} $$
#
# Some patterns are drawn twice as often as others. The bias is small (the author's program of 2015 drew $u$ from
# $(0,10000)$, where it is next to nothing), but a draw from 25 to 18 takes the full $\log_2 18=4.17$ bits only with a
# uniform phase.

# %%
alpha = Fraction(23, 17)  # squares from 25 to 18
same, u_grid = [], [Fraction(2 * k + 1, 4000) for k in range(2000)]
for u in u_grid:
    anchored = [math.floor((i + u) * alpha) - math.floor(u * alpha) for i in range(18)]
    same.append(anchored == marks_of(17, 23, u * alpha - math.floor(u * alpha)))
check("FMP.11", all(same), True, "re-anchored = a phase, in exact arithmetic")

u = torch.rand(200, dtype=torch.float64)
picture = (
    torch.arange(625.0).view(1, 1, 25, 25).double()
)  # the largest of a square is its last
samples = torch.stack((u, u), 1).unsqueeze(1)
last = nn.FractionalMaxPool2d(2, 18, _random_samples=samples)(
    picture.expand(200, -1, -1, -1)
)
torchs = (last[:, 0, :, 0] // 25 - 1).long()
ours = [pooling_regions(25, 18, phase=float(p) % 1)[0] for p in u * float(alpha)]
check(
    "FMP.11",
    torch.stack(ours),
    torchs,
    "the starts of torch's regions, read off a picture",
)

edges = [Fraction(k, 20) for k in range(21)]
theta = [u * alpha - math.floor(u * alpha) for u in u_grid]
counted = [sum(t <= edge for t in theta) / 2000 for edge in edges]
law = [float((2 * min(e, alpha - 1) + max(0, e - (alpha - 1))) / alpha) for e in edges]
check(
    "FMP.12",
    np.array(counted),
    np.array(law),
    "share of phases below an edge",
    atol=2e-3,
)
entropy = {}
disjoint = [u * Fraction(25, 18) - math.floor(u * Fraction(25, 18)) for u in u_grid]
for name, phase in (("uniform u", disjoint), ("uniform phase", u_grid)):
    share = pd.Series([tuple(marks_of(18, 25, p)) for p in phase]).value_counts(
        normalize=True
    )
    entropy[name] = float(-(share * np.log2(share)).sum())
print({name: round(value, 2) for name, value in entropy.items()}, "bits")  # disjoint

# %% [markdown]
# ## 6. How far do regions wander?
#
# **Pseudorandom marks stay within one pixel of an even scaling. Random marks wander like a bridge, farther in larger
# pictures: an elastic distortion.**
#
# On average both kinds are the same even scaling. In a random word every step is a two with the same probability
# $q=(D-S)/S$, so a step is $1+q=\alpha$ on average. For pseudorandom marks, let $f$ be the fractional part of
# $\alpha i$. The mark is $\lfloor\alpha i\rfloor$, plus one if $f+\theta\ge1$, which has probability $f$. So both have the
# first of these, and pseudorandom marks the other two:
#
# $$ \mathrm E\,m_i=\alpha i, \qquad |m_i-\alpha i|<1, \qquad \operatorname{Var} m_i=f(1-f)\le\tfrac14 \tag{FMP.13} $$
#
# The phase $\frac12$ rounds $\alpha i$ to the nearest whole number (halves go up): the fixed regions that the
# library's layer uses in evaluation with `deterministic_eval=True`.
#
# A random word has no such bound. How many of its first $i$ steps are twos? Think of an urn with $S$ balls, $D-S$ of
# them twos, and draw $i$ without putting back: a hypergeometric number, whose variance is that of $i$ independent
# draws times the correction $\frac{S-i}{S-1}$ for not putting back,
#
# $$ \operatorname{Var} m_i = \frac{i\,(S-i)}{S-1}\;q\,(1-q) \qquad\text{(random)} \tag{FMP.14} $$
#
# This is for $S\ge2$; with a single step there is no choice. It is zero at both ends, which are fixed, and largest in
# the middle, where the deviation is about $\frac12\sqrt{S\,q(1-q)}$: a random walk that is tied down at both ends,
# which is called a bridge. From 25 to 18 that is a pixel; at twice the size, 1.4 times as much.

# %%
S, D = 9, 13
every = np.array([[0, *accumulate(word)] for word in words(S, D)])
beatty = np.array([marks_of(S, D, Fraction(2 * k + 1, 2 * S)) for k in range(S)])
i = np.arange(S + 1)
q, f = (D - S) / S, i * D % S / S
check("FMP.13", every.mean(0), i * D / S, "mean of all random words")
check("FMP.13", beatty.mean(0), i * D / S, "mean of all pseudorandom words")
check("FMP.13", beatty.var(0), f * (1 - f), "variance of all pseudorandom words")
check("FMP.13", bool((abs(beatty - i * D / S) < 1).all()), True, "never one pixel off")
check(
    "FMP.14",
    every.var(0),
    i * (S - i) / (S - 1) * q * (1 - q),
    "variance of random words",
)
farthest = []
for n_in, n_out in ((13, 9), (12, 8), (25, 18), (35, 25)):
    fixed = pooling_regions(n_in, n_out, overlap="disjoint", phase=0.5)[0].tolist()
    farthest += [abs(m - Fraction(n_in, n_out) * k) for k, m in enumerate(fixed)]
check(
    "FMP.13",
    max(farthest),
    Fraction(1, 2),
    "phase 1/2 is at most half a pixel off, halves included",
)
middle = math.sqrt(9 * 9 / 17 * (7 / 18) * (11 / 18))
print(f"random marks in the middle of 25 → 18: ± {middle:.2f} pixels")

# %% [markdown]
# What does that do to a picture? The paper's figure 2 pools a photograph six times by $\sqrt2$, with *average* instead
# of maximum so that you can recognise it. Here is a drawn one. Averaging over regions is a matrix from the left and
# one from the right; applied to the pixels' coordinates they tell where each pixel of the result comes from.


# %% mystnb={"image": {"alt": "Three pictures of two rings on a chequerboard: the original of 256 by 256 pixels and two of 32 by 32. After six pseudorandom poolings the rings are coarse but round. After six random poolings they are visibly deformed, some squares are stretched and others nearly gone."}}
def averages(n_in, n_out, kind):
    """The matrix that averages over disjoint regions, (n_out, n_in)."""
    starts, stops = pooling_regions(n_in, n_out, kind=kind, overlap="disjoint")
    k = torch.arange(n_in)
    inside = (starts[:, None] <= k) & (k < stops[:, None])
    return inside / inside.sum(1, keepdim=True)


side = 256
across = (torch.arange(side) + 0.5) / side * 2 - 1
radius = torch.sqrt(across[:, None] ** 2 + across**2)
drawing = ((across * 6).floor()[:, None] + (across * 6).floor()) % 2 * 0.5
drawing = torch.where((radius - 0.75).abs() < 0.06, 1.0, drawing)
drawing = torch.where((radius - 0.35).abs() < 0.05, 0.8, drawing)

torch.manual_seed(3)
shrunk, offsets = {}, {}
for kind in ("pseudorandom", "random"):
    picture, origin = drawing, torch.arange(side).float()
    for _ in range(6):
        n_in = len(picture)
        rows, columns = (averages(n_in, round(n_in / 2**0.5), kind) for _ in range(2))
        picture, origin = rows @ picture @ columns.T, rows @ origin
    even = (torch.arange(len(origin)) + 0.5) * side / len(origin) - 0.5
    shrunk[kind], offsets[kind] = picture, (origin - even).abs().max()

fig, panels = figures.panels(3)
panels[0].imshow(drawing, cmap="gray")
panels[0].set_title(f"{side}×{side} pixels")
for panel, (kind, picture) in zip(panels[1:], shrunk.items(), strict=True):
    panel.imshow(picture, cmap="gray")
    panel.set_title(f"{len(picture)}×{len(picture)}, {kind}")
for panel in panels:
    panel.axis("off")
fig.suptitle("Six random poolings deform the rings; pseudorandom ones keep them round")
plt.show()
for kind, offset in offsets.items():
    print(f"{kind}: rows moved by up to {float(offset):.0f} of {side} pixels")

# %% [markdown]
# Lines along the axes stay straight, since all columns of a picture use the same row marks; but shapes are stretched
# here and squeezed there. A learner hardly ever sees the same ring twice. Over six layers the variances add up.

# %% [markdown]
# ## 7. The maximum
#
# **Every fractional pooling over squares reads one and the same picture, at other places.**
#
# The maximum over a product of intervals can be taken one axis at a time,
#
# $$ \max_{k\in R,\;l\in C} x_{kl} = \max_{k\in R}\;\max_{l\in C}\;x_{kl} \tag{FMP.15} $$
#
# For squares this has a consequence. Let $M_{kl}$ be the largest of the four pixels of the square that starts at
# $(k,l)$: ordinary max-pooling with stride *one*, no randomness in it. Then $y_{ij}=M_{m_i,m'_j}$ with the marks $m$
# of the rows and $m'$ of the columns. A random pooling is a random *reading* of $M$; which rows and columns of $M$ are
# left out is all that chance decides. The library computes it this way: first $M$ along each axis, for all places at
# once, which needs no index; then, for each output, which row won, which column in it, and its value.
#
# *The way back.* Each output sends its gradient to the pixel that it came from. A pixel that won in several
# overlapping regions gets several gradients. With $\operatorname{argmax}_{ij}$ for the winner of the region
# $R_i\times C_j$:
#
# $$ \frac{\partial L}{\partial x_{kl}} = \sum_{ij:\;(k,l)\,=\,\operatorname{argmax}_{ij}} \frac{\partial L}{\partial y_{ij}} \tag{FMP.16} $$
#
# Which pixel is the winner where several are equal? After a ReLU, regions of zeros are common, so this is not idle.
# PyTorch scans a region row by row and keeps the first maximum. To find the same pixel one axis at a time, you must go
# *along the row first*: find the first largest of each row, then the first row with the largest. The other order picks
# another pixel in the square with the rows 0 1 and 1 0.

# %%
generator = torch.Generator().manual_seed(0)
x = (
    torch.randint(0, 4, (1, 1, 25, 25), generator=generator).double().requires_grad_()
)  # many ties
u_rows, u_columns = torch.rand(2, generator=generator, dtype=torch.float64)
torchs = nn.FractionalMaxPool2d(  # torch's samples are those of the columns first
    2, 18, _random_samples=torch.stack((u_columns, u_rows)).view(1, 1, 2)
)(x)
marks = [
    torch.tensor(marks_of(17, 23, Fraction(float(u)) * alpha % 1))
    for u in (u_rows, u_columns)
]
M = F.max_pool2d(x, 2, stride=1)
check(
    "FMP.15",
    M[..., marks[0], :][..., marks[1]],
    torchs,
    "stride-one pooling, read at the marks",
)
in_rows = torch.stack([x[..., m : m + 2].amax(-1) for m in marks[1]], -1)
both = torch.stack([in_rows[..., m : m + 2, :].amax(-2) for m in marks[0]], -2)
check("FMP.15", both, torchs, "one axis after the other")

g = torch.randn(18, 18, generator=generator, dtype=torch.float64)
expected = torch.zeros(25, 25, dtype=torch.float64)
for i, j in product(range(18), repeat=2):
    square = [
        (marks[0][i] + a, marks[1][j] + b) for a, b in product(range(2), repeat=2)
    ]
    winner = max(
        square, key=lambda place: x[0, 0, place[0], place[1]].item()
    )  # the first one
    expected[winner] += g[i, j]
(theirs,) = torch.autograd.grad(torchs, x, g[None, None])
check(
    "FMP.16",
    theirs[0, 0],
    expected,
    "to the first winner of each region: torch's gradient",
)
rows, columns = ((m, m + 2) for m in marks)
(ours,) = torch.autograd.grad(fractional_max_pool2d(x, rows, columns), x, g[None, None])
check("FMP.16", ours[0, 0], expected, "= the library's")
tie = torch.tensor([[0.0, 1], [1, 0]])
row_first = (tie.amax(1).argmax().item(), tie[tie.amax(1).argmax()].argmax().item())
column_first = (
    tie[:, tie.amax(0).argmax()].argmax().item(),
    tie.amax(0).argmax().item(),
)
print("along the row first:", row_first, " along the column first:", column_first)

# %% [markdown]
# ## 8. Sizes
#
# **Count from the output: six poolings by $\sqrt2$ need a picture of 36×36, twelve by $\sqrt[3]2$ one of 94×94.**
#
# The paper's networks alternate convolutions of 2×2, which cost one pixel, with fractional poolings, and end with a
# convolution of 2×2 on a picture of 2×2 pixels. The author fixes the sizes from the end. In this section $\alpha$ is
# the ratio that is *asked for*, such as $\sqrt2$; before a pooling by $\alpha$ to $N_\text{out}$ stands the whole
# number nearest to $\alpha N_\text{out}$. Read the other way:
#
# $$ N_\text{in}=\lfloor\alpha N_\text{out}+\tfrac12\rfloor \quad\Rightarrow\quad N_\text{out}=\lfloor N_\text{in}/\alpha+\tfrac12\rfloor \tag{FMP.17} $$
#
# *Proof.* $|N_\text{in}-\alpha N_\text{out}|\le\frac12$, so
# $|N_\text{in}/\alpha-N_\text{out}|\le\frac1{2\alpha}<\frac12$: the nearest whole number to $N_\text{in}/\alpha$ is
# $N_\text{out}$. $\blacksquare$ So a layer that is given the ratio must *round*. PyTorch's `output_ratio` rounds down,
# and 35 becomes 24 instead of 25.
#
# Let $s_l$ be the side after pooling $l$ and $s_0$ the picture's; a convolution takes $s_{l-1}$ to $s_{l-1}-1$, and
# the pooling that to $s_l$. From $s_L=2$ walk back. (The maximum matters only for ratios near one, where rounding
# could give $s_l$ itself.) The results are $s_0=36$ for $\alpha=\sqrt2$, $L=6$ and $s_0=94$ for $\alpha=\sqrt[3]2$,
# $L=12$. A picture of a pixel more or less ends in one pixel too, since every pooling rounds; these are the author's
# sizes.
#
# $$ s_{l-1} = \max\bigl(\lfloor\alpha s_l+\tfrac12\rfloor,\,s_l+1\bigr)+1 \tag{FMP.18} $$

# %%
for roots in (2, 3):
    ratio = 2 ** (1 / roots)
    outs = range(3, 400)
    n_ins = [math.floor(ratio * n + 0.5) for n in outs]
    check(
        "FMP.17",
        [math.floor(n / ratio + 0.5) for n in n_ins],
        [*outs],
        f"{roots}. root of two",
    )

for first, layers, roots in ((36, 6, 2), (94, 12, 3)):
    sides = [2]
    while len(sides) <= layers:
        s = sides[0]
        sides.insert(0, max(math.floor(2 ** (1 / roots) * s + 0.5), s + 1) + 1)
    check("FMP.18", sides[0], first, f"{layers} poolings by the {roots}. root of two")
    x, seen = torch.zeros(1, 1, first, first), [first]
    for _ in range(layers):
        x = FractionalMaxPool2d(output_ratio=2 ** (-1 / roots))(nn.Conv2d(1, 1, 2)(x))
        seen.append(x.shape[-1])
    check("FMP.18", seen, sides, "and the sides of a network that is run forwards")

# %% [markdown]
# ## 9. What overlapping adds
#
# **For the same sizes, an output sees about $\alpha^2$, 4 or $(\alpha+1)^2$ pixels.**
#
# Add up the widths of all regions of an axis and divide by their number:
#
# $$ \frac1{N_\text{out}}\sum_i|R_i| = \frac{N_\text{in}}{N_\text{out}},\qquad 2,\qquad \frac{N_\text{in}-1}{N_\text{out}}+1 \tag{FMP.19} $$
#
# for disjoint regions, squares and intervals. In two dimensions these are squared: for $\sqrt2$ about 2, 4 and 5.8
# pixels for one output. So the three differ in how much they *blur*, and not only in whether they overlap: a maximum
# over more pixels of dense noise varies less from place to place. (Not so for smooth strokes, as exercise 6 shows, nor
# for sparse bright dots, which a maximum makes larger.) Some summaries read *overlapping* as regions of 3×3; an
# interval is three wide only where its step is two.

# %%
widths = {}
for overlap in RULES:
    drawn = [pooling_regions(35, 25, kind="random", overlap=overlap) for _ in range(20)]
    widths[overlap] = {int((stops - starts).sum()) for starts, stops in drawn}
expected = {"disjoint": {35}, "square": {2 * 25}, "interval": {34 + 25}}
check(
    "FMP.19",
    [*widths.values()] == [*expected.values()],
    True,
    "sum of widths, in any draw",
)

# %% [markdown]
# ## 10. Who shares a draw?
#
# **One draw for a batch, for an image or for a channel. The last moves feature maps against each other.**
#
# TensorFlow draws one pair of regions for a whole batch, the author's code one for each image and shares it among the
# channels, PyTorch one for each image *and* channel. Does it matter? Follow one output down to the picture: output $i$
# of the last of $L$ layers starts at mark $m^{(L)}_i$ of the layer below, that at mark $m^{(L-1)}$ of *that* number,
# and so on; a convolution of 2×2 in between leaves the start where it is. With pseudorandom marks, each less than one
# from its even place,
#
# $$ \bigl|\,m^{(1)}_{m^{(2)}_{\ddots m^{(L)}_i}} - \alpha_1\cdots\alpha_L\,i\,\bigr| < 1+\alpha_1+\alpha_1\alpha_2+\dots+\alpha_1\cdots\alpha_{L-1} \tag{FMP.20} $$
#
# *Proof.* By induction from the top. If the place in layer $l$ is off by less than $e$, the mark there is off by less
# than $\alpha_le$, plus less than one for its own rounding. $\blacksquare$
#
# Random marks have no bound that holds for every size. If all $\alpha_l$ are $\alpha$, the geometric sum is below
# $\alpha^L/(\alpha-1)$: an output, which stands for $\alpha^L$ pixels, is off by less than $\frac1{\alpha-1}$ of its
# own size, 2.4 for $\sqrt2$. When all channels move together, the picture is distorted as a whole, and the channels
# still agree on the place. With a draw for each channel the next convolution adds up pixels that belong to different
# places. Section 15 measures what that costs.
#
# The cell tries all patterns of two layers with unlike ratios, to see that the bound is tight enough to tell the order
# of the factors, and then draws for the first five layers of the paper's network. (From 3 to 2 squares are not
# random.)


# %%
def farthest_of_two(lower, upper):
    """Largest error of squares after two layers, over all pairs of pseudorandom patterns, and the slopes."""
    (n_in, n_mid), (_, n_out) = lower, upper
    slopes = Fraction(n_in - 2, n_mid - 1), Fraction(n_mid - 2, n_out - 1)
    below = {
        tuple(marks_of(n_mid - 1, n_in - 2, Fraction(2 * k + 1, 2 * n_mid - 2)))
        for k in range(n_mid - 1)
    }
    above = {
        tuple(marks_of(n_out - 1, n_mid - 2, Fraction(2 * k + 1, 2 * n_out - 2)))
        for k in range(n_out - 1)
    }
    off = max(
        abs(a[b[i]] - slopes[0] * slopes[1] * i)
        for a in below
        for b in above
        for i in range(n_out)
    )
    return off, slopes


off, (alpha_1, alpha_2) = farthest_of_two((60, 31), (31, 25))
check(
    "FMP.20", off < 1 + alpha_1, True, "all patterns of two layers stay within 1 + α₁"
)
check("FMP.20", off > 1 + alpha_2, True, "which is tight: 1 + α₂ would be too little")

errors, spreads = [], []
generator = torch.Generator().manual_seed(0)
ratios = [(n_in - 2) / (n_out - 1) for n_in, n_out in sizes[:5]]
for _ in range(200):
    place = torch.arange(sizes[4][1])
    for n_in, n_out in reversed(sizes[:5]):
        place = pooling_regions(n_in, n_out, generator=generator)[0][place]
    errors.append(
        (place - math.prod(ratios) * torch.arange(sizes[4][1])).abs().max().item()
    )
    spreads.append(place[2].item())
bound = sum(math.prod(ratios[:layer]) for layer in range(5))
check(
    "FMP.20",
    max(errors) < bound,
    True,
    "no output of five layers is farther off than the bound",
)
print(
    f"bound {bound:.1f} pixels, farthest of 200 draws {max(errors):.1f}; output 2 started at "
    f"{min(spreads)} to {max(spreads)}"
)

# %% [markdown]
# ## 11. Averaging over passes
#
# **Regions are drawn in testing too. The mean of $n$ passes has no larger loss than the passes have on average, and
# the expected squared error is exactly $a+b/n$.**
#
# A trained network with random regions is many networks. Each pass over the test image draws one of them and gives a
# vector of class probabilities $p$. The paper averages over a dozen passes. Write $\bar p_n$ for the mean of $n$
# passes and $e$ for the one-hot label. Both usual losses are convex in $p$, so by Jensen's inequality the mean is
# never worse than the passes are on average:
#
# $$ \lVert\bar p_n-e\rVert^2 \le \frac1n\sum_k\lVert p_k-e\rVert^2, \qquad -\log\bar p_{n,\text{label}} \le -\frac1n\sum_k\log p_{k,\text{label}} \tag{FMP.21} $$
#
# For the squared error (Brier's score) you know how much better. The passes are independent draws with mean
# $\mathrm E\,p$ and covariance $\Sigma$. In $\bar p_n-e=(\bar p_n-\mathrm E\,p)+(\mathrm E\,p-e)$ the cross term has
# mean zero, and $\bar p_n$ has the covariance $\Sigma/n$:
#
# $$ \mathrm E\,\lVert\bar p_n-e\rVert^2 = \lVert\mathrm E\,p-e\rVert^2 + \frac{\operatorname{tr}\Sigma}{n} \tag{FMP.22} $$
#
# So two passes get half of all that can be gained, four three quarters, twelve eleven twelfths. The *error rate* has
# no such law: it counts how often the largest entry is the wrong one, and averaging can even raise it. Of the passes
# (0.51, 0.49), (0.51, 0.49) and (0, 1) with label 0, two are right, and their mean is wrong. Section 15 fits the same
# form to it all the same. The cell goes through all sequences of three passes out of four equally likely networks.

# %%
p = torch.tensor(
    [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]]
).double()
e = torch.tensor([1.0, 0, 0]).double()
scores, gains, spreads, logs = {}, [], [], []
for n in (1, 2, 3):
    chosen = torch.stack(
        [p[list(ks)] for ks in product(range(4), repeat=n)]
    )  # (sequences, n, 3)
    means = chosen.mean(1)
    brier = (means - e).square().sum(1)
    scores[n] = brier.mean()
    gains.append((chosen - e).square().sum(2).mean(1) - brier)
    spreads.append((chosen - means[:, None]).square().sum(2).mean(1))
    logs.append((means[:, 0].log() - chosen[:, :, 0].log().mean(1)).min() > -1e-12)
gains, spreads = torch.cat(gains), torch.cat(spreads)
check(
    "FMP.21",
    gains,
    spreads,
    "squared error: the gain is the spread of the members, so never negative",
)
check(
    "FMP.21",
    all(logs),
    True,
    "logarithm: no sequence is worse than its members on average",
)
limit, trace = (p.mean(0) - e).square().sum(), torch.cov(p.T, correction=0).trace()
expected = torch.stack([limit + trace / n for n in (1, 2, 3)])
check("FMP.22", torch.stack([*scores.values()]), expected, "over all draws: a + b/n")
curves = experiment.by_passes(p[:, None, :], torch.tensor([0]))
pairs = torch.stack(
    [(p[:2].mean(0) - e).square().sum(), (p[2:].mean(0) - e).square().sum()]
)
check(
    "FMP.22",
    curves["curve_brier"][1],
    pairs.mean(),
    "what the experiments record for n = 2",
)

# %% [markdown]
# ## 12. From equation to implementation
#
# **Pool at every place, then look up three numbers for each output. Two bytes an output are kept.**
#
# The heart of the library follows (FMP.15). For one axis it walks through the candidates of a region, first to last;
# `larger` is one where a candidate beats what was found so far. Places in a plane are numbered row by row, so "one
# further down" is one `stride` further on and the candidates are the same numbers, read from another start. (The last
# place of a row is so compared with the first of the next, which is wrong. But no region sticks out, so nobody reads
# it.) `spare` and `within` are memory to work in:

# %%
print(inspect.getsource(module._largest_from))

# %% [markdown]
# Three details. A comparison that writes 0 or 1 as floating point runs several times faster than one that writes
# booleans. Regions of unequal widths put $-\infty$ in place of what lies beyond them. And a NaN counts as larger than
# anything, the later one of two: that is what PyTorch's kernel does, and a NaN in the input should be seen.
#
# The forward pass calls this along the rows, then along the columns of the result, and traces each output back: which
# row won, and in that row which column. The sum of both offsets is all that the backward pass needs, a 16-bit number
# for each output (32 bits in very wide pictures), beside the starts of the regions. PyTorch keeps a 64-bit index for
# each, and the input. On a CPU, in float32 and float64, values and gradients are PyTorch's bit by bit, on pictures
# with many equal pixels too:

# %%
generator = torch.Generator().manual_seed(1)
x = torch.randint(-3, 4, (8, 3, 35, 35), generator=generator).float()
x = torch.where(
    x.abs() < 2, torch.copysign(torch.zeros(()), x), x
).requires_grad_()  # ±0 too
samples = torch.rand(8, 3, 2, generator=generator, dtype=torch.float64).float()
theirs = nn.FractionalMaxPool2d(2, 25, _random_samples=samples)(x)
phases = [
    [float(u) * 33 / 24 % 1 for u in pair] for pair in samples.view(-1, 2).double()
]
columns, rows = (
    tuple(torch.stack(part).view(8, 3, 25) for part in zip(*axis, strict=True))
    for axis in zip(
        *(tuple(pooling_regions(35, 25, phase=p) for p in pair) for pair in phases),
        strict=True,
    )
)
ours = fractional_max_pool2d(x, rows, columns)
bits = [y.detach().view(torch.int32) for y in (ours, theirs)]
check("FMP.1", *bits, "24 pairs of draws, one per channel: every bit of torch's values")
g = torch.randn(ours.shape, generator=generator)
gradients = [torch.autograd.grad(y, x, g)[0].view(torch.int32) for y in (ours, theirs)]
check("FMP.16", *gradients, "every bit of torch's gradients, summed in the same order")

kept = {
    name: saved_bytes(lambda f=f: f(x)) / ours.numel()
    for name, f in (
        ("torch", nn.FractionalMaxPool2d(2, 25)),
        ("ours", FractionalMaxPool2d(25)),
    )
}
print(
    {
        name: f"{count:.1f} bytes an output kept for the backward pass"
        for name, count in kept.items()
    }
)

# %% [markdown]
# *Cost.* The direct way compares three times per output of a square. Pooling at every place compares about
# $N_\text{in}^2$ pairs along each axis, and takes the larger of each pair as well: with
# $N_\text{in}/N_\text{out}=\sqrt2$ eight operations per output, but on contiguous numbers, of which a processor does
# eight or sixteen at a time. Section 17 measures.

# %% [markdown]
# ## 13. Explore
#
# **See the regions, and what they do to a digit.**
#
# On the left a digit of 25×25 pixels with a line where each region starts; pixels that several regions share are
# lighter. On the right what comes out. Start with disjoint pseudorandom regions and change the draw: the digit
# shivers. Then take random ones. Squares and intervals thicken the strokes, the more so the smaller $\alpha$.

# %% tags=["hide-input"]
small = torch.from_numpy(load_digits().images[3]).float()[None, None] / 16
digit = F.interpolate(small, (25, 25), mode="bicubic").clamp(0, 1)[0, 0]


def drawn(kind, overlap, n_out, draw):
    if kind == "random":
        generator = torch.Generator().manual_seed(draw)
        return [
            pooling_regions(25, n_out, kind=kind, overlap=overlap, generator=generator)
            for _ in range(2)
        ]
    phases = (draw / 3 - 0.2, (draw / 3 + 0.2) % 1)
    return [
        pooling_regions(25, n_out, overlap=overlap, phase=phase) for phase in phases
    ]


def draw_grid(kind, overlap, n_out, draw):
    regions = drawn(kind, overlap, n_out, draw)
    counts = []
    for starts, stops in regions:
        k = torch.arange(25)
        counts.append(((starts[:, None] <= k) & (k < stops[:, None])).sum(0))
    shared = torch.outer(counts[0], counts[1])
    fig, (left, right) = figures.panels(2)
    left.imshow(digit + 0.08 * (shared - 1), cmap="gray", vmin=0, vmax=1.3)
    left.vlines(regions[1][0] - 0.5, -0.5, 24.5, color=figures.COLORS["wrong"], lw=0.7)
    left.hlines(regions[0][0] - 0.5, -0.5, 24.5, color=figures.COLORS["wrong"], lw=0.7)
    right.imshow(fractional_max_pool2d(digit, *regions), cmap="gray", vmin=0, vmax=1.3)
    left.set_title("25×25: where regions start")
    right.set_title(f"{n_out}×{n_out}: their maxima")
    for panel in (left, right):
        panel.axis("off")
    return fig


def describe_grid(kind, overlap, n_out, draw):
    twos = [
        int((starts.diff() == 2).sum())
        for starts, _ in drawn(kind, overlap, n_out, draw)
    ]  # between starts
    return (
        f"A handwritten three of 25 by 25 pixels under the grid of {kind} {overlap} regions, and what pooling to {n_out} "
        f"by {n_out} makes of it, draw {draw}. Of the {n_out - 1} steps from start to start, {twos[0]} down and {twos[1]} to the right are twos."
    )


explore(
    draw_grid,
    alt=describe_grid,
    kind=("pseudorandom", "random"),
    overlap=("disjoint", "square", "interval"),
    n_out=(18, 13, 22),
    draw=(1, 2, 3),
)

# %% [markdown]
# Second, the walks of section 6: how far the marks of a draw are from the even scaling $\alpha i$. Grey lines are
# draws, the coloured band is one standard deviation as (FMP.13) and (FMP.14) say. Pseudorandom walks are sawteeth that
# never leave $\pm1$. Random ones are bridges: tied at both ends, and wider for larger pictures. In a picture of a
# given size they wander most for an $\alpha$ between 1.4 and 1.5, where ones and twos are about equally many.

# %% tags=["hide-input"]
WALKS = {
    "25 → 18": (25, 18),
    "35 → 25": (35, 25),
    "93 → 74": (93, 74),
    "93 → 62": (93, 62),
    "93 → 48": (93, 48),
}


def walks(kind, sizes):
    n_in, n_out = WALKS[sizes]
    generator = torch.Generator().manual_seed(0)
    starts, stops = pooling_regions(
        n_in, n_out, kind=kind, overlap="disjoint", size=(40,), generator=generator
    )
    marks = torch.cat((starts, stops[:, -1:]), 1).numpy()
    i = np.arange(n_out + 1)
    q, f = (n_in - n_out) / n_out, i * n_in % n_out / n_out
    variance = (
        f * (1 - f)
        if kind == "pseudorandom"
        else i * (n_out - i) / (n_out - 1) * q * (1 - q)
    )
    return i, marks - i * n_in / n_out, np.sqrt(variance)


def draw_walks(kind, sizes):
    i, off, deviation = walks(kind, sizes)
    fig, ax = plt.subplots()
    ax.plot(i, off.T, color=figures.COLORS["muted"], lw=0.5, alpha=0.5)
    ax.fill_between(
        i, -deviation, deviation, color=figures.COLORS["learned"], alpha=0.35
    )
    ax.set(xlabel="mark i", ylabel="mark − αi (pixels)", ylim=(-7, 7))
    ax.set_title(f"{kind}, {sizes}: up to {abs(off).max():.1f} pixels off")
    return fig


def describe_walks(kind, sizes):
    _, off, deviation = walks(kind, sizes)
    return (
        f"Forty draws of {kind} disjoint regions, {sizes}: how far each mark is from the even scaling. The farthest "
        f"is {abs(off).max():.1f} pixels off; the standard deviation is at most {deviation.max():.2f} pixels."
    )


explore(
    draw_walks, alt=describe_walks, kind=("random", "pseudorandom"), sizes=tuple(WALKS)
)

# %% [markdown]
# ## 14. Run it
#
# **On MNIST, pseudorandom regions with a dozen passes halve the errors of fixed ones; on Fashion-MNIST they save two
# points. Random regions need longer training.**
#
# First live: the paper's network with three poolings on the 8×8 digits of scikit-learn, in a field of 11×11. One seed
# and 397 test pictures, a taste of what follows.

# %% tags=["nbval-ignore-output"]
config = experiment.Training(
    "digits",
    filters=8,
    layers=3,
    updates=400,
    train_size=1_400,
    test_size=397,
    passes=12,
)
for pooling in ("fixed", "pseudorandom", "random"):
    row = experiment.train(replace(config, pooling=pooling), 0, device)
    print(
        f"{pooling:12} one pass {row['test_error']:.1f}%, twelve {row['vote_error']:.1f}%, "
        f"training pictures {row['train_error']:.1f}%"
    )

# %% [markdown]
# Now the paper's comparison, from recorded rows: its network for MNIST, six poolings by $\sqrt2$, on MNIST and on
# Fashion-MNIST, in all variants. What we can afford on two processor cores is small: 6n filters in the n-th
# convolution (the paper has 32n), 1,000 training pictures, 1,000 updates of 50 pictures each, that is, 50 epochs.
# Errors are on the first 2,000 test pictures, in percent, mean ± standard deviation over three seeds. *One pass* is
# the mean over all passes, each judged alone; *twelve* averages the probabilities of twelve. (Squares without dropout
# have 32 passes, of which two groups of twelve count; the other arms have twelve.)
#
# All arms have the same convolutions. *Fixed* regions have the phase ½, in training too. The arm with ordinary pooling
# by two has one pooling after every second convolution, so that it ends in one pixel as well.
#
# Learning rate: one for all arms, 0.02. It was searched on Fashion-MNIST with a seed of its own, 0.01, 0.02 and 0.04
# for four arms. Those without draws hardly care, those with draws have lower validation errors the larger the rate, at
# 0.04 by about half a point. But with 0.04 a network with fixed regions diverges on MNIST. So the rate is the largest
# that works for all, and a little low for the arms with drawn regions:

# %% tags=["hide-input"]
search = sweep(experiment.SEARCH, "book", device="cpu")
arms = search.pooling + ", dropout " + search.dropout.map("{:g}".format)
table = search.assign(arm=arms).pivot(
    index="arm", columns="learning_rate", values="validation_vote"
)
unstable = sweep(experiment.UNSTABLE, "book", device="cpu")
print(
    f"MNIST, fixed, rate 0.04: {int((~np.isfinite(unstable.loss)).sum())} of {len(unstable)} runs diverged"
)
table.round(1)

# %% [markdown]
# The comparison:

# %% tags=["hide-input"]
runs = {
    data: pd.concat(
        [sweep(table, "book", device="cpu") for table in experiment.TABLES[data]]
    )
    for data in ("MNIST", "Fashion-MNIST")
}
ARMS = {"2×2 with stride two": ("max", "square")} | {
    f"{pooling}, {overlap}": (pooling, overlap)
    for pooling in ("fixed", "pseudorandom", "random")
    for overlap in RULES
}


def mean_and_spread(values, metric):
    """Mean ± standard deviation over seeds: errors with one digit, losses (in nats) with two."""
    digits = 2 if metric.endswith("nats") else 1
    return f"{values.mean() + 1e-9:.{digits}f} ± {values.std():.{digits}f}"


def compare(metrics, dropout=0.0, arms=ARMS):
    """One row an arm: metrics on both data sets."""
    table = {}
    for data, rows in runs.items():
        rows = (
            rows[rows.dropout == dropout].set_index(["pooling", "overlap"]).sort_index()
        )
        for metric, label in metrics.items():
            table[data, label] = {
                name: mean_and_spread(rows.loc[arm, metric], metric)
                for name, arm in arms.items()
            }
    return pd.DataFrame(table)


work = runs["MNIST"].groupby("pooling").multiplications.first()
print(f"multiplications, halving over the others: {work['max'] / work['random']:.2f}")
compare({"test_error": "one pass", "vote_error": "twelve"})

# %% [markdown]
# Two things stand out. Drawing regions is worth a lot: with twelve passes pseudorandom squares have half the errors of
# the same network with fixed regions on MNIST, and two points less on Fashion-MNIST. And overlapping regions beat
# disjoint ones. But *random* regions, which the paper finds best where nothing else regularises, are behind
# pseudorandom ones on both data sets. Section 15 comes back to this.
#
# What the table does not equalise: the arm that halves needs 1.6 times the multiplications of a pass of the others,
# which are asked twelve times. And an ensemble of networks, or a classical augmentation with averaging in testing,
# would be fair rivals; they were not run.

# %%
scoreboard_table(experiment.scoreboard())

# %% [markdown]
# (*Below 0* and *above 0* are signs that the paper's findings would give these differences; it has them from larger
# networks and partly from other data sets. 0.32% is its result with random overlapping regions on all of MNIST: 36×36,
# 32n filters, twelve passes, no augmentation. Its best numbers on natural images, 3.47% on CIFAR-10 with 100 passes
# and 26.39% on CIFAR-100 with twelve, belong to networks of 94×94 with twice as many layers and up to 27 times our
# filters in each; they are not run here. `experiment.PAPER` has such configurations, for a GPU, and
# `workedpapers.tasks.cifar` reads CIFAR-10.)
#
# ## 15. Questions the reviews left open
#
# **Fresh regions act like an augmentation that the network draws for itself, and it takes an average over passes to
# collect the gain. How much randomness is best depends on what else there is, and on how long you train.**
#
# ### Why do overlapping regions win?
#
# The paper reports that overlapping regions win and gives no reason. One suspicion: they are less sensitive to where
# exactly a picture lies. Move each test picture by one pixel to the right (its last column is lost), keep the regions
# of the draw, and count the predictions of one pass that change. Beside it, the loss of one pass over training
# pictures:

# %% tags=["hide-input"]
compare(
    {"flips": "flips (%)", "train_nats": "training loss", "vote_error": "error, twelve"}
)

# %% [markdown]
# It goes the right way: from disjoint regions over squares to intervals fewer predictions flip, in the mean over seeds
# of all arms but one. But that cannot be all. With *random* regions overlap matters most: from disjoint regions to
# intervals the error falls by 2.3 points on MNIST and 3.4 on Fashion-MNIST, against 0.9 and 1.6 with pseudorandom and
# 0.7 and 1.4 with fixed ones. And where regions are drawn, disjoint ones have the highest training loss. So look at
# what a draw does. A disjoint region has one, two or four pixels, as chance will have it, and the maximum of four is
# larger than that of one: the draw adds noise to every number that comes out. A square has four pixels in every draw.
# The cell pools 100 pictures, each with 64 draws, and prints how much the results vary over draws, in units of how
# much they vary over pictures:

# %% tags=["hide-input"]
digits = torch.from_numpy(load_digits().images[:100]).float()[:, None] / 16
generator = torch.Generator().manual_seed(0)
pictures = {
    "digits": F.interpolate(digits, (25, 25), mode="bicubic").clamp(0, 1)[:, 0],
    "dense noise": torch.rand(100, 25, 25, generator=generator),
    "sparse dots": (torch.rand(100, 25, 25, generator=generator) < 0.05).float(),
}
table = {}
for name, stack in pictures.items():
    for kind in ("pseudorandom", "random"):
        for overlap in RULES:
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
            ratio = pooled.var(0).mean() / pooled.mean(0).var(0).mean()
            table.setdefault((name, kind), {})[overlap] = f"{float(ratio):.2g}"
pd.DataFrame(table)

# %% [markdown]
# For smooth strokes the three are alike. For dense noise and for sparse dots the ratio is about half as large for
# overlapping regions. Whether feature maps are like these, and whether it is this noise that costs accuracy, we have
# not tested. Nor is the number of pixels the whole story: intervals have four, six or nine. The answer that we can
# support: overlapping regions are a little steadier when a picture moves, and quieter when regions are drawn.
#
# ### Random or pseudorandom, and what does dropout do to it?
#
# Summaries of the paper say that random pooling may underfit when it is combined with dropout, and the author's later
# scripts use pseudorandom regions with strong dropout. Here is dropout of 0.25 before the last layer (of single
# activations, rising linearly with depth), on both data sets:

# %% tags=["hide-input"]
SQUARES = {name: arm for name, arm in ARMS.items() if arm[1] == "square"}
pd.concat(
    {
        f"dropout {dropout:g}": compare(
            {"train_nats": "training loss", "vote_error": "error, twelve"},
            dropout,
            SQUARES,
        )
        for dropout in (0.0, 0.25)
    }
)

# %% [markdown]
# On Fashion-MNIST dropout costs every arm, and those with drawn regions most. On MNIST it helps the networks without
# draws, and there pseudorandom regions stay ahead of fixed ones with it, random ones do not. More of it, on
# Fashion-MNIST:

# %% mystnb={"image": {"alt": "Two panels for fixed, pseudorandom and random squares on Fashion-MNIST, one line for each dropout 0, 0.25 and 0.5. Left, the training loss of one pass rises from fixed to random and with dropout, from 0 to about 1.1 nats. Right, the test error with twelve passes: without dropout it is lowest for pseudorandom regions, 17.5 percent; with dropout it rises from fixed to random, to about 38 percent with large spread."}} tags=["hide-input"]
squares = pd.concat(
    [runs["Fashion-MNIST"], sweep(experiment.HEAVY, "book", device="cpu")]
)
kinds = ["fixed", "pseudorandom", "random"]
squares = squares[(squares.overlap == "square") & squares.pooling.isin(kinds)]
fig, (left, right) = figures.panels(2)
for dropout, role in ((0.0, "learned"), (0.25, "baseline"), (0.5, "wrong")):
    rows = squares[squares.dropout == dropout]
    for panel, metric in ((left, "train_nats"), (right, "vote_error")):
        values = rows.groupby("pooling")[metric].agg(["mean", "std"]).loc[kinds]
        panel.errorbar(
            kinds,
            values["mean"],
            values["std"],
            fmt="o-",
            capsize=3,
            color=figures.COLORS[role],
            label=f"{dropout:g}",
        )
for panel, label in (
    (left, "training loss of a pass (nats)"),
    (right, "error, twelve passes (%)"),
):
    panel.set_xticks(range(3), kinds, rotation=15)
    panel.set(ylabel=label, ylim=(0, None))
right.legend(title="dropout", loc="lower right")
fig.suptitle("Fashion-MNIST: random regions and dropout both raise the training loss")
plt.show()

# %% [markdown]
# The left panel is the loss of one pass, dropout off, regions drawn: part of it is the noise of that pass. The order
# is what one would guess: more noise, more loss. (Bits, section 4, are not the measure of it: intervals and a draw per
# channel draw more bits than squares with a draw per image, and their loss is lower or hardly differs.) So at this
# size random regions together with dropout are too much on both data sets; the seeds scatter widely.
#
# If random regions are only slower to learn, four times as many updates should bring them closer. On MNIST, squares
# without dropout:

# %% tags=["hide-input"]
long = sweep(experiment.LONG, "book", device="cpu")
short = runs["MNIST"][
    (runs["MNIST"].overlap == "square") & (runs["MNIST"].dropout == 0)
]
table = {}
for updates, rows in ((1000, short[short.pooling != "max"]), (4000, long)):
    for metric, label in (
        ("train_error", "training"),
        ("test_error", "one pass"),
        ("vote_error", "twelve"),
    ):
        table[f"{updates} updates", label] = rows.groupby("pooling")[metric].apply(
            mean_and_spread, metric
        )
pd.DataFrame(table)

# %% [markdown]
# They overtake. After 4,000 updates random regions have the lower error with twelve passes, for each of the three
# seeds, by 0.4 points in the mean. A single pass is still worse, and so is the training error of one pass. That is one
# data set and 2,000 test pictures, so take it as a sign, not a law: the paper's order, random before pseudorandom
# without dropout, shows up here with longer training. Fixed regions gain nothing: they had learned their thousand
# pictures before. Another possible reason for the order at 1,000 updates is the learning rate, which is a little low
# for networks with drawn regions (section 14).
#
# ### Is it the random regions, or the many layers?
#
# Two changes come together in the paper: α is small, so there are more layers, and regions are drawn. Fixed regions
# separate them: the same network, nothing drawn.

# %% tags=["hide-input"]
metrics = ("train_error", "test_error", "vote_error", "fixed_error")
labels = ("training", "one pass", "twelve", "one, fixed")
compare(dict(zip(metrics, labels, strict=True)), arms=SQUARES)

# %% [markdown]
# Six small fixed steps are no better than three halvings with the same convolutions, within what seeds differ. What
# helps is the drawing. On MNIST already one pass over fixed regions is better for a network that was *trained* with
# draws (the last column, `deterministic_eval=True`); on Fashion-MNIST it takes several passes. And without draws every
# training picture is answered right, while a pass with drawn regions still errs on some of them, after the same 50
# epochs: the regions act like an augmentation, which is what the distortions of section 6 suggest.
#
# If you can afford one pass only, take fixed regions.
#
# ### How many passes?
#
# (FMP.22) says that the expected squared error falls as $a+b/n$. The error rate need not. The dotted lines fit $a+b/n$
# to it.

# %% mystnb={"image": {"alt": "Error against the number of passes, 1 to 32, for pseudorandom and random squares, on MNIST and on Fashion-MNIST, with bands of one standard deviation over three seeds. All four curves fall steeply at first and flatten from eight passes on: from 7.4 to 4.0 and from 12.1 to 4.7 percent on MNIST, from 20.6 to 17.2 and from 25.2 to 19.7 percent on Fashion-MNIST. Dotted lines of the form a plus b over n lie close to all of them."}} tags=["hide-input"]
fig, panels = figures.panels(2)
for panel, (data, rows) in zip(panels, runs.items(), strict=True):
    for kind, role in (("pseudorandom", "learned"), ("random", "wrong")):
        chosen = rows[
            (rows.pooling == kind) & (rows.overlap == "square") & (rows.dropout == 0)
        ]
        n = np.array(chosen.curve_passes.iloc[0])
        curves = np.array(chosen.curve_error.to_list())
        figures.curve_with_band(panel, n, curves, kind, figures.COLORS[role])
        slope, limit = np.polyfit(1 / n, curves.mean(0), 1)
        panel.plot(n, limit + slope / n, "k:", lw=1)
    panel.set_xscale("log", base=2)
    panel.set(title=data, xlabel="passes n", ylabel="error (%)", ylim=(0, None))
    panel.legend()
fig.suptitle(
    "The second pass brings about half of the gain of 32, twelve about nine tenths"
)
plt.show()

# %% tags=["hide-input"]
table = {}
for data, rows in runs.items():
    for kind in ("pseudorandom", "random"):
        chosen = rows[
            (rows.pooling == kind) & (rows.overlap == "square") & (rows.dropout == 0)
        ]
        n = np.array(chosen.curve_passes.iloc[0])
        brier, error = (
            np.array(chosen[f"curve_{name}"].to_list()).mean(0)
            for name in ("brier", "error")
        )
        limit = 2 * brier[1] - brier[0]  # a of a + b/n, from one pass and two
        predicted = limit + (brier[0] - limit) / n
        share = (error[0] - error) / (error[0] - error[-1])
        table[f"{data}, {kind}"] = {
            "Brier score, one pass": f"{brier[0]:.3f}",
            "32 passes, from one and two": f"{predicted[-1]:.3f}",
            "32 passes, measured": f"{brier[-1]:.3f}",
            "share of the gain in error after 2": f"{share[1]:.0%}",
            "after 4": f"{share[2]:.0%}",
            "after 12": f"{share[4]:.0%}",
        }
pd.DataFrame(table)

# %% [markdown]
# For Brier's score this must hold, and the cell shows that it does. The error follows about the same course. The
# author's log of a network for a plankton competition agrees: 21.2% with one pass, 19.8% with four, 19.6% with ten and
# with 24.
#
# ### One draw for whom?
#
# TensorFlow draws for a batch, the author for an image, PyTorch for a channel. With a draw per channel the next
# convolution adds up pixels that belong to different places (FMP.20), so one would expect it to hurt. Fashion-MNIST,
# squares, no dropout; the last column is one pass with fixed regions:

# %% tags=["hide-input"]
draws = pd.concat(
    [sweep(experiment.DRAWS, "book", device="cpu"), runs["Fashion-MNIST"]]
)
draws = draws[
    (draws.overlap == "square")
    & (draws.dropout == 0)
    & draws.pooling.isin(["pseudorandom", "random"])
]
pairs = draws.pivot(index=["pooling", "seed"], columns="draw", values="vote_error")
for draw in ("batch", "channel"):
    print(
        f"twelve passes: a draw per image better than per {draw} in {int((pairs.image < pairs[draw]).sum())} of 6"
    )
losses = draws.pivot(index=["pooling", "seed"], columns="draw", values="train_nats")
print(
    f"training loss: lowest with a draw per channel in {int((losses.idxmin(axis=1) == 'channel').sum())} of 6"
)
grouped = draws.groupby(["pooling", "draw"])
metrics = ("train_nats", "test_error", "vote_error", "fixed_error")
labels = ("training loss", "one pass", "twelve", "one, fixed")
pd.DataFrame(
    {
        label: grouped[metric].apply(mean_and_spread, metric)
        for metric, label in zip(metrics, labels, strict=True)
    }
)

# %% [markdown]
# The author's way is the best of the three: with twelve passes it beats a draw per batch in all six pairs of runs, by
# 0.6 and 1.3 points in the mean, and a draw per channel in five of six, by 0.6 and 1.0. A draw per channel has the
# *lowest* loss in training, for all six, and pays for it in testing. One possible reason, not tested: its channels are
# as many draws, whose noise averages out in the sums of the next convolution. Networks trained so expect that noise,
# and do worst when the regions are fixed.
#
# ### And in a modern network?
#
# The paper predates batch normalisation and residual connections, and a reviewer asked about GoogLeNet. Here is a
# small network of its kind: blocks of four branches with batch normalisation, on Fashion-MNIST, 3,000 training
# pictures, 1,000 updates. Pooling by two between three blocks, from 28 to 7 pixels, is replaced by four poolings by
# $\sqrt2$ between five blocks. Since more blocks are more work, widths are chosen so that all arms need the same
# number of multiplications, within seven percent. Fixed regions tell what the depth does from what the drawing does.
# Learning rate 0.1: best of 0.02, 0.05 and 0.1 for both arms that were searched (halving, and random squares), and the
# largest tried.

# %% tags=["hide-input"]
inception = sweep(experiment.INCEPTION, "book", device="cpu")
inception["arm"] = inception.pooling.map(
    {
        "max": "2×2 with stride two",
        "fixed": "fixed, square",
        "pseudorandom": "pseudorandom, square",
    }
) + inception.layers.map(", {} blocks".format)
by_seed = inception.pivot(index="seed", columns="pooling", values="vote_error")
print(
    "drawn less fixed, by seed:",
    (by_seed.pseudorandom - by_seed.fixed).round(1).tolist(),
)
grouped = inception.groupby("arm", sort=False)
table = pd.DataFrame(
    {
        label: grouped[metric].apply(mean_and_spread, metric)
        for metric, label in (
            ("train_error", "training"),
            ("test_error", "one pass"),
            ("vote_error", "twelve"),
            ("flips", "flips"),
        )
    }
)
table.assign(multiplications=grouped.multiplications.first().map("{:,}".format))

# %% [markdown]
# At equal work a pass the three differ by no more than their seeds do. Twelve passes of the network with drawn regions
# are better than the one with fixed regions for each seed, by 0.1 to 1.3 points, and cost twelve times as much. What
# is left of the large gain is steadiness: half as many predictions flip when the picture moves. Batch normalisation,
# three times as many pictures and the better network came together here; which of them took the gain we did not
# separate.

# %% [markdown]
# ## 16. Errata and conventions
#
# **Where paper, review and popular code print or do something else, shown by counter-example.**
#
# *The end point.* The paper lets both sequences run from 1 to $N_\text{in}$, and its disjoint regions are
# $[a_{i-1},\,a_i-1]$. Then the last region ends at $N_\text{in}-1$ and the last row and column of the picture are
# never seen:
#
# $$ a_{N_\text{out}} = N_\text{in} \;\text{ (disjoint)} \tag{FMP.E1} $$
#
# The right end is $N_\text{in}+1$ for disjoint regions, which is also what the paper's own examples do (18 steps that
# add up to 25, from 1), and what TensorFlow's source says; for intervals it is $N_\text{in}$.
#
# *A review's formulas.* In the paper $P_{ij}$ is the set of pixels of output $(i,j)$, with marks $a$ for the rows and
# $b$ for the columns, counted from one. A public review of the paper has lost some signs. The $-1$ of the disjoint
# regions has slipped into the subscript, which leaves one pixel for each region:
#
# $$ P_{ij} = [a_{i-1},\,a_{i-1}]\times[b_{j-1},\,b_{j-1}] \tag{FMP.E2} $$
#
# The overlapping ones have a stray 1 after $b_j$. Read as $b_j-1$, rows overlap and columns do not, and the last
# column of the picture is never read:
#
# $$ P_{ij} = [a_{i-1},\,a_i]\times[b_{j-1},\,b_j-1] \tag{FMP.E3} $$
#
# And the pseudorandom sequence, $\lceil\alpha\,|\,(i+u)\rceil$, has a bar where the product was.
#
# It also makes $P_{ij}$ a subset of $\{1,\dots,N_\text{in}\}$, which should be squared: regions hold *pairs* of
# indices.
#
# *Some $u$.* The paper allows some $u\in(0,1)$ and starts at $a_0=1$. For $u>1/\alpha$ the formula gives $a_0=2$; put
# in the 1 by force, and a step can be three (for $\alpha>1.5$):
#
# $$ a_0=1,\quad a_i=\lceil\alpha(i+u)\rceil,\quad u\in(0,1) \quad\Rightarrow\quad a_{i+1}-a_i\le2 \tag{FMP.E4} $$
#
# TensorFlow's source forces both ends and draws $u$ from $(0,\min(3/\alpha-1,\,1))$ for $\alpha<2$: then
# $\alpha(1+u)\le3$, and the first step is at most two. But some words are not of the form (FMP.5), with any phase:
#
# $$ \#\{\text{words of TensorFlow's rule}\} = \frac{S}{\gcd(S,D)} \tag{FMP.E5} $$


# %%
def lengths(marks):
    return [b - a for a, b in pairwise(marks)]


alpha, u = Fraction(25, 18), Fraction(1, 3)
a = [math.ceil(alpha * (i + u)) for i in range(18)]  # counted from one
seen = {k for first, last in pairwise([*a, 25]) for k in range(first, last)}
refute("FMP.E1", len(seen), 25, "disjoint regions that end with N_in miss a pixel")

x = torch.randn(25, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
starts, stops = pooling_regions(25, 18, overlap="disjoint", phase=0.4)
right = fractional_max_pool2d(x, (starts, stops), (starts, stops))
refute("FMP.E2", x[starts][:, starts], right, "one pixel a region is no pooling")

starts, stops = pooling_regions(25, 18, overlap="interval", phase=0.4)
columns_read = {
    k
    for a, b in zip(starts.tolist(), (stops - 1).tolist(), strict=True)
    for k in range(a, b)
}
refute("FMP.E3", len(columns_read), 25, "the last column is in no region")

steep, late = Fraction(1732, 1000), Fraction(8, 10)
forced = [1, *(math.ceil(steep * (i + late)) for i in range(1, 10))]
refute("FMP.E4", max(lengths(forced)), 2, "u = 0.8, α = 1.732: the first step is three")


def tensorflows_marks(n_in, n_out, u):
    """Our reading of the rule in TensorFlow's source, counted from zero."""
    inner = [math.ceil(Fraction(n_in, n_out) * (i + u)) - 1 for i in range(1, n_out)]
    return [0, *inner, n_in]


top = min(3 / alpha - 1, 1)
found = {
    tuple(lengths(tensorflows_marks(25, 18, top * Fraction(k, 2000))))
    for k in range(1, 2000)
}
of_a_phase = {
    tuple(lengths(marks_of(18, 25, Fraction(2 * k + 1, 36)))) for k in range(18)
}
refute("FMP.E5", len(found), 18, "TensorFlow's rule has more words")
print(
    f"{len(found)} words, {len(found & of_a_phase)} of a phase; steps {sorted(set().union(*found))}"
)

# %% [markdown]
# *PyTorch.* Its `output_ratio` rounds down where (FMP.17) rounds to the nearest, its uniform $u$ favours some patterns
# (FMP.12), and its regions stay random in `eval()`, which is right for averaging and surprising otherwise:
#
# $$ N_\text{out} = \lfloor N_\text{in}/\alpha\rfloor \tag{FMP.E6} $$
#
# $$ u\sim\mathcal U(0,1) \;\Rightarrow\; \text{all patterns are equally likely} \tag{FMP.E7} $$
#
# $$ \text{eval}() \;\Rightarrow\; y \text{ is a function of } x \tag{FMP.E8} $$
#
# *Counts.* One might expect $N_\text{out}$ pseudorandom patterns. That holds for disjoint regions of coprime sizes.
# Squares have one step less and another slope; the layer that people run, from 35 to 25, has eight:
#
# $$ \#\text{pseudorandom squares} = N_\text{out} \tag{FMP.E9} $$
#
# *Ties.* Reducing along the columns first finds the same values, and on ties other winners, so other gradients than
# PyTorch's, which takes the first of equals. One might expect
#
# $$ \operatorname{argmax}_{kl}x_{kl} = \Bigl(\operatorname{argmax}_k x_{kl^*},\;l^*\Bigr),\qquad l^*=\operatorname{argmax}_l\max_kx_{kl} \tag{FMP.E10} $$

# %%
torchs = nn.FractionalMaxPool2d(2, output_ratio=2**-0.5)(torch.zeros(1, 1, 35, 35))
refute("FMP.E6", torchs.shape[-1], 25, "torch pools 35 by √2 to 24")

alpha = Fraction(23, 17)  # torch's squares from 25 to 18
grid = [Fraction(2 * k + 1, 4_000) for k in range(2_000)]
theta = [alpha * u - math.floor(alpha * u) for u in grid]
share = pd.Series([tuple(marks_of(17, 23, p)) for p in theta]).value_counts(
    normalize=True
)
refute(
    "FMP.E7",
    share.to_numpy(),
    np.full(17, 1 / 17),
    "with a uniform u, patterns differ in frequency",
)
print(
    f"the most frequent is {share.max() / share.min():.1f} times as frequent as the rarest"
)

torch.manual_seed(0)
layer = nn.FractionalMaxPool2d(2, 18).eval()
refute(
    "FMP.E8",
    layer(x[None, None]),
    layer(x[None, None]),
    "torch's layer in evaluation, twice",
)
fixed = FractionalMaxPool2d(18, deterministic_eval=True).eval()
print(
    "ours with deterministic_eval repeats itself:",
    torch.equal(fixed(x[None]), fixed(x[None])),
)

drawn = pooling_regions(
    35, 25, size=(4000,), generator=torch.Generator().manual_seed(0)
)[0]
refute("FMP.E9", len(drawn.unique(dim=0)), 25, "4,000 draws of squares from 35 to 25")

square = torch.tensor([[0.0, 1], [1, 0]])
column = int(square.amax(0).argmax())
wrong = 2 * int(square[:, column].argmax()) + column
refute(
    "FMP.E10",
    wrong,
    int(square.flatten().argmax()),
    "columns first finds another pixel",
)

# %% [markdown]
# *Random or pseudorandom?* Summaries say that random regions are best. The paper's small experiments without dropout
# say so; the author's scripts for the record networks use pseudorandom ones, with dropout (the scripts that we know of
# are later than the paper). That is no contradiction, and section 15 tests both.
#
# *Who has what.* `torch.nn.FractionalMaxPool2d`: pseudorandom squares of any size, a draw per channel. TensorFlow:
# random or pseudorandom, disjoint, or intervals of which the last is clipped, a draw per batch. The author's code:
# random or pseudorandom, disjoint or squares, a draw per image. The layer of this chapter has both kinds, three
# overlaps and three ways to share a draw, in any combination; not TensorFlow's own words and clipped interval, nor
# PyTorch's squares of other sizes. It differentiates backwards as often as you like, but not under `torch.func`.

# %% [markdown]
# ## 17. Cost
#
# **About seven tenths of the time of PyTorch's own layer for squares, and an eighth of the memory that is kept.**
#
# One process, one thread, forward and backward, drawing included, each rival in turn with
# `torch.nn.FractionalMaxPool2d`. PyTorch's layer draws for each channel; ours is shown for a draw per batch, image and
# channel. Disjoint regions and intervals have no rival. The last row is ordinary pooling by two, whose output is half
# as large.

# %% tags=["hide-input"]
cost = sweep(experiment.COST, "book", device="cpu")
names = {
    "square_batch": "squares, a draw per batch",
    "square_image": "squares, a draw per image",
    "square_channel": "squares, a draw per channel",
    "disjoint_batch": "disjoint",
    "interval_batch": "intervals",
    "halving": "torch's max-pooling by two",
}
shapes = [
    f"{row.batch_size}×{row.channels}, {row.n_in} → {row.n_out}"
    for row in cost.itertuples()
]
table = pd.DataFrame(
    {
        shape: cost.iloc[k][[f"{name}_ratio" for name in names]].to_list()
        for k, shape in enumerate(shapes)
    },
    index=list(names.values()),
).astype(float)
table.loc["bytes an output, ours"] = cost.ours_bytes.to_list()
table.loc["bytes an output, torch's"] = cost.torch_bytes.to_list()
table.round(2)

# %% [markdown]
# Times are divided by that of PyTorch's layer on the same input. With a draw per channel, as PyTorch has it, the lead
# is a tenth to a fifth; intervals, with three candidates instead of two, take as long as PyTorch's squares or a little
# longer. `make bench` repeats this on your machine.
#
# *How far from the limit?* The layer must read $x$ and write $y$, and on the way back read the gradient and write one
# for $x$: with $N_\text{in}/N_\text{out}=\sqrt2$ three numbers a pixel. It does a dozen passes over numbers in the
# cache instead, since PyTorch runs one operation at a time. A kernel written for the purpose could be several times
# faster than either.
#
# *How it grows.* Linearly in pixels, channels and images. Twelve poolings by $\sqrt[3]2$ instead of four by two see
# more pixels: the sum over the layers of a geometric series, $1/(1-2^{-2/3})=2.7$ times the first layer's, against
# 1.33 for halving. At equal channels the convolutions of a fractional network grow alike; that, and not the pooling,
# is its price.

# %% [markdown]
# ## 18. Exercises
#
# Each exercise has a stub, a checker and a folded solution. Fill in the stub, run it, then call the checker on it,
# such as `check_exercise_1(field)`: it prints "right", or raises with what is wrong.
#
# **1 (calculation).** How large a picture does the paper's network take? Return the side for a number of poolings
# `layers` and a ratio `alpha`, by (FMP.18), *before* the first convolution.


# %% tags=["exercise-1"]
def field(layers: int, alpha: float) -> int:
    raise NotImplementedError


# %% tags=["exercise-1-checker"]
def check_exercise_1(field):
    for layers, alpha, expected in (
        (3, 1.5, 12),
        (3, 2**0.5, 11),
        (6, 2**0.5, 36),
        (12, 2 ** (1 / 3), 94),
        (5, 1.1, 12),
    ):
        answer = field(layers, alpha)
        assert answer == expected, (
            f"{layers} layers, α = {alpha:.4f}: {answer}, expected {expected}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# Walk back from the two pixels that the last convolution of 2×2 needs. Each pooling multiplies and rounds, each
# convolution before it adds one. The maximum matters only for ratios near one.
#
# ```python
# def field(layers, alpha):
#     side = 2
#     for _ in range(layers):
#         side = max(math.floor(alpha * side + 0.5), side + 1) + 1
#     return side
# ```
#
# </details>
#
# **2 (theory).** Which phases give a word? For a word of ones and twos, return the interval $[\text{low},\text{high})$
# of all phases $\theta$ for which (FMP.5) has these steps, as two `Fraction`s, with $\alpha=D/S$ from the word itself;
# or None if there is no such phase. Hint: every mark bounds the phase from both sides.


# %% tags=["exercise-2"]
def phases_of(word: list[int]) -> tuple[Fraction, Fraction] | None:
    raise NotImplementedError


# %% tags=["exercise-2-checker"]
def check_exercise_2(phases_of):
    for S, D in ((7, 10), (8, 12), (9, 13), (5, 5)):
        grid = [Fraction(k, 12 * S) for k in range(12 * S)]
        by_word = {}
        for phase in grid:
            by_word.setdefault(tuple(lengths(marks_of(S, D, phase))), []).append(phase)
        for word in words(S, D):
            answer = phases_of(list(word))
            found = by_word.get(tuple(word))  # steps change only at multiples of 1/S
            expected = (found[0], found[-1] + Fraction(1, 12 * S)) if found else None
            assert answer == expected, f"word {word}: {answer}, expected {expected}"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# $m_i=\lfloor\alpha i+\theta\rfloor$ means $m_i-\alpha i\le\theta<m_i+1-\alpha i$, for every $i$ at once. Mark 0 gives
# $0\le\theta<1$.
#
# ```python
# def phases_of(word):
#     marks = [0, *accumulate(word)]
#     alpha = Fraction(marks[-1], len(word))
#     low = max(m - alpha * i for i, m in enumerate(marks))
#     high = min(m + 1 - alpha * i for i, m in enumerate(marks))
#     return (low, high) if low < high else None
# ```
#
# </details>
#
# **3 (theory).** How do two marks of one random word move together? Extend (FMP.14): derive and return
# $\operatorname{Cov}[m_i,m_j]$ of the random word of $S\ge2$ steps to $D$, for $0\le i\le j\le S$.


# %% tags=["exercise-3"]
def covariance(S: int, D: int, i: int, j: int) -> float:
    raise NotImplementedError


# %% tags=["exercise-3-checker"]
def check_exercise_3(covariance):
    for S, D in ((7, 10), (8, 13)):
        every = np.array([[0, *accumulate(word)] for word in words(S, D)])
        expected = np.cov(every.T, bias=True)
        for i, j in product(range(S + 1), repeat=2):
            if i <= j:
                answer = covariance(S, D, i, j)
                assert abs(answer - expected[i, j]) < 1e-9, (
                    f"S {S}, D {D}, i {i}, j {j}: {answer}, expected {expected[i, j]}"
                )
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# The steps have the variance $v=q(1-q)$ each, and all pairs have the same covariance $c$. The sum of all is fixed, so
# $Sv+S(S-1)c=0$ and $c=-v/(S-1)$. The first $i$ and the first $j$ steps share $i$ steps and $ij-i$ pairs of different
# ones: $iv+(ij-i)c=iv\bigl(1-\frac{j-1}{S-1}\bigr)=\frac{i(S-j)}{S-1}v$. With $i=j$ that is (FMP.14): a Brownian
# bridge in whole numbers.
#
# ```python
# def covariance(S, D, i, j):
#     q = (D - S) / S
#     return i * (S - j) / (S - 1) * q * (1 - q)
# ```
#
# </details>
#
# **4 (implementation).** Pool in three dimensions: x of shape $(*, T, H, W)$, with regions for each axis, by two calls
# of `fractional_max_pool2d`. The same regions hold for all leading dimensions. Hint: regions of one pixel, $[k,k+1)$,
# are allowed as well.


# %% tags=["exercise-4"]
def fractional_max_pool3d(x, depth, rows, columns):
    """x (*lead, T, H, W); each of the regions is (starts, stops) -> (*lead, n_depth, n_rows, n_columns)"""
    raise NotImplementedError


# %% tags=["exercise-4-checker"]
def check_exercise_4(fractional_max_pool3d):
    x = torch.randn(2, 3, 7, 9, 11, generator=torch.Generator().manual_seed(0))
    for overlap in RULES:
        regions = [
            pooling_regions(n, out, kind="random", overlap=overlap)
            for n, out in ((7, 5), (9, 6), (11, 7))
        ]
        expected = torch.empty(2, 3, 5, 6, 7)
        spans = [[slice(a, b) for a, b in zip(*axis, strict=True)] for axis in regions]
        for t, i, j in product(range(5), range(6), range(7)):
            expected[..., t, i, j] = x[..., spans[0][t], spans[1][i], spans[2][j]].amax(
                (-3, -2, -1)
            )
        answer = fractional_max_pool3d(x, *regions)
        assert answer.shape == expected.shape, (
            f"shape {tuple(answer.shape)}, expected {tuple(expected.shape)}"
        )
        assert torch.equal(answer, expected), (
            f"{overlap}: another value than the maxima of the regions"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# The maximum separates, (FMP.15). Pool rows and columns, then fold them into one axis and pool the depth, with regions
# of one along that axis.
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
# **5 (theory).** You have the probabilities of two passes only, $p_1$ and $p_2$, and the label. Return an *unbiased*
# estimate of Brier's score after infinitely many passes, the $a$ of (FMP.22).


# %% tags=["exercise-5"]
def limit_score(p1, p2, target):
    """p1, p2 (classes,) of two independent passes, target (classes,) one-hot -> a number"""
    raise NotImplementedError


# %% tags=["exercise-5-checker"]
def check_exercise_5(limit_score):
    p = torch.tensor(
        [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]]
    ).double()
    for label in range(3):
        target = F.one_hot(torch.tensor(label), 3).double()
        answers = [float(limit_score(a, b, target)) for a, b in product(p, repeat=2)]
        expected = (p.mean(0) - target).square().sum().item()
        answer = sum(answers) / 16
        assert abs(answer - expected) < 1e-9, (
            f"label {label}: mean {answer}, expected {expected}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# $p_1$ and $p_2$ are independent with the same mean, so the mean of the product of two factors is the product of their
# means: $\mathrm E\,(p_1-e)\cdot(p_2-e)=\lVert\mathrm E\,p-e\rVert^2$.
#
# ```python
# def limit_score(p1, p2, target):
#     return (p1 - target) @ (p2 - target)
# ```
#
# </details>
#
# **6 (experiment).** Which pooling changes least when the picture moves? Pool `digit`, 25×25, to 18×18 with the phases
# $(k+\frac12)/17$, $k=0,\dots,16$, the same for rows and columns and for every kind of overlap, pool the digit moved
# by one pixel to the right (filled with zeros) with the *same* regions, and return the mean over the phases of
# $\lVert y-y'\rVert/\lVert y\rVert$. Guess the order first, then ask what made it.


# %% tags=["exercise-6"]
def change(overlap: str) -> float:
    """How much the pooled `digit` changes, for one kind of overlap."""
    raise NotImplementedError


# %% tags=["exercise-6-checker"]
def check_exercise_6(change):
    found = {}
    for overlap in RULES:
        total = 0.0
        for k in range(17):
            starts, stops = pooling_regions(
                25, 18, overlap=overlap, phase=(k + 0.5) / 17
            )
            inside = [
                range(a, b)
                for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
            ]
            moved = torch.cat((torch.zeros(25, 1), digit[:, :-1]), 1)
            y, y_moved = (
                torch.stack(
                    [torch.stack([p[r][:, c].max() for c in inside]) for r in inside]
                )
                for p in (digit, moved)
            )
            total += float((y - y_moved).norm() / y.norm())
        found[overlap] = total / 17
    for overlap, expected in found.items():
        answer = change(overlap)
        assert abs(answer - expected) < 1e-4, (
            f"{overlap}: {answer}, expected {expected}"
        )
    print("right:", " > ".join(sorted(found, key=found.get, reverse=True)))


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# The ratio falls from disjoint regions to intervals. But look at numerator and denominator: on a smooth digit the
# change itself is nearly the same for all three; larger regions make the *result brighter*. Put dense noise in place
# of the digit, `torch.rand(25, 25)`, and the change itself falls, to less than half; put a few bright dots there, and
# it rises. What overlapping does depends on the picture. Section 15 asks what it does to predictions.
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
#
# ## 19. Symbols
#
# | Symbol | In code | Shape | Meaning | Equation |
# |---|---|---|---|---|
# | $x$, $y$ | `x`, `y` | $(*,N_\text{in},N_\text{in})$, $(*,N_\text{out},N_\text{out})$ | before and after pooling | (FMP.1) |
# | $R_i$, $C_j$ | `rows`, `columns` | $(N_\text{out},)$ twice | regions: starts and stops | (FMP.1) |
# | $S$, $D$ | `steps`, `distance` | – | number of steps, and how far they go | (FMP.2) |
# | $m_i$ | `marks` | $(S+1,)$ | marks, from zero; the paper's $a_i-1$ | (FMP.2) |
# | $\alpha$ | – | – | $D/S$, the mean step; about $N_\text{in}/N_\text{out}$ | (FMP.4) |
# | $\theta$ | `phase` | – | where the even walk starts | (FMP.5) |
# | $u$ | `_random_samples` | – | the paper's and PyTorch's form of it | (FMP.8), (FMP.11) |
# | $t$ | `threshold` | – | the whole number that decides the word | (FMP.9) |
# | $q_i$, $r_i$, $g$ | – | – | quotient and remainder of $iD$ by $S$; $\gcd(S,D)$ | (FMP.9) |
# | $q$, $f$ | – | – | share of twos; fractional part of $\alpha i$ | (FMP.13), (FMP.14) |
# | $M$ | `best` | $(*,H,W)$ | maxima of all squares | (FMP.15) |
# | $s_l$ | `layer_sizes` | – | side after layer $l$ | (FMP.18) |
# | $e$ | – | (classes,) | label, one-hot | (FMP.21) |
# | $a_i$, $b_j$, $P_{ij}$ | – | – | the paper's marks, from one, and regions | (FMP.8), (FMP.E1) |
# | $\Sigma$ | – | (classes, classes) | covariance of one pass's probabilities | (FMP.22) |
# | $p_k$, $\bar p_n$ | `probabilities` | (passes, images, classes) | of a pass, and the mean of $n$ | (FMP.21) |
#
# ## 20. Further reading
#
# - Graham, *Fractional Max-Pooling*, 2014 ([arXiv 1412.6071](https://arxiv.org/abs/1412.6071)): the paper. Its
#   experiments on handwriting and on CIFAR are not repeated here.
# - Zeiler, Fergus, *Stochastic Pooling for Regularization of Deep Convolutional Neural Networks*, 2013
#   ([arXiv 1301.3557](https://arxiv.org/abs/1301.3557)): fixed regions, and a random pixel of each.
# - Springenberg et al., *Striving for Simplicity: The All Convolutional Net*, 2014
#   ([arXiv 1412.6806](https://arxiv.org/abs/1412.6806)): strides in place of pooling, which is what most networks do
#   today.
# - Zhang, *Making Convolutional Networks Shift-Invariant Again*, 2019
#   ([arXiv 1904.11486](https://arxiv.org/abs/1904.11486)): blur before you subsample; the modern form of section 9.
# - Riad et al., *Learning Strides in Convolutional Neural Networks*, 2022
#   ([arXiv 2202.01653](https://arxiv.org/abs/2202.01653)): fractional strides, learned.
# - PyTorch's documentation of
#   [FractionalMaxPool2d](https://docs.pytorch.org/docs/stable/generated/torch.nn.FractionalMaxPool2d.html).
