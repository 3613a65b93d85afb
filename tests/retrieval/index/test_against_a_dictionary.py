"""An index is a dictionary: random changes, saves, kills and searches against a plain model."""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from align.data.multi_vector import MultiVector
from align.retrieval.index import index as index_module
from align.retrieval.index.index import Index
from align.retrieval.storage import manifest
from align.retrieval.storage import segments as parts
from align.scoring.kernels import reference

IDS = [f"item {number}" for number in range(12)]
KINDS = (None, "image", "text")
D = 3

ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
# Small whole numbers: sums of their products are exact in any order and dtype, and often tie.
rows = st.lists(st.integers(-2, 2), min_size=D, max_size=D).filter(any)
items = st.lists(rows, min_size=1, max_size=3)
kinds = st.sampled_from(KINDS)
values = st.sampled_from([None, 0, 1, "a"])


class Killed(BaseException):
    """Stands for the end of the process."""


class Folder:
    """Calls that reach the disk; one of them may be the last."""

    def __init__(self, patch):
        self.left = None
        for where in (parts, manifest):
            patch.setattr(where, "atomic_file", self.counted(where.atomic_file))
        patch.setattr(index_module, "remove_others", self.counted(index_module.remove_others))

    def counted(self, plain):
        def call(*args):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return plain(*args)

        return call


class IndexAsADictionary(RuleBasedStateMachine):
    """The model maps ids to vectors, modality and metadata, in the order of adding."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.disk = Folder(self.patch)
        self.home = Path(tempfile.mkdtemp())
        self.path = self.home / "index"
        self.index = Index.create(self.path)
        self.index.save()
        self.reader = Index.open(self.path)
        self.model, self.saved, self.read = {}, {}, {}

    def teardown(self):
        self.patch.undo()
        shutil.rmtree(self.home)

    def give(self, change, ids, data):
        vectors = data.draw(st.lists(items, min_size=len(ids), max_size=len(ids)))
        kind = [data.draw(kinds) for _ in ids]
        metadata = [
            {} if value is None else {"v": value} for value in map(lambda _: data.draw(values), ids)
        ]
        # One call for each modality: none is given by leaving the names out.
        for id, item, own, held in zip(ids, vectors, kind, metadata, strict=True):
            packed = MultiVector.pack([torch.tensor(item).float()])
            change([id], packed, metadata=[held], modality=own)
            self.model.pop(id, None)
            self.model[id] = (item, own, held)

    @rule(ids=ids, data=st.data())
    def add(self, ids, data):
        self.give(self.index.add, [id for id in ids if id not in self.model], data)

    @precondition(lambda self: self.model)
    @rule(ids=ids, data=st.data())
    def update(self, ids, data):
        self.give(self.index.update, [id for id in ids if id in self.model], data)

    @rule(ids=ids)
    def delete(self, ids):
        there = [id for id in ids if id in self.model]
        if there != ids:
            with pytest.raises(KeyError, match="ids must be in the index"):
                self.index.delete(ids)
        self.index.delete(there)
        for id in there:
            del self.model[id]

    @rule()
    def save(self):
        self.index.save()
        self.saved = dict(self.model)

    @rule()
    def compact(self):
        self.index.compact()
        self.saved = dict(self.model)
        assert all(part.dead is None for part in self.index._segments)

    @rule()
    def reopen(self):
        self.index = Index.open(self.path)
        self.model = dict(self.saved)
        assert self.index.verify() == []

    @rule(calls=st.integers(0, 4), compacting=st.booleans())
    def kill(self, calls, compacting):
        before = (self.path / "index.json").read_bytes()
        self.disk.left = calls
        try:
            (self.index.compact if compacting else self.index.save)()
        except Killed:
            pass
        self.disk.left = None
        if (self.path / "index.json").read_bytes() != before:
            self.saved = dict(self.model)
        # The manifest stays as it was too where there was nothing to save.
        if self.index._manifest == manifest.read_manifest(self.path) and all(
            part.is_saved for part in self.index._segments
        ):
            self.saved = dict(self.model)
        self.reopen()

    @rule()
    def refresh(self):
        self.reader.refresh()
        self.read = dict(self.saved)

    @precondition(lambda self: self.model)
    @rule(queried=st.lists(items, min_size=1, max_size=2), data=st.data())
    def search(self, queried, data):
        where = data.draw(st.sampled_from([None, {"v": 1}, {"v": ["a", 0]}, {"modality": "image"}]))
        candidates = data.draw(st.sampled_from([None, len(self.model)]))
        self.check(self.index, self.model, queried, where, candidates)

    @precondition(lambda self: self.read)
    @rule(queried=st.lists(items, min_size=1, max_size=2))
    def search_as_a_reader(self, queried):
        self.check(self.reader, self.read, queried, None, None)

    def check(self, index, model, queried, where, candidates):
        queries = MultiVector.pack([torch.tensor(query).float() for query in queried])
        documents = MultiVector.pack([torch.tensor(held[0]).float() for held in model.values()])
        scores = reference.maxsim(queries, documents)
        if where and "v" in where and not any("v" in held for _, _, held in model.values()):
            with pytest.raises(ValueError, match=r"none has 'v'"):
                index.search(queries, k=len(model), where=where, candidates=candidates)
            return
        found = index.search(queries, k=len(model), where=where, candidates=candidates)
        for row, hits in zip(scores.tolist(), found, strict=True):
            expected = [
                (id, score, own, held)
                for (id, (_, own, held)), score in zip(model.items(), row, strict=True)
                if where is None or suits(own, held, where)
            ]
            expected.sort(key=lambda entry: -entry[1])
            assert [tuple(hit)[:4] for hit in hits] == expected

    @invariant()
    def holds_what_the_model_holds(self):
        assert len(self.index) == len(self.model)
        assert {id for id in IDS if id in self.index} == set(self.model)
        counts = {kind: 0 for kind in KINDS}
        for _, own, _ in self.model.values():
            counts[own] += 1
        assert self.index.modalities == {kind: n for kind, n in counts.items() if n}
        if self.model:
            wanted = list(self.model)[::-1]
            got = self.index.get(wanted)
            assert [item.tolist() for item in got.vectors] == [self.model[id][0] for id in wanted]
            assert list(got.modality) == [self.model[id][1] for id in wanted]
            assert list(got.metadata) == [self.model[id][2] for id in wanted]


def suits(own, held, where):
    if "modality" in where:
        return own == where["modality"]
    wanted = where["v"]
    return "v" in held and held["v"] in (wanted if isinstance(wanted, list) else [wanted])


IndexAsADictionary.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_an_index_is_a_dictionary = IndexAsADictionary.TestCase
