import re
from pathlib import Path

from core.queue_scripts import FOLDER, SHARED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "frame-queue.md").read_text()
SOURCES = [path.read_text() for path in sorted(FOLDER.rglob("*.lua"))]


def test_every_test_that_the_page_names_exists() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_frame_queue*.py"))
    named = set(re.findall(r"`(test_[a-z_]+)`", PAGE))
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_every_key_is_on_the_page() -> None:
    kinds = {kind for source in SOURCES for kind in re.findall(r'key\("([a-z-]+)"', source)}
    documented = set(re.findall(r"`([a-z-]+)(?::[A-Z:]+)?`", PAGE))
    assert len(kinds) > 20
    assert kinds - documented == set()


def test_what_scripts_share_is_complete() -> None:
    assert {path.stem for path in (FOLDER / "shared").glob("*.lua")} == set(SHARED)


def test_every_script_says_what_it_does() -> None:
    assert [source for source in SOURCES if not source.startswith("-- ")] == []
