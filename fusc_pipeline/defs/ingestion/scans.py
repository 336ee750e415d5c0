"""Ingestion: delivered files to frames, one scan batch at a time. Reading files is `fusc_pipeline.scans`' part."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CONTENTS, REJECTED_SCANS, SCANS
from fusc_pipeline.defs.engine.config_fields import AssetConfig, ParallelConfig
from fusc_pipeline.defs.engine.preview import crossed_table
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.ingestion.delivered import Delivered, DeliveryGone, find_delivered, gone
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.identity import DEFAULT_SUBJECT_PATTERN
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.rows import ImageRows, in_groups, in_order
from fusc_pipeline.store.store import Draft, Store

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
        default=DEFAULT_SUBJECT_PATTERN,
        description="Regular expression that finds the subject in a file's path, for files without a patient id.",
    )


@stored_asset(
    per_batch=True,
    group="ingestion",
    kinds={"dicom", "parquet"},
    code_version="3",
)
def scans(context: Request, config: ScansConfig, store: Store) -> Work:
    """Every frame of a delivered folder: lossless pixels and de-identified facts, one row each.

    Patients, studies and files are keyed hashes. The pixels may still show burnt-in identity: the folder is private,
    only the text stage reads it, no preview shows it. A file that is not taken is in `rejected_scans` with its reason.
    Archives are opened, and the table of a known public data set is read beside its images.
    """
    inbox, batch = Inbox(store.root), context.partition_key
    found = find_delivered(inbox, store, batch)
    if isinstance(found, DeliveryGone):
        context.log.info("scans: the delivered folder of this batch is gone; what was made of it stands")

    def produce(draft: Draft) -> None:
        if isinstance(found, DeliveryGone):
            raise gone("are not there, so they cannot be read again with these settings")
        reading = _Reading(store, inbox, batch, config, found, draft)
        try:
            count = draft.write_table(reading.tables())
            _take_off_labels(draft, reading.report.contradicted)
        except BadInput:
            found.check_whole()
            raise
        found.check_whole()
        changed = inbox.listing(batch) != found.listing
        reading.publish_refusals()
        context.log.info(f"scans: {reading.report.delivered} files, {count} frames, {len(reading.rejected)} rejected")
        if changed:
            context.log.warning("scans: the batch folder changed while it was read; run again for what was added")
        draft.metadata |= {
            "dagster/row_count": count,
            "files": reading.report.delivered,
            "files_reused": reading.reused,
            "archives": reading.report.archives,
            "labels_contradicted": len(reading.report.contradicted),
            "passed_over": len(reading.report.passed_over),
            "rejected": len(reading.rejected),
            "changed_while_read": changed,
            "layout": found.data_set.layout,
            "rows_refused": len(found.data_set.bad_rows),
            **_counts(draft.path("table.parquet"), found.data_set.layout),
            "key_id": found.keys.key_id,
            "phantom": (found.folder / "_PHANTOM.json").exists(),
        }

    return Work(produce, inputs=found.inputs, extra=found.extra, holds=[TABLE, REJECTED])


class _Reading:
    """One reading of a batch's folder into a draft; files that an earlier version read are taken over from it."""

    def __init__(self, store: Store, inbox: Inbox, batch: str, config: ScansConfig, delivered: Delivered, draft: Draft):
        from fusc_pipeline.scans.batch import Report

        self._inbox, self._batch, self._config, self._delivered, self._draft = inbox, batch, config, delivered, draft
        self._before, self._known = _held(store, batch, draft.recipe.key)
        self.report = Report()
        self.rejected: list[dict] = []
        self.reused = 0

    def tables(self) -> Iterator[pa.Table]:
        """The frames in the order of their files' paths, whether read now or before, a row group each."""
        for group in in_groups(self._frames(), ROWS_PER_GROUP):
            new = pa.Table.from_pylist([item for item in group if isinstance(item, dict)], schema=SCANS)
            old = [item for item in group if isinstance(item, str)]
            if old:
                assert self._before is not None  # only what it holds is known
                kept = self._before.take(old)
                new = pa.concat_tables([new, pa.Table.from_arrays(kept.columns, schema=SCANS)])
            ids = [item if isinstance(item, str) else item["image_id"] for item in group]
            yield in_order(new, ids).combine_chunks()

    def _frames(self) -> Iterator[dict | str]:
        """The row of each frame that was read, the image_id of each that is held already."""
        from fusc_pipeline.scans.archives import ArchiveLimits
        from fusc_pipeline.scans.batch import Rejection, Reused, iter_batch
        from fusc_pipeline.scans.reading import ReadLimits

        config, most = self._config, self._config.max_file_mb << 20
        outcomes = iter_batch(
            self._delivered.folder,
            self._delivered.keys,
            ReadLimits(max_file_bytes=most, frames_per_clip=config.frames_per_clip),
            config.subject_pattern,
            self._known,
            config.workers,
            data_set=self._delivered.data_set,
            archive_limits=ArchiveLimits(max_total_bytes=config.max_archive_gb << 30, max_member_bytes=most),
            scratch=self._inbox.private / "unpacked",
            report=self.report,
        )
        for outcome in outcomes:
            if isinstance(outcome, Rejection):
                self.rejected.append(outcome.row)
            elif isinstance(outcome, Reused):
                self.reused += 1
                yield from outcome.frames
            else:
                yield outcome.row

    def publish_refusals(self) -> None:
        """Put what was not taken beside the frames, and its names into the private folder."""
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(self.rejected, schema=REJECTED_SCANS), self._draft.path(REJECTED))
        self._inbox.remember_names(self._batch, self.report.names, self.report.passed_over)


