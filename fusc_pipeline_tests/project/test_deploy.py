"""The files of deploy/: the database profile, the units, the backup."""

import os
import shutil
import subprocess
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fusc_pipeline.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def test_the_postgres_profile_differs_from_the_usual_one_in_its_storage_only():
    usual = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    profile = yaml.safe_load((DEPLOY / "postgres" / "dagster.yaml").read_text())
    for name in ("storage", "local_artifact_storage", "compute_logs"):
        usual.pop(name)
    assert profile.pop("storage") == {"postgres": {"postgres_url": {"env": "FUSC_PG_URL"}}}
    assert profile == usual


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_units():
    units = sorted(str(path) for path in (DEPLOY / "systemd").iterdir())
    told = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    wrong = [line for line in told.stderr.splitlines() if line.strip() and "is not executable" not in line]
    assert wrong == []  # the programs lie elsewhere on this machine


def back_up(home: Path, store: Store, target: Path, **more: str) -> Path:
    environment = os.environ | {"DAGSTER_HOME": str(home), "FUSC_DATA": str(store.root)} | more
    done = subprocess.run(
        [str(DEPLOY / "backup.sh"), str(target)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_what_is_restored_from_a_backup_is_what_was_there(small_store, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    text = (ROOT / "dagster.yaml").read_text().replace("base_dir: .dagster_state", f"base_dir: {home}")
    (home / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("scan_batch", ["b1"])
    for name in ("hmac.key", ".x.json.tmp-1-0a1b2c3d"):
        (small_store.private / name).parent.mkdir(exist_ok=True)
        (small_store.private / name).write_text("secret")
    kept = back_up(home, small_store, tmp_path / "backups")

    restored = Store(tmp_path / "restored")
    restored.root.mkdir()
    subprocess.run(["tar", "-xf", str(kept / "data.tar"), "-C", str(restored.root)], check=True)
    for asset in ("scans", "clean_images"):
        before = small_store.require(asset, "b1")
        assert restored.require(asset, "b1") == before and restored.find(asset, "b1", before.fingerprint)
    assert not (restored.private / "hmac.key").exists() and not list(restored.root.rglob("*.tmp-*"))
    (home / "history").rename(tmp_path / "lost")
    shutil.copytree(kept / "history", home, dirs_exist_ok=True)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions("scan_batch") == ["b1"]
