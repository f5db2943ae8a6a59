import torch

from workedpapers.tasks.images import digits
from workedpapers.tasks.splits import Split

CPU = torch.device("cpu")


def generator():
    return torch.Generator().manual_seed(0)


def test_images_are_from_0_to_1_and_belong_to_their_labels():
    split, raw = Split.load("digits", "test", CPU), digits("test")
    assert split.images.shape == (397, 1, 8, 8)
    assert torch.equal((split.images[:, 0] * 255).round().byte(), raw.images)
    assert torch.equal(split.labels, raw.labels)
    images, labels = next(split.batches(5, generator()))
    for image, label in zip(images, labels, strict=True):
        rows = (split.images == image).flatten(1).all(1)
        assert split.labels[rows].tolist() == [label]


def test_batches_cover_an_epoch_once_in_a_new_order():
    batches = Split(torch.arange(1400.0), torch.zeros(1400, dtype=torch.int64)).batches(300, generator())
    first, second = (torch.cat([next(batches)[0] for _ in range(4)]) for _ in range(2))
    assert len(set(first.tolist())) == len(set(second.tolist())) == 1200
    assert not torch.equal(first, second)


def test_batches_of_one_class_alternate():
    batches = Split.load("digits", "train", CPU).batches(20, generator(), classes=1)
    labels = [next(batches)[1].unique().tolist() for _ in range(40)]
    assert all(len(classes) == 1 for classes in labels)
    assert len({label for classes in labels for label in classes}) == 10
    assert labels != sorted(labels)


def test_batches_of_neighbouring_classes_hold_no_others():
    batches = Split.load("digits", "train", CPU).batches(20, generator(), classes=5)
    for _ in range(40):
        assert len((next(batches)[1] // 5).unique()) == 1


def test_a_cut_keeps_images_and_labels_together():
    split = Split.load("digits", "train", CPU)
    part = split.cut(torch.tensor([3, 1]))
    assert torch.equal(part.images, split.images[[3, 1]])
    assert torch.equal(part.labels, split.labels[[3, 1]])
