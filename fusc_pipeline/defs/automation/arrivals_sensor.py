"""The sensor `new_scan_batches`: a folder that arrives in the inbox becomes a batch and its run. What counts as arrived
is `arrivals`' part, whether it is tried again `attempts`', what happens on changed data `changed_data`'s.
"""

import json
from collections.abc import Iterable

import dagster as dg

from fusc_pipeline.base.errors import FuscError
from fusc_pipeline.defs.automation.jobs import NEW_BATCH_JOB, batch_assets, batch_config
from fusc_pipeline.defs.engine.partitions import SCAN_BATCH, scan_batches
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.arrivals import CHAIN, IN_PART, Arrival, ArrivalRules, Look, look, looking, standing
from fusc_pipeline.operations.attempts import ARRIVAL_TAG, Attempt, batches_in_progress, next_attempt
from fusc_pipeline.store.store import Store

SECONDS = 30
_NAMED = 8  # batches named in a tick's words; the rest is counted


@dg.sensor(
    name="new_scan_batches",
    job_name=NEW_BATCH_JOB,
    minimum_interval_seconds=SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A folder in the inbox becomes a scan batch and is read, cleaned and assigned to clusters with the "
    "model in service: at once where it holds a _READY marker, else when it looked the same twice. A delivery with "
    "the same content starts nothing; what waits, and why, is told by each tick and by `fusc arrivals`.",
)
def new_scan_batches(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    files, inbox = store.get(), store.inbox()
    try:
        rules, keys = ArrivalRules.from_environment(), inbox.keys()
        inbox.registered()  # refuses an entry that cannot be read
    except FuscError as refusal:
        return dg.SkipReason(str(refusal))
    with looking(inbox) as memory:
        seen = look(inbox, keys, lambda batch: standing(files, batch), memory, rules)
        inbox.keep_looks(seen.memory)
    chosen, held, attempts = _choose(context.instance, files, seen, json.loads(context.cursor or "{}"), rules)
    assets = batch_assets(files)
    requests = []
    for arrival, attempt in chosen:
        if arrival.key not in inbox.registered():
            inbox.register(arrival.key, arrival.folder)
        requests.append(_request(arrival, attempt, assets))
    told = _in_words(seen, held, [arrival for arrival, _ in chosen], files)
    if requests:
        context.log.info(told)
    known = set(context.instance.get_dynamic_partitions(SCAN_BATCH))
    new = [arrival.key for arrival, _ in chosen if arrival.key not in known]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else told,
        dynamic_partitions_requests=[scan_batches.build_add_request(new)] if new else [],
        cursor=json.dumps(attempts, sort_keys=True),
    )


def _choose(
    instance: dg.DagsterInstance, store: Store, seen: Look, memory: dict, rules: ArrivalRules
) -> tuple[list[tuple[Arrival, Attempt]], list[tuple[str, str]], dict]:
    """(deliveries to run now, batches that are held back and why, what to remember of the tries)."""
    going = batches_in_progress(instance)
    chosen: list[tuple[Arrival, Attempt]] = []
    held: list[tuple[str, str]] = []
    attempts = {}
    for arrival in seen.of_state("ready"):
        if arrival.key in going:
            held.append((arrival.key, "a run is at it"))
        elif failed := _failed_check(store, arrival):
            held.append((arrival.key, failed))
        elif len(chosen) >= rules.per_tick:
            held.append((arrival.key, "its turn comes with one of the next looks"))
        else:
            attempt = next_attempt(instance, _tag(arrival), memory.get(arrival.key, {}), rules.tries)
            if attempt.memory:
                attempts[arrival.key] = attempt.memory
            if attempt.number:
                chosen.append((arrival, attempt))
            else:
                held.append((arrival.key, attempt.why))
    # Of batches that were not asked about this time, what is known of their tries stays known.
    waiting = {arrival.key for arrival in seen.of_state("ready")}
    return chosen, held, {key: value for key, value in memory.items() if key in waiting} | attempts


def _failed_check(store: Store, arrival: Arrival) -> str:
    """Why nothing more can be made of this very delivery: a blocking check that it failed; else empty."""
    if arrival.why != IN_PART:
        return ""
    found = ((asset, store.refusal(asset, arrival.key)) for asset in ("scans", *CHAIN))
    return next((f"{asset} failed a check: {words}" for asset, words in found if words), "")


def _tag(arrival: Arrival) -> str:
    return f"{arrival.key}@{arrival.content}"


def _request(arrival: Arrival, attempt: Attempt, assets: list[str]) -> dg.RunRequest:
    again = f"#{attempt.number}" if attempt.number > 1 else ""
    return dg.RunRequest(
        run_key=_tag(arrival) + again,
        partition_key=arrival.key,
        run_config=batch_config(assets),
        tags={ARRIVAL_TAG: _tag(arrival)},
        asset_selection=[dg.AssetKey(asset) for asset in assets],
    )


def _in_words(seen: Look, held: Iterable[tuple[str, str]], chosen: list[Arrival], store: Store) -> str:
    """What this look found, in words without names of folders."""
    parts = []
    if chosen:
        parts.append("started: " + _named((a.key, a.why) for a in chosen))
        if store.record("model_in_service") is None:
            parts.append("no model is in service yet, so batches are not assigned to clusters")
    waiting = [*held, *((a.key, a.why) for a in seen.of_state("waiting"))]
    if waiting:
        parts.append("waiting: " + _named(waiting))
    refused = [arrival.why for arrival in seen.of_state("refused")]
    parts += [
        f"refused: {why}" + (f" ({refused.count(why)} times)" if refused.count(why) > 1 else "")
        for why in dict.fromkeys(refused)
    ]
    if seen.told:
        parts.append(seen.told)
    unchanged = len(seen.of_state("unchanged"))
    parts.append(f"{unchanged} batches are made and unchanged" if unchanged or not parts else "")
    return "; ".join(part for part in parts if part)


def _named(batches: Iterable[tuple[str, str]]) -> str:
    batches = list(batches)
    rest = f", and {len(batches) - _NAMED} more" if len(batches) > _NAMED else ""
    return ", ".join(f"{key} ({why})" for key, why in batches[:_NAMED]) + rest
