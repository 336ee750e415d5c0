"""The page: self-contained, escaped, honest about what is missing, and usable by keyboard in a real browser."""

import dataclasses
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from fusc_pipeline.audits import removal_audit
from fusc_pipeline.audits.removal_audit import Leak, Share
from fusc_pipeline.audits.residual import Found
from fusc_pipeline.base.schemas import LABEL_AUDIT
from fusc_pipeline.evaluation import composition, tables
from fusc_pipeline.evaluation.assignments import labelled_clusters
from fusc_pipeline.pictures import figures
from fusc_pipeline.pictures.gallery import build_gallery, rows_to_show
from fusc_pipeline.report import inputs
from fusc_pipeline.report import page as report
from fusc_pipeline.report.audit_sections import AuditPicture, label_section, removal_section
from fusc_pipeline.report.paper import EncoderFigures
from fusc_pipeline_tests.report import corpora


def page_input(corpus=None, models=("kmeans_simclr", "fusc_simclr", "supervised"), n_clusters=(5,), **more):
    """A ReportInput made the way a pipeline makes it."""
    corpus = corpora.corpus(n=400, labelled=0.9) if corpus is None else corpus
    assignments = {model: corpora.clusters(corpus, n_clusters, noise=0.1 * i) for i, model in enumerate(models)}
    purity = tables.purity_table(assignments, corpus).to_pandas()
    shown = inputs.choose_shown(purity)
    given = {}
    if shown:
        rows = labelled_clusters(shown.model, assignments[shown.model], corpus)
        fit = rows[(rows["n_clusters"] == shown.n_clusters) & (rows["seed"] == shown.seed)]
        test = fit[fit["split"] == "test"]
        pictures, scope = rows_to_show(fit)
        given = {
            "gallery": build_gallery(pictures, lambda _: corpora.png()),
            "gallery_scope": scope,
            "confusion": figures.confusion_figure(test["view"].tolist(), test["cluster"], shown.n_clusters, "svg"),
            "cluster_bars": figures.cluster_bars(test),
            "chance": tables.chance_lines(rows, shown.seed, draws=10),
        }
    ids = corpus["image_id"]
    given |= {
        "purity": purity,
        "composition": composition.composition_table(assignments, corpus).to_pandas(),
        "corpus": corpus,
        "scans": pd.DataFrame({"image_id": ids, "machine": corpus["machine"], "subject_source": "dicom"}),
        "rejected": pd.DataFrame({"reason": ["too_large"], "detail": ["over 256 MiB; split the clip"]}),
        "pseudo_labels": pd.DataFrame(
            {"image_id": ids, "reason": np.where(corpus["view"].notna(), "labelled", "no_text")}
        ),
        "clean_images": pd.DataFrame({"image_id": [*ids, "q"], "quarantined": [*[None] * len(ids), "no_reliable_fan"]}),
        "shown": shown,
        "provenance": {"Versions": {"torch": "2.14"}},
    }
    return inputs.ReportInput(**given | more)


class Page(HTMLParser):
    """Collects text, tags and every address in a page; fails on tags that do not nest."""

    VOID = frozenset({"meta", "img", "input", "br", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.addresses, self.tags, self.pieces = [], [], [], []
        self.feed(html)
        assert not self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.pieces))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.pieces.append(data)


def test_page_is_self_contained_and_repeatable():
    given = page_input()
    html = report.render_report(given)
    page = Page(html)
    assert html == report.render_report(given)
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert "default-src 'none'" in html
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= ids
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img" and "src" in attrs)
    assert not re.search(r"\b(nan|None|undefined)\b", page.text)


def test_table_holds_every_figure_with_its_lines_and_the_warning_about_k():
    given = page_input(n_clusters=(5, 9))
    text = Page(report.render_report(given)).text
    for row in tables.summarise(given.purity).query("split == 'test'").to_dict("records"):
        for name in tables.FIGURES:
            assert tables.percent(row[name], row[f"{name}_sd"]) in text
    assert "K-means (SimCLR)" in text and "FUSC (SimCLR)" in text and "Supervised" in text
    assert text.count("Chance line") == text.count("Majority line") == 2
    assert "Purity rises with the number of groups by itself" in text


