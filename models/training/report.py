"""One page of every family: what it answers, how well, what it was meant to reach, what others published."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from db.errors import WetreadError
from models import drawing, registry
from models.card import Figure, ModelCard
from models.training import curves, subgroups

HERE = Path(__file__).parent
FOLDS = 5  #: in which rows are answered by weights retrained without them, where targets.toml says no other
NOTE = "Research and decision support, not a medical device. A clinician confirms or corrects every answer."
STYLE = """<style>
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:0 2rem}
h2{border-top:1px solid #8886;padding-top:1.5rem}h4{margin:.6rem 0 0}
.all table,.own table{font-size:.92em}
.all td:nth-child(3),.own td:nth-child(2),.own td:nth-child(5){white-space:nowrap}
.all td:nth-child(5){min-width:9rem}.beside>*{min-width:0}figure img{max-width:100%;height:auto}
@media(max-width:40rem){
.all table,.own table,.all tbody,.own tbody{display:block}.all thead,.own thead{display:none}
.all tr,.own tr{display:flex;flex-wrap:wrap;gap:0 .7rem;border-bottom:1px solid #8886;padding:.4rem 0}
.all td,.own td{border:0;padding:0;min-width:0}.all td:empty,.own td:empty{display:none}
.all td:nth-child(1),.own td:nth-child(1){font-weight:600}
.all td:nth-child(4)::before,.own td:nth-child(3)::before{content:"n = "}
.own td:nth-child(4)::before{content:"data: "}
.all td:nth-child(6)::before,.own td:nth-child(6)::before{content:"published: "}
.all td:nth-child(7)::before{content:"answered "}.beside svg{font-size:17px}
}
td{vertical-align:top}details pre{overflow-x:auto;white-space:pre-wrap;font-size:.9rem}body{max-width:80rem}
</style>"""
Progress = Callable[[str], None]
Told = tuple[Mapping[str, Any], list[str]]  #: a family's answers and their plots; both may be empty


def targets() -> dict[str, dict[str, Any]]:
    """What each family is meant to reach, and where its data lie; by its name."""
    return tomllib.loads((HERE / "targets.toml").read_text("utf-8"))


def against(figure: Figure, target: Mapping[str, Any]) -> str:
    """The target of a figure and whether its value reaches it; "" where there is none."""
    value, metric = figure.value, figure.metric
    if (least := target.get("least", {}).get(metric)) is not None:
        return f"at least {least:g}: " + ("reached" if value >= least else "not reached")
    if (most := target.get("most", {}).get(metric)) is not None:
        return f"at most {most:g}: " + ("reached" if value <= most else "not reached")
    if (ends := target.get("between", {}).get(metric)) is not None:
        inside = ends[0] <= value <= ends[1]
        return f"{ends[0]:g} to {ends[1]:g}: " + ("reached" if inside else "not reached")
    return ""


def chief(card: ModelCard, target: Mapping[str, Any]) -> list[Figure]:
    """The figures that stand for the family: the first of each metric with a target or to be shown.

    Without such, the first that others published one beside, else the first of all.
    """
    firsts: dict[str, Figure] = {}
    for figure in card.figures:
        firsts.setdefault(figure.metric, figure)
    shown = target.get("show", ())
    aimed = [f for f in firsts.values() if against(f, target) or f.metric in shown]
    return aimed or [f for f in card.figures if f.published][:1] or list(card.figures[:1])


def _interval(figure: Figure) -> str:
    return subgroups.interval({"value": figure.value, "low": figure.low, "high": figure.high})


def coverage(card: ModelCard, answers: Mapping[str, Any] | None) -> str:
    """The share of its own validation's examples that the family answers, as measured here or on its card."""
    if answers and "answered" in answers:
        return f"{np.mean(np.asarray(answers['answered'])):.1%}"
    told = [f.value for f in card.figures if f.metric == "answered"]
    told += [1 - f.value for f in card.figures if f.metric in ("abstained", "refused")]
    return f"{told[0]:.1%}" if told else "–"


def summary(
    cards: Iterable[ModelCard],
    aims: Mapping[str, Mapping[str, Any]],
    answers: Mapping[str, Mapping[str, Any]],
) -> str:
    """One line a family and chief figure."""
    rows = []
    for card in cards:
        aim = aims.get(card.name, {})
        for figure in chief(card, aim):
            rows.append(
                [
                    card.name,
                    figure.metric,
                    _interval(figure),
                    figure.n,
                    against(figure, aim),
                    figure.published,
                    coverage(card, answers.get(card.name)),
                ]
            )
    head = [
        "family",
        "figure",
        "value (95 % interval)",
        "n",
        "target on unseen data, and whether this figure reaches it",
        "published",
        "answered",
    ]
    return f'<div class="all">{drawing.table(head, rows)}</div>'


def section(card: ModelCard, aim: Mapping[str, Any], told: Told) -> list[str]:
    """What the page says of one family."""
    before = [None, *(f.dataset for f in card.figures)]
    rows = [
        [
            f.metric,
            _interval(f),
            f.n,
            f.dataset if f.dataset != b else "as above",
            against(f, aim),
            f.published,
        ]
        for f, b in zip(card.figures, before, strict=False)
    ]
    called = escape(f"{card.name} {card.version}")
    parts = [
        f'<h2 id="{escape(card.name)}">{escape(card.title)} <small>{called}</small></h2>',
        drawing.paragraph(card.question),
        '<div class="own">',
        drawing.table(["figure", "value (95 % interval)", "n", "measured on", "target", "published"], rows),
        "</div>",
    ]
    parts += _marked(card, told)
    silent = ", ".join(card.abstains) or "never"
    learnt = "; ".join(f"{d.name} ({d.licence}; {d.use})" for d in card.data)
    return [
        *parts,
        drawing.paragraph(f"Abstains with: {silent}."),
        drawing.paragraph(f"Data: {learnt}. Weights {card.weights_sha256[:12]}, {card.licence}."),
        _folded("Limits", "\n".join(f"- {limit}" for limit in card.limits)),
        _folded("Comparisons and choices", card.notes) if card.notes else "",
    ]


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text.strip())}</pre></details>"


