"""The shared library: where it is, how it is called, and how its errors become exceptions."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pathlib
import signal
import sys
import threading
import weakref
from typing import Any, Callable, Optional

import numpy as np

from ._signatures import ABI_VERSION, FUNCTIONS, Progress, Receive

#: Called with a task, the units done and their total. Returning False ends the work; so does raising, and what it raises comes
#: out of the call.
ProgressFunction = Callable[[str, int, int], Any]


class LacunaError(Exception):
    """What Lacuna refuses or fails at, in its own words."""


class InvalidArgumentError(LacunaError, ValueError):
    """An argument out of its range, or data that cannot be fitted."""


class FileError(LacunaError, OSError):
    """A file that cannot be read or written, or is not what it should be."""


class UnsupportedError(LacunaError, NotImplementedError):
    """Something valid that Lacuna does not do."""


class NumericalError(LacunaError, ArithmeticError):
    """A computation that failed on these numbers."""


class ResourceError(LacunaError, MemoryError):
    """Too little memory, or room on a disk."""


class CancelledError(LacunaError):
    """Work that a callback ended."""


# By the codes of lacuna.h. Malformed data (2) comes from arrays as well as from files.
_ERRORS = {
    1: FileError,
    2: InvalidArgumentError,
    3: FileError,
    4: FileError,
    5: UnsupportedError,
    6: InvalidArgumentError,
    7: NumericalError,
    8: ResourceError,
    9: CancelledError,
}


def _load() -> ctypes.CDLL:
    given = os.environ.get("LACUNA_LIBRARY")
    name = "libLacunaC.dylib" if sys.platform == "darwin" else "libLacunaC.so"
    path = pathlib.Path(given) if given else pathlib.Path(__file__).parent / "lib" / name
    if not path.exists():
        raise ImportError(f"{path} is not there: build it (make wheel), or name one in LACUNA_LIBRARY")
    # The BLAS that the wheel is linked with, wherever pip has put it.
    blas = importlib.util.find_spec("scipy_openblas32")
    if blas is not None and blas.submodule_search_locations:
        for folder in blas.submodule_search_locations:
            for file in (pathlib.Path(folder) / "lib").glob("libscipy_openblas*.so"):
                ctypes.CDLL(str(file))
    library = ctypes.CDLL(str(path))
    for function, (result, parameters) in FUNCTIONS.items():
        # Functions are only ever added.
        if not hasattr(library, function):
            raise ImportError(f"{path} has no {function}: it is older than this package")
        symbol = getattr(library, function)
        symbol.restype, symbol.argtypes = result, parameters
    found = library.lacuna_abi_version()
    if found != ABI_VERSION:
        raise ImportError(f"{path} has version {found} of the C interface, this package is for {ABI_VERSION}")
    return library


library = _load()


def check(status: int) -> None:
    """Raises what the last call on this thread failed with."""
    if status:
        text = library.lacuna_error_message().decode("utf-8", "replace")
        raise _ERRORS.get(status, LacunaError)(text)


class Handle:
    """An object of the library, given back when nothing refers to it any more. `kept` are arrays that it borrows."""

    def __init__(self, function: Callable[..., int], *arguments: Any, kept: Any = None):
        place = ctypes.c_void_p()
        check(function(*arguments, ctypes.byref(place)))
        self.pointer = place.value
        self.kept = kept
        weakref.finalize(self, _release, self.pointer).atexit = False

    @property
    def _as_parameter_(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.pointer)

    def __reduce__(self) -> Any:
        # Its number means nothing, or something else, to another process, and a copy would not keep the object.
        raise TypeError("objects of Lacuna's library live in one process and can be neither pickled nor copied")


def _release(pointer: Optional[int], give_back: Any = library.lacuna_release) -> None:
    give_back(pointer)


_TYPES = {0: (ctypes.c_float, np.float32), 1: (ctypes.c_double, np.float64), 2: (ctypes.c_int64, np.int64)}


def view(owner: Handle, address: Optional[int], kind: Any, count: int) -> np.ndarray:
    """Numbers of the library's, in place; `owner` lives as long as the array and what is made of it."""
    if count == 0:
        return np.empty(0, dtype=np.dtype(kind))
    buffer = (kind * count).from_address(address)
    buffer._owner = owner
    return np.frombuffer(buffer, dtype=np.dtype(kind))


def array(function: Callable[..., int], *arguments: Any) -> np.ndarray:
    """The numbers that a function gives through its last argument."""
    owner = Handle(function, *arguments)
    kind, count, data = ctypes.c_int32(), ctypes.c_int64(), ctypes.c_void_p()
    check(library.lacuna_array_view(owner, ctypes.byref(kind), ctypes.byref(count), ctypes.byref(data)))
    return view(owner, data.value, _TYPES[kind.value][0], count.value)


