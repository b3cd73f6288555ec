"""`NamedTuple` as typing has it, at a sixth of its start-up cost; what the records hold is left to their modules.

typing's own hands each class to `collections.namedtuple`, which compiles a constructor at once: 0.1 ms for each of the
eighty classes that `wsdiag decode` loads, a quarter of its time, though it makes records of two dozen of them. Here the
constructor is compiled when the first record of a class is made, and the rest is shared. Type checkers see typing's.
"""

TYPE_CHECKING = False  # what typing calls so; importing typing costs as much as importing the records

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from _collections import _tuplegetter

    # Getters know only an index, so all classes share them.
    _GETTERS = [_tuplegetter(index, f"Field number {index}") for index in range(32)]

    class _Fields(type):
        """Makes a tuple with named getters of a class body; the class itself is an ordinary one."""

        def __new__(mcs, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            while len(_GETTERS) < len(fields):
                _GETTERS.append(_tuplegetter(len(_GETTERS), f"Field number {len(_GETTERS)}"))
            defaults = {}
            for field, getter in zip(fields, _GETTERS, strict=False):
                if field in body:
                    defaults[field] = body[field]
                elif defaults:
                    raise TypeError(f"field {field} of {name} without a default follows one with a default")
                body[field] = getter
            body["_fields"] = body["__match_args__"] = fields
            body["_field_defaults"] = defaults
            body.setdefault("__slots__", ())
            return type(name, (_Record,), body)

    class _Record(tuple):
        """What all records can do, as `collections.namedtuple` defines it."""

        __slots__ = ()

        def __new__(cls, *values, **named):
            return _constructor(cls)(cls, *values, **named)

        @classmethod
        def _make(cls, values):
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changed):
            made = tuple.__new__(type(self), map(changed.pop, self._fields, self))
            if changed:
                raise ValueError(f"Got unexpected field names: {list(changed)!r}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            shown = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({shown})"

        def __getnewargs__(self):
            return tuple(self)

    def _constructor(cls):
        """Compile the constructor of the class that has the fields, as `collections.namedtuple` does, and keep it."""
        owner = next(each for each in cls.__mro__ if "_fields" in each.__dict__)
        fields = ", ".join(owner._fields)
        # The field names were checked by the compiler: they are the annotated names of a class body.
        values = f"({fields},)" if fields else "()"
        source = f"lambda _class, {fields}: _tuple_new(_class, {values})"
        made = eval(source, {"_tuple_new": tuple.__new__, "__builtins__": {}})  # noqa: S307
        made.__name__ = "__new__"
        made.__qualname__ = f"{owner.__qualname__}.__new__"
        made.__module__ = owner.__module__
        made.__defaults__ = tuple(owner._field_defaults.values())
        owner.__new__ = made
        return made

    NamedTuple = type.__new__(_Fields, "NamedTuple", (), {})

__all__ = ["NamedTuple"]
