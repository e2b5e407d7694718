"""HEAD for every route of GET, and the methods that a path has, which the answer 405 names."""

import copy
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute, request_response

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Methods:
    """The methods of every path."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def heads(self) -> list[APIRoute]:
        """For each route of GET one of HEAD, which the OpenAPI document leaves out."""
        return [_head(route) for route in self._routes if "GET" in (route.methods or ())]

    def of(self, path: str) -> list[str]:
        """The methods of a path; none where there is no such path."""
        methods = {method for route in self._routes if route.path_regex.match(path) for method in route.methods or ()}
        return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def _head(route: APIRoute) -> APIRoute:
    head = copy.copy(route)
    head.methods, head.include_in_schema = {"HEAD"}, False
    head.app = request_response(_without_stream(route.get_route_handler()))
    return head


def _without_stream(handler: _Handler) -> _Handler:
    """The server sends no body in answer to HEAD; a stream, which may be long or endless, is not even begun."""

    async def handle(request: Request) -> Response:
        response = await handler(request)
        if isinstance(response, StreamingResponse):
            response.body_iterator = _nothing()
        return response

    return handle


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
