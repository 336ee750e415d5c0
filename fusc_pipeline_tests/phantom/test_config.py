"""The plan: who shows what, before anything is drawn."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.views import PAPER_VIEW_SHARES, VIEWS
from fusc_pipeline.phantom.config import PhantomConfig, plan


@given(n_frames=st.integers(1, 900), seed=st.integers(0, 5), balanced=st.booleans())
@settings(max_examples=40, deadline=None)
def test_view_counts_are_the_shares_to_within_one_frame(n_frames: int, seed: int, balanced: bool) -> None:
    config = PhantomConfig(n_frames=n_frames, seed=seed, view_shares="balanced" if balanced else "paper")
    counts = Counter(plan(config).views)
    assert sum(counts.values()) == n_frames
    for view, share in config.shares.items():
        assert abs(counts[view] - share * n_frames) < 1 + 1e-9


def test_default_is_the_papers_imbalance_over_48_subjects() -> None:
    config = PhantomConfig()
    assert (config.n_frames, config.n_subjects) == (640, 48)
    total = sum(PAPER_VIEW_SHARES.values())
    assert config.shares == pytest.approx({view: PAPER_VIEW_SHARES[view] / total for view in VIEWS})


@pytest.mark.parametrize("seed", range(4))
def test_every_subject_has_several_frames_of_several_views(seed: int) -> None:
    layout = plan(PhantomConfig(n_frames=640, n_subjects=48, seed=seed))
    views = defaultdict(list)
    for subject, view in zip(layout.subjects, layout.views, strict=True):
        views[subject].append(view)
    assert sorted(views) == list(range(48))
    assert min(map(len, views.values())) >= 4
    assert min(len(set(v)) for v in views.values()) >= 2


def test_two_frames_a_subject_still_show_two_views() -> None:
    layout = plan(PhantomConfig(n_frames=60, n_subjects=30, seed=1))
    pairs = [set(layout.views[k : k + 2]) for k in range(0, 60, 2)]
    assert all(len(pair) == 2 for pair in pairs)


def test_cines_are_one_subject_and_view_and_about_the_asked_share() -> None:
    layout = plan(PhantomConfig(n_frames=1200, n_subjects=40, seed=3, cine_share=0.1))
    cines = {scene: frames for scene, frames in layout.scene_frames.items() if len(frames) > 1}
    assert 0.06 < sum(map(len, cines.values())) / 1200 <= 0.1
    for frames in cines.values():
        assert len({layout.subjects[i] for i in frames}) == len({layout.views[i] for i in frames}) == 1
        assert [layout.cine_frame[i] for i in frames] == list(range(len(frames)))


def test_no_cines_where_labels_are_independent() -> None:
    """A cine's frames share one typed label: they would count it several times in the leak test."""
    layout = plan(PhantomConfig(n_frames=600, cine_share=0.5, label_independent=True))
    assert len(layout.scene_frames) == 600


def test_seeds_differ_and_one_seed_repeats() -> None:
    assert plan(PhantomConfig(seed=1)).views == plan(PhantomConfig(seed=1)).views
    assert plan(PhantomConfig(seed=1)).views != plan(PhantomConfig(seed=2)).views


@pytest.mark.parametrize(
    ("given_settings", "named"),
    [
        ({"n_frames": 0}, "n_frames"),
        ({"n_frames": 5, "n_subjects": 6}, "n_subjects"),
        ({"seed": -1}, "seed"),
        ({"p_no_label": 1.5}, "p_no_label"),
        ({"p_no_label": 0.7, "p_two_views": 0.7}, "p_two_views"),
        ({"cine_share": -0.1}, "cine_share"),
        ({"off_plane": 0.7}, "off_plane"),
        ({"view_shares": "even"}, "view_shares"),
        ({"view_shares": {"Knee": 1.0}}, "Knee"),
        ({"view_shares": {"Brain": 0.0}}, "view_shares"),
    ],
)
def test_a_bad_setting_is_refused_by_name(given_settings: dict, named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        PhantomConfig(**given_settings)


def test_view_shares_can_be_a_mapping() -> None:
    config = PhantomConfig(n_frames=40, view_shares={"Brain": 3, "Spine": 1})
    assert Counter(plan(config).views) == {"Brain": 30, "Spine": 10}
