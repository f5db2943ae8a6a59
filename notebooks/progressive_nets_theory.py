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
# # Progressive networks: the theory
#
# **Growth, cost, laterals from the input, the transfer score, sensitivities and noise, the first steps of a new column, frozen outputs in
# floating point, errata: what stands behind [the lesson](progressive_nets.ipynb).** The measurements are in
# [the experiments](progressive_nets_experiments.ipynb). Sections can be read in any order; their code uses functions from above. Symbols
# are those of the lesson. These return on every screen: columns $j<k$ are frozen and column $k$ learns its task; layers are
# $i=1,\dots,L$, the last of them the outputs; $h_i^{(k)}$ are the activations, $W_i^{(k)}$ a column's own weights, $U_i^{(k:j)}$ its
# laterals. An adapter projects with $V_i^{(k)}$ to $r$ numbers and scales column $j$ by $\alpha_j$. $\pi$ is the softmax of the outputs.
# Statements about the paper are from memory.

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
import dataclasses
import functools
import itertools
import math
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from workedpapers.experiments import progressive_nets as experiment
from workedpapers.lab import check, figures, refute, setup, sweep
from workedpapers.progressive_nets import (
    ProgressiveNetwork,
    average_fisher_sensitivity,
    fisher_information,
    transfer_score,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK, YELLOW = (COLORS[role] for role in ("muted", "peer", "wrong"))
source = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=source)


# %% [markdown]
# ## 1. How fast does it grow?
#
# **With the square of the number of columns, for linear laterals and for adapters alike. A cheap adapter changes the factor. Of adapters,
# only one that narrows with $k$ can change the power.**
#
# Let a column have $d$ inputs, $L-1$ hidden layers of width $n$ and $c$ outputs. On its own it has
# $P=(d+1)n+(L-2)(n+1)n+(n+1)c$ weights, biases counted. Its layers after the first read a hidden layer, and read $n$ numbers from each
# earlier column as well. Sum over all pairs of columns:
#
# $$ K\,P+\frac{K(K-1)}2\;n\,\bigl[(L-2)n+c\bigr] \tag{PNN.14} $$
#
# An adapter has $V$ with $r$ biases, one $\alpha$ for each earlier column, and $U$. The pairs of columns come back through $V$:
#
# $$ K\,P+\frac{K(K-1)}2(L-1)(rn+1)+(K-1)\,r\,\bigl[(L-2)n+c+L-1\bigr] \tag{PNN.15} $$
#
# Look at one hidden layer of all columns and count weights alone, as the lesson does in (PNN.7) and (PNN.8). Set the two equal. The
# adapter is the smaller one as long as its width is below
#
# $$ \frac rn = \frac K{K+2} \;\text{ for all columns}, \qquad \frac rn = \frac{K-1}K \;\text{ for the last one} \tag{PNN.16} $$
#
# An adapter as wide as the layer is thus larger than linear laterals, with any number of columns from two on.


# %%
def single(d, n, L, c):  # P
    return (d + 1) * n + (L - 2) * (n + 1) * n + (n + 1) * c


def linear_laterals(d, n, L, c, K):  # (PNN.14)
    return K * single(d, n, L, c) + K * (K - 1) // 2 * n * ((L - 2) * n + c)


def adapters(d, n, L, c, K, r):  # (PNN.15)
    pairs = K * (K - 1) // 2 * (L - 1) * (r * n + 1)
    return K * single(d, n, L, c) + pairs + (K - 1) * r * ((L - 2) * n + c + L - 1)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels against the number of columns, 1 to 10, in units of n squared for one hidden layer. Left, all columns: adapters of full width reach 64, linear laterals 55, adapters of half width 37, adapters of width n over k 19, separate networks 10. Right, the last column alone: 11, 10, 6, 2 and 1; the last two are flat."}} tags=["hide-input"]
# @title Figure: weights of a hidden layer against the number of columns
def growth(kind, k):
    """Weights of one hidden layer of column k over n²."""
    if kind == "separate":
        return Fraction(1)
    if kind == "linear":
        return Fraction(k)
    r = {"r = n": Fraction(1), "r = n/2": Fraction(1, 2), "r = n/k": Fraction(1, k)}
    return 1 + (r[kind] * k if k > 1 else 0)


columns = range(1, 11)
kinds = {"r = n": YELLOW, "linear": ORANGE, "r = n/2": PINK}
kinds |= {"r = n/k": BLUE, "separate": GREY}
fig, (left, right) = figures.panels(2)
for kind, color in kinds.items():
    last = [growth(kind, k) for k in columns]
    total = list(itertools.accumulate(last))
    label = {"linear": "linear laterals", "separate": "separate nets"}.get(kind, kind)
    left.plot(columns, [float(t) for t in total], "o-", ms=3, color=color, label=label)
    right.plot(columns, [float(t) for t in last], "o-", ms=3, color=color)
    print(
        f"{label}: 10 columns {float(total[-1]):g} n², the last {float(last[-1]):g} n²"
    )
left.set(xlabel="columns K", ylabel="weights of a layer / n²", title="All columns")
left.legend(fontsize=8)
right.set(xlabel="column k", title="The last column alone")
fig.suptitle("Adapters as wide as the layer are the largest", x=0.02, ha="left")
plt.show()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.14) and (PNN.15): parameters of library networks, counted
def stack(d, n, hidden):
    """A column of `hidden` layers of width n."""
    sizes = [d] + hidden * [n]
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain(*pairs))


def grown(d, n, L, c, K, r=None, **options):
    """A library network with K columns."""
    kind = "linear" if r is None else "adapter"
    network = ProgressiveNetwork(
        lambda k: stack(d, n, L - 1), lateral=kind, adapter_width=r, **options
    )
    for k in range(K):
        network.add_column(f"task {k}", c)
    return network


def count(parameters, only_weights=False):
    return sum(p.numel() for p in parameters if p.dim() > 1 or not only_weights)


for d, n, L, c, K in (
    (5, 4, 3, 2, 1),
    (5, 4, 3, 2, 4),
    (3, 7, 5, 2, 3),
    (9, 6, 2, 4, 5),
):
    sizes, found = f"d, n, L, c, K = {d}, {n}, {L}, {c}, {K}", grown(d, n, L, c, K)
    left, right = linear_laterals(d, n, L, c, K), count(found.parameters())
    check("PNN.14", left, right, f"linear laterals, {sizes}")
    for r in (n, 3):
        found = grown(d, n, L, c, K, r)
        left, right = adapters(d, n, L, c, K, r), count(found.parameters())
        check("PNN.15", left, right, f"adapters of width {r}, {sizes}")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.16)
def hidden_layer(n, K, r, last):
    """Weights of one hidden layer: what a layer more adds to a network."""
    totals = []
    for L in (3, 4):
        network = grown(3, n, L, 2, K - 1, r)
        before = count(network.parameters(), True)
        column = count(network.add_column("last", 2), True)
        totals.append(column if last else before + column)
    return totals[1] - totals[0]


for K, n in ((2, 4), (3, 15), (4, 12), (8, 40)):
    for last, ratio in ((False, Fraction(K, K + 2)), (True, Fraction(K - 1, K))):
        r = ratio * n
        assert r.denominator == 1
        adapter, linear = (hidden_layer(n, K, w, last) for w in (int(r), None))
        which = "last column" if last else "all columns"
        text = f"K = {K}, {which}: equal at r/n = {ratio}"
        check("PNN.16", adapter, linear, text)
        above = hidden_layer(n, K, int(r) + 1, last) > linear
        check("PNN.16", above, True, "one number wider is larger")
for kind in ("r = n", "r = n/2", "r = n/k", "linear"):
    found, typed = [], []
    for k in (2, 3, 4):
        r = {"r = n": 12, "r = n/2": 6, "r = n/k": 12 // k, "linear": None}[kind]
        found.append(hidden_layer(12, k, r, True))
        typed.append(int(growth(kind, k) * 144))
    check("PNN.16", typed, found, f"the figure's numbers, {kind}")

# %% [markdown]
# ## 2. What does a training step cost?
#
# **Own column and laterals cost a number that grows with $k$. Running the frozen columns costs one that grows with $k^2$, if there are two
# hidden layers or more, and it need not be paid: their activations can be stored.**
#
# Count products of a number and a weight, for one example and linear laterals. Write $q=(L-2)n+c$ for the outputs of all layers that
# read hidden ones. The forward pass of column $k$ takes $dn+knq$ products. The slopes of its weights take as many again. The slopes of its
# activations take $nq$, for they go back through $W$ alone: nothing flows into a frozen column (PNN.4). Without stored activations the
# frozen columns run, too:
#
# $$ \underbrace{2dn+(2k+1)\,nq}_{\text{with stored activations}}+\underbrace{(k-1)\,dn+\tfrac{k(k-1)}2(L-2)\,n^2}_{\text{frozen columns}} \tag{PNN.17} $$


# %%
def step_products(d, n, L, c, k):  # (PNN.17)
    q = (L - 2) * n + c
    learning = 2 * d * n + (2 * k + 1) * n * q
    frozen = (k - 1) * d * n + k * (k - 1) // 2 * (L - 2) * n**2
    return learning, frozen


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.17): PyTorch's counter
def counted(network, d, task, stored):
    """Products of a training step with three examples, per example."""
    x = normal(3, d)
    features = network.features(x, task) if stored else None
    with FlopCounterMode(display=False) as counter:
        network(x, task, features).logsumexp(1).sum().backward()
    return counter.get_total_flops() // (2 * len(x))


for d, n, L, c, k in (
    (9, 4, 3, 2, 1),
    (9, 4, 3, 2, 3),
    (5, 6, 5, 3, 4),
    (7, 3, 2, 5, 2),
):
    network, text = grown(d, n, L, c, k), f"d, n, L, c, k = {d}, {n}, {L}, {c}, {k}"
    learning, frozen = step_products(d, n, L, c, k)
    found = counted(network, d, f"task {k - 1}", k > 1)
    check("PNN.17", learning, found, f"stored, {text}")
    held = network.features(normal(1, d), f"task {k - 1}").layers
    assert sum(layer.numel() for layer in held) == (k - 1) * (L - 1) * n
    found = counted(network, d, f"task {k - 1}", False)
    check("PNN.17", learning + frozen, found, "and with the frozen columns run")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Products of a training step over those of the first column, against the column from 1 to 12, for two networks. Left, 784 inputs and two hidden layers of 256: with stored activations a straight line to 3.5, with frozen columns run a curve to 14.3. Right, 64 inputs and eight hidden layers of 256: 8.2 with stored activations, 29.7 with frozen columns run."}} tags=["hide-input"]
