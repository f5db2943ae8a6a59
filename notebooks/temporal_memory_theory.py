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
# # Generative models with memory: the theory
#
# **The gap of a filtering posterior, the price of first sight and what a recall can save, the divergence of two normals, attention over
# latents, the Turing machine's and the computer's memory step by step, importance weights, collapse, the library, cost, errata: what
# stands behind [the lesson](temporal_memory.ipynb).** The measurements are in [the experiments](temporal_memory_experiments.ipynb).
# Sections can be read in any order; their code uses functions from above. Symbols are the lesson's: frames $x_t$ with latents $z_t$,
# $t=1,\dots,T$; a model $p$, a posterior $q$, the bound $F$; a controller $h_t$; what is known before $x_t$, $\Psi_t$; rows $M(i)$, read with
# weights $w$. All is in nats. Statements about the paper are from its abstract, a public review and a public port.

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

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import gammaln
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from workedpapers.experiments import temporal_memory as experiment
from workedpapers.lab import check, figures, refute, setup, sweep
from workedpapers.temporal_memory import (
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    NeuralTuring,
    Normal,
    Recurrent,
    TemporalGenerativeModel,
    allocation,
    kl_normal,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK, YELLOW = (COLORS[role] for role in ("muted", "peer", "wrong"))
source = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=source)


def uniform(*shape):
    return torch.rand(*shape, generator=source)


# %% [markdown]
# ## 1. Is the bound tight with the exact filtering posterior?
#
# **No. A posterior that sees $x_{\le t}$ lacks what later frames will tell about $z_t$, and the bound stays below $\ln p(x)$. The
# best posterior of this form is not the filtering posterior.**
#
# Both laws of the latents factorise in time: $q$ by (GTM.3), and the model's own, $p(z\mid x)=\prod_tp(z_t\mid z_{<t},x_{\le T})$, by the
# chain rule. The gap (GTM.5) is their divergence. Split it by the chain rule, too:
#
# $$ \ln p(x)-F=\sum_t\mathrm E_q\,\mathrm{KL}\bigl(q(z_t|z_{<t},x_{\le t})\,\|\,p(z_t|z_{<t},x_{\le T})\bigr) \tag{GTM.14} $$
#
# No term is negative. So the bound is tight if and only if $q(z_t\mid z_{<t},x_{\le t})=p(z_t\mid z_{<t},x_{\le T})$ wherever $q$ goes: the
# future must add nothing about $z_t$. At $t=T$ this can be met. Earlier, one table has to serve all futures.
#
# Which table is best, on average over $x\sim p$? Work backwards. Let $V_t$ be the best that can still be gained after step
# $t$, and $V_T=0$. Frames come from their law, latents from $q$, so the next frame is averaged given frames alone. Over distributions
# $q$, $\mathrm E_q[a(z)-\ln q(z)]$ is at most $\ln\sum_ze^{a(z)}$, reached by $q\propto e^a$. Hence
#
# $$ V_{t-1}(z_{<t},x_{<t})=\sum_{x_t}p(x_t|x_{<t})\,\ln\sum_{z_t}p(x_t,z_t|z_{<t},x_{<t})\,e^{V_t(z_{\le t},x_{\le t})} \tag{GTM.14a} $$
#
# $V_0$ is the best bound, and $q(z_t|z_{<t},x_{\le t})\propto p(x_t,z_t|z_{<t},x_{<t})\,e^{V_t}$ reaches it. Drop the factor $e^{V_t}$ and
# you have the filtering posterior, which is the greedy choice. A small hidden chain shows the difference: two states that stay with
# probability 0.9, seen through a channel that flips one frame in five.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The chain, enumerated
def chain(start, move, emit, T):
    """p(x, z) of a hidden chain: all x_1 … x_T by all z_1 … z_T."""
    joint = (start[:, None] * emit).T  # (x_1, z_1)
    S, X = emit.shape
    for _ in range(T - 1):
        last = joint.reshape(len(joint), -1, S)
        step = torch.einsum("xpz,zn,no->xopzn", last, move, emit)
        joint = step.reshape(len(joint) * X, -1)
    return joint


def stay(rho=0.9, flip=0.2):
    """Start, moves and emissions of two sticky states."""
    pair = torch.eye(2)
    keep = rho * pair + (1 - rho) * pair.flip(0)
    return pair.new_full((2,), 0.5), keep, (1 - flip) * pair + flip * pair.flip(0)


def marginal(joint, X, S, t, s):
    """p(x_1 … x_t, z_1 … z_s)."""
    T = round(math.log(len(joint), X))
    return joint.reshape(X**t, X ** (T - t), S**s, S ** (T - s)).sum((1, 3))


# %%
def best_filter(joint, X, S):  # (GTM.14a)
    """Tables q(z_t | z_<t, x_≤t), one a step, shape (x_≤t, z_<t, z_t), and V_0."""
    T, tables = round(math.log(len(joint), X)), []
    V = torch.zeros(X**T, S**T)
    for t in range(T, 0, -1):
        before = marginal(joint, X, S, t - 1, t - 1)[:, None, :, None]
        now = marginal(joint, X, S, t, t).reshape(X ** (t - 1), X, S ** (t - 1), S)
        a = (now / before).log() + V.reshape(now.shape)
        tables.insert(0, a.softmax(-1).flatten(0, 1))
        frames = marginal(joint, X, S, t, 0).reshape(-1, X)
        law = frames / frames.sum(1, keepdim=True)
        V = (law[:, :, None] * a.logsumexp(-1)).sum(1)
    return tables, V[0, 0]


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Posteriors of filtering form, and the bound
def filters(joint, X, S, kind):
    """Tables of the true filtering posterior, of p(z_t | x_≤t), or of the prior."""
    T, tables = round(math.log(len(joint), X)), []
    for t in range(1, T + 1):
        now = marginal(joint, X, S, t, t).reshape(X**t, -1, S)
        if kind == "no past latents":
            now = now.sum(1, keepdim=True).expand(now.shape)
        if kind == "prior":
            ahead = marginal(joint, X, S, t - 1, t)
            now = ahead.repeat_interleave(X, 0).reshape(now.shape)
        tables.append(now / now.sum(-1, keepdim=True))
    return tables


def posterior(tables, X, S):
    """q(z | x), (x, z): the product of (GTM.3)."""
    q = torch.ones(1, 1)
    for table in tables:
        q = (q.repeat_interleave(X, 0)[:, :, None] * table).flatten(1)
    return q


def bound(joint, q):
    """F of every x."""
    return (q * (joint / q).log()).sum(1)


def average(joint, q):
    return float((joint.sum(1) * bound(joint, q)).sum())


joint = chain(*stay(), 3)
exact = float(torch.special.xlogy(joint.sum(1), joint.sum(1)).sum())
print(f"three frames: mean of ln p(x) {exact:.5f}", end="")
for kind in ("true", "no past latents", "prior"):
    F_q = average(joint, posterior(filters(joint, 2, 2, kind), 2, 2))
    print(f", {kind} {F_q:.5f}", end="")
tables, V = best_filter(joint, 2, 2)
print(f", best {V:.5f}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of the gap in nats for three posteriors. Left, against one to six frames: all start at zero; a filter without past latents reaches 1.30, the true filtering posterior 0.48, the best of filtering form 0.42. Right, for four frames against the probability to stay from 0.5 to 0.99: all start at zero and rise, to 2.27, 0.48 and 0.37."}} tags=["hide-input"]
# @title Figure: the gap of four posteriors
choices = {"no past latents": "no past latents", "true filtering": "true"}
styles = dict(zip((*choices, "best of this form"), (PINK, ORANGE, BLUE), strict=True))
fig, (left, right) = figures.panels(2)


def gaps(T, rho=0.9):
    joint = chain(*stay(rho), T)
    top = float(torch.special.xlogy(joint.sum(1), joint.sum(1)).sum())
    found = {
        label: top - average(joint, posterior(filters(joint, 2, 2, kind), 2, 2))
        for label, kind in choices.items()
    }
    return found | {"best of this form": top - float(best_filter(joint, 2, 2)[1])}


lengths, rhos = range(1, 7), (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.99)
for ax, runs, xs in (
    (left, [gaps(T) for T in lengths], lengths),
    (right, [gaps(4, rho) for rho in rhos], rhos),
):
    for label, color in styles.items():
        line = [run[label] for run in runs]
        ax.plot(xs, line, "o-", ms=3, color=color, label=label)
        print(f"{label}: {abs(line[0]):.3f} … {line[-1]:.3f}")
left.set(xlabel="frames T", ylabel="ln p(x) − F (nats)", title="More frames, wider gap")
right.set(xlabel="probability to stay", title="Sticky states, wider gap")
left.legend(fontsize=8)
plt.show()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.14) and (GTM.14a)
def random_table(X, S, T):
    return (1.5 * normal(X**T, S**T)).flatten().softmax(0).reshape(X**T, S**T)


def random_tables(X, S, T):
    shapes = [(X**t, S ** (t - 1), S) for t in range(1, T + 1)]
    return [normal(*shape).softmax(-1) for shape in shapes]


def step_by_step(joint, tables, X, S):
    """F of every x by (GTM.4): reconstruction minus divergence, step by step."""
    T, total = len(tables), torch.zeros(len(joint))
    for t, q in enumerate(tables, 1):
        now = marginal(joint, X, S, t, t).reshape(X**t, -1, S)
        ahead = marginal(joint, X, S, t - 1, t).repeat_interleave(X, 0)
        ahead = ahead.reshape(now.shape)
        before = marginal(joint, X, S, t - 1, t - 1).repeat_interleave(X, 0)
        prior = ahead / before[:, :, None]
        gain = (q * ((now / ahead).log() - (q / prior).log())).sum(-1)
        gain = (posterior(tables[: t - 1], X, S).repeat_interleave(X, 0) * gain).sum(1)
        total = total + gain.repeat_interleave(X ** (T - t))
    return total


def divergences(joint, tables, X, S):  # the right side of (GTM.14), for every x
    T, total = len(tables), torch.zeros(len(joint))
    for t, q in enumerate(tables, 1):
        p = marginal(joint, X, S, T, t).reshape(X**T, -1, S)
        p = p / p.sum(-1, keepdim=True)
        q = q.repeat_interleave(X ** (T - t), 0)
        visits = posterior(tables[: t - 1], X, S).repeat_interleave(X ** (T - t + 1), 0)
        total = total + (visits * (q * (q / p).log()).sum(-1)).sum(1)
    return total


for X, S, T in ((2, 2, 3), (3, 2, 2), (2, 3, 2)):
    joint, tables = random_table(X, S, T), random_tables(X, S, T)
    gap = joint.sum(1).log() - step_by_step(joint, tables, X, S)
    text = f"{X} symbols, {S} states, T = {T}"
    check("GTM.14", gap, divergences(joint, tables, X, S), f"every x, {text}")
    tables, V = best_filter(joint, X, S)
    logits = [torch.zeros_like(q).requires_grad_() for q in tables]
    climb = torch.optim.LBFGS(logits, max_iter=300, line_search_fn="strong_wolfe")
    climb.param_groups[0].update(tolerance_grad=1e-11, tolerance_change=1e-15)

    def loss(joint=joint, logits=logits, climb=climb, X=X, S=S):
        climb.zero_grad()
        q = posterior([raw.softmax(-1) for raw in logits], X, S)
        value = -(joint.sum(1) * bound(joint, q)).sum()
        value.backward()
        return value

    climb.step(loss)
    check("GTM.14a", V, -loss(), f"gradient ascent finds it, {text}", rtol=1e-8)
    reached = average(joint, posterior(tables, X, S))
    check("GTM.14a", V, reached, "the bound of the tables")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Two cases without a gap
joint = torch.einsum("i,j->ij", uniform(9).softmax(0), uniform(4).softmax(0))
tables = filters(joint, 3, 2, "prior")
gap = joint.sum(1).log() - step_by_step(joint, tables, 3, 2)
check("GTM.14", gap, torch.zeros(9), "latents that no frame depends on: q = prior")
last = random_table(4, 3, 1)
gap = last.sum(1).log() - step_by_step(last, filters(last, 4, 3, "true"), 4, 3)
check("GTM.14", gap, torch.zeros(4), "one frame: the filtering posterior is exact")

# %% [markdown]
# A lone frame has no gap, and neither have states that are drawn anew at every step (0.5): the future does not speak of them. The stickier
# the states, the wider the gap, and the more the best table gains over the true filter: for four frames and 0.99 it closes 24% of the gap. A
# filter that ignores its own past samples is far worse. SRNN (Fraccaro et al. 2016) lets $q$ see the future and can close the gap. The
# price: such a $q$ cannot be run online.

