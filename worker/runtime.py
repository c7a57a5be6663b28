"""The device, and the models a worker holds: loaded once a process, checked, warmed up, in inference mode."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from db import metrics
from db.errors import Misconfigured
from db.logs import get, place
from db.records import Diagnosis, Finding
from models import backends, optimise, registry
from models.card import ModelCard
from models.registry import Model, Preparing
from worker.blame import free_memory

log = get("worker")


def choose_device(wanted: str) -> str:
    """The device to run on: `auto` takes CUDA where there is one, else the CPU.

    Raises Misconfigured when a device was named and is not there: nothing falls back unseen.
    """
    import torch

    cuda = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if cuda else "cpu"
    if re.fullmatch(r"cuda(:[0-9]+)?", wanted):
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


def _require_numbers(model: str, finding: Finding) -> None:
    """NaN compares false with any threshold: unrefused, it would be stored as a negative."""
    numbers = (finding.probability, finding.threshold, finding.value)
    if not all(n is None or math.isfinite(n) for n in numbers):
        raise ValueError(f"{model}: a finding with NaN or an infinite number")
    if finding.probability is not None and not 0 <= finding.probability <= 1:
        raise ValueError(f"{model}: a probability outside 0..1")


def budget(device: str, wanted: int) -> int:
    """Bytes that models may take on a device: as wanted, else four fifths of what it has (half a host's)."""
    if wanted:
        return wanted
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[1] * 0.8)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def footprint(card: ModelCard) -> int:
    """Bytes that an opened model takes, roughly: weights are kept in half precision, and opened in full."""
    return 2 * sum((card.folder / weights.file).stat().st_size for weights in card.weights)


def backend_of(model: Model) -> str | None:
    """What an opened model computes by, None of one that has no network."""
    found: str | None = getattr(model, "backend", None)
    return found


def lanes_of(model: Model) -> tuple[int, int]:
    """How many batches a model computes at once, side by side, and the threads that each has.

    Threads that share a batch wait for each other at every layer; those that have one each never do.
    Only on the CPU, and of models that say `abreast`: that `examine` changes nothing of theirs.
    """
    alone = not getattr(model, "abreast", False) or model.device != "cpu"
    return (1, 0) if alone else backends.streams()


class Runtime:
    """The models of one worker process: opened once, the least lately used closed beyond a budget."""

    def __init__(self, device: str, memory: int = 0, folder: Path | None = None) -> None:
        self.device = device
        self.folder = folder  #: where measured back-ends are on record; None: the reference
        self.memory = memory  #: bytes for models; 0: unlimited
        self.models: dict[str, Model] = {}  #: those open, least lately used first
        self.served: dict[str, ModelCard] = {}  #: those that were opened and warmed up once
        self.refused: dict[str, str] = {}  #: model -> why it could not be loaded
        self.wanted = 0  #: how many are to be loaded
        self._done = 0
        self._lock = threading.Lock()

    def load(self, cards: Sequence[ModelCard], threads: int = 1, later: Sequence[ModelCard] = ()) -> None:
        """Opens and warms up every model, several at a time; one that is refused does not stop the others.

        later: those that are opened only when a job asks for them.
        """
        self.wanted = len(cards)
        self.served.update({card.name: card for card in later})
        with ThreadPoolExecutor(threads, "load") as pool:
            for _ in pool.map(self._try, cards):
                self._done += 1

    @property
    def progress(self) -> str:
        """How far the loading is: `starting`, then `warming 3/20`."""
        return f"warming {self._done}/{self.wanted}" if self.wanted else "starting"

    @property
    def held(self) -> dict[str, str]:
        """The weights' SHA-256 of each model it can answer for, by name."""
        cards = [*self.served.values(), *(model.card for model in self.models.values())]
        return {card.name: card.weights_sha256 for card in cards}

    def _try(self, card: ModelCard) -> None:
        start = time.perf_counter()
        try:
            model = self._opened(card)
        except Exception as error:  # noqa: BLE001 - whatever ails one model, the others go on
            reason = str(error) if isinstance(error, Misconfigured) else place(error)
            self.refused[card.name] = reason
            log.error("model_refused", model=card.name, reason=reason)
            return
        self.served[card.name] = card
        seconds = time.perf_counter() - start
        metrics.model_load_seconds.labels(card.name, model.device).set(seconds)
        metrics.model_info.labels(card.name, card.version, card.weights_sha256[:12], model.device).set(1)
        log.info(
            "model_ready", model=card.name, version=card.version, device=model.device,
            backend=backend_of(model), seconds=round(seconds, 3),
        )  # fmt: skip

    def _opened(self, card: ModelCard) -> Model:
        """A model opened, warmed up, and the newest on the shelf."""
        model = registry.load(card.name, self.device)
        example = [registry.family(card.name).example()]
        if self.folder is not None:
            optimise.choose(model, self.folder, example)
        model.examine(example)
        with self._lock:
            self.models[card.name] = model
            self._make_room(card.name)
        return model

    def _make_room(self, newest: str) -> None:
        """Closes the least lately used while the open ones take more than the budget; never the newest."""
        while self.memory and sum(footprint(m.card) for m in self.models.values()) > self.memory:
            oldest = next(iter(self.models))
            if oldest == newest:
                return
            del self.models[oldest]
            free_memory()
            log.info("model_closed", model=oldest, device=self.device)

    def model(self, name: str, version: str, weights_sha256: str) -> Model:
        """The opened model of exactly this version and weights. Raises Misconfigured otherwise."""
        model = self.models.get(name)
        card = model.card if model else self.served.get(name)
        if card is None:
            raise Misconfigured(self.refused.get(name, f"this worker holds no model {name}"))
        if (card.version, card.weights_sha256) != (version, weights_sha256):
            raise Misconfigured(f"{name}: the job is for version {version}, this worker holds {card.version}")
        if model is None:
            return self._opened(card)
        self.models[name] = self.models.pop(name)  # the most lately used goes last
        return model

    def examine(self, model: Model, payloads: Sequence[Any]) -> list[Diagnosis]:
        """One diagnosis a payload, or of what the model prepared of it.

        Raises ValueError when the model answers with another number of them, or with numbers that are none.
        """
        examine = model.examine_prepared if isinstance(model, Preparing) else model.examine
        diagnoses = examine(payloads)
        if len(diagnoses) != len(payloads):
            raise ValueError(f"{model.card.name}: {len(diagnoses)} answers to {len(payloads)} inputs")
        for finding in (f for diagnosis in diagnoses for f in diagnosis.findings):
            _require_numbers(model.card.name, finding)
        return diagnoses
