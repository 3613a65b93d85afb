"""The benchmark of a store of one item a call measures what it says."""

from __future__ import annotations

from experiments.bench.embedding_store import Config, run


def test_the_store_is_written_looked_up_and_opened_again(tmp_path):
    found = run(Config(items=40, width=8, marks=2, lookups=5), tmp_path / "store")
    assert [row["items"] for row in found["growth"]] == [20, 40]
    assert all(
        row["write_ms"]["median"] > 0 < row["lookup_ms"]["median"] for row in found["growth"]
    )
    assert found["growth"][1]["megabytes"] > 40 * 8 * 4 / 1e6
    assert found["open_and_first_lookup_ms"] > 0 and found["stat_seconds"] > 0
