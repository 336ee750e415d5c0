"""Checks of one scan batch: was text looked for on every frame that goes on, and was it read as well as elsewhere?"""

from statistics import median

from fusc_pipeline.defs.engine.check import WARN, CheckedVersion, Finding, check, finding
from fusc_pipeline.operations.inbox import Inbox

FEWEST_FRAMES = 20  # of fewer frames a share says little
FEWEST_BATCHES = 3  # to compare with
FAR_BELOW = 0.5  # of the median of the other batches
UNREAD = 0.05


@check("clean_images", blocking=True)
def no_text_is_left(made: CheckedVersion) -> Finding:
    """Every frame that goes on was read again after cleaning, and no picture of a quarantined frame was kept."""
    import pyarrow.compute as pc

    table = made.table(["quarantined", "repairs", "height"])
    goes_on = pc.is_null(table.column("quarantined"))
    passed_on, kept = table.filter(goes_on), table.filter(pc.invert(goes_on)).column("height").drop_null()
    frames = passed_on.num_rows
    if len(kept):
        words = (
            f"{len(kept)} quarantined frames still have a picture: materialise clean_images of this batch with force."
        )
        return finding(False, words, frames=frames)
    if not made.record.config.get("check_text", True):
        words = (
            f"{frames} frames go on without having been read again (clean_images.check_text is off): what the first "
            "engine missed is still on them. Turn it on and run again before pictures leave this machine."
        )
        return finding(not frames, words, WARN, frames=frames)
    unread = passed_on.column("repairs").null_count
    words = f"{unread} of {frames} frames that go on were not read again: materialise clean_images with force."
    return finding(not unread, words, frames=frames)


@check("clean_images")
def frames_go_on(made: CheckedVersion) -> Finding:
    """Some frames of the batch survive the cleaning."""
    reasons = made.table(["quarantined"]).column(0)
    return finding(
        not len(reasons) or reasons.null_count > 0,
        f"all {len(reasons)} frames of this batch are quarantined: see quarantine_reasons of clean_images. "
        "If they show something else than B-mode, clean_images.contents lets it on.",
        WARN,
        frames=len(reasons),
    )


@check("pseudo_labels")
def text_was_read_as_elsewhere(made: CheckedVersion) -> Finding:
    """The share of frames with a label is not far below other batches', and few frames could not be read."""
    import pyarrow.compute as pc

    reasons = made.table(["reason"]).column(0)
    frames = len(reasons)
    unread = pc.sum(pc.equal(reasons, "unread")).as_py() or 0
    labelled = pc.sum(pc.equal(reasons, "labelled")).as_py() or 0
    others = _coverages(made)
    usual = median(others) if len(others) >= FEWEST_BATCHES else None
    facts = {"frames": frames, "labelled": labelled, "unread": unread, "usual_coverage": usual}
    if unread > UNREAD * frames:
        words = (
            f"{unread} of {frames} frames could not be read and are quarantined: see the warnings of burned_in_text; "
            "give it more memory (burned_in_text.memory_gb), or fewer workers, and materialise it again with force."
        )
        return finding(False, words, WARN, **facts)
    low = usual is not None and frames >= FEWEST_FRAMES and labelled < FAR_BELOW * usual * frames
    words = (
        f"{labelled} of {frames} frames have a readable view label; in other batches it is {usual or 0:.0%}. If these "
        "come from a new machine or site, its labels may be typed otherwise: draw a sample (`fusc audit-labels`), then "
        "add its words to the lexicon or raise burned_in_text.canvas."
    )
    return finding(not low, words, WARN, **facts)


def _coverages(made: CheckedVersion) -> list[float]:
    """Shares of labelled frames in the other batches of the corpus; an external batch is unlike them."""
    files, inbox = made.store, Inbox(made.store.root)
    if inbox.is_external(made.record.partition or ""):
        return []
    others = [batch for batch in files.partitions(made.record.asset) if batch != made.record.partition]
    records = [files.record(made.record.asset, batch) for batch in others if not inbox.is_external(batch)]
    return [
        r.metadata["coverage"] for r in records if r and "coverage" in r.metadata and r.metadata["dagster/row_count"]
    ]
