"""The report as Markdown for an issue, a chat or a pull request: what GitHub and Gitee render, and nothing of it live.

Evidence stands in code fences that it cannot end; in prose every character that Markdown, HTML, mentions or mermaid
could take for theirs is escaped. What must not be shared was replaced before (`redact`).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wsdiag.model import CLIENT, Finding, Input, Report, Value
from wsdiag.render.annotate import SIDES
from wsdiag.render.clean import clean, clean_block
from wsdiag.render.evidence import Evidence
from wsdiag.render.ladder import Arrow, label, ladder
from wsdiag.render.layout import Page, defused
from wsdiag.render.story import story
from wsdiag.render.terminal import verdict_words

if TYPE_CHECKING:
    from wsdiag.render.words import Words

# An issue is read on a narrow page; longer lines scroll sideways.
FENCE_WIDTH = 96
MAX_PLACES = 3
# Conversations that are drawn; a capture may hold thousands.
MAX_CONVERSATIONS = 3
_SIGNS = {"faulty": "❌", "healthy": "✅", "undecided": "❔"}
_SPECIAL = re.compile(r"[\\`*_\[\]#|~$]|^\s*[-+=!]|^\s*\d+(?=[.)])")
# What GitHub makes into links, mentions, references and emoji after it has read the Markdown; a comment parts them.
_LIVE = re.compile(r"(?<=@)(?=\w)|(?<=#)(?=\d)|(?<=\w:)(?=//)|(?<=www)(?=\.)|(?<=:)(?=[a-z0-9_+\\-]+:)|(?<=GH-)(?=\d)")
_PARTED = "<!-- -->"
# Letters that mermaid takes for itself; anything else goes into its own entity form.
_MERMAID_PLAIN = re.compile(r"[^A-Za-z0-9 ./,_\-+=()\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e→…]")


def document(report: Report, words: "Words", *, redacted: bool = False) -> str:
    """The report as one Markdown document. `redacted`: say that secrets were replaced."""
    return defused("\n".join(_Markdown(report, words).lines(redacted)) + "\n")


def prose(text: str) -> str:
    """Words as Markdown shows them and nothing else; what stands between backticks is code."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return _escaped("'".join(parts))
    return "".join(code(part) if number % 2 else _escaped(part) for number, part in enumerate(parts))


