from itertools import pairwise
from pathlib import Path

import pytest

from app.offline_detection import sample_pictures
from ingest.sources import open_source
from tests.clips import read_number, write_clip, write_pictures

SIZE = (200, 32)


def sampled_numbers(source: Path, most: int) -> list[int]:
    return [read_number(picture, SIZE[0]) for picture in sample_pictures(str(source), SIZE[0], most)]


@pytest.mark.parametrize("count", [5, 8, 9, 15, 16])
def test_a_sample_of_a_folder_reaches_from_its_first_pictures_to_its_last(tmp_path: Path, count: int) -> None:
    numbers = sampled_numbers(write_pictures(tmp_path / "pictures", count, SIZE), most=8)
    assert len(numbers) == min(count, 8)
    assert {later - earlier for earlier, later in pairwise([*numbers, count])} <= {1, 2}
    assert numbers[0] == 0


@pytest.mark.parametrize("count", [5, 8, 9, 40])
def test_a_sample_of_a_video_that_does_not_tell_its_length_is_evenly_spread(
    tmp_path: Path, count: int
) -> None:
    clip = write_clip(tmp_path / "clip.ts", count, size=SIZE)
    with open_source(str(clip)) as opened:
        assert opened.format.frames is None
    numbers = sampled_numbers(clip, most=8)
    assert min(count, 5) <= len(numbers) <= 8
    (step,) = {later - earlier for earlier, later in pairwise(numbers)}
    assert numbers[0] == 0
    assert count - step <= numbers[-1] < count
