"""Two ranks learn what one process learns: the same loss, gradients, statistics and, but for rounding, weights."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.augment import Augmentation, Part, augment
from fusc_pipeline.training.job import Job, ranks_for
from fusc_pipeline.training.ranks import SOLO, Ranks, SharedBatchNorm
from fusc_pipeline_tests.training import two_ranks


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two ranks on gloo left."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "fusc_pipeline.training.agent", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "fusc_pipeline_tests.training.two_ranks", str(folder)]
    subprocess.run(command, check=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return torch.load(folder / "found.pt", weights_only=True)


def test_the_loss_and_its_gradient_are_those_of_the_whole_batch(together):
    loss, gradient = two_ranks.contrast(SOLO)
    torch.testing.assert_close(together["loss"], loss)
    torch.testing.assert_close(together["gradient"], gradient)


def test_a_training_over_two_ranks_is_that_of_one_process(together):
    alone = two_ranks.trained(SOLO)
    assert together["ranks_agree"] and together["continued"]
    for part in ("backbone", "projection"):
        found, wanted = together[part], getattr(alone, part)
        assert found.keys() == wanted.keys()  # the state dict is the usual one, whatever trained it
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], rtol=2e-4, atol=2e-5)
    for found, wanted in zip(together["history"], alone.history, strict=True):
        for figure in ("loss", "effective_rank", "embedding_std"):
            assert found[figure] == pytest.approx(wanted[figure], rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused(together):
    assert "a batch of 7 images does not divide among 2 processes" in together["refusal"]


@pytest.mark.parametrize(
    ("asked", "devices", "batch", "ranks"),
    [
        (0, 1, 64, 1),
        (0, 4, 64, 4),
        (0, 3, 64, 2),
        (0, 4, 29, 1),
        (0, 8, 4, 2),
        (2, 1, 64, 2),
        (3, 1, 63, 3),
        (1, 4, 7, 1),
    ],
)
def test_as_many_ranks_as_devices_that_divide_the_batch(asked, devices, batch, ranks):
    assert ranks_for(asked, devices, batch) == ranks


@pytest.mark.parametrize(("asked", "batch"), [(2, 7), (8, 8), (3, 64)])
def test_a_number_of_ranks_that_does_not_fit_is_refused_before_any_starts(asked, batch):
    with pytest.raises(BadSetting, match=f"a batch of {batch} images does not divide among {asked} processes"):
        ranks_for(asked, 1, batch)


def test_what_a_rank_refuses_is_raised_again_in_its_words(tmp_path):
    job = Job(str(tmp_path), "", "", {}, "cpu", 1, 0)
    job.write([], np.array([]), [], [])
    assert Job.read(job.path) == job and job.refusal() is None
    job.refuse(BadInput("the loss became nan"))
    found = job.refusal()
    assert isinstance(found, BadInput) and str(found) == "the loss became nan"
    job.write([], np.array([]), [], [])  # another attempt
    assert job.refusal() is None


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shares_of_a_batch_are_the_batch_and_are_drawn_as_in_it(world):
    config = Augmentation(rotation_degrees=40, blur_p=0.5, cutout_p=0.5, solarise_p=0.3, gamma=0.3)
    pixels = torch.randint(0, 256, (8, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = augment(pixels, config, torch.Generator().manual_seed(1))
    rows = [Ranks(rank, world).share(8) for rank in range(world)]
    parts = [augment(pixels[r], config, torch.Generator().manual_seed(1), part=Part(8, r)) for r in rows]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_batch_norm_of_another_kind_is_refused():
    class Odd(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(Odd(2)))
    assert SOLO.share_batch_norm(network, "odd") is network
    with pytest.raises(BadSetting, match="odd has a batch norm"):
        Ranks(0, 2).share_batch_norm(network, "odd")
    usual = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    names, weight = list(usual.state_dict()), usual[1].weight
    shared = Ranks(0, 2).share_batch_norm(usual, "usual")
    assert isinstance(shared[1], SharedBatchNorm) and list(shared.state_dict()) == names and shared[1].weight is weight
