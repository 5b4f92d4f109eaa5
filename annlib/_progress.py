"""Progress of long work: a callable, a bar by tqdm, or nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: False for silence, True for a bar, or a function that is given (done, total).
Progress: TypeAlias = "bool | Callable[[int, int], None]"


def bar_is_seen() -> bool:
    """Whether tqdm is there to draw a bar, and a terminal to draw it on."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


@contextmanager
def reporter(progress: Progress, total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function to call with the count done so far; the bar it draws is closed at the end.

    Raises ImportError where a bar is asked for and tqdm is not installed.
    """
    if callable(progress):
        yield lambda done: progress(done, total)
    elif not progress:
        yield lambda done: None
    else:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm; or give a callable(done, total)") from error
        with tqdm(total=total, desc=what) as bar:

            def report(done: int) -> None:
                bar.update(done - bar.n)

            yield report
