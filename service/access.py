"""Each route declares who may ask it and how long a body it reads. A route that declares nothing is refused to everybody."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeVar

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from core.store.keys import Scope

_DECLARED = "declared_access"  # the attribute of a handler that holds its declaration
ACCESS = "anchorhood.access"  # where a request's scope holds what its route declares
HELD = "anchorhood.held"  # where it holds the key that it was sent with (``keys.Held``), once that is known
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing, and no handler reads a body of them
EVENT_STREAM = "text/event-stream"
_PARAMETER = re.compile(r"\(\?P<\w+>")  # the beginning of a named group
Handler = TypeVar("Handler")


class Body(Enum):
    """The longest body that a route reads; ``middleware/limits.py`` says how long each is."""

    NONE = auto()
    TINY = auto()  # a key
    SMALL = auto()  # a few values as JSON
    LIST = auto()  # many ids
    IMAGE = auto()  # an image, or many ids and vectors
    TABLE = auto()  # labels
    ARCHIVE = auto()


@dataclass(frozen=True)
class Access:
    """What a route declares."""

    scope: Scope | None  # that a key must have; None: anybody may ask, without a key
    body: Body = Body.SMALL
    stream: bool = False  # events, where a client accepts EVENT_STREAM
    at_once: bool = False  # answered whatever else happens: without a look at the database, outside of every client's share
    action: str = ""  # the handler's name


def needs(scope: Scope, body: Body = Body.SMALL, *, stream: bool = False) -> Callable[[Handler], Handler]:
    """Declare of a handler, or of an ASGI object that is a route's endpoint, that it may be asked with a key of a scope."""
    return _declare(Access(scope, body, stream))


def open_to_all(handler: Handler) -> Handler:
    """Declare of a handler that anybody may ask it, without a key: it tells nothing of anybody's images."""
    return _declare(Access(None, Body.NONE))(handler)


def open_with_body(body: Body) -> Callable[[Handler], Handler]:
    """The same of a handler that reads a body."""
    return _declare(Access(None, body))


def answered_at_once(handler: Handler) -> Handler:
    """The same of a handler that says how the process is: it waits for no thread that requests use."""
    return _declare(Access(None, Body.NONE, at_once=True))(handler)


def _declare(access: Access) -> Callable[[Handler], Handler]:
    def declared(handler: Handler) -> Handler:
        setattr(handler, _DECLARED, replace(access, action=getattr(handler, "__name__", "")))
        return handler

    return declared


def is_upload(scope: Mapping[str, Any]) -> bool:
    """Whether a request brings an archive, which may take long; the same routes take JSON, too."""
    access = scope.get(ACCESS)
    kind: bytes = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return isinstance(access, Access) and access.body is Body.ARCHIVE and kind.lower().startswith(b"multipart/")


class AccessRules:
    """What the route of a request declares.

    The routes' own patterns are tried in their own order, so that the declaration is that of the route which answers. All
    patterns of a method are joined into one expression, since trying each in Python would take longer.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Raises ``TypeError`` for a route that names no methods, such as a mount: what is below it could declare nothing."""
        self._routes = [route for each in iter_route_contexts(routes) for route in _of_each_method(each)]
        methods = {route.method for route in self._routes}
        self._pattern = {method: _alternatives(self._routes, method) for method in methods}
        paths = {route.path for route in self._routes if "{" not in route.path}
        self._fixed = {
            (method, path): match for method in methods for path in paths if (match := self._matching_route(method, path))
        }

    def of(self, method: str, path: str) -> Access | None:
        """What a request's route declares; ``None`` if it declares nothing. Without a route, what a 404 or 405 requires."""
        route = self._fixed.get((method, path)) or self._matching_route(method, path)
        return route.access if route else self._without_route(method, path)

    def undeclared(self) -> list[str]:
        """The methods and paths of routes that declare nothing."""
        return [f"{route.method} {route.path}" for route in self._routes if route.access is None]

    def _matching_route(self, method: str, path: str) -> "_Route | None":
        pattern = self._pattern.get(method)
        match = pattern.match(path) if pattern else None
        return self._routes[int(match.lastgroup[1:])] if match and match.lastgroup else None

    def _without_route(self, method: str, path: str) -> Access:
        """The answer is 404, 405, or the address without its last slash; no handler reads the body."""
        routes_of_path = [route for route in self._routes if route.pattern.match(path)]
        candidates = routes_of_path or [route for route in self._routes if route.pattern.match(path.removesuffix("/"))]
        if candidates and all(route.access is not None and route.access.scope is None for route in candidates):
            return Access(None, Body.TABLE)
        unsafe = [route for route in routes_of_path if route.method not in SAFE_METHODS]
        questions = any(route.access and route.access.scope is Scope.READ for route in unsafe)
        return Access(Scope.READ if questions or method in SAFE_METHODS else Scope.WRITE, Body.TABLE)


@dataclass(frozen=True)
class _Route:
    method: str
    path: str
    pattern: re.Pattern[str]
    access: Access | None


def _of_each_method(route: RouteContext) -> list[_Route]:
    if not route.methods or route.endpoint is None:
        raise TypeError(f"{route.original_route} names no methods, so that it cannot declare who may ask it")
    access: Access | None = getattr(route.endpoint, _DECLARED, None)
    return [_Route(method, route.path or "", route.path_regex, access) for method in route.methods]


def _alternatives(routes: Sequence[_Route], method: str) -> re.Pattern[str]:
    """An expression that matches what one of the routes of a method matches; its last group is named by the route's number."""
    numbered = [(number, route.pattern.pattern) for number, route in enumerate(routes) if route.method == method]
    return re.compile("|".join(f"(?P<r{number}>{_PARAMETER.sub('(?:', pattern)})" for number, pattern in numbered))
