"""The split: subjects stay whole, every image has one, the shares are about right."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.errors import BadInput
from fusc_pipeline.splitting import split_by_subject

images = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([None, "Brain", "Femur", "Spine"])), min_size=2, max_size=80
).filter(lambda rows: len({subject for subject, _ in rows}) > 1)


@settings(deadline=None, max_examples=60)
@given(images, st.integers(0, 3))
def test_no_subject_is_in_both_splits_and_both_have_images(rows, seed):
    subjects, views = [f"s{s}" for s, _ in rows], [v for _, v in rows]
    splits = split_by_subject(subjects, views, 0.2, seed)
    assert len(splits) == len(rows) and set(splits) == {"train", "test"}
    by_subject = {}
    for subject, split in zip(subjects, splits, strict=True):
        assert by_subject.setdefault(subject, split) == split


def test_shares_and_views_are_kept_when_there_is_enough():
    subjects = [f"s{i // 10}" for i in range(1000)]
    views = [("Brain", "Femur", "Spine", None)[i % 4] for i in range(1000)]
    splits = split_by_subject(subjects, views, 0.2, 1)
    assert splits.count("test") == pytest.approx(200, abs=20)
    for view in ("Brain", "Femur", "Spine", None):
        mine = [s for s, v in zip(splits, views, strict=True) if v == view]
        assert mine.count("test") / len(mine) == pytest.approx(0.2, abs=0.05)


def test_one_seed_gives_one_split_and_another_seed_another():
    subjects, views = [f"s{i % 20}" for i in range(100)], [None] * 100
    assert split_by_subject(subjects, views, seed=4) == split_by_subject(subjects, views, seed=4)
    assert split_by_subject(subjects, views, seed=4) != split_by_subject(subjects, views, seed=5)


def test_one_subject_cannot_be_split():
    with pytest.raises(BadInput, match="the corpus has 1 subject"):
        split_by_subject(["a", "a"], [None, None])
