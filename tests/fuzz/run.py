"""Runs mutations over every reader in several processes: none may crash, hang, take too much or leak a word.

usage: python -m fuzz.run [--count N] [--seed S] [--processes P] [--seconds S] [--report FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

SECONDS = 60  #: for one mutation, on a machine however busy
MEMORY = 1536 * 2**20  #: bytes beyond a process's own
HERE = Path(__file__).resolve().parent


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def part(first: int, count: int, seed: int, report: Path) -> None:
    """One process's share; notes where it is before each mutation, for whoever finds it dead."""
    from db.logs import place
    from fuzz.mutations import Leak, mutation, originals, outcomes
    from ingest.quiet import quiet

    data = os.environ.get("WETREAD_DATA")
    files = originals(Path(data) if data else None)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, _late)
    counts: Counter[str] = Counter()
    findings: list[dict[str, object]] = []
    slowest, at = (0.0, 0), first
    begun = time.monotonic()
    limit = float(os.environ.get("FUZZ_SECONDS", "inf"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for at in range(first, first + count):
            if time.monotonic() - begun > limit:
                break
            (report.with_suffix(".at")).write_text(str(at))
            original, mutant = mutation(seed, at, files)
            start, kind = time.monotonic(), ""
            signal.alarm(SECONDS)
            try:
                with quiet():
                    counts.update(outcomes(path, original, mutant))
            except TimeoutError:
                kind = "hang"
            except MemoryError:
                kind = "memory"
            except Leak as leak:
                kind = f"leak: {leak}"
            except BaseException as error:  # noqa: BLE001 - that is what is looked for
                kind = f"raised: {place(error)}"
            signal.alarm(0)
            if time.monotonic() - start >= SECONDS:  # whatever a reader made of the alarm
                kind = "hang"
            if kind:
                findings.append({"index": at, "file": original.name, "finding": kind})
            slowest = max(slowest, (time.monotonic() - start, at))
        else:
            at = first + count
    report.write_text(
        json.dumps({"done": at - first, "counts": counts, "findings": findings, "slowest": slowest})
    )


def _share(first: int, count: int, seed: int, report: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "fuzz.run",
        "--part",
        str(first),
        str(count),
        str(report),
        "--seed",
        str(seed),
    ]
    path = os.pathsep.join((str(HERE.parent), str(HERE.parent.parent)))
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def run(count: int, seed: int, processes: int) -> dict[str, object]:
    """All shares, started again behind a mutation that ended the process. Returns the report."""
    counts: Counter[str] = Counter()
    findings: list[dict[str, object]] = []
    done, slowest, start = 0, [0.0, 0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        size = -(-count // processes)
        shares = [(first, min(size, count - first)) for first in range(0, count, size)]
        running = [(s, Path(folder) / f"{s[0]}.json") for s in shares]
        live = [(share, report, _share(*share, seed, report)) for share, report in running]
        while live:
            (first, many), report, process = live.pop(0)
            code = process.wait()
            if code == 0:
                found = json.loads(report.read_text())
                done += found["done"]
                counts.update(found["counts"])
                findings += found["findings"]
                slowest = max(slowest, found["slowest"])
                continue
            at = int(report.with_suffix(".at").read_text())
            findings.append({"index": at, "finding": f"crash: exit {code}"})
            done += at + 1 - first  # their outcomes are not counted; they were survived all the same
            rest = (at + 1, first + many - at - 1)
            live.append((rest, report, _share(*rest, seed, report)))
    return {
        "mutations": done, "seed": seed, "seconds": round(time.monotonic() - start, 1), "slowest": slowest,
        "findings": findings, "outcomes": dict(counts.most_common()),
    }  # fmt: skip


def main() -> int:
    """Parses the command line, prints the report; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=None, help="stop each process after these")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--part", nargs=3)
    asked = parser.parse_args()
    if asked.part:
        part(int(asked.part[0]), int(asked.part[1]), asked.seed, Path(asked.part[2]))
        return 0
    if asked.seconds is not None:
        os.environ["FUZZ_SECONDS"] = str(asked.seconds)
    text = json.dumps(run(asked.count, asked.seed, asked.processes), indent=2)
    sys.stdout.write(text + "\n")
    if asked.report:
        asked.report.write_text(text + "\n")
    return 1 if json.loads(text)["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
