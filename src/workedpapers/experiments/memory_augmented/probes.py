"""What a row of the memory holds: linear read-outs of drawing and label."""

import torch
import torch.nn.functional as F
from torch import Tensor

from workedpapers.memory_augmented import MemoryAugmentedNetwork, MemoryState

from .episodes import Learner, test_batches

COMPONENTS = 10  # principal ones of the drawings, that a read-out has to find
RIDGE = 1e-3


@torch.no_grad()
def probe(learner: Learner, device: torch.device) -> dict[str, list[list[float]]]:
    """Read-outs of the slot that a step overwrites, right after that step and after the next.

    Returns: `label`: share of labels that are found, and `drawing`: share of the variance of the drawing's first
        principal components that is explained; each [[this step's, the step's before] right after, the same one later].
        The label of this step has not arrived yet: what is found of it right after is the network's own guess.
    Raises: ValueError: no such memory, or labels that are words.
    """
    network, labels_of = learner.network, learner.config.labels
    if not isinstance(network, MemoryAugmentedNetwork) or network.addressing != "lru" or labels_of != "one-hot":
        raise ValueError("only a memory that overwrites what was used least, of one-hot labels, can be probed")
    rows: list[list[Tensor]] = [[], []]
    labels: list[Tensor] = []
    drawings: list[Tensor] = []
    for batch in test_batches(learner.config, learner.config.classes, device):
        input = batch.inputs(learner.config.inputs, learner.values)
        state = network.initial_state(input.shape[1])
        every = torch.arange(input.shape[1], device=device)
        slot: Tensor | None = None
        for step in range(len(input)):
            assert isinstance(state.memory, MemoryState)
            overwritten = state.memory.usage.argmin(-1)
            _, state = network(input[step : step + 1], state)
            if slot is not None:
                rows[1].append(state.memory.memory[every, slot])
            slot = overwritten
            rows[0].append(state.memory.memory[every, slot])
        rows[1].append(torch.zeros_like(rows[0][-1]))
        labels.append(batch.which)
        drawings.append(batch.drawing)
    length = len(input)
    pixels = torch.cat(drawings, 1)  # (length, episodes, pixels)
    flat = pixels.flatten(0, 1)
    _, _, axes = torch.pca_lowrank(flat, COMPONENTS, niter=4)
    parts = (pixels - flat.mean(0)) @ axes
    which = F.one_hot(torch.cat(labels, 1), learner.config.classes).to(parts.dtype)
    found: dict[str, list[list[float]]] = {"label": [], "drawing": []}
    for kept in rows:
        row = torch.cat([torch.stack(kept[i : i + length]) for i in range(0, len(kept), length)], 1)[1:-1]
        for name, target in (("label", which), ("drawing", parts)):
            found[name].append([_read_out(row, target[1:-1], name), _read_out(row, target[:-2], name)])
    return found


def _read_out(rows: Tensor, target: Tensor, kind: str) -> float:
    """Ridge regression on half of the episodes, tested on the others: accuracy, or share of variance explained."""
    half = rows.shape[1] // 2
    mean, scale = rows.mean((0, 1)), rows.std((0, 1)) + 1e-12
    ready = F.pad((rows - mean) / scale, (0, 1), value=1.0).double()
    fit, test = ready[:, :half].flatten(0, 1), ready[:, half:].flatten(0, 1)
    known, asked = target[:, :half].flatten(0, 1).double(), target[:, half:].flatten(0, 1).double()
    weights = torch.linalg.solve(
        fit.T @ fit + RIDGE * len(fit) * torch.eye(fit.shape[1], device=fit.device), fit.T @ known
    )
    guess = test @ weights
    if kind == "label":
        return float((guess.argmax(-1) == asked.argmax(-1)).double().mean())
    return float(1 - (guess - asked).square().sum() / (asked - known.mean(0)).square().sum())
