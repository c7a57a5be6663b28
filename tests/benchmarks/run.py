"""Measures wetread against its peers and the machine's limits, and writes docs/benchmarks.md.

usage: python -m benchmarks.run [--only PART,...] [--short] [--runs N] [--share S] [--keep FILE] [--page FILE]
    [--folder DIR]

A share's figures are kept in a file of their own, and never stand on the page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import figures
from benchmarks.options import Options

PARTS = {
    "backends": "Ways to compute the film reader's network (`wetread models optimise`).",
    "decoders": "A frame in each transfer syntax, by each decoder: milliseconds of processor.",
    "intake": "Files of a folder become durable rows: sealed in the archive, recorded, synced.",
    "pipeline": "Films become committed results, against a loop that reads, decodes and asks the model.",
    "latency": "One input alone, and a steady stream.",
    "record": "The database, without any model.",
    "workers": "Processes side by side on PostgreSQL.",
    "scale": "Many studies, and many files in one folder.",
}


def main() -> int:
    """Parses the command line, runs the parts, says each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the full sizes")
    parser.add_argument("--keep", type=Path, default=Path("build/benchmarks.json"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--folder", type=Path, help="where to write; its file system is measured")
    asked = parser.parse_args()
    wanted = [name for name in asked.only.split(",") if name]
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failed = _each_apart(asked, wanted) if len(wanted) > 1 else _measured(asked, wanted)
    if asked.page and asked.share == 1 and (lacking := _publish(asked.page, asked.keep)):
        _say(f"{asked.page} stays as it is: it tells of {', '.join(lacking)} too, not measured here so far")
    return failed


def _measured(asked: argparse.Namespace, wanted: Sequence[str]) -> int:
    """Runs parts in this process, keeps and says their figures."""
    kept = asked.keep if asked.share == 1 else asked.keep.with_stem(f"{asked.keep.stem}-{asked.share:g}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    log = kept.with_suffix(".log").open("ab")
    os.dup2(log.fileno(), 2)  # the services' logs; figures go to standard output
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="wetread-bench-", dir=asked.folder) as folder:
            options = Options(
                Path(folder),
                kept.parent.absolute(),
                runs=1 if asked.short else asked.runs,
                short=asked.short,
                share=asked.share,
            )
            start = time.perf_counter()
            found = importlib.import_module(f"benchmarks.{name}").run(options)
            seconds = time.perf_counter() - start
        figures.record(kept, name, found, options.skipped, seconds)
        _say(f"{name} ({seconds:.0f} s)", *figures.rows(found), *(f"  {f.note}" for f in found if f.note))
        _say(*(f"  not measured: {reason}" for reason in options.skipped))
    return 0


def _each_apart(asked: argparse.Namespace, wanted: Sequence[str]) -> int:
    """Each part in a process of its own: what one leaves in memory is no other's."""
    same = [f"--{name}={value}" for name in ("runs", "share", "keep", "folder")
            if (value := getattr(asked, name)) is not None] + ["--short"] * asked.short  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.run", *same]
    ended = [subprocess.run([*command, f"--only={name}"], check=False).returncode for name in wanted]
    return int(any(ended))  # one that was killed ended below nought


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _publish(page: Path, kept: Path) -> list[str]:
    """Puts what was kept between the page's two marks; what stands around them is written by hand.

    Returns the parts that stand on the page and were not measured here: then it stays as it is, for figures
    of two machines do not belong on one page.
    """
    begin, close = "<!-- figures -->", "<!-- end of figures -->"
    text = page.read_text("utf-8") if page.is_file() else f"{begin}\n{close}\n"
    before, _, rest = text.partition(begin)
    old, _, after = rest.partition(close)
    held = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    if lacking := [name for name in PARTS if f"\n### {name}\n" in old and name not in held]:
        return lacking
    page.write_text(f"{before}{begin}\n\n{figures.page(kept, PARTS)}\n{close}{after}", "utf-8")
    return []


if __name__ == "__main__":
    sys.exit(main())
