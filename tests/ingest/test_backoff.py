"""Waiting times between tries."""

from ingest.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 30)
    for ceiling_s in (0.5, 1, 2, 4, 8, 16, 30, 30):
        assert ceiling_s / 2 <= backoff.next_s() <= ceiling_s


def test_waits_are_spread() -> None:
    assert len({Backoff(1, 30).next_s() for _ in range(20)}) == 20


def test_a_success_starts_with_short_waits_again() -> None:
    backoff = Backoff(0.5, 30)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_a_thousand_tries_do_not_overflow() -> None:
    backoff = Backoff(0.5, 30)
    assert max(backoff.next_s() for _ in range(2000)) <= 30
