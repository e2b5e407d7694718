"""File names from zips, tars, folders and forms as text that any database and JSON can hold. Names that are not UTF-8 were
written in an older code page; of all candidates the one is chosen whose text looks most like what people write."""

import os
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import filterfalse, islice
from types import FunctionType

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # APPNOTE 4.6.9, by Info-ZIP
# What Windows packs zips with in Japan, China, Taiwan, Korea, Russia, Western and Central Europe, Greece, Turkey, Israel,
# the Arab world and Thailand: of equally good ones the first. cp437 comes last and takes any bytes, each one another letter.
_PAGES = (
    *("cp932", "gbk", "cp950", "cp949", "cp1251", "cp866", "cp1252", "cp850", "cp1250", "cp852", "cp1253", "cp737"),
    *("cp1254", "cp857", "cp1255", "cp862", "cp1256", "cp874", "euc_jp", "cp437"),
)
_LAST = "cp437"
_SAMPLE, _JUDGED = 2000, 200  # names that are judged, and their characters: each takes time
_WIDE = ("cp932", "gbk", "cp950", "cp949", "euc_jp")
_COMMON = frozenset(  # among the letters of folders and files, by script
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起"
    "还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声"
    "全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产"
    "入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王"
    "果照片猫狗图像测试样本花鸟鱼树牛羊虎兔植物风景建筑食品衣服鞋包写真犬鳥魚樹動画像試験東京桜車駅店屋写絵"
    "國說為時會這個們來對學過後發沒經頭動兩長現將與進實點種聲話問機給幾業間東電門貓圖樣測試標"
    "이다는의에가을하고지사한기도로인아어리나자시대은그정서있보일수부들해전장스를만상여유과주라성게거원것구동신제비안우국개학모선실양진마면"
    "경세공생치조오무할미관요호중적방연내음되트소당식물설람와년배각행위단력간금회발용려입강드바산터분화문같반말계교차재까레더타육천두새민저"
    "체른명최작불매품견고양이사진강아지그림꽃나무음식"
    "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"
    "éèêëàâäáãåæçíîïñóôöøúùûüßœ"
    "ąćęłńśźżčďěňřšťůžőűăâîșțđ"
    "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώ"
    "şğıİ"
    "אבגדהוזחטיכלמנסעפצקרשתםןךףץ"
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويةأإىئ"
    "กขคงจชซญดตถทธนบปพภมยรลวศสหอะาิีึืุูเแโใไ่้์"
)


def clean(name: str) -> str:
    """A name that any database and any JSON parser can hold, without a leading ``./``: control characters by their pictures,
    and bytes that are no UTF-8 (``surrogateescape``) as letters of the code page that they look like. Different names stay
    different."""
    text = re.sub(r"^(\./+)+", "", name if name.isascii() else "/".join(map(_readable, name.split("/"))))
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: chr(0x2400 + min(ord(match[0]), 0x21)), text)


@lru_cache(maxsize=1000)
def _readable(part: str) -> str:
    """A part of a path; a folder is read in the same way for every file in it."""
    try:
        part.encode()
        return part
    except UnicodeEncodeError:
        try:
            return decode_names([part.encode("utf-8", "surrogateescape")])[0]
        except UnicodeEncodeError:  # half characters that stand for no byte
            return part.encode("utf-8", "backslashreplace").decode()


def escaped(name: str) -> str:
    """As ``clean``, but with bytes that are not UTF-8 as ``%E9``; used where another file has the readable name already."""
    return clean("".join(f"%{ord(each) - 0xDC00:02X}" if "\udc80" <= each <= "\udcff" else each for each in name))


def from_bytes(name: bytes) -> str:
    """A name from its bytes, which are UTF-8 or else in the most likely code page."""
    return clean(name.decode("utf-8", "surrogateescape"))


def from_filesystem(name: str) -> str:
    """A file name that Python returned, decoded anew as UTF-8 with ``surrogateescape``, whatever the locale."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def with_slashes(name: str) -> str:
    """A path of a zip with ``/`` between its parts; some Windows programs write backslashes, against the standard."""
    return re.sub(r"^(\./+)+", "", name.replace("\\", "/"))


def _unflagged(method: object) -> FunctionType:
    """A copy of a method of ``zipfile`` that ignores the UTF-8 flag. The original fails at the first name that is flagged as
    UTF-8 and is not, and at an entry whose two headers have different flags."""
    assert isinstance(method, FunctionType)
    return FunctionType(method.__code__, {**vars(zipfile), "_MASK_UTF_FILENAME": 0}, None, method.__defaults__)


class ZipFile(zipfile.ZipFile):
    """A zip that is only read. Names are decoded as cp437, which accepts any bytes, so that ``zip_names`` can recover them."""

    _RealGetContents = _unflagged(zipfile.ZipFile._RealGetContents)  # type: ignore[attr-defined]
    open = _unflagged(zipfile.ZipFile.open)
    open.__kwdefaults__ = zipfile.ZipFile.open.__kwdefaults__


def zip_names(archive: ZipFile) -> list[str]:
    """The name of each entry of a zip: UTF-8 where the flag or the entry's Unicode Path field says so and it is; of all others
    UTF-8 if all of them are, or else one code page. Names of different bytes stay different."""
    infos = archive.infolist()
    stored = [info.orig_filename.encode("cp437") for info in infos]
    names = [declared_name(name, info.flag_bits, info.extra) for info, name in zip(infos, stored, strict=True)]
    raw = [name.partition(b"\0")[0] for name in stored]
    undeclared = [number for number, name in enumerate(names) if name is None]
    taken = set(names)
    for number, name in zip(undeclared, decode_names([raw[number] for number in undeclared]), strict=True):
        names[number] = escaped(raw[number].decode("utf-8", "surrogateescape")) if name in taken else name
    return [clean(name or "") for name in names]


def declared_name(name: bytes, flags: int, extra: bytes) -> str | None:
    """The name of a zip's entry where its record says that it is UTF-8, by a flag or in a Unicode Path field, and it is."""
    path = next((field for kind, field in extra_fields(extra) if kind == _UNICODE_PATH), b"")
    try:
        if flags & _UTF8_FLAG:
            return name.partition(b"\0")[0].decode()
        # Its checksum shows that the entry was not renamed since.
        return path[5:].decode() if len(path) > 5 and struct.unpack_from("<BI", path) == (1, zlib.crc32(name)) else None
    except UnicodeDecodeError:
        return None


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each extra field of a zip's entry (APPNOTE 4.5)."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size


