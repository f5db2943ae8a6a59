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
