"""A series' instances as a volume: order, values, millimetres, and what is refused."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from db.errors import Rejected
from ingest.volume import assemble, ordered
from models.payloads import Volume
from tests.builders import RLE, ROOT, dicom_bytes

# rows run to the patient's left and up, columns to the back: an oblique plane, by 3-4-5
ACROSS, DOWN = (0.6, 0.0, 0.8), (0.0, 1.0, 0.0)
NORMAL = (-0.8, 0.0, 0.6)


def one(index: int, *, off_mm: float = 0.0, **more: Any) -> bytes:
    """Slice `index` of a series: 2 mm apart along the normal from (10, 20, 30), 3 rows, 4 columns."""
    place = [round(p + n * (2 * index + off_mm), 6) for p, n in zip((10, 20, 30), NORMAL, strict=True)]
    usual = {
        "modality": "MR", "bits": 16, "pixels": np.full((3, 4), index, np.uint16), "body_part": "HEAD",
        "ImageOrientationPatient": [*ACROSS, *DOWN], "ImagePositionPatient": place,
        "PixelSpacing": [0.5, 0.25], "FrameOfReferenceUID": f"{ROOT}.7",
    }  # fmt: skip
    return dicom_bytes(**{**usual, **more})


def series(count: int = 4) -> list[bytes]:
    return [one(i) for i in range(count)]


def code(instances: list[bytes]) -> str:
    with pytest.raises(Rejected) as refusal:
        assemble(instances)
    return refusal.value.code


def test_slices_lie_in_the_order_of_their_places_whatever_order_they_came_in() -> None:
    for order in itertools.permutations(series(3)):
        assert assemble(list(order)).voxels[:, 0, 0].tolist() == [0, 1, 2]


def test_a_voxel_s_millimetres_are_those_of_the_standard_s_equation() -> None:
    volume = assemble(series())
    # PS3.3 C.7.6.2.1.1 by hand for slice 2, row 1, column 3:
    # (10, 20, 30) + 4 (-.8, 0, .6) + 1 x .5 (0, 1, 0) + 3 x .25 (.6, 0, .8)
    assert volume.affine @ [2, 1, 3, 1] == pytest.approx([7.25, 20.5, 33.0, 1])
    assert volume.spacing_mm == pytest.approx((2.0, 0.5, 0.25))
    assert (volume.even, volume.modality, volume.body_part) == (True, "MR", "HEAD")
    assert volume.voxels.dtype == np.float32


def test_values_are_after_the_modality_lut() -> None:
    made = [one(i, RescaleSlope=2, RescaleIntercept=-10, modality="CT") for i in range(3)]
    assert assemble(made).voxels[:, 0, 0].tolist() == [-10, -8, -6]


def test_each_slice_keeps_its_own_slope() -> None:
    made = [one(i, RescaleSlope=i + 1, RescaleIntercept=0) for i in range(3)]
    assert assemble(made).voxels[:, 0, 0].tolist() == [0, 2, 6]


def test_compressed_slices_hold_the_same_values() -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    plain = assemble([one(i, pixels=pixels) for i in range(3)])
    packed = assemble([one(i, pixels=pixels, transfer_syntax=RLE) for i in range(3)])
    assert np.array_equal(plain.voxels, packed.voxels)


@pytest.mark.parametrize("off_mm", [0.5, -0.5])
def test_a_slice_off_its_place_makes_the_volume_uneven(off_mm: float) -> None:
    assert not assemble([one(0), one(1), one(2, off_mm=off_mm), one(3)]).even


def test_a_missing_slice_makes_the_volume_uneven() -> None:
    assert not assemble([one(0), one(1), one(3), one(4)]).even


def test_slices_that_lean_like_a_tilted_gantry_are_uneven() -> None:
    made = [one(i, ImagePositionPatient=[10 - 1.6 * i, 20 + i, 30 + 1.2 * i]) for i in range(4)]
    assert not assemble(made).even


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"modality": "CT"}, "mixed-modalities"),
        ({"pixels": np.zeros((4, 3), np.uint16)}, "mixed-sizes"),
        ({"PixelSpacing": [0.5, 0.5]}, "mixed-spacings"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "mixed-orientations"),
        ({"FrameOfReferenceUID": f"{ROOT}.8"}, "mixed-frames-of-reference"),
        ({"off_mm": -2}, "repeated-positions"),
        ({"drop": ["ImagePositionPatient"]}, "no-geometry"),
        ({"drop": ["ImageOrientationPatient"]}, "no-geometry"),
        ({"drop": ["PixelSpacing"]}, "no-geometry"),
        ({"PixelSpacing": [0, 0.25]}, "no-geometry"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no-geometry"),
        ({"drop": ["PixelData"]}, "no-pixels"),
        ({"pixels": np.zeros((3, 4, 3), np.uint8), "bits": 8, "photometric": "RGB"}, "not-grey"),
    ],
)
def test_one_slice_of_another_kind_refuses_the_series(change: dict[str, Any], expected: str) -> None:
    assert code([*series(), one(4, **change)]) == expected


def test_two_slices_are_no_volume() -> None:
    assert code(series(2)) == "too-few-slices"
    assert code([]) == "too-few-slices"


def enhanced(places: list[int]) -> bytes:
    """The slices as frames of one enhanced object, each frame's place and slope in its own groups."""
    plane = _group("PlaneOrientationSequence", ImageOrientationPatient=[*ACROSS, *DOWN])
    return one(
        0, pixels=np.stack([np.full((3, 4), i, np.uint16) for i in places]), NumberOfFrames=len(places),
        drop=["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"],
        SharedFunctionalGroupsSequence=[plane],
        PerFrameFunctionalGroupsSequence=[_frame(i) for i in places],
    )  # fmt: skip


