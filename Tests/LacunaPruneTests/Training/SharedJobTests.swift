import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaTensor
import Testing

/// Runs of a configuration that several processes share, threads standing in for them.
@Suite struct SharedJobTests {
    private static func job(_ method: String, accumulation: Int = 4, steps: Int = 24) throws -> TrainingJob {
        try TrainingJob(
            ConfigurationFile(
                text: """
                    data.kind = "csv"
                    data.path = "\(TrainingJobTests.table)"
                    data.batch = 8
                    model.kind = "mlp"
                    model.hidden = [16, 16]
                    model.dropout = 0.1
                    \(method)
                    optimizer.learning_rate = 0.01
                    training.steps = \(steps)
                    training.accumulation = \(accumulation)
                    """, file: "t.toml"), fetch: { _ in "" })
    }

    private static let methods = [
        "method.name = \"dense\"",
        "method.name = \"rigl\"\nmethod.sparsity = 0.5\nmethod.storage = \"csr\"\nmethod.interval = 6",
    ]

    @Test(arguments: methods) func twoGiveWhatOneDoes(method: String) throws {
        let alone = try Self.job(method).run(directory: nil, collective: SingleProcess())
        let folder = FileSystem.join("/tmp", "lacuna-shared-\(UInt64.random(in: 0...UInt64.max))")
        defer { try? FileSystem.remove(folder) }
        let shared = try ThreadRanks.run(2) { ranks in
            try Self.job(method).run(directory: folder, collective: ranks).metrics.last!.values.map(\.value)
        }
        #expect(shared[0] == shared[1])
        for (found, expected) in zip(shared[0], alone.metrics.last!.values) {
            #expect(abs(found - expected.value) < 1e-3 * max(1, abs(expected.value)), "\(expected.name)")
        }
        // Both wrote to one directory, and one of them did.
        #expect(FileSystem.exists(folder + "/model.safetensors"))
        #expect(try !FileSystem.readText(folder + "/metrics.jsonl").isEmpty)
    }

    @Test func thereHasToBeABatchForEach() {
        #expect(throws: LacunaError.self) {
            _ = try ThreadRanks.run(2) {
                try Self.job(Self.methods[0], accumulation: 1).run(directory: nil, collective: $0)
            }
        }
    }
}
