import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Damaged files of every kind that a command reads, each within a limit of memory and time: the program says what is wrong
/// (2), or that it cannot be done (1), or it works (0). It is never ended by a signal and never hangs.
///
/// A fixed sample by default. `LACUNA_FUZZ=20000 swift test --filter HostileInput` (`make fuzz`) tries as many, other ones
/// with every `LACUNA_FUZZ_SEED`.
@Suite(.serialized) struct HostileInputTests {
    /// Kilobytes of address space, of which the program and its libraries take a third.
    private static let memory = 1_500_000
    private static let seconds = 10

    private static let environment = ProcessInfo.processInfo.environment
    private static let executions = environment["LACUNA_FUZZ"].flatMap { Int($0) } ?? 340
    private static let seed = environment["LACUNA_FUZZ_SEED"].flatMap { UInt64($0) } ?? 0

    /// A valid file, where it has to lie, and what reads it.
    struct Target: Sendable, CustomStringConvertible {
        let description: String
        /// The file's name below the folder.
        let file: String
        let commands: [[String]]
    }

    /// `AT` stands for the folder.
    static let targets: [Target] = [
        Target(
            description: "safetensors", file: "model/model.safetensors",
            commands: [["inspect", "AT/model"], ["run", "AT/model", "--prompt", "ab", "--max-tokens", "2"]]),
        Target(
            description: "sparse safetensors", file: "sparse/model.safetensors",
            commands: [["inspect", "AT/sparse"], ["run", "AT/sparse", "--prompt", "ab", "--max-tokens", "2"]]),
        Target(
            description: "config.json", file: "sparse/config.json",
            commands: [["run", "AT/sparse", "--prompt", "ab", "--max-tokens", "2"]]),
        Target(
            description: "tokenizer.json", file: "model/tokenizer.json",
            commands: [["run", "AT/model", "--prompt", "ab", "--max-tokens", "2"]]),
        Target(
            description: "GGUF", file: "model.gguf",
            commands: [["inspect", "AT/model.gguf"], ["run", "AT/model.gguf", "--prompt", "ab", "--max-tokens", "2"]]),
        Target(
            description: "text", file: "text.txt",
            commands: [["eval", "AT/model", "--text", "AT/text.txt", "--tokens", "64"]]),
        Target(
            description: "CSV", file: "t.csv",
            commands: [
                [
                    "fit", "lasso", "AT/t.csv", "--target", "y", "--lambda", "0.1", "--text", "one-hot", "--missing",
                    "drop",
                ],
                ["fit", "predict", "AT/m.json", "AT/t.csv"],
                ["fit", "screen", "AT/t.csv", "--target", "y", "--text", "drop"],
            ]),
        Target(
            description: "TSV", file: "t.tsv",
            commands: [["fit", "lasso", "AT/t.tsv", "--target", "y", "--folds", "3", "--count", "5"]]),
        Target(description: "SVMlight", file: "t.svm", commands: [["fit", "lasso", "AT/t.svm", "--lambda", "0.1"]]),
        Target(
            description: "NumPy", file: "t.npy",
            commands: [["fit", "lasso", "AT/t.npy", "--target", "1", "--lambda", "0.1"]]),
        Target(
            description: "MatrixMarket", file: "t.mtx",
            commands: [["fit", "lasso", "AT/t.mtx", "--target", "AT/y.txt", "--lambda", "0.1"]]),
        Target(
            description: "fitted model", file: "m.json", commands: [["fit", "predict", "AT/m.json", "AT/predict.csv"]]),
        Target(
            description: "TOML", file: "run.toml", commands: [["train", "AT/run.toml", "--output", "AT/trained"]]),
        Target(
            description: "training table", file: "train.csv",
            commands: [["train", "AT/run.toml", "--output", "AT/trained"]]),
        Target(
            description: "checkpoint", file: "resumed/checkpoint.safetensors",
            commands: [["train", "--resume", "AT/resumed"]]),
        Target(
            description: "gzipped images", file: "images/train-images-idx3-ubyte.gz",
            commands: [["train", "AT/images.toml", "--output", "AT/trained"]]),
        Target(
            description: "network", file: "resumed/network.json",
            commands: [["train", "AT/resumed", "--predict", "AT/train.csv"]]),
        Target(
            description: "network's weights", file: "resumed/model.safetensors",
            commands: [["train", "AT/resumed", "--predict", "AT/train.csv"]]),
        Target(
            description: "corpus", file: "corpus.jsonl",
            commands: [
                ["index", "build", "AT/built", "AT/corpus.jsonl", "--bm25", "--force"],
                ["encode", "AT/corpus.jsonl", "--model", "AT/encoder", "--output", "AT/trained"],
            ]),
        Target(
            description: "encoder", file: "encoder/model.safetensors",
            commands: [["encode", "AT/corpus.jsonl", "--model", "AT/encoder", "--output", "AT/trained"]]),
        Target(
            description: "modules", file: "encoder/modules.json",
            commands: [["encode", "AT/corpus.jsonl", "--model", "AT/encoder", "--output", "AT/trained"]]),
        Target(
            description: "index", file: "index/index.json",
            commands: [["search", "AT/index", "--query", "the gap"], ["index", "stats", "AT/index"]]),
        Target(
            description: "index's documents", file: "index/segment-00000001.lacuna",
            commands: [
                ["search", "AT/index", "--query", "the gap"], ["search", "AT/index", "--query", "the gap", "--trust"],
            ]),
        Target(
            description: "ranking", file: "a.run", commands: [["evaluate", "AT/a.run", "AT/qrels.tsv"]]),
        Target(
            description: "judgements", file: "qrels.tsv", commands: [["evaluate", "AT/a.run", "AT/qrels.tsv"]]),
        Target(
            description: "dictionary", file: "sae/topk/cfg.json",
            commands: [
                ["explain", "eval", "AT/sae/topk", "--model", "AT/model", "--text", "AT/text.txt", "--context", "8"]
            ]),
        Target(
            description: "dictionary's weights", file: "sae/topk/sae_weights.safetensors",
            commands: [
                ["explain", "eval", "AT/sae/topk", "--model", "AT/model", "--text", "AT/text.txt", "--context", "8"]
            ]),
        Target(
            description: "vectors", file: "t.npy",
            commands: [["explain", "code", "AT/t.npy", "--atoms", "4", "--steps", "3", "--batch", "4"]]),
    ]

