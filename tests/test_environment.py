"""What every notebook does first."""

import re
from configparser import ConfigParser
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
import torch

from workedpapers.lab import setup


@pytest.fixture(autouse=True)
def unchanged():
    threads, rc = torch.get_num_threads(), mpl.rcParams.copy()
    with pd.option_context("display.max_colwidth", 50), torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    mpl.rcParams.update(rc)


def test_setup_seeds_takes_one_thread_and_sets_the_style():
    torch.set_num_threads(2)
    assert setup(seed=3).type in {"cpu", "cuda", "mps"}
    first = torch.rand(2)
    setup(seed=3)
    assert torch.equal(torch.rand(2), first)
    setup(seed=4)
    assert not torch.equal(torch.rand(2), first)
    assert torch.get_num_threads() == 1
    assert not mpl.rcParams["axes.spines.top"]
    assert "a" * 60 in pd.DataFrame({"cause": ["a" * 60]})._repr_html_()


def test_its_line_names_versions_and_is_exempt_from_comparison(capsys):
    device = setup()
    line = capsys.readouterr().out
    assert torch.__version__ in line
    assert line.endswith(f", {device.type}\n")
    config = ConfigParser()
    config.read(Path(__file__).parent.parent / "notebooks" / "nbval_sanitize.cfg")
    rule = config["environment"]
    assert re.sub(rule["regex"], rule["replace"], line) == "ENVIRONMENT\n"
