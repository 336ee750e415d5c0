"""The split: subjects stay whole, every image has one, the shares are about right."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.evaluation.splitting import joined_subjects, split_by_subject

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


def corpus(first: int, last: int):
    """Ten frames of each subject, of one, two or three views each, a quarter of them without a label."""
    views = ("Brain", "Femur", "Spine", "Kidney")
    rows = [(f"s{s}", views[(s + f * s) % 4] if f % 4 else None) for s in range(first, last) for f in range(10)]
    return [s for s, _ in rows], [v for _, v in rows]


@settings(deadline=None, max_examples=40)
@given(images, st.randoms(use_true_random=False))
def test_the_order_of_delivery_decides_nothing(rows, random):
    shuffled = random.sample(rows, len(rows))
    splits = []
    for order in (rows, shuffled):
        subjects = [f"s{s}" for s, _ in order]
        splits.append(dict(zip(subjects, split_by_subject(subjects, [v for _, v in order], 0.2, 1), strict=True)))
    assert splits[0] == splits[1]


@pytest.mark.parametrize("seed", range(4))
def test_growth_by_a_tenth_moves_few_subjects(seed):
    subjects, views = corpus(0, 200)
    more, further = corpus(200, 220)
    before = dict(zip(subjects, split_by_subject(subjects, views, 0.2, seed), strict=True))
    grown = split_by_subject(subjects + more, views + further, 0.2, seed)
    after = dict(zip(subjects + more, grown, strict=True))
    moved = [s for s in before if before[s] != after[s]]
    assert len(moved) <= 12  # of 200; a division made anew moves about 60
    assert sum(before[s] == after[s] == "test" for s in before) >= 30
    assert grown.count("test") == pytest.approx(440, abs=22)


def test_shares_are_kept_with_few_subjects():
    subjects, views = corpus(0, 45)
    splits = split_by_subject(subjects, views)
    assert splits.count("test") / 450 == pytest.approx(0.2, abs=0.03)
    for view in set(views):
        mine = [s for s, v in zip(splits, views, strict=True) if v == view]
        assert mine.count("test") / len(mine) == pytest.approx(0.2, abs=0.12), view


links = st.lists(
    st.tuples(st.integers(0, 9), st.none() | st.integers(0, 6), st.integers(0, 40)).map(
        lambda row: (f"s{row[0]}", None if row[1] is None else f"t{row[1]}", f"i{row[2]}")
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@given(links)
def test_subjects_that_share_a_study_or_an_image_are_joined_and_no_others(rows):
    """Against a slow oracle: joining until nothing changes any more."""
    groups = {subject: {subject} for subject, _, _ in rows}
    for _ in rows:
        for one, study, image in rows:
            for other, same, again in rows:
                if image == again or (study is not None and study == same):
                    groups[one] |= groups[other]
                    groups[other] |= groups[one]
    assert joined_subjects(rows) == {subject: min(group) for subject, group in groups.items()}


@settings(deadline=None, max_examples=60)
@given(links, st.integers(0, 3))
def test_no_study_is_on_both_sides(rows, seed):
    joined = joined_subjects(rows)
    if len(set(joined.values())) < 2:
        return
    splits = split_by_subject([joined[subject] for subject, _, _ in rows], [None] * len(rows), 0.2, seed)
    for place in (1, 2):
        sides: dict[str, set[str]] = {}
        for row, split in zip(rows, splits, strict=True):
            if row[place] is not None:
                sides.setdefault(row[place], set()).add(split)
        assert all(len(found) == 1 for found in sides.values())
