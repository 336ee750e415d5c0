"""The weekly renewal: what it trains, when it starts, and in which words it stays away."""

import re

import dagster as dg
import pytest
import yaml

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.defs.automation import renewal
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config, up_to


@pytest.fixture
def instance():
    with dg.instance_for_test() as found:
        yield found


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The installation's settings are the tests' small ones."""
    preset = tmp_path / "house.yaml"
    preset.write_text(yaml.safe_dump({"ops": run_config()["ops"]}))
    monkeypatch.setenv("FUSC_PRESET", str(preset))


def tick(store, instance, **built):
    definitions = build_definitions(root=str(store.root), **built)
    schedule = definitions.resolve_schedule_def("weekly_renewal")
    resources = {"store": StoreResource(root=str(store.root))}
    with dg.build_schedule_context(instance=instance, resources=resources) as context:
        found = schedule.evaluate_tick(context)
    return found.run_requests or found.skip_message


def test_it_trains_all_that_the_model_needs_and_no_batch():
    definitions = build_definitions()
    job = definitions.resolve_job_def("renew_model")
    made = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
    assert {"corpus", "simclr_encoder", "simclr_embeddings", "candidate_model", "model_in_service"} <= made
    assert not made & per_batch_assets() and "cluster_report" not in made
    schedule = definitions.resolve_schedule_def("weekly_renewal")
    assert schedule.cron_schedule == "0 2 * * 0" and schedule.execution_timezone == renewal.local_timezone()
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize("given", ["often", "0 2 * *", "61 2 * * 0"])
def test_a_time_that_is_none_names_the_variable(monkeypatch, given):
    monkeypatch.setenv(renewal.CRON, given)
    with pytest.raises(BadSetting, match=rf"^FUSC_RENEWAL_CRON={re.escape(given)}: give minute, hour, day"):
        build_definitions()


def test_its_time_is_the_installation_s(monkeypatch):
    monkeypatch.setenv("FUSC_RENEWAL_CRON", "30 3 1 * *")
    monkeypatch.setenv("TZ", ":Asia/Dubai")
    schedule = build_definitions().resolve_schedule_def("weekly_renewal")
    assert schedule.cron_schedule == "30 3 1 * *" and schedule.execution_timezone == "Asia/Dubai"
    monkeypatch.setenv("TZ", "no such place")
    assert renewal.local_timezone()


def test_it_starts_on_changed_data_and_stays_away_in_words_otherwise(
    small_store, phantom_frames, instance, house, monkeypatch
):
    # The end of a shorter chain, so that the test costs seconds.
    monkeypatch.setattr(renewal, "END", "simclr_encoder")
    assert len(tick(small_store, instance)) == 1
    assert failures(materialise(small_store, up_to("simclr_encoder"))) == {}
    assert "nothing changed since the last model was made" in tick(small_store, instance)
    fill_store(small_store, phantom_frames[:5], "b2", labels=False)
    assert renewal.first_change(small_store, ["corpus"], {}).startswith("corpus would be another: ")
    (request,) = tick(small_store, instance)
    renewed = request.run_config["ops"]["simclr_encoder"]["config"]
    assert renewed["epochs"] == 1 and renewed["warm_start"] is True
    other = {"simclr_encoder": {"config": {"epochs": 7}}}
    assert "its settings or its code changed" in renewal.first_change(small_store, ["simclr_encoder"], other)


def test_without_settings_of_the_house_those_of_the_last_model_stay(small_store, monkeypatch):
    monkeypatch.delenv("FUSC_PRESET", raising=False)
    for asset, config in (("corpus", {"test_share": 0.3}), ("simclr_encoder", {"epochs": 9, "encoder": {"name": "x"}})):
        with small_store.write(asset, None, Recipe("1", config), {}) as draft:
            draft.path("anything").write_text("made")
    config, asked = renewal.scheduled_config(small_store, ["corpus", "simclr_encoder", "simclr_embeddings"])
    assert asked["corpus"] == config["ops"]["corpus"] == {"config": {"test_share": 0.3}}
    # A renewal starts warm; that the last one did not is no reason for another.
    assert asked["simclr_encoder"]["config"] == {"epochs": 9, "encoder": {"name": "x"}}
    assert config["ops"]["simclr_encoder"]["config"] == {"warm_start": True, "epochs": 9, "encoder": {"name": "x"}}
    assert "simclr_embeddings" not in config["ops"]


def test_it_waits_for_a_renewal_that_is_going_on_and_for_the_first_batch(small_store, tmp_path, instance):
    assert "the model cannot be renewed: no scan batch stands" in tick(Store(tmp_path / "empty"), instance)
    job = build_definitions().resolve_job_def("renew_model")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert tick(small_store, instance) == f"run {run.run_id[:8]} is renewing the model already"


def test_a_warm_renewal_leaves_frozen_encoders_and_the_house_s_word_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("FUSC_PRESET", raising=False)
    names = ["corpus", "simclr_encoder"]
    assert renewal.renewal_config(names)["ops"] == {"simclr_encoder": {"config": {"warm_start": True}}}
    preset = tmp_path / "house.yaml"
    monkeypatch.setenv("FUSC_PRESET", str(preset))
    for said in ({"warm_start": False}, {"encoder": {"frozen": True, "weights": "w"}}):
        preset.write_text(yaml.safe_dump({"ops": {"simclr_encoder": {"config": said}}}))
        assert renewal.renewal_config(names)["ops"]["simclr_encoder"]["config"] == said