    /// A folder with a valid file of every kind.
    private final class Bed {
        let folder: Folder
        let tiny: TinyModel

        init() throws {
            folder = try Folder()
            tiny = try TinyModel()
            let at = folder.path
            try FileSystem.createDirectory(at + "/model")
            for name in try FileSystem.list(tiny.path) where !name.hasPrefix(".") {
                try folder.write(FileSystem.readBytes(tiny.path + "/" + name), to: "model/" + name)
            }
            try folder.write("the gap left out, on purpose. größer → 漢字\n", to: "text.txt")
            let rows = (0..<12).map { "\($0).5,\($0 * $0 % 7),\($0 % 3 == 0 ? "x" : "\"y, z\""),\(2 * $0 - 5)\n" }
            try folder.write("a,b,word,y\n" + rows.joined(), to: "t.csv")
            try folder.write("a,b,word\n1,2,x\n3,4,\"y, z\"\n", to: "predict.csv")
            let numbers = (0..<12).map { "\($0)\t\($0 * 5 % 7)\t\($0 * 2)\n" }
            try folder.write("a\tb\ty\n" + numbers.joined(), to: "t.tsv")
            try folder.write((0..<12).map { "\($0 * 2) 1:\($0) 3:\($0 % 4).25 7:1e-2\n" }.joined(), to: "t.svm")
            try folder.write((0..<6).map { "\($0 * $0)\n" }.joined(), to: "y.txt")
            try folder.write(
                "%%MatrixMarket matrix coordinate real general\n% a comment\n6 3 7\n1 1 1\n2 1 -2.5\n3 2 1e1\n4 2 2\n5 3 1\n6 3 2\n6 1 1\n",
                to: "t.mtx")
            var header = "{'descr': '<f8', 'fortran_order': False, 'shape': (6, 3), }"
            while (10 + header.utf8.count + 1) % 64 != 0 { header += " " }
            header += "\n"
            let values = (0..<18).map { Double($0 * $0 % 11) }
            try folder.write(
                [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0] + Array(header.utf8)
                    + values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } },
                to: "t.npy")
            try folder.write(
                "a,b,class\n" + (0..<20).map { "\($0),\($0 * 3 % 7),\($0 % 2)\n" }.joined(), to: "train.csv")
            let settings = """
                [model]
                kind = "mlp"
                hidden = [4, 4]
                [method]
                name = "rigl"
                sparsity = 0.5
                [optimizer]
                learning_rate = 1e-2
                [training]
                steps = 3
                """
            try folder.write(
                "seed = 1\n[data]\nkind = \"csv\"\npath = \"\(at)/train.csv\"\nbatch = 4\n" + settings, to: "run.toml")
            try folder.write(
                "[data]\nkind = \"fashion-mnist\"\npath = \"\(at)/images\"\nlimit = 4\nbatch = 2\n" + settings,
                to: "images.toml")
            try FileSystem.createDirectory(at + "/images")
            for (part, count) in [("train", 6), ("t10k", 4)] {
                let images =
                    [0, 0, 8, 3, 0, 0, 0, UInt8(count), 0, 0, 0, 4, 0, 0, 0, 4]
                    + (0..<16 * count).map { UInt8($0 % 251) }
                try folder.write(images, to: "images/\(part)-images-idx3-ubyte")
                try folder.write(
                    [0, 0, 8, 1, 0, 0, 0, UInt8(count)] + (0..<count).map { UInt8($0 % 10) },
                    to: "images/\(part)-labels-idx1-ubyte")
            }
            _ = try ChildProcess(
                executable: "/usr/bin/env", arguments: ["gzip", "\(at)/images/train-images-idx3-ubyte"]
            ).run()
            try folder.write(tiny.gguf(), to: "model.gguf")
            try TinyModel.writeEncoder(to: at + "/encoder")
            try folder.write(
                (0..<5).map { "{\"_id\": \"d\($0)\", \"title\": \"gap\", \"text\": \"left out, \($0) times\"}\n" }
                    .joined(), to: "corpus.jsonl")
            try folder.write("q1 Q0 d1 1 2.5 a\nq1 Q0 d0 2 1e-1 a\nq2 Q0 d3 1 7 a\n", to: "a.run")
            try folder.write("query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td0\t1\n", to: "qrels.tsv")
            for command in [
                ["prune", "AT/model", "--method", "magnitude", "--output", "AT/sparse", "--weights", "int4"],
                [
                    "fit", "lasso", "AT/t.csv", "--target", "y", "--lambda", "0.1", "--text", "one-hot", "--model",
                    "AT/m.json",
                ],
                ["train", "AT/run.toml", "--output", "AT/resumed"],
                ["index", "build", "AT/index", "AT/corpus.jsonl", "--bm25"],
                [
                    "explain", "train", "AT/model", "--layer", "1", "--text", "AT/text.txt", "--context", "8",
                    "--width",
                    "32", "--k", "4", "--batch", "8", "--steps", "4", "--output", "AT/sae",
                ],
            ] {
                let outcome = try Program().run(command.map { $0.replacing("AT", with: at) } + ["--quiet"])
                #expect(outcome.status == 0, "\(command): \(outcome)")
            }
        }
    }

    @Test func noDamagedFileEndsTheProgram() throws {
        let bed = try Bed()
        let at = bed.folder.path
        var generator = SeededGenerator(seed: Self.seed, stream: 0xF022)
        var statuses: [Int32: Int] = [:]
        let share = max(1, Self.executions / Self.targets.reduce(0) { $0 + $1.commands.count })
        for target in Self.targets {
            let whole = try FileSystem.readBytes(bed.folder.file(target.file))
            var mutator = Mutator(whole, seed: generator.next())
            for round in 0..<share {
                let damaged = round == 0 ? whole : mutator.next()
                try bed.folder.write(damaged, to: target.file)
                for command in target.commands {
                    try FileSystem.remove(at + "/trained")
                    let outcome = try Program(memory: Self.memory, time: Self.seconds).run(
                        command.map { $0.replacing("AT", with: at) }
                            + ["--threads", "1", "--quiet"].filter { _ in
                                command[0] != "evaluate" && !["predict", "stats"].contains(command[1])
                            })
                    statuses[outcome.status, default: 0] += 1
                    let isFine = round == 0 ? outcome.status == 0 : (0...2).contains(outcome.status)
                    #expect(
                        isFine,
                        "\(target), round \(round): \(command) ends with \(outcome.status): \(outcome.errorOutput)")
                    if outcome.status == 2 {
                        #expect(outcome.errorOutput.contains("lacuna: error: "), "\(target): \(outcome)")
                    }
                    guard isFine else {
                        // What hurts is kept for a look.
                        let kept = "/tmp/lacuna-hostile-\(target.file.replacing("/", with: "-"))-\(round)"
                        try AtomicFile.write(damaged, to: kept)
                        continue
                    }
                }
            }
            try bed.folder.write(whole, to: target.file)
        }
        print(
            "hostile inputs: \(statuses.values.reduce(0, +)) executions, statuses \(statuses.sorted { $0.key < $1.key })"
        )
    }
}