def address(values: np.ndarray) -> ctypes.c_void_p:
    """Where an array begins. It lives as long as what is returned."""
    place = ctypes.c_void_p(values.ctypes.data)
    place._array = values
    return place


def plain(values: Any, kind: Any) -> np.ndarray:
    """An array as the library reads it: numbers of this type and this machine's byte order, aligned, one behind another. The array
    itself, if it is such a one."""
    if np.iscomplexobj(values):
        raise TypeError("complex numbers have no place here")
    return np.require(values, np.dtype(kind), ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])


def whole(value: Any, name: str, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """A whole number in a range: ctypes would cut off what does not fit."""
    try:
        number = int(value)
    except OverflowError:
        number = None
    if number is None or number != value:
        raise InvalidArgumentError(f"{name}: is {value}, not a whole number")
    if number < least:
        raise InvalidArgumentError(f"{name}: is {value}, not at least {least}")
    if number > most:
        raise InvalidArgumentError(f"{name}: is {value}, above {most}")
    return number


def text(value: Any, name: str) -> bytes:
    """A text as the library takes it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgumentError(f"{name}: has a character NUL")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, or a byte of a file's name. Something in its place would be another text, or another file.
        raise InvalidArgumentError(f"{name}: {value!r} cannot be written in UTF-8") from None


def taken(place: ctypes.c_void_p) -> str:
    """A text of the library's, given back."""
    try:
        return ctypes.string_at(place.value).decode("utf-8", "replace")
    finally:
        library.lacuna_text_free(place)


class Watch:
    """Runs long work so that Ctrl-C, an alarm and what callbacks raise end it.

    The library asks between steps, on this thread, whether to go on. Python handles signals as soon as it answers, before the
    first line of the answer: so what a handler raises is kept, and raised when the library has returned.
    """

    #: Signals whose handlers may raise: interrupts, ends, alarms.
    _SIGNALS = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")
        if hasattr(signal, name)]

    def __init__(self, progress: Optional[ProgressFunction] = None):
        self._progress = progress
        self._error: Optional[BaseException] = None
        self.callback = Progress(self._step)

    def _answer(self, ask: Callable[[], Any]) -> int:
        if self._error is None:
            try:
                answer = ask()
                # Comparisons of numpy's numbers are no False of Python's.
                if isinstance(answer, (bool, np.bool_)) and not answer:
                    return 1
            except BaseException as error:  # noqa: BLE001 (raised again by `run`)
                self._error = error
        return 0 if self._error is None else 1

    def _step(self, _context: Any, task: bytes, completed: int, total: int) -> int:
        progress = self._progress
        return self._answer((lambda: None) if progress is None else (lambda: progress(task.decode(), completed, total)))

    def receiver(self, receive: Optional[Callable[[str], Any]]) -> Any:
        """The same for pieces of a text; `receive` ends it by returning False."""

        def step(_context: Any, piece: bytes) -> int:
            if receive is None or not piece:
                return self._answer(lambda: None)
            return self._answer(lambda: receive(piece.decode("utf-8", "replace")))

        return Receive(step)

    def run(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, or what a signal or a callback raised in it."""
        handlers = {}
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in self._SIGNALS}
            handlers = {number: handler for number, handler in found.items() if callable(handler)}
        if not handlers:
            return self._run(work)

        def keep(number: int, frame: Any) -> None:
            try:
                handlers[number](number, frame)
            except BaseException as error:  # noqa: BLE001 (raised again by `_run`)
                self._error = error
            # Work in a callback of other work, whose handler has kept what was raised, ends too.
            outer = getattr(handlers[number], "watch", None)
            if outer is not None and outer._error is not None:
                self._error = outer._error

        keep.watch = self
        try:
            for number in handlers:
                signal.signal(number, keep)
            result = self._run(work)
        finally:
            for number, handler in handlers.items():
                # What a handler or a callback has put there stays.
                if signal.getsignal(number) is keep:
                    signal.signal(number, handler)
        # What came between the end of the work and the last line.
        if self._error is not None:
            raise self._error
        return result

    def _run(self, work: Callable[[], Any]) -> Any:
        try:
            result = work()
        except CancelledError:
            if self._error is None:
                raise
            raise self._error from None
        if self._error is not None:
            raise self._error
        return result


def threads() -> int:
    """Threads of Lacuna's pool, the caller included."""
    return library.lacuna_threads()


def set_threads(count: int) -> None:
    """Sets how many threads Lacuna uses, the caller included."""
    check(library.lacuna_set_threads(whole(count, "threads", 1, (1 << 31) - 1)))
