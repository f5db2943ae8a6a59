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
# # Causal transfer: the right direction has less to relearn
#
# **The problem.** Does rain make people carry umbrellas, or do umbrellas make it rain? A table of days cannot tell: "first rain, then umbrella" and "first umbrella, then rain" describe it equally well.
#
# **The idea.** Move to a rainier town. If rain is the cause, one number is new, how often it rains; how people react to rain is as before. A model built in that direction repairs one part; the reversed model finds that *everything* has changed. So watch which of two models predicts better **while it adapts**. With $\Delta$, the log-likelihood by which $A\to B$ was better, and a rate $\eta$, the belief $\sigma(\gamma)=1/(1+e^{-\gamma})$ in $A\to B$ follows, from $\gamma=0$,
#
# $$ \gamma\ \leftarrow\ \gamma+\eta\,\bigl(\sigma(\gamma+\Delta)-\sigma(\gamma)\bigr) $$
#
# ```text
# both models hold the table of home
# in each new town, without being told what has changed there:
#     both models start from home again
#     for each example: predict it, then one step of SGD
#     L = the product of the predictions, Δ = log L(A → B) − log L(B → A)
#     a step of γ, as above
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
from functools import cache
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch

from workedpapers.causal_transfer import (
    TabularModel,
    adapt,
    optimal_belief,
    structural_gradient,
    structural_loss,
)
from workedpapers.experiments import causal_transfer as experiment
from workedpapers.lab import check, explore, figures, progress, setup, sweep
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

device = setup(seed=0)
torch.set_default_dtype(torch.float64)
CAUSAL, REVERSE, DATA, MUTED, ODD = (
    figures.COLORS[role] for role in ("learned", "fast", "data", "muted", "wrong")
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two bar charts of probabilities at home and in the new town. Rain to umbrella: rain 0.3 and 0.8, umbrella given dry 0.1 and 0.1, umbrella given rain 0.8 and 0.8. Umbrella to rain: umbrella 0.31 and 0.66, rain given none 0.09 and 0.47, rain given umbrella 0.77 and 0.97."}} tags=["hide-input"]
# @title The idea in one picture: one number changes, or all three do
home = {
    "rain → umbrella": [
        ("rain", 0.3),
        ("umbrella\nif dry", 0.1),
        ("umbrella\nif rain", 0.8),
    ],
    "umbrella → rain": [
        ("umbrella", 0.31),
        ("rain if\nnone", 0.087),
        ("rain if\numbrella", 0.774),
    ],
}
town = {"rain → umbrella": [0.8, 0.1, 0.8], "umbrella → rain": [0.66, 0.471, 0.970]}
fig, axes = figures.panels(2, sharey=True)
for ax, direction in zip(axes, home, strict=True):
    color = CAUSAL if direction.startswith("rain") else REVERSE
    names, before = zip(*home[direction], strict=True)
    place = np.arange(3)
    ax.bar(place - 0.2, before, 0.38, color="0.8", label="at home")
    ax.bar(place + 0.2, town[direction], 0.38, color=color, label="new town")
    ax.set_xticks(place, names, fontsize=8.5)
    ax.set_title(direction)
    ax.legend(fontsize=8, loc="upper center")
axes[0].set(ylabel="probability", ylim=(0, 1.05))
plt.show()

# %% [markdown]
# Both models hold three numbers. In the new town one of the left model's is wrong, all of the right one's are. Section 1 has these numbers.
#
# **What we found.**
#
# - With ten values and $\alpha=1$, after ten examples the right model is 0.44 nats from the new world, the reversed one 0.85; after twenty, $\Delta>0$ in 96% of the episodes. With the settings of the authors' notebook the belief passes 0.95 after 342 episodes.
# - It finds the direction that is mended faster, not the cause as such. Intervene on the *effect*, and the belief goes to 0.02. If one episode in ten changes $P(B)$ and keeps $P(A|B)$, the best belief is 0.91, not one.
# - Parts that learn apart help it. A network's rows share biases, so that one step moves them all: that helps the reversed direction, whose rows all need the same move, and disturbs the right one. With eight units, well fitted to the same tables, the *reversed* network is faster; where the world is such a network itself, the right one is. A learner that counts pairs and remembers home sees no direction at all (section 11).
#
# **Use it** as an idea: what changes little under interventions is a better description than what must change everywhere. **Do not** read $\sigma(\gamma)$ as the probability that $A$ causes $B$.
#
# **Minutes:** problem 4 · equally wrong 2 · a step 4 · standing still 6 · online 5 · belief 4 · whole method 4 · where it goes 5 · explore 3 · it works 4 · worth 3.
#
# **Beside this lesson:** [the experiments](causal_transfer_experiments.ipynb), a figure for each question; [the theory](causal_transfer_theory.ipynb), with proofs, other losses, errata, cost; the paper, Bengio et al. 2019 ([arXiv 1901.10912](https://arxiv.org/abs/1901.10912)); [this page on Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/causal_transfer.ipynb); [the source of the models](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/causal_transfer.py).
#
# Below, code computes both sides of each tagged equation by different routes. `check` prints ✓, or stops the notebook.

# %% [markdown]
# ## 1. The problem in numbers
#
# **One table, two ways to write it; after a move, one way has one new number, the other three.**
#
# $A$ is the weather (0 dry, 1 rain), $B$ the umbrella (0 none, 1 carried). At home it rains on 30% of days. On those, 80% carry an umbrella, on dry days 10%. Every joint table splits in two ways:
#
# $$ p(a,b)=p(a)\,p(b\mid a)=p(b)\,p(a\mid b) \tag{CT.1} $$

# %%
rain = torch.tensor([0.7, 0.3])  # p(a)
umbrella = torch.tensor([[0.9, 0.1], [0.2, 0.8]])  # p(b|a), a row for each a
p = rain[:, None] * umbrella
print("the table, rows dry and rain:\n", p.numpy().round(3))

p_b = p.sum(0)
p_a_given_b = (p / p_b).T  # a row for each b
print("umbrella:", p_b.numpy().round(3))
print("rain if no umbrella, if umbrella:", p_a_given_b[:, 1].numpy().round(3))

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.1), by counting days
days = torch.tensor([[630, 70], [60, 240]])  # of 1,000 at home
check("CT.1", p, days / 1000, "the table, from p(a) p(b|a)")
check("CT.1", p_b, days.sum(0) / 1000, "umbrella")
check("CT.1", p_a_given_b.T, days / days.sum(0), "rain if …")
check("CT.1", p_b * p_a_given_b.T, days / 1000, "the same table, from p(b) p(a|b)")

# %% [markdown]
# Data from home cannot choose. Now move to a town where it rains on 80% of days, and people are the same: an *intervention on the cause*. Write $q$ for the new town:
#
# $$ q(a,b)=q(a)\,p(b\mid a),\quad q(b)=\sum_aq(a)\,p(b\mid a),\quad q(a\mid b)=\frac{q(a)\,p(b\mid a)}{q(b)} \tag{CT.2} $$

# %%
q = torch.tensor([0.2, 0.8])[:, None] * umbrella


