"""A frame is shown as the standard says: windows by hand, and pydicom's own LUTs as the reference."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_rescale, apply_voi_lut, apply_windowing

from builders import JPEG, RLE, dicom_bytes, film_dicom
from db.errors import Rejected
from ingest.quiet import quiet
from ingest.readers import dicom

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"


def shown(stored: NDArray[Any], **header: Any) -> NDArray[np.float32]:
    return dicom.payload(dicom_bytes(pixels=stored, **header)).pixels


def test_a_linear_window_by_hand() -> None:
    # PS3.3 C.11.2.1.2.1, centre 100, width 101: black at 100 - .5 - 50 = 49.5, white at 149.5
    stored = np.array([[0, 49, 50, 99], [100, 149, 150, 255]], dtype=np.uint8)
    expected = [[0, 0, 0.005, 0.495], [0.505, 0.995, 1, 1]]
    np.testing.assert_allclose(shown(stored, WindowCenter=100, WindowWidth=101), expected, atol=1e-6)


def test_an_exact_linear_window_by_hand() -> None:
    # C.11.2.1.3.2, centre 100, width 100: (x - 100) / 100 + .5
    stored = np.array([[50, 75], [100, 150]], dtype=np.uint8)
    found = shown(stored, WindowCenter=100, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(found, [[0, 0.25], [0.5, 1]], atol=1e-6)


def test_a_sigmoid_window_by_hand() -> None:
    # C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)); x = c + w/4 gives 1 / (1 + e^-1) = .7311
    stored = np.array([[100, 125]], dtype=np.uint8)
    found = shown(stored, WindowCenter=100, WindowWidth=100, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(found, [[0.5, 0.731059]], atol=1e-5)


def test_the_first_of_several_windows_counts() -> None:
    stored = np.array([[0, 255]], dtype=np.uint8)
    one = shown(stored, WindowCenter=[40, 500], WindowWidth=[80, 900])
    np.testing.assert_array_equal(one, shown(stored, WindowCenter=40, WindowWidth=80))


def test_rescale_comes_before_the_window() -> None:
    # stored 1000 is 1000 * 2 - 1500 = 500, the middle of a window 500 +- 50.5: (500 - 499.5) / 100 + .5
    stored = np.array([[1000, 0]], dtype=np.uint16)
    found = shown(stored, bits=12, RescaleSlope=2, RescaleIntercept=-1500, WindowCenter=500, WindowWidth=101)
    np.testing.assert_allclose(found, [[0.505, 0]], atol=1e-6)


@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY"])
def test_monochrome1_is_inverted_once(shape: str) -> None:
    stored = np.array([[0, 255]], dtype=np.uint8)
    window = {"WindowCenter": 128, "WindowWidth": 256}
    found = shown(stored, photometric="MONOCHROME1", PresentationLUTShape=shape, **window)
    np.testing.assert_array_equal(found, [[1, 0]])


def test_an_inverse_presentation_lut_is_inverted() -> None:
    stored = np.array([[0, 255]], dtype=np.uint8)
    found = shown(stored, PresentationLUTShape="INVERSE", WindowCenter=128, WindowWidth=256)
    np.testing.assert_array_equal(found, [[1, 0]])


def test_without_a_window_the_tails_are_cut() -> None:
    stored = np.concatenate([np.full(1, 0), np.linspace(1000, 2000, 998), np.full(1, 65535)])
    found = shown(stored.astype(np.uint16).reshape(25, 40), bits=16)
    assert abs(float(found.reshape(-1)[500]) - 0.5) < 0.01  # not crushed by the one white pixel
    assert (found.min(), found.max()) == (0, 1)


def test_a_flat_image_is_black_and_finite() -> None:
    assert shown(np.full((8, 8), 77, dtype=np.uint8)).max() == 0


def test_padding_is_black_and_does_not_stretch_the_contrast() -> None:
    stored = np.linspace(-500, 500, 64).astype(np.int16).reshape(8, 8)
    bare = shown(stored, bits=16, modality="CT")
    padded = stored.copy()
    padded[:, 0] = -32000
    found = shown(padded, bits=16, modality="CT", PixelPaddingValue=-32000, photometric="MONOCHROME1")
    assert found[:, 0].max() == 0
    np.testing.assert_allclose(found[2:-2, 1:], 1 - bare[2:-2, 1:], atol=0.03)


def test_bits_that_are_not_stored_do_not_count() -> None:
    stored = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "bits": 12}
    np.testing.assert_array_equal(shown(stored | 0xF000, **window), shown(stored, **window))


def test_signed_values_of_twelve_bits_keep_their_sign() -> None:
    stored = np.array([[-2048, -1, 0, 2047]], dtype=np.int16)
    junk = stored & np.int16(0x0FFF)  # the sign bit 11, nothing above it
    found = shown(junk, bits=12, WindowCenter=0, WindowWidth=4096)
    np.testing.assert_allclose(found, (stored + 2048) / 4095, atol=2e-4)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", RLE])
def test_values_that_lie_in_the_upper_bits_are_whole(syntax: str) -> None:
    stored = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    found = shown(stored << 4, bits=16, BitsStored=12, HighBit=15, transfer_syntax=syntax, **window)
    np.testing.assert_array_equal(found, shown(stored, bits=12, **window))


def test_a_voi_lut_is_applied() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4, 0, 8]
    lut.LUTData = [0, 10, 100, 255]
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"
    stored = np.array([[0, 1, 2, 3, 200]], dtype=np.uint8)
    found = shown(stored, VOILUTSequence=[lut])
    np.testing.assert_allclose(found, np.array([[0, 10, 100, 255, 255]]) / 255, atol=1e-6)


def test_the_middle_frame_is_shown() -> None:
    stored = np.stack([np.full((8, 8), value, dtype=np.uint8) for value in (10, 20, 30)])
    for syntax in ("1.2.840.10008.1.2.1", RLE):
        data = dicom_bytes(pixels=stored, transfer_syntax=syntax, WindowCenter=128, WindowWidth=256)
        found = dicom.payload(data)
        assert found.frames == 3
        np.testing.assert_allclose(found.pixels, 20 / 255, atol=1e-6)


def test_colour_becomes_luminance() -> None:
    stored = np.zeros((1, 4, 3), dtype=np.uint8)
    stored[0, 0, 0] = stored[0, 1, 1] = stored[0, 2, 2] = 255
    found = dicom.payload(dicom_bytes(pixels=stored, photometric="RGB"))
    # ITU-R BT.601
    np.testing.assert_allclose(found.pixels, [[0.299, 0.587, 0.114, 0]], atol=1e-6)
    assert found.colour


def test_grey_stored_as_three_channels_is_no_colour() -> None:
    stored = np.repeat(np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8, 1), 3, axis=2)
    assert not dicom.payload(dicom_bytes(pixels=stored, photometric="RGB")).colour


def test_a_palette_is_applied() -> None:
    data = (SAMPLES / "examples_palette.dcm").read_bytes()
    ds = pydicom.dcmread(BytesIO(data))
    rgb = pydicom.pixels.apply_color_lut(ds.pixel_array, ds) / 65535
    found = dicom.payload(data)
    np.testing.assert_allclose(found.pixels, rgb @ [0.299, 0.587, 0.114], atol=1e-4)


def test_a_palette_is_asked_for_the_stored_bits_alone() -> None:
    data = (SAMPLES / "examples_palette.dcm").read_bytes()
    ds, out = pydicom.dcmread(BytesIO(data)), BytesIO()
    ds.PixelData = (np.frombuffer(ds.PixelData, np.uint8).astype(np.uint16) | 0xA500).tobytes()
    ds.BitsAllocated = 16
    ds.save_as(out)
    np.testing.assert_array_equal(dicom.payload(out.getvalue()).pixels, dicom.payload(data).pixels)


def test_a_jpeg_is_the_picture_it_was_made_from() -> None:
    stored = np.linspace(40, 200, 4096).astype(np.uint8).reshape(64, 64)
    window = {"WindowCenter": 128, "WindowWidth": 256}
    np.testing.assert_allclose(
        shown(stored, transfer_syntax=JPEG, **window), shown(stored, **window), atol=4 / 255
    )


def test_a_film_comes_back_as_it_went_in() -> None:
    film = np.linspace(0, 1, 4096).reshape(64, 64)
    found = dicom.payload(film_dicom(film))
    np.testing.assert_allclose(found.pixels, film, atol=1 / 4095)
    assert (found.modality, found.body_part, found.view_position) == ("DX", "CHEST", "PA")
    assert (found.spacing_mm, found.bits_stored, found.burned_in) == ((0.2, 0.2), 12, False)


def test_burned_in_annotation_is_told() -> None:
    assert dicom.payload(dicom_bytes(BurnedInAnnotation="YES")).burned_in


def test_only_standard_codes_speak_of_the_view() -> None:
    def code(scheme: str, meaning: str) -> list[Dataset]:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", scheme, meaning
        return [item]

    known = dicom_bytes(ViewCodeSequence=code("SCT", "Postero-anterior"))
    private = dicom_bytes(ViewCodeSequence=code("99HOSP", "Clara Canary lateral"))
    assert dicom.payload(known).description == "POSTERO-ANTERIOR"
    assert dicom.payload(private).description == ""


def refusal(data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        dicom.payload(data)
    return caught.value.code


def test_an_image_too_large_for_memory_is_refused_before_decoding() -> None:
    data = dicom_bytes(transfer_syntax=RLE, Rows=65535, Columns=65535)
    assert refusal(data) == "too-large"


def test_a_compressed_frame_larger_than_its_header_says_is_refused() -> None:
    data = dicom_bytes(transfer_syntax=JPEG)
    start = data.index(b"\xff\xc0\x00\x0b\x08")
    assert refusal(data[: start + 5] + b"\xff\xff\xff\xff" + data[start + 9 :]) == "too-large"


def test_damaged_compression_is_undecodable_and_names_the_syntax() -> None:
    data = dicom_bytes(transfer_syntax=JPEG)
    start = data.index(b"\xff\xd8\xff")
    with pytest.raises(Rejected, match="JPEG Baseline") as caught:
        dicom.payload(data[:start] + bytes(300) + data[start + 300 :])
    assert caught.value.code == "undecodable"


def test_an_empty_box_in_a_jpeg_2000_file_is_no_endless_loop() -> None:
    data = dicom_bytes(transfer_syntax=JPEG).replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.90")
    start = data.index(b"\xff\xd8\xff")
    assert (
        refusal(data[:start] + b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64) + data[start + 76 :]) == "undecodable"
    )


def test_a_decoder_that_panics_is_stood_in_for() -> None:
    # the first RLE run says 128 pixels of 64: the Rust decoder panics, which is no Exception in Python,
    # and pydicom's own leaves out what is too much
    data = dicom_bytes(pixels=np.zeros((8, 8), dtype=np.uint16), bits=16, transfer_syntax=RLE)
    runs = b"\xf9\0" * 16  # 16 runs of 8 zeros
    assert data.count(runs) == 1
    assert dicom.payload(data.replace(runs, b"\x81\0" + runs[2:])).pixels.max() == 0


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "JPEG2000.dcm", "examples_overlay.dcm"],
)
def test_the_same_as_the_reference(name: str) -> None:
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"{name} is not among pydicom's installed files")
    data = path.read_bytes()
    with quiet():
        ds = pydicom.dcmread(BytesIO(data))
        windowed = "WindowCenter" in ds or "VOILUTSequence" in ds
        if not windowed:
            ds.WindowCenter, ds.WindowWidth = 300, 1000
        values = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
        reference = apply_voi_lut(values, ds, index=0).astype(float)
        out = BytesIO()
        ds.save_as(out)
    found = dicom.payload(out.getvalue()).pixels
    if ds.PhotometricInterpretation == "MONOCHROME1":
        found = 1 - found
    # pydicom's output range is the stored one; compared as straight lines
    slope, offset = np.polyfit(found.ravel(), reference.ravel(), 1)
    assert slope > 0
    np.testing.assert_allclose(found * slope + offset, reference, atol=0.003 * np.ptp(reference) + 1)


def test_a_ct_window_in_numbers_of_the_reference() -> None:
    data = (SAMPLES / "CT_small.dcm").read_bytes()
    ds = pydicom.dcmread(BytesIO(data))
    ds.WindowCenter, ds.WindowWidth = 40, 400
    out = BytesIO()
    ds.save_as(out)
    reference = apply_windowing(apply_rescale(ds.pixel_array, ds), ds)
    low, high = (
        -(2**15) * ds.RescaleSlope + ds.RescaleIntercept,
        (2**15 - 1) * ds.RescaleSlope + ds.RescaleIntercept,
    )
    found = dicom.payload(out.getvalue()).pixels
    padding = ds.pixel_array == ds.PixelPaddingValue
    expected = np.where(padding, 0, (reference - low) / (high - low))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def group(keyword: str, **values: Any) -> Dataset:
    inner, outer = Dataset(), Dataset()
    for name, value in values.items():
        setattr(inner, name, value)
    setattr(outer, keyword, [inner])
    return outer


@pytest.mark.parametrize(
    "transfer_syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
)
@pytest.mark.parametrize("undefined", [True, False])
def test_the_middle_frame_is_shown_in_its_own_window(transfer_syntax: str, undefined: bool) -> None:
    frames = [group("FrameVOILUTSequence", WindowCenter=centre, WindowWidth=101) for centre in (10, 100, 200)]
    for frame in frames:
        frame.is_undefined_length_sequence_item = undefined
    shared = group("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25])
    data = dicom_bytes(
        pixels=np.full((3, 4, 4), 100, dtype=np.uint8),
        transfer_syntax=transfer_syntax,
        drop=["PixelSpacing"],
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )
    found = dicom.payload(data)
    # centre 100, width 101: (100 - 99.5) / 100 + .5
    np.testing.assert_allclose(found.pixels, 0.505, atol=1e-6)
    assert found.spacing_mm == (0.5, 0.25)


def test_a_codec_that_panics_costs_the_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Codec:
        def as_array(self, *_: object, **__: object) -> None:
            raise PanicException

    film = dicom_bytes(transfer_syntax=RLE)
    monkeypatch.setattr("ingest.frames.get_decoder", lambda _: Codec())
    with pytest.raises(Rejected, match="undecodable"):
        dicom.payload(film)
