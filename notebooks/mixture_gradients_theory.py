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
# # Gradients through mixtures: the theory
#
# **Vectors, the way back, floating point, uniqueness, sampling, errata, cost: what stands behind [the
# lesson](mixture_gradients.ipynb).** The measurements are in [the experiments](mixture_gradients_experiments.ipynb). Sections can
# be read in any order; their code uses functions from above. Symbols are those of the lesson. These return on every screen: component
# $k$ has weight $\pi_k=\operatorname{softmax}(a)_k$, mean $\mu_k$, standard deviation $\sigma_k$ and, at $x$, the standardised
# $z_k=(x-\mu_k)/\sigma_k$, the density $N_k$ and the CDF $\Phi_k=\Phi(z_k)$. The mixture has $f=\sum_k\pi_kN_k$ and
# $F=\sum_k\pi_k\Phi_k$. A draw keeps its $u=F(x)$ while a parameter $\theta$ moves, so its slope is
# $\frac{dx}{d\theta}=-\frac1f\frac{\partial F}{\partial\theta}$ (MIX.2). We call the gradient that this gives the *Leibniz* gradient.

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

import matplotlib.pyplot as plt
import numpy as np
import torch
from mpmath import mp
from scipy.integrate import quad, simpson
from scipy.stats import norm
from torch.autograd.functional import jacobian
from torch.special import ndtr

from workedpapers.experiments import mixture_gradients as experiment
from workedpapers.lab import check, explore, figures, refute, setup, sweep
from workedpapers.lab.timing import saved_bytes
from workedpapers.mixture_gradients import (
    MixtureMultivariateNormal,
    MixtureNormal,
    leibniz_gradient,
    sampled_leibniz_gradient,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)  # where nothing else is said
COLORS = figures.COLORS
BLUE, ORANGE, GREEN = (COLORS[role] for role in ("learned", "fast", "baseline"))
GREY, PINK, YELLOW = (COLORS[role] for role in ("muted", "peer", "wrong"))
ROOT = math.sqrt(2 * math.pi)

# %% [markdown]
# ## 1. What does the sign decide, and what is a weight moved alone?
#
# **With its minus the rule lets draws follow their mean, without it they run away. A weight moved alone has one slope for each end of
# the line, and neither is that of a random draw.**
#
# Programs that extract text from web pages tend to lose minus signs. (MIX.2) has two, one in front and one in the lower limit.
# Without them it reads
#
# $$ \frac{dx}{d\theta} = \frac1{f(x)}\int_{\infty}^{x}\frac{\partial f(t;\theta)}{\partial\theta}\,dt \tag{MIX.E1} $$
#
# For $\mathcal N(\mu,1)$ that is $-1$: the mean goes right, its draws go left. The sign in front is the one that matters. While $f$
# stays normalised, $\int_{-\infty}^\infty\partial f/\partial\theta\,dt=0$, and you may start the integral at either end.
#
# For a weight on its own you may not. The paper differentiates for $\pi_j$ and lets the total mass grow. From $-\infty$
#
# $$ \frac{\partial x}{\partial\pi_j} = -\frac{\Phi_j}{f}, \qquad \sum_j\frac{\partial x}{\partial\pi_j}\,\frac{\partial\pi_j}{\partial a_k} = \frac{\partial x}{\partial a_k} \tag{MIX.11} $$
#
# and from $+\infty$ it is $+(1-\Phi_j)/f$. The first keeps the mass to the left of $x$, the second the mass to the right. They differ by
# $1/f$ for every $j$, so wherever the weights' changes add up to zero, as through the softmax, the difference cancels.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Bisection, differences, and a mixture on the line
def bisect(rising, goal):
    """Where a rising function of a tensor of points reaches goal."""
    low, high = torch.full_like(goal, -30.0), torch.full_like(goal, 30.0)
    for _ in range(64):
        middle = (low + high) / 2
        below = rising(middle) < goal
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def differences(function, *parameters, h=1e-5):
    """Central differences for every entry of every parameter: (entries, …) each."""
    found = []
    for i, parameter in enumerate(parameters):
        n, ends = parameter.numel(), []
        step = h * torch.eye(n).view(n, *parameter.shape)
        for sign in (1, -1):
            moved = [p.expand(n, *p.shape) for p in parameters]
            moved[i] = parameter + sign * step
            ends.append(function(*moved))
        found.append((ends[0] - ends[1]) / (2 * h))
    return found


def on_line(x, a, mu, sigma):
    """π, z, N, Φ of each component, and f and F, (n, 1), at points x (n,)."""
    pi, z = a.softmax(-1), (x[:, None] - mu) / sigma
    N, Phi = torch.exp(-z.square() / 2) / (ROOT * sigma), ndtr(z)
    return pi, z, N, Phi, (pi * N).sum(-1, True), (pi * Phi).sum(-1, True)


def root(weights, tails, goal):
    """x with Σ weights · Φ = goal, or Σ weights (1 − Φ) = goal; weights (n, K)."""
    sign = 1 if tails == "left" else -1

    def mass(t):
        each = sign * ndtr(sign * (t[..., None] - mu3) / sigma3)
        return (weights[:, None] * each).sum(-1)

    return bisect(mass, (sign * goal).expand(len(weights), -1))


a3 = torch.tensor([0.2, -0.5, 0.4])
mu3, sigma3 = torch.tensor([-1.0, 0.3, 1.9]), torch.tensor([0.6, 1.2, 0.8])

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels over the position of a draw. Left, the slope for the left one of two weights moved alone: computed from minus infinity it falls without end on the right, from plus infinity it rises without end on the left; along the simplex it is negative with a dip in the middle. Right, the slope for a logit peaks above 4 in the gap between components at plus and minus 2; the slope for a mean stays between zero and one."}} tags=["hide-input"]
# @title Checks of (MIX.2) and (MIX.11), two refutations, and the slopes
for m, at in ((0.4, 1.3), (-0.7, -1.1)):
    ends = (-math.inf, math.inf)
    areas = [quad(lambda t, m=m: (t - m) * norm.pdf(t, m), end, at)[0] for end in ends]
    from_left, from_right = (area / norm.pdf(at, m) for area in areas)
    check("MIX.2", -from_left, 1.0, f"N({m}, 1): draws follow the mean")
    check("MIX.2", -from_right, 1.0, "with the minus in front, +∞ will do")
    refute("MIX.E1", from_right, 1.0, "without minus signs it says −1")

some = torch.tensor([-1.7, -0.2, 0.9, 2.4])
pi, z, N, Phi, f, F = on_line(some, a3, mu3, sigma3)
masses = {"left": F[:, 0], "right": 1 - F[:, 0]}
free = {
    tails: differences(lambda p, t=tails: root(p, t, masses[t]), pi)[0].T
    for tails in masses
}
alone = {"left": -Phi / f, "right": (1 - Phi) / f}
softmax = torch.diag(pi) - torch.outer(pi, pi)  # ∂π_j/∂a_k
by_logits = differences(lambda a: root(a.softmax(-1), "left", F[:, 0]), a3)[0].T
for tails, slope in alone.items():
    check("MIX.11", slope, free[tails], f"mass on the {tails} kept", rtol=1e-6)
    check("MIX.11", slope @ softmax, by_logits, "through the softmax", rtol=1e-6)


def in_proportion(p):
    """Weights with the first at p and the others shrunk in proportion."""
    return torch.cat((p, pi[1:] * (1 - p) / (1 - pi[0])), -1)


simplex = differences(lambda p: root(in_proportion(p), "left", F[:, 0]), pi[:1])[0][0]
refute("MIX.E8", alone["left"][:, 0], simplex, "one weight grows, the others shrink")
direction = torch.cat((torch.ones(1), -pi[1:] / (1 - pi[0])))
check("MIX.11", alone["left"] @ direction, simplex, "on the simplex", rtol=1e-6)
short = -(Phi[:, 0] - F[:, 0]) / (f[:, 0] * (1 - pi[0]))
check("MIX.11", short, simplex, "which is −(Φ − F) / (f (1 − π))", rtol=1e-6)

x = torch.linspace(-4.5, 4.5, 181)
means_at_2 = torch.tensor([-2.0, 2.0]), torch.ones(2)
pi, _, N, Phi, f, F = on_line(x, torch.zeros(2), *means_at_2)
fig, (left, right) = figures.panels(2)
left.plot(x, -Phi[:, 0] / f[:, 0], color=YELLOW, label="from −∞")
left.plot(x, (1 - Phi[:, 0]) / f[:, 0], color=PINK, label="from +∞")
left.plot(x, -((Phi - F) / f)[:, 0] / (1 - pi[0]), color=BLUE, label="on the simplex")
left.set(xlabel="x", ylabel="∂x/∂π₁", ylim=(-20, 20), title="A weight has three slopes")
left.legend(fontsize=8)
right.fill_between(x, 10 * f[:, 0], color="0.88", label="density × 10")
right.plot(x, -(pi * (Phi - F) / f)[:, 1], color=BLUE, label="logit a₂")
right.plot(x, (pi * N / f)[:, 1], color=GREEN, label="mean μ₂")
right.set(xlabel="x", ylabel="slope", ylim=(0, 6), title="Only weights mind the gap")
right.legend(fontsize=8)
plt.show()
pi, _, _, Phi, f, F = on_line(torch.tensor([0.0, 6.0]), torch.zeros(2), *means_at_2)
ends = -(pi * (Phi - F) / f)[:, 1]
print("slope for the logit at 0 and at 6:", [f"{float(v):.2f}" for v in ends])

# %% [markdown]
# Taken for the slope on the simplex, say with the other weights shrinking in proportion, the paper's derivative is wrong:
#
# $$ \frac{\partial x}{\partial\pi_j} = -\frac{\Phi_j}{f} \quad\text{with}\quad \sum_k\pi_k=1 \tag{MIX.E8} $$
#
# The right one is $-(\Phi_j-F)/\bigl(f\,(1-\pi_j)\bigr)$, the blue curve on the left. On the right you see what the rule does in a gap. It
# is tempting to say that a slope is large where the density is small. For weights, whose slopes have $f$ in the denominator, that is true
# in gaps: 4.4 at 0. In the outer tails $\Phi_k-F$ falls faster than $f$: the slope is 0.12 at 6 and goes to zero. For a mean the slope is a
# responsibility and never exceeds one (MIX.4).

# %% [markdown]
# ## 2. How does a mixture in D dimensions move?
#
# **Coordinate after coordinate. A parameter moves $x_d$ twice: in its own conditional, and because the coordinates before it have
# moved. Forget the second, and a test in one dimension does not see it.**
#
# By (MIX.9) you solve $F_d(x_d\mid x_{<d})=u_d$ for one $d$ after the other. Given $x_{<d}$, the component is $k$ with a posterior
# probability $\gamma_k^d$ (upper indices count, they are no powers). Within a component with diagonal covariance the coordinates are
# independent. So the conditional of $x_d$ is a mixture on the line with these weights, and Bayes' rule updates them:
#
# $$ f_d = \sum_k\gamma_k^dN_{kd}, \quad F_d=\sum_k\gamma_k^d\Phi_{kd}, \qquad \gamma_k^{d+1} = \frac{\gamma_k^dN_{kd}}{f_d}, \quad \gamma^1=\pi \tag{MIX.12} $$
#
# The responsibility given all of $x$ is $\gamma^{D+1}$. In logarithms the update is a sum up to normalisation: $c^1=\log\pi$,
# $c^{d+1}_k=c^d_k+\log N_{kd}$, $\gamma^d=\operatorname{softmax}(c^d)$. These log weights are a *state* that is carried along.


# %%
def conditionals(x, a, mu, sigma):
    """(MIX.12): γ (…, K, D + 1), z, N, Φ (…, K, D), f and F (…, D) at x (…, D)."""
    z = (x[..., None, :] - mu) / sigma
    N, Phi = torch.exp(-z.square() / 2) / (ROOT * sigma), ndtr(z)
    gamma, f, F = [a.softmax(-1).expand_as(z[..., 0])], [], []
    for d in range(x.shape[-1]):
        f.append((gamma[d] * N[..., d]).sum(-1))
        F.append((gamma[d] * Phi[..., d]).sum(-1))
        gamma.append(gamma[d] * N[..., d] / f[d][..., None])
    return torch.stack(gamma, -1), z, N, Phi, torch.stack(f, -1), torch.stack(F, -1)


# %% [markdown]
# Now differentiate $F_d(x_d\mid x_{<d};\theta)=u_d$. $F_d$ depends on $\theta$ directly (with $x$ held still; that includes the
# weights, which $\mu_{k1}$ changes even if $x_1$ does not move), on $x_d$, and on all $x_i$ with $i<d$:
#
# $$ f_d\,\frac{dx_d}{d\theta} = -\Bigl[\,\frac{\partial F_d}{\partial\theta}\Big|_{x} + \sum_{i<d}\frac{\partial F_d}{\partial x_i}\,\frac{dx_i}{d\theta}\Bigr] \tag{MIX.13} $$
#
# The earlier coordinates act through the weights alone. The derivative for a log weight is that of the lesson, with $\gamma^d$ for $\pi$:
#
# $$ \frac{\partial F_d}{\partial c^d_k} = \gamma_k^d(\Phi_{kd}-F_d) \tag{MIX.14} $$
#
# and with $\partial c^d_k/\partial x_i=\partial\log N_{ki}/\partial x_i=-z_{ki}/\sigma_{ki}$
#
# $$ \frac{\partial F_d}{\partial x_i} = -\sum_k\gamma_k^d(\Phi_{kd}-F_d)\,\frac{z_{ki}}{\sigma_{ki}}, \qquad i<d \tag{MIX.15} $$
#
# The bug is one line away:
#
# $$ \frac{dx_d}{d\theta} = -\frac1{f_d}\,\frac{\partial F_d}{\partial\theta}\Big|_{x} \tag{MIX.E2} $$


