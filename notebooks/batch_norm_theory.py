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
# # Batch normalization: the theory
#
# **Proofs, noise, singular values, cost, errata: what stands behind [the lesson](batch_norm.ipynb).** The measurements are in
# [the experiments](batch_norm_experiments.ipynb). Sections can be read in any order; symbols are those of the lesson. Four of
# them return in every proof: $v=1/\sqrt{\sigma^2+\varepsilon}$, the mean square $\rho=\sigma^2/(\sigma^2+\varepsilon)$ of the
# standardised values, $g_i=\partial L/\partial y_i$, the gradient from above, and the matrix $P$ of (BN.8).

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
from collections import defaultdict
from fractions import Fraction
from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import sympy
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from workedpapers.batch_norm import BatchNorm, batch_norm
from workedpapers.experiments import batch_norm as experiment
from workedpapers.lab import check, figures, refute, setup, sweep
from workedpapers.lab.timing import saved_bytes

device = setup(seed=0)
BLUE, GREEN, GREY = (figures.COLORS[role] for role in ("learned", "baseline", "muted"))
m, features = 12, 3
x = 2 + 3 * torch.randn(m, features, dtype=torch.float64)  # one feature a column
gamma, beta = torch.randn(2, features, dtype=torch.float64)
g = torch.randn(m, features, dtype=torch.float64)  # ∂L/∂y
eps = 0.3  # large on purpose: what holds only for a vanishing ε shows


def standardise(x, eps=0.0):
    """x̂ of every column."""
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)


# %% [markdown]
# ## 1. How far can one example go?
#
# **No standardised value leaves $\pm\sqrt{m-1}$, however far out its example lies.**
#
# $$ |\hat x_i| \le \sqrt{m-1} \tag{BN.21} $$
#
# *Proof.* Take $i=1$. By (BN.3) the values add up to zero, $\hat x_1=-\sum_{i>1}\hat x_i$, and their squares to $m\rho$. The
# inequality of Cauchy and Schwarz gives $\hat x_1^2\le(m-1)\sum_{i>1}\hat x_i^2=(m-1)(m\rho-\hat x_1^2)$. Solve for
# $\hat x_1^2$: it is at most $(m-1)\rho\le m-1$. $\blacksquare$
#
# Pull one example away from the others and watch it run into the wall:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Standardised value of one example against its distance from the others, for batches of 2, 4, 8 and 32. Each curve rises and flattens towards its own dotted line at the root of m minus one: 1, 1.7, 2.6 and 5.6."}} tags=["hide-input"]
# @title One example is pulled away
distances = torch.linspace(0.01, 40, 400, dtype=torch.float64)
fig, ax = plt.subplots()
for size in (2, 4, 8, 32):
    others = torch.linspace(-1, 1, size - 1, dtype=torch.float64) if size > 2 else 0.0
    batches = torch.zeros(size, 400, dtype=torch.float64)
    batches[1:] = torch.as_tensor(others).view(-1, 1)
    batches[0] = distances
    ax.plot(distances, standardise(batches)[0], color=BLUE)
    ax.axhline(math.sqrt(size - 1), color="black", linestyle=":", linewidth=1)
    ax.text(40.5, math.sqrt(size - 1), f"m = {size}", va="center", fontsize=10)
ax.set(xlabel="its value; the others lie in [−1, 1]", ylabel="its standardised value")
ax.set(xlim=(0, 40), ylim=(0, 6.2))
ax.set_title("Every batch size has its wall (dotted: √(m − 1))")
plt.show()

# %% [markdown]
# The wall is reached for $\varepsilon=0$ by one outlier among equal values. A batch of two different values always becomes
# $\pm1$, whatever they were. At inference there is no wall, since (BN.10) is affine: an outlier that training never let pass
# $\sqrt{m-1}$ can then be any distance away.

# %%
wall = math.sqrt(m - 1)
outlier = torch.tensor([1.0] + [0.0] * (m - 1), dtype=torch.float64)
check("BN.21", standardise(outlier)[0], wall, "reached by an outlier among equals")
climb = x[:, 0].clone().requires_grad_()
for _ in range(300):  # uphill in x̂₁, from a random batch
    (slope,) = torch.autograd.grad(standardise(climb)[0], climb)
    climb = standardise(climb + slope).detach().requires_grad_()
check("BN.21", standardise(climb)[0], wall, "where the steepest climb ends", rtol=1e-6)
var_out = outlier.var(unbiased=False)
lower = torch.sqrt((m - 1) * var_out / (var_out + eps))
check("BN.21", standardise(outlier, eps)[0], lower, "with an ε it is at √((m − 1)ρ)")

# %% [markdown]
# ## 2. The paper's backward pass, line by line
#
# **The paper follows three routes from $x_i$ to the loss in four lines. Added up they are (BN.7).**
#
# $x_i$ acts on the loss through its own $\hat x_i$, through $\mu$ and through $\sigma^2$. The chain rule along these routes, as
# the paper prints it (with our $v$):
#
# $$ \frac{\partial L}{\partial\hat x_i} = \gamma\,g_i \tag{BN.22} $$
#
# $$ \frac{\partial L}{\partial\sigma^2} = \sum_i \frac{\partial L}{\partial\hat x_i}\,(x_i-\mu)\cdot\bigl(-\tfrac12\bigr)(\sigma^2+\varepsilon)^{-3/2} \tag{BN.23} $$
#
# $$ \frac{\partial L}{\partial\mu} = -v\sum_i\frac{\partial L}{\partial\hat x_i} \;+\; \frac{\partial L}{\partial\sigma^2}\cdot\frac{-2}{m}\sum_i(x_i-\mu) \tag{BN.24} $$
#
# $$ \frac{\partial L}{\partial x_i} = v\,\frac{\partial L}{\partial\hat x_i} + \frac{\partial L}{\partial\sigma^2}\cdot\frac{2(x_i-\mu)}{m} + \frac{\partial L}{\partial\mu}\cdot\frac1m \tag{BN.25} $$
#
# PyTorch can differentiate at every node of the graph, so each line is compared by itself. The last sum of (BN.24) is zero,
# deviations from the mean add up to nothing, and would hide a slip; the second cell therefore moves the centre away from the mean.


# %%
def d_mean(d_x_hat, d_var, x, centre, v):  # (BN.24)
    return -v * d_x_hat.sum(0) + d_var * -2 / len(x) * (x - centre).sum(0)


mu, var = x.mean(0), x.var(0, unbiased=False)
v = (var + eps) ** -0.5
d_x_hat = gamma * g
d_var = (d_x_hat * (x - mu)).sum(0) * -1 / 2 * (var + eps) ** (-3 / 2)
d_mu = d_mean(d_x_hat, d_var, x, mu, v)
d_x = v * d_x_hat + d_var * 2 * (x - mu) / m + d_mu * 1 / m

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (BN.22) to (BN.25)
x_ = x.clone().requires_grad_()
mu_ = x_.mean(0)
var_ = ((x_ - mu_) ** 2).mean(0)
x_hat_ = (x_ - mu_) / torch.sqrt(var_ + eps)
nodes = torch.autograd.grad((gamma * x_hat_ + beta), (x_hat_, var_, mu_), g)
check("BN.22", d_x_hat, nodes[0], "at the standardised values")
check("BN.23", d_var, nodes[1], "at the variance")
check("BN.24", d_mu, nodes[2], "at the mean")
kernel = F.batch_norm(x_, None, None, gamma, beta, training=True, eps=eps)
check("BN.25", d_x, torch.autograd.grad(kernel, x_, g)[0], "at the input")

centre = (mu + 0.7).requires_grad_()
spread_off = ((x - centre) ** 2).mean(0)
x_hat_off = (x - centre) / torch.sqrt(spread_off + eps)
by_torch = torch.autograd.grad(gamma * x_hat_off, (centre, spread_off), g)
v_off = (spread_off.detach() + eps) ** -0.5
by_hand = d_mean(d_x_hat, by_torch[1], x, centre.detach(), v_off)
check("BN.24", by_hand, by_torch[0], "with its last sum, about another centre")

# %% [markdown]
# *Why that is (BN.7).* Put $x_i-\mu=\hat x_i/v$ into (BN.23) and pull the constants out; (BN.6) names the sums:
# $\partial L/\partial\sigma^2=-\frac12\gamma v^2\,\partial L/\partial\gamma$, and (BN.24) becomes
# $\partial L/\partial\mu=-\gamma v\,\partial L/\partial\beta$. In (BN.25) the variance's route is then
# $-\frac12\gamma v^2\frac{\partial L}{\partial\gamma}\cdot\frac{2\hat x_i}{vm}=-\gamma v\,\frac{\hat x_i}{m}\frac{\partial L}{\partial\gamma}$,
# the mean's is $-\gamma v\,\frac1m\frac{\partial L}{\partial\beta}$, and the direct one is $\gamma v\,g_i$. Here are the three
# for the lesson's eight numbers and a loss that looks at the first example alone, $L=y_1$:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars for the eight examples 2, 4, 4, 4, 5, 5, 7, 9: the gradient of y1 by its three routes. The direct route reaches the first example alone, 0.5; the mean's is minus 0.06 for all; the variance's goes from minus 0.14 for the 2 to plus 0.19 for the 9. Black dots mark the sums: 0.30 for the first, minus 0.11 for the 4s, minus 0.06 for the 5s, 0.03 for the 7 and 0.13 for the 9."}} tags=["hide-input"]
# @title Check against (BN.7), and the three routes in a picture
x_hat = (x - mu) * v
closed = gamma * v * (g - g.sum(0) / m - x_hat * (g * x_hat).sum(0) / m)
check("BN.7", closed, d_x, "the closed form = the paper's four lines")

