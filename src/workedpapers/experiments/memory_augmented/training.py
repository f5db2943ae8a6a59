"""Rows: a network trained, then everything that is asked of it."""

import torch

from .episodes import FewShot, test, train
from .oneshot import official
from .probes import probe


def run(config: FewShot, seed: int, device: torch.device) -> dict[str, object]:
    """Train, then test on alphabets that the network has not seen.

    Returns: of `episodes.test`; `curve`, `right` and `count`, of `episodes.train`; `parameters`, a count; `more`:
        accuracies by showing at the class counts `tested`; `official`: shares right at the numbers of ways `ways`; of
        `probes.probe`, if asked.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        learner, path = train(config, seed, device)
        found: dict[str, object] = {**test(learner, config.classes, device), **path}
        found["parameters"] = sum(parameter.numel() for parameter in learner.network.parameters())
        if config.tested:
            found["more"] = [test(learner, classes, device)["accuracy"] for classes in config.tested]
        if config.ways:
            found["official"] = [official(learner, ways, device) for ways in config.ways]
        if config.probed:
            found |= probe(learner, device)
    return found
