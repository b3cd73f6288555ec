"""The words: both languages say the same, every cause and variant has its sentences, and templates are filled."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag import diagnose
from wsdiag.model import Finding, NextStep, Note, WsdiagError
from wsdiag.render.words import FIELDS, GROUPS, LANGUAGES, MAX_VALUE_LENGTH, _read, fill, language, words
from wsdiag.rules import catalogue, claims, refusal, request, socketio, story, tls

PACKAGE = Path(__file__).parent.parent / "wsdiag"
FOLDER = PACKAGE / "words"
FILES = sorted(path.stem for path in (FOLDER / "en").glob("*.toml"))
CAUSE_GROUPS = [group for group in FILES if group in GROUPS.values()]
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# Rules that always give the value that their words need.
ALWAYS_KNOWN: frozenset[str] = frozenset()
HAN = re.compile(r"[\u4e00-\u9fff]")


def texts(lang: str, group: str) -> dict[str, str]:
    """Every text of the group by its dotted key."""
    tables = _read(lang, group)
    return {f"{table}.{key}" if table else key: text for table, row in tables.items() for key, text in row.items()}


def variants() -> Iterator[tuple[str, str]]:
    """(cause, variant) for every variant that a rule or a signature can give."""
    for path in sorted((PACKAGE / "signatures").glob("*.toml")):
        for row in tomllib.loads(path.read_text("utf-8")).get("signature", ()):
            if row.get("variant") and "rule" in row and row["rule"] != "status":
                yield row["rule"], row["variant"]
            elif row.get("variant") and "symptom" in row:
                yield row["symptom"], row["variant"]
            for candidate in row.get("candidates", ()):
                if isinstance(candidate, dict) and candidate.get("variant"):
                    yield candidate["name"], candidate["variant"]
    for path in sorted((PACKAGE / "rules").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef):
                name = function.name.replace("_", "-")
                if name in catalogue():
                    yield from ((name, variant) for variant in _variants_in(function))
            elif isinstance(function, ast.Call) and getattr(function.func, "id", "") == "Candidate":
                constants = [each.value for each in function.args if isinstance(each, ast.Constant)]
                if len(constants) > 1 and constants[1]:
                    yield str(constants[0]), str(constants[1])


def computed_variants() -> Iterator[tuple[str, str]]:
    """Variants that a rule looks up or puts together."""
    yield from (("tls-handshake-failed", variant) for variant in tls.ALERT_VARIANTS.values())
    yield from (("tls-to-plaintext", f"closed-{ending}") for ending in ("fin", "reset"))
    yield from (("request-malformed", kind) for kind in request.FATAL_FLAWS)
    yield from (("response-5xx-upstream", variant) for variant in refusal.GATEWAY_VARIANTS.values())
    yield from (("response-5xx-upstream", variant) for variant in story.UNREACHABLE.values())
    yield from (("socketio-mismatch", variant) for variant in socketio.ENGINE_IO_ERRORS.values())
    yield from (("proxy-stripped-upgrade", variant) for variant in ("both-legs", "both-inputs", "denied"))
    yield from ((name, claims.CONTRADICTED) for name in claims.CLAIMS)


def _variants_in(function: ast.FunctionDef) -> Iterator[str]:
    """What the function gives as `variant=`, or assigns to a name `variant`."""
    for node in ast.walk(function):
        value: ast.expr | None = None
        if isinstance(node, ast.keyword) and node.arg == "variant":
            value = node.value
        elif isinstance(node, ast.Assign) and any(getattr(each, "id", "") == "variant" for each in node.targets):
            value = node.value
        yield from _strings(value)


def _strings(value: ast.expr | None) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _strings(value.body)
        yield from _strings(value.orelse)


def names_given(pattern: str) -> set[str]:
    """What the sources name by a call such as `Note("…")`."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "words.py":
            found.update(re.findall(pattern, path.read_text("utf-8")))
    return found


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("group", FILES)
def test_the_quick_reader_reads_what_toml_reads(lang: str, group: str) -> None:
    text = (FOLDER / lang / f"{group}.toml").read_text("utf-8")
    expected: dict[str, str] = {}

    def flatten(prefix: str, table: dict[str, object]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                flatten(f"{prefix}{key}.", value)
            else:
                assert isinstance(value, str)
                expected[f"{prefix}{key}"] = value

    flatten("", tomllib.loads(text))
    assert texts(lang, group) == expected


@pytest.mark.parametrize("group", FILES)
def test_both_languages_say_the_same_things(group: str) -> None:
    english, chinese = texts("en", group), texts("zh_CN", group)
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(chinese[key])), key