# %%
def forwards(direct, of_x, f, forget=False):
    """(MIX.13): slopes (D, entries) from ∂F/∂θ (D, entries) and ∂F/∂x (D, D)."""
    rows = []
    for d in range(len(f)):
        carried = sum(of_x[d, i] * rows[i] for i in range(d))
        rows.append(-(direct[d] + (0 if forget else carried)) / f[d])
    return torch.stack(rows)


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Every coordinate solved anew; cases; a cost; a grid in the plane
def walk(u, c, mu, L):
    """x with F_d = u_d for d = 1 … D, by bisection and Bayes' rule; any batch.

    Log weights c (…, K), means (…, K, D), factors L (…, K, D, D) of covariances."""
    x, e = [], []
    for d in range(mu.shape[-1]):
        mean = mu[..., d] + sum(L[..., d, i] * e[i] for i in range(d))
        weights, scale = c.softmax(-1), L[..., d, d]
        goal = u[..., d].expand(torch.broadcast_shapes(c.shape[:-1], u.shape[:-1]))

        def cdf(t, mean=mean, scale=scale, weights=weights):
            return (weights * ndtr((t[..., None] - mean) / scale)).sum(-1)

        x.append(bisect(cdf, goal))
        e.append((x[d][..., None] - mean) / scale)
        c = c - e[d].square() / 2 - scale.log()
    return torch.stack(x, -1)


def draw_case(seed, K, D):
    """A point and parameters."""
    source = torch.Generator().manual_seed(seed)
    a, x = (torch.randn(n, generator=source) for n in (K, D))
    mu = torch.randn(K, D, generator=source)
    return x, a, mu, 0.5 + torch.rand(K, D, generator=source)


def cosine(x):
    return torch.cos(x.sum(-1) + 0.3)


def expected_cosine(a, mu, sigma):
    """E cos(x₁ + … + x_D + 0.3), in closed form."""
    damped = torch.exp(-sigma.square().sum(-1) / 2) * torch.cos(mu.sum(-1) + 0.3)
    return (a.softmax(-1) * damped).sum()


def plane(reach, step):
    """A grid in the plane and the area of a cell: the trapezoidal rule."""
    axis = torch.arange(-reach, reach + step / 2, step)
    return torch.cartesian_prod(axis, axis), step**2


def each_point(points, *parameters):
    """Parameters for every point by itself, so that gradients are not added up."""
    return [
        p.expand(len(points), *p.shape).clone().requires_grad_() for p in parameters
    ]


def leibniz(points, parameters, cost):
    """The library's gradients of cost, one row a point."""
    free = each_point(points, *parameters)
    moved = MixtureNormal(*free, validate_args=False).reparameterize(points)
    return [g.flatten(1) for g in torch.autograd.grad(cost(moved).sum(), free)]


CASES = [draw_case(seed, *shape) for seed, shape in enumerate(((3, 4), (2, 3), (4, 2)))]


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.12) to (MIX.15), and a refutation
def share_below(x, d, before, mu, sigma):
    """Of the mass of x_d, given weights and those before it, what lies below x[d]."""
    t = torch.linspace(-14, float(x[d]), 2001)[:, None]
    p = before * torch.exp(-(((t - mu[:, d]) / sigma[:, d]) ** 2) / 2) / sigma[:, d]
    below = simpson(p.sum(-1).numpy(), x=t[:, 0].numpy())
    return below / ROOT / float(before.sum())


def states_of(a, N):
    """c^1 … c^(D+1), (K, D + 1)."""
    return a.log_softmax(-1)[:, None] + torch.cat(
        (0 * a[:, None], N.log().cumsum(1)), 1
    )


def check_forwards(x, a, mu, sigma):
    K, D = mu.shape
    gamma, z, N, Phi, f, F = conditionals(x, a, mu, sigma)
    pi = a.exp()[:, None] / a.exp().sum()
    joint = torch.cat((pi, pi * N.cumprod(1)), 1)
    mass, text = joint.sum(0), f"{K} components, {D} dimensions"
    check("MIX.12", gamma, joint / mass, f"{text}: γ = the posterior")
    check("MIX.12", f, mass[1:] / mass[:-1], "f_d = p(x_≤d) / p(x_<d)")
    shares = [share_below(x, d, joint[:, d], mu, sigma) for d in range(D)]
    check("MIX.12", F, shares, "F_d = the share of the mass below x_d", rtol=1e-8)

    def of_state(d):
        return jacobian(lambda c: c.softmax(-1) @ Phi[:, d], states_of(a, N)[:, d])

    by_state = gamma[:, :-1] * (Phi - F)  # (MIX.14)
    autograd = torch.stack([of_state(d) for d in range(D)], 1)
    check("MIX.14", by_state, autograd, "∂F/∂c, by autograd")
    of_x = jacobian(lambda x: conditionals(x, a, mu, sigma)[-1], x)
    pairs = [(d, i) for d in range(D) for i in range(d)]
    formula = [-(by_state[:, d] * z[:, i] / sigma[:, i]).sum() for d, i in pairs]
    autograd = of_x[*torch.tensor(pairs).T]
    check("MIX.15", torch.stack(formula), autograd, "∂F_d/∂x_i, by autograd")

    anew = differences(lambda a, m, s: walk(F, a, m, s.diag_embed()), a, mu, sigma)
    truth = [part.T for part in anew]
    direct = jacobian(lambda *p: conditionals(x, *p)[-1], (a, mu, sigma))
    for part, right in zip(direct, truth, strict=True):
        total = forwards(part.reshape(D, -1), of_x, f)
        check("MIX.13", total, right, "total derivative = solving anew", rtol=1e-6)
    wrong, first = forwards(direct[0], of_x, f, forget=True), truth[0][0]
    refute("MIX.E2", wrong, truth[0], "logits, the coordinates before forgotten")
    check("MIX.13", wrong[0], first, "the first coordinate cannot tell", rtol=1e-6)
    return truth


truths = [check_forwards(*case) for case in CASES]

# %% [markdown]
# `walk` knows nothing but bisection and Bayes' rule; all later checks lean on it. How much does the forgotten term matter? Left, the
# slope of $x_2$ for a logit, as $x_1$ goes along a line. Right, what that does to the gradient of an expectation, integrated over a
# grid in the plane.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the slope of the second coordinate for a logit along a line: with all terms it lies on the dots that were solved anew and peaks at 2.1, without the coordinates before it peaks at 1.7. Right, the gradient of the mean cost for ten parameters: with all terms it meets every bar of the exact one; the forgetful one misses the logits and all parameters of the first coordinate."}} tags=["hide-input"]
# @title Figure: with and without the coordinates before
grid, cell = plane(9.0, 0.15)
tilted = (
    torch.tensor([0.3, -0.4]),
    torch.tensor([[-0.3, 1.3], [0.6, -1.2]]),
    torch.tensor([[0.9, 0.8], [0.8, 0.7]]),
)
free = each_point(grid, *tilted)
*_, f, F = conditionals(grid, *free)
push = -torch.sin(grid.sum(-1) + 0.3)
forgetful = torch.autograd.grad((push[:, None] * -F / f.detach()).sum(), free)
density = f.detach().prod(-1)[:, None]
means = [
    torch.cat([(density * g.flatten(1)).sum(0) * cell for g in gradients])
    for gradients in (leibniz(grid, tilted, cosine), forgetful)
]
exact = torch.cat([g.flatten() for g in jacobian(expected_cosine, tilted)])
check("MIX.3", means[0], exact, "all terms: the mean = the exact gradient", rtol=1e-7)

along = torch.stack((torch.linspace(-2.5, 2.5, 41), torch.full((41,), 0.2)), -1)
free = each_point(along, *tilted)
*_, f, F = conditionals(along, *free)
alone = torch.autograd.grad(-(F[:, 1] / f.detach()[:, 1]).sum(), free[0])[0][:, 0]
moved = MixtureNormal(*free).reparameterize(along)
whole = torch.autograd.grad(moved[:, 1].sum(), free[0])[0][:, 0]
anew = [
    walk(
        F.detach(),
        (tilted[0] + torch.tensor([h, 0])).expand(41, 2),
        tilted[1],
        tilted[2].diag_embed(),
    )[:, 1]
    for h in (1e-5, -1e-5)
]
solved = (anew[0] - anew[1]) / 2e-5
check("MIX.13", whole, solved, "the curve on the left", rtol=1e-6)
fig, (left, right) = figures.panels(2)
left.plot(along[:, 0], whole, color=BLUE, label="all terms")
left.plot(along[::4, 0], solved[::4], "o", color="black", ms=3, label="solved anew")
left.plot(along[:, 0], alone, color=YELLOW, label="forgetful")
left.set(xlabel="x₁, with x₂ = 0.2", ylabel="dx₂/da₁", title="The slope of x₂")
left.legend(fontsize=8)
names = ["a₁", "a₂", "μ₁₁", "μ₁₂", "μ₂₁", "μ₂₂", "σ₁₁", "σ₁₂", "σ₂₁", "σ₂₂"]
right.bar(range(10), exact, color="0.85", label="exact")
right.plot(means[0], "o", color=BLUE, ms=4, label="all terms")
right.plot(means[1], "X", color=YELLOW, ms=5, label="forgetful")
right.set_xticks(range(10), names, fontsize=8)
right.set(ylabel="gradient of the mean cost", title="Forgetting biases it")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 3. How does one run it backwards?
#
# **The draw is a recurrent network whose state is the log weights. Backpropagation through it is a dozen lines and costs $O(KD)$.**
#
# (MIX.13) is a recursion for each of $K+2KD$ parameters. For a loss you need one vector only, $\sum_dg_d\,dx_d/d\theta$ with
# $g=\nabla L(x)$. Let $X_d$ be the solution of $F_d=u_d$. At step $d$
#
# $$ x_d = X_d(c^d,\mu_{\cdot d},\sigma_{\cdot d}), \qquad c^{d+1}_k = c^d_k+\log N_{kd}(x_d,\mu_{kd},\sigma_{kd}) $$
#
# That is a recurrent network with the output layer $X_d$. Blue arrows make the draw. Orange ones bring gradients back, each with the
# factor that it multiplies by:


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "A graph. In the upper row the states c1, c2, c3 and c4, in the lower row the draws x1, x2 and x3, below them the loss. Blue arrows run forwards: from each state down to its draw and on to the next state, from each draw up to the next state and down to the loss. Orange arrows run backwards along every one of them, with the gradients g, minus w, and minus z over sigma."}} tags=["hide-input"]
# @title Figure: the graph of a draw
def arrow(panel, start, end, color, shift=0.0, label="", place=(0, 0)):
    (a, b), (c, d) = start, end
    length = math.hypot(c - a, d - b)
    across = (shift * (b - d) / length, shift * (c - a) / length)
    tail, tip = (0.27 / length, 1 - 0.27 / length)
    points = [
        (a + t * (c - a) + across[0], b + t * (d - b) + across[1]) for t in (tail, tip)
    ]
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", points[1], points[0], arrowprops=style)
    if label:
        middle = ((a + c) / 2 + place[0], (b + d) / 2 + place[1])
        panel.text(*middle, label, color=color, fontsize=8, ha="center", va="center")


fig, panel = plt.subplots(figsize=(6.2, 3.4))
loss = (2.6, -1.55)
for d in range(1, 4):
    state, draw, later = (1.6 * d - 1.6, 1), (1.6 * d - 0.8, 0), (1.6 * d, 1)
    edges = ((state, draw), (draw, later), (state, later), (draw, loss))
    labels = (
        ("−w", (-0.2, -0.16)),
        ("−z/σ", (0.3, -0.16)),
        ("1", (0, 0.2)),
        ("", (0, 0)),
    )
    for (start, end), (label, place) in zip(edges, labels, strict=True):
        arrow(panel, start, end, BLUE, 0.05)
        arrow(panel, end, start, ORANGE, 0.05, label, place)
    place = draw[0] * 0.55 + loss[0] * 0.45 - (0.24, 0.24, 0.36)[d - 1], -0.75
    panel.text(*place, f"g{'₁₂₃'[d - 1]}", color=ORANGE, fontsize=8)
box = {"boxstyle": "round", "fc": "white", "ec": GREY}
for d in range(1, 5):
    name = f"c{'¹²³⁴'[d - 1]}"
    panel.text(1.6 * d - 1.6, 1, name, ha="center", va="center", bbox=box)
    if d < 4:
        circle = box | {"boxstyle": "circle"}
        draw = 1.6 * d - 0.8
        panel.text(draw, 0, f"x{'₁₂₃'[d - 1]}", ha="center", va="center", bbox=circle)
panel.text(*loss, "L(x)", ha="center", va="center", bbox=box)
panel.text(-0.35, -1.3, "forwards", color=BLUE)
panel.text(-0.35, -1.6, "backwards", color=ORANGE)
panel.set(
    xlim=(-0.4, 5.2), ylim=(-1.8, 1.4), title="A state of log weights meets every draw"
)
panel.axis("off")
plt.show()

# %% [markdown]
# The derivatives of the output layer are those of the lesson (MIX.4, MIX.5), with $\gamma^d$ for $\pi$; note that $\gamma^d_kN_{kd}/f_d$
# is $\gamma^{d+1}_k$:
#
# $$ \frac{\partial X_d}{\partial\mu_{kd}}=\gamma_k^{d+1}, \quad \frac{\partial X_d}{\partial\sigma_{kd}}=\gamma_k^{d+1}z_{kd}, \quad \frac{\partial X_d}{\partial c^d_k}=-w_{kd}, \quad w_{kd}=\frac{\gamma_k^d(\Phi_{kd}-F_d)}{f_d} \tag{MIX.16} $$
#
# A bar is the derivative of the loss for what is under it, with all that follows taken into account. The last state feeds nothing:
# $\bar c^{D+1}=0$. Then, for $d=D,\dots,1$: $x_d$ acts on the loss, and on the next state,
#
# $$ \bar x_d = g_d - \sum_k\bar c_k^{d+1}\,\frac{z_{kd}}{\sigma_{kd}} \tag{MIX.17} $$
#
# The state is added to the next one, and it moves $x_d$:
#
# $$ \bar c_k^{d} = \bar c_k^{d+1} - \bar x_d\,w_{kd}, \qquad \bar a_k=\bar c^1_k, \qquad \sum_k\bar c^d_k=0 \tag{MIX.18} $$
#
# (The logits get $\bar c^1$ itself. The softmax's normaliser would take off a multiple of $\sum_k\bar c^1_k$, which is zero because
# $\sum_kw_{kd}$ is.) Means and scales act on $x_d$ and on the next state, with $\partial\log N/\partial\mu=z/\sigma$ and
# $\partial\log N/\partial\sigma=(z^2-1)/\sigma$:
#
# $$ \bar\mu_{kd} = \bar x_d\,\gamma_k^{d+1}+\bar c_k^{d+1}\frac{z_{kd}}{\sigma_{kd}}, \qquad \bar\sigma_{kd} = \bar x_d\,\gamma_k^{d+1}z_{kd}+\bar c_k^{d+1}\frac{z_{kd}^2-1}{\sigma_{kd}} \tag{MIX.19} $$
#
# That is all. No inverse CDF, no uniform:


