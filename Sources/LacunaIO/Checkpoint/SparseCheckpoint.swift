import LacunaSparse
import LacunaTensor

/// The weights of a checkpoint that are stored compressed: sparse, quantised, or both, by the conventions of the
/// `compressed-tensors` package or by Lacuna's own (``CheckpointWriter`` lists them).
///
/// Weights are asked for by their dense names, such as `model.layers.0.mlp.up_proj.weight`.
public final class SparseCheckpoint: Sendable {
    /// The tensors as the file has them.
    public let source: any TensorSource
    /// What Lacuna wrote into `config.json`; empty for checkpoints by other programs.
    private let formats: [String: StorageFormat]

    /// - Parameters:
    ///   - source: The tensors, from ``TensorFiles/open(_:)``.
    ///   - configuration: The content of `config.json`, if there is one.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` and ``LacunaError/unsupported(file:what:)`` for a section
    ///   `lacuna` that is broken or of a later version.
    public init(_ source: any TensorSource, configuration: JSONFields? = nil) throws {
        self.source = source
        try Self.requireKnownCompression(configuration)
        guard let section = try configuration?.optionalFields("lacuna") else {
            formats = [:]
            return
        }
        let version = try section.integer("version")
        guard version == CompressionSummary.version else {
            throw LacunaError.unsupported(file: section.file, what: "version \(version) of Lacuna's checkpoints")
        }
        let weights = try section.fields("weights")
        var formats: [String: StorageFormat] = [:]
        for member in weights.object {
            let text = try weights.string(member.key)
            guard let format = StorageFormat(description: text) else {
                throw weights.failure(member.key, "unknown storage format '\(text)'")
            }
            formats[member.key] = format
        }
        self.formats = formats
    }

    /// - Throws: ``LacunaError/unsupported(file:what:)`` naming a way of quantising that is not read here.
    private static func requireKnownCompression(_ configuration: JSONFields?) throws {
        guard let section = try configuration?.optionalFields("quantization_config") else { return }
        func refuse(_ what: String) -> LacunaError { .unsupported(file: section.file, what: what) }
        let method = try section.optionalString("quant_method") ?? "(none given)"
        guard method == "compressed-tensors" else { throw refuse("weights quantised by '\(method)'") }
        let known = ["dense", "int-quantized", "pack-quantized", "naive-quantized", "mixed-precision"]
        func check(_ format: String?) throws {
            if let format, !known.contains(format) { throw refuse("compressed-tensors format '\(format)'") }
        }
        try check(try section.optionalString("format"))
        if let sparsity = try section.optionalFields("sparsity_config"),
            let format = try sparsity.optionalString("format"),
            !["dense", "sparse-bitmask", "sparse-24-bitmask"].contains(format)
        {
            throw refuse("compressed-tensors sparsity format '\(format)'")
        }
        guard let groups = try section.optionalFields("config_groups") else { return }
        for member in groups.object {
            let group = try groups.fields(member.key)
            try check(try group.optionalString("format"))
            guard let weights = try group.optionalFields("weights") else { continue }
            let (type, bits) = (try weights.optionalString("type") ?? "int", try weights.integer("num_bits"))
            guard type == "int", bits == 4 || bits == 8 else {
                throw refuse("weights of \(bits)-bit '\(type)' numbers")
            }
            let strategy = try weights.optionalString("strategy") ?? "tensor"
            guard ["channel", "group"].contains(strategy) else { throw refuse("scales by '\(strategy)'") }
        }
    }

    /// Opens a model's directory.
    public convenience init(directory: String) throws {
        let configuration = FileSystem.join(directory, "config.json")
        try self.init(
            TensorFiles.open(directory),
            configuration: FileSystem.exists(configuration) ? JSONFields(contentsOf: configuration) : nil)
    }

    private enum Encoding {
        case bitmask, bitmaskInt4, int8, packedInt4
        /// Factors, which are weights of their own.
        case product
        /// The bytes of a layout, in the tensor of this name.
        case bytes(tensor: String)
    }

    private func prefix(_ name: String) -> String? {
        name.hasSuffix(".weight") ? String(name.dropLast(".weight".count)) : nil
    }

