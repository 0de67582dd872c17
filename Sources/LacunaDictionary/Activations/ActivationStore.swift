import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// Activations of a model at some sites, on disk, with the tokens that they belong to.
///
/// A directory of shards, each a safetensors file that appears whole or not at all: `tokens` [sequences, context] and
/// for every site `LAYER.PART` [rows, dimensions] in bf16 or f32, and `store.json`, which says what they are. Writing
/// can be stopped at any moment and taken up again. Shards are memory-mapped when they are read; neither model nor
/// text is needed then.
public final class ActivationStore: Sendable {
    /// The directory.
    public let path: String
    /// What its `store.json` says.
    public let description: Description
    private let shards: [SafetensorsFile]
    /// Where the activations of each site begin, shard by shard. The files are mapped as long as this object lives.
    private let bases: [[Address]]

    private struct Address: @unchecked Sendable {
        let pointer: UnsafeRawPointer
    }

    /// What a store holds.
    public struct Description: Sendable, Equatable {
        /// The model, as its user calls it.
        public var model: String
        /// The sites whose activations are kept, each once.
        public var sites: [ActivationSite]
        /// Numbers a row, of each site.
        public var dimensions: [Int]
        /// Tokens of a sequence.
        public var context: Int
        /// Positions at the beginning of every sequence of which no activations are kept: their norms dominate.
        public var skipped: Int
        /// Sequences of the whole store.
        public var sequences: Int
        /// Sequences of every shard but the last, which may have fewer.
        public var sequencesPerShard: Int
        /// What numbers are kept in: bf16 or f32. They are read as f32 either way.
        public var type: ElementType
        /// A checksum of the tokens.
        public var checksum: String

        /// Rows of each sequence.
        var rowsPerSequence: Int { context - skipped }
        var shardCount: Int { (sequences + sequencesPerShard - 1) / sequencesPerShard }
        func sequences(ofShard shard: Int) -> Range<Int> {
            shard * sequencesPerShard..<min((shard + 1) * sequencesPerShard, sequences)
        }
    }

    /// Rows of every site: tokens whose activations are kept.
    public var rows: Int { description.sequences * description.rowsPerSequence }

    // MARK: Writing

    /// Runs a model over a text and writes what it computes at some sites, or goes on where that was interrupted.
    ///
    /// - Parameters:
    ///   - tokens: Are cut into sequences of `context` tokens, which are read each by itself; a rest is left out.
    ///   - sites: All are read in one pass.
    ///   - context: Tokens of a sequence.
    ///   - skipping: Positions at the beginning of each sequence that are not kept.
    ///   - type: bf16 or f32.
    ///   - shardTokens: Tokens of a shard, about; what is lost at most by an interruption.
    /// - Throws: `LacunaError.invalidArgument` for a text shorter than a sequence, a site that the model does not
    ///   have, no sites or one twice; `.file` if the directory holds something else, or activations of another kind;
    ///   `.numerical` naming the site and the token of activations that are not finite; `.resource` if the disk has
    ///   too little room; `.cancelled`.
    public static func write(
        _ decoder: Transformer, model: String, tokens: [Int], sites: [ActivationSite], context: Int = 128,
        skipping: Int = 1, type: ElementType = .bf16, shardTokens: Int = 16384, to path: String,
        progress: (any ProgressReporter)? = nil
    ) throws -> ActivationStore {
        guard context >= 2, (0..<context).contains(skipping) else {
            throw LacunaError.invalidArgument("context", reason: "\(context) tokens, of which \(skipping) are skipped")
        }
        guard tokens.count >= context else {
            throw LacunaError.invalidArgument(
                "text", reason: "\(tokens.count) tokens are less than a sequence of \(context)")
        }
        guard !sites.isEmpty, Set(sites).count == sites.count else {
            throw LacunaError.invalidArgument("sites", reason: "\(sites.map(\.description)): need some, each once")
        }
        guard type == .bf16 || type == .f32 else {
            throw LacunaError.invalidArgument(
                "type", reason: "activations are kept in bf16 or f32, not \(type.rawValue)")
        }
        for site in sites { try site.validate(for: decoder.configuration) }
        let sequences = tokens.count / context
        let used = Array(tokens[0..<sequences * context])
        let description = Description(
            model: model, sites: sites, dimensions: sites.map { $0.dimensions(of: decoder.configuration) },
            context: context, skipped: skipping, sequences: sequences,
            sequencesPerShard: max(1, shardTokens / context), type: type, checksum: Self.checksum(used))
        let lock = try DirectoryLock(path)
        defer { lock.release() }
        let manifest = FileSystem.join(path, manifestName)
        if FileSystem.exists(manifest) {
            let found = try Description(contentsOf: manifest)
            if found != description {
                throw LacunaError.file(
                    path: path, reason: "holds other activations: \(found.difference(from: description))")
            }
        } else {
            if FileSystem.exists(path), !(try FileSystem.list(path)).isEmpty {
                throw LacunaError.file(path: path, reason: "is not empty and holds no \(manifestName)")
            }
            try FileSystem.createDirectory(path)
            try AtomicFile.write(description.json.serialized(.pretty), to: manifest)
        }
        let bytes = sequences * description.rowsPerSequence * description.dimensions.reduce(0, +) * type.size
        let missing = (0..<description.shardCount).filter { !FileSystem.exists(shard($0, in: path)) }
        let needed = bytes / max(description.shardCount, 1) * missing.count
        if let room = FileSystem.availableSpace(path), room < needed {
            throw LacunaError.resource("room for activations at \(path)", needed: needed, available: room)
        }
        for (done, number) in missing.enumerated() {
            try progress.report(
                "activations", description.shardCount - missing.count + done, of: description.shardCount,
                "\(sites.count) sites")
            try writeShard(number, decoder, tokens: used, description, to: path)
        }
        if !missing.isEmpty {
            progress?.update(
                task: "activations", completed: description.shardCount, total: description.shardCount, detail: "done")
        }
        return try ActivationStore(path)
    }

