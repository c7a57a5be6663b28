"""The rhythm strip of a finding with every beat on it marked, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from db.records import Finding
from models.ecg_beat.signals import fill
from models.payloads import Recording
from models.registry import Explanation

COLOURS = {"N": "#4a5a6a", "S": "#0a6ebd", "V": "#c0392b", "F": "#8e44ad"}
SHOWN = 4  #: strips on one picture at most
HEIGHT = 1.9  #: inches of a lead on a strip


def render(payload: Recording, findings: Sequence[Finding]) -> Explanation:
    """A PNG: for each finding its strip, a row a lead, on ECG paper's 0.2 s by 0.5 mV squares."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [f for f in findings if isinstance(f.evidence.get("strip"), Mapping)][:SHOWN]
    strips: list[tuple[Finding, Any]] = [(f, f.evidence["strip"]) for f in shown]
    rows = [(f, strip, lead) for f, strip in strips for lead in strip["leads"]]
    figure = Figure(figsize=(12, max(1, len(rows)) * HEIGHT + 0.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for number, (finding, strip, lead) in enumerate(rows):
        axes = figure.add_subplot(len(rows), 1, number + 1)
        _draw(axes, payload, strip, str(lead))
        if lead == strip["leads"][0]:
            axes.set_title(_title(finding), loc="left", fontsize=10)
    stream = io.BytesIO()
    canvas.print_png(stream)  # type: ignore[no-untyped-call]
    return Explanation(media_type="image/png", content=stream.getvalue())


def _title(finding: Finding) -> str:
    value = "" if finding.value is None else f"{finding.value:g} {(finding.unit or '').strip('{}')}"
    sure = "" if finding.probability is None else f", surest beat {finding.probability:.2f}"
    return f"{finding.code.meaning}: {value}{sure}"


def _draw(axes: Any, payload: Recording, strip: Mapping[str, Any], lead: str) -> None:
    start, stop = float(strip["start_seconds"]), float(strip["stop_seconds"])
    first, last = round(start * payload.rate_hz), round(stop * payload.rate_hz)
    signal = fill(payload.signals[payload.leads.index(lead), first:last])
    signal = signal - np.median(signal)
    seconds = first / payload.rate_hz + np.arange(len(signal)) / payload.rate_hz
    low, high = float(signal.min()) - 0.3, float(signal.max()) + 0.6
    axes.set(xlim=(start, stop), ylim=(low, high), ylabel=f"{lead}, mV")
    axes.set_xticks(np.arange(np.ceil(start / 0.2) * 0.2, stop, 0.2), minor=True)
    axes.set_yticks(np.arange(np.floor(low * 2) / 2, high, 0.5), minor=True)
    axes.grid(which="both", color="#f3c7c0", linewidth=0.5)
    axes.plot(seconds, signal, color="#222222", linewidth=0.8)
    for beat in strip["beats"]:
        colour = COLOURS[str(beat["class"])]
        label = str(beat["class"]) if beat["class"] == "N" else f"{beat['class']} {beat['probability']:.2f}"
        axes.axvline(beat["seconds"], color=colour, linewidth=0.6, alpha=0.5)
        axes.text(beat["seconds"], high - 0.1, label, color=colour, fontsize=8, ha="center", va="top")