@pytest.mark.parametrize("group", [*CAUSE_GROUPS, "steps", "notes", "errors", "explain"])
def test_chinese_is_chinese(group: str) -> None:
    for key, text in texts("zh_CN", group).items():
        if key.endswith((".like", ".wrong", ".right")):
            continue
        assert HAN.search(text), key
        assert not re.search(r"[\u4e00-\u9fff][,;!?]|[,;!?][\u4e00-\u9fff]", text), f"half-width punctuation: {key}"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_cause_has_title_why_and_fix(lang: str) -> None:
    said = words(lang)
    for cause in catalogue().values():
        for field in FIELDS:
            assert said.has(GROUPS[cause.code[2]], f"{cause.name}.{field}"), (cause.name, field)


def test_every_block_of_words_belongs_to_a_cause() -> None:
    groups: dict[str, set[str]] = {group: set() for group in CAUSE_GROUPS}
    for cause in catalogue().values():
        groups[GROUPS[cause.code[2]]].add(cause.name)
    for group in CAUSE_GROUPS:
        assert {table.split(".")[0] for table in _read("en", group) if table} <= groups[group]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_variant_that_can_occur_has_words(lang: str) -> None:
    said = words(lang)
    missing = sorted(
        f"{name}.{variant}"
        for name, variant in {*variants(), *computed_variants()}
        if name in catalogue()
        and not any(
            said.has(GROUPS[catalogue()[name].code[2]], f"{name}.{variant}.{field}") for field in (*FIELDS, "like")
        )
    )
    assert not missing


def test_variants_are_found_in_the_sources() -> None:
    found = set(variants())
    assert ("response-redirect", "to-https") in found
    assert ("listener-wrong-protocol", "no-class") in found


@pytest.mark.parametrize("group", CAUSE_GROUPS)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_values_stand_in_optional_parts(lang: str, group: str) -> None:
    """The same fault is met in bytes, in a log and in a capture, and each knows other values."""
    for key, text in texts(lang, group).items():
        assert text.count("[[") == text.count("]]"), key
        outside = re.sub(r"\[\[.*?\]\]", "", text)
        assert not PLACEHOLDER.search(outside) or key in ALWAYS_KNOWN, key


@pytest.mark.parametrize("group", CAUSE_GROUPS)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_sentences_read_well_without_values(lang: str, group: str) -> None:
    for key, text in texts(lang, group).items():
        shown = re.sub(r"`[^`]*`", "`code`", fill(text, {}))
        if key.endswith(".like"):
            assert key.rsplit(".", 2)[0] + f".{text}" in _read(lang, group), key
            continue
        assert shown, key
        assert "  " not in shown, f"two blanks: {key}: {shown}"
        assert not re.search(r" [,.;:](?![:N])|\(\)|（）|^[，。；：]|[，：]$", shown), f"{key}: {shown}"
        if key.endswith(".title"):
            assert not shown.endswith((".", "。")), f"a title is no sentence: {key}"
            assert len(shown) <= 110, f"too long: {key}: {len(shown)}"
        else:
            assert shown.endswith((".", "。", ";", "`", ")", "）")), f"{key}: {shown[-20:]}"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_notes_errors_and_steps_have_words(lang: str) -> None:
    said = words(lang)
    missing = [f"notes.{name}" for name in names_given(r'\bNote\(\s*"([a-z0-9-]+)"') if not said.has("notes", name)]
    missing += [
        f"errors.{name}" for name in names_given(r'WsdiagError\(\s*"([a-z0-9-]+)"') if not said.has("errors", name)
    ]
    steps = {name for cause in catalogue().values() for name in cause.next_steps}
    for path in sorted((PACKAGE / "rules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "next_steps":
                steps |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant) and each.value}
    for path in (PACKAGE / "signatures").glob("*.toml"):
        for row in tomllib.loads(path.read_text("utf-8")).get("signature", ()):
            steps.update(row.get("next", ()))
    missing += [f"steps.{name}" for name in steps if not said.has("steps", name)]
    assert not sorted(missing)


def test_the_first_way_that_can_be_said_is_said() -> None:
    template = "Nothing listens on [[{host} port {port}|port {port}|this port]]"
    assert fill(template, {"host": "a", "port": 1}) == "Nothing listens on a port 1"
    assert fill(template, {"port": 1}) == "Nothing listens on port 1"
    assert fill(template, {}) == "Nothing listens on this port"


def test_chinese_and_latin_letters_keep_their_distance() -> None:
    assert fill("端口[[ {port} ]]已占用", {}) == "端口已占用"
    assert fill("Key[[ `{key}` ]]不是", {}) == "Key 不是"
    assert fill("路径[[ {path} ]]（404）", {"path": "/a"}) == "路径 /a（404）"