# @title Figure: products of a training step
fig, axes = figures.panels(2, sharex=True)
for ax, (d, L) in zip(axes, ((784, 3), (64, 9)), strict=True):
    one = sum(step_products(d, 256, L, 10, 1))
    parts = [step_products(d, 256, L, 10, k) for k in range(1, 13)]
    for label, values, color in (
        ("frozen columns run", [a + b for a, b in parts], ORANGE),
        ("activations stored", [a for a, _ in parts], BLUE),
    ):
        ratio = np.array(values) / one
        ax.plot(range(1, 13), ratio, "o-", ms=3, color=color, label=label)
        print(f"{d} inputs, {L - 1} hidden layers, {label}: {ratio[-1]:.1f} at k = 12")
    ax.set(xlabel="column k", xticks=[1, 4, 8, 12])
    ax.set_title(f"{d} inputs, {L - 1} hidden layers")
axes[0].set_ylabel("products / first column's")
axes[0].legend(fontsize=8)
fig.suptitle("Stored activations turn a square into a line", x=0.02, ha="left")
plt.show()

# %% [markdown]
# A fixed data set needs $(k-1)(L-1)n$ numbers an example for it. In reinforcement learning an observation comes once, but the activations
# of its rollout serve the update. Products are not seconds:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels against one, two, four and eight columns. Time of a step: with kept features from 2.4 to 6.5 milliseconds, adapters to 10; all columns run, a layer each and Doric to 18 to 20; Avalanche to 56. Parameters: ours and a layer each 4.1 million at eight columns, adapters 4.5, Doric 9.7, Avalanche 10.5."}} tags=["hide-input"]
# @title Figure: time of a training step
cost = sweep(experiment.COST, "book", device="cpu").sort_values("columns")
fig, axes = figures.panels(2)
for name, label, color, line in (
    ("ours", "ours, features kept", COLORS["learned"], "o-"),
    ("uncached", "ours", COLORS["learned"], "o--"),
    ("adapter", "ours, adapters, features kept", COLORS["fast"], "o-"),
    ("loop", "a layer each", "0.6", "s-"),
    ("doric", "Doric", COLORS["peer"], "s-"),
    ("avalanche", "Avalanche", COLORS["baseline"], "s-"),
):
    if f"{name}_seconds" not in cost:
        continue
    style = {"color": color, "label": label, "ms": 4}
    axes[0].plot(cost["columns"], 1e3 * cost[f"{name}_seconds"], line, **style)
    if name not in ("uncached",):
        size = 1e-6 * cost[f"{name}_parameters"]
        axes[1].plot(cost["columns"], size, line, **style)
axes[0].set(xlabel="columns", ylabel="ms a step", title="Time")
axes[1].set(xlabel="columns", ylabel="millions", title="Parameters")
axes[0].legend(fontsize=7)
fig.suptitle("Kept features take most of the growth away")
plt.show()

# %% [markdown]
# **At eight columns a step with kept features takes 0.36 of the time that it takes if all columns run, 0.32 of Doric's and 0.12 of
# Avalanche's; the two have 2.4 and 2.6 times as many parameters.** One thread, 784-256-256-10 units, 128 images, forward, cross-entropy and backward
# of the newest column. Doric makes laterals from the input and does not run them (E4); Avalanche runs them, has adapters of the layer's width, and
# has no laterals into the output layer. Without kept features ours is as fast as a loop with a layer for each lateral (0.93 of its time).

# %% [markdown]
# ## 3. Why no laterals from the input?
#
# **They add no function and no speed that a larger rate would not. Every column reads the same $x$, so such laterals are more copies of one
# matrix, and $k$ copies learn like one at $k$ times the rate.**
#
# In the first layer the activations below are $x$ for all columns. Whatever the laterals are,
#
# $$ W_1x+\sum_{j<k}U_1^{(k:j)}x = \Bigl(W_1+\sum_{j<k}U_1^{(k:j)}\Bigr)x \tag{PNN.18} $$
#
# Call the sum $S$. The loss depends on $S$ alone, so all $k$ matrices have the same slope, and each step of rate $\eta$ moves $S$ by
# $k$ of them:
#
# $$ S_{t+1} = S_t-k\,\eta\,\nabla_{\!S}\,\mathcal L(S_t) \tag{PNN.19} $$
#
# The same holds for every optimiser whose steps of a matrix depend on that matrix's slopes alone and are proportional to the rate: momentum
# and Adam. Not for weight decay, which pulls at each matrix, nor where slopes are clipped by the norm of all together.

# %%
x, goal, head = normal(20, 5), normal(20, 3), normal(3, 4)


def loss_of(S):
    return (torch.tanh(x @ S.T) @ head.T - goal).square().mean()


def trained(matrices, optimiser, rate, steps=30):
    """The sum of some matrices after every step."""
    leaves = [m.clone().requires_grad_() for m in matrices]
    optimiser = optimiser(leaves, lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(sum(leaves)).backward()
        optimiser.step()
        yield sum(leaves).detach().clone()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.18) and (PNN.19)
for k in (1, 2, 5):
    matrices = [0.5 * normal(4, 5) for _ in range(k)]
    W, *U = matrices
    apart = x @ W.T + sum((x @ u.T for u in U), torch.zeros(()))
    check("PNN.18", apart, x @ sum(matrices).T, f"k = {k}")
    path, S, one = (
        torch.stack([*trained(matrices, torch.optim.SGD, 0.1)]),
        sum(matrices),
        [],
    )
    for _ in range(30):
        S = S.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss_of(S), S)
        S = S - k * 0.1 * slope
        one.append(S.detach())
    check("PNN.19", torch.stack(one), path, f"30 steps from a common start, k = {k}")
    whole = [sum(matrices)]
    for name, kind in (
        ("momentum", lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
        ("Adam", torch.optim.Adam),
    ):
        many = torch.stack([*trained(matrices, kind, 0.01)])
        one = torch.stack([*trained(whole, kind, k * 0.01)])
        check("PNN.19", one, many, f"and with {name}", rtol=1e-7)


def decaying(p, lr):
    return torch.optim.SGD(p, lr=lr, weight_decay=0.1)


*_, many = trained(matrices, decaying, 0.1)
*_, one = trained(whole, decaying, 0.5)
print(f"with weight decay they agree: {torch.allclose(one, many, rtol=1e-3)}")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title A column in the shape of a port, and how many of its weights never move
class PortedColumn(nn.Module):
    """Column k in the shape of a port: laterals for every layer, the first unused."""

    def __init__(self, d, n, c, k):
        super().__init__()
        sizes = [(d, n), (n, n), (n, c)]
        self.own = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in sizes)
        self.laterals = nn.ModuleList(
            nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in sizes)
            for _ in range(k - 1)
        )

    def forward(self, x, before):
        for i, layer in enumerate(self.own):
            z = layer(x)
            for lateral, h in zip(self.laterals, before, strict=True):
                if i:
                    z = z + lateral[i](h[i - 1])
            x = z.relu()
        return z


def unused(d, n, c, k):
    """Created weights of column k, and those without a slope after a backward pass."""
    column, before = PortedColumn(d, n, c, k), [[normal(4, n).relu()] * 2] * (k - 1)
    column(normal(4, d), before).logsumexp(1).sum().backward()
    dead = [p.numel() for p in column.parameters() if p.grad is None]
    return count(column.parameters()), sum(dead)


for k in (2, 8):
    created, dead = unused(784, 256, 10, k)
    print(f"784-256-256-10, column {k}: {dead / created:.0%} of its weights never move")

# %% [markdown]
# Some published code creates laterals from the input all the same. If they are used, $S$ takes larger steps, and its first value varies
# more. If they are created and not used, as in one port (E4), they fill memory: of the last column's weights the share
# $\frac{k-1}k\cdot\frac d{d+q}$, 37% in the second column and 65% in the eighth at the sizes above. The library creates none.
#
# ## 4. What does the transfer score forgive?
#
# **Any scale and any zero of the scores, if you subtract what a random policy gets. A ratio of raw scores forgives the scale, not the zero,
# and with a baseline below zero it turns the order round. No score of area forgives where you stop.**
#
# The lesson's score (PNN.11) compares areas, mean scores over training: $A$ of the network, $A_1$ of the baseline, and $A_r$ of a random
# policy. Measure all scores in other units, $as+b$ with $a>0$:
#
# $$ 100\,\frac{(aA+b)-(aA_r+b)}{(aA_1+b)-(aA_r+b)} = 100\,\frac{A-A_r}{A_1-A_r} = S \tag{PNN.20} $$
#
# $b$ is added to the score of an episode. A number added to the reward of every step is no such shift where episodes differ in length.
# As we remember the paper, its score is the plain ratio $R=100\,A/A_1$. Where $A_1\neq0$ the two are tied by
#
# $$ S = \frac{R-100\,g}{1-g}, \qquad R=100\,\frac A{A_1},\quad g=\frac{A_r}{A_1} \tag{PNN.21} $$
#
# If the random policy scores zero, $g=0$ and they agree. If it is below zero and the baseline above, $g<0$, $R$ exaggerates: it is further
# from 100 than $S$. If both are below zero and the baseline is the better of the two, $g>1$, and $S$ falls as $R$ rises. In Pong a game
# ends between $-21$ and 21. Let a random policy get $-21$, the baseline $-13.6$ on average, the network $-7.1$. It is better, and
# $R$ says 52% while $S$ says 188% (E5).


# %%
def shifted(R, g):  # (PNN.21)
    return (R - 100 * g) / (1 - g)


A, A_1, A_r = -7.1, -13.6, -21.0
R, g = 100 * A / A_1, A_r / A_1
S = shifted(R, g)
print(f"R = {R:.0f}%, g = {g:.2f}, S = {S:.0f}%")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.20) and (PNN.21)
for shape, random in (((40,), 0.1), ((3, 25), -2.0)):
    base = torch.rand(*shape, generator=source).cumsum(-1)
    curve = base + torch.rand(*shape, generator=source) - 0.7
    S = transfer_score(curve, base, random)
    for a, b in ((3.0, 0.0), (0.01, 5.0), (20.0, -700.0)):
        A, A_1, A_r = curve.mean(-1), base.mean(-1), torch.tensor(random)
        typed = 100 * ((a * A + b) - (a * A_r + b)) / ((a * A_1 + b) - (a * A_r + b))
        check(
            "PNN.20", typed, S, f"a = {a}, b = {b}: typed, the library's in other units"
        )
        moved = transfer_score(a * curve + b, a * base + b, a * random + b)
        check("PNN.20", moved, S, "and the library in these units")
