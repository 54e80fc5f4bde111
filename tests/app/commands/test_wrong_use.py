"""What a person can get wrong at the start of a command: one line, exit code 2, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from models.catalogue import list_weights
from tests.app.conftest import Cli
from tests.clips import write_clip

NOWHERE = "redis://u:hunter2@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _clips(folder: Path) -> None:
    """A good clip, one without its end, a text file, and a picture."""
    write_clip(folder / "good.mp4", frames=30)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:-2000])
    (folder / "text.mp4").write_text("hello")
    (folder / "text.safetensors").write_text("hello")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.mp4"], "nothing.mp4: no such file"),
        (["run", "text.mp4"], "text.mp4: expected a video, got a text file"),
        (["run", "cut.mp4"], "cut.mp4: expected a video, got an MP4 without its index"),
        (["run", "rtps://192.0.2.10/1"], "expected a file or one of file://"),
        (["run", "rtsp://${NO_SUCH_VARIABLE}@127.0.0.1/1"], "NO_SUCH_VARIABLE"),
        (["run", "good.mp4", "./good.mp4"], "got 'good' twice"),
        (["run", "good.mp4", "--model", "resnet51"], list_weights()[0]),
        (
            ["run", "good.mp4", "--model", "nothing.safetensors"],
            "nothing.safetensors: expected a weights file",
        ),
        (["run", "good.mp4", "--model", "text.safetensors"], "text.safetensors: expected a safetensors file"),
        (["run", "good.mp4", "--fps", "fast"], "--fps"),
        (["run", "good.mp4", "--workers", "-1"], "--workers"),
        (["run", "good.mp4", "--batch-size", "0"], "--batch-size: "),
        (["run", "good.mp4", "--precision", "fp8"], "--precision: "),
        (["demo", "good.mp4", "--data-dir", "text.mp4/x"], "--data-dir: expected a folder"),
        (["run"], "Missing argument 'SOURCE'; see `framewatch run --help`"),
        (["up", "nothing.yml"], "nothing.yml: expected a file of cameras"),
        (["demo", "text.mp4"], "text.mp4: expected a video, got a text file"),
        (["status", "--redis-url", NOWHERE], "no Redis answers at redis://u:***@127.0.0.1:1/0"),
        (["worker", "--redis-url", NOWHERE], "start one, for example with `framewatch up`"),
        (["ingest", "--redis-url", NOWHERE], "or name yours with --redis-url"),
        (["dead", "list", "--redis-url", "http://127.0.0.1"], "expected redis://HOST:PORT/DB"),
        (["detections", "--database-url", "mysql://u:hunter2@h/x"], "got the dialect 'mysql'"),
        (
            ["detections", "--database-url", "postgresql+psycopg2://u:hunter2@h/x"],
            "got the driver 'psycopg2'",
        ),
        (
            ["detections", "--database-url", "postgresql://u:hunter2@127.0.0.1:1/x"],
            "u:***@127.0.0.1:1/x: connection",
        ),
        (["detections", "--database-url", "framewatch.db"], "expected sqlite:///FILE"),
        (["detections", "--database-url", "sqlite:///text.mp4"], "expected a SQLite database"),
        (["detections", "--database-url", "sqlite:///no/such/folder.db"], "expected an existing directory"),
        (["detections", "--colour", "red"], "No such option: --colour"),
        (["detectoins"], "Did you mean 'detections'?; see `framewatch --help`"),
        (["models", "show", "resnet51"], "expected one of"),
        (["models", "detect", "nothing.png"], "nothing.png: no such file"),
        (["models", "detect", "rtsp://127.0.0.1/1"], "expected a picture"),
        (["models", "detect", "good.mp4", "-o", "a.png"], "ends in .mp4 for a video"),
        (["models", "eval", "--data", "nothing.json", "--model", "resnet51"], "expected one of"),
        (
            ["models", "train", "--data", "nothing.json", "-o", "a.safetensors", "--steps", "1"],
            "nothing.json: expected a COCO file",
        ),
        (
            ["models", "train", "--data", "text.mp4", "-o", "a.safetensors", "--steps", "1"],
            "expected a COCO file with categories",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_exit_code_2(cli: Cli, arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.code == 2, done
    assert message in done.error
    assert "hunter2" not in done.err


@pytest.mark.parametrize("command", ["worker", "ingest", "status"])
def test_a_login_that_redis_refuses_at_the_start_is_wrong_use(cli: Cli, redis_url: str, command: str) -> None:
    done = cli(command, "--redis-url", redis_url.replace("redis://", "redis://u:hunter2@"))
    assert done.code == 2, done
    assert "redis_url: expected a name and password that Redis accepts" in done.error
    assert "hunter2" not in done.err


@pytest.mark.parametrize("group", ["camera", "db", "dead", "models", "token"])
def test_a_group_without_a_sub_command_is_its_help_and_no_error_line(cli: Cli, group: str) -> None:
    done = cli(group)
    assert done.code == 2
    assert f"Usage: framewatch {group}" in done.out
    assert done.err == ""


def test_a_database_that_is_down_stops_a_run_before_it_starts(cli: Cli) -> None:
    done = cli(
        "run", "good.mp4", "--model", "fcos_resnet50_fpn", "--database-url", "postgresql://u@127.0.0.1:1/x"
    )
    assert done.code == 2
    assert "start that database, or name another with --database-url" in done.error


@pytest.mark.parametrize("toml", ["batch_size = 'many'", "batchsize = 8", "batch_size ="])
def test_a_wrong_settings_file_is_one_line(cli: Cli, folder: Path, toml: str) -> None:
    (folder / "framewatch.toml").write_text(toml)
    done = cli("models", "list")
    assert done.code == 2
    assert done.error


def test_a_traceback_is_shown_on_request_only(cli: Cli) -> None:
    done = cli("detections", "--since", "soon", "--log-level", "DEBUG")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "Traceback" not in cli("detections", "--since", "soon").err


def test_the_version_and_help_go_to_standard_output(cli: Cli) -> None:
    assert cli("--version").out.startswith("framewatch ")
    for arguments in ([], ["--help"], ["camera", "--help"], ["run", "-h"]):
        done = cli(*arguments)
        assert done.code == 0, arguments
        assert "framewatch" in done.out


def test_help_and_history_start_without_torch_celery_or_opencv(folder: Path) -> None:
    for words in (["--help"], ["db", "upgrade"], ["detections"], ["counts"]):
        code = (
            "import sys; from app.cli import main; code = main(sys.argv[1:]); "
            "heavy = {'torch', 'celery', 'cv2', 'av'} & set(sys.modules); print(heavy, file=sys.stderr); "
            "sys.exit(code or bool(heavy))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
