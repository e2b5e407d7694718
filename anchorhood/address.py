"""What a client is given to reach a service: its URL, a key, and the proxy that the environment names."""

import ipaddress
import re
from urllib.request import getproxies, proxy_bypass

import httpx

_KEY = re.compile(r"[\x21-\x7e]+")


def service_url(text: str) -> httpx.URL:
    """The URL of a service, without what a browser's address has behind its path.

    Raises:
        ValueError: it is none.
    """
    if "://" not in text:
        raise ValueError(f"url: {text!r} does not begin with http:// or https://; perhaps http://{text} is meant")
    try:
        url = httpx.URL(text.strip())
        url.host.encode("idna")  # as looking it up does: parts that are empty or too long
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"url: {text!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https"):
        raise ValueError(f"url: {text!r} has the scheme {url.scheme!r}; http and https are allowed")
    if not url.host or "%20" in url.host:
        raise ValueError(f"url: {text!r} names no host")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ValueError(f"url: {text!r} has the port {url.port}; 1 to 65535 are allowed")
    return url.copy_with(query=None, fragment=None)


def key_header(key: str | None) -> dict[str, str]:
    """The header that a key is sent in.

    Raises:
        ValueError: no key of a service can look like this one.
    """
    if not key:
        return {}
    if not _KEY.fullmatch(key):
        raise ValueError("key: holds a blank, a line break or a character that is not ASCII, which no key does")
    return {"Authorization": f"Bearer {key}"}


def proxy_of(url: httpx.URL) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name for a URL. NO_PROXY makes exceptions, and this machine is
    always one: no proxy could reach it."""
    if _is_this_machine(url.host) or proxy_bypass(url.host):
        return None
    named = getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    return proxy and (proxy if "://" in proxy else f"http://{proxy}")


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
