"""What makes an asset a GPU op: one constant, spread into the decorator of every asset that trains or infers.

The pool limits how many run at once on this instance (`concurrency.pools` in dagster.yaml), the tag asks Kubernetes for
a device. A lost device or an out-of-memory kill is tried again (`defs.failures.retried`); Dagster's own retry policy is
not used, as it would try refused settings and missing inputs again as well.
"""

POOL = "gpu"
GPU_OP = {
    "pool": POOL,
    "op_tags": {
        "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}},
    },
    "tags": {"fusc/compute": "gpu"},
}
