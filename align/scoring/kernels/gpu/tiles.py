"""How a GPU launch cuts queries, documents and dimensions into tiles. Plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

_ROWS = 128  # most rows of either side of one matrix product; half of it for 4-byte numbers
_SMALLEST = 16  # fewest rows that a matrix instruction takes
_KEPT_BYTES = 256  # widest token for which queries stay on chip while documents stream past
_SCORES = 2048  # that one program has at a time
_KEYS = 1024  # the same in the top-k kernel, and best documents of all its queries together
MOST_SLOTS = 256  # largest k of the top-k kernel: beyond it, sorting blocks of scores is better


@dataclass(frozen=True, slots=True)
class Tiles:
    """The compile-time choices of one launch; every count is a power of two."""

    queries: int  # per program
    query_tokens: int  # rows for each of them; shorter queries leave some empty
    documents: int  # taken at once, more than one only where each fits its rows
    document_tokens: int  # rows for each of them
    columns: int  # dimensions taken at once
    unit: int  # the width of a token in these is a whole number, so that alignment is known
    kept: bool  # the queries of a program are one tile, loaded once
    long_queries: bool  # a query may have more tokens than rows, and comes in parts
    long_documents: bool  # a document may, and comes in parts
    slots: int  # best documents of each query while others stream past; 0 without top-k
    warps: int  # per program
    stages: int  # loads in flight, plus one


def choose_tiles(
    q: int, m: int, d: int, *,
    longest_query: int, longest_document: int, itemsize: int, k: int = 0, amd: bool = False,
) -> Tiles:  # fmt: skip
    """Tiles for ``q`` queries against ``m`` documents of width ``d``.

    Chosen by arithmetic and by what the compiler reports (no spilled registers, at most 99 KiB of
    shared memory, 64 KiB on AMD), not by measurement. ``itemsize`` is 1, 2 or 4 bytes of a number
    as it is multiplied; ``k`` documents are selected per query, 0 for all scores.
    """
    unit = unit_of(d)
    # Numbers of 4 bytes are multiplied out of registers, and rows that do not start at 16 bytes
    # need more addresses: wide tiles of either would not fit.
    narrow = itemsize == 4 or unit * itemsize < 16
    most = _ROWS // 2 if narrow else _ROWS
    most_asked, slots, scores = most, 0, _SCORES
    if k:
        most_asked, slots, scores = most // 2, max(16, _power(k)), _KEYS
    query_tokens = min(_power(longest_query), most_asked)
    queries = min(_power(q), most_asked // query_tokens, _KEYS // max(slots, 1))
    query_tokens = max(query_tokens, _SMALLEST // queries)
    document_tokens = min(_power(longest_document), most)
    documents = min(_power(m), most // document_tokens, max(1, scores // queries))
    document_tokens = max(document_tokens, _SMALLEST // documents)
    fits = longest_query <= query_tokens
    kept = fits and not narrow and d * itemsize <= _KEPT_BYTES
    widest, stages = (
        (16, 4) if itemsize == 4 else (64 // itemsize if narrow else 128 // itemsize, 3)
    )
    products = queries * query_tokens * documents * document_tokens
    return Tiles(
        queries=queries,
        query_tokens=query_tokens,
        documents=documents,
        document_tokens=document_tokens,
        columns=max(_power(d) if kept else min(_power(d), widest), 32 // itemsize, _SMALLEST),
        unit=unit,
        kept=kept,
        long_queries=not fits,
        long_documents=longest_document > document_tokens,
        slots=slots,
        warps=8 if products > 4096 or itemsize == 4 else 4,
        stages=2 if amd or kept else stages,
    )


def unit_of(d: int) -> int:
    """Largest power of two up to 16 that divides ``d``."""
    return min(16, d & -d) if d else 16


def _power(count: int) -> int:
    """Smallest power of two not below ``count``."""
    return 1 << max(count - 1, 0).bit_length()
