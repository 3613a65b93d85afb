"""Files of an index that were written to do harm: each is refused in words, or changes nothing."""

import json
import os
import resource
from hashlib import blake2b

import numpy as np
import pytest
import torch

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.maps.linear import IdentityMap
from align.retrieval.index.index import Index
from tests.retrieval.multi_documents import names

HOSTILE = [
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    10**400,
    1e308,
    0.5,
    "",
    "0",
    "target",
    "../../../etc/passwd",
    "/etc/passwd",
    "segments/../index.json",
    "segments",
    "adapter/..",
    "adapter/../index.json",
    "~",
    "\x00",
    "\ud800",
    "a" * 10_000,
    [],
    [0],
    [[]],
    [None] * 3,
    ["a", "b"],
    {},
    {"": {}},
    {"path": "segments/a"},
]
QUERY = torch.tensor([[1.0, 2.0, 3.0, 4.0]])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with every kind of file, of which each test changes a copy."""
    folder = tmp_path_factory.mktemp("hostile") / "idx"
    adapter = Adapter(IdentityMap(4), IdentityMap(4), Card("identity", 1, 4, 4))
    index = Index.create(folder, adapter, dtype="int8")
    rng = torch.Generator().manual_seed(3)
    for start, count in ((0, 6), (6, 3)):
        index.add(
            names(count, start),
            torch.randn(count, 4, generator=rng),
            metadata=[{"row": row} for row in range(count)],
        )
        index.save()
    index.delete(["item 1"])
    index.save()
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A copy whose files can be replaced one by one and put back."""
    for path in sound.rglob("*"):
        if path.is_file():
            own = tmp_path / path.relative_to(sound)
            own.parent.mkdir(exist_ok=True)
            own.write_bytes(path.read_bytes())
    return tmp_path


def use(folder):
    """What an index answers to everything that reads it."""
    index = Index.open(folder)
    found = index.search(QUERY, k=3), index.search(QUERY, k=2, where={"row": [0, 1, 2]})
    index.verify()
    index.get(["item 0", "item 7"])
    return found, list(index), index.modalities


def check(folder, expected, what):
    """Refused in three parts, or as if nothing had happened."""
    try:
        found = use(folder)
    except (ValueError, OSError, KeyError) as error:
        text = str(error)
        assert ";" in text and ". " in text and len(text) < 3000, (what, text)
        assert not isinstance(error, (UnicodeError, json.JSONDecodeError)), (what, text)
        return "refused"
    assert found == expected, what
    return "harmless"


def places(value, at=()):
    """The path of every value inside a JSON value."""
    yield at
    if isinstance(value, (dict, list)):
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in children:
            yield from places(child, (*at, key))


def put(value, at, new):
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


def dropped(value, at):
    if len(at) == 1:
        copy = dict(value) if isinstance(value, dict) else list(value)
        del copy[at[0]]
        return copy
    return put(value, at[:1], dropped(value[at[0]], at[1:]))


def test_every_field_of_a_manifest_with_every_hostile_value_is_refused_or_harmless(folder):
    expected = use(folder)
    path = folder / "index.json"
    manifest = json.loads(path.read_text())
    outcomes = []
    for at in places(manifest):
        for value in HOSTILE:
            path.write_text(json.dumps(put(manifest, at, value)))
            outcomes.append(check(folder, expected, (at, value)))
        if at:
            path.write_text(json.dumps(dropped(manifest, at)))
            # Without its last segment it is the manifest of another index.
            if at != ("segments", 1):
                outcomes.append(check(folder, expected, (at, "dropped")))
    assert outcomes.count("refused") > 0.95 * len(outcomes)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff\xfe{}",
        b"NaN",
        b"1" * 6000,
        b'{"schema": 2, "schema": 2}',
        b'{"schema": NaN}',
        b'{"schema": 2.0}',
        b"",
        b"\x00" * 99,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_text_that_is_no_manifest_is_refused(folder, text):
    expected = use(folder)
    (folder / "index.json").write_bytes(text)
    assert check(folder, expected, text[:20]) == "refused"


