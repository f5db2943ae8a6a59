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
# # Recurrent batch normalization: an LSTM that keeps its scale
#
# **The problem.** A recurrent network applies the same weights hundreds of times. A scale that is a little off at one step is far off after
# a hundred: states fade or saturate, and gradients with them. Batch normalization cures that between the layers of a deep network, but
# was reported not to help [*inside* a recurrence](https://arxiv.org/abs/1510.01378).
#
# **The idea.** Normalise three things at every time step, each with statistics of *that* step, and start the scales small, at $\gamma=0.1$:
#
# $$ (i,f,g,o)_t=\operatorname{BN}(W_hh_{t-1};\gamma_h)+\operatorname{BN}(W_xx_t;\gamma_x)+b, \qquad h_t=\sigma(o_t)\odot\tanh\bigl(\operatorname{BN}(c_t;\gamma_c)+\beta_c\bigr) $$

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
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.experiments import recurrent_batch_norm as experiment
from workedpapers.lab import check, explore, figures, setup, sweep
from workedpapers.recurrent_batch_norm import BatchNormLSTM, population_statistics
from workedpapers.tasks.splits import Split

device = setup(seed=0)
BATCH, PLAIN, LAYER, DATA, MUTED = (
    figures.COLORS[role] for role in ("learned", "baseline", "peer", "data", "muted")
)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "The cell as a diagram. The old state h times W h and the input x times W x each pass a box BN of their own, are added to b and make four gates. The cell c passes from left to right through f times c plus i times tanh g, with no box on its way; on its way out it passes a third box BN, then tanh, then the gate o, and becomes the new state h."}} tags=["hide-input"]
# @title The idea in one picture
fig, ax = plt.subplots(figsize=(4.5, 3.3))
NORM = {"boxstyle": "round,pad=0.35", "fc": BATCH, "ec": BATCH}
PART = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": MUTED}
PARTS = {
    (0.0, 0.22): ("$h_{t-1}$", None, "black"),
    (0.0, 0.0): ("$x_t$", None, "black"),
    (0.0, 0.86): ("$c_{t-1}$", None, "black"),
    (0.2, 0.22): ("$W_h$", PART, "black"),
    (0.2, 0.0): ("$W_x$", PART, "black"),
    (0.38, 0.22): ("BN", NORM, "white"),
    (0.38, 0.0): ("BN", NORM, "white"),
    (0.56, 0.11): ("$+\\,b$", PART, "black"),
    (0.56, 0.5): ("$i,f,g,o$", PART, "black"),
    (0.56, 0.86): ("$f\\,c+i\\,g$", PART, "black"),
    (1.0, 0.86): ("$c_t$", None, "black"),
    (0.79, 0.66): ("BN", NORM, "white"),
    (0.79, 0.44): ("tanh", PART, "black"),
    (0.79, 0.22): ("$\\times\\,o$", PART, "black"),
    (1.0, 0.22): ("$h_t$", None, "black"),
}
for (x, y), (text, box, color) in PARTS.items():
    ax.text(x, y, text, ha="center", va="center", bbox=box, color=color, zorder=3)
ARROWS = [
    ((0.04, 0.22), (0.15, 0.22)), ((0.04, 0), (0.15, 0)), ((0.25, 0.22), (0.33, 0.22)),
    ((0.25, 0), (0.33, 0)), ((0.43, 0.22), (0.51, 0.13)), ((0.43, 0), (0.51, 0.09)),
    ((0.56, 0.17), (0.56, 0.43)), ((0.56, 0.57), (0.56, 0.79)), ((0.05, 0.86), (0.45, 0.86)),
    ((0.67, 0.86), (0.96, 0.86)), ((0.79, 0.86), (0.79, 0.73)), ((0.79, 0.6), (0.79, 0.51)),
    ((0.79, 0.38), (0.79, 0.29)), ((0.66, 0.47), (0.74, 0.25)), ((0.86, 0.22), (0.96, 0.22)),
]  # fmt: skip
for start, end in ARROWS:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": MUTED})
ax.set(xlim=(-0.05, 1.05), ylim=(-0.1, 0.98))
ax.axis("off")
ax.set_title("Three norms a step, and none on the path of the cell")
plt.show()

# %% [markdown]
# **What we found**, at small sizes:
#
# - before training a step of this LSTM keeps 98 to 101% of a gradient with $\gamma=0.1$; with $\gamma=1$ it gains 2 to 10%, and gradients explode. The paper conjectures that they vanish;
# - after equal searches and numbers of updates: MNIST at 14×14, permuted, 13.8±0.1% error against the LSTM's 20.2±0.5%, in order 7.3±1.6 against 24.5, 19.3 and a run that fails; characters 2.42±0.01 against 2.58±0.02 bits, where layer norm has 2.43±0.01. Small digits: in order 10.9±1.4 against 14.0±1.5%; permuted, no difference beyond the scatter;
# - a network needs the statistics of each step at test time. From 0.01 to 0.3 it makes no difference where $\gamma$ starts.
#
# **Use it** to train an LSTM in few updates on sequences of one length; at equal time we have not compared. **Not** for sequences of unequal lengths, nor where training sees one example at a time: layer normalization needs no batch.
#
# **Minutes:** problem 4 · cell 6 · one bias, one bare path 4 · two norms 4 · what γ does 9 · statistics 4 · the layer 5 · explore 2 · it works 4 · worth 2.
#
# **Beside this lesson:** [the experiments](recurrent_batch_norm_experiments.ipynb), a figure for each question;
# [the theory](recurrent_batch_norm_theory.ipynb), with proofs, the backward pass, cost, errata; the paper, Cooijmans et al. 2016
# ([arXiv 1603.09025](https://arxiv.org/abs/1603.09025));
# [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/recurrent_batch_norm.ipynb);
# [the source of the layer](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/recurrent_batch_norm.py).
#
# You should know the LSTM and [the lesson of batch normalization](batch_norm.ipynb). Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. The problem in numbers
#
# **One weight, used at every step, makes the state fade or saturate. Standardised at every step, its size no longer matters.**
#
# The smallest recurrent network has one unit and one weight: $h_t=\tanh(w\,h_{t-1})$. Let it start from four examples and take ten steps.
# Then let it standardise $w\,h_{t-1}$ over the four before the tanh, times $\gamma=0.1$:

# %%
start = torch.tensor([0.4, 0.1, -0.2, -0.3], dtype=torch.float64)


def plain(h, w):
    return torch.tanh(w * h)


def normed(h, w):
    z = w * h
    return torch.tanh(gamma * (z - z.mean()) / z.std(unbiased=False))


