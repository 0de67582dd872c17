import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// In which types a pruned model keeps its numbers if nobody says: those of the model that it comes from, as far as they can
/// be had, so that pruning makes no model larger.
public struct SourcePrecision: Sendable, Equatable {
    /// Bits of a number in most of the layers' weights in the file; nil where it has none.
    public let weightBits: Double?
    /// Bits of a number in the widest of embedding and head; nil where the file has neither.
    public let headBits: Double?
    /// What the file calls the type of most of the layers' weights.
    public let weightType: String?
    /// What the file calls the type of the widest of embedding and head.
    public let headType: String?
    /// Whether matrices of the head's type are kept as they are when they are loaded.
    private let keepsHead: Bool

    /// - Parameter source: The tensors of a model in any of its files' forms.
    public init(_ source: any TensorSource) {
        var counts: [StoredType: Int] = [:]
        var head: StoredType?
        for info in source.tensors {
            guard let type = Self.numbers(of: info) else { continue }
            if Self.isHead(info.name) {
                head = head.map { $0.bits >= type.bits ? $0 : type } ?? type
            } else {
                counts[type, default: 0] += info.byteRange.count
            }
        }
        let most = counts.max { ($0.value, $0.key.description) < ($1.value, $1.key.description) }?.key
        weightBits = most?.bits
        weightType = most?.description
        headBits = head?.bits
        headType = head?.description
        keepsHead = head.map(\.isKept) ?? true
    }

    /// The type of a matrix's numbers; nil for vectors, positions, scales and what Lacuna cannot read.
    private static func numbers(of info: TensorInfo) -> StoredType? {
        for (suffix, bits) in [(".compressed_int4", 4), (".weight_packed", 4)] where info.name.hasSuffix(suffix) {
            return .foreign(name: "int\(bits)", count: 8 / bits, bytes: 1)
        }
        switch info.type {
        case .foreign: return nil
        case .block: return info.type
        case .scalar(let type):
            if info.name.hasSuffix(".compressed") { return info.type }
            guard info.shape.count == 2, info.name.hasSuffix(".weight") else { return nil }
            return [.f32, .bf16, .f16, .f64, .i8].contains(type) ? info.type : nil
        }
    }

    private static func isHead(_ name: String) -> Bool {
        name.contains("embed_tokens") || name.contains("lm_head") || name.hasPrefix("token_embd.")
            || name.hasPrefix("output.")
    }

    /// The type of pruned weights: no wider than the source's, and narrower where a bit for each position would make the
    /// sparse matrix larger than the dense one was; bf16 if the source does not say.
    ///
    /// - Parameter sparsity: Fraction of entries that are removed.
    public func values(sparsity: Double) -> ValueType {
        guard let weightBits else { return .bf16 }
        let widest = Self.type(bits: weightBits, of: weightType)
        let types = [widest] + ValueType.allCases.filter { $0.bits < widest.bits && $0 != .f16 }
        // A tenth more does not spoil a type.
        return types.first { Double($0.bits) * (1 - sparsity) + 1 <= 1.1 * weightBits } ?? .int4
    }

    /// The form of embedding and head: as they are, where matrices of their type are kept so; otherwise the nearest that is,
    /// though never 4 bits, whose error the head turns into wrong words.
    public var head: WeightPrecision {
        guard !keepsHead, let headBits else { return .stored }
        switch Self.type(bits: headBits, of: headType) {
        case .f32: return .f32
        case .bf16: return .bf16
        case .f16: return .f16
        case .int8, .int4: return .int8
        }
    }

    private static func type(bits: Double, of name: String?) -> ValueType {
        bits <= 5.1 ? .int4 : bits <= 9 ? .int8 : bits > 17 ? .f32 : name == ElementType.f16.rawValue ? .f16 : .bf16
    }
}

extension StoredType {
    fileprivate var bits: Double { Double(8 * blockBytes) / Double(blockCount) }

    /// Whether loading keeps matrices of this type as they are.
    fileprivate var isKept: Bool {
        switch self {
        case .block(let type): GGUFMatrix.blockBytes(type.rawValue) != nil
        case .scalar(let type): type == .f32 || type == .bf16 || type == .f16 || type == .i8
        case .foreign: true
        }
    }
}
