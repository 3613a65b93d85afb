"""Progress bars: one rule for where they are drawn."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from align._display import progress as shown
from align._display.progress import is_watched, progress_bar, staged


@pytest.fixture
def terminal(capsys, monkeypatch):
    """What is drawn on stderr since the last call, as on a terminal and without patience."""
    monkeypatch.setattr(shown, "is_watched", lambda: True)
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    return lambda: capsys.readouterr().err


def count(progress, steps=3):
    with progress_bar(progress, total=steps, unit="item", label="items") as bar:
        for _ in range(steps):
            bar.update()


def test_by_default_a_terminal_gets_a_bar(terminal):
    count(None)
    drawn = terminal()
    assert "items" in drawn and "3/3" in drawn


def test_by_default_a_pipe_gets_none(capsys):
    count(None)
    assert capsys.readouterr().err == ""


def test_who_asks_for_a_bar_gets_it_in_a_pipe_too(capsys):
    count(True)
    assert "3/3" in capsys.readouterr().err


def test_who_asks_for_none_gets_none_in_a_terminal(terminal):
    count(False)
    assert terminal() == ""


def test_a_bar_that_nobody_asked_for_waits_for_a_second_of_work(terminal, monkeypatch):
    monkeypatch.setattr(shown, "PATIENCE", 1000.0)
    count(None)
    assert terminal() == ""


@pytest.mark.parametrize("outer", [None, False, True])
def test_inside_another_bar_only_one_that_is_asked_for_is_drawn(terminal, outer):
    with progress_bar(outer, total=1, unit="step", label="outer"):
        count(None)
        assert "items" not in terminal()
        count(True)
        assert "items" in terminal()


def test_after_a_bar_that_failed_the_next_is_drawn(terminal):
    with pytest.raises(RuntimeError), progress_bar(None, total=1, unit="step"):
        raise RuntimeError
    count(None)
    assert "items" in terminal()


def test_a_terminal_watches_and_a_pipe_does_not(monkeypatch):
    for answer in (True, False):
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda answer=answer: answer))
        assert is_watched() is answer


def test_a_kernel_of_a_notebook_watches_and_a_shell_in_a_pipe_does_not(monkeypatch):
    for config, watched in (({"IPKernelApp": {}}, True), ({}, False)):
        shell = SimpleNamespace(config=config)
        fake = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", fake)
        assert is_watched() is watched


def test_stages_show_their_names_and_their_own_counts(capsys):
    with staged(True) as stages:
        stages.begin("maps", 2)
        stages.step()
        stages.step()
        stages.begin("refinement", 4)
        stages.step()
    drawn = capsys.readouterr().err
    assert "maps" in drawn and "refinement" in drawn and "1/4" in drawn


def test_a_stage_may_take_more_steps_than_was_thought(capsys):
    with staged(True) as stages:
        stages.begin("maps", 1)
        for _ in range(3):
            stages.step()
    assert "3/3" in capsys.readouterr().err


NOTEBOOK_WITHOUT_WIDGETS = """
import sys
from types import SimpleNamespace
from align._display.progress import import_tqdm_auto
sys.modules["ipykernel.zmqshell"] = sys.modules["ipywidgets"] = None
sys.modules["IPython"] = SimpleNamespace(get_ipython=lambda: None)
"""


@pytest.mark.parametrize(
    ("line", "said"), [("import tqdm.auto", True), ("import_tqdm_auto()", False)]
)
def test_in_a_notebook_tqdm_does_not_ask_for_widgets_that_nothing_needs(line, said):
    command = [sys.executable, "-c", NOTEBOOK_WITHOUT_WIDGETS + line]
    errors = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert ("IProgress not found" in errors) is said
