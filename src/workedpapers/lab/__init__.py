"""The instruments that a notebook uses."""

from . import figures
from .bars import progress
from .checks import check, refute
from .devices import pick_device
from .environment import setup
from .explorables import explore
from .scoreboard import Claim, judge, scoreboard_table
from .sweeps import Experiment, arm, chosen, missing, sweep

__all__ = [
    "Claim",
    "Experiment",
    "arm",
    "check",
    "chosen",
    "explore",
    "figures",
    "judge",
    "missing",
    "pick_device",
    "progress",
    "refute",
    "scoreboard_table",
    "setup",
    "sweep",
]
