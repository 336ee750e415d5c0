"""The guard over a grid of requests, by bare ASGI: what passes, what is refused, and in which words."""

import asyncio
from urllib.parse import quote

import pytest

from fusc_pipeline.ui.guard import Guard, Rules, host_and_port, is_loopback, refusal
from fusc_pipeline.ui.with_report import WithReport

HOST = "127.0.0.1:3000"
OWN = {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"}
JSON = {"content-type": "application/json"}
RULES = Rules.of("ui.hospital.example, Viewer.local:8443")
CHANGE = 'mutation{addDynamicPartition(partitionKey:"x"){__typename}}'


def scope(method="GET", path="/", query="", host=HOST, kind="http", **headers) -> dict:
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(name.encode(), value.encode()) for name, value in named.items() if value is not None]
    found = {"type": kind, "path": path, "query_string": query.encode(), "headers": pairs}
    return found | ({"method": method} if kind == "http" else {})


def asked(method="GET", path="/", query="", host=HOST, kind="http", headers=None, rules=RULES) -> str | None:
    return refusal(scope(method, path, query, host, kind, **(headers or {})), rules)


@pytest.mark.parametrize("host", [HOST, "localhost:3000", "LOCALHOST", "[::1]:3000", "127.8.9.1", "ui.hospital.example",
                                  "UI.hospital.example:443", "viewer.local:3000"])  # fmt: skip
def test_names_of_this_machine_and_listed_ones_are_served(host):
    assert asked(host=host) is None


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:3000", "127.0.0.1.nip.io", "10.0.0.7:3000",
                                  "2130706433", "0.0.0.0:3000", "", "a@127.0.0.1", "127.0.0.1/x", "[::1", "localhost:x",
                                  "ui.hospital.example.evil.example", None])  # fmt: skip
def test_any_other_name_is_a_rebound_one(host):
    assert "is not served under the name" in asked(host=host)
    assert "is not served under the name" in asked(host=host, kind="websocket", path="/graphql")


def test_two_host_headers_are_refused():
    twice = scope()
    twice["headers"] += [(b"host", b"127.0.0.1")]
    assert "is not served" in refusal(twice, RULES)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("headers, passes", [
    ({}, True),  # no browser: they send an Origin with all of these
    (OWN, True),
    ({"origin": "http://127.0.0.1:3000"}, True),
    ({"origin": "https://ui.hospital.example"}, True),  # a listed name, which a proxy may have changed on the way
    ({"origin": "http://evil.example"}, False),
    ({"origin": "http://127.0.0.1:8888"}, False),  # another program's page on this machine
    ({"origin": "http://localhost:3000"}, False),
    ({"origin": "null"}, False),
    ({"origin": "file://"}, False),
    ({"origin": "http://127.0.0.1:3000.evil.example"}, False),
    ({"origin": "http://127.0.0.1:3000@evil.example"}, False),
    ({"sec_fetch_site": "cross-site"}, False),
    ({"sec_fetch_site": "same-site"}, False),
    ({"sec_fetch_site": "none"}, True),
    ({**OWN, "sec-fetch-site": "cross-site"}, False),
])  # fmt: skip
def test_what_changes_something_must_come_from_our_own_page(method, headers, passes):
    reason = asked(method, "/graphql", headers={**JSON, **headers})
    assert (reason is None) == passes, reason
    assert passes or "the request comes from" in reason
    assert (asked("POST", "/anything", headers=headers) is None) == passes
    # A web socket is not held back by the browser's same-origin policy at all.
    assert (asked(kind="websocket", path="/graphql", headers=headers) is None) == passes


def test_reading_a_page_after_a_link_elsewhere_is_no_change():
    assert asked("GET", "/runs", headers={"sec_fetch_site": "cross-site"}) is None
    assert asked("GET", "/report", headers={"sec_fetch_site": "cross-site"}) is None
    assert asked("GET", "/graphql", "query={version}", headers={"sec_fetch_site": "cross-site"}) is not None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("document, passes", [
    ("{version}", True),
    ("query Q{version}", True),
    ("fragment F on Query{version} query Q{...F}", True),
    (CHANGE, False),
    ("query Q{version} " + CHANGE.replace("mutation", "mutation M"), False),
    ("# query\n" + CHANGE, False),
    ("\ufeff" + CHANGE, False),
    ("subscription S{x}", False),
    ("not graphql", True),  # Dagster answers with 400
    ("mutation{", False),
])  # fmt: skip
def test_nothing_is_changed_by_reading(method, document, passes):
    for path in ("/graphql", "/graphql/"):
        assert (asked(method, path, f"query={quote(document)}") is None) == passes
        assert (asked(method, path, f"query=%7Bversion%7D&query={quote(document)}") is None) == passes


