#!/usr/bin/env python3
"""Lacuna's server beside llama.cpp's, with the same file: time to the first token, tokens per second of one client and of several.

    Scripts/serving/compare.py MODEL.gguf [--type q8_0] [--weights int8] [--server LACUNA_SERVER] [--peer LLAMA_SERVER | none]

`make server-compare` runs it. The peer is built by peers_llama.sh where it is not named. All servers are in memory, and are asked
turn by turn with the same prompts: tokens of WikiText-2, other ones in every round, so that nothing of them is known before.
llama.cpp runs with and without flash attention, and the faster one counts. What is asked of each, in every round:

    one      a client alone
    all      as many clients as there are --streams, at once
    late     a client that comes when all others are writing
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from process import get, memory, processor_seconds, running

ROOT = pathlib.Path(__file__).resolve().parents[2]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--type", choices=["f32", "bf16", "q8_0"], help="the file written again with its matrices in this type")
parser.add_argument("--server", type=pathlib.Path, default=ROOT / ".build/release/lacuna-server")
parser.add_argument("--peer", help="llama-server, or none")
parser.add_argument("--weights", action="append", default=[], help="Lacuna with --weights TYPE too, such as int8; may be repeated")
parser.add_argument("--streams", type=int, default=8)
parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--json", type=pathlib.Path, help="every measurement, to a file")
options = parser.parse_args()
if options.streams < 2 or options.rounds < 1 or options.tokens < 2 or options.prompt < 1:
    parser.error("2 streams, 1 round, 2 tokens and a prompt of 1 are the least")
if options.peer is None:
    options.peer = subprocess.run(
        [ROOT / "Scripts/peers_llama.sh", "llama-server"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
context = options.prompt + options.tokens + 8
if options.type:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    peers = pathlib.Path(os.environ.get("PEERS") or cache / "lacuna/peers")
    written = peers / f"{options.model.stem}.{options.type}.gguf"
    if not written.exists():
        subprocess.run([
            peers / "venv/bin/python", ROOT / "Scripts/peers_convert.py", options.model, written, "--type", options.type],
            check=True)
    options.model = written


class Contestant:
    """A server that runs."""

    def __init__(self, name, process, url):
        self.name, self.process = name, process
        self.place = urllib.parse.urlparse(url)
        self.rounds = []

    def stream(self, prompt, tokens, begun=None):
        """Asks for a text; the times of its pieces from now, and the text. `begun` is set with the first piece."""
        body = {
            "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }
        connection = http.client.HTTPConnection(self.place.hostname, self.place.port, timeout=600)
        start = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{self.name}: {response.status} {response.read().decode()}")
        lines = []
        for line in response:
            if line.startswith(b"data: {"):
                lines.append((time.perf_counter() - start, line))
                if begun:
                    begun.set()
        connection.close()
        # Read afterwards, so that a client takes little while others are written.
        times, text, written = [], "", None
        for moment, line in lines:
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise SystemExit(f"{self.name}: {chunk['error']}")
            for choice in chunk["choices"]:
                if choice["text"]:
                    times.append(moment)
                    text += choice["text"]
            if chunk.get("usage"):
                written = chunk["usage"]["completion_tokens"]
        if written != tokens:
            raise SystemExit(f"{self.name} wrote {written} tokens of {tokens}")
        return {"times": times, "text": text, "start": start}

    def together(self, prompts, tokens, late=None):
        """Asks for texts at once, and for one more when all of them are being written."""
        begun = [threading.Event() for _ in prompts]
        results, failures = [None] * len(prompts), []

        def one(place):
            try:
                results[place] = self.stream(prompts[place], tokens, begun[place])
            except BaseException as error:  # noqa: BLE001 (raised below)
                failures.append(error)
                begun[place].set()

        before, start = processor_seconds(self.process), time.perf_counter()
        threads = [threading.Thread(target=one, args=(place,)) for place in range(len(prompts))]
        for thread in threads:
            thread.start()
        last = None
        if late is not None:
            for event in begun:
                event.wait()
            if not failures:
                last = self.stream(late, 2)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        seconds = time.perf_counter() - start
        return results, seconds, processor_seconds(self.process) - before, last

    def measure(self, prompts):
        alone, seconds, processor, _ = self.together(prompts[:1], options.tokens)
        round_ = {
            "one_first": alone[0]["times"][0],
            "one_rate": (options.tokens - 1) / (alone[0]["times"][-1] - alone[0]["times"][0]),
            "one_processor": processor / options.tokens, "text": alone[0]["text"],
        }
        several, seconds, processor, _ = self.together(prompts[1:1 + options.streams], options.tokens)
        firsts = [answer["times"][0] for answer in several]
        # While all were being written, so without prompts.
        begin = max(answer["start"] + answer["times"][0] for answer in several)
        end = min(answer["start"] + answer["times"][-1] for answer in several)
        written = sum(sum(begin < answer["start"] + t <= end for t in answer["times"]) for answer in several)
        round_ |= {
            "all_first": statistics.median(firsts), "all_last_first": max(firsts),
            "all_rate": written / (end - begin) if end > begin else None,
            "all_whole": options.streams * options.tokens / seconds,
            "all_processor": processor / (options.streams * options.tokens),
        }
        others = prompts[1 + options.streams:2 * options.streams]
        _, _, _, late = self.together(others, options.tokens, late=prompts[2 * options.streams])
        round_["late_first"] = late["times"][0]
        self.rounds.append(round_)


def ready(process, url, name, log):
    """Waits until a server answers."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with {process.returncode}: {log.read_text()[-2000:]}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            get(url, "/health")
            return
        time.sleep(0.1)
    raise SystemExit(f"{name} did not start within 120 s")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def commands():
    """What is run, by name."""
    model, threads = str(options.model), str(options.threads)
    for weights in [None, *options.weights]:
        yield "Lacuna" + (f", {weights}" if weights else ""), [
            str(options.server), model, "--slots", str(options.streams), "--context", str(context), "--threads", threads,
            *(["--weights", weights] if weights else [])]
    if options.peer != "none":
        for attention in ("on", "off"):
            yield f"llama.cpp, flash attention {attention}", [
                options.peer, "--model", model, "--parallel", str(options.streams), "--ctx-size",
                str(context * options.streams), "--threads", threads, "--threads-batch", threads, "--flash-attn", attention,
                # Prompts have nothing in common, so what is kept of them costs it time and gains nothing.
                "--cache-ram", "0", "--no-cache-prompt", "--offline"]


