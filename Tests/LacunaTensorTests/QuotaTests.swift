import CLacuna
import Foundation
import Testing

/// Processors that control groups allow, read from made-up trees of files.
@Suite struct QuotaTests {
    /// What `lk_quota` makes of a list of groups and of files below the mount.
    private func quota(_ groups: String, _ files: [String: String]) throws -> Int32 {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("lacuna-quota-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: root) }
        for (path, text) in files {
            let file = root.appendingPathComponent("mount/" + path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: file, atomically: false, encoding: .utf8)
        }
        let list = root.appendingPathComponent("groups")
        try groups.write(to: list, atomically: false, encoding: .utf8)
        return lk_quota(list.path, root.appendingPathComponent("mount").path)
    }

    @Test func versionTwo() throws {
        #expect(try quota("0::/a/b\n", ["a/b/cpu.max": "200000 100000\n"]) == 2)
        #expect(try quota("0::/a/b\n", ["a/b/cpu.max": "max 100000\n"]) == 0)
        // Above the group counts, too; what is below a whole processor is one.
        #expect(try quota("0::/a/b\n", ["a/cpu.max": "350000 100000", "a/b/cpu.max": "max 100000"]) == 3)
        #expect(try quota("0::/a/b\n", ["cpu.max": "100000 100000", "a/b/cpu.max": "800000 100000"]) == 1)
        #expect(try quota("0::/\n", ["cpu.max": "50000 100000"]) == 1)
        // In a container the path is the host's.
        #expect(try quota("0::/of/the/host\n", ["cpu.max": "400000 100000"]) == 4)
    }

    @Test func versionOne() throws {
        let groups = "9:name=systemd:/\n3:cpuset:/x\n2:cpu,cpuacct:/job\n"
        func files(_ folder: String, _ quota: String) -> [String: String] {
            ["\(folder)/cpu.cfs_quota_us": quota, "\(folder)/cpu.cfs_period_us": "100000\n"]
        }
        #expect(try quota(groups, files("cpu/job", "300000\n")) == 3)
        #expect(try quota(groups, files("cpu/job", "-1\n")) == 0)
        #expect(try quota(groups, files("cpu,cpuacct/job", "200000\n")) == 2)
        #expect(try quota(groups, files("cpu", "500000\n")) == 5)
        // A controller whose name only begins like it is another.
        #expect(try quota("3:cpuset:/x\n", files("cpu/x", "300000\n")) == 0)
    }

    @Test func nothingThere() throws {
        #expect(try quota("", [:]) == 0)
        #expect(try quota("nonsense\n0::\n:\n", [:]) == 0)
        #expect(try quota("0::/a\n", ["a/cpu.max": "lots of it"]) == 0)
        #expect(lk_quota("/nowhere/at/all", "/nowhere") == 0)
    }
}