# %%
gamma = 0.1
for step, weights in ((plain, (0.5, 2.0)), (normed, (0.5, 2.0, 50.0))):
    for w in weights:
        first = h = step(start.clone().requires_grad_(), w)
        for _ in range(9):
            h = step(h, w)
        slope = torch.tensor([1.0, -1, 2, 0], dtype=torch.float64)  # any loss
        (gradient,) = torch.autograd.grad(h @ slope, first)
        kept = gradient.norm() / slope.norm()
        values = [round(v, 4) + 0.0 for v in h.tolist()]
        print(f"{step.__name__} w={w:g}: {values} gradient kept {kept:.5f}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four lines over ten steps, two panels. Without the norm, solid lines for w 0.5 run together at zero within five steps, dashed lines for w 2 run to plus and minus 0.96. With the norm the four lines keep their distances at about plus 0.15 to minus 0.11, the same for w 0.5, 2 and 50."}} tags=["hide-input"]
# @title The same numbers, drawn
fig, (left, right) = figures.panels(2, columns=2)
for ax, step, weights in ((left, plain, (0.5, 2.0)), (right, normed, (0.5, 2.0))):
    for w, style in zip(weights, ("-", "--"), strict=True):
        states = [start]
        for _ in range(10):
            states.append(step(states[-1], w))
        color = PLAIN if step is plain else BATCH
        ax.plot(range(11), torch.stack(states), style, color=color, linewidth=1.4)
        ax.plot([], [], style, color=color, label=f"w = {w:g}")
    ax.set(xlabel="step", ylim=(-1.05, 1.05))
    ax.legend(loc="upper right", fontsize=8.5)
left.set(ylabel="state of four examples")
left.set_title("plain: fades, or saturates", fontsize=10)
right.set_title("normalised: w does not matter", fontsize=10)
plt.show()

# %% [markdown]
# Without the norm the examples end in one point or in two corners, and at most a five-hundredth of the last gradient arrives at the first step. With it $w$ drops out; the four
# stay apart, and nine tenths of the gradient arrive. The latter two hang on the 0.1:
#
# **Change it.** In the cell above, write `gamma = 1.0` for `gamma = 0.1`.
#
# <details><summary>What happens</summary>
#
# ```text
# plain w=0.5: [0.0004, 0.0001, -0.0002, -0.0003] gradient kept 0.00194
# plain w=2: [0.9575, 0.9575, -0.9575, -0.9575] gradient kept 0.00002
# normed w=0.5: [0.7634, 0.7598, -0.761, -0.7621] gradient kept 0.00694…
# ```
#
# $w$ still does not matter, but the four collapse into two corners, as without the norm, and the gradient goes with them. The norm alone is not enough; its scale decides.
#
# </details>
#
# A network that has to remember needs a gradient that survives. Where do the norms go in an LSTM, and why is 0.1 the right start?

# %% [markdown]
# ## 2. From the LSTM to the normalised cell
#
# **Three norms: of what comes from the old state, of what comes from the input, and of the cell on its way out.**
#
# An LSTM computes four vectors from the old state $h_{t-1}$ and the input $x_t$, by weights $W_h$ ($4H\times H$) and $W_x$, and a bias $b$:
#
# $$ (i,f,g,o)_t = W_hh_{t-1} + W_xx_t + b \tag{RBN.1} $$
#
# Three of them are gates, the fourth is what is written into the cell $c$; the state is read from the cell:
#
# $$ c_t=\sigma(f_t)\odot c_{t-1}+\sigma(i_t)\odot\tanh(g_t), \qquad h_t=\sigma(o_t)\odot\tanh(c_t) \tag{RBN.2} $$
#
# Typed as they stand, two steps, against PyTorch's layer, whose order of the four, $i,f,g,o$, is also ours:

# %%
D, H, B = 3, 4, 6  # input features, units, examples in a batch
lstm = nn.LSTM(D, H).double()
W_x, W_h, b, _ = (p.detach() for p in lstm.parameters())
lstm.bias_hh_l0.data.zero_()
x, h, c = normal(2, B, D), torch.zeros(B, H).double(), torch.zeros(B, H).double()
torchs = lstm(x)[0]
for t in range(2):
    a = h @ W_h.T + x[t] @ W_x.T + b
    both = torch.cat([h, x[t]], 1) @ torch.cat([W_h, W_x], 1).T + b
    check("RBN.1", a, both, "two products = one with both inputs side by side")
    i, f, g, o = a.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    check("RBN.2", h, torchs[t].detach(), f"step {t + 1} = torch.nn.LSTM's")

# %% [markdown]
# Batch normalization takes a vector that every example of the batch has, and standardises each of its entries over the batch, with mean $\mu$
# and variance $\sigma^2$ of the batch; its offset $\beta$ we write apart:
#
# $$ \operatorname{BN}(z;\gamma) = \gamma\odot\frac{z-\mu}{\sqrt{\sigma^2+\varepsilon}} \tag{RBN.3} $$
#
# The *batch-normalised LSTM* puts it in three places. Twice in the four vectors:
#
# $$ (i,f,g,o)_t = \operatorname{BN}(W_hh_{t-1};\gamma_h) + \operatorname{BN}(W_xx_t;\gamma_x) + b \tag{RBN.4} $$
#
# and once where the cell is read, while its update stays that of (RBN.2):
#
# $$ h_t=\sigma(o_t)\odot\tanh\bigl(\operatorname{BN}(c_t;\gamma_c)+\beta_c\bigr) \tag{RBN.5} $$
#
# The three $\gamma$, and $\beta_c$, are learned and *shared by all steps*; mean and variance belong to one step. Against PyTorch's batch norm, and against
# the library's layer:


# %%
def bn(z, gamma, eps=1e-5):
    mu, var = z.mean(0), z.var(0, unbiased=False)
    return gamma * (z - mu) / torch.sqrt(var + eps)


z, gamma = 2 + 0.01 * normal(B, H), normal(H)
torchs = F.batch_norm(z, None, None, gamma, training=True)
check("RBN.3", bn(z, gamma), torchs, "the formula = torch's batch norm, ε included")

# %%
layer = BatchNormLSTM(D, H, max_length=2).double()
for parameter in layer.parameters():
    parameter.data.add_(0.3 * normal(*parameter.shape))  # no value is special
W_x, W_h, b, scale_x, scale_h, scale_c, beta_c = (
    p.detach() for p in layer.parameters()
)
outputs = layer(x)[0].detach()
h, c = torch.zeros(B, H).double(), torch.zeros(B, H).double()
for t in range(2):
    a = bn(h @ W_h.T, scale_h) + bn(x[t] @ W_x.T, scale_x) + b
    hidden = F.batch_norm(h @ W_h.T, None, None, scale_h, b, training=True)
    inputs = F.batch_norm(x[t] @ W_x.T, None, None, scale_x, training=True)
    check("RBN.4", a, hidden + inputs, f"step {t + 1}: typed = torch's batch norms")
    i, f, g, o = a.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(bn(c, scale_c) + beta_c)
    check("RBN.5", h, outputs[t], f"step {t + 1} = the library's layer")

# %% [markdown]
# Two things look odd. Every batch norm has an offset; why is there one $b$ for two of them? And why is the cell normalised only on its way out?

