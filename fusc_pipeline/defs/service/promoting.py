"""What a run of `model_in_service` does to the history of models: nothing, or one row more; and what it shows of it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.defs.service.compared import compare_models
from fusc_pipeline.service.bundle import TABLE, Bundle, install
from fusc_pipeline.service.cluster_identity import matched_identities
from fusc_pipeline.service.history_text import history_markdown
from fusc_pipeline.service.in_service import (
    CANDIDATE,
    IN_SERVICE,
    Served,
    entries,
    history_rows,
    models_folder,
    served_after,
)
from fusc_pipeline.service.promotion import (
    KEPT,
    PROMOTED,
    ROLLED_BACK,
    UNCHANGED,
    Decision,
    Entry,
    chosen,
    decide,
    settled,
)
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import require_whole


class HistoryStep:
    """What one run does to the history: nothing, or one row more. Known before any work, as `state`."""

    def __init__(self, store: Store, before: list[dict[str, Any]], request: Decision | None, version: str, number: int):
        self.store, self.before, self.version, self.number = store, before, version, number
        self.request = request  # decided already: by name, or nothing to do; None: the candidate is to be compared
        last = before[-1]["state"] if before else ""
        self.state = last if request and request.action == UNCHANGED else digest([last, number, version])

    @classmethod
    def of(cls, store: Store, config: Any, damage: BadInput | None = None) -> "HistoryStep":
        """damage: what is wrong with the bundle in service, where it could not be put back."""
        rows = history_rows(store)
        known, rule = entries(rows), config.rule()
        if config.use:
            decision = chosen(known, config.use)
            if damage is not None and decision.action == UNCHANGED:
                raise damage
            return cls(store, rows, decision, _version_of(known, config.use), config.use)
        if damage is not None and (back := _whole_before(store, rows)):
            why = f"{words_of(damage)}, and this is the last whole one before it"
            return cls(store, rows, Decision(ROLLED_BACK, why), _version_of(known, back), back)
        candidate = store.require(CANDIDATE)
        version = candidate.data_version
        if words := settled(known, version, rule):
            if damage is not None:
                raise damage
            return cls(store, rows, Decision(UNCHANGED, words), version, known[-1].in_service)
        if refusal := store.refusal(CANDIDATE):
            raise BadInput(f"{CANDIDATE} failed a check, so it is not decided upon ({refusal}); mend it first")
        require_whole(store, candidate, "it is not decided upon")
        number = _number_for(store, rows, version)
        if damage is not None:  # there is nothing to compare it with
            if rule.promote == "never":
                raise damage
            why = f"{words_of(damage)}, and no model before it is whole"
            return cls(store, rows, Decision(PROMOTED, why), version, number)
        return cls(store, rows, None, version, number)

    def rows(self, context: Any, config: Any, work: Path) -> list[dict[str, Any]]:
        """The history after this run."""
        if self.request and self.request.action == UNCHANGED:
            context.log.info(f"model_in_service: {self.request.why}")
            return self.before
        comparison = None
        bundle = self._bundle()
        if self.request is None:
            if self.before:
                now = served_after(self.store, self.before)
                comparison = compare_models(context, self.store, config, bundle, now.bundle(), work)
            decision = decide(entries(self.before), self.version, comparison, config.rule())
        else:
            decision = self.request
        if decision.action == KEPT:
            identities, in_service = None, self.before[-1]["in_service"]
        else:
            identities, in_service = self._identities(bundle, config.least_overlap), self.number
        context.log.info(f"model_in_service: model {self.number} {decision.action.replace('_', ' ')}: {decision.why}")
        row = {
            "step": len(self.before) + 1,
            "at": datetime.fromtimestamp(int(time.time()), UTC),
            "action": decision.action,
            "number": self.number,
            "in_service": in_service,
            "why": decision.why,
            "version": self.version,
            "identity_map": identities,
            "state": self.state,
        }
        if comparison is not None and comparison.n:
            row |= {
                "measure": comparison.measure,
                "value": comparison.candidate,
                "value_in_service": comparison.in_service,
                "images": comparison.n,
                "left_out": comparison.left_out,
                "risk": comparison.risk(config.tolerance),
            }
        return [*self.before, row]

    def _bundle(self) -> Bundle:
        """Of the model that is decided upon, whole: the candidate's is put into models/ first."""
        place = models_folder(self.store, self.number)
        candidate = self.store.record(CANDIDATE)
        if candidate is not None and candidate.data_version == self.version:
            return install(Bundle.open(self.store.place(candidate), CANDIDATE), place)
        bundle = Bundle.open(place, f"model {self.number}")
        bundle.check(name=f"model {self.number}")
        return bundle

    def _identities(self, bundle: Bundle, least_overlap: float) -> list[int]:
        """Identities of the bundle's clusters: as when it was promoted before, else matched with the one in service."""
        for row in self.before:
            if row["number"] == self.number and row["identity_map"] is not None:
                return row["identity_map"]
        if not self.before:
            return list(range(bundle.facts.n_clusters))
        now = served_after(self.store, self.before)
        try:
            now.bundle().check(TABLE)
            old, new = _same_images(now.bundle(), bundle)
        except BadInput:  # the one in service is lost, so nothing tells which of its clusters is which
            old = new = np.zeros(0, np.int64)
        used = [identity for row in self.before for identity in row["identity_map"] or ()]
        return matched_identities(old, new, now.identities, bundle.facts.n_clusters, used, least_overlap)


