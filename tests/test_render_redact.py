"""What must not be shared survives in no shared form, wherever it was planted; what is needed to check stays."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reports
from wsdiag.model import (
    CLIENT,
    SERVER,
    Endpoint,
    Foreign,
    Frame,
    Http2Frames,
    Input,
    Mark,
    NextStep,
    Note,
    Origin,
    Place,
    ProxyHeader,
    Report,
    Response,
    Span,
    Stream,
    Unknown,
)
from wsdiag.render import data, html, markdown, sarif, terminal
from wsdiag.render.redact import Redactor, fitted
from wsdiag.render.words import words

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
HEX_SESSION = "9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c"
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
RANDOM = "qT7wXz2LkP9rYbN4vCsG6hJd8"
# Vendors' published examples, in two parts lest a scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/" + "K7MDENG/bPxRfiCYEXAMPLEKEY"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
SLACK = "xoxb-" + "17653672481-19874698323-pdFZKVeTuE8sk7oOHcBrzygy"
STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
GOOGLE = "AIza" + "SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe"
TELEGRAM = "110201543:" + "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
K8S = "Zm9vYmFyYmF6MTIzNDU2"
# The secret, and a header line that carries it.
HEADERS = {
    "cookie": ("c0okieV4lue", "Cookie: sid=c0okieV4lue; theme=dark"),
    "cookie-second": ("other-v4lue", "Cookie: a=1; remember=other-v4lue"),
    "set-cookie": ("fresh-v4lue", "Set-Cookie: PHPSESSID=fresh-v4lue; path=/; HttpOnly"),
    "authorization-bearer": ("opaque.token", "Authorization: Bearer opaque.token"),
    "authorization-basic": ("Ym9iOmh1bnRlcjI=", "Authorization: Basic Ym9iOmh1bnRlcjI="),
    "authorization-digest": ("deadbeef01", 'Authorization: Digest username="bob", response="deadbeef01"'),
    "authorization-raw": ("plainsecret", "Authorization: plainsecret"),
    "proxy-authorization": ("cHJveHk6cHc=", "Proxy-Authorization: Basic cHJveHk6cHc="),
    "subprotocol": ("s3cr3tTok3nValue12", "Sec-WebSocket-Protocol: graphql-ws, s3cr3tTok3nValue12"),
    "subprotocol-bearer": ("shortword", "Sec-WebSocket-Protocol: bearer, shortword"),
    "subprotocol-k8s": (K8S, f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{K8S}"),
    "subprotocol-jwt": (JWT, f"Sec-WebSocket-Protocol: {JWT}"),
    "x-api-key": ("apikeyvalue", "X-Api-Key: apikeyvalue"),
    "x-auth-token": ("authtokenvalue", "X-Auth-Token: authtokenvalue"),
    "x-csrf-token": ("csrfvalue", "X-CSRF-Token: csrfvalue"),
    "x-xsrf-token": ("xsrfvalue", "X-XSRF-TOKEN: xsrfvalue"),
    "x-session-id": ("sessvalue", "X-Session-Id: sessvalue"),
    "x-amz-security-token": ("amzvalue", "X-Amz-Security-Token: amzvalue"),
    "ocp-key": ("ocpvalue", "Ocp-Apim-Subscription-Key: ocpvalue"),
    "cf-access": ("cfvalue", "CF-Access-Client-Secret: cfvalue"),
    "private-token": ("glvalue", "PRIVATE-TOKEN: glvalue"),
    "forwarded": ("203.0.113.77", "Forwarded: for=203.0.113.77;proto=https"),
    "x-forwarded-for": ("203.0.113.78", "X-Forwarded-For: 203.0.113.78, 127.0.0.1"),
    "x-real-ip": ("203.0.113.79", "X-Real-IP: 203.0.113.79"),
    "x-forwarded-for-v6": ("2001:db8:85a3::8a2e:370:7334", "X-Forwarded-For: 2001:db8:85a3::8a2e:370:7334"),
    "from": ("alice@example.org", "From: alice@example.org"),
    "referer-token": ("reftoken", "Referer: https://example.com/login?access_token=reftoken&x=1"),
    "location-token": ("loctoken", "Location: https://example.com/cb?id_token=loctoken"),
    "userinfo": ("bob:pa55", "Origin: https://bob:pa55@example.com"),
    "jwt-anywhere": (JWT, f"X-Whatever: {JWT}"),
    "random-anywhere": (RANDOM, f"X-Trace: {RANDOM}"),
}
# The secret, and a request target that carries it.
TARGETS = {
    "token": ("tok123", "/chat?token=tok123&room=5"),
    "access-token": ("acc123", "/chat?room=5&access_token=acc123"),
    "api-key": ("key123", "/chat?api_key=key123"),
    "apikey-camel": ("key124", "/chat?apiKey=key124"),
    "password": ("pw1", "/chat?user=x&password=pw1"),
    "session": ("sess1", "/chat?sessionId=sess1"),
    "sid": ("engineio1", "/socket.io/?EIO=4&transport=websocket&sid=engineio1"),
    "ticket": ("tick1", "/chat?ticket=tick1"),
    "signature": ("sigvalue", "/chat?X-Amz-Signature=sigvalue"),
    "oauth-code": ("4/0AX4XfWh", "/chat?code=4/0AX4XfWh"),
    "oauth-state": ("stval", "/chat?state=stval"),
    "encoded-name": ("enc1", "/chat?user%5Btoken%5D=enc1"),
    "harmless-name": (RANDOM, f"/chat?x={RANDOM}"),
    "path-hex": (HEX_SESSION, f"/ws/{HEX_SESSION}/join"),
    "path-uuid": (UUID, f"/ws/{UUID}"),
    "path-jwt": (JWT, f"/ws/{JWT}"),
    "email-query": ("carol@example.net", "/chat?who=carol@example.net"),
    "email-encoded": ("dave%40example.net", "/chat?who=dave%40example.net"),
}
# The secret, and a line of a log or a console that carries it.
LINES = {
    "url-userinfo": ("eve:s3cret", "connecting to wss://eve:s3cret@example.com/chat"),
    "url-query": ("abcdef", "WebSocket connection to 'ws://example.com/?token=abcdef' failed: "),
    "json": ("hunter2", 'config {"host": "x", "password": "hunter2", "port": 8080}'),
    "json-escaped": ("hunter3", 'payload "{\\"accessToken\\":\\"hunter3\\"}"'),
    "php-array": ("hunter4", "['host' => 'x', 'password' => 'hunter4']"),
    "yaml": ("hunter5", "db_password: hunter5"),
    "env": ("hunter6", "export APP_SECRET=hunter6"),
    "curl-cookie": ("cur1cookie", "curl -i -H 'Cookie: s=cur1cookie' http://localhost/"),
    "curl-user": ("frank:pw", "curl -u frank:pw http://localhost/"),
    "curl-bearer": ("curlbearer", 'curl -H "Authorization: Bearer curlbearer" http://localhost/'),
    "python-bytes": ("pyc00kie", r"b'GET / HTTP/1.1\r\nCookie: k=pyc00kie\r\nHost: x\r\n\r\n'"),
    "aws": (AWS, f"using {AWS} for upload"),
    "aws-secret": (AWS_SECRET, f"aws_secret_access_key = {AWS_SECRET}"),
    "github": (GITHUB, f"remote: {GITHUB}"),
    "slack": (SLACK, f"slack {SLACK}"),
    "stripe": (STRIPE, f"stripe {STRIPE}"),
    "google": (GOOGLE, f"key {GOOGLE}"),
    "telegram": (TELEGRAM, f"bot{TELEGRAM} x {TELEGRAM}"),
    "pem": ("MIIEpAIBAAKCAQEA7", "-----BEGIN RSA PRIVATE KEY-----MIIEpAIBAAKCAQEA7-----END RSA PRIVATE KEY-----"),
    "redis": ("r3dispass", "AUTH r3dispass"),
    "nginx-client": ("198.51.100.23", "[error] 7#7: *1 upstream timed out, client: 198.51.100.23, server: example.com"),
    "access-log": ("198.51.100.24", '198.51.100.24 - - [02/Jan/2024:03:04:05 +0000] "GET /chat HTTP/1.1" 400 0'),
    "address-port": ("198.51.100.25", "connection from ('198.51.100.25', 51234)"),
    "address-v6": ("2001:db8::dead:beef", "peer [2001:db8::dead:beef]:51234 closed"),
    "mapped-v6": ("::ffff:198.51.100.26", "('::ffff:198.51.100.26', 51234, 0, 0)"),
    "email": ("grace@example.com", "user grace@example.com disconnected"),
    "jwt": (JWT, f"invalid token {JWT}"),
    "bearer": ("abcdefgh123", "header was Bearer abcdefgh123"),
    "hex-dump": ("hexc00kie", "Buffer:" + b"GET / HTTP/1.1\r\nCookie: a=hexc00kie\r\n\r\n".hex()),
    "hex-spaced": ("hexspac3d", b"GET / HTTP/1.1\r\nAuthorization: Bearer hexspac3d\r\n\r\n".hex(" ")),
    "hex-escaped": ("hexesc4ped", "".join(f"\\x{byte:02x}" for byte in b"GET /?token=hexesc4ped HTTP/1.1\r\n\r\n")),
}


def shared(report: Report) -> Iterator[tuple[str, str]]:
    """Every form that is meant to be shared, by its name."""
    for lang in ("en", "zh_CN"):
        said = words(lang)
        yield "json", data.document(report, said)
        yield "ndjson", "\n".join(map(data.connection_line, report.connections)) + data.summary_line(report)
        yield "html", "".join(html.page(report, said))
        yield "markdown", markdown.document(report, said)
        yield "sarif", sarif.document(report, said)
        yield "text", terminal.report(report, said, verbose=1, width=400)


def leaks(report: Report, secret: str) -> list[str]:
    """The forms that still hold the secret, as text, in hexadecimal or half of it."""
    redacted = Redactor().report(report)
    half = secret[: max(len(secret) // 2 + 1, 6)] if len(secret) >= 10 else secret
    forms = [half, half.encode().hex(), half.encode().hex(" ")]
    return [
        f"{name}: {form}"
        for name, text in shared(redacted)
        for form in forms
        if form in text or form in text.replace("</mark>", "").replace("<mark>", "")
    ]


def with_request(sent: bytes, answer: bytes = b"") -> Report:
    """A report whose bytes are these, with a finding about all of them."""
    place = Place("capture.pcap", packet=4, connection=0, side=CLIENT, start=0, stop=len(sent))
    found = reports.finding("request-malformed", "WS309", place)
    connected = reports.connection(0, sent, answer, primary=found.name, findings=(found,))
    return Report((Input("capture.pcap", "capture"),), "faulty", found.name, (found,), (), (connected,))


def with_line(text: str, start: int = 0, stop: int | None = None) -> Report:
    """A report on a line of a log."""
    found = reports.finding("response-400", "WS400", Place("a.log", 3, start=start, stop=stop or len(text), text=text))
    return Report((Input("a.log", "text"),), "faulty", found.name, (found,), ())


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name: str) -> None:
    secret, line = HEADERS[name]
    sent = reports.REQUEST.replace(b"\r\n\r\n", f"\r\n{line}\r\n\r\n".encode())
    answer = reports.RESPONSE.replace(b"\r\n\r\n", f"\r\n{line}\r\n\r\n".encode())
    report = with_request(sent, answer)
    assert secret in data.document(report, words("en")).replace('\\"', '"')
    assert leaks(report, secret) == []


@pytest.mark.parametrize("name", TARGETS)
def test_targets(name: str) -> None:
    secret, target = TARGETS[name]
    assert leaks(with_request(reports.REQUEST.replace(b"/chat", target.encode())), secret) == []


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    secret, line = LINES[name]
    assert leaks(with_line(line), secret) == []
    # The mark may stand anywhere in a long line, and the secret far from it.
    assert leaks(with_line("x " * 3000 + line + " y" * 3000, 6000, 6003), secret) == []


@pytest.mark.parametrize("name", [*HEADERS, *LINES])
def test_values_notes_and_commands(name: str) -> None:
    """The same text as a value of a finding, in a note, a step's command and a name of an input."""
    secret, line = {**HEADERS, **LINES}[name]
    found = reports.finding("listener-ws-scheme", "WS201", values={"detail": line, "address": line, "url": line})
    report = Report(
        (Input("a.log", "text", (Note("hex-dump", {"detail": line}),)),),
        "faulty",
        found.name,
        (found,),
        (NextStep("run-curl", {"detail": line}, f"curl {line}"),),
    )
    assert leaks(report, secret) == []


