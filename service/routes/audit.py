"""The audit trail: who did what."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from core.store import audit
from core.store.keys import Scope
from service.access import needs
from service.context import Reading
from service.paging import After, Limit, answer
from service.schemas.audit import AuditBody, AuditPage
from service.schemas.common import Text

router = APIRouter(tags=["audit"])


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is no time that UTC has") from error


Moment = Annotated[datetime | None, AfterValidator(lambda moment: moment and _in_utc(moment))]
Named = Annotated[Text, Query(max_length=100)]


@router.get("/audit")
@needs(Scope.ADMIN)
def list_audit(
    session: Reading,
    limit: Limit = 100,
    after: After = 0,
    since: Annotated[Moment, Query(description="Not before this time; without an offset it is UTC.")] = None,
    until: Annotated[Moment, Query(description="Before this time.")] = None,
    key: Annotated[Named | None, Query(description="Only by the key of this id.")] = None,
    action: Annotated[Named | None, Query(description="Only this, such as delete_dataset.")] = None,
    object: Annotated[Named | None, Query(description="Only on the dataset, job, model, image or key of this id.")] = None,
    order: Literal["oldest", "newest"] = "oldest",
) -> AuditPage:
    """Who did what: each write that was answered, refused ones too, and what commands of the operator did."""
    filters = {"since": since, "until": until, "key_id": key, "action": action, "object_id": object}
    page = audit.listing(session, limit, after, newest_first=order == "newest", **filters)  # type: ignore[arg-type]
    return answer(AuditPage, page, AuditBody.of)