eight = torch.tensor([2.0, 4, 4, 4, 5, 5, 7, 9], dtype=torch.float64)
direct = torch.eye(8, dtype=torch.float64)[0]  # g, γ = 1
deviation, hat = eight.std(unbiased=False), standardise(eight)
routes = {
    "direct": (direct / deviation, BLUE),
    "through σ²": (-hat * (direct * hat).sum() / 8 / deviation, figures.COLORS["fast"]),
    "through μ": (-direct.sum() / 8 / deviation * torch.ones_like(hat), GREEN),
}
total = sum(values for values, _ in routes.values())
eight_ = eight.clone().requires_grad_()
(d_eight,) = torch.autograd.grad(standardise(eight_)[0], eight_)
check("BN.7", total, d_eight, "the three routes of y₁, added up")

fig, ax = plt.subplots()
for shift, (label, (values, color)) in enumerate(routes.items()):
    places = np.arange(8) + 0.27 * (shift - 1)
    ax.bar(places, values, 0.27, color=color, label=label)
ax.plot(range(8), total, "o", color="black", markersize=5, label="sum")
ax.axhline(0, color=GREY, linewidth=0.8)
ax.set_xticks(range(8), [f"{value:g}" for value in eight])
ax.set(xlabel="example", ylabel="gradient of y₁")
ax.set_title("One example is asked, all eight are pulled")
ax.legend()
plt.show()

# %% [markdown]
# ## 3. What does the gradient lose?
#
# **All of its part along a shift of the batch, and all but a share $1-\rho$ along a stretch. For a batch of two nothing else
# is there.**
#
# By (BN.8) the layer sends $g$ through $\gamma v\,P$ with $P=I-\frac1m\mathbf 1\mathbf 1^\top-\frac1m\hat x\hat x^\top$. By
# (BN.3) $\mathbf 1$ and $\hat x$ are orthogonal, $\mathbf 1^\top\mathbf 1=m$ and $\hat x^\top\hat x=m\rho$. So
# $P\mathbf 1=\mathbf 1-\mathbf 1=0$, $P\hat x=(1-\rho)\hat x$, and what is orthogonal to both passes unchanged:
#
# $$ \operatorname{eig}(P) = \bigl\{\,0,\;\; 1-\rho,\;\; \underbrace{1,\dots,1}_{m-2}\,\bigr\} \tag{BN.26} $$
#
# For $\varepsilon=0$, $\rho=1$: $P$ is the orthogonal projector that takes out the two directions in which the layer undoes every
# change. A gradient of random direction then keeps the share $(m-2)/m$ of its squared length on average (times $\gamma^2v^2$):

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Share of the squared length of a random gradient that passes the layer, against the batch size on a log scale: dots measured, on a line (m minus 2) over m. Nothing passes at two, a third at three, half at four, three quarters at eight, 97 percent at 64."}} tags=["hide-input"]
# @title How much of a random gradient passes
sizes = (2, 3, 4, 8, 16, 32, 64)
generator = torch.Generator().manual_seed(0)
passed = []
for size in sizes:
    inputs, above = torch.randn(2, size, 4000, generator=generator).double()
    inputs.requires_grad_()
    (below,) = torch.autograd.grad(standardise(inputs), inputs, above)
    stretch = inputs.detach().var(0, unbiased=False)  # takes v² out again
    passed.append(float((below.square() * stretch).sum() / above.square().sum()))
fig, ax = plt.subplots()
ax.plot(sizes, passed, "o", color=BLUE, label="4,000 random gradients")
ax.plot(sizes, [(n - 2) / n for n in sizes], ":", color="black", label="(m − 2)/m")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.set(xlabel="batch size m", ylabel="share of squared length", ylim=(-0.05, 1.05))
ax.set_title("Small batches pass little of the gradient")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# **A batch of two.** Now $\hat x=\pm(\sqrt\rho,-\sqrt\rho)$. The mean of $g$ goes; what remains is a multiple of $\hat x$, and
# that direction has the eigenvalue $1-\rho$:
#
# $$ m=2:\qquad \frac{\partial L}{\partial x} = \gamma v\,(1-\rho)\,(g-\bar g), \qquad 1-\rho=\frac{\varepsilon}{\sigma^2+\varepsilon} \tag{BN.27} $$
#
# At unit variance and $\varepsilon=10^{-5}$ a hundred-thousandth passes: under plain gradient descent nothing below the layer
# learns (Adam rescales). If the two values all but agree, $\sigma^2\lesssim\varepsilon$, the share is not small and $v$ is up to
# 316: rare and huge gradients. A feature map has many values even in a batch of two, and is spared.
#
# **How long is what passes?** Split $g$ along the eigenvectors of $P$. The squared part along $\mathbf 1$, $(\mathbf 1^\top g)^2/m$,
# is lost; of the one along $\hat x$, $(\hat x^\top g)^2/(m\rho)$, a share $(1-\rho)^2$ stays, and $1-(1-\rho)^2=\rho(2-\rho)$:
#
# $$ \Bigl\lVert\frac{\partial L}{\partial x}\Bigr\rVert^2 = \gamma^2v^2\Bigl(\lVert g\rVert^2-\frac{(\mathbf 1^\top g)^2}{m}-(2-\rho)\frac{(\hat x^\top g)^2}{m}\Bigr) \tag{BN.28} $$
#
# With $\rho=1$ the right side is the bound of Santurkar et al. (2018, theorem 4.1), except that their $g$ is the gradient in the
# network *without* the layer. For the gradient right above the layer their inequality is an equality. To compare two networks
# with it, one must assume that both have the same gradient there.

# %%
pairs = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
g_pairs, gains = torch.randn(2, 5).double(), torch.randn(5).double()
out = F.batch_norm(pairs, None, None, gains, None, training=True, eps=eps)
(passes,) = torch.autograd.grad(out, pairs, g_pairs)
spread = pairs.detach().var(0, unbiased=False)
v_2, rho_2 = (spread + eps) ** -0.5, spread / (spread + eps)
claim = gains * v_2 * (1 - rho_2) * (g_pairs - g_pairs.mean(0))
check("BN.27", passes, claim, "a batch of two, by autograd")
check("BN.27", 1 - rho_2, eps / (spread + eps), "its share")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (BN.26) and (BN.28)
for e in (eps, 0.0):
    moving = x.clone().requires_grad_()
    (below,) = torch.autograd.grad(gamma * standardise(moving, e), moving, g)
    v_e, rho_e, hat = (var + e) ** -0.5, var / (var + e), standardise(x, e)
    along = (g.sum(0) ** 2 / m, (2 - rho_e) * (hat * g).sum(0) ** 2 / m)
    length = gamma**2 * v_e**2 * (g.square().sum(0) - along[0] - along[1])
    check("BN.28", below.square().sum(0), length, f"squared length, ε = {e}")

    column = torch.autograd.functional.jacobian(partial(standardise, eps=e), x[:, 0])
    by_torch = torch.linalg.eigvalsh(column / v_e[0])
    claim = torch.tensor([0.0, 1 - rho_e[0]] + [1.0] * (m - 2), dtype=torch.float64)
    check("BN.26", by_torch, claim, f"eigenvalues of the layer's Jacobian, ε = {e}")
check("BN.26", int(torch.linalg.matrix_rank(column)), m - 2, "rank for ε = 0")

# %% [markdown]
# ## 4. How noisy are the statistics?
#
# **The variance of a batch of eight scatters by 47% of the true variance. A moving average calms it but remembers its start, and
# no factor $m/(m-1)$ makes it right for feature maps.**
#
# For independent Gaussian values $m\sigma^2/\mathrm{Var}[x]$ has the chi-squared distribution with $m-1$ degrees of freedom,
# whose variance is $2(m-1)$. So
#
# $$ \operatorname{Var}\bigl[\sigma^2\bigr] = \frac{2(m-1)}{m^2}\,\mathrm{Var}[x]^2 \tag{BN.29} $$
#
# At $m=60$ that is a scatter of 18% of the true variance, at eight 47%: training with the layer is training with this noise.
# For inference it is averaged, by (BN.13) with a small weight $\alpha$. Unroll that recursion over $t$ batches with the statistics $s_1,\dots,s_t$:
#
# $$ r_t = (1-\alpha)^t\,r_0 + \alpha\sum_{k=1}^{t}(1-\alpha)^{t-k}\,s_k \tag{BN.30} $$
#
# The start $r_0$ (mean 0, variance 1) is never taken out. With $\alpha=0.1$ it still weighs 35% after ten batches and one
# percent after 44. (`momentum=None` averages all batches alike: it forgets the start at once, but never the first, untrained
# networks.)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, histograms of the batch variance over the true one: for batches of 60 a narrow peak at one, for batches of eight a broad, lopsided one from 0.1 to 2. Right, the moving variance against batches: it climbs from its start 1 towards the true variance 4, along the dotted curve that its start's weight predicts, and has arrived after about 40 batches."}} tags=["hide-input"]
# @title Checks of (BN.29) and (BN.30), and both in a picture
generator = torch.Generator().manual_seed(0)
fig, (left, right) = figures.panels(2)
for size, color in ((8, figures.COLORS["data"]), (60, BLUE)):
    draws = 2 * torch.randn(size, 100_000, generator=generator, dtype=torch.float64)
    scatter = draws.var(0, unbiased=False)
    formula = 2 * (size - 1) / size**2 * 4.0**2
    check("BN.29", scatter.var(), formula, f"100,000 batches of {size}", rtol=2e-2)
    centring = torch.eye(size).double() - 1 / size  # Var[zᵀAz] = 2 tr(A²) for normal z
    exact = 2 * (4 * centring / size @ (4 * centring / size)).trace()
    check("BN.29", exact, formula, f"and as a quadratic form, m = {size}")
    bars = {"bins": 80, "range": (0, 3), "density": True, "alpha": 0.7}
    left.hist(scatter / 4, color=color, label=f"m = {size}", **bars)
