// swift-tools-version: 6.1
import PackageDescription

// A package of its own, because everything in it is instrumented. A library and no program, because libFuzzer brings its own
// `main`, of which the package manager knows nothing: `Scripts/fuzz.sh` builds, links and runs it.
let package = Package(
    name: "lacuna-fuzz",
    platforms: [.macOS(.v14)],
    products: [.library(name: "FuzzParsers", type: .static, targets: ["FuzzParsers"])],
    dependencies: [.package(name: "lacuna", path: "..")],
    targets: [
        .target(name: "FuzzParsers", dependencies: [.product(name: "LacunaIO", package: "lacuna")])
    ]
)
