"""LanceDB: a table of one and of several vectors per item, and searches over it or any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from align._checks import check_at_least, check_length, check_unique
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.integrations.answers import Answers, Floats, Search, check_unit_norm, padded
from align.integrations.extras import extra
from align.retrieval.hits import Hit, SearchResults

with extra("lancedb"):
    import pyarrow as pa
    from lancedb import DBConnection
    from lancedb.table import Table

ID, DENSE, TOKENS = "id", "vector", "tokens"
"""Columns of a gallery."""

_RESERVED = ("_distance", "_score", "_relevance_score", "_rowid", "query_index")


def create_gallery(
    database: DBConnection,
    name: str,
    ids: Sequence[str],
    vectors: Vectors,
    *,
    tokens: MultiVector | None = None,
    metadata: Mapping[str, Sequence[Any]] | None = None,
) -> Table:
    """A new table with the columns ``id``, ``vector``, and ``tokens`` where there are any.

    Args:
        database: What ``lancedb.connect`` gives.
        name: Name of the new table.
        ids: ``n`` unique names.
        vectors: Gallery vectors, ``(n, d)``, correction included: ``adapter.gallery(...)``.
        tokens: Several vectors per item, ``n`` packed items, for ``maxsim_search``.
        metadata: Further columns by name, ``n`` values each.

    Raises:
        ValueError: The sides differ in number, an id repeats, a further column has the name of
            one of the gallery's, or LanceDB holds such a table.
    """
    dense = as_tensor(vectors).float()
    check_length("vectors", range(len(dense)), len(ids))
    check_unique("ids", ids)
    columns: dict[str, Any] = {ID: list(ids), DENSE: _fixed(dense)}
    if tokens is not None:
        check_length("tokens", range(len(tokens)), len(ids))
        each = tokens.to(dtype=torch.float32)
        ends = pa.array(each.offsets.numpy(), type=pa.int32())
        columns[TOKENS] = pa.ListArray.from_arrays(ends, _fixed(each.tokens))
    for field, values in (metadata or {}).items():
        check_length(field, values, len(ids))
        if field in (ID, DENSE, TOKENS, *_RESERVED):
            raise ValueError(
                f"metadata must not name the columns {ID}, {DENSE} and {TOKENS}, nor those that "
                f"LanceDB answers with, {', '.join(_RESERVED)}; got {field!r}. Rename that field."
            )
        columns[field] = list(values)
    return database.create_table(name, pa.table(columns))


def lancedb_search(
    table: Table,
    *,
    column: str = DENSE,
    id_column: str = ID,
    distance: Literal["dot", "cosine", "l2"] = "dot",
) -> Search:
    """A search over a table, for ``align.wrap``.

    Args:
        table: A table of one vector per item.
        column: The column of vectors.
        id_column: The column of ids.
        distance: ``"dot"``, the inner product; or ``"cosine"`` or ``"l2"``, as the search index of
            the table may demand, over stored vectors of unit norm, where the score is their inner
            product all the same.

    Raises:
        ValueError: A column is missing; later, the queries are of another width, or not of unit
            norm where the distance is not ``"dot"``.
    """
    missing = {column, id_column} - set(table.schema.names)
    if missing:
        raise ValueError(
            f"column and id_column must name columns of the table; {sorted(missing)} are not "
            f"among {table.schema.names}. Pass the names of the vectors and the ids."
        )
    # LanceDB has 1 - <q, x> for dot and cosine, and the squared distance for l2.
    scale = 2 if distance == "l2" else 1

    def search(vectors: Floats, k: int) -> Answers:
        if distance != "dot":
            check_unit_norm(vectors, space=distance)
        query = _query(table, list(vectors), column).distance_type(distance)
        results: list[list[tuple[Any, float]]] = [[] for _ in vectors]
        for row in query.select([id_column, "_distance"]).limit(k).to_list():
            number = row.get("query_index", 0)  # there is no such column for one query
            results[number].append((row[id_column], 1 - row["_distance"] / scale))
        return padded(results, k)

    return search


def maxsim_search(table: Table, tokens: MultiVector, *, k: int = 10) -> SearchResults:
    """Up to ``k`` hits for each query, best first by exact MaxSim over the whole table.

    The metadata of a hit are the further columns of the table.

    Args:
        table: One that ``create_gallery`` filled with several vectors per item, without a search
            index on them.
        tokens: ``q`` packed queries of the width of the items.
        k: Hits per query, at least 1.

    Raises:
        ValueError: The table has no several vectors per item, or ``k`` is below 1.
    """
    check_at_least("k", k, 1)
    if TOKENS not in table.schema.names:
        raise ValueError(
            f"a table needs the column {TOKENS!r} to be searched by MaxSim; it has "
            f"{table.schema.names}. Pass tokens= to create_gallery."
        )
    further = [field for field in table.schema.names if field not in (ID, DENSE, TOKENS)]

    def hits(query: torch.Tensor) -> list[Hit]:
        request = _query(table, query.numpy(), TOKENS).distance_type("dot")
        # LanceDB sums 1 - max <q_i, x_j> over the vectors of the query.
        return [
            Hit(row.pop(ID), len(query) - row.pop("_distance"), metadata=row)
            for row in request.select([ID, *further, "_distance"]).limit(k).to_list()
        ]

    return SearchResults(hits(query) for query in tokens.to(dtype=torch.float32))


def _query(table: Table, vectors: Any, column: str) -> Any:
    """A search by vectors; the type that LanceDB states covers searches by text too."""
    return table.search(vectors, vector_column_name=column)


def _fixed(vectors: torch.Tensor) -> Any:
    flat = pa.array(vectors.contiguous().numpy().ravel(), type=pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
