"""The ASGI application."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from core.settings import Settings
from service import errors, examples
from service.access import AccessRules
from service.context import Context
from service.middleware import auth
from service.middleware.audited import Audited
from service.middleware.deadlines import Deadlines
from service.middleware.keyring import Keyring
from service.middleware.limits import Limits
from service.middleware.methods import Methods
from service.middleware.observed import Observed
from service.middleware.plain_searches import PlainSearches
from service.middleware.prefix import Prefix
from service.middleware.proxies import Proxies
from service.middleware.shares import Shares
from service.routes import (
    attention,
    audit,
    checks,
    datasets,
    docs,
    events,
    formats,
    health,
    images,
    jobs,
    metrics,
    models,
    page,
    search,
    session,
)

DESCRIPTION = """From a folder of unlabelled images to a searchable, classifiable collection.

Upload an archive (`POST /datasets`), train (`POST /jobs`), then ask for neighbours and classes.
Every error is a problem document (RFC 9457) with a stable `code`."""
_ROUTES = (  # matched in this order: what is asked most comes first; with the problems that can occur beside 403 and 422
    (search.router, (400, 404, 409, 413, 500)),
    (images.router, (400, 404, 409, 413, 500)),
    (datasets.router, (404, 409, 413)),
    (jobs.router, (400, 404, 409, 413, 500)),
    (checks.router, (400, 413)),
    (events.router, (404,)),
    (models.router, (400, 404, 409, 413, 500)),
    (attention.router, (400, 404, 409, 413, 500)),
    (formats.router, ()),
    (audit.router, ()),
    (session.router, (400, 413)),
    (health.router, ()),
    (page.router, ()),
    (metrics.router, ()),
    (docs.router, ()),
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings they come from the environment."""
    context = Context.of(settings or Settings.load())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        gc.collect()
        gc.freeze()  # what was made so far lives as long as the process; walking it takes a full collection 20 ms
        await app.state.readiness.missing(health.HANGS)
        yield
        context.searcher.decoders.close()
        context.thumbnailers.close()
        context.db.dispose()
        app.state.readiness.close()

    app = FastAPI(
        title="Anchorhood",
        version=version("anchorhood"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=errors.documented(401, 403, 422, 429, 503),
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # not to absolute addresses, which a proxy may have named otherwise; see errors
        openapi_url=None,  # the documentation is routes/docs.py
    )
    app.state.context = context
    app.state.job_states = events.JobStates(context.db)
    app.state.readiness = health.Readiness(context.settings, context.bell)
    errors.install(app)
    app.add_middleware(PlainSearches, searcher=context.searcher, routes=search.router.routes, on_loop=context.db.embedded)
    app.add_middleware(Limits, settings=context.settings)
    app.add_middleware(Shares, settings=context.settings)
    app.add_middleware(Deadlines, seconds=context.settings.max_request_seconds)
    app.state.keyring = Keyring(context.db, context.settings)
    app.add_middleware(auth.Guard, keyring=app.state.keyring, routes=app.router.routes)
    app.add_middleware(Audited, db=context.db)
    app.add_middleware(Observed, metrics=context.metrics)
    app.add_middleware(Prefix, root_path=context.settings.root_path)
    if context.settings.trusted_proxies:
        app.add_middleware(Proxies, trusted=context.settings.trusted_proxies)
    for router, statuses in _ROUTES:
        app.include_router(router, responses=errors.documented(*statuses))
    app.state.methods = Methods(router for router, _ in _ROUTES)
    app.router.routes.extend(app.state.methods.heads())
    make = app.openapi
    app.openapi = lambda: app.openapi_schema or examples.add(auth.describe(make(), AccessRules(app.routes)))  # type: ignore[method-assign]
    return app