# %% [markdown]
# ## 2. What does first sight cost, and what can a recall save?
#
# **On average a first sight costs what the latent comes to know about the frame, plus what the prior has wrong. One recall, by a memory of
# that one sample, saves at most this. Two conditions are needed; without them it can save more.**
#
# Let frames be drawn from $p(x)$. Write $q(z)=\mathrm E_x\,q(z|x)$ for the mean posterior, and $I(x;z)$ for the mutual information of frame
# and sample. Insert $q(z)$ into the logarithm:
#
# $$ \mathrm E_x\,\mathrm{KL}\bigl(q(z|x)\,\|\,p(z)\bigr)=I(x;z)+\mathrm{KL}\bigl(q(z)\,\|\,p(z)\bigr) \tag{GTM.15} $$
#
# Now show $x$ once more. Suppose that (a) whatever the model knows at the recall depends on $x$ through the one sample $z_1$ alone, and (b)
# on a frame it has no memory of the model reaches the best bound there is, $-H(x)$, with $H$ the entropy. Let $F_2$ be the mean bound of the
# recalled frame. Then
#
# $$ F_2-\bigl(-H(x)\bigr)\le I(x;z_1)\le\mathrm E_x\,\mathrm{KL}\bigl(q(z_1|x)\,\|\,p(z_1)\bigr) \tag{GTM.16} $$
#
# *Proof.* By (a) and Jensen's inequality $F_2\le\mathrm E\ln p(x|z_1)$, whatever the second latent does. By Gibbs' inequality no model of
# $x$ given $z_1$ beats the true conditional, so this is at most $-H(x|z_1)=-H(x)+I(x;z_1)$. The second step is (GTM.15). Equality needs a
# prior equal to the mean posterior, and at the recall a model that has learned what $z_1$ says.
#
# For more recalls the same proof bounds the saving of recall $k$ by $I(x;z_1,\dots,z_k)$, which is the sum of all $k$ divergences paid so
# far, at most. In bits: $x$ is one of four symbols, $z_1$ tells the first bit of $x$, $z_2$ the second. Every frame without memory costs
# 2 bits, one of them in the divergence. The first recall costs 1 bit and saves 1. The second recall knows both and costs nothing: it
# saves 2 bits, twice what first sight cost in divergence. So two recalls save 3 bits, not 2 (E3).


# %%
def entropy(p):
    return -torch.special.xlogy(p, p).sum()


def price(joint, prior):  # the left side of (GTM.15); joint: q(x, z)
    p_x = joint.sum(1, keepdim=True)
    q = joint / p_x
    return (p_x * q * (q / prior).log()).sum()


def information(joint):
    return entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint)


def divergence(q, p):
    return (q * (q / p).log()).sum()


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "The most that a recall saves against the price of first sight, both in nats, for 16 symbols. With a matched prior the line is the diagonal up to ln 16, 2.77. A prior that is off lies below it. A second recall lies above it, up to 0.6. A stored frame saves 2.77 at any price."}} tags=["hide-input"]
# @title Figure: price of first sight against what a recall saves
def channel(n, g):
    """q(x, z): uniform x, z equal to x with e^g times the weight of any other."""
    return (g * torch.eye(n)).softmax(1) / n


n, gaps_of = 16, torch.linspace(0, 14, 57)
skew = torch.linspace(-1, 1, n).softmax(0)
lines = {"matched prior": [], "prior off": [], "second recall": [], "frame stored": []}
for g in gaps_of:
    joint = channel(n, g)
    twice = torch.einsum("xz,xy->xzy", joint, n * joint).flatten(1)
    once = float(price(joint, joint.sum(0)))
    saved = float(information(joint))
    lines["matched prior"].append((once, saved))
    lines["prior off"].append((float(price(joint, skew)), saved))
    lines["second recall"].append((once, float(information(twice))))
    lines["frame stored"].append((once, math.log(n)))
fig, ax = plt.subplots()
for (label, points), color in zip(
    lines.items(), (BLUE, ORANGE, PINK, GREEN), strict=True
):
    ax.plot(*zip(*points, strict=True), color=color, label=label)
most = max(lines["second recall"], key=lambda point: point[1] - point[0])
print("second recall, at its farthest: price {:.2f}, saved {:.2f}".format(*most))
ax.set(xlabel="price of first sight, E KL (nats)", ylabel="most a recall saves (nats)")
ax.set_title("One sample saves its price; more can save more")
ax.legend(fontsize=9)
plt.show()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.15) and (GTM.16)
def table(*shape):
    return (1.5 * normal(math.prod(shape))).softmax(0).reshape(shape)


for n, m in ((2, 2), (5, 3), (3, 7)):
    joint, prior = table(n, m), table(m)
    right = information(joint) + divergence(joint.sum(0), prior)
    check("GTM.15", price(joint, prior), right, f"{n} frames, {m} latents")
for a, s, mean, spread, sigma in (
    (0.7, 0.4, 0.3, 1.2, 1.0),
    (-2.0, 0.3, -1.0, 0.8, 0.6),
):
    # x ~ N(0, σ²), q = N(a x, s²), prior N(mean, spread²)
    nodes, w = np.polynomial.hermite_e.hermegauss(40)
    x, w = sigma * torch.tensor(nodes), torch.tensor(w / w.sum())
    q = Normal((a * x)[:, None], torch.full((40, 1), s))
    p = Normal(torch.full((1,), mean), torch.full((1,), spread))
    left = (w * kl_normal(q, p)).sum()
    wide = Normal(torch.zeros(1), torch.full((1,), math.hypot(a * sigma, s)))
    known = 0.5 * math.log(1 + (a * sigma / s) ** 2)
    check("GTM.15", left, known + kl_normal(wide, p), f"normals, a = {a}")


def recalled(joint, second, prior, decode):
    """F_2: law q(x, z_1); second q(z_2 | x, z_1); prior (z_1, z_2); decode (z_1, z_2, x)."""
    gain = decode.permute(2, 0, 1).log() + (prior / second).log()
    return (joint[:, :, None] * second * gain).sum()


for n, m, k in ((4, 3, 2), (3, 5, 3), (6, 2, 4)):
    joint = table(n, m)
    H, known = entropy(joint.sum(1)), information(joint)
    saved = []
    for spread in (0.5, 1.0, 2.0) * 20:  # any model of the recall
        parts = ((n, m, k), (m, k), (m, k, n))
        given = [(spread * normal(*shape)).softmax(-1) for shape in parts]
        saved.append(recalled(joint, *given) + H)
    below = bool(max(saved) <= known <= price(joint, table(m)))
    check("GTM.16", below, True, f"60 random models, {n} frames, {m} latents")
    knows = (joint / joint.sum(0)).T[:, None].expand(m, k, n)
    flat = torch.full((m, k), 1 / k)
    best = recalled(joint, flat.expand(n, m, k), flat, knows) + H
    check("GTM.16", best, known, "reached by a model that knows what z tells")
    check("GTM.16", known, price(joint, joint.sum(0)), "and equal to the price there")

