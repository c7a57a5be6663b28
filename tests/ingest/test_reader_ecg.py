"""What the ECG reader makes of WFDB records, against the reference implementation, and what it refuses."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console import samples
from db.errors import Rejected
from db.records import Kind
from ingest.readers import ecg
from models.payloads import Recording

SAMPLES = Path(samples.__file__).parent
HEADER = (SAMPLES / "ecg.hea").read_bytes()
SIGNALS = (SAMPLES / "ecg.dat").read_bytes()
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def container(header: bytes = HEADER, data: bytes = SIGNALS) -> bytes:
    return ecg.pack(header, dict.fromkeys(ecg.signals_named(header), data))


def record(values: list[int], form: str, line: str = "200(0)/mV", rate: float = 250) -> bytes:
    """A one-lead record of these stored values in format 16 or 212, as the format's page writes them."""
    if form == "16":
        data = np.array(values, "<i2").tobytes()
    else:
        a, b = (v & 0xFFF for v in values)
        data = bytes((a & 0xFF, a >> 8 | b >> 8 << 4, b & 0xFF))
    return container(f"r 1 {rate} {len(values)}\nr.dat {form} {line}\n".encode(), data)


def refusal(header: bytes, data: bytes = SIGNALS) -> str:
    with pytest.raises(Rejected) as caught:
        ecg.payload(container(header, data))
    return caught.value.code


def test_a_sample_is_its_value_less_the_baseline_over_the_gain() -> None:
    # header(5): (212 - 12) / 200 = 1 mV; -2^15 marks a sample that is not there
    found = ecg.payload(record([212, -188, -(2**15)], "16", "200(12)/mV"))
    assert found.signals.tolist() == [[1.0, -1.0, pytest.approx(np.nan, nan_ok=True)]]
    assert ecg.payload(record([500, -500], "212", "1(0)/uV")).signals.tolist() == [[0.5, -0.5]]


@pytest.mark.parametrize("form", ["16", "80", "212", "24", "32"])
def test_every_format_is_decoded_as_the_reference_does(form: str, tmp_path: Path) -> None:
    import wfdb

    rng = np.random.default_rng(int(form))
    stored = rng.integers(-100, 100, size=(1001, 3))  # odd: the last sample of 212 has half a byte more
    wfdb.wrsamp(
        "r", fs=500, units=["mV", "uV", "mmHg"], sig_name=["V2", "aVR", "ABP"], fmt=[form] * 3,
        d_signal=stored, adc_gain=[50.0, 2.0, 1.0], baseline=[3, 0, -7], write_dir=str(tmp_path),
    )  # fmt: skip
    expected = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T
    found = ecg.payload(container((tmp_path / "r.hea").read_bytes(), (tmp_path / "r.dat").read_bytes()))
    assert (found.leads, found.rate_hz) == (("V2", "aVR"), 500.0)
    np.testing.assert_allclose(found.signals, expected[:2] * [[1], [0.001]], rtol=1e-6)


def test_the_facts_tell_rate_leads_and_length() -> None:
    assert ecg.read(SAMPLES / "ecg.hea").facts == {
        "rate_hz": 360.0, "leads": 2, "lead_names": "MLII, V1", "samples": 10800, "seconds": 30.0,
        "other_signals": 0,
    }  # fmt: skip


def test_a_container_is_read_as_the_header_beside_its_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(container())
    found = ecg.read(path, parts=["patient=P-7", "encounter=E9"])
    assert found.content == ecg.read(SAMPLES / "ecg.hea").content
    assert (found.kind, found.format, found.case_key) == (Kind.RECORDING, "ecg", "E9")
    assert found.identity is not None
    assert ecg.whole(path) is None


def test_a_damaged_directory_is_refused(tmp_path: Path) -> None:
    found = bytearray(container())
    at = found.rindex(b"PK\x01\x02") + 42  # where the last entry says that it begins
    found[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "x").write_bytes(found)
    with pytest.raises(Rejected, match="malformed"):
        ecg.read(tmp_path / "x")


def test_names_dates_and_comments_are_left_behind() -> None:
    told = HEADER.replace(b"ecg 2 360 10800", b"canary 2 360 10800 10:11:12 02/01/1950") + b"# Clara Canary\n"
    told = told.replace(b"ecg.dat", b"canary.dat").replace(b"V1", b"Clara Canary")
    found = container(told)
    assert not any(word in found for word in (b"Canary", b"canary", b"1950", b"10:11"))
    assert ecg.payload(found).leads == ("MLII", "lead 2")