left.set(xlabel="batch variance / true variance", yticks=[], title="One batch")
left.legend()

alpha, layer = 0.1, nn.BatchNorm1d(features, momentum=0.1).double()
layer.running_var.fill_(7.0)
s = []
for batch in torch.randn(20, 6, features, generator=generator, dtype=torch.float64):
    layer(batch)
    s.append(batch.var(0, unbiased=True))


def unrolled(start, s):  # (BN.30)
    t = len(s)
    past = sum((1 - alpha) ** (t - k) * s[k - 1] for k in range(1, t + 1))
    return (1 - alpha) ** t * start + alpha * past


check("BN.30", unrolled(7.0, s), layer.running_var, "20 steps of torch's layer")

layer, path = nn.BatchNorm1d(1), [1.0]
for _ in range(60):
    layer(2 * torch.randn(8, 1, generator=generator))
    path.append(layer.running_var.item())
right.plot(path, color=figures.COLORS["data"], label="running, m = 8")
expected = [unrolled(path[0], [4.0] * t) for t in range(61)]
right.plot(expected, ":", color="black", label="expected")
right.set(xlabel="batches", ylabel="variance", ylim=(0, 6), title="Their average")
right.legend(loc="lower right")
fig.suptitle("A batch scatters; the moving average starts from 1")
plt.show()

# %% [markdown]
# **Sites are not examples.** A feature map counts each of its sites as a value (BN.14), and the paper and PyTorch multiply
# $\sigma^2$ by $m'/(m'-1)$, $m'=mS$ for $m$ images of $S$ sites. That would be right for independent values; neighbouring pixels are alike.
# In the simplest model every image has an offset of its own, $x_{ns}=o_n+e_{ns}$, with all $o$ and $e$ independent. Each offset is
# repeated $S$ times, so (BN.11) applies to $m$ draws of $o$ and to $mS$ draws of $e$ (cross terms have expectation zero):
#
# $$ \mathrm E\,[\sigma^2] = \Bigl(1-\frac1m\Bigr)\mathrm{Var}[o]+\Bigl(1-\frac1{mS}\Bigr)\mathrm{Var}[e] \tag{BN.31} $$
#
# The check takes another way: $\sigma^2=\frac1{mS}x^\top Cx$ with the centring matrix $C=I-\mathbf 1\mathbf 1^\top/(mS)$, so its
# expectation is $\operatorname{tr}(C\operatorname{Cov}[x])/(mS)$. The dots are what PyTorch's layer stores.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Stored variance over true variance against the share of variance that lies between images, 25 sites, with the factor m' over m' minus one. Lines and measured dots for 2, 8 and 32 images: all start at one and fall linearly, with two images down to one half, with eight to seven eighths, with 32 to nearly one."}} tags=["hide-input"]
# @title Check of (BN.31), and what PyTorch stores
def expected_variance(images, sites, var_o, var_e):
    """E[σ²] from the covariance matrix of all values."""
    size = images * sites
    blocks = torch.block_diag(*[torch.ones(sites, sites).double()] * images)
    covariance = var_o * blocks + var_e * torch.eye(size).double()
    return ((torch.eye(size).double() - 1 / size) @ covariance).trace() / size


for m_, S in ((2, 30), (5, 7)):
    formula = (1 - 1 / m_) * 3.0 + (1 - 1 / (m_ * S)) * 0.5
    exact = expected_variance(m_, S, var_o=3.0, var_e=0.5)
    check("BN.31", exact, formula, f"{m_} images of {S} sites")

shares = torch.linspace(0, 1, 6)
generator = torch.Generator().manual_seed(0)
fig, ax = plt.subplots()
for images, color in ((32, GREEN), (8, figures.COLORS["fast"]), (2, BLUE)):
    n, stored = images * 25, []
    for share in shares.tolist():
        offsets = torch.randn(images, 4000, 1, generator=generator) * share**0.5
        noise = torch.randn(images, 4000, 25, generator=generator)
        layer = nn.BatchNorm1d(4000, momentum=1.0)  # 4,000 channels: as many trials
        layer(offsets + (1 - share) ** 0.5 * noise)
        stored.append(layer.running_var.mean())
    line = [
        n / (n - 1) * expected_variance(images, 25, share, 1 - share)
        for share in shares.tolist()
    ]
    line, stored = torch.stack(line), torch.stack(stored).detach().double()
    check("BN.31", line[0], 1.0, f"independent sites: right, {images} images")
    check("BN.31", stored, line, f"stored by torch, {images} images", rtol=0.1)
    ax.plot(shares, line, color=color, label=f"{images} images")
    ax.plot(shares, stored, "o", color=color)
ax.set(xlabel="share of the variance between images", ylim=(0.4, 1.1))
ax.set(ylabel="stored / true variance")
ax.set_title("m′/(m′ − 1) does not repair feature maps")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 5. Scale invariance with an ε
#
# **To multiply the weights by $a$ is to divide $\varepsilon$ by $a^2$. A negative $a$ turns every sign round.**
#
# The lesson's (BN.17) is for $\varepsilon=0$ and $a>0$. With an $\varepsilon$, mean and deviation of $(aW)u$ are still multiplied
# by $a$, and $\varepsilon$ is not: $a^2\sigma^2+\varepsilon=a^2(\sigma^2+\varepsilon/a^2)$. For $a>0$ the $a^2$ leaves the root
# as $a$ and cancels. Differentiate both sides, with respect to $W$ (on the left the chain rule gives a factor $a$) and to $u$
# ($L_\varepsilon$ is the loss of the network whose layer has that $\varepsilon$):
#
# $$ \mathrm{BN}_\varepsilon\bigl((aW)u\bigr)=\mathrm{BN}_{\varepsilon/a^2}(Wu), \quad \frac{\partial L_\varepsilon}{\partial(aW)}=\frac1a\,\frac{\partial L_{\varepsilon/a^2}}{\partial W}, \quad \frac{\partial L_\varepsilon}{\partial u}\Big|_{aW}=\frac{\partial L_{\varepsilon/a^2}}{\partial u}\Big|_{W} \tag{BN.32} $$
#
# So scale does not matter while $\sigma^2$ and $a^2\sigma^2$ are both far above $\varepsilon$. For $a<0$ the root is $|a|$, and
# $\hat x$ changes its sign; the paper says "a scalar $a$" (BN.E3).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "One standardised value against the scale factor a from minus three to three. For epsilon zero it is a step, minus one for negative a and one for positive; for epsilon 0.01 and 1 the step is rounded, reaching 0.95 at a = 3 for epsilon 1."}} tags=["hide-input"]
# @title Checks of (BN.32), and where invariance ends
W, u = torch.randn(features, 4).double(), torch.randn(m, 4).double()


def layer_and_slopes(W, u, eps):
    """Output, and the gradients of W and u, by torch."""
    W, u = W.clone().requires_grad_(), u.clone().requires_grad_()
    y = F.batch_norm(u @ W.T, None, None, gamma, beta, training=True, eps=eps)
    return y.detach(), *torch.autograd.grad(y, (W, u), g)


for a in (3.0, 0.2):
    scaled, plain = layer_and_slopes(a * W, u, eps), layer_and_slopes(W, u, eps / a**2)
    check("BN.32", scaled[0], plain[0], f"output, a = {a}")
    check("BN.32", scaled[1], 1 / a * plain[1], "gradient of the weights")
    check("BN.32", scaled[2], plain[2], "gradient of what lies below")

pair = torch.tensor([-1.0, 1.0], dtype=torch.float64)
fig, ax = plt.subplots()
for e, style in ((0.0, "-"), (0.01, "--"), (1.0, ":")):
    for sign in (-1, 1):
        factors = sign * torch.linspace(0.001, 3, 200, dtype=torch.float64)
        value = standardise(factors * pair[:, None], e)[1]
        label = f"ε = {e:g}" if sign == 1 else None
        ax.plot(factors, value, style, color=BLUE, label=label)
ax.set(xlabel="factor a of the weights (σ = 1 at a = 1)", ylabel="x̂ of one example")
ax.set_title("Of a only the sign survives, once |a|σ ≫ √ε")
ax.legend()
plt.show()

# %% [markdown]
# **In which direction does the gradient point?** Take one unit, $x_i=w^\top u_i$. Then
# $\langle w,\partial L/\partial w\rangle=\sum_i\frac{\partial L}{\partial x_i}x_i$ with $x_i=\hat x_i/v+\mu$. By (BN.9) $\mu$
# drops out, and the rest is known:
#
# $$ \Bigl\langle w,\frac{\partial L}{\partial w}\Bigr\rangle = \frac1v\sum_i\hat x_i\frac{\partial L}{\partial x_i} = (1-\rho)\,\gamma\,\frac{\partial L}{\partial\gamma} \tag{BN.33} $$
#
# For $\varepsilon=0$ it is zero, the right angle that the lesson's Pythagoras (BN.18) needs. For $\varepsilon>0$ it has the sign of
# $\gamma\,\partial L/\partial\gamma$: weights can shrink (exercise 5).

# %%
w, gain = W[:1].clone().requires_grad_(), gamma[:1].clone().requires_grad_()
pre = u @ w.T
y = F.batch_norm(pre, None, None, gain, None, training=True, eps=eps)
d_w, d_pre, d_gain = torch.autograd.grad(y, (w, pre, gain), g[:, :1])
var_w = pre.var(0, unbiased=False)
v_w, rho_w, hat = (var_w + eps) ** -0.5, var_w / (var_w + eps), standardise(pre, eps)
inner = (w * d_w).sum(1)
check("BN.33", inner, 1 / v_w * (hat * d_pre).sum(0), "weights against their gradient")
check("BN.33", inner, (1 - rho_w) * gain * d_gain, "and by the gradient of γ")

