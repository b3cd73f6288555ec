"""The conversation of one connection as a sequence of arrows: what came, what came wrong, and what should have come.

The arrows are data; this module also draws them for a terminal, `html` as SVG and `markdown` as a mermaid diagram.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from wsdiag.model import (
    CLIENT,
    NO_VALUES,
    SERVER,
    ClientHello,
    ConnectionReport,
    Element,
    Exchange,
    Finding,
    Foreign,
    Frame,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Request,
    Response,
    ServerHello,
    Side,
    TlsAlert,
    TlsData,
    Transport,
    Values,
    wants_upgrade,
)
from wsdiag.record import NamedTuple
from wsdiag.render.annotate import OPCODES, SIDES, Telling, alert_name, tellings, tls_version
from wsdiag.render.clean import clean
from wsdiag.render.layout import Page, cell_width, cut, pad

if TYPE_CHECKING:
    from wsdiag.render.words import Words

# seen: as it came · wrong: a finding is about it · missing: it should have come · end: the evidence says no more
State: TypeAlias = Literal["seen", "wrong", "missing", "end"]

# A conversation of more arrows is a stream of frames, and no reader follows it arrow by arrow.
MAX_ARROWS = 24
# Frames that are drawn one by one after the handshake; of the others only flawed ones and closes.
MAX_FRAMES = 6
# Text of a frame or a target in an arrow's label.
MAX_LABEL = 64
# The wider the ladder, the longer the eye's way from one side to the other.
MAX_LADDER_WIDTH = 64
_TIME_WIDTH = 9


class Arrow(NamedTuple):
    """One arrow. `detail` is what the wire said (not cleaned); `key` and `values` pick words of the group `report`.

    `time` is in seconds since the first thing seen of this connection. `finding` is the number of the finding about it.
    """

    sender: Side
    state: State
    detail: str = ""
    key: str = ""
    values: Values = NO_VALUES
    time: float | None = None
    start: int | None = None  # the offset of its bytes in the sender's stream
    finding: int | None = None


def ladder(connected: ConnectionReport, findings: Sequence[Finding] = ()) -> list[Arrow]:
    """The arrows of a connection, in the order of the conversation as far as the evidence shows it."""
    exchange = connected.exchange
    transport = exchange.connection.transport or Transport()
    told = [each for each in tellings(findings or connected.findings, exchange.connection.id) if _blames(each.finding)]
    arrows = [*_opening(transport), *_spoken(exchange, transport, told)]
    arrows += _expected(exchange, transport)
    if not any(arrow.state in ("missing", "end") for arrow in arrows):
        arrows += _closing(exchange, transport)
    if len(arrows) > MAX_ARROWS:
        left = len(arrows) - MAX_ARROWS
        half = MAX_ARROWS // 2
        arrows[half:-half] = [Arrow(CLIENT, "end", key="ladder.more", values={"count": left})]
    return arrows


def label(arrow: Arrow, words: "Words") -> str:
    """What stands at an arrow, cleaned."""
    said = words.text("report", arrow.key, **arrow.values) if arrow.key else ""
    detail = cut(clean(arrow.detail), MAX_LABEL)
    if arrow.key.startswith("element."):
        return f"{said} {detail}".strip()
    return ": ".join(part for part in (detail, said) if part)


def draw_ladder(page: Page, words: "Words", arrows: Sequence[Arrow]) -> None:
    """The ladder in a terminal: two bars, a label above each arrow, times on the left."""
    inner = min(max(page.width - _TIME_WIDTH - 4, 12), MAX_LADDER_WIDTH)
    client, server = (page.spell(words.text("report", f"side.{side}")) for side in SIDES)
    page.line(
        " " * _TIME_WIDTH, ("head", client + " " * (inner + 2 - cell_width(client) - cell_width(server)) + server)
    )
    bar = page.glyph("bar")
    for arrow in arrows:
        text = cut(page.spell(label(arrow, words)), inner - 2, page.glyph("more"))
        left = (inner - cell_width(text)) // 2
        style = {"wrong": "bad", "missing": "bad", "end": "dim"}.get(arrow.state, "")
        page.line(" " * _TIME_WIDTH, bar + " " * left, (style, text), pad("", inner - left - cell_width(text)) + bar)
        if arrow.state == "end":
            continue
        shaft = page.glyph("dash" if arrow.state == "missing" else "rule") * (inner - 1)
        to_server = arrow.sender == CLIENT
        head = page.glyph("missing" if arrow.state == "missing" else "arrow-right" if to_server else "arrow-left")
        stamp = f"{arrow.time:7.3f} s" if arrow.time is not None else ""
        line = shaft + head if to_server else head + shaft
        page.line(("dim", f"{stamp:<{_TIME_WIDTH}}"), bar, (style, line), bar)


def _blames(finding: Finding) -> bool:
    return finding.severity != "note" and finding.certainty != "possible"


def _opening(transport: Transport) -> list[Arrow]:
    if transport.opening == "established":
        return [Arrow(CLIENT, "seen", key="ladder.connect", time=0.0 if transport.opened_at is not None else None)]
    if transport.opening == "refused":
        return [Arrow(CLIENT, "seen", "SYN", time=0.0), Arrow(SERVER, "wrong", key="ladder.refused")]
    if transport.opening == "unanswered":
        count: Values = {"count": transport.syn_count} if transport.syn_count else NO_VALUES
        return [Arrow(CLIENT, "seen", "SYN", time=0.0), Arrow(SERVER, "missing", key="ladder.unanswered", values=count)]
    return []


def _spoken(exchange: Exchange, transport: Transport, told: Sequence[Telling]) -> list[Arrow]:
    """An arrow for each element of both sides."""
    rows: list[tuple[tuple[int, int, int], Side, Element]] = []
    packets = all(
        (origin := exchange.connection.stream(side).origin_at(element.span.start)) is not None
        and origin.packet is not None
        for side in SIDES
        for element in exchange.elements(side)
    )
    for side in SIDES:
        stream = exchange.connection.stream(side)
        met = 0
        for number, element in enumerate(exchange.elements(side)):
            met += isinstance(element, Request | Response)
            origin = stream.origin_at(element.span.start)
            place = origin.packet if packets and origin and origin.packet else _phase(element, side, met)
            rows.append(((place, int(side == SERVER), number), side, element))
    rows += [((1 << 40, 0, frame.span.start), frame.span.side, frame) for frame in exchange.connection.frames]
    rows.sort(key=lambda row: row[0])
    first_seen: set[Side] = set()
    arrows: list[Arrow] = []
    frames = 0
    for _, side, element in rows:
        flawed = _telling(element, told)
        if isinstance(element, Frame):
            frames += 1
            if frames > MAX_FRAMES and flawed is None and element.opcode != 8 and not element.flaws:
                arrows = _counted(arrows, side)
                continue
        at = None
        if side not in first_seen:
            first_seen.add(side)
            at = _since(transport, transport.request_at if side == CLIENT else transport.reply_at)
        arrows.append(_arrow(element, side, at, flawed, exchange))
    return arrows


def _phase(element: Element, side: Side, met: int) -> int:
    """The usual place of an element in a conversation, for evidence that shows no order between the directions."""
    if isinstance(element, Frame):
        return 1000 + element.span.start
    if isinstance(element, Request | Response):
        return 10 + 2 * met
    if isinstance(element, ProxyHeader | Http2Preface | ClientHello | ServerHello | TlsAlert):
        return int(side == SERVER)
    return 10 + 2 * met + 1


def _counted(arrows: list[Arrow], side: Side) -> list[Arrow]:
    """One more frame that is not drawn by itself."""
    last = arrows[-1]
    if last.key != "ladder.frames":
        return [*arrows, Arrow(side, "seen", key="ladder.frames", values={"count": 1})]
    arrows[-1] = last._replace(values={"count": int(last.values["count"]) + 1})
    return arrows


def _arrow(element: Element, side: Side, at: float | None, flawed: Telling | None, exchange: Exchange) -> Arrow:
    state: State = "wrong" if flawed else "seen"
    key, values = "", NO_VALUES
    match element:
        case Request():
            detail = f"{element.method.text} {element.target.text}"
            if wants_upgrade(element):
                detail += " (Upgrade)"
        case Response():
            detail = f"{element.status} {element.reason.text}".strip()
            if element is exchange.response and element.status != 101 and _wanted(exchange):
                state, key = "wrong", "ladder.expected-101"
        case Frame():
            detail = OPCODES.get(element.opcode, f"opcode {element.opcode}")
            payload = element.payload
            if element.opcode == 8 and len(payload) >= 2:
                detail += f" {int.from_bytes(payload[:2], 'big')}"
                payload = payload[2:]
            if element.opcode in (1, 8) and payload:
                detail += f" {payload[:MAX_LABEL].decode('utf-8', 'replace')}"
        case ClientHello():
            key, detail = "element.client-hello", element.server_name
        case ServerHello():
            key, detail = "element.server-hello", tls_version(element.version)
        case TlsAlert():
            key, detail = "element.tls-alert", alert_name(element.description)
        case TlsData():
            key, detail = "element.tls-data", ""
        case ProxyHeader():
            key, detail = "element.proxy-header", f"v{element.version}"
        case Http2Preface():
            key, detail = "element.http2-preface", ""
        case Http2Frames():
            key, detail = "element.http2-frames", ""
        case Foreign():
            key, detail = "element.foreign", element.protocol
        case _:
            key, detail = "element.unknown", ""
    return Arrow(side, state, detail, key, values, at, element.span.start, flawed.number if flawed else None)


def _telling(element: Element, told: Sequence[Telling]) -> Telling | None:
    for each in told:
        if each.side == element.span.side and element.span.start <= each.start < max(element.span.stop, each.start):
            return each
    return None


def _wanted(exchange: Exchange) -> bool:
    request = exchange.request
    return request is not None and wants_upgrade(request)


def _expected(exchange: Exchange, transport: Transport) -> list[Arrow]:
    """The 101 that did not come, and what came in its place."""
    if exchange.request is None or exchange.response is not None or not _wanted(exchange):
        return []
    server = exchange.connection.server
    if not server.seen or server.ending == "cut":
        return [Arrow(SERVER, "end", key="ladder.not-seen")]
    if transport.closer == CLIENT and server.ending != "reset":
        closing = _closing(exchange, transport)
        return [Arrow(SERVER, "missing", key="ladder.expected-101"), *closing]
    key = {"fin": "fin", "reset": "reset"}.get(server.ending, "nothing")
    at = _since(transport, transport.closed_at) if key != "nothing" else None
    return [Arrow(SERVER, "missing", key=f"ladder.expected-101-{key}", time=at)]


def _closing(exchange: Exchange, transport: Transport) -> list[Arrow]:
    """Who closed, and how; both closes when both were orderly."""
    order: tuple[Side, ...] = (SERVER, CLIENT) if transport.closer == SERVER else (CLIENT, SERVER)
    arrows: list[Arrow] = []
    for side in order:
        ending = exchange.connection.stream(side).ending
        if ending not in ("fin", "reset") or (ending == "reset" and arrows):
            continue
        at = _since(transport, transport.closed_at) if not arrows and transport.closer == side else None
        arrows.append(Arrow(side, "seen", key=f"ladder.{ending}", time=at))
    return arrows


def _since(transport: Transport, moment: float | None) -> float | None:
    begin = transport.opened_at if transport.opened_at is not None else transport.request_at
    return None if moment is None or begin is None else max(moment - begin, 0.0)
