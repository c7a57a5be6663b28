"""The commands about models: list, card, import; train, evaluate, optimise; synthesise, explain."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import datasets
from console.result_commands import DRAWN
from console.shared import Home, Json, answer, answer_json, say, table
from console.wording import answered

if TYPE_CHECKING:
    from models.card import ModelCard

models = typer.Typer(help="The model families: cards, training, evaluation.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `wetread models list` names it.")]
Data = Annotated[Path, typer.Option("--data", exists=True, help="A data set in the model's layout.")]


@models.callback()
def own_models() -> None:
    """The models of the home that the environment names are there beside those of the release."""
    from db.settings import load
    from models import registry

    registry.also_in(load(None).folder("models"))


@models.command("import")
def import_model(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Card, weights and example.")],
    home: Home = None,
) -> None:
    """Take a model that was trained elsewhere into the home; the services serve it after a restart."""
    from console.imports import imported

    card = imported(folder, home)
    answer(f"{card.name} {card.version} (weights {card.weights_sha256[:12]}) is served after a restart")


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """Every family with its version and question."""
    from models.registry import cards

    found = [
        {"name": c.name, "version": c.version, "weights_sha256": c.weights_sha256, "question": c.question}
        for c in cards()
    ]
    if as_json:
        answer_json(found)
    else:
        table("", ["name", "version", "weights", "question"], [
            [m["name"], m["version"], m["weights_sha256"][:12], m["question"]] for m in found])  # fmt: skip


@models.command()
def card(name: Name, home: Home = None, as_json: Json = False) -> None:
    """A model's card: use, limits, data, figures, operating points, weights; back-ends on this machine."""
    from models import registry

    if home is not None:
        from db.settings import load

        registry.only_in(load(home).folder("models"))
    found = registry.card(name)
    here = _backends(found, home)
    if as_json:
        more = {"weights_sha256": found.weights_sha256, "backends": here}
        answer_json({**found.model_dump(mode="json"), **more})
        return
    answer(f"{found.name} {found.version}: {found.title}\n\n{found.question}\n{found.intended_use}\n")
    answer("Limits\n" + "\n".join(f"  - {line}" for line in found.limits))
    answer("Abstains with " + ", ".join(found.abstains))
    figures = [
        [f.dataset, f.metric, f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})", f.n, f.published]
        for f in found.figures
    ]
    table("Figures", ["data", "metric", "value (95 % interval)", "n", "published"], figures)
    table("Operating points", ["finding", "threshold", "chosen"], [
        [p.finding, p.threshold, p.chosen] for p in found.operating_points])  # fmt: skip
    table("Data", ["name", "licence", "use"], [[d.name, d.licence, d.use] for d in found.data])
    table("Weights", ["file", "sha256"], [[w.file, w.sha256] for w in found.weights])
    answer(found.notes)
    if here:
        columns = ["back-end", "device", "times the reference", "worst difference", "admitted", "at", "used"]
        table("Back-ends on this machine", columns, [
            [m["backend"], m["device"], m["speedup"], m["worst"], m["admitted"], m["at"], m["used"]]
            for m in here])  # fmt: skip


def _data(name: str, given: Path | None) -> Path:
    """The data set named; none is needed of rules, which are compared with the tables they come from."""
    from models import registry

    if given is not None and given.exists():
        return given
    if registry.card(name).needs.kind == "variants" and given in (None, Path("-")):
        return Path("-")
    raise typer.BadParameter("name a file or folder that is there", param_hint="--data")


def _backends(card: ModelCard, home: Path | None) -> list[dict[str, Any]]:
    """What `optimise` measured of a model on this machine, and which of them its next start takes."""
    from dataclasses import asdict

    from db.settings import load
    from models import backends

    settings = load(home)
    folder = settings.folder("models")
    here = [m for m in backends.recorded(folder)
            if (m.model, m.weights_sha256, m.machine)
            == (card.name, card.weights_sha256, backends.machine())]  # fmt: skip
    auto = settings.backend == "auto"
    used = {m.device: backends.fastest(folder, card, m.device) if auto else backends.REFERENCE for m in here}
    return [asdict(m) | {"used": m.backend == used[m.device]} for m in here]


def _part(name: str, part: str) -> Any:
    from models import registry

    return importlib.import_module(f"models.{registry.code(name)}.{part}")


