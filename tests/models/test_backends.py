"""A faster back-end answers as the reference does, or is not used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from db.errors import Misconfigured
from db.logs import get
from db.records import Diagnosis
from models import backends, optimise, registry
from models.backends import REFERENCE, Measured
from models.chest_xray import variations
from models.hippocampus_mr.mask import MASK, nifti
from models.optimise import Compared
from worker.runtime import Runtime, backend_of

TRIED = [n for n in backends.names("cpu") if n not in ("onnxruntime-fp32", "openvino-bf16")]  # slow to build


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "names", lambda _: tuple(TRIED))
        patch.setattr(optimise, "ROUNDS", 1)
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
    monkeypatch.setattr(optimise, "ROUNDS", 1)
    _, bf16 = optimise.optimise("chest-xray", "cpu", variations(2))
    assert not bf16.admitted
    assert "differs" in bf16.reason


@pytest.mark.parametrize(("name", "count"), [("ecg-beat", 2), ("hippocampus-mr", 1)])
def test_volumes_and_recordings_have_the_same_choice(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "names", lambda _: tuple(TRIED))
    monkeypatch.setattr(optimise, "ROUNDS", 1)
    found = optimise.optimise(name, "cpu", registry.family(name).variations(count))  # type: ignore[attr-defined]
    assert [m.backend for m in found] == TRIED
    assert not [m.reason for m in found if "built" in m.reason]
    assert all(m.admitted for m in found if m.backend.endswith("fp32"))
    assert all(m.decisions > 90 for m in found)  # beats and voxels, not findings alone


def test_what_inputs_are_derived_is_read_and_not_refused() -> None:
    for name, count in (("ecg-beat", 8), ("hippocampus-mr", 2), ("chest-xray", 8)):
        inputs = registry.family(name).variations(count)  # type: ignore[attr-defined]
        assert not any(d.abstained for d in registry.load(name, "cpu").examine(inputs)), name


GOOD = {"decisions": 5000, "findings": 1.0, "parts": 1.0, "probability": 0.0, "value": 0.0}


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"probability": 2e-6}, "a probability differs"),
        ({"value": 0.002}, "a value differs"),
        ({"findings": 0.9995}, "of the findings"),
        ({"parts": 0.998}, "they are made of"),
    ],
)
def test_each_bound_of_single_precision_is_held(worse: dict[str, float], said: str) -> None:
    assert not optimise.refusal(Compared(**GOOD), exact=True)  # type: ignore[arg-type]
    assert said in optimise.refusal(Compared(**GOOD | worse), exact=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        ({"probability": 0.021}, "a probability differs"),
        ({"value": 0.011}, "a value differs"),
        ({"findings": 0.998}, "of the findings"),
        ({"parts": 0.998}, "they are made of"),
    ],
)
def test_each_bound_of_half_precision_is_held(worse: dict[str, float], said: str) -> None:
    near = GOOD | {"probability": 0.019, "value": 0.009, "findings": 0.9991, "parts": 0.9991}
    assert not optimise.refusal(Compared(**near), exact=False)  # type: ignore[arg-type]
    assert said in optimise.refusal(Compared(**near | worse), exact=False)  # type: ignore[arg-type]


def test_an_abstention_is_the_same_by_its_code() -> None:
    one, same, other = (
        [Diagnosis.abstain(code, words)]
        for code, words in (("blur", "Dice .87"), ("blur", "Dice .86"), ("empty", "none"))
    )
    assert optimise.compared(one, same).findings == 1
    assert optimise.compared(one, other).findings == 0


def test_voxels_count_where_either_outlines_them() -> None:
    family = registry.family("hippocampus-mr")
    one, other = np.zeros((2, 3, 4, 5), np.uint8)
    one[0, 0], other[0, 0, :4] = 1, 1  # five voxels, of which the other leaves one out
    masks = [Diagnosis(findings=(), artifacts={MASK: nifti(mask, np.eye(4))}) for mask in (one, other)]
    assert family.alike(*masks) == (4, 5)  # type: ignore[attr-defined]


def test_beats_count_where_both_see_one_class() -> None:
    family = registry.family("ecg-beat")
    (recording,) = family.variations(1)  # type: ignore[attr-defined]
    (found,) = registry.load("ecg-beat", "cpu").examine([recording])
    beats = int(found.findings[0].evidence["of"])  # type: ignore[call-overload]
    listed: list[object] = found.findings[0].evidence["beats"]  # type: ignore[assignment]
    assert family.alike(found, found) == (beats, beats)  # type: ignore[attr-defined]
    fewer = replace(found.findings[0], evidence={**found.findings[0].evidence, "beats": listed[1:]})
    other = replace(found, findings=(fewer, *found.findings[1:]))
    assert family.alike(found, other) == (beats - 1, beats)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["chest-xray", "ecg-beat", "hippocampus-mr"])
def test_a_worker_takes_the_fastest_admitted_and_names_it(name: str, tmp_path: Path) -> None:
    card = registry.card(name)
    backends.record(tmp_path, [entry(name, "torch-fp32", 1.0), entry(name, "torch-bf16", 1.5)])
    for folder, expected in ((None, "torch-fp32"), (tmp_path, "torch-bf16")):
        runtime = Runtime("cpu", folder=folder)
        runtime.load([card])
        assert backend_of(runtime.models[name]) == expected


def test_a_back_end_that_no_longer_builds_leaves_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("a library is damaged")

    backends.record(tmp_path, [entry("ecg-beat", "torch-bf16", 1.5)])
    monkeypatch.setattr(backends, "_torch_bf16", broken)
    runtime = Runtime("cpu", folder=tmp_path)
    runtime.load([registry.card("ecg-beat")])
    assert not runtime.refused
    assert backend_of(runtime.models["ecg-beat"]) == REFERENCE


def test_a_back_end_that_no_longer_answers_as_the_reference_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(network: torch.nn.Module, *_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda batch: -network(batch)

    backends.record(tmp_path, [entry("ecg-beat", "torch-bf16", 1.5)])
    monkeypatch.setattr(backends, "_torch_bf16", spoilt)
    monkeypatch.setattr(optimise, "NEAR", 1e-6)  # however little the networks weigh in a reading
    monkeypatch.setattr(optimise, "log", get("models"))  # one that was used before stays as it was
    with capture_logs() as said:
        runtime = Runtime("cpu", folder=tmp_path)
        runtime.load([registry.card("ecg-beat")])
    assert backend_of(runtime.models["ecg-beat"]) == REFERENCE
    assert [str(s["error"])[:21] for s in said if s["event"] == "backend_failed"] == ["a probability differs"]


def entry(name: str, backend: str, speedup: float) -> Measured:
    return Measured(
        model=name, weights_sha256=registry.card(name).weights_sha256, machine=backends.machine(),
        device="cpu", backend=backend, seconds=1.0, speedup=speedup, inputs=1, decisions=1, agreement=1.0,
        worst=0.0, admitted=True, reason="", at="2026-01-01",
    )  # fmt: skip


def small() -> torch.nn.Sequential:
    """A network whose terms never cancel, so that half precision is right to a share of each answer."""
    convolution = torch.nn.Conv2d(1, 3, 3)
    for weights in convolution.parameters():
        torch.nn.init.uniform_(weights, 0.1, 0.3)
    return torch.nn.Sequential(convolution, torch.nn.ReLU()).eval()


@pytest.mark.parametrize("name", [n for n in backends.names("cpu") if "torch" not in n])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_in_parts_is_the_batch(name: str, threads: int, torch_threads: Callable[[int], None]) -> None:
    net = small()
    torch_threads(threads)
    compute = backends.build(name, net, torch.zeros(2, 1, 8, 8), {2: 4})
    for count, rows in ((1, 8), (2, 12), (7, 8)):
        batch = torch.rand(count, 1, rows, 8)
        with torch.inference_mode():
            assert torch.allclose(compute(batch), net(batch), rtol=0.02 if "bf16" in name else 1e-5)


@pytest.mark.parametrize("name", backends.names("cpu"))
def test_batches_side_by_side_each_get_their_own_answers(
    name: str, torch_threads: Callable[[int], None]
) -> None:
    net = small()
    torch_threads(2)
    compute = backends.build(name, net, torch.zeros(2, 1, 8, 8))
    batches = [torch.full((1 + n % 3, 1, 8, 8), 1.1**n) for n in range(40)]

    def answer(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return compute(batch)

    with ThreadPoolExecutor(2, initializer=partial(torch.set_num_threads, 1)) as lanes:
        for batch, answers in zip(batches, lanes.map(answer, batches), strict=True):
            with torch.inference_mode():
                assert torch.allclose(answers, net(batch), rtol=0.02)


@pytest.mark.parametrize(
    ("name", "exporter"), [("openvino-fp32", "jit.trace"), ("onnxruntime-fp32", "onnx.export")]
)
def test_networks_are_exported_one_after_the_other(
    name: str, exporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exports at once spoil each other's graphs: what torch keeps meanwhile belongs to the process."""
    if name not in backends.names("cpu"):
        pytest.skip(f"no {name} here")
    both, together = threading.Barrier(2), []

    def meets(*_: object, **__: object) -> None:
        with suppress(threading.BrokenBarrierError):
            together.append(both.wait(0.3))
        raise OSError("long enough")

    monkeypatch.setattr(f"torch.{exporter}", meets)
    with ThreadPoolExecutor(2) as loaders:
        built = [loaders.submit(backends.build, name, small(), torch.zeros(2, 1, 8, 8)) for _ in range(2)]
        assert [str(b.exception()) for b in built] == ["long enough"] * 2
    assert not together


