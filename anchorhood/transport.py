"""Requests to the service: keys, errors, and retries where repeating cannot do harm."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds, doubled after each try
_PASSING = frozenset({429, 502, 503, 504})  # statuses that another try may not meet
_TIMEOUT = httpx.Timeout(300, connect=10)


class ApiError(Exception):
    """The service refused a request: ``status`` (HTTP), the stable ``code``, and ``detail`` in words."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail = status, code, detail


class Unreachable(Exception):
    """No service answers at the URL."""


class JobFailed(Exception):
    """A job ended without success; ``code`` and ``detail`` are those of its error."""

    def __init__(self, job_id: str, status: str, error: dict[str, Any] | None) -> None:
        self.code, self.detail = (error or {}).get("code", status), (error or {}).get("message", status)
        super().__init__(f"{job_id} {status}: {self.detail}")


class Transport:
    """One connection pool. GET, PUT and DELETE, questions, and posts with an idempotency key are tried again."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT)

    def json(self, method: str, path: str, *, again: bool | None = None, **request: Any) -> Any:
        """Send a request; its answer's JSON, or ``None`` where there is none.

        Args:
            again: whether it may be sent again; by default what HTTP calls idempotent may.

        Raises:
            ApiError: the service refused it.
            Unreachable: no answer.
        """
        response = self.send(method, path, again=method != "POST" if again is None else again, **request)
        return response.json() if response.content else None

    def send(self, method: str, path: str, *, again: bool, **request: Any) -> httpx.Response:
        """As ``json``, with the answer as it came."""
        for number in range(_TRIES):
            last = not again or number == _TRIES - 1
            try:
                response = self.http.request(method, path, **request)
            except httpx.TransportError as error:
                if last:
                    raise self.unreachable(error) from error
            else:
                if response.is_success:
                    return response
                if last or response.status_code not in _PASSING:
                    raise refused(response)
            time.sleep(_FIRST_PAUSE * 2**number)
        raise AssertionError

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page."""
        after: str | None = None
        while True:
            given = {name: value for name, value in {**params, "after": after}.items() if value is not None}
            page = self.json("GET", path, params=given)
            yield from page["data"]
            after = page["next"]
            if after is None:
                return

    def unreachable(self, error: Exception) -> Unreachable:
        """What to raise where no answer came."""
        return Unreachable(f"no answer from {self.http.base_url}: {error or type(error).__name__}")


def refused(response: httpx.Response) -> ApiError:
    """The error that a problem document (RFC 9457) tells of."""
    try:
        problem = response.json()
        return ApiError(response.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ApiError(response.status_code, "not_anchorhood", f"an answer that is not Anchorhood's: {response.text[:200]}")
