"""What arms have in common, whatever they learn: the layers that are trained, their draws, what a row says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from workedpapers.progressive_nets import ProgressiveNetwork


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """New layers are drawn from a seed; afterwards torch's generator goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def begin(
    network: ProgressiveNetwork, arm: str, new_head: bool, task: str, outputs: int
) -> tuple[str, list[nn.Parameter]]:
    """What an arm trains in a network that holds the columns of its sources.

    Args:
        network: gets a new column unless the arm is `head` or `finetune`, which go on with the newest.
        arm: `head`, the output layer only; `finetune`, the whole column; any other, a new column.
        new_head: whether `head` and `finetune` draw the output layer anew.
        task, outputs: of a new column.
    Returns: the task whose outputs count, and the parameters to be trained.
    """
    if arm not in ("head", "finetune"):
        return task, network.add_column(task, outputs)
    newest: Any = network.columns[-1]
    head = newest.layers[-1].own
    if new_head:
        head.reset_parameters()
    return network.tasks[-1], list((head if arm == "head" else newest).parameters())


def summary(curve: list[float], last: int) -> dict[str, object]:
    """A learning curve, its mean `area`, and as `final` the mean of its last points."""
    end = curve[-last:]
    return {"curve": curve, "area": sum(curve) / len(curve), "final": sum(end) / len(end)}
