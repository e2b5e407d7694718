"""The audit trail's bodies."""

from datetime import datetime
from typing import Self

from pydantic import Field

from core.store.audit import Audit
from service.schemas.common import FromRow, PageBody


class AuditBody(FromRow):
    """One line: who did what."""

    id: int
    created_at: datetime
    key_id: str | None = Field(description="The public id of the key; null: none was needed, or the one sent is not valid.")
    session: str | None = Field(description="A hash of the page's session, where the request came in one.")
    address: str | None = Field(description="The client's address; user@host where a command of the operator did it.")
    request_id: str | None
    action: str = Field(description="The operation's name in this document, or the operator's command.")
    objects: list[str] = Field(description="Ids of what it was about, the first hundred; +12 at their end: of twelve more.")
    status: int | None = Field(description="How the request was answered; null: a command, which did it.")

    @classmethod
    def of(cls, row: Audit) -> Self:  # type: ignore[override]
        """A row as the API shows it."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name != "objects"}
        return cls(objects=row.object.split(), **columns)


class AuditPage(PageBody[AuditBody]):
    pass
