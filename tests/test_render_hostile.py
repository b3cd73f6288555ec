"""Planted attacks in every place that evidence reaches: none takes effect in any form of the report."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests import reports
from wsdiag.model import CLIENT, SERVER, Flaw, Foreign, Input, NextStep, Note, Place, Report, Span
from wsdiag.render import data, html, markdown, sarif, terminal
from wsdiag.render.clean import hidden
from wsdiag.render.redact import Redactor
from wsdiag.render.words import words

ATTACKS = {
    "clear-screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "hyperlink": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "c1-csi": "\x9b31m\x9d0;owned\x9c",
    "carriage-return": "all is well\rERROR",
    "backspace": "rm -rf\x08\x08\x08\x08\x08\x08ls",
    "del": "a\x7fb",
    "bidi-override": "\u202egnp.exe\u202c",
    "bidi-isolate": "\u2066abc\u2069\u2067",
    "zero-width": "pass\u200bword\u200d\u2060\ufeff",
    "tags": "\U000e0041\U000e0042",
    "surrogate": "\udcff\ud800",
    "line-separator": "a\u2028b\u2029c\x85d",
    "zalgo": "a" + "\u0301" * 50,
    "script": "<script>alert(1)</script>",
    "script-end": "</script></style></pre></code></title></svg><script>alert(1)</script>",
    "image": '<img src=x onerror="alert(1)">',
    "attribute": '" onmouseover="alert(1)" x="',
    "attribute-single": "' onfocus='alert(1)' autofocus tabindex=1 '",
    "svg": "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "entity": "&lt;script&gt;&#60;img src=x&#62;&#x3c;b&#x3e;",
    "comment": "<!-- --><b>--><!--[if IE]>x<![endif]-->",
    "jinja": "{{ 7 * 7 }}{% for x in y %}{# c #}",
    "format": "{title}{0.__class__}%s%n[[ {x} ]]",
    "markdown-link": "[click](http://evil.example)![pixel](http://evil.example/p.png)",
    "markdown-reference": "[a][b]\n\n[b]: http://evil.example",
    "markdown-autolink": "<http://evil.example> http://evil.example www.evil.example evil@evil.example",
    "markdown-heading": "# owned",
    "markdown-list": "- [x] owned",
    "markdown-number": "1. owned",
    "markdown-fence": "```\n\n# owned\n\n~~~\n<b>owned</b>",
    "markdown-long-fence": "``````````\nowned",
    "markdown-code": "`` ` `owned` ` ``",
    "markdown-table": "| a | b |\n| --- | --- |\n| owned | x |",
    "markdown-emphasis": "**owned** __owned__ ~~owned~~ $\\sqrt{x}$ \\*",
    "markdown-quote": "> owned\n> [!WARNING]\n> x",
    "mention": "@torvalds #1 GH-1 org/repo#1 :tada:",
    "details": "</details><details open><summary>x</summary>",
    "mermaid": "x\n    S->>C: owned\n    Note over C,S: y;C->>S: z",
    "mermaid-directive": '%%{init: {"securityLevel": "loose"}}%%',
    "mermaid-end": "end\nlink C: x @ http://evil.example\nclick C call alert(1)",
    "mermaid-wrap": "wrap:nowrap:#quot;#59;",
    "workflow-error": "::error file=a.py,line=1::owned",
    "workflow-newline": "\n::set-output name=x::owned\n##[error]owned\n##vso[task.setvariable variable=x]y",
    "sarif-link": "[text](1) {0} \\[x\\]",
    "json": '", "verdict": "healthy", "x": "\\u0000\\',
    "csv": '=HYPERLINK("http://evil.example")',
    "long": "A" * 20_000,
    "nothing": "",
}


def printed(text: str) -> str:
    """The attack as bytes would carry it: without what ends a header line."""
    return text.replace("\r", " ").replace("\n", " ").replace("\u2028", " ").replace("\u2029", " ")


def planted(attack: str) -> Report:
    """A report with the attack in every place that the outside world fills."""
    raw = printed(attack).encode(
        "utf-8", "surrogateescape" if "\udcff" in attack and "\ud800" not in attack else "replace"
    )
    sent = b"GET /" + raw + b" HTTP/1.1\r\nHost: " + raw + b"\r\nX-" + raw + b": " + raw + b"\r\n\r\n"
    answer = b"HTTP/1.1 400 " + raw + b"\r\nServer: " + raw + b"\r\n\r\n" + raw + b"\r\n" + raw
    ask, asked = reports.frame(raw[:120], CLIENT, len(sent))
    bye, closed = reports.frame(b"\x03\xe8" + raw[:100], SERVER, len(answer), 8)
    request = reports.request(sent)._replace(flaws=(Flaw("space-in-target", Span(CLIENT, 0, 5), attack),))
    foreign = Foreign(Span(CLIENT, len(sent) + len(ask), len(sent) + len(ask) + len(raw)), attack, attack)
    values = dict.fromkeys(
        [
            "address",
            "detail",
            "value",
            "path",
            "url",
            "server",
            "program",
            "got",
            "expected",
            "reason",
            "header",
            "status",
        ],
        attack,
    )
    places = (
        Place(attack, 1, start=0, stop=5, text=attack),
        Place(f"{attack}.pcap", packet=1, connection=0, side=CLIENT, start=0, stop=9),
        Place("c.pcap", packet=1, connection=0, side=SERVER, start=13, stop=20),
        Place("c.pcap", 2, start=3, stop=3 + len(attack), text=f"xx {attack} yy"),
    )
    found = reports.finding("origin-rejected", "WS312", *places, values=values)
    another = reports.finding("listener-ws-scheme", "WS201", *places, values=values, certainty="possible")
    third = reports.finding("response-400", "WS400", *places, values=values, consequence_of="origin-rejected")
    connected = reports.connection(
        0,
        sent + ask + raw,
        answer + bye,
        client=(request, asked, foreign),
        server=(reports.response(answer), closed),
        primary=found.name,
        notes=(Note("cut", {"detail": attack}),),
    )
    return Report(
        (Input(attack, "capture", (Note("hex-dump", {"detail": attack, "format": attack}),)),),
        "faulty",
        found.name,
        (found, another, third),
        (NextStep("run-curl", {"url": attack, "address": attack}, f"curl {attack}"),),
        (connected, connected._replace(primary="response-400")),
    )


def forms(report: Report, lang: str = "en") -> Iterator[tuple[str, str]]:
    said = words(lang)
    for color in (False, True):
        yield "text", terminal.report(report, said, verbose=2, color=color)
        yield "text", terminal.decoded(report, said, width=40, color=color)
    yield "json", data.document(report, said)
    yield "ndjson", "\n".join(map(data.connection_line, report.connections))
    yield "markdown", markdown.document(report, said)
    yield "sarif", sarif.document(report, said)
    yield "html", "".join(html.page(report, said))


@pytest.mark.parametrize("name", ATTACKS)
def test_no_form_moves_a_cursor_or_hides_text(name: str) -> None:
    report = planted(ATTACKS[name])
    for each in (report, Redactor().report(report)):
        for form, text in forms(each):
            plain = re.sub(r"\x1b\[[0-9;]*m", "", text) if form == "text" else text
            bad = {char for char in plain if hidden(char) and char != "\n"}
            assert not bad, (form, bad)
            text.encode("utf-8")
            assert len(text) < 3_000_000


@pytest.mark.parametrize("name", ATTACKS)
def test_no_line_is_a_command_to_a_runner(name: str) -> None:
    for form, text in forms(planted(ATTACKS[name])):
        for line in text.splitlines():
            assert not re.match(r"\s*::[A-Za-z].*::", line), (form, line)
            if form in ("text", "markdown"):
                assert "##[" not in line
                assert "##vso[" not in line


class Page(HTMLParser):
    """The elements, attributes and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: list[str] = []
        self.comments = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action", "data", "xlink:href"):
                self.targets.append(value or "")

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def page_of(text: str) -> Page:
    page = Page()
    page.feed(text)
    return page


