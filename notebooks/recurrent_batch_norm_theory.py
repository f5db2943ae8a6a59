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
# # Recurrent batch normalization: the theory
#
# **Gains of a step, dead steps, the way back, sequences that end, cost, errata: what stands behind
# [the lesson](recurrent_batch_norm.ipynb).** The measurements are in [the experiments](recurrent_batch_norm_experiments.ipynb).
# Sections can be read in any order; their code uses functions from above. Symbols are those of the lesson; section 14 lists the new
# ones. A *gain* is the length of a gradient after a step back in time over its length before. Most sections need batch norm's backward
# pass (BN.7). With $v=1/\sqrt{\sigma^2+\varepsilon}$ it sends a gradient $\delta$ at $\gamma\hat z$ to $\gamma\,\mathcal N(\delta)$
# at $z$, where
#
# $$ \mathcal N(\delta) = v\,\Bigl(\delta-\frac1B\sum_n\delta_n-\frac{\hat z}B\sum_n\delta_n\hat z_n\Bigr) $$

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
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import sympy
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from workedpapers.experiments import recurrent_batch_norm as experiment
from workedpapers.lab import check, figures, refute, setup, sweep
from workedpapers.lab.timing import saved_bytes
from workedpapers.recurrent_batch_norm import BatchNormLSTM

device = setup(seed=0)
torch.set_default_dtype(torch.float64)  # where nothing else is said
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK, YELLOW = (COLORS[role] for role in ("muted", "peer", "wrong"))


def normalise(z, eps=0.0):
    """ẑ and v of every column; an example is a row."""
    v = (z.var(0, unbiased=False) + eps) ** -0.5
    return (z - z.mean(0)) * v, v


def through(delta, z_hat, v):
    """𝒩(δ)."""
    return v * (delta - delta.mean(0) - z_hat * (delta * z_hat).mean(0))


# %% [markdown]
# ## 1. Why can the gain of a step not be below one without input?
#
# **Mixing weights, no input: whatever $\gamma$ you choose, the mean square of a gradient does not shrink. Only a linear step leaves it as
# it is, and a small $\gamma$ is nearly linear.**
#
# (RBN.9) is a statement about wide networks at the start: $W_h$ is orthogonal and mixes many units, so that $z=\gamma\hat z$ is close
# to $\mathcal N(0,\gamma^2)$ and the gradient from above does not depend on it. Then $\chi$ is the mean square gain. Write $z=\gamma u$
# with a standard normal $u$, and $f(u)=\tanh(\gamma u)$.
#
# *Proof.* The Hermite polynomials have $\mathrm E[He_nHe_m]=n!$ for $n=m$, else 0, and $He_n'=n\,He_{n-1}$. Expand
# $f=\sum_na_nHe_n$. Then $\operatorname{Var}f=\sum_{n\ge1}n!\,a_n^2$. The derivative is $f'=\sum_nn\,a_nHe_{n-1}$, so
# $\gamma^2\,\mathrm E[\tanh'(z)^2]=\mathrm E f'^2=\sum_nn^2(n-1)!\,a_n^2$, and
#
# $$ \chi = \frac{\gamma^2\,\mathrm E[\tanh'(z)^2]}{\operatorname{Var}[\tanh z]} = \frac{\sum_{n\ge1}n\,n!\,a_n^2}{\sum_{n\ge1}n!\,a_n^2} \ge 1, \qquad a_n=\frac{\mathrm E[f(u)\,He_n(u)]}{n!} \tag{RBN.14} $$
#
# Read $\chi$ as the *mean degree* of $f$, each degree with its share of the variance. It is one if no degree but the first occurs.
# $\blacksquare$ This is the Gaussian Poincaré inequality, and it holds for every smooth $f$, with a bias inside, too.
#
# How far from one? The first degree that joins is the third: $\tanh z\approx z-z^3/3$ and $u^3=He_3+3He_1$ give
# $a_3\approx-\gamma^3/3$, against $a_1\approx\gamma$. Its share of the variance is $6a_3^2/a_1^2=\frac23\gamma^4$, and it counts two more
# than the first. The next term comes out of the same series:
#
# $$ \chi = 1+\tfrac43\gamma^4-8\gamma^6+O(\gamma^8) \tag{RBN.15} $$


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Chi minus one against gamma on log axes. From 0.05 to about 0.3 the curve lies on the dotted line four thirds gamma to the fourth; at gamma 1 it is at 0.18, below the line, and rises more slowly from there."}} tags=["hide-input"]
# @title Checks of (RBN.14) and (RBN.15), and χ − 1 in a picture
def chi_by_quadrature(gamma_h, s, shift=0.0):
    """γ_h² E[tanh′(z + shift)²] / Var[tanh(z + shift)] for z ~ N(0, s²)."""

    def mean(function):
        inside = [(k - shift) / s for k in (-9, -3, 0, 3, 9)]
        inside = [point for point in inside if abs(point) < 12]

        def at(u):
            return norm.pdf(u) * function(math.tanh(s * u + shift))

        return quad(at, -12, 12, points=inside, limit=400, epsabs=0)[0]

    slope, square = mean(lambda y: (1 - y * y) ** 2), mean(lambda y: y * y)
    first = mean(lambda y: y) if shift else 0.0
    return gamma_h**2 * slope / (square - first**2)


u = torch.linspace(-14, 14, 2801)
weight = torch.exp(-(u**2) / 2) * (u[1] - u[0]) / math.sqrt(2 * math.pi)


def mean_degree(f, degrees=range(1, 121)):
    """The right side of (RBN.14) for the values f of a function at u."""
    above = below = 0.0
    before, He = torch.ones_like(u), u  # He₀, He₁
    for n in degrees:
        a_n = float((weight * f * He).sum()) / math.factorial(n)
        above += n * math.factorial(n) * a_n**2
        below += math.factorial(n) * a_n**2
        before, He = He, u * He - n * before
    return above / below


for gamma, shift in ((0.3, 0.0), (0.6, 0.4), (1.0, 0.0), (1.0, -0.7)):
    degree = mean_degree(torch.tanh(gamma * u + shift))
    chi = chi_by_quadrature(gamma, gamma, shift)
    check("RBN.14", degree, chi, f"γ = {gamma}, bias {shift}", rtol=1e-8)
    check("RBN.14", chi > 1, True, "and above one")
check("RBN.14", mean_degree(0.3 + 2 * u), 1.0, "a straight line: one")


def chi_on_grid(gamma_h, s):
    """The left side of (RBN.14), quick; for pictures."""
    y = torch.tanh(s * u)
    mean_slope, mean_square = (
        (weight * part).sum() for part in ((1 - y**2) ** 2, y**2)
    )
    return float(gamma_h**2 * mean_slope / mean_square)


sym_u, sym_g = sympy.symbols("u gamma", positive=True)


def gaussian_mean(expression):
    terms = sympy.Poly(sympy.expand(expression), sym_u).terms()
    return sum(c * sympy.factorial2(n - 1) for (n,), c in terms if n % 2 == 0)


line = sympy.series(sympy.tanh(sym_g * sym_u), sym_g, 0, 10).removeO()
slope = sympy.diff(line, sym_u)
ratio = gaussian_mean(slope**2) / gaussian_mean(line**2)
series = sympy.series(sympy.cancel(ratio), sym_g, 0, 8).removeO()
displayed = 1 + sympy.Rational(4, 3) * sym_g**4 - 8 * sym_g**6
check("RBN.15", series, displayed, "by the series of tanh")

gammas = np.geomspace(0.05, 3, 40)
fig, ax = plt.subplots()
excess = [chi_on_grid(g, g) - 1 for g in gammas]
ax.loglog(gammas, excess, "o", color=BLUE, ms=4, label="χ − 1, no input")
ax.loglog(gammas, 4 / 3 * gammas**4, ":", color="black", label="4γ⁴/3")
ax.set(xlabel="γ", ylabel="excess over one")
ax.set_title("At γ = 0.1 a step is all but neutral")
ax.legend()
plt.show()
roots = [f"{math.sqrt(chi_on_grid(g, g)):.4f}" for g in (0.1, 0.3, 0.5, 1, 2)]
print("√χ without input at γ = .1, .3, .5, 1, 2:", *roots)
hundred = [f"{chi_on_grid(g, g) ** 50:.4g}" for g in (0.1, 1)]
print("over 100 steps at γ = .1 and 1:", *hundred)

# %% [markdown]
# So mixing weights without input make gradients *explode* at large $\gamma$: a factor 1.085 a step at $\gamma=1$, which over a hundred
# steps is 3,600. At $\gamma=0.1$ the factor is 1.0001, and over a hundred steps 1.006.

# %% [markdown]
# ## 2. What changes with an input?
#
# **The input's own normalisation takes a fixed share at every step, and a larger $\gamma$ gives part of it back. With mixing weights and
# white input, large $\gamma$ forgets less, not more.**
#
# Now $z=\gamma_h\hat z+\gamma_x\hat x$ has the variance $s^2=\gamma_h^2+\gamma_x^2$, but on its way to $h_{t-1}$ the gradient meets
# $\gamma_h$ alone (RBN.12). Let $\chi_0(s)$ be the $\chi$ of section 1 at $\gamma=s$. Then
#
# $$ \chi = \frac{\gamma_h^2}{\gamma_h^2+\gamma_x^2}\;\chi_0\Bigl(\sqrt{\gamma_h^2+\gamma_x^2}\Bigr), \qquad \lim_{s\to0}\chi_0(s)=1, \quad \lim_{s\to\infty}\frac{\chi_0(s)}s=\frac4{3\sqrt{2\pi}} \tag{RBN.16} $$
#
# For large $s$ only $z$ near zero has a slope: the mean of $\tanh'^2$ is the area $\int\tanh'(z)^2dz=\frac43$ times the density
# $1/(s\sqrt{2\pi})$ there, and the variance of $\tanh z$ is one. For small $s$ the first factor is all. With input of equal variance it
# is $\frac12$, a gain of 0.707, and no small $\gamma$ helps. White input is new for every step and unit; pixels are not like that. Dots
# are networks: 100 units, 200 examples, orthogonal weights, white input or none.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.16), and a refutation
for gamma_h, gamma_x in ((0.1, 0.3), (0.7, 0.2), (0.5, 0.8)):
    s = math.hypot(gamma_h, gamma_x)
    share = gamma_h**2 / (gamma_h**2 + gamma_x**2)
    product = share * mean_degree(torch.tanh(s * u))
    chi = chi_by_quadrature(gamma_h, s)
    check("RBN.16", product, chi, f"γ_h = {gamma_h}, γ_x = {gamma_x}", rtol=1e-8)
check("RBN.16", chi_by_quadrature(1e-2, 1e-2), 1.0, "s → 0", rtol=1e-6)
wide = chi_by_quadrature(3e4, 3e4) / 3e4
limit = 4 / (3 * math.sqrt(2 * math.pi))
check("RBN.16", wide, limit, "s → ∞", rtol=1e-4)


def one_step_back(delta, h, z_hat, v, gamma_h, W):
    """From a gradient at h_t to that at h_{t−1}."""
    return gamma_h * through(delta * (1 - h**2), z_hat, v) @ W


