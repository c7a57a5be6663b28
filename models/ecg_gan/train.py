"""Trains the pair on beats of annotated records and measures what it invents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from models.card import read
from models.ecg_gan import CLASSES, HERE
from models.ecg_gan.beats import real
from models.synthesis import carding, wgan
from models.synthesis.measures import measure

PLAN = wgan.Plan(classes=len(CLASSES), start=(1, 8), widths=(64, 48, 32, 24, 16), tall=False, steps=8000)
RARE = CLASSES.index("S")


def alter(samples: Tensor, chance: Tensor) -> Tensor:
    """Beats a little larger or smaller, real and invented alike (Zhao 2020): few records, many gains."""
    return samples * (0.85 + 0.3 * chance[:, :1, None, None])


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes generator.safetensors, plan.json, figures.json and a card under out.

    data: folder of annotated WFDB records; two thirds of them, less a tenth of their beats, are learnt from.
    About 10 minutes on one core without a limit.
    """
    roles = real(data)
    out.mkdir(parents=True, exist_ok=True)
    generator = wgan.fit(
        roles.learn, roles.learn_labels, PLAN, seed=seed, minutes=minutes, alter=alter, progress=progress
    )
    wgan.save(generator, out, {"classes": list(CLASSES), "seed": seed})
    figures = measure(
        roles,
        lambda labels, chance: wgan.invent(generator, labels, chance),
        classes=len(CLASSES),
        tall=False,
        rare=RARE,
        seed=seed,
    )
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    carding.write(out, read(HERE), figures, "the records kept away")
