"""The gate that leaves out still frames."""

from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.motion import MotionGate

START = datetime(2026, 1, 1, tzinfo=UTC)


def parking_lot(seed: int, person_at: int | None = None, light: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 4, (240, 320, 3))
    picture = np.clip(110.0 + light + noise, 0, 255).astype(np.uint8)
    if person_at is not None:
        cv2.rectangle(picture, (person_at, 100), (person_at + 8, 122), (30, 40, 60), -1)
    return picture


def passed(gate: MotionGate, pictures: list[NDArray[np.uint8]], fps: float = 5) -> list[int]:
    return [
        index
        for index, picture in enumerate(pictures)
        if gate.passes(picture, START + timedelta(seconds=index / fps))
    ]


def test_still_frames_pass_once_in_ten_seconds_in_spite_of_noise() -> None:
    assert passed(MotionGate(), [parking_lot(seed) for seed in range(150)]) == [0, 50, 100]


def test_a_small_person_who_walks_by_passes_in_every_frame() -> None:
    pictures = [parking_lot(seed) for seed in range(20)]
    pictures += [parking_lot(100 + step, person_at=20 * step) for step in range(10)]
    assert set(range(20, 30)) <= set(passed(MotionGate(), pictures))


def test_a_change_of_the_light_is_no_motion() -> None:
    pictures = [parking_lot(seed, light=seed) for seed in range(40)]
    assert passed(MotionGate(), pictures) == [0]


def test_another_picture_size_starts_anew() -> None:
    gate = MotionGate()
    gate.passes(parking_lot(1), START)
    assert gate.passes(np.zeros((200, 320, 3), np.uint8), START + timedelta(seconds=1))


def test_a_strip_of_a_picture_is_looked_at_too() -> None:
    gate = MotionGate()
    assert gate.passes(np.zeros((2, 640, 3), np.uint8), datetime(2026, 1, 1, tzinfo=UTC))
