"""Steps at which all pictures agree, and their cures: digits read row by row behind eight blank steps."""

from dataclasses import replace

from .orders import ROWS
from .pixels import trainings
from .search import searched, tuned

BLANK = {
    "none": replace(ROWS["batch"], noise=0.0, blanks=8),
    "noise 0.1": replace(ROWS["batch"], blanks=8),
    "ε = 0.1": replace(ROWS["batch"], noise=0.0, eps=0.1, blanks=8),
}
TUNED_BLANK = {BLANK["none"]: 0.003, BLANK["noise 0.1"]: 0.03, BLANK["ε = 0.1"]: 0.01}
SEARCH_BLANK, BLANKS = searched(trainings, TUNED_BLANK), tuned(trainings, TUNED_BLANK, range(3))
