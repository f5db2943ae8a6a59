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
# # Fast weights: the experiments
#
# **Eight questions, a figure or two for each.** The claims of the paper (Ba et al. 2016), and what its reviewers doubted.
# [The lesson](fast_weights.ipynb) comes first; [the theory](fast_weights_theory.ipynb) has the proofs.
#
# Common to all runs unless a section says otherwise: 100,000 strings of four pairs, batches of 128, Adam, gradients clipped
# at norm 5, one inner step, $\lambda=0.9$, $\eta=0.5$. A learning rate is searched with seed 100, which no figure shows.
# Every run is drawn, no seed is left out. All rows ship with the package; `sweep` trains only what is missing.

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
from itertools import product

import matplotlib.pyplot as plt
import pandas as pd
import sympy
import torch

from workedpapers.experiments import fast_weights as experiment
from workedpapers.fast_weights import FastWeights, fast_matrix
from workedpapers.lab import check, figures, scoreboard_table, setup, sweep

device = setup(seed=0)
PLATEAU = 61.65  # of a model that binds nothing, four pairs: section 2
FAST, LSTM, PLAIN = (figures.COLORS[role] for role in ("fast", "baseline", "muted"))

# %% [markdown]
# ## 1. Three rules go by this name: which one learns?
#
# A public review suspected a misprint in the paper's equation 3: should the sum over the past end at $t$ or at $t-1$? The
# doubt is justified, for three rules are in use. They differ in what the memory holds while a step reads it:

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "A grid. Columns are the vectors h(t minus 2), h(t minus 1), h(t) and the guess of step t plus 1; rows are the rules. A filled square is read while h(t plus 1) is computed. After reads up to h(t); delayed stops at h(t minus 1); preliminary reads only guesses, that of the step itself included."}} tags=["hide-input"]
# @title Who reads what when
columns = ["t − 2", "t − 1", "t", "t + 1"]
reads = {
    "after (the paper)": (["h", "h", "h", ""], [2, 1, 0, None]),
    "delayed (the review)": (["h", "h", "", ""], [1, 0, None, None]),
    "preliminary (some ports)": (["h₀", "h₀", "h₀", "h₀"], [3, 2, 1, 0]),
}
fig, ax = plt.subplots(figsize=(4.5, 2.4))
for row, (vectors, ages) in enumerate(reads.values()):
    for column, (vector, age) in enumerate(zip(vectors, ages, strict=True)):
        shade = 0 if age is None else 0.9**age
        box = plt.Rectangle(
            (column, -row), 0.9, 0.8, facecolor=FAST if shade else "white",
            alpha=shade or 1, edgecolor=PLAIN, linewidth=0.8,
        )  # fmt: skip
        ax.add_patch(box)
        weight = "η" if age == 0 else "ηλ" + ("", "²", "³")[age - 1] if age else ""
        label = f"{vector}\n{weight}"
        ax.text(
            column + 0.45,
            0.4 - row,
            label if shade else "",
            ha="center",
            va="center",
            fontsize=9,
        )
ax.set_yticks([0.4, -0.6, -1.6], reads)
ax.set_xticks([0.45, 1.45, 2.45, 3.45], columns)
ax.set(xlim=(-0.1, 4), ylim=(-2.1, 0.95), xlabel="vector written at step")
ax.set_title("What step t + 1 reads", fontsize=11)
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# *After*, the paper's version 2, is (FW.1) and (FW.2): its equations agree, nothing is misprinted. *Delayed* reads first and
# writes later, $A_d(t+1)=\lambda A_d(t)+\eta\,h(t)h(t)^\top$ with $A_d(1)=0$; unrolled, upper limit and exponent lose one,
# which is the reviewer's formula:
#
# $$ A_d(t) = \eta\sum_{\tau=1}^{t-1}\lambda^{t-1-\tau}\,h(\tau)\,h(\tau)^\top \tag{FW.11} $$
#
# Compare with (FW.2): for one given sequence of vectors the two rules build the same matrices, a step apart,
#
# $$ A_d(t+1) = A(t) \tag{FW.12} $$
#
# *Preliminary* writes the guess of the same step and reads it at once. It is no shift of anything:
#
# $$ A_p(t+1) = \lambda\,A_p(t) + \eta\,h_0(t+1)\,h_0(t+1)^\top, \quad h_{s+1} = f\bigl(\mathrm{LN}[\,z + A_p(t+1)\,h_s\,]\bigr) \tag{FW.13} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FW.11) to (FW.13)
H, T, lam, eta = 5, 7, 0.9, 0.5
h = torch.rand(T, H, dtype=torch.float64)  # h[t - 1] is h(t)
A_d = [torch.zeros(H, H, dtype=torch.float64)]  # A_d[t - 1] is A_d(t)
for h_t in h:
    A_d.append(lam * A_d[-1] + eta * torch.outer(h_t, h_t))