def test_payloads() -> None:
    """Under the mask, in the clear, in a close's reason, in a compressed frame, in frames kept apart."""
    secret = "payl0adSecret"
    text = f'{{"token":"{secret}"}}'.encode()
    ask, asked = reports.frame(text, CLIENT, len(reports.REQUEST))
    say, said = reports.frame(text, SERVER, len(reports.RESPONSE))
    base = len(reports.RESPONSE) + len(say)
    zipped, packed = reports.frame(secret.encode(), SERVER, base)
    packed = packed._replace(rsv=4)
    bye, closed = reports.frame(b"\x03\xe8" + text, SERVER, base + len(zipped), 8)
    later = Frame(Span(SERVER, 10_000, 10_030), True, 0, 1, None, len(text), text, True)
    connected = reports.connection(
        0,
        reports.REQUEST + ask,
        reports.RESPONSE + say + zipped + bye,
        client=(reports.request(reports.REQUEST), asked),
        server=(reports.response(reports.RESPONSE), said, packed, closed),
        frames=(later,),
    )
    report = Report((Input("c", "capture"),), "healthy", None, (), (), (connected,))
    assert leaks(report, secret) == []
    redacted = Redactor().report(report).connections[0].exchange
    masked = redacted.client[1]
    assert isinstance(masked, Frame)
    assert masked.payload.startswith(b'{"token":"')
    assert masked.payload.endswith(b'"}')
    assert secret.encode() not in bytes(
        byte ^ b"\x01\x02\x03\x04"[at % 4] for at, byte in enumerate(redacted.connection.client.data[-len(text) :])
    )


