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
# # TITLE: the theory
#
# **Draft.** *All further derivations and proofs, floating point, conventions and errata, how the library's
# implementation differs from the lesson's, cost against the peers, relatives, harder exercises, further reading.*
#
# [The lesson](PAPER.ipynb) · [the experiments](PAPER_experiments.ipynb) ·
# [Open in Colab](https://colab.research.google.com/github/OWNER/worked-papers/blob/main/notebooks/PAPER_theory.ipynb)

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
import torch

from workedpapers.lab import check, refute, setup
from workedpapers.PAPER import trace

device = setup(seed=0)

# %% [markdown]
# ## 1. How much is held in the end
#
# **A constant input is held $1/(1-\lambda)$ times.**
#
# $$ \lim_{T\to\infty} m = \frac{x}{1-\lambda} \tag{KEY.2} $$

# %%
ones = torch.ones(200, 1, dtype=torch.float64)
limit = torch.tensor([1 / (1 - 0.5)], dtype=torch.float64)
check("KEY.2", trace(ones, 0.5), limit, "a constant is held 1/(1−λ) times")

# %% [markdown]
# ## 2. Errata
#
# A sum that starts with the decay, as if the newest value had aged a step, is another one:
#
# $$ m = \sum_{\tau=1}^{T} \lambda^{T-\tau+1}\, x_\tau \tag{KEY.E1} $$

# %%
wrong = 0.5 * trace(ones[:3], 0.5)
refute("KEY.E1", wrong, trace(ones[:3], 0.5), "the newest value has not aged")
