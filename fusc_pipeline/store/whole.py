"""Whether a version holds every file that its asset declared; and of one of an earlier release, which declared nothing,
what its table tells. Nothing is read but listings, and for those the table's fits.
"""

from collections.abc import Iterable

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.words import named
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.store import CURRENT, WHOLE, Record, Store

HISTORY = "history.json"


def fit_name(n_clusters: int, seed: int) -> str:
    """Name of a fit's files."""
    return f"k{n_clusters}-seed{seed}"


def fit_files(n_clusters: Iterable[int], seeds: Iterable[int]) -> list[str]:
    """The files of an asset of several fits: the table, the histories, and the weights of every K with every seed."""
    seeds = list(seeds)
    return [TABLE, HISTORY, *(f"{fit_name(k, seed)}.safetensors" for k in n_clusters for seed in seeds)]


def lacking(store: Store, record: Record) -> list[str]:
    """Names of files that this version must hold and does not."""
    return store.lacking(record, () if record.holds else _fits_of_earlier_release(store, record))


def require_whole(store: Store, record: Record, then: str) -> None:
    """Raise BadInput where the version lacks a file; then: what is not done therefore, "nothing is built on it" say."""
    if names := lacking(store, record):
        where = f" of batch {record.partition}" if record.partition else ""
        raise BadInput(f"{record.asset}{where}: {gone(names)}, so {then}; materialise it again, then this")


def broken(store: Store) -> list[str]:
    """A sentence for every output in use that lacks a file."""
    told = []
    for current in sorted((store.root / "assets").glob(f"[!.]*/[!.]*/{CURRENT}")):
        batch = None if current.parent.name == WHOLE else current.parent.name
        record = store.record(current.parent.parent.name, batch)
        if record is not None and (names := lacking(store, record)):
            where = f" of batch {batch}" if batch else ""
            told.append(f"{record.asset}{where}: {gone(names)}; the next run that takes it in makes it again")
    return told


def gone(names: Iterable[str]) -> str:
    """What is wrong with a version that lacks these files, in words."""
    names = list(names)
    return f"{named('file', names)} of it {'is' if len(names) == 1 else 'are'} gone or cut short"


def _fits_of_earlier_release(store: Store, record: Record) -> list[str]:
    """The weights of every fit in the table: an earlier release could publish without some of them, and kept only the
    names of those that were there."""
    import pyarrow.parquet as pq

    table = store.place(record) / TABLE
    if HISTORY not in record.files or "weights.safetensors" in record.files or not table.is_file():
        return []  # no asset of several fits, or damaged beyond doubt
    with pq.ParquetFile(table) as file:
        if not {"n_clusters", "seed"} <= {*file.schema_arrow.names}:
            return []
        fits = file.read(["n_clusters", "seed"]).group_by(["n_clusters", "seed"]).aggregate([]).to_pylist()
    return [f"{fit_name(fit['n_clusters'], fit['seed'])}.safetensors" for fit in fits]