def test_other_protocols() -> None:
    secret = "mqttPassw0rd"
    mqtt = b"\x10\x2a\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x03bob\x00\x0c" + secret.encode()
    foreign = Foreign(Span(CLIENT, 0, len(mqtt)), "mqtt", f"password={secret}")
    report = with_request(reports.REQUEST)
    connected = reports.connection(0, mqtt, client=(foreign,), primary="not-a-websocket-client")
    assert leaks(report._replace(connections=(connected,)), secret) == []
    settings_frame = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01"
    headers = len(secret).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + secret.encode()
    whole = settings_frame + headers
    listed = ((":path", f"/?token={secret}"), ("cookie", f"a={secret}"), ("authorization", f"Bearer {secret}"))
    http2 = Http2Frames(Span(CLIENT, 0, len(whole)), 2, ((8, 1),), (listed,))
    connected = reports.connection(0, whole, client=(http2,), primary="http2-to-http1")
    assert leaks(report._replace(connections=(connected,)), secret) == []
    kept = Redactor().connection(connected).exchange.connection.client.data
    assert kept.startswith(settings_frame)


def test_proxy_protocol() -> None:
    signature = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    two = signature + bytes([198, 51, 100, 99, 10, 0, 0, 1, 0xC0, 0, 0x1F, 0x90])
    one = b"PROXY TCP4 198.51.100.99 10.0.0.1 51234 8080\r\n"
    for version, head in ((1, one), (2, two)):
        element = ProxyHeader(Span(CLIENT, 0, len(head)), version, Endpoint("198.51.100.99", 51234), None, True)
        connected = reports.connection(0, head, client=(element,), primary="proxy-protocol-header")
        report = with_request(reports.REQUEST)._replace(connections=(connected,))
        assert leaks(report, "198.51.100.99") == []
        redacted = Redactor().report(report).connections[0].exchange.connection.client.data
        assert bytes([198, 51, 100, 99]) not in redacted