for t in (2, 5, T + 1):
    past = range(1, t)
    terms = [lam ** (t - 1 - tau) * torch.outer(h[tau - 1], h[tau - 1]) for tau in past]
    check("FW.11", A_d[t - 1], eta * sum(terms), f"t = {t}: the delayed rule = the sum")
sums = [fast_matrix(h[:t], lam, eta) for t in range(1, T + 1)]
check(
    "FW.12", torch.stack(A_d[1:]), torch.stack(sums), "the same matrices, a step later"
)

torch.manual_seed(1)
layer = FastWeights(
    3, H, decay=lam, rate=eta, inner_steps=2, write="preliminary"
).double()
for parameter in layer.parameters():
    torch.nn.init.normal_(parameter, 0.3, 0.5)
x = torch.randn(T, 3, dtype=torch.float64)
W, C, b = layer.weight_hh.detach(), layer.weight_ih.detach(), layer.bias.detach()
A_p, h_t, outputs = torch.zeros_like(A_d[0]), torch.zeros(H).double(), []
for x_t in x:
    z = W @ h_t + C @ x_t + b
    h_0 = torch.relu(z)
    A_p = lam * A_p + eta * torch.outer(h_0, h_0)
    h_1 = torch.relu(layer.norm(z + A_p @ h_0).detach())
    h_t = torch.relu(layer.norm(z + A_p @ h_1).detach())
    outputs.append(h_t)
check(
    "FW.13",
    torch.stack(outputs),
    layer(x[None])[0][0].detach(),
    "by hand = write='preliminary'",
)

# %% [markdown]
# The paper does not say whether the guess $h_0$ gets layer norm, and ports differ in this, too. Six arms, 50 units, five
# seeds; a run ends at 1% validation error or after 10,000 updates. All use the learning rate that was searched for the paper's
# form, which favours that form.

# %%
rules = sweep(experiment.RULES, "book", device="cpu")


# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Six panels of validation error against updates, one a rule and a choice of layer norm on the guess, five runs each. Only after with a bare guess and preliminary with a normalised one fall below one percent in all five runs; after and delayed with a normalised guess are still between 20 and 55 percent at 10,000 updates."}} tags=["hide-input"]
# @title Figure: six arms
def curves(ax, rows, label, color):
    """Every run of an arm: validation error against thousand updates."""
    pairs = zip(rows.curve_updates, rows.validation_error, strict=True)
    runs = ((torch.tensor(updates) / 1000, error) for updates, error in pairs)
    figures.every_run(ax, runs, label, color)
    ax.axhline(PLATEAU, color="black", linestyle=":", linewidth=1)
    ax.set(ylim=(-2, 95), xlim=(0, 10.4))


fig, axes = figures.panels(6, columns=2, sharex=True, sharey=True)
for ax, ((write, norm), rows) in zip(
    axes, rules.groupby(["write", "norm_preliminary"], sort=False), strict=True
):
    curves(ax, rows, None, FAST)
    ax.set_title(f"{write}, {'LN on h₀' if norm else 'h₀ bare'}", fontsize=10)
for ax in axes[4:]:
    ax.set_xlabel("thousand updates")
for ax in axes[::2]:
    ax.set_ylabel("error (%)")
fig.suptitle("At one rate, two of six arms reach 1% in every run")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table
experiment.race(rules, ["write", "norm_preliminary"])

# %% [markdown]
# **At this one learning rate two of six arms reach 1% validation error in all five runs: *after* with a bare guess (after 1,500 to
# 8,000 updates), and *preliminary* with a normalised one (2,250 to 4,000).** Their runs overlap: five seeds do not say which is
# faster. At this rate layer norm on the guess speeds up the preliminary rule (without it one run of five reaches 1%, the others end
# at 3.4 to 20.4%) and slows down the two rules that write outputs; a rate of their own might change that, which is not tested. With a
# bare guess *delayed* ends behind *after* with every seed (1.9 to 10.9% at 10,000 updates), with a normalised one in three of five.
# That it cannot see the step before may be why; that is not tested.

