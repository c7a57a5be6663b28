"""A model's card at the console, and what was measured of the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import backends, registry
from models.backends import REFERENCE, Measured
from tests.asking import Wetread

pytestmark = pytest.mark.usefixtures("own_models")


def measured(backend: str, **more: object) -> Measured:
    card = registry.card("chest-xray")
    told = {"machine": backends.machine(), "weights_sha256": card.weights_sha256, "admitted": True} | more
    return Measured(
        model=card.name, device="cpu", backend=backend, seconds=0.01, inputs=8, decisions=8, agreement=1.0,
        speedup=1.0 if backend == REFERENCE else 2.0, worst=0.0, reason="", at="2026-01-01", **told,
    )  # type: ignore[arg-type]  # fmt: skip


def used(wetread: Wetread, home: Path) -> dict[str, bool]:
    said = wetread("models", "card", "chest-xray", "--home", str(home), "--json")
    return {entry["backend"]: entry["used"] for entry in json.loads(said.out)["backends"]}


@pytest.fixture
def optimised(tmp_path: Path) -> Path:
    found = [measured(REFERENCE), measured("torch-bf16")]
    backends.record(tmp_path / "models", [*found, measured("openvino-fp32", admitted=False)])
    return tmp_path


def test_a_card_says_which_back_end_is_used_of_those_measured(wetread: Wetread, optimised: Path) -> None:
    assert used(wetread, optimised) == {REFERENCE: False, "torch-bf16": True, "openvino-fp32": False}
    assert "torch-bf16" in wetread("models", "card", "chest-xray", "--home", str(optimised)).out


def test_a_card_says_so_where_the_reference_was_asked_for(
    wetread: Wetread, optimised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETREAD_BACKEND", "reference")
    assert used(wetread, optimised)[REFERENCE]


@pytest.mark.parametrize("other", [{"machine": "another"}, {"weights_sha256": "f" * 64}])
def test_what_another_machine_or_weights_measured_is_not_on_the_card(
    wetread: Wetread, tmp_path: Path, other: dict[str, str]
) -> None:
    backends.record(tmp_path / "models", [measured("torch-bf16", **other)])
    assert used(wetread, tmp_path) == {}
