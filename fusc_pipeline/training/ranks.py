"""Ranks: processes that train one network together, each on its share of every batch. Starting them is `agent`'s part.

They learn what one process learns, up to the order in which floats are added: the batch, its random views, batch
norm's statistics and the loss are those of the whole batch, whoever computes which part. So the number of processes is
no setting that decides a result, and a run may go on with another number than it began with.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `world`; one of one needs no process group."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes checkpoints and reports."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The rows of a batch of n (a multiple of the ranks) that this one computes."""
        each = n // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def check_batch(self, batch: int) -> None:
        """Raise BadSetting for a batch that does not divide among the ranks."""
        if batch % self.world:
            raise BadSetting(
                f"a batch of {batch} images does not divide among {self.world} processes; change batch_size, or "
                "processes (0: as many as fit)"
            )

    def gather(self, part: Tensor) -> Tensor:
        """The ranks' (b, …) parts as one (world · b, …), by rank; only this rank's own part carries a gradient.

        A loss that every rank takes from the same gathered tensor must be multiplied by `world` before `backward`:
        the gradients are averaged over the ranks, of which each has its own part's only.
        """
        if self.world == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.world)]
        dist.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.cat(parts)

    def gather_views(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """`gather` for two views' vectors (b, d) of this rank's images: (B, d) each, in the batch's order."""
        if self.world == 1:
            return first, second
        both = self.gather(torch.stack([first, second], 1))
        return both[:, 0], both[:, 1]

    def joined(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the ranks after each backward pass (see `share_batch_norm`)."""
        if self.world == 1:
            return network
        place = next(network.parameters()).device
        return nn.parallel.DistributedDataParallel(network, device_ids=[place.index] if place.type == "cuda" else None)

    def share_batch_norm(self, network: nn.Module, name: str) -> nn.Module:
        """Have batch norm take its statistics over all ranks; the state dict stays as it was. name: for a refusal."""
        return network if self.world == 1 else _shared(network, name)

    def checkpoint(self, path: Path, digest: str) -> Checkpoint:
        """The file that the first rank writes and all read."""
        return Checkpoint(path, digest) if self.world == 1 else _SharedCheckpoint(path, digest, self)


SOLO = Ranks()


class _SharedCheckpoint(Checkpoint):
    def __init__(self, path: Path, digest: str, ranks: Ranks):
        super().__init__(path, digest)
        self._first = ranks.first

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with super().alone() if self._first else contextlib.nullcontext():
            dist.barrier()  # nobody reads the file before the first has it to itself
            yield

    def save(self, payload: dict[str, Any]) -> None:
        if self._first:
            super().save(payload)


class _Sum(torch.autograd.Function):
    """Sum over the ranks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over equal parts of a batch on several ranks, on any device (torch's own is for GPUs)."""

    def _check_input_dim(self, images: Tensor) -> None:
        pass

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        axes, shape = [0, *range(2, images.ndim)], [1, -1] + [1] * (images.ndim - 2)
        n = images.numel() // images.shape[1] * dist.get_world_size()
        values = images.float()
        mean = _Sum.apply(values.sum(axes)) / n
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / n
        with torch.no_grad():
            assert self.num_batches_tracked is not None and self.momentum is not None  # as every network here has them
            assert self.running_mean is not None and self.running_var is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(images.dtype)


def _shared(module: nn.Module, name: str) -> nn.Module:
    for key, child in module.named_children():
        setattr(module, key, _shared(child, name))
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module
    if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d) or not module.affine or module.momentum is None:
        raise BadSetting(
            f"{name} has a batch norm ({type(module).__name__}) that cannot be shared by processes; set processes to 1"
        )
    kind = nn.SyncBatchNorm if module.weight.is_cuda else SharedBatchNorm
    new = kind(module.num_features, module.eps, module.momentum)
    new.weight, new.bias = module.weight, module.bias
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(new, buffer, getattr(module, buffer))
    return new.train(module.training)
