"""Which ports belong to one way from client to server: what is wrong at one of them explains nothing at a stranger's.

That a port is the same one is known from packets, addresses and URLs; what is wrong there is left to the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wsdiag.model import Finding, Value, Values
from wsdiag.pattern import pattern
from wsdiag.rules.story import Story, legs

_PORT = pattern(r":(\d{1,5})(?:[/?\"']|$)")
# Programs that answer for a server at another port.
PROXIES = (
    "nginx",
    "openresty",
    "tengine",
    "haproxy",
    "caddy",
    "traefik",
    "envoy",
    "apache",
    "cloudflare",
    "awselb",
    "iis",
    "varnish",
    "kong",
    "vercel",
    "cloudfront",
)


class Ports:
    """Which ports belong to one way from client to server: a proxy's front and back are linked by what shows both."""

    def __init__(self, story: Story, findings: Iterable[Finding]) -> None:
        self._group: dict[int, int] = {}
        for values in (*(fact.hit.values for fact in story.facts), *(found.values for found in findings)):
            self._link(ports_in(values))
        servers = [each.exchange.connection.server_endpoint for each in story.reports]
        by_id = {each.exchange.connection.id: server for each, server in zip(story.reports, servers, strict=True)}
        pairs = [(by_id.get(pair.outer), by_id.get(pair.inner)) for pair in story.evidence.pairings]
        pairs += [
            (outer.exchange.connection.server_endpoint, inner.exchange.connection.server_endpoint)
            for outer, inner in legs(story)
        ]
        for outer, inner in pairs:
            if outer is not None and inner is not None:
                self._link([outer.port, inner.port])

    def _link(self, ports: Sequence[int]) -> None:
        for port in ports[1:]:
            self._group[self._root(port)] = self._root(ports[0])

    def _root(self, port: int) -> int:
        while self._group.get(port, port) != port:
            self._group[port] = self._group.get(self._group[port], self._group[port])  # keeps the way short
            port = self._group[port]
        return port

    def apart(self, cause: Finding, found: Finding) -> bool:
        """True when both ports are known, are different ones, and nothing shows a way from one to the other."""
        one, other = cause.values.get("port"), found.values.get("port")
        if not isinstance(one, int) or not isinstance(other, int) or one == other:
            return False
        return self._root(one) != self._root(other) and not _of_proxy(cause) and not _of_proxy(found)


def ports_in(values: Values) -> list[int]:
    """The ports that one line or finding names: its own, and those in addresses beside it."""
    ports = [value for value in (values.get("port"),) if isinstance(value, int)]
    for name in ("upstream", "address", "url"):
        match = _PORT.search(str(values.get(name, "")))
        if match:
            ports.append(int(match[1]))
    return ports


def _of_proxy(found: Finding) -> bool:
    """True where what was found is (or may well be) a proxy's word about a server at another port."""
    if found.blame == "proxy" or found.name == "response-5xx-upstream":
        return True
    said: Value = found.values.get("server", "")
    return any(name in str(said).lower() for name in PROXIES)


def told_apart(
    findings: list[Finding], ports: Ports, explained: Callable[[Sequence[Finding]], list[Finding]]
) -> list[Finding]:
    """The findings, none of which is explained by a cause at a port that has nothing to do with it.

    `explained` is asked again, with the causes that may explain the finding.
    """
    by_name = {found.name: found for found in findings}
    result = []
    for found in findings:
        cause = by_name.get(found.consequence_of or "")
        if cause is not None and ports.apart(cause, found):
            alone = found._replace(consequence_of=None)
            others = [each for each in findings if each is not found and not ports.apart(each, found)]
            found = next(each for each in explained([alone, *others]) if each.name == found.name)
        result.append(found)
    return result
