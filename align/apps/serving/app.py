"""The web app over a gallery: one page and a JSON API. The only file that imports Starlette."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from align._checks import check_one_of
from align._version import __version__
from align.apps.serving.changes import IndexChangedError
from align.apps.serving.gallery import Gallery, Question, Scope, View
from align.apps.serving.guards import ASGI, guarded
from align.apps.serving.pictures import EDGE, LARGE, Thumbnails, version_of
from align.retrieval.examples import EVEN

SCRIPTS = ("page.js", "address.js", "cards.js", "dom.js", "map.js", "reasons.js", "viewer.js")

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/openapi.json": ("openapi.json", "application/json"),
    **{f"/{name}": (name, "text/javascript") for name in SCRIPTS},
}

_STATUS: dict[type[Exception], int] = {
    PermissionError: 403,
    FileNotFoundError: 404,
    KeyError: 404,
    ValueError: 400,
    IndexChangedError: 503,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may ask for at most."""

    most_hits: int = 100  # of one answer
    most_paged: int = 10_000  # hits before those of an answer
    most_characters: int = 2000  # of a text query; encoders cut texts off much earlier
    most_bytes: int = 10 << 20  # of a picture that is uploaded
    # Pictures uploaded or searched with at a time; a queue of further ones would hold their bodies.
    most_uploads: int = 4
    upload_seconds: float = 30.0  # for a whole upload, however slowly it trickles in


_DEFAULT_LIMITS = Limits()


def web_app(gallery: Gallery, *, host: str = "127.0.0.1", limits: Limits = _DEFAULT_LIMITS) -> ASGI:
    """An app that serves the page and the API of ``openapi.json`` for requests to ``host``."""
    thumbnails = Thumbnails()
    uploads = asyncio.Semaphore(limits.most_uploads)

    def about(request: Request) -> Response:
        _check_names(request.query_params, set())
        shown = ("most_hits", "most_paged", "most_characters", "most_bytes")
        sizes = {name: getattr(limits, name) for name in shown}
        return JSONResponse({**asdict(gallery.about), **sizes, "version": __version__})

    def sample(request: Request) -> Response:
        _check_names(request.query_params, {"k"})
        k = _number("k", request.query_params.get("k", "24"), most=limits.most_hits)
        return JSONResponse(asdict(gallery.sample(k)))

    def budgets(request: Request) -> Response:
        _check_names(request.query_params, set())
        return JSONResponse(asdict(gallery.budgets()))

    def search(request: Request) -> Response:
        params = request.query_params
        _check_names(params, {"q", "item", "weight", *_OPTIONS})
        if "item" in params:
            return answer(Question("item", params["item"], *_modified(params, limits)), params)
        if "q" not in params or "weight" in params:
            raise ValueError(
                "a search needs q, a text, or item, the id of an item, or both, and a weight only "
                f"with both; got {sorted(params)}. Send such a question, or POST a picture."
            )
        return answer(Question("text", _text(params["q"], limits)), params)

    def explanation(request: Request) -> Response:
        params = request.query_params
        _check_names(params, {"q", "item"})
        if not {"q", "item"} <= set(params):
            raise ValueError(
                "an explanation needs q, a text, and item, the id of a hit; got "
                f"{sorted(params)}. Send both."
            )
        return JSONResponse(asdict(gallery.reasons(_text(params["q"], limits), params["item"])))

    async def search_by_picture(request: Request) -> Response:
        _check_names(request.query_params, {"q", "weight", *_OPTIONS})
        modified = _modified(request.query_params, limits)
        kind = request.headers.get("content-type")
        if kind is None or not kind.startswith("image/"):
            raise HTTPException(
                415, "the body must be a picture, with a content type such as image/jpeg; got "
                f"{kind!r}. Send the bytes of the file.",
            )  # fmt: skip
        if uploads.locked():
            raise HTTPException(
                503, f"{limits.most_uploads} pictures may be searched with at a time; there are as "
                "many. Try again in a moment.", {"retry-after": "1"},
            )  # fmt: skip
        async with uploads:
            question = Question("image", await _body(request, limits), *modified)
            return await run_in_threadpool(answer, question, request.query_params)

    async def search_either_way(request: Request) -> Response:
        if request.method == "POST":
            return await search_by_picture(request)
        return await run_in_threadpool(search, request)

    def answer(question: Question, params: QueryParams) -> Response:
        view = params.get("view", "aligned")
        check_one_of("view", view, get_args(View), "Choose one.")
        budget = params.get("budget")
        start = params.get("start", "0")
        scope = Scope(
            view=view,  # type: ignore[arg-type]  # checked above
            modalities=tuple(sorted(set(params.getlist("modality")))),
            budget=None if budget is None else _number("budget", budget, most=10**6),
        )
        result = gallery.search(
            question,
            k=_number("k", params.get("k", "24"), most=limits.most_hits),
            start=_number("start", start, least=0, most=limits.most_paged),
            scope=scope,
        )
        return JSONResponse(asdict(result))

    def thumbnail(request: Request) -> Response:
        params = request.query_params
        _check_names(params, {"size", "second"})
        size = params.get("size", "small")
        check_one_of("size", size, tuple(_EDGES), "Choose one.")
        second = _second(params.get("second", "0"))
        file = gallery.path_of(request.path_params["id"])
        version = f"{version_of(file)}-{second:g}"
        headers = {"etag": f'"{version}-{size}"', "cache-control": "private, max-age=300"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        try:
            jpeg = thumbnails.jpeg(file, version, edge=_EDGES[size], second=second)
        except (ValueError, ModuleNotFoundError) as error:  # PyAV is an extra
            raise HTTPException(422, str(error)) from error
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    routes = [
        *(Route(path, _file(*named)) for path, named in FILES.items()),
        Route("/api/about", about),
        Route("/api/sample", sample),
        Route("/api/budgets", budgets),
        Route("/api/explanation", explanation),
        Route("/api/search", search_either_way, methods=["GET", "POST"]),
        # An id may hold slashes, as those of photos in folders do.
        Route("/api/items/{id:path}/thumbnail", thumbnail),
    ]
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        kind: partial(_refused, status) for kind, status in _STATUS.items()
    }
    handlers[HTTPException] = lambda _, error: _error(
        error.status_code, error.detail, error.headers
    )
    app: Any = Starlette(routes=routes, exception_handlers=handlers)
    return guarded(app, host=host)


