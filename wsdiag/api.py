"""wsdiag for other programs: one function that takes whatever the user has and gives the report."""

from collections.abc import Sequence
from contextlib import ExitStack
from io import BufferedReader, BytesIO
from os import PathLike, fspath
from typing import BinaryIO, cast

from wsdiag.diagnosis import diagnose_evidence
from wsdiag.inputs import Opened, gathered, head, opened
from wsdiag.intake.recognise import recognise
from wsdiag.model import Report

Source = str | bytes | PathLike[str]


def diagnose(*sources: Source | Sequence[Source]) -> Report:
    """One report from all sources: text as `str`, anything as `bytes`, files as `pathlib.Path`.

    Raises `WsdiagError` when a file cannot be read; bad evidence never raises.

    >>> diagnose("recv data before handshake. Buffer:474554202f20485454502f312e310d0a").primary
    'listener-ws-scheme'
    >>> diagnose(b"GET /chat HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n").verdict
    'faulty'
    """
    flat: list[Source] = []
    for source in sources:
        if isinstance(source, (str, bytes, PathLike)):
            flat.append(source)
        else:
            flat += source
    with ExitStack() as stack:
        inputs = []
        for number, source in enumerate(flat, 1):
            if isinstance(source, PathLike):
                name = fspath(source)
                stream = stack.enter_context(opened(name))
            else:
                name = f"text {number}" if isinstance(source, str) else f"bytes {number}"
                data = source.encode("utf-8", "surrogateescape") if isinstance(source, str) else source
                stream = cast(BinaryIO, BufferedReader(BytesIO(data)))
            inputs.append(Opened(name, stream, recognise(head(stream, name))))
        return diagnose_evidence(gathered(inputs))