def measured(gamma_h, gamma_x, steps=12, units=100, examples=200):
    """Gain of the last steps for fresh random gradients; a wide network at its start."""
    source = torch.Generator().manual_seed(0)
    W = torch.linalg.qr(torch.randn(units, units, generator=source))[0]
    h, gains = torch.randn(examples, units, generator=source), []
    for t in range(steps):
        z_hat, v = normalise(h @ W.T)
        white, delta = torch.randn(2, examples, units, generator=source)
        h = torch.tanh(gamma_h * z_hat + gamma_x * normalise(white)[0])
        if t >= 4:  # a random gradient loses 2/B of its square to 𝒩
            back = one_step_back(delta, h, z_hat, v, gamma_h, W)
            share = back.square().sum() / delta.square().sum()
            gains.append(share / (1 - 2 / examples))
    return math.sqrt(sum(gains) / len(gains))


for gamma_h, gamma_x in ((1.0, 0.0), (0.1, 0.1), (1.0, 1.0), (0.5, 0.25)):
    found = measured(gamma_h, gamma_x)
    root = math.sqrt(chi_by_quadrature(gamma_h, math.hypot(gamma_h, gamma_x)))
    check("RBN.16", found, root, f"network, {gamma_h} and {gamma_x}", rtol=2e-2)
source = torch.Generator().manual_seed(2)
W, h_before = torch.randn(5, 5, generator=source), torch.randn(7, 5, generator=source)
white, delta = torch.randn(2, 7, 5, generator=source)
z_hat, v = normalise(h_before.requires_grad_() @ W.T)
h = torch.tanh(0.7 * z_hat + 0.4 * normalise(white)[0])
(exact,) = torch.autograd.grad(h, h_before, delta)
ours = one_step_back(delta, h, z_hat, v, 0.7, W)
check("RBN.16", ours, exact, "a network's step back, entry by entry, any W")

y = torch.tanh(u)  # γ = 1
slope, stein = (float((weight * part).sum()) for part in (1 - y**2, u * y))
check("RBN.10", slope, stein, "E tanh′ at γ = 1, by Stein's lemma")
root = math.sqrt(chi_by_quadrature(1.0, 1.0))
refute("RBN.E3", slope, root, "γ = 1, mixing weights, no input")
squares = float((weight * (1 - y**2) ** 2).sum()) ** 0.5
sigma = float((weight * y**2).sum()) ** 0.5
print(f"γ = 1: E tanh′ {slope:.3f}, √E tanh′² {squares:.3f}, γ/σ {1 / sigma:.3f}")
print(f"E tanh′ · γ/σ {slope / sigma:.3f}, √E tanh′² · γ/σ {squares / sigma:.3f}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the gain of a step against gamma on a log axis, one curve for each ratio of input to hidden variance. Without input it starts at 1 and rises from gamma 0.5 on; with ratio one quarter it starts at 0.89, with 1 at 0.71, with 4 at 0.45, and all rise with gamma. Dots of networks lie on the curves. Right, without input, from gamma 0 to 2: the mean of tanh prime falls from 1 to 0.36, its root mean square from 1 to 0.51; gamma over sigma rises from 1 to 2.51; the root mean square times gamma over sigma, which is the gain, rises to 1.27, while the mean times gamma over sigma falls to 0.92."}} tags=["hide-input"]
# @title Figure: gains with and without input, and their factors
fig, (left, right) = figures.panels(2)
gammas, some = np.geomspace(0.05, 4, 25), (0.1, 0.4, 1.0, 2.0)
for ratio, color in ((0, GREY), (0.25, GREEN), (1, BLUE), (4, ORANGE)):
    norms = [chi_on_grid(g, g * math.sqrt(1 + ratio)) ** 0.5 for g in gammas]
    left.semilogx(gammas, norms, color=color, label=f"{ratio:g}")
    dots = [measured(g, g * math.sqrt(ratio)) for g in some]
    left.semilogx(some, dots, "o", color=color, ms=4)
left.axhline(1, color="black", ls=":", lw=1)
left.set(xlabel="γ of the hidden term", ylabel="gain of a step √χ", ylim=(0, 1.6))
left.set_title("Input costs a fixed share")
left.legend(fontsize=8, title="input / hidden variance", title_fontsize=8, ncol=4)
gammas = np.linspace(0.02, 2, 40)
y = torch.tanh(torch.tensor(gammas)[:, None] * u)
slope, square = ((weight * part).sum(1) for part in (1 - y**2, (1 - y**2) ** 2))
inverse = torch.tensor(gammas) / (weight * y**2).sum(1).sqrt()
right.plot(gammas, slope, color=YELLOW, label="E tanh′")
right.plot(gammas, slope * inverse, ":", color=YELLOW, label="E tanh′ · γ/σ")
right.plot(gammas, square.sqrt(), color=BLUE, label="√E tanh′²")
right.plot(gammas, inverse, "--", color=PINK, label="γ/σ")
right.plot(gammas, square.sqrt() * inverse, color=GREY, label="gain √χ")
right.axhline(1, color="black", ls=":", lw=1)
right.set(xlabel="γ, no input", title="Two things that E tanh′ leaves out")
right.legend(fontsize=8)
plt.show()
mean_slopes = [
    f"{float((weight * (1 - torch.tanh(g * u) ** 2)).sum()):.4f}" for g in (0.1, 1)
]
print("E tanh′ at γ = .1 and 1:", *mean_slopes)
equal = [chi_on_grid(g, g * math.sqrt(2)) ** 0.5 for g in (0.1, 0.7, 1, 2)]
print("√χ, input of equal variance, γ = .1, .7, 1, 2:", *(f"{v:.3f}" for v in equal))

# %% [markdown]
# *What the paper says.* Its figure of gradient norms is for a tanh network on pixels. It shows that they vanish at large $\gamma$, it
# shows that $\mathrm E[\tanh'(z)]$ falls from 0.99 at $\gamma=0.1$ to 0.61 at 1, and it writes that it *conjectures* the second to be the
# cause of the first. Nowhere does it call this mean the gain. If you did, you would have
#
# $$ \text{gain of a step} = \mathrm E[\tanh'(z)] \tag{RBN.E3} $$
#
# It leaves out two things. One is the factor $\gamma/\sigma$ of batch norm's backward pass, where $\sigma$ is the deviation of what
# $\tanh$ has squeezed. That alone does not bring the gain to one: by Stein's lemma (RBN.10), $\mathrm E[\tanh']\,\gamma/\sigma$ is the
# correlation of $z$ and $\tanh z$, 0.965 at $\gamma=1$. The other: lengths go by the *root mean square* of the slope, 0.681 at
# $\gamma=1$, not by the mean, 0.606. With both the gain is 1.085. With white input of equal variance it *is* below one until $\gamma$ is
# about 2, but rises with $\gamma$: 0.707, 0.820, 1.004 at 0.1, 1, 2. So in neither regime is it a large $\gamma$ that makes gradients
# vanish. Both have mixing weights. The paper does not say which its figure has.
#
# The tanh network in the authors' code has $W_h=I$ and *one* norm, $\tanh(\mathrm{BN}(h_{t-1}+W_xx_t;\gamma))$, on pixels. There it is
# the weights that decide, as without input:


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title One norm of the sum, on pixels of digits: gains over fifty steps
def one_norm(gamma, W, seed, steps=50):
    """log₁₀ of a random gradient's growth from the last step back."""
    source = torch.Generator().manual_seed(seed)
    images = digits[100 * seed : 100 * seed + 100]
    W_x = F.normalize(torch.randn(1, len(W), generator=source))  # orthogonal
    h = gamma * torch.randn(len(images), len(W), generator=source)
    path = [h.requires_grad_()]
    for pixel in images.T:
        z_hat = normalise(path[-1] @ W.T + pixel[:, None] * W_x, 1e-5)[0]
        path.append(torch.tanh(gamma * z_hat))
    delta = torch.randn(h.shape, generator=source)
    (back,) = torch.autograd.grad(path[-1], path[-1 - steps], delta)
    return float((back.norm() / delta.norm()).log10())


digits = torch.tensor(load_digits().data) / 16  # 64 pixels each
mixing = torch.linalg.qr(torch.randn(100, 100, generator=source))[0]
for name, W in (("orthogonal", mixing), ("identity", torch.eye(100))):
    for gamma in (0.1, 1.0):
        grown = [one_norm(gamma, W, seed) for seed in range(5)]
        ends = f"{min(grown):.1f} to {max(grown):.1f}"
        print(f"{name}, γ = {gamma:g}: log₁₀ of the growth {ends}, five runs")

# %% [markdown]
# At $\gamma=1$, over fifty steps, a random gradient gains 1.8 to 1.9 orders of magnitude with orthogonal weights and loses 6 to 8 with the
# identity. At 0.1 it changes little, by 0.1 to 0.3 downwards. In one norm a pixel's share is what its size makes it, and that is small
# here: $W_x$ has length one over all 100 units. Two norms give the pixel a fixed share;
# [section 1 of the experiments](recurrent_batch_norm_experiments.ipynb) measures them.

# %% [markdown]
# ## 3. What happens with identity weights?
#
# **Nothing mixes. Every unit standardises and squeezes its own values again and again, until the batch sits on two points. Where
# these are near balance, the gain is below one, far below for large $\gamma$; but it takes a long time to get there.**
#
# Take a tanh network with $W_h=I$ and no input. Each unit repeats $h\mapsto\tanh(\gamma\hat h)$ on the same $B$ values. $\tanh$ pulls
# outer values in more than inner ones, standardising spreads all again, and the kurtosis, the mean of $\hat h^4$, falls. It ends on *two
# points*. With zero mean and unit variance they are $a=\sqrt{(1-p)/p}$ for a share $p$ of the examples and $-1/a$ for the rest; the next
# step maps them to two points again, and standardises to the same. Their kurtosis is $1/(p(1-p))-3$: one, the least of all, in balance.
#
# *The gain there.* Before it is standardised, $h$ is $\tanh(\gamma a)$ or $-\tanh(\gamma/a)$; the deviation of such a pair is
# $\sqrt{p(1-p)}$ times the distance. In $\mathcal N(\delta)$ the sums run over both groups. On two points every function of the
# group is a combination of $1$ and $\hat h$, so what a group's examples have in common is lost. What is left adds up to zero within a
# group, both sums vanish, and the examples of the first group keep
#
# $$ \text{gain} = \frac{\gamma\,\operatorname{sech}^2(\gamma a)}{\sqrt{p(1-p)}\,\bigl(\tanh\gamma a+\tanh(\gamma/a)\bigr)}, \qquad a=\sqrt{\frac{1-p}p} \tag{RBN.17} $$
#
# For the second group exchange $p$ and $1-p$. Balance, $p=\frac12$ and $a=1$, gives the lesson's (RBN.11):
# $2\gamma\operatorname{sech}^2\gamma/(2\tanh\gamma)=2\gamma/\sinh2\gamma$.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Gain of the smaller and of the larger group against the share p of the smaller one, for gamma 0.5 and 1. The smaller group's gain falls below one as p falls. The larger group's gain passes one at p about 0.32 for gamma 0.5 and 0.29 for gamma 1, and reaches 1.7 and 2.6 at p = 0.08. At p = one half both groups meet at the balanced value, 0.85 and 0.55."}} tags=["hide-input"]
# @title Checks of (RBN.17) and (RBN.11), and the gain of both groups
def gain_of_group(gamma, p):  # (RBN.17)
    a = math.sqrt((1 - p) / p)
    spread = math.sqrt(p * (1 - p)) * (math.tanh(gamma * a) + math.tanh(gamma / a))
    return gamma / math.cosh(gamma * a) ** 2 / spread


