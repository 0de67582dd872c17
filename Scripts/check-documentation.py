#!/usr/bin/env python3
"""Names every public symbol without a documentation comment, and ends with 1 if there is one.

    Scripts/check-documentation.py [--build DIRECTORY] [MODULE ...]

Reads the symbols out of the modules that `swift build` left in DIRECTORY (.build/debug), which costs a second or two a module and
compiles nothing. What restates something documented elsewhere need not repeat it: members that implement a protocol's requirement,
and members that the compiler makes.
"""
import argparse, concurrent.futures, json, os, pathlib, subprocess, sys, tempfile

root = pathlib.Path(__file__).resolve().parent.parent
parser = argparse.ArgumentParser()
parser.add_argument("modules", nargs="*")
parser.add_argument("--build", default=str(root / ".build/debug"))
parser.add_argument("--quiet", action="store_true", help="counts only")
arguments = parser.parse_args()
build = pathlib.Path(arguments.build)


def library_modules():
    """The modules that a package can depend on, as the manifest has them."""
    manifest = json.loads(subprocess.check_output(["swift", "package", "dump-package"], cwd=root))
    libraries = {t for p in manifest["products"] if "library" in p["type"] for t in p["targets"]}
    return sorted(libraries)


def extract(module, output):
    flags = ["-I", str(build / "Modules")]
    for directory in sorted((root / "Sources").iterdir()):
        for candidate in (directory / "module.modulemap", directory / "include/module.modulemap"):
            if candidate.exists():
                flags += ["-Xcc", f"-fmodule-map-file={candidate}"]
    for made in sorted(build.glob("*.build/module.modulemap")):
        flags += ["-Xcc", f"-fmodule-map-file={made}"]
    target = json.loads(subprocess.check_output(["swiftc", "-print-target-info"]))["target"]["triple"]
    result = subprocess.run(
        ["swift-symbolgraph-extract", "-module-name", module, "-target", target, "-minimum-access-level", "public",
         "-skip-synthesized-members", "-output-dir", output, *flags], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"check-documentation: {module} in {build}: {result.stderr.strip()}")


def undocumented(module):
    with tempfile.TemporaryDirectory() as output:
        extract(module, output)
        symbols, excused = {}, set()
        for path in pathlib.Path(output).glob("*.symbols.json"):
            graph = json.loads(path.read_text())
            for symbol in graph["symbols"]:
                symbols[symbol["identifier"]["precise"]] = symbol
            for relation in graph["relationships"]:
                # A member with an origin implements a requirement, whose documentation it has.
                if "sourceOrigin" in relation or relation["kind"] in ("overrides", "defaultImplementationOf"):
                    excused.add(relation["source"])
    missing = []
    for identifier, symbol in symbols.items():
        if identifier in excused or "::SYNTHESIZED::" in identifier or "location" not in symbol:
            continue
        # The extension block itself is no symbol of ours.
        if symbol["kind"]["identifier"] == "swift.extension":
            continue
        lines = symbol.get("docComment", {}).get("lines", [])
        if not any(line["text"].strip() for line in lines):
            missing.append(symbol)
    return module, len(symbols), missing


def place(symbol):
    path = symbol["location"]["uri"].removeprefix("file://")
    path = os.path.relpath(os.path.realpath(path), root)
    return path, symbol["location"]["position"]["line"] + 1


total = 0
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for module, count, missing in pool.map(undocumented, arguments.modules or library_modules()):
        total += len(missing)
        if missing or not arguments.quiet:
            print(f"{module}: {len(missing)} of {count} public symbols without documentation")
        if not arguments.quiet:
            for symbol in sorted(missing, key=place):
                path, line = place(symbol)
                print(f"  {path}:{line}: {'.'.join(symbol['pathComponents'])}")
sys.exit(1 if total else 0)