orders = []
for A, A_1, A_r in (
    (-7.1, -13.6, -21.0),
    (-16.0, -13.6, -21.0),
    (3.0, 2.0, -1.5),
    (1.2, 2.0, 0.5),
    (4.0, 5.0, 0.0),
):
    R, g = 100 * A / A_1, A_r / A_1
    curves = [torch.tensor([v - 0.5, v + 0.5]) for v in (A, A_1)]
    found = float(transfer_score(*curves, A_r))
    check("PNN.21", shifted(R, g), found, f"g = {g:.2f}: S by the library")
    orders.append([(R > 100) == (A > A_1), (found > 100) == (A > A_1)])
right = [[False, True]] * 2 + [[True, True]] * 3
check("PNN.21", orders, right, "above 100 if better: R only for g < 1, S always")

# %% [markdown]
# *Where you stop.* Let one network reach 80% soon, $s(t)=0.8\,(1-e^{-t})$, and the baseline all of it later, $1-e^{-t/4}$. Stop at time
# $T$, and the areas are $0.8\,(T-1+e^{-T})/T$ and $(T-4+4e^{-T/4})/T$:


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, two learning curves over time 0 to 30. The network rises at once and stays at 0.8; the baseline rises slowly to one and crosses it at about 6.4. Right, the transfer score against the time at which training stops: it falls from above 200 percent, crosses 100 at about 15.6 and is 89 at 30. Dots at 10 and 30: 114 and 89 percent."}} tags=["hide-input"]
# @title Figure: area and final score disagree
def areas(T):
    return 0.8 * (T - 1 + np.exp(-T)) / T, (T - 4 + 4 * np.exp(-T / 4)) / T


def quick(t):
    return 0.8 * (1 - np.exp(-t))


def slow(t):
    return 1 - np.exp(-t / 4)


t = np.linspace(0, 30, 301)
fig, (left, right) = figures.panels(2)
left.plot(t, quick(t), color=BLUE, label="network")
left.plot(t, slow(t), color=GREEN, label="baseline")
left.set(xlabel="time", ylabel="score", title="Who is ahead changes")
left.legend(fontsize=8, loc="lower right")
first, second = areas(t[10:])
right.plot(t[10:], 100 * first / second, color=BLUE)
right.axhline(100, color=GREY, ls="--", lw=1)
for T in (10.0, 30.0):
    first, second = areas(T)
    middle = (np.arange(4000) + 0.5) * T / 4000  # midpoints
    curves = [torch.tensor(f(middle)) for f in (quick, slow)]
    score = float(transfer_score(*curves))
    assert abs(score - 100 * first / second) < 1e-3
    right.plot(T, score, "o", color=BLUE)
    print(f"T = {T:g}: score {score:.0f}%, final {quick(T):.2f} against {slow(T):.2f}")
even = brentq(lambda T: areas(T)[0] - areas(T)[1], 5, 30)
crossing = brentq(lambda t: quick(t) - slow(t), 2, 20)
print(f"curves cross at {crossing:.1f}, areas are equal at {even:.1f}")
right.set(xlabel="training stops at T", ylabel="transfer score (%)", ylim=(60, 260))
right.set_title("The verdict depends on T")
plt.show()

# %% [markdown]
# From 6.4 on the baseline is ahead, and until 15.6 the score says that the network is better. Both are true. So
# [the experiments](progressive_nets_experiments.ipynb) report final scores beside areas.

# %% [markdown]
# ## 5. What is the sensitivity?
#
# **The curvature of the divergence between two policies, in the direction of a feature, times that feature's variance. It can be summed
# over actions exactly, and its slopes must run through the frozen columns.**
#
# (PNN.12) averages squares of slopes of $\log\pi$. In the outputs $z$ the slope of $\log\pi_a$ is $e_a-\pi$, with the unit vector $e_a$.
# Its mean square is the Fisher matrix of a softmax, $F_z$. A feature acts through the slopes of the outputs, $J=\partial z/\partial h$, so
#
# $$ F_z=\sum_a\pi_a(e_a-\pi)(e_a-\pi)^{\!\top}=\operatorname{diag}\pi-\pi\pi^{\!\top}, \qquad F_h=J^{\!\top}F_z\,J \tag{PNN.22} $$
#
# The sensitivity is $F_i^{(j)}(m)=\operatorname{Var}(h_m)$ times the mean of $F_h(m,m)$ over inputs. A network to measure it on: three
# columns with two hidden layers of 12 learn to tell the digits 3, 5 and 8, upright, then mirrored, then turned by 90°.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title A network with three columns, trained
digits = load_digits()
chosen = np.isin(digits.target, (3, 5, 8))
images = torch.tensor(digits.images[chosen] / 16)
labels = torch.tensor([(3, 5, 8).index(y) for y in digits.target[chosen]])
looks = {
    "upright": images,
    "mirrored": images.flip(2),
    "turned": images.rot90(1, (1, 2)),
}
torch.manual_seed(1)
network = ProgressiveNetwork(lambda k: stack(64, 12, 2))
for task, view in looks.items():
    inputs = view.flatten(1)
    optimiser = torch.optim.Adam(network.add_column(task, 3), lr=0.01)
    features = network.features(inputs, task) if len(network.tasks) > 1 else None
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(network(inputs, task, features), labels).backward()
        optimiser.step()
right = (network(inputs, task).argmax(1) == labels).double().mean()
print(f"{len(inputs)} images, right in the last task: {right:.0%}")


def outputs(x, added=None, seen=None):
    """Outputs of the last column; `added` to and `seen` at (layer, column), from 0."""

    def tap(i, j, h):
        if seen is not None:
            seen[i, j] = h.detach()
        return h if added is None or (i, j) not in added else h + added[i, j]

    return network.run(x, task, tap=tap)[0]


seen = {}
z = outputs(inputs, seen=seen).detach()
pi = z.softmax(1)
places = sorted(seen)
spread = {place: seen[place].var(0, unbiased=False) for place in places}


# %%
def jacobians(x, of=lambda z: z):
    """Slopes (inputs, outputs, features) of the outputs by (layer, column)."""
    x = x.clone().requires_grad_()
    zeros = {p: torch.zeros(len(x), 12, requires_grad=True) for p in places}
    rows = []
    for z in of(outputs(x, zeros)).T:
        slopes = torch.autograd.grad(z.sum(), [*zeros.values()], retain_graph=True)
        rows.append(dict(zip(places, slopes, strict=True)))
    return {p: torch.stack([row[p] for row in rows], 1) for p in places}


def softmax_fisher(pi):  # F_z of (PNN.22), for every input
    return torch.diag_embed(pi) - pi[:, :, None] * pi[:, None, :]


def feature_fisher(J, pi):  # F_h of (PNN.22), for every input
    return J.mT @ softmax_fisher(pi) @ J


# %%
J = jacobians(inputs)
sensitivity = {
    p: spread[p] * feature_fisher(J[p], pi).diagonal(dim1=1, dim2=2).mean(0)
    for p in places
}
for i in (0, 1):
    sums = torch.stack([sensitivity[i, j].sum() for j in range(3)])
    print(
        f"layer {i + 1}: shares of the columns", [f"{s:.2f}" for s in sums / sums.sum()]
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.22), and drawn actions
summed = torch.zeros(len(pi), 3, 3)
for a, e_a in enumerate(torch.eye(3)):
    summed += pi[:, a, None, None] * (e_a - pi)[:, :, None] * (e_a - pi)[:, None, :]
check("PNN.22", softmax_fisher(pi), summed, "the sum over actions, 539 inputs")
slopes = jacobians(inputs, lambda z: z.log_softmax(1))
for p in places:
    squares = torch.einsum("ba,bam,ban->bmn", pi, slopes[p], slopes[p])
    name = f"layer {p[0] + 1}, column {p[1] + 1}"
    check("PNN.22", feature_fisher(J[p], pi), squares, f"slopes of log π, {name}")
library = fisher_information(network, [inputs[:200], inputs[200:]], task)
for i, j in places:
    check("PNN.22", sensitivity[i, j], library[i][j], "times the variance: the library")


def divergence(added, x=inputs):
    """KL(π(h) ‖ π(h + added)) for every input, in nats."""
    moved = outputs(x, added).log_softmax(1)
    return F.kl_div(moved, pi[: len(x)], reduction="none").sum(1)


def curvature(place, x):
    """Second derivatives (inputs, features, features) of the divergence."""
    zero = torch.zeros(len(x), 12, requires_grad=True)
    total = divergence({place: zero}, x.clone().requires_grad_()).sum()
    (once,) = torch.autograd.grad(total, zero, create_graph=True)
    rows = [torch.autograd.grad(g.sum(), zero, retain_graph=True)[0] for g in once.T]
    return torch.stack(rows, 1)


for p in ((0, 0), (0, 1), (1, 2)):
    left, right = feature_fisher(J[p], pi)[:9], curvature(p, inputs[:9])
    check("PNN.22", left, right, "curvature of the divergence by autograd")

exact, drawn = [], []
generator = torch.Generator().manual_seed(3)
actions = torch.multinomial(pi, 500, True, generator=generator)  # (inputs, repeats)
for j in range(3):
    score = (spread[0, j] * slopes[0, j] ** 2).sum(2)  # (inputs, actions)
    exact.append((pi * score).sum())
    drawn.append(score.gather(1, actions).sum(0))
exact, drawn = (torch.stack(s) / sum(s) for s in (exact, drawn))
print(f"column 1, layer 1: exact {exact[0]:.3f};", end=" ")
print(f"one drawn action an input: standard deviation {drawn[0].std():.3f}")