def test_a_compressed_body_is_blanked() -> None:
    body = b"\x1f\x8b\x08zippedpassw0rd"
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 17\r\n\r\n" + body
    redacted = Redactor().report(with_request(reports.REQUEST, answer)).connections[0].exchange
    assert redacted.connection.server.data.endswith(b"~" * len(body))
    response = redacted.response
    assert isinstance(response, Response)
    assert b"zipped" not in response.content


def test_a_line_of_a_dump_that_holds_half_a_secret() -> None:
    """The middle line of an xxd dump has no header's name; the stream that it belongs to tells."""
    sent = b"GET / HTTP/1.1\r\nCookie: sid=averylongcookievaluethatspanslines\r\n\r\n"
    lines = [
        f"{at:08x}: {sent[at : at + 16].hex(' ', 2)}  {sent[at : at + 16].decode('latin-1')!r}"
        for at in range(0, len(sent), 16)
    ]
    marks = tuple(Mark(at * 16, Origin("dump.txt", at + 1)) for at in range(len(lines)))
    connected = reports.connection(0, sent, kind="dump")
    exchange = connected.exchange
    of = exchange.connection._replace(client=Stream(sent, marks, total=len(sent)))
    connected = connected._replace(exchange=exchange._replace(connection=of))
    places = tuple(Place("dump.txt", at + 1, start=0, stop=8, text=line) for at, line in enumerate(lines))
    report = with_line("x")._replace(
        findings=(reports.finding("response-400", "WS400", *places),), connections=(connected,)
    )
    for part in ("averylong", "cookievalue", "spanslines"):
        assert leaks(report, part[:9]) == []