# %% [markdown]
# ## 6. The true gradient of a centred bias
#
# **It is zero. The naive one of (BN.5) is the slope of a curve that moves along with every step.**
#
# The lesson lets a bias run away: $x_i=u_i+b$, $\hat x_i=x_i-\frac1m\sum_jx_j$, and a gradient that takes the mean for a constant.
# Let the mean depend on $x$, and each example gets its own gradient less the mean of all; over the batch that adds up to
#
# $$ \frac{\partial L}{\partial b}=\sum_i\frac{\partial L}{\partial x_i} = \sum_i\Bigl(\frac{\partial L}{\partial\hat x_i}-\frac1m\sum_j\frac{\partial L}{\partial\hat x_j}\Bigr) = 0 \tag{BN.34} $$
#
# Dividing by the deviation as well changes nothing in this: it is the first sum of (BN.9). Below, the dots are the biases of three
# naive steps and the arrows what each believes to gain.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Loss against the bias. The true loss is a horizontal line. Three parabolas, the loss with the mean frozen at the present bias, cross it one after another; each naive step, an arrow, goes down its own parabola to the right; there the true loss is still that of the line, and the next parabola starts."}} tags=["hide-input"]
# @title Checks of (BN.34), and what a naive step sees
u_1, goal = torch.randn(m, dtype=torch.float64), torch.rand(m, dtype=torch.float64)
b = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
x_1 = u_1 + b
centred = x_1 - x_1.mean()
loss = ((centred - goal) ** 2).mean()
d_b, d_x_1, d_hat = torch.autograd.grad(loss, (b, x_1, centred))
terms = d_hat - 1 / m * d_hat.sum()
check("BN.34", d_x_1, terms, "each example's gradient")
check("BN.34", d_b, d_x_1.sum(), "the bias collects them", atol=1e-12)
check("BN.34", terms.sum(), torch.tensor(0.0).double(), "and they add up to nothing")


def frozen(b, at):
    """Loss at b if the mean is taken for a constant, found at another b."""
    return ((u_1 + b - (u_1 + at).mean() - goal) ** 2).mean().item()


fig, ax = plt.subplots()
at, reach = 0.0, np.linspace(-0.3, 1.6, 100)
slope = 2 * (u_1 - u_1.mean() - goal).mean().item()
for step in range(3):
    label = "mean frozen" if step == 0 else None
    parabola = [frozen(b, at) for b in reach]
    ax.plot(reach, parabola, color=figures.COLORS["wrong"], alpha=0.8, label=label)
    ax.plot(at, frozen(at, at), "o", color="black", markersize=5)
    ahead = at - 0.35 * slope
    landing = {"xy": (ahead, frozen(ahead, at)), "xytext": (at, frozen(at, at))}
    ax.annotate("", **landing, arrowprops={"arrowstyle": "->", "linewidth": 1.4})
    at = ahead
ax.axhline(frozen(0, 0), color=BLUE, label="true loss")
ax.set(xlabel="bias b", ylabel="loss", ylim=(frozen(0.5, 0) - 0.2, frozen(0, 0) + 0.5))
ax.set_title("Each naive step descends; the loss stays put")
ax.legend(loc="lower left", ncols=2)
plt.show()

# %% [markdown]
# ## 7. Not whitening, not Gaussian
#
# **Each feature gets mean zero and variance one. Correlations stay, and so does the shape of the distribution.**
#
# The paper starts from an older wish: *whiten* the inputs of every layer, with the whole covariance matrix $\Sigma$ of the $d$
# features and the inverse of its square root:
#
# $$ \operatorname{Cov}\bigl[\Sigma^{-1/2}(x-\mu)\bigr] = I \tag{BN.35} $$
#
# The layer does the cheap part. It divides by the deviations, $D^{-1/2}$ with $D$ the diagonal of $\Sigma$, and what leaves it
# has all correlations ($\varepsilon=0$):
#
# $$ \operatorname{Cov}[\hat x] = D^{-1/2}\,\Sigma\,D^{-1/2} = \text{the matrix of correlations} \tag{BN.36} $$
#
# Why not the whole? The inverse root and its derivative cost $d^3$, and a batch often does not determine it: centred rows add up
# to zero, so at most $m-1$ of them are independent,
#
# $$ \operatorname{rank}\Sigma \le \min(d,\,m-1) \tag{BN.37} $$
#
# and for $m\le d$ there is no inverse. (Later work whitens small groups of features.)
#
# *Shape.* $x\mapsto\hat x$ is affine with a positive factor. All that does not depend on offset and scale stays: skewness, the
# number of peaks, the kurtosis,
#
# $$ \operatorname{kurt}[\hat x] = \operatorname{kurt}[x] = \frac{\frac1m\sum_i(x_i-\mu)^4}{\sigma^4} \tag{BN.38} $$

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two scatter plots of the same two skewed features. After batch norm, a slanted wedge: correlation 0.8. After whitening, a wedge that stands upright, without correlation and as sharp as before."}} tags=["hide-input"]
# @title Checks of (BN.35) to (BN.38), and the two clouds
generator = torch.Generator().manual_seed(0)
skewed = -torch.rand(4000, 2, generator=generator, dtype=torch.float64).log()  # Exp(1)
z = skewed @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]).double()  # correlation about 0.8
Sigma = torch.cov(z.T, correction=0)
eigenvalues, Q = torch.linalg.eigh(Sigma)
root = Q @ torch.diag(eigenvalues**-0.5) @ Q.T
check("BN.35", root @ root, torch.linalg.inv(Sigma), "Σ^(−1/2)")
white = (z - z.mean(0)) @ root
check("BN.35", white.T @ white / len(z), torch.eye(2).double(), "whitened")
D_root = torch.diag(Sigma.diagonal() ** -0.5)  # D^(−1/2)
normal = standardise(z)
scaled = D_root @ Sigma @ D_root
check("BN.36", scaled, torch.cov(normal.T, correction=0), "normalised")
check("BN.36", scaled.numpy(), np.corrcoef(z.T), "= the correlations")
for m_, d in ((5, 9), (6, 6), (9, 5)):
    few = torch.randn(m_, d, generator=generator, dtype=torch.float64)
    rank = int(torch.linalg.matrix_rank(torch.cov(few.T)))
    check("BN.37", rank, min(d, m_ - 1), f"reached by {m_} random rows of {d}")

x_1 = skewed[:, 0]
mu_1, sigma = x_1.sum() / 4000, x_1.std(unbiased=False)
formula = 1 / 4000 * ((x_1 - mu_1) ** 4).sum() / sigma**4
before = scipy.stats.kurtosis(x_1.numpy(), fisher=False)
after = scipy.stats.kurtosis(batch_norm(skewed, None, None)[:, 0], fisher=False)
check("BN.38", formula.item(), before, "the formula = SciPy's kurtosis")
check("BN.38", formula.item(), after, "and after the layer")

fig, axes = figures.panels(2, sharey=True)
for ax, cloud, title in zip(
    axes, (normal, white), ("normalised", "whitened"), strict=True
):
    ax.plot(*cloud[:1500].T, ".", color=figures.COLORS["data"], markersize=2)
    ax.set(title=title, xlabel="feature 1", xlim=(-4, 6), ylim=(-4, 6))
axes[0].set(ylabel="feature 2")
fig.suptitle("Normalised is not whitened, and neither is Gaussian")
plt.show()