# %%
def backwards(g, x, a, mu, sigma):
    gamma, z, _, Phi, f, F = conditionals(x, a, mu, sigma)
    w = gamma[:, :-1] * (Phi - F) / f
    x_bar, c_bar = g.clone(), torch.zeros_like(a)
    mu_bar, sigma_bar = torch.zeros_like(mu), torch.zeros_like(mu)
    for d in reversed(range(len(x))):
        x_bar[d] = g[d] - (c_bar * z[:, d] / sigma[:, d]).sum()
        own = x_bar[d] * gamma[:, d + 1]
        mu_bar[:, d] = own + c_bar * z[:, d] / sigma[:, d]
        sigma_bar[:, d] = own * z[:, d] + c_bar * (z[:, d] ** 2 - 1) / sigma[:, d]
        c_bar = c_bar - x_bar[d] * w[:, d]
    return x_bar, c_bar, mu_bar, sigma_bar


# %%
slope = [torch.tensor([0.7, -1.2, 0.5, 0.9])[: len(case[0])] for case in CASES]
for g, (x, a, mu, sigma) in zip(slope, CASES, strict=True):
    free = [p.clone().requires_grad_() for p in (a, mu, sigma)]
    library = torch.autograd.grad(MixtureNormal(*free).reparameterize(x), free, g)
    _, a_bar, mu_bar, sigma_bar = backwards(g, x, a, mu, sigma)
    check("MIX.18", a_bar, library[0], f"{len(x)} coordinates, the library: logits")
    bars = torch.stack((mu_bar, sigma_bar))
    check("MIX.19", bars, torch.stack(library[1:]), "means and scales")

# %% [markdown]
# Unroll (MIX.18), $\bar c_k^{d+1}=-\sum_{i>d}\bar x_iw_{ki}$, and put it into (MIX.17). The recursion becomes an upper triangular system
# with ones on the diagonal:
#
# $$ (I-M)\,\bar x = g, \qquad M_{di}=\sum_k\frac{z_{kd}}{\sigma_{kd}}\,w_{ki}\;\text{ for }i>d,\quad\text{else }0 \tag{MIX.20} $$
#
# That is one matrix product and one triangular solve, $O(KD^2)$ and no loop. The recursion is cheaper for large $D$ and can saturate
# step by step (section 5).
#
# *The same under another name.* Collect $F=(F_1,\dots,F_D)$ and differentiate $F(x;\theta)=u$ as a whole:
#
# $$ \frac{dx}{d\theta} = -\Bigl(\frac{\partial F}{\partial x}\Bigr)^{-1}\frac{\partial F}{\partial\theta} \tag{MIX.21} $$
#
# This is *implicit reparameterisation* (Figurnov, Mohamed and Mnih, two years after Graves, and for many families). The Jacobian is
# lower triangular with $f_d$ on its diagonal; to solve the system from the first row to the last is (MIX.13). So it is the same
# gradient, draw by draw. And $\bar x_d=f_d\,dL/du_d$: push one uniform and let the later coordinates follow. That is how the next
# checks get $\bar x$ without any formula from above. Each of (MIX.16) to (MIX.19) is tried by itself: its right-hand side
# is fed with $\bar x$ and $\bar c$ from bisection.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.16) to (MIX.21): every bar by solving anew
def check_backwards(g, truth, x, a, mu, sigma):
    (K, D), L = mu.shape, sigma.diag_embed()
    gamma, z, N, Phi, f, F = conditionals(x, a, mu, sigma)
    states, w = states_of(a, N), gamma[:, :-1] * (Phi - F) / f

    def output(d):  # X_d alone: one coordinate, a mixture on the line
        u, inputs = F[d : d + 1], (states[:, d], mu[:, d], sigma[:, d])
        return differences(
            lambda c, m, s: walk(u, c, m[..., None], s[..., None, None])[:, 0], *inputs
        )

    alone = [
        torch.stack(column, 1) for column in zip(*map(output, range(D)), strict=True)
    ]
    text = f"{K} components, {D} dimensions"
    check("MIX.16", -w, alone[0], f"{text}: ∂X/∂c by bisection", rtol=1e-6)
    check("MIX.16", gamma[:, 1:], alone[1], "∂X/∂μ", rtol=1e-6)
    check("MIX.16", gamma[:, 1:] * z, alone[2], "∂X/∂σ", rtol=1e-6)

    def bar_of_state(d):
        later = differences(
            lambda c: walk(F[d:], c, mu[:, d:], L[:, d:, d:]), states[:, d]
        )
        return later[0] @ g[d:]

    X = f * (differences(lambda u: walk(u, a, mu, L), F)[0] @ g)  # x̄: push one uniform
    C = torch.stack([*map(bar_of_state, range(D)), torch.zeros(K)], 1)  # c̄¹ … c̄^(D+1)
    after = C[:, 1:]
    check("MIX.17", g - (after * z / sigma).sum(0), X, "x̄", rtol=1e-6)
    check("MIX.18", after - X * w, C[:, :-1], "c̄", rtol=1e-6)
    check("MIX.18", C[:, 0], g @ truth[0], "ā = c̄¹", rtol=1e-6)
    mu_bar = X * gamma[:, 1:] + after * z / sigma
    check("MIX.19", mu_bar.flatten(), g @ truth[1], "μ̄", rtol=1e-6)
    sigma_bar = X * gamma[:, 1:] * z + after * (z**2 - 1) / sigma
    check("MIX.19", sigma_bar.flatten(), g @ truth[2], "σ̄", rtol=1e-6)
    loop = backwards(g, x, a, mu, sigma)
    check("MIX.17", loop[0], X, "the loop: x̄", rtol=1e-6)
    check("MIX.18", loop[1], C[:, 0], "the loop: ā", rtol=1e-6)
    check("MIX.18", loop[1].sum(), 0.0, "its sum is zero", atol=1e-13)
    M = torch.zeros(D, D)
    for d in range(D):
        for i in range(d + 1, D):
            M[d, i] = (z[:, d] / sigma[:, d] * w[:, i]).sum()
    check("MIX.20", (torch.eye(D) - M) @ X, g, "the triangular system", rtol=1e-6)
    of_x = jacobian(lambda x: conditionals(x, a, mu, sigma)[-1], x)
    direct = jacobian(lambda *p: conditionals(x, *p)[-1], (a, mu, sigma))
    for part, right in zip(direct, truth, strict=True):
        implicit = -torch.linalg.inv(of_x) @ part.reshape(D, -1)
        check("MIX.21", implicit, right, "implicit = solving anew", rtol=1e-6)


for g, truth, case in zip(slope, truths, CASES, strict=True):
    check_backwards(g, truth, *case)

# %% [markdown]
# ## 4. Does a full covariance need an inverse?
#
# **No. If a component's covariance is $LL^\top$, its conditionals are a forward substitution, which the density needs anyway.**
#
# A reviewer of the paper feared a matrix inverse in each step. Let $\Sigma_k=L_kL_k^\top$ with lower-triangular $L_k$. A draw of
# component $k$ is $x=\mu_k+L_ke$ with independent standard normals $e$. Row $d$ says $x_d=m_{kd}+L_{k,dd}\,e_d$, where $m_{kd}$ needs
# only $e_1,\dots,e_{d-1}$, that is, $x_{<d}$. So given $x_{<d}$, component $k$ has a normal $x_d$ with mean $m_{kd}$ and standard
# deviation $L_{k,dd}$:
#
# $$ e_{kd} = \frac{x_d-m_{kd}}{L_{k,dd}}, \qquad m_{kd}=\mu_{kd}+\sum_{i<d}L_{k,di}\,e_{ki}, \qquad \Phi_{kd}=\Phi(e_{kd}) \tag{MIX.22} $$
#
# (MIX.12), (MIX.14) and (MIX.16) hold with $e$ for $z$ and $L_{k,dd}$ for $\sigma_{kd}$. One thing is new on the way back: $e_{ki}$ also
# feeds the means $m_{kd}$ of later coordinates. Let $\bar e$ collect that, starting from zero. At step $d$ first add what $e_{kd}$ does
# to the next state, $\partial\log N/\partial e=-e$, then use it:
#
# $$ \bar e_{kd}\mathrel{-}=\bar c^{d+1}_ke_{kd}, \quad \bar x_d=g_d+\sum_k\frac{\bar e_{kd}}{L_{k,dd}}, \quad \bar\mu_{kd}=\bar x_d\gamma^{d+1}_k-\frac{\bar e_{kd}}{L_{k,dd}} \tag{MIX.23} $$
#
# and pass on $\bar e_{ki}\mathrel{+}=\bar\mu_{kd}L_{k,di}$ for all $i<d$. The state follows (MIX.18). The factors: in
# $x_d=\mu_{kd}+\sum_{i\le d}L_{k,di}\,e_{ki}$ each stands beside its $e_{ki}$ as the mean stands beside 1, and on the diagonal the
# density's own factor $1/L_{k,dd}$ counts as well:
#
# $$ \bar L_{k,di}=\bar\mu_{kd}\,e_{ki}-[d=i]\,\frac{\bar c_k^{d+1}}{L_{k,dd}}, \qquad i\le d \tag{MIX.24} $$
#
# The first function is forward substitution, the second the recursion as displayed. Both take $O(KD^2)$ operations, about as many as
# the $L_k$ have numbers.


# %%
def substitute(x, a, mu, L):
    """e, γ and w: (MIX.22), then (MIX.12) and (MIX.16) with e for z."""
    e, w, gamma = torch.zeros_like(mu), torch.zeros_like(mu), [a.softmax(-1)]
    for d in range(len(x)):
        m = mu[:, d] + sum(L[:, d, i] * e[:, i] for i in range(d))
        e[:, d] = (x[d] - m) / L[:, d, d]
        N = torch.exp(-(e[:, d] ** 2) / 2) / (ROOT * L[:, d, d])
        f, Phi = gamma[d] @ N, ndtr(e[:, d])
        w[:, d] = gamma[d] * (Phi - gamma[d] @ Phi) / f
        gamma.append(gamma[d] * N / f)
    return e, torch.stack(gamma, -1), w


# %%
def backwards_full(g, x, a, mu, L):
    e, gamma, w = substitute(x, a, mu, L)
    c_bar, e_bar, x_bar = torch.zeros_like(a), torch.zeros_like(mu), g.clone()
    mu_bar, L_bar = torch.zeros_like(mu), torch.zeros_like(L)
    for d in reversed(range(len(x))):
        e_bar[:, d] -= c_bar * e[:, d]
        x_bar[d] = g[d] + (e_bar[:, d] / L[:, d, d]).sum()
        mu_bar[:, d] = x_bar[d] * gamma[:, d + 1] - e_bar[:, d] / L[:, d, d]
        for i in range(d):
            e_bar[:, i] += mu_bar[:, d] * L[:, d, i]
        for i in range(d + 1):
            L_bar[:, d, i] = mu_bar[:, d] * e[:, i] - (d == i) * c_bar / L[:, d, d]
        c_bar = c_bar - x_bar[d] * w[:, d]
    return x_bar, c_bar, mu_bar, L_bar


# %% [markdown]
# The checks compare (MIX.22) with the conditional mean and variance from blocks of the covariance, where there *is* an inverse, and
# the loop with solving every coordinate anew at moved means and factors, and with the library.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.22) to (MIX.24): blocks with an inverse, solving anew, the library
def by_blocks(x, mu, S):
    """Each coordinate standardised given those before it, and its CDF: with an inverse."""
    e, tails = torch.zeros_like(x), torch.zeros_like(x)
    for d in range(len(x)):
        back = S[d, :d] @ torch.linalg.inv(S[:d, :d])
        mean = mu[d] + back @ (x - mu)[:d]
        deviation = (S[d, d] - back @ S[:d, d]).sqrt()
        e[d] = (x[d] - mean) / deviation
        tails[d] = norm.cdf(float(x[d]), float(mean), float(deviation))
    return e, tails


def check_full(g, x, a, mu, sigma):
    K, D = mu.shape
    source = torch.Generator().manual_seed(K)
    L = 0.6 * torch.randn(K, D, D, generator=source).tril(-1) + sigma.diag_embed()
    e, gamma, _ = substitute(x, a, mu, L)
    blocks = [by_blocks(x, m, S) for m, S in zip(mu, L @ L.mT, strict=True)]
    conditional, tails = (torch.stack(part) for part in zip(*blocks, strict=True))
    text = f"{K} components, {D} dimensions"
    check("MIX.22", e, conditional, f"{text}: e by blocks of the covariance")
    check("MIX.22", ndtr(e), tails, "Φ(e): the conditional CDF")

    lower = torch.tril_indices(D, D)
    T = lower.shape[1]
    place = torch.zeros(T, D, D)
    place[torch.arange(T), *lower] = 1  # from entries to a matrix

    def solve(u, a, mu, t):
        return walk(u, a, mu, (t[..., None, None] * place).sum(-3))

    u, entries = (gamma[:, :-1] * ndtr(e)).sum(0), L[:, *lower]
    check("MIX.22", solve(u, a, mu, entries), x, "u = Σ γ Φ(e) leads back to x")
    anew = [part @ g for part in differences(solve, u, a, mu, entries)]
    x_bar, c_bar, mu_bar, L_bar = backwards_full(g, x, a, mu, L)
    N = torch.exp(-(e**2) / 2) / (ROOT * L.diagonal(dim1=1, dim2=2))
    f = (gamma[:, :-1] * N).sum(0)
    check("MIX.23", x_bar, f * anew[0], "x̄ by pushing one uniform", rtol=1e-6)
    check("MIX.23", mu_bar.flatten(), anew[2], "μ̄ = solving anew", rtol=1e-6)
    check("MIX.24", L_bar[:, *lower].flatten(), anew[3], "L̄ = solving anew", rtol=1e-6)
    check("MIX.18", c_bar, anew[1], "ā = solving anew", rtol=1e-6)
    free = [p.clone().requires_grad_() for p in (a, mu, L)]
    moved = MixtureMultivariateNormal(*free).reparameterize(x)
    library = torch.autograd.grad(moved, free, g)
    check("MIX.23", mu_bar, library[1], "μ̄ = the library's")
    check("MIX.24", L_bar, library[2], "L̄ = the library's")


