"""What only several pieces together tell: facts of one input fill or contradict the findings of another.

A fact (a listener's address, a client's URL, a program's version) is no finding; here it explains one or completes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import (
    Certainty,
    ConnectionReport,
    Evidence,
    Exchange,
    Finding,
    Hit,
    LineSpan,
    Value,
    Values,
    wants_upgrade,
)
from wsdiag.pattern import pattern
from wsdiag.record import TYPE_CHECKING, NamedTuple
from wsdiag.rules import Cause, catalogue, hit, is_cause
from wsdiag.rules.situation import accepted

if TYPE_CHECKING:
    from typing import Any

    from wsdiag.rules.reported import Reported  # at run time only where there are lines

# A server that says that one of these is missing, though it was sent, did not get what the client sent.
SAID_MISSING = {
    "request-missing-key": "sec-websocket-key",
    "request-missing-upgrade": "upgrade",
    "request-missing-connection": "connection",
    "request-missing-version": "sec-websocket-version",
    "plain-http-request": "upgrade",
}
# Listener schemes of Workerman that are no WebSocket, and that still take a TCP connection.
OTHER_SCHEMES = frozenset({"text", "frame", "tcp", "http", "ssl"})


class Story(NamedTuple):
    """All evidence beside the findings: the inputs, the connections' reports and the facts from lines."""

    evidence: Evidence
    reports: tuple[ConnectionReport, ...]
    facts: tuple[Reported, ...]

    def facts_named(self, name: str) -> list[Values]:
        """The values of every fact of that name, in the order they were told."""
        return [fact.hit.values for fact in self.facts if fact.name == name]

    def filled(self, found: Finding) -> Finding:
        """The finding with values that other pieces know: the listener's port and address, program and version."""
        values: dict[str, Value] = dict(found.values)
        listener = self._listener_for(found)
        if listener:
            for name in ("port", "host", "scheme", "address"):
                if name in listener:
                    values.setdefault(name, listener[name])
        programs = self.facts_named("program")
        if programs:
            for name in ("product_version", "framework"):
                if name in programs[-1]:
                    values.setdefault(name, programs[-1][name])
        return found._replace(values=values) if values != dict(found.values) else found

    def _listener_for(self, found: Finding) -> Values | None:
        listeners = self.facts_named("listener")
        if found.name == "listener-ws-scheme":
            listeners = [each for each in listeners if str(each.get("scheme", "")).lower() == "ws"]
            listeners = listeners or self._dialled()
        elif "port" in found.values:
            return None
        elif found.blame not in ("server", "nobody"):
            return None
        ports = {each.get("port") for each in listeners}
        return listeners[0] if len(ports) == 1 else None

    def _dialled(self) -> list[Values]:
        """The port that the printed requests were sent to: without a banner it is the best that is known.

        A listener is bound to all addresses more often than to the name that a client dials, so the host stays open.
        """
        ports = set()
        for report in self.reports:
            request = report.exchange.request
            port = request.head.value("host").rpartition(":")[2] if request is not None else ""
            if report.exchange.connection.kind == "dump" and port.isdigit() and len(port) <= 5:
                ports.add(int(port))
        return [{"port": port, "host": "0.0.0.0", "scheme": "ws"} for port in ports]  # noqa: S104 (words, no socket)

    def values_for_step(self, values: Values) -> Values:
        """Host, port, path and scheme for a command: the finding's, else the URL's, else the listener's."""
        known: dict[str, Value] = {}
        for facts in (self.facts_named("listener")[:1], self.facts_named("url")[:1], [values]):
            for fact in facts:
                known.update({name: fact[name] for name in ("host", "port", "path", "scheme") if name in fact})
        for report in self.reports[:1]:
            endpoint = report.exchange.connection.server_endpoint
            if endpoint is not None:
                known.setdefault("host", endpoint.host)
                known.setdefault("port", endpoint.port)
        return {**known, **values}


def contradictions(
    exchange: Exchange, verdicts: list[tuple[Cause, Certainty, Hit]]
) -> list[tuple[Cause, Certainty, Hit]]:
    """Where the server's words deny what the client sent, the hop between them is at fault: say so instead."""
    request = exchange.request
    if request is None or not request.head.complete or not wants_upgrade(request):
        return verdicts
    result: list[tuple[Cause, Certainty, Hit]] = []
    for cause, certainty, found in verdicts:
        header = request.head.first(SAID_MISSING.get(cause.name, ""))
        said = any(not hasattr(span, "text") and span.side == "server" for span in found.spans)
        if header is not None and header.value.text and said and "websocket" in request.head.tokens("upgrade"):
            stripped = hit(
                *found.spans,
                header.value.span,
                variant="denied",
                certainty="likely",
                header=header.name.text,
                detail=str(found.values.get("detail", "")),
            )
            result.append((catalogue()["proxy-stripped-upgrade"], "likely", stripped))
        else:
            result.append((cause, certainty, found))
    return result


