"""What can go wrong with a service; what a caller gave that cannot be used is a ``ValueError`` or an ``OSError``."""

from typing import Any


class AnchorhoodError(Exception):
    """Base of all errors of this package."""


class ApiError(AnchorhoodError):
    """The service refused a request: ``status`` (HTTP), the stable ``code``, and ``detail`` in words; by ``request_id`` the
    service's logs name it."""

    def __init__(self, status: int, code: str, detail: str, request_id: str | None = None) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id


class Unreachable(AnchorhoodError):
    """No service answers at the URL."""


class JobFailed(AnchorhoodError):
    """A job ended without success; ``code`` and ``detail`` are those of its error."""

    def __init__(self, job_id: str, status: str, error: dict[str, Any] | None) -> None:
        self.code, self.detail = (error or {}).get("code", status), (error or {}).get("message", status)
        super().__init__(f"{job_id} {status}: {self.detail}")
