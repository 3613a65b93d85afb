"""Which tokens of a text are which of its words."""

from __future__ import annotations

from typing import Any


def words_of(tokenizer: Any, text: str, *, prompt: str, limit: int | None) -> tuple[str, ...]:
    """The word that each token of ``prompt + text`` is of, ``""`` for special tokens.

    Tokens of one word follow each other and come as the whole word at the first of them and as
    ``"##"`` at the others. A tokenizer that keeps no places gives its own tokens.
    """
    whole = prompt + text
    options = {"truncation": limit is not None, "max_length": limit}
    if not tokenizer.is_fast:
        ids = tokenizer(whole, **options)["input_ids"]
        special = set(tokenizer.all_special_ids)
        names = tokenizer.convert_ids_to_tokens(ids)
        return tuple(
            "" if id in special else str(name) for id, name in zip(ids, names, strict=True)
        )
    batch = tokenizer(whole, return_offsets_mapping=True, **options)
    numbers, places = batch.word_ids(), batch["offset_mapping"]
    ends: dict[int, tuple[int, int]] = {}
    for number, (start, stop) in zip(numbers, places, strict=True):
        if number is not None:
            first, last = ends.get(number, (start, stop))
            ends[number] = min(first, start), max(last, stop)
    words, before = [], None
    for number in numbers:
        if number is None:
            words.append("")
        else:
            start, stop = ends[number]
            words.append("##" if number == before else whole[start:stop].strip())
        before = number
    return tuple(words)
