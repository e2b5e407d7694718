"""Every kind of query over HTTP against brute force on the published embeddings."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo

from tests.conftest import image_bytes, write_zip
from tests.published import Published
from tests.service.answers import problem
from tests.service.routes.truth import Truth, ask, found


@pytest.fixture(scope="module")
def truth(published: Published) -> Truth:
    return Truth(published)


def test_several_images_are_searched_by_their_mean(published: Published, truth: Truth) -> None:
    named = tuple(truth.ids[:3])
    expected = truth.ranked(truth.vectors @ truth.vector(*named).mean(axis=0), named)
    assert found(ask(published, image_ids=named, k=5)) == expected[:5]
    assert found(ask(published, image_ids=named, k=5, offset=4)) == expected[4:9]


def test_a_vector_of_any_length_finds_what_its_direction_says(published: Published, truth: Truth) -> None:
    vector = (3 * truth.vectors[7]).tolist()
    answer = ask(published, vector=vector, k=4)
    assert found(answer) == truth.ranked(truth.vectors @ truth.vectors[7])[:4]
    assert answer["neighbours"][0]["score"] == pytest.approx(1, abs=1e-5)


def test_good_and_bad_examples(published: Published, truth: Truth) -> None:
    good, bad = tuple(truth.ids[:2]), tuple(truth.ids[-2:])
    mean = truth.vector(*good).mean(axis=0) - truth.vector(*bad).mean(axis=0)
    answer = ask(published, positive=good, negative=bad, k=6)
    assert found(answer) == truth.ranked(truth.vectors @ mean, good + bad)[:6]
    best, worst = (truth.vectors @ truth.vector(*good).T).max(axis=1), (truth.vectors @ truth.vector(*bad).T).max(axis=1)
    scores = np.where(best >= worst, best, -1 - worst)
    answer = ask(published, positive=good, negative=bad, k=28, strategy="best_score")
    assert found(answer) == truth.ranked(scores, good + bad)[:28]


def test_filters_leave_exactly_what_passes_them(published: Published, truth: Truth) -> None:
    query = truth.ids[0]
    scores = truth.vectors @ truth.vectors[0]
    entropies = sorted(learned["entropy"][-1] for learned in truth.learned.values())
    middle = entropies[16]
    early = sorted(learned["entropy"][0] for learned in truth.learned.values())[9]
    taught = next(learned["neighbours"][0] for learned in truth.learned.values() if learned["neighbours"])
    cases: list[tuple[str, dict[str, Any], Callable[[int], bool]]] = [
        ("label=class-1", {"label": "class-1"}, lambda id_: truth.images[id_]["label"] == "class-1"),
        ("label=class-1&label=class-0", {"label": ["class-1", "class-0"]}, lambda id_: True),
        ("label=none", {"label": "none"}, lambda id_: False),
        ("unlabelled=true", {"unlabelled": True}, lambda id_: truth.images[id_]["label"] is None),
        ("anchor_round=1", {"anchor_round": 1}, lambda id_: truth.learned[id_]["anchor_round"] == 1),
        ("anchor_round=0", {"anchor_round": 0}, lambda id_: truth.learned[id_]["anchor_round"] is None),
        (
            f"trained_towards={taught}",
            {"trained_towards": taught},
            lambda id_: taught in truth.learned[id_]["neighbours"],
        ),
        (
            f"max_entropy={early}&entropy_round=0",
            {"max_entropy": early, "entropy_round": 0},
            lambda id_: truth.learned[id_]["entropy"][0] <= early,
        ),
        (f"min_entropy={middle}", {"min_entropy": middle}, lambda id_: truth.learned[id_]["entropy"][-1] >= middle),
        (f"max_entropy={middle}", {"max_entropy": middle}, lambda id_: truth.learned[id_]["entropy"][-1] <= middle),
        ("path_prefix=class-1/00", {"path_prefix": "class-1/00"}, lambda id_: truth.images[id_]["path"].startswith("class-1/00")),
        ("path_prefix=CLASS", {"path_prefix": "CLASS"}, lambda id_: False),
    ]
    for text, body, keep in cases:
        expected = truth.ranked(scores, (query,), keep)
        assert found(published.live.get(f"/neighbours?image_id={query}&k=31&{text}")) == expected, text
        assert found(ask(published, image_ids=[query], k=31, **body)) == expected, body
        paged = [found(ask(published, image_ids=[query], k=3, offset=at, **body)) for at in range(0, len(expected) + 1, 3)]
        assert [id_ for page in paged for id_ in page] == expected, body


def test_a_least_score(published: Published, truth: Truth) -> None:
    scores = truth.vectors @ truth.vectors[0]
    least = float(np.median(scores))
    answer = published.live.get(f"/neighbours?image_id={truth.ids[0]}&k=31&min_score={least}")
    assert answer["neighbours"]
    assert all(neighbour["score"] >= least for neighbour in answer["neighbours"])
    assert len(answer["neighbours"]) == int((scores >= least).sum()) - 1


def test_a_batch_answers_in_order_what_single_queries_answer(published: Published, truth: Truth) -> None:
    queries: list[dict[str, Any]] = [{"image_ids": [id_], "k": 3} for id_ in truth.ids]
    queries.append({"vector": truth.vectors[3].tolist(), "k": 2, "label": "class-0"})
    batch = ask(published, queries=queries)
    assert len(batch["results"]) == 33
    for query, result in zip(queries, batch["results"], strict=True):
        assert result == ask(published, **query)["neighbours"]
    assert batch["model_id"] == published.job["model_id"]


def test_an_uploaded_image_is_searched_with_filters(published: Published, truth: Truth) -> None:
    files = {"file": ("q.png", image_bytes(3))}
    form = {"k": "5", "label": "class-0", "dataset_id": published.dataset}
    answer = published.live.client.post("/neighbours", files=files, data=form).json()
    assert {neighbour["label"] for neighbour in answer["neighbours"]} == {"class-0"}
    both = published.live.client.post("/neighbours", files=files, data={**form, "k": "32", "label": ["class-0", "class-1"]})
    assert len(both.json()["neighbours"]) == 32


@pytest.mark.parametrize(
    ("query", "status", "code", "message"),
    [
        ({}, 422, "bad_request", "exactly one of image_ids, vector and positive"),
        ({"image_ids": [1], "vector": [1.0]}, 422, "bad_request", "exactly one"),
        ({"image_ids": [1], "negative": [2]}, 422, "bad_request", "negative needs positive"),
        ({"image_ids": []}, 422, "bad_request", "image_ids"),
        ({"image_ids": [10**9]}, 404, "image_not_found", "1000000000"),
        ({"vector": [1.0, 2.0]}, 422, "bad_query", "has 2 numbers; the model's embeddings have 8"),
        ({"vector": [0.0] * 8}, 422, "bad_query", "no direction"),
        ({"vector": [1.0], "kk": 3}, 422, "bad_request", "kk"),
        ({"queries": []}, 422, "bad_request", "queries"),
        ({"queries": [{"vector": [1.0]}] * 257}, 422, "bad_request", "256"),
        ({"vector": [1.0], "path_prefix": "\0"}, 422, "bad_request", "NUL"),
        ({"vector": [1.0] * 8, "min_entropy": 2, "max_entropy": 1}, 422, "bad_request", "2 is larger than max_entropy 1"),
        ({"vector": [1.0] * 8, "max_entropy": 1, "entropy_round": 7}, 422, "bad_query", "not a round of this model, 0 to 1"),
        ([], 422, "bad_request", "body"),
    ],
)
def test_bad_queries_are_named(published: Published, query: Any, status: int, code: str, message: str) -> None:
    body = {"dataset_id": published.dataset, **query} if isinstance(query, dict) else query
    assert message in problem(published.live.client.post("/neighbours", json=body), status, code)


def test_other_bodies_are_refused(published: Published) -> None:
    client = published.live.client
    assert "finite" in problem(client.get("/neighbours?image_id=1&min_entropy=nan"), 422, "bad_request")
    assert "NUL" in problem(client.get("/neighbours?image_id=1&path_prefix=%00"), 422, "bad_request")
    assert "text/plain is not application/json" in problem(
        client.post("/neighbours", content=b"x", headers={"Content-Type": "text/plain"}), 422, "bad_query"
    )
    assert "not JSON" in problem(
        client.post("/neighbours", content=b"{", headers={"Content-Type": "application/json"}), 422, "bad_request"
    )
    assert "file" in problem(client.post("/neighbours", data={"k": "3"}, files={"other": b"x"}), 422, "bad_query")
    assert "k" in problem(client.post("/neighbours", data={"k": "0"}, files={"file": b"x"}), 422, "bad_request")


@pytest.mark.slow
def test_pages_over_equal_images_hold_each_once(published: Published, tmp_path: Path) -> None:
    """Files that differ in what no one sees: all of one class have the same vector."""
    live, files = published.live, {}
    for number in range(60):
        text, file = PngInfo(), io.BytesIO()
        text.add_text("number", str(number))
        PILImage.open(io.BytesIO(image_bytes(number % 2 if number < 50 else number))).save(file, "PNG", pnginfo=text)
        files[f"{number:02}.png"] = file.getvalue()
    dataset = live.upload(write_zip(tmp_path / "equal.zip", files), labels="none")
    assert live.finished(live.train(dataset))["status"] == "succeeded"
    ids = [image["id"] for image in live.get(f"/datasets/{dataset}/images?limit=1000")["data"]]
    assert len(ids) == 60

    def pages(k: int, body: dict[str, Any]) -> list[tuple[int, float]]:
        listed: list[tuple[int, float]] = []
        for offset in range(0, 60, k):
            answer = live.client.post("/neighbours", json={"dataset_id": dataset, "k": k, "offset": offset, **body}).json()
            listed += [(found["image_id"], found["score"]) for found in answer["neighbours"]]
        return listed

    for body in (
        {"image_ids": [ids[0]]},
        {"image_ids": ids[:2]},
        {"positive": ids[:1], "negative": ids[1:2]},
        {"positive": ids[:2], "negative": ids[2:4], "strategy": "best_score"},
        {"image_ids": [ids[0]], "path_prefix": "1"},
        {"image_ids": [ids[0]], "unlabelled": True, "min_score": 0.5},
    ):
        whole = pages(60, body)
        assert len({id_ for id_, _ in whole}) == len(whole) and [score for _, score in whole] == sorted(
            (score for _, score in whole), reverse=True
        )
        assert all(pages(k, body) == whole for k in (1, 7, 10)), body
    assert len(pages(10, {"image_ids": [ids[0]]})) == 59
    assert live.client.delete(f"/datasets/{dataset}").status_code == 204  # others ask the only model


def test_images_are_listed_by_label_and_in_both_orders(published: Published, truth: Truth) -> None:
    live, path = published.live, f"/datasets/{published.dataset}/images"
    newest = live.get(f"{path}?order=newest&limit=20")
    rest = live.get(f"{path}?order=newest&limit=20&after={newest['next']}")
    assert [image["id"] for image in newest["data"] + rest["data"]] == sorted(truth.ids, reverse=True)
    assert rest["next"] is None
    of_class = [image["id"] for image in live.get(f"{path}?label=class-1&limit=1000")["data"]]
    assert of_class == sorted(id_ for id_, image in truth.images.items() if image["label"] == "class-1")
    assert live.get(f"{path}?unlabelled=true")["data"] == []
    assert len(live.get(f"{path}?unlabelled=true&label=class-0&limit=1000")["data"]) == 16
