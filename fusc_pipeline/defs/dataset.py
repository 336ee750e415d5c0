"""The corpus: which images exist, whose they are, what they are called, and in which split. The only fan-in."""

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.materialize import AssetConfig, column_schema, materialize
from fusc_pipeline.errors import BadInput
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Store
from fusc_pipeline.schemas import CORPUS


class CorpusConfig(AssetConfig):
    """How the images are divided."""

    test_share: float = Field(
        default=0.2, gt=0.0, le=0.5, description="Share of the subjects' images held out for testing (the paper: 0.2)."
    )
    seed: int = Field(default=0, ge=0, description="Which of the possible divisions is taken.")


@dg.asset(
    deps=["scans", "pseudo_labels", "clean_images"],
    group_name="dataset",
    kinds={"parquet"},
    code_version="2",
    metadata=column_schema("corpus"),
)
def corpus(context: dg.AssetExecutionContext, config: CorpusConfig, store: StoreResource) -> dg.MaterializeResult:
    """Manifest of the clean images of all batches, divided 80/20 by subject and stratified by view.

    A batch counts once both its clean images and its pseudo-labels stand. An image delivered in two batches is listed
    once. What a public data set says of an image is carried along and decides nothing. External batches (`fusc
    add-batch --external`) are left out: nothing is trained on them, `external_purity` tests models on them.
    Everything after this asset depends on it alone, however many batches there are.
    """
    files = store.get()
    batches, external = ready_batches(store)
    inputs = {
        f"{asset}/{batch}": files.require(asset, batch).data_version
        for batch in batches
        for asset in ("clean_images", "pseudo_labels")
    }
    # The scans may have been deleted to save space; nothing but what a public data set said of them is missing then.
    inputs |= {f"scans/{batch}": record.data_version for batch in batches if (record := files.record("scans", batch))}

    def produce(draft):
        from fusc_pipeline.splitting import split_by_subject

        rows: dict[str, dict] = {}
        again = 0
        for batch in batches:
            labels = files.table("pseudo_labels", batch, ["image_id", "view"]).to_pylist()
            views = {row["image_id"]: row["view"] for row in labels}
            own = own_facts(files, batch)
            columns = ["image_id", "subject_key", "machine", "quarantined"]
            for row in files.table("clean_images", batch, columns).to_pylist():
                if row["quarantined"] is not None:
                    continue
                again += row["image_id"] in rows
                rows.setdefault(
                    row["image_id"],
                    {
                        "image_id": row["image_id"],
                        "scan_batch": batch,
                        "subject_key": row["subject_key"],
                        "machine": row["machine"],
                        "view": views.get(row["image_id"]),
                        **own.get(row["image_id"], {"own_label": None, "own_split": None}),
                    },
                )
        if external and not batches:
            raise BadInput(
                f"every batch ({', '.join(external)}) is external, and nothing is trained on such a batch: add one to "
                "train on with `fusc add-batch <folder>`, or take a mark back with `fusc add-batch <its folder> "
                "--no-external`"
            )
        if not rows:
            raise BadInput(
                "no clean image in any batch: see the reasons in rejected_scans (`fusc files <batch>`) and the "
                "quarantined column of clean_images, or add a batch with `fusc add-batch <folder>`"
            )
        ordered = sorted(rows.values(), key=lambda row: row["image_id"])
        splits = split_by_subject(
            [r["subject_key"] for r in ordered], [r["view"] for r in ordered], config.test_share, config.seed
        )
        for row, split in zip(ordered, splits, strict=True):
            row["split"] = split
        draft.write_table(pa.Table.from_pylist(ordered, schema=CORPUS))
        draft.metadata |= _describe(ordered, len(batches), again) | {"external_batches_left_out": len(external)}

    extra = {"external": external} if external else {}
    return materialize(context, files, config, produce, inputs=inputs, extra=extra)


def ready_batches(store: StoreResource) -> tuple[list[str], list[str]]:
    """The batches whose clean images and pseudo-labels stand: (those of the corpus, the external ones), each sorted."""
    files, inbox = store.get(), store.inbox()
    ready = sorted(set(files.partitions("clean_images")) & set(files.partitions("pseudo_labels")))
    external = [batch for batch in ready if inbox.is_external(batch)]
    return [batch for batch in ready if batch not in external], external


def own_facts(files: Store, batch: str) -> dict[str, dict]:
    """image_id -> own_label and own_split, for the images of which the batch's data set says something."""
    if files.record("scans", batch) is None or not (files.folder("scans", batch) / "table.parquet").exists():
        return {}
    rows = files.table("scans", batch, ["image_id", "own_label", "own_split"]).to_pylist()
    return {row.pop("image_id"): row for row in rows if row["own_label"] or row["own_split"]}


def _describe(rows: list[dict], batches: int, again: int) -> dict:
    train = [r for r in rows if r["split"] == "train"]
    counts: dict[str, list[int]] = {}
    for row in rows:
        entry = counts.setdefault(row["view"] or "(no label)", [0, 0])
        entry[row["split"] == "test"] += 1
    lines = ["| view | train | test |", "|---|--:|--:|"]
    lines += [f"| {view} | {n[0]} | {n[1]} |" for view, n in sorted(counts.items(), key=lambda kv: -sum(kv[1]))]
    return {
        "dagster/row_count": len(rows),
        "batches": batches,
        "subjects": len({r["subject_key"] for r in rows}),
        "train": len(train),
        "test": len(rows) - len(train),
        "labelled": sum(r["view"] is not None for r in rows),
        "with_own_label": sum(r["own_label"] is not None for r in rows),
        "delivered_twice": again,
        "views": {"md": "\n".join(lines)},
    }