for g, case in zip(slope, CASES, strict=True):
    check_full(g, *case)

# %% [markdown]
# ## 5. What happens in floating point?
#
# **Compute $w$ in the smaller tail with Mills' ratio, and it is right hundreds of standard deviations out. For diagonal covariances it
# is bounded, and every moment of the gradient is finite if the cost's slope grows like a polynomial. For full covariances the variance
# can be infinite.**
#
# Far out $f$, $F$ and all $N_k$ underflow, in float64 from 38 standard deviations on, and $w=\gamma_k(\Phi_k-F)/f$ is $0/0$. To the
# right of the components it fails much earlier, because $\Phi_k-F$ subtracts two numbers that are nearly one. (On the left you need a
# $\Phi$ that is right in its tail, such as SciPy's `norm.cdf`; PyTorch's `ndtr` of $-9$ is zero.) As code, the definition is an erratum:
#
# $$ w = \pi\,(\Phi-F)/f \quad\text{in floating point} \tag{MIX.E7} $$
#
# Two moves cure both. Subtract in the other tail, $\Phi_k-F=(1-F)-(1-\Phi_k)$, whenever $F>\frac12$. And divide before anything
# underflows: with Mills' ratio $R(z)=(1-\Phi(z))/\varphi(z)$ and $\gamma^d_k/f_d=\gamma^{d+1}_k/N_{kd}$,
#
# $$ w_{kd} = \gamma_k^d\,\frac{1-F_d}{f_d}-\gamma_k^{d+1}\sigma_{kd}R(z_{kd}), \qquad \frac{1-F_d}{f_d}=\sum_j\gamma_j^{d+1}\sigma_{jd}R(z_{jd}) \tag{MIX.25} $$
#
# (On the left mirror the line: $F_d$ for $1-F_d$, $-z$ for $z$ and the opposite sign.) For $z>0$ $R$ falls from $\sqrt{\pi/2}$ to about
# $1/z$, and a softmax of log densities does not overflow; small entries may underflow, the largest does not. One case is left, a component
# on the other side of $x$. There $R(z_k)$ may overflow, but $1-\Phi_k$ is not small, and you divide it by $f$ as it stands.


# %%
def mills(z):
    return math.sqrt(math.pi / 2) * torch.special.erfcx(z / math.sqrt(2))


def right_w(x, a, mu, sigma):
    """(MIX.25) for one coordinate, points x (n,) to the right."""
    z = (x[:, None] - mu) / sigma
    later = (a.log_softmax(-1) - z**2 / 2 - sigma.log()).softmax(-1)
    tail = (later * sigma * mills(z)).sum(-1, keepdim=True)  # (1 − F) / f
    return a.softmax(-1) * tail - later * sigma * mills(z)


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Relative error of w against x from minus 45 to 45: the definition in float64 keeps its digits on the left but loses all between 3 and 10 on the right; the library stays near 1e-7 in float32 and below 1e-12 in float64 everywhere."}} tags=["hide-input"]
# @title Checks of (MIX.25) with 60 digits, a refutation, and how many digits are right
def library_w(x, a, mu, sigma):
    """w of every point by the library, (n, K)."""
    free, *rest = each_point(x, a, mu[:, None], sigma[:, None])
    moved = MixtureNormal(free, *rest, validate_args=False).reparameterize(x[:, None])
    return -torch.autograd.grad(moved.sum(), free)[0]


def with_60_digits(x):
    """The definition in the smaller tail; exponents have no limit."""
    with mp.workdps(60):
        weights = [mp.exp(v) for v in a3.tolist()]
        parts = list(zip(mu3.tolist(), sigma3.tolist(), strict=True))
        z = [(mp.mpf(x) - m) / s for m, s in parts]
        pi = [v / mp.fsum(weights) for v in weights]
        f = mp.fsum(
            p * mp.npdf(v) / s for p, v, (_, s) in zip(pi, z, parts, strict=True)
        )
        sign = -1 if x > 0 else 1
        tails = [mp.ncdf(sign * v) for v in z]
        tail = mp.fsum(p * t for p, t in zip(pi, tails, strict=True))
        return [
            float(sign * p * (t - tail) / f) for p, t in zip(pi, tails, strict=True)
        ]


for side, points in ((1, [2.5, 9.0, 25.0, 250.0]), (-1, [-1.5, -9.0, -30.0, -250.0])):
    x, exact = torch.tensor(points), torch.tensor([with_60_digits(x) for x in points])
    ours = side * right_w(side * x, a3, side * mu3, sigma3)
    name = "right" if side > 0 else "left"
    check("MIX.25", ours, exact, f"{name}, out to 250, 60 digits", rtol=1e-8)
    library = library_w(x, a3, mu3, sigma3)
    check("MIX.25", library, exact, "the library", rtol=1e-8)
    single = library_w(*(p.float() for p in (x, a3, mu3, sigma3)))
    check("MIX.25", single, exact.float(), "the library in float32", rtol=1e-3)

x = torch.linspace(-45, 45, 121)
exact = torch.tensor([with_60_digits(v) for v in x.tolist()])


def as_defined(x):  # with SciPy's CDF, right in the left tail
    pi, z, _, _, f, _ = on_line(x, a3, mu3, sigma3)
    Phi = torch.from_numpy(norm.cdf(z))
    return pi * (Phi - (pi * Phi).sum(-1, True)) / f


ways = {
    "definition, float64": (as_defined(x), YELLOW),
    "library, float32": (library_w(*(p.float() for p in (x, a3, mu3, sigma3))), PINK),
    "library, float64": (library_w(x, a3, mu3, sigma3), BLUE),
}
fig, panel = plt.subplots()
for name, (w, color) in ways.items():
    error = (w.double() - exact).abs().amax(-1) / exact.abs().amax(-1)
    error = error.nan_to_num(1.0, 1.0).clamp(1e-17, 1.0)
    panel.semilogy(x, error, color=color, label=name)
panel.set(xlabel="x", ylabel="relative error", ylim=(1e-18, 1e4))
panel.set_title("As defined, no digit is left from 10 on")
panel.legend(fontsize=8, loc="upper center")
plt.show()
print("torch's ndtr of −9:", float(ndtr(torch.tensor(-9.0))))
near, at_9 = (x > -3) & (x < 2), torch.tensor([9.0])
check("MIX.5", as_defined(x[near]), exact[near], "near the components it is right")
exact = torch.tensor([with_60_digits(9.0)])
check("MIX.25", library_w(at_9, a3, mu3, sigma3), exact, "the library at 9", rtol=1e-8)
refute("MIX.E7", as_defined(at_9), exact, "seven units to the right of the last mean")

# %% [markdown]
# *How large can $w$ be?*
#
# $$ |w_{kd}| \le \frac{F_d\,(1-F_d)}{f_d} \tag{MIX.26} $$
#
# *Proof.* Draw a component and a $t$ from the conditional of coordinate $d$. Let $A$ be the event that the component is $k$, and $B$ that
# $t\le x_d$. Then $\mathrm P(A)=\gamma_k$, $\mathrm P(B)=F$ and $\mathrm P(AB)=\gamma_k\Phi_k$. Split $A$ by $B$ and its complement $B'$,
# $\mathrm P(A)=\mathrm P(AB)+\mathrm P(AB')$:
#
# $$ \gamma_k(\Phi_k-F) = \mathrm P(AB)-\mathrm P(A)\,\mathrm P(B) = \mathrm P(AB)\,\mathrm P(B')-\mathrm P(AB')\,\mathrm P(B) $$
#
# Since $\mathrm P(AB)\le\mathrm P(B)$ and $\mathrm P(AB')\le\mathrm P(B')$, each product lies between 0 and
# $\mathrm P(B)\,\mathrm P(B')=F(1-F)$. So the difference is no larger. $\blacksquare$
#
# Take the interval from the first to the last mean in coordinate $d$, and the smallest density of any component there. Then
#
# $$ |w_{kd}|\le C \quad\text{for all } x \text{ and all weights}, \qquad C=\frac1{2\min N} \tag{MIX.27} $$
#
# *Proof.* $F_d(1-F_d)\le\min(F_d,1-F_d)\le\frac12$, and on the interval $f_d$, a weighted mean of the $N_{kd}$, is at least their minimum.
# To the left of all means every $-z$ is positive, and the bound of (MIX.26) is at most
# $F_d/f_d=\sum_k\gamma^{d+1}_k\sigma_{kd}R(-z_{kd})\le\sigma_{\max}\sqrt{\pi/2}$, and on the right likewise. That is no more than $C$: the
# widest component has $N\le1/(\sigma_{\max}\sqrt{2\pi})$ everywhere, hence $C\ge\frac12\sigma_{\max}\sqrt{2\pi}=\sigma_{\max}\sqrt{\pi/2}$.
# $\blacksquare$
#
# Both are sharp, but not everywhere. (MIX.26) is reached in a gap, and a faint component with a tail of its own comes close.
# (MIX.27) is approached where means coincide, by a faint wide component around a narrow one. Between separated means its
# $\frac12$ is not reached, since $F_d(1-F_d)\le\frac14$.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.26) and (MIX.27)
def constant(mu, sigma):  # (MIX.27): a normal density is smallest at an end
    ends = torch.stack((mu.min(), mu.max()))[:, None]
    N = torch.exp(-(((ends - mu) / sigma) ** 2) / 2) / (ROOT * sigma)
    return 1 / (2 * N.min())


def bound(left, right):  # (MIX.26) from F / f and (1 − F) / f, whose sum is 1 / f
    return left * right / (left + right)


source, x = torch.Generator().manual_seed(0), torch.linspace(-9, 9, 361)
share, closest = [], {"left": [], "right": []}
for _ in range(60):
    a, mu = 3 * torch.randn(4, generator=source), torch.randn(4, generator=source)
    sigma = 0.3 + torch.rand(4, generator=source)
    largest = library_w(x, a, mu, sigma).abs().amax(-1)
    share.append(largest.max() / constant(mu, sigma))
    z, log_pi = (x[:, None] - mu) / sigma, a.log_softmax(-1)
    log_f = (log_pi - z**2 / 2 - sigma.log()).logsumexp(-1) - math.log(ROOT)
    logs = [(log_pi + torch.special.log_ndtr(s * z)).logsumexp(-1) for s in (1, -1)]
    F, G = (torch.exp(log - log_f) for log in logs)  # F / f and (1 − F) / f
    ratio = largest / bound(F, G)
    closest["left"].append(ratio[F < G].max())
    closest["right"].append(ratio[F > G].max())
for name, ratios in closest.items():
    within = bool((torch.stack(ratios) <= 1 + 1e-9).all())
    check("MIX.26", within, True, f"{name} of the median: within the bound")
    check("MIX.26", max(ratios), 1.0, "and within a percent of it", rtol=1e-2)
pair = torch.zeros(2), torch.tensor([-4.0, 4.0]), torch.ones(2)
*_, f, F = on_line(torch.zeros(1), *pair)
middle = float(library_w(torch.zeros(1), *pair)[0, 0].abs())
check("MIX.26", bound(F / f, (1 - F) / f), F * (1 - F) / f, "as displayed")
check("MIX.26", middle, float(F * (1 - F) / f), "in a gap: equality", rtol=1e-3)
check("MIX.27", max(share) <= 1, True, "60 mixtures: within the constant")
for mu, sigma in (([-1.0, 1.5], [0.4, 1.1]), ([-1.5, 0.2, 1.0], [1.1, 0.9, 0.4])):
    between = np.linspace(mu[0], mu[-1], 1001)[:, None]
    C, ours = (
        1 / (2 * norm.pdf(between, mu, sigma).min()),
        map(torch.tensor, (mu, sigma)),
    )
    check("MIX.27", constant(*ours), C, "the lowest density between the means")
tight = []
for width in (0.3, 0.03, 0.003):
    wide, mu = torch.tensor([-2 - math.log(1 / width), 0.0]), torch.zeros(2)
    x, sigma = torch.linspace(-1, 1, 8001), torch.tensor([1.7, width])
    tight.append(library_w(x, wide, mu, sigma).abs().max() / constant(mu, sigma))
