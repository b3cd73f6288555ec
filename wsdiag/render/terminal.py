"""The report in a terminal: verdict first, then the user's own line or bytes, why, the fix to copy, and what else.

The evidence itself is drawn by `evidence`, the conversation by `ladder`, pages of the catalogue by `pages`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from wsdiag.model import Finding, Input, Report, Value, Verdict, wants_upgrade
from wsdiag.record import TYPE_CHECKING
from wsdiag.render.annotate import SIDES
from wsdiag.render.clean import clean, clean_block
from wsdiag.render.evidence import Evidence, diff_kind
from wsdiag.render.layout import Page
from wsdiag.render.story import Story, story

if TYPE_CHECKING:
    from wsdiag.render.words import Words

# Places that are shown of one finding; more of the same prove nothing more.
MAX_PLACES = 3
MAX_PLACES_VERBOSE = 12
# Candidates that are told with their fix; of the others only the title.
MAX_TOLD_CANDIDATES = 3
# Connections whose bytes are shown with -v; a capture may hold thousands.
MAX_CONNECTIONS = 20
_VERDICT_STYLE = {"faulty": "bad", "healthy": "good", "undecided": "unsure"}


def report(
    report: Report,
    words: "Words",
    *,
    width: int = 80,
    color: bool = False,
    unicode: bool = True,
    verbose: int = 0,
    counted: Mapping[tuple[Verdict, str | None], int] | None = None,
) -> str:
    """The report as text for a terminal of that width. `unicode`: whether its encoding has our signs (✓ │ …).

    `counted` says how many connections had which verdict and cause, where the report holds only examples of them.
    """
    telling = _Telling(report, words, Page(width, color, unicode), verbose)
    telling.counted = counted
    return telling.whole()


def decoded(
    report: Report,
    words: "Words",
    *,
    width: int = 80,
    color: bool = False,
    unicode: bool = True,
    verbose: int = 0,
) -> str:
    """What `decode` prints: what was recognised, the annotated bytes of each connection, then the findings."""
    telling = _Telling(report, words, Page(width, color, unicode), verbose)
    telling.inputs()
    for connected in report.connections[:MAX_CONNECTIONS]:
        telling.bytes(connected.exchange.connection.id)
    telling.verdict(places=False)
    return telling.page.text()


def verdict_words(report: Report, words: "Words") -> dict[str, Value]:
    """The verdict and what it means, for a report without a primary cause."""
    key: str = report.verdict
    if key == "undecided" and not any(each.severity != "note" for each in report.findings):
        begun = any(
            (request := each.exchange.request) is not None and wants_upgrade(request) for each in report.connections
        )
        key = "undecided-begun" if begun else "undecided-nothing"
    return {
        "verdict": words.text("report", f"verdict.{report.verdict}"),
        "title": words.text("report", f"verdict.{key}-title"),
    }


class _Telling:
    """One report on its way to a page."""

    def __init__(self, report: Report, words: "Words", page: Page, verbose: int) -> None:
        self.report = report
        self.words = words
        self.page = page
        self.verbose = verbose
        self.connections = {each.exchange.connection.id: each for each in report.connections}
        self.evidence = Evidence(page, words, self.connections)
        self.story: Story = story(report)
        self.counted: Mapping[tuple[Verdict, str | None], int] | None = None

    def say(self, key: str, **values: Value) -> str:
        return self.page.spell(self.words.text("report", key, **values))

    def whole(self) -> str:
        self.verdict(places=True)
        self.counts()
        if self.verbose:
            for number in list(self.connections)[:MAX_CONNECTIONS]:
                self.conversation(number)
                self.bytes(number)
        self.inputs()
        return self.page.text()

    def verdict(self, *, places: bool) -> None:
        """The verdict and everything that explains it; `places` shows the evidence too."""
        told = self.story
        sign = self.page.glyph(_VERDICT_STYLE[self.report.verdict]) + " "
        style = _VERDICT_STYLE[self.report.verdict]
        self.page.gap()
        if told.primary:
            self._main(told.primary, sign, style, places)
        else:
            self.page.paragraph(
                self.say("verdict.line", **verdict_words(self.report, self.words)), lead=sign, style=style
            )
            if places and told.candidates:
                self._places(told.candidates[0])
        self._candidates(told.candidates)
        self._others("heading.causes", told.causes, places)
        self._others("heading.warnings", told.warnings, places)
        self._brief("heading.consequences", told.consequences)
        self._others("heading.notes", told.notes, places, notes=True)
        self._next()

    def _main(self, finding: Finding, sign: str, style: str, places: bool) -> None:
        title, why, fix = self.words.finding(finding)
        self.page.paragraph(title, lead=f"{sign}{finding.code} ", style=style)
        self.page.paragraph(self._about(finding), indent="  ", style="dim")
        if places:
            self._places(finding)
        self._section("heading.why", why)
        self._fix(finding, fix)

    def _about(self, finding: Finding) -> str:
        dot = f" {self.page.glyph('dot')} "
        parts = [finding.name, self.say(f"certainty.{finding.certainty}"), self.say(f"blame.{finding.blame}")]
        if finding.occurrences > 1:
            parts.append(self.say("seen.occurrences", count=finding.occurrences))
        return dot.join(parts)

    def _places(self, finding: Finding) -> None:
        limit = MAX_PLACES_VERBOSE if self.verbose else MAX_PLACES
        places = list(dict.fromkeys(finding.places))
        # The same in another connection proves nothing more; the counts tell how many there are.
        first = next((place.connection for place in places if place.connection is not None), None)
        shown = [place for place in places if self.verbose or place.connection in (None, first)][:limit]
        for place in shown:
            self.page.gap()
            self.evidence.place(place, finding)
        if len(places) > len(shown):
            self.page.line("  ", ("dim", self.say("seen.more", count=len(places) - len(shown))))

    def _section(self, heading: str, text: str) -> None:
        if not text:
            return
        self.page.gap()
        self.page.line(("head", self.say(heading)))
        self.page.paragraph(text, indent="  ")

    def _fix(self, finding: Finding, fix: str) -> None:
        from wsdiag.render.fixes import diff

        change = diff(finding)
        if not fix and not change:
            return
        self._section("heading.fix", fix)
        if change:
            self.page.gap()
            self._diff(change)

    def _diff(self, change: str) -> None:
        """A diff as it is, from the first column, so that it can be copied and applied."""
        for line in clean_block(change).rstrip("\n").split("\n"):
            self.page.line((diff_kind(line), line))

    def _candidates(self, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        self.page.gap()
        self.page.line(("head", self.say("heading.candidates")))
        for number, finding in enumerate(findings, 1):
            title, why, fix = self.words.finding(finding)
            self.page.paragraph(f"{title} ({finding.code} {finding.name})", indent="  ", lead=f"{number}. ")
            if number <= MAX_TOLD_CANDIDATES or self.verbose:
                if self.verbose and why:
                    self.page.paragraph(why, indent="     ")
                if fix:
                    self.page.paragraph(fix, indent="     ", lead=f"{self.page.glyph('right')} ", style="")

    def _others(self, heading: str, findings: Sequence[Finding], places: bool, *, notes: bool = False) -> None:
        """Findings with their own reasons: further causes, warnings, and notes (those without the evidence)."""
        if not findings:
            return
        self.page.gap()
        self.page.line(("head", self.say(heading)))
        for finding in findings:
            title, why, fix = self.words.finding(finding)
            self.page.paragraph(
                f"{title} ({finding.code} {finding.name})", indent="  ", lead=f"{self.page.glyph('point')} "
            )
            if notes and not self.verbose:
                continue
            if places and not notes:
                self._places(finding)
                self.page.gap()
            for text in (why, fix):
                if text:
                    self.page.paragraph(text, indent="    ")
            from wsdiag.render.fixes import diff

            if change := diff(finding):
                self.page.gap()
                self._diff(change)
                self.page.gap()

    def _brief(self, heading: str, findings: Sequence[Finding]) -> None:
        if not findings:
            return
        self.page.gap()
        self.page.line(("head", self.say(heading)))
        for finding in findings:
            title = self.words.finding(finding)[0]
            lead = f"{self.page.glyph('dot')} "
            self.page.paragraph(f"{title} ({finding.code} {finding.name})", indent="  ", lead=lead)

    def _next(self) -> None:
        if not self.report.next_steps:
            return
        self.page.gap()
        self.page.line(("head", self.say("heading.next")))
        many = len(self.report.next_steps) > 1
        for number, step in enumerate(self.report.next_steps, 1):
            lead = f"{number}. " if many else f"{self.page.glyph('point')} "
            self.page.paragraph(self.words.step(step), indent="  ", lead=lead)
            if step.command:
                for line in clean_block(step.command).split("\n"):
                    self.page.line("  " + " " * len(lead), ("code", f"$ {line}"))

    def counts(self) -> None:
        """How many connections there are and of what; nothing for a single one."""
        counted = Counter(self.counted or ((each.verdict, each.primary) for each in self.report.connections))
        total = counted.total()
        if total < 2:
            return
        self.page.gap()
        self.page.line(("head", self.say("connection.count", count=total)))
        room = len(str(total))
        for (verdict, primary), count in counted.most_common():
            name = f"{primary} ({self.say(f'verdict.{verdict}')})" if primary else self.say(f"verdict.{verdict}")
            sign = self.page.glyph(_VERDICT_STYLE[verdict])
            self.page.line(f"  {count:>{room}} ", (_VERDICT_STYLE[verdict], sign), f" {name}")

    def conversation(self, number: int) -> None:
        """The ladder of one connection."""
        from wsdiag.render.ladder import draw_ladder, ladder

        self.page.gap()
        self.page.line(("head", f"{self.say('heading.conversation')} {self._number(number)}".rstrip()))
        draw_ladder(self.page, self.words, ladder(self.connections[number], self.report.findings))

    def bytes(self, number: int) -> None:
        """The annotated bytes of both directions of one connection."""
        connected = self.connections[number]
        for side in SIDES:
            stream = connected.exchange.connection.stream(side)
            if not stream.data and not connected.exchange.elements(side):
                continue
            self.page.gap()
            heading = self.say("side.heading", side=self.say(f"side.{side}-sent"), count=len(stream.data))
            self.page.line(("head", f"{self._number(number)} {heading}".strip()))
            self.evidence.stream(connected, side, self.report.findings)

    def _number(self, number: int) -> str:
        return self.say("connection.title", number=number) if len(self.connections) > 1 else ""

    def inputs(self) -> None:
        """What was recognised in each input, what was dropped and what was cut."""
        if not self.report.inputs:
            return
        self.page.gap()
        for each in self.report.inputs:
            self.page.paragraph(self.say("input.read", line=self.input(each)), style="dim")
        capture = self.report.capture
        if capture:
            counts = {"packets": capture.packets, "bytes": capture.bytes}
            lines = [self.say("input.capture-counts", **counts)]
            if capture.dropped:
                lines.append(self.say("input.capture-dropped", count=capture.dropped))
            if capture.truncated:
                lines.append(self.say("input.capture-truncated"))
            for line in lines:
                self.page.paragraph(line, indent="  ", style="dim")

    def input(self, each: Input) -> str:
        """One input: its name, what it was recognised as, and what is to be told about it."""
        told = [self.words.text("report", f"input.{each.kind}"), *(self.words.note(note) for note in each.notes)]
        what = self.words.text("report", "input.and").join(told)
        return self.say("input.line", source=clean(each.source), what=what)
