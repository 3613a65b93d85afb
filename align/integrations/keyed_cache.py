"""LlamaIndex's cache of vectors, under keys that name what gave a vector and not its text alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from align.integrations.extras import extra

with extra("llama-index"):
    from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

_asking: ContextVar[bool] = ContextVar("asking", default=False)


@contextmanager
def asking() -> Iterator[None]:
    """Inside it, keys are those of queries; outside, of documents."""
    before = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(before)


class KeyedCache(BaseKVStore):
    """A key-value store of the user's, in which each of our keys begins with a digest.

    LlamaIndex keys vectors by their text. Two adapters, and the two sides of one, give a text
    different vectors.

    Attributes:
        store: Where values are kept; others may keep theirs in it too.
        digest: Of the adapter, its encoders, the side and the modality of the documents.
    """

    def __init__(self, store: BaseKVStore, digest: str) -> None:
        self.store = store
        self.digest = digest

    def _key(self, key: str) -> str:
        return f"{self._start()}{key}"

    def _start(self) -> str:
        return f"{self.digest}:{'query' if _asking.get() else 'document'}:"

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Keep a value."""
        self.store.put(self._key(key), val, collection)

    async def aput(
        self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION
    ) -> None:
        """Keep a value."""
        await self.store.aput(self._key(key), val, collection)

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The value under a key, if there is one."""
        found: dict[str, Any] | None = self.store.get(self._key(key), collection)
        return found

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The value under a key, if there is one."""
        found: dict[str, Any] | None = await self.store.aget(self._key(key), collection)
        return found

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All that this keeps of the role that is asked for, without the values of others."""
        return self._ours(self.store.get_all(collection))

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All that this keeps of the role that is asked for, without the values of others."""
        return self._ours(await self.store.aget_all(collection))

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Remove the value under a key; whether there was one."""
        return bool(self.store.delete(self._key(key), collection))

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Remove the value under a key; whether there was one."""
        return bool(await self.store.adelete(self._key(key), collection))

    def _ours(self, kept: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        start = self._start()
        return {key.removeprefix(start): val for key, val in kept.items() if key.startswith(start)}
