"""SimCLR: the loss against a loop, training that continues after a kill, diagnostics that see a collapse."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.augment import eval_view
from fusc_pipeline.representation.backbones import build_backbone, embed
from fusc_pipeline.representation.configs import SimclrConfig
from fusc_pipeline.representation.simclr import (
    build_projection,
    collapse_diagnostics,
    load_projection,
    nt_xent,
    train_simclr,
)

TINY = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "optimizer": "adamw", "backbone": "tiny"}


def images(n=16, side=32):
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)


def nt_xent_as_loops(first, second, temperature):
    """SimCLR's equation 1, word for word."""
    views = [vector / vector.norm() for vector in (*first.double(), *second.double())]
    n, total = len(first), 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        denominator = sum(math.exp(float(views[i] @ views[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(float(views[i] @ views[j]) / temperature) / denominator)
    return total / (2 * n)


@pytest.mark.parametrize("batch", [2, 3, 8])
@pytest.mark.parametrize("dim", [1, 5, 32])
@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5, 2.0])
def test_nt_xent_equals_equation_1(batch, dim, temperature):
    generator = torch.Generator().manual_seed(batch * 100 + dim)
    first, second = torch.randn(2, batch, dim, generator=generator)
    expected = nt_xent_as_loops(first, second, temperature)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert float(nt_xent(7 * first, 0.1 * second, temperature)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("n", [2, 5, 16])
def test_nt_xent_of_identical_embeddings_is_log_2n_minus_1(n):
    same = torch.ones(n, 4)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(2 * n - 1), rel=1e-6)


def test_nt_xent_is_in_fp32_and_has_a_correct_gradient():
    first, second = torch.randn(2, 4, 3, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    assert nt_xent(first, second, 0.1).dtype == torch.float32
    first = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = nt_xent(first, second, 0.5)
    loss.backward()
    step = torch.zeros(4, 3)
    step[1, 2] = 1e-2
    with torch.no_grad():
        slope = (nt_xent(first + step, second, 0.5) - nt_xent(first - step, second, 0.5)) / 2e-2
    assert float(slope) == pytest.approx(float(first.grad[1, 2]), rel=1e-2)


def test_collapse_diagnostics_tell_spread_from_collapse():
    generator = torch.Generator().manual_seed(0)
    spread = collapse_diagnostics(torch.randn(256, 64, generator=generator))
    assert spread["embedding_std"] == pytest.approx(64**-0.5, rel=0.05) and spread["effective_rank"] > 55
    line = torch.randn(256, 1, generator=generator) @ torch.randn(1, 64, generator=generator)
    assert collapse_diagnostics(line)["effective_rank"] < 1.1
    point = collapse_diagnostics(torch.ones(20, 64))
    assert point["embedding_std"] < 1e-6 and point["effective_rank"] < 1.1
    features = torch.randn(20, 64, generator=generator)
    singular = torch.linalg.svdvals(F.normalize(features, dim=1))
    share = singular / singular.sum()
    assert collapse_diagnostics(features)["effective_rank"] == pytest.approx(
        float((-share * share.log()).sum().exp()), rel=1e-3
    )


def test_training_lowers_the_loss_and_reports_live():
    seen = []
    result = train_simclr(images(), SimclrConfig(**TINY | {"epochs": 6}), Compute(), on_epoch=seen.append)
    assert result.history == seen and len(seen) == 6
    assert seen[-1]["loss"] < seen[0]["loss"]
    assert {"lr", "seconds", "images_per_second", "embedding_std", "effective_rank"} <= set(seen[0])
    build_backbone("tiny").load_state_dict(result.backbone)
    assert result.projection["2.weight"].shape == (128, 6)


def test_resnet18_takes_grey_images_and_trains_in_bf16():
    result = train_simclr(images(4), SimclrConfig(epochs=1, batch_size=4, lr=1e-3), Compute(bf16=True))
    backbone = build_backbone("resnet18")
    backbone.load_state_dict(result.backbone)
    assert backbone.conv1.weight.shape == (64, 1, 7, 7) and backbone.out_dim == 512
    assert embed(backbone, images(2), Compute()).shape == (2, 512)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_seed_decides_the_weights(optimizer):
    config = SimclrConfig(**TINY | {"epochs": 1, "optimizer": optimizer})
    first, again = (train_simclr(images(), config, Compute()).backbone for _ in range(2))
    other = train_simclr(images(), SimclrConfig(**TINY | {"epochs": 1, "optimizer": optimizer, "seed": 1}), Compute())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other.backbone["0.weight"])


def test_a_run_killed_in_its_epoch_ends_with_the_same_weights(tmp_path):
    class Killed(Exception):
        pass

    def kill_after_two(entry):
        if entry["epoch"] == 2:
            raise Killed

    config, compute = SimclrConfig(**TINY | {"epochs": 4}), Compute(bf16=True)
    unbroken = train_simclr(images(), config, compute)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
        with pytest.raises(Killed):
            train_simclr(images(), config, compute, tmp_path / "run.pt", kill_after_two)
    continued = train_simclr(images(), config, compute, tmp_path / "run.pt")
    assert [entry["epoch"] for entry in continued.history] == [1, 2, 3, 4]
    for name, value in unbroken.backbone.items():
        assert torch.equal(continued.backbone[name], value), name


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    config = SimclrConfig(**TINY | {"epochs": 1})
    train_simclr(images(), config, Compute(), tmp_path / "run.pt")
    with pytest.raises(BadInput, match="other settings or data"):
        train_simclr(255 - images(), config, Compute(), tmp_path / "run.pt")


def test_bad_settings_are_refused():
    with pytest.raises(BadSetting, match=r"SimclrConfig.temperature is 0"):
        SimclrConfig(temperature=0)
    with pytest.raises(BadSetting, match="lars"):
        SimclrConfig(optimizer="lars")
    with pytest.raises(BadSetting, match="at least 4 images"):
        train_simclr(images(3), SimclrConfig(**TINY), Compute())
    with pytest.raises(BadSetting, match="resnet18"):
        train_simclr(images(), SimclrConfig(**TINY | {"backbone": "resnet19"}), Compute())


def test_embeddings_are_unit_vectors_and_do_not_depend_on_the_batch():
    backbone = build_backbone("tiny")
    vectors = embed(backbone, images(10), Compute(), batch=4)
    assert vectors.shape == (10, backbone.out_dim) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors, embed(backbone, images(10), Compute(), batch=10), atol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_saved_projection_head_embeds_behind_its_backbone(tmp_path, batch_norm):
    from safetensors.torch import save_file

    config = SimclrConfig(projection_dim=24, projection_batch_norm=batch_norm)
    backbone, projection = build_backbone("tiny"), build_projection(6, config)
    save_file(projection.state_dict(), tmp_path / "projection.safetensors")
    network = load_projection(backbone, tmp_path / "projection.safetensors", Compute())
    vectors = embed(network, images(5), Compute())
    with torch.no_grad():
        expected = F.normalize(projection.eval()(backbone.eval()(eval_view(torch.from_numpy(images(5))))), dim=1)
    assert network.out_dim == 24 and np.allclose(vectors, expected.numpy(), atol=1e-5)


KILLED_RUN = """
import sys, numpy as np, torch
torch.set_num_threads(1)
from fusc_pipeline.base.compute import Compute
from fusc_pipeline.representation.simclr import SimclrConfig, train_simclr
pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
config = SimclrConfig(epochs=6, batch_size=8, lr=1e-3, optimizer="adamw", rotation_degrees=90)
result = train_simclr(pixels, config, Compute(bf16=True), sys.argv[1], lambda e: print(e["epoch"], flush=True))
torch.save(result.backbone, sys.argv[2])
"""


@pytest.mark.slow
def test_a_process_killed_with_sigkill_continues_to_the_same_weights(tmp_path):
    def start(name):
        arguments = [sys.executable, "-c", KILLED_RUN, str(tmp_path / f"{name}.pt"), str(tmp_path / f"{name}.weights")]
        return subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "FUSC_CHECKPOINT_SECONDS": "0"},
        )

    assert start("unbroken").communicate(timeout=300)[0].split() == ["1", "2", "3", "4", "5", "6"]
    killed = start("killed")
    assert killed.stdout.readline() == "1\n" and killed.stdout.readline() == "2\n"
    time.sleep(0.3)  # into the third epoch
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    rest = start("killed").communicate(timeout=300)[0].split()
    assert rest[-1] == "6" and "1" not in rest
    unbroken, continued = (
        torch.load(tmp_path / f"{name}.weights", weights_only=True) for name in ("unbroken", "killed")
    )
    assert all(torch.equal(unbroken[name], continued[name]) for name in unbroken)


def test_a_run_is_known_by_the_content_of_its_first_weights_not_by_their_place(tmp_path):
    from safetensors.torch import save_file

    from fusc_pipeline.representation.simclr import run_digest

    here, there, other = (tmp_path / f"{name}.safetensors" for name in ("here", "there", "other"))
    save_file(build_backbone("tiny").state_dict(), here)
    there.write_bytes(here.read_bytes())
    save_file(build_backbone("tiny", seed=1).state_dict(), other)
    found = [run_digest("simclr", SimclrConfig(**TINY, weights=str(path)), images()) for path in (here, there, other)]
    assert found[0] == found[1] != found[2]