@pytest.mark.parametrize("name", ATTACKS)
def test_the_page_has_only_our_own_elements(name: str) -> None:
    said = words("zh_CN")
    ours = page_of("".join(html.page(planted("harmless"), said)))
    page = page_of("".join(html.page(planted(ATTACKS[name]), said)))
    assert page.tags <= ours.tags
    assert page.attributes <= ours.attributes
    assert "script" not in page.tags
    assert page.comments == 0
    assert all(re.fullmatch(r"#[a-z0-9-]+", target) for target in page.targets)
    assert not any(each.startswith("on") or each == "style" for each in page.attributes)


def test_the_page_forbids_everything_but_its_own_style() -> None:
    text = "".join(html.page(reports.seed(), words("en")))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in rules
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_every_link_of_the_page_leads_somewhere() -> None:
    for make in (reports.seed, reports.healthy, reports.undecided, reports.refused_key, lambda: reports.storm(40)):
        text = "".join(html.page(make(), words("en")))
        anchors = set(re.findall(r'id="?([a-z0-9-]+)', text))
        for target in re.findall(r'href="#([^"]*)"', text):
            assert target in anchors


def tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """What a Markdown reader makes of it: (type, tag, content) of every token, GitHub's tables and strikes included."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in reader.parse(text):
        yield token.type, token.tag, token.content
        for child in token.children or ():
            yield child.type, child.tag, child.content


OUR_HTML = {"<!-- -->", "<br>", "<sub>", "</sub>", "<details><summary>The bytes</summary>\n", "</details>\n"}


@pytest.mark.parametrize("name", ATTACKS)
def test_markdown_has_only_our_own_structure(name: str) -> None:
    ours = {(kind, tag) for kind, tag, _ in tokens(markdown.document(planted("harmless"), words("en")))}
    ours |= {("html_inline", ""), ("text_special", ""), ("softbreak", "br"), ("s_open", "s")} - {("s_open", "s")}
    headings = markdown.document(planted("harmless"), words("en")).count("\n#")
    text = markdown.document(planted(ATTACKS[name]), words("en"))
    seen = list(tokens(text))
    assert {(kind, tag) for kind, tag, _ in seen} <= ours, {(kind, tag) for kind, tag, _ in seen} - ours
    for kind, _, content in seen:
        if kind in ("html_inline", "html_block"):
            assert content in OUR_HTML, content
    assert sum(kind == "heading_open" for kind, _, _ in seen) == headings + text.startswith("#")
    outside = " ".join(content for kind, _, content in seen if kind == "text")
    assert not re.search(r"(?<![\w])@\w|\w://|www\.\w", outside)


@pytest.mark.parametrize("name", ATTACKS)
def test_mermaid_has_only_our_own_lines(name: str) -> None:
    text = markdown.document(planted(ATTACKS[name]), words("en"))
    for block in re.findall(r"^```mermaid\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        first, *lines = block.splitlines()
        assert first == "sequenceDiagram"
        for line in lines:
            assert re.fullmatch(
                r"    (?:participant [CS] as|[CS]-(?:>>|-x|->>)[CS]:|Note over C,S:)"
                r" (?:[\w ./,\-+=()❌\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e→…]|#\d+;)*",
                line,
            ), line


@pytest.mark.parametrize("name", ATTACKS)
def test_json_and_sarif_keep_their_structure(name: str) -> None:
    report = planted(ATTACKS[name])
    document = json.loads(data.document(report, words("en")))
    assert document["verdict"] == "faulty"
    assert document["inputs"][0]["source"] == ATTACKS[name] or "\ud800" in ATTACKS[name] or len(ATTACKS[name]) > 4096
    for line in map(data.connection_line, report.connections):
        assert "\n" not in line
        json.loads(line)
    log = json.loads(sarif.document(report, words("en")))
    for result in log["runs"][0]["results"]:
        text = result["message"]["text"]
        assert not re.search(r"(?<!\\)(?:\\\\)*\[[^\]]*(?<!\\)\]\(", text)
        assert not re.search(r"(?<!\{)\{\d+\}(?!\})", text)
        for location in result["locations"]:
            assert re.fullmatch(r"[A-Za-z0-9/~.\-_%]+", location["physicalLocation"]["artifactLocation"]["uri"])


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_text_anywhere(text: str) -> None:
    test = planted(text)
    for form, shown in forms(test):
        assert not any(hidden(char) and char not in "\n\x1b" for char in shown), form
    page = page_of("".join(html.page(test, words("en"))))
    assert "script" not in page.tags
