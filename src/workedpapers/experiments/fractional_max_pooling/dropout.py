"""What dropout does to random, pseudorandom and fixed squares."""

from .training import Training, searched, tuned

DROPOUT = 0.25


def dropped(data: str, pooling: str) -> Training:
    """Squares, and dropout that rises to a quarter."""
    return Training(data, pooling=pooling, dropout=DROPOUT)


#: What `SEARCH_DROPOUT` chose, or half of that where at least one of three runs diverged at it.
TUNED_DROPOUT = {
    dropped("mnist", "fixed"): 0.02,
    dropped("mnist", "pseudorandom"): 0.02,
    dropped("mnist", "random"): 0.02,
    dropped("fashion-mnist", "fixed"): 0.04,
    dropped("fashion-mnist", "pseudorandom"): 0.02,
    dropped("fashion-mnist", "random"): 0.04,
}
DIVERGED_DROPOUT = {
    dropped("mnist", "fixed"): 0.04,
    dropped("mnist", "pseudorandom"): 0.04,
    dropped("mnist", "random"): 0.04,
    dropped("fashion-mnist", "pseudorandom"): 0.04,
}
SEARCH_DROPOUT = searched(TUNED_DROPOUT | DIVERGED_DROPOUT)
DROPOUTS = tuned(TUNED_DROPOUT, range(3))
