"""System calls as strace, ltrace, truss and dtruss print them: the text, `...` and the true length; which end the
program was is concluded in `join`.
"""

from wsdiag.intake.dump.escapes import unescape
from wsdiag.intake.dump.found import Dump, Text, cut_note, inline, places, rx
from wsdiag.model import Note

_CALL = (
    r"(?<!\w)(?:<\.\.\. )?(?P<call>recvfrom|recvmsg|recv|readv|read|sendto|sendmsg|send|writev|write|pread64|pwrite64"
    r"|SSL_read|SSL_write)(?: resumed>|(?:@GLIBC[\w.]*)?\((?P<descriptor>0x[0-9a-f]+|\d+)(?:<[^>]{0,200}>)?, )"
)
_STRING = r"\"(?P<body>[^\"\\]*+(?:\\.[^\"\\]*+)*+)\"(?P<more>\.\.\.)?"
# Characters of one call that are looked at: `strace -s 65536` of bytes as octal escapes, and no more.
LONGEST_CALL = 1 << 18
_INCOMING = ("recv", "read", "SSL_read", "pread")


def read_call(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first call from this column on that shows bytes; `indent` is the direction and the descriptor."""
    content = text[line]
    if '"' not in content:
        return None
    for match in places(_CALL, content, column):
        following = rx(_CALL).search(content, match.end(), match.end() + LONGEST_CALL)
        limit = following.start() if following else match.end() + LONGEST_CALL
        strings = list(places(_STRING, content, match.end(), limit))
        if not strings:
            continue
        result = rx(r"\)\s+= (-?\d+)").search(content, strings[-1].end(), limit)
        stop = result.end() if result else min(len(content), limit)
        if "msg_name" in content[match.end() : stop] or "iov_base" in content[match.end() : stop]:
            strings = [each for each in strings if content[: each.start()].endswith("iov_base=")]
        elif content[match.end() : strings[0].start()].strip(" [{"):
            continue
        else:
            strings = strings[:1]
        data = b"".join(unescape(each.group("body")).data for each in strings)
        size = int(result.group(1)) if result else None
        notes: list[Note] = []
        cut = any(each.group("more") for each in strings)
        missing = size - len(data) if size is not None and size > len(data) else None
        if size is not None and 0 <= size < len(data):
            data = data[:size]  # a buffer that the call filled only in part
        if cut or missing:
            cut = True
            notes.append(cut_note(missing))
        if not data:
            continue
        direction = "in" if match.group("call").startswith(_INCOMING) else "out"
        descriptor = match.group("descriptor") or ""
        found = inline(text, line, match.start(), stop, data, "strace", tuple(notes), cut=cut)
        return found._replace(indent=f"{direction} {descriptor}")
    return None