def numbers(joint):
    """The three numbers of each model: marginal of 1, and of 1 given 0 and given 1."""
    rows, columns = joint / joint.sum(1, keepdim=True), joint / joint.sum(0)
    forward = [joint[1].sum(), rows[0, 1], rows[1, 1]]
    return torch.stack(forward), torch.stack([joint[:, 1].sum(), *columns[1]])


for name, joint in (("home", p), ("town", q)):
    forward, reverse = (values.numpy().round(3) for values in numbers(joint))
    print(f"{name}: rain → umbrella {forward}   umbrella → rain {reverse}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.2), by counting days
days = torch.tensor([[180, 20], [160, 640]])  # of 1,000 in the new town
check("CT.2", q, days / 1000, "the new table")
q_a, p_b_a = torch.tensor([0.2, 0.8]), umbrella
q_b = torch.stack([sum(q_a[a] * p_b_a[a, b] for a in (0, 1)) for b in (0, 1)])
check("CT.2", q_b, days.sum(0) / 1000, "the new marginal of the effect")
q_a_b = q_a[:, None] * p_b_a / q_b
check("CT.2", q_a_b, days / days.sum(0), "the new conditional of the cause")
counted = days[1] / days.sum(0)  # rain if none, if umbrella
right = torch.cat((days[:, 1].sum()[None] / 1000, counted))
check("CT.2", numbers(q)[1], right, "the three numbers of umbrella → rain")
left = torch.stack((days[1].sum() / 1000, *(days[:, 1] / days.sum(1))))
check("CT.2", numbers(q)[0], left, "the three numbers of rain → umbrella")

# %% [markdown]
# Left, one number moved. Right, all three.
#
# **Change it.** In the cell above the folded one, write `p.sum(1, keepdim=True) * torch.tensor([0.2, 0.8])` for `torch.tensor([0.2, 0.8])[:, None] * umbrella`: the weather as at home, but umbrellas are handed out to 80% of people, an intervention on the *effect*.
#
# <details><summary>What happens</summary>
#
# ```text
# town: rain → umbrella [0.3 0.8 0.8]   umbrella → rain [0.8 0.3 0.3]
# ```
#
# The umbrella no longer depends on the rain. Left, one conditional is new and the rest happens to be as it was; right, all three are new. Does that mean that rain → umbrella wins? Section 4 comes back to it. (Put the cell back before you go on.)
#
# </details>
#
# Which model is *worse* in the new town, before it learns anything?

# %% [markdown]
# ## 2. Equally wrong
#
# **At first neither is worse. But one model's error sits in one place, the other's is everywhere.**
#
# How far a model $P$ is from the world $q$ is the Kullback-Leibler divergence, in nats: what an example costs beyond its entropy. By the product rule it splits into one term for the marginal and one for each row of the conditional:
#
# $$ \mathrm{KL}(q\,\|\,P)=\mathrm{KL}(q_A\|P_A)+\sum_aq(a)\,\mathrm{KL}\bigl(q(\cdot|a)\,\|\,P(\cdot|a)\bigr) \tag{CT.3} $$
#
# and the same with $A$ and $B$ exchanged.


# %%
def kl(q, p):
    """Σ q log(q/p) over the last axis."""
    return (q * (q / p).log()).sum(-1)


def split_kl(q, p):
    """The summands of (CT.3): the marginal of the rows, then each row."""
    q_a, p_a = q.sum(1), p.sum(1)
    rows = q_a * kl(q / q_a[:, None], p / p_a[:, None])
    return torch.cat((kl(q_a, p_a)[None], rows))


# %%
for name, parts in (
    ("rain → umbrella", split_kl(q, p)),
    ("reversed", split_kl(q.T, p.T)),
):
    print(f"{name}: {parts.numpy().round(3)}, sum {parts.sum():.4f}")
    check("CT.3", parts.sum(), kl(q.flatten(), p.flatten()), "marginal + rows = joint")
check("CT.3", split_kl(q, p)[1:], torch.zeros(2), "left, no row is wrong", atol=1e-15)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two horizontal stacked bars of equal length, 0.534 nats. Rain to umbrella: one piece, the marginal. Umbrella to rain: 0.26 for the marginal, 0.17 for the row none, 0.10 for the row umbrella."}} tags=["hide-input"]
# @title Where the error sits
fig, ax = plt.subplots(figsize=(4.5, 2.0))
SHADES = {"marginal": 1.0, "row 0": 0.65, "row 1": 0.35}
for height, parts, color in (
    (1, split_kl(q, p), CAUSAL),
    (0, split_kl(q.T, p.T), REVERSE),
):
    left = 0.0
    for (label, alpha), value in zip(SHADES.items(), parts.tolist(), strict=True):
        ax.barh(height, value, 0.6, left=left, color=color, alpha=alpha)
        if value > 0.01:
            ax.text(
                left + value / 2, height, label, ha="center", va="center", fontsize=9
            )
        left += max(value, 0)
ax.set_yticks([0, 1], ["umbrella →\nrain", "rain →\numbrella"])
ax.set(xlabel="nats", title="Equal sums; one piece against three")
plt.show()

# %% [markdown]
# The sums are equal, since both models hold the same table. So a test *before* learning says nothing. The difference must come from learning. How does a table learn?

# %% [markdown]
# ## 3. One step of learning
#
# **After an example, the marginal moves, and one row of the conditional.**
#
# Each distribution is a softmax of *logits*. The derivative of a log-probability, the *score*, is the observed less the expected:
#
# $$ \frac{\partial\log\operatorname{softmax}(\theta)_k}{\partial\theta_j}=[j=k]-\operatorname{softmax}(\theta)_j \tag{CT.4} $$
#
# So a step of gradient ascent at the rate $\alpha$ on $\log P(a,b)=\log P(a)+\log P(b\mid a)$ is
#
# $$ \theta_A\mathrel{+}=\alpha\,(\mathbf e_a-\operatorname{softmax}\theta_A),\quad\theta_{B|a}\mathrel{+}=\alpha\,(\mathbf e_b-\operatorname{softmax}\theta_{B|a}) \tag{CT.5} $$
#
# with $\theta_{B|a}$ the row of the cause $a$ and $\mathbf e_k$ one at $k$, else zero. The rows of the causes that did not occur stay.

# %%
theta, rows, alpha = p.sum(1).log(), p.log(), 0.3  # log p(a) drops out of each row
a, b = 1, 0  # a day of rain, without an umbrella
new_theta, new_rows = theta.clone(), rows.clone()
new_theta += alpha * (torch.eye(2)[a] - theta.softmax(0))  # (CT.5)
new_rows[a] += alpha * (torch.eye(2)[b] - rows[a].softmax(0))
print(
    "rain:",
    theta.softmax(0)[1].numpy().round(3),
    "→",
    new_theta.softmax(0)[1].numpy().round(3),
)
print("umbrella if dry, if rain:", new_rows.softmax(1)[:, 1].numpy().round(3))

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.4) and (CT.5), against automatic differentiation
logits = torch.tensor([0.3, -1.1, 0.8, 0.1], requires_grad=True)
for k in range(4):
    (score,) = torch.autograd.grad(logits.log_softmax(0)[k], logits)
    formula = torch.stack([float(j == k) - logits.softmax(0)[j] for j in range(4)])
    check("CT.4", formula.detach(), score, f"the score of value {k}")