print("a faint wide component: share of C", [f"{float(t):.3f}" for t in tight])
check("MIX.27", tight[-1], 1.0, "and within two percent of it", rtol=2e-2)
check("MIX.27", tight[-1] <= 1, True, "but never above")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels. Left, components at plus and minus 2: the absolute value of w peaks at 4.42 in the gap, its bound just above at 4.63, and the constant bound lies far above at 3,700. Right, the second moment of w for leaning components, integrated over a growing range of the first coordinate: for b = 0.7 it settles at 0.15, for b = 1.3 it grows past ten million."}} tags=["hide-input"]
# @title Figure: bounds, and moments that end or do not
fig, (left, right) = figures.panels(2)
x, m = torch.linspace(-6, 6, 241), 2.0
pair = torch.zeros(2), torch.tensor([-m, m]), torch.ones(2)
*_, Phi, f, F = on_line(x, *pair)
left.semilogy(x, library_w(x, *pair)[:, 0].abs(), color=BLUE, label="|w|")
left.semilogy(x, F * (1 - F) / f, color=ORANGE, label="(MIX.26)")
left.axhline(constant(*pair[1:]), color="black", ls=":", label="C (MIX.27)")
C = ROOT / 2 * math.exp(2 * m * m)
check("MIX.27", constant(*pair[1:]), C, "means at ±m: C = √(2π)/2 · e^(2m²)")
left.set(xlabel="x", ylim=(1e-2, 1e5), title="Means at ±2: bounded")
left.legend(fontsize=8)
points = torch.cartesian_prod(torch.linspace(-8, 8, 161), torch.linspace(-22, 22, 221))
reach, level = torch.arange(1.0, 8.1, 0.5), (torch.zeros(2), torch.zeros(2, 2))
for lean, color in ((0.7, BLUE), (1.3, YELLOW)):
    L = torch.tensor([[[1.0, 0], [lean, 1.0]], [[1.0, 0], [-lean, 1.0]]])
    free = each_point(points, *level, L)
    leaning = MixtureMultivariateNormal(*free, validate_args=False)
    (w,) = torch.autograd.grad(leaning.reparameterize(points)[:, 1].sum(), free[0])
    squares = leaning.log_prob(points).exp().detach() * w[:, 0] ** 2 * 0.1 * 0.2
    curve = [float(squares[points[:, 0].abs() < r + 0.01].sum()) for r in reach]
    right.semilogy(reach, curve, "o-", color=color, ms=3, label=f"b = {lean}")
    print(f"b = {lean}: E w² to 4, 6, 8:", [f"{curve[i]:.3g}" for i in (6, 10, 14)])
    e = [points[:, 1] - s * lean * points[:, 0] for s in (1, -1)]  # (MIX.22)
    phi = [torch.exp(-(v**2) / 2) / ROOT for v in e]
    by_hand = (ndtr(e[0]) - ndtr(e[1])) ** 2 / (8 * (phi[0] + phi[1]))
    by_hand = by_hand * torch.exp(-(points[:, 0] ** 2) / 2) / ROOT * 0.1 * 0.2
    check("MIX.22", curve[-1], float(by_hand.sum()), "E w² by hand", rtol=1e-6)
right.set(xlabel="integrated over |x₁| up to", title="Leaning: E w² may be infinite")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# *What follows for diagonal covariances.* The recursion (MIX.17) to (MIX.19) multiplies what it carries by at most $D$ factors, each at
# most $1+C\sum_k|z_{kd}|/\sigma_{kd}$. So the gradient is at most $|g|$ times a polynomial in $|x|$, and a mixture of normals has all
# moments: **every moment of the gradient is finite if the slope of $L$ grows like a polynomial.** The constant can be chosen for all
# parameters near those in question, and $|x_d|\le\max_k|\mu_{kd}|+\max_k\sigma_{kd}\,|\Phi^{-1}(u_d)|$, since the quantile of a mixture
# lies between those of its components. So the slopes are dominated by something with a mean, which is what (MIX.3) needs: for diagonal
# covariances and such costs the Leibniz gradient is unbiased. It is weak comfort. For two components at $\pm m$ the constant is
# $\frac12\sqrt{2\pi}\,e^{2m^2}$, and even in the middle $w$ grows like $e^{m^2/2}$.
#
# *Full covariances* are another matter. There the means of the conditionals depend on $x_{<d}$, and a gap can be as wide as you like.
# Take two equal components that lean to different sides: $x_1$ is standard normal, $x_2=\pm b\,x_1$ plus standard normal noise. Given
# $x_1$, the second coordinate is the pair of the lesson with $m=b\,|x_1|$, and $w^2$ has a mean of about $e^{b^2x_1^2/2}$ (MIX.7).
# Averaged over $x_1$ that is finite for $b<1$ only; in the right panel the second moment settles, or grows without end. The first
# moment is finite, since $|w|\,f\le F(1-F)$ has an integral. That the gradient is unbiased we have *proved* for diagonal
# covariances and costs whose slope grows like a polynomial; for leaning components a grid has to do:

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: leaning components, and saturation between far ones
wide, area = plane(10.0, 0.2)
for lean in (0.7, 1.3):
    L = torch.tensor([[[1.0, 0], [lean, 1.0]], [[1.0, 0], [-lean, 1.0]]])
    free = each_point(wide, torch.zeros(2), torch.zeros(2, 2), L)
    leaning = MixtureMultivariateNormal(*free, validate_args=False)
    (g,) = torch.autograd.grad(cosine(leaning.reparameterize(wide)).sum(), free[0])
    f = leaning.log_prob(wide).exp().detach()[:, None]
    spread = torch.tensor([(1 + lean) ** 2 + 1, (1 - lean) ** 2 + 1])
    by_component = torch.exp(-spread / 2) * math.cos(0.3)
    exact = (by_component - by_component.mean()) / 2
    found = (f * g).sum(0) * area
    check("MIX.3", found, exact, f"full covariances, b = {lean}, on a grid", rtol=1e-5)

for dtype, half in ((torch.float32, 30.0), (torch.float64, 80.0)):
    logits = torch.zeros(2, dtype=dtype, requires_grad=True)
    loc = torch.tensor([[-half] * 3, [half] * 3], dtype=dtype, requires_grad=True)
    mixture = MixtureNormal(logits, loc, torch.ones(2, 3, dtype=dtype))
    moved = mixture.reparameterize(torch.zeros(3, dtype=dtype))
    found = torch.autograd.grad(moved.sum(), (logits, loc))
    finite = all(bool(part.isfinite().all()) for part in found)
    check("MIX.25", finite, True, f"{dtype}, in a gap of ±{half:g}: finite")

# %% [markdown]
# In the gap between far components the true $w$ is about $1/f$, larger than any floating-point number. There the library saturates at
# a large finite number; it never returns NaN. Nobody draws such points. But then nobody draws NaNs either, until it happens in hour
# nine of a training run.

# %% [markdown]
# ## 6. Is it the reparameterisation trick?
#
# **In one dimension, and for the last coordinate of any number, means and scales get exactly the conditional expectation of the
# trick: its mean, never more variance. For earlier coordinates they do not, and nothing bounds their variance by the trick's.**
#
# The trick picks a component $\kappa$ and sets $x=\mu_\kappa+\sigma_\kappa\varepsilon$; its gradient for $\mu_{kd}$ is $[\kappa=k]\,g_d$.
# Forget which component was drawn, keep $x$, and take the expectation: $\gamma_k^{D+1}g_d$ (MIX.10). The mean stays, and the variance
# of any $Y$ splits into two parts, one of which goes:
#
# $$ \operatorname{Var}Y = \operatorname{Var}\,\mathrm E[Y\mid x]+\mathrm E\operatorname{Var}[Y\mid x] \;\ge\; \operatorname{Var}\,\mathrm E[Y\mid x] \tag{MIX.28} $$
#
# That is the law of total variance, and the step has the names of Rao and Blackwell. Is the Leibniz gradient this expectation? It is
# tempting to say so:
#
# $$ \bar\mu_{kd} = \gamma_k^{D+1}\,g_d \quad\text{for every draw and every } d \tag{MIX.E3} $$
#
# For $d=D$ (MIX.19) is just that: $\bar c^{D+1}=0$ and $\bar x_D=g_D$. For $d<D$ it has $\gamma^{d+1}$, the responsibility given the first
# $d$ coordinates, and the term with $\bar c$ that accounts for what moving $x_d$ does to later ones. It is unbiased still (section 5), and
# no conditional expectation any more. Three variances for one cost, $\cos(x_1+x_2+0.3)$, and components that the second coordinate
# separates:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Variances of three gradients for eight parameters. For means and scales of the second, last coordinate Leibniz and given x coincide, both below the trick. For those of the first coordinate Leibniz is the largest, by up to two and a half times."}} tags=["hide-input"]
# @title Checks of (MIX.28) on a grid, a refutation, and the three variances
a, mu, sigma = tilted
gamma, z, N, _, f, _ = conditionals(grid, *tilted)
push = -torch.sin(grid.sum(-1) + 0.3)[:, None, None]
by_component = (a.softmax(-1) * N.prod(-1))[..., None] * cell  # of the drawn component
mass, after = f.prod(-1)[:, None, None] * cell, gamma[..., -1:]
exact = jacobian(expected_cosine, tilted)[1:]
rows = {"the trick": [], "given x": [], "Leibniz": []}
ours = [g.unflatten(1, (2, 2)) for g in leibniz(grid, tilted, cosine)[1:]]
for name, each, leib, right in zip(
    ("means", "scales"), (torch.ones_like(z), z), ours, exact, strict=True
):
    Y = push * each  # the trick's gradient for the component that was drawn, else 0
    mean = (by_component * Y).sum(0)
    check("MIX.10", mean, right, f"{name}: the trick is unbiased", rtol=1e-7)
    check("MIX.3", (mass * leib).sum(0), right, "so is the Leibniz gradient", rtol=1e-7)
    total = (by_component * Y**2).sum(0) - mean**2
    between = (mass * (after * Y) ** 2).sum(0) - (mass * after * Y).sum(0) ** 2
    within = (mass * (after * Y**2 - (after * Y) ** 2)).sum(0)
    split = between + within
    check("MIX.28", total, split, f"{name}: the variance is its two parts")
    last = (after * Y)[..., 1]
    check("MIX.19", leib[..., 1], last, "last coordinate: the same", atol=1e-12)
    first = (after * Y)[..., 0]
    refute("MIX.E3", leib[..., 0], first, "first coordinate: another gradient")
    spread = (mass * leib**2).sum(0) - right**2
    for row, value in zip(rows.values(), (total, between, spread), strict=True):
        row += value.flatten().tolist()

one = torch.linspace(-4, 4, 9)
_, z, _, _, _, _ = on_line(one, a3, mu3, sigma3)
free = each_point(one, mu3[:, None], sigma3[:, None])
moved = MixtureNormal(a3, *free).reparameterize(one[:, None])
alone = torch.autograd.grad((torch.sin(one) * moved[:, 0]).sum(), free)
given = MixtureNormal(a3, mu3[:, None], sigma3[:, None]).responsibilities(one[:, None])
given = given * torch.sin(one)[:, None]
check("MIX.10", alone[0][..., 0], given, "one dimension: means, draw by draw")
check("MIX.10", alone[1][..., 0], given * z, "and scales")

fig, panel = plt.subplots()
looks = {"the trick": ("s", GREY), "given x": ("o", GREEN), "Leibniz": ("X", BLUE)}
for shift, (name, (marker, color)) in zip((-0.2, 0, 0.2), looks.items(), strict=True):
    panel.plot(np.arange(8) + shift, rows[name], marker, color=color, label=name)
panel.set_xticks(range(8), names[2:])
panel.set(
    ylabel="variance",
    ylim=(0, 0.85),
    title="Last coordinate alike, first coordinate not",
)
panel.legend(fontsize=8)
plt.show()
for k, name in enumerate(names[2:]):
    print(name, {way: round(row[k], 3) for way, row in rows.items()})

# %% [markdown]
# ## 7. Is the field unique?
#
# **On the line it is. In the plane you can add any field that circulates. The order of the coordinates is one such choice: it changes
# the variance for means nineteenfold with one cost, and that for logits two hundredfold with another.**
#
# Think of the draws as a fluid with density $f$ and velocity $v=dx/d\theta$. What flows out of a small region is missing in it:
#
# $$ \frac{\partial f}{\partial\theta}+\nabla\cdot(f\,v) = 0 \tag{MIX.29} $$
#
# *Why.* For a smooth $L$ that vanishes far out, $\mathrm E\,L$ has the derivative $\int L\,\partial f/\partial\theta$. Since $v$ is
# unbiased (section 5) it is also $\int f\,v\cdot\nabla L=-\int L\,\nabla\cdot(fv)$, by parts. Two functions with the same integrals against
# all such $L$ are equal. Read backwards, the lines say that *every* $v$ with (MIX.29) is unbiased, if $f\,v$ times the cost goes to zero
# far out faster than the surface of a sphere grows. On the line $fv$ is determined up to a constant, which is zero since nothing comes in
# from infinity. In the plane you can add any $h$ with $\nabla\cdot(fh)=0$. Take a smooth $\psi$ that dies out and turn its gradient by a
# right angle:
#
# $$ h = \frac1f\Bigl(\frac{\partial\psi}{\partial x_2},\,-\frac{\partial\psi}{\partial x_1}\Bigr) \quad\Rightarrow\quad \mathrm E\bigl[h\cdot\nabla L\bigr]=0 \tag{MIX.30} $$
#
# Such $h$ can serve as control variates, additions of mean zero that may lower a variance (Jankowiak and Karaletsos 2018). The Leibniz
# field depends on the order of the coordinates. Both orders satisfy (MIX.29), so their difference is such an $h$:


# %%
def velocity(points, parameters, order=(0, 1)):
    """dx/da₁ with the coordinates taken in this order, (points, 2)."""
    order = list(order)
    a, mu, sigma = parameters
    rows = []
    for d in range(2):
        turned = each_point(points, a, mu[:, order], sigma[:, order])
        moved = MixtureNormal(*turned, validate_args=False).reparameterize(
            points[:, order]
        )
        slope = torch.autograd.grad(moved[:, order.index(d)].sum(), turned[0])[0]
        rows.append(slope[:, 0])
    return torch.stack(rows, -1)


