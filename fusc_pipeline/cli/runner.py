"""`fusc run`: materialise assets in this process with checked settings, and say in words what happened."""

import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pydantic

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.partitions import SCAN_BATCH
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import is_per_batch, per_batch_assets, stored
from fusc_pipeline.host.device_lease import lock_folder
from fusc_pipeline.host.places import check_data_root
from fusc_pipeline.host.processes import ProcessMark
from fusc_pipeline.operations.history import history_folders, run_history
from fusc_pipeline.operations.presets import (
    apply_setting,
    check_known,
    check_run_config,
    left_out,
    load_preset,
    site_preset,
)
from fusc_pipeline.operations.recovery import reconcile
from fusc_pipeline.operations.run_marks import WORKER_TAG
from fusc_pipeline.service.in_service import ASSIGNMENTS, IN_SERVICE
from fusc_pipeline.training.loop import checkpoint_seconds

PLAIN: dict[str, Any] = {"plain": {}}
# Made from an external batch, beside its own assets.
TESTED = "external_purity"
SHOWN = "cluster_report"
_EXAMPLES = (
    "; examples: --select 'scans,rejected_scans', or --select '+pseudo_labels' (with what it is made from), or "
    '--select \'key:"scans" or group:"text"\''
)


def run(batch: str | None, preset: str | None, selection: str, settings: Sequence[str]) -> int:
    """Materialise `selection` for `batch` (None: for every batch and the corpus, in the order of `_steps`).

    "*" for an external batch trains nothing: its own assets are made, and the finished models are tested on it.

    Returns 0 when every asset was made and every check passed, 1 otherwise. Raises BadSetting for an unknown preset
    or key, BadInput for an unknown batch.
    """
    check_data_root(write=True)
    history_folders()
    lock_folder()
    checkpoint_seconds()
    definitions = build_definitions()
    preset = preset or site_preset()
    config = load_preset(preset) if preset else {}
    for setting in settings:
        apply_setting(config, setting)
    job = definitions.resolve_implicit_global_asset_job_def()
    check_config(config, definitions)
    graph = definitions.resolve_asset_graph()
    keys = _selected(selection, graph, left_out(preset) if preset else [])
    with run_history() as instance:
        resource = StoreResource()
        for sentence in reconcile(instance, resource.get(), resource.inbox()):
            print(f"-- mended: {sentence}")
        steps = _steps(batch, keys, instance.get_dynamic_partitions(SCAN_BATCH), graph)
        if batch is not None and selection == "*" and StoreResource().inbox().is_external(batch):
            steps = _external_steps(batch, keys, steps)
        for partition, chosen in steps:
            names = {key.to_user_string() for key in chosen}
            run_config = {
                "ops": {name: body for name, body in (config.get("ops") or {}).items() if name in names},
                "resources": config.get("resources") or {},
                "loggers": PLAIN,
            }
            print(f"-- {'batch ' + partition if partition else 'corpus'}: {len(chosen)} assets", flush=True)
            began = time.monotonic()
            try:
                result = job.execute_in_process(
                    instance=instance,
                    partition_key=partition,
                    asset_selection=sorted(chosen),
                    run_config=run_config,
                    tags={WORKER_TAG: ProcessMark.of().text()},
                    raise_on_error=False,
                )
            except dg.DagsterInvalidConfigError as error:
                # What `check_config` lets pass, as a number in quotes; Dagster's own words go on with the whole schema.
                told = "; ".join(one.message.split(" Expected: ")[0] for one in error.errors)
                raise BadSetting(f"the settings are refused: {told}") from None
            if not _tell(result, time.monotonic() - began):
                return 1
    return 0


def _selected(selection: str, graph, without: Sequence[str]) -> set[dg.AssetKey]:
    """The selected assets; "*" is all but those that the preset leaves out.

    As `dagster asset materialize --select` takes it: selections with commas between them, the union of which is meant.
    Raises BadSetting, with an example, for what is no selection and for a part that selects nothing.
    """
    names = sorted(key.to_user_string() for key in graph.materializable_asset_keys)
    check_known(without, names, "leave_out of the preset")
    if selection == "*":
        return {key for key in graph.materializable_asset_keys if key.to_user_string() not in without}
    everything = ", ".join(names)
    keys: set[dg.AssetKey] = set()
    for part in (part.strip() for part in selection.split(",")):
        if re.fullmatch(r"\w+", part):
            check_known([part], names, f"--select {selection!r}")
        where = f"--select {selection!r}: {part!r}"
        try:
            with warnings.catch_warnings():  # about Dagster's own use of itself
                warnings.simplefilter("ignore")
                found = dg.AssetSelection.from_string(part).resolve(graph)
        except dg.DagsterError:  # its words are about syntax trees
            raise BadSetting(f"{where} is no asset selection{_EXAMPLES}; assets: {everything}") from None
        if not found:
            raise BadSetting(f"{where} selects no asset; assets: {everything}{_EXAMPLES}")
        keys |= found
    return keys