    private func encoding(_ name: String) -> Encoding? {
        guard let prefix = prefix(name) else { return nil }
        if source.contains("\(prefix).compressed") { return .bitmask }
        if source.contains("\(prefix).compressed_int4") { return .bitmaskInt4 }
        if source.contains("\(prefix).weight_packed") { return .packedInt4 }
        for tensor in Self.opaqueTensors where source.contains("\(prefix).\(tensor)") {
            return .bytes(tensor: "\(prefix).\(tensor)")
        }
        if source.find(name)?.type == .scalar(.i8), source.contains("\(prefix).weight_scale") { return .int8 }
        if formats[name]?.layout.base is ProductLayout { return .product }
        return nil
    }

    /// The names under which layouts put their bytes into files.
    private static var opaqueTensors: [String] { StoreLayouts.all.compactMap { $0.opaqueTensor } }

    /// Whether `name` is stored compressed. Plain tensors are read from ``source``.
    public func contains(_ name: String) -> Bool { encoding(name) != nil }

    /// Dense names of all compressed weights, in the order of the file. Of products there are the factors.
    public var names: [String] {
        source.tensors.compactMap { tensor in
            for suffix in [".compressed", ".compressed_int4", ".weight_packed", ".weight"]
                + Self.opaqueTensors.map({ "." + $0 })
            where tensor.name.hasSuffix(suffix) {
                let name = String(tensor.name.dropLast(suffix.count)) + ".weight"
                return contains(name) ? name : nil
            }
            return nil
        }
    }

    /// The factors of a product, as far as the file has them in a row.
    private func factorNames(_ name: String) -> [String] {
        guard let prefix = prefix(name) else { return [] }
        var names: [String] = []
        while case let name = ProductFactors.name(prefix, names.count), source.contains(name) || contains(name) {
            names.append(name)
        }
        return names
    }

    /// - Throws: ``LacunaError/missingTensor(file:name:)`` if there are fewer than two.
    private func factors(_ name: String) throws -> [String] {
        let names = factorNames(name)
        guard names.count >= 2 else {
            throw LacunaError.missingTensor(file: source.path, name: ProductFactors.name(prefix(name)!, names.count))
        }
        return names
    }

    private func factor(_ name: String, values: ValueType?) throws -> any StoredMatrix {
        if contains(name) { return try matrix(name, values: values) }
        let info = try source.info(name)
        _ = try rank2(info)
        let stored: ValueType =
            switch info.type {
            case .scalar(.bf16): .bf16
            case .scalar(.f16): .f16
            default: .f32
            }
        return try WeightStore.make(source.float(name), layout: .dense, values: values ?? stored)
    }

    private func product(_ name: String, values: ValueType?) throws -> any StoredMatrix {
        do {
            return try ProductMatrix(factors: factors(name).map { try factor($0, values: values) })
        } catch LacunaError.invalidArgument(_, let reason) {
            throw malformed(name, reason)
        }
    }

    /// [rows, columns] of a compressed weight.
    ///
    /// - Throws: ``LacunaError/missingTensor(file:name:)`` if it is not stored compressed;
    ///   ``LacunaError/malformed(file:location:reason:)``.
    public func shape(of name: String) throws -> [Int] {
        guard let encoding = encoding(name), let prefix = prefix(name) else {
            throw LacunaError.missingTensor(file: source.path, name: name)
        }
        switch encoding {
        case .int8: return try rank2(source.info(name))
        case .bitmask, .bitmaskInt4: return try storedShape("\(prefix).shape")
        case .packedInt4: return try storedShape("\(prefix).weight_shape")
        case .product:
            let names = try factors(name)
            func side(_ name: String) throws -> [Int] {
                try contains(name) ? shape(of: name) : rank2(source.info(name))
            }
            return [try side(names[0])[0], try side(names[names.count - 1])[1]]
        case .bytes(let tensor):
            let layout = try opaqueLayout(name, tensor)
            let stored = try rank2(source.info(tensor))
            guard let columns = layout.columns(bytesPerRow: stored[1]) else {
                throw malformed(tensor, "rows of \(stored[1]) bytes are not made of \(layout.name) blocks")
            }
            return [stored[0], columns]
        }
    }

