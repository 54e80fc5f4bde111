from dataclasses import replace

import cv2
import numpy as np
import pytest

from core.errors import CorruptFrameError
from tests.workers.rig import make_frame, picture
from workers.decoding import JpegDecoder, decode_frame


def test_a_jpeg_becomes_a_bgr_picture_of_the_size_that_the_frame_claims() -> None:
    blue = np.zeros((120, 160, 3), np.uint8)
    blue[:, :, 0] = 255
    image = decode_frame(make_frame(0, jpeg=bytes(cv2.imencode(".jpg", blue)[1])))
    assert image.shape == (120, 160, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, blue, atol=3)


@pytest.mark.parametrize(
    ("jpeg", "reason"),
    [
        (b"", "cut off"),
        (b"these bytes are no picture", "cut off"),
        (b"no picture, but with the end of one\xff\xd9", "something else"),
        (picture(0)[:-2], "cut off"),
        (picture(0)[: len(picture(0)) // 2], "cut off"),
    ],
    ids=["empty", "text", "text with an end", "without its end", "half"],
)
def test_bytes_that_are_no_whole_jpeg_are_corrupt(jpeg: bytes, reason: str) -> None:
    with pytest.raises(CorruptFrameError, match=f"frame 7 of gate: .*{reason}"):
        decode_frame(make_frame(7, jpeg=jpeg))


def test_a_picture_of_another_size_is_corrupt_as_its_boxes_would_land_elsewhere() -> None:
    frame = replace(make_frame(0), scale=1.0)
    with pytest.raises(CorruptFrameError, match="expected 320x240 pixels, got 160x120"):
        decode_frame(frame)


def test_a_side_that_was_rounded_is_accepted() -> None:
    image = np.zeros((113, 151, 3), np.uint8)
    frame = replace(
        make_frame(0, jpeg=bytes(cv2.imencode(".jpg", image)[1])), source_size=(1000, 750), scale=0.15
    )
    assert decode_frame(frame).shape == (113, 151, 3)


def test_a_batch_keeps_its_order_and_has_a_gap_where_a_frame_is_corrupt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decoder = JpegDecoder(threads=2)
    frames = [make_frame(index) for index in range(6)]
    frames[3] = make_frame(3, jpeg=b"no picture")
    images = decoder(frames)
    decoder.close()
    assert images[3] is None
    assert "dropped as corrupt: frame 3 of gate" in caplog.text
    for index in (0, 1, 2, 4, 5):
        image = images[index]
        assert image is not None
        np.testing.assert_array_equal(image, decode_frame(frames[index]))
