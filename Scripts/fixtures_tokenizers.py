"""Writes Tests/LacunaIOTests/Fixtures/tokenizers/: one tokenizer.json for each kind of tokenizer, learned here from
WikiText-2, and what the `tokenizers` package makes of 10,000 nasty strings with each.

For every kind NAME there are NAME.json.gz and NAME.expected.gz. The latter holds, for every string, two folded 32-bit
hashes (64-bit FNV-1a): of its ids, and of three things one after the other: the ids as plain text without special tokens,
the UTF-8 of what the ids decode to, and of what they decode to without special tokens, each after its length in bytes.
Ids are hashed as 32-bit little-endian numbers. strings.gz holds the strings, each after its length in bytes.

Real tokenizers, which are not stored, are checked the same way: `--check FILE.json OUT` writes OUT.expected.gz.

Needs: pip install tokenizers sentencepiece protobuf (made with tokenizers 0.23.3, sentencepiece 0.2.3)
"""

import base64
import gzip
import json
import random
import struct
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).parent.parent
OUT = ROOT / "Tests/LacunaIOTests/Fixtures/tokenizers"
LINES = (ROOT / "Data/wikitext-2/valid.txt").read_text().splitlines(keepends=True)
COUNT = 10_000


# Strings


def alphabet():
    """Characters of every kind, all planes, with what is special to somebody."""
    special = (
        " \t\n\r\v\f\0\x1c\x1f\x7f\x85\xa0\u1680\u180e\u2000\u2009\u200b\u200c\u200d\u200e\u2028\u2029\u202f\u205f"
        "\u2060\u3000\ufeff\ufffd\uffff\u2581Ġĉ▁'’ſKİıßẞﬁﬀŉǰ½²Ⅷ①٣१𝟘一〇々が゙ガ한각\u1100\u1161\u11a8\u0301\u0323\u0308"
        "éèñÅÅΩΣςστЙйאַتمनि์ำ龥豈𠀀𪛖\U0001f468\u200d\U0001f469\U0001f3fd\U0001f1e9\U0001f1ea☃️❤️#️⃣"
    )
    return list(special)


SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "<|end|>", "<l>", "<r>", "<lr>",
            "cat", "foo", "foobar", "é?", "Tool", "<0x41>", "<0xE2>", "##a"]


def assigned(generator):
    """A character that Unicode knows, or nearly: planes 0, 1 and 2, a few of the others."""
    while True:
        plane = generator.random()
        value = (generator.randrange(0x80, 0x3000) if plane < 0.4 else generator.randrange(0x3000, 0x10000)
                 if plane < 0.6 else generator.randrange(0x10000, 0x20000) if plane < 0.95
                 else generator.randrange(0x20000, 0x110000))
        if not 0xD800 <= value < 0xE000:
            return chr(value)


def strings():
    generator = random.Random(7)
    words = " ".join(LINES).split(" ")
    special = alphabet()
    ascii_characters = [chr(c) for c in range(0x20, 0x7F)]
    result = ["", " ", "  ", "\n", "a", " a", "a ", "a <l>", "<r>\u3000b", "“cat”", "cat—dog", "é?", "e\u0301?",
              "a" * 300 + " " * 70 + "b" * 65 + "\n" * 40 + "1" * 50 + "!" * 90, "the" * 60, "x" * 101, "é" * 101]
    result += ["a" + chr(c) + "b" for c in list(range(0x400)) + [0x1E9E, 0xFB01, 0x212B, 0x1F600]]
    while len(result) < COUNT:
        kind = generator.randrange(8)
        if kind == 0:
            start = generator.randrange(len(words) - 12)
            text = " ".join(words[start:start + generator.randrange(1, 12)])
        elif kind == 1:
            text = "".join(generator.choices(special, k=generator.randrange(1, 12)))
        elif kind == 2:
            text = "".join(assigned(generator) for _ in range(generator.randrange(1, 10)))
        elif kind == 3:
            text = "".join(generator.choices(ascii_characters, k=generator.randrange(1, 24)))
        elif kind == 4:
            text = "".join(generator.choices(" \n\r\t'sdtrevlmaSDTRE0123.!", k=generator.randrange(1, 20)))
        elif kind == 5:
            pieces = SPECIALS + [" ", "  ", "a", "1", "é", "\n", "\u3000", "_", ".", "\u0301", "b\u200d"]
            text = "".join(generator.choices(pieces, k=generator.randrange(1, 9)))
        else:
            text = "".join(
                generator.choice([generator.choice(words), generator.choice(special), assigned(generator), " ",
                                  generator.choice(SPECIALS), generator.choice(words).upper()])
                for _ in range(generator.randrange(1, 10)))
        result.append(text)
    return result


# Kinds

GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def added(normalized=True):
    """Added tokens with every rule."""
    return [
        AddedToken("<l>", lstrip=True, special=True, normalized=False),
        AddedToken("<r>", rstrip=True, special=True, normalized=False),
        AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("cat", single_word=True, normalized=False), AddedToken("foo", normalized=False),
        AddedToken("foobar", single_word=True, normalized=False),
    ] + ([AddedToken("é?", normalized=True), AddedToken("Tool", normalized=True, single_word=True)]
         if normalized else [])


def learn_bytes(size=900, specials=("<|end|>",)):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(specials),
        show_progress=False))
    return tokenizer


