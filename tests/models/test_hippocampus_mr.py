"""The hippocampus family: its gate, both sides, its numbers, its mask, and a real study."""

import dataclasses
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

import models.hippocampus_mr as family
from db.records import Diagnosis
from models.card import read
from models.hippocampus_mr.mask import MASK, read_mask
from models.payloads import Note, Volume

FOLDER = Path(family.__file__).parent
CARD = read(FOLDER)
DATA = Path(os.environ.get("WETREAD_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    import torch

    torch.set_num_threads(1)
    return family.load(CARD, "cpu")


@pytest.fixture(scope="module")
def volume() -> Volume:
    return family.example()


@pytest.fixture(scope="module")
def answer(model: Any, volume: Volume) -> Diagnosis:
    (found,) = model.examine([volume])
    return found


def code(diagnosis: Diagnosis) -> str:
    assert diagnosis.abstained
    assert not diagnosis.findings
    return str(diagnosis.reason).split(":", maxsplit=1)[0]


def amounts(diagnosis: Diagnosis) -> list[float | None]:
    assert not diagnosis.abstained, diagnosis.reason
    return [f.value for f in diagnosis.findings]


def test_weights_keep_within_their_size() -> None:
    assert sum((FOLDER / w.file).stat().st_size for w in CARD.weights) <= 11.5e6


def test_package_and_picture_need_no_torch() -> None:
    program = (
        "import sys, models.hippocampus_mr as f; f.render(f.example(), [], {});"
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"modality": "CT"}, "wrong-modality"),
        ({"modality": ""}, "wrong-modality"),
        ({"even": False}, "uneven-slices"),
        ({"spacing_mm": (6.5, 0.6875, 0.6875)}, "not-cropped-hippocampus"),
        ({"spacing_mm": (1.0, 1.3, 1.0)}, "not-cropped-hippocampus"),
        ({"spacing_mm": (0.79, 1.0, 1.0)}, "not-cropped-hippocampus"),
        ({"voxels": np.random.default_rng(0).random((176, 256, 256), np.float32)}, "not-cropped-hippocampus"),
        ({"voxels": np.random.default_rng(0).random((36, 20, 36), np.float32)}, "not-cropped-hippocampus"),
        ({"voxels": np.full((36, 52, 36), 7, np.float32)}, "empty"),
        ({"voxels": np.full((36, 52, 36), np.nan, np.float32)}, "empty"),
        ({"voxels": np.random.default_rng(0).random((36, 52, 36), np.float32)}, "no-hippocampus"),
    ],
)
def test_what_it_was_not_made_for_is_refused(
    model: Any, volume: Volume, change: dict[str, Any], expected: str
) -> None:
    assert code(model.examine([dataclasses.replace(volume, **change)])[0]) == expected


def test_an_oblique_crop_is_refused(model: Any, volume: Volume) -> None:
    angle = np.radians(40)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert code(model.examine([dataclasses.replace(volume, affine=turn @ volume.affine)])[0]) == "oblique"


def test_volumes_of_one_padded_shape_go_through_together(model: Any, volume: Volume) -> None:
    from models.hippocampus_mr.segment import outlines

    cut = dataclasses.replace(volume, voxels=volume.voxels[:-1])  # one slice less: padded to the same
    small = dataclasses.replace(volume, voxels=volume.voxels[4:, 6:, 2:])
    sizes = []

    def counting(batch: Any) -> Any:
        sizes.append(tuple(batch.shape))
        return model.network(batch)

    together = outlines(counting, [volume, small, cut], "cpu")
    assert sizes == [(4, 1, 40, 56, 40), (2, 1, 40, 48, 32)]  # each both ways
    alone = [outlines(model.network, [one], "cpu")[0] for one in (volume, small, cut)]
    for a, b in zip(together, alone, strict=True):
        assert a.mask.shape == b.mask.shape
        assert (a.mask != b.mask).mean() < 1e-4
        assert a.sureness == pytest.approx(b.sureness, abs=1e-4)


def test_another_payload_abstains_alone(model: Any, volume: Volume) -> None:
    first, second = model.examine([Note(text="no"), volume])
    assert code(first) == "wrong-modality"
    assert len(second.findings) == 3


def test_a_volume_is_its_mask_s_voxels_and_the_whole_the_sum_of_its_parts(answer: Diagnosis) -> None:
    mask = read_mask(answer.artifacts[MASK])
    anterior, posterior, whole = amounts(answer)
    assert (anterior, posterior) == ((mask == 1).sum(), (mask == 2).sum())  # 1 mm3 a voxel
    assert whole == pytest.approx(anterior + posterior)
    assert {f.unit for f in answer.findings} == {"mm3"}


def test_the_slices_areas_add_up_to_the_volume(answer: Diagnosis) -> None:
    for finding in answer.findings:
        areas: Any = finding.evidence["slices"]
        assert sum(area for _, area in areas) == pytest.approx(finding.value)


def test_the_anterior_part_lies_before_the_posterior(answer: Diagnosis) -> None:
    mask = read_mask(answer.artifacts[MASK])
    rows = [np.argwhere(mask == part)[:, 1].mean() for part in (1, 2)]  # rows run to the back
    assert rows[0] < rows[1]


def test_the_mask_opens_as_nifti_where_the_series_lies(answer: Diagnosis, volume: Volume) -> None:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.artifacts[MASK]))
    assert image.shape == volume.voxels.shape
    # LPS to RAS: left and back change their signs
    assert image.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ volume.affine)


