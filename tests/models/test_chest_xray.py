"""The chest radiograph family: its example, its gate, its answers' steadiness."""

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.chest_xray as family
from db.records import Diagnosis
from models.card import read
from models.payloads import Image, Note

FOLDER = Path(family.__file__).parent
CARD = read(FOLDER)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    import torch

    torch.set_num_threads(1)
    return family.load(CARD, "cpu")


@pytest.fixture(scope="module")
def film() -> Image:
    return family.example()


def with_pixels(film: Image, pixels: np.ndarray) -> Image:
    return dataclasses.replace(film, pixels=np.ascontiguousarray(pixels, dtype=np.float32))


def resized(film: Image, rows: int, columns: int) -> np.ndarray:
    image = PIL.Image.fromarray(film.pixels)
    return np.clip(np.asarray(image.resize((columns, rows), PIL.Image.Resampling.BICUBIC)), 0, 1)


def probability(diagnosis: Diagnosis) -> float:
    assert not diagnosis.abstained, diagnosis.reason
    found = diagnosis.findings[0].probability
    assert found is not None
    return found


def code(diagnosis: Diagnosis) -> str:
    assert diagnosis.abstained
    assert not diagnosis.findings
    return str(diagnosis.reason).split(":", maxsplit=1)[0]


def test_card_names_the_weights_that_are_here() -> None:
    CARD.verify()
    assert sum((FOLDER / w.file).stat().st_size for w in CARD.weights) <= 16e6


def test_package_is_imported_without_torch() -> None:
    program = "import sys, models.chest_xray as f; f.example(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_example_gives_the_findings_it_is_published_with(model: Any, film: Image) -> None:
    expected = json.loads((FOLDER / "example" / "expected.json").read_text("utf-8"))
    assert (expected["model"], expected["version"]) == (CARD.name, CARD.version)
    found = model.examine([film])[0].findings
    assert [f.code.value for f in found] == [e["code"] for e in expected["findings"]]
    for finding, told in zip(found, expected["findings"], strict=True):
        assert finding.positive == told["positive"]
        assert finding.probability == pytest.approx(told["probability"], abs=1e-4)
        assert finding.threshold == pytest.approx(told["threshold"], abs=1e-9)


def test_healthy_example_is_negative_and_asks_no_kind(model: Any) -> None:
    diagnosis = model.examine([family.example("film-normal.png")])[0]
    assert [f.code.meaning for f in diagnosis.findings] == ["Pneumonia"]
    assert not diagnosis.findings[0].positive
    assert not diagnosis.artifacts


def test_batch_mates_do_not_change_a_result(model: Any, film: Image) -> None:
    normal = family.example("film-normal.png")
    mates = [normal, film, with_pixels(film, np.zeros((300, 300))), film, normal, film, film]
    alone = [model.examine([m])[0] for m in mates[:2]]
    together = model.examine(mates)
    assert probability(together[0]) == pytest.approx(probability(alone[0]), abs=1e-6)
    assert probability(together[1]) == pytest.approx(probability(alone[1]), abs=1e-6)
    assert code(together[2]) == "empty"
    peaks = [d.findings[0].evidence["peak_row"] for d in (together[1], alone[1])]
    assert peaks[0] == peaks[1]


def test_nothing_in_nothing_out(model: Any) -> None:
    assert model.examine([]) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"modality": "MR"}, "wrong-modality"),
        ({"modality": ""}, "wrong-modality"),
        ({"view_position": "LL"}, "not-frontal"),
        ({"view_position": "LATERAL"}, "not-frontal"),
        ({"description": "LATERAL PROJECTION"}, "not-frontal"),
        ({"body_part": "HAND"}, "not-chest"),
        ({"burned_in": True}, "burned-in"),
        ({"colour": True}, "colour"),
        ({"frames": 12}, "multi-frame"),
    ],
)
def test_header_that_forbids_is_refused(model: Any, film: Image, change: dict, expected: str) -> None:
    assert code(model.examine([dataclasses.replace(film, **change)])[0]) == expected


@pytest.mark.parametrize(
    "change", [{"body_part": ""}, {"body_part": "RIBS"}, {"view_position": ""}, {"modality": "CR"}]
)
def test_header_that_is_silent_is_no_reason(model: Any, film: Image, change: dict) -> None:
    assert not model.examine([dataclasses.replace(film, **change)])[0].abstained