def by_autograd(gamma, first, second, steps=6):
    """Gain a step of a random gradient, for each of two groups of examples."""
    h = torch.cat((torch.ones(first), -torch.ones(second)))[:, None].requires_grad_()
    path = [h]
    for _ in range(steps):
        path.append(torch.tanh(gamma * normalise(path[-1])[0]))
    above = torch.randn(first + second, 1, generator=torch.Generator().manual_seed(1))
    ends = torch.autograd.grad(path[-1], (path[2], path[-2]), above)
    groups = [[part.norm() for part in end.split((first, second))] for end in ends]
    return [float(a / b) ** (1 / (steps - 3)) for a, b in zip(*groups, strict=True)]


for gamma, first, second in ((0.3, 6, 14), (1.0, 9, 11), (0.7, 4, 4), (2.0, 3, 4)):
    p = first / (first + second)
    formula = [gain_of_group(gamma, p), gain_of_group(gamma, 1 - p)]
    found = by_autograd(gamma, first, second)
    check("RBN.17", formula, found, f"groups of {first} and {second}, γ = {gamma}")
    a = math.sqrt((1 - p) / p)
    kurtosis = p * a**4 + (1 - p) / a**4
    check("RBN.17", 1 / (p * (1 - p)) - 3, kurtosis, "kurtosis of its two points")
for gamma in (0.3, 0.5, 1.0):
    balanced = 2 * gamma / math.sinh(2 * gamma)
    check("RBN.11", balanced, gain_of_group(gamma, 0.5), f"in balance, γ = {gamma}")

fig, ax = plt.subplots()
shares = np.linspace(0.08, 0.5, 60)
for gamma, color in ((0.5, BLUE), (1.0, ORANGE)):
    larger = [gain_of_group(gamma, 1 - p) for p in shares]
    smaller = [gain_of_group(gamma, p) for p in shares]
    ax.plot(shares, larger, color=color, label=f"larger group, γ = {gamma:g}")
    ax.plot(shares, smaller, "--", color=color, label=f"smaller group, γ = {gamma:g}")
ax.axhline(1, color="black", ls=":", lw=1)
ax.set(xlabel="share p of the smaller group", ylabel="gain of a step")
ax.set_title("Balance below one, imbalance above")
ax.legend(fontsize=8)
plt.show()
print(f"larger group, γ = .5, p = .08: {gain_of_group(0.5, 0.92):.2f}")

# %% [markdown]
# Out of balance the larger group's gain is above one: 1.67 at $p=0.08$, $\gamma=0.5$.
#
# *Which two points last?* Within a group, small differences between examples go forward with the same factor as gradients go back.
# A group whose gain is above one comes apart. For small $\gamma$ expand (RBN.17): the larger group stays
# together if the smaller one has more than a *third* of the examples (exercise 5). Now watch a unit that begins with a normal batch:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the standardised values of 40 examples in one unit over 60 steps at gamma 0.5: a spread from minus 2 to 2 narrows into two bands at plus and minus one within 15 steps; the few examples that begin near zero drift out to them by step 50. Right, gain of a step for a fresh random gradient against the step on a log axis: all begin near 1 and fall to dotted lines at 0.993, 0.942, 0.851 and 0.551 for gamma 0.1, 0.3, 0.5 and 1; gamma 1 is there after 14 steps, gamma 0.3 after about 60, gamma 0.1 after several hundred."}} tags=["hide-input"]
# @title One unit's examples, and the gain step by step
times = [1, 2, 3, 4, 6, 8, 10, 14, 20, 28, 40, 56, 80, 110, 150, 210, 300, 420, 600]


def identity_run(gamma, units=40, examples=200):
    """Values of the first unit; gains for fresh random gradients, over units; W = I."""
    source = torch.Generator().manual_seed(0)
    h = torch.randn(examples, units, generator=source) * gamma
    values, gains, kurtosis = [], [], []
    for t in range(1, 601):
        h_hat, v = normalise(torch.tanh(h))
        values.append(h_hat[:40, 0])
        kurtosis.append(float((h_hat**4).mean()))
        if t in times:
            delta = torch.randn(examples, units, generator=source)
            back = gamma * through(
                delta * (1 - torch.tanh(gamma * h_hat) ** 2), h_hat, v
            )
            gains.append(
                float(back.norm() / delta.norm()) / math.sqrt(1 - 2 / examples)
            )
        h = gamma * h_hat
    return torch.stack(values), gains, kurtosis


fig, (left, right) = figures.panels(2)
for gamma, color in ((0.1, GREY), (0.3, GREEN), (0.5, BLUE), (1.0, ORANGE)):
    values, gains, kurtosis = identity_run(gamma)
    if gamma == 0.5:
        left.plot(values[:60], color=GREY, lw=0.6)
    limit = 2 * gamma / math.sinh(2 * gamma)
    right.semilogx(times, gains, "o-", ms=3, color=color, label=f"γ = {gamma:g}")
    right.axhline(limit, color=color, ls=":")
    at_600 = f"at 600 gain {gains[-1]:.3f} (2γ/sinh 2γ {limit:.3f})"
    print(
        f"γ = {gamma:g}: step 1 gain {gains[0]:.3f}, kurtosis {kurtosis[0]:.2f};",
        end=" ",
    )
    print(f"at step 10 gain {gains[6]:.3f}, {at_600};", end=" ")
    print(f"kurtosis at 100 {kurtosis[99]:.2f}, at 600 {kurtosis[-1]:.2f}")
left.set(xlabel="step", ylabel="standardised value", title="Two points, γ = 0.5")
right.set(xlabel="step", ylabel="gain", title="Late, the closed form (dotted)")
right.set(ylim=(0.3, 1.05))
right.legend(fontsize=8, ncol=2, loc="lower left")
plt.show()

# %% [markdown]
# The dotted lines are the end, not the way. For small $\gamma$ the gain begins near the $\sqrt\chi$ of section 1, for the batch is still
# nearly normal. At $\gamma=1$ one tanh has brought the kurtosis from 3 to 1.65, and the first gain is 0.963, not 1.085. At $\gamma=0.1$ the
# kurtosis is 1.51 after a hundred steps: the approach takes some $1/\gamma^2$ steps. Each unit ends in a balance of its own, and a gradient
# that is carried back over many steps is soon made up of the groups with the largest gain. So norms over the first hundred steps of a toy
# network are *not* powers of $2\gamma/\sinh2\gamma$. What the closed form tells is the direction: with $W_h=I$ and without input, late in
# time, a large $\gamma$ makes gradients vanish. With mixing weights it makes them explode (section 1).

# %% [markdown]
# ## 4. What does a step do on which all examples agree?
#
# **It multiplies the gradient by $\gamma/\sqrt\varepsilon=31.62$ for every norm on the way. Two norms stand in series in the cell, and
# with $W_g=I$ the factor is 250.73.**
#
# The first rows of MNIST's images are black in nearly every example. With a start state that is the same for all, every value agrees,
# $\sigma^2=0$ and $v=1/\sqrt\varepsilon$. Forward nothing happens, $\hat z=0$. Backward, with $\sum_n\delta_n=0$,
#
# $$ \frac{\partial L}{\partial z} = \frac\gamma{\sqrt\varepsilon}\,\delta \tag{RBN.18} $$
#
# With $\gamma=0.1$ and $\varepsilon=10^{-5}$ that is 31.62, and in a tanh network with orthogonal weights the whole gain. Here is the
# lesson's cell, with all that its backward pass will need:


# %%
def step(x, h, c, p, eps=1e-5):
    s = SimpleNamespace(x=x, h_before=h, c_before=c)
    s.z = h @ p.W_h.T
    s.z_hat, s.v = normalise(s.z, eps)
    s.x_hat, s.v_x = normalise(x @ p.W_x.T, eps)
    s.a = p.gamma_h * s.z_hat + p.gamma_x * s.x_hat + p.b  # (RBN.4)
    i, f, g, o = s.a.chunk(4, 1)
    s.i, s.f, s.g, s.o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    s.c = s.f * c + s.i * s.g  # (RBN.2)
    s.c_hat, s.v_c = normalise(s.c, eps)
    s.y = p.gamma_c * s.c_hat + p.beta_c
    s.u = s.y.tanh()
    s.h = s.o * s.u  # (RBN.5)
    return s


# %% [markdown]
# Take zero states, equal inputs, $b_g=0$ and $\beta_c=0$, as at the start. Then $c_t$ and $h_t$ stay zero, and so do all products with
# $g$, $c_{t-1}$ or $\tanh c$: the gates pass no gradient. Two paths lead from $c_{t-1}$ to $c_t$. One is direct, $\sigma(f)$. The other
# passes the cell's norm, $\sigma(o)$, the hidden norm and $\sigma(i)$. For differences between examples
#
# $$ \frac{\partial c_t}{\partial c_{t-1}} = \operatorname{diag}\sigma(f)+\frac1\varepsilon\,\operatorname{diag}\bigl(\gamma_h\,\sigma(i)\bigr)\,W_g\,\operatorname{diag}\bigl(\gamma_c\,\sigma(o)\bigr) \tag{RBN.19} $$
#
# with $W_g$ and $\gamma_h$ the rows of $W_h$ and of its scale that feed $g$. The paper's start for pixels has $W_g=I$ and forget bias one:
# $\frac14\cdot\frac{0.01}{10^{-5}}+0.731=250.73$. Without the norm on the cell one factor $\gamma_c/\sqrt\varepsilon$ is gone:
# $\frac14\cdot31.62+0.731=8.64$. Where $W_h$ starts orthonormal as a whole, $4H\times H$, as in the library and in the authors' code for
# all but pixels, its four blocks share the length: $W_g$ halves a typical vector, and a dead step multiplies by about
# $\frac12\cdot250+0.731=126$.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.18) and (RBN.19) with equal rows
def parameters(inputs, units, seed=0, gamma=0.1, **given):
    """The cell's start; W_h has g's block the identity, the gates orthogonal."""
    source = torch.Generator().manual_seed(seed)

    def orthogonal(rows, columns):
        drawn = torch.randn(rows, columns, generator=source)
        return torch.nn.init.orthogonal_(drawn, generator=source)

    i, f, o = orthogonal(3 * units, units).chunk(3)
    p = SimpleNamespace(W_h=torch.cat((i, f, torch.eye(units), o)))
    p.W_x, p.b = orthogonal(4 * units, inputs), torch.zeros(4 * units)
    p.b[units : 2 * units] = 1
    p.gamma_h, p.gamma_x = gamma * torch.ones(2, 4 * units)
    p.gamma_c, p.beta_c = gamma * torch.ones(units), torch.zeros(units)
    vars(p).update(given)
    return p