# the bits of the text: x = 2a + b, first z tells a, second z tells b
bits = torch.tensor([[x // 2, x % 2] for x in range(4)])
half = F.one_hot(bits[:, 0], 2) / 4.0
full = F.one_hot(2 * bits[:, 0] + bits[:, 1], 4) / 4.0
saved = torch.stack([information(half), information(full)]) / math.log(2)
paid_bits = torch.special.xlogy(half, 4 * half / 0.5).sum() / math.log(2)
check("GTM.16", saved, torch.tensor([1.0, 2.0]), "bits saved by recalls one and two")
check("GTM.16", paid_bits, 1.0, "bits paid in divergence at first sight")
stored = entropy(full.sum(1)) / math.log(2)
check("GTM.16", stored, 2.0, "bits saved by a memory that holds the frame itself")

# %% [markdown]
# What breaks the wider statement "a recall saves at most the divergence of first sight":
#
# - *Another store.* A memory of frames or of features, or the posterior's mean, knows more of $x$ than one sample. The green line: it can
#   save all of $H(x)$ though first sight cost no divergence.
# - *A second recall*: the pink line, up to 0.6 nats above the diagonal, with two independent samples of the same $q$.
# - *A poor model of first sight.* Without (b) the memory also saves what the model without it had missed.
# - *Continuous frames.* An exact copy of a real number saves without limit, for $-h(x)$ is no ceiling (the entropy $h$ of a density).

# %% [markdown]
# ## 3. How is the divergence of two normals computed?
#
# **In closed form. An estimate from the one sample that we draw anyway has the same mean, but a variance, and only where the posterior
# equals the prior is it silent.**
#
# In one dimension, with means $m$ and deviations $s$,
#
# $$ \int q\ln\frac qp\,dz=\ln\frac{s_p}{s_q}+\frac{s_q^2+(m_q-m_p)^2}{2s_p^2}-\frac12 \tag{GTM.17} $$
#
# since $\ln q-\ln p$ is a quadratic in $\varepsilon=(z-m_q)/s_q$, whose square has mean one. The same quadratic gives the variance of the
# one-sample estimate $\ln q(z)-\ln p(z)$: with $\rho=s_q^2/s_p^2$ and $\delta=(m_q-m_p)/s_p$ it is
# $\frac12(\rho-1)\varepsilon^2+\sqrt\rho\,\delta\,\varepsilon$ plus a constant, so
#
# $$ \mathrm{Var}_q\bigl[\ln q(z)-\ln p(z)\bigr]=\tfrac12(\rho-1)^2+\rho\,\delta^2 \tag{GTM.17a} $$
#
# The checks compute both in closed form, by quadrature and from samples. Dimensions add, in mean and in variance. The closed form is zero
# only if $q=p$, for $\rho-1-\ln\rho\ge0$.


# %%
def closed(m_q, s_q, m_p, s_p):  # (GTM.17)
    return math.log(s_p / s_q) + (s_q**2 + (m_q - m_p) ** 2) / (2 * s_p**2) - 1 / 2


def noise_of_one(m_q, s_q, m_p, s_p):  # (GTM.17a)
    rho, delta = (s_q / s_p) ** 2, (m_q - m_p) / s_p
    return (rho - 1) ** 2 / 2 + rho * delta**2


# %%
one = Normal(torch.tensor([0.8]), torch.tensor([0.3]))
other = Normal(torch.tensor([-0.2]), torch.tensor([1.1]))
z = one.sample(normal(100_000, 1))
samples = one.log_prob(z) - other.log_prob(z)
print(f"closed form {closed(0.8, 0.3, -0.2, 1.1):.3f}")
print(f"one sample: deviation {samples.std():.3f}, mean of many {samples.mean():.3f}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.17), (GTM.17a): quadrature, the library, samples
nodes, w = np.polynomial.hermite_e.hermegauss(30)
nodes, w = torch.tensor(nodes)[:, None], torch.tensor(w / w.sum())
CASES = ((0.8, 0.3, -0.2, 1.1), (-1.0, 2.0, 0.5, 0.7), (0.1, 1.0, 0.1, 1.0))
for case in CASES:
    m_q, s_q, m_p, s_p = (torch.tensor([x]) for x in case)
    q, p = Normal(m_q, s_q), Normal(m_p, s_p)
    z = q.sample(nodes)
    ratio = q.log_prob(z) - p.log_prob(z)
    mean = (w * ratio).sum()
    check("GTM.17", closed(*case), mean, f"quadrature, {case}", atol=1e-12)
    check("GTM.17", closed(*case), kl_normal(q, p), "the library", atol=1e-12)
    spread = (w * (ratio - mean) ** 2).sum()
    check("GTM.17a", noise_of_one(*case), spread, "its variance", atol=1e-12)
    z = q.sample(normal(200_000, 1))
    ratio = q.log_prob(z) - p.log_prob(z)
    check(
        "GTM.17", closed(*case), ratio.mean(), "200,000 samples", rtol=0.02, atol=1e-9
    )
    variance = ratio.var()
    check("GTM.17a", noise_of_one(*case), variance, "theirs", rtol=0.03, atol=1e-9)

# %% [markdown]
# The gradient pulls at both sides. With respect to the posterior's mean and deviation, and to the prior's, it is
#
# $$ \frac{\partial\,\mathrm{KL}}{\partial(m_q,s_q)}=\Bigl(\frac{m_q-m_p}{s_p^2},\;\frac{s_q}{s_p^2}-\frac1{s_q}\Bigr) \tag{GTM.18} $$
#
# $$ \frac{\partial\,\mathrm{KL}}{\partial(m_p,s_p)}=\Bigl(\frac{m_p-m_q}{s_p^2},\;\frac1{s_p}-\frac{s_q^2+(m_q-m_p)^2}{s_p^3}\Bigr) \tag{GTM.18a} $$
#
# Each pair vanishes if and only if $q=p$. A prior that knows nothing of the frame serves many posteriors at once. Set the mean of
# (GTM.18a) over them to zero: the best normal prior has their moments,
#
# $$ m_p=\mathrm E\,m_q,\qquad s_p^2=\mathrm E\,s_q^2+\mathrm{Var}\,m_q \tag{GTM.18b} $$
#
# At a recall with a perfect memory all posteriors that share one $\Psi_t$ are the same, the variance between them is gone, and the divergence can go to zero.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, deviation of the one-sample estimate against the divergence, for ratios of deviations 1, 0.5 and 2, with the diagonal. At small divergences all curves lie above the diagonal. Right, four narrow normal densities at minus 2, minus 0.5, 0.4 and 2.4, and a wide one centred at 0.1: the best prior, with a mean divergence of 1.41 nats."}} tags=["hide-input"]
# @title Figure: noise of the one-sample estimate, and the best prior of many posteriors
fig, (left, right) = figures.panels(2)
apart = torch.linspace(0, 3, 61)
for ratio, color in ((1.0, BLUE), (0.5, ORANGE), (2.0, PINK)):
    kl = [closed(float(d), ratio, 0.0, 1.0) for d in apart]
    noise = [noise_of_one(float(d), ratio, 0.0, 1.0) ** 0.5 for d in apart]
    left.plot(kl, noise, color=color, label=f"deviations' ratio {ratio}")
left.plot([0, 4], [0, 4], color=GREY, lw=1, label="as large as itself")
left.set(xlabel="divergence (nats)", ylabel="deviation of one sample", xlim=(-0.1, 4))
left.set(title="Small divergences drown in noise", ylim=(-0.1, 6.5))
left.legend(fontsize=7.5, loc="upper left")
means, spread = torch.tensor([-2.0, -0.5, 0.4, 2.4]), 0.4
best = math.sqrt(spread**2 + float(means.var(correction=0)))
z = torch.linspace(-5, 5, 300)
for mean in means:
    density = Normal(mean, torch.tensor(spread)).log_prob(z[:, None]).exp()
    right.plot(z, density / 4, color=ORANGE, lw=1, label="posteriors / 4" * (mean < -1))
density = Normal(means.mean(), torch.tensor(best)).log_prob(z[:, None]).exp()
right.plot(z, density, color=BLUE, label="best prior")
price_of = sum(closed(float(m), spread, float(means.mean()), best) for m in means) / 4
right.set(xlabel="z", title=f"Four posteriors, one prior: {price_of:.2f} nats")
right.set(yticks=[], ylim=(0, 0.37))
right.legend(fontsize=8)
plt.show()
print(f"best deviation {best:.3f}, mean divergence {price_of:.3f}")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.18) to (GTM.18b): autograd, differences, Newton's method
def by_posterior(m_q, s_q, m_p, s_p):  # (GTM.18)
    return torch.tensor([(m_q - m_p) / s_p**2, s_q / s_p**2 - 1 / s_q])


def by_prior(m_q, s_q, m_p, s_p):  # (GTM.18a)
    last = 1 / s_p - (s_q**2 + (m_q - m_p) ** 2) / s_p**3
    return torch.tensor([(m_p - m_q) / s_p**2, last])


for case in CASES:
    leaves = [torch.tensor([x], requires_grad=True) for x in case]
    kl = kl_normal(Normal(*leaves[:2]), Normal(*leaves[2:]))
    slopes = torch.cat(torch.autograd.grad(kl, leaves))
    check("GTM.18", by_posterior(*case), slopes[:2], f"autograd, {case}", atol=1e-12)
    check("GTM.18a", by_prior(*case), slopes[2:], "and by the prior", atol=1e-12)
    h, ends = 1e-5, []
    for i, sign in itertools.product(range(4), (1, -1)):
        moved = [x + sign * h * (i == j) for j, x in enumerate(case)]
        ends.append(closed(*moved))
    ends = torch.tensor(ends).reshape(4, 2)
    typed = torch.cat((by_posterior(*case), by_prior(*case)))
    differences = (ends[:, 0] - ends[:, 1]) / (2 * h)
    check("GTM.18", typed, differences, "differences", rtol=1e-7, atol=1e-8)
for K in (3, 50):
    many = Normal(2 * normal(K, 1), 0.2 + uniform(K, 1))
    prior = torch.zeros(2, requires_grad=True)  # mean and ln of the deviation
    climb = torch.optim.LBFGS([prior], max_iter=100, line_search_fn="strong_wolfe")
    climb.param_groups[0].update(tolerance_grad=1e-12, tolerance_change=1e-16)

    def loss(many=many, prior=prior, climb=climb):
        climb.zero_grad()
        value = kl_normal(many, Normal(prior[:1], prior[1:].exp())).mean()
        value.backward()
        return value

    climb.step(loss)
    m, s = many
    typed = torch.stack([m.mean(), s.square().mean() + m.var(correction=0)])
    found = torch.stack([prior[0], (2 * prior[1]).exp()]).detach()
    check("GTM.18b", typed, found, f"minimised for {K} posteriors", rtol=1e-6)

# %% [markdown]
# ## 4. Is Introspection attention, and how near is a read to a copy?
#
# **It is one layer of causal attention with keys for positions and none for content. A read is never an exact copy: the error falls with
# the exponential of the logit's lead.**
#
# Stand on step $t$. The row of lag $m$ is $v_{t-m}$, and its logit is $W_mh_t+b_m$ (GTM.10). Call $q_t=(h_t,1)$ a query and
# $k_m=(W_m,b_m)$ a key. Then, with the sums over the $s$, $u$ from $\max(1,t-L)$ to $t-1$,
#
# $$ r_t=\sum_s\frac{\exp(q_t^\top k_{t-s})}{\sum_u\exp(q_t^\top k_{t-u})}\;v_s \tag{GTM.19} $$
#
# This is attention over past latents with a window of $L$, learned keys for relative positions, and values that no matrix transforms. A
# transformer would use $k=K v_s$ instead, a key from content; the library's `addressing` has it, and the sum of both.
#
# How good is a copy? The read misses row $m$ by $\sum_{j\ne m}w(j)(v_j-v_m)$. Let the rows be independent with $D$ entries of
# variance $\sigma^2$, and let all other rows share $1-w$ equally:
#
# $$ \mathrm E\,\lVert r-v_m\rVert^2=D\,\sigma^2\,(1-w)^2\,\frac L{L-1} \tag{GTM.20} $$
#
# At a lead of $g$ in the logit $1-w=(L-1)/(e^g+L-1)$ (GTM.12). So twice as many rows need a lead that is larger by $\ln2$.


# %%
def miss(D, L, w, variance=1.0):  # (GTM.20)
    return D * variance * (1 - w) ** 2 * L / (L - 1)


def lead(L, g):  # (GTM.12)
    return math.exp(g) / (math.exp(g) + L - 1)


for L in (4, 15, 60):
    share = 0.01 / math.sqrt(L / (L - 1))  # what the others may have for an error of 1%
    g = math.log((L - 1) * (1 - share) / share)
    print(f"{L} rows: 1% of a row's length in error takes a lead of {g:.2f}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Error of a copy in percent of a row's size, logarithmic, against the lead of the right logit from 0 to 12, for 4, 15 and 60 rows. All start near 100 and become straight falling lines, parallel, that cross one percent at leads of 5.8, 7.3 and 8.7."}} tags=["hide-input"]
# @title Figure: error of a copy against the lead
fig, ax = plt.subplots()
leads = np.linspace(0, 12, 100)
for L, color in ((4, BLUE), (15, ORANGE), (60, GREEN)):
    error = [100 * math.sqrt(miss(1, L, lead(L, g))) for g in leads]
    ax.semilogy(leads, error, color=color, label=f"{L} rows")
ax.axhline(1, color=GREY, lw=1)
ax.set(xlabel="lead of the right logit", ylabel="error (% of a row's size)")
ax.set_title("At large leads a unit divides the error by e")
ax.legend(fontsize=9)
plt.show()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.19) and (GTM.20)
def attention(h, v, layer, L, R):
    """Reads of steps 2 … T by PyTorch's attention; h (T, H), v (T, V)."""
    T, H = h.shape
    keys = torch.cat((layer.weight, layer.bias[:, None]), 1).reshape(R, L, H + 1)
    queries = torch.cat((h, torch.ones(T, 1)), 1)
    lag = torch.arange(T)[:, None] - torch.arange(T)
    scores = torch.einsum("th,rlh->rtl", queries, keys)
    scores = scores.gather(2, (lag - 1).clamp(0, L - 1).expand(R, T, T))
    mask = scores.masked_fill((lag < 1) | (lag > L), -math.inf)[:, 1:]
    blank = torch.zeros(R, T - 1, 1), torch.zeros(R, T, 1)
    rows = v.expand(R, T, v.shape[1])
    return F.scaled_dot_product_attention(*blank, rows, attn_mask=mask).transpose(0, 1)


def typed_read(h, v, layer, L, r, t):  # (GTM.19), steps counted from 1
    q = torch.cat((h[t - 1], torch.ones(1)))
    k = torch.cat((layer.weight, layer.bias[:, None]), 1)[r * L : (r + 1) * L]
    past = range(max(1, t - L), t)
    below = sum(torch.exp(q @ k[t - u - 1]) for u in past)
    return sum(torch.exp(q @ k[t - s - 1]) / below * v[s - 1] for s in past)


for T, H, V, L, R in ((7, 5, 3, 4, 2), (5, 3, 2, 9, 1), (6, 4, 3, 1, 3)):
    memory = Introspection(H, V, L, R)
    h, v = 3 * normal(T, H), normal(T, V)
    state, reads = memory.reset(1), []
    for t in range(1, T):
        state = memory.write(state, h[t : t + 1], v[t - 1 : t])
        reads.append(memory.read(state, h[t : t + 1])[0][0])
    reads = torch.stack(reads)
    steps, heads = range(2, T + 1), range(R)
    typed = [[typed_read(h, v, memory.lags, L, r, t) for r in heads] for t in steps]
    typed = torch.stack([torch.stack(row) for row in typed])
    check("GTM.19", typed, reads, f"the library's reads, T = {T}, L = {L}, R = {R}")
    check("GTM.19", typed, attention(h, v, memory.lags, L, R), "PyTorch's attention")
for D, L, g, size in ((1, 4, 1.0, 1.0), (2, 3, 2.5, 0.6), (1, 7, 0.0, 2.0)):
    signs = torch.tensor(list(itertools.product((-size, size), repeat=D * L)))
    rows = signs.reshape(
        -1, L, D
    )  # all rows of ±size: every one of them equally likely
    w = (g * F.one_hot(torch.tensor(1), L)).softmax(0)
    error = (torch.einsum("l,nld->nd", w, rows) - rows[:, 1]).square().sum(1).mean()
    check("GTM.20", miss(D, L, float(w[1]), size**2), error, f"{len(rows)} memories")
    check("GTM.20", miss(D, L, lead(L, g), size**2), error, f"a lead of {g}")

# %% [markdown]
# Rows are not free: the keys take $HRL$ weights. And a perfect read gives back the *sample* $z_{t-m}$, with the noise of the posterior in
# it. To copy a frame the sample must determine it, and the controller must know at which step recall begins. Nor do weights by lag depend on
# what the rows hold: to find the row that resembles a cue, the controller itself must know how long ago it came.

# %% [markdown]
# ## 5. What does the Turing machine's memory do, step by step?
#
# **Match, keep, shift, sharpen. Each stage gives a distribution, so the weights add up to one. A head that only shifts spreads out, and
# sharpening holds it together.**
#
# Let $c_t=\mathrm{softmax}(\beta K)$ be the content weights, with $K$ the cosine of the key and each row. A gate mixes them with the
# head's weights of the step before:
#
# $$ w^g(i)=g\,c_t(i)+(1-g)\,w_{t-1}(i) \tag{GTM.21} $$
#
# A distribution $s$ over $-1$, $0$, $1$ moves them, with slot numbers modulo $N$:
#
# $$ \tilde w(i)=\sum_js(j)\,w^g(i-j) \tag{GTM.22} $$
#
# so $s(1)=1$ steps to the next slot. A power $\gamma\ge1$ sharpens:
#
# $$ w_t(i)=\tilde w(i)^\gamma\Big/\sum_j\tilde w(j)^\gamma \tag{GTM.23} $$
#
# A write then erases and adds, entry by entry: $e$ lies in $(0,1)$, $a$ is any vector.
#
# $$ M_t(i)=M_{t-1}(i)\circ\bigl(1-w_t(i)\,e\bigr)+w_t(i)\,a \tag{GTM.23a} $$
#
# Sums: a mixture of two distributions is one; so is a mixture of its rotations; and (GTM.23) divides by its sum. Now let a head only
# walk: $g=0$, $\gamma=1$. The convolutions of $n$ steps add the shifts of $n$ draws from $s$: the mean grows as $n$, and so does the
# variance, $n\,\mathrm{Var}(s)$, as long as it has not come round.


# %%
def gated(content, before, g):  # (GTM.21)
    return g * content + (1 - g) * before


def shifted(w, s):  # (GTM.22), s over −1, 0, 1
    return sum(s[j + 1] * w.roll(j) for j in (-1, 0, 1))


def sharpened(w, gamma):  # (GTM.23)
    return w**gamma / (w**gamma).sum()


def erase_and_add(M, w, e, a):  # (GTM.23a)
    return M * (1 - w[:, None] * e) + w[:, None] * a


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two heat maps of a head's weights over 32 slots in 25 steps. Without sharpening a bright line becomes a dim band that ends near slot 21, with a peak of 0.20. With power 1.5 it stays a bright line that ends at slot 24, with a peak of 0.95."}} tags=["hide-input"]
# @title Figure: a walk of 24 steps, with and without sharpening
s, walks = torch.tensor([0.03, 0.07, 0.9]), {}
for gamma in (1.0, 1.5):
    w, rows = F.one_hot(torch.tensor(0), 32).double(), []
    for _ in range(25):
        rows.append(w)
        w = sharpened(shifted(w, s), gamma)
    walks[gamma] = torch.stack(rows)
fig, axes = figures.panels(2, sharey=True)
for ax, (gamma, rows) in zip(axes, walks.items(), strict=True):
    ax.imshow(rows.T, origin="lower", aspect="auto", vmin=0, vmax=1)
    ax.set(xlabel="step", title=f"γ = {gamma}: peak {rows[-1].max():.2f} at the end")
    print(f"γ = {gamma}: peak {rows[-1].max():.3f} at slot {int(rows[-1].argmax())}")
axes[0].set_ylabel("slot")
fig.suptitle("A walk blurs; sharpening keeps the head together", x=0.02, ha="left")
plt.show()
place = torch.arange(32.0)
mean, var = (
    (walks[1.0][-1] * place).sum(),
    (s * torch.tensor([1.0, 0, 1])).sum() - 0.87**2,
)
spread = (walks[1.0][-1] * (place - mean) ** 2).sum()
check("GTM.22", torch.stack([mean, spread]), [24 * 0.87, 24 * float(var)], "24 steps")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.21) to (GTM.23a): index loops, Fourier, the library
def as_heads(raw):
    """What a head of the library makes of its raw outputs."""
    strength, power = F.softplus(raw["strength"]), 1 + F.softplus(raw["power"])
    return strength, raw["gate"].sigmoid(), raw["shift"].softmax(0), power


