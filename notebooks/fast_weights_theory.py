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
# # Fast weights: the theory
#
# **Proofs, capacity, cost, errata: what stands behind [the lesson](fast_weights.ipynb).** The measurements are in
# [the experiments](fast_weights_experiments.ipynb). Sections can be read in any order; symbols are those of the lesson.

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
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import pairwise, product

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from workedpapers.experiments import fast_weights as experiment
from workedpapers.fast_weights import FastWeights, attend, fast_matrix
from workedpapers.lab import check, explore, figures, refute, setup, sweep
from workedpapers.lab.timing import saved_bytes

device = setup(seed=0)
H, T, lam, eta = 5, 7, 0.9, 0.5
h = torch.rand(T, H, dtype=torch.float64)  # h[t - 1] is h(t)
FAST, PLAIN = figures.COLORS["fast"], figures.COLORS["muted"]

# %% [markdown]
# ## 1. Why layer norm, and when does the inner loop settle?
#
# **Without layer norm the state explodes, through time and through the inner loop. With it neither happens, but the reason is
# its scale, not a contraction.**
#
# A larger $h$ is written into $A$, and comes back larger at the next step. An untrained layer shows it:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Length of the hidden vector of an untrained layer of 50 units against the step, on a log scale. Without layer norm it stays below ten for about fifteen steps and then grows to ten to the 20; with layer norm it stays below the dotted line at the root of 50."}} tags=["hide-input"]
# @title The length of h with and without layer norm
inputs = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
fig, ax = plt.subplots()
for norm, color, label in ((False, PLAIN, "without"), (True, FAST, "with layer norm")):
    torch.manual_seed(0)
    bare = FastWeights(4, 50, decay=0.9, layer_norm=norm).double()
    lengths = bare(inputs.double())[0].norm(dim=2)[0].detach()
    ax.semilogy(range(1, 21), lengths, "o-", color=color, label=label, markersize=4)
    print(f"{label}: length {lengths[-1]:.0e} after 20 steps")
ax.axhline(50**0.5, color="black", linestyle=":", linewidth=1, label="√H, (FW.21)")
ax.set(xlabel="step", ylabel="length of h", xticks=range(0, 21, 5))
ax.set_title("Untrained, 50 units: without a norm it explodes")
ax.legend()
plt.show()

# %% [markdown]
# Smaller $\eta$ or smaller inputs can stay bounded; nothing here proves that layer norm is *needed*.
#
# **The inner loop without layer norm.** Hold $z$ and $A$ fixed: $h_{s+1}=f(z+A h_s)$, $h_0=f(z)$. Hidden vectors come out of a
# ReLU, so with $\eta>0$ no entry of $A$ is negative. *The active set only grows:* $h_1=f(z+Ah_0)\ge f(z)=h_0$, and if
# $h_s\ge h_{s-1}$ then $Ah_s\ge Ah_{s-1}$, hence $h_{s+1}\ge h_s$. There are $H$ units, so from some step on the set $D$ of
# active units is final. Let $P$ be the diagonal matrix with ones on $D$. From there on $h_{s+1}=P(z+Ah_s)$, and
#
# $$ h_{s+2}-h_{s+1} = P A P\,(h_{s+1}-h_s) \tag{FW.17} $$
#
# *So the largest eigenvalue $\rho$ of $PAP$ decides.* If $\rho<1$ the increments shrink geometrically and the loop settles on
#
# $$ h^\ast = (I-PAP)^{-1}P\,z \tag{FW.18} $$
#
# <details><summary>Proof that it does not settle if ρ ≥ 1</summary>
#
# $PAP$ is symmetric without negative entries. Call two units of $D$ connected if a chain of nonzero entries leads from one to
# the other; $PAP$ falls into blocks of connected units, and $\rho$ is the largest eigenvalue of one block $B$. By the theorem
# of Perron and Frobenius that block has an eigenvector $v$ to $\rho$ that is positive on all of $B$. Write
# $\Delta_s=h_{s+1}-h_s\ge0$. Once $D$ is final, $v^\top\Delta_{s+1}=\rho\,v^\top\Delta_s\ge v^\top\Delta_s$, so the increments
# cannot die out unless $v^\top\Delta_s$ is zero to begin with. It is not, for some unit $i$ of $B$ grows at every step:
#
# - $A_{ii}>0$ for every unit of $B$, since $A$ is a sum of $hh^\top$: if $A_{ii}=0$ then $h_i=0$ in all of them, and unit $i$ is
#   a block of its own with eigenvalue 0, so not $B$.
# - Some unit $i$ of $B$ is on from the start. A unit that is off at the start has $z_i\le0$; to switch on it needs
#   $(Ah_s)_i>0$, that is, a connection to a unit that is on already, which lies in the same block. Follow these connections
#   back in time.
# - For that unit $\Delta_{0,i}=(Ah_0)_i\ge A_{ii}h_{0,i}>0$, and then $\Delta_{s+1,i}=(A\Delta_s)_i\ge A_{ii}\Delta_{s,i}>0$.
#   $\blacksquare$
#
# </details>

# %%
generator = torch.Generator().manual_seed(0)
past = torch.randn(6, 8, generator=generator, dtype=torch.float64).relu()
A = fast_matrix(past, 0.9, 0.1)
z = torch.randn(8, generator=generator, dtype=torch.float64)
states = [z.relu()]
for _ in range(400):
    states.append((z + A @ states[-1]).relu())
P = torch.diag((states[-1] > 0).double())
print("active after 0, 1, 2 … steps:", [int((s > 0).sum()) for s in states[:5]])
grown = P @ A @ P @ (states[5] - states[4])
check("FW.17", states[6] - states[5], grown, "increments are multiplied by PAP")
h_star = torch.linalg.inv(torch.eye(8).double() - P @ A @ P) @ P @ z
check("FW.18", states[-1], h_star, "400 inner steps = the linear solve")

