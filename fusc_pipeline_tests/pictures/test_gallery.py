"""The gallery: which images, in which order, how many and how heavy."""

import io

import pandas as pd
import pytest
from PIL import Image

from fusc_pipeline.evaluation.assignments import labelled_clusters
from fusc_pipeline.pictures.gallery import build_gallery, rows_to_show, sample_frames, thumbnail, view_samples
from fusc_pipeline_tests.report import corpora


def rows_of(n=300, labelled=0.9, n_clusters=5, noise=0.3):
    corpus = corpora.corpus(n=n, labelled=labelled)
    return labelled_clusters("m", corpora.fit(corpus, n_clusters, noise=noise), corpus)


def test_most_and_least_confident_of_each_cluster_and_none_twice():
    rows = rows_of()
    for group in build_gallery(rows, lambda _: corpora.png(), per_side=4):
        mine = rows[rows["cluster"] == group.cluster].sort_values("confidence", ascending=False)
        assert group.size == len(mine)
        assert [shot.image_id for shot in group.most] == mine["image_id"].tolist()[:4]
        assert [shot.image_id for shot in group.least] == mine["image_id"].tolist()[::-1][:4]
        assert not {shot.image_id for shot in group.most} & {shot.image_id for shot in group.least}
        known = mine["view"].dropna()
        assert group.majority == known.value_counts().index[0] and group.labelled == len(known)
        for shot in group.most + group.least:
            assert shot.fits is (None if shot.view is None else shot.view == group.majority)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_clusters_show_every_image_once(size):
    rows = rows_of(n=25).head(size).assign(cluster=0)
    (group,) = build_gallery(rows, lambda _: corpora.png(), per_side=4)
    shown = [shot.image_id for shot in group.most + group.least]
    assert sorted(shown) == sorted(rows["image_id"]) and len(group.most) >= len(group.least)


def test_many_clusters_share_the_budget():
    rows = rows_of(n=1200, n_clusters=120, noise=1.0)
    gallery = build_gallery(rows, lambda _: corpora.png(), per_side=6, most_pictures=240)
    assert sum(len(group.most) + len(group.least) for group in gallery) <= 240
    assert all(group.most for group in gallery)


def test_equal_confidences_go_by_image_id():
    rows = rows_of().assign(confidence=0.5)
    first = build_gallery(rows, lambda _: corpora.png())
    again = build_gallery(rows.sample(frac=1, random_state=0), lambda _: corpora.png())
    assert first == again


def test_no_labels_no_majority():
    for group in build_gallery(rows_of(labelled=0.0), lambda _: corpora.png()):
        assert group.majority is None and group.purity is None and group.views == ()
        assert all(shot.fits is None and shot.view is None for shot in group.most)


def test_scope_is_the_test_split_unless_it_is_tiny():
    rows, scope = rows_to_show(rows_of(n=600))
    assert scope == "test" and set(rows["split"]) == {"test"}
    rows, scope = rows_to_show(rows_of(n=46))
    assert scope == "all" and len(rows) == 46


def test_thumbnail_shrinks_but_never_enlarges():
    jpeg, width, height = thumbnail(corpora.png(900, 600), edge=320)
    assert (width, height) == (320, 213) and jpeg.startswith(b"\xff\xd8\xff")
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.mode == "L" and image.size == (320, 213)
    assert thumbnail(corpora.png(64, 48), edge=320)[1:] == (64, 48)


def test_each_view_is_shown_by_its_middle_frame_commonest_first():
    corpus = pd.DataFrame({"image_id": ["c", "a", "b", "e", "d"], "view": ["Brain", "Brain", "Brain", "Feet", None]})
    frames = sample_frames(corpus)
    assert frames == [("Brain", 3, "b"), ("Feet", 1, "e")]
    samples = view_samples(frames, lambda image_id: corpora.png())
    assert [(s.view, s.n) for s in samples] == [("Brain", 3), ("Feet", 1)]
    assert all(s.jpeg.startswith(b"\xff\xd8") for s in samples)
