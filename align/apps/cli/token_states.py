"""Pairs with the token states behind their vectors, for heads of several vectors per item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from align.apps.cli.inputs import (
    EncoderChoice,
    check_encoders_named,
    columns_of,
    encode_pairs,
    encoder_of,
    is_archive,
    open_store,
)
from align.apps.cli.printing import complain

if TYPE_CHECKING:
    from align.adapters.adapter import Adapter
    from align.data.token_pairs import TokenPairs


def token_pairs(
    path: Path,
    columns: Mapping[str, str | None],
    chosen: EncoderChoice,
    store: Path,
    skip_bad: bool,
    adapter: Adapter | None = None,
) -> TokenPairs:
    """The pairs of a table, with token states of each side whose encoder gives any.

    The arguments are those of ``embedded_pairs``, and so are the errors.

    Raises:
        ValueError: The pairs are an archive, which has no token states, or instructions are named,
            or no encoder gives token states.
    """
    from align.data.encoding import TokenEncoder
    from align.data.token_pairs import TokenPairs

    if is_archive(path):
        raise ValueError(
            f"several vectors of an item are drawn from its token states; {path} holds one vector "
            "of each. Pass the table of the items with --source-encoder and --target-encoder."
        )
    if instruction := columns.get("instruction"):
        raise ValueError(
            f"a head of several vectors takes no instructions; got --instruction {instruction}. "
            "Leave it out, or leave --vectors out."
        )
    if adapter is None:
        check_encoders_named(path, chosen.specs)
    sides = [encoder_of(adapter, side, chosen) for side in ("source", "target")]
    without = [each for each in sides if not isinstance(each, TokenEncoder)]
    if len(without) == len(sides):
        raise ValueError(
            "several vectors of an item are drawn from token states, so that an encoder must give "
            f"some; {' and '.join(each.fingerprint for each in sides)} give none. Use text:, code: "
            "or image: encoders, or leave --vectors out."
        )
    for each in without:
        complain(
            f"note: {each.fingerprint} gives no token states; further vectors of that side are "
            "maps of its one vector"
        )
    named = columns_of(path, columns, adapter)
    pairs, data = encode_pairs(path, named, chosen, store, skip_bad, adapter)
    states = [
        open_store(store).encode_tokens(encoder, items)
        if isinstance(encoder, TokenEncoder)
        else None
        for encoder, items in zip(sides, (pairs.source, pairs.target), strict=True)
    ]
    return TokenPairs(data, *states)
