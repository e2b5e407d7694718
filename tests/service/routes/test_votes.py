"""Votes over HTTP against single classifications and brute force on the published embeddings."""

import csv
import io
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.conftest import image_bytes
from tests.published import Published
from tests.service.answers import problem
from tests.service.routes.truth import Truth


@pytest.fixture(scope="module")
def truth(published: Published) -> Truth:
    return Truth(published)


def test_leave_one_out_is_what_single_classifications_say(published: Published, truth: Truth) -> None:
    live = published.live
    found = live.get(f"/datasets/{published.dataset}/leave-one-out?k=7&temperature=0.2")
    confusion = Counter[tuple[str, str]]()
    for id_ in truth.ids:
        label = live.get(f"/classify?image_id={id_}&k=7&temperature=0.2")["label"]
        confusion[truth.images[id_]["label"], label] += 1
    assert (found["k"], found["judged"], found["class_count"]) == (7, 32, 2)
    names = ["class-0", "class-1"]
    right = {name: confusion.pop((name, name), 0) for name in names}
    assert found["classes"] == [{"label": name, "judged": 16, "right": right[name]} for name in names]
    largest = [{"label": label, "voted": voted, "count": count} for (label, voted), count in confusion.most_common()]
    assert sorted(found["confusions"], key=str) == sorted(largest, key=str)
    assert found["confusion_count"] == len(largest)
    assert found["accuracy"] == pytest.approx(sum(right.values()) / 32)
    part = live.get(f"/datasets/{published.dataset}/leave-one-out?k=7&temperature=0.2&offset=1&limit=1")
    assert part == {**found, "classes": found["classes"][1:2], "confusions": found["confusions"][1:2]}


def test_the_number_of_voters_is_chosen_by_leave_one_out(published: Published) -> None:
    live = published.live
    found = live.get(f"/datasets/{published.dataset}/leave-one-out")
    assert [entry["k"] for entry in found["by_k"]] == [1, 3, 5, 10, 20]
    for entry in found["by_k"]:
        one = live.get(f"/datasets/{published.dataset}/leave-one-out?k={entry['k']}")
        assert (one["k"], one["accuracy"], one["by_k"]) == (entry["k"], entry["accuracy"], [entry])
    assert (found["accuracy"], found["k"]) == max((entry["accuracy"], entry["k"]) for entry in found["by_k"])
    job = live.finished(live.client.post(f"/datasets/{published.dataset}/classifications", json={}).json()["id"])
    assert job["progress"].items() >= {"images": 32, "k": found["k"], "abstained": None}.items()
    rows = csv.DictReader(io.StringIO(live.client.get(f"/jobs/{job['id']}/classifications").text))
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(found["accuracy"])


def test_votes_abstain_until_two_classes_have_enough_labels(published: Published, truth: Truth) -> None:
    live, dataset = published.live, published.dataset
    before = [{"image_id": id_, "label": image["label"]} for id_, image in truth.images.items()]
    asked = {"files": {"file": ("q.png", image_bytes(3))}, "data": {"dataset_id": dataset}}

    def label(*labels: str) -> None:
        rows = [{"image_id": id_, "label": None} for id_ in truth.images]
        for row, given in zip(rows, labels, strict=False):
            row["label"] = given
        assert live.client.put(f"/datasets/{dataset}/labels", json=rows).status_code == 200

    def classified(**how: Any) -> tuple[dict[str, Any], list[dict[str, str]]]:
        job = live.finished(live.client.post(f"/datasets/{dataset}/classifications", json=how).json()["id"])
        assert job["status"] == "succeeded", job
        table = live.client.get(f"/jobs/{job['id']}/classifications").text
        return job["progress"], list(csv.DictReader(io.StringIO(table)))

    try:
        for labels, there in (
            ((), "no image has a label yet"),
            (("a",), "so far there are: a 1"),
            (("a", "a", "a", "b", "b"), "so far there are: a 3, b 2"),
        ):
            label(*labels)
            reason = f"needs at least two classes with three labels each; {there}"
            for answer in (live.get(f"/classify?image_id={truth.ids[0]}"), live.client.post("/classify", **asked).json()):
                assert (answer["label"], answer["confidence"], answer["abstained"]) == (None, 0, reason)
                assert answer["classes"] == answer["voters"] == []
            judged = live.get(f"/datasets/{dataset}/leave-one-out")
            assert (judged["k"], judged["accuracy"], judged["by_k"], judged["abstained"]) == (None, None, [], reason)
            progress, rows = classified()
            assert progress.items() >= {"images": 32, "k": None, "abstained": reason}.items()
            assert [(row["predicted"], row["confidence"]) for row in rows] == [("", "0.0000")] * 32
        assert live.get(f"/classify?image_id={truth.ids[0]}&min_labels=2")["label"] in ("a", "b")
        assert live.client.post("/classify", **(asked | {"data": {"dataset_id": dataset, "min_labels": "2"}})).json()["label"]
        assert live.get(f"/datasets/{dataset}/leave-one-out?min_labels=2")["judged"] == 5
        assert {row["predicted"] for row in classified(min_labels=2)[1]} <= {"a", "b"}
        for bad in ("0", "101"):
            problem(live.client.get(f"/classify?image_id=1&min_labels={bad}"), 422, "bad_request")
    finally:
        assert live.client.put(f"/datasets/{dataset}/labels", json=before).status_code == 200


def test_a_whole_collection_is_classified_as_single_images_are(published: Published, truth: Truth) -> None:
    live = published.live
    asked = {"k": 7, "temperature": 0.2, "min_confidence": 0.7}
    answer = live.client.post(f"/datasets/{published.dataset}/classifications", json=asked)
    assert answer.status_code == 202, answer.text
    job = live.finished(answer.json()["id"])
    assert (job["status"], job["kind"], job["model_id"]) == ("succeeded", "classify", published.job["model_id"])
    rows = list(csv.DictReader(io.StringIO(live.client.get(f"/jobs/{job['id']}/classifications").text)))
    assert [int(row["image_id"]) for row in rows] == sorted(truth.ids)
    for row in rows:
        single = live.get(f"/classify?image_id={row['image_id']}&k=7&temperature=0.2&min_confidence=0.7")
        assert (row["predicted"] or None) == single["label"]
        assert float(row["confidence"]) == pytest.approx(single["confidence"], abs=1e-3)
        assert (row["path"], row["label"]) == (
            truth.images[int(row["image_id"])]["path"],
            truth.images[int(row["image_id"])]["label"],
        )
    problem(live.client.get(f"/jobs/{published.job['id']}/classifications"), 409, "no_table")
    problem(live.client.post(f"/datasets/{published.held_out}/classifications", json={}), 409, "no_model")
    problem(live.client.post(f"/datasets/{published.dataset}/classifications", json={"k": 0}), 422, "bad_request")
