"""What a run of `model_in_service` does to the history of models: nothing, or one row more; and what it shows of it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fusc_pipeline.defs.compared import compare_models
from fusc_pipeline.defs.served import CANDIDATE, IN_SERVICE, entries, history_rows, models_folder, served_after
from fusc_pipeline.errors import BadInput
from fusc_pipeline.hashing import digest
from fusc_pipeline.resources.store import Store
from fusc_pipeline.service.bundle import Bundle, install
from fusc_pipeline.service.identity import matched_identities
from fusc_pipeline.service.promotion import KEPT, UNCHANGED, Decision, chosen, decide, settled
from fusc_pipeline.service.wording import history_markdown


class Step:
    """What one run does to the history: nothing, or one row more. Known before any work, as `state`."""

    def __init__(self, files: Store, before: list[dict[str, Any]], request: Decision | None, version: str, number: int):
        self.files, self.before, self.version, self.number = files, before, version, number
        self.request = request  # decided already: by name, or nothing to do; None: the candidate is to be compared
        last = before[-1]["state"] if before else ""
        self.state = last if request and request.action == UNCHANGED else digest([last, number, version])

    @classmethod
    def of(cls, files: Store, config: Any) -> "Step":
        rows = history_rows(files)
        known, rule = entries(rows), config.rule()
        if config.use:
            decision = chosen(known, config.use)
            version = next(entry.version for entry in known if entry.number == config.use)
            return cls(files, rows, decision, version, config.use)
        version = files.require(CANDIDATE).data_version
        if words := settled(known, version, rule):
            return cls(files, rows, Decision(UNCHANGED, words), version, known[-1].in_service)
        if refusal := files.refusal(CANDIDATE):
            raise BadInput(f"{CANDIDATE} failed a check, so it is not decided upon ({refusal}); mend it first")
        return cls(files, rows, None, version, _number_for(files, rows, version))

    def mended(self, warn: Callable[[str], None]) -> bool:
        """Put the model in service back where it is damaged and the candidate it came from still stands; whether so.

        It looks like no change to the history, so without this nothing would ever mend it but another model.
        """
        now = served_after(self.files, self.before) if self.before else None
        record = self.files.record(CANDIDATE)
        if now is None or record is None or record.data_version != now.version:
            return False
        try:
            now.bundle().check(name=f"model {now.number}")
            return False
        except BadInput as damage:
            with self.files.alone(IN_SERVICE, None):
                install(Bundle.open(self.files.folder(CANDIDATE), CANDIDATE), now.root)
            warn(f"{damage}; it was put back from {CANDIDATE}")
            return True

    def rows(self, context: Any, config: Any, work: Path) -> list[dict[str, Any]]:
        """The history after this run."""
        if self.request and self.request.action == UNCHANGED:
            context.log.info(f"model_in_service: {self.request.why}")
            return self.before
        comparison = None
        if self.request is None:
            source = Bundle.open(self.files.folder(CANDIDATE), CANDIDATE)
            bundle = install(source, models_folder(self.files, self.number))
            if self.before:
                now = served_after(self.files, self.before)
                comparison = compare_models(context, self.files, config, bundle, now.bundle(), work)
            decision = decide(entries(self.before), self.version, comparison, config.rule())
        else:
            decision = self.request
            bundle = Bundle.open(models_folder(self.files, self.number), f"model {self.number}")
            bundle.check(name=f"model {self.number}")
        if decision.action == KEPT:
            identities, in_service = None, self.before[-1]["in_service"]
        else:
            identities, in_service = self._identities(bundle, config.least_overlap), self.number
        context.log.info(f"model_in_service: model {self.number} {decision.action}: {decision.why}")
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

    def _identities(self, bundle: Bundle, least_overlap: float) -> list[int]:
        """Identities of the bundle's clusters: as when it was promoted before, else matched with the one in service."""
        for row in self.before:
            if row["number"] == self.number and row["identity_map"] is not None:
                return row["identity_map"]
        if not self.before:
            return list(range(bundle.facts.n_clusters))
        now = served_after(self.files, self.before)
        old, new = _same_images(now.bundle(), bundle)
        used = [identity for row in self.before for identity in row["identity_map"] or ()]
        return matched_identities(old, new, now.identities, bundle.facts.n_clusters, used, least_overlap)


def _number_for(files: Store, rows: list[dict[str, Any]], version: str) -> int:
    """The candidate's number: its own where it has one, else one that no model and no folder of models/ has."""
    for row in rows:
        if row["version"] == version:
            return row["number"]
    folders = [int(path.name) for path in (files.root / "models").glob("*") if path.name.isdigit()]
    top = max((row["number"] for row in rows), default=0)
    left = models_folder(files, top + 1)  # of a run that was killed between copying the model and publishing
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
    return tuple(np.array([one[image] for image in both], np.int64) for one in found)


def described(files: Store, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Metadata: which number, since when, why, and the history."""
    now = served_after(files, rows)
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
