"""Shows a fix as a unified diff in the user's own framework, with the address and the names that the evidence gave.

The lines are in `wsdiag/words/fixes.toml`; which sentences go with them is left to `words`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from wsdiag.model import Finding, Values
from wsdiag.pattern import pattern
from wsdiag.render.clean import clean
from wsdiag.render.words import is_other_side, read_tables, shades

_FILE = Path(__file__).parent.parent / "words" / "fixes.toml"
_VALUE = pattern(r"\{([a-z]+)\}")
# What was captured may be hostile and ends up in lines that people copy into programs: a value that holds a quote, a
# backslash, a blank or a control character is not taken over. An example stands in its place.
_SHAPES = {
    "address": pattern(r"[A-Za-z][\w+.-]{0,30}://(?:[\w.-]{1,253}|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?/?", re.ASCII),
    "host": pattern(r"[\w.-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?", re.ASCII),
    "port": pattern(r"\d{1,5}", re.ASCII),
    "scheme": pattern(r"[A-Za-z][\w+.-]{0,30}", re.ASCII),
    "path": pattern(r"/[\w./~%-]{0,200}", re.ASCII),
    "url": pattern(r"[\w:/.?=&%~+,@!*()\[\]-]{1,300}", re.ASCII),
    "origin": pattern(r"[a-z]{2,20}://[\w.\[\]:-]{1,253}|null", re.ASCII),
    "subprotocol": pattern(r"[\w.+-]{1,60}(?:, ?[\w.+-]{1,60})*", re.ASCII),
    "upstream": pattern(r"(?:https?://)?[\w.\[\]:/-]{1,253}", re.ASCII),
}
_EXAMPLES = {
    "address": "",
    "websocket": "",
    "authority": "",
    "backend": "",
    "url": "websocket://example.com/ws",
    "wsurl": "ws://example.com/ws",
    "plainurl": "ws://example.com/ws",
    "wssurl": "wss://example.com/ws",
    "location": "/ws",
    "port": "2346",
    "path": "/",
    "urlpath": "/",
    "origin": "https://example.com",
    "originhost": "example.com",
    "subprotocol": "chat",
    "upstream": "127.0.0.1:2346",
}
# Values that are as good as any: nobody is misled by a root path.
_PLAIN = frozenset({"path"})
# What a scheme of another protocol becomes in a WebSocket URL; anything else that is not TLS becomes ws.
_TLS_SCHEMES = frozenset({"wss", "https", "ssl", "tls"})
# A Server header or a program's name, as the tables call it.
_ALIASES = {
    "httpd": "apache",
    "node": "node-ws",
    "ws": "node-ws",
    "starlette": "uvicorn",
    "fastapi": "uvicorn",
    "websockets": "python-websockets",
    "socket.io": "socketio",
    "mqtt": "mosquitto",
}
# Causes whose general table is one program's: an example unless the evidence names that program.
_GENERAL_TABLES = {"proxy-stripped-upgrade": "nginx", "proxy-protocol-header": "haproxy"}
_DEFAULT_FRAMEWORK = {"listener-ws-scheme": "workerman"}


def diff(finding: Finding) -> str | None:
    """A unified diff that corrects the fault, or None when no honest one exists.

    The header says "example" behind the file's name when a value, or the framework, is not from the evidence.
    """
    chosen = _choose(finding)
    if chosen is None:
        return None
    table, own = chosen
    known = _known(finding.values)
    if any(name not in known for name in table.get("needs", "").split()):
        return None
    wanted = set(_VALUE.findall(table["hunk"])) & _EXAMPLES.keys()
    example = not own or not wanted or any(name not in known and name not in _PLAIN for name in wanted)
    lines = _filled(table["hunk"], {**_examples(known), **known})
    if not _changes(lines):
        return None
    return _unified(table["file"], [_clean(line) for line in lines], example)


def examples(name: str) -> Iterator[tuple[str, str]]:
    """Every fix of that cause as (framework or shade, diff), for its page; the values are examples."""
    for table_name, table in _tables().items():
        cause, _, shade = table_name.partition(".")
        if cause == name:
            lines = _filled(table["hunk"], _examples({"scheme": table.get("scheme", "ws")}))
            if _changes(lines):
                yield shade, _unified(table["file"], lines, True)


def _choose(finding: Finding) -> tuple[Mapping[str, str], bool] | None:
    """The most special table for the finding, and whether it is the finding's own framework's or variant's."""
    tables = _tables()
    for name, own in _names(finding):
        if name in tables:
            return tables[name], own
    return None


