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
# # TITLE: the experiments
#
# **Draft.** *Each section is one question: what was run, in two sentences; one figure; the verdict in bold with its
# numbers and seeds. A table stands folded under its figure.*
#
# [The lesson](PAPER.ipynb) · [the theory](PAPER_theory.ipynb) ·
# [Open in Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/PAPER_experiments.ipynb)

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

from workedpapers.experiments import PAPER as experiment
from workedpapers.lab import figures, scoreboard_table, setup, sweep

device = setup(seed=0)

# %% [markdown]
# ## 1. Does a shorter memory follow closer?
#
# A trace follows random walks of 100 steps, at three decays, five seeds each.

# %%
rows = sweep(experiment.TABLE, "book")

# %% cellView="form" jupyter={"source_hidden": true} mystnb={"image": {"alt": "Distance between walk and trace against the decay, a dot a seed: it grows with the decay."}} tags=["hide-input"]
# @title The figure
fig, (ax,) = figures.panels(1)
ax.plot(rows.decay, rows.distance, "o")
ax.set(xlabel="decay", ylabel="distance", title="A longer memory lags behind")
plt.show()

# %% [markdown]
# **It does, for each of the five seeds.**
#
# ## Scoreboard

# %% cellView="form" jupyter={"outputs_hidden": true, "source_hidden": true} tags=["hide-input", "hide-output"]
# @title The claims of the paper beside our numbers
scoreboard_table(experiment.scoreboard())
