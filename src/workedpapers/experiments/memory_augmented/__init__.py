"""Networks with an external memory at work (paper `memory_augmented`): `regression` on draws of a Gaussian process."""

from typing import Any

from workedpapers.lab import Experiment

from .regression import (
    AS_MANY,
    CHECK_REGRESSION,
    NETWORKS,
    PROCESSES,
    REFERENCES,
    REGRESSION,
    SEARCH_REGRESSION,
    START,
    TASKS,
    TUNED_REGRESSION,
    Regression,
    parameters,
)

__all__ = [
    "AS_MANY",
    "EXPERIMENTS",
    "NETWORKS",
    "PROCESSES",
    "START",
    "TASKS",
    "TUNED_REGRESSION",
    "Regression",
    "parameters",
]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check_regression": CHECK_REGRESSION,
    "search_regression": SEARCH_REGRESSION,
    "regression": REGRESSION,
    "references": REFERENCES,
}
