"""Connections followed from their packets: how they open, join and close, whatever happens to the packets."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.captures import ACK, FIN, KEY, PSH, RST, SYN, Packet, Talk, follow, frame, healthy, packets, pcap, read
from tests.captures import request as a_request
from tests.captures import switching as a_switch
from wsdiag.diagnosis import diagnose_connection
from wsdiag.model import CLIENT, SERVER, Connection, ConnectionReport, Gap


def told(report: ConnectionReport) -> object:
    return report.verdict, report.primary, [(each.name, each.certainty, each.variant) for each in report.findings]


def test_a_whole_connection_is_told_with_its_times_and_packets() -> None:
    talk = Talk().open().wait(0.5).say(0, a_request()).wait(2).say(1, a_switch()).wait(30).close(1)
    found = follow(talk)
    transport = found.transport
    assert transport is not None
    assert found.client.data == a_request()
    assert found.server.data == a_switch()
    assert (found.client.ending, found.server.ending) == ("fin", "fin")
    assert (transport.opening, transport.syn_count, transport.closer) == ("established", 1, SERVER)
    assert transport.opened_at is not None
    assert transport.request_at is not None
    assert transport.reply_at is not None
    assert round(transport.request_at - transport.opened_at, 2) == 0.5
    assert round(transport.reply_at - transport.request_at, 2) == 2
    assert transport.idle is not None
    assert round(transport.idle, 2) == 30
    assert (transport.client_acked, transport.server_acked) == (len(a_request()), len(a_switch()))
    assert (found.first_packet, found.last_packet) == (1, len(talk.segments))
    assert found.client_endpoint is not None
    assert found.client_endpoint == ("10.1.2.3", 40000)
    origin = found.server.origin_at(5)
    assert origin is not None
    assert origin.packet == 6


def test_a_refused_connection() -> None:
    found = follow(Talk().add(0, SYN).add(1, RST | ACK))
    assert found.transport is not None
    assert found.transport.opening == "refused"
    assert found.transport.syn_count == 1


def test_windows_tries_a_refused_connection_three_times() -> None:
    talk = Talk()
    for _ in range(3):
        talk.add(0, SYN, seq=1000).add(1, RST | ACK, seq=0).wait(0.5)
    found = follow(talk)
    assert found.transport is not None
    assert (found.transport.opening, found.transport.syn_count) == ("refused", 3)


def test_an_unanswered_connection_counts_its_tries() -> None:
    talk = Talk()
    for pause in (1, 2, 4):
        talk.add(0, SYN, seq=1000).wait(pause)
    for v6 in (False, True):
        found = follow(talk, v6=v6)
        assert found.transport is not None
        assert (found.transport.opening, found.transport.syn_count) == ("unanswered", 3)
        assert not found.transport.one_way


def test_copies_of_a_syn_are_one_try() -> None:
    once = packets(Talk().add(0, SYN))
    for v6 in (False, True):
        once = packets(Talk().add(0, SYN), v6=v6)
        (found,) = read(pcap([once[0], Packet(once[0].time + 3, once[0].data)])).connections
        assert found.transport is not None
        assert found.transport.syn_count == 1


def test_sequence_numbers_wrap() -> None:
    talk = Talk(isn=(0xFFFFFFF0, 0xFFFFFFFE), mss=7).open().say(0, a_request()).say(1, a_switch())
    found = follow(talk)
    assert (found.client.data, found.server.data) == (a_request(), a_switch())
    assert not found.client.gaps
    assert not found.server.gaps


def test_the_first_copy_of_overlapping_bytes_wins() -> None:
    talk = Talk().open().add(0, ACK, b"GET / HT")
    talk.add(0, ACK, b"XXTP/1.1\r\n", seq=1001 + 6)
    found = follow(talk)
    assert found.client.data == b"GET / HTTP/1.1\r\n"


def test_a_port_used_again_is_another_connection() -> None:
    first = Talk().open().say(0, a_request()).close(1)
    again = Talk(isn=(90000, 80000), start=first.time + 10).open().say(0, a_request(path="/again")).close(1)
    found = read(pcap(packets(first) + packets(again))).connections
    assert [b"/again" in each.client.data for each in found] == [False, True]
    assert [each.client.ending for each in found] == ["fin", "fin"]


def test_bytes_that_the_capture_lost_are_a_gap_and_not_silence() -> None:
    talk = Talk().open().say(0, a_request()).say(1, a_switch()).close(0)
    lost = [each for each in talk.segments if not (each.side == 1 and each.data)]
    talk.segments = lost
    found = follow(talk)
    assert found.server.data == b""
    assert found.server.gaps == (Gap(0, len(a_switch())),)


def test_bytes_lost_in_the_middle() -> None:
    talk = Talk(mss=40).open().say(0, a_request())
    data = [each for each in talk.segments if each.data]
    talk.segments.remove(data[1])
    found = follow(talk)
    assert found.client.data == a_request()[:40] + a_request()[80:]
    assert found.client.gaps == (Gap(40, 40),)


def test_one_direction_alone_is_not_the_others_silence() -> None:
    talk = healthy()
    talk.segments = [each for each in talk.segments if each.side == 0]
    found = follow(talk)
    assert found.transport is not None
    assert found.transport.one_way
    assert not found.server.seen
    assert found.transport.opening == "established"


def test_a_connection_from_the_middle() -> None:
    talk = healthy(frames=6)
    talk.segments = talk.segments[11:]
    found = follow(talk)
    assert found.transport is not None
    assert found.transport.opening == "middle"
    assert not found.client.from_start
    assert not found.server.from_start


def test_a_capture_that_begins_with_the_request_still_has_its_start() -> None:
    talk = Talk().open().say(0, a_request()).say(1, a_switch())
    talk.segments = talk.segments[3:]
    found = follow(talk)
    assert found.client.from_start
    assert found.server.from_start


def test_a_reset_and_who_sent_it() -> None:
    found = follow(Talk().open().say(0, a_request()).add(1, RST | ACK))
    assert (found.server.ending, found.client.ending) == ("reset", "open")
    assert found.transport is not None
    assert found.transport.closer == SERVER


def test_who_closed_first_is_known_even_when_the_fins_are_swapped() -> None:
    talk = Talk().open().say(0, a_request()).close(1)
    talk.segments[-3], talk.segments[-2] = talk.segments[-2], talk.segments[-3]
    found = follow(talk)
    assert found.transport is not None
    assert found.transport.closer == SERVER


def test_late_packets_of_a_finished_connection_open_no_other() -> None:
    talk = Talk().open().say(0, a_request()).close(1)
    for _ in range(600):
        talk.add(0, ACK)
    assert len(read(pcap(packets(talk))).connections) == 1


def test_data_after_a_syn_with_data() -> None:
    talk = Talk()
    talk.add(0, SYN, b"GET /")
    talk.add(1, SYN | ACK).add(0, ACK, b" HTTP/1.1\r\n")
    assert follow(talk).client.data == b"GET / HTTP/1.1\r\n"


# --- ports ------------------------------------------------------------------------------------------------------------


def test_without_ports_only_attempts_and_their_ports_are_told() -> None:
    web = Talk().open().say(0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").say(1, b"HTTP/1.1 200 OK\r\n\r\n").close(0)
    found: list[Packet] = []
    for index in range(40):
        found += packets(web, ports=(41000 + index, 80))
    found += packets(Talk().add(0, SYN).add(1, RST | ACK), ports=(50000, 2346))
    found += packets(healthy(), ports=(50001, 2346))
    told = read(pcap(found), None).connections
    assert [each.server_endpoint and each.server_endpoint.port for each in told] == [2346, 2346]


def test_without_ports_a_capture_of_one_problem_is_told_whole() -> None:
    found = read(pcap(packets(Talk().add(0, SYN).add(1, RST | ACK), ports=(50000, 9999))), None).connections
    assert [each.transport and each.transport.opening for each in found] == ["refused"]


# --- the order and the number of packets make no difference ---------------------------------------------------------

BROKEN = Talk().open().say(0, a_request()).say(1, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").close(1)
BAD_FRAME = (
    Talk()
    .open()
    .say(0, a_request())
    .say(1, a_switch())
    .say(0, frame(b"x" * 300, mask=b"abcd"))
    .say(0, frame(b"hello", opcode=11, mask=b"abcd"))
    .close(1)
)
TALKS = [
    healthy(),
    BROKEN,
    BAD_FRAME,
    Talk().open().say(0, a_request()).close(1),
    Talk().open().say(0, a_request()).add(1, RST | ACK),
    Talk().open().say(0, b"\x16\x03\x01\x00\x05hello").close(1),
]


def remade(talk: Talk, sizes: list[int], swaps: list[int], copies: list[int]) -> list[Packet]:
    """The same conversation cut into other segments, some of them swapped with their neighbour, some sent twice."""
    again = Talk(isn=(1000, 5000))
    at = 0
    for segment in talk.segments:
        again.time = segment.time - again.step
        rest = segment.data
        while len(rest) > 1:
            size = sizes[at % len(sizes)]
            at += 1
            if size >= len(rest):
                break
            again.add(segment.side, ACK | PSH, rest[:size])
            rest = rest[size:]
        flags = segment.flags
        again.add(segment.side, flags, rest)
    found = again.segments
    for swap in swaps:
        index = swap % (len(found) - 1)
        # A capture swaps what was sent close together, not an answer with what it answers.
        if found[index].side == found[index + 1].side:
            found[index], found[index + 1] = found[index + 1], found[index]
    for copy in copies:
        index = copy % len(found)
        found.insert(index, found[index])
    return packets(again)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(TALKS),
    st.lists(st.integers(1, 90), min_size=1, max_size=8),
    st.lists(st.integers(0, 500), max_size=6),
    st.lists(st.integers(0, 500), max_size=6),
)
def test_segmentation_order_and_repetition_change_nothing(
    talk: Talk, sizes: list[int], swaps: list[int], copies: list[int]
) -> None:
    plain = follow(talk)
    (other,) = read(pcap(remade(talk, sizes, swaps, copies))).connections
    for side in (CLIENT, SERVER):
        a, b = plain.stream(side), other.stream(side)
        assert (b.data, b.gaps, b.ending, b.total, b.from_start) == (a.data, a.gaps, a.ending, a.total, a.from_start)
    assert told(diagnose_connection(other)) == told(diagnose_connection(plain))


def test_frames_are_read_though_they_are_not_kept() -> None:
    """In a survey the bytes end with the handshake; what is wrong later is still found, and at its packet."""
    from io import BytesIO

    from wsdiag.intake.capture import open_capture
    from wsdiag.intake.survey import Survey

    seen: list[Connection] = []

    def judge(connection: Connection) -> ConnectionReport:
        seen.append(connection)
        return diagnose_connection(connection)

    reports: list[ConnectionReport] = []
    survey = Survey(frozenset({2346}), "t", judge, lambda sighting, report: reports.append(report))
    survey.read(open_capture(BytesIO(pcap(packets(BAD_FRAME))), "t"))
    (connection,) = seen
    assert connection.client.data == a_request(KEY)
    assert [each.opcode for each in connection.frames] == [11]
    origin = connection.client.origin_at(connection.frames[0].span.start)
    bad = next(i for i, each in enumerate(BAD_FRAME.segments, 1) if each.data[:1] == b"\x8b")
    assert origin is not None
    assert origin.packet == bad
    assert connection.tally is not None
    assert connection.tally.client_frames == 2
    assert told(reports[0]) == told(diagnose_connection(follow(BAD_FRAME)))


def test_a_fin_before_the_data_in_front_of_it() -> None:
    talk = Talk().open()
    talk.add(0, FIN | ACK, seq=1001 + len(a_request()))
    talk.add(0, ACK | PSH, a_request())
    found = follow(talk)
    assert (found.client.data, found.client.ending) == (a_request(), "fin")
