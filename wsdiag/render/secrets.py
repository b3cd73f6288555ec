"""Finds what must not be shared in a text: credentials, tokens, personal addresses. Replacing it is left to `redact`.

It looks at names (`Cookie:`, `access_token=`), at shapes (JWT, vendors' prefixes, PEM) and at randomness. It would
rather hide a harmless word than show a secret; Sec-WebSocket-Key and -Accept are no secrets and stay checkable.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from wsdiag.record import NamedTuple
from wsdiag.render.secret_names import SECRET_HEADERS, SECRET_WORDS, secret_name, word_set


class Secret(NamedTuple):
    """The characters `start` to `stop` of a text must not be shared; `kind` is a word for the placeholder."""

    start: int
    stop: int
    kind: str


# Values that are states and not secrets, behind whatever name.
_STATES = word_set(
    "true false null none nil undefined yes no on off missing invalid expired required failed failure error ok empty "
    "not is was the a an for in from must should could cannot can't unknown enabled disabled string object"
)
# Subprotocols by their registered or usual names; one that is not here must look like words to be shown.
_SUBPROTOCOLS = word_set(
    "graphql-ws graphql-transport-ws mqtt mqttv3.1 mqttv3.1.1 mqttv5 stomp v10.stomp v11.stomp v12.stomp wamp "
    "wamp.2.json wamp.2.msgpack soap xmpp chat superchat json binary base64 sip ocpp1.5 ocpp1.6 ocpp2.0 ocpp2.0.1 "
    "ocpp2.1 actioncable-v1-json actioncable-unsupported signalr vite-hmr vite-ping nats kafka amqp janus-protocol "
    "v1.k8s.io v2.channel.k8s.io v3.channel.k8s.io v4.channel.k8s.io v5.channel.k8s.io channel.k8s.io "
    "base64.channel.k8s.io lws-mirror-protocol dumb-increment-protocol http-only protoo msrp bfcp cobrowse rfb tty "
    "phoenix socket.io echo-protocol webpack-dev-server"
)
_WORDLIKE = re.compile(r"^(?:[A-Za-z]{1,12}|[A-Za-z]{0,8}v?\d{1,2})(?:[._/-](?:[A-Za-z]{1,12}|v?\d{1,3}))*$")
MAX_SUBPROTOCOL = 32
# A token behind one of these is a credential, whatever it looks like: `new WebSocket(url, ["bearer", token])`.
_ANNOUNCERS = word_set("bearer basic jwt token access_token authorization auth apikey api-key")

# A name and what binds it to its value: `Cookie: `, `token=`, `"password": "`, `'secret' => '`.
_NAME = re.compile(
    r"(?<![\w.\-])-{0,2}(?P<name>\w[\w.\-]{0,60}?)(?:%5[bB](?P<inner>\w{0,60}?)%5[dD]|\[(?P<index>\w{0,60})\])?"
    r"(?P<bind>(?:\\?[\"'])?\s{0,4}(?:=>|%3[dD]|[:=])\s{0,4})(?P<quote>\\?[\"'])?(?=\S)"
)
_LINE_END = re.compile(r"\r|\n|\\r|\\n|\\u000[ad]|\\x0[ad]|\\01[25]")
_VALUE_END = re.compile(r"[&\s\"'<>;,(){}\[\]|\\^`]|%26|$")
_SCHEME = re.compile(r"(?:Bearer|Basic|Digest|Negotiate|NTLM|Token|ApiKey|AWS4-HMAC-SHA256|Hawk|Key)\s+", re.IGNORECASE)
_BEARER = re.compile(r"\b(?:Bearer|Basic)\s+(?![a-z_]+=[\"A-Za-z])(?P<secret>[A-Za-z0-9+/=_.~\-]{6,})", re.IGNORECASE)
_REDIS_AUTH = re.compile(r"(?<![\w-])AUTH\s+(?:\$\d+\s+)?(?P<secret>[^\s\"']+(?:\s+[^\s\"']+)?)")
_USERINFO = re.compile(r"(?<=://)(?P<secret>[^/?#\s\"'<>]{1,400})@")
_USER_OPTION = re.compile(
    r"(?:^|\s)(?:-u|--user|--proxy-user|-b|--cookie|--oauth2-bearer)[ =]+(?P<secret>'[^']*'|\"[^\"]*\"|\S+)"
)
_EMAIL = re.compile(r"(?<![\w.+\-%])[\w.+\-%]{1,64}(?:@|%40)(?:[A-Za-z0-9\-]{1,63}\.)+[A-Za-z]{2,24}(?![\w@])")
_SHAPES = re.compile(
    r"""(?x)
    (?P<jwt>\beyJ[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4})
  | (?P<pem>-----BEGIN\ [A-Z0-9\ ]{3,40}-----(?:(?!-----END).)*(?:-----END\ [A-Z0-9\ ]{3,40}-----)?)
  | (?P<token>
      \b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,}
    | \bgh[pousr]_[A-Za-z0-9]{16,} | \bgithub_pat_\w{16,} | \bgl[a-z]{2,5}-[\w\-]{16,}
    | \bxox[a-z]-[\w\-]{8,} | \bxapp-[\w\-]{8,} | hooks\.slack\.com/services/[\w/]+
    | \b(?:sk|pk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{10,} | \bsk-[A-Za-z0-9_\-]{16,}
    | \bAIza[\w\-]{30,} | \bya29\.[\w\-]{10,} | \bGOCSPX-[\w\-]{10,} | \b1//[\w\-]{20,}
    | \bnpm_[A-Za-z0-9]{20,} | \bpypi-[\w\-]{16,} | \bSG\.[\w\-]{10,}\.[\w\-]{10,} | \bhf_[A-Za-z0-9]{16,}
    | \bshp(?:at|ca|pa|ss)_[A-Fa-f0-9]{16,} | \bsq0[a-z]{3}-[\w\-]{16,} | \bdop_v1_[a-f0-9]{16,} | \bEAA[A-Za-z0-9]{20,}
    | \bkey-[a-f0-9]{20,} | \bhvs\.[\w\-]{16,}
    | \bAccountKey=[A-Za-z0-9+/=]{20,} | \bSharedAccessSignature\b.{0,400}
    )""",
    re.DOTALL,
)
# One of these stands in every match of `_SHAPES`; looking for them first costs a hundredth of looking for the shapes.
_PREFIXES = (
    *(
        "eyJ",
        "-----BEGIN",
        "AKIA",
        "ASIA",
        "AGPA",
        "AIDA",
        "AROA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
    ),
    *("xox", "xapp-", "hooks.slack", "sk_", "pk_", "rk_", "whsec_", "sk-", "AIza", "ya29.", "GOCSPX-", "1//", "npm_"),
    *("pypi-", "SG.", "hf_", "shpat_", "shpca_", "shppa_", "shpss_", "sq0", "dop_v1_", "EAA", "key-", "hvs.", "gl"),
    *("AccountKey=", "SharedAccessSignature"),
)
_NUMBERED = re.compile(
    r"\b(?:\d{8,10}:[A-Za-z0-9_\-]{30,}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)"
)
_RUN = re.compile(r"[A-Za-z0-9_\-+=~%]{16,}(?:[/.][A-Za-z0-9_\-+=~%]{6,})*")
_HEX = re.compile(r"^[0-9a-fA-F]+$")
_KEY_SHAPE = re.compile(r"^(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{27}=)$")
_KEY_CONTEXT = re.compile(r"sec-websocket-(?:key|accept)\W{0,8}$", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])(?<![A-Za-z]/)(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d\.|\w)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{1,4}|(?<=::))(?:%\w+)?(?![\w:])"
)

# Random enough: so many changes between small, capital and digit for each character. Names in CamelCase have 0.25,
# random base64 has 0.6, random hexadecimal 0.45.
MIN_CHANGES = 0.34
# Hexadecimal of this many digits is what sessions, hashes and keys are; longer runs are dumps of bytes.
MIN_HEX_SECRET = 24
MAX_HEX_SECRET = 128


def secrets_in(
    text: str, harmless: frozenset[str] = frozenset(), addresses: frozenset[str] = frozenset()
) -> list[Secret]:
    """The secrets of a text, in order and not overlapping.

    `harmless` are values that stay whatever they look like (the keys of handshakes); `addresses` are the servers'
    own addresses, which are no clients'.
    """
    found: list[Secret] = [*_named(text), *_shaped(text, harmless), *_addresses(text, addresses)]
    found = [each for each in found if each.stop > each.start and text[each.start : each.stop] not in harmless]
    found.sort(key=lambda each: (each.start, -each.stop))
    merged: list[Secret] = []
    for each in found:
        if merged and each.start < merged[-1].stop:
            if each.stop > merged[-1].stop:
                merged[-1] = merged[-1]._replace(stop=each.stop)
        else:
            merged.append(each)
    return merged


def random_looking(text: str) -> bool:
    """True when the characters change between small, capital and digit as often as in a random string."""
    if len(text) < 16:
        return False
    classes = ["d" if char.isdigit() else "u" if char.isupper() else "l" if char.isalpha() else "" for char in text]
    changes = sum(1 for one, other in pairwise(classes) if one and other and one != other)
    return changes / len(classes) >= MIN_CHANGES if classes else False


def _named(text: str) -> Iterator[Secret]:
    """Values behind a name that says what they are."""
    at = 0
    while match := _NAME.search(text, at):
        name, start = match["inner"] or match["index"] or match["name"], match.end()
        at = start if match["quote"] else max(match.end("name") + 1, start)
        lower = name.lower()
        quote = match["quote"]
        if lower in SECRET_HEADERS and (":" in match["bind"] or quote):
            stop = _line_end(text, start, quote or _opening_quote(text, match.start()))
            if scheme := _SCHEME.match(text, start, stop):
                start = scheme.end()
            yield Secret(start, stop, SECRET_HEADERS[lower])
            at = stop
        elif lower == "sec-websocket-protocol":
            stop = _line_end(text, start, quote or _opening_quote(text, match.start()))
            yield from _subprotocols(text, start, stop)
            at = stop
        elif lower in ("subprotocol", "subprotocols"):
            yield from _subprotocols(text, start, _line_end(text, start, quote))
        elif secret_name(name, text[max(match.start() - 1, 0) : match.start()] in ("?", "&")):
            stop = _value_end(text, start, quote)
            if scheme := _SCHEME.match(text, start):
                start = scheme.end()
                stop = max(_value_end(text, start, quote), stop)
            value = text[start:stop]
            if value.lower() not in _STATES and value not in ("=", ":"):
                yield Secret(start, stop, _kind(lower))
                at = max(stop, at)


def _kind(name: str) -> str:
    for word in ("password", "cookie", "session", "email", "token", "key"):
        if word in name:
            return word
    return "secret"


def _opening_quote(text: str, start: int) -> str:
    """The quotation mark in front of a header that is quoted as a whole: `-H 'Cookie: a=b'`."""
    before = text[start - 1 : start]
    return before if before in ('"', "'") else ""


def _line_end(text: str, start: int, quote: str | None) -> int:
    match = _LINE_END.search(text, start)
    stop = match.start() if match else len(text)
    if quote:
        end = text.find(quote, start, stop)
        if end >= 0:
            stop = end
    while stop > start and text[stop - 1] in " \t":
        stop -= 1
    return stop


def _value_end(text: str, start: int, quote: str | None) -> int:
    if quote:
        end = text.find(quote, start)
        if end >= 0:
            return end
    match = _VALUE_END.search(text, start)
    return match.start() if match else len(text)


def _subprotocols(text: str, start: int, stop: int) -> Iterator[Secret]:
    """Tokens that pose as subprotocols: browsers cannot send an Authorization header with a WebSocket."""
    announced = False
    for match in re.finditer(r"[^,\s\"']+", text[start:stop]):
        token = match[0]
        lower = token.lower()
        announces = lower in _ANNOUNCERS
        wordlike = (
            len(token) <= MAX_SUBPROTOCOL
            and bool(_WORDLIKE.match(token))
            and not random_looking(token)
            and not any(part in SECRET_WORDS for part in re.findall(r"[a-z]+", lower))
        )
        if not announces and (announced or not (lower in _SUBPROTOCOLS or wordlike)):
            yield Secret(start + match.start(), start + match.end(), "subprotocol")
        announced = announces


def _shaped(text: str, harmless: frozenset[str]) -> Iterator[Secret]:
    """What is a secret by its look, wherever it stands."""
    if any(prefix in text for prefix in _PREFIXES):
        for match in _SHAPES.finditer(text):
            yield Secret(match.start(), match.end(), match.lastgroup or "token")
    for match in _NUMBERED.finditer(text):
        yield Secret(match.start(), match.end(), "token")
    for pattern, kind in ((_BEARER, "credential"), (_USERINFO, "userinfo"), (_REDIS_AUTH, "password")):
        for match in pattern.finditer(text):
            yield Secret(*match.span("secret"), kind)
    if "-" in text:
        for match in _USER_OPTION.finditer(text):
            yield Secret(*match.span("secret"), "credential")
    if "@" in text or "%40" in text:
        for match in _EMAIL.finditer(text):
            yield Secret(match.start(), match.end(), "email")
    for match in _RUN.finditer(text):
        yield from _random(match, harmless)


def _random(match: re.Match[str], harmless: frozenset[str]) -> Iterator[Secret]:
    """The random parts of a run: of a path its segments, of base64 the whole."""
    run = match[0]
    if run in harmless or _is_handshake_key(match.string, match.start(), run):
        return
    at = match.start()
    for part in re.split(r"(?<=[/.=])|(?=[/.])", run):
        bare = part.strip("/.")
        value = bare.split("=", 1)[1] if "=" in bare.rstrip("=") else bare
        start = at + part.find(value) if value else at
        at += len(part)
        if value in harmless:
            continue
        if _HEX.match(value):
            # Digits alone are times, ports and sizes.
            hexadecimal = MIN_HEX_SECRET <= len(value) <= MAX_HEX_SECRET and not value.isdigit()
            if hexadecimal and not _is_bytes(match.string, start, value):
                yield Secret(start, start + len(value), "secret")
        elif len(value) >= 20 and random_looking(value):
            yield Secret(start, start + len(value), "secret")


def _is_handshake_key(text: str, start: int, run: str) -> bool:
    """True for a value of the shape of Sec-WebSocket-Key or -Accept that stands behind that header's name."""
    end = start + len(run)
    begin = start
    while begin > 0 and (text[begin - 1].isalnum() or text[begin - 1] in "+/"):
        begin -= 1
    while end < len(text) and text[end] in "+/=":
        end += 1
    context = text[max(begin - 40, 0) : begin]
    return bool(_KEY_CONTEXT.search(context)) and end - begin <= 64


