"""A note's text as a self-contained HTML page, its evidence marked by kind; legible on light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
:root{{color-scheme:light dark}}
body{{font:1rem/1.7 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
.note{{white-space:pre-wrap;overflow-wrap:anywhere}}
mark{{color:inherit;background:color-mix(in srgb,var(--c) 30%,transparent);border-bottom:2px solid var(--c);
border-radius:.2em;padding:0 .1em}}
mark small,li small{{font-size:.72em;opacity:.85}}
u{{text-decoration:underline dotted var(--c) 2px;text-underline-offset:.2em}}
.asserted{{--c:#c0392b}}.negated{{--c:#2e8b57}}.uncertain{{--c:#c98a00}}.historical{{--c:#5b6ee1}}.family{{--c:#a04fc4}}
.word{{--c:#1f7fb8}}
</style>
<p><strong>Preliminary reading. A clinician confirms, corrects or rejects it.</strong></p>
{legend}<div class="note">{note}</div>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """text[start:end] is evidence of a kind; the label is shown behind it."""

    start: int
    end: int
    kind: str  #: asserted, negated, uncertain, historical, family, word
    label: str = ""
    trigger: bool = False  #: a term that decided, underlined instead of filled


def _disjoint(marks: Iterable[Mark], length: int) -> list[Mark]:
    """The marks in order, those that overlap an earlier or weightier one left out."""
    kept: list[Mark] = []
    taken: set[int] = set()
    for mark in sorted(marks, key=lambda m: (m.trigger, m.start)):
        span = range(max(0, mark.start), min(length, mark.end))
        if span and taken.isdisjoint(span):
            taken.update(span)
            kept.append(mark)
    return sorted(kept, key=lambda m: m.start)


def page(title: str, note: str, marks: Iterable[Mark], legend: Sequence[str] = ()) -> bytes:
    """The page as UTF-8. Every character of the note is escaped; nothing in it can run."""
    parts, at = [], 0
    for mark in _disjoint(marks, len(note)):
        inner = escape(note[mark.start : mark.end])
        label = f" <small>{escape(mark.label)}</small>" if mark.label else ""
        tag = "u" if mark.trigger else "mark"
        parts += [
            escape(note[at : mark.start]),
            f'<{tag} class="{escape(mark.kind)}">{inner}{label}</{tag}>',
        ]
        at = mark.end
    parts.append(escape(note[at:]))
    listed = "".join(f"<li>{escape(line)}</li>" for line in legend)
    body = _PAGE.format(
        title=escape(title), legend=f"<ul>{listed}</ul>\n" if listed else "", note="".join(parts)
    )
    return body.encode("utf-8", "replace")
