"""The HTML report without a browser: what is on the page, in which language, how large it is and how it is written."""

import re

import pytest

from tests import reports
from wsdiag.render import html
from wsdiag.render.redact import Redactor
from wsdiag.render.words import words


def page(report: object, lang: str = "en") -> str:
    return "".join(html.page(report, words(lang), redacted=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(("lang", "tag"), [("en", "en"), ("zh_CN", "zh-CN")])
def test_language_title_and_landmarks(lang: str, tag: str) -> None:
    text = page(reports.seed(), lang)
    assert f'<html lang="{tag}">' in text
    title = words(lang).finding(reports.seed().findings[0]).title.replace("`", "")
    assert title in re.sub(r"<[^>]*>", "", text[text.index("<h1") : text.index("</h1>")]).replace("&#39;", "'")
    for part in ("<header>", "<main>", "<footer>"):
        assert text.count(part) == 1
    assert text.count("<h1") == 1


def test_the_story_is_told_in_order() -> None:
    text = page(reports.refused_key())
    parts = ["WS306", "request-missing-key", "<h2>Why</h2>", "<h2>Fix</h2>", "Explained by this", "The conversation"]
    places = [text.index(part) for part in [*parts, 'class="ladder"', "101 expected here", 'class="bytes"']]
    assert places == sorted(places)


def test_the_telling_bytes_are_marked_and_linked_both_ways() -> None:
    text = page(reports.refused_key())
    assert "HTTP/1.1 <mark>400</mark> Bad Request" in text
    assert '<a class="telling" href="#f-1">WS400 response-400</a>' in text
    assert 'id="f-1"' in text
    assert 'href="#c0-server-0"' in text
    assert 'id="c0-server-0"' in text


def test_the_missing_header_and_the_missing_answer_are_drawn() -> None:
    assert re.search(r'<tr class="missing">.*Sec-WebSocket-Key is missing', page(reports.refused_key()))
    assert re.search(r'<g class="missing"><text[^>]*>101 expected here, FIN came</text>', page(reports.seed()))


def test_ten_thousand_connections() -> None:
    report = reports.storm(10_000)
    sizes = [len(part.encode()) for part in html.page(report, words("en"))]
    assert sum(sizes) < 3_000_000
    assert max(sizes) < 200_000, "written as a stream"
    text = page(report)
    assert len(re.findall(r"<tr><th scope=row>", text)) == 10_000
    assert re.search(r"listener-ws-scheme</th><td class=\"faulty\">Faulty</td><td class=\"number\">7000</td>", text)
    assert "10000 connections" in text
    assert 'class="timeline"' in text


def test_the_note_on_redaction_stands_only_where_it_is_true() -> None:
    report = Redactor().report(reports.refused_key())
    note = "replaced by placeholders"
    assert note in page(report)
    assert note not in "".join(html.page(report, words("en")))
    assert "192.168.7.23" not in page(report)
