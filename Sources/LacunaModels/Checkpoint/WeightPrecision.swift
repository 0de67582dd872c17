import LacunaSparse

/// The form in which a decoder keeps its matrices when it is loaded.
public enum WeightPrecision: String, Sendable, Hashable, CaseIterable {
    /// As the file has them: Q8_0, Q4_0 and Q4_1 blocks, bf16, f32 and sparse matrices stay what they are. Types without
    /// products of their own (f16, K-quants) become f32, which holds them exactly.
    case stored
    case f32, bf16, int8, int4

    /// nil for ``stored``.
    public var valueType: ValueType? { ValueType(rawValue: rawValue) }
}
