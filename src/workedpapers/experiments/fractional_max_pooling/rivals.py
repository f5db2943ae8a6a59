"""What else makes an ensemble or an augmentation: networks with other starts, and random affine maps."""

from dataclasses import replace
from itertools import product

from .regions import DATA_SETS, TUNED_REGIONS, arm
from .training import Training, searched, trainings, tuned

MEMBERS = 8
#: Eight networks with fixed squares, at the rate of one.
ENSEMBLES = trainings(
    [
        replace(arm(data, "fixed"), members=MEMBERS, learning_rate=TUNED_REGIONS[arm(data, "fixed")])
        for data in DATA_SETS.values()
    ],
    range(3),
)
STRENGTHS = (0.1, 0.2)
AUGMENTED = ("fixed", "pseudorandom")


def augmented(data: str, pooling: str, strength: float) -> Training:
    """Squares, and a random affine map of every picture."""
    return Training(data, pooling=pooling, augment=strength)


#: Strength and rate, by validation error after twelve passes.
SEARCH_AUGMENTED = searched(
    [augmented(*parts) for parts in product(DATA_SETS.values(), AUGMENTED, STRENGTHS)], (0.01, 0.02, 0.04)
)
#: What it chose.
TUNED_AUGMENTED = {
    augmented("mnist", "fixed", 0.2): 0.02,
    augmented("mnist", "pseudorandom", 0.2): 0.02,
    augmented("fashion-mnist", "fixed", 0.1): 0.02,
    augmented("fashion-mnist", "pseudorandom", 0.1): 0.02,
}
AUGMENTATIONS = tuned(TUNED_AUGMENTED)