    private static func writeShard(
        _ number: Int, _ decoder: Transformer, tokens: [Int], _ description: Description, to path: String
    ) throws {
        let range = description.sequences(ofShard: number)
        let (context, skipped) = (description.context, description.skipped)
        let part = Array(tokens[range.lowerBound * context..<range.upperBound * context])
        let writer = try SafetensorsWriter(shard(number, in: path))
        try writer.write(
            "tokens", type: .i32, shape: [range.count, context], values: part.map { Int32(truncatingIfNeeded: $0) })
        let last = description.sites.map(\.layer).max()! + 1
        // Sites of all pieces are collected, as a tensor is written at once.
        var collected: [ActivationSite: [Tensor<Float>]] = [:]
        let piece = max(1, 2048 / context)
        for first in stride(from: 0, to: range.count, by: piece) {
            let count = min(piece, range.count - first)
            _ = try decoder.hiddenStates(
                Array(part[first * context..<(first + count) * context]), sequenceLength: context,
                sites: description.sites, upTo: last
            ) { site, values in
                let kept = (0..<count).flatMap { s in (skipped..<context).map { s * context + $0 } }
                let rows = values.selectingRows(kept)
                if let bad = rows.firstRowNotFinite {
                    let sequence = range.lowerBound + first + bad / (context - skipped)
                    throw LacunaError.numerical(
                        operation: "activations",
                        reason:
                            "\(site) is not finite at token \(sequence * context + skipped + bad % (context - skipped))"
                    )
                }
                collected[site, default: []].append(rows)
                return false
            }
        }
        for site in description.sites {
            let parts = collected[site] ?? []
            var all = Tensor<Float>(
                uninitialized: [range.count * description.rowsPerSequence, site.dimensions(of: decoder.configuration)])
            all.withMutablePointer { target in
                var offset = 0
                for part in parts {
                    part.withPointer { (target + offset).update(from: $0, count: part.count) }
                    offset += part.count
                }
            }
            try writer.write(site.description, all, as: description.type)
        }
        try writer.finish()
    }

    private static let manifestName = "store.json"

    private static func shard(_ number: Int, in path: String) -> String {
        let digits = String(number)
        let padding = String(repeating: "0", count: max(0, 5 - digits.count))
        return FileSystem.join(path, "shard-\(padding)\(digits).safetensors")
    }

