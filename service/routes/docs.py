"""The API's description: the OpenAPI document, and Swagger UI at ``/docs``, which asks nobody but this service."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from service.middleware.prefix import prefix_of
from service.routes import page

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def get_openapi(request: Request) -> Response:
    """The OpenAPI document; below the path of a proxy it names that as the server."""
    document, prefix = request.app.openapi(), prefix_of(request)
    return JSONResponse({**document, "servers": [{"url": prefix}]} if prefix else document)


@router.get("/docs")
def show_docs(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Swagger UI; its files are among those of the page."""
    return page.answer("docs.html", if_none_match)
