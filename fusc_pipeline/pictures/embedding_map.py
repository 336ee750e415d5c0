"""A map of the embedding: each image a dot, neighbours close together; coloured by view and, beside it, by cluster."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from fusc_pipeline.evaluation.metrics import has_label, in_view_order
from fusc_pipeline.pictures.figures import render
from fusc_pipeline.pictures.palette import FAINT, INK, MUTED, NO_LABEL, cluster_look, view_colour, view_marker

MOST_POINTS = 3_000
# Below this many points t-SNE has no neighbourhoods to keep and two principal components say as much.
FEWEST_FOR_TSNE = 12
MOST_NAMED_CLUSTERS = 40
# Standard deviation along the first component below which all embeddings count as equal (L2-normalised vectors).
NO_SPREAD = 1e-9


def project(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, d) float → (N, 2) float64 map coordinates: PCA to at most 50 components, then t-SNE (van der Maaten 2008).

    Under 12 images, the first two principal components; of images that are all alike, one point. The same input and
    seed give the same map: one thread, since t-SNE adds up its forces in another order with several.
    Raises ValueError when an embedding holds NaN or infinity.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    n, d = embeddings.shape
    if not np.isfinite(embeddings).all():
        raise ValueError("the embeddings hold NaN or infinity")
    if n < 3:
        return np.column_stack([np.arange(n, dtype=float), np.zeros(n)])
    with threadpool_limits(limits=1):
        small = PCA(n_components=min(50, n, d), svd_solver="full").fit_transform(embeddings)
        if small.shape[1] < 2:
            return np.column_stack([small[:, 0], np.zeros(n)])
        spread = small[:, 0].std()
        if n < FEWEST_FOR_TSNE or spread < NO_SPREAD:
            return small[:, :2]
        # scikit-learn's init="pca" divides by the spread too, but without a look at it: a collapsed embedding then ends
        # the process in its C code. Scaling first keeps a nearly collapsed one away from that as well.
        small /= spread
        tsne = TSNE(perplexity=min(30.0, (n - 1) / 4), init=1e-4 * small[:, :2].astype(np.float32), random_state=seed)
        return tsne.fit_transform(small).astype(np.float64)


def subsample(n: int, most: int = MOST_POINTS, seed: int = 0) -> np.ndarray:
    """Sorted indices of at most `most` of n images, drawn without replacement."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def embedding_map(
    embeddings: np.ndarray,
    views: Sequence[str | None],
    clusters: Sequence[int],
    seed: int = 0,
    most: int = MOST_POINTS,
    fmt: str = "png",
) -> bytes:
    """Two maps of the same (N, d) embeddings: by view (colour and shape; grey: no label) and by cluster number.

    At most `most` images are drawn. Without a single label only the map by cluster is drawn.
    Raises ValueError when lengths differ or there is no image.
    """
    if not len(embeddings) == len(views) == len(clusters) or not len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings, {len(views)} views, {len(clusters)} clusters")
    chosen = subsample(len(embeddings), most, seed)
    points = project(np.asarray(embeddings)[chosen], seed)
    seen = np.asarray(views, dtype=object)[chosen]
    groups = np.asarray(clusters)[chosen]
    labelled = has_label(seen)
    size = float(np.clip(9_000 / len(chosen), 9, 46))
    if not labelled.any():
        figure = Figure(figsize=(6.4, 6.1), layout="constrained")
        _by_cluster(figure.add_subplot(), points, groups, size)
        return render(figure, fmt)
    figure = Figure(figsize=(12.4, 6.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    _by_view(left, points, seen, labelled, size)
    _by_cluster(right, points, groups, size)
    names = in_view_order(seen[labelled].tolist())
    handles = [
        Line2D([], [], linestyle="", marker=view_marker(name), color=view_colour(name), markersize=6, label=name)
        for name in names
    ]
    if not labelled.all():
        handles.append(Line2D([], [], linestyle="", marker="o", color=NO_LABEL, markersize=4, label="no label"))
    figure.legend(handles=handles, loc="outside lower center", ncols=8, frameon=False, fontsize=9, labelcolor=INK)
    return render(figure, fmt)


def _by_view(axes: Axes, points: np.ndarray, views: np.ndarray, labelled: np.ndarray, size: float) -> None:
    axes.scatter(points[~labelled, 0], points[~labelled, 1], s=size * 0.5, c=NO_LABEL, linewidths=0)
    for name in in_view_order(views[labelled].tolist()):
        mine = points[views == name]
        colour, marker = view_colour(name), view_marker(name)
        axes.scatter(mine[:, 0], mine[:, 1], s=size, c=colour, marker=marker, linewidths=0.35, edgecolors=INK)
    _frame(axes, "by the view its label names")


def _by_cluster(axes: Axes, points: np.ndarray, clusters: np.ndarray, size: float) -> None:
    filled = np.unique(clusters)
    for cluster in filled:
        colour, marker = cluster_look(int(cluster))
        mine = points[clusters == cluster]
        axes.scatter(mine[:, 0], mine[:, 1], s=size, c=colour, marker=marker, linewidths=0.35, edgecolors=INK)
    if len(filled) <= MOST_NAMED_CLUSTERS:
        for cluster in filled:
            mine = points[clusters == cluster]
            # the member nearest to the middle: the mean of a group in two places lies in neither
            middle = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
            text = axes.annotate(
                str(cluster),
                middle,
                (0, 8),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=10,
                weight="bold",
                color=INK,
            )
            text.set_path_effects([withStroke(linewidth=2.6, foreground="white")])
    _frame(axes, "by the group (cluster) it was put in")


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.04)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(colors=MUTED)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
