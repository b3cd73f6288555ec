"""What lines claim of a connection, and what the packets of that very connection show instead.

Programs guess (aiohttp invents a status, undici tells nothing), and a log may be of another hour: packets are believed,
and the line says so. Matching connections with each other is left to `match`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsdiag.model import ConnectionReport, Finding, Hit, Value, Values, wants_upgrade
from wsdiag.pattern import pattern
from wsdiag.record import TYPE_CHECKING
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


class Packets:
    """The connections that packets show, asked about the claims of lines. A long log repeats few claims many times."""

    def __init__(self, reports: Iterable[ConnectionReport]) -> None:
        self.seen = [each for each in reports if each.exchange.connection.kind in PACKETS]
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
        if not self.seen:
            return ""
        key = (name, *(values.get(each) for each in ("port", "host", "path", "status")))
        if key not in self._answers:
            if len(self._answers) >= MAX_CLAIMS:
                return ""
            self._answers[key] = _disproof(name, values, self.seen)
        return self._answers[key]


def beside_packets(told: Sequence[Finding], asked: Sequence[Q], packets: Packets) -> tuple[list[Finding], list[Q]]:
    """What lines told, with their questions (one for each): a claim that packets disprove becomes a warning.

    It is left out altogether where another attempt shows the same fault, and its question goes in either case.
    """
    against = [packets.against(found) for found in told]
    if not any(against):
        return list(told), list(asked)
    standing = {found.name for found, got in zip(told, against, strict=True) if not got}
    standing |= {found.name for each in packets.seen for found in each.findings if found.certainty != "possible"}
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


def _disproof(name: str, values: Values, seen: Sequence[ConnectionReport]) -> str:
    """What every connection that may be meant shows in place of the claim; without a name, that it succeeded."""
    if name in UNREACHED:
        if not isinstance(values.get("port"), int):
            return ""
        shown = [_reached(each) for each in seen if _at(values, each)]
    else:
        shown = [_answered(name, values, each) for each in _attempts(values, seen)]
    return shown[0] if shown and all(shown) else ""


def _attempts(values: Values, seen: Sequence[ConnectionReport]) -> list[ConnectionReport]:
    """The connections that a line with these values may be about; none where that cannot be told.

    A connection whose request was not seen, or is encrypted, may be the one, and then nothing is disproved.
    """
    found = []
    path = str(values.get("path", "")).split("?")[0]
    for report in seen:
        request = report.exchange.request
        if not _at(values, report) or (request and not wants_upgrade(request)):
            continue
        if path and request is not None and request.target.text.split("?")[0] != path:
            continue
        found.append(report)
    ports = {each.exchange.connection.server_endpoint for each in found}
    return found if isinstance(values.get("port"), int) or len(ports) == 1 else []


def _at(values: Values, report: ConnectionReport) -> bool:
    """True where the line's port, and its address if it is a number, are those of the connection's server."""
    server = report.exchange.connection.server_endpoint
    if server is None:
        return False
    host = str(values.get("host", "")).strip("[]")
    if host and _ADDRESS.fullmatch(host) and host != server.host:
        return False
    return values.get("port", server.port) == server.port


def _reached(report: ConnectionReport) -> str:
    transport = report.exchange.connection.transport
    if transport is None or transport.opening not in ("established", "middle"):
        return ""
    response = report.exchange.response
    return str(response.status) if response is not None and response.status else "SYN, ACK"


def _answered(name: str, values: Values, report: ConnectionReport) -> str:
    """The status that the packets show, where the line claims something else."""
    response = report.exchange.response
    if response is None or not response.status:
        return ""
    if name in SILENT:
        return str(response.status)
    if name in STATUSES:
        claimed = values.get("status")
        same = response.status == claimed if isinstance(claimed, int) else cause_of_status(response.status) == name
        return "" if same else str(response.status)
    return str(response.status) if report.verdict == "healthy" and accepted(report.exchange) else ""
