"""What else makes an ensemble or an augmentation: networks with other starts, and random affine maps."""

from dataclasses import replace

from .regions import DATA_SETS, TUNED_REGIONS, arm
from .training import Training, searched, trainings, tuned

MEMBERS = 4
#: Four networks with fixed squares, at the rate of one.
ENSEMBLES = trainings(
    [
        replace(arm(data, "fixed"), members=MEMBERS, learning_rate=TUNED_REGIONS[arm(data, "fixed")])
        for data in DATA_SETS.values()
    ],
    range(3),
)


def augmented(data: str, pooling: str, strength: float) -> Training:
    """Squares, and a random affine map of every picture."""
    return Training(data, pooling=pooling, augment=strength)


#: What `SEARCH_AUGMENTED` chose for each strength.
AUGMENTED = {
    augmented("mnist", "fixed", 0.1): 0.02,
    augmented("mnist", "fixed", 0.2): 0.04,
    augmented("mnist", "pseudorandom", 0.1): 0.01,
    augmented("mnist", "pseudorandom", 0.2): 0.02,
    augmented("fashion-mnist", "fixed", 0.1): 0.04,
    augmented("fashion-mnist", "fixed", 0.2): 0.02,
    augmented("fashion-mnist", "pseudorandom", 0.1): 0.04,
    augmented("fashion-mnist", "pseudorandom", 0.2): 0.04,
}
SEARCH_AUGMENTED = searched(AUGMENTED)
#: The better strength of each arm, at that rate or at half of it where at least one of three runs diverged.
TUNED_AUGMENTED = {
    augmented("mnist", "fixed", 0.2): 0.02,
    augmented("mnist", "pseudorandom", 0.2): 0.02,
    augmented("fashion-mnist", "fixed", 0.1): 0.04,
    augmented("fashion-mnist", "pseudorandom", 0.1): 0.04,
}
DIVERGED_AUGMENTED = {augmented("mnist", "fixed", 0.2): 0.04}
AUGMENTATIONS = tuned(TUNED_AUGMENTED, range(3))
