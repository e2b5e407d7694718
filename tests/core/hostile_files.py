"""Files of every format that is opened, and what a fuzzer makes of them, the same for the same seed."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Random = np.random.Generator
_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def corpus() -> dict[str, bytes]:
    """Small valid files by name: modes, depths, compressions, animations, metadata."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((6, 6, 1))).astype(np.uint8))
    grey, rgba, palette, bits = rgb.convert("L"), rgb.convert("RGBA"), rgb.convert("P"), rgb.convert("1")
    deep = Image.fromarray(rng.integers(0, 65536, (36, 48), dtype=np.uint16))
    real = Image.fromarray(rng.random((36, 48), dtype=np.float32))
    other = rgb.rotate(180)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "baseline.jpg": _saved(rgb, "JPEG", exif=turned, comment="hello", dpi=(72, 72)),
        "progressive.jpg": _saved(rgb, "JPEG", progressive=True, subsampling=0),
        "grey.jpg": _saved(grey, "JPEG", restart_marker_rows=1),
        "ink.jpg": _saved(rgb.convert("CMYK"), "JPEG"),
        "several.mpo": _saved(rgb, "MPO", save_all=True, append_images=[other]),
        "plain.png": _saved(rgb, "PNG", exif=turned),
        "alpha.png": _saved(rgba, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=3),
        "bits.png": _saved(bits, "PNG"),
        "deep.png": _saved(deep, "PNG"),
        "animated.png": _saved(rgb, "PNG", save_all=True, append_images=[other], duration=10),
        "lossy.webp": _saved(rgb, "WEBP", quality=50, exif=turned.tobytes()),
        "lossless.webp": _saved(rgba, "WEBP", lossless=True),
        "animated.webp": _saved(rgb, "WEBP", save_all=True, append_images=[other], duration=10),
        "plain.gif": _saved(palette, "GIF", comment=b"hello"),
        "animated.gif": _saved(palette, "GIF", save_all=True, append_images=[other.convert("P")], transparency=1),
        "plain.bmp": _saved(rgb, "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "bits.bmp": _saved(bits, "BMP"),
        "alpha.bmp": _saved(rgba, "BMP"),
        "real.tif": _saved(real, "TIFF"),
        "deep.tif": _saved(deep, "TIFF", compression="tiff_deflate"),
        "plain.ppm": _saved(rgb, "PPM"),
        "grey.pgm": _saved(grey, "PPM"),
        "deep.pgm": _saved(deep, "PPM"),
        "bits.pbm": _saved(bits, "PPM"),
        "text.ppm": b"P3\n# a comment\n4 2\n255\n" + b" ".join(b"%d" % (i * 9) for i in range(24)),
        "text.pbm": b"P1\n8 4\n" + b"1 0 1 1 0 0 1 0 " * 4,
    }
    for packing in ("raw", "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate"):
        files[f"{packing}.tif"] = _saved(rgb, "TIFF", compression=packing)
    for packing in ("group3", "group4", "tiff_ccitt"):
        files[f"{packing}.tif"] = _saved(bits, "TIFF", compression=packing)
    return files


def _flipped(data: bytearray, rng: Random) -> None:
    for at in rng.integers(0, len(data) * 8, rng.integers(1, 30)):
        data[at // 8] ^= 1 << (at % 8)


def _overwritten(data: bytearray, rng: Random) -> None:
    at = int(rng.integers(0, len(data)))
    part = rng.bytes(int(rng.integers(1, 64)))
    data[at : at + len(part)] = part


def _truncated(data: bytearray, rng: Random) -> None:
    del data[int(rng.integers(0, len(data))) :]


def _spliced(data: bytearray, rng: Random) -> None:
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    at = int(rng.integers(0, len(data)))
    data[at:at] = data[start:end] * int(rng.integers(1, 4))


def _removed(data: bytearray, rng: Random) -> None:
    at = int(rng.integers(0, len(data)))
    del data[at : at + int(rng.integers(1, 40))]


def _number(data: bytearray, rng: Random) -> None:
    """A number as lengths, offsets and sizes are written, mostly in the header."""
    layout = ("<H", ">H", "<I", ">I", "B")[int(rng.integers(5))]
    end = min(len(data), 80) if rng.random() < 0.7 else len(data)
    at = int(rng.integers(0, max(1, end - 4)))
    value = _NUMBERS[int(rng.integers(len(_NUMBERS)))] if rng.random() < 0.7 else int(rng.integers(1 << 32))
    part = struct.pack(layout, value & ((1 << 8 * struct.calcsize(layout)) - 1))
    data[at : at + len(part)] = part


_MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flipped,
    _overwritten,
    _truncated,
    _spliced,
    _removed,
    _number,
    _number,
    _number,
)


def mutated(valid: dict[str, bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` files, each of the valid ones in turn with one to three mutations."""
    rng, names = np.random.default_rng(seed), list(valid)
    for number in range(count):
        data = bytearray(valid[names[number % len(names)]])
        for _ in range(int(rng.integers(1, 4))):
            if data:
                _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](data, rng)
        yield bytes(data)


def with_scans(image: Image.Image, further: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = _saved(image, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (1 + further) + data[-2:]


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _in_runs(side: int, runs: bytes) -> bytes:
    """A BMP of 8 bits packed in runs."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs


def _directory(entries: dict[int, int]) -> bytes:
    """A TIFF of one directory whose values are numbers, ``273`` a count of strips."""
    strips = 273
    rows = [struct.pack("<HHII", tag, 4, *((value, 8) if tag == strips else (1, value))) for tag, value in entries.items()]
    return struct.pack("<2sHIH", b"II", 42, 8, len(rows)) + b"".join(rows) + bytes(4)


def laborious() -> dict[str, bytes]:
    """Files of a few bytes, or a few when they are packed, that would take a decoder from seconds to hours."""
    png, gif = _saved(Image.new("RGB", (8, 8)), "PNG"), _saved(Image.new("P", (8, 8)), "GIF")
    jpeg, data = _saved(Image.new("RGB", (8, 8)), "JPEG"), png.index(b"IDAT") - 4
    tiff = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1}
    return {
        "scans.jpg": with_scans(Image.new("L", (64, 64)), 200),
        "segments.jpg": jpeg[:2] + b"\xff\xfe\0\2" * 110_000 + jpeg[2:],
        "filled.jpg": jpeg[:2] + b"\xff" * 200_000 + jpeg[2:],
        "chunks-before.png": png[:data] + _chunk(b"zzZz") * 110_000 + png[data:],
        "chunks-after.png": png[:-12] + _chunk(b"zzZz") * 110_000 + png[-12:],
        "blocks.gif": gif[:-1] + b"\x21\xfe" + b"\1a" * 450_000 + b"\0;",
        "nothing.gif": gif[:-1] + bytes(500_000) + b";",
        "comments.ppm": b"P3\n10 10\n255\n" + b"#\n" * 100_000 + b"1 " * 300,
        "header.ppm": b"P6\n#" + b"a" * 100_000 + b"\n8 8\n255\n" + bytes(192),
        "numbers.ppm": b"P3\n3000 3000\n255\n" + b"1 " * 9_000_000,
        "ends-of-lines.bmp": _in_runs(8000, b"\1\5\0\0" * 8000 + b"\0\1"),
        "runs.bmp": _in_runs(3000, b"\1\5" * 4_500_000),
        "strips.tif": _directory({**tiff, 273: 1 << 24}),
        "tile.tif": _directory({**tiff, 322: 60_000, 323: 60_000, 324: 8, 325: 8}),
    }
