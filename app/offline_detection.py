"""Detects in pictures and videos without queue and database, and draws what was found."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.annotate import draw_boxes, labelled_boxes
from app.annotated_output import NoSink, PictureSink, Sink, VideoSink
from app.tables import stderr
from core.errors import CorruptFrameError, SourceError
from core.sampling import spread_evenly
from core.settings import Settings
from core.types import Detections
from ingest.sources import is_recorded, open_source
from ingest.sources.images import SUFFIXES
from ingest.sources.source import FrameSource, SourceOptions
from models.detector import Detector, load_detector

LOG = logging.getLogger(__name__)
DEFAULT_FPS = 25.0


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture on its way through the detector."""

    name: str
    """File name of a picture; number of a video's frame."""
    at_s: float
    """Seconds since the first one."""
    image: NDArray[np.uint8]
    """(H, W, 3), BGR."""


def detect_offline(source: str, output: Path | None, settings: Settings, *, as_json: bool) -> str:
    """Detects in every picture of a source; returns one line that says what was done.

    `output` gets the annotated picture, video, or folder of pictures; `as_json` prints a JSON object per
    picture. Raises UsageError leaves for a source, an output or a model that cannot be used.
    """
    if not is_recorded(source):
        raise SourceError(
            f"{source}: expected a picture, a folder of pictures or a video; `run` takes cameras"
        )
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        sink = stack.enter_context(_open_sink(Path(source), output, opened))
        detector = load_detector(
            settings.model_name,
            settings.device,
            settings.precision.value,
            compile=settings.compile,
            score_threshold=settings.score_threshold,
            canvas=settings.canvas_size,
        )
        progress = stack.enter_context(_make_progress())
        task = progress.add_task("detecting", total=opened.format.frames)
        started, count, found = time.perf_counter(), 0, 0
        for shot, detections in _detect(detector, _read_shots(Path(source), opened), settings.batch_size):
            if output is not None:
                sink.add(shot.name, draw_boxes(shot.image, labelled_boxes(detections)), shot.at_s)
            if as_json:
                print(json.dumps(to_record(shot, detections)))
            count, found = count + 1, found + len(detections)
            progress.advance(task)
        seconds = time.perf_counter() - started
    if not count:
        raise SourceError(f"{source}: expected pictures that can be decoded, got none")
    noun = "picture" if count == 1 else "pictures"
    where = f", drawn in {output}" if output is not None else ""
    return f"{found} detections in {count} {noun} by {detector.name}, {count / seconds:.1f} pictures/s{where}"


def sample_pictures(source: str, max_side: int, most: int = 64) -> list[NDArray[np.uint8]]:
    """Pictures (H, W, 3) BGR of a picture, a folder or a video, evenly spread, shrunk to a longer side.

    `most` at most; of a source that does not tell how many it has, down to half as many. Raises SourceError.
    """
    if not is_recorded(source):
        raise SourceError(f"{source}: expected a picture, a folder of pictures or a video")
    with open_source(source, SourceOptions(max_side=max_side)) as opened:
        images = (shot.image for shot in _read_shots(Path(source), opened))
        count = opened.format.frames
        pictures = _thin(images, most) if count is None else _choose(images, count, most)
    if not pictures:
        raise SourceError(f"{source}: expected pictures that can be decoded, got none")
    return pictures


def _choose(images: Iterable[NDArray[np.uint8]], count: int, most: int) -> list[NDArray[np.uint8]]:
    """At most so many out of `count`, evenly spread."""
    chosen = set(spread_evenly(count, most))
    return [image for number, image in enumerate(images) if number in chosen]


def _thin(images: Iterable[NDArray[np.uint8]], most: int) -> list[NDArray[np.uint8]]:
    """At most so many out of an unknown number: every k-th, and k doubles whenever they become too many."""
    kept: list[NDArray[np.uint8]] = []
    step = 1
    for number, image in enumerate(images):
        if number % step == 0:
            kept.append(image)
        if len(kept) > most:
            kept, step = kept[::2], 2 * step
    return kept


def to_record(shot: Shot, detections: Detections) -> dict[str, object]:
    """The JSON object of one picture; boxes in pixels, x and y their top-left corner."""
    height, width = shot.image.shape[:2]
    boxes = [
        {
            "class_name": box.class_name,
            "score": round(box.score, 4),
            "x": round(box.x1, 2),
            "y": round(box.y1, 2),
            "width": round(box.x2 - box.x1, 2),
            "height": round(box.y2 - box.y1, 2),
        }
        for box in labelled_boxes(detections)
    ]
    return {
        "picture": shot.name,
        "at_s": round(shot.at_s, 6),
        "width": width,
        "height": height,
        "detections": boxes,
    }


def _open_sink(source: Path, output: Path | None, opened: FrameSource) -> Sink:
    if output is None:
        return NoSink()
    if source.is_dir() or source.suffix.lower() in SUFFIXES:
        return PictureSink(output, is_folder=source.is_dir())
    return VideoSink(output, opened.format.fps or DEFAULT_FPS)


def _read_shots(path: Path, opened: FrameSource) -> Iterator[Shot]:
    """Every picture that can be decoded; the others are left out with a warning."""
    files = _picture_files(path)
    first = None
    for number, frame in enumerate(opened):
        first = first or frame.captured_at
        name = files[number].name if files else str(number)
        try:
            image = frame.image
        except CorruptFrameError as error:
            LOG.warning("%s; left out", error)
            continue
        yield Shot(name, (frame.captured_at - first).total_seconds(), image)


def _picture_files(path: Path) -> Sequence[Path]:
    """The files behind the frames of a picture source, in their order; none for a video."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    return [path] if path.suffix.lower() in SUFFIXES else []


def _detect(detector: Detector, shots: Iterator[Shot], batch_size: int) -> Iterator[tuple[Shot, Detections]]:
    while batch := list(islice(shots, batch_size)):
        yield from zip(batch, detector.predict([shot.image for shot in batch]), strict=True)


def _make_progress() -> Progress:
    """A bar on a terminal; nothing elsewhere."""
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
