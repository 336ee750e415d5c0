"""What makes an asset a GPU op: one constant, spread into the decorator of every asset that trains or infers.

The pool limits how many run at once on this instance (`concurrency.pools` in dagster.yaml), the tag asks Kubernetes for
a device, the retry policy covers a lost device or an out-of-memory kill; refused input is never retried.
"""

import dagster as dg

GPU_OP = {
    "pool": "gpu",
    "op_tags": {
        "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
    },
    "retry_policy": dg.RetryPolicy(
        max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    ),
    "tags": {"fusc/compute": "gpu"},
}
