"""TLS connections read with a key log: from the streams of records to the streams of what was said inside.

Records are opened in `records`; what the plaintext means is left to the ordinary readers.
"""

from wsdiag.intake.keylog import KeyLog
from wsdiag.intake.records import (
    ALERT,
    APPLICATION_DATA,
    CLIENT_HELLO,
    SERVER_HELLO,
    Decryptor,
    Record,
)
from wsdiag.model import CLIENT, SERVER, Connection, Mark, Note, Side, Stream, Tls

SEARCHED = 4096  # a PROXY header, or a CONNECT and its answer, may stand ahead of the first record
_HARMLESS_ALERTS = (0, 90)  # close_notify, user_canceled


def decrypt_connection(connection: Connection, keys: KeyLog) -> Connection | None:
    """The connection with what was said inside TLS; None when it is no TLS, or no line of the key log fits.

    The streams then hold the application data (after whatever stood ahead of TLS: a PROXY header, a CONNECT), their
    marks lead to the packets of the records, and `tls` says what was agreed on. Where an alert ended the handshake they
    hold the records with TLS 1.3's encryption taken off, so that its hidden alert is a plain one; where nothing was
    said inside they stay as they are.
    """
    starts = {side: _first_record(connection.stream(side), side) for side in (CLIENT, SERVER)}
    if starts[CLIENT] < 0 or starts[SERVER] < 0:
        return None
    decryptor = Decryptor(keys)
    records: dict[Side, list[Record]] = {CLIENT: [], SERVER: []}
    for side in (CLIENT, SERVER):
        stream = connection.stream(side)
        for record in decryptor.feed(side, memoryview(stream.data)[starts[side] : _unbroken(stream)]):
            records[record.side].append(record)
    if not decryptor.fits:
        return None
    failed = _handshake_failed(records)
    tls = Tls(decryptor.version, decryptor.suite, decryptor.server_name, decryptor.alpn)
    told = {"version": version_name(tls.version), "alpn": tls.alpn, "sni": tls.server_name}
    notes = [Note("tls-decrypted", {name: value for name, value in told.items() if value})]
    notes += [Note("tls-decryption-stopped", {"side": side}) for side in (CLIENT, SERVER) if decryptor.lost(side)]
    if not failed and not any(_speaks(records[side]) for side in (CLIENT, SERVER)):
        return connection._replace(tls=tls, notes=(*connection.notes, *notes))
    streams: dict[Side, Stream] = {}
    for side in (CLIENT, SERVER):
        stream = connection.stream(side)
        wanted = records[side] if failed else [each for each in records[side] if each.kind == APPLICATION_DATA]
        streams[side] = _plain_stream(stream, starts[side], wanted, records[side], clear=failed)
    return connection._replace(
        client=streams[CLIENT], server=streams[SERVER], tls=tls, notes=(*connection.notes, *notes)
    )


def version_name(version: int) -> str:
    """ "TLS 1.3" for 0x0304."""
    return {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}.get(
        version, f"0x{version:04x}"
    )


def _handshake_failed(records: dict[Side, list[Record]]) -> bool:
    """True when an alert came and the client said nothing inside TLS (a server may speak ahead of the last flight)."""
    return not _speaks(records[CLIENT]) and any(
        each.kind == ALERT and len(each.data) == 2 and each.data[1] not in _HARMLESS_ALERTS
        for each in (*records[CLIENT], *records[SERVER])
    )


def _speaks(records: list[Record]) -> bool:
    return any(each.kind == APPLICATION_DATA and each.data for each in records)


def _plain_stream(stream: Stream, start: int, wanted: list[Record], read: list[Record], *, clear: bool) -> Stream:
    """Join the plaintext of records (as clear records, with their five-byte heads, if `clear`)."""
    data = bytearray(stream.data[:start])
    marks = [mark for mark in stream.marks if mark.offset < start]
    later = [mark for mark in stream.marks if mark.offset >= start]
    origin = stream.origin_at(start)
    index = 0
    for record in wanted:
        while index < len(later) and later[index].offset <= start + record.start:
            origin = later[index].origin
            index += 1
        if origin is not None and (not marks or marks[-1].origin != origin):
            marks.append(Mark(len(data), origin))
        head = b"" if not clear else bytes([record.kind, 3, 3]) + len(record.data).to_bytes(2, "big")
        data += head
        while index < len(later) and later[index].offset < start + record.stop:
            origin = later[index].origin
            inside = min(max(later[index].offset - start - record.body, 0), len(record.data))
            if inside < len(record.data):
                marks.append(Mark(len(data) + inside, origin))
            index += 1
        data += record.data
    end = start + (read[-1].stop if read else 0)
    whole = end == len(stream.data) and not stream.gaps
    ending = stream.ending if whole else "cut"
    missing = 0 if whole else max(stream.total, len(stream.data)) - end
    return stream._replace(
        data=bytes(data), marks=tuple(marks), gaps=(), ending=ending, total=len(data) + max(missing, 0)
    )


def _first_record(stream: Stream, side: Side) -> int:
    """Where the ClientHello or the server's answer to it begins; -1 when there is none."""
    if not stream.from_start:
        return -1
    data, message = stream.data, CLIENT_HELLO if side == CLIENT else SERVER_HELLO
    at = data.find(b"\x16\x03", 0, SEARCHED)
    while at >= 0:
        if at + 6 <= len(data) and data[at + 2] <= 4 and data[at + 5] == message:
            return at
        at = data.find(b"\x16\x03", at + 1, SEARCHED)
    return -1


def _unbroken(stream: Stream) -> int:
    """How many bytes there are ahead of the first gap."""
    return stream.gaps[0].offset if stream.gaps else len(stream.data)
