"""A warm start: from the encoder of the model in service, held fast for the run; only its flag is fingerprinted."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fusc_pipeline.base.hashing import sha256_file
from fusc_pipeline.defs.representation import warm_start as module
from fusc_pipeline.defs.representation.encoder_configs import SimclrEncoderConfig
from fusc_pipeline.defs.representation.warm_start import warm_start
from fusc_pipeline.representation.backbones import build_backbone
from fusc_pipeline.service.bundle import BundleFacts, Part, seal, write_part
from fusc_pipeline.service.in_service import Served
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config

CONTEXT = SimpleNamespace(info=lambda words: None)
WARM = run_config(simclr_encoder={"warm_start": True})


def put_in_service(monkeypatch, store, number: int, seed: int, network: str = "resnet18") -> Path:
    """A model of that number whose encoder has random weights of that seed; returns their file."""
    root = store.root / "models" / str(number)
    weights = store.root / f"{number}.safetensors"
    root.mkdir(parents=True)
    save_file(build_backbone(seed=seed).state_dict(), weights)
    write_part(root, "simclr_encoder", {"weights.safetensors": weights})
    parts = {"simclr_encoder": Part({"encoder": {"name": network}}, "v")}
    seal(root, BundleFacts("v", "fusc_simclr", "simclr", 4, 0, parts, {}, {}, {}, 0.0))
    monkeypatch.setattr(module, "served", lambda files: Served(number, "v", 0.0, (0, 1, 2, 3), root))
    return root / "parts" / "simclr_encoder" / "weights.safetensors"


def start(store, **config):
    return warm_start(CONTEXT, store, "simclr_encoder", SimclrEncoderConfig(**config), store.root / "work" / "w")


def test_a_run_goes_on_from_what_it_began_with(small_store, monkeypatch):
    source = put_in_service(monkeypatch, small_store, 3, seed=7)
    first = start(small_store)
    assert first.model == 3 and sha256_file(Path(first.weights)) == sha256_file(source)
    assert first.words == "starts from model 3, which was in service"
    put_in_service(monkeypatch, small_store, 4, seed=8)
    source.unlink()  # it is no matter what becomes of it
    assert start(small_store) == first and Path(first.weights).is_file()


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("none", "random weights: no model is in service yet"),
        ("network", "random weights: model 3 in service is a resnet18_fine, not a resnet18"),
        ("encoder", "random weights: model 3 in service has another encoder"),
        ("damaged", "random weights: model 3: parts/simclr_encoder/weights.safetensors in"),
    ],
)
def test_where_no_model_fits_it_starts_cold_and_says_so(small_store, monkeypatch, case, told):
    if case != "none":
        source = put_in_service(monkeypatch, small_store, 3, 7, "resnet18_fine" if case == "network" else "resnet18")
        if case == "damaged":
            source.write_bytes(source.read_bytes()[:-1])
    asset = "dino_encoder" if case == "encoder" else "simclr_encoder"
    found = warm_start(CONTEXT, small_store, asset, SimclrEncoderConfig(), small_store.root / "work" / "w")
    assert told in found.words and found.weights == "" and found.model == 0


def test_a_renewed_encoder_tells_its_start_and_another_model_in_service_changes_nothing(small_store, monkeypatch):
    assert failures(materialise(small_store, "corpus")) == {}
    put_in_service(monkeypatch, small_store, 3, seed=7)
    assert failures(materialise(small_store, "simclr_encoder", WARM)) == {}
    warm = small_store.require("simclr_encoder")
    assert warm.metadata["started_from_model"] == 3
    weights = load_file(small_store.folder("simclr_encoder") / "weights.safetensors")
    near, far = (build_backbone(seed=seed).state_dict()["conv1.weight"] for seed in (7, 0))
    assert torch.dist(weights["conv1.weight"], near) < torch.dist(weights["conv1.weight"], far) / 4
    put_in_service(monkeypatch, small_store, 4, seed=8)
    assert cache_states(materialise(small_store, "simclr_encoder", WARM)) == {"simclr_encoder": "hit"}
    # The flag itself decides; and a field that came later is no part of a fingerprint at its default.
    assert SimclrEncoderConfig(warm_start=True).deciding()["warm_start"] is True
    assert "warm_start" not in SimclrEncoderConfig().deciding()


def test_frozen_and_warm_exclude_one_another(small_store):
    assert failures(materialise(small_store, "corpus")) == {}
    both = run_config(simclr_encoder={"warm_start": True, "encoder": {"weights": "x", "frozen": True}})
    assert "take one" in failures(materialise(small_store, "simclr_encoder", both))["simclr_encoder"]
