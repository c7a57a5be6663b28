"""Measures wetread against its peers and the machine's limits, and writes docs/benchmarks.md.

usage: python -m benchmarks.run [--only PART,...] [--short] [--runs N] [--share S] [--keep FILE] [--page FILE]
    [--folder DIR]
"""

from __future__ import annotations

import argparse
import importlib
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
    if len(wanted) > 1:
        return _each_apart(asked, wanted)
    asked.keep.parent.mkdir(parents=True, exist_ok=True)
    log = asked.keep.with_suffix(".log").open("ab")
    os.dup2(log.fileno(), 2)  # the services' logs; figures go to standard output
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="wetread-bench-", dir=asked.folder) as folder:
            options = Options(
                Path(folder),
                asked.keep.parent.absolute(),
                runs=1 if asked.short else asked.runs,
                short=asked.short,
                share=asked.share,
            )
            start = time.perf_counter()
            found = importlib.import_module(f"benchmarks.{name}").run(options)
            seconds = time.perf_counter() - start
        figures.record(asked.keep, name, found, options.skipped, seconds)
        _say(f"{name} ({seconds:.0f} s)", *figures.rows(found), *(f"  {f.note}" for f in found if f.note))
        _say(*(f"  not measured: {reason}" for reason in options.skipped))
    if asked.page:
        _written(asked.page, figures.page(asked.keep, PARTS))
    return 0


def _each_apart(asked: argparse.Namespace, wanted: Sequence[str]) -> int:
    """Each part in a process of its own: what one leaves in memory is no other's."""
    same = [f"--{name}={value}" for name in ("runs", "share", "keep", "page", "folder")
            if (value := getattr(asked, name)) is not None] + ["--short"] * asked.short  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.run", *same]
    return max([subprocess.run([*command, f"--only={name}"], check=False).returncode for name in wanted])


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _written(path: Path, text: str) -> None:
    """Puts the figures between the page's two marks; what stands around them is written by hand."""
    begin, close = "<!-- figures -->", "<!-- end of figures -->"
    page = path.read_text("utf-8") if path.is_file() else f"{begin}\n{close}\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(close)
    path.write_text(f"{before}{begin}\n\n{text}\n{close}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
