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
# # Generative models with memory: what comes back costs less
#
# **The problem.** A model of videos predicts each frame from the frames before. What it cannot foresee it must pay for, in nats of surprise. When a scene comes back that was shown long ago, a model that has forgotten it pays the full price a second time.
#
# **The idea.** Describe every frame by a short random code, the *latent* $\mathbf z_t$. Keep the latents in a memory. Before each frame, a recurrent *controller* looks into the memory; what it finds makes the forecast of the next latent, the *prior*. If the scene has been seen before, the forecast is good and the frame costs less. The training goal of Gemici et al. is a lower bound on the log-probability of the whole sequence:
#
# $$ \mathcal F=\sum_t\mathbb E_q\Bigl[\underbrace{\ln p(\mathbf x_t\,|\,\mathbf z_t,\Psi_t)}_{\text{reconstruction}}-\underbrace{D_{\mathrm{KL}}\bigl(q(\mathbf z_t\,|\,\Psi_t,\mathbf x_t)\,\|\,p(\mathbf z_t\,|\,\Psi_t)\bigr)}_{\text{what frame } t \text{ told that was not foreseen}}\Bigr]\;\le\;\ln p(\mathbf x_1,\dots,\mathbf x_T) $$
#
# where $\Psi_t$ is what controller and memory know before frame $t$. Everything else is a question of which memory.
#
# ```text
# for each frame x_t:
#     controller (an LSTM) takes the latent of the frame before
#     memory: write that latent, then read  →  Ψ = what is known now
#     prior:      forecast of the latent, from Ψ
#     posterior:  the latent with x_t in sight, from Ψ and x_t; draw z_t
#     pay:        KL(posterior, prior) − ln p(x_t | z_t, Ψ)
# to go on alone: z_t from the prior, x_t from the decoder; the posterior is not needed
# ```

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
import torch.nn.functional as F
from torch import nn

