"""MNIST and Fashion-MNIST: from a folder, from the cache, and from servers that misbehave."""

import gzip
import hashlib
import multiprocessing
import os
import socket
import struct
import sys
import threading
import warnings
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torch

from workedpapers.lab.paths import folder_from
from workedpapers.tasks import downloads, images
from workedpapers.tasks.images import DataSet, fashion_mnist, load, mnist

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
PIXELS = [[[0, 1, 2], [3, 4, 255]], [[6, 7, 8], [9, 128, 11]]]
CLASSES = [7, 3]
CONTENTS = {
    IMAGES: struct.pack(">HBBIII12B", 0, 8, 3, 2, 2, 3, *(pixel for image in PIXELS for row in image for pixel in row)),
    LABELS: struct.pack(">HBBI2B", 0, 8, 1, 2, *CLASSES),
}
FILES = {name: gzip.compress(content) for name, content in CONTENTS.items()}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def a_data_set(*mirrors, contents=CONTENTS):
    return DataSet("tiny", mirrors, {name: digest(content) for name, content in contents.items()})


def put(folder, files=FILES):
    (folder / "tiny").mkdir(parents=True)
    for name, compressed in files.items():
        (folder / "tiny" / name).write_bytes(compressed)


class Server(ThreadingHTTPServer):
    """Serves `FILES`; a mishap is served first, once for each time that it stands in the list of its path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mishaps = defaultdict(list)
        self.asked = Counter()
        self.asking = threading.Event()
        self.patience = threading.Event()  # ends the five seconds of a slow answer

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked[self.path] += 1
        self.server.asking.set()
        mishaps = self.server.mishaps[self.path]
        mishap = mishaps.pop(0) if mishaps else None
        body = FILES[self.path.rsplit("/")[-1]]
        if isinstance(mishap, int):
            self.send_error(mishap)
            return
        if isinstance(mishap, bytes):
            body = mishap
        self.send_response(200)
        if mishap != "cut":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        if mishap == "slow":
            self.server.patience.wait(5)
        if mishap not in ("short", "cut"):
            self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.patience.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody():
    """An address that refuses connections."""
    with socket.socket() as bound:  # to a port, but not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(autouse=True)
def cache(empty_cache):
    """An empty cache, and no folder of data."""
    return empty_cache


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited between attempts; none passes."""
    seconds = []
    monkeypatch.setattr("pooch.core.time.sleep", seconds.append)
    return seconds


def saved(cache):
    """The files in the cache, without the lock."""
    return {path.name: path.read_bytes() for path in cache.rglob("*") if path.is_file() and path.name != ".lock"}


def assert_whole(loaded):
    assert loaded.images.dtype == torch.uint8
    assert loaded.images.tolist() == PIXELS
    assert loaded.labels.dtype == torch.int64
    assert loaded.labels.tolist() == CLASSES


def test_a_folder_of_files_is_read_without_a_cache_or_a_server(tmp_path, monkeypatch, cache):
    put(tmp_path / "data")
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    assert_whole(load(a_data_set()))
    assert not cache.exists()


def test_a_tilde_in_the_folder_is_the_home_folder(tmp_path, monkeypatch, cache):
    put(tmp_path / "my data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WORKEDPAPERS_DATA", "~/my data")
    assert_whole(load(a_data_set()))
    assert not cache.exists()


def test_the_two_splits_have_their_own_files(tmp_path, monkeypatch):
    test = {name.replace("train", "t10k"): content for name, content in CONTENTS.items()}
    test["t10k-labels-idx1-ubyte.gz"] = struct.pack(">HBBI2B", 0, 8, 1, 2, 0, 9)
    put(tmp_path, {name: gzip.compress(content) for name, content in (CONTENTS | test).items()})
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    data_set = a_data_set(contents=CONTENTS | test)
    assert load(data_set, "train").labels.tolist() == CLASSES
    assert load(data_set, "test").labels.tolist() == [0, 9]


def test_a_file_compressed_in_another_way_is_as_good(tmp_path, monkeypatch):
    other = {name: gzip.compress(content, compresslevel=0, mtime=0) for name, content in CONTENTS.items()}
    assert all(other[name] != FILES[name] for name in FILES)
    put(tmp_path, other)
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    assert_whole(load(a_data_set()))


