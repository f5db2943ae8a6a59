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
# # Progressive networks: build beside what you know
#
# **The problem.** A network has learned a task; now it is trained on the next one. It starts with useful features, and it overwrites them: the first task is *forgotten*.
#
# **The idea.** Leave what was learned alone. Rusu et al. give every task a network of its own, a *column*. Earlier columns are frozen. Each layer $i$ of the new column $k$ reads the layer below in its own column, and, through new weights $\mathbf U$, in all earlier ones:
#
# $$ \mathbf h_i^{(k)}=f\Bigl(\mathbf W_i^{(k)}\mathbf h_{i-1}^{(k)}+\sum_{j<k}\mathbf U_i^{(k:j)}\,\mathbf h_{i-1}^{(j)}+\mathbf b_i^{(k)}\Bigr) $$
#
# What an earlier column knows can be used, or not; and since it is frozen, it cannot be lost. The price: the number of weights grows with the square of the number of tasks, and the network must be told which task it is asked for.
#
# **Why one would want that.** The old data may be gone, so that one cannot train on both tasks; old answers may have to stay exactly as they are; new examples may be dear (a robot's, say), so that it pays to reuse what is known.

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
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from workedpapers.experiments import progressive_nets as experiment
from workedpapers.lab import check, explore, figures, setup
from workedpapers.progressive_nets import (
    ProgressiveNetwork,
    average_fisher_sensitivity,
    fisher_information,
    transfer_score,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
NEW, SIDE, OLD, SCRATCH, TUNED = (
    figures.COLORS[role] for role in ("learned", "fast", "muted", "baseline", "wrong")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Three columns of boxes, input at the bottom, two hidden layers, output on top. Columns 1 and 2 are frozen. Upward arrows within each column; slanted arrows from each hidden layer of column 1 to the next layer of columns 2 and 3, and from column 2 to column 3. Each column has an output for its own task."}} tags=["hide-input"]
# @title The idea in one picture: three tasks, three columns
fig, ax = plt.subplots(figsize=(6.5, 3.2))
ROWS = ["input x", "hidden 1", "hidden 2", "output"]
for k in range(3):
    color = NEW if k == 2 else OLD
    for i in range(1, 4):
        label = f"task {k + 1}" if i == 3 else f"$h_{i}^{{({k + 1})}}$"
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": color, "lw": 2}
        ax.text(3 * k, i, label, ha="center", va="center", bbox=box)
        up = {"arrowstyle": "->", "color": color, "lw": 1.6}
        ax.annotate("", (3 * k, i - 0.22), (3 * k, i - 0.78), arrowprops=up)
        if i > 1:
            for j in range(k):
                side = {"arrowstyle": "->", "color": SIDE if k == 2 else "0.7"}
                start, end = (3 * j + 0.35, i - 0.85), (3 * k - 0.5, i - 0.12)
                ax.annotate("", end, start, arrowprops=side)
    state = "trained now" if k == 2 else "frozen"
    ax.text(3 * k, 3.55, f"column {k + 1}: {state}", ha="center", color=color)
ax.plot([-0.6, 6.6], [0.1, 0.1], color="0.8", lw=6)
ax.text(7.0, 0.0, ROWS[0], fontsize=9)
ax.text(4.6, 1.62, "U", color=SIDE, fontsize=12)
for i in (1, 2, 3):
    ax.text(7.0, i, ROWS[i], va="center", fontsize=9)
ax.set(xlim=(-1, 8.4), ylim=(-0.2, 3.8))
ax.axis("off")
plt.show()

# %% [markdown]
# Slanted arrows are the lateral weights $\mathbf U$. Only what ends in the column of the present task is trained.
#
# **What we found.**
#
# - **It helps, and nothing is forgotten.** Catch, a small game in eight looks: beside a column for another look, a new one has 128% of the area above a random player's that a column from scratch has (median over 21 pairs, three seeds). The paper, on Pong in eight looks: 169%. The old column's answers stay the same, bit by bit.
# - **Fine-tuning helps more, and forgets.** 135% in area; afterwards its mean score on the first look is between −0.78 and −0.12 by look, where it was 1.00 (a random player has −0.40).
# - **Some of it may be width.** On rotated digits with 100 labels, seven *random* old columns help more than seven trained ones (area 82.3 and 77.6 of 100), and one column from scratch with 512 units as much (82.1; with 64 units 77.6). Trained columns win where their features fit: inverted digits, 9 points of area more than from scratch, with a random column 1.
#
# **Use it** where old answers must not move and the task is known when you ask. **Otherwise** fine-tune, or put a small adapter on one frozen network, this idea with less growth (not compared here).
#
# **Minutes:** forgetting 4 · columns 5 · what is trained 4 · scales 3 · whole method 4 · growth 4 · did it help 2 · which column 4 · it works 4 · worth 3.
#
# **Beside this lesson:** [the experiments](progressive_nets_experiments.ipynb), a figure for each question; [the theory](progressive_nets_theory.ipynb), with growth, cost, sensitivities, errata; the paper, Rusu et al. 2016 ([arXiv 1606.04671](https://arxiv.org/abs/1606.04671)); [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/progressive_nets.ipynb); [the source of the network](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/progressive_nets.py).
#
# Statements about the paper are from memory. Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. Forgetting, in numbers
#
# **Two tasks on the same five inputs: first $|x|$, then $x$.**
#
# Our network has two features, what $x$ is above zero and what it is below, and a head $\mathbf v$ with an answer $\mathbf v\cdot\mathbf h$. The head $(1,1)$ gives $|x|$: task 1 is solved. Now fine-tune: gradient descent on task 2, from there.

# %%
x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
h = torch.stack((x, -x)).relu()  # a row a feature
tasks = {1: x.abs(), 2: x}


def loss(v, task):
    return 0.5 * ((v @ h - tasks[task]) ** 2).mean()


path = [torch.tensor([1.0, 1.0])]  # solves task 1
for _ in range(12):
    slope = h @ (path[-1] @ h - tasks[2]) / 5
    path.append(path[-1] - 0.4 * slope)
for v in (path[0], path[-1]):
    print(v.numpy().round(2), *(f"loss {t}: {loss(v, t):.2f}" for t in (1, 2)))

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left: the two tasks over x from -2 to 2: the V of the absolute value and the straight line; they agree above zero. Middle: contours of task 1's loss over the two weights of the head, circles around (1, 1); the path of fine-tuning leads straight down to (1, -1). Right: losses over twelve steps on task 2: that of task 2 falls from 2 to 0, that of task 1 rises from 0 to almost 2."}} tags=["hide-input"]
# @title Two tasks, and the losses while the second is learned
fig, (left, middle, right) = figures.panels(3, columns=3)
left.plot(x, tasks[1], "o-", color=OLD, label="task 1: |x|")
left.plot(x, tasks[2], "s--", color=NEW, label="task 2: x")
left.set(xlabel="x", title="Two tasks")
left.legend(fontsize=8)
grid = torch.linspace(-1.6, 1.6, 60)
heights = [[float(loss(torch.stack((a, b)), 1)) for a in grid] for b in grid]
middle.contour(grid, grid, heights, levels=[0.1, 0.5, 1, 2, 3], colors=OLD)
middle.plot(*torch.stack(path).T, "o-", ms=4, color=NEW)
middle.annotate("solves 1", (1, 1), (-0.2, 1.25), color=OLD, fontsize=9)
middle.annotate("solves 2", (1, -1), (-0.3, -1.4), color=NEW, fontsize=9)
middle.set(xlabel="$v_1$", ylabel="$v_2$", title="Out of task 1's valley")
for task, color in ((1, OLD), (2, NEW)):
    right.plot([loss(v, task) for v in path], color=color, label=f"task {task}")
right.set(xlabel="steps on task 2", ylabel="loss", title="One gains, one loses")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# Nothing in the slope of task 2's loss knows of task 1, so nothing holds the weights there. How much is lost? The loss is quadratic in the head, and at task 1's minimum its slope is zero. So a move by $\boldsymbol\Delta$ costs task 1
#
# $$ \mathcal L_1(\mathbf v+\boldsymbol\Delta)-\mathcal L_1(\mathbf v)=\tfrac12\,\boldsymbol\Delta^{\!\top}\mathbf H\,\boldsymbol\Delta,\qquad\mathbf H=\tfrac1N\sum_n\mathbf h_n\mathbf h_n^{\!\top} \tag{PNN.1} $$
#
# whatever the reason for the move.


# %%
def forgotten(Delta, h):
    H = h @ h.T / h.shape[1]
    return 0.5 * Delta @ H @ Delta  # (PNN.1)


for v in path[1::4]:
    Delta = v - path[0]
    measured = loss(v, 1) - loss(path[0], 1)
    check("PNN.1", measured, forgotten(Delta, h), f"Δ = {Delta[1]:.2f}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (PNN.1) where features overlap
g = torch.Generator().manual_seed(1)
many, v1 = (torch.randn(*s, generator=g) for s in ((3, 40), (3,)))
Delta = torch.randn(3, generator=g)
grown = 0.5 * (((v1 + Delta) @ many - v1 @ many) ** 2).mean()
check("PNN.1", grown, forgotten(Delta, many), "three features that overlap")

# %% [markdown]
# **Change it.** In the first cell of this section, write `- 0.04 * slope` for `- 0.4 * slope`: learn more gently.
#
# <details><summary>What happens</summary>
#
# ```text
# [1.   0.23] loss 1: 0.30 loss 2: 0.75
# ```
#
# Twelve gentle steps forget less, and learn less. With 120 of them loss 1 comes to 1.97: what counts is how far the weights go, in directions that $\mathbf H$ sees. (Put the cell back, here and below.)
#
# </details>
#
# Here there is an easy way out: keep the head $(1,1)$, and give task 2 a head of its own, $(1,-1)$, on the same features. Both tasks are solved. But what if the old features do not suffice?

# %% [markdown]
# ## 2. A column beside the other
#
# **A third task: how far $x$ is beyond ±1, doubled on the right. No head on the two features can do it.**
#
# The best one, by least squares, misses by up to 0.8, at $x=1$. A new network from scratch could do it, but would have to find features of its own. So give the new network its own layers, *and* let them read the old features. Each hidden layer $i$ of column $k$ is
#
# $$ \mathbf h_i^{(k)}=f\Bigl(\mathbf W_i^{(k)}\mathbf h_{i-1}^{(k)}+\sum_{j<k}\mathbf U_i^{(k:j)}\,\mathbf h_{i-1}^{(j)}+\mathbf b_i^{(k)}\Bigr),\qquad\mathbf h_0^{(k)}=\mathbf x \tag{PNN.2} $$
#
# with $f$ the ReLU; the output layer has the same form without $f$. At $i=1$ there are no laterals: all columns read the same $\mathbf x$ already. (The paper prints no biases; code has them.)
#
# Column 2, by hand: one unit of its own in layer 1, $\max(x-1,0)$; one unit in layer 2, which reads it with weight 1, column 1's two features with $\mathbf U=(1,1)$, and has bias −1.

# %%
f = torch.relu
h1_1 = h  # layer 1 of column 1, frozen: above zero, below zero
h1_2 = f(torch.tensor([[1.0]]) @ x[None] - 1)  # layer 1 of column 2: its own
W, U, b = torch.tensor([[1.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[-1.0]])
h2_2 = f(W @ h1_2 + U @ h1_1 + b)  # (PNN.2)
third = torch.tensor([1.0, 0.0, 0.0, 0.0, 2.0])
head = torch.linalg.lstsq(h.T, third).solution
print("task 3:             ", third.numpy())
print("head on old features:", (head @ h).numpy().round(2))
print("column 2, layer 2:  ", h2_2[0].numpy())

# %% [markdown]
# One lateral product, and the old features serve a function that no head could make of them. With several earlier columns the sum is still *one* product: weights side by side, times stacked activations.
#
# $$ \mathbf W_i^{(k)}\mathbf h_{i-1}^{(k)}+\sum_{j<k}\mathbf U_i^{(k:j)}\mathbf h_{i-1}^{(j)}=\bigl[\,\mathbf U_i^{(k:1)}\cdots\mathbf U_i^{(k:k-1)}\ \mathbf W_i^{(k)}\bigr]\bigl[\,\mathbf h_{i-1}^{(1)};\cdots;\mathbf h_{i-1}^{(k)}\bigr] \tag{PNN.3} $$


# %%
def column(k):
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU())


torch.manual_seed(1)
network = ProgressiveNetwork(column)  # the library's
for task in ("first", "second", "third"):
    network.add_column(task, n_outputs=2)
points = torch.randn(6, 2)
output, hidden = network.run(points, "third")  # hidden[layer][column]
layer = network.columns[2].layers[1]  # W: own, the U side by side: lateral
print("U side by side:", tuple(layer.lateral.weight.shape), "for two columns of 4")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.2) and (PNN.3), unit by unit
W, b = layer.own.weight, layer.own.bias
U = layer.lateral.weight.split(4, 1)  # U[0] reads column 1, U[1] column 2
loops = torch.zeros(6, 3)
for n in range(6):
    for m in range(3):
        z = b[m] + W[m] @ hidden[0][2][n]
        for j in range(2):
            z = z + U[j][m] @ hidden[0][j][n]
        loops[n, m] = max(z, 0.0)
check("PNN.2", hidden[1][2], loops, "layer 2 of column 3, six inputs")
check(
    "PNN.2",
    f(
        W @ hidden[0][2].T + U[0] @ hidden[0][0].T + U[1] @ hidden[0][1].T + b[:, None]
    ).T,
    loops,
    "typed as displayed",
)
sums = W @ hidden[0][2].T + U[0] @ hidden[0][0].T + U[1] @ hidden[0][1].T
stacked = torch.cat((U[0], U[1], W), 1) @ torch.cat(hidden[0], 1).T
check("PNN.3", sums, stacked, "three products are one")
check("PNN.2", h2_2[0], third, "task 3 by hand")

# %% [markdown]
# **Change it.** In the first cell of this section, write `[[-2.0]]` for `[[-1.0]]`.
#
# <details><summary>What happens</summary>
#
# ```text
# column 2, layer 2:   [0. 0. 0. 0. 1.]
# ```
#
# The bias is the threshold: what $|x|$ and the unit of its own bring together must now exceed 2, which only $x=2$ does. The check of (PNN.2) by hand stops the notebook.
#
# </details>
#
# Which of all these weights learn?

# %% [markdown]
# ## 3. What is trained
#
# **Only what ends in the new column. Nothing flows back into the old ones.**
#
# Let $\boldsymbol\delta_i=\partial\mathcal L/\partial\mathbf z_i$, where $\mathbf z_i$ is the bracket in (PNN.2), for layer $i$ of column $k$ and one example. Backpropagation in the new column is that of an ordinary network; the old activations are one more input:
#
# $$ \frac{\partial\mathcal L}{\partial\mathbf U_i^{(k:j)}}=\boldsymbol\delta_i\,\mathbf h_{i-1}^{(j)\top},\qquad\boldsymbol\delta_{i-1}=f'\odot\bigl(\mathbf W_i^{(k)\top}\boldsymbol\delta_i\bigr) \tag{PNN.4} $$
#
# There is no $\mathbf U$ in the recursion: you never differentiate through column $j$.

# %%
targets = torch.randn(6, 2)
squares = 0.5 * ((output - targets) ** 2).sum()
delta_3 = output - targets  # the output layer has no f
W_3 = network.columns[2].layers[2].own.weight
delta_2 = (hidden[1][2] > 0) * (delta_3 @ W_3)  # (PNN.4), a row an input
slopes = [delta_2.T @ hidden[0][j] for j in (0, 1)]
autograd = torch.autograd.grad(squares, layer.lateral.weight)[0]
check("PNN.4", torch.cat(slopes, 1), autograd, "two lateral matrices, six examples")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (PNN.4) one layer further down, and one example at a time
W_2, first = layer.own.weight, network.columns[2].layers[0].own
delta_1 = (hidden[0][2] > 0) * (delta_2 @ W_2)
sides = []
for n in range(6):
    output, lower = network.run(points[n : n + 1], "third")
    squares = 0.5 * ((output - targets[n]) ** 2).sum()
    found = torch.autograd.grad(squares, (layer.lateral.weight, first.bias))
    old = torch.cat([lower[0][j][0] for j in (0, 1)])
    sides.append((torch.outer(delta_2[n], old), found[0], delta_1[n], found[1]))
side, lateral, below, bias = map(torch.stack, zip(*sides, strict=True))
check("PNN.4", side, lateral, "lateral matrices, each of six examples")
check("PNN.4", below, bias, "the slope one layer further down")

# %% [markdown]
# And forwards? Column $j$ reads columns before it only. Whatever happens to the weights $\theta^{(k)}$ of a later column,
#
# $$ \frac{\partial\,\mathbf h_i^{(j)}}{\partial\,\theta^{(k)}}=\mathbf 0\qquad\text{for every } j<k \text{ and every layer } i \tag{PNN.5} $$
#
# The proof has three lines. $\mathbf h_1^{(l)}$ depends on $\mathbf x$ and on column $l$'s own weights. If no $\mathbf h_{i-1}^{(l)}$ with $l\le j$ depends on $\theta^{(k)}$, then by (PNN.2) no $\mathbf h_i^{(l)}$ with $l\le j$ does. So none does, up to the output. $\square$
#
# Freeze the old weights, too, and nothing in an old answer can change: *zero forgetting* is a theorem, not a result of training. Let us disturb each column in turn and see whose answers move:

# %%
names = ["first", "second", "third"]
moved = torch.zeros(3, 3)
for k in range(3):  # disturb column k
    before = [network(points, name) for name in names]
    with torch.no_grad():
        for weight in network.columns[k].parameters():
            weight.add_(0.1)
    for j in range(3):  # does task j notice?
        moved[j, k] = not torch.equal(network(points, names[j]), before[j])
print(moved.int().numpy())

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.5): who notices, and bit by bit after training
allowed = torch.tensor([[float(not j < k) for k in range(3)] for j in range(3)])
check("PNN.5", moved, allowed, "task j notices column k where k is not later")


def activations(name):  # of all layers of a task's column
    output, hidden = network.run(points, name)
    return [*(row[-1].clone() for row in hidden), output]


noticed, read = torch.zeros(3, 3, 3), torch.zeros(3, 3, 3)
for k in range(3):
    before = [activations(name) for name in names]
    with torch.no_grad():
        for weight in network.columns[k].parameters():
            weight.mul_(1.1)
    for j, name in enumerate(names):
        for i, h in enumerate(activations(name)):
            noticed[i, j, k] = not torch.equal(h, before[j][i])
            read[i, j, k] = j == k or (i > 0 and not j < k)  # layer 1: no laterals
check("PNN.5", noticed, read, "the same for every layer")
before = [h for name in names[:2] for h in activations(name)]
newest = network(points, "third")
optimiser = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
for _ in range(20):
    optimiser.zero_grad()
    network(points, "third").square().sum().backward()
    optimiser.step()
after = [h for name in names[:2] for h in activations(name)]
for b, a in zip(before, after, strict=True):
    assert torch.equal(b, a), "an old layer has moved"
assert not torch.equal(network(points, "third"), newest), "nothing was trained"
after, before = (torch.cat(side, 1) for side in (after, before))
check("PNN.5", after, before, "bitwise, every layer, after training")

# %% [markdown]
# Row $j$, column $k$: task 1 notices only column 1. Twenty steps of AdamW on *all* parameters, weight decay included, leave the old answers as they were, bit by bit. That needs care in code: optimisers skip a weight whose gradient is `None`, but one that is frozen with a gradient of zero left over still feels weight decay and momentum. That, and running averages of a batch norm, are in [section 10 of the theory](progressive_nets_theory.ipynb).
#
# The same theorem says that old tasks *cannot profit* from new ones.

# %% [markdown]
# ## 4. When scales differ: adapters
#
# **Old activations may be a hundred times as large as new ones,** if that column saw inputs from 0 to 255, say. Fed into a new layer, they may drown it.
#
# The paper's adapter is one small network in front of each layer: scale each old column by a learned number $\alpha_j$, let $\mathbf V$ make $r$ numbers of all old units together, apply $f$, and hand those to the layer:
#
# $$ \mathbf h_i^{(k)}=f\Bigl(\mathbf W_i\mathbf h_{i-1}^{(k)}+\mathbf b_i+\mathbf U_i\,f\bigl(\mathbf V_i[\alpha_1\mathbf h_{i-1}^{(1)};\cdots;\alpha_{k-1}\mathbf h_{i-1}^{(k-1)}]+\mathbf c_i\bigr)\Bigr) \tag{PNN.6} $$
#
# Each $\alpha$ starts small (the paper tries 1, 0.1 and 0.01), and is learned.

# %%
torch.manual_seed(2)
adapted = ProgressiveNetwork(column, lateral="adapter", adapter_width=2)
for task in names:
    adapted.add_column(task, n_outputs=2)
_, hidden = adapted.run(points, "third")
layer = adapted.columns[2].layers[1]
loud = 100 * hidden[0][0].T  # column 1, a hundred times louder
V_1, V_2 = layer.project.weight.split(4, 1)
c = layer.project.bias[:, None]
for alpha in (1.0, 0.1, 0.01):
    inside = V_1 @ (alpha * loud) + V_2 @ (alpha * hidden[0][1].T) + c
    arrives = layer.lateral.weight @ f(inside)
    print(
        f"alpha {alpha:4}: own {(layer.own.weight @ hidden[0][2].T).std():.2f}, lateral {arrives.std():.2f}"
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (PNN.6), typed as displayed
with torch.no_grad():
    layer.scale.copy_(torch.tensor([0.7, -1.3]))
_, hidden = adapted.run(points, "third")
alpha, V, c = layer.scale, layer.project.weight, layer.project.bias[:, None]
scaled = torch.cat((alpha[0] * hidden[0][0].T, alpha[1] * hidden[0][1].T))
W, b, U = layer.own.weight, layer.own.bias[:, None], layer.lateral.weight
typed = f(W @ hidden[0][2].T + b + U @ f(V @ scaled + c))
check("PNN.6", hidden[1][2], typed.T, "layer 2 of column 3, by the library")

# %% [markdown]
# For a column a hundred times louder 0.1 is not small enough; training must do the rest. On our tasks, whose columns are alike in scale, $\alpha=1$ did best at the start ([section 5 of the experiments](progressive_nets_experiments.ipynb)). In the paper $r$ is the layer's width; whether there is one $\alpha$ or one for each column is open. Ours: $r$ is an argument, one $\alpha$ for each column. Between maps of a convolutional network $\mathbf V$ is a 1×1 convolution.
#
# That is all there is to the method.

# %% [markdown]
# ## 5. The whole method
#
# **A function and two classes**; here $r$ is the layer's width. Layer by layer, all columns up to the one that is asked for; `torch.cat(h[:j], 1)` puts the earlier ones side by side. The first layer has no laterals, as all columns share the input.


# %%
def Linear(k, n, m):  # laterals from k columns of n units to m
    return nn.Linear(k * n, m, bias=False)


class Adapter(nn.Sequential):  # U f(V [alpha h] + c)
    def __init__(self, k, n, m):
        super().__init__(nn.Linear(k * n, m), nn.ReLU(), nn.Linear(m, m, bias=False))
        self.alpha = nn.Parameter(torch.full((k, 1), 0.1))

    def forward(self, h):
        scaled = self.alpha * h.unflatten(1, (len(self.alpha), -1))
        return super().forward(scaled.flatten(1))  # (PNN.6)


# %%
class Progressive(nn.Module):
    def __init__(self, sizes, lateral=Linear):
        super().__init__()
        self.sizes, self.lateral, self.columns = sizes, lateral, nn.ModuleList()

    def add_column(self, outputs):
        for p in self.parameters():  # freeze what stands
            p.requires_grad_(False).grad = None
        k, pairs = len(self.columns), list(pairwise([*self.sizes, outputs]))
        W = nn.ModuleList(nn.Linear(n, m) for n, m in pairs)
        U = nn.ModuleList(self.lateral(k, n, m) for n, m in pairs[1:] if k)
        self.columns.append(nn.ModuleDict({"W": W, "U": U}))
        return list(self.columns[k].parameters())  # to be trained

    def forward(self, x, k):
        h = [x] * (k + 1)  # by column
        for i in range(len(self.sizes)):
            z = [c["W"][i](h[j]) for j, c in enumerate(self.columns[: k + 1])]
            for j in range(1, k + 1) if i else ():  # laterals
                z[j] = z[j] + self.columns[j]["U"][i - 1](torch.cat(h[:j], 1))
            h = [v.relu() for v in z] if i < len(self.sizes) - 1 else z  # (PNN.2)
        return h[k]


# %%
ours = Progressive([2, 4, 3])
for c in network.columns:  # copy the library's weights
    ours.add_column(2)
    pairs = [(layer.own, layer.lateral) for layer in c.layers]
    W, U = (
        nn.ModuleList(m for m in part if m is not None)
        for part in zip(*pairs, strict=True)
    )
    ours.columns[-1].load_state_dict(nn.ModuleDict({"W": W, "U": U}).state_dict())
for k, name in enumerate(names):
    check("PNN.2", ours(points, k), network(points, name), f"all layers, task {k + 1}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check: the same with adapters; and a frozen column that no optimiser moves
torch.manual_seed(3)
theirs = ProgressiveNetwork(
    lambda k: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()),
    lateral="adapter",
)
mine = Progressive([2, 4, 4], Adapter)
for k, name in enumerate(names):
    theirs.add_column(name, 4)
    mine.add_column(4)
    for i, layer in enumerate(theirs.columns[k].layers):
        mine.columns[k]["W"][i].load_state_dict(layer.own.state_dict())
        if layer.lateral is not None:
            with torch.no_grad():
                layer.scale.copy_(torch.tensor([0.7, -1.3])[:k])
            U = mine.columns[k]["U"][i - 1]
            U[0].load_state_dict(layer.project.state_dict())
            U[2].load_state_dict(layer.lateral.state_dict())
            U.alpha.data.copy_(layer.scale[:, None])
for k, name in enumerate(names):
    check("PNN.6", mine(points, k), theirs(points, name), f"adapters, task {k + 1}")
before = ours(points, 1).detach()
optimiser = torch.optim.AdamW(ours.parameters(), lr=0.1, weight_decay=0.5)
ours(points, 2).sum().backward()
optimiser.step()
optimiser.zero_grad(set_to_none=False)
ours.add_column(2)
optimiser.step()
after = ours(points, 1)
check("PNN.5", after, before, "an old optimiser, a leftover gradient, weight decay")

# %% [markdown]
# **Change it.** In the last visible cell, write `ours = Progressive([2, 4, 3], Adapter)` for `ours = Progressive([2, 4, 3])`.
#
# <details><summary>What happens</summary>
#
# ```text
# RuntimeError: Error(s) in loading state_dict for ModuleDict…
# ```
#
# Column 1 fits: it has no laterals. From column 2 on the adapters' weights are others than those of linear laterals, and `load_state_dict` says which are missing.
#
# </details>
#
# To train: `adam = torch.optim.Adam(ours.add_column(10))`, then the usual loop on `cross_entropy(ours(x, k), y)`. For use, `ProgressiveNetwork(make_column)` takes columns of `Linear` and `Conv2d` layers that end in a `Linear`, with norms and dropout (frozen ones always evaluate); laterals between maps are convolutions like $\mathbf W$. `features(x, task)` gives the activations of the frozen columns, to be kept, so that a fixed data set passes through them once.
#
# What does all this cost?

# %% [markdown]
# ## 6. Growth
#
# **Linear laterals, and adapters of a fixed width, grow with the square of the number of tasks.**
#
# Take a hidden layer, not the first, with $n$ units on $n$ units, in $K$ columns; biases and $\alpha$ are not counted. Column $k$ has $n^2$ weights of its own and $(k-1)\,n^2$ lateral ones, together
#
# $$ P_{\text{linear}}(K)=n^2\sum_{k=1}^Kk=n^2\,\frac{K(K+1)}2 \tag{PNN.7} $$
#
# An adapter of width $r$ has $\mathbf V$ with $r\,(k-1)\,n$ weights and $\mathbf U$ with $r\,n$. Column 1 has none:
#
# $$ P_{\text{adapter}}(K)=Kn^2+r\,n\,\frac{(K-1)(K+2)}2 \tag{PNN.8} $$
#
# Still quadratic, since $\mathbf V$ reads every earlier column. With $r=n$ adapters cost *more* than linear laterals, 1.33 times at two columns. But $r$ may shrink: with $r_k=n/k$ every later column costs $2n^2$, however many there are,
#
# $$ P_{r_k=n/k}(K)=(2K-1)\,n^2 \tag{PNN.9} $$
#
# And the work: to get an answer from column $k$, all before it must run,
#
# $$ C_{\text{all}}(k)=n^2\,\frac{k(k+1)}2,\qquad C_{\text{cached}}(k)=k\,n^2 \tag{PNN.10} $$
#
# multiplications a layer with linear laterals; the second if the frozen activations are at hand.


# %%
def built(n, K, **options):
    def layers(k):
        return nn.Sequential(nn.Linear(3, n), nn.Linear(n, n))

    made = ProgressiveNetwork(layers, **options)
    for k in range(K):
        made.add_column(str(k), 1)
    return made


def count(network):  # weights of the second hidden layer, all columns
    total = 0
    for c in network.columns:
        layer = c.layers[1]
        for part in (layer.own, layer.lateral, getattr(layer, "project", None)):
            total += part.weight.numel() if part is not None else 0
    return total


# %%
for n, r, K in ((8, 3, 5), (5, 2, 3)):
    linear = n**2 * K * (K + 1) / 2  # (PNN.7)
    adapter = K * n**2 + r * n * (K + 2) * (K - 1) / 2  # (PNN.8)
    check("PNN.7", count(built(n, K)), linear, f"{K} columns of {n} units")
    small = built(n, K, lateral="adapter", adapter_width=r)
    check("PNN.8", count(small), adapter, f"adapters of width {r}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.7) to (PNN.10), by sums and by counted operations
for size, width, columns in ((3, 2, 4), (7, 7, 2), (60, 5, 6)):
    sums = [size**2 * k for k in range(1, columns + 1)]
    check("PNN.7", size**2 * columns * (columns + 1) / 2, float(sum(sums)), "a sum")
    sums = [size**2] + [
        size**2 + width * (k - 1) * size + width * size for k in range(2, columns + 1)
    ]
    closed = columns * size**2 + width * size * (columns - 1) * (columns + 2) / 2
    check("PNN.8", closed, float(sum(sums)), "a sum")
    narrow = [size**2] + [
        size**2 + (size / k) * ((k - 1) * size + size) for k in range(2, columns + 1)
    ]
    right = float(sum(narrow))
    check("PNN.9", (2.0 * columns - 1) * size**2, right, "narrower and narrower")
for n, K in ((12, 4), (6, 3)):  # the last column of a network with k columns
    total = count(built(n, 1))
    for k in range(2, K + 1):
        made, shorter = (
            built(n, columns, lateral="adapter", adapter_width=n // k)
            for columns in (k, k - 1)
        )
        total += count(made) - count(shorter)
    check("PNN.9", (2 * K - 1) * n**2, total, f"{K} columns of {n}, by the library")
from torch.utils.flop_counter import FlopCounterMode

one = torch.randn(1, 3)
for n, k in ((8, 1), (8, 3), (8, 5), (5, 4), (3, 2)):
    deep, counted = built(n, k), []
    for features in (None, deep.features(one, str(k - 1))):
        with FlopCounterMode(display=False) as counter:
            deep(one, str(k - 1), features)
        first = 3 * n * (k if features is None else 1)  # the first layers
        counted.append(counter.get_total_flops() / 2 - first - n * k)  # and the output
    everything, cached = n**2 * k * (k + 1) / 2, k * n**2  # (PNN.10)
    check("PNN.10", everything, float(counted[0]), f"column {k} of {n} units, all run")
    check("PNN.10", float(cached), float(counted[1]), f"column {k}, cached")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: parameters as columns and width grow
def growth(columns, width, adapter_width):
    K = np.arange(1, columns + 1)
    linear = width**2 * K * (K + 1) / 2
    adapter = K * width**2 + adapter_width * width * (K - 1) * (K + 2) / 2
    fig, ax = plt.subplots(figsize=(4.5, 3))
    for values, label, color in (
        (linear, "linear", NEW),
        (adapter, f"adapters, r = {adapter_width}", SIDE),
        ((2 * K - 1) * width**2, "adapters, r = n/k", TUNED),
        (K * width**2, "no laterals", OLD),
    ):
        ax.plot(K, values / 1e3, "o-", ms=3, color=color, label=label)
    ax.set(xlabel="columns", ylabel="weights of the layer, thousands", xlim=(0.8, 12.2))
    ax.legend(fontsize=8, loc="upper left")
    ax.set_title(f"n = {width}: {linear[-1] / K[-1] / width**2:.1f} times a layer each")
    return fig


explore(
    growth,
    alt="{columns} columns of {width} units, adapters of {adapter_width}: weights of a hidden layer",
    columns=[4, 8, 12],
    width=[64, 256],
    adapter_width=[256, 64, 4],
)

# %% [markdown]
# What to do about it: narrow adapters, narrow later columns, or pruning what is not used. Whether they still learn: [section 7 of the experiments](progressive_nets_experiments.ipynb).
#
# **Change it.** In the last visible cell, write `K * (K - 1) / 2` for `(K + 2) * (K - 1) / 2`: forget that $\mathbf U$ is there, too.
#
# <details><summary>What happens</summary>
#
# ```text
# AssertionError: PNN.8: left and right are not equal…
# ```
#
# Four adapters have four matrices $\mathbf U$ of 24 weights, which would be missing.
#
# </details>

# %% [markdown]
# ## 7. Did it help? The transfer score
#
# **The paper compares areas under learning curves.** A column that learns sooner has more area, even where all end alike. It is compared with four baselines:
#
# 1. one column, from scratch;
# 2. the first column, and of it only the output layer is trained on: are the features enough?
# 3. the first column, all of it trained on (fine-tuning): the usual thing;
# 4. a second column beside a first one that is *random* and frozen: is it only the larger network?
#
# The transfer score is the area above a random player's, in per cent of baseline 1's:
#
# $$ S=100\,\frac{A-A_{\text{random}}}{A_1-A_{\text{random}}} \tag{PNN.11} $$
#
# with $A$ the mean score over training. The paper divides $A$ by $A_1$; where scores can be negative, one must first subtract what a random player gets: the bare ratio depends on where zero lies, and where $A_1$ is negative it turns the order round ([section 4 of the theory](progressive_nets_theory.ipynb)).

# %%
slow = torch.tensor([-0.4, -0.4, -0.2, 0.2, 0.7, 0.9])  # from scratch
fast = torch.tensor([-0.4, 0.3, 0.8, 0.9, 0.9, 0.9])  # with a helper
A_1, A, A_random = slow.mean(), fast.mean(), -0.4
S = 100 * (A - A_random) / (A_1 - A_random)  # (PNN.11)
check("PNN.11", S, transfer_score(fast, slow, random=A_random), "the library's")
print(f"same end, {S:.0f}% of the area")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (PNN.11) by areas of steps
above = [sum(float(score) + 0.4 for score in curve) / 6 for curve in (fast, slow)]
check("PNN.11", float(S), 100 * above[0] / above[1], "sums of what is above random")
same = transfer_score(3 * fast - 7, 3 * slow - 7, random=3 * A_random - 7)
check("PNN.11", S, same, "other units of the score: the same")

# %% [markdown]
# A score above 100 says that something helped, or luck; baseline 4 says whether a larger network would do. Whose activations did the new column use?

# %% [markdown]
# ## 8. From which column did it come?
#
# **A column matters as far as the answer moves when its activations move.**
#
# Let $\pi(a\,|\,x)$ be the softmax of the outputs. For unit $m$ of layer $i$ in column $j$, the *Fisher information* says how strongly the answers react, times the unit's variance, so that loud and quiet columns compare:
#
# $$ F_i^{(j)}(m)=\operatorname{Var}\bigl(h_{i,m}^{(j)}\bigr)\cdot\frac1N\sum_n\sum_a\pi(a\,|\,x_n)\left(\frac{\partial\log\pi(a\,|\,x_n)}{\partial h_{i,m}^{(j)}}\right)^{\!2} \tag{PNN.12} $$
#
# and the *average Fisher sensitivity* of layer $i$ to column $j$ is that column's share of all columns up to $k$, the one that is asked (we pool the units; the paper pairs unit $m$ of every column, [section 7 of the theory](progressive_nets_theory.ipynb)):
#
# $$ \operatorname{AFS}_i^{(j)}=\frac{\sum_mF_i^{(j)}(m)}{\sum_{l\le k}\sum_mF_i^{(l)}(m)} \tag{PNN.13} $$
#
# For eight inputs and three columns with random weights (the formula does not mind):


# %%
def wider(k):  # columns need not be of one width
    layers = nn.Linear(2, 4 + k), nn.ReLU(), nn.Linear(4 + k, 3 + k), nn.ReLU()
    return nn.Sequential(*layers)


torch.manual_seed(4)
three = ProgressiveNetwork(wider)
for name in names:
    three.add_column(name, n_outputs=3)
x8 = 4 * torch.randn(8, 2)
x8.requires_grad_()  # so that slopes pass through the frozen columns
output, hidden = three.run(x8, "third")
log_pi = output.log_softmax(1)
F = [[], []]
for i in (0, 1):
    for h_j in hidden[i]:  # by column
        total = torch.zeros(h_j.shape[1])
        for a in range(3):
            slope = torch.autograd.grad(log_pi[:, a].sum(), h_j, retain_graph=True)[0]
            total += (log_pi[:, a].exp()[:, None] * slope**2).mean(0)
        F[i].append((h_j.var(0, correction=0) * total).detach())  # (PNN.12)
AFS = torch.tensor([[f.sum() / sum(map(torch.sum, row)) for f in row] for row in F])
print(AFS.numpy().round(2), "(layer, column)")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (PNN.12) and (PNN.13): finite differences, and the library
library = fisher_information(three, [x8.detach()], "third")
for i in (0, 1):
    for j in range(3):
        check("PNN.12", F[i][j], library[i][j], f"layer {i + 1}, column {j + 1}")


def log_policy(place, unit, step):
    def nudge(i, j, h):
        return h + step * torch.eye(h.shape[1])[unit] if (i, j) == place else h

    with torch.no_grad():
        return three.run(x8.detach(), "third", tap=nudge)[0].log_softmax(1)


for place in ((0, 0), (1, 2)):
    for unit in range(3):
        slope = (log_policy(place, unit, 1e-6) - log_policy(place, unit, -1e-6)) / 2e-6
        values = hidden[place[0]][place[1]][:, unit].detach()
        spread = (values**2).mean() - values.mean() ** 2
        differences = spread * (log_pi.exp().detach() * slope**2).sum() / 8
        check(
            "PNN.12", F[place[0]][place[1]][unit], differences, "differences", rtol=1e-4
        )
check(
    "PNN.13",
    AFS,
    average_fisher_sensitivity(three, [x8.detach()], "third"),
    "shares, by the library",
)
check("PNN.13", AFS.sum(1), torch.ones(2), "shares of a layer sum to one")

# %% [markdown]
# **Change it.** In the first cell of this section, write `total += (slope**2).mean(0) / 3` for `total += (log_pi[:, a].exp()[:, None] * slope**2).mean(0)`: actions count alike, whatever their probability.
#
# <details><summary>What happens</summary>
#
# ```text
# [[0.53 0.33 0.14]
#  [0.01 0.73 0.25]] (layer, column)
# ```
#
# The log-probability of a rare action reacts strongly, and now counts as much as that of a likely one. Shares move by up to ten points; the checks below stop the notebook.
#
# </details>
#
# Two cautions. AFS says what is *used*, not what *helps*: random columns have their shares, too. And below the last hidden layer column 1 acts on the answer of column 3 in several ways: directly, through its own next layer and through column 2; the slope in $\mathbf h^{(1)}$ counts them all.

# %% [markdown]
# ## 9. It works
#
# **Live: digits, then the same digits inverted, light for dark, with only 30 labels.** A first column learns handwritten digits (8×8 pixels, 1,400 images). Then four ways to learn the inverted ones; afterwards we ask those that knew them for the ordinary ones again. (Fine-tuning and "new head" get a new output layer, and are asked through it; had we stored the old one, "new head" would forget nothing. One seed; 397 test images.)

# %% tags=["nbval-ignore-output"]
torch.set_default_dtype(torch.float32)
runs = {}
for name, config in experiment.LIVE.items():
    fitted = runs[name] = experiment.fit(config, 0, device)
    report = f"{name:14s} inverted {100 * fitted.curve[-1]:3.0f}%"
    if config.sources:
        old = fitted.network.tasks[0]
        after = experiment.tested(fitted.network, old, "digits", "base")
        report += f", ordinary {100 * fitted.before:.0f}% → {100 * after:.0f}%"
    print(report)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left: accuracy on inverted digits over 200 updates: a second column, a new head and the fine-tuned network rise faster and end higher than the network from scratch. Right: accuracy on ordinary digits before and after: the second column keeps it, the others fall almost to zero."}} tags=["hide-input"]
# @title The four learning curves, and what became of the first task
fig, (left, right) = figures.panels(2, sharey=True)
colors = (SCRATCH, figures.COLORS["data"], TUNED, NEW)
for (name, fitted), color in zip(runs.items(), colors, strict=True):
    steps = experiment.EVERY * np.arange(len(fitted.curve))
    left.plot(steps, 100 * np.array(fitted.curve), color=color, label=name)
    if fitted.before is None:
        continue
    old = fitted.network.tasks[0]
    after = experiment.tested(fitted.network, old, "digits", "base")
    ends = [100 * fitted.before, 100 * after]
    above = {"ls": "--", "zorder": 5} if name == "new head" else {}
    right.plot([0, 1], ends, marker="o", color=color, **above)
left.set(xlabel="updates", ylabel="right, %", ylim=(0, 100), title="Inverted digits")
left.legend(fontsize=8)
right.set_xticks([0, 1], ["before", "after"])
right.set(xlim=(-0.3, 1.3), title="Ordinary digits")
fig.suptitle("Old features help; the column keeps the old task")
plt.show()

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: which column did this answer come from?
torch.manual_seed(0)
TASKS = {
    task: experiment.fit(experiment.explored(task), 0, device)
    for task in ("relabelled", "inverted", "permuted")
}


def origin(task, image):
    fitted = TASKS[task]
    x = fitted.test.images[image : image + 1]
    units = fisher_information(fitted.network, [fitted.test.images], fitted.task)
    with torch.no_grad():
        full = fitted.network(x, fitted.task)[0].softmax(0).cpu()
        deaf = experiment.silenced(fitted, x)
        alone = fitted.network(x, fitted.task, deaf)[0].softmax(0).cpu()
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.4))
    axes[0].imshow(x.cpu().view(8, 8), cmap="gray_r")
    axes[0].set(xticks=[], yticks=[], title=f"asked: {int(fitted.test.labels[image])}")
    for i, row in enumerate(units):
        share = float(row[0].sum() / sum(float(part.sum()) for part in row))
        axes[1].barh(i, share, color=OLD)
        axes[1].barh(i, 1 - share, left=share, color=NEW)
    axes[1].set(yticks=[0, 1], yticklabels=["layer 1", "layer 2"], xlim=(0, 1))
    axes[1].set_title("AFS: old (left), new (right)")
    axes[2].bar(np.arange(10) - 0.2, full, 0.4, color=NEW, label="both columns")
    axes[2].bar(
        np.arange(10) + 0.2, alone, 0.4, color="0.7", label="old one at its mean"
    )
    axes[2].set(xticks=range(10), ylim=(0, 1), title="answer")
    axes[2].legend(fontsize=7)
    return fig


explore(
    origin,
    alt="Task {task}, test image {image}: image, shares of both columns by layer, answers with and without the old column",
    task=list(TASKS),
    image=[0, 1, 2, 3, 4],
)

# %% [markdown]
# For renamed digits the shares of the old column are large: its features fit, and only the names differ. For permuted pixels they are smaller, and fewer answers change when the old column is put at its mean.
#
# **The headline: Catch soup.** The paper's first experiment is Pong in eight looks: as it is, noisy, on black, on white, zoomed, flipped. We have no room for Atari; our game is *Catch*, a ball that falls and a paddle that must be under it, in the same eight looks, learned by an actor-critic. A first column learns Catch, the noisy or the mirrored one; then each other look is learned.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Transfer scores in per cent by arm, a dot a seed, with the paper's median and mean on Pong beside. Head only near 80, in the paper 7; fine-tuned with a new head 135, in the paper 160; beside a random column below 100, in the paper 131; progressive near 128 with linear laterals or adapters, in the paper 169; three columns near 125, in the paper 183."}} tags=["hide-input"]
# @title The headline: transfer scores, ours and the paper's
scores = experiment.soup_scores()
ARMS = experiment.PEERS  # our name → the paper's
fig, ax = plt.subplots(figsize=(6.5, 3.4))
for place, (name, label) in enumerate(ARMS.items()):
    found = scores[scores.arm == name].groupby("seed").score.median()
    ax.plot([place] * len(found), found, "o", ms=4, color=NEW, alpha=0.7)
    ax.plot(place, found.mean(), "_", ms=22, mew=2, color=NEW)
    reported = experiment.TABLE_1.get(label)
    if reported:
        ax.plot(place + 0.2, reported[1], "s", ms=5, color=figures.COLORS["paper"])
        ax.plot(
            place + 0.2,
            reported[0],
            "D",
            ms=4,
            mfc="none",
            color=figures.COLORS["paper"],
        )
ax.axhline(100, color=SCRATCH, lw=1)
ax.set_xticks(range(len(ARMS)), ARMS, fontsize=8, rotation=20, ha="right")
ax.set(ylabel="transfer score, %", ylim=(0, None))
ax.plot([], [], "o", color=NEW, label="Catch, median of pairs, a dot a seed")
ax.plot([], [], "s", color=figures.COLORS["paper"], label="Pong, median, the paper")
ax.plot(
    [],
    [],
    "D",
    mfc="none",
    color=figures.COLORS["paper"],
    label="Pong, mean, the paper",
)
ax.legend(fontsize=7.5)
ax.set_title("A column helps, and so does fine-tuning")
plt.show()

# %% [markdown]
# 21 pairs of a source and another look, three seeds; each arm at the learning rate with the largest area on four pairs and other seeds. As in the paper, a second column beats one from scratch, and does so for 19 of 21 pairs with linear laterals, for all 21 with adapters. Unlike in the paper (131%), a random first column does not help here (94%); in both the trained one is ahead. Not as in the paper: fine-tuning, with a new output layer, is ahead in area (135% against 128% and 127%); a third column adds nothing that shows (124%, over 18 triples); and training the output layer alone, far behind on Pong, is above 100 on black, where left and right change places, where noise goes and for two zooms, near 0 on white, and 30 to 65 upside down. The paper takes the best three of 25 runs with settings drawn at random; we take one setting, found on other seeds, and all runs. The area says how soon: at the end fine-tuning has 95 of 100, adapters 98, linear laterals 91, from scratch 98.
#
# ## 10. What is it worth?
#
# - **Does it transfer?** In games yes, 128% against 169% in the paper; where it does not, from grey to white with linear laterals, it can hurt: area 8 against 40 from scratch, mean of three sources ([section 1 of the experiments](progressive_nets_experiments.ipynb)).
# - **And on images?** With 100 labelled digits 3.3 points of area more than from scratch, on average; 9 where they are inverted, 7 where they are renamed, none where pixels are permuted ([section 2](progressive_nets_experiments.ipynb)).
# - **Is the head alone enough?** Where only the names change, it is as good as any; where the pixels move, it stays 5 to 12 points behind even after 3,000 updates ([section 3](progressive_nets_experiments.ipynb)).
# - **Which layers, which start?** The layer below is as good as any; linear laterals that begin at zero are as good as others; a gate near shut or a small α is worse with 100 labels ([sections 4 and 5](progressive_nets_experiments.ipynb)).
# - **Does a further column help?** The first trained one does; more of them do not, and on rotated digits random ones serve better ([section 6](progressive_nets_experiments.ipynb)). **Growth:** adapters of eight units are 1.4 points behind those of 64; for their parameters, such adapters do better than one wider column, linear laterals and narrow columns do not ([section 7](progressive_nets_experiments.ipynb)).
#
# **When not?** If the task is not known when the question comes: someone must choose the column. If there are many tasks. If old tasks should profit from new ones. The order of the tasks matters, since later columns read earlier ones; which order is best we have not tested. What came after: one frozen network and a small trained path beside it (residual adapters, LoRA, which begins at zero), frozen features reused by masks, and Progress & Compress, which keeps one column and distils the new one into it ([further reading](progressive_nets_theory.ipynb)).

# %% [markdown]
# ## 11. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(layer_of)`: it prints "right", or raises with what is wrong. Harder ones are on [the theory page](progressive_nets_theory.ipynb).
#
# **1 (code).** One hidden layer of column $k$ with linear laterals, (PNN.2), for any number of earlier columns (also none), whose widths may differ.


# %% tags=["exercise-1"]
def layer_of(own, earlier, W, U, b):
    """(batch, m) from own (batch, n), a list of earlier (batch, n_j),
    W (m, n), a list of U (m, n_j), b (m,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(function):
    g = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    for batch, m, n, widths in ((3, 4, 2, (5, 1)), (1, 2, 2, ()), (2, 1, 3, (3, 3, 3))):
        own, earlier = draw(batch, n), [draw(batch, width) for width in widths]
        W, U, b = draw(m, n), [draw(m, width) for width in widths], draw(m)
        given = [t.clone() for t in (own, *earlier, W, *U, b)]
        answer = torch.as_tensor(function(own, list(earlier), W, list(U), b))
        assert all(map(torch.equal, given, (own, *earlier, W, *U, b))), (
            "inputs were changed"
        )
        assert answer.shape == (batch, m), f"shape {tuple(answer.shape)}"
        for i in range(batch):
            for u in range(m):
                z = float(b[u]) + sum(float(W[u, c] * own[i, c]) for c in range(n))
                for h, U_j in zip(earlier, U, strict=True):
                    z += sum(float(U_j[u, c] * h[i, c]) for c in range(h.shape[1]))
                right = max(z, 0.0)
                assert abs(float(answer[i, u]) - right) < 1e-4, (
                    f"{len(widths)} earlier columns: {answer[i, u]:.4f}, expected {right:.4f}"
                )
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# ```python
# def layer_of(own, earlier, W, U, b):
#     h = torch.cat((*earlier, own), 1)
#     return torch.relu(h @ torch.cat((*U, W), 1).T + b)
# ```
#
# </details>
#
# **2 (code).** Count every weight and bias of a progressive network with linear laterals, all columns together. `sizes` are the inputs, the units of each hidden layer, and the outputs, the same in every column. Own layers have biases, laterals have none; all layers but the first have laterals, the output layer too.


# %% tags=["exercise-2"]
def parameters(sizes, columns):
    """How many numbers all columns have together, frozen or not"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(function):
    for sizes, columns in (([3, 5, 2], 1), ([4, 3, 6, 2], 3), ([7, 2, 2, 9, 1], 4)):
        made = Progressive(sizes[:-1])
        for _ in range(columns):
            made.add_column(sizes[-1])
        right = sum(p.numel() for p in made.parameters())
        answer = function(list(sizes), columns)
        assert answer == right, (
            f"sizes {sizes}, {columns} columns: {answer}, not {right}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# ```python
# def parameters(sizes, columns):
#     pairs = list(zip(sizes[:-1], sizes[1:]))
#     own = columns * sum((n + 1) * m for n, m in pairs)
#     lateral = sum(n * m for n, m in pairs[1:]) * columns * (columns - 1) // 2
#     return own + lateral
# ```
#
# </details>
#
# **3 (code).** Let a new column with adapters begin *exactly* as a network of its own, and learn to listen from its first step: change, in place, the parameters of one adapter with one earlier column, `U f(alpha V h + c)` (`alpha` a number, `V`, `U` matrices, `c` a vector, all tensors).


# %% tags=["exercise-3"]
def quiet(alpha, V, c, U):
    """Change them in place"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(function):
    g = torch.Generator().manual_seed(6)
    shapes = ((), (4, 6), (4,), (3, 4))
    parts = [torch.randn(s, generator=g, dtype=torch.float64) for s in shapes]
    parts[2] = parts[2].abs()
    with torch.no_grad():
        function(*parts)
    alpha, V, c, U = (part.requires_grad_() for part in parts)
    assert [tuple(p.shape) for p in (alpha, V, c, U)] == list(shapes), "shapes"
    h = torch.randn(6, 9, generator=g, dtype=torch.float64)
    arrives = U @ (alpha * (V @ h) + c[:, None]).relu()
    assert arrives.abs().max() == 0, f"something arrives: {arrives.abs().max():.2g}"
    slopes = torch.autograd.grad(arrives.sum(), (alpha, V, c, U))
    assert any(s.abs().max() > 0 for s in slopes), (
        "nothing arrives, and nothing ever will"
    )
    U.data.sub_(0.1 * slopes[3])  # one step of gradient descent on U
    arrives = U @ (alpha * (V @ h) + c[:, None]).relu()
    assert arrives.std(1).max() > 0, "it can learn a bias, but does not listen to h"
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# ```python
# def quiet(alpha, V, c, U):
#     U.zero_()
# ```
#
# Then U has a slope, $\boldsymbol\delta\,f(\cdot)^\top$, and moves at the first step. If you set α to zero, too, the first slope of $\mathbf U$ no longer depends on $\mathbf h$, and without a bias $\mathbf c$ all slopes vanish ([section 8 of the theory](progressive_nets_theory.ipynb)).
#
# </details>
#
# **4 (code).** The widest adapter that pays: the largest integer $r\le n$, the same in every column, for which $K$ columns of width $n$ have no more weights with adapters (PNN.8) than with linear laterals (PNN.7).


# %% tags=["exercise-4"]
def widest(n, K):
    """The largest r, from n and K ≥ 2"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(function):
    for n, K in (
        (64, 2),
        (64, 4),
        (7, 2),
        (64, 8),
        (100, 3),
        (7, 5),
        (256, 12),
        (20, 4),
    ):
        linear = sum(n * n * k for k in range(1, K + 1))
        right = max(
            r
            for r in range(n + 1)
            if K * n * n + sum(r * k * n for k in range(2, K + 1)) <= linear
        )
        answer = function(n, K)
        assert answer == right, f"n = {n}, K = {K}: {answer}, not {right}"
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# ```python
# def widest(n, K):
#     return n * K // (K + 2)
# ```
#
# $r\,n\,(K-1)(K+2)/2\le n^2K(K-1)/2$, so $r\le nK/(K+2)$: half of $n$ at two columns, 0.8 of it at eight.
#
# </details>
#
# ## 12. Symbols
#
# | here | what | in `workedpapers.progressive_nets` |
# |---|---|---|
# | $k$, $j<k$ | the column that learns, an earlier one | `network.columns[k - 1]` |
# | $\mathbf h_i^{(k)}$ | activations of layer $i$ in column $k$ | `network.run(x, task)[1][i - 1][k - 1]` |
# | $\mathbf W_i^{(k)}$, $\mathbf U_i^{(k:j)}$ | own and lateral weights | `columns[k - 1].layers[i - 1].own`, `.lateral` |
# | $\mathbf V$, $\alpha_j$, $r$ | an adapter's projection, scales, width | beside them `.project`, `.scale`; `adapter_width` |
# | $S$ | transfer score | `transfer_score` |
# | $F$, AFS | Fisher information of a unit, share of a column | `fisher_information`, `average_fisher_sensitivity` |