@pytest.mark.parametrize("name", [n for n in backends.names("cpu") if "torch" not in n])
def test_the_gate_s_network_takes_any_number_of_films(name: str) -> None:
    gate = registry.load("chest-xray", "cpu").gate  # type: ignore[attr-defined]
    gate.use(name)
    for count in (1, 3, 8):
        films = torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            assert torch.allclose(gate._compute(films), gate.network(films), rtol=0.05, atol=0.05)


def test_back_ends_are_compared_on_batches_of_several_sizes() -> None:
    sizes: list[int] = []

    class Counting:
        def examine(self, payloads: Sequence[object]) -> list[Diagnosis]:
            sizes.append(len(payloads))
            return [Diagnosis()] * len(payloads)

    assert len(optimise._answers(Counting(), variations(1) * 20)) == 20
    assert sizes == [1, 7, 8, 2, 1, 1]


def test_a_lane_s_threads_are_its_own(torch_threads: Callable[[int], None]) -> None:
    torch_threads(2)
    with ThreadPoolExecutor(1, initializer=partial(torch.set_num_threads, 1)) as lane:
        assert lane.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 2


def test_a_model_with_one_way_to_compute_says_so() -> None:
    with pytest.raises(Misconfigured, match="nothing to choose"):
        optimise.optimise("note-assertion", "cpu", [])


def test_the_fastest_admitted_of_this_machine_is_used(tmp_path: Path, measured: list[Measured]) -> None:
    card = registry.card("chest-xray")
    quick = replace(measured[1], backend="torch-bf16", speedup=1e9, admitted=True)
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
    backends.record(tmp_path, [replace(measured[1], speedup=1e9, admitted=True, **other)])  # type: ignore[arg-type]
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


def test_a_batch_for_a_gpu_is_copied_from_pinned_memory_without_waiting() -> None:
    asked: list[object] = []

    class Batch:
        def pin_memory(self) -> Batch:
            asked.append("pinned")
            return self

        def to(self, device: str, *, non_blocking: bool) -> Batch:
            asked.append((device, non_blocking))
            return self

    batch = Batch()
    assert backends.pinned(batch, "cpu") is batch  # type: ignore[arg-type]
    assert asked == []
    assert backends.pinned(batch, "cuda:0") is batch  # type: ignore[arg-type]
    assert asked == ["pinned", ("cuda:0", True)]
