"""CIFAR-10: from a folder, from the cache, and from a server that misbehaves."""

import gzip
import hashlib
import io
import multiprocessing
import os
import socket
import sys
import tarfile
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
import torch

from workedpapers.lab.paths import folder_from
from workedpapers.tasks import cifar, downloads
from workedpapers.tasks.cifar import cifar10

NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
ARCHIVE = "cifar-10-binary.tar.gz"


def record(label, **planes):
    """One label byte, then 1024 bytes of each colour."""
    return bytes([label]) + b"".join(planes.get(colour, bytes(1024)) for colour in ("red", "green", "blue"))


# Two records in each file: the labels tell the file and the record, as does the intensity of the one green plane.
FILES = {name: record(i) + record(9 - i, green=bytes([10 + i]) * 1024) for i, name in enumerate(NAMES)}
LABELS = {"train": [0, 9, 1, 8, 2, 7, 3, 6, 4, 5], "test": [5, 4]}
GREENS = {"train": [0, 10, 0, 11, 0, 12, 0, 13, 0, 14], "test": [0, 15]}


def packed(files):
    """An archive as the real one, with files that nobody asks for."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in {"readme.html": b"<html>", **files, "batches.meta.txt": b"airplane\n"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(written.getvalue(), mtime=0)


BODY = packed(FILES)
SHA256 = hashlib.sha256(BODY).hexdigest()


def put(folder, files=FILES):
    (folder / "cifar-10").mkdir(parents=True)
    for name, content in files.items():
        (folder / "cifar-10" / name).write_bytes(content)


class Server(ThreadingHTTPServer):
    """Serves the archive; each of `mishaps` is served first, once."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mishaps = []
        self.asked = []
        self.asking = threading.Event()
        self.patience = threading.Event()  # ends the five seconds of a slow answer

    def handle_error(self, request, client_address):
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.asking.set()
        mishap = self.server.mishaps.pop(0) if self.server.mishaps else None
        if isinstance(mishap, int):
            self.send_error(mishap)
            return
        body = mishap if isinstance(mishap, bytes) else BODY
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


@pytest.fixture(autouse=True)
def cache(empty_cache, monkeypatch):
    """An empty cache, no folder of data, two records in a file."""
    monkeypatch.setattr(cifar, "SIZE", 2)
    return empty_cache


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """An address that refuses connections, which is that of the archive unless there is a server."""
    with socket.socket() as bound:  # to a port, but not listening
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}/{ARCHIVE}"
        monkeypatch.setattr(cifar, "URL", address)
        yield address


@pytest.fixture
def server(nobody, monkeypatch):
    with Server() as server:
        monkeypatch.setattr(cifar, "URL", f"http://127.0.0.1:{server.server_port}/{ARCHIVE}")
        monkeypatch.setattr(cifar, "SHA256", SHA256)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.patience.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited between attempts; none passes."""
    seconds = []
    monkeypatch.setattr("pooch.core.time.sleep", seconds.append)
    return seconds


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder that `WORKEDPAPERS_DATA` names."""
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def saved(cache):
    """The files in the cache by their path in it, without the lock."""
    files = [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(cache / "cifar-10").as_posix(): path.read_bytes() for path in files}


def assert_whole(loaded, split="train"):
    assert loaded.labels.dtype == torch.int64
    assert loaded.labels.tolist() == LABELS[split]
    assert loaded.images.dtype == torch.uint8
    assert loaded.images.is_contiguous()
    greens = torch.tensor(GREENS[split], dtype=torch.uint8)
    assert loaded.images[:, 1].eq(greens[:, None, None]).all()
    assert not loaded.images[:, ::2].any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_of_files_is_read_in_order_without_a_cache_or_a_server(split, data, cache):
    put(data)
    assert_whole(cifar10(split), split)
    assert not cache.exists()


def test_a_tilde_in_the_folder_is_the_home_folder(tmp_path, monkeypatch, cache):
    put(tmp_path / "pictures")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WORKEDPAPERS_DATA", "~/pictures")
    assert_whole(cifar10())
    assert not cache.exists()


@pytest.mark.parametrize(
    ("byte", "place"),
    [  # Counted by hand: byte 0 is the label, and each colour has 32 rows of 32 bytes.
        (1, (0, 0, 0)),
        (2, (0, 0, 1)),
        (32, (0, 0, 31)),
        (33, (0, 1, 0)),
        (1024, (0, 31, 31)),
        (1025, (1, 0, 0)),
        (2048, (1, 31, 31)),
        (2049, (2, 0, 0)),
        (2049 + 32 * 5 + 7, (2, 5, 7)),
        (3072, (2, 31, 31)),
    ],
)
def test_each_byte_has_its_channel_row_and_column(byte, place, data):
    content = bytearray(2 * 3073)
    content[3073 + byte] = 255
    put(data, {"test_batch.bin": content})
    images, labels = cifar10("test")
    assert images.shape == (2, 3, 32, 32)
    assert images.nonzero().tolist() == [[1, *place]]
    assert images.max() == 255
    assert labels.tolist() == [0, 0]


