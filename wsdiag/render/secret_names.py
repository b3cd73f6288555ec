"""The names that secrets go by: headers, parameters and fields; what secrets look like without one is for `secrets`."""

import re
from functools import lru_cache
from itertools import pairwise


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# Headers whose whole value is a secret, and what to call it.
SECRET_HEADERS = {
    "cookie": "cookie",
    "cookie2": "cookie",
    "set-cookie": "cookie",
    "set-cookie2": "cookie",
    "authorization": "credential",
    "proxy-authorization": "credential",
    "authentication-info": "credential",
    "x-forwarded-user": "user",
    "x-remote-user": "user",
    "remote-user": "user",
}
# What only looks like the name of a secret.
_HARMLESS = frozenset(
    [
        "sec-websocket-key",
        "sec-websocket-accept",
        "sec-websocket-key1",
        "sec-websocket-key2",
        "www-authenticate",
        "proxy-authenticate",
        "keepalive",
        "keyup",
        "keydown",
        "key",
        "author",
    ]
)
# A name that has one of these words in it names a secret.
SECRET_WORDS = word_set(
    "token tokens secret secrets password passwd passwort pwd pass passphrase passcode auth authorization cookie "
    "cookies session sessionid sessid phpsessid jsessionid sid jwt apikey appkey credential credentials signature sig "
    "hmac csrf xsrf otp pin ticket bearer assertion samlrequest samlresponse email mail phone mobile username login "
    "license accesskey secretkey privatekey nonce cred creds psk sso saml"
)
# Two words that only together name a secret.
_PAIRS = frozenset(
    [
        *[(first, "key") for first in word_set("api app access secret private auth session encryption signing master")],
        *[
            (first, "key")
            for first in word_set("shared license stream subscription service client account storage aws")
        ],
        *[(first, "id") for first in word_set("session client user device")],
        ("code", "verifier"),
        ("connect", "sid"),
    ]
)
# Names that are secrets in a query (OAuth) and everyday words in a log.
_QUERY_ONLY = word_set("code state key k t s p u hash user uid userid")


@lru_cache(maxsize=4096)
def secret_name(name: str, in_query: bool = False) -> bool:
    """True when a header, parameter or field of that name holds a secret."""
    lower = name.lower()
    if in_query and lower in _QUERY_ONLY:
        return True
    if lower in _HARMLESS:
        return False
    if lower in SECRET_HEADERS:
        return True
    parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)]
    joined = "".join(parts)
    if any(part in SECRET_WORDS for part in parts) or joined in SECRET_WORDS:
        return not lower.startswith(("access-control-", "sec-websocket-"))
    return any(pair in _PAIRS for pair in pairwise(parts))