def cosines(M, key):  # with the library's ε, which short rows feel
    lengths = ((M.square().sum(1) + 1e-8) * (key @ key + 1e-8)).sqrt()
    return M @ key / lengths


def turing_weights(M, before, key, strength, g, s, gamma):
    content = (strength * cosines(M, key)).softmax(0)
    return sharpened(shifted(gated(content, before, g), s), gamma)


def cut(raw, reads, r):
    """The part of read head r."""
    return {name: part[0].reshape(reads, -1)[r] for name, part in raw.items()}


for N, g, gamma in ((7, 0.3, 2.5), (5, 0.8, 1.0), (3, 0.5, 6.0)):
    content, before = (uniform(N).softmax(0) for _ in range(2))
    s = (2 * normal(3)).softmax(0)
    mixed = torch.tensor(
        [g * float(content[i]) + (1 - g) * float(before[i]) for i in range(N)]
    )
    check("GTM.21", gated(content, before, g), mixed, f"entry by entry, N = {N}")
    kernel = torch.zeros(N).index_add(0, torch.tensor([-1, 0, 1]) % N, s)
    by_fourier = torch.fft.irfft(torch.fft.rfft(mixed) * torch.fft.rfft(kernel), n=N)
    moved = shifted(mixed, s)
    check("GTM.22", moved, by_fourier, "a product of Fourier transforms")
    powers = gamma * by_fourier.log()
    check("GTM.23", sharpened(moved, gamma), powers.softmax(0), f"γ = {gamma}")
    check("GTM.23", sharpened(moved, gamma).sum(), 1.0, "sum one")
step = shifted(F.one_hot(torch.tensor(2), 5).double(), torch.tensor([0.0, 0.0, 1.0]))
check("GTM.22", step, F.one_hot(torch.tensor(3), 5).double(), "s(1) = 1 steps on")
for H, V, N, D, R in ((5, 3, 7, 4, 2), (4, 2, 5, 6, 1)):
    unit = NeuralTuring(H, V, N, D, R)
    state, M = unit.reset(1), torch.zeros(N, D)
    last = F.one_hot(torch.zeros(R + 1, dtype=torch.long), N).double()
    for _ in range(4):
        h, v = 4 * normal(1, H), 4 * normal(1, V)
        state = unit.write(state, h, v)
        read, state = unit.read(state, h)
        raw = {name: part[0] for name, part in unit.write_heads(h, v).items()}
        w = turing_weights(M, last[R], raw["keys"], *as_heads(raw))
        M = erase_and_add(M, w, raw["erase"].sigmoid(), raw["contents"])
        heads = [cut(unit.read_heads(h), R, r) for r in range(R)]
        rows = [
            turing_weights(M, last[r], raw["keys"], *as_heads(raw))
            for r, raw in enumerate(heads)
        ]
        last = torch.stack([*rows, w])
    close = {"rtol": 1e-4, "atol": 1e-6}  # the library adds 10⁻⁸ under the power
    check(
        "GTM.23a",
        M,
        state.memory[0],
        f"the library's memory, 4 steps, N = {N}",
        **close,
    )
    check("GTM.23", last, state.weights[0], "its weights", **close)
    check("GTM.23", last[:R] @ M, read[0], "and its reads", **close)

# %% [markdown]
# ## 6. What does the differentiable computer's memory do, step by step?
#
# **It keeps account of what is free, and of what was written after what. All its weights add up to at most one, usages stay in $[0,1]$,
# and a column of its links, with the precedence of the same slot, adds up to at most one.**
#
# *Usage.* Read heads $r$ may free what they have read, by $f_r$ in $(0,1)$. What was written is used:
#
# $$ \psi(i)=\prod_r\bigl(1-f_r\,w^r(i)\bigr),\quad u_t=\bigl(u_{t-1}+w^w-u_{t-1}\circ w^w\bigr)\circ\psi \tag{GTM.24} $$
#
# with the weights of the step before. $u+w-uw=1-(1-u)(1-w)$, so with $u$ and $w$ in $[0,1]$ it stays there. *Allocation.* Sort the slots by
# usage, $\phi_1$ the least used. Each takes what it can of what is left:
#
# $$ a(\phi_j)=\bigl(1-u(\phi_j)\bigr)\prod_{i<j}u(\phi_i),\qquad\sum_ia(i)=1-\prod_iu(i) \tag{GTM.25} $$
#
# The sum telescopes: $(1-u)\prod$ is the difference of two products in a row. *Write.* Two gates choose whether, and where:
#
# $$ w^w=g^w\bigl(g^a\,a+(1-g^a)\,c\bigr),\qquad\sum_iw^w(i)=g^w\Bigl(1-g^a\prod_iu(i)\Bigr)\le1 \tag{GTM.26} $$
#
# with content weights $c$. *Precedence* tells which slot was written last:
#
# $$ p_t=\Bigl(1-\sum_iw^w(i)\Bigr)\,p_{t-1}+w^w \tag{GTM.27} $$
#
# *Links.* $L(i,j)$ tells how far $i$ was written right after $j$, with $L(i,i)=0$:
#
# $$ L_t(i,j)=\bigl(1-w^w(i)-w^w(j)\bigr)L_{t-1}(i,j)+w^w(i)\,p_{t-1}(j),\quad i\ne j \tag{GTM.28} $$
#
# The bounds that hold at all times:
#
# $$ \sum_jL_t(i,j)\le1,\qquad\sum_iL_t(i,j)+p_t(j)\le1 \tag{GTM.28a} $$
#
# *Proof.* No entry is negative, as $w(i)+w(j)\le1$. Let a row sum up to at most one. The new row is at most
# $(1-w(i))\cdot1+w(i)\sum_jp(j)\le1$. Let $C_j$ be the sum of a column and $S$ that of $w$. By (GTM.27) and (GTM.28) the new $C_j+p_j$
# is at most $(1-w(j))\,C_j+(S-w(j))\,p_j+(1-S)\,p_j+w(j)=(1-w(j))(C_j+p_j)+w(j)\le1$.
#
# *Read.* With the weights $w_{t-1}$ of this head's last read, and modes $\pi$ that add up to one,
#
# $$ w_t=\pi_1\,L^\top w_{t-1}+\pi_2\,c+\pi_3\,L\,w_{t-1} \tag{GTM.29} $$
#
# goes back, by content, or on, in the order of writing. By (GTM.28a) the sum is at most one, and below it where there is no link to follow
# (E5).


# %%
def used(u, w, free, reads):  # (GTM.24); free (R,), reads (R, N)
    psi = (1 - free[:, None] * reads).prod(0)
    return (u + w - u * w) * psi


def allocated(u):  # (GTM.25)
    a, left = torch.zeros_like(u), 1.0
    for slot in u.argsort(stable=True):
        a[slot] = (1 - u[slot]) * left
        left = left * u[slot]
    return a


# %%
def written(a, c, g_w, g_a):  # (GTM.26)
    return g_w * (g_a * a + (1 - g_a) * c)


def linked(L, p, w):  # (GTM.27), (GTM.28)
    L = (1 - w[:, None] - w) * L + w[:, None] * p
    return L - L.diag().diag(), (1 - w.sum()) * p + w


def followed(L, before, c, modes):  # (GTM.29)
    return modes[0] * L.T @ before + modes[1] * c + modes[2] * L @ before


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars of usage and allocation for six slots. Usages are 0.9, 0.15, 0.6, 0.99, 0.05 and 0.4. Slot 5, the least used, is allocated 0.95, slot 2 0.04, all others nearly nothing."}} tags=["hide-input"]
# @title Figure: allocation
u = torch.tensor([0.9, 0.15, 0.6, 0.99, 0.05, 0.4])
a = allocated(u)
fig, ax = plt.subplots(figsize=(4.5, 2.6))
ax.bar(np.arange(1, 7) - 0.2, u, 0.4, color=GREY, label="usage")
ax.bar(np.arange(1, 7) + 0.2, a, 0.4, color=BLUE, label="allocation")
ax.set(xlabel="slot", ylabel="weight", ylim=(0, 1.35))
ax.set_title("The least used slot takes what it can")
ax.legend(fontsize=9, ncols=2, loc="upper left")
plt.show()
print("allocation", [f"{x:.4f}" for x in a], f"sum {a.sum():.4f}")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two heat maps of links between seven slots. Left, sharp writes to slots 4, 1, 6, 2, 5: four bright cells, 1 after 4, 6 after 1, 2 after 6, 5 after 2. Right, writes with a share of 80 percent: the same four cells, dimmer, on a faint ground."}} tags=["hide-input"]
# @title Figure: links after five writes, sharp and soft
def write_in_order(slots, N, share):
    """Links and precedence after writes to slots in order; the rest goes everywhere."""
    L, p = torch.zeros(N, N), torch.zeros(N)
    for slot in slots:
        w = share * F.one_hot(torch.tensor(slot), N) + (1 - share) / N
        L, p = linked(L, p, w)
    return L, p


