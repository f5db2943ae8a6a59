import pytest
import torch

from workedpapers.lab import pick_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend what the machine has."""

    def has(cuda: int, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_without_a_name_the_best_device_is_picked(machine, cuda, mps, expected):
    machine(cuda, mps)
    assert pick_device().type == expected


def test_a_device_asked_for_by_name_is_picked_over_a_better_one(machine):
    machine(cuda=1, mps=False)
    assert pick_device("cpu") == torch.device("cpu")


def test_a_device_object_is_as_good_as_its_name(machine):
    machine(cuda=2, mps=False)
    assert pick_device(torch.device("cuda", 1)) == pick_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta"])
def test_an_absent_device_is_refused_with_those_that_are_there(machine, name):
    machine(cuda=0, mps=False)
    with pytest.raises(ValueError, match=rf"'{name}' is not available; available here: cpu$"):
        pick_device(name)


def test_a_gpu_number_beyond_the_last_is_refused(machine):
    machine(cuda=2, mps=False)
    with pytest.raises(ValueError, match="'cuda:2' is not available; available here: cuda, cpu"):
        pick_device("cuda:2")


def test_a_name_that_is_no_device_is_refused_with_those_that_are_there(machine):
    machine(cuda=0, mps=False)
    with pytest.raises(ValueError, match="'gpu' is not a torch device name; available here: cpu"):
        pick_device("gpu")