def retell(story: Story, told: list[Finding]) -> list[tuple[Cause, Certainty, Hit]]:
    """Findings that no single piece shows."""
    causes = catalogue()
    found: list[tuple[Cause, Certainty, Hit]] = []
    found += _wrong_door(story, causes)
    found += _scheme_against_listener(story, causes)
    found += _upstream_unreachable(story, causes)
    found += _lost_on_the_way(story, causes)
    if story.evidence.lines and not any(is_cause(each, causes) for each in told):
        from wsdiag.rules.lifetime import timer_closes

        found += [(causes["idle-timeout"], "likely", each) for each in timer_closes(story.evidence.lines)]
    if not told and not story.reports:
        found += _nothing_but_ends(story, causes)
    if any(each.name == "response-bad-accept" for each in told):
        right = [
            each.exchange for each in story.reports if accepted(each.exchange) and each.exchange.request is not None
        ]
        wrong = [each for each in story.reports if each.primary == "response-bad-accept"]
        if right and not wrong:
            accept = right[0].response.head.value("sec-websocket-accept") if right[0].response else ""
            found.append((causes["client-accept-check-wrong"], "likely", hit(accept=accept)))
    return found


# A client's own prints of its two events, when there is nothing else in the paste.
CONNECTED = pattern(r"(?i)^\W*(?:\S+\s)?(?:web ?socket )?(?:on_?)?(?:connected|connect|已连接|连接成功|连接已建立)\W*$")
CLOSED = pattern(
    r"(?i)^\W*(?:\S+\s)?(?:web ?socket )?(?:on_?)?"
    r"(?:closed|close|disconnected|connection closed|已断开|连接关闭|断开连接)\W*$"
)
FEW_LINES = 6
SHORT = 80  # characters of such a line; the expressions above may look at it from every side


def _nothing_but_ends(story: Story, causes: dict[str, Cause]) -> list[tuple[Cause, Certainty, Hit]]:
    """ "connected", and then "closed" or nothing: TCP came about, and no handshake was ever heard of."""
    lines = [line for line in story.evidence.lines if line.text.strip()]
    if not lines or len(lines) > FEW_LINES or any(len(line.text) > SHORT for line in lines):
        return []
    if CONNECTED.match(lines[0].text) is None:
        return []
    names: tuple[str, ...] = ()
    if len(lines) == 1:
        names = ("no-response", "handler-never-accepts", "listener-wrong-protocol")
    elif all(CLOSED.match(line.text) or CONNECTED.match(line.text) for line in lines[1:]):
        names = ("closed-without-response", "plaintext-to-tls", "listener-ws-scheme", "origin-rejected")
    places = tuple(LineSpan(line.origin, 0, len(line.text), line.text) for line in lines)
    return [(causes[name], "possible", hit(*places, next_steps=("ask-server-log", "capture-whole"))) for name in names]


def _asked_ports(story: Story) -> set[Value]:
    """The ports that a client tried to reach with a WebSocket, by packets, Host headers and URLs in the text."""
    ports: set[Value] = {url["port"] for url in story.facts_named("url") if "port" in url}
    for report in story.reports:
        request = report.exchange.request
        endpoint = report.exchange.connection.server_endpoint
        if request is not None and wants_upgrade(request):
            if endpoint is not None:
                ports.add(endpoint.port)
            port = request.head.value("host").rpartition(":")[2]
            if port.isdigit():
                ports.add(int(port))
    return ports


def _wrong_door(story: Story, causes: dict[str, Cause]) -> list[tuple[Cause, Certainty, Hit]]:
    """The banner shows a text://, frame:// … listener on the very port that a WebSocket client dialled."""
    ports = _asked_ports(story)
    established = {
        report.exchange.connection.server_endpoint.port
        for report in story.reports
        if report.verdict == "healthy" and report.exchange.connection.server_endpoint is not None
    }
    found: list[tuple[Cause, Certainty, Hit]] = []
    for fact in story.facts:
        values = fact.hit.values
        scheme = str(values.get("scheme", "")).lower()
        if fact.name != "listener" or fact.signature.program not in ("workerman", "gatewayworker", "webman"):
            continue
        if scheme in OTHER_SCHEMES and values.get("port") in ports and values.get("port") not in established:
            more: dict[str, Any] = dict(values)
            found.append((causes["listener-wrong-protocol"], "certain", hit(*fact.hit.spans, variant="scheme", **more)))
    return found


