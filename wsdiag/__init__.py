"""wsdiag names the root cause when a WebSocket will not connect, with the bytes or the line that prove it.

`diagnose` takes text, bytes and paths and gives the report; `Report` and the records in it are in `wsdiag.model`.
"""

TYPE_CHECKING = False  # importing typing to learn this would take as long as a tenth of `wsdiag decode`

if TYPE_CHECKING:
    from typing import Any

    from wsdiag.api import diagnose
    from wsdiag.model import Finding, Report, WsdiagError

__version__ = "0.1.0"

__all__ = ["Finding", "Report", "WsdiagError", "diagnose"]


def __getattr__(name: str) -> "Any":
    # Loaded when asked for: `wsdiag decode` starts in a few milliseconds because this module imports nothing.
    if name == "diagnose":
        from wsdiag.api import diagnose

        return diagnose
    if name in ("Finding", "Report", "WsdiagError"):
        from wsdiag import model

        return getattr(model, name)
    raise AttributeError(f"module 'wsdiag' has no attribute {name!r}")
