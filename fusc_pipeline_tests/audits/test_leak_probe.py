"""The leak probe on made-up windows: it finds a planted trace, is silent without one, and says when it cannot tell."""

import numpy as np
import pytest

from fusc_pipeline.audits.leak_probe import ProbeConfig, judged, measure_leak, too_few
from fusc_pipeline.audits.removal_audit import CONTROL, FORMER, UNCLEANED
from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting

CPU = Compute(device="cpu", bf16=False, channels_last=True, threads=1)
QUICK = ProbeConfig(folds=2, steps=30, batch_size=16)
N = 120


@pytest.fixture(autouse=True)
def one_thread():
    """As an asset sets them: sums over several threads come out otherwise, and so would what is learned."""
    CPU.apply_threads()


@pytest.fixture(scope="module")
def frames():
    """(speckle windows by name, with a bar at a view's place in the uncleaned ones, views, subjects)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, N)
    plain = {name: rng.integers(20, 110, (N, 16, 48)).astype(np.uint8) for name in (FORMER, CONTROL, UNCLEANED)}
    marked = plain[UNCLEANED]
    for row, label in zip(marked, labels, strict=True):
        if label:
            row[4:12, 22:25] = 250
        else:
            row[7:9, 14:34] = 250
    return plain, [("Femur", "Brain")[label] for label in labels], [f"s{i // 8}" for i in range(N)]


def test_silent_without_a_trace_and_strong_enough_to_find_one(frames):
    windows, views, subjects = frames
    leak = measure_leak(windows, views, subjects, QUICK, CPU)
    assert (leak.n, leak.subjects) == (N, 15)
    assert leak.leak.low <= 0 <= leak.leak.high
    assert leak.power.low > 0.2 and leak.accuracy[UNCLEANED].value > 0.8
    assert leak.accuracy[FORMER].count == round(leak.accuracy[FORMER].value * N)


def test_a_trace_left_by_cleaning_is_a_leak(frames):
    windows, views, subjects = frames
    left = windows | {FORMER: np.maximum(windows[FORMER], (windows[UNCLEANED] == 250) * np.uint8(160))}
    assert measure_leak(left, views, subjects, QUICK, CPU).leak.low > 0.1


def test_equal_seeds_judge_equally_and_nobody_is_judged_by_their_own_network(frames):
    windows, views, subjects = frames
    labels = np.array([view == "Femur" for view in views]).astype(int)
    few = ProbeConfig(folds=2, steps=4)
    runs = [judged(windows[UNCLEANED], labels, np.array(subjects), few, CPU) for _ in range(2)]
    assert np.array_equal(*runs) and set(runs[0]) <= {0, 1}
    # Windows that tell the subject and nothing else: a network that had seen it would know every answer.
    rng = np.random.default_rng(3)
    of_subject = rng.integers(0, 2, 15)
    own = rng.integers(0, 255, (15, 16, 48)).astype(np.uint8)
    place = np.arange(N) // 8
    found = judged(own[place], of_subject[place], np.array(subjects), QUICK, CPU)
    assert (found == of_subject[place]).mean() < 0.85


def test_too_few_frames_give_a_reason_instead_of_a_number(frames):
    windows, views, subjects = frames
    reason = too_few(views[:30], subjects[:30])
    assert "30 frames of 4 subjects and 2 views" in reason and "needs 100 frames of 10 subjects" in reason
    assert too_few(["Femur"] * N, subjects) and too_few([], []) and too_few(views, subjects) is None
    with pytest.raises(ValueError, match="not measured"):
        measure_leak({name: rows[:30] for name, rows in windows.items()}, views[:30], subjects[:30], QUICK, CPU)


def test_settings_out_of_range_are_refused():
    with pytest.raises(BadSetting, match=r"ProbeConfig\.folds is 1"):
        ProbeConfig(folds=1)
