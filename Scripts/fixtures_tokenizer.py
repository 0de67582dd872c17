"""Writes Tests/LacunaIOTests/Fixtures/tokenizer/: a small byte-level BPE vocabulary learned from WikiText-2's validation
text, in one tokenizer.json for each splitting rule, and what the `tokenizers` package makes of nasty strings with each.

Needs: pip install tokenizers (made with tokenizers 0.23)
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).parent.parent
OUT = ROOT / "Tests/LacunaIOTests/Fixtures/tokenizer"
OUT.mkdir(parents=True, exist_ok=True)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")

bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
RULES = {
    "gpt2": gpt2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
    "llama3": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), bytes_only]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), bytes_only]),
}

TEXTS = [
    "", " ", "  ", "\n", " \n ", "a", " a", "  a", "a ", "a  ", "\ta", "\t\ta", " \ta b",
    "Hello, world! It's 2024; we've 3.14159 and 1,234,567 things.",
    "I'M HE'LL they'RE 'S's'' '' 's ''s x'lly 'Ve 'ſ don’t 'TIS",
    "line one\nline two\r\n\r\n  indented\n\n\n\tTab \n end  \n",
    "spaces   between    words     and trailing   ",
    "!!! ... ??? ?! -- --- *** ### $$$ %%% &&& ((( ))) [[[ ]]] {{{ }}} <<< >>> /// \\\\\\",
    "foo.bar_baz-qux/quux:corge;grault?garply!waldo\n\n#fred\n!\n?\r\n.",
    "Grüße aus Köln, naïve café, Ærøskøbing, ÿ Ā",
    "Привет, мир! Γειά σου Κόσμε שלום עולם مرحبا بالعالم नमस्ते दुनिया",
    "你好，世界！これはテストです。안녕하세요 세계",
    "emoji 🌍🌎🌏 👨‍👩‍👧‍👦 🇩🇪 👍🏽 ☃️ ❤️",
    "e\u0301 cafe\u0301 n\u0303 \u1100\u1161\u11a8 a\u0301\u0323 \u212b \uf900 \u0958",
    "\u00a0nbsp\u00a0\u2003em\u3000wide\u200bzero\u2028ls\u2029ps\u0085nel\u180emvs\ufeffbom\u202fnn",
    "x\u000by\u000cz\u001cfs\u001dgs\u001ers\u001fus\u007fdel\u0000nul\u0080",
    "½ ⅓ ² ³ Ⅷ ⅷ ① ㊿ ٣٤٥ १२३ 𝟘𝟙𝟚 〇一二 1½ a²b 12345678 1 23 456 7890",
    "𝕳𝖊𝖑𝖑𝖔 𐍈 𒀀 \U0010ffff \ue000 \ufffd",
    "if x == 'y' and not(z): return [i**2 for i in range(10)]  # comment",
    "\r\r\n\n\r \r\n \n\r a\r\nb\rc\n \nd\n  e \r f",
    "a" * 300 + " " * 70 + "b" * 65 + "\n" * 40 + "1" * 50 + "!" * 90,
    "<|begin|>Hello<|end|>\n<|begin|><|begin|> <|end|><|en <|begin|>user tool_call  <pad>  x <pad>",
    "ab" * 100 + "the the the thethethe",
    "ʼn ǰ ß ẞ ﬁ ﬀ İ ı K Å Ω",
]


def learn():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = gpt2
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>", "<|begin|>"],
        show_progress=False,
    )
    lines = (ROOT / "Data/wikitext-2/valid.txt").read_text().splitlines(keepends=True)[:400]
    tokenizer.train_from_iterator(lines, trainer)
    return json.loads(tokenizer.to_str())["model"]


model = learn()

expected = {}
for rule, pre_tokenizer in RULES.items():
    ignore_merges = rule == "llama3"
    vocabulary = dict(model["vocab"])
    if rule == "smollm":
        # Real vocabularies, too, lack a few bytes.
        vocabulary["<unused>"] = vocabulary.pop("Ā")
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[tuple(m) for m in model["merges"]], ignore_merges=ignore_merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|end|>", "<|begin|>"])
    tokenizer.add_tokens([AddedToken("tool_call", normalized=True), AddedToken("<pad>", lstrip=True, rstrip=True)])
    if rule == "llama3":
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1", special_tokens=[("<|begin|>", 1)]
            ),
        ])
    # Both spellings of merges occur in the wild.
    document = json.loads(tokenizer.to_str())
    if rule != "gpt2":
        document["model"]["merges"] = [" ".join(m) for m in model["merges"]]
    (OUT / f"{rule}.json").write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    tokenizer = Tokenizer.from_file(str(OUT / f"{rule}.json"))
    cases = []
    for text in TEXTS:
        encoding = tokenizer.encode(text, add_special_tokens=True)
        normalized = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        splits = [normalized[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        cases.append({
            "text": text, "words": splits, "ids": encoding.ids, "plain": plain,
            "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False),
            "skipped": tokenizer.decode(encoding.ids, skip_special_tokens=True),
        })
    expected[rule] = cases
(OUT / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")))