# %% [markdown]
# ## 3. One bias, one bare path
#
# **Three offsets in one sum are one. And a cell that is normalised while it remembers forgets what it holds.**
#
# Give each norm an offset of its own, $a=\operatorname{BN}(W_hh;\gamma_h)+\beta_h+\operatorname{BN}(W_xx;\gamma_x)+\beta_x+b$. Only $\beta_h+\beta_x+b$ counts, and with $\delta_n=\partial L/\partial a_n$ for example $n$,
#
# $$ \frac{\partial L}{\partial\beta_h}=\frac{\partial L}{\partial\beta_x}=\frac{\partial L}{\partial b}=\sum_n\delta_n \tag{RBN.6} $$
#
# So $\beta_h=\beta_x=0$, for good. On the second question: batch norm cannot tell $c$ from $s\,c+k$, for any $s>0$ and $k$ (with $\varepsilon=0$):
#
# $$ \operatorname{BN}(s\,c+k;\gamma)=\operatorname{BN}(c;\gamma) \tag{RBN.7} $$

# %%
offsets = [normal(4 * H).requires_grad_() for _ in range(3)]
a = bn(normal(B, 4 * H), scale_h) + offsets[0]
a = a + bn(normal(B, 4 * H), scale_x) + offsets[1] + offsets[2]
a.retain_grad()
(torch.sin(a) * normal(B, 4 * H)).sum().backward()  # any loss
for offset in offsets:
    check("RBN.6", offset.grad, a.grad.sum(0), "each offset gets the same gradient")
c, s, k = normal(B, H), 7.0, normal(H)
check(
    "RBN.7", bn(s * c + k, scale_c, eps=0), bn(c, scale_c, eps=0), "scale, offset lost"
)

# %% [markdown]
# What leaves the cell in (RBN.5) forgets scale and offset, too; the cell itself must not. It is the LSTM's memory and adds up what the gates let in. Were it normalised at every step, everything old would be brought
# to the size $\gamma$ again before something new is added. Store a value once, then let nine small writes come that add up to nothing:

# %%
gamma = 0.1
first = torch.tensor([2.0, -1.0, -1.0])  # three examples
writes = torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.5, -0.5], [-0.5, 0.0, 0.5]]).repeat(
    3, 1
)
bare = normalised = first
for write in writes:
    bare, normalised = bare + write, bn(normalised, gamma) + write
for name, c in (("bare", bare), ("normalised", normalised)):
    print(name, [round(v, 2) + 0.0 for v in c.tolist()])

# %% [markdown]
# The bare cell holds what was stored. The normalised one holds the last write, $(-0.5, 0, 0.5)$, and a little of the one before.
#
# **Change it.** In the cell above, write `gamma = 10.0` for `gamma = 0.1`.
#
# <details><summary>What happens</summary>
#
# ```text
# bare [2.0, -1.0, -1.0]
# normalised [13.64, -6.79, -6.85]
# ```
#
# Now the old outweighs everything new. $\gamma$ would decide how long the cell remembers, and by (RBN.7) a forget gate that is alike for all examples would drop out.
#
# </details>
#
# In (RBN.5) the norm sees $c_t$ only on its way to $h_t$: what it takes away is lost for one step's output, not for the memory. From cell to cell a value, and a gradient, still pass by $\sigma(f)$ alone.
#
# Next: why two norms in (RBN.4), when one of the sum would be cheaper?

# %% [markdown]
# ## 4. Why two norms, and not one of the sum?
#
# **In one norm the louder term silences the other. Two norms give the memory its share.**
#
# Call $s_h,s_x$ the standard deviations of $W_hh_{t-1}$ and $W_xx_t$ over the batch, and let the two be uncorrelated. The share of the hidden term in the
# variance of $i,f,g,o$ is
#
# $$ \text{one norm of the sum: } \frac{s_h^2}{s_h^2+s_x^2}, \qquad \text{two norms: } \frac{\gamma_h^2}{\gamma_h^2+\gamma_x^2} \tag{RBN.8} $$
#
# A share is a squared correlation with the hidden term, so it can be read off the outcome:

# %%
s_h, s_x, gamma_h, gamma_x = 0.05, 1.0, 0.1, 0.2
hidden = s_h * torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
inputs = s_x * torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)  # uncorrelated
one = bn(hidden + inputs, gamma_h, eps=0)
two = bn(hidden, gamma_h, eps=0) + bn(inputs, gamma_x, eps=0)
shares = [torch.corrcoef(torch.stack([a, hidden]))[0, 1] ** 2 for a in (one, two)]
check("RBN.8", s_h**2 / (s_h**2 + s_x**2), shares[0].item(), "share, one norm")
check("RBN.8", gamma_h**2 / (gamma_h**2 + gamma_x**2), shares[1].item(), "two norms")
print(f"one norm: {shares[0]:.4f}, two norms: {shares[1]:.4f}")

# %% [markdown]
# **Change it.** In the cell above, write `gamma_x = 1.0` for `gamma_x = 0.05`, the first of the four numbers: a state as loud as the input.
#
# <details><summary>What happens</summary>
#
# ```text
# ✓ RBN.8 share, one norm
# ✓ RBN.8 two norms
# one norm: 0.5000, two norms: 0.2000
# ```
#
# One norm goes by loudness; two norms go by $\gamma$, whatever comes in.
#
# </details>

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Share of the hidden state in the variance of the gates against the ratio of both deviations, hidden over input, from 0.01 to 10. With one norm an S-shaped curve from 0 to 1, with dots where training starts: 0.002 for a hundred white inputs, about 0.8 for single pixels of digits. With two norms a level line at one half."}} tags=["hide-input"]
# @title What is left of the memory
digits = Split.load("digits", "train", device).images[:500].flatten(1).T.cpu()
starts = {
    "single pixels\n(digits)": digits[..., None],
    "100 white inputs": torch.randn(64, 500, 100),
}
fig, ax = plt.subplots(figsize=(4.5, 3.0))
ratios = np.logspace(-2, 1, 100)
ax.semilogx(ratios, ratios**2 / (ratios**2 + 1), color=PLAIN)
ax.axhline(0.5, color=BATCH)
for name, sequence in starts.items():
    fresh = BatchNormLSTM(sequence.shape[-1], 100, max_length=64)
    fresh(sequence)  # stores 0.9 · 1 + 0.1 · variance
    variances = [
        10 * (v[8:] - 0.9) for v in (fresh.running_var_hh, fresh.running_var_ih)
    ]
    ratio = math.sqrt(variances[0].mean() / variances[1].mean())
    share = ratio**2 / (ratio**2 + 1)
    ax.plot([ratio], [share], "o", color=PLAIN)
    ax.text(
        ratio * 1.15, share - 0.1 if share > 0.5 else share + 0.04, name, fontsize=9
    )
    print(f"{name.split(chr(10))[0]}: hidden over input {ratio:.2f}, share {share:.3f}")
ax.text(0.012, 0.53, "two norms, equal γ", color=BATCH)
ax.text(1.0, 0.25, "one norm\nof the sum", color=PLAIN)
ax.set(xlabel="deviation of $W_hh$ over that of $W_xx$", ylabel="share", ylim=(0, 1))
ax.set_title("One norm leaves the memory's share to the input")
plt.show()

