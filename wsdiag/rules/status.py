"""Which cause an HTTP status names where 101 should be; what made the server answer so is for the rules."""


def cause_of_status(status: int) -> str:
    """The cause's name: `response-404` for 404, `connection-established` for 101 (RFC 9110 section 15)."""
    if status == 101:
        return "connection-established"
    if status in (401, 403, 407):
        return "response-auth"
    if status in (200, 400, 404, 426, 429):
        return f"response-{status}"
    if 300 <= status <= 399 and status != 304:  # 304 sends nobody anywhere: a cache answered
        return "response-redirect"
    if 500 <= status <= 599:
        return "response-5xx-upstream"
    return "response-unexpected-status"