def test_every_reason_is_on_the_card() -> None:
    source = (FOLDER / "gate.py").read_text("utf-8")
    told = {
        line.split('Abstained("')[1].split('"')[0] for line in source.splitlines() if 'Abstained("' in line
    }
    assert told <= set(CARD.abstains)


def test_note_is_no_film(model: Any) -> None:
    assert code(model.examine([Note(text="cough")])[0]) == "wrong-modality"


def picture(kind: str, film: Image) -> np.ndarray:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:1:300j, 0:1:300j]
    return {
        "thumbnail": lambda: resized(film, 28, 28),
        "flat": lambda: np.full((300, 300), 0.5),
        "noise": lambda: rng.random((300, 300)),
        "not-finite": lambda: np.full((300, 300), np.nan),
        "gradient": lambda: (x + y) / 2,
        "disc": lambda: (np.hypot(x - 0.5, y - 0.5) < 0.3).astype(float),
        "stripes": lambda: 0.5 + 0.5 * np.sin(40 * y),
        "quarter-turn": lambda: np.rot90(film.pixels),
        "upside-down": lambda: np.rot90(film.pixels, 2),
        "inverted": lambda: 1 - film.pixels,
        "corner": lambda: resized(with_pixels(film, film.pixels[:100, :110]), 300, 330),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("thumbnail", "too-small"), ("flat", "empty"), ("noise", "empty"), ("not-finite", "empty")]
    + [
        (k, "out-of-domain")
        for k in ("gradient", "disc", "stripes", "quarter-turn", "upside-down", "inverted", "corner")
    ],
)
def test_picture_that_is_no_upright_film_is_refused(
    model: Any, film: Image, kind: str, expected: str
) -> None:
    assert code(model.examine([with_pixels(film, picture(kind, film))])[0]) == expected


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_bit_depth_hardly_moves_the_result(model: Any, film: Image, bits: int) -> None:
    top = 2**bits - 1
    coarse = np.round(film.pixels * top) / top
    assert probability(model.examine([with_pixels(film, coarse)])[0]) == pytest.approx(
        probability(model.examine([film])[0]), abs=0.005
    )


def test_slight_window_change_hardly_moves_the_result(model: Any, film: Image) -> None:
    before = probability(model.examine([film])[0])
    dimmed = with_pixels(film, 0.1 + 0.7 * film.pixels)
    narrowed = with_pixels(film, np.clip((film.pixels - 0.02) / 0.95, 0, 1))
    assert probability(model.examine([dimmed])[0]) == pytest.approx(before, abs=0.01)
    assert probability(model.examine([narrowed])[0]) == pytest.approx(before, abs=0.05)


@pytest.mark.parametrize("factor", [2, 6])
def test_resolution_hardly_moves_the_result(model: Any, film: Image, factor: int) -> None:
    rows, columns = film.pixels.shape
    large = with_pixels(film, resized(film, factor * rows, factor * columns))
    assert probability(model.examine([large])[0]) == pytest.approx(
        probability(model.examine([film])[0]), abs=0.03
    )


def test_black_collimation_border_hardly_moves_the_result(model: Any, film: Image) -> None:
    framed = with_pixels(film, np.pad(film.pixels, ((30, 40), (50, 20))))
    assert probability(model.examine([framed])[0]) == pytest.approx(
        probability(model.examine([film])[0]), abs=0.1
    )


def test_number_that_is_not_finite_is_an_error_never_normal(film: Image) -> None:
    broken: Any = family.load(CARD, "cpu")
    broken.network.members[0].head.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        broken.examine([film])


def test_gate_that_is_not_finite_is_an_error(film: Image) -> None:
    broken: Any = family.load(CARD, "cpu")
    broken.gate.network.members[0].head.bias.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError):
        broken.examine([film])


def test_heat_map_is_evidence_in_source_pixels(model: Any, film: Image) -> None:
    diagnosis = model.examine([film])[0]
    evidence = diagnosis.findings[0].evidence
    assert evidence["kind"] == "grad-cam"
    rows, columns = film.pixels.shape
    assert (evidence["rows"], evidence["columns"]) == (rows, columns)
    assert 0 <= evidence["peak_row"] < rows
    assert 0 <= evidence["peak_column"] < columns
    json.dumps(dict(evidence))
    with PIL.Image.open(io.BytesIO(diagnosis.artifacts[str(evidence["artifact"])])) as heat:
        assert heat.mode == "L"
        table = np.asarray(heat)
    row, column = np.unravel_index(table.argmax(), table.shape)
    assert abs(int(evidence["peak_row"]) / rows - row / table.shape[0]) < 0.02
    assert abs(int(evidence["peak_column"]) / columns - column / table.shape[1]) < 0.02
    assert table.max() == 255


