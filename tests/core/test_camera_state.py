"""What each camera is doing, kept on Redis."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from core.camera_state import CameraActivity, CameraStates, new_state, with_activity
from core.redis_client import make_redis

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_states_come_back_as_they_were_saved(redis_url: str) -> None:
    gate = replace(new_state("gate", CameraActivity.LIVE), fps_in=25.0, last_frame_at=NOW, reconnects=3)
    door = new_state("door", CameraActivity.FAILED, "no such file")
    with make_redis(redis_url) as client:
        CameraStates(client, "a").save([gate, door])
        assert CameraStates(client, "a").load() == [door, gate]
        assert CameraStates(client, "b").load() == []


def test_a_later_state_replaces_the_earlier_and_a_removed_camera_goes(redis_url: str) -> None:
    with make_redis(redis_url) as client:
        states = CameraStates(client, "a")
        states.save([new_state("gate", CameraActivity.CONNECTING), new_state("door", CameraActivity.LIVE)])
        states.save([new_state("gate", CameraActivity.LIVE)])
        states.forget("door")
        assert [(state.camera, state.activity) for state in states.load()] == [("gate", CameraActivity.LIVE)]


def test_a_camera_whose_ingest_died_is_told_by_its_silence() -> None:
    live = replace(new_state("gate", CameraActivity.LIVE), reported_at=NOW)
    assert not live.is_silent(NOW + timedelta(seconds=10))
    assert live.is_silent(NOW + timedelta(seconds=20))
    assert not with_activity(live, CameraActivity.ENDED).is_silent(NOW + timedelta(days=3650))


def test_a_change_of_activity_keeps_the_counters() -> None:
    live = replace(new_state("gate", CameraActivity.LIVE), fps_in=25.0, reconnects=3, corrupt=2)
    lost = with_activity(live, CameraActivity.BACKING_OFF, "nothing came for 5 s")
    assert (lost.reconnects, lost.corrupt, lost.fps_in, lost.error) == (3, 2, 0.0, "nothing came for 5 s")


def test_a_cameras_last_frame_grows_old_however_it_was_lost() -> None:
    live = replace(new_state("gate", CameraActivity.LIVE), last_frame_at=NOW)
    later = NOW + timedelta(seconds=7)
    for state in (
        live,
        with_activity(live, CameraActivity.STALLED),
        with_activity(live, CameraActivity.REFUSED),
    ):
        assert state.frame_age_s(later) == 7
    assert replace(live, recorded=True).frame_age_s(later) is None
    assert new_state("gate", CameraActivity.CONNECTING).frame_age_s(later) is None


def test_cameras_that_went_while_nobody_read_them_are_forgotten(redis_url: str) -> None:
    with make_redis(redis_url) as client:
        states = CameraStates(client, "a")
        states.save([new_state(name, CameraActivity.LIVE) for name in ("gate", "door", "yard")])
        states.keep_only(["yard", "new"])
        assert [state.camera for state in states.load()] == ["yard"]
