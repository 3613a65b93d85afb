"""Work shared out among threads that each multiply alone, and wait for each other once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier, Lock
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

# Python's lock and the memory that each one takes allow no more; the other threads of torch help
# with products.
_MOST = 8


def workers() -> int:
    """Threads that ``share_out`` uses here: those of torch, up to eight."""
    return min(torch.get_num_threads(), _MOST)


def share_out(tasks: Iterator[T], work: Callable[[Iterator[T]], None], *, alone: bool) -> None:
    """Call ``work`` on each thread with an iterator over the tasks that no other has taken.

    A product on several threads waits at its end for the slowest of them; where other processes
    keep a core busy, that is a time slice of the system for each product. Threads that each do
    products of their own wait once, at the end of all tasks. Gradients are off in them.

    Args:
        tasks: Taken one at a time, by one thread at a time.
        work: Called with what is left; must write to places of its own.
        alone: Whether to call ``work`` here instead, where products take all threads of torch.

    Raises:
        BaseException: What ``work`` raised first; others then take no further task.
    """
    threads = workers()
    if alone or threads == 1:
        work(tasks)
        return
    shared, inference = _Shared(tasks), torch.is_inference_mode_enabled()

    def run() -> None:
        with torch.inference_mode(inference), torch.no_grad(), shared:
            work(shared)

    pool = _pool(threads, torch.get_num_threads())
    running = [pool.submit(run) for _ in range(threads)]
    with shared:  # an interruption while waiting
        wait(running)
    wait(running)
    for each in running:
        each.result()


class _Shared(Generic[T]):
    """An iterator for several threads; it ends for all of them where one leaves with an error."""

    def __init__(self, tasks: Iterator[T]) -> None:
        self._tasks, self._lock, self._ended = tasks, Lock(), False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            if self._ended:
                raise StopIteration
            return next(self._tasks)

    def __enter__(self) -> None:
        pass

    def __exit__(self, error: object, *_: object) -> None:
        self._ended = self._ended or error is not None


@cache
def _pool(threads: int, of_torch: int) -> ThreadPoolExecutor:
    """Threads that multiply on their share of torch's threads; kept, as starting them takes long.

    A thread takes over the number that was asked for last, whoever asked, when it first needs it.
    So each worker needs it before it asks for its own, and this thread asks again for what it has.
    """
    started = Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()
        torch.set_num_threads(max(of_torch // threads, 1))
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="align", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(of_torch)
    return pool


os.register_at_fork(after_in_child=_pool.cache_clear)
