"""What each rank of a training runs: `torchrun … -m fusc_pipeline.representation.train_rank job.json`.

The first rank alone checkpoints and reports: through Dagster's pipes where Dagster started it, and in `metrics.jsonl`.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import FuscError
from fusc_pipeline.host.processes import die_with_parent
from fusc_pipeline.training.job import PARENT, Job

_PATIENCE = timedelta(days=7)  # the first rank may measure, or wait for another trainer; torchrun sees who died


def main(path: str) -> int:
    # Before torch, whose import takes seconds: no rank may outlive its agent.
    die_with_parent(parent=int(os.environ[PARENT]) if PARENT in os.environ else None)
    job = Job.read(Path(path))
    import torch.distributed as dist

    from fusc_pipeline.training.ranks import Ranks

    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if job.device == "cuda":
        import torch

        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if job.device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        if ranks.first:
            _reported(job, ranks)
        else:
            _train(job, ranks, None)
        dist.barrier()
    except FuscError as refusal:
        job.refuse(refusal)
        return 1
    finally:
        dist.destroy_process_group()
    return 0


def _reported(job: Job, ranks: Any) -> None:
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, open_dagster_pipes

    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ:  # started by hand
        _train(job, ranks, print)
        return
    with open_dagster_pipes() as pipes:
        _train(job, ranks, pipes.log.info)


def _train(job: Job, ranks: Any, tell: Callable[[str], None] | None) -> None:
    import numpy as np

    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.representation.configs import SimclrConfig
    from fusc_pipeline.representation.knn_monitor import knn_monitor
    from fusc_pipeline.representation.pixels import PixelCache
    from fusc_pipeline.representation.simclr import train_simclr

    given, config, cache = job.input(), SimclrConfig(**job.config), PixelCache.open(Path(job.pixels))
    compute = Compute.detect(job.device, job.threads)
    compute.apply_threads()
    pixels = np.asarray(cache.pixels[given["train"]])
    monitor = on_epoch = None
    if tell is not None:
        rows, epochs = (given["train"], given["test"]), (job.monitor_every, config.epochs)
        monitor = knn_monitor(cache.pixels, given["ids"], given["labels"], rows, epochs, compute)
        on_epoch = _Metrics(job.metrics)
        tell(
            f"{ranks.world} processes train on {compute.device}, {compute.threads} threads each, bf16 {compute.bf16}, "
            f"{'from a checkpoint' if Path(job.checkpoint).exists() else 'from the beginning'}"
        )
    result = train_simclr(pixels, config, compute, Path(job.checkpoint), on_epoch, monitor, ranks)
    if tell is not None:
        _leave(job, result)
        tell(f"trained {len(result.history)} epochs")


class _Metrics:
    """Appends each epoch's metrics to a file, a line each, for whoever follows it."""

    def __init__(self, path: Path):
        self._path = path

    def __call__(self, metrics: dict[str, Any]) -> None:
        with open(self._path, "a") as stream:
            stream.write(json.dumps(metrics) + "\n")


def _leave(job: Job, result: Any) -> None:
    from safetensors.torch import save_file

    job.result.mkdir(exist_ok=True)
    save_file(result.backbone, job.result / "weights.safetensors")
    save_file(result.projection, job.result / "projection.safetensors")
    (job.result / "history.json").write_text(json.dumps(result.history))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
