"""Order, lost workers, memory limits and refusals of the worker pool, with engines that misbehave on purpose."""

from functools import partial

import cv2
import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting, FuscError
from fusc_pipeline.text.pool import Reading, read_frames
from fusc_pipeline_tests.text.fakes import FakeEngine, crashes, refuses


def frames(values):
    for number, value in enumerate(values):
        yield f"frame-{number}", np.full((4, 5), value, np.uint8)


def texts(readings):
    return [None if reading.words is None else reading.words[0].text for reading in readings]


@pytest.mark.parametrize("n_workers", [0, 1, 2])
def test_order_is_kept(n_workers):
    readings = list(read_frames(frames(range(17)), FakeEngine, n_workers))
    assert [reading.image_id for reading in readings] == [f"frame-{i}" for i in range(17)]
    assert texts(readings) == [str(i) for i in range(17)]


def test_png_frames_are_decoded_as_rgb_or_grey():
    rgb = np.zeros((6, 7, 3), np.uint8)
    rgb[..., 0] = 7
    grey = np.full((6, 7), 9, np.uint8)
    pngs = [cv2.imencode(".png", image)[1].tobytes() for image in (cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), grey)]
    readings = list(read_frames(zip("ab", pngs, strict=True), FakeEngine, 0))
    assert texts(readings) == ["7", "9"]


def test_a_broken_png_is_reported_and_the_rest_read():
    readings = list(read_frames([("bad", b"no png"), ("empty", b""), *frames([3])], FakeEngine, 0))
    assert texts(readings) == [None, None, "3"]
    assert all("cannot be decoded" in reading.error for reading in readings[:2])


def test_frames_are_taken_lazily():
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield str(number), np.zeros((2, 2), np.uint8)

    readings = read_frames(endless(), FakeEngine, 2)
    for _ in range(4):
        next(readings)
    readings.close()
    assert len(taken) < 30


def test_a_worker_that_dies_once_is_replaced_and_its_frame_read(tmp_path):
    readings = list(read_frames(frames([1, 254, 2, 3]), partial(FakeEngine, str(tmp_path)), 1))
    assert texts(readings) == ["1", "254", "2", "3"]
    assert all(reading.error is None for reading in readings)


def test_a_frame_that_kills_every_worker_comes_back_with_an_error():
    readings = list(read_frames(frames([1, 255, 2, 3, 4]), FakeEngine, 2))
    assert texts(readings) == ["1", None, "2", "3", "4"]
    assert readings[1] == Reading("frame-1", None, readings[1].error)
    assert "died 2 times" in readings[1].error and "exit code 9" in readings[1].error


def test_the_memory_limit_holds_and_costs_one_frame_only():
    readings = list(read_frames(frames([1, 253, 252]), FakeEngine, 1, memory_limit=1_000_000_000))
    assert texts(readings) == ["1", None, "1000000000"]
    assert "memory limit 1.0 GB" in readings[1].error


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_refusal_to_make_an_engine_is_raised_here(n_workers):
    with pytest.raises(BadSetting, match="OCR weights: nothing there"):
        list(read_frames(frames([1]), refuses, n_workers))


def test_a_crash_before_the_engine_is_ready_is_no_endless_loop():
    with pytest.raises(FuscError, match="exit code 3 before it was ready"):
        list(read_frames(frames([1]), crashes, 1))


def test_no_frames_start_no_worker():
    assert list(read_frames([], crashes, 2)) == []


def test_negative_workers_are_refused():
    with pytest.raises(BadSetting, match="n_workers is -1"):
        list(read_frames([], FakeEngine, -1))
