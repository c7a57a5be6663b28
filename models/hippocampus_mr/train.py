"""Training on a folder of NIfTI volumes and labels: 24 are held out, the averaged weights are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from db.errors import Rejected
from models.card import read as read_card
from models.hippocampus_mr.augment import Augmentation, crop, intensity
from models.hippocampus_mr.data import Labelled, read, standardise
from models.hippocampus_mr.evaluate import figures
from models.hippocampus_mr.measure import PARTS, Agreement, agreement, dice
from models.hippocampus_mr.network import build, pack, shares, unpack
from models.hippocampus_mr.segment import outline
from models.training import figures as plots
from models.training import package
from models.training.checkpoint import Checkpoint
from models.training.loop import Average, Run, bf16_pays, rate_at

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the network is trained."""

    steps: int = 2400
    batch: int = 4
    rate: float = 2e-3
    decay: float = 0.03
    average: float = 0.995
    warm: float = 0.08  #: share of the run in which the learning rate rises
    every: int = 150  #: steps between checks, each of which leaves the averaged weights on disk
    held: int = 24  #: volumes that are not trained on; at most a fifth of what there is
    heads: tuple[float, ...] = (1.0, 0.5, 0.25)  #: weight of the full, half and quarter resolution
    changes: Augmentation = field(default_factory=Augmentation)


RECIPE = Recipe()
HERE = Path(__file__).parent
NNUNET = "nnU-Net, arXiv:1809.10486"
PUBLISHED = {"dice_anterior": f".90, {NNUNET}", "dice_posterior": f".89, {NNUNET}"}
NAMES = {"anterior": (1,), "posterior": (2,), "whole": PARTS}