# %% [markdown]
# Take $D$ from the *end* of the loop. The first active set often looks harmless, and then the memory switches on more units.
# Over 500 random memories, how often does either set foretell what happens? And what does layer norm do?

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Histogram over 500 random memories of the largest eigenvalue of the fast matrix on the final active set, loops that settle and loops that do not. They meet exactly at one."}} tags=["hide-input"]
# @title 500 random memories
generator = torch.Generator().manual_seed(1)
past = torch.randn(500, 6, 8, generator=generator, dtype=torch.float64).relu()
rates = 0.02 + 0.24 * torch.rand(500, 1, 1, generator=generator, dtype=torch.float64)
fade = 0.9 ** torch.arange(5, -1, -1, dtype=torch.float64)
A = rates * (past.mT * fade) @ past
z = torch.randn(500, 8, 1, generator=generator, dtype=torch.float64)

start = state = z.relu()
for _ in range(20_000):
    before = state
    state = (z + A @ state).relu().clamp(max=1e9)  # 1e9 stands for infinity
settled = ((state - before).abs().amax((1, 2)) < 1e-9) & (state.amax((1, 2)) < 1e9)
print(f"{int(settled.sum())} of 500 loops settle")
for name, active in (("first", start > 0), ("final", state > 0)):
    radius = torch.linalg.eigvalsh(active * A * active.mT).amax(1)
    print(f"foretold wrongly by the {name} set: {int(((radius < 1) != settled).sum())}")
normed = z.relu()
for _ in range(3000):
    before, normed = normed, torch.layer_norm((z + A @ normed).mT, (8,)).mT.relu()
calm = (normed - before).abs().amax((1, 2)) < 1e-9
print(f"with layer norm {int(calm.sum())} of 500 settle")

fig, ax = plt.subplots()
bins = torch.linspace(0, 3, 31)
parts = [radius[settled], radius[~settled].clamp(max=2.99)]
ax.hist(
    parts,
    bins,
    stacked=True,
    color=[figures.COLORS["data"], PLAIN],
    label=["settles", "does not"],
)
ax.axvline(1, color="black", linestyle=":", linewidth=1)
ax.set(xlabel="largest eigenvalue on the final active set", ylabel="memories of 500")
ax.set_title("Without a norm, one decides")
ax.legend()
plt.show()

# %% [markdown]
# How large can $\rho$ get? $PAP$ is $A$ with rows and columns struck out, so its largest eigenvalue is at most that of $A$. With
# $\eta>0$, $A$ is positive semidefinite, and its largest eigenvalue is at most the sum of all, the trace:
#
# $$ \rho(A(t)) \;\le\; \operatorname{tr}A(t) = \eta\sum_{\tau=1}^{t}\lambda^{t-\tau}\,\lVert h(\tau)\rVert^2 \tag{FW.19} $$
#
# The bound is reached if all past vectors are parallel. If they also have one length $c$, the geometric sum gives, for
# $0<\lambda<1$,
#
# $$ \rho(A(t)) = \eta\,c^2\,\frac{1-\lambda^t}{1-\lambda} \tag{FW.20} $$
#
# At $\eta=0.5$, $\lambda=0.9$ ten aligned vectors pass one as soon as they are longer than 0.55. Layer norm with gain one and
# shift zero all but fixes the length of what it returns,
#
# $$ \lVert\mathrm{LN}[a]\rVert^2 = H\,\frac{\sigma^2}{\sigma^2+\varepsilon} < H \tag{FW.21} $$
#
# so no hidden vector is longer than $\sqrt H$, whatever $A$ does. That stops the loop over time. It does not make $A$ a
# contraction: a small change of $h_s$ is divided by $\sigma$, which grows with $A$. That all 500 loops settle with it is a
# measurement on random memories, not a theorem.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FW.19) to (FW.21)
nine = torch.rand(9, 8, dtype=torch.float64)
eigenvalues = torch.linalg.eigvalsh(fast_matrix(nine, lam, eta))
lengths = eta * sum(
    lam ** (9 - tau) * nine[tau - 1].norm() ** 2 for tau in range(1, 10)
)
check(
    "FW.19", eigenvalues.sum(), lengths, "sum of eigenvalues = weighted squared lengths"
)
check("FW.19", bool(eigenvalues.max() <= lengths), True, "and bounds the largest")
c, direction = 1.7, nine[0] / nine[0].norm()
for t in (4, 10):
    largest = torch.linalg.eigvalsh(
        fast_matrix((c * direction).expand(t, 8), lam, eta)
    ).max()
    formula = eta * c**2 * (1 - lam**t) / (1 - lam)
    check("FW.20", largest, formula, f"{t} aligned vectors of one length")
print(f"one is passed at length {(eta * (1 - lam**10) / (1 - lam)) ** -0.5:.2f}")
for scale in (3, 0.01):
    a = scale * torch.randn(H, dtype=torch.float64)
    variance = ((a - a.mean()) ** 2).mean()
    squared = torch.layer_norm(a, (H,)).square().sum()
    formula = H * variance / (variance + 1e-5)
    check("FW.21", squared, formula, f"length at scale {scale}")
    check("FW.21", bool(squared < H), True, "and below H")

