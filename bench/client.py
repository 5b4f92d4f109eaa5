"""The harness's side of a worker process: requests with a time limit, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

# With the path of this process: the worker imports the very packages that are imported here, also where the
# working directory holds others of the same names.
_START = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main()"
)
# In another interpreter packages are its own, and this one is brought along.
_START_ELSEWHERE = (
    "import importlib, sys; from importlib import util; name, file, module = sys.argv[1:]; "
    "spec = util.spec_from_file_location(name, file); sys.modules[name] = util.module_from_spec(spec); "
    "spec.loader.exec_module(sys.modules[name]); importlib.import_module(module).main()"
)


class WorkerError(RuntimeError):
    """A worker failed, died, or took too long; the message says which."""


class Worker:
    """A process that measures one index; a context manager that ends the process.

    Parameters
    ----------
    log : path
        Takes what the library prints.
    threads : int
        Threads that OpenMP and BLAS start with.
    module : str
        Whose ``main`` the process runs.
    python : path, optional
        Another interpreter for it; the module may then need nothing but what that one has.
    """

    def __init__(
        self, log: Path, threads: int, module: str = f"{__package__}.worker", python: str | None = None
    ) -> None:
        pins = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self._log = log
        if python is None:
            command = [sys.executable, "-c", _START, json.dumps(sys.path), module]
        else:
            package = os.fspath(Path(__file__).with_name("__init__.py"))
            command = [python, "-I", "-c", _START_ELSEWHERE, __package__, package, module]
        with open(log, "wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **dict.fromkeys(pins, str(threads))},
                text=True,
                start_new_session=True,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def request(
        self, op: str, timeout: float, progress: Callable[[int, int], None] | None = None, **arguments: Any
    ) -> Any:
        """Ask for `op` and wait at most `timeout` seconds.

        Raises WorkerError where it fails; the worker is then of no more use.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise WorkerError(f"{op} took more than {timeout:g} s") from None
            if not line:
                raise WorkerError(f"{op}: the process died ({self._fate()}); {self._last_words()}")
            answer = json.loads(line)
            if "error" in answer:
                raise WorkerError(f"{op}: {answer['error']}")
            if "result" in answer:
                return answer["result"]
            if progress is not None:
                progress(*answer["progress"])

    def _fate(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The whole group: a library may have started processes of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
