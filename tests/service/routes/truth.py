"""What a search over the published model must answer, by brute force."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.published import Published


class Truth:
    """The published vectors and what is known of each image."""

    def __init__(self, published: Published) -> None:
        live = published.live
        folder = live.data_dir / "models" / f"{published.job['id']}-{published.job['attempt']}"
        self.vectors, self.ids = np.load(folder / "embeddings.npy"), np.load(folder / "ids.npy").tolist()
        images = live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"]
        self.images = {image["id"]: image for image in images}
        self.learned = {id_: live.get(f"/images/{id_}")["provenance"] for id_ in self.ids}

    def vector(self, *ids: int) -> Any:
        return self.vectors[[self.ids.index(id_) for id_ in ids]]

    def ranked(self, scores: Any, leave_out: tuple[int, ...] = (), keep: Callable[[int], bool] = lambda id_: True) -> list[int]:
        order = [self.ids[row] for row in np.argsort(-np.asarray(scores), kind="stable")]
        return [id_ for id_ in order if id_ not in leave_out and keep(id_)]


def found(answer: dict[str, Any]) -> list[int]:
    return [neighbour["image_id"] for neighbour in answer["neighbours"]]


def ask(published: Published, **query: Any) -> dict[str, Any]:
    response = published.live.client.post("/neighbours", json={"dataset_id": published.dataset, **query})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
