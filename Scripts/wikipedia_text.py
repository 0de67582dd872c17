#!/usr/bin/env python3
"""General text to calibrate and heal language models on: the Wikipedia articles that the Python package gensim tests with, as plain text.

    Scripts/wikipedia_text.py general.txt

pip fetches the package's wheel, of which nothing is installed. The text is its authors', under CC BY-SA 4.0.
"""

import bz2
import hashlib
import html
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
import zipfile

PACKAGE = "gensim==4.4.0"
MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"


def without_nested(text: str, opening: str, closing: str) -> str:
    """The text without what stands between brackets, which may be nested."""
    kept, depth, place = [], 0, 0
    for found in re.finditer(re.escape(opening) + "|" + re.escape(closing), text):
        if depth == 0:
            kept.append(text[place:found.start()])
        depth = max(0, depth + (1 if found.group() == opening else -1))
        place = found.end()
    if depth == 0:
        kept.append(text[place:])
    return "".join(kept)


def plain(markup: str) -> str:
    """What a reader of the article sees of its paragraphs."""
    text = re.sub(r"<!--.*?-->", "", markup, flags=re.S)
    text = re.sub(r"<(ref|math|gallery|timeline|code|pre|score)\b[^>]*/>", "", text)
    text = re.sub(r"<(ref|math|gallery|timeline|code|pre|score)\b.*?</\1\s*>", "", text, flags=re.S | re.I)
    text = without_nested(without_nested(text, "{{", "}}"), "{|", "|}")
    text = re.sub(r"\[\[(?:File|Image|Category|[a-z-]{2,12}):(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]", "", text)
    text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?://\S+\s*([^\]]*)\]", r"\1", text)
    text = re.sub(r"<[^>]+>", "", text)
    text = html.unescape(text).replace("'''", "").replace("''", "").replace("\xa0", " ")
    paragraphs = []
    for line in text.splitlines():
        line = re.sub(r"\s+", " ", line).strip()
        heading = re.fullmatch(r"=+\s*(.*?)\s*=+", line)
        if heading and heading.group(1).lower() in {"references", "external links", "see also", "further reading", "notes"}:
            break
        # Lists, tables' remains and titles are no prose.
        if len(line) > 80 and line[0] not in "*#|:;!=":
            paragraphs.append(re.sub(r" ?\(\s*[;,]*\s*\)", "", line))
    return "\n".join(paragraphs)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE], check=True)
        with zipfile.ZipFile(next(pathlib.Path(folder).glob("gensim-*.whl"))) as wheel:
            packed = wheel.read(MEMBER)
    if hashlib.sha256(packed).hexdigest() != SHA256:
        sys.exit(f"{MEMBER} is not the file that it was")
    root = xml.etree.ElementTree.fromstring(bz2.decompress(packed))
    space = root.tag[: root.tag.index("}") + 1]
    articles = []
    for page in root.iter(space + "page"):
        markup = page.find(f"{space}revision/{space}text").text or ""
        if page.find(space + "ns").text == "0" and not markup.lower().startswith("#redirect"):
            articles.append(page.find(space + "title").text + "\n" + plain(markup))
    text = "\n\n".join(article for article in articles if article.count("\n") >= 2) + "\n"
    pathlib.Path(sys.argv[1]).write_text(text, encoding="utf-8")
    print(f"{sys.argv[1]}: {len(articles)} articles, {len(text.split()):,} words")


if __name__ == "__main__":
    main()