def test_a_file_holds_ten_thousand_records(data, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(data))
    content = bytes(3073) * 10_000
    put(data, {"test_batch.bin": content})
    assert cifar10("test").images.shape == (10_000, 3, 32, 32)
    (data / "cifar-10" / "test_batch.bin").write_bytes(content[3073:])
    with pytest.raises(ValueError, match="9999 records of 3073 and 0 bytes more; expected 10000 records, 30730000"):
        cifar10("test")


def test_what_is_downloaded_once_is_kept_byte_for_byte_for_both_splits(server, cache):
    for split in ("train", "test", "train"):
        assert_whole(cifar10(split), split)
    assert server.asked == [f"/{ARCHIVE}"]
    assert saved(cache) == FILES
    assert {path.name for path in (cache / "cifar-10").iterdir()} - {".lock"} == set(NAMES)


def test_files_absent_from_the_folder_are_named_and_taken_elsewhere(data, server, cache):
    put(data, {name: FILES[name] for name in NAMES[2:]})
    with pytest.warns(UserWarning, match="there is no") as caught:
        assert_whole(cifar10())
    assert [str(warning.message) for warning in caught] == [
        f"WORKEDPAPERS_DATA is set, but there is no data_batch_1.bin, data_batch_2.bin in {data / 'cifar-10'}; "
        f"using {cache / 'cifar-10'}"
    ]
    assert {warning.filename for warning in caught} == {__file__}
    assert server.asked == [f"/{ARCHIVE}"]


def test_the_folder_goes_before_the_cache(data, cache):
    put(data, {"data_batch_1.bin": record(7) * 2})
    put(cache)
    with pytest.warns(UserWarning, match="no data_batch_2.bin, data_batch_3"):
        assert cifar10().labels.tolist() == [7, 7, *LABELS["train"][2:]]


def test_a_file_deleted_from_the_cache_comes_again_and_the_others_stay(server, cache):
    others = {name: record(3) * 2 for name in NAMES[1:]}
    put(cache, others)
    assert cifar10().labels.tolist() == [0, 9] + [3] * 8
    assert saved(cache) == {"data_batch_1.bin": FILES["data_batch_1.bin"], **others}


MISHAPS = {
    "absent": (404, "404"),
    "broken": (500, "500"),
    "shorter than announced": ("short", "IncompleteRead"),
    "shorter than it should be": ("cut", f"{SHA256} but got"),
    "slow": ("slow", "timed out"),
    "empty": (b"", f"{SHA256} but got {hashlib.sha256(b'').hexdigest()}"),
    "altered": (packed({}), f"{SHA256} but got"),
}


@pytest.mark.parametrize(("mishap", "words"), MISHAPS.values(), ids=MISHAPS)
def test_a_mishap_without_end_is_told_and_leaves_nothing_behind(mishap, words, server, cache, waits, monkeypatch):
    if mishap == "slow":
        monkeypatch.setattr(downloads, "TIMEOUT", (5, 0.5))
    server.mishaps = [mishap] * 100
    with pytest.raises(ConnectionError, match=words) as caught:
        cifar10()
    message = str(caught.value)
    del caught  # with it the connection, whose closing is otherwise left to the garbage collector, which warns
    assert message.startswith(f"cannot download {cifar.URL}: ")
    assert message.endswith(
        "or put data_batch_1.bin, data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, "
        "test_batch.bin of that archive into the folder cifar-10 of the folder that WORKEDPAPERS_DATA names"
    )
    assert server.asked == [f"/{ARCHIVE}"] * 3
    assert waits == [1, 2]
    assert {path.name for path in (cache / "cifar-10").iterdir()} <= {".lock"}


def test_a_server_that_recovers_is_asked_again_after_a_wait(server, cache, waits):
    server.mishaps = [500, "short"]
    assert_whole(cifar10())
    assert waits == [1, 2]
    assert saved(cache) == FILES


