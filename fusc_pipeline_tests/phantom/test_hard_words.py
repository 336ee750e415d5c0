"""Turned, dark and faint names on phantoms: only when asked for, others in every frame, and told pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest

from fusc_pipeline.phantom.config import PhantomConfig, plan
from fusc_pipeline.phantom.hard_words import KINDS, draw_hard_words
from fusc_pipeline.phantom.render import render_frame

PLAIN = PhantomConfig(n_frames=40, seed=7, cine_share=0.3)
HARD = replace(PLAIN, p_hard_words=1.0)


@pytest.mark.parametrize("index", [0, 9, 23])
def test_they_change_nothing_else(index):
    plain, hard = render_frame(PLAIN, index), render_frame(HARD, index)
    assert plain.hard_words == () and hard.hard_words
    assert np.array_equal(plain.anatomy, hard.anatomy) and plain.typed_text == hard.typed_text
    changed = (plain.screen != hard.screen).any(2)
    assert changed.any() and np.array_equal(changed, hard.ink & ~plain.ink) and not (changed & ~hard.fan).any()
    within = np.zeros_like(changed)
    for word in hard.hard_words:
        x0, y0, x1, y1 = word.box
        within[y0:y1, x0:x1] = True
        assert changed[y0:y1, x0:x1].any()
    assert not (changed & ~within).any()


def test_each_frame_of_a_cine_has_its_own():
    frames = next(members for members in plan(HARD).scene_frames.values() if len(members) > 2)
    texts = [tuple(word.text for word in render_frame(HARD, index).hard_words) for index in frames]
    assert len(set(texts)) == len(texts)


def test_every_kind_is_drawn_turned_as_it_says_and_dark_or_bright():
    fan = np.zeros((600, 800), bool)
    fan[40:560, 60:740] = True
    screen = np.where(fan[:, :, None], 120, 0).astype(np.uint8).repeat(3, axis=2)
    seen = {}
    for seed in range(60):
        drawn, ink, words = draw_hard_words(screen, np.zeros_like(fan), fan, np.random.default_rng(seed))
        for word in words:
            x0, y0, x1, y1 = word.box
            seen[word.kind] = (drawn[y0:y1, x0:x1], x1 - x0, y1 - y0)
            assert not (ink & ~fan).any()
    assert set(seen) == set(KINDS)
    for kind, (patch, width, height) in seen.items():
        assert (height > width) == (kind in ("turned_90", "turned_270", "stacked", "dark_turned")), kind
        assert (patch.min() < 20) == (kind in ("dark", "dark_turned", "outlined")), kind
        assert (patch.max() > 120) == (kind not in ("dark", "dark_turned")), kind


@pytest.mark.parametrize("external", [False, True])
def test_the_command_asks_for_them(tmp_path, external):
    from fusc_pipeline.cli import main

    written = []
    for name, more in (("plain", []), ("hard", ["--hard-words"])):
        command = ["phantom", str(tmp_path / name), "--frames", "2", "--subjects", "1", *more]
        assert main.main([*command, *["--external"] * external]) == 0
        written.append(sorted(p.read_bytes() for p in (tmp_path / name).rglob("*") if p.suffix in (".png", ".dcm")))
    assert len(written[0]) == len(written[1]) > 0 and written[0] != written[1]
    assert main.main(["phantom", str(tmp_path / "hard"), "--frames", "2", "--subjects", "1"]) == 1
