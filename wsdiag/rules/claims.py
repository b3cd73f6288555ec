"""What lines claim of a connection, and what the packets of that very connection show instead.

Programs guess (aiohttp invents a status, undici tells nothing), and a log may be of another hour: packets are believed,
and the line says so. Matching connections with each other is left to `match`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsdiag.model import ConnectionReport, Endpoint, Finding, Hit, Value, Values, wants_upgrade
from wsdiag.pattern import pattern
from wsdiag.record import TYPE_CHECKING, NamedTuple
from wsdiag.rules import catalogue
from wsdiag.rules.match import PACKETS
from wsdiag.rules.situation import accepted
from wsdiag.rules.status import cause_of_status

if TYPE_CHECKING:
    from typing import TypeVar

    Q = TypeVar("Q")

CONTRADICTED = "contradicted"
# What a line may claim and packets disprove: that the server was not reached, that it said nothing, what it said.
UNREACHED = frozenset({"connection-refused", "connect-timeout"})
SILENT = frozenset({"closed-without-response", "reset-after-request", "no-response"})
STATUSES = frozenset(
    {
        *(f"response-{name}" for name in ("200", "400", "404", "426", "429")),
        *(f"response-{name}" for name in ("redirect", "auth", "unexpected-status", "5xx-upstream")),
    }
)
FAULTY_ANSWERS = frozenset(
    {
        *(f"response-{name}" for name in ("bad-accept", "missing-accept", "missing-upgrade", "missing-connection")),
        "response-not-http",
    }
)
CLAIMS = UNREACHED | SILENT | STATUSES | FAULTY_ANSWERS
# Variants that speak of another connection than the client's: a proxy's or a handler's own.
OF_OTHERS = frozenset({"upstream", "backing-service", "broadcast", "unix-socket", "firewall", "address"})
AFTER_HANDSHAKE = "6"  # the third character of the codes of causes that come after it
_ADDRESS = pattern(r"[0-9.]{7,15}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


MAX_CLAIMS = 200  # different claims that are compared with every connection; whoever claims more is no client's log


class View(NamedTuple):
    """What packets show of one connection: as much of it as a line may claim something about."""

    server: Endpoint
    path: str | None  # None: the request was not seen, or is encrypted, so it may be any
    page: bool  # an ordinary request, which no line about a WebSocket means
    reached: bool
    status: int  # 0: no answer was seen
    success: bool


class Packets:
    """The connections that packets show, asked about the claims of lines. A long log repeats few claims many times."""

    def __init__(self, reports: Iterable[ConnectionReport]) -> None:
        seen = [each for each in reports if each.exchange.connection.kind in PACKETS]
        self.names = {found.name for each in seen for found in each.findings if found.certainty != "possible"}
        self._by_port: dict[int, list[View]] = {}
        for report in seen:
            view = _view(report)
            if view is not None:
                self._by_port.setdefault(view.server.port, []).append(view)
        self._answers: dict[tuple[Value | None, ...], str] = {}

    def against(self, found: Finding) -> str:
        """What the packets show of the very connection in place of the claim; empty where they do not deny it."""
        of_others = found.variant in OF_OTHERS or "upstream" in found.values
        if found.name not in CLAIMS or of_others or found.severity != "error":
            return ""
        return self._answer(found.name, found.values)

    def accepted(self, values: Values) -> bool:
        """True when every connection that a line with these values may be about was a success."""
        return bool(self._answer("", values))

    def _answer(self, name: str, values: Values) -> str:
        if not self._by_port:
            return ""
        key = (name, *(values.get(each) for each in ("port", "host", "path", "status")))
        if key not in self._answers:
            if len(self._answers) >= MAX_CLAIMS:
                return ""
            self._answers[key] = self._disproof(name, values)
        return self._answers[key]

    def _disproof(self, name: str, values: Values) -> str:
        """What every connection that may be meant shows in place of the claim; without a name, that it succeeded."""
        unreached = name in UNREACHED
        first = ""
        for view in self._meant(values, port_needed=unreached):
            if not unreached and (view.page or not _same_path(values, view)):
                continue
            shown = _reached(view) if unreached else _answered(name, values, view)
            if not shown:
                return ""
            first = first or shown
        return first

    def _meant(self, values: Values, *, port_needed: bool) -> Iterable[View]:
        """The connections that a line with these values may be about; none where that cannot be told."""
        port = values.get("port")
        if isinstance(port, int):
            return (view for view in self._by_port.get(port, ()) if _same_address(values, view))
        views = [view for each in self._by_port.values() for view in each if not view.page]
        servers = {view.server for view in views}
        return views if len(servers) == 1 and not port_needed else ()


def beside_packets(told: Sequence[Finding], asked: Sequence[Q], packets: Packets) -> tuple[list[Finding], list[Q]]:
    """What lines told, with their questions (one for each): a claim that packets disprove becomes a warning.

    It is left out altogether where another attempt shows the same fault, and its question goes in either case.
    """
    against = [packets.against(found) for found in told]
    if not any(against):
        return list(told), list(asked)
    standing = {found.name for found, got in zip(told, against, strict=True) if not got}
    standing |= packets.names
    findings: list[Finding] = []
    questions: list[Q] = []
    for found, question, got in zip(told, asked, against, strict=True):
        if not got:
            findings.append(found)
            questions.append(question)
        elif found.name not in standing:
            values: Values = {**found.values, "got": got}
            findings.append(
                found._replace(severity="warning", variant=CONTRADICTED, values=values, next_steps=(), blame="nobody")
            )
    return findings, questions


def open_doubts(doubts: Sequence[Hit], packets: Packets) -> list[Hit]:
    """The lines that only say that something failed, without those whose handshake the packets show to succeed."""
    causes = catalogue()
    return [
        doubt
        for doubt in doubts
        if any(each.name in causes and causes[each.name].code[2] == AFTER_HANDSHAKE for each in doubt.candidates)
        or not packets.accepted(doubt.values)
    ]


def _view(report: ConnectionReport) -> View | None:
    connection, request, response = report.exchange.connection, report.exchange.request, report.exchange.response
    if connection.server_endpoint is None:
        return None
    return View(
        connection.server_endpoint,
        None if request is None else request.target.text.split("?")[0],
        request is not None and not wants_upgrade(request),
        connection.transport is not None and connection.transport.opening in ("established", "middle"),
        response.status if response is not None else 0,
        report.verdict == "healthy" and accepted(report.exchange),
    )


def _same_path(values: Values, view: View) -> bool:
    path = str(values.get("path", "")).split("?")[0]
    return not path or view.path is None or view.path == path


def _same_address(values: Values, view: View) -> bool:
    """False where the line's host is an address, and another one than the server's."""
    host = str(values.get("host", "")).strip("[]")
    return not host or host == view.server.host or not _ADDRESS.fullmatch(host)


def _reached(view: View) -> str:
    if not view.reached:
        return ""
    return str(view.status) if view.status else "SYN, ACK"


def _answered(name: str, values: Values, view: View) -> str:
    """The status that the packets show, where the line claims something else."""
    if not view.status:
        return ""
    if name in SILENT:
        return str(view.status)
    if name in STATUSES:
        claimed = values.get("status")
        same = view.status == claimed if isinstance(claimed, int) else cause_of_status(view.status) == name
        return "" if same else str(view.status)
    return str(view.status) if view.success else ""
