import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct ActivationStoreTests {
    private static let configuration: TransformerConfiguration = {
        var configuration = TransformerConfiguration(
            vocabularySize: 40, hiddenSize: 16, intermediateSizes: [24, 24, 24], headCount: 4, keyValueHeadCount: 2,
            headSize: 6, maximumPositions: 32, tiedEmbeddings: true)
        configuration.normalizesOutputs = true
        return configuration
    }()
    private let model = try! Transformer(random: configuration, seed: 3)
    private let sites = [
        ActivationSite(layer: 0, .residual), ActivationSite(layer: 1, .attention), ActivationSite(layer: 1, .mlp),
        ActivationSite(layer: 1, .residual),
    ]
    private let tokens = (0..<8 * 9 + 3).map { ($0 * 7 + $0 / 5) % 40 }

    private func write(
        _ path: String, sites: [ActivationSite]? = nil, skipping: Int = 2, type: ElementType = .f32,
        model: Transformer? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> ActivationStore {
        try ActivationStore.write(
            model ?? self.model, model: "tiny", tokens: tokens, sites: sites ?? self.sites, context: 8,
            skipping: skipping,
            type: type, shardTokens: 24, to: path, progress: progress)
    }

    /// The parts of a block add up to what the block gives.
    @Test func sitesAddUp() throws {
        let ids = Array(tokens[0..<16])
        var seen: [ActivationSite: Tensor<Float>] = [:]
        var order: [ActivationSite] = []
        let last = try model.hiddenStates(ids, sequenceLength: 8, sites: sites) { site, values in
            seen[site] = values
            order.append(site)
            return false
        }
        #expect(order == sites)
        #expect(last == (try model.hiddenStates(ids, sequenceLength: 8)))
        // Block by block, with what the output projection reads.
        var hidden = try model.embed(ids)
        try model.runBlock(0, hidden: &hidden, sequenceLength: 8)
        #expect(seen[sites[0]] == hidden)
        var heads: Tensor<Float>?
        try model.runBlock(1, hidden: &hidden, sequenceLength: 8) { names, inputs, count in
            if names == ["model.layers.1.self_attn.o_proj.weight"] {
                heads = Tensor(UnsafeBufferPointer(start: inputs, count: count * 24), shape: [count, 24])
            }
        }
        #expect(seen[sites[1]] == heads)
        #expect(seen[sites[3]] == hidden)
        // Without the feed-forward part the block gives what is left.
        var silent = try model.hiddenStates(ids, sequenceLength: 8, sites: [sites[2]], upTo: 2) { _, values in
            values = Tensor(zeros: values.shape)
            return true
        }
        let mlp = seen[sites[2]]!
        silent.withMutablePointer { p in for i in 0..<mlp.count { p[i] += mlp.scalars[i] } }
        expectClose(silent, hidden, 1e-5)
    }

    @Test func replacementsReachWhatFollows() throws {
        let ids = Array(tokens[0..<16])
        let clean = try model.hiddenStates(ids, sequenceLength: 8)
        for site in sites {
            let same = try model.hiddenStates(ids, sequenceLength: 8, sites: [site]) { _, _ in true }
            expectClose(same, clean, 1e-5)
            let zeroed = try model.hiddenStates(ids, sequenceLength: 8, sites: [site]) { _, values in
                values = Tensor(zeros: values.shape)
                return true
            }
            #expect(zip(zeroed.scalars, clean.scalars).contains { abs($0 - $1) > 1e-2 }, "\(site)")
            // What is changed in the second sequence does not reach the first.
            let second = try model.hiddenStates(ids, sequenceLength: 8, sites: [site]) { _, values in
                for i in 8..<16 { for j in 0..<values.columns { values[i, j] = 0 } }
                return true
            }
            #expect(second.rows(0..<8) == clean.rows(0..<8))
            #expect(second.rows(8..<16) != clean.rows(8..<16))
        }
    }

    @Test func siteNames() {
        #expect(ActivationSite("12.residual") == ActivationSite(layer: 12, .residual))
        #expect(ActivationSite("0.attention")?.description == "0.attention")
        for bad in ["residual", "x.mlp", "-1.mlp", "1.nothing", "1.mlp.2", ""] { #expect(ActivationSite(bad) == nil) }
        #expect(sites.map { $0.dimensions(of: Self.configuration) } == [16, 24, 16, 16])
        #expect(throws: LacunaError.self) { try ActivationSite(layer: 3, .mlp).validate(for: Self.configuration) }
    }

    @Test func whatIsStoredIsWhatTheModelComputes() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        for (name, type) in [("a", ElementType.f32), ("b", .bf16)] {
            let path = FileSystem.join(directory, name)
            let store = try write(path, type: type)
            // Nine sequences in shards of three, six rows each.
            #expect(store.rows == 54 && store.description.sequences == 9 && store.description.shardCount == 3)
            for site in sites {
                var expected: Tensor<Float>?
                _ = try model.hiddenStates(Array(tokens[40..<48]), sequenceLength: 8, sites: [site]) { _, values in
                    expected = values
                    return false
                }
                // Sequence 5, positions 2...7.
                let found = try store.activations(site, rows: [30, 35, 31])
                for (i, position) in [2, 7, 3].enumerated() {
                    for j in 0..<found.columns {
                        let value = expected![position, j]
                        // Rounded to 8 bits, to the nearest: half of the last one is 2⁻⁸ of the value at most.
                        #expect(abs(found[i, j] - value) < 1e-5 + (type == .bf16 ? 0x1p-8 * abs(value) : 0))
                        #expect(type == .f32 || found[i, j].bitPattern & 0xFFFF == 0)
                    }
                }
            }
            #expect(store.place(ofRow: 35) == (5, 7))
            #expect(try store.tokens(sequence: 5) == Array(tokens[40..<48]))
        }
    }

    @Test func batchesDrawEveryRowOnce() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let store = try write(FileSystem.join(directory, "a"))
        let batches = try store.batches(of: sites[0], target: sites[1], size: 10, heldOut: 2, seed: 3)
        #expect(batches.batchesPerEpoch == 4)
        let all = try store.activations(sites[0], rows: 0..<54)
        var seen: Set<Int> = []
        for step in 0..<4 {
            let batch = batches.batch(step: step)
            #expect(batch.targets?.shape == [10, 24])
            for i in 0..<10 {
                let row = (0..<54).first { all.rows($0..<$0 + 1) == batch.inputs.rows(i..<i + 1) }!
                #expect(seen.insert(row).inserted && row < 42)
                #expect(try store.activations(sites[1], rows: [row]) == batch.targets!.rows(i..<i + 1))
            }
        }
        #expect(
            batches.batch(step: 2).inputs
                == (try store.batches(of: sites[0], size: 10, heldOut: 2, seed: 3)).batch(step: 2).inputs)
        #expect(batches.batch(step: 4).inputs != batches.batch(step: 0).inputs)
        #expect(throws: LacunaError.self) { try store.batches(of: sites[0], size: 43, heldOut: 2, seed: 3) }
        #expect(throws: LacunaError.self) { try store.batches(of: ActivationSite(layer: 2, .mlp), size: 4, seed: 3) }
        #expect(throws: LacunaError.self) { try store.activations(sites[0], rows: [54]) }
        #expect(throws: LacunaError.self) { try store.tokens(sequence: 9) }
    }

    private final class Stopper: ProgressReporter, @unchecked Sendable {
        var updates = 0
        func update(task: String, completed: Int, total: Int, detail: String) { updates += 1 }
        var isCancelled: Bool { updates == 2 }
    }

    @Test func writingGoesOnWhereItStopped() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let (whole, path) = (FileSystem.join(directory, "a"), FileSystem.join(directory, "b"))
        let expected = try write(whole)
        #expect(throws: LacunaError.cancelled) { try write(path, progress: Stopper()) }
        #expect(FileSystem.exists(path + "/shard-00000.safetensors"))
        #expect(!FileSystem.exists(path + "/shard-00001.safetensors"))
        #expect(ActivationStore.isStore(path))
        #expect(throws: LacunaError.self) { try ActivationStore(path) }
        let stamp = try FileSystem.readBytes(path + "/shard-00000.safetensors")
        let resumed = try write(path)
        #expect(stamp == (try FileSystem.readBytes(path + "/shard-00000.safetensors")))
        for site in sites {
            #expect(
                try resumed.activations(site, rows: 0..<54) == expected.activations(site, rows: 0..<54))
        }
        // Other activations do not go into it.
        #expect(throws: LacunaError.self) { try write(path, skipping: 1) }
        #expect(throws: LacunaError.self) { try write(path, sites: [sites[0]]) }
        // Nor into a directory of something else.
        try AtomicFile.write("text", to: FileSystem.join(directory, "note"))
        #expect(throws: LacunaError.self) { try write(directory) }
    }

    @Test func refusals() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let path = FileSystem.join(directory, "a")
        #expect(throws: LacunaError.self) { try write(path, sites: []) }
        #expect(throws: LacunaError.self) { try write(path, sites: [sites[0], sites[0]]) }
        #expect(throws: LacunaError.self) { try write(path, sites: [ActivationSite(layer: 9, .mlp)]) }
        #expect(throws: LacunaError.self) { try write(path, skipping: 8) }
        #expect(throws: LacunaError.self) { try write(path, type: .i32) }
        #expect(!FileSystem.exists(path))
        var blocks = model.blocks
        blocks[0].attentionNorm.weight = Tensor(repeating: .infinity, shape: [16])
        let broken = try Transformer(
            configuration: model.configuration, embedding: model.embedding, blocks: blocks, finalNorm: model.finalNorm,
            untiedHead: model.untiedHead)
        do {
            _ = try write(path, model: broken)
            Issue.record("not refused")
        } catch LacunaError.numerical(_, let reason) {
            #expect(reason == "0.residual is not finite at token 2")
        }
    }

    @Test func damagedStoresAreRefused() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let path = FileSystem.join(directory, "a")
        _ = try write(path)
        let manifest = path + "/store.json"
        let text = try FileSystem.readText(manifest)
        for (old, new) in [
            ("\"sequences\": 9", "\"sequences\": 90"), ("\"sequences\": 9", "\"sequences\": 8"),
            ("\"sequences\": 9", "\"sequences\": -1"), ("\"context\": 8", "\"context\": 9"),
            ("\"0.residual\"", "\"0.stream\""), ("\"type\": \"f32\"", "\"type\": \"bf16\""),
            ("\"type\": \"f32\"", "\"type\": \"i8\""), ("\"version\": 1", "\"version\": 2"),
            ("\"sequences_per_shard\": 3", "\"sequences_per_shard\": 0"),
        ] {
            var parts = text.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
            #expect(parts.count == 2, "\(old)")
            parts.insert(Substring(new), at: 1)
            try AtomicFile.write(parts.joined(), to: manifest)
            #expect(throws: LacunaError.self, "\(new)") { try ActivationStore(path) }
        }
    }
}
