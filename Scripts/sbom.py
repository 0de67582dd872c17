#!/usr/bin/env python3
"""sbom.py VERSION DIRECTORY: what a release contains, as CycloneDX 1.5 JSON: the Swift packages that SwiftPM resolved for the
library, the command and the server, the Swift runtime, and the Debian packages of the shared libraries in DIRECTORY/lib/lacuna."""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import uuid


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def swift_packages():
    """Name, version and address of every package below the root, once."""
    found = {}

    def walk(package):
        for dependency in package["dependencies"]:
            if dependency["version"] != "unspecified":
                found[dependency["identity"]] = (dependency["version"], dependency["url"])
            walk(dependency)

    walk(json.loads(output("env", "LACUNA_SERVER=1", "swift", "package", "show-dependencies", "--format", "json")))
    for name, (version, url) in sorted(found.items()):
        place = re.sub(r"^https?://|\.git$", "", url)
        yield {
            "type": "library", "name": name, "version": version, "purl": f"pkg:swift/{place}@{version}",
            "externalReferences": [{"type": "vcs", "url": url}],
        }


def shared_libraries(tree):
    """The Debian package and checksum of every file."""
    for path in sorted((tree / "lib/lacuna").iterdir()):
        system = [line.split(" => ")[1].split(" ")[0] for line in output("ldconfig", "-p").splitlines() if path.name in line]
        package = output("dpkg", "-S", str(pathlib.Path(system[0]).resolve())).split(":")[0]
        version = output("dpkg-query", "-W", "-f", "${Version}", package)
        yield {
            "type": "library", "name": package, "version": version, "purl": f"pkg:deb/debian/{package}@{version}",
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        }


def main():
    version, tree = sys.argv[1], pathlib.Path(sys.argv[2])
    swift = re.search(r"Swift version ([\w.]+)", output("swift", "--version")).group(1)
    components = list(swift_packages())
    components.append({
        "type": "library", "name": "swift", "version": swift, "purl": f"pkg:github/swiftlang/swift@{swift}",
    })
    components += shared_libraries(tree)
    for component in components:
        component["bom-ref"] = component["purl"]
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        # The same contents have the same number.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True)).urn,
        "metadata": {
            "component": {
                "type": "application", "name": "lacuna", "version": version, "bom-ref": "lacuna",
                "hashes": [
                    {"alg": "SHA-256", "content": hashlib.sha256((tree / "bin/lacuna").read_bytes()).hexdigest()}
                ],
            },
        },
        "components": components,
        "dependencies": [{"ref": "lacuna", "dependsOn": [component["purl"] for component in components]}],
    }
    json.dump(document, sys.stdout, indent=2)
    print()


main()
