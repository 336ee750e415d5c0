"""The run history: where it is, and that a new one is made once, whoever comes at the same time."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.operations.history import run_history

ROOT = Path(__file__).resolve().parents[2]
OPEN = "from fusc_pipeline.operations.history import run_history\nwith run_history() as i: assert i.get_runs() == []"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_several_processes_open_a_new_history_at_once(home):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    opening = [
        subprocess.Popen([sys.executable, "-c", OPEN], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[1] for process in opening]
    assert [process.returncode for process in opening] == [0] * 4, "\n".join(said)


def test_a_history_that_dagster_processes_made_at_once_is_mended(home):
    with run_history() as instance:
        instance.get_runs()
    (home / ".dagster_state" / ".opened").unlink()
    with sqlite3.connect(home / ".dagster_state" / "schedules" / "schedules.db") as database:
        database.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")  # as seen after such a race
    with run_history() as instance:
        assert instance.get_runs() == [] and list(instance.all_instigator_state()) == []


def test_without_a_history_nothing_is_forgotten_silently(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSetting, match="DAGSTER_HOME is not set"), run_history():
        pass


COPY = (ROOT / "dagster.yaml").read_text()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (COPY, "base_dir '.dagster_state' is relative"),
        ("compute_logs: {module: m, class: C, config: {base_dir: logs}}", "base_dir 'logs' is relative"),
        ("local_artifact_storage: {module: m, class: C, config: {base_dir: ./x}}", "base_dir './x' is relative"),
        ("storage: [", "cannot be read"),
        ("storage: {sqlite: {base_dir: /x}, mysql: {}}", "is refused by Dagster"),
        ("storag: {}", "is refused by Dagster"),
        ("- a list", "is refused by Dagster"),
    ],
)
def test_settings_of_a_home_are_refused_before_anything_is_made(tmp_path, monkeypatch, settings, why):
    home = tmp_path / "state"
    home.mkdir()
    (home / "dagster.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSetting) as refused, run_history():
        pass
    assert str(refused.value).startswith(f"{home / 'dagster.yaml'}") and why in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"] and list(tmp_path.iterdir()) == [home]


def test_a_home_that_is_the_working_folder_or_has_whole_paths_is_used(tmp_path, monkeypatch):
    home = tmp_path / "state"
    home.mkdir()
    (home / "dagster.yaml").write_text(COPY)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(home)
    with run_history() as instance:
        assert instance.get_runs() == []
    (home / "dagster.yaml").write_text(COPY.replace(".dagster_state", f"{home}/.dagster_state"))
    monkeypatch.chdir(tmp_path)
    with run_history() as instance:
        assert instance.get_runs() == []
    assert list(tmp_path.iterdir()) == [home]
