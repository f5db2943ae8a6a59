"""Who shares a draw: the batch, the channels of an image, or nobody."""

from .training import Training, searched, tuned

#: What `SEARCH_DRAWS` chose; a draw per image is in `regions`.
TUNED_DRAWS = {
    Training("fashion-mnist", pooling="pseudorandom", draw="batch"): 0.02,
    Training("fashion-mnist", pooling="pseudorandom", draw="channel"): 0.02,
    Training("fashion-mnist", pooling="random", draw="batch"): 0.02,
    Training("fashion-mnist", pooling="random", draw="channel"): 0.02,
}
SEARCH_DRAWS = searched(TUNED_DRAWS)
DRAWS = tuned(TUNED_DRAWS, range(3))
