"""Who shares a draw: the batch, the channels of an image, or nobody."""

from workedpapers.fractional_max_pooling import Draw

from .training import Training, searched, tuned


def shared(pooling: str, draw: Draw) -> Training:
    """Squares on Fashion-MNIST with another sharing; a draw per image is in `regions`."""
    return Training("fashion-mnist", pooling=pooling, draw=draw)


#: What `SEARCH_DRAWS` chose, or half of that where at least one of three runs diverged at it.
TUNED_DRAWS = {
    shared("pseudorandom", "batch"): 0.04,
    shared("pseudorandom", "channel"): 0.04,
    shared("random", "batch"): 0.02,
    shared("random", "channel"): 0.04,
}
DIVERGED_DRAWS = {shared("random", "batch"): 0.04}
SEARCH_DRAWS = searched(TUNED_DRAWS | DIVERGED_DRAWS)
DRAWS = tuned(TUNED_DRAWS, range(3))