def test_without_a_network_the_address_is_named_with_the_reason(nobody, cache):
    with pytest.raises(ConnectionError, match=f"cannot download {nobody}: .*refused"):
        cifar10()
    assert saved(cache) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes, which are 0 records of 3073 and 0 bytes more; expected 2 records, 6146 bytes"),
        (record(1), "has 3073 bytes, which are 1 records of 3073 and 0 bytes more; expected 2 records, 6146 bytes"),
        ((record(1) * 2)[:-1], "has 6145 bytes, which are 1 records of 3073 and 3072 bytes more"),
        (record(1) * 2 + b"\0", "has 6147 bytes, which are 2 records of 3073 and 1 bytes more"),
        (record(9) + record(10), "has the label 10 in record 1; expected 0 to 9"),
        (record(255) + record(11), "has the label 255 in record 0; expected 0 to 9"),
    ],
)
@pytest.mark.parametrize("place", ["folder", "cache"])
def test_a_damaged_file_is_refused_and_not_replaced(place, content, words, tmp_path, monkeypatch, cache, server):
    if place == "folder":
        monkeypatch.setenv("WORKEDPAPERS_DATA", str(tmp_path / "data"))
    folder = {"folder": tmp_path / "data", "cache": cache}[place]
    put(folder, FILES | {"data_batch_4.bin": content})
    local = folder / "cifar-10" / "data_batch_4.bin"
    with pytest.raises(ValueError, match=words) as caught:
        cifar10()
    assert str(caught.value).startswith(f"{local} has ")
    assert str(caught.value).endswith(". Replace it, or delete it to have it downloaded")
    assert local.read_bytes() == content
    assert server.asked == []


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split must be one of train, test, got 'validation'"):
        cifar10("validation")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, server):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # even root makes no folder below a file
    path = tmp_path / "file" / "workedpapers" / "cifar-10"
    with pytest.raises(OSError, match=f"cannot save {path} .*Not a directory.* WORKEDPAPERS_DATA"):
        cifar10()
    assert server.asked == []


def test_when_the_disk_fills_no_file_is_left_half_written(monkeypatch, server, cache):
    def full(archive, members, path, **_):
        (Path(path) / "cifar-10-batches-bin").mkdir()
        (Path(path) / members[0].name).write_bytes(b"\0")
        raise OSError("No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(OSError, match=r"cannot save .*No space left"):
        cifar10()
    assert saved(cache) == {}


def test_files_in_a_read_only_cache_are_read_without_a_lock(monkeypatch, cache):
    put(cache)

    def read_only(path):
        raise PermissionError(path)

    monkeypatch.setattr(cifar, "FileLock", read_only)
    assert_whole(cifar10())


def test_a_download_is_silent_when_asked_and_shows_a_bar_otherwise(server, monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(pooch.get_logger(), "level", pooch.get_logger().level)  # to be restored
    pooch.get_logger().setLevel("INFO")
    for handler in pooch.get_logger().handlers:
        monkeypatch.setattr(handler, "stream", sys.stderr)  # else that of the time of its import
    cifar10()
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("WORKEDPAPERS_QUIET")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    cifar10()
    assert f"{ARCHIVE}: 100%" in capfd.readouterr().err


@pytest.fixture
def processes():
    """Starts processes, none of which outlives the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workedpapers.tasks.cifar", "pytest"])  # else a start is slow
    started = []

    def start(*arguments):
        started.append(context.Process(target=load_whole, args=arguments))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def load_whole(url, cache_home):
    os.environ.update(XDG_CACHE_HOME=cache_home, WORKEDPAPERS_QUIET="1", NO_PROXY="127.0.0.1")
    os.environ.pop("WORKEDPAPERS_DATA", None)
    warnings.simplefilter("error")
    cifar.URL, cifar.SHA256, cifar.SIZE = url, SHA256, 2
    assert_whole(cifar10())


def test_of_two_processes_one_downloads_and_the_other_waits(server, cache, processes):
    server.mishaps = ["slow"]
    both = [processes(cifar.URL, str(cache.parent)) for _ in range(2)]
    assert server.asking.wait(30)
    both[0].join(0.5)  # time for the other one to reach the lock
    server.patience.set()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert server.asked == [f"/{ARCHIVE}"]
    assert saved(cache) == FILES


def test_what_a_killed_process_had_begun_is_cleared_away(server, cache, processes):
    server.mishaps = ["slow"]
    process = processes(cifar.URL, str(cache.parent))
    assert server.asking.wait(30)
    process.kill()
    process.join(30)
    assert [path.name[:3] for path in (cache / "cifar-10").iterdir() if path.name != ".lock"] == ["tmp"]
    assert_whole(cifar10())
    assert saved(cache) == FILES


REAL = folder_from("WORKEDPAPERS_DATA") or Path("none")


@pytest.mark.skipif(
    not (REAL / "cifar-10").is_dir(),
    reason="WORKEDPAPERS_DATA holds no cifar-10",
)
@pytest.mark.parametrize(("split", "each"), [("train", 5000), ("test", 1000)])
def test_the_real_data_have_the_published_counts_and_means(split, each, monkeypatch):
    monkeypatch.undo()
    images, labels = cifar10(split)
    assert labels.bincount().tolist() == [each] * 10
    if split == "train":  # by which everybody normalises
        means = images.sum((0, 2, 3), dtype=torch.int64).double() / (10 * each * 32 * 32 * 255)
        assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