order = (3, 0, 5, 1, 4)
fig, axes = figures.panels(2, sharey=True)
for ax, share in zip(axes, (1.0, 0.8), strict=True):
    L, p = write_in_order(order, 7, share)
    ax.imshow(L, vmin=0, vmax=1)
    places = range(7)
    ax.set(xticks=places, yticks=places, xlabel="j", title=f"share {share:.0%}")
    ax.set_xticklabels([str(j + 1) for j in places])
    ax.set_yticklabels([str(i + 1) for i in places])
    here = F.one_hot(torch.tensor(order[0]), 7).double()
    peaks = []
    for _ in range(4):
        here = L @ here
        peaks.append(f"{here.max():.2f} at {int(here.argmax()) + 1}")
    print(f"share {share:.0%}: reads that go on from slot 4:", ", ".join(peaks))
axes[0].set_ylabel("i, written after j")
fig.suptitle("Writes to 4, 1, 6, 2, 5 leave four links", x=0.02, ha="left")
plt.show()

# %% [markdown]
# The right picture is of writes that put 80% on their slot and the rest on all alike. Following the links from slot 4 still visits the
# slots in the order of writing, but a read fades with every step. The read weights of such a walk no longer add up to one.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.24) to (GTM.29): the library, steps unrolled, bounds
def content(M, key, raw_strength):
    return ((1 + F.softplus(raw_strength)) * cosines(M, key)).softmax(0)


for H, V, N, D, R in ((5, 3, 7, 4, 2), (4, 2, 5, 3, 1), (3, 4, 2, 2, 3)):
    unit = DifferentiableNeuralComputer(H, V, N, D, R)
    state, zero, text = unit.reset(1), torch.zeros(N), f"N = {N}, R = {R}"
    M, u, w, p, L = torch.zeros(N, D), zero, zero, zero, torch.zeros(N, N)
    reads, history = torch.zeros(R, N), []
    for t in range(7):
        h, v = 4 * normal(1, H), 4 * normal(1, V)
        state = unit.write(state, h, v)
        read, state = unit.read(state, h)
        raw = {name: part[0] for name, part in unit.write_heads(h, v).items()}
        u = used(u, w, raw["free"].sigmoid(), reads)
        g_w, g_a = raw["gate"].sigmoid(), raw["allocation"].sigmoid()
        w = written(allocated(u), content(M, raw["key"], raw["strength"]), g_w, g_a)
        total = g_w * (1 - g_a * u.prod())
        check("GTM.26", total, w.sum()[None], "its sum") if t == 3 else None
        M = erase_and_add(M, w, raw["erase"].sigmoid(), raw["contents"])
        history.append((w, p))
        L, p = linked(L, p, w)
        heads = [cut(unit.read_heads(h), R, r) for r in range(R)]
        rows = [
            followed(
                L,
                reads[r],
                content(M, raw["keys"], raw["strength"]),
                raw["modes"].softmax(0),
            )
            for r, raw in enumerate(heads)
        ]
        reads = torch.stack(rows)
    check("GTM.24", u, state.usage[0], f"the library's usage after 7 steps, {text}")
    check("GTM.25", allocated(u), allocation(u), "the library's allocation")
    check("GTM.25", allocated(u).sum(), 1 - u.prod(), "its sum")
    check("GTM.26", w, state.written[0], "write weights")
    check("GTM.27", p, state.precedence[0], "precedence")
    check("GTM.28", L, state.link[0], "links")
    check("GTM.29", reads, state.weights[0], "read weights")
    check("GTM.29", reads @ M, read[0], "reads")
    kept, trace, links = 1.0, torch.zeros(N), torch.zeros(N, N)
    for s, (w, before) in enumerate(history):
        rest = [later for later, _ in history[s + 1 :]]
        trace = trace + w * math.prod(1 - later.sum() for later in rest)
        keep = math.prod(1 - later[:, None] - later for later in rest)
        links = links + keep * torch.outer(w, before)
    check("GTM.27", p, trace, "all writes at once")
    check("GTM.28", L, links.fill_diagonal_(0), "links of all writes at once")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of the bounds: random writes, and writes that reach them
for N, sharp in ((6, 1.0), (4, 6.0), (9, 20.0)):
    L, p, u = torch.zeros(N, N), torch.zeros(N), torch.zeros(N)
    rows, columns, usages, least = [], [], [], []
    for _ in range(400):
        w = uniform(1) * (sharp * uniform(N)).softmax(0)
        reads = (sharp * uniform(3, N)).softmax(1)
        u = used(u, w, uniform(3), reads)
        L, p = linked(L, p, w)
        rows.append(L.sum(1).max())
        columns.append((L.sum(0) + p).max())
        usages.append(u.max())
        least.append(torch.cat((L.flatten(), u)).min())
    most = max(max(rows), max(columns), max(usages))
    inside = bool(most <= 1 + 1e-12 and min(least) >= 0)
    check("GTM.28a", inside, True, f"400 random writes to {N} slots")
slots = torch.randperm(6, generator=source).tolist()
L, p = write_in_order(slots, 6, 1.0)
check("GTM.28a", L.sum(0) + p, torch.ones(6), "sharp writes: columns reach one")
first = F.one_hot(torch.tensor(slots[0]), 6)
check("GTM.28a", L.sum(1), 1.0 - first, "rows, too, but for the first written")
for u in (torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 0.3])):
    check("GTM.25", allocated(u).sum(), 1 - u.prod(), "full, or with a free slot")

# %% [markdown]
# ## 7. How near to $\ln p(x)$ do more samples come?
#
# **With $K$ samples of the posterior the logarithm of their mean weight is a bound, too. It rises with $K$ and reaches $\ln p(x)$ in the
# limit; the last stretch shrinks as $1/K$.**
#
# The weight of a sample $z\sim q(z|x)$ is $W=p(x,z)/q(z|x)$, and its mean is $p(x)$. Draw $K$ of them:
#
# $$ F_K=\mathrm E\Bigl[\ln\frac1K\sum_{k=1}^KW_k\Bigr],\qquad W_k=\frac{p(x,z^k)}{q(z^k|x)} \tag{GTM.30} $$
#
# $F_1$ is the bound $F$. For any $q$ that is positive where $p(x,z)$ is,
#
# $$ F_K\le F_{K+1}\le\ln p(x) \tag{GTM.31} $$
#
# *Proof.* The mean of $K+1$ weights is the mean, over which one is left out, of the means of the other $K$. Jensen's inequality takes the
# logarithm inside. The same inequality on the whole gives the second step. An expansion of the logarithm gives the rate, if
# weights are bounded above and away from zero:
#
# $$ \ln p(x)-F_K=\frac1{2K}\,\frac{\mathrm{Var}\,W}{p(x)^2}+O(K^{-2}) \tag{GTM.31a} $$
#
# For discrete latents $F_K$ has a form for any $K$ without a sum over all tuples. Use $\ln y=\int_0^\infty(e^{-t}-e^{-ty})\,dt/t$, and
# that the mean of $e^{-t\cdot\text{mean}}$ over independent weights is a $K$-th power.


# %%
def many_samples(weights, q, K):
    """F_K for weights W(z) that occur with chances q(z), by one integral."""
    p = (q * weights).sum()
    y = torch.arange(-40, 30, 0.02)  # t = e^y
    laplace = (q * torch.exp(-y.exp()[:, None] * (weights / p) / K)).sum(1)
    return p.log() + 0.02 * (torch.exp(-y.exp()) - laplace**K).sum()


def all_tuples(weights, q, K):  # (GTM.30)
    total = 0.0
    for draw in itertools.product(range(len(q)), repeat=K):
        z = list(draw)
        total += q[z].prod() * (weights[z].sum() / K).log()
    return total


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bound in nats against the number of samples from 1 to 1,024. Four curves rise to the mean of ln p of x, minus 1.98. With one sample the prior is lowest at minus 2.75, then no past latents at minus 2.56, true filtering at minus 2.16, the best filtering form at minus 2.14."}} tags=["hide-input"]
# @title Figure: the bound against the number of samples, four posteriors
joint = chain(*stay(), 3)
p_x = joint.sum(1)
exact = float((p_x * p_x.log()).sum())
samples = [2**k for k in range(11)]
kinds = {"prior": ("prior", GREY), "no past latents": ("no past latents", PINK)}
kinds |= {"true filtering": ("true", ORANGE), "best filtering form": ("best", BLUE)}
fig, ax = plt.subplots()
ax.axhline(exact, color="black", lw=1, label="mean of ln p(x)")
for label, (kind, color) in kinds.items():
    tables = (
        best_filter(joint, 2, 2)[0] if kind == "best" else filters(joint, 2, 2, kind)
    )
    q = posterior(tables, 2, 2)
    curve = [
        float(sum(p_x[i] * many_samples(joint[i] / q[i], q[i], K) for i in range(8)))
        for K in samples
    ]
    ax.semilogx(samples, curve, "o-", ms=3, color=color, label=label)
    print(f"{label}: {curve[0]:.4f} with one sample, {curve[4]:.4f} with 16")
print(f"exact {exact:.4f}")
ax.set(xlabel="samples K", ylabel="bound (nats)", title="All rise to the same height")
ax.legend(fontsize=8)
plt.show()

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.30) to (GTM.31a): all tuples, binomial counts
for S, most in ((2, 7), (3, 5), (5, 3)):
    weights, q = (1.5 * normal(S)).exp(), normal(S).softmax(0)
    bounds = [all_tuples(weights, q, K) for K in range(1, most + 1)]
    for K in (1, 2, most):
        check(
            "GTM.30", bounds[K - 1], many_samples(weights, q, K), f"K = {K}, {S} states"
        )
    check("GTM.30", bounds[0], (q * weights.log()).sum(), "K = 1 is the bound F")
    top = (q * weights).sum().log()
    rising = bool((torch.stack([*bounds, top]).diff() > 0).all())
    check("GTM.31", rising, True, f"up to K = {most}, below ln p(x)")
    p, K = top.exp(), 3000
    rate = (q * (weights - p) ** 2).sum() / p**2 / (2 * K)
    check("GTM.31a", rate, top - many_samples(weights, q, K), "K = 3000", rtol=2e-2)
