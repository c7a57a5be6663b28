"""An ingest on real folders, with a list as its queue and its clock in the test's hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from db import reports
from db.archive import Archive
from db.settings import Settings
from db.store import Store
from ingest.dispatch import Dispatch
from ingest.intake import Intake
from ingest.service import Ingest
from models.card import ModelCard, Needs, Weights

SETTLED = 1.0  #: more than the settling time of the settings fixture


def card(name: str, kind: str, *modalities: str) -> ModelCard:
    """A card that asks for inputs of a kind."""
    return ModelCard(
        name=name, version="1", title="t", question="q", intended_use="u", limits=(), abstains=(), data=(),
        needs=Needs(kind=kind, scope="note" if kind == "note" else "instance", modalities=modalities),  # type: ignore[arg-type]
        figures=(), weights=(Weights(file="w", sha256=name[0] * 64),), folder=Path("."),
    )  # fmt: skip


CARDS = (card("film", "image", "DX", "CR"), card("words", "note"))


@dataclass
class Bench:
    """An ingest with its clock, its store and what it hinted."""

    settings: Settings
    store: Store
    archive: Archive
    redis: Redis
    now: float = 100.0
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ingest = self.again()

    def again(self, cards: Sequence[ModelCard] | None = None) -> Ingest:
        """Another ingest on the same home, as after a stop."""
        intake = Intake(self.settings, self.store, self.archive, cards or CARDS)
        dispatch = Dispatch(
            self.store, self.redis, lambda job_id, _: self.sent.append(job_id),
            resend_after_seconds=20, max_attempts=3,
        )  # fmt: skip
        ingest = Ingest(self.settings, self.store, intake, dispatch, clock=lambda: self.now)
        ingest.resume()
        return ingest

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self.settings.folder("inbox")

    def turn(self, seconds: float = SETTLED, ingest: Ingest | None = None) -> None:
        """One turn of the loop after some seconds."""
        self.now += seconds
        (ingest or self.ingest).tick()

    def settle(self, ingest: Ingest | None = None) -> None:
        """Enough turns for what lies there to be found, to rest and to be taken."""
        for _ in range(8):
            self.turn(ingest=ingest)

    def files(self) -> dict[str, int]:
        """Files by state, those states alone that hold any."""
        with self.store.read() as connection:
            return {state: n for state, n in reports.file_counts(connection).items() if n}

    def refused(self) -> list[str]:
        """The reasons of what is in quarantine, sorted."""
        with self.store.read() as connection:
            return sorted(reports.quarantine_counts(connection))

    def left(self) -> list[str]:
        """What still lies in the inbox or the work area."""
        return sorted(p.name for d in (self.inbox, self.settings.folder("work")) for p in d.iterdir())