def dead_run(p, steps, eps, with_cell_norm=True):
    """c after each step, all examples equal; differentiable."""
    units = p.W_h.shape[1]
    h = torch.zeros(5, units)
    path = [torch.zeros(5, units, requires_grad=True)]
    for _ in range(steps):
        s = step(torch.ones(5, p.W_x.shape[1]), h, path[-1], p, eps)
        path.append(s.c)
        h = s.h if with_cell_norm else s.o * s.c.tanh()
    return path


source = torch.Generator().manual_seed(4)
above = torch.randn(5, 3, generator=source)
above -= above.mean(0)
for gamma, eps in ((0.1, 1e-5), (0.3, 1e-3)):
    W = torch.linalg.qr(torch.randn(3, 3, generator=source))[0]
    h = torch.full((5, 3), 0.4, requires_grad=True)
    z = h @ W.T
    back = torch.autograd.grad(torch.tanh(gamma * normalise(z, eps)[0]), (z, h), above)
    check("RBN.18", gamma / eps**0.5 * above, back[0], f"γ = {gamma}, ε = {eps}")
    gain = back[1].norm() / above.norm()
    check("RBN.18", gamma / math.sqrt(eps), gain, "and the whole gain of a tanh step")

sigma = torch.sigmoid
for seed, eps in ((1, 1e-5), (2, 1e-2)):
    source = torch.Generator().manual_seed(seed)
    b_i, b_f, b_o = torch.randn(3, 3, generator=source)
    W_h = torch.randn(12, 3, generator=source)
    p = parameters(2, 3, W_h=W_h, b=torch.cat((b_i, b_f, torch.zeros(3), b_o)))
    p.gamma_h, p.gamma_c = torch.rand(15, generator=source).split((12, 3))
    path, W_g, gamma_g = dead_run(p, 3, eps), W_h[6:9], p.gamma_h[6:9]
    (back,) = torch.autograd.grad(path[3], path[2], above)
    left, right = torch.diag(gamma_g * sigma(b_i)), torch.diag(p.gamma_c * sigma(b_o))
    jacobian = torch.diag(sigma(b_f)) + left @ W_g @ right / eps
    check("RBN.19", above @ jacobian, back, f"differences between examples, ε = {eps}")
half, forget = torch.sigmoid(torch.tensor([0.0, 1.0])).tolist()
p = parameters(2, 3)
for name, power in (("two norms", 2), ("no norm on the cell", 1)):
    path = dead_run(p, 5, 1e-5, power == 2)
    back = torch.autograd.grad(path[5], (path[1], path[4]), above)
    gain = float(back[0].norm() / back[1].norm()) ** (1 / 3)
    factor = half * half * (0.1 / math.sqrt(1e-5)) ** power + forget
    check("RBN.19", factor, gain, f"{name}, the paper's start")
    print(f"{name}: {factor:.2f} a dead step")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, logarithm of the growth of a gradient against the dead steps that it passes: with epsilon 0.00001 it climbs to 72 after 30 steps and crosses the dotted end of float32 at 16; with epsilon 0.001 it reaches 15; with epsilon or a floor of 0.01, or with noise 0.1 in h, it stays level. Right, the growth over 30 steps against the noise at the start on log axes: dots follow a dotted line 0.01 over noise from a million at 1e-8 to 15 at 0.001 and lie between 4 and 5 from 0.01 on."}} tags=["hide-input"]
# @title Figure: what dead steps do, and three cures
def growth(noise, eps=1e-5, steps=31, units=20, examples=50, **given):
    """Lengths of ∂L/∂c, from the last step back; the start state h is noise."""
    source = torch.Generator().manual_seed(0)
    p = parameters(1, units, **given)
    h = noise * torch.randn(examples, units, generator=source)
    path = [torch.zeros(examples, units, requires_grad=True)]
    for _ in range(steps):
        s = step(torch.zeros(examples, 1), h, path[-1], p, eps)  # black
        path.append(s.c)
        h = s.h
    above = torch.randn(examples, units, generator=source)
    above -= above.mean(0)
    back = torch.autograd.grad(path[-1], path[1:], above)
    return torch.stack([part.norm() for part in reversed(back)]).log10()


fig, (left, right) = figures.panels(2)
for label, noise, eps, color in (
    ("ε = 10⁻⁵", 0.0, 1e-5, YELLOW),
    ("ε = 10⁻³", 0.0, 1e-3, PINK),
    ("ε or floor 10⁻²", 0.0, 1e-2, GREEN),
    ("noise 0.1 in h", 0.1, 1e-5, BLUE),
):
    lengths = growth(noise, eps)
    left.plot(lengths - lengths[0], color=color, label=label)
    rate = 10 ** float((lengths[-1] - lengths[0]) / 30)
    print(f"{label}: {rate:.2f} a step over 30 dead steps")
left.axhline(38.5, color="black", ls=":", lw=1)
left.set(xlabel="dead steps passed", ylabel="log₁₀ of the growth")
left.set_title("250 a step leaves float32")
left.legend(fontsize=8)
noises = np.logspace(-8, 0, 9)
totals = [growth(noise) for noise in noises]
grown = [10 ** float(lengths[-1] - lengths[0]) for lengths in totals]
right.loglog(noises, grown, "o", color=BLUE, label="30 steps in all")
right.loglog(noises, 0.01 / noises, ":", color="black", label="0.01 / noise")
right.set(
    xlabel="noise in h at the start", ylabel="growth", title="A little noise bounds it"
)
right.legend(fontsize=8)
plt.show()
gates = [
    float(
        (
            weight
            * torch.sigmoid(0.02**0.5 * u + b)
            * torch.sigmoid(-(0.02**0.5) * u - b)
        ).sum()
    )
    for b in (0.0, 1.0)
]
bounded = [f"{value:.1f}" for value in (grown[5], grown[7], grown[8])]
print("growth over 30 steps with noise .001, .1, 1:", *bounded)
print("a live step's E σ′, bias 0 and 1:", *(f"{value:.4f}" for value in gates))

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title W_h orthonormal as a whole: dead steps, and what a floor does to live ones
source = torch.Generator().manual_seed(12)
whole = torch.linalg.qr(torch.randn(400, 100, generator=source))[0]
lengths = growth(0.0, units=100, W_h=whole)
rate = float((lengths[-1] - lengths[0]) / 30)
print(
    f"dead: {half * half * 0.5 * 1000 + forget:.0f} expected, {10**rate:.0f} measured"
)
p, h, c = parameters(20, 100, W_h=whole), torch.zeros(200, 100), torch.zeros(200, 100)
for _ in range(15):
    live = step(torch.randn(200, 20, generator=source), h, c, p)
    h, c = live.h, live.c
variance = float(live.z.var(0, unbiased=False).mean())
floor, eps = (variance / 1e-2) ** 0.5, (variance / (variance + 1e-2)) ** 0.5
print(
    f"live: variance of W_h h {variance:.4f}, its term times {floor:.2f} by the floor"
)
print(f"and times {eps:.2f} by ε = 10⁻²")

# %% [markdown]
# *Cures.* A larger $\varepsilon$, or a floor under the variance: at $10^{-2}$ the factor is 0.98, where $\varepsilon=10^{-3}$ still has
# 3.2. But neither leaves live units as they are: at the start, $W_hh$ of a live step has a variance of 0.0006 where $W_h$ is orthonormal as
# a whole, and at $10^{-2}$ its term is damped to a quarter, by the floor as by $\varepsilon$. Or noise in the start state: the authors'
# code adds 0.1 to $h_0$ for ordered pixels, and so does the figure; $c_0$ has none. It need not be much. Small differences between examples
# grow forward by the same Jacobian by which gradients grow backward, and once their deviation has passed $\sqrt\varepsilon$, the steps are
# alive. So a little noise bounds the growth: over thirty steps it is about $0.01/\text{noise}$ up to 0.001 (right), then 4 to 5, not
# $10^{72}$. Only exact agreement stays dead.
#
# In a live step at the start, pre-activations have the variance $\gamma_h^2+\gamma_x^2=0.02$. The input and output gates then have the
# mean slope $\mathrm E[\sigma']=0.2488$, the forget gate with its bias of one 0.1963.

# %% [markdown]
# ## 5. How are statistics had without the product?
#
# **Mean and variance of $Wh$ follow from those of $h$. For an input of few dimensions the whole input term becomes one small matrix a
# step, and the pre-activations of the input need not exist.**
#
# A linear map takes the mean and the covariance along:
#
# $$ \operatorname{mean}(Wh) = W\operatorname{mean}(h), \qquad \operatorname{var}(Wh) = \operatorname{diag}\bigl(W\operatorname{Cov}(h)\,W^\top\bigr) \tag{RBN.20} $$
#
# For the hidden term that is no gain. $\operatorname{Cov}(h)$ takes $BH^2$ multiplications and $W\operatorname{Cov}(h)$ another $4H^3$,
# and $Wh$ is needed anyway. For an input of few dimensions it is, for no array of size $4H\times B$ has to be reduced. Let $m$ and $C$
# be mean and covariance of $x_t$ over the batch. Then
#
# $$ \mathrm{BN}(Wx;\gamma) = V\,(x-m), \qquad V=\operatorname{diag}\Bigl(\frac\gamma{\sqrt{\operatorname{diag}(WCW^\top)+\varepsilon}}\Bigr)W \tag{RBN.21} $$
#
# which for one input, $d_x=1$, with variance $v$, is $\gamma\,w\,(x-m)/\sqrt{w^2v+\varepsilon}$.
#
# *Proof.* $Wx-\operatorname{mean}(Wx)=W(x-m)$; divide row $j$ by its deviation, from (RBN.20), and put the factor into the row.
# $\blacksquare$ For pixels, one number an example, the term has rank one: two statistics $m$ and $v$ for all $4H$ rows. It is exact,
# gradients included.


# %%
def input_term(x, W, gamma, eps):
    """(RBN.21): rows of x are examples."""
    x = x - x.mean(0)  # first
    C = x.T @ x / len(x)
    V = W * (gamma / torch.sqrt(((W @ C) * W).sum(1) + eps))[:, None]
    return x @ V.T


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.20) and (RBN.21)
source = torch.Generator().manual_seed(5)
for inputs, eps in ((1, 0.3), (3, 1e-5), (7, 0.05)):
    x = 2 + torch.randn(9, inputs, generator=source)
    W, gamma = (
        torch.randn(12, inputs, generator=source),
        torch.rand(12, generator=source),
    )
    above = torch.randn(9, 12, generator=source)
    x, W, gamma = leaves = [leaf.requires_grad_() for leaf in (x, W, gamma)]
    product, C = x @ W.T, torch.cov(x.T, correction=0).view(inputs, inputs)
    check("RBN.20", W @ x.mean(0), product.mean(0), f"d_x = {inputs}, mean")
    variance = torch.diag(W @ C @ W.T)
    check("RBN.20", variance, product.var(0, unbiased=False), "variance")
    by_torch = F.batch_norm(product, None, None, gamma, None, training=True, eps=eps)
    short = input_term(x, W, gamma, eps)
    check("RBN.21", short, by_torch, "the term, by torch's batch norm")
    back = [torch.autograd.grad(term, leaves, above) for term in (short, by_torch)]
    for name, ours, theirs in zip(("x", "W", "γ"), *back, strict=True):
        check("RBN.21", ours, theirs, f"gradient of {name}")
    if inputs == 1:
        m, v, w = x.mean(0), x.var(0, unbiased=False), W[:, 0]
        check(
            "RBN.21",
            gamma * w * (x - m) / torch.sqrt(w**2 * v + eps),
            short,
            "rank one",
        )


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Largest error of the normalised input term in float32 against the mean of the input, log axes, deviation one. With the covariance from raw second moments the error is near 1 at a mean of 1,000. Statistics of the product, and centring after the product, grow together in proportion to the mean, to 0.03 at 100,000. Centring the input first is a few times lower. Centring it twice stays below 0.000001 throughout."}} tags=["hide-input"]
# @title Figure: errors in float32
def multiply_first(x, W):
    return normalise(x @ W.T, 1e-5)[0]


