"""The API's description: the OpenAPI document; ``page`` shows it as Swagger UI."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.access import open_to_all
from service.middleware.prefix import prefix_of

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
@open_to_all
def get_openapi(request: Request) -> Response:
    """The OpenAPI document; below the path of a proxy it names that as the server."""
    document, prefix = request.app.openapi(), prefix_of(request)
    return JSONResponse({**document, "servers": [{"url": prefix}]} if prefix else document)
