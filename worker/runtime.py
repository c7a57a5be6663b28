"""The device, and the models a worker holds: loaded once a process, checked, warmed up, in inference mode."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from db import metrics
from db.errors import Misconfigured
from db.logs import get, place
from db.records import Diagnosis, Finding
from models import registry
from models.card import ModelCard
from models.payloads import Payload
from models.registry import Model

log = get("worker")


def choose_device(wanted: str) -> str:
    """The device to run on: `auto` takes CUDA where there is one, else the CPU.

    Raises Misconfigured when a device was named and is not there: nothing falls back unseen.
    """
    import torch

    cuda = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if cuda else "cpu"
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if not cuda or index >= torch.cuda.device_count():
            raise Misconfigured(
                f"device {wanted} is not there ({torch.cuda.device_count()} CUDA devices); use auto or cpu"
            )
        return f"cuda:{index}"
    if wanted != "cpu":
        raise Misconfigured(f"device {wanted!r}: expected auto, cpu or cuda:N")
    return wanted


def set_threads(count: int) -> int:
    """CPU threads of this process; 0 takes the cores it may use. Returns the number."""
    import torch

    chosen = count or len(os.sched_getaffinity(0))
    torch.set_num_threads(chosen)
    return chosen


class Runtime:
    """The opened models of one worker process."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.models: dict[str, Model] = {}
        self.refused: dict[str, str] = {}  #: model -> why it could not be loaded

    def load(self, cards: Sequence[ModelCard]) -> None:
        """Opens and warms up every model; one that is refused does not stop the others."""
        for card in cards:
            start = time.perf_counter()
            try:
                model = registry.load(card.name, self.device)
                model.examine([registry.family(card.name).example()])
            except Exception as error:  # noqa: BLE001 - whatever ails one model, the others go on
                reason = str(error) if isinstance(error, Misconfigured) else place(error)
                self.refused[card.name] = reason
                log.error("model_refused", model=card.name, reason=reason)
                continue
            self.models[card.name] = model
            seconds = time.perf_counter() - start
            metrics.model_load_seconds.labels(card.name, model.device).set(seconds)
            metrics.model_info.labels(card.name, card.version, card.weights_sha256[:12], model.device).set(1)
            log.info(
                "model_ready",
                model=card.name,
                version=card.version,
                device=model.device,
                seconds=round(seconds, 3),
            )

    def model(self, name: str, version: str, weights_sha256: str) -> Model:
        """The opened model of exactly this version and weights. Raises Misconfigured otherwise."""
        model = self.models.get(name)
        if model is None:
            raise Misconfigured(self.refused.get(name, f"this worker holds no model {name}"))
        held = (model.card.version, model.card.weights_sha256)
        if held != (version, weights_sha256):
            raise Misconfigured(f"{name}: the job is for version {version}, this worker holds {held[0]}")
        return model

    def examine(self, model: Model, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a payload.

        Raises ValueError when the model answers with another number of them, or with what is no number:
        a NaN compares as below every threshold, and would pass for normal.
        """
        diagnoses = model.examine(payloads)
        if len(diagnoses) != len(payloads):
            raise ValueError(f"{model.card.name}: {len(diagnoses)} answers to {len(payloads)} inputs")
        for finding in (finding for diagnosis in diagnoses for finding in diagnosis.findings):
            _check(finding)
        return diagnoses


def _check(finding: Finding) -> None:
    """Raises ValueError for a probability outside 0..1, or a threshold or value that is not finite."""
    for number in (finding.probability, finding.threshold):
        if number is not None and not 0 <= number <= 1:
            raise ValueError(f"{finding.code.value}: {number} is no probability")
    if finding.value is not None and not math.isfinite(finding.value):
        raise ValueError(f"{finding.code.value}: {finding.value} is no finite value")
