import threading

from tests.waiting import wait_until
from workers.watchdog import Watchdog


def test_a_section_that_takes_too_long_is_named_to_the_one_who_ends_the_process() -> None:
    reasons: list[str] = []
    watchdog = Watchdog(0.1, bite=reasons.append)
    with watchdog.watch("a batch of 8 frames"):
        wait_until(lambda: reasons, 5.0, "the watchdog bites")
    watchdog.close()
    assert "a batch of 8 frames has taken" in reasons[0]
    assert "batch_timeout_s of 0.1 s" in reasons[0]


def test_sections_in_time_are_left_alone_however_many_there_are() -> None:
    reasons: list[str] = []
    watchdog = Watchdog(0.5, bite=reasons.append)
    pause = threading.Event()
    for _ in range(8):  # one second in all
        with watchdog.watch("a short batch"):
            pause.wait(0.125)
    watchdog.close()
    assert reasons == []
