"""Records behave as typing's NamedTuple does: the same class body is made with both and compared."""

import copy
import importlib
import pickle
import pkgutil
import subprocess
import sys
import typing
from typing import Any

import pytest

import wsdiag
from wsdiag.record import NamedTuple


class Plain(NamedTuple):
    """A record for these tests."""

    side: str
    start: int
    stop: int = 7
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How long."""
        return self.stop - self.start

    def moved(self, by: int) -> "Plain":
        """The same, elsewhere."""
        return self._replace(start=self.start + by, stop=self.stop + by)

    @classmethod
    def whole(cls) -> "Plain":
        """All of it."""
        return cls("client", 0)


class Like(typing.NamedTuple):
    """A record for these tests."""

    side: str
    start: int
    stop: int = 7
    notes: tuple[str, ...] = ()


class One(NamedTuple):
    """A single field."""

    value: int


class Nothing(NamedTuple):
    """No field."""


class Longer(Plain):
    """A class derived from a record, which typing allows as well."""

    __slots__ = ()

    def __new__(cls, side: str) -> "Longer":
        """With another signature."""
        return super().__new__(cls, side, 1)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a", 1), {}),
    (("a", 1, 2), {}),
    (("a", 1, 2, ("x",)), {}),
    (("a",), {"start": 3}),
    ((), {"start": 3, "side": "b", "notes": ("y",)}),
]
WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("a",), {}),
    (("a", 1, 2, (), 5), {}),
    (("a", 1), {"size": 2}),
    (("a", 1), {"side": "b"}),
]


@pytest.mark.parametrize(("values", "named"), CALLS)
def test_records_are_what_typing_makes(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    ours, theirs = Plain(*values, **named), Like(*values, **named)
    assert tuple.__eq__(ours, theirs)
    assert hash(ours) == hash(theirs)
    assert tuple(ours) == tuple(theirs)
    assert [getattr(ours, field) for field in Plain._fields] == list(theirs)
    assert ours._asdict() == theirs._asdict()
    assert repr(ours) == repr(theirs).replace("Like", "Plain")
    assert tuple(ours._replace(stop=9)) == tuple(theirs._replace(stop=9))
    assert type(ours._replace(stop=9)) is Plain
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert type(pickle.loads(pickle.dumps(ours))) is Plain
    assert type(copy.deepcopy(ours)) is Plain


@pytest.mark.parametrize(("values", "named"), WRONG)
def test_wrong_arguments_are_refused_alike(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as theirs:
        Like(*values, **named)
    with pytest.raises(TypeError) as ours:
        Plain(*values, **named)
    assert str(ours.value).removeprefix("Plain.") == str(theirs.value).removeprefix("Like.")


def test_the_classes_describe_themselves_alike() -> None:
    assert Plain._fields == Like._fields == Plain.__match_args__
    assert Plain._field_defaults == Like._field_defaults
    assert Plain.__annotations__ == Like.__annotations__
    assert Plain.__doc__ == Like.__doc__
    assert Plain.__module__ == __name__
    assert type(Plain) is type
    assert not hasattr(Plain("a", 1), "__dict__")


def test_records_refuse_what_typing_refuses() -> None:
    record = Plain("a", 1)
    with pytest.raises(AttributeError):
        record.side = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        record.other = 1  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="other"):
        record._replace(other=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Plain._make(("a",))
    with pytest.raises(TypeError):
        exec("class Bad(NamedTuple):\n    a: int = 1\n    b: int", {"NamedTuple": NamedTuple})


def test_methods_properties_and_derived_classes() -> None:
    assert Plain.whole().size == 7
    assert Plain("a", 1, 2).moved(3) == ("a", 4, 5, ())
    derived = Longer("a")
    assert derived == ("a", 1, 7, ())
    assert type(derived) is Longer
    assert Plain("b", 2) == ("b", 2, 7, ())  # the derived class has not taken the constructor
    match Plain("a", 1):
        case Plain(side, start):
            assert (side, start) == ("a", 1)
        case _:
            pytest.fail("patterns match by position")


def test_small_records() -> None:
    assert One(5) == (5,)
    assert One(value=5).value == 5
    assert repr(One(5)) == "One(value=5)"
    assert Nothing() == ()
    assert pickle.loads(pickle.dumps(Nothing())) == Nothing()


def test_every_record_of_the_package_takes_its_fields() -> None:
    """Whatever wsdiag defines can be made, by position and by name."""
    seen = 0
    for module in pkgutil.walk_packages(wsdiag.__path__, "wsdiag."):
        if module.name.endswith("__main__"):
            continue
        for record in vars(importlib.import_module(module.name)).values():
            if isinstance(record, type) and hasattr(record, "_fields") and record.__module__ == module.name:
                fields: tuple[str, ...] = record._fields
                made = record(*range(len(fields)))
                assert made == record(**dict(zip(fields, range(len(fields)), strict=True)))
                seen += 1
    assert seen > 80


def test_a_process_that_loads_the_records_does_without_typing() -> None:
    code = "import sys; before = set(sys.modules); import wsdiag.model; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "wsdiag.record" in done.stdout.split()
    assert "typing" not in done.stdout.split()
