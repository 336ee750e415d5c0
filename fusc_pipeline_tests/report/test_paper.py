"""The paper's tables beside ours: its rows in its order, ours where they were run, and what self-labelling lost."""

import pandas as pd

from fusc_pipeline.evaluation import tables
from fusc_pipeline.report import paper
from fusc_pipeline_tests.report import corpora


def purity(**fits) -> pd.DataFrame:
    corpus = corpora.corpus(n=200, n_views=15)
    made = {model: corpora.clusters(corpus, (k,), seeds, noise) for model, (k, seeds, noise) in fits.items()}
    return tables.purity_table(made, corpus).to_pandas()


def test_the_printed_numbers_are_the_papers():
    first, second, _, third = paper.TABLES
    assert [len(table.rows) for table in paper.TABLES] == [8, 4, 0, 5]
    assert (first.rows[3].purity, first.rows[3].nmi) == (64, 55) and first.rows[-1].purity == 93
    assert second.label_set == "groups" and {row.filled for row in second.rows} == {4}
    assert [row.filled for row in third.rows] == [120, 120, 35, 120, 15]


def test_rows_that_were_not_run_say_so_and_further_models_come_last():
    rows = paper.our_rows(paper.TABLES[0], purity(kmeans_simclr=(15, (0, 1), 0.3), temi_simclr=(15, (0,), 0.1)))
    assert [row.model for row in rows[:8]] == [row.model for row in paper.TABLES[0].rows]
    assert rows[0].purity == "–" and rows[0].paper.purity == 35 and rows[0].seeds == 0
    assert "±" in rows[1].purity and rows[1].seeds == 2 and rows[1].n > 0
    assert rows[8].model == "temi_simclr" and rows[8].paper is None and rows[8].purity != "–"


def test_the_merged_table_takes_four_clusters_against_groups():
    given = purity(fusc_simclr=(4, (0,), 0.2))
    rows = paper.our_rows(paper.TABLES[1], given)
    of_groups = given.query("label_set == 'groups' and split == 'test'")["cluster_purity"].iloc[0]
    assert rows[0].purity == tables.percent(of_groups)
    assert all(row.purity == "–" for row in paper.our_rows(paper.TABLES[0], given)[:8])


def test_a_self_labelled_row_says_what_it_lost():
    worse = purity(fusc_simclr=(15, (0, 1, 2), 0.0), fusc_simclr_selflabel=(15, (0, 1, 2), 0.9))
    assert paper.our_rows(paper.TABLES[0], worse)[4].after == "lost clusters and purity"
    # Of three seeds one was continued: it is compared with its own start, not with the mean.
    one = worse[(worse["model"] == "fusc_simclr") | (worse["seed"] == 0)].copy()
    one.loc[one["model"] == "fusc_simclr_selflabel", "cluster_purity"] = 0.5
    one.loc[one["model"] == "fusc_simclr", "cluster_purity"] = one["seed"].map({0: 0.4, 1: 0.9, 2: 0.9})
    one["filled_clusters"] = 15
    assert paper.our_rows(paper.TABLES[0], one)[4].after == ""
    better = purity(fusc_simclr=(15, (0,), 0.5), fusc_simclr_selflabel=(15, (0,), 0.0))
    assert paper.our_rows(paper.TABLES[0], better)[4].after == ""


def test_an_empty_summary_gives_the_papers_rows_alone():
    rows = paper.our_rows(paper.TABLES[3], pd.DataFrame())
    assert len(rows) == 5 and all(row.seeds == 0 for row in rows)
