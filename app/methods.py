"""The HTTP methods of an address: HEAD beside every GET, and an `Allow` that names all methods of the address.

FastAPI answers HEAD only where a route names it. Its `Allow` names the methods of the first route of an address, while
the other methods of the same address belong to other routes.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match, Route
from starlette.types import Scope


def with_head_routes(router: APIRouter) -> APIRouter:
    """Add HEAD to every GET of a router and return it; the server sends the headers of an answer without its body."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            router.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                status_code=route.status_code,
                response_class=route.response_class,
                response_model=route.response_model,
                dependencies=route.dependencies,
                include_in_schema=False,
            )
    return router


def allowed_methods(routers: Iterable[APIRouter], scope: Scope) -> str:
    """Return the value of `Allow` for the address of a call: all methods of all its routes, and OPTIONS.

    An address that a route spells out, such as /jobs/validate, has only the methods of such routes.
    """
    routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
    literal = [route for route in matching if not route.param_convertors]
    return ", ".join(sorted({"OPTIONS"}.union(*(route.methods or () for route in literal or matching))))