def code(text: str) -> str:
    """Code within a line, in more backticks than it holds itself."""
    text = clean(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def cell(text: str) -> str:
    """Code in a table: a bar would end the cell even there."""
    return _escaped(clean(text))


def fenced(text: str, language: str = "text") -> list[str]:
    """Lines of code in a fence that is longer than any in them."""
    lines = clean_block(text).rstrip("\n").split("\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return [fence + language, *lines, fence]


def mermaid_text(text: str) -> str:
    """A label that mermaid can only draw: every other character as its own entity (`#59;`)."""
    return _MERMAID_PLAIN.sub(lambda match: f"#{ord(match[0])};", clean(text)).strip() or "-"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    out = _SPECIAL.sub(_escape, text)
    return _LIVE.sub(_PARTED, out).replace("\\#", "&#35;" + _PARTED)


def _escape(match: re.Match[str]) -> str:
    """A backslash in front of the sign, behind the digits of what would be a numbered list."""
    shown = match[0]
    return f"{shown}\\" if shown[-1].isdigit() else f"{shown[:-1]}\\{shown[-1]}"


class _Markdown:
    """One report on its way to Markdown."""

    def __init__(self, report: Report, words: "Words") -> None:
        self.report = report
        self.words = words
        self.connections = {each.exchange.connection.id: each for each in report.connections}

    def say(self, key: str, **values: Value) -> str:
        return self.words.text("report", key, **values)

    def lines(self, redacted: bool) -> Iterator[str]:
        """The document's lines."""
        told = story(self.report)
        sign = _SIGNS[self.report.verdict]
        if told.primary:
            yield f"## {sign} {told.primary.code} {prose(self.words.finding(told.primary).title)}"
            yield ""
            yield self._about(told.primary)
            yield from self._told(told.primary)
        else:
            yield f"## {sign} {prose(self.say('verdict.line', **verdict_words(self.report, self.words)))}"
            if told.candidates:
                yield from self._places(told.candidates[0])
        yield from self._list("heading.candidates", told.candidates, ordered=True)
        for heading, findings in (("heading.causes", told.causes), ("heading.warnings", told.warnings)):
            yield from self._sections(heading, findings)
        yield from self._list("heading.consequences", told.consequences)
        yield from self._list("heading.notes", told.notes)
        yield from self._next()
        yield from self._counts()
        yield from self._conversations()
        yield from self._inputs()
        if redacted:
            yield from ("", f"<sub>{prose(self.say('page.redacted'))}</sub>")

    def _about(self, finding: Finding) -> str:
        parts = [code(finding.name), self.say(f"certainty.{finding.certainty}"), self.say(f"blame.{finding.blame}")]
        if finding.occurrences > 1:
            parts.append(self.say("seen.occurrences", count=finding.occurrences))
        return " · ".join(parts)

    def _told(self, finding: Finding) -> Iterator[str]:
        from wsdiag.render.fixes import diff

        _, why, fix = self.words.finding(finding)
        yield from self._places(finding)
        if why:
            yield from ("", f"**{self.say('heading.why')}**", "", prose(why))
        change = diff(finding)
        if fix or change:
            yield from ("", f"**{self.say('heading.fix')}**", "", prose(fix))
        if change:
            yield from ("", *fenced(change, "diff"))
        yield from ("", f"{self.say('heading.reference')}: {prose(finding.reference)}")

    def _places(self, finding: Finding) -> Iterator[str]:
        """The evidence as the terminal draws it: carets need a fixed width anyway."""
        places = list(dict.fromkeys(finding.places))
        first = next((place.connection for place in places if place.connection is not None), None)
        shown = [place for place in places if place.connection in (None, first)][:MAX_PLACES]
        if not shown:
            return
        page = Page(FENCE_WIDTH, False, True)
        evidence = Evidence(page, self.words, self.connections)
        for place in shown:
            page.gap()
            evidence.place(place, finding)
        yield from ("", *fenced(page.text()))
        if len(places) > len(shown):
            yield from ("", self.say("seen.more", count=len(places) - len(shown)))

    def _sections(self, heading: str, findings: Sequence[Finding]) -> Iterator[str]:
        if findings:
            yield from ("", f"### {self.say(heading)}")
        for finding in findings:
            title = prose(self.words.finding(finding).title)
            yield from ("", f"#### {finding.code} {title}", "", self._about(finding), *self._told(finding))

    def _list(self, heading: str, findings: Sequence[Finding], *, ordered: bool = False) -> Iterator[str]:
        if findings:
            yield from ("", f"### {self.say(heading)}", "")
        for number, finding in enumerate(findings, 1):
            title, _, fix = self.words.finding(finding)
            lead = f"{number}." if ordered else "-"
            yield f"{lead} {finding.code} {prose(title)} ({code(finding.name)})"
            if ordered and fix:
                yield f"   <br>→ {prose(fix)}"

    def _next(self) -> Iterator[str]:
        if self.report.next_steps:
            yield from ("", f"### {self.say('heading.next')}", "")
        for number, step in enumerate(self.report.next_steps, 1):
            yield f"{number}. {prose(self.words.step(step))}"
            if step.command:
                yield ""
                yield from ("   " + line for line in fenced(step.command, "sh"))

    def _counts(self) -> Iterator[str]:
        total = len(self.report.connections)
        if total < 2:
            return
        yield from ("", f"### {self.say('connection.count', count=total)}", "")
        columns = ("connection.cause", "connection.verdict", "heading.connections")
        yield f"| {' | '.join(self.say(key) for key in columns)} |"
        yield "| --- | --- | ---: |"
        counted = Counter((each.verdict, each.primary) for each in self.report.connections)
        for (verdict, primary), count in counted.most_common():
            yield f"| {cell(primary or '-')} | {_SIGNS[verdict]} {self.say(f'verdict.{verdict}')} | {count} |"

    def _conversations(self) -> Iterator[str]:
        chosen = []
        seen: set[tuple[str, str | None]] = set()
        for each in self.report.connections:
            if (each.verdict, each.primary) not in seen:
                seen.add((each.verdict, each.primary))
                chosen.append(each)
        for each in chosen[:MAX_CONVERSATIONS]:
            number = each.exchange.connection.id
            arrows = ladder(each, self.report.findings)
            title = self.say("connection.title", number=number)
            yield from ("", f"### {self.say('heading.conversation')} · {title}", "")
            yield from ("```mermaid", "sequenceDiagram", *self._diagram(arrows), "```")
            page = Page(FENCE_WIDTH, False, True)
            evidence = Evidence(page, self.words, self.connections)
            for side in SIDES:
                size = len(each.exchange.connection.stream(side).data)
                if size:
                    page.gap()
                    page.line(self.say("side.heading", side=self.say(f"side.{side}-sent"), count=size))
                    evidence.stream(each, side, self.report.findings or each.findings)
            text = page.text()
            if text:
                yield from ("", f"<details><summary>{self.say('heading.bytes')}</summary>", "")
                yield from (*fenced(text), "", "</details>")

    def _diagram(self, arrows: Sequence[Arrow]) -> Iterator[str]:
        for name, side in (("C", "client"), ("S", "server")):
            yield f"    participant {name} as {mermaid_text(self.say(f'side.{side}'))}"
        for arrow in arrows:
            text = mermaid_text(label(arrow, self.words))
            if arrow.time is not None:
                text += f" ({arrow.time:.3f} s)"
            one, other = ("C", "S") if arrow.sender == CLIENT else ("S", "C")
            if arrow.state == "end":
                yield f"    Note over C,S: {text}"
            elif arrow.state == "missing":
                yield f"    {one}--x{other}: ❌ {text}"
            else:
                yield f"    {one}->>{other}: {'❌ ' if arrow.state == 'wrong' else ''}{text}"

    def _inputs(self) -> Iterator[str]:
        if self.report.inputs:
            yield from ("", f"### {self.say('heading.inputs')}", "")
        for each in self.report.inputs:
            yield f"- {prose(self._input(each))}"
        capture = self.report.capture
        if capture:
            yield f"- {self.say('input.capture-counts', packets=capture.packets, bytes=capture.bytes)}"
            if capture.dropped:
                yield f"- {self.say('input.capture-dropped', count=capture.dropped)}"
            if capture.truncated:
                yield f"- {self.say('input.capture-truncated')}"

    def _input(self, each: Input) -> str:
        told = [self.say(f"input.{each.kind}"), *(self.words.note(note) for note in each.notes)]
        return self.say("input.line", source=each.source, what=self.say("input.and").join(told))
