"""Pairs of categorical variables A → B with tables drawn at random, and interventions on them.

The setting of Bengio et al. 2019 (arXiv 1901.10912), section 2: a joint table has a row for each value of the cause
A. All laws here are uniform on their simplex, Dirichlet(1), and drawn for many tables at once.
"""

import torch
from torch import Tensor

PRIORS = ("rows", "cells")
INTERVENTIONS = ("cause", "effect", "mechanism", "both", "mirror", "nothing")


def uniform_table(*shape: int, generator: torch.Generator) -> Tensor:
    """Vectors uniform on the simplex of the last axis, Dirichlet(1), float64."""
    weights = torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)
    return weights / weights.sum(-1, keepdim=True)


def random_joint(runs: int, values: int, prior: str = "rows", *, generator: torch.Generator) -> Tensor:
    """Joint tables at random.

    Args:
        runs, values: the shape of the result is (runs, values, values).
        prior: "rows": P(A) and each row of P(B|A) are Dirichlet(1), as in the authors' code; "cells": all cells
            together are, so that A and B have the same law (CT.20).
    Raises: ValueError: another prior.
    """
    if prior not in PRIORS:
        raise ValueError(f"prior must be one of {', '.join(PRIORS)}, got {prior!r}")
    if prior == "cells":
        return uniform_table(runs, values * values, generator=generator).view(runs, values, values)
    cause = uniform_table(runs, values, generator=generator)
    return cause[..., None] * uniform_table(runs, values, values, generator=generator)


def intervene(joint: Tensor, on: str = "cause", *, generator: torch.Generator) -> Tensor:
    """The joint table after an intervention that draws something anew, uniformly.

    Args:
        joint: (*runs, values, values), a row for each value of A, which all have a probability above zero.
        on: "cause": a new P(A), P(B|A) as it was; "effect": B is set at random, a new P(B) whatever A is;
            "mechanism": a new P(B|A); "both": a new P(A) and a new P(B|A); "mirror": a new P(B), P(A|B) as it was;
            "nothing".
    Returns: the new joint table, of the same shape.
    Raises: ValueError: another intervention.
    """
    if on not in INTERVENTIONS:
        raise ValueError(f"intervention must be one of {', '.join(INTERVENTIONS)}, got {on!r}")
    if on == "nothing":
        return joint
    if on == "mirror":
        return intervene(joint.mT, "cause", generator=generator).mT
    cause = joint.sum(-1, keepdim=True)
    if on == "effect":
        return cause * uniform_table(*joint.shape[:-2], joint.shape[-1], generator=generator)[..., None, :]
    new_cause = uniform_table(*joint.shape[:-1], generator=generator)[..., None] if on != "mechanism" else cause
    effect = uniform_table(*joint.shape, generator=generator) if on != "cause" else joint / cause
    return new_cause * effect


def draw_pairs(joint: Tensor, steps: int, batch: int = 1, *, generator: torch.Generator) -> Tensor:
    """Examples (a, b) from joint tables.

    Args: joint: (*runs, values, values).
    Returns: int64, shape (*runs, steps, batch, 2).
    """
    runs, values = joint.shape[:-2], joint.shape[-1]
    below = joint.flatten(-2).cumsum(-1)
    uniform = torch.rand(*runs, steps * batch, dtype=joint.dtype, generator=generator)
    cells = torch.searchsorted(below, uniform * below[..., -1:], right=True).clamp(max=below.shape[-1] - 1)
    return torch.stack((cells // values, cells % values), -1).view(*runs, steps, batch, 2)
