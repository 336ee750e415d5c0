"""Dagster's UI, served by `fusc ui`, in a real browser: what it shows before a run, and a run from click to report."""

import re
import time
from pathlib import Path

import pytest

from fusc_pipeline_tests.integration.ui_server import CHROMIUM, PATIENCE, UiServer, browser_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
GROUPS = ("ingestion", "text", "dataset", "representation", "clustering", "evaluation", "service")
TINY = """# A few frames, to see a whole run go by.
ops:
  scans: {config: {workers: 1}}
  burned_in_text: {config: {engine: rapidocr, workers: 1}}
  clean_images: {config: {check_text: false, workers: 1}}
  simclr_encoder: {config: {epochs: 60, batch_size: 8, image_size: 32, threads: 1, monitor_every: 0}}
  simclr_embeddings: {config: {threads: 1}}
  simclr_neighbors: {config: {n_neighbors: 3}}
  kmeans_simclr: {config: {n_clusters: [3], seeds: [0], n_init: 1, threads: 1}}
  fusc_simclr: {config: {n_clusters: [3], seeds: [0], epochs: 2, batch_size: 8, threads: 1}}
  inpainting_audit:
    {config: {sample: 2, probe_steps: 2, pictures: 1, attention_frames: 0, threads: 1, workers: 1}}
execution: {config: {in_process: {}}}
leave_out:
  [dino_encoder, dino_embeddings, dino_neighbors, kmeans_dino, fusc_dino, fusc_dino_selflabel, deepmcat, supervised,
   fusc_simclr_selflabel]
"""


@pytest.fixture
def playwright():
    return pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_the_lineage_shows_all_groups_and_an_asset_shows_its_columns_and_owner(tmp_path, playwright):
    server, errors = UiServer(tmp_path), []
    server.fusc("init")
    with server.serving("--no-daemon"), browser_page(playwright, errors) as page:
        page.goto(f"{server.address}/asset-groups", wait_until="domcontentloaded")
        for group in GROUPS:
            page.get_by_text(group, exact=True).first.wait_for()
        page.goto(f"{server.address}/assets/purity_report?view=overview", wait_until="domcontentloaded")
        page.get_by_text("macro_recall").first.wait_for()
        page.get_by_text("Every figure of every fit").first.wait_for()
        page.get_by_text("sonography").first.wait_for()
    assert errors == []


@pytest.mark.slow
def test_a_batch_from_a_click_over_live_progress_to_the_report(tmp_path, playwright):
    """The house's preset as a job: pick the batch, launch, watch the training, open the report by its link."""
    preset = tmp_path / "tiny.yaml"
    preset.write_text(TINY)
    server, errors = UiServer(tmp_path, FUSC_PRESET=str(preset), OMP_NUM_THREADS="1"), []
    server.fusc("init")
    server.fusc("phantom", "data/inbox/monday", "--frames", "24", "--subjects", "8")
    server.fusc("add-batch", "data/inbox/monday")
    with server.serving(), browser_page(playwright, errors) as page:
        run = _launch(server, page, tmp_path)
        _watch_the_training(server, page, run, tmp_path)
        _until_it_succeeded(server, run)
        page.goto(f"{server.address}/assets/simclr_neighbors?view=overview")
        page.get_by_text("Show Markdown").first.click()
        page.locator("img[src^='data:image']").first.wait_for()
        page.screenshot(path=tmp_path / "asset.png")
        page.goto(f"{server.address}/assets/cluster_report?view=overview")
        page.get_by_role("link", name="open the report").first.click()
        page.wait_for_url(f"{server.address}/report")
        page.get_by_role("heading", level=1, name="Fetal ultrasound frames").wait_for()
        # Its script runs, though in a sandbox.
        page.locator("#order").select_option("size")
        page.locator("button.zoom").first.click()
        page.locator("dialog[open]").wait_for()
        page.screenshot(path=tmp_path / "report.png")
        _rebuild_the_report(server, page)
    assert errors == []


def _launch(server: UiServer, page, shots: Path) -> str:
    """Start the preset's job on the batch as a person does; the run's id."""
    page.goto(f"{server.address}/locations/fusc_pipeline/jobs/preset_tiny")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="Confirm").click()  # the rows that the preset leaves out were never made
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_text("monday", exact=True).first.wait_for()
    page.screenshot(path=shots / "launch.png")
    page.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("View", exact=True).last.click()
    page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}"))
    return re.search("/runs/([0-9a-f-]{36})", page.url).group(1)


def _watch_the_training(server: UiServer, page, run: str, shots: Path) -> None:
    """Epoch, loss, rate and what is left stand on the run's page while the run goes on."""
    line = page.get_by_text(re.compile(r"simclr_encoder: epoch \d+ of 60, loss [\d.]+, images per second .* to go"))
    line.first.wait_for(timeout=4 * PATIENCE * 1000)
    assert _status(server, run) == "STARTED"
    page.get_by_text("train/eta_s").first.wait_for()
    page.screenshot(path=shots / "run.png")


def _status(server: UiServer, run: str) -> str:
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    return server.graphql(query, id=run)["runOrError"]["status"]


def _until_it_succeeded(server: UiServer, run: str) -> None:
    deadline = time.monotonic() + 4 * PATIENCE
    while (status := _status(server, run)) in ("QUEUED", "NOT_STARTED", "STARTING", "STARTED"):
        assert time.monotonic() < deadline, f"the run is still {status}"
        time.sleep(0.5)
    assert status == "SUCCESS", server.log.read_text()[-3000:]


def _rebuild_the_report(server: UiServer, page) -> None:
    """One click, with nothing to fill in."""
    page.goto(f"{server.address}/locations/fusc_pipeline/jobs/rebuild_report")
    page.get_by_role("button", name="Materialize all").click()
    confirm = page.get_by_role("button", name="Confirm")
    view = page.get_by_text("View", exact=True)
    confirm.or_(view).last.wait_for()
    if confirm.is_visible():
        confirm.click()
    view.last.click()
    page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}"))
    _until_it_succeeded(server, re.search("/runs/([0-9a-f-]{36})", page.url).group(1))
