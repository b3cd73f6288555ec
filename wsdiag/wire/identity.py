"""The answer of `identify`: what some bytes are, and how sure that is."""

from typing import Literal

from wsdiag.record import NamedTuple


class Identity(NamedTuple):
    """`kind` is a protocol's slug, `detail` a short quotation or a message's name.

    `sure`: "certain", "likely", or "partial" when more bytes are needed to tell.
    """

    kind: str
    detail: str
    sure: Literal["certain", "likely", "partial"]
