"""Labelled images as the experiments train on them: tensors on a device, and batches without end."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from . import cifar, images

DATA = {
    "mnist": images.mnist,
    "fashion-mnist": images.fashion_mnist,
    "digits": images.digits,
    "cifar-10": cifar.cifar10,
}


@dataclass
class Split:
    """Some images of a data set and their labels.

    Attributes:
        images: intensities from 0 to 1, float32, shape (size, channels, height, width).
        labels: classes, int64, shape (size,).
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def load(cls, data: str, part: str, device: torch.device) -> "Split":
        """The "train" or "test" images of one of `DATA`."""
        found = DATA[data](part)
        pixels = found.images if found.images.dim() == 4 else found.images.unsqueeze(1)
        return cls(pixels.float().div_(255).to(device), found.labels.to(device))

    def cut(self, rows: slice | Tensor) -> "Split":
        """Some of the images."""
        return Split(self.images[rows], self.labels[rows])

    def batches(
        self, size: int, generator: torch.Generator, classes: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Epochs without end, each in a new order; smaller last batches are left out.

        Args:
            size: of a batch.
            generator: of the order.
            classes: a batch holds so many neighbouring classes only; None for all.
        """
        labels = self.labels.cpu()
        while True:
            rows = torch.randperm(len(labels), generator=generator)
            groups = labels[rows] // classes if classes else torch.zeros_like(rows)
            parts = [part for group in torch.unique(groups) for part in torch.split(rows[groups == group], size)]
            parts = [part for part in parts if len(part) == size]
            if classes:
                parts = [parts[i] for i in torch.randperm(len(parts), generator=generator)]
            for part in parts:
                part = part.to(self.labels.device)
                yield self.images[part], self.labels[part]