# %% [markdown]
# ## 2. Where does a model rest that binds nothing?
#
# Suppose a model remembers *which digits occurred* but not which letter each belongs to. Its best answer is the most
# frequent digit, right with probability (largest count)/$K$ for $K$ pairs. The expected largest count is
# $\sum_{m\ge1}P(\max\ge m)$, and the strings with no count above $m-1$ number $K!$ times the coefficient of $x^K$, written
# $[x^K]$, in a product of ten equal factors, one a digit:
#
# $$ \frac{\mathbb E[\max\text{ count}]}{K} = \frac1K\sum_{m=1}^{K}\Bigl(1-\frac{K!}{10^K}\,[x^K]\Bigl(\sum_{j=0}^{m-1}\frac{x^j}{j!}\Bigr)^{10}\Bigr) \tag{FW.14} $$
#
# Such a model has learned the digits' frequencies, no more, so its cross-entropy rests at their mean entropy. Each count is
# binomial with probability 1/10:
#
# $$ \mathbb E\Bigl[-\sum_{d}\frac{n_d}{K}\ln\frac{n_d}{K}\Bigr] = -\sum_{n=1}^{K}10\binom Kn\frac{9^{K-n}}{10^K}\,\frac nK\ln\frac nK \tag{FW.15} $$


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Checks of (FW.14) and (FW.15)
def no_binding_accuracy(K):
    """(FW.14), exactly."""
    x, total = sympy.symbols("x"), sympy.Integer(0)
    for m in range(1, K + 1):
        factor = sympy.Poly(sum(x**j / sympy.factorial(j) for j in range(m)), x)
        strings = sympy.factorial(K) * (factor**10).coeff_monomial(x**K)
        total += 1 - strings / sympy.Integer(10) ** K
    return total / K


def no_binding_nats(K):
    """(FW.15)."""
    counts = range(1, K + 1)
    shares = (
        10 * math.comb(K, n) * 9 ** (K - n) / 10**K * n / K * math.log(n / K)
        for n in counts
    )
    return -sum(shares)


def entropy(digits):
    K = len(digits)
    return -sum(n / K * math.log(n / K) for n in Counter(digits).values())


for K in (3, 4):
    strings = list(product(range(10), repeat=K))
    largest = sympy.Rational(sum(max(Counter(s).values()) for s in strings), K * 10**K)
    check("FW.14", no_binding_accuracy(K), largest, f"formula = all {10**K} cases")
    listed = sum(map(entropy, strings)) / 10**K
    check("FW.15", no_binding_nats(K), listed, f"binomial formula = all {10**K} cases")
print(
    f"four pairs: error {100 * (1 - float(no_binding_accuracy(4))):.2f}%, {no_binding_nats(4):.3f} nats"
)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Error of a model that binds nothing against the number of pairs, rising from 45 percent at two pairs to 73 at ten. The paper's four failing models, drawn at four pairs with two standard errors, lie on the curve or a little below it, far from the errors at three or five pairs."}} tags=["hide-input"]
# @title Figure: the plateau
pairs = range(2, 11)
plateau = [100 * (1 - float(no_binding_accuracy(K))) for K in pairs]
failing = [
    error
    for errors in experiment.PAPER_ERRORS.values()
    for error in errors
    if error > 55
]
failing += [
    60.13
]  # the paper's LSTM with an associative memory, which is not rebuilt here
noise = 200 * (0.6 * 0.4 / 20_000) ** 0.5  # two standard errors on 20,000 test strings
fig, ax = plt.subplots()
ax.plot(pairs, plateau, "o-", color=PLAIN, label="binds nothing, (FW.14)")
places = 4 + 0.12 * (torch.arange(4) - 1.5)
ax.errorbar(
    places, failing, noise, fmt="_", color="black", label="the paper's failing models"
)
ax.set(xlabel="pairs in a string", ylabel="test error (%)")
ax.set_title("The paper's failures: at or just below four pairs")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# **At four pairs that is 61.65% and 1.187 nats.** The paper does not say how many pairs it used. Its four failing models err
# on 60.1 to 62.1%: one within noise of the plateau, three a little, but significantly, better. Its printed examples have four
# pairs. So we take four; that is an inference.

