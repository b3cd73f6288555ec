"""The JSON report against its schema, field by field in the contract's order; NDJSON, SARIF, the catalogue's pages."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import wsdiag.render
from tests import reports
from wsdiag.model import (
    CLIENT,
    SERVER,
    ClientHello,
    Foreign,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Report,
    ServerHello,
    Span,
    TlsAlert,
    TlsData,
    Unknown,
)
from wsdiag.render import data, pages, sarif
from wsdiag.render.redact import Redactor
from wsdiag.render.words import words
from wsdiag.rules import catalogue

SCHEMA = json.loads((Path(wsdiag.render.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
REPORTS = [reports.seed, reports.healthy, reports.undecided, reports.refused_key, lambda: reports.storm(30)]


def every_element() -> Report:
    """One connection that holds an element of each kind."""
    span = Span(CLIENT, 0, 4)
    other = Span(SERVER, 0, 4)
    client = (
        ProxyHeader(span, 1, None, None, True),
        ClientHello(span, 0x0301, (0x0303, 0x0304, 0x7F1C), "example.com", ("h2",), True),
        Http2Preface(span, True),
        Http2Frames(span, 2, ((8, 1),), (((":path", "/"),),), (1,)),
        Foreign(span, "mqtt", "3.1.1"),
        Unknown(span),
    )
    server = (ServerHello(other, 0x0304, "h2", True), TlsAlert(other, 2, 40), TlsData(other, 3, True))
    connected = reports.connection(0, b"\x16\x03\x01\x00", b"\x16\x03\x03\x00", client=client, server=server)
    return Report((), "healthy", None, (), (), (connected,))


def parsed(report: Report, lang: str = "en") -> dict[str, Any]:
    return dict(json.loads(data.document(report, words(lang))))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
@pytest.mark.parametrize("make", [*REPORTS, every_element])
def test_reports_are_valid(make: Any, lang: str) -> None:
    for report in (make(), Redactor().report(make())):
        errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(parsed(report, lang))]
        assert errors == []


def test_the_schema_refuses_what_the_contract_forbids() -> None:
    good = parsed(reports.seed())
    validator = Draft202012Validator(SCHEMA)
    assert not validator.is_valid(good | {"primary": None})
    assert not validator.is_valid(good | {"verdict": "healthy"})
    assert not validator.is_valid(good | {"extra": 1})
    assert not validator.is_valid(parsed(reports.undecided()) | {"next_steps": []})


def test_the_fields_and_their_order() -> None:
    report = parsed(reports.refused_key())
    assert " ".join(report) == "schema version inputs verdict primary findings next_steps connections capture"
    finding = report["findings"][0]
    assert " ".join(finding).startswith(
        "name code severity certainty blame consequence_of title why fix diff values reference places"
    )
    assert " ".join(finding["places"][0]) == "source line packet connection side start stop"
    connection = report["connections"][0]
    assert " ".join(connection) == "id client server first_packet last_packet verdict primary elements"
    assert report["capture"] == {"packets": 9, "bytes": 1423, "dropped": 2, "truncated": True, "link": "ethernet"}


def test_numbers_are_finite_and_text_is_not_bytes() -> None:
    values = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": True, "e": "\udcff\x9b"}
    report = reports.seed()
    report = report._replace(findings=(report.findings[0]._replace(values=values),))
    text = data.document(report, words("en"))
    assert json.loads(text)["findings"][0]["values"] == {"a": None, "b": None, "c": 1.5, "d": True, "e": "\\udcff\x9b"}
    assert "NaN" not in text
    assert "\x9b" not in text


def test_ndjson() -> None:
    report = reports.storm(30)
    lines = [json.loads(data.connection_line(each)) for each in report.connections]
    assert {line["type"] for line in lines} == {"connection"}
    assert lines[0]["findings"][0]["name"] == "listener-ws-scheme"
    assert "title" not in lines[0]["findings"][0]
    last = json.loads(data.summary_line(report))
    assert last["type"] == "summary"
    assert last["causes"] == {"listener-ws-scheme": 21, "tls-to-plaintext": 6}
    assert last["verdicts"] == {"faulty": 27, "healthy": 3}
    assert last["connections"] == 30
    assert last["capture"]["packets"] == 270


def test_sarif() -> None:
    log = json.loads(sarif.document(reports.seed(), words("en")))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
    first = run["results"][0]["locations"][0]["physicalLocation"]
    assert first["region"] == {
        "startLine": 1,
        "startColumn": 1,
        "endColumn": 35,
        "snippet": {"text": "recv data before handshake. Buffer"},
    }
    assert run["results"][1]["level"] == "note"


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_every_cause_has_a_page_and_a_line(lang: str) -> None:
    said = words(lang)
    table = pages.rules_table(said)
    listed = {each["name"] for each in json.loads(pages.rules_json(said))}
    for name, cause in catalogue().items():
        page = pages.explain_page(name, said)
        assert page.startswith(cause.code)
        assert name in page
        assert cause.reference.split()[0] in page
        assert f"{cause.code}{'*' if cause.symptom else ' '} {name}" in table
        assert name in listed
