"""The report's section on the model in service."""

from fusc_pipeline.report import page
from fusc_pipeline.report.service_section import ServedBatch, ServiceSection
from fusc_pipeline_tests.report.test_page import Page, page_input

FITS = ServedBatch("tuesday", 50, 48, 0.04, 0.06)
ODD = ServedBatch("<odd>", 2000, 2000, 0.5, 0.996, ("100% of the frames are unlike the training frames", "and more"))


def section(*batches: ServedBatch, n_models: int = 2) -> ServiceSection:
    return ServiceSection(3, "2026-11-02 04:10 UTC", "NMI 0.61 against 0.58", "fusc_simclr, K 15", n_models, batches)


def test_the_page_tells_which_model_since_when_why_and_of_each_batch_what_it_means():
    html = page.render_report(page_input(service=section(FITS, ODD)))
    text = " ".join(" ".join(Page(html).pieces).split())
    assert "Model 3 puts new batches into groups since 2026-11-02 04:10 UTC" in text
    assert "2 models were compared so far" in text and "Why this one: NMI 0.61 against 0.58." in text
    assert "2 batches with 2,048 frames that it never saw came since. Batch <odd> asks for a new model" in text
    assert "tuesday 50 48 4 6 As usual" in text
    assert "<odd> 2,000 2,000 50 over 99 100% of the frames are unlike the training frames; and more" in text
    assert "<odd>" not in html and 'href="#service"' in html


def test_without_a_model_in_service_the_section_is_absent():
    html = page.render_report(page_input())
    assert 'id="service"' not in html and "#service" not in html


def test_conclusions():
    assert section().conclusion.startswith("No batch has come since")
    assert section(FITS).conclusion == "Nothing in them asks for another model."
    assert section(ODD, ODD, FITS).conclusion.startswith("2 of them ask for a new model")
    html = page.render_report(page_input(service=section(n_models=1)))
    assert "No batch has come since" in html and "models were compared" not in html
