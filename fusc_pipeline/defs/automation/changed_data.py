"""What is made again by itself when data changed upstream: the cheap assets, by the sensor `changed_data`.

It fires on another data version, never on an output that was made again and came out the same; a batch that arrives is
`arrivals_sensor`'s part, and what trains is made by its schedule or by a person.
"""

import warnings
from collections.abc import Sequence

import dagster as dg

from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.operations.dagster_private import changed_record
from fusc_pipeline.operations.presets import site_config

SECONDS = 30
FAN_IN = "corpus"
_CHANGED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()).since_last_handled()
# While a run is at a batch it makes what comes after as well, so nothing is made twice.
_QUIET = ~dg.AutomationCondition.in_progress() & ~dg.AutomationCondition.any_deps_in_progress()
# A batch whose run failed is tried again by the arrivals sensor alone. An output that failed a blocking check needs no
# condition here: Dagster knows one verdict for all partitions, while `materialize` refuses by the very version.
PER_BATCH = (
    _CHANGED & _QUIET & ~dg.AutomationCondition.any_deps_missing() & ~dg.AutomationCondition.execution_failed()
).with_label("a batch's data changed")
# The corpus takes the batches that are whole, however many are missing or failed, once no run is at one.
OF_ALL = (_CHANGED & _QUIET).with_label("data of a batch changed")


def automated(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, with the conditions of those that are made again by themselves."""
    return [dg.map_asset_specs(_with_condition, [asset])[0] for asset in assets]


def _automated() -> frozenset[str]:
    return per_batch_assets() | {FAN_IN}


def _with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
    name = spec.key.to_user_string()
    if name not in _automated() or not spec.deps:
        return spec
    return spec.replace_attributes(automation_condition=OF_ALL if name == FAN_IN else PER_BATCH)


class SiteConditions(dg.AutomationConditionSensorDefinition):
    """As Dagster's, but its runs have the installation's settings, run in one process and run the assets' checks."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext):
        found = super().evaluate_tick(context)
        return changed_record(found, run_requests=[_at_home(request) for request in found.run_requests or []])


def _at_home(request: dg.RunRequest) -> dg.RunRequest:
    names = [key.to_user_string() for key in request.asset_selection or []]
    config = site_config(names) | {"execution": {"config": {"in_process": {}}}}
    return request._replace(run_config=config, asset_check_keys=None)


def changed_data() -> dg.AutomationConditionSensorDefinition:
    """The sensor."""
    with warnings.catch_warnings():
        # What is in beta is that the conditions are evaluated where this code is; else settings could not be given.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return SiteConditions(
            name="changed_data",
            target=dg.AssetSelection.assets(*sorted(_automated())),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=SECONDS,
            emit_backfills=False,
            use_user_code_server=True,
            description="Makes what comes after a batch again, and the corpus, when their inputs' data changed; an "
            "output that was made again and came out the same starts nothing. Nothing is trained.",
        )