def test_unknown_values_drop_their_part_only() -> None:
    template = "The listener[[ on port {port}]] is declared[[ `{scheme}://`]]"
    assert fill(template, {"port": 2346}) == "The listener on port 2346 is declared"
    assert fill(template, {"port": 2346, "scheme": "ws"}) == "The listener on port 2346 is declared `ws://`"
    assert fill(template, {"port": "", "scheme": "ws"}) == "The listener is declared `ws://`"
    assert fill("after {seconds} s", {"seconds": 60.0}) == "after 60 s"
    assert fill("after {seconds} s", {}) == "after … s"


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_a_value_is_never_taken_for_a_template(value: str) -> None:
    shown = fill("`{detail}`[[ {detail}]]{port}", {"detail": value, "port": 1})
    assert all(char.isprintable() for char in shown)
    assert shown.count("`") == 2 or value.strip() == ""
    assert len(shown) <= 2 * MAX_VALUE_LENGTH + 10
    assert fill("{detail}", {"detail": "{port}[[x]]", "port": 1}) == "{port}[[x]]"


def test_a_variant_takes_the_place_of_single_fields() -> None:
    plain = Finding("response-redirect", "WS430", "error", "certain", "server", "")
    login = plain._replace(variant="login", values={"url": "/login"})
    assert words("en").finding(login).title == "The server redirects the handshake to a login page (/login)"
    odd = plain._replace(variant="no-such-variant")
    assert words("zh_CN").finding(odd) == words("zh_CN").finding(plain)


def test_slugs_are_spoken() -> None:
    finding = Finding("bad-opcode", "WS605", "error", "certain", "client", "", values={"side": "client", "opcode": 3})
    assert "客户端" in words("zh_CN").finding(finding).title
    assert words("en").note(Note("dump-form", {"notation": "hexdump-c", "size": 3})) == "hexdump -C, 3 bytes"
    assert "standard input" in words("en").error(WsdiagError("empty-input", source="-"))
    assert HAN.search(words("zh_CN").step(NextStep("ask-server-log")))


def test_a_missing_text_shows_its_name() -> None:
    assert words("en").text("interface", "no-such-key") == "no-such-key"
    assert words("en").finding(Finding("no-such", "WS999", "error", "certain", "nobody", "")).title == "no-such"


@pytest.mark.parametrize(
    ("option", "environ", "expected"),
    [
        (None, {}, "en"),
        ("zh", {"WSDIAG_LANG": "en"}, "zh_CN"),
        ("zh-Hans", {}, "zh_CN"),
        (None, {"WSDIAG_LANG": "zh_CN", "LANG": "en_US.UTF-8"}, "zh_CN"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_ALL": "", "LC_MESSAGES": "zh_CN.GB18030", "LANG": "en_US"}, "zh_CN"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_language(option: str | None, environ: dict[str, str], expected: str) -> None:
    assert language(option, environ) == expected


@pytest.mark.parametrize(("option", "environ"), [("fr", {}), (None, {"WSDIAG_LANG": "tlh"})])
def test_an_unknown_language_is_the_callers_fault(option: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(WsdiagError) as caught:
        language(option, environ)
    assert caught.value.name == "unknown-language"


EXAMPLES = [
    (name, kind, row[kind])
    for name, row in _read("en", "explain").items()
    for kind in ("wrong", "right")
    if kind in row
]


@pytest.mark.parametrize(("name", "kind", "example"), EXAMPLES, ids=lambda each: each if len(each) < 60 else "")
def test_the_examples_of_the_pages_are_what_they_say(name: str, kind: str, example: str) -> None:
    report = diagnose(example.replace("\\n", "\n"))
    if kind == "wrong":
        assert report.primary == name
    else:
        assert report.verdict != "faulty"
        assert name not in [finding.name for finding in report.findings]


def test_every_cause_is_explained_with_the_same_examples_in_both_languages() -> None:
    english, chinese = _read("en", "explain"), _read("zh_CN", "explain")
    assert {name for name in english if name} == set(catalogue())
    for name, row in english.items():
        if name:
            assert row["means"]
            assert row["happens"]
            assert (row.get("wrong"), row.get("right")) == (chinese[name].get("wrong"), chinese[name].get("right"))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_key_that_the_sources_name_is_there(lang: str) -> None:
    said = words(lang)
    asked = names_given_in_pairs(r'(?:text|has)\(\s*"([a-z]+)",\s*"([a-z0-9.-]+)"')
    assert ("interface", "paste-prompt") in asked
    assert not sorted(f"{group}: {key}" for group, key in asked if not said.has(group, key))


def names_given_in_pairs(pattern: str) -> set[tuple[str, str]]:
    """The same for calls that name two things."""
    return {pair for path in PACKAGE.rglob("*.py") for pair in re.findall(pattern, path.read_text("utf-8"))}


@pytest.mark.parametrize(
    ("first_bytes", "variant"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "also-tls"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "also-http2"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "also-proxy"),
        (b"<policy-file-request/>\0", "also-flash-policy"),
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "also-mqtt"),
    ],
)
def test_what_remains_after_the_fix_of_the_scheme_is_told(first_bytes: bytes, variant: str) -> None:
    report = diagnose(f"recv data before handshake. Buffer:{first_bytes.hex()}\nError package. package_length=false")
    assert report.primary == "listener-ws-scheme"
    told = next(finding for finding in report.findings if finding.name == report.primary)
    assert told.variant == variant