def _marked(card: ModelCard, told: Told) -> list[str]:
    """The plots between two comments that say whose they are, so that a later page may keep them."""
    if not told[1]:
        return []
    mark = f"plots of {card.name} {card.weights_sha256[:12]} {coverage(card, told[0])}"
    return [f"<!-- {mark} -->", *told[1], "<!-- end of plots -->"]


def earlier(page: str) -> dict[tuple[str, str], Told]:
    """The plots of a page that was written before: (family, start of its weights' SHA-256) -> them."""
    found = re.findall(r"<!-- plots of (\S+) (\S+) (\S+) -->\n(.*?)\n<!-- end of plots -->", page, re.DOTALL)
    return {
        (name, weights): ({"answered": [float(share[:-1]) / 100]} if share.endswith("%") else {}, [plots])
        for name, weights, share, plots in found
    }


def answered(
    card: ModelCard, aim: Mapping[str, Any], data: Path | None, folds: int | None, say: Progress
) -> Told:
    """(the family's answers to the data folder, their plots); empty where it offers none, or has no data."""
    if data is None or "data" not in aim or not (data / aim["data"]).exists():
        return {}, []
    try:
        evaluate = importlib.import_module(f"models.{registry.code(card.name)}.evaluate")
    except ModuleNotFoundError:
        return {}, []
    offered = getattr(evaluate, "curves", None)
    if offered is None:
        return {}, []
    began = time.monotonic()
    cut = {"folds": folds or aim.get("folds", FOLDS)}
    try:
        found = offered(
            data / aim["data"], **(cut if "folds" in inspect.signature(offered).parameters else {})
        )
        plots = curves.drawn(found)
    except (WetreadError, ValueError, KeyError, OSError, RuntimeError) as error:  # the others are drawn
        say(f"{card.name}: {type(error).__name__}: {error}")
        return {}, [drawing.paragraph(f"No plots: the data could not be answered ({type(error).__name__}).")]
    say(f"{card.name}: {aim['data']} answered in {time.monotonic() - began:.0f} s")
    return found, plots


def page(
    data: Path | None,
    say: Progress = lambda _: None,
    *,
    folds: int | None = None,
    only: Collection[str] = (),
    before: str = "",
) -> bytes:
    """The report as one UTF-8 HTML file. data: a folder laid out as targets.toml says; None: cards alone.

    folds: for all families, where not those of targets.toml. only: the families that are asked, all where
    none is named; the others keep the plots of the page `before` that are of the same weights.
    """
    cards, aims, kept = registry.cards(), targets(), earlier(before)
    told: dict[str, Told] = {}
    for card in cards:
        if only and card.name not in only:
            told[card.name] = kept.get((card.name, card.weights_sha256[:12]), ({}, []))
            say(
                f"{card.name}: "
                + ("plots kept" if told[card.name][1] else "no plots of these weights to keep")
            )
        else:
            told[card.name] = answered(card, aims.get(card.name, {}), data, folds, say)
    answers = {name: found for name, (found, _) in told.items()}
    links = " · ".join(f'<a href="#{escape(c.name)}">{escape(c.name)}</a>' for c in cards)
    said = "Figures are those of the cards; the plots are answers to the data folder's rows." if data else (
        "Figures are those of the cards. No data folder was given, so there are no plots."
    )  # fmt: skip
    parts = [STYLE, drawing.paragraph(said), f"<p>{links}</p>", summary(cards, aims, answers)]
    for card in cards:
        parts += section(card, aims.get(card.name, {}), told[card.name])
    return drawing.page("wetread: how well its models answer", *parts, note=NOTE)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: list[str] | None = None) -> None:
    """Writes the page; see --help."""
    asked = argparse.ArgumentParser(prog="models.training.report", description=__doc__)
    asked.add_argument("--data", type=Path, help="data folder; without it the figures of the cards alone")
    asked.add_argument("--folds", type=int, help="in which every family's rows are answered")
    asked.add_argument("--out", type=Path, default=Path("docs/model-report.html"))
    asked.add_argument(
        "--only", default="", help="families to ask, by commas; of the others FILE's plots stay"
    )
    told = asked.parse_args(arguments)
    if told.data is not None and not told.data.is_dir():
        asked.error(f"--data: {told.data} is no folder")
    only = [name for name in told.only.split(",") if name]
    before = told.out.read_text("utf-8") if only and told.out.is_file() else ""
    content = page(told.data, _tell, folds=told.folds, only=only, before=before)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_bytes(content)


if __name__ == "__main__":
    main()
