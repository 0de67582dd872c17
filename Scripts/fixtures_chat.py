"""Writes Tests/LacunaInferTests/Fixtures/chat/expected.json: what jinja2 makes of the chat templates beside it and of
small templates for single constructs, in the environment that published chat templates are made for (that of the
transformers library: trim_blocks, lstrip_blocks, loop controls, its own tojson).

The templates in that folder are this project's own. They exercise what published ones do: see README.md there.

    python3 Scripts/fixtures_chat.py [--check DIRECTORY]

With --check it writes DIRECTORY/expected.json instead: the same conversations in the templates of published models that are
in that directory, for the test that LACUNA_TEMPLATES=DIRECTORY switches on. The source archive of llama-cpp-python has some
seventy of them.

Needs: pip install jinja2 (made with jinja2 3.1.6)
"""

import argparse
import json
from datetime import datetime
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent.parent / "Tests/LacunaInferTests/Fixtures/chat"
MOMENT = datetime(2025, 3, 9, 16, 5, 7)


class Generation(Extension):
    """Prints what stands between `generation` and `endgeneration`."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: MOMENT.strftime(format)

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather <now> at a place, \"as is\".",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "City, e.g. Köln"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 1, "default": None}, "exact": {"type": "boolean", "default": False},
        "range": {"type": "array", "items": {"type": "number"}, "default": [0.5, 1e-07, 1e22]}},
        "required": ["place"]}, "return": {"type": "string"}}}
CALL = {"id": "call00001", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Köln", "days": 2, "exact": True}}}

CONVERSATIONS = {
    "one": [{"role": "user", "content": "Hi"}],
    "system": [{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": " Why is\nthe sky blue? "}],
    "turns": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": " 2 \n"},
              {"role": "user", "content": "Sure? <|im_end|> 'quoted' \"twice\" Ünïcödé 🌍"},
              {"role": "assistant", "content": "<think>\nHm, yes.\n</think>\n\nYes."},
              {"role": "user", "content": "Danke"}],
    "tools": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in Köln?"},
              {"role": "assistant", "content": "", "tool_calls": [CALL]},
              {"role": "tool", "content": "{\"temperature\": 7.5}", "name": "get_weather", "tool_call_id": "call00001"},
              {"role": "tool", "content": "rain", "name": "get_weather", "tool_call_id": "call00002"},
              {"role": "assistant", "content": "7.5 degrees, rain."}, {"role": "user", "content": "And tomorrow?"}],
    "answered": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image"},
                                           {"type": "text", "text": " what is it?"}]}],
    "reasoned": [{"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Hello!", "reasoning_content": "They greet."},
                 {"role": "user", "content": "Bye"}],
    "wrong": [{"role": "assistant", "content": "I begin."}, {"role": "assistant", "content": "And go on."}],
    "none": [],
}

SETTINGS = [
    {"add_generation_prompt": True}, {"add_generation_prompt": False},
    {"add_generation_prompt": True, "tools": [WEATHER], "enable_thinking": False},
]

# Single constructs, each against the same values.
VALUES = {
    "a": [3, 1, 2], "s": "  Hello, wörld!  ", "n": None, "d": {"b": 1, "a": [1, 2.5], "items": "own"}, "t": True,
    "x": 7, "y": -2, "f": 2.5, "empty": "", "words": ["pear", "Apple", "fig", "apple"],
    "people": [{"name": "Ann", "age": 30, "tags": {"k": 1}}, {"name": "bob", "age": 25}, {"name": "Cy", "age": 30}],
    "text": "one two  three\nfour\r\nfive", "sigma": "ΑΣ ΟΔΟΣ straße",
}
CONSTRUCTS = """
{{ x }} {{ y }} {{ f }} {{ t }} {{ n }} {{ a }} {{ d }} {{ s }} {{ missing }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2.5 * 2 }} {{ 1 + 2 * 3 - 4 }} {{ 6 / 3 }}
{{ -7.5 % 2 }} {{ 7.5 // 2 }} {{ -x ** 2 }} {{ +x }} {{ 1_000 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 0.1 + 0.2 }}
{{ 'a' ~ 1 ~ none ~ 2.0 ~ true }} {{ 'ab' * 3 }} {{ 3 * 'x' }} {{ [1] + [2] }} {{ (1, 2) + (3,) }} {{ 'a' 'b' }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ none == false }}
{{ 1 in a }} {{ 9 not in a }} {{ 'ell' in s }} {{ 'b' in d }} {{ not t }} {{ not (1 in a) }} {{ 1 if t else 2 }} {{ 1 if not t }}
{{ t and 0 }} {{ 0 or 'x' }} {{ missing or 'y' }} {{ (t and x) or y }} {{ not t or t and t }}
{{ a[0] }} {{ a[-1] }} {{ a[9] }} {{ a[1:] }} {{ a[:-1] }} {{ a[::-1] }} {{ s[2:7] }} {{ s[-3:] }} {{ a[5:1] }} {{ s[::-2] }}
{{ d.b }} {{ d['a'] }} {{ d.a[1] }} {{ d['items'] }} {{ d.nothing }} {{ people[0].tags.k }} {{ a.0 }}
{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ s.strip(' !') }}|{{ s.upper() }}|{{ s.lower() }}|{{ s.title() }}
{{ 'hELLO wORLD'.capitalize() }} {{ sigma.lower() }} {{ sigma.upper() }} {{ 'ab-cd ef'.title() }} {{ 'they\\'re bill\\'s'.title() }}
{{ text.split() }} {{ text.split(' ') }} {{ text.split('o', 1) }} {{ text.split(none, 1) }} {{ text.splitlines() }} {{ text.splitlines(true) }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.rsplit(',', 1) }} {{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'ab'.replace('', '.') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('z') }} {{ 'aaa'.count('a') }}
{{ ','.join(words) }} {{ 'x-y-z'.partition('-') }} {{ 'x-y-z'.rpartition('-') }} {{ 'xyz'.partition('-') }} {{ 'prefix-a'.removeprefix('prefix-') }} {{ 'a.py'.removesuffix('.py') }}
{{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \\n'.isspace() }} {{ 'AB1'.isupper() }} {{ 'ab1'.islower() }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('b') }} {{ d.get('z') }} {{ d.get('z', 5) }}
{{ s | trim }}|{{ s | trim(' !') }}|{{ s | length }}|{{ a | length }}|{{ d | count }}|{{ s | upper }}|{{ s | lower }}|{{ 'foo bar-baz (qux' | title }}|{{ 'fOO' | capitalize }}
{{ 'a' | replace('a', 'b') }} {{ words | join(', ') }} {{ people | join('; ', attribute='name') }} {{ a | first }} {{ a | last }} {{ [] | first }} {{ 'xy' | last }}
{{ missing | default('z') }} {{ empty | default('z') }}| {{ empty | default('z', true) }} {{ n | d('q') }} {{ x | default(1) }}
{{ '42' | int }} {{ 'z' | int }} {{ 'z' | int(-1) }} {{ 3.9 | int }} {{ ' 3.7 ' | int }} {{ '2.5' | float }} {{ 'q' | float }} {{ 3 | float }} {{ -3 | abs }} {{ 2.567 | round(2, 'floor') }} {{ 2.5 | round }} {{ 3.5 | round }}
{{ a | sort }} {{ words | sort }} {{ words | sort(reverse=true) }} {{ words | sort(case_sensitive=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ a | reverse | list }} {{ 'abc' | reverse }}
{{ words | unique | list }} {{ a | sum }} {{ people | sum(attribute='age') }} {{ a | min }} {{ a | max }} {{ words | max }} {{ d | dictsort }} {{ people[0] | items | list }}
{{ people | selectattr('age', 'equalto', 30) | map(attribute='name') | join(',') }} {{ people | rejectattr('tags') | list | length }} {{ a | select('gt', 1) | list }} {{ a | reject('odd') | list }} {{ people | selectattr('tags', 'defined') | list | length }}
{{ words | map('upper') | list }} {{ words | map('replace', 'p', 'b') | join(' ') }} {{ people | map(attribute='tags', default='-') | list }} {{ people[:1] | map(attribute='tags.k') | list }}
{{ a | tojson }} {{ d | tojson }} {{ d | tojson(indent=2) }} {{ {'k': 'ä"\\\\\\n', 'e': {}, 'l': []} | tojson(indent=4) }} {{ 'ä' | tojson(ensure_ascii=true) }} {{ d | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}
{{ [1, 2.0, true, none, 'x'] | tojson }} {{ [0.1, 1e-07, 1e+22, 100.0] | tojson }} {{ '🌍' | tojson(ensure_ascii=true) }} {{ '\\x7f\\u2028' | tojson }}
{{ 'a\\nb\\n\\nc' | indent }} {{ 'a\\nb' | indent(2, true) }} {{ 'a\\n\\nb\\n' | indent(1, blank=true) }}| {{ 'a\\nb' | indent('>') }}
{{ x | string | length }} {{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 0) | list }} {{ '<a href="x">&' | e }} {{ '<b>' | safe }} {{ 'abc' | list }} {{ people[0] | attr('age') }}
{{ x is odd }} {{ x is even }} {{ x is divisibleby 7 }} {{ x is divisibleby(2) }} {{ x is number }} {{ x is integer }} {{ f is float }} {{ t is boolean }} {{ t is true }} {{ t is integer }} {{ t is number }}
{{ s is string }} {{ d is mapping }} {{ a is sequence }} {{ s is iterable }} {{ s is sequence }} {{ n is none }} {{ missing is defined }} {{ missing is undefined }} {{ x is not none }} {{ x is eq 7 }} {{ x is in [7, 8] }} {{ n is sameas none }}
{{ 'a' is lower }} {{ 'A' is upper }} {{ raise_exception is callable }} {{ x is gt(5) }} {{ d is not mapping }} {{ missing is none }} {{ missing is iterable }}
{{ "it's" }} {{ ['it\\'s', 'say "x"', 'both \\'"', 'tab\\t', 'é\\u200b'] }} {{ {1: 'a', 'k': none, true: 2.0} }} {{ (1,) }} {{ () }} {{ [[]] }}
{{ namespace(a=1).a }} {{ dict(a=1, b='x') }} {{ range(3) | list }} {{ range(2, 8, 3) | list }} {{ range(3, 0, -1) | list }}
{{ strftime_now('%Y-%m-%d %d %b %Y %B %A %a %H:%M:%S %I %p %j %y %e %% %-d') }}
""".strip().split("\n") + [
    "{% for i in a %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}{% for i in missing %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for (k, v) in [(1, 2)] %}{{ k + v }}{% endfor %}",
    "{% for i in a if i > 1 %}{{ loop.index0 }}{{ i }}{{ loop.first }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in a %}{{ loop.cycle('x', 'y') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(i > 1) }}{{ loop.depth }}{% endfor %}",
    "{% set v = 1 %}{% for i in a %}{% set v = v + i %}{{ v }} {% endfor %}{{ v }}",
    "{% set ns = namespace(v=0, w='') %}{% for i in a %}{% set ns.v = ns.v + i %}{% set ns.w = ns.w ~ i %}{% endfor %}{{ ns.v }}{{ ns.w }}",
    "{% if false %}{% set z = 1 %}{% else %}{% set z = 2 %}{% endif %}{{ z }}{% set p, q = 1, 2 %}{{ p }}{{ q }}",
    "{% set b %}  x{{ x }} {% endset %}[{{ b }}]{% set c | trim | upper %} abc {% endset %}[{{ c }}]",
    "{% macro m(a, b=2, c='z') %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(c=1, a='q') }}{{ m() }}{{ m(1) | length }}",
    "{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(3) }}{% set g = 5 %}{% macro s() %}{{ g }}{% endmacro %}{{ s() }}",
    "{% with q = 1, w = x %}{{ q + w }}{% endwith %}{{ q }}{% filter upper %}abc{{ x }}{% endfilter %}",
    "{% raw %}{{ x }} {% if %}{% endraw %}|{%- raw -%}  {{ y }} {%- endraw -%}  |",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n\n",
    "a {# comment #} b\n  {# alone #}\nc {#- tight -#} d", "  {{ x }}  \n  {{- x -}}  \n  {{ x }}\n",
    "{% if true +%}\n  x\n{% endif %}\n  {%+ if true %}y{% endif %}", "x{% if true %}\n\n  y{% endif %}\n z",
    "\t{% for i in a -%}\n {{ i }}\n{%- endfor %}\n\n", "{{ {'a': {'b': 1}} }}{{ {'a': {}}['a'] }}", "\r\na\r\nb\r\n",
    "{% generation %}\n a\n{% endgeneration %}\nb", "{% for i in a %}\n{{ i }}\n{% endfor %}",
    "{{ '\\u00e9\\x41\\\\ \\'' }}{{ \"\\\"\" }}{{ '\\d' }}", "{{ [\n 1,\n 2,\n] }}{{ (1,\n2) }}",
    "{% if x is defined and x == 7 and n is none or missing %}y{% elif t %}n{% endif %}",
    "{{ missing.attribute }}", "{{ missing['a'] }}", "{{ 1 + 'a' }}", "{{ d.b.c.d }}", "{{ raise_exception('no: ' ~ x) }}",
    "{{ nothing() }}", "{{ 1 / 0 }}", "{{ 'a' < 1 }}", "{% for i in x %}{% endfor %}",
]


def render(source, values):
    try:
        return {"text": environment.from_string(source).render(**values)}
    except Exception as error:  # noqa: BLE001
        return {"error": str(error)}



parser = argparse.ArgumentParser()
parser.add_argument("--check", type=Path)
folder = parser.parse_args().check
cases = []
for path in sorted((folder or FOLDER).glob("*.jinja")):
    for name, messages in CONVERSATIONS.items():
        for setting in SETTINGS:
            values = {"messages": messages, "tools": None, "documents": None, **setting,
                      "bos_token": "<s>", "eos_token": "</s>"}
            cases.append({"template": path.name, "conversation": name, "setting": setting,
                          **render(path.read_text(), values)})
result = {"conversations": CONVERSATIONS, "cases": cases}
if not folder:
    result |= {"values": VALUES, "constructs": [{"source": source, **render(source, VALUES)} for source in CONSTRUCTS]}
((folder or FOLDER) / "expected.json").write_text(json.dumps(result, ensure_ascii=False, indent=1))
print(len(cases), "conversations,", sum("error" in c for c in cases), "of them refused")
