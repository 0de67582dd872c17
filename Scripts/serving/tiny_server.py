"""A server of a model of a few thousand random weights, whose tokens are single bytes: for scripts that ask it very much."""
import contextlib
import json
import pathlib
import random
import struct
import subprocess
import tempfile
import time

from process import get, running

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
#: An encoder of a few thousand weights, for vectors.
ENCODER = ROOT / "Tests/LacunaRetrieveTests/Fixtures/inference-free/document_0_MLMTransformer"

TEMPLATE = (
    "{% if tools %}{% for t in tools %}{{ t.function.name }}<tool_call>{% endfor %}{% endif %}"
    "{% for m in messages %}{{ '<s>' + m.role[0] + m.content + '<e>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>a' }}{% endif %}"
)


def write_model(directory, hidden=32, inner=64, layers=2, heads=4, groups=2, positions=512):
    """Writes the model into a directory, in the layout of Hugging Face."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    vocabulary, others = {}, 256
    for byte in range(256):
        if byte in printable:
            vocabulary[chr(byte)] = byte
        else:
            vocabulary[chr(others)] = byte
            others += 1
    vocabulary["th"] = 258
    tokenizer = {
        "added_tokens": [{"id": 256, "content": "<s>", "special": True}, {"id": 257, "content": "<e>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h"]},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<e>", "chat_template": TEMPLATE}))
    (directory / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 259, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": groups, "head_dim": hidden // heads, "hidden_act": "silu",
        "max_position_embeddings": positions, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "attention_bias": False, "mlp_bias": False, "eos_token_id": 257,
    }))
    shapes = {"model.embed_tokens.weight": [259, hidden], "lm_head.weight": [259, hidden], "model.norm.weight": [hidden]}
    for layer in range(layers):
        name = f"model.layers.{layer}."
        narrow = hidden // heads * groups
        shapes |= {
            name + "input_layernorm.weight": [hidden], name + "post_attention_layernorm.weight": [hidden],
            name + "self_attn.q_proj.weight": [hidden, hidden], name + "self_attn.k_proj.weight": [narrow, hidden],
            name + "self_attn.v_proj.weight": [narrow, hidden], name + "self_attn.o_proj.weight": [hidden, hidden],
            name + "mlp.gate_proj.weight": [inner, hidden], name + "mlp.up_proj.weight": [inner, hidden],
            name + "mlp.down_proj.weight": [hidden, inner],
        }
    generator, header, content = random.Random(5), {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = [1.0] * count if len(shape) == 1 else [generator.gauss(0, 0.2) for _ in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(content), len(content) + 4 * count]}
        content += struct.pack(f"<{count}f", *numbers)
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)


@contextlib.contextmanager
def serving(program, *arguments):
    """Runs `program` (lacuna-server) with the model, and an encoder, on a free port; gives its address and process."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)
        command = [program, folder, "--name", "tiny", "--embeddings", str(ENCODER), "--port", "0", *arguments]
        with running(command, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            if "http://" not in line:
                raise SystemExit(f"the server did not start: {line}")
            yield line.split(": ", 1)[1].strip(), process


def responses(url):
    """How many responses there were of each status."""
    counts = {}
    for line in get(url, "/metrics").splitlines():
        if line.startswith("lacuna_responses_total{"):
            status = line.split('status="')[1].split('"')[0]
            counts[status] = counts.get(status, 0) + int(float(line.rsplit(" ", 1)[1]))
    return counts


def settled(url, seconds=30):
    """Waits until nothing is computed any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        health = json.loads(get(url, "/health"))
        if health["active"] == 0 and health["queued"] == 0:
            return
        time.sleep(0.05)
    raise SystemExit(f"the server still computes after {seconds} s: {health}")