def raw_moments(x, W):
    m = x.mean(0)
    C = x.T @ x / len(x) - torch.outer(m, m)
    return (x - m) @ W.T * (((W @ C) * W).sum(1) + 1e-5).clamp(min=1e-5) ** -0.5


def centred_late(x, W):
    C = torch.cov(x.T, correction=0)
    V = W / torch.sqrt(((W @ C) * W).sum(1) + 1e-5)[:, None]
    return x @ V.T - V @ x.mean(0)


ways = {
    "second moments not centred": (raw_moments, YELLOW),
    "product, then statistics": (multiply_first, GREEN),
    "V x − V m": (centred_late, PINK),
    "x centred first": (lambda x, W: input_term(x, W, 1.0, 1e-5), BLUE),
    "x centred twice": (lambda x, W: input_term(x - x.mean(0), W, 1.0, 1e-5), GREY),
}
fig, ax = plt.subplots()
means, W = [10.0**k for k in range(6)], torch.randn(40, 4, generator=source).float()
noise = torch.randn(100, 4, generator=source)
for name, (way, color) in ways.items():
    errors = []
    for mean in means:
        x = (mean + noise).float()
        exact = multiply_first(x.double(), W.double())
        errors.append(min(float((way(x, W) - exact).abs().max()), 10.0))
    style = "o--" if way is centred_late else "o-"
    ax.loglog(means, errors, style, ms=4, color=color, label=name)
    print(f"{name}: error {errors[2]:.0e} at a mean of 100")
ax.set(xlabel="mean of the input (deviation 1)", ylabel="largest error, float32")
ax.set(ylim=(1e-8, 1e3), title="Raw second moments lose every digit")
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# In floating point the order matters. A covariance from raw second moments subtracts two numbers of the size of $m^2$, and at a mean of
# a thousand no digit is left. $Vx-Vm$ is as good as the statistics of the product. To subtract $m$ from $x$ first is a few times
# better; what remains is the rounding of $m$ itself, and to centre once more removes it.

# %% [markdown]
# ## 6. How does one run it backwards?
#
# **Two gradients travel back from step to step, that of $h$ and that of $c$. Each norm on the way is one call of $\mathcal N$, and the
# loop fits on one screen.**
#
# Write $\delta s=\partial L/\partial s$, one row an example. Into $h_t$ come $\delta h_t$ from above and from step $t+1$. Out of
# $h_t=\sigma(o)u_t$ with $u_t=\tanh(y_t)$, $y_t=\gamma_c\hat c_t+\beta_c$:
#
# $$ \delta y_t = \delta h_t\,\sigma(o_t)\,(1-u_t^2) \tag{RBN.22} $$
#
# $c_t$ acts through the output, behind its norm, and through the next cell, with no norm between. Two paths:
#
# $$ \delta c_t = \gamma_c\,\mathcal N(\delta y_t)+\sigma(f_{t+1})\,\delta c_{t+1} \tag{RBN.23} $$
#
# The gates take what stands beside them, times their slopes; each letter stands for its value after $\sigma$ or $\tanh$:
#
# $$ \delta a_t = \bigl(\delta c\,g\;i(1-i),\;\; \delta c\,c_{t-1}\,f(1-f),\;\; \delta c\,i\,(1-g^2),\;\; \delta h\,u\;o(1-o)\bigr) \tag{RBN.24} $$
#
# From $a_t=\gamma_h\hat z_t+\dots$ to $z_t=W_hh_{t-1}$, and on to the step before ($x_t$ likewise, by $W_x$ and $\gamma_x$):
#
# $$ \delta z_t = \gamma_h\,\mathcal N(\delta a_t), \qquad \delta h_{t-1} = \frac{\partial L}{\partial h_{t-1}}\Big|_{\text{above}}+W_h^\top\delta z_t \tag{RBN.25} $$
#
# Parameters are shared by all steps and add up:
#
# $$ \frac{\partial L}{\partial W_h}=\sum_{t,n}\delta z_{tn}\,h_{t-1,n}^\top, \qquad \frac{\partial L}{\partial\gamma_h}=\sum_{t,n}\delta a_{tn}\,\hat z_{tn}, \qquad \frac{\partial L}{\partial b}=\sum_{t,n}\delta a_{tn} \tag{RBN.26} $$


# %%
def run_backwards(steps, from_above, p):
    grads, dh, dc = defaultdict(float), 0.0, 0.0
    for s, above in zip(reversed(steps), reversed(from_above), strict=True):
        s.dh = above + dh
        s.dy = s.dh * s.o * (1 - s.u**2)  # (RBN.22)
        s.dc = p.gamma_c * through(s.dy, s.c_hat, s.v_c) + dc  # (RBN.23)
        di, df = s.dc * s.g * s.i * (1 - s.i), s.dc * s.c_before * s.f * (1 - s.f)
        dg, do = s.dc * s.i * (1 - s.g**2), s.dh * s.u * s.o * (1 - s.o)
        s.da = torch.cat((di, df, dg, do), 1)  # (RBN.24)
        s.dz = p.gamma_h * through(s.da, s.z_hat, s.v)  # (RBN.25)
        s.dx = p.gamma_x * through(s.da, s.x_hat, s.v_x)
        grads["W_h"] += s.dz.T @ s.h_before  # (RBN.26)
        grads["W_x"] += s.dx.T @ s.x
        grads["gamma_h"] += (s.da * s.z_hat).sum(0)
        grads["gamma_x"] += (s.da * s.x_hat).sum(0)
        grads["b"] += s.da.sum(0)
        grads["gamma_c"] += (s.dy * s.c_hat).sum(0)
        grads["beta_c"] += s.dy.sum(0)
        dh, dc = s.dz @ p.W_h, s.f * s.dc
    return grads, dh, dc


# %% [markdown]
# Must $h$ be centred, as $z$ was, before it goes into $\partial L/\partial W_h$? The rows of $\delta z$ add up to zero (BN.9), and for
# any $m$
#
# $$ \sum_n\delta z_n=0 \quad\Rightarrow\quad \sum_n\delta z_n\,(h_n-m)^\top = \sum_n\delta z_n\,h_n^\top \tag{RBN.27} $$
#
# so it need not be. Autograd through the cell of section 4 finds every one of these by itself:


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.22) to (RBN.27) against autograd
def random_start(inputs, units, seed):
    """Every parameter off its start, so that each can be seen."""
    source = torch.Generator().manual_seed(seed)
    p = parameters(inputs, units)
    for name, value in vars(p).items():
        noise = torch.randn(value.shape, generator=source)
        setattr(p, name, (value + 0.5 * noise).requires_grad_())
    return p


def run_forwards(x, h, c, p, eps):
    steps = []
    for x_t in x:
        steps.append(step(x_t, h, c, p, eps))
        h, c = steps[-1].h, steps[-1].c
    return steps


def total(loss, steps, name):
    nodes = [vars(s)[name] for s in steps]
    return torch.stack(torch.autograd.grad(loss, nodes, retain_graph=True))


def ours(steps, name):
    return torch.stack([vars(s)[f"d{name}"] for s in steps])


for seed, (T, B, inputs, units), eps in (
    (6, (5, 7, 2, 3), 1e-5),
    (7, (3, 4, 1, 5), 0.2),
):
    source = torch.Generator().manual_seed(seed)
    p, shape = random_start(inputs, units, seed), (B, units)
    x = 1 + torch.randn(T, B, inputs, generator=source)
    h, c = (torch.randn(shape, generator=source).requires_grad_() for _ in range(2))
    steps = run_forwards(x, h, c, p, eps)
    above = list(torch.randn(T, *shape, generator=source))
    loss = sum((s.h * part).sum() for s, part in zip(steps, above, strict=True))
    with torch.no_grad():
        grads, dh, dc = run_backwards(steps, above, p)
    case = f"T, B, d, H = {T}, {B}, {inputs}, {units}"
    check(
        "RBN.22", ours(steps, "y"), total(loss, steps, "y"), f"{case}: y of every step"
    )
    check("RBN.23", ours(steps, "c"), total(loss, steps, "c"), "c of every step")
    check("RBN.24", ours(steps, "a"), total(loss, steps, "a"), "the gates")
    check("RBN.25", ours(steps, "z"), total(loss, steps, "z"), "z")
    check("RBN.25", ours(steps, "h"), total(loss, steps, "h"), "h")
    by_torch = torch.autograd.grad(loss, (h, c, *vars(p).values()))
    check("RBN.25", dh, by_torch[0], "the start state h")
    check("RBN.23", dc, by_torch[1], "the start state c")
    for name, theirs in zip(vars(p), by_torch[2:], strict=True):
        check("RBN.26", grads[name], theirs, name)
    uncentred = sum(s.dz.T @ s.h_before for s in steps)
    centred = sum(s.dz.T @ (s.h_before - s.h_before.mean(0)) for s in steps)
    check("RBN.27", centred, uncentred, "h centred or not")
    check(
        "RBN.27",
        ours(steps, "z").sum(1),
        torch.zeros(T, 4 * units),
        "δz adds up to zero",
    )

# %% [markdown]
# ## 7. How many numbers are the statistics?
#
# **$18\,TH$: for the paper's pixel sequences 1.4 million, 34 times as many as there are parameters.**
#
# Every step has a mean and a variance for each of the $4H$ rows of both terms and for each of the $H$ cells:
#
# $$ 2\,T\,(4H+4H+H) = 18\,TH \tag{RBN.28} $$
#
# Parameters are $4H^2+4Hd_x+14H$, whatever $T$. Statistics outnumber them from about $T=\frac29H$ on. By (RBN.21) a scalar input would
# do with $m_t$ and $v_t$; the $8TH$ for its term are there because they are easy to handle.

