"""What the DICOM reader makes of ECG waveforms, against pydicom's own decoder, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset

import builders
from db.errors import Rejected
from db.records import Kind
from ingest.items import Items
from ingest.readers import dicom
from models.payloads import Recording

SYNTAXES = (builders.IMPLICIT, builders.EXPLICIT, builders.DEFLATED, builders.BIG_ENDIAN)
GENERAL = "1.2.840.10008.5.1.4.1.1.9.1.2"
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def channel(code: str = "5.6.3-9-2", meaning: str = "Lead II", unit: str = "uV", **more: Any) -> Dataset:
    item = Dataset()
    item.ChannelSourceSequence = [coded(code, "SCPECG", meaning)]
    item.ChannelSensitivity, item.ChannelSensitivityCorrectionFactor = "2.5", "1.2"
    item.ChannelSensitivityUnitsSequence = [coded(unit, "UCUM", unit)]
    item.ChannelBaseline, item.ChannelSampleSkew, item.WaveformBitsStored = "30", "0", 16
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def group(
    *channels: Dataset, samples: Any = None, rate: str = "500", kind: str = "SS", **more: Any
) -> Dataset:
    item = Dataset()
    if samples is None:
        samples = np.arange(6 * len(channels)).reshape(6, -1)
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = len(channels), len(samples)
    item.SamplingFrequency, item.ChannelDefinitionSequence = rate, list(channels)
    size = {"B": 1, "S": 2, "L": 4}[kind[1]]
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 8 * size, kind
    item.WaveformData = np.asarray(samples).astype(f"{'iu'['SU'.index(kind[0])]}{size}")
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def ecg_dicom(*groups: Dataset, syntax: str = builders.EXPLICIT, sop_class: str = GENERAL) -> bytes:
    ds: FileDataset = builders._file(sop_class, builders.new_uid(), syntax)
    ds.Modality = "ECG"
    builders._patient(ds, "P-1", "", "Canary^Clara", "19500102")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{builders.ROOT}.7", f"{builders.ROOT}.7.1"
    order = ">" if syntax == builders.BIG_ENDIAN else "<"
    for item in groups:
        values = item.WaveformData
        if isinstance(values, np.ndarray):
            item.WaveformData = values.astype(values.dtype.newbyteorder(order)).tobytes()
        item["WaveformData"].VR = "OB" if item.WaveformBitsAllocated == 8 else "OW"
    ds.WaveformSequence = list(groups)
    return builders._written(ds)


def recording(data: bytes) -> Recording:
    found = dicom.payload(data, Kind.RECORDING)
    assert isinstance(found, Recording)
    return found


def refusal(*groups: Dataset) -> str:
    with pytest.raises(Rejected) as caught:
        recording(ecg_dicom(*groups))
    return caught.value.code


def test_a_sample_is_times_sensitivity_and_correction_plus_baseline() -> None:
    # C.10.9.1.4.1: 100 x 2.5 uV x 1.2 + 30 uV = 330 uV
    found = recording(ecg_dicom(group(channel(), samples=[[100], [-10]])))
    assert found.signals == pytest.approx(np.array([[0.33, 0.0]]))
    assert (found.leads, found.rate_hz) == (("II",), 500.0)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", ["SS", "US", "SB", "UB", "SL"])
def test_every_encoding_is_decoded_as_pydicom_does(syntax: str, kind: str) -> None:
    values = np.random.default_rng(3).integers(0, 127, (20, 3))
    channels = (channel(), channel("2:61", "x"), channel("", "Lead V7"))
    made = group(*channels, samples=values, kind=kind)
    found = recording(ecg_dicom(deepcopy(made), syntax=syntax))
    ds = pydicom.dcmread(BytesIO(ecg_dicom(made)))  # little endian: pydicom does not swap the bytes of others
    np.testing.assert_allclose(found.signals.T, ds.waveform_array(0) / 1000, rtol=1e-6)
    assert found.leads == ("II", "III", "V7")


def test_pydicom_s_own_ecg_is_read_as_its_rhythm(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    found = dicom.read(path)
    assert (found.kind, found.format) == (Kind.RECORDING, "")
    assert {key: found.facts[key] for key in ("rate_hz", "leads", "lead_names", "seconds")} == {
        "rate_hz": 1000.0, "leads": 12, "seconds": 10.0,
        "lead_names": "I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6",
    }  # fmt: skip
    expected = pydicom.dcmread(path).waveform_array(0).T / 1000
    np.testing.assert_allclose(recording(path.read_bytes()).signals, expected, rtol=1e-6)


def test_the_longest_recorded_group_is_read_and_no_median_beat() -> None:
    beat = group(
        channel("5.6.3-9-3", "V1"), rate="500", samples=np.zeros((99, 1)), WaveformOriginality="DERIVED"
    )
    short = group(channel(), channel("5.6.3-9-1"), samples=np.zeros((6, 2)))
    strip = group(channel("5.6.3-9-1"), samples=np.ones((9, 1)))
    assert recording(ecg_dicom(beat, short, strip)).leads == ("I",)


def test_other_channels_are_left_out_and_unknown_names_are_places() -> None:
    pressure = channel("109016", "Arterial blood pressure", "mm[Hg]")
    named = recording(ecg_dicom(group(pressure, channel("x", "Canary Clara"), channel(unit="mV"))))
    assert named.leads == ("lead 1", "II")


def test_padding_is_no_sample() -> None:
    found = recording(ecg_dicom(group(channel(), samples=[[1], [-32768]], WaveformPaddingValue=b"\x00\x80")))
    assert np.isnan(found.signals).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda: group(channel(), rate="20"), "sampling-rate"),
        (lambda: group(channel(), WaveformSampleInterpretation="MB"), "signal-format"),
        (lambda: group(channel(ChannelSampleSkew="3")), "signal-format"),
        (lambda: group(channel(ChannelSensitivity=None)), "uncalibrated"),
        (lambda: group(channel(unit="mm[Hg]")), "no-leads"),
        (lambda: group(channel(), NumberOfWaveformSamples=7), "truncated"),
        (lambda: group(channel(), NumberOfWaveformSamples=0), "empty"),
        (lambda: group(channel(), NumberOfWaveformSamples=2**27), "too-large"),
        (lambda: group(channel(), NumberOfWaveformChannels=2, NumberOfWaveformSamples=3), "malformed"),
        (lambda: group(channel(), WaveformBitsAllocated=32), "malformed"),
    ],
)
def test_what_is_no_calibrated_ecg_is_refused(made: Callable[[], Dataset], code: str) -> None:
    assert refusal(made()) == code


def test_an_ecg_without_groups_is_refused() -> None:
    assert refusal() == "empty"


def test_other_waveforms_stay_documents(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(ecg_dicom(group(channel()), sop_class="1.2.840.10008.5.1.4.1.1.9.4.1"))  # voice audio
    assert dicom.read(path).kind is Kind.DOCUMENT
    with pytest.raises(Rejected, match="no-leads"):
        recording(path.read_bytes())


def test_the_same_samples_under_another_header_are_the_same_content(tmp_path: Path) -> None:
    contents = []
    for place, samples in enumerate(([[1], [2]], [[1], [2]], [[1], [3]])):
        path = tmp_path / str(place)
        path.write_bytes(ecg_dicom(group(channel(), samples=samples), syntax=SYNTAXES[place]))
        contents.append(dicom.read(path).content)
    assert contents[0] == contents[1] != contents[2]


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), syntax=st.sampled_from(SYNTAXES))
def test_damaged_ecgs_are_read_or_refused(seed: int, syntax: str, tmp_path: Path) -> None:
    rng = random.Random(seed)
    whole = bytearray(ecg_dicom(group(channel(), channel("5.6.3-9-1")), group(channel()), syntax=syntax))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(300 if syntax == builders.DEFLATED else 500, len(whole))
        whole[at : at + rng.randint(0, 4)] = rng.choice(
            (rng.randbytes(1), rng.randbytes(2), b"\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0", b"", bytes(4))
        )
    path = tmp_path / "x"
    path.write_bytes(bytes(whole))
    dicom.whole(path)
    for call in (dicom.read, lambda path: dicom.payload(path.read_bytes(), Kind.RECORDING)):
        with suppress(Rejected):
            call(path)


@pytest.mark.parametrize(
    "nested",
    [
        (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x3a\x00\x08\x02SQ\0\0\xff\xff\xff\xff") * 200,  # deep
        b"\xfe\xff\x00\xe0\0\0\0\0" * 100_001,  # many
        b"\xfe\xff\x00\xe0\xff\xff\xff\x7f",  # longer than the file
        b"\x3a\x00\x08\x02SQ\0\0",  # no item
    ],
    ids=["deep", "many", "long", "strange"],
)
def test_a_sequence_is_gone_through_within_limits(nested: bytes) -> None:
    items = Items(b"\x00\x54\x00\x01SQ\0\0\xff\xff\xff\xff" + nested, explicit=True, little=True)
    with pytest.raises(Rejected, match="malformed"):
        items.top()
