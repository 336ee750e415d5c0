"""The page on which labels are judged: self-contained, safe against what tables hold, usable by keyboard and mouse."""

import json
import re
import shutil

import pytest

from fusc_pipeline.audits.label_page import Item, render_page
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline_tests.report import corpora

SAMPLE = "0123456789ab"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def items(n=4):
    """n frames labelled Femur, the last one without a label."""
    picture = corpora.png()
    labelled = [Item(f"{i:064x}", "Femur", "FEMUR", 0.9, [picture], picture) for i in range(n - 1)]
    return [*labelled, Item("f" * 64, None, None, None, [], picture)]


def test_the_page_holds_everything_and_may_load_nothing():
    page = render_page(SAMPLE, items())
    assert "default-src 'none'" in page and "private" in page
    assert not re.search(r'(src|href)="(?!data:)[a-z]+:', page)
    assert page == render_page(SAMPLE, items())
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    assert data["sample"] == SAMPLE and data["views"] == list(VIEWS) and len(data["items"]) == 4
    assert data["items"][3]["label"] is None and data["items"][3]["crops"] == []


def test_nothing_in_a_table_can_end_the_script():
    evil = "</script><script>alert(1)</script>"
    page = render_page(SAMPLE, [Item("0" * 64, evil, evil, 0.5, [], corpora.png())])
    assert page.count("<script") == 2 and evil not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser(tmp_path):
    """Keys and clicks answer, answers outlive a reload, the saved file holds them, the page fits a narrow screen."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "page.html").write_text(render_page(SAMPLE, items()))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.keyboard.press("1")
        page.keyboard.press("2")
        assert page.locator("#place").inner_text() == "Frame 2 of 4"
        assert page.locator("#count").inner_text() == "1 of 4 judged"  # wrong, but not yet what instead
        assert not page.locator("[data-view=Femur]").is_visible()
        page.keyboard.press("q")
        page.get_by_role("button", name="Cannot tell").click()
        assert page.locator("#match b").inner_text() == "No label" and page.locator("#nothing").is_visible()
        page.get_by_role("button", name="It names a view").click()
        page.get_by_role("button", name="Kidney").click()
        page.reload()
        assert page.locator("#count").inner_text() == "4 of 4 judged"
        page.locator("#overview button").nth(1).click()
        assert page.locator("[data-answer=wrong]").get_attribute("aria-pressed") == "true"
        with page.expect_download() as download:
            page.locator("#save").click()
        saved = json.loads(download.value.path().read_text())
        assert download.value.suggested_filename == f"answers-{SAMPLE}.json"
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        browser.close()
    assert saved["sample"] == SAMPLE
    assert [saved["answers"][item.image_id] for item in items()] == [
        {"answer": "right"},
        {"answer": "wrong", "view": None},
        {"answer": "unclear"},
        {"answer": "wrong", "view": "Kidney"},
    ]
    assert errors == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
