"""The application: the pages and the API, with Airflow's login and permissions on every route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as AnyHttpException

from hhvm_packaging.console import actions, api, pages, rendering, security
from hhvm_packaging.runs.api import CONSOLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PREFIX = CONSOLE
"""Where Airflow mounts the console."""
UNAUTHORIZED, NOT_FOUND, UNPROCESSABLE = 401, 404, 422
_STATIC = {"console.css": "text/css", "console.js": "text/javascript", "htmx.min.js": "text/javascript"}


def make_app() -> FastAPI:
    """The application. Airflow mounts it at PREFIX, and gives it no login of its own."""
    app = FastAPI(
        title="HHVM packaging",
        description="What is built and published of HHVM. Log in as for Airflow's own API.",
        version="1",
        # Each of these would be a route without a login.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(security.may_look), Depends(security.same_origin)],
    )
    app.include_router(pages.router)
    app.include_router(actions.router)
    app.include_router(api.router)
    app.add_api_route("/static/{name}", _send_static, include_in_schema=False)
    app.add_api_route("/api/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.add_exception_handler(AnyHttpException, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_values)
    app.middleware("http")(_add_headers)
    return app


def _send_static(name: Annotated[str, Path(max_length=40)]) -> FileResponse:
    """A file that the pages need."""
    if name not in _STATIC:
        raise HTTPException(NOT_FOUND, "There is no such file")
    return FileResponse(rendering.HERE / "static" / name, media_type=_STATIC[name])


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Tell browsers what they may do with what is sent."""
    response = await call_next(request)
    for name, value in rendering.HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refuse(request: Request, error: Any) -> Response:
    """Say why something is refused: to people as a page, to programs as JSON."""
    if not _wants_page(request):
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    if error.status_code == UNAUTHORIZED and request.method == "GET":
        return RedirectResponse(security.login_url(str(request.url)))
    return rendering.render(
        request, "refused.html", None, error.status_code, status=error.status_code, reason=error.detail
    )


def _refuse_values(request: Request, error: Any) -> Response:
    """Say which field has a value that is not allowed."""
    faults = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
    if not _wants_page(request):
        return JSONResponse({"detail": "; ".join(faults)}, UNPROCESSABLE)
    return rendering.render(
        request, "refused.html", None, UNPROCESSABLE, status=UNPROCESSABLE, reason="; ".join(faults)
    )


def _wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for data."""
    return "text/html" in request.headers.get("Accept", "") and "HX-Request" not in request.headers
