"""Cameras that fail in every way, and their neighbours: short variants of benchmarks/cameras.py."""

from pathlib import Path

import pytest

from tests.system.camera_crowd import watch_a_crowd
from tests.system.camera_faults import STALL_TIMEOUT_S, reconnect_often, strike_and_mend

pytestmark = [pytest.mark.slow, pytest.mark.redis]


def test_every_fault_is_noticed_in_time_and_the_camera_is_live_soon_after_its_return(
    tmp_path: Path, redis_url: str
) -> None:
    figures = strike_and_mend(tmp_path, redis_url, away_s=1.0)
    print(*figures.items(), sep="\n")
    resized = figures.pop("other resolution")
    assert resized.noticed_s is None, "another resolution goes on in the same connection"
    assert len(figures) == 7
    for fault, one in figures.items():
        assert one.noticed_s is not None, fault
        assert one.noticed_s <= STALL_TIMEOUT_S + 1, fault
        assert one.back_s is not None, fault
        assert one.back_s <= 10, fault


def test_reconnects_leave_nothing_behind(tmp_path: Path, redis_url: str) -> None:
    figures = reconnect_often(tmp_path, redis_url, count=24, warm_up=8)
    print(figures)
    for before, after in (figures.camera, figures.supervisor):
        assert after.descriptors <= before.descriptors
        assert after.threads <= before.threads
        assert after.children == before.children
        assert after.rss_bytes <= 1.05 * before.rss_bytes


def test_broken_cameras_take_no_frames_from_the_others_and_every_ledger_balances(
    tmp_path: Path, redis_url: str
) -> None:
    figures = watch_a_crowd(tmp_path, redis_url, healthy=6, fps=10, seconds=8, with_broken=True)
    print(figures)
    assert len(figures.kept) == 6
    assert min(figures.kept.values()) >= 0.95
    assert set(figures.balances.values()) == {0}
    assert len(figures.balances) >= 7
    assert figures.rss_bytes[1] <= 1.05 * figures.rss_bytes[0]
    assert figures.delay_s[1] < 2