def test_the_papers_tables_stand_in_its_order_with_its_numbers_in_grey():
    corpus = corpora.corpus(n=600, n_views=15)
    models = ("kmeans_simclr", "fusc_simclr", "fusc_simclr_selflabel")
    given = page_input(corpus, models, (4, 15, 120))
    both = tables.purity_table(
        {m: corpora.clusters(corpus, (4, 15, 120), noise=0.2 * i) for i, m in enumerate(models)}, corpus
    )
    both = both.to_pandas()
    given = dataclasses.replace(
        given,
        purity=both[both["label_set"] == "views"],
        groups=both[both["label_set"] == "groups"],
        networks=dict.fromkeys(models, "resnet50"),
        encoders=[EncoderFigures("SimCLR", "resnet50", 0.731, None)],
    )
    page = Page(report.render_report(given))
    text = page.text[page.text.index("The paper's tables and figures The rows") :]
    order = [
        "Table 1 :",
        "k-NN accuracy",
        "Table 2 :",
        "Table 2b :",
        "Table 3 :",
        "Generalisation",
        "Figure 3",
        "Figure 4",
    ]
    order = [part.replace(" :", ":") for part in order]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "The data differ" in text and "SimCLR resnet50 73.1 –" in text
    first = text[places[0] : places[2]]
    assert "resnet50" in first and "K-means (DINO) not run" in first
    assert "self-labelling lost purity" in first
    grey = [attrs for tag, attrs in page.tags if tag == "td" and "printed" in attrs.get("class", "")]
    assert len(grey) > 3 * (8 + 4 + 5) - 1


def test_counts_on_top_and_reasons_below():
    text = Page(report.render_report(page_input())).text
    assert "400 frames of 80 subjects" in text
    assert "Too large" in text and "over 256 MiB; split the clip" in text and "No reliable fan" in text
    assert "GE Voluson E8" in text and "every frame comes from one model" in text


def test_without_labels_it_says_what_is_left_out_and_shows_the_rest():
    corpus = corpora.corpus(n=46, labelled=0.0).assign(machine=None)
    given = page_input(corpus, n_clusters=(15,), models=("kmeans_simclr", "fusc_simclr"))
    page = Page(report.render_report(given))
    assert "No frame has a label" in page.text and "left out" in page.text
    assert "What 46 frames cannot show" in page.text and "training frames are shown too" in page.text
    assert "Chance line" not in page.text and "Majority line" not in page.text and "confusion" not in page.addresses
    assert "Group" in page.text and sum(tag == "figure" for tag, _ in page.tags) >= 46
    assert not re.search(r"\b(nan|None)\b", page.text)


def test_labels_only_on_training_frames():
    corpus = corpora.corpus(n=200)
    corpus.loc[corpus["split"] == "test", "view"] = None
    text = Page(report.render_report(page_input(corpus))).text
    assert "No test frame has a label" in text and "Chance line" not in text


def test_no_model_and_no_frame():
    empty = corpora.corpus(n=10).iloc[:0]
    text = Page(report.render_report(page_input(empty, models=()))).text
    assert "0 frames of 0 subjects" in text and "No model has been run" in text and "nan" not in text


@pytest.mark.parametrize("n_clusters", [(2,), (60,)])
def test_few_and_many_groups(n_clusters):
    text = Page(report.render_report(page_input(n_clusters=n_clusters))).text
    assert f"{n_clusters[0]} groups" in text


def test_what_comes_from_tables_is_escaped():
    evil = '<script>alert(1)</script>"><img src=http://example.org/x>'
    corpus = corpora.corpus(n=200).assign(machine=evil)
    corpus.loc[corpus["view"] == "Spine", "view"] = evil
    given = page_input(
        corpus,
        rejected=pd.DataFrame({"reason": [evil], "detail": [evil]}),
        provenance={evil: {evil: evil}},
        title=evil,
        made_at=evil,
    )
    page = Page(report.render_report(given))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)


