"""The registry of root causes, and `judge`, which runs the rules over an exchange; what a hit means for the report is
concluded in `diagnose`.

A rule is a function over one kind of element (or over the whole exchange) that yields hits and contains no prose. Its
name is the cause's name in the catalogue. A cause that only words can show (a log line) is declared without function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from wsdiag.model import (
    Blame,
    Candidate,
    Certainty,
    Exchange,
    Finding,
    Hit,
    LineSpan,
    Severity,
    Span,
    Value,
)
from wsdiag.record import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Iterable[Hit]])


class Cause(NamedTuple):
    """A root cause (or a symptom): what is fixed about it, whoever finds it.

    `masks` names the findings that this one explains: beside it they are consequences. A `symptom` may be primary only
    while nothing better is known; `candidates` are its plausible causes in the order an expert would check them, used
    when a hit brings none of its own, and `next_steps` the steps that separate them. What is `forgiven` is only a
    warning when the handshake succeeded all the same (many servers do not check every header).
    """

    name: str
    code: str
    severity: Severity
    blame: Blame
    reference: str
    masks: tuple[str, ...] = ()
    symptom: bool = False
    candidates: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    forgiven: bool = False


class Rule(NamedTuple):
    """A cause that bytes can show: the function that looks, and the kind of element that it looks at."""

    cause: Cause
    on: type[Any]
    certainty: Certainty
    find: Callable[[Any], Iterable[Hit]]


_causes: dict[str, Cause] = {}
_codes: set[str] = set()
_rules: list[Rule] = []


def declare(
    name: str,
    code: str,
    *,
    severity: Severity = "error",
    blame: Blame,
    ref: str,
    masks: tuple[str, ...] = (),
    symptom: bool = False,
    candidates: tuple[str, ...] = (),
    next_steps: tuple[str, ...] = (),
    forgiven: bool = False,
) -> Cause:
    """Enter a cause in the catalogue. Names and codes are unique; a second declaration of either is an error."""
    if name in _causes or code in _codes:
        raise ValueError(f"{name} or {code} is declared twice")
    _codes.add(code)
    cause = Cause(name, code, severity, blame, ref, masks, symptom, candidates, next_steps, forgiven)
    _causes[name] = cause
    return cause


def rule(
    code: str,
    *,
    on: type[Any],
    severity: Severity = "error",
    certainty: Certainty = "certain",
    blame: Blame,
    ref: str,
    masks: tuple[str, ...] = (),
    symptom: bool = False,
    candidates: tuple[str, ...] = (),
    next_steps: tuple[str, ...] = (),
    forgiven: bool = False,
) -> Callable[[F], F]:
    """Make the function below a rule: its name (with dashes) is the cause's name, `on` the kind of element it is given.

    A rule on `Exchange` is given the exchange; on any other type it is given each element of that type, either side.
    """

    def enter(function: F) -> F:
        cause = declare(
            function.__name__.replace("_", "-"),
            code,
            severity=severity,
            blame=blame,
            ref=ref,
            masks=masks,
            symptom=symptom,
            candidates=candidates,
            next_steps=next_steps,
            forgiven=forgiven,
        )
        _rules.append(Rule(cause, on, certainty, function))
        return function

    return enter


def hit(
    *spans: Span | LineSpan,
    variant: str = "",
    certainty: Certainty | None = None,
    blame: Blame | None = None,
    candidates: tuple[Candidate | str, ...] = (),
    next_steps: tuple[str, ...] = (),
    severity: Severity | None = None,
    **values: Value,
) -> Hit:
    """A hit at these places. Keyword arguments become the values that the words are filled with."""
    return Hit(
        spans,
        values,
        variant,
        certainty,
        blame,
        tuple(Candidate(each) if isinstance(each, str) else each for each in candidates),
        next_steps,
        severity,
    )


def catalogue() -> dict[str, Cause]:
    """Every cause by name, in the order of declaration."""
    _load()
    return _causes


def is_cause(found: Finding, causes: dict[str, Cause]) -> bool:
    """True for a root cause that may explain others: an error that is at least likely and no mere symptom."""
    return found.severity == "error" and found.certainty != "possible" and not causes[found.name].symptom


def judge(exchange: Exchange) -> Iterator[tuple[Rule, Hit]]:
    """Run every rule over the exchange and its elements."""
    _load()
    by_type: dict[type[Any], list[Any]] = {Exchange: [exchange]}
    for element in (*exchange.client, *exchange.server, *exchange.connection.frames):
        by_type.setdefault(type(element), []).append(element)
    for each in _rules:
        for subject in by_type.get(each.on, ()):
            for found in each.find(subject):
                yield each, found


def _load() -> None:
    """Import the modules that hold the rules, once; a plain list, so that nothing depends on discovery."""
    from wsdiag.rules import (  # noqa: F401
        evidence,
        listener,
        messages,
        preamble,
        proxy,
        refusal,
        request,
        response,
        socketio,
        tls,
        transport,
    )
