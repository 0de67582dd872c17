"""Sparse autoencoders: against what the SAELens package computes (stored beside its files), and against what is wrong."""

import gc
import json
import pathlib
import pickle
import shutil
import struct

import numpy as np
import pytest
import scipy.sparse as sp

import lacuna
from lacuna import _library

FIXTURES = pathlib.Path(__file__).parents[2] / "Tests/LacunaDictionaryTests/Fixtures/saelens"
KINDS = [
    "standard", "topk", "topk_rescaled", "abstopk", "jumprelu", "gated", "transcoder", "jumprelu_transcoder",
    "matching_pursuit", "uncentered",
]


def safetensors(path):
    """The float32 tensors of a file, read by hand."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    return {
        name: np.frombuffer(content[8 + size :][slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items() if name != "__metadata__"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_saelens_computes(kind, tmp_path):
    sae = lacuna.SAE.load(FIXTURES / kind)
    expected, weights = safetensors(FIXTURES / kind / "expected.safetensors"), safetensors(
        FIXTURES / kind / "sae_weights.safetensors")
    x = expected["x"]
    code = sae.encode(x)
    assert sp.issparse(code) and code.format == "csr" and code.dtype == np.float32
    assert code.shape == (x.shape[0], sae.d_sae) and x.shape[1] == sae.d_in
    if kind != "topk_rescaled":  # whose features are those of other directions
        np.testing.assert_allclose(code.toarray(), expected["codes"], atol=1e-5)
        for name in ("W_enc", "W_dec", "b_dec", "threshold"):
            if name in weights:
                np.testing.assert_allclose(getattr(sae, name), weights[name], rtol=1e-6)
    for form in (code, code.tocsc(), code.toarray(), code.astype(np.float64), lacuna.SparseMatrix(code)):
        np.testing.assert_allclose(sae.decode(form), expected["y"], atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x.astype(np.float64)), expected["y"], atol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(x[0]), expected["y"][:1], atol=1e-5)
    # The quality is what its numbers say.
    goal = expected["y"] + 0.1 if sae.d_out != sae.d_in else x
    quality = sae.quality(x, targets=goal)
    left = ((goal - expected["y"]) ** 2).sum() / ((goal - goal.mean(axis=0)) ** 2).sum()
    assert quality.unexplained == pytest.approx(left, rel=1e-3, abs=1e-6)
    assert quality.active == pytest.approx((code.toarray() != 0).sum() / x.shape[0])
    np.testing.assert_allclose(quality.density, (code.toarray() != 0).mean(axis=0))
    assert quality.dead == pytest.approx((quality.density == 0).mean())
    # And what is written is read again.
    sae.save(tmp_path / "out")
    again = lacuna.SAE.load(tmp_path / "out")
    np.testing.assert_array_equal(again.reconstruct(x), sae.reconstruct(x))
    assert repr(again) == repr(sae) and again.rule == sae.rule
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sae)).decode(code), sae.decode(code))


def test_any_bytes_of_numbers():
    sae = lacuna.SAE.load(FIXTURES / "topk")
    x = safetensors(FIXTURES / "topk" / "expected.safetensors")["x"]
    place = np.empty(x.nbytes + 16, dtype=np.uint8)
    odd = place[1 + -place.ctypes.data % 8:][: x.nbytes].view(np.float32).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    for form in (odd, x.astype(">f4"), np.asfortranarray(x), x.tolist()):
        np.testing.assert_array_equal(sae.reconstruct(form), sae.reconstruct(x))
    with pytest.raises(TypeError, match="complex"):
        sae.encode(x.astype(complex))


def test_what_it_says_of_itself():
    sae = lacuna.SAE.load(FIXTURES / "topk")
    assert (sae.d_in, sae.d_out, sae.d_sae) == (6, 6, 10) and sae.k == 3 and sae.rule == "topk, k 3"
    assert repr(sae) == "SAE(6, 10 features, topk, k 3)" and sae.threshold is None and sae.b_enc.shape == (10,)
    assert lacuna.SAE.load(FIXTURES / "standard").k is None
    pursuit = lacuna.SAE.load(FIXTURES / "matching_pursuit")
    assert pursuit.W_enc is None and pursuit.b_enc is None


def test_shapes_at_the_edge():
    sae = lacuna.SAE.load(FIXTURES / "jumprelu")
    assert sae.encode(np.empty((0, sae.d_in))).shape == (0, sae.d_sae)
    assert sae.decode(sp.csr_matrix((0, sae.d_sae))).shape == (0, sae.d_out)
    np.testing.assert_allclose(sae.decode(sp.csr_matrix((2, sae.d_sae))), np.stack([sae.b_dec] * 2), rtol=1e-6)
    assert np.isfortran(np.asfortranarray(np.ones((5, sae.d_in))))
    x = np.random.default_rng(0).normal(size=(sae.d_in, 700)).astype(np.float32)
    np.testing.assert_array_equal(sae.encode(x.T).toarray(), sae.encode(x.T.copy()).toarray())
    # A row is encoded by itself.
    np.testing.assert_allclose(sae.encode(x.T[:1]).toarray(), sae.encode(x.T)[[0]].toarray(), rtol=1e-5, atol=1e-6)


def test_what_is_refused(tmp_path):
    sae = lacuna.SAE.load(FIXTURES / "topk")
    for x in (np.ones((3, 7)), np.ones((2, 2, 6)), np.ones(5)):
        with pytest.raises(ValueError, match="for 6 dimensions"):
            sae.encode(x)
    with pytest.raises(ArithmeticError, match="not all finite"):
        sae.encode(np.full((2, 6), np.nan))
    with pytest.raises(ValueError, match="has 9 columns, the dictionary 10 features"):
        sae.decode(sp.csr_matrix((2, 9)))
    with pytest.raises(ValueError, match="2 rows for 3"):
        sae.quality(np.ones((3, 6)), targets=np.ones((2, 6)))
    with pytest.raises(ValueError, match="at least 1"):
        sae.quality(np.ones((0, 6)))
    transcoder = lacuna.SAE.load(FIXTURES / "transcoder")
    if transcoder.d_in != transcoder.d_out:
        with pytest.raises(ValueError, match="something else"):
            transcoder.quality(np.ones((3, transcoder.d_in)))
    with pytest.raises(ValueError, match="'f8' is none of"):
        sae.save(tmp_path / "out", dtype="f8")
    sae.save(tmp_path / "out", dtype="bf16")
    with pytest.raises(OSError, match="out"):
        sae.save(tmp_path / "out")
    sae.save(tmp_path / "out", overwrite=True)
    with pytest.raises(OSError, match="nowhere"):
        lacuna.SAE.load(tmp_path / "nowhere")
    shutil.copytree(FIXTURES / "topk", tmp_path / "broken")
    (tmp_path / "broken/sae_weights.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0" + b"{" * 16)
    with pytest.raises(lacuna.LacunaError, match="sae_weights"):
        lacuna.SAE.load(tmp_path / "broken")
    with pytest.raises(ValueError, match="is no number of a dictionary"):
        sae._number(b"colour")


def test_nothing_is_left_behind():
    gc.collect()
    before = _library.library.lacuna_object_count()
    sae = lacuna.SAE.load(FIXTURES / "gated")
    code = sae.encode(np.random.default_rng(1).normal(size=(50, sae.d_in)))
    values = code.data.copy()
    del sae
    gc.collect()
    # A code lives as long as what refers to it.
    np.testing.assert_array_equal(code.data, values)
    del code
    gc.collect()
    assert _library.library.lacuna_object_count() == before