# %%
for inputs, H, T in ((1, 100, 784), (3, 10, 7)):
    layer = BatchNormLSTM(inputs, H, max_length=T)
    buffers = dict(layer.named_buffers())
    stored = sum(b.numel() for name, b in buffers.items() if name.startswith("running"))
    learned = sum(parameter.numel() for parameter in layer.parameters())
    check("RBN.28", 18 * T * H, stored, f"d_x = {inputs}, H = {H}, T = {T}")
    check("RBN.28", 2 * T * (4 * H + 4 * H + H), stored, "mean and variance of three")
    print(
        f"statistics {stored:,}, parameters {learned:,}: {stored / learned:.1f} times"
    )

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Numbers held by a layer of 100 units against the length of the sequence, log axes: parameters stay at 41,800, statistics rise in proportion and cross them at about 23 steps; at 784 steps they are 1.4 million."}} tags=["hide-input"]
# @title Figure: statistics and parameters
fig, ax = plt.subplots()
steps_drawn, H = np.geomspace(3, 2000, 30), 100
ax.loglog(steps_drawn, 18 * steps_drawn * H, color=ORANGE, label="statistics, 18 T H")
ax.axhline(4 * H * H + 4 * H + 14 * H, color=BLUE, label="parameters")
ax.plot(784, 18 * 784 * H, "o", color=ORANGE)
ax.set(xlabel="steps T", ylabel="numbers, H = 100")
ax.set_title("From 24 steps on, statistics outnumber parameters")
ax.legend()
plt.show()

# %% [markdown]
# ## 8. How does one normalise when sequences end?
#
# **Count those that still run, and no others. Fewer of them mean noisier statistics, and of one alone the norm leaves nothing:
# below two, take stored statistics.**
#
# The paper's sequences in a batch are equally long, except for questions, where it pads. Let $w_{tn}=1$ while sequence $n$ runs, then
# 0, and $n_t=\sum_nw_{tn}$. Then
#
# $$ \mu_t=\frac1{n_t}\sum_nw_{tn}z_{tn}, \qquad \sigma_t^2=\frac1{n_t}\sum_nw_{tn}(z_{tn}-\mu_t)^2 \tag{RBN.29} $$
#
# and, backwards, (BN.7) over those that run:
#
# $$ \delta z_{tn} = w_{tn}\,\gamma\,v_t\,\Bigl(\delta_{tn}-\frac1{n_t}\sum_kw_{tk}\delta_{tk}-\frac{\hat z_{tn}}{n_t}\sum_kw_{tk}\delta_{tk}\hat z_{tk}\Bigr) \tag{RBN.30} $$


# %%
def masked(z, w, eps):  # (RBN.29): w of shape (B, 1)
    n = w.sum()
    mu = (w * z).sum(0) / n
    v = ((w * (z - mu) ** 2).sum(0) / n + eps) ** -0.5
    return (z - mu) * v, v  # where w = 0, of no meaning


def masked_back(delta, w, z_hat, v, gamma):  # (RBN.30)
    n = w.sum()
    ones, along = (w * delta).sum(0), (w * delta * z_hat).sum(0)
    return w * gamma * v * (delta - ones / n - z_hat * along / n)


# %% [markdown]
# *How noisy?* The mean of $n$ independent values has $1/n$ of their variance. For normal values the biased variance is
# a multiple of a $\chi^2$ variable with $n-1$ degrees of freedom:
#
# $$ \operatorname{Var}[\mu_t]=\frac{\operatorname{Var}[z]}{n_t}, \qquad \operatorname{Var}[\sigma_t^2]=\frac{2\,(n_t-1)}{n_t^2}\operatorname{Var}[z]^2 \tag{RBN.31} $$
#
# At $n_t=2$ every value becomes $\pm1$ (up to $\varepsilon$). At $n_t=1$ it becomes 0: the gates see neither input nor past, the output
# does not see the cell, and no gradient passes a norm. The library's fall-back takes the stored $\mathrm E_t$ and $\mathrm{Var}_t$
# there, as at inference; they are constants, so both sums drop out:
#
# $$ n_t<2:\qquad \hat z_t = \frac{z_t-\mathrm E_t}{\sqrt{\mathrm{Var}_t+\varepsilon}}, \qquad \delta z_t = \frac{\gamma}{\sqrt{\mathrm{Var}_t+\varepsilon}}\,\delta_t \tag{RBN.32} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.29), (RBN.30) and (RBN.32)
source = torch.Generator().manual_seed(8)
for mask, eps in (((1, 0, 1, 1, 1, 0, 1), 1e-5), ((1, 1, 0, 1, 0, 0, 0), 0.3)):
    w, B = torch.tensor(mask)[:, None].double(), len(mask)
    z, above = 1 + torch.randn(2, B, 3, generator=source)
    z.requires_grad_()
    gamma, alive = torch.rand(3, generator=source), w[:, 0] > 0
    by_torch = F.batch_norm(z[alive], None, None, gamma, None, training=True, eps=eps)
    z_hat, v = masked(z, w, eps)
    whole = torch.zeros(B, 3).index_put((alive.nonzero()[:, 0],), by_torch)
    check("RBN.29", w * gamma * z_hat, whole, f"{sum(mask)} of {B} run")
    back = torch.autograd.grad(by_torch, z, above[alive])[0]
    ours = masked_back(above, w, z_hat, v, gamma)
    check("RBN.30", ours, back, "backwards; those that ended get zero")
own = torch.Generator().manual_seed(32)
for gamma, eps in ((0.7, 1e-5), (1.3, 0.4)):
    z, delta = torch.randn(2, 1, 3, generator=own)
    E, Var = torch.rand(2, 3, generator=own)
    scales = torch.full((3,), gamma)
    by_torch = F.batch_norm(z.requires_grad_(), E, Var, scales, eps=eps)
    z_hat, dz = (z - E) / torch.sqrt(Var + eps), gamma / torch.sqrt(Var + eps) * delta
    check("RBN.32", gamma * z_hat, by_torch, f"one sequence, γ = {gamma}, ε = {eps}")
    (back,) = torch.autograd.grad(by_torch, z, delta)
    check("RBN.32", dz, back, "backwards")


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (RBN.32) with the library, as sequences end
def lesson_with_lengths(x, lengths, layer):
    """The cell with (RBN.29), and (RBN.32) below two; outputs (T, B, H)."""
    h, c = torch.zeros(2, x.shape[1], layer.hidden_size)
    outputs, scales = [], (layer.scale_hh, layer.scale_ih, layer.scale_c)
    for t, x_t in enumerate(x):
        w = (lengths > t)[:, None].double()

        def norm(z, kind, scale, w=w, t=t):
            if w.sum() >= 2:
                return scale * masked(z, w, layer.eps)[0]
            stored = (
                getattr(layer, f"running_{part}_{kind}")[t] for part in ("mean", "var")
            )
            mean, var = (value.clone() for value in stored)
            return scale * (z - mean) / torch.sqrt(var + layer.eps)

        a = norm(h @ layer.weight_hh.T, "hh", scales[0]) + layer.bias
        a = a + norm(x_t @ layer.weight_ih.T, "ih", scales[1])
        i, f, g, o = a.chunk(4, 1)
        c = torch.where(w > 0, f.sigmoid() * c + i.sigmoid() * g.tanh(), c)
        y = norm(c, "c", scales[2]) + layer.bias_c
        h = torch.where(w > 0, o.sigmoid() * y.tanh(), h)
        outputs.append(w * h)
    return torch.stack(outputs)


layer = BatchNormLSTM(2, 3, max_length=6)
with torch.no_grad():
    for kept in (*layer.buffers(), *layer.parameters()):
        kept.copy_(0.5 + torch.rand(kept.shape, generator=source))
    layer.num_batches_tracked.fill_(1)
x, lengths = torch.randn(6, 4, 2, generator=source), torch.tensor([3, 6, 1, 4])
plain = lesson_with_lengths(x, lengths, layer)
above = torch.randn(plain.shape, generator=source)
by_autograd_of = list(layer.parameters())
theirs = torch.autograd.grad(plain, by_autograd_of, above)
library = layer(x, lengths=lengths)[0]
check("RBN.32", plain, library, "the library; n_t = 4, 3, 3, 2, 1, 1")
for (name, _), a, b in zip(
    layer.named_parameters(),
    torch.autograd.grad(library, by_autograd_of, above),
    theirs,
    strict=True,
):
    check("RBN.32", a, b, f"gradient of {name}")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Standard deviation of the estimated mean, and of the estimated variance, against the number of running sequences from 2 to 64, log axes: dots of 20,000 simulated batches on their formulas. At 2 the mean is off by 0.71 and the variance by 0.71; at 64 by 0.12 and 0.18."}} tags=["hide-input"]
# @title Check of (RBN.31), the noise exactly and by simulation
def deviation_of(n, scale=1.5):
    """Of mean and variance of n normal values; three nodes each, exact to degree 5."""
    nodes = torch.tensor([-(3**0.5), 0, 3**0.5])
    values = scale * torch.cartesian_prod(*[nodes] * n)
    chance = torch.cartesian_prod(*[torch.tensor([1, 4, 1]) / 6] * n).prod(1)
    for found in (values.mean(1), values.var(1, unbiased=False)):
        yield float((chance * (found - (chance * found).sum()) ** 2).sum()) ** 0.5


def by_formula(n, scale=1.5):
    return [scale / n**0.5, scale**2 * math.sqrt(2 * (n - 1)) / n]


for n in (2, 3, 5, 8):
    check("RBN.31", by_formula(n), list(deviation_of(n)), f"n = {n}, exactly")

fig, ax = plt.subplots()
sizes = np.array([2, 3, 4, 8, 16, 32, 64])
draws = [1.5 * torch.randn(20_000, n, generator=source) for n in sizes]
found = np.array([[d.mean(1).std(), d.var(1, unbiased=False).std()] for d in draws])
formulas = np.array([by_formula(n) for n in sizes])
check("RBN.31", found, formulas, "20,000 batches, deviation 1.5", rtol=3e-2)
for k, (name, color) in enumerate((("mean / σ", BLUE), ("variance / σ²", ORANGE))):
    unit = 1.5 ** (k + 1)
    ax.loglog(sizes, formulas[:, k] / unit, ":", color=color)
    ax.loglog(sizes, found[:, k] / unit, "o", color=color, label=name)
ax.set_xticks(sizes, map(str, sizes))
ax.set_yticks((0.1, 0.2, 0.4, 0.7), ("0.1", "0.2", "0.4", "0.7"))
ax.minorticks_off()
ax.set(xlabel="sequences that still run", ylabel="deviation of the estimate")
ax.set_title("Few sequences, noisy statistics")
ax.legend()
plt.show()

# %% [markdown]
# ## 9. What are the neighbours?
#
# **Layer norm takes its statistics over units, so they depend on neither the batch nor the time. Norms on the input path alone can be
# computed before the loop. Both avoid what makes this chapter long.**
#
# The *layer-norm LSTM* of Ba, Kiros and Hinton has the same three places and the same equations, with the mean over the $4H$ rows of one
# example, and over the $H$ cells:
#
# $$ a_t=\gamma_h\frac{z-\bar z}{\sqrt{s_z^2+\varepsilon}}+\gamma_x\frac{\zeta-\bar\zeta}{\sqrt{s_\zeta^2+\varepsilon}}+b, \quad h_t=\sigma(o)\tanh\Bigl(\gamma_c\frac{c-\bar c}{\sqrt{s_c^2+\varepsilon}}+\beta_c\Bigr) \tag{RBN.33} $$
#
# with $z=W_hh_{t-1}$, $\zeta=W_xx_t$, bars for means and $s^2$ for biased variances over the units. Nothing is stored, a batch of one
# will do, a sequence may be as long as it likes, and padding is no one's concern. It is what recurrent networks took up afterwards.
#
# *On the input path only.* Laurent et al. found no help from norms between hidden states and put them on $W_xx_t$ alone. Their
# statistics, and those of Deep Speech 2 by Amodei et al., are *sequence-wise*, over examples and steps at once:
#
# $$ a_t = W_hh_{t-1}+\gamma_x\frac{W_xx_t-\mu}{\sqrt{\sigma^2+\varepsilon}}+b, \qquad \mu=\frac1{TB}\sum_{t,n}W_xx_{tn} \tag{RBN.34} $$
#
# with $\sigma^2$ over the same $TB$ values. The term does not need the loop: one batch norm on $TB$ rows, and an ordinary LSTM on what
# comes out.


