"""Who may ask what of Dagster's webserver, which itself lets everybody ask everything: an ASGI application around it.

The webserver has no login, so a request that reaches it is trusted. Binding to loopback keeps other machines out, not
the pages that a person of this machine has open: a foreign page may let the browser send requests here. Told apart by
what browsers say of each request (Host, Origin, Sec-Fetch-Site) and by what is asked. No Dagster is imported here.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = ("GET", "HEAD", "OPTIONS")
# Another page of ours, an address typed in or a bookmark; every other value is another site's doing.
_OURS = ("same-origin", "none")
# A form of another page can send none of these without being asked first (a CORS preflight, which nobody answers).
_GRAPHQL_TYPES = ("application/json", "application/graphql")
_CLOSED = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """hosts: names by which browsers may call the UI beside this machine's loopback ones, in lower case, without port.

    events: whether `/report_asset_…` is open, by which other programs report events of assets without a login.
    """

    hosts: frozenset[str] = frozenset()
    events: bool = False

    @classmethod
    def of(cls, hosts: str, events: bool = False) -> "Rules":
        """From a list with commas, as the environment variable FUSC_UI_HOSTS holds it."""
        names = (host_and_port(name.strip())[0] for name in hosts.split(","))
        return cls(frozenset(name for name in names if name), events)


class Guard:
    """Passes to `app` what the rules allow, answers the rest with 403 and the reason in plain words."""

    def __init__(self, app: App, rules: Rules):
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        reason = refusal(scope, self._rules)
        if reason is None:
            await self._app(scope, receive, closed_to_frames(send))
        elif scope["type"] == "http":
            await answer(send, 403, f"fusc ui: {reason}\n")
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})


def refusal(scope: Scope, rules: Rules) -> str | None:
    """Why this request is refused; None when it may pass."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    if reason := _wrong_host(headers.get("host", []), rules):
        return reason
    method = scope.get("method", "WEBSOCKET")
    path = scope["path"]
    if ".." in path.split("/"):
        return "a path may not step up"
    graphql = path.rstrip("/").endswith("/graphql")
    if (method not in _READING or graphql) and (reason := _foreign(headers, rules)):
        return reason
    if graphql and method in _READING and _changes(scope.get("query_string", b"")):
        return "a GraphQL mutation must be sent by POST"
    if graphql and method == "POST":
        kind = ",".join(headers.get("content-type", [])).partition(";")[0].strip().casefold()
        if kind not in _GRAPHQL_TYPES:
            return f"GraphQL is taken as {' or '.join(_GRAPHQL_TYPES)}, not as {kind[:40] or 'nothing'}"
    first = path.strip("/").partition("/")[0]
    if first.startswith("report_asset_") and not rules.events:
        return "events of assets are not taken from other programs; start with --accept-events to allow it"
    if path.rstrip("/").endswith("/notebook"):
        return "notebooks are not served"
    return None


def is_loopback(name: str) -> bool:
    """Whether a host's name or address (without port and brackets) can only mean this machine."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in ("localhost", "localhost.")


def host_and_port(netloc: str) -> tuple[str, int | None]:
    """The name or address in lower case, without brackets, and the port of a Host header; ("", None) for nonsense."""
    try:
        parts = urlsplit(f"//{netloc}")
        if parts.path or parts.query or parts.fragment or "@" in netloc:
            return "", None
        return (parts.hostname or "").casefold(), parts.port
    except ValueError:
        return "", None


def _wrong_host(given: list[str], rules: Rules) -> str | None:
    """A page whose name was made to point at this machine (DNS rebinding) still calls it by that name."""
    name = host_and_port(given[0])[0] if len(given) == 1 else ""
    if name and (is_loopback(name) or name in rules.hosts):
        return None
    return f"it is not served under the name {name[:80]!r}; add the name to FUSC_UI_HOSTS if it should be"


def _foreign(headers: dict[str, list[str]], rules: Rules) -> str | None:
    """Why a request comes from a page of another site. Programs that are no browser send neither header."""
    sites = headers.get("sec-fetch-site", [])
    if any(site not in _OURS for site in sites):
        return "the request comes from another site's page"
    here = headers["host"][0]
    for origin in headers.get("origin", []):
        scheme, _, netloc = origin.partition("://")
        name, port = host_and_port(netloc)
        default = {"http": 80, "https": 443}.get(scheme)
        same = (name, port or default) == (host_and_port(here)[0], host_and_port(here)[1] or default)
        # A proxy may call us by another name than the browser calls it.
        if not (default and name and (same or name in rules.hosts)):
            return f"the request comes from a page of {origin[:80]!r}"
    return None


def _changes(query_string: bytes) -> bool:
    """Whether a GraphQL document in the query string is more than a query. What cannot be read changes nothing."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    for name, text in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name != "query":
            continue
        try:
            document = parse(text)
        except (GraphQLError, RecursionError):
            if "mutation" in text:
                return True
            continue
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if any(node.operation is not OperationType.QUERY for node in operations):
            return True
    return False


def closed_to_frames(send: Send) -> Send:
    """`send` with headers that keep other pages from showing ours inside theirs, and from having clicks land on it."""

    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            more = [(k.encode(), v.encode()) for k, v in _CLOSED.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return closed


async def answer(
    send: Send, status: int, text: str | bytes, headers: Iterable[tuple[str, str]] = (), body: bool = True
) -> None:
    """Send a whole answer; text is plain unless the headers name another type. body: False for HEAD."""
    content = text.encode() if isinstance(text, str) else text
    named = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **_CLOSED, **dict(headers)}
    named["content-length"] = str(len(content))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content if body else b""})
