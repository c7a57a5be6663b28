"""A model's faster back-ends, measured on this machine and put on its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from db.errors import Misconfigured, Rejected
from db.settings import load
from models import backends, optimise, registry
from models.backends import Measured
from models.payloads import Payload

INPUTS = 1000  #: taken of a folder at most; one decision in a thousand may differ


def optimised(
    name: str, source: Path | None, home: Path | None, device: str, say: Callable[[str], None]
) -> list[Measured]:
    """Measures each back-end on a folder's inputs, else on variations of the model's example; records it.

    Raises Misconfigured when the folder holds nothing that the model reads.
    """
    from worker.runtime import choose_device, set_threads

    settings = load(home)
    set_threads(settings.threads)
    given = _read(name, source) if source else _variations(name)
    found = optimise.optimise(name, choose_device(device), given, say)
    backends.record(settings.folder("models"), found)
    return found


def _read(name: str, source: Path) -> list[Payload]:
    from console.past import read_inputs

    needs, found = registry.card(name).needs, list[Payload]()
    paths = [source] if source.is_file() else sorted(source.rglob("*"))
    if needs.scope == "series":
        paths = sorted({p.parent for p in paths if p.is_file()})
    for path in paths:
        if len(found) < INPUTS and (path.is_file() or needs.scope == "series"):
            try:
                found.append(read_inputs(path, needs))
            except Rejected:
                continue
    if not found:
        raise Misconfigured(f"{source.name} holds no file that {name} reads")
    return found


def _variations(name: str) -> Sequence[Payload]:
    vary = getattr(registry.family(name), "variations", None)
    if vary is None:
        raise Misconfigured(f"{name} has no inputs of its own to agree on: name a folder with --data")
    found: Sequence[Payload] = vary()
    return found
