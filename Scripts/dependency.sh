#!/usr/bin/env bash
# Depends on this working tree by URL, as other people's packages do, and runs a program: the manifest that README shows, with a
# git repository of the tracked files for the address and LacunaSparse for the product. Ends with 1 if anything but Lacuna is fetched.
#
#     Scripts/dependency.sh [debug|release]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
configuration=${1:-release}
work=$root/.build/dependency
copy=$work/lacuna
package=$work/package

mkdir -p "$copy" "$package/Sources/yours"
# The repository keeps its history from run to run, so that what did not change is not built again.
[ -d "$copy/.git" ] || git init -q -b main "$copy"
find "$copy" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
(cd "$root" && git ls-files -z --cached --others --exclude-standard -- \
    Package.swift Sources Tests Data | xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done; true' sh |
    tar -c --null -T - -f -) | tar -x -C "$copy" -f -
git -C "$copy" add -A
git -C "$copy" -c user.name=dependency -c user.email=dependency@example.org commit -q --allow-empty -m snapshot

awk '/^```swift manifest$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$root/README.md" |
    sed -e "s|url: \"[^\"]*\"|url: \"file://$copy\"|" -e 's|name: "Lacuna", package|name: "LacunaSparse", package|' \
        >"$package/Package.swift"
cat >"$package/Sources/yours/main.swift" <<'SWIFT'
import LacunaSparse

var generator = SeededGenerator(seed: 1)
let weight = Tensor<Float>(normal: [96, 130], using: &generator)
let x = Tensor<Float>(normal: [3, 130], using: &generator)
let mask = try Selection.mask(scores: weight.map(abs), pattern: .unstructured(.row), sparsity: 0.5)
let expected = x.multiplied(by: mask.applied(to: weight), otherTransposed: true)
for layout in [StorageLayout.bitmask, .csr] {
    let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: .f32)
    guard stored.applied(toRows: x).isApproximatelyEqual(to: expected, tolerance: 1e-5) else {
        fatalError("\(layout) products differ from dense ones")
    }
}
print("a dependent multiplies: \(Processor.kernelLevel), \(mask.count) of \(weight.count) weights kept")
SWIFT

cd "$package"
swift package update -q 2>/dev/null || swift package update
fetched=$(swift package show-dependencies --format flatlist)
if [ "$fetched" != lacuna ]; then
    echo "dependency: a dependent fetches more than Lacuna: $fetched" >&2
    exit 1
fi
swift build -c "$configuration"
"$(swift build -c "$configuration" --show-bin-path)/yours"
