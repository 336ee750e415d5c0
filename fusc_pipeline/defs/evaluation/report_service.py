"""What the report says of the model in service, gathered from its history and from the batches it was put to."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fusc_pipeline.service.in_service import ASSIGNMENTS, IN_SERVICE, history_rows
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.report.service_section import ServedBatch, ServiceSection


def service_versions(store: Store) -> dict[str, str]:
    """The data versions that the section is made from; none before the first model."""
    now = store.record(IN_SERVICE)
    if now is None:
        return {}
    batches = {f"{ASSIGNMENTS}/{batch}": store.record(ASSIGNMENTS, batch) for batch in store.partitions(ASSIGNMENTS)}
    return {IN_SERVICE: now.data_version, **{name: record.data_version for name, record in batches.items() if record}}


def service_section(store: Store) -> "ServiceSection | None":
    """The section, or None where no model is in service."""
    from fusc_pipeline.report.service_section import ServiceSection

    record = store.record(IN_SERVICE)
    if record is None:
        return None
    told = record.metadata
    assigned = [(batch, store.record(ASSIGNMENTS, batch)) for batch in store.partitions(ASSIGNMENTS)]
    return ServiceSection(
        number=told["model"],
        since=f"{datetime.fromisoformat(told['since']):%Y-%m-%d %H:%M} UTC",
        why=told["why"],
        made_of=told["made_of"],
        n_models=len({row["number"] for row in history_rows(store)}),
        batches=[
            _batch(batch, found.metadata)
            for batch, found in assigned
            if found and found.metadata["model_version"] == told["model"] and found.metadata["frames_new_to_model"]
        ],
    )


def _batch(key: str, told: Mapping[str, Any]) -> "ServedBatch":
    from fusc_pipeline.defs.service.batch_assignments import DRIFT
    from fusc_pipeline.report.service_section import ServedBatch
    from fusc_pipeline.service.drift import Drift, Limits, verdict

    drift = Drift.of(told[DRIFT])
    return ServedBatch(
        key, drift.frames, drift.new, drift.unsure.value, drift.unusual.value, tuple(verdict(drift, Limits()))
    )