# %%
def over_units(z, eps=1e-5):
    return normalise(z.T, eps)[0].T


def layer_norm_step(x, h, c, p):
    a = p.gamma_h * over_units(h @ p.W_h.T) + p.gamma_x * over_units(x @ p.W_x.T)
    i, f, g, o = (a + p.b).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * (p.gamma_c * over_units(c) + p.beta_c).tanh(), c


def input_path_only(x, h, c, p, eps=1e-5):
    rows = normalise((x @ p.W_x.T).flatten(0, 1), eps)[0].view(*x.shape[:2], -1)
    outputs = []
    for x_hat in rows:
        i, f, g, o = (h @ p.W_h.T + p.gamma_x * x_hat + p.b).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (RBN.33) and (RBN.34) against torch's layers
source = torch.Generator().manual_seed(9)
p = random_start(2, 3, 9)
x = torch.randn(5, 4, 2, generator=source)
h, c = torch.randn(2, 4, 3, generator=source)
ours, cell = layer_norm_step(x[0], h, c, p)
hidden = F.layer_norm(h @ p.W_h.T, (12,), p.gamma_h, p.b)
i, f, g, o = (hidden + F.layer_norm(x[0] @ p.W_x.T, (12,), p.gamma_x)).chunk(4, 1)
cell_torch = f.sigmoid() * c + i.sigmoid() * g.tanh()
theirs = o.sigmoid() * F.layer_norm(cell_torch, (3,), p.gamma_c, p.beta_c).tanh()
check("RBN.33", ours, theirs, "the layer-norm LSTM, by torch's layer norm")
check("RBN.33", cell, cell_torch, "its cell")
alone = layer_norm_step(x[0, :1], h[:1], c[:1], p)[0]
check("RBN.33", alone, ours[:1], "an example alone: the same")

hoisted = F.batch_norm(
    (x @ p.W_x.T).flatten(0, 1), None, None, p.gamma_x, p.b, training=True
)
lstm = torch.nn.LSTM(12, 3)
with torch.no_grad():
    lstm.weight_ih_l0.copy_(torch.eye(12))
    lstm.weight_hh_l0.copy_(p.W_h)
    lstm.bias_ih_l0.zero_()
    lstm.bias_hh_l0.zero_()
by_torch = lstm(hoisted.view(5, 4, 12), (h[None], c[None]))[0]
ours = input_path_only(x, h, c, p)
check("RBN.34", ours, by_torch, "batch norm before torch's LSTM")

# %% [markdown]
# ## 10. How does the library differ from the lesson's cell?
#
# **Same numbers up to rounding; one operation in place of dozens a step, less memory, lengths, stored statistics, and errors that say
# what is wrong.**
#
# - *One operation.* The whole recurrence is one `torch.autograd.Function` with section 6's loop as its backward pass. Of every step it
#   keeps the centred $z$ and $c$ and their statistics. Gates are computed again on the way back.
# - *Features as rows.* Inside, a feature's batch is contiguous: means run along memory, and the gates are slabs.
# - *The shortcut.* A scalar input takes that of section 5. More inputs are multiplied and normalised step by step: the variance from
#   their covariance can come out negative by rounding.
# - *The tanh* is $2\sigma(2a)-1$, so that one call serves all gates. In float32 it rounds more coarsely near zero.
# - *Lengths.* Sequences are sorted, the longest first, so that those that still run come first at every step.
# - *First derivatives only.* Its backward pass cannot be differentiated again; for that take the lesson's cell.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: values, gradients, memory, second derivatives
names = {
    "W_h": "weight_hh",
    "W_x": "weight_ih",
    "b": "bias",
    "gamma_h": "scale_hh",
    "gamma_x": "scale_ih",
    "gamma_c": "scale_c",
    "beta_c": "bias_c",
}
source = torch.Generator().manual_seed(10)
for inputs, B in ((1, 8), (5, 6)):
    p, layer = random_start(inputs, 4, inputs), BatchNormLSTM(inputs, 4, max_length=9)
    with torch.no_grad():
        for name, value in vars(p).items():
            getattr(layer, names[name]).copy_(value)
    x, start = torch.randn(9, B, inputs, generator=source), torch.zeros(B, 4)
    above = torch.randn(9, B, 4, generator=source)
    steps = run_forwards(x, start, start, p, layer.eps)
    ours, plain = layer(x)[0], torch.stack([s.h for s in steps])
    check(
        "RBN.5", ours, plain, f"{inputs} inputs: the library and the cell of section 4"
    )
    learned = [getattr(layer, names[name]) for name in vars(p)]
    both = (
        torch.autograd.grad(ours, learned, above),
        torch.autograd.grad(plain, list(vars(p).values()), above),
    )
    for name, a, b in zip(vars(p), *both, strict=True):
        check("RBN.26", a, b, f"gradient of {name}")

T, B, H = 20, 50, 40
p, layer = parameters(1, H), BatchNormLSTM(1, H, max_length=T)
for value in vars(p).values():
    value.requires_grad_()
