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
# # Gradients through mixtures: let the draw slide
#
# **The problem.** To draw from a mixture, you pick a component and draw from it. Change the weights a little, and a draw stays where it is
# or jumps to another component. Its derivative for the weights is zero almost everywhere, and backpropagation stops. So PyTorch's mixtures
# have no `rsample`; users have [asked for it since 2020](https://github.com/pytorch/pytorch/issues/39178).
#
# **The idea.** Draw in another way, at least in thought: take a uniform number $u$, and go along the mixture's cumulative distribution
# function $F$ until $F(x)=u$. Hold $u$ fixed, move any parameter $\theta$, weights included, and the draw *slides*. Leibniz' rule says
# how fast, and you never need to solve for $x$:
#
# $$ \frac{dx}{d\theta}=-\frac1{f(x)}\,\frac{\partial F(x;\theta)}{\partial\theta} $$

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
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from workedpapers.experiments import mixture_gradients as experiment
from workedpapers.lab import check, explore, figures, progress, setup, sweep
from workedpapers.mixture_gradients import MixtureNormal, rao_blackwell_surrogate

device = setup(seed=0)
LEIBNIZ, SCORE, PEER, DATA, MUTED, ODD = (
    figures.COLORS[role]
    for role in ("learned", "baseline", "peer", "data", "muted", "wrong")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the rising line F of two overlapping boxes before and after the weight of the right one grows; a horizontal line at u = 0.45 meets the old curve at 1.4 and the new one at 1.6. Right, five draws as dots before and after: picked ones stay, but for one that jumps by one; solved ones all move a little to the right."}} tags=["hide-input"]
# @title The idea in one picture: one draw jumps, or every draw slides
U = [0.1, 0.25, 0.45, 0.7, 0.9]
V = [0.2, 0.6, 0.3, 0.8, 0.4]
fig, (left, right) = figures.panels(2)
t = np.linspace(0, 3, 301)
for p, style in ((0.5, "-"), (0.7, "--")):
    F = (1 - p) * np.clip(t / 2, 0, 1) + p * np.clip((t - 1) / 2, 0, 1)
    left.plot(t, F, style, color=LEIBNIZ, label=f"F, p = {p}")
left.axhline(0.45, color=MUTED, lw=0.8)
left.plot([1.4, 1.6], [0.45, 0.45], color=ODD, lw=4)
left.plot([1.4], [0.45], "o", mfc="white", color=LEIBNIZ, zorder=3)
left.plot([1.6], [0.45], "o", color=LEIBNIZ, zorder=3)
for low, y in ((0, -0.09), (1, -0.17)):
    left.plot([low, low + 2], [y, y], color="0.8", lw=5, solid_capstyle="butt")
left.set(xlabel="x", ylabel="u", title="solve F(x) = u")
left.legend(loc="upper left")
for y, u, v in zip(range(5), U, V, strict=True):
    a, b = (float(u >= 1 - p) + 2 * v for p in (0.5, 0.7))
    c, d = (np.interp(u, [0, (1 - p) / 2, 1 - p / 2, 1], range(4)) for p in (0.5, 0.7))
    for row, (old, new) in ((y + 6, (a, b)), (y, (c, d))):
        right.plot([old, new], [row, row], color=ODD)
        right.plot([old], [row], "o", mfc="white", color=LEIBNIZ)
        right.plot([new], [row], "o", color=LEIBNIZ, ms=4)
right.set(yticks=[2, 8], yticklabels=["solved", "picked"], xlabel="x")
right.set_title("one jumps, or all slide")
plt.show()

# %% [markdown]
# Two boxes (grey), the left from 0 to 2, the right from 1 to 3 with the weight $p$; open dots stand for $p=0.5$, filled ones for 0.7, each draw in a row of its own. Section 1 has these very numbers.
#
# **What we found.** The paper has a derivation and no experiment; all that follows is ours.
#
# - for weights of close components the rule can be far quieter than the *score*, the other usual gradient (section 6): for normals at ±0.5 and the cost $x$ its variance is 0.0006 against 0.086; for $\cos x$ the two are level there;
# - as two normals part to $\pm m$, the variance of the rule grows like $e^{m^2/2}/m$ (deviation 1, equal weights, cost $x$): 15 at $m=3$, 5.6 million at 6, where the score still has 0.25. Three far bumps are fitted two to five times worse with it than with the score;
# - as posteriors of an autoencoder on small digits, mixtures of five normals gain 0.9 nats a picture in the bound with a score, 0.6 to 0.7 with the rule; in the likelihood 0.15 on average at most, with the rule nothing; on MNIST most components die out.
#
# **Use it** for the weights of mixtures whose components overlap, on the line for means and scales too. **Not** for components that
# stand apart or may part: there take `rao_blackwell_surrogate` (section 8).
#
# **Minutes:** problem 3 · Leibniz' rule 5 · mixtures 4 · `rsample` 4 · explore 3 · variance 6 · vectors 3 · means and scales 3 · it works 4 ·
# worth 2.
#
# **Beside this lesson:** [the experiments](mixture_gradients_experiments.ipynb), a figure for each question;
# [the theory](mixture_gradients_theory.ipynb), with vectors in full, proofs, floating point, errata, cost; the paper, Graves 2016
# ([arXiv 1607.05690](https://arxiv.org/abs/1607.05690));
# [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/mixture_gradients.ipynb);
# [the source of the mixtures](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/mixture_gradients.py).
#
# Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. The problem in numbers
#
# **A picked draw stays or jumps; a solved one slides, and the mean of its slopes is the derivative that you want.**
#
# Take the two boxes. The left one has its mean at 1, the right one at 2, so the mixture has the mean $1+p$, and its derivative for $p$ is 1.
# Can you get that 1 by differentiating *draws*? Five draws, with the same random numbers before and after $p$ grows from 0.5 to 0.7:


# %%
def picked(u, v, p):
    """A box by u, a place in it by v."""
    return (u >= 1 - p).double() + 2 * v


u, v = torch.tensor(U).double(), torch.tensor(V).double()
print("before:", picked(u, v, 0.5).numpy().round(2))
print("after: ", picked(u, v, 0.7).numpy().round(2))

# %% [markdown]
# Four stay where they are. One jumps from the left box into the right one. The derivative of each is zero (or does not exist), and the mean of zeros is not 1.
#
# **Change it.** In the cell above, write `picked(u, v, 0.501)` for `picked(u, v, 0.7)`: a small step, as for a derivative.
#
# <details><summary>What happens</summary>
#
# ```text
# before: [0.4 1.2 0.6 2.6 1.8]
# after:  [0.4 1.2 0.6 2.6 1.8]
# ```
#
# Nothing moves. Over many draws, one in a thousand would jump, by 1: the mean is right if you count jumps, but automatic differentiation
# does not count jumps.
#
# </details>
#
# Now solve $F(x)=u$ instead. Each box adds its weight evenly over two units. So $F$ rises by $\frac{1-p}2$ from 0 to 1, where only the left
# box is, by $\frac12$ from 1 to 2, where both are, and by $\frac p2$ from 2 to 3. For $u=0.45$ and $p=0.5$: $F(1)=0.25$, and the
# remaining 0.20 takes 0.4 at the slope $\frac12$, so $x=1.4$. For $p=0.7$, $F(1)=0.15$ and $x=1.6$.


# %%
def solved(u, p):
    """x with F(x) = u."""
    left, middle = 2 * u / (1 - p), 2 * u + p  # 0 to 1 and 1 to 2
    right = 3 - 2 * (1 - u) / p  # 2 to 3
    return torch.where(u < (1 - p) / 2, left, torch.where(u < 1 - p / 2, middle, right))


print("before:", solved(u, 0.5).numpy().round(2))
print("after: ", solved(u, 0.7).numpy().round(2))
p = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
many = (torch.arange(1000).double() + 0.5) / 1000  # in place of random numbers
(slope,) = torch.autograd.grad(solved(many, p).mean(), p)
print(f"mean slope of 1,000 draws: {slope:.4f}")

# %% [markdown]
# All draws move, and the mean of their slopes is 1.
#
# **Change it.** In the cell above, write `solved(many, p).square().mean()` for `solved(many, p).mean()`: the derivative of
# $\mathrm E\,x^2$. The left box has $\mathrm E\,x^2=\frac43$, the right one $\frac{13}3$, so it should be 3.
#
# <details><summary>What happens</summary>
#
# ```text
# before: [0.4 1.  1.4 1.9 2.6]
# after:  [0.67 1.2  1.6  2.14 2.71]
# mean slope of 1,000 draws: 3.0000
# ```
#
# Any cost will do, as long as you can differentiate it.
#
# </details>
#
# We could solve $F(x)=u$ because boxes are simple. For normals nobody has the solution in closed form. Is there a formula for the *slope*
# that does without it?

# %% [markdown]
# ## 2. Leibniz' rule
#
# **Hold $u$ fixed and differentiate $F(x)=u$: the draw moves by minus what the parameter adds to $F$, over the density.**
#
# Let $f(t;\theta)$ be a density on the line, and
#
# $$ F(x;\theta)=\int_{-\infty}^xf(t;\theta)\,dt=u \tag{MIX.1} $$
#
# For a uniform $u$, the solution $x$ has the density $f$: it lies below $t$ exactly if $u<F(t)$, which has the probability $F(t)$. Now let
# $\theta$ move and $u$ stand still. The integral changes for two reasons: its upper limit moves, and the integrand changes. Leibniz' rule
# for the derivative of an integral is their sum, and it is zero, since $u$ does not change:
#
# $$ 0=f(x;\theta)\,\frac{dx}{d\theta}+\int_{-\infty}^x\frac{\partial f(t;\theta)}{\partial\theta}\,dt $$
#
# Solve for the slope:
#
# $$ \frac{dx}{d\theta}=-\frac1{f(x;\theta)}\int_{-\infty}^x\frac{\partial f(t;\theta)}{\partial\theta}\,dt=-\frac1{f(x;\theta)}\,\frac{\partial F(x;\theta)}{\partial\theta} \tag{MIX.2} $$
#
# Where $F$ grows, the draw moves left; hence the minus. Only $u$ depends on chance, so the derivative of an expectation is the expectation
# of a derivative:
#
# $$ \frac{d}{d\theta}\,\mathrm E\,L(x)=\int_0^1\frac{d}{d\theta}L\bigl(x(u,\theta)\bigr)\,du=\mathrm E\Bigl[L'(x)\,\frac{dx}{d\theta}\Bigr] \tag{MIX.3} $$
#
# (Under the integral sign you may differentiate if the slopes are dominated; [section 5 of the theory](mixture_gradients_theory.ipynb) shows
# that they are, for mixtures of normals with diagonal covariances and costs whose slope grows like a polynomial.) The boxes first: $F=(1-p)F_\text{left}+pF_\text{right}$, so
# $\partial F/\partial p=F_\text{right}-F_\text{left}$.

# %%
p = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
u = many[::50]
x = solved(u, p)
left, right = (x / 2).clamp(0, 1), ((x - 1) / 2).clamp(0, 1)  # the boxes' own F
F = (1 - p) * left + p * right
check("MIX.1", F, u, "boxes: F at the solution is u")

f = ((1 - p) * (x < 2) + p * (x > 1)) / 2
slopes = torch.stack([torch.autograd.grad(s, p, retain_graph=True)[0] for s in x])
check("MIX.2", -(right - left) / f, slopes, "boxes: the rule = the solution's slope")

# %% [markdown]
# Then a family with a scale $s$, the logistic distribution around 0.4: $F=1/(1+e^{-(x-0.4)/s})$, $x=0.4+s\log\frac u{1-u}$. Here is the integral as it stands,
# by quadrature, and for $L=\cos$ an expectation that is known, $\mathrm E\cos x=\cos(0.4)\,\pi s/\sinh(\pi s)$:


# %%
def f(t, s):
    return 1 / (4 * s * np.cosh((t - 0.4) / (2 * s)) ** 2)


def df_ds(t, s):
    z = (t - 0.4) / s
    return f(t, s) * (z * np.tanh(z / 2) - 1) / s


def slope(x, s):
    return -quad(df_ds, -40, x, args=(s,), epsabs=1e-12)[0] / f(x, s)  # (MIX.2)


for s, share in ((0.7, 0.2), (1.3, 0.9)):
    x = 0.4 + s * math.log(share / (1 - share))
    check(
        "MIX.2", slope(x, s), (x - 0.4) / s, f"logistic, s = {s}: the quantile's slope"
    )
    mean = quad(lambda t, s=s: -math.sin(t) * slope(t, s) * f(t, s), -30, 30)[0]
    of_s = torch.tensor(s, dtype=torch.float64, requires_grad=True)
    (math.cos(0.4) * math.pi * of_s / torch.sinh(math.pi * of_s)).backward()
    check("MIX.3", mean, of_s.grad.item(), f"s = {s}: d E[cos x] / ds", rtol=1e-6)

# %% [markdown]
# No quantile function was needed for the left-hand sides, only $F$ and $f$. Every mixture whose components have them will do.

# %% [markdown]
# ## 3. Mixtures on the line
#
# **Means and scales get responsibilities; weights get a difference of CDFs over the density.**
#
# Take $K$ normals with weights $\pi=\operatorname{softmax}(a)$, means $\mu_k$ and standard deviations $\sigma_k$. Write $z_k=(x-\mu_k)/\sigma_k$,
# $N_k$ for the density of component $k$ at $x$, and $\Phi_k=\Phi(z_k)$ for its CDF. Then $f=\sum_k\pi_kN_k$ and $F=\sum_k\pi_k\Phi_k$, and all
# that (MIX.2) needs is the gradient of $F$.
#
# *Means and scales.* $\partial\Phi_k/\partial\mu_k=-N_k$ and $\partial\Phi_k/\partial\sigma_k=-z_kN_k$. The density divides, and Bayes' rule
# appears: the *responsibility* $\gamma_k$ is the probability that $x$ came from component $k$.
#
# $$ \frac{\partial x}{\partial\mu_k}=\frac{\pi_kN_k}f=\gamma_k,\qquad\frac{\partial x}{\partial\sigma_k}=\gamma_kz_k \tag{MIX.4} $$
#
# With one component this is the reparameterisation trick, $x=\mu+\sigma\varepsilon$: slopes 1 and $\varepsilon$.
#
# *Weights.* The softmax has $\partial\pi_j/\partial a_k=\pi_j([j=k]-\pi_k)$, where $[\cdot]$ is one if the condition holds, else zero. So
# $\partial F/\partial a_k=\pi_k\Phi_k-\pi_kF$, and
#
# $$ \frac{\partial x}{\partial a_k}=-w_k,\qquad w_k=\frac{\pi_k(\Phi_k-F)}f,\qquad\sum_kw_k=0 \tag{MIX.5} $$
#
# Here the density stays in the denominator. Keep that in mind. The sum is zero since $\sum_k\pi_k\Phi_k=F$: one number added to all logits changes nothing.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four panels over the same x axis. On top the density of three normals at -1, 0.3 and 1.9. Below it the slopes of a draw for the three means, which are responsibilities between 0 and 1 and sum to one; for the three scales; and for the three logits, of which those of the outer two peak in the valley of the density; they sum to zero."}} tags=["hide-input"]
# @title A mixture, and how fast its draws move for each parameter
a = torch.tensor([0.2, -0.5, 0.4], dtype=torch.float64)
mu = torch.tensor([-1.0, 0.3, 1.9], dtype=torch.float64)
sigma = torch.tensor([0.6, 1.2, 0.8], dtype=torch.float64)


def parts(x, a, mu, sigma):
    """π, z, N, Φ, (points, K), and f and F, (points, 1)."""
    pi, z = a.softmax(-1), (x[:, None] - mu) / sigma
    N = torch.exp(-z.square() / 2) / (sigma * math.sqrt(2 * math.pi))
    Phi = torch.special.ndtr(z)
    return pi, z, N, Phi, (pi * N).sum(-1, True), (pi * Phi).sum(-1, True)


x = torch.linspace(-3.5, 5, 300).double()
pi, z, N, Phi, f, F = parts(x, a, mu, sigma)
rows = [f, pi * N / f, pi * N / f * z, -pi * (Phi - F) / f]
names = ["density f", "dx / dμ", "dx / dσ", "dx / da"]
fig, axes = plt.subplots(4, 1, figsize=(4.5, 5.6), sharex=True)
for ax, values, name in zip(axes, rows, names, strict=True):
    colors = [MUTED] if name == "density f" else [LEIBNIZ, ODD, SCORE]
    for k, (column, color) in enumerate(zip(values.T, colors, strict=True)):
        ax.plot(x, column, color=color, label=f"of component {k + 1}")
    ax.set_ylabel(name)
for mean, color in zip(mu.tolist(), [LEIBNIZ, ODD, SCORE], strict=True):
    axes[0].axvline(mean, color=color, lw=0.8)
axes[1].legend(loc="center right", fontsize=8)
axes[0].set_title("Slopes for means stay below 1; for logits not")
axes[-1].set_xlabel("x")
plt.show()

# %% [markdown]
# (Thin lines: the three means.) Are the formulas right? Move one parameter at a time, solve $F(x)=u$ anew by bisection, and see where four draws go:


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Bisection, and draws at moved parameters
def quantile(u, a, mu, sigma):
    """x with F(x) = u, (points,), by bisection."""
    low, high = torch.full_like(u, -15.0), torch.full_like(u, 15.0)
    for _ in range(90):
        middle = (low + high) / 2
        below = parts(middle, a, mu, sigma)[-1][:, 0] < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def moved(u, a, mu, sigma, h=1e-5):
    """Slopes of the draws for each of a, mu and sigma by central differences: three of (points, K)."""
    found = []
    for i, parameter in enumerate((a, mu, sigma)):
        steps = h * torch.eye(len(parameter)).double()
        after = [[a, mu, sigma] for _ in range(2)]
        columns = []
        for step in steps:
            after[0][i], after[1][i] = parameter + step, parameter - step
            columns.append((quantile(u, *after[0]) - quantile(u, *after[1])) / (2 * h))
        found.append(torch.stack(columns, -1))
    return found


# %%
x = torch.tensor([-1.7, -0.2, 0.9, 2.4], dtype=torch.float64)
pi, z, N, Phi, f, F = parts(x, a, mu, sigma)
by_a, by_mu, by_sigma = moved(F[:, 0], a, mu, sigma)

gamma = pi * N / f
check(
    "MIX.4", gamma, by_mu, "means: responsibilities = draws at moved means", rtol=1e-6
)
check("MIX.4", gamma * z, by_sigma, "scales", rtol=1e-6)
w = pi * (Phi - F) / f
check("MIX.5", -w, by_a, "logits", rtol=1e-6)
check("MIX.5", w.sum(-1), torch.zeros(4).double(), "and they sum to zero", atol=1e-12)

# %% [markdown]
# ## 4. The whole method
#
# **Draw as always, then add a term whose value is zero and whose gradient is the rule.**
#
# You need not solve $F(x)=u$ to draw: pick a component, add noise, as always. The result has the right distribution, and the $u$ that would have led there is $F(x)$, whatever it
# is. It is only *held fixed*. And (MIX.2) needs no formula for each parameter if automatic differentiation does $\partial F/\partial\theta$:


# %%
def rsample(n, a, mu, sigma):
    """n draws, (n,), from a mixture with parameters (K,), with a gradient for all three."""
    with torch.no_grad():  # draw: a component, then its normal
        k = torch.multinomial(a.softmax(-1), n, replacement=True)
        x = mu[k] + sigma[k] * torch.randn(n, dtype=mu.dtype)
    pi, z = a.softmax(-1), (x[:, None] - mu) / sigma  # x stands still
    F = (pi * torch.special.ndtr(z)).sum(-1)
    with torch.no_grad():
        f = (pi * torch.exp(-z.square() / 2) / (sigma * math.sqrt(2 * math.pi))).sum(-1)
    return x - (F - F.detach()) / f  # (MIX.2)


# %% [markdown]
# `F - F.detach()` is zero, so `rsample` returns $x$; its first derivative is $-\frac1f\,\partial F/\partial\theta$, with $x$ inside $F$ held still. (Its second derivatives are wrong, since $x$ and $f$ move, too; the library's are right.) Does it agree with (MIX.4), (MIX.5)
# and the library? There, means and scales have the shape (K, D), here (K, 1), and `reparameterize` gives known points the gradient of draws. And two components have the mean $\pi_1\mu_1+\pi_2\mu_2$, whose derivative for $a_2$ is $\pi_1\pi_2(\mu_2-\mu_1)$: is that the mean slope of 100,000 draws?

# %%
free = [p.clone().requires_grad_() for p in (a, mu, sigma)]
x = rsample(1000, *free)
mine = torch.autograd.grad(x.sin().sum(), free)

pi, z, N, Phi, f, F = parts(x.detach(), a, mu, sigma)
slopes = (-pi * (Phi - F) / f, pi * N / f, pi * N / f * z)
library = MixtureNormal(free[0], free[1][:, None], free[2][:, None])
theirs = library.reparameterize(x.detach()[:, None]).sin().sum()
theirs = torch.autograd.grad(theirs, free)
by_a, by_mu, by_sigma = (x.detach().cos() @ slope for slope in slopes)
mine_4, theirs_4 = (torch.cat(found[1:]) for found in (mine, theirs))
check("MIX.5", by_a, mine[0], "logits: the formula = ours")
check("MIX.5", by_a, theirs[0], "logits: = the library's")
check("MIX.4", torch.cat((by_mu, by_sigma)), mine_4, "means and scales: = ours")
check("MIX.4", torch.cat((by_mu, by_sigma)), theirs_4, "means and scales: library")

# %%
logits = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
loc, scale = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.ones(2).double()
torch.manual_seed(0)
x = rsample(100_000, logits, loc, scale)
(found,) = torch.autograd.grad(x.mean(), logits)
pi = logits.detach().softmax(-1)
exact = pi[0] * pi[1] * (loc[1] - loc[0])
print(f"mean slope for a₂: {found[1]:.3f}, exact: {exact:.3f}")

# %% [markdown]
# **Change it.** In the cell above, write `loc, scale = torch.tensor([-4.0, 4.0], dtype=torch.float64), torch.ones(2).double()` for
# `loc, scale = torch.tensor([-1.0, 1.0], dtype=torch.float64), torch.ones(2).double()`: the components part.
#
# <details><summary>What happens</summary>
#
# ```text
# mean slope for a₂: 1.892, exact: 1.880
# ```
#
# It looks right, but that is luck: the noise of this mean is now 0.06, as section 6 lets you compute.
#
# </details>
#
# (The library computes $w$ so that nothing cancels or underflows 400 standard deviations out:
# [sections 5 and 9 of the theory](mixture_gradients_theory.ipynb).)

# %% [markdown]
# ## 5. Explore
#
# **Pull two components apart, and watch the slope in the gap.**
#
# The left component is at $-m$ with the weight you choose, the right one at $m$, both with standard deviation one. On the right, the slope
# of a draw for one parameter of the right component, and the density in grey.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: density, CDF and slope
POINTS = torch.arange(-140, 141, dtype=torch.float64) / 20


def on_the_line(weight, m, parameter):
    """Density, CDF and slope for a parameter of the right component, (points,) each."""
    logits = torch.tensor([weight, 1 - weight], dtype=torch.float64).log()
    loc = torch.tensor([-m, m], dtype=torch.float64)
    pi, z, N, Phi, f, F = parts(POINTS, logits, loc, torch.ones(2).double())
    slope = {"logit": -pi * (Phi - F) / f, "mean": pi * N / f, "scale": pi * N / f * z}
    return f[:, 0], F[:, 0], slope[parameter][:, 1]


def draw_line(weight, m, parameter):
    f, F, slope = on_the_line(weight, m, parameter)
    fig, (left, right) = figures.panels(2)
    left.plot(POINTS, f, color=LEIBNIZ, label="density f")
    left.plot(POINTS, F, color=SCORE, label="CDF F")
    left.set(xlabel="x", ylim=(0, 1))
    left.legend(loc="upper left")
    right.fill_between(POINTS, 0, f / f.max() * slope.abs().max(), color="0.9", lw=0)
    right.plot(POINTS, slope, color=ODD)
    right.set(xlabel="x", ylabel=f"dx / d {parameter}")
    return fig


def describe_line(weight, m, parameter):
    f, _, slope = on_the_line(weight, m, parameter)
    top = int(slope.abs().argmax())
    return (
        f"Density and CDF of two normals at {-m:g} and {m:g}, the left with weight {weight:g}, and the slope of a draw for the {parameter} "
        f"of the right one, which is largest, {float(slope[top]):.3g}, at x = {float(POINTS[top]):.1f}, where the density is {float(f[top]):.2g}."
    )


explore(
    draw_line,
    weight=[0.5, 0.2],
    m=[0.5, 1.0, 2.0, 3.0],
    parameter=["logit", "mean", "scale"],
    alt=describe_line,
)

# %% [markdown]
# <details><summary>What you see</summary>
#
# For the logit the peak in the gap grows without end: when $a_2$ grows, mass must pass from left to right, and with $u$ fixed it can pass only
# *through* the gap. Few draws are there, and those must travel fast. For the mean the slope is a responsibility, between 0 and 1, however far the components are
# apart.
#
# </details>
#
# ## 6. How large is the variance?
#
# **For two components at $\pm m$ the variance of the logit's gradient grows like $e^{m^2/2}/m$.**
#
# The abstract calls unbiased gradients of *low variance* the key to all that came before. Unbiased they are, by (MIX.3). Is their variance low? On the line
# it is an integral that you can compute. By (MIX.3) and (MIX.5)
#
# $$ \operatorname{Var}=\int\frac{L'(x)^2\,\pi_k^2\,(\Phi_k-F)^2}{f}\,dx-\Bigl(\frac{\partial}{\partial a_k}\mathrm E\,L\Bigr)^2 \tag{MIX.6} $$
#
# The density is in the denominator once: the square brings $f^2$ into it, the expectation an $f$ into the numerator. Let there be two equal components at $\pm m$
# with $\sigma=1$, and $L(x)=x$. In the gap $\Phi_1\approx1$ and $\Phi_2\approx0$, so $\pi_1(\Phi_1-F)\approx\frac14$, and
# $f(x)=\varphi(m)\,e^{-x^2/2}\cosh(mx)$. For large $m$, $|x|$ of the order of $1/m$ is what counts, where $e^{x^2/2}\approx1$. With
# $\int dx/\cosh(mx)=\pi/m$ (here π is the number) and $1/\varphi(m)=\sqrt{2\pi}\,e^{m^2/2}$,
#
# $$ \operatorname{Var}\approx\frac{\sqrt{2\pi}}{16}\,e^{m^2/2}\,\frac{\pi}{m}=0.492\,\frac{e^{m^2/2}}m\qquad(m\to\infty) \tag{MIX.7} $$
#
# What is the alternative? The *score*, which differentiates the density instead of the draw. With $\partial f=f\,\partial\log f$ and
# $\partial\log f/\partial a_k=\gamma_k-\pi_k$,
#
# $$ \frac{\partial}{\partial a_k}\mathrm E\,L(x)=\mathrm E\bigl[(L(x)-b)(\gamma_k-\pi_k)\bigr] \tag{MIX.8} $$
#
# for any number $b$ that does not depend on $x$, since $\gamma_k-\pi_k$ has mean zero. This $b$ is a *baseline*; the mean of $L$ is the usual one. The score carries nothing through a gap. But it
# is blind to $L'$: its variance grows with how much $L$ itself varies.


# %%
def two(m, share=0.5):
    """A grid, π₁, and f, w₁, γ₁ on it, for components at −m and m with deviation one."""
    x = torch.linspace(-m - 9, m + 9, 6001, dtype=torch.float64)
    logits = torch.tensor([share, 1 - share], dtype=torch.float64).log()
    loc, ones = torch.tensor([-m, m], dtype=torch.float64), torch.ones(2).double()
    pi, _, N, Phi, f, F = parts(x, logits, loc, ones)
    w, gamma = pi * (Phi - F) / f, pi * N / f
    return x, float(x[1] - x[0]), pi[0], f[:, 0], w[:, 0], gamma[:, 0]


def variances(m, L, slope, share=0.5):
    """Of the Leibniz gradient for the first logit and of the score with the mean as baseline."""
    x, h, pi, f, w, gamma = two(m, share)
    exact = (f * L(x) * (gamma - pi)).sum() * h  # (MIX.8)
    leibniz = (slope(x).square() * w.square() * f).sum() * h - exact**2  # (MIX.6)
    b = (f * L(x)).sum() * h
    score = (f * ((L(x) - b) * (gamma - pi)).square()).sum() * h - exact**2
    return float(leibniz), float(score), float(exact)


# %% [markdown]
# `variances` writes $w_1^2f$ for the integrand of (MIX.6), since $w_k^2f=\pi_k^2(\Phi_k-F)^2/f$. Against it: draws at equidistant $u$, differentiated by `rsample`'s rule, for unequal weights and $L=\sin$. And the quadrature of (MIX.7) at growing $m$:

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: the variance by draws, and the score's
for m, share in ((0.6, 0.3), (1.2, 0.8)):
    logits = torch.tensor([share, 1 - share], dtype=torch.float64).log()
    loc, scale = torch.tensor([-m, m], dtype=torch.float64), torch.ones(2).double()
    u = (torch.arange(40_000).double() + 0.5) / 40_000
    draws = quantile(u, logits, loc, scale)
    pi, z, N, Phi, f, F = parts(draws, logits, loc, scale)
    free = logits.expand(len(u), 2).clone().requires_grad_()
    rule = -(
        (free.softmax(-1) * Phi).sum(-1) / f[:, 0]
    )  # `rsample`: x and f stand still
    (by_draw,) = torch.autograd.grad((rule * draws.cos()).sum(), free)

    def integrand(t, m=m, share=share):  # (MIX.6) as displayed, by adaptive quadrature
        Phi = norm.cdf(t + m), norm.cdf(t - m)
        F = share * Phi[0] + (1 - share) * Phi[1]
        f = share * norm.pdf(t + m) + (1 - share) * norm.pdf(t - m)
        return math.cos(t) ** 2 * share**2 * (Phi[0] - F) ** 2 / f

    mean = math.exp(-0.5) * share * (1 - share) * (math.sin(-m) - math.sin(m))
    shown = quad(integrand, -m - 8, m + 8, limit=200)[0] - mean**2
    check(
        "MIX.6",
        shown,
        float(by_draw[:, 0].var()),
        f"m = {m}: quadrature = draws",
        rtol=1e-3,
    )
    check(
        "MIX.6",
        variances(m, torch.sin, torch.cos, share)[0],
        shown,
        "= `variances`",
        rtol=1e-6,
    )
    gamma, weight = pi * N / f, pi[0]
    centred = (draws.sin() - draws.sin().mean()) * (gamma[:, 0] - weight)
    score = variances(m, torch.sin, torch.cos, share)[1]
    check("MIX.8", score, float(centred.var()), "and the score's", rtol=1e-3)
    for b in (0.0, -0.7):
        score = (draws.sin() - b) * (gamma[:, 0] - weight)
        check(
            "MIX.8",
            float(score.mean()),
            mean,
            f"b = {b}: the score's mean is exact",
            atol=1e-4,
        )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check: how the variance grows
ratios = []
for m in (8.0, 16.0, 32.0):

    def gap(x, m=m):
        difference = norm.cdf(x + m) - norm.cdf(x - m)
        return difference**2 / (8 * (norm.pdf(x + m) + norm.pdf(x - m)))

    whole = quad(gap, -1, 1, limit=800, points=[-5 / m, 0, 5 / m], epsabs=0)[0]
    laplace = math.sqrt(2 * math.pi) / 16 * math.exp(m**2 / 2) * math.pi / m  # (MIX.7)
    ratios.append(whole / laplace)
check("MIX.7", math.sqrt(2 * math.pi) / 16 * math.pi, 0.492, "the factor", atol=5e-4)
print("variance over (MIX.7) at m = 8, 16, 32:", *(f"{ratio:.4f}" for ratio in ratios))
limit = (4 * ratios[2] - ratios[1]) / 3  # the first correction is of order 1 / m²
check("MIX.7", limit, 1.0, "and for m → ∞", rtol=1e-4)

# %% mystnb={"image": {"alt": "Two panels of the variance of the first logit's gradient against m from 0.25 to 4, logarithmic, for the costs x and cos x. The Leibniz curve starts lower, for x by far, and rises steeply; the score with baseline is flat. They cross near 1.56 for x and 0.56 for cos x."}}
costs = {
    "L = x": (lambda x: x, torch.ones_like),
    "L = cos x": (torch.cos, lambda x: -torch.sin(x)),
}
ms = np.linspace(0.25, 4, 31)
fig, axes = figures.panels(2, sharey=True)
for ax, name in zip(axes, ("L = x", "L = cos x"), strict=True):
    curves = np.array([variances(float(m), *costs[name])[:2] for m in ms])
    ax.semilogy(ms, curves[:, 0], color=LEIBNIZ, label="Leibniz")
    ax.semilogy(ms, curves[:, 1], color=SCORE, label="score, baseline")
    ax.set(title=name, xlabel="m", ylim=(1e-4, 1e4))
axes[0].set_ylabel("variance")
axes[0].legend()
fig.suptitle("Leibniz for the logit: no worse while components overlap, then hopeless")
plt.show()

# %%
for m in (0.5, 1.0, 2.0, 3.0, 6.0):
    leibniz, score, exact = variances(m, *costs["L = x"])
    print(
        f"m = {m}: gradient {abs(exact):.2f}, Leibniz {leibniz:.2g}, score {score:.2g}"
    )

# %% [markdown]
# From less than a thousandth to five million, while the score stays at one quarter. Where the two cross depends on the cost: near $m=1.56$
# for $x$, 0.56 for $\cos x$ (centres 3.1 and 1.1 deviations apart). With other weights the score fares worse, too: at 0.2 and 0.8, $m=6$, it has 8.5.
#
# **Change it.** In the cell above, write `costs["L = cos x"]` for `costs["L = x"]`.
#
# <details><summary>What happens</summary>
#
# ```text
# m = 0.5: gradient 0.00, Leibniz 0.027, score 0.028
# m = 1.0: gradient 0.00, Leibniz 0.11, score 0.06
# m = 2.0: gradient 0.00, Leibniz 0.67, score 0.076
# m = 3.0: gradient 0.00, Leibniz 4.3, score 0.049
# m = 6.0: gradient 0.00, Leibniz 3.9e+05, score 0.054
# ```
#
# At $m=1$ the score is the quieter one already. It has little to cope with, since the cosine is bounded; and by symmetry the gradient itself is zero.
#
# </details>
#
# ## 7. Vectors
#
# **Draw each coordinate given those before it: a mixture on the line again, whose weights are responsibilities.**
#
# For $x=(x_1,\dots,x_D)$ there is no single $F(x)=u$. But a density factors into conditionals, each on a line. Take $D$ uniforms, and hold them fixed:
#
# $$ F_d(x_d\mid x_{<d})=u_d,\qquad f(x)=\prod_{d=1}^Df_d(x_d\mid x_{<d}) \tag{MIX.9} $$
#
# Given $x_1$, the components have the weights $\gamma(x_1)$, and $x_2$ is a draw from the mixture on the line with *those* weights. So a parameter moves $x_2$ twice: directly,
# and because $x_1$ and with it the weights have moved. [The theory](mixture_gradients_theory.ipynb) derives
# a backward pass through all coordinates in time $O(KD)$, and full covariances without a matrix inverse. The library has both, `MixtureNormal` and `MixtureMultivariateNormal`:

# %%
torch.manual_seed(0)
logits = torch.zeros(100, 5, requires_grad=True)  # a mixture for each of 100 pictures
loc = torch.randn(100, 5, 8, requires_grad=True)  # five components, eight dimensions
x = MixtureNormal(logits, loc, torch.ones(100, 5, 8)).rsample((3,))
x.square().sum().backward()
print(tuple(x.shape), tuple(logits.grad.shape), tuple(loc.grad.shape))

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, contours of a mixture of two normals in the plane and three vertical lines. Right, the density of the second coordinate on each of the lines: at the left line one peak high up, at the right line one peak further down, in between both."}} tags=["hide-input"]
# @title A density in the plane, and the second coordinate given the first
weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
loc = torch.tensor([[-1.0, 1.2], [1.0, -0.8]], dtype=torch.float64)
scale = torch.tensor([[0.9, 0.5], [0.8, 0.6]], dtype=torch.float64)
CUTS = {-1.0: LEIBNIZ, 0.0: MUTED, 1.0: ODD}


def second(x1, x2):
    """f₂(x₂ | x₁) and F₂, from γ(x₁)."""
    normal = Normal(loc, scale)
    gamma = weights * normal.log_prob(x1[..., None, None]).exp()[..., 0]
    gamma = gamma / gamma.sum(-1, keepdim=True)
    given = Normal(loc[:, 1], scale[:, 1])
    f2 = (gamma * given.log_prob(x2[..., None]).exp()).sum(-1)
    return f2, (gamma * given.cdf(x2[..., None])).sum(-1)


t = torch.linspace(-3, 3, 121, dtype=torch.float64)
plane = MixtureNormal(weights.log(), loc, scale).log_prob(torch.cartesian_prod(t, t))
fig, (left, right) = figures.panels(2, sharey=True)
left.contour(t, t, plane.exp().view(121, 121).T, colors=MUTED, linewidths=1)
for cut, color in CUTS.items():
    left.axvline(cut, color=color)
    right.plot(second(torch.tensor(cut).double(), t)[0], t, color=color)
left.set(xlabel="x₁", ylabel="x₂")
right.set_xlabel("f₂, given x₁")
fig.suptitle("Where x₁ is decides how likely each component is for x₂")
plt.show()

# %%
x1, x2 = (
    torch.tensor([-0.6, 0.3, 1.4], dtype=torch.float64),
    torch.tensor([0.1, -0.9, 0.8], dtype=torch.float64),
)
f1 = (weights * Normal(loc[:, 0], scale[:, 0]).log_prob(x1[:, None]).exp()).sum(-1)
f2, F2 = second(x1, x2)
components = Independent(Normal(loc, scale), 1)
torchs = MixtureSameFamily(Categorical(weights), components)
joint = torchs.log_prob(torch.stack((x1, x2), -1)).exp()
check("MIX.9", f1 * f2, joint, "f₁ f₂ = the density of torch's mixture")

shares = []
for one, two_ in zip(x1, x2, strict=True):  # the mass below x₂ on the line x₁ = …
    line = torch.linspace(-9, float(two_), 20_001, dtype=torch.float64)
    on_line = torchs.log_prob(torch.stack((one.expand(20_001), line), -1)).exp()
    shares.append(torch.trapezoid(on_line, line))
check("MIX.9", F2 * f1, torch.stack(shares), "F₂ = share of the mass below", rtol=1e-6)

# %% [markdown]
# ## 8. Means and scales
#
# **They need no transport through the gap: weight the ordinary gradient by the responsibilities.**
#
# In more than one dimension the Leibniz gradient has the trouble with gaps for *means and scales*, too: a mean that moves $x_1$ a little changes the weights for $x_2$, and that change
# must be carried through the gap. But means and scales never needed the rule. Pick a component $\kappa$, set $x=\mu_\kappa+\sigma_\kappa\varepsilon$,
# and with $\kappa$ and $\varepsilon$ fixed $\mu_{kd}$ gets $[\kappa=k]\,g_d$, where $g=\nabla L(x)$: the *trick*. Forget which $\kappa$ it was, and
# take the mean given $x$:
#
# $$ \mathrm E\bigl[[\kappa=k]\,g_d\,\big|\,x\bigr]=\gamma_k(x)\,g_d,\qquad\mathrm E\bigl[[\kappa=k]\,g_dz_{kd}\,\big|\,x\bigr]=\gamma_k(x)\,g_dz_{kd} \tag{MIX.10} $$
#
# with $\gamma_k(x)$ given *all* of $x$. A mean given $x$ keeps the expectation and never has more variance (Rao and Blackwell). On the line it *is* (MIX.4).
# The library's `rao_blackwell_surrogate` uses (MIX.10) for means and scales and the score (MIX.8) for logits, with $\gamma(x)$ for $\gamma$ (section 9 calls it). A grid in the plane instead
# of draws, and $L=\cos(x_1+2x_2+0.3)$, whose expectation is known:

# %%
axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
grid, cell = torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2
free = [value.clone().requires_grad_() for value in (weights.log(), loc, scale)]
n = torch.tensor([1.0, 2.0], dtype=torch.float64)
damped = torch.exp(-(free[2] * n).square().sum(-1) / 2) * torch.cos(free[1] @ n + 0.3)
exact = torch.autograd.grad((free[0].softmax(-1) * damped).sum(), free)

mixture = MixtureNormal(weights.log(), loc, scale)
mass = mixture.log_prob(grid).exp() * cell
gamma, z = mixture.responsibilities(grid), (grid[:, None] - loc) / scale
g = -torch.sin(grid @ n + 0.3)[:, None] * n
by_mean = torch.einsum("n,nk,nd->kd", mass, gamma, g)
by_scale = torch.einsum("n,nk,nd,nkd->kd", mass, gamma, g, z)
check("MIX.10", by_mean, exact[1], "means: E[γ g] = the gradient of E L", rtol=1e-6)
check("MIX.10", by_scale, exact[2], "scales", rtol=1e-6)
score = (mass * torch.cos(grid @ n + 0.3)) @ (gamma - weights)
check("MIX.8", score, exact[0], "logits: the score, given all of x", rtol=1e-6)

# %% [markdown]
# ## 9. It works, and where it does not
#
# **Fit three normals to three bumps: with near bumps any gradient will do, with far ones the Leibniz gradient loses.**
#
# Minimise $\mathrm E_q[\log q-\log p]$, the Kullback–Leibler divergence from the mixture $q$ to the bumps $p$, by 48 draws a step. Both gradients below are unbiased, and both count that $\log q$ depends on the parameters by itself.


# %%
def divergence(q, target):
    axis = torch.linspace(-9, 9, 91)
    grid = torch.cartesian_prod(axis, axis)
    log_q, log_p = q.log_prob(grid).detach(), target.log_prob(grid)
    return float((log_q.exp() * (log_q - log_p)).sum()) * 0.04


# %%
def by_rule(q, cost):
    return cost(q.rsample((48,))).mean()


def by_responsibilities(q, cost):
    x = q.sample((48,)).requires_grad_()
    costs = cost(x)  # its value for each draw, (48,)
    baseline = ((costs.sum() - costs) / 47).detach()  # mean cost of the other draws
    return rao_blackwell_surrogate(q, x, costs, baseline) / 48  # it is a sum


# %%
def fit(apart, gradient, lr=0.025, seed=3):
    torch.manual_seed(seed)
    target = experiment.bumps(apart, torch.Generator().manual_seed(seed))
    free = [torch.zeros(3), target.loc / 2, torch.zeros(3, 2)]  # logits, loc, log scale
    optimizer = torch.optim.Adam([p.requires_grad_() for p in free], lr=lr)
    curve = []
    for step in progress(range(250)):
        q = MixtureNormal(free[0], free[1], free[2].exp())
        loss = gradient(q, lambda x, q=q: q.log_prob(x) - target.log_prob(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            curve.append(divergence(q, target))
    return curve


# %% mystnb={"image": {"alt": "Two panels of the divergence against the step, logarithmic. Near bumps, 1.25 from their middle: both curves fall to zero alike. Far bumps, 3.75: the curve of the responsibilities falls to a hundredth, that of the rule turns at a tenth and rises."}} tags=["nbval-ignore-output"]
fig, axes = figures.panels(2, sharey=True)
for ax, apart in zip(axes, (1.25, 3.75), strict=True):
    for gradient, color in ((by_rule, LEIBNIZ), (by_responsibilities, SCORE)):
        curve = fit(apart, gradient)
        ax.semilogy(range(10, 251, 10), curve, color=color, label=gradient.__name__)
    ax.set(title=f"bumps {apart} from their middle", xlabel="step")
axes[0].set_ylabel("divergence (nats)")
axes[0].legend()
fig.suptitle("Near bumps, the same; far bumps, the rule goes astray")
plt.show()

# %% [markdown]
# One problem and one seed, a bad one for the rule. The recorded runs have ten (turned, and with other widths and weights), three distances and five gradients, each with the
# learning rate that its own search chose, all with 48 evaluations of the cost a step:
#
# - *leibniz*: the rule for everything, `by_rule` above;
# - *rule + trick*: the rule for logits, the trick for the rest, as the paper's abstract proposes;
# - *responsibilities*: `by_responsibilities` above;
# - *one-hot*: the trick, and the score of the picked component, $[\kappa=k]-\pi_k$ in place of $\gamma_k-\pi_k$ in (MIX.8);
# - *all components*: a draw from each, costs weighted by $\pi_k$.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Divergence after 250 steps, logarithmic, every run a dot, for five gradients and three distances of the bumps. At 1.25 and 2.5 all lie between 0.001 and 0.02. At 3.75 the rule and rule plus trick scatter from 0.006 to 0.15, the three others stay between 0.003 and 0.02, but for one dot each of responsibilities and one-hot near 0.05."}} tags=["hide-input"]
# @title The headline: three distances, five gradients, every run a dot
fits = sweep(experiment.EXPERIMENTS["fits"], "book", device="cpu")
fits = fits[fits.max_norm.isna()]
ARMS = {"leibniz": LEIBNIZ, "rule + trick": ODD, "responsibilities": SCORE}
ARMS |= {"one-hot": PEER, "all components": MUTED}
fig, ax = plt.subplots(figsize=(4.5, 4))
for (group, apart), (n, (arm, color)) in product(
    enumerate(experiment.APART), enumerate(ARMS.items())
):
    runs = fits[(fits.apart == apart) & (fits.estimator == arm)].divergence
    figures.dots(ax, 6 * group + n, runs, color)
    if not group:
        ax.plot([], [], "o", color=color, label=arm)
ax.set(
    yscale="log",
    ylabel="divergence at the end (nats)",
    xlabel="distance of the bumps from their middle",
)
ax.set_xticks([2, 8, 14], experiment.APART)
ax.set_ylim(top=1)
fig.legend(ncols=2, loc="outside lower center")
ax.set_title("Far apart, both ways that use the rule fall behind")
plt.show()

# %% [markdown]
# Up to 2.5 from the middle all five gradients end within a factor of two of each other. At 3.75 *leibniz* ends at 0.063 nats on average, *rule + trick* at 0.035, the trick with either score at 0.014, *all components* at 0.006; the two with the rule are each behind *responsibilities* in eight of ten problems, and behind *all components* in all ten. Their largest gradient is more than thirty times the median one, that of the others three to four times. Whether that is the cause was not tested; cutting them at norm 1 did not help ([section 4 of the experiments](mixture_gradients_experiments.ipynb)).
#
# ## 10. What is it worth?
#
# - **Low variance?** Where components overlap. Up to a distance of four it is the distance that counts, and the cost, then the dimension, too: on random mixtures the rule beats the score while the centres are within about 1.3 standard deviations of each other for $\cos(\sum x)$, within about four for $\sum x$ ([sections 1 and 2 of the experiments](mixture_gradients_experiments.ipynb)).
# - **For learning** it makes no difference while bumps are near, and costs a factor of two to five in divergence against the scores after 250 steps when they are far ([section 4 of the experiments](mixture_gradients_experiments.ipynb)).
# - **Mixture posteriors** gain 0.9 nats a picture in the bound of small digits with a score and 0.6 to 0.7 with the rule, at equal evaluations of the decoder, but 0.15 on average at most in the likelihood, with the rule nothing; on MNIST most networks end with one component ([sections 7 and 8 of the experiments](mixture_gradients_experiments.ipynb)).
# - **The score's baseline** should come from other draws of the same picture: against the costs of other pictures that is a fifth of the variance in the median, and a better bound on average ([section 9 of the experiments](mixture_gradients_experiments.ipynb)).
# - **The paper's sampling estimator**, for families without a CDF, needs infinitely many proposals on average; **Pyro's gradient** for weights was wrong in four of six cases ([sections 5 and 6 of the experiments](mixture_gradients_experiments.ipynb)).

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "A chart. Means and scales: responsibilities, (MIX.10); on the line rsample is the same. Logits: do the components surely overlap, all through training? Yes: rsample, (MIX.5). No, or unsure: the score, (MIX.8), with a baseline of other draws, or all components if none of them is nearly dead."}} tags=["hide-input"]
# @title Which gradient, when?
fig, ax = plt.subplots(figsize=(4.5, 4))
BOXES = {
    (0.22, 0.9): ("means and scales", MUTED),
    (0.8, 0.9): ("logits: do components surely\noverlap, all through training?", MUTED),
    (0.22, 0.52): (
        "responsibilities (MIX.10);\non the line: rsample,\nwhich is the same",
        SCORE,
    ),
    (0.8, 0.52): ("yes: rsample (MIX.5)", LEIBNIZ),
    (0.62, 0.14): (
        "no, or unsure: score (MIX.8), baseline of other draws;\n"
        "or all components, if none is nearly dead",
        SCORE,
    ),
}
for (x, y), (text, color) in BOXES.items():
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": color, "lw": 1.8}
    ax.text(x, y, text, ha="center", va="center", bbox=box, fontsize=8.5)
for start, end in (
    ((0.22, 0.87), (0.22, 0.62)),
    ((0.8, 0.84), (0.8, 0.56)),
    ((1.08, 0.84), (1.08, 0.2)),
):
    arrow = {"arrowstyle": "->", "color": MUTED}
    ax.annotate("", end, start, arrowprops=arrow)
ax.set(xlim=(-0.1, 1.2), ylim=(0, 1))
ax.axis("off")
ax.set_title("For logits, the rule only where components overlap")
plt.show()

# %% [markdown]
# **When to use it:** one-dimensional mixtures, or few dimensions, whose components overlap by construction, with a smooth cost. **When not:** components apart, or free to part, as in training they are: then (MIX.10) and a score whose baseline comes from other draws of the same element. **What came after:** *implicit reparameterisation* ([Figurnov, Mohamed and Mnih 2018](https://arxiv.org/abs/1805.08498)) is the same gradient for any family with a CDF, and TensorFlow Probability's mixtures use it;
# pathwise gradients by transport ([Jankowiak and Obermeyer 2018](https://arxiv.org/abs/1806.01851)) choose among the many fields of slopes that are unbiased in more than one dimension.

# %% [markdown]
# ## 11. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(logistic_slope)`: it prints "right", or raises with what is wrong.
# Harder ones are on [the theory page](mixture_gradients_theory.ipynb).
#
# **1 (calculation).** The rule works for any family with a CDF. Give the slopes of a draw from a mixture of *logistic* distributions for its
# logits, where component $k$ has the CDF $s\bigl((x-\mu_k)/\sigma_k\bigr)$ with $s(t)=1/(1+e^{-t})$ and the density $s(1-s)/\sigma_k$.


# %% tags=["exercise-1"]
def logistic_slope(x, logits, loc, scale):
    """dx/dlogits, (n, K), of draws x, (n,), from a mixture of logistics, (K,) each"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(function):
    logits = torch.tensor([0.3, -0.6, 0.1], dtype=torch.float64)
    loc = torch.tensor([-2.0, 0.5, 1.5], dtype=torch.float64)
    scale = torch.tensor([0.5, 1.0, 0.3], dtype=torch.float64)
    x = torch.tensor([-2.5, -0.4, 1.0, 2.2], dtype=torch.float64)

    def F_of(x, logits):
        return (logits.softmax(-1) * torch.sigmoid((x[:, None] - loc) / scale)).sum(-1)

    def root(changed, u):
        low, high = torch.full_like(u, -60.0), torch.full_like(u, 60.0)
        for _ in range(100):
            middle = (low + high) / 2
            below = F_of(middle, changed) < u
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        return low

    u = F_of(x, logits)
    steps = 1e-5 * torch.eye(3, dtype=torch.float64)
    columns = [(root(logits + s, u) - root(logits - s, u)) / 2e-5 for s in steps]
    answer, expected = function(x, logits, loc, scale), torch.stack(columns, -1)
    assert answer.shape == (4, 3), f"shape {tuple(answer.shape)}, expected (4, 3)"
    flipped = torch.allclose(answer, -expected, rtol=1e-5)
    assert not flipped, "the sign: draws move left where F grows"
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-8)
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# (MIX.5) with other letters:
#
# ```python
# def logistic_slope(x, logits, loc, scale):
#     weights = logits.softmax(-1)
#     cdf = torch.sigmoid((x[:, None] - loc) / scale)
#     density = cdf * (1 - cdf) / scale
#     F = (weights * cdf).sum(-1, keepdim=True)
#     f = (weights * density).sum(-1, keepdim=True)
#     return -weights * (cdf - F) / f
# ```
#
# </details>
#
# **2 (variation).** If $K$ evaluations of the cost are affordable, draw from *every* component, $x_k=\mu_k+\sigma_k\varepsilon_k$, and
# differentiate $\sum_k\pi_kL(x_k)$. Write it with one call of `cost` for all $K$ rows.


# %% tags=["exercise-2"]
def all_components(logits, loc, scale, cost, generator):
    """A scalar with the gradient of E[cost(x)] in the mean; (K,), (K, D), (K, D); cost maps (K, D) to (K,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(function):
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64),
        torch.tensor([[-1.0, 0.3], [0.4, 1.0], [1.2, -0.7]], dtype=torch.float64),
        torch.tensor([[0.6, 1.1], [0.9, 0.4], [0.8, 0.8]], dtype=torch.float64),
    ]
    free = [parameter.requires_grad_() for parameter in parameters]
    logits, loc, scale = free
    damped = torch.exp(-scale.square().sum(-1) / 2) * torch.cos(loc.sum(-1) + 0.3)
    exact = torch.autograd.grad((logits.softmax(-1) * damped).sum(), free)

    def cosine(x):
        assert x.shape == (3, 2), f"cost got {tuple(x.shape)}, expected (3, 2)"
        return torch.cos(x.sum(-1) + 0.3)

    draws = [
        torch.autograd.grad(function(*free, cosine, generator), free)
        for _ in range(1500)
    ]
    names = ("logits", "loc", "scale")
    for name, right, values in zip(names, exact, zip(*draws, strict=True), strict=True):
        values = torch.stack(values)
        error = (values.mean(0) - right).abs() / (values.std(0) / math.sqrt(1500))
        assert bool((error < 4.5).all()), f"the gradient for {name} is biased"

    def flat(x):
        return (0 * x).sum(-1) + loc[:, 0].detach()

    same = [function(*free, flat, generator) for _ in range(20)]
    slopes = torch.stack([torch.autograd.grad(value, logits)[0] for value in same])
    assert float(slopes.var(0).max()) < 1e-20, "a cost constant in each component"
    seen = []
    for _ in range(2):
        again = torch.Generator().manual_seed(1)
        function(*free, lambda x: seen.append(x.detach()) or x.sum(-1), again)
    assert len(seen) == 2, "one call of the cost"
    assert torch.equal(*seen), "the noise must come from the generator"
    noise = (seen[0] - loc) / scale
    assert float((noise[0] - noise[1]).abs().max()) > 1e-9, (
        "one noise for all components"
    )
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# ```python
# def all_components(logits, loc, scale, cost, generator):
#     noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype)
#     return (logits.softmax(-1) * cost(loc + scale * noise)).sum()
# ```
#
# Which component was picked is no longer a matter of chance.
#
# </details>
#
# **3 (implementation).** A baseline must not depend on the draw it is subtracted from. Subtract the mean of all $n$ costs, the draw's own included, and the score shrinks by the factor
# $(n-1)/n$. Write the score (MIX.8) for $n$ draws with the mean cost of the *other* $n-1$ as each one's baseline.


