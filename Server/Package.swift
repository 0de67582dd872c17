// swift-tools-version: 6.1
import PackageDescription

let libraries = ["LacunaTensor", "LacunaSparse", "LacunaIO", "LacunaModels", "LacunaInfer", "LacunaRetrieve"].map {
    Target.Dependency.product(name: $0, package: "lacuna")
}

// A package of its own, so that nobody who uses Lacuna fetches or builds an HTTP server.
let package = Package(
    name: "lacuna-server",
    platforms: [.macOS(.v14)],
    products: [
        .library(name: "LacunaServing", targets: ["LacunaServing"]),
        .executable(name: "lacuna-server", targets: ["lacuna-server"]),
    ],
    dependencies: [
        .package(name: "lacuna", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        // Without its traits: full Foundation and configuration files are not used.
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: []),
    ],
    targets: [
        // Requests, responses, the scheduler: everything but sockets.
        .target(
            name: "LacunaServing", dependencies: libraries,
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]),
        .target(
            name: "LacunaHTTP",
            dependencies: [
                "LacunaServing", .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ]),
        .executableTarget(
            name: "lacuna-server",
            dependencies: libraries + [
                "LacunaHTTP", "LacunaServing", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ]),
        // A model of a few thousand weights, for both suites.
        .target(name: "ServingFixtures", dependencies: libraries + ["LacunaServing"], path: "Tests/ServingFixtures"),
        .testTarget(name: "LacunaServingTests", dependencies: libraries + ["LacunaServing", "ServingFixtures"]),
        .testTarget(
            name: "LacunaHTTPTests",
            dependencies: libraries + [
                "LacunaHTTP", "LacunaServing", "ServingFixtures", .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ]),
    ]
)