def _held(store: Store, batch: str, recipe: str) -> tuple[ImageRows | None, Mapping]:
    """(the frames of the version in use, the files they are of), where the same recipe made it."""
    import pyarrow.parquet as pq

    if not store.same_recipe("scans", batch, recipe):
        return None, {}
    from fusc_pipeline.scans.outcomes import known_files

    folder = store.folder("scans", batch)
    rejected = pq.read_table(folder / REJECTED, schema=REJECTED_SCANS)
    columns = ["source_sha256", "file_key", "image_id", "frame_index"]
    return ImageRows(folder / "table.parquet"), known_files(store.table("scans", batch, columns), rejected)


def _take_off_labels(draft: Draft, images: set[str]) -> None:
    """Without the label of a data set that names the same picture twice and differently."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not images:
        return
    written = draft.path(TABLE).rename(draft.path("contradicted.parquet"))

    def groups() -> Iterator[pa.Table]:
        file = pq.ParquetFile(written)
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            named = pc.is_in(group.column("image_id"), pa.array(sorted(images)))
            place = group.schema.get_field_index("own_label")
            cleared = pc.if_else(named, pa.scalar(None, pa.string()), group.column("own_label"))
            yield group.set_column(place, group.schema.field(place), cleared).combine_chunks()

    draft.write_table(groups())
    written.unlink()


def _counts(path: Path, layout: str) -> dict:
    """Frames of each content and machine, and the images that the batch's data set does not know."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["content", "machine", "file_key", "own_label"])
    found = {row["values"]: row["counts"] for row in table.column("content").value_counts().to_pylist()}
    contents = {f"content/{name}": found.get(name, 0) for name in CONTENTS}
    machines: dict[str, Counter] = {}
    for machine, content in zip(*(table.column(name).to_pylist() for name in ("machine", "content")), strict=True):
        machines.setdefault(machine or "(not told)", Counter())[content] += 1
    contents["preview"] = {"md": crossed_table(machines, "machine") if machines else "No frame was taken."}
    return contents | {"images_not_in_data_set": 0 if layout == "plain" else len(unlisted(table))}


def unlisted(scans: pa.Table) -> list[str]:
    """The keys of the files whose images came without a label of their data set's, in order."""
    pairs = zip(scans.column("file_key").to_pylist(), scans.column("own_label").to_pylist(), strict=True)
    return list(dict.fromkeys(key for key, label in pairs if label is None))


@stored_asset(
    per_batch=True,
    deps=["scans"],
    group="ingestion",
    kinds={"parquet"},
    code_version="1",
)
def rejected_scans(context: Request, config: AssetConfig, store: Store) -> Work:
    """Every file or frame that was not taken, and why, in words a person can act on.

    Files are named by their key; `fusc files <batch>` shows them by name on the machine that read them.
    """
    batch = context.partition_key

    def produce(draft):
        import pyarrow.parquet as pq

        table = pq.read_table(store.folder("scans", batch) / REJECTED, schema=REJECTED_SCANS)
        reasons = table.column("reason").value_counts().to_pylist()
        lines = ["| reason | files |", "|---|--:|"]
        lines += [f"| {r['values']} | {r['counts']} |" for r in sorted(reasons, key=lambda r: -r["counts"])]
        draft.write_table(table)
        draft.metadata |= {
            "dagster/row_count": table.num_rows,
            "reasons": {"md": "\n".join(lines) if reasons else "Nothing was rejected."},
        }

    return Work(produce)
