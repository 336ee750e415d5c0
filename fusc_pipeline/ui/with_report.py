"""The report beside the UI: `/report` is the data root's `report.html`, read only; every other path is Dagster's."""

import os
from pathlib import Path

from fusc_pipeline.ui.guard import App, Receive, Scope, Send, answer

ADDRESS = "/report"
MISSING = "fusc ui: there is no report yet; materialise cluster_report (job rebuild_report), or use `fusc run`\n"
# The page is one file. In a sandbox its scripts are nobody's: they could not ask the webserver anything.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-modals allow-downloads"
)
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
}


class WithReport:
    """Answers ADDRESS itself and passes everything else to `app`. `page` is looked for anew at every request."""

    def __init__(self, app: App, page: Path):
        self._app, self._page = app, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != ADDRESS:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, "fusc ui: the report can only be read\n")
            return
        found = read_page(self._page)
        shown = scope["method"] == "GET"
        if found is None:
            await answer(send, 404, MISSING, body=shown)
        else:
            await answer(send, 200, found, _HEADERS.items(), body=shown)


def read_page(page: Path) -> bytes | None:
    """The page's bytes; None when there is none. A link in its place is not followed."""
    try:
        handle = os.open(page, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as stream:
        return stream.read()