def test_the_other_side_gives_the_mirrored_answer(model: Any, volume: Volume, answer: Diagnosis) -> None:
    mirrored = dataclasses.replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, :, ::-1]))
    (found,) = model.examine([mirrored])
    assert np.array_equal(read_mask(found.artifacts[MASK])[:, :, ::-1], read_mask(answer.artifacts[MASK]))
    assert found.findings[0].evidence["mirrored"] != answer.findings[0].evidence["mirrored"]


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (2, 0, 1)])
def test_a_coronal_or_sagittal_series_gives_the_same_answer(
    model: Any, volume: Volume, answer: Diagnosis, axes: tuple[int, int, int]
) -> None:
    affine = volume.affine[:, [*axes, 3]]
    turned = dataclasses.replace(volume, voxels=volume.voxels.transpose(axes), affine=affine)
    (found,) = model.examine([turned])
    assert np.array_equal(read_mask(found.artifacts[MASK]), read_mask(answer.artifacts[MASK]).transpose(axes))


def test_finer_voxels_give_nearly_the_same_volumes(model: Any, volume: Volume, answer: Diagnosis) -> None:
    from scipy.ndimage import zoom

    fine = zoom(volume.voxels, 1.25, order=1, grid_mode=True, mode="nearest")
    steps = np.array(volume.voxels.shape) / fine.shape
    affine = volume.affine @ np.diag([*steps, 1])
    finer = dataclasses.replace(volume, voxels=fine, affine=affine, spacing_mm=tuple(steps))
    assert amounts(model.examine([finer])[0]) == pytest.approx(amounts(answer), rel=0.06)


def test_a_volume_outside_all_that_was_seen_is_left_open_and_named(volume: Volume) -> None:
    model = family.load(CARD, "cpu")
    model.limits["anterior"]["plausible_mm3"] = [1, 2]
    anterior, posterior, _ = model.examine([volume])[0].findings
    assert (anterior.abstained, anterior.value, anterior.positive) == (True, None, False)
    assert str(anterior.reason).startswith("implausible-volume: ")
    assert anterior.evidence["measured_mm3"]
    assert not posterior.abstained


def test_a_network_of_random_weights_outlines_no_hippocampus(volume: Volume) -> None:
    import torch

    model = family.load(CARD, "cpu")
    torch.manual_seed(0)
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    assert code(model.examine([volume])[0]) == "no-hippocampus"


def test_the_picture_shows_both_outlines_and_names_them(answer: Diagnosis, volume: Volume) -> None:
    shown = family.render(volume, answer.findings, answer.artifacts)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(shown.content)).convert("RGB")).reshape(-1, 3)
    colours = {tuple(c) for c in np.unique(pixels, axis=0).tolist()}
    assert {(255, 176, 0), (68, 170, 255)} <= colours
    bare = family.render(volume, (), {})
    pixels = np.asarray(PIL.Image.open(io.BytesIO(bare.content)).convert("RGB"))[100:].reshape(-1, 3)
    assert (255, 176, 0) not in {tuple(c) for c in np.unique(pixels, axis=0).tolist()}


def test_the_example_s_volumes_are_ones_that_were_met_in_training(answer: Diagnosis) -> None:
    # by hand from the 208 training labels: 1,054 to 2,482 and 993 to 2,169 mm3
    anterior, posterior, _ = amounts(answer)
    assert anterior is not None
    assert posterior is not None
    assert 1054 <= anterior <= 2482
    assert 993 <= posterior <= 2169


# ── a real study ──────────────────────────────────────────────────────────────────────────────────


def series(name: str) -> Volume:
    from ingest.volume import assemble

    folder = DATA / "mr" / "study_A"
    if not folder.is_dir():
        pytest.skip("the MR study is not here: set WETREAD_DATA to the folder that holds mr/study_A")
    (found,) = folder.glob(f"*{name}*")
    return assemble([p.read_bytes() for p in found.iterdir()])


def test_the_cropped_series_of_a_real_study_is_measured(model: Any) -> None:
    # another network, trained apart on the same data, gave 1,989 and 1,784 mm3
    anterior, posterior, _ = amounts(model.examine([series("HCropVolume")])[0])
    assert anterior == pytest.approx(1989, rel=0.08)
    assert posterior == pytest.approx(1784, rel=0.08)


def test_the_same_series_in_a_wrong_frame_is_not_recognised(model: Any) -> None:
    cropped = series("HCropVolume")
    wrong = dataclasses.replace(cropped, affine=cropped.affine @ np.diag([1, -1, -1, 1]))
    assert code(model.examine([wrong])[0]) == "no-hippocampus"


@pytest.mark.parametrize("name", ["T1post", "T1prereg", "FLAIRreg", "T2reg"])
def test_the_whole_heads_of_the_study_are_refused(model: Any, name: str) -> None:
    assert code(model.examine([series(name)])[0]) == "not-cropped-hippocampus"


def test_evidence_says_how_sure_and_within_which_limits(answer: Diagnosis) -> None:
    told: Any = json.loads(json.dumps(dict(answer.findings[0].evidence)))
    assert CARD.threshold("expected_dice") <= told["expected_dice"] <= 1
    low, high = told["interval_mm3"]
    assert low < told["measured_mm3"] < high
