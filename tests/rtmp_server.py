"""An RTMP camera for tests: Debian's ffmpeg, listening, sends a clip to one player after the other."""

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path


class RtmpServer:
    """Plays a clip for ever to whoever connects; a context manager. Needs `ffmpeg` on PATH."""

    def __init__(self, clip: Path, *, video_ends_after_s: float | None = None) -> None:
        """With `video_ends_after_s` there is sound as well, which goes on when the pictures have ended."""
        with socket.create_server(("127.0.0.1", 0)) as found:
            self._port = found.getsockname()[1]
        self._command = ["ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1"]
        if video_ends_after_s is not None:
            self._command += ["-t", str(video_ends_after_s)]
        self._command += ["-i", str(clip)]
        if video_ends_after_s is not None:
            self._command += ["-re", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-c:a", "aac"]
        self._command += ["-c:v", "copy", "-f", "flv", "-listen", "1", self.url]
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @staticmethod
    def is_possible() -> bool:
        return shutil.which("ffmpeg") is not None

    @property
    def url(self) -> str:
        return f"rtmp://127.0.0.1:{self._port}/live/clip"

    def __enter__(self) -> "RtmpServer":
        self._thread.start()
        self.wait_until_listening()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.kill()
        self._thread.join(timeout=10)

    def kill(self) -> None:
        """Ends the connection at once; the next player finds the camera again."""
        if self._process is not None:
            self._process.kill()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
            self._process.wait()

    def wait_until_listening(self) -> None:
        """Looks without connecting: the one connection that FFmpeg accepts is the player's."""
        wanted = f"0100007F:{self._port:04X} 00000000:0000 0A"  # 127.0.0.1 and LISTEN
        deadline = time.monotonic() + 20
        while wanted not in Path("/proc/net/tcp").read_text():
            if time.monotonic() > deadline:
                raise TimeoutError("ffmpeg does not listen")
            time.sleep(0.02)
