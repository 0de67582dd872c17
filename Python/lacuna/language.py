"""Language models on the CPU: dense, pruned, quantised."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, List, Optional, Sequence, Union

import numpy as np

from ._library import (
    Handle, InvalidArgumentError, ProgressFunction, Watch, address, array, check, library, plain, taken, text, whole,
)

__all__ = ["LanguageModel"]


def _tokens(values: Any) -> np.ndarray:
    """Tokens as the library takes them."""
    found = np.asarray(values)
    if found.size == 0:
        return np.empty(0, dtype=np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InvalidArgumentError(f"tokens: a list of whole numbers is needed, not {found.dtype} of shape {found.shape}")
    return plain(found, np.int64)


class LanguageModel:
    """A model that writes and scores text. Made by ``LanguageModel.load``; not to be used by two threads at once."""

    def __init__(self, handle: Handle, path: str):
        self._handle = handle
        #: What it was loaded from.
        self.path = path

    @classmethod
    def load(
        cls, path: Union[str, "os.PathLike[str]"], weights: str = "stored", progress: Optional[ProgressFunction] = None
    ) -> "LanguageModel":
        """Loads a model.

        Parameters
        ----------
        path : a GGUF file, a directory of Hugging Face or of Lacuna, or a name that ``lacuna data`` knows
        weights : stored, f32, bf16, f16, int8 or int4
            The form of the linear layers; as in the file by default.
        progress : called with a task, the units done and their total
        """
        place = os.fsdecode(path)
        watch = Watch(progress)
        return watch.run(
            lambda: cls(
                Handle(
                    library.lacuna_language_model_load, text(place, "path"), text(weights, "weights"), watch.callback,
                    None),
                place))

    def __repr__(self) -> str:
        return f"LanguageModel({self.path!r}, {self.parameters:,} parameters)"

    def _number(self, name: str) -> int:
        value = ctypes.c_double()
        check(library.lacuna_language_model_number(self._handle, name.encode(), ctypes.byref(value)))
        return int(value.value)

    @property
    def vocabulary_size(self) -> int:
        """Tokens that the model knows."""
        return self._number("vocabulary")

    @property
    def maximum_positions(self) -> int:
        """Tokens that a text may have."""
        return self._number("positions")

    @property
    def parameters(self) -> int:
        """Numbers that the model stores."""
        return self._number("parameters")

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that one token reads."""
        return self._number("bytes_per_token")

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files of the model."""
        return self._number("disk_bytes")

    def encode(self, prompt: str, specials: bool = True) -> np.ndarray:
        """The tokens of a text. What looks like a special token is one, unless ``specials`` is false."""
        return array(library.lacuna_language_model_encode, self._handle, text(prompt, "text"), int(specials))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ids = _tokens(tokens)
        place = ctypes.c_void_p()
        check(library.lacuna_language_model_decode(self._handle, address(ids), ids.size, ctypes.byref(place)))
        return taken(place)

    def generate(
        self, prompt: str, max_tokens: int = 256, *, temperature: float = 0.0, top_k: Optional[int] = None,
        top_p: float = 1.0, seed: int = 0, on_text: Optional[Callable[[str], Any]] = None,
    ) -> str:
        """The text after a prompt.

        Parameters
        ----------
        temperature : 0 for the most probable token each time
        top_k, top_p : of how many tokens, and of what share of the probability, one is drawn
        seed : decides every draw
        on_text : called with each piece as it is written; ends the text by returning False
        """
        return self._write(prompt, 0, max_tokens, temperature, top_k, top_p, seed, on_text)

    def chat(
        self, question: str, max_tokens: int = 256, *, temperature: float = 0.0, top_k: Optional[int] = None,
        top_p: float = 1.0, seed: int = 0, on_text: Optional[Callable[[str], Any]] = None,
    ) -> str:
        """The answer to a question, in the form that the model was trained on; see ``generate``."""
        return self._write(question, 1, max_tokens, temperature, top_k, top_p, seed, on_text)

    def _write(
        self, prompt: str, chat: int, max_tokens: int, temperature: float, top_k: Optional[int], top_p: float, seed: int,
        on_text: Optional[Callable[[str], Any]],
    ) -> str:
        limit = 0 if top_k is None else whole(top_k, "top_k", 1)
        most, start = whole(max_tokens, "max_tokens"), whole(seed, "seed", 0, (1 << 64) - 1)
        watch, place = Watch(), ctypes.c_void_p()
        receive = watch.receiver(on_text)
        prompt_bytes = text(prompt, "prompt")

        def work() -> str:
            check(library.lacuna_language_model_generate(
                self._handle, prompt_bytes, chat, most, float(temperature), limit, float(top_p), start, receive, None,
                ctypes.byref(place)))
            return taken(place)

        return watch.run(work)

    def logits(self, tokens: Union[str, Sequence[int]], last: bool = False) -> np.ndarray:
        """Logits after each token of a text or list [tokens, vocabulary], or after the last [vocabulary]."""
        ids = self.encode(tokens) if isinstance(tokens, str) else _tokens(tokens)
        found = array(library.lacuna_language_model_logits, self._handle, address(ids), ids.size, int(last))
        return found if last else found.reshape(ids.size, -1)

    def perplexity(
        self, of: str, window: Optional[int] = None, stride: Optional[int] = None,
        progress: Optional[ProgressFunction] = None,
    ) -> float:
        """How well the model predicts a text, in windows of ``window`` tokens that begin every ``stride``."""
        sizes = [0 if size is None else whole(size, name, 1) for name, size in (("window", window), ("stride", stride))]
        watch, value = Watch(progress), ctypes.c_double()
        content = text(of, "text")

        def work() -> float:
            check(library.lacuna_language_model_perplexity(
                self._handle, content, *sizes, watch.callback, None, ctypes.byref(value), None))
            return value.value

        return watch.run(work)

    @property
    def sparsity(self) -> float:
        """Share of the weights of the linear layers that are left out."""
        value = ctypes.c_double()
        check(library.lacuna_language_model_number(self._handle, b"sparsity", ctypes.byref(value)))
        return value.value

    def prune(
        self, method: str = "wanda", *, sparsity: Optional[float] = None, pattern: Optional[str] = None,
        calibration: Optional[str] = None, sequences: int = 64, sequence_length: int = 512,
        values: Optional[str] = None, seed: int = 0,
        progress: Optional[ProgressFunction] = None,
    ) -> "LanguageModel":
        """Another model with part of the weights of the linear layers left out, stored as what is left.

        Parameters
        ----------
        method : a name that ``lacuna methods`` lists: magnitude, wanda, sparsegpt, dsnot, cfsp, armor ...
        sparsity : share that is left out, 0 to below 1; what the pattern fixes, otherwise a half
        pattern : such as "2:4" or "unstructured:row"; the method's own by default
        calibration : a text, for methods that look at activations
        sequences, sequence_length : how much of it, in tokens
        values : f32, bf16, f16, int8 or int4; what the method stores, otherwise bf16
        seed : decides what is drawn of the text, and by methods that draw
        progress : called with a task, the units done and their total
        """
        start = whole(seed, "seed", 0, (1 << 64) - 1)
        counts = whole(sequences, "sequences", 1), whole(sequence_length, "sequence_length", 1)

        def optional(value: Optional[str], name: str) -> Optional[bytes]:
            return None if value is None else text(value, name)

        watch = Watch(progress)
        arguments = (
            text(method, "method"), optional(pattern, "pattern"), float("nan") if sparsity is None else float(sparsity),
            optional(values, "values"), optional(calibration, "calibration"), *counts, start)
        return watch.run(
            lambda: LanguageModel(
                Handle(library.lacuna_language_model_prune, self._handle, *arguments, watch.callback, None), self.path))

    def save(
        self, path: Union[str, "os.PathLike[str]"], overwrite: bool = False, progress: Optional[ProgressFunction] = None
    ) -> None:
        """Writes the model into a directory that ``load`` reads; it appears whole or not at all."""
        watch, place = Watch(progress), text(os.fsdecode(path), "path")
        watch.run(
            lambda: check(
                library.lacuna_language_model_save(self._handle, place, int(overwrite), watch.callback, None)))
