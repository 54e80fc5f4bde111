from app.run_account import CameraAccount, RunSummary, since_start, sum_ledgers
from core.types import DropReason, Ledger


def test_a_run_counts_from_its_own_start() -> None:
    start = Ledger("gate", captured=10, stored=7, in_flight=2, dropped={DropReason.STALE: 1})
    now = Ledger("gate", captured=30, stored=26, in_flight=0, dropped={DropReason.STALE: 4})
    mine = since_start(now, start)
    assert (mine.captured, mine.stored, mine.dropped[DropReason.STALE]) == (22, 19, 3)
    assert mine.balance == 0, "frames that waited at the start count as captured"


def summary(**changes: object) -> RunSummary:
    cameras = (
        CameraAccount(Ledger("gate", captured=10, stored=10), 5),
        CameraAccount(Ledger("yard", captured=8, stored=6, dropped={DropReason.CORRUPT: 2}), 1),
    )
    given = {"cameras": cameras, "seconds": 12.0, "start_up_s": 4.0, "database_url": "sqlite:///a.db"}
    return RunSummary(**{**given, **changes})  # type: ignore[arg-type]


def test_speed_leaves_the_loading_of_the_model_out() -> None:
    assert summary().as_json()["frames_per_second"] == 2.0


def test_the_table_has_a_total_and_only_the_reasons_that_happened() -> None:
    columns, rows = summary().table()
    assert [column.name for column in columns] == [
        *("camera", "captured", "stored", "corrupt", "in flight", "detections", "frames/s")
    ]
    assert rows[-1][:6] == ["all", 18, 16, 2, 0, 6]


def test_a_run_balances_only_when_no_frame_is_lost_or_on_its_way() -> None:
    assert summary().balanced
    for ledger in (Ledger("gate", captured=3, stored=2), Ledger("gate", captured=3, stored=2, in_flight=1)):
        assert not summary(cameras=(CameraAccount(ledger),)).balanced


def test_ledgers_add_up() -> None:
    total = sum_ledgers("all", [camera.ledger for camera in summary().cameras])
    assert (total.captured, total.stored, total.dropped_total, total.balance) == (18, 16, 2, 0)
