"""What holds for every page: accessible in both themes, fit for a phone, and closed to strangers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from storage.roles import Role
from storage.tokens import add_token
from tests.app.api.conftest import Server, serving
from tests.browser.conftest import Stack

PAGES = (
    *(
        "/",
        "/history",
        "/history?camera=gate&min_score=0.5",
        "/history?class=bus",
        "/history?region=nonsense",
    ),
    *("/cameras/street", "/add", "/system", "/cameras/nobody", "/nothing"),
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_fault(page: Page, stack: Stack, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    for path in PAGES:
        page.goto(stack.url + path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path} in {theme}:\n{found.generate_report()}"


def test_nothing_is_wider_than_a_phone(page: Page, stack: Stack) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for path in PAGES:
        page.goto(stack.url + path)
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= 360, f"{path} is {width} px wide"


def test_the_switch_of_themes_is_remembered(page: Page, stack: Stack) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(stack.url)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.goto(f"{stack.url}/history")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Dark theme")).to_have_attribute("aria-pressed", "true")


@pytest.fixture(scope="module")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same history on a server that asks for tokens."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    database = f"sqlite:///{stack.folder / 'framewatch.db'}"
    add_token(stack.database, "somebody", Role.VIEWER)
    pictures = str(stack.folder / "framewatch-data" / "evidence")
    arguments = ("--require-token", "--database-url", database)
    with serving(folder, *arguments, FRAMEWATCH_EVIDENCE_URL=pictures) as server:
        yield server


def test_a_token_opens_the_page_that_was_asked_for(
    context: BrowserContext, page: Page, stack: Stack, guarded: Server
) -> None:
    token = add_token(stack.database, "ada", Role.VIEWER)
    page.goto(f"{guarded.url}/history?camera=gate")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{guarded.url}/history?camera=gate")
    expect(page.locator("#counts")).to_have_text("18 detections")
    expect(page.locator("footer")).to_contain_text("may look, not change")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
