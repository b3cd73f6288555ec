"""The catalogue for reading: the list of root causes, and the page of one of them (`wsdiag rules`, `wsdiag explain`).

The words are the ones of the findings, without values; which causes there are is declared in `rules`.
"""

from typing import TYPE_CHECKING

from wsdiag.model import Finding, NextStep
from wsdiag.render.clean import clean_block
from wsdiag.render.evidence import diff_kind
from wsdiag.render.layout import Page
from wsdiag.rules import Cause, catalogue

if TYPE_CHECKING:
    from wsdiag.render.words import Words


def rules_table(words: "Words", *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """Every root cause: code, name and title, in groups as the codes are."""
    page = Page(width, color, unicode)
    causes = sorted(catalogue().values(), key=lambda cause: cause.code)
    names = max((len(cause.name) for cause in causes), default=0)
    group = ""
    for cause in causes:
        if cause.code[:3] != group:
            group = cause.code[:3]
            page.gap()
            heading = words.text("report", f"group.{group[2]}")
            page.line(("head", page.spell(heading)))
        title = words.finding(_finding(cause)).title.replace("`", "")
        mark = "*" if cause.symptom else " "
        lead = f"{cause.code}{mark} {cause.name}"
        if width - names - 10 >= 30:
            page.paragraph(title, lead=f"{lead:<{names + 8}}")
        else:
            page.line(lead)
            page.paragraph(title, indent="    ")
    page.gap()
    page.paragraph(words.text("report", "group.symptom"), style="dim")
    return page.text()


def rules_json(words: "Words") -> str:
    """The same for programs: a list of objects."""
    from wsdiag.render.data import dump

    return (
        dump(
            [
                {
                    "name": cause.name,
                    "code": cause.code,
                    "severity": cause.severity,
                    "blame": cause.blame,
                    "symptom": cause.symptom,
                    "title": words.finding(_finding(cause)).title,
                    "reference": cause.reference,
                }
                for cause in sorted(catalogue().values(), key=lambda cause: cause.code)
            ],
            2,
        )
        + "\n"
    )


def explain_page(name: str, words: "Words", *, width: int = 80, color: bool = False, unicode: bool = True) -> str:
    """The page of one cause: what it means, why, how it is mended, an example, its variants, and what it explains."""
    cause = catalogue()[name]
    page = Page(width, color, unicode)
    finding = _finding(cause)
    title, why, fix = words.finding(finding)
    page.paragraph(title, lead=f"{cause.code} ", style="head")
    dot = f" {page.glyph('dot')} "
    about = [cause.name, *(words.text("report", key) for key in (f"severity.{cause.severity}", f"blame.{cause.blame}"))]
    page.paragraph(dot.join(about), indent="  ", style="dim")
    _section(page, words, "means", _explained(words, name, "means"))
    _section(page, words, "happens", _explained(words, name, "happens"))
    _section(page, words, "why", why)
    _section(page, words, "fix", fix)
    _fixes(page, words, name)
    for key in ("wrong", "right"):
        example = _explained(words, name, key)
        if example:
            page.gap()
            page.line(("head", page.spell(words.text("report", f"heading.{key}"))))
            page.verbatim(clean_block(example.replace("\\n", "\n")).split("\n"), indent="    ")
    _variants(page, words, cause)
    _related(page, words, "heading.candidates", cause.candidates)
    _related(page, words, "heading.explains", cause.masks)
    if cause.next_steps:
        page.gap()
        page.line(("head", page.spell(words.text("report", "heading.next"))))
        for step in cause.next_steps:
            page.paragraph(words.step(NextStep(step)), indent="  ", lead=f"{page.glyph('point')} ")
    _section(page, words, "reference", cause.reference)
    return page.text()


def _finding(cause: Cause, variant: str = "") -> Finding:
    """The cause as a finding without places, for its words."""
    return Finding(cause.name, cause.code, cause.severity, "certain", cause.blame, cause.reference, {}, variant)


def _explained(words: "Words", name: str, key: str) -> str:
    return words.text("explain", f"{name}.{key}") if words.has("explain", f"{name}.{key}") else ""


def _section(page: Page, words: "Words", key: str, text: str) -> None:
    if text:
        page.gap()
        page.line(("head", page.spell(words.text("report", f"heading.{key}"))))
        page.paragraph(text, indent="  ")


def _fixes(page: Page, words: "Words", name: str) -> None:
    """The corrected lines in every framework that we know them for."""
    from wsdiag.render.fixes import examples

    changes = [change for _, change in examples(name)]
    if not changes:
        return
    page.gap()
    page.line(("head", page.spell(words.text("report", "heading.frameworks"))))
    for change in changes:
        page.gap()
        for line in clean_block(change).rstrip("\n").split("\n"):
            page.line((diff_kind(line), line))


def _variants(page: Page, words: "Words", cause: Cause) -> None:
    """The finer words of a cause, where the words have any that we can list."""
    names = words.variants(_finding(cause))
    if not names:
        return
    page.gap()
    page.line(("head", page.spell(words.text("report", "heading.also-called"))))
    for variant in names:
        title = words.finding(_finding(cause, variant)).title
        page.paragraph(f"{variant}: {title}", indent="  ", lead=f"{page.glyph('dot')} ")


def _related(page: Page, words: "Words", heading: str, names: tuple[str, ...]) -> None:
    known = [catalogue()[name] for name in names if name in catalogue()]
    if not known:
        return
    page.gap()
    page.line(("head", page.spell(words.text("report", heading))))
    for cause in known:
        title = words.finding(_finding(cause)).title
        lead = f"{page.glyph('dot')} {cause.code} "
        page.paragraph(f"{title} ({cause.name})", indent="  ", lead=lead)
