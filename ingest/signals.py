"""WFDB headers and signals: what a record holds, and its samples (PhysioNet's header(5), signal(5))."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.errors import Rejected
from ingest.leads import lead_name, millivolts_each, named

HEADER_BYTES = 64 * 2**10  #: of a record's header; the longest have some kilobytes
SIGNALS = 64  #: in one record, ECG or not
SAMPLES = 2**26  #: of all signals together: two leads of 24 h at 360 Hz are 62 million
RATES_HZ = (50.0, 10_000.0)  #: below, no QRS complex is told from noise; above, no recorder samples
HOURS = 168.0  #: the longest recording taken: a week

# what stands for "no sample here", by format
_NO_SAMPLE = {16: -(2**15), 24: -(2**23), 32: -(2**31), 61: -(2**15), 80: -128, 212: -(2**11)}
_BITS = {16: 16, 24: 24, 32: 32, 61: 16, 80: 8, 212: 12}
_UNIT_NAMES = {1.0: "mV", 1e-3: "uV", 1e3: "V", 1e-6: "nV"}
_BLOCK = 2**20  # samples decoded at a time

_RECORD = re.compile(
    r"(?P<name>[\w.-]+)(?P<segments>/\d+)?\s+(?P<signals>\d{1,6})"
    r"(?:\s+(?P<rate>[\d.eE+-]+)(?:/[\d.eE+-]+(?:\([\d.eE+-]+\))?)?(?:\s+(?P<samples>\d{1,15}))?(?:\s.*)?)?",
    re.ASCII,
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,4})(?:x(?P<per_frame>\d{1,6}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,12}))?"
    r"(?:\s+(?P<gain>[\d.eE+-]+)(?:\((?P<baseline>-?\d{1,10})\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+\d+(?:\s+(?P<zero>-?\d{1,10})"
    r"(?:\s+-?\d+(?:\s+(?P<checksum>-?\d{1,10})(?:\s+-?\d+(?:\s+(?P<said>.*))?)?)?)?)?)?)?\s*"
)
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One signal as the header describes it; nothing in it is a patient's."""

    file: str
    format: int
    offset: int  #: bytes before the first sample in `file`
    gain: float  #: steps of the converter per unit
    baseline: int  #: the converter's value at 0
    millivolts: float  #: what one unit is in mV; 0: no voltage
    checksum: int | None  #: sum of all samples modulo 65536, None when the header has none
    lead: str  #: of a fixed vocabulary, "" when the header's words are none of it

    @property
    def is_ecg(self) -> bool:
        """Whether this is a lead: its unit is a voltage, and its words name nothing else."""
        return self.millivolts > 0


