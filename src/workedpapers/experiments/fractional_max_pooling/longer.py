"""Are random regions only slower to learn? Four times as many updates."""

from .training import Training, searched, tuned

UPDATES = 4_000


def long(pooling: str) -> Training:
    """Squares on MNIST, trained longer."""
    return Training(pooling=pooling, updates=UPDATES)


#: What `SEARCH_LONGER` chose, or half of that where at least one of three runs diverged at it.
TUNED_LONGER = {long("fixed"): 0.02, long("pseudorandom"): 0.02, long("random"): 0.04}
DIVERGED_LONGER = {long("fixed"): 0.04}
SEARCH_LONGER = searched(TUNED_LONGER | DIVERGED_LONGER)
LONGER = tuned(TUNED_LONGER, range(3))
