"""BM25 over texts as a searcher, for fusion and as a first stage; by bm25s."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import torch

from align._checks import check_at_least, check_k, check_length, check_unique
from align.integrations.extras import extra
from align.retrieval.hits import Hit, SearchResults
from align.scoring.topk import best_columns

with extra("bm25"):
    import bm25s


def words(text: str) -> list[str]:
    """Runs of letters, their marks and digits, letter case aside.

    Vowel signs of Hindi and other scripts, and accents that are characters of their own, belong to
    their letters; a letter and its accent are one word however they are written (NFC). Turkish
    dotted and dotless i count as one letter, since case is folded without knowing the language.
    """
    plain = unicodedata.normalize("NFC", text).translate(_I).casefold()
    return _WORD.findall(unicodedata.normalize("NFC", plain))


_I = str.maketrans({"İ": "i", "\N{LATIN SMALL LETTER DOTLESS I}": "i"})
# Marks (Mn, Mc, Me) and the joiners inside words of Indic scripts and Persian.
_MARKS = "".join(
    chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"
)
_WORD = re.compile(rf"\w[\w{re.escape(_MARKS)}\u200c\u200d]*")


class BM25:
    """Texts under string ids, ranked by the words that they share with a query.

    Scores are those of Lucene's BM25, where a shared word always adds something.

    Reference:
        Robertson and Zaragoza 2009, doi:10.1561/1500000019. Lucene's variant and its sparse form:
        Lu 2024, arXiv:2407.03618.
    """

    def __init__(
        self,
        ids: Sequence[str],
        texts: Sequence[str],
        *,
        split: Callable[[str], list[str]] = words,
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        """Index texts.

        Args:
            ids: ``n`` unique names.
            texts: ``n`` texts, at least one with a word in it.
            split: Splits texts and queries into words; put stemming and stop words here. Of code
                it should split identifiers.
            k1: How much further occurrences of a word add, at least 0.
            b: How much the length of a text counts, in [0, 1].

        Raises:
            ValueError: Ids and texts differ in number, an id repeats, no text has a word, or
                ``k1`` or ``b`` is out of range.
        """
        check_length("texts", texts, len(ids))
        check_unique("ids", ids)
        check_at_least("k1", k1, 0)
        if not 0 <= b <= 1:
            raise ValueError(f"b must lie in [0, 1]; got {b}. Pass 0 to ignore lengths of texts.")
        tokens = [split(text) for text in texts]
        if not any(tokens):
            raise ValueError(
                f"at least one of the texts must have a word; of {len(texts)} none has. "
                "Pass texts, or a split that keeps some of their words."
            )
        self._ids = list(ids)
        self._split = split
        self._scorer = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._scorer.index(tokens, show_progress=False)

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, items: Sequence[str], *, k: int = 10) -> SearchResults:
        """Up to ``k`` hits for each text, best first; ties in the order of the texts.

        Texts that share no word with a query are not hits, so there may be fewer than ``k``: in a
        fusion they would be ranked by nothing.

        Raises:
            TypeError: ``items`` is one string.
            ValueError: ``k`` is not in ``[1, len(self)]``.
        """
        if isinstance(items, str):
            raise TypeError(
                f"items must be a list of texts; got one string, {items[:40]!r}. "
                "Put it into a list."
            )
        check_k(k, len(self), of="the number of texts")
        found = (self._search(self._split(item), k) for item in items)
        return SearchResults(found, queries=items)

    def _search(self, query: list[str], k: int) -> list[Hit]:
        known = self._scorer.get_tokens_ids(query)  # get_scores refuses a query without words
        scores = torch.from_numpy(self._scorer.get_scores_from_ids(known))
        best = best_columns(scores[None], k)
        return [
            Hit(self._ids[row], score, "text")
            for row, score in zip(best.indices[0].tolist(), best.values[0].tolist(), strict=True)
            if score > 0
        ]
