import Foundation
import Testing

@testable import LacunaTensor

@Suite struct MachineMemoryTests {
    private func error(_ body: () throws -> Void) -> LacunaError? {
        do {
            try body()
            return nil
        } catch { return error as? LacunaError }
    }

    @Test func theMachineHasMemory() throws {
        #expect(MachineMemory.available > 64 << 20 && MachineMemory.available < 1 << 60)
        try MachineMemory.require(32 << 20, for: "a test")
        try MachineMemory.require(0, for: "nothing")
    }

    #if os(Linux)
        /// The least of the groups that a process is in and those above them, of both versions; what is cached makes room.
        @Test func controlGroupsAreWithinGroups() throws {
            let mount = FileManager.default.temporaryDirectory.path + "/lacuna-groups-\(UInt64.random(in: 0 ... .max))"
            defer { try? FileManager.default.removeItem(atPath: mount) }
            func write(_ group: String, _ files: [String: String]) throws {
                try FileManager.default.createDirectory(
                    atPath: mount + group, withIntermediateDirectories: true)
                for (name, text) in files {
                    try (text + "\n").write(toFile: mount + group + "/" + name, atomically: false, encoding: .utf8)
                }
            }
            func room(_ groups: String) -> Int { MachineMemory.controlGroupRoom(groups, mount: mount) }
            #expect(room("0::/a/b\n") == .max && room("") == .max && room("nonsense") == .max)
            try write("/a/b", ["memory.max": "max", "memory.current": "10"])
            #expect(room("0::/a/b\n") == .max)
            try write(
                "/a", ["memory.max": "1000", "memory.current": "300", "memory.stat": "file 9\ninactive_file 100\n"])
            #expect(room("0::/a/b\n") == 800 && room("0::/a\n") == 800 && room("0::/\n") == .max)
            try write("/a/b", ["memory.max": "500", "memory.current": "400"])
            #expect(room("0::/a/b\n") == 100 && room("0::/a/c\n") == 800)
            // A container's own group is what is mounted, whatever the host calls it.
            try write("", ["memory.max": "90", "memory.current": "50"])
            #expect(room("0::/docker/0123\n") == 40)
            try write("/memory/x", ["memory.limit_in_bytes": "70", "memory.usage_in_bytes": "40"])
            #expect(room("4:cpu:/x\n7:hugetlb,memory:/x\n") == 30)
            #expect(room("7:memory:/y\n") == .max && room("0::/a/b\n7:memory:/x\n") == 30)
        }
    #endif

    /// Products that do not fit into 64 bits are as far beyond the machine as those that do.
    @Test(arguments: [[1 << 50], [1 << 32, 1 << 32], [Int.max], [Int.max, Int.max], [3, 1 << 61]])
    func sizesBeyondTheMachineAreErrors(shape: [Int]) {
        let bodies: [() throws -> Void] = [
            { try MachineMemory.require(shape: shape, of: Float.self, for: "a test") },
            { _ = try Tensor<Float>(checking: shape, for: "a test") },
            {
                _ = try Buffer<Float>(
                    checking: shape.reduce(1) { $0.multipliedReportingOverflow(by: $1).overflow ? .max : $0 * $1 },
                    for: "a test")
            },
        ]
        for body in bodies {
            guard case .resource(let what, let needed, let available)? = error(body) else {
                Issue.record("\(shape) is no error")
                continue
            }
            #expect(what.contains("a test") && needed > available && available > 0)
        }
    }

    @Test func negativeLengthsAreErrors() {
        for shape in [[-1], [2, -3], [Int.min]] {
            guard
                case .invalidArgument("a test", _)? = error({
                    _ = try Tensor<Double>(checking: shape, for: "a test")
                })
            else {
                Issue.record("\(shape) is no error")
                continue
            }
        }
        #expect(error { _ = try Buffer<Int>(checking: -1, for: "a test") } != nil)
    }

    @Test func checkedMemoryIsMemory() throws {
        #expect(try MachineMemory.require(shape: [3, 5], of: Double.self, for: "a test") == 120)
        #expect(try MachineMemory.require(shape: [0, Int.max, Int.max], of: Double.self, for: "a test") == 0)
        for lasting in [false, true] {
            for count in [0, 1, 1000, 1 << 20] {
                let buffer = try Buffer<Float>(checking: count, lasting: lasting, for: "a test")
                #expect(buffer.count == count)
                for i in 0..<count { buffer.pointer[i] = Float(i) }
                // The slack behind the last element is zero, as everywhere.
                let slack = UnsafeRawPointer(buffer.pointer + count)
                #expect((0..<Buffer<Float>.slack).allSatisfy { slack.load(fromByteOffset: $0, as: UInt8.self) == 0 })
            }
        }
        var tensor = try Tensor<Float>(checking: [2, 3], for: "a test")
        tensor.withMutablePointer { for i in 0..<6 { $0[i] = Float(i) } }
        #expect(tensor == Tensor([0, 1, 2, 3, 4, 5], shape: [2, 3]))
    }

    @Test func amountsAreReadable() {
        func text(_ bytes: Int) -> String { LacunaError.resource("x", needed: bytes, available: 0).description }
        #expect(text(999) == "x: 999 bytes are needed, 0 bytes are available")
        #expect(text(1000).hasPrefix("x: 1.0 kB are") && text(93_440_000).hasPrefix("x: 93.4 MB are"))
        #expect(text(999_950_000).hasPrefix("x: 1.0 GB are") && text(.max).hasPrefix("x: 9.2 EB are"))
    }
}
