import pytest

from app.cameras_file import make_camera
from app.evidence_rules import parse_rule
from core.errors import SettingsError
from core.evidence_policy import EvidenceKind, EvidenceRule, rule_for

NAME_AND_URL = {"name": "gate", "url": "usb://0"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("all", EvidenceRule()),
        ("every=5m", EvidenceRule(every_s=300)),
        ("person,truck every=30", EvidenceRule(("person", "truck"), 30)),
        ("traffic light, car what=frame", EvidenceRule(("traffic light", "car"), what=EvidenceKind.FRAME)),
        ("car margin=0 min-score=0.5", EvidenceRule(("car",), margin=0, min_score=0.5)),
    ],
)
def test_a_rule_is_read_as_it_is_typed(text: str, rule: EvidenceRule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "rule", [EvidenceRule(), EvidenceRule(("car", "traffic light"), 5, EvidenceKind.FRAME)]
)
def test_a_rule_is_shown_as_it_can_be_typed(rule: EvidenceRule) -> None:
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["car every=soon", "car what=movie", "car min_score=2", "car every=0s", "car size=3", "margin=-1"]
)
def test_a_rule_that_cannot_work_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected .+ got"):
        parse_rule(text)


def test_a_camera_of_a_file_may_have_rules() -> None:
    camera = make_camera(
        {**NAME_AND_URL, "evidence": [{"classes": ["person"], "every_s": 5, "what": "frame"}]}
    )
    assert camera.evidence == (EvidenceRule(("person",), 5, EvidenceKind.FRAME),)


def test_a_misspelt_field_of_a_rule_is_refused() -> None:
    with pytest.raises(SettingsError, match="min_scroe"):
        make_camera({**NAME_AND_URL, "evidence": [{"min_scroe": 0.5}]})


def test_the_first_rule_about_a_class_holds() -> None:
    cars, rest = EvidenceRule(("car",), 5), EvidenceRule()
    assert rule_for((cars, rest), "car") is cars
    assert rule_for((cars, rest), "bus") is rest
    assert rule_for((cars,), "bus") is None