# %% [markdown]
# ## 2. How much of the past is left?
#
# **The last $n$ steps hold the share $1-\lambda^n$ of all the weight there is.**
#
# (FW.3) gives the weight of one vector. Of all the weight in an endless past ($0<\lambda<1$), the newest $n$ vectors hold
#
# $$ \sum_{k=0}^{n-1}\lambda^k\Big/\sum_{k=0}^{\infty}\lambda^k = 1-\lambda^n \tag{FW.22} $$
#
# At the last of the eleven steps of a four-pair string the newest vector in the memory is one step old and has the weight
# $\eta$; one that was written $n$ steps before it has $\eta\lambda^n$. The first pair was written nine and eight steps before
# the newest: it is read at $0.9^9=0.39$ and $0.9^8=0.43$ of full weight. The horizon is an attenuation, not a wall.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Share of all weight held by the last n steps against n, for decay 0.9 and 0.95; at eleven steps it is 69 and 43 percent."}} tags=["hide-input"]
# @title Check of (FW.22), and the share as a picture
everything = (
    lam ** torch.arange(600, dtype=torch.float64)
).sum()  # 0.9^600: below rounding
for n in (1, 13):
    newest = (lam ** torch.arange(n, dtype=torch.float64)).sum()
    check(
        "FW.22",
        newest / everything,
        1 - lam**n,
        f"share of the last {n}, summed = formula",
    )
steps = torch.arange(0, 41)
fig, ax = plt.subplots()
for decay, style in ((0.9, "-"), (0.95, "--")):
    ax.plot(steps, 1 - decay**steps, style, color=FAST, label=f"λ = {decay}")
    ax.plot(11, 1 - decay**11, "o", color=FAST)
    ax.text(11.8, 1 - decay**11 - 0.06, f"{1 - decay**11:.0%}", fontsize=10)
ax.set(xlabel="last n steps", ylabel="share of all weight", ylim=(0, 1))
ax.set_title("Eleven steps hold 69% or 43% of all weight")
ax.legend()
plt.show()

# %% [markdown]
# ## 3. How many pairs fit?
#
# **Orthogonal vectors: as many as units. Random pairs: more than twice as many when the units double, up to four times, for
# the many small leaks are products of two overlaps.**
#
# Interference (FW.5) vanishes if the stored vectors are orthogonal, and then at most $H$ of them fit, for no more than $H$ nonzero
# vectors of $\mathbb R^H$ are orthogonal. Beyond that the matrix has no room: for vectors in general position (any $\min(t,H)$ of
# them independent) and $\lambda,\eta\ne0$,
#
# $$ \operatorname{rank}A(t) = \min(t, H) \tag{FW.23} $$
#
# Random directions are not orthogonal, only nearly. Let $u$ be a unit vector of uniformly random direction and $v$ any unit vector
# that does not depend on it. In any orthonormal basis the squares $(u^\top e_i)^2$ add up to one and no $e_i$ is special; choose
# $e_1=v$:
#
# $$ \mathbb E\,(u^\top v)^2 = \frac1H \tag{FW.24} $$
#
# Now store $n\ge2$ random pairs, key $k_i$ and value $v_i$ independent random unit vectors of $m=H/2$ units each, with
# $\lambda=\eta=1$, and ask with key $k_q$. How loud is a *wrong* value $v_j$, $j\ne q$, in the answer? It hears the sum over $i$ of
# $(k_i^\top k_q)(v_i^\top v_j)$: the true pair leaks by the overlap of the two values, its own pair by the overlap of the two keys,
# and each of the other $n-2$ by a *product* of two overlaps:
#
# $$ \mathbb E\Bigl[\Bigl(\sum_{i=1}^{n}(k_i^\top k_q)(v_i^\top v_j)\Bigr)^2\Bigr] = \frac2m + \frac{n-2}{m^2} \tag{FW.25} $$
#
# against a square of one that the right value hears from its own pair. The first two leaks do not grow with $n$; once the last part rules, doubling $m$ lets $n$ grow
# four times. (Vectors out of a ReLU overlap far more; a network that learns to retrieve must undo that.)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FW.23) to (FW.25)
ranks = [
    int(torch.linalg.matrix_rank(fast_matrix(h[:t], lam, eta))) for t in range(1, T + 1)
]
check("FW.23", ranks, [min(t, H) for t in range(1, T + 1)], "rank grows to H and stays")
generator = torch.Generator().manual_seed(0)
for size in (5, 12):
    u, v = normalize(
        torch.randn(2, 200_000, size, generator=generator, dtype=torch.float64), dim=2
    )
    overlap = (u * v).sum(1).square().mean()
    check(
        "FW.24",
        overlap,
        1 / size,
        f"200,000 random pairs in {size} dimensions",
        rtol=2e-2,
    )
