"""Children that end with their parent, however that dies."""

import os
import sys
import threading

# Linux only: asks the kernel to end the child when its parent dies, even by SIGKILL; becomes the command.
# A process of its own instead of preexec_fn, which can deadlock in a parent with threads (subprocess docs).
_ENDS_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM: prctl(2); kept over execve
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def ending_with_parent(command: list[str]) -> list[str]:
    """The command, made to get SIGTERM when this process dies; unchanged where the kernel cannot.

    The kernel watches the thread that starts the child, so only the main thread gets the changed command.
    `command[0]` is an absolute path.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    if sys.platform != "linux" or not on_main_thread:
        return command
    return [sys.executable, "-I", "-S", "-c", _ENDS_WITH_PARENT, str(os.getpid()), *command]