for K in (1000, 20_000):  # two states: binomial counts
    weights, q, n = torch.tensor([0.2, 3.0]), torch.tensor([0.4, 0.6]), np.arange(K + 1)
    chance = gammaln(K + 1) - gammaln(n + 1) - gammaln(K - n + 1)
    chance = np.exp(chance + n * math.log(0.6) + (K - n) * math.log(0.4))
    counted = float((chance * np.log((0.2 * (K - n) + 3.0 * n) / K)).sum())
    check(
        "GTM.30",
        counted,
        many_samples(weights, q, K),
        f"binomial counts, K = {K}",
        rtol=1e-7,
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (GTM.30): the library's bound against quadrature
torch.manual_seed(1)  # features are carried, so Ψ does not depend on the samples
memory = Introspection(5, 6, span=2)
options = {"likelihood": "categorical", "carry": "code", "code_size": 6}
model = TemporalGenerativeModel(3, 1, memory, **options)
with torch.no_grad():
    for part in model.parameters():
        part.mul_(1.3)
x = torch.tensor([[0, 2], [1, 1], [0, 2]])  # three steps, two sequences
with torch.no_grad():
    psi, exact = model.infer(x)[2], torch.zeros(2)
    nodes, w = np.polynomial.hermite_e.hermegauss(60)
    for t, i in itertools.product(range(3), range(2)):
        mean, raw = model.prior(psi[t, i]).tolist()
        spread = math.log1p(math.exp(raw + math.log(math.e - 1))) + 1e-4
        z = mean + spread * torch.tensor(nodes)[:, None, None]
        shown = model.decode(z, psi[t, i].expand(60, 1, -1)).softmax(-1)[:, 0, x[t, i]]
        exact[i] += math.log(float((torch.tensor(w / w.sum()) * shown).sum()))
found = model.importance_bound(x, 4000)
check("GTM.30", exact, found, "ln p(x) by quadrature, 4,000 samples", rtol=1e-2)
many = model.importance_bound(x.repeat_interleave(2000, 1), 2).reshape(2, 2000)
single = model(x.repeat_interleave(4000, 1)).total.sum(0).reshape(2, 4000)
print("library: one sample", [f"{v:.2f}" for v in single.mean(1)], end=", ")
print("two", [f"{v:.2f}" for v in many.mean(1)], "exact", [f"{v:.2f}" for v in exact])

# %% [markdown]
# Samples of a poor posterior can do more than a better posterior: sixteen of the prior are above one of the best filtering form. And what is
# best for one sample is not best for sixteen, where the true filter leads. The gap of section 1 is a gap of this kind, too: more samples
# close it, though no single sample of a filtering posterior can.

# %% [markdown]
# ## 8. When does ignoring $z$ pay?
#
# **A model whose frames ignore $z$, with a posterior equal to the prior, is a stationary point. With linear parts it is a maximum if and
# only if no direction of the frames varies more than the decoder's noise. At a recall that is as it should be.**
#
# Let frame and later $\Psi$ not depend on $z_t$, let $q=p$ at every step, and let the decoder predict as well as it can from $\Psi$
# alone. Move the posterior or the prior: the first term of (GTM.4) does not change, and the divergence is at its minimum, with slope
# zero (GTM.18). Move the decoder's weights $A$ on $z$, with $a=Az+\dots$ the input that they feed:
#
# $$ \frac{\partial F}{\partial A}=\mathrm E\bigl[\,\mathrm E[\delta\,|\,\Psi]\;\mathrm E[z\,|\,\Psi]^\top\bigr]=0,\qquad\delta=\frac{\partial\ln p(x|\Psi)}{\partial a} \tag{GTM.32} $$
#
# The mean splits, for given $\Psi$ the sample knows nothing of $x$. Its first factor, the mean over $x$ given $\Psi$, is zero because the
# decoder without $z$ is at its best. The same holds for weights that would lead $z_t$ into later $\Psi$. So no gradient leads away.
# Whether a small step does is a question of the second order. Take frames with variance $\lambda$ along a unit direction, a decoder $\mathcal N(az,\sigma^2)$ with $\sigma$ held, and a posterior
# $\mathcal N(bx,s^2)$ with prior $\mathcal N(0,1)$. Then, up to a constant,
#
# $$ F=-\frac{\lambda(1-ab)^2+a^2s^2}{2\sigma^2}-\frac12\bigl(b^2\lambda+s^2-1-\ln s^2\bigr) \tag{GTM.32a} $$
#
# At $a=b=0$, $s=1$ the second derivatives by $a$, $b$ have the determinant $\frac\lambda{\sigma^2}\bigl(1-\frac\lambda{\sigma^2}\bigr)$,
# and the two pure ones are negative: collapse is a local maximum for $\lambda<\sigma^2$ and a saddle for $\lambda>\sigma^2$. The best point has $a^2=\lambda-\sigma^2$ or zero,
# and pays, a direction,
#
# $$ \mathrm{KL}=\tfrac12\ln\max\bigl(1,\,\lambda/\sigma^2\bigr) \tag{GTM.32b} $$
#
# So what $z$ tells of a frame is decided by the variance that the past leaves, against the decoder's noise. At first sight $\lambda$ is that
# of the frames. At a recall with a perfect memory it is zero, and a divergence of zero is no failure.


# %%
def linear_bound(a, b, s, lam, sigma):  # (GTM.32a)
    fit = (lam * (1 - a * b) ** 2 + a**2 * s**2) / (2 * sigma**2)
    return -fit - (b**2 * lam + s**2 - 1 - 2 * s.log()) / 2


def kl_at_best(lam, sigma):  # (GTM.32b)
    return 0.5 * math.log(max(1.0, lam / sigma**2))


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Divergence against the variance of the frames over that of the decoder, 0.2 to 8. It is zero up to one and then rises as half the logarithm, to 1.04 at eight. Eight dots found by gradient ascent lie on the line."}} tags=["hide-input"]
# @title Figure: what the latent tells, found by gradient ascent; checks of (GTM.32b)
def climb_from(lam, sigma, start=1e-2):
    point = torch.tensor([start, start, 0.0], requires_grad=True)
    options = {"max_iter": 400, "line_search_fn": "strong_wolfe"}
    climb = torch.optim.LBFGS(
        [point], tolerance_grad=1e-13, tolerance_change=0, **options
    )

    def loss():
        climb.zero_grad()
        value = -linear_bound(point[0], point[1], point[2].exp(), lam, sigma)
        value.backward()
        return value

    climb.step(loss)
    a, b, log_s = point.detach()
    return a, float((b**2 * lam + (2 * log_s).exp() - 1 - 2 * log_s) / 2)


sigma, ratios = 0.7, torch.tensor([0.2, 0.5, 0.8, 1.3, 2.0, 3.0, 5.0, 8.0])
found = [climb_from(float(r) * sigma**2, sigma) for r in ratios]
fig, ax = plt.subplots()
line = torch.linspace(0.05, 8.5, 200)
ax.plot(
    line, [kl_at_best(float(r), 1.0) for r in line], color=BLUE, label="closed form"
)
ax.plot(
    ratios, [kl for _, kl in found], "o", color=ORANGE, ms=4, label="gradient ascent"
)
ax.axvline(1, color=GREY, lw=1)
ax.set(xlabel="variance of the frames / decoder's", ylabel="divergence (nats)")
ax.set_title("Below the decoder's noise z is ignored")
ax.legend(fontsize=9)
plt.show()
for r, (a, kl) in zip(ratios.tolist(), found, strict=True):
    lam = r * sigma**2
    check(
        "GTM.32b", kl_at_best(lam, sigma), kl, f"λ/σ² = {r:.1f}", rtol=1e-6, atol=1e-6
    )
    top = max(0.0, lam - sigma**2)
    check(
        "GTM.32b", top, float(a) ** 2, "and the decoder's weight", rtol=1e-5, atol=1e-5
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.32): the library's gradients, over all sequences
torch.manual_seed(2)
options = {"likelihood": "categorical", "carry": "mean", "code_size": 5}
model = TemporalGenerativeModel(3, 2, Recurrent(4, 2), **options)
into, controller = model.decoder[0].weight, model.controller.weight_ih
with torch.no_grad():
    into[:, :2] = 0.0  # frames ignore z …
    controller.zero_()  # … and so does all that comes later
    for layer in (model.posterior, model.prior[2]):
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([0.4, -0.3, 0.2, 0.5]))  # q = p, of any mean
    psi = model.infer(torch.zeros(3, 1, dtype=torch.long))[2]
    law = model.decode(torch.zeros(3, 1, 2), psi).softmax(-1)[:, 0]  # its own frames
z = torch.tensor([0.4, -0.3]).expand(3, 1, 2)  # its mean: slopes are linear in z
parts = ("posterior", "prior", "evidence", "belief", "encoder")
largest, now, later = 0.0, 0.0, 0.0
for symbols in itertools.product(range(3), repeat=3):  # all sequences
    chance = math.prod(float(law[t, symbol]) for t, symbol in enumerate(symbols))
    x = torch.tensor(symbols)[:, None]
    model.zero_grad()
    model(x).total.sum().backward()
    ours = [p.grad for part in parts for p in getattr(model, part).parameters()]
    largest = max(largest, *(float(g.abs().max()) for g in ours))
    later = later + chance * controller.grad
    shown = model.log_likelihood(model.decode(z, psi), x).sum()
    (slope,) = torch.autograd.grad(shown, into)
    now = now + chance * slope[:, :2]
not_zero = [bool(g.abs().max() > 1e-4) for g in (slope[:, :2], controller.grad)]
check("GTM.32", largest, 0.0, "every slope of posterior, prior, encoder", atol=1e-12)
check("GTM.32", now, torch.zeros(5, 2), "and of the decoder's weights on z", atol=1e-12)
check("GTM.32", later, torch.zeros(16, 2), "and of the controller's", atol=1e-12)
check("GTM.32", not_zero, [True, True], "of one sequence these two are not")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.32a): quadrature, curvature
nodes, w = np.polynomial.hermite_e.hermegauss(20)
nodes, w = torch.tensor(nodes), torch.tensor(w / w.sum())
one = torch.ones(1)
for a, b, s, lam, sigma in ((0.5, 0.8, 0.6, 2.0, 0.9), (-1.2, 0.3, 1.4, 0.7, 0.5)):
    total = 0.0
    for node, weight in zip(nodes, w, strict=True):
        x = lam**0.5 * node
        z = b * x + s * nodes
        fit = -(w * (x - a * z) ** 2).sum() / (2 * sigma**2)
        q = Normal(b * x * one, s * one)
        total = total + weight * (fit - kl_normal(q, Normal(0 * one, one)))
    typed = linear_bound(torch.tensor(a), torch.tensor(b), torch.tensor(s), lam, sigma)
    check("GTM.32a", typed, total, f"quadrature, a = {a}")
    at = torch.zeros(2)

    def near(ab, lam=lam, sigma=sigma):
        return linear_bound(ab[0], ab[1], torch.tensor(1.0), lam, sigma)

    curve = torch.autograd.functional.hessian(near, at)
    check(
        "GTM.32a",
        torch.linalg.det(curve),
        lam / sigma**2 * (1 - lam / sigma**2),
        "curvature",
    )
    slope = torch.autograd.functional.jacobian(near, at)
    check("GTM.32a", slope, torch.zeros(2), "no slope")

# %% [markdown]
# ## 9. How does the library differ from the lesson's cell?
#
# **By what stands outside the loop over time, and by constants that keep numbers finite. What it computes is the same.**
#
# *Order.* At step $t$ the controller takes $v_{t-1}$ and the context, then $v_{t-1}$ is written, then the heads read. So $\Psi_t$ knows
# everything before $x_t$, the newest latent included. At $t=1$ nothing is written, and Introspection reads zeros. A gate
# $\sigma(\cdot)$, one number a head, scales what is read (GTM.11).
#
# *Hoisting.* Features of all frames are computed at once, for they need no memory; so are, after the loop, all priors, all decoded
# frames and all divergences. Within the loop stay what feeds back: controller, memory, posterior, sample. That the posterior
# adds a product of features and one of $\Psi_t$ before its rectifier makes the first of them an outside matter.
#
# *Constants.* A deviation comes from a raw output $a$ by
#
# $$ s=\mathrm{softplus}\bigl(a+\ln(e-1)\bigr)+10^{-4} \tag{GTM.32c} $$
#
# which is 1.0001 at $a=0$: posterior and prior start near $\mathcal N(0,1)$ and near each other, and no logarithm meets a zero. The
# likelihood of a pixel $x$ is computed from its logit $a$, and never from a probability (E2):
#
# $$ x\ln\sigma(a)+(1-x)\ln\bigl(1-\sigma(a)\bigr)=xa-\mathrm{softplus}(a) \tag{GTM.32d} $$


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The model again, with all of it inside the loop
def deviation(a):  # (GTM.32c)
    return F.softplus(a + math.log(math.e - 1)) + 1e-4


def pixel(x, a):  # (GTM.32d)
    return x * a - F.softplus(a)


def literal(model, x, context, noise, L, R):
    """The bound, frame by frame, with everything at its step; Introspection by lag."""
    lstm, T, B = model.controller, *x.shape[:2]
    h = c = torch.zeros(B, lstm.weight_hh.shape[1])
    v, rows, terms = torch.zeros(B, noise.shape[-1]), [], []
    for t in range(T):
        seen = torch.cat((v, context[t]), 1)
        gates = (
            seen @ lstm.weight_ih.T + lstm.bias_ih + h @ lstm.weight_hh.T + lstm.bias_hh
        )
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        rows = [v, *rows][:L] if t else rows
        logits = model.memory.lags(h).reshape(B, R, L)[:, :, : len(rows)]
        w = logits.exp() / logits.exp().sum(2, keepdim=True)
        reads = [
            sum(w[:, r, m, None] * row for m, row in enumerate(rows)) for r in range(R)
        ]
        reads = reads if t else R * [torch.zeros_like(v)]
        open_to = model.gates(h).sigmoid()
        psi = [h, *(open_to[:, r, None] * read for r, read in enumerate(reads))]
        psi = torch.cat(psi, 1)  # (GTM.11)
        features = model.encoder(x[t])
        fused = (model.belief(psi) + model.evidence(features)).relu()
        m_q, raw_q = model.posterior(fused).chunk(2, 1)
        m_p, raw_p = model.prior(psi).chunk(2, 1)
        s_q, s_p = deviation(raw_q), deviation(raw_p)
        v = m_q + s_q * noise[t]  # (GTM.6)
        kl = (s_p / s_q).log() + (s_q**2 + (m_q - m_p) ** 2) / (2 * s_p**2) - 0.5
        shown = pixel(x[t], model.decoder(torch.cat((v, psi), 1)))
        terms.append(shown.sum(1) - kl.sum(1))  # (GTM.4)
    return torch.stack(terms)


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The same bound, deviations, likelihoods
for T, B, L, R in ((6, 3, 4, 2), (3, 2, 5, 1)):
    options = {"context_size": 2, "code_size": 8}
    model = TemporalGenerativeModel(9, 3, Introspection(5, 3, L, R), **options)
    x, context = uniform(T, B, 9).round(), normal(T, B, 2)
    with torch.no_grad():
        torch.manual_seed(3)
        found = model(x, context).total
        torch.manual_seed(3)
        typed = literal(model, x, context, torch.randn(T, B, 3), L, R)
    check("GTM.4", typed, found, f"the bound of every frame, T = {T}, L = {L}, R = {R}")
