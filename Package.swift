// swift-tools-version: 6.1
import PackageDescription

// A package that others depend on may not carry unsafe flags, so the two that matter during development (optimised
// C kernels and tensor loops in debug builds, which otherwise run several times slower) apply to the root package only.
let isRoot = !Context.packageDirectory.contains("/checkouts/")
let kernelSettings: [CSetting] = isRoot ? [.unsafeFlags(["-O3"])] : []
let hotSettings: [SwiftSetting] = isRoot ? [.unsafeFlags(["-O"], .when(configuration: .debug))] : []
let math: [LinkerSetting] = [.linkedLibrary("m", .when(platforms: [.linux]))]

let package = Package(
    name: "lacuna",
    platforms: [.macOS(.v14)],
    products: [
        .library(name: "Lacuna", targets: ["Lacuna"]),
        .library(name: "LacunaTensor", targets: ["LacunaTensor"]),
        .library(name: "LacunaSparse", targets: ["LacunaSparse"]),
        .library(name: "LacunaIO", targets: ["LacunaIO"]),
        .library(name: "LacunaLearn", targets: ["LacunaLearn"]),
        .library(name: "LacunaModels", targets: ["LacunaModels"]),
        .library(name: "LacunaPrune", targets: ["LacunaPrune"]),
        .library(name: "LacunaInfer", targets: ["LacunaInfer"]),
        .library(name: "LacunaRegress", targets: ["LacunaRegress"]),
        .executable(name: "lacuna", targets: ["LacunaCommand"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .systemLibrary(
            name: "COpenBLAS", pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
        .systemLibrary(
            name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
        .target(name: "CLacuna", cSettings: kernelSettings, linkerSettings: math),
        .target(
            name: "CLinearAlgebra",
            dependencies: [.target(name: "COpenBLAS", condition: .when(platforms: [.linux]))],
            linkerSettings: [.linkedFramework("Accelerate", .when(platforms: [.macOS]))]),
        .target(name: "LacunaTensor", dependencies: ["CLacuna", "CLinearAlgebra"], swiftSettings: hotSettings),
        .target(name: "LacunaSparse", dependencies: ["CLacuna", "LacunaTensor"], swiftSettings: hotSettings),
        .target(
            name: "LacunaIO", dependencies: ["CLacuna", "CZlib", "LacunaTensor", "LacunaSparse"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaLearn", dependencies: ["CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaModels", dependencies: ["CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaPrune",
            dependencies: ["LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaInfer", dependencies: ["LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaModels"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaRegress", dependencies: ["CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO"],
            swiftSettings: hotSettings),
        .target(
            name: "Lacuna",
            dependencies: [
                "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels", "LacunaPrune", "LacunaInfer",
                "LacunaRegress",
            ]),
        .target(name: "LacunaReproduce", dependencies: ["Lacuna"], swiftSettings: hotSettings),
        .executableTarget(
            name: "LacunaCommand",
            dependencies: [
                "Lacuna", "LacunaReproduce", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(name: "LacunaTensorTests", dependencies: ["LacunaTensor", "CLacuna"], swiftSettings: hotSettings),
        .testTarget(name: "LacunaSparseTests", dependencies: ["LacunaSparse", "CLacuna"], swiftSettings: hotSettings),
        .testTarget(name: "LacunaIOTests", dependencies: ["LacunaIO"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaLearnTests", dependencies: ["LacunaLearn", "CLacuna"]),
        .testTarget(name: "LacunaModelsTests", dependencies: ["LacunaModels"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaPruneTests", dependencies: ["LacunaPrune"]),
        .testTarget(name: "LacunaInferTests", dependencies: ["LacunaInfer"]),
        .testTarget(
            name: "LacunaRegressTests", dependencies: ["LacunaRegress"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaReproduceTests", dependencies: ["LacunaReproduce"]),
        .testTarget(name: "LacunaCommandTests", dependencies: ["LacunaCommand"]),
    ]
)
