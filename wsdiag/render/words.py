"""Turns names and values into sentences, in the reader's language: what wsdiag says is looked up and filled in here.

The sentences themselves live in `wsdiag/words/<language>/<group>.toml`; which of them are said, and how they are drawn,
is left to the renderers.
"""

import os.path
import re
from collections.abc import Mapping
from functools import cache

from wsdiag.model import Finding, NextStep, Note, Value, Values, WsdiagError
from wsdiag.pattern import pattern
from wsdiag.record import NamedTuple
from wsdiag.render.clean import clean

LANGUAGES = ("en", "zh_CN")
# The group of words that speaks of a cause, by the first digit of the cause's code.
GROUPS = {
    "1": "evidence",
    "2": "listener",
    "3": "request",
    "4": "response",
    "5": "transport",
    "6": "messages",
    "7": "proxy",
    "8": "source",
}
FIELDS = ("title", "why", "fix")
# Values that pick finer words by themselves where such are written: [origin-rejected.phoenix], [response-auth.401].
SHADES = ("protocol", "scheme", "framework", "number", "status", "subprotocol", "seconds")
SERVER_FRAMEWORKS = frozenset({"workerman", "gatewayworker", "webman"})
TWO_SIDED = frozenset(
    {"aiohttp", "coder-websocket", "gorilla", "java-websocket", "node-ws", "python-socketio", "python-websockets"}
    | {"signalr", "socketio", "tungstenite", "workerman"}
)
# Values that are slugs, and the table of `terms.toml` that holds their words.
TERMS = {
    "alert": "alert",
    "chosen": "chosen",
    "form": "form",
    "from": "from",
    "kind": "kind",
    "notation": "notation",
    "protocol": "protocol",
    "rejected": "chosen",
    "side": "side",
    "source": "source",
}
# A value longer than this drowns the sentence around it; the whole of it stays in the evidence and in the JSON report.
MAX_VALUE_LENGTH = 160
UNKNOWN = "…"
# Chinese punctuation brings its own room.
_ROOMY = frozenset("，。；：？！）”、（“")

# os.path, because pathlib takes as long to import as all the words that are read here.
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "words")  # noqa: PTH118, PTH120
_OPTIONAL = pattern(r"\[\[(.*?)\]\]", re.DOTALL)
_VALUE = pattern(r"\{([a-z][a-z0-9_]*)\}")


class FindingText(NamedTuple):
    """What there is to say about a finding: the fault in a line, why it fails, and what to change."""

    title: str
    why: str
    fix: str


def shades(finding: Finding) -> list[str]:
    """The names of finer words for a finding, the most special first: its variant, then what its values tell."""
    found = [finding.variant] if finding.variant else []
    for name in SHADES:
        value = finding.values.get(name, "")
        text = str(round(value)) if isinstance(value, float) else str(value).lower()
        if name == "framework" and is_other_side(finding, text):
            continue
        if text and text not in found:
            found.append(text)
    return found


def is_other_side(finding: Finding, framework: str) -> bool:
    """True when the framework that the evidence names may not be that of the side which must change.

    A start table beside a browser's error names the server's framework and not the browser's; and a library of both
    sides that reports a refusal says nothing of what refused it, so it does not pick words for a mere candidate.
    """
    if finding.name.startswith("client-"):
        return framework in SERVER_FRAMEWORKS
    return finding.certainty == "possible" and framework in TWO_SIDED


def words(lang: str) -> "Words":
    """The words of that language, one of `LANGUAGES`."""
    return Words(lang)


def language(option: str | None, environ: Mapping[str, str]) -> str:
    """The language to speak: the option, else WSDIAG_LANG, else the locale's if we have it, else English.

    A locale that we do not know is no fault of the caller's; an option or WSDIAG_LANG that we do not know is.
    """
    for asked in (option, environ.get("WSDIAG_LANG")):
        if asked:
            known = _known(asked)
            if known is None:
                raise WsdiagError("unknown-language", language=asked, languages=", ".join(LANGUAGES))
            return known
    # The order of POSIX: the first that is set decides, and an empty one counts as unset.
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(name))), "")
    return _known(locale) or "en"


