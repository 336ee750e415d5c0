"""Rendered frames and their truth."""

import numpy as np
import pytest

from fusc_pipeline.phantom import PhantomConfig, PhantomFrame, contact_sheet, iter_frames, render_frame
from fusc_pipeline.phantom.config import plan
from fusc_pipeline.phantom.render import subject_of
from fusc_pipeline.phantom.screen import tinted

CONFIG = PhantomConfig(n_frames=20, n_subjects=4, seed=11, view_shares="balanced", p_second_annotation=0.4)


@pytest.fixture(scope="module")
def frames() -> list[PhantomFrame]:
    return list(iter_frames(CONFIG))


def same(a: PhantomFrame, b: PhantomFrame) -> bool:
    arrays = ("screen", "anatomy", "fan", "ink")
    facts = ("view", "typed_text", "label_view", "label_box", "subject", "machine", "index", "cm_per_px")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in facts
    )


def test_a_frame_does_not_depend_on_those_before_it(frames: list[PhantomFrame]) -> None:
    for index in (17, 3):
        assert same(render_frame(CONFIG, index), frames[index])


def test_shapes_and_types(frames: list[PhantomFrame]) -> None:
    for frame in frames:
        height, width = frame.anatomy.shape
        assert frame.screen.shape == (height, width, 3)
        assert (height, width) in ((600, 800), (720, 960))
        assert frame.screen.dtype == frame.anatomy.dtype == np.uint8
        assert frame.fan.dtype == frame.ink.dtype == np.bool_
        assert frame.fan.shape == frame.ink.shape == (height, width)


def test_the_anatomy_is_the_screen_without_ink(frames: list[PhantomFrame]) -> None:
    for frame in frames:
        assert (frame.anatomy[~frame.fan] == 0).all()
        assert not (frame.ink & ~frame.fan).any()
        tint = subject_of(CONFIG, plan(CONFIG).subjects[frame.index]).study.tint
        untouched = frame.fan & ~frame.ink
        assert np.array_equal(frame.screen[untouched], tinted(frame.anatomy, tint)[untouched])
        assert frame.ink.sum() < 0.1 * frame.fan.sum()


def test_pictures_are_neither_black_nor_washed_out(frames: list[PhantomFrame]) -> None:
    means = np.array([frame.anatomy[frame.fan].mean() for frame in frames])
    assert means.min() > 8 and means.max() < 150
    assert all(np.percentile(frame.anatomy[frame.fan], 99.5) > 90 for frame in frames)


def test_the_labels_box_holds_its_ink(frames: list[PhantomFrame]) -> None:
    for frame in frames:
        assert (frame.label_box is None) == (frame.typed_text is None)
        if frame.label_box is None:
            continue
        x0, y0, x1, y1 = frame.label_box
        assert 0 <= x0 < x1 <= frame.screen.shape[1] and 0 <= y0 < y1 <= frame.screen.shape[0]
        inside = frame.fan[y0:y1, x0:x1]
        if inside.mean() > 0.99:
            assert 0.05 < frame.ink[y0:y1, x0:x1].mean() < 0.8


def test_most_labels_lie_over_tissue() -> None:
    config = PhantomConfig(n_frames=24, seed=2, label_independent=True)
    over = [frame.fan[y0:y1, x0:x1].mean() for frame in iter_frames(config) for x0, y0, x1, y1 in [frame.label_box]]
    assert np.mean(np.array(over) > 0.9) > 0.7


def test_without_anything_typed_only_calipers_and_ruler_are_ink() -> None:
    config = PhantomConfig(n_frames=8, seed=4, p_no_label=1, p_two_views=0, p_second_annotation=0)
    assert all(frame.ink.mean() < 0.012 for frame in iter_frames(config))


def test_a_cines_frames_move_but_keep_their_label() -> None:
    config = PhantomConfig(n_frames=200, n_subjects=8, seed=5, cine_share=0.2)
    members = next(m for m in plan(config).scene_frames.values() if len(m) > 2)
    first, second = (render_frame(config, index) for index in members[:2])
    assert (first.typed_text, first.label_box, first.view) == (second.typed_text, second.label_box, second.view)
    assert np.array_equal(first.fan, second.fan)
    assert not np.array_equal(first.anatomy, second.anatomy)
    stranger = next(m for m in plan(config).scene_frames if m not in members)
    alike = [np.corrcoef(first.anatomy.ravel(), f.anatomy.ravel())[0, 1] for f in (second,)]
    other = render_frame(config, stranger)
    if other.anatomy.shape == first.anatomy.shape:
        assert alike[0] > np.corrcoef(first.anatomy.ravel(), other.anatomy.ravel())[0, 1]


def test_subjects_share_a_machine_and_an_index_beyond_the_end_is_refused() -> None:
    assert len({f.machine for f in (render_frame(CONFIG, i) for i in range(3))}) == 1
    with pytest.raises(IndexError):
        render_frame(CONFIG, CONFIG.n_frames)


def test_contact_sheet_is_a_picture(frames: list[PhantomFrame], tmp_path) -> None:
    path = contact_sheet(frames[:5], tmp_path / "sheets" / "contact.png", columns=3, width=160)
    assert path.stat().st_size > 10_000
