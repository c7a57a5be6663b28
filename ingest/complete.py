"""When a series or a study is whole: decided from what has come, the time and the policy; pure functions.

What is known, strongest first: a person's word; the sender's manifest; counts that the objects state;
gaps among the instances; the sender's done mark; quiet time. Whoever decides keeps the reason.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

from db.errors import Misconfigured
from db.manifests import Promise
from db.records import Whole

Policy = Literal["wait", "partial", "quarantine"]
POLICIES: tuple[Policy, ...] = ("wait", "partial", "quarantine")
GAP = 1.5  #: a step along the normal this many times the usual one means that a slice lacks
FEWEST = 4  #: positions that tell what the usual step is


@dataclass(frozen=True, kw_only=True)
class Waits:
    """How long to wait, in time."""

    quiet: timedelta  #: nothing new for so long, and nothing lacking, is complete
    longest: timedelta  #: something lacking for so long after the last instance is decided by policy


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What one instance tells of its series' completeness; None where it tells nothing."""

    number: int | None = None  #: InstanceNumber
    position_mm: float | None = None  #: along the normal of its plane
    plane: str = ""  #: ImageOrientationPatient; only slices of one plane are compared
    frames: int = 1
    localizer: bool = False
    acquisition: int | None = None  #: AcquisitionNumber
    in_acquisition: int | None = None  #: ImagesInAcquisition
    in_series: int | None = None  #: NumberOfSeriesRelatedInstances, or parts of a concatenation

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Slice:
        """From the facts of an input."""
        return cls(
            number=facts.get("instance_number"), position_mm=facts.get("slice_position_mm"),
            plane=_plane(str(facts.get("image_orientation") or "")), frames=facts.get("frames") or 1,
            localizer="LOCALIZER" in str(facts.get("image_type") or ""),
            acquisition=facts.get("acquisition_number"), in_acquisition=facts.get("images_in_acquisition"),
            in_series=max(facts.get("series_instances") or 0, facts.get("concatenation_total") or 0) or None,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """All that is known of a series when it is looked at."""

    slices: Sequence[Slice]
    last_at: datetime  #: when the last instance came
    forced: bool = False  #: a person called it complete
    declared: bool = False  #: its sender said done
    promise: Promise | None = None


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """All that is known of a study when it is looked at."""

    series: Sequence[Whole]
    instances: int
    last_at: datetime
    expected_instances: int | None = None  #: NumberOfStudyRelatedInstances
    expected_series: int | None = None  #: NumberOfStudyRelatedSeries
    unmet: Sequence[str] = ()  #: required series that are not there
    forced: bool = False
    declared: bool = False
    promise: Promise | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of it now, and why."""

    state: Whole
    reason: str  #: "code: sentence"
    again: datetime | None = field(default=None, compare=False)  #: when to look again, while it waits


def policy(word: str) -> Policy:
    """A policy by its name. Raises Misconfigured for another word."""
    for known in POLICIES:
        if word == known:
            return known
    raise Misconfigured(f"completeness policy {word!r}: expected one of {', '.join(POLICIES)}")


def decide(facts: SeriesFacts, now: datetime, policy: Policy, waits: Waits) -> Decision:
    """Is the series whole, does it wait, or does the policy take it as it is?"""
    if facts.forced:
        return Decision(state=Whole.COMPLETE, reason="forced: a person called it complete")
    if facts.promise is not None:
        lack = _broken(facts.promise)
        if lack is None:
            return Decision(state=Whole.COMPLETE, reason=_kept(facts.promise))
        return _lacking(lack, facts.last_at, now, policy, waits, told=facts.declared)
    counted, lack = _counts(facts.slices)
    if counted is not None:
        return Decision(state=Whole.COMPLETE, reason=counted)
    lack = lack or _gap(facts.slices)
    if lack is not None:
        return _lacking(lack, facts.last_at, now, policy, waits, told=facts.declared)
    return _unhurried(facts.last_at, facts.declared, now, waits)


def decide_study(facts: StudyFacts, now: datetime, policy: Policy, waits: Waits) -> Decision:
    """The same of a study, whose series have been decided each for itself."""
    if facts.forced:
        return Decision(state=Whole.COMPLETE, reason="forced: a person called it complete")
    lack = (_broken(facts.promise) if facts.promise is not None else None) or _study_lack(facts)
    if lack is not None:
        return _lacking(lack, facts.last_at, now, policy, waits, told=facts.declared)
    if count := sum(state is Whole.WAITING for state in facts.series):
        reason = f"series-open: {_of(count, 'series')} not decided"
        return Decision(state=Whole.WAITING, reason=reason, again=now + waits.quiet)
    if poor := [state for state in facts.series if state is not Whole.COMPLETE]:
        worst = Whole.QUARANTINED if Whole.QUARANTINED in poor else Whole.PARTIAL
        return Decision(state=worst, reason=f"series-{worst}: {len(poor)} of {len(facts.series)} not whole")
    if (told := _study_told(facts)) is not None:
        return Decision(state=Whole.COMPLETE, reason=told)
    return _unhurried(facts.last_at, facts.declared, now, waits)


def _study_told(facts: StudyFacts) -> str | None:
    if facts.promise is not None:
        return _kept(facts.promise)
    if facts.expected_instances:
        return f"counted: all {_of(facts.expected_instances, 'instance')} that the study states are here"
    return None


def slice_order(slices: Sequence[Slice]) -> list[int]:
    """The indices in slice order: by plane, along its normal, then by InstanceNumber.

    File order and instance order need not be slice order: only geometry is trusted where there is any.
    """

    def key(index: int) -> tuple[str, bool, float, bool, int, int]:
        one = slices[index]
        return (
            one.plane, one.position_mm is None, one.position_mm or 0.0,
            one.number is None, one.number or 0, index,
        )  # fmt: skip

    return sorted(range(len(slices)), key=key)


# ── what lacks ────────────────────────────────────────────────────────────────────────────────────


def _lacking(
    lack: str, last_at: datetime, now: datetime, policy: Policy, waits: Waits, *, told: bool
) -> Decision:
    """Something lacks: waited for, unless the policy or the sender's own done mark says not to."""
    patience = waits.quiet if policy == "partial" else waits.longest
    if now - last_at < patience and not told:
        return Decision(state=Whole.WAITING, reason=lack, again=last_at + patience)
    return Decision(state=Whole.QUARANTINED if policy == "quarantine" else Whole.PARTIAL, reason=lack)


def _unhurried(last_at: datetime, declared: bool, now: datetime, waits: Waits) -> Decision:
    """Nothing lacks as far as can be told: the sender's word, or quiet time."""
    if declared:
        return Decision(state=Whole.COMPLETE, reason="declared: its sender marked it done")
    seconds = f"{waits.quiet.total_seconds():g} s"
    if now - last_at < waits.quiet:
        again = last_at + waits.quiet
        return Decision(state=Whole.WAITING, reason=f"settling: something came within {seconds}", again=again)
    return Decision(state=Whole.COMPLETE, reason=f"quiet: no gap, and nothing came for {seconds}")


def _broken(promise: Promise) -> str | None:
    if promise.missing:
        return f"manifest-missing: {promise.missing} of {promise.expected} files are missing or were refused"
    if promise.differing:
        return f"manifest-differs: {promise.differing} of {promise.expected} files have another SHA-256"
    return None


def _kept(promise: Promise) -> str:
    return f"manifest: all {_of(promise.expected, 'file')} are here"


def _counts(slices: Sequence[Slice]) -> tuple[str | None, str | None]:
    """(why it is complete, None), (None, what lacks), or (None, None) when no object states a count."""
    expected = max((s.in_series or 0 for s in slices), default=0)
    if expected:
        if len(slices) < expected:
            return None, f"count: {len(slices)} of {_of(expected, 'instance')} are here"
        return f"counted: all {_of(expected, 'instance')} that the series states are here", None
    if slices and all(s.frames > 1 for s in slices):
        return "multi-frame: each object holds all its frames", None
    groups: dict[int | None, list[Slice]] = defaultdict(list)
    for one in slices:
        groups[one.acquisition].append(one)
    for group in groups.values():
        stated = max((s.in_acquisition or 0 for s in group), default=0)
        if len(group) < stated:
            return None, f"acquisition: {len(group)} of {_of(stated, 'image')} of an acquisition are here"
    return None, None


def _gap(slices: Sequence[Slice]) -> str | None:
    numbers = {s.number for s in slices if s.number is not None}
    if numbers and (holes := max(numbers) - min(numbers) + 1 - len(numbers)):
        return f"gap: {_of(holes, 'instance number')} lacking between {min(numbers)} and {max(numbers)}"
    planes: dict[str, set[float]] = defaultdict(set)
    for one in slices:
        if one.position_mm is not None and one.plane and not one.localizer:
            planes[one.plane].add(round(one.position_mm, 2))
    for found in planes.values():
        if len(found) < FEWEST:
            continue
        places = sorted(found)
        steps = [after - before for before, after in pairwise(places)]
        usual = statistics.median(steps)
        if (widest := max(steps)) > GAP * usual:
            return f"gap: slices lie {usual:g} mm apart, and {widest:g} mm at one place"
    return None


def _study_lack(facts: StudyFacts) -> str | None:
    if facts.expected_series and len(facts.series) < facts.expected_series:
        return f"count: {len(facts.series)} of {facts.expected_series} series are here"
    if facts.expected_instances and facts.instances < facts.expected_instances:
        return f"count: {facts.instances} of {_of(facts.expected_instances, 'instance')} are here"
    if facts.unmet:
        return f"required-series: lacking {', '.join(facts.unmet)}"
    return None


def _of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 or noun == "series" else f"{count} {noun}s"


def _plane(orientation: str) -> str:
    """Direction cosines to two places: scanners jitter in the fourth."""
    return "\\".join(
        f"{float(part) + 0.0:.2f}".replace("-0.00", "0.00") for part in orientation.split("\\") if part
    )


# ── required series ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Required:
    """A series that every study with images of a modality must have."""

    modality: str
    orientation: str = ""  #: sagittal, coronal, transverse; empty: any
    instances: int = 1  #: at least

    def __str__(self) -> str:
        return "/".join([self.modality, self.orientation or "any", str(self.instances)])


def required(text: str) -> tuple[Required, ...]:
    """`MR/sagittal/20, MR/coronal` as rules. Raises Misconfigured, naming the one that is none."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([A-Z]{2,16})(?:/(sagittal|coronal|transverse|any))?(?:/([0-9]{1,5}))?", item)
        if match is None:
            raise Misconfigured(
                f"required_series: {item!r} should be MODALITY[/sagittal|coronal|transverse|any][/COUNT]"
            )
        plane = "" if match[2] in (None, "any") else match[2]
        found.append(Required(modality=match[1], orientation=plane, instances=int(match[3] or 1)))
    return tuple(found)


def unmet(rules: Sequence[Required], series: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The rules that a study breaks. series: the facts of each series' instances."""
    modalities = {facts.get("modality") for members in series for facts in members}
    return [
        str(rule)
        for rule in rules
        if rule.modality in modalities and not any(_fits(rule, members) for members in series)
    ]


def _fits(rule: Required, members: Sequence[Mapping[str, Any]]) -> bool:
    fitting = [
        facts
        for facts in members
        if facts.get("modality") == rule.modality
        and (not rule.orientation or facts.get("orientation") == rule.orientation)
    ]
    return sum(facts.get("frames") or 1 for facts in fitting) >= rule.instances
