"""A cluster as one picture: its most confident images above, its least confident below, each with its view."""

import io

from matplotlib.figure import Figure

from fusc_pipeline.pictures.gallery import GalleryCluster, Picture

TILE_INCHES = 1.7


def cluster_sheet(cluster: GalleryCluster, quality: int = 85) -> bytes:
    """JPEG bytes of one cluster's sheet; a frame in red has another label than the cluster's commonest."""
    rows = [row for row in (cluster.most, cluster.least) if row]
    columns = max(map(len, rows))
    figure = Figure(figsize=(TILE_INCHES * columns, TILE_INCHES * 0.95 * len(rows) + 0.45), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, row in zip(grid, rows, strict=True):
        for axes, picture in zip(line, row, strict=False):
            _draw(axes, picture)
    purity = "" if cluster.purity is None else f", {cluster.purity:.0%} {cluster.majority}"
    figure.suptitle(f"Cluster {cluster.cluster}: {cluster.size} images{purity}. Most confident, then least", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=110, pil_kwargs={"quality": quality})
    return buffer.getvalue()


def _draw(axes, picture: Picture) -> None:
    from PIL import Image

    axes.imshow(Image.open(io.BytesIO(picture.jpeg)).convert("L"), cmap="gray", vmin=0, vmax=255)
    colour = "#b00020" if picture.fits is False else "#333333"
    axes.set_title(f"{picture.view or 'no label'} · {picture.confidence:.2f}", fontsize=6.5, color=colour, pad=2)