# %% [markdown]
# Drawn actions are needed where actions cannot be enumerated. Here they can, and the sum costs as many backward passes as there are
# actions. With one drawn action for each image, the share of column 1 in layer 1, 0.104, scatters by 0.012. Slopes at the labels instead
# are another thing: on a network that is nearly always right, they measure its few errors.
#
# *Stored activations.* Section 2 stores the activations of frozen columns, and training is exact with them. A sensitivity is not. A feature
# of layer 1 of a frozen column acts on the outputs through layer 2 of its own column, too, and stored numbers do not move (E6).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars of the shares of three columns in the sensitivity of the first and the second hidden layer, with slopes through the frozen columns and with stored activations. In the second layer both agree. In the first layer, stored activations give the frozen columns a smaller share and the last column a larger one."}} tags=["hide-input"]
# @title Figure: shares with slopes through the frozen columns, and without
features = network.features(inputs, task)
leaves = tuple(layer.clone().requires_grad_() for layer in features.layers)
held = network(inputs, task, dataclasses.replace(features, layers=leaves))
rows = [
    torch.autograd.grad(column.sum(), leaves, retain_graph=True) for column in held.T
]
stored = dict(sensitivity)
for i, layer in enumerate(zip(*rows, strict=True)):
    both = torch.stack(layer, 1).split(12, 2)  # by frozen column
    for j, part in enumerate(both):
        fisher = feature_fisher(part, pi).diagonal(dim1=1, dim2=2).mean(0)
        stored[i, j] = spread[i, j] * fisher


def shares_of(table, i):
    sums = torch.stack([table[i, j].sum() for j in range(3)])
    return sums / sums.sum()


for p in ((1, 0), (1, 1), (0, 2), (1, 2)):
    where = "last hidden layer" if p[0] else "newest column"
    check("PNN.22", stored[p], sensitivity[p].clone(), f"{where}: no path is lost")
fig, axes = figures.panels(2, sharey=True)
for i, ax in enumerate(axes):
    for shift, table, label, color in (
        (-0.2, sensitivity, "all slopes", BLUE),
        (0.2, stored, "stored", YELLOW),
    ):
        shares = shares_of(table, i)
        ax.bar(np.arange(1, 4) + shift, shares, 0.4, color=color, label=label)
        print(f"layer {i + 1}, {label}:", [f"{s:.2f}" for s in shares])
    ax.set(xlabel="column", xticks=[1, 2, 3], title=f"Hidden layer {i + 1}")
axes[0].set_ylabel("share of the sensitivity")
axes[0].legend(fontsize=8)
fig.suptitle("Stored activations hide a part of layer 1", x=0.02, ha="left")
plt.show()

# %% [markdown]
# ## 6. How are noise and slopes linked?
#
# **Small noise moves the policy by half its variance times the sensitivity. So the paper's two measures, pooled over a layer, give the same
# shares as long as the noise is small. The paper's own noise, which halves the score, is not.**
#
# Add independent Gaussian noise of variance $\sigma^2\operatorname{Var}(h_m)$ to the features of one column in one layer. The divergence
# from the undisturbed policy has its minimum, zero, at no noise, and its curvature there is $F_h$. Take the mean over noise and inputs:
#
# $$ \mathrm E\,\mathrm{KL}\bigl(\pi(h)\,\|\,\pi(h+\varepsilon)\bigr) = \tfrac12\,\sigma^2\sum_mF_i^{(j)}(m)+O(\sigma^4) \tag{PNN.23} $$
#
# Cubic terms have the mean zero, so the relative error falls by about four when a small $\sigma$ halves. Kinks of a ReLU above add terms
# that vanish faster than any power, if no input lies on a kink. Turn it round: let $\sigma_j$ be the smallest noise in column $j$ at which
# the divergence is $\kappa$, and let the sensitivity be above zero. Its inverse square $\Lambda^{(j)}$ is the paper's perturbation measure,
# but for the threshold:
#
# $$ \lim_{\kappa\to0}\,2\kappa\,\Lambda^{(j)} = \sum_mF_i^{(j)}(m), \qquad \Lambda^{(j)}=1/\sigma_j^2 \tag{PNN.24} $$
#
# The factor $2\kappa$ is the same for all columns, so shares of $\Lambda$ are shares of sensitivity.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.23)
head = {j: J[1, j][0] for j in range(3)}  # outputs are linear in the last hidden layer