def test_a_secret_known_from_one_place_is_hidden_in_every_other() -> None:
    secret = "correcthorsebattery"
    report = with_request(reports.REQUEST.replace(b"\r\n\r\n", f"\r\nCookie: {secret}\r\n\r\n".encode()))
    place = Place("a.log", 1, start=0, stop=4, text=f"user said {secret} and left")
    found = reports.finding("response-400", "WS400", place, values={"detail": f"about {secret}"})
    report = report._replace(findings=(*report.findings, found))
    assert leaks(report, secret) == []
    redacted = Redactor().report(report)
    assert redacted.findings[1].values["detail"] == "about ‹cookie-1›"


def test_the_same_secret_is_the_same_placeholder_and_others_differ() -> None:
    redactor = Redactor()
    one, two, three = (redactor.text(f"?token={value}") for value in ("aaa111", "bbb222", "aaa111"))
    assert one == three != two


def test_client_addresses_go_and_the_servers_stay() -> None:
    redacted = Redactor().report(reports.refused_key())
    of = redacted.connections[0].exchange.connection
    assert of.client_endpoint == Endpoint("‹address-1›", 50312)
    assert of.server_endpoint == Endpoint("10.20.30.40", 2346)


KEPT = [
    reports.REQUEST.decode(),
    reports.RESPONSE.decode(),
    "recv data before handshake. Buffer:" + reports.REQUEST.hex(),
    "Error package. package_length=false",
    "TypeError: Workerman\\Protocols\\Ws::input(): Argument #2 ($connection) must be of type",
    "Workerman\\Connection\\AsyncTcpConnection, Workerman\\Connection\\TcpConnection given, called in",
    "/srv/app/vendor/workerman/workerman/src/Connection/TcpConnection.php on line 646",
    "WebSocket connection to 'ws://example.com:8080/chat' failed: Error during WebSocket handshake",
    "Unexpected response code: 400",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Protocol: graphql-transport-ws, v12.stomp, mqtt, my-app.v1",
    "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "websocket://0.0.0.0:2346 listen on 127.0.0.1:8080 and [::1]:8080",
    "WWW-Authenticate: Basic realm=admin",
    "Access-Control-Allow-Headers: authorization, x-api-key",
    "code=1006 reason= wasClean=false",
    "error: token missing",
    "2024-01-02T03:04:05.678901Z 12:34:56 uptime 1234567890123456789",
    "wss-handshake-timeout=60 proxy_read_timeout 3600s; proxy_set_header Upgrade $http_upgrade;",
]


