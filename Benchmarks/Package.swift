// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that nobody who uses Lacuna builds it.
let package = Package(
    name: "lacuna-benchmarks",
    platforms: [.macOS(.v14)],
    dependencies: [
        .package(name: "lacuna", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        .target(name: "CBenchmark", cSettings: [.unsafeFlags(["-O3"])]),
        .target(
            name: "BenchmarkHarness",
            dependencies: ["CBenchmark", .product(name: "LacunaTensor", package: "lacuna")]),
        .executableTarget(
            name: "lacuna-bench",
            dependencies: [
                "BenchmarkHarness", "CBenchmark", .product(name: "Lacuna", package: "lacuna"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(name: "BenchmarkHarnessTests", dependencies: ["BenchmarkHarness"]),
    ]
)