# %% [markdown]
# ## 3. The paper's table: who learns it, and how fast?
#
# Three models at 20, 50 and 100 units, at most 20,000 updates (the paper: up to 700,000), five seeds, three at 100 units.
# Each model got one search over four learning rates, 10,000 updates, seed 100, at 50 units; the sizes 20 and 100 inherit its rate. An LSTM has four
# times the recurrent weights of the others at the same size, in the paper as here. [The lesson](fast_weights.ipynb) shows
# the final errors; here is the way there.

# %%
table = sweep(experiment.TABLE, "book", device="cpu")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of validation error at 50 units, five runs a model, against thousand updates and against seconds. The IRNN stays on the dotted plateau. Fast weights fall first, to below one percent; the LSTM leaves the plateau later and ends near eight percent."}} tags=["hide-input"]
# @title Figure: updates and seconds
speed = sweep(experiment.SPEED, "book", device="cpu").set_index("hidden_size")
roles = {"irnn": PLAIN, "lstm": LSTM, "fast_weights": FAST}
fig, (left, right) = figures.panels(2, sharey=True)
for model, color in roles.items():
    runs = table[(table.model == model) & (table.hidden_size == 50)]
    a_thousand = speed.loc[50, f"{model}_ms"]  # seconds
    for ax, scale in ((left, 1), (right, a_thousand)):
        x = (scale * torch.tensor(updates) / 1000 for updates in runs.curve_updates)
        curve = zip(x, runs.validation_error, strict=True)
        figures.every_run(ax, curve, experiment.NAMES[model], color)
for ax in (left, right):
    ax.axhline(PLATEAU, color="black", linestyle=":", linewidth=1)
left.set(xlabel="thousand updates", ylabel="validation error (%)", ylim=(-2, 75))
right.set(xlabel="seconds on one thread")
left.legend(loc="center right")
fig.suptitle("At 50 units, fast weights leave the plateau first")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title The search of the learning rates: final validation error in percent
search = sweep(experiment.SEARCH, "book", device="cpu")
search["error"] = search["validation_error"].str[-1].round(2)
search.pivot(index="model", columns="learning_rate", values="error")

# %% [markdown]
# **At 50 units fast weights leave the plateau first, in updates and in seconds, and end at 0.2%, the LSTM at 8% (section 5 says why), the
# IRNN on the plateau. The LSTM with 20 units, which fails in the paper (60.8%), learns here (11%).** Why it does is not tested: the paper does not
# give its learning rate. An update with fast weights takes 19% longer than one with `torch.nn.LSTM`
# at 20 units, 11% longer at 50, and is 6% shorter at 100 (one thread, one machine). The IRNN rests on the plateau at all four rates
# of its search, so the choice among them is noise, and the IRNN of 100 units runs at a rate that nothing chose.

# %% [markdown]
# ## 4. Do the models that stay above zero bind at all?
#
# Redraw each query among the string's own letters and leave the answer as it was. A model that binds nothing does not notice.
# One that binds perfectly is now right on the quarter of queries that stay and, by luck, on a tenth of the others. With $K$
# pairs its error becomes
#
# $$ 1-\Bigl(\frac1K+\frac{K-1}{K}\cdot\frac1{10}\Bigr) \;=\; 0.675\;\text{ at } K=4 \tag{FW.16} $$

# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Check of (FW.16)
for K in (2, 4):
    strings = list(product(range(10), repeat=K))
    wrong = sum(
        s[asked] != s[0] for s in strings for asked in range(K)
    )  # the true query is 0
    counted = sympy.Rational(wrong, K * 10**K)
    formula = 1 - (sympy.Rational(1, K) + sympy.Rational(K - 1, K) / 10)
    text = f"{K} pairs: formula = all strings, all redrawn queries"
    check("FW.16", formula, counted, text)
