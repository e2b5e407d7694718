"""What tells this machine's own requests from those that a browser was tricked into."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a name or address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(1024)
def foreign_host(host: bytes) -> tuple[str, str] | None:
    """Code and detail of the refusal of a request under another name than this machine's (DNS rebinding)."""
    text = host.decode("latin-1")
    try:
        name = urlsplit(f"//{text}").hostname or ""
    except ValueError:
        name = ""
    if is_loopback(name):
        return None
    return "foreign_host", f"Host {text!r} is not this machine; use localhost or 127.0.0.1"


@lru_cache(1024)
def foreign_origin(host: bytes, origin: bytes) -> tuple[str, str] | None:
    """Code and detail of the refusal of a request by another site's page."""
    try:
        same = urlsplit(origin).netloc == host
    except ValueError:
        same = False
    if same or not origin:
        return None
    return "foreign_origin", f"requests from pages of {origin.decode('latin-1')} are not allowed"
