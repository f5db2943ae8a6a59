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
# # Batch normalization: standardise every feature over the batch
#
# **The problem.** Deep networks need small steps and a careful start: a rate a little too large, or badly scaled weights, and training
# stalls or diverges. The inventors blamed *internal covariate shift*: every update of the lower layers changes the distribution of what
# the upper ones receive. The method works; that explanation is doubtful (section 12).
#
# **The idea.** Let each layer standardise each of its features over the mini-batch, $\hat x=v\,(x-\mu)$ with
# $v=1/\sqrt{\sigma^2+\varepsilon}$, give it two learned numbers $\gamma,\beta$ to choose another scale and offset, and
# *let the gradient* of the loss $L$ *know* that $\mu$ and $\sigma$ depend on the batch:
#
# $$ y=\gamma\,\hat x+\beta \quad\Longrightarrow\quad \frac{\partial L}{\partial x_i}=\gamma v\Bigl(g_i-\operatorname{mean}(g)-\hat x_i\operatorname{mean}(g\,\hat x)\Bigr), \qquad g=\frac{\partial L}{\partial y} $$

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
from dataclasses import replace
from fractions import Fraction
from itertools import product

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from workedpapers.batch_norm import (
    BatchNorm,
    batch_norm,
    batch_norm_backward,
    fold,
    population_statistics,
)
from workedpapers.experiments import batch_norm as experiment
from workedpapers.lab import check, explore, figures, progress, setup, sweep
from workedpapers.tasks.splits import Split