    /// FNV-1a of the tokens, with their number.
    private static func checksum(_ tokens: some Collection<Int>) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for token in tokens {
            hash = (hash ^ UInt64(truncatingIfNeeded: token)) &* 0x0000_0100_0000_01B3
        }
        return "\(tokens.count)-\(String(hash, radix: 16))"
    }

    // MARK: Reading

    /// Opens a complete store.
    ///
    /// - Throws: `LacunaError.file` if there is none or a shard is missing, `.malformed` and `.tensorMismatch` for
    ///   one that is damaged.
    public init(_ path: String) throws {
        self.path = path
        let description = try Description(contentsOf: FileSystem.join(path, Self.manifestName))
        self.description = description
        let shards = try (0..<description.shardCount).map { number in
            let file = Self.shard(number, in: path)
            guard FileSystem.exists(file) else {
                throw LacunaError.file(
                    path: path, reason: "is not complete: there is no \(FileSystem.name(of: file))")
            }
            let shard = try SafetensorsFile(file)
            let sequences = description.sequences(ofShard: number).count
            try shard.info("tokens").require(shape: [sequences, description.context])
            for (site, dimensions) in zip(description.sites, description.dimensions) {
                let info = try shard.info(site.description)
                try info.require(shape: [sequences * description.rowsPerSequence, dimensions])
                try info.require(type: description.type)
            }
            return shard
        }
        self.shards = shards
        bases = try description.sites.map { site in
            try shards.map { Address(pointer: try $0.bytes(of: site.description).baseAddress!) }
        }
    }

    /// Whether a directory says of itself that it holds activations, complete or not.
    public static func isStore(_ path: String) -> Bool { FileSystem.exists(FileSystem.join(path, manifestName)) }

    /// Activations of a site at some rows, in their order.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a site that the store does not have, or a row outside it.
    public func activations(_ site: ActivationSite, rows wanted: some Collection<Int>) throws -> Tensor<Float> {
        let place = try number(of: site)
        if let bad = wanted.first(where: { $0 < 0 || $0 >= rows }) {
            throw LacunaError.invalidArgument("rows", reason: "\(bad) is not in 0..<\(rows)")
        }
        return gather(place, rows: wanted)
    }

    /// - Throws: `LacunaError.invalidArgument` for a site that the store does not have.
    func number(of site: ActivationSite) throws -> Int {
        guard let place = description.sites.firstIndex(of: site) else {
            throw LacunaError.invalidArgument(
                "site", reason: "\(site) is not one of \(description.sites.map(\.description).joined(separator: ", "))")
        }
        return place
    }

    /// The same for the number of a site, and rows that are known to be there.
    func gather(_ place: Int, rows wanted: some Collection<Int>) -> Tensor<Float> {
        let (d, size) = (description.dimensions[place], description.type.size)
        let perShard = description.sequencesPerShard * description.rowsPerSequence
        let bases = bases[place]
        var result = Tensor<Float>(uninitialized: [wanted.count, d])
        result.withMutablePointer { target in
            for (i, row) in wanted.enumerated() {
                let source = bases[row / perShard].pointer + row % perShard * d * size
                if description.type == .f32 {
                    UnsafeMutableRawPointer(target + i * d).copyMemory(from: source, byteCount: 4 * d)
                } else {
                    for j in 0..<d {
                        let bits = source.loadUnaligned(fromByteOffset: 2 * j, as: UInt16.self)
                        target[i * d + j] = Float(bitPattern: UInt32(bits) << 16)
                    }
                }
            }
        }
        return withExtendedLifetime(self) { result }
    }

    /// The tokens of a sequence, [context].
    public func tokens(sequence: Int) throws -> [Int] {
        guard (0..<description.sequences).contains(sequence) else {
            throw LacunaError.invalidArgument("sequence", reason: "\(sequence) is not in 0..<\(description.sequences)")
        }
        let (shard, place) = sequence.quotientAndRemainder(dividingBy: description.sequencesPerShard)
        let bytes = try shards[shard].bytes(of: "tokens")
        return (0..<description.context).map {
            Int(bytes.loadUnaligned(fromByteOffset: 4 * (place * description.context + $0), as: Int32.self))
        }
    }

    /// The sequence that a row belongs to, and its position in it.
    public func place(ofRow row: Int) -> (sequence: Int, position: Int) {
        (row / description.rowsPerSequence, description.skipped + row % description.rowsPerSequence)
    }

    /// Batches of a site's activations, in an order drawn anew for every pass over the store.
    ///
    /// - Parameters:
    ///   - target: The site that is to be decoded, for transcoders; nil for the same.
    ///   - heldOut: Sequences at the end of the store that are never drawn, for evaluation.
    /// - Throws: `LacunaError.invalidArgument` for sites that the store does not have and batches larger than it.
    public func batches(
        of site: ActivationSite, target: ActivationSite? = nil, size: Int, heldOut: Int = 0, seed: UInt64
    ) throws -> StoredBatches {
        try StoredBatches(self, site, target: target, size: size, heldOut: heldOut, seed: seed)
    }
}

/// Batches out of an ``ActivationStore``.
public struct StoredBatches: BatchSource {
    /// Where the rows come from.
    public let store: ActivationStore
    /// The site that is encoded.
    public let site: ActivationSite
    /// The site that is to be decoded, for transcoders; nil for ``site``.
    public let target: ActivationSite?
    /// Rows of a batch.
    public let size: Int
    private let rows: Int
    private let order: EpochOrder
    /// Numbers of the sites in the store.
    private let input: Int
    private let output: Int?

