"""Finds the model families by their cards and opens one on a device; opening alone imports its network."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from db.errors import Misconfigured
from db.records import Diagnosis, Finding
from models.card import ModelCard, read
from models.payloads import Payload

HERE = Path(__file__).parent


class Model(Protocol):
    """An opened model: weights in memory on one device, ready to answer."""

    card: ModelCard
    device: str  #: "cpu" or "cuda:0", where it truly runs

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a payload, in order; a payload it was not made for abstains alone."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A model whose inputs can be prepared while it computes others."""

    def prepare(self, payload: Payload) -> object:
        """What the model makes of one payload without its network; what it refuses is refused later."""
        ...

    def examine_prepared(self, prepared: Sequence[Any]) -> list[Diagnosis]:
        """As `examine`, of what `prepare` made."""
        ...


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A finding's evidence made visible."""

    media_type: str  #: image/png or text/html; application/dicom of a segmentation
    content: bytes


class Family(Protocol):
    """What `models/<family>/__init__.py` offers; train and evaluate live in submodules of the same names."""

    def load(self, card: ModelCard, device: str) -> Model:
        """The model with the card's weights on the device."""
        ...

    def example(self) -> Payload:
        """A small licence-clean input; also the warm-up."""
        ...

    def render(
        self, payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]
    ) -> Explanation:
        """The evidence of findings drawn on their input."""
        ...


_homes: list[Path] = []


def also_in(folder: Path) -> None:
    """A home's own models, one folder each, go before those of the same name that came with the release."""
    if folder not in _homes:
        _homes.append(folder)
        cards.cache_clear()


def only_in(folder: Path) -> None:
    """This home's own models alone go before the release's, whichever were named before."""
    _homes[:] = [folder]
    cards.cache_clear()


@cache
def cards() -> tuple[ModelCard, ...]:
    """Every model's card, by name. Imports no network. Raises Misconfigured of a card that is malformed."""
    found = {c.name: c for c in (read(p.parent) for p in HERE.glob("*/card.toml"))}
    released = frozenset(found)
    for path in (p for home in _homes for p in sorted(home.glob("*/card.toml"))):
        own = read(path.parent)
        if (own.family or own.name) not in released:
            raise Misconfigured(
                f"{path.parent.name}/card.toml: there is no code for {own.family or own.name!r}; "
                "`family` must name one of the released models, or remove the folder"
            )
        found[own.name] = own
    return tuple(found[name] for name in sorted(found))


def card(name: str) -> ModelCard:
    """The card of a family. Raises Misconfigured, naming those there are, when there is none."""
    for candidate in cards():
        if candidate.name == name:
            return candidate
    raise Misconfigured(f"no model named {name!r}; there are {', '.join(c.name for c in cards())}")


def origin(found: ModelCard) -> str:
    """Where a card's weights lie: "release", or "home" for a hospital's own."""
    return "release" if found.folder.parent == HERE else "home"


def served(names: str) -> tuple[ModelCard, ...]:
    """The cards that a comma-separated list names, all for an empty one. Raises Misconfigured."""
    wanted = sorted({word for part in names.split(",") if (word := part.strip())})
    return tuple(card(name) for name in wanted) if wanted else cards()


def family(name: str) -> Family:
    """The family's module (imports its network)."""
    return cast(Family, importlib.import_module(f"models.{code(name)}"))


def code(name: str) -> str:
    """The package in models/ that holds a model's code."""
    found = card(name)
    return (found.family or found.name).replace("-", "_")


def load(name: str, device: str) -> Model:
    """The model opened on a device, its weights checked against the card first.

    Raises Misconfigured when a file is missing, half-copied or swapped.
    """
    found = card(name)
    found.verify()
    return family(name).load(found, device)