def test_a_key_that_stands_twice_in_a_manifest_is_refused(folder):
    path = folder / "index.json"
    path.write_text(path.read_text().replace('"dim"', '"side": "source",\n "dim"', 1))
    with pytest.raises(ValueError, match=r"the field 'side' is there more than once"):
        Index.open(folder)


def sealed(folder, path, data):
    """Put bytes there with a manifest that gives their own size and checksum, as an enemy would."""
    path.write_bytes(data)
    manifest = json.loads((folder / "index.json").read_text())
    name = path.relative_to(folder).as_posix()

    def walk(value):
        if isinstance(value, list):
            return [walk(each) for each in value]
        if isinstance(value, dict):
            if value.get("path") == name:
                checksum = blake2b(data, digest_size=16).hexdigest()
                return {"path": name, "size": len(data), "checksum": checksum}
            return {key: walk(each) for key, each in value.items()}
        return value

    (folder / "index.json").write_text(json.dumps(walk(manifest)))


def largest(folder):
    return max((folder / "segments").iterdir(), key=lambda path: path.stat().st_size)


def header_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header, body):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + body


def test_every_field_of_a_segment_with_every_hostile_value_is_refused_or_harmless(folder):
    expected = use(folder)
    path = largest(folder)
    header, body = header_of(path.read_bytes())
    values = [*HOSTILE, 10**12, 2**62, "I64", "F32", "BF16", "BOOL", [10**12], [10**12, 0], [1, 1]]
    for at in places(header):
        for value in values:
            sealed(folder, path, with_header(put(header, at, value), body))
            check(folder, expected, (at, value))
        if at:
            sealed(folder, path, with_header(dropped(header, at), body))
            assert check(folder, expected, (at, "dropped")) == "refused"


def test_tensors_of_a_segment_in_each_others_place_are_refused_or_answer(folder):
    path = largest(folder)
    header, body = header_of(path.read_bytes())
    for one in header:
        for other in header:
            swapped = header | {one: header[other], other: header[one]}
            sealed(folder, path, with_header(swapped, body))
            # Other numbers give other scores; what they may not give is an error of the insides.
            try:
                use(folder)
            except (ValueError, OSError, KeyError) as error:
                assert ";" in str(error) and ". " in str(error), (one, other, str(error))