from workedpapers.experiments import temporal_memory as experiment
from workedpapers.lab import check, explore, figures, setup, sweep
from workedpapers.temporal_memory import (
    Introspection,
    Normal,
    TemporalGenerativeModel,
    kl_normal,
)

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
MODEL, FAST, PLAIN, DATA, MUTED, ODD = (
    figures.COLORS[role]
    for role in ("learned", "fast", "baseline", "data", "muted", "wrong")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Nine small digits in a row, six different ones and then the first three again. Below, the surprise of each frame as bars for two models: about 23 nats for each of the six first frames for both; for the last three still 23 for the model without a memory, 18 for the one with a memory."}} tags=["hide-input"]
# @title The idea in one picture: a frame that comes back costs less
kept = sweep(experiment.named("recall", "Introspection"), "book")
forgot = sweep(experiment.named("recall", "VRNN"), "book")
shown = np.array(kept.frames[0][0]).reshape(-1, 8, 8)
fig = plt.figure(figsize=(9, 3.4))
grid = fig.add_gridspec(2, 9, height_ratios=[1, 2])
for t, frame in enumerate(shown):
    ax = fig.add_subplot(grid[0, t])
    ax.imshow(100 - frame, cmap="gray", vmin=0, vmax=100)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{t + 1}" if t < 6 else f"{t - 5} again", fontsize=10, loc="center")
ax = fig.add_subplot(grid[1, :])
for rows, label, color, side in (
    (forgot, "without a memory (VRNN)", PLAIN, -0.2),
    (kept, "with a memory (Introspection)", MODEL, 0.2),
):
    cost = -np.array(rows.by_frame.to_list())[:, 0].mean(0)
    ax.bar(np.arange(1, 10) + side, cost, 0.38, color=color, label=label)
ax.set(xlim=(0.5, 9.5), xticks=range(1, 10), xlabel="frame", ylabel="cost, nats")
ax.set_title("What is shown again is cheap, if it was kept")
ax.set_ylim(0, 29)
ax.legend(fontsize=9, loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# Six random digits, then the first three again; digits and test sequences were not seen in training. The bars are the cost $-\mathcal F$, frame by frame: means over 1,000 such sequences and three trainings.
#
# **What we found.**
#
# - **What comes back costs less, if there is a memory.** Six digits, then the first three again: the VRNN, with the most weights of the five, pays 22.8 nats for a frame shown again, as for a new one; models with a memory pay 17.0 to 18.1, and hardly any of it is news: the divergence falls from 5 to 6 nats at first sight to 0.3 to 0.7.
# - **That there is a memory matters more than which.** The four memories differ by 1 nat here, memory and none by 4 at least (22.2 nats for a VRNN that carries latents alone, as they do).
# - **Keep the code, not the draw.** The paper keeps the latents that were drawn; they do not hold every pixel, so most of a frame is paid again. If the memory keeps the encoder's output instead, the same model pays 2.7 nats for a frame shown again, not 18.1 ([section 7 of the experiments](temporal_memory_experiments.ipynb)).
#
# **Use it** to learn how latent-variable models of sequences work, and what a memory adds; **in new work** use attention over past codes, which is the paper's Introspection with keys for content.
#
# **Minutes, about 40 in all:** pay twice 4 · latents 5 · the bound 5 · normal latents 4 · a state 2 · Introspection 5 · the whole model 4 · explore 4 · it works 3 · worth 3.
#
# **Beside this lesson:** [the experiments](temporal_memory_experiments.ipynb), a figure for each question; [the theory](temporal_memory_theory.ipynb), with proofs, the other memories step by step, errata, cost; the paper, Gemici et al. 2017 ([arXiv 1702.04649](https://arxiv.org/abs/1702.04649)); [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/temporal_memory.ipynb); [the source of the model](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/temporal_memory.py).
#
# The paper's text was not at hand. What we say of it is from its abstract, a public review and a public port; tasks, sizes and details are ours. Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. Paying twice, in numbers
#
# **A sequence's surprise is the sum of its frames' surprises.**
#
# Someone draws a card from a deck of four, puts it back, three times: A, C, B. Then shows the first two cards again: A, C. How surprising is that? By the chain rule of probability
#
# $$ -\ln p(x_1,\dots,x_T)=\sum_{t=1}^T-\ln p(x_t\,|\,x_1,\dots,x_{t-1}) \tag{GTM.1} $$
#
# One forecaster remembers the cards, and is sure to 97% that they come again in order. The other one knows only the deck.

# %%
cards = [0, 2, 1, 0, 2]  # A, C, B, then A, C again
deck = torch.full((4,), 1 / 4)


def forecast(seen):  # p(next card | the cards seen), from memory
    known = torch.full((4,), 0.01)
    if len(seen) >= 3:
        known[seen[-3]] = 0.97
    return known if len(seen) >= 3 else deck


past = [(cards[:t], card) for t, card in enumerate(cards)]
with_memory = torch.stack([-forecast(seen)[card].log() for seen, card in past])
without = torch.stack([-deck[card].log() for _, card in past])
print("with memory:", with_memory.numpy().round(2), f"sum {with_memory.sum():.2f}")
print("without:    ", without.numpy().round(2), f"sum {without.sum():.2f}")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Bars of the surprise of five cards, A, C, B, A, C. Both forecasters pay 1.39 nats for each of the first three. For the last two the one without memory pays 1.39 each again, the other one 0.03."}} tags=["hide-input"]
# @title (GTM.1), checked over all sequences, and drawn


def joint(deal, repeats):
    """The probability of a whole sequence, by counting: three draws, then two repeats"""
    value = (1 / 4) ** 3
    for first, again in zip(deal[:2], repeats, strict=True):
        value *= 0.97 if again == first else 0.01
    return value


total = sum(joint(s[:3], s[3:]) for s in product(range(4), repeat=5))
check("GTM.1", total, 1.0, "all 1,024 sequences together")
chained, counted = [], []
for deal in product(range(4), repeat=5):
    chained.append(math.prod(float(forecast(deal[:t])[deal[t]]) for t in range(5)))
    counted.append(joint(deal[:3], deal[3:]))
check("GTM.1", chained, counted, "each of them")
check("GTM.1", with_memory.sum(), -math.log(joint(cards[:3], cards[3:])), "A C B A C")
check("GTM.1", without.sum(), -math.log(4**-5), "without memory")
fig, ax = plt.subplots(figsize=(4.5, 2.4))
ax.bar(np.arange(5) - 0.2, without, 0.38, color=PLAIN, label="without memory")
ax.bar(np.arange(5) + 0.2, with_memory, 0.38, color=MODEL, label="with memory")
ax.set(xticks=range(5), xticklabels="ACBAC", ylabel="surprise, nats", ylim=(0, 2.1))
ax.set_title("The repeats cost 2.77 nats, or 0.06")
ax.legend(fontsize=9, ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# **Change it.** In the first cell of this section, write `known[seen[-2]] = 0.97` for `known[seen[-3]] = 0.97`: a memory that looks at the wrong place.
#
# <details><summary>What happens</summary>
#
# ```text
# with memory: [1.39 1.39 1.39 4.61 4.61] sum 13.37
# ```
#
# Sure and wrong costs more than not knowing: 4.61 nats a card instead of 1.39. The checks below stop the notebook. (Put the cell back.)
#
# </details>
#
# Cards are named; pictures are not. For 64 pixels there is no table of probabilities. How can one forecast a picture?

# %% [markdown]
# ## 2. A latent for every frame
#
# **First forecast a code, then the frame from the code.**
#
# Every frame gets a latent $z_t$. The model draws $z_t$ from its *prior*, given the past, then $x_t$ given $z_t$:
#
# $$ p(x_{1:T},z_{1:T})=\prod_{t=1}^Tp(z_t\,|\,z_{<t},x_{<t})\;p(x_t\,|\,z_{\le t},x_{<t}) \tag{GTM.2} $$
#
# (A public review of the paper writes $x_{\le t}$ behind both bars. A frame cannot be forecast from itself: [E1 of the theory](temporal_memory_theory.ipynb).)
#
# The smallest model that recalls has latents and frames of one bit. Latents 1 and 2 are coins. Latent 3 repeats latent 1 with probability 0.95. A frame shows its latent, with an error of 0.1. We can sum over everything:

# %%
keep, clear = 0.95, 0.9


def prior(t, z):  # p(z_t = 1 | z_<t), t from 1
    return 0.5 if t < 3 else (keep if z[-2] == 1 else 1 - keep)


def frame(x_t, z_t):  # p(x_t | z_t)
    return clear if x_t == z_t else 1 - clear


def log_joint(x, z):
    total = 0.0
    for t in (1, 2, 3):
        one = prior(t, z[: t - 1])
        total += math.log(one if z[t - 1] == 1 else 1 - one)
        total += math.log(frame(x[t - 1], z[t - 1]))  # (GTM.2)
    return total


bits = list(product((0, 1), repeat=3))
x = (1, 0, 1)  # the third frame repeats the first
log_p = math.log(sum(math.exp(log_joint(x, z)) for z in bits))
print(f"ln p(x) = {log_p:.4f}, three coins would have {math.log(1 / 8):.4f}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (GTM.2), as a product of tables
z1, z2 = torch.full((2,), 0.5), torch.full((2,), 0.5)
z3 = torch.tensor([[keep, 1 - keep], [1 - keep, keep]])  # [z1, z3]
see = torch.tensor([[clear, 1 - clear], [1 - clear, clear]])  # [z, x]
table = torch.einsum("a,b,ac,ax,by,cz->abcxyz", z1, z2, z3, see, see, see)
left = torch.tensor([[math.exp(log_joint(f, z)) for f in bits] for z in bits])
check("GTM.2", left, table.reshape(8, 8), "eight latents, eight sequences")
check("GTM.2", left.sum(), torch.tensor(1.0), "a distribution")
check("GTM.2", math.exp(log_p), table.sum((0, 1, 2))[1, 0, 1], "frames alone")

# %% [markdown]
# With eight settings of three bits one can sum. With sixteen real numbers a frame, and nine frames, one cannot. What then?

# %% [markdown]
# ## 3. The bound
#
# **Guess the latent from the frame, and pay for where the guess departs from the forecast.**
#
# A second distribution, the *posterior* $q$, looks at the frame and proposes latents. It works while the sequence plays, so it sees frames up to now, and its own earlier latents (a *filter*):
#
# $$ q(z_{1:T}\,|\,x_{1:T})=\prod_{t=1}^Tq(z_t\,|\,z_{<t},x_{\le t}) \tag{GTM.3} $$
#
# Take the mean of $\ln p(x,z)-\ln q(z|x)$ over latents drawn from $q$. Since the logarithm is concave (Jensen), that is never above $\ln p(x)$; frame by frame it is
#
# $$ \mathcal F=\sum_{t=1}^T\mathbb E_q\bigl[\ln p(x_t\,|\,z_{\le t},x_{<t})-D_{\mathrm{KL}}\bigl(q(z_t\,|\,\cdot)\,\|\,p(z_t\,|\,\cdot)\bigr)\bigr]\le\ln p(x) \tag{GTM.4} $$
#
# The first part says how well the latent describes the frame. The second, the *divergence* $D_{\mathrm{KL}}(q\|p)=\sum q\ln(q/p)$, says how much the frame told that the past had not foreseen: its *news*. Our $q$ for the three bits: Bayes' rule at each frame.


# %%
def posterior(t, z, x_t):  # q(z_t = 1 | z_<t, x_<=t), by Bayes' rule
    one, zero = prior(t, z) * frame(x_t, 1), (1 - prior(t, z)) * frame(x_t, 0)
    return one / (one + zero)


def chosen(one, bit):
    return one if bit == 1 else 1 - one


reconstruction, kl = torch.zeros(3), torch.zeros(3)
for z in bits:
    q = [posterior(t, z[: t - 1], x[t - 1]) for t in (1, 2, 3)]
    weight = math.prod(chosen(q[t], z[t]) for t in range(3))  # (GTM.3)
    for t in range(3):
        p = prior(t + 1, z[:t])
        reconstruction[t] += weight * math.log(frame(x[t], z[t]))
        kl[t] += weight * math.log(chosen(q[t], z[t]) / chosen(p, z[t]))
bound = (reconstruction - kl).sum()  # (GTM.4)
print("KL by frame:", kl.numpy().round(3))
print(f"bound {bound:.4f}, ln p(x) {log_p:.4f}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.3) and (GTM.4): the same in one sum, other sequences


def proposal(x):
    """q of all eight settings, by (GTM.3)"""
    return torch.tensor(
        [
            math.prod(
                chosen(posterior(t, z[: t - 1], x[t - 1]), z[t - 1]) for t in (1, 2, 3)
            )
            for z in bits
        ]
    )


def by_tables(x):
    """The same filter from the tables of section 2"""
    shares = []
    for z in bits:
        share = 1.0
        for t, law in enumerate((z1, z2, z3[z[0]])):
            seen = law * see[:, x[t]]
            share *= float((seen / seen.sum())[z[t]])
        shares.append(share)
    return torch.tensor(shares)


filters = torch.stack([by_tables(other) for other in bits])
proposals = torch.stack([proposal(other) for other in bits])
check("GTM.3", proposals, filters, "eight settings, eight sequences, by tables")
check("GTM.3", proposals.sum(1), torch.ones(8), "distributions")
q_all = proposal(x)
logs = torch.tensor([log_joint(x, z) for z in bits])
check("GTM.4", bound, (q_all * (logs - q_all.log())).sum(), "mean of ln p - ln q")
bounds, truths, gaps = [], [], []
for other, q_other in zip(bits, filters, strict=True):
    bounds.append(
        sum(
            w * (log_joint(other, z) - math.log(w))
            for w, z in zip(proposal(other).tolist(), bits, strict=True)
        )
    )
    both = table[..., other[0], other[1], other[2]].flatten()  # p(x, z), by tables
    truths.append(both.sum().log())
    gaps.append((q_other * (q_other * both.sum() / both).log()).sum())
truths = torch.stack(truths)
check("GTM.4", bounds, truths - torch.stack(gaps), "ln p(x) less a gap, eight times")
assert bool((torch.tensor(bounds) <= truths).all())
print("below ln p(x) for all eight sequences")

# %% [markdown]
# Frames 1 and 2 bring 0.368 nats of news each: $\ln 2$, a coin, less the entropy of a guess that is 90% sure. Frame 3 tells less (0.066): it was mostly foreseen. And the bound is a little low. By how much?
#
# $$ \ln p(x)-\mathcal F=D_{\mathrm{KL}}\bigl(q(z_{1:T}\,|\,x)\,\|\,p(z_{1:T}\,|\,x)\bigr) \tag{GTM.5} $$

# %%
q_all = proposal(x)
true = (logs - log_p).exp()  # p(z | x), all eight settings
gap = (q_all * (q_all / true).log()).sum()
check("GTM.5", log_p - bound, gap, "the gap is a divergence")
print(f"gap {gap:.4f}; q(z1=1): {q_all[4:].sum():.3f}, true {true[4:].sum():.3f}")

# %% [markdown]
# Why a gap, with Bayes' rule at every frame? Frame 3 says something about $z_1$, and a filter cannot go back: when it drew $z_1$ it was 90% sure, in hindsight it would be 98%. So the bound is not tight in general, however good a filter $q$ is ([section 1 of the theory](temporal_memory_theory.ipynb)).
#
# **Change it.** In the cell of section 2, write `keep, clear = 0.95, 0.999` for `keep, clear = 0.95, 0.9`, then run sections 2 and 3.
#
# <details><summary>What happens</summary>
#
# ```text
# ln p(x) = -1.4395, three coins would have -2.0794
# ```
#
# A frame now tells its latent almost for certain. Nothing is left for hindsight to correct: the bound is -1.4415, the gap 0.0020 instead of 0.0941. (Put the cell back.)
#
# </details>
#
# **Change it.** In the first cell of this section, write `one, zero = frame(x_t, 1), frame(x_t, 0)` for `one, zero = prior(t, z) * frame(x_t, 1), (1 - prior(t, z)) * frame(x_t, 0)`: a posterior that has no forecast to start from.
#
# <details><summary>What happens</summary>
#
# ```text
# KL by frame: [0.368 0.368 0.256]
# bound -1.9676, ln p(x) -1.6246
# ```
#
# The posterior of frame 3 is now 90% sure where it could be 99%, and the bound falls. In the networks below, prior and posterior both see what the memory tells, for this reason. (Put the cell back.)
#
# </details>
#
# Bits can be summed over. Now for latents that a network can learn.

# %% [markdown]
# ## 4. Normal latents
#
# **Draw with a gradient, and pay in closed form.**
#
# Let prior and posterior be normal distributions with independent components, their means $\mu$ and deviations $\sigma$ given by networks. A draw is written so that a gradient passes:
#
# $$ \mathbf z=\boldsymbol\mu+\boldsymbol\sigma\,\boldsymbol\epsilon,\qquad\boldsymbol\epsilon\sim\mathcal N(\mathbf 0,\mathbf 1) \tag{GTM.6} $$
#
# and the divergence of $q$ from $p$ needs no draw at all:
#
# $$ D_{\mathrm{KL}}(q\,\|\,p)=\frac12\sum_d\left[\ln\frac{\sigma_{p,d}^2}{\sigma_{q,d}^2}+\frac{\sigma_{q,d}^2+(\mu_{q,d}-\mu_{p,d})^2}{\sigma_{p,d}^2}-1\right] \tag{GTM.7} $$


# %%
def kl_by_hand(mu_q, sigma_q, mu_p, sigma_p):
    ratio = sigma_p**2 / sigma_q**2
    apart = (sigma_q**2 + (mu_q - mu_p) ** 2) / sigma_p**2
    return 0.5 * (ratio.log() + apart - 1).sum(-1)  # (GTM.7)


mu_q, sigma_q = torch.tensor([1.5]), torch.tensor([0.3])
first_sight = kl_by_hand(mu_q, sigma_q, torch.tensor([0.0]), torch.tensor([1.0]))
again = kl_by_hand(mu_q, sigma_q, torch.tensor([1.4]), torch.tensor([0.4]))
print(f"first sight {first_sight:.2f} nats, foreseen {again:.2f} nats")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels with the density of a posterior, narrow around 1.5. Left, first sight: the forecast is a broad bell around 0, divergence 1.87 nats. Right, seen before: the forecast is a bell around 1.4 nearly as narrow as the posterior, 0.10 nats."}} tags=["hide-input"]
# @title Checks of (GTM.6) and (GTM.7): quadrature, moments, torch, the library
grid = torch.linspace(-12, 12, 40_001)


def density(mu, sigma):
    return (-0.5 * ((grid - mu) / sigma) ** 2).exp() / (sigma * math.sqrt(2 * math.pi))


for case in ((1.5, 0.3, 0.0, 1.0), (1.5, 0.3, 1.4, 0.4), (-0.7, 1.3, 0.2, 0.6)):
    q, p = density(*case[:2]), density(*case[2:])
    integrand = torch.where(q > 0, q * (q / p.clamp(min=1e-300)).log(), 0.0)
    hand = kl_by_hand(*(torch.tensor([value]) for value in case))
    check("GTM.7", hand, torch.trapezoid(integrand, grid), f"{case}", rtol=1e-6)
g = torch.Generator().manual_seed(1)
four = [torch.randn(5, 3, generator=g).exp() for _ in range(4)]
law = torch.distributions
right = law.kl_divergence(law.Normal(four[0], four[1]), law.Normal(four[2], four[3]))
check("GTM.7", kl_by_hand(*four), right.sum(-1), "three dimensions, torch's")
check(
    "GTM.7", kl_by_hand(*four), kl_normal(Normal(*four[:2]), Normal(*four[2:])), "ours"
)
epsilon = (
    torch.linspace(0.5, 99.5, 100).div(100).mul(2).sub(1).erfinv().mul(math.sqrt(2))
)
z = mu_q + sigma_q * epsilon  # (GTM.6)
check(
    "GTM.6",
    z,
    law.Normal(mu_q, sigma_q).icdf(torch.linspace(0.005, 0.995, 100)),
    "quantiles",
)
check("GTM.6", Normal(mu_q, sigma_q).sample(epsilon), z, "the library's")
fig, axes = figures.panels(2, sharey=True)
for ax, forecast, title in (
    (axes[0], (0.0, 1.0), f"first sight: {first_sight:.2f} nats"),
    (axes[1], (1.4, 0.4), f"foreseen: {again:.2f} nats"),
):
    ax.plot(grid, density(*forecast), color=PLAIN, label="forecast (prior)")
    ax.plot(grid, density(1.5, 0.3), color=MODEL, label="posterior")
    ax.set(xlim=(-3, 3.5), xlabel="z", title=title)
axes[0].set_ylabel("density")
axes[0].legend(fontsize=8, loc="upper left")
fig.suptitle("A good forecast makes the same frame cheap")
plt.show()

# %% [markdown]
# **Change it.** In the first cell of this section, write `torch.tensor([-1.4])` for `torch.tensor([1.4])`: a forecast that is sure of the wrong thing.
#
# <details><summary>What happens</summary>
#
# ```text
# first sight 1.87 nats, foreseen 26.35 nats
# ```
#
# A memory that answers with the wrong frame costs far more than no memory. A model can afford a narrow forecast only where it is right. (Put the cell back.)
#
# </details>
#
# The same posterior, two forecasts: 1.87 nats or 0.10. So all depends on who makes the forecast, and from what.

# %% [markdown]
# ## 5. A state that remembers
#
# **The controller carries the past in a vector, and that vector is small.**
#
# A recurrent network takes what is *carried* on from the frame before, $\mathbf v_{t-1}$, and a context $\mathbf c_t$ where there is one (an action, say):
#
# $$ \mathbf h_t=\operatorname{LSTM}\bigl([\mathbf v_{t-1};\mathbf c_t],\,\mathbf h_{t-1}\bigr),\qquad\mathbf v_0=\mathbf 0 \tag{GTM.8} $$
#
# In the paper $\mathbf v_t=\mathbf z_t$, the latent as it was drawn. A *variational recurrent network* (VRNN, Chung et al. 2015), the baseline, stops here: $\Psi_t=\mathbf h_t$; it carries the encoded frame beside the latent. All that it will recall must be carried in $\mathbf h$, step after step. Its LSTM cell, so that nothing is hidden:

# %%
cell = nn.LSTMCell(4, 5)
W, U = cell.weight_ih, cell.weight_hh
b = cell.bias_ih + cell.bias_hh


def controller(v, h, s):  # s: the LSTM's inner state
    i, f, g, o = (W @ v + U @ h + b).chunk(4)
    s = f.sigmoid() * s + i.sigmoid() * g.tanh()
    return o.sigmoid() * s.tanh(), s  # (GTM.8)


v = torch.tensor([[0.3, -1.2, 0.5, 2.0], [1.0, 0.2, -0.4, 0.1]])
h, s = torch.zeros(5), torch.zeros(5)
state = None
for v_t in v:
    h, s = controller(v_t, h, s)
    state = cell(v_t[None], state)
check("GTM.8", h, state[0][0], "two steps of the controller, as torch has them")
check("GTM.8", s, state[1][0], "and its inner state")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (GTM.8), with a context and from the start, in the library
told = TemporalGenerativeModel(6, 4, Introspection(5, 4, span=3), context_size=2)
c = torch.randn(3, 1, 2)
_, z, psi = told.infer(torch.bernoulli(torch.full((3, 1, 6), 0.5)), c)
W, U = told.controller.weight_ih, told.controller.weight_hh
b = told.controller.bias_ih + told.controller.bias_hh
h, s, v = torch.zeros(5), torch.zeros(5), torch.zeros(4)  # nothing is known yet
states = []
for t in range(3):
    h, s = controller(torch.cat((v, c[t, 0])), h, s)  # (GTM.8)
    states.append(h)
    v = z[t, 0]
check("GTM.8", torch.stack(states), psi[:, 0, :5], "from v = 0, with a context")

# %% [markdown]
# Could one keep the frames outside, where they do not have to be squeezed through $\mathbf h$?

# %% [markdown]
# ## 6. Introspection
#
# **Keep the last $L$ vectors as they are; let the controller say how far to look back.**
#
# The paper's simplest memory has nothing to learn about writing. Its rows are the last $L$ vectors carried on, the newest first:
#
# $$ \mathbf M_t=\bigl[\mathbf v_{t-1},\,\mathbf v_{t-2},\,\dots,\,\mathbf v_{t-L}\bigr] \tag{GTM.9} $$
#
# A *read head* is a softmax over the rows whose logits the controller emits, one for each place. It does not look at what is in the rows, only at how old they are:
#
# $$ \mathbf w_t=\operatorname{softmax}(\mathbf W_w\mathbf h_t+\mathbf b_w),\qquad\mathbf r_t=\sum_{m=1}^Lw_t(m)\,\mathbf M_t(m) \tag{GTM.10} $$
#
# (At the start there are fewer rows; the softmax goes over those that exist. Before frame 1 there is none, and the read is zero.) Three latents A, C, B have been kept, as vectors of two numbers; frame 4 will be A again, so the head should look back three:

# %%
A, C, B = torch.tensor([[1.0, 0.2], [-0.3, 0.9], [0.1, -1.1]])
rows = torch.stack((B, C, A))  # (GTM.9): newest first
logits = torch.tensor([0.0, 0.0, 3.0])  # what the controller emits: look back three
w = logits.exp() / logits.exp().sum()
r = sum(w_m * row for w_m, row in zip(w, rows, strict=True))  # (GTM.10)
print("weights:", w.numpy().round(3))
print("read:   ", r.numpy().round(3), " A was:", A.numpy())

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (GTM.9) and (GTM.10), against the library's memory
memory = Introspection(hidden_size=3, width=2, span=3)
with torch.no_grad():
    memory.lags.weight.copy_(torch.tensor([[0.5, 0, 0], [0, 0.2, 0], [1.0, 0, 1.0]]))
    memory.lags.bias.copy_(torch.tensor([-0.1, 0.4, 0.0]))
h_t = torch.tensor([0.2, -2.0, 2.8])  # its logits are 0, 0 and 3
state = memory.reset(1)
for vector in (torch.tensor([9.0, 9.0]), A, C, B):
    state = memory.write(state, h_t[None], vector[None])
check("GTM.9", rows, state[0].detach(), "the oldest, a fourth vector, is gone")
check("GTM.10", r, memory.read(state, h_t[None])[0][0, 0].detach(), "what is read")
check("GTM.10", w, logits.softmax(0), "a softmax")
check("GTM.10", r, rows.T @ w, "a product with a matrix")
young = memory.write(memory.reset(1), h_t[None], B[None])
check(
    "GTM.10", memory.read(young, h_t[None])[0][0, 0].detach(), B, "one row: all of it"
)

# %% [markdown]
# What is read joins the controller's state, each of $R$ heads through a gate that can shut it out:
#
# $$ \Psi_t=\bigl[\mathbf h_t;\;g_t^1\mathbf r_t^1;\;\dots;\;g_t^R\mathbf r_t^R\bigr],\qquad g_t^i=\operatorname{sigmoid}(\mathbf w_g^i\cdot\mathbf h_t+b_g^i) \tag{GTM.11} $$

# %%
two = TemporalGenerativeModel(6, 2, Introspection(3, 2, span=3, reads=2))
_, z, psi = two.infer(torch.bernoulli(torch.full((3, 1, 6), 0.5)))
h_3, M_3 = psi[2, 0, :3], torch.stack((z[1, 0], z[0, 0]))  # before frame 3
lags = two.memory.lags(h_3).view(2, 3)[:, :2].softmax(1)  # two heads, two rows
g = 1 / (1 + (-(two.gates.weight @ h_3 + two.gates.bias)).exp())
by_hand = torch.cat([h_3] + [g[i] * (lags[i] @ M_3) for i in (0, 1)])
check("GTM.11", by_hand, psi[2, 0], "what the library knows before frame 3")
print("gates", g.detach().numpy().round(2), "- psi has", len(by_hand), "entries")

# %% [markdown]
# To repeat a sequence with a fixed lag, the controller need only emit *the same* logits at every step, while the rows move on under the head. (That the recall begins it must know from elsewhere: here it can count.) How exact is the copy? With the logit of the right row higher by $\gamma$ than all others, which are equal, the others keep
#
# $$ 1-w=\frac{L-1}{e^{\gamma}+L-1} \tag{GTM.12} $$

# %%
L = 9
for gap in (0.0, 3.0, 6.0, 9.0):
    logits = torch.zeros(L)
    logits[4] = gap
    leak = (L - 1) / (math.exp(gap) + L - 1)  # (GTM.12)
    check("GTM.12", 1 - logits.softmax(0)[4], torch.tensor(leak), f"gap {gap:.0f}")
    print(f"gap {gap:.0f}: {100 * leak:.1f}% from other rows")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Share of what is read that comes from wrong rows, against the logit gap from 0 to 10, for memories of 4, 9 and 64 rows. It falls from 75, 89 and 98 per cent; with 64 rows it takes a gap of about 6.3 for 10 per cent, with 9 rows 4.3, with 4 rows 3.3."}} tags=["hide-input"]
# @title Figure: how sharp must a head be?
gaps = np.linspace(0, 10, 101)
fig, ax = plt.subplots(figsize=(4.5, 2.6))
for count, color in ((4, DATA), (9, MODEL), (64, FAST)):
    leaks = (count - 1) / (np.exp(gaps) + count - 1)  # (GTM.12)
    logits = torch.zeros(len(gaps), count)
    logits[:, 0] = torch.tensor(gaps)
    others = logits.softmax(1)[:, 1:].sum(1)
    check("GTM.12", torch.tensor(leaks), others, f"{count} rows, 101 gaps")
    ax.plot(gaps, 100 * leaks, color=color, label=f"L = {count}")
ax.set(xlabel="gap between the logits", ylabel="from wrong rows, %", ylim=(0, 100))
ax.set_title("With 9 rows, a gap of 5 leaves 5% to wrong ones")
ax.legend()
plt.show()

# %% [markdown]
# **Change it.** In the cell of (GTM.12), write `logits[4] = 2 * gap` for `logits[4] = gap`.
#
# <details><summary>What happens</summary>
#
# ```text
# AssertionError: GTM.12: left and right are not equal…
# ```
#
# At a gap of 0 nothing changes; at 3 the head reads 98% of the right row instead of 72%, and the formula, with its $\gamma$ of 3, no longer holds. A controller with twice as large logits reads much more sharply. (Put the cell back.)
#
# </details>

# %% [markdown]
# ## 7. The whole model
#
# **Three networks look at $\Psi_t$, and one frame costs**
#
# $$ \mathcal F_t=\ln p(\mathbf x_t\,|\,\mathbf z_t,\Psi_t)-D_{\mathrm{KL}}\bigl(\mathcal N_q(\Psi_t,\mathbf x_t)\,\|\,\mathcal N_p(\Psi_t)\bigr),\qquad\mathbf z_t\sim\mathcal N_q \tag{GTM.13} $$
#
# $\mathcal N_p$ is the prior, $\mathcal N_q$ the posterior, which sees the encoded frame, too (the encoder is two rectified layers); the decoder gives a logit for each pixel (frames of zeros and ones). Here is all of it, with Introspection, one head and no context:


# %%
def mlp(i, C, o):
    return nn.Sequential(nn.Linear(i, C), nn.ReLU(), nn.Linear(C, o))


def normal(raw):  # deviations are positive; one where raw is 0: both begin near N(0, 1)
    mu, s = raw.chunk(2, 1)
    return mu, F.softplus(s + math.log(math.e - 1)) + 1e-4


def log_bernoulli(logits, x):
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


# %%
class Gtm(nn.Module):
    def __init__(self, D, Z, H, C, L):  # pixels, latent, controller, units, rows
        super().__init__()
        self.encoder = nn.Sequential(mlp(D, C, C), nn.ReLU())
        self.prior, self.decoder = mlp(H + Z, C, 2 * Z), mlp(Z + H + Z, C, D)
        self.posterior = mlp(C + H + Z, C, 2 * Z)
        self.controller, self.lags = nn.LSTMCell(Z, H), nn.Linear(H, L)
        self.gate = nn.Linear(H, 1)

    def forward(self, x, noise):  # (T, B, D), (T, B, Z) -> (T, B)
        v = r = x.new_zeros(x.shape[1], self.controller.input_size)
        state, rows, bounds = None, [], []
        for x_t, noise_t in zip(x, noise, strict=True):
            h, _ = state = self.controller(v, state)  # (GTM.8)
            if bounds:
                rows = [v, *rows][: self.lags.out_features]  # (GTM.9)
                w = self.lags(h)[:, : len(rows)].softmax(1)
                r = torch.einsum("bm,mbz->bz", w, torch.stack(rows))  # (GTM.10)
            psi = torch.cat((h, self.gate(h).sigmoid() * r), 1)  # (GTM.11)
            p = normal(self.prior(psi))
            q = normal(self.posterior(torch.cat((self.encoder(x_t), psi), 1)))
            v = q[0] + q[1] * noise_t  # (GTM.6)
            log_p = log_bernoulli(self.decoder(torch.cat((v, psi), 1)), x_t)
            bounds.append(log_p - kl_by_hand(*q, *p))  # (GTM.13)
        return torch.stack(bounds)


# %% [markdown]
# Is it the library's model? Give it the library's weights and noise:

# %%
library = TemporalGenerativeModel(20, 4, Introspection(12, 4, span=5), code_size=10)
mine = Gtm(D=20, Z=4, H=12, C=10, L=5)
with torch.no_grad():
    for name in ("encoder", "prior", "decoder", "controller"):
        theirs = getattr(library, name).parameters()
        for own, other in zip(getattr(mine, name).parameters(), theirs, strict=True):
            own.copy_(other)
    mine.gate.load_state_dict(library.gates.state_dict())
    mine.lags.load_state_dict(library.memory.lags.state_dict())
    first, last = mine.posterior[0], mine.posterior[2]
    first.weight.copy_(torch.cat((library.evidence.weight, library.belief.weight), 1))
    first.bias.copy_(library.evidence.bias)
    last.load_state_dict(library.posterior.state_dict())
x = torch.bernoulli(torch.full((7, 3, 20), 0.4))
torch.manual_seed(5)
noise = torch.randn(7, 3, 4)
torch.manual_seed(5)
check("GTM.13", mine(x, noise), library(x).total, "seven frames, five rows")

# %% [markdown]
# The library computes the same in another order: encoder, prior, decoder and divergence run once on all frames, since only $\mathbf z_t$ feeds back, through controller and memory ([cost, on the theory page](temporal_memory_theory.ipynb)).
#
# **The other memories** of the paper take Introspection's place. They also learn where to write: **LRU** to what was just read or used least, and reads by similarity ([the MANN lesson](memory_augmented.ipynb)); **NTM**, the Neural Turing Machine, by similarity and by shifts from the place before; **DNC**, the Differentiable Neural Computer, by similarity or to what is free, and it links rows in the order in which they were written. NTM and DNC are derived on [the theory page](temporal_memory_theory.ipynb). Of your own, a subclass of `Recurrent` says in `reads` and `read_width` what it reads, and has `reset`, `write` and `read`. A row holds more than its own frame: the posterior has seen $\Psi_t$, so what was read before flows into it.

# %% [markdown]
# ## 8. Explore
#
# **Where does a memory look while the sequence plays?** Trained on six digits, then the first three again; one test sequence. Newest row first for Introspection, slots in their order for the others.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: what each memory reads, frame by frame
MEMORIES = ("Introspection", "LRU", "NTM", "DNC")
ONE = {
    name: sweep(experiment.named("recall", name), "book").iloc[0] for name in MEMORIES
}


def at_frame(memory, frame):
    row = ONE[memory]
    weights = np.zeros((9, 9))
    for t, w in enumerate(row.attention[:frame]):
        weights[: len(w), t] = w
    fig = plt.figure(figsize=(5.2, 4.2))
    grid = fig.add_gridspec(2, 9, height_ratios=[1, 6])
    for t in range(9):
        ax = fig.add_subplot(grid[0, t])
        if t < frame:
            picture = 100 - np.array(row.frames[0][t]).reshape(8, 8)
            ax.imshow(picture, cmap="gray", vmin=0, vmax=100)
        ax.set(xticks=[], yticks=[])
    ax = fig.add_subplot(grid[1, :])
    ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set(xticks=range(9), xticklabels=range(1, 10), yticks=range(9))
    ax.set(
        xlabel="frame", ylabel="frames back" if memory == "Introspection" else "slot"
    )
    ax.set_yticklabels(range(1, 10))
    fig.suptitle(f"{memory}: read weights up to frame {frame}", fontsize=11)
    return fig


explore(
    at_frame,
    alt="{memory}, read weights up to frame {frame} of nine",
    memory=list(MEMORIES),
    frame=list(range(2, 10)),
)

# %% [markdown]
# Slide to frame 9. Nobody told them where to look (but the NTM begins as a tape: it writes slot after slot, and reads by content). Introspection looks six frames back, three times in a row: the rows move on under a head that stands still. The NTM moves its head on by one slot a frame, LRU finds the slots one after the other by their contents; the DNC's read weights sum to 0.6 (0.8 and 0.9 in the other two trainings). Before frame 7 there is nothing to recall, and the weights are spread, rest somewhere, or are next to zero.
#
# **What does it expect?** The first six frames are given, with latents from the posterior; then the model goes on by itself, with latents from the prior.

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: what each model goes on with
ARMS = {name: ("recall", name) for name in ("VRNN", *MEMORIES)}
ARMS["Introspection, code kept"] = ("carry", "Introspection, code")
ONE = {
    name: sweep(experiment.named(*arm), "book").iloc[0] for name, arm in ARMS.items()
}


def going_on(prefix, model):
    row = ONE[model]
    frames, dreamt = (
        np.array(part[prefix - 1]) for part in (row.frames, row.continued)
    )
    fig, axes = plt.subplots(2, 9, figsize=(6.5, 2.2))
    for t in range(9):
        shown = [frames[t]] if t < 6 else [frames[t], dreamt[t - 6]]
        axes[1, t].set_axis_off()
        for ax, picture in zip(axes[:, t], shown, strict=False):
            ax.set_axis_on()
            ax.imshow(100 - picture.reshape(8, 8), cmap="gray", vmin=0, vmax=100)
            ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("is", fontsize=9)
    axes[1, 6].set_ylabel("expects", fontsize=9)
    fig.suptitle(f"{model}: six frames given, three expected", fontsize=11)
    return fig


explore(
    going_on,
    alt="{model}, prefix {prefix}: six given digits, three true ones, three expected ones",
    model=list(ARMS),
    prefix=[1, 2, 3, 4],
)

# %% [markdown]
# The VRNN draws a blur that could be any digit. Models with a memory draw a blur of *this* digit: what a noisy draw of its latent passes on, not every pixel. Where the memory keeps the encoder's code instead (`carry="code"`), the digit comes back nearly pixel by pixel. Every nat in the latent is paid for, the code is free, and it is allowed: in (GTM.2) the forecast may use all frames of the past. (To go on alone, the model then encodes its own frames.)
#
# ## 9. It works
#
# Live, for seconds: four digits, then the first two again.

# %% tags=["nbval-ignore-output"]
torch.set_default_dtype(torch.float32)
live = experiment.LIVE  # Introspection, 4 digits to keep
model, path = experiment.train(live, 0, device)
episodes = experiment.draw(live, "test", 500, torch.Generator().manual_seed(1))
found = experiment.measure(model, episodes, device)
print({name: round(value, 1) for name, value in found.items()})

# %% [markdown]
# `new` and `told` are $\mathcal F$ a frame, of frames at first sight and of those shown again (*told* by the past); `_kl` their divergence alone.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels by frame, one to nine, every seed a dot, the last three frames shaded. Left, cost: all five models near 22 to 23 nats for six frames; then the VRNN stays at 23, the four with a memory fall to 17 to 18. Right, divergence: the VRNN at 4.1 throughout; the others 5.1 to 6.1 for frames 1 to 3, 4.2 to 5 for 4 to 6, below 1 for the last three."}} tags=["hide-input"]
# @title The headline: cost and news by frame, every seed a dot
COLORS = {"VRNN": PLAIN, "Introspection": MODEL, "LRU": FAST, "NTM": ODD, "DNC": DATA}
fig, axes = figures.panels(2)
for name, color in COLORS.items():
    runs = np.array(sweep(experiment.named("recall", name), "book").by_frame.to_list())
    for ax, values in ((axes[0], -runs[:, 0]), (axes[1], runs[:, 1])):
        ax.plot(range(1, 10), values.T, ".", color=color, ms=4)
        ax.plot(range(1, 10), values.mean(0), color=color, label=name)
for ax, label in zip(axes, ("cost, nats", "divergence, nats"), strict=True):
    ax.axvspan(6.5, 9.5, color="0.93", zorder=0)
    ax.set(xlabel="frame", xticks=range(1, 10), ylabel=label, ylim=(0, None))
axes[1].legend(fontsize=8, loc="lower left")
fig.suptitle("Told again: with a memory, next to no news")
plt.show()

# %% [markdown]
# Digits of 8×8, zeros and ones; latents of 16 numbers, controllers of 96 units; the VRNN has 108,736 weights, the others 88,202 to 100,589. 1,000 test sequences; 2,500 updates of 32 sequences, one learning rate, the best of three for every model (on another seed); seeds are dots. **Frames shown again cost the VRNN 22.8 nats, Introspection 18.1, NTM 17.6, LRU 17.1, DNC 17.0; new ones all of them 22.3 to 22.9.** Three more things:
#
# - The saving, new less told, is 4.8 to 5.3 nats, about the divergence of the same frames at first sight (5.2 to 6.0 nats). The rest, 17 to 18 nats, is what a draw of the latent does not pass on: it is paid again.
# - Frames 1 to 3, which will come back, get more divergence at first sight (5.2 to 6.0) than frames 4 to 6, which will not (4.3 to 4.9): the model pays to keep what it will need. The VRNN treats both alike, and so does Introspection if it keeps the code (5.2 and 5.2).
# - The VRNN recalls nothing after 7,500 updates either ([section 4 of the experiments](temporal_memory_experiments.ipynb)); a frame one or two steps back it does ([section 3](temporal_memory_experiments.ipynb)).
#
# ## 10. What is it worth?
#
# - **Is the bound better?** Where frames come back at places that can be found, yes. Told frames cost, with a memory and without: perfect recall 17.0 to 18.1 nats against 22.8; a chain, each digit naming the place of the next, 16.2 to 16.7 against 18.2; one frame shown again as a cue, then those that followed it, 18.3 to 18.9 against 22.6. On a walk over a map of nine digits hardly; in a turning panorama and on strings of symbols the VRNN is better ([sections 1 and 2](temporal_memory_experiments.ipynb)).
# - **Which memory?** Means differ by 1.0 nats at most on digits (but on a small walk, where Introspection is ahead of the others by 2.9 and more), and three seeds do not rank them ([section 2](temporal_memory_experiments.ipynb)).
# - **Is Introspection a hack?** It is attention with fixed position keys, so it cannot search by content: by content alone it does worse on recall and on the cue, by both about as well or better ([section 5](temporal_memory_experiments.ipynb)).
# - **What should be kept?** The encoder's code: a frame shown again costs 2.7 nats; with the posterior's mean 11.8, with the drawn latent 18.1 ([section 7](temporal_memory_experiments.ipynb)).
# - **Language?** On associative strings the latents tell nothing (divergence 0), so a memory of latents has nothing to keep: a guess, 2.30 nats an answer. With latent and code kept, LRU needs 0.87 ([section 7](temporal_memory_experiments.ipynb)).
#
# What came after: spatial memories ([GTM-SM](temporal_memory_theory.ipynb)), the same scheme inside agents (MERLIN), state-space models of the same form without external memory (PlaNet, Dreamer), and transformers, whose attention over past latents is Introspection with keys for content.

# %% [markdown]
# ## 11. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(kl_from_logs)`: it prints "right", or raises with what is wrong.
#
# **1 (code).** Networks often emit log-variances. Write (GTM.7) from means and log-variances so that it neither overflows nor cancels, in float64: zero for equal distributions with log-variances of $-1400$, and right to three digits where they differ by $10^{-9}$.


# %% tags=["exercise-1"]
def kl_from_logs(mu_q, logvar_q, mu_p, logvar_p):
    """KL of q from p in nats, (batch,); all arguments (batch, d)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(function):
    g = torch.Generator().manual_seed(3)
    a, b, c, d = (torch.randn(6, 4, generator=g, dtype=torch.float64) for _ in range(4))
    law = torch.distributions
    right = law.kl_divergence(
        law.Normal(a, (b / 2).exp()), law.Normal(c, (d / 2).exp())
    ).sum(1)
    answer = torch.as_tensor(function(a, b, c, d)).double()
    assert answer.shape == (6,), f"shape {tuple(answer.shape)}, expected (6,)"
    assert torch.allclose(answer, right), (
        f"{answer.tolist()}, expected {right.tolist()}"
    )
    tiny = torch.full_like(b, -1400.0)
    same = torch.as_tensor(function(a, tiny, a, tiny)).double()
    assert bool((same == 0).all()), (
        f"log-variances of -1400: {same.tolist()}, not zeros"
    )
    near = torch.as_tensor(function(a, 0 * b, a, 0 * b + 1e-9)).double()
    right = torch.full((6,), 1e-18, dtype=torch.float64)  # d / 4 times the square
    assert torch.allclose(near, right, rtol=1e-3, atol=0), (
        f"nearly equal: {near.tolist()}"
    )
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# ```python
# def kl_from_logs(mu_q, logvar_q, mu_p, logvar_p):
#     change = logvar_q - logvar_p
#     apart = (mu_q - mu_p) * (-logvar_p / 2).exp()
#     return 0.5 * (torch.expm1(change) - change + apart**2).sum(1)
# ```
#
# Only the *difference* of the logarithms is exponentiated, and `expm1` keeps the digits where it is small. `exp(-logvar_p)` would be $e^{1400}$, infinite, and infinity times zero is not a number; with half the exponent it is $e^{700}$, which float64 holds.
#
# </details>
#
# **2 (code).** Introspection for ragged batches: in each sequence only the first `lengths[b]` rows exist. Where there are none, the read is zero.


# %% tags=["exercise-2"]
def read(logits, rows, lengths):
    """(batch, width) from logits (batch, L), rows (batch, L, width), lengths (batch,)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(function):
    g = torch.Generator().manual_seed(4)
    for batch, L, width in ((4, 5, 3), (1, 1, 2), (6, 3, 1)):
        logits = 3 * torch.randn(batch, L, generator=g, dtype=torch.float64)
        rows = torch.randn(batch, L, width, generator=g, dtype=torch.float64)
        lengths = torch.arange(batch) % (L + 1)
        logits.requires_grad_()
        answer = function(logits, rows, lengths)
        assert answer.shape == (batch, width), f"shape {tuple(answer.shape)}"
        for b in range(batch):
            right = torch.zeros(width, dtype=torch.float64)
            n = int(lengths[b])
            if n:
                shares = np.exp(logits[b, :n].detach().numpy())
                for share, row in zip(shares / shares.sum(), rows[b], strict=False):
                    right += share * row
            assert torch.allclose(answer[b].detach(), right), (
                f"length {n}: {answer[b].tolist()}, expected {right.tolist()}"
            )
        (slope,) = torch.autograd.grad(answer.sum() + 0 * logits.sum(), logits)
        assert bool(slope.isfinite().all()), "the gradient is not finite"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# ```python
# def read(logits, rows, lengths):
#     exists = torch.arange(logits.shape[1]) < lengths[:, None]
#     empty = lengths[:, None] == 0
#     scores = logits.masked_fill(~exists & ~empty, -math.inf)
#     weights = scores.softmax(1) * exists
#     return (weights[:, :, None] * rows).sum(1)
# ```
#
# A softmax over nothing but $-\infty$ is not a number, nor is its gradient. So where no row exists nothing is masked, and the weights are set to zero afterwards.
#
# </details>
#
# **3 (thought and code).** What does a memory save if the repeats are not certain? Cards from a deck of $n$, drawn with replacement: $l$ are shown, then the first $k\le l$ again, but each repeat is, with probability $\varepsilon$, replaced by one of the $n-1$ other cards. Give the expected surprise of a sequence for the best forecaster who remembers (and knows $\varepsilon$), and for the best one who knows only the deck.


# %% tags=["exercise-3"]
def surprises(n, kept, again, eps):
    """(with memory, without), nats; eps in [0, 1)"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(function):
    for n, kept, again, eps in (
        (4, 3, 2, 0.1),
        (10, 6, 3, 0.5),
        (2, 1, 1, 0.0),
        (5, 4, 0, 0.2),
    ):
        counted = [0.0, 0.0]
        for t in range(kept + again):
            for first, second in product(range(n), repeat=2):
                law = 1 - eps if first == second else eps / (n - 1)  # of the second
                if t < kept:
                    law = 1 / n
                if law:
                    counted[0] -= law / n * math.log(law)
                counted[1] -= math.log(1 / n) / n**2
        found = [float(value) for value in function(n, kept, again, eps)]
        assert np.allclose(found, counted), (
            f"n={n}, eps={eps}: {found}, expected {counted}"
        )
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# ```python
# def surprises(n, kept, again, eps):
#     repeat = 0.0 if eps == 0 else -(1 - eps) * math.log(1 - eps)
#     if eps > 0:
#         repeat -= eps * math.log(eps / (n - 1))
#     return kept * math.log(n) + again * repeat, (kept + again) * math.log(n)
# ```
#
# All cards are equally likely at every step, if one knows only the deck. The memory saves $\ln n$ less the entropy of a repeat, each time: all of it at $\varepsilon=0$, nothing at $\varepsilon=1-1/n$. For pictures, what can be saved, and under which conditions: [section 2 of the theory](temporal_memory_theory.ipynb).
#
# </details>
#
# ## Symbols
#
# | symbol | here | meaning |
# |---|---|---|
# | $\mathbf x_t,\ \mathbf z_t$ | `x`, `z` | frame $t$ of $T$; its latent |
# | $\mathbf v_t,\ \mathbf c_t$ | `v`, `context` | what is carried on from frame $t$ (in the paper $\mathbf z_t$); what is known of a frame beforehand |
# | $\mathbf M_t,\ L$ | `rows`, `span` | the memory before frame $t$; its rows |
# | $\mathbf w_t,\ \mathbf r_t,\ g_t$ | `w`, `r`, `gates` | read weights, what is read, gate |
# | $\mathbf h_t,\ \Psi_t$ | `h`, `psi` | the controller's state, and all that is known, before frame $t$ |
# | $p,\ q$ | `prior`, `posterior` | the model; the guess that sees the frame |
# | $\mu,\ \sigma,\ \epsilon$ | `mean`, `deviation`, `noise` | of a normal distribution; standard normal noise |
# | $\mathcal F,\ D_{\mathrm{KL}}$ | `Bound.total`, `.kl` | the bound; Kullback-Leibler divergence |