raw = torch.tensor([-30.0, -2.0, 0.0, 1.5, 80.0])
by_hand = [math.log1p(math.exp(a) * (math.e - 1)) + 1e-4 for a in raw.tolist()]
check("GTM.32c", deviation(raw), torch.tensor(by_hand), "deviations")
check("GTM.32c", deviation(torch.zeros(1)), [1.0001], "at zero")
with torch.no_grad():
    for layer in (model.posterior, model.prior[2]):
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -3.0, 0.0, 2.0]))
    found = model.infer(x, context)[0].deviation[0, 0]
check("GTM.32c", deviation(torch.tensor([-3.0, 0.0, 2.0])), found, "and the library's")
a, x = (
    torch.tensor([-6.0, -0.4, 0.0, 3.0, 8.0]),
    torch.tensor([1.0, 0.0, 0.3, 1.0, 0.0]),
)
direct = x * a.sigmoid().log() + (1 - x) * (1 - a.sigmoid()).log()
check("GTM.32d", pixel(x, a), direct, "from probabilities")
a = torch.tensor([800.0, -800.0, 2.0])[None, None]
one = model.log_likelihood(a, torch.tensor([0.0, 0.0, 1.0])[None, None])[0, 0]
check(
    "GTM.32d",
    pixel(torch.tensor([0.0, 0.0, 1.0]), a).sum(),
    one,
    "finite where σ is 0 or 1",
)

# %% [markdown]
# ## 10. What does a step cost?
#
# **As long as slots are few, the controller and the layers around it cost most; reading a few rows by lag costs next to nothing. Only the
# computer's links grow with the square of the slots.**
#
# Let $H$ be the units of the controller, $V$ the size of $v$, $C$ that of the context, $R$ read heads, $N$ slots of width $D$. A write
# head sees $h_t$ and $v_{t-1}$, a read head sees $h_t$. A memory that asks for $\alpha$ numbers to write and for $\beta$ numbers a read
# head has, biases among its weights, a step's products beside them,
#
# $$ \alpha(H+V+1)+\beta R(H+1)\text{ weights},\quad\alpha(H+V)+\beta RH+\mu\text{ products} \tag{GTM.33} $$
#
# with, after the equations of sections 4 to 6 and those of [memory-augmented networks](memory_augmented.ipynb):
#
# | memory | $\alpha$ | $\beta$ | $\mu$, in the memory |
# |---|---|---|---|
# | none (VRNN) | 0 | 0 | 0 |
# | Introspection, $L$ rows | 0 | $L$ | $RLV$ |
# | least recently used | $D+1$ | $D+1$ | $(2R+2)\,ND$ |
# | Turing machine | $3D+6$ | $D+6$ | $(2R+6)\,ND$ |
# | computer (DNC) | $3D+R+3$ | $D+4$ | $(2R+6)\,ND+(2R+2)\,N^2$ |
#
# Terms with $N$ or $D$ alone are left out of $\mu$. With a latent of $Z$ numbers, frames of $X$ pixels, layers of $E$ units and
# $\Psi$ of $P$ numbers, $P=H+RV$ for Introspection and $H+RD$ for the others, the rest of the model has
#
# $$ 4H(V+C+H+2)+R(H+1)+E(2X+2E+3P+5Z+5)+X+4Z \tag{GTM.33a} $$
#
# parameters. Its products are those without the biases: $4H(V+C+H)+RH+E(2X+2E+3P+5Z)$. The picture
# is for $H=96$, $V=Z=D=16$, $X=E=64$, no context and one read head.


# %%
def asks(kind, H, V, R, N, D):
    """α, β and μ of the table; Introspection has N rows."""
    return {
        "none": (0, 0, 0),
        "Introspection": (0, N, R * N * V),
        "LRU": (D + 1, D + 1, (2 * R + 2) * N * D),
        "NTM": (3 * D + 6, D + 6, (2 * R + 6) * N * D),
        "DNC": (3 * D + R + 3, D + 4, (2 * R + 6) * N * D + (2 * R + 2) * N**2),
    }[kind]


def memory_cost(kind, H, V, R, N, D):  # (GTM.33)
    alpha, beta, mu = asks(kind, H, V, R, N, D)
    weights = alpha * (H + V) + beta * R * H
    return weights + alpha + beta * R, weights + mu


def rest_cost(H, V, C, R, E, X, P, Z):  # (GTM.33a)
    products = 4 * H * (V + C + H) + R * H + E * (2 * X + 2 * E + 3 * P + 5 * Z)
    parameters = 4 * H * (V + C + H + 2) + R * (H + 1)
    return parameters + E * (2 * X + 2 * E + 3 * P + 5 * Z + 5) + X + 4 * Z, products


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Products in the memory, counted as they happen
class Products(TorchDispatchMode):
    """Counts multiplications of numbers."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "mv", "bmm", "addmm"):
            self.total += (
                out.numel()
                * args[-1 if name != "mv" else 0].shape[-2 if name != "mv" else -1]
            )
        elif name in ("mul", "square", "pow"):
            self.total += out.numel()
        return out


def one_step(kind, R, N, D):
    """Products of a write and a read with R heads, the layers left out."""
    M, keys, w = uniform(N, D), uniform(R + 1, D), uniform(N).softmax(0) / 2
    reads, links = uniform(R, N), uniform(N, N)
    with Products() as count:
        if kind == "Introspection":
            reads @ M
            return count.total
        if kind != "LRU":
            M.square(), M @ keys[R]  # content weights of the write
            M = erase_and_add(M, w, keys[R], keys[0])
        else:
            M = M + w[:, None] * keys[R]
        if kind == "DNC":
            linked(links, w, w)
            reads @ links, reads @ links.T
        M.square(), keys[:R] @ M.T, reads @ M
    return count.total


def leading(kind, R, N, D):
    """What is left of the count without terms in N or D alone: by differences."""

    def f(n, d):
        return one_step(kind, R, n, d) if n * d else 0

    both = f(N, D) - f(1, D) - f(N, 1) + f(1, 1)  # (N - 1)(D - 1) times the first
    first = both // ((N - 1) * (D - 1))
    alone = [f(n, 2) - 2 * first * n for n in (1, 2, 3)]
    square = (alone[2] - 2 * alone[1] + alone[0]) // 2
    return first * N * D + square * N**2


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.33) and (GTM.33a): real modules
def size(module, only_weights=False):
    return sum(
        p.numel() for p in module.parameters() if p.dim() > 1 or not only_weights
    )


KINDS = {
    "LRU": LeastRecentlyUsed,
    "NTM": NeuralTuring,
    "DNC": DifferentiableNeuralComputer,
}
for H, V, C, R, N, D, E, X in ((7, 3, 2, 2, 6, 5, 8, 11), (5, 4, 0, 3, 9, 4, 6, 13)):
    for kind in ("none", "Introspection", *KINDS):
        heads, width, mu = R, V if kind == "Introspection" else D, 0
        if kind == "none":
            memory, heads = Recurrent(H, V), 0
        elif kind == "Introspection":
            memory = Introspection(H, V, N, R)
        else:
            memory = KINDS[kind](H, V, N, D, R)
        model = TemporalGenerativeModel(X, V, memory, context_size=C, code_size=E)
        parameters, products = memory_cost(kind, H, V, heads, N, D)
        check(
            "GTM.33",
            parameters,
            size(memory),
            f"{kind}, H = {H}, R = {heads}: parameters",
        )
        mu = leading(kind, R, N, width) if heads else 0
        check("GTM.33", products, size(memory, True) + mu, "products")
        parameters, products = rest_cost(H, V, C, heads, E, X, H + heads * width, V)
        check("GTM.33a", parameters, size(model) - size(memory), "the rest: parameters")
        check("GTM.33a", products, size(model, True) - size(memory, True), "products")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Stacked bars of thousand products a step for no memory, Introspection, least recently used, Turing machine and DNC. With 16 rows or slots all are between 83 and 97, most of it controller and other layers. With 128: 83, 100, 98, 111 and 176; in the last nearly half is the memory."}} tags=["hide-input"]
# @title Figure: products of a step, five memories
H, Z, E, X, R, D = 96, 16, 64, 64, 1, 16
fig, axes = figures.panels(2, sharey=True)
for ax, N in zip(axes, (16, 128), strict=True):
    for place, kind in enumerate(("none", "Introspection", "LRU", "NTM", "DNC")):
        heads = 0 if kind == "none" else R
        P = H + heads * D  # here V = Z = D
        rest = rest_cost(H, Z, 0, heads, E, X, P, Z)[1]
        _, products = memory_cost(kind, H, Z, heads, N, D)
        inside = asks(kind, H, Z, heads, N, D)[2]
        parts = (4 * H * (Z + H), rest - 4 * H * (Z + H), products - inside, inside)
        bottom = 0.0
        for label, color, part in zip(
            ("controller", "other layers", "heads", "memory"),
            (GREY, GREEN, PINK, BLUE),
            parts,
            strict=True,
        ):
            first = label if place == 0 else None
            ax.bar(place, part / 1e3, 0.7, bottom, color=color, label=first)
            bottom += part / 1e3
        print(
            f"N = {N}, {kind}: {bottom:.0f} thousand, memory {inside / 10 / bottom:.1f}%"
        )
    ax.set_xticks(
        range(5), ["none", "Intro-\nspection", "LRU", "NTM", "DNC"], fontsize=7.5
    )
    ax.set_title(f"{N} rows or slots")
axes[0].set_ylabel("thousand products a step")
axes[0].legend(fontsize=7.5, loc="upper left")
axes[0].set_ylim(0, 195)
fig.suptitle(
    "Most of a step is the controller's, but for many links", x=0.02, ha="left"
)
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: recorded times of an update over a peer's, one thread
vrnn = sweep(experiment.EXPERIMENTS["cost"], "book")
for row in vrnn.itertuples():
    print(f"VRNN, batch {row.batch_size}: {row.ours_ratio:.2f} of the loop")
memories = sweep(experiment.EXPERIMENTS["cost_memories"], "book").iloc[0]
for name in ("dnc", "ntm", "lru", "introspection"):
    print(f"{name}: {memories[f'{name}_ratio']:.2f} of the package dnc")

# %% [markdown]
# Measured, forward and backward, one thread, interleaved (medians, a machine that did other things, too): a VRNN of 28 frames with 100
# units takes 0.48 of the time of the same model with encoder, prior, decoder and divergence inside the loop at 8 sequences, and 0.88
# at 128, where the products themselves are the cost. Of the time of the package *dnc* 1.1, a Differentiable Neural Computer of the
# same sizes, 20 steps of 16 sequences, our DNC takes 0.73, NTM 0.68, LRU 0.32, Introspection 0.06.

# %% [markdown]
# ## 11. Errata
#
# **Six statements that are easily made, or found, do not hold.**
#
# *Conditioning.* A public review writes the maps of prior and frame with $x_{\le t}$. A prior that may see $x_t$ does not give a law of
# $x$ and $z$:
#
# $$ \sum_{x,z}\prod_tp(x_t|z_{\le t},x_{<t})\,p(z_t|z_{<t},x_{\le t})=1 \tag{GTM.E1} $$
#
# True: (GTM.2), with $x_{<t}$ under both. With the wrong form a prior equal to the posterior has no divergence, and the "bound" is above
# $\ln p(x)$. *Logarithms.* A public VRNN guards a pixel's likelihood, with $\theta=\sigma(a)$ and $\varepsilon\approx10^{-7}$, by
#
# $$ \ln(1-\theta-\varepsilon)=\ln(1-\theta) \tag{GTM.E2} $$
#
# It is off by a nat at $a=15.5$ and NaN where $\theta$ rounds to one; its users report the NaN. True: (GTM.32d). *Savings.*
#
# $$ \sum_{k=1}^n\bigl(F_{1+k}+H(x)\bigr)\le n\,\mathrm E_x\,\mathrm{KL}\bigl(q(z_1|x)\,\|\,p(z_1)\bigr) \tag{GTM.E3} $$
#
# for $n$ recalls. True for one, under the conditions of (GTM.16). *Shift.* Public Turing machines compute
#
# $$ \tilde w(i)=\sum_js(j)\,w^g(i+j) \tag{GTM.E4} $$
#
# a correlation: the same with $s$ reversed. What is learned mirrors it, but a given $s$ walks the other way. True: (GTM.22).
# *Read weights* of the computer, after the first write:
#
# $$ \sum_iw_t(i)=1 \tag{GTM.E5} $$
#
# Without links a mode that follows them reads nothing. True: at most one, (GTM.28a) with (GTM.29). *The best filter.*
#
# $$ \arg\max_qF=\prod_tp(z_t|z_{<t},x_{\le t}) \tag{GTM.E6} $$
#
# over the posteriors of filtering form. True: (GTM.14a).


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The refutations, and what is true
def product(joint, X, S, sees_now):
    """Every ∏ p(x_t | z_≤t, x_<t) p(z_t | z_<t, x_<t or ≤t), (x, z)."""
    T, total = round(math.log(len(joint), X)), torch.ones(1, 1)
    for t in range(1, T + 1):
        kinds = filters(joint, X, S, "true" if sees_now else "prior")
        now = marginal(joint, X, S, t, t).reshape(X**t, -1, S)
        ahead = marginal(joint, X, S, t - 1, t).repeat_interleave(X, 0)
        step = kinds[t - 1] * now / ahead.reshape(now.shape)
        total = (total.repeat_interleave(X, 0)[:, :, None] * step).flatten(1)
    return total


for X, S, T in ((2, 2, 2), (3, 2, 1)):
    joint = random_table(X, S, T)
    wrong, right = (product(joint, X, S, sees_now) for sees_now in (True, False))
    refute("GTM.E1", wrong.sum(), 1.0, f"the sum, {X} symbols, T = {T}")
    check("GTM.2", right.sum(), 1.0, "without x_t in the prior")
    q = posterior(filters(joint, X, S, "true"), X, S)
    too_high = bool(((q * (wrong / q).log()).sum(1) > joint.sum(1).log()).any())
    check("GTM.2", too_high, True, "a bound with x_t in the prior can be too high")

tiny = torch.finfo(torch.float32).eps
for a in (14.0, 15.5):
    theta = torch.tensor(a).sigmoid()
    refute("GTM.E2", (1 - theta - tiny).log(), (1 - theta).log(), f"a = {a}", rtol=0.01)
    check("GTM.32d", pixel(0.0, torch.tensor(a)), (1 - theta).log(), "true", rtol=1e-6)
theta = torch.tensor(20.0, dtype=torch.float32).sigmoid()
refute(
    "GTM.E2", bool((1 - theta - tiny).log().isfinite()), True, "float32, a = 20: NaN"
)

saved = float(information(half) + information(full)) / math.log(2)
refute("GTM.E3", saved <= 2 * float(paid_bits), True, "two recalls save 3 bits, paid 1")

w, s = uniform(6).softmax(0), torch.tensor([0.1, 0.2, 0.7])
correlated = sum(s[j + 1] * w.roll(-j) for j in (-1, 0, 1))
refute("GTM.E4", correlated, shifted(w, s), "a shift the other way")
check("GTM.22", shifted(w, s.flip(0)), correlated, "with s reversed it is the same")

unit = DifferentiableNeuralComputer(4, 3, 5, 2, 2)
state = unit.write(unit.reset(1), normal(1, 4), normal(1, 3))
total = unit.read(state, normal(1, 4))[1].weights.sum(2)
refute("GTM.E5", total, torch.ones(1, 2), "the first read")
check("GTM.29", bool((total <= 1).all()), True, "at most one")

joint = chain(*stay(), 3)
greedy = average(joint, posterior(filters(joint, 2, 2, "true"), 2, 2))
refute("GTM.E6", greedy, float(best_filter(joint, 2, 2)[1]), "the true filter's bound")

# %% [markdown]
# ## 12. Harder exercises
#
# Fill in a stub, run it, and call its checker, such as `check_exercise_4(lead_for)`: it prints "right", or says what is wrong.
#
# **4 (calculation).** Introspection keeps $L\ge2$ rows, independent, with entries of one variance. By how much must the logit of the right
# row lead the others, which are equal, for the root mean square error of a copy to be the share $0<\epsilon<1$ of a row's own root mean
# square?


# %% tags=["exercise-4"]
def lead_for(epsilon: float, L: int) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(lead_for):
    for epsilon, L in ((0.01, 15), (0.5, 2), (0.2, 60), (0.9, 4), (1e-4, 8)):
        g = float(torch.as_tensor(lead_for(epsilon, L)).double())
        assert math.isfinite(g), f"ε = {epsilon}, L = {L}: {g} is no number"
        w = torch.tensor([g] + (L - 1) * [0.0]).softmax(0)
        error = ((1 - w[0]) ** 2 + (w[1:] ** 2).sum()).sqrt()
        assert abs(float(error) - epsilon) < 1e-5 * epsilon + 1e-7, (
            f"ε = {epsilon}, L = {L}: a lead of {g:.4f} gives {float(error):.5f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# By (GTM.20) the others may have $\epsilon\sqrt{(L-1)/L}$ of the weight. Solve (GTM.12) for $g$.
#
# ```python
# def lead_for(epsilon, L):
#     share = epsilon * math.sqrt((L - 1) / L)
#     return math.log((L - 1) * (1 - share) / share)
# ```
#
# </details>
#
# **5 (code).** Enumeration ends at some ten frames. Compute $\ln p(x_{1:T})$ of a hidden chain for $T$ in the hundreds. Chances may be
# zero, and the result must not underflow; an impossible sequence has $-\infty$.


# %% tags=["exercise-5"]
def log_evidence(x, start, move, emit):
    """x (T,) int64, start (S,), move (S, S) from row to column, emit (S, X)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(log_evidence):
    generator = torch.Generator().manual_seed(8)
    for S, X, T in ((2, 2, 5), (3, 2, 4), (2, 3, 1)):
        start, move, emit = (
            torch.rand(*shape, generator=generator).softmax(-1)
            for shape in ((S,), (S, S), (S, X))
        )
        every = chain(start, move, emit, T).sum(1)
        for number, x in enumerate(itertools.product(range(X), repeat=T)):
            answer = float(log_evidence(torch.tensor(x), start, move, emit))
            right = math.log(float(every[number]))
            assert abs(answer - right) < 1e-6, (
                f"x = {x}: {answer:.5f}, expected {right:.5f}"
            )
    start, move, emit = stay()
    x = torch.randint(2, (800,), generator=generator)
    belief, total = start, 0.0
    for symbol in x.tolist():
        joint = belief * emit[:, symbol]
        total += math.log(float(joint.sum()))
        belief = joint / joint.sum() @ move
    answer = float(log_evidence(x, start, move, emit))
    assert abs(answer - total) < 1e-4, f"800 frames: {answer:.3f}, expected {total:.3f}"
    cycle = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    seen, one = torch.eye(2), torch.tensor([1.0, 0.0])
    possible = float(log_evidence(torch.tensor([0, 1, 0]), one, cycle, seen))
    assert abs(possible) < 1e-9, f"a sure sequence has ln 1 = 0, not {possible}"
    impossible = float(log_evidence(torch.tensor([0, 0, 1]), one, cycle, seen))
    assert impossible == -math.inf, f"an impossible one has −∞, not {impossible}"
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# Carry $\ln p(x_{\le t},z_t)$ forward; `logsumexp` copes with $-\infty$.
#
# ```python
# def log_evidence(x, start, move, emit):
#     forward = start.log() + emit[:, x[0]].log()
#     for symbol in x[1:]:
#         moved = (forward[:, None] + move.log()).logsumexp(0)
#         forward = moved + emit[:, symbol].log()
#     return forward.logsumexp(0)
# ```
#
# </details>
#
# **6 (calculation).** A linear decoder holds one noise $\sigma^2$ for all directions and has as many latents as directions. Frames have
# the variances $\lambda_1,\lambda_2,\dots>0$. Which $\sigma^2$ makes first sight, at its best, cost exactly $B>0$ nats of divergence? (Use
# (GTM.32b) in every direction. How many directions are above the noise?)