check("FW.16", formula, sympy.Rational(675, 1000), "which is 67.5% at four pairs")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test error with true queries, filled, and with redrawn ones, hollow, for each model at 20 and 50 units. For the IRNN both lie on the plateau near 62 percent. For the LSTM and fast weights the hollow dots lie near 68 percent and the filled ones near zero to thirteen."}} tags=["hide-input"]
# @title Figure: the control
fig, ax = plt.subplots()
labels = []
for place, ((model, size), runs) in enumerate(
    table.groupby(["model", "hidden_size"], sort=False)
):
    figures.dots(ax, place, runs.test_error, roles[model])
    figures.dots(ax, place, runs.redrawn_error, roles[model], hollow=True)
    labels.append(f"{experiment.NAMES[model].replace(' ', chr(10))}\n{size}")
ax.axhline(PLATEAU, color="black", linestyle=":", linewidth=1)
ax.axhline(67.5, color="black", linestyle="--", linewidth=1)
ax.set_xticks(range(len(labels)), labels, fontsize=9)
ax.set(ylabel="test error (%)", ylim=(-2, 75))
ax.set_title("Rings, redrawn: the small IRNNs do not notice")
plt.show()

# %% [markdown]
# **The IRNN binds nothing at 20 and 50 units: with redrawn queries its error is the same within 0.6 points. Fast weights and the LSTM
# come within a point or two of 67.5%: they bind.** (The IRNN has learned which digits occurred; guessing blindly would give 90%.)

# %% [markdown]
# ## 5. The rows that 20,000 updates do not reach: time, rate, or memorised strings?
#
# After 20,000 updates fast weights at 20 units err on 6%, the LSTM at 50 units on 8%. Of the IRNN at 100 units two runs are within a
# point of the plateau; the third left it after 18,500 updates and errs on 52.7% (67.1% with redrawn queries: it binds). The first
# two models get 40,000 updates in these arms: a constant rate, one that falls linearly to zero, and, for the LSTM, the falling rate
# on strings drawn afresh for every batch, so that nothing can be learned by heart. Three seeds; the rate of each arm was chosen
# after 10,000 updates with seed 100, among three or four. Rings are the error on 10,000 of the fixed training strings, which the
# fresh arm never sees.

# %%
long = sweep(experiment.LONG, "book", device="cpu")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of test error, filled, and the error on fixed training strings, rings, after 40,000 updates, three runs an arm; the paper is dashed. Fast weights at 20 units: both errors lie within two points in every run; with the falling rate two runs are near or below the paper and one at ten percent. LSTM at 50 units: with the falling rate the training error is zero and the test error three to five percent; on fresh strings both are near or below one percent."}} tags=["hide-input"]
# @title Figure: more updates
arms = {
    (False, False): "constant",
    (True, False): "falling",
    (True, True): "falling,\nfresh",
}
fig, axes = figures.panels(2, sharey=True)
for ax, ((model, size), rows) in zip(
    axes, long.groupby(["model", "hidden_size"], sort=False), strict=True
):
    for place, (falling, fresh) in enumerate(arms):
        runs = rows[(rows.falling == falling) & (rows.fresh == fresh)]
        if len(runs):
            figures.dots(ax, place, runs.test_error, roles[model])
            figures.dots(ax, place, runs.train_error, roles[model], hollow=True)
    figures.paper_line(ax, experiment.PAPER_ERRORS[model][experiment.SIZES.index(size)])
    ax.set_xticks(range(3), arms.values())
    ax.set(ylim=(-0.5, 13), xlim=(-0.6, 2.6))
    ax.set_title(f"{experiment.NAMES[model]}, {size} units")
axes[0].set_ylabel("error (%)")
fig.suptitle("LSTM: learned by heart. Fast weights: not settled")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: all runs, and the search of their rates
shown = [
    "model",
    "falling",
    "fresh",
    "learning_rate",
    "seed",
    "train_error",
    "test_error",
]
long[shown].round(2)

# %% [markdown]
# **The LSTM learned its 100,000 strings by heart.** With the falling rate its error on them is at most 0.07%, its test error 3.0 to
# 4.5%. On fresh strings, the one thing that is changed, the same network errs on 0.4 to 1.3%. (The paper's 1.85% is from 100,000
# strings: there ours stays above it.) With a constant rate it ends at 4.9 to 10.2%, 3.6 to 5.5 points above its training error.
#
# **Fast weights at 20 units are not settled.** With the falling rate (0.002) two of three runs end at 0.6 and 2.8% (paper: 1.8%), one
# at 10.1%; with the constant one (0.001) all three end at 5.9 to 11.6%, no better than after 20,000 updates (3.6 to 9.8% in five
# runs). The two arms differ in the size of the rate as well. And chance is large: at 20,000 updates runs of one configuration and
# one seed that were recorded at two times, here and in section 3, differ by up to 12 points. (Training amplifies the last digit of
# a rounding; that another processor is the reason is likely and not tested.) Test error exceeds training error by 0.4 to 1.8
# points, so learning by heart explains little of it; fresh strings are not run here.
#
# More updates for the IRNN and for the LSTM at 100 units are not run.

