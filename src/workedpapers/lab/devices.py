"""Which device to train on."""

from __future__ import annotations

import torch


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best one here: CUDA, else Apple's MPS, else the CPU.

    Args:
        name: a torch device name such as "cpu" or "cuda:1"; None to choose.
    Returns: the device.
    Raises: ValueError: not a device name, or a device that this machine does not have.
    """
    available = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name is None:
        return torch.device(next(kind for kind, count in available.items() if count))
    here = ", ".join(kind for kind, count in available.items() if count)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is not a torch device name; available here: {here}") from error
    if (device.index or 0) >= available.get(device.type, 0):
        raise ValueError(f"device {str(name)!r} is not available; available here: {here}")
    return device