device = setup(seed=0)
WITH, WITHOUT, DATA, MUTED = (
    figures.COLORS[role] for role in ("learned", "baseline", "data", "muted")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Three number lines. Eight examples at 2, 4, 4, 4, 5, 5, 7, 9; below, the same after standardising, from minus 1.5 to 2; at the bottom, after the last example alone was moved from 9 to 25: the other seven have drawn together between minus 0.72 and 0."}} tags=["hide-input"]
# @title The idea in one picture
received = torch.tensor([2.0, 4, 4, 4, 5, 5, 7, 9], dtype=torch.float64)
moved = torch.tensor([2.0, 4, 4, 4, 5, 5, 7, 25], dtype=torch.float64)
fig, axes = plt.subplots(3, 1, figsize=(4.5, 3.6))
for ax, values, title, color in (
    (axes[0], received, "one unit receives eight examples", DATA),
    (axes[1], received, "standardised over the eight", WITH),
    (axes[2], moved, "the same if only the last had been 25", WITH),
):
    if ax is not axes[0]:
        values = (values - values.mean()) / values.std(unbiased=False)
        ax.set_xlim(-2, 3)
    heights = [(values[:i] == value).sum() for i, value in enumerate(values)]
    ax.scatter(values, heights, color=color, s=42)
    ax.scatter(values[-1:], heights[-1:], color="white", edgecolor=color, s=42)
    ax.axvline(values.mean(), color=MUTED, linestyle=":", linewidth=1)
    ax.set(ylim=(-0.6, 2.8), yticks=[])
    ax.set_title(title)
    ax.spines["left"].set_visible(False)
plt.show()

# %% [markdown]
# **What we found**, on MNIST:
#
# - at one low rate for both, the layer looks like a miracle: after 1,000 updates 9% error with it, 49% without. With each arm tuned it
#   wins by three tenths of a point, 2.33 against 2.64%;
# - more rates work with it: up to 5 instead of 1 in a small convolutional network.
#
# **Use it** in convolutional networks. **Not** where examples must not see each other, where a feature has few values in a batch, or for
# sequences (section 12).
#
# **Minutes:** problem 3 · forward 3 · the layer 3 · explore 2 · naive gradients 2 · backward 5 · inference 4 · maps 3 ·
# scale 4 · it works 5 · relatives 2 · worth 2.
#
# **Beside this lesson:** [the experiments](batch_norm_experiments.ipynb), a figure for each question;
# [the theory](batch_norm_theory.ipynb), with proofs, precision, cost, errata; the paper, Ioffe and Szegedy 2015
# ([arXiv 1502.03167](https://arxiv.org/abs/1502.03167));
# [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/batch_norm.ipynb);
# [the source of the layer](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/batch_norm.py).
#
# Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. The problem in numbers
#
# **Standardising is a school exercise. Doing it over a batch ties the examples together.**
#
# You standardise the inputs of a network before training. Why stop there? To the tenth layer the ninth is the input. Take one unit
# somewhere inside, and what it receives for eight examples:

# %%
x = torch.tensor([2.0, 4, 4, 4, 5, 5, 7, 9], dtype=torch.float64)
mean, deviation = x.mean(), x.std(unbiased=False)
x_hat = (x - mean) / deviation
print(f"mean {mean:g}, deviation {deviation:g}")
print("standardised:", [round(value, 2) for value in x_hat.tolist()])

# %% [markdown]
# Whatever the layers below do, what goes up has mean 0 and deviation 1. But the examples are no longer strangers to each other:
#
# **Change it.** In the cell above, write `7, 25]` for `7, 9]`: another last example. What happens to the first seven?
#
# <details><summary>What happens</summary>
#
# ```text
# mean 7, deviation 6.9282
# standardised: [-0.72, -0.43, -0.43, -0.43, -0.29, -0.29, 0.0, 2.6]
# ```
#
# All of them move, as in the lowest row of the picture. An example's output depends on its company.
#
# </details>
#
# So does its gradient. Take a loss that looks at the *first* output alone, $L=\hat x_1$, and ask PyTorch for the gradient at
# the eight inputs:

# %%
leaf = x.clone().requires_grad_()
first = ((leaf - leaf.mean()) / leaf.std(unbiased=False))[0]
(gradient,) = torch.autograd.grad(first, leaf)
print([round(value, 3) for value in gradient.tolist()])
print("sum is zero:", bool(gradient.sum().abs() < 1e-12))

# %% [markdown]
# All eight get a gradient from a loss that asks about one, and the eight add up to zero (section 6 says why). First the layer
# itself: which mean, which variance, and what if the unit was better off as it was?

# %% [markdown]
# ## 2. The layer, forward
#
# **It fixes two moments of every feature, and nothing else.**
#
# A mini-batch holds $m$ values $x_1,\dots,x_m$ of one feature; every other feature is treated alike, by itself. Take the mean and
# the variance of the batch:
#
# $$ \mu = \frac1m\sum_{i=1}^m x_i, \qquad \sigma^2 = \frac1m\sum_{i=1}^m (x_i-\mu)^2 \tag{BN.1} $$
#
# This is the *biased* variance, divided by $m$. Standardise, and let two learned numbers per feature choose a new scale and offset:
#
# $$ y_i = \gamma\,\hat x_i + \beta, \qquad \hat x_i = \frac{x_i-\mu}{\sqrt{\sigma^2+\varepsilon}} \tag{BN.2} $$
#
# $\varepsilon$ guards against a feature that is constant in the batch; PyTorch takes $10^{-5}$ and starts from $\gamma=1$,
# $\beta=0$. The cell gets the variance a second way, from the differences of all pairs, and the layer from PyTorch:

# %%
m, features, eps = 12, 3, 0.3  # a large ε, so that errors in it show
x = 2 + 3 * torch.randn(m, features, dtype=torch.float64)
gamma, beta = torch.randn(2, features, dtype=torch.float64)

mu = sum(x) / m
var = sum((x_i - mu) ** 2 for x_i in x) / m
pairs = sum((x_i - x_j) ** 2 for x_i in x for x_j in x) / (2 * m**2)
check("BN.1", var, pairs, "variance about the mean = from all pairs, without a mean")

# %%
x_hat = (x - mu) / torch.sqrt(var + eps)
y = gamma * x_hat + beta
torchs = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
check("BN.2", y, torchs, "the two formulas = torch's layer")

# %% [markdown]
# What does this fix? The deviations from the mean add up to zero, and their mean square is $\sigma^2$:
#
# $$ \sum_i\hat x_i = 0, \qquad \frac1m\sum_i\hat x_i^2 = \frac{\sigma^2}{\sigma^2+\varepsilon} =: \rho \tag{BN.3} $$
#
# $\rho$ is 1 for $\varepsilon=0$ and else a little less. Nothing else is fixed: features stay correlated (this is *not* whitening, whatever some
# reviews say), and a lopsided distribution stays lopsided (it does *not* become Gaussian): an affine map cannot change a shape
# ([section 7 of the theory](batch_norm_theory.ipynb)).
#
# Has the network lost something that it needs? With the right $\gamma$ and $\beta$ the layer does nothing:
#
# $$ \gamma=\sqrt{\sigma^2+\varepsilon},\;\beta=\mu \quad\Rightarrow\quad y_i = x_i \tag{BN.4} $$

# %%
rho = var / (var + eps)
check("BN.3", x_hat.sum(0), torch.zeros_like(mu), "standardised values add up to 0")
check("BN.3", x_hat.square().mean(0), rho, "their mean square = ρ")

scale, offset = torch.sqrt(var + eps), mu
undone = F.batch_norm(x, None, None, scale, offset, training=True, eps=eps)
check("BN.4", undone, x, "with the right γ and β the layer does nothing")

# %% [markdown]
# For *this* batch. The next has other statistics. And which are used once training is over, when there is no batch?

# %% [markdown]
# ## 3. The whole layer
#
# **Twenty lines with two branches: in training the batch's own statistics, in evaluation remembered ones.**
#
# In training the layer keeps a moving average of mean and variance; in evaluation it uses that, so that an example is answered
# without asking who else came along. Three things are explained later: the factor $m/(m-1)$ (section 7), why `mean` and `var`
# are *not* detached from the gradient (section 5), and `axes` (section 8).


# %%
class MyBatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))  # γ
        self.bias = nn.Parameter(torch.zeros(num_features))  # β
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.eps, self.momentum = eps, momentum

    def forward(self, x):  # (N, C) or (N, C, height, width)
        axes = [0, *range(2, x.dim())]  # all but the channels
        shape = (1, -1, *[1] * (x.dim() - 2))  # a number a channel, to broadcast
        if self.training:
            mean, var = x.mean(axes), x.var(axes, unbiased=False)  # (BN.1)
            m = x.numel() / x.shape[1]
            with torch.no_grad():  # (BN.13), unbiased
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * m / (m - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        x_hat = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return self.weight.view(shape) * x_hat + self.bias.view(shape)  # (BN.2)


# %% [markdown]
# `lerp_(new, α)` moves a tensor the share α of the way to `new`. The averages are *buffers*: saved with the model, moved to the GPU
# with it, touched by no optimiser. Against PyTorch's layer, in three training steps and in evaluation:

# %%
mine, theirs = MyBatchNorm(features).double(), nn.BatchNorm1d(features).double()
for layer in (mine, theirs):
    layer.weight.data, layer.bias.data = gamma.clone(), beta.clone()
for _ in range(3):
    batch = 5 + 2 * torch.randn(6, features, dtype=torch.float64)
    outputs = mine(batch), theirs(batch)
check("BN.2", *(output.detach() for output in outputs), "mine = torch's, in training")
check("BN.13", mine.running_mean, theirs.running_mean, "and the running mean")
check("BN.13", mine.running_var, theirs.running_var, "and the running variance")
answers = mine.eval()(batch), theirs.eval()(batch)
check("BN.10", *(answer.detach() for answer in answers), "and the evaluation")

# %% [markdown]
# **Change it.** In the cell above, write `mine(batch[:1]), theirs(batch[:1])` for `mine.eval()(batch), theirs.eval()(batch)`: one
# example, in training mode.
#
# <details><summary>What happens</summary>
#
# ```text
# ValueError: Expected more than 1 value per channel when training…
# ```
#
# Alone in its batch an example is its own mean: $\hat x=0$, and the output is $\beta$ whatever comes in. PyTorch refuses; yours
# divides 0 by $m-1=0$, and `running_var` is NaN from then on. One *image* has
# many values a channel, and nobody complains.
#
# </details>
#
# %% [markdown]
# ## 4. Explore
#
# **What comes out depends on how many examples share a batch, most of all below eight.**
#
# Above, what one unit receives for 3,072 examples. Below, what leaves the layer if they arrive in batches of the size that you
# choose. Start with two.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: batch size, γ, β
generator = torch.Generator().manual_seed(4)
unit = torch.where(
    torch.rand(3072, generator=generator, dtype=torch.float64) < 0.7,
    5 + 0.6 * torch.randn(3072, generator=generator, dtype=torch.float64),
    8 + 0.9 * torch.randn(3072, generator=generator, dtype=torch.float64),
)


def in_batches(batch_size, gamma, beta):
    grouped = unit.view(-1, batch_size).T  # one batch a column: columns are normalised
    return (gamma * batch_norm(grouped, None, None) + beta).flatten()


def draw(batch_size, gamma, beta):
    fig, (above, below) = figures.panels(2, columns=1)
    above.hist(unit, bins=60, color=DATA)
    above.set(xlabel="what the unit receives", ylabel="examples", xlim=(2, 12))
    out = in_batches(batch_size, gamma, beta)
    below.hist(out, bins=60, range=(-5, 9), color=WITH)
    below.set(xlabel="what leaves the layer", ylabel="examples", xlim=(-5, 9))
    fig.suptitle(
        f"Batches of {batch_size}: mean {abs(out.mean()):.2f}, deviation {out.std():.2f}"
    )
    return fig


def describe(batch_size, gamma, beta):
    out = in_batches(batch_size, gamma, beta)
    return (
        f"Two histograms. The unit has peaks at 5 and 8. After the layer with batches of {batch_size}, γ = {gamma} and "
        f"β = {beta}: mean {abs(out.mean()):.2f}, deviation {out.std():.2f}, smallest {out.min():.1f}, largest {out.max():.1f}."
    )


explore(
    draw, alt=describe, batch_size=(2, 4, 8, 32, 256), gamma=(1.0, 2.0), beta=(0.0, 1.0)
)

# %% [markdown]
# <details><summary>What you see</summary>
#
# With two, whatever the unit saw, it says $\beta\pm\gamma$. With four, values pile up at a wall: none can leave $\pm\sqrt{m-1}$
# ([section 1 of the theory](batch_norm_theory.ipynb)). From 32 on the shape is the old one.
#
# </details>
#
# Could one compute $\mu$ and $\sigma$ outside of the graph, as constants?

# %% [markdown]
# ## 5. What if the gradient ignores the batch?
#
# **Then a bias can grow without bound while the loss stands still.**
#
# A layer adds a bias, $x_i=u_i+b$, and its output is only centred here, $\hat x=x-\mu$. Suppose that the step treats $\mu$ as a constant.
# Then it moves $b$ by $-\eta\,D$. But $\mu$ moves along, $\hat x$ stays what it was, and so do the loss and $D$. The next step is the same again:
#
# $$ b_t = b_0-t\,\eta\,D, \qquad D=\sum_i\frac{\partial L}{\partial\hat x_i} \tag{BN.5} $$

# %%
u, goal = torch.randn(m, dtype=torch.float64), torch.rand(m, dtype=torch.float64)
b_0, eta = torch.tensor(0.4, dtype=torch.float64), 0.1
b, biases, losses = b_0.clone().requires_grad_(), [0.4], []
for _ in range(100):
    x_b = u + b
    loss = ((x_b - x_b.mean().detach() - goal) ** 2).mean()
    (slope,) = torch.autograd.grad(loss, b)
    b = (b - eta * slope).detach().requires_grad_()
    biases.append(b.item())
    losses.append(loss.item())

print(f"bias after 100 steps: {b.item():.1f}")
D = (2 * (u - u.mean() - goal) / m).sum()  # by hand, from the mean of squares
t = torch.arange(101, dtype=torch.float64)
line = torch.tensor(biases, dtype=torch.float64)
check("BN.5", line, b_0 - t * eta * D, "the bias drifts in a straight line")
check("BN.5", losses[-1], losses[0], "and the loss stands still")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Over 100 steps the bias rises in a straight line while the loss stays constant."}} tags=["hide-input"]
# @title The drift
fig, ax = plt.subplots()
ax.plot(biases, color=figures.COLORS["wrong"], label="bias")
ax.plot(losses, color=MUTED, linestyle="--", label="loss")
ax.set(xlabel="step", title="The bias runs away, the loss does not notice")
ax.legend()
plt.show()

# %% [markdown]
# **Change it.** In the cell above the figure, write `x_b.mean()` for `x_b.mean().detach()`: the gradient goes through the mean.
#
# <details><summary>What happens</summary>
#
# ```text
# bias after 100 steps: 0.4
# AssertionError: BN.5: left and right are not equal…
# ```
#
# A step along $b$ changes nothing, and now the gradient says so.
#
# </details>
#
# What does the true gradient look like?

# %% [markdown]
# ## 6. The backward pass
#
# **The gradient is the incoming one with two parts taken out: its mean, and its part along the standardised feature.**
#
# Write $g_i=\partial L/\partial y_i$ for what arrives from above and $v=1/\sqrt{\sigma^2+\varepsilon}$. The two learned numbers act on
# every example, so their gradients are sums:
#
# $$ \frac{\partial L}{\partial\beta}=\sum_i g_i, \qquad \frac{\partial L}{\partial\gamma}=\sum_i g_i\,\hat x_i \tag{BN.6} $$
#
# For $x$, first go forward. Change the batch a little, by $dx_i$: the mean moves by $\operatorname{mean}(dx)$, the variance by
# $\frac2m\sum_j(x_j-\mu)\,dx_j$, and $v$ by $-\frac12v^3$ times that. With $x_i-\mu=\hat x_i/v$,
#
# $$ d\hat x_i = v\Bigl(dx_i-\operatorname{mean}(dx)-\hat x_i\operatorname{mean}(\hat x\,dx)\Bigr) $$
#
# A change is passed on without the part that shifts the whole batch and without the part that stretches it (for $\varepsilon>0$ a share $1-\rho$ of this one stays): those the layer undoes.
# Now backward. $\partial\hat x_i/\partial x_j=v\,(\delta_{ij}-\frac1m-\frac1m\hat x_i\hat x_j)$, with $\delta_{ij}=1$ for $i=j$ and else 0, is
# symmetric in $i$ and $j$. So $\sum_i\gamma g_i\,\partial\hat x_i/\partial x_j$ is the same formula with $\gamma g$ in the place of $dx$:
#
# $$ \frac{\partial L}{\partial x_i} = \gamma v\Bigl(g_i - \frac1m\frac{\partial L}{\partial\beta} - \frac{\hat x_i}{m}\frac{\partial L}{\partial\gamma}\Bigr) \tag{BN.7} $$
#
# Two sums over the batch and one expression per value, for every $\varepsilon$
# ([section 2 of the theory](batch_norm_theory.ipynb): the paper's six lines say the same).

# %%
g = torch.randn(m, features, dtype=torch.float64)
leaves = [tensor.clone().requires_grad_() for tensor in (x, gamma, beta)]
out = F.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=eps)
auto_x, auto_gamma, auto_beta = torch.autograd.grad(out, leaves, g)