# %% [markdown]
# The dots are starts of training. A state is small: $\sigma(o)\approx\frac12$ times $\tanh$ of something of size $\gamma_c=0.1$. Beside a hundred white inputs it is all but inaudible, beside a single pixel it is the louder one: one norm leaves that to the input, two norms give it what $\gamma_h$ says. On permuted digits training mends the former: one norm does as well ([section 5 of the experiments](recurrent_batch_norm_experiments.ipynb)).
#
# That leaves the number that the paper is known for. Why 0.1?

# %% [markdown]
# ## 5. What does γ do to the gradient?
#
# **Without gates, a large γ makes gradients explode where steps mix the units, and vanish where they do not. In the LSTM it makes them explode, and at γ = 0.1 a step is nearly neutral.**
#
# First the measurement, before any training: a random gradient at the last state, followed a hundred steps back. Above, a network without gates and without input, $h_t=\tanh(\operatorname{BN}(Wh_{t-1};\gamma))$, with an orthogonal $W$ and with $W=I$;
# below, the LSTM of (RBN.4) and (RBN.5).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four panels, length of the gradient, log scale, against steps back, 0 to 100, for gamma 0.1, 0.5 and 1. Tanh with orthogonal weights: level for 0.1, rising to about 4 for 1. Tanh with the identity: level for 0.1, falling to about minus 20 for 1. The LSTM without input and with white input: slightly falling or level for 0.1, rising to about 2 for 1."}} tags=["hide-input"]
# @title One picture for both starts
rows = sweep(experiment.GAINS, "book", device="cpu")
fig, axes = figures.panels(4, columns=2, sharex=True)
SHADES = {0.1: BATCH, 0.5: DATA, 1.0: figures.COLORS["fast"]}
TITLES = {
    ("tanh", "orthogonal", "none"): "tanh, orthogonal W:\nlarge γ explodes",
    ("tanh", "identity", "none"): "tanh, W = I:\nlarge γ vanishes",
    ("lstm", "orthogonal", "none"): "LSTM, no input:\nlarge γ explodes",
    ("lstm", "orthogonal", "white"): "LSTM, white input:\nlarge γ explodes",
}
for ax, (chosen, title) in zip(axes, TITLES.items(), strict=True):
    for gamma, color in SHADES.items():
        where = (rows[["cell", "weights", "inputs"]] == list(chosen)).all(axis=1)
        curves = rows[where & (rows.gamma == gamma)].curve_norm
        runs = [(range(len(curve)), curve) for curve in curves]
        figures.every_run(ax, runs, f"γ = {gamma:g}", color)
    ax.axhline(0, color=MUTED, linestyle=":", linewidth=1)
    ax.set_title(title, fontsize=9.5)
for ax in axes[2:]:
    ax.set(xlabel="steps back")
for ax in axes[::2]:
    ax.set(ylabel="log₁₀ of length")
axes[0].legend(fontsize=8.5)
plt.show()

# %% [markdown]
# *Networks of 100 units, batches of 100, five of each kind.* Why do the first two panels differ, and why is 0.1 neutral in both?
#
# Take the network without gates, $h_t=\tanh(z_t)$ with $z_t=\operatorname{BN}(W h_{t-1};\gamma)$, for $W$ orthogonal. On its way back through one step a gradient meets three factors: $\tanh'(z_t)$, then
# $\gamma/\sigma$ of the norm, then $W^\top$, which turns it and leaves its length. (Batch norm's backward pass also removes two directions of the batch, of $B$: little.) In a wide network every entry of $z_t$ is a sum of
# many, so nearly normal, with deviation $\gamma$, and $\sigma^2=\operatorname{Var}[\tanh z_{t-1}]$. The squared length is multiplied by
#
# $$ \chi=\frac{\gamma^2\,\mathbb E\bigl[\tanh'(z)^2\bigr]}{\operatorname{Var}[\tanh z]}, \qquad z\sim\mathcal N(0,\gamma^2) \tag{RBN.9} $$
#
# A fine grid gives the expectations. Against one step of a network with 300 units, in a batch of 300:


# %%
nodes = torch.linspace(-12, 12, 2401, dtype=torch.float64)
weights = torch.exp(-(nodes**2) / 2) / torch.exp(-(nodes**2) / 2).sum()


def chi(gamma, gamma_x=0.0):
    z = math.sqrt(gamma**2 + gamma_x**2) * nodes
    slope = 1 - torch.tanh(z) ** 2
    return gamma**2 * (weights * slope**2).sum() / (weights * torch.tanh(z) ** 2).sum()


def gain(gamma, W, gamma_x=0.0, draws=4):
    n, total = len(W), 0.0  # measured: the gradient's length, before over after
    for _ in range(draws):
        spread = math.sqrt(gamma**2 + gamma_x**2)
        h = torch.tanh(spread * normal(n, n)).requires_grad_()
        z = bn(h @ W.T, gamma, eps=0) + gamma_x * normal(n, n)
        slope = normal(n, n)
        (before,) = torch.autograd.grad(torch.tanh(z), h, slope)
        total += before.square().sum() / slope.square().sum()
    return (total / draws).sqrt()


# %%
W = torch.linalg.qr(normal(300, 300))[0]
for gamma in (0.1, 0.5, 1.0, 2.0):
    one_step = chi(gamma).sqrt()
    check("RBN.9", one_step, gain(gamma, W), f"γ = {gamma}: gain of a step", rtol=6e-3)
    print(f"gain of one step {one_step:.4f}, of a hundred {one_step**100:.3g}")

# %% [markdown]
# So $\gamma=1$ multiplies the gradient by thousands in a hundred steps, and $\gamma=0.1$ by almost exactly 1. Without input, $\chi\ge1$ for every $\gamma$ ([section 1 of the theory](recurrent_batch_norm_theory.ipynb)): in such a network
# nothing vanishes. That is the first panel.
#
# **Change it.** In the cell above, write `torch.eye(300, dtype=torch.float64)` for `torch.linalg.qr(normal(300, 300))[0]`: each unit hears only itself.
#
# <details><summary>What happens</summary>
#
# ```text
# ✓ RBN.9 γ = 0.1: gain of a step
# gain of one step 1.0001, of a hundred 1.01
# AssertionError: RBN.9: left and right are not equal…
# ```
#
# At $\gamma=0.1$ nothing shows. But without mixing $z$ is not normal: it is a unit's own squeezed values, stretched again. At $\gamma=0.5$ the very first step falls short, as the error says: mixing weights gain 1.017. What follows comes below.
#
# </details>
#
# The paper conjectures the opposite: that a large $\gamma$ drives the tanh to where it is flat, and gradients *vanish*. It looks at this factor alone,
#
# $$ \mathbb E\bigl[\tanh'(z)\bigr]=\frac{\mathbb E[z\tanh z]}{\gamma^2}, \qquad z\sim\mathcal N(0,\gamma^2), \tag{RBN.10} $$
#
# (the right side is Stein's lemma: a second route to the number), which falls from 0.99 to 0.61. Two things are left out. Where the tanh is flat its outputs vary less, and the next norm divides by just that, $\sigma$: $\gamma/\sigma$ is 1.59 at $\gamma=1$. And lengths go by the *root mean square* of the slope, 0.68, not by its mean. Together, $1.59\cdot0.68=1.085$.

