"""The report as one HTML file that fetches nothing and runs nothing: verdict, story, conversation, annotated bytes.

The page is written as a stream, so that a capture of ten thousand connections needs no memory of its own. What must not
be shared was replaced before (`redact`); here everything is cleaned and escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdiag.model import CLIENT, ConnectionReport, Finding, Place, Report, Side, Value
from wsdiag.record import NamedTuple
from wsdiag.render.annotate import SIDES, Row, Telling, missing_header, side_rows, tellings
from wsdiag.render.clean import clean, clean_block
from wsdiag.render.evidence import (
    Evidence,
    Pieces,
    covers,
    diff_kind,
    pieces_of_bytes,
    pieces_of_text,
    row_note,
    window,
)
from wsdiag.render.hexdump import BYTES_A_ROW, hex_rows
from wsdiag.render.ladder import Arrow, label, ladder
from wsdiag.render.layout import Page, defused
from wsdiag.render.overview import (
    DETAILED_PER_CAUSE,
    MAX_LISTED,
    SIGNS,
    address,
    counts,
    listed,
    most_telling,
    timeline,
)
from wsdiag.render.story import story
from wsdiag.render.terminal import verdict_words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from wsdiag.render.words import Words

MAX_PLACES = 4
MAX_LINKS = 3
# A line of evidence of more cells fills a phone's screen.
LINE_CELLS = 240
MAX_LABEL_CELLS = 46
_ARROW_HEIGHT = 38
_LADDER_TOP = 44
# Chunks of the template are a few characters long; they are written in pieces of about this size.
_CHUNK = 64 * 1024


def page(report: Report, words: "Words", *, redacted: bool = False) -> Iterator[str]:
    """The page in pieces of text. `redacted`: say that secrets were replaced."""
    chunks: list[str] = []
    size = 0
    for part in _Html(report, words).parts(redacted):
        chunks.append(part)
        size += len(part)
        if size >= _CHUNK:
            yield "".join(chunks)
            chunks, size = [], 0
    yield "".join(chunks)


class _Told(NamedTuple):
    """A finding with its words and places, ready to be set."""

    number: int
    name: str
    code: str
    title: str
    why: str
    fix: str
    diff: list[tuple[str, str]]
    certainty: str
    blame: str
    occurrences: str
    reference: str
    places: list[dict[str, Any]]
    more_places: int


class _Html:
    """One report on its way to a page."""

    def __init__(self, report: Report, words: "Words") -> None:
        self.report = report
        self.words = words
        self.connections = {each.exchange.connection.id: each for each in report.connections}
        self.detailed = most_telling(report.connections)
        self.shown = {each.exchange.connection.id for each in self.detailed}
        self.placed: set[Place] = set()
        self.evidence = Evidence(Page(80, False, True), words, self.connections)

    def say(self, key: str, **values: Value) -> str:
        return self.words.text("report", key, **values)

    def parts(self, redacted: bool) -> Iterator[str]:
        """The parts that the template yields."""
        from base64 import b64encode
        from hashlib import sha256

        import wsdiag

        environment = _environment()
        style = environment.get_template("html.css.j2").render().strip()
        digest = b64encode(sha256(style.encode()).digest()).decode()
        told = story(self.report)
        primary = self.told(told.primary) if told.primary else None
        groups = [
            ("heading.candidates", "candidates", True, True, told.candidates),
            ("heading.causes", "causes", False, True, told.causes),
            ("heading.warnings", "warnings", False, True, told.warnings),
            ("heading.consequences", "consequences", False, False, told.consequences),
            ("heading.notes", "notes", False, False, told.notes),
        ]
        total = len(self.report.connections)
        yield from environment.get_template("html.j2").generate(
            say=self.say,
            lang=self.words.lang.replace("_", "-"),
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            style=_trusted(style),
            title=primary.title.replace("`", "") if primary else verdict_words(self.report, self.words)["title"],
            inputs=list(self._inputs()),
            verdict=self.report.verdict,
            verdict_word=self.say(f"verdict.{self.report.verdict}"),
            sign=SIGNS[self.report.verdict],
            primary=primary,
            groups=[(*head, [self.told(each) for each in findings]) for *head, findings in groups],
            steps=[{"text": self.words.step(each), "command": each.command} for each in self.report.next_steps],
            total=total,
            counts=counts(self.report.connections, self.say),
            timeline=timeline(self.report.connections),
            detailed=(self._connection(each) for each in self.detailed),
            not_detailed=total - len(self.detailed),
            per_cause=DETAILED_PER_CAUSE,
            rows=listed(self.report.connections, self.say),
            shown=self.shown,
            not_listed=max(total - MAX_LISTED, 0),
            redacted=redacted,
            version=getattr(wsdiag, "__version__", "0"),
        )

    def told(self, finding: Finding) -> _Told:
        """A finding's words, and its places with links to the bytes that this page shows."""
        from wsdiag.render.fixes import diff

        title, why, fix = self.words.finding(finding)
        places = list(dict.fromkeys(finding.places))
        # The same in another connection proves nothing more; the table of connections tells which they are.
        first = next((place.connection for place in places if place.connection is not None), None)
        shown = [place for place in places if place.connection in (None, first) and place not in self.placed]
        shown = shown[:MAX_PLACES]
        # Candidates have their evidence in common; it is shown with the first of them.
        self.placed.update(shown)
        # Who must act is told once, at the cause; not at what follows from it.
        told_alone = finding.severity != "note" and finding.consequence_of is None
        many = self.say("seen.occurrences", count=finding.occurrences) if finding.occurrences > 1 else ""
        return _Told(
            self.report.findings.index(finding),
            finding.name,
            finding.code,
            title,
            why,
            fix,
            [_diff_line(line) for line in (diff(finding) or "").rstrip("\n").split("\n") if line],
            self.say(f"certainty.{finding.certainty}") if told_alone else "",
            self.say(f"blame.{finding.blame}"),
            many,
            finding.reference,
            [self._place(each) for each in shown],
            len([place for place in places if place not in self.placed]),
        )

    def _inputs(self) -> Iterator[str]:
        for each in self.report.inputs:
            told = [self.say(f"input.{each.kind}"), *(self.words.note(note) for note in each.notes)]
            yield self.say("input.line", source=each.source, what=self.say("input.and").join(told))
        capture = self.report.capture
        if capture:
            yield self.say("input.capture-counts", packets=capture.packets, bytes=capture.bytes)
            if capture.dropped:
                yield self.say("input.capture-dropped", count=capture.dropped)
            if capture.truncated:
                yield self.say("input.capture-truncated")

    def _place(self, place: Place) -> dict[str, Any]:
        pieces: Pieces = []
        href = ""
        if place.text:
            stop = place.stop if place.stop is not None else len(place.text)
            pieces = _runs(window(pieces_of_text(place.text, [(place.start or 0, stop)]), LINE_CELLS, "…"))
        elif place.connection in self.shown:
            whole = place.side is None or place.start is None
            href = (
                f"#c{place.connection}" if whole else f"#{_anchor(place.connection, place.side, self._row_of(place))}"
            )
        return {"caption": self.evidence.caption(place), "pieces": pieces, "href": href}

    def _row_of(self, place: Place) -> int:
        """The offset of the row that the place begins in: where the page has an anchor."""
        connected = self.connections[place.connection] if place.connection is not None else None
        found = 0
        if connected and place.side and place.start is not None:
            for _, rows in side_rows(connected.exchange, place.side):
                for row in rows:
                    if row.kind in ("line", "field", "hex") and row.start <= place.start:
                        found = row.start
        return found

    def _connection(self, connected: ConnectionReport) -> dict[str, Any]:
        of = connected.exchange.connection
        told = tellings(self.report.findings, of.id)
        if not told:
            told = _renumbered(tellings(connected.findings, of.id), self.report.findings)
        arrows = ladder(connected, self.report.findings)
        about = [self.say(f"verdict.{connected.verdict}")]
        if connected.primary:
            about.append(connected.primary)
        if of.client_endpoint or of.server_endpoint:
            about.append(f"{address(of.client_endpoint)} → {address(of.server_endpoint)}")
        return {
            "id": of.id,
            "title": self.say("connection.title", number=of.id),
            "about": " · ".join(about),
            "arrows": [self._arrow(each, number) for number, each in enumerate(arrows)],
            "height": _LADDER_TOP + len(arrows) * _ARROW_HEIGHT,
            "sides": [self._side(connected, side, told) for side in SIDES if of.stream(side).data],
        }

    def _arrow(self, arrow: Arrow, number: int) -> dict[str, Any]:
        to_server = arrow.sender == CLIENT
        text = label(arrow, self.words)
        time = f"{arrow.time:.3f} s" if arrow.time is not None else ""
        return {
            "state": arrow.state,
            "label": "".join(shown for shown, _ in window([(char, False) for char in text], MAX_LABEL_CELLS, "…")),
            "time": time,
            "y": _LADDER_TOP + number * _ARROW_HEIGHT,
            "tip": 438 if to_server else 74,
            "back": "-9 " if to_server else "9 ",
            "spoken": f"{self.say(f'side.{arrow.sender}-sent')}: {text} {time}".strip(),
        }

    def _side(self, connected: ConnectionReport, side: Side, told: Sequence[Telling]) -> dict[str, Any]:
        of = connected.exchange.connection
        mine = [each for each in told if each.side == side]
        size = len(of.stream(side).data)
        return {
            "heading": self.say("side.heading", side=self.say(f"side.{side}-sent"), count=size),
            "rows": (
                line
                for _, rows in side_rows(connected.exchange, side, mine)
                for row in rows
                for line in self._byte_rows(row, of.id, side, mine)
            ),
        }

    def _byte_rows(self, row: Row, connection: int, side: Side, told: Sequence[Telling]) -> Iterator[dict[str, Any]]:
        marks = [each for each in told if each.start < row.stop and row.start < each.stop]
        ranges = [(each.start, each.stop) for each in marks]
        line: dict[str, Any] = {"kind": row.kind, "pieces": [], "links": []}
        line |= dict.fromkeys(("id", "offset", "ascii", "note"), "")
        match row.kind:
            case "line":
                data = row.data[:4096]
                text = data[:-2] if data.endswith(b"\r\n") else data
                # A mark over the whole head says nothing about a line; the links stand at its first line.
                inner = [each for each in ranges if not covers(each, row)]
                first = _links([each for each in marks if each.start >= row.start])
                yield line | {
                    "id": _anchor(connection, side, row.start),
                    "offset": f"{row.start:04x}",
                    "pieces": _runs(pieces_of_bytes(text, row.start, inner)),
                    "note": row_note(row, self.words) or self._end(row),
                    "links": first,
                }
            case "hex" | "field":
                yield from (line | each for each in self._hex_rows(row, connection, side, marks))
            case "missing":
                absent = _links([each for each in told if missing_header(each.finding) == row.values["header"]])
                yield line | {"pieces": [(f"✗ {self.say('row.missing', **row.values)}", False)], "links": absent[:1]}
            case _:
                yield line | {"pieces": [(clean(self.say(f"row.{row.name}", **row.values)), False)]}

    def _hex_rows(self, row: Row, connection: int, side: Side, marks: Sequence[Telling]) -> Iterator[dict[str, Any]]:
        """Rows of sixteen bytes; a mark over the whole of a long row would point at nothing."""
        note = self.say(f"row.{row.name}", **row.values) if row.kind == "field" else ""
        ranges = [(each.start, each.stop) for each in marks]
        if len(row.data) > BYTES_A_ROW:
            ranges = [each for each in ranges if not covers(each, row)]
        for shown in hex_rows(row.data, row.start, ranges):
            pieces = [(f"{byte:02x} ", place in shown.marked) for place, byte in enumerate(shown.data)]
            yield {
                "id": _anchor(connection, side, shown.offset),
                "offset": f"{shown.offset:04x}",
                "pieces": _runs(pieces),
                "ascii": shown.text if row.kind == "hex" else "",
                "note": note if shown.offset == row.start else "",
                "links": _links([each for each in marks if shown.offset <= each.start < shown.offset + BYTES_A_ROW]),
            }

    def _end(self, row: Row) -> str:
        return self.say("row.end-of-head") if row.name == "end-of-head" else ""