@models.command()
def train(
    name: Name,
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", help="Folder in which one of the model's name is filled.")
    ] = Path("build/training"),
    seed: Annotated[int, typer.Option()] = 0,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
) -> None:
    """Train a family anew: weights, plots, a card and an example, served once `models import` takes them."""
    from models.training import package, progress

    target = out / name
    target.mkdir(parents=True, exist_ok=True)
    try:
        with datasets.of(name, data), progress.bar(sys.stderr) as told:
            _part(name, "train").train(data, target, seed=seed, minutes=minutes, progress=told)
    except KeyboardInterrupt:
        say(f"stopped: {target} is unfinished and cannot be imported; the same command trains it again")
        raise
    if (target / "card.toml").is_file():
        package.credited(target, name, data)
    answer(str(target))


@models.command()
def evaluate(
    name: Name,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A data set in the model's layout; rules need none.", show_default=False),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Retrain the recipe in K folds instead.")] = None,
    device: Annotated[str, typer.Option()] = "auto",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure the model that serves on a data set, each figure with its 95 % confidence interval."""
    from db.settings import load
    from models import registry
    from worker.runtime import choose_device

    if home is not None:
        registry.only_in(load(home).folder("models"))
    card = registry.card(name)
    card.verify()
    measure, given = _part(name, "evaluate").evaluate, _data(name, data)
    with datasets.of(name, given):
        found = measure(given, folds=folds, device=choose_device(device), name=name)
    if as_json:
        answer_json(_measured(card) | found)
        return
    answer(f"{card.name} {card.version} of the {registry.origin(card)}, weights {card.weights_sha256[:12]}")
    for metric, value in found.items():
        answer(f"{metric:24} {_shown(value)}")


def _measured(card: ModelCard) -> dict[str, Any]:
    """Which model an evaluation is of, and whether it is the release's or the home's own."""
    from models import registry

    return {
        "model": card.name,
        "model_version": card.version,
        "weights_sha256": card.weights_sha256,
        "served_from": registry.origin(card),
    }


def _shown(value: Any) -> str:
    """A figure with its interval, or whatever else an evaluation tells."""
    if isinstance(value, dict) and "value" in value:
        return f"{value['value']:.4f}  (95 % {value['low']:.4f} to {value['high']:.4f})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)


@models.command()
def optimise(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--data", exists=True, help="Inputs to agree on: a folder of files the model reads."),
    ] = None,
    home: Home = None,
    device: Annotated[str, typer.Option()] = "auto",
    as_json: Json = False,
) -> None:
    """Measure the faster ways to compute a model here; those that agree with the reference are used."""
    from dataclasses import asdict

    from console.optimising import optimised

    found = optimised(name, source, home, device, say)
    if as_json:
        answer_json([asdict(m) for m in found])
        return
    rows = [
        [m.backend, f"{m.seconds * 1e3:.2f}", f"{m.speedup:.2f}", f"{m.agreement:.2%}", f"{m.worst:.2g}",
         "admitted" if m.admitted else m.reason]
        for m in found
    ]  # fmt: skip
    table(
        f"{name} on {found[0].machine}: {found[0].inputs} inputs, {found[0].decisions} decisions",
        ["back-end", "ms an input", "times the reference", "same decisions", "worst difference", ""], rows,
    )  # fmt: skip


@models.command()
def synthesise(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many to make.")] = 10,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Make synthetic inputs, which are nobody's and say so: DICOM films, WFDB records."""
    from db.errors import Misconfigured
    from models import registry

    if registry.card(name).needs.kind != "none":
        makers = ", ".join(c.name for c in registry.cards() if c.needs.kind == "none")
        raise Misconfigured(f"{name} reads inputs and makes none; those that make some: {makers or 'none'}")
    out.mkdir(parents=True, exist_ok=True)
    made = _part(name, "synthesise").synthesise(n, out, seed=seed)
    answer(f"{len(made)} files in {out}")


@models.command("explain")
def explain_input(
    name: Name,
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help=DRAWN)],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", exists=True, help="A file, or a folder of a series; else the model's example."
        ),
    ] = None,
    device: Annotated[str, typer.Option()] = "auto",
) -> None:
    """Read one file (or the model's own example) and draw the evidence; nothing is recorded."""
    from console.past import handed_over, tried

    diagnosis, found = tried(name, source, device)
    if found is None:
        say(f"{name} abstained: {diagnosis.reason}")
        raise typer.Exit(1)
    for finding in diagnosis.findings:
        sure = "" if finding.probability is None else f" {finding.probability:.3f}"
        said = answered(finding.positive, finding.qualifier, finding.reason)
        answer(f"{finding.code.meaning} ({finding.code.value}){sure}: {said}")
    answer(handed_over(found, out))
