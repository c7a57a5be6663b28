"""A DICOM object's ECG becomes a recording in millivolts (PS3.3 A.34 and C.10.9)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest.elements import code_string, first_item, integer, number, text, value
from ingest.items import Items
from ingest.leads import facts, lead_name, millivolts_each, named
from ingest.signals import HOURS, RATES_HZ, SAMPLES, SIGNALS
from ingest.streams import too_large
from ingest.structure import Structure
from models.payloads import Recording

SEQUENCE = 0x54000100  #: WaveformSequence
MAX_BYTES = 288 * 2**20  #: of it: signals.SAMPLES at 32 bits, and their description
CLASSES = frozenset(  #: 12-lead, general, ambulatory and general 32-bit ECG
    f"1.2.840.10008.5.1.4.1.1.9.1.{last}" for last in (1, 2, 3, 4)
)
_DATA = 0x54001010  # WaveformData
_DESCRIPTION_BYTES = 2**20  # of all groups but their samples; twelve channels take some kilobytes

# PS3.3 C.10.9.1.5; companded samples (MB, AB) occur in sound alone
_SAMPLES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
# what follows 5.6.3-9- in SCP-ECG and 2: in MDC: both number leads alike (CID 3001)
_CODED = {
    **dict(
        zip(
            ("1", "2", "61", "62", "63", "64", "65"),
            ("I", "II", "III", "aVR", "aVL", "aVF", "-aVR"),
            strict=True,
        )
    ),
    **{str(n + 2): f"V{n}" for n in range(1, 8)},
    "66": "V8",
    "67": "V9",
}


@dataclass(frozen=True)
class _Group:
    """One multiplex group: its description, and its samples as stored."""

    description: Dataset
    data: memoryview

    @property
    def rank(self) -> tuple[bool, float, int]:
        """What was recorded goes before what was derived from it (a median beat), long before short."""
        rate = number(self.description, "SamplingFrequency") or 0.0
        samples = integer(self.description, "NumberOfWaveformSamples") or 0
        channels = integer(self.description, "NumberOfWaveformChannels") or 0
        derived = code_string(self.description, "WaveformOriginality") == "DERIVED"
        return not derived, samples / rate if rate > 0 else 0.0, channels


def is_recording(structure: Structure) -> bool:
    """Whether the object is one of the standard's ECGs, and its waveforms were found."""
    return structure.sop_class in CLASSES and any(tag == SEQUENCE for tag, _, _ in structure.ranges)


def recording(source: BinaryIO, structure: Structure) -> Recording:
    """The longest group that was recorded as it is, its leads in mV; padding is NaN.

    Raises Rejected (`malformed`, `truncated`, `empty`, `sampling-rate`, `signal-format`, `uncalibrated`,
    `no-leads`, `too-large`); whatever else pydicom raises, the caller guards against.
    """
    groups = list(_groups(source, structure))
    if not groups:
        raise Rejected("empty", "the waveform sequence has no group of channels", "Export the ECG again.")
    return _decoded(max(groups, key=lambda group: group.rank), little=structure.little)


def recorded(evidence: Evidence, found: Recording) -> Evidence:
    """A DICOM object's evidence as that of the recording which it holds."""
    told = facts(found.rate_hz, found.leads, found.signals.shape[1])
    return replace(evidence, kind=Kind.RECORDING, facts={**evidence.facts, **told}, content=_content(found))


def _groups(source: BinaryIO, structure: Structure) -> Iterator[_Group]:
    start, end = next(span[1:] for span in structure.ranges if span[0] == SEQUENCE)
    if end - start > MAX_BYTES:
        raise too_large(f"the waveforms have {end - start} bytes")
    source.seek(start)
    element = source.read(end - start)
    items, described = Items(element, explicit=structure.explicit, little=structure.little), 0
    for start, end in items.top():
        kept, data = BytesIO(), memoryview(b"")
        for tag, at, begins, ends in items.elements(start, end):
            if tag == _DATA:
                data = memoryview(element)[begins:ends]
                continue
            described += ends - at
            if described > _DESCRIPTION_BYTES:
                raise Rejected(
                    "too-large",
                    "the channels' description has more than 1 MiB",
                    "Check how the file was made.",
                )
            kept.write(element[at:ends])
        kept.seek(0)
        yield _Group(read_dataset(kept, not items.explicit, structure.little), data)


def _content(found: Recording) -> str:
    """A digest of the samples and of what they mean, not of the object that holds them."""
    digest = hashlib.sha256(repr((found.rate_hz, found.leads, found.signals.shape)).encode())
    digest.update(found.signals.tobytes())
    return digest.hexdigest()


