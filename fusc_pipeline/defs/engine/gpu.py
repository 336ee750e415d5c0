"""What makes an asset a GPU op: one constant, spread into the decorator of every asset that trains or infers.

The pool limits how many run at once on this instance (`concurrency.pools` in dagster.yaml), `device_of` says on which
card of this machine, whatever the instance; the tag asks Kubernetes for a device. A lost device or an out-of-memory
kill is tried again (`failures.retried`); Dagster's own retry policy is not used, as it would try refused settings
and missing inputs again as well.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import dagster as dg

from fusc_pipeline.host.device_lease import Lease, leased

POOL = "gpu"
GPU_OP = {
    "pool": POOL,
    "op_tags": {
        "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
    },
    "tags": {"fusc/compute": "gpu"},
}


@contextlib.contextmanager
def device_of(context: dg.AssetExecutionContext, config: Any) -> Iterator[Lease | None]:
    """Hold the device or devices that a GPU op computes on, as long as it works; None for an asset that is none.

    config: of the asset; its `device` ("cpu": no card is taken) and `devices()` (how many; 0: all) are heeded.
    """
    if context.op_def.pool != POOL:
        yield None
        return
    what = f"{context.asset_key.to_user_string()} of run {context.run.run_id[:8]}"
    with leased(what, config.devices(), getattr(config, "device", ""), context.log.info) as lease:
        yield lease
