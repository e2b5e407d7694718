"""Labels given after the upload, on SQLite and PostgreSQL."""

import io
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import select

from core.collections import deletions, labels
from core.collections.labels import LabelCounts
from core.errors import BadLabels, DatasetNotFound
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Dataset, Image, Label
from core.untrusted.label_requests import RequestedLabels, take_csv, take_json
from tests.conftest import image_bytes, write_zip
from tests.service.serving import ready_dataset


@pytest.fixture
def dataset(db: Database, settings: Settings, tmp_path: Path) -> str:
    """Images 0.png to 1199.png, more than one batch, the last one a duplicate of the first."""
    files = {f"{i}.png": image_bytes(i, side=8) for i in range(1199)} | {"again.png": image_bytes(0, side=8)}
    return ready_dataset(db, settings, write_zip(tmp_path / "pictures.zip", files).read_bytes())


Asked = Mapping[str | int, str | None]


def set_labels(db: Database, dataset: str, asked: Asked | bytes) -> LabelCounts:
    with tempfile.TemporaryDirectory() as folder, RequestedLabels(Path(folder)) as requested:
        if isinstance(asked, bytes):
            take_csv(requested, io.BytesIO(asked))
        else:
            for key, label in asked.items():
                requested.ask(key, label)
        return labels.set_labels(db, dataset, requested)


def parsed(take: Callable[[RequestedLabels, BinaryIO], None], data: bytes) -> Asked:
    with tempfile.TemporaryDirectory() as folder, RequestedLabels(Path(folder)) as requested:
        take(requested, io.BytesIO(data))
        return {key: label for batch in requested.asked(2) for key, (label, _) in batch.items()}


def stored(db: Database, dataset: str) -> dict[str, str]:
    with db.read() as session:
        found = select(Image.path, Label.label).join(Label, Label.image_id == Image.id).where(Image.dataset_id == dataset)
        return dict(session.execute(found).all())


def test_labels_are_set_changed_and_removed_and_the_others_stay(db: Database, dataset: str) -> None:
    counts = set_labels(db, dataset, {f"{i}.png": "even" if i % 2 == 0 else "odd" for i in range(1199)})
    assert (counts.set, counts.removed, counts.ignored) == (1199, 0, 0)
    with db.read() as session:
        before = session.get_one(Dataset, dataset)
        first = session.scalars(select(Image.id).where(Image.path == "0.png")).one()
    assert before.classes == 2
    counts = set_labels(db, dataset, {first: "zero", "1.png": None, "again.png": "zero"})
    assert (counts.set, counts.removed, counts.ignored) == (1, 1, 1)
    after = stored(db, dataset)
    assert (after["0.png"], "1.png" in after, after["2.png"], len(after)) == ("zero", False, "even", 1198)
    with db.read() as session:
        now = session.get_one(Dataset, dataset)
    assert now.classes == 3
    assert now.generation > before.generation


def test_an_unknown_name_changes_nothing(db: Database, dataset: str) -> None:
    with pytest.raises(BadLabels, match=r"2 of 3 are not in .*, so nothing was changed: no.png, 987654321"):
        set_labels(db, dataset, {"0.png": "a", "no.png": "b", 987654321: "c"})
    assert stored(db, dataset) == {}
    with pytest.raises(DatasetNotFound):
        set_labels(db, "ds_none", {"0.png": "a"})


def test_an_unknown_name_of_a_table_is_named_with_its_row(db: Database, dataset: str) -> None:
    with pytest.raises(BadLabels, match=r"1 of 2 are not in .*: no.png \(row 3, column path\)"):
        set_labels(db, dataset, b"path,label\n0.png,a\nno.png,b\n")
    assert stored(db, dataset) == {}


def test_a_path_and_an_id_of_one_image_must_agree(db: Database, dataset: str) -> None:
    with db.read() as session:
        first = session.scalars(select(Image.id).where(Image.path == "0.png")).one()
    with pytest.raises(BadLabels, match=r"two labels, so nothing was changed"):
        set_labels(db, dataset, {"0.png": "a", "1.png": "b", first: "c"})
    assert stored(db, dataset) == {}
    assert set_labels(db, dataset, {"0.png": "a", first: "a"}).set == 1