def byte_level():
    """Llama 3's splits, whole words, a begin token."""
    tokenizer = learn_bytes()
    document = json.loads(tokenizer.to_str())
    document["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    # Accented characters are bytes to this decoder, so that such added tokens are left out.
    tokenizer.add_tokens(added(normalized=False) + [AddedToken("Tool", normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", pair="<|end|> $A <|end|>:1 $B:1",
        special_tokens=[("<|end|>", tokenizer.token_to_id("<|end|>"))])
    return tokenizer


def byte_level_cased():
    """The expression of GPT-4o, digits, a blank before the text; RoBERTa's surroundings."""
    tokenizer = learn_bytes(700, ("<s>", "</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex(GPT4O), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def sentence_pieces(prefix, name):
    """SentencePiece's byte pairs with byte fallback, as Llama 2 (with a prefix) and Gemma (without) have them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
        limit_alphabet=90, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    document["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(document))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    tokenizer.add_tokens(added())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return tokenizer


def metaspace_pairs():
    """Byte pairs after Metaspace at the front only, unknown characters fused, no bytes to fall back to."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>"], limit_alphabet=80, show_progress=False))
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.normalizer = normalizers.Strip(left=True, right=True)
    tokenizer.add_tokens(added(normalized=False))
    return tokenizer


def suffixed_pairs():
    """Byte pairs with a suffix at the ends of words, lowercase, as CLIP has them, over words and punctuation."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(True)])
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>"], end_of_word_suffix="</w>", limit_alphabet=80,
        show_progress=False))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokenizer.add_tokens(added())
    return tokenizer


def word_pieces(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(LINES, trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=100,
        show_progress=False))
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=lowercase)
    tokenizer.add_tokens(added())
    if lowercase:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    else:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def character_map():
    """The map that SentencePiece compiles for `nmt_nfkc`, which most published models have."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "text").write_text("".join(LINES[:200]))
        sentencepiece.SentencePieceTrainer.train(
            input=f"{folder}/text", model_prefix=f"{folder}/m", vocab_size=200, minloglevel=3,
            hard_vocab_limit=False, normalization_rule_name="nmt_nfkc")
        model = proto.ModelProto()
        model.ParseFromString(Path(f"{folder}/m.model").read_bytes())
        return model.normalizer_spec.precompiled_charsmap


def unigram(fallback):
    """T5's parts without byte fallback; with it, those of newer models."""
    tokenizer = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.normalizer = normalizers.Nmt()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    specials = ["<pad>", "</s>", "<unk>"] + ([f"<0x{b:02X}>" for b in range(256)] if fallback else [])
    tokenizer.train_from_iterator(LINES, trainers.UnigramTrainer(
        vocab_size=1000, special_tokens=specials, unk_token="<unk>", show_progress=False))
    document = json.loads(tokenizer.to_str())
    document["model"]["byte_fallback"] = fallback
    document["added_tokens"] = document["added_tokens"][:3]
    map_ = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(character_map()).decode()}
    if fallback:
        document["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}, {"type": "NFKD"},
            {"type": "StripAccents"}]}
        document["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    else:
        document["normalizer"] = map_
    tokenizer = Tokenizer.from_str(json.dumps(document))
    if fallback:
        tokenizer.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="first")])
    else:
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_tokens(added())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return tokenizer


KINDS = {
    "byte-level": byte_level, "byte-level-cased": byte_level_cased,
    "sentencepiece": lambda: sentence_pieces(True, "llama"), "sentencepiece-bare": lambda: sentence_pieces(False, "gemma"),
    "metaspace-pairs": metaspace_pairs, "suffixed-pairs": suffixed_pairs, "wordpiece": lambda: word_pieces(True),
    "wordpiece-cased": lambda: word_pieces(False), "unigram": lambda: unigram(False),
    "unigram-bytes": lambda: unigram(True),
}


# Results


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return (value ^ value >> 32) & 0xFFFFFFFF


def numbers(ids):
    return struct.pack(f"<{len(ids)}I", *ids)


def expect(tokenizer, texts):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    result = bytearray()
    unigram = json.loads(tokenizer.to_str())["model"]["type"] == "Unigram"
    specials = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
    for text in texts:
        ids = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = True
        # Special tokens in plain text are pieces to a unigram model of the package, which is a way to smuggle them in.
        plain = [] if unigram and any(s in text for s in specials) else tokenizer.encode(
            text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        rest = (numbers(plain), tokenizer.decode(ids, skip_special_tokens=False).encode(),
                tokenizer.decode(ids, skip_special_tokens=True).encode())
        result += struct.pack("<II", fnv(numbers(ids)), fnv(b"".join(struct.pack("<I", len(r)) + r for r in rest)))
    return bytes(result)


def pack(path, data):
    path.write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    texts = strings()
    if len(sys.argv) > 1:
        pack(Path(sys.argv[3] + ".expected.gz"), expect(Tokenizer.from_file(sys.argv[2]), texts))
        sys.exit()
    OUT.mkdir(parents=True, exist_ok=True)
    pack(OUT / "strings.gz", b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts))
    for name, make in KINDS.items():
        document = json.loads(make().to_str())
        pack(OUT / f"{name}.json.gz", json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
        pack(OUT / f"{name}.expected.gz", expect(Tokenizer.from_str(json.dumps(document)), texts))
        print(name, (OUT / f"{name}.json.gz").stat().st_size, (OUT / f"{name}.expected.gz").stat().st_size)
