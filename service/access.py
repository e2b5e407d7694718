"""Each route declares who may ask it and how long a body it reads. A route that declares nothing is refused to everybody."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute

from core.store.keys import Scope

_DECLARED = "declared_access"  # the attribute of a handler that holds its declaration
ACCESS = "anchorhood.access"  # where a request's scope holds what its route declares
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # they change nothing, and no handler reads a body of them
_PARAMETER = re.compile(r"\(\?P<\w+>")  # the beginning of a named group
Handler = TypeVar("Handler")


class Body(Enum):
    """The longest body that a route reads; ``middleware/limits.py`` says how long each is."""

    SMALL = auto()  # a few values as JSON
    IMAGE = auto()  # an image, or many ids and vectors
    TABLE = auto()  # labels
    ARCHIVE = auto()


@dataclass(frozen=True)
class Access:
    """What a route declares."""

    scope: Scope | None  # that a key must have; None: anybody may ask, without a key
    body: Body = Body.SMALL


def needs(scope: Scope, body: Body = Body.SMALL) -> Callable[[Handler], Handler]:
    """Declare of a handler, or of an ASGI object that is a route's endpoint, that it may be asked with a key of a scope."""
    return _declare(Access(scope, body))


def open_to_all(handler: Handler) -> Handler:
    """Declare of a handler that anybody may ask it, without a key: it tells nothing of anybody's images."""
    return _declare(Access(None))(handler)


def _declare(access: Access) -> Callable[[Handler], Handler]:
    def declared(handler: Handler) -> Handler:
        setattr(handler, _DECLARED, access)
        return handler

    return declared


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
