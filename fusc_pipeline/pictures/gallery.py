"""Sample pictures per cluster: the most and the least confident images, with the cluster's commonest view and size."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from fusc_pipeline.evaluation.composition import makeups
from fusc_pipeline.evaluation.metrics import has_label

# Together these keep a page of 15 or of 120 clusters well under 10 MB: 240 pictures of about 15 kB.
MOST_PICTURES = 240
FEWEST_TEST = 60
EDGE_PX = 320
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """One image of the gallery: JPEG bytes, its label or None, its confidence (0 to 1), and whether it fits.

    `fits` is False when its label is another than the cluster's commonest view, None without a label.
    """

    image_id: str
    jpeg: bytes
    width: int
    height: int
    view: str | None
    confidence: float
    fits: bool | None


@dataclass(frozen=True)
class GalleryCluster:
    """One filled cluster: its make-up, its most confident images and, apart from those, its least confident ones.

    `views` are (view, count) by falling count; `majority` and `purity` (0 to 1) are None without labels.
    """

    cluster: int
    size: int
    labelled: int
    majority: str | None
    purity: float | None
    views: tuple[tuple[str, int], ...]
    most: tuple[Picture, ...]
    least: tuple[Picture, ...]


def thumbnail(png: bytes, edge: int = EDGE_PX) -> tuple[bytes, int, int]:
    """(JPEG bytes, width, height) of an image shrunk so that neither side is over `edge` pixels; never enlarged."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB" if image.mode in ("RGB", "RGBA", "P") else "L")
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue(), small.width, small.height


def rows_to_show(fit: pd.DataFrame, fewest: int = FEWEST_TEST) -> tuple[pd.DataFrame, str]:
    """The rows pictures are taken from, and their scope: those of the test split ("test"), or, when the test split has
    under `fewest` images, of both ("all"): a dozen pictures would not show what the groups look like.

    `fit` holds one fit's rows of both splits (column `split`).
    """
    test = fit[fit["split"] == "test"]
    return (test, "test") if len(test) >= fewest else (fit, "all")


@dataclass(frozen=True)
class ViewSample:
    """A frame of a view, and how many labelled frames of train and test show that view (the paper's Figure 1)."""

    view: str
    n: int
    jpeg: bytes
    width: int
    height: int


def sample_frames(corpus: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(view, labelled frames, image_id of one of them) of each view that occurs, commonest first. The frame is the one
    in the middle by image_id, so that nobody chose it. `corpus` has image_id and view."""
    frames = []
    for view, ids in corpus.dropna(subset=["view"]).groupby("view")["image_id"]:
        frames.append((str(view), len(ids), sorted(ids)[len(ids) // 2]))
    return sorted(frames, key=lambda frame: (-frame[1], frame[0]))


def view_samples(frames: Sequence[tuple[str, int, str]], image: Callable[[str], bytes]) -> list[ViewSample]:
    """The pictures of `sample_frames`; `image` gives the PNG bytes of a text-free image by its id."""
    return [ViewSample(view, n, *thumbnail(image(image_id), edge=200)) for view, n, image_id in frames]


def build_gallery(
    fit: pd.DataFrame, image: Callable[[str], bytes], per_side: int = 6, most_pictures: int = MOST_PICTURES
) -> list[GalleryCluster]:
    """The filled clusters of one fit's rows of one split, purest first (order and ties: `composition.makeups`).

    `fit` has the columns image_id, cluster, confidence and view; `image` gives the PNG bytes of a text-free image by
    its id. Each cluster shows up to `per_side` most and as many least confident images, none twice, fewer when there
    are so many clusters that all would pass `most_pictures` (at least one of each). Equal confidences go by image_id.
    """
    found = makeups(fit)
    per_side = max(1, min(per_side, most_pictures // (2 * max(len(found), 1))))
    ranked = fit.sort_values(["confidence", "image_id"], ascending=[False, True])
    gallery = []
    for makeup in found:
        rows = ranked[ranked["cluster"] == makeup.cluster]
        n_most = min(per_side, -(-len(rows) // 2))
        n_least = min(per_side, len(rows) - n_most)
        least = rows.iloc[len(rows) - n_least :].iloc[::-1]
        gallery.append(
            GalleryCluster(
                cluster=makeup.cluster,
                size=makeup.size,
                labelled=makeup.labelled,
                majority=makeup.majority,
                purity=makeup.purity,
                views=makeup.views,
                most=_pictures(rows.iloc[:n_most], image, makeup.majority),
                least=_pictures(least, image, makeup.majority),
            )
        )
    return gallery


def _pictures(rows: pd.DataFrame, image: Callable[[str], bytes], majority: str | None) -> tuple[Picture, ...]:
    pictures = []
    known = has_label(rows["view"].tolist())
    for (image_id, view, confidence), has_view in zip(
        rows[["image_id", "view", "confidence"]].itertuples(index=False), known, strict=True
    ):
        jpeg, width, height = thumbnail(image(image_id))
        label = str(view) if has_view else None
        fits = label == majority if has_view else None
        pictures.append(Picture(image_id, jpeg, width, height, label, float(confidence), fits))
    return tuple(pictures)
