"""What tells this machine's own requests from those that a browser was tricked into."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

Headers = dict[bytes, bytes]
_OF_PROXIES = frozenset(  # what they add beside X-Forwarded-*
    (b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip")
)


def is_loopback(host: str) -> bool:
    """Whether a name or address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def forwarded(headers: Headers) -> tuple[str, str] | None:
    """Code and detail of the refusal of a request that a proxy passed on: behind one on this machine everybody would be local."""
    name = next((name for name in headers if name.startswith(b"x-forwarded") or name in _OF_PROXIES), None)
    if name is None:
        return None
    detail = (
        f"{name.decode('latin-1')} says that a proxy passed this on, and without a key everybody behind it would be an "
        "administrator; make a key with `anchorhood keys create`"
    )
    return "forwarded", detail


def foreign_host(headers: Headers) -> tuple[str, str] | None:
    """Code and detail of the refusal of a request under another name than this machine's (DNS rebinding), be it a proxy's."""
    return next((refusal for host in _hosts(headers) if (refusal := _foreign_host(host))), None)


def foreign_origin(headers: Headers) -> tuple[str, str] | None:
    """Code and detail of the refusal of a request by another site's page.

    A proxy may have put its own name for this machine in ``Host``. What it was is then in ``X-Forwarded-Host``, if anywhere,
    which another site's page cannot send, for a browser would ask for leave first; ``Sec-Fetch-Site`` is the browser's own word.
    """
    origin = headers.get(b"origin", b"")
    if not origin or headers.get(b"sec-fetch-site") == b"same-origin" or _netloc(origin) in _hosts(headers):
        return None
    return "foreign_origin", f"requests from pages of {origin.decode('latin-1')} are not allowed"


def _hosts(headers: Headers) -> tuple[bytes, ...]:
    """The names under which a request came: here, and at the first proxy if that says so."""
    host, forwarded = headers.get(b"host", b""), headers.get(b"x-forwarded-host", b"").partition(b",")[0].strip()
    return (host, forwarded) if forwarded else (host,)


@lru_cache(1024)
def _netloc(origin: bytes) -> bytes | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


@lru_cache(1024)
def _foreign_host(host: bytes) -> tuple[str, str] | None:
    text = host.decode("latin-1")
    try:
        name = urlsplit(f"//{text}").hostname or ""
    except ValueError:
        name = ""
    if is_loopback(name):
        return None
    return "foreign_host", f"Host {text!r} is not this machine; use localhost or 127.0.0.1"
