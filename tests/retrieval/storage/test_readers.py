"""One process writes and compacts while others read."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from align.retrieval.index.index import Index
from align.retrieval.storage import mapped_file

ROUNDS = 30


def start_writer(folder, rounds, **streams):
    script = Path(__file__).with_name("write_and_compact.py")
    return subprocess.Popen([sys.executable, script, folder, str(rounds)], **streams)


def test_readers_see_whole_commits_while_another_process_writes_and_compacts(tmp_path):
    Index.create(tmp_path).save()
    reader, seen = Index.open(tmp_path), set()
    query = torch.ones(1, 4)
    ended = False
    with start_writer(tmp_path, ROUNDS, stdout=subprocess.DEVNULL) as writer:
        while not ended:
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
    assert writer.returncode == 0
    assert str(ROUNDS - 1) in seen


@pytest.mark.parametrize("commits", [3, 14])
def test_a_writer_killed_while_it_saves_leaves_a_whole_commit(tmp_path, commits):
    Index.create(tmp_path).save()
    with start_writer(tmp_path, 10_000, stdout=subprocess.PIPE) as writer:
        for _ in range(commits):
            last = int(writer.stdout.readline())
        # It is somewhere inside the next rounds by now.
        writer.kill()
    index = Index.open(tmp_path)
    assert index.verify() == [] and len(index) == 8
    (round,) = {int(hit.id.split("-")[0]) for hit in index.search(torch.ones(1, 4), k=8)[0]}
    assert round >= last
    # The lock went with the process, and what it left is cleared.
    index.delete([f"{round}-0"])
    index.save()
    held = {tmp_path / file.path for file in index._manifest.all_files}
    subfolders = [tmp_path / "segments", tmp_path / "deletions"]
    assert held == {path for subfolder in subfolders for path in subfolder.glob("*")}


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
    from align.retrieval.storage import segments as parts

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


def test_an_error_of_a_segment_that_is_there_is_not_hidden(rng, tmp_path, monkeypatch):
    index = Index.create(tmp_path)
    index.add(["a"], torch.randn(1, 4, generator=rng))
    index.save()

    def broken(*args, **options):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mapped_file.mmap, "mmap", broken)
    with pytest.raises(OSError, match="must be mapped to be read; the system says: Cannot alloc"):
        Index.open(tmp_path)
