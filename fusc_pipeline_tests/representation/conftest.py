"""A network of a few hundred weights under the name "tiny": the loops are tested with it, the ResNet once."""

import pytest
from torch import nn

from fusc_pipeline.representation.backbones import BACKBONES


def tiny(in_channels: int) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(in_channels, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 6), nn.BatchNorm1d(6),
    )  # fmt: skip
    network.out_dim = 6
    return network


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny)