def code_page(names: Callable[[], Iterable[bytes]]) -> str:
    """One code page for all names of an archive, UTF-8 where all are. Each call reads them anew; only a sample is kept."""
    odd = set(islice(filterfalse(bytes.isascii, names()), _SAMPLE))
    pages = ["utf-8", *_by_likelihood(odd)]  # the last takes any bytes
    return next(page for page in pages if all(_decodes(name, page) for name in names()))


def _decodes(name: bytes, page: str) -> bool:
    try:
        return name.isascii() or name.decode(page) is not None
    except UnicodeDecodeError:
        return False


def decode_names(names: Sequence[bytes]) -> list[str]:
    """Names of one origin as text: UTF-8 where all are, otherwise one code page for all of them. No byte is lost, and names
    that differ stay different."""
    different = set(names)
    for page in ("utf-8", *_by_likelihood(different)):
        try:
            texts = {name: name.decode(page) for name in different}
        except UnicodeDecodeError:
            continue
        if len(set(texts.values())) == len(texts):
            return [texts[name] for name in names]
    raise AssertionError("cp437 takes any bytes")


def _by_likelihood(names: Iterable[bytes]) -> list[str]:
    odd = sorted(name for name in names if not name.isascii())[:_SAMPLE]
    likely = sorted(_PAGES[:-1], key=lambda page: -_score(odd, page))
    return [*likely, _LAST] if not odd or _score(odd, likely[0]) > _score(odd, _LAST) else [_LAST]


def _score(names: Sequence[bytes], page: str) -> float:
    """How likely the code page is: about 2 for each byte of common letters, negative for text that nobody writes."""
    total, count = 0.0, 0
    for name in names:
        try:
            text = name.decode(page)[:_JUDGED]
        except UnicodeDecodeError:
            return -100.0
        if not set(text).isdisjoint(_UNWRITTEN):
            return -50.0
        before = ""
        for character in text:
            if not character.isascii():
                bytes_ = 2 if page in _WIDE and character not in _HALF else 1
                total += bytes_ * _worth(character, page)
                count += bytes_
            total -= _clash(before, character)
            before = character
        total -= 2 * len(_MISSPELT.findall(text))
    return total / max(count, 1)


_MISSPELT = re.compile(  # Hebrew and Russian are the same bytes
    r"\b[бвгджзйклмнпрстфхцчшщ]{3,}\b|\b[ъьы]"  # no vowel; what no word begins with
    r"|[ךםןףץ](?=[א-ת])|(?<=[א-ת])[כמנפצ]\b"  # the form for a word's end within one, and the other at its end
    r"|[À-ſ]{3,}",  # Latin letters, all with accents
    re.IGNORECASE,
)
_UNWRITTEN = frozenset(map(chr, [*range(32), *range(0x7F, 0xA0)]))  # controls
_HALF = frozenset(map(chr, range(0xFF61, 0xFFA0)))  # katakana of one byte


@lru_cache(maxsize=50_000)
def _worth(character: str, page: str) -> float:
    script = _script(character)
    if character in _COMMON or character.lower() in _COMMON:
        return 2.0 if character in _COMMON else 1.5
    if script in ("HIRAGANA", "KATAKANA"):
        return 2.0 if page in ("cp932", "euc_jp") else 0.5
    if script in ("CJK", "HANGUL"):
        lead, trail = character.encode(page)[0], character.encode(page)[-1]
        first_level = {
            "cp932": 0x88 <= lead <= 0x97,
            "gbk": 0xB0 <= lead <= 0xD7 and trail >= 0xA1,
            "cp950": 0xA4 <= lead <= 0xC6,
            "cp949": 0xB0 <= lead <= 0xC8 and trail >= 0xA1,
            "euc_jp": 0xB0 <= lead <= 0xCF,
        }[page]
        return 1.0 if first_level and (script == "HANGUL") == (page == "cp949") else -1.5
    if character in _HALF:
        return 0.5 if page == "cp932" else -1.0
    if character.isalpha():
        return 0.2
    if unicodedata.category(character).startswith("M"):  # vowels of Thai and Arabic
        return 0.5
    return -1.0 if character in "、。・「」（）【】～－＿！，　–—’“”°№" else -3.0


@lru_cache(maxsize=50_000)
def _script(character: str) -> str:
    return unicodedata.name(character, "NONE").partition(" ")[0].partition("-")[0]


def _clash(before: str, character: str) -> float:
    """The penalty for two neighbouring letters of different alphabets, or a lower-case letter before an upper-case one."""
    if not before.isalpha() or not character.isalpha() or (before.isascii() and character.isascii()):
        return 0.0
    scripts = {_script(before), _script(character)} - {"HALFWIDTH", "FULLWIDTH"}
    east_asian = {"CJK", "HIRAGANA", "KATAKANA"}
    if len(scripts) > 1 and not scripts <= east_asian:
        return 1.0 if scripts & east_asian or "HANGUL" in scripts else 4.0
    return 2.0 if before.islower() and character.isupper() else 0.0
