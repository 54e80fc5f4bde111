import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import IMAGENET, OPEN_NSFW
from models.preprocessing import MOST_ENLARGED, PAD_VALUE, Normalize, draw_letterbox, fit_letterbox

sides = st.integers(1, 5000)


@given(width=sides, height=sides)
def test_every_picture_fits_its_canvas_and_keeps_its_aspect(width: int, height: int) -> None:
    letterbox = fit_letterbox((width, height), (640, 480), 32)
    limit = (640, 480) if width >= height else (480, 640)
    for scaled, canvas, most in zip(letterbox.scaled, letterbox.canvas, limit, strict=True):
        assert 1 <= scaled <= canvas <= most
        assert canvas % 32 == 0
        assert canvas - scaled < 32
    exact = min(limit[0] / width, limit[1] / height, MOST_ENLARGED)
    for scaled, source in zip(letterbox.scaled, (width, height), strict=True):
        assert scaled == 1 or abs(scaled - source * exact) <= 0.5


@pytest.mark.parametrize(
    ("source", "scaled", "canvas"),
    [
        ((768, 576), (640, 480), (640, 480)),
        ((1920, 1080), (640, 360), (640, 384)),
        ((1080, 1920), (360, 640), (384, 640)),
        ((640, 480), (640, 480), (640, 480)),
        ((560, 420), (640, 480), (640, 480)),
        ((320, 240), (400, 300), (416, 320)),
    ],
)
def test_the_canvas_is_trimmed_to_the_picture(
    source: tuple[int, int], scaled: tuple[int, int], canvas: tuple[int, int]
) -> None:
    letterbox = fit_letterbox(source, (640, 480), 32)
    assert (letterbox.scaled, letterbox.canvas) == (scaled, canvas)


def test_the_margin_is_grey_and_a_picture_of_the_right_size_is_copied() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    letterbox = fit_letterbox((90, 60), (90, 90), 32)
    canvas = np.zeros((64, 96, 3), np.uint8)
    draw_letterbox(picture, letterbox, canvas)
    assert np.array_equal(canvas[:60, :90], picture)
    assert (canvas[60:] == PAD_VALUE).all()
    assert (canvas[:, 90:] == PAD_VALUE).all()


def test_normalisation_subtracts_and_turns_channels_where_the_backbone_sees_rgb() -> None:
    blue = torch.zeros(1, 3, 1, 1)
    blue[0, 0] = 255
    assert Normalize(OPEN_NSFW)(blue).flatten().tolist() == [255 - 104, -117, -123]
    red, green, last = Normalize(IMAGENET)(blue).flatten().tolist()
    assert (red, green) == pytest.approx((-2.1179, -2.0357), abs=1e-4)
    assert last == pytest.approx(2.64, abs=1e-4)


@pytest.mark.parametrize("width", [200, 300, 700])
def test_scaling_reaches_every_source_pixel(width: int) -> None:
    """A fine chequered pattern must come out grey, not as stripes that are not there."""
    picture = np.zeros((width * 3 // 4, width, 3), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 255
    letterbox = fit_letterbox((width, width * 3 // 4), (128, 96), 32)
    canvas = np.zeros((96, 128, 3), np.uint8)
    draw_letterbox(picture, letterbox, canvas)
    assert canvas[4:-4, 4:-4].mean() == pytest.approx(127, abs=3)
    blocks = canvas[:, :, 0].reshape(12, 8, 16, 8).mean(axis=(1, 3))
    assert blocks.std() < 12


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalisation_keeps_the_memory_layout(layout: torch.memory_format) -> None:
    images = (torch.rand(2, 3, 4, 5) * 255).to(memory_format=layout)
    normal = Normalize(IMAGENET)(images)
    assert normal.is_contiguous(memory_format=layout)
    mean, std = torch.tensor(IMAGENET.mean).view(3, 1, 1), torch.tensor(IMAGENET.std).view(3, 1, 1)
    torch.testing.assert_close(normal, (images.flip(1) - mean) / std)


def test_bfloat16_holds_every_normalised_pixel_value_exactly() -> None:
    values = torch.arange(256.0).view(256, 1, 1, 1).expand(-1, 3, -1, -1)
    exact = Normalize(OPEN_NSFW)(values)
    assert torch.equal(Normalize(OPEN_NSFW).bfloat16()(values.bfloat16()).float(), exact)
