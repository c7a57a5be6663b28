"""A generator beside what it learnt from: mean shapes, nearest neighbours, features, and what they teach.

Of real samples only means, spreads and distances are drawn, never one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models import charts, drawing
from models.training import figures, metrics
from models.training.thin import thin

if TYPE_CHECKING:
    from models.synthesis.likeness import Likeness

REAL, INVENTED = "C0", "C1"
SHOWN = 6  #: invented samples of a class


def plots(found: Mapping[str, Any]) -> list[str]:
    """The pictures of a generator as HTML. found: `likeness` and the `classes`' names."""
    told: Likeness = found["likeness"]
    names = [str(name) for name in found["classes"]]
    shapes = _films if told.samples.shape[1] > 1 else _waves
    pictures = [
        drawing.figure(
            shapes(told, names), "the mean of each class, real and invented, and invented samples"
        ),
        drawing.figure(
            _features(told), "features of a classifier taught on real samples, along two principal components"
        ),
        _captioned(_near(told), "share of samples whose nearest sample learnt from lies within a distance"),
        _captioned(_lessons(told, names), "ROC on real samples, by what the classifier was taught on"),
    ]
    return [f'<div class="beside">{"".join(pictures)}</div>']


def _captioned(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _grid(rows: int, columns: int, wide: float, high: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _films(told: Likeness, names: list[str]) -> bytes:
    """A row a class: the mean real film, the mean invented one, some invented ones."""
    figure, axes = _grid(len(names), 2 + SHOWN, 1.0 * (2 + SHOWN), 1.25 * len(names))
    for row, name in enumerate(names):
        films = [told.middle["real"][row], told.middle["invented"][row], *_of(told, row)]
        titles = [f"{name}: real mean", "invented mean", *(["invented"] * SHOWN)]
        for axis, film, title in zip(axes[row], films, titles, strict=False):
            axis.imshow(film, cmap="gray", vmin=-1, vmax=1)
            axis.set_title(title, fontsize=5.5)
        for axis in axes[row]:
            axis.set_axis_off()
    return figures.png(figure)


def _of(told: Likeness, number: int) -> list[NDArray[np.float32]]:
    return list(told.samples[told.labels == number][:SHOWN])


def _waves(told: Likeness, names: list[str]) -> bytes:
    """A column a class: mean and middle 80 % of the real and of the invented signals, and some invented."""
    figure, axes = _grid(2, len(names), 2.4 * len(names), 3.6)
    for column, name in enumerate(names):
        upper, lower = axes[0, column], axes[1, column]
        for whose, colour in (("real", REAL), ("invented", INVENTED)):
            low, high = told.spread[whose][column][:, 0]
            upper.fill_between(np.arange(len(low)), low, high, color=colour, alpha=0.2, lw=0)
            upper.plot(told.middle[whose][column][0], color=colour, label=whose)
        for wave in _of(told, column):
            lower.plot(wave[0], color=INVENTED, lw=0.8, alpha=0.8)
        upper.set_title(f"{name}: mean and middle 80 %", fontsize=8)
        lower.set_title(f"{name}: invented", fontsize=8)
    axes[0, 0].legend(fontsize="x-small", frameon=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    return figures.png(figure)


def _near(told: Likeness) -> str:
    """The share of samples whose nearest learnt one lies within a distance: copies would stand at 0."""
    series: list[charts.Curve] = []
    furthest = max(float(np.percentile(far, 99)) for far in told.near.values())
    for whose in ("real", "invented"):
        far = np.append(0.0, np.sort(told.near[whose]))
        shown = far <= furthest
        x, y = thin(far[shown], (np.arange(len(far)) / (len(far) - 1))[shown])
        series.append((whose, x, y))
    return charts.lines(
        series,
        x_label="distance to the nearest sample learnt from",
        y_label="share within it",
        y_range=(0, 1),
        names_below=True,
    )


def _features(told: Likeness) -> bytes:
    """Both sets along the principal components of the real one's features."""
    real, made = told.features["real"], told.features["invented"]
    middle = real.mean(0)
    _, _, directions = np.linalg.svd(real - middle, full_matrices=False)
    figure, axes = figures.sheet("first component", "second component")
    for rows, colour, name in ((real, REAL, "real"), (made, INVENTED, "invented")):
        x, y = ((rows - middle) @ directions[:2].T)[:500].T
        axes.scatter(x, y, s=7, alpha=0.4, linewidths=0, color=colour, label=name)
    axes.legend(fontsize="small", frameon=False)
    return figures.png(figure)


def _lessons(told: Likeness, names: list[str]) -> str:
    """The ROC of each class, or of the second of two, by what the classifier was taught on."""
    from sklearn.metrics import roc_curve

    series: list[charts.Curve] = []
    for number in [1] if len(names) == 2 else range(len(names)):
        for whose in ("real", "invented"):
            own, p = (told.truth == number).astype(float), told.taught[whose][:, number]
            name = f"{names[number]}, taught on {whose}: AUC {metrics.auc(own, p):.3f}"
            x, y = thin(*roc_curve(own, p, drop_intermediate=True)[:2])
            series.append((name, x, y))
    return charts.lines(
        series, x_label="false positive rate", y_label="recall", y_range=(0, 1), names_below=True
    )
