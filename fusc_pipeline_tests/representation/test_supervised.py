"""The supervised upper line: it learns, ignores the unlabelled, and refuses what it cannot use."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.representation.augment import plain_view
from fusc_pipeline.representation.supervised import (
    SupervisedConfig,
    _class_weights,
    build_classifier,
    train_supervised,
)


def predict(model, pixels):
    return predict_probabilities(model, plain_view(pixels, Compute()), len(pixels), Compute(), batch=7)


def stripes(n=48, side=32):
    """Class 0: horizontal stripes, class 1: vertical, with noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    wave = (np.arange(side) // 4 % 2 * 160).astype(np.float64)
    pictures = [np.tile(wave, (side, 1)) if label else np.tile(wave, (side, 1)).T for label in labels]
    return np.clip(np.stack(pictures) + rng.normal(0, 40, (n, side, side)), 0, 255).astype(np.uint8), labels


def test_it_learns_two_kinds_of_stripes_and_ignores_unlabelled_images(tmp_path):
    pixels, labels = stripes()
    partly = labels.copy()
    partly[:8] = -1
    pixels[:4] = 255
    config = SupervisedConfig(epochs=20, batch_size=8, lr=1e-2, warmup_epochs=1, balanced=True, backbone="tiny")
    result = train_supervised(pixels, partly, config, Compute(), tmp_path / "run.pt")
    probabilities = predict(result.model, pixels[4:])
    assert (probabilities.argmax(1) == labels[4:]).mean() > 0.9
    assert probabilities.dtype == np.float32 and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert result.history[-1]["loss"] < result.history[0]["loss"] and "train_accuracy" in result.history[0]

    loaded = build_classifier(config, 2, Compute())
    loaded.load_state_dict(result.model.state_dict())
    assert np.array_equal(predict(loaded, pixels[4:]), probabilities)
    again = train_supervised(pixels, partly, config, Compute(), tmp_path / "run.pt")  # finished: nothing is trained
    assert np.array_equal(predict(again.model, pixels[4:]), probabilities)


def test_classes_may_be_announced():
    pixels, labels = stripes(8)
    model = train_supervised(
        pixels, labels, SupervisedConfig(epochs=1, batch_size=4, backbone="tiny"), Compute(), n_classes=15
    ).model
    assert model[1].out_features == 15


def test_class_weights_give_every_class_the_same_say():
    targets = torch.tensor([0, 0, 0, 2])
    weights = _class_weights(targets, 4)
    assert weights.tolist() == pytest.approx([4 / 6, 1, 2, 1])
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    per_class = [F.cross_entropy(logits[targets == c], targets[targets == c]) for c in (0, 2)]
    assert float(F.cross_entropy(logits, targets, weight=weights)) == pytest.approx(float(sum(per_class) / 2), rel=1e-5)


def test_unusable_labels_are_refused():
    pixels, labels = stripes(8)
    with pytest.raises(BadInput, match="one label per image"):
        train_supervised(pixels, labels[:5], SupervisedConfig(), Compute())
    with pytest.raises(BadInput, match="0 of 8 images have a label"):
        train_supervised(pixels, np.full(8, -1), SupervisedConfig(), Compute())
    with pytest.raises(BadSetting, match="does not fit"):
        train_supervised(pixels, labels, SupervisedConfig(), Compute(), n_classes=1)
    with pytest.raises(BadSetting, match=r"SupervisedConfig.label_smoothing"):
        SupervisedConfig(label_smoothing=1.0)
