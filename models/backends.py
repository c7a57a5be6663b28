"""Ways to compute a network: the reference, and faster ones that are used only where they agree with it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from db.errors import Misconfigured
from models.card import ModelCard
from models.exports import exported, onnx_file, openvino_ir

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Compute = Callable[[Tensor], Tensor]

REFERENCE = "torch-fp32"
STREAMS = (
    4  #: parts of a batch computed side by side at most; a lone input has its share of the threads alone
)
FILE = "backends.json"  #: what was measured on this machine, in the home's `models/`


def names(device: str) -> tuple[str, ...]:
    """The back-ends that can be tried on a device here, the reference first."""
    found = [REFERENCE, "torch-bf16"]
    if device == "cpu":
        found += ["onnxruntime-fp32"] if find_spec("onnxruntime") and find_spec("onnxscript") else []
        found += ["openvino-fp32", "openvino-bf16"] if find_spec("openvino") else []
    return tuple(found)


def build(name: str, network: nn.Module, example: Tensor, free: Mapping[int, int] | None = None) -> Compute:
    """The network in evaluation mode as a function from a batch to its answers, in single precision.

    example: one batch; its first dimension is free. free: further dimensions that vary, each with the number
    that its size is a multiple of. Raises Misconfigured for a back-end that is none.
    """
    makers: dict[str, Callable[[nn.Module, Tensor, Mapping[int, int]], Compute]] = {
        REFERENCE: lambda network, *_: network,
        "torch-bf16": _torch_bf16,
        "onnxruntime-fp32": _onnxruntime,
        "openvino-fp32": partial(_openvino, precision="f32"),
        "openvino-bf16": partial(_openvino, precision="bf16"),
    }
    if name not in makers:
        raise Misconfigured(f"no back-end {name!r}; there are {', '.join(makers)}")
    return makers[name](network, example, {0: 1, **(free or {})})


def _torch_bf16(network: nn.Module, example: Tensor, free: Mapping[int, int]) -> Compute:
    import torch

    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(example.dim(), torch.preserve_format)

    def compute(batch: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16):
            answers: Tensor = network(batch.contiguous(memory_format=layout))
        return answers.float()

    return compute


def streams() -> tuple[int, int]:
    """How much is computed side by side at most, parts of a batch or batches, and the threads that each has.

    Threads that share one small convolution wait for each other at every layer, the more so when other
    programs want the cores; parts of a batch never do.
    """
    import torch

    threads = torch.get_num_threads()
    count = min(threads, STREAMS)
    return count, threads // count


def _parts(batch: Tensor, threads: int) -> list[Any]:
    """The batch as arrays all about as long, one for each `threads` that the calling thread may use."""
    import torch

    return [part.numpy() for part in batch.contiguous().chunk(max(torch.get_num_threads() // threads, 1))]


def _openvino(network: nn.Module, example: Tensor, free: Mapping[int, int], precision: str) -> Compute:
    import openvino
    import torch

    xml, _, numbers = exported(network, example, free, openvino_ir).partition(b"\0")
    core = openvino.Core()
    count, threads = streams()
    settings = {
        "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": count,
        "INFERENCE_NUM_THREADS": count * threads,
    }  # fmt: skip
    compiled = core.compile_model(core.read_model(xml, numbers), "CPU", settings)
    idle: SimpleQueue[Any] = SimpleQueue()  #: requests; several threads may compute at once

    def compute(batch: Tensor) -> Tensor:
        begun = []
        for part in _parts(batch, threads):
            request = compiled.create_infer_request() if idle.empty() else idle.get()
            request.start_async(part, share_inputs=True)
            begun.append((request, part))  # the request reads the part where it lies
        for request, _ in begun:
            request.wait()
        answers = torch.cat([torch.from_numpy(request.get_output_tensor(0).data) for request, _ in begun])
        for request, _ in begun:
            idle.put(request)
        return answers

    return compute


def _onnxruntime(network: nn.Module, example: Tensor, free: Mapping[int, int]) -> Compute:
    import onnxruntime
    import torch

    count, threads = streams()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = exported(network, example, free, onnx_file)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    pool = ThreadPoolExecutor(count, "onnxruntime")

    def compute(batch: Tensor) -> Tensor:
        told = pool.map(lambda part: session.run(None, {name: part})[0], _parts(batch, threads))
        return torch.cat([torch.from_numpy(answers) for answers in told])

    return compute


# ── what was measured, and what is used ───────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One back-end of one model, measured on one machine against the reference."""

    model: str
    weights_sha256: str
    machine: str
    device: str
    backend: str
    seconds: float  #: per input, median
    speedup: float  #: the reference's seconds, measured in turn with it, to its own
    inputs: int
    decisions: int  #: findings compared, and of a segmentation voxels, of an ECG beats
    agreement: float  #: share of decisions that are the reference's, the lower one of findings and of parts
    worst: float  #: largest difference of a probability
    admitted: bool
    reason: str  #: why not, "" when admitted
    at: str  #: UTC date
    worst_value: float = 0.0  #: largest difference of a value, as a share of the reference's


@cache
def machine() -> str:
    """What a measurement holds for: the processor's name and cores, and the libraries' versions."""
    from importlib.metadata import version

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text("utf-8", "replace").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = named[0] if named else processor
    libraries = [f"{n} {version(n)}" for n in ("torch", "onnxruntime", "openvino") if find_spec(n)]
    return f"{processor}, {len(os.sched_getaffinity(0))} cores; {', '.join(libraries)}"


def recorded(folder: Path) -> list[Measured]:
    """What was measured, from a home's `models/`; nothing when it was never or the file is damaged."""
    try:
        return [Measured(**entry) for entry in json.loads((folder / FILE).read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def record(folder: Path, found: Sequence[Measured]) -> None:
    """Replaces what was measured of the same models on the same machine and device."""
    same = {(m.model, m.machine, m.device) for m in found}
    kept = [m for m in recorded(folder) if (m.model, m.machine, m.device) not in same]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = folder / f".{FILE}"
    half.write_text(json.dumps([asdict(m) for m in (*kept, *found)], indent=1), "utf-8")
    os.replace(half, folder / FILE)


def fastest(folder: Path, card: ModelCard, device: str) -> str:
    """The fastest back-end admitted for these weights on this machine; the reference when none was."""
    fits = [
        m
        for m in recorded(folder)
        if m.admitted and (m.model, m.weights_sha256, m.machine, m.device)
        == (card.name, card.weights_sha256, machine(), device) and m.backend in names(device)
    ]  # fmt: skip
    return max(fits, key=lambda m: m.speedup).backend if fits else REFERENCE


def pinned(batch: torch.Tensor, device: str) -> torch.Tensor:
    """A batch on the device; to a GPU from pinned memory, so that the copy does not hold up the host."""
    return batch.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else batch