@dataclass(frozen=True, kw_only=True)
class Header:
    """A record's header, without its name, dates and comments, which may name a person."""

    rate_hz: float
    samples: int | None  #: of each signal; None: as many as the files hold
    signals: tuple[Signal, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The signal files, in order of their first signal."""
        return tuple(dict.fromkeys(signal.file for signal in self.signals))

    @property
    def leads(self) -> tuple[str, ...]:
        """The names of the ECG's leads; one whose name is not known is named by its place."""
        return named([signal.lead for signal in self.signals if signal.is_ecg])


def lines(data: bytes) -> list[str]:
    """A header's lines without comments and blank ones. Raises Rejected `malformed`, `too-large`."""
    if len(data) > HEADER_BYTES:
        raise Rejected("too-large", f"the header has more than {HEADER_BYTES} bytes", "Check the export.")
    if b"\0" in data:
        raise _malformed("the header holds binary data, not text")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def parse(data: bytes) -> Header:
    """The header.

    Raises Rejected (`malformed`, `multi-segment`, `sampling-rate`, `signal-format`, `uncalibrated`,
    `too-large`, `truncated`, `empty`).
    """
    head, *rest = lines(data) or [""]
    met = _RECORD.fullmatch(head)
    if met is None:
        raise _malformed("line 1 of the header should be: record name, number of signals, rate, samples")
    if met["segments"]:
        raise Rejected(
            "multi-segment",
            "the record is made of several segments",
            "Join them (wfdb's xform) or send each by itself.",
        )
    count = int(met["signals"])
    if not 1 <= count <= SIGNALS:
        raise Rejected(
            "too-large" if count else "empty",
            f"the header tells of {count} signals, 1 to {SIGNALS} are read",
            "Check the export.",
        )
    if len(rest) < count:
        raise Rejected(
            "truncated", f"the header tells of {count} signals and describes {len(rest)}", "Send it again."
        )
    samples = int(met["samples"] or 0) or None
    header = Header(
        rate_hz=_rate(met["rate"]),
        samples=samples,
        signals=tuple(_signal(line, number) for number, line in enumerate(rest[:count], 1)),
    )
    runs = [set(map(_layout, group)) for _, group in groupby(header.signals, key=lambda signal: signal.file)]
    if len(runs) != len(header.files) or any(len(run) > 1 for run in runs):
        raise _malformed("signals of one file should follow each other, in one format from one offset")
    if samples:
        _refuse_long(header, samples)
    return header


def neutral(header: Header) -> tuple[bytes, dict[str, str]]:
    """The header rewritten under neutral names, and each signal file's new name."""
    names = {file: f"{place}.dat" for place, file in enumerate(header.files)}
    written = [f"record {len(header.signals)} {header.rate_hz!r} {header.samples or 0}"]
    for signal in header.signals:
        unit = _UNIT_NAMES.get(signal.millivolts, "NU")
        line = f"{names[signal.file]} {signal.format}{f'+{signal.offset}' if signal.offset else ''} "
        line += f"{signal.gain!r}({signal.baseline})/{unit} 0 0"
        if signal.checksum is not None or signal.lead:
            # a name can only follow the checksum: where that is unknown, none is written that could be wrong
            line += f" 0 {_OPEN if signal.checksum is None else signal.checksum} 0 {signal.lead}"
        written.append(line.rstrip())
    return ("\n".join(written) + "\n").encode("ascii"), names


_OPEN = 99_999  # no sum modulo 65536: stands in a rewritten header for "the sender gave no checksum"


def blocks(header: Header, files: Mapping[str, bytes]) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
    """The samples as they are stored: (first signal, first sample, values of shape (samples, signals)).

    Raises Rejected (`truncated`, `empty`, `too-large`, and `checksum` once a file has come to its end).
    """
    samples = length(header, files)
    first = 0
    for file, group in groupby(header.signals, key=lambda signal: signal.file):
        signals = list(group)
        total = np.zeros(len(signals), np.int64)
        data = memoryview(files[file])[signals[0].offset :]
        step = max(2, _BLOCK // len(signals) // 2 * 2)  # even: two samples of format 212 share a byte
        for start in range(0, samples, step):
            count = min(step, samples - start)
            values = _decode(signals[0].format, data, start * len(signals), count * len(signals))
            values = values.reshape(count, len(signals))
            total += values.sum(axis=0, dtype=np.int64)
            yield first, start, values
        _check(signals, total, first)
        first += len(signals)


def length(header: Header, files: Mapping[str, bytes]) -> int:
    """The number of samples of each signal. Raises Rejected (`truncated`, `empty`, `too-large`)."""
    held: list[int] = []
    for file, group in groupby(header.signals, key=lambda signal: signal.file):
        signals = list(group)
        bits = (len(files[file]) - signals[0].offset) * 8
        there = max(0, bits // (_BITS[signals[0].format] * len(signals)))
        if header.samples is not None and there < header.samples:
            raise Rejected(
                "truncated",
                f"signal file {len(held) + 1} holds {there} of {header.samples} samples",
                "Send the record again.",
            )
        held.append(there)
    samples = header.samples or min(held)
    if not samples:
        raise Rejected("empty", "the record holds no samples", "Check the export.")
    _refuse_long(header, samples)
    return samples


def millivolts(header: Header, files: Mapping[str, bytes]) -> NDArray[np.float32]:
    """The leads' samples in mV, shape (leads, samples), NaN where there is none; raises as `blocks` does."""
    rows = {place: row for row, place in enumerate(p for p, s in enumerate(header.signals) if s.is_ecg)}
    found = np.empty((len(rows), length(header, files)), np.float32)
    for first, start, values in blocks(header, files):
        for column in range(values.shape[1]):
            if (row := rows.get(first + column)) is None:
                continue
            signal, stored = header.signals[first + column], values[:, column]
            part = (stored.astype(np.float64) - signal.baseline) * (signal.millivolts / signal.gain)
            part[stored == _NO_SAMPLE[signal.format]] = np.nan
            found[row, start : start + len(stored)] = part
    return found


def _decode(form: int, data: memoryview, start: int, count: int) -> NDArray[np.int32]:
    """`count` samples from the `start`-th on (even where form is 212), as signed whole numbers."""
    raw = np.frombuffer(data, np.uint8)
    if form == 212:
        raw = raw[start // 2 * 3 : start // 2 * 3 + (count * 3 + 1) // 2]
        triples = np.zeros((-(-count // 2), 3), np.int32)
        triples.reshape(-1)[: len(raw)] = raw
        pairs = np.stack(
            (triples[:, 0] | (triples[:, 1] & 0x0F) << 8, triples[:, 2] | (triples[:, 1] & 0xF0) << 4), axis=1
        )
        return (pairs.reshape(-1)[:count] ^ 0x800) - 0x800
    wide = _BITS[form] // 8
    raw = raw[start * wide : (start + count) * wide]
    if form == 80:
        return raw.astype(np.int32) - 128
    if form == 24:
        bytes_ = raw.reshape(-1, 3).astype(np.int32)
        return ((bytes_[:, 0] | bytes_[:, 1] << 8 | bytes_[:, 2] << 16) ^ 0x800000) - 0x800000
    return raw.view({16: "<i2", 61: ">i2", 32: "<i4"}[form]).astype(np.int32)


def _check(signals: list[Signal], total: NDArray[Any], first: int) -> None:
    for place, signal in enumerate(signals):
        if signal.checksum is not None and (int(total[place]) - signal.checksum) % 65536:
            raise Rejected(
                "checksum",
                f"the samples of signal {first + place + 1} do not add up to the header's checksum",
                "Send header and signals again, both from one export.",
            )


def _layout(signal: Signal) -> tuple[int, int]:
    return signal.format, signal.offset


def _rate(word: str | None) -> float:
    rate = _float(word or "")
    if rate is None or not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise Rejected(
            "sampling-rate",
            f"the header's sampling rate should be {RATES_HZ[0]:g} to {RATES_HZ[1]:g} Hz",
            "Write it as the third word of the header's first line.",
        )
    return rate


def _signal(line: str, number: int) -> Signal:
    met = _SIGNAL.fullmatch(line)
    if met is None:
        raise _malformed(f"the line of signal {number} should be: file, format, gain, ...")
    form = int(met["format"])
    if form not in _BITS or int(met["per_frame"] or 1) != 1 or int(met["skew"] or 0):
        raise Rejected(
            "signal-format",
            f"signal {number} is stored in format {form} or with several samples a frame or a skew; "
            f"formats {', '.join(map(str, sorted(_BITS)))} at one sample a frame are read",
            "Convert the record to format 16 (wfdb's xform).",
        )
    if not _FILE.fullmatch(met["file"]) or met["file"].lower().endswith(".hea"):
        raise _malformed(f"the file of signal {number} should be a plain name beside the header, not a path")
    said = (met["said"] or "").strip()
    voltage = millivolts_each(met["unit"] or "mV", said)
    gain, baseline = _float(met["gain"] or "0"), int(met["baseline"] or met["zero"] or 0)
    if gain is None or abs(baseline) > 2**31:
        raise _malformed(f"the gain and baseline of signal {number} should be numbers")
    if voltage and not gain:
        raise Rejected(
            "uncalibrated",
            f"the gain of signal {number} is not told, so its height means nothing",
            "Export the record with its gain.",
        )
    checksum = int(met["checksum"]) if met["checksum"] else None
    return Signal(
        file=met["file"], format=form, offset=int(met["offset"] or 0), gain=gain or 1.0, baseline=baseline,
        millivolts=voltage, checksum=None if checksum == _OPEN else checksum, lead=lead_name(said),
    )  # fmt: skip


def _float(word: str) -> float | None:
    try:
        found = float(word)
    except ValueError:
        return None
    return found if math.isfinite(found) and abs(found) < 1e12 and (not found or abs(found) > 1e-12) else None


def _refuse_long(header: Header, samples: int) -> None:
    if samples * len(header.signals) > SAMPLES or samples > header.rate_hz * 3600 * HOURS:
        raise Rejected(
            "too-large",
            f"the record has {samples} samples of {len(header.signals)} signals; "
            f"{SAMPLES} in all and {HOURS:g} hours are read",
            "Cut it into parts (wfdb's snip).",
        )


def _malformed(sentence: str) -> Rejected:
    return Rejected("malformed", sentence, "Export the record again; see docs/inputs.md.")