d_beta, d_gamma = g.sum(0), (g * x_hat).sum(0)
check("BN.6", d_beta, auto_beta, "gradient of β = the sum of g")
check("BN.6", d_gamma, auto_gamma, "gradient of γ = the sum of g times x̂")

# %%
v = 1 / torch.sqrt(var + eps)
d_x = gamma * v * (g - d_beta / m - x_hat * d_gamma / m)
check("BN.7", d_x, auto_x, "one expression = torch's backward pass")
check("BN.7", d_x, batch_norm_backward(g, x, gamma, eps)[0], "= the library's")

# %%
layer = MyBatchNorm(features, eps).double()
layer.weight.data, layer.bias.data = gamma, beta
(of_mine,) = torch.autograd.grad(layer(leaves[0]), leaves[0], g)
check("BN.7", d_x, of_mine, "= that of my layer")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Three rows of eight bars, one bar an example. The gradient from above is one at the first example and zero elsewhere. After its mean is taken out: 0.875 and minus 0.125. After the part along the standardised values is taken out, too, and multiplied by v: 0.30, then three times minus 0.11, twice minus 0.06, 0.03 and 0.12."}} tags=["hide-input"]
# @title The gradient of section 1, step by step
from_above = torch.zeros(8, dtype=torch.float64)
from_above[0] = 1
standardised = (received - 5) / 2
centred = from_above - from_above.mean()
left = centred - standardised * (from_above * standardised).mean()
fig, axes = plt.subplots(3, 1, figsize=(4.5, 4.2), sharex=True)
for ax, bars, title in zip(
    axes,
    (from_above, centred, 0.5 * left),
    (
        "g: the loss asks for the first example",
        "less its mean",
        "less its part along x̂, times v = ½",
    ),
    strict=True,
):
    ax.bar(range(8), bars, color=WITH)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.set_title(title)
