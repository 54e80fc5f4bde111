"""Filters of the history page, its charts and its address say the same."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PICTURE_SIZE, Stack
from tests.waiting import wait_until

GATE = "/history?camera=gate"


@pytest.fixture
def history(page: Page, stack: Stack) -> Page:
    page.goto(stack.url + GATE)
    return page


def rows(page: Page) -> "list[list[str]]":
    """Camera, class and score of the table's rows."""
    cells = page.locator("table.rows tbody tr").all()
    return [[text.strip() for text in row.locator("td").all_inner_texts()][1:4] for row in cells]


def test_filters_change_the_table_the_chart_and_the_address(history: Page) -> None:
    expect(history.locator("#counts")).to_have_text("18 detections")
    expect(history.locator("svg.bars a")).to_have_count(6)
    history.get_by_label("car", exact=True).check(force=True)
    expect(history.locator("#counts")).to_have_text("6 detections")
    expect(history).to_have_url(re.compile(r"/history\?camera=gate&class=car$"))
    assert rows(history) == [["gate", "car", "0.80"]] * 6
    history.get_by_label("hour", exact=True).check(force=True)
    expect(history.locator("svg.bars a")).to_have_count(0)
    history.go_back()
    expect(history.locator("#counts")).to_have_text("6 detections")
    expect(history.get_by_label("car", exact=True)).to_be_checked()


def test_more_filters_follow_as_they_are_typed(history: Page) -> None:
    history.get_by_text("More filters").click()
    history.get_by_label("Least score").fill("0.85")
    expect(history.locator("#counts")).to_have_text("6 detections")
    history.get_by_label("Region").fill("0,0,200,200")
    expect(history).to_have_url(re.compile(r"min_score=0.85&region=0,0,200,200$"))
    history.get_by_label("Region").fill("nonsense")
    expect(history.get_by_role("alert")).to_contain_text("expected x1,y1,x2,y2")


def test_a_link_shows_another_person_the_same(history: Page, stack: Stack) -> None:
    history.get_by_label("person", exact=True).check(force=True)
    expect(history.locator("#counts")).to_have_text("12 detections")
    other = history.context.new_page()
    other.goto(history.url)
    assert rows(other) == rows(history)
    expect(other.get_by_label("person", exact=True)).to_be_checked()


def test_a_bar_opens_its_time_by_mouse_and_by_keys(history: Page) -> None:
    bars = history.locator("svg.bars a")
    bars.nth(0).focus()
    history.keyboard.press("ArrowRight")
    expect(bars.nth(1)).to_be_focused()
    history.keyboard.press("Enter")
    expect(history.locator("#counts")).to_have_text("3 detections")
    expect(history).to_have_url(re.compile("since=.*&until="))
    history.get_by_label("24 hours").check(force=True)
    expect(history.locator("#counts")).to_have_text("18 detections")


def test_a_drag_over_the_chart_opens_that_part_of_time(history: Page) -> None:
    place = history.locator("svg.bars").bounding_box()
    assert place is not None
    middle = place["y"] + place["height"] / 2
    history.mouse.move(place["x"] + place["width"] * 0.8, middle)
    history.mouse.down()
    history.mouse.move(place["x"] + place["width"] * 0.9, middle, steps=3)
    expect(history.locator(".brush")).to_be_visible()
    history.mouse.move(place["x"] + place["width"], middle, steps=3)
    history.mouse.up()
    expect(history).to_have_url(re.compile("since=.*&until="))
    expect(history.locator("#counts")).to_have_text(re.compile("^(12|15) detections"))


def test_kept_pictures_are_shown(history: Page) -> None:
    picture = history.locator(".gallery img")
    expect(picture).to_have_count(1)
    picture.scroll_into_view_if_needed()
    size = "one => one.complete && [one.naturalWidth, one.naturalHeight]"
    assert wait_until(lambda: picture.evaluate(size), 60, "the picture is loaded") == list(PICTURE_SIZE)
    expect(history.locator("table .thumbnail")).to_have_count(1)


def test_rows_are_exported_as_they_are_filtered(history: Page) -> None:
    history.get_by_label("car", exact=True).check(force=True)
    expect(history.locator("#counts")).to_have_text("6 detections")
    with history.expect_download() as waiting:
        history.get_by_role("link", name="CSV").click()
    lines = waiting.value.path().read_text().splitlines()
    assert len(lines) == 7
    assert all(",car," in line for line in lines[1:])
