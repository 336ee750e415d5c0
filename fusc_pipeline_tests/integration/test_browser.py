"""Dagster's UI in a real browser: the lineage shows every group, an asset's page shows its columns."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
GROUPS = ("ingestion", "text", "dataset", "representation", "clustering", "evaluation")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ui(tmp_path):
    """`dagster dev` on an empty data root; its address."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FUSC_DATA": str(tmp_path / "data")}
    environment.pop("DAGSTER_HOME", None)
    command = [str(Path(sys.executable).parent / "dagster"), "dev", "-w", "workspace.yaml", "-p", str(port)]
    with open(tmp_path / "ui.log", "w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/server_info", server, tmp_path / "ui.log")
            yield address
        finally:
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the UI did not answer in {seconds} s: {log.read_text()[-2000:]}")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_lineage_shows_all_groups_and_an_asset_shows_its_columns(ui):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{ui}/asset-groups", wait_until="domcontentloaded")
        for group in GROUPS:
            page.get_by_text(group, exact=True).first.wait_for(timeout=60_000)
        page.goto(f"{ui}/assets/purity_report?view=overview", wait_until="domcontentloaded")
        page.get_by_text("macro_recall").first.wait_for(timeout=60_000)
        page.get_by_text("Every figure of every fit").first.wait_for(timeout=60_000)
        browser.close()
    assert errors == []
