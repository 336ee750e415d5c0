"""Encoders from checkpoints on this machine: every form they come in, and what is refused."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.augment import eval_view
from fusc_pipeline.representation.backbones import build_backbone, check_side, restore_backbone
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig
from fusc_pipeline.representation.dino import train_dino
from fusc_pipeline.representation.pretrained import IMAGENET_MEAN, IMAGENET_STD, read_checkpoint
from fusc_pipeline.representation.simclr import on_cpu, train_simclr

VIT = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def published():
    """A vision transformer of colour photographs with its classifier, as a hub would give it."""
    torch.manual_seed(3)
    return timm.create_model(VIT, num_classes=7, dynamic_img_size=True).eval()


def grey(n=2, side=32):
    return torch.randint(0, 256, (n, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", ["safetensors", "plain", "state_dict", "teacher", "module"])
def test_a_published_network_sees_pictures_as_it_was_trained_to(tmp_path, published, form):
    state = {name: value.clone() for name, value in published.state_dict().items()}
    path = tmp_path / f"vit.{'safetensors' if form == 'safetensors' else 'pth'}"
    wrapped = {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        # A self-distillation run's checkpoint: the head lies beside the backbone.
        "teacher": {
            "student": {},
            "teacher": {f"backbone.{k}": v for k, v in state.items()} | {"head.mlp.0.weight": torch.zeros(2, 2)},
        },
        "module": {"model": {f"module.{k}": v for k, v in state.items()}},
    }
    save_file(state, path) if form == "safetensors" else torch.save(wrapped[form], path)
    network = build_backbone(VIT, weights=str(path)).eval()
    pixels = grey()
    colour = (pixels.float() / 255)[:, None].expand(-1, 3, -1, -1)
    expected = (colour - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    mean = timm.get_pretrained_cfg(VIT).mean
    if mean != IMAGENET_MEAN:  # timm says how each of its networks was fed
        expected = (colour - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(timm.get_pretrained_cfg(VIT).std).view(
            3, 1, 1
        )
    with torch.no_grad():
        found = network(eval_view(pixels))
        wanted = published.forward_head(published.forward_features(expected), pre_logits=True)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert network.out_dim == 192


def test_an_encoder_of_this_package_is_taken_as_it_is(tmp_path):
    earlier = build_backbone("resnet18_small", seed=5)
    save_file(on_cpu(earlier), tmp_path / "weights.safetensors")
    again = build_backbone("resnet18_small", seed=9, weights=str(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(eval_view(grey())), earlier.eval()(eval_view(grey())))


def test_torchvisions_classifier_is_left_out(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    network = build_backbone("resnet18", weights=str(tmp_path / "resnet18.pth"))
    assert network.eval()(eval_view(grey())).shape == (2, 512)


@pytest.mark.parametrize("name", [VIT, "resnet18_small"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_saved_is_restored(tmp_path, name, channels):
    save_file(on_cpu(build_backbone(name, channels, seed=2)), tmp_path / "w.safetensors")
    network = build_backbone(name, weights=str(tmp_path / "w.safetensors")).eval()
    again = restore_backbone(name, on_cpu(network)).eval()
    with torch.no_grad():
        assert torch.equal(network(eval_view(grey())), again(eval_view(grey())))


class Anything:
    pass


@pytest.mark.parametrize(
    "content, words",
    [
        (b"not a checkpoint", "no readable checkpoint"),
        (b"", "no readable checkpoint"),
        (None, "no readable checkpoint"),
        ({"epoch": 3}, "no state dict"),
        ({"model": Anything()}, "no readable checkpoint"),
        ({"weight": torch.zeros(2, 2)}, "one or three channels"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "not of the network"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "given.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BadInput, match=words):
        build_backbone("resnet18", weights=str(path))


def test_no_pickled_code_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadInput, match="no readable checkpoint"):
        read_checkpoint(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_images_that_do_not_divide_into_patches_are_refused():
    network = build_backbone("vit_tiny_patch16_224")
    check_side(network, VIT, 64)
    with pytest.raises(BadSetting, match="patches of 16; take 96"):
        check_side(network, VIT, 100)


def test_training_goes_on_from_the_checkpoint(tmp_path):
    pixels = grey(8).numpy()
    save_file(on_cpu(build_backbone("resnet18_small", 3, seed=2)), tmp_path / "w.safetensors")
    start = build_backbone("resnet18_small", weights=str(tmp_path / "w.safetensors"))
    settings = {
        "epochs": 1,
        "batch_size": 8,
        "lr": 1e-6,
        "warmup_epochs": 0.0,
        "weights": str(tmp_path / "w.safetensors"),
    }
    simclr = train_simclr(pixels, SimclrConfig(optimizer="adamw", backbone="resnet18_small", **settings), Compute())
    small = {"hidden_dim": 16, "bottleneck_dim": 8, "out_dim": 16, "n_local": 1, "backbone": "resnet18_small"}
    dino = train_dino(pixels, DinoConfig(**small, **settings), Compute())
    for trained in (simclr.backbone, dino.backbone):
        for name, value in start.named_parameters():
            assert torch.allclose(trained[name], value, atol=1e-4), name