def test_readers_are_told_twice_however_many_images_have_labels(db: Database, dataset: str) -> None:
    def generation() -> int:
        with db.read() as session:
            return session.get_one(Dataset, dataset).generation

    before = generation()
    set_labels(db, dataset, {f"{i}.png": "a" for i in range(1199)})
    assert generation() == before + 2


def test_labels_given_at_once_while_images_are_deleted(db: Database, settings: Settings, dataset: str) -> None:
    """Each image has the label of one of the writers, and none of them fails."""
    with db.read() as session:
        ids = dict(session.execute(select(Image.path, Image.id).where(Image.dataset_id == dataset)).all())
    gone = [f"{i}.png" for i in range(0, 1199, 7)]

    def label(number: int) -> None:
        set_labels(db, dataset, {ids[f"{i}.png"]: f"writer {number}" for i in range(1199) if i % 7})

    def delete(path: str) -> None:
        deletions.delete_images(db, dataset, [ids[path]])

    def label_what_goes(number: int) -> None:
        with suppress(BadLabels):  # it was gone before the look-up
            set_labels(db, dataset, {ids[gone[number]]: "gone"})

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(label, number) for number in range(4)]
        for number, path in enumerate(gone):
            tasks += [pool.submit(label_what_goes, number), pool.submit(delete, path)]
        for task in tasks:
            task.result()
    given = stored(db, dataset)
    assert set(given) == {f"{i}.png" for i in range(1199) if i % 7}
    assert set(given.values()) <= {f"writer {number}" for number in range(4)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\na.png,cat\nb.png,\n", {"a.png": "cat", "b.png": None}),
        ('\ufefflabel,path\n"a, b","x ""y"".png"\n', {'x "y".png': "a, b"}),
        ("image_id,label\n7,cat\n", {7: "cat"}),
        ('"path";"label"\r\na.png;Käfer\r\nb,c.png;""\r\n', {"a.png": "Käfer", "b,c.png": None}),
        ("Path\tLabel\ra.png\tcat; dog\r", {"a.png": "cat; dog"}),
        ("\n\npath,label\n\na.png,cat\n   \n,\nb.png,dog", {"a.png": "cat", "b.png": "dog"}),
        ('path,label\na.png,5" pipe\n', {"a.png": '5" pipe'}),
        ("path,label\na.png,cat\na.png, cat\u200b \nb.png,\u200b\n", {"a.png": "cat", "b.png": None}),
        ("path,label\na\u2028b.png,cat\n", {"a\u2028b.png": "cat"}),  # ends no line
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_csv(text: str, expected: dict[str | int, str | None], encoding: str) -> None:
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    assert parsed(take_csv, (mark + text.removeprefix("\ufeff")).encode(encoding)) == expected


def test_json() -> None:
    assert parsed(take_json, b'{"a.png": "cat", "b.png": null}') == {"a.png": "cat", "b.png": None}
    assert parsed(take_json, b'[{"path": "a.png", "label": "cat"}, {"image_id": 7, "label": ""}]') == {"a.png": "cat", 7: None}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a.png,cat\n", "row 1, column 1: the first line of the CSV must be path,label"),
        (b"", "row 1, column 1: the first line of the CSV must be path,label"),
        (b"path|label\na.png|cat\n", "row 1, column 1: the first line"),
        (b"\npath\na.png\n", "row 2, column 1: the first line"),
        (b"path,label,split\na.png,cat,train\n", "row 1, column 3: .*'split' is one column too many"),
        (b"path,label,label\na.png,cat,dog\n", "row 1, column 3: .*'label' is one column too many"),
        (b"image_id;path;label\n1;a.png;cat\n", "row 1, column 3: .*too many"),
        (b"path,label\n", "no label given"),
        (b"path,label\nb.png,\n\na.png\n", "row 4, column label: is missing"),
        (b"label;path\ncat;a.png\ndog\n", "row 3, column path: is missing"),
        (b"path,label\na.png,cat,dog\n", "row 2, column 3: the first line names no such column"),
        (
            b"path,label\na.png,cat\nb.png,cat\na.png,dog\n",
            "row 4, column label: a.png has two labels, 'dog' here and 'cat' in row 2",
        ),
        (b"path,label\na.png,\na.png,dog\n", "row 3, column label: a.png has two labels, 'dog' here and none in row 2"),
        (b'path,label\na.png,"cat\nb.png,dog\n', "row 2, column label: a quote that does not end in its line"),
        (b'path,label\na.png,"cat\nb.png,dog"\n', "row 2, column label: a quote that does not end in its line"),
        (b'path,label\n"a.png,cat\n', "row 2, column path: a quote that does not end in its line"),
        (b'path,label\n"a"b.png,cat\n', "row 2, column path: "),
        (b'path,label\n"a,b.png","cat"s\n', "row 2, column label: "),
        (b"image_id,label\nx,cat\n", "row 2, column image_id: image_id must be a whole number"),
        (b"image_id,label\n1_0,cat\n", "row 2, column image_id: image_id must be a whole number"),
        (b"path,label\n\xff,cat\n", "row 2, column path: the byte 0xff is not UTF-8"),
        (b"path,label\r\na.png,cat\r\nb.png,K\xe4fer\r\n", "row 3, column label: the byte 0xe4 is not UTF-8"),
        ("path,label\na.png,cat\n".encode("utf-16-le"), "row 1, column 1: NUL is not allowed; .*byte order mark"),
        ("path,label\na.png,cat\n".encode("utf-32"), "row 1, column 1: NUL is not allowed; .*byte order mark"),
        ("\ufeffpath,label\na.png,cat".encode("utf-16-be") + b"\0", "row 2, column label: half of a character"),
        (b"path,label\n,cat\n", "row 2, column path: the path must be a text without NUL, and not empty"),
        (b"path,label\na\x00b,cat\n", "row 2, column path: NUL"),
        (b"path,label\na.png," + b"x" * 201, "row 2, column label: the label of a.png must be a text of at most 200"),
        (b"path,label\na.png," + b"x" * 200_000, "row 2, column path: a row of more than"),
        (b"x" * 200_000, "row 1, column 1: the first line"),
        (b"image_id,label\n1" + b"0" * 30 + b",cat\n", "row 2, column image_id: image_id must be a whole number"),
    ],
)
def test_a_bad_table_is_named_by_row_and_column(data: bytes, message: str) -> None:
    with pytest.raises(BadLabels, match=message):
        parsed(take_csv, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not JSON"),
        (b"3", "must be a list"),
        (b"[3]", "entry 1: must hold"),
        (b'[{"path": "a", "label": 3}]', "must be a text"),
        (b'[{"path": "a", "label": "x\\u0000"}]', "without NUL"),
        (b"[]", "no label given"),
        (b'{"a": "x", "b": "x", "a": "y"}', "a has two labels"),
        (b'[{"path": "a", "label": "x", "label": "y"}]', "label: is given twice"),
        (b'[{"path": "a", "label": NaN}]', "entry 1: the label of a must be a text"),
        (b'[{"path": 7, "label": "x"}]', "entry 1: the path must be a text"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a\\ud800": "b"}', "not JSON"),
        (b'{"a\\u0000": "b"}', "entry 1: the path must be a text without NUL"),
        (b'[{"path": ["a"], "label": "b"}]', "entry 1: the path must be a text"),
        (b'[{"image_id": 3, "label": "b"}, {"image_id": 3.7, "label": "c"}]', "entry 2: image_id must be a whole number"),
        (b'[{"image_id": true, "label": "b"}]', "image_id must be a whole number"),
        (b'[{"image_id": 1e999, "label": "b"}]', "image_id must be a whole number"),
        (b'[{"image_id": -1, "label": "b"}]', "image_id must be a whole number"),
        (b'[{"image_id": 1' + b"0" * 30 + b', "label": "b"}]', "image_id must be a whole number"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_bad_json_is_named_by_its_entry(data: bytes, message: str) -> None:
    with pytest.raises(BadLabels, match=message):
        parsed(take_json, data)