def test_what_is_downloaded_once_is_kept_byte_for_byte(server, cache):
    for _ in range(2):
        assert_whole(load(a_data_set(server.address)))
    assert server.asked == {f"/{IMAGES}": 1, f"/{LABELS}": 1}
    assert saved(cache) == FILES


def test_a_file_absent_from_the_folder_is_named_and_taken_elsewhere(tmp_path, monkeypatch, server, cache):
    put(tmp_path / "data", {LABELS: FILES[LABELS]})
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    with pytest.warns(UserWarning, match="there is no") as caught:
        assert_whole(load(a_data_set(server.address)))
    assert [str(warning.message) for warning in caught] == [
        f"WORKEDPAPERS_DATA is set, but there is no {tmp_path / 'data' / 'tiny' / IMAGES}; "
        f"using {cache / 'tiny' / IMAGES}"
    ]
    assert server.asked == {f"/{IMAGES}": 1}


def test_the_warning_points_to_the_line_that_asked(tmp_path, monkeypatch, server):
    monkeypatch.setattr(images, "MNIST", a_data_set(server.address))
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="there is no") as caught:
        mnist()
    assert {warning.filename for warning in caught} == {__file__}


MISHAPS = {
    "absent": (404, "404"),
    "broken": (500, "500"),
    "shorter than announced": ("short", "IncompleteRead"),
    "shorter than it should be": ("cut", "is truncated or no gzip file"),
    "slow": ("slow", "timed out"),
    "empty": (b"", f"SHA-256 {digest(b'')}; expected {digest(CONTENTS[IMAGES])}"),
    "a page": (b"<html>", rf"no gzip file .* 6 bytes have SHA-256 {digest(b'<html>')}.*{digest(CONTENTS[IMAGES])}"),
    "altered": (gzip.compress(b"altered"), f"SHA-256 {digest(b'altered')}; expected {digest(CONTENTS[IMAGES])}"),
    "the other file": (FILES[LABELS], f"SHA-256 {digest(CONTENTS[LABELS])}, which is that of {LABELS}; expected"),
}
with_each_mishap = pytest.mark.parametrize(("mishap", "words"), MISHAPS.values(), ids=MISHAPS)


@pytest.fixture
def impatient(mishap, monkeypatch):
    """A timeout short enough for a test, only where one is to happen."""
    if mishap == "slow":
        monkeypatch.setattr(downloads, "TIMEOUT", (5, 0.5))


@with_each_mishap
def test_after_a_mishap_the_next_mirror_is_asked_at_once(mishap, words, server, cache, waits, impatient):
    server.mishaps[f"/first/{IMAGES}"] = [mishap]
    assert_whole(load(a_data_set(f"{server.address}/first", f"{server.address}/second")))
    assert server.asked == {f"/first/{IMAGES}": 1, f"/second/{IMAGES}": 1, f"/first/{LABELS}": 1}
    assert waits == []
    assert saved(cache) == FILES


@with_each_mishap
def test_a_mishap_without_end_is_told_and_leaves_nothing_behind(mishap, words, server, cache, waits, impatient):
    server.mishaps[f"/{IMAGES}"] = [mishap] * 100
    with pytest.raises(ConnectionError, match=words) as caught:
        load(a_data_set(server.address))
    message = str(caught.value)
    assert message.startswith(f"cannot download {IMAGES} of tiny:\n  {server.address}/{IMAGES}: ")
    assert message.endswith("put the file into the folder tiny of the folder that WORKEDPAPERS_DATA names")
    assert server.asked == {f"/{IMAGES}": 3}
    assert waits == [1, 2]
    assert saved(cache) == {}


def test_a_server_that_recovers_is_asked_again_after_a_wait(server, cache, waits):
    server.mishaps[f"/{IMAGES}"] = [500, "short"]
    assert_whole(load(a_data_set(server.address)))
    assert waits == [1, 2]
    assert saved(cache) == FILES


def test_without_a_network_each_mirror_is_named_with_its_reason(nobody, cache):
    with pytest.raises(ConnectionError) as caught:
        load(a_data_set(f"{nobody}/first", f"{nobody}/second"))
    lines = str(caught.value).splitlines()
    for line, mirror in zip(lines[1:3], ("first", "second"), strict=True):
        assert line.startswith(f"  {nobody}/{mirror}/{IMAGES}: ")
        assert "refused" in line
    assert saved(cache) == {}


