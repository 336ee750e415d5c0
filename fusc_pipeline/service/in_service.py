"""The model in service, as other assets see it: which it is, since when, and its whole history."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import MODEL_IN_SERVICE
from fusc_pipeline.service.promotion import Entry
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.records import is_intact
from fusc_pipeline.store.store import WHOLE, Store

if TYPE_CHECKING:
    from fusc_pipeline.service.bundle import Bundle


CANDIDATE, IN_SERVICE, ASSIGNMENTS = "candidate_model", "model_in_service", "batch_assignments"


@dataclass(frozen=True)
class Served:
    """The model in service.

    since: seconds since 1970 (UTC); identities: of its clusters 0 to K−1.
    """

    number: int
    version: str
    since: float
    identities: tuple[int, ...]
    root: Path

    def bundle(self) -> "Bundle":
        """All of the model; BadInput when its folder is missing or damaged."""
        from fusc_pipeline.service.bundle import Bundle

        return Bundle.open(self.root, f"model {self.number}")


def models_folder(store: Store, number: int) -> Path:
    """Where the bundle of a model lies."""
    return store.root / "models" / str(number)


def history_rows(store: Store) -> list[dict[str, Any]]:
    """Rows of `schemas.MODEL_IN_SERVICE`, oldest first; none before the first model.

    Where the version in use is lost or spoilt they are those of the newest whole one, else of whatever table can be
    read: what came after is decided again. Decisions can be made anew from nothing else.
    """
    now = store.record(IN_SERVICE)
    versions = [*([now] if now else []), *store.versions(IN_SERVICE)]
    whole = next((record for record in versions if is_intact(store.place(record), record)), None)
    table = store.table_of(whole) if whole else _salvaged(store)
    if table is None:
        return []
    # As numbers first: pyarrow makes a time of Python's with the help of pandas, which takes longer than all the rest.
    place = table.schema.get_field_index("at")
    rows = table.set_column(place, "at", table.column("at").cast(pa.int64())).to_pylist()
    return [row | {"at": datetime.fromtimestamp(row["at"] / 1000, UTC)} for row in rows]


def _salvaged(store: Store) -> pa.Table | None:
    """The longest history that can be read in any version, whatever became of its record."""
    import pyarrow.parquet as pq

    found = []
    for path in sorted((store.root / "assets" / IN_SERVICE / WHOLE).glob(f"[!.]*/{TABLE}")):
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError):
            continue  # spoilt as well
        if table.schema.equals(MODEL_IN_SERVICE):
            found.append(table)
    return max(found, key=len, default=None)


def entries(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """The history as `service.promotion` sees it."""
    return [Entry(row["action"], row["number"], row["version"], row["in_service"]) for row in rows]


def served(store: Store) -> Served | None:
    """The model in service, or None before the first."""
    rows = history_rows(store)
    return served_after(store, rows) if rows else None


def served_after(store: Store, rows: list[dict[str, Any]]) -> Served:
    """The model that is in service after these rows of the history."""
    number = rows[-1]["in_service"]
    came = next(
        place for place in range(len(rows) - 1, -1, -1) if place == 0 or rows[place - 1]["in_service"] != number
    )
    mine = next(row for row in rows if row["number"] == number and row["identity_map"] is not None)
    return Served(
        number, mine["version"], rows[came]["at"].timestamp(), tuple(mine["identity_map"]), models_folder(store, number)
    )


def require_served(store: Store) -> Served:
    """As `served`, but BadInput with the command to run when there is none, or when a check failed it."""
    found = served(store)
    if found is None:
        raise BadInput("no model is in service yet: train one on the corpus first (fusc run), then assign again")
    if refusal := store.refusal(IN_SERVICE):
        raise BadInput(
            f"model {found.number} in service failed a check, so nothing is assigned with it ({refusal}); put another "
            "in service: fusc rollback, or fusc promote NUMBER"
        )
    return found
