"""A model folder from elsewhere is checked and taken into the home."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from db.errors import Misconfigured
from db.settings import load
from models import registry
from models.card import ModelCard, read

SUFFIXES = frozenset((".toml", ".safetensors", ".json", ".txt", ".png", ".tsv", ".md"))  #: none can run code


def imported(folder: Path, home: Path | None) -> ModelCard:
    """Copies a model folder into the home's `models/`, whole or not at all; gives its card.

    Raises Misconfigured, naming what is wrong, when a file could run code, the card or a hash is not
    right, no released code opens it, or it does not answer its own code's example.
    """
    card = read(folder)
    wrong = sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in SUFFIXES)
    if wrong:
        raise Misconfigured(f"{card.name}: {', '.join(wrong)}: only {', '.join(sorted(SUFFIXES))} are taken")
    card.verify()
    models = load(home).folder("models")
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    half, place = models / f".{card.name}.half", models / card.name
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(folder, half)
    try:
        _require_answer(read(half))
    except Exception:
        shutil.rmtree(half)
        raise
    old = models / f".{card.name}.old"
    if place.exists():
        os.replace(place, old)
    os.replace(half, place)
    shutil.rmtree(old, ignore_errors=True)
    registry.cards.cache_clear()
    return read(place)


def _require_answer(card: ModelCard) -> None:
    """Weights of another shape would otherwise be met first by a patient's file."""
    known = {c.name for c in registry.cards()}
    name = card.family or card.name
    if name not in known:
        raise Misconfigured(
            f"{card.name}: there is no code for {name!r}; `family` must name a released model"
        )
    family = registry.family(name)
    if card.needs.kind == "none":
        return
    try:
        (found,) = family.load(card, "cpu").examine([family.example()])
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise Misconfigured(
            f"{card.name}: its weights do not fit {name}'s code: {type(error).__name__}"
        ) from None
    if found.abstained:
        raise Misconfigured(f"{card.name}: it abstains on the example it should answer: {found.reason}")