@functools.cache
def quadrature(points):
    """Points in the plane and masses for a standard normal pair."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    grid = torch.tensor([*itertools.product(nodes, repeat=2)])
    mass = torch.tensor([a * b for a, b in itertools.product(weights, repeat=2)])
    return grid, mass / mass.sum()


def mean_divergence(j, sigma, points=10):
    """The left side of (PNN.23) for noise in the last hidden layer, by quadrature."""
    relative = head[j][:2] - head[j][2]  # outputs against the third
    grid, mass = quadrature(points)
    covariance = sigma**2 * (relative * spread[1, j]) @ relative.T
    shift = F.pad(grid @ torch.linalg.cholesky(covariance).T, (0, 1))  # (points, 3)
    free = (pi.log()[:, None] + shift).logsumexp(2)  # log Σ π exp(shift)
    return ((free - pi @ shift.T) @ mass).mean()


def at_zero(values):
    """Limit of a + bs² + cs⁴ from its values at s, s/2, s/4."""
    first, second = ((4 * b - a) / 3 for a, b in itertools.pairwise(values))
    return (16 * second - first) / 15


for j in range(3):
    typed = 0.5 * sensitivity[1, j].sum()  # the right side of (PNN.23) over σ²
    sigmas = (0.1, 0.05, 0.025)
    found = [mean_divergence(j, s) / s**2 for s in sigmas]
    check(
        "PNN.23", typed, at_zero(found), f"last hidden layer, column {j + 1}", rtol=1e-6
    )
    errors = [float(value - typed) for value in found]
    check("PNN.23", errors[0] / errors[1], 4.0, "half the noise, a quarter", rtol=0.02)
for i, j in places:
    bend = curvature((i, j), inputs).diagonal(dim1=1, dim2=2).mean(0)
    coefficient = 0.5 * (spread[i, j] * bend).sum()  # of σ², by autograd
    typed = 0.5 * sensitivity[i, j].sum()
    check(
        "PNN.23", typed, coefficient, f"layer {i + 1}, column {j + 1}: exact curvature"
    )


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.24)
def level(j, kappa):
    """The noise in the last hidden layer of column j at which the divergence is κ."""
    near = float((2 * kappa / sensitivity[1, j].sum()) ** 0.5)
    ends = 0.7 * near, 1.4 * near
    return brentq(lambda s: float(mean_divergence(j, s)) - kappa, *ends, xtol=1e-12)


precise = []
for j in range(3):
    values = [2 * k / level(j, k) ** 2 for k in (4e-4, 1e-4, 2.5e-5)]  # κ falls as σ²
    precise.append(at_zero(values))
    text = f"column {j + 1}: the limit"
    check("PNN.24", sensitivity[1, j].sum(), precise[-1], text, rtol=1e-6)
typed = shares_of(sensitivity, 1)
left = torch.tensor(precise) / sum(precise)
check("PNN.24", left, typed, "shares", rtol=1e-6)
library = average_fisher_sensitivity(network, [inputs], task)[1]
check("PNN.24", left, library, "and the library's shares", rtol=1e-6)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, mean divergence over half sigma squared times the sensitivity against the noise from 0.03 to 14 of a unit's spread, for the last hidden layer of three columns. All are at one up to 0.1, rise to about two and fall again, the last column's first. Squares mark the noise at which the score has lost half of what it has above chance; they lie near two. Right, shares of the columns in the first hidden layer: by sensitivity 0.10, 0.19, 0.71; by half the score column 1 has more, about as much as column 2."}} tags=["hide-input"]
# @title Figure: noise grows until the score is halved
generator = torch.Generator().manual_seed(4)
noise = torch.randn(10 * len(pi), 12, generator=generator)  # the same at every level
many, answers = inputs.repeat(10, 1), labels.repeat(10)
target = ((pi.argmax(1) == labels).double().mean() + 1 / 3) / 2


@torch.no_grad()
def halved(place):
    """The noise in the layer of a column that halves the score above chance."""
    unit = noise * spread[place].sqrt()

    def above(log_sigma):
        moved = outputs(many, {place: math.exp(log_sigma) * unit}).argmax(1)
        return float((moved == answers).double().mean() - target)

    return math.exp(brentq(above, 0, 4, xtol=1e-3))


half = {place: halved(place) for place in places}
fig, (left, right) = figures.panels(2)
sigmas = np.geomspace(0.03, 14, 16)
for j, color in enumerate((BLUE, ORANGE, GREEN)):
    small = 0.5 * float(sensitivity[1, j].sum())
    ratio = [float(mean_divergence(j, s, 20)) / (small * s**2) for s in sigmas]
    left.semilogx(sigmas, ratio, color=color, label=f"column {j + 1}")
    at = float(mean_divergence(j, half[1, j], 20)) / (small * half[1, j] ** 2)
    left.plot(half[1, j], at, "s", color=color)
    print(f"column {j + 1}: score halved at σ = {half[1, j]:.1f}, ratio {at:.1f}")
left.set(xlabel="noise σ", ylabel="KL / (½σ²ΣF)", title="Layer 2: one while small")
left.legend(fontsize=8)
inverse = {place: torch.tensor(1 / s**2) for place, s in half.items()}
for shift, label, table, color in (
    (-0.2, "sensitivity", sensitivity, BLUE),
    (0.2, "half the score", inverse, YELLOW),
):
    heights = shares_of(table, 0)
    right.bar(np.arange(1, 4) + shift, heights, 0.4, color=color, label=label)
    for i in (0, 1):
        shares = [f"{s:.2f}" for s in shares_of(table, i)]
        print(f"{label}, layer {i + 1}: shares", shares)
right.set(xlabel="column", ylabel="share", xticks=[1, 2, 3])
right.set_title("Layer 1: shares differ")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# Up to a tenth of a unit's spread the ratio is one. A likely reason for the rise, not tested: the policy is sure of itself and its
# curvature small, so noise that carries an image over a border costs more than a parabola says. Where the score is halved, the noise is
# several spreads, and the ratio is about two. In layer 2 the ratios are alike for all columns, so the shares survive. In layer 1 they do
# not: column 1 gains what the others lose. Nothing in (PNN.24) promises shares at such noise.
#
# ## 7. Which share?
#
# **The paper pairs feature $m$ of one column with feature $m$ of the others. They have nothing in common but a number, so the paper's share
# depends on how units are numbered. Pooled over a layer, it does not.**
#
# As we remember the paper, a feature's share is its own sensitivity over that of all features with the same number, and a column's is the
# sum over features. Where all of them are dead, we let $0/0$ be zero. Then the columns, each with $n_i$ units in layer $i$, share
#
# $$ \sum_j\sum_m\frac{F_i^{(j)}(m)}{\sum_{j'}F_i^{(j')}(m)} = n_i-\#\bigl\{m:F_i^{(j)}(m)=0\text{ for all }j\bigr\} \tag{PNN.25} $$
#
# among them, not one. A layer of three units, by hand: column 1 has sensitivities 10, 1, 1 and column 2 has 1, 3, 3. Pooled, column 1
# has $12/19$, the larger part. Paired, it has $\frac{10}{11}+\frac14+\frac14=1.41$ of three, the smaller one. Now write the units
# of column 2 in the order 3, 1, 3. The network computes what it did before; paired, column 1 has 1.52, the larger part.


# %%
def paired(first, *others):  # the paper's share of the first column, over units
    table = torch.stack([first, *others])
    return torch.nan_to_num(first / table.sum(0)).sum()


first, second = torch.tensor([10.0, 1.0, 1.0]), torch.tensor([1.0, 3.0, 3.0])
print(f"pooled: {first.sum() / (first.sum() + second.sum()):.2f} of 1")
for order in ([0, 1, 2], [1, 0, 2]):
    print(f"paired, column 2 in order {order}: {paired(first, second[order]):.2f} of 3")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, bars of the shares of column 1 in the example: 0.63 pooled, 0.47 paired, 0.51 paired after a change of order; a dashed line at one half. Right, histogram of the paired share of the last column in the second hidden layer of the trained network over 2,000 orders of the units, between 0.33 and 0.42, with a line at the pooled share, 0.85."}} tags=["hide-input"]
# @title Figure: one network, many paired shares; checks of (PNN.25)
tables = {
    "by hand": torch.stack((first, second)),
    "two dead units": torch.tensor([[0, 2, 0, 5.0], [0, 0, 0, 1], [0, 7, 0, 0]]),
}
tables |= {
    f"layer {i + 1}": torch.stack([sensitivity[i, j] for j in range(3)]) for i in (0, 1)
}
for name, table in tables.items():
    total = sum(
        float(table[j, m]) / float(table[:, m].sum())
        for j, m in itertools.product(range(len(table)), range(table.shape[1]))
        if table[:, m].sum() > 0
    )
    alive = float(table.shape[1] - (table == 0).all(0).sum())
    check("PNN.25", total, alive, name)
    columns = [
        paired(table[j], *table[torch.arange(len(table)) != j])
        for j in range(len(table))
    ]
    check("PNN.25", sum(columns), alive, "columns added")
fig, (left, right) = figures.panels(2)
values = [
    first.sum() / 19,
    paired(first, second) / 3,
    paired(first, second[[1, 0, 2]]) / 3,
]
left.bar(
    ["pooled", "paired", "paired,\nreordered"], values, color=[BLUE, YELLOW, YELLOW]
)
left.axhline(0.5, color=GREY, ls="--", lw=1)
left.set(ylabel="share of column 1", title="By hand, column 1 of 2")
generator = torch.Generator().manual_seed(5)
table, found = tables["layer 2"], []
for _ in range(2000):
    mixed = [row[torch.randperm(12, generator=generator)] for row in table]
    found.append(float(paired(mixed[2], *mixed[:2])) / alive)
right.hist(found, bins=30, color=YELLOW)
right.axvline(float(table[2].sum() / table.sum()), color=BLUE, label="pooled")
right.set(xlabel="share of column 3", ylabel="orders", title="Trained, 2,000 orders")
right.legend(fontsize=8)
fig.suptitle("Paired shares depend on how units are numbered", x=0.02, ha="left")
print(
    f"trained, layer 2, last column: pooled {table[2].sum() / table.sum():.2f}",
    end=", ",
)
print(f"paired from {min(found):.2f} to {max(found):.2f}")
plt.show()

# %% [markdown]
# ## 8. Does a zero lateral begin as the baseline, and stay?
#
# **It begins there. After one step it does not stay there: the laterals have slopes from the start, and their features add a kernel to the
# column's own. That can help or harm.**
#
# Set all $U$ of a new column to zero. In (PNN.2) nothing arrives from the side, in any layer:
#
# $$ U_i^{(k:j)}=0\;\;\forall i,j \;\Rightarrow\; h_i^{(k)}=f\bigl(W_i^{(k)}h_{i-1}^{(k)}+b_i^{(k)}\bigr) \tag{PNN.26} $$
#
# So at step zero it is the baseline with the same $W$ and $b$. Now one step of gradient descent on an example $x$, with the slope $\delta$
# of the loss in a layer's sum $z=Wh+\sum_jU^{(j)}h^{(j)}+b$. All of $W$, $U$ and $b$ move by (PNN.4). Look at another example $x'$, whose
# activations below the layer are $h'$ and $h^{(j)\prime}$. As long as the layers below do not move,
#
# $$ z'_{\text{after}}-z' = -\eta\,\delta\,\Bigl(h^{\!\top}h'+\sum_{j<k}h^{(j)\top}h^{(j)\prime}+1\Bigr) \tag{PNN.27} $$
#
# If the column's layers below are trained in the same step, $h'$ is to be taken after it, and $W(h'_{\text{after}}-h')$ is added, of the same
# order in $\eta$. What comes from the old columns stays as it is.
#
# A network of its own has the first product and the one. The laterals add how alike $x$ and $x'$ look *to the old columns*. If these see
# classes, a step on one example helps its class. If they take for alike what the new task tells apart, it harms.
#
# Harm needs no such features, though. Take a squared error of the outputs, train the output layer alone, and let $x'=x$: a step multiplies
# the error by $1-\eta\,(h^{\!\top}h+\dots+1)$. With the rate that is best for the baseline the error becomes zero there, and the new column
# overshoots, to minus the sum of the laterals' products over the baseline's. "Starts as the baseline and is never below it" does not
# follow.

# %%
own, old = torch.tensor([2.0, 1.0]), torch.tensor([3.0, 1.0, 2.0])
eta = 1 / (own @ own + 1)  # the baseline's best rate
for name, kernel in (
    ("baseline", own @ own + 1),
    ("laterals", own @ own + old @ old + 1),
):
    print(f"{name}: after a step the error is {1 - eta * kernel:.2f} of what it was")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.26)
def with_last(sizes, k, c, gain):
    """A network of k columns, the last one's hidden layers, and its parameters."""
    made = []

    def make(_):
        made.append(stack(*sizes))
        return made[-1]

    network = ProgressiveNetwork(make, lateral_gain=gain)
    for j in range(k - 1):
        network.add_column(f"task {j}", 2)
    return network, made, network.add_column("new", c)


def zero_column(c, hidden=2):
    """Three columns, U = 0; the hidden layers of the last, and its head W, b, U."""
    network, made, parameters = with_last((5, 4, hidden), 3, c, 0.0)
    by_shape = {tuple(p.shape): p for p in parameters}
    return network, made[-1], [by_shape[s] for s in ((c, 4), (c,), (c, 8))]


torch.manual_seed(2)
for c, hidden in ((3, 2), (7, 1), (2, 4)):
    new, layers, (W, b, U) = zero_column(c, hidden)
    x = normal(6, 5)
    h, rows = x.T, new.run(x, "new")[1]
    for layer, row in zip(layers[::2], rows, strict=True):
        h = torch.relu(layer.weight @ h + layer.bias[:, None])  # (PNN.26)
        check("PNN.26", h.T, row[-1], "a hidden layer")
    single_net = h.T @ W.T + b
    check("PNN.26", new(x, "new"), single_net, f"{hidden} hidden layers")
    with torch.no_grad():
        U += 0.01
    differs = not torch.allclose(new(x, "new"), single_net, rtol=1e-4)
    check("PNN.26", differs, True, "and no more, once a lateral of the head has moved")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.27)
for c, eta in ((3, 0.7), (7, 0.1)):
    new, layers, head_weights = zero_column(c)
    x, other, label = normal(1, 5), normal(1, 5), torch.tensor([1])
    h, h_other = layers(x)[0].detach(), layers(other)[0].detach()
    old, old_other = (new.features(v, "new").layers[-1][0].split(4) for v in (x, other))
    z, before = new(x, "new"), new(other, "new").detach()
    (delta,) = torch.autograd.grad(F.cross_entropy(z, label), z)
    optimiser = torch.optim.SGD(head_weights, lr=eta)  # the layer alone: exact
    F.cross_entropy(new(x, "new"), label).backward()
    optimiser.step()
    moved = (new(other, "new") - before)[0].detach()
    kernel = h @ h_other + sum(a @ b for a, b in zip(old, old_other, strict=True)) + 1
    check(
        "PNN.27",
        -eta * delta[0] * kernel,
        moved,
        f"output layer, {c} outputs, η = {eta}",
    )
W, b = normal(4, 6).requires_grad_(), normal(4).requires_grad_()  # a hidden layer
U = [torch.zeros(4, n, requires_grad=True) for n in (6, 3)]
h, other = ([normal(n) for n in (6, 6, 3)] for _ in range(2))


def hidden_sum(W, b, U, h):
    return W @ h[0] + sum(u @ g for u, g in zip(U, h[1:], strict=True)) + b


z = hidden_sum(W, b, U, h)
loss = (normal(3, 4) @ z.tanh()).square().sum()
delta, *slopes = torch.autograd.grad(loss, (z, W, b, *U))
W_, b_, *U_ = [p - 0.3 * s for p, s in zip((W, b, *U), slopes, strict=True)]
moved = (hidden_sum(W_, b_, U_, other) - hidden_sum(W, b, U, other)).detach()
kernel = h[0] @ other[0] + sum(a @ b for a, b in zip(h[1:], other[1:], strict=True)) + 1
check("PNN.27", -0.3 * delta * kernel, moved, "a hidden layer, the layer below held")


def below_output(x):  # activations below the output layer, the column's own last
    return [h[0] for h in new.run(x, "new")[1][-1]]


new, _, (W, b, U) = zero_column(3)
with torch.no_grad():
    U.copy_(0.3 * normal(*U.shape))
