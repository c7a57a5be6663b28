"""What was measured: ours, the peers' and the limit's runs, their ratios, and the page of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from statistics import median
from typing import Any

OURS = "wetread"
LIBRARIES = (
    *("celery", "dicomsdl", "imagecodecs", "numpy", "openvino", "onnxruntime", "pydicom", "redis"),
    *("SQLAlchemy", "torch"),
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing measured, by whom, run by run."""

    bar: int  #: which of the bars it is for
    what: str
    unit: str
    runs: Mapping[str, Sequence[float]]  #: who -> a value a run; OURS among them
    wanted: Mapping[str, float] = field(default_factory=dict)  #: who -> the ratio of ours to theirs
    most: bool = False  #: the wanted ratio is one that may not be exceeded
    note: str = ""

    def ratio(self, who: str) -> float:
        """Ours to theirs, median to median."""
        theirs = median(self.runs[who])
        return median(self.runs[OURS]) / theirs if theirs else float("nan")

    def met(self, who: str) -> bool | None:
        """Is the bar reached against them? None where there is no bar."""
        if who not in self.wanted:
            return None
        found, wanted = self.ratio(who), self.wanted[who]
        return found <= wanted if self.most else found >= wanted


def rows(figures: Iterable[Figure]) -> list[str]:
    """The table of some figures, as Markdown."""
    lines = ["| bar | what | who | median | runs, least to most | ours ÷ theirs | asked | |",
             "|---|---|---|---:|---|---:|---:|---|"]  # fmt: skip
    for figure in figures:
        for number, (who, runs) in enumerate(figure.runs.items()):
            first = number == 0
            ratio = "" if who == OURS else f"{figure.ratio(who):.3g}"
            wanted, met = figure.wanted.get(who), figure.met(who)
            asked = "" if wanted is None else f"{'≤' if figure.most else '≥'} {wanted:g}"
            verdict = "" if met is None else ("met" if met else "**missed**")
            lines.append(
                f"| {figure.bar if first else ''} | {figure.what if first else ''} | {who} "
                f"| {_number(median(runs))} {figure.unit} | {_spread(runs)} | {ratio} | {asked} | {verdict} |"
            )
    return lines


def _spread(runs: Sequence[float]) -> str:
    return f"{len(runs)}: {_number(min(runs))} to {_number(max(runs))}" if len(runs) > 1 else "1"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures hold for: processor, memory, system and versions."""
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    matrix = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": f"{named[0] if named else platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, {' '.join(matrix)}",
        "memory": f"{gigabytes:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {found}" for name in LIBRARIES if (found := _version(name))),
        "peers": ", ".join(filter(None, (_said("Orthanc"), _said("storescp")))) or "none installed",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _said(program: str) -> str:
    """The first line that a program prints of its version."""
    if which(program) is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines() or [""]
    return lines[0].strip("$ ").removeprefix("dcmtk: ")


def record(path: Path, part: str, found: Sequence[Figure], skipped: Sequence[str], seconds: float) -> None:
    """Keeps a part's figures beside those of the other parts, in place of its older ones."""
    held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    held[part] = {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1), "machine": machine(), "skipped": list(skipped),
        "figures": [asdict(figure) for figure in found],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held, indent=1), "utf-8")


def page(path: Path, parts: Mapping[str, str]) -> str:
    """docs/benchmarks.md from what was kept: name of a part -> what it measures."""
    held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    lines: list[str] = []
    if held:
        newest = max(held.values(), key=lambda entry: entry["at"])["machine"]
        lines += [f"- {name}: {words}" for name, words in newest.items()] + [""]
    for name, about in parts.items():
        if name not in held:
            continue
        entry = held[name]
        lines += [f"### {name}", "", about, "", *rows(Figure(**one) for one in entry["figures"]), ""]
        lines += [f"- {one['what']}: {one['note']}" for one in entry["figures"] if one["note"]]
        lines += [f"- not measured: {reason}" for reason in entry["skipped"]]
        lines += [f"- {entry['at']}, {entry['seconds']:g} s, load average {entry['load']:g} at its end", ""]
    return "\n".join(lines)