def _group(sequence: str, **values: Any) -> Dataset:
    item, outer = Dataset(), Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    setattr(outer, sequence, [item])
    return outer


def _frame(index: int) -> Dataset:
    position = [10 - 1.6 * index, 20, 30 + 1.2 * index]
    found = _group("PlanePositionSequence", ImagePositionPatient=position)
    found.update(_group("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25]))
    found.update(_group("PixelValueTransformationSequence", RescaleSlope=1, RescaleIntercept=0))
    return found


def test_the_frames_of_an_enhanced_object_make_the_same_volume() -> None:
    together, apart = assemble([enhanced([2, 0, 3, 1])]), assemble(series())
    assert np.array_equal(together.voxels, apart.voxels)
    assert together.affine == pytest.approx(apart.affine)
    assert together.spacing_mm == pytest.approx(apart.spacing_mm)


def test_a_slice_knows_which_instance_and_frame_it_came_from() -> None:
    assert [s.source for s in ordered([enhanced([2, 0, 3, 1])])] == [(0, 1), (0, 3), (0, 0), (0, 2)]
    assert [s.source for s in ordered(series(3)[::-1])] == [(2, 0), (1, 0), (0, 0)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_damaged_bytes_end_as_a_volume_or_refused(data: st.DataObject) -> None:
    made = series(3)
    broken = bytearray(made[1])
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(128, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(200, len(broken)))
    try:
        found = assemble([made[0], bytes(broken[:cut]), made[2]])
    except Rejected as refusal:
        found = refusal
    assert isinstance(found, Volume) or "Canary" not in str(found)


def test_a_real_series_whose_files_are_out_of_order_is_put_in_order(study_a: Path) -> None:
    (folder,) = study_a.glob("*T1post*")
    files = [p.read_bytes() for p in sorted(folder.iterdir())]
    volume = assemble(files)
    assert volume.spacing_mm == pytest.approx((6.5, 0.6875, 0.6875), abs=1e-4)
    assert volume.even
    heights = [float(dcmread(p).ImagePositionPatient[2]) for p in folder.iterdir()]
    assert volume.affine[2, 3] == pytest.approx(min(heights), abs=1e-3)
    assert (volume.affine @ [21, 0, 0, 1])[2] == pytest.approx(max(heights), abs=1e-3)


@pytest.fixture
def study_a() -> Path:
    import os

    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("WETREAD_DATA", default)) / "mr" / "study_A"
    if not folder.is_dir():
        pytest.skip("the MR study is not here: set WETREAD_DATA to the folder that holds mr/study_A")
    return folder