# %%
for gamma in (0.1, 1.0):
    z = gamma * nodes
    slope = (weights * (1 - torch.tanh(z) ** 2)).sum()
    stein = (weights * z * torch.tanh(z)).sum() / gamma**2
    check("RBN.10", slope, stein, f"γ = {gamma}: mean slope of the tanh")
    over_sigma = gamma / (weights * torch.tanh(z) ** 2).sum().sqrt()
    root = (weights * (1 - torch.tanh(z) ** 2) ** 2).sum().sqrt()
    print(f"mean slope {slope:.4f}, its r.m.s. {root:.4f}, γ/σ {over_sigma:.4f}")

# %% [markdown]
# And yet the paper's own figure shows vanishing. It does not say with which $W$; the authors' code for such a network has $W=I$. Then no unit hears another, nothing is mixed, and each standardises its own values, squashes
# them, standardises again. Extremes are pulled in and the rest pushed out, until the examples of a unit sit in two points: the second panel. For two equal groups at $\pm1$ after the norm, $\sigma=\tanh\gamma$, and a difference *within* a group (that between them is one of the directions which the norm removes) is multiplied by
#
# $$ \frac{\gamma\tanh'(\gamma)}{\tanh\gamma}=\frac{2\gamma}{\sinh 2\gamma}<1 \tag{RBN.11} $$

# %%
for gamma in (0.1, 0.5, 1.0):
    h = math.tanh(gamma) * torch.tensor([1.0, 1, 1, -1, -1, -1], dtype=torch.float64)
    h.requires_grad_()
    out = torch.tanh(bn(h[:, None], gamma, eps=0))
    slope = torch.tensor([[2.0], [-1], [-1], [0], [3], [-3]], dtype=torch.float64)
    (before,) = torch.autograd.grad(out, h, slope)
    limit = 2 * gamma / math.sinh(2 * gamma)
    check("RBN.11", limit * slope[:, 0], before, f"γ = {gamma}: within two groups")
    print(f"gain of one step {limit:.3f}")

# %% [markdown]
# A real network has inputs. In the one without gates they share the variance, and the gradient along $h$ gets only its part. With white input behind a norm of its own,
#
# $$ \chi=\frac{\gamma_h^2\,\mathbb E\bigl[\tanh'(z)^2\bigr]}{\operatorname{Var}[\tanh z]}, \qquad z\sim\mathcal N(0,\gamma_h^2+\gamma_x^2) \tag{RBN.12} $$
#
# and for equal $\gamma$ small, $\chi\to\frac12$: the norm of the input costs a factor 0.71 a step, and a *larger* $\gamma$ forgets less.

# %%
for gamma in (0.1, 0.7, 1.0, 2.0):
    one_step, measured = chi(gamma, gamma).sqrt(), gain(gamma, W, gamma)
    check("RBN.12", one_step, measured, f"γ = {gamma}, with input", rtol=6e-3)
    print(f"gain of one step {one_step:.3f}")

# %% [markdown]
# In the LSTM, the lower panels, the gradient also passes through the cell, which alone would keep about $\sigma(1)=0.73$ a step. We measure both ways together and have no formula for them. The first steps back cost a part of the length at every $\gamma$; from the twentieth on, one step keeps

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Gain of one step in the LSTM, mean over five networks
lstms = rows[rows.cell == "lstm"].copy()
lstms["late"] = [10 ** ((c[-1] - c[20]) / (len(c) - 21)) for c in lstms.curve_norm]
means = lstms.groupby(["inputs", "weights", "gamma"]).late.mean()
for inputs in ("none", "white", "pixels"):
    for kind in ("orthogonal", "identity"):
        values = ", ".join(f"{means[inputs, kind, g]:.3f}" for g in SHADES)
        print(f"input {inputs}, {kind}: {values} at γ = 0.1, 0.5, 1")

# %% [markdown]
# So this is what speaks for a small $\gamma$: in all six cases a step of the LSTM keeps 98 to 101% of the gradient at 0.1, while at $\gamma=1$ it gains 2 to 10%, which a hundred steps turn into ten to ten thousand. The danger of a large $\gamma$ in the LSTM is not that gradients vanish, as the paper conjectures, but that they explode. What $\gamma$ does in training is measured in section 4 of [the experiments](recurrent_batch_norm_experiments.ipynb): less than this picture suggests.

# %% [markdown]
# ## 6. Which statistics at test time?
#
# **Each step's own: the first steps of a sequence are unlike the later ones.**
#
# In evaluation the layer needs stored statistics. For step $t$, from batches $k$ of $m_k$ sequences with mean $\mu_{k,t}$ and biased variance $\sigma^2_{k,t}$:
#
# $$ \mathbb E_t=\frac{\sum_k m_k\,\mu_{k,t}}{\sum_k m_k}, \qquad \operatorname{Var}_t=\frac{\sum_k m_k\,\sigma^2_{k,t}}{\sum_k(m_k-1)} \tag{RBN.13} $$
#
# As in a feed-forward network, training keeps moving averages of them (weight 0.1 for the newest batch). Or make one more pass over training data, in which each step is still normalised by its own batch, and average as displayed: `population_statistics` does that. (In training a batch is divided by the spread within itself; so that is what is averaged.) The recorded runs below use that pass.

# %%
batches = [normal(2, 5, D), 1 + normal(2, 9, D)]
population_statistics(layer, batches)
terms = [batch @ W_x.T for batch in batches]  # (time, batch, 4H) each
sizes = [5, 9]
mean = sum(m * z.mean(1) for m, z in zip(sizes, terms, strict=True)) / sum(sizes)
squares = sum(m * z.var(1, unbiased=False) for m, z in zip(sizes, terms, strict=True))
var = squares / sum(m - 1 for m in sizes)
check("RBN.13", mean, layer.running_mean_ih, "the stored means of two steps")
check("RBN.13", var, layer.running_var_ih, "and variances")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Above, the deviation of four cell units against the step, 1 to 100, in a network trained on characters: it rises within about five steps to 0.27 to 0.45, then stays. Below, mean and deviation of the pixel that is read at each of 64 steps of digits: both swing between 0 and 0.7 through the whole sequence."}} tags=["hide-input"]
# @title Statistics by step, of text and of pictures
texts = sweep(experiment.TEXTS, "book", device="cpu")
row = texts[(texts.model == "batch") & (texts.weight_init == 0.1)].iloc[0]
pictures = Split.load("digits", "train", device).images.flatten(1).cpu()
fig, (above, below) = figures.panels(2, columns=1)
for unit in np.array(row.units_spread).reshape(4, -1):
    above.plot(range(1, 1 + len(unit)), unit, color=BATCH, linewidth=1.2)
