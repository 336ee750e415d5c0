"""The corpus: which images exist, whose they are, what they are called, and in which split. The only fan-in."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CORPUS
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.materialize import batch_versions
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.records import is_intact
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import require_whole

# Beside the corpus's table: which cleaned picture stands behind each image. The table alone would be the same after
# cleaning anew, and what was trained on the pictures before would pass for made from these.
PIXELS = "pixels.parquet"
MADE_FROM = ("clean_images", "pseudo_labels")


class CorpusConfig(AssetConfig):
    """How the images are divided."""

    test_share: float = Field(
        default=0.2, gt=0.0, le=0.5, description="Share of the subjects' images held out for testing (the paper: 0.2)."
    )
    seed: int = Field(default=0, ge=0, description="Which of the possible divisions is taken.")


@stored_asset(
    deps=["scans", "pseudo_labels", "clean_images"],
    group="dataset",
    kinds={"parquet"},
    code_version="4",
)
def corpus(context: Request, config: CorpusConfig, store: Store) -> Work:
    """Manifest of the clean images of all batches, divided 80/20 by subject and stratified by view.

    A batch counts once both its clean images and its pseudo-labels stand and passed their checks. An image delivered in
    two batches is listed once. What a public data set says of an image is carried along and decides nothing. External
    batches (`fusc add-batch --external`) are left out: nothing is trained on them, `external_purity` tests models on
    them.
    Everything after this asset depends on it alone, however many batches there are.
    """
    batches, external, refused = ready_batches(store)
    for batch, words in refused.items():
        context.log.warning(f"corpus: batch {batch} is left out, it failed a check ({words})")
    inputs = batch_versions(store, MADE_FROM, batches)
    # The scans may have been deleted to save space; nothing but what a public data set said of them is missing then.
    inputs |= {f"scans/{batch}": record.data_version for batch in batches if (record := store.record("scans", batch))}

    def produce(draft):
        import pyarrow.parquet as pq

        from fusc_pipeline.evaluation.splitting import joined_subjects, split_by_subject

        rows: dict[str, dict] = {}
        links: list[tuple[str, str | None, str]] = []
        again = 0
        for batch in batches:
            labels = store.table("pseudo_labels", batch, ["image_id", "view"]).to_pylist()
            views = {row["image_id"]: row["view"] for row in labels}
            own = own_facts(store, batch)
            columns = ["image_id", "subject_key", "study_key", "machine", "quarantined"]
            for row in store.table("clean_images", batch, columns).to_pylist():
                if row["quarantined"] is not None:
                    continue
                again += row["image_id"] in rows
                # Also of an image that another batch brought before: the two deliveries are one subject's then.
                links.append((row["subject_key"], row["study_key"], row["image_id"]))
                rows.setdefault(
                    row["image_id"],
                    {
                        "image_id": row["image_id"],
                        "scan_batch": batch,
                        "own_subject_key": row["subject_key"],
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
        if refused and not rows:
            told = "; ".join(f"{batch}: {words}" for batch, words in refused.items())
            raise BadInput(f"every batch of the corpus failed a check ({told}); mend them and materialise them again")
        if not rows:
            raise BadInput(
                "no clean image in any batch: see the reasons in rejected_scans (`fusc files <batch>`) and the "
                "quarantined column of clean_images, or add a batch with `fusc add-batch <folder>`"
            )
        ordered = sorted(rows.values(), key=lambda row: row["image_id"])
        joined = joined_subjects(links)
        for row in ordered:
            row["subject_key"] = joined[row["own_subject_key"]]
        splits = split_by_subject(
            [r["subject_key"] for r in ordered], [r["view"] for r in ordered], config.test_share, config.seed
        )
        for row, split in zip(ordered, splits, strict=True):
            row["split"] = split
        draft.write_table(pa.Table.from_pylist(ordered, schema=CORPUS))
        pq.write_table(_cleaned(store, ordered, inputs), draft.path(PIXELS))
        draft.metadata |= _describe(ordered, len(batches), again) | {"external_batches_left_out": len(external)}
        if refused:
            draft.metadata["batches_that_failed_a_check"] = ", ".join(refused)

    extra = {"external": external} if external else {}
    return Work(produce, upstream=(), inputs=inputs, extra=extra, holds=[TABLE, PIXELS])


class Ready(NamedTuple):
    """Batches whose clean images and pseudo-labels stand, sorted: those of the corpus, the external ones, and those
    left out of both, with the words of the check they failed."""

    corpus: list[str]
    external: list[str]
    refused: dict[str, str]


def ready_batches(store: Store) -> Ready:
    """What stands, and of that what may be built on."""
    inbox = Inbox(store.root)
    ready = Ready([], [], {})
    for batch in sorted(set.intersection(*(set(store.partitions(asset)) for asset in MADE_FROM))):
        if refusal := next(filter(None, (store.refusal(asset, batch) for asset in MADE_FROM)), None):
            ready.refused[batch] = refusal
        else:
            (ready.external if inbox.is_external(batch) else ready.corpus).append(batch)
    return ready


def _cleaned(store: Store, rows: Sequence[dict], inputs: dict[str, str]) -> pa.Table:
    """image_id, scan_batch and the SHA-256 of the cleaned picture of each of these images.

    What the corpus in use says of a batch that is still the same is taken over: only new batches are read.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    known: dict[tuple[str, str], str] = {}
    before = store.record("corpus")
    if before and PIXELS in before.files and is_intact(store.place(before), before):
        cleaned = {name: version for name, version in inputs.items() if name.startswith("clean_images/")}
        same = {n.partition("/")[2] for n, version in cleaned.items() if before.inputs.get(n) == version}
        for row in pq.ParquetFile(store.place(before) / PIXELS).read().to_pylist():
            if row["scan_batch"] in same:
                known[row["scan_batch"], row["image_id"]] = row["clean_sha256"]
    wanted = [(row["scan_batch"], row["image_id"]) for row in rows]
    for batch in dict.fromkeys(batch for batch, image in wanted if (batch, image) not in known):
        images = store.dataset("clean_images", batch)
        passed_on = pc.field("quarantined").is_null()
        for piece in images.to_batches(columns=["image_id", "image"], filter=passed_on, batch_size=64):
            for row in piece.to_pylist():
                known[batch, row["image_id"]] = sha256(row["image"]["bytes"]).hexdigest()
    columns = {"image_id": [i for _, i in wanted], "scan_batch": [b for b, _ in wanted]}
    return pa.table(columns | {"clean_sha256": [known[place] for place in wanted]})


def own_facts(store: Store, batch: str) -> dict[str, dict]:
    """image_id -> own_label and own_split, for the images of which the batch's data set says something."""
    record = store.record("scans", batch)
    if record is None:  # deleted, as it may be once it is cleaned
        return {}
    require_whole(store, record, "what its data set says of its images is not known")
    rows = store.table("scans", batch, ["image_id", "own_label", "own_split"]).to_pylist()
    return {row.pop("image_id"): row for row in rows if row["own_label"] or row["own_split"]}


def also_known_as(store: Store, subjects: set[str]) -> set[str]:
    """These subjects of an earlier corpus, and what the present one calls those that were joined with others since."""
    rows = store.table("corpus", columns=["subject_key", "own_subject_key"]).to_pylist()
    return subjects | {row["subject_key"] for row in rows if row["own_subject_key"] in subjects}


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
