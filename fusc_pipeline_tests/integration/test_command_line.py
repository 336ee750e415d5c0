"""The commands of the README, run as a user runs them: exit codes, messages, what is on the disk afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HEAVY = ("torch", "torchvision", "cv2", "easyocr", "faiss", "sklearn", "lightly", "timm", "pandas", "matplotlib")

# The smallest settings with which the whole graph runs on a dozen frames.
TINY = """
ops:
  burned_in_text: {config: {workers: 1}}
  scans: {config: {workers: 1}}
  clean_images: {config: {workers: 1}}
  simclr_encoder: {config: {epochs: 1, batch_size: 8, image_size: 32}}
  supervised: {config: {epochs: 1, batch_size: 8, image_size: 32}}
  inpainting_audit: {config: {sample: 2}}
  kmeans_simclr: {config: {n_clusters: [3], seeds: [0], n_init: 1}}
  fusc_simclr: {config: {n_clusters: [3], seeds: [0], epochs: 1, batch_size: 8}}
  fusc_simclr_selflabel: {config: {epochs: 1, batch_size: 8}}
  dino_encoder: {config: {epochs: 1, batch_size: 8, image_size: 32, n_local: 1, encoder: {name: vit_tiny_patch16_224}}}
  kmeans_dino: {config: {n_clusters: [3], seeds: [0], n_init: 1}}
  fusc_dino: {config: {n_clusters: [3], seeds: [0], epochs: 1, batch_size: 8}}
  fusc_dino_selflabel: {config: {epochs: 1, batch_size: 8}}
  deepmcat: {config: {n_clusters: [3], epochs: 1, batch_size: 8, image_size: 32, backbone: resnet18}}
execution: {config: {in_process: {}}}
"""

SCANS_ONLY = """
ops:
  scans: {config: {workers: 1}}
execution: {config: {in_process: {}}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder as a clone is: dagster.yaml and workspace.yaml; data beside them."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("DAGSTER_HOME", "FUSC_DATA", "FUSC_HMAC_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """What `fusc init` leaves in a project, with an empty folder and one that holds a file. To be copied."""
    folder = tmp_path_factory.mktemp("ready")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "x").write_text("x")
    assert run(folder, "fusc", "init").returncode == 0
    return folder


def run(project: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_importing_the_definitions_loads_nothing_heavy():
    code = f"import sys, fusc_pipeline.definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip().splitlines()[-1] == "[]"


def test_workspace_and_pyproject_name_the_same_code():
    import tomllib

    import yaml

    module = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dagster"]["module_name"]
    assert (
        yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]["module_name"] == module
    )


def test_exactly_one_distribution_owns_opencv():
    from importlib import metadata

    owners = [d.name for d in metadata.distributions() if d.name.lower().startswith("opencv")]
    assert owners == ["opencv-python-headless"]


@pytest.mark.parametrize(
    ("selection", "frames"), [("scans,rejected_scans", 4), pytest.param("*", 10, marks=pytest.mark.slow)]
)
def test_the_graph_by_dagsters_own_command_and_again_from_the_cache(project, selection, frames):
    assert run(project, "fusc", "init").returncode == 0
    phantom = ("fusc", "phantom", "data/inbox/b1", "--subjects", "4", "--seed", "2", "--frames")
    made = run(project, *phantom, str(frames))
    assert made.returncode == 0, made.stderr
    assert run(project, *phantom, str(frames)).returncode == 0
    assert run(project, *phantom, str(frames + 1)).returncode == 1
    (project / "data" / "inbox" / "b1" / "notes.txt").write_text("not a scan")
    assert run(project, "fusc", "add-batch", "data/inbox/b1").returncode == 0
    (project / "tiny.yaml").write_text(TINY if selection == "*" else SCANS_ONLY)
    command = ("dagster", "asset", "materialize", "--select", selection, "--partition", "b1")
    first = run(project, *command, "-m", "fusc_pipeline.definitions", "-c", "tiny.yaml")
    assert first.returncode == 0, first.stderr[-4000:]
    if selection == "*":
        assert "synthetic" in (project / "data" / "report.html").read_text()
    listed = run(project, "fusc", "files", "b1")
    assert "notes.txt: not_an_image" in listed.stdout and "1 rejected" in listed.stdout

    settings = [f"--set={s}" for s in (settings_of_tiny() if selection == "*" else ["scans.workers=1"])]
    again = run(project, "fusc", "run", "--batch", "b1", "--select", selection, *settings)
    assert again.returncode == 0, again.stdout + again.stderr
    made = [
        line for line in again.stdout.splitlines() if (line.startswith("   ") and " rows" in line) or "cached" in line
    ]
    assert made and all("cached" in line for line in made), again.stdout


