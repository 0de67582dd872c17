"""Writes Tests/LacunaIOTests/Fixtures/tokenizer-batches.json: a small tokenizer, ways of cutting and filling up texts, and what the
`tokenizers` package makes of batches by each.

    python3 Scripts/fixtures_tokenizer_batches.py Tests/LacunaIOTests/Fixtures

Needs: pip install tokenizers (made with 0.23.3).
"""

import itertools
import json
import pathlib
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [chr(97 + i) for i in range(16)]
BATCHES = [
    [["a b c d e f g h i", None], ["a", None], ["", None]],
    [["a b c", "d e f g h"], ["a b c d e f", "g"], ["a b c d e f g", "h i j k l m n o"], ["a", "b"]],
]


def make(truncation, padding):
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    if truncation:
        tokenizer.enable_truncation(**truncation)
    if padding is not None:
        tokenizer.enable_padding(**padding)
    return tokenizer


truncations = [None] + [
    dict(max_length=length, strategy=strategy, direction=direction)
    for length, strategy, direction in itertools.product(
        [4, 7, 8, 12], ["longest_first", "only_first", "only_second"], ["right", "left"])
]
paddings = [
    None, {}, dict(length=10), dict(pad_to_multiple_of=8, direction="left", pad_id=1, pad_type_id=2, pad_token="[UNK]"),
]
cases = []
for truncation, padding in itertools.product(truncations, paddings):
    tokenizer = make(truncation, padding)
    own = json.loads(tokenizer.to_str())
    for index, batch in enumerate(BATCHES):
        try:
            found = tokenizer.encode_batch([(a, b) if b is not None else a for a, b in batch])
            result = [[e.ids, e.type_ids, e.attention_mask] for e in found]
        except Exception:
            result = None
        cases.append({"truncation": own["truncation"], "padding": own["padding"], "batch": index, "expected": result})
base = json.loads(make(None, None).to_str())
path = pathlib.Path(sys.argv[1]) / "tokenizer-batches.json"
path.write_text(json.dumps({"tokenizer": base, "batches": BATCHES, "cases": cases}, separators=(",", ":")) + "\n")
