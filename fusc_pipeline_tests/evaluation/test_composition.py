"""Table 4: shares against counting by hand, and ties that always fall the same way."""

import pandas as pd

from fusc_pipeline.base import schemas
from fusc_pipeline.evaluation.composition import composition_table, makeups
from fusc_pipeline_tests.report import corpora


def fit_of(**members):
    """Rows from cluster → list of views: fit_of(c3=["Brain", None])."""
    rows = [(int(name[1:]), view) for name, views in members.items() for view in views]
    return pd.DataFrame(rows, columns=["cluster", "view"]).astype({"view": object})


def test_top_three_shares_are_of_labelled_images_and_size_is_of_all():
    fit = fit_of(c0=["Brain"] * 5 + ["Orbit"] * 2 + ["Feet", "Femur"] + [None] * 3)
    (makeup,) = makeups(fit)
    assert (makeup.size, makeup.labelled, makeup.majority, makeup.purity) == (12, 9, "Brain", 5 / 9)
    assert makeup.views == (("Brain", 5), ("Orbit", 2), ("Femur", 1), ("Feet", 1))


def test_order_and_ties():
    fit = fit_of(
        c4=[None] * 9,
        c5=["Feet", "Spine"],  # half each: Spine comes first in the list of views
        c0=["Brain"] * 2,
        c3=["Brain"] * 3,
        c2=["Kidney"] * 3 + [None],
        c1=["Kidney"] * 2,
    )
    found = makeups(fit)
    assert [m.cluster for m in found] == [2, 3, 0, 1, 5, 4]
    assert found[4].majority == "Spine" and found[-1].majority is None and found[-1].purity is None
    assert makeups(fit.sample(frac=1, random_state=1)) == found


def test_table_covers_the_test_split_of_every_fit():
    corpus = corpora.corpus(n=150, labelled=0.9)
    table = composition_table({"m": corpora.clusters(corpus, (5, 7), seeds=(0, 1))}, corpus)
    assert table.schema.equals(schemas.COMPOSITION)
    rows = table.to_pandas()
    for (k, seed), block in rows.groupby(["n_clusters", "seed"]):
        fit = corpora.fit(corpus, k, seed)
        mine = fit[fit["split"] == "test"].merge(corpus[["image_id", "view"]], on="image_id")
        for cluster, tops in block.groupby("cluster"):
            inside = mine[mine["cluster"] == cluster]
            counts = inside["view"].value_counts()
            assert (tops["size"] == len(inside)).all() and (tops["labelled"] == counts.sum()).all()
            assert tops["share"].tolist() == (counts / counts.sum()).head(3).tolist()
            assert tops["rank"].tolist() == list(range(1, len(tops) + 1))
        first = block[block["rank"] == 1]["share"].tolist()
        assert first == sorted(first, reverse=True)


def test_no_label_no_row():
    corpus = corpora.corpus(labelled=0.0)
    assert composition_table({"m": corpora.clusters(corpus)}, corpus).num_rows == 0
