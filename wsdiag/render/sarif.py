"""The findings as SARIF 2.1.0, which code hosts show beside the file; places in captures become logical locations.

Messages are plain text without links or placeholders. What must not be shared was replaced before (`redact`).
"""

import re
from typing import TYPE_CHECKING, Any

from wsdiag.model import Finding, Place, Report
from wsdiag.render.clean import clean
from wsdiag.render.data import dump

if TYPE_CHECKING:
    from wsdiag.render.words import Words

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# Code hosts refuse files of more results or locations than a few thousand (GitHub: 25,000 and 1,000).
MAX_LOCATIONS = 100
MAX_SNIPPET = 400


def document(report: Report, words: "Words") -> str:
    """The SARIF document as text, with its line end."""
    return dump(as_sarif(report, words), 2) + "\n"


def as_sarif(report: Report, words: "Words") -> dict[str, Any]:
    """The report as one SARIF run."""
    import wsdiag

    names = list(dict.fromkeys(each.name for each in report.findings))
    first = {each.name: each for each in reversed(report.findings)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "wsdiag",
                        "version": str(getattr(wsdiag, "__version__", "0")),
                        "language": words.lang.replace("_", "-"),
                        "rules": [_rule(first[name], words) for name in names],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, names.index(each.name), words) for each in report.findings],
                "properties": {"verdict": report.verdict, "primary": report.primary},
            }
        ],
    }


def _rule(finding: Finding, words: "Words") -> dict[str, Any]:
    title, why, fix = words.finding(finding._replace(values={}, variant=""))
    return {
        "id": finding.code,
        "name": "".join(part.capitalize() for part in finding.name.split("-")),
        "shortDescription": {"text": message(title)},
        "fullDescription": {"text": message(why or title)},
        "help": {"text": message(fix or title)},
        "defaultConfiguration": {"level": finding.severity},
        "properties": {"name": finding.name, "reference": message(finding.reference)},
    }


def _result(finding: Finding, index: int, words: "Words") -> dict[str, Any]:
    title, why, fix = words.finding(finding)
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": "note" if finding.certainty == "possible" or finding.consequence_of else finding.severity,
        "message": {"text": message(" ".join(part for part in (f"{title}.", why, fix) if part))},
        "locations": [_location(place) for place in finding.places[:MAX_LOCATIONS]],
        "properties": {
            "name": finding.name,
            "certainty": finding.certainty,
            "blame": finding.blame,
            "consequence_of": finding.consequence_of,
        },
    }
    if finding.occurrences > 1:
        result["occurrenceCount"] = finding.occurrences
    return result


def _location(place: Place) -> dict[str, Any]:
    region: dict[str, Any] = {}
    if place.line is not None:
        region["startLine"] = place.line
        if place.text and place.start is not None and place.stop is not None and place.stop > place.start:
            region["startColumn"] = place.start + 1
            region["endColumn"] = place.stop + 1
            region["snippet"] = {"text": clean(place.text[place.start : place.stop][:MAX_SNIPPET])}
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(place.source)}}
    if region:
        physical["region"] = region
    location: dict[str, Any] = {"physicalLocation": physical}
    if place.connection is not None:
        name = f"connection/{place.connection}"
        if place.side:
            name += f"/{place.side}"
        if place.start is not None and not place.text:
            name += f"/{place.start}-{place.stop}"
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    return location


def uri(source: str) -> str:
    """A source's name as a relative reference (RFC 3986): no scheme, no character that a URI may not have."""
    from urllib.parse import quote

    path = quote(source.replace("\\", "/"), safe="/~.-_", errors="replace")
    return path if path and path != "-" else "stdin"


def message(text: str) -> str:
    """Plain text as SARIF writes it (3.11.5, 3.11.6): brackets are escaped lest they become links, braces doubled."""
    text = clean(text.replace("`", "'"))
    text = re.sub(r"[\\\[\]]", lambda match: "\\" + match[0], text)
    return text.replace("{", "{{").replace("}", "}}") if re.search(r"\{\d+\}", text) else text
