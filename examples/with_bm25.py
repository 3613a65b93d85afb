"""Code of the standard library by its docstring: BM25, an aligned index, and both together.

pip install 'isthmus[bm25]'
python examples/with_bm25.py
"""

from __future__ import annotations

import ast
import re
import sysconfig
import tempfile
import zlib
from functools import cache
from pathlib import Path

import torch
from flags import share_found
from torch import Tensor

import align
from align.adapters.closed_form.rcca import rcca
from align.integrations.bm25 import BM25

WIDTH, HELD_OUT, DEPTH = 256, 400, 50


def documented_functions() -> list[tuple[str, str]]:
    """First line of the docstring, and the code without it, of functions and methods."""
    found = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        outer = ast.parse(path.read_text(encoding="utf-8")).body
        methods = [node for each in outer if isinstance(each, ast.ClassDef) for node in each.body]
        for node in outer + methods:
            if isinstance(node, ast.FunctionDef) and len(node.body) > 1:
                about = (ast.get_docstring(node) or "").split("\n")[0]
                if len(about) > 20:
                    node.body = node.body[1:]
                    found[about] = ast.unparse(node)
    return sorted(found.items(), key=lambda pair: zlib.crc32(pair[0].encode()))


def pieces(text: str) -> list[str]:
    """Words in lower case; ``readLine_into`` is three."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", text)]


@cache
def direction(word: str) -> Tensor:
    """A fixed random direction."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


def count_stems(texts: list[str]) -> Tensor:
    """First five letters of each word, summed as directions: a stand-in for a real encoder."""
    return torch.stack([sum(direction(w[:5]) for w in ["", *pieces(text)]) for text in texts])


def main() -> None:
    """Print recall of each ranking."""
    pairs = documented_functions()
    train, test = pairs[HELD_OUT:], pairs[:HELD_OUT]
    texts = align.CallableEncoder(count_stems, name="stems of text 1", dim=WIDTH)
    code = align.CallableEncoder(count_stems, name="stems of code 1", dim=WIDTH, modality="code")
    # A method and its settings, named here; align.fit would choose them.
    adapter = rcca(
        texts.encode([text for text, _ in train]), code.encode([body for _, body in train])
    )
    queries = [text for text, _ in test]
    bodies = [body for _, body in test]
    ids = [f"function {row}" for row in range(len(test))]

    with tempfile.TemporaryDirectory() as folder:
        index = align.Index.create(Path(folder) / "index", adapter)
        index.add(ids, code.encode(bodies))
        asked = texts.encode(queries)
        aligned = index.search(asked, k=DEPTH)
        keywords = BM25(ids, bodies, split=pieces).search(queries, k=DEPTH)
        # The candidates of BM25 in the order of the adapter, by the vectors that the index holds.
        rescored = align.rescore_hits(
            adapter.queries(asked), keywords, lambda ids: index.get(ids).vectors
        )
    answers = {
        "BM25": keywords,
        "BM25, rescored": rescored,
        "aligned": aligned,
        "reciprocal ranks": align.reciprocal_rank_fusion([keywords, aligned]),
        "z-scores": align.z_score_fusion([keywords, aligned]),
    }
    print(f"{len(train)} pairs to learn from, {len(test)} functions to find\n")
    print(f"{'':18}recall@1  recall@10")
    for name, found in answers.items():
        recall = [share_found([hits[:k] for hits in found], ids) for k in (1, 10)]
        print(f"{name:18}{recall[0]:8.2f}{recall[1]:11.2f}")


if __name__ == "__main__":
    main()