check("CT.5", theta.softmax(0), rain, "the start: the marginal of home")
check("CT.5", rows.softmax(1), umbrella, "the start: the rows of home")
free = [theta.clone().requires_grad_(), rows.clone().requires_grad_()]
descent = torch.optim.SGD(free, lr=alpha, maximize=True)
(free[0].log_softmax(0)[a] + free[1].log_softmax(1)[a, b]).backward()
descent.step()
for left, right, name in zip(
    (new_theta, new_rows), free, ("marginal", "rows"), strict=True
):
    check("CT.5", left, right.detach(), f"one step of SGD: {name}")

# %% [markdown]
# The day was odd, so the belief "80% carry one if it rains" drops to 71%, though it was right. If right parts move too, what is gained?

# %% [markdown]
# ## 4. What is right stands still, on average
#
# **The expected score of a true distribution is zero: what is right wobbles, but does not drift. What is wrong drifts, and the more often it is visited, the faster.**
#
# Suppose that row $a$ was fitted at home, $P(b\mid a)=p(b\mid a)$, and people have not changed. Whatever the weather now,
#
# $$ \sum_bp(b\mid a)\bigl([k=b]-p(k\mid a)\bigr)=p(k\mid a)-p(k\mid a)=0 \tag{CT.6} $$
#
# The mean of a score is zero. In the reversed model, row $b$ is visited with the probability $q(b)$ and then sees $a$ with $q(a\mid b)$, but expects $p(a\mid b)$. Its expected step is
#
# $$ \alpha\,q(b)\,\bigl(q(a\mid b)-p(a\mid b)\bigr) \tag{CT.7} $$
#
# for the logit of $a$, which is zero only where $q(a\mid b)=p(a\mid b)$. Average the step over the four kinds of day:


# %%
def expected_step(q, p, alpha):
    """The mean step (CT.5) of marginal (2,) and rows (2, 2), over days drawn from q."""
    theta_step, rows_step = torch.zeros(2), torch.zeros(2, 2)
    one_hot = torch.eye(2)
    for a, b in product((0, 1), repeat=2):
        theta_step += q[a, b] * alpha * (one_hot[a] - p.sum(1))
        rows_step[a] += q[a, b] * alpha * (one_hot[b] - p[a] / p[a].sum())
    return theta_step, rows_step


forward, reverse = expected_step(q, p, alpha), expected_step(q.T, p.T, alpha)
for name, (marginal, conditional) in (
    ("rain → umbrella", forward),
    ("reversed", reverse),
):
    moves = torch.cat((marginal[1:], conditional[:, 1])).numpy().round(4) + 0.0
    print(f"{name}: the logits of 1 move by {moves.tolist()}")

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.6) and (CT.7)
for row in (umbrella[0], umbrella[1], torch.tensor([0.5, 0.2, 0.08, 0.22])):
    values = range(len(row))
    formula = [sum(row[b] * (float(k == b) - row[k]) for b in values) for k in values]
    free = row.log().requires_grad_()
    (slope,) = torch.autograd.grad((row * free.log_softmax(0)).sum(), free)
    zero = torch.zeros(len(row))
    check(
        "CT.6",
        torch.stack(formula),
        slope,
        f"{len(row)} values: as autograd",
        atol=1e-15,
    )
    check("CT.6", torch.stack(formula), zero, "and zero", atol=1e-15)
q_b, p_b = q.sum(0), p.sum(0)
for b in (0, 1):
    formula = alpha * q_b[b] * (q[:, b] / q_b[b] - p[:, b] / p_b[b])
    check("CT.7", formula, reverse[1][b], f"the reversed model's row {b}")
check("CT.7", alpha * (q_b - p_b), reverse[0], "its marginal")
check("CT.7", alpha * (q.sum(1) - p.sum(1)), forward[0], "rain → umbrella's marginal")

# %% [markdown]
# **Change it.** In the cell above the folded one, write `forward, reverse = expected_step(0.7 * q + 0.3 * p, p, alpha)` for `forward, reverse = expected_step(q, p, alpha)`: only part of the days are as in the new town.
#
# <details><summary>What happens</summary>
#
# ```text
# rain → umbrella: the logits of 1 move by [0.105, 0.0, 0.0]
# ```
#
# Any mixture of the two towns keeps $p(b\mid a)$, so the rows stand still, exactly. The marginal drifts by 70% of before.
#
# </details>
#
# So the right model has one thing to mend, the other three. But why is that *faster*, if both are equally wrong? A step up the gradient gains, to first order, $\alpha$ times the squared length of the gradient. In the right model all of it is in one vector, which every day pushes. In the other it is spread over rows, and a row learns only on its own days: (CT.7) has the factor $q(b)$. Squared and added, the pieces come to less here:


# %%
def first_gain(q, p):
    """Squared length of the expected score: what a small first step gains, over α."""
    theta_step, rows_step = expected_step(q, p, 1.0)
    return float(theta_step.square().sum() + rows_step.square().sum())


handed_out = p.sum(1, keepdim=True) * torch.tensor([0.2, 0.8])
for name, town in (("rainier town", q), ("umbrellas handed out", handed_out)):
    gains = first_gain(town, p), first_gain(town.T, p.T)
    print(f"{name}: rain → umbrella {gains[0]:.3f}, reversed {gains[1]:.3f}")

# %% [markdown]
# In the rainier town the right model is the faster one, 0.500 against 0.312. Where umbrellas are handed out, the reversed one is, though *all* of its numbers are new: its marginal alone gains the 0.480 of the right model's one wrong row, and its rows add to that. Counting what changed is not enough.
#
# With $N$ values the reversed model has to learn $N$ times over what the right one learns once: all its rows must move by *the same vector* as the right model's marginal ([section 2 of the theory](causal_transfer_theory.ipynb)). Keep that in mind: a model whose rows *share* a parameter could move them all at once.
#
# That was the first step. Here are twenty days:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels, probabilities against days, mean and middle half of two thousand stays. Rain to umbrella: rain rises from 0.3 to 0.8 within ten days; umbrella if dry and if rain stay level at 0.1 and 0.8 on average, with a band around them. Umbrella to rain: umbrella rises from 0.31 to 0.66; rain if umbrella from 0.77 to about 0.95; rain if none only from 0.09 to about 0.3, towards 0.47."}} tags=["hide-input"]
# @title What drifts and what wobbles
stays = draw_pairs(q.expand(2000, 2, 2), 20, generator=torch.Generator().manual_seed(1))
fig, axes = figures.panels(2, sharey=True)
for ax, joint, order, goal in zip(
    axes, (p, p.T), (stays, stays.flip(-1)), (numbers(q)[0], numbers(q)[1]), strict=True
):
    model, paths = TabularModel.from_joint(joint.expand(2000, 2, 2)), []
    for day in range(21):
        marginal, rows = (logits.softmax(-1)[..., 1] for logits in model)
        paths.append(torch.cat((marginal[:, None], rows), 1))
        if day < 20:
            model = adapt(model, order[:, day : day + 1], 0.3).model
    paths = torch.stack(paths, 1)  # (stays, days, 3)
    names = ("rain", "umbrella if dry", "umbrella if rain")
    names = names if joint is p else ("umbrella", "rain if none", "rain if umbrella")
    color = CAUSAL if joint is p else REVERSE
    for k, style in enumerate(("-", "--", ":")):
        low, high = paths[..., k].quantile(torch.tensor([0.25, 0.75]), 0)
        ax.fill_between(range(21), low, high, color=color, alpha=0.15, lw=0)
        ax.plot(paths[..., k].mean(0), style, color=color, label=names[k])
        ax.plot([20.8], [float(goal[k])], "<", color=MUTED)
    ax.set(xlabel="days", ylim=(0, 1.5))
    ax.legend(fontsize=8, loc="upper left")
