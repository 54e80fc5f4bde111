"""Folders of pictures, and single ones."""

import os
import struct
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import CorruptFrameError, SourceError
from core.types import from_microseconds
from ingest.sources import open_source
from ingest.sources.images import decode_picture
from ingest.sources.source import SourceOptions
from tests.clips import numbered_picture, read_number, write_pictures

START = datetime(2024, 5, 17, 8, 30, 15, tzinfo=UTC)


def date_pictures(folder: Path, offsets_s: list[float]) -> None:
    for file, offset_s in zip(sorted(folder.iterdir()), offsets_s, strict=True):
        os.utime(file, ns=(0, round((START.timestamp() + offset_s) * 1_000_000) * 1000))


def test_pictures_come_by_name_at_their_modification_times(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 4)
    date_pictures(folder, [0, 1.5, 2, 60])
    with open_source(str(folder)) as source:
        frames = list(source)
    assert [read_number(frame.image, 320) for frame in frames] == [0, 1, 2, 3]
    assert [(frame.captured_at - START).total_seconds() for frame in frames] == [0, 1.5, 2, 60]
    assert source.recorded


def test_pictures_whose_times_are_out_of_order_are_a_second_apart(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 3)
    date_pictures(folder, [5, 5, 0])
    with open_source(str(folder)) as source:
        times = [frame.captured_at for frame in source]
    assert times == [START, START + timedelta(seconds=1), START + timedelta(seconds=2)]


def test_a_corrupt_picture_is_told_and_the_next_one_read(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 3)
    (folder / "picture-0001.jpg").write_bytes(b"\xff\xd8 no picture")
    with open_source(str(folder)) as source:
        first, second, third = source
    assert first.image.shape == third.image.shape
    with pytest.raises(CorruptFrameError, match=r"picture-0001\.jpg: expected a picture, got 13 bytes"):
        _ = second.image


def test_a_dangling_link_is_left_out(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 3)
    (folder / "picture-0001.jpg").unlink()
    (folder / "picture-0001.jpg").symlink_to("/nowhere/picture.jpg")
    with open_source(str(folder)) as source:
        assert source.format.frames == 2
        assert [read_number(frame.image, 320) for frame in source] == [0, 2]


def test_a_folder_of_dangling_links_has_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "door.jpg").symlink_to("/nowhere/picture.jpg")
    with pytest.raises(SourceError, match="got none in it"):
        open_source(str(tmp_path))


def test_a_picture_that_is_deleted_while_its_folder_is_read_is_corrupt(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 3)
    with open_source(str(folder)) as source:
        (folder / "picture-0001.jpg").unlink()
        first, deleted, third = source
    assert [read_number(frame.image, 320) for frame in (first, third)] == [0, 2]
    with pytest.raises(CorruptFrameError, match=r"picture-0001\.jpg: .*No such file"):
        _ = deleted.image


def test_a_single_picture_that_is_deleted_once_it_is_open_is_corrupt(tmp_path: Path) -> None:
    picture = write_pictures(tmp_path, 1) / "picture-0000.jpg"
    with open_source(str(picture)) as source:
        picture.unlink()
        assert str(source.format) == "picture 320x240"
        (deleted,) = source
    with pytest.raises(CorruptFrameError, match="No such file"):
        _ = deleted.image


def test_one_picture_is_a_source_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), numbered_picture(77, (1280, 720)))
    with open_source(str(tmp_path / "one.png"), SourceOptions(max_side=640)) as source:
        (frame,) = source
    assert read_number(frame.image, 1280) == 77
    assert (frame.image.shape, frame.source_size) == ((360, 640, 3), (1280, 720))
    assert frame.captured_at == from_microseconds((tmp_path / "one.png").stat().st_mtime_ns // 1000)


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(SourceError, match=r"expected a folder of pictures .*got none in it"):
        open_source(str(tmp_path))


def test_a_text_file_named_jpg_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("nothing here")
    with pytest.raises(SourceError, match=r"notes\.jpg: expected a picture, got 12 bytes that are none"):
        open_source(str(tmp_path / "notes.jpg"))


def test_a_picture_that_promises_too_many_pixels_is_corrupt() -> None:
    _, png = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))
    data = png.copy()
    data[16:24] = np.frombuffer(struct.pack(">II", 65_000, 65_000), np.uint8)  # width and height of IHDR
    data[29:33] = np.frombuffer(struct.pack(">I", zlib.crc32(data[12:29].tobytes())), np.uint8)
    with pytest.raises(CorruptFrameError, match="expected a picture"):
        decode_picture(data, None, "huge.png")
