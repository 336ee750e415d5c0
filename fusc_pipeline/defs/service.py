"""The candidate that each training leaves, and which model is in service. When it changes: `service.promotion`."""

import contextlib
import time
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.candidate import build_candidate
from fusc_pipeline.defs.compared import compare_models
from fusc_pipeline.defs.failures import refusals
from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.materialize import column_schema, materialize
from fusc_pipeline.defs.models import ComputeConfig
from fusc_pipeline.defs.planning import PlanContext
from fusc_pipeline.defs.served import (
    CANDIDATE,
    IN_SERVICE,
    encoder_of,
    entries,
    history_rows,
    models_folder,
    served_after,
    served_row,
)
from fusc_pipeline.hashing import digest
from fusc_pipeline.locks import exclusive
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Store
from fusc_pipeline.schemas import MODEL_IN_SERVICE
from fusc_pipeline.service.bundle import Bundle, install
from fusc_pipeline.service.identity import LEAST_OVERLAP, matched_identities
from fusc_pipeline.service.promotion import (
    KEPT,
    UNCHANGED,
    Decision,
    Rule,
    chosen,
    decide,
    settled,
)

GROUP = "service"
ROW = served_row()
_MADE_FROM = [
    *dict.fromkeys(["corpus", f"{encoder_of(ROW)}_encoder", f"{encoder_of(ROW)}_embeddings", *ROW.upstream]),
]


class CandidateConfig(ComputeConfig):
    """Which of the fits becomes the candidate."""

    n_clusters: int = Field(
        default=15, ge=2, description="Number of clusters K; the fitted K nearest to this is taken."
    )
    seed: int = Field(
        default=-1, ge=-1, description="Seed of the fit; -1: the one whose training ended at the lowest loss."
    )


@dg.asset(
    deps=_MADE_FROM,
    group_name=GROUP,
    kinds={"pytorch", "parquet"},
    code_version="1",
    metadata=column_schema(CANDIDATE),
    **GPU_OP,
)
def candidate_model(
    context: dg.AssetExecutionContext, config: CandidateConfig, store: StoreResource
) -> dg.MaterializeResult:
    """A self-contained model that could go into service: encoder, clusters, training embeddings, what is usual.

    Packed from the present corpus, an encoder and one row of the tables (environment variable FUSC_SERVED_MODEL, else
    fusc_simclr), applied to some images to see that it says what the tables say, and scored on the test split.
    """
    files = store.get()

    def produce(draft):
        build_candidate(context, files, config, draft, ROW, _MADE_FROM)

    return materialize(context, files, config, produce, upstream=_MADE_FROM, model=True)


class ServiceConfig(ComputeConfig):
    """How it is decided. All of it is a request at one time, not a property of the model: nothing is redone by it."""

    device: str = Field(
        default="cpu",
        description="Where the model in service is applied to test images new to it; a GPU may be training meanwhile.",
        json_schema_extra={"runtime": True},
    )
    promote: str = Field(
        default="auto",
        description="auto: a new candidate is promoted when it is not worse than the model in service; always; never.",
        json_schema_extra={"runtime": True},
    )
    tolerance: float = Field(
        default=0.02,
        ge=0.0,
        le=1.0,
        description="auto: by how much NMI (without labels: neighbour agreement) may fall.",
        json_schema_extra={"runtime": True},
    )
    risk: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="auto: chance accepted that it falls by more than the tolerance, over draws of test subjects.",
        json_schema_extra={"runtime": True},
    )
    least_overlap: float = Field(
        default=LEAST_OVERLAP,
        ge=0.0,
        le=1.0,
        description="A cluster keeps its number when the images that both models put into it are at least this share "
        "of those that either does.",
        json_schema_extra={"runtime": True},
    )
    use: int = Field(
        default=0,
        ge=0,
        description="Put the model of this number in service, whatever the candidate; 0: decide about the candidate.",
        json_schema_extra={"runtime": True},
    )

    def rule(self) -> Rule:
        """The rule of promotion; BadSetting for an unknown one."""
        return Rule(self.promote, self.tolerance, self.risk)


