"""The wall shows what a camera sees while it sees it."""

import re

from playwright.sync_api import Page, expect

from app.dashboard.pages import css_color
from tests.browser.conftest import Stack

CANVAS = "canvas[data-live=street]"
COUNT_PIXELS = """(color) => {
  const canvas = document.querySelector("canvas[data-live=street]");
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) {
    count += data[i] === red && data[i + 1] === green && data[i + 2] === blue;
  }
  return count;
}"""


def test_it_shows_a_running_clip_with_boxes_its_state_and_its_rate(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    tile = page.locator("article", has_text="street")
    expect(tile.locator(".badge")).to_have_text("live")
    canvas = page.locator(CANVAS)
    expect(canvas).to_have_attribute("data-boxes", re.compile(r"^([2-9]|\d\d)$"))
    assert page.evaluate(COUNT_PIXELS, css_color("person")) > 200
    first = canvas.get_attribute("data-frame")
    assert first is not None
    expect(canvas).not_to_have_attribute("data-frame", first)
    expect(canvas).to_have_attribute("aria-label", re.compile(r"street: .*\d+ person"))
    expect(tile).to_contain_text(re.compile(r"analysed\s*[1-9]\.\d fps|analysed\s*0\.[1-9] fps"))
    expect(page.locator("#summary")).to_have_text("1 of 1 live · 1 worker")


def test_it_says_when_the_server_does_not_answer_any_more(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    page.route("**/*", lambda route: route.abort())
    expect(page.locator("body")).to_have_class("away")
    page.unroute("**/*")
    expect(page.locator("body")).not_to_have_class("away")


def test_keys_lead_from_the_wall_to_a_camera(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(2):  # "Add camera", then the tile
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{stack.url}/cameras/street")