above.set(ylabel="deviation of the cell", ylim=(0, None))
above.set_title("characters: at rest after a few steps")
for values, name, color in (
    (pictures.mean(0), "mean", DATA),
    (pictures.std(0), "deviation", figures.COLORS["fast"]),
):
    below.plot(range(1, 65), values, color=color, linewidth=1.2, label=name)
below.set(xlabel="step", ylabel="of the pixel read")
below.legend(fontsize=8.5, ncols=2)
below.set_title("pictures read pixel by pixel: never")
plt.show()

# %% [markdown]
# *Above: four cell units of a trained network. Below: the input of 1,400 digits, row by row; permuted, the same values come in another order.*
#
# For text one average over time costs 0.02 bits (section 7 of the experiments). In pictures every step has a place of its own: with averaged statistics a network for permuted digits with 15.3±1.4% error makes 77.8±2.7% ([section 8 of the experiments](recurrent_batch_norm_experiments.ipynb)).
#
# Past the last step that has statistics, the library uses that one's.

# %% [markdown]
# ## 7. The whole layer
#
# **A loop over time with three batch norms a step. All that is new stands in three lines.**
#
# It starts with orthogonal weights ($W_h$ as one $4H\times H$ matrix), all $\gamma=0.1$, $\beta_c=0$, and $b=0$ but 1 for the forget gate.


# %%
class MyBatchNormLSTM(nn.Module):
    def __init__(self, inputs, units, steps, gamma=0.1):
        super().__init__()
        self.W_x = nn.Parameter(nn.init.orthogonal_(torch.empty(4 * units, inputs)))
        self.W_h = nn.Parameter(nn.init.orthogonal_(torch.empty(4 * units, units)))
        self.b = nn.Parameter(torch.eye(4)[1].repeat_interleave(units))  # forget: 1
        sizes = (4 * units, 4 * units, units)
        self.gammas = nn.ParameterList(torch.full((n,), gamma) for n in sizes)
        self.beta_c = nn.Parameter(torch.zeros(units))  # shared by all steps, as γ is
        norms = (nn.BatchNorm1d(n, affine=False) for n in sizes * steps)
        self.norms = nn.ModuleList(norms)  # three a step

    def forward(self, x):  # (time, batch, inputs)
        outputs, c = [], x.new_zeros(x.shape[1], len(self.beta_c))
        h, last = c, len(self.norms) // 3 - 1
        for t, x_t in enumerate(x):
            bn_x, bn_h, bn_c = self.norms[3 * min(t, last) :][:3]
            hidden = self.gammas[1] * bn_h(h @ self.W_h.T)
            a = hidden + self.gammas[0] * bn_x(x_t @ self.W_x.T) + self.b  # (RBN.4)
            i, f, g, o = a.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # (RBN.2)
            h = torch.sigmoid(o) * torch.tanh(self.gammas[2] * bn_c(c) + self.beta_c)
            outputs.append(h)  # (RBN.5)
        return torch.stack(outputs)


# %% [markdown]
# `BatchNorm1d` brings the moving averages with it. Against the library's layer, with its parameters, in training and, three steps longer than the stored
# statistics, in evaluation:

# %%
mine, layer = (
    MyBatchNormLSTM(D, H, 4).double(),
    BatchNormLSTM(D, H, max_length=4).double(),
)
own = [mine.W_x, mine.W_h, mine.b, *mine.gammas, mine.beta_c]
for here, there in zip(own, layer.parameters(), strict=True):
    there.data.add_(0.3 * normal(*there.shape))
    here.data.copy_(there)
for name in ("training", "training", "evaluation"):
    x = normal(7 if name == "evaluation" else 4, B, D)
    mine.train(name == "training"), layer.train(name == "training")
    check(
        "RBN.5", mine(x).detach(), layer(x)[0].detach(), f"mine = the library's, {name}"
    )

# %% [markdown]
# Two differences are left. In training, steps past the last stored one leave the library's statistics alone, and stored steps that were never trained are skipped in evaluation. The library computes with one backward pass of its own for the whole recurrence, and takes `lengths` ([section 10 of the theory](recurrent_batch_norm_theory.ipynb)).

# %% [markdown]
# ## 8. Explore
#
# **How much of a gradient a step keeps depends on γ and on how loud the input is.**
#
# Above, the gain of one step against $\gamma_h$ for the input that you choose; below, what the tanh does with $z$.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: γ and the input
GAMMAS = (0.1, 0.3, 0.5, 1.0, 2.0)
grid = np.linspace(0.05, 2.2, 60)


def draw(gamma, input_over_hidden):
    fig, (above, below) = figures.panels(2, columns=1)
    above.plot(grid, [chi(g, g * input_over_hidden).sqrt() for g in grid], color=BATCH)
    value = float(chi(gamma, gamma * input_over_hidden).sqrt())
    above.plot([gamma], [value], "o", color=BATCH)
    above.axhline(1, color=MUTED, linestyle=":", linewidth=1)
    above.set(xlabel="γ of the hidden term", ylabel="gain of a step", ylim=(0, 1.4))
    spread = gamma * math.sqrt(1 + input_over_hidden**2)
    z = np.linspace(-4, 4, 200)
    density = np.exp(-((z / spread) ** 2) / 2)
    below.fill_between(z, density, color=DATA, alpha=0.6, label="where z lies")
    below.plot(z, 1 - np.tanh(z) ** 2, color=MUTED, label="slope of the tanh")
    below.set(xlabel="z", yticks=[], ylim=(0, 1.35))
    below.legend(ncols=2, loc="upper center", fontsize=9)
    fig.suptitle(f"One step keeps {value:.3f}; a hundred steps keep {value**100:.2g}")
    return fig


def describe(gamma, input_over_hidden):
    value = float(chi(gamma, gamma * input_over_hidden).sqrt())
    return f"Gain of one step {value:.3f} at gamma {gamma}, input {input_over_hidden}"


explore(draw, alt=describe, gamma=GAMMAS, input_over_hidden=(0.0, 0.3, 1.0, 3.0))

# %% [markdown]
# <details><summary>What you see</summary>
#
# Without input the curve starts at 1 and rises. Any input pulls its left end down, to $1/\sqrt{1+r^2}$ for a ratio $r$; then a larger $\gamma$ keeps more.
#
# </details>
#
# The next one follows a gradient through a network of your choice, step by step.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: the gradient through time
followed = sweep(experiment.GAINS, "book", device="cpu")


def pick(cell, gamma, weights, inputs):
    wanted = {"cell": cell, "gamma": gamma, "weights": weights, "inputs": inputs}
    where = (followed[list(wanted)] == list(wanted.values())).all(axis=1)
    return [np.array(curve) for curve in followed[where].curve_norm]


def draw(cell, gamma, weights, inputs):
    fig, ax = plt.subplots(figsize=(4.5, 3.0))
    curves = pick(cell, gamma, weights, inputs)
    figures.every_run(ax, [(range(len(c)), c) for c in curves], "", BATCH)
    ax.set(xlabel="steps back", ylabel="log₁₀ of the length", ylim=(-25, 5))
    mean = np.mean([curve[-1] for curve in curves])
    ax.set_title(f"After {len(curves[0]) - 1} steps: 10 to the {mean:.1f}")
    return fig


