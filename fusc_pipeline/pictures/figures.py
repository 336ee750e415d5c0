"""Plots as PNG or SVG bytes: confusion matrix, what each cluster is made of, learning curves.

The map of the embedding is in `embedding_map`. Figures are drawn on matplotlib Figure objects, without pyplot and so
without global state, on white for print; equal input gives equal bytes with one matplotlib version.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusc_pipeline.evaluation import metrics
from fusc_pipeline.evaluation.composition import ClusterMakeup, makeups
from fusc_pipeline.pictures.palette import ACCENT, FAINT, INK, MUTED, NO_LABEL, cluster_look, ink_on, view_colour

DPI = 150
# Above this many clusters the cells of a confusion matrix are too small for numbers.
MOST_NUMBERED = 30


def render(figure: Figure, fmt: str = "png") -> bytes:
    """The figure as bytes, `fmt` "png" (150 dpi) or "svg"; no dates and no random ids inside."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fusc"}):
        metadata = {"Date": None} if fmt == "svg" else None
        figure.savefig(buffer, format=fmt, dpi=DPI, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def tidy(axes: Axes) -> None:
    """Quiet axes: no box, faint ticks, small dark labels."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=3)


def confusion_order(table: np.ndarray) -> tuple[list[int], list[int], int]:
    """Row order, column order of a (C, K) contingency table with matched pairs on the diagonal; and how many pairs.

    Pairs of the Hungarian matching come first, in the order of the rows; pairs that share no image are not counted as
    matched. Unmatched classes follow, then, among columns, unmatched clusters by their commonest class.
    """
    pairs = [(row, column) for row, column in zip(*metrics.hungarian_match(table), strict=True) if table[row, column]]
    rows, columns = [int(row) for row, _ in pairs], [int(column) for _, column in pairs]
    rows += [row for row in range(table.shape[0]) if row not in rows]
    place = {row: index for index, row in enumerate(rows)}
    left = [column for column in range(table.shape[1]) if column not in columns]
    # Clusters without a labelled image go last: argmax of zeros would file them under the first class.
    left.sort(key=lambda column: (not table[:, column].any(), place[int(table[:, column].argmax())], column))
    return rows, columns + left, len(pairs)


def confusion_figure(
    labels: Sequence[str | None], clusters: Sequence[int], n_clusters: int, fmt: str = "png"
) -> bytes | None:
    """Views (rows) by clusters (columns), matched pairs on the diagonal: counts, shaded by the share of the row.

    Beside each row its number of images and the share in its matched cluster. Unlabelled images are left out; None
    when no image has a label.
    """
    known = metrics.has_label(labels)
    if not known.any():
        return None
    names = np.asarray(labels, dtype=object)[known].astype(str)
    table, classes = metrics.contingency(names, np.asarray(clusters)[known], n_clusters)
    rows, columns, n_matched = confusion_order(table)
    columns = [column for column in columns if table[:, column].any()]
    table = table[np.ix_(rows, columns)]
    share = table / table.sum(axis=1, keepdims=True)
    n_rows, n_columns = table.shape

    cell = 0.46 if n_columns <= MOST_NUMBERED else 0.12
    width, height = max(cell * n_columns, 3.0), 0.46 * n_rows
    left, right, bottom, top = 1.5, 1.55, 1.15, 0.3
    figure = Figure(figsize=(width + left + right, height + bottom + top))
    total = figure.get_size_inches()
    axes = figure.add_axes((left / total[0], bottom / total[1], width / total[0], height / total[1]))
    axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1.5 if cell > 0.2 else 0.3)
    axes.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    if n_columns <= MOST_NUMBERED:
        for row, column in zip(*table.nonzero(), strict=True):
            colour = "white" if share[row, column] > 0.5 else INK
            axes.text(column + 0.5, row + 0.5, table[row, column], ha="center", va="center", color=colour, fontsize=10)
        axes.set_xticks(np.arange(n_columns) + 0.5, [str(column) for column in columns])
    else:
        axes.set_xticks([])
    axes.set_yticks(np.arange(n_rows) + 0.5, [classes[row] for row in rows])
    for row in range(n_rows):
        note = (
            f"{table[row].sum():,} · {100 * share[row, row]:.0f} %" if row < n_matched else f"{table[row].sum():,} · –"
        )
        axes.text(n_columns + 0.3 * 0.46 / cell, row + 0.5, note, va="center", color=MUTED, fontsize=9)
    axes.text(n_columns + 0.3 * 0.46 / cell, -0.25, "frames · in own group", color=MUTED, fontsize=8, va="center")
    axes.tick_params(length=0, labelcolor=INK, labelsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("group (cluster number)", color=INK, fontsize=10, labelpad=6)

    bar = figure.add_axes((left / total[0], 0.38 / total[1], min(width, 3.2) / total[0], 0.12 / total[1]))
    bar.imshow(np.linspace(0, 1, 101)[None], aspect="auto", cmap="Blues", vmin=0, vmax=1, extent=(0, 100, 0, 1))
    bar.set(yticks=[], xticks=[0, 50, 100])
    bar.set_xlabel("share of the view's frames, %", color=MUTED, fontsize=8, labelpad=2)
    bar.tick_params(length=2, labelsize=8, colors=MUTED)
    for spine in bar.spines.values():
        spine.set_color(FAINT)
    return render(figure, fmt)


def cluster_bars(fit: pd.DataFrame, fmt: str = "png") -> bytes:
    """One bar per filled cluster, purest first (without labels: largest), split into its views; unlabelled in grey.

    `fit` holds one fit's rows of one split (columns `cluster`, `view`).
    """
    found = makeups(fit)
    row = 0.34 if len(found) <= MOST_NUMBERED else 0.14
    figure = Figure(figsize=(9.5, max(row * len(found) + 1.0, 2.0)), layout="constrained")
    axes = figure.add_subplot()
    longest = max(makeup.size for makeup in found)
    for place, makeup in enumerate(found):
        _cluster_bar(axes, place, makeup, longest, numbered=row > 0.2)
    axes.set(ylim=(len(found) - 0.4, -0.6), xlim=(0, longest * 1.1))
    axes.set_yticks(range(len(found)), [str(m.cluster) for m in found] if row > 0.2 else [""] * len(found))
    order = "purest" if any(makeup.labelled for makeup in found) else "largest"
    axes.set_ylabel(f"group (cluster number), {order} first", color=INK, fontsize=9)
    axes.set_xlabel("frames", color=INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
    axes.tick_params(axis="y", length=0)
    return render(figure, fmt)


def _cluster_bar(axes: Axes, place: int, makeup: ClusterMakeup, longest: int, numbered: bool) -> None:
    start = 0
    segments = [*makeup.views, (None, makeup.size - makeup.labelled)]
    for view, n in segments:
        if not n:
            continue
        colour = NO_LABEL if view is None else view_colour(view)
        axes.barh(place, n, left=start, height=0.78, color=colour, edgecolor="white", linewidth=0.8)
        text = "no label" if view is None else view
        if numbered and n / longest > 0.012 * len(text) + 0.02:
            axes.text(start + n / 2, place, text, ha="center", va="center", fontsize=8, color=ink_on(colour))
        start += n
    if numbered:
        share = "" if makeup.purity is None else f" · {100 * makeup.purity:.0f} %"
        axes.text(start + longest * 0.008, place, f"{makeup.size}{share}", va="center", fontsize=8, color=MUTED)


# What a training history may hold, in words; the rest is drawn under its own name.
_NAMES = {
    "loss": "loss",
    "consistency": "consistency loss",
    "entropy": "entropy of the mean prediction, nats",
    "coverage": "share of frames above the threshold",
    "filled": "filled groups",
    "filled_clusters": "filled groups",
    "agreement": "agreement with the groups before (NMI)",
    "embedding_std": "spread of the embedding",
    "effective_rank": "effective rank of the embedding",
    "knn_accuracy": "k-NN accuracy on the test frames",
    "teacher_entropy_share": "teacher's entropy, share of the most",
    "kl": "student from teacher (KL), nats",
    "accuracy": "accuracy on the training frames",
}
# Bookkeeping, no sign of how learning goes.
_NOT_DRAWN = {"epoch", "step", "steps", "seconds", "images_per_s", "images_per_second", "eta_s", "lr", "seed", "epochs"}


def learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]], keys: Sequence[str] | None = None, fmt: str = "png"
) -> bytes | None:
    """Small multiples of metric histories: a panel per metric, a line per history (a seed, say).

    A history is a list of dicts with `epoch` and numbers. `keys` are the metrics to draw; None draws every number but
    bookkeeping (learning rate, seconds, …). None when there is nothing to draw.
    """
    frames = {name: pd.DataFrame(list(history)) for name, history in histories.items() if len(history)}
    if keys is None:
        found = dict.fromkeys(
            column
            for frame in frames.values()
            for column in frame.columns
            if column not in _NOT_DRAWN and pd.api.types.is_numeric_dtype(frame[column])
        )
        keys = list(found)
    keys = [key for key in keys if any(key in frame and frame[key].notna().any() for frame in frames.values())]
    if not keys:
        return None
    n_columns = min(3, len(keys))
    n_rows = -(-len(keys) // n_columns)
    figure = Figure(figsize=(3.3 * n_columns, 2.4 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes in grid.flat[len(keys) :]:
        axes.remove()
    for axes, key in zip(grid.flat, keys, strict=False):
        for place, (name, frame) in enumerate(frames.items()):
            if key in frame:
                known = frame[frame[key].notna()]  # some figures are taken every few epochs only
                x = known.get("epoch", known.index)
                colour = ACCENT if len(frames) == 1 else cluster_look(place)[0]
                mark = "o" if len(known) == 1 else None
                axes.plot(x, known[key].astype(float), color=colour, linewidth=1.6, marker=mark, label=name)
        axes.set_title(_NAMES.get(key, key.replace("_", " ")), loc="left", fontsize=9.5, color=INK)
        axes.set_xlabel("epoch", fontsize=8.5, color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        tidy(axes)
    if len(frames) > 1:
        # Below the panels: a dozen fits leave no room inside one.
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8, labelcolor=INK)
    return render(figure, fmt)
