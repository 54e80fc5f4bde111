"""A camera's life on its page: added, checked, masked, removed."""

import re

import pytest
from playwright.sync_api import Page, expect

from core.errors import CameraNotFoundError
from core.types import Camera
from storage.cameras import get_camera, list_cameras
from tests.browser.conftest import Stack


def draw(page: Page, corners: "list[tuple[float, float]]") -> None:
    """Clicks on these places of the picture, in shares of its sides."""
    place = page.locator("svg.masks").bounding_box()
    assert place is not None
    for x, y in corners:
        page.mouse.click(place["x"] + x * place["width"], place["y"] + y * place["height"])


def test_a_camera_is_added_checked_masked_and_removed(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    page.get_by_role("link", name="Add camera").click()
    page.get_by_label("Name").fill("door")
    page.get_by_label("Address").fill(stack.clip_url)
    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_role("status")).to_contain_text("It answers")
    expect(page.locator("#check-result")).to_contain_text("768 × 576")
    assert page.locator("img.sample").evaluate("one => one.naturalWidth") == 768
    assert "door" not in [camera.name for camera in list_cameras(stack.database)]

    page.get_by_label("Watch this camera").uncheck()
    page.get_by_role("button", name="Add camera").click()
    expect(page.get_by_role("status").first).to_contain_text("added")
    assert get_camera(stack.database, "door") == Camera("door", stack.clip_url, enabled=False)

    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#check-result")).to_contain_text("It answers")
    page.get_by_role("button", name="Draw a mask").click()
    draw(page, [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)])
    page.get_by_role("button", name="Finish").click()
    page.locator("svg.masks .handle").first.focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Save masks").click()
    expect(page.get_by_role("status").first).to_contain_text("saved")
    ((first, *others),) = get_camera(stack.database, "door").masks
    assert first == pytest.approx((0.09, 0.1), abs=0.005)
    assert others == [pytest.approx(corner, abs=0.005) for corner in [(0.5, 0.1), (0.5, 0.5)]]

    page.get_by_role("button", name="Remove …").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Remove door").click()
    expect(page).to_have_url(f"{stack.url}/")
    with pytest.raises(CameraNotFoundError):
        get_camera(stack.database, "door")


def test_masks_are_drawn_on_the_live_picture_and_dragged(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/cameras/street")
    expect(page.locator("canvas")).to_have_attribute("data-frame", re.compile(r"\d+"))
    page.get_by_role("button", name="Draw an area").click()
    draw(page, [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)])
    page.keyboard.press("Enter")
    corner = page.locator("svg.masks .handle").last.bounding_box()
    assert corner is not None
    page.mouse.move(corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2)
    page.mouse.down()
    place = page.locator("svg.masks").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 0.5 * place["width"], place["y"] + 0.9 * place["height"], steps=4)
    page.mouse.up()
    points = [float(number) for number in page.locator("input[name=area]").input_value().split(",")]
    assert points == pytest.approx([0.2, 0.2, 0.8, 0.2, 0.8, 0.8, 0.5, 0.9], abs=0.01)
    page.get_by_role("button", name="Delete area 1").click()
    expect(page.locator("svg.masks .handle")).to_have_count(0)


def test_settings_are_edited_and_faults_are_said_beside_what_was_typed(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/cameras/street")
    page.get_by_label("Frames per second to analyse").fill("many")
    page.get_by_role("button", name="Save settings").click()
    expect(page.get_by_role("alert")).to_contain_text("expected a number, got 'many'")
    expect(page.get_by_label("Frames per second to analyse")).to_have_value("many")
    page.get_by_label("Frames per second to analyse").fill("3")
    page.get_by_label("Only these classes").fill("person, car")
    page.get_by_role("button", name="Save settings").click()
    expect(page.get_by_role("status").first).to_contain_text("saved")
    camera = get_camera(stack.database, "street")
    assert (camera.fps, camera.classes) == (3.0, ("person", "car"))


def test_an_address_that_does_not_answer_is_told_in_a_line(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/add")
    page.get_by_label("Address").fill("http://127.0.0.1:9/video.mjpg")
    page.get_by_role("button", name="Check first").click()
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile("127.0.0.1:9/video.mjpg.*cannot connect|refused")
    )
    expect(page.get_by_label("Address")).to_have_value("http://127.0.0.1:9/video.mjpg")