def density_at(points, parameters):
    return MixtureNormal(*parameters, validate_args=False).log_prob(points).exp()


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.29) and (MIX.30)
def divergence(field, points, h=1e-2):
    """By central differences of fourth order."""
    total = 0
    for d in range(2):
        step = h * torch.eye(2)[d]
        values = [field(points + k * step)[:, d] for k in (-2, -1, 1, 2)]
        total = total + (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (
            12 * h
        )
    return total


def turned_gradient(psi, points):
    """(∂ψ/∂x₂, −∂ψ/∂x₁)."""
    x = points.clone().requires_grad_()
    (steep,) = torch.autograd.grad(psi(x).sum(), x)
    return torch.stack((steep[:, 1], -steep[:, 0]), -1)


def psi(x):
    return torch.exp(-x.square().sum(-1) / 2) * (1 + 0.4 * x[:, 0] + 0.2 * x[:, 1] ** 2)


some = 1.5 * torch.randn(100, 2, generator=torch.Generator().manual_seed(3))
free = each_point(some, *tilted)
(growth, _, _) = torch.autograd.grad(density_at(some, free).sum(), free)
for order in ((0, 1), (1, 0)):

    def flux(p, order=order):
        return density_at(p, tilted)[:, None] * velocity(p, tilted, order)

    flow = divergence(flux, some)
    check("MIX.29", growth[:, 0], -flow, f"order {order}: loss = outflow", rtol=1e-5)

steep = torch.stack((-torch.sin(grid[:, 0] + 2 * grid[:, 1] + 0.3),) * 2, -1)
steep = steep * torch.tensor([1.0, 2.0])  # ∇L of L = cos(x₁ + 2 x₂ + 0.3)
f = density_at(grid, tilted)[:, None]
h = turned_gradient(psi, grid) / f
both = [velocity(grid, tilted, order) for order in ((0, 1), (1, 0))]
for name, field in (("turned ψ", h), ("difference of the orders", both[0] - both[1])):
    pushed = (f * field * steep).sum(-1) * cell
    share = pushed.sum() / pushed.abs().sum()
    check("MIX.30", share, 0.0, f"{name}: E[h·∇L] = 0", atol=1e-8)
    check("MIX.30", bool(pushed.abs().sum() > 1e-2), True, "and h·∇L is not")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Three panels of arrows over the density of two components, one above the other. With the first coordinate first all arrows point up; with the second first those between the components slant to the left. Their difference forms two loops around a stream through the gap."}} tags=["hide-input"]
# @title Figure: two fields and their difference
coarse = torch.cartesian_prod(*[torch.linspace(-3.2, 3.2, 15)] * 2)
contour = torch.cartesian_prod(*[torch.linspace(-3.6, 3.6, 61)] * 2)
level = density_at(contour, tilted).view(61, 61).T
fields = [velocity(coarse, tilted, order) for order in ((0, 1), (1, 0))]
fields.append(fields[0] - fields[1])
titles = ("x₁ first", "x₂ first", "their difference")
fig, row = figures.panels(3, columns=3, sharey=True)
for panel, v, title in zip(row, fields, titles, strict=True):
    v = v / v.norm(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
    panel.contourf(*[np.linspace(-3.6, 3.6, 61)] * 2, level, 8, cmap="Greys", alpha=0.6)
    color = ORANGE if title.startswith("their") else BLUE
    panel.quiver(*coarse.T, *v.T, color=color, scale=22, width=0.006)
    panel.set(xlabel="x₁", title=title)
row[0].set_ylabel("x₂")
fig.suptitle("Two fields for the same logit; their difference circulates")
plt.show()

# %% [markdown]
# (Arrows are as long as the root of the speed.) Which order is better? Let two components lie at $\pm m$ along one coordinate and overlap
# along the other, and compare two costs: $\cos(x_1+x_2+0.3)$, and a cosine of the coordinate without the gap.


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of variances against the half-distance m, 0.5 to 3, on a logarithmic axis. Left, a cost of both coordinates: for means, gap first stays below 1 and gap last rises to 18; for logits 8 and 17. Right, a cost of the coordinate without gap: gap last stays flat, gap first rises for logits from 0.02 to 4."}} tags=["hide-input"]
# @title Figure: what the order does to the variance
def order_variance(gap, order, cost):
    """Variances for logits and means, summed over entries."""
    mu = torch.tensor([[-gap, 0.3], [gap, -0.3]])[:, order]
    parameters = torch.zeros(2), mu, torch.ones(2, 2)
    f = density_at(grid, parameters)[:, None] * cell
    found = leibniz(grid, parameters, cost)[:2]
    return [float(((f * g**2).sum(0) - (f * g).sum(0) ** 2).sum()) for g in found]


ORDERS = {"gap first": ([0, 1], BLUE), "gap last": ([1, 0], ORANGE)}
gaps = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
fig, row = figures.panels(2, sharey=True)
for panel, title in zip(
    row, ("Cost of both: gap first", "Cost of the other: gap last"), strict=True
):
    at_3 = []
    for name, (order, color) in ORDERS.items():
        cost = (
            cosine
            if panel is row[0]
            else lambda x, o=order: torch.cos(x[:, o.index(1)])
        )
        found = [order_variance(gap, order, cost) for gap in gaps]
        logits, means = zip(*found, strict=True)
        at_3.append(found[-1])
        panel.semilogy(gaps, means, "o-", ms=3, color=color, label=f"means, {name}")
        panel.semilogy(gaps, logits, "s--", ms=3, color=color, label=f"logits, {name}")
        print(f"{title}; {name}, m = 3: logits {logits[-1]:.3g}, means {means[-1]:.3g}")
    ratio = [first / last for first, last in zip(*at_3, strict=True)]
    print(f"gap first over gap last: logits {ratio[0]:.3g}, means {ratio[1]:.2g}")
    panel.set(xlabel="m", title=title)
row[0].set_ylabel("variance")
row[0].legend(fontsize=7)
plt.show()

# %% [markdown]
# With the first cost the gap should come first: at $m=3$ the other order has 19 times the variance for means and twice that for logits. The
# reason is in (MIX.17): once a coordinate has told which component $x$ is from, the later conditionals have one component left, their $w$
# is zero, and nothing is carried. With the gap last, a mean that moves $x_1$ shifts the weights for $x_2$ a little, and that little must be
# carried through the gap. The second cost is flat along the gap. With the gap first, $x_1$ is still carried through it, and the weights for
# $x_2$ swing with it. With the gap last nothing that matters is carried, and the variance for logits is 207 times smaller. Here, then, the
# coordinate that tells components apart comes first if the cost depends on it, last if it does not.
#
# *Paths in the plane.* Forty draws start at $a_2=-3$, where nearly all belong to the left component. Then $a_2$ rises, the uniforms stay,
# and each dot is solved for anew. With the horizontal coordinate first a draw keeps its height until it comes to the gap, and sinks
# there. With the vertical one first it sinks from the start. Both clouds are right at every moment; the paths differ.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: paths in the plane
starts = torch.randn(40, 2, generator=torch.Generator().manual_seed(5))
rising = torch.linspace(-3, 3, 31)
FIRST = {"horizontal": [0, 1], "vertical": [1, 0]}


def paths(m, order):
    """Draws with fixed uniforms as the right component's logit rises: (31, draws, 2)."""
    mu = torch.tensor([[-m, 0.5], [m, -0.5]])
    is_right = torch.arange(40) < round(40 * float(torch.sigmoid(rising[0])))
    x = starts + torch.where(is_right[:, None], mu[1], mu[0])
    a = torch.stack((torch.zeros(31), rising), -1)
    u = conditionals(x[:, order], a[0].expand(40, 2), mu[:, order], torch.ones(2, 2))[
        -1
    ]
    found = walk(
        u, a[:, None].expand(31, 40, 2), mu[:, order], torch.eye(2).expand(2, 2, 2)
    )
    return found[..., order]


walks = {(m, first): paths(m, FIRST[first]) for m in (1.0, 2.5) for first in FIRST}


def draw_paths(m, first, a2):
    trail = walks[m, first][: round((a2 + 3) * 5) + 1]
    fig, panel = plt.subplots()
    panel.plot(*trail.permute(2, 0, 1), color="0.75", lw=0.6)
    panel.scatter(*trail[-1].T, s=9, color=BLUE, zorder=3)
    panel.scatter([-m, m], [0.5, -0.5], marker="+", color=ORANGE, zorder=3)
    panel.set(xlim=(-5.5, 5.5), ylim=(-3.4, 3.4), xlabel="x₁", ylabel="x₂")
    panel.set_title(f"logit of the right component: {a2:g}")
    return fig


def describe_paths(m, first, a2):
    crossed = int((walks[m, first][round((a2 + 3) * 5)][:, 0] > 0).sum())
    return (
        f"Forty draws and the paths they took, components at distance {2 * m:g} marked by crosses, "
        f"{first} coordinate first, logit {a2:g}: {crossed} of them are in the right half."
    )


choices = {"m": [1.0, 2.5], "first": list(FIRST), "a2": [-1.0, 0.0, 1.0, 3.0]}
explore(draw_paths, alt=describe_paths, **choices)

# %% [markdown]
# ## 8. What does the paper's sampling estimator cost?
#
# **Its rejection sampler takes infinitely many proposals on average. You can draw from a tail without any rejection, and from the
# smaller tail, far out, with far less variance for logits.**
#
# Not every family has a CDF in closed form. Write $\partial f=f\,\partial\log f$ in (MIX.2). The integral up to $x$ is $F(x)$ times a mean
# over draws $t$ from $f$, given that they fall to the left of $x$:
#
# $$ \frac{dx}{d\theta} = -\frac{F(x)}{f(x)}\;\mathrm E_{t\sim f\,|\,t\le x}\bigl[\partial_\theta\log f(t)\bigr] \tag{MIX.31} $$
#
# To draw such a $t$ the paper draws from $f$ until a draw falls below $x$. A reviewer worried about the acceptance rate. Rightly: a
# proposal is accepted with probability $F(x)=u$, and $u$ is uniform. For the number $n$ of proposals
#
# $$ \mathrm E\,n = \int_0^1\frac{du}{u}=\infty, \qquad \mathrm P(n\le m)=\int_0^1\bigl[1-(1-u)^m\bigr]du=\frac{m}{m+1} \tag{MIX.32} $$
#
# Half of all draws need one proposal, one in a hundred more than 99. The mean acceptance is $\mathrm E\,u=\frac12$, which tempts one to
# expect two proposals. But the mean of a reciprocal is not the reciprocal of the mean (two is the *median* of $1/u$):
#
# $$ \mathrm E\,n = \frac1{\mathrm E\,u} = 2 \tag{MIX.E5} $$
#
# An experiment can hide it. A sampler with a cap of $M$ proposals counts
# $\mathrm E\min(n,M)=\sum_{m<M}\mathrm P(n>m)=1+\frac12+\dots+\frac1M$: finite by construction, and it looks settled. But it is a
# number about the cap, and grows like $\ln M$.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, the share of draws that are not accepted after n proposals, on logarithmic axes from 1 to 1,000: dots on the line 1/(n+1). Right, the mean number of proposals counted up to a cap: dots on a line that grows like the logarithm of the cap, past 7 at 1,000, above the dashed line at 2."}} tags=["hide-input"]
# @title Checks of (MIX.32), a refutation, and proposals counted
source, draws = torch.Generator().manual_seed(1), 20_000


def propose(n):
    """From the mixture of section 1."""
    k = torch.multinomial(a3.softmax(-1), n, replacement=True, generator=source)
    return mu3[k] + sigma3[k] * torch.randn(n, generator=source)


x, needed, pending = propose(draws), torch.zeros(draws), torch.arange(draws)
for _ in range(1000):
    needed[pending] += 1
    pending = pending[propose(len(pending)) > x[pending]]
needed[pending] = math.inf
ms = (1, 2, 5, 20, 100)
for m in ms:
    exact = quad(lambda u, m=m: 1 - (1 - u) ** m, 0, 1)[0]
    check("MIX.32", exact, m / (m + 1), f"P(n ≤ {m}), by quadrature")
counted = [float((needed <= m).double().mean()) for m in ms]
formula = [m / (m + 1) for m in ms]
check("MIX.32", counted, formula, "and of 20,000 draws, accepted or not", atol=0.015)
cut = [quad(lambda u: 1 / u, low, 1, limit=200)[0] for low in (1e-2, 1e-4, 1e-6)]
check("MIX.32", cut, [2 * math.log(10) * k for k in (1, 2, 3)], "∫ du/u grows for ever")
caps = (10, 100, 1000)
harmonic = [sum(1 / m for m in range(1, M + 1)) for M in caps]
capped = [quad(lambda u, M=M: (1 - (1 - u) ** M) / u, 0, 1, limit=200)[0] for M in caps]
check("MIX.32", capped, harmonic, "E min(n, M) = 1 + ½ + … + 1/M")
reciprocal = 1 / quad(lambda u: u, 0, 1)[0]  # 1 / E u
refute("MIX.E5", reciprocal, capped[-1], "with a cap of a thousand it is above seven")
print("mean with a cap of 10, 100, 1,000:", [f"{v:.2f}" for v in harmonic])
larger = quad(lambda u: 1 / max(u, 1 - u), 0, 1, points=[0.5])[0]
check("MIX.33", larger, 2 * math.log(2), "the larger tail: 2 ln 2 proposals")

fig, (left, right) = figures.panels(2)
n = np.unique(np.logspace(0, 3, 25).astype(int))
left.loglog(n, 1 / (n + 1), color=BLUE, label="1 / (n + 1)")
left.loglog(
    n,
    [float((needed > m).double().mean()) for m in n],
    "o",
    color=ORANGE,
    ms=4,
    label="20,000 draws",
)
left.set(xlabel="proposals n", ylabel="share not accepted", title="A tail like 1/n")
left.legend(fontsize=8)
curve = [sum(1 / m for m in range(1, M + 1)) for M in n]
right.semilogx(n, curve, color=BLUE, label="1 + ½ + … + 1/M")
means = [float(needed.clamp(max=M).mean()) for M in n]
right.semilogx(n, means, "o", color=ORANGE, ms=4, label="20,000 draws")
right.axhline(2, color=YELLOW, ls="--", label="(MIX.E5)")
right.set(
    xlabel="cap M", ylabel="mean number counted", title="The mean is that of the cap"
)
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# Since $\int\partial f=0$, the right tail is as good, with the opposite sign:
#
# $$ \frac{dx}{d\theta} = +\frac{1-F(x)}{f(x)}\;\mathrm E_{t\sim f\,|\,t>x}\bigl[\partial_\theta\log f(t)\bigr] \tag{MIX.33} $$
#
# Always take the *larger* tail, and you need $\int_0^1du/\max(u,1-u)=2\ln2=1.39$ proposals on average. But its factor is the larger one
# as well, about $1/f$ far out, times a mean of terms that cancel. The *smaller* tail has the small factor, and proposals without end.
# So one is tempted to accept noise for speed. Count both, variance times proposals; does this hold at every $x$?
#
# $$ \operatorname{Var}_\text{larger}\cdot\text{proposals} \le \operatorname{Var}_\text{smaller}\cdot\text{proposals} \tag{MIX.E6} $$
#
# Far out it fails by orders of magnitude. And you need no proposals at all. Given $t\le x$, the component is $k$ with probability
# $\pi_k\Phi_k/F$, and then $t$ is a truncated normal, which the inverse of $\Phi$ gives:
#
# $$ \mathrm P(k\mid t\le x)=\frac{\pi_k\Phi_k(x)}{F(x)}, \qquad t=\mu_k+\sigma_k\,\Phi^{-1}\bigl(v\,\Phi_k(x)\bigr),\quad v\sim\mathcal U(0,1) \tag{MIX.34} $$
#
# For such mixtures the CDF is known, and you need not sample. But the remedy carries over to other families: take the smaller tail, and a
# sampler for tails. In the library it is `sampled_leibniz_gradient(x, logits, loc, scale, n, tail=…, sampler=…)`. How its variance
# goes with $x$ is drawn on [the experiments page](mixture_gradients_experiments.ipynb).

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.31) and (MIX.33), and a refutation
weights, means, scales = a3.softmax(-1).numpy(), mu3.numpy(), sigma3.numpy()


def log_slopes(t):
    """f, and ∂ log f for the logits, means and scales, by hand, at t (n,)."""
    z = (t[:, None] - means) / scales
    parts = weights * norm.pdf(z) / scales
    f = parts.sum(1, keepdims=True)
    share = parts / f
    slopes = (share - weights, share * z / scales, share * (z**2 - 1) / scales)
    return f, np.concatenate(slopes, 1)


def slopes_at(at):
    """The library's slopes for logits, means and scales."""
    free = each_point(torch.zeros(1), a3, mu3[:, None], sigma3[:, None])
    moved = MixtureNormal(*free).reparameterize(torch.tensor([[at]])).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(moved, free)])


