"""Published models."""

from fastapi import APIRouter

from core import manifest
from core.errors import ModelNotFound
from core.models import Model
from service.context import Ctx, Reading
from service.schemas import ModelBody

router = APIRouter(tags=["models"])


@router.get("/models/{model_id}")
def get_model(model_id: str, session: Reading, context: Ctx) -> ModelBody:
    """One model with its manifest: configuration, preprocessing, index, evaluation, and the hash of every file."""
    model = session.get(Model, model_id)
    if model is None:
        raise ModelNotFound(model_id)
    content = manifest.read(context.settings.root / "models" / model.directory)
    columns = {name: getattr(model, name) for name in ModelBody.model_fields if name != "manifest"}
    return ModelBody.model_validate({**columns, "manifest": content})
