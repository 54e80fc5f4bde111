from datetime import timedelta

import pytest

from app.retention import parse_retention
from core.errors import SettingsError
from storage.retention_policy import RetentionRule

DAY = timedelta(days=1)


def test_rules_by_camera_and_class_are_read() -> None:
    policy = parse_retention("30d, gate=90d, */fire hydrant=52w, gate/person=forever")
    assert policy.rules == (
        RetentionRule(30 * DAY),
        RetentionRule(90 * DAY, camera="gate"),
        RetentionRule(364 * DAY, class_name="fire hydrant"),
        RetentionRule(None, "gate", "person"),
    )


def test_nothing_keeps_all() -> None:
    assert parse_retention(" ").rules == ()


@pytest.mark.parametrize("text", ["30", "gate", "gate=", "=30d", "gate/=30d", "30 days", "0d", "gate:30d"])
def test_what_is_no_rule_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="retention: expected spans such as"):
        parse_retention(text)


def test_two_spans_for_one_thing_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected one span for gate, got two"):
        parse_retention("gate=3d,gate=4d")