def check_config(config: Mapping[str, Any], definitions: dg.Definitions) -> None:
    """Raise BadSetting for the first unknown asset or field, and for the first value of a wrong kind or out of its
    range: before any asset is made, not when its turn comes."""
    check_run_config(config, config_fields(definitions))
    for name, body in (config.get("ops") or {}).items():
        fields = (body or {}).get("config") or {}
        kind = stored(name).config_class
        if _from_environment(fields):
            continue
        try:
            kind(**fields)
        except pydantic.ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join((name, *map(str, wrong["loc"])))
            raise BadSetting(f"the setting {where} is {wrong['input']!r}: {wrong['msg']}") from None


def _from_environment(fields: Mapping[str, Any]) -> bool:
    """Whether any value is Dagster's `{env: NAME}`, which only Dagster resolves."""
    return any(
        isinstance(value, Mapping) and (set(value) == {"env"} or _from_environment(value)) for value in fields.values()
    )


def config_fields(definitions: dg.Definitions) -> dict[str, dict]:
    """The config fields of each asset, by its name: field → its own fields, {} where it has none."""

    def fields_of(kind) -> dict:
        return {name: fields_of(field.config_type) for name, field in (getattr(kind, "fields", None) or {}).items()}

    return {
        key.to_user_string(): fields_of(definitions.resolve_assets_def(key).op.config_schema.config_type)
        for key in definitions.resolve_asset_graph().materializable_asset_keys
    }


def _steps(batch: str | None, keys: set[dg.AssetKey], known: Sequence[str], graph):
    """(partition, asset keys) of each run: everything at once for one batch.

    For all: each batch's own assets, then what is made once for the corpus up to the model in service, then each batch
    is assigned with that model, then what is made from the assignments.
    """
    per_batch = {key for key in keys if is_per_batch(key.to_user_string())}
    if batch is not None:
        if batch not in known:
            raise BadInput(f"there is no batch {batch!r}; known: {', '.join(known) or 'none'}; add it: fusc add-batch")
        yield batch, keys
        return
    if per_batch and not known:
        raise BadInput("there is no scan batch yet; add one: fusc add-batch <folder>")
    assigned = {key for key in per_batch if key.to_user_string() == ASSIGNMENTS}
    once = keys - per_batch
    last = _made_from(assigned, graph) & once
    for partition, chosen in (
        *((key, per_batch - assigned) for key in known),
        (None, once - last),
        *((key, assigned) for key in known),
        (None, last),
    ):
        if chosen:
            yield partition, chosen


def _made_from(keys: set[dg.AssetKey], graph) -> set[dg.AssetKey]:
    """Every asset downstream of these."""
    found: set[dg.AssetKey] = set()
    waiting = list(keys)
    while waiting:
        for child in graph.get(waiting.pop()).child_keys - found:
            found.add(child)
            waiting.append(child)
    return found


def _external_steps(batch: str, keys: set[dg.AssetKey], steps: Iterable):
    """What "*" means for an external batch: what is made of it alone, then tests of the models that there are.

    `steps` are those of any batch: they refuse an unknown one.
    """
    next(iter(steps))
    store = StoreResource().get()
    without = set() if store.record(IN_SERVICE) else {ASSIGNMENTS}
    yield batch, {key for key in keys if key.to_user_string() in per_batch_assets() - without}
    if store.record("corpus") is None:
        print(f"-- batch {batch} is external and waits: no model was trained yet; train on another batch: fusc run")
        return
    later = [TESTED, *([SHOWN] if store.record(SHOWN) else [])]
    yield None, {key for key in keys if key.to_user_string() in later}


def _tell(result: dg.ExecuteInProcessResult, seconds: float) -> bool:
    """Print one line per asset and check; True when nothing failed."""
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        facts = {name: value.value for name, value in materialization.metadata.items()}
        rows = facts.get("dagster/row_count")
        took = "cached" if facts.get("fusc/cache") == "hit" else f"{facts.get('fusc/seconds', 0):.1f} s"
        print(
            f"   {materialization.asset_key.to_user_string():24} {took:>9}" + ("" if rows is None else f"  {rows} rows")
        )
    good, warnings = result.success, 0
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            name = f"{check.check_name} of {check.asset_key.to_user_string()}"
            blocks = (
                ", nothing is built on it" if check.blocking and check.severity is dg.AssetCheckSeverity.ERROR else ""
            )
            print(f"   check {name}: {check.severity.value}{blocks}: {check.description}")
            good = good and check.severity is not dg.AssetCheckSeverity.ERROR
            warnings += check.severity is dg.AssetCheckSeverity.WARN
    for event in result.all_events:
        if event.is_step_failure and not _is_told(event.step_failure_data):
            print(f"   {event.step_key} FAILED: {_reason(event.step_failure_data)}")
    told = f", {warnings} warning{'s' if warnings > 1 else ''} (above)" if warnings else ""
    print(f"-- {'done' if good else 'FAILED'} in {seconds:.1f} s{told}", flush=True)
    return good


def _is_told(failure) -> bool:
    """Whether the step failed only since a check did, whose own line says more."""
    return bool(failure.error and failure.error.cls_name == "DagsterAssetCheckFailedError")


def _reason(failure) -> str:
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    return (error.cause or error).message.strip() if error else "no reason given"
