#!/usr/bin/env python3
"""The C interface in one form everywhere: every function of lacuna.h is exported by Sources/LacunaC with parameters of the
same names and types, and the signatures that Python uses are those of the header.

    Scripts/check-abi.py              compares
    Scripts/check-abi.py --write      also writes Python/lacuna/_signatures.py
    Scripts/check-abi.py LIBRARY      also looks for every function in a built library
"""

import ctypes
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "Sources/LacunaC/include/lacuna.h"
SIGNATURES = ROOT / "Python/lacuna/_signatures.py"

# A type of the header, as Swift and as ctypes have it. Pointers to opaque structures are OpaquePointer and c_void_p.
TYPES = {
    "int32_t": ("Int32", "c_int32"),
    "int64_t": ("Int64", "c_int64"),
    "uint64_t": ("UInt64", "c_uint64"),
    "double": ("Double", "c_double"),
    "const char *": ("UnsafePointer<CChar>?", "c_char_p"),
    "const char *const *": ("UnsafePointer<UnsafePointer<CChar>?>?", "POINTER(c_char_p)"),
    "char *": ("UnsafeMutablePointer<CChar>?", "c_void_p"),
    "char **": ("UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?", "POINTER(c_void_p)"),
    "const void *": ("UnsafeRawPointer?", "c_void_p"),
    "void *": ("UnsafeMutableRawPointer?", "c_void_p"),
    "const void **": ("UnsafeMutablePointer<UnsafeRawPointer?>?", "POINTER(c_void_p)"),
    "const double *": ("UnsafePointer<Double>?", "c_void_p"),
    "double *": ("UnsafeMutablePointer<Double>?", "POINTER(c_double)"),
    "const int64_t *": ("UnsafePointer<Int64>?", "c_void_p"),
    "int32_t *": ("UnsafeMutablePointer<Int32>?", "POINTER(c_int32)"),
    "int64_t *": ("UnsafeMutablePointer<Int64>?", "POINTER(c_int64)"),
    "const int64_t **": ("UnsafeMutablePointer<UnsafePointer<Int64>?>?", "POINTER(c_void_p)"),
    "const uint32_t **": ("UnsafeMutablePointer<UnsafePointer<UInt32>?>?", "POINTER(c_void_p)"),
    "lacuna_progress": ("ProgressCallback?", "Progress"),
    "lacuna_receive": ("ReceiveCallback?", "Receive"),
    "void": ("Void", "None"),
}


def types(text, opaque):
    """The Swift and the ctypes form of a C type."""
    text = re.sub(r"\s*(\*+)", r" \1", text.strip())
    base = re.sub(r"^const ", "", text).split()[0]
    if base in opaque:
        return ("OpaquePointer?", "c_void_p") if text.endswith(" *") else (
            "UnsafeMutablePointer<OpaquePointer?>?", "POINTER(c_void_p)")
    return TYPES[text]


def camel(name):
    """`row_stride` as Swift has it."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def header():
    """name -> (result, [(parameter, type)]) of the header, as pairs of Swift and ctypes."""
    text = re.sub(r"//[^\n]*", "", HEADER.read_text())
    opaque = set(re.findall(r"typedef struct (\w+) \w+;", text))
    found = {}
    for result, name, parameters in re.findall(r"^([\w ]+?[ *]+)(lacuna_\w+)\(([^)]*)\);", text, re.M):
        own = []
        for parameter in [] if parameters.strip() == "void" else parameters.split(","):
            kind, label = re.fullmatch(r"\s*(.*?[\s*])(\w+)\s*", parameter, re.S).groups()
            own.append((camel(label), types(re.sub(r"\s+", " ", kind), opaque)))
        found[name] = (types(result, opaque), own)
    return found


def swift():
    """name -> (result, [(parameter, type)]) of the exported functions."""
    found = {}
    for path in (ROOT / "Sources/LacunaC").glob("*.swift"):
        text = path.read_text()
        for match in re.finditer(r'@_cdecl\("(\w+)"\)\s*public func (\w+)\(', text):
            depth, end = 1, match.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            inner = re.sub(r"\s+", "", text[match.end() : end - 1])
            result = re.match(r"\s*(?:->\s*([^{]+))?\{", text[end:]).group(1) or "Void"
            own, level, start = [], 0, 0
            for i, c in enumerate(inner + ","):
                level += {"(": 1, "<": 1, ")": -1}.get(c, 0)
                if c == ">" and inner[i - 1] != "-":
                    level -= 1
                if c == "," and level == 0:
                    if inner[start:i]:
                        label, kind = inner[start:i].split(":", 1)
                        own.append((label.lstrip("_"), kind))
                    start = i + 1
            found[match.group(1)] = (result.strip(), own)
    return found


def signatures(functions):
    lines = [
        '"""Signatures of the C interface. Written by Scripts/check-abi.py out of lacuna.h."""',
        "",
        "from ctypes import CFUNCTYPE, POINTER, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p",
        "",
        "ABI_VERSION = " + re.search(r"#define LACUNA_ABI_VERSION (\d+)", HEADER.read_text()).group(1),
        "",
        "Progress = CFUNCTYPE(c_int32, c_void_p, c_char_p, c_int64, c_int64)",
        "Receive = CFUNCTYPE(c_int32, c_void_p, c_char_p)",
        "",
        "FUNCTIONS = {",
    ]
    for name, ((_, result), parameters) in functions.items():
        own = ", ".join(kind for _, (_, kind) in parameters)
        lines.append(f'    "{name}": ({result}, [{own}]),')
    return "\n".join(lines + ["}", ""])


def main():
    functions, exported, wrong = header(), swift(), []
    for name, ((result, _), parameters) in functions.items():
        expected = (result, [(label, kind) for label, (kind, _) in parameters])
        if name not in exported:
            wrong.append(f"{name}: is in lacuna.h and not in Sources/LacunaC")
        elif exported[name] != expected:
            wrong.append(f"{name}:\n  lacuna.h: {expected}\n  Swift:    {exported[name]}")
    sources = "".join(path.read_text() for path in (ROOT / "Sources/LacunaC").glob("*.swift"))
    for name, (swift_name, _) in (("lacuna_progress", TYPES["lacuna_progress"]), ("lacuna_receive", TYPES["lacuna_receive"])):
        result, parameters = re.search(rf"typedef (\w+) \(\*{name}\)\(([^)]*)\);", HEADER.read_text()).groups()
        kinds = [types(re.match(r"\s*(.*?[\s*])\w+$", one).group(1), set())[0] for one in parameters.split(",")]
        expected = f"{swift_name[:-1]}=@convention(c)({','.join(kinds)})->{TYPES[result][0]}"
        if expected not in re.sub(r"\s", "", sources):
            wrong.append(f"{name}: Swift lacks {expected}")
    wrong += [f"{name}: is in Sources/LacunaC and not in lacuna.h" for name in exported.keys() - functions.keys()]
    text = signatures(functions)
    if "--write" in sys.argv:
        SIGNATURES.write_text(text)
    if SIGNATURES.read_text() != text:
        wrong.append("Python/lacuna/_signatures.py is not what lacuna.h says: Scripts/check-abi.py --write")
    for library in (argument for argument in sys.argv[1:] if not argument.startswith("-")):
        loaded = ctypes.CDLL(library)
        wrong += [f"{name}: is not in {library}" for name in functions if not hasattr(loaded, name)]
    for line in wrong:
        print(line, file=sys.stderr)
    if not functions or wrong:
        sys.exit(1)
    print(f"check-abi: {len(functions)} functions agree")


main()
