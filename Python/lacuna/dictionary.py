"""Sparse autoencoders and transcoders: which features a vector is made of."""

from __future__ import annotations

import ctypes
import os
from typing import Any, NamedTuple, Optional, Tuple, Union

import numpy as np

from ._library import Handle, InvalidArgumentError, address, array, check, library, plain, taken, text
from .sparse import SparseMatrix, _is_sparse, _rows

__all__ = ["Quality", "SAE"]


class Quality(NamedTuple):
    """How well a dictionary describes vectors."""

    #: Share of the variance that is not explained.
    unexplained: float
    #: Mean cosine of a vector and what is decoded.
    cosine: float
    #: Active features a vector.
    active: float
    #: Share of the features that are never active.
    dead: float
    #: Share of the vectors in which each feature is active [features].
    density: np.ndarray


class SAE:
    """A sparse autoencoder, or a transcoder. Made by ``SAE.load``.

    Codes are sparse matrices of scipy [vectors, features]; arrays go by SAELens's names.
    """

    def __init__(self, handle: Handle, path: str):
        self._handle = handle
        #: What it was loaded from.
        self.path = path

    @classmethod
    def load(cls, path: Union[str, "os.PathLike[str]"]) -> "SAE":
        """Reads a directory in the layout of SAELens (version 6 or later), as its ``save_model`` and ``lacuna explain`` write
        it: ``cfg.json`` and ``sae_weights.safetensors``."""
        place = os.fsdecode(path)
        return cls(Handle(library.lacuna_dictionary_load, text(place, "path")), place)

    def save(self, path: Union[str, "os.PathLike[str]"], dtype: str = "f32", overwrite: bool = False) -> None:
        """Writes such a directory, with weights of f32, bf16 or f16; it appears whole or not at all."""
        check(library.lacuna_dictionary_save(
            self._handle, text(os.fsdecode(path), "path"), text(dtype, "dtype"), int(overwrite)))

    def __reduce__(self) -> Any:
        return SAE.load, (self.path,)

    def __repr__(self) -> str:
        sizes = f"{self.d_in}" if self.d_in == self.d_out else f"{self.d_in} to {self.d_out}"
        return f"SAE({sizes}, {self.d_sae} features, {self.rule})"

    def _number(self, name: bytes) -> float:
        value = ctypes.c_double()
        check(library.lacuna_dictionary_number(self._handle, name, ctypes.byref(value)))
        return value.value

    def _text(self, name: bytes) -> str:
        place = ctypes.c_void_p()
        check(library.lacuna_dictionary_text(self._handle, name, ctypes.byref(place)))
        return taken(place)

    @property
    def d_in(self) -> int:
        """Dimensions of what is encoded."""
        return int(self._number(b"inputs"))

    @property
    def d_out(self) -> int:
        """Dimensions of what is decoded: those of the input, unless it is a transcoder."""
        return int(self._number(b"outputs"))

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return int(self._number(b"features"))

    @property
    def k(self) -> Optional[int]:
        """Active features a vector that the rule fixes, in each or on average; None if a penalty decided."""
        value = self._number(b"active")
        return None if np.isnan(value) else int(value)

    @property
    def rule(self) -> str:
        """Which features become active, such as ``topk, k 32``."""
        return self._text(b"rule")

    @property
    def model(self) -> str:
        """The model that it was trained on; "" where the files do not say."""
        return self._text(b"model")

    @property
    def site(self) -> str:
        """Which of the model's activations it was trained on; "" where the files do not say."""
        return self._text(b"site")

    def _array(self, name: bytes, shape: Tuple[int, ...]) -> Optional[np.ndarray]:
        found = array(library.lacuna_dictionary_array, self._handle, name)
        return found.reshape(shape) if found.size else None

    @property
    def W_enc(self) -> Optional[np.ndarray]:
        """Encoder [d_in, d_sae]; None for matching pursuit, which has none."""
        return self._array(b"W_enc", (self.d_in, self.d_sae))

    @property
    def b_enc(self) -> Optional[np.ndarray]:
        """Bias of the encoder, or of the gate of a gated one [d_sae]; None for matching pursuit."""
        return self._array(b"b_enc", (-1,))

    @property
    def W_dec(self) -> np.ndarray:
        """Decoder [d_sae, d_out]: the direction of a feature a row."""
        return array(library.lacuna_dictionary_array, self._handle, b"W_dec").reshape(self.d_sae, self.d_out)

    @property
    def b_dec(self) -> np.ndarray:
        """Bias of the decoder [d_out]."""
        return array(library.lacuna_dictionary_array, self._handle, b"b_dec")

    @property
    def threshold(self) -> Optional[np.ndarray]:
        """Thresholds [d_sae], or one for all features; None for rules without."""
        return self._array(b"threshold", (-1,))

    def _inputs(self, values: Any, columns: int, name: str) -> np.ndarray:
        values = plain(values, np.float32)
        if values.ndim == 1:
            values = values[np.newaxis]
        if values.ndim != 2 or values.shape[1] != columns:
            raise InvalidArgumentError(f"{name}: of shape {values.shape} for {columns} dimensions")
        return values

    def encode(self, x: Any) -> Any:
        """Which features are active in each row of ``x`` [rows, d_in], and how strongly: a CSR array [rows, d_sae].

        Each row is encoded by itself, whatever the rule looked at in training.
        """
        x = self._inputs(x, self.d_in, "x")
        handle = Handle(library.lacuna_dictionary_encode, self._handle, address(x), x.shape[0])
        return SparseMatrix._owning(handle, True).to_scipy()

    def decode(self, code: Any) -> np.ndarray:
        """The vectors that codes [rows, d_sae] stand for: [rows, d_out]. Codes are sparse matrices, or dense arrays."""
        if not isinstance(code, SparseMatrix) and not _is_sparse(code):
            import scipy.sparse

            code = scipy.sparse.csr_matrix(np.atleast_2d(np.asarray(code, dtype=np.float32)))
        rows = _rows(code, np.dtype(np.float32))
        return array(library.lacuna_dictionary_decode, self._handle, rows._handle).reshape(rows.shape[0], self.d_out)

    def reconstruct(self, x: Any) -> np.ndarray:
        """What is left of vectors after encoding and decoding: [rows, d_out]."""
        return self.decode(self.encode(x))

    def quality(self, x: Any, targets: Optional[Any] = None) -> Quality:
        """How well the rows of ``x`` are described. ``targets`` [rows, d_out] are what a transcoder is to give."""
        x = self._inputs(x, self.d_in, "x")
        goal = None
        if targets is not None:
            goal = self._inputs(targets, self.d_out, "targets")
            if goal.shape[0] != x.shape[0]:
                raise InvalidArgumentError(f"targets: {goal.shape[0]} rows for {x.shape[0]} of x")
        numbers = array(
            library.lacuna_dictionary_quality, self._handle, address(x), None if goal is None else address(goal),
            x.shape[0])
        return Quality(*numbers[:4].tolist(), numbers[4:])
