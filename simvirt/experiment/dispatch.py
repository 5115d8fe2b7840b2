"""Does tasks on an executor, a few ahead of those that are being done, and survives the death of a worker.

When a process of a pool dies, the pool takes everybody down who was with it. All of them are suspects: each is done again, alone in a
process of its own. The one whose process dies again is to blame, and only it fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from typing import Any, Final, Generic, TypeVar

from simvirt.errors import ResultsError
from simvirt.experiment.pool import lone, pool, pool_size

__all__ = ["Dispatch"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 64
"""Tasks that a given executor is handed at a time: its number of workers is not known."""
_AHEAD_PER_WORKER: Final = 2

DIED: Final = "the process that ran it died, twice, the second time alone in it: killed, out of memory, or a crash of Python"


class Dispatch(Generic[T, R]):
    """Hands every task to `do`, and `done` what came of it, in the order in which they end; `failed` makes a result of an error."""

    def __init__(self, do: Callable[[T], R], done: Callable[[T, R], None], failed: Callable[[T, str], R]) -> None:
        self._do = do
        self._done = done
        self._failed = failed

    def here(self, tasks: Iterable[T]) -> None:
        """One after the other in this process."""
        for task in tasks:
            self._done(task, self._do(task))

    def on(self, executor: Executor, tasks: Sequence[T]) -> None:
        """On an executor that is somebody else's. If it breaks down, ResultsError: it cannot be made anew here."""
        left = deque(tasks)
        try:
            self._serve(executor, left, _AHEAD)
        except _BrokenError as broken:
            done = len(tasks) - len(left) - len(broken.suspects)
            way_out = "what is finished is kept if runs are stored; start it again, and the same study goes on"
            raise ResultsError(f"the executor broke down after {done} of {len(tasks)} runs ({broken}); {way_out}") from broken

    def in_pool(self, tasks: Sequence[T], workers: int | None) -> None:
        """In spawned processes, `workers` of them or one per core; in this process where one would do."""
        left = deque(tasks)
        while left:
            with pool(len(left), workers) as executor:
                if executor is None:
                    self.here(left)
                    return
                try:
                    self._serve(executor, left, _AHEAD_PER_WORKER * pool_size(len(left), workers))
                except _BrokenError as broken:
                    suspects: list[T] = broken.suspects
                else:
                    return
            for task in suspects:
                self._alone(task)

    def _alone(self, task: T) -> None:
        with lone() as executor:
            try:
                self._serve(executor, deque([task]), 1)
            except _BrokenError:
                self._done(task, self._failed(task, DIED))

    def _serve(self, executor: Executor, left: deque[T], ahead: int) -> None:
        """Do the tasks that are left. Raises _BrokenError with those that were handed out when the executor broke."""
        out: dict[Future[R], T] = {}
        try:
            while left or out:
                while left and len(out) < ahead:
                    out[self._submit(executor, left[0], out)] = left[0]
                    left.popleft()
                for future in wait(out, return_when=FIRST_COMPLETED).done:
                    self._done(out[future], self._result(future, out))
                    del out[future]
        except BaseException:
            for future in out:
                future.cancel()
            raise

    def _submit(self, executor: Executor, task: T, out: Mapping[Future[R], T]) -> Future[R]:
        try:
            return executor.submit(self._do, task)
        except (BrokenExecutor, RuntimeError) as error:
            raise _BrokenError(error, self._unfinished(out)) from error

    def _result(self, future: Future[R], out: Mapping[Future[R], T]) -> R:
        try:
            return future.result()
        except (BrokenExecutor, CancelledError) as error:
            raise _BrokenError(error, self._unfinished(out)) from error
        except Exception as error:
            return self._failed(out[future], f"{type(error).__name__}: {error}")

    def _unfinished(self, out: Mapping[Future[R], T]) -> list[T]:
        """The tasks that were handed out and gave nothing; what was found in time by the others counts."""
        suspects = []
        for future, task in out.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._done(task, future.result())
            else:
                suspects.append(task)
        return suspects


class _BrokenError(Exception):
    """An executor that does nothing more, and the tasks that it had."""

    def __init__(self, cause: BaseException, suspects: list[Any]) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)
        self.suspects = suspects
