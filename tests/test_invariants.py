"""What holds for every piece of evidence: no exception, no accusation of a healthy exchange that was cut, places that
lead to real bytes, and a story that is the same however often it is told."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.diagnosis import diagnose_connection, diagnose_evidence
from wsdiag.inputs import read_all
from wsdiag.intake.paste import read_lines
from wsdiag.model import CLIENT, SERVER, Connection, Ending, Evidence, LogLine, Origin, Report, Stream
from wsdiag.rules import catalogue

SAMPLES = Path(__file__).parent.parent / "samples"
FOLDERS = sorted(path.parent for path in SAMPLES.glob("*/case.json"))
QUICK = settings(max_examples=60, deadline=None)


def captures(prefix: str) -> list[Path]:
    return sorted(path for folder in FOLDERS if folder.name.startswith(prefix) for path in folder.glob("capture.pcap*"))


def check(report: Report) -> None:
    """What is true of every report."""
    causes = catalogue()
    names = {found.name for found in report.findings}
    for found in report.findings:
        assert found.name in causes
        assert found.code == causes[found.name].code
        if found.consequence_of is not None:
            assert found.consequence_of in names - {found.name}
        for place in found.places:
            if place.connection is not None and place.side is not None:
                matching = [
                    each.exchange.connection
                    for each in report.connections
                    if each.exchange.connection.id == place.connection
                ]
                assert matching
                assert place.start is not None
                assert place.stop is not None
                assert 0 <= place.start <= place.stop
            elif place.text:
                assert place.start is not None
                assert place.stop is not None
                assert 0 <= place.start <= place.stop <= len(place.text)
    if report.verdict == "faulty":
        assert report.primary in names
        assert report.findings[0].name == report.primary
        assert report.findings[0].consequence_of is None
        if causes[report.primary].symptom:
            assert report.next_steps
    else:
        assert report.primary is None
    if report.verdict == "undecided":
        assert report.next_steps
    for connected in report.connections:
        for side in (CLIENT, SERVER):
            offset = 0
            for element in connected.exchange.elements(side):
                assert element.span.start == offset
                offset = element.span.stop
            assert offset == len(connected.exchange.connection.stream(side).data)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_sample_obeys(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in ("case.json", "expected.json"):
            check(read_all([str(path)]))


def cut(connection: Connection, client: int, server: int, ending: Ending) -> Connection:
    """The connection as a capture shows it that ends earlier (or that kept less)."""

    def shorter(stream: Stream, size: int) -> Stream:
        if size >= len(stream.data):
            return stream._replace(ending=ending)
        return stream._replace(data=stream.data[:size], ending=ending, total=size)

    transport = connection.transport
    if transport is not None:
        transport = transport._replace(closer=None, closed_at=None)
    return connection._replace(
        client=shorter(connection.client, client),
        server=shorter(connection.server, server),
        transport=transport,
        frames=(),
        tally=None,
    )


@pytest.mark.parametrize("path", captures("healthy--"), ids=lambda path: path.parent.name)
def test_a_healthy_exchange_cut_anywhere_is_never_faulty(path: Path) -> None:
    report = read_all([str(path)])
    for connected in report.connections:
        connection = connected.exchange.connection
        if connected.verdict != "healthy":
            continue
        whole_client, whole_server = len(connection.client.data), len(connection.server.data)
        request, response = connected.exchange.request, connected.exchange.response
        assert request is not None
        assert response is not None
        step = max(1, (whole_client + whole_server) // 60)
        for size in range(0, whole_server + 1, step):
            # The client sends its frames when it has the 101; a capture that ends before has none of them.
            asked = whole_client if size >= response.head.span.stop else request.head.span.stop
            shown = diagnose_connection(cut(connection, asked, size, "open"))
            assert shown.verdict != "faulty", (size, shown.primary)
            # What was kept of one direction says nothing of the other.
            shown = diagnose_connection(cut(connection, whole_client, size, "cut"))
            assert shown.verdict != "faulty", (size, shown.primary)
        for size in range(0, whole_client, step):
            for ending in ("open", "cut"):
                answered = 0 if size <= request.head.span.stop else whole_server
                shown = diagnose_connection(cut(connection, size, answered, ending))
                assert shown.verdict != "faulty", (size, ending, shown.primary)


@QUICK
@given(client=st.binary(max_size=300), server=st.binary(max_size=300), ending=st.sampled_from(["open", "fin", "cut"]))
def test_no_bytes_raise(client: bytes, server: bytes, ending: Ending) -> None:
    connection = Connection(
        0, Stream(client, ending=ending, total=len(client)), Stream(server, ending=ending, total=len(server)), "capture"
    )
    check(diagnose_evidence(Evidence(connections=(connection,))))


@QUICK
@given(data=st.data())
def test_no_mutation_of_a_sample_raises(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(SAMPLES.glob("*/*.log"))))
    text = bytearray(path.read_bytes()[:20000])
    for _ in range(data.draw(st.integers(0, 8))):
        if text:
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(text)))
    lines = [
        LogLine(line, Origin("x", number))
        for number, line in enumerate(bytes(text[start:]).decode("utf-8", "replace").splitlines(), 1)
    ]
    check(diagnose_evidence(read_lines("x", lines)))


@QUICK
@given(text=st.text(max_size=400))
def test_no_text_raises(text: str) -> None:
    lines = [LogLine(line, Origin("x", number)) for number, line in enumerate(text.splitlines(), 1)]
    check(diagnose_evidence(read_lines("x", lines)))
