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
# # Memory-augmented networks: the theory
#
# **How sharp a read can be, what is blank, how long a slot lives, what can be guessed, gradients, the Turing machine's addressing, what
# episodes teach, cost, errata: what stands behind [the lesson](memory_augmented.ipynb).** The measurements are in
# [the experiments](memory_augmented_experiments.ipynb). Sections can be read in any order; their code uses functions from above. Symbols
# are those of the lesson. These return on every screen: a memory $M_t$ of $N$ slots of width $M$, with the rows $M_t(i)$; a key $k_t$
# and its cosine $K$ with a row; weights $w^r_t$ of a read and $w^w_t$ of a write; the usage $w^u_t$, which decays by $\gamma$; $\ell_t$,
# one at the least used slot; the gate $\sigma(\alpha_t)$ of a write; $C$ classes in an episode of $T$ steps. Statements about the paper
# are from memory.

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
import itertools
import math
import time
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from workedpapers.experiments import memory_augmented as experiment
from workedpapers.lab import check, figures, refute, setup, sweep
from workedpapers.memory_augmented import (
    LeastRecentlyUsedMemory,
    MemoryAugmentedNetwork,
    MemoryState,
    TuringMemory,
    cosine_similarity,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK, YELLOW = (COLORS[role] for role in ("muted", "peer", "wrong"))
source = torch.Generator().manual_seed(0)


def random_keys(*shape, width=40):
    """Keys as a controller emits them: in (−1, 1)."""
    return torch.randn(*shape, width, generator=source).tanh()


# %% [markdown]
# ## 1. How sharp can a read be?
#
# **Not sharp: of 128 slots the best match gets at most 5.5% of the weight, and 2.1% where the others are orthogonal to the key. A read is
# nearly the mean of the memory.**
#
# A cosine lies between $-1$ and $1$, and the paper's softmax (MANN.4) has no factor in front of it. Put one there, $\beta$, which is one
# in the paper. The largest exponent is then at most $2\beta$ above the smallest:
#
# $$ \max_iw(i) \le e^{2\beta}\,\min_iw(i) \tag{MANN.13} $$
#
# The weights add up to one, and each of the other $N-1$ is at least $e^{-2\beta}$ times the largest. Solve for the largest:
#
# $$ \max_iw(i) \le \frac{e^{2\beta}}{e^{2\beta}+N-1} \tag{MANN.14} $$
#
# Both are reached by one slot along the key and all others against it. If the others are orthogonal or blank, $e^{\beta}$ stands for
# $e^{2\beta}$. With no factor, twice the memory has nearly half the peak:


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Largest possible weight of one slot against the number of slots from 2 to 4,096, both on log axes, for key strengths 1, 3, 10 and 30, as solid lines; dashed lines for orthogonal other slots lie below them. At strength 1 the solid line falls with slope minus one from some ten slots on and passes a dot at 128 slots and 5.5 percent, the dashed one a dot at 2.1 percent. At strengths 10 and 30 the solid lines stay at one."}} tags=["hide-input"]
# @title Figure: the largest weight against the number of slots
def largest(N, beta):  # the right side of (MANN.14)
    return math.exp(2 * beta) / (math.exp(2 * beta) + N - 1)


slots = np.unique(np.logspace(np.log10(2), np.log10(4096), 60).astype(int))
fig, ax = plt.subplots()
for beta, color in ((1, ORANGE), (3, GREEN), (10, BLUE), (30, GREY)):
    for factor, style in ((1.0, "-"), (0.5, "--")):
        peak = [largest(int(N), factor * beta) for N in slots]
        ax.loglog(slots, peak, style, color=color, label=f"β = {beta}" * (style == "-"))
for factor, place in ((1.0, (150, 0.068)), (0.5, (55, 0.0085))):
    peak = largest(128, factor)
    ax.plot(128, peak, "o", color=ORANGE)
    ax.text(*place, f"{peak:.1%}", color=ORANGE, fontsize=10)
    print(f"N = 128, β = 1: at most {peak:.3%}, {1 / peak:.1f} times less than one")
ax.plot([], [], "--", color="black", lw=1, label="rest orthogonal")
ax.set(xlabel="slots N", ylabel="largest weight", ylim=(3e-4, 1.6))
ax.set_title("Without a factor the peak falls as 1/N")
ax.legend(fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# If the other slots are blank, a row comes back times 1/48; if they are not, it is a ripple on their mean. The linear layers after the
# read have to multiply it up again, and with 256 slots the same layers see half as much.
#
# A write has two targets (MANN.8). The least used slot is sharp. Where one has just read is not, for these are the weights of a read. If
# the gate is one, the share that goes elsewhere than to the best match is
#
# $$ 1-\max_iw(i) \ge \frac{N-1}{e^{2\beta}+N-1} \tag{MANN.15} $$
#
# For $N=128$, $\beta=1$ that is 94.5%. "Update the memory you have just read" is a smear over all slots. The smallest weight that a
# slot can get is $1/(1+(N-1)e^{2\beta})$, 0.106%.


# %%
def cosine(key, memory):  # (MANN.3); a row of zeros has cosine zero
    lengths = (memory.norm(dim=-1) * key.norm(dim=-1, keepdim=True)).clamp(min=1e-300)
    return (memory @ key.unsqueeze(-1)).squeeze(-1) / lengths


def read_weights(key, memory, beta=1.0):  # (MANN.4)
    return (beta * cosine(key, memory)).softmax(-1)


# %%
for N, beta in ((128, 1.0), (64, 1.0), (9, 0.3), (5, 3.0)):
    key, lengths = random_keys(), torch.rand(N, 1, generator=source) + 0.1
    memory = -lengths * key  # all against the key …
    memory[2] *= -1  # … but one
    w = read_weights(key, memory, beta)
    check("MANN.13", w.max(), math.exp(2 * beta) * w.min(), f"reached, N = {N}")
    check("MANN.14", w.max(), largest(N, beta), f"reached, β = {beta}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title More checks of (MANN.13) to (MANN.15)
for N, beta in ((128, 1.0), (7, 2.5)):
    # 2,000 memories of two numbers a slot: all angles occur
    keys, rows = random_keys(2000, width=2), random_keys(2000, N, width=2)
    w = read_weights(keys, rows, beta)
    highest, lowest = w.amax(1), w.amin(1)
    below = bool((highest <= math.exp(2 * beta) * lowest).all())
    check("MANN.13", below, True, f"2,000 random memories, N = {N}")
    peak = math.exp(2 * beta) / (math.exp(2 * beta) + N - 1)
    check("MANN.14", bool((highest <= peak).all()), True, "not above either")
    floor = 1 / (1 + (N - 1) * math.exp(2 * beta))
    check("MANN.13", bool((lowest >= floor).all()), True, "nor below the smallest")
    key = random_keys()
    rows = key * (2 * (torch.arange(N) != 1) - 1.0)[:, None]  # one against the key
    check("MANN.13", read_weights(key, rows, beta).min(), floor, "which is reached")

    eye = torch.eye(N + 1)
    w = read_weights(eye[0], eye[:N], beta)
    check(
        "MANN.14", w.max(), largest(N, beta / 2), "orthogonal rest: half the exponent"
    )

    key = 1e3 * random_keys(1, 1)  # long: the library has an ε (section 10)
    state = LeastRecentlyUsedMemory(N, 40, 1).initial_state(1)
    against = (2 * (torch.arange(N) == 3) - 1.0)[:, None] * key
    heads = LeastRecentlyUsedMemory(N, 40, 1)
    w = heads.address(state._replace(memory=against), key, beta)
    after = heads.write(state._replace(weights=w), key, torch.ones(1, 1))
    landed = after.memory[0].norm(dim=1) / key.norm()
    elsewhere = landed.sum() - landed.max()
    typed = (N - 1) / (math.exp(2 * beta) + N - 1)
    check("MANN.15", elsewhere, typed, f"the library's write at gate one, N = {N}")
    w = heads.address(state._replace(memory=1e3 * random_keys(1, N)), key, beta)
    after = heads.write(state._replace(weights=w), key, torch.ones(1, 1))
    landed = after.memory[0].norm(dim=1) / key.norm()
    check("MANN.15", landed.sum(), 1.0, "all of it lands somewhere")
    check("MANN.15", bool(landed.sum() - landed.max() >= typed), True, "random rows")
for text, value in (
    ("elsewhere", 127 / (math.exp(2) + 127)),
    ("least", 1 / (1 + 127 * math.exp(2))),
):
    print(f"N = 128, β = 1: {text} {value:.3%}")

# %% [markdown]
# ## 2. When is a slot blank?
#
# **Until the first smear, and then never again. A cosine does not see how faint a row is, so every unused row looks like what has been
# smeared over it.**
#
# A row is compared by its direction alone:
#
# $$ K(k,\,a\,k') = K(k,k') \quad\text{for every } a>0 \tag{MANN.16} $$
#
# Follow the equations from a memory of zeros with the gate at one half. Step 1 writes $\frac12k_1$ to one slot and reads it; nothing has
# been read before, so the other half goes nowhere. The other rows are zero, have cosine zero, and get 0.77% of the weight each. Step 2
# writes half of $k_2$ to the next slot. The other half goes where step 1 has read, which is everywhere. Now all rows that were zero hold
# a trace of $k_2$ and nothing else, and their cosine with $k_2$ is exactly one, as is that of the slot just written. The read is a plain
# mean but for the slot of $k_1$.
#
# By the same argument the unused rows stay copies of each other: equal rows get equal weights and equal smears. At step $t$ they hold
# a weighted sum of the keys 2 to $t$. The slot just written holds the key itself and has cosine one with it, the most there is. So with
# one head, the key as content and a gate below one, *the best match is always the row just written*. It does not hold its label yet, for
# that comes with the next input.


# %%
def literal(keys, gate, N=128, start=0.0):
    """Memory after the write and weights of the read, step by step; one head."""
    memory, last = torch.full((N, keys.shape[1]), start), torch.zeros(N)
    usage = 1e-9 * torch.arange(N)  # breaks ties
    for key in keys:
        least = F.one_hot(usage.argmin(), N).double()
        written = gate * last + (1 - gate) * least  # (MANN.8)
        memory = (1 - least)[:, None] * memory + torch.outer(written, key)  # (MANN.9)
        last = read_weights(key, memory)
        usage = 0.95 * usage + last + written  # (MANN.6)
        yield memory, last, least


# %%
keys = random_keys(2)
(_, first, _), (memory, second, _) = literal(keys, gate=0.5)
looks = [float(cosine(keys[step], memory)[100]) for step in (0, 1)]
print(
    "cosine of a blank row with the keys of steps 1, 2: {:.3f}, {:.3f}".format(*looks)
)
for t, w in ((1, first), (2, second)):
    print(f"step {t}: slots 1, 2, 3, 4 get", [f"{100 * x:.2f}%" for x in w[:4]])
check("MANN.16", cosine(keys[1], memory)[1:], torch.ones(127), "all rows but the first")
equal = torch.full((127,), float(second[1]))
check("MANN.16", second[1:], equal, "so their weights are equal")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, bars of the read weights of the first six slots at steps 1 and 2 with the gate at one half. At step 1 slot 1 stands out with 2.1 percent, the others have 0.77. At step 2 all have about 0.78 percent but slot 1, which has less. Right, weight of the slot that holds the first key over the weight of an unused slot when that key is shown again at step t, from 2 to 30. With gate zero it is e throughout; with gate one half it rises from one to 2.3 for unrelated keys, and to 1.2 for keys that share a part."}} tags=["hide-input"]
# @title Figure: weights at two steps, and an old key shown again
def contrast(common, gate, steps):
    """Weight of the first key's slot over an unused one's; mean of ten episodes."""
    source.manual_seed(2)
    found = torch.zeros(10, len(steps))
    for episode, (place, t) in itertools.product(range(10), enumerate(steps)):
        own = (1 - common**2) ** 0.5 * random_keys(t - 1)
        keys = common * random_keys(1) + own
        *_, (_, w, _) = literal(torch.cat((keys, keys[:1])), gate)
        found[episode, place] = (w[0] / w[127]).log()
    return found.mean(0).exp()


fig, (left, right) = figures.panels(2)
for shift, (w, label, color) in zip(
    (-0.2, 0.2), ((first, "step 1", BLUE), (second, "step 2", ORANGE)), strict=True
):
    left.bar(np.arange(1, 7) + shift, 100 * w[:6], 0.4, color=color, label=label)
left.set(xlabel="slot (of 128)", ylabel="weight (%)", title="At step 2 none stands out")
left.legend(fontsize=8)
steps = (2, 3, 4, 6, 9, 14, 20, 30)
for label, common, gate, color in (
    ("gate 0", 0.0, 0.0, BLUE),
    ("gate ½", 0.0, 0.5, ORANGE),
    ("gate ½, keys alike", 0.8, 0.5, PINK),
):
    ratio = contrast(common, gate, steps)
    right.semilogx(steps, ratio, "o-", ms=3, color=color, label=label)
    print(f"{label}: {ratio[0]:.2f} at step 2, {ratio[-1]:.1f} at step 30")
right.set(xlabel="shown again at step", ylabel="weight / unused slot's", ylim=(0.8, 4))
right.set_xticks([2, 5, 10, 20], ["2", "5", "10", "20"])
right.minorticks_off()
right.set_title("Smears lower the contrast")
right.legend(fontsize=8, loc="upper right")
plt.show()

# %% [markdown]
# With unrelated keys the smears average out, and the contrast climbs back to 2.3 by step 30. With keys that share a part (their cosines are
# about 0.64) it stays at 1.2. Public reproductions start the memory at $10^{-6}$ instead of zero, with all read weights on the first slot.
# Such a row is no blank either, for by (MANN.16) it is a row of ones:
#
# $$ K(k,\,\varepsilon\mathbf 1) = \operatorname{mean}(k)\,/\operatorname{rms}(k) \tag{MANN.17} $$
#
# where rms is the root of the mean square. It is zero if the entries of the key cancel, and one if they are equal (E2, section 9).

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MANN.16) and (MANN.17)
for a in (1e-12, 0.3, 5e8):
    key, other = random_keys(), random_keys()
    right = F.cosine_similarity(key, other, dim=0, eps=0).expand(1)
    check("MANN.16", cosine(key, a * other[None]), right, f"a = {a:g}")
    check("MANN.16", cosine(key, -a * other[None]), -right, "and its sign")
for N, gate, start in ((5, 0.3, 0.0), (20, 0.8, 1e4)):
    keys = 1e4 * random_keys(12)  # long, for the library's ε
    heads = LeastRecentlyUsedMemory(N, 40, 1)
    usage = 1e-9 * torch.arange(N)[None]
    state = MemoryState(torch.full((1, N, 40), start), torch.zeros(1, 1, N), usage)
    for key in keys:
        state = heads.write(state, key[None, None], torch.full((1, 1), gate))
        _, state = heads.read(state, key[None, None])
    *_, (memory, w, _) = literal(keys, gate, N, start)
    check("MANN.9", memory, state.memory[0], f"12 steps as the library's, N = {N}")
    check("MANN.4", w, state.weights[0, 0], "and the weights")
for N, gate in ((20, 0.5), (128, 0.2)):
    history = list(literal(random_keys(60), gate, N))
    blank = history[14][0][15:]  # never written but by smears
    same = blank[:1].clone().expand(N - 15, 40)
    check("MANN.16", blank, same, "15 steps: equal rows")
    best = [bool(w[least.argmax()] >= w.max() * (1 - 1e-12)) for _, w, least in history]
    check("MANN.16", best, [True] * 60, f"the best match was just written, N = {N}")
for scale, shift in ((1.0, 0.0), (1.0, 0.4), (0.0, 0.7), (2.0, -1.0)):
    key = scale * random_keys() + shift
    rms = key.square().mean().sqrt()
    found = cosine(key, torch.full((3, 40), 1e-6))
    check("MANN.17", (key.mean() / rms).expand(3), found, f"ε = 1e-6, offset {shift}")

# %% [markdown]
# ## 3. How long does a slot live?
#
# **About $N$ steps divided by the number of write heads, if $\gamma$ is near one. What counts is the order of the usages, so a level that
# all slots share changes nothing. Reads that prefer the same slots step after step do.**
#
# Unroll (MANN.6) from a usage of zero:
#
# $$ w^u_t = \sum_{s=1}^t\gamma^{t-s}\,\bigl(w^r_s+w^w_s\bigr) \tag{MANN.18} $$
#
# By section 1 a read spreads over all slots. A rough count says: one read adds about $1/N$ to every slot, in the long run
# $\frac1{N(1-\gamma)}=0.156$ for $\gamma=0.95$; a write's mark of one falls below it after 36 steps, and then the slot is free (E3). But
# nobody compares the mark with that level. Let all slots be read alike and $W$ heads write to the least used slots, gate zero, $W$ a
# divisor of $N$, $0<\gamma<1$. A slot last written at step $s_i$ has the usage $c_t+\gamma^{t-s_i}$, with the same $c_t$ for all, so
#
# $$ w^u_t(i)<w^u_t(j) \iff s_i<s_j, \qquad \text{lifetime } N/W \tag{MANN.19} $$
#
# The slot written longest ago goes first, as in a queue. That holds for every such $\gamma$ in exact arithmetic. In floating point the mark
# must not drown in $c_t$: beside a float32 near one it is lost after 24 steps with $\gamma=0.5$, after 325 with 0.95.

# %%
heads = LeastRecentlyUsedMemory(slots=6, width=3, reads=2, writes=2, decay=0.9)
state, marks = heads.initial_state(1), []
for _ in range(12):
    keys, gate = random_keys(1, 2, width=3), torch.rand(1, 2, generator=source)
    before = state
    read, state = heads.read(heads.write(state, keys, gate), keys)
    least, g = heads.least_used(before.usage), gate[..., None]
    written = g * before.weights + (1 - g) * least  # (MANN.8)
    marks.append(written.sum(1) + state.weights.sum(1))
    t = len(marks)
    unrolled = sum(0.9 ** (t - s) * marks[s - 1] for s in range(1, t + 1))
    if t in (1, 2, 12):
        check("MANN.18", unrolled, state.usage, f"the library's usage after {t} steps")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (MANN.19): simulated lifetimes
def simulate(N, W, decays, kinds, steps):
    """Steps from a write to the overwrite of its slot, gate zero, 4 reads; a run a row.

    Reads: "equal" of all slots, by "keys" drawn anew, "fixed" cosines at every step.
    """
    B = len(decays)
    decays, rows = torch.tensor(decays)[:, None], torch.arange(B)[:, None]
    fixed = 2 * torch.rand(B, 1, N, generator=source) - 1
    asks, settled = (
        torch.tensor([kind == name for kind in kinds])[:, None, None]
        for name in ("keys", "fixed")
    )
    memory, last, lives = torch.zeros(B, N, 40), torch.zeros(B, N).long(), []
    usage = 1e-9 * torch.arange(N).repeat(B, 1)  # no ties
    for t in range(1, steps + 1):
        least, keys = usage.topk(W, largest=False).indices, random_keys(B, 4)
        lives.append(torch.where(last[rows, least] > 0, t - last[rows, least], 0))
        last[rows, least], memory[rows, least] = t, keys[:, :W]
        scores = asks * cosine_similarity(keys, memory) + settled * fixed
        usage = decays * usage + scores.softmax(-1).sum(1)
        usage[rows, least] += 1
    return [each[each > 0] for each in torch.cat(lives, 1)]


for N, W, decay in ((12, 1, 0.5), (12, 3, 0.9), (64, 4, 0.95), (40, 1, 0.99)):
    (lives,) = simulate(N, W, [decay], ["equal"], 2 * N + 5)
    expected = torch.full_like(lives, N // W)
    check("MANN.19", expected, lives, f"N = {N}, W = {W}, γ = {decay}: every lifetime")

    heads = LeastRecentlyUsedMemory(N, 40, 4, writes=W, decay=decay)
    state, last, lives = heads.initial_state(1), torch.zeros(N), []
    state = state._replace(usage=1e-9 * torch.arange(N)[None])
    for t in range(1, 2 * N + 6):
        marked = heads.least_used(state.usage)[0].sum(0) > 0
        lives += [int(t - since) for since in last[marked] if since]
        last[marked] = t
        state = heads.write(state, random_keys(1, W), torch.zeros(1, W))
        _, state = heads.recall(state, torch.full((1, 4, N), 1 / N))
    check("MANN.19", [N // W] * len(lives), lives, "and by the library")
steps = torch.tensor([3.0, 9.0, 4.0, 1.0, 7.0])
for level in (0.0, 0.156, 30.0):
    usage = level + 0.95 ** (12 - steps)
    check("MANN.19", usage.argsort(), steps.argsort(), f"order at a level of {level}")
drowned = [math.ceil(math.log(2**-24) / math.log(decay)) for decay in (0.5, 0.95)]
print("below half a unit in the last place of one after steps:", drowned)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Median lifetime of a slot in steps against the number of write heads, 1, 2 and 4, for 128 and 64 slots, both axes logarithmic. With reads by new random keys and decays 0.95 and 0.99 dots lie on the line N over W or close to it; at decay 0.5 they lie near 15 whatever the heads. Crosses, for reads that prefer the same slots at every step, lie lower: at one head, 128 slots and decay 0.95 at 46."}} tags=["hide-input"]
# @title Figure: median lifetime against the number of write heads
source.manual_seed(3)
decays, kinds = [0.5, 0.95, 0.99], ["keys", "fixed"]
styles = dict(zip(decays, (GREY, ORANGE, BLUE), strict=True))
fig, axes = figures.panels(2, sharey=True)
for ax, N in zip(axes, (128, 64), strict=True):
    ax.plot([1, 2, 4], [N, N / 2, N / 4], color="black", lw=1, label="N / W")
    found = {}
    cases = [(kind, decay) for kind in kinds for decay in decays]
    for W in (1, 2, 4):
        runs = simulate(N, W, decays * 2, np.repeat(kinds, 3), 2 * N + 20)
        for case, lives in zip(cases, runs, strict=True):
            found[case, W] = lives
            mark = "o" if case[0] == "keys" else "x"
            ax.plot(W, lives.double().median(), mark, ms=5, color=styles[case[1]])
    for kind, decay in cases:
        medians = [int(found[(kind, decay), W].median()) for W in (1, 2, 4)]
        print(f"N = {N}, {kind}, γ = {decay}: medians {medians}", end="")
        print(f", first overwrite at an age of {int(found[(kind, decay), 1].min())}")
    ax.set(xscale="log", yscale="log", xlabel="write heads W", title=f"{N} slots")
    ax.set_xticks([1, 2, 4], ["1", "2", "4"])
    ax.set_yticks([8, 16, 32, 64, 128], ["8", "16", "32", "64", "128"])
    ax.minorticks_off()
for decay, color in styles.items():
    axes[0].plot([], [], "o", color=color, label=f"γ = {decay}")
axes[0].set_ylabel("median lifetime (steps)")
axes[0].legend(fontsize=8, loc="lower left", ncols=2)
axes[0].set_ylim(2.6, 150)
fig.suptitle("New keys (dots) keep the queue, if γ is high", x=0.02, ha="left")
plt.show()

# %% [markdown]
# Dots are reads by new random keys, crosses are reads whose cosines, uniform in $[-1,1]$, stay the same at every step. If reads differ,
# the order of two slots is safe while the marks are further apart than what the reads have added to the one and not to the other. New
# keys add differences that average out, and with $\gamma=0.95$ or more the queue holds. With $\gamma=0.5$ the marks fade too soon, and a
# slot lives 13 to 17 steps in either memory. Steady preferences add up: at $\gamma=0.95$ and one head they bring the median lifetime in 128
# slots from 118 down to 46. With $\gamma$ near one, the lever is the number of write heads.

# %% [markdown]
# ## 4. What can be guessed at the first showing?
#
# **More than one in $C$. Who knows that a class is new guesses among the labels not yet dealt, and is right in 45.7% of first showings for
# five classes. Who knows only the last label gets 24%.**
#
# A class is shown for the first time, and its label was dealt at random. Nothing in the drawing tells it (MANN.2). But labels differ
# within an episode. If $i$ classes have been shown before, and you know that this one is new, $C-i$ labels are left, all equally likely:
#
# $$ \frac1C\sum_{i=0}^{C-1}\frac1{C-i} = \frac1C\Bigl(1+\frac12+\dots+\frac1C\Bigr) = \frac{H_C}C \tag{MANN.20} $$
#
# That is the ceiling of a perfect detector of novelty. Short episodes do not show all classes, and there may be more labels $L$ than
# classes. With $d$ classes shown, over all first showings of many episodes,
#
# $$ \mathrm E\Bigl[\sum_{i=0}^{d-1}\frac1{L-i}\Bigr] \Big/ \mathrm E[d] \tag{MANN.21} $$
#
# Now somebody who remembers no drawing, but sees $y_{t-1}$ as every network here does, and says any label but that one. The first showing
# of all has no last label. At the others the last label belongs to a class that was shown, so it is wrong, and $C-1$ are left:
#
# $$ \frac1C\Bigl(\frac1C+(C-1)\,\frac1{C-1}\Bigr) = \frac{C+1}{C^2} \tag{MANN.22} $$
#
# For five classes that is 24%. So the level from which a first showing tells that novelty is seen is not 20% (E4).


# %%
def novelty(C):  # (MANN.20)
    return sum(Fraction(1, C - i) for i in range(C)) / C


def shown(C, T):
    """Chances that 0, 1, …, C classes appear in T uniform draws."""

    def onto(d):  # sequences in which d given classes all appear, and no others
        return sum((-1) ** j * math.comb(d, j) * (d - j) ** T for j in range(d + 1))

    return [Fraction(math.comb(C, d) * onto(d), C**T) for d in range(C + 1)]


def first_showing(C, L, T):  # (MANN.21)
    chances = shown(C, T)
    right = [sum(Fraction(1, L - i) for i in range(d)) for d in range(C + 1)]
    per_episode = sum(p * r for p, r in zip(chances, right, strict=True))
    return per_episode / sum(p * d for d, p in enumerate(chances))


def not_the_last(C):  # (MANN.22)
    return Fraction(C + 1, C**2)


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MANN.20) to (MANN.22): all episodes, all ways to deal the labels
def play(C, L, T, guess, all_classes=False):
    """Share of right guesses over the first showings of all episodes."""
    right = asked = 0
    for classes in itertools.product(range(C), repeat=T):
        if all_classes and len(set(classes)) < C:
            continue
        for labels in itertools.permutations(range(L), C):
            for t, c in enumerate(classes):
                if c not in classes[:t]:
                    before = [labels[b] for b in classes[:t]]
                    right, asked = right + (guess(before, L) == labels[c]), asked + 1
    return Fraction(right, asked)


def least_unseen(before, L):
    return min(set(range(L)) - set(before))


def largest_unseen(before, L):
    return max(set(range(L)) - set(before))


def after_the_last(before, L):
    return (before[-1] + 1) % L if before else 0


def before_the_last(before, L):
    return (before[-1] - 1) % L if before else L - 1


for C in (1, 2, 3, 4, 6):
    harmonic = sum(Fraction(1, i) for i in range(1, C + 1))
    check("MANN.20", novelty(C), harmonic / C, f"C = {C}: two sums")
for C, T in ((2, 2), (3, 3), (3, 5), (4, 5)):
    for guess in (least_unseen, largest_unseen):
        found = play(C, C, T, guess, all_classes=True)
        check("MANN.20", novelty(C), found, f"C = {C}, T = {T}: {guess.__name__}")
    for guess in (after_the_last, before_the_last):
        found = play(C, C, T, guess, all_classes=True)
        check("MANN.22", not_the_last(C), found, f"C = {C}: {guess.__name__}")
for C, L, T in ((2, 2, 1), (2, 3, 3), (3, 3, 3), (3, 4, 4), (4, 5, 3)):
    for guess in (least_unseen, largest_unseen):
        found = play(C, L, T, guess)
        check("MANN.21", first_showing(C, L, T), found, f"C, L, T = {C}, {L}, {T}")
drawn = torch.rand(40_000, 5, generator=source).argsort(
    1
)  # label of the i-th new class
luck = torch.rand(40_000, 5, generator=source)
rank = (luck * torch.arange(5, 0, -1)).long()  # among the labels not yet dealt
lower = torch.stack([(drawn[:, i:] < drawn[:, i : i + 1]).sum(1) for i in range(5)], 1)
share = (rank == lower).double().mean()
check("MANN.20", float(novelty(5)), share, "40,000 episodes", rtol=1e-2)
print(f"H_5/5 {float(novelty(5)):.2%}, H_15/15 {float(novelty(15)):.2%}", end=", ")
print(f"any but the last of 5: {float(not_the_last(5)):.0%}")
for C, L, T in ((5, 5, 50), (5, 5, 25), (5, 5, 10), (15, 15, 50), (3, 5, 30)):
    print(f"C, L, T = {C}, {L}, {T}: {float(first_showing(C, L, T)):.1%}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Share right at the first showing against the number of classes from 2 to 15. Three falling curves: the detector of novelty, from 75 to 22 percent; any label but the last, from 75 to 7 percent; chance, from 50 to 7 percent. Black marks at five classes, as reported: MANN 36.4 and humans 34.5 percent lie between the upper two curves, LSTM and feed-forward, both 24.4, lie on the middle one."}} tags=["hide-input"]
# @title Figure: ceilings against the number of classes, and the reported values
C = np.arange(2, 16)
fig, ax = plt.subplots()
for label, color, rule in (
    ("knows what is new", BLUE, novelty),
    ("any label but the last", ORANGE, not_the_last),
    ("any label", GREY, lambda n: Fraction(1, n)),
):
    ax.plot(
        C, [100 * float(rule(int(n))) for n in C], "o-", ms=3, color=color, label=label
    )
for label, value, mark in (
    ("MANN", 36.4, "s"),
    ("human", 34.5, "^"),
    ("LSTM, feed-forward", 24.4, "x"),
):
    ax.plot(5, value, mark, color=COLORS["paper"], ms=6, label=f"{label} {value}")
ax.set(xlabel="classes C", ylabel="right at the first showing (%)", ylim=(0, 80))
ax.set_title("MANN and humans lie between the two rules")
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# The black marks are as reported, from memory. The reproduction by snowkylin reports 23.3% for an LSTM and 35.6% for the memory. In the
# paper's table of strings nearest neighbours get 4.0% at first showings for five classes and about 0.4% for fifteen. That is $1/C^2$: a
# neighbour's label is always wrong for a new class, and only at the first step of all, one of $C$ first showings, is there a guess, which
# is right once in $C$.
#
# ## 5. Which gradients are missing?
#
# **The gradient that would reach an erased row, and any through the choice of the slot. The second is zero almost everywhere, so nothing
# is left out; the first is cut because the row is gone.**
#
# Hold key, gate and weights of a write and let $\mathcal L$ be any loss of the memory after it. (MANN.9) keeps a row or erases it:
#
# $$ \frac{\partial\mathcal L}{\partial M_{t-1}(i)} = \bigl(1-\ell_{t-1}(i)\bigr)\,\frac{\partial\mathcal L}{\partial M_t(i)} \tag{MANN.23} $$
#
# $\ell$ is a function of the usages, and it is constant as long as their order stays. Its derivative is zero wherever it exists, and at a
# change of order the memory jumps. Finite differences agree unless the step crosses such a change.


# %%
store = LeastRecentlyUsedMemory(slots=5, width=3, reads=2, writes=1)
rows, key = random_keys(1, 5, width=3), random_keys(1, 1, width=3)
last = torch.rand(1, 2, 5, generator=source).softmax(-1)
usage = torch.tensor([[0.7, 0.2, 0.5, 0.21, 0.9]])
weights = torch.rand(1, 5, 3, generator=source)


def loss_after(rows, usage, gate=0.3):
    state = store.write(MemoryState(rows, last, usage), key, torch.full((1, 1), gate))
    return (weights * state.memory.tanh()).sum(), state.memory


leaf = rows.clone().requires_grad_()
loss, after = loss_after(leaf, usage)
by_row, after_row = torch.autograd.grad(loss, (leaf, after))
least = store.least_used(usage)[:, 0, :, None]
check(
    "MANN.23", (1 - least) * after_row, by_row, "autograd through the library's write"
)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Finite differences, the jump, and what an erase that lets gradients through would change
h, differences = 1e-6, torch.zeros(1, 5, 3)
for place in itertools.product([0], range(5), range(3)):
    ends = []
    for step in (h, -h):
        moved = rows.clone()
        moved[place] += step
        ends.append(loss_after(moved, usage)[0])
    differences[place] = (ends[0] - ends[1]) / (2 * h)
typed = ((1 - least) * after_row).clone()
check("MANN.23", typed, differences, "finite differences", rtol=1e-7, atol=1e-9)
check("MANN.23", typed[0, 1], torch.zeros(3), "none to the erased row")
losses = []
for small in (0.1, 0.2, 0.2099, 0.2101, 0.4):
    other = usage.clone()
    other[0, 1] = small
    losses.append(float(loss_after(rows, other)[0]))
check("MANN.23", losses[:2], losses[1:3], "constant while the order of usages stays")
check("MANN.23", losses[3], losses[4], "and beyond the change")
check("MANN.23", losses[2] != losses[3], True, "where it jumps")


def episode_gradient(T, N, through, gate=0.3):
    """Of a loss over T reads, by the keys' weights; `through`: an erase that keeps it."""
    generator = torch.Generator().manual_seed(5)
    W = torch.randn(6, 8, generator=generator).requires_grad_()
    inputs = torch.randn(T, 8, generator=generator)
    goals = torch.randn(T, 6, generator=generator)
    memory, usage, last, loss = torch.zeros(N, 6), torch.zeros(N), torch.zeros(N), 0.0
    for x, goal in zip(inputs, goals, strict=True):
        key, least = torch.tanh(W @ x), F.one_hot(usage.argmin(), N).double()
        gone = least[:, None] * memory
        written = gate * last + (1 - gate) * least
        memory = memory - (gone.detach() if through else gone)
        memory = memory + torch.outer(written, key)
        last = (cosine_similarity(key[None, None], memory[None])[0, 0]).softmax(-1)
        usage = 0.95 * usage + (last + written).detach()
        loss = loss + (N * last @ memory - goal).square().mean()
    return torch.autograd.grad(loss, W)[0]


for T, N in ((8, 8), (40, 8)):
    cut, kept = (episode_gradient(T, N, through) for through in (False, True))
    print(
        f"{T} steps, {N} slots: they differ by {(kept - cut).norm() / cut.norm():.0%}"
    )

# %% [markdown]
# A straight-through erase, which sets the row to zero and lets the gradient pass as if it had not, is a choice one could make. In this toy
# with eight slots it changes the gradient by 8% as long as only smears are erased, and by 151% of its length over forty steps. Nothing
# follows from that for what is learned.
#
# ## 6. What does a Turing machine's addressing do instead?
#
# **Four stages: match, keep, shift, sharpen. It can be as sharp as it likes and walk from slot to slot, but it has no notion of a free
# slot.**
#
# The Neural Turing Machine (Graves et al. 2014), against which the paper compares, computes all weights, of reads and writes, from those of
# the step before. With $w_c$ the softmax of $\beta K$, a gate $g$, a distribution $s$ over shifts and a power $p\ge1$,
#
# $$ w_t(i)=\frac{\tilde w(i)^p}{\sum_j\tilde w(j)^p}, \quad \tilde w(i)=\sum_js(j)\,\bigl[g\,w_c+(1-g)\,w_{t-1}\bigr](i-j) \tag{MANN.24} $$
#
# with slot numbers modulo $N$. $g=1$, $s(0)=1$, $p=1$ give (MANN.4) with a factor. $g=0$ and $s(1)=1$ step to the next slot, whatever is
# in it: this head has a *position*, the price of which is a state of $N$ numbers a head.


# %%
def turing_weights(before, content, g, s, p):  # (MANN.24); s over −1, 0, 1
    mixed = g * content + (1 - g) * before
    moved = sum(s[j + 1] * torch.roll(mixed, j) for j in (-1, 0, 1))
    return moved, moved**p / (moved**p).sum()


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars over eight slots in four panels, the weights after each stage. Content: slot 3 has the most, 0.80. Mixed with the step before, which was at slot 7: two peaks, at 3 and 7. Shifted by one: the peaks are at 4 and 8, a little wider. Sharpened: slot 4 has 0.82."}} tags=["hide-input"]
# @title Figure: the four stages; checks of (MANN.24)
source.manual_seed(6)
memory = random_keys(8, width=16)
key = memory[2] + 0.3 * random_keys(width=16)
before = F.one_hot(torch.tensor(6), 8) * 0.86 + 0.02
s, g, p, strength = torch.tensor([0.0, 0.1, 0.9]), 0.65, 3.0, 4.0
content = read_weights(key, memory, strength)
moved, sharp = turing_weights(before, content, g, s, p)
stages = (content, g * content + (1 - g) * before, moved, sharp)
fig, axes = figures.panels(4, sharex=True, sharey=True)
names = ("1. content", "2. mixed with the last", "3. shifted by one", "4. sharpened")
for ax, name, w in zip(axes, names, stages, strict=True):
    ax.bar(range(1, 9), w, color=ORANGE)
    ax.set(title=name, ylim=(0, 1))
    print(f"{name}: largest {w.max():.2f} at slot {int(w.argmax()) + 1}")
for ax in axes[2:]:
    ax.set(xlabel="slot")
plt.show()


def by_index(before, content, g, s, p):
    N, powered = len(before), []
    for i in range(N):
        total = 0.0
        for j in (-1, 0, 1):
            source_slot = (i - j) % N
            kept = (1 - g) * float(before[source_slot])
            total += float(s[j + 1]) * (g * float(content[source_slot]) + kept)
        powered.append(total**p)
    return torch.tensor([x / sum(powered) for x in powered])


for N, g, p, strength in ((8, 0.6, 3.0, 4.0), (5, 0.2, 1.0, 0.7), (3, 0.9, 1.6, 9.0)):
    memory, key = random_keys(N, width=6), random_keys(width=6)
    before = torch.rand(N, generator=source).softmax(0)
    s = torch.rand(3, generator=source).softmax(0)
    content = read_weights(key, memory, strength)
    _, typed = turing_weights(before, content, g, s, p)
    check("MANN.24", typed, by_index(before, content, g, s, p), f"index loop, N = {N}")
    one = [torch.full((1, 1, 1), x) for x in (strength, g, p)]
    library = TuringMemory(N, 6, 1).address(
        memory[None],
        before[None, None],
        key[None, None],
        *one[:2],
        s[None, None],
        one[2],
    )
    check("MANN.24", typed, library[0, 0], "the library", rtol=1e-5)
step = turing_weights(before, content, 0.0, torch.tensor([0.0, 0.0, 1.0]), 2.0)[0]
check(
    "MANN.24", step[[1, 2, 0]], before.clone(), "a shift by one steps on, round the end"
)

# %%
sizes = {"slots": 128, "width": 40, "reads": 4, "writes": 1, "hidden_size": 200}
for addressing in ("lru", "ntm"):
    network = MemoryAugmentedNetwork(405, 5, addressing=addressing, **sizes)
    sizes_of = {name: int(size) for name, size in network.head_sizes.items()}
    print(f"{addressing}: {sum(sizes_of.values())} numbers,", sizes_of)

# %% [markdown]
# A head needs $M+6$ numbers from the controller (key, strength, gate, three shifts, power) where a read head of the paper needs $M$, and a
# write head erases and adds with $2M$ more: 310 against 161 at the paper's sizes with one write head. As reported, and from memory, this
# addressing lost on strings of 15 classes, 61.2% against 79.3% at the third showing.

# %% [markdown]
# ## 7. What does training on episodes learn?
#
# **The predictive distribution of the world that the episodes come from. The expected loss is a floor that no network can change, plus the
# distance to that distribution. So training on episodes is inference, paid for in advance.**
#
# Let episodes come from any law of $(x_{1:T},y_{1:T})$. At step $t$ a network sees $x_{\le t}$ and $y_{<t}$ and answers with
# $p_\theta$; write $p_t$ for the true law of $y_t$ given the same. The expected loss of one step, given what is seen, is a cross entropy,
# which is entropy plus divergence. Add the steps:
#
# $$ \mathrm E\Bigl[-\sum_t\log p_\theta(y_t)\Bigr] = \sum_tH(y_t\mid x_{\le t},y_{<t}) + \sum_t\mathrm E\,\mathrm{KL}(p_t\,\|\,p_\theta) \tag{MANN.25} $$
#
# The first sum does not know $\theta$. The second is zero if and only if the network answers with the Bayesian predictive: it has to keep,
# in its state, what the posterior needs. Training spends the computation once, for all episodes; in an episode nothing is optimised. That
# is *amortised* inference (Ortega et al. 2019).
#
# The first sum is not $H(y_{1:T}\mid x_{1:T})$, for a drawing to come may tell about a label of today. A tiny world shows it. Four classes
# have drawings of one pixel, which is black with probability 0.05, 0.3, 0.6 or 0.9. An episode takes two of them, deals the labels 0
# and 1, and shows either at every step. We can go through all episodes. For three steps the sum is 1.979 nats, and
# $H(y_{1:3}\mid x_{1:3})$ is 1.978.


# %%
habits = torch.tensor([0.05, 0.3, 0.6, 0.9])  # chance of a black pixel


def world(T):
    """Chances of all episodes: T axes of length 4, with 2·x + y on each."""
    total = torch.zeros([4] * T)
    for pair in itertools.permutations(habits.tolist(), 2):  # kinds of labels 0, 1
        step = torch.stack([torch.tensor([1 - h, h]) for h in pair], 1) / 2  # (x, y)
        episode = step.flatten()
        for _ in range(T - 1):
            episode = episode[..., None] * step.flatten()
        total += episode / 12
    return total


# %%
def prefixes(p):
    """Chances of (past, x_t, y_t) for every t."""
    T = p.dim()
    return [p.reshape(4**t, 2, 2, -1).sum(-1) for t in range(T)]


def entropy(p):
    return -torch.special.xlogy(p, p).sum()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MANN.25)
def past_of(T):
    """All (x, y) sequences of T steps, in the order of `world`."""
    return [
        [divmod(code, 2) for code in c] for c in itertools.product(range(4), repeat=T)
    ]


def same_drawing(past, x):
    """Predict the label last seen with the same pixel, at 65%."""
    seen = [y for before, y in past if before == x]
    return [0.5, 0.5] if not seen else [0.65 - 0.3 * seen[-1], 0.35 + 0.3 * seen[-1]]


def no_memory(past, x):
    return [0.5, 0.5]


def tables(rule, T):
    return [
        torch.tensor([[rule(p, x) for x in (0, 1)] for p in past_of(t)])
        for t in range(T)
    ]


def split(p, predictors):
    """Entropy and divergence of every step."""
    floor, distance = [], []
    for at, q in zip(prefixes(p), predictors, strict=True):
        floor.append(entropy(at) - entropy(at.sum(-1)))
        bayes = at / at.sum(-1, keepdim=True)
        kl = (bayes * (bayes / q).log()).sum(-1)
        distance.append((at.sum(-1) * kl).sum())
    return torch.stack(floor), torch.stack(distance)


def played(T, predictors):
    """The expected loss from all kinds and all episodes, one by one."""
    total = 0.0
    for pair in itertools.permutations(habits.tolist(), 2):
        for number, episode in enumerate(past_of(T)):
            chance = 1 / 12
            for x, y in episode:
                chance *= 0.5 * (pair[y] if x else 1 - pair[y])
            for t, (x, y) in enumerate(episode):
                past = number // 4 ** (T - t)
                total -= chance * math.log(float(predictors[t][past, x, y]))
    return total


for T in (1, 3, 4):
    p = world(T)
    bayes = [at / at.sum(-1, keepdim=True) for at in prefixes(p)]
    random = [torch.rand(4**t, 2, 2, generator=source).softmax(-1) for t in range(T)]
    rules = {
        "random": random,
        "same drawing": tables(same_drawing, T),
        "no memory": tables(no_memory, T),
        "Bayes": bayes,
    }
    for name, predictors in rules.items():
        floor, distance = split(p, predictors)
        left, right = played(T, predictors), float(floor.sum() + distance.sum())
        check("MANN.25", left, right, f"{name}, T = {T}, all {12 * 4**T} cases")
    check("MANN.25", distance.sum(), 0.0, "no distance left", atol=1e-14)
p = world(3)
whole = entropy(p) - entropy(p.reshape([2, 2] * 3).sum([1, 3, 5]))
print(f"T = 3: sum of the floors {split(p, bayes[:3])[0].sum():.4f}", end=", ")
print(f"H(y | x) with all drawings {whole:.4f}")

# %% [markdown]
# In regression the world is a Gaussian process: $f\sim\mathcal{GP}(0,k)$ and $y_t=f(x_t)+$ noise of variance $\sigma^2$. Then the
# predictive has a closed form, with $K$ the kernel matrix of $x_{1:t-1}$, $\kappa$ the vector of the $k(x_t,x_s)$:
# $m_t=\kappa^\top(K+\sigma^2I)^{-1}y_{1:t-1}$ and $s_t^2=k(x_t,x_t)+\sigma^2-\kappa^\top(K+\sigma^2I)^{-1}\kappa$. Scored online, it gives
# the density of the whole episode,
#
# $$ \sum_{t=1}^T\log\mathcal N(y_t;\,m_t,\,s_t^2) = \log\mathcal N\bigl(y_{1:T};\,0,\,K_T+\sigma^2I\bigr) \tag{MANN.26} $$
#
# by the chain rule, $K_T$ the matrix of all $x_{1:T}$. Here the inputs to come tell nothing, and no network can be better on average than
# the process with the true kernel. One with a wrong kernel pays a divergence, and so does a network.


# %%
def rbf(a, b, length):
    return torch.exp(-((a[..., :, None] - b[..., None, :]) ** 2) / (2 * length**2))


# %%
def online(x, y, length, noise):
    """log N(y_t; m_t, s_t²) for every t; x and y of shape (T,) or (episodes, T)."""
    scores = []
    for t in range(x.shape[-1]):
        K = rbf(x[..., :t], x[..., :t], length) + noise * torch.eye(t)
        kappa = rbf(x[..., :t], x[..., t : t + 1], length)
        solved = torch.linalg.solve(K, kappa).mT
        m = (solved @ y[..., :t, None]).squeeze(-1)[..., 0]
        s2 = 1 + noise - (solved @ kappa).squeeze(-1)[..., 0]
        scores.append(-((y[..., t] - m) ** 2 / s2 + torch.log(2 * math.pi * s2)) / 2)
    return torch.stack(scores, -1)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, expected loss in nats against the step, 1 to 6, in the tiny world. All start at 0.693. No memory stays there, the label last seen with the same drawing falls to 0.654, the Bayesian floor to 0.592. Right, mean of minus log p against the number of the point, 1 to 15, for 2,000 draws of a Gaussian process: the true length 0.5 is lowest at every point after the first, a quarter and one lie above it, one by far."}} tags=["hide-input"]
# @title Figure: floors and losses, step by step; checks of (MANN.26)
for T, length, noise in ((1, 0.5, 0.1), (4, 0.5, 0.1), (9, 1.3, 0.02), (6, 0.2, 1.5)):
    x = 4 * torch.rand(T, generator=source) - 2
    y = torch.randn(T, generator=source)
    between = torch.cdist(x[:, None], x[:, None])
    covariance = torch.exp(-0.5 * (between / length) ** 2) + noise * torch.eye(T)
    joint = torch.distributions.MultivariateNormal(torch.zeros(T), covariance)
    left, right = online(x, y, length, noise).sum(), joint.log_prob(y)
    check("MANN.26", left, right, f"T = {T}, length {length}, σ² = {noise}")

T, steps = 6, np.arange(1, 7)
p, results = world(T), {}
fig, (left, right) = figures.panels(2)
for label, rule, color in (
    ("no memory", no_memory, GREY),
    ("same drawing", same_drawing, ORANGE),
):
    floor, distance = split(p, tables(rule, T))
    left.plot(steps, floor + distance, "o-", ms=3, color=color, label=label)
    print(f"{label}: loss at step 6 {floor[-1] + distance[-1]:.3f}")
left.plot(steps, floor, "o-", ms=3, color=BLUE, label="Bayes: the floor")
print(f"floor at step 6 {floor[-1]:.3f}")
left.set(
    xlabel="step", ylabel="expected loss (nats)", title="The floor falls step by step"
)
left.legend(fontsize=8)

source.manual_seed(7)
x = 4 * torch.rand(2000, 15, generator=source) - 2
covariance = rbf(x, x, 0.5) + 0.05 * torch.eye(15)
draws = torch.randn(2000, 15, 1, generator=source)
y = (torch.linalg.cholesky(covariance) @ draws).squeeze(-1)
for length, color in ((0.5, BLUE), (0.25, ORANGE), (1.0, PINK)):
    loss = -online(x, y, length, 0.05).mean(0)
    text = f"length {length}" + (" (true)" if length == 0.5 else "")
    right.plot(range(1, 16), loss, "o-", ms=3, color=color, label=text)
    print(f"{text}: sum over 15 points {loss.sum():.1f}")
right.set(xlabel="point", ylabel="mean of −log p (nats)", title="A wrong kernel pays")
right.set_ylim(-0.4, None)
right.legend(fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# ## 8. What does a step cost?
#
# **The LSTM has 88% of the multiplications at the paper's sizes, the memory itself 7%. Turing addressing adds little, the links of the
# DNC a term with $N^2$.**
#
# A step of one episode multiplies and adds, in products of matrices and squares of the rows' lengths, with $X$ inputs, $H$ units,
# $n$ reads and $W$ writes; the output layer and what goes with $N$ or $M$ alone are left out:
#
# $$ \underbrace{4H(X+nM+H)}_{\text{LSTM}}+\underbrace{H(nM+W)}_{\text{heads}}+\underbrace{\bigl((n+1)+n+W\bigr)NM}_{\text{cosines, read, write}} \tag{MANN.27} $$
#
# The usage takes some $(n+W+1)N$ more, and finding the least of it $N$ comparisons. (MANN.24) has heads of $M+6$ numbers for all $n+W$
# weights, $3(n+W)N$ products for shifts, and an erase of the size of the write. The DNC (Graves et al. 2016) has, as we count its
# equations, a matrix of links between all pairs of slots, $2N^2$ to update and $2nN^2$ to follow both ways, and sorts the usages.


# %%
def step_cost(X, H, N, M, n, W):  # (MANN.27)
    return {
        "LSTM": 4 * H * (X + n * M + H),
        "heads": H * (n * M + W),
        "cosines": (n + 1) * N * M,
        "read": n * N * M,
        "write": W * N * M,
    }


def turing_cost(X, H, N, M, n, W):
    ours = step_cost(X, H, N, M, n, W)
    heads = H * ((n + W) * (M + 6) + 2 * W * M)
    cosines = (n + W + 1) * N * M + 3 * (n + W) * N
    return ours | {"heads": heads, "cosines": cosines, "write": 2 * W * N * M}


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MANN.27): PyTorch's counter, and a step in loops that counts
def counted(network, X):
    """Multiply-adds of a step in products of matrices, without the output layer."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, X))
    output = network.output.in_features * network.output.out_features
    return counter.get_total_flops() // 2 - output


class Counter:
    def __init__(self):
        self.products = 0

    def dot(self, a, b):
        self.products += len(a)
        return sum(x * y for x, y in zip(a, b, strict=True))


def memory_step(count, memory, written, contents, keys):
    """Write, then read, entry by entry."""
    N, M = len(memory), len(memory[0])
    for i, j in itertools.product(range(N), range(M)):
        memory[i][j] += count.dot([w[i] for w in written], [c[j] for c in contents])
    lengths = [math.sqrt(count.dot(row, row)) for row in memory]
    reads = []
    for key in keys:
        size = math.sqrt(sum(x * x for x in key))
        cosines = [
            count.dot(key, r) / (size * L) for r, L in zip(memory, lengths, strict=True)
        ]
        exps = [math.exp(c) for c in cosines]
        w = [e / sum(exps) for e in exps]
        reads.append([count.dot(w, [row[j] for row in memory]) for j in range(M)])
    return reads


for X, H, N, M, n, W in (
    (7, 5, 11, 3, 2, 1),
    (4, 6, 9, 5, 3, 2),
    (405, 200, 128, 40, 4, 1),
):
    shape = {"slots": N, "width": M, "reads": n, "writes": W, "hidden_size": H}
    network = MemoryAugmentedNetwork(X, 5, **shape)
    cost = step_cost(X, H, N, M, n, W)
    lengths = N * M  # squares, which PyTorch does not count
    check("MANN.27", sum(cost.values()), counted(network, X) + lengths, f"N = {N}")
    turing = MemoryAugmentedNetwork(X, 5, addressing="ntm", **shape)
    beside = turing_cost(X, H, N, M, n, W)
    by_hand = lengths + 3 * (n + W) * N + W * N * M  # lengths, shifts, erase
    found = counted(turing, X) + by_hand
    check("MANN.27", sum(beside.values()), found, "with Turing addressing")
    if N < 100:
        count = Counter()
        rows, keys = random_keys(N, width=M), random_keys(n, width=M)
        contents = random_keys(W, width=M)
        w = torch.rand(W, N, generator=source).softmax(-1)
        given = (rows.tolist(), w.tolist(), contents.tolist(), keys.tolist())
        reads = memory_step(count, *given)
        typed = cost["cosines"] + cost["read"] + cost["write"]
        check("MANN.27", typed, count.products, "the memory's part, in loops")
        after = rows + w.T @ contents
        right = torch.stack([read_weights(k, after) @ after for k in keys])
        check("MANN.5", torch.tensor(reads), right, "and the loops read the same")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Stacked bars of multiply-adds of a step for least recently used addressing, Turing addressing and the DNC, with 128 and 512 slots. At 128 slots they are 0.70, 0.74 and 0.90 million, most of it the LSTM. At 512 slots 0.85, 0.93 and 3.55 million, and in the last most of it is links between slots."}} tags=["hide-input"]
# @title Figure: multiply-adds of a step, three kinds of addressing, two sizes of memory
fig, ax = plt.subplots()
parts = {"LSTM": GREY, "heads": PINK, "cosines": BLUE, "read": GREEN, "write": ORANGE}
labels, place = [], 0
for N in (128, 512):
    sizes = (405, 200, N, 40, 4, 1)
    kinds = {"LRU": step_cost(*sizes), "NTM": turing_cost(*sizes)}
    kinds["DNC"] = kinds["NTM"] | {"links": (2 + 2 * 4) * N**2}
    for kind, cost in kinds.items():
        bottom = 0.0
        for part, color in {**parts, "links": YELLOW}.items():
            height = cost.get(part, 0) / 1e6
            first = part if (kind, N) == ("DNC", 128) else None
            ax.bar(place, height, 0.7, bottom, color=color, label=first)
            bottom += height
        memory = sum(v for k, v in cost.items() if k not in ("LSTM", "heads"))
        shares = f"LSTM {cost['LSTM'] / bottom / 1e6:.0%}, memory {memory / bottom / 1e6:.0%}"
        print(f"N = {N}, {kind}: {bottom:.2f} million, {shares}")
        labels.append(f"{kind}\nN = {N}")
        place += 1
    place += 0.5
ax.set_xticks([0, 1, 2, 3.5, 4.5, 5.5], labels, fontsize=8)
ax.set(
    ylabel="million multiply-adds a step",
    title="With many slots, links between them cost most",
)
ax.legend(fontsize=8, loc="upper left")
plt.show()

# %% [markdown]
# Counts are not seconds. Recorded: forward and backward pass of 16 episodes of 50 steps at these sizes, interleaved on one thread, against a Turing machine that shifts an example at a time, as a public one does, and against the package `dnc`.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two bar charts. Milliseconds an update: ours 100, ours with NTM addressing 163, dnc 447, the Turing machine that loops 872. Megabytes kept: ours 32, with NTM addressing 68, dnc 219, the loop 308."}} tags=["hide-input"]
# @title Figure: time and memory of an update
cost = sweep(experiment.COST, "book", device="cpu").iloc[0]
PEERS = {"ours": "ours", "ntm": "ours, NTM", "loop": "NTM, looped", "dnc": "dnc"}
peers = {k: v for k, v in PEERS.items() if f"{k}_seconds" in cost}
fig, axes = figures.panels(2)
for ax, metric, unit, label in (
    (axes[0], "seconds", 1e-3, "milliseconds an update"),
    (axes[1], "bytes", 1e6, "megabytes kept"),
):
    values = [cost[f"{name}_{metric}"] / unit for name in peers]
    colors = [
        COLORS["learned"] if "ours" in label else "0.7" for label in peers.values()
    ]
    ax.bar(range(len(peers)), values, color=colors)
    ax.set_xticks(range(len(peers)), peers.values(), fontsize=8.5)
    ax.set_ylabel(label)
fig.suptitle("An update costs less time and less memory")
plt.show()

# %% [markdown]
# **An update takes 0.11 of the time of the Turing machine that loops and 0.22 of that of `dnc`, and keeps 0.10 and 0.14 of the memory; with NTM addressing it takes 1.65 times as long as without.** The package also computes links and free gates, which the others have not.
#
# ## 9. Conventions and errata
#
# **The paper leaves six things open, and public reproductions fill them differently. Five statements that are easily made do not hold.**
#
# <details><summary>Six readings</summary>
#
# Equation numbers as we remember the paper. Reproductions: snowkylin/ntm (TensorFlow) and tristandeleu/ntm-one-shot (Theano).
#
# | | the equations | reproductions | our default | why |
# |---|---|---|---|---|
# | A1 gate | a scalar; learned, or emitted? | both: emitted | emitted (`gate`) | a label that arrives may call for another target than a drawing |
# | A2 content | the read key $k_t$ is written | a vector of its own in tristandeleu, and by default in snowkylin | the key (`write_content`) | as written; the experiments try both |
# | A3 several heads | Eq. 6 marks $n$ slots, so one write goes to all of them | tristandeleu: head $j$ has the $j$-th least used; snowkylin: every head has all $n$ | one write head, one slot (`writes`, `targets`) | lifetime $N/W$, section 3 |
# | A4 order | the read comes from the memory after the write | tristandeleu, and one cell of snowkylin: so; its other cell: weights from before, rows from after | after (`order`) | as written |
# | A5 gradient | ignored through the choice | what automatic differentiation gives, (MANN.23) | the same | section 5 |
# | A6 ties | Eq. 6 has "≤" | the first $n$ by a sort | exactly $n$ (`ties`) | E1 |
#
# </details>
#
# Some differences change results and are none of the method. As we read tristandeleu's code, there is no split into training and test
# classes and accuracy is that on the batch just trained on; shifts are computed, and the picture without them is used; all 16 episodes of a
# batch share their classes and labels. snowkylin draws images with replacement, and splits classes in the order in which the folders are
# listed, so alphabets are on both sides.
#
# Each of the following statements is one you can find or make, and each differs from what is true. *Ties.* With a threshold, Eq. 6 marks
#
# $$ \#\{i:\,w^u(i)\le m(w^u,n)\} = n \tag{MANN.E1} $$
#
# slots, $m$ the $n$-th smallest usage. At the first step all usages are zero and all $N$ are marked. True: (MANN.7), which counts. *A start
# at $10^{-6}$* is no blank memory:
#
# $$ K(k,\,10^{-6}\,\mathbf 1) = 0 \tag{MANN.E2} $$
#
# True: (MANN.17). *Lifetime.* The mark is not compared with the level of the reads:
#
# $$ \text{lifetime} = \ln\tfrac1{N(1-\gamma)}\,/\ln\gamma \tag{MANN.E3} $$
#
# which says 36 steps for $N=128$, $\gamma=0.95$. True: (MANN.19). *Novelty.* "Above chance at a first showing means that a class is seen
# to be new", that is, without such knowledge
#
# $$ \Pr(\text{right at a first showing}) \le \tfrac1C \tag{MANN.E4} $$
#
# True: (MANN.22). *Shots.* The second showing is not one-shot accuracy among $C$ ways, for this would need
#
# $$ \Pr(\text{all } C \text{ classes shown before a class's second showing}) = 1 \tag{MANN.E5} $$
#
# If every step draws a class, the chance is 45.7% for five. It equals $H_C/C$, the number of (MANN.20). Later papers list the second and
# the fifth showing as one and five shots, as we remember their tables.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The refutations, and what is true
for N, n in ((128, 4), (7, 2)):
    usage = torch.zeros(1, N)
    threshold = usage.kthvalue(n).values
    marked = int((usage <= threshold).sum())
    refute("MANN.E1", marked, n, f"at the first step {marked} slots are marked")
    heads = LeastRecentlyUsedMemory(N, 3, n, writes=n)
    exactly = heads.least_used(usage).sum((1, 2)).long()
    check("MANN.7", exactly, torch.tensor([n]), "the library marks as many as asked")

key = random_keys() + 0.3
found = cosine(key, torch.full((1, 40), 1e-6))
refute("MANN.E2", 0.0, float(found), "a row of 10⁻⁶ has a direction")
rms = key.square().mean().sqrt()
check("MANN.17", float(key.mean() / rms), float(found), "that of ones")

N, decay = 128, 0.95
said = math.log(1 / (N * (1 - decay))) / math.log(decay)
(lives,) = simulate(N, 1, [decay], ["equal"], 300)
refute("MANN.E3", said, float(lives.min()), f"{said:.0f} steps are said")
check("MANN.19", torch.full_like(lives, N), lives, "all lifetimes, reads all alike")

for C in (3, 4):
    found = play(C, C, C, after_the_last, all_classes=True)
    refute("MANN.E4", Fraction(1, C), found, f"C = {C}: any label but the last")
    check("MANN.22", Fraction(C + 1, C * C), found, "all orders, all labels")


def all_shown(C, k):
    """Chance that the other C − 1 classes come before the k-th showing of one."""
    chances = {(C - 1, 0): Fraction(1)}  # classes not yet shown, showings of the one
    total = Fraction(0)
    while chances:
        (rest, seen), p = chances.popitem()
        if rest == 0:
            total += p
        elif seen < k:
            for state, weight in (((rest - 1, seen), rest), ((rest, seen + 1), 1)):
                chances[state] = chances.get(state, 0) + p * weight / (rest + 1)
    return total


for C in (2, 5, 15):
    found = all_shown(C, 2)
    refute("MANN.E5", Fraction(1), found, f"C = {C}, second showing")
    check("MANN.20", novelty(C), found, "it is the number of (MANN.20)")
print(f"fifth showing, five classes: {float(all_shown(5, 5)):.1%}")

# %% [markdown]
# ## 10. How does the library differ from the lesson's cell?
#
# **By an $\varepsilon$, by fewer operations a step, and by a state that you can hand on. The numbers stay the same.**
#
# *Lengths.* The cosine divides by $\sqrt{|m|^2+10^{-8}}$, so a row of zeros has cosine zero and a gradient. To divide by
# $\max(|m|,10^{-12})$, as `normalize` does, has the same value and a gradient of $10^{12}$ there. A row that is shorter than $10^{-4}$
# counts as blank: with a start at $10^{-6}$ the library's cosine is (MANN.17) times 0.063.
#
# *Inputs.* What the LSTM makes of $\tilde x_t$ does not depend on the memory, so it is computed for all steps at once. What it makes of
# $h_{t-1}$ and $r_{t-1}$ is one product a step, and so are all keys and gates.
#
# *Streaming.* `forward` returns its state. An episode fed in pieces is the same episode, and the memory is not wiped between two calls
# unless you leave the state out.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks by equality
network = MemoryAugmentedNetwork(6, 3, hidden_size=9, slots=7, width=4, reads=2)
inputs = torch.randn(11, 2, 6, generator=source)
with torch.no_grad():
    whole, end = network(inputs)
    first, state = network(inputs[:4])
    second, state = network(inputs[4:], state)
    check("MANN.10", torch.cat((first, second)), whole, "in two pieces")
    check("MANN.9", state.memory.memory, end.memory.memory, "and the memory at the end")
    steps, state = [], network.initial_state(2)
    for x in inputs:
        hidden, cell, read, memory = state
        columns = (network.weight_ih, network.weight_rh, network.weight_hh)
        seen = torch.cat((x, read, hidden), 1)
        gates = seen @ torch.cat(columns, 1).T + network.bias  # no hoisting
        i, f, o, candidate = gates.split(9, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * candidate.tanh()  # (MANN.10)
        hidden = o.sigmoid() * cell.tanh()
        parts = network.heads(hidden)
        keys, gate = parts[:, :8].tanh().unflatten(1, (2, 4)), parts[:, 8:].sigmoid()
        unit = network.memory
        read, memory = unit.read(unit.write(memory, keys[:, :1], gate), keys)
        state = (hidden, cell, read.flatten(1), memory)
        steps.append(network.output(torch.cat((hidden, state[2]), 1)))
    check("MANN.12", torch.stack(steps), whole, "one product for all inputs of a step")

key = random_keys(1, 1) + 0.3
row = torch.zeros(1, 2, 40).requires_grad_()
slope = torch.autograd.grad(cosine_similarity(key, row).sum(), row)[0].abs().max()
dot = (F.normalize(row, dim=-1) @ F.normalize(key, dim=-1).mT).sum()
steep = torch.autograd.grad(dot, row)[0].abs().max()
print(
    f"gradients at zero: below {1e4:.0e} {bool(slope < 1e4)}, above 1e+11 {bool(steep > 1e11)}"
)
faint = cosine_similarity(key, torch.full((1, 1, 40), 1e-6))[0, 0]
share = math.sqrt(40e-12 / (40e-12 + 1e-8))
check(
    "MANN.17", share * key[0].mean(1) / key[0].square().mean(1).sqrt(), faint, "faint"
)
print(f"share {share:.3f}")

# %% [markdown]
# ## 11. Harder exercises
#
# Fill in a stub, run it, and call its checker, such as `check_exercise_4(strength_for)`: it prints "right", or says what is wrong.
#
# **4 (calculation).** One slot holds the key, the other $N-1$ are orthogonal to it. How large must $\beta$ be for the read to put the
# share $0<q<1$, $q\ge1/N$, on that slot?


# %% tags=["exercise-4"]
def strength_for(q: float, N: int) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(strength_for):
    for q, N in ((0.5, 128), (0.9, 10), (0.05, 64), (0.99, 2), (0.25, 4)):
        beta = float(torch.as_tensor(strength_for(q, N)).double())
        assert math.isfinite(beta), f"q = {q}, N = {N}: {beta} is no number"
        slots = torch.eye(N)
        share = float(read_weights(slots[0], slots, beta)[0])
        assert abs(share - q) < 1e-5, (
            f"q = {q}, N = {N}: β = {beta:.4f} gives {share:.5f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# Solve $e^\beta/(e^\beta+N-1)=q$. Half the weight among 128 slots takes $\ln127=4.84$.
#
# ```python
# def strength_for(q, N):
#     return math.log(q * (N - 1) / (1 - q))
# ```
#
# </details>
#
# **5 (code).** The heads of section 6 shift by one slot at most. Let $s$ be a distribution over shifts by $-m,\dots,m$ with any $m$, slot
# numbers modulo $N$, and $2m+1$ possibly larger than $N$. Return the shifted weights without a loop over slots or shifts.


# %% tags=["exercise-5"]
def shifted(w, s):
    """w (N,), s (2m + 1,) with s[m] for no shift -> (N,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(shifted):
    generator = torch.Generator().manual_seed(6)
    for N, m in ((5, 1), (8, 3), (6, 0), (4, 5), (7, 3)):
        w = torch.rand(N, generator=generator).softmax(0)
        s = (3 * torch.rand(2 * m + 1, generator=generator)).softmax(0)
        given = w.clone(), s.clone()
        answer = torch.as_tensor(shifted(*given)).double()
        kept = torch.equal(given[0], w) and torch.equal(given[1], s)
        assert kept, "it changes its arguments; compute with copies"
        assert answer.shape == (N,), f"shape {tuple(answer.shape)}, expected ({N},)"
        right = torch.zeros(N)
        for i in range(N):
            for j in range(-m, m + 1):
                right[i] += s[m + j] * w[(i - j) % N]
        error = float((answer - right).abs().max())
        assert error < 1e-5, f"N = {N}, m = {m}: off by {error:.4f}"
    w, s = torch.zeros(20_000), torch.full((4001,), 1 / 4001)
    w[5] = 1.0
    began = time.perf_counter()
    answer = torch.as_tensor(shifted(w, s)).double()
    took = time.perf_counter() - began
    assert abs(float(answer.sum()) - 1) < 1e-4, "20,000 slots: the sum is not one"
    assert took < 0.5, f"20,000 slots took {took:.1f} s: is there a loop?"
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# A circular convolution is a product of Fourier transforms. Put the shifts at their places modulo $N$; several may meet there.
#
# ```python
# def shifted(w, s):
#     N, m = len(w), len(s) // 2
#     places = torch.arange(-m, m + 1) % N
#     kernel = torch.zeros_like(w).index_add(0, places, s)
#     return torch.fft.irfft(torch.fft.rfft(w) * torch.fft.rfft(kernel), n=N)
# ```
#
# </details>
#
# **6 (calculation).** Every step draws one of $C$ classes, all alike. With which chance have all other $C-1$ classes been shown before one
# class is shown for the $k$-th time? (E5 is $k=2$. How likely is it that some given $j$ classes have *not* been shown?)


# %% tags=["exercise-6"]
def everyone_shown(C: int, k: int) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(everyone_shown):
    for C, k in ((2, 1), (2, 3), (5, 1), (5, 2), (5, 5), (9, 3), (15, 10)):
        answer = float(torch.as_tensor(everyone_shown(C, k)).double())
        right = float(all_shown(C, k))
        assert abs(answer - right) < 1e-5, (
            f"C = {C}, k = {k}: {answer:.5f}, expected {right:.5f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# Inclusion and exclusion. Look only at the steps that draw the class or one of $j$ given others: the class wins each with
# probability $1/(j+1)$, so none of the $j$ comes before its $k$-th showing with probability $(j+1)^{-k}$.
#
# ```python
# def everyone_shown(C, k):
#     return sum((-1) ** j * math.comb(C - 1, j) / (j + 1) ** k for j in range(C))
# ```
#
# </details>

# %% [markdown]
# ## 12. Symbols and further reading
#
# Beside those of [the lesson](memory_augmented.ipynb):
#
# | symbol | meaning |
# |---|---|
# | $\beta$; $a$, $\varepsilon$ | factor on the cosine, one in the paper (1); any positive number, a small one (2) |
# | $s_i$, $c_t$; $W$ | step of the last write to slot $i$, usage common to all slots; write heads (3) |
# | $H_C$; $d$, $L$ | $1+\frac12+\dots+\frac1C$; classes shown in an episode, labels to deal (4) |
# | $\mathcal L$ | a loss of the memory (5) |
# | $w_c$, $g$, $s$, $p$ | content weights, gate, distribution over shifts, power (6) |
# | $p_t$; $k$, $\kappa$, $K$; $m_t$, $s_t^2$; $\sigma^2$ | predictive; kernel, its vector, matrix; mean, variance; noise (7) |
# | $X$, $H$, $n$ | inputs, units, reads (8) |
#
# - The paper: [Santoro et al. 2016](https://arxiv.org/abs/1605.06065).
# - Hochreiter, Younger and Conwell, *Learning to Learn Using Gradient Descent*, 2001: the same episodes, with an LSTM.
# - Graves, Wayne and Danihelka, [*Neural Turing Machines*](https://arxiv.org/abs/1410.5401), 2014: section 6.
# - Graves et al., *Hybrid computing using a neural network with dynamic external memory*, Nature 2016: the DNC, with usage that is learned.
# - Lake, Salakhutdinov and Tenenbaum, *Human-level concept learning through probabilistic program induction*, Science 2015: Omniglot.
# - Vinyals et al., [*Matching Networks for One Shot Learning*](https://arxiv.org/abs/1606.04080), 2016: sharp attention over all examples.
# - Rae et al., [*Scaling Memory-Augmented Neural Networks with Sparse Reads and Writes*](https://arxiv.org/abs/1610.09027), 2016.
# - Kaiser et al., [*Learning to Remember Rare Events*](https://arxiv.org/abs/1703.03129), 2017: nearest neighbours, the oldest goes first.
# - Mishra et al., [*A Simple Neural Attentive Meta-Learner*](https://arxiv.org/abs/1707.03141), 2018: attention over the whole episode.
# - Ortega et al., [*Meta-learning of Sequential Strategies*](https://arxiv.org/abs/1905.03030), 2019: section 7 at length.
# - Chan et al., [*Data Distributional Properties Drive Emergent In-Context Learning in
#   Transformers*](https://arxiv.org/abs/2205.05055), 2022: such episodes in transformers.