x, start = torch.randn(T, B, 1, generator=source), torch.zeros(B, H)
plain = saved_bytes(lambda: run_forwards(x, start, start, p, 1e-5))
ours = saved_bytes(lambda: layer(x))
print(
    f"kept for the way back: a share of {ours / plain:.2f} of what the lesson's cell keeps"
)
try:
    x.requires_grad_()
    (slope,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    slope.square().sum().backward()
except RuntimeError as error:
    print("second derivatives:", str(error).splitlines()[0])

# %% [markdown]
# ## 11. What does it cost?
#
# **Three quarters to nine tenths of the loop's time, and a third to three fifths of its memory.**
#
# A step multiplies $W_h$ by $h$ forward and twice backward, once for $h$ and once for $W_h$, and $W_x$ by $x$ forward and once backward:
#
# $$ \underbrace{8BH^2+8BHd_x}_{\text{forward}}+\underbrace{16BH^2+8BHd_x}_{\text{backward}} = 24\,BH^2+16\,BHd_x \tag{RBN.35} $$
#
# operations a step, each multiplication and each addition counted as one. All else grows with $BH$ alone, a few dozen passes over
# $B\times H$ numbers.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (RBN.35): operations counted
for T, B, inputs, units in ((3, 8, 2, 5), (2, 6, 7, 4)):
    p = random_start(inputs, units, 11)
    h, c = torch.randn(2, B, units, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        steps = run_forwards(torch.randn(T, B, inputs), h, c, p, 1e-5)
        forward = counter.get_total_flops()
        torch.autograd.grad(sum(s.h.sum() for s in steps), (h, *vars(p).values()))
    formula = 24 * B * units**2 + 16 * B * units * inputs
    case = f"T, B, d, H = {T}, {B}, {inputs}, {units}"
    check("RBN.35", T * formula, counter.get_total_flops(), case)
    there = 8 * B * units**2 + 8 * B * units * inputs
    back = 16 * B * units**2 + 8 * B * units * inputs
    both = [forward, counter.get_total_flops() - forward]
    check("RBN.35", [T * there, T * back], both, "forward and backward")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels over four shapes. Left, time of the library over the loop's: 0.76 to 0.93; over torch's LSTM: 0.88 to 1.76. Right, what is kept for the backward pass: 0.34 of the loop's for one input, 0.6 for 28 and 50 inputs, and a little less of torch's LSTM's."}} tags=["hide-input"]
# @title Figure: time and memory
cost = sweep(experiment.COST, "book", device="cpu")
labels = [f"{r.time}×{r.batch},\n{r.inputs}→{r.units}" for r in cost.itertuples()]
fig, (left, right) = figures.panels(2)
places = np.arange(len(cost))
left.plot(places, cost.time_ratio, "o", color=BLUE, label="/ loop")
left.plot(places, cost.lstm_ratio, "s", color=PINK, label="/ torch's LSTM")
left.axhline(1, color=GREY, lw=0.8)
left.set(ylabel="time of the library", ylim=(0, None), title="Faster than the loop")
right.plot(places, cost.ours_bytes / cost.stepwise_bytes, "o", color=BLUE)
right.plot(places, cost.ours_bytes / cost.lstm_bytes, "s", color=PINK)
right.axhline(1, color=GREY, lw=0.8)
right.set(ylabel="kept for backward", ylim=(0, None), title="Less memory than both")
for ax in (left, right):
    ax.set_xticks(places, labels, fontsize=8)
left.legend(fontsize=8)
plt.show()

# %% [markdown]
# *Steps × batch, inputs → units; one forward and backward pass in training, one thread, float32. The loop calls `F.batch_norm` three times a step, as public ports do.*

# %% [markdown]
# ## 12. Errata and conventions
#
# **Five statements that are in code or in use and do not hold, each shown to differ; and the conjecture (RBN.E3) of section 2.**
#
# *The permutation.* Permuted MNIST reads the pixels in one fixed random order. The authors' released code takes
# `np.random.randint(0, length, size=(length,))` for it, with a length of 784, after `np.random.seed(args.seed)`, by default 1. That draws
# *with* replacement, so that this fails:
#
# $$ \#\{\pi(1),\dots,\pi(784)\} = 784 \tag{RBN.E1} $$
#
# One pixel is missed by all $T$ draws with probability $(1-1/T)^T$, so the expected number of different ones is
#
# $$ \mathrm E\,\#\{\pi(1),\dots,\pi(T)\} = T\,\Bigl(1-\bigl(1-\tfrac1T\bigr)^T\Bigr) \tag{RBN.36} $$
#
# about 496, or 63%; with seed 1 it is 501. The others are never seen. Whether the printed results were made with it we do not know.
#
# *The variance that is stored.* The same code averages the batches' *biased* variances, over batches of 5,000 for its test numbers. That
# is close, but in small batches it is not (RBN.13):
#
# $$ \mathrm E\,[\sigma_t^2] = \operatorname{Var}[z_t] \tag{RBN.E2} $$
#
# *Dead steps.* A norm alone multiplies by $\gamma/\sqrt\varepsilon$ (RBN.18), and one is tempted to say so of a step of the cell. By
# (RBN.19) it is not
#
# $$ \frac{\partial c_t}{\partial c_{t-1}} = \frac\gamma{\sqrt\varepsilon}\,I \tag{RBN.E4} $$
#
# *Padding.* A public PyTorch port restores $h$ and $c$ of sequences that have ended, but its statistics include their padded rows:
#
# $$ \mu_t = \frac1B\sum_n z_{tn} \tag{RBN.E5} $$
#
# *Identity.* "Identity weights" of shape $4H\times H$ can be read as four identities; the same port does:
#
# $$ W_i=W_f=W_g=W_o=I \tag{RBN.E6} $$
#
# In the authors' code only the block of $g$ is the identity, and the three gates are one orthogonal matrix:
#
# $$ W_g=I, \qquad W_i^\top W_i+W_f^\top W_f+W_o^\top W_o = I \tag{RBN.37} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The refutations, and what is true
for T in (5, 784):
    different = 0.0
    for _ in range(T):  # each draw is new with probability 1 − different/T
        different += 1 - different / T
    check("RBN.36", T * (1 - (1 - 1 / T) ** T), different, f"T = {T}, draw by draw")
drawn = np.random.RandomState(1).randint(0, 784, size=(784,))
refute("RBN.E1", len(set(drawn)), 784, "the draw with seed 1")
print(
    f"expected {different:.0f} of 784 pixels ({different / T:.1%}), here {len(set(drawn))}"
)

population = torch.tensor([1.0, 2.0, 2.0, 7.0])
pairs = torch.cartesian_prod(population, population)
biased, true = pairs.var(1, unbiased=False), population.var(unbiased=False)
check("RBN.13", (2 * biased).sum() / len(pairs), true, "Σ m var / Σ (m − 1)")
refute("RBN.E2", biased.mean(), true, "all batches of two of four values")

p = parameters(2, 3)
path = dead_run(p, 5, 1e-5)
above = torch.tensor([1.0, -2.0, 0.5, 0.5, 0.0])[:, None].repeat(1, 3)
back = torch.autograd.grad(path[5], (path[1], path[2]), above)
gain = float(back[0].norm() / back[1].norm())
check("RBN.19", 0.25 * 0.1**2 / 1e-5 + forget, gain, "a dead step of the cell")
refute("RBN.E4", 0.1 / math.sqrt(1e-5), gain, "one norm's factor")

z, w = torch.tensor([[1.0], [4.0], [2.5], [9.0]]), torch.tensor([[1.0], [1], [1], [0]])
mu = (w * z).sum() / w.sum()
check("RBN.29", mu, z[:3].mean(), "three of four sequences run")
refute("RBN.E5", z.mean(), mu, "the ended one is counted")

layer = BatchNormLSTM(2, 5, max_length=3, hidden_init="identity")
W = layer.weight_hh.detach()
i, f, g, o = W.chunk(4)
check("RBN.37", g, torch.eye(5), "the block of g")
check("RBN.37", i.T @ i + f.T @ f + o.T @ o, torch.eye(5), "the gates, as one matrix")
refute("RBN.E6", torch.eye(5).repeat(4, 1), W, "gates of a start in the authors' way")

# %% [markdown]
# *Conventions.* Gates are in the order $i,f,g,o$ here and in PyTorch, $g,f,i,o$ in the authors' code. The paper fixes $\beta_h=\beta_x=0$;
# ports that learn them beside $b$ have three parameters for one shift (RBN.6). The paper speaks of a momentum of 0.9 for RMSProp; in its
# code that line is commented out and the decay is 0.9 or 0.5, by version. Its appendix "reduces" a rate to $8\cdot10^{-4}$ from
# $8\cdot10^{-5}$, an increase: one of the two is a misprint.

# %% [markdown]
# ## 13. Harder exercises
#
# **5 (calculation).** From which share $p$ of the smaller group on do two points stay two points (section 3)? Return it for a given
# $\gamma$. What is it for small $\gamma$?


# %% tags=["exercise-5"]
def least_share(gamma: float) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(least_share):
    def spread_of_larger(gamma, p):
        """Growth of a tiny spread in the larger group, over one step."""
        smaller, larger = round(20_000 * p), 20_000 - round(20_000 * p)
        h = torch.cat((torch.ones(smaller), -torch.ones(larger)))[:, None]
        h = torch.tanh(gamma * normalise(h)[0])
        source = torch.Generator().manual_seed(5)
        h[smaller:] += 1e-7 * torch.randn(larger, 1, generator=source)
        after = torch.tanh(gamma * normalise(h)[0])
        return float(after[smaller:].std() / h[smaller:].std())

    for gamma in (0.2, 0.8, 2.0):
        answer = float(least_share(gamma))
        assert 0 < answer < 0.5, f"γ = {gamma}: {answer} is no smaller group's share"
        below, above = (spread_of_larger(gamma, answer + d) for d in (-0.0005, 0.0005))
        assert below > 1 > above, (
            f"γ = {gamma}, p = {answer:.3f}: the larger group's spread grows by "
            f"{below:.4f} just below and by {above:.4f} just above"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# The larger group's gain is (RBN.17) with $p$ and $1-p$ exchanged; find where it is one. For small $\gamma$ use
# $\operatorname{sech}^2x\approx1-x^2$ and $\tanh x\approx x-x^3/3$. Write $q=1-p$. The gain is about $1+\gamma^2(\kappa/3-1/a^2)$ with
# $1/a^2=p/q$ and the kurtosis of two points, $\kappa=1/(pq)-3$. It is below one if $1-3pq<3p^2$, and since $p+q=1$ that is $p>\frac13$.
#
# ```python
# def least_share(gamma):
#     low, high = 0.01, 0.5
#     for _ in range(50):
#         p = (low + high) / 2
#         a = math.sqrt((1 - p) / p)
#         spread = math.sqrt(p * (1 - p)) * (math.tanh(gamma * a) + math.tanh(gamma / a))
#         stable = gamma / math.cosh(gamma / a) ** 2 < spread
#         low, high = (low, p) if stable else (p, high)
#     return high
# ```
#
# </details>
#
# **6 (calculation).** Which $\varepsilon$ makes a dead step of the cell neutral, a gain of exactly one? All scales are $\gamma$,
# $W_g=I$, the input and output gates have bias zero, the forget gate has the bias `forget`.


# %% tags=["exercise-6"]
def neutral_eps(gamma: float, forget: float) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(neutral_eps):
    for gamma, forget in ((0.1, 1.0), (0.3, 2.0), (0.5, -1.0)):
        eps = float(neutral_eps(gamma, forget))
        assert eps > 0, f"ε = {eps} is not positive"
        p = parameters(2, 3, gamma=gamma)
        p.b[3:6] = forget
        path = dead_run(p, 4, eps)
        above = torch.tensor([1.0, -2.0, 0.5, 0.5, 0.0])[:, None].repeat(1, 3)
        late, early = torch.autograd.grad(path[4], (path[3], path[1]), above)
        gain = float(early.norm() / late.norm()) ** 0.5
        assert abs(gain - 1) < 1e-6, f"γ = {gamma}, bias {forget}: the gain is {gain}"
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# Set $\sigma(f)+\frac14\gamma^2/\varepsilon=1$ in (RBN.19). With the paper's $\gamma$ and bias it is 0.0093, close to the hundredth of
# section 4.
#
# ```python
# def neutral_eps(gamma, forget):
#     return gamma**2 / 4 * (1 + math.exp(forget))  # 1 − σ(f) = 1 / (1 + eᶠ)
# ```
#
# </details>
#
# **7 (implementation).** What stands in the padding should not matter. `masked` of section 8 multiplies it by zero, and zero times NaN
# is NaN. Write a masked batch norm, $\gamma\hat z$ and zero where a sequence has ended, that returns right values *and* gradients
# whatever the padding holds. (Autograd may do the way back. Beware: a `torch.where` at the very end saves the values, not the
# gradients.)


# %% tags=["exercise-7"]
def masked_batch_norm(z, running, gamma, eps):
    """z (B, H), running (B,) of bool, gamma (H,) -> (B, H)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-7-checker", "hide-input"]
# @title Checker 7
def check_exercise_7(masked_batch_norm):
    source = torch.Generator().manual_seed(7)
    for padding, eps in ((0.0, 1e-5), (3e200, 0.3), (math.nan, 0.1), (math.inf, 1e-5)):
        running = torch.tensor([True, False, True, True, False, True])
        z, above = torch.randn(2, 6, 3, generator=source)
        z[~running] = padding
        z.requires_grad_()
        gamma = torch.rand(3, generator=source).requires_grad_()
        kept = z[running].detach().requires_grad_()
        expected = F.batch_norm(kept, None, None, gamma, None, training=True, eps=eps)
        d_kept, d_gamma = torch.autograd.grad(expected, (kept, gamma), above[running])
        answer = masked_batch_norm(z, running, gamma, eps)
        case = f"padding {padding}, ε {eps}"
        assert torch.allclose(answer[running], expected), f"{case}: wrong values"
        assert (answer[~running] == 0).all(), f"{case}: ended sequences are not zero"
        back = torch.autograd.grad(answer, (z, gamma), above)
        assert torch.allclose(back[0][running], d_kept), f"{case}: wrong gradient of z"
        assert (back[0][~running] == 0).all(), f"{case}: a gradient of the padding"
        assert torch.allclose(back[1], d_gamma), f"{case}: wrong gradient of gamma"
    print("right")


# %% [markdown]
# <details><summary>Solution 7</summary>
#
# Take the padding out *before* the arithmetic. `z[running]` and `masked_fill` pass no gradient to what they leave out, whatever it holds.
#
# ```python
# def masked_batch_norm(z, running, gamma, eps):
#     kept = z[running]
#     mean, var = kept.mean(0), kept.var(0, unbiased=False)
#     out = torch.zeros_like(z)
#     out[running] = gamma * (kept - mean) / torch.sqrt(var + eps)
#     return out
# ```
#
# </details>

# %% [markdown]
# ## 14. Symbols and further reading
#
# Beside those of [the lesson](recurrent_batch_norm.ipynb):
#
# | symbol | meaning |
# |---|---|
# | $u$, $He_n$, $a_n$ | a standard normal variable, Hermite polynomials, coefficients of $f(u)$ (section 1) |
# | $\chi_0(s)$ | $\chi$ without input at $\gamma=s$ (2) |
# | $p$, $a$ | share of the first of two groups, its standardised value (3) |
# | $v$, $\mathcal N(\delta)$ | $1/\sqrt{\sigma^2+\varepsilon}$, batch norm's backward pass without $\gamma$ |
# | $m$, $C$, $V$ | mean and covariance of the input, its matrix in (RBN.21) (5); there the scalar $v$ is the input's variance |
# | $\delta s$, $y$, $u$ | $\partial L/\partial s$, the normalised cell $\gamma_c\hat c+\beta_c$ and its $\tanh$ (6) |
# | $w_{tn}$, $n_t$ | 1 while sequence $n$ runs, their number at step $t$ (8) |
#
# - The paper: [Cooijmans et al. 2016](https://arxiv.org/abs/1603.09025).
# - Before it: [Laurent et al. 2015](https://arxiv.org/abs/1510.01378) (sequence-wise norms on the input path,
#   none between hidden states), [Amodei et al. 2015](https://arxiv.org/abs/1512.02595) (Deep Speech 2: the same statistics).
# - After it: [Ba, Kiros, Hinton 2016](https://arxiv.org/abs/1607.06450) (layer normalization).
# - The norm itself: [the theory of batch normalization](batch_norm_theory.ipynb).
