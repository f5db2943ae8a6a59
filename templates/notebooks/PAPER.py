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
# # TITLE: what it is about
#
# **Draft.** *Sentences in italics say what belongs in their place. Take this paragraph away once the page keeps its
# budgets: `make test NAMES=PAPER` then asks for the pictures, the prompts and the exercises, too.*
#
# *At a glance, on the first screen: the problem in one sentence; the idea in one picture; the one equation; what we
# found, in three lines; who should use it. Then the minutes that each section takes.*
#
# Paper: *Authors, title, year, arXiv.* The evidence is in [the experiments](PAPER_experiments.ipynb), all proofs are in
# [the theory](PAPER_theory.ipynb).
#
# [Open in Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/PAPER.ipynb) ·
# [source of the method](https://github.com/OWNER/worked-papers/blob/main/src/workedpapers/PAPER.py)

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
import matplotlib.pyplot as plt
import torch

from workedpapers.experiments import PAPER as experiment
from workedpapers.lab import check, explore, figures, setup
from workedpapers.PAPER import trace

device = setup(seed=0)

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "The weights of the last ten values in the trace: bars that halve with each step into the past."}} tags=["hide-input"]
# @title The idea in one picture
fig, (ax,) = figures.panels(1)
ax.bar(range(10), [0.5**age for age in range(10)])
ax.set(
    xlabel="steps into the past", ylabel="weight", title="The newest value counts most"
)
plt.show()

# %% [markdown]
# ## 1. The problem in numbers
#
# **The takeaway of the section, in one bold sentence.**
#
# *A tiny example that one can follow by hand, and a picture of the same numbers.* A memory holds half of what it held,
# and adds what arrives:

# %%
decay = 0.5
held = 0.0
for value in (4.0, 2.0, 1.0):
    held = decay * held + value
    print(held)

# %% [markdown]
# **Change it.** In the cell above, write `decay = 1.0` for `decay = 0.5`. What does the memory hold in the end?
#
# <details><summary>What happens</summary>
#
# ```text
# 4.0
# 6.0
# 7.0
# ```
#
# Nothing is forgotten: the memory holds the sum.
#
# </details>

# %% [markdown]
# ## 2. The derivation
#
# **Eight to fifteen tagged equations, each the answer to a question that the last step raised.**
#
# What has the recursion added up to after $T$ steps?
#
# $$ m = \sum_{\tau=1}^{T} \lambda^{T-\tau}\, x_\tau \tag{KEY.1} $$

# %%
x = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
m = torch.zeros((), dtype=torch.float64)
for value in x:
    m = 0.5 * m + value
weights = 0.5 ** torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
check("KEY.1", m, weights @ x, "the recursion is a weighted sum over the past")

# %% [markdown]
# ## 3. The whole method
#
# **At most 25 lines, built from the equations; the next cell proves them equal to the library's.**


# %%
def leaky_sum(values, decay):
    held = torch.zeros_like(values[0])
    for value in values:  # Eq. (KEY.1), step by step
        held = decay * held + value
    return held


# %%
values = torch.randn(7, 3, dtype=torch.float64)
torch.testing.assert_close(leaky_sum(values, 0.9), trace(values, 0.9))

# %% [markdown]
# ## 4. Explore
#
# **One or two explorables on the central quantity.**


# %% cellView="form" jupyter={"source_hidden": true} tags=["hide-input"]
# @title Weights against the decay
def draw(decay):
    fig, (ax,) = figures.panels(1)
    ax.bar(range(10), [decay**age for age in range(10)])
    ax.set(xlabel="steps into the past", ylabel="weight", ylim=(0, 1.05))
    return fig


explore(
    draw, alt="Weights of the last ten values, decay {decay}.", decay=(0.3, 0.6, 0.9)
)

# %% [markdown]
# ## 5. It works
#
# **Live training at the small scale, then the headline figure from the recorded rows.**

# %%
config = experiment.Follow(decay=0.5, steps=50)
metrics = experiment.train(config, seed=0, device=device)
print(f"distance {metrics['distance']:.1f}")

# %% [markdown]
# ## 6. What is it worth?
#
# *The verdicts in five lines, each with a link to its section of the experiments page; when to use the method, when not,
# what came after.*
#
# ## 7. Exercises
#
# **1.** How many steps until a value has lost half of its weight, or more? Fill in the stub, then call
# `check_exercise_1(half_life)`.


# %% tags=["exercise-1"]
def half_life(decay: float) -> int:
    raise NotImplementedError


# %% cellView="form" jupyter={"source_hidden": true} tags=["exercise-1-checker", "hide-input"]
# @title The checker of exercise 1
def check_exercise_1(half_life):
    for decay, steps in ((0.5, 1), (0.6, 2), (0.9, 7)):
        answer = half_life(decay)
        assert answer == steps, f"decay {decay}: {answer}, expected {steps}"
    print("right")


# %% [markdown]
# <details><summary>Solution 1</summary>
#
# ```python
# def half_life(decay):
#     steps = 1
#     while decay**steps > 0.5:
#         steps += 1
#     return steps
# ```
#
# </details>
#
# <details><summary>Symbols</summary>
#
# | Symbol | Code | Meaning |
# |---|---|---|
# | $\lambda$ | `decay` | factor on what is held, a step |
#
# </details>
