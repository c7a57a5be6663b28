"""The opened machines: donor and acceptor sites of each record, each with its bases' weights; or silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from db.records import Code, Diagnosis, Finding
from models.card import ModelCard
from models.payloads import Payload, Sequences
from models.splice_site import machine, scan
from models.splice_site.data import CLASSES
from models.splice_site.kernel import WINDOW, Floats
from models.splice_site.scan import Candidate

ONTOLOGY = "http://www.sequenceontology.org"
SITES = (
    Code(value="SO:0000163", system=ONTOLOGY, meaning="five_prime_cis_splice_site"),
    Code(value="SO:0000164", system=ONTOLOGY, meaning="three_prime_cis_splice_site"),
)  #: of EI (donor) and IE (acceptor)
WINDOW_POINT, CONFIDENT_POINT = "site of a 60-base record", "confident class of a 60-base record"
SCAN_POINTS = ("donor in a scan", "acceptor in a scan")
MOST_SITES = 200  #: sites told of one file's scanned records, the likeliest first


class SpliceSite:
    """The model; plain arithmetic on the CPU whatever the device asked for."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.device = "cpu"
        self.machine = machine.load(card.folder)
        self.threshold = card.threshold(WINDOW_POINT)
        self.confident = card.threshold(CONFIDENT_POINT)
        self.scanned = tuple(card.threshold(point) for point in SCAN_POINTS)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a file of sequences, in order; one that it was not made for abstains alone."""
        return [self._examine(payload) for payload in payloads]

    def _examine(self, payload: Payload) -> Diagnosis:
        if not isinstance(payload, Sequences):
            return Diagnosis.abstain("not-a-sequence", "the payload holds no sequences")
        refused = scan.refused_file(payload)
        if refused:
            return Diagnosis.abstain(*refused)
        refusals = [scan.refusal(record) for record in payload.records]
        return Diagnosis(findings=tuple(self._findings(payload.records, refusals)))

    def _findings(self, records: Sequence[str], refusals: Sequence[tuple[str, str] | None]) -> list[Finding]:
        by_record: list[list[Finding]] = []
        for number, (record, refusal) in enumerate(zip(records, refusals, strict=True), 1):
            if refusal:
                by_record.append(_silent(number, refusal))
            elif len(record) == WINDOW:
                by_record.append(self._window(number, record))
            else:
                by_record.append(self._scan(number, record))
        return _likeliest([finding for findings in by_record for finding in findings])

    def _window(self, number: int, window: str) -> list[Finding]:
        """Both questions of a record that is one window; left open when no class is likely enough."""
        chances = self.machine.probabilities([window])[0]
        if chances.max() < self.confident:
            sentence = f"no class reaches {self.confident} (the likeliest {chances.max():.2f})"
            return _silent(number, ("not-confident", sentence))
        asked = [Candidate(record=number, start=0, window=window, label=label) for label in (0, 1)]
        return [self._finding(one, chances, self.threshold, "window") for one in asked]

    def _scan(self, number: int, record: str) -> list[Finding]:
        """Every site of a longer record; a negative finding of each kind that has none."""
        asked = scan.candidates(number, record)
        table = self.machine.probabilities([one.window for one in asked])
        told = []
        for label in (scan.DONOR, scan.ACCEPTOR):
            rows = [(one, row) for one, row in zip(asked, table, strict=True) if one.label == label]
            limit = self.scanned[label]
            sites = [(one, row) for one, row in rows if row[label] >= limit]
            told += [self._finding(one, row, limit, "scan") for one, row in sites]
            if not sites:
                highest = max((float(row[label]) for _, row in rows), default=0.0)
                told.append(_none(number, label, len(rows), highest, limit))
        return told

    def _finding(self, one: Candidate, chances: Floats, threshold: float, how: str) -> Finding:
        probability = float(chances[one.label])
        weights = self.machine.weights(one.window, one.label)
        return Finding(
            code=SITES[one.label],
            positive=probability >= threshold,
            probability=probability,
            threshold=threshold,
            site=f"record {one.record}, between bases {one.position} and {one.position + 1}",
            evidence={
                "kind": "bases",
                "how": how,
                "record": one.record,
                "position": one.position,
                "start": one.start + 1,
                "classes": {name: round(float(p), 6) for name, p in zip(CLASSES, chances, strict=True)},
                "weights": [round(float(w), 3) for w in weights],
                "unit": "log-odds against the mean of the other three bases there",
            },
        )


def _silent(number: int, refusal: tuple[str, str]) -> list[Finding]:
    """Both questions of one record left open, with the reason."""
    reason = f"{refusal[0]}: {refusal[1]}"
    return [
        Finding(
            code=code, positive=False, abstained=True, reason=reason,
            site=f"record {number}", evidence={"kind": "bases", "record": number},
        )
        for code in SITES
    ]  # fmt: skip


def _none(number: int, label: int, asked: int, highest: float, threshold: float) -> Finding:
    """No candidate of a scanned record is a site of this kind."""
    return Finding(
        code=SITES[label],
        positive=False,
        probability=highest,
        threshold=threshold,
        site=f"record {number}",
        evidence={"kind": "bases", "how": "scan", "record": number, "candidates": asked},
    )


def _likeliest(findings: list[Finding]) -> list[Finding]:
    """The findings, of scanned sites the MOST_SITES likeliest alone, in their order."""
    places = [i for i, f in enumerate(findings) if f.positive and f.evidence.get("how") == "scan"]
    order = np.argsort([-(findings[i].probability or 0.0) for i in places], kind="stable")
    dropped = {places[i] for i in order[MOST_SITES:]}
    return [f for i, f in enumerate(findings) if i not in dropped]
