"""The index benchmark runs with and without faiss, and compares like with like."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from experiments.bench import index_search
from experiments.bench.index_search import FAISS, OURS, Config, in_turns, render, run

SMALL = Config(items=200, dim=8, batches=(1, 3), k=4, repeats=2, documents=60, vectors=2,
               width=8, asking=2, candidates=10, opened=100)  # fmt: skip


class FlatIP:
    """As faiss has it: the best inner products, without a rule for ties."""

    def __init__(self, dim):
        self.dim = dim

    def add(self, vectors):
        self.vectors = torch.from_numpy(vectors)

    def search(self, queries, k):
        found = (torch.from_numpy(queries) @ self.vectors.T).topk(k, dim=1)
        return found.values.numpy(), found.indices.numpy()


def test_without_faiss_only_ours_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(index_search, "_faiss", lambda: None)
    result = run(SMALL)
    assert result.faiss is None
    assert [set(exact.milliseconds) for exact in result.exact] == [{OURS}] * 2
    assert all(exact.ratio is None and exact.same is None for exact in result.exact)
    assert result.cascade_milliseconds.p50 > 0 and result.open_seconds.p50 > 0
    # 100 items of 8 float32 each, and then ids and tables.
    assert result.open_bytes > 3200
    assert "faiss absent" in render(result).title


def test_with_faiss_both_find_the_same_on_the_same_threads(monkeypatch):
    told = []
    fake = SimpleNamespace(
        __version__="1.15.1", IndexFlatIP=FlatIP, omp_set_num_threads=told.append
    )
    monkeypatch.setattr(index_search, "_faiss", lambda: fake)
    result = run(SMALL)
    assert told == [torch.get_num_threads()] and result.faiss == "1.15.1"
    for exact, queries in zip(result.exact, (1, 3), strict=True):
        assert exact.queries == queries and exact.same == 1.0
        assert set(exact.milliseconds) == {OURS, FAISS} and exact.ratio.p50 > 0


def test_calls_take_turns_and_the_first_is_not_counted():
    seen = []
    found = in_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2)
    assert seen == ["a", "b"] * 3
    assert [len(each) for each in found.values()] == [2, 2]


def test_a_quick_run_prints_and_leaves_no_record(monkeypatch, capsys):
    monkeypatch.setattr(index_search, "run", lambda config: run(SMALL))
    monkeypatch.setattr(index_search, "write_record", lambda *a, **b: pytest.fail("a record"))
    index_search.main(["--quick"])
    assert "coarse to fine" in capsys.readouterr().out