for n, m in ((12, 4), (3, 6)):
    keys, values = normalize(
        torch.randn(2, 100_000, n, m, generator=generator).double(), dim=-1
    )
    leaks = (keys @ keys[:, :1].mT).squeeze(2) * (values @ values[:, 1:2].mT).squeeze(2)
    heard = leaks.sum(1).square().mean()
    check(
        "FW.25",
        heard,
        2 / m + (n - 2) / m**2,
        f"{n} pairs, {m} units a vector",
        rtol=2e-2,
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: units and decay
sizes = (1, 2, 4, 8, 16, 32, 64, 128)


def accuracy(hidden_size, decay, n, trials=50):
    """Share of right answers over all pairs, and for the oldest pair alone."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, trials, n, hidden_size // 2, generator=generator)
    weights = decay ** torch.arange(n - 1, -1, -1)  # oldest first
    keys, values = normalize(keys, dim=-1), normalize(values, dim=-1)
    answers = (keys @ keys.mT * weights) @ values  # row q: the read with key q
    right = (answers @ values.mT).argmax(-1) == torch.arange(n)
    return right.double().mean().item(), right[:, 0].double().mean().item()


def draw(hidden_size, decay):
    mean, oldest = zip(*(accuracy(hidden_size, decay, n) for n in sizes), strict=True)
    fig, ax = plt.subplots()
    ax.semilogx(sizes, mean, "o-", base=2, color=FAST, label="all pairs")
    ax.semilogx(sizes, oldest, "s--", base=2, color=PLAIN, label="the oldest pair")
    ax.set(xlabel="stored pairs", ylabel="right answers", ylim=(-0.05, 1.05))
    ax.set_xticks(sizes, [str(n) for n in sizes])
    fits = max(
        (n for n, share in zip(sizes, mean, strict=True) if share >= 0.9), default=0
    )
    ax.set_title(
        f"H = {hidden_size}, decay {decay}: nine in ten right up to {fits} pairs"
    )
    ax.legend(loc="lower left")
    return fig


def describe(hidden_size, decay):
    shares = [accuracy(hidden_size, decay, n)[0] for n in sizes]
    listed = ", ".join(
        f"{n}: {share:.0%}" for n, share in zip(sizes, shares, strict=True)
    )
    return f"Right answers against stored pairs, {hidden_size} units, decay {decay}: {listed}."


explore(draw, alt=describe, hidden_size=(16, 32, 64, 128), decay=(1.0, 0.95, 0.9))

# %% [markdown]
# Set the decay to 0.9: more units still help the first dozen pairs, but soon the oldest is drowned by the newer ones, and no
# size that you can choose here saves it. At decay 1, how many fit exactly?


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Most pairs with nine in ten answers right against the number of units, both on log scales: 5, 15, 51 and 187 at 16, 32, 64 and 128 units, between a line of slope one and one of slope two, nearer to slope two."}} tags=["hide-input"]
# @title The count at decay 1
def most(hidden_size):
    """Most pairs of which nine in ten are answered."""
    n = 1
    while accuracy(hidden_size, 1.0, n + 1)[0] >= 0.9:
        n += 1
    return n


units = [16, 32, 64, 128]
fits = [most(size) for size in units]
print("pairs that fit:", dict(zip(units, fits, strict=True)))
print(
    "times more per doubling:",
    [f"{b / a:.1f}" for a, b in pairwise(fits)],
)
fig, ax = plt.subplots()
ax.loglog(units, fits, "o-", color=FAST, label="counted")
for slope, style in ((1, ":"), (2, "--")):
    guide = [fits[0] * (size / 16) ** slope for size in units]
    ax.loglog(units, guide, style, color=PLAIN, label=f"× {2**slope} per doubling")
ax.set_xticks(units, map(str, units))
ax.minorticks_off()
ax.set(xlabel="units H", ylabel="pairs that fit")
ax.set_title("Three to four times as many for twice the units")
ax.legend()
plt.show()

# %% [markdown]
# ## 4. Could one run the rule backwards?
#
# **In exact arithmetic yes, in floating point the error grows like $\lambda^{-n}$.**
#
# Why would attention be "more mini-batch friendly", as the paper says? A reviewer doubted it, rightly: a batch of fast matrices is
# one tensor of shape (batch, $H$, $H$). What speaks for attention is the memory of backpropagation: each step must keep what it
# read, every $A(t)$, or vectors (section 6). Could one keep only the last matrix and recompute each earlier one ($\lambda>0$, $t\ge1$)?
#
# $$ A(t-1) = \tfrac1\lambda\bigl(A(t)-\eta\,h(t)h(t)^\top\bigr) \tag{FW.26} $$
#
# Each step back divides by $\lambda<1$, so an error $\delta$ in the last matrix becomes after $n$ steps
#
# $$ \delta_n = \lambda^{-n}\,\delta \tag{FW.27} $$


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Largest error of the fast matrix against steps back, on a log scale, in float32 and float64 at decay 0.9. Both grow along dotted lines of slope 1 over 0.9 to the n; after 100 steps float32 is wrong by more than a thousandth."}} tags=["hide-input"]
# @title Checks of (FW.26), (FW.27), and the error in floating point
def step_back(A, h, lam, eta):
    return (A - eta * torch.outer(h, h)) / lam


check(
    "FW.26",
    step_back(fast_matrix(h, lam, eta), h[-1], lam, eta),
    fast_matrix(h[:-1], lam, eta),
    "one step back = the matrix before",
)
long = torch.rand(
    100, H, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)
nudge = torch.zeros(H, H, dtype=torch.float64)
nudge[0, 1] = 1e-3
pair = [fast_matrix(long, lam, eta), fast_matrix(long, lam, eta) + nudge]
for t in range(99, 49, -1):
    pair = [step_back(A, long[t], lam, eta) for A in pair]
check(
    "FW.27", pair[1] - pair[0], lam**-50 * nudge, "an error, 50 steps back", rtol=1e-6
)

fig, ax = plt.subplots()
for dtype, color in ((torch.float32, FAST), (torch.float64, figures.COLORS["learned"])):
    A, errors = fast_matrix(long.to(dtype), lam, eta), []
    for t in range(99, -1, -1):
        A = step_back(A, long[t].to(dtype), lam, eta)
        errors.append((A.double() - fast_matrix(long[:t], lam, eta)).abs().max().item())
    ax.semilogy(
        range(1, 101), errors, color=color, label=str(dtype).removeprefix("torch.")
    )
    ax.semilogy(
        [20, 100], [errors[19], errors[19] * lam**-80], ":", color="black", linewidth=1
    )
ax.set(xlabel="steps back", ylabel="largest error of A")
ax.set_title("Dotted: λ⁻ⁿ. A hundred steps cost four digits")
ax.legend()
plt.show()

# %% [markdown]
# ## 5. How the library's layer differs from the lesson's
#
# **Same numbers; a faster read, a state, three rules, two forms, and errors that say what is wrong.**
#
# - One product handles the inputs of all steps before the loop (`F.linear` on the whole batch).
# - The read stacks the past into one tensor, `(time, batch, H)`, and takes two sums of products; the lesson adds term by term.
# - `form="matrix"` keeps $A$ itself, `form="attention"` the vectors. `write` picks the rule.
# - A call returns a state: a sequence in two pieces equals the sequence in one. `state.detach()` cuts the gradient between them.
# - The weights $\eta\lambda^n$ are computed in float32 or wider. In bfloat16 $\lambda$ itself would be rounded, and the error is
#   raised to the power of the age:

# %%
for decay in (0.9, 0.99, 0.999):
    rounded = torch.tensor(decay, dtype=torch.bfloat16).double()
    wrong = float(rounded**100 / decay**100 - 1)
    print(
        f"λ = {decay}: in bfloat16 {rounded:.5f}; a weight of age 100 is off by {wrong:+.0%}"
    )

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks: both forms, their gradients, and a sequence in two pieces
x = torch.randn(3, T, 4, dtype=torch.float64)
for write in ("after", "delayed", "preliminary"):
    results = []
    for form in ("attention", "matrix"):
        torch.manual_seed(2)
        twin = FastWeights(
            4, H, decay=lam, inner_steps=2, write=write, form=form
        ).double()
        output, _ = twin(x)
        output.square().sum().backward()
        results += [output.detach(), twin.weight_hh.grad]
    check(
        "FW.4", results[0], results[2], f"write='{write}': attention form = matrix form"
    )
    check("FW.4", results[1], results[3], f"write='{write}': and their gradients")
q = torch.rand(H, dtype=torch.float64)
read = attend(h[None], q[None], lam, eta)[0]
check(
    "FW.4", read, fast_matrix(h, lam, eta) @ q, "attend = fast_matrix times the query"
)
beginning, state = twin(x[:, :4])
pieces = torch.cat((beginning, twin(x[:, 4:], state)[0]), 1)
check(
    "FW.7",
    pieces.detach(),
    twin(x)[0].detach(),
    "two pieces with the state = one piece",
)

# %% [markdown]
# ## 6. What does it cost?
#
# **With one inner step attention is the cheaper form up to about three hidden sizes by arithmetic, up to about one by the clock;
# and up to about two it keeps less for the backward pass: a tenth at eleven steps of 100 units.**
#
# Is the cost quadratic in the length, as a reviewer asks? For attention yes, for the matrix no. Under the paper's rule the memory holds $t-1$
# vectors at step $t$; scores, their weights and the weighted sum take $2H+1$ multiplications each, $S$ times. The matrix takes $H^2$ for each
# read and $2H^2$ for the update, decay and outer product. Over $T$ steps, for one sequence:
#
# $$ S\,T(T-1)\,(H+\tfrac12) \;\text{ with attention}, \qquad (S+2)\,T\,H^2 \;\text{ with the matrix} \tag{FW.28} $$
#
# They meet at
#
# $$ T^\ast = 1 + \Bigl(1+\frac2S\Bigr)\frac{H^2}{H+\frac12} \tag{FW.29} $$
#
# The backward pass needs what the forward pass read. The matrix form keeps one $H\times H$ matrix a step. Our attention form
# copies the vectors that a step reads into one tensor, $t-1$ of them at step $t$, and keeps a weighted score for each and each
# inner step. For $B$ sequences the memory's own share is
#
# $$ \tfrac12T(T-1)\,B\,(H+S)\;\text{numbers with attention}, \qquad T\,B\,H^2\;\text{with the matrix} \tag{FW.30} $$
#
# All three are counted from what the library's layer does: from the operations that PyTorch runs, and from the tensors that
# autograd keeps.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title How operations and kept numbers are counted
class Multiplications(TorchDispatchMode):
    """Counts what the memory multiplies, by the operations that run; slow weights (mm, addmm) do not count."""

    total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if name == "mul" and result.dim() > 1:
            self.total += result.numel()
        elif name in (
            "bmm",
            "baddbmm",
        ):  # (B, n, k) times (B, k, m): B n k m, and the decay
            factor = args[-2] if name == "baddbmm" else args[0]
            self.total += result.numel() * (factor.shape[2] + (name == "baddbmm"))
        return result


def counted(form, T, H, S):
    layer = FastWeights(3, H, form=form, inner_steps=S, layer_norm=False)
    with torch.no_grad(), Multiplications() as mode:
        layer(torch.randn(1, T, 3))
    return mode.total


def kept(form, T, H, S, B):
    """Numbers in what autograd keeps of the memory: stacks of vectors and scores, or matrices."""
    layer, shapes = FastWeights(3, H, form=form, inner_steps=S), {}

    def pack(tensor):
        base = tensor._base if tensor._base is not None else tensor
        shapes[base.untyped_storage().data_ptr()] = base
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(torch.randn(B, T, 3))
    size = {
        "attention": [(n, B, H) for n in range(T)] + [(n, B) for n in range(T)],
        "matrix": [(B, H, H)],
    }
    return sum(t.numel() for t in shapes.values() if tuple(t.shape) in size[form])


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FW.28) to (FW.30)
for S in (1, 2):
    by_attention, by_matrix = (
        counted(form, 9, 6, S) for form in ("attention", "matrix")
    )
    formula = round(S * 9 * (9 - 1) * (6 + 1 / 2))
    check("FW.28", by_attention, formula, f"attention, S = {S}: counted = formula")
    check("FW.28", by_matrix, (S + 2) * 9 * 6**2, f"matrix, S = {S}: counted = formula")
    meet = 1 + Fraction(
        (9 - 1) * by_matrix, by_attention
    )  # where the two counts are equal
    formula = 1 + (1 + Fraction(2, S)) * 6**2 / (6 + Fraction(1, 2))
    check("FW.29", meet, formula, f"S = {S}: where the counted costs meet")
    formula = 8 * (8 - 1) // 2 * 11 * (6 + S)
    check("FW.30", kept("attention", 8, 6, S, 11), formula, f"attention, S = {S}: kept")
    check("FW.30", kept("matrix", 8, 6, S, 11), 8 * 11 * 6**2, f"matrix, S = {S}: kept")
x = torch.randn(128, 11, 100)
for form in ("attention", "matrix"):
    total = saved_bytes(partial(FastWeights(100, 100, form=form), x)) / 1e6
    print(f"batch 128, 11 steps, 100 units, {form}: {total:.1f} MB are kept in all")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Ratio of attention time to matrix time on a log scale against sequence length over hidden size, for 20, 50 and 100 units, forward and forward plus backward. At 50 and 100 units it grows with length and crosses one between one and one and a half hidden sizes; at 20 units it stays near one."}} tags=["hide-input"]
# @title Figure: by the clock, in turn, one thread, batch 32
cost = sweep(experiment.COST, "book", device="cpu")
fig, (left, right) = figures.panels(2, sharey=True)
for size, marker in zip(experiment.SIZES, "os^", strict=True):
    rows = cost[cost.hidden_size == size]
    for ax, measure in ((left, "forward_ratio"), (right, "training_ratio")):
        ax.plot(rows.time / size, rows[measure], marker + "-", label=f"{size} units")
for ax, title in ((left, "forward"), (right, "forward + backward")):
    ax.axhline(1, color=PLAIN, linewidth=0.8)
    ax.set(xlabel="sequence length / hidden size", title=title, yscale="log")
left.set(ylabel="attention time / matrix time")
left.set_yticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
left.minorticks_off()
left.legend()
fig.suptitle("By the clock, attention wins up to about one hidden size")
plt.show()

# %% [markdown]
# Sooner than the arithmetic says. Two differences are known, their shares are not tested: the attention form copies its past at
# every step, and its sums run over smaller pieces than one product with a matrix. At 20 units neither form does enough work to
# matter.

# %% [markdown]
# ## 7. Relatives
#
# **Unnormalised linear attention with keys = values = past states and a constant decay is this memory.**
#
# Given all the vectors, every read of the *after* rule can be done at once with a masked matrix of decayed scores, rows for
# queries $Q$ (row $t$ reads $A(t)$: the query of step $t+1$), columns for memories $H_{\text{past}}$ ($\circ$ multiplies entry by entry):
#
# $$ R = \bigl((Q H_{\text{past}}^\top)\circ M\bigr)H_{\text{past}}, \qquad M_{t\tau}=\eta\lambda^{t-\tau}\;(\tau\le t),\;\;0\;(\tau>t) \tag{FW.31} $$
#
# That is causal linear attention (Katharopoulos et al. 2020); without the normaliser it is an outer-product fast weight memory
# (Schlag, Irie, Schmidhuber 2021). Linear attention trains in parallel over time because its keys and values come from the layer
# below. Here $h(t+1)$ depends nonlinearly on $h(t)$: no exact closed form over all steps is available, and the loop stays.

# %% mystnb={"image": {"alt": "Heat map of the mask M: lower triangle, one half on the diagonal, fading by 0.9 a step to the left; the upper triangle is white."}}
queries = torch.rand(T, H, dtype=torch.float64)
distance = torch.arange(T)[:, None] - torch.arange(T)[None, :]
M = torch.where(distance >= 0, eta * lam ** distance.double(), 0.0)
at_once = ((queries @ h.T) * M) @ h
one_by_one = [fast_matrix(h[: t + 1], lam, eta) @ queries[t] for t in range(T)]
check("FW.31", at_once, torch.stack(one_by_one), "all reads at once = one by one")

fig, ax = plt.subplots(figsize=(4.5, 2.6))
ax.imshow(M, cmap="Oranges")
ax.set(
    xlabel="memory τ", ylabel="query t", title="The mask M: decay is a fading diagonal"
)
plt.show()

# %% [markdown]
# ## 8. Errata
#
# **Five things that are in print or in public code and are not the paper's method. Each is shown to differ.**
#
# *The initialisation.* Version 2 of the paper prints $U(-\sqrt H,\sqrt H)$ for the non-recurrent weights; version 3 says that it
# corrects a misprint. jiamings/fast-weights and Victorwz/fast-weights-pytorch copied it. A uniform number on $\pm a$ has the variance $a^2/3$, so this would be
#
# $$ \operatorname{sd}[\,C_{ij}\,]=\sqrt{H/3} \tag{FW.E1} $$
#
# where the right start is
#
# $$ \operatorname{sd}[\,C_{ij}\,]=\frac1{\sqrt{3H}} \tag{FW.32} $$
#
# *Two rules mixed*, which is what the review read into the paper: its own delayed update with the paper's sum.
#
# $$ A_d(t)=\eta\sum_{\tau=1}^{t}\lambda^{t-\tau}h(\tau)h(\tau)^\top \tag{FW.E2} $$
#
# *The guess written as if it were the output* (jiamings/fast-weights, GokuMohandas/fast-weights, Victorwz/fast-weights-pytorch). A
# different model, and not a bad one ([section 1 of the experiments](fast_weights_experiments.ipynb)):
#
# $$ A(t)=\eta\sum_{\tau=1}^{t}\lambda^{t-\tau}h_0(\tau)h_0(\tau)^\top \tag{FW.E3} $$
#
# *"Layer norm" over the batch* (jiamings/fast-weights, GokuMohandas/fast-weights, Victorwz/fast-weights-pytorch): the mean over axis 0 of a (batch, 1, units)
# tensor normalises every example with the others of its batch.
#
# $$ \mu_i=\tfrac1B\sum_{n=1}^{B}a_{ni} \tag{FW.E4} $$
#
# *An `einsum` that reads diagonals* (jeffhernandez1995/fastweights, a study of how much depth, layer norm and fast weights each
# contribute): `einsum("bhh,bh->bh")` takes the diagonal of a repeated index. The connections between units, all that an associative
# memory consists of, are never read, in the fast matrix as in the slow one; what that study attributes to fast weights says nothing about them.
#
# $$ (A h)_i = A_{ii}\,h_i \tag{FW.E5} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (FW.32) and the first three refutations
close = torch.testing.assert_close  # the wrong form as displayed = as it was coded
torch.manual_seed(0)
right = torch.tensor(1 / math.sqrt(3 * H), dtype=torch.float64)
drawn = FastWeights(4000, H).weight_ih.detach().double().std()
check("FW.32", drawn, right, "spread of 20,000 drawn weights", rtol=2e-2)
wrong = torch.tensor(math.sqrt(H / 3), dtype=torch.float64)
coded = torch.empty(H, 4000, dtype=torch.float64).uniform_(-(H**0.5), H**0.5).std()
close(wrong, coded, rtol=2e-2, atol=0)
refute("FW.E1", wrong, right, "H times too wide")

A_d = torch.zeros(H, H, dtype=torch.float64)  # A_d(1), then up to A_d(5)
for h_t in h[:4]:
    A_d = lam * A_d + eta * torch.outer(h_t, h_t)
mixed = eta * sum(
    lam ** (5 - tau) * torch.outer(h[tau - 1], h[tau - 1]) for tau in range(1, 6)
)
close(mixed, fast_matrix(h[:5], lam, eta))
refute("FW.E2", mixed, A_d, "A_d(5) is not the sum up to 5")

layer, x = FastWeights(3, H, decay=lam, rate=eta).double(), torch.randn(T, 3).double()
outputs = layer(x[None])[0][0].detach()
cell = torch.nn.RNNCell(3, H, nonlinearity="relu").double()
names = {
    "weight_ih": layer.weight_ih,
    "weight_hh": layer.weight_hh,
    "bias_ih": layer.bias,
}
cell.load_state_dict(names | {"bias_hh": 0 * layer.bias})
guesses = cell(x, torch.cat((torch.zeros(1, H).double(), outputs[:-1]))).detach()
coded = torch.zeros(H, H, dtype=torch.float64)
for h_0 in guesses:
    coded = lam * coded + eta * torch.outer(h_0, h_0)
terms = (
    lam ** (T - tau) * torch.outer(guesses[tau - 1], guesses[tau - 1])
    for tau in range(1, T + 1)
)
of_guesses = eta * sum(terms)
close(of_guesses, coded)
refute(
    "FW.E3",
    of_guesses,
    fast_matrix(outputs, lam, eta),
    "the matrix of the guesses is another",
)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title The other two refutations
a = torch.randn(3, H, dtype=torch.float64)
over_batch = torch.stack([sum(a[n, i] for n in range(3)) / 3 for i in range(H)])
close(over_batch, a[:, None].mean(0)[0])  # axis 0 of (batch, 1, units)
for example in a:
    refute(
        "FW.E4",
        over_batch,
        example.mean().repeat(H),
        "a mean over the batch, not the units",
    )

A = fast_matrix(h, lam, eta)
diagonal = A.diagonal() * h[0]
close(torch.einsum("bhh,bh->bh", A[None], h[:1])[0], diagonal)
refute("FW.E5", diagonal, A @ h[0], "a repeated index reads the diagonal")

# %% [markdown]
# Smaller conventions: the paper writes $x(t)$ for the input that produces $h(t+1)$, an index slip. It has no bias. Its equations 1, 3,
# 4 and 5 are our (FW.1), (FW.2), (FW.4) and (FW.7); its equation 2 is (FW.7) without layer norm.

# %% [markdown]
# ## 9. Harder exercises
#
# **4 (implementation).** On a long sequence you may want to attend to the last `window` vectors only. Write that read,
# and an upper bound on the norm of what it leaves out, in terms of `decay`, `rate`, `window`, the largest norm `c` of a
# past vector and the norm of the query.


# %% tags=["exercise-4"]
def windowed(past, query, decay, rate, window):
    """past (time, H), query (H,) -> (read (H,), bound on the norm of what is left out)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-4-checker", "hide-input"]
# @title Checker 4
def check_exercise_4(windowed):
    generator = torch.Generator().manual_seed(5)
    past = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    query = torch.randn(6, generator=generator, dtype=torch.float64)
    for window in (1, 5, 29, 30, 40):
        read, bound = windowed(past, query, 0.9, 0.5, window)
        kept = past.clone()
        kept[: max(0, 30 - window)] = 0
        torch.testing.assert_close(read, fast_matrix(kept, 0.9, 0.5) @ query)
        left_out = (fast_matrix(past, 0.9, 0.5) @ query - read).norm()
        assert left_out <= bound + 1e-12, (
            f"window {window}: left out {left_out:.3f}, your bound says {bound:.3f}"
        )
    along = normalize(torch.randn(6, generator=generator, dtype=torch.float64), dim=0)
    for window in (3, 5):  # met exactly: 400 long vectors end where the window begins
        past = 0.1 * along.expand(1000, 6).clone()
        past[-400 - window : -window] *= 20
        _, bound = windowed(past, 3 * along, 0.9, 0.5, window)
        left_out = 0.5 * 0.9**window / (1 - 0.9) * 2.0**2 * 3.0
        assert bound >= left_out * (1 - 1e-9), (
            f"{left_out:.3f} is left out, not {bound:.3f}"
        )
        assert bound <= left_out * 1.01, (
            f"{bound:.3f} is loose: {left_out:.3f} is enough"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 4</summary>
#
# What is left out is $\eta\sum_{n\ge M}\lambda^n h\,(h^\top q)$ over ages $n$ from $w$ = `window` (at least one) on. Each term is at most
# $\eta\lambda^n c^2\lVert q\rVert$ long, and the geometric tail is $\lambda^w/(1-\lambda)$. The share that is lost of a
# particular read can still be everything: the one vector that matches the query may lie outside the window.
#
# ```python
# def windowed(past, query, decay, rate, window):
#     read = attend(past[None, -window:], query[None], decay, rate)[0]
#     bound = rate * decay**window / (1 - decay) * past.norm(dim=1).max() ** 2 * query.norm()
#     return read, bound
# ```
#
# </details>

# %% [markdown]
# **5 (calculation).** Generalise the plateau: letters are paired with one of `symbols` equally likely symbols instead of
# ten digits. Return the accuracy of a model that binds nothing, for any number of pairs, without enumerating strings.


# %% tags=["exercise-5"]
def plateau(pairs: int, symbols: int) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-5-checker", "hide-input"]
# @title Checker 5
def check_exercise_5(plateau):
    for pairs, symbols in ((1, 7), (2, 2), (3, 2), (4, 3), (5, 4)):
        every = list(product(range(symbols), repeat=pairs))
        expected = (
            sum(max(Counter(digits).values()) for digits in every) / len(every) / pairs
        )
        answer = plateau(pairs, symbols)
        assert abs(answer - expected) < 1e-12, (
            f"{pairs} pairs, {symbols} symbols: {answer}, expected {expected}"
        )
    assert abs(plateau(16, 10) - 0.2360248951) < 1e-9
    print("right")


# %% [markdown]
# <details><summary>Solution 5</summary>
#
# Count the strings whose largest count is at most $m$ one symbol at a time: with `ways[n]` the number of ways to fill $n$
# of the places so far, the next symbol takes $j\le m$ of the $K-n$ places that are left.
#
# ```python
# def plateau(pairs, symbols):
#     def at_most(m):
#         ways = [1] + [0] * pairs
#         for _ in range(symbols):
#             ways = [
#                 sum(ways[n - j] * math.comb(pairs - (n - j), j) for j in range(min(m, n) + 1))
#                 for n in range(pairs + 1)
#             ]
#         return ways[pairs] / symbols**pairs
#
#     return sum(1 - at_most(m) for m in range(pairs)) / pairs
# ```
#
# </details>
#
# **6 (experiment).** Which binds sooner on two pairs, `write="after"`, or `write="preliminary"` with
# `norm_preliminary=True`? Write a function that trains the configuration it is given once on the CPU and returns the
# *binding gap*: the error on redrawn queries ([section 4 of the experiments](fast_weights_experiments.ipynb)) minus the error on the true ones, in points. A model that binds
# nothing has a gap of about zero. `experiment.train` returns a dictionary with both errors, `redrawn_error` and
# `test_error`. Then compare the two at `learning_rate=3e-3` after 300 updates.


# %% tags=["exercise-6"]
def binding_gap(config) -> float:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-6-checker", "hide-input"]
# @title Checker 6
def check_exercise_6(binding_gap):
    small = experiment.Retrieval(
        pairs=2, learning_rate=3e-3, updates=400, evaluate_every=400
    )
    true = experiment.train
    experiment.train = lambda *_, **__: {
        "redrawn_error": 45.0, "test_error": 9.0, "train_error": 5.0, "validation_error": [7.0]
    }  # fmt: skip
    try:
        assert binding_gap(small) == 36, "the gap is redrawn_error minus test_error"
    finally:
        experiment.train = true
    gap = binding_gap(replace(small, inner_steps=0, updates=100, evaluate_every=100))
    assert abs(gap) < 3, (
        f"a network without memory binds nothing; your gap is {gap:.1f}"
    )
    gap = binding_gap(replace(small, write="preliminary", norm_preliminary=True))
    assert 15 < gap < 46, f"this model binds; your gap is {gap:.1f}"
    print("right")


# %% [markdown]
# <details><summary>Solution 6</summary>
#
# ```python
# def binding_gap(config):
#     row = experiment.train(config, seed=0, device=torch.device("cpu"))
#     return row["redrawn_error"] - row["test_error"]
# ```
#
# The preliminary rule with layer norm on $h_0$ is well ahead after 300 updates: compare its gap with that of the paper's
# rule. A perfect binder has 45 points at two pairs, for its redrawn error is $1-(\tfrac12+\tfrac12\cdot\tfrac1{10})=45\%$. By
# coincidence that is also the error of a model that binds nothing, so look at the gap and not at one error alone.
#
# </details>

# %% [markdown]
# ## 10. Further reading
#
# - Before: Schmidhuber 1992 (*Learning to control fast-weight memories*) lets one network write the weights of another;
#   Hinton and Plaut 1987 (*Using fast weights to deblur old memories*) use fast weights to undo interference.
# - The same algebra: [Schlag, Irie, Schmidhuber 2021](https://arxiv.org/abs/2102.11174) show that linear attention is an
#   outer-product fast weight programmer and bring in the delta rule;
#   [Irie et al. 2021](https://arxiv.org/abs/2106.06295) make it recurrent.
# - Error correction at scale: [Yang et al. 2024](https://arxiv.org/abs/2406.06484) (DeltaNet, parallel over length) and
#   [Gated DeltaNet](https://arxiv.org/abs/2412.06464) (with decay).
# - A softmax instead of linear scores: [Ramsauer et al. 2020](https://arxiv.org/abs/2008.02217).
# - The retrieval task today: [Arora et al. 2023](https://arxiv.org/abs/2312.04927), multi-query associative recall.
# - Layer norm itself: [Ba, Kiros, Hinton 2016](https://arxiv.org/abs/1607.06450).
