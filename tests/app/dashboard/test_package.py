"""An installation that is not editable has the pages' files too."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_file_of_the_dashboard_is_package_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["app.dashboard"]
    folder = ROOT / "app" / "dashboard"
    files = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    left_out = {file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)}
    assert len(files) > 10
    assert left_out == set()