# %% [markdown]
# ## 8. Are the singular values close to one?
#
# **Not even in a linear network. In a ReLU network at initialisation the gradient grows by a fifth per layer.**
#
# The paper closes its method with a conjecture: the layer "may lead the layer Jacobians to have singular values close to 1",
# which would keep gradients alive through many layers. Its argument: let $\hat z=J\hat x$ be linear. Then
#
# $$ \operatorname{Cov}[\hat z] = J\,\operatorname{Cov}[\hat x]\,J^\top \tag{BN.39} $$
#
# and if both covariances are $I$, then $JJ^\top=I$: all singular values are one. The paper adds that the map is not linear, nor
# the values independent, and asks for more study. The weak point is $\operatorname{Cov}=I$: by (BN.36) the layer leaves
# correlations. So the argument fails already for one linear layer with fresh weights, for one example with the statistics held
# fixed, $J=D^{-1/2}W$ with $D$ now the diagonal of $\operatorname{Cov}[Wu]$. Only the root mean square is about one (left
# panel).
#
# How does a gradient fare through many such layers? For wide layers with fresh Gaussian weights of variance $1/n$, and
# $\gamma=1$, $\beta=0$, $\varepsilon=0$, the change of its squared length can be derived. Both derivations assume
# that the gradient that arrives is independent of the layer's own values, and $W^\top$ on the way down of $W$ on the way up, which is exact only for infinite width.
#
# *Linear layers.* Width $n\gg B$, the batch. Let $U$ hold the inputs, $B\times n$, each column standardised. A unit with weights
# $w$ has the values $x=Uw$: Gaussian, with covariance $UU^\top/n$, whose trace is $nB/n=B$. $U$ is centred, so this is spread
# over the $B-1$ directions orthogonal to $\mathbf 1$; fresh layers favour none, and
# $\lVert x\rVert^2=\frac{B}{B-1}\chi^2_{B-1}$. On the way down (BN.8) does two things to a squared length. It multiplies by
# $v^2=B/\lVert x\rVert^2=(B-1)/\chi^2_{B-1}$, on average $\frac{B-1}{B-3}$, since $\mathrm E[1/\chi^2_k]=1/(k-2)$. And it removes the
# direction of $x$: of $B-1$ dimensions $B-2$ survive (the layer above took out $\mathbf 1$). Length and direction of a Gaussian
# vector are independent, so the factors multiply. Then $W^\top$ keeps the length on average. For $B>3$:
#
# $$ \frac{\mathrm E\,\lVert\partial L/\partial u\rVert^2}{\mathrm E\,\lVert\partial L/\partial\hat x\rVert^2} = \frac{B-1}{B-3}\cdot\frac{B-2}{B-1} = \frac{B-2}{B-3} \tag{BN.40} $$
#
# Nearly one for large batches, but $\sqrt{6/5}=1.095$ per layer at $B=8$: a factor of 95 over fifty *linear* layers.
#
# *ReLU, large batch.* Now $\hat x$ is about $\mathcal N(0,1)$, and $\max(0,\hat x)$ has the variance $\frac12-\frac1{2\pi}$. The next
# layer's units sum $n$ of these with weights of variance $1/n$ and have the same variance. If $B$ and $n$ are large, a unit's
# variance over the batch is close to that, so $v^2=1/(\frac12-\frac1{2\pi})$. The projection costs nothing when $B$ is large. On
# the way down the ReLU zeroes half of the entries. With $h_l$ what leaves layer $l$,
#
# $$ \frac{\mathrm E\,\lVert\partial L/\partial h_{l}\rVert^2}{\mathrm E\,\lVert\partial L/\partial h_{l+1}\rVert^2} = \frac12\cdot\frac{1}{\frac12-\frac1{2\pi}} = \frac{\pi}{\pi-1} \approx 1.467 \tag{BN.41} $$
#
# That is 1.21 per layer in length (Yang et al. 2019, in mean-field theory): a fresh deep ReLU network *with* the layer has
# exploding gradients, and very deep ones without skip connections did not train for them. At moderate depth [section 9 of
# the lesson](batch_norm.ipynb) may help: a layer with a large gradient grows, and its effective rate falls (not tested here).


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (BN.39) to (BN.41)
def gradient_lengths(batch, f, seed=0, layers=18, width=512):
    """Squared length of the gradient at what leaves each layer of a fresh network."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, width, generator=generator, requires_grad=True)
    outputs = []
    for _ in range(layers):
        weight = torch.randn(width, width, generator=generator) / width**0.5
        h = f(standardise(h @ weight.T))
        outputs.append(h)
    above = torch.randn(batch, width, generator=generator)
    lengths = torch.autograd.grad(h, outputs, above)
    return torch.stack([length.square().sum() for length in lengths]).numpy()


def growth(runs):
    """The factor per layer, through the inner layers, mean over fresh networks."""
    return sum(float(run[2] / run[-3]) ** (1 / 13) for run in runs) / len(runs)


linear = [gradient_lengths(8, lambda x: x, seed) for seed in range(10)]
rectified = [gradient_lengths(256, torch.relu, seed) for seed in range(3)]
J = torch.randn(2, 2, generator=generator, dtype=torch.float64)
through = torch.cov((normal @ J.T).T)
check("BN.39", through, J @ torch.cov(normal.T) @ J.T, "through a linear map")

for B in (8, 12):
    formula = (B - 1) / (B - 3) * (B - 2) / (B - 1)
    exact = Fraction(B - 1, B - 3) * Fraction(B - 2, B - 1)
    check("BN.40", exact, Fraction(B - 2, B - 3), f"the product, B = {B}")
    draws, above = torch.randn(2, B, 200_000, generator=generator).double()
    units = ((B / (B - 1)) ** 0.5 * (draws - draws.mean(0))).requires_grad_()
    above = above - above.mean(0)
    (below,) = torch.autograd.grad(standardise(units), units, above)
    found = below.square().sum() / above.square().sum()
    check("BN.40", found, formula, f"one layer of 200,000 units, B = {B}", rtol=6e-3)
check("BN.40", growth(linear), 6 / 5, "ten linear networks, B = 8", rtol=1.5e-2)

t = sympy.symbols("t", positive=True)
density = sympy.exp(-(t**2) / 2) / sympy.sqrt(2 * sympy.pi)
first, second = (sympy.integrate(t**k * density, (t, 0, sympy.oo)) for k in (1, 2))
half = sympy.Rational(1, 2)
inverse = 1 / (half - 1 / (2 * sympy.pi))
check("BN.41", 1 / (second - first**2), inverse, "variance of a rectified Gaussian")
check("BN.41", half * inverse, sympy.pi / (sympy.pi - 1), "the product, exactly")
found = growth(rectified)
check(
    "BN.41", found, math.pi / (math.pi - 1), "three ReLU networks, B = 256", rtol=1e-2
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the 24 singular values of one fresh linear layer in descending order, from 1.9 down to nearly 0; a dotted line marks one, which is about their root mean square. Right, length of the gradient against the layers it has passed, on a log scale: linear layers stay level in batches of 256 and grow by 1.1 per layer in batches of 8; ReLU layers grow by 1.2, each along its dotted line."}} tags=["hide-input"]
# @title The singular values, and the length of the gradient layer by layer
generator = torch.Generator().manual_seed(0)
U = standardise(torch.randn(48, 24, generator=generator, dtype=torch.float64))
fresh = torch.randn(24, 24, generator=generator, dtype=torch.float64) / 24**0.5
deviations = (U @ fresh.T).std(0, unbiased=False)
singular = torch.linalg.svdvals(torch.diag(1 / deviations) @ fresh)
print(f"root mean square {singular.square().mean().sqrt():.2f}")
fig, (left, right) = figures.panels(2)
left.bar(range(1, 25), singular, color=BLUE)
left.axhline(1, color="black", linestyle=":", linewidth=1)
left.set(xlabel="number", ylabel="singular value", title="one linear layer, n = 24")
level = [gradient_lengths(256, lambda x: x)]
for runs, factor, color, label in (
    (rectified, math.pi / (math.pi - 1), figures.COLORS["fast"], "ReLU, B = 256"),
    (linear, 6 / 5, BLUE, "linear, B = 8"),
    (level, 254 / 253, figures.COLORS["data"], "linear, B = 256"),
):
    lengths = np.exp(np.log(runs).mean(0) / 2)[
        -2::-1
    ]  # geometric mean; from below the top
    depth = np.arange(len(lengths))
    right.semilogy(
        depth, lengths / lengths[0], "o", color=color, markersize=3, label=label
    )
    right.semilogy(depth, factor ** (depth / 2), ":", color="black", linewidth=1)
right.set(ylim=(0.5, 300))
right.set(xlabel="layers passed", ylabel="length", title="gradient on its way down")
right.legend()
fig.suptitle("Singular values are not near one, and gradients explode")
plt.show()

# %% [markdown]
# ## 9. Relatives, and a batch spread over machines
#
# **Layer norm keeps γ inside its means. A batch on many machines needs their counts, means and variances, and two sums on the way
# back.**
#
# The lesson's (BN.20) turns one layer into four by the axes $\mathcal S$ of the statistics. Backwards one thing changes. Within a set of
# layer or group normalisation $\gamma$ varies, so it cannot be pulled out and stays with the gradient, $q=\gamma g$:
#
# $$ \frac{\partial L}{\partial x} = v\,\bigl(q-\mathrm E_{\mathcal S}[q]-\hat x\,\mathrm E_{\mathcal S}[q\,\hat x]\bigr) \tag{BN.42} $$

# %%
row = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
gain, above = torch.randn(7).double(), torch.randn(5, 7).double()
(by_torch,) = torch.autograd.grad(F.layer_norm(row, (7,), gain, eps=eps), row, above)
hat = standardise(row.detach().T, eps).T  # over the features of each example
v_row = (row.detach().var(1, unbiased=False, keepdim=True) + eps) ** -0.5
q = gain * above
formula = v_row * (q - q.mean(1, True) - hat * (q * hat).mean(1, True))
check("BN.42", by_torch, formula, "layer norm's backward pass, by torch")

# %% [markdown]
# *Many machines.* Machine $k$ has $n_k$ values of a feature with mean $\mu_k$ and biased variance $\sigma_k^2$, $n=\sum_kn_k$ in all.
# A value's deviation from the common mean splits into the one from its part's mean and that of this mean; the cross terms add up to
# zero within a part. So variances within and between add up (Chan's rule):
#
# $$ \mu=\sum_k\frac{n_k}{n}\,\mu_k, \qquad \sigma^2=\sum_k\frac{n_k}{n}\bigl(\sigma_k^2+(\mu_k-\mu)^2\bigr) \tag{BN.43} $$
#
# Backwards (BN.7) needs two sums over all; with them, and with the common $\mu$ and $v$ (also in $\hat x_k$), every machine
# finds its own part:
#
# $$ \Bigl(\frac{\partial L}{\partial x}\Bigr)_{\!k} = \gamma v\Bigl(g_k-\frac1n\sum_j\mathbf 1^\top g_j-\frac{\hat x_k}{n}\sum_j\hat x_j^\top g_j\Bigr) \tag{BN.44} $$
#
# A few numbers a feature travel, never the batch. `sync_batch_norm` of the library does this with `torch.distributed` (the tests run it
# on two and three processes). Here are three parts in one process, compared with the layer on the whole batch:

# %%
parts, g_parts = x.split((3, 7, 2)), g.split((3, 7, 2))
shares = torch.tensor([3, 7, 2]).double()[:, None] / m
mu_k = torch.stack([part.mean(0) for part in parts])
var_k = torch.stack([part.var(0, unbiased=False) for part in parts])
mu_all = (shares * mu_k).sum(0)
var_all = (shares * (var_k + (mu_k - mu_all) ** 2)).sum(0)
check("BN.43", mu_all, x.mean(0), "mean of all")
check("BN.43", var_all, x.var(0, unbiased=False), "variance within + between")

v_all = (var_all + eps) ** -0.5
hats = [(part - mu_all) * v_all for part in parts]
both = list(zip(g_parts, hats, strict=True))
ones, along = (
    sum(g_k.sum(0) for g_k, _ in both),
    sum((h * g_k).sum(0) for g_k, h in both),
)
pieces = [gamma * v_all * (g_k - ones / m - h / m * along) for g_k, h in both]
x_ = x.clone().requires_grad_()
kernel = F.batch_norm(x_, None, None, gamma, beta, training=True, eps=eps)
whole = torch.autograd.grad(kernel, x_, g)[0]
check("BN.44", torch.cat(pieces), whole, "gradients, machine by machine")

# %% [markdown]
# ## 10. How the library's layer differs from the lesson's
#
# **Same numbers; fewer passes through memory, a mean that large offsets do not spoil, derivatives of any order, and errors that say what
# is wrong.**
#
# - *Slabs.* Large inputs are handled in pieces that fit the processor's cache, so that what one operation wrote the next one finds there.
#   Each is centred by the mean of the one before, and their statistics are joined by (BN.43).
# - *What is kept.* A `torch.autograd.Function` keeps its input and a few numbers per channel (below $2^{14}$ numbers $\hat x$ as well: there
#   calls cost more than memory). The lesson's formula under autograd keeps three arrays of the input's size.
# - *Further derivatives.* A backward pass that PyTorch does not see into cannot be differentiated again; where that is wanted, and under
#   the transforms of `torch.func`, the library computes (BN.2) and (BN.7) from operations that PyTorch knows. Below, finite differences of
#   the first derivative confirm the second.
# - *The mean in two parts.* One float32 number near $10^4$ has steps of $10^{-3}$, too coarse beside a deviation of one. The library
#   subtracts a value near the mean first, and the small rest afterwards.
# - *A drop-in.* One class for all ranks, with the arguments, buffers and base class of `torch.nn.BatchNorm1d`, `2d` and `3d`. Values whose
#   squares leave the range of float32 (about $10^{19}$) give $\beta$, as there.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: second derivatives, buffers, evaluation; and what is kept
point, way, probe = torch.randn(3, 5, 2, 3, dtype=torch.float64)


def first_derivative(at):
    at = at.clone().requires_grad_()
    loss = (batch_norm(at, gamma[:2], beta[:2]) ** 3 * probe).sum()
    return at, torch.autograd.grad(loss, at, create_graph=True)[0]


at, slopes = first_derivative(point)
second = torch.autograd.grad((slopes * way).sum(), at)[0]
ahead, behind = (first_derivative(point + h * way)[1] for h in (1e-5, -1e-5))
differences = (ahead - behind).detach() / 2e-5
check("BN.7", second, differences, "its derivative", rtol=1e-6, atol=1e-7)

theirs, ours = nn.BatchNorm2d(features), BatchNorm(features)
theirs.load_state_dict(ours.state_dict())
for _ in range(3):
    batch = torch.randn(6, features, 4, 4)
    theirs(batch), ours(batch)
check("BN.13", ours.running_var, theirs.running_var, "three batches, torch's buffer")
same = ours.eval()(batch).detach(), theirs.eval()(batch).detach()
check("BN.10", *same, "and torch's evaluation", atol=1e-6)

kept, *learned = (
    torch.ones(*size, requires_grad=True) for size in ((6400, 16), (16,), (16,))
)
for name, layer in (
    ("torch's kernel", lambda: F.batch_norm(kept, None, None, *learned, training=True)),
    ("library", lambda: batch_norm(kept, *learned)),
    ("lesson's formula", lambda: standardise(kept, 1e-5) * learned[0] + learned[1]),
):
    print(f"{name}: keeps {saved_bytes(layer) / kept.numel() / 4:.1f} times the input")

# %% [markdown]
# *Precision.* A feature has deviation one and a large mean; all computations are in float32. The variance as the mean of squares minus
# the squared mean (in textbooks and popular code) subtracts two numbers near $\mu^2$ that carry a rounding of $6\cdot10^{-8}\mu^2$:
# worthless once $\mu^2\gtrsim10^7$. PyTorch's CPU kernel takes the variance about the mean, which is sound; how good its float32 *mean* is
# depends on the layout. On rows $(N,C)$, and on images that are stored channels last, what leaves the layer is off by about 0.02 at a
# mean of $10^4$, on contiguous images by less than 0.001. (In the figure 10 stands for more than that and for NaN.)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Largest error of the normalised values against the mean of the feature, both on log scales, deviation one, float32. The one-pass formula is off by about 0.005 at a mean of 100 and useless from 10,000 on. PyTorch's kernel at 10,000: about 0.02 on rows and on channels-last images, below 0.001 on contiguous images. The library stays below 0.000001 on all three."}} tags=["hide-input"]
# @title Largest error of the normalised values, by implementation and layout
def one_pass(rows):
    variance = (rows**2).mean(0) - rows.mean(0) ** 2
    return (rows - rows.mean(0)) / torch.sqrt(variance + 1e-5)


def by_channel(images):
    return images.transpose(0, 1).reshape(8, -1).T


def worst(layer, mean, layout):
    """Largest error on 4,096 values of 8 features; 10 stands for 10, more, or NaN."""
    rows = mean + torch.randn(4096, 8, generator=torch.Generator().manual_seed(0))
    exact = standardise(rows.double(), 1e-5)
    if layout != "rows":
        images = rows.view(16, 16, 16, 8).permute(0, 3, 1, 2)  # channels last
        images = images.contiguous() if layout == "contiguous images" else images
        found = (
            by_channel(layer(images)),
            by_channel(exact.view(16, 16, 16, 8).permute(0, 3, 1, 2)),
        )
    else:
        found = layer(rows), exact
    error = (found[0] - found[1]).abs().max().item()
    return min(error, 10.0) if math.isfinite(error) else 10.0


def kernel(x):
    return F.batch_norm(x, None, None, training=True)


def library(x):
    return batch_norm(x, None, None)


layouts = {"rows": "o-", "channels-last images": "^--", "contiguous images": "s-."}
means = [10.0**k for k in range(6)]
fig, ax = plt.subplots(figsize=(4.5, 3.6))
errors = [worst(one_pass, mean, "rows") for mean in means]
ax.loglog(means, errors, "o-", color=figures.COLORS["wrong"], label="one pass, rows")
for layout, style in layouts.items():
    errors = [worst(kernel, mean, layout) for mean in means]
    label = f"torch, {layout}"
    ax.loglog(means, errors, style, color=figures.COLORS["peer"], label=label)
errors = [max(worst(library, mean, layout) for layout in layouts) for mean in means]
ax.loglog(means, errors, "o-", color=BLUE, label="library, worst of the three")
ax.set(xlabel="mean of the feature (deviation 1)", ylabel="largest error of x̂")
ax.set(ylim=(1e-7, 3e3))
ax.set_title("The library's error does not grow with the mean")
ax.legend(fontsize=8, loc="upper left")
plt.show()

# %% [markdown]
# ## 11. What does it cost?
#
# **The layer computes next to nothing. Its cost is eight passes over memory, or five where a channel stays in the cache.**
#
# Let the input hold $N$ numbers of four bytes. No output can be written before $\mu$ and $\sigma^2$ are known, and they need every
# input: two sweeps forward, which read, read and write (one sweep finds both moments, by Welford's update). No input gradient can be written before both sums of (BN.6) are known: two sweeps
# backward, which read $x$ and $g$, read both again and write. If an array does not fit the cache, that is
#
# $$ \underbrace{3}_{\text{forward}}+\underbrace{5}_{\text{backward}} = 8\ \text{passes}, \qquad 32\,N\ \text{bytes} \tag{BN.45} $$
#
# against some sixteen additions and multiplications a number: half an operation a byte, where a processor could do ten or more. Where a channel
# *does* stay in the cache, its second reading is free: $2+3$ passes.
#
# The check reads this off the data. PyTorch traces the formulas into a graph of operations; a sum that needs another sum begins a new
# sweep, and each sweep reads those inputs that its results depend on. It shows, too, that the paper's four lines need no more than
# (BN.7), and what a variance about a mean that must be found first costs: one more reading.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (BN.45): passes counted from the graph of operations
def passes(function, *inputs):
    """Passes over full arrays that the data dependencies force: without a cache, with one.

    Between sweeps only numbers a channel are kept: what else is needed is computed again from the inputs.
    """
    sweep_of, needs, sweeps = {}, {}, defaultdict(set)
    full = inputs[0].numel()
    for node in make_fx(function)(*inputs).graph.nodes:
        if node.op == "output":
            for result in node.all_input_nodes:
                if needs[result]:
                    sweeps[sweep_of[result]] |= needs[result] | {f"write {result}"}
            continue
        value = node.meta["val"]
        wide = (value[0] if isinstance(value, tuple) else value).numel() == full
        if node.op == "placeholder":
            sweep_of[node], needs[node] = 0, {node} if wide else set()
            continue
        parents = node.all_input_nodes
        sweep_of[node] = max(sweep_of[parent] for parent in parents)
        needs[node] = set().union(*(needs[parent] for parent in parents))
        if (
            needs[node] and not wide
        ):  # a sum over a channel: known once the sweep is over
            sweeps[sweep_of[node]] |= needs[node]
            sweep_of[node], needs[node] = sweep_of[node] + 1, set()
    return sum(map(len, sweeps.values())), len(set().union(*sweeps.values()))


def forward(x):
    var, mean = torch.var_mean(x, 0, correction=0)  # both in one sweep (Welford)
    return (x - mean) * (var + eps) ** -0.5


def forward_mean_first(x):
    mean = x.mean(0)
    return (x - mean) * (((x - mean) ** 2).mean(0) + eps) ** -0.5


def backward(x, g, mean, v):  # (BN.7), γ = 1
    hat = (x - mean) * v
    return v * (g - g.mean(0) - hat * (g * hat).mean(0))


def paper_backward(x, g, mean, v):  # (BN.22) to (BN.25)
    d_var = (g * (x - mean)).sum(0) * -0.5 * v**3
    d_mu = d_mean(g, d_var, x, mean, v)
    return v * g + d_var * 2 * (x - mean) / len(x) + d_mu / len(x)


check("BN.2", forward(x), standardise(x, eps), "what is counted is the layer")
check("BN.2", forward_mean_first(x), standardise(x, eps), "also with the mean first")
leaf = x.clone().requires_grad_()
normalised = F.batch_norm(leaf, None, None, training=True, eps=eps)
(d_leaf,) = torch.autograd.grad(normalised, leaf, g)
check("BN.7", backward(x, g, mu, v), d_leaf, "and its backward pass")
check("BN.25", paper_backward(x, g, mu, v), d_leaf, "also by the paper's lines")
up, down = passes(forward, x), passes(backward, x, g, mu, v)
check("BN.45", [3, 5, 3 + 5], [up[0], down[0], up[0] + down[0]], "forward, backward")
moved = 4 * x.numel() * (up[0] + down[0])  # float32: four bytes
check("BN.45", 32 * x.numel(), moved, "bytes")
check("BN.45", [2, 3], [up[1], down[1]], "where a channel stays in the cache")
paper, mean_first = passes(paper_backward, x, g, mu, v), passes(forward_mean_first, x)
check("BN.45", 5, paper[0], "the paper's lines, backward")
check("BN.45", 3 + 1, mean_first[0], "the mean first, forward")

# %% [markdown]
# And by the clock? One process, one thread, forward and backward, each rival in turn with PyTorch's kernel:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars of time over that of PyTorch's kernel for five input sizes, the library's layer, the same compiled, and the plain formula. On the three inputs of convolutions the library takes 0.9 to 1.1 times as long as the kernel, compiled 0.7 to 0.9, the formula about 4 times; on the two small ones the library takes 2.5 to 3 times, compiled 1.8 to 2.5."}} tags=["hide-input"]
# @title Figure: forward and backward beside PyTorch's kernel
cost = sweep(experiment.COST, "book", device="cpu")
labels = [
    f"{row.batch_size}×{row.channels}" + (f"×{row.side}²" if row.side else "")
    for row in cost.itertuples()
]
rivals = (
    ("ours_ratio", BLUE, "library"),
    ("compiled_ratio", figures.COLORS["data"], "library, compiled"),
    ("readable_ratio", GREEN, "formula"),
)
fig, ax = plt.subplots()
for shift, (column, color, label) in enumerate(rivals):
    places = np.arange(len(cost)) + 0.27 * (shift - 1)
    ax.bar(places, cost[column], 0.27, color=color, label=label)
ax.axhline(1, color=GREY, linewidth=0.8)
ax.set_xticks(range(len(cost)), labels, rotation=20)
ax.set(
    ylabel="time / time of torch's kernel", ylim=(0, 1.4 * cost.readable_ratio.max())
)
ax.set_title("The plain formula costs several times the kernel")
ax.legend()
plt.show()

# %% [markdown]
# On small inputs hardly any data moves; the time goes into calling many small operations from Python where the kernel is called once. On
# inputs of convolutions the passes count, and the library keeps up; compiled, it is ahead. `make bench` repeats this on your machine, beside the limit that its memory sets.

# %% [markdown]
# ## 12. Errata and conventions
#
# **Eight statements that are in print or in use and do not hold, and one conjecture; each is shown to differ.**
#
# *"This is called whitening"*, says a public review of the layer itself. By (BN.36) the covariance is the matrix of correlations, not
#
# $$ \operatorname{Cov}[\hat x] = I \tag{BN.E1} $$
#
# *"The activations become (more or less) Gaussian"*, says the same review. Sums of many terms may be; the layer makes nothing so (BN.38).
# An exponential distribution has the kurtosis 9 in the population, 7.8 in our 4,000 draws, before and after. A Gaussian one has
#
# $$ \operatorname{kurt}[\hat x] = 3 \tag{BN.E2} $$
#
# *"For a scalar $a$"*: the paper's $\mathrm{BN}((aW)u)=\mathrm{BN}(Wu)$ needs $a>0$ (section 5). With $a=-1$ it would be
#
# $$ \mathrm{BN}\bigl((-W)u\bigr) = \mathrm{BN}(Wu) \tag{BN.E3} $$
#
# *"The weights never shrink"*, so one reads (BN.18), which is for $\varepsilon=0$. With $\varepsilon=0.5$ one step on a loss that wants
# small outputs, $L=\sum\hat x^2$, shortens them, against
#
# $$ \lVert w-\eta\nabla L_\varepsilon(w)\rVert \ge \lVert w\rVert \tag{BN.E4} $$
#
# *"Singular values close to one"*: not an error but a conjecture, which the paper hedges. One fresh linear layer (section 8) refutes it
# even if anything from 1/2 to 2 counts as close:
#
# $$ s_1\approx\dots\approx s_n\approx 1 \tag{BN.E5} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The first five refutations
covariance = torch.cov(batch_norm(z, None, None, eps=1e-12).T, correction=0)
check("BN.36", covariance, torch.corrcoef(z.T), "what the layer leaves: correlations")
refute("BN.E1", torch.eye(2).double(), covariance, "correlations remain")

gaussian = 3.0
check("BN.38", gaussian, scipy.stats.norm.moment(4), "σ = 1: a Gaussian's kurtosis")
check("BN.38", after, before, "an exponential feature keeps its own")
refute("BN.E2", gaussian, after, "an exponential feature stays exponential")

turned, straight = standardise(u @ -W.T), standardise(u @ W.T)  # ε = 0
check("BN.32", turned, -straight, "a = −1 turns the sign")
refute("BN.E3", turned, straight, "a negative factor turns x̂ round")

w = (0.3 * W[:1]).requires_grad_()
pre = u @ w.T
loss = batch_norm(pre, None, None, eps=0.5).square().sum()
(slope,) = torch.autograd.grad(loss, w)
stepped = (w - 0.01 * slope).detach()
change = stepped.square().sum() - w.square().sum()
rho = pre.var(unbiased=False) / (pre.var(unbiased=False) + 0.5)
inner = (1 - rho) * 2 * m * rho  # (BN.33): γ = 1, ∂L/∂γ = 2Σx̂² = 2mρ
formula = -2 * 0.01 * inner + 0.01**2 * slope.square().sum()
check("BN.33", change, formula, "one step's change of ‖w‖², ε = 0.5")
claim = bool(stepped.norm() >= w.norm())
refute("BN.E4", True, claim, "with ε > 0 a step can shorten the weights")

h = U @ fresh.T


def one_example(row):  # with the batch's statistics held fixed
    return (fresh @ row - h.mean(0)) / h.std(0, unbiased=False)


of_one = torch.autograd.functional.jacobian(one_example, U[0])
values = torch.linalg.svdvals(of_one)
refute("BN.E5", torch.ones(24).double(), values, "beyond 1/2 to 2", rtol=0.5)

# %% [markdown]
# *The unbiased variance of a feature map.* PyTorch, too, applies $m'/(m'-1)$, $m'=mS$, as if sites were independent draws. By (BN.31) the
# product stays too small wherever $\mathrm{Var}[o]>0$ and $S>1$:
#
# $$ \frac{m'}{m'-1}\,\mathrm E\,[\sigma^2] = \mathrm{Var}[x] \tag{BN.E6} $$
#
# *One pass.* Popular layers from scratch (labml's annotated one) take the mean of squares minus the squared mean. In exact arithmetic that
# is (BN.1). With $\mathrm{fl}$ for rounding to float32, nothing is left at a mean of $10^4$ (section 10):
#
# $$ \sigma^2 = \mathrm{fl}\Bigl(\frac1m\sum_i x_i^2\Bigr)-\mathrm{fl}(\mu^2) \tag{BN.E7} $$
#
# *A biased running variance.* The same layers, and Keras 3, average the batch's biased variance. By (BN.11) its limit is too small, in batches of two by
# half. Over all batches of two that can be drawn from four values it is not true that
#
# $$ \mathrm E\,[\sigma^2] = \mathrm{Var}[x] \tag{BN.E8} $$
#
# *"Group norm with one group is layer norm"*: PyTorch's page on GroupNorm calls them equivalent. The *standardised* values are. The layers
# are not, for group norm has one $\gamma$ and $\beta$ a channel, layer norm one a channel *and site*, which is more than group norm can
# imitate:
#
# $$ \mathrm{GN}_{G=1}(x;\gamma_c,\beta_c) = \mathrm{LN}(x;\gamma_{cs},\beta_{cs}) \quad\text{for some }\gamma_c,\beta_c \tag{BN.E9} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The other four refutations
corrected = 60 / 59 * expected_variance(2, 30, 3.0, 0.5)  # m′ = 2 · 30
formula = 60 / 59 * ((1 - 1 / 2) * 3.0 + (1 - 1 / 60) * 0.5)
check("BN.31", corrected, formula, "what PyTorch stores on average")
refute("BN.E6", corrected, torch.tensor(3.5).double(), "two images of 30 sites")


def squares_less(x):
    return (x**2).mean() - x.mean() ** 2


far = 1e4 + torch.randn(4096, generator=torch.Generator().manual_seed(0))
wide = far.double()
exact, two_pass = wide.var(unbiased=False), far.var(unbiased=False)
check("BN.1", squares_less(wide), exact, "one pass in float64", rtol=1e-6)
refute("BN.E7", squares_less(far), two_pass, "float32, mean 10,000, deviation 1")


def variance(numbers):
    mean = sum(numbers) / len(numbers)
    return sum((number - mean) ** 2 for number in numbers) / len(numbers)


population = [Fraction(n) for n in (1, 2, 2, 7)]
pairs = list(product(population, repeat=2))
biased = sum(map(variance, pairs)) / len(pairs)
half = Fraction(1, 2) * variance(population)
check("BN.11", biased, half, "half, in batches of two")
refute("BN.E8", biased, variance(population), "16 batches of two, exactly")

picture = torch.randn(4, 3, 5, dtype=torch.float64)
gains = torch.linspace(0.5, 1.5, 15, dtype=torch.float64).view(3, 5)
layer_norm, closest = F.layer_norm(picture, (3, 5), gains), torch.empty_like(picture)
one_group = F.group_norm(picture, 1)
check("BN.20", one_group, F.layer_norm(picture, (3, 5)), "without γ and β the same")
for c, values in enumerate(one_group.unbind(1)):
    design = torch.stack((values.flatten(), torch.ones(20).double()), 1)
    best = torch.linalg.lstsq(design, layer_norm[:, c].flatten()).solution  # γ_c, β_c
    closest[:, c] = (design @ best).view(4, 5)
refute("BN.E9", closest, layer_norm, "the closest that group norm comes")

# %% [markdown]
# Conventions that cause errors: PyTorch's `momentum` 0.1 is the weight of the *new* batch, that of TensorFlow and Keras, 0.99, of the old
# average. PyTorch's $\varepsilon$ is $10^{-5}$, Keras's $10^{-3}$. PyTorch and TensorFlow's fused kernel store the corrected variance,
# Keras 3 the biased one.

# %% [markdown]
# ## 13. Harder exercises
#
# **5 (calculation).** By how much does one step of plain gradient descent change $\lVert w\rVert^2$ when $\varepsilon>0$? Return the change
# in terms of the rate, $\rho$, $\gamma$, $\partial L/\partial\gamma$ and the length of the gradient of $w$. When do the weights shrink?


# %% tags=["exercise-5"]
def change_of_squared_length(rate, rho, gamma, d_gamma, gradient_length):
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(change_of_squared_length):
    for seed, rate, eps in product(range(3), (0.01, 0.5), (0.5, 5.0)):
        generator = torch.Generator().manual_seed(seed)
        u, target = torch.randn(2, 20, 4, generator=generator, dtype=torch.float64)
        w = torch.randn(4, 1, generator=generator, dtype=torch.float64).requires_grad_()
        gain = torch.tensor([1.7 - seed], dtype=torch.float64, requires_grad=True)
        x = u @ w
        y = F.batch_norm(x, None, None, gain, None, training=True, eps=eps)
        loss = ((y - target[:, :1]) ** 2).sum()
        d_w, d_gain = torch.autograd.grad(loss, (w, gain))
        rho = (x.var(unbiased=False) / (x.var(unbiased=False) + eps)).item()
        expected = ((w - rate * d_w).square().sum() - w.square().sum()).item()
        answer = change_of_squared_length(
            rate, rho, 1.7 - seed, d_gain.item(), d_w.norm().item()
        )
        assert abs(answer - expected) < 1e-9 * max(1, abs(expected)), (
            f"rate {rate}, ε {eps}: {answer}, expected {expected}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# $\lVert w-\eta\nabla\rVert^2=\lVert w\rVert^2-2\eta\langle w,\nabla\rangle+\eta^2\lVert\nabla\rVert^2$, with (BN.33) in the middle. They shrink
# when $\eta\lVert\nabla\rVert^2<2(1-\rho)\,\gamma\,\partial L/\partial\gamma$: when the loss wants smaller outputs and the step is short.
#
# ```python
# def change_of_squared_length(rate, rho, gamma, d_gamma, gradient_length):
#     return -2 * rate * (1 - rho) * gamma * d_gamma + rate**2 * gradient_length**2
# ```
#
# </details>
#
# **6 (implementation).** Write the backward pass without the input: from the *output* $y$, $\gamma$, $\beta$ and $v$ alone. Then the input's
# memory can be overwritten by the output, which the next layer keeps anyway. Which channels cannot be treated so?


# %% tags=["exercise-6"]
def backward_from_output(g, y, weight, bias, invstd):
    """g and y (N, C), the others (C,) -> grad_x (N, C), grad_weight (C,), grad_bias (C,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(backward_from_output):
    generator = torch.Generator().manual_seed(6)
    for size, eps in ((9, 1e-5), (6, 0.4)):
        x, g = torch.randn(2, size, 4, generator=generator, dtype=torch.float64)
        weight, bias = torch.randn(2, 4, generator=generator, dtype=torch.float64)
        leaves = [leaf.requires_grad_() for leaf in (5 + 2 * x, weight, bias)]
        y = F.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=eps)
        expected = torch.autograd.grad(y, leaves, g)
        invstd = (leaves[0].detach().var(0, unbiased=False) + eps) ** -0.5
        given = (y.detach(), weight.detach(), bias.detach(), invstd)
        answer = backward_from_output(g, *given)
        for name, a, b in zip(("x", "weight", "bias"), answer, expected, strict=True):
            assert a.shape == b.shape, f"gradient of {name} has shape {tuple(a.shape)}"
            assert torch.allclose(a, b), f"the gradient of {name} is wrong (ε = {eps})"
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# (BN.2) turned round gives $\hat x=(y-\beta)/\gamma$, and (BN.7) asks for nothing else. A channel with $\gamma=0$ has lost its $\hat x$, and one
# with a $\gamma$ near zero its digits. In-place activated batch norm
# ([Rota Bulò et al. 2018](https://arxiv.org/abs/1712.02616)) is this with an activation that can be inverted, too.
#
# ```python
# def backward_from_output(g, y, weight, bias, invstd):
#     x_hat = (y - bias) / weight
#     d_weight, d_bias = (g * x_hat).sum(0), g.sum(0)
#     return weight * invstd * (g - d_bias / len(g) - x_hat * d_weight / len(g)), d_weight, d_bias
# ```
#
# </details>
#
# **7 (calculation).** Add weight decay $\lambda$ to plain gradient descent, $w'=(1-\eta\lambda)\,w-\eta\nabla L(w)$ with $\varepsilon=0$ and
# $0<\eta\lambda<2$, $\eta\lambda\ne1$. Decay shortens $w$, the gradient lengthens it. Let
# $\ell=\lVert\nabla L(w/\lVert w\rVert)\rVert$ stay the same. At which *effective* rate
# $\eta/\lVert w\rVert^2$ (BN.19) does the length settle? Does it matter how the product $\eta\lambda$ is split?


