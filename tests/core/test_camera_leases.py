"""Who reads which camera."""

import itertools
import random

import pytest

from core.camera_leases import CameraLeases, LeaseRound, ingest_processes
from tests.core.queue_rig import QueueRig
from tests.waiting import wait_until

SIX = ["a", "b", "c", "d", "e", "f"]


class Process:
    """An ingest process that does at once what each round asks for."""

    def __init__(self, rig: QueueRig, name: str, lease_s: float = 30.0) -> None:
        self.leases = CameraLeases(rig.client, "test", name, lease_s)
        self.round = LeaseRound()

    def turn(self, wanted: list[str], settled: list[str] | None = None, *, may_take: bool = True) -> set[str]:
        self.round = self.leases.renew(wanted, settled or [], may_take=may_take)
        self.leases.release(self.round.giving | (set(self.round.held) - set(wanted)))
        return set(self.round.held) - self.round.giving


def settle_down(processes: list[Process], wanted: list[str]) -> list[set[str]]:
    """What each reads once nothing moves any more; fails when a camera is read by two on the way."""
    before: list[set[str]] = []
    for _ in range(20):
        now = [process.turn(wanted) for process in processes]
        assert all(not one & other for one, other in itertools.combinations(now, 2))
        if now == before:
            return now
        before = now
    raise AssertionError("the cameras never settle down")


def test_a_lone_process_reads_all_at_once(rig: QueueRig) -> None:
    process = Process(rig, "p1")
    assert process.turn(SIX) == set(SIX)
    assert ingest_processes(rig.client, "test") == ["p1"]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_cameras_are_spread_evenly_over_whoever_is_there(rig: QueueRig, count: int) -> None:
    processes: list[Process] = []
    for number in range(count):
        processes.append(Process(rig, f"p{number}"))
        shares = settle_down(processes, SIX)
        sizes = [len(share) for share in shares]
        assert set().union(*shares) == set(SIX)
        assert max(sizes) - min(sizes) <= 1


def test_no_more_cameras_move_than_must(rig: QueueRig) -> None:
    first, second = Process(rig, "p1"), Process(rig, "p2")
    settle_down([first], SIX)
    (before, _) = settle_down([first, second], SIX)
    third = Process(rig, "p3")
    shares = settle_down([first, second, third], SIX)
    assert [len(share) for share in shares] == [2, 2, 2]
    assert shares[0] < before


def test_a_process_that_leaves_is_followed_at_once(rig: QueueRig) -> None:
    first, second = Process(rig, "p1"), Process(rig, "p2")
    settle_down([first, second], SIX)
    second.leases.leave()
    assert first.turn(SIX) == set(SIX)
    assert first.round.taken_over == {}


def test_a_process_that_falls_silent_loses_its_cameras_and_the_taker_knows_whose_they_were(
    rig: QueueRig,
) -> None:
    first, second = Process(rig, "p1"), Process(rig, "p2", lease_s=0.2)
    settle_down([first, second], SIX)
    lost = set(second.round.held)
    wait_until(lambda: first.turn(SIX) == set(SIX) or None, 5, "the lease to run out")
    assert ingest_processes(rig.client, "test") == ["p1"]
    assert second.turn(SIX, may_take=False) == set()
    assert not second.round.known
    assert len(lost) == 3


def test_the_name_of_the_silent_process_is_told(rig: QueueRig) -> None:
    silent = Process(rig, "p1", lease_s=0.05)
    silent.turn(["a"])
    other = Process(rig, "p2")
    wait_until(lambda: other.turn(["a"]), 5, "the lease to run out")
    assert other.round.taken_over == {"a": "p1"}


def test_a_wanted_camera_more_or_less_moves_no_other(rig: QueueRig) -> None:
    processes = [Process(rig, "p1"), Process(rig, "p2")]
    before = settle_down(processes, SIX)
    with_one_more = settle_down(processes, [*SIX, "g"])
    assert all(old <= new for old, new in zip(before, with_one_more, strict=True))
    assert settle_down(processes, SIX) == before


def test_what_was_read_to_its_end_stays_and_counts_for_nobody(rig: QueueRig) -> None:
    first = Process(rig, "p1")
    first.turn(SIX)
    first.turn(SIX, settled=["a", "b", "c", "d"])
    second = Process(rig, "p2")
    for _ in range(4):
        second.turn(SIX)
        first.turn(SIX, settled=["a", "b", "c", "d"])
    assert len(second.round.held) == 1
    assert set(first.round.held) >= {"a", "b", "c", "d"}
    first.turn(SIX)  # they are read again, and count
    assert len(settle_down([first, second], SIX)[1]) == 3


def test_a_server_that_lost_its_memory_is_told_who_reads_what(rig: QueueRig) -> None:
    processes = [Process(rig, "p1"), Process(rig, "p2")]
    before = settle_down(processes, SIX)
    tokens = [dict(process.round.held) for process in processes]
    rig.client.flushall()
    assert [process.turn(SIX) for process in processes] == before
    assert not processes[0].round.known
    assert settle_down(processes, SIX) == before
    assert [dict(process.round.held) for process in processes] == tokens


def test_an_answer_that_was_lost_leaves_no_camera_unread(rig: QueueRig) -> None:
    process = Process(rig, "p1")
    kept = process.leases._round
    process.turn(SIX)
    process.leases._round = kept
    assert process.turn(SIX) == set(SIX)


def test_leases_of_dead_processes_on_forgotten_cameras_do_not_pile_up(rig: QueueRig) -> None:
    Process(rig, "p1", lease_s=0.05).turn(SIX)
    other = Process(rig, "p2")
    wait_until(lambda: other.turn(["a"]), 5, "the lease to run out")
    assert rig.client.hkeys("{test}:leases") == [b"a"]


def test_processes_that_come_and_go_at_random_never_share_a_camera(rig: QueueRig) -> None:
    chance = random.Random(11)
    names = itertools.count()
    running = [Process(rig, "first")]
    wanted = list(SIX)
    for _ in range(300):
        action = chance.random()
        if action < 0.1 and len(running) < 5:
            running.append(Process(rig, f"p{next(names)}"))
        elif action < 0.15 and len(running) > 1:
            running.pop(chance.randrange(len(running))).leases.leave()
        elif action < 0.25:
            wanted = sorted(chance.sample("abcdefghij", chance.randrange(1, 10)))
        chance.choice(running).turn(wanted)
        reading = [set(process.round.held) for process in running]
        now = [set(process.leases._round.held) for process in running]
        assert all(not one & other for one, other in itertools.combinations(now, 2)), reading
    shares = settle_down(running, wanted)
    assert set().union(*shares) == set(wanted)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
