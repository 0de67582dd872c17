#!/usr/bin/env bash
# release.sh DIRECTORY: lays out there what `make install` copies and `make release` packs, from what `make build server manual`
# has built. The programs have the Swift runtime inside; OpenBLAS and what it needs lie beside them in lib/lacuna, so that they
# run on any Linux of this processor with a C library as new as this one's and zlib.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$1
products=$(swift build -c release --show-bin-path)
rm -rf "$tree"
mkdir -p "$tree"/{bin,lib/lacuna,share/man/man1,share/doc/lacuna} "$tree"/share/bash-completion/completions \
    "$tree"/share/zsh/site-functions "$tree"/share/fish/vendor_completions.d

# SwiftPM's --static-swift-stdlib would compile everything once more: what is compiled is linked once more instead. SwiftPM calls
# a program's entry point after its module.
for program in lacuna:LacunaCommand lacuna-server:lacuna_server; do
    xargs swiftc -static-stdlib -O -o "$tree/bin/${program%:*}" -lopenblas -lz -lm \
        -lFoundationEssentials -l_FoundationCollections -l_FoundationCShims -lswiftSynchronization \
        -Xclang-linker -static-libstdc++ -Xclang-linker -static-libgcc -Xlinker --defsym=main="${program#*:}_main" \
        -Xlinker --gc-sections -Xlinker -s -Xlinker --disable-new-dtags -Xlinker -rpath -Xlinker '$ORIGIN/../lib/lacuna' \
        <"$products/${program%:*}.product/Objects.LinkFileList" 2> >(grep -v mktemp >&2)
done

# The shared libraries that a bare system lacks, with their licences.
ldd "$tree/bin/lacuna" | awk '$1 ~ /^lib(openblas|gfortran|quadmath)\.so/ { print $1, $3 }' | while read -r name path; do
    cp -L "$path" "$tree/lib/lacuna/$name"
    package=$(dpkg -S "$(readlink -f "$path")" | sed 's/:.*//')
    cp "/usr/share/doc/$package/copyright" "$tree/share/doc/lacuna/$package.copyright"
done

cp .build/plugins/GenerateManual/outputs/LacunaCommand/*.1 "$tree/share/man/man1/"
lacuna=$tree/bin/lacuna
"$lacuna" --generate-completion-script bash >"$tree/share/bash-completion/completions/lacuna"
"$lacuna" --generate-completion-script zsh >"$tree/share/zsh/site-functions/_lacuna"
"$lacuna" --generate-completion-script fish >"$tree/share/fish/vendor_completions.d/lacuna.fish"
cp LICENSE CHANGELOG.md README.md "$tree/share/doc/lacuna/"
Scripts/sbom.py "$("$lacuna" --version)" "$tree" >"$tree/share/doc/lacuna/sbom.cdx.json"
