"""`fusc ui` as a process, and a browser to look at it: what the tests of the UI share."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
FUSC = Path(sys.executable).parent / "fusc"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 150.0  # seconds for anything that must come; nothing is asserted about how soon it does


class UiServer:
    """`fusc ui` with a home of its own: data root, run history, output in `ui.log`."""

    def __init__(self, home: Path, **environment: str):
        self.home, self.log, self.address = home, home / "ui.log", ""
        shutil.copy(ROOT / "dagster.yaml", home)
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "FUSC_DATA": str(home / "data"), **environment}
        self.environment.pop("DAGSTER_HOME", None)

    def fusc(self, *arguments: str) -> str:
        """Run another verb of `fusc` to its end; what it printed."""
        done = subprocess.run(
            [str(FUSC), *arguments], cwd=self.home, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def serving(self, *options: str, ignore_interrupts: bool = False) -> Iterator[psutil.Process]:
        """Serve on a free port until the block ends; yields the supervisor's process once the UI answers.

        ignore_interrupts: start it as a shell without job control starts what is followed by `&`.
        """
        command = [str(FUSC), "ui", "--port", "0", *options]
        if ignore_interrupts:
            command = ["sh", "-c", 'trap "" INT; exec "$0" "$@"', *command]
        with open(self.log, "w") as log:
            server = subprocess.Popen(
                command, cwd=self.home, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        everything = psutil.Process(server.pid)
        started: list[psutil.Process] = []
        try:
            self.address = self.wait_for_line(server, "the UI is on ").split()[0].rstrip(";")
            started = everything.children(recursive=True)
            yield everything
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(60)
            for process in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            server.kill()
            server.wait()

    def wait_for_line(self, server: subprocess.Popen, start: str) -> str:
        """What follows `start` in the output of `fusc ui`, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            text = self.log.read_text()
            if f"fusc ui: {start}" in text:
                return text.split(f"fusc ui: {start}", 1)[1].splitlines()[0]
            assert server.poll() is None, text[-3000:]
            time.sleep(0.1)
        raise AssertionError(f"it never said {start!r}: {self.log.read_text()[-3000:]}")

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """(status, text) of the answer to a GET, or to a POST of `body` as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            named.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.address + path, data, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer, asked as the UI asks."""
        origin = {"origin": self.address, "sec_fetch_site": "same-origin"}
        status, text = self.ask("/graphql", {"query": document, "variables": variables}, **origin)
        assert status == 200, text
        return json.loads(text)["data"]


@contextlib.contextmanager
def browser_page(playwright: Any, errors: list[str]) -> Iterator[Any]:
    """A page of a real browser; what goes wrong on it is added to `errors`."""
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1500, "height": 1000})
            page.set_default_timeout(60_000)
            watch(page, errors)
            page.context.on("page", lambda opened: watch(opened, errors))
            yield page
        finally:
            browser.close()


def watch(page: Any, errors: list[str]) -> None:
    """Note the errors of a page and of its console."""
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
