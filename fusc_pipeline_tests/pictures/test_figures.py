"""Plots: what they are ordered by, that they are made for every awkward input, and that they are the same each time."""

import io

import numpy as np
import pytest
from PIL import Image

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.evaluation import metrics
from fusc_pipeline.evaluation.assignments import labelled_clusters
from fusc_pipeline.pictures import embedding_map, figures, palette
from fusc_pipeline.pictures.gallery import build_gallery
from fusc_pipeline.pictures.sheets import cluster_sheet
from fusc_pipeline_tests.report import corpora


def size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (1, 4)])
def test_matched_pairs_are_on_the_diagonal(shape):
    table = np.random.default_rng(0).integers(0, 9, shape)
    rows, columns, n_matched = figures.confusion_order(table)
    assert sorted(rows) == list(range(shape[0])) and sorted(columns) == list(range(shape[1]))
    assert n_matched == min(shape)
    ordered = table[np.ix_(rows, columns)]
    assert np.trace(ordered[:n_matched, :n_matched]) == table[metrics.hungarian_match(table)].sum()


def test_pairs_without_a_common_image_are_no_pairs():
    rows, columns, n_matched = figures.confusion_order(np.array([[5, 0, 0], [3, 0, 0]]))
    assert (rows, columns, n_matched) == ([0, 1], [0, 1, 2], 1)


@pytest.mark.parametrize("n_clusters", [2, 15, 120])
@pytest.mark.parametrize("fmt", ["png", "svg"])
def test_confusion_figure(n_clusters, fmt):
    rng = np.random.default_rng(0)
    labels = [None, *np.array(VIEWS)[rng.integers(0, 15, 300)].tolist()]
    clusters = rng.integers(0, n_clusters, 301)
    picture = figures.confusion_figure(labels, clusters, n_clusters, fmt)
    assert picture == figures.confusion_figure(labels, clusters, n_clusters, fmt)
    if fmt == "svg":
        assert b"<svg" in picture and b"<dc:date>" not in picture
    else:
        assert min(size(picture)) > 300
    assert figures.confusion_figure([None, None], [0, 1], 2) is None


@pytest.mark.parametrize("labelled", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("n_clusters", [5, 60])
def test_cluster_bars(labelled, n_clusters):
    corpus = corpora.corpus(labelled=labelled)
    rows = labelled_clusters("m", corpora.fit(corpus, n_clusters), corpus)
    assert size(figures.cluster_bars(rows[rows["split"] == "test"]))[0] > 800


def test_learning_curves():
    history = [{"epoch": e, "loss": 1 / (e + 1), "lr": 0.1, "effective_rank": float(e), "note": "x"} for e in range(4)]
    two = figures.learning_curves({"seed 0": history, "seed 1": history[:1]})
    one = figures.learning_curves({"": history}, keys=("loss", "missing"))
    assert size(two)[0] > size(one)[0]
    assert figures.learning_curves({}) is None and figures.learning_curves({"a": []}) is None
    assert figures.learning_curves({"a": history}, keys=("missing",)) is None
    gaps = [{"epoch": 0, "loss": None}, {"epoch": 1, "loss": 2.0}]
    assert size(figures.learning_curves({"a": gaps}))


@pytest.mark.parametrize("n", [1, 2, 3, 11, 13, 80])
@pytest.mark.parametrize("labelled", [False, True])
def test_embedding_map_of_any_number_of_images(n, labelled):
    rng = np.random.default_rng(0)
    views = rng.choice(VIEWS, n).tolist() if labelled else [None] * n
    picture = embedding_map.embedding_map(rng.normal(size=(n, 16)).astype(np.float32), views, rng.integers(0, 4, n))
    width, height = size(picture)
    assert (width > 1.5 * height) == labelled


def test_projection_is_repeatable_and_keeps_neighbours():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 20)) * 5
    group = np.repeat([0, 1, 2], 30)
    embeddings = centres[group] + rng.normal(size=(90, 20))
    points = embedding_map.project(embeddings, seed=3)
    assert np.array_equal(points, embedding_map.project(embeddings, seed=3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(1)] == group).mean() == 1.0


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-8, 1e-4])
def test_a_collapsed_embedding_makes_a_map(spread):
    embeddings = np.full((30, 8), 8**-0.5) + spread * np.random.default_rng(0).normal(size=(30, 8))
    embeddings[:10] = embeddings[0]
    assert np.isfinite(embedding_map.project(embeddings)).all()
    with pytest.raises(ValueError, match="NaN"):
        embedding_map.project(np.full((30, 8), np.nan))


def test_subsample_is_seeded_and_without_repeats():
    chosen = embedding_map.subsample(10_000, 3_000, seed=5)
    assert len(set(chosen.tolist())) == 3_000 and np.array_equal(chosen, embedding_map.subsample(10_000, 3_000, seed=5))
    assert not np.array_equal(chosen, embedding_map.subsample(10_000, 3_000, seed=6))
    assert embedding_map.subsample(7, 3_000).tolist() == list(range(7))


def test_embedding_map_refuses_other_lengths():
    with pytest.raises(ValueError, match="3 embeddings, 2 views"):
        embedding_map.embedding_map(np.zeros((3, 4)), [None] * 2, [0, 0, 0])


def test_every_view_and_the_first_sixty_clusters_look_different():
    looks = {(palette.view_colour(view), palette.view_marker(view)) for view in VIEWS}
    assert len(looks) == 15 and len({colour for colour, _ in looks}) == 15
    assert len({palette.cluster_look(c) for c in range(60)}) == 60
    assert palette.view_colour(None) == palette.view_colour("Zebra") == palette.NO_LABEL
    assert palette.ink_on("#ffffff") == "#000000" and palette.ink_on("#0b4fa0") == "#ffffff"


def test_cluster_sheet_is_a_picture_of_every_cluster():
    corpus = corpora.corpus(n=150, labelled=0.8)
    rows = labelled_clusters("m", corpora.fit(corpus, 30), corpus)
    for cluster in build_gallery(rows[rows["split"] == "test"], lambda _: corpora.png())[:4]:
        assert size(cluster_sheet(cluster))[0] > 100