x, other, eta = normal(1, 5), normal(1, 5), 0.2
before, old_W = new(other, "new")[0].detach(), W.detach().clone()
below, other_below = below_output(x), below_output(other)
z = new(x, "new")
(delta,) = torch.autograd.grad(F.cross_entropy(z, torch.tensor([1])), z)
optimiser = torch.optim.SGD(new.columns[-1].parameters(), lr=eta)  # all of its layers
F.cross_entropy(new(x, "new"), torch.tensor([1])).backward()
optimiser.step()
after = below_output(other)
kernel = sum(a @ b for a, b in zip(below, after, strict=True)) + 1
typed = old_W @ (after[-1] - other_below[-1]) - eta * delta[0] * kernel
moved = (new(other, "new")[0] - before).detach()
check(
    "PNN.27", typed.detach(), moved, "all layers trained: with the term that is added"
)
share = (typed + eta * delta[0] * kernel).norm() / typed.norm()
assert share > 0.01, "the layer below has not moved"

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two heat maps of products of activations between 60 mirrored images, sorted by digit, 20 each. Left, from an untrained column of its own: values from 0.1 to 0.4. Right, added over two trained columns: a thousand times larger values, and larger for two images of one digit."}} tags=["hide-input"]
# @title Figure: the kernel of a new column and that of its laterals
torch.manual_seed(3)
fresh = stack(64, 12, 2)
rows = torch.cat([torch.nonzero(labels == y)[:20, 0] for y in range(3)])
mirrored = looks["mirrored"].flatten(1)[rows]
own = fresh(mirrored).detach()
old = network.features(mirrored, task).layers[1]
same = labels[rows][:, None] == labels[rows]
fig, axes = figures.panels(2)
for ax, name, h in zip(
    axes, ("own, untrained", "laterals, trained"), (own, old), strict=True
):
    kernel = h @ h.T
    shown = ax.imshow(kernel)
    fig.colorbar(shown, ax=ax, shrink=0.8)
    ax.set(title=name, xlabel="example", ylabel="example")
    contrast = kernel[same].mean() / kernel[~same].mean()
    print(f"{name}: mean {kernel.mean():.1g}, same digit over other {contrast:.2f}")
fig.suptitle("Trained features outweigh fresh ones", x=0.02, ha="left")
plt.show()

# %% [markdown]
# Above, the network of section 5 is asked a new question about mirrored images, as its fourth task. For the output layer, the products over
# the trained columns are about a thousand times those over the fresh one, and larger where two images show the same digit. At a rate that
# suits the baseline such a column overshoots; at one that suits it, the first steps are the laterals' alone.
#
# *Two zeros.* An adapter can begin at nothing in two ways, $U=0$ or $\alpha=0$. With $a=V[\alpha_1h^{(1)};\dots]$, $V_j$ the part of $V$
# that reads column $j$, and $e=f'(a)\odot U^{\!\top}\delta$, its slopes are
#
# $$ \nabla_{\!U}=\delta f(a)^{\!\top}, \quad \nabla_{\!V_j}=\alpha_j\,e\,h^{(j)\top}, \quad \nabla_{\!\alpha_j}=h^{(j)\top}V_j^{\!\top}e \tag{PNN.28} $$
#
# With $U=0$ alone, $e=0$, but $U$ has a slope wherever $f(a)\neq0$: alive. With $\alpha=0$ alone, $a=0$. The slope of $V$ vanishes, that of
# $U$ if $f(0)=0$, that of $\alpha$ if $f'(0)=0$. For a ReLU PyTorch takes $f'(0)=0$, so $\alpha=0$ alone is dead already. With both at
# zero, all three vanish for every $f$ with $f(0)=0$, and no step of any size brings them back. A bias of $V$ changes that, for then $a$ is
# not zero. The library's $V$ has one, drawn at random.


# %%
def slopes_of_adapter(f, U, V, alpha, bias=0.0):
    """Largest slope of U, V and α for a random δ."""
    leaves = [torch.as_tensor(p).clone().requires_grad_() for p in (U, V, alpha)]
    U, V, alpha = leaves
    scaled = torch.cat([s * h for s, h in zip(alpha, olds, strict=True)])
    z = U @ f(V @ scaled + bias)
    return [g.abs().max() > 0 for g in torch.autograd.grad(delta @ z, leaves)]


# %%
olds, delta = [normal(4).relu(), normal(3).relu()], normal(5)
V, bias = normal(6, 7), normal(6)
for U0, a0, f, b in itertools.product(
    (1, 0), (1, 0), (torch.relu, torch.tanh), (0.0, bias)
):
    alive = slopes_of_adapter(f, U0 * normal(5, 6), V, a0 * torch.ones(2), b)
    if not (U0 and a0):
        text = f"U = {'random' if U0 else 0}, α = {a0}, {f.__name__}, bias {b is bias}"
        print(text, "→ slopes of U, V, α:", [bool(a) for a in alive])

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.28)
for f, b in itertools.product(
    (torch.relu, torch.tanh, F.softplus), (torch.zeros(6), bias)
):
    for U0, alpha in (
        (1, [0.3, -1.2]),
        (0, [0.3, 2.0]),
        (1, [0.0, 0.0]),
        (0, [0.0, 0.0]),
    ):
        U, alpha = U0 * normal(5, 6), torch.tensor(alpha)
        leaves = [p.clone().requires_grad_() for p in (U, V, alpha)]
        u, v, s = leaves
        into = torch.cat([c * h for c, h in zip(s, olds, strict=True)])
        found = torch.autograd.grad(delta @ (u @ f(v @ into + b)), leaves)
        a = (
            V @ torch.cat((alpha[0] * olds[0], alpha[1] * olds[1])) + b
        ).requires_grad_()
        (bent,) = torch.autograd.grad(f(a).sum(), a)  # f′(a)
        e, parts = bent * (U.T @ delta), V.split((4, 3), 1)
        by_U = torch.outer(delta, f(a).detach())
        pairs = [*zip(alpha, olds, parts, strict=True)]
        by_V = torch.cat([x * torch.outer(e, h) for x, h, _ in pairs], 1)
        by_alpha = torch.stack([h @ part.T @ e for _, h, part in pairs])
        which = "random U" if U0 else "U = 0"
        text = f"{f.__name__}, bias {b is bias}, {which}, α {alpha.tolist()}"
        for left, right, name in zip((by_U, by_V, by_alpha), found, "UVα", strict=True):
            check("PNN.28", left, right, f"slope of {name}: {text}")
torch.manual_seed(4)
tried = grown(5, 4, 3, 2, 1, 6, lateral_gain=0.0, scale_init=0.0)
new = tried.add_column("new", 2)
tried(normal(9, 5), "new").square().sum().backward()
moves = [bool(p.grad.abs().max() > 0) for p in new if p.shape == (2, 6)]
check("PNN.28", moves, [True], "the library's U has a slope, with both at zero")

# %% [markdown]
# ## 9. How large should U begin?
#
# **If every lateral is drawn like $W$ and columns are of one size, a sum grows with the root of their number. The factor $1/\sqrt{k-1}$
# holds it at $\sqrt2$ times the baseline's, zero at one.**
#
# Draw the entries of $W$ independently with mean zero and variance $s^2$, and those of each $U^{(j)}$ as $\gamma$ times such. Cross terms
# have the mean zero. With $|h|^2$ for sums of squares and no bias,
#
# $$ \mathrm E\,z^2 = s^2\Bigl(|h^{(k)}|^2+\gamma^2\sum_{j<k}|h^{(j)}|^2\Bigr) \tag{PNN.29} $$
#
# If all columns have activations of the same size, the factor on the baseline's is $1+(k-1)\gamma^2$: it is $k$ for $\gamma=1$, two for
# $\gamma=1/\sqrt{k-1}$, and one for $\gamma=0$. Where trained columns have larger activations than a fresh one, as in section 8, the factor
# is larger.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Standard deviation of a sum z over the baseline's against the number of columns from 1 to 16. For factor 1 it rises as the square root of k to 4; for one over the root of k minus 1 it is 1.41 from the second column on; for zero it is 1. Dots of a simulation lie on the lines."}} tags=["hide-input"]
# @title Figure: spread of a sum at the first step; checks of (PNN.29)
def second_moment(own, others, s2, gamma):  # the right side of (PNN.29)
    return s2 * ((own**2).sum() + gamma**2 * sum((h**2).sum() for h in others))


for widths, gamma in (((2, 3, 1), 0.7), ((3, 4), 1.0), ((1, 2, 2, 2), 0.0)):
    own, *others = [normal(n) for n in widths]
    signs = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=sum(widths))))
    scaled = torch.cat([own, *(gamma * h for h in others)])
    exact = ((signs @ scaled) ** 2).mean()  # entries ±½: all of them
    check(
        "PNN.29",
        second_moment(own, others, 0.25, gamma),
        exact,
        f"all signs, γ = {gamma}",
    )
for k, gain in ((3, 1.0), (3, 0.5), (5, 0.0), (5, 0.5)):
    torch.manual_seed(5)
    tall, made, _ = with_last((9, 30, 1), k, 50_000, gain)
    x = 3 * normal(1, 9)
    z, own = tall(x, "new").detach()[0], made[-1](x)[0].detach()
    others = tall.features(x, "new").layers[0][0].split(30)
    typed = second_moment(own, others, 1 / 90, gain) + 1 / 90  # a bias, too
    text = f"the library, k = {k}, gain {gain}"
    check("PNN.29", typed, (z**2).mean(), text, rtol=0.02)
fig, ax = plt.subplots()
generator = torch.Generator().manual_seed(6)
ks, width, draws = np.arange(1, 17), 50, 4000
h = torch.randn(16, width, generator=generator)
h = h / h.norm(dim=1, keepdim=True)  # columns of equal size
sums = torch.einsum("zkn,kn->zk", torch.randn(draws, 16, width, generator=generator), h)
for label, rule, color in (
    ("1", lambda k: 1.0, ORANGE),
    ("1/√(k−1)", lambda k: 1 / math.sqrt(max(k - 1, 1)), BLUE),
    ("0", lambda k: 0.0, GREEN),
):
    line = [math.sqrt(second_moment(h[0], h[1:k], 1.0, rule(k))) for k in ks]
    found = [(sums[:, 0] + rule(k) * sums[:, 1:k].sum(1)).std() for k in ks]
    ax.plot(ks, line, color=color, label=label)
    ax.plot(ks, found, "o", ms=4, color=color)
    print(f"factor {label}: {line[-1]:.2f} times the baseline's with 16 columns")
