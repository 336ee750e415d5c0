"""Stable identities: yesterday's cluster 7 is still 7, whatever the new model calls it, and no number comes back."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.service.cluster_identity import matched_identities, overlaps

clusterings = st.integers(1, 5).flatmap(
    lambda k: st.lists(st.integers(0, k - 1), min_size=20, max_size=60).map(lambda rows: (k, np.array(rows)))
)


@settings(deadline=None)
@given(clusterings, st.randoms(use_true_random=False))
def test_a_permuted_clustering_keeps_every_identity(found, random):
    k, old = found
    order = random.sample(range(k), k)
    identities = [10 * i for i in range(k)]
    got = matched_identities(old, np.array(order)[old], identities, k, identities)
    for cluster in set(old.tolist()):
        assert got[order[cluster]] == identities[cluster]


@settings(deadline=None)
@given(clusterings, clusterings, st.floats(0, 1))
def test_the_pairing_is_the_best_one_to_one_of_all(first, second, least):
    (k_old, old), (k_new, new) = first, second
    n = min(len(old), len(new))
    old, new = old[:n], new[:n]
    overlap = overlaps(old, new, k_old, k_new)
    got = matched_identities(old, new, range(k_old), k_new, range(k_old), 0.0)
    kept = [(identity, cluster) for cluster, identity in enumerate(got) if identity < k_old]
    small, large = sorted((k_old, k_new))
    pairs = [
        [(i, p[i]) if k_old <= k_new else (p[i], i) for i in range(small)]
        for p in itertools.permutations(range(large), small)
    ]
    assert sum(overlap[pair] for pair in kept) == pytest.approx(max(sum(overlap[p] for p in one) for one in pairs))
    # a limit on the overlap only takes identities away
    strict = matched_identities(old, new, range(k_old), k_new, range(k_old), least)
    assert all(s == g or s >= k_old for s, g in zip(strict, got, strict=True))
    assert len(set(strict)) == k_new


def test_overlap_is_intersection_over_union():
    old, new = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])
    assert overlaps(old, new, 2, 3) == pytest.approx(np.array([[2 / 3, 1 / 5, 0], [0, 2 / 3, 0]]))


def test_a_split_cluster_leaves_its_number_to_its_larger_part():
    old = np.repeat([0, 1], [50, 60])
    new = np.concatenate([np.repeat([0], 50), np.repeat([1, 2], [40, 20])])
    assert matched_identities(old, new, [4, 7], 3, range(9)) == [4, 7, 9]


def test_too_little_overlap_is_another_cluster():
    old = np.repeat([0, 1], 50)
    new = np.tile([0, 1], 50)  # half of each: a third of the union
    assert matched_identities(old, new, [0, 1], 2, [0, 1], least_overlap=0.4) == [2, 3]
    assert sorted(matched_identities(old, new, [0, 1], 2, [0, 1], least_overlap=0.3)) == [0, 1]


def test_without_images_in_common_every_number_is_new():
    nothing = np.zeros(0, int)
    assert matched_identities(nothing, nothing, [0, 1], 2, [0, 1, 2]) == [3, 4]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(3, 30))
def test_over_many_renewals_no_retired_number_comes_back(seed, renewals):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, 200)
    old, now = truth, list(range(6))
    used, retired = set(now), set()
    for _ in range(renewals):
        k = int(generator.integers(2, 9))
        noisy = np.where(generator.random(200) < generator.random(), truth, generator.integers(0, 9, 200)) % k
        new = generator.permutation(k)[noisy]
        after = matched_identities(old, new, now, k, sorted(used))
        assert len(set(after)) == k and not set(after) & retired
        assert all(i in now or i > max(used) for i in after)
        retired |= set(now) - set(after)
        used |= set(after)
        old, now = new, after