# %% tags=["exercise-6"]
def noise_for(nats: float, variances: list[float]) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(noise_for):
    cases = (
        (1.0, [2.0]),
        (0.1, [5.0, 1.0, 0.2]),
        (4.0, [5.0, 1.0, 0.2]),
        (2.0, [0.3] * 6),
    )
    for nats, variances in (*cases, (1.2, [0.1, 9.0, 3.0, 8.0])):
        given = list(variances)
        noise = float(torch.as_tensor(noise_for(nats, given)).double())
        assert given == variances, "it changes its argument; compute with a copy"
        assert 0 < noise < math.inf, f"{noise} is no variance"
        cost = sum(0.5 * math.log(max(1.0, lam / noise)) for lam in variances)
        assert abs(cost - nats) < 1e-5, (
            f"{nats} nats, {variances}: σ² = {noise:.5f} costs {cost:.5f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# Let the $n$ largest be above the noise: $B=\frac12\sum_{i\le n}\ln(\lambda_i/\sigma^2)$. Solve, and take the $n$ whose answer is not below
# the next variance. It is the water level of rate and distortion.
#
# ```python
# def noise_for(nats, variances):
#     ordered = sorted(variances, reverse=True)
#     for n in range(1, len(ordered) + 1):
#         level = math.exp((sum(map(math.log, ordered[:n])) - 2 * nats) / n)
#         if n == len(ordered) or level >= ordered[n]:
#             return level
# ```
#
# </details>

# %% [markdown]
# ## 13. Symbols and further reading
#
# Beside those of [the lesson](temporal_memory.ipynb):
#
# | symbol | meaning |
# |---|---|
# | $V_t$ | best bound still to come after step $t$ (1) |
# | $I$, $H(x)$, $h(x)$; $F_k$ | mutual information, entropy, that of a density; mean bound of frame $k$ (2) |
# | $\rho$, $\delta$ | ratio of variances; difference of means over the prior's deviation (3) |
# | $q_t$, $k_m$; $g$, $D$ | query, key of lag $m$; lead of a logit, entries of a row (4) |
# | $c$, $\beta$, $K$, $g$, $s$, $\gamma$, $e$, $a$ | content weights, strength, cosine, gate, shifts, power, erase, add (5) |
# | $f_r$, $u$, $\psi$, $a$, $p$, $L$, $\pi$ | free gate, usage, retention, allocation, precedence, links, modes (6) |
# | $W_k$, $F_K$ | weight of a sample; bound with $K$ samples (7) |
# | $\lambda$, $\sigma^2$; $a$, $b$, $s$ | variance of frames, of the decoder; slopes of decoder and posterior, its deviation (8) |
#
# - The paper: [Gemici et al. 2017](https://arxiv.org/abs/1702.04649).
# - Hoffman and Johnson, *ELBO surgery*, 2016: the split of (GTM.15).
# - Chung et al., [*A Recurrent Latent Variable Model for Sequential Data*](https://arxiv.org/abs/1506.02216), 2015: the VRNN.
# - Fraccaro et al., [*Sequential Neural Models with Stochastic Layers*](https://arxiv.org/abs/1605.07571), 2016: SRNN, a $q$ that sees
#   the future.
# - Burda, Grosse and Salakhutdinov, [*Importance Weighted Autoencoders*](https://arxiv.org/abs/1509.00519), 2015: section 7.
# - Graves, Wayne and Danihelka, [*Neural Turing Machines*](https://arxiv.org/abs/1410.5401), 2014: section 5.
# - Graves et al., *Hybrid computing using a neural network with dynamic external memory*, Nature 2016: section 6.
# - Lucas et al., [*Don't Blame the ELBO!*](https://arxiv.org/abs/1911.02469), 2019: collapse of linear models, section 8.
# - Fraccaro et al., [*Generative Temporal Models with Spatial Memory*](https://arxiv.org/abs/1804.09401), 2018: rows keyed by place.
# - Wu et al., [*The Kanerva Machine*](https://arxiv.org/abs/1804.01756), 2018: reading and writing as inference.
# - Wayne et al., [*Unsupervised Predictive Memory in a Goal-Directed Agent*](https://arxiv.org/abs/1803.10760), 2018: MERLIN, an
#   agent that stores latents.
# - Gregor et al., [*Temporal Difference Variational Auto-Encoder*](https://arxiv.org/abs/1806.03107), 2018: TD-VAE, beliefs and jumps.
# - Hafner et al., [*Learning Latent Dynamics for Planning from Pixels*](https://arxiv.org/abs/1811.04551), 2019, and
#   [*Dream to Control*](https://arxiv.org/abs/1912.01603), 2020: RSSM and Dreamer, the state of a VRNN, step for step the same divergence.