@pytest.fixture(params=["folder", "cache"])
def local(request, tmp_path, monkeypatch, cache):
    """The path of a file of images that is there to be spoilt, in `WORKEDPAPERS_DATA` or in the cache."""
    if request.param == "folder":
        monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    folder = {"folder": tmp_path / "data", "cache": cache}[request.param]
    put(folder)
    return folder / "tiny" / IMAGES


def refusal(local, data_set):
    """The message about a bad local file, which stays as it is."""
    before = local.read_bytes()
    with pytest.raises(ValueError, match=IMAGES) as caught:
        load(data_set)
    assert local.read_bytes() == before
    message = str(caught.value)
    assert message.startswith(f"{local} ")
    assert message.endswith(". Replace it, or delete it to have it downloaded")
    return message


def test_an_altered_file_is_refused_with_both_digests_and_not_replaced(local, server):
    altered = CONTENTS[IMAGES][:-1] + b"\0"
    local.write_bytes(gzip.compress(altered))
    message = refusal(local, a_data_set(server.address))
    assert f"has a content with SHA-256 {digest(altered)}; expected {digest(CONTENTS[IMAGES])}" in message
    assert not server.asked


def test_labels_in_the_place_of_images_are_recognised(local):
    local.write_bytes(FILES[LABELS])
    assert f"which is that of {LABELS}; expected" in refusal(local, a_data_set())


def test_a_file_that_is_no_gzip_is_refused_with_its_own_digest(local):
    local.write_bytes(CONTENTS[IMAGES])
    message = refusal(local, a_data_set())
    assert "is truncated or no gzip file (Not a gzipped file" in message
    assert f"its 28 bytes have SHA-256 {digest(CONTENTS[IMAGES])}, expected a content with" in message


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    local = tmp_path / "tiny" / IMAGES
    for length in range(len(FILES[IMAGES])):
        local.write_bytes(FILES[IMAGES][:length])
        assert digest(CONTENTS[IMAGES]) in refusal(local, a_data_set())


def test_a_file_with_any_byte_flipped_is_refused_or_has_the_same_content(tmp_path, monkeypatch):
    put(tmp_path)
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    local = tmp_path / "tiny" / IMAGES
    refused = 0
    for position in range(len(FILES[IMAGES])):
        flipped = bytearray(FILES[IMAGES])
        flipped[position] ^= 0xFF
        local.write_bytes(flipped)
        try:
            assert_whole(load(a_data_set()))  # the time stamp, say
        except ValueError:
            refused += 1
    assert refused > len(FILES[IMAGES]) // 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CONTENTS[LABELS], "no IDX file of bytes in 3 dimensions: it begins with 00000801, expected 00000803"),
        (b"\0\0\x0d\x03" + CONTENTS[IMAGES][4:], "it begins with 00000d03, expected 00000803"),
        (CONTENTS[IMAGES][:15], "it begins with 00000803, expected 00000803 and 3 sizes"),
        (b"", "it begins with , expected 00000803"),
        (CONTENTS[IMAGES][:-1], r"holds 11 values, expected 12 for shape \(2, 2, 3\)"),
        (CONTENTS[IMAGES] + b"\0", r"holds 13 values, expected 12 for shape \(2, 2, 3\)"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), rf"holds 0 values, expected {(2**32 - 1) ** 3} for"),
    ],
)
def test_a_file_of_another_form_is_refused(content, words, tmp_path, monkeypatch):
    contents = CONTENTS | {IMAGES: content}
    put(tmp_path, FILES | {IMAGES: gzip.compress(content)})
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"{IMAGES} .*{words}"):
        load(a_data_set(contents=contents))


def test_images_and_labels_of_unequal_number_are_refused(tmp_path, monkeypatch):
    contents = CONTENTS | {LABELS: struct.pack(">HBBI3B", 0, 8, 1, 3, 1, 2, 3)}
    put(tmp_path, {name: gzip.compress(content) for name, content in contents.items()})
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="tiny has 2 images and 3 labels in split 'train'"):
        load(a_data_set(contents=contents))


@pytest.mark.parametrize("function", [mnist, fashion_mnist])
def test_an_unknown_split_is_named(function):
    with pytest.raises(ValueError, match="split must be one of train, test, got 'validation'"):
        function("validation")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, server):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # even root makes no folder below a file
    path = tmp_path / "file" / "workedpapers" / "tiny" / IMAGES
    with pytest.raises(OSError, match=f"cannot save {path} .*Not a directory.* WORKEDPAPERS_DATA"):
        load(a_data_set(server.address))
    assert not server.asked


