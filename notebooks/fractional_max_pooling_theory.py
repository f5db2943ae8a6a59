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
# # Fractional max-pooling: the theory
#
# **Counting, wandering, the forms in use, errata, cost: what stands behind [the lesson](fractional_max_pooling.ipynb).** The
# measurements are in [the experiments](fractional_max_pooling_experiments.ipynb). Sections can be read in any order; symbols are
# those of the lesson. Five of them return on every screen: an axis of $N_\text{in}$ pixels gets $N_\text{out}$ regions from $S$
# *steps* of one or two that go the distance $D$ (FMP.4); their partial sums are the *marks* $m_0=0,\dots,m_S=D$; $\alpha=D/S$ is
# the mean step; *pseudorandom* marks are $m_i=\lfloor\alpha i+\theta\rfloor$ with a *phase* $0\le\theta<1$ (FMP.5). A list of steps
# is a *word*; *random* words have their twos anywhere, all words alike.

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
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from workedpapers.experiments import fractional_max_pooling as experiment
from workedpapers.fractional_max_pooling import (
    FractionalMaxPool2d,
    fractional_max_pool2d,
    pooling_regions,
)
from workedpapers.lab import check, explore, figures, refute, setup, sweep
from workedpapers.lab.timing import saved_bytes

device = setup(seed=0)
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK = COLORS["muted"], COLORS["peer"]

# %% [markdown]
# ## 1. How many patterns are there?
#
# **Five against three million, for disjoint regions from 35 to 25: pseudorandom regions know few patterns, each as likely as any
# other.**
#
# The phase is a real number, the marks are whole: how many words can it make? Divide $iD$ by $S$ with remainder, $iD=q_iS+r_i$.
# Then $\alpha i+\theta=q_i+\frac{r_i}S+\theta$. Its floor is $q_i$, or one more if $r_i\ge S(1-\theta)$; and since $r_i$ is whole,
# the right side may be rounded up:
#
# $$ m_i = q_i + \bigl[\,r_i\ge t\,\bigr], \qquad t=\lceil S(1-\theta)\rceil\in\{1,\dots,S\} \tag{FMP.15} $$
#
# ($[\cdot]$ is one if the condition holds, else zero.) The phase acts only through the whole number $t$, and a uniform phase makes
# all $S$ values of $t$ equally likely. So the library draws $t$ and computes in whole numbers; no fraction is ever rounded.


# %%
def marks_of(S, D, phase):  # (FMP.5), exact
    return [math.floor(Fraction(D, S) * i + phase) for i in range(S + 1)]