/// Damaged versions of a file, one after the other.
struct Mutator {
    private let whole: [UInt8]
    private var generator: SeededGenerator

    init(_ whole: [UInt8], seed: UInt64) {
        self.whole = whole
        generator = SeededGenerator(seed: seed)
    }

    /// Numbers that have hurt parsers before.
    private static let numbers = [
        "-1", "0", "255", "65536", "268435456", "2147483648", "4294967296", "9223372036854775807",
        "18446744073709551616",
        "-9223372036854775808", "1e308", "-1e308", "1e-320", "nan", "inf", "1e999", "00", "0x7f", "",
    ]
    private static let bytes: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x0A, 0x22, 0x2C, 0x5B, 0x7B, 0x5C, 0x1B]

    /// One to three changes, most of them near the beginning, where formats keep what they say of themselves.
    mutating func next() -> [UInt8] {
        var bytes = whole
        for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty { change(&bytes) }
        return bytes
    }

    private mutating func place(_ count: Int) -> Int {
        let limit = Bool.random(using: &generator) ? count : min(count, 512)
        return Int.random(in: 0..<limit, using: &generator)
    }

    private mutating func change(_ bytes: inout [UInt8]) {
        let at = place(bytes.count)
        let length = min(bytes.count - at, Int.random(in: 1...16, using: &generator))
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes[at] = Self.bytes.randomElement(using: &generator)!
        case 2: bytes.removeSubrange(at...)
        case 3: bytes.removeSubrange(at..<at + length)
        case 4: bytes.insert(contentsOf: bytes[at..<at + length], at: at)
        case 5: bytes.insert(Self.bytes.randomElement(using: &generator)!, at: at)
        case 6: bytes.replaceSubrange(at..<at + length, with: repeatElement(0xFF, count: length))
        case 7:
            // A whole 32- or 64-bit number.
            let size = min([4, 8].randomElement(using: &generator)!, bytes.count - at)
            let value = [0, 1, 1 << 28, 1 << 31, 1 << 32, 1 << 60, UInt64.max].randomElement(using: &generator)!
            for k in 0..<size { bytes[at + k] = UInt8(truncatingIfNeeded: value >> UInt64(8 * k)) }
        default:
            // A written number becomes another.
            guard let first = bytes[at...].firstIndex(where: { (48...57).contains($0) }) else { return }
            let end = bytes[first...].firstIndex { !(48...57).contains($0) } ?? bytes.count
            bytes.replaceSubrange(first..<end, with: Self.numbers.randomElement(using: &generator)!.utf8)
        }
    }
}