@pytest.mark.parametrize("length", [0, 1, 2**16 + 1, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_a_length_that_cannot_be_is_refused(folder, length):
    path = largest(folder)
    data = path.read_bytes()
    sealed(folder, path, length.to_bytes(8, "little") + data[8:])
    with pytest.raises(ValueError, match="must be a whole segment of an index"):
        Index.open(folder)


def test_a_header_that_claims_many_rows_takes_no_memory(folder):
    path = largest(folder)
    header, body = header_of(path.read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in header:
        for shape in ([10**12], [10**12, 4], [2**61, 2**61], [10**12, 0], [0, 10**12]):
            n = int(np.prod([float(size) for size in shape]))
            entry = header[name] | {"shape": shape, "data_offsets": [0, 8 * n]}
            for changed in (entry, header[name] | {"shape": shape}):
                sealed(folder, path, with_header(header | {name: changed}, body))
                with pytest.raises(ValueError, match="segment"):
                    Index.open(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_arrays_that_lead_outside_are_refused_when_they_are_used(folder):
    """Numbers in the body of a segment, with a checksum that fits them."""
    path = largest(folder)
    data = path.read_bytes()
    header, body = header_of(data)
    for name in ("ids.ends", "ids.rows", "ids.hashes", "records.ends", "records.modality"):
        start, stop = header[name]["data_offsets"]
        kind = np.int64 if name != "records.modality" else np.uint8
        for value in (-1, 5, 2**62, -(2**63)):
            numbers = np.frombuffer(body[start:stop], dtype=kind).copy()
            numbers[1:-1] = np.array([value]).astype(kind)
            changed = body[:start] + numbers.tobytes() + body[stop:]
            sealed(folder, path, data[: len(data) - len(body)] + changed)
            try:
                use(folder)
            except (ValueError, OSError, KeyError) as error:
                assert ";" in str(error) and ". " in str(error), (name, value, str(error))
            # Nor is it written anew where it does not fit together.
            index = Index.open(folder)
            index.delete(["item 7"])
            if name == "ids.rows" or (name.endswith("ends") and value != 5):
                with pytest.raises(ValueError, match=r"must say .* in order; it does not"):
                    index.compact()


@pytest.mark.parametrize("name", ["ids.data", "records.data"])
def test_text_of_a_segment_that_is_no_text_is_refused_when_it_is_used(folder, name):
    path = largest(folder)
    data = path.read_bytes()
    header, body = header_of(data)
    start, stop = header[name]["data_offsets"]
    for junk in (b"\xff", b"[", b"1", b"\x00"):
        changed = body[:start] + junk * (stop - start) + body[stop:]
        sealed(folder, path, data[: len(data) - len(body)] + changed)
        try:
            use(folder)
        except (ValueError, KeyError) as error:
            assert ";" in str(error) and ". " in str(error), (junk, str(error))


def marks(folder):
    (path,) = (folder / "deletions").iterdir()
    return path


def test_hostile_files_of_deletions_are_refused(folder, tmp_path):
    path = marks(folder)
    whole = path.read_bytes()
    text = whole[10:].split(b"\n")[0]
    hostile = [
        b"",
        whole[:5],
        whole[:-1],
        whole + b"\x01",
        whole[:-1] + b"\x02",
        b"\x01" * len(whole),
        whole.replace(b"(6,)", b"(7,)"),
        whole.replace(b"|b1", b"|O "),
        whole.replace(b"|b1", b"<f8"),
        whole.replace(text, b"(" * len(text)),
    ]
    for shape in ((10**12,), (6, 1), (2, 3), ()):
        header = repr({"descr": "|b1", "fortran_order": False, "shape": shape}).encode()
        hostile.append(whole[:10] + header.ljust(len(text)) + whole[10 + len(text) :])
    array = np.array([object] * 6, dtype=object)
    np.save(tmp_path / "object.npy", array, allow_pickle=True)
    hostile.append((tmp_path / "object.npy").read_bytes())
    for data in hostile:
        sealed(folder, path, data)
        assert data != whole
        with pytest.raises(ValueError, match=r"must mark 1 of 6 items; got"):
            Index.open(folder)


@pytest.mark.parametrize("kind", ["pipe", "link", "device", "folder"])
@pytest.mark.parametrize("which", ["manifest", "segment", "deletions", "adapter"])
def test_a_file_of_an_index_that_is_no_file_is_refused_and_not_waited_for(folder, kind, which):
    path = {
        "manifest": folder / "index.json",
        "segment": largest(folder),
        "deletions": marks(folder),
        "adapter": folder / "adapter" / "config.json",
    }[which]
    index = Index.open(folder)
    path.rename(folder / "moved")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else folder / "moved")
    with pytest.raises(OSError, match=r"must be a file inside the index; it is a "):
        Index.open(folder)
    if which != "manifest":
        (problem,) = index.verify()
        assert path.name in problem and "cannot be read" in problem


def test_paths_in_a_manifest_cannot_lead_out_of_the_folder(folder):
    path = folder / "index.json"
    manifest = json.loads(path.read_text())
    outside = folder.parent / f"{'a' * 32}.safetensors"
    largest(folder).rename(outside)
    for name in (str(outside), f"segments/../../{outside.name}", f"../{outside.name}"):
        path.write_text(json.dumps(put(manifest, ("segments", 0, "file", "path"), name)))
        with pytest.raises(ValueError, match=r"path must be the path of a file that an index"):
            Index.open(folder)
    for name in ("adapter/../index.json", "/etc/passwd", "adapter/.hidden", "adapter//x", "x/y"):
        path.write_text(json.dumps(put(manifest, ("files", 0, "path"), name)))
        with pytest.raises(ValueError, match=r"path must be the path of a file that an index"):
            Index.open(folder)
