"""Forms that name bytes without showing them: the default texts of objects in Java, Python, Node, Go and C#; which line
prints the bytes instead is left to the words.
"""

from wsdiag.intake.dump.found import Dump, Text, inline, rx
from wsdiag.model import Note

# What every match of the pattern holds, the pattern, and the form's name.
_FORMS = (
    ("[B@", r"\[B@[0-9a-f]{5,8}\b", "java-array"),
    ("java.nio.", r"java\.nio\.(?:Heap|Direct)ByteBufferR?\[pos=\d+ lim=\d+ cap=\d+\]", "java-bytebuffer"),
    (
        "ByteBuf(",
        r"\b(?:Pooled|Unpooled|SimpleLeakAware)\w{0,24}ByteBuf\([^()]{0,80}\)",
        "netty-bytebuf",
    ),
    ("<memory at", r"<memory at 0x[0-9a-fA-F]+>", "python-memoryview"),
    (
        " object at 0x",
        r"<(?:_io\.BytesIO|bytearray_iterator|bytes_iterator) object at 0x[0-9a-fA-F]+>",
        "python-object",
    ),
    ("[object ", r"\[object (?:ArrayBuffer|Blob|Uint8Array|MessageEvent)\]", "javascript-object"),
    ("ArrayBuffer(", r"(?<!buffer: )\bArrayBuffer\(\d+\)(?! ?[\[{])", "javascript-object"),
    ("Uint8Array(", r"Uint8Array\(\d+\)(?! ?[\[{])", "javascript-object"),
    (" len: ", r"\[\](?:uint8|byte) len: \d++, cap: \d++(?!, ?\[)", "go-slice"),
    ("System.Byte[]", r"(?<!\()\bSystem\.Byte\[\]", "dotnet-array"),
    ("Blob {", r"\bBlob \{ ?size: \d+, type: '[^']*' ?\}", "javascript-object"),
)


def read_no_data(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first such form from this column on, as a dump without data."""
    content = text[line]
    best: Dump | None = None
    for sign, pattern, form in _FORMS:
        match = rx(pattern).search(content, column) if sign in content else None
        if match and (best is None or match.start() < best.start):
            note = Note("dump-no-data", {"form": form, "text": match.group()})
            best = inline(text, line, match.start(), match.end(), b"", "no-data", (note,))
    return best
