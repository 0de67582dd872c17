#!/usr/bin/env python3
"""Whether a server's memory stays as it is: sends it thousands of requests of all kinds, and looks at its resident memory.

    Scripts/serving/memory.py lacuna-server [--requests 20000] [--clients 4] [--allow 4]

The server is started with a tiny model, so that what it keeps of requests is not lost in what it holds anyway, and with 1 MiB
for what texts begin with (--keep), which it may fill. Its allocator takes some thousands of requests to have seen every size. Fails if it
has grown by more than --allow MiB between the middle and the end.
"""
import argparse
import http.client
import json
import random
import threading
import urllib.parse

from process import memory
from tiny_server import responses, serving, settled

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--requests", type=int, default=20000)
parser.add_argument("--clients", type=int, default=4)
parser.add_argument("--allow", type=float, default=4)
options = parser.parse_args()

WORDS = "the gap that is left out of a sparse model is the lacuna, and what stays is the rest of it".split()


def request(generator):
    """A path, a body, and whether the client leaves before the answer is complete."""
    text = " ".join(generator.choice(WORDS) for _ in range(generator.randint(1, 30)))
    tokens = {"max_tokens": generator.randint(1, 24), "temperature": generator.choice([0, 1]), "ignore_eos": True}
    kind = generator.random()
    if kind < 0.3:
        return "/v1/completions", {"prompt": text, **tokens, "logprobs": generator.choice([None, 2]), "echo": generator.random() < 0.3}, False
    if kind < 0.45:
        return "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **tokens}, False
    if kind < 0.55:
        return "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": 40,
                                        "response_format": {"type": "json_object"}}, False
    if kind < 0.7:
        return "/v1/completions", {"prompt": [text, text + " more"], **tokens, "stream": True, "n": 2}, False
    if kind < 0.75:
        return "/v1/completions", {"prompt": text, "max_tokens": 200, "ignore_eos": True, "stream": True}, True
    if kind < 0.85:
        return "/tokenize", {"prompt": text, "return_token_strs": True}, False
    if kind < 0.92:
        return "/v1/embeddings", {"input": [text[:40], "flow"]}, False
    return generator.choice([
        ("/v1/completions", {"prompt": text, "max_tokens": -1}, False),
        ("/v1/completions", {"prompt": "x" * 4000, "max_tokens": 4}, False), ("/nowhere", {}, False),
        ("/v1/chat/completions", {"messages": text}, False), ("/v1/completions", {"prompt": text, "colour": "red"}, False)])


class Clients:
    """Several clients that ask until enough has been asked."""

    def __init__(self, url):
        self.place = urllib.parse.urlparse(url)
        self.lock, self.sent, self.wrong = threading.Lock(), 0, []

    def ask(self, seed):
        generator = random.Random(seed)
        while True:
            with self.lock:
                if self.sent >= self.goal or self.wrong:
                    return
                self.sent += 1
            path, body, leaves = request(generator)
            try:
                connection = http.client.HTTPConnection(self.place.hostname, self.place.port, timeout=60)
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                if leaves:
                    response.read(200)
                    connection.sock and connection.sock.close()
                else:
                    response.read()
                connection.close()
                if response.status >= 500:
                    self.wrong.append((path, response.status))
            except Exception as error:  # noqa: BLE001 (told below)
                self.wrong.append((path, repr(error)))

    def run(self, goal, round_):
        self.goal = goal
        threads = [threading.Thread(target=self.ask, args=(round_ * 1000 + i,)) for i in range(options.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


with serving(options.program, "--keep", "1") as (url, process):
    clients, steps, marks = Clients(url), 20, []
    print(f"before: {memory(process) / 2**20:.1f} MiB", flush=True)
    for step in range(1, steps + 1):
        clients.run(options.requests * step // steps, step)
        settled(url)
        marks.append(memory(process) / 2**20)
        print(f"{clients.sent} requests: {marks[-1]:.1f} MiB", flush=True)
        if clients.wrong:
            raise SystemExit(f"failed: {clients.wrong[:5]}")
    print("responses by status:", dict(sorted(responses(url).items())))
grown = marks[-1] - marks[steps // 2 - 1]
print(f"grown by {grown:.1f} MiB from {options.requests // 2} requests to {options.requests}")
if grown > options.allow:
    raise SystemExit(f"memory is not flat: {options.allow} MiB are allowed")
