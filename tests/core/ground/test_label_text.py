import unicodedata

import pytest

from core.ground.label_text import label_text


@pytest.mark.parametrize(
    "written",
    [
        "chat gris",
        " chat gris",
        "chat  gris\t",
        "chat\u00a0gris",
        "chat\u3000gris\r\n",
        "\ufeffchat gris",
        "chat\u200b gris",
        "cha\u00adt gris",
        "\u202achat gris\u202c",
        "chat\u200d gris",
        "chat\n gris",
        "c\0hat gris",
        "chat\u3164gris",
    ],
)
def test_labels_that_look_the_same_are_the_same(written: str) -> None:
    assert label_text(written) == "chat gris"


def test_composed_and_decomposed_letters_are_one_label() -> None:
    for name in ("été", "Ünï", "ガ", "한국", "ế", "Å"):
        assert {label_text(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")} == {name}
    assert label_text("e\u034f\u0301") == "é"  # a grapheme joiner between a letter and its accent shows nothing


@pytest.mark.parametrize("written", ["", " ", "\t\r\n", "\u00a0", "\u3000", "\ufeff", "\u200b\u200d", "\u2800", "\u3164", "\0"])
def test_a_label_of_nothing_is_none(written: str) -> None:
    assert label_text(written) is None


@pytest.mark.parametrize(
    "text",
    [
        "Cat",
        "cat",
        "ﬁn",
        "fin",
        "a-b",
        "a_b",
        "0",
        "None",
        "می\u200cخواهم",
        "👩\u200d🔬",
        "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e007f",
    ],
)
def test_what_looks_different_stays_as_it_is(text: str) -> None:
    assert label_text(text) == text


def test_the_form_is_stable() -> None:
    for text in ("e\u200b\u0301 x", "\u0301", "a\u200d\u200db", " \u202e", "\u115f\u1160x"):
        once = label_text(text)
        assert once is None or label_text(once) == once


def test_the_first_character_looks_at_no_other_end() -> None:
    assert label_text("\u200dمی") == "می"
    assert label_text("می\u200d") == "می"