    init(
        _ store: ActivationStore, _ site: ActivationSite, target: ActivationSite?, size: Int, heldOut: Int, seed: UInt64
    ) throws {
        let sequences = store.description.sequences - heldOut
        rows = max(0, sequences) * store.description.rowsPerSequence
        guard heldOut >= 0, size >= 1, rows >= size else {
            throw LacunaError.invalidArgument(
                "batch", reason: "\(size) tokens of \(rows), with \(heldOut) sequences held out")
        }
        (input, output) = (try store.number(of: site), try target.map { try store.number(of: $0) })
        (self.store, self.site, self.target, self.size) = (store, site, target, size)
        order = EpochOrder(count: rows, seed: seed)
    }

    public var batchesPerEpoch: Int? { rows / size }

    public func batch(step: Int) -> ActivationBatch {
        let (epoch, place) = step.quotientAndRemainder(dividingBy: rows / size)
        let chosen = order.indices(epoch: epoch)[place * size..<(place + 1) * size]
        return ActivationBatch(
            step: step, inputs: store.gather(input, rows: chosen),
            targets: output.map { store.gather($0, rows: chosen) })
    }
}

extension ActivationStore.Description {
    var json: JSONValue {
        [
            "format": "lacuna.activations", "version": 1, "model": .string(model),
            "sites": .array(sites.map { .string($0.description) }),
            "dimensions": .array(dimensions.map { JSONValue($0) }),
            "context": JSONValue(context), "skipped": JSONValue(skipped), "sequences": JSONValue(sequences),
            "sequences_per_shard": JSONValue(sequencesPerShard), "type": .string(type.rawValue),
            "checksum": .string(checksum),
        ]
    }

    init(contentsOf path: String) throws {
        let fields = try JSONFields(contentsOf: path)
        guard try fields.string("format") == "lacuna.activations", try fields.integer("version") == 1 else {
            throw fields.failure("format", "is not that of stored activations, version 1")
        }
        model = try fields.string("model")
        sites = try fields.array("sites").map {
            guard let site = $0.stringValue.flatMap({ ActivationSite($0) }) else {
                throw fields.failure("sites", "\($0.serialized()) is no site")
            }
            return site
        }
        dimensions = try fields.integers("dimensions")
        context = try fields.integer("context")
        skipped = try fields.integer("skipped")
        sequences = try fields.integer("sequences")
        sequencesPerShard = try fields.integer("sequences_per_shard")
        guard let type = ElementType(rawValue: try fields.string("type")), type == .bf16 || type == .f32 else {
            throw fields.failure("type", "is neither bf16 nor f32")
        }
        self.type = type
        checksum = try fields.string("checksum")
        guard dimensions.count == sites.count, !sites.isEmpty, dimensions.allSatisfy({ (1...1 << 24).contains($0) })
        else {
            throw fields.failure("dimensions", "\(dimensions) for \(sites.count) sites")
        }
        guard (2...1 << 30).contains(context), (0..<context).contains(skipped), (1...1 << 40).contains(sequences),
            (1...1 << 30).contains(sequencesPerShard), shardCount <= 1 << 20
        else { throw fields.failure("sequences", "\(sequences) of \(context) tokens make no store") }
    }

    /// The first thing in which two stores differ, in words.
    func difference(from wanted: Self) -> String {
        let pairs: [(String, String, String)] = [
            ("model", model, wanted.model), ("sites", "\(sites)", "\(wanted.sites)"),
            ("dimensions", "\(dimensions)", "\(wanted.dimensions)"), ("context", "\(context)", "\(wanted.context)"),
            ("skipped positions", "\(skipped)", "\(wanted.skipped)"), ("type", "\(type)", "\(wanted.type)"),
            ("tokens a shard", "\(sequencesPerShard * context)", "\(wanted.sequencesPerShard * context)"),
            ("text", checksum, wanted.checksum),
        ]
        return pairs.first { $0.1 != $0.2 }.map { "\($0.0) \($0.1), not \($0.2)" } ?? "sequences"
    }
}

extension Tensor where Scalar == Float {
    /// The first row with an entry that is infinite or not a number.
    var firstRowNotFinite: Int? {
        if isFinite { return nil }
        return withPointer { p in
            (0..<rows).first { r in (0..<columns).contains { !p[r * columns + $0].isFinite } }
        }
    }
}
