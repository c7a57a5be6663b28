"""Evidence as a self-contained HTML page: words, tables, marked letters, pictures, and what charts.py draws.

Text is escaped, nothing is fetched and nothing can run; the pages read on light and dark screens alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

Mark = tuple[int, int, float]  #: from, to, strength -1..1

PRELIMINARY = "Preliminary reading. A clinician confirms, corrects or rejects it."
MORE, LESS = "#c0392b", "#1f7fb8"  #: towards the finding, away from it
STYLE = """:root{color-scheme:light dark}
body{font:1rem/1.6 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
svg{display:block;max-width:100%;height:auto;margin:1rem 0;font:13px system-ui,sans-serif;fill:currentColor}
.axis{stroke:currentColor;stroke-opacity:.55;fill:none}.grid{stroke:currentColor;stroke-opacity:.14}
.quiet{fill-opacity:.75}
table{border-collapse:collapse;margin:1rem 0}
th,td{text-align:left;padding:.25rem .7rem;border-bottom:1px solid #8886;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wide{overflow-x:auto}.letters{font:1rem/2 ui-monospace,monospace;overflow-wrap:anywhere}
figure{margin:1rem 0}figcaption{font-size:.9rem;opacity:.85}"""


def page(title: str, *parts: str, note: str = PRELIMINARY) -> bytes:
    """A whole HTML page as UTF-8. parts: HTML as the functions here give it (`paragraph` for plain text)."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n'
        f"<style>\n{STYLE}\n</style>\n<h1>{escape(title)}</h1>\n"
        f"<p><strong>{escape(note)}</strong></p>\n{body}\n</html>\n"
    ).encode("utf-8", "replace")


def heading(text: str, level: int = 2) -> str:
    """A heading of plain text."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain text; numbers stand to the right."""

    def cell(value: object) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f'<td class="n">{number(value)}</td>'
        return f"<td>{escape(str(value))}</td>"

    told = "".join(f"<tr>{''.join(cell(v) for v in row)}</tr>" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>{told}</tbody></table></div>'


def number(value: float) -> str:
    """A number as people write it: at most four figures that matter, no exponent where it can be helped."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e6):
        return f"{int(value)}"
    return f"{value:.4g}" if math.isfinite(value) else "–"


def percent(share: float) -> str:
    """A probability in whole per cent; at the ends "over 99 %" and "under 1 %", since none is certain."""
    if share > 0.99:
        return "over 99 %"
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"


def letters(text: str, marks: Iterable[Mark]) -> str:
    """A sequence, SMILES or other string with parts shaded: red towards the finding, blue away from it."""
    shade = [0.0] * len(text)
    for start, end, strength in marks:
        for place in range(max(0, start), min(len(text), end)):
            shade[place] = max(-1.0, min(1.0, strength))
    parts = []
    for letter, strength in zip(text, shade, strict=True):
        if not strength:
            parts.append(escape(letter))
            continue
        colour = MORE if strength > 0 else LESS
        share = round(15 + 60 * abs(strength))
        parts.append(
            f'<span style="background:color-mix(in srgb,{colour} {share}%,transparent)" '
            f'title="{strength:+.2f}">{escape(letter)}</span>'
        )
    return f'<p class="letters">{"".join(parts)}</p>'


def figure(png: bytes, caption: str) -> str:
    """A PNG inside the page, with its caption (which is also what a reader without eyes is told)."""
    import base64

    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    told = escape(caption)
    return f'<figure><img alt="{told}" src="{source}"><figcaption>{told}</figcaption></figure>'