def prompts_of_rounds(contestant):
    """Prompts that have nothing in common, as tokens."""
    text = (ROOT / "Data/wikitext-2/test.txt").read_text()
    request = urllib.request.Request(
        f"http://{contestant.place.netloc}/tokenize", json.dumps({"prompt": text[:3_000_000]}).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        tokens = json.load(response)["tokens"]
    each = 2 * options.streams + 1
    needed = (options.rounds + 1) * each * options.prompt
    if needed > len(tokens):
        raise SystemExit(f"{needed} tokens of prompts are needed, and the text has {len(tokens)}")
    pieces = [tokens[i:i + options.prompt] for i in range(0, needed, options.prompt)]
    return [pieces[i:i + each] for i in range(0, len(pieces), each)]


def processor_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


def median(contestant, key):
    return statistics.median(r[key] for r in contestant.rounds)


with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    contestants = []
    for number, (name, command) in enumerate(commands()):
        port, log = free_port(), folder / f"{number}.log"
        process = stack.enter_context(
            running([*command, "--port", str(port)], stdout=stack.enter_context(log.open("wb")), stderr=subprocess.STDOUT))
        url = f"http://127.0.0.1:{port}"
        ready(process, url, name, log)
        contestants.append(Contestant(name, process, url))
    rounds = prompts_of_rounds(contestants[0])
    print(f"{processor_name()}, {options.threads} threads, load {os.getloadavg()[0]:.1f} before; {options.model.name}, "
          f"prompts of {options.prompt} tokens, answers of {options.tokens}, {options.streams} clients, medians of {options.rounds} rounds")
    for number, prompts in enumerate(rounds):
        # Who is asked first changes from round to round.
        for place in range(len(contestants)):
            contestants[(place + number) % len(contestants)].measure(prompts)
        if number == 0:
            # Memory is touched and threads are started.
            for contestant in contestants:
                contestant.rounds.clear()
        print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
    resident = {contestant.name: memory(contestant.process) for contestant in contestants}

print(f"\n| | first token, alone | of {options.streams} at once, median (last) | of one more while {options.streams - 1} are written "
      f"| tokens/s of one | of {options.streams} while all are written | of {options.streams}, prompts included | times one "
      "| processor ms a token, one (all) | MB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
for contestant in contestants:
    def milliseconds(key):
        return f"{1000 * median(contestant, key):.0f} ms"

    whole = [r["all_rate"] for r in contestant.rounds if r["all_rate"]]
    times = statistics.median(r["all_rate"] / r["one_rate"] for r in contestant.rounds if r["all_rate"]) if whole else None
    print(f"| {contestant.name} | {milliseconds('one_first')} | {milliseconds('all_first')} ({milliseconds('all_last_first')}) "
          f"| {milliseconds('late_first')} | {median(contestant, 'one_rate'):.1f} "
          f"| {f'{statistics.median(whole):.1f}' if whole else '-'} | {median(contestant, 'all_whole'):.1f} "
          f"| {f'{times:.2f}' if times else '-'} "
          f"| {1000 * median(contestant, 'one_processor'):.2f} ({1000 * median(contestant, 'all_processor'):.2f}) "
          f"| {resident[contestant.name] / 1e6:.0f} |")

peers = [contestant for contestant in contestants if contestant.name.startswith("llama.cpp")]
for contestant in contestants:
    if contestant in peers or not peers:
        continue
    # More is better of rates, less of times; against whoever of the peers was better, round by round.
    parts = []
    for title, key, more in (
        ("tokens/s of one", "one_rate", True), (f"tokens/s of {options.streams}, prompts included", "all_whole", True),
        ("first token alone", "one_first", False), (f"of {options.streams}", "all_first", False), ("late", "late_first", False),
    ):
        best = max if more else min
        ratios = [own[key] / best(peer.rounds[i][key] for peer in peers) for i, own in enumerate(contestant.rounds)]
        parts.append(f"{title} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    alike = len(os.path.commonprefix([contestant.rounds[0]["text"], peers[0].rounds[0]["text"]]))
    print(f"\n{contestant.name} over the better llama.cpp: " + ", ".join(parts)
          + f". Their first texts are alike for {alike} characters.")
if options.json:
    options.json.write_text(json.dumps({c.name: {"rounds": c.rounds, "resident": resident[c.name]} for c in contestants}, indent=1))
