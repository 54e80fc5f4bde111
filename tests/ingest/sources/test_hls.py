"""HLS over a socket: a playlist that moves on, piece by piece."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import pytest

from core.errors import SourceLostError, SourceRefusedError
from ingest.sources import hls, open_source
from ingest.sources.source import SourceOptions
from tests.clips import read_number
from tests.hls_server import HlsServer, cut_clip

QUICK = SourceOptions(open_timeout_s=5.0, stall_timeout_s=1.0)


@pytest.fixture(scope="module")
def pieces(gop_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Six pieces of a second each."""
    return cut_clip(gop_clip, tmp_path_factory.mktemp("pieces"))


@pytest.mark.parametrize("path", ["/live.m3u8", "/live.m3u8?token=1", "/live"])
def test_the_newest_piece_comes_first_and_the_rest_in_order(pieces: list[bytes], path: str) -> None:
    with HlsServer(pieces) as server, open_source(server.url(path), QUICK) as source:
        frames = list(islice(source, 60))
    numbers = [read_number(frame.image, 320) for frame in frames]
    assert numbers[0] % 25 == 0
    assert numbers[0] >= 50, "the newest of the three pieces that the playlist shows"
    assert numbers == [(numbers[0] + step) % 150 for step in range(60)]
    assert not source.recorded
    now = datetime.now(UTC)
    assert all(earlier.captured_at < later.captured_at <= now for earlier, later in pairwise(frames))
    assert now - frames[-1].captured_at < timedelta(seconds=5)


def test_a_playlist_that_stands_still_is_noticed(pieces: list[bytes], monkeypatch) -> None:
    monkeypatch.setattr(hls, "_LONGEST_PIECE_S", 1.0)
    with HlsServer(pieces) as server, open_source(server.url(), QUICK) as source:
        frames = iter(source)
        list(islice(frames, 10))
        server.frozen.set()
        with pytest.raises(SourceLostError, match="nothing came for 2 s"):
            list(frames)


def test_a_login_is_given_and_a_wrong_one_refused(pieces: list[bytes]) -> None:
    with HlsServer(pieces, login="Basic " + b64encode(b"viewer:right").decode()) as server:
        with open_source(server.url(login="viewer:right@"), QUICK) as source:
            assert next(iter(source)).source_size == (320, 240)
        with pytest.raises(SourceRefusedError, match="refused the user or password") as caught:
            open_source(server.url(login="viewer:hush-hush@"), QUICK)
    assert "hush-hush" not in str(caught.value)


def test_a_playlist_cannot_name_files_of_this_machine(pieces: list[bytes], tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(pieces[0])
    server = HlsServer(pieces)
    server.piece_name = f"file://{secret}"
    with server, pytest.raises(SourceLostError):
        open_source(server.url(), SourceOptions(open_timeout_s=1.0, stall_timeout_s=1.0))