axes[0].set_ylabel("probability of 1")
fig.suptitle("Twenty days: what is right stays, the rest drifts")
plt.show()

# %% [markdown]
# Means of 2,000 stays, with the middle half; triangles: the new town. (CT.6) is about the first step from the exact fit; later ones start a little off and are pulled back. That wobble costs something, too: at a large $\alpha$ it is what is left in the end ([section 6 of the theory](causal_transfer_theory.ipynb)). How do you turn "faster" into a number?
# %% [markdown]
# ## 5. Score first, then learn
#
# **Let each model predict an example before it learns from it, and add up.**
#
# With small steps, both models are good again at the end of a long stay. What differs is the way there. So score *online*: each example by the tables that the examples before it have left,
#
# $$ \log L=\sum_{t=1}^T\log P_{\theta^{(t)}}(a_t,b_t) \tag{CT.8} $$
#
# Over all possible stays, $\log L$ has the mean $-\sum_t\bigl(\mathrm H(q)+\mathbb E\,\mathrm{KL}(q\,\|\,P_{\theta^{(t)}})\bigr)$: the entropy of the town, and what the model still had wrong at each step. The difference of two models,
#
# $$ \Delta=\log L_{A\to B}-\log L_{B\to A} $$
#
# is the lead of one over the other. Twenty days in the new town:


# %%
def online(joint, pairs, alpha):
    """log P of each pair before the step (CT.5); the rows of `joint` are the causes."""
    theta, rows = joint.sum(1).log(), joint.log()
    scores = []
    for a, b in pairs.tolist():
        marginal, row = theta.softmax(0), rows[a].softmax(0)
        scores.append((marginal[a] * row[b]).log())  # score first (CT.8)
        theta, rows = theta - alpha * marginal, rows.clone()
        theta[a] += alpha
        rows[a] -= alpha * row
        rows[a, b] += alpha
    return torch.stack(scores)


generator = torch.Generator().manual_seed(7)
days = draw_pairs(q, 20, generator=generator)[:, 0]  # one example a step
forward, reverse = online(p, days, 0.3), online(p.T, days.flip(1), 0.3)
print("after one day they agree:", bool(torch.isclose(forward[0], reverse[0])))
print("log L:", forward.sum().numpy().round(2), reverse.sum().numpy().round(2))
print("Δ:", (forward - reverse).sum().numpy().round(2))

# %% [markdown]
# **Change it.** In the cell above, write `online(p.T, days, 0.3)` for `online(p.T, days.flip(1), 0.3)`: the easiest mistake, cause and effect not exchanged in the days.
#
# <details><summary>What happens</summary>
#
# ```text
# after one day they agree: False
# log L: -23.02 -22.78
# Δ: -0.24
# ```
#
# Nothing fails: a table of the right shape, plausible numbers. Only the first line tells: both models hold the same table, so on the first day they must agree. Test that in your own code.
#
# </details>
#
# One stay may mislead. Here are ten thousand:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Left, mean divergence against days: both start at 0.53; rain to umbrella falls to 0.05 in twenty days, the reversed model to 0.12. Right, histogram of the difference after twenty days, from about -2 to 6, peaked at 2; little of it is below zero."}} tags=["hide-input"]
# @title Ten thousand stays of twenty days
many = q.expand(10_000, 2, 2)
pairs = draw_pairs(many, 20, generator=torch.Generator().manual_seed(1))
runs = [
    adapt(TabularModel.from_joint(p), pairs, 0.3, joint=many),
    adapt(TabularModel.from_joint(p.T), pairs.flip(-1), 0.3, joint=many.mT),
]
entropy = -(q * q.log()).sum()
fig, (left, right) = figures.panels(2)
for run, color, name in zip(
    runs, (CAUSAL, REVERSE), ("rain → umbrella", "reversed"), strict=True
):
    left.plot(range(21), (-entropy - run.expected).mean(0), color=color, label=name)
left.set(xlabel="days", ylabel="KL from the new town, nats", ylim=(0, None))
left.legend(fontsize=8.5)
delta = (runs[0].log_likelihood - runs[1].log_likelihood).sum(-1)
right.hist(delta.numpy(), bins=24, color="0.7")
right.axvline(0, color=MUTED, lw=1)
right.set(xlabel="Δ after twenty days", yticks=[])
fig.suptitle("Equal at the start, then one is ahead")
plt.show()
wrong, mean = float((delta < 0).double().mean()), float(delta.mean())
ratio = float(torch.exp(-delta).mean())
print(
    f"mean Δ {mean:.1f}; below zero in {wrong:.0%} of the stays; mean e^-Δ {ratio:.1f}"
)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (CT.8): all 64 stays of three days, weighed
kinds = list(product((0, 1), repeat=2))
for joint, held, alpha in ((q, p, 0.3), (q.T, p.T, 0.7)):
    mean, divergences = 0.0, torch.zeros(3)
    for stay in product(kinds, repeat=3):
        chance = math.prod(float(joint[kind]) for kind in stay)
        mean += chance * float(online(held, torch.tensor(stay), alpha).sum())
        theta, rows = held.sum(1).log(), held.log()
        for t, (a, b) in enumerate(stay):
            model = theta.softmax(0)[:, None] * rows.softmax(1)
            divergences[t] += chance * kl(joint.flatten(), model.flatten())
            theta = theta + alpha * (torch.eye(2)[a] - theta.softmax(0))
            rows = rows.clone()
            rows[a] = rows[a] + alpha * (torch.eye(2)[b] - rows[a].softmax(0))
    H_q = -(joint * joint.log()).sum()
    formula = -sum(H_q + divergence for divergence in divergences)
    check("CT.8", float(formula), mean, f"mean of log L over all stays, α = {alpha}")

# %% [markdown]
# ## 6. From a lead to a belief
#
# **Mix the two models with a weight that can be learned. Its gradient is prior less posterior.**
#
# The paper mixes both by a *structural parameter* $\gamma$: with the weight $\sigma(\gamma)=1/(1+e^{-\gamma})$ the first, else the second. Its loss for an episode is
#
# $$ R(\gamma)=-\log\bigl[\sigma(\gamma)\,L_{A\to B}+\sigma(-\gamma)\,L_{B\to A}\bigr] \tag{CT.9} $$
#
# The derivative of $\sigma$ is $\sigma(\gamma)\sigma(-\gamma)$. Divide numerator and denominator by $L_{B\to A}$: the slope is $-\sigma(\gamma)\sigma(-\gamma)\frac{e^\Delta-1}{\sigma(\gamma)e^\Delta+\sigma(-\gamma)}$. As $\sigma(\gamma+\Delta)=\frac{\sigma(\gamma)e^\Delta}{\sigma(\gamma)e^\Delta+\sigma(-\gamma)}$, that is
#
# $$ \frac{dR}{d\gamma}=\sigma(\gamma)-\sigma(\gamma+\Delta) \tag{CT.10} $$
#
# And the second term is Bayes' rule. If $\sigma(\gamma)$ was the prior probability of $A\to B$, then after the episode $D$
#
# $$ P(A\to B\mid D)=\frac{\sigma(\gamma)L_{A\to B}}{\sigma(\gamma)L_{A\to B}+\sigma(-\gamma)L_{B\to A}}=\sigma(\gamma+\Delta) \tag{CT.11} $$
#
# A step of descent moves the prior towards the posterior. (The posterior of *two predictors*, each with its own table and rate. Section 11 asks what it says of causes.) With long episodes $L$ itself underflows: the library's `structural_loss` works with $\log L$.