axes[2].set_xticks(range(8), [f"{value:g}" for value in received])
axes[2].set(xlabel="example (its value)")
plt.show()

# %% [markdown]
# The lowest row is what PyTorch gave in section 1. Pull up the second example, a 4: the mean rises, the batch narrows, $\hat x_1$ sinks:
# negative. Pull up the 9: the mean rises, too, but the batch also widens, which draws $\hat x_1=-1.5$ towards zero: positive.
#
# As a matrix, with $\mathbf 1$ the vector of ones:
#
# $$ \frac{\partial L}{\partial x} = \gamma v\,P\,g, \qquad P = I - \frac{\mathbf 1\mathbf 1^\top}{m} - \frac{\hat x\,\hat x^\top}{m} \tag{BN.8} $$
#
# For $\varepsilon=0$ $P$ is the orthogonal projector onto what is neither shift nor stretch. Multiply by $\mathbf 1^\top$ and by
# $\hat x^\top$ and use (BN.3): the zero of section 1, and a second sum that is almost zero,
#
# $$ \sum_i\frac{\partial L}{\partial x_i}=0, \qquad \sum_i\hat x_i\frac{\partial L}{\partial x_i} = \gamma v\,(1-\rho)\,\frac{\partial L}{\partial\gamma} \tag{BN.9} $$


# %%
def one_feature(x):  # (m,) -> (m,)
    return F.batch_norm(x[:, None], None, None, gamma[:1], None, True, eps=eps)[:, 0]


jacobian = torch.autograd.functional.jacobian(one_feature, x[:, 0])
P = torch.eye(m, dtype=torch.float64) - 1 / m
P = P - torch.outer(x_hat[:, 0], x_hat[:, 0]) / m
check("BN.8", gamma[0] * v[0] * P, jacobian, "γ v P = the layer's Jacobian")
check("BN.9", auto_x.sum(0), torch.zeros_like(mu), "no gradient along the shift")
stretch = gamma * v * (1 - rho) * d_gamma
check("BN.9", (x_hat * auto_x).sum(0), stretch, "almost none along the stretch")

# %% [markdown]
# Two directions are lost. In a batch of two, for $\varepsilon=0$, that is all: $\hat x=\pm1$ for any two different values, and no gradient
# passes ([section 3 of the theory](batch_norm_theory.ipynb)). And a batch of one, when the network is in use?

# %% [markdown]
# ## 7. Inference: which variance?
#
# **A batch is described by its own, biased variance. For an example not yet seen you need the population's, and its estimate is
# unbiased.**
#
# In use, the batch's mean and variance give way to those of the whole training set, $\mathrm E[x]$ and $\mathrm{Var}[x]$. What
# remains is one affine map:
#
# $$ y = k\,x + c, \qquad k=\frac{\gamma}{\sqrt{\mathrm{Var}[x]+\varepsilon}}, \quad c=\beta-k\,\mathrm E[x] \tag{BN.10} $$
#
# Where do the two numbers come from? Take the examples of a batch as independent draws. Its mean is right on average. Its variance
# is too small, for it is measured about the batch's own mean, which lies closer to the batch than the true one:
#
# $$ \mathrm E\,[\sigma^2] = \frac{m-1}{m}\,\mathrm{Var}[x] \tag{BN.11} $$
#
# *Proof.* By the pairs of section 2, $\sigma^2=\frac1{2m^2}\sum_{i,j}(x_i-x_j)^2$. For $i\ne j$, $\mathrm E\,(x_i-x_j)^2=2\,\mathrm{Var}[x]$;
# for $i=j$ the term is zero. Of the $m^2$ pairs $m(m-1)$ have $i\ne j$. $\blacksquare$ Exactly, over all batches that can be
# drawn from four values, with repetition:

# %%
values = [Fraction(n) for n in (1, 2, 2, 7)]


def moments(numbers):
    mean = sum(numbers) / len(numbers)
    return mean, sum((n - mean) ** 2 for n in numbers) / len(numbers)


for size in (2, 4, 3):
    batches = list(product(values, repeat=size))
    average = sum(moments(batch)[1] for batch in batches) / len(batches)
    expected = Fraction(size - 1, size) * moments(values)[1]
    print(f"batches of {size}: {average} on average, the values {moments(values)[1]}")
    check("BN.11", average, expected, f"all {len(batches)} batches of {size}, exactly")

# %% [markdown]
# **Change it.** In the cell above, write `for n in numbers) / (len(numbers) - 1)` for `for n in numbers) / len(numbers)`: the unbiased
# variance everywhere.
#
# <details><summary>What happens</summary>
#
# ```text
# batches of 2: 11/2 on average, the values 22/3
# AssertionError: BN.11: left and right are not equal…
# ```
#
# The batches now average to 11/2, the true variance. The second number is wrong: the four values *are* the population.
#
# </details>
#
# So the paper's algorithm 2 averages over training batches $B$ of one size and multiplies:
#
# $$ \mathrm E[x]\leftarrow\mathrm E_B[\mu_B], \qquad \mathrm{Var}[x]\leftarrow\frac{m}{m-1}\,\mathrm E_B[\sigma_B^2] \tag{BN.12} $$
#
# PyTorch therefore uses two variances. It *normalises* with the biased one: then the batch's own mean square is $\rho\approx1$. It *stores* the
# unbiased one, an estimate for examples not yet seen. In scale they differ by 0.8% at $m=60$, by 41% at $m=2$.
#
# An extra pass costs time, so frameworks keep a moving average $r$ of the batches' statistics $s$ instead, with a small weight
# $\alpha$ for the newest (PyTorch's `momentum`, 0.1; Keras gives that name to $1-\alpha$):
#
# $$ r_t = (1-\alpha)\,r_{t-1}+\alpha\,s_t \tag{BN.13} $$

