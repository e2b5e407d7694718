"""Requests to the service: keys, errors, and retries where repeating cannot do harm."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from anchorhood.address import key_header, proxy_of, service_url
from anchorhood.errors import ApiError, Unreachable
from anchorhood.values import sendable, to_json

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds, doubled after each try
_LONGEST_PAUSE = 60.0  # that a service may ask for
_PASSING = frozenset({429, 502, 503, 504})  # statuses that another try may not meet
_TIMEOUT = httpx.Timeout(300, connect=10)


def path_of(*parts: object) -> str:
    """The path made of these parts, quoted."""
    return "".join(f"/{quote(sendable(str(part)), safe='')}" for part in parts)


def _named() -> dict[str, str]:
    """The header by which the logs of service, workers and trainer name a request and the jobs that it makes."""
    return {"X-Request-ID": uuid.uuid4().hex}


def _asked_to_wait(response: httpx.Response) -> float:
    """The seconds of ``Retry-After`` (RFC 9110, 10.2.3), at most a minute; 0 where there are none, or a date."""
    seconds = response.headers.get("retry-after", "")
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isascii() and seconds.isdigit() else 0


class Transport:
    """One connection pool. GET, PUT and DELETE, questions, and posts with an idempotency key are tried again.

    Raises:
        ValueError: a URL, a key or a proxy that cannot be used.
    """

    def __init__(self, url: str, key: str | None) -> None:
        base = service_url(url)
        headers, proxy = key_header(key), proxy_of(base)
        self._through = ""
        if proxy:
            shown = httpx.URL(proxy).copy_with(userinfo=b"") if "@" in proxy else proxy
            self._through = f" through the proxy {shown}"
        try:
            # A transport of its own: the environment's proxies are looked up above, and nowhere else.
            pool = httpx.HTTPTransport(proxy=proxy)
        except (ValueError, httpx.InvalidURL) as error:
            raise ValueError(f"no way{self._through}: {error}") from error
        except ImportError as error:
            raise ValueError(f"no way{self._through}: SOCKS needs the package socksio (pip install 'httpx[socks]')") from error
        self.http = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT, transport=pool)

    def json(self, method: str, path: str, *, again: bool | None = None, **request: Any) -> Any:
        """Send a request; its answer's JSON, or ``None`` where there is none.

        Args:
            again: whether it may be sent again; by default what HTTP calls idempotent may.

        Raises:
            ApiError: the service refused it.
            Unreachable: no answer.
        """
        response = self.send(method, path, again=method != "POST" if again is None else again, **request)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise self._foreign(response) from error

    def send(self, method: str, path: str, *, again: bool, **request: Any) -> httpx.Response:
        """As ``json``, with the answer as it came."""
        request["headers"] = {**_named(), **(request.get("headers") or {})}  # the same id for every try
        for name in request.keys() & {"json", "params", "data"}:
            request[name] = to_json(request[name], name)
        for number in range(_TRIES):
            last = not again or number == _TRIES - 1
            pause = _FIRST_PAUSE * 2**number
            try:
                response = self.http.request(method, path, **request)
            except httpx.TransportError as error:
                if last:
                    raise self.unreachable(error) from error
            else:
                if response.is_success:
                    return response
                if last or response.status_code not in _PASSING:
                    raise self.refused(response)
                pause = max(pause, _asked_to_wait(response))
            time.sleep(pause)
        raise AssertionError

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[httpx.Response]:
        """An answer to read while it comes; ``httpx.TransportError`` where it ends too early."""
        request["headers"] = {**_named(), **(request.get("headers") or {})}
        with self.http.stream("GET", path, **request) as response:
            if not response.is_success:
                response.read()
                raise self.refused(response)
            yield response

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page."""
        after: str | None = None
        while True:
            query = {name: value for name, value in {**params, "after": after}.items() if value is not None}
            page = self.json("GET", path, params=query)
            yield from page["data"]
            after = page["next"]
            if after is None:
                return

    def unreachable(self, error: Exception) -> Unreachable:
        """The error to raise where no answer came."""
        return Unreachable(f"no answer from {self.http.base_url}{self._through}: {error or type(error).__name__}")

    def refused(self, response: httpx.Response) -> ApiError:
        """The error that a problem document (RFC 9457) describes."""
        try:
            problem = response.json()
            return ApiError(response.status_code, problem["code"], problem["detail"], response.headers.get("x-request-id"))
        except (ValueError, KeyError, TypeError):
            return self._foreign(response)

    def _foreign(self, response: httpx.Response) -> ApiError:
        content = " ".join((response.headers.get("location") or response.text).split())[:200]
        return ApiError(response.status_code, "not_anchorhood", f"an answer{self._through} that is not Anchorhood's: {content}")