def by_threshold(S, D, t):  # (FMP.15)
    return [i * D // S + (i * D % S >= t) for i in range(S + 1)]


def patterns(S, D, kind):  # (FMP.16)
    return math.comb(S, D - S) if kind == "random" else S // math.gcd(S, D)


# %% [markdown]
# How many thresholds make *different* words? Let $g=\gcd(S,D)$. The remainders $r_i$ are multiples of $g$, and every multiple of
# $g$ below $S$ is among them: $D/g$ has an inverse modulo $S/g$, so $i\,(D/g)$ takes every value modulo $S/g$. Cut the thresholds
# into $S/g$ groups, $\{kg+1,\dots,(k+1)g\}$.
#
# - *One group, one word.* For a multiple of $g$, to reach $kg+1$ is to reach $(k+1)g$: no multiple lies between. So $r_i\ge t$ is
#   the same condition for all $t$ of the group.
# - *Two groups, two words.* Let $t$ be in group $k$ and $t'$ in a later one, $t'\ge(k+1)g+1$. The multiple $(k+1)g$ is below $S$,
#   so some $r_i$ equals it. It reaches $t$ and not $t'$: mark $i$ is one less for $t'$. $\blacksquare$
#
# A random word is a choice of the $D-S$ places of its twos. The number of words is therefore
#
# $$ \#\text{pseudorandom} = \frac{S}{\gcd(S,D)}, \qquad \#\text{random} = \binom{S}{D-S} \tag{FMP.16} $$
#
# All groups have $g$ thresholds and all words of a kind are equally likely: the logarithm to base two is what one draw takes in
# bits. For the six poolings of the paper's network on MNIST:


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bits of one axis's pattern against the layer, from 35 to 25 pixels down to 3 to 2, for three overlaps. Random words start at 20 to 22 bits and fall to one or none as pictures get smaller; pseudorandom words have at most five bits, down to one or none."}} tags=["hide-input"]
# @title Checks of (FMP.15) and (FMP.16), and bits layer by layer
RULES = {  # (FMP.4): steps and distance
    "disjoint": lambda n_in, n_out: (n_out, n_in),
    "square": lambda n_in, n_out: (n_out - 1, n_in - 2),
    "interval": lambda n_in, n_out: (n_out, n_in - 1),
}


def words(S, D):
    """All lists of S steps of one or two that add up to D."""
    return [word for word in product((1, 2), repeat=S) if sum(word) == D]


for S, D in ((9, 13), (12, 20), (18, 25)):
    phases = [Fraction(k, 1000) for k in range(1000)] + [1 - Fraction(1, 10**9)]
    thresholds = [math.ceil(S * (1 - phase)) for phase in phases]
    found = [by_threshold(S, D, t) for t in thresholds]
    floors = [marks_of(S, D, phase) for phase in phases]
    check("FMP.15", found, floors, f"a threshold = the floor, {S} steps to {D}")
    range_of_t = [min(thresholds), max(thresholds)]
    check("FMP.15", range_of_t, [1, S], "thresholds from 1 to S")
    middles = [Fraction(2 * k + 1, 200 * S) for k in range(100 * S)]
    counts = np.bincount([math.ceil(S * (1 - phase)) for phase in middles])[1:]
    check("FMP.15", counts, np.full(S, 100), "a uniform phase: all alike")
    g = math.gcd(S, D)
    pairs = [*product(range(1, S + 1), repeat=2)]
    same_word = [by_threshold(S, D, t) == by_threshold(S, D, s) for t, s in pairs]
    same_group = [(t - 1) // g == (s - 1) // g for t, s in pairs]
    check("FMP.16", same_word, same_group, "same word if and only if same group")

for kind in ("pseudorandom", "random"):
    drawn, formula, generator = [], [], torch.Generator().manual_seed(0)
    for n_in, n_out in ((10, 7), (9, 6), (12, 8), (11, 9)):
        for overlap, rule in RULES.items():
            draws = {"size": (3000,), "generator": generator}
            r = pooling_regions(n_in, n_out, kind=kind, overlap=overlap, **draws)
            drawn.append(len(torch.cat(r, 1).unique(dim=0)))
            formula.append(patterns(*rule(n_in, n_out), kind))
    check("FMP.16", drawn, formula, f"{kind}: patterns in 3,000 draws of the library")
cases = ((7, 10), (8, 12), (9, 13), (12, 15), (6, 11))
every = [len(words(*case)) for case in cases]
check("FMP.16", every, [patterns(*c, "random") for c in cases], "and all words")

sizes = experiment.layer_sizes(layers=6, roots=2)
fig, ax = plt.subplots()
for overlap, color in zip(RULES, (COLORS["data"], BLUE, GREEN), strict=True):
    for kind, style in (("random", "o-"), ("pseudorandom", "o--")):
        counts = [patterns(*RULES[overlap](*size), kind) for size in sizes]
        label = overlap if kind == "random" else None
        ax.plot(np.log2(counts), style, color=color, label=label, markersize=4)
        bits = 2 * np.log2(counts).sum()
        print(f"{overlap}, {kind}: {counts[0]:,} in layer 1; {bits:.0f} bits in all")
ax.set_xticks(range(6), [f"{n_in}→{n_out}" for n_in, n_out in sizes])
ax.set(xlabel="layer", ylabel="bits, one axis")
ax.set_title("Random words (solid) take many bits")
ax.legend()
plt.show()

# %% [markdown]
# *In all* is both axes and all six layers. The paper's example, 25 to 18 with disjoint regions, has 18 pseudorandom words against
# 31,824 random ones. Squares have a step less and so another greatest common divisor: from 35 to 25 they know eight words, not 25
# (FMP.E9), and from 3 to 2 all steps are one and nothing is left to chance.

# %%
counts = [patterns(18, 25, kind) for kind in ("pseudorandom", "random")]
check("FMP.16", counts, [18, 31_824], "the paper's example, 25 to 18")
eight = [patterns(24, 33, "pseudorandom"), patterns(1, 1, "random")]
check("FMP.16", eight, [8, 1], "squares from 35 to 25, and from 3 to 2")

# %% [markdown]
# ## 2. How far do regions wander?
#
# **Pseudorandom marks scatter by at most half a pixel. Random marks are a bridge that sags more the larger the picture, and of all
# ratios the paper's $\sqrt2$ sags most.**
#
# Both kinds are the same even scaling on average, $\mathrm E\,m_i=\alpha i$ (FMP.8). Let $f=r_i/S$ be the fractional part of
# $\alpha i$. A pseudorandom mark is $q_i$, plus one with probability $f$: the threshold of (FMP.15) is at most $r_i$ in $r_i$ of
# $S$ cases. A number that is one with probability $f$, else zero, has the variance $f(1-f)$:
#
# $$ \operatorname{Var} m_i=f(1-f)\le\tfrac14 \qquad\text{(pseudorandom)} \tag{FMP.17} $$
#
# A random word has no bound of this kind. How many of its first $i$ steps are twos? Think of an urn with $S$ balls, $D-S$ of them
# twos, a share $q=(D-S)/S$, and draw $i$ without putting back: a hypergeometric number. Its variance is that of $i$ independent
# draws times the correction $\frac{S-i}{S-1}$ for not putting back. For $S\ge2$
#
# $$ \operatorname{Var} m_i = \frac{i\,(S-i)}{S-1}\;q\,(1-q) \qquad\text{(random)} \tag{FMP.18} $$
#
# It is zero at both ends, which are fixed, and largest in the middle: a random walk that is tied down at both ends, a *bridge*.
# Choose the kind and the sizes. Grey lines are draws, the band is one standard deviation:

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: the walks of the marks
WALKS = {
    "25 → 18": (25, 18),
    "93 → 74": (93, 74),
    "93 → 66": (93, 66),
    "93 → 54": (93, 54),
    "93 → 48": (93, 48),
}


def deviation_of(kind, S, D):  # the root of (FMP.17) or (FMP.18)
    i = np.arange(S + 1)
    q, f = (D - S) / S, i * D % S / S
    random = i * (S - i) / (S - 1) * q * (1 - q)
    return np.sqrt(f * (1 - f) if kind == "pseudorandom" else random)


def walks(kind, sizes):
    """How far the marks of 40 draws of disjoint regions are from αi."""
    n_in, n_out = WALKS[sizes]
    draws = {"size": (40,), "generator": torch.Generator().manual_seed(0)}
    starts, stops = pooling_regions(n_in, n_out, kind=kind, overlap="disjoint", **draws)
    marks = torch.cat((starts, stops[:, -1:]), 1).numpy()
    return marks - np.arange(n_out + 1) * n_in / n_out


def draw_walks(kind, sizes):
    off, deviation = walks(kind, sizes), deviation_of(kind, *WALKS[sizes][::-1])
    i = np.arange(len(deviation))
    fig, ax = plt.subplots()
    ax.plot(i, off.T, color=GREY, lw=0.5, alpha=0.5)
    ax.fill_between(i, -deviation, deviation, color=BLUE, alpha=0.35)
    ax.set(xlabel="mark i", ylabel="mark − αi (pixels)", ylim=(-7, 7))
    ax.set_title(f"{kind}, {sizes}: up to {abs(off).max():.1f} pixels off")
    return fig


def describe_walks(kind, sizes):
    off, deviation = walks(kind, sizes), deviation_of(kind, *WALKS[sizes][::-1])
    return (
        f"Forty draws of {kind} disjoint regions, {sizes}: how far each mark is from the even scaling. "
        f"The farthest is {abs(off).max():.1f} pixels off; the standard deviation is at most {deviation.max():.2f} pixels."
    )


kinds = ("random", "pseudorandom")
explore(draw_walks, alt=describe_walks, kind=kinds, sizes=tuple(WALKS))

# %%
peaks = []
for S, D in ((9, 13), (8, 12), (10, 16), (7, 12), (12, 15)):
    beatty = np.array([by_threshold(S, D, t) for t in range(1, S + 1)])
    law = deviation_of("pseudorandom", S, D) ** 2
    check("FMP.17", beatty.var(0), law, f"all thresholds, {S} steps to {D}")
    peaks.append(beatty.var(0).max())
    every = np.array([[0, *accumulate(word)] for word in words(S, D)])
    law = deviation_of("random", S, D) ** 2
    check("FMP.18", every.var(0), law, f"all words, {S} steps to {D}")
check("FMP.17", max(peaks), 1 / 4, "the largest: a quarter, where αi ends in a half")

# %% [markdown]
# *Which ratio wanders most?* In the middle, $i=S/2$, (FMP.18) is about $\frac S4\,q(1-q)$. Take a picture of a given size and put
# $q=\alpha-1$ and $S=D/\alpha$: that is $\frac D4\bigl(3-\alpha-\frac2\alpha\bigr)$, and its slope
# $\frac D4\bigl(\frac2{\alpha^2}-1\bigr)$ is zero at $\alpha=\sqrt2$. The ratio of the paper's network for MNIST is the one that
# deforms a picture most. The deviation grows as the root of the size: on a side four times as long, twice as many pixels.

# %%
D = 10_000
q = {S: (D - S) / S for S in range(D // 2 + 1, D)}
middle = {S: S * S / 4 / (S - 1) * q[S] * (1 - q[S]) for S in q}  # (FMP.18), i = S/2
widest = max(middle, key=middle.get)
check("FMP.18", widest, round(D / 2**0.5), "the S that wanders most is D/√2")
even = (5002, 7072, 8000, 9998)  # so that there is a middle step
bridge = [deviation_of("random", S, D)[S // 2] ** 2 for S in even]
check("FMP.18", [middle[S] for S in even], bridge, "the middle of the bridge")
about = [D / 4 * (3 - D / S - 2 * S / D) for S in even]  # α = D/S
exact = [v * S / (S - 1) for v, S in zip(about, even, strict=True)]
check("FMP.18", exact, bridge, "as a function of α, times S/(S − 1)")
for n_in, n_out in ((25, 18), (93, 66), (372, 264)):
    most = deviation_of("random", n_out, n_in).max()
    print(f"{n_in} → {n_out}: ± {most:.2f} pixels in the middle")

# %% [markdown]
# What does that do to a picture? The paper pools a photograph six times by $\sqrt2$, with the *average* in place of the maximum so
# that you can recognise it. Here is a drawn one. Averaging over regions is a matrix from the left and one from the right; applied to
# the pixels' coordinates they tell where a pixel of the result comes from.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Three pictures of two rings on a chequerboard: the original of 256 by 256 pixels and two of 32 by 32. After six pseudorandom poolings the rings are coarse but round. After six random poolings they are visibly deformed, some squares are stretched and others nearly gone."}} tags=["hide-input"]
# @title Six average poolings of a drawing
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
fig, panels = figures.panels(3, columns=3)
panels[0].imshow(drawing, cmap="gray")
panels[0].set_title(f"{side}×{side} pixels")
for panel, kind in zip(panels[1:], ("pseudorandom", "random"), strict=True):
    picture, origin = drawing, torch.arange(side).float()
    for _ in range(6):
        n_in = len(picture)
        rows, columns = (averages(n_in, round(n_in / 2**0.5), kind) for _ in range(2))
        picture, origin = rows @ picture @ columns.T, rows @ origin
    even = (torch.arange(len(origin)) + 0.5) * side / len(origin) - 0.5
    panel.imshow(picture, cmap="gray")
    panel.set_title(f"{len(picture)}×{len(picture)}, {kind}")
    farthest = (origin - even).abs().max()
    print(f"{kind}: rows moved by up to {farthest:.0f} of {side} pixels")
for panel in panels:
    panel.axis("off")
fig.suptitle("Random poolings deform the rings; pseudorandom ones keep them round")
plt.show()

# %% [markdown]
# Lines along the axes stay straight, since all columns of a picture use the same row marks; shapes are stretched here and squeezed
# there. Random regions are an elastic distortion that the network draws for itself.

# %% [markdown]
# ## 3. Where does a sequence end?
#
# **The paper counts from one and rounds up. Its form is a phase, but for some $u$ only, and its disjoint regions must end at
# $N_\text{in}+1$, not at $N_\text{in}$.**
#
# The paper's marks are $a_i=\lceil\alpha(i+u)\rceil$ with $a_0=1$ and "some $u\in(0,1)$". For which $u$ is $a_0$ one? And how do
# they relate to ours? For all small $\varepsilon>0$
#
# $$ \lceil\alpha u\rceil=1 \iff 0<u\le\tfrac1\alpha, \qquad\text{and then}\quad a_i-1=\lfloor\alpha i+\alpha u-\varepsilon\rfloor \tag{FMP.19} $$
#
# *Proof.* $\lceil z\rceil=1$ exactly where $0<z\le1$. And $\lceil z\rceil-1=\lfloor z-\varepsilon\rfloor$ for every $z$ once
# $\varepsilon$ is small: for whole $z$ both sides are $z-1$, for others both are $\lfloor z\rfloor$. $\blacksquare$
#
# So the paper's sequence is a pseudorandom one with a phase just below $\alpha u$, which lies in $[0,1)$ as it should. By (FMP.7)
# it ends at $a_S=D+1$: $N_\text{in}+1$ for disjoint regions $[a_{i-1},a_i-1]$, and $N_\text{in}$ for intervals $[a_{i-1},a_i]$,
# whose $D$ is $N_\text{in}-1$. The paper says $N_\text{in}$; its own examples, 18 steps that add up to 25, say
# $N_\text{in}+1$.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four rows of twelve pixels cut into seven regions. First, u = 0.5: regions of one and two pixels cover all twelve. Second, the last mark is put at twelve: pixel twelve is in no region. Third, u = 0.8: the regions start at pixel two and stick out at thirteen. Fourth, the first mark is forced to one: the first region is three wide, the last sticks out."}} tags=["hide-input"]
# @title Check of (FMP.19), and four ways to end
PAPER = ["112112121121211212", "212112121121121211", "211211212112121121"]
for S, D in ((18, 25), (18, 24), (7, 12), (9, 10)):
    alpha, tiny = Fraction(D, S), Fraction(1, 10**9)
    every_u = [Fraction(k, 4 * D) for k in range(1, 4 * D)]  # αi + αu is often whole
    paper = {u: [math.ceil(alpha * (i + u)) for i in range(S + 1)] for u in every_u}
    first = [a[0] == 1 for a in paper.values()]
    check("FMP.19", first, [u <= 1 / alpha for u in paper], f"a₀ = 1, {S} steps to {D}")
    valid = {u: a for u, a in paper.items() if 0 < u <= 1 / alpha}
    from_zero = [[mark - 1 for mark in a] for a in valid.values()]
    floors = [marks_of(S, D, alpha * u - tiny) for u in valid]
    check("FMP.19", from_zero, floors, "and then a phase just below αu")
    ends = {a[-1] for a in valid.values()}
    check("FMP.19", [*ends], [D + 1], "which ends at D + 1")
every = [marks_of(18, 25, Fraction(2 * k + 1, 36)) for k in range(18)]
every = {"".join(str(b - a) for a, b in pairwise(marks)) for marks in every}
check("FMP.19", every.issuperset(PAPER), True, "the paper's three examples are phases")


def marks_from_one(u):
    return [math.ceil(Fraction(12, 7) * (i + u)) for i in range(8)]


half, late = (marks_from_one(Fraction(k, 10)) for k in (5, 8))
rows = {
    "u = 0.5 ≤ 1/α": half,
    "the same, end at 12": [*half[:-1], 12],
    "u = 0.8 > 1/α": late,
    "the same, a₀ = 1": [1, *late[1:]],
}
fig, ax = plt.subplots(figsize=(4.5, 2.4))
for y, marks in enumerate(rows.values()):
    for k, (a, b) in enumerate(pairwise(marks)):
        wrong = b - a > 2 or b > 13
        color = COLORS["wrong"] if wrong else (BLUE, COLORS["data"])[k % 2]
        ax.barh(-y, b - a, 0.6, left=a - 0.5, color=color, edgecolor="white")
for pixel in range(1, 13):
    ax.axvline(pixel + 0.5, color=GREY, lw=0.5, alpha=0.4)
ax.axvspan(12.5, 13.5, color=GREY, alpha=0.15)
ax.set_yticks([0, -1, -2, -3], rows)
ax.set(xlim=(0.5, 13.5), xticks=range(1, 14), xlabel="pixel, counted from one")
ax.set_title("12 → 7, disjoint: only the first row is right")
plt.show()

# %% [markdown]
# In the second row the last pixel is in no region (FMP.E1). With $u>1/\alpha$ the first pixel is lost and the last region sticks
# out, third row. Put in $a_0=1$ by force and the first step can be three (FMP.E4), fourth row: $a_1\le\lceil2\alpha\rceil$, which
# is four once $\alpha>1.5$. With the phase there is nothing to force and nothing to clip.

# %% [markdown]
# ## 4. Which forms do the author's code, PyTorch and TensorFlow use?
#
# **The author and PyTorch re-anchor the sequence, so every $u$ works; but a uniform $u$ is not a uniform phase. TensorFlow forces
# both ends and makes words that no phase makes.**
#
# The author's program, and PyTorch after it, keep $u$ and subtract what is too much:
#
# $$ m_i = \lfloor\alpha(i+u)\rfloor-\lfloor\alpha u\rfloor = \lfloor\alpha i+\theta\rfloor, \qquad \theta=\alpha u-\lfloor\alpha u\rfloor \tag{FMP.20} $$
#
# (write $\alpha u=\lfloor\alpha u\rfloor+\theta$ and pull the whole number out of the floor). So PyTorch's sample $u$ is our phase
# $\theta$, the fractional part of $\alpha u$. A row of rising numbers shows where its regions start, since the largest of a
# square is its last:


# %%
def torchs_marks(n_in, n_out, u):
    """Where torch's regions of two pixels start, for every sample of u (draws,)."""
    row = torch.arange(n_in, dtype=u.dtype).expand(1, len(u), 1, n_in)
    samples = torch.stack((u, u), 1)[None]
    pool = nn.FractionalMaxPool2d((1, 2), (1, n_out), _random_samples=samples)
    return (pool(row)[0, :, 0] - 1).long()


u = torch.rand(200, dtype=torch.float64)
for n_in, n_out in ((25, 18), (35, 25), (10, 7), (93, 74)):
    alpha = Fraction(n_in - 2, n_out - 1)
    thetas = [alpha * Fraction(v) % 1 for v in u.tolist()]
    ours = [pooling_regions(n_in, n_out, phase=float(p))[0] for p in thetas]
    theirs = torchs_marks(n_in, n_out, u)
    check("FMP.20", torch.stack(ours), theirs, f"torch's starts, {n_in} to {n_out}")

# %% [markdown]
# If $u$ is uniform in $(0,1)$, as in PyTorch, then $\alpha u$ is uniform in $(0,\alpha)$ with density $1/\alpha$. A phase below
# $\alpha-1$ is reached twice, from $\theta$ and from $1+\theta$, any other once:
#
# $$ p(\theta) = \tfrac2\alpha \;\text{ for }\theta<\alpha-1, \qquad p(\theta)=\tfrac1\alpha \;\text{ for }\theta>\alpha-1 \tag{FMP.21} $$
#
# Some patterns are drawn twice as often as others (FMP.E7). The check counts: as $u$ runs through $(0,1)$, the marks change only
# where $\alpha u$ passes a multiple of $1/S$, so $D$ values of $u$, one in the middle of each piece, stand for all.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars: how often torch draws each of the 17 patterns of squares from 25 to 18, in the order of their phase. The first six have a share of 2/23, the other eleven of 1/23; a dotted line at 1/17 is what a uniform phase gives each."}} tags=["hide-input"]
# @title Checks of (FMP.20) and (FMP.21), and how often each pattern is drawn
def centres(pieces):
    return [Fraction(2 * k + 1, 2 * pieces) for k in range(pieces)]


def re_anchored(S, D, u):  # (FMP.20), left
    alpha = Fraction(D, S)
    return [math.floor(alpha * (i + u)) - math.floor(alpha * u) for i in range(S + 1)]


def shares_of(S, D):
    """How often u ~ U(0, 1) draws each word, by its phase: counted, and by (FMP.21)."""
    alpha, drawn = Fraction(D, S), [re_anchored(S, D, u) for u in centres(D)]
    counted = [Fraction(drawn.count(marks_of(S, D, p)), D) for p in centres(S)]
    density = [2 / alpha if theta < alpha - 1 else 1 / alpha for theta in centres(S)]
    return counted, [p * Fraction(1, S) for p in density]


for S, D in ((17, 23), (24, 33), (18, 25), (7, 9), (7, 12), (9, 17)):
    alpha = Fraction(D, S)
    us = [Fraction(k, 2 * D) for k in range(1, 2 * D)]  # αu is whole for some
    anchored = [re_anchored(S, D, u) for u in us]
    thetas = [alpha * u - math.floor(alpha * u) for u in us]
    phases = [marks_of(S, D, theta) for theta in thetas]
    check("FMP.20", anchored, phases, f"re-anchored = a phase, {S} steps to {D}")
    if math.gcd(S, D) == 1:  # else some pieces of the phase share a word
        text = f"share of each pattern, {S} steps to {D}"
        check("FMP.21", *shares_of(S, D), text)

shares = [float(share) for share in shares_of(17, 23)[0]]
fig, ax = plt.subplots()
ax.bar(range(1, 18), shares, color=PINK, label="torch: u uniform")
ax.axhline(1 / 17, color="black", linestyle=":", label="uniform phase, 1/17")
ax.set(xlabel="pattern, by its phase", ylabel="how often", ylim=(0, 0.13))
ax.set_xticks(range(1, 18, 4))
ax.set_title("25 → 18: torch draws six patterns twice as often")
ax.legend()
plt.show()
for name, (S, D) in {"squares": (17, 23), "disjoint": (18, 25)}.items():
    p = np.array(shares_of(S, D)[0], dtype=float)
    print(f"{name}: {-(p * np.log2(p)).sum():.2f} of {math.log2(S):.2f} bits")

# %% [markdown]
# The bias is small. The author's program of 2015 draws $u$ from $(0,10000)$, so a phase is reached $\lfloor10^4\alpha\rfloor$
# times or once more, which is next to uniform. (Training settings that people read from that repository are mostly later than the paper.)
#
# **Bit by bit PyTorch, under one condition.** On a CPU and given the same marks, the library's values and gradients are
# PyTorch's to the last bit (section 8). But PyTorch computes (FMP.20) in the dtype of its input. In float32 the product
# $\alpha(i+u)$ is rounded, and where it lies close to a whole number the floor can fall on the other side. The marks are then
# not those of (FMP.20):

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title How often float32 gives other marks
for n_in, n_out in ((93, 74), (35, 25), (10, 7)):
    S, D, i = n_out - 1, n_in - 2, torch.arange(n_out)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(20_000, generator=generator)  # float32: multiples of 2**-24
    whole = (u.double() * 2**24).long()[:, None]
    exact = (i * 2**24 + whole) * D // (S * 2**24) - whole * D // (S * 2**24)
    slope = torch.tensor(D / S)
    rounded = ((i + u[:, None]) * slope).long() - (u * slope).long()[:, None]
    rounded[:, -1] = D  # torch sets the last mark by hand
    theirs = torchs_marks(n_in, n_out, u)
    text = f"{n_in} to {n_out}: torch's marks are (FMP.20) in float32"
    check("FMP.20", rounded, theirs, text)
    wide = torchs_marks(n_in, n_out, u.double())
    check("FMP.20", exact, wide, "and in float64 those of exact arithmetic")
    other = int((theirs != exact).any(1).sum())
    print(f"{n_in} to {n_out}: float32 gives other marks in {other} of 20,000 draws")

# %% [markdown]
# *TensorFlow* counts from one as the paper does, forces both ends and draws $u$ from $(0,\min(3/\alpha-1,\,1))$ for $\alpha<2$:
# then $\alpha(1+u)\le3$ and the first step is at most two. The ends hold, but some of its words belong to no phase (FMP.E5).
#
# Who has what:
#
# | | marks | regions | one draw for | in evaluation |
# |---|---|---|---|---|
# | the paper | random, pseudorandom | disjoint, overlapping | – | drawn, averaged |
# | the author's code | random, pseudorandom | disjoint, squares | an image | drawn, averaged |
# | PyTorch | pseudorandom, $u$ uniform | squares of any size | a channel of an image | drawn (FMP.E8) |
# | TensorFlow | random, own rule | disjoint, intervals (last one clipped) | a batch | drawn |
# | this library | random, pseudorandom | disjoint, squares, intervals | batch, image or channel | drawn, or phase ½ |
#
# The library lacks TensorFlow's own words and clipped interval, and PyTorch's squares of other sizes. `output_ratio` is rounded
# to the nearest here and down in PyTorch (FMP.E6).

# %% [markdown]
# ## 5. What does overlapping add?
#
# **Pixels: for a ratio of $\sqrt2$ about 2, 4 or 5.8 of them for one output. More pixels make dense noise quieter and sparse dots
# louder.**
#
# Add up the widths of all regions of an axis. Disjoint ones are a partition. Squares have two pixels each. Intervals have their
# step and one more: $D+S=N_\text{in}-1+N_\text{out}$. Divide by their number:
#
# $$ \frac1{N_\text{out}}\sum_i|R_i| = \frac{N_\text{in}}{N_\text{out}},\qquad 2,\qquad \frac{N_\text{in}-1}{N_\text{out}}+1 \tag{FMP.22} $$
#
# Whatever the draw. Rows and columns multiply: an output sees the *square* of these on average. So the three kinds differ in how
# much they take together, not only in whether they overlap. (Some summaries read "overlapping" as regions of 3×3. An interval is
# three wide only where its step is two.)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, how many pixels an output sees from 25 to 18: disjoint regions have one, two or four, squares always four, intervals four, six or nine. Right, the standard deviation of a maximum over one to nine pixels: for dense uniform noise it falls from 0.29 to 0.09, for sparse dots, one pixel in twenty, it rises from 0.22 to 0.48."}} tags=["hide-input"]
# @title Check of (FMP.22), and what a maximum over more pixels does
generator = torch.Generator().manual_seed(0)
for n_in, n_out in ((35, 25), (13, 9), (11, 6), (7, 4)):
    counted = []
    for overlap in RULES:
        for kind in ("pseudorandom", "random"):
            draws = {"size": (20,), "generator": generator}
            r = pooling_regions(n_in, n_out, kind=kind, overlap=overlap, **draws)
            counted.append((r[1] - r[0]).double().mean(1))
    law = [n_in / n_out, 2.0, (n_in - 1) / n_out + 1]
    law = torch.tensor(law, dtype=torch.float64).repeat_interleave(2)
    law = law[:, None].expand(6, 20)
    check("FMP.22", torch.stack(counted), law, f"every draw, {n_in} to {n_out}")

fig, (left, right) = figures.panels(2)
for y, overlap in enumerate(RULES):
    starts, stops = pooling_regions(25, 18, overlap=overlap, phase=0.5)
    pixels = torch.outer(stops - starts, stops - starts).flatten()
    base = 0.0
    for count in pixels.unique().tolist():
        share = (pixels == count).double().mean().item()
        shade = 0.25 + 0.75 * count / 9
        left.barh(-y, share, 0.6, left=base, color=BLUE, alpha=shade, edgecolor="w")
        left.text(base + share / 2, -y, f"{count}", ha="center", va="center")
        base += share
    print(f"{overlap}: {pixels.double().mean():.2f} pixels for an output, 25 to 18")
root = 2**0.5
print(f"for √2 in large pictures {root**2:.0f}, 4 and {(root + 1) ** 2:.1f}")
left.set_yticks([0, -1, -2], RULES)
left.set(xlabel="share of outputs", title="Pixels for one output")
k = np.arange(1, 10)
dense = np.sqrt(k / ((k + 1) ** 2 * (k + 2)))  # maximum of k uniform numbers
dark = 0.95**k
sparse = np.sqrt(dark * (1 - dark))  # one if any of k pixels is a dot
square_of_mean, mean_of_square = (k / (k + 1)) ** 2, k / (k + 2)  # ∫ xʲ k xᵏ⁻¹ dx
check("FMP.22", dense**2, mean_of_square - square_of_mean, "dense noise: the variance")
patterns_of = [np.array([*product((0, 1), repeat=n)]) for n in k]
chances = [np.where(p, 0.05, 0.95).prod(1) for p in patterns_of]
dots = np.array(
    [chance[p.any(1)].sum() for p, chance in zip(patterns_of, chances, strict=True)]
)
check("FMP.22", sparse**2, dots * (1 - dots), "sparse dots: every pattern of k pixels")
right.plot(k, dense, "o-", color=BLUE, label="dense noise")
right.plot(k, sparse, "o-", color=ORANGE, label="sparse dots")
right.set(xlabel="pixels", ylabel="deviation", ylim=(0, 0.55), xticks=k[::2])
right.set_title("Deviation of their maximum")
right.legend()
plt.show()

# %% [markdown]
# The right panel is exact: the maximum of $k$ independent uniform numbers has the variance $k/((k+1)^2(k+2))$; with one dot in
# twenty pixels it is one with probability $1-0.95^k$, else zero. Feature maps are neither, so these curves alone do not say why
# overlapping regions win in the paper. [The experiments](fractional_max_pooling_experiments.ipynb) measure it.

# %% [markdown]
# ## 6. Who shares a draw, and how far may feature maps slip?
#
# **A draw for each channel moves feature maps against each other: after $L$ layers by less than $\frac{\alpha+1}{\alpha(\alpha-1)}$ of
# an output's own size. All channels of an image can share a draw, and then none slips.**
#
# Follow one output down to the picture. Output $i$ of the last of $L$ layers starts at mark $m^{(L)}_i$ of the layer below, that
# one at mark $m^{(L-1)}$ of *that* number, and so on. (A convolution of 2×2 in between leaves the start where it is.) Each
# pseudorandom mark is less than one from its even place (FMP.8), so
#
# $$ \bigl|\,m^{(1)}_{m^{(2)}_{\ddots m^{(L)}_i}} - \alpha_1\cdots\alpha_L\,i\,\bigr| < 1+\alpha_1+\alpha_1\alpha_2+\dots+\alpha_1\cdots\alpha_{L-1} \tag{FMP.23} $$
#
# *Proof.* By induction from the top. If the place in layer $l$ is off by less than $e$, the mark there is off by less than
# $\alpha_le$, plus less than one for its own rounding: $1+\alpha_l e$. Start with $e=0$ above layer $L$. $\blacksquare$
#
# *How far exactly?* By (FMP.15) mark $p$ of any pattern is $\lfloor\alpha p\rfloor$ or $\lceil\alpha p\rceil$, and there is a
# pattern that rounds all marks down ($t=S$) and one that rounds all up ($t=1$). Both roundings grow with $p$. So the extremes over
# all choices of patterns are
#
# $$ \lfloor\alpha_1\lfloor\alpha_2\cdots\lfloor\alpha_L i\rfloor\rfloor\rfloor \;\le\; m^{(1)}_{m^{(2)}_{\ddots m^{(L)}_i}} \;\le\; \lceil\alpha_1\lceil\alpha_2\cdots\lceil\alpha_L i\rceil\rceil\rceil \tag{FMP.24} $$
#
# and both are reached. The check tries every pattern of two and of three layers with unlike ratios, and finds the farthest place
# within 0.2 pixels of the bound: no term of (FMP.23) can be spared.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FMP.23) and (FMP.24): every pattern of two and three layers
def slopes(sides):
    """α of each layer for squares, from the picture up; sides such as (35, 25, 17)."""
    return [Fraction(n_in - 2, n_out - 1) for n_in, n_out in pairwise(sides)]


def bound_of(alphas):  # (FMP.23)
    return sum(math.prod(alphas[:layer]) for layer in range(len(alphas)))


def extremes(alphas, i, round_to):  # one side of (FMP.24)
    for alpha in reversed(alphas):
        i = round_to(alpha * i)
    return i


def farthest(alphas, n_out):  # by (FMP.24)
    even = [math.prod(alphas) * i for i in range(n_out)]
    up = [extremes(alphas, i, math.ceil) - even[i] for i in range(n_out)]
    down = [even[i] - extremes(alphas, i, math.floor) for i in range(n_out)]
    return max(up + down)


STACKS = ((57, 54, 28), (60, 34, 30), (33, 30, 16), (49, 35, 27, 24), (55, 50, 38, 24))
for sides in STACKS:
    place = np.arange(sides[-1])
    for n_in, n_out in reversed([*pairwise(sides)]):
        S, D = n_out - 1, n_in - 2
        every = np.array([by_threshold(S, D, t) for t in range(1, S + 1)])
        place = every[:, place]  # one more axis: the patterns of this layer
    place = place.reshape(-1, sides[-1])
    alphas, label = slopes(sides), " ← ".join(map(str, sides))
    found = [place.min(0), place.max(0)]
    chains = [
        [extremes(alphas, i, round_to) for i in range(sides[-1])]
        for round_to in (math.floor, math.ceil)
    ]
    check("FMP.24", np.array(found), np.array(chains), f"{label}: all patterns")
    scale = math.prod(alpha.denominator for alpha in alphas)
    even = scale * math.prod(alphas) * np.arange(sides[-1])
    off = Fraction(int(abs(scale * place - even.astype(int)).max()), scale)
    bound = bound_of(alphas)
    check("FMP.23", off < bound, True, f"{label}: within the bound")
    check("FMP.23", off > bound - Fraction(1, 5), True, "and within 0.2 of it")
    slip = int((place.max(0) - place.min(0)).max())
    most = math.prod(alphas[:-1]) + 2 * bound_of(alphas[:-1])
    check("FMP.24", slip, math.floor(most), f"{label}: how far channels can slip")

# %% [markdown]
# Now the paper's network, from one to five poolings deep (the sixth leaves nothing to chance), with draws of the library:


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Pixels off against the number of poolings, one to five. The bound rises from 1 to 10.4, the worst of all pseudorandom patterns from 0.9 to 7.4, and the farthest of 500 pseudorandom draws lies on it at every depth; the farthest of 500 random draws is 4.5 pixels off after one pooling, 9.7 after four and 8.6 after five, above the bound at all depths but the last."}} tags=["hide-input"]
# @title Figure: how far one to five layers move an output
def farthest_drawn(layers, kind, draws=500):
    generator, off = torch.Generator().manual_seed(0), 0.0
    slope = float(math.prod(alphas[:layers]))
    even = slope * torch.arange(sizes[layers - 1][1], dtype=torch.float64)
    for _ in range(draws):
        place = torch.arange(len(even))
        for n_in, n_out in reversed(sizes[:layers]):
            r = pooling_regions(n_in, n_out, kind=kind, generator=generator)
            place = r[0][place]
        off = max(off, (place - even).abs().max().item())
    return off


alphas = [Fraction(n_in - 2, n_out - 1) for n_in, n_out in sizes[:5]]
depths = range(1, 6)
bounds = [float(bound_of(alphas[:layers])) for layers in depths]
worst = [float(farthest(alphas[:n], sizes[n - 1][1])) for n in depths]
drawn = {
    kind: [farthest_drawn(layers, kind) for layers in depths]
    for kind in ("pseudorandom", "random")
}
pairs = zip(drawn["pseudorandom"], worst, bounds, strict=True)
inside = [off < limit + 1e-9 and limit < bound for off, limit, bound in pairs]
check("FMP.24", inside, [True] * 5, "draws of the library stay inside")
fig, ax = plt.subplots()
ax.plot(depths, bounds, ":", color="black", label="bound (FMP.23)")
ax.plot(depths, worst, "o-", color=BLUE, label="worst pattern (FMP.24)")
ax.plot(depths, drawn["pseudorandom"], "o", mfc="white", color=BLUE, label="500 draws")
ax.plot(depths, drawn["random"], "s", color=ORANGE, label="500 random draws")
ax.set(xlabel="poolings", ylabel="farthest output (pixels)", xticks=depths)
ax.set_title("Pseudorandom marks keep their bound")
ax.legend()
plt.show()
print(f"five layers: bound {bounds[-1]:.1f}, worst pattern {worst[-1]:.1f} pixels")
root = 2**0.5
print(f"√2: off by less than {1 / (root - 1):.2f} of an output's size,")
print(f"two channels by less than {(root + 1) / (root * (root - 1)):.2f}")

# %% [markdown]
# Already 500 draws meet the worst patterns. Random marks pass the bound except at the end, where pictures are small. If all
# $\alpha_l$ are $\alpha$, the geometric sum is below $\alpha^L/(\alpha-1)$. An output stands for $\alpha^L$ pixels, so it is
# off by less than $\frac1{\alpha-1}$ of its own size, 2.4 for $\sqrt2$, however deep the network.
#
# So two channels with draws of their own slip against each other by less than twice that, 4.8. One can say more. Both start from
# the same output of layer $L$, whose marks in two patterns are at most one apart. Further down, the marks of places that are $d$ apart
# are less than $\alpha d+2$ apart, by (FMP.8). A slip is therefore at most $\alpha^{L-1}+2\,(\alpha^{L-2}+\dots+1)$, less than
# $\alpha^{L-1}\frac{\alpha+1}{\alpha-1}$. Divide by $\alpha^L$: less than $\frac{\alpha+1}{\alpha(\alpha-1)}$ of an output's size, 4.1 for
# $\sqrt2$. In the check the sum, with the $\alpha_l$ of each stack, is reached to the last whole pixel.
#
# The next convolution adds up what belongs to different places. TensorFlow shares a draw in the batch, the author in an image, PyTorch
# not at all. [The experiments](fractional_max_pooling_experiments.ipynb) measure what each costs.

# %% [markdown]
# ## 7. What does averaging over passes guarantee?
#
# **For Brier's score and the logarithm, never a loss, and twelve passes collect eleven twelfths of the gain. For the error rate,
# nothing: it can rise towards 100%.**
#
# The lesson shows that the mean $\bar p_n$ of $n$ passes is never worse than the passes are on average (FMP.13). Two things can be
# said more exactly for Brier's score, the squared distance from the one-hot label $e$. First, the gain *is* how much the
# passes disagree. Expand $p_k-e=(p_k-\bar p_n)+(\bar p_n-e)$; the cross terms add up to nothing:
#
# $$ \frac1n\sum_k\lVert p_k-e\rVert^2 - \lVert\bar p_n-e\rVert^2 = \frac1n\sum_k\lVert p_k-\bar p_n\rVert^2 \tag{FMP.25} $$
#
# Second, let $B_n$ be the expected score of $n$ passes. By (FMP.14) it is $a+b/n$, so $B_1-B_n=b-\frac bn$, of all that can be
# gained, $B_1-B_\infty=b$. The share is the same for every network and every picture whose passes
# disagree at all:
#
# $$ \frac{B_1-B_n}{B_1-B_\infty} = 1-\frac1n \tag{FMP.26} $$
#
# Two passes get half, four three quarters, twelve eleven twelfths. For the logarithm there is a gain, too, the logarithm of the
# arithmetic mean less that of the geometric mean, but no such law.

# %%
p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
p, e = p.double(), torch.tensor([1.0, 0, 0], dtype=torch.float64)
B = {}
for n in (1, 2, 3, 5):  # every sequence of n passes out of four networks
    passes = torch.stack([p[list(ks)] for ks in product(range(4), repeat=n)])
    mean = passes.mean(1)
    B[n] = (mean - e).square().sum(1).mean()
    gain = (passes - e).square().sum(2).mean(1) - (mean - e).square().sum(1)
    spread = (passes - mean[:, None]).square().sum(2).mean(1)
    check("FMP.25", gain, spread, f"gain = disagreement, every sequence of {n}")
limit = (p.mean(0) - e).square().sum()
for n in (2, 3, 5):
    share = (B[1] - B[n]) / (B[1] - limit)
    check("FMP.26", share, 1 - 1 / n, f"share of the gain, {n} passes")

# %% [markdown]
# *Why no law for the error rate?* It asks only which entry is largest. Let two of three passes give the right class of two 0.51, and
# one give it nothing. One pass errs in a third of the cases. But the mean tends to 0.34, so many passes always err: **averaging
# raises the error rate while it lowers Brier's score.** Turn it round, two passes with 0.49 and one with 1, and the error falls
# from two thirds to nothing. Both in one picture, computed over all sequences:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two networks against the number of passes, one to twelve. Left, the error rate: for the one that is narrowly right it rises from 33 to 99 percent, for the one that is narrowly wrong it falls from 67 to 1 percent. Right, Brier's score: it falls for both, from 0.99 to 0.88 and from 0.35 to 0.24."}} tags=["hide-input"]
# @title Figure: an error rate that rises, and one that falls
NETWORKS = {
    "narrowly right: 0.51, 0.51, 0": (0.51, 0.0, ORANGE),
    "narrowly wrong: 0.49, 0.49, 1": (0.49, 1.0, BLUE),
}
fig, (left, right) = figures.panels(2)
counts = range(1, 13)
for label, (often, seldom, color) in NETWORKS.items():
    name, error, brier = label.split(":")[0], [], []
    for n in counts:
        k = np.arange(n + 1)  # how many of n passes are of the frequent kind
        chance = np.array([math.comb(n, j) * 2**j / 3**n for j in k])
        mean = (k * often + (n - k) * seldom) / n
        error.append(100 * chance[mean < 0.5].sum())
        brier.append((chance * 2 * (1 - mean) ** 2).sum())
    mean_of_all = (2 * often + seldom) / 3
    gained = (brier[0] - brier[11]) / (brier[0] - 2 * (1 - mean_of_all) ** 2)
    check("FMP.26", gained, 1 - 1 / 12, f"twelve passes, {name}")
    left.plot(counts, error, "o-", color=color, label=label, markersize=4)
    right.plot(counts, brier, "o-", color=color, markersize=4)
    print(f"{name}: mean {mean_of_all:.2f}, error {error[0]:.0f}% → {error[-1]:.0f}%")
    print(f"    and Brier's score {brier[0]:.2f} → {brier[-1]:.2f}")
left.set(xlabel="passes", ylabel="error (%)", ylim=(-3, 130), xticks=(1, 4, 8, 12))
left.legend(loc="upper left", fontsize=8)
right.set(xlabel="passes", ylabel="Brier's score", ylim=(0, None), xticks=(1, 4, 8, 12))
left.set_title("Errors may rise")
right.set_title("Brier's score falls by (FMP.26)")
plt.show()

# %% [markdown]
# ## 8. How does the library's layer differ from the lesson's?
#
# **Values and ties are the same. The lesson keeps a stride-one pooling with all its indices for the way back, the library nothing but the
# place of each output.**
#
# The lesson takes $M$ of (FMP.9), `F.max_pool2d` of stride one, and indexes it with the marks. That kernel, too, takes the first of
# equals, so the gradients are those of (FMP.10). (Writing $M$ with `torch.maximum` would not do: it gives each of two equal values half
# of the gradient.) But autograd keeps the picture and a 64-bit index for every place of $M$ (for $\alpha\approx\sqrt2$ twice as many as
# there are outputs), and the lesson's layer draws once for the whole batch.
#
# The library, too, pools at every place, since neighbours are the same numbers read further on, which needs no index and suits
# a processor. It carries along *where* the largest value is; then each output looks up its place, and there its value. In short,
# for one plane of squares:


# %%
def read_at_marks(x, rows, columns):
    """The lesson's way: (FMP.9), the rest by autograd."""
    M = F.max_pool2d(x.view(-1, 1, *x.shape[-2:]), 2, stride=1)
    return M[..., rows, :][..., columns].view(*x.shape[:-2], len(rows), len(columns))


def carry_places(x, rows, columns):
    """The library's idea: values, the place that each comes from, and how many operations that takes."""
    place = torch.arange(x.numel()).view(x.shape)
    right = x[:, 1:] > x[:, :-1]
    place = torch.where(right, place[:, 1:], place[:, :-1])
    best = torch.maximum(x[:, 1:], x[:, :-1])
    down = best[1:] > best[:-1]
    place = torch.where(down, place[1:], place[:-1])[rows][:, columns]
    return x.flatten()[place], place, 3 * right.numel() + 2 * down.numel()


# %% [markdown]
# That is five operations on about $N_\text{in}^2$ numbers; the maximum of four is never computed. Along the row goes first: that is
# what finds the first of equals in row-major order (FMP.E10). Details that the short form lacks:
#
# - *Unequal widths.* Disjoint regions and intervals compare only as far as the region that starts at a place goes.
# - *NaN.* It counts as larger than anything, and of two the later gets the gradient, as in PyTorch: a NaN should be seen.
# - *What is kept.* The place of the winner in its plane, two bytes an output (four from 182×182 pixels on).
#   PyTorch keeps a 64-bit index for each output, and the input.
# - *Differentiation.* The backward pass is made of ordinary operations, so gradients of gradients work. `torch.func`
#   transforms do not. Under `torch.compile`, `torch.export` and `torch.jit.trace` the layer is ordinary operations as well.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: values and gradients bit by bit, ties, NaN, the second derivative
generator = torch.Generator().manual_seed(1)
x = torch.randint(-3, 4, (8, 3, 35, 35), generator=generator).float()
x = torch.where(x.abs() < 2, torch.copysign(torch.zeros(()), x), x)  # ±0, many ties
x[0, 0, 3:5, 3:6] = x[2, 1, 20, 9] = torch.nan
x.requires_grad_()
samples = torch.randint(2**10, (8, 3, 2), generator=generator) / 2**10
theirs = nn.FractionalMaxPool2d(2, 25, _random_samples=samples)(x)
starts = [  # u in multiples of 2⁻¹⁰ and α = 11/8: exact in float32, too
    torch.stack(
        [
            pooling_regions(35, 25, phase=float(Fraction(u) * 33 / 24 % 1))[0]
            for u in samples[..., axis].flatten().tolist()
        ]
    ).view(8, 3, 25)
    for axis in (1, 0)  # torch's first sample is that of the columns
]
regions = [(start, start + 2) for start in starts]
ours = fractional_max_pool2d(x, *regions)
check("FMP.1", ours.isnan(), theirs.isnan(), "NaN in the same places")
bits = [y.detach().nan_to_num(7.0).view(torch.int32) for y in (ours, theirs)]
check("FMP.1", *bits, "24 pairs of draws, one per channel: every bit of torch's values")
g = torch.randn(ours.shape, generator=generator)
gradients = [torch.autograd.grad(y, x, g)[0].view(torch.int32) for y in (ours, theirs)]
check("FMP.10", *gradients, "every bit of its gradients, ties and NaN included")

plane, rows, columns = x[1, 0].detach(), starts[0][1, 0], starts[1][1, 0]
squares = (rows, rows + 2), (columns, columns + 2)
pooled = fractional_max_pool2d(plane, *squares)
check("FMP.9", read_at_marks(plane, rows, columns), pooled, "read at the marks")
values, places, _ = carry_places(plane, rows, columns)
check("FMP.9", values, pooled, "the places carried along")
leaf, above = plane.clone().requires_grad_(), g[1, 0]
by_place = torch.zeros(plane.numel()).index_put((places,), above, accumulate=True)
by_place = by_place.view_as(plane)
(down_ours,) = torch.autograd.grad(fractional_max_pool2d(leaf, *squares), leaf, above)
check("FMP.10", by_place, down_ours, "these places get the gradient")
(lessons,) = torch.autograd.grad(read_at_marks(leaf, rows, columns), leaf, above)
check("FMP.10", lessons, down_ours, "the lesson's way, ties included")

smooth = torch.randn(2, 3, 9, 9, generator=generator).double().requires_grad_()
small = [pooling_regions(9, 6, phase=phase) for phase in (0.3, 0.8)]
y = fractional_max_pool2d(smooth, *small)
v = torch.randn(smooth.shape, generator=generator).double()
(slope,) = torch.autograd.grad((y**3).sum(), smooth, create_graph=True)
(second,) = torch.autograd.grad((slope * v).sum(), smooth)
h = 1e-5  # the slope at two places on either side
up, down = (
    torch.autograd.grad((fractional_max_pool2d(z, *small) ** 3).sum(), z)[0]
    for z in (smooth + h * v, smooth - h * v)
)
text = "its derivative, against finite differences"
check("FMP.10", second, (up - down) / (2 * h), text, rtol=1e-6, atol=1e-6)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars of the bytes that are kept for the backward pass for each output, from 35 to 25 pixels: the lesson's way 23, PyTorch's layer 16, the library two."}} tags=["hide-input"]
# @title Figure: what is kept for the backward pass
x = torch.randn(8, 3, 35, 35, requires_grad=True)
rivals = {
    "the lesson's": lambda: read_at_marks(x, rows, columns),
    "torch's": lambda: nn.FractionalMaxPool2d(2, 25)(x),
    "the library's": lambda: FractionalMaxPool2d(25)(x),
}
kept = {name: saved_bytes(f) / (8 * 3 * 25 * 25) for name, f in rivals.items()}
fig, ax = plt.subplots(figsize=(4.5, 2.2))
ax.barh([*kept], kept.values(), color=[GREEN, PINK, BLUE])
for y, (name, count) in enumerate(kept.items()):
    ax.text(count + 0.5, y, f"{count:.1f}", va="center")
    print(f"{name}: {count:.1f} bytes an output kept")
ax.set(xlabel="bytes for each output, float32", xlim=(0, 1.15 * max(kept.values())))
ax.set_title("35 → 25: the library keeps an eighth of PyTorch's")
plt.show()

# %% [markdown]
# ## 9. Errata and conventions
#
# **Ten statements that are in print, in use or easily read into what is printed, and do not hold; each beside what does.**
#
# *The paper's ends.* Both sequences run "from 1 to $N_\text{in}$". Disjoint regions then miss the last row and column; right is
# $N_\text{in}+1$ (section 3):
#
# $$ a_{N_\text{out}} = N_\text{in} \;\text{ (disjoint)} \tag{FMP.E1} $$
#
# *A review's formulas.* In the paper $P_{ij}$ is the set of pixels of output $(i,j)$, with marks $a$ for the rows and $b$ for the
# columns. Right is $[a_{i-1},\,a_i-1]\times[b_{j-1},\,b_j-1]$ for disjoint regions. In a public review the $-1$ has slipped into the
# subscript, which leaves one pixel for each region:
#
# $$ P_{ij} = [a_{i-1},\,a_{i-1}]\times[b_{j-1},\,b_{j-1}] \tag{FMP.E2} $$
#
# Its overlapping regions have a stray 1 after $b_j$. Read as $b_j-1$, rows overlap and columns do not, and the last column is never
# read; right is $[a_{i-1},\,a_i]\times[b_{j-1},\,b_j]$:
#
# $$ P_{ij} = [a_{i-1},\,a_i]\times[b_{j-1},\,b_j-1] \tag{FMP.E3} $$
#
# It also prints $\lceil\alpha\,|\,(i+u)\rceil$, a bar where the product was, and makes $P_{ij}$ a subset of
# $\{1,\dots,N_\text{in}\}$, which should be squared: regions hold *pairs* of indices.
#
# *Some $u$.* The paper allows some $u\in(0,1)$. For $u\le1/\alpha$ the sequence starts at one by itself and all
# steps are one or two. With $a_0=1$ forced, the first is three where $\alpha(1+u)>3$:
#
# $$ a_0=1,\quad a_i=\lceil\alpha(i+u)\rceil,\quad u\in(0,1) \quad\Rightarrow\quad a_{i+1}-a_i\le2 \tag{FMP.E4} $$
#
# *TensorFlow.* It forces both ends (section 4). If its words were those of a phase, there would be as many:
#
# $$ \#\{\text{words of TensorFlow's rule}\} = \frac{S}{\gcd(S,D)} \tag{FMP.E5} $$


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Refutations of (FMP.E1) to (FMP.E3)
alpha, u = Fraction(25, 18), Fraction(1, 3)
a = [math.ceil(alpha * (i + u)) for i in range(19)]  # (FMP.19), counted from one
seen = {k for first, stop in pairwise(a) for k in range(first, stop)}
check("FMP.19", sorted(seen), [*range(1, 26)], "ends at N_in + 1: all 25 pixels")
seen = {k for first, stop in pairwise([*a[:-1], 25]) for k in range(first, stop)}
refute("FMP.E1", len(seen), 25, "ends at N_in: a pixel is missed")


def maxima(x, a, b, cut_rows, cut_columns):
    """Maxima over [a_{i−1}, a_i − cut] × [b_{j−1}, b_j − cut], counted from one."""
    rows = [slice(p - 1, q - cut_rows) for p, q in pairwise(a)]
    columns = [slice(p - 1, q - cut_columns) for p, q in pairwise(b)]
    return torch.stack([torch.stack([x[r, c].max() for c in columns]) for r in rows])


x = torch.randn(25, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
b = [math.ceil(alpha * (i + Fraction(2, 3))) for i in range(19)]
ours = [
    pooling_regions(
        25, 18, overlap="disjoint", phase=float(alpha * u - Fraction(1, 99))
    )
    for u in (Fraction(1, 3), Fraction(2, 3))
]
disjoint = fractional_max_pool2d(x, *ours)
check("FMP.3", maxima(x, a, b, 1, 1), disjoint, "the paper's disjoint regions = ours")
one_pixel = x[torch.tensor(a[:-1]) - 1][:, torch.tensor(b[:-1]) - 1]
refute("FMP.E2", one_pixel, disjoint, "one pixel a region is no pooling")

alpha = Fraction(24, 18)
a, b = (
    [math.ceil(alpha * (i + u)) for i in range(19)]
    for u in (Fraction(1, 3), Fraction(2, 3))
)
ours = [
    pooling_regions(
        25, 18, overlap="interval", phase=float(alpha * u - Fraction(1, 99))
    )
    for u in (Fraction(1, 3), Fraction(2, 3))
]
intervals = fractional_max_pool2d(x, *ours)
check(
    "FMP.3", maxima(x, a, b, 0, 0), intervals, "its overlapping regions = our intervals"
)
refute("FMP.E3", maxima(x, a, b, 0, 1), intervals, "columns that do not overlap")
# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Refutations of (FMP.E4) and (FMP.E5)
steep, steps = Fraction(1732, 1000), {}
for u in (Fraction(k, 100) for k in range(1, 100)):
    forced = [1, *(math.ceil(steep * (i + u)) for i in range(1, 10))]
    steps[u] = max(q - p for p, q in pairwise(forced))
valid = {step for u, step in steps.items() if u <= 1 / steep}
check("FMP.19", [*valid], [2], "α = 1.732, u ≤ 1/α: steps of at most two")
three = [u for u, step in steps.items() if step == 3]
steeper = [u for u in steps if steep * (1 + u) > 3]
check("FMP.19", three, steeper, "and of three, a₀ = 1 forced, where α(1 + u) > 3")
refute("FMP.E4", steps[Fraction(8, 10)], 2, "u = 0.8: the first step is three")


def tensorflows_marks(n_in, n_out, u):
    """Our reading of the rule in TensorFlow's source, counted from zero."""
    inner = [math.ceil(Fraction(n_in, n_out) * (i + u)) - 1 for i in range(1, n_out)]
    return [0, *inner, n_in]


def largest_u(n_in, n_out):
    return min(3 / Fraction(n_in, n_out) - 1, 1)


def tensorflows_words(n_in, n_out):
    """All lists of marks that the rule makes, with u from 0 to the largest."""
    grid = [largest_u(n_in, n_out) * Fraction(k, 2000) for k in range(1, 2000)]
    return {tuple(tensorflows_marks(n_in, n_out, u)) for u in grid}


for n_in, n_out in ((25, 18), (12, 7)):
    label, theirs = f"{n_in} to {n_out}", tensorflows_words(n_in, n_out)
    taken = {b - a for marks in theirs for a, b in pairwise(marks)}
    check("FMP.2", sorted(taken), [1, 2], f"TensorFlow's steps, {label}: one and two")
    of_a_phase = {tuple(by_threshold(n_out, n_in, t)) for t in range(1, n_out + 1)}
    formula = n_out // math.gcd(n_out, n_in)
    check("FMP.16", len(of_a_phase), formula, f"words of a phase, {label}")
    refute("FMP.E5", len(theirs), formula, "TensorFlow's rule makes more")
    shared = len(theirs & of_a_phase)
    print(f"TensorFlow, {label}: {len(theirs)} words, {shared} of them of a phase")
above = tensorflows_marks(12, 7, largest_u(12, 7) + Fraction(1, 10**6))
check("FMP.2", above[1], 3, "12 to 7, a larger u: the first step is three")

# %% [markdown]
# *PyTorch.* `output_ratio` rounds down, where the size nearest to $N_\text{in}/\alpha$ is the right one (FMP.11); a uniform $u$
# favours some patterns (section 4); and regions stay random in `eval()`, which averaging needs and a reader may not expect:
#
# $$ N_\text{out} = \lfloor N_\text{in}/\alpha\rfloor \tag{FMP.E6} $$
#
# $$ u\sim\mathcal U(0,1) \;\Rightarrow\; \text{all patterns are equally likely} \tag{FMP.E7} $$
#
# $$ \text{eval}() \;\Rightarrow\; y \text{ is a function of } x \tag{FMP.E8} $$
#
# *Counts.* One might expect as many pseudorandom patterns as outputs. That holds for disjoint regions of coprime sizes; squares
# have one step less and another slope:
#
# $$ \#\text{pseudorandom squares} = N_\text{out} \tag{FMP.E9} $$
#
# *Ties.* Reducing along the columns first finds the same maxima, and among equals other winners than the first in row-major order.
# One might expect
#
# $$ \operatorname{argmax}_{kl}x_{kl} = \Bigl(\operatorname{argmax}_k x_{kl^*},\;l^*\Bigr),\qquad l^*=\operatorname{argmax}_l\max_kx_{kl} \tag{FMP.E10} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The other five refutations
zeros, ratio = torch.zeros(1, 1, 35, 35), 2**-0.5
ours = FractionalMaxPool2d(output_ratio=ratio)(zeros).shape[-1]
check("FMP.11", ours, math.floor(35 / 2**0.5 + 0.5), "the library pools 35 by √2 to 25")
theirs = nn.FractionalMaxPool2d(2, output_ratio=ratio)(zeros).shape[-1]
refute("FMP.E6", theirs, 25, "torch pools 35 by √2 to 24")

middles = (torch.arange(23, dtype=torch.float64) + 0.5) / 23  # one u a piece, section 4
counts = torchs_marks(25, 18, middles).unique(dim=0, return_counts=True)[1]
law = shares_of(17, 23)[1]
found = [Fraction(count, 23) for count in sorted(counts.tolist())]
check("FMP.21", found, sorted(law), "torch's shares: 1/23 or 2/23")
refute("FMP.E7", found, [Fraction(1, 17)] * 17, "which are not 1/17 each")

torch.manual_seed(0)
layer = nn.FractionalMaxPool2d(2, 18).eval()
picture = x[None, None]
refute("FMP.E8", layer(picture), layer(picture), "torch's layer in evaluation, twice")
fixed = FractionalMaxPool2d(18, deterministic_eval=True).eval()
half = [math.floor(Fraction(23, 17) * i + Fraction(1, 2)) for i in range(18)]
half = torch.tensor(half)
at_half = fractional_max_pool2d(picture, (half, half + 2), (half, half + 2))
check("FMP.5", fixed(picture), at_half, "ours with deterministic_eval: phase ½, always")

generator = torch.Generator().manual_seed(0)
drawn = pooling_regions(35, 25, size=(4000,), generator=generator)[0].unique(dim=0)
formula = 24 // math.gcd(24, 33)
check("FMP.16", len(drawn), formula, "squares from 35 to 25: eight patterns")
refute("FMP.E9", len(drawn), 25, "and not as many as outputs")

ties = torch.tensor([[0.0, 0, 1], [0, 1, 0]], dtype=torch.float64, requires_grad=True)
whole = [(torch.tensor([0]), torch.tensor([side])) for side in ties.shape]
(ours,) = torch.autograd.grad(fractional_max_pool2d(ties, *whole).sum(), ties)
first = [float(place == 2) for place in range(6)]  # the first of the two ones
check("FMP.10", ours.flatten(), first, "the first in row-major order gets the gradient")
column = int(ties.amax(0).argmax())
wrong = 3 * int(ties[:, column].argmax()) + column
check("FMP.1", ties.flatten()[wrong], ties.max(), "columns first: the same maximum")
refute("FMP.E10", wrong, int(ties.flatten().argmax()), "columns first: another pixel")

# %% [markdown]
# *Random or pseudorandom?* Summaries say that random regions are best. The paper's small experiments without dropout say so; the
# author's scripts for the record networks use pseudorandom ones, with dropout (the scripts that we know of are later than the
# paper). That is no contradiction; [the experiments](fractional_max_pooling_experiments.ipynb) test both. And *overlapping* means
# squares in the paper's text and in the author's code, intervals in its formula: two layers, so here they have two names.

# %% [markdown]
# ## 10. What does it cost?
#
# **Like for like, a draw for each channel, squares take 0.43 to 0.49 of the time of PyTorch's layer on large inputs; from 10 to 7, 6 to 4
# and 3 to 2 pixels in batches of 50 they take 0.67, 1.00 and 1.71 of it, and on a single small image four times as long.**
#
# *Operations.* The direct way compares three times for an output of a square. Pooling at every place (section 8) takes a comparison,
# a maximum and a choice of the place for $N_\text{in}(N_\text{in}-1)$ pairs along the rows, and a comparison and a choice for
# $(N_\text{in}-1)^2$ pairs along the columns, where nobody asks for the maximum:
#
# $$ \#\text{operations} = (5N_\text{in}-2)\,(N_\text{in}-1) < 5\,N_\text{in}^2 \tag{FMP.27} $$
#
# That is at most $5\,(N_\text{in}/N_\text{out})^2$ for an output, ten for $\sqrt2$. Three times as many as needed, but on contiguous
# numbers, of which a processor does eight or sixteen at a time; and then two look-ups.
#
# *Traffic.* The layer must read $x$ and write $y$, and on the way back read the gradient and write one for $x$: with
# $N_\text{in}/N_\text{out}=\sqrt2$ three numbers a pixel. It passes more often over numbers in the cache instead, since PyTorch runs
# one operation at a time.
#
# *Growth.* Linear in pixels, channels and images. Poolings by $\sqrt[3]2$ see more pixels than halving: over the layers the
# geometric series $1/(1-2^{-2/3})$ times the first layer's, against $1/(1-2^{-2})$. At equal channels the convolutions of a
# fractional network grow alike; that, and not the pooling, is its price.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (FMP.27), by the operations that PyTorch runs
class Operations(TorchFunctionMode):
    """Counts the numbers that comparisons, maxima and choices give."""

    count = 0

    def __torch_function__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.__name__ in ("gt", "maximum", "where"):
            self.count += result.numel()
        return result


for n_in, n_out in ((35, 25), (93, 66), (4, 3)):
    r = pooling_regions(n_in, n_out, phase=0.5)[0]
    with Operations() as run:
        carry_places(torch.zeros(n_in, n_in), r, r)
    formula = (5 * n_in - 2) * (n_in - 1)
    check("FMP.27", run.count, formula, f"operations, {n_in} to {n_out}")
    check("FMP.27", formula < 5 * n_in**2, True, "and the bound")

# %%
for n_in, n_out in ((35, 25), (93, 66)):
    r = pooling_regions(n_in, n_out, phase=0.5)[0]
    operations = carry_places(torch.zeros(n_in, n_in), r, r)[2]
    check("FMP.27", operations, (5 * n_in - 2) * (n_in - 1), "as section 8 counts them")
    per_output, limit = operations / n_out**2, 5 * (n_in / n_out) ** 2
    print(f"{n_in} → {n_out}: {per_output:.2f} an output, at most {limit:.2f}")
print(f"the series: {1 / (1 - 2 ** (-2 / 3)):.2f} against {1 / (1 - 2**-2):.2f}")

# %% [markdown]
# By the clock: one process, one thread, forward and backward, drawing included, each rival in turn with
# `torch.nn.FractionalMaxPool2d`. PyTorch draws for every channel. Only the filled dots do as much; a draw for each image or batch is
# less work, and disjoint regions, intervals and halving are other layers.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of dots, a row for each input shape: time over that of PyTorch's layer, a vertical line at one. Left, squares: a filled dot for a draw per channel, as PyTorch draws, hollow ones for a draw per image and per batch. Right, with a draw per batch: disjoint regions, intervals, and ordinary max-pooling by two."}} tags=["hide-input"]
# @title Figure: time over that of PyTorch's layer
cost = sweep(experiment.COST, "book", device="cpu")
shapes = [
    f"{row.batch_size}×{row.channels}, {row.n_in}→{row.n_out}"
    for row in cost.itertuples()
]
places = -np.arange(len(cost))
fig, (left, right) = figures.panels(2, sharey=True)
fig.set_size_inches(6.4, 1.6 + 0.3 * len(cost))
for panel, column, label, marker, color, fill in (
    (left, "square_channel", "draw per channel, as torch", "o", BLUE, BLUE),
    (left, "square_image", "per image: fewer", "s", BLUE, "white"),
    (left, "square_batch", "per batch: fewer", "D", BLUE, "white"),
    (right, "disjoint_batch", "disjoint, per batch", "D", COLORS["data"], "white"),
    (right, "interval_batch", "interval, per batch", "D", GREEN, "white"),
    (right, "halving", "max-pooling by two", "X", GREY, GREY),
):
    dots = {"marker": marker, "color": color, "mfc": fill, "linestyle": "", "zorder": 3}
    panel.plot(cost[f"{column}_ratio"], places, label=label, **dots)
for panel, title in ((left, "Squares"), (right, "Other layers")):
    panel.axvline(1, color="black", lw=0.8, linestyle=":")
    panel.set(xscale="log", xlabel="time / torch's layer", title=title)
    low, high = panel.get_xlim()
    ticks = [tick for tick in (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if low < tick < high]
    panel.set_xticks(ticks or [1], [f"{tick:g}" for tick in ticks or [1]])
    panel.minorticks_off()
    panel.grid(axis="y", alpha=0.3)
left.set_yticks(places, shapes)
left.set_ylim(0.5 - len(cost), 0.5)
fig.legend(loc="outside lower center", ncols=2)
plt.show()
is_large = cost.batch_size * cost.channels * cost.n_in**2 > 10**6
for size, rows in (("large", cost[is_large]), ("small", cost[~is_large])):
    for name in ("channel", "image", "batch") if len(rows) else ():
        r = rows[f"square_{name}_ratio"]
        print(f"{size}, squares, a draw per {name}: {r.min():.2f} to {r.max():.2f}")
ours, theirs = cost.ours_bytes.max(), cost.torch_bytes.min()
print(f"bytes an output kept: at most {ours:.1f}, torch's at least {theirs:.1f}")

# %% [markdown]
# `make bench` repeats this on your machine.

# %% [markdown]
# ## 11. Harder exercises
#
# Fill in the stub, run it, then call the checker on it, such as `check_exercise_5(phases_of)`.
#
# **5 (theory).** Which phases give a word? For a word of ones and twos, return the interval $[\text{low},\text{high})$ of all phases
# $\theta$ for which (FMP.5) has these steps, as two `Fraction`s, with $\alpha=D/S$ from the word itself; or None if there is no such
# phase. Hint: every mark bounds the phase from both sides.


# %% tags=["exercise-5"]
def phases_of(word: list[int]) -> tuple[Fraction, Fraction] | None:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(phases_of):
    for S, D in ((7, 10), (8, 12), (9, 13), (5, 5)):
        by_word = {}
        for k in range(12 * S):
            marks = marks_of(S, D, Fraction(k, 12 * S))
            word = tuple(b - a for a, b in pairwise(marks))
            by_word.setdefault(word, []).append(Fraction(k, 12 * S))
        for word in words(S, D):
            answer = phases_of(list(word))
            found = by_word.get(tuple(word))  # steps change only at multiples of 1/S
            expected = (found[0], found[-1] + Fraction(1, 12 * S)) if found else None
            assert answer == expected, f"word {word}: {answer}, expected {expected}"
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
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
# **6 (theory).** How do two marks of one random word move together? Extend (FMP.18): derive and return $\operatorname{Cov}[m_i,m_j]$
# of the random word of $S\ge2$ steps to $D$, for $0\le i\le j\le S$.


# %% tags=["exercise-6"]
def covariance(S: int, D: int, i: int, j: int) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(covariance):
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
# <details><summary>Solution 6</summary>
#
# The steps have the variance $v=q(1-q)$ each, and all pairs have the same covariance $c$. The sum of all is fixed, so
# $Sv+S(S-1)c=0$ and $c=-v/(S-1)$. The first $i$ and the first $j$ steps share $i$ steps and $ij-i$ pairs of different ones:
# $iv+(ij-i)c=iv\bigl(1-\frac{j-1}{S-1}\bigr)=\frac{i(S-j)}{S-1}v$. With $i=j$ that is (FMP.18): a Brownian bridge in whole numbers.
#
# ```python
# def covariance(S, D, i, j):
#     q = (D - S) / S
#     return i * (S - j) / (S - 1) * q * (1 - q)
# ```
#
# </details>
#
# **7 (theory).** You have the probabilities of two passes only, $p_1$ and $p_2$, and the label. Return an *unbiased* estimate of
# Brier's score after infinitely many passes, the $B_\infty$ of (FMP.26).


# %% tags=["exercise-7"]
def limit_score(p1, p2, target):
    """p1, p2 (classes,) of two passes, target (classes,) one-hot -> a number"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-7-checker", "hide-input"]
# @title Checker 7
def check_exercise_7(limit_score):
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
# <details><summary>Solution 7</summary>
#
# $p_1$ and $p_2$ are independent with the same mean, so the mean of a product of one factor of each is the product of their means:
# $\mathrm E\,(p_1-e)\cdot(p_2-e)=\lVert\mathrm E\,p-e\rVert^2$.
#
# ```python
# def limit_score(p1, p2, target):
#     return (p1 - target) @ (p2 - target)
# ```
#
# </details>

# %% [markdown]
# ## 12. Symbols and further reading
#
# What the lesson's table does not have:
#
# | Symbol | In code | Meaning | Equation |
# |---|---|---|---|
# | $t$ | `threshold` | the whole number that decides a pseudorandom word | (FMP.15) |
# | $q_i$, $r_i$, $g$ | – | quotient and remainder of $iD$ by $S$; $\gcd(S,D)$ | (FMP.15) |
# | $f$, $q$ | `f`, `q` | fractional part of $\alpha i$; share of twos | (FMP.17), (FMP.18) |
# | $a_i$, $b_j$, $P_{ij}$ | `a`, `b` | the paper's marks, from one, and regions | (FMP.19), (FMP.E1) |
# | $u$ | `_random_samples` | the paper's and PyTorch's form of the phase | (FMP.19), (FMP.20) |
# | $B_n$ | `B` | expected Brier score of the mean of $n$ passes | (FMP.26) |
#
# - Graham, *Fractional Max-Pooling*, 2014 ([arXiv 1412.6071](https://arxiv.org/abs/1412.6071)): the paper. Its experiments on
#   handwriting and on CIFAR are not repeated here.
# - Zeiler, Fergus, *Stochastic Pooling for Regularization of Deep Convolutional Neural Networks*, 2013
#   ([arXiv 1301.3557](https://arxiv.org/abs/1301.3557)): fixed regions, and a random pixel of each.
# - Springenberg et al., *Striving for Simplicity: The All Convolutional Net*, 2014
#   ([arXiv 1412.6806](https://arxiv.org/abs/1412.6806)): strides in place of pooling, which is what most networks do today.
# - Zhang, *Making Convolutional Networks Shift-Invariant Again*, 2019
#   ([arXiv 1904.11486](https://arxiv.org/abs/1904.11486)): blur before you subsample.
# - Riad et al., *Learning Strides in Convolutional Neural Networks*, 2022
#   ([arXiv 2202.01653](https://arxiv.org/abs/2202.01653)): fractional strides, learned.
# - PyTorch's documentation of
#   [FractionalMaxPool2d](https://docs.pytorch.org/docs/stable/generated/torch.nn.FractionalMaxPool2d.html).
