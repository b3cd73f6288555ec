"""Sorts a report's findings into the parts that every renderer tells in the same order; it draws nothing."""

from wsdiag.model import Finding, Report
from wsdiag.record import NamedTuple


class Story(NamedTuple):
    """The findings by their part in the story, each part in the report's own order."""

    primary: Finding | None
    causes: tuple[Finding, ...]  # further errors that are certain or likely
    candidates: tuple[Finding, ...]  # possible causes, in the order to check them
    consequences: tuple[Finding, ...]  # what another finding explains
    warnings: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def all(self) -> tuple[Finding, ...]:
        """Every finding, in the order of the story."""
        first = (self.primary,) if self.primary else ()
        return first + self.candidates + self.causes + self.warnings + self.consequences + self.notes


def story(report: Report) -> Story:
    """The report's findings, each in exactly one part."""
    primary = next((each for each in report.findings if report.primary and each.name == report.primary), None)
    rest = [each for each in report.findings if each is not primary]
    explained = [each for each in rest if each.consequence_of is not None]
    own = [each for each in rest if each.consequence_of is None]
    errors = [each for each in own if each.severity == "error"]
    return Story(
        primary,
        tuple(each for each in errors if each.certainty != "possible"),
        tuple(each for each in errors if each.certainty == "possible"),
        tuple(explained),
        tuple(each for each in own if each.severity == "warning"),
        tuple(each for each in own if each.severity == "note"),
    )
