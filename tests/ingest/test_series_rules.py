"""Rules that ask for a series' slices decide once these are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from models.card import Needs
from tests import bench as benches
from tests.bench import Bench, card
from tests.builders import ROOT, dicom_bytes, write_tree

SCAN = card("scan", "image", "MR").model_copy(
    update={"needs": Needs(kind="image", scope="series", modalities=("MR",))}
)
RULES = """
[[rule]]
name = "long"
match = { path = "mr/**", slices = { min = 4 } }
lane = "stat"
[[rule]]
name = "short"
match = { orientation = "sagittal" }
lane = "off-peak"
"""


@pytest.fixture
def bench(bench_of: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """With these rules, and a model that reads whole MR series."""
    monkeypatch.setattr(benches, "CARDS", (*benches.CARDS, SCAN))
    bench = bench_of()
    bench.settings.rules.write_text(RULES)
    bench.ingest = bench.again()
    return bench


def drop(bench: Bench, count: int) -> None:
    """A whole sagittal series of so many slices, and time enough for it to be decided on."""
    series = f"{ROOT}.{count}"
    tree = {
        f"mr/{n}.dcm": dicom_bytes(
            modality="MR", series_uid=series, sop_uid=f"{series}.{n}",
            InstanceNumber=n, ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[-5.0 * n, 0, 0],
        )
        for n in range(1, count + 1)
    }  # fmt: skip
    write_tree(bench.inbox, tree)
    bench.settle()
    bench.store.now = _later(bench)
    bench.settle()


def _later(bench: Bench) -> Callable[[], object]:
    now = bench.store.now() + timedelta(days=1)
    return lambda: now


@pytest.mark.parametrize(("count", "rule", "lane"), [(5, "long", "stat"), (3, "short", "off-peak")])
def test_the_slices_of_the_series_choose_the_rule(bench: Bench, count: int, rule: str, lane: str) -> None:
    drop(bench, count)
    with bench.store.read() as connection:
        lanes = list(connection.scalars(text("SELECT lane FROM jobs WHERE model = 'scan'")))
        entry = connection.scalar(text("SELECT detail FROM audit WHERE action = 'series:routed'"))
    detail = json.loads(str(entry))
    assert (lanes, detail["rule"], detail["slices"]) == ([lane], rule, count)
