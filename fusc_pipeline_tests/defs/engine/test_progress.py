"""Live progress: what is told, and that it is not told too often."""

import itertools
from types import SimpleNamespace

import dagster as dg
import pytest

from fusc_pipeline.defs.engine import progress
from fusc_pipeline.defs.engine.progress import Counting, Progress, left, observe_every


class Recording:
    """Stands in for a context; its clock goes by itself."""

    def __init__(self, monkeypatch, seconds: float):
        self.lines, self.events, self.now, self.seconds = [], [], 0.0, seconds
        self.asset_key = dg.AssetKey("simclr_encoder")
        self.log = SimpleNamespace(info=self.lines.append)
        self.log_event = self.events.append
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def train(self, told: Progress, epochs: range, **more) -> None:
        for epoch in epochs:
            self.now += self.seconds
            told({"epoch": epoch, "lr": 0.1, "images_per_second": 410.2, "loss": 4.0 / epoch, **more})


@pytest.mark.parametrize("seconds, epochs", [(0.01, 1000), (1, 500), (20, 500), (600, 200)])
def test_at_most_fifty_observations_ten_seconds_apart_and_always_the_last(monkeypatch, seconds, epochs):
    context = Recording(monkeypatch, seconds)
    context.train(Progress(context, "simclr_encoder", epochs), range(1, epochs + 1))
    seen = [event.metadata["train/epoch"].value for event in context.events]
    assert seen[0] == 1 and seen[-1] == epochs and len(seen) <= progress.MOST_OBSERVATIONS
    gaps = [(after - before) * seconds for before, after in itertools.pairwise(seen[:-1])]
    assert all(gap >= progress.OBSERVE_EVERY_S - 1e-6 for gap in gaps)
    assert len(seen) >= min(epochs, 20, epochs * seconds / 10)


def test_fits_share_the_observations(monkeypatch):
    context = Recording(monkeypatch, 20)
    for seed in range(9):
        context.train(Progress(context, f"fusc_simclr K=15 seed={seed}", 100, fits=9), range(1, 101))
    assert 9 * 2 <= len(context.events) <= 60


def test_a_line_has_loss_rate_epoch_and_what_is_left(monkeypatch):
    context = Recording(monkeypatch, 30)
    context.train(Progress(context, "simclr_encoder", 10), range(1, 5))
    assert context.lines[1].startswith("simclr_encoder: epoch 2 of 10, loss 2, images per second 410.2")
    assert context.lines[1].endswith("4 min to go")
    metadata = context.events[0].metadata
    assert metadata["train/loss"].value == 4.0 and metadata["train/eta_s"].value == 270.0
    assert all(isinstance(entry.value, int | float) for entry in metadata.values())  # what the UI draws


def test_what_is_left_counts_from_where_a_killed_run_went_on(monkeypatch):
    context = Recording(monkeypatch, 30)
    context.train(Progress(context, "x", 100), range(91, 92))
    assert context.lines[0].endswith("4 min to go")


def test_a_training_that_stops_early_tells_its_last_epoch(monkeypatch):
    context = Recording(monkeypatch, 0.1)
    told = Progress(context, "x", 100)
    context.train(told, range(1, 3))
    context.train(told, range(3, 4), stop="lost clusters", loss=float("nan"))
    assert context.lines[-1].endswith("done") and context.events[-1].metadata["train/epoch"].value == 3
    assert "train/loss" not in context.events[-1].metadata  # NaN is no point of a plot


def test_counting_tells_rate_and_what_is_left_every_ten_seconds(monkeypatch):
    context = Recording(monkeypatch, 0)
    count = Counting(context.lines.append, "burned_in_text", 600)
    for done in range(1, 601):
        context.now += 0.5
        count(done)
    assert len(context.lines) == 30
    assert context.lines[0] == "burned_in_text: 20 of 600 frames, 2 a second, 5 min to go"
    assert context.lines[-1] == "burned_in_text: 600 of 600 frames, 2 a second, done"


def test_spans_of_time_in_words():
    assert [left(s) for s in (0, 40, 720, 12_600)] == ["done", "40 s to go", "12 min to go", "3.5 h to go"]
    assert observe_every(0, 50) == 10 and observe_every(0, 48_000) == 1000
