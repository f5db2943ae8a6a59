"""What every notebook does first."""

import platform

import pandas as pd
import torch

from workedpapers import __version__

from .devices import pick_device
from .figures import use_style


def setup(seed: int = 0) -> torch.device:
    """Seed torch, use one thread, set the style of figures and tables and print one line about the environment.

    One thread, because sums are then taken in the same order everywhere, and at the sizes of this book it is also
    the fastest.

    Args:
        seed: of torch's global generator.
    Returns: the device to train on: a GPU if there is one.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    use_style()
    pd.set_option("display.max_colwidth", None)  # sentences in tables stay whole
    device = pick_device()
    print(f"workedpapers {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {device.type}")
    return device