    /// How the weight is meant to be stored in memory.
    public func format(of name: String) throws -> StorageFormat {
        if let format = formats[name] { return format }
        guard let encoding = encoding(name), let prefix = prefix(name) else {
            throw LacunaError.missingTensor(file: source.path, name: name)
        }
        switch encoding {
        case .bitmask:
            let values = try valueType("\(prefix).compressed")
            // The package's 2:4 layout is the one without row offsets.
            return StorageFormat(source.contains("\(prefix).row_offsets") ? .bitmask : .nm(n: 2, m: 4), values)
        case .bitmaskInt4: return StorageFormat(.bitmask, .int4)
        case .int8: return StorageFormat(.dense, .int8)
        case .packedInt4: return StorageFormat(.dense, .int4)
        case .product: return StorageFormat(StorageLayout(ProductLayout()), .f32)
        case .bytes(let tensor): throw malformed(tensor, "config.json does not say of which type the blocks are")
        }
    }

    /// The weight as a dense tensor [rows, columns], all that is stored multiplied out.
    public func float(_ name: String) throws -> Tensor<Float> { try decompressed(name).weight }

    /// The weight in the form in which it was saved.
    ///
    /// - Parameter values: Another type for its values; nil for that of the file.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` naming the tensor; ``LacunaError/unsupported(file:what:)``
    ///   if the file's integers are not those that Lacuna would round to (scales chosen by another rule), so that keeping
    ///   their type would change the weights: name a type in `values` then.
    public func matrix(_ name: String, values: ValueType? = nil) throws -> any StoredMatrix {
        if case .product = encoding(name) { return try product(name, values: values) }
        let format = try format(of: name)
        let opaque = type(of: format.layout.base).opaqueTensor
        if values == nil, let opaque, let prefix = prefix(name) {
            guard case .bytes(let tensor) = encoding(name) else {
                throw LacunaError.missingTensor(file: source.path, name: "\(prefix).\(opaque)")
            }
            return try opaqueMatrix(name, tensor)
        }
        if values == nil, formats[name] == nil, let blocks = try quantizedBlocks(name) { return blocks }
        let (weight, mask) = try decompressed(name)
        let layout = opaque == nil ? format.layout : .dense
        let matrix: any StoredMatrix
        do {
            matrix = try WeightStore.make(weight, mask: mask, layout: layout, values: values ?? format.values)
        } catch LacunaError.invalidArgument(_, let reason) {
            throw malformed(name, reason)
        } catch LacunaError.numerical(_, let reason) {
            throw malformed(name, reason)
        }
        let isForeign = values == nil && formats[name] == nil && (format.values == .int8 || format.values == .int4)
        if isForeign && !isSame(matrix, weight) {
            // Floats hold every product of an integer and a scale; integers of ours would be others.
            return try WeightStore.make(weight, mask: mask, layout: layout, values: .f32)
        }
        return matrix
    }

    private func isSame(_ matrix: any StoredMatrix, _ weight: Tensor<Float>) -> Bool {
        let found = matrix.densified()
        return weight.withPointer { a in
            found.withPointer { b in (0..<weight.count).allSatisfy { abs(a[$0] - b[$0]) <= 1e-6 * abs(a[$0]) } }
        }
    }

    /// A matrix of another program's integers as blocks of 32, if its scales are numbers that blocks can have: 4-bit codes
    /// as Q4_0, those less a zero point as Q5_0, bytes as Q8_0. Nothing is rounded.
    private func quantizedBlocks(_ name: String) throws -> GGUFMatrix? {
        guard let encoding = encoding(name), let prefix = prefix(name) else { return nil }
        let shape = try shape(of: name)
        let columns = shape[1]
        let scales: (values: Tensor<Float>, groups: Int)
        switch encoding {
        case .int8, .packedInt4: scales = try self.scales("\(prefix).weight_scale", rows: shape[0])
        default: return nil
        }
        let groups = scales.groups
        guard columns % 32 == 0, groups > 0, columns % groups == 0, columns / groups % 32 == 0,
            !source.contains("\(prefix).weight_g_idx"),
            scales.values.scalars.allSatisfy({ Half($0).float == $0 })
        else { return nil }
        switch encoding {
        case .int8:
            let bytes = try source.bytes(of: name)
            return try withExtendedLifetime(source) {
                try QuantizedBlocks.q80(bytes, shape: shape, scales: scales.values, groups: groups)
            }
        default:
            let codes = try PackedCodes(source, prefix, shape)
            let zeros = try codes.zeroPoints(groups: groups)
            return try withExtendedLifetime(source) {
                try QuantizedBlocks.nibbles(codes, zeros, scales: scales.values, groups: groups)
            }
        }
    }