def describe(cell, gamma, weights, inputs):
    mean = np.mean([curve[-1] for curve in pick(cell, gamma, weights, inputs)])
    return f"{cell}, {weights}, input {inputs}, gamma {gamma}: 10 to the {mean:.1f}"


explore(
    draw,
    alt=describe,
    cell=("tanh", "lstm"),
    gamma=(0.1, 0.5, 1.0),
    weights=("orthogonal", "identity"),
    inputs=("none", "white", "pixels"),
)

# %% [markdown]
# ## 9. It works
#
# **With equal searches and numbers of updates, the normalised LSTM is ahead on MNIST and on characters; on small digits, permuted, all three are within the scatter.**
#
# Digits of 8×8 pixels, a pixel a step. Here are 80 updates of each at its searched rate:

# %% tags=["nbval-ignore-output"]
arms = {"LSTM": experiment.ROWS["lstm"], "BN-LSTM": experiment.ROWS["batch"]}
for name, arm in arms.items():
    rate = experiment.TUNED_DIGITS[arm]
    config = replace(arm, learning_rate=rate, updates=80)
    result = experiment.train(config, seed=0, device=device)
    print(f"{name}: validation error {result['validation_error']:.0f}% (rate {rate:g})")

# %% [markdown]
# The recorded runs, each arm at the rate of its own search, are these:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four panels, every run a dot, the paper's numbers as black bars. MNIST in order: LSTM at 19, 24 and 86 per cent, batch norm 6 to 9; paper 1.1 and 1.0. MNIST permuted: LSTM 20, layer norm 17 to 21, batch norm 14; paper 9.8 and 4.6. Small digits permuted: all three between 14 and 20. Characters: LSTM 2.56 to 2.59, layer norm 2.42 to 2.45, batch norm 2.41 to 2.43; paper 1.38 and 1.32."}} tags=["hide-input"]
# @title The paper's claim and ours
mnist, texts, digits = (
    sweep(table, "book", device="cpu")
    for table in (experiment.MNIST, experiment.TEXTS, experiment.DIGITS)
)
NAMES = {"lstm": ("LSTM", PLAIN), "layer": ("LN", LAYER), "batch": ("BN", BATCH)}
texts = texts[(texts.model != "batch") | (texts.weight_init == 0.1)]
PANELS = (
    (mnist[mnist.order == "rows"], "MNIST, in order", {"lstm": 1.1, "batch": 1.0}),
    (mnist[mnist.order == "permuted"], "MNIST, permuted", {"lstm": 9.8, "batch": 4.6}),
    (digits[digits.order == "permuted"], "small digits, permuted", {}),
    (texts, "characters", {"lstm": 1.38, "batch": 1.32}),
)
fig, axes = figures.panels(4, columns=2)
for ax, (rows, title, paper) in zip(axes, PANELS, strict=True):
    metric = "test_bits" if rows is texts else "test_error"
    shown = [model for model in NAMES if (rows.model == model).any()]
    for place, model in enumerate(shown):
        figures.dots(ax, place, rows[rows.model == model][metric], NAMES[model][1])
        if model in paper:
            black = figures.COLORS["paper"]
            ax.plot([place - 0.3, place + 0.3], 2 * [paper[model]], color=black)
    ax.set_xticks(range(len(shown)), [NAMES[model][0] for model in shown])
    ax.set_title(title, fontsize=10)
    ax.set_ylim(bottom=1 if rows is texts else 0)
for ax in axes[:3]:
    ax.set_ylabel("test error, %", fontsize=9)
axes[3].set_ylabel("bits a character", fontsize=9)
plt.show()

# %% [markdown]
# *Every dot is a run; black: the paper, on 28×28 pixels with 100 units, and on Penn Treebank with 1,000. Ours: MNIST at 14×14, 64 units, 1,000 updates, rates searched there; characters of Shakespeare, 128 units, 1,000 updates. On pixels the LSTM and layer norm get standardised pixels, and the LSTM the start that did best on digits; one of its three runs in order fails. Layer norm was not run on MNIST in order.* The paper trained a hundred times longer: on MNIST our errors are those of networks that are still learning.

# %% [markdown]
# ## 10. What is it worth?
#
# - **Pixels:** MNIST permuted 13.8±0.1 against 18.7±1.7 (layer norm) and 20.2±0.5%, in order 7.3±1.6 against 24.5, 19.3 and a failure; permuted digits 15.3±1.4, 16.2±0.8 (layer norm) and 16.9±2.1% ([section 2 of the experiments](recurrent_batch_norm_experiments.ipynb)).
# - **Characters:** 2.42±0.01 bits against 2.58±0.02 for the LSTM and 2.43±0.01 for layer norm, 2.42±0.02 with $\gamma=1$; longer texts at test time cost nothing ([sections 6 and 7 of the experiments](recurrent_batch_norm_experiments.ipynb)).
# - **Which idea matters:** at test time, each step's own statistics; in training on permuted digits, the norm of the cell (3.1 points of error, three runs), then a $\gamma$ below one (1.9; on characters nothing); two norms instead of one make no difference there ([sections 4 and 5 of the experiments](recurrent_batch_norm_experiments.ipynb)).
# - **Unequal lengths:** masked statistics are noisy where few sequences still run, and lose to padded ones beyond the trained lengths; a plain LSTM is better there ([section 9 of the experiments](recurrent_batch_norm_experiments.ipynb)).
# - **A trap:** where all examples agree, as at the border of pictures, two norms with $1/\sqrt\varepsilon$ each multiply a gradient by more than a hundred a step. Noise on $h$ and $c$ at the start cures it; the runs in order have it ([section 10 of the experiments](recurrent_batch_norm_experiments.ipynb)).
#
# **When to use it.** A recurrent layer that must learn in few updates, on sequences of one length. **When not:** unequal lengths, training on a stream (small batches: not tested here); and the statistics are 18 numbers per step and unit, at 100 units more than the weights from 24 steps on ([section 7 of the theory](recurrent_batch_norm_theory.ipynb)). **What came after:** [layer normalization](https://arxiv.org/abs/1607.06450) needs neither batch nor stored statistics, and became the norm of recurrent networks and of Transformers.

# %% [markdown]
# ## 11. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(chi_hard)`: it prints "right", or raises with what is wrong.
# Harder ones are on [the theory page](recurrent_batch_norm_theory.ipynb).
#
# **1 (calculation).** Replace the tanh by the *hard* tanh, $\phi(z)=\max(-1,\min(1,z))$. Give $\chi$ of (RBN.9) for it, in closed form or by a grid of your own. (The slope is 1 where $|z|<1$; a closed form needs the error function.)


