"""`fusc ui`: one code server, Dagster's daemon and the guarded webserver, started, watched and stopped together.

Nothing here knows what they serve. Runs are not among what is stopped: a training of a day goes on when the UI is
started anew, ends by itself, and is seen again.
"""

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fusc_pipeline.base.errors import BadSetting, FuscError
from fusc_pipeline.ui.guard import host_and_port, is_loopback

START_SECONDS = 240
# A code server would wait for its runs to end; it need not: the process that started them stays as long as they do.
STOP_SECONDS, STOP_CODE_SECONDS = 15.0, 5.0
_LOOK_EVERY = 0.25
PLUG = "code.sock"
# A process that ends by itself is started again; so many times, each within so many seconds, and it is given up.
_TRIES, _EARLY_SECONDS = 3, 30.0


@dataclass(frozen=True)
class Options:
    """What `fusc ui` was asked for. port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 3000
    read_only: bool = False
    daemon: bool = True
    behind_proxy: bool = False
    accept_events: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadSetting(f"--port {self.port} is no port; give one from 1 to 65535, or 0 for any free one")
        if is_loopback(self.host) or self.behind_proxy:
            return
        raise BadSetting(
            f"--host {self.host} lets other machines reach the UI, and Dagster has no login: whoever reaches it can "
            "start and stop runs and see every preview. Leave it on 127.0.0.1 and come through an SSH tunnel, or put "
            "a proxy with a login before it and say so with --behind-proxy; name it in FUSC_UI_HOSTS"
        )


@dataclass
class Service:
    """One process that is kept running."""

    name: str
    arguments: list[str]
    process: subprocess.Popen | None = None
    started: float = 0.0
    early_ends: int = 0

    def start(self) -> None:
        """Start it in a process group of its own: Ctrl-C is for the supervisor, and never reaches a run."""
        command = [sys.executable, "-m", "fusc_pipeline.ui.child", str(os.getpid()), *self.arguments]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)

    def look(self) -> str | None:
        """Start it again when it has ended; a sentence when it has, a FuscError when it does so again and again."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        early = time.monotonic() - self.started < _EARLY_SECONDS
        self.early_ends = self.early_ends + 1 if early else 1
        if self.early_ends >= _TRIES:
            raise FuscError(f"the {self.name} ended {_TRIES} times at its start (exit code {code}); see above")
        self.start()
        return f"the {self.name} ended (exit code {code}) and was started again"

    def stop(self) -> None:
        """Ask it to end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> None:
        """Wait for its end, and kill it when it takes longer."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Stop:
    """Whether somebody asked us to end, by SIGINT, SIGTERM or the end of the terminal; heeded between two looks."""

    asked: bool = field(default=False)

    def listen(self) -> None:
        """Take the signals, also where they were handed down as ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.asked = True


def supervise(options: Options, instance_ref: str, page: Path, say: Callable[[str], None]) -> None:
    """Serve until asked to stop. instance_ref: of the run history, serialised; page: the report; say: tells a person.

    Raises BadSetting where the port is taken, FuscError when a process cannot be kept running.
    """
    stop = Stop()
    stop.listen()
    port = free_port(options.host, options.port)
    folder = Path(tempfile.mkdtemp(prefix="fusc-ui-"))  # 0700: whoever reaches the socket can have code run
    services = _services(options, instance_ref, page, port, folder)
    address = f"http://{_shown(options.host)}:{port}"
    running: list[Service] = []
    try:
        for service, ready in zip(services, _signs(services, folder, address), strict=True):
            # One after the other: what asks a code server that is not there yet says so at length.
            service.start()
            running.append(service)
            _wait_for(ready, service, running, stop, say)
        if not stop.asked:
            say(f"the UI is on {address}{' (read only)' if options.read_only else ''}; Ctrl-C stops it")
            made = "" if page.is_file() else ", not made yet"
            say(f"the report is on {address}/report ({page}{made})")
            if not options.daemon and not options.read_only:
                say("no daemon runs: sensors and schedules rest, and runs started in the UI wait in the queue")
        while not stop.asked:
            _look(running, say)
            time.sleep(_LOOK_EVERY)
    finally:
        for service in reversed(running):
            service.stop()
        for service in reversed(running):
            service.wait(STOP_CODE_SECONDS if service is services[0] else STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _services(options: Options, instance_ref: str, page: Path, port: int, folder: Path) -> list[Service]:
    plug = folder / PLUG
    common = ["--instance-ref", instance_ref]
    found = [Service("code server", ["code", *common, "--socket", str(plug), "--startup-timeout", str(START_SECONDS)])]
    web = ["web", *common, "--socket", str(plug), "--host", options.host, "--port", str(port), "--page", str(page)]
    web += ["--read-only"] * options.read_only + ["--accept-events"] * options.accept_events
    found.append(Service("webserver", web))
    if options.daemon and not options.read_only:
        found.append(Service("daemon", ["daemon", *common, "--workspace", str(_workspace(folder, plug))]))
    return found


def _workspace(folder: Path, plug: Path) -> Path:
    """The file by which the daemon finds the code server."""
    from fusc_pipeline.ui.location import LOCATION

    path = folder / "workspace.yaml"
    server = {"grpc_server": {"socket": str(plug), "host": "localhost", "location_name": LOCATION}}
    path.write_text(json.dumps({"load_from": [server]}))  # JSON is YAML
    return path


def _signs(services: list[Service], folder: Path, address: str) -> list[Callable[[], bool]]:
    """How each service shows that it is up."""
    signs = {"code server": lambda: _listens(folder / PLUG), "webserver": lambda: _answers(f"{address}/server_info")}
    return [signs.get(service.name, lambda: True) for service in services]


def _wait_for(
    ready: Callable[[], bool], service: Service, running: list[Service], stop: Stop, say: Callable[[str], None]
) -> None:
    """Return once the service is up, or when we are asked to stop; raises FuscError after a long time."""
    deadline = time.monotonic() + START_SECONDS
    while not stop.asked and not ready():
        _look(running, say)
        if time.monotonic() > deadline:
            raise FuscError(f"the {service.name} was not up within {START_SECONDS} s; see above")
        time.sleep(_LOOK_EVERY)


def _listens(plug: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(plug))
        except OSError:
            return False
        return True


def _answers(url: str) -> bool:
    """Whether a webserver answers, be it by turning us away: served for a proxy only, it may not know our name."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _look(services: list[Service], say: Callable[[str], None]) -> None:
    for service in services:
        if told := service.look():
            say(told)


def free_port(host: str, port: int) -> int:
    """`port` where nobody listens on it, any free one for 0; raises BadSetting where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise BadSetting(f"port {port} of {host} cannot be had ({why}); name another with --port") from error
        return probe.getsockname()[1]


def _shown(host: str) -> str:
    """The host as an address for a person of this machine."""
    name = host_and_port(f"[{host}]" if ":" in host else host)[0] or host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{address}]" if address.version == 6 else str(address)