@dg.asset(
    deps=[CANDIDATE],
    group_name=GROUP,
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema(IN_SERVICE),
)
def model_in_service(
    context: dg.AssetExecutionContext, config: ServiceConfig, store: StoreResource
) -> dg.MaterializeResult:
    """The model that new batches are assigned with, and the history of promotions; both survive whatever is retrained.

    A new candidate is compared with the model in service on the same test images and decided upon once. What a person
    put in service (`fusc promote`, `fusc rollback`) stays until a newer candidate is promoted. Clusters keep their
    numbers over renewals.
    """
    files = store.get()
    # Reading the history and adding to it is one act; a plan only reads.
    lock = files.root / "locks" / "models.lock"
    planning = isinstance(context, PlanContext)
    with contextlib.nullcontext() if planning else exclusive(lock, "another decision about models", context.log.info):
        with refusals(discreet=False):  # a wrong number or rule stays wrong: not to be tried again
            step = _Step.of(files, config)

        def produce(draft):
            rows = step.rows(context, config, draft.work)
            table = pa.Table.from_pylist(rows, schema=MODEL_IN_SERVICE)
            draft.write_table(table)
            draft.metadata |= _described(files, rows, step)

        inputs = {"history": step.state}
        if step.by_name:
            # Going back must be possible whatever became of the candidate.
            record = files.record(CANDIDATE)
            inputs |= {CANDIDATE: record.data_version} if record else {}
        upstream = [] if step.by_name else [CANDIDATE]
        return materialize(context, files, config, produce, upstream=upstream, inputs=inputs)


class _Step:
    """What one run does to the history: nothing, or one row more. Known before any work, as `state`."""

    def __init__(self, files: Store, before: list[dict[str, Any]], request: Decision | None, version: str, number: int):
        self.files, self.before, self.version, self.number = files, before, version, number
        self.request = request  # decided already: by name, or nothing to do; None: the candidate is to be compared
        self.by_name = False
        last = before[-1]["state"] if before else ""
        self.state = last if request and request.action == UNCHANGED else digest([last, number, version])

    @classmethod
    def of(cls, files: Store, config: ServiceConfig) -> "_Step":
        rows = history_rows(files)
        known, rule = entries(rows), config.rule()
        if config.use:
            decision = chosen(known, config.use)
            version = next(entry.version for entry in known if entry.number == config.use)
            step = cls(files, rows, decision, version, config.use)
            step.by_name = True
            return step
        version = files.require(CANDIDATE).data_version
        if words := settled(known, version, rule):
            return cls(files, rows, Decision(UNCHANGED, words), version, known[-1].in_service)
        return cls(files, rows, None, version, _number_for(files, rows, version))

    def rows(self, context: Any, config: ServiceConfig, work) -> list[dict[str, Any]]:
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


def _holds(folder, version: str) -> bool:
    from fusc_pipeline.errors import BadInput

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


def _described(files: Store, rows: list[dict[str, Any]], step: _Step) -> dict[str, Any]:
    """Metadata: which number, since when, why, and the history."""
    now = served_after(files, rows)
    facts = now.bundle().facts
    said = rows[-1] if step.request is None or step.request.action != UNCHANGED else None
    came = next(row for row in reversed(rows) if row["in_service"] == now.number and row["number"] == now.number)
    return {
        "dagster/row_count": len(rows),
        "model": now.number,
        "since": datetime.fromtimestamp(now.since, UTC).isoformat(),
        "why": came["why"],
        "last_decision": f"model {rows[-1]['number']} {rows[-1]['action']}: {rows[-1]['why']}" if said else "no change",
        "clusters": len(now.identities),
        "made_of": f"{facts.row}, K {facts.n_clusters}, seed {facts.seed}, {facts.images['train']} training images",
        "history": {"md": history_markdown(rows)},
    }


def history_markdown(rows: list[dict[str, Any]], last: int = 30) -> str:
    """The latest rows of the history as a table, newest first."""
    lines = ["| when (UTC) | model | | in service | why |", "|---|--:|---|--:|---|"]
    for row in reversed(rows[-last:]):
        lines.append(
            f"| {row['at']:%Y-%m-%d %H:%M} | {row['number']} | {row['action'].replace('_', ' ')} | {row['in_service']} "
            f"| {row['why']} |"
        )
    return "\n".join(lines)
