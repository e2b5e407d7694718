"""What a decoder is asked and what it answers. Both are JSON, so that nothing that a hostile file makes of it is ever
executed."""

from typing import Any, Literal, TypedDict

from core.ground.pictures.depths import Depths

Work = Literal["check", "pixels", "thumbnail"]
Answer = list[Any]  # JSON about one file: what ``decoder.check`` returns, nothing, or ``[code, message]`` of a refusal


class Request(TypedDict):
    """``lengths`` are those of the files, whose bytes follow; ``size`` is the side in pixels, where the work has one."""

    work: Work
    size: int
    max_pixels: int
    depths: Depths
    lengths: list[int]
