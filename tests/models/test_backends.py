"""A faster back-end answers as the reference does, or is not used."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from db.errors import Misconfigured
from models import backends, optimise, registry
from models.backends import REFERENCE, Measured
from models.chest_xray import variations

TRIED = [name for name in backends.names("cpu") if name != "onnxruntime-fp32"]  # its export takes ten seconds


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters speak of libraries that are not asked for
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backends, "names", lambda _: tuple(TRIED))
            return optimise.optimise("chest-xray", "cpu", variations(6))


def test_every_back_end_was_measured_the_reference_first(measured: list[Measured]) -> None:
    assert [m.backend for m in measured] == TRIED
    assert (measured[0].admitted, measured[0].worst, measured[0].speedup) == (True, 0.0, 1.0)


def test_single_precision_agrees_to_a_millionth(measured: list[Measured]) -> None:
    exact = [m for m in measured if m.backend.endswith("fp32")]
    assert all(m.worst <= 1e-6 and m.agreement == 1.0 for m in exact)


def test_a_back_end_that_differs_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "names", lambda _: (REFERENCE, "torch-bf16"))
    monkeypatch.setattr(optimise, "NEAR", 0.0)
    _, bf16 = optimise.optimise("chest-xray", "cpu", variations(2))
    assert not bf16.admitted
    assert "differs" in bf16.reason


def test_a_model_with_one_way_to_compute_says_so() -> None:
    with pytest.raises(Misconfigured, match="nothing to choose"):
        optimise.optimise("note-assertion", "cpu", [])


def test_the_fastest_admitted_of_this_machine_is_used(tmp_path: Path, measured: list[Measured]) -> None:
    card = registry.card("chest-xray")
    quick = replace(measured[1], backend="torch-bf16", seconds=1e-9, admitted=True)
    backends.record(tmp_path, [measured[0], quick])
    assert backends.fastest(tmp_path, card, "cpu") == "torch-bf16"
    backends.record(tmp_path, [measured[0], replace(quick, admitted=False)])
    assert backends.fastest(tmp_path, card, "cpu") == REFERENCE


@pytest.mark.parametrize(
    "other", [{"machine": "another"}, {"weights_sha256": "f" * 64}, {"device": "cuda:0"}]
)
def test_what_another_machine_or_weights_measured_counts_for_nothing(
    tmp_path: Path, measured: list[Measured], other: dict[str, str]
) -> None:
    backends.record(tmp_path, [replace(measured[1], seconds=1e-9, admitted=True, **other)])  # type: ignore[arg-type]
    assert backends.fastest(tmp_path, registry.card("chest-xray"), "cpu") == REFERENCE


def test_a_damaged_record_leaves_the_reference(tmp_path: Path) -> None:
    (tmp_path / backends.FILE).write_text("{", "utf-8")
    assert backends.fastest(tmp_path, registry.card("chest-xray"), "cpu") == REFERENCE


def test_the_map_needs_no_pass_backwards() -> None:
    """The same as captum's Grad-CAM of each member, added up."""
    from captum.attr import LayerGradCam

    from models.chest_xray.network import Together, standardise

    model = registry.load("chest-xray", "cpu")
    films = torch.rand(2, 1, 160, 160, generator=torch.Generator().manual_seed(1))
    seen = standardise(films).requires_grad_()
    expected = torch.zeros(2, 10, 10)
    for member in model.members:  # type: ignore[attr-defined]

        def margin(x: torch.Tensor, member: torch.nn.Module = member) -> torch.Tensor:
            logits = member(x)
            return logits[:, 1:].logsumexp(1) - logits[:, 0]  # type: ignore[no-any-return]

        expected += (
            LayerGradCam(margin, member.body[-1]).attribute(seen, relu_attributions=True).detach()[:, 0]
        )
    with torch.inference_mode():
        found = Together(model.members).eval()(films)[:, 3:].reshape(2, 10, 10)  # type: ignore[attr-defined]
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-4)
