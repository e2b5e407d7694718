"""The training parameters as a job takes them, made of ``core.ground.parameters``."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, create_model, model_validator

from core.ground.parameters import PARAMETERS, Parameter, conflict, foreign


def _type(parameter: Parameter) -> Any:
    """The type that a JSON value of a parameter has, with its bounds."""
    if parameter.choices:
        return Literal[parameter.choices]
    if parameter.boolean:
        return StrictBool
    if parameter.bounds is None:
        return Annotated[str, Field(pattern=parameter.pattern)]
    low, high = parameter.bounds
    number: Any = Annotated[int if parameter.integer else float, Field(ge=low, le=high)]
    parts = len(parameter.parts)
    return Annotated[list[number], Field(min_length=parts, max_length=parts)] if parts else number


_fields: dict[str, Any] = {
    name: (_type(parameter) | None, Field(None, description=parameter.help)) for name, parameter in PARAMETERS.items()
}
_Fields: type[BaseModel] = create_model("_Fields", **_fields)


class Params(_Fields):
    """Training parameters; what is left out comes from the preset. ``docs/presets.md`` explains each."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"preset": "quick", "seed": 0}]})

    def explicit(self) -> dict[str, Any]:
        """The parameters that were given, as JSON has them."""
        return self.model_dump(exclude_none=True, mode="json")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """What the trainer would refuse only when the job is running."""
        given = self.explicit()
        if reason := conflict(given) or foreign(given, str(given.get("method", "and"))):
            raise ValueError(reason)
        return self
