"""What dropout does to random, pseudorandom and fixed squares."""

from .training import Training, searched, tuned

DROPOUT = 0.25
DROPPED = ("fixed", "pseudorandom", "random")
#: What `SEARCH_DROPOUT` chose, in the order of `DROPPED`.
DROPOUT_RATES = {"mnist": (0.02, 0.02, 0.02), "fashion-mnist": (0.02, 0.02, 0.02)}
TUNED_DROPOUT = {
    Training(data, pooling=pooling, dropout=DROPOUT): rate
    for data, rates in DROPOUT_RATES.items()
    for pooling, rate in zip(DROPPED, rates, strict=True)
}
SEARCH_DROPOUT = searched(TUNED_DROPOUT)
DROPOUTS = tuned(TUNED_DROPOUT, range(3))
