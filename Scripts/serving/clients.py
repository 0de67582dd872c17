#!/usr/bin/env python3
"""Asks a server what the `openai` package's users ask it, and how fast it is with one client and with several.

    Scripts/serving/clients.py URL [--streams 8] [--tokens 128]

Needs the `openai` package. The texts of several clients at once have to be those of one alone.
"""
import argparse
import asyncio
import json
import statistics
import time

import openai

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--streams", type=int, default=8)
parser.add_argument("--tokens", type=int, default=128)
parser.add_argument("--key", default="none")
options = parser.parse_args()

client = openai.OpenAI(base_url=options.url + "/v1", api_key=options.key)
card = client.models.list().data[0]
model = card.id
print(f"model: {model}")

completion = client.completions.create(model=model, prompt="The capital of France is", max_tokens=8, temperature=0)
print(f"completion: {completion.choices[0].text!r} ({completion.choices[0].finish_reason})")

pieces, usage = [], None
for chunk in client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Why is the sky blue? One sentence."}], temperature=0,
    max_completion_tokens=60, stream=True, stream_options={"include_usage": True},
):
    if chunk.usage:
        usage = chunk.usage
    elif chunk.choices[0].delta.content:
        pieces.append(chunk.choices[0].delta.content)
print(f"chat, streamed in {len(pieces)} pieces: {''.join(pieces)!r}")
print(f"usage: {usage.model_dump()}")

chat = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Say yes."}], temperature=0, max_tokens=1, logprobs=True,
    top_logprobs=3,
)
entry = chat.choices[0].logprobs.content[0]
print("logprobs:", [(t.token, round(t.logprob, 3)) for t in entry.top_logprobs])

schema = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20}, "country": {"type": "string", "maxLength": 20},
        "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
    },
    "required": ["city", "country", "continent"], "additionalProperties": False,
}
chat = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": "Where is the Eiffel Tower?"}], temperature=0,
    max_completion_tokens=80,
    response_format={"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": schema}},
)
print("json_schema:", json.loads(chat.choices[0].message.content))

if card.model_extra["lacuna"]["calls_tools"]:
    tools = [{
        "type": "function",
        "function": {
            "name": "get_weather", "description": "The weather in a city.", "strict": True,
            "parameters": {
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                "additionalProperties": False,
            },
        },
    }]
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    for choice in ["auto", "required"]:
        answer = client.chat.completions.create(
            model=model, messages=messages, tools=tools, tool_choice=choice, temperature=0, max_tokens=80)
        message = answer.choices[0].message
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or []]
        print(f"tools, {choice}: {answer.choices[0].finish_reason}, {calls or repr(message.content)}")
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "12 degrees and rain"}]
    answer = client.chat.completions.create(
        model=model, messages=messages, tools=tools, tool_choice="none", temperature=0, max_tokens=60)
    print(f"  and then {answer.choices[0].message.content!r}")

try:
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], service_tier="flex")
except openai.BadRequestError as error:
    print(f"refused: {error.status_code} {error.param}: {error.body['message']}")

questions = [
    "What is a lacuna?", "Name three rivers.", "Why do leaves fall?", "What is 2 + 2?", "Tell me about bees.",
    "How do magnets work?", "What makes bread rise?", "Who was Ada Lovelace?", "What is a glacier?", "Why do cats purr?",
]


async def ask(clients, tokens):
    asking = openai.AsyncOpenAI(base_url=options.url + "/v1", api_key=options.key, max_retries=0, timeout=600)

    async def one(question):
        begin, first, text = time.perf_counter(), None, ""
        stream = await asking.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0, max_completion_tokens=tokens,
            stream=True, extra_body={"ignore_eos": True},
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter() - begin
                text += chunk.choices[0].delta.content
        return first, text

    begin = time.perf_counter()
    answers = await asyncio.gather(*(one(questions[i % len(questions)]) for i in range(clients)))
    return clients * tokens / (time.perf_counter() - begin), answers


async def measure():
    await ask(1, 16)
    alone = []
    rates = []
    for i in range(min(options.streams, len(questions))):
        questions.insert(0, questions.pop(i))
        rate, answers = await ask(1, options.tokens)
        questions.insert(i, questions.pop(0))
        rates.append(rate)
        alone.append(answers[0])
    rate, together = await ask(options.streams, options.tokens)
    same = sum(a[1] == b[1] for a, b in zip(alone, together))
    one = statistics.median(rates)
    print(f"one client: {one:.1f} tokens/s, first token after {1000 * statistics.median(a[0] for a in alone):.0f} ms")
    firsts = sorted(a[0] for a in together)
    print(
        f"{options.streams} clients at once: {rate:.1f} tokens/s ({rate / one:.2f} times), first token after "
        f"{1000 * firsts[0]:.0f} to {1000 * firsts[-1]:.0f} ms; {same} of {len(alone)} texts are those of one alone"
    )


asyncio.run(measure())
