"""Words and Python code (Django pseudo-code, CoNaLa, CoSQA), read below ISTHMUS_DATA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align.data.pairs import Pairs
from experiments.datasets.folders import check_choice, data_folder, read_rows

# Lines of the original file, in file order: 16,000 train, 1,000 dev, 1,805 test.
_DJANGO = {"train": range(16_000), "dev": range(16_000, 17_000), "test": range(17_000, 18_805)}


def django_pseudocode(split: Literal["train", "dev", "test"]) -> Pairs:
    """Pseudo-code and the one line of Django it describes, in the usual split by line number.

    Args:
        split: ``"train"``, 10,927 pairs, ``"dev"``, 700, or ``"test"``, 1,274.

    Returns:
        ``source`` is pseudo-code, ``target`` code, ids are line numbers of the original.

    Raises:
        FileNotFoundError: The data are not there.
        ValueError: There is no such split.

    Reference:
        Oda et al. 2015, ASE, doi:10.1109/ASE.2015.36. Only unique pairs are in the copy, which
        makes the splits smaller than theirs.
    """
    check_choice("split", split, tuple(_DJANGO))
    every = read_rows(data_folder("django_pseudocode") / "all.jsonl.gz")
    rows = [row for row in every if row["i"] in _DJANGO[split]]
    return Pairs.from_lists(
        [row["text"] for row in rows],
        [row["code"] for row in rows],
        ids=[str(row["i"]) for row in rows],
    )


def conala() -> Pairs:
    """Intents and Python snippets from Stack Overflow; snippets of one question share a group.

    Returns:
        2,366 pairs of 1,709 questions: ``source`` is the rewritten intent, ``target`` code, ids
        are ``"question/row"``.

    Raises:
        FileNotFoundError: The data are not there.

    Reference:
        Yin et al. 2018, MSR, arXiv:1805.08949.
    """
    rows = read_rows(data_folder("conala") / "train.jsonl.gz")
    return Pairs.from_lists(
        [row["text"] for row in rows],
        [row["code"] for row in rows],
        ids=[f"{row['q']}/{i}" for i, row in enumerate(rows)],
        groups=[str(row["q"]) for row in rows],
    )


@dataclass(frozen=True, slots=True)
class CodeSearch:
    """Queries, and the whole code base in which their answers are to be found.

    Attributes:
        pairs: One query and its answer per row; queries of one answer share a group.
        code: Every function of the code base, ``(m,)``, without docstrings.
        positives: Row of ``code`` that answers each query, ``(q,)``.
    """

    pairs: Pairs
    code: tuple[str, ...]
    positives: tuple[int, ...]


def cosqa() -> CodeSearch:
    """The 500 web queries of CoSQA's dev set and its code base of 6,267 functions.

    Raises:
        FileNotFoundError: The data are not there.

    Reference:
        Huang et al. 2021, ACL, arXiv:2105.13239. Docstrings are removed from the code.
    """
    folder = data_folder("cosqa")
    queries = read_rows(folder / "dev.jsonl.gz")
    # Row i of the code base has retrieval_idx i.
    code = tuple(row["code_nodoc"] for row in read_rows(folder / "codebase.jsonl.gz"))
    positives = tuple(int(row["retrieval_idx"]) for row in queries)
    pairs = Pairs.from_lists(
        [row["text"] for row in queries],
        [code[positive] for positive in positives],
        ids=[row["id"] for row in queries],
        groups=[str(positive) for positive in positives],
    )
    return CodeSearch(pairs, code, positives)