# %%
sigma = torch.sigmoid
log_forward, log_reverse = forward.sum(), reverse.sum()
gamma = torch.tensor(0.4, requires_grad=True)
L_1, L_2 = log_forward.exp(), log_reverse.exp()
R = -torch.log(sigma(gamma) * L_1 + sigma(-gamma) * L_2)  # (CT.9)
(gradient,) = torch.autograd.grad(R, gamma)
prior, delta = gamma.detach(), log_forward - log_reverse
print(
    f"prior {sigma(prior):.3f}, posterior {sigma(prior + delta):.3f}, gradient {gradient:.3f}"
)

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.9), (CT.10), (CT.11)
check("CT.9", R.detach(), structural_loss(log_forward, log_reverse, prior), "the loss")
check("CT.10", sigma(prior) - sigma(prior + delta), gradient, "prior less posterior")
for first, second, gamma in ((0.02, 0.5, 0.3), (0.3, 0.1, -1.7), (0.004, 0.001, 2.0)):
    weight = 1 / (1 + math.exp(-gamma))
    draws = torch.tensor([[weight * first, weight * (1 - first)]])
    other = torch.tensor([[(1 - weight) * second, (1 - weight) * (1 - second)]])
    table = torch.cat((draws, other))  # rows: the direction; column 0: this episode
    bayes = table[0, 0] / table[:, 0].sum()
    delta = math.log(first) - math.log(second)
    formula = torch.tensor(1 / (1 + math.exp(-gamma - delta)))
    check("CT.11", formula, bayes, f"posterior at γ = {gamma}")
    logs = torch.tensor([first, second]).log()
    slope = structural_gradient(*logs, torch.tensor(gamma))
    check("CT.10", torch.tensor(weight) - formula, slope, f"gradient at γ = {gamma}")

# %% [markdown]
# ## 7. The whole method
#
# **Two tables, a score, a step, and a belief.** The loop of section 5 for both directions, each starting from home in every episode; then (CT.10).


# %%
def episode(p, pairs, alpha):
    """Δ of one episode, for two models that start from the table p (rows A, columns B)."""
    log_L = []
    for joint, order in ((p, pairs), (p.T, pairs.flip(1))):  # A → B, B → A
        theta, rows, total = joint.sum(1).log(), joint.log(), 0.0
        for cause, effect in order.tolist():
            marginal, row = theta.softmax(0), rows[cause].softmax(0)
            total += (marginal[cause] * row[effect]).log()  # (CT.8)
            theta = theta - alpha * marginal  # (CT.5)
            theta[cause] += alpha
            rows[cause] -= alpha * row
            rows[cause, effect] += alpha
        log_L.append(total)
    return log_L[0] - log_L[1]


def meta_learn(p, episodes, alpha, eta):
    """γ after every episode."""
    gammas = [torch.tensor(0.0)]
    for pairs in episodes:
        gamma, delta = gammas[-1], episode(p, pairs, alpha)
        gammas.append(gamma + eta * (sigma(gamma + delta) - sigma(gamma)))  # (CT.10)
    return torch.stack(gammas)


# %% [markdown]
# Three towns, three stays, against the library, which runs thousands of episodes side by side:

# %%
g = torch.Generator().manual_seed(2)
world = random_joint(1, 4, generator=g)[0]
towns = intervene(world.expand(3, 4, 4), "cause", generator=g)
stays = draw_pairs(towns, 15, generator=g)
mine = torch.stack([episode(world, stay[:, 0], 0.5) for stay in stays])
ahead = adapt(TabularModel.from_joint(world), stays, 0.5).log_likelihood.sum(-1)
behind = adapt(
    TabularModel.from_joint(world.T), stays.flip(-1), 0.5
).log_likelihood.sum(-1)
check("CT.5", mine, ahead - behind, "Δ: mine = the library's")
path = meta_learn(world, stays[:, :, 0], 0.5, 0.1)
theirs = experiment.climb(ahead - behind, "sgd", 0.1)
check("CT.10", path, theirs, "γ: mine = the library's")

# %% [markdown]
# ## 8. Where does the belief go?
#
# **The best belief is one exactly if $\mathbb E[e^{-\Delta}]\le1$. A positive mean of $\Delta$ is not enough.**
#
# Written in the belief $\beta=\sigma(\gamma)$ itself, the loss of an episode is minus the logarithm of a straight line:
#
# $$ R=-\log L_{B\to A}-\log\bigl(1+\beta\,(e^\Delta-1)\bigr) \tag{CT.12} $$
#
# So it is convex in $\beta$, and so is its mean over episodes. There is one lowest point (unless $\Delta$ is always zero). The derivative is the mean of $-(e^\Delta-1)/(1+\beta(e^\Delta-1))$, at $\beta=1$ this is $\mathbb E[e^{-\Delta}]-1$: if it is not positive, the loss falls all the way to $\beta=1$. (And the optimum is at zero if $\mathbb E[e^\Delta]\le1$.) In the rainier town the mean was 0.3 (section 5), so the belief goes to one. (Descent at a fixed rate goes there slowly, and around an optimum inside it scatters.) But negative $\Delta$ weigh exponentially, so a few can hold it back ([section 1 of the theory](causal_transfer_theory.ipynb) has the proof, and how a gambler would put it). Let $\Delta=+1$ nine times in ten, else $-5$; the mean is $+0.4$:

# %%
gain, loss, chance = 1.0, 5.0, 0.9
delta = torch.tensor([gain, -loss])
weights = torch.tensor([chance, 1 - chance])
beta = torch.linspace(0, 1, 10_001).double()
mean_loss = -(weights * torch.log1p(beta[:, None] * delta.expm1())).sum(1)
# (CT.12) without −log L of B → A, which does not depend on β
print(f"mean Δ {weights @ delta:.2f}, mean e^-Δ {weights @ torch.exp(-delta):.1f}")
print(f"lowest at β = {beta[mean_loss.argmin()]:.3f}")