def _decoded(group: _Group, *, little: bool) -> Recording:
    ds = group.description
    rate = number(ds, "SamplingFrequency") or 0.0
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise Rejected(
            "sampling-rate",
            f"SamplingFrequency should be {RATES_HZ[0]:g} to {RATES_HZ[1]:g} Hz",
            "Export it again.",
        )
    stored = _stored(group, rate, little=little)
    channels = value(ds, "ChannelDefinitionSequence") or ()
    if len(channels) != stored.shape[1]:
        raise _malformed(f"{len(channels)} channels are defined, {stored.shape[1]} are stored")
    scales = [_scale(channel) for channel in channels]
    ecg = [place for place, (factor, _) in enumerate(scales) if factor]
    if not ecg:
        raise _no_leads(channels)
    padding = _padding(ds, stored.dtype)
    signals = np.empty((len(ecg), len(stored)), np.float32)
    for row, place in enumerate(ecg):
        factor, baseline = scales[place]
        signals[row] = stored[:, place] * factor + baseline
        if padding is not None:
            signals[row][stored[:, place] == padding] = np.nan
    leads = named([_lead(channels[place]) for place in ecg])
    return Recording(signals=signals, rate_hz=rate, leads=leads)


def _stored(group: _Group, rate: float, *, little: bool) -> NDArray[np.integer]:
    """The samples as numbers, shape (samples, channels)."""
    ds = group.description
    channels = integer(ds, "NumberOfWaveformChannels") or 0
    samples = integer(ds, "NumberOfWaveformSamples") or 0
    if channels < 1 or samples < 1:
        raise Rejected("empty", "the group has no channels or no samples", "Export the ECG again.")
    if channels > SIGNALS or samples * channels > SAMPLES or samples > rate * 3600 * HOURS:
        raise Rejected(
            "too-large",
            f"the group has {samples} samples of {channels} channels; "
            f"{SIGNALS} channels, {SAMPLES} samples in all and {HOURS:g} hours are read",
            "Cut it into parts.",
        )
    kind = code_string(ds, "WaveformSampleInterpretation")
    if kind not in _SAMPLES:
        raise Rejected(
            "signal-format",
            f"WaveformSampleInterpretation should be one of {', '.join(_SAMPLES)}",
            "Export it again.",
        )
    dtype = np.dtype(f"{'<' if little else '>'}{_SAMPLES[kind]}")
    if integer(ds, "WaveformBitsAllocated") not in (None, dtype.itemsize * 8):
        raise _malformed("WaveformBitsAllocated contradicts WaveformSampleInterpretation")
    if len(group.data) < samples * channels * dtype.itemsize:
        raise Rejected(
            "truncated",
            f"WaveformData has {len(group.data)} bytes, too few for {samples} samples of {channels} channels",
            "Send the whole object again.",
        )
    return np.frombuffer(group.data, dtype, samples * channels).reshape(samples, channels)


def _scale(channel: Dataset) -> tuple[float, float]:
    """Millivolts a step, and at 0; (0, 0) for what is no calibrated ECG (PS3.3 C.10.9.1.4.1)."""
    units, source = first_item(channel, "ChannelSensitivityUnitsSequence"), _source(channel)
    sensitivity = number(channel, "ChannelSensitivity")
    if units is None or not sensitivity:
        return 0.0, 0.0
    millivolts = millivolts_each(text(units, "CodeValue"), text(source, "CodeMeaning"))
    correction = number(channel, "ChannelSensitivityCorrectionFactor")
    if abs(number(channel, "ChannelSampleSkew") or 0.0) >= 1:
        raise Rejected("signal-format", "a channel is skewed by whole samples", "Export it without skew.")
    baseline = number(channel, "ChannelBaseline") or 0.0
    return sensitivity * (1.0 if correction is None else correction) * millivolts, baseline * millivolts


def _source(channel: Dataset) -> Dataset:
    return first_item(channel, "ChannelSourceSequence") or Dataset()


def _lead(channel: Dataset) -> str:
    """The lead by its code, else by the words of a fixed vocabulary; "" for neither."""
    source = _source(channel)
    code = text(source, "CodeValue")
    for prefix in ("5.6.3-9-", "2:"):
        if code.startswith(prefix) and (lead := _CODED.get(code.removeprefix(prefix))):
            return lead
    return lead_name(text(source, "CodeMeaning")) or lead_name(text(channel, "ChannelLabel"))


def _padding(ds: Dataset, dtype: np.dtype[np.integer]) -> int | None:
    found = value(ds, "WaveformPaddingValue")
    if not isinstance(found, bytes) or len(found) < dtype.itemsize:
        return None
    return int(np.frombuffer(found, dtype, 1)[0])


def _no_leads(channels: object) -> Rejected:
    bare = all(not number(channel, "ChannelSensitivity") for channel in channels)  # type: ignore[attr-defined]
    if bare:
        return Rejected(
            "uncalibrated", "no channel has a ChannelSensitivity", "Export it with its calibration."
        )
    return Rejected(
        "no-leads", "no channel is an ECG: none is measured in volts", "Send the object with its ECG."
    )


def _malformed(sentence: str) -> Rejected:
    return Rejected("malformed", sentence, "Validate the file (dciodvfy) and export it again.")
