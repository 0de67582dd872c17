#!/usr/bin/env python3
"""Makes Swift files of the documentation's Swift blocks, so that `make examples` compiles what readers copy.

    Scripts/snippets.py OUTPUT

Takes the blocks marked ```swift of README.md, docs/, CONTRIBUTING.md, the DocC catalogs and the documentation comments of the
libraries. A block with a public declaration, a type or an extension becomes a file as it is, any other the body of a function. One
without an import gets what its reader has: the module that it documents, or Lacuna. What a block presupposes (a weight, a batch) is
declared in Context.swift beside the output. Other languages, and ```swift manifest, are left alone. Errors point at the documents.
"""
import pathlib, re, sys

root = pathlib.Path(__file__).resolve().parent.parent
output = pathlib.Path(sys.argv[1])
fence = re.compile(r"^(\s*(?:///\s?)?)```(\S*)\s*(.*)$")
declaration = re.compile(r"^(public |open |@main|extension |final class |class |struct |enum |protocol |actor )")


def blocks(path):
    """(first line number, lines) of every Swift block of a file."""
    found, lines, start, prefix = [], None, 0, ""
    is_swift = path.suffix == ".swift"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = fence.match(line)
        if match and is_swift and "///" not in match.group(1):
            match = None
        if match and lines is None:
            prefix = match.group(1).rstrip()
            lines, start = [], number + 1
            wanted = match.group(2) == "swift" and match.group(3).strip() == ""
        elif match:
            if wanted:
                found.append((start, lines))
            lines = None
        elif lines is not None:
            text = line[len(prefix):] if line.startswith(prefix) else line.lstrip()
            lines.append(text[1:] if is_swift and text.startswith(" ") else text)
    if lines is not None:
        sys.exit(f"{path}:{start}: the block does not end")
    return found


def sources():
    yield from (root / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"))
    yield from sorted((root / "docs").glob("*.md"))
    yield from sorted((root / "Examples").glob("*.md"))
    yield from sorted((root / "Sources").glob("*/*.docc/*.md"))
    yield from sorted((root / "Sources").glob("*/**/*.swift"))


def module(path):
    """The module that a reader of this file has imported."""
    parts = path.relative_to(root).parts
    return parts[1] if parts[0] == "Sources" else "Lacuna"


output.mkdir(parents=True, exist_ok=True)
wanted = {}
for path in sources():
    for start, lines in blocks(path):
        place = path.relative_to(root).as_posix()
        name = re.sub(r"\W+", "_", f"{place}_{start}")
        imports = [line for line in lines if line.startswith("import ")]
        body = ["" if line.startswith("import ") else line for line in lines]
        text = "// swift-format-ignore-file\n" + "\n".join(imports or [f"import {module(path)}"]) + "\n\n"
        location = f'#sourceLocation(file: "{path}", line: {start})\n'
        if any(declaration.match(line) for line in body):
            text += location + "\n".join(body) + "\n#sourceLocation()\n"
        else:
            text += f"func {name}() async throws {{\n{location}" + "\n".join(body) + "\n#sourceLocation()\n}\n"
        wanted[f"{name}.swift"] = text
# Files that do not change keep their dates, so that nothing is compiled again for them.
for old in output.glob("*_*.swift"):
    if old.name not in wanted:
        old.unlink()
for name, text in wanted.items():
    path = output / name
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
print(f"snippets: {len(wanted)}")
