import pytest

from app.filters import FilterOptions, parse_names, parse_region, split_names
from core.errors import QueryError


def test_names_may_be_repeated_and_parted_by_commas() -> None:
    assert split_names(["gate, yard", "door", "gate"]) == ("gate", "yard", "door")
    assert split_names(None) == ()


def test_names_that_are_all_blank_are_wrong_and_not_left_out() -> None:
    assert parse_names(None, "--class") == parse_names([], "--class") == ()
    assert parse_names(["", "car"], "--class") == ("car",)
    for blank in ("", " ", ","):
        with pytest.raises(QueryError, match="--camera: expected a name"):
            FilterOptions(camera=[blank]).to_filter()
        with pytest.raises(QueryError, match="--class: expected a name"):
            FilterOptions(class_name=[blank]).to_filter()


def test_a_region_is_four_numbers() -> None:
    assert parse_region("0, 200,640.5,480") == (0.0, 200.0, 640.5, 480.0)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "5,5,1,1", "0,0,0,0", "nan,0,1,1"])
def test_a_wrong_region_says_what_was_expected(text: str) -> None:
    with pytest.raises(QueryError, match=r"--region: expected x1,y1,x2,y2 .* got"):
        parse_region(text)


def test_options_become_a_filter() -> None:
    wanted = FilterOptions(camera=["gate"], class_name=["car,bus"], min_score=0.5, region="0,0,10,10")
    made = wanted.to_filter(limit=5)
    assert (made.cameras, made.classes, made.min_score, made.limit) == (("gate",), ("car", "bus"), 0.5, 5)
    assert made.region == (0.0, 0.0, 10.0, 10.0)


def test_an_empty_time_is_wrong_and_not_left_out() -> None:
    with pytest.raises(QueryError, match="--until"):
        FilterOptions(until="").to_filter()