def test_bacterial_and_viral_are_answered_together_or_left_open_together(model: Any) -> None:
    for share in np.linspace(0.01, 0.99, 33):
        one, two = model._kind(float(share))
        assert one.probability + two.probability == pytest.approx(1)
        assert one.abstained == two.abstained == (not (one.positive or two.positive))
        assert not (one.positive and two.positive)
        assert (one.reason or "indeterminate:").startswith("indeterminate:")
        assert one.evidence["kind"] == two.evidence["kind"] == "comparison"
        # the odds that the probability says, and the other kind's are their reciprocal
        assert one.evidence["log_odds"] == pytest.approx(np.log(share / (1 - share)), abs=1e-3)
        assert one.evidence["log_odds"] == -two.evidence["log_odds"]


def test_picture_shows_the_heat_on_the_film(model: Any, film: Image) -> None:
    diagnosis = model.examine([film])[0]
    shown = family.render(film, diagnosis.findings, diagnosis.artifacts)
    assert shown.media_type == "image/png"
    with PIL.Image.open(io.BytesIO(shown.content)) as picture:
        table = np.asarray(picture.convert("RGB")).astype(int)
    rows, columns = film.pixels.shape
    looked = table[:rows, :columns]
    assert (looked[:, :, 0] - looked[:, :, 2]).max() > 60  # red where the network looked
    assert table.shape[0] > rows  # numbers, colour bar and caution beneath
    plain = family.render(film, (), {})
    with PIL.Image.open(io.BytesIO(plain.content)) as picture:
        grey = np.asarray(picture.convert("RGB")).astype(int)
    assert (grey[:, :, 0] == grey[:, :, 2]).all()


def test_a_network_of_random_weights_shows_another_map(film: Image) -> None:
    """The sanity check of Adebayo 2018: a map that did not change would show the film, not the network."""
    import torch

    from models.chest_xray.network import FILM
    from models.chest_xray.prepare import prepare

    true: Any = family.load(CARD, "cpu")
    random: Any = family.load(CARD, "cpu")
    generator = torch.Generator().manual_seed(1)
    for parameter in random.network.parameters():
        parameter.data.copy_(
            torch.randn(parameter.shape, generator=generator) * parameter.std().nan_to_num(0.1)
        )
    square = torch.from_numpy(prepare(film.pixels, FILM.side).pixels)[None, None]
    maps = [model.heat(square)[0] for model in (true, random)]
    assert np.abs(maps[0] - maps[1]).mean() > 0.1  # of maps whose highest place is 1


@given(st.integers(3, 90), st.integers(3, 90), st.integers(0, 9), st.sampled_from([0.5, 90, 99.5]))
def test_percentiles_are_numpys_to_the_last_bit(rows: int, columns: int, seed: int, share: float) -> None:
    from models.chest_xray.prepare import _percentile

    values = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    assert _percentile(np.sort(values, axis=None), share) == np.percentile(values, (share,))[0]
    for axis in (0, 1):
        found = _percentile(np.sort(values, axis=axis), share, axis)
        np.testing.assert_array_equal(found, np.percentile(values, share, axis=axis), strict=True)


def test_films_prepared_ahead_are_answered_as_films_are(model: Any, film: Image) -> None:
    other = with_pixels(film, np.zeros_like(film.pixels))
    films = [other, film]
    assert model.examine_prepared([model.prepare(f) for f in films]) == model.examine(films)


def test_the_gate_as_one_network_is_the_mean_of_its_members_and_views(model: Any, film: Image) -> None:
    import torch

    from models.chest_xray.gate import margins
    from models.chest_xray.prepare import prepare

    square = torch.from_numpy(prepare(film.pixels, 160).pixels)[None, None].repeat(3, 1, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.gate.strangeness(square), margins(model.gate.members, square), rtol=1e-4, atol=1e-4
        )
