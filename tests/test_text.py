"""Texts: from a folder, from the cache, from a server that fails, and generated."""

import hashlib

import pooch
import pytest
import requests
import torch

from workedpapers.tasks import text as module
from workedpapers.tasks.text import PARTS, text


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, no data folder, and a short text in place of the plays."""
    content = b"to be or not to be, that is the question:\n" * 20
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(module.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("WORKEDPAPERS_DATA", raising=False)
    return tmp_path, content


def test_parts_make_up_the_whole():
    parts = [text("counting", part) for part in PARTS]
    assert {part.alphabet for part in parts} == {" 0123456789"}
    whole = "".join(parts[0].alphabet[code] for part in parts for code in part.codes.tolist())
    assert whole == " ".join(map(str, range(5000)))
    sizes = [len(part.codes) for part in parts]
    assert sizes[0] == round(0.9 * len(whole))
    assert abs(sizes[1] - sizes[2]) <= 1
    assert parts[0].codes.dtype == torch.int64


def test_unknown_names():
    with pytest.raises(ValueError, match="part must be one of train, validation, test, got 'dev'"):
        text("counting", "dev")
    with pytest.raises(ValueError, match="data must be one of shakespeare, counting, got 'ptb'"):
        text("ptb")


def test_from_the_folder(home, monkeypatch):
    folder, content = home
    (folder / "data" / "text").mkdir(parents=True)
    file = folder / "data" / "text" / "tinyshakespeare.txt"
    file.write_bytes(content)
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(folder / "data"))
    found = text()
    assert found.alphabet == "".join(sorted(set(content.decode())))
    assert "".join(found.alphabet[code] for code in found.codes.tolist()).startswith("to be or not")
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"tinyshakespeare.txt has 839 bytes with SHA-256 .*Replace it"):
        text()
    assert file.exists()


def test_download_fills_the_cache(home, monkeypatch):
    folder, content = home
    calls = []

    def download(self, url, output, _pooch):
        calls.append(url)
        with open(output, "wb") as file:
            file.write(content)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    assert torch.equal(text().codes, text().codes)
    assert calls == [module.URL]
    assert (folder / "cache" / "workedpapers" / "text" / "tinyshakespeare.txt").read_bytes() == content


def test_a_folder_without_the_file_is_named(home, monkeypatch):
    folder, content = home
    (folder / "data").mkdir()
    monkeypatch.setenv("WORKEDPAPERS_DATA", str(folder / "data"))
    cache = folder / "cache" / "workedpapers" / "text"
    cache.mkdir(parents=True)
    (cache / "tinyshakespeare.txt").write_bytes(content)
    with pytest.warns(UserWarning, match=r"there is no .*data/text/tinyshakespeare\.txt; using .*cache") as caught:
        assert len(text().codes) == round(0.9 * len(content))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("answer", [requests.ConnectionError("no network"), b"<html>blocked</html>"])
def test_download_that_fails(home, monkeypatch, answer):
    folder, _ = home

    def download(self, url, output, _pooch):
        if isinstance(answer, Exception):
            raise answer
        with open(output, "wb") as file:
            file.write(answer)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    with pytest.raises(
        ConnectionError, match=r"(?s)cannot download https://raw.*put it, as tinyshakespeare.txt"
    ) as error:
        text()
    assert "\n" in str(error.value)
    assert not list((folder / "cache").rglob("*.txt"))


def test_cache_that_cannot_be_written(home):
    folder, _ = home
    (folder / "cache").write_text("a file")
    with pytest.raises(OSError, match=r"cannot save .* Make its folder writable"):
        text()
