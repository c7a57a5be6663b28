"""A network is exported once, and anew when anything that its export follows from is another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models import backends, exports
from models.exports import key_of


class Memory(dict[str, bytes]):
    """Exports kept in memory."""

    put = dict.__setitem__


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found = Memory()
    monkeypatch.setattr(exports, "_kept", [found])
    return found


def network() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU()).eval()


EXAMPLE = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "exporter"), [("openvino-fp32", "jit.trace"), ("onnxruntime-fp32", "onnx.export")]
)
def test_a_kept_export_answers_as_the_one_that_was_made(
    name: str, exporter: str, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name not in backends.names("cpu"):
        pytest.skip(f"no {name} here")
    made = backends.build(name, network(), EXAMPLE)
    monkeypatch.delattr(f"torch.{exporter}")
    kept = backends.build(name, network(), EXAMPLE)
    batch = torch.rand(3, 1, 8, 8)
    assert len(memory) == 1
    assert torch.equal(kept(batch), made(batch))


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.data[0, 0, 0, 0].add_(1e-6),
        lambda net: net[1].running_mean[0].add_(1e-6),
        lambda net: setattr(net[0], "stride", (2, 2)),
        lambda net: setattr(net[1], "eps", 1e-3),
        lambda net: net.append(torch.nn.ReLU()),
    ],
    ids=["weight", "statistic", "stride", "constant", "layer"],
)
def test_another_network_has_another_key(change: Callable[[torch.nn.Sequential], object]) -> None:
    net = network()
    before = key_of(net, EXAMPLE, {0: 1}, "onnx")
    assert key_of(network(), EXAMPLE, {0: 1}, "onnx") == before
    change(net)
    assert key_of(net, EXAMPLE, {0: 1}, "onnx") != before


def test_another_shape_freedom_or_kind_has_another_key() -> None:
    net = network()
    keys = {
        key_of(net, EXAMPLE, {0: 1}, "onnx"), key_of(net, EXAMPLE[:1], {0: 1}, "onnx"),
        key_of(net, EXAMPLE, {0: 1, 2: 4}, "onnx"), key_of(net, EXAMPLE, {0: 1}, "openvino"),
    }  # fmt: skip
    assert len(keys) == 4


@pytest.mark.parametrize("what", ["_code", "_libraries"])
def test_other_code_or_libraries_have_another_key(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(network(), EXAMPLE, {0: 1}, "onnx")
    monkeypatch.setattr(exports, what, lambda: "another")
    assert key_of(network(), EXAMPLE, {0: 1}, "onnx") != before