    // MARK: Checks

    private func malformed(_ name: String, _ reason: String) -> LacunaError {
        .malformed(file: source.path, location: name, reason: reason)
    }

    private func rank2(_ info: TensorInfo) throws -> [Int] {
        guard info.shape.count == 2, info.count > 0 else {
            throw malformed(info.name, "shape \(info.shape) is not a matrix with any entries")
        }
        return info.shape
    }

    private func storedShape(_ name: String) throws -> [Int] {
        let shape = try source.integers(name)
        // Without entries, the file's size would not bound the other dimension.
        guard shape.count == 2, shape.allSatisfy({ $0 > 0 }),
            TensorInfo.byteCount(shape: shape, type: .scalar(.f32)) != nil
        else { throw malformed(name, "\(shape) is not the shape of a matrix with any entries") }
        return shape
    }

    private func valueType(_ name: String) throws -> ValueType {
        let info = try source.info(name)
        switch info.type {
        case .scalar(.f32): return .f32
        case .scalar(.bf16): return .bf16
        case .scalar(.f16): return .f16
        case .scalar(.i8): return .int8
        default:
            throw LacunaError.tensorMismatch(
                file: info.file, name: name, expected: "f32, f16, bf16 or i8", found: info.type.description)
        }
    }

    /// The layout whose bytes a tensor holds.
    private func opaqueLayout(_ name: String, _ tensor: String) throws -> any StoreLayout {
        let layout = try format(of: name).layout.base
        guard let own = type(of: layout).opaqueTensor, tensor.hasSuffix("." + own) else {
            throw malformed(name, "config.json does not say of which type the blocks are")
        }
        return layout
    }

    private func opaqueMatrix(_ name: String, _ tensor: String) throws -> any StoredMatrix {
        let layout = try opaqueLayout(name, tensor)
        let shape = try shape(of: name)
        return try withExtendedLifetime(source) {
            try layout.make(bytes: source.bytes(of: tensor), rows: shape[0], columns: shape[1])
        }
    }

    /// One scale for each of `groups` stretches of a row: [rows, groups], or [rows] for one.
    private func scales(_ name: String, rows: Int) throws -> (values: Tensor<Float>, groups: Int) {
        let info = try source.info(name)
        guard info.shape.first == rows, info.shape.count <= 2 else {
            throw LacunaError.tensorMismatch(
                file: info.file, name: name, expected: "[\(rows), groups]", found: "\(info.shape)")
        }
        return (try source.float(name), info.shape.count == 2 ? info.shape[1] : 1)
    }

    // MARK: Decompression

    private func decompressed(_ name: String) throws -> (weight: Tensor<Float>, mask: SparsePattern?) {
        guard let encoding = encoding(name), let prefix = prefix(name) else {
            throw LacunaError.missingTensor(file: source.path, name: name)
        }
        let shape = try shape(of: name)
        switch encoding {
        case .bitmask, .bitmaskInt4:
            let mask = try mask(prefix, shape)
            return (try scatter(prefix, mask, isInt4: source.contains("\(prefix).compressed_int4")), mask)
        case .int8:
            var weight = try source.float(name)
            try scale(&weight, "\(prefix).weight_scale")
            return (weight, nil)
        case .packedInt4: return (try unpacked(prefix, shape), nil)
        case .product: return (try product(name, values: nil).densified(), nil)
        case .bytes(let tensor): return (try opaqueMatrix(name, tensor).densified(), nil)
        }
    }

