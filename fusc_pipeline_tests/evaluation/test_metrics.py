"""Every figure against a slow oracle: loops, brute-force permutations, and the formulas of the paper."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.evaluation import metrics

SHAPES = [(1, 1), (1, 4), (4, 1), (3, 3), (5, 3), (3, 5), (4, 6), (6, 4)]


def sample(n_classes, n_clusters, seed, n=60):
    """Labels that mostly follow the cluster, so that figures are neither trivial nor chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    noise = rng.integers(0, n_clusters, n)
    clusters = np.where(rng.random(n) < 0.6, truth % n_clusters, noise)
    return np.array(VIEWS)[truth], clusters


def slow_purity(labels, clusters):
    total = 0
    for cluster in set(clusters.tolist()):
        members = [label for label, c in zip(labels, clusters, strict=True) if c == cluster]
        total += Counter(members).most_common(1)[0][1]
    return total / len(labels)


def slow_nmi(labels, clusters):
    n = len(labels)

    def entropy(values):
        return -sum(count / n * math.log(count / n) for count in Counter(values).values())

    labels, clusters = labels.tolist(), clusters.tolist()
    mutual = entropy(labels) + entropy(clusters) - entropy(list(zip(labels, clusters, strict=True)))
    both = entropy(labels) + entropy(clusters)
    return 2 * mutual / both if both else 1.0


def slow_ari(labels, clusters):
    together = [(a, b) for a, b in itertools.combinations(range(len(labels)), 2)]
    in_both = sum(labels[a] == labels[b] and clusters[a] == clusters[b] for a, b in together)
    in_labels = sum(labels[a] == labels[b] for a, b in together)
    in_clusters = sum(clusters[a] == clusters[b] for a, b in together)
    expected = in_labels * in_clusters / len(together)
    most = (in_labels + in_clusters) / 2
    return 1.0 if most == expected else (in_both - expected) / (most - expected)


def every_matching(classes, clusters):
    """All one-to-one matchings of the smaller side into the larger, as dicts class → cluster."""
    if len(classes) <= len(clusters):
        for chosen in itertools.permutations(clusters, len(classes)):
            yield dict(zip(classes, chosen, strict=True))
    else:
        for chosen in itertools.permutations(classes, len(clusters)):
            yield dict(zip(chosen, clusters, strict=True))


