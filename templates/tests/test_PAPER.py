"""The method against a loop that follows the paper's equations one step at a time."""

import pytest
import torch

from workedpapers.PAPER import trace


@pytest.mark.parametrize("time", [0, 1, 5])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_a_trace_equals_its_recursion(time, decay):
    values = torch.randn(time, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    held = torch.zeros(3, dtype=torch.float64)
    for value in values:
        held = decay * held + value
    torch.testing.assert_close(trace(values, decay), held)


def test_a_decay_outside_its_range_is_named():
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\], got 1.5"):
        trace(torch.zeros(2, 3), 1.5)


def test_values_of_another_rank_are_named():
    with pytest.raises(ValueError, match=r"values must have shape \(time, features\), got \(3,\)"):
        trace(torch.zeros(3), 0.5)
