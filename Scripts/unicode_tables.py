"""Writes Sources/LacunaIO/Tokenizer/Text/CompatibilityMappings.swift: the compatibility decompositions of Unicode 9, which
Swift's standard library does not have.

Needs nothing but Python, whose tables have every edition's characters; later ones than Unicode 9 are left out by asking
the `tokenizers` package (pip install tokenizers), whose edition that is.
"""

import unicodedata
from pathlib import Path

from tokenizers import normalizers

OUT = Path(__file__).parent.parent / "Sources/LacunaIO/Tokenizer/Text/CompatibilityMappings.swift"
nfkd, nfd = normalizers.NFKD(), normalizers.NFD()


def spelled(text):
    return "".join(f"\\u{{{ord(c):X}}}" if not c.isprintable() or c in '"\\ ' or unicodedata.category(c)[0] in "MZC"
                   else c for c in text)


lines, line = [], ""
for value in range(0x80, 0x110000):
    if 0xD800 <= value < 0xE000 or 0xAC00 <= value < 0xD7A4:
        continue
    character = chr(value)
    mapped = nfkd.normalize_str(character)
    if mapped == nfd.normalize_str(character):
        continue
    entry = spelled(character) + spelled(mapped) + "\\u{0}"
    if len(line) + len(entry) > 108:
        lines.append(line)
        line = ""
    line += entry
lines.append(line)
body = "\\\n".join("        " + text for text in lines)
OUT.write_text(f'''// Written by Scripts/unicode_tables.py.

/// Compatibility decompositions of single characters, complete, for the normalisation forms NFKC and NFKD.
enum CompatibilityMappings {{
    /// What a character decomposes to; nil if nothing but its canonical decomposition.
    static func mapping(of scalar: Unicode.Scalar) -> ArraySlice<Unicode.Scalar>? {{
        table.places[scalar].map {{ table.scalars[$0] }}
    }}

    private static let table: (scalars: [Unicode.Scalar], places: [Unicode.Scalar: Range<Int>]) = {{
        let scalars = Array(entries.unicodeScalars)
        var places: [Unicode.Scalar: Range<Int>] = [:]
        var start = 0
        for end in scalars.indices where scalars[end].value == 0 {{
            places[scalars[start]] = start + 1..<end
            start = end + 1
        }}
        return (scalars, places)
    }}()

    /// Character and decomposition, one after the other, each pair ended by a zero.
    private static let entries = """
{body}
        """
}}
''')
