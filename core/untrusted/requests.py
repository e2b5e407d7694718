"""What a decoder is asked and what it answers. Both are JSON, so that nothing that a hostile file makes of it is ever
executed."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, BinaryIO, Literal, TypedDict

from core.ground.pictures.depths import Depths

Work = Literal["check", "pixels", "thumbnail"]
_PART = 1 << 20  # bytes
Answer = list[Any]  # JSON about one file: what ``decoder.check`` returns, nothing, or ``[code, message]`` of a refusal


class Request(TypedDict):
    """``lengths`` are those of the files, whose bytes follow; ``size`` is the side in pixels, where the work has one."""

    work: Work
    size: int
    max_pixels: int
    depths: Depths
    lengths: list[int]


def send(channel: Connection, files: Sequence[BinaryIO]) -> None:
    """Send the contents of files one after the other, of which little more than a part is in memory."""
    some, held = list[bytes](), 0
    for file in files:
        file.seek(0)
        while piece := file.read(_PART):
            some.append(piece)
            held += len(piece)
            if held >= _PART:
                channel.send_bytes(b"".join(some))
                some, held = [], 0
    if some:
        channel.send_bytes(b"".join(some))


def received(channel: Connection, length: int) -> bytes:
    """So many bytes that ``send`` sends."""
    parts = []
    while length > 0:
        parts.append(channel.recv_bytes())
        length -= len(parts[-1])
    return b"".join(parts)