def _names(finding: Finding) -> Iterator[tuple[str, bool]]:
    frameworks = [each for each in _frameworks(finding.values) if not is_other_side(finding, each)]
    if not frameworks and finding.name in _DEFAULT_FRAMEWORK:
        frameworks = [_DEFAULT_FRAMEWORK[finding.name]]
    finer = shades(finding)
    for shade in finer:
        for framework in frameworks:
            yield f"{finding.name}.{shade}.{framework}", True
    for shade in (*finer, *frameworks):
        yield f"{finding.name}.{shade}", True
    yield finding.name, _GENERAL_TABLES.get(finding.name, "") in ("", *frameworks)


def _frameworks(values: Values) -> Iterator[str]:
    for name in ("framework", "server", "program"):
        text = str(values.get(name, "")).lower()
        word = re.split(r"[/ (]", text, maxsplit=1)[0]
        if word:
            yield _ALIASES.get(word, word)


def _known(values: Values) -> dict[str, str]:
    """The values that may stand in a line of code, with those that can be derived from them."""
    known = {}
    for name, shape in _SHAPES.items():
        text = str(values.get(name, ""))
        if text and shape.fullmatch(text):
            known[name] = text
    host, port = known.get("host", ""), known.get("port", "")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if "address" in known:
        known["address"] = known["address"].rstrip("/")
    elif "scheme" in known and host and port and "class" in values:
        known["address"] = f"{known['scheme']}://{host}:{port}"  # a row of Workerman's start table
    if "address" in known:
        known["websocket"] = "websocket://" + known["address"].split("://", 1)[1]
    if host and port:
        known["authority"] = f"{host}:{port}"
    if "upstream" in known:
        known["upstream"] = known["upstream"].split("://", 1)[-1].rstrip("/")
        known["backend"] = known["upstream"].split("/", 1)[0]
    if "url" in known:
        _derive_urls(known)
    if "origin" in known:
        known["originhost"] = known["origin"].split("://", 1)[-1].split(":", 1)[0]
    if "subprotocol" in known:
        known["subprotocol"] = known["subprotocol"].split(",", 1)[0]
    if "path" in known:
        known["location"] = known["path"]
    return known


def _examples(known: Mapping[str, str]) -> dict[str, str]:
    """What stands for unknown values; a known port or scheme is kept where the address around it is not known."""
    port = known.get("port", "2346")
    return {
        **_EXAMPLES,
        "address": f"{known.get('scheme', 'ws').lower()}://0.0.0.0:{port}",
        "websocket": f"websocket://0.0.0.0:{port}",
        "authority": f"127.0.0.1:{port}",
        "backend": f"127.0.0.1:{port}",
    }


def _derive_urls(known: dict[str, str]) -> None:
    """From a URL in whatever scheme: what a client should call, and the same without and with TLS."""
    schemes, rest = [], known["url"]
    while match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,2}", rest):
        schemes.append(match[1].lower())
        rest = rest[match.end() :]
    if not rest:
        return
    known["plainurl"], known["wssurl"] = f"ws://{rest}", f"wss://{rest}"
    known["wsurl"] = known["wssurl" if any(scheme in _TLS_SCHEMES for scheme in schemes) else "plainurl"]
    known["urlpath"] = "/" + rest.partition("/")[2].partition("?")[0]


def _unified(file: str, lines: list[str], example: bool) -> str:
    """The lines as a diff of one hunk. Its line numbers are made up; `patch` finds the place by the lines."""
    before = sum(line[0] in " -" for line in lines)
    after = sum(line[0] in " +" for line in lines)
    mark = "\texample" if example else ""
    hunk = f"@@ -{1 if before else 0},{before} +1,{after} @@"
    return "\n".join((f"--- a/{file}{mark}", f"+++ b/{file}{mark}", hunk, *lines)) + "\n"


def _filled(hunk: str, shown: Mapping[str, str]) -> list[str]:
    return [_VALUE.sub(lambda match: shown.get(match[1], match[0]), line) for line in hunk.split("\n")]


def _changes(lines: list[str]) -> bool:
    return [line[1:] for line in lines if line[0] == "-"] != [line[1:] for line in lines if line[0] == "+"]


def _clean(line: str) -> str:
    """The line cleaned; the tabs of Go code stay."""
    return "\t".join(clean(part) for part in line.split("\t"))


@cache
def _tables() -> Mapping[str, Mapping[str, str]]:
    return read_tables(str(_FILE))
