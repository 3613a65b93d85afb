"""An adapter that is saved over another: old or new at every moment, and nothing of others'."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import align
from align._files import atomic
from align.adapters.artifact.files import FILES
from align.adapters.closed_form.procrustes import procrustes
from align.adapters.closed_form.rcca import rcca
from tests.adapters.artifact.save_for_ever import adapter, number_of
from tests.adapters.corrections.planted_reference_sets import REFERENCE_SETS, with_reference
from tests.helpers.flipped import flipped

TESTS = Path(__file__).parents[2]


def child(*args):
    path = os.pathsep.join([str(TESTS.parent), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("save_for_ever.py")), *map(str, args)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def age(path):
    os.utime(path, (time.time() - 2 * atomic.STALE_SECONDS,) * 2)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("how", [(), ("aside",)], ids=["exchanged", "set aside"])
def test_a_save_that_is_killed_at_any_moment_leaves_the_old_or_the_new_adapter(
    tmp_path, monkeypatch, how
):
    """Forked, not started anew: the moments are many and Python starts slowly."""
    folder, seen = tmp_path / "here" / "adapter", set()
    if how:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    for moment in range(1, 40):
        adapter(1).save(folder)
        if _killed_at(moment, lambda: adapter(2).save(folder)):
            break
        seen.add(number_of(align.load(folder)))
    else:
        pytest.fail("the save has no end")
    assert seen == {(1, 1), (2, 2)}
    for left in folder.parent.iterdir():
        age(left)
    adapter(3).save(folder)
    assert [each.name for each in folder.parent.iterdir()] == ["adapter"]
    assert number_of(align.load(folder)) == (3, 3)


def _killed_at(moment, save):
    """Whether a process ended before it changed the names of files for the ``moment``-th time."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    calls = []

    def counted(function):
        def wrapped(*args, **options):
            calls.append(1)
            if len(calls) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return wrapped

    for name in ("replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    atomic._exchange = counted(atomic._exchange)
    try:
        save()
    finally:
        os._exit(0)


@pytest.mark.parametrize("how", [(), ("aside",)], ids=["exchanged", "set aside"])
def test_loading_while_another_process_saves_gives_one_adapter_and_never_two(tmp_path, how):
    folder = tmp_path / "adapter"
    adapter(0).save(folder)
    writer = child(folder, *how)
    try:
        assert writer.stdout.readline() == "ready\n"
        seen = [number_of(align.load(folder)) for _ in range(150)]
        while len({said for said, _ in seen}) < 3:
            seen.append(number_of(align.load(folder)))
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert all(said == held for said, held in seen)
    assert number_of(align.load(folder))


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(saved, square, name):
    known = align.load(saved)
    expected, refused = known.gallery(square[1]), 0
    for _ in flipped(saved / name, tries=100):
        try:
            found = align.load(saved)
            assert found.gallery(square[1]).equal(expected) and found.card == known.card
        except ValueError as error:
            assert "again" in str(error) or "Load it with" in str(error)
            refused += 1
    assert (refused > 80) == (name != "README.md")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_another_adapter_of_the_same_shape_is_refused(square, tmp_path, name):
    procrustes(*square).save(tmp_path / "one")
    source, target = square
    procrustes(source, target.roll(1, 0)).save(tmp_path / "other")
    (tmp_path / "one" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(
        ValueError, match=r"model.safetensors must hold what was saved; .*Save or download"
    ):
        align.load(tmp_path / "one")


def test_a_number_of_the_settings_that_was_edited_is_refused(saved):
    config = saved / "config.json"
    config.write_text(config.read_text().replace('"k": 10', '"k": 11'))
    with pytest.raises(ValueError, match=r"config.json must hold what was saved"):
        align.load(saved)


@pytest.mark.parametrize(
    "held",
    [
        {"README.md": "My photos"},
        {"config.json": '{"architectures": ["BertModel"]}', "model.safetensors": "weights"},
        {"config.json": "not JSON", "card.json": "{}"},
        {"holiday.jpg": "x"},
        {"README.md/deep.txt": "x"},
    ],
    ids=lambda held: " ".join(held),
)
def test_a_folder_that_is_no_adapter_is_never_replaced(tmp_path, square, held):
    folder = tmp_path / "mine"
    for name, text in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"mine' holds .*Choose another folder"):
        procrustes(*square).save(folder)
    assert contents(tmp_path) == before


def test_an_adapter_beside_a_link_of_ones_own_is_not_replaced(saved, square):
    (saved / "README.md").unlink()
    (saved.parent / "notes.md").write_text("mine")
    (saved / "README.md").symlink_to(saved.parent / "notes.md")
    with pytest.raises(FileExistsError, match=r"holds \['README.md'\] too"):
        procrustes(*square).save(saved)
    assert (saved / "README.md").read_text() == "mine"


def test_an_empty_folder_becomes_an_adapter(tmp_path, square):
    (tmp_path / "adapter").mkdir()
    procrustes(*square).save(tmp_path / "adapter")
    assert align.load(tmp_path / "adapter").card.method == "procrustes"


def test_a_link_to_an_adapter_stays_and_the_adapter_is_replaced(saved, square):
    link = saved.parent / "link"
    link.symlink_to(saved.name)
    procrustes(*square).save(link)
    assert link.is_symlink() and not saved.is_symlink()
    assert align.load(saved).card.method == align.load(link).card.method == "procrustes"
    assert sorted(each.name for each in saved.parent.iterdir()) == ["adapter", "link"]


def test_a_link_to_nothing_is_filled(tmp_path, square):
    (tmp_path / "link").symlink_to("later")
    procrustes(*square).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "later").is_dir()


def test_only_scratch_of_our_own_form_is_removed(saved, square):
    token = "0" * 32
    form = [f".adapter.{token}.tmp", f".adapter.{token}.old"]
    others = [".adapter.1.tmp", f".other.{token}.tmp", f"adapter.{token}.tmp", f".adapter.{token}"]
    for name in (*form, *others):
        folder = saved.parent / name
        folder.mkdir()
        (folder / "card.json").touch()
        age(folder)
    young = saved.parent / f".adapter.{'1' * 32}.tmp"
    young.mkdir()
    foreign = saved.parent / form[0] / "thesis.tex"
    foreign.write_text("years of work")
    age(foreign.parent)
    procrustes(*square).save(saved)
    left = {each.name for each in saved.parent.iterdir()}
    assert left == {"adapter", young.name, form[0], *others}
    assert foreign.read_text() == "years of work"


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(saved):
    for name in ("config.json", "card.json", "model.safetensors"):
        whole = (saved / name).read_bytes()
        (saved / name).unlink()
        os.mkfifo(saved / name)
        with pytest.raises(FileNotFoundError, match=f"lacks {name}"):
            align.load(saved)
        (saved / name).unlink()
        (saved / name).write_bytes(whole)


def test_an_error_of_saving_says_what_prevented_it(square, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("align._files.tensors.save_file", full)
    with pytest.raises(OSError, match=r"adapter must be written whole; .*No space.*Free space"):
        with_reference(rcca(*square), square, REFERENCE_SETS["nnn"]).save(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []
