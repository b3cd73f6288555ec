"""Forms that name bytes without showing them: the default texts of objects in Java, Python, Node, Go and C#; which line
prints the bytes instead is left to the words.
"""

from wsdiag.intake.dump.found import Dump, Text, inline, rx
from wsdiag.model import Note

_FORMS = (
    (r"\[B@[0-9a-f]{5,8}\b", "java-array"),
    (r"java\.nio\.(?:Heap|Direct)ByteBufferR?\[pos=\d+ lim=\d+ cap=\d+\]", "java-bytebuffer"),
    (
        r"\b(?:Pooled|Unpooled|SimpleLeakAware)\w{0,24}ByteBuf\([^()]{0,80}\)",
        "netty-bytebuf",
    ),
    (r"<memory at 0x[0-9a-fA-F]+>", "python-memoryview"),
    (r"<(?:_io\.BytesIO|bytearray_iterator|bytes_iterator) object at 0x[0-9a-fA-F]+>", "python-object"),
    (r"\[object (?:ArrayBuffer|Blob|Uint8Array|MessageEvent)\]", "javascript-object"),
    (r"(?<!buffer: )\bArrayBuffer\(\d+\)(?! ?[\[{])", "javascript-object"),
    (r"Uint8Array\(\d+\)(?! ?[\[{])", "javascript-object"),
    (r"\[\](?:uint8|byte) len: \d++, cap: \d++(?!, ?\[)", "go-slice"),
    (r"(?<!\()\bSystem\.Byte\[\]", "dotnet-array"),
    (r"\bBlob \{ ?size: \d+, type: '[^']*' ?\}", "javascript-object"),
)


def read_no_data(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first such form from this column on, as a dump without data."""
    content = text[line]
    best: Dump | None = None
    for pattern, form in _FORMS:
        match = rx(pattern).search(content, column)
        if match and (best is None or match.start() < best.start):
            note = Note("dump-no-data", {"form": form, "text": match.group()})
            best = inline(text, line, match.start(), match.end(), b"", "no-data", (note,))
    return best