@dataclass(frozen=True)
class Damage:
    """What became of a damaged bundle: put back, or what is still wrong with it."""

    mended: bool
    left: BadInput | None = None


def put_back(store: Store, model: Served | None, warn: Callable[[str], None], plan: bool = False) -> Damage | None:
    """Put the bundle of a model back where a file of it is lost or damaged and the candidate it came from is kept.

    None where nothing is wrong with it. A run that finds nothing new changes no history, so without this nothing would
    ever mend it but another model. plan: only tell what would become of it; of the files only names are looked at.
    """
    if model is None:
        return None
    try:
        model.bundle().check(name=f"model {model.number}", read=not plan)
        return None
    except BadInput as found:
        damage = found
    for record in store.versions(CANDIDATE):
        if record.data_version != model.version or store.lacking(record):
            continue
        if plan:
            return Damage(mended=True)
        try:
            with store.exclusive(IN_SERVICE, None):
                install(Bundle.open(store.place(record), CANDIDATE), model.root)
        except BadInput as also:
            warn(f"model {model.number} cannot be put back from {CANDIDATE}: {words_of(also)}")
            continue
        warn(f"{words_of(damage)}; it was put back from {CANDIDATE}")
        return Damage(mended=True)
    return Damage(mended=False, left=damage)


def words_of(damage: BadInput) -> str:
    """What is wrong with a bundle, without where it lies and what to do about it."""
    return re.sub(r" in /\S+| \(/[^)]*\)", "", str(damage).partition(";")[0])


def _version_of(known: list[Entry], number: int) -> str:
    return next(entry.version for entry in known if entry.number == number)


def _whole_before(store: Store, rows: list[dict[str, Any]]) -> int | None:
    """Number of the model that was in service last before the present one and is whole."""
    for number in dict.fromkeys(row["in_service"] for row in reversed(rows)):
        try:
            if number != rows[-1]["in_service"]:
                Bundle.open(models_folder(store, number)).check()
                return number
        except BadInput:
            continue  # it is no better
    return None


def _number_for(store: Store, rows: list[dict[str, Any]], version: str) -> int:
    """The candidate's number: its own where it has one, else one that no model and no folder of models/ has."""
    for row in rows:
        if row["version"] == version:
            return row["number"]
    folders = [int(path.name) for path in (store.root / "models").glob("*") if path.name.isdigit()]
    top = max((row["number"] for row in rows), default=0)
    left = models_folder(store, top + 1)  # of a run that was killed between copying the model and publishing
    if top + 1 == max(folders, default=0) and _holds(left, version):
        return top + 1
    return max([top, *folders]) + 1


def _holds(folder: Path, version: str) -> bool:
    try:
        return Bundle.open(folder).facts.version == version
    except BadInput:
        return False


def _same_images(first: Bundle, second: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Clusters that two bundles give the images both hold."""
    tables = [bundle.table(["image_id", "cluster"]) for bundle in (first, second)]
    found = [dict(zip(*(table.column(i).to_pylist() for i in (0, 1)), strict=True)) for table in tables]
    both = [image for image in found[0] if image in found[1]]
    first_clusters, second_clusters = (np.array([one[image] for image in both], np.int64) for one in found)
    return first_clusters, second_clusters


def described(store: Store, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Metadata: which number, since when, why, and the history."""
    now = served_after(store, rows)
    facts = now.bundle().facts
    came = next(row for row in reversed(rows) if row["in_service"] == now.number and row["number"] == now.number)
    return {
        "dagster/row_count": len(rows),
        "model": now.number,
        "since": datetime.fromtimestamp(now.since, UTC).isoformat(),
        "why": came["why"],
        "last_decision": f"model {rows[-1]['number']} {rows[-1]['action'].replace('_', ' ')}: {rows[-1]['why']}",
        "clusters": len(now.identities),
        "made_of": f"{facts.row}, K {facts.n_clusters}, seed {facts.seed}, {facts.images['train']} training images",
        "history": {"md": history_markdown(rows)},
    }
