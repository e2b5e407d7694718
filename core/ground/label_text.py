"""Labels as a person reads them: texts that look the same are the same label, and a text that shows nothing is no label.

Only the standard library is imported here.
"""

import unicodedata

_BLANK = dict.fromkeys(map(ord, "\u115f\u1160\u2800\u3164\uffa0"), " ")  # letters by Unicode's categories that show nothing
_JOINERS = "\u200c\u200d"  # change how letters look in Persian, Indic scripts and emoji, but only between two letters
_JOINED = "\u0590"  # the scripts that they join begin here
_VISIBLE_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}  # of the format characters, Cf
_TAGS = range(0xE0020, 0xE0080)  # Cf, too: letters of a flag's region
_INVISIBLE_MARKS = {0x34F, 0x17B4, 0x17B5}  # grapheme joiner and vowels that are marks and show nothing


def label_text(text: str) -> str | None:
    """A label in the form in which it is stored and compared, or ``None`` where nothing of it is visible.

    Unicode NFC (UAX #15), without characters that show nothing (controls, zero-width spaces, marks of direction), each run of
    blanks of any kind one space, none at the ends. Case stays, and so do compatibility forms (``ﬁ``), which look different.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split()) or None
    visible = "".join(character for place, character in enumerate(text) if _is_visible(text, place))
    return " ".join(unicodedata.normalize("NFC", visible.translate(_BLANK)).split()) or None


def _is_visible(text: str, place: int) -> bool:
    character = text[place]
    if character in _JOINERS:
        return text[place - 1 : place] > _JOINED and text[place + 1 : place + 2] > _JOINED
    if character.isspace():
        return True
    code = ord(character)
    if unicodedata.category(character) in ("Cc", "Cf"):
        return code in _VISIBLE_FORMATS or code in _TAGS
    return code not in _INVISIBLE_MARKS
