import LacunaSparse

/// What `config.json` says about how a checkpoint's weights are stored.
struct CompressionSummary {
    static let version = 1
    private var formats: [(name: String, format: StorageFormat)] = []
    private var kept = 0
    private var total = 0

    mutating func add(_ name: String, _ matrix: any StoredMatrix) {
        formats.append((name, matrix.format))
        guard matrix.format.layout.base.isSparse else { return }
        kept += matrix.storedCount
        total += matrix.rows * matrix.columns
    }

    /// Lacuna's own section: the format of every matrix.
    var lacuna: JSONValue {
        var weights = JSONObject()
        for (name, format) in formats { weights[name] = .string(format.description) }
        return ["version": JSONValue(Self.version), "weights": .object(weights)]
    }

    /// The section that programs with the `compressed-tensors` package look for; nil if nothing is compressed, or if some
    /// matrix is stored in a way that the package does not know.
    func quantizationConfiguration(_ layout: CheckpointWriter.SparseLayout) -> JSONValue? {
        let isForeign = formats.contains {
            let layout = $0.format.layout.base
            return type(of: layout).opaqueTensor != nil || layout is ProductLayout
                || layout.isSparse && $0.format.values == .int4
        }
        let sparse = modules { $0.layout.base.isSparse }
        let int8 = modules { $0.values == .int8 }
        let int4 = modules { $0.values == .int4 }
        guard !isForeign, !(sparse.isEmpty && int8.isEmpty && int4.isEmpty) else { return nil }

        var object = JSONObject()
        object["quant_method"] = "compressed-tensors"
        var groups = JSONObject()
        let isMixed = !int8.isEmpty && !int4.isEmpty
        if !int8.isEmpty {
            groups["group_0"] = group(int8, bits: 8, size: nil, format: isMixed ? "int-quantized" : nil)
        }
        if !int4.isEmpty {
            groups["group_\(groups.count)"] = group(int4, bits: 4, size: 64, format: isMixed ? "pack-quantized" : nil)
        }
        if groups.count > 0 {
            object["format"] = isMixed ? "mixed-precision" : int8.isEmpty ? "pack-quantized" : "int-quantized"
            object["quantization_status"] = "compressed"
            object["config_groups"] = .object(groups)
            object["ignore"] = []
        }
        if !sparse.isEmpty {
            object["sparsity_config"] = [
                "format": .string(layout.rawValue), "targets": .array(sparse), "ignore": [],
                "global_sparsity": .number(total == 0 ? 0 : 1 - Double(kept) / Double(total)),
                "sparsity_structure": .string(layout == .twoOfFour ? "2:4" : "unstructured"),
            ]
        }
        return .object(object)
    }

    /// The names of the modules whose weights are stored so.
    private func modules(_ isIncluded: (StorageFormat) -> Bool) -> [JSONValue] {
        formats.filter { isIncluded($0.format) }.map { .string(String($0.name.dropLast(".weight".count))) }
    }

    private func group(_ modules: [JSONValue], bits: Int, size: Int?, format: String?) -> JSONValue {
        var weights = JSONObject()
        weights["num_bits"] = JSONValue(bits)
        weights["type"] = "int"
        weights["symmetric"] = true
        weights["dynamic"] = false
        weights["strategy"] = size == nil ? "channel" : "group"
        weights["group_size"] = size.map { JSONValue($0) } ?? .null
        var group = JSONObject()
        group["targets"] = .array(modules)
        group["weights"] = .object(weights)
        group["input_activations"] = .null
        group["output_activations"] = .null
        if let format { group["format"] = .string(format) }
        return .object(group)
    }
}
