// swift-tools-version: 6.1
import PackageDescription

// A package of its own: libFuzzer brings a `main` and instruments everything that it is built with. `Scripts/fuzz.sh` builds
// and runs it.
let fuzzer = ["-sanitize=fuzzer"]

let package = Package(
    name: "lacuna-fuzz",
    platforms: [.macOS(.v14)],
    dependencies: [.package(name: "lacuna", path: "..")],
    targets: [
        .executableTarget(
            name: "fuzz-parsers", dependencies: [.product(name: "LacunaIO", package: "lacuna")],
            swiftSettings: [.unsafeFlags(fuzzer + ["-parse-as-library"])], linkerSettings: [.unsafeFlags(fuzzer)])
    ]
)
