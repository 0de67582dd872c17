// swift-tools-version: 6.1
import PackageDescription

// Programs to copy from. A package of its own, as a user's would be: replace the path by Lacuna's address.
let package = Package(
    name: "lacuna-examples",
    platforms: [.macOS(.v14)],
    dependencies: [.package(name: "lacuna", path: "..")],
    targets: [
        "sparse-algebra", "sparse-product", "own-method", "own-training", "prune-and-generate", "fit-a-table",
        "rank-documents",
    ].map { name in
        .executableTarget(name: name, dependencies: [.product(name: "Lacuna", package: "lacuna")])
    } + [
        // The code in the documentation, which `make examples` puts here to see that it compiles, each block with the imports
        // that it shows alone.
        .target(
            name: "Snippets", dependencies: [.product(name: "Lacuna", package: "lacuna")], path: "Snippets",
            swiftSettings: [.enableUpcomingFeature("MemberImportVisibility")])
    ]
)
