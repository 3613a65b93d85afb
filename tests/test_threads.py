"""Tasks are shared out whole: each is done once, errors reach the caller, and modes are kept."""

from __future__ import annotations

import threading

import pytest
import torch

from align import _threads
from align._threads import share_out


@pytest.fixture(autouse=True)
def three(monkeypatch):
    monkeypatch.setattr(_threads, "workers", lambda: 3)


def test_each_task_is_done_once_by_threads_that_multiply_alone():
    done, seen = [], set()

    def work(tasks):
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        for task in tasks:
            done.append(task)

    before = torch.get_num_threads()
    share_out(iter(range(500)), work, alone=False)
    assert sorted(done) == list(range(500))
    assert len(seen) <= 3
    assert {count for _, count in seen} == {max(before // 3, 1)}
    assert threading.current_thread().name not in {name for name, _ in seen}
    assert torch.get_num_threads() == before


def test_a_thread_that_is_started_later_has_the_threads_of_torch_it_would_have_had():
    before = torch.get_num_threads()
    share_out(iter(range(3)), list, alone=False)
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [before]


def test_work_alone_stays_in_the_thread_that_asks():
    names = []
    share_out(iter([1]), lambda _: names.append(threading.current_thread().name), alone=True)
    assert names == [threading.current_thread().name]


def test_an_error_reaches_the_caller_and_ends_the_others():
    taken = []

    def work(tasks):
        for task in tasks:
            taken.append(task)
            if task == 5:
                raise LookupError("six")

    def endless():
        at = 0
        while True:
            yield at
            at += 1

    with pytest.raises(LookupError, match="six"):
        share_out(endless(), work, alone=False)


def test_an_error_of_the_tasks_themselves_reaches_the_caller():
    def broken():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        share_out(broken(), list, alone=False)


@pytest.mark.parametrize("inference", [True, False])
def test_gradients_are_off_and_inference_mode_is_that_of_the_caller(inference):
    modes = set()

    def work(tasks):
        for _ in tasks:
            modes.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    with torch.inference_mode(inference):
        share_out(iter(range(9)), work, alone=False)
    assert modes == {(False, inference)}