def settings_of_tiny():
    import yaml

    for asset, body in yaml.safe_load(TINY)["ops"].items():
        for name, value in body["config"].items():
            yield f"{asset}.{name}={value}"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("add-batch", "missing"), "is not a folder"),
        (("add-batch", "empty"), "is empty; copy the delivered scans into it"),
        (("add-batch", "full", "--key", "../evil"), "batch key '../evil'"),
        (("run", "--batch", "nope"), "there is no batch 'nope'"),
        (("run",), "there is no scan batch yet"),
        (("run", "--preset", "dmo"), "did you mean 'demo'"),
        (("run", "--batch", "b", "--set", "simclr_encoder.epocs=3"), "did you mean 'epochs'"),
        (("run", "--batch", "b", "--select", "key:nothing"), "selects no asset; assets: batch_assignments"),
        (("run", "--batch", "b", "--select", "a or b"), "is no asset selection"),
        (("run", "--batch", "b", "--set", "scans.workers=many"), "scans.workers is 'many'"),
        (("add-batch", "full", "--key="), "batch key ''"),
        (("add-batch", "data"), "give the folder of one delivery"),
        (("ui", "--port", "65536"), "--port 65536 is no port"),
        (("gc", "--days", "nan"), "--days is nan"),
    ],
)
def test_refusals_name_the_thing_and_say_what_to_do(ready, project, command, message):
    shutil.copytree(ready, project, dirs_exist_ok=True)
    refused = run(project, "fusc", *command)
    assert refused.returncode == 1
    assert message in refused.stderr and "Traceback" not in refused.stderr
    assert not (project / "evil").exists()


def test_without_a_key_ingestion_refuses(project):
    (project / "in").mkdir()
    (project / "in" / "x.png").write_bytes(b"x")
    assert run(project, "fusc", "add-batch", "in", "--key", "in").returncode == 0
    refused = run(project, "fusc", "run", "--batch", "in", "--select", "scans")
    assert refused.returncode == 1
    assert "run `fusc init`" in refused.stdout


def test_outside_the_project_nothing_is_forgotten_silently(tmp_path):
    refused = run(tmp_path, "fusc", "init")
    assert refused.returncode == 1 and "DAGSTER_HOME is not set" in refused.stderr


def test_wrong_ocr_weights_are_refused_before_any_frame_is_read(project):
    (project / "weights").mkdir()
    for name in ("craft_mlt_25k.pth", "english_g2.pth"):
        (project / "weights" / name).write_bytes(b"other")
    assert run(project, "fusc", "init").returncode == 0
    assert run(project, "fusc", "phantom", "data/inbox/b", "--frames", "2", "--subjects", "1").returncode == 0
    assert run(project, "fusc", "add-batch", "data/inbox/b").returncode == 0
    refused = run(
        project,
        "fusc",
        "run",
        "--batch",
        "b",
        "--select",
        'key:"scans" or key:"burned_in_text"',
        FUSC_OCR_WEIGHTS="weights",
    )
    assert refused.returncode == 1
    assert "expected 4a5efbfb" in refused.stdout and "ocr-offline" in refused.stdout


def test_dagsters_own_commands_tell_a_wrong_data_root_in_a_sentence(project):
    (project / "file").write_text("x")
    command = ("dagster", "asset", "materialize", "--select", "scans", "-m", "fusc_pipeline.definitions")
    refused = run(project, *command, FUSC_DATA="file")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("Error: FUSC_DATA=file: it is a file, not a folder; ")


def test_a_lost_key_is_not_made_again_where_scans_stand(project, monkeypatch):
    from fusc_pipeline.cli.main import main

    monkeypatch.chdir(project)
    assert main(["init"]) == 0
    key = project / "data" / "private" / "hmac.key"
    key.unlink()
    (project / "data" / "assets" / "scans" / "b" / "0123456789abcdef").mkdir(parents=True)
    assert main(["init"]) == 1 and not key.exists()
    monkeypatch.setenv("FUSC_HMAC_KEY", "0123456789abcdef" * 4)  # the old one, kept elsewhere
    assert main(["init"]) == 0 and not key.exists()
    monkeypatch.delenv("FUSC_HMAC_KEY")
    assert main(["init", "--new-key"]) == 0 and key.exists()
