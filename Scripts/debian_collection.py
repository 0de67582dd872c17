#!/usr/bin/env python3
"""Makes a judged collection of the descriptions of Debian's packages, in the layout of BEIR.

    Scripts/debian_collection.py DIRECTORY [QUERIES]

A document is a package: its name and short description as title, its long description as text, and section, priority and tags as
metadata. A query is two or three facets that people have tagged packages with, in words ("playing, audio"); what has all of these
tags is relevant, with grade 2, and what lacks the last of three is relevant with grade 1. Queries have 5 to 200 relevant packages, and
are drawn with seed 1, 300 of them unless QUERIES says otherwise. Packages without tags are documents nobody can have judged: they
stay in the collection, as in a pooled one.

Needs a Debian system. The package lists with long descriptions are fetched by apt into DIRECTORY/apt, so that those of the system stay
as they are."""
import collections, json, os, random, re, subprocess, sys

FACETS = {"use", "works-with", "works-with-format", "field", "game", "sound", "web", "network", "security", "hardware", "mail",
          "protocol", "science", "biology", "junior", "office", "devel", "admin", "x11", "accessibility"}
LEAST, MOST = 5, 200


def lists(place):
    """The packages that apt knows, with their long descriptions, from lists of its own."""
    folders = {"Dir::State": f"{place}/state", "Dir::State::lists": f"{place}/lists", "Dir::Cache": f"{place}/cache",
               "Dir::State::status": f"{place}/status"}
    for folder in (f"{place}/state", f"{place}/lists/partial", f"{place}/cache/archives/partial"):
        os.makedirs(folder, exist_ok=True)
    open(f"{place}/status", "a").close()
    settings = [f"-o{key}={value}" for key, value in folders.items()] + ["-oAcquire::Languages=en", "-oAPT::Sandbox::User=root"]
    if not any(name.endswith("Packages") or "Packages." in name for name in os.listdir(f"{place}/lists")):
        subprocess.run(["apt-get", *settings, "update", "-qq"], check=True)
    def content(kind):
        for name in sorted(os.listdir(f"{place}/lists")):
            if kind in name and os.path.isfile(f"{place}/lists/{name}"):
                yield subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", f"{place}/lists/{name}"], capture_output=True, text=True,
                                     check=True).stdout
    # Long descriptions stand in files of their own, found by a sum of what they describe.
    long = {}
    for text in content("Translation-en"):
        for part in text.split("\n\n"):
            fields = stanza(part)
            long[fields.get("Description-md5")] = fields.get("Description-en")
    for text in content("_Packages"):
        for part in text.split("\n\n"):
            fields = stanza(part)
            fields["Description"] = long.get(fields.get("Description-md5")) or fields.get("Description")
            yield fields


def stanza(text):
    """The fields of a package; lines that begin with a blank continue the one before."""
    fields, last = {}, None
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            if last:
                fields[last] += "\n" + line[1:]
        elif ":" in line:
            last, value = line.split(":", 1)
            fields[last] = value.strip()
    return fields


def words(tag):
    return re.sub(r"[^a-z0-9+]+", " ", tag.split("::", 1)[1].lower()).strip()


directory = sys.argv[1]
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 300
os.makedirs(f"{directory}/qrels", exist_ok=True)
packages = {}
for fields in lists(os.path.abspath(f"{directory}/apt")):
    if "Package" not in fields or not fields["Description"] or fields["Package"] in packages:
        continue
    short, _, long = fields["Description"].partition("\n")
    paragraphs = "\n".join("" if line.strip() == "." else line for line in long.split("\n"))
    tags = [t.strip() for t in re.sub(r"\s+", " ", fields.get("Tag", "")).split(",") if "::" in t]
    packages[fields["Package"]] = (short, paragraphs, fields.get("Section", ""), fields.get("Priority", ""), tags)
names = sorted(packages)
with open(f"{directory}/corpus.jsonl", "w") as f:
    for name in names:
        short, long, section, priority, tags = packages[name]
        metadata = {"section": section, "priority": priority}
        if tags:
            metadata["tags"] = tags
        f.write(json.dumps({"_id": name, "title": f"{name}: {short}", "text": long, "metadata": metadata}) + "\n")

having = collections.defaultdict(set)
for name in names:
    for tag in packages[name][4]:
        # Names that facets leave open say nothing.
        if tag.split("::")[0] in FACETS and "TODO" not in tag:
            having[tag].add(name)
rng = random.Random(1)
chosen, texts, tries = {}, set(), 0
tags = sorted(tag for tag, members in having.items() if len(members) >= LEAST)
while len(chosen) < wanted and tries < 1000 * wanted:
    tries += 1
    # Tags of one package, so that they go together.
    name = rng.choice(names)
    own = sorted(tag for tag in packages[name][4] if tag in having)
    if len(own) < 2:
        continue
    pick = rng.sample(own, min(len(own), rng.choice((2, 2, 3))))
    if len({tag.split("::")[0] for tag in pick}) < 2 or len({words(tag) for tag in pick}) < len(pick):
        continue
    full = set.intersection(*(having[tag] for tag in pick))
    part = set.intersection(*(having[tag] for tag in pick[:2])) if len(pick) == 3 else set()
    text = ", ".join(words(tag) for tag in pick)
    if LEAST <= len(full | part) <= MOST and text not in texts:
        texts.add(text)
        chosen[f"q{len(chosen) + 1}"] = (text, full, part - full)
with open(f"{directory}/queries.jsonl", "w") as f:
    for key, (text, _, _) in chosen.items():
        f.write(json.dumps({"_id": key, "text": text}) + "\n")
with open(f"{directory}/qrels/test.tsv", "w") as f:
    f.write("query-id\tcorpus-id\tscore\n")
    for key, (_, full, part) in chosen.items():
        for grade, members in ((2, full), (1, part)):
            f.writelines(f"{key}\t{name}\t{grade}\n" for name in sorted(members))
print(f"{directory}: {len(names)} packages, {sum(bool(p[4]) for p in packages.values())} with tags, {len(chosen)} queries, "
      f"{sum(len(a) + len(b) for _, a, b in chosen.values())} relevant")
