"""The ASGI application."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from core.settings import Settings
from service import errors
from service.context import Context
from service.local import LocalOnly
from service.routes import datasets, health, images, jobs, models, search
from service.schemas import Problem

DESCRIPTION = """From a folder of unlabelled images to a searchable, classifiable collection.

Upload an archive (`POST /datasets`), train (`POST /jobs`), then ask for neighbours and classes.
Every error is a problem document (RFC 9457) with a stable `code`."""
_PROBLEM: dict[str, Any] = {"content": {errors.MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
_PROBLEMS: dict[int | str, str] = {422: "Bad input, named in detail", "4XX": "What is wrong, with a stable code"}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings they come from the environment."""
    context = Context.of(settings or Settings.load())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()  # what was made so far lives as long as the process; walking it takes a full collection 20 ms
        yield
        context.db.dispose()

    app = FastAPI(
        title="Anchorhood",
        version=version("anchorhood"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses={status: _PROBLEM | {"description": description} for status, description in _PROBLEMS.items()},
    )
    app.state.context = context
    errors.install(app)
    # Without keys there is only this machine, and neither a rebound name nor another site's page may pass for it.
    app.add_middleware(LocalOnly)
    for routes in (search, images, datasets, jobs, models, health):  # matched in this order: what is asked most comes first
        app.include_router(routes.router)
    return app
