"""In a small Inception-style network with batch normalisation: three halvings or five blocks, at equal work."""

from dataclasses import replace

from .training import Training, searched, tuned

_blocks = Training("fashion-mnist", network="inception", layers=5, filters=18, train_size=3_000)
#: What `SEARCH_MODERN` chose.
TUNED_MODERN = {
    replace(_blocks, pooling="max", layers=3, filters=22): 0.2,
    replace(_blocks, pooling="fixed"): 0.1,
    replace(_blocks, pooling="pseudorandom"): 0.2,
}
SEARCH_MODERN = searched(TUNED_MODERN, (0.05, 0.1))
MODERN = tuned(TUNED_MODERN, range(3))
