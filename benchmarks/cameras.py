"""What cameras in the field do to framewatch, in figures: faults, crowds, changes, fail-over.

    python benchmarks/cameras.py [PART ...] [--json] [--short]

Each part starts a Redis, a database, real RTSP servers on 127.0.0.1 and `framewatch ingest`:

- faults: seven cameras fail at once, each in its way, and come back; an eighth changes its resolution.
  "noticed" runs from the fault to the camera's loss, "back" from its return to its first picture, both by the
  times in `camera_events`.
- reconnects: one camera is lost 200 times; what its process and the ingest process hold, before and after.
- neighbours: eight cameras at 10 fps, one of which never answers, and one leaves half-way: the share of their
  frames that the other six keep.
- crowd: 24 cameras at 2 fps for five minutes: ledgers, memory and delay. A stand-in for the workers takes the
  frames from the queue at once.
- changes: a sixth camera is added, changed, disabled, enabled and removed beside five: seconds until it
  takes effect (aim: 2), and frames that the five lost.
- failover: two ingest processes share six cameras and one is killed: seconds until each of its cameras sends
  frames again (aim: 10), and frames that were published twice.

The same code with shorter times is a test: tests/system/test_camera_faults.py, test_hot_changes.py and
test_ingest_fleet.py.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.camera_changes import (  # noqa: E402
    measure_changes,
    measure_fail_over,
    numbered_pictures,
)
from benchmarks.pipeline import machine  # noqa: E402  found through the path above
from core.redis_server import EmbeddedRedis  # noqa: E402
from tests.system.camera_crowd import CrowdFigures, watch_a_crowd  # noqa: E402
from tests.system.camera_faults import Held, reconnect_often, strike_and_mend  # noqa: E402


def faults(folder: Path, redis_url: str, short: bool) -> dict[str, Any]:
    figures = strike_and_mend(folder, redis_url, away_s=1.0 if short else 20.0)
    return {fault: one.as_json() for fault, one in figures.items()}


def reconnects(folder: Path, redis_url: str, short: bool) -> dict[str, Any]:
    figures = reconnect_often(folder, redis_url, count=20 if short else 200, warm_up=10 if short else 20)
    return {
        "reconnects": figures.reconnects,
        "seconds": round(figures.seconds, 1),
        "camera process": _growth(*figures.camera),
        "ingest process": _growth(*figures.supervisor),
    }


def _growth(before: Held, after: Held) -> dict[str, Any]:
    return {
        "descriptors": [before.descriptors, after.descriptors],
        "threads": [before.threads, after.threads],
        "children": [before.children, after.children],
        "rss_mb": [round(one.rss_bytes / 1e6, 1) for one in (before, after)],
        "rss_growth": round(after.rss_bytes / before.rss_bytes - 1, 4),
    }


def neighbours(folder: Path, redis_url: str, short: bool) -> dict[str, Any]:
    seconds = 10 if short else 60
    return _crowd(watch_a_crowd(folder, redis_url, healthy=6, fps=10, seconds=seconds, with_broken=True))


def crowd(folder: Path, redis_url: str, short: bool) -> dict[str, Any]:
    seconds = 20 if short else 300
    return _crowd(watch_a_crowd(folder, redis_url, healthy=24, fps=2, seconds=seconds, with_broken=False))


def _crowd(figures: CrowdFigures) -> dict[str, Any]:
    sound = sum(balance == 0 for balance in figures.balances.values())
    return {
        "cameras": figures.cameras,
        "seconds": round(figures.seconds, 1),
        "least share of frames kept": round(min(figures.kept.values()), 4),
        "ledgers that balance": f"{sound} of {len(figures.balances)}",
        "delay_ms": [round(1000 * one, 1) for one in figures.delay_s],
        "rss_mb": [round(one / 1e6, 1) for one in figures.rss_bytes],
        "rss_growth": round(figures.rss_bytes[1] / figures.rss_bytes[0] - 1, 4),
    }


def changes(folder: Path, redis_url: str, _short: bool) -> dict[str, Any]:
    with numbered_pictures(folder) as server:
        return measure_changes(folder, redis_url, server)


def failover(folder: Path, redis_url: str, _short: bool) -> dict[str, Any]:
    with numbered_pictures(folder) as server:
        return measure_fail_over(folder, redis_url, server)


PARTS: Mapping[str, Callable[[Path, str, bool], dict[str, Any]]] = {
    "faults": faults,
    "reconnects": reconnects,
    "neighbours": neighbours,
    "crowd": crowd,
    "changes": changes,
    "failover": failover,
}


def run(part: str, short: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as redis:
        return PARTS[part](Path(name), redis.url, short)


def show(part: str, result: Mapping[str, Any], console: Console) -> None:
    table = Table(title=part, show_header=False)
    for name, value in result.items():
        if isinstance(value, Mapping):
            words = [f"{key} {_words(one)}" for key, one in value.items()]
            table.add_row(name, ", ".join(words))
        else:
            table.add_row(name, _words(value))
    console.print(table)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " -> ".join(str(one) for one in value)
    return "never" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--short", action="store_true", help="a minute instead of ten: whether it works")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"expected {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    results: dict[str, Any] = {}
    console = Console()
    for part in options.parts or PARTS:
        results[part] = run(part, options.short)
        if not options.json:
            show(part, results[part], console)
    results |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    if options.json:
        print(json.dumps(results))
    else:
        console.print(f"{results['date']}, {results['machine']}")


if __name__ == "__main__":
    main()