# %%
batches = 5 + 2 * torch.randn(40, 6, features, dtype=torch.float64)  # 40 batches of 6
model = nn.Sequential(BatchNorm(features, eps=eps).double())
population_statistics(model, batches)  # the library's algorithm 2
mean = sum(batch.mean(0) for batch in batches) / 40
m_B = 6
variance = m_B / (m_B - 1) * sum(((b - b.mean(0)) ** 2).mean(0) for b in batches) / 40
check("BN.12", model[0].running_mean, mean, "mean of the batch means")
check("BN.12", model[0].running_var, variance, "6/5 times the mean variance")
print(f"in scale {(60 / 59) ** 0.5 - 1:.1%} at m = 60, {2**0.5 - 1:.0%} at m = 2")

# %%
model[0].weight.data, model[0].bias.data = gamma, beta
k = gamma / torch.sqrt(variance + eps)
c = beta - k * mean
check("BN.10", model.eval()(x).detach(), k * x + c, "evaluation = one affine map")

# %%
norm = BatchNorm(features, momentum=0.1).double()
r = torch.ones(features, dtype=torch.float64)  # the start: variance 1
for batch in batches[:20]:
    norm(batch)
    r = (1 - 0.1) * r + 0.1 * batch.var(0, unbiased=True)
check("BN.13", norm.running_var, r, "the recursion = the library's buffer")

# %% [markdown]
# How far does it lag behind? The paper's network on MNIST, five runs for each $\alpha$:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test error over the first 400 updates, five runs each. With algorithm 2 it falls from 30 to 47 percent at 20 updates to 10. The moving average with weight 0.1 lags a little and meets it after about 100 updates; with weight 0.01 it is at 40 percent or above for 100 updates and comes close only after about 300."}} tags=["hide-input"]
# @title Figure: a slow average is late
statistics = sweep(experiment.STATISTICS, "book", device="cpu")
fig, ax = plt.subplots()
for momentum, role in ((0.01, "wrong"), (0.1, "peer")):
    runs = statistics[statistics.momentum == momentum]
    curves = zip(runs.curve_updates, runs.curve_error, strict=True)
    label = f"moving average, α = {momentum}"
    figures.every_run(ax, curves, label, figures.COLORS[role])
curves = zip(runs.curve_updates, runs.curve_population, strict=True)
figures.every_run(ax, curves, "algorithm 2", WITH)
ax.set(xlabel="updates", ylabel="test error (%)", ylim=(0, 100))
ax.set_title("A slow average is late")
ax.legend()
plt.show()

# %% [markdown]
# With $\alpha=0.01$ the start still weighs $0.99^{100}=37\%$ after 100 batches. **If your network trains well and
# evaluates badly, recompute the statistics before you look further.**

# %% [markdown]
# ## 8. Feature maps, biases, folding
#
# **A convolution has one mean and variance per map. A bias below the layer is useless. After training the layer can be removed.**
#
# A convolution computes the same feature at every site. To keep it the same, all sites of a map share their statistics: sites are more
# examples, $N\,p\,q$ values for $N$ images of $p\times q$ sites. With $i$ for the image, $j$ for the map, $s$ for the site,
#
# $$ \mathrm{BN}(x)_{ijs} = \mathrm{BN}(x')_{(is)\,j}, \qquad x'_{(is)\,j}=x_{ijs} \tag{BN.14} $$
#
# A linear layer $Wu+b$ that is normalised needs no $b$. It moves all values and their mean alike:
#
# $$ \mathrm{BN}(Wu+b)=\mathrm{BN}(Wu), \qquad \frac{\partial L}{\partial b}=\sum_i\frac{\partial L}{\partial x_i}=0 \tag{BN.15} $$
#
# the first sum of (BN.9). Hence `bias=False` in front of so many batch norms; $\beta$ does its work. And in use, (BN.10) follows a
# linear map: two affine maps in a row are one, and the layer costs nothing:
#
# $$ k\,(Wu+b)+c = W_f\,u+b_f, \qquad W_f=\operatorname{diag}(k)\,W, \quad b_f=k\,(b-\mathrm E[x])+\beta \tag{BN.16} $$

# %%
images = torch.randn(4, features, 5, 6, dtype=torch.float64)
layer, theirs = MyBatchNorm(features).double(), nn.BatchNorm2d(features).double()
of_images, _ = layer(images).detach(), theirs(images)
check("BN.13", layer.running_var, theirs.running_var, "120 values a map")
rows = images.movedim(1, -1).reshape(-1, features)  # every site an example
as_rows = layer(rows).view(4, 5, 6, features).movedim(-1, 1)
check("BN.14", of_images, as_rows.detach(), "sites = more examples")

# %%
u, W = torch.randn(m, 4, dtype=torch.float64), torch.randn(features, 4).double()
b = torch.randn(features, dtype=torch.float64, requires_grad=True)
pre = u @ W.T + b
with_bias, without = layer(pre), layer(u @ W.T)
d_b, d_pre = torch.autograd.grad((g * with_bias).sum(), (b, pre))
check("BN.15", with_bias.detach(), without.detach(), "the bias disappears")
check("BN.15", d_b, d_pre.sum(0), "its gradient is the sum", atol=1e-12)
check("BN.15", d_b, torch.zeros_like(d_b), "and that is zero")

# %%
conv, norm = nn.Conv2d(2, features, 3, padding=1).double(), BatchNorm(features).double()
nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
norm(conv(torch.randn(8, 2, 6, 6, dtype=torch.float64)))  # moves the statistics
picture = torch.randn(1, 2, 6, 6, dtype=torch.float64)
two_layers = norm.eval()(conv(picture)).detach()

k = norm.weight / torch.sqrt(norm.running_var + norm.eps)
W_f = k[:, None, None, None] * conv.weight
b_f = k * (conv.bias - norm.running_mean) + norm.bias
one_layer = F.conv2d(picture, W_f, b_f, padding=1).detach()
check("BN.16", two_layers, one_layer, "convolution and norm = one convolution")
check("BN.16", fold(conv, norm)(picture).detach(), one_layer, "= the library's fold")

# %% [markdown]
# So a bias in front no longer matters. What else?