def slow_accuracy(labels, clusters):
    best = 0
    for matching in every_matching(sorted(set(labels)), sorted(set(clusters.tolist()))):
        best = max(best, sum(matching.get(label) == c for label, c in zip(labels, clusters, strict=True)))
    return best / len(labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_classes", "n_clusters"), SHAPES)
def test_figures_against_slow_oracles(n_classes, n_clusters, seed):
    labels, clusters = sample(n_classes, n_clusters, seed)
    assert metrics.cluster_purity(labels, clusters) == pytest.approx(slow_purity(labels, clusters))
    assert metrics.normalized_mutual_information(labels, clusters) == pytest.approx(
        slow_nmi(labels, clusters), abs=1e-9
    )
    assert metrics.adjusted_rand_index(labels, clusters) == pytest.approx(slow_ari(labels, clusters))
    assert metrics.hungarian_accuracy(labels, clusters) == pytest.approx(slow_accuracy(labels, clusters))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_classes", "n_clusters"), SHAPES)
def test_macro_recall_is_the_mean_over_views_of_one_best_matching(n_classes, n_clusters, seed):
    labels, clusters = sample(n_classes, n_clusters, seed)
    classes = sorted(set(labels))
    best, recalls = -1, []
    for matching in every_matching(classes, sorted(set(clusters.tolist()))):
        hits = {name: int(((labels == name) & (clusters == matching.get(name, -1))).sum()) for name in classes}
        recall = sum(hits[name] / (labels == name).sum() for name in classes) / len(classes)
        if sum(hits.values()) > best:
            best, recalls = sum(hits.values()), []
        if sum(hits.values()) == best:
            recalls.append(recall)
    assert any(metrics.macro_recall(labels, clusters) == pytest.approx(recall) for recall in recalls)


def test_closed_forms():
    labels = np.array(["Brain"] * 6 + ["Femur"] * 3 + ["Feet"])
    perfect = np.array([2] * 6 + [0] * 3 + [1])
    scores = metrics.score(labels.tolist(), perfect, 3)
    assert (scores.cluster_purity, scores.nmi, scores.ari, scores.accuracy, scores.macro_recall) == (1, 1, 1, 1, 1)
    alone = metrics.score(labels.tolist(), np.arange(10), 10)
    assert alone.cluster_purity == 1 and alone.accuracy == pytest.approx(0.3) and alone.ari == 0
    assert alone.macro_recall == pytest.approx((1 / 6 + 1 / 3 + 1) / 3)
    lump = metrics.score(labels.tolist(), np.zeros(10, int), 3)
    assert lump.cluster_purity == lump.majority_share == lump.accuracy == pytest.approx(0.6)
    assert lump.nmi == 0 and lump.filled_clusters == 1 and lump.macro_recall == pytest.approx(1 / 3)


def test_empty_clusters_do_not_count():
    labels, clusters = sample(3, 3, 0)
    few, many = metrics.score(labels.tolist(), clusters, 3), metrics.score(labels.tolist(), clusters * 7, 40)
    assert few == many
    table, classes = metrics.contingency(labels, clusters, 40)
    assert table.shape == (3, 40) and table.sum() == 60 and classes == metrics.in_view_order(labels.tolist())


def test_unlabelled_images_are_left_out_of_all_but_filled_clusters():
    labels, clusters = sample(4, 4, 1)
    some = [None, float("nan"), *labels.tolist()]
    with_blank = metrics.score(some, np.concatenate([[9, 9], clusters]), 10)
    without = metrics.score(labels.tolist(), clusters, 10)
    assert (with_blank.n, with_blank.n_unlabelled) == (60, 2)
    assert with_blank.filled_clusters == without.filled_clusters + 1
    assert with_blank.cluster_purity == without.cluster_purity and with_blank.nmi == without.nmi


def test_without_labels_only_sizes_are_known():
    scores = metrics.score([None] * 4, np.array([0, 0, 1, 4]), 5)
    assert (scores.n, scores.n_unlabelled, scores.filled_clusters) == (0, 4, 3)
    assert {scores.cluster_purity, scores.nmi, scores.ari, scores.accuracy, scores.macro_recall} == {None}
    assert scores.majority_share is None
    assert metrics.score([], np.zeros(0, int), 5).filled_clusters == 0


def test_refuses_ids_outside_the_range_and_other_lengths():
    with pytest.raises(ValueError, match="0 to 2"):
        metrics.score(["Brain"], np.array([3]), 3)
    with pytest.raises(ValueError, match="0 to 2"):
        metrics.contingency(["Brain"], [-1], 3)
    with pytest.raises(ValueError, match="2 labels"):
        metrics.score(["Brain", None], np.array([1]), 3)


def test_views_come_in_the_order_of_the_list_then_others_by_name():
    assert metrics.in_view_order(["Zebra", "Feet", "Ape", "Spine", "Feet"]) == ["Spine", "Feet", "Ape", "Zebra"]


@given(st.lists(st.tuples(st.sampled_from(VIEWS[:5]), st.integers(0, 6)), min_size=1, max_size=40), st.randoms())
def test_properties(pairs, random):
    labels, clusters = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    scores = metrics.score(labels.tolist(), clusters, 7)
    assert scores.accuracy <= scores.cluster_purity + 1e-12
    assert scores.majority_share <= scores.cluster_purity + 1e-12
    # renaming clusters changes nothing
    names = list(range(7))
    random.shuffle(names)
    renamed = metrics.score(labels.tolist(), np.array(names)[clusters], 7)
    assert renamed.cluster_purity == pytest.approx(scores.cluster_purity)
    assert renamed.nmi == pytest.approx(scores.nmi) and renamed.accuracy == pytest.approx(scores.accuracy)
    # splitting every cluster in two never lowers purity: why it must not stand without K
    halves = 2 * clusters + np.arange(len(clusters)) % 2
    assert metrics.cluster_purity(labels, halves) >= scores.cluster_purity - 1e-12