# %% [markdown]
# **Change it.** In the cell above, write `gain, loss, chance = 1.0, 1.5, 0.9` for `gain, loss, chance = 1.0, 5.0, 0.9`: losses that are less harsh.
#
# <details><summary>What happens</summary>
#
# ```text
# mean Δ 0.75, mean e^-Δ 0.8
# lowest at β = 1.000
# ```
#
# Now $\mathbb E[e^{-\Delta}]<1$, and the belief goes to one.
#
# </details>

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Mean loss against the belief, for losses of 5 and of 1.5. The first is lowest at 0.848, marked, and rises steeply towards 1; the second falls all the way to 1."}} tags=["hide-input"]
# @title The mean loss as a function of the belief
fig, ax = plt.subplots()
for harsh, color in ((5.0, ODD), (1.5, CAUSAL)):
    values = torch.tensor([1.0, -harsh])
    curve = -(weights * torch.log1p(beta[:, None] * values.expm1())).sum(1)
    ax.plot(beta, curve, color=color, label=f"+1 or −{harsh:g}")
    low = int(curve.argmin())
    ax.plot(beta[low], curve[low], "o", color=color)
ax.set(xlabel="belief β", ylabel="mean loss", ylim=(-1.05, 0.4))
ax.legend(title="Δ, nine to one", fontsize=9)
ax.set_title("Rare large losses keep the belief from one")
plt.show()

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (CT.12)
for first, second, gamma in ((-3.0, -4.2, 0.7), (-9.0, -2.5, -1.1)):
    first, second, gamma = torch.tensor([first, second, gamma])
    beta_, delta_ = sigma(gamma), first - second
    formula = -second - torch.log(1 + beta_ * (torch.exp(delta_) - 1))
    direct = -torch.log(sigma(gamma) * first.exp() + sigma(-gamma) * second.exp())
    check("CT.12", formula, direct, "the loss in β = the loss in γ")
end = torch.ones(1, requires_grad=True)
mean_end = -(weights * torch.log(1 + end * (delta.exp() - 1))).sum()
(slope,) = torch.autograd.grad(mean_end, end)
check("CT.12", (weights * torch.exp(-delta)).sum() - 1, slope[0], "slope at β = 1")
tenths = torch.tensor([gain] * 9 + [-loss])
check("CT.12", beta[mean_loss.argmin()], optimal_belief(tenths), "optimum", rtol=1e-3)
whole = structural_loss(tenths, torch.zeros(10), torch.logit(beta[2500])).mean()
check("CT.12", mean_loss[2500], whole, "the mean loss, where log L of B → A is zero")

# %% [markdown]
# ## 9. Explore
#
# **Which way is ahead depends on what is intervened on; by how much, on how far the town is from home and how strong the mechanism is.**
#
# A thousand stays of twenty days in a town of your choice, $\alpha=0.3$. Set how often it rains there (or, for "umbrella", how many people carry one, whatever the weather), and how often people at home carry one when it rains.


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: the town
@cache
def stays_in(on, new, if_rain):
    home = torch.tensor([0.7, 0.3])[:, None]
    people = torch.tensor([[0.9, 0.1], [1 - if_rain, if_rain]])
    p, other = home * people, torch.tensor([1 - new, new])
    q = other[:, None] * people if on == "rain" else home * other
    many = q.expand(1000, 2, 2)
    pairs = draw_pairs(many, 20, generator=torch.Generator().manual_seed(3))
    return q, [
        adapt(TabularModel.from_joint(p), pairs, 0.3, joint=many),
        adapt(TabularModel.from_joint(p.T), pairs.flip(-1), 0.3, joint=many.mT),
    ]


def draw(on, new, if_rain):
    q, runs = stays_in(on, new, if_rain)
    fig, (left, right) = figures.panels(2)
    entropy = -torch.special.xlogy(q, q).sum()
    for run, color, name in zip(
        runs, (CAUSAL, REVERSE), ("rain → umbrella", "reversed"), strict=True
    ):
        left.plot((-entropy - run.expected).mean(0), color=color, label=name)
    left.set(xlabel="days", ylabel="KL, nats", ylim=(0, None))
    left.legend(fontsize=8.5)
    delta = (runs[0].log_likelihood - runs[1].log_likelihood).sum(-1)
    right.hist(delta.numpy(), bins=np.linspace(-8, 8, 41), color="0.7")
    right.axvline(0, color=MUTED, lw=1)
    right.set(xlabel="Δ", yticks=[])
    fig.suptitle(f"Mean Δ {delta.mean():.1f}; best belief {optimal_belief(delta):.2f}")
    return fig


def describe(on, new, if_rain):
    _, runs = stays_in(on, new, if_rain)
    delta = (runs[0].log_likelihood - runs[1].log_likelihood).sum(-1)
    return f"{on} set to {new}, umbrella if rain {if_rain}: mean Δ {delta.mean():.1f}"


explore(
    draw,
    alt=describe,
    on=("rain", "umbrella"),
    new=(0.95, 0.8, 0.5, 0.3, 0.1),
    if_rain=(0.8, 0.3),
)

# %% [markdown]
# <details><summary>What you see</summary>
#
# The farther the new rate of rain from 0.3, the larger the mean of $\Delta$. At 0.3 nothing has changed: the mean is near zero, and the best belief lies inside, as each model is ahead by chance in some stays. Hand out umbrellas to many, and the reversed model is ahead, more so with the weak mechanism; at 0.3, and with the strong mechanism at 0.5, neither is by much.
#
# </details>
#
# And the mean loss of section 8, for a $\Delta$ of two values:


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Explore: the best belief
def best(gain, loss, chance):
    upper, lower = math.expm1(gain), -math.expm1(-loss)
    return min(max(chance / lower - (1 - chance) / upper, 0.0), 1.0)


def draw(gain, loss, chance):
    beta = np.linspace(0, 1, 400)
    curve = chance * np.log1p(beta * np.expm1(gain))
    curve = -curve - (1 - chance) * np.log1p(beta * np.expm1(-loss))
    optimum = best(gain, loss, chance)
    fig, ax = plt.subplots(figsize=(4.5, 3.0))
    ax.plot(beta, curve, color=CAUSAL)
    ax.axvline(optimum, color=ODD, lw=1)
    top = min(curve.max(), curve.min() + 2)
    ax.set(xlabel="belief β", ylabel="mean loss", ylim=(curve.min() - 0.1, top + 0.1))
    mean = chance * gain - (1 - chance) * loss
    ax.set_title(f"Mean Δ {mean:+.2f}; lowest at β = {optimum:.2f}")
    return fig


def describe(gain, loss, chance):
    return f"+{gain} with chance {chance}, else -{loss}: lowest at {best(gain, loss, chance):.2f}"


explore(
    draw,
    alt=describe,
    gain=(0.5, 1.0, 3.0),
    loss=(1.0, 5.0, 20.0),
    chance=(0.6, 0.9, 0.99),
)

# %% [markdown]
# ## 10. It works
#
# **With ten values the right direction is ahead within ten examples, and the belief climbs towards one.**
#
# Fifty worlds with $N=10$: random tables (every distribution uniform on its simplex), 300 episodes each, a new $P(A)$ every time, twenty examples at $\alpha=1$. No episode needs $\gamma$, so the library runs all of a world's side by side.

# %% tags=["nbval-ignore-output"]
g = torch.Generator().manual_seed(4)
deltas = []
for world in progress(random_joint(50, 10, generator=g), "worlds"):
    pairs = draw_pairs(
        intervene(world.expand(300, 10, 10), generator=g), 20, generator=g
    )
    ahead = adapt(TabularModel.from_joint(world), pairs, 1.0)
    behind = adapt(TabularModel.from_joint(world.T), pairs.flip(-1), 1.0)
    deltas.append((ahead.log_likelihood - behind.log_likelihood).sum(-1))
