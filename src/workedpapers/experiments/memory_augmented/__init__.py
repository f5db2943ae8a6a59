"""A memory-augmented network at work (paper `memory_augmented`)."""

from typing import Any

from workedpapers.lab import Experiment

from .regression import CHECK_REGRESSION, REFERENCES, REGRESSION, SEARCH_REGRESSION

EXPERIMENTS: dict[str, Experiment[Any]] = {
    "check_regression": CHECK_REGRESSION,
    "search_regression": SEARCH_REGRESSION,
    "regression": REGRESSION,
    "references": REFERENCES,
}
