"""Networks as graphs for OpenVINO and ONNX Runtime: made one at a time, kept where a place is given."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from db.errors import Misconfigured

if TYPE_CHECKING:
    from torch import Tensor, nn

    Export = Callable[[nn.Module, Tensor, Mapping[int, int]], bytes]

_exporting = threading.Lock()  # torch traces one network at a time: two at once spoil each other's graphs


class Kept(Protocol):
    """Where exports outlast the process: what it gives back is what was put there under that key."""

    def get(self, key: str) -> bytes | None:
        """None when there is none."""
        ...

    def put(self, key: str, export: bytes) -> None:
        """Keeps it, if it can."""
        ...


_kept: list[Kept] = []


def keep_in(kept: Kept) -> None:
    """From now on a network is exported only where that was not kept before."""
    _kept[:] = [kept]


def exported(network: nn.Module, example: Tensor, free: Mapping[int, int], export: Export) -> bytes:
    """The network as `export` gives it, kept or made now."""
    key = key_of(network, example, free, export.__name__) if _kept else ""
    for kept in _kept:
        if (found := kept.get(key)) is not None:
            return found
    with _exporting:
        _hush()
        made = export(network, example, free)
    for kept in _kept:
        kept.put(key, made)
    return made


def key_of(network: nn.Module, example: Tensor, free: Mapping[int, int], kind: str) -> str:
    """A digest of all that an export follows from: code, libraries, the network's make and its numbers."""
    import torch

    found = hashlib.sha256(repr((kind, _code(), _libraries(), example.shape, sorted(free.items()))).encode())
    for name, module in network.named_modules():
        plain = [(k, v) for k, v in vars(module).items() if isinstance(v, (bool, int, float, str, tuple))]
        found.update(repr((name, type(module).__qualname__, module.extra_repr(), sorted(plain))).encode())
    for name, numbers in (*network.named_parameters(), *network.named_buffers()):
        found.update(repr((name, numbers.dtype, numbers.shape)).encode())
        found.update(numbers.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(f"{n} {version(n)}" for n in ("torch", "openvino", "onnx", "onnxscript") if find_spec(n))


@cache
def _code() -> str:
    """A digest of all code of `models`, networks and exporters among it."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def openvino_ir(network: nn.Module, example: Tensor, free: Mapping[int, int]) -> bytes:
    """OpenVINO's two files, the XML one and the numbers, with a zero byte between."""
    import openvino
    import torch

    shape = [-1 if axis in free else size for axis, size in enumerate(example.shape)]
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        # torch would trace again to compare, at half the cost of all; a worker compares answers instead
        traced = torch.jit.trace(network, example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        graph = openvino.convert_model(traced, example_input=example, input=shape)
        path = Path(folder) / "network.xml"
        openvino.save_model(graph, path, compress_to_fp16=False)
        return path.read_bytes() + b"\0" + path.with_suffix(".bin").read_bytes()


def onnx_file(network: nn.Module, example: Tensor, free: Mapping[int, int]) -> bytes:
    """An ONNX file."""
    import torch

    two = torch.cat([example, example])  # a first dimension of one would be taken for a constant
    sizes = {axis: step * torch.export.Dim(f"size{axis}") for axis, step in free.items()}
    program = torch.onnx.export(network, (two,), dynamo=True, dynamic_shapes=(sizes,), verbose=False)
    if program is None:
        raise Misconfigured("torch.onnx gave no program")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        program.save(path)
        return path.read_bytes()


def _hush() -> None:
    """Exporters speak of a library that is not asked for, and use what torch has deprecated."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec.. is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", ".torch.jit.trace(_method)?. is deprecated", DeprecationWarning)
