#!/usr/bin/env python3
"""Writes a small task set for lm-evaluation-harness out of the texts in Data/, so that no hub is needed:

  lacuna_pieces  the log-likelihood of pieces of WikiText-2, whole (loglikelihood_rolling)
  lacuna_next    which of four pieces continues a text (multiple choice; the other three are from elsewhere)

    Scripts/serving/harness_task.py DIRECTORY [--pieces 12] [--questions 24]
"""
import argparse
import json
import pathlib
import random

root = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser()
parser.add_argument("directory", type=pathlib.Path)
parser.add_argument("--pieces", type=int, default=12)
parser.add_argument("--questions", type=int, default=24)
options = parser.parse_args()
options.directory.mkdir(parents=True, exist_ok=True)

text = (root / "Data/wikitext-2/test.txt").read_text()
paragraphs = [line.strip() for line in text.split("\n") if len(line) > 400]
random.seed(1)
random.shuffle(paragraphs)


def write(name, rows):
    with open(options.directory / f"{name}.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


write("pieces", [{"text": p} for p in paragraphs[: options.pieces]])
questions = []
chosen = paragraphs[options.pieces : options.pieces + options.questions]
for index, paragraph in enumerate(chosen):
    words = paragraph.split(" ")
    begin, end = " ".join(words[:30]), " ".join(words[30:45])
    others = [" ".join(chosen[(index + k) % len(chosen)].split(" ")[30:45]) for k in (1, 2, 3)]
    gold = random.randrange(4)
    questions.append({"begin": begin, "endings": others[:gold] + [end] + others[gold:], "gold": gold})
write("next", questions)

files = f"""dataset_path: json
dataset_kwargs:
  data_files:
    test: {{file}}
test_split: test
"""
(options.directory / "lacuna_pieces.yaml").write_text(
    "task: lacuna_pieces\noutput_type: loglikelihood_rolling\n"
    + files.format(file=(options.directory / "pieces.jsonl").resolve())
    + """doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
"""
)
(options.directory / "lacuna_next.yaml").write_text(
    "task: lacuna_next\noutput_type: multiple_choice\n"
    + files.format(file=(options.directory / "next.jsonl").resolve())
    + """doc_to_text: "{{begin}}"
doc_to_target: "{{gold}}"
doc_to_choice: "{{endings}}"
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
)