deltas = torch.stack(deltas)
print(f"mean Δ {deltas.mean():.1f}, mean e^-Δ {torch.exp(-deltas).mean():.2f}")
gammas = experiment.climb(deltas, "sgd", 0.1)
for k in (0, 30, 100, 300):
    beliefs = sigma(gammas[:, k])
    print(
        f"after {k:3d} episodes: belief {beliefs.median():.3f}, lowest {beliefs.min():.3f}"
    )

# %% [markdown]
# And the recorded runs, 30,000 episodes at ten values, 12,000 at a hundred:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Four panels. With 10 values both models start at 0.81 nats; A to B falls to 0.4 within 20 examples and stays, B to A first rises, then falls to 0.45 at 400. With 100 values A to B falls from 0.98 to 0.33, B to A rises to 1.15. The belief climbs to 0.99 in 1,000 episodes for both sizes. By intervention: to 1 for the cause, to 0 for both interventions on the effect."}} tags=["hide-input"]
# @title The headline: adaptation and belief
curves = sweep(experiment.ADAPTATION, "book", device="cpu")
beliefs = sweep(experiment.BELIEFS, "book", device="cpu")


def band(ax, x, rows, color, label):
    """Median and middle half; the mean of each quantile over the seeds."""
    low, middle, high = (
        np.mean([[q[k] for q in run] for run in rows], 0) for k in (1, 2, 3)
    )
    ax.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
    ax.plot(x, middle, color=color, label=label)


fig, axes = figures.panels(4, columns=2)
for ax, size in zip(axes, (10, 100), strict=False):
    where = (
        (curves["values"] == size) & (curves.batch == 1) & (curves.learning_rate == 1)
    )
    rows = curves[where]
    x = np.array(rows.after.iloc[0])
    band(ax, x, rows.causal, CAUSAL, "A → B")
    band(ax, x, rows.anticausal, REVERSE, "B → A")
    ax.set(
        xlabel="examples", ylim=(0, 1.35), xlim=(0, 5 * size), title=f"{size} values"
    )
axes[0].set_ylabel("KL, nats")
axes[0].legend(fontsize=9)
for size, color in ((10, CAUSAL), (100, DATA)):
    where = (beliefs["values"] == size) & (beliefs.batch == 10)
    rows = beliefs[where]
    band(axes[2], np.array(rows.after.iloc[0]), rows.belief, color, f"{size} values")
axes[2].set(
    xlabel="episodes", ylabel="belief", ylim=(0.45, 1.02), title="settings of the code"
)
axes[2].legend(fontsize=9)
for on, name, color in (
    ("cause", "cause", CAUSAL),
    ("effect", "effect, cut", REVERSE),
    ("mirror", "effect, kept", ODD),
):
    rows = beliefs[(beliefs.intervention == on) & (beliefs.batch == 1)]
    band(axes[3], np.array(rows.after.iloc[0]), rows.belief, color, name)
axes[3].lines[-1].set_linestyle("--")
axes[3].set(
    xlabel="episodes", ylabel="belief", ylim=(-0.02, 1.02), title="by intervention on"
)
axes[3].legend(fontsize=9)
plt.show()

# %% [markdown]
# *Medians, and the band of the middle half of the runs. Above: one example a step, $\alpha=1$. Below left: the settings that we read in the authors' code (two steps of ten examples, $\alpha=0.1$, RMSprop on $\gamma$ at 0.01); 300 worlds, 1,000 episodes. Below right: twenty single examples; "cut": $B$ set at random; "kept": a new $P(B)$ with $P(A|B)$ as it was. As far as we know, the paper prints curves and no numbers.* With ten values the lead is largest after 10 to 20 examples. As we remember the paper, it says that most of the information is in the first 10 to 20.

# %% [markdown]
# ## 11. What is it worth?
#
# - **Tables:** it does what it says. After 20 examples ($N=10$, $\alpha=1$) $\Delta>0$ in 96.4% of the episodes; with the settings of the authors' notebook the belief climbs to 0.997 in 1,000 episodes, at $N=100$ to 0.995 ([sections 1 and 2 of the experiments](causal_transfer_experiments.ipynb)).
# - **It is about what is intervened on.** On the effect, $A\to B$ is ahead in 8.5% of the episodes, after a new $P(B)$ with $P(A|B)$ kept in 8.8%, after a new $P(B|A)$ in 28.6%. And tables drawn as the authors draw them show the direction without any change: their $P(B)$ is flatter than their $P(A)$ ([sections 5 and 6](causal_transfer_experiments.ipynb)).
# - **Parts that learn apart help it.** All rows of the reversed model must move by the same vector (section 4), and what rows share learns it once. Where all rows also move by 0.3 of each step, the lead halves, from 0.30 to 0.16 nats an example (best rates); where they also move by all of it, the reversed table is ahead. Networks of eight units, well fitted to tables, end at a belief of 0.04, with the shared biases held still at 0.64. If all cells of the tables are drawn alike, holding biases helps less: −0.088 to −0.065 nats an example with 8 units, −0.062 to −0.008 with 64. Where the world is such a network itself, at 0.99 ([sections 2 to 4](causal_transfer_experiments.ipynb)).
# - **A belief of one does not follow from a positive mean:** with one episode in ten mirrored the belief ends at 0.90, with three at 0.70. Both are right: mixed episodes are best predicted by a mixture ([section 9](causal_transfer_experiments.ipynb)).
# - **Counting pairs shows nothing:** the counts give one joint table, whichever way it is factorised, so $\Delta=0$. A learner that is *told* that only the marginal is new is, in the right direction, faster than SGD at any of nine rates (0.22 against 0.54 nats an example), in the reversed one slower ([section 8](causal_transfer_experiments.ipynb)).
# - **Beyond tables:** with curves and noise in place of tables, mixture density networks have $\Delta<0$ in 15% of the episodes, and in 5% if they are fitted three times longer at home (but then $A\to B$ also wins most episodes in which nothing changes). An encoder found the rotation that hides cause and effect in 16 of 20 runs of 500 episodes ([sections 10 and 11](causal_transfer_experiments.ipynb)).
#
# **When to use it.** Where you know that changes are local and rare, and your models have parts that learn apart. Choose each model's rate by its own $\log L$. **When not:** to find causes where you do not know what was changed, or with networks that share most of their weights. **What came after:** [Le Priol et al.](https://arxiv.org/abs/2005.09136) measured the speed of both directions under other interventions; [Ke et al.](https://arxiv.org/abs/1910.01075) take more variables and infer which one was intervened on.

# %% [markdown]
# ## 12. Exercises
#
# Fill in a stub, run it, then call its checker, such as `check_exercise_1(several)`: it prints "right", or raises with what is wrong.
# Harder ones are on [the theory page](causal_transfer_theory.ipynb).
#
# **1 (calculation).** The loss $R$ mixes anew in each episode. Suppose instead that *one* direction is right in all of them. By Bayes' rule, what is the probability of $A\to B$ after several episodes, from their $\Delta$ and the prior $\sigma(\gamma)$? And where does *this* probability go with the $\Delta$ of section 8, $+1$ or $-5$?


