"""The commands of next steps: lines to copy, made from what the evidence tells of host, port and path.

Their words are in `words/<lang>/steps.toml`. What was captured may be hostile, so a value goes into a command only if
it is made of harmless characters; otherwise a placeholder stands there.
"""

from wsdiag.model import NextStep, Values
from wsdiag.pattern import pattern

_HOST = pattern(r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?")
_PATH = pattern(r"/[A-Za-z0-9._~/-]{0,200}")
# The key of RFC 6455's own example: fixed, so that the right answer is known (s3pPLMBiTxaQ9kYGzzhZRbK+xOo=).
_UPGRADE = (
    "curl -i -N --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
    "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' {scheme}://{authority}{path}"
)
DEFAULT_PORTS = {"ws": "80", "http": "80", "wss": "443", "https": "443"}  # RFC 6455 section 3
COMMANDS = {
    "curl-upgrade": _UPGRADE,
    "check-tls-port": "openssl s_client -connect {authority}",
    "ask-console": "php start.php start",
    "ask-what-listens": "ss -ltnp 'sport = :{port}'",
    "wait-for-syn-capture": "tcpdump -i any -s 0 -w ws.pcap 'tcp port {port}'",
    "capture-whole": "tcpdump -i any -s 0 -w ws.pcap 'tcp port {port}'",
    "capture-from-start": "tcpdump -i any -s 0 -w ws.pcap 'tcp port {port}'",
    "check-dns": "getent hosts {host}",
}


def step(name: str, values: Values) -> NextStep:
    """The next step of that name, with its command if it has one."""
    template = COMMANDS.get(name)
    if template is None:
        return NextStep(name, values)
    host, port, path = str(values.get("host", "")), str(values.get("port", "")), str(values.get("path", "/"))
    host = host if _HOST.fullmatch(host) else "HOST"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    asked = str(values.get("scheme", "")).lower()
    scheme = "https" if asked in ("wss", "https") else "http"
    if not port.isdigit():
        port = DEFAULT_PORTS.get(asked, "PORT") if host != "HOST" else "PORT"
    path = path.split("?", 1)[0]
    command = template.format(
        host=host, port=port, path=path if _PATH.fullmatch(path) else "/", scheme=scheme, authority=f"{host}:{port}"
    )
    return NextStep(name, values, command)
