"""``align serve``."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from pathlib import Path
from typing import Annotated

import typer

from align.apps.cli import options
from align.apps.cli.inputs import check_encoder, open_store
from align.apps.cli.printing import complain, say


def serve(
    index: options.IndexFolder,
    host: Annotated[
        str, typer.Option(help="Name or address to listen on; others let other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8765,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder whose files may be shown, and in which files that have moved are looked "
            "for; those of the items if left out; repeatable."
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(
            help="Field of the metadata to show as the caption of each item; one such as caption, "
            "title or name is taken if left out."
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Cache of encoded items, for the raw view.")
    ] = None,
    source_encoder: options.MaybeSpec = None,
    target_encoder: options.MaybeSpec = None,
    device: options.Device = "auto",
    trust: options.Trust = False,
) -> None:
    """A local web page to search an index with texts, pictures and its own items.

    Example: `align serve idx`
    """
    try:
        import uvicorn

        from align.apps.serving.app import web_app
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the web page needs uvicorn and starlette; {error.name} is not installed. "
            "Run: pip install 'isthmus[serve]'"
        ) from error
    from align.apps.serving.contents import Shown
    from align.apps.serving.gallery import Gallery
    from align.apps.serving.guards import is_loopback
    from align.apps.serving.roots import Roots
    from align.encoders.spec import load_encoder
    from align.retrieval.index.index import Index
    from align.retrieval.retriever import Retriever

    with listening(host, port) as listener:  # before networks are loaded for nothing
        source = None if source_encoder is None else load_encoder(source_encoder, device=device)
        target = None if target_encoder is None else load_encoder(target_encoder, device=device)
        retriever = Retriever(
            Index.open(index), source=source, target=target, device=device, trust=trust
        )
        if source is not None:
            check_encoder(retriever.embedder.adapter, "source", source)
        if target is not None:
            check_encoder(retriever.embedder.adapter, "target", target)
        shown = Shown(
            roots=None if root is None else Roots.of(root),
            caption=caption,
            store=None if store is None else open_store(store),
        )
        gallery = Gallery(retriever, shown=shown)
        about = gallery.about
        if about.missing is not None:
            complain(f"note: {about.missing}")
        if not is_loopback(host):
            complain(
                f"note: {host} is not this machine alone; whoever reaches it can search the items "
                "and see their thumbnails"
            )
        config = uvicorn.Config(
            web_app(gallery, host=host), host=host, port=port, log_level="warning",
            access_log=False, server_header=False, proxy_headers=False, ws="none", http="h11",
            limit_concurrency=100,  # a page opens six connections
            timeout_graceful_shutdown=3,  # seconds; open requests are cut off then
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_is_not_cut_off)
        address = f"[{host}]" if ":" in host else host
        say(f"{about.items:,} items on http://{address}:{port} (stop with Ctrl-C)")
        threading.Thread(target=gallery.measure_budgets, daemon=True).start()
        # No log of requests: it would keep what people searched for.
        uvicorn.Server(config).run(sockets=[listener])


def _is_not_cut_off(record: logging.LogRecord) -> bool:
    """Whether a record is about more than a request that was open when the page was stopped."""
    kind = None if record.exc_info is None else record.exc_info[0]
    return kind is None or not issubclass(kind, asyncio.CancelledError)


def listening(host: str, port: int) -> socket.socket:
    """A socket that connections can come to from now on.

    Raises:
        OSError: The port is taken or not allowed, or the host is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"a page needs a free port of this machine; {host} at {port} gave: {error.strerror}. "
            "Choose another with --port, or stop what listens there.",
        ) from error
