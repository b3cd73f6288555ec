"""Many connections at a glance: counts per cause, a timeline, the rows of a table, and which to show in full.

Numbers and words for `html`; it draws nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from wsdiag.model import ConnectionReport, Endpoint, Verdict

Say: TypeAlias = Callable[..., str]

# Of each cause so many connections are shown with their bytes: two alike show what they have in common.
DETAILED_PER_CAUSE = 2
MAX_DETAILED = 12
# A table of more rows than this makes a page that no browser scrolls; a page of 3 MB holds about as many.
MAX_LISTED = 15_000
TIMELINE_BARS = 100
SIGNS = {"faulty": "✗", "healthy": "✓", "undecided": "?"}


def most_telling(connections: Sequence[ConnectionReport]) -> list[ConnectionReport]:
    """The first few connections of each cause, in the order of the report."""
    if len(connections) <= MAX_DETAILED // 2:
        return list(connections)
    seen: Counter[tuple[str, str | None]] = Counter()
    chosen = []
    for each in connections:
        key = (each.verdict, each.primary)
        seen[key] += 1
        if seen[key] <= DETAILED_PER_CAUSE:
            chosen.append(each)
        if len(chosen) >= MAX_DETAILED:
            break
    return chosen


def counts(connections: Sequence[ConnectionReport], say: Say) -> list[dict[str, Any]]:
    """How many connections there are of each verdict and cause, the most frequent first."""
    counted = Counter((each.verdict, each.primary) for each in connections)
    return [
        {
            "name": primary or say(f"verdict.{verdict}"),
            "verdict": verdict,
            "word": say(f"verdict.{verdict}"),
            "count": count,
            "share": f"{count * 100 / len(connections):.2f}",
        }
        for (verdict, primary), count in counted.most_common()
    ]


def timeline(connections: Sequence[ConnectionReport]) -> dict[str, Any] | None:
    """When the connections were opened, as stacked bars; None without times."""
    times = [(at, each.verdict) for each in connections if (at := opened(each)) is not None]
    if len(times) < 2:
        return None
    first = min(at for at, _ in times)
    length = max(at for at, _ in times) - first
    if length <= 0:
        return None
    bins: Counter[tuple[int, Verdict]] = Counter(
        (min(int((at - first) / length * TIMELINE_BARS), TIMELINE_BARS - 1), verdict) for at, verdict in times
    )
    heights: Counter[int] = Counter()
    for (at, _), count in bins.items():
        heights[at] += count
    top = max(heights.values())
    width = 600 / TIMELINE_BARS
    bars = []
    filled: Counter[int] = Counter()
    for (at, verdict), count in sorted(bins.items(), key=lambda item: (item[0][0], item[0][1] != "faulty")):
        height = count / top * 78
        filled[at] += count
        bars.append(
            {
                "verdict": verdict,
                "x": f"{at * width:.1f}",
                "y": f"{94 - filled[at] / top * 78:.1f}",
                "width": f"{width - 1:.1f}",
                "height": f"{height:.1f}",
            }
        )
    return {"bars": bars, "seconds": f"{length:.3f}".rstrip("0").rstrip("."), "top": top}


def listed(connections: Sequence[ConnectionReport], say: Say) -> Iterator[dict[str, Any]]:
    """A row of the table for each connection."""
    first = min((at for each in connections if (at := opened(each)) is not None), default=None)
    for each in connections[:MAX_LISTED]:
        of = each.exchange.connection
        at = opened(each)
        yield {
            "id": of.id,
            "client": address(of.client_endpoint),
            "server": address(of.server_endpoint),
            "packets": f"{of.first_packet}–{of.last_packet}" if of.first_packet else "",
            "time": f"{at - first:.3f} s" if at is not None and first is not None else "",
            "verdict": each.verdict,
            "cause": f"{SIGNS[each.verdict]} {each.primary or say(f'verdict.{each.verdict}')}",
        }


def address(endpoint: Endpoint | None) -> str:
    """Host and port as a URL writes them."""
    if endpoint is None:
        return ""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def opened(connected: ConnectionReport) -> float | None:
    """When the connection was opened, in seconds since the epoch."""
    transport = connected.exchange.connection.transport
    if transport is None:
        return None
    return transport.opened_at if transport.opened_at is not None else transport.request_at