ax.set(xlabel="columns k", ylabel="spread of z / baseline's", ylim=(0, 4.4))
ax.set_title("Only the full laterals grow with k")
ax.legend(fontsize=8, title="factor on U", title_fontsize=8)
plt.show()

# %% [markdown]
# The library draws every $U$ like a $W$ that reads as many numbers as one column has, times `lateral_gain`.
#
# ## 10. What can move a frozen output?
#
# **Four things, though no slope reaches it. Zero forgetting (PNN.5) is about equations; in a program, state must stay as well.**
#
# *Buffers.* BatchNorm in training mode updates running statistics without a slope. `requires_grad_(False)` does not stop it. The
# library puts frozen columns in evaluation mode, and `train()` leaves them there.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Buffers
torch.manual_seed(6)


def normed(k=0):
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU())


x, fixed = normal(32, 5), normed().requires_grad_(False)
before = fixed.eval()(x)
fixed.train()(x + 1)
print(
    "frozen by requires_grad alone, outputs kept:", torch.equal(before, fixed.eval()(x))
)


def frozen_and_trained(optimiser_of):
    """Outputs of the first task before and after training the second."""
    network = ProgressiveNetwork(normed)
    network.add_column("old", 3)
    network(x, "old").square().sum().backward()
    network.eval()
    before = network(x, "old").detach()
    network.add_column("new", 3)
    optimiser = optimiser_of(network.parameters())  # all of them
    network.train()
    for _ in range(3):
        network(x + 1, "new").square().sum().backward()
        optimiser.step()
    network.eval()
    return before, network(x, "old").detach()


before, after = frozen_and_trained(lambda p: torch.optim.SGD(p, lr=0.1))
check("PNN.5", after, before, "the library: the same bits", rtol=0, atol=0)

# %% [markdown]
# *Optimisers with a mind of their own.* AdamW shrinks every parameter whose slope is not `None`, zero or not. The library gives you the
# parameters of the new column alone. Those of frozen columns have no slopes, so that an optimiser over everything skips them.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title AdamW and zero slopes
weight = nn.Parameter(torch.ones(3))
optimiser = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1)
weight.requires_grad_(False)
weight.grad = torch.zeros(3)
optimiser.step()
print(f"AdamW, slopes of zero, a step: {weight[0]:.2f}")
weight.grad = None
optimiser.step()
print(f"AdamW, slopes of None, a step more: {weight[0]:.2f}")
before, after = frozen_and_trained(
    lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1)
)
check("PNN.5", after, before, "the library, AdamW over all parameters", rtol=0, atol=0)

# %% [markdown]
# *Stale slopes.* Freezing stops new slopes and keeps the last one. An optimiser that holds the parameter applies it again, at every step;
# momentum goes on even after it is set to zero.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Stale slopes and momentum
weight = nn.Parameter(torch.zeros(1))
optimiser = torch.optim.SGD([weight], lr=1.0, momentum=0.5)
weight.grad = torch.ones(1)
path = []
weight.requires_grad_(False)
for slope in (torch.ones(1), torch.zeros(1), None):
    weight.grad = slope
    optimiser.step()
    path.append(round(float(weight), 2))
print("after a stale slope, a slope of zero, none:", path)
before, after = frozen_and_trained(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
check("PNN.5", after, before, "the library, SGD with momentum over all", rtol=0, atol=0)
kept = ProgressiveNetwork(normed)
optimiser = torch.optim.SGD(kept.add_column("old", 3), lr=0.1, momentum=0.9)
kept(x, "old").square().sum().backward()
optimiser.step()
kept.eval()
before = kept(x, "old").detach()
kept.add_column("new", 3)
for _ in range(3):  # goes on with stale slopes, then with zeros
    optimiser.step()
    optimiser.zero_grad(set_to_none=False)
after = kept(x, "old").detach()
text = "the library, an optimiser made before, with stale slopes and momentum"
check("PNN.5", after, before, text, rtol=0, atol=0)

# %% [markdown]
# The library gives a column new parameters when it freezes it, so an optimiser from before holds none that are in use. If you freeze by
# hand, set the slopes to None, or make a new optimiser for each column.
#
# *Another batch.* The same example in a batch of another size may go through another kernel, with another order of summation. Bits can
# change, values cannot beyond rounding. So compare old outputs on the same batch.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Another batch size
first = network(inputs[:1], "upright")
whole = network(inputs, "upright")[:1]
print(
    "one image alone or among 539, equal to twelve digits:",
    torch.allclose(first, whole, rtol=1e-12, atol=1e-12),
)

# %% [markdown]
# ## 11. Conventions and errata
#
# **The paper leaves a few things open. Six statements, in it, in public code or easily made, do not hold.**
#
# <details><summary>Readings</summary>
#
# As we remember the paper and read the code of Avalanche, Doric and a PyTorch port by TomVeniat.
#
# | | the paper | ports | ours |
# |---|---|---|---|
# | laterals from the input | not said | Avalanche has them; Doric creates them, unused | none (section 3) |
# | laterals to the outputs | Eq. 1 holds for the last layer as well | Avalanche: none | yes |
# | adapter width | as wide as the layer | the same | `adapter_width`, default the same |
# | $\alpha$ | a learned scalar; one in all, or one a column? | Avalanche: one a column, from a unit normal | one a column, 0.1 (`scale_init`) |
# | biases of laterals | not written | Doric: one for each source, so $k-1$ too many | none but $V$'s |
# | share of a column | features paired by number | none | pooled (section 7) |
# | actions in the sensitivity | drawn by the policy | none | summed exactly |
#
# </details>
#
# *Shape.* As the paper prints it, a lateral has
#
# $$ U_i^{(k:j)}\in\mathbb R^{n_i\times n_j} \tag{PNN.E1} $$
#
# but $j$ is a column, not a layer; it reads $n_{i-1}$ numbers. *Order of growth.* As we remember it, the text says of adapters that
# lateral parameters stay of the order of one column, as if
#
# $$ |U_i^{(k)}|+|V_i^{(k)}| = |U_i^{(2)}|+|V_i^{(2)}| \quad\text{for all } k \tag{PNN.E2} $$
#
# That is true of $U$. $V$ grows with $k$ (PNN.15), and the paper's own Appendix B says that parameters grow with the square. *Outputs
# through a ReLU.* One port ends in a ReLU before the softmax. If that changed nothing, then with $z$ before it
#
# $$ \nabla_{\!z}\bigl(-\log\operatorname{softmax}(f(z))_y\bigr) = \operatorname{softmax}(f(z))-e_y \tag{PNN.E3} $$
#
# But where $z_y<0$ the right output has no slope from that example. The other outputs are zero or more, so meanwhile the loss of that
# example is at least $\log c$. *Created is not used.* Of a column in the shape of section 3,
#
# $$ \#\{\text{weights with a slope}\} = k\,n\,(d+q) \tag{PNN.E4} $$
#
# The growth that is used is that of (PNN.14). *Raw ratios.* Whoever divides areas below zero, as in section 4, reads
#
# $$ 100\,A/A_1>100 \iff A>A_1 \tag{PNN.E5} $$
#
# *Sensitivity from stored activations.* In section 5, with the layers above held still, one takes for a frozen column $j<k$
#
# $$ \frac{dz}{dh_i^{(j)}} = \frac{\partial z}{\partial h_i^{(j)}}\Big|_{h_{i+1}^{(1)},\dots,h_{i+1}^{(k-1)}\text{ fixed}} \tag{PNN.E6} $$
#
# It is true in the last hidden layer, and below it in general only where nothing passes through the frozen layers above.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title E1 to E3 refuted, and what is true
def uneven(k):
    sizes = [9, 7, 5, 4]
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*itertools.chain(*pairs))


shaped = ProgressiveNetwork(uneven)
shaped.add_column("one", 3)
shapes = [list(p.shape) for p in shaped.add_column("two", 3) if p.dim() > 1]
sizes, added = [7, 5, 4, 3], [s for s in shapes if shapes.count(s) > 1][::2]
printed = [[sizes[i], sizes[0]] for i in (1, 2, 3)]  # j = 1
refute("PNN.E1", printed, added, "n_j taken for the width of layer j = 1")
typed = [[sizes[i], sizes[i - 1]] for i in (1, 2, 3)]
check("PNN.2", typed, added, "the library's laterals: n_i × n_{i−1}")

sizes = (6, 5, 4, 3)
laterals = {}
for k in (2, 8):
    both = [count(grown(*sizes, K, 5).parameters()) for K in (k - 1, k)]
    laterals[k] = both[1] - both[0] - single(*sizes)
    typed = adapters(*sizes, k, 5) - adapters(*sizes, k - 1, 5) - single(*sizes)
    check("PNN.15", typed, laterals[k], f"adapters of column {k}, r = n")
refute(
    "PNN.E2", laterals[8], laterals[2], f"{laterals[8]} against {laterals[2]} numbers"
)

for z, y in (
    (torch.tensor([1.5, -0.3, 0.4]), 1),
    (torch.tensor([-1.0, -2.0, 0.1, 3.0]), 0),
):
    z.requires_grad_()
    unit, c = torch.eye(len(z))[y], len(z)
    (plain,) = torch.autograd.grad(-z.log_softmax(0)[y], z)
    check("PNN.22", z.softmax(0) - unit, plain, "slope of −log π without the ReLU")
    loss = -z.relu().log_softmax(0)[y]
    (found,) = torch.autograd.grad(loss, z)
    refute(
        "PNN.E3", z.relu().softmax(0) - unit, found, f"{c} outputs, the right one dead"
    )
    up = z.detach().abs().requires_grad_()
    (alive,) = torch.autograd.grad(-up.relu().log_softmax(0)[y], up)
    typed = up.relu().softmax(0) - unit  # E3 as displayed
    check("PNN.22", typed, alive, "E3's form holds where all outputs are positive")
    assert found[y] == 0
    assert loss >= math.log(c)