@pytest.mark.parametrize("kind, passes", [
    ("application/json", True), ("application/json; charset=utf-8", True), ("application/graphql", True),
    ("text/plain", False), ("text/plain; application/json", False), ("multipart/form-data", False),
    ("application/x-www-form-urlencoded", False), (None, False),
])  # fmt: skip
def test_graphql_is_taken_in_types_that_no_form_can_send(kind, passes):
    assert (asked("POST", "/graphql", headers={"content_type": kind}) is None) == passes
    assert passes or (asked("POST", "/graphql", f"query={quote(CHANGE)}", headers={"content_type": kind}) is not None)


def test_events_of_assets_need_a_setting():
    for asset in ("materialization", "check", "observation"):
        for method in ("POST", "GET"):
            assert "--accept-events" in asked(method, f"/report_asset_{asset}/corpus", headers=JSON)
        assert asked("POST", f"/report_asset_{asset}/corpus", headers=JSON, rules=Rules.of("", events=True)) is None
    evil = {**JSON, "origin": "http://evil.example"}
    assert asked("POST", "/report_asset_check/x", headers=evil, rules=Rules.of("", events=True)) is not None


@pytest.mark.parametrize("path", ["/logs/../../etc/passwd", "/logs/..", "/../x", "/notebook", "/dagit/notebook"])
def test_paths_that_step_up_and_notebooks_are_refused(path):
    assert asked(path=path) is not None
    assert asked(path="/logs/run/compute_logs/step.out") is None


def test_addresses_are_taken_apart():
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("A.Example") == ("a.example", None)
    assert is_loopback("::1") and is_loopback("127.3.3.3") and not is_loopback("127.example")


def call(app, request, body=b"") -> list[dict]:
    sent = []

    async def run():
        async def receive():
            return (
                {"type": "http.request", "body": body} if request["type"] == "http" else {"type": "websocket.connect"}
            )

        async def send(message):
            sent.append(message)

        await app(request, receive, send)

    asyncio.run(run())
    return sent


async def _inner(request, _receive, send):
    if request["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"SAMEORIGIN")]})
        await send({"type": "http.response.body", "body": b"dagster"})
    else:
        await send({"type": "websocket.accept"})


def test_a_refusal_is_plain_words_and_closes_a_web_socket():
    guard = Guard(_inner, Rules())
    start, body = call(guard, scope("POST", "/graphql", origin="http://evil.example"))
    assert start["status"] == 403 and dict(start["headers"])[b"content-type"].startswith(b"text/plain")
    assert b"comes from a page of 'http://evil.example'" in body["body"]
    (closed,) = call(guard, scope(kind="websocket", path="/graphql", origin="http://evil.example"))
    assert closed["type"] == "websocket.close"
    assert call(guard, scope(kind="websocket", path="/graphql"))[0]["type"] == "websocket.accept"
    assert call(guard, {"type": "lifespan"})  # passed on


def test_no_other_page_may_show_ours_inside_itself():
    passed = dict(call(Guard(_inner, Rules()), scope())[0]["headers"])
    assert passed[b"x-frame-options"] == b"SAMEORIGIN" and passed[b"x-content-type-options"] == b"nosniff"


def test_the_report_is_read_only_and_its_scripts_can_ask_nothing(tmp_path):
    page = tmp_path / "report.html"
    app = Guard(WithReport(_inner, page), Rules())
    start, body = call(app, scope(path="/report"))
    assert start["status"] == 404 and b"no report yet" in body["body"]
    page.write_text("<h1>found</h1>")
    for path in ("/report", "/report/"):
        start, body = call(app, scope(path=path))
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert start["status"] == 200 and body["body"] == b"<h1>found</h1>"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "sandbox" in headers["content-security-policy"]
        assert "allow-same-origin" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert call(app, scope("HEAD", "/report"))[1]["body"] == b""
    assert call(app, scope("POST", "/report"))[0]["status"] == 405
    (tmp_path / "secret").write_text("secret")
    for path in ("/report/secret", "/report/../secret", "/report/report.html", "/reports"):
        found = call(app, scope(path=path))
        assert b"secret" not in found[1]["body"] and found[1]["body"] != b"<h1>found</h1>"
    page.unlink()
    page.symlink_to(tmp_path / "secret")
    assert call(app, scope(path="/report"))[0]["status"] == 404
