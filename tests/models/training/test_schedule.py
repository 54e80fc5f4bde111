import pytest

from core.errors import SettingsError
from models.training.schedule import DEFAULT_PHASES, Schedule


def schedule(steps: int | None = 100, hours: float | None = None) -> Schedule:
    return Schedule(steps, hours, 10, DEFAULT_PHASES)


def test_rate_warms_up_then_falls_to_its_final_share() -> None:
    plan = schedule()
    rates = [plan.rate(step, plan.progress(step, 0.0)) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[100] == pytest.approx(plan.final_share)


def test_a_budget_of_hours_counts_time_and_not_steps() -> None:
    plan = schedule(steps=None, hours=2.0)
    assert plan.progress(5, 3600.0) == 0.5
    assert plan.progress(5, 9000.0) == 1.0


def test_phases_follow_the_progress() -> None:
    plan = schedule()
    assert plan.phase(0.0) is DEFAULT_PHASES[0]
    assert plan.phase(DEFAULT_PHASES[0].until) is DEFAULT_PHASES[1]
    assert plan.phase(1.0) is DEFAULT_PHASES[-1]


def test_exactly_one_length_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="either steps or hours"):
        schedule(steps=None)
    with pytest.raises(SettingsError, match="either steps or hours"):
        schedule(steps=5, hours=1.0)
    with pytest.raises(SettingsError, match=r"end at 1\.0"):
        Schedule(5, None, 1, DEFAULT_PHASES[:1])
