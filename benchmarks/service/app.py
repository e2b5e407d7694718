"""The API process of ``benchmarks.service``: the service with one empty route more, or nothing but a search behind FastAPI."""

import argparse
from pathlib import Path

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI

from core.search import index
from core.settings import Settings
from core.store.keys import Scope
from service.access import needs
from service.app import create_app


def with_empty_route() -> FastAPI:
    """The service itself, and a route that does nothing behind the same middleware."""
    app = create_app(Settings.load())

    @app.get("/empty")
    @needs(Scope.READ)
    def empty() -> dict[str, str]:
        return {}

    app.router.routes.insert(0, app.router.routes.pop())  # found as soon as the routes of searches are
    return app


def bare(folder: Path) -> FastAPI:
    """A route that only searches a model's index and returns ids: what anybody would write first."""
    app = FastAPI()
    ids, vectors = np.load(folder / "ids.npy"), np.load(folder / "embeddings.npy")
    searched = index.load(folder / "index.faiss")
    row_of = {id_: row for row, id_ in enumerate(ids.tolist())}

    @app.get("/neighbours")
    def neighbours(image_id: int, k: int = 10) -> list[int]:
        row = row_of[image_id]
        _, found = searched.search(vectors[row : row + 1], k + 1)
        return [int(ids[other]) for other in found[0] if other != row][:k]

    return app


def main() -> None:
    """Serve on a port until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bare", type=Path, help="a model's folder")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    app = bare(arguments.bare) if arguments.bare else with_empty_route()
    uvicorn.run(app, port=arguments.port, log_level="warning", server_header=False)


if __name__ == "__main__":
    main()
