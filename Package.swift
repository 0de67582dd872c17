// swift-tools-version: 6.1
import PackageDescription

// A package that others depend on may not carry unsafe flags. The root package's debug builds have those that make kernels
// and tensor loops bearable, which otherwise run several times slower; release builds need none, here or elsewhere.
let path = Context.packageDirectory.split(separator: "/")
let isDependency = path.dropLast().last == "checkouts" || Context.packageDirectory.contains("/registry/downloads/")
let kernelSettings: [CSetting] = isDependency ? [] : [.unsafeFlags(["-O2"], .when(configuration: .debug))]
let hotSettings: [SwiftSetting] = isDependency ? [] : [.unsafeFlags(["-O"], .when(configuration: .debug))]
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
        .library(name: "LacunaRetrieve", targets: ["LacunaRetrieve"]),
        .library(name: "LacunaRegress", targets: ["LacunaRegress"]),
        .library(name: "LacunaStructure", targets: ["LacunaStructure"]),
        .library(name: "LacunaDictionary", targets: ["LacunaDictionary"]),
        .library(name: "LacunaSuiteSparse", targets: ["LacunaSuiteSparse"]),
        .library(name: "LacunaMPI", targets: ["LacunaMPI"]),
        .library(name: "LacunaC", type: .dynamic, targets: ["LacunaC"]),
        .executable(name: "lacuna", targets: ["LacunaCommand"]),
    ],
    traits: [
        .trait(
            name: "SuiteSparse",
            description:
                "LacunaSuiteSparse: direct factorisations by UMFPACK and CHOLMOD, which need libsuitesparse-dev"),
        .trait(
            name: "MPI",
            description: "LacunaMPI: training by several processes, which needs libopenmpi-dev and openmpi-bin"),
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
        .target(
            name: "CSuiteSparse", cSettings: [.define("LACUNA_SUITESPARSE", .when(traits: ["SuiteSparse"]))],
            linkerSettings: ["umfpack", "cholmod", "suitesparseconfig"].map {
                .linkedLibrary($0, .when(traits: ["SuiteSparse"]))
            }),
        .target(name: "LacunaSuiteSparse", dependencies: ["CSuiteSparse", "LacunaSparse"]),
        .target(
            name: "CMPI", cSettings: [.define("LACUNA_MPI", .when(traits: ["MPI"]))],
            linkerSettings: [.linkedLibrary("mpi", .when(traits: ["MPI"]))]),
        .target(name: "LacunaMPI", dependencies: ["CMPI", "LacunaTensor", "LacunaLearn"]),
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
            name: "LacunaInfer",
            dependencies: ["LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaRetrieve",
            dependencies: [
                "CLacuna", "CZlib", "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels",
                "LacunaPrune",
            ],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaRegress", dependencies: ["CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO"],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaStructure",
            dependencies: [
                "CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaRegress",
            ],
            swiftSettings: hotSettings),
        .target(
            name: "LacunaDictionary",
            dependencies: ["CLacuna", "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels"],
            swiftSettings: hotSettings),
        .target(
            name: "Lacuna",
            dependencies: [
                "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaLearn", "LacunaModels", "LacunaPrune", "LacunaInfer",
                "LacunaRegress", "LacunaStructure", "LacunaDictionary", "LacunaRetrieve",
            ]),
        .target(
            name: "LacunaC",
            dependencies: [
                "LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaModels", "LacunaInfer", "LacunaPrune",
                "LacunaRegress", "LacunaRetrieve", "LacunaDictionary",
            ], exclude: ["include"], swiftSettings: hotSettings),
        .target(name: "LacunaReproduce", dependencies: ["Lacuna"], swiftSettings: hotSettings),
        .executableTarget(
            name: "LacunaCommand",
            dependencies: [
                "Lacuna", "LacunaMPI", "LacunaReproduce",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(
            name: "LacunaTensorTests", dependencies: ["LacunaTensor", "CLacuna", "CLinearAlgebra"],
            swiftSettings: hotSettings),
        .testTarget(name: "LacunaSparseTests", dependencies: ["LacunaSparse", "CLacuna"], swiftSettings: hotSettings),
        .testTarget(name: "LacunaSuiteSparseTests", dependencies: ["LacunaSuiteSparse"]),
        .testTarget(name: "LacunaMPITests", dependencies: ["LacunaMPI"]),
        .testTarget(name: "LacunaIOTests", dependencies: ["LacunaIO"], resources: [.copy("Fixtures")]),
        .testTarget(
            name: "LacunaLearnTests", dependencies: ["LacunaLearn", "CLacuna"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaModelsTests", dependencies: ["LacunaModels"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaPruneTests", dependencies: ["LacunaPrune"]),
        .testTarget(name: "LacunaInferTests", dependencies: ["LacunaInfer"], resources: [.copy("Fixtures")]),
        .testTarget(
            name: "LacunaRetrieveTests", dependencies: ["LacunaRetrieve"], resources: [.copy("Fixtures")]),
        .testTarget(
            name: "LacunaRegressTests", dependencies: ["LacunaRegress"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaStructureTests", dependencies: ["LacunaStructure"]),
        .testTarget(
            name: "LacunaDictionaryTests", dependencies: ["LacunaDictionary"], resources: [.copy("Fixtures")]),
        .testTarget(name: "LacunaReproduceTests", dependencies: ["LacunaReproduce"]),
        .testTarget(
            name: "LacunaCommandTests",
            dependencies: [
                "LacunaCommand", "LacunaMPI", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
    ]
)

// Who depends on the libraries fetches and builds nothing that only the command and the C interface need.
if isDependency {
    package.dependencies.removeAll()
    package.products.removeAll { $0.name == "lacuna" || $0.name == "LacunaC" }
    package.targets.removeAll { $0.name.hasPrefix("LacunaCommand") || $0.name == "LacunaC" }
}

// `make examples` compiles Examples/, and the code in the documentation, with the libraries that are already built. To users they
// are a package of its own, Examples/Package.swift.
if Context.environment["LACUNA_EXAMPLES"] != nil {
    package.targets += [
        "fit-a-table", "own-method", "own-training", "prune-and-generate", "rank-documents", "sparse-algebra",
        "sparse-product",
    ].map { .executableTarget(name: $0, dependencies: ["Lacuna"], path: "Examples/Sources/\($0)") }
    package.targets.append(
        .target(
            name: "Snippets", dependencies: ["Lacuna", "LacunaMPI"], path: "Examples/Snippets",
            swiftSettings: [.enableUpcomingFeature("MemberImportVisibility")]))
}

// `make test-server` builds Server/ with the libraries that are already built. To users it is a package of its own,
// Server/Package.swift, which says what each part is for.
if Context.environment["LACUNA_SERVER"] != nil {
    package.dependencies += [
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
    ]
    let rooms = ["LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaModels", "LacunaInfer", "LacunaRetrieve"].map {
        Target.Dependency.target(name: $0)
    }
    let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
    let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
    package.targets += [
        .target(
            name: "LacunaServing", dependencies: rooms, path: "Server/Sources/LacunaServing", swiftSettings: hotSettings
        ),
        .target(
            name: "LacunaHTTP",
            dependencies: [
                "LacunaServing", .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"), logging,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ], path: "Server/Sources/LacunaHTTP"),
        .executableTarget(
            name: "lacuna-server",
            dependencies: rooms + [
                "LacunaHTTP", "LacunaServing", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                logging, lifecycle,
            ], path: "Server/Sources/lacuna-server"),
        .target(
            name: "ServingFixtures", dependencies: rooms + ["LacunaServing"], path: "Server/Tests/ServingFixtures"),
        .testTarget(
            name: "LacunaServingTests", dependencies: rooms + ["LacunaServing", "ServingFixtures"],
            path: "Server/Tests/LacunaServingTests"),
        .testTarget(
            name: "LacunaHTTPTests",
            dependencies: rooms + ["LacunaHTTP", "LacunaServing", "ServingFixtures", logging, lifecycle],
            path: "Server/Tests/LacunaHTTPTests"),
    ]
}

// Some rooms and their tests alone, such as LACUNA_ROOMS="Tensor Sparse IO": what is built anew for every sanitizer need not be all.
if let rooms = Context.environment["LACUNA_ROOMS"], !isDependency {
    let kept = Set(
        ["CLacuna", "CLinearAlgebra", "CMPI", "COpenBLAS", "CZlib"]
            + rooms.split(separator: " ").flatMap { ["Lacuna\($0)", "Lacuna\($0)Tests"] })
    package.dependencies.removeAll()
    package.products.removeAll { !kept.contains($0.name) }
    package.targets.removeAll { !kept.contains($0.name) }
}
