#!/usr/bin/env bash
# fuzz.sh [SECONDS] [FORMAT…]: every parser of LacunaIO under libFuzzer for so many seconds each (60), beginning with the files
# that the tests use. Corpora grow in .build-fuzz; an input that hurts is kept there as crash-…, and the exit code is 1.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
formats=${*:-safetensors checkpoint gguf tokenizer json toml csv npy npz mtx svm idx}
work=$PWD/.build-fuzz
mkdir -p "$work"

entry='@_cdecl("LLVMFuzzerTestOneInput") public func f(_ p: UnsafePointer<UInt8>, _ n: Int) -> Int32 { 0 }'
echo "$entry" >"$work/probe.swift"
if ! swiftc -sanitize=fuzzer -parse-as-library "$work/probe.swift" -o "$work/probe" 2>/dev/null; then
    echo "fuzz: this toolchain does not link libFuzzer; the mutator of HostileInputTests has to do" >&2
    exit 0
fi
swift build -c release --package-path Fuzz --scratch-path "$work/build" -Xswiftc -sanitize=fuzzer --product FuzzParsers
library=$(swift build -c release --package-path Fuzz --scratch-path "$work/build" --show-bin-path)/libFuzzParsers.a
program=$work/fuzz-parsers
echo "// The entry is in the library." >"$work/empty.swift"
# shellcheck disable=SC2046
swiftc -sanitize=fuzzer -parse-as-library "$work/empty.swift" "$library" $(pkg-config --libs openblas zlib) -lm -o "$program"

fixtures=Tests/LacunaIOTests/Fixtures
status=0
for format in $formats; do
    corpus=$work/$format
    mkdir -p "$corpus"
    case $format in
    safetensors | checkpoint) find Tests -name '*.safetensors' -size -64k -exec cp -n {} "$corpus" \; ;;
    tokenizer | json) find "$fixtures" -name '*.json' -size -64k -exec cp -n {} "$corpus" \; ;;
    toml) printf 'seed = 1\n[a]\nb = [1, 2.5e3, "x"] # c\nc = true\n' >"$corpus/seed.toml" ;;
    idx) printf '\0\0\10\2\0\0\0\2\0\0\0\2abcd' >"$corpus/seed" && gzip -kf "$corpus/seed" ;;
    *) find Tests -name "*.$format" -size -64k -exec cp -n {} "$corpus" \; ;;
    esac
    echo "fuzz: $format"
    (cd "$work" && FUZZ_FORMAT=$format "$program" "$corpus" -max_total_time="$seconds" -max_len=65536 -timeout=5 \
        -rss_limit_mb=2048 -print_final_stats=1 2>&1 | grep -E "^stat::number|SUMMARY|ERROR|Fatal|crash-|oom-|timeout-") || status=1
    if compgen -G "$work/crash-*" "$work/oom-*" "$work/timeout-*" >/dev/null; then status=1; fi
done
exit $status
