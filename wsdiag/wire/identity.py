"""The answer of `identify`: what some bytes are, and how sure that is."""

from __future__ import annotations

from wsdiag.record import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Literal


class Identity(NamedTuple):
    """`kind` is a protocol's slug, `detail` a short quotation or a message's name.

    `sure`: "certain", "likely", or "partial" when more bytes are needed to tell.
    """

    kind: str
    detail: str
    sure: Literal["certain", "likely", "partial"]
