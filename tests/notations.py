"""Writers of the notations that people paste bytes in: the other half of the round trip with `wsdiag.intake.dump`.

Each is a function from bytes to text that prints what the named tool prints (checked against the tools' own output in
`test_dump_tools`). Notations that cannot show every byte are listed in LOSSY and are not part of the round trip.
"""

import base64
import gzip
import json
import urllib.parse
from collections.abc import Callable

Writer = Callable[[bytes], str]


def rows(data: bytes, width: int) -> list[tuple[int, bytes]]:
    return [(at, data[at : at + width]) for at in range(0, len(data), width)]


def shown(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def xxd(data: bytes, group: int = 2, upper: bool = False) -> str:
    lines = []
    for at, row in rows(data, 16):
        digits = row.hex().upper() if upper else row.hex()
        groups = " ".join(digits[i : i + 2 * group] for i in range(0, len(digits), 2 * group))
        wide = 32 + (16 + group - 1) // group
        lines.append(f"{at:08x}: {groups:<{wide}} {shown(row)}")
    return "\n".join(lines)


def xxd_e(data: bytes) -> str:
    lines = []
    for at, row in rows(data, 16):
        words = [row[i : i + 4][::-1].hex().rjust(8) for i in range(0, len(row), 4)]
        lines.append(f"{at:08x}: {' '.join(words):<36} {shown(row)}")
    return "\n".join(lines)


def xxd_b(data: bytes) -> str:
    return "\n".join(f"{at:08x}: {' '.join(f'{b:08b}' for b in row):<54} {shown(row)}" for at, row in rows(data, 6))


def hexdump_c(data: bytes) -> str:
    lines = []
    for at, row in _squeezed(data):
        if row is None:
            lines.append("*")
            continue
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        lines.append(f"{at:08x}  {left:<23}  {right:<23}  |{shown(row)}|")
    return "\n".join([*lines, f"{len(data):08x}"])


def _squeezed(data: bytes) -> list[tuple[int, bytes | None]]:
    """Rows of 16 with repeated ones as one None, as hexdump and od print them."""
    out: list[tuple[int, bytes | None]] = []
    before = None
    for at, row in rows(data, 16):
        if row == before and len(row) == 16:
            if out[-1][1] is not None:
                out.append((at, None))
            continue
        out.append((at, row))
        before = row
    return out


def _od(data: bytes, cell: Callable[[bytes], str], size: int, label: str = "o", gutter: bool = False) -> str:
    lines = []
    for at, row in _squeezed(data):
        if row is None:
            lines.append("*")
            continue
        cells = "".join(cell(row[i : i + size].ljust(size, b"\0")) for i in range(0, len(row), size))
        tail = f"{'':{3 * (16 - len(row))}}  >{shown(row)}<" if gutter else ""
        lines.append(f"{at:0{6 if label == 'x' else 7}{label}}{cells}{tail}")
    return "\n".join([*lines, f"{len(data):0{6 if label == 'x' else 7}{label}}"])


def hexdump_words(data: bytes) -> str:
    lines = []
    for at, row in _squeezed(data):
        if row is None:
            lines.append("*")
            continue
        words = [row[i : i + 2].ljust(2, b"\0")[::-1].hex() for i in range(0, len(row), 2)]
        lines.append(f"{at:07x} {' '.join(words):<39}")
    return "\n".join([*lines, f"{len(data):07x}"])


def hexdump_b(data: bytes) -> str:
    lines = ["*" if row is None else f"{at:07x} {' '.join(f'{b:03o}' for b in row):<63}" for at, row in _squeezed(data)]
    return "\n".join([*lines, f"{len(data):07x}"])


_OD_C = {0: "\\0", 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}


def _character(byte: int) -> str:
    return _OD_C.get(byte) or (chr(byte) if 32 <= byte < 127 else f"{byte:03o}")


def hexdump_characters(data: bytes) -> str:
    lines = [
        "*" if row is None else f"{at:07x} {''.join(f'{_character(b):>3} ' for b in row):<64}".rstrip(" ")
        for at, row in _squeezed(data)
    ]
    return "\n".join([*lines, f"{len(data):07x}"])


def tcpdump(data: bytes, gutter: bool = True) -> str:
    packet = ip_packet(data)
    lines = ["12:38:38.730074 IP 127.0.0.1.50312 > 127.0.0.1.2346: Flags [P.], seq 1:65, ack 1, win 8192, length 64"]
    for at, row in rows(packet, 16):
        words = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        side = f"{words:<39}  {shown(row).replace(' ', '.')}" if gutter else words
        lines.append(f"\t0x{at:04x}:  {side}")
    return "\n".join(lines)


def tshark_x(data: bytes) -> str:
    packet = bytes(12) + b"\x08\x00" + ip_packet(data)
    return "\n".join(f"{at:04x}  {row.hex(' '):<47}   {shown(row)}" for at, row in rows(packet, 16))


def ip_packet(payload: bytes, seq: int = 101, reverse: bool = False) -> bytes:
    """An IPv4 and TCP header with right checksum and lengths in front of the payload."""
    ports = (2346, 50312) if reverse else (50312, 2346)
    tcp = b"".join(port.to_bytes(2, "big") for port in ports) + seq.to_bytes(4, "big") + (501).to_bytes(4, "big")
    tcp += b"\x50\x18\x20\x00\x00\x00\x00\x00"
    head = bytearray(b"\x45\x00" + (40 + len(payload)).to_bytes(2, "big") + b"\x00\x01\x00\x00\x40\x06\x00\x00")
    head += b"\x7f\x00\x00\x01\x7f\x00\x00\x01"
    total = sum(int.from_bytes(head[i : i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (0xFFFF - (total & 0xFFFF) - (total >> 16)).to_bytes(2, "big")
    return bytes(head) + tcp + payload


def follow_hex(data: bytes, indent: str = "") -> str:
    lines = []
    for at, row in rows(data, 16):
        gutter = shown(row[:8]) + (" " + shown(row[8:]) if len(row) > 8 else "")
        lines.append(f"{indent}{at:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {gutter}")
    return "\n".join(lines)


def windbg(data: bytes) -> str:
    lines = []
    for at, row in rows(data, 16):
        digits = row[:8].hex(" ") + ("-" + row[8:].hex(" ") if len(row) > 8 else "")
        address = 0x1A200003000 + at
        lines.append(f"{address >> 32:08x}`{address & 0xFFFFFFFF:08x}  {digits:<47}  {shown(row)}")
    return "\n".join(lines)


def gdb(data: bytes) -> str:
    return "\n".join(
        f"0x{0x7FFFFFFFE500 + at:x}{'' if not at else f' <buf+{at}>'}:\t" + "\t".join(f"0x{byte:02x}" for byte in row)
        for at, row in rows(data, 8)
    )


def lldb(data: bytes) -> str:
    return "\n".join(f"0x{0x16FDFF000 + at:x}: {row.hex(' '):<47}  {shown(row)}" for at, row in rows(data, 16))


def certutil(data: bytes) -> str:
    return "\n".join(
        f"    {at:04x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}   {shown(row)}" for at, row in rows(data, 16)
    )


def format_hex(data: bytes) -> str:
    head = "\n\n           Path: C:\\Temp\\get.bin\n\n           " + " ".join(f"{n:02X}" for n in range(16)) + "\n"
    return head + "\n" + "\n".join(f"{at:08X}   {row.hex(' ').upper():<47}  {shown(row)}" for at, row in rows(data, 16))


def format_hex_7(data: bytes) -> str:
    head = (
        "\n   Label: Byte[] (System.Byte[]) <3A5B4E2C>\n\n"
        "          Offset Bytes                                           Ascii\n"
        "                 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n"
        "          ------ ----------------------------------------------- -----\n"
    )
    return head + "\n".join(f"{at:016X} {row.hex(' ').upper():<47} {shown(row)}" for at, row in rows(data, 16))


def netty(data: bytes) -> str:
    bar = "+--------+-------------------------------------------------+----------------+"
    lines = [
        "         +-------------------------------------------------+",
        "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |",
        bar,
    ]
    lines += [f"|{at:08x}| {row.hex(' '):<47} |{shown(row):<16}|" for at, row in rows(data, 16)]
    return "\n".join([*lines, bar])


def openssl(data: bytes) -> str:
    lines = []
    for at, row in rows(data, 16):
        digits = row[:8].hex(" ") + ("-" + row[8:].hex(" ") if len(row) > 8 else "")
        lines.append(f"{at:04x} - {digits:<47}   {shown(row)}")
    return "\n".join(lines)


def node_buffer(data: bytes) -> str:
    more = f" ... {len(data) - 50} more bytes" if len(data) > 50 else ""
    return f"<Buffer {data[:50].hex(' ')}{more}>"


def uint8array(data: bytes) -> str:
    more = f",\n  ... {len(data) - 100} more items" if len(data) > 100 else ""
    items = ",\n  ".join(", ".join(f"{byte:3}" for byte in row) for _, row in rows(data[:100], 12))
    return f"Uint8Array({len(data)}) [\n  {items}{more}\n]"


def c_array(data: bytes) -> str:
    items = ",\n  ".join(", ".join(f"0x{byte:02x}" for byte in row) for _, row in rows(data, 12))
    return f"unsigned char get_bin[] = {{\n  {items}\n}};\nunsigned int get_bin_len = {len(data)};"


def go_quoted(data: bytes) -> str:
    simple = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    out = [simple.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in data]
    return f'"{"".join(out)}"'


def ruby_inspect(data: bytes) -> str:
    simple = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\e"}
    simple |= {34: '\\"', 92: "\\\\"}
    out = []
    for at, b in enumerate(data):
        after = data[at + 1 : at + 2]
        if b == 35 and after in (b"{", b"$", b"@"):
            out.append("\\#")
        else:
            out.append(simple.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02X}"))
    return f'"{"".join(out)}"'


def js_inspect(data: bytes) -> str:
    simple = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 39: "\\'", 92: "\\\\", 11: "\\v"}
    out = [simple.get(b) or (f"\\x{b:02X}" if b < 32 or 127 <= b < 160 else chr(b)) for b in data]
    return f"[ '{''.join(out)}' ]"


def rust_escape(data: bytes) -> str:
    simple = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(simple.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in data)


def php_octal(data: bytes) -> str:
    simple = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\"}
    return "".join(simple.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in data)


def json_latin(data: bytes) -> str:
    return json.dumps(data.decode("latin-1")).replace("/", "\\/")


def nginx(data: bytes) -> str:
    out = "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\x{b:02X}" for b in data)
    return f'127.0.0.1 - - [22/Nov/2026:12:00:00 +0000] "{out}" 400 157 "-" "-"'


def strace(data: bytes) -> str:
    return f"[pid  1234] recvfrom(5, {go_strace(data)}, 8192, 0, NULL, NULL) = {len(data)}"


def go_strace(data: bytes) -> str:
    simple = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    out = []
    for at, b in enumerate(data):
        digit = data[at + 1 : at + 2].isdigit()
        out.append(simple.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}" if digit else f"\\{b:o}"))
    return f'"{"".join(out)}"'


def print_r(data: bytes) -> str:
    return "Array\n(\n" + "\n".join(f"    [{n}] => {b}" for n, b in enumerate(data, 1)) + "\n)"


def var_dump(data: bytes) -> str:
    return f"array({len(data)}) {{\n" + "\n".join(f"  [{n}]=>\n  int({b})" for n, b in enumerate(data, 1)) + "\n}"


def erlang(data: bytes) -> str:
    return "<<" + ",".join(map(str, data)) + ">>"


def cat_v(data: bytes) -> str:
    out = []
    for b in data:
        high, low = ("M-", b & 127) if b > 127 else ("", b)
        out.append(high + (f"^{chr(low ^ 64)}" if low < 32 or low == 127 else chr(low)))
    return "".join(out)


def quoted_printable(data: bytes) -> str:
    text = "".join(chr(b) if 32 <= b < 127 and b != 61 else f"={b:02X}" for b in data)
    pieces, line = [], ""
    at = 0
    while at < len(text):
        token = text[at : at + 3] if text[at] == "=" else text[at]
        if len(line) + len(token) > 75:
            pieces.append(line + "=")
            line = ""
        line += token
        at += len(token)
    if line.endswith(" "):
        line = line[:-1] + "=20"
    return "\n".join([*pieces, line])


def signed(data: bytes) -> str:
    return str([byte - 256 if byte > 127 else byte for byte in data])


WRITERS: dict[str, Writer] = {
    "hex": lambda data: data.hex(),
    "hex-upper": lambda data: data.hex().upper(),
    "hex-spaced": lambda data: data.hex(" "),
    "hex-colons": lambda data: data.hex(":").upper(),
    "hex-dashes": lambda data: data.hex("-").upper(),
    "hex-dots": lambda data: data.hex("."),
    "hex-wrapped": lambda data: _wrapped(data.hex(), 60),
    "hex-0x": lambda data: "0x" + data.hex(),
    "hex-0x-each": lambda data: " ".join(f"0x{b:02x}" for b in data),
    "hex-0x-commas": lambda data: ", ".join(f"0x{b:02x}" for b in data),
    "hex-0x-quoted": lambda data: str([f"0x{b:02x}" for b in data]),
    "hex-0x-glued": lambda data: "[" + "".join(f"0x{b:02x}" for b in data) + "]",
    "hex-escapes": lambda data: "".join(f"\\x{b:02x}" for b in data),
    "hex-escapes-twice": lambda data: '{"msg":"' + "".join(f"\\\\x{b:02x}" for b in data) + '"}',
    "xxd": xxd,
    "xxd-u-g1": lambda data: xxd(data, 1, upper=True),
    "xxd-e": xxd_e,
    "xxd-b": xxd_b,
    "xxd-i": c_array,
    "hexdump-C": hexdump_c,
    "hexdump": hexdump_words,
    "hexdump-b": hexdump_b,
    "hexdump-c": hexdump_characters,
    "od": lambda data: _od(data, lambda cell: f" {int.from_bytes(cell, 'little'):06o}", 2),
    "od-x": lambda data: _od(data, lambda cell: f" {cell[::-1].hex()}", 2),
    "od-t-x1": lambda data: _od(data, lambda cell: f" {cell.hex()}", 1),
    "od-A-x-t-x1z": lambda data: _od(data, lambda cell: f" {cell.hex()}", 1, "x", gutter=True),
    "od-b": lambda data: _od(data, lambda cell: f" {cell[0]:03o}", 1),
    "od-c": lambda data: _od(data, lambda cell: f"{_character(cell[0]):>4}", 1),
    "od-t-u1": lambda data: _od(data, lambda cell: f"{cell[0]:>4}", 1),
    "od-t-d1": lambda data: _od(data, lambda cell: f"{int.from_bytes(cell, signed=True):>5}", 1),
    "tcpdump-X": tcpdump,
    "tcpdump-x": lambda data: tcpdump(data, gutter=False),
    "tshark-x": tshark_x,
    "follow-hex": follow_hex,
    "follow-hex-peer": lambda data: follow_hex(data, "\t"),
    "windbg": windbg,
    "gdb": gdb,
    "lldb": lldb,
    "certutil": certutil,
    "format-hex": format_hex,
    "format-hex-7": format_hex_7,
    "netty": netty,
    "openssl": openssl,
    "node-buffer": node_buffer,
    "node-uint8array": uint8array,
    "node-arraybuffer": lambda data: (
        f"ArrayBuffer {{\n  [Uint8Contents]: <{data.hex(' ')}>,\n  byteLength: {len(data)}\n}}"
    ),
    "node-buffer-json": lambda data: json.dumps({"type": "Buffer", "data": list(data)}, separators=(",", ":")),
    "node-indexed-json": lambda data: json.dumps({str(n): b for n, b in enumerate(data)}, separators=(",", ":")),
    "python-bytes": repr,
    "python-bytearray": lambda data: repr(bytearray(data)),
    "python-list": lambda data: str(list(data)),
    "python-array": lambda data: f"array('B', {list(data)})",
    "go-v": lambda data: "[" + " ".join(map(str, data)) + "]",
    "go-sharp-v": lambda data: "[]byte{" + ", ".join(f"0x{b:x}" for b in data) + "}",
    "go-q": go_quoted,
    "ruby-inspect": ruby_inspect,
    "js-inspect": js_inspect,
    "rust-escape-ascii": rust_escape,
    "rust-02x": lambda data: "[" + ", ".join(f"{b:02x}" for b in data) + "]",
    "java-signed": signed,
    "erlang": erlang,
    "php-octal": php_octal,
    "php-chunk-split": lambda data: data.hex(" ") + " ",
    "php-print-r": print_r,
    "php-var-dump": var_dump,
    "json-latin": json_latin,
    "nginx-log": nginx,
    "strace": strace,
    "cat-A": lambda data: "$\n".join(cat_v(line) for line in data.split(b"\n")),
    "base64": lambda data: base64.b64encode(data).decode(),
    "base64-url": lambda data: base64.urlsafe_b64encode(data).decode(),
    "base64-mime": lambda data: base64.encodebytes(data).decode(),
    "data-uri": lambda data: "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
    "base32": lambda data: base64.b32encode(data).decode(),
    "url-encoded": lambda data: urllib.parse.quote(data, safe=""),
    "quoted-printable": quoted_printable,
    "gzip-base64": lambda data: base64.b64encode(gzip.compress(data, mtime=0)).decode(),
    "workerman": lambda data: f"recv data before handshake. Buffer:{data.hex()}\nError package. package_length=false",
    "workerman-glued": lambda data: (
        f"Error package. package_length=falserecv data before handshake. Buffer:{data.hex()}Error package. "
        "package_length=false"
    ),
    "workerman-dated": lambda data: f"2026-11-22 12:00:00 pid:123 recv data before handshake. Buffer:{data.hex()}",
}