    private func mask(_ prefix: String, _ shape: [Int]) throws -> SparsePattern {
        let info = try source.info("\(prefix).bitmask")
        try info.require(shape: [shape[0], CompressedWeight.maskRowBytes(columns: shape[1])])
        try info.require(type: .u8)
        let bytes = try source.bytes(of: info.name)
        let mask = withExtendedLifetime(source) {
            CompressedWeight.mask(bytes: bytes, rows: shape[0], columns: shape[1])
        }
        guard let mask else { throw malformed(info.name, "bits beyond column \(shape[1]) are set") }
        if source.contains("\(prefix).row_offsets") {
            let offsets = try source.integers("\(prefix).row_offsets")
            guard offsets.count == shape[0] else {
                throw malformed("\(prefix).row_offsets", "\(offsets.count) offsets for \(shape[0]) rows")
            }
            var expected = 0
            for row in 0..<shape[0] {
                guard offsets[row] == expected else {
                    throw malformed(
                        "\(prefix).row_offsets", "row \(row) begins at \(offsets[row]), by the bitmask at \(expected)")
                }
                expected += mask.keptCount(row: row)
            }
        }
        return mask
    }

    /// Puts the kept values in their places.
    private func scatter(_ prefix: String, _ mask: SparsePattern, isInt4: Bool) throws -> Tensor<Float> {
        let name = isInt4 ? "\(prefix).compressed_int4" : "\(prefix).compressed"
        let kept = mask.count
        let info = try source.info(name)
        guard info.count == (isInt4 ? (kept + 1) / 2 : kept) else {
            throw malformed(name, "\(info.count) values, but the bitmask keeps \(kept) entries")
        }
        if isInt4 { try info.require(type: .u8) } else { _ = try valueType(name) }
        let bytes = try source.bytes(of: name)
        let values = isInt4 ? nil : try source.float(name)
        var weight = Tensor<Float>(zeros: [mask.rows, mask.columns])
        let columns = mask.columns
        withExtendedLifetime((source, values)) {
            let floats = values?.withPointer { $0 }
            weight.withMutablePointer { target in
                var next = 0
                for row in 0..<mask.rows {
                    CompressedWeight.forEachKept(mask, row: row) { c in
                        if let floats {
                            target[row * columns + c] = floats[next]
                        } else {
                            // Sign extension of four bits.
                            let nibble = bytes[next / 2] >> UInt8(next % 2 * 4) & 15
                            target[row * columns + c] = Float(Int(nibble ^ 8) - 8)
                        }
                        next += 1
                    }
                }
            }
        }
        if isInt4 || info.type == .scalar(.i8) { try scale(&weight, "\(prefix).weight_scale") }
        return weight
    }

    private func unpacked(_ prefix: String, _ shape: [Int]) throws -> Tensor<Float> {
        let codes = try PackedCodes(source, prefix, shape)
        let (scales, groups) = try scales("\(prefix).weight_scale", rows: shape[0])
        let group = try codes.groups(groups)
        let zeros = try codes.zeroPoints(groups: groups)
        var weight = Tensor<Float>(uninitialized: shape)
        withExtendedLifetime(source) {
            weight.withMutablePointer { target in
                scales.withPointer { scales in
                    for row in 0..<shape[0] {
                        for c in 0..<shape[1] {
                            let place = row * groups + group[c]
                            target[row * shape[1] + c] =
                                Float(codes[row, c] - (zeros.map { Int($0[place]) } ?? 0)) * scales[place]
                        }
                    }
                }
            }
        }
        return weight
    }

    /// Multiplies every row by its scales.
    private func scale(_ weight: inout Tensor<Float>, _ name: String) throws {
        let (rows, columns) = (weight.rows, weight.columns)
        let (scales, groups) = try scales(name, rows: rows)
        guard rows * columns > 0 else { return }
        // Groups of 64 may end with a shorter one; others have to divide the row.
        let isOwn = groups == (columns + Quantization.int4Group - 1) / Quantization.int4Group
        guard groups > 0, isOwn || columns % groups == 0 else {
            throw malformed(name, "\(groups) scales a row do not divide \(columns) columns")
        }
        let size = groups == 1 ? columns : isOwn ? Quantization.int4Group : columns / groups
        scales.withPointer { scales in
            weight.withMutablePointer { target in
                for row in 0..<rows {
                    for c in 0..<columns { target[row * columns + c] *= scales[row * groups + c / size] }
                }
            }
        }
    }
}
