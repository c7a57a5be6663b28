"""A training's state after an epoch, in one safetensors file: a killed run goes on to the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

if TYPE_CHECKING:
    from models.training.loop import Run

Generator = np.random.Generator | torch.Generator


class Checkpoint:
    """Where a run is kept, and what makes it that run."""

    def __init__(
        self, path: Path, identity: Mapping[str, Any], device: str, generators: Sequence[Generator] = ()
    ) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(dict(identity)))
        self.device = device
        self.generators = generators

    def save(self, run: Run) -> None:
        """Writes the state beside the file and puts it in its place: what is there is always whole."""
        tensors = {
            **_named("network", run.network.state_dict()),
            **_named("average", run.average.network.state_dict()),
            **_named("best", run.best_state or {}),
            "torch": torch.get_rng_state(),
        }
        for place, state in run.optimiser.state_dict()["state"].items():
            tensors |= _named(f"optimiser.{place}", state)
        if self.device.startswith("cuda"):
            tensors["cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {
            "identity": self.identity, "step": run.step, "done": run.done, "best": run.best,
            "stale": run.stale, "stopped": run.stopped, "seconds": run.seconds, "averaged": run.average.steps,
            "generators": [
                g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state().tolist()
                for g in self.generators
            ],
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"run": json.dumps(facts)})
        partial.replace(self.path)

    def restore(self, run: Run) -> bool:
        """Brings the run to where it was kept; False where nothing is. Raises ValueError of another run's."""
        if not self.path.is_file():
            return False
        with safe_open(self.path, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {}).get("run", "{}"))
            if facts.get("identity") != self.identity:
                raise ValueError(f"{self.path.name} is of a run with other settings; delete it to begin anew")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        run.network.load_state_dict(_under("network", tensors))
        run.average.network.load_state_dict(_under("average", tensors))
        held = _under("best", tensors)
        run.best_state = {n: t.to(self.device) for n, t in held.items()} if held else None
        self._optimiser(run.optimiser, tensors)
        for name in ("step", "done", "best", "stale", "stopped", "seconds"):
            setattr(run, name, facts[name])
        run.average.steps = facts["averaged"]
        self._chance(tensors, facts["generators"])
        return True

    @staticmethod
    def _optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        place = 0
        for group in optimiser.param_groups:
            for weights in group["params"]:
                state = _under(f"optimiser.{place}", tensors)
                optimiser.state[weights] = {  # moments lie in memory as the weights do; the count stays apart
                    name: t if name == "step" else torch.empty_like(weights).copy_(t)
                    for name, t in state.items()
                }
                place += 1

    def _chance(self, tensors: Mapping[str, Tensor], states: Sequence[Any]) -> None:
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"], self.device)
        for generator, state in zip(self.generators, states, strict=True):
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = state
            else:
                generator.set_state(torch.tensor(state, dtype=torch.uint8))


def _named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors under names begun by the part."""
    return {f"{part}.{name}": tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a part by their own names."""
    return {name[len(part) + 1 :]: t for name, t in tensors.items() if name.startswith(f"{part}.")}
