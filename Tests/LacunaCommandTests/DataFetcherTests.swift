import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// The whole way of a fetch, with a stand-in for `python3` that makes packages of its own.
@Suite struct DataFetcherTests {
    /// SHA-256 of "payload\n".
    static let digest = "d4e4877bac978b7952f0d544fc52ebff5411d351d129f1f056fa43f11da9af2b"

    /// A directory with a fake client, and a cache.
    final class Bench {
        let root: String

        init(script: String) throws {
            root = FileSystem.join(
                ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp", "lacuna-fetch-\(Self.unique())")
            try FileSystem.createDirectory(root + "/bin")
            try AtomicFile.write("#!/bin/sh\n" + script, to: root + "/bin/python3")
            chmod(root + "/bin/python3", 0o755)
        }

        deinit { try? FileSystem.remove(root) }

        private static func unique() -> String { String(UInt64.random(in: 0 ... .max), radix: 36) }

        var fetcher: DataFetcher {
            DataFetcher(cache: DataCache(root: root + "/cache"), searchPath: root + "/bin:/usr/bin:/bin")
        }

        /// How often the client was asked to download.
        var downloads: Int {
            ((try? FileSystem.readText(root + "/log")) ?? "").split(separator: "\n").count
        }

        var cacheContent: [String] { (try? FileSystem.list(root + "/cache")) ?? [] }
    }

    /// `-m pip download … -d DIR NAME==VERSION` makes a wheel, `-m zipfile -e WHEEL DIR` unpacks it.
    static let working = """
        if [ "$2" = pip ]; then
            while [ "$1" != -d ]; do shift; done
            echo download >> "$(dirname "$0")/../log"
            echo payload > "$2/demo-1.0-py3-none-any.whl"
        else
            mkdir -p "$5/demo" && cp "$4" "$5/demo/data.txt"
        fi
        """

    private func entry(_ digest: String, file: String = "demo/data.txt") -> CatalogueEntry {
        CatalogueEntry(
            name: "demo", what: "a test", client: .pip, package: "demo", version: "1.0", licence: "none",
            downloadBytes: 8, files: [.init(file, bytes: 8, sha256: digest)])
    }

    @Test func fetchesOnceAndKeeps() throws {
        let bench = try Bench(script: Self.working)
        let entry = entry(Self.digest)
        let path = try bench.fetcher.path(of: entry)
        #expect(path == bench.root + "/cache/demo-1.0/data.txt")
        #expect(try FileSystem.readText(path) == "payload\n")
        #expect(try bench.fetcher.path(of: entry) == path)
        try bench.fetcher.verify(entry)
        #expect(bench.downloads == 1)
        #expect(bench.cacheContent == ["demo-1.0"])
        #expect(try FileSystem.list(bench.root + "/cache/demo-1.0") == [AtomicDirectory.markerName, "data.txt"])
    }

    @Test func damagedCacheIsFetchedAnew() throws {
        let bench = try Bench(script: Self.working)
        let entry = entry(Self.digest)
        let path = try bench.fetcher.path(of: entry)
        try AtomicFile.write("PAYLOAD\n", to: path)
        try bench.fetcher.verify(entry)
        #expect(try FileSystem.readText(path) == "payload\n")
        #expect(bench.downloads == 2)
    }

    @Test func wrongChecksumLeavesNothing() throws {
        let bench = try Bench(script: Self.working)
        let wrong = String(repeating: "0", count: 64)
        let error = #expect(throws: LacunaError.self) { try bench.fetcher.fetch(entry(wrong)) }
        guard case .malformed(_, "checksum", let reason) = error else {
            Issue.record("not a checksum error: \(String(describing: error))")
            return
        }
        #expect(reason.contains(wrong))
        #expect(bench.cacheContent == [])
    }

    @Test func absentFileIsNamed() throws {
        let bench = try Bench(script: Self.working)
        let error = #expect(throws: LacunaError.self) { try bench.fetcher.fetch(entry("", file: "demo/other.bin")) }
        #expect(
            error
                == .malformed(
                    file: "demo-1.0-py3-none-any.whl", location: "demo/other.bin", reason: "is not in this package"))
        #expect(bench.cacheContent == [])
    }

    @Test(arguments: [
        ("echo 'python3: No module named pip' >&2; exit 1", "python3-pip"),
        ("echo 'Temporary failure in name resolution' >&2; exit 1", "network"),
        ("echo 'ERROR: No matching distribution found for demo' >&2; exit 1", "no such version"),
        ("exit 7", "status 7"), ("exit 0", "left no .whl"),
    ])
    func failingClientIsExplained(_ script: String, _ expected: String) throws {
        let bench = try Bench(script: script)
        let failure = #expect(throws: FetchFailure.self) { try bench.fetcher.fetch(entry("")) }
        #expect(failure?.description.contains(expected) == true)
        #expect(failure.map { ExitStatus(for: $0) } == .failure)
        #expect(bench.cacheContent == [])
    }

    @Test func absentClientIsNamed() throws {
        let bench = try Bench(script: "")
        var fetcher = bench.fetcher
        fetcher.searchPath = "/nowhere"
        let failure = #expect(throws: FetchFailure.self) { try fetcher.fetch(entry("")) }
        #expect(failure?.description.contains("python3 is not installed") == true)
    }

    @Test func cancellationEndsTheClient() throws {
        final class Stop: ProgressReporter {
            let isCancelled = true
            func update(task: String, completed: Int, total: Int, detail: String) {}
        }
        let bench = try Bench(script: "exec sleep 30")
        var fetcher = bench.fetcher
        fetcher.progress = Stop()
        let start = monotonicSeconds()
        #expect(throws: LacunaError.cancelled) { try fetcher.fetch(entry("")) }
        #expect(monotonicSeconds() - start < 5)
        #expect(bench.cacheContent == [])
    }

    @Test func cacheFollowsTheEnvironment() throws {
        #expect(try DataCache(environment: ["LACUNA_CACHE": "/x", "HOME": "/h"]).root == "/x")
        #expect(try DataCache(environment: ["XDG_CACHE_HOME": "/c", "HOME": "/h"]).root == "/c/lacuna")
        #expect(try DataCache(environment: ["HOME": "/h"]).root == "/h/.cache/lacuna")
        #expect(throws: LacunaError.self) { try DataCache(environment: [:]) }
    }

    @Test func catalogueIsConsistent() {
        #expect(Set(Catalogue.entries.map(\.name)).count == Catalogue.entries.count)
        for entry in Catalogue.entries {
            #expect(Set(entry.files.map(\.name)).count == entry.files.count)
            for file in entry.files {
                #expect(file.sha256.count == 64 && file.sha256.allSatisfy { $0.isHexDigit && !$0.isUppercase })
                #expect(file.bytes > 0 && !file.path.hasPrefix("/") && !file.path.contains(".."))
            }
        }
    }
}
