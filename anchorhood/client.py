"""``Client``: one service, spoken to over HTTP."""

from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from anchorhood.datasets import Datasets
from anchorhood.jobs import Jobs
from anchorhood.records import AuditLine, Image, record
from anchorhood.search import Search
from anchorhood.transport import Transport, path_of
from anchorhood.values import as_int


class Client(Search):
    """The service at ``url``; ``key`` where it asks for one. Usable as a context manager.

    GET, PUT, DELETE and searches are tried up to four times where the service does not answer or says 503; so is
    ``jobs.create``, with an idempotency key, so that it makes one job. Uploads are sent once.

    Numbers and arrays may be NumPy's, or of any library whose values have ``tolist``. Of the proxies that the environment
    names none is asked for a service on this machine.

    Raises:
        ValueError: a URL, a key or a proxy that cannot be used; from methods, a value that cannot be sent.
        ApiError: from every method, where the service refuses.
        Unreachable: from every method, where it does not answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        super().__init__(Transport(url, key))
        self.datasets = Datasets(self.transport)
        self.jobs = Jobs(self.transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.http.close()

    def image(self, image_id: int) -> Image:
        """A stored image's path, label, size, and how the current model learned it."""
        return record(Image, self.transport.json("GET", path_of("images", as_int(image_id, "image_id"))))

    def image_file(self, image_id: int) -> bytes:
        """The bytes of a stored image, as they were uploaded."""
        return self.transport.send("GET", path_of("images", as_int(image_id, "image_id"), "file"), again=True).content

    def audit(
        self,
        *,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        key: str | None = None,
        action: str | None = None,
        object: str | None = None,
        order: Literal["oldest", "newest"] = "newest",
    ) -> Iterator[AuditLine]:
        """Who did what: each write, refused ones too. Only a key that administers reads it.

        Args:
            since: not before this time; a text as ISO 8601 has it, without an offset in UTC.
            until: before this time.
            key: by the key of this id.
            action: such as ``delete_dataset`` or ``keys create``.
            object: on the dataset, job, model, image or key of this id.
        """
        times = {
            name: time.isoformat() if isinstance(time, datetime) else time for name, time in (("since", since), ("until", until))
        }
        pages = self.transport.pages("/audit", key=key, action=action, object=object, order=order, limit=1000, **times)
        return (record(AuditLine, values) for values in pages)

    def delete_image(self, image_id: int) -> None:
        """Delete an image: out of every answer at once."""
        self.transport.json("DELETE", path_of("images", as_int(image_id, "image_id")))