class Words:
    """One language's table of words. Groups are read when they are first needed."""

    __slots__ = ("lang",)

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise WsdiagError("unknown-language", language=lang, languages=", ".join(LANGUAGES))
        self.lang = lang

    def text(self, group: str, key: str, /, **values: Value) -> str:
        """The text `key` of the group, filled with the values; `table.key` for one inside a table.

        A key that nobody wrote is shown as it is: a report with one bare name in it is better than no report.
        """
        template = self._template(group, key)
        return fill(key if template is None else template, self._spoken(values))

    def has(self, group: str, key: str) -> bool:
        """True when the group holds such a text."""
        return self._template(group, key) is not None

    def finding(self, finding: Finding) -> FindingText:
        """The words of a finding, each field from the first block that has it: that of its variant, those of what its
        values tell (see `shades`), the cause's own.

        A block that holds only `like` says what the block of that other variant says.
        """
        tables = _read(self.lang, GROUPS.get(finding.code[2:3], "evidence"))
        blocks = []
        for shade in shades(finding):
            block = tables.get(f"{finding.name}.{shade}", {})
            blocks.append(tables.get(f"{finding.name}.{block['like']}", {}) if "like" in block else block)
        blocks += [tables.get(finding.name, {}), {"title": finding.name}]
        values = self._spoken(finding.values)
        return FindingText(
            *(fill(next((row[field] for row in blocks if field in row), ""), values) for field in FIELDS)
        )

    def variants(self, finding: Finding) -> list[str]:
        """The variants of that cause that have a title of their own."""
        tables = _read(self.lang, GROUPS.get(finding.code[2:3], "evidence"))
        start = finding.name + "."
        return [name.removeprefix(start) for name, row in tables.items() if name.startswith(start) and "title" in row]

    def note(self, note: Note) -> str:
        """What is to be told about an input."""
        return self.text("notes", note.name, **note.values)

    def step(self, step: NextStep) -> str:
        """What to do to learn more."""
        return self.text("steps", step.name, **step.values)

    def error(self, error: WsdiagError) -> str:
        """What the caller or the environment did wrong, in one line."""
        return self.text("errors", error.name, **error.values)

    def _spoken(self, values: Values) -> Values:
        """The values, with those that are slugs of ours (a side, a protocol, a notation) in this language's words."""
        slugs = TERMS.keys() & values.keys()
        if not slugs:
            return values
        terms = _read(self.lang, "terms")
        return {
            name: terms.get(TERMS[name], {}).get(str(value), value) if name in slugs else value
            for name, value in values.items()
        }

    def _template(self, group: str, key: str) -> str | None:
        table, _, name = key.rpartition(".")
        return _read(self.lang, group).get(table, {}).get(name)


def fill(template: str, values: Mapping[str, Value]) -> str:
    """The template with its values: `{name}` is a value, `[[…]]` a part that is dropped when it holds an unknown value.

    `[[one|other]]` is the first of the ways to say it whose values are all known. An empty string counts as unknown. A
    value that is missing outside `[[…]]` is shown as "…". Values are cleaned, cut to `MAX_VALUE_LENGTH`, and never
    looked at again, whatever braces or brackets they hold.
    """
    shown = {name: text for name, value in values.items() if (text := _shown(value))}
    filled = ""
    for position, part in enumerate(_OPTIONAL.split(template)):
        ways = part.split("|") if position % 2 else [part]
        for way in ways:
            if position % 2 == 0 or all(name in shown for name in _VALUE.findall(way)):
                filled = _joined(filled, _VALUE.sub(lambda match: shown.get(match[1], UNKNOWN), way))
                break
    return filled


def _joined(left: str, right: str) -> str:
    """Two parts of a sentence, with one blank where Chinese meets other letters and none beside its punctuation."""
    if not left or not right:
        return left + right
    last, first = left[-1], right[0]
    if last == " " and (first == " " or first in _ROOMY):
        return left.rstrip(" ") + right
    if (_is_han(last) and _is_latin(first)) or (_is_latin(last) and _is_han(first)):
        return f"{left} {right}"
    return left + right


def _is_han(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"


def _is_latin(char: str) -> bool:
    return char == "`" or (char.isascii() and char.isalnum())


def _shown(value: Value) -> str:
    """A value as it stands in a sentence: cleaned, not too long, and unable to end the `code` that it stands in."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = clean(str(value)).replace("`", "'").strip()
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


@cache
def _read(lang: str, group: str) -> Mapping[str, Mapping[str, str]]:
    return read_tables(f"{_FOLDER}/{lang}/{group}.toml")


def read_tables(path: str) -> Mapping[str, Mapping[str, str]]:
    """The tables of one file by their dotted names; the table "" holds what stands in front of the first.

    The files are TOML of which only this much is used: tables, comments, and strings `'''…'''` that end their line.
    Reading that line by line takes 0.5 ms for the largest file; tomllib takes 8 ms to import alone, a sixth of what
    `decode` may take in all.
    """
    tables: dict[str, dict[str, str]] = {"": {}}
    current = tables[""]
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            lines = file.read().split("\n")
    except FileNotFoundError:
        return tables
    key = ""  # of a string that goes on in the next line
    parts: list[str] = []
    for line in lines:
        if key:
            parts.append(line)
            if line.endswith("'''"):
                current[key] = "\n".join(parts)[:-3]
                key = ""
        elif line.startswith("["):
            current = tables.setdefault(line[1:-1], {})
        else:
            name, found, text = line.partition(" = '''")
            if text.endswith("'''"):
                current[name] = text[:-3]
            elif found:
                key, parts = name, [text] if text else []
    return tables


def _known(name: str) -> str | None:
    """The language that a locale or an option means: `zh_CN.UTF-8`, `zh-Hans` and `zh` are Simplified Chinese."""
    short = name.lower()
    for separator in "_.@-":
        short = short.partition(separator)[0]
    return {"zh": "zh_CN", "en": "en", "c": "en", "posix": "en"}.get(short)
