"""Ingestion: delivered files to frames, one scan batch at a time. Reading files is `fusc_pipeline.scans`' part."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.materialize import AssetConfig, ParallelConfig, column_schema, materialize, refusals
from fusc_pipeline.defs.partitions import scan_batches
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.schemas import CONTENTS, REJECTED_SCANS, SCANS

ROWS_PER_GROUP = 64  # frames held in memory while writing
REJECTED = "rejected.parquet"  # kept beside the scans' table; published by `rejected_scans`


class ScansConfig(ParallelConfig):
    """What is taken from a delivery."""

    frames_per_clip: int = Field(
        default=8, ge=1, le=1000, description="Evenly spaced frames taken from a multi-frame file."
    )
    max_file_mb: int = Field(default=256, ge=1, le=65536, description="Larger files are rejected, in MiB.")
    max_archive_gb: int = Field(
        default=256, ge=1, le=65536, description="An archive that unpacks to more is not read further, in GiB."
    )
    subject_pattern: str = Field(
        default=r"(?i)(?<![a-z])(?:patient|subject|case|pat|sub)[-_ ]?\d+",
        description="Regular expression that finds the subject in a file's path, for files without a patient id.",
    )


@dg.asset(
    partitions_def=scan_batches,
    group_name="ingestion",
    kinds={"dicom", "parquet"},
    code_version="2",
    metadata=column_schema("scans"),
)
def scans(context: dg.AssetExecutionContext, config: ScansConfig, store: StoreResource) -> dg.MaterializeResult:
    """Every frame of a delivered folder: lossless pixels and de-identified facts, one row each.

    Patients, studies and files are keyed hashes. The pixels may still show burnt-in identity: the folder is private,
    only the text stage reads it, no preview shows it. A file that is not taken is in `rejected_scans` with its reason.
    Archives are opened, and the table of a known public data set is read beside its images.
    """
    from fusc_pipeline.scans.datasets import read_data_set
    from fusc_pipeline.scans.files import list_files, validate_batch_key
    from fusc_pipeline.scans.identity import load_key

    files, inbox, batch = store.get(), store.inbox(), context.partition_key
    with refusals():
        validate_batch_key(batch)
        keys = load_key(inbox.private / "hmac.key")
        folder, listing = inbox.folder(batch), inbox.listing(batch)
        data_set = read_data_set(list_files(folder), *inbox.layout(batch))

    def produce(draft):
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from fusc_pipeline.scans.archives import ArchiveLimits
        from fusc_pipeline.scans.batch import Rejection, Report, Reused, iter_batch, known_files
        from fusc_pipeline.scans.reading import ReadLimits

        limits = ReadLimits(max_file_bytes=config.max_file_mb << 20, frames_per_clip=config.frames_per_clip)
        archive_limits = ArchiveLimits(
            max_total_bytes=config.max_archive_gb << 30, max_member_bytes=config.max_file_mb << 20
        )
        known = {}
        if files.same_recipe("scans", batch, draft.recipe.key):
            columns = ["source_sha256", "file_key", "image_id"]
            old_rejects = pq.read_table(files.folder("scans", batch) / REJECTED, schema=REJECTED_SCANS)
            known = known_files(files.table("scans", batch, columns), old_rejects)
        report = Report()
        rejected: list[dict] = []
        reused: list[Reused] = []

        def taken():
            rows = []
            outcomes = iter_batch(
                folder,
                keys,
                limits,
                config.subject_pattern,
                known,
                config.workers,
                data_set=data_set,
                archive_limits=archive_limits,
                scratch=inbox.private / "unpacked",
                report=report,
            )
            for outcome in outcomes:
                if isinstance(outcome, Rejection):
                    rejected.append(outcome.row)
                elif isinstance(outcome, Reused):
                    reused.append(outcome)
                else:
                    rows.append(outcome.row)
                if len(rows) == ROWS_PER_GROUP:
                    yield pa.Table.from_pylist(rows, schema=SCANS)
                    rows = []
            yield pa.Table.from_pylist(rows, schema=SCANS)
            if reused:
                kept = pc.field("image_id").isin(pa.array([i for file in reused for i in file.image_ids]))
                for piece in files.dataset("scans", batch).to_batches(filter=kept, batch_size=ROWS_PER_GROUP):
                    yield pa.Table.from_batches([piece])

        count = draft.write_table(taken())
        pq.write_table(pa.Table.from_pylist(rejected, schema=REJECTED_SCANS), draft.path(REJECTED))
        inbox.remember_names(batch, report.names)
        context.log.info(f"scans: {report.delivered} files, {count} frames taken, {len(rejected)} rejected")
        changed = inbox.listing(batch) != listing
        if changed:
            context.log.warning("scans: the batch folder changed while it was read; run again for what was added")
        draft.metadata |= {
            "dagster/row_count": count,
            "files": report.delivered,
            "files_reused": len(reused),
            "archives": report.archives,
            "rejected": len(rejected),
            "changed_while_read": changed,
            "layout": data_set.layout,
            "rows_refused": len(data_set.bad_rows),
            **_counts(draft.path("table.parquet"), data_set.layout),
            "key_id": keys.key_id,
            "phantom": (folder / "_PHANTOM.json").exists(),
        }

    extra = {"key": keys.key_id, "data_set": data_set.fingerprint}
    # Keyed, since it is written down: a plain hash of few names could be found again by trying.
    delivered = {"delivery": keys.keyed("listing", listing)}
    return materialize(context, files, config, produce, inputs=delivered, extra=extra)


def _counts(path: Path, layout: str) -> dict:
    """Frames of each content, and the images that the batch's data set does not know."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["content", "file_key", "own_label"])
    found = {row["values"]: row["counts"] for row in table.column("content").value_counts().to_pylist()}
    contents = {f"content/{name}": found.get(name, 0) for name in CONTENTS}
    return contents | {"images_not_in_data_set": 0 if layout == "plain" else len(unlisted(table))}


def unlisted(scans: pa.Table) -> list[str]:
    """The keys of the files whose images came without a label of their data set's, in order."""
    pairs = zip(scans.column("file_key").to_pylist(), scans.column("own_label").to_pylist(), strict=True)
    return list(dict.fromkeys(key for key, label in pairs if label is None))


@dg.asset(
    partitions_def=scan_batches,
    deps=[scans],
    group_name="ingestion",
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema("rejected_scans"),
)
def rejected_scans(
    context: dg.AssetExecutionContext, config: AssetConfig, store: StoreResource
) -> dg.MaterializeResult:
    """Every file or frame that was not taken, and why, in words a person can act on.

    Files are named by their key; `fusc files <batch>` shows them by name on the machine that read them.
    """
    files, batch = store.get(), context.partition_key

    def produce(draft):
        import pyarrow.parquet as pq

        table = pq.read_table(files.folder("scans", batch) / REJECTED, schema=REJECTED_SCANS)
        reasons = table.column("reason").value_counts().to_pylist()
        lines = ["| reason | files |", "|---|--:|"]
        lines += [f"| {r['values']} | {r['counts']} |" for r in sorted(reasons, key=lambda r: -r["counts"])]
        draft.write_table(table)
        draft.metadata |= {
            "dagster/row_count": table.num_rows,
            "reasons": {"md": "\n".join(lines) if reasons else "Nothing was rejected."},
        }

    return materialize(context, files, config, produce, upstream=["scans"])
