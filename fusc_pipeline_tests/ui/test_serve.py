"""`fusc ui` as a process: what it answers and what not, how it ends, and what ends with it. Needs no browser."""

import json
import signal
import subprocess
import time
import urllib.parse

import psutil
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.ui.serve import Options, free_port
from fusc_pipeline_tests.integration.ui_server import FUSC, PATIENCE, UiServer

pytest.importorskip("dagster_webserver", reason="the extra `ui` is not installed")

ADD = (
    "mutation($name: String!) { addDynamicPartition(partitionsDefName: \"scan_batch\", partitionKey: $name, "
    "repositorySelector: {repositoryName: \"__repository__\", repositoryLocationName: \"fusc_pipeline\"}) "
    "{ __typename } }"
)  # fmt: skip
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "fusc_pipeline") { __typename } }'
LOADED = "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus updatedTimestamp } } } }"
KNOWN = (
    "{ partitionsOrError: repositoryOrError(repositorySelector: {repositoryName: \"__repository__\", "
    "repositoryLocationName: \"fusc_pipeline\"}) { ... on Repository { jobs { name } } } }"
)  # fmt: skip


@pytest.fixture
def server(tmp_path):
    found = UiServer(tmp_path)
    found.fusc("init")
    return found


def batches(server: UiServer) -> list[str]:
    """The scan batches in the run history."""
    import dagster as dg
    from dagster._core.instance import InstanceRef

    here = InstanceRef.from_dir(str(server.home / ".dagster_state"), config_dir=str(server.home))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(server.home)
        with dg.DagsterInstance.from_ref(here) as instance:
            return list(instance.get_dynamic_partitions("scan_batch"))


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after a while."""
    return psutil.wait_procs(processes, timeout=PATIENCE)[1]


def test_the_real_webserver_behind_the_guard(server):
    """What DAGSTER.md §10 found open is closed, and what the UI itself asks goes through."""
    with server.serving(ignore_interrupts=True) as process:
        children = process.children(recursive=True)
        forged = {"query": ADD, "variables": {"name": "forged"}}
        get = "/graphql?" + urllib.parse.urlencode({"query": ADD, "variables": json.dumps(forged["variables"])})
        assert server.ask(get)[0] == 403
        assert server.ask("/graphql", forged, origin="http://evil.example")[0] == 403
        assert server.ask("/graphql", forged, sec_fetch_site="cross-site")[0] == 403
        assert server.ask("/graphql", forged, content_type="text/plain")[0] == 403
        assert server.ask("/server_info", host="evil.example")[0] == 403
        assert server.ask("/report_asset_materialization/corpus", {})[0] == 403
        assert batches(server) == []
        assert "AddDynamicPartitionSuccess" in str(server.graphql(ADD, name="real"))
        assert batches(server) == ["real"]
        assert server.ask("/graphql?query=%7Bversion%7D")[0] == 200
        assert {"demo", "process_new_batch", "rebuild_report"} <= {
            job["name"] for job in server.graphql(KNOWN)["partitionsOrError"]["jobs"]
        }
        _web_sockets(server)
        _the_report(server)
        _reloads(server, process)
        again = subprocess.run(
            [str(FUSC), "ui"], cwd=server.home, env=server.environment, capture_output=True, text=True
        )
        assert again.returncode == 1 and "another `fusc ui` serves this run history" in again.stderr
        # Started with & in a shell without job control, SIGINT is ignored when it begins; it is heeded all the same.
        process.send_signal(signal.SIGINT)
        assert gone([process, *children]) == []
    assert "fusc ui: stopped" in server.log.read_text()


def _web_sockets(server: UiServer) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    where = server.address.replace("http", "ws") + "/graphql"
    with connect(where, origin=server.address, subprotocols=["graphql-ws"]) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv(30))["type"] == "connection_ack"
    with pytest.raises(InvalidStatus):
        connect(where, origin="http://evil.example", subprotocols=["graphql-ws"])


def _the_report(server: UiServer) -> None:
    status, text = server.ask("/report")
    assert status == 404 and "no report yet" in text
    (server.home / "data" / "report.html").write_text("<h1>found</h1>")
    assert server.ask("/report") == (200, "<h1>found</h1>")


def _reloads(server: UiServer, process: psutil.Process) -> None:
    """Code is loaded anew by another process behind the code server; the UI stays."""

    def loaders() -> set[int]:
        return {p.pid for p in process.children(recursive=True) if "grpc" in p.cmdline()}

    before = loaders()
    assert before and "Error" not in str(server.graphql(RELOAD))
    deadline = time.monotonic() + PATIENCE
    while not loaders() - before:
        assert time.monotonic() < deadline, "the code was not loaded anew"
        time.sleep(0.1)
    assert "LOADED" in str(server.graphql(LOADED))


@pytest.mark.slow  # the process behind the code server is missed by its heartbeat only
def test_viewers_can_change_nothing_and_nothing_outlives_a_killed_supervisor(server):
    with server.serving("--read-only") as process:
        children = process.children(recursive=True)
        assert not any("daemon" in child.cmdline() for child in children)
        assert "UnauthorizedError" in str(server.graphql(ADD, name="x"))
        assert batches(server) == []
        assert server.ask("/graphql?query=%7Bversion%7D")[0] == 200
        process.kill()
        assert gone(children) == []


def test_a_host_that_others_reach_needs_to_be_asked_for():
    for host in ("0.0.0.0", "::", "10.1.2.3", "hospital.example"):
        with pytest.raises(BadSetting, match="Dagster has no login.*--behind-proxy"):
            Options(host=host)
        assert Options(host=host, behind_proxy=True).host == host
    assert Options(host="::1").daemon and Options(host="localhost").port == 3000


def test_a_port_that_is_taken_is_named():
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(BadSetting, match=f"port {other.getsockname()[1]} of 127.0.0.1 cannot be had.*--port"):
            free_port("127.0.0.1", other.getsockname()[1])
    assert free_port("127.0.0.1", 0) > 0
