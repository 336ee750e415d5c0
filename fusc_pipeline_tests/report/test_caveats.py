"""Each warning appears when it must and not otherwise."""

import numpy as np
import pandas as pd
import pytest

from fusc_pipeline.pictures.gallery import GalleryCluster
from fusc_pipeline.report.caveats import caveats, half_width, limits
from fusc_pipeline.report.facts import gather, groups_in_brief
from fusc_pipeline_tests.report import corpora
from fusc_pipeline_tests.report.test_page import page_input


def facts_of(given):
    return gather(given.corpus, given.scans, given.rejected, given.pseudo_labels, given.clean_images)


def titles(given) -> str:
    return " | ".join(caveat.title for caveat in caveats(given, facts_of(given)))


@pytest.fixture(scope="module")
def ample():
    """Enough labels, subjects and purity that only the views never seen are warned of."""
    return corpora.corpus(n=1500, labelled=1.0)


def test_a_good_corpus_has_no_grave_warning(ample):
    given = page_input(ample, models=("fusc_simclr", "kmeans_simclr"))
    found = caveats(given, facts_of(given))
    assert [caveat.title for caveat in found if caveat.grave] == []
    assert [caveat.title for caveat in found] == ["11 views of the fifteen never seen."]
    assert len(limits(given, facts_of(given))) == 3


def test_phantoms(ample):
    given = page_input(ample, phantom=True)
    first = caveats(given, facts_of(given))[0]
    assert first.grave and "synthetic frames: they test the machinery, not clinical performance" in first.title


def test_few_labelled_test_frames_with_the_width_of_chance():
    given = page_input(corpora.corpus(n=200))
    facts = facts_of(given)
    assert facts.n_labelled_test == 40
    warning = next(c for c in caveats(given, facts) if c.title.startswith("Only 40 labelled test frames"))
    assert warning.grave and "15 percentage points" in warning.text
    assert half_width(100) == pytest.approx(0.098) and half_width(0) == 1.0


def test_few_labels_at_all():
    assert "Most frames have no label" in titles(page_input(corpora.corpus(n=1500, labelled=0.3)))


def test_hardly_better_than_chance():
    corpus = corpora.corpus(n=300)
    given = page_input(corpus, models=("kmeans_simclr",))
    assert "hardly purer than chance" not in titles(given)
    level = given.chance[given.shown.n_clusters]["cluster_purity"]
    blind = given.purity.assign(cluster_purity=level + 0.01)
    warned = page_input(corpus, models=("kmeans_simclr",), purity=blind, chance=given.chance)
    assert "hardly purer than chance" in titles(warned)


def test_self_labelling_that_lost_groups_or_purity(ample):
    good = page_input(ample, models=("fusc_simclr", "fusc_simclr_selflabel"))
    purity = good.purity
    mine = purity["model"] == "fusc_simclr_selflabel"
    worse = purity.assign(
        filled_clusters=np.where(mine, 3, purity["filled_clusters"]), cluster_purity=np.where(mine, 0.5, 0.8)
    )
    found = caveats(page_input(ample, models=("fusc_simclr", "fusc_simclr_selflabel"), purity=worse), facts_of(good))
    (warning,) = [caveat for caveat in found if "cost FUSC* (SimCLR)" in caveat.title]
    assert "filled groups went from 4.0 to 3.0" in warning.text and "purity went from 80.0 to 50.0" in warning.text
    better = purity.assign(filled_clusters=5, cluster_purity=np.where(mine, 0.9, 0.8))
    fine = page_input(ample, models=("fusc_simclr", "fusc_simclr_selflabel"), purity=better)
    assert "cost FUSC" not in titles(fine)
    stopped = pd.DataFrame(
        [{"model": "fusc_simclr_selflabel", "n_clusters": 5, "seed": 1, "stopped_because": "filled groups fell"}]
    )
    told = page_input(ample, models=("fusc_simclr", "fusc_simclr_selflabel"), purity=better, stopped=stopped)
    assert "stopped early in 1 run" in titles(told)
    assert "stopped early" not in titles(page_input(ample, stopped=stopped.iloc[:0]))


def test_rare_views_are_named_with_their_counts(ample):
    corpus = ample.copy()
    kidney = corpus.index[(corpus["view"] == "Kidney") & (corpus["split"] == "test")]
    corpus.loc[kidney[2:], "view"] = "Spine"
    given = page_input(corpus)
    (warning,) = [c for c in caveats(given, facts_of(given)) if "fewer than 5 test frames" in c.title]
    assert "Kidney (2)" in warning.text and "Spine" not in warning.text


def test_frames_without_a_subject_and_frames_held_back(ample):
    given = page_input(ample)
    scans = given.scans.assign(subject_source=np.where(np.arange(len(given.scans)) < 7, "file", "dicom"))
    held = given.clean_images.assign(quarantined="no_reliable_fan")
    text = titles(page_input(ample, scans=scans, clean_images=held))
    assert "could not be tied to a subject" in text and "were held back" in text


def test_one_seed_has_no_spread(ample):
    given = page_input(ample)
    single = given.purity[given.purity["seed"] == 0]
    assert "One run each" in titles(page_input(ample, purity=single)) and "One run each" not in titles(given)


def test_what_46_frames_cannot_show():
    given = page_input(corpora.corpus(n=46, labelled=0.0), n_clusters=(15,))
    text = " ".join(limits(given, facts_of(given)))
    assert "fewer than 5 of 13 views" in text and "of Feet none or one" in text
    assert "training frames for 15 groups is" in text and "cannot tell a method" in text


def test_groups_in_brief():
    def group(cluster, size, labelled, views):
        purity = views[0][1] / labelled if labelled else None
        return GalleryCluster(cluster, size, labelled, views[0][0] if views else None, purity, views, (), ())

    brief = groups_in_brief(
        [
            group(0, 50, 40, (("Brain", 39), ("Orbit", 1))),
            group(1, 20, 20, (("Spine", 12), ("Femur", 8))),
            group(2, 10, 10, (("RVOT", 4), ("LVOT", 3), ("4CH", 3))),
            group(3, 15, 2, (("Feet", 2),)),
            group(4, 5, 0, ()),
        ]
    )
    assert (
        brief.clean == (1, 0.5) and brief.between == (1, 0.2) and brief.mixed == (1, 0.1) and brief.unknown == (2, 0.2)
    )
    assert brief.homeless == ("Orbit", "LVOT", "4CH", "Femur")
    assert groups_in_brief([]) is None