def _renumbered(told: Iterable[Telling], findings: Sequence[Finding]) -> list[Telling]:
    """A connection's own findings with the numbers of the report's findings of the same name."""
    numbers = {finding.name: number for number, finding in reversed(list(enumerate(findings)))}
    return [each._replace(number=numbers[each.finding.name]) for each in told if each.finding.name in numbers]


def _runs(pieces: Iterable[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbouring pieces that are alike, joined: a page has fewer elements then."""
    runs: list[tuple[str, bool]] = []
    for text, marked in pieces:
        if runs and runs[-1][1] == marked:
            runs[-1] = (runs[-1][0] + text, marked)
        else:
            runs.append((text, marked))
    return runs


def _links(told: Sequence[Telling]) -> list[dict[str, Any]]:
    """Links to the findings that are about a row."""
    return [{"number": each.number, "code": each.finding.code, "name": each.finding.name} for each in told[:MAX_LINKS]]


def _anchor(connection: int | None, side: Side | None, offset: int) -> str:
    return f"c{connection}-{side}-{offset}"


def _diff_line(line: str) -> tuple[str, str]:
    return diff_kind(line), clean_block(line)


@cache
def _environment() -> "Environment":
    """Jinja with everything escaped and cleaned, and nothing undefined passed over."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
    )
    environment.filters["prose"] = _prose
    return environment


def _finalize(value: Any) -> Any:
    """What Jinja does with every value before it escapes it: text is cleaned, whatever the template forgot."""
    if type(value) is not str:
        return value
    text = clean_block(value)
    return defused(text) if "\n" in text else text


def _trusted(text: str) -> "Markup":
    """Our own text, which needs no escaping."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def _prose(text: str) -> "Markup":
    """Words with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    parts = clean_block(text).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    shown = [Markup("<code>%s</code>") % part if number % 2 else escape(part) for number, part in enumerate(parts)]
    return Markup("").join(shown)
