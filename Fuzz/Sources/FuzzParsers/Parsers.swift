import Foundation
import LacunaIO
import LacunaTensor

/// What is done with a file of some format: opened, and everything in it used.
let parsers: [String: @Sendable (String) throws -> Void] = [
    "safetensors": { path in
        let file = try SafetensorsFile(path)
        try file.requireFinite()
        for name in file.names {
            _ = try? file.float(name)
            _ = try? file.integers(name)
        }
    },
    "checkpoint": { path in
        let checkpoint = try SparseCheckpoint(TensorFiles.open(path))
        for name in checkpoint.names { _ = try checkpoint.matrix(name) }
    },
    "gguf": { path in
        let file = try GGUFFile(path)
        try file.requireFinite()
        for name in file.names { _ = try file.float(name) }
        _ = try Tokenizer(gguf: file).encode("a gap, left out")
    },
    "tokenizer": { path in
        let tokenizer = try Tokenizer(json: path)
        _ = tokenizer.decode(tokenizer.encode("a gap, left out <e> größer a\u{301}"))
    },
    "json": { _ = try JSONFields(contentsOf: $0) },
    "toml": { try ConfigurationFile($0).requireAllUsed() },
    "csv": { _ = try CSVTable(contentsOf: $0, header: .auto) },
    "npy": { _ = try NumPyArray(contentsOf: $0) },
    "npz": { path in
        let archive = try NumPyArchive(contentsOf: path)
        for name in archive.names { _ = try archive.array(name) }
    },
    "mtx": { _ = try MatrixMarketFile(contentsOf: $0) },
    "svm": { _ = try SvmlightFile(contentsOf: $0) },
    "idx": { _ = try IDXFile($0) },
]

private let format = ProcessInfo.processInfo.environment["FUZZ_FORMAT"] ?? ""
private let folder = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
private let path = folder + "/lacuna-fuzz-\(getpid()).\(format)"
private let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)

/// libFuzzer's entry: one input to the parser that `FUZZ_FORMAT` names. An error of Lacuna's own is a right answer; anything else ends the
/// process, and libFuzzer keeps the input.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let parser = parsers[format] else {
        fatalError("FUZZ_FORMAT is one of \(parsers.keys.sorted().joined(separator: ", "))")
    }
    // In memory and in place: a new file for every input would take most of the time.
    guard descriptor >= 0, count == 0 || pwrite(descriptor, start, count, 0) == count,
        ftruncate(descriptor, off_t(count)) == 0
    else { fatalError("\(path)") }
    do {
        try parser(path)
    } catch is LacunaError {
    } catch {
        fatalError("an untyped error: \(error)")
    }
    return 0
}
