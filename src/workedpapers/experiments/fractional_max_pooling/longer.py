"""Are random regions only slower to learn? Four times as many updates."""

from .training import Training, searched, tuned

UPDATES = 4_000
#: What `SEARCH_LONGER` chose.
TUNED_LONGER = {
    Training(pooling="fixed", updates=UPDATES): 0.02,
    Training(pooling="pseudorandom", updates=UPDATES): 0.02,
    Training(pooling="random", updates=UPDATES): 0.02,
}
SEARCH_LONGER = searched(TUNED_LONGER)
LONGER = tuned(TUNED_LONGER, range(3))
