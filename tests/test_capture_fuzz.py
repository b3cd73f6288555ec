"""A quick part of tests/fuzz/captures.py, which reads ten thousand."""

from tests.fuzz import captures


def test_mangled_captures_raise_nothing() -> None:
    assert sum(1 for _ in captures.run(300, 7)) == 300