def tail_moments(low, high):
    """Mass of a tail, and the mean and variance of ∂ log f over it."""
    t = np.linspace(low, high, 8001)
    f, slopes = log_slopes(t)
    mass = simpson(f[:, 0], x=t)
    mean, square = (simpson(f * slopes**p, x=t, axis=0) / mass for p in (1, 2))
    return mass, mean, square - mean**2


for at in (-1.3, 0.9, 3.0):
    left, right = tail_moments(-13, at), tail_moments(at, 14)
    z = (at - means) / scales
    f, F = (weights * norm.pdf(z) / scales).sum(), (weights * norm.cdf(z)).sum()
    closed = slopes_at(at).numpy()
    check("MIX.31", -F / f * left[1], closed, f"left tail at {at}", rtol=1e-7)
    check("MIX.33", (1 - F) / f * right[1], closed, "right tail", rtol=1e-7)
sides = ((F, left), (1 - F, right))  # at the last of them
larger, smaller = ((p / f) ** 2 * tail[2][:3].sum() / p for p, tail in sides)
print(f"at 3, logits, variance × proposals: {larger:.3g} and {smaller:.2g}")
refute("MIX.E6", bool(larger <= smaller), True, "at 3 the smaller tail is better")
for tail, expected in (("larger", larger * F), ("smaller", smaller * (1 - F))):
    source, points = torch.Generator().manual_seed(0), torch.full((40_000,), 3.0)
    drawn = sampled_leibniz_gradient(
        points, a3, mu3, sigma3, 1, tail=tail, generator=source
    )
    spread = float(drawn[0].var(0).sum())
    check("MIX.33", spread, expected, f"{tail}: variance of 40,000 draws", rtol=0.05)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (MIX.34): moments and components of a tail, and the library


def power(v, k, p, z):
    """The p-th power of t for component k, as displayed."""
    return (means[k] + scales[k] * norm.ppf(v * norm.cdf(z[k]))) ** p


for at in (-1.3, 0.9, 3.0):
    z = (at - means) / scales
    chosen = weights * norm.cdf(z) / (weights * norm.cdf(z)).sum()
    t = np.linspace(-13, at, 4001)
    parts = weights * norm.pdf(t[:, None], means, scales)
    masses = simpson(parts, x=t, axis=0)
    check("MIX.34", chosen, masses / masses.sum(), f"components below {at}", rtol=1e-7)
    for p in (1, 2):
        each = [quad(power, 0, 1, args=(k, p, z), limit=200)[0] for k in range(3)]
        exact = simpson(parts.sum(1) * t**p, x=t) / masses.sum()
        check("MIX.34", float(chosen @ each), exact, f"moment {p} of t", rtol=1e-6)
    n = 4000
    for tail in ("left", "smaller"):
        source, points = torch.Generator().manual_seed(0), torch.full((n,), at)
        found = sampled_leibniz_gradient(
            points, a3, mu3, sigma3, 1, tail=tail, generator=source
        )
        found = torch.cat(found, -1)
        error = (found.mean(0) - slopes_at(at)).abs()
        inside = bool((error < 4.5 * found.std(0) / math.sqrt(n) + 1e-9).all())
        check("MIX.34", inside, True, f"the library, {tail} tail: within 4.5 errors")

# %% [markdown]
# ## 9. How does the library differ from the lesson's?
#
# **Same gradients. The library keeps nothing but the parameters and the draw, works in the smaller tail, and saturates where the truth
# is larger than a number can be.**
#
# The lesson subtracts a term of value zero, $(F-F_\text{held still})/f$, and lets autograd differentiate $F$. In $D$ dimensions that
# becomes (MIX.21) with a Jacobian by autograd. The library does otherwise:
#
# - *What is kept.* `rsample` draws a component, then its normal, and hands the points to one autograd function. Forwards it copies. On
#   the way back it computes $\gamma$ and $w$ for all coordinates at once, (MIX.12) with a cumulative sum of $\log N$, and runs the
#   recursion of section 3 or 4.
# - *The smaller tail.* (MIX.25), with Mills' ratio only where a whole tail is tiny, since its function is slower than `erfc`.
# - *Clamps.* Each step of the recursion is cut at a large finite number, so that sums over a gap do not become $\infty-\infty$.
# - *An overflow of the cost is seen.* What saturates is the library's own. Where the cost's slope is not finite, be it in one coordinate,
#   all gradients of that draw are NaN, for logits, means and scales. Other draws keep theirs.
# - *Narrow types.* float16 and bfloat16 go through float32: their range is too small for densities.


# %%
def lessons(x, a, mu, sigma):
    *_, f, F = on_line(x, a, mu, sigma)
    return x - ((F - F.detach()) / f.detach())[:, 0]


def librarys(x, a, mu, sigma):
    mixture = MixtureNormal(a, mu[:, None], sigma[:, None])
    return mixture.reparameterize(x[:, None])[:, 0]


# %%
x, free = (
    torch.linspace(-2, 4, 1000),
    [p.clone().requires_grad_() for p in (a3, mu3, sigma3)],
)
far = torch.linspace(20, 60, 1000)
slopes, kept, good = {}, {}, {}
for name, way in (("lesson", lessons), ("library", librarys)):
    slopes[name] = torch.cat(torch.autograd.grad(way(x, *free).sum(), free))
    kept[name] = saved_bytes(lambda way=way: way(x, *free)) / 1e3
    good[name] = (
        torch.cat(torch.autograd.grad(way(far, *free).sum(), free)).isfinite().all()
    )
check("MIX.5", slopes["lesson"], slopes["library"], "1,000 points, x from −2 to 4")
print("kB kept for 1,000 points:", {name: round(size) for name, size in kept.items()})
print("finite from 20 to 60:", {name: bool(every) for name, every in good.items()})

# %%
logits = torch.zeros(3, 2, requires_grad=True)
loc = torch.zeros(3, 2, 2, requires_grad=True)
scale = torch.ones(3, 2, 2, requires_grad=True)
moved = MixtureNormal(logits, loc, scale).rsample()
cost_slope = torch.tensor([[1.0, 1.0], [1.0, math.inf], [1.0, 1.0]])
hit = torch.tensor([False, True, False])
for seen in torch.autograd.grad(moved, (logits, loc, scale), cost_slope):
    lost = seen.isnan().flatten(1)
    check("MIX.19", lost, hit[:, None].expand_as(lost), "all of its draw, no other")

# %% [markdown]
# *Second derivatives.* With $u$ fixed the point moves, too, so differentiating the formula for the slope at a fixed $x$ is not enough.
# Differentiate $f\,\frac{dx}{d\theta}+\frac{\partial F}{\partial\theta}=0$ once more along the path, on the line; subscripts are partial
# derivatives:
#
# $$ \frac{d^2x}{d\theta^2} = -\frac1f\Bigl[F_{\theta\theta}+2f_\theta\,\frac{dx}{d\theta}+f_x\Bigl(\frac{dx}{d\theta}\Bigr)^2\Bigr] \tag{MIX.35} $$
#
# The library gets it by keeping its *output* for the way back: that is a point that moves. Differentiated twice, by
# `torch.autograd.functional.hessian` or the transforms of `torch.func`, the recursion runs as ordinary code instead of in place.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (MIX.35): second derivatives along the path
def F_at(x, p):
    return (p[:3].softmax(-1) * ndtr((x - p[3:6]) / p[6:])).sum()


def f_at(x, p):
    N = torch.exp(-(((x - p[3:6]) / p[6:]) ** 2) / 2) / (ROOT * p[6:])
    return (p[:3].softmax(-1) * N).sum()


p = torch.cat((a3, mu3, sigma3))
for at in (-0.6, 1.1):
    x = torch.tensor(at)
    u, h = F_at(x, p), 1e-3
    (f_x, f_theta), f = jacobian(f_at, (x, p)), f_at(x, p)
    slope = -jacobian(lambda p, x=x: F_at(x, p), p) / f
    F_2 = torch.autograd.functional.hessian(lambda p, x=x: F_at(x, p), p).diagonal()
    formula = -(F_2 + 2 * f_theta * slope + f_x * slope**2) / f
    steps = h * torch.tensor([-2.0, -1, 0, 1, 2])[:, None, None] * torch.eye(9)
    moved = (p + steps).view(-1, 9)
    found = walk(u[None], moved[:, :3], moved[:, 3:6, None], moved[:, 6:, None, None])
    found = found.view(5, 9)
    bend = torch.tensor([-1.0, 16, -30, 16, -1]) @ found / (12 * h**2)
    check("MIX.35", formula, bend, f"nine parameters, x = {at}", rtol=1e-6)

    def draw(p, x=x):
        mixture = MixtureNormal(p[:3], p[3:6, None], p[6:, None])
        return mixture.reparameterize(x[None]).sum()

    library = torch.autograd.functional.hessian(draw, p).diagonal()
    check("MIX.35", formula, library, "the library, differentiated twice")

# %% [markdown]
# ## 10. What is said elsewhere, and what holds?
#
# **"Low-variance" is a wish that fails for separated components. The other errata stand where they arise: sign and free weights in section
# 1, the forgotten coordinates in 2, floating point in 5, the trick in 6, proposals and tails in 8.**
#
# The abstract calls an unbiased and low-variance gradient the key ingredient of what came before. Taken as a property of the method,
# beside the score as the usual fallback for logits, it would say, for every mixture,
#
# $$ \operatorname{Var}_\text{Leibniz} \le \operatorname{Var}_\text{score} \tag{MIX.E4} $$
#
# Two components at $\pm3$ with weights ¼ and ¾ and deviations 1 and 0.8, $L(x)=x$, and the logit of the right one: by (MIX.6) the left side is an integral, and so
# is the right by (MIX.8), with the mean cost as its baseline.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title A refutation of (MIX.E4), by quadrature
found, p, s = {}, 0.75, 0.8  # weight and deviation of the right component
for m in (1.0, 3.0):
    x = torch.linspace(-m - 10, m + 10, 4001)
    pair = [torch.tensor(v) for v in ([0, math.log(3)], [-m, m], [1, s])]
    f, w = on_line(x, *pair)[-2][:, 0] * float(x[1] - x[0]), library_w(x, *pair)[:, 1]
    variance = float((f * w**2).sum() - (f * w).sum() ** 2)
    mixture = MixtureNormal(pair[0], pair[1][:, None], pair[2][:, None])
    pull = mixture.responsibilities(x[:, None])[:, 1] - p
    pull = (x - (f * x).sum()) * pull
    of_score = float((f * pull**2).sum() - (f * pull).sum() ** 2)
    slope, baseline = 2 * m * p * (1 - p), m * (2 * p - 1)  # of E L, and E L

    def leibniz_square(x, m=m):  # (MIX.6)
        F = p * norm.cdf(x, m, s) + (1 - p) * norm.cdf(x, -m)
        f = p * norm.pdf(x, m, s) + (1 - p) * norm.pdf(x, -m)
        return p**2 * (norm.cdf(x, m, s) - F) ** 2 / f

    def score_square(x, m=m, baseline=baseline):  # (MIX.8)
        f = p * norm.pdf(x, m, s) + (1 - p) * norm.pdf(x, -m)
        return f * ((x - baseline) * (p * norm.pdf(x, m, s) / f - p)) ** 2

    ends, places = (-m - 9, m + 9), {"limit": 400, "points": [-m, 0, m]}
    leib, score = (
        quad(g, *ends, **places)[0] - slope**2 for g in (leibniz_square, score_square)
    )
    check("MIX.6", leib, variance, f"m = {m:g}: the library on a grid", rtol=1e-6)
    check("MIX.8", score, of_score, "the score, by its responsibilities", rtol=1e-6)
    found[m] = leib, score
    print(f"m = {m:g}: Leibniz {leib:.3g}, score {score:.3g}")
refute("MIX.E4", found[3.0][0] <= found[3.0][1], True, "means at ±3")

# %% [markdown]
# *Who has what.*
#
# | | means and scales | logits |
# |---|---|---|
# | the paper | the trick in the drawn component, or its rule | its rule, for $\pi_j$ |
# | `torch.distributions.MixtureSameFamily` | – | – |
# | Pyro's `MixtureOfDiagNormals` | given $x$ (MIX.10) | a field of its own, from pairs of components |
# | TensorFlow Probability, `reparameterize=True` | implicit (MIX.21) | implicit; by its documentation that of Graves |
# | this library, `rsample` | (MIX.19); full covariances: (MIX.23), (MIX.24) | (MIX.18) |
# | this library, `rao_blackwell_surrogate` | given $x$ (MIX.10) | score (MIX.8) |
#
# Pyro's field is tested on [the experiments page](mixture_gradients_experiments.ipynb). *Conventions.* Graves writes out a recursion for
# $\partial\log\Pr(k\mid x_{<d})$ and differentiates for $\pi_j$. We carry log weights, differentiate for logits and run backwards.
# His rule holds for any components with a density and a CDF; the library has normals. For another family on the line
# `leibniz_gradient(cdf_gradient, density)` is the rule itself:

