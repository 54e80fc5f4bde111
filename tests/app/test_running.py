import subprocess
import sys
from pathlib import Path

import pytest

from app.running import announce_redis, running_redis_url, sole_running
from core.errors import UsageError
from tests.waiting import wait_until

HOLD = """
import sys, time
from pathlib import Path
from app.running import announce_redis, sole_running
with sole_running(Path(sys.argv[1])):
    announce_redis(Path(sys.argv[1]), "redis://127.0.0.1:7/0")
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_holds_a_data_folder_and_tells_where_its_redis_is(tmp_path: Path) -> None:
    assert running_redis_url(tmp_path / "data") is None
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert running_redis_url(tmp_path / "data") == "redis://127.0.0.1:7/0"
        with pytest.raises(UsageError, match="runs already on"), sole_running(tmp_path / "data"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    # The kernel gives the lock back, though the dead process left its address behind.
    wait_until(lambda: running_redis_url(tmp_path / "data") is None, 5, "the lock is free again")
    with sole_running(tmp_path / "data"):
        announce_redis(tmp_path / "data", "redis://127.0.0.1:8/0")
    assert running_redis_url(tmp_path / "data") is None
