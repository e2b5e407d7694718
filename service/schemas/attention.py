"""Bodies of attention maps."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.common import MAX_ID, FromRow, PageBody


class AttentionRequest(BaseModel):
    """Images whose maps are wanted."""

    model_config = ConfigDict(extra="forbid")

    image_ids: list[Annotated[int, Field(ge=0, le=MAX_ID)]] = Field(min_length=1, max_length=256)


class AttentionRow(FromRow):
    image_id: int
    neighbour_id: int = Field(description="The image that it was last trained towards, or else the nearest one.")


class AttentionPage(PageBody[AttentionRow]):
    pass


class AttentionRound(BaseModel):
    round: int
    similarity: float = Field(description="Cosine similarity of image and neighbour at the end of the round.")


class AttentionBody(AttentionRow):
    model_id: str
    rounds: list[AttentionRound]
