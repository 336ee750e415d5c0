"""What a failed step may say. Its words go into the run history, which has more readers than the delivered files have.

A refusal (`FuscError`) is worded for that and told as it is. Other exceptions quote what they failed on: a path, a
header's value. For assets that read delivered files only their type and place are told, and the rest is kept in the
data root's private folder.
"""

import contextlib
import os
import re
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from fusc_pipeline.base.errors import DISK_ERRORS, FuscError
from fusc_pipeline.defs.engine.gpu import POOL
from fusc_pipeline.operations.run_marks import CAUSE, FAULT, PASSING, REFUSED, SIGNAL
from fusc_pipeline.store.store import Store

# Faults of the program: trying again would only repeat them. What a retry can cure (a lost device, a killed worker, a
# file system that comes back) is a RuntimeError, MemoryError or OSError.
_FAULTS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError)
RETRIES, RETRY_SECONDS = 2, 30  # the second wait is twice the first
_PACKAGE = Path(__file__).resolve().parents[2]
_LINE = re.compile(rf'File "{re.escape(str(_PACKAGE))}/([\w/]+\.py)", line (\d+)')


@contextlib.contextmanager
def refusals(discreet: bool = True, private: Path | None = None) -> Iterator[None]:
    """Turn refused input, and faults of the program, into a failure that is not retried: it would happen again.

    discreet: exceptions that may quote a delivered file are told without their words; these are written to a file in
    the folder `private` (mode 0600), where there is one.
    """
    try:
        yield
    except dg.Failure:
        raise
    except FuscError as refusal:
        # Its cause may be the very message that the refusal leaves out.
        cause = {CAUSE: REFUSED}
        raise dg.Failure(str(refusal), cause, allow_retries=False) from (None if discreet else refusal)
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        # Not to be tried again: somebody pressed Ctrl-C.
        raise dg.Failure(
            "stopped by a signal; run again, it continues from its last checkpoint",
            {CAUSE: SIGNAL},
            allow_retries=False,
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever it is ends the step, told in this module's words
        lasting = isinstance(error, _FAULTS)
        words = _without_words(error, private) if discreet else f"{type(error).__name__}: {error}"
        cause = {CAUSE: FAULT if lasting else PASSING}
        raise dg.Failure(words, cause, allow_retries=not lasting) from (None if discreet else error)


@contextlib.contextmanager
def retried(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Ask Dagster to run a GPU step again when it failed in a way that may pass (`Failure.allow_retries`)."""
    try:
        yield
    except dg.Failure as failure:
        if not failure.allow_retries or context.op_def.pool != POOL or context.retry_number >= RETRIES:
            raise
        wait = RETRY_SECONDS * 2**context.retry_number
        context.log.warning(f"{failure.description}; trying again in {wait} s")
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from None


@contextlib.contextmanager
def full_disk(asset: str, store: Store) -> Iterator[None]:
    """Turn a full or read-only disk into a failure that says so; waiting and retrying would not help."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise dg.Failure(
            f"{asset}: {os.strerror(error.errno)} while writing under {store.root}; nothing half-written "
            "is visible and the last good version is in use. Free space (or raise the quota), then run again.",
            {CAUSE: PASSING},
            allow_retries=False,
        ) from None


def _without_words(error: Exception, private: Path | None) -> str:
    """The exception's type and place in this package; what it says goes to the data's owner only."""
    whole = "".join(traceback.format_exception(error))  # that of a worker process is in it, as text
    places = _LINE.findall(whole)
    place = f" at {places[-1][0]}:{places[-1][1]}" if places else ""
    number = _number_of(error)
    kind = type(error).__name__ if number is None else f"{os.strerror(number)} ({type(error).__name__})"
    if private is None:
        return f"{kind}{place}; its message is left out, since it may quote a delivered file"
    kept = _keep(private / "errors", whole)
    return f"{kind}{place}; its message may quote a delivered file and is kept for the data's owner in {kept}"


def _number_of(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _keep(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.parent.chmod(0o700)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}.txt"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", errors="backslashreplace") as stream:
        stream.write(text)
    return path
