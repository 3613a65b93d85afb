"""One process writes and compacts while others read."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from align.retrieval.index import Index

ROUNDS = 30


def test_readers_see_whole_commits_while_another_process_writes_and_compacts(tmp_path):
    Index.create(tmp_path).save()
    script = Path(__file__).with_name("write_and_compact.py")
    writer = subprocess.Popen([sys.executable, script, tmp_path, str(ROUNDS)])
    reader, seen = Index.open(tmp_path), set()
    query = torch.ones(1, 4)
    while True:
        # Looked at first, so that the last commit is read after the writer has ended.
        ended = writer.poll() is not None
        for index in (reader, Index.open(tmp_path)):
            if index is reader:
                index.refresh()
            if not len(index):
                continue
            hits = index.search(query, k=8)[0]
            rounds = {hit.id.split("-")[0] for hit in hits}
            assert len(index) == len(hits) == 8 and len(rounds) == 1
            seen |= rounds
            assert {hit.score for hit in hits} == {4.0 * int(rounds.pop())}
        if ended:
            break
    assert writer.returncode == 0
    assert str(ROUNDS - 1) in seen


def test_a_mapped_index_goes_on_while_its_files_are_replaced(rng, tmp_path):
    vectors = torch.randn(50, 4, generator=rng)
    index = Index.create(tmp_path)
    index.add([str(row) for row in range(50)], vectors)
    index.save()
    reader = Index.open(tmp_path)
    before = [list((tmp_path / "segments").iterdir())]
    index.delete([str(row) for row in range(25)])
    index.compact()
    assert before[0][0] not in (tmp_path / "segments").iterdir()
    found = reader.search(vectors[:1], k=50)[0]
    best = (vectors[:1] @ vectors.T).topk(50)
    assert [hit.id for hit in found] == [str(row) for row in best.indices[0].tolist()]


def test_a_commit_between_manifest_and_segments_is_read_instead(rng, tmp_path, monkeypatch):
    from align.retrieval import parts

    index = Index.create(tmp_path)
    index.add(["a", "b"], torch.randn(2, 4, generator=rng))
    index.save()
    plain, calls = parts.read_manifest, []

    def overtaken(folder):
        found = plain(folder)
        calls.append(found)
        if len(calls) == 1:
            index.delete(["a"])
            index.compact()
        return found

    monkeypatch.setattr(parts, "read_manifest", overtaken)
    opened = Index.open(tmp_path)
    assert "a" not in opened and "b" in opened and len(calls) == 3
    # A file that is missing for no such reason is an error, and not waited for.
    next((tmp_path / "segments").iterdir()).unlink()
    with pytest.raises(FileNotFoundError):
        Index.open(tmp_path)
