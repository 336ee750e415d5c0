"""Another data set's figures: what is counted, where unseen classes go, and the section of the page."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa

from fusc_pipeline.base import schemas
from fusc_pipeline.evaluation import external, metrics
from fusc_pipeline.report import external_section
from fusc_pipeline.report import page as report
from fusc_pipeline.report.paper import EXTERNAL
from fusc_pipeline_tests.report.test_page import Page, page_input

LABELS = ["Fetal brain"] * 6 + ["Maternal cervix"] * 4 + [None] * 2
GIVEN = external.ExternalSet("planes", "fetal_planes_db", "own_label", LABELS, ["Maternal cervix"], 3, 1)
CLUSTERS = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2, 0, 3, 0])


def table(*rows: dict) -> pd.DataFrame:
    return pa.Table.from_pylist(list(rows), schema=schemas.EXTERNAL_PURITY).to_pandas()


def test_the_figures_are_those_of_the_purity_report():
    row = GIVEN.scored("fusc_simclr", 15, 0, CLUSTERS)
    scores = metrics.score(LABELS, CLUSTERS, 15)
    assert (row["n"], row["n_unlabelled"], row["n_excluded"], row["n_in_corpus"], row["n_classes"]) == (10, 2, 3, 1, 2)
    assert row["cluster_purity"] == scores.cluster_purity == 0.9 and row["nmi"] == scores.nmi
    assert row["filled_clusters"] == 4 and row["majority_share"] == 0.6 and not row["as_many_as_classes"]


def test_an_unseen_class_is_followed_to_its_largest_cluster():
    (place,) = external.unseen_places(LABELS, CLUSTERS, ["Maternal cervix", "never there"])
    assert place == {"label": "Maternal cervix", "n": 4, "cluster": 2, "share": 0.75, "purity": 1.0}


def test_the_section_sets_the_papers_numbers_beside_its_own_row_only():
    rows = [GIVEN.scored(EXTERNAL.model, 15, seed, CLUSTERS) for seed in (0, 1)]
    rows += [GIVEN.scored("kmeans_simclr", 2, 0, CLUSTERS % 2, "fitted here")]
    rows += [GIVEN.not_fitted(EXTERNAL.model, 2, "not fitted: add 2 to fusc_simclr.n_clusters")]
    (section,) = external_section.sections(table(*rows))
    assert [k for k, _ in section.blocks] == [15, 2] and section.majority == "60.0"
    ours, simple, missing = section.blocks[0][1][0], *section.blocks[1][1]
    assert (ours.paper.purity, ours.paper.nmi, ours.paper.frames) == (92, 72, 8187) and ours.seeds == 2
    assert ours.figures[0] == "90.0 ± 0.0" and ours.note == "" and simple.paper is None and simple.note == "fitted here"
    assert missing.seeds == 0 and missing.figures[0] == "–" and missing.paper is None
    assert section.unseen == "Maternal cervix" and "75.0 % of its 4 frames" in section.places[0]
    assert section.left_out == "3 frames of classes not scored and 1 frame that the corpus holds too"


def test_without_labels_only_sizes_are_said():
    unlabelled = external.ExternalSet("planes", "plain", "none", [None] * 12)
    rows = table(unlabelled.scored("kmeans_simclr", 4, 0, CLUSTERS))
    (section,) = external_section.sections(rows)
    assert section.n == 0 and section.majority == "" and section.blocks[0][1][0].figures[0] == "–"
    assert "only sizes" in external_section.preview(rows)


def test_the_page_shows_it_beside_the_papers_numbers_and_says_how_to_add_one():
    rows = table(GIVEN.scored(EXTERNAL.model, 15, 0, CLUSTERS), GIVEN.not_fitted("deepmcat", 2, "not fitted: add 2"))
    page = Page(report.render_report(page_input(external=external_section.sections(rows), phantom=True))).text
    section = page[page.index("Generalisation: another data set") :]
    assert "Batch planes: 10 labelled frames of 2 classes" in section and "8,187 frames" in section
    assert "models that learned from synthetic frames" in section and "not fitted: add 2" in section
    assert re.search(r"FUSC\* \(SimCLR\) 15 4 90\.0 .* 1 92 72", section)
    assert "Classes that none of the fifteen views shows: Maternal cervix." in section and " nan " not in section
    assert "fusc add-batch <folder> --external" in Page(report.render_report(page_input(n_clusters=(15,)))).text
