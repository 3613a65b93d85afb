"""Why an item was found for a typed text, as a page shows it."""

from __future__ import annotations

from pathlib import Path

from align.apps.serving.answers import Reasons, Term, Word
from align.retrieval.explanation.hits import explain_hit, explain_words_of_hit
from align.retrieval.retriever import Retriever

EDGE = 360  # longest side of a heat map in pixels


def reasons_of(retriever: Retriever, text: str, id: str, file: Path | None) -> Reasons:
    """Terms of the score of an item, and words where the match can be taken apart into them.

    ``file`` is where the picture of the item lies now, if it is one that may be shown.

    Raises:
        KeyError: There is no such item.
        ValueError: Items have several vectors.
    """
    index, embedder = retriever.index, retriever.embedder
    why = explain_hit(index, embedder, text, id, item=file)
    named = {"match": why.match, "expansion": why.expansion, "hubness": why.hubness}
    terms = tuple(Term(name, value) for name, value in named.items() if value)
    try:
        found = explain_words_of_hit(index, embedder, text, id, item=file)
    except ValueError as error:
        return Reasons(why.score, terms, (), str(error))
    heats = [
        None if found.picture is None else found.heat_map(at, edge=EDGE).address
        for at in range(len(found.words))
    ]
    values = found.values.tolist()
    words = zip(found.words, values, found.best, heats, strict=True)
    return Reasons(why.score, terms, tuple(Word(*each) for each in words), None)