def legs(story: Story) -> Iterator[tuple[ConnectionReport, ConnectionReport]]:
    """Pairs of connections that may be a proxy's two legs: the server of the first opened the second meanwhile."""
    for outer in story.reports[:MAX_LEGS]:
        server, waited = outer.exchange.connection.server_endpoint, outer.exchange.connection.transport
        if server is None or waited is None or waited.request_at is None:
            continue
        end = waited.closed_at or waited.last_at or waited.request_at
        for inner in story.reports[:MAX_LEGS]:
            proxy, tried = inner.exchange.connection.client_endpoint, inner.exchange.connection.transport
            upstream = inner.exchange.connection.server_endpoint
            if inner is outer or proxy is None or tried is None or upstream is None or upstream == server:
                continue
            if (
                proxy.host == server.host
                and tried.opened_at is not None
                and waited.request_at <= tried.opened_at <= end
            ):
                yield outer, inner


def _lost_on_the_way(story: Story, causes: dict[str, Cause]) -> list[tuple[Cause, Certainty, Hit]]:
    """A whole upgrade request went into the proxy, and an ordinary one for the same path came out."""
    for outer, inner in legs(story):
        asked, passed = outer.exchange.request, inner.exchange.request
        if asked is None or passed is None or not asked.head.complete or not passed.head.complete:
            continue
        whole = "websocket" in asked.head.tokens("upgrade") and bool(asked.head.value("sec-websocket-key"))
        if not whole or accepted(outer.exchange) or asked.target.text != passed.target.text:
            continue
        lost = [name for name in HANDSHAKE_HEADERS if asked.head.first(name) is not None and passed.head.lacks(name)]
        if lost and not wants_upgrade(passed):
            connection = inner.exchange.connection
            values: dict[str, Any] = {"header": ", ".join(lost), "version": passed.version.text}
            if connection.server_endpoint is not None:
                values["upstream"] = f"{connection.server_endpoint.host}:{connection.server_endpoint.port}"
            return [(causes["proxy-stripped-upgrade"], "certain", hit(variant="both-legs", **values))]
    return []


HANDSHAKE_HEADERS = ("upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions")
MAX_LEGS = 200  # connections that are compared with each other; a capture of a proxied attempt has a handful
UNREACHABLE = {"connection-refused": "refused", "connect-timeout": "timeout"}
DROPPED = ("closed-without-response", "reset-after-request", "response-5xx-upstream", "no-response")


def _upstream_unreachable(story: Story, causes: dict[str, Cause]) -> list[tuple[Cause, Certainty, Hit]]:
    """While a client waited, its server (a proxy, then) tried in vain to reach another address."""
    for outer, inner in legs(story):
        upstream, server = inner.exchange.connection.server_endpoint, outer.exchange.connection.server_endpoint
        if inner.primary in UNREACHABLE and outer.primary in DROPPED and upstream is not None and server is not None:
            values: dict[str, Any] = {"upstream": f"{upstream.host}:{upstream.port}", "port": server.port}
            return [(causes["response-5xx-upstream"], "certain", hit(variant=UNREACHABLE[inner.primary], **values))]
    return []


def _scheme_against_listener(story: Story, causes: dict[str, Cause]) -> list[tuple[Cause, Certainty, Hit]]:
    """The client's URL says wss:// and the listener on that port speaks no TLS, or the reverse."""
    found: list[tuple[Cause, Certainty, Hit]] = []
    for url in story.facts_named("url"):
        for fact in story.facts:
            listener = fact.hit.values
            if fact.name != "listener" or "port" not in url or listener.get("port") != url["port"]:
                continue
            tls = listener.get("tls")
            if tls is None:
                continue
            more: dict[str, Any] = {"port": url["port"], "url": url.get("url", "")}
            if url.get("scheme") == "wss" and tls is False:
                found.append((causes["tls-to-plaintext"], "likely", hit(*fact.hit.spans, **more)))
            elif url.get("scheme") == "ws" and tls is True:
                found.append((causes["plaintext-to-tls"], "likely", hit(*fact.hit.spans, **more)))
    return found
