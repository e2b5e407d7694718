"""The page at ``/`` and Swagger UI at ``/docs``: files of this package, and of ``plotly`` and ``fastapi-swagger``. They use the
public API alone."""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response

from service.access import open_to_all
from service.errors import problem

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_OF_PACKAGES = (  # module, folder, files
    ("plotly", "package_data", ("plotly.min.js",)),
    ("fastapi_swagger", "resources", ("swagger-ui-bundle.js", "swagger-ui.css")),
)
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Plotly makes style sheets and attributes of its own
        "img-src 'self' blob:",  # a picture before it is sent
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


@router.get("/")
@open_to_all
def show_page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    return _answer("index.html", if_none_match)


@router.get("/page/{name:path}")
@open_to_all
def get_file(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """One of its files; asked for again each time, and then 304 until an upgrade changes it."""
    return _answer(name, if_none_match)


@router.get("/docs")
@open_to_all
def show_docs(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Swagger UI, which asks nobody but this service."""
    return _answer("docs.html", if_none_match)


def _answer(name: str, known: str | None) -> Response:
    """One of the page's files, or that it is the one known already by its ETag."""
    file = _file(name)
    if file is None:
        return problem(404, "not_found", f"the page has no file {name}")
    data, kind, tag = file
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if known is not None and tag in known:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


@lru_cache
def _file(name: str) -> tuple[bytes, str, str] | None:
    """Content, media type and ETag of one of the page's files, named as ``views/look.js``. A name is looked up among those that
    are there and never joined to a path, so that none leads out of the folder."""
    found = {path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*") if path.suffix in _TYPES}
    for module, folder, names in _OF_PACKAGES:
        package = find_spec(module)  # not imported, which would take longer than everything else here
        if package is not None and package.origin is not None:
            found |= {file: Path(package.origin).parent / folder / file for file in names}
    if name not in found:
        return None
    data = found[name].read_bytes()
    return data, f"{_TYPES[found[name].suffix]}; charset=utf-8", f'"{hashlib.sha256(data).hexdigest()[:32]}"'
