"""Downloads from a real HTTP server on this machine."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from core.errors import WeightsError
from models import download
from models.download import fetch
from tests.file_server import FileServer, serving

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(CONTENT) as server:
        yield server


def test_a_file_is_fetched_once(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "weights.pth"
    for _ in range(2):
        assert fetch(server.url, target, SHA256[:8]) == target
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert not list(target.parent.glob("*.partial"))


def test_a_connection_that_breaks_off_goes_on_where_it_was(server: FileServer, tmp_path: Path) -> None:
    server.breaks_after = 100_000
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_process_goes_on_with_what_has_arrived(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / ".weights.pth.partial").write_bytes(CONTENT[:123_456])
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]


@pytest.mark.parametrize("rest", [CONTENT, CONTENT[:1000]])
def test_a_server_without_ranges_starts_anew(server: FileServer, tmp_path: Path, rest: bytes) -> None:
    server.knows_ranges = False
    (tmp_path / ".weights.pth.partial").write_bytes(rest)
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT


def test_a_whole_file_that_was_only_not_renamed_yet_is_taken(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / ".weights.pth.partial").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("start", [b"of another file" * 9, CONTENT + b"too much"])
def test_a_beginning_of_another_file_is_thrown_away(server: FileServer, tmp_path: Path, start: bytes) -> None:
    (tmp_path / ".weights.pth.partial").write_bytes(start)
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT
    assert server.asked[-1] is None


def test_a_damaged_file_in_the_cache_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(CONTENT[:-1] + b"x")
    assert fetch(server.url, tmp_path / "weights.pth", SHA256).read_bytes() == CONTENT


def test_a_file_with_another_digest_never_appears(server: FileServer, tmp_path: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match=r"expected a file with sha256 .*give its path as the model"):
        fetch(server.url, tmp_path / "weights.pth", SHA256)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_file_that_the_server_does_not_have_is_not_asked_for_again(
    server: FileServer, tmp_path: Path
) -> None:
    server.status = 404
    (tmp_path / ".weights.pth.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(WeightsError, match=r"404.*1000 bytes are kept"):
        fetch(server.url, tmp_path / "weights.pth", SHA256)
    assert len(server.asked) == 1


def test_offline_says_what_to_do_and_keeps_what_has_arrived(tmp_path: Path) -> None:
    partial = tmp_path / ".weights.pth.partial"
    partial.write_bytes(CONTENT[:1000])
    with FileServer(CONTENT) as gone:
        url = gone.url
    with pytest.raises(
        WeightsError, match=r"cannot fetch .*refused.*1000 bytes are kept.*give the file's path"
    ) as error:
        fetch(url, tmp_path / "weights.pth", SHA256)
    assert "\n" not in str(error.value)
    assert partial.read_bytes() == CONTENT[:1000]


def test_a_server_that_falls_silent_is_given_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    server.speaks.clear()
    with pytest.raises(WeightsError, match=r"cannot fetch .* \(timed out\)"):
        fetch(server.url, tmp_path / "weights.pth", SHA256)
    server.speaks.set()


def test_of_two_that_want_it_at_once_one_fetches(server: FileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: fetch(server.url, tmp_path / "weights.pth", SHA256), range(2)))
    assert [path.read_bytes() == CONTENT for path in found] == [True, True]
    assert server.asked == [None]
