"""Which files are images here."""

from fastapi import APIRouter

from core.ground.pictures import formats, imaging
from core.store.keys import Scope
from service.access import needs
from service.schemas.common import FormatBody, FormatsBody

router = APIRouter(tags=["datasets"])


@router.get("/formats")
@needs(Scope.READ)
def list_formats() -> FormatsBody:
    """The image formats that are read here, told by a file's content and not by its name, and which files are passed over
    wherever files come in."""
    listed = [
        FormatBody(name=format_.name, media_type=format_.media_type, extensions=list(format_.extensions))
        for format_ in imaging.FORMATS
    ]
    return FormatsBody(formats=listed, ignored=formats.IGNORED)
