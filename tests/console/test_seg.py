"""A mask as DICOM SEG: it comes back voxel by voxel, refers to its series, and other tools accept it."""

import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from console.seg import segmentation
from db.errors import Misconfigured, Rejected
from db.records import WETREAD, Code, Finding
from models import registry
from models.hippocampus_mr.mask import nifti
from tests.builders import ROOT, dicom_bytes

CARD = registry.card("hippocampus-mr")
SHAPE = (6, 7, 5)


def labels() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 2:5, 1:3] = 1
    mask[3:5, 4:7, 2:5] = 2
    return mask


def series(**more: Any) -> list[bytes]:
    """Six transverse slices, last one first."""
    found = [
        dicom_bytes(
            **{
                "modality": "MR", "bits": 16, "pixels": np.full(SHAPE[1:], i, np.uint16), "body_part": "HEAD",
                "sop_uid": f"{ROOT}.55.{i}", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "ImagePositionPatient": [-3, 4, 2 * i], "PixelSpacing": [1, 1], "SliceThickness": 2,
                "FrameOfReferenceUID": f"{ROOT}.7", "PositionReferenceIndicator": "", "Manufacturer": "",
                "SeriesNumber": 3, "PatientSex": "", "StudyID": "", "StudyDate": "", "StudyTime": "",
                "ReferringPhysicianName": "", "drop": ["ViewPosition"], **more,
            }
        )
        for i in range(SHAPE[0])
    ]  # fmt: skip
    return found[::-1]


def part(name: str, label: int, **more: Any) -> Finding:
    return Finding(
        code=Code(value=name, system=WETREAD, meaning=f"Volume of {name} hippocampus"), positive=True,
        site=name, value=1234.0, unit="mm3",
        evidence={
            "kind": "segmentation", "labels": [label], "structure": ["5366008", "SCT", "Hippocampus"],
            "modifier": ["255549009", "SCT", "Anterior"], "measured_mm3": 1234.0, **more,
        },
    )  # fmt: skip


PARTS = [part("anterior", 1), part("posterior", 2), part("whole", 0, labels=[1, 2])]


@pytest.fixture(scope="module")
def made() -> bytes:
    return segmentation(series(), nifti(labels(), np.eye(4)), PARTS, CARD)


def planes(data: bytes, sources: list[bytes], segment: int) -> np.ndarray:
    """A segment's mask, slice by slice along z, as highdicom reads it from a file."""
    read = highdicom.seg.Segmentation.from_dataset(dcmread(BytesIO(data)))
    headers = sorted((dcmread(BytesIO(s)) for s in sources), key=lambda d: d.ImagePositionPatient[2])
    uids = [h.SOPInstanceUID for h in headers]
    found: np.ndarray = read.get_pixels_by_source_instance(
        uids, segment_numbers=[segment], combine_segments=False, assert_missing_frames_are_empty=True
    )[..., 0]
    return found


@pytest.mark.parametrize("segment", [1, 2])
def test_the_mask_comes_back_slice_by_slice(made: bytes, segment: int) -> None:
    assert np.array_equal(planes(made, series(), segment), labels() == segment)


def test_only_parts_with_a_label_of_their_own_are_segments(made: bytes) -> None:
    ds = dcmread(BytesIO(made))
    assert [s.SegmentLabel for s in ds.SegmentSequence] == ["anterior", "posterior"]
    assert "1234 mm3" in ds.SegmentSequence[0].SegmentDescription
    assert ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "5366008"


def test_it_belongs_to_the_study_and_frame_of_its_series(made: bytes) -> None:
    ds, source = dcmread(BytesIO(made)), dcmread(BytesIO(series()[0]))
    for keyword in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID"):
        assert ds[keyword].value == source[keyword].value
    assert ds.SeriesInstanceUID != source.SeriesInstanceUID
    assert len(ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[0]


def test_the_same_result_has_the_same_uid_and_another_mask_another(made: bytes) -> None:
    again = segmentation(series()[::-1], nifti(labels(), np.eye(4)), PARTS, CARD)
    assert dcmread(BytesIO(again)).SOPInstanceUID == dcmread(BytesIO(made)).SOPInstanceUID
    other = segmentation(series(), nifti(labels()[::-1].copy(), np.eye(4)), PARTS, CARD)
    assert dcmread(BytesIO(other)).SOPInstanceUID != dcmread(BytesIO(made)).SOPInstanceUID


def test_a_mask_of_another_series_is_refused() -> None:
    with pytest.raises(Rejected, match="sizes-differ"):
        segmentation(series()[:5], nifti(labels(), np.eye(4)), PARTS, CARD)


def test_findings_without_an_outline_have_no_segmentation() -> None:
    bare = Finding(code=Code(value="x", system=WETREAD, meaning="x"), positive=True)
    with pytest.raises(Misconfigured, match="outline"):
        segmentation(series(), nifti(labels(), np.eye(4)), [bare], CARD)


def test_a_multi_frame_series_is_outlined_frame_by_frame() -> None:
    source = [_enhanced()]
    data = segmentation(source, nifti(labels(), np.eye(4)), PARTS, CARD)
    read = highdicom.seg.Segmentation.from_dataset(dcmread(BytesIO(data)))
    frames = [n + 1 for n in np.argsort(ORDER)]  # the frame in which slice 0, 1, ... lies
    found = read.get_pixels_by_source_frame(
        dcmread(BytesIO(source[0])).SOPInstanceUID, frames, segment_numbers=[2], combine_segments=False,
        assert_missing_frames_are_empty=True,
    )[..., 0]  # fmt: skip
    assert np.array_equal(found, labels() == 2)


ORDER = [3, 0, 5, 1, 4, 2]  #: the slice that each frame of the enhanced object is


def _enhanced() -> bytes:
    def group(sequence: str, **values: Any) -> Dataset:
        item, outer = Dataset(), Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(outer, sequence, [item])
        return outer

    shared = group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.update(group("PixelMeasuresSequence", PixelSpacing=[1, 1], SliceThickness=2))
    each = [group("PlanePositionSequence", ImagePositionPatient=[-3, 4, 2 * i]) for i in ORDER]
    ds = dcmread(BytesIO(series(pixels=np.zeros((6, *SHAPE[1:]), np.uint16), NumberOfFrames=6)[0]))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, keyword)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], each
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    out = BytesIO()
    ds.save_as(out)
    return out.getvalue()


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: install {package}")
    return found


def test_dciodvfy_finds_no_error(made: bytes, tmp_path: Path) -> None:
    program = tool("dciodvfy", "dicom3tools")
    (tmp_path / "seg.dcm").write_bytes(made)
    found = subprocess.run([program, tmp_path / "seg.dcm"], capture_output=True, text=True, check=False)
    said = found.stdout + found.stderr
    assert "Segmentation" in said
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_dcmtk_reads_and_draws_it(made: bytes, tmp_path: Path) -> None:
    program = tool("dcm2pnm", "dcmtk")
    (tmp_path / "seg.dcm").write_bytes(made)
    subprocess.run([program, "--frame", "1", tmp_path / "seg.dcm", tmp_path / "one.pgm"], check=True)
    assert (tmp_path / "one.pgm").read_bytes()[:2] in (b"P5", b"P2")
