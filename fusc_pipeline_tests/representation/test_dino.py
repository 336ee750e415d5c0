"""DINO: the loss against loops, schedules against the authors' formulas, resuming, and that it learns."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.representation import dino
from fusc_pipeline.representation.augment import Augmentation, augment, augmented_view
from fusc_pipeline.representation.backbones import build_backbone, embed
from fusc_pipeline.representation.configs import DinoConfig
from fusc_pipeline.representation.dino import DinoHead, DinoLoss, head_size, teacher_temperature, train_dino
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import average_into, cosine_between

SMALL = {
    "batch_size": 8, "hidden_dim": 16, "bottleneck_dim": 8, "out_dim": 16, "n_local": 2, "backbone": "tiny",
    "warmup_epochs": 0.0, "lr": 1e-3,
}  # fmt: skip


def pictures(n=24, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, side, side), dtype=np.uint8)


@pytest.mark.parametrize("n_local", [0, 1, 3])
@pytest.mark.parametrize("temperature", [0.02, 0.07])
def test_the_loss_is_that_of_loops_over_pairs_of_different_views(n_local, temperature):
    config = DinoConfig(n_local=n_local)
    b, d = 5, 7
    generator = torch.Generator().manual_seed(n_local)
    student = torch.randn((2 + n_local) * b, d, generator=generator)
    teacher = torch.randn(2 * b, d, generator=generator)
    loss_module = DinoLoss(d, config)
    loss_module.center.copy_(torch.randn(d, generator=generator))
    centre = loss_module.center.clone()
    expected, entropies, pairs = 0.0, 0.0, 0
    for t in range(2):
        for v in range(2 + n_local):
            if t == v:
                continue
            pairs += 1
            for i in range(b):
                target = ((teacher[t * b + i] - centre).double() / temperature).softmax(0)
                said = (student[v * b + i].double() / config.student_temperature).softmax(0)
                expected += float(-(target * said.log()).sum()) / b
    for row in teacher:
        target = ((row - centre).double() / temperature).softmax(0)
        entropies += float(torch.special.entr(target).sum()) / len(teacher)
    loss, entropy = loss_module(student, teacher, temperature)
    assert float(loss) == pytest.approx(expected / pairs, rel=1e-4, abs=1e-6)
    assert float(entropy) == pytest.approx(entropies, rel=1e-4, abs=1e-6)
    assert torch.allclose(loss_module.center, centre * 0.9 + teacher.mean(0) * 0.1, atol=1e-6)
    assert int(loss_module.steps) == 1


def test_a_teacher_that_says_one_thing_has_no_entropy_and_one_that_says_nothing_has_all():
    loss = DinoLoss(64, DinoConfig())
    _, low = loss(torch.zeros(4, 64), torch.eye(64)[:1].repeat(4, 1) * 100, 0.04)
    loss = DinoLoss(64, DinoConfig())
    _, high = loss(torch.zeros(4, 64), torch.ones(4, 64), 0.04)
    assert float(low) < 1e-6 and float(high) == pytest.approx(math.log(64), rel=1e-5)


@pytest.mark.parametrize("steps", [2, 7, 100])
def test_the_cosine_is_the_authors(steps):
    # facebookresearch/dino utils.cosine_scheduler: end + (start - end)/2 (1 + cos(pi i / n)), here with both ends met
    found = [cosine_between(0.996, 1.0, steps)(i) for i in range(steps)]
    expected = [1.0 + 0.5 * (0.996 - 1.0) * (1 + math.cos(math.pi * i / (steps - 1))) for i in range(steps)]
    assert found == pytest.approx(expected) and found[0] == pytest.approx(0.996) and found[-1] == pytest.approx(1.0)


def test_the_teacher_temperature_rises_to_its_value():
    config = DinoConfig(teacher_temperature=0.07, teacher_temperature_start=0.04, teacher_warmup_epochs=30)
    assert [teacher_temperature(config, e) for e in (0, 15, 30, 200)] == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_small_corpora_get_small_heads():
    assert head_size(500) == 512 and head_size(12_000) == 4096 and head_size(88_063) == 32_768
    assert head_size(1_300_000) == 65_536


def test_prototypes_have_unit_length_where_asked():
    head = DinoHead(6, 10, DinoConfig(hidden_dim=8, bottleneck_dim=4, norm_last_layer=True))
    features = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    bottleneck = F.normalize(head.mlp(features), dim=1)
    expected = bottleneck @ F.normalize(head.directions, dim=1).T
    assert (
        torch.allclose(head(features), expected, atol=1e-6) and float(head(features).detach().abs().max()) <= 1 + 1e-5
    )
    assert not head.lengths.requires_grad


def test_the_teacher_is_the_moving_average():
    a, b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    b.weight.data.fill_(2.0), b.running_mean.fill_(5.0)
    average_into(a, b, 0.75)
    assert torch.equal(a.weight, torch.full((3,), 1.25)) and torch.equal(a.running_mean, b.running_mean)


def test_it_learns_and_keeps_its_prototypes_still_at_first(tmp_path):
    config = DinoConfig(epochs=4, frozen_last_epochs=2, seed=3, **SMALL)
    result = train_dino(pictures(), config, Compute())
    entry = result.history[-1]
    assert {"teacher_entropy", "teacher_entropy_share", "kl", "effective_rank", "embedding_std"} <= set(entry)
    assert 0 <= entry["teacher_entropy_share"] <= 1 and entry["kl"] >= 0
    still = train_dino(pictures(), DinoConfig(epochs=4, frozen_last_epochs=100, seed=3, **SMALL), Compute())
    start = DinoHead(build_backbone("tiny").out_dim, 16, config)
    assert still.head["directions"].shape == start.directions.shape
    assert not torch.equal(still.head["directions"], result.head["directions"])


def test_a_killed_run_continues_to_the_same_weights(tmp_path, monkeypatch):
    config = DinoConfig(epochs=3, **(SMALL | {"backbone": "vit_tiny_patch16_224", "drop_path": 0.2}))
    whole = train_dino(pictures(16), config, Compute())

    class Killed(BaseException):
        pass

    def stop(entry):
        if entry["epoch"] == 2:
            raise Killed

    monkeypatch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
    with pytest.raises(Killed):
        train_dino(pictures(16), config, Compute(), tmp_path / "run.pt", stop)
    resumed = train_dino(pictures(16), config, Compute(), tmp_path / "run.pt")
    assert [e["epoch"] for e in resumed.history] == [1, 2, 3]
    assert all(torch.equal(whole.backbone[k], resumed.backbone[k]) for k in whole.backbone)
    assert all(torch.equal(whole.head[k], resumed.head[k]) for k in whole.head)


def test_a_vision_transformer_takes_any_side_and_gives_its_class_token():
    network = build_backbone("vit_tiny_patch16_224", seed=1)
    assert network.out_dim == 192
    for side in (32, 48, 224):
        assert network(torch.zeros(2, 1, side, side)).shape == (2, 192)
    vectors = embed(network, pictures(5, 48), Compute())
    assert vectors.shape == (5, 192) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(BadSetting, match="vit_smal"):
        build_backbone("vit_smal_patch16_224")


def test_views_of_another_size_and_inverted_highlights():
    rows = torch.from_numpy(pictures(6, 64))
    still = {"mirror_p": 0, "jitter_p": 0, "max_aspect": 1.0}
    small = augment(rows, Augmentation(min_crop_scale=0.1, max_crop_scale=0.4), torch.Generator().manual_seed(0), 32)
    assert small.shape == (6, 1, 32, 32)
    whole = Augmentation(min_crop_scale=1.0, **still)
    plain = augment(rows, whole, torch.Generator().manual_seed(0)) * 0.2 + 0.2
    turned = augment(rows, Augmentation(min_crop_scale=1.0, solarise_p=1.0, **still), torch.Generator().manual_seed(0))
    assert torch.allclose(turned * 0.2 + 0.2, torch.where(plain >= 0.5, 1 - plain, plain), atol=1e-5)
    with pytest.raises(BadSetting, match="above max_crop_scale"):
        augmented_view(pictures(), Augmentation(min_crop_scale=0.5, max_crop_scale=0.4), Compute())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train_dino(pictures(), DinoConfig(epochs=1, **SMALL), Compute(), tmp_path / "run.pt")
    assert Checkpoint(tmp_path / "run.pt", "x").path.exists()
    with pytest.raises(Exception, match="other settings"):
        train_dino(pictures(), DinoConfig(epochs=1, **(SMALL | {"lr": 2e-3})), Compute(), tmp_path / "run.pt")


@pytest.mark.parametrize("side, first, local", [(224, 2.0, 2.0), (64, 0.571, 0.667)])
def test_crops_are_the_authors_and_blurred_in_proportion_to_their_side(monkeypatch, side, first, local):
    made = []
    monkeypatch.setattr(dino, "augmented_view", lambda _pixels, how, _compute, size=None: made.append((how, size)))
    config = DinoConfig(min_global_scale=0.4, min_local_scale=0.05)
    dino.crops(pictures(2, side), config, Compute())
    (one, _), (two, _), (part, size) = made
    assert (one.blur_p, two.blur_p, part.blur_p) == (1.0, 0.1, 0.5)
    assert (one.solarise_p, two.solarise_p, part.solarise_p) == (0.0, 0.2, 0.0)
    assert (one.min_crop_scale, one.max_crop_scale) == (0.4, 1.0)
    assert (part.min_crop_scale, part.max_crop_scale) == (0.05, 0.4)
    assert size == {224: 96, 64: 32}[side]
    assert one.max_blur_sigma == two.max_blur_sigma == pytest.approx(first, abs=1e-3)
    assert part.max_blur_sigma == pytest.approx(local, abs=1e-3)