# %% [markdown]
# ## 9. Scale, and the learning rate
#
# **The length of a normalised layer's weights does not matter to the output. It sets the learning rate instead.**
#
# In this section $\varepsilon=0$ ([section 5 of the theory](batch_norm_theory.ipynb) has it with $\varepsilon$). Multiply the weights by
# $a>0$: mean and deviation are multiplied as well, and the output stays. Differentiate with respect to $W$; on the left the chain
# rule gives a factor $a$:
#
# $$ \mathrm{BN}\bigl((aW)u\bigr)=\mathrm{BN}(Wu), \qquad \frac{\partial L}{\partial(aW)}=\frac1a\,\frac{\partial L}{\partial W} \tag{BN.17} $$
#
# Ten times the weights, a tenth of the gradient. (Only for $a>0$, although the paper says "a scalar $a$": for $a<0$, $\hat x$ changes
# its sign.) Since moving along $w$ changes nothing, the gradient is at right angles to $w$, and after a step of gradient
# descent $w'=w-\eta\,\nabla L(w)$ is a hypotenuse:
#
# $$ \lVert w'\rVert^2 = \lVert w\rVert^2+\eta^2\,\lVert\nabla L(w)\rVert^2 \tag{BN.18} $$
#
# Under plain gradient descent the weights of a unit only grow. That is no harm, since only their direction $n=w/\lVert w\rVert$ counts. How fast does it turn? Insert
# $\nabla L(w)=\nabla L(n)/\lVert w\rVert$ from (BN.17) and divide by $\lVert w\rVert$:
#
# $$ \frac{w'}{\lVert w\rVert} = n-\frac{\eta}{\lVert w\rVert^2}\,\nabla L(n) \tag{BN.19} $$
#
# The direction learns at the *effective* rate $\eta/\lVert w\rVert^2$. If the rate is too large, the weights grow, and that lowers it.

# %%
target = torch.randn(m, dtype=torch.float64)


def standardise(x):  # ε = 0
    return (x - x.mean()) / x.std(unbiased=False)


def gradient(w):
    w = w.clone().requires_grad_()
    return torch.autograd.grad(((standardise(u @ w) - target) ** 2).sum(), w)[0]


# %%
w, a, eta = W[0], 3.0, 0.7
check("BN.17", standardise(u @ (a * w)), standardise(u @ w), "the scale disappears")
check("BN.17", gradient(a * w), gradient(w) / a, "a third of the gradient")

# %%
moved = w - eta * gradient(w)
pythagoras = w.square().sum() + eta**2 * gradient(w).square().sum()
check("BN.18", moved.square().sum(), pythagoras, "length² + step² = new length²")
n = w / w.norm()
turned = n - eta / w.square().sum() * gradient(n)
check("BN.19", moved / w.norm(), turned, "the direction turns at a rate of its own")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels over 100 steps at rates 0.1, 1 and 10. The length of w stays near 2 at rate 0.1, grows to 3 at rate 1 and jumps to 20 at rate 10. The effective rate of 10 falls from 2 to 0.02, where that of 0.1 lies; that of 1 falls from 0.2 to 0.1."}} tags=["hide-input"]
# @title A hundred steps at three rates
fig, (left, right) = figures.panels(2)
for rate, role in ((0.1, "data"), (1.0, "learned"), (10.0, "wrong")):
    walk, lengths = w.clone(), []
    for _ in range(101):
        lengths.append(walk.norm().item())
        walk = walk - rate * gradient(walk)
    line = {"color": figures.COLORS[role], "linestyle": "--" if rate == 0.1 else "-"}
    left.semilogy(lengths, label=f"η = {rate:g}", **line)
    effective = [rate / length**2 for length in lengths]
    right.semilogy(effective, zorder=3 if rate == 0.1 else 2, **line)
left.set(xlabel="step", title="length of w")
right.set(xlabel="step", title="effective rate η / ‖w‖²")
left.legend()
fig.suptitle("A rate of 10 lengthens w and so slows itself down")
plt.show()

# %% [markdown]
# So weight decay below the layer does not make the function simpler: it keeps the weights short and the effective rate high
# ([van Laarhoven 2017](https://arxiv.org/abs/1706.05350)). Does all this help a network?

# %% [markdown]
# ## 10. It works
#
# **The better the plain network is tuned, the smaller the miracle.**
#
# First live: the paper's network, three hidden layers of 100 sigmoids, without your layer and with it between each linear map and its
# sigmoid, on the small digits that come with scikit-learn.


# %%
def network(norm, std):
    layers = [nn.Flatten()]
    for inputs in (64, 100, 100):
        linear = nn.Linear(inputs, 100)
        nn.init.normal_(linear.weight, std=std)
        layers += [linear, *([MyBatchNorm(100)] if norm else []), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(100, 10)).to(device)


# %%
def train(model, rate, updates=400):
    """Test error in percent after every 20 updates."""
    data, test = (Split.load("digits", part, device) for part in ("train", "test"))
    batches = data.batches(60, torch.Generator().manual_seed(0))
    optimizer, errors = torch.optim.SGD(model.parameters(), lr=rate), []
    for update in progress(range(1, updates + 1)):
        images, labels = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if update % 20 == 0:
            model.eval()
            wrong = model(test.images).argmax(1) != test.labels
            errors.append(100 * float(wrong.float().mean()))
            model.train()
    return errors


# %% mystnb={"image": {"alt": "Test error of two live runs on small digits against updates: with batch norm it falls to 10 percent within the first 40 updates; without it stays near 90 percent for the first 250 updates."}} tags=["nbval-ignore-output"]
std, runs = 0.1, {}
for name, color in (("with", WITH), ("without", WITHOUT)):
    torch.manual_seed(0)
    runs[name] = train(network(name == "with", std), rate=0.5)
    plt.plot(range(20, 401, 20), runs[name], label=name, color=color)
print("without:", "barely started" if runs["without"][-1] > 50 else "trained")
plt.gca().set(xlabel="updates", ylabel="test error (%)", ylim=(0, 100))
plt.title("From small weights, the layer starts at once")
plt.legend()
plt.show()

# %% [markdown]
# **Change it.** In the cell above, write `std, runs = 0.4` for `std, runs = 0.1`: larger starting weights.
#
# <details><summary>What happens</summary>
#
# ```text
# without: trained
# ```
#
# Both end near 10%: the plain network had a bad start.
#
# </details>
#
# So here is the paper's own experiment: MNIST, binary images, batches of 60, 50,000 updates. It names neither the rate nor the deviation
# of its "small random Gaussian" weights. Each arm got one search over five rates and four deviations (10,000 updates, judged on images
# held out, a seed that no final run has).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test error on a log scale against thousand updates, every run a line. Left, both arms at rate 0.1: after 1,000 updates 9 percent with batch norm and 49 without; after 20,000 updates 3.0 and 3.7. Right, each arm at its best: 7.0 without and 7.6 with after 1,000 updates, close together for the first ten thousand; at the end 2.1 to 2.5 percent with and 2.6 to 2.7 without."}} tags=["hide-input"]
# @title The paper's figure 1, tuned
arms = {"none": ("without", WITHOUT), "batch": ("with batch norm", WITH)}
tuned = sweep(experiment.FIGURE, "book", device="cpu")
low = sweep(experiment.FIGURE_LOW, "book", device="cpu")
fig, (left, right) = figures.panels(2, sharey=True)
for ax, rows in ((left, low), (right, tuned)):
    for norm, (label, color) in arms.items():
        runs = rows[rows.norm == norm]
        thousands = (torch.tensor(updates) / 1000 for updates in runs.curve_updates)
        figures.every_run(
            ax, zip(thousands, runs.curve_error, strict=True), label, color
        )
    ax.set(xlabel="thousand updates", yscale="log", ylim=(2, 60))
    ax.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    ax.minorticks_off()
