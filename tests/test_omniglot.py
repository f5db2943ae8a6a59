"""Omniglot from archives and a server, characters of our own, and the laws of episodes."""

import hashlib
import io
import math
import socket
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import chisquare

from workedpapers.lab.paths import folder_from
from workedpapers.tasks import downloads
from workedpapers.tasks import omniglot as module
from workedpapers.tasks.omniglot import (
    Characters,
    draw_episodes,
    features,
    omniglot,
    oneshot_runs,
    split_alphabets,
    strokes,
    with_rotations,
)

REAL = folder_from("WORKEDPAPERS_DATA") or Path("none")
needs_real = pytest.mark.skipif(not (REAL / "omniglot").is_dir(), reason="WORKEDPAPERS_DATA holds no omniglot")
EVALUATION = "images_evaluation.zip"


def png(ink):
    """A drawing as Omniglot stores it: one bit a pixel, ink black."""
    written = io.BytesIO()
    Image.fromarray(~ink).convert("1").save(written, "PNG")
    return written.getvalue()


def ink_of(number):
    """A drawing that tells its number: a pixel for each of its bits, and a frame that is not symmetric."""
    ink = np.zeros((105, 105), bool)
    ink[3:9, 5:90] = True
    ink[20:26, 20 : 20 + 6 * 10] = np.repeat([number >> bit & 1 for bit in range(10)], 6).astype(bool)
    return ink


# Two alphabets of one and two characters, in an order of their own, and something that is no drawing.
CLASSES = [("Zulu", "character01"), ("Alpha", "character02"), ("Alpha", "character01")]


def packed():
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("images_evaluation/", b"")
        archive.writestr("images_evaluation/readme.txt", b"hello")
        for i, (alphabet, character) in enumerate(CLASSES):
            for drawing in reversed(range(20)):
                name = f"images_evaluation/{alphabet}/{character}/{900 + i:04}_{drawing + 1:02}.png"
                archive.writestr(name, png(ink_of(20 * i + drawing)))
    return written.getvalue()


BODY = packed()


@pytest.fixture(autouse=True)
def cache(empty_cache, monkeypatch):
    """An empty cache, no folder of data, the small archive in the place of the evaluation set."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setitem(module.DIGESTS, EVALUATION, ("md5", hashlib.md5(BODY).hexdigest()))
    return empty_cache / "omniglot"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder omniglot of the one that `WORKEDPAPERS_DATA` names."""
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "omniglot").mkdir(parents=True)
    return tmp_path / "data" / "omniglot"


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """An address that refuses connections, which is that of the archives unless there is a server."""
    with socket.socket() as bound:  # to a port, but not listening
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        yield module.URL


