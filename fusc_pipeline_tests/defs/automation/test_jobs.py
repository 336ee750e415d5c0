"""Jobs that a person launches in the UI: what they make, with whose settings."""

import dagster as dg
import pytest

from fusc_pipeline.defs.automation.jobs import job_name
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline_tests.defs.test_build import GROUPS

HOUSE = """# A house's own.
ops:
  simclr_encoder: {config: {epochs: 3}}
  inpainting_audit: {config: {sample: 5}}
execution: {config: {in_process: {}}}
leave_out: [deepmcat]
"""


def made_by(job: dg.JobDefinition) -> set[str]:
    return {node.name for node in job.nodes if not node.name.endswith("_checks")}


def test_the_report_is_rebuilt_by_one_click_without_any_training(monkeypatch, tmp_path):
    monkeypatch.delenv("FUSC_PRESET", raising=False)
    job = build_definitions().resolve_job_def("rebuild_report")
    assert made_by(job) == GROUPS["evaluation"]
    assert job.partitions_def is None and dg.validate_run_config(job, {})  # nothing to pick, nothing to fill in
    (tmp_path / "house.yaml").write_text(HOUSE)
    monkeypatch.setenv("FUSC_PRESET", str(tmp_path / "house.yaml"))
    job = build_definitions().resolve_job_def("rebuild_report")
    assert job.run_config == {"ops": {"inpainting_audit": {"config": {"sample": 5}}}}


def test_a_house_s_preset_is_a_job_of_its_own(monkeypatch, tmp_path):
    path = tmp_path / "north wing.yaml"
    path.write_text(HOUSE)
    monkeypatch.setenv("FUSC_PRESET", str(path))
    job = build_definitions().resolve_job_def(job_name(str(path)))
    assert job.name == "preset_north_wing" and job_name("demo") == "demo"
    assert "deepmcat" not in made_by(job) and "simclr_encoder" in made_by(job)
    config = job.partitioned_config.get_run_config_for_partition_key("any batch")
    assert config["ops"]["simclr_encoder"] == {"config": {"epochs": 3}}
    assert str(tmp_path) not in job.description and "A house's own." in job.description


@pytest.mark.parametrize("preset", ["", "demo"])
def test_a_known_preset_as_the_house_s_adds_no_second_job(monkeypatch, preset):
    monkeypatch.setenv("FUSC_PRESET", preset)
    names = [job.name for job in build_definitions().resolve_all_job_defs()]
    assert names.count("demo") == 1 and not any(name.startswith("preset_") for name in names)