# %% [markdown]
# ## 6. Is it the memory?
#
# Take the inner step away and the memory is never read. What is left is a ReLU network, plain, or with layer norm on its one
# state. Their $W$ must not start at $0.05\,I$, which was made for fast weights: start and learning rate of both are searched
# together (four starts, four rates, seed 100), as is fair to a baseline. The plain one gets 10,000 updates, the others 20,000.

# %%
without = sweep(experiment.WITHOUT_MEMORY, "book", device="cpu")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Validation error against updates, five runs an arm. With fast memory all runs fall below one percent within 20,000 updates. The plain ReLU network stays on the dotted plateau. With layer norm and no memory all runs leave the plateau late; after 20,000 updates three are at 19 to 24 percent, two at 52 and 55."}} tags=["hide-input"]
# @title Figure: with and without memory
normed = without.norm_preliminary
fast = table[(table.model == "fast_weights") & (table.hidden_size == 50)]
fig, ax = plt.subplots()
curves(ax, without[~normed], "no memory, plain", PLAIN)
curves(ax, without[normed], "no memory, layer norm", figures.COLORS["learned"])
curves(ax, fast, "fast memory", FAST)
ax.set(xlim=(0, 20.7), xlabel="thousand updates", ylabel="validation error (%)")
ax.legend(loc="upper right")
ax.set_title("Without memory, layer norm binds: late, and in part")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: final errors, with true and with redrawn queries
without[
    ["norm_preliminary", "seed", "updates_done", "test_error", "redrawn_error"]
].round(1)

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title The search without memory: final validation error in percent
search = sweep(experiment.WITHOUT_MEMORY_SEARCH, "book", device="cpu")
search["error"] = search["validation_error"].str[-1].round(1)
search.pivot(
    index=["norm_preliminary", "recurrent_scale"],
    columns="learning_rate",
    values="error",
)

# %% [markdown]
# **The memory is not all there is. The plain network binds nothing (61.5 to 62.1%, the same with redrawn queries). With layer norm
# and a start of $0.5\,I$ all five runs bind without any memory, late and in part: after 20,000 updates three are at 19 to 25%, two at
# 51 and 55%, and redrawing the queries costs each at least nine points. With the memory every run is below 1% by then.**
#
# These two arms differ in the memory *and* in the start of $W$. At the start of fast weights, $0.05\,I$, and the same rate, one run
# without memory rests at 63% after 10,000 updates; fast weights from $0.5\,I$ are not run. So the memory is at least part of what
# makes it early. The baseline's start is searched, that of fast weights is the paper's.
#
# Start and rate decide about the baseline, as far as one seed tells (10,000 updates): from $0.5\,I$ two of four rates reach 26 and 32%
# and two rest on the plateau; from $0.05\,I$ the best is 62.5%. A comparison that gives it the start of fast weights finds, wrongly,
# that it cannot bind.

# %% [markdown]
# ## 7. Is one inner step enough?
#
# The paper reads once per step and says that more reads behave alike. The two rules that reach 1% in every run, with one, two
# and three inner steps, 10,000 updates at most, three seeds (five for one step).

# %%
more_steps = sweep(experiment.INNER_STEPS, "book", device="cpu")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Two panels of validation error against updates for one, two and three inner steps. Left, after: runs with one step fall below one percent, runs with two and three are still between 53 and 62 percent at 10,000 updates. Right, preliminary: one step falls below one percent within 4,000 updates, two and three fall later, and only one of six runs reaches one percent."}} tags=["hide-input"]
# @title Figure: inner steps
one_step = rules[(rules.write == "after") ^ rules.norm_preliminary]  # the two best arms
one_step = one_step[one_step.write != "delayed"]
steps = pd.concat([one_step, more_steps])
fig, axes = figures.panels(2, sharey=True)
shades = {1: FAST, 2: figures.COLORS["peer"], 3: figures.COLORS["learned"]}
for ax, (write, rows) in zip(axes, steps.groupby("write", sort=False), strict=True):
    for count, color in shades.items():
        curves(ax, rows[rows.inner_steps == count], f"S = {count}", color)
    ax.set(title=write, xlabel="thousand updates")
