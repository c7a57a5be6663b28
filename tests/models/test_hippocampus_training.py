"""The hippocampus recipe: its measures by hand, its augmentation, and a short training that serves."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import models.hippocampus_mr as family
from db.errors import Rejected
from models.hippocampus_mr.data import read, standardise
from models.hippocampus_mr.measure import agreement, dice, hd95_mm

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def box(start: int) -> np.ndarray:
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[start : start + 4, 2:6, 2:6] = 1
    return mask


def test_dice_is_twice_the_shared_over_both() -> None:
    assert dice(box(2), box(3), 1) == pytest.approx(2 * 48 / (64 + 64))  # 3 of 4 layers of 16 shared
    assert dice(box(2), box(8), 1) == 0
    assert dice(box(2), box(3), 2) == 1  # neither has any


def test_surfaces_of_a_shifted_box_are_as_far_apart_as_the_shift() -> None:
    # the two end faces (16 of 56 surface voxels each) lie one step, 2 mm, from the other box's surface
    assert hd95_mm(box(2), box(3), 1, (2, 1, 1)) == pytest.approx(2)
    assert hd95_mm(box(2), box(2), 1, (2, 1, 1)) == 0


def test_a_missing_part_is_the_worst_there_can_be() -> None:
    assert hd95_mm(np.zeros_like(box(2)), box(2), 1, (1, 1, 1)) == pytest.approx(np.sqrt(3 * 144))


def test_volumes_are_answered_over_true() -> None:
    smaller = box(2)
    smaller[2] = 0
    assert agreement(smaller, box(2), (1, 1, 1)).volumes == (0.75, 0.0, 0.75)


def test_expected_dice_is_the_ratio_of_what_the_shares_expect() -> None:
    from models.hippocampus_mr.segment import expected_dice

    shares = np.zeros((3, 4, 1, 1), np.float32)
    shares[:, 0, 0, 0] = 0.1, 0.9, 0  # answered anterior
    shares[:, 1, 0, 0] = 0.7, 0.3, 0  # background
    shares[:, 2, 0, 0] = 0, 0, 1  # answered posterior
    shares[:, 3, 0, 0] = 1, 0, 0
    # anterior 2 x .9 / (1 + 1.2), posterior 2 x 1 / (1 + 1)
    assert expected_dice(shares) == pytest.approx((1.8 / 2.2 + 1) / 2)


def test_standardised_volumes_do_not_depend_on_the_scanner_s_scale() -> None:
    image = np.random.default_rng(0).gamma(2, 1, (20, 20, 20)).astype(np.float32)
    assert standardise(image * 1e5 + 7) == pytest.approx(standardise(image), abs=1e-3)


def test_a_crop_s_labels_stay_on_its_image() -> None:
    from models.hippocampus_mr.augment import CROP, Augmentation, crop

    torch.manual_seed(0)
    middle = torch.zeros(40, 54, 38)
    middle[14:26, 16:36, 12:26] = 1
    parts = torch.stack([middle, torch.zeros_like(middle)])
    for _ in range(8):
        seen, labels = crop(middle[None], parts, Augmentation())
        assert (seen.shape[1:], labels.shape) == (torch.Size(CROP), torch.Size(CROP))
        assert torch.equal(seen[0] > 0.5, labels == 1)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much() -> None:
    from models.hippocampus_mr.train import loss

    labels = torch.randint(0, 3, (2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    right = 50 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    heads = torch.stack([right, right], 1)
    assert float(loss(heads, labels, (1.0, 0.5))) == pytest.approx(0, abs=1e-3)
    assert float(loss(-heads, labels, (1.0, 0.5))) > 10


def folder(root: Path, count: int) -> Path:
    """A data set of the example volume under several noises, labelled by the serving model."""
    from models.hippocampus_mr.mask import MASK, read_mask

    volume = family.example()
    (answer,) = family.load(family_card(), "cpu").examine([volume])
    mask = read_mask(answer.artifacts[MASK])
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for index in range(count):
        voxels = volume.voxels + rng.normal(0, 20, volume.voxels.shape) * index
        nibabel.Nifti1Image(voxels.astype(np.float32), affine).to_filename(root / f"images/{index}.nii.gz")
        nibabel.Nifti1Image(mask, affine).to_filename(root / f"labels/{index}.nii.gz")
    return root


def family_card():  # type: ignore[no-untyped-def]
    from models.card import read as read_card

    return read_card(Path(family.__file__).parent)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the network and its crops small, from when it is called, and its arithmetic repeatable."""
    from models.hippocampus_mr import augment, network, train

    def shrink() -> None:
        monkeypatch.setattr(network, "FILTERS", (4, 4, 8, 8))
        monkeypatch.setattr(augment, "CROP", (16, 16, 16))
        # two runs in bfloat16 differ in their last bits, which the first steps of Adam enlarge
        monkeypatch.setattr(train, "bf16_pays", lambda device: False)

    return shrink


def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    tmp_path: Path, small: Callable[[], None]
) -> None:
    from models.hippocampus_mr import train

    learn = read(folder(tmp_path / "data", 2))
    small()
    recipe = dataclasses.replace(train.RECIPE, steps=2, every=1, batch=1)
    kept = tmp_path / "checkpoints" / "unet.safetensors"

    def killed(step: int, network: torch.nn.Module, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    at_once = train.fit(learn, recipe, seed=3, minutes=None, each=lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        train.fit(learn, recipe, seed=3, minutes=None, each=killed, resume=kept)
    after = train.fit(learn, recipe, seed=3, minutes=None, each=lambda *_: None, resume=kept)
    for one, other in zip(at_once.parameters(), after.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_evaluation_of_its_own_outline_is_perfect(tmp_path: Path) -> None:
    from models.hippocampus_mr.evaluate import evaluate

    found = evaluate(folder(tmp_path, 2))
    assert found["n"] == 2
    assert found["dice_anterior"]["value"] > 0.95  # the first volume is the example itself: 1
    assert found["dice_anterior"]["high"] == 1
    assert found["hd95_mm"]["low"] == 0
    assert found["volume_error_percent"]["low"] == 0
    assert (found["refused"], found["mirrored"]) == (0, 0)


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="unknown-layout"):
        read(tmp_path)


def test_a_short_training_ends_as_a_folder_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Callable[[], None]
) -> None:
    from models.card import read as read_card
    from models.hippocampus_mr import train

    monkeypatch.setattr(train, "RECIPE", dataclasses.replace(train.RECIPE, steps=2, every=1, batch=2))
    lines: list[str] = []
    data = folder(tmp_path / "data", 5)
    small()
    train.train(data, tmp_path / "out", progress=lines.append)
    card = read_card(tmp_path / "out")
    card.verify()
    assert card.version.endswith("+retrained")
    assert len(lines) == 2
    told = json.loads((tmp_path / "out" / "figures.json").read_text("utf-8"))
    assert len(told["held"]) == 1
    (answer,) = family.load(card, "cpu").examine([family.example()])
    assert answer.abstained  # two steps teach nothing