print(f"three outputs: the loss is at least {math.log(3):.2f}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title E4 to E6 refuted, and what is true
for d, n, c, k in ((784, 256, 10, 8), (6, 4, 3, 2)):
    created, dead = unused(d, n, c, k)
    assert k * n * (d + n + c) == created
    refute(
        "PNN.E4", k * n * (d + n + c), created - dead, f"{d}-{n}-{n}-{c}, column {k}"
    )
    grows = [linear_laterals(d, n, 3, c, K) for K in (k - 1, k)]
    biases = 2 * n + c
    check(
        "PNN.14",
        grows[1] - grows[0] - biases,
        created - dead,
        "the growth that is used",
    )
    share = Fraction(k - 1, k) * Fraction(d, d + n + c)
    assert share == Fraction(dead, created)

A, A_1, A_r = -7.1, -13.6, -21.0
refute("PNN.E5", 100 * A / A_1 > 100, A > A_1, "a better run, both areas below zero")
score = float(transfer_score(*(torch.tensor([v]) for v in (A, A_1)), A_r))
R, g = 100 * A / A_1, A_r / A_1
check("PNN.21", shifted(R, g), score, "and what the library says")

newest = network.columns[-1].layers
for j in (0, 1):
    through = newest[1].lateral.weight.split(12, 1)[j]
    open_ = (seen[1, 2] > 0).double()  # units of the newest column that are not dead
    direct = torch.einsum("cu,bu,um->bcm", newest[2].own.weight, open_, through)
    fisher = feature_fisher(direct, pi).diagonal(dim1=1, dim2=2).mean(0)
    check(
        "PNN.22",
        (spread[0, j] * fisher).detach(),
        stored[0, j],
        f"stored: by the lateral of column {j + 1} alone",
    )
    bend = curvature((0, j), inputs).diagonal(dim1=1, dim2=2).mean(0)
    found = (spread[0, j] * bend).sum()
    refute(
        "PNN.E6",
        stored[0, j].sum(),
        found,
        f"stored activations, layer 1, column {j + 1}",
    )
    check(
        "PNN.23", sensitivity[0, j].sum(), found, "all slopes: the curvature for noise"
    )

# %% [markdown]
# ## 12. Harder exercises
#
# Fill in a stub, run it, and call its checker, such as `check_exercise_5(all_columns)`: it prints "right", or says what is wrong.
#
# **5 (calculation).** Let the columns get narrower: column $k$ has the width $n\rho^{k-1}$ in every layer, $0<\rho<1$, and linear laterals.
# How many weights does one hidden layer have in all columns together, however many there are? (Widths need not be integers.)


# %% tags=["exercise-5"]
def all_columns(n: float, rho: float) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(all_columns):
    for n, rho in ((256, 0.5), (10, 0.9), (7, 0.1), (1, 2 / 3)):
        answer = float(torch.as_tensor(all_columns(n, rho)).double())
        widths = [n * rho**k for k in range(600)]
        total = sum(
            w * s for w, s in zip(widths, itertools.accumulate(widths), strict=True)
        )
        assert abs(answer - total) < 1e-6 * total, (
            f"n = {n}, ρ = {rho:.2f}: {answer:.4f}, 600 columns have {total:.4f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# Column $k$ reads $n(1-\rho^k)/(1-\rho)$ numbers, its own width included, and has $n\rho^{k-1}$ units. Two geometric series. Halved each
# time, all columns together have $\frac83n^2$.
#
# ```python
# def all_columns(n, rho):
#     return n**2 / ((1 - rho) * (1 - rho**2))
# ```
#
# </details>
#
# **6 (code).** Return the sensitivities of one layer from its activations, the slopes of the outputs and the outputs, with no array larger
# than $J$: neither $F_z$ nor $F_h$.


# %% tags=["exercise-6"]
def sensitivities(h, J, z):
    """h (batch, n), J (batch, outputs, n), z (batch, outputs) -> (n,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(sensitivities):
    generator = torch.Generator().manual_seed(8)
    for batch, outs, n in ((7, 3, 4), (2, 2, 1), (30, 5, 6)):
        h, J, z = (
            3 * torch.randn(*shape, generator=generator) + 1
            for shape in ((batch, n), (batch, outs, n), (batch, outs))
        )
        given = [t.clone() for t in (h, J, z)]
        answer = torch.as_tensor(sensitivities(*given)).double()
        kept = all(torch.equal(a, b) for a, b in zip(given, (h, J, z), strict=True))
        assert kept, "it changes its arguments; compute with copies"
        assert answer.shape == (n,), f"shape {tuple(answer.shape)}, expected ({n},)"
        fisher = feature_fisher(J, z.softmax(1)).diagonal(dim1=1, dim2=2).mean(0)
        right = h.var(0, unbiased=False) * fisher
        error = float((answer - right).abs().max() / right.max())
        assert error < 1e-6, (
            f"batch {batch}, {outs} outputs, {n} features: off by {error:.1%}"
        )
    wide = torch.ones(1, 2, 30_000)  # F_h would have 900 million entries
    answer = sensitivities(torch.ones(1, 30_000), wide, torch.zeros(1, 2))
    assert len(answer) == 30_000, "30,000 features"
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# $F_h(m,m)$ is the variance over actions of the slopes $J_{am}$: mean square less square of the mean. Without the second term it is not
# that of $\log\pi$.
#
# ```python
# def sensitivities(h, J, z):
#     p = z.softmax(1).unsqueeze(1)
#     mean, square = (p @ J).squeeze(1), (p @ J**2).squeeze(1)
#     return h.var(0, unbiased=False) * (square - mean**2).mean(0)
# ```
#
# </details>
#
# **7 (calculation).** A linear output layer with a bias begins at $U=0$. $W$ and the bias learn at the rate $\eta$, the $U$'s at another,
# $\eta_U$. The error is squared, $\frac12(z-y)^2$, and there is one example, whose step may not make the error larger in size. How large
# may $\eta_U$ be, given an $\eta$ that the baseline survives?


# %% tags=["exercise-7"]
def largest_rate(eta: float, own, old) -> float:
    """own (n,), old: a list of activations of the frozen columns -> η_U"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-7-checker", "hide-input"]
# @title Checker 7
def check_exercise_7(largest_rate):
    generator = torch.Generator().manual_seed(9)
    for widths, share in (((3, 4), 0.2), ((2, 5, 1), 1.0), ((4, 2, 2, 6), 1.9)):
        own, *old = [torch.rand(n, generator=generator) for n in widths]
        eta = share / float(own @ own + 1)
        answer = float(torch.as_tensor(largest_rate(eta, own, old)).double())
        for factor, grows in ((1 - 1e-6, False), (1 + 1e-6, True)):
            W, b = torch.zeros(len(own)), torch.zeros(())
            U = [torch.zeros(len(h)) for h in old]
            error = W @ own + b - 1.0  # y = 1
            W, b = W - eta * error * own, b - eta * error
            U = [u - factor * answer * error * h for u, h in zip(U, old, strict=True)]
            z = W @ own + b + sum(u @ h for u, h in zip(U, old, strict=True))
            larger = bool((z - 1).abs() > error.abs())
            assert larger == grows, (
                f"widths {widths}, η = {eta:.3f}: {answer:.4f} is not the limit"
            )
    print("right")


# %% [markdown]
# <details><summary>Solution 7</summary>
#
# (PNN.27) with $x'=x$ and two rates: the error is multiplied by $1-\eta(|h|^2+1)-\eta_U\sum_j|h^{(j)}|^2$, which must not pass $-1$.
#
# ```python
# def largest_rate(eta, own, old):
#     return (2 - eta * (own @ own + 1)) / sum(h @ h for h in old)
# ```
#
# </details>

# %% [markdown]
# ## 13. Symbols and further reading
#
# Beside those of [the lesson](progressive_nets.ipynb):
#
# | symbol | meaning |
# |---|---|
# | $d$, $n$, $c$; $P$ | inputs, width of a hidden layer, outputs; parameters of a column on its own (1) |
# | $q$ | $(L-2)n+c$, outputs of all layers that read hidden ones (2) |
# | $S$; $\eta$ | sum of matrices that read $x$; rate of gradient descent (3); in section 4 $S$ is the transfer score |
# | $A$, $A_1$, $A_r$; $R$, $g$ | areas of network, baseline, random policy; raw ratio, $A_r/A_1$ (4) |
# | $z$, $J$; $F_z$, $F_h$ | outputs, their slopes in features; Fisher matrices (5) |
# | $\sigma$, $\varepsilon$; $\kappa$, $\Lambda$ | noise over a feature's spread, the noise; a divergence, inverse squared noise at it (6) |
# | $\delta$, $a$, $e$ | slope of the loss in a sum; the sum in an adapter, the slope in it (8) |
# | $s^2$, $\gamma$ | variance of an entry of $W$; factor on $U$ (9) |
#
# - The paper: [Rusu et al. 2016](https://arxiv.org/abs/1606.04671).
# - Rusu et al., [*Sim-to-Real Robot Learning from Pixels with Progressive Nets*](https://arxiv.org/abs/1610.04286), 2016: narrower columns
#   for a real arm.
# - Schwarz et al., [*Progress & Compress*](https://arxiv.org/abs/1805.06370), 2018: one active column, and a store of constant size.
# - Kirkpatrick et al., [*Overcoming Catastrophic Forgetting in Neural Networks*](https://arxiv.org/abs/1612.00796), 2016: the Fisher matrix
#   holds weights in place instead of measuring features.
# - Fernando et al., [*PathNet*](https://arxiv.org/abs/1701.08734), 2017, and Mallya and Lazebnik,
#   [*PackNet*](https://arxiv.org/abs/1711.05769), 2017: parts of one network are frozen.
# - Rebuffi, Bilen and Vedaldi, [*Learning Multiple Visual Domains with Residual Adapters*](https://arxiv.org/abs/1705.08045), 2017, and
#   Houlsby et al., [*Parameter-Efficient Transfer Learning for NLP*](https://arxiv.org/abs/1902.00751), 2019: a frozen base, small trained
#   parts inside.
# - Hu et al., [*LoRA*](https://arxiv.org/abs/2106.09685), 2021: a side path that begins at zero, section 8.
# - Pfeiffer et al., [*AdapterFusion*](https://arxiv.org/abs/2005.00247), 2020: adapters of many tasks, mixed.
# - Jacot, Gabriel and Hongler, [*Neural Tangent Kernel*](https://arxiv.org/abs/1806.07572), 2018: the kernel of a step, over all layers.
# - Rusu et al., [arXiv 2210.12448](https://arxiv.org/abs/2210.12448), 2022: transfer in Atari by fine-tuning, with later agents.