left.set(ylabel="test error (%)", title="both at rate 0.1")
right.set(title="each at its best")
right.legend()
fig.suptitle("A wide gap at one low rate, a narrow one when tuned")
plt.show()

# %% [markdown]
# At rate 0.1 for both (left: three runs each, 20,000 updates): after 1,000 updates 9% against 49%. At the best of each (right: five) the
# layer wins in all five pairs of runs, $2.33\pm0.17$ against $2.64\pm0.06$ (mean and deviation over the runs), and reaches the plain
# network's best error in 1.1 to 3.1 times fewer updates (median 2.4). What of the claim that the layer allows larger rates? A small
# convolutional network, 1,000 updates, eleven rates, three seeds:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test error after 1,000 updates against the learning rate, three runs an arm. Without the layer it lies below the dotted 20 percent at rates 0.3 and 1 only; from 2 on it is 90. With the layer it lies below 20 percent from 0.03 to 5, at 7 the runs end at 19, 21 and 90, from 10 on all at 79 or more."}} tags=["hide-input"]
# @title Which rates work?
rates = sweep(experiment.RANGE, "book", device="cpu")
fig, ax = plt.subplots()
for norm, (label, color) in arms.items():
    for _, run in rates[rates.norm == norm].groupby("seed"):
        ax.plot(
            run.learning_rate,
            run.test_error,
            "o-",
            color=color,
            markersize=3.5,
            linewidth=1,
            label=label,
        )
        label = None
ax.axhline(20, color=MUTED, linewidth=0.8, linestyle=":")
ax.set(xscale="log", xlabel="learning rate", ylabel="test error (%)")
ax.set_title("After 1,000 updates, more rates work with the layer")
ax.legend()
plt.show()

# %% [markdown]
# Without the layer every run errs on less than a fifth at 0.3 and 1; with it from 0.03 to 5. The low end is about speed (the plain network
# at 0.1 needs more updates, not another rate), the high end about stability: fivefold, on this grid.

# %% [markdown]
# ## 11. Relatives
#
# **Layer, instance and group normalisation are the same formula over another set of values.**
#
# Take a tensor $(N,C,H,W)$ and choose the axes $\mathcal S$ over which mean and variance are taken:
#
# $$ \hat x = \frac{x-\mathrm E_{\mathcal S}[x]}{\sqrt{\mathrm{Var}_{\mathcal S}[x]+\varepsilon}}, \qquad \mathcal S = \{N,H,W\},\ \{C,H,W\},\ \{H,W\},\ \{C/G,H,W\} \tag{BN.20} $$

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four grids of examples by channels. The cells that share one mean are coloured: a column, one channel of all examples, for batch norm; a row, all channels of one example, for layer norm; a single cell for instance norm; half a row for group norm with two groups."}} tags=["hide-input"]
# @title Which values share a mean?
shared = {
    "batch": lambda example, channel: channel == 1,
    "layer": lambda example, channel: example == 1,
    "instance": lambda example, channel: (example, channel) == (1, 1),
    "group (G = 2)": lambda example, channel: example == 1 and channel < 3,
}
fig, axes = plt.subplots(2, 2, figsize=(4.5, 3.6))
for ax, (name, together) in zip(axes.flat, shared.items(), strict=True):
    grid = [
        [together(example, channel) for channel in range(6)] for example in range(4)
    ]
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=1.6)
    ax.set_xticks(torch.arange(7) - 0.5, [])
    ax.set_yticks(torch.arange(5) - 0.5, [])
    ax.grid(color=MUTED, linewidth=0.8)
    ax.tick_params(length=0)
    ax.set(title=name, xlabel="channels", ylabel="examples")
fig.suptitle("Only batch norm looks at other examples")
plt.show()


# %%
def over(axes, x):
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(axes, keepdim=True) + eps)


# %%
x = torch.randn(4, 6, 3, 5, dtype=torch.float64)
check("BN.20", over((0, 2, 3), x), batch_norm(x, None, None, eps), "batch norm")
layer_norm = F.layer_norm(x, x.shape[1:], eps=eps)
check("BN.20", over((1, 2, 3), x), layer_norm, "layer norm")
check("BN.20", over((2, 3), x), F.instance_norm(x, eps=eps), "instance norm")
grouped = over((2, 3, 4), x.view(4, 2, 3, 3, 5)).view_as(x)
check("BN.20", grouped, F.group_norm(x, 2, eps=eps), "group norm")

# %% [markdown]
# The last three ask nothing about other examples: they are the same in training and in use, and work with a batch of one.

# %% [markdown]
# ## 12. What is it worth?
#
# - **The paper's 14 times fewer steps** (on ImageNet) are, in our convolutional network on MNIST, 1.4 to 2.2 times fewer than a tuned
#   baseline's, 4 to 8 than those of one at a tenth of its best rate ([section 3 of the experiments](batch_norm_experiments.ipynb)).
# - **Internal covariate shift is probably not the reason.** Noise that shifts and stretches the layer's outputs anew at every update
#   brings it back, and the network learns as well: 2.8% error, with the layer alone 3.0%, without it 2.9%
#   ([section 4 of the experiments](batch_norm_experiments.ipynb)).
# - **Why does it work?** It divides out the scale of the weights, so that a bad start and a large rate correct themselves (section 9).
#   The loss along the gradient changes less ([section 5 of the experiments](batch_norm_experiments.ipynb)); whether that is the cause is
#   open.
# - **Deep stacks of sigmoids** train without it, too, from larger starting weights, but twelve layers err on 6.8%, with it on 3.4%
#   ([section 7 of the experiments](batch_norm_experiments.ipynb)).
# - **Normalising fewer images together seems to regularise**: in groups of 64 a network that sees 2,000 images errs on 8.0%, 256 together
#   on 8.6% ([section 10 of the experiments](batch_norm_experiments.ipynb)).
# - **The batch is part of the model**: sorted batches ruin it ([section 9 of the experiments](batch_norm_experiments.ipynb)).
#
# **When to use it:** convolutional networks with batches that are fair samples of the data; after the linear map, before the
# nonlinearity: `nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()`. **When not:** a feature has few values in a batch, batches
# are sorted, examples must not influence each other, sequences of unequal length. **What came after:** layer norm (in transformers over
# the features of each token), and group norm. The library's layer is `workedpapers.batch_norm.BatchNorm`.

# %% [markdown]
# ## 13. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(outlier_value)`: it prints "right", or raises with what is wrong.
# Harder ones are on [the theory page](batch_norm_theory.ipynb).
#
# **1 (calculation).** One example of a batch of $m$ has the value $z$, all others are zero. Return its standardised value for a given
# $\varepsilon\ge0$ and $z\ne0$, without building the batch.


