"""What an interruption says of what is kept."""

import pytest

from align._display.interruption import notes_of, saying_what_is_kept, saying_what_is_stored


def test_an_interruption_says_what_is_kept_at_that_moment():
    done = 0
    with pytest.raises(KeyboardInterrupt) as stopped, saying_what_is_kept(lambda: f"{done} kept."):
        done = 7
        raise KeyboardInterrupt
    assert notes_of(stopped.value) == ("7 kept.",)


def test_of_works_inside_each_other_the_outermost_speaks():
    with (
        pytest.raises(KeyboardInterrupt) as stopped,
        saying_what_is_kept(lambda: "outer"),
        saying_what_is_kept(lambda: "inner"),
    ):
        raise KeyboardInterrupt
    assert notes_of(stopped.value) == ("outer",)


def test_what_is_stored_is_said_beside_it():
    with (
        pytest.raises(KeyboardInterrupt) as stopped,
        saying_what_is_kept(lambda: "outer"),
        saying_what_is_stored(lambda: "stored"),
    ):
        raise KeyboardInterrupt
    assert notes_of(stopped.value) == ("stored", "outer")


def test_other_errors_get_no_note():
    with pytest.raises(ValueError, match="wrong") as failed, saying_what_is_kept(lambda: "kept"):
        raise ValueError("wrong")
    assert notes_of(failed.value) == ()


def test_work_after_an_interrupted_one_speaks_again():
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as stopped, saying_what_is_kept(lambda: "kept"):
            raise KeyboardInterrupt
        assert notes_of(stopped.value) == ("kept",)
