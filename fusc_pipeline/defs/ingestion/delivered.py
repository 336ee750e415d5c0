"""What a batch's frames are read from, found without opening a picture; and what it means when the folder is gone.

A folder that is gone, or an inbox that is not mounted, is no deletion: what was made of it stands, and a reading that
it broke off leaves nothing behind and may be tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine.failures import full_disk
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.run_marks import CAUSE, PASSING
from fusc_pipeline.scans.files import list_files, validate_batch_key
from fusc_pipeline.scans.folder_content import entries_of
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline.store.store import Record, Store

if TYPE_CHECKING:
    from fusc_pipeline.scans.datasets import DataSet


@dataclass(frozen=True)
class Delivered:
    """A batch's folder as it is now. listing: see `Inbox.content`; entries: what lay in it, to tell what goes away."""

    folder: Path
    keys: KeyRing
    listing: str
    content: str
    data_set: "DataSet"
    entries: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, str]:
        """Keyed, since it is written down: a plain hash of few files could be found again by trying."""
        return {"delivery": self.keys.keyed("listing", self.content)}

    @property
    def extra(self) -> dict[str, Any]:
        return {"key": self.keys.key_id, "data_set": self.data_set.fingerprint}

    def check_whole(self) -> None:
        """Raise a failure that may pass when anything that lay in the folder at first is not there any more."""
        if set(self.entries) - set(entries_of(self.folder)):
            raise gone("went away while they were read")


@dataclass(frozen=True)
class DeliveryGone:
    """A batch whose folder is gone, and the version that was made of it."""

    record: Record

    @property
    def inputs(self) -> dict[str, str]:
        return self.record.inputs

    @property
    def extra(self) -> dict[str, Any]:
        return self.record.extra


def find_delivered(inbox: Inbox, store: Store, batch: str) -> Delivered | DeliveryGone:
    """The batch's folder, or what stands where it is gone. Raises BadInput for a batch that was never added, and a
    failure that may pass when the folder of one that was is gone and nothing stands."""
    from fusc_pipeline.scans.datasets import read_data_set

    validate_batch_key(batch)
    keys = inbox.keys()
    entries: Mapping[str, Any] = {}
    try:
        folder = inbox.folder(batch)
        entries = entries_of(folder)
        with full_disk("scans", store):  # no room to note the listing is not "the files are gone"
            listing, content = inbox.content(batch)
        delivered = list_files(folder)
    except (BadInput, OSError) as error:
        record = store.record("scans", batch)
        if record is not None:
            return DeliveryGone(record)
        # What holds something, but no scan, or was never added, is refused; an empty folder may be a mount point. Any
        # other error of the file system is told as it is.
        empty = isinstance(error, BadInput) and batch in inbox.registered() and not entries
        if not (empty or isinstance(error, FileNotFoundError)):
            raise
        raise gone("are not there") from None
    data_set = read_data_set(delivered, *inbox.layout(batch))
    return Delivered(folder, keys, listing, content, data_set, entries)


def gone(how: str) -> dg.Failure:
    """The failure of a reading whose files went away: it may pass."""
    return dg.Failure(
        f"scans: files of this batch {how} (is the inbox mounted?). Nothing was published, and what was made before "
        "stands; run again when they are back.",
        {CAUSE: PASSING},
        allow_retries=True,
    )
