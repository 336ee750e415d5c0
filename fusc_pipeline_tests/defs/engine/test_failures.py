"""What a failed step says, and what it keeps to itself: an exception's words and causes may name somebody."""

import errno
import stat

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent
from dagster._serdes import serialize_value
from pydantic import Field

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine import failures
from fusc_pipeline.defs.engine.failures import full_disk, refusals
from fusc_pipeline.defs.engine.gpu import GPU_OP
from fusc_pipeline.host.worker_pool import ordered_map
from fusc_pipeline.store.store import Store

NAME = "QXZJVKWY^Zofia"
PATH = f"/delivery/{NAME}/IM0001.dcm"


def quotes(value: str) -> None:
    """A function of another process that fails as a decoder does."""
    raise ValueError(f"invalid value {value!r} for PatientName")


def chained() -> None:
    try:
        quotes(NAME)
    except ValueError as error:
        raise KeyError(NAME) from error


def in_a_worker() -> None:
    list(ordered_map(quotes, [NAME, NAME], workers=2))


def fails(error: BaseException):
    def fail() -> None:
        raise error

    return fail


WAYS = {
    "path": (fails(PermissionError(errno.EACCES, "Permission denied", PATH)), True),
    "two paths": (fails(OSError(errno.EXDEV, "Invalid link", PATH, None, PATH)), True),
    "value": (lambda: quotes(NAME), False),
    "chain": (chained, False),
    "runtime": (fails(RuntimeError(f"decoder: {NAME}")), True),
    "unknown": (fails(type("OddError", (Exception,), {})(NAME)), True),
    "text": (lambda: NAME.encode("ascii") + "Łódź".encode("ascii"), False),
}


def failed_event(fail, private, discreet=True) -> tuple[DagsterEvent, dg.Failure]:
    """The event that Dagster writes into its history for a step that fails so, and the failure itself."""

    @dg.op
    def step() -> None:
        with refusals(discreet=discreet, private=private):
            fail()

    @dg.job
    def alone() -> None:
        step()

    result = alone.execute_in_process(raise_on_error=False)
    event = next(event for event in result.all_events if event.is_step_failure)
    with pytest.raises(dg.Failure) as raised, refusals(discreet=discreet, private=private):
        fail()
    return event, raised.value


@pytest.mark.parametrize("way", WAYS)
def test_the_words_of_an_exception_are_kept_for_the_owner(tmp_path, way, capfd):
    fail, again = WAYS[way]
    private = tmp_path / "private"
    event, failure = failed_event(fail, private)
    history = serialize_value(event) + "".join(capfd.readouterr())
    assert "QXZJ" not in history and "Zofia" not in history
    assert failure.allow_retries == again
    kept = {path.name: path for path in (private / "errors").iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept.values())
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    told = next(path for name, path in kept.items() if name in failure.description)
    assert "Traceback" in told.read_text()


def test_what_fails_in_a_worker_is_told_by_its_place(tmp_path):
    with pytest.raises(dg.Failure) as raised, refusals(private=tmp_path):
        in_a_worker()
    assert NAME not in raised.value.description and "ValueError" in raised.value.description
    assert NAME in next((tmp_path / "errors").iterdir()).read_text()


def test_refusals_are_told_as_they_are_without_what_caused_them():
    try:
        raise BadInput("the batch's folder is gone") from OSError(PATH)
    except BadInput as refusal:
        told = refusal
    with pytest.raises(dg.Failure, match="the batch's folder is gone") as raised, refusals():
        raise told
    assert raised.value.__cause__ is None and raised.value.__suppress_context__
    assert raised.value.allow_retries is False


def test_assets_that_see_no_delivered_file_tell_all():
    with pytest.raises(dg.Failure, match="KeyError: 'weights'"), refusals(discreet=False):
        raise KeyError("weights")
    with pytest.raises(dg.Failure, match="CUDA is gone") as raised, refusals(discreet=False):
        raise RuntimeError("CUDA is gone")
    assert raised.value.allow_retries and isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(("pool", "error", "attempts"), [
    ("gpu", RuntimeError("CUDA is gone"), 3), ("gpu", BadInput("no images"), 1), (None, RuntimeError("gone"), 1),
])  # fmt: skip
def test_a_gpu_step_is_tried_again_when_that_may_help(monkeypatch, pool, error, attempts):
    monkeypatch.setattr(failures, "RETRY_SECONDS", 0)
    tried = []

    @dg.asset(pool=pool)
    def trains(context: dg.AssetExecutionContext) -> None:
        tried.append(context.retry_number)
        with failures.retried(context), refusals(discreet=False):
            raise error

    result = dg.materialize([trains], raise_on_error=False)
    assert not result.success and tried == list(range(attempts))
    failed = next(event for event in result.all_events if event.is_step_failure)
    assert str(error) in failed.step_failure_data.user_failure_data.description


def test_a_setting_that_dagster_refuses_is_not_tried_again():
    class Limited(dg.Config):
        epochs: int = Field(default=1, ge=1)

    @dg.asset(**GPU_OP)
    def trains(config: Limited) -> None:
        """Never reached."""

    result = dg.materialize([trains], run_config={"ops": {"trains": {"config": {"epochs": 0}}}}, raise_on_error=False)
    assert not result.success and not any(event.is_step_up_for_retry for event in result.all_events)


def test_a_full_disk_is_told_without_the_file(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(dg.Failure, match="No space left") as raised, full_disk("scans", store):
        raise OSError(errno.ENOSPC, "No space left on device", PATH)
    assert NAME not in str(raised.value.description) and raised.value.__suppress_context__
