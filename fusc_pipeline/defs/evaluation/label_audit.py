"""The label audit as an asset: the answers that `fusc audit-labels` brought in, as a table. No page lives here."""

from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.schemas import LABEL_AUDIT
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.audits.label_review import Reviewed

GROUP = "evaluation"


class LabelAuditConfig(AssetConfig):
    """Which answers are counted."""

    sample: str = Field(default="", description="Id of the sample; empty: the one answered last.")


@stored_asset(
    deps=["corpus"],
    group=GROUP,
    kinds={"parquet"},
    code_version="1",
)
def label_audit(context: Request, config: LabelAuditConfig, store: Store) -> Work:
    """Are the pseudo-labels right? What reviewers answered on the page of `fusc audit-labels`; empty before that.

    Who answered stays in the private folder; here reviewers are numbers.
    """
    from fusc_pipeline.audits.label_review import reviewed

    found = reviewed(Inbox(store.root).private, config.sample)
    answered = digest([found.sample, found.rows, found.answers]) if found else "none"

    def produce(draft):
        from fusc_pipeline.audits.label_noise import overall

        rows = _answer_rows(found, store.table("corpus", columns=["image_id", "view"])) if found else []
        table = pa.Table.from_pylist(rows, schema=LABEL_AUDIT)
        draft.write_table(table)
        draft.metadata |= {"dagster/row_count": len(rows)}
        if found is None or not rows:
            draft.metadata["noise"] = "nothing was judged; draw a sample with `fusc audit-labels`"
            return
        rate = overall(table.to_pandas())
        draft.metadata |= {
            "sample": found.sample,
            "reviewers": len(found.answers),
            "judged": rate.n,
            "wrong": rate.wrong,
        }
        if rate.value is not None:
            draft.metadata["noise"] = f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"

    return Work(produce, inputs={"answers": answered})


def _answer_rows(found: "Reviewed", corpus: pa.Table) -> list[dict]:
    """Rows of `schemas.LABEL_AUDIT`."""
    now = dict(zip(corpus.column("image_id").to_pylist(), corpus.column("view").to_pylist(), strict=True))
    kept = ("image_id", "scan_batch", "stratum", "stratum_size", "stratum_sample", "view")
    return [
        {
            **{name: row[name] for name in kept},
            "sample": found.sample,
            "reviewer": reviewer,
            "answer": answers[row["image_id"]]["answer"],
            "correct_view": answers[row["image_id"]].get("view"),
            "label_now": now.get(row["image_id"]),
        }
        for reviewer, answers in enumerate(found.answers, start=1)
        for row in sorted(found.rows, key=lambda row: row["image_id"])
        if row["image_id"] in answers
    ]
