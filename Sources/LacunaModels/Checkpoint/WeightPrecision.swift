import LacunaSparse

/// The form in which a decoder keeps its matrices when it is loaded.
public enum WeightPrecision: String, Sendable, Hashable, CaseIterable {
    /// As the file has them: quantised blocks of GGUF files, f16, bf16, f32 and sparse matrices stay what they are, and
    /// where they are: dense ones are read from the mapped file.
    case stored
    /// Converted when the file is read: to floats of 32 or 16 bits, to 8-bit numbers with a scale for each row, or to 4-bit
    /// numbers with a scale for each group of a row.
    case f32, bf16, f16, int8, int4

    /// nil for ``stored``.
    public var valueType: ValueType? { ValueType(rawValue: rawValue) }
}