# %% tags=["exercise-1"]
def several(deltas, gamma):
    """P(A → B | all episodes), a tensor without axes; deltas (episodes,), gamma a float"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title Checker 1
def check_exercise_1(function):
    for values, gamma in (([0.4, -1.1, 0.9], 0.3), ([2.0, 0.1], -1.5), ([-0.7], 0.0)):
        deltas = torch.tensor(values)
        first, second = sigma(torch.tensor([gamma, -gamma]))
        for delta in deltas:  # an episode's likelihoods: e^Δ against 1
            first = first * delta.exp()
        answer = torch.as_tensor(function(deltas.clone(), gamma)).double()
        assert answer.shape == (), f"shape {tuple(answer.shape)}, expected ()"
        right = first / (first + second)
        assert torch.isclose(answer, right, atol=1e-6), f"Δ = {values}: {answer}"
    many = torch.tensor([1.0] * 9 + [-5.0]).repeat(100)
    assert function(many, 0.0) > 0.999, "a thousand episodes with a mean of +0.4"
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# ```python
# def several(deltas, gamma):
#     return torch.sigmoid(gamma + deltas.sum())
# ```
#
# With $\mathbb E[\Delta]>0$ this does go to one. The paper's loss asks for something else: a mixture that predicts *each episode* well, whichever direction is better in it.
#
# </details>
#
# **2 (variation).** A learner that is *told* that only the cause's marginal is new keeps the conditional of its model and counts the causes; every count starts at one. After $t$ examples, of which $n_a$ had the cause $a$, it predicts the *next* one as $(a,b)$ with the probability $\frac{1+n_a}{N+t}\,p(b\mid a)$. Write its online log-likelihood.


# %% tags=["exercise-2"]
def told(p, pairs):
    """log L, a tensor without axes; p (N, N), rows the causes; pairs (T, 2), int64"""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-2-checker", "hide-input"]
# @title Checker 2
def check_exercise_2(function):
    g = torch.Generator().manual_seed(5)
    for n, steps in ((4, 9), (3, 1), (6, 25)):
        p = random_joint(1, n, generator=g)[0]
        pairs = draw_pairs(intervene(p, generator=g), steps, generator=g)[:, 0]
        before = p.clone(), pairs.clone()
        for joint, order in ((p, pairs), (p.T, pairs.flip(1))):
            conditional = joint / joint.sum(1, keepdim=True)
            causes = order[:, 0].bincount(minlength=n).double()
            # the marginal's part does not depend on the order: a ratio of gammas
            right = torch.lgamma(1 + causes).sum() + math.lgamma(n)
            right = right - math.lgamma(n + steps)
            right = float(right + conditional[order[:, 0], order[:, 1]].log().sum())
            answer = float(function(joint, order))
            assert abs(answer - right) < 1e-5 * (1 + abs(right)), (
                f"{n} values, {steps} examples: {answer:.4f}, expected {right:.4f}"
            )
        assert all(map(torch.equal, before, (p, pairs))), "an argument has changed"
    print("right")


# %% [markdown]
# <details><summary>Solution 2</summary>
#
# ```python
# def told(p, pairs):
#     conditional = p / p.sum(1, keepdim=True)
#     counts, total = torch.ones(len(p)), 0.0
#     for a, b in pairs.tolist():
#         total = total + (counts[a] / counts.sum() * conditional[a, b]).log()
#         counts[a] += 1
#     return total
# ```
#
# With ten values it costs 0.22 nats an example more than the best possible over the first 20, in the right direction, and is wrong about the direction in 2.3% of the episodes after 20 ([section 8 of the experiments](causal_transfer_experiments.ipynb)).
#
# </details>
#
# **3 (implementation).** Write the step (CT.5) for a batch of $n$ examples: one step of ascent on the *mean* of their log-probabilities.


# %% tags=["exercise-3"]
def batch_step(theta, rows, pairs, alpha):
    """New theta (N,) and rows (N, N); pairs (n, 2), int64: cause and effect. The old ones stay as they are."""
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-3-checker", "hide-input"]
# @title Checker 3
def check_exercise_3(function):
    g = torch.Generator().manual_seed(6)
    theta, rows = (torch.randn(*s, generator=g) for s in ((5,), (5, 5)))
    for n, alpha in ((1, 0.4), (7, 1.3), (30, 0.2)):
        pairs = torch.randint(5, (n, 2), generator=g)
        free = [theta.clone().requires_grad_(), rows.clone().requires_grad_()]
        scores = free[0].log_softmax(0)[pairs[:, 0]]
        scores = scores + free[1].log_softmax(1)[pairs[:, 0], pairs[:, 1]]
        slopes = torch.autograd.grad(scores.mean(), free)
        answer = function(theta.clone(), rows.clone(), pairs, alpha)
        for found, old, slope in zip(answer, (theta, rows), slopes, strict=True):
            assert found.shape == old.shape, f"shape {tuple(found.shape)}"
            close = torch.allclose(found.double(), old + alpha * slope, rtol=1e-5)
            assert close, f"wrong for n = {n}"
    kept = theta.clone(), rows.clone()
    function(*kept, pairs, 0.5)
    assert all(map(torch.equal, kept, (theta, rows))), "changed in place"
    print("right")


# %% [markdown]
# <details><summary>Solution 3</summary>
#
# ```python
# def batch_step(theta, rows, pairs, alpha):
#     counts = torch.zeros_like(rows)
#     ones = torch.ones(len(pairs), dtype=rows.dtype)
#     counts.index_put_((pairs[:, 0], pairs[:, 1]), ones, accumulate=True)
#     counts = counts / len(pairs)
#     causes = counts.sum(1)
#     new_rows = rows + alpha * (counts - causes[:, None] * rows.softmax(1))
#     return theta + alpha * (causes - theta.softmax(0)), new_rows
# ```
#
# `counts[a, b] += 1` with repeated indices would count a pair once: `accumulate=True` is what adds.
#
# </details>

# %% [markdown]
# ## 13. Symbols
#
# | symbol | in code | what |
# |---|---|---|
# | $A$, $B$; $a$, $b$; $N$ | `samples`: (runs, steps, batch, 2), at the end cause and effect | two variables, their values; how many values |
# | $p$, $q$ | `p`, `q`; in the library `joint` | distribution at home (training), after the intervention (transfer) |
# | $\theta_A$, $\theta_{B\mid a}$ | `theta`, `rows`; `logits_cause`, `logits_effect_given_cause` | logits of $A\to B$: marginal; a row for each cause |
# | $\alpha$; $\eta$ | `alpha`, `eta`; `lr` | rate of a model's steps; of $\gamma$ |
# | $L$, $\Delta$ | `log_likelihood` | online likelihood of an episode; $\log L_{A\to B}-\log L_{B\to A}$ |
# | $\gamma$, $\sigma$, $\beta$ | `gamma` | structural parameter; $1/(1+e^{-\gamma})$; the belief $\sigma(\gamma)$ |
# | $R$ | `structural_loss` | the meta-objective |
# | $\mathbf e_k$; $[\cdot]$ | | one at $k$, else zero; one if true, else zero |
