"""What does the starting value of the scales do? Permuted digits, each value with a search of its own."""

from dataclasses import replace

from .orders import PERMUTED, TUNED_DIGITS
from .pixels import trainings
from .search import searched, tuned

GAMMAS = (0.01, 0.03, 0.1, 0.3, 1.0)
BY_GAMMA = {gamma: replace(PERMUTED["batch"], weight_init=gamma) for gamma in GAMMAS}
TUNED_GAMMAS = {
    BY_GAMMA[0.01]: 0.003,
    BY_GAMMA[0.03]: 0.01,
    BY_GAMMA[0.3]: 0.003,
    BY_GAMMA[1.0]: 0.1,
}
SEARCH_GAMMAS = searched(trainings, TUNED_GAMMAS)
#: With the value 0.1, whose search is that of the first table.
GAMMA_RUNS = tuned(trainings, TUNED_GAMMAS | {BY_GAMMA[0.1]: TUNED_DIGITS[BY_GAMMA[0.1]]}, range(3))