@pytest.mark.parametrize("text", KEPT, ids=range(len(KEPT)))
def test_what_is_needed_to_understand_stays(text: str) -> None:
    assert Redactor().text(text) == text
    assert Redactor().same_length(text) == text


def test_the_report_without_secrets_is_the_same_report() -> None:
    for report in (reports.seed(), reports.undecided()):
        assert Redactor().report(report) == report


def test_reveal_changes_nothing() -> None:
    report = with_line(LINES["json"][1])
    assert Redactor(reveal=True).report(report) is report
    assert Redactor(reveal=True).redact_bytes(b"?token=abc") == b"?token=abc"


def test_spans_still_lead_to_their_headers() -> None:
    sent = reports.REQUEST.replace(b"\r\n\r\n", b"\r\nCookie: a=b; c=d\r\nX-Last: 1\r\n\r\n")
    exchange = Redactor().report(with_request(sent)).connections[0].exchange
    assert len(exchange.connection.client.data) == len(sent)
    request = exchange.request
    assert request is not None
    for header in request.head.headers:
        for piece in header:
            assert exchange.connection.client.data[piece.span.start : piece.span.stop].decode() == piece.text
    assert request.head.value("x-last") == "1"
    assert request.head.value("sec-websocket-key") == reports.KEY


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_same_length_whatever_the_text(text: str) -> None:
    assert len(Redactor().same_length(text)) == len(text)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_same_length_whatever_the_bytes(sent: bytes) -> None:
    assert len(Redactor().redact_bytes(sent)) == len(sent)
    connected = reports.connection(0, sent, client=(Unknown(Span(CLIENT, 0, len(sent))),))
    assert len(Redactor().connection(connected).exchange.connection.client.data) == len(sent)


@pytest.mark.parametrize("size", range(24))
def test_a_placeholder_fits(size: int) -> None:
    assert len(fitted("cookie-12", size)) == size


def test_the_json_stays_json() -> None:
    for name in HEADERS:
        sent = reports.REQUEST.replace(b"\r\n\r\n", f"\r\n{HEADERS[name][1]}\r\n\r\n".encode())
        json.loads(data.document(Redactor().report(with_request(sent)), words("en")))


BAITS = ["a" * 31 + "!", "a-" * 15 + "!", "A" * 20_000, "a." * 9000, "://a" * 5000, "1.1." * 5000, "eyJaaaaaa." * 2000]


BAITS += ["-----BEGIN AAA-----" * 500, "token=" * 3000, ":" * 9000, "aa:" * 6000, "@a." * 5000]


@pytest.mark.parametrize("bait", BAITS, ids=range(len(BAITS)))
def test_baits_for_backtracking(bait: str) -> None:
    """Nothing here takes more than linear time; a test that hangs is the failure."""
    redactor = Redactor()
    for text in (bait, f"Sec-WebSocket-Protocol: {bait}", f"Cookie: {bait}"):
        assert len(redactor.same_length(text)) == len(text)
        assert len(redactor.redact_bytes(text.encode())) == len(text)


def test_folders_of_the_inputs_stay_at_home() -> None:
    from wsdiag.model import Finding, Input, Place, Report

    line = Place("/home/alice/acme/server.log", 3, text="recv data before handshake", start=0, stop=4)
    found = Finding("listener-ws-scheme", "WS201", "error", "certain", "server", "", places=(line,))
    inputs = (Input("/home/alice/acme/server.log", "text"), Input("C:\\Users\\alice\\old\\server.log", "text"))
    shared = Redactor().report(Report(inputs, "faulty", found.name, (found,), ()))
    assert [each.source for each in shared.inputs] == ["acme/server.log", "old/server.log"]
    assert shared.findings[0].places[0].source == "acme/server.log"