def split(volumes: list[Labelled], held: int, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """The volumes to learn from and those held out, by a seeded draw. Raises Rejected of fewer than five."""
    if len(volumes) < 5:
        raise Rejected("too-few-volumes", f"five volumes are needed, there are {len(volumes)}")
    order = np.random.default_rng(seed).permutation(len(volumes))
    count = min(held, len(volumes) // 5)
    return [volumes[i] for i in sorted(order[count:])], [volumes[i] for i in sorted(order[:count])]


def loss(heads: Tensor, labels: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Cross-entropy plus the batch's soft Dice loss of both parts, over all heads.

    heads (batch, heads, classes, ...), labels (batch, ...).
    """
    onehot = F.one_hot(labels, heads.shape[2]).movedim(-1, 1).float()
    total = heads.new_zeros(())
    for index, weight in enumerate(weights):
        logits = heads[:, index].float()
        guess, axes = logits.softmax(1), (0, 2, 3, 4)
        overlap = 2 * (guess * onehot).sum(axes) / (guess.sum(axes) + onehot.sum(axes) + 1e-5)
        total = total + weight * (F.cross_entropy(logits, labels) + 1 - overlap[1:].mean())
    return total / sum(weights)


def check(network: nn.Module, held: list[Labelled]) -> tuple[float, float]:
    """Mean Dice of the anterior and posterior part over held-out volumes."""
    rows = []
    with torch.inference_mode():
        for volume in held:
            seen = torch.from_numpy(standardise(volume.image))[None, None]
            guess = shares(network, seen)[0].argmax(0).numpy()
            rows.append([dice(guess, volume.label, part) for part in PARTS])
    anterior, posterior = np.mean(rows, 0)
    return float(anterior), float(posterior)


class Crops:
    """Batches of changed crops, every volume once a round; which, depends on the step and the seed alone."""

    def __init__(self, volumes: list[Labelled], recipe: Recipe, seed: int) -> None:
        self.images = [torch.from_numpy(standardise(v.image))[None] for v in volumes]
        self.parts = [torch.from_numpy(np.stack([v.label == p for p in PARTS])).float() for v in volumes]
        self.recipe = recipe
        self.seed = seed

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (batch, 1, ...) and labels (batch, ...)."""
        seen, labels = [], []
        for place in range(step * self.recipe.batch, (step + 1) * self.recipe.batch):
            round_, within = divmod(place, len(self.images))
            index = int(np.random.default_rng((self.seed, round_)).permutation(len(self.images))[within])
            x, y = crop(self.images[index], self.parts[index], self.recipe.changes)
            seen.append(intensity(x, self.recipe.changes))
            labels.append(y)
        return torch.stack(seen).contiguous(memory_format=torch.channels_last_3d), torch.stack(labels)


def _step(run: Run, inputs: Tensor, labels: Tensor, recipe: Recipe) -> float:
    """One step of the optimiser; gives the loss. Raises FloatingPointError when it is no longer finite."""
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.rate * rate_at(run.done, recipe.warm)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16_pays("cpu")):
        heads = run.network(inputs)
    value = loss(heads, labels, recipe.heads)
    if not torch.isfinite(value):
        raise FloatingPointError(f"loss became {value.item()} at step {run.step}; lower the rate")
    run.optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
    run.optimiser.step()
    run.average.update(run.network)
    run.step += 1
    return value.item()


def fit(
    learn: list[Labelled],
    recipe: Recipe,
    *,
    seed: int,
    minutes: float | None,
    each: Callable[[int, nn.Module, float], None],
    resume: Path | None = None,
) -> nn.Module:
    """The averaged network after the recipe's steps, or annealed earlier where the minutes run out.

    each: called with the step, the averaged network and the mean loss every `recipe.every` steps.
    resume: a file that keeps the state then; a run that was killed goes on from there. The kit's own loop
    knows images alone; here the memory format is that of volumes, and the heads are several.
    """
    torch.manual_seed(seed)
    network: nn.Module = build()
    network.to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    run = Run(network=network, average=Average(network, recipe.average), optimiser=optimiser)
    kept = Checkpoint(resume, {"seed": seed, **asdict(recipe)}, "cpu") if resume else None
    if kept:
        kept.restore(run)
    crops, losses, begun = Crops(learn, recipe, seed), [], time.monotonic() - run.seconds
    while run.done < 1:
        losses.append(_step(run, *crops.draw(run.step), recipe))
        run.seconds = time.monotonic() - begun
        run.done = max(run.step / recipe.steps, run.seconds / (60 * minutes) if minutes else 0.0)
        if run.step % recipe.every == 0 or run.done >= 1:
            each(run.step, run.average.network, float(np.mean(losses)))
            losses.clear()
            if kept:
                kept.save(run)
    return run.average.network


def limits(learn: list[Labelled], rows: list[Agreement]) -> dict[str, dict[str, object]]:
    """What a volume may be, from those trained on, and how far it may be off, from those held out.

    plausible_mm3: the smallest and largest volume met in training, a quarter further out.
    relative_error_95: the share by which 95 % of the held-out answers are off at most.
    """
    found = {}
    for index, (name, labels) in enumerate(NAMES.items()):
        sizes = [float(np.isin(v.label, labels).sum() * np.prod(v.spacing_mm)) for v in learn]
        errors = [abs(r.volumes[index] - 1) for r in rows]
        found[name] = {
            "plausible_mm3": [round(min(sizes) * 0.75), round(max(sizes) * 1.25)],
            "relative_error_95": round(float(np.percentile(errors, 95)), 4),
        }
    return found


def conclude(network: nn.Module, learn: list[Labelled], held: list[Labelled], out: Path) -> dict[str, Any]:
    """Writes limits, metrics and a plot; returns the figures on the held-out volumes, read as in service."""
    rows = [agreement(outline(network, v.payload(), "cpu").mask, v.label, v.spacing_mm) for v in held]
    text = json.dumps(limits(learn, rows), indent=2) + "\n"
    (out / "limits.json").write_text(text, encoding="utf-8")
    told, sizes = figures(rows), np.array([volume_mm3(v) for v in held])
    plots.report_values(out, sizes, sizes * np.array([r.volumes[2] for r in rows]), unit="mm³", more=told)
    return told


def volume_mm3(volume: Labelled) -> float:
    """The true size of the whole hippocampus."""
    return float(np.isin(volume.label, PARTS).sum() * np.prod(volume.spacing_mm))


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> None:
    """Train on a folder with `images/` and `labels/`; `out` then holds weights, limits, card and example.

    At least five volumes, a fifth of which (at most 24) is held out and measured.

    A run that was interrupted goes on from its last check.
    minutes: the whole run's wall time; the schedule shrinks to it.
    """
    out.mkdir(parents=True, exist_ok=True)
    learn, held = split(read(data), RECIPE.held, seed)
    started = time.monotonic()

    def each(step: int, network: nn.Module, mean: float) -> None:
        partial = out / "unet.partial"
        save_file(pack(network), partial)
        partial.rename(out / "unet.safetensors")
        anterior, posterior = check(network, held)
        if progress:
            progress(
                f"step {step}/{RECIPE.steps} loss {mean:.4f} dice {anterior:.4f} {posterior:.4f} "
                f"{time.monotonic() - started:.0f} s"
            )

    resume = out / "checkpoints" / "unet.safetensors"
    fit(learn, RECIPE, seed=seed, minutes=minutes, each=each, resume=resume)
    network = unpack(
        load_file(out / "unet.safetensors"), "cpu"
    )  # measured as it will serve, in half precision
    told = conclude(network, learn, held, out)
    served = read_card(HERE)
    package.again(out, served, version=f"{served.version}+retrained", figures=card_figures(told))
    told |= {"held": [v.name for v in held], "seed": seed, "recipe": asdict(RECIPE)}
    told["seconds"] = round(time.monotonic() - started)
    (out / "figures.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def card_figures(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Measured figures as a card names them."""
    dataset = "volumes held out of training, drawn by seed; they chose nothing"
    return [
        {"dataset": dataset, "metric": name, "n": told["n"], **interval, "published": PUBLISHED.get(name, "")}
        for name, interval in told.items()
        if name != "n"
    ]