# %%
u, s = torch.linspace(0.1, 0.9, 5), torch.full((5,), 0.7, requires_grad=True)
draw = s * torch.tan(math.pi * (u - 0.5))  # Cauchy's quantiles
(direct,) = torch.autograd.grad(draw.sum(), s)
x = draw.detach()
(dF,) = torch.autograd.grad((torch.atan(x / s) / math.pi).sum(), s)
f = s.detach() / (math.pi * (x**2 + s.detach() ** 2))
check("MIX.2", leibniz_gradient(dF, f), direct, "Cauchy: the quantile's slope")

# %% [markdown]
# ## 11. What does it cost?
#
# **On one core a draw and its gradient take 0.02 to 0.53 of Pyro's time and 0.06 to 0.24 of automatic differentiation's, which keeps eight
# to eleven times as much memory.**
#
# One process, one thread, float32: construction with validation, draw and gradient, each rival in turn with ours, parameters of its own
# for each element of a batch of $B$. *Pyro* 1.9.2 is `MixtureOfDiagNormals`, whose gradient for logits is another one. *Autograd* is
# implicit reparameterisation (MIX.21) with a Jacobian by automatic differentiation, which takes $D$ backward passes. *Full* is our
# `MixtureMultivariateNormal`, with $D$ times as many parameters.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Dots, a row for each shape of batch, components and dimensions: the time of our diagonal mixture over that of Pyro, of automatic differentiation and of our full covariances, on a logarithmic axis with a line at one. All dots lie below one: Pyro's from 0.02 with 50 components to 0.53, those of automatic differentiation from 0.06 to 0.24, those of full covariances from 0.07 to 0.39."}} tags=["hide-input"]
# @title Figure: time over that of three rivals
cost = sweep(experiment.COST, "book", device="cpu")
shape_of = [
    f"B {r.batch}, K {r.components}, D {r.dimensions}" for r in cost.itertuples()
]
cost = cost.assign(shape=shape_of)
shapes = list(dict.fromkeys(cost["shape"]))
looks = {
    "pyro": ("Pyro", "o", PINK),
    "autograd": ("autograd", "s", GREEN),
    "full": ("our full covariances", "D", GREY),
}
fig, panel = plt.subplots(figsize=(4.5, 1.6 + 0.35 * len(shapes)))
steps = zip((0.15, 0, -0.15), looks.items(), strict=True)
for shift, (rival, (label, marker, color)) in steps:
    rows = cost[cost.rival == rival]
    y = [shift - shapes.index(name) for name in rows["shape"]]
    panel.plot(rows.time_ratio, y, marker, color=color, label=f"over {label}")
    for row in rows.itertuples():
        memory = f"kept {row.ours_bytes / 1e3:,.0f} of {row.rival_bytes / 1e3:,.0f} kB"
        lost = (
            f"lost {row.ours_lost / row.batch:.1%} and {row.rival_lost / row.batch:.1%}"
        )
        print(f"{row.shape}, {label}: {row.time_ratio:.3f}; {memory}; {lost}")
panel.axvline(1, color="black", lw=0.8, ls=":")
panel.set(
    xscale="log", xlabel="our time / theirs", title="At every shape less time than each"
)
panel.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1])
panel.xaxis.set_major_formatter("{x:g}")
panel.minorticks_off()
panel.set_yticks([-y for y in range(len(shapes))], shapes)
panel.set_ylim(0.5 - len(shapes), 0.5)
panel.grid(axis="y", alpha=0.3)
fig.legend(loc="outside lower center", ncols=3, fontsize=8)
plt.show()

# %% [markdown]
# *Lost* are draws with a gradient that is not finite: 1.8% of Pyro's at $D=64$, none of the others. *Kept* is what waits for the backward
# pass; Pyro keeps as much as we do, our full covariances 8 times as much at $D=16$ and 31 times at $D=64$. Their time is 2.5 to 14 times
# that of the diagonal ones. Pyro's field for weights goes through pairs of components: from 10 to 50 of them our share of its time falls
# from 0.53 to 0.02. With a batch of 1,024 for 256 it falls to 0.21, and beside the two others by less, from 0.24 to 0.21 and from 0.39 to
# 0.33. With many draws of one mixture the backward pass works on arrays of draws × $K$ × $D$ numbers; take draws in portions where $KD$ is
# large. `make bench` repeats this on your machine.

# %% [markdown]
# ## 12. Harder exercises
#
# Fill in a stub, run it, and call its checker, such as `check_exercise_4(forward_slopes)`: it prints "right", or says what is wrong.
#
# **4 (code).** Section 3 runs backwards. Run (MIX.13) *forwards* for the logits: a table of $dx_d/da_k$ for all $d$ and $k$. Carry the
# derivative of the state, $dc^{d}_j/da_k$, from coordinate to coordinate, without the library. (A constant added to all of $c^1$ changes
# nothing, so you may start from $c^1=a$.)


# %% tags=["exercise-4"]
def forward_slopes(x, logits, loc, scale):
    """x (D,), parameters (K,), (K, D), (K, D) -> dx_d/da_k, (D, K)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(forward_slopes):
    for (x, a, mu, sigma), truth in zip(CASES, truths, strict=True):
        for D in (1, len(x)):
            answer = forward_slopes(x[:D], a, mu[:, :D], sigma[:, :D])
            expected = truth[0][:D]
            assert answer.shape == expected.shape, (
                f"shape {tuple(answer.shape)}, expected (D, K) = {tuple(expected.shape)}"
            )
            close = torch.isclose(answer, expected, rtol=1e-6, atol=1e-8)
            assert close[0].all(), "the first coordinate is wrong"
            assert close.all(), "a later coordinate is wrong: see (MIX.13)"
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# The state moves by itself and through $x_d$. Its derivative starts with the identity.
#
# ```python
# def forward_slopes(x, logits, loc, scale):
#     state, of_state, rows = logits, torch.eye(len(logits)), []
#     for d in range(len(x)):
#         z = (x[d] - loc[:, d]) / scale[:, d]
#         weights, cdf = state.softmax(-1), ndtr(z)
#         density = weights @ (torch.exp(-z.square() / 2) / (scale[:, d] * ROOT))
#         w = weights * (cdf - weights @ cdf) / density
#         rows.append(-w @ of_state)
#         of_state = of_state - torch.outer(z / scale[:, d], rows[-1])
#         state = state - z.square() / 2 - scale[:, d].log()
#     return torch.stack(rows)
# ```
#
# This takes $O(K^2)$ per coordinate, for logits alone. Backwards one vector $\bar c$ is enough for all parameters.
#
# </details>
#
# **5 (code).** Draw from the *right* tail of a mixture of normals, $t\sim f\mid t>x$, without rejection. You are given two uniforms for
# each draw, one for the component and one for the normal. It should work 20 standard deviations to the right of everything. (SciPy's
# `norm.cdf` and `norm.ppf` are right in the left tail down to $10^{-300}$.)


# %% tags=["exercise-5"]
def right_tail(x, logits, loc, scale, for_component, for_normal):
    """A number x, parameters (K,), uniforms (n,) -> draws t > x, (n,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(right_tail):
    logits, loc = torch.tensor([0.3, -0.6]), torch.tensor([-1.0, 1.0])
    scale, n = torch.tensor([0.7, 1.2]), 20_000
    uniforms = torch.rand(2, n, generator=torch.Generator().manual_seed(0))

    def log_tail(t):
        tails = torch.special.log_ndtr((loc - t[..., None]) / scale)
        return (logits.log_softmax(-1) + tails).logsumexp(-1)

    for x in (-1.5, 0.4, 3.0, 25.0):
        t = right_tail(x, logits, loc, scale, *uniforms)
        assert t.shape == (n,), "one draw for each pair of uniforms"
        assert (t.isfinite() & (t >= x)).all(), f"draws must be finite and beyond {x}"
        share = (log_tail(t) - log_tail(torch.tensor(x))).exp().sort().values
        uniform = (torch.arange(n) + 0.5) / n  # what the share is if draws are right
        off = (share - uniform).abs().max()
        assert off < 0.012, f"beyond x = {x} the draws have another distribution"
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# Mirror (MIX.34): the tail beyond $x$ is a left tail of $-t$.
#
# ```python
# def right_tail(x, logits, loc, scale, for_component, for_normal):
#     z = (x - loc) / scale
#     chances = (logits.log_softmax(-1) + torch.special.log_ndtr(-z)).softmax(-1)
#     component = torch.searchsorted(chances.cumsum(-1), for_component).clamp(max=len(loc) - 1)
#     tails = torch.from_numpy(norm.cdf(-z))[component]
#     return loc[component] - scale[component] * torch.from_numpy(norm.ppf(for_normal * tails))
# ```
#
# </details>
#
# **6 (code).** The Leibniz gradient (for diagonal covariances and a polynomial cost, section 5) and the score are unbiased, so any mix of
# them is, $c\,\text{Leibniz}+(1-c)\,\text{score}$. Which fixed $c$ has the least variance? Write the mix for paired draws, with the $c$ of
# least *sample* variance (estimating it adds a bias of order $1/n$, which you may ignore). The checker takes the logit of the component at
# $+m$ and $L(x)=x$.


# %% tags=["exercise-6"]
def best_mix(leibniz, score):
    """Paired unbiased estimates (n,) and (n,) -> mixed ones, (n,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(best_mix):
    n = 50_000
    for m, times in ((1.0, 1.02), (1.56, 1.2), (2.5, 1.02)):
        loc = torch.tensor([[-m], [m]])
        torch.manual_seed(0)
        logits = torch.zeros(n, 2, requires_grad=True)
        mixture = MixtureNormal(logits, loc, torch.ones(2, 1))
        x = mixture.rsample()
        leibniz = torch.autograd.grad(x.sum(), logits)[0][:, 1]
        score = (x[:, 0] * (mixture.responsibilities(x)[:, 1] - 0.5)).detach()
        mixed = best_mix(leibniz, score)
        assert mixed.shape == leibniz.shape, "one estimate for each pair"
        off = abs(float(mixed.mean()) - m / 2)
        assert off < 5 * float(mixed.std()) / math.sqrt(n), f"m = {m}: biased"
        least = min(float(leibniz.var()), float(score.var()))
        assert float(mixed.var()) * times < least, f"m = {m}: no better than one alone"
        for one, other in ((leibniz, score), (3 * score + 0.1 * leibniz, score)):
            mixed, difference = best_mix(one, other), one - other
            both = torch.cov(torch.stack((other, difference)))
            c, best = (
                -both[0, 1] / both[1, 1],
                both[0, 0] - both[0, 1] ** 2 / both[1, 1],
            )
            least = float(best) * (1 + 1e-9)
            assert float(mixed.var()) <= least, f"m = {m}: another c is better"
            assert torch.allclose(mixed, other + c * difference), f"m = {m}: not one c"
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# Write the mix as $\text{score}+c\,(\text{Leibniz}-\text{score})$. The difference has mean zero: it is a control variate, and the best
# coefficient is that of a regression.
#
# ```python
# def best_mix(leibniz, score):
#     difference = leibniz - score
#     centred = difference - difference.mean()
#     c = -(score * centred).mean() / centred.square().mean()
#     return score + c * difference
# ```
#
# </details>

# %% [markdown]
# ## 13. Symbols and further reading
#
# What the lesson's table does not have:
#
# | Symbol | In code | Meaning | Equation |
# |---|---|---|---|
# | $\gamma_k^d$ | `gamma` | probability of component $k$ given $x_{<d}$ | (MIX.12) |
# | $c^d$ | `states` | log weights carried from coordinate to coordinate | (MIX.12) |
# | $g$; $\bar x,\bar c,\bar\mu,\dots$ | `g`, `x_bar` | $\nabla L(x)$; the derivative for what is under the bar | (MIX.17) |
# | $M$ | `M` | how $\bar x_i$ acts on $\bar x_d$ | (MIX.20) |
# | $L_k$; $e_{kd}$, $m_{kd}$ | `L`, `e`, `m` | factor of a covariance; standardised coordinate, conditional mean | (MIX.22) |
# | $R(z)$; $C$, $\sigma_{\max}$ | `mills`, `constant` | Mills' ratio; the bound of $w$, the largest scale | (MIX.25), (MIX.27) |
# | $v$, $h$, $\psi$ | `velocity`, `h`, `psi` | a field $dx/d\theta$; one of mean zero; what it comes from | (MIX.29), (MIX.30) |
# | $t$, $n$ | `t`, `needed` | a draw of a tail; proposals that it takes | (MIX.31), (MIX.32) |
#
# - Graves, [*Stochastic Backpropagation through Mixture Density Distributions*](https://arxiv.org/abs/1607.05690), 2016: the paper.
# - Salimans and Knowles, [*Fixed-Form Variational Posterior Approximation through Stochastic Linear
#   Regression*](https://arxiv.org/abs/1206.6679), 2013: the one-dimensional formula in variational inference.
# - Figurnov, Mohamed and Mnih, [*Implicit Reparameterization Gradients*](https://arxiv.org/abs/1805.08498), 2018: the general form.
# - Jankowiak and Obermeyer, [*Pathwise Derivatives Beyond the Reparameterization Trick*](https://arxiv.org/abs/1806.01851), and Jankowiak
#   and Karaletsos, [*Pathwise Derivatives for Multivariate Distributions*](https://arxiv.org/abs/1806.01856), both 2018: velocity fields,
#   the continuity equation, control variates.
# - Mohamed, Rosca, Figurnov and Mnih, [*Monte Carlo Gradient Estimation in Machine Learning*](https://arxiv.org/abs/1906.10652), 2020.
# - Morningstar and co-authors, [*Automatic Differentiation Variational Inference with Mixtures*](https://arxiv.org/abs/2003.01687), 2020:
#   why the plain bound disfavours several modes.
