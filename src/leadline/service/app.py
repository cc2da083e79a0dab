"""The application: routes, errors, frame. No torch in this process."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from leadline.about import __version__
from leadline.service import care, health, ingest
from leadline.service.access import Desk, ServiceConfig
from leadline.service.backlog import Backlog
from leadline.service.bodies import Problem
from leadline.service.errors import add_handlers
from leadline.service.frame import App, Frame
from leadline.service.metrics import Metrics
from leadline.store.store import Store

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
}
PROBLEM: dict[str, Any] = {  # whatever a route answers when all is well
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
}


def make_app(store: Store, config: ServiceConfig | None = None) -> FastAPI:
    """The application without its frame, whose OpenAPI says what it takes."""
    app = FastAPI(
        title="Leadline monitoring",
        version=__version__,
        description="Estimates, not PHQ-9 responses, not diagnoses, not a crisis service.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its pages are fetched from elsewhere
        redoc_url=None,
    )
    app.state.desk = Desk(store, config or ServiceConfig(), Metrics(), Backlog(store))
    add_handlers(app)
    app.include_router(ingest.router, responses=ERRORS)
    app.include_router(care.router, responses=ERRORS)
    app.include_router(health.router, responses=dict.fromkeys((401, 403, 500, 503), PROBLEM))
    return app


def framed(app: FastAPI) -> App:
    """The application as it is served."""
    return Frame(app, app.state.desk.metrics)
