"""Language models: against each other, and against what is wrong. LACUNA_MODEL names a model; without one it is a tiny one of
random weights, of which what is asked of a model that has learned something is not asked."""

import os
import pathlib
import pickle
import sys

import numpy as np
import pytest

import lacuna

PATH = os.environ.get("LACUNA_MODEL")
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "Scripts/serving"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    if PATH:
        return lacuna.LanguageModel.load(PATH)
    from tiny_server import write_model

    path = tmp_path_factory.mktemp("tiny")
    write_model(path)
    return lacuna.LanguageModel.load(path)


def test_logits_and_text_agree(model):
    prompt = "The capital of France is"
    tokens = model.encode(prompt)
    assert tokens.dtype == np.int64 and model.decode(tokens).endswith(prompt)
    logits = model.logits(prompt)
    assert logits.shape == (tokens.size, model.vocabulary_size) and logits.dtype == np.float32
    np.testing.assert_allclose(model.logits(prompt, last=True), logits[-1], rtol=1e-4, atol=1e-3)
    # Greedy: the most probable token, again and again.
    written, steps = list(tokens), 6
    for _ in range(steps):
        written.append(int(np.argmax(model.logits(written, last=True))))
    assert model.generate(prompt, steps) == model.decode(written[tokens.size:])


def test_no_token_ends_a_text_before_its_end(model):
    # Among the first tokens of a vocabulary of bytes is that of NUL, at which C's texts end.
    end = model.encode(" in the end", specials=False)
    found = model.decode(np.concatenate([np.arange(min(400, model.vocabulary_size)), end]))
    assert found.endswith("in the end") and "\0" not in found


def test_pieces_and_stopping(model):
    pieces = []
    whole = model.generate("One, two, three,", 12, on_text=pieces.append)
    assert "".join(pieces) == whole and len(pieces) > 1
    short = model.generate("One, two, three,", 12, on_text=lambda piece: False)
    assert whole.startswith(short) and len(short) < len(whole)
    with pytest.raises(RuntimeError, match="stop"):
        model.generate("One,", 12, on_text=lambda piece: (_ for _ in ()).throw(RuntimeError("stop")))
    drawn = [model.generate("Once", 10, temperature=1.5, top_k=50, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert model.chat("Say yes.", 4)


def test_perplexity_is_that_of_the_logits(model):
    text = "It is a truth universally acknowledged, that a single man in possession of a good fortune must be in want of a wife."
    tokens = model.encode(text, specials=False)
    logits = model.logits(tokens).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1))[:-1] - logits[np.arange(tokens.size - 1), tokens[1:]]
    assert model.perplexity(text) == pytest.approx(np.exp(losses.mean()), rel=1e-3)
    assert model.perplexity(text, window=8, stride=4) != pytest.approx(model.perplexity(text), rel=1e-3)


def test_pruned_models(model, tmp_path):
    dense = model.bytes_per_token
    half = model.prune("magnitude", sparsity=0.5)
    assert model.sparsity == 0 and half.sparsity == pytest.approx(0.5, abs=1e-3)
    assert half.generate("The capital of France is", 4)
    steps = []
    calibration = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 30
    pairs = model.prune(
        pattern="2:4", calibration=calibration, sequences=4, sequence_length=128, values="int8",
        progress=lambda task, done, total: steps.append(done))
    assert steps and pairs.sparsity == pytest.approx(0.5, abs=1e-6)
    text = "It was the season of light, it was the season of darkness, it was the spring of hope."
    if PATH:
        assert model.perplexity(text) < pairs.perplexity(text) < half.perplexity(text) * 10
    pairs.save(tmp_path / "pairs")
    again = lacuna.LanguageModel.load(tmp_path / "pairs")
    assert again.sparsity == pairs.sparsity and again.perplexity(text) == pytest.approx(pairs.perplexity(text), rel=1e-3)
    assert model.bytes_per_token == dense
    for wrong, arguments in {
        "needs a text": {}, "is not at least 0 and below 1": {"method": "magnitude", "sparsity": 1.5},
        "contradicts": {"method": "magnitude", "pattern": "2:4", "sparsity": 0.7},
        "is none of": {"method": "magnitude", "values": "f99"}, "wandb": {"method": "wandb"},
    }.items():
        with pytest.raises(ValueError, match=wrong):
            model.prune(**arguments)


def test_refusals_with_a_model(model):
    with pytest.raises(ValueError, match="vocabulary"):
        model.logits([10**9])
    with pytest.raises(ValueError, match="are none"):
        model.logits([])
    for wrong in ([1.5], [[1, 2]], 3, ["a"]):
        with pytest.raises(ValueError, match="list of whole numbers"):
            model.logits(wrong)
        with pytest.raises(ValueError, match="list of whole numbers"):
            model.decode(wrong)
    for name in ("max_tokens", "seed", "top_k"):
        for number in (-1, 1 << 64, 2.5):
            with pytest.raises(ValueError, match=name):
                model.generate("a", **{name: number})
    with pytest.raises(TypeError, match="one process"):
        pickle.dumps(model)
    with pytest.raises(ValueError, match="temperature"):
        model.generate("a", 4, temperature=-1)
    with pytest.raises(ValueError, match="top_k"):
        model.generate("a", 4, top_k=0)
    with pytest.raises(ValueError, match="window"):
        model.perplexity("some text", window=10**9)
    with pytest.raises(ValueError, match="NUL"):
        model.generate("a\0b")
    with pytest.raises(TypeError):
        model.encode(5)


def test_what_is_no_model(tmp_path):
    with pytest.raises(lacuna.LacunaError, match="nowhere"):
        lacuna.LanguageModel.load(tmp_path / "nowhere.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(lacuna.LacunaError, match="broken.gguf"):
        lacuna.LanguageModel.load(broken)
    with pytest.raises(ValueError, match="'f99' is none of"):
        lacuna.LanguageModel.load(broken, weights="f99")
