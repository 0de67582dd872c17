import LacunaIO
import LacunaTensor
import Testing

/// `hf:` names, with a stand-in for the client.
@Suite struct HubFetcherTests {
    /// SHA-256 of "payload\n".
    static let digest = "d4e4877bac978b7952f0d544fc52ebff5411d351d129f1f056fa43f11da9af2b"

    final class Bench {
        let root: String

        init(hf: String? = nil, python: String? = nil) throws {
            root = FileSystem.join(
                ChildProcess.environment["TMPDIR"] ?? "/tmp",
                "lacuna-hub-\(String(UInt64.random(in: 0 ... .max), radix: 36))")
            try FileSystem.createDirectory(root + "/bin")
            for (name, script) in [("hf", hf), ("python3", python)] {
                guard let script else { continue }
                try AtomicFile.write("#!/bin/sh\n" + script, to: root + "/bin/\(name)")
                _ = try ChildProcess(executable: "/bin/chmod", arguments: ["755", root + "/bin/\(name)"]).run()
            }
        }

        deinit { try? FileSystem.remove(root) }

        var fetcher: HubFetcher {
            HubFetcher(cache: DataCache(root: root + "/cache"), searchPath: root + "/bin:/usr/bin:/bin")
        }
        var log: String { (try? FileSystem.readText(root + "/log")) ?? "" }
        var cached: [String] { (try? FileSystem.list(root + "/cache/hf")) ?? [] }
    }

    /// Notes its arguments and leaves `FILE` in the directory that follows `--local-dir`, with the note of the real client.
    static func client(_ file: String, digest: String, log: String = "../log") -> String {
        """
        echo "$@" >> "$(dirname "$0")/\(log)"
        while [ "$1" != --local-dir ]; do shift; done
        mkdir -p "$2/.cache/huggingface/download"
        echo payload > "$2/\(file)"
        printf 'abc\\n\(digest)\\n1.0\\n' > "$2/.cache/huggingface/download/\(file).metadata"
        """
    }

    @Test func namesOfTheHub() throws {
        let name = try #require(try HubFetcher.Name("hf:org/a-model.v2@main:sub/file.gguf"))
        #expect(name.repository == "org/a-model.v2" && name.revision == "main" && name.file == "sub/file.gguf")
        #expect(name.description == "hf:org/a-model.v2@main:sub/file.gguf")
        #expect(try HubFetcher.Name("hf:org/name")?.file == nil)
        #expect(try HubFetcher.Name("smollm2") == nil)
        for text in [
            "hf:", "hf:name", "hf:a/b/c", "hf:a/", "hf:/b", "hf:../b", "hf:a/-b", "hf:a/b@", "hf:a/b:", "hf:a/b:../x",
            "hf:a/b:/x", "hf:a/b c", "hf:a/b@-x", "hf:a/b:.hidden",
        ] {
            #expect(throws: LacunaError.self, "\(text)") { try HubFetcher.Name(text) }
        }
    }

    @Test func fetchesOnceChecksAndKeeps() throws {
        let bench = try Bench(hf: Self.client("m.gguf", digest: Self.digest))
        let name = try #require(try HubFetcher.Name("hf:org/name@v1:m.gguf"))
        let path = try bench.fetcher.path(of: name)
        #expect(path == bench.root + "/cache/hf/org+name@v1:m.gguf/m.gguf")
        #expect(try FileSystem.readText(path) == "payload\n")
        #expect(try bench.fetcher.path(of: name) == path)
        let lines = bench.log.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("download org/name --revision v1 m.gguf --local-dir "))
        #expect(!FileSystem.exists(FileSystem.directory(of: path) + "/.cache"))
    }

    @Test func otherContentIsRefused() throws {
        let bench = try Bench(hf: Self.client("m.gguf", digest: String(repeating: "0", count: 64)))
        let name = try #require(try HubFetcher.Name("hf:org/name:m.gguf"))
        let error = #expect(throws: LacunaError.self) { try bench.fetcher.path(of: name) }
        guard case .malformed(_, "checksum", _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(bench.cached == [])
    }

    @Test func repositoriesWithoutWeightsAreNamed() throws {
        let name = try #require(try HubFetcher.Name("hf:org/name"))
        for (file, expected) in [("m.gguf", "hf:org/name:m.gguf"), ("pytorch_model.bin", "no safetensors")] {
            let bench = try Bench(hf: Self.client(file, digest: "short"))
            let error = #expect(throws: LacunaError.self) { try bench.fetcher.path(of: name) }
            #expect(error.map { "\($0)".contains(expected) } == true)
            #expect(bench.log.contains("--include *.safetensors") && bench.cached == [])
        }
        // Something called safetensors that is none.
        let bench = try Bench(hf: Self.client("model.safetensors", digest: Self.digest))
        #expect(throws: LacunaError.self) { try bench.fetcher.path(of: name) }
        #expect(bench.cached == [])
    }

    @Test func failuresSayWhatTheClientSaid() throws {
        let bench = try Bench(hf: "echo 'Repository Not Found' >&2; exit 1")
        let name = try #require(try HubFetcher.Name("hf:org/name"))
        let failure = #expect(throws: FetchFailure.self) { try bench.fetcher.path(of: name) }
        #expect(failure?.description.contains("Repository Not Found") == true)
    }

    /// Where there is no client, pip puts one into the cache, which is used from then on.
    @Test func installsTheClient() throws {
        let script = Self.client("m.gguf", digest: Self.digest, log: "../../../log")
        let bench = try Bench(
            python: """
                echo pip >> "$(dirname "$0")/../log"
                while [ "$1" != --target ]; do shift; done
                mkdir -p "$2/bin" && cat > "$2/bin/hf" <<'END'
                #!/bin/sh
                \(script)
                END
                chmod 755 "$2/bin/hf"
                """)
        var fetcher = bench.fetcher
        fetcher.searchPath = bench.root + "/bin"
        // Programs that the scripts and the check need are elsewhere.
        _ = try ChildProcess(
            executable: "/bin/sh",
            arguments: [
                "-c",
                "for f in mkdir cat chmod dirname printf sha256sum; do ln -s $(command -v $f) '\(bench.root)/bin/'; done",
            ]
        ).run()
        for file in ["m.gguf", "m.gguf"] {
            let name = try #require(try HubFetcher.Name("hf:org/name@\(bench.cached.count):\(file)"))
            #expect(try FileSystem.readText(fetcher.path(of: name)) == "payload\n")
        }
        #expect(bench.log.split(separator: "\n").filter { $0 == "pip" }.count == 1)
        #expect(bench.log.split(separator: "\n").count == 3)
        fetcher.searchPath = "/nowhere"
        try FileSystem.remove(bench.root + "/cache/huggingface_hub")
        let name = try #require(try HubFetcher.Name("hf:org/other"))
        let failure = #expect(throws: FetchFailure.self) { try fetcher.path(of: name) }
        #expect(failure?.description.contains("python3") == true)
    }
}
