"""The four ways in which literal top-level packages bite, and what the repository promises about itself."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "ingest", "models", "workers", "storage", "app")


@pytest.mark.parametrize("package", PACKAGES)
def test_only_framewatch_owns_the_package_name(package: str) -> None:
    owners = set(packages_distributions().get(package, ["framewatch"]))
    assert owners == {"framewatch"}, f"another distribution installs a top-level {package}: {owners}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_hold_no_code_in_their_init(package: str) -> None:
    assert (ROOT / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize("package", ["core", "ingest", "storage"])
def test_light_packages_never_import_torch(package: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    ]
    code = f"import sys, {', '.join(sorted(modules))}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets
