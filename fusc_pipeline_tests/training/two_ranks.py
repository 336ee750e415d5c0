"""Run by each of two ranks: what they compute together, left as one file by the first. See `test_ranks`."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.representation.backbones import BACKBONES
from fusc_pipeline.representation.configs import SimclrConfig
from fusc_pipeline.representation.simclr import nt_xent, train_simclr
from fusc_pipeline.training.ranks import SOLO, Ranks

TEMPERATURE = 0.2


class Small(nn.Sequential):
    """A network with every kind of batch norm there is here."""

    out_dim = 6

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(channels, 6, 5, 4), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(6, 6), nn.BatchNorm1d(6),
        )  # fmt: skip


BACKBONES["small"] = Small
CONFIG = SimclrConfig(
    epochs=3, batch_size=8, lr=1e-3, optimizer="sgd", backbone="small", rotation_degrees=30, projection_batch_norm=True
)


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, 32, 32), dtype=np.uint8)


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """Two views' features (8, 5) before a linear layer."""
    return tuple(torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(4)))


def contrast(ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss, and gradient of the linear layer: of the whole batch, whoever has which part of it."""
    torch.manual_seed(5)
    layer = nn.Linear(5, 4)
    first, second = (view[ranks.share(len(view))] for view in embeddings())
    loss = nt_xent(*ranks.gather_views(layer(first), layer(second)), TEMPERATURE)
    (loss * ranks.world).backward()
    gradient = layer.weight.grad
    if ranks.world > 1:
        dist.all_reduce(gradient)
        gradient /= ranks.world
    return loss.detach(), gradient


def trained(ranks: Ranks, checkpoint: Path | None = None, epochs: int = 3):
    config = SimclrConfig(**vars(CONFIG) | {"epochs": epochs})
    return train_simclr(images(), config, Compute(), checkpoint, ranks=ranks)


def main(folder: Path) -> None:
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    dist.init_process_group("gloo")
    loss, gradient = contrast(ranks)
    result = trained(ranks, folder / "checkpoint.pt")
    again = trained(ranks, folder / "checkpoint.pt")  # from the last checkpoint: nothing is left to do
    try:
        train_simclr(images()[:7], CONFIG, Compute(), ranks=ranks)
        refusal = ""
    except BadSetting as error:
        refusal = str(error)
    same = all(torch.equal(again.backbone[name], value) for name, value in result.backbone.items())
    equal = torch.cat([value.flatten().double() for value in result.backbone.values()])
    others = [torch.empty_like(equal) for _ in range(ranks.world)]
    dist.all_gather(others, equal)
    if ranks.first:
        found = {"loss": loss, "gradient": gradient, "backbone": result.backbone, "projection": result.projection}
        found |= {"history": result.history, "continued": same, "refusal": refusal}
        torch.save(found | {"ranks_agree": torch.equal(*others)}, folder / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    assert SOLO.first
    main(Path(sys.argv[1]))
