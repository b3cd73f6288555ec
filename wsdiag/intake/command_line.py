"""The request that a quoted `curl` command made: its address and headers stand in the command line. What the server
answered is read by `transcript`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wsdiag.model import LogLine, Mark

if TYPE_CHECKING:
    from wsdiag.intake.transcript import Part

# The command stands at most this many lines in front of the answer (progress meter and certificate remarks between).
WITHIN = 12
# A command that is continued over more lines than this is no command.
MOST_LINES = 30

# Options with a value, of those that people use for such a test; curl's manual page.
_WITH_VALUE = frozenset(
    {
        "-H", "--header", "-X", "--request", "-d", "--data", "--data-raw", "--data-binary", "--data-urlencode", "-u",
        "--user", "-A", "--user-agent", "-o", "--output", "-e", "--referer", "-b", "--cookie", "-m", "--max-time",
        "--connect-timeout", "--resolve", "--connect-to", "-x", "--proxy", "--cacert", "--cert", "--key", "--url", "-w",
        "--write-out", "-c", "--cookie-jar", "-T", "--upload-file", "--retry", "-F", "--form", "--tls-max", "--ciphers",
    }
)  # fmt: skip
_DATA = frozenset({"-d", "--data", "--data-raw", "--data-binary", "--data-urlencode", "-F", "--form"})
# Then it is not HTTP/1 that was spoken, or not curl's own address that was called.
_NO_REQUEST = frozenset({"--http2-prior-knowledge", "--http3", "--http3-only", "-x", "--proxy", "-F", "--form"})


def request_before(lines: Sequence[LogLine], index: int) -> "Part | None":
    """The request of the curl command whose output begins at that line; None when there is no such command."""
    from wsdiag.intake.transcript import Part

    for first in range(index - 1, max(-1, index - 1 - WITHIN), -1):
        text = lines[first].text
        match = re.match(r"^\s*(?:[\w.@:~/\\-]*[$#%>]\s+)?(?:sudo |time )?curl(?:\.exe)? (.*)$", text)
        if match is None:
            if text.startswith("HTTP/") or re.match(r"^\S*[$#] ", text):
                return None  # another answer, another command
            continue
        command = match[1]
        last = first
        while command.rstrip().endswith(("\\", "^", "`")) and last + 1 < index and last - first < MOST_LINES:
            last += 1
            command = command.rstrip()[:-1] + " " + lines[last].text
        data = request_of(command)
        if data is None:
            return None
        marks = (Mark(0, lines[first].origin),)
        return Part(True, data, marks, True, "open", first, last, notes=("request-from-command",))
    return None


def request_of(command: str) -> bytes | None:
    """The bytes that `curl` sends for these arguments over HTTP/1.1; None when that cannot be told."""
    import shlex

    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is not closed: the paste was cut
        return None
    method, url, body = "", "", ""
    headers: list[tuple[str, str]] = []
    has_body = False
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word in ("|", "|&", ">", ">>", "2>&1", "&&", ";"):
            break
        value = ""
        if word in _WITH_VALUE:
            if position >= len(words):
                return None
            value = words[position]
            position += 1
        elif len(word) > 2 and word[:2] in _WITH_VALUE and word[1] != "-":
            word, value = word[:2], word[2:]
        elif word.startswith("--") and "=" in word and word.split("=", 1)[0] in _WITH_VALUE:
            word, value = word.split("=", 1)
        if word in _NO_REQUEST:
            return None
        if word in ("-H", "--header"):
            name, _, content = value.partition(":")
            headers.append((name.strip(), content.strip()))
        elif word in ("-X", "--request"):
            method = value
        elif word in _DATA:
            body, has_body = (f"{body}&{value}" if has_body else value), True
        elif word in ("-I", "--head"):
            method = method or "HEAD"
        elif word in ("-u", "--user"):
            headers.append(("Authorization", "Basic …"))
        elif word in ("-A", "--user-agent"):
            headers.append(("User-Agent", value))
        elif word == "--url" or not word.startswith("-"):
            url = value or word
    return _request(method, url, headers, body if has_body else None)


def _request(method: str, url: str, headers: list[tuple[str, str]], body: str | None) -> bytes | None:
    """The request as curl writes it: its own headers unless they are given, then the given ones."""
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # curl makes a handshake of its own for ws:// (8.11 and later), whose key nobody knows.
    if not parts.netloc or parts.scheme.lower() not in ("http", "https"):
        return None
    given = {name.lower() for name, _ in headers}
    own = [("Host", parts.netloc.rpartition("@")[2]), ("User-Agent", "curl"), ("Accept", "*/*")]
    fields = [(name, value) for name, value in own if name.lower() not in given]
    fields += [(name, value) for name, value in headers if value]
    if body is not None:
        fields += [("Content-Length", str(len(body.encode())))] if "content-length" not in given else []
        if "content-type" not in given:
            fields.append(("Content-Type", "application/x-www-form-urlencoded"))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    method = method or ("POST" if body is not None else "GET")
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return (head + (body or "")).encode("utf-8", "replace")
