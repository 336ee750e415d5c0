"""The training loop: schedules, history, and that a killed run ends where an unbroken one does."""

import math
import threading
import time

import pytest
import torch
from torch import nn

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import Schedule, batches_of_epoch, cosine_with_warmup, decay_groups, generator, train


class Killed(Exception):
    pass


def run(path=None, kill_at=None, epochs=4, save_every=0.0, on_epoch=None, end_epoch=None):
    """A small regression with batch norm and noise from the step's generator, killed before step `kill_at`."""
    data = torch.randn(22, 5, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(decay_groups([model], 0.1), lr=1e-2)
    count = 0

    def step(batch, noise):
        nonlocal count
        if count == kill_at:
            raise Killed
        count += 1
        inputs = data[batch] + 0.1 * torch.randn(len(batch), 5, generator=noise)
        loss = (model(inputs).squeeze(1) - data[batch].sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    plan = Schedule(len(data), epochs, 5, 3, cosine_with_warmup(1e-2, 4 * epochs, 2))
    checkpoint = Checkpoint(path, "digest") if path else None
    history = train(
        plan,
        step,
        optimizer,
        {"model": model},
        checkpoint=checkpoint,
        save_every_seconds=save_every,
        on_epoch=on_epoch,
        end_epoch=end_epoch,
    )
    return model.state_dict(), history


@pytest.mark.parametrize("kill_at", [1, 3, 4, 6, 13])
def test_a_killed_run_continues_to_the_same_weights(tmp_path, kill_at):
    unbroken, history = run()
    with pytest.raises(Killed):
        run(tmp_path / "run.pt", kill_at)
    seen = []
    weights, resumed = run(tmp_path / "run.pt", on_epoch=seen.append)
    assert all(torch.equal(weights[name], value) for name, value in unbroken.items())
    assert [entry["epoch"] for entry in resumed] == [1, 2, 3, 4]
    assert [entry["loss"] for entry in resumed] == pytest.approx([entry["loss"] for entry in history], abs=1e-12)
    assert len(seen) == 4 - kill_at // 4


def test_a_finished_run_is_not_trained_again(tmp_path):
    weights, _ = run(tmp_path / "run.pt")
    again, history = run(tmp_path / "run.pt", kill_at=0)
    assert all(torch.equal(again[name], value) for name, value in weights.items()) and len(history) == 4


def test_a_stop_reason_ends_training_and_survives_a_restart(tmp_path):
    def stop_after_two(metrics):
        return {"stop": "enough"} if metrics["epoch"] == 2 else {}

    _, history = run(tmp_path / "run.pt", end_epoch=stop_after_two)
    assert [entry.get("stop") for entry in history] == [None, "enough"]
    _, again = run(tmp_path / "run.pt", kill_at=0, end_epoch=stop_after_two)
    assert again == history


def test_history_has_rates_and_is_reported_live():
    seen = []
    _, history = run(on_epoch=seen.append)
    assert seen == history
    assert {"epoch", "lr", "seconds", "images_per_second", "loss"} <= set(history[0])
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_diverged_run_is_refused_with_the_learning_rate():
    with pytest.raises(BadSetting, match="lower the learning rate"):
        run(end_epoch=lambda metrics: {"loss": math.nan})


def test_batches_cover_an_epoch_without_repeats_and_differ_between_epochs():
    plan = Schedule(23, 2, 5, 7, lambda _: 1.0)
    first, second = batches_of_epoch(plan, 0), batches_of_epoch(plan, 1)
    assert [len(batch) for batch in first] == [5] * 4
    assert len(torch.cat(first).unique()) == 20
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first), torch.cat(batches_of_epoch(plan, 0)))
    small = Schedule(3, 1, 8, 0, lambda _: 1.0)
    assert [len(batch) for batch in batches_of_epoch(small, 0)] == [3]


def test_generators_of_different_keys_differ():
    draws = {float(torch.rand(1, generator=generator(*key))) for key in [(0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1)]}
    assert len(draws) >= 4  # (0, 0) and (0, 0, 0) may be one stream
    assert torch.rand(1, generator=generator(5, 1)) == torch.rand(1, generator=generator(5, 1))


def test_cosine_with_warmup_rises_to_the_peak_and_falls_to_the_floor():
    rate = cosine_with_warmup(2.0, 11, 4, floor=0.5)
    values = [rate(step) for step in range(11)]
    assert values[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert values[4] == 2.0 and values[-1] == pytest.approx(0.5)
    assert values[3:] == sorted(values[3:], reverse=True)
    assert values[7] == pytest.approx(1.25)  # half way
    assert cosine_with_warmup(1.0, 1, 5)(0) == 1.0


def test_a_second_trainer_on_the_same_file_waits_and_finds_what_the_first_left(tmp_path, caplog):
    first, second = (Checkpoint(tmp_path / "run.pt", "d") for _ in range(2))
    seen = []

    def other():
        with second.alone():
            seen.append(second.load())

    waiting = threading.Thread(target=other)
    with first.alone():
        waiting.start()
        time.sleep(0.3)
        assert seen == []
        first.save({"done": 7})
    waiting.join(30)
    assert seen == [{"done": 7}]
    assert any("waiting for another trainer on this checkpoint" in record.message for record in caplog.records)
