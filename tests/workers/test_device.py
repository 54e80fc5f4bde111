import threading
from concurrent.futures import ThreadPoolExecutor

from tests.waiting import wait_until
from workers.device import Device


def test_the_next_batch_is_prepared_while_one_runs_and_no_third_is() -> None:
    device, running, finish = Device(), threading.Event(), threading.Event()

    def run() -> None:
        with device.turn(5.0) as turn:
            assert turn is not None
            with turn.on_device():
                running.set()
                assert finish.wait(10.0)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run)
        assert running.wait(5.0)
        with device.turn(0.0) as second:
            assert second is not None
            with device.turn(0.05) as third:
                assert third is None
        finish.set()
        first.result(5.0)


def test_batches_never_share_the_device() -> None:
    device, lock, most, inside = Device(), threading.Lock(), [0], [0]

    def run(_: int) -> None:
        with device.turn(30.0) as turn:
            assert turn is not None
            with turn.on_device():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                threading.Event().wait(0.002)
                with lock:
                    inside[0] -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(100)))
    assert most == [1]


def test_a_turn_that_fails_before_the_device_passes_on() -> None:
    device = Device()
    try:
        with device.turn(0.0):
            raise ValueError("nothing to claim")
    except ValueError:
        pass
    with device.turn(0.0) as turn:
        assert turn is not None


def test_a_drain_without_a_backlog_waits_for_the_device_but_not_for_ever() -> None:
    device, running, finish = Device(), threading.Event(), threading.Event()

    def run() -> None:
        with device.turn(5.0) as turn:
            assert turn is not None
            with turn.on_device():
                running.set()
                assert finish.wait(10.0)

    def wait(timeout_s: float) -> None:
        with device.turn(5.0) as turn:
            assert turn is not None
            turn.wait_for_device(timeout_s)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run)
        assert running.wait(5.0)
        wait(0.05)  # returns though the device is taken
        waiting = pool.submit(wait, 20.0)
        assert not waiting.done()
        finish.set()
        wait_until(waiting.done, 5.0, "the wait ends with the batch")
        first.result(5.0)
