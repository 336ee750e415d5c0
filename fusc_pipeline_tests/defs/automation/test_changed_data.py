"""Automation conditions on the real graph: exact at many batches, deaf to what was made again and came out the same."""

import dagster as dg
import pytest

from fusc_pipeline.defs.automation.changed_data import FAN_IN, OF_ALL, PER_BATCH, SiteConditions
from fusc_pipeline.defs.engine.partitions import scan_batches
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline_tests.integration import simulator

BATCHES = [f"b{n:03d}" for n in range(150)]
TEXT = ("scans", "rejected_scans", "burned_in_text", "pseudo_labels", "clean_images")


@pytest.fixture(scope="module")
def definitions():
    return simulator.definitions()


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def made(instance, asset, version, batch=None):
    """As if a run had made it, with this data version."""
    tags = {"dagster/data_version": version}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=batch, tags=tags))


class Ticks:
    """The sensor's evaluations, one after the other."""

    def __init__(self, definitions, instance, selection=None):
        self._definitions, self._instance, self._cursor = definitions, instance, None
        self._selection = selection or dg.AssetSelection.assets(*sorted(per_batch_assets() | {FAN_IN}))

    def requested(self) -> set[tuple[str, str | None]]:
        """(asset, batch) of everything the next tick asks for."""
        found = dg.evaluate_automation_conditions(
            defs=self._definitions,
            instance=self._instance,
            cursor=self._cursor,
            asset_selection=self._selection,
        )
        self._cursor = found.cursor
        keys = {result.key for result in found.results}
        return {(key.to_user_string(), batch) for key in keys for batch in found.get_requested_partitions(key)}


def deliver(instance, batches, assets=TEXT, version="1"):
    new = [batch for batch in batches if batch not in instance.get_dynamic_partitions(scan_batches.name)]
    instance.add_dynamic_partitions(scan_batches.name, new)
    for batch in batches:
        for asset in assets:
            made(instance, asset, f"{asset}-{batch}-{version}", batch)


def test_exact_at_a_hundred_and_fifty_batches(definitions, instance):
    ticks = Ticks(definitions, instance)
    ticks.requested()
    deliver(instance, BATCHES, ("scans", "clean_images"))
    deliver(instance, ["b003", "b117"])
    made(instance, "corpus", "c1")
    ticks.requested()
    assert ticks.requested() == set()

    made(instance, "scans", "scans-b117-1", "b117")  # made again, came out the same
    made(instance, "clean_images", "clean_images-b003-1", "b003")
    assert ticks.requested() == set()

    made(instance, "scans", "other", "b117")
    wanted = {("rejected_scans", "b117"), ("burned_in_text", "b117"), ("clean_images", "b117")}
    assert ticks.requested() == wanted | {("corpus", None)}
    made(instance, "corpus", "c1")
    assert ticks.requested() == set()
    made(instance, "rejected_scans", "rejected_scans-b117-1", "b117")
    made(instance, "burned_in_text", "other", "b117")
    made(instance, "clean_images", "other", "b117")
    assert ticks.requested() == {("pseudo_labels", "b117"), ("corpus", None)}
    made(instance, "corpus", "c2")
    made(instance, "pseudo_labels", "pseudo_labels-b117-1", "b117")
    assert ticks.requested() == set()
    made(instance, "pseudo_labels", "other", "b117")
    assert ticks.requested() == {("corpus", None)}
    assert ticks.requested() == set()  # asked for once


def small_graph(probe):
    """Two assets of a batch and a fan-in with the real conditions; `probe` is called while the run is at each."""

    def body(name, version=""):
        def compute(context):
            probe(name)
            if context.has_partition_key and context.partition_key == "bad" and name == "cleaned":
                raise RuntimeError("killed")
            return dg.MaterializeResult(data_version=dg.DataVersion(version or f"{name}-{context.partition_key}"))

        return compute

    per_batch = {"partitions_def": scan_batches, "code_version": "1"}
    read = dg.asset(name="read", **per_batch)(body("read"))
    cleaned = dg.asset(name="cleaned", deps=[read], automation_condition=PER_BATCH, **per_batch)(body("cleaned"))
    whole = dg.asset(name="whole", deps=[read, cleaned], automation_condition=OF_ALL, code_version="1")(
        body("whole", "w")
    )
    job = dg.define_asset_job("batch", [read, cleaned], executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[read, cleaned, whole], jobs=[job])


def test_a_batch_that_arrives_is_left_to_the_run_that_makes_it(instance):
    """While its run goes nothing is asked for; afterwards the fan-in, once, and nothing of a batch that failed."""
    seen = []
    graph = small_graph(lambda name: seen.append((name, ticks.requested())))
    ticks = Ticks(graph, instance, dg.AssetSelection.all())
    ticks.requested()
    instance.add_dynamic_partitions(scan_batches.name, ["new", "bad"])
    job = graph.resolve_job_def("batch")
    assert job.execute_in_process(instance=instance, partition_key="new").success
    assert seen == [("read", set()), ("cleaned", set())]
    assert ticks.requested() == {("whole", None)}
    made(instance, "whole", "w")
    assert ticks.requested() == set()
    assert not job.execute_in_process(instance=instance, partition_key="bad", raise_on_error=False).success
    assert ticks.requested() == {("whole", None)}
    made(instance, "whole", "w")
    assert ticks.requested() == set()


def test_the_model_in_service_reaches_every_batch_that_is_whole(definitions, instance):
    ticks = Ticks(definitions, instance)
    deliver(instance, BATCHES[:3])
    made(instance, "corpus", "c1")
    ticks.requested()
    assert ("batch_assignments", "b000") not in ticks.requested()
    made(instance, "model_in_service", "1")
    assert ticks.requested() == {("batch_assignments", batch) for batch in BATCHES[:3]}


def test_runs_have_the_settings_of_the_house_and_run_checks(definitions, instance, monkeypatch, tmp_path):
    preset = tmp_path / "house.yaml"
    preset.write_text("ops:\n  clean_images: {config: {check_text: false}}\n  corpus: {config: {seed: 4}}\n")
    monkeypatch.setenv("FUSC_PRESET", str(preset))
    deliver(instance, ["b000"])
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def("changed_data")
    assert isinstance(sensor, SiteConditions)

    def tick(cursor):
        context = dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor)
        return sensor.evaluate_tick(context)

    cursor = tick(None).cursor
    made(instance, "scans", "other", "b000")
    of_corpus, request = sorted(tick(cursor).run_requests, key=lambda request: request.partition_key or "")
    assert of_corpus.partition_key is None and of_corpus.run_config["ops"] == {"corpus": {"config": {"seed": 4}}}
    assert request.partition_key == "b000"
    assert request.run_config == {
        "ops": {"clean_images": {"config": {"check_text": False}}},
        "execution": {"config": {"in_process": {}}},
    }
    assert request.asset_check_keys is None  # all of theirs
