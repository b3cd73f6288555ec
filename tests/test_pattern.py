"""Expressions that are compiled late do what compiled ones do, and every one in the package can be compiled."""

import importlib
import pkgutil
import re

import pytest

import wsdiag
from wsdiag import pattern as module
from wsdiag.pattern import pattern

TEXT = "one two  three"


def test_all_methods_are_those_of_the_compiled_expression() -> None:
    late, compiled = pattern(r"(\w+)\s*", re.ASCII), re.compile(r"(\w+)\s*", re.ASCII)
    assert late.sub("x", TEXT) == compiled.sub("x", TEXT)
    assert late.findall(TEXT) == compiled.findall(TEXT)
    assert late.split(TEXT) == compiled.split(TEXT)
    assert [found.span() for found in late.finditer(TEXT)] == [found.span() for found in compiled.finditer(TEXT)]
    for method in ("match", "search", "fullmatch"):
        ours, theirs = getattr(late, method)(TEXT, 4), getattr(compiled, method)(TEXT, 4)
        assert (ours and ours.span()) == (theirs and theirs.span())
    assert late.pattern == compiled.pattern
    assert late.groups == 1


def test_nothing_is_compiled_before_it_is_used() -> None:
    late = pattern("(never closed")
    with pytest.raises(re.error):
        late.search("")


def test_every_expression_of_the_package_compiles() -> None:
    seen = 0
    for each in pkgutil.walk_packages(wsdiag.__path__, "wsdiag."):
        if each.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(each.name)).values():
            if isinstance(value, module._Pattern):
                assert value.fullmatch is not None
                seen += 1
    assert seen > 10
