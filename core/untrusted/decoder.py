"""``python -m core.untrusted.decoder``: decodes untrusted images on behalf of ``core.untrusted.decoding``.

The process holds no secret, has limits on memory and time, and can reach nothing but the channel to its parent
(``confinement``). The kernel ends it when an image takes too long, even where decoding hangs, and a crash ends nothing else.
"""

import argparse
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import AvifImagePlugin, Image, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from core.ground.pictures import imaging
from core.ground.pictures.depths import Depths
from core.ground.processes import die_with_parent
from core.untrusted.confinement import confine
from core.untrusted.requests import Answer, Request, received

PLUGINS = (
    AvifImagePlugin,
    MpoImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)  # those that Pillow would load with all others at first use
_WALL = 10  # seconds that may pass for each second of work: a process that only waits ends, too


def check(data: bytes, _: int, max_pixels: int, depths: Depths) -> tuple[Answer, bytes]:
    """Decode an image: its format, width, height, further pages, its depth as ``[kind, black, white]`` or ``None``, whether it is
    grey."""
    decoded = imaging.read(data, max_pixels, depths)
    depth = decoded.depth and not decoded.depth.fixed and [decoded.depth.kind, *decoded.depth.range]
    return [decoded.format, *decoded.image.size, decoded.further_pages, depth or None, imaging.is_grey(decoded.image)], b""


def pixels(data: bytes, size: int, max_pixels: int, depths: Depths) -> tuple[Answer, bytes]:
    """What an encoder of this size sees, as the bytes of (size, size, 3)."""
    return [], imaging.evaluation_array(imaging.decode(data, max_pixels, depths), size).tobytes()


def thumbnail(data: bytes, size: int, max_pixels: int, depths: Depths) -> tuple[Answer, bytes]:
    """A WebP file."""
    return [], imaging.thumbnail(data, size, max_pixels, depths)


WORK = {work.__name__: work for work in (check, pixels, thumbnail)}


def main() -> None:
    """Answer requests until the parent is gone. A request is a JSON object (``Request``), then the bytes of its files; the answer
    is a JSON list with an ``Answer`` for each file, then the bytes of the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--parent-pipe", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent_pipe)
    Image.preinit()
    _limit(arguments.bytes)
    with Connection(arguments.channel) as channel, suppress(EOFError, ConnectionError):
        with open(os.devnull, "wb") as nothing:  # libtiff writes what a file makes it say
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        channel.send_bytes(json.dumps(confine(), allow_nan=False).encode())
        while True:
            request: Request = json.loads(channel.recv_bytes())
            files, results, answers, start = memoryview(received(channel, sum(request["lengths"]))), [], [], 0
            for length in request["lengths"]:
                signal.setitimer(signal.ITIMER_PROF, arguments.seconds)
                signal.setitimer(signal.ITIMER_REAL, arguments.seconds * _WALL)
                answer, result = _answer(request, bytes(files[start : start + length]))
                start += length
                answers.append(answer)
                results.append(result)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.send_bytes(json.dumps(answers, allow_nan=False).encode())
            channel.send_bytes(b"".join(results))


def _answer(request: Request, data: bytes) -> tuple[Answer, bytes]:
    try:
        return WORK[request["work"]](data, request["size"], request["max_pixels"], request["depths"])
    except imaging.ImageError as error:
        return [error.code, str(error)], b""
    except MemoryError:
        return ["too_many_pixels", "not enough memory to decode it"], b""
    except Exception as error:  # resizing what was decoded
        return ["damaged", f"cannot be used: {type(error).__name__}"], b""


def _limit(memory: int) -> None:
    """Allow ``memory`` bytes more than now and no core dumps, and let the kernel end this process first when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":  # elsewhere a limit on addresses does not hold, or stops Python itself
        return
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
    with suppress(OSError):  # not in every container
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
