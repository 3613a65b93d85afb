"""The web app over a gallery: one page and a JSON API. The only file that imports Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import resources
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from align.apps.serving.gallery import Gallery, Question, View
from align.apps.serving.guards import ASGI, guarded
from align.apps.serving.limits import (
    MOST_BYTES,
    MOST_CHARACTERS,
    MOST_HITS,
    MOST_UPLOADS,
    UPLOAD_SECONDS,
)
from align.apps.serving.pictures import Thumbnails, version_of

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
}

_STATUS: dict[type[Exception], int] = {
    PermissionError: 403,
    FileNotFoundError: 404,
    KeyError: 404,
    ValueError: 400,
}

_DEFAULT_HITS = 24
_OPTIONS = {"k", "view", "modality", "budget"}


def web_app(gallery: Gallery, *, host: str = "127.0.0.1") -> ASGI:
    """An ASGI app that serves the page and the API of ``openapi.json``.

    Args:
        gallery: What is searched.
        host: The name or address that the server is bound to; requests to other names are refused.
    """
    thumbnails = Thumbnails()

    def about(request: Request) -> Response:
        _only(request.query_params, set())
        return JSONResponse(asdict(gallery.about))

    def search(request: Request) -> Response:
        given = request.query_params
        _only(given, {"q", "item", *_OPTIONS})
        if ("q" in given) == ("item" in given):
            raise ValueError(
                "a search needs either q, a text, or item, the id of an item; got "
                f"{sorted(given)}. Send one of them, or POST a picture."
            )
        if "item" in given:
            return _found(gallery, Question("item", given["item"]), given)
        text = given["q"]
        if not 1 <= len(text.strip()) or len(text) > MOST_CHARACTERS:
            raise ValueError(
                f"a text query must have 1 to {MOST_CHARACTERS} characters, not all blank; got "
                f"{len(text)}. Shorten it, or type something."
            )
        return _found(gallery, Question("text", text), given)

    uploads = _Room(MOST_UPLOADS)

    async def search_by_picture(request: Request) -> Response:
        given = request.query_params
        _only(given, _OPTIONS)
        if not request.headers.get("content-type", "").startswith("image/"):
            raise HTTPException(
                415, "the body must be a picture, with a content type such as image/jpeg; got "
                f"{request.headers.get('content-type')!r}. Send the bytes of the file.",
            )  # fmt: skip
        with uploads.taken():
            question = Question("image", await _body(request))
            return await run_in_threadpool(_found, gallery, question, given)

    async def search_either_way(request: Request) -> Response:
        if request.method == "POST":
            return await search_by_picture(request)
        return await run_in_threadpool(search, request)

    def thumbnail(request: Request) -> Response:
        file = gallery.path_of(request.path_params["id"])
        version = version_of(file)
        headers = {"etag": f'"{version}"', "cache-control": "private, max-age=300"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        try:
            made = thumbnails.jpeg(file, version)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return Response(made, media_type="image/jpeg", headers=headers)

    routes = [
        *(Route(path, _file(*named)) for path, named in FILES.items()),
        Route("/api/about", about),
        Route("/api/search", search_either_way, methods=["GET", "POST"]),
        # An id may hold slashes, as those of photos in folders do.
        Route("/api/items/{id:path}/thumbnail", thumbnail),
    ]
    handlers: dict[Any, Callable[[Request, Any], Response]] = dict.fromkeys(_STATUS, _refused)
    handlers[HTTPException] = lambda _, error: _error(
        error.status_code, error.detail, error.headers
    )
    app: Any = Starlette(routes=routes, exception_handlers=handlers)
    return guarded(app, host=host)


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("align.apps.serving").joinpath(name).read_text(encoding="utf-8")

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return answer


def _found(gallery: Gallery, question: Question, given: QueryParams) -> Response:
    view = given.get("view", "aligned")
    if view not in get_args(View):
        raise ValueError(f"view must be one of {list(get_args(View))}; got {view!r}. Choose one.")
    answer = gallery.search(
        question,
        k=_number("k", given.get("k", str(_DEFAULT_HITS)), most=MOST_HITS),
        view=view,  # type: ignore[arg-type]  # checked above
        modalities=given.getlist("modality"),
        budget=_number("budget", given["budget"], most=10**6) if "budget" in given else None,
    )
    return JSONResponse(asdict(answer))


def _only(given: QueryParams, known: set[str]) -> None:
    """Raise unless every parameter is known, and only ``modality`` comes more than once."""
    names = [name for name, _ in given.multi_items()]
    unknown = sorted(set(names) - known)
    repeated = sorted({name for name in names if names.count(name) > 1} - {"modality"})
    if unknown or repeated:
        raise ValueError(
            f"parameters must be among {sorted(known)}, each once but for modality; got "
            f"{unknown or repeated}. See /openapi.json."
        )


def _number(name: str, text: str, *, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= most):
        raise ValueError(
            f"{name} must be a whole number from 1 to {most:,}; got {text!r}. Send such a number."
        )
    return int(text)


async def _body(request: Request) -> bytes:
    """The body, of which no more than the limit is ever held, whatever its length claims."""
    held = bytearray()
    claimed = request.headers.get("content-length", "0")
    large = HTTPException(
        413, f"a picture may have {MOST_BYTES:,} bytes; got more. Make it smaller first."
    )
    if not claimed.isdigit() or int(claimed[:12]) > MOST_BYTES:
        raise large
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for chunk in request.stream():
                held += chunk
                if len(held) > MOST_BYTES:
                    raise large
    except TimeoutError as error:
        raise HTTPException(
            408, f"a picture must arrive within {UPLOAD_SECONDS:g} seconds; it did not. Send it "
            "again, or make it smaller first.", {"connection": "close"},
        ) from error  # fmt: skip
    except ClientDisconnect as error:
        raise HTTPException(
            400, "the upload must be whole; it broke off. Send it again."
        ) from error
    return bytes(held)


class _Room:
    """Room for so many requests at a time; there is no queue, which would hold their bodies."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        if self._free == 0:
            raise HTTPException(
                503, f"{MOST_UPLOADS} pictures may be searched with at a time; there are as many. "
                "Try again in a moment.", {"retry-after": "1"},
            )  # fmt: skip
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def _refused(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return _error(status, str(error.args[0]) if isinstance(error, KeyError) else str(error))


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