@pytest.fixture
def served(tmp_path, nobody, monkeypatch):
    """The folder that a server gives files from."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def assert_whole(found):
    assert found.names == ("Alpha", "Zulu")
    assert found.alphabet.tolist() == [0, 0, 1]
    assert found.alphabet.dtype == torch.int64
    assert found.mask.shape == (3, 20)
    assert found.mask.all()
    assert found.images.dtype == torch.uint8
    for row, number in zip(found.images, (40, 20, 0), strict=True):
        for drawing, image in enumerate(row):
            assert torch.equal(image, torch.from_numpy(ink_of(number + drawing) * np.uint8(255)))


def test_classes_are_sorted_by_alphabet_and_number_and_drawings_by_number(data, cache):
    (data / EVALUATION).write_bytes(BODY)
    assert_whole(omniglot("evaluation", 105))
    assert not cache.exists()


@pytest.mark.parametrize("side", [35, 15])
def test_smaller_images_are_averages(data, side):
    (data / EVALUATION).write_bytes(BODY)
    large = omniglot("evaluation", 105).images.double().flatten(0, 1)
    expected = F.avg_pool2d(large, 105 // side)
    found = omniglot("evaluation", side).images.flatten(0, 1)
    assert found.shape == (60, side, side)
    assert float((found - expected).abs().max()) <= 1  # each direction is rounded


def test_alphabets_of_the_background_set_keep_the_order_of_the_prepared_file():
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for alphabet in ("Tifinagh", "Unknown", "Alphabet_of_the_Magi", "Hebrew"):
            for drawing in range(20):
                archive.writestr(f"images/{alphabet}/character01/0001_{drawing + 1:02}.png", png(ink_of(1)))
    with zipfile.ZipFile(written) as archive:
        assert module._characters(archive, 20).names == ("Hebrew", "Alphabet_of_the_Magi", "Tifinagh", "Unknown")


def test_what_is_downloaded_once_is_kept_byte_for_byte(served, cache):
    (served / EVALUATION).write_bytes(BODY)
    assert_whole(omniglot("evaluation", 105))
    (served / EVALUATION).unlink()
    assert_whole(omniglot("evaluation", 105))
    assert {path.name: path.read_bytes() for path in cache.iterdir() if path.name != ".lock"} == {EVALUATION: BODY}


@pytest.mark.parametrize("load", [partial(omniglot, "evaluation"), partial(omniglot, "background"), oneshot_runs])
def test_an_absent_archive_is_named_in_a_warning_that_points_to_the_line_that_asked(load, data, cache):
    with (
        pytest.warns(
            UserWarning, match=f"WORKEDPAPERS_DATA is set, but there is no {data}/.*zip; using {cache}"
        ) as found,
        pytest.raises(ConnectionError, match="cannot download"),
    ):
        load()
    assert [warning.filename for warning in found] == [__file__]


def test_without_a_network_the_address_is_named_with_the_reason_and_what_to_do(nobody, cache):
    with pytest.raises(ConnectionError) as caught:
        omniglot()
    message = str(caught.value)
    assert message.startswith("cannot download images_background.zip of omniglot:\n")
    assert f"  {nobody}/images_background.zip: " in message
    assert "refused" in message
    assert message.endswith("put the file into the folder omniglot of the folder that WORKEDPAPERS_DATA names")
    assert {path.name for path in cache.iterdir()} <= {".lock"}


def test_an_altered_download_is_told_with_both_digests_and_leaves_nothing_behind(served, cache):
    (served / EVALUATION).write_bytes(BODY[:-1])
    right, wrong = (hashlib.md5(body).hexdigest() for body in (BODY, BODY[:-1]))
    with pytest.raises(ConnectionError, match=f"has {len(BODY) - 1} bytes with MD5 {wrong}; expected {right}"):
        omniglot("evaluation")
    assert {path.name for path in cache.iterdir()} <= {".lock"}


@pytest.mark.parametrize("content", [b"", b"no zip", BODY[:1000], BODY[:-1] + b"x"])
@pytest.mark.parametrize("place", ["folder", "cache"])
def test_a_damaged_archive_is_refused_and_not_replaced(place, content, served, tmp_path, monkeypatch, cache):
    (served / EVALUATION).write_bytes(BODY)
    if place == "folder":
        monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    local = {"folder": tmp_path / "data" / "omniglot", "cache": cache}[place] / EVALUATION
    local.parent.mkdir(parents=True)
    local.write_bytes(content)
    with pytest.raises(ValueError, match=f"with MD5 {hashlib.md5(content).hexdigest()}; expected") as caught:
        omniglot("evaluation")
    assert str(caught.value).startswith(f"{local} has {len(content)} bytes")
    assert str(caught.value).endswith(". Replace it, or delete it to have it downloaded")
    assert local.read_bytes() == content


@pytest.mark.parametrize("name", [module.PREPARED, module.RUNS, "images_background_small1.zip"])
def test_the_other_files_are_known_by_sha256(name, data):
    (data / name).write_bytes(b"other")
    load = {module.PREPARED: omniglot, module.RUNS: oneshot_runs}.get(name, partial(omniglot, "small1"))
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match=f"has 5 bytes with SHA-256 {digest}; expected {module.DIGESTS[name][1]}"):
        load()


def test_the_prepared_file_is_for_its_size_alone(data):
    (data / module.PREPARED).write_bytes(b"other")
    with pytest.warns(UserWarning, match="images_background.zip"), pytest.raises(ConnectionError):
        omniglot(size=27)


def test_files_in_a_read_only_cache_are_read_without_a_lock(monkeypatch, cache):
    cache.mkdir(parents=True)
    (cache / EVALUATION).write_bytes(BODY)

    def read_only(path):
        raise PermissionError(path)

    monkeypatch.setattr(downloads, "FileLock", read_only)
    assert_whole(omniglot("evaluation", 105))


def test_an_unknown_part_or_size_is_named():
    with pytest.raises(ValueError, match="part must be one of background, evaluation, small1, small2, got 'test'"):
        omniglot("test")
    for load in (partial(omniglot, "evaluation"), oneshot_runs):
        for size in (0, 106):
            with pytest.raises(ValueError, match=rf"size must lie in \[1, 105\], got {size}"):
                load(size=size)


def test_each_test_drawing_of_a_run_has_its_training_drawing(data, monkeypatch):
    answers = np.stack([np.random.RandomState(run).permutation(20) for run in range(20)])
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for run, row in enumerate(answers):
            start = f"run{run + 1:02}"
            lines = []
            for item, right in enumerate(row):
                archive.writestr(f"{start}/test/item{item + 1:02}.png", png(ink_of(20 * run + item)))
                archive.writestr(f"{start}/training/class{item + 1:02}.png", png(ink_of(500 + 20 * run + item)))
                lines.append(f"{start}/test/item{item + 1:02}.png {start}/training/class{right + 1:02}.png\n")
            archive.writestr(f"{start}/class_labels.txt", "".join(reversed(lines)))
    (data / module.RUNS).write_bytes(written.getvalue())
    digest = hashlib.sha256(written.getvalue()).hexdigest()
    monkeypatch.setitem(module.DIGESTS, module.RUNS, ("sha256", digest))
    found = oneshot_runs(105)
    assert found.answer.tolist() == answers.tolist()
    for images, first in ((found.test, 0), (found.training, 500)):
        assert images.shape == (20, 20, 105, 105)
        for run, item in ((0, 0), (3, 7), (19, 19)):
            expected = torch.from_numpy(ink_of(first + 20 * run + item) * np.uint8(255))
            assert torch.equal(images[run, item], expected)


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(REAL))


@needs_real
@pytest.mark.parametrize("part", ["small1", "small2"])
def test_a_small_set_is_bit_by_bit_its_part_of_the_prepared_file(part, real):
    whole, small = omniglot(), omniglot(part)
    assert whole.names == module.ALPHABETS
    assert (len(whole.images), len(whole.names)) == (964, 30)
    assert len(small.names) == 5
    numbers = torch.tensor([whole.names.index(name) for name in small.names])
    rows = torch.isin(whole.alphabet, numbers)
    assert torch.equal(numbers[small.alphabet], whole.alphabet[rows])
    exists = whole.mask[rows]
    assert torch.equal(whole.images[rows][exists], small.images[exists])
    assert int(whole.mask.sum(1).min()) == 12


@needs_real
def test_the_official_runs_pair_every_character_once(real):
    found = oneshot_runs(28)
    assert found.training.shape == found.test.shape == (20, 20, 28, 28)
    assert found.training.dtype == found.test.dtype == torch.uint8
    assert torch.equal(found.answer.sort(1).values, torch.arange(20).expand(20, 20))
    distance = torch.cdist(found.test.flatten(2).float(), found.training.flatten(2).float())
    right = distance.argmin(-1).eq(found.answer).float().mean()
    assert float(right) > 0.2  # of twenty; a wrong pairing is right in one of twenty


def nearest_neighbours(characters):
    """How often the nearest earlier drawing is of the same class, at the second and tenth showing, five classes."""
    pixels = features(characters)
    episodes = draw_episodes(characters.mask, 200, 5, 50, generator=torch.Generator().manual_seed(0))
    shown = pixels[episodes.character, episodes.drawing].transpose(0, 1)
    distance = torch.cdist(shown, shown).masked_fill(~torch.ones(50, 50, dtype=torch.bool).tril(-1), math.inf)
    labels = episodes.label.T
    right = labels.gather(1, distance.argmin(-1)) == labels
    showings = episodes.instance.T
    return [float(right[showings == k].float().mean()) for k in (2, 10)]


@needs_real
def test_our_characters_are_about_as_hard_as_omniglot(real):
    held_out = split_alphabets(omniglot(), 6)[1]
    assert nearest_neighbours(held_out) == pytest.approx([0.56, 0.89], abs=0.04)


def test_our_characters_are_told_apart_by_nearest_neighbours_about_half_of_the_time_at_first():
    assert nearest_neighbours(strokes(150, 20, alphabets=5, seed=3)) == pytest.approx([0.57, 0.88], abs=0.04)


def test_our_characters_have_their_alphabets_in_equal_shares():
    found = strokes(7, 3, alphabets=3, seed=0)
    assert found.images.shape == (7, 3, 28, 28)
    assert found.images.dtype == torch.uint8
    assert found.mask.shape == (7, 3)
    assert found.mask.all()
    assert found.alphabet.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert found.names == ("strokes 1", "strokes 2", "strokes 3")
    assert found.alphabet.dtype == torch.int64


def test_our_characters_are_the_same_on_every_machine():
    found = strokes(6, 4, alphabets=2, size=20, seed=1).images.numpy()
    assert (
        hashlib.sha256(found.tobytes()).hexdigest()
        == "367de7f061bb26fff3b70577708115a88c83ea1d89206625c45cca113661189b"
    )
    assert not np.array_equal(found, strokes(6, 4, alphabets=2, size=20, seed=2).images.numpy())


@pytest.mark.parametrize("size", [8, 28, 105])
def test_our_characters_are_the_same_at_every_size(size):
    images = strokes(10, 2, alphabets=1, size=size, seed=0).images.double().flatten(0, 1)
    assert images.shape == (20, size, size)
    assert images.flatten(1).amax(-1).min() > 150
    large = strokes(10, 2, alphabets=1, size=56, seed=0).images.double().flatten(0, 1)
    small, large = (F.interpolate(part.unsqueeze(1), 7, mode="area").flatten(1) for part in (images, large))
    nearest = torch.cdist(F.normalize(small), F.normalize(large)).argmin(1)
    assert nearest.tolist() == list(range(20))


def test_drawings_of_one_character_differ_less_than_characters_do():
    images = strokes(30, 6, alphabets=1, seed=0).images.double().flatten(2) / 255
    within = (images[:, :3] - images[:, 3:]).square().sum(-1).mean()
    between = (images - images.roll(1, 0)).square().sum(-1).mean()
    assert 0.3 * between < within < 0.85 * between


def test_a_straight_stroke_is_a_straight_line():
    points = np.array([[[[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]]])  # one drawing, one stroke: from left to right
    (image,) = module._draw(points, np.array([[True]]), 29)
    assert image[14, 8:21].min() > 230
    assert image[:11].max() == 0
    assert image[18:].max() == 0
    assert np.array_equal(image, image[::-1])
    assert image[14, :3].max() == image[14, 26:].max() == 0


@pytest.mark.parametrize("counts", [(0, 1, 1, 28), (1, 0, 1, 28), (1, 1, 0, 28), (2, 1, 3, 28), (1, 1, 1, 7)])
def test_impossible_characters_are_refused(counts):
    classes, drawings, alphabets, size = counts
    with pytest.raises(ValueError, match=rf"size at least 8, got {classes}, {drawings}, {alphabets} and {size}"):
        strokes(classes, drawings, alphabets=alphabets, size=size, seed=0)


def test_features_are_averages_of_squares():
    images = torch.randint(256, (2, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    characters = Characters(images, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2), ("a",))
    for size in (14, 7, 28):
        step = 28 // size
        expected = images.double().view(2, 3, size, step, size, step).mean((3, 5)).flatten(2) / 255
        found = features(characters, size)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="size 10 must divide that of the images, 28"):
        features(characters, 10)


def some(alphabets=(0, 0, 1, 2, 2, 2), names="abc"):
    """Characters whose images tell class and drawing."""
    number = torch.arange(len(alphabets) * 4).view(len(alphabets), 4, 1, 1)
    images = (number + torch.tensor([[0, 50], [100, 150]])).to(torch.uint8)
    mask = torch.ones(len(alphabets), 4, dtype=torch.bool)
    mask[1, 2] = mask[3, 0] = False
    return Characters(images, mask, torch.tensor(alphabets), tuple(names))


@pytest.mark.parametrize("seed", range(5))
def test_training_and_test_share_no_alphabet_and_lose_no_character(seed):
    whole = some()
    train, test = split_alphabets(whole, 2, seed=seed)
    assert not set(train.alphabet.tolist()) & set(test.alphabet.tolist())
    assert len(set(test.alphabet.tolist())) == 2
    assert sorted([*train.images[:, 0, 0, 0].tolist(), *test.images[:, 0, 0, 0].tolist()]) == [0, 4, 8, 12, 16, 20]
    for part in (train, test):
        rows = part.images[:, 0, 0, 0].long() // 4
        assert torch.equal(part.mask, whole.mask[rows])
        assert torch.equal(part.alphabet, whole.alphabet[rows])
        assert part.names == whole.names


def test_a_split_is_drawn_by_its_seed():
    assert torch.equal(split_alphabets(some(), 1, seed=3)[1].images, split_alphabets(some(), 1, seed=3)[1].images)
    assert len({tuple(split_alphabets(some(), 1, seed=seed)[1].alphabet.tolist()) for seed in range(20)}) == 3
    for held_out in (0, 3):
        with pytest.raises(ValueError, match=rf"held_out must lie in \[1, 2\], got {held_out}"):
            split_alphabets(some(), held_out)


def test_rotations_are_characters_of_their_own():
    whole = some()
    found = with_rotations(whole)
    for turns in range(4):
        rows = slice(6 * turns, 6 * turns + 6)
        expected = np.rot90(whole.images.numpy(), turns, (2, 3))
        assert np.array_equal(found.images[rows].numpy(), expected)
        assert torch.equal(found.mask[rows], whole.mask)
        assert torch.equal(found.alphabet[rows], whole.alphabet)
    assert found.names == whole.names


def episodes(batch=2_000, classes=3, length=8, seed=0):
    return draw_episodes(some().mask, batch, classes, length, generator=torch.Generator().manual_seed(seed))


def test_an_episode_has_one_character_for_each_label():
    found = episodes()
    for character, label in zip(found.character.T, found.label.T, strict=True):
        pairs = set(zip(label.tolist(), character.tolist(), strict=True))
        assert len(pairs) == len({label for label, _ in pairs}) == len({character for _, character in pairs})
    assert {tuple(part.shape) for part in found} == {(8, 2_000)}
    assert {part.dtype for part in found} == {torch.int64}


def test_only_drawings_that_exist_are_shown():
    found = episodes()
    shown = torch.zeros(6, 4, dtype=torch.long)
    shown.index_put_((found.character.flatten(), found.drawing.flatten()), torch.tensor(1), accumulate=True)
    mask = some().mask
    assert torch.equal(shown > 0, mask)
    for row, exists in zip(shown, mask, strict=True):
        assert chisquare(row[exists]).pvalue > 1e-3


def test_every_character_label_and_pair_of_labels_is_equally_likely():
    found = episodes(length=2)
    first, second = found.label
    assert chisquare(found.label[0].bincount()).pvalue > 1e-3
    assert chisquare((3 * first + second).bincount()).pvalue > 1e-3  # steps are independent
    one_a_label = torch.stack([episodes(length=1).character[0], episodes(length=1).label[0]])
    assert chisquare((3 * one_a_label[0] + one_a_label[1]).bincount()).pvalue > 1e-3


def test_instances_are_counted_from_one_by_class():
    found = episodes(batch=20)
    for labels, instances in zip(found.label.T.tolist(), found.instance.T.tolist(), strict=True):
        assert instances == [labels[: i + 1].count(label) for i, label in enumerate(labels)]


def test_the_same_seed_draws_the_same_episodes_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, other, third = episodes(9), episodes(9), episodes(9, seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one.character, third.character)


def test_impossible_episodes_are_refused():
    mask = some().mask
    for counts in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 7, 1)):
        with pytest.raises(ValueError, match=r"at most 6, got \d, \d and \d"):
            draw_episodes(mask, *counts)
    mask[2] = False
    with pytest.raises(ValueError, match="every character must have a drawing"):
        draw_episodes(mask, 1, 1, 1)


@needs_real
def test_recorded_runs_keep_their_episodes(real):
    test = with_rotations(split_alphabets(omniglot(), 6)[1])
    found = draw_episodes(test.mask, 4, 5, 6, generator=torch.Generator().manual_seed(1_000_000))
    assert hashlib.sha256(test.images.numpy().tobytes()).hexdigest()[:16] == "3ae7da841a7d1db1"
    assert found.character.tolist() == [
        [147, 272, 47, 443],
        [147, 339, 47, 449],
        [477, 359, 265, 343],
        [520, 179, 269, 343],
        [520, 359, 269, 449],
        [477, 272, 265, 443],
    ]