def test_the_same_record_under_another_name_is_the_same_container() -> None:
    assert container(HEADER.replace(b"ecg", b"p17")) == container()


def test_the_header_says_which_files_to_wait_for() -> None:
    assert ecg.signals_named(b"r 2 360\na.dat 16 200\nb.dat 16 200\n") == ("a.dat", "b.dat")
    assert ecg.is_signal(".dat")
    assert not ecg.is_signal(".txt")


@pytest.mark.parametrize("name", ["../a.dat", "/etc/passwd", "a\\b.dat", "..", ".a", "~", "r.hea"])
def test_a_signal_file_is_a_plain_name(name: str) -> None:
    with pytest.raises(Rejected, match="malformed"):
        ecg.signals_named(f"r 1 360\n{name} 16 200\n".encode())


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (HEADER.replace(b"10800", b"10801"), "truncated"),
        (HEADER.replace(b" 0 V1", b" 0 V1\n").replace(b"ecg 2", b"ecg 3"), "truncated"),
        (b"r/3 2 360 900\n", "multi-segment"),
        (b"r 1 360 9\nr.dat 310 200\n", "signal-format"),
        (b"r 1 360 9\nr.dat 16x4 200\n", "signal-format"),
        (b"r 1 20 9\nr.dat 16 200\n", "sampling-rate"),
        (b"r 1\nr.dat 16 200\n", "sampling-rate"),
        (b"r 1 360 9\nr.dat 16\n", "uncalibrated"),
        (b"r 1 360 9\nr.dat 16 1/mmHg 0 0 0 0 0 ABP\n", "no-leads"),
        (b"r 0 360 9\n", "empty"),
        (b"r 1 360 99999999\nr.dat 16 200\n", "too-large"),
        (b"r 65 360 9\n", "too-large"),
        (b"r 1 360 9\nr.dat 16 200\0\n", "malformed"),
        (b"No pneumonia was seen.\n", "malformed"),
        (b"r 3 360 9\na.dat 16 9\nb.dat 16 9\na.dat 16 9\n", "malformed"),
    ],
)
def test_what_is_not_a_whole_calibrated_record_is_refused(header: bytes, code: str) -> None:
    assert refusal(header) == code


def test_a_changed_sample_breaks_the_checksum() -> None:
    assert refusal(HEADER, b"\x07" + SIGNALS[1:]) == "checksum"


def test_a_record_without_its_signals_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_bytes(HEADER)
    with pytest.raises(Rejected, match="no-signals"):
        ecg.read(tmp_path / "r.hea")


def test_a_header_is_whole_once_it_describes_every_signal(tmp_path: Path) -> None:
    path = tmp_path / "r.hea"
    path.write_bytes(HEADER[: HEADER.rindex(b"ecg.dat")])
    assert ecg.whole(path) is not None
    path.write_bytes(HEADER)
    assert ecg.whole(path) is None


def test_a_container_is_claimed_by_content_and_a_header_by_name() -> None:
    assert ecg.claims(container()[:4096], ".bin")
    assert ecg.claims(HEADER, ".hea")
    assert not ecg.claims(HEADER, ".txt")
    assert not ecg.claims(b"PK\x03\x04" + bytes(40), ".zip")


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), of_header=st.booleans())
def test_damaged_bytes_are_read_or_refused(seed: int, of_header: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    whole = bytearray(HEADER if of_header else container(HEADER.replace(b"10800", b"64"), SIGNALS[:192]))
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(whole) + 1))
        whole[at : at + int(rng.integers(0, 9))] = rng.bytes(int(rng.integers(0, 5)))
    try:
        data = container(bytes(whole)) if of_header else bytes(whole)
        (tmp_path / "r").write_bytes(data)
        ecg.whole(tmp_path / "r")
        found = ecg.payload(data)
    except Rejected:
        return
    assert isinstance(found, Recording)
    assert found.signals.shape[0] == len(found.leads)


@EXAMPLES
@given(data=st.binary(max_size=400), begins=st.sampled_from([b"", b"r 1 360 5\nr.dat ", container()[:90]]))
def test_random_bytes_are_read_or_refused(data: bytes, begins: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.hea"
    path.write_bytes(begins + data)
    ecg.whole(path)
    for call in (ecg.read, lambda path: ecg.payload(path.read_bytes())):
        with suppress(Rejected):
            call(path)
