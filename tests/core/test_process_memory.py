"""Large blocks are reused, in the main thread and in others, once a process keeps freed memory."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from core.process_memory import keep_freed_memory
from tests.app.conftest import clean_environment

ROOT = Path(__file__).parents[2]
COUNT_FAULTS = """
import resource, sys, threading
import numpy as np
from core.process_memory import keep_freed_memory

def faults():
    blocks = [np.ones(megabytes << 20, np.uint8) for megabytes in (8, 40, 100)]
    del blocks
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        blocks = [np.ones(megabytes << 20, np.uint8) for megabytes in (8, 40, 100)]
        del blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[1] == "keep":
    assert keep_freed_memory() and keep_freed_memory()
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other allocators")
def test_large_blocks_come_without_page_faults() -> None:
    def count(word: str) -> list[int]:
        command = [sys.executable, "-c", COUNT_FAULTS, word]
        environment = clean_environment(PYTHONPATH=str(ROOT))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [int(line) for line in done.stdout.split()]

    main, thread = count("keep")
    assert main < 100
    assert thread < 100
    assert min(count("give back")) > 1000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    keep_freed_memory.cache_clear()
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
