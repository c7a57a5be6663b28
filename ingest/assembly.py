"""Decides on the series and studies whose time to be looked at has come, and owes what reads them whole."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from db import ledger, revisions, series
from db.errors import Rejected
from db.logs import get
from db.records import Evidence, Kind, Whole
from db.series import Instance, Open, Routed
from db.settings import Settings
from db.store import Store, Writer
from db.tables import Series, Study
from ingest import complete, quarantine, routing
from ingest.complete import Decision, SeriesFacts, Slice, StudyFacts, Waits
from ingest.matching import subject
from ingest.rulebook import RuleBook
from ingest.rules import Rules
from models.card import ModelCard

log = get("ingest")
ADVICE = "Send what lacks, or call it complete as it is: `wetread complete SERIES`."


class Assembly:
    """What stands between instances that came one by one and the series and studies they make up."""

    def __init__(
        self, settings: Settings, store: Store, cards: Sequence[ModelCard], rulebook: RuleBook | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.cards = cards
        self.rulebook = rulebook
        self.required = complete.required(settings.required_series)
        longest = timedelta(seconds=settings.series_wait_seconds)
        self._series = Waits(quiet=timedelta(seconds=settings.series_quiet_seconds), longest=longest)
        self._studies = Waits(quiet=timedelta(seconds=settings.study_quiet_seconds), longest=longest)

    def look(self) -> int:
        """Looks at what is due; returns how many series and studies were decided. May be repeated."""
        return self._look_at_series() + self._look_at_studies()

    def _look_at_series(self) -> int:
        found = series.due(self.store, Series)
        if not found:
            return 0
        back: list[str] = []
        with self.store.write() as writer:
            decided = sum(self._one_series(writer, item, back) for item in found)
        for file_id in back:
            shutil.rmtree(self.settings.folder("quarantine") / file_id, ignore_errors=True)
        return decided

    def _one_series(self, writer: Writer, item: Open, back: list[str]) -> bool:
        images = [i for i in item.instances if i.facts.get("has_pixels")]
        slices = [Slice.of(i.facts) for i in images or item.instances]
        facts = SeriesFacts(
            slices=slices, last_at=item.last_at, forced=item.forced, declared=item.declared,
            promise=item.promise,
        )  # fmt: skip
        policy = complete.policy(item.routed.policy or self.settings.completeness_policy)
        decision = complete.decide(facts, writer.now, policy, self._series)
        if decision.again is not None:
            series.wait(writer, Series, item, decision.reason, decision.again)
            return False
        if not series.decide(writer, Series, item, decision.state, decision.reason):
            return False
        if decision.state is Whole.QUARANTINED:
            self._set_aside(writer, item, decision)
        else:
            ordered = [images[n] for n in complete.slice_order(slices)] if images else []
            routed = self._word(writer, item, images)
            owed = routing.owed_by_series([i.facts for i in images], self.cards, routed)
            back += revisions.revise(writer, item, ordered, owed)
        series.wake_study(writer, item)
        log.info("series_decided", series=item.id, state=decision.state.value, instances=item.count)
        return True

    def _word(self, writer: Writer, item: Open, images: Sequence[Instance]) -> Routed:
        """The rules' word once more, where they ask for slices: only now these are counted."""
        in_force = self.rulebook.rules if self.rulebook else Rules()
        if not in_force.count_slices or not images:
            return item.routed
        facts = {**images[-1].facts, "slices": sum(int(i.facts.get("frames") or 1) for i in images)}
        path = ledger.path_of(writer.connection, writer.keys, images[-1].evidence_id)
        decision = in_force.decide(subject(Evidence(kind=Kind.IMAGE, facts=facts), path, self.settings.site))
        writer.audit(
            f"series:{item.id}", "series:routed", rule=decision.rule, lane=decision.lane,
            slices=facts["slices"], earlier=dict(decision.earlier),
        )  # fmt: skip
        return routing.word(decision)

    def _set_aside(self, writer: Writer, item: Open, decision: Decision) -> None:
        why = Rejected(revisions.INCOMPLETE, f"its series is not whole: {decision.reason}", ADVICE)
        digests = {i.evidence_id: i.digest for i in item.instances}
        for file_id, evidence_id in revisions.set_aside(writer, item, why.sentence):
            quarantine.describe(
                self.settings.folder("quarantine") / file_id, why, stage="series", now=writer.now,
                digest=digests.get(evidence_id), size=0,
            )  # fmt: skip

    def _look_at_studies(self) -> int:
        found = series.due(self.store, Study)
        if not found:
            return 0
        with self.store.write() as writer:
            return sum(self._one_study(writer, item) for item in found)

    def _one_study(self, writer: Writer, item: Open) -> bool:
        states = series.study_series(writer.connection, item)
        members: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for one in item.instances:
            members[one.series_uid].append(one.facts)
        facts = StudyFacts(
            series=[Whole(state) for state in states], instances=len(item.instances),
            last_at=item.last_at, expected_instances=_stated(item.instances, "study_instances"),
            expected_series=_stated(item.instances, "study_series"),
            unmet=complete.unmet(self.required, list(members.values())), forced=item.forced,
            declared=item.declared, promise=item.promise,
        )  # fmt: skip
        policy = complete.policy(self.settings.completeness_policy)
        decision = complete.decide_study(facts, writer.now, policy, self._studies)
        if decision.again is not None:
            series.wait(writer, Study, item, decision.reason, decision.again)
            return False
        return series.decide(writer, Study, item, decision.state, decision.reason)


def _stated(instances: Sequence[Instance], fact: str) -> int | None:
    return max((int(i.facts.get(fact) or 0) for i in instances), default=0) or None