def test_choose_shown_goes_by_name_k_and_seed_never_by_score():
    purity = page_input(models=("kmeans_simclr", "fusc_simclr"), n_clusters=(5, 14, 120)).purity
    assert inputs.choose_shown(purity) == inputs.Shown("fusc_simclr", 14, 0)
    assert inputs.choose_shown(purity, 100) == inputs.Shown("fusc_simclr", 120, 0)
    better = purity.assign(cluster_purity=np.where(purity["seed"] == 2, 1.0, 0.1))
    assert inputs.choose_shown(better) == inputs.Shown("fusc_simclr", 14, 0)
    assert inputs.choose_shown(purity[purity["model"] == "kmeans_simclr"]).model == "kmeans_simclr"
    assert inputs.choose_shown(purity.iloc[:0]) is None


def test_shares_never_round_to_all_or_nothing():
    assert [report.whole_percent(s) for s in (0, 0.001, 0.5, 0.999, 1)] == ["0", "under 1", "50", "over 99", "100"]


def test_pictures_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="GIF89a"):
        report.data_uri(b"GIF89a..")


def audited(left: int = 0, leak: float = 0.0):
    """The section on text removal: `left` of 40 frames with a word, and a leak of this size."""
    found = {"easyocr": {str(i): Found(((0, 0, 9, 9),) * (i < left), ()) for i in range(40)}}
    accuracy = {name: Share(30, 0.3, 0.25, 0.35) for name in ("former_text", "control", "uncleaned")}
    probe = Leak(100, 12, accuracy, Share(None, leak, leak - 0.04, leak + 0.04), Share(None, 0.5, 0.4, 0.6))
    rows = removal_audit.residual_rows(found) + removal_audit.leak_rows(probe, None)
    return removal_section(pd.DataFrame(rows), [AuditPicture(corpora.png(), "3.0 % of the picture repainted")])


def judged(noise: int = 1):
    """The section on labels: 20 frames of one view judged, so many of them wrong."""
    rows = [
        (f"{i:064x}", "b", "0" * 12, 1, "Spine", 200, 20, "Spine", "wrong" if i < noise else "right", None, "Spine")
        for i in range(20)
    ]
    return label_section(pd.DataFrame(rows, columns=LABEL_AUDIT.names))


def test_the_audits_have_a_section_in_plain_words():
    page = Page(report.render_report(page_input(removal=audited(), labels=judged())))
    assert "found no word on any" in page.text and "do not give the label away" in page.text
    assert "Of 20 labels drawn at random and judged by a person 1 is wrong" in page.text
    assert "Spine 20 1 5.0 (0.1 to 24.9)" in page.text
    assert "Whether the labels are right. They were read" not in page.text
    assert not re.search(r"\b(nan|None)\b", page.text)
    without = Page(report.render_report(page_input()))
    assert "Can it be trusted?" not in without.text and "Whether the labels are right" in without.text


def test_text_left_and_leaks_are_said_at_the_top():
    text = Page(report.render_report(page_input(removal=audited(left=2, leak=0.2)))).text
    top = text[: text.index("were cleaned of text and sorted")]
    assert "Text is left on some frames." in top and "On 2 of 40 cleaned frames" in top
    assert "What was written on the frames can still be told." in top


@pytest.mark.slow
def test_in_a_browser(tmp_path):
    """Offline, no error, Enter opens a picture, arrows move on, Escape closes, the filter filters."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "report.html").write_text(report.render_report(page_input()))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        first = page.locator(".zoom").first
        first.focus()
        page.keyboard.press("Enter")
        assert page.locator("#viewer").is_visible()
        before = page.locator("#viewer p").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("#viewer p").inner_text() != before
        page.keyboard.press("Escape")
        assert not page.locator("#viewer").is_visible()
        page.locator("#view").select_option("Kidney")
        shown = page.locator(".group:visible")
        assert shown.count() > 0 and all("Kidney" in card.get_attribute("data-views") for card in shown.all())
        page.locator("#order").select_option("size")
        sizes = [int(card.get_attribute("data-size")) for card in shown.all()]
        assert sizes == sorted(sizes, reverse=True)
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        browser.close()
    assert errors == []
    assert all(url.startswith(("file:", "data:")) for url in requests)