# %% tags=["exercise-3"]
def score_gradient(costs, gamma, weights):
    """Estimate of the gradient for the logits, (K,), from costs (n,), responsibilities (n, K) and weights (K,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(function):
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    gamma = torch.tensor(
        [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.0, 0.6, 0.4]], dtype=torch.float64
    )
    chance = torch.linalg.solve(gamma.T, weights)  # of three points, so that E γ = π
    costs = torch.tensor([2.0, -1.0, 4.0], dtype=torch.float64)
    exact = (chance * costs) @ (gamma - weights)
    for n in (2, 3):
        mean = torch.zeros(3, dtype=torch.float64)
        for draws in product(range(3), repeat=n):
            picked = list(draws)
            answer = function(costs[picked], gamma[picked], weights)
            assert answer.shape == (3,), f"shape {tuple(answer.shape)}, expected (3,)"
            mean += chance[picked].prod() * answer
        shrunk = torch.allclose(mean, exact * (n - 1) / n)
        assert not shrunk, f"{n} draws: a draw's own cost is in its baseline"
        assert torch.allclose(mean, exact), f"{n} draws: biased, {mean} for {exact}"
    others = (costs.sum() - costs) / 2
    right = (costs - others) @ (gamma - weights) / 3
    assert torch.allclose(function(costs, gamma, weights), right), (
        "the mean of the others"
    )
    level = function(costs[[0, 0]], gamma[[0, 1]], weights)
    assert float(level.abs().max()) < 1e-12, "equal costs must cancel"
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# ```python
# def score_gradient(costs, gamma, weights):
#     n = len(costs)
#     baseline = (costs.sum() - costs) / (n - 1)
#     return (costs - baseline) @ (gamma - weights) / n
# ```
#
# </details>

# %% [markdown]
# ## 12. Symbols
#
# | symbol | in code | what |
# |---|---|---|
# | $K$, $k$; $D$, $d$ | last axes of `loc` | components; coordinates |
# | $a_k$, $\pi_k$ | `logits` | logits, and weights, their softmax |
# | $\mu_{kd},\sigma_{kd}$; $z_{kd}$ | `loc`, `scale` | means, standard deviations; $(x_d-\mu_{kd})/\sigma_{kd}$ |
# | $f$, $F$; $u$ | `log_prob` | density and CDF of the mixture; a uniform number that stands still |
# | $N_k$, $\Phi_k$ | | density and CDF of component $k$ at $x$ |
# | $\gamma_k$ | `responsibilities` | probability of component $k$ given $x$ |
# | $w_k$ | | minus the slope of a draw for $a_k$, (MIX.5) |
# | $L$, $g$; $b$; $\kappa$ | `cost`, `baseline` | cost and its gradient; what a score subtracts; the component that was picked |