# %% tags=["exercise-1"]
def outlier_value(m: int, z: float, eps: float) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(outlier_value):
    for m, z, eps in product((2, 5, 60), (-3.0, 0.1, 40.0), (0.0, 1e-5, 0.5)):
        batch = torch.zeros(m, dtype=torch.float64)
        batch[0] = z
        deviation = torch.sqrt(batch.var(unbiased=False) + eps)
        expected = ((batch - batch.mean()) / deviation)[0].item()
        answer = outlier_value(m, z, eps)
        assert abs(answer - expected) < 1e-9, (
            f"m {m}, z {z}, ε {eps}: {answer}, expected {expected}"
        )
    far = outlier_value(10**12, -2.0, 0.0)  # no batch of that size can be built
    assert abs(far + 1e6) < 1e-3, f"m 10¹², z -2, ε 0: {far}, expected -1,000,000"
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# The outlier deviates from the mean by $z-z/m$; the variance is $z^2/m-z^2/m^2=z^2(m-1)/m^2$. For $\varepsilon=0$ the answer is
# $\pm\sqrt{m-1}$: the wall of section 4.
#
# ```python
# def outlier_value(m, z, eps):
#     return z * (m - 1) / m / (z**2 * (m - 1) / m**2 + eps) ** 0.5
# ```
#
# </details>
#
# **2 (implementation).** Write the backward pass of a layer in evaluation, whose statistics are constants: the gradients of input, weight
# and bias. Which terms of (BN.7) are gone?


# %% tags=["exercise-2"]
def frozen_backward(grad_output, x, weight, running_mean, running_var, eps):
    """grad_output and x (N, C), the others (C,) -> grad_x (N, C), grad_weight, grad_bias (C,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(frozen_backward):
    generator = torch.Generator().manual_seed(1)
    for size, eps in ((9, 0.01), (5, 0.7)):
        x, g = torch.randn(2, size, 4, generator=generator, dtype=torch.float64)
        weight, bias, mean = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        var = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        y = F.batch_norm(leaves[0], mean, var, leaves[1], leaves[2], False, eps=eps)
        expected = torch.autograd.grad(y, leaves, g)
        answer = frozen_backward(g, x, weight, mean, var, eps)
        for name, a, b in zip(("x", "weight", "bias"), answer, expected, strict=True):
            assert a.shape == b.shape, f"gradient of {name}: shape {tuple(a.shape)}"
            assert a.dtype == b.dtype, f"gradient of {name}: {a.dtype}"
            assert torch.allclose(a, b), f"the gradient of {name} is wrong"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# Both terms that couple the examples are gone: a frozen layer can train with a batch of one.
#
# ```python
# def frozen_backward(grad_output, x, weight, running_mean, running_var, eps):
#     invstd = 1 / torch.sqrt(running_var + eps)
#     x_hat = (x - running_mean) * invstd
#     return weight * invstd * grad_output, (grad_output * x_hat).sum(0), grad_output.sum(0)
# ```
#
# </details>
#
# **3 (variation).** The layer comes *before* a linear layer, $W(k\,x+c)+b$, in evaluation. Return weight and bias of the one linear layer
# that replaces both.


# %% tags=["exercise-3"]
def fold_before(norm, linear):
    """norm in evaluation, then linear -> weight (out, in), bias (out,) of one linear layer"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(fold_before):
    torch.manual_seed(3)
    norm, linear = BatchNorm(4, eps=0.5).double(), nn.Linear(4, 2).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for _ in range(9):
        norm(3 + 2 * torch.randn(7, 4, dtype=torch.float64))
    norm.eval()
    x = torch.randn(5, 4, dtype=torch.float64)
    with torch.no_grad():
        expected = linear(norm(x))
        weight, bias = fold_before(norm, linear)
        assert weight.shape == (2, 4), f"weight has shape {tuple(weight.shape)}"
        assert bias.shape == (2,), f"bias has shape {tuple(bias.shape)}"
        assert torch.allclose(F.linear(x, weight, bias), expected), (
            "the one layer computes something else than the two"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# $(W\operatorname{diag}(k))\,x+(Wc+b)$: columns are scaled now, not rows. For a convolution that pads with zeros the second term would
# differ at the border.
#
# ```python
# def fold_before(norm, linear):
#     k = norm.weight / torch.sqrt(norm.running_var + norm.eps)
#     c = norm.bias - k * norm.running_mean
#     return linear.weight * k, linear.weight @ c + linear.bias
# ```
#
# </details>
#
# **4 (experiment).** See the layer lower a rate that is too large (section 9). `experiment.train(config, 0, torch.device("cpu"))` trains
# a network and returns a dictionary; its `growth` is the length of the first layer's weights at the end over that at the start. Return
# the effective rate at the end: the rate divided by the squared growth. Then compare the rates 0.1, 1 and 10.


# %% tags=["exercise-4"]
def effective_rate(config) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(effective_rate):
    small = experiment.Training(
        "digits", batch_size=50, updates=200, evaluate_every=200, train_size=1_400
    )
    found = {}
    for rate, low, high in ((0.1, 0.098, 0.1), (1.0, 0.6, 0.85), (10.0, 0.3, 1.0)):
        found[rate] = effective_rate(replace(small, learning_rate=rate))
        assert low < found[rate] < high, (
            f"rate {rate}: {found[rate]:.3f}, expected between {low} and {high}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# At 1 the effective rate is about 0.7. At 10 the weights grow more than fourfold, and it ends *lower* than at 1.
#
# ```python
# def effective_rate(config):
#     row = experiment.train(config, seed=0, device=torch.device("cpu"))
#     return config.learning_rate / row["growth"] ** 2
# ```
#
# </details>

# %% [markdown]
# ## 14. Symbols
#
# | symbol | in the library | shape | equation |
# |---|---|---|---|
# | $x$, $y$, $\hat x$, $g$ | `input`, `output`, –, `grad_output` | (N, C) or (N, C, *sites) | (BN.2), (BN.6) |
# | $\mu$, $\sigma^2$, $v$, $\rho$ | – | (C,) | (BN.1), (BN.7), (BN.3) |
# | $m$ | – | number of values a channel | (BN.1) |
# | $\gamma$, $\beta$, $\varepsilon$ | `weight`, `bias`, `eps` | (C,), (C,), number | (BN.2) |
# | $\mathrm E[x]$, $\mathrm{Var}[x]$, $\alpha$ | `running_mean`, `running_var`, `momentum` | (C,), (C,), number | (BN.12), (BN.13) |
# | $k$, $c$ | – | (C,) | (BN.10) |
# | $W$, $w$, $u$, $\eta$ | `layer.weight`, a row, its input, rate | (out, in), (in,), (N, in), number | (BN.15), (BN.18) |