_OPTIONS = {"k", "start", "view", "modality", "budget"}

_EDGES = {"small": EDGE, "large": LARGE}


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("align.apps.serving").joinpath(name).read_text(encoding="utf-8")

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return answer


def _second(text: str) -> float:
    """The second of a video that a request asks for, to a thousandth."""
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) is None:
        raise ValueError(
            f"second must be a number of seconds from 0 on; got {text[:30]!r}. Write, for example, "
            "7.5."
        )
    return round(float(text), 3)


def _modified(params: QueryParams, limits: Limits) -> tuple[str | None, float]:
    """The text that stands beside a picture or an item, if one does, and its weight."""
    text, weight = params.get("q"), params.get("weight")
    if weight is None:
        return None if text is None else _text(text, limits), EVEN
    if text is None or re.fullmatch(r"0|1|0?\.\d{1,6}|1\.0{1,6}", weight, re.ASCII) is None:
        raise ValueError(
            f"weight must be a number from 0 to 1, the share of q in the query; got {weight[:30]!r}"
            f" {'and no q' if text is None else ''}. Write, for example, 0.5, or leave it out."
        )
    return _text(text, limits), float(weight)


def _check_names(params: QueryParams, known: set[str]) -> None:
    """Raise unless every parameter is known, and only ``modality`` comes more than once."""
    names = [name for name, _ in params.multi_items()]
    unknown = sorted(set(names) - known)
    repeated = sorted({name for name in names if names.count(name) > 1} - {"modality"})
    if unknown or repeated:
        raise ValueError(
            f"parameters must be among {sorted(known)}, each once but for modality; got "
            f"{unknown or repeated}. See /openapi.json."
        )


def _text(text: str, limits: Limits) -> str:
    """A text query; ``ValueError`` if it is blank or too long."""
    if not text.strip() or len(text) > limits.most_characters:
        raise ValueError(
            f"a text query must have 1 to {limits.most_characters} characters, not all blank; "
            f"got {len(text)}. Shorten it, or type something."
        )
    return text


def _number(name: str, text: str, *, least: int = 1, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and least <= int(text) <= most):
        raise ValueError(
            f"{name} must be a whole number from {least} to {most:,}; got {text!r}. "
            "Send such a number."
        )
    return int(text)


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, of which no more than the limit is ever held, whatever its length claims."""
    body = bytearray()
    length = request.headers.get("content-length", "0")
    too_large = HTTPException(
        413, f"a picture may have {limits.most_bytes:,} bytes; got more. Make it smaller first."
    )
    if not length.isdigit() or int(length[:12]) > limits.most_bytes:
        raise too_large
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.most_bytes:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(
            408, f"a picture must arrive within {limits.upload_seconds:g} seconds; it did not. "
            "Send it again, or make it smaller first.", {"connection": "close"},
        ) from error  # fmt: skip
    except ClientDisconnect as error:
        raise HTTPException(
            400, "the upload must be whole; it broke off. Send it again."
        ) from error
    return bytes(body)


def _refused(status: int, _: Request, error: Exception) -> Response:
    return _error(status, str(error.args[0]) if isinstance(error, KeyError) else str(error))


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
