"""A pool of processes that an interrupt ends at once and without a word, and that end when the program that began them is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process

__all__ = ["lone", "pool", "pool_size"]


@contextmanager
def pool(tasks: int, most: int | None = None) -> Iterator[Executor | None]:
    """Spawned processes, `pool_size` of them; None where one would do, which is this process."""
    count = pool_size(tasks, most)
    if count <= 1:
        yield None
        return
    with _spawned(count) as executor:
        yield executor


def pool_size(tasks: int, most: int | None = None) -> int:
    """One per core or `most` of them, but no more than there are tasks."""
    return min(most or _cores(), tasks)


@contextmanager
def lone() -> Iterator[Executor]:
    """One spawned process, for a task that may take its process down."""
    with _spawned(1) as executor:
        yield executor


@contextmanager
def _spawned(count: int) -> Iterator[Executor]:
    workers = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)
    _start(workers, count)
    try:
        yield workers
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        threading.excepthook = lambda _: None  # the pool's own thread may complain of workers that are gone
        for worker in active_children():
            worker.terminate()
        raise
    workers.shutdown()


def _end_with_parent() -> None:
    """In a process of the pool: be gone when the program is. Each holds the others' end of the pipe that brings work, so none would see it
    closed, and all would wait for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(workers: ProcessPoolExecutor, count: int) -> None:
    """Start the processes deaf to Ctrl-C, which reaches every process of a terminal: this one alone decides what it means."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may say what a signal does
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in range(count):
            workers.submit(os.getpid)  # one process is started for each task that finds none idle
    finally:
        signal.signal(signal.SIGINT, before)
