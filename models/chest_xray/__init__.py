"""Chest radiographs of children: pneumonia or not, bacterial or viral, and where the network looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from db.records import Finding
from models.card import ModelCard
from models.payloads import Image, Payload
from models.registry import Explanation, Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The model with the card's weights on the device. Imports torch."""
    from models.chest_xray.model import ChestXray

    return ChestXray(card, device)


def example(name: str = "film-pneumonia.png") -> Image:
    """An invented film, no child's: `film-pneumonia.png` or `film-normal.png`."""
    from models.chest_xray.films import pixels

    film = pixels(HERE / "example" / name)
    return Image(pixels=film, modality="DX", body_part="CHEST", view_position="AP", bits_stored=8)


def variations(count: int = 256) -> list[Image]:
    """The invented films mixed, turned, shifted, brightened and grained: to compare back-ends on."""
    from models.chest_xray.invent import varied

    return varied([example("film-normal.png"), example()], count)


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The film with the heat map over it, as a PNG."""
    from models.chest_xray import view

    if not isinstance(payload, Image):
        raise TypeError(f"a film was expected, got {type(payload).__name__}")
    return view.render(payload, findings, artifacts)