axes[0].set(ylabel="validation error (%)")
axes[1].legend(loc="upper right")
fig.suptitle("One read learns sooner than two or three")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table
experiment.race(steps, ["write", "inner_steps"])

# %% [markdown]
# **At this rate, searched for *after* with one read, one read learns sooner than two or three, for either rule.** The paper reports
# that more reads behave alike. That may be so at the end of its longer runs, or with a rate of their own; neither is tested here.

# %% [markdown]
# ## 8. How many pairs do 50 units learn within 10,000 updates?
#
# The paper's rule at 50 units on strings of two, four and eight pairs, the rate of four pairs for all, three seeds (five at four
# pairs). This measures how fast it learns, not what it could hold.

# %%
other_pairs = sweep(experiment.PAIRS, "book", device="cpu")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Test error at the end of each run for two, four and eight pairs, beside the plateau of each. At two and four pairs all runs are below one percent; at eight, one run is at 3 percent and two at 27 and 30, under a plateau of 70."}} tags=["hide-input"]
# @title Figure: pairs
four = rules[(rules.write == "after") & ~rules.norm_preliminary]
more = pd.concat([other_pairs, four])
fig, ax = plt.subplots()
for place, (pairs, runs) in enumerate(more.groupby("pairs")):
    figures.dots(ax, place, runs.test_error, FAST)
    level = 100 * (1 - float(no_binding_accuracy(pairs)))
    ax.plot([place - 0.4, place + 0.4], [level, level], ":", color="black")
ax.set_xticks(range(3), ["2 pairs", "4 pairs", "8 pairs"])
ax.set(ylabel="test error (%)", ylim=(-2, 75))
ax.set_title("Eight pairs: below the plateau, not yet at 1%")
plt.show()

# %% [markdown]
# **Two and four pairs are learned by every run; these end at 1%. Eight take longer than the cap of 10,000 updates, but every run is
# far below its plateau of 70%: it binds.**

# %% [markdown]
# ## 9. The scoreboard
#
# Nine of the table's twelve entries are rebuilt; an LSTM with an associative memory is not. The verdict compares what the two models
# do: solve the task (error below 5%), rest on the plateau (above 55%), or neither. An entry holds if every run does what the paper's
# model does, in part if the mean does. Two entries that had missed got longer runs, and those with the falling rate, the better of
# two schedules, count here; without them five of nine hold. An entry can hold and fall short all the same: the LSTM at 100 units
# errs on 3.1%, the paper's on none.

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Our runs, one dot each, and the paper's value, a bar, for nine entries of the table, with the verdict beside them: six hold, fast weights at 20 units hold in part, the IRNN at 100 units is not reached, the LSTM at 20 units, which rests on the plateau in the paper and learns here, fails."}} tags=["hide-input"]
# @title Figure: the scoreboard
claims = experiment.scoreboard()
fig, ax = plt.subplots(figsize=(4.5, 3.6))
shades = {
    "holds": figures.COLORS["learned"],
    "holds in part": figures.COLORS["data"],
    "not reached": figures.COLORS["wrong"],
    "fails": FAST,
}
for place, claim in enumerate(claims):
    ax.plot(
        claim.runs,
        [place] * len(claim.runs),
        "o",
        color=shades[claim.verdict],
        markersize=4,
    )
    ax.plot(
        [claim.paper] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.6
    )
    ax.text(112, place, claim.verdict, ha="right", va="center", color="black")
ax.axvline(PLATEAU, color="black", linestyle=":", linewidth=1)
ax.set_yticks(range(len(claims)), [claim.claim.partition(":")[0] for claim in claims])
ax.set(xlabel="test error (%), bars: the paper", xlim=(-2, 114))
ax.invert_yaxis()
ax.set_title("Six of nine entries do as in the paper, one in part")
plt.show()

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title Table: the scoreboard
scoreboard_table(claims)

# %% [markdown]
# Not run here: the paper's other tasks (glimpses of digits, faces, Catch).
