"""Checks of the corpus."""

from fusc_pipeline.defs.engine.check import WARN, CheckedVersion, Finding, check, finding


@check("corpus", blocking=True)
def subjects_in_one_split(made: CheckedVersion) -> Finding:
    """No subject is in both splits, and both splits hold images."""
    import pyarrow.compute as pc

    table = made.table(["subject_key", "split"])
    splits = table.group_by("subject_key").aggregate([("split", "count_distinct")])
    shared = pc.sum(pc.greater(splits.column("split_count_distinct"), 1)).as_py() or 0
    present = set(table.column("split").unique().to_pylist())
    return finding(
        shared == 0 and present == {"train", "test"},
        f"{shared} subjects are in both splits; splits with images: {', '.join(sorted(present))}. "
        "Materialise corpus again with force.",
        shared_subjects=shared,
    )


@check("corpus")
def labels_were_read(made: CheckedVersion) -> Finding:
    """Some images carry a pseudo-label; without any, clusters are made but not scored."""
    views = made.table(["view"]).column(0)
    labelled = len(views) - views.null_count
    return finding(
        labelled > 0,
        f"none of {len(views)} images has a readable view label: clusters are made, purity and the supervised line are "
        "left out. If the frames carry labels, look at `reason` in pseudo_labels and at burned_in_text with keep_text.",
        WARN,
        labelled=labelled,
        images=len(views),
    )
