import LacunaIO
import LacunaSparse
import LacunaTensor

/// What a model's files hold, tensor by tensor.
struct Inspection {
    struct Item {
        let name: String
        let shape: [Int]
        let type: String
        /// Fraction of zeros; nil for what is no number to be pruned, such as integers.
        let sparsity: Double?
        /// How the zeros lie; nil where there are next to none.
        let pattern: String?
        let bytes: Int

        var count: Int { shape.reduce(1, *) }
    }

    /// Below this fraction, zeros are chance.
    private static let noticeableSparsity = 0.02

    let path: String
    let items: [Item]

    init(_ path: String, filter: String, progress: (any ProgressReporter)?) throws {
        self.path = path
        let source = try TensorFiles.open(path)
        let configuration = FileSystem.join(path, "config.json")
        let compressed = try SparseCheckpoint(
            source, configuration: FileSystem.exists(configuration) ? JSONFields(contentsOf: configuration) : nil)
        let parts = Self.parts(of: compressed)
        let plain = source.tensors.filter { parts.owner[$0.name] == nil }.map(\.name)
        let chosen = (compressed.names + plain).filter { filter.isEmpty || $0.contains(filter) }
        items = try chosen.enumerated().map { index, name in
            try progress.report("inspect", index, of: chosen.count, name)
            return try parts.bytes[name].map { try Self.item(name, in: compressed, bytes: $0) }
                ?? Self.item(source.info(name), in: source)
        }
    }

    /// The tensors of the file that make up each compressed weight.
    private static func parts(of checkpoint: SparseCheckpoint) -> (owner: [String: String], bytes: [String: Int]) {
        let suffixes = [
            "weight", "compressed", "compressed_int4", "bitmask", "row_offsets", "shape", "weight_packed",
            "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "gguf_blocks",
        ]
        var owner: [String: String] = [:]
        var bytes: [String: Int] = [:]
        for name in checkpoint.names {
            let stem = name.dropLast("weight".count)
            for suffix in suffixes {
                guard let part = checkpoint.source.find(stem + suffix) else { continue }
                owner[part.name] = name
                bytes[name, default: 0] += part.byteRange.count
            }
        }
        return (owner, bytes)
    }

    /// A weight that several tensors of the file make up.
    private static func item(_ name: String, in checkpoint: SparseCheckpoint, bytes: Int) throws -> Item {
        let format = try checkpoint.format(of: name)
        let mask = try kept(name, in: checkpoint)
        let known = format.layout.base.pattern
        return Item(
            name: name, shape: [mask.rows, mask.columns], type: format.description, sparsity: mask.sparsity,
            pattern: known?.description ?? pattern(mask), bytes: bytes)
    }

    /// The entries that are stored; where the form does not say, those that are not 0. (Rounding to integers makes
    /// further zeros, which would hide the pattern.)
    private static func kept(_ name: String, in checkpoint: SparseCheckpoint) throws -> SparsePattern {
        switch try? checkpoint.matrix(name) {
        case let matrix as BitmaskMatrix: matrix.mask
        case let matrix?: SparsePattern(nonzerosOf: matrix.densified())
        // A foreign checkpoint that no store holds exactly can still be looked at.
        case nil: SparsePattern(nonzerosOf: try checkpoint.float(name))
        }
    }

    private static func item(_ info: TensorInfo, in source: any TensorSource) throws -> Item {
        var mask: SparsePattern?
        if info.isFloating && info.count > 0 {
            mask = SparsePattern(nonzerosOf: try source.float(info.name).reshaped(asMatrix: info.shape))
        }
        return Item(
            name: info.name, shape: info.shape, type: info.type.description, sparsity: mask?.sparsity,
            pattern: info.shape.count == 2 ? mask.flatMap(pattern) : nil, bytes: info.byteRange.count)
    }

    private static func pattern(_ mask: SparsePattern) -> String? {
        mask.sparsity >= noticeableSparsity ? mask.detectedPattern()?.description : nil
    }

    var table: Table {
        Table(
            [.left("tensor"), .left("shape"), .left("type"), .right("sparsity"), .left("pattern"), .right("bytes")],
            rows: items.map { item in
                [
                    item.name, item.shape.map(String.init).joined(separator: " × "), item.type,
                    item.sparsity.map { Quantities.percent($0) } ?? "", item.pattern ?? "",
                    Quantities.grouped(item.bytes),
                ]
            })
    }

    /// One row for each type, and one for all.
    var totals: Table {
        var table = Table([
            .left("type"), .right("tensors"), .right("numbers"), .right("sparsity"), .right("bytes"), .right("share"),
        ])
        let all = items.reduce(0) { $0 + $1.bytes }
        func append(_ name: String, _ items: [Item]) {
            let bytes = items.reduce(0) { $0 + $1.bytes }
            let floating = items.filter { $0.sparsity != nil }
            let count = floating.reduce(0) { $0 + $1.count }
            let zeros = floating.reduce(0.0) { $0 + $1.sparsity! * Double($1.count) }
            table.append([
                name, String(items.count), Quantities.grouped(items.reduce(0) { $0 + $1.count }),
                count > 0 ? Quantities.percent(zeros / Double(count)) : "", Quantities.grouped(bytes),
                all > 0 ? Quantities.percent(Double(bytes) / Double(all)) : "",
            ])
        }
        let types = Dictionary(grouping: items, by: \.type)
        for (type, items) in types.sorted(by: { $0.key < $1.key }) { append(type, items) }
        if types.count != 1 { append("all", items) }
        return table
    }

    var json: JSONValue {
        [
            "path": .string(path),
            "tensors": .array(
                items.map { item in
                    [
                        "name": .string(item.name), "shape": .array(item.shape.map { JSONValue($0) }),
                        "type": .string(item.type), "sparsity": item.sparsity.map { .number($0) } ?? .null,
                        "pattern": item.pattern.map { .string($0) } ?? .null, "bytes": JSONValue(item.bytes),
                    ]
                }),
            "bytes": JSONValue(items.reduce(0) { $0 + $1.bytes }),
        ]
    }
}

extension TensorInfo {
    fileprivate var isFloating: Bool {
        switch type {
        case .block: true
        case .foreign: false
        case .scalar(let type): [.f64, .f32, .f16, .bf16].contains(type)
        }
    }
}

extension Tensor {
    /// All but the last dimension become rows.
    fileprivate func reshaped(asMatrix shape: [Int]) -> Tensor {
        let columns = shape.last ?? 1
        return reshaped([columns == 0 ? 0 : count / columns, columns])
    }
}
