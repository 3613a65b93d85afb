"""Advice in Python for Python, and in options for the command line."""

import pickle

import pytest

from align._advice import Advised, on_command_line
from align.data.readers import PairsError

MESSAGE = Advised("k must be 3; got 4.", python="Pass k=3.", command="Give -k 3.")


def test_an_error_speaks_python_and_is_read_on_the_command_line():
    with pytest.raises(ValueError, match=r"^k must be 3; got 4\. Pass k=3\.$") as raised:
        raise ValueError(MESSAGE)
    assert on_command_line(raised.value) == "k must be 3; got 4. Give -k 3."


def test_errors_without_advice_are_shown_as_they_are():
    assert on_command_line(ValueError("plain")) == "plain"
    assert on_command_line(ValueError()) == ""
    assert on_command_line(KeyError("no id")) == "no id"
    assert on_command_line(FileNotFoundError(2, "gone", "a.txt")) == "[Errno 2] gone: 'a.txt'"


def test_rows_with_problems_follow_in_both_languages():
    error = PairsError(MESSAGE, ["row 1: empty"])
    assert str(error) == "k must be 3; got 4. Pass k=3.\n  row 1: empty"
    assert on_command_line(error) == "k must be 3; got 4. Give -k 3.\n  row 1: empty"


def test_a_message_can_be_sent_to_another_process():
    sent = pickle.loads(pickle.dumps(MESSAGE))
    assert sent == MESSAGE and sent.on_command_line == MESSAGE.on_command_line