# %% tags=["exercise-1"]
def chi_hard(gamma):
    """χ of one step without input, a float, for the hard tanh"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(function):
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    for gamma in (0.2, 0.7, 1.0, 1.7):
        value = gamma * z
        inside = (value.abs() < 1).double()
        slope = torch.trapezoid(density * inside, z)
        variance = torch.trapezoid(density * value.clamp(-1, 1) ** 2, z)
        expected = float(gamma**2 * slope / variance)
        answer = float(function(gamma))
        assert abs(answer - expected) < 1e-3 * expected, (
            f"γ = {gamma}: {answer:.4f}, expected {expected:.4f}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# With $a=1/\gamma$ and $P=\Pr(|u|<a)=\operatorname{erf}(a/\sqrt2)$ for a standard normal $u$: the slope squared is 1 with probability $P$; and
# $\mathbb E[u^2;|u|<a]=P-2a\,\varphi(a)$.
#
# ```python
# def chi_hard(gamma):
#     a = 1 / gamma
#     inside = math.erf(a / math.sqrt(2))
#     density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
#     variance = gamma**2 * (inside - 2 * a * density) + (1 - inside)
#     return gamma**2 * inside / variance
# ```
#
# It is above 1, as for every activation that is not a straight line.
#
# </details>
#
# **2 (variation).** Layer normalization standardises each example by itself, over its features; no batch, no stored statistics, no step. Write one step of the layer-normalised LSTM, with norms where (RBN.4) and (RBN.5) have them. In (RBN.4) each is over all $4H$ entries of an example.


# %% tags=["exercise-2"]
def layer_norm_step(x, h, c, W_x, W_h, b, gamma_x, gamma_h, gamma_c, beta_c):
    """h and c after one step; x (B, D), h and c (B, H), gamma_x, gamma_h (4H,), gamma_c, beta_c (H,), ε = 1e-5"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(function):
    torch.manual_seed(1)
    B, D, H = 3, 2, 5
    x, h, c = normal(B, D), normal(B, H), normal(B, H)
    W_x, W_h, b = normal(4 * H, D), normal(4 * H, H), normal(4 * H)
    gamma_x, gamma_h, gamma_c, beta_c = (
        normal(4 * H),
        normal(4 * H),
        normal(H),
        normal(H),
    )
    a = F.layer_norm(x @ W_x.T, (4 * H,), gamma_x, b)
    i, f, g, o = (a + F.layer_norm(h @ W_h.T, (4 * H,), gamma_h)).chunk(4, 1)
    cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
    state = o.sigmoid() * F.layer_norm(cell, (H,), gamma_c, beta_c).tanh()
    answer = function(x, h, c, W_x, W_h, b, gamma_x, gamma_h, gamma_c, beta_c)
    for name, found, right in zip("hc", answer, (state, cell), strict=True):
        assert found.shape == right.shape, f"{name} has shape {tuple(found.shape)}"
        assert torch.allclose(found, right, rtol=1e-9), f"{name} is wrong"
    alone = function(
        x[:1], h[:1], c[:1], W_x, W_h, b, gamma_x, gamma_h, gamma_c, beta_c
    )
    assert torch.allclose(alone[0], state[:1]), "an example must not see the others"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# ```python
# def layer_norm_step(x, h, c, W_x, W_h, b, gamma_x, gamma_h, gamma_c, beta_c):
#     def ln(z, gamma):
#         mean, var = z.mean(-1, keepdim=True), z.var(-1, unbiased=False, keepdim=True)
#         return gamma * (z - mean) / torch.sqrt(var + 1e-5)
#
#     a = ln(h @ W_h.T, gamma_h) + ln(x @ W_x.T, gamma_x) + b
#     i, f, g, o = a.chunk(4, dim=1)
#     c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
#     return torch.sigmoid(o) * torch.tanh(ln(c, gamma_c) + beta_c), c
# ```
#
# With one pixel a step it has a flaw of its own: $W_xx_t=w\,x_t$ for a number $x_t$, and layer norm of that keeps the sign of $x_t$ and, up to $\varepsilon$, nothing else.
#
# </details>
#
# **3 (implementation).** Sequences of a batch end at different steps. Write (RBN.3) for one step with a mask: statistics over the sequences that still run; what comes out for the others does not matter, but no gradient may reach them, and it may be infinite or NaN.


# %% tags=["exercise-3"]
def masked_bn(z, gamma, running, eps=1e-5):
    """(B, n) from z (B, n), gamma (n,) and running (B,), of booleans, at least two true"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(function):
    torch.manual_seed(2)
    z, gamma = 3 + normal(7, 4), normal(4)
    running = torch.tensor([True, False, True, True, False, True, False])
    slope = normal(7, 4) * running[:, None]
    free, other = z.clone().requires_grad_(), z[running].clone().requires_grad_()
    answer = function(free, gamma, running)
    assert answer.shape == z.shape, f"shape {tuple(answer.shape)}, expected (7, 4)"
    expected = F.batch_norm(other, None, None, gamma, training=True)
    torch.testing.assert_close(answer[running], expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(answer, free, slope)
    (right,) = torch.autograd.grad(expected, other, slope[running])
    torch.testing.assert_close(gradient[running], right, rtol=1e-8, atol=1e-12)
    assert float(gradient[~running].abs().max()) == 0, "a gradient into the padding"
    padded = torch.where(running[:, None], z, torch.full_like(z, math.inf))
    padded.requires_grad_()
    answer = function(padded, gamma, running)
    torch.testing.assert_close(answer[running], expected, rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(answer[running], padded, slope[running])
    torch.testing.assert_close(gradient[running], right, rtol=1e-8, atol=1e-12)
    damped = F.batch_norm(z[running], None, None, gamma, training=True, eps=0.3)
    answer = function(z, gamma, running, eps=0.3)
    torch.testing.assert_close(answer[running], damped, rtol=1e-9, atol=1e-12)
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# ```python
# def masked_bn(z, gamma, running, eps=1e-5):
#     z = torch.where(running[:, None], z, 0)
#     share = (running / running.sum())[:, None].to(z.dtype)
#     mean = (share * z).sum(0)
#     var = (share * (z - mean) ** 2).sum(0)
#     return gamma * (z - mean) / torch.sqrt(var + eps)
# ```
#
# Zero times infinity is not a number: take the padding out before any arithmetic.
#
# </details>

# %% [markdown]
# ## 12. Symbols
#
# | symbol | in code | what |
# |---|---|---|
# | $t$, $T$; $B$; $H$ | axes of `input`: time, batch | step, steps; sequences in a batch; units |
# | $x_t$, $h_t$, $c_t$ | `input`, `output`, `state` | input, state, cell |
# | $i,f,g,o$ | rows of the weights, in this order | three gates and what is written, before $\sigma$ and $\tanh$ |
# | $W_x$, $W_h$, $b$ | `weight_ih`, `weight_hh`, `bias` | weights and the only bias of the four |
# | $\gamma_x$, $\gamma_h$, $\gamma_c$; $\beta_c$ | `scale_ih`, `scale_hh`, `scale_c`; `bias_c` | scales of the norms; offset of the cell's |
# | $\mu$, $\sigma^2$; $\varepsilon$ | `running_mean_…`, `running_var_…`; `eps` | mean and variance over the batch at one step |
# | $\chi$ | | squared gain of a gradient's length in one step |
