"""Pictures of a training run and of an evaluation: curves and a confusion matrix, as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.training.evaluation import EvaluationReport
from models.training.operating_point import OperatingPoint

DPI = 120
# Okabe and Ito's palette, told apart with any colour vision (jfly.uni-koeln.de/color).
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#999999", "#F0E442", "#000000")


def draw_precision_recall(report: EvaluationReport, path: Path) -> None:
    """Precision over recall of every class at IoU 0.5, with a dot where the default threshold lies."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot()
    counts_of = {counts.name: counts for counts in report.operating_point.classes}
    drawn = [one for one in report.classes if one.boxes]
    for number, one in enumerate(sorted(drawn, key=lambda one: -one.ap50)):
        colour, dashed = COLOURS[number % len(COLOURS)], (number // len(COLOURS)) % 2 == 1
        label = f"{one.name}: AP50 {one.ap50:.2f}, {one.boxes} boxes"
        if one.curve is None:
            axes.plot([], [], color=colour, label=label)
            continue
        reached = one.curve.score > 0
        style = "--" if dashed else "-"
        axes.plot(
            one.curve.recall[reached], one.curve.precision[reached], style, color=colour, label=label, lw=1.8
        )
        counts = counts_of[one.name]
        if counts.correct:
            axes.plot(counts.recall, counts.precision, "o", color=colour, markeredgecolor="black", ms=7)
    threshold = report.operating_point.score_threshold
    axes.plot([], [], "o", color="white", markeredgecolor="black", label=f"at threshold {threshold:g}")
    axes.set(
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        xlabel="recall: objects found",
        ylabel="precision: detections that are right",
        title=f"{report.pictures} pictures, overlap (IoU) of 0.5 or more",
    )
    _frame(axes)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path, dpi=DPI)


def draw_confusion(point: OperatingPoint, path: Path) -> None:
    """What labelled objects were taken for: a row per class in shares, with the counts written in."""
    names = [counts.name for counts in point.classes]
    counts = np.array(point.confusion)  # (K + 1, K + 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.75 * len(counts)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 10 if len(counts) <= 12 else 6
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.55 else "black"
            text = f"{count}\n{shares[row, column]:.0%}" if row < len(names) else str(count)
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=font)
    places = np.arange(len(counts))
    axes.set_xticks(places, [*names, "missed"], rotation=35, ha="right")
    axes.set_yticks(places, [*names, "nothing there"])
    axes.set(xlabel="detected", ylabel="labelled", title=f"At threshold {point.score_threshold:g}, IoU 0.5")
    axes.axhline(len(names) - 0.5, color="#666666", lw=1)
    axes.axvline(len(names) - 0.5, color="#666666", lw=1)
    figure.savefig(path, dpi=DPI)


def draw_evaluation(report: EvaluationReport, folder: Path) -> tuple[Path, Path]:
    """`precision-recall.png` and `confusion.png` in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    curves, confusion = folder / "precision-recall.png", folder / "confusion.png"
    draw_precision_recall(report, curves)
    draw_confusion(report.operating_point, confusion)
    return curves, confusion


def draw_training(rows: Sequence[dict[str, float | None]], path: Path) -> None:
    """Losses, AP50 on the validation pictures and the learning rate over the steps; `rows` of the log."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    losses, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps = [row["step"] for row in rows]
    for name, colour in (("loss", "#000000"), ("classification", COLOURS[5]), ("box", COLOURS[3])):
        values = np.array([row[name] for row in rows], np.float64)
        losses.plot(steps, values, color=colour, alpha=0.25, lw=0.8)
        losses.plot(steps, _smooth(values), color=colour, lw=1.8, label=name)
    losses.set(ylabel="loss", ylim=(0, None))
    scored = [(row["step"], row["ap50"]) for row in rows if row["ap50"] is not None]
    if scored:
        precision = losses.twinx()
        precision.plot(*zip(*scored, strict=True), "o-", color=COLOURS[2], ms=5, label="AP50 (right scale)")
        precision.set(ylabel="AP50 on the validation pictures", ylim=(0, 1))
        losses.plot([], [], "o-", color=COLOURS[2], label="AP50 (right scale)")
    losses.legend(loc="upper center", ncols=4, fontsize=9, bbox_to_anchor=(0.5, 1.12), frameon=False)
    rate.plot(steps, [row["rate"] for row in rows], color=COLOURS[4], lw=1.8)
    rate.set(xlabel="step", ylabel="learning rate\n(share of peak)", ylim=(0, 1.05))
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rate):
        _frame(axes)
    figure.savefig(path, dpi=DPI)


def _smooth(values: np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the values, shorter at the ends."""
    width = max(1, len(values) // 20)
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _frame(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
