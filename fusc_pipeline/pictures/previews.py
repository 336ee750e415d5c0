"""Small pictures for an asset's page in the UI: enough to see that it is right, each well under 100 kB as PNG."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fusc_pipeline.evaluation.metrics import in_view_order
from fusc_pipeline.pictures.figures import tidy
from fusc_pipeline.pictures.palette import view_colour

MOST_POINTS = 800
_DPI = 80


def components(vectors: np.ndarray, views: Sequence[str | None], seed: int = 0) -> bytes:
    """PNG: embeddings (N, d) on their first two principal components, a dot each (of at most 800), by view.

    Raises ValueError when an embedding holds NaN or infinity.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError("the embeddings hold NaN or infinity")
    rows = np.arange(len(vectors))
    if len(rows) > MOST_POINTS:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_POINTS, replace=False))
    centred = vectors[rows] - vectors[rows].mean(0)
    places = np.zeros((len(rows), 2))
    if len(rows) > 1:
        left, scale, _ = np.linalg.svd(centred, full_matrices=False)
        found = (left * scale)[:, :2]
        places[:, : found.shape[1]] = found
    share = float((places**2).sum() / max((centred**2).sum(), 1e-12))
    named = np.array([views[int(i)] or "" for i in rows])
    size = float(np.clip(4000 / len(rows), 9, 60)) if len(rows) else 9.0
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for view in in_view_order(sorted(set(named))):
        chosen = named == view
        colour = view_colour(view or None)
        axes.scatter(
            places[chosen, 0],
            places[chosen, 1],
            s=size,
            color=colour,
            label=view or "no label",
            linewidths=0,
            alpha=0.8,
        )
    tidy(axes)
    axes.set_xlabel(f"first two principal components, {share:.0%} of the variance", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