def test_files_in_a_read_only_cache_are_read_without_a_lock(monkeypatch, cache):
    put(cache)

    def read_only(path):
        raise PermissionError(path)

    monkeypatch.setattr(downloads, "FileLock", read_only)
    assert_whole(load(a_data_set()))


def test_a_download_is_silent_when_asked_and_shows_a_bar_otherwise(server, monkeypatch, capfd, tmp_path):
    pooch.get_logger().setLevel("INFO")
    for handler in pooch.get_logger().handlers:
        monkeypatch.setattr(handler, "stream", sys.stderr)  # else that of the time of its import
    load(a_data_set(server.address))
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("WORKEDPAPERS_QUIET")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    load(a_data_set(server.address))
    shown = capfd.readouterr().err
    assert f"{IMAGES}: 100%" in shown
    assert f"{len(FILES[IMAGES])}.0/{len(FILES[IMAGES])}.0" in shown


@pytest.fixture
def processes():
    """Starts processes, none of which outlives the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workedpapers.tasks.images", "pytest"])  # else a start is slow
    started = []

    def start(target, *arguments):
        started.append(context.Process(target=target, args=arguments))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def load_whole(mirror, cache_home):
    os.environ.update(XDG_CACHE_HOME=cache_home, WORKEDPAPERS_QUIET="1", NO_PROXY="127.0.0.1")
    os.environ.pop("WORKEDPAPERS_DATA", None)
    warnings.simplefilter("error")
    assert_whole(load(a_data_set(mirror)))


def test_of_two_processes_one_downloads_and_the_other_waits(server, cache, processes):
    server.mishaps[f"/{IMAGES}"] = ["slow"]
    both = [processes(load_whole, server.address, str(cache.parent)) for _ in range(2)]
    assert server.asking.wait(30)
    both[0].join(0.5)  # time for the other one to reach the lock
    server.patience.set()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert server.asked == {f"/{IMAGES}": 1, f"/{LABELS}": 1}
    assert saved(cache) == FILES


def test_what_a_killed_process_had_begun_is_cleared_away(server, cache, processes):
    server.mishaps[f"/{IMAGES}"] = ["slow"]
    process = processes(load_whole, server.address, str(cache.parent))
    assert server.asking.wait(30)
    process.kill()
    process.join(30)
    assert [name[:3] for name in saved(cache)] == ["tmp"]
    assert_whole(load(a_data_set(server.address)))
    assert saved(cache) == FILES


REAL = folder_from("WORKEDPAPERS_DATA") or Path("none")


def needs(name):
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"WORKEDPAPERS_DATA holds no {name}")


@pytest.mark.parametrize(
    ("function", "split", "counts", "mean"),
    [  # As published: the size of each class, and the mean intensity by which everybody normalises.
        pytest.param(
            mnist, "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307, marks=needs("mnist")
        ),
        pytest.param(
            mnist, "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], None, marks=needs("mnist")
        ),
        pytest.param(fashion_mnist, "train", [6000] * 10, 0.2860, marks=needs("fashion-mnist")),
        pytest.param(fashion_mnist, "test", [1000] * 10, None, marks=needs("fashion-mnist")),
    ],
)
def test_the_real_data_have_the_published_counts(function, split, counts, mean, monkeypatch):
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(REAL))
    pixels, labels = function(split)
    assert pixels.shape == (sum(counts), 28, 28)
    assert pixels.dtype == torch.uint8
    assert labels.bincount().tolist() == counts
    if mean is not None:
        assert pixels.sum(dtype=torch.int64).item() / pixels.numel() / 255 == pytest.approx(mean, abs=5e-5)


def test_the_small_digits_come_without_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path))
    train, test = images.digits("train"), images.digits("test")
    assert (train.images.shape, test.images.shape) == ((1400, 8, 8), (397, 8, 8))
    for split in (train, test):
        assert split.images.dtype == torch.uint8
        assert (split.images.min(), split.images.max()) == (0, 255)
        assert len(split.images.unique()) == 17
        assert split.labels.dtype == torch.int64
        assert split.labels.unique().tolist() == list(range(10))
    assert not (train.images[:, None] == test.images).flatten(2).all(2).any()
    with pytest.raises(ValueError, match="split must be one of train, test, got 'valid'"):
        images.digits("valid")
