"""Makes Data/debian-dependencies from the package index of a Debian system: which packages depend on which.

One package of every source package, the one with most dependencies, is a user; what it depends on are its items (the first of
alternatives). The libraries that nearly all have are left out, then users and items with fewer than ten of each other.

    python3 Scripts/debian_dependencies.py Data/debian-dependencies
"""

import collections
import os
import re
import subprocess
import sys

LEAST = 10
COMMON = {"libc6", "libgcc-s1", "libstdc++6"}


def packages():
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    largest = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.M))
        if "Package" not in fields:
            continue
        names = [re.sub(r"[ (:\[].*", "", one.split("|")[0].strip()) for one in fields.get("Depends", "").split(",")]
        found = {name for name in names if name} - COMMON
        source = fields.get("Source", fields["Package"]).split(" ")[0]
        if source not in largest or len(found) > len(largest[source][1]):
            largest[source] = (fields["Package"], found)
    return dict(largest.values())


def core(users):
    while True:
        counts = collections.Counter(item for items in users.values() for item in items)
        kept = {user: {item for item in items if counts[item] >= LEAST} for user, items in users.items()}
        kept = {user: items for user, items in kept.items() if len(items) >= LEAST}
        if kept == users:
            return users
        users = kept


users = core(packages())
items = sorted({item for found in users.values() for item in found})
place = {item: index for index, item in enumerate(items)}
os.makedirs(sys.argv[1], exist_ok=True)
with open(os.path.join(sys.argv[1], "items.txt"), "w") as file:
    file.writelines(item + "\n" for item in items)
with open(os.path.join(sys.argv[1], "users.tsv"), "w") as file:
    for user, found in sorted(users.items()):
        file.write(user + "\t" + " ".join(str(place[item]) for item in sorted(found)) + "\n")