def _is_bytes(text: str, start: int, digits: str) -> bool:
    """True when a run of hexadecimal is a dump of bytes and no identifier: it reads as text or begins like TLS."""
    if "buffer" in text[max(start - 12, 0) : start].lower():
        return True
    data = bytes.fromhex(digits[: len(digits) // 2 * 2])
    printable = sum(1 for byte in data if 0x20 <= byte < 0x7F or byte in b"\r\n\t")
    return printable >= len(data) * 0.9 or data.startswith((b"\x16\x03", b"\r\n\r\n\x00\r\nQUIT\n"))


def _addresses(text: str, servers: frozenset[str]) -> Iterator[Secret]:
    """IP addresses but the servers' and those that tell nothing (loopback, unspecified)."""
    for match in _IPV4.finditer(text):
        if _tells(match[0]) and match[0] not in servers:
            yield Secret(match.start(), match.end(), "address")
    if "::" in text or text.count(":") >= 7:
        for match in _IPV6.finditer(text):
            if _tells(match[0]) and match[0] not in servers:
                yield Secret(match.start(), match.end(), "address")


@lru_cache(maxsize=1024)
def _tells(text: str) -> bool:
    """True for a valid address that belongs to somebody."""
    import ipaddress

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return not (address.is_loopback or address.is_unspecified or str(address) == "255.255.255.255")