# %% tags=["exercise-7"]
def settled_rate(rate: float, decay: float, length: float) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-7-checker", "hide-input"]
# @title Checker 7
def check_exercise_7(settled_rate):
    for rate, decay, length in ((0.1, 0.1, 3.0), (1.0, 0.01, 3.0), (0.5, 0.8, 0.2)):
        w = 2.0 + 0.0j  # a plane; i·w is orthogonal to w
        for _ in range(3000):
            gradient = 1j * w / abs(w) * length / abs(w)  # ℓ/‖w‖ long, by (BN.17)
            w = (1 - rate * decay) * w - rate * gradient
        expected = rate / abs(w) ** 2
        answer = settled_rate(rate, decay, length)
        assert abs(answer - expected) < 1e-6 * expected, (
            f"rate {rate}, decay {decay}, ℓ {length}: {answer}, expected {expected}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 7</summary>
#
# The gradient is orthogonal to $w$ (BN.33) and $\ell/\lVert w\rVert$ long (BN.17), so
# $\lVert w'\rVert^2=(1-\eta\lambda)^2\lVert w\rVert^2+\eta^2\ell^2/\lVert w\rVert^2$. Set it equal to $\lVert w\rVert^2$ and solve for
# $\eta/\lVert w\rVert^2$: it is $\sqrt{1-(1-\eta\lambda)^2}/\ell\approx\sqrt{2\eta\lambda}/\ell$. Only the product counts. Weight decay below the layer
# does not make the function simpler; it holds the effective rate up.
#
# ```python
# def settled_rate(rate, decay, length):
#     return math.sqrt(1 - (1 - rate * decay) ** 2) / length
# ```
#
# </details>

# %% [markdown]
# ## 14. Further reading
#
# - Why it helps: [Santurkar et al. 2018](https://arxiv.org/abs/1805.11604) (smoothness, not covariate shift),
#   [Bjorck et al. 2018](https://arxiv.org/abs/1806.02375) (larger rates).
# - Scale: [van Laarhoven 2017](https://arxiv.org/abs/1706.05350) (weight decay acts through the effective rate).
# - Where it hurts: [Yang et al. 2019](https://arxiv.org/abs/1902.08129) (gradients explode at initialisation),
#   [Wu and He 2018](https://arxiv.org/abs/1803.08494) (group normalisation, small batches),
#   [Ioffe 2017](https://arxiv.org/abs/1702.03275) (batch renormalisation, by the first author).
# - Its noise as a regulariser: [Hoffer, Hubara, Soudry 2017](https://arxiv.org/abs/1705.08741) (ghost batches).
# - Whitening after all: [Huang et al. 2018](https://arxiv.org/abs/1804.08450) (decorrelated batch normalisation, by groups).
# - Other sets of values: [Ba, Kiros, Hinton 2016](https://arxiv.org/abs/1607.06450) (layer),
#   [Ulyanov, Vedaldi, Lempitsky 2016](https://arxiv.org/abs/1607.08022) (instance).
# - In recurrent networks: [Cooijmans et al. 2016](https://arxiv.org/abs/1603.09025).
