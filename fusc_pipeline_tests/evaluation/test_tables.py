"""Figures per fit, their mean and spread, the chance line; and tables that do not belong to the corpus."""

import numpy as np
import pandas as pd
import pytest

from fusc_pipeline.base import schemas
from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.views import GROUP_OF
from fusc_pipeline.evaluation import metrics, tables
from fusc_pipeline.evaluation.assignments import labelled_clusters
from fusc_pipeline_tests.report import corpora


def test_one_row_per_model_k_seed_and_split_with_the_figures_of_that_fit():
    corpus = corpora.corpus()
    table = tables.purity_table(
        {"kmeans_simclr": corpora.clusters(corpus, (5, 9)), "fusc_simclr": corpora.clusters(corpus, (5,), noise=0.0)},
        corpus,
    )
    assert table.schema.equals(schemas.PURITY)
    rows = table.to_pandas()
    assert len(rows) == (2 + 1) * 3 * 2 * 2 and rows["model"].iloc[0] == "kmeans_simclr"
    assert rows["split"].tolist()[:4] == ["train", "train", "test", "test"]
    assert rows["label_set"].tolist()[:2] == ["views", "groups"]
    rows = rows[rows["label_set"] == "views"]
    fit = corpora.fit(corpus, 9, 1)
    test = (fit["split"] == "test").to_numpy()
    expected = metrics.score(corpus["view"][test].tolist(), fit["cluster"].to_numpy()[test], 9)
    row = rows.query("model == 'kmeans_simclr' and n_clusters == 9 and seed == 1 and split == 'test'").iloc[0]
    assert row["cluster_purity"] == expected.cluster_purity and row["nmi"] == expected.nmi and row["n"] == expected.n
    assert rows.query("model == 'fusc_simclr'")["cluster_purity"].eq(1).all()


def test_groups_are_scored_as_if_the_views_had_been_named_so():
    corpus = corpora.corpus(n_views=15)
    given = corpora.clusters(corpus, (4,), seeds=(0,))
    purity = tables.purity_table({"m": given}, corpus).to_pandas().query("split == 'test' and label_set == 'groups'")
    test = (corpus["split"] == "test").to_numpy()
    renamed = [GROUP_OF[view] for view in corpus["view"][test]]
    expected = metrics.score(renamed, given.to_pandas()["cluster"].to_numpy()[test], 4)
    assert purity["cluster_purity"].tolist() == [expected.cluster_purity] and purity["nmi"].tolist() == [expected.nmi]
    assert len(GROUP_OF) == 15 and set(GROUP_OF.values()) == {"Heart", "Head", "Abdomen", "Bone"}
    assert tables.merged(["Brain", None, "Cervix"]) == ["Head", None, None]


def test_join_goes_by_image_not_by_row():
    corpus = corpora.corpus()
    given = corpora.clusters(corpus)
    shuffled = given.take(np.random.default_rng(0).permutation(given.num_rows))
    mixed = corpus.sample(frac=1, random_state=0)
    assert tables.purity_table({"m": shuffled}, mixed).equals(tables.purity_table({"m": given}, corpus))


def test_mean_and_sample_deviation_over_seeds():
    corpus = corpora.corpus()
    purity = tables.purity_table({"m": corpora.clusters(corpus), "one": corpora.clusters(corpus, seeds=(4,))}, corpus)
    summary = tables.summarise(purity).query("label_set == 'views'").set_index(["model", "split"])
    values = purity.to_pandas().query("model == 'm' and split == 'test' and label_set == 'views'")["nmi"].to_numpy()
    assert summary.loc[("m", "test"), "nmi"] == pytest.approx(values.sum() / 3)
    spread = np.sqrt(((values - values.mean()) ** 2).sum() / 2)
    assert summary.loc[("m", "test"), "nmi_sd"] == pytest.approx(spread)
    assert summary.loc[("m", "test"), "seeds"] == 3
    assert np.isnan(summary.loc[("one", "test"), "nmi_sd"])


def test_without_labels_there_are_sizes_and_no_figures():
    corpus = corpora.corpus(labelled=0.0)
    purity = tables.purity_table({"m": corpora.clusters(corpus)}, corpus)
    assert purity.column("cluster_purity").null_count == purity.num_rows
    assert set(purity.column("n").to_pylist()) == {0} and min(purity.column("filled_clusters").to_pylist()) > 0
    text = tables.summary_markdown(purity)
    assert "No image has a label" in text and "nan" not in text and "None" not in text


def test_markdown_names_k_n_seeds_and_the_majority():
    corpus = corpora.corpus(labelled=0.8)
    text = tables.summary_markdown(tables.purity_table({"m": corpora.clusters(corpus)}, corpus))
    assert "| m | 5 |" in text and "±" in text and "The largest view alone is" in text and "rises with K" in text
    assert "No model" in tables.summary_markdown(schemas.PURITY.empty_table())


def test_chance_line_is_what_shuffled_labels_reach():
    corpus = corpora.corpus(n=400)
    rows = labelled_clusters("m", corpora.clusters(corpus, (4, 40), noise=0.0), corpus)
    lines = tables.chance_lines(rows, seed=0)
    assert set(lines) == {4, 40}
    test = corpus[corpus["split"] == "test"]
    largest = test["view"].value_counts(normalize=True).iloc[0]
    assert largest - 1e-9 <= lines[4]["cluster_purity"] < 0.5
    assert lines[4]["ari"] == pytest.approx(0, abs=0.03)
    assert lines == tables.chance_lines(rows, seed=0)
    blank = labelled_clusters("m", corpora.clusters(corpus), corpus.assign(view=None))
    assert tables.chance_lines(blank, seed=0) == {}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda fit: fit.assign(image_id="f" * 64), "does not hold"),
        (lambda fit: fit.assign(split="test"), "another split"),
        (lambda fit: fit.iloc[1:], "images of the"),
        (lambda fit: pd.concat([fit, fit.iloc[:1]]), "images of the"),
    ],
)
def test_clusters_of_another_corpus_are_refused(spoil, words):
    corpus = corpora.corpus()
    with pytest.raises(BadInput, match=words) as refusal:
        labelled_clusters("kmeans_simclr", spoil(corpora.fit(corpus)), corpus)
    assert "kmeans_simclr" in str(refusal.value) and "materialise" in str(refusal.value)


def test_numbers_in_words():
    assert tables.percent(0.7123, 0.0331) == "71.2 ± 3.3" and tables.percent(0.5, float("nan")) == "50.0"
    assert tables.percent(None) == tables.percent(float("nan")) == "–"
    assert tables.count(15.0, 0.0) == "15" and tables.count(14.333, 0.577) == "14.3 ± 0.6"
