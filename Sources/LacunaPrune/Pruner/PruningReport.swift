import LacunaSparse

/// What a run of ``Pruner`` did.
public struct PruningReport: Sendable {
    /// What became of one matrix.
    public struct Layer: Sendable {
        /// The weight's name in checkpoints.
        public var name: String
        /// Outputs of the original matrix.
        public var rows: Int
        /// Inputs of the original matrix.
        public var columns: Int
        /// Fraction of the original matrix that is gone.
        public var sparsity: Double
        /// How it is stored now.
        public var format: StorageFormat
        /// Bytes of the stored matrix before.
        public var bytesBefore: Int
        /// Bytes of the stored matrix now, positions and scales included.
        public var bytesAfter: Int
        /// Squared error of the layer's outputs on the calibration inputs relative to the outputs' energy, the rounding
        /// of stored values included; nil where no Gram matrix was collected.
        public var outputError: Double?
        /// Seconds spent on choosing and storing, calibration not counted.
        public var seconds: Double
    }

    /// The method's name.
    public var method: String
    /// Nil if the method's form has none.
    public var pattern: Pattern?
    /// The matrices in the order in which they were pruned.
    public var layers: [Layer]
    /// Tokens seen in calibration; 0 for methods that need none.
    public var calibrationTokens: Int
    /// Seconds of the whole run.
    public var seconds: Double
    /// Memory that the run was expected to take, the model included, in bytes.
    public var estimatedBytes: Int
    /// The largest memory of the process so far, in bytes.
    public var peakBytes: Int

    /// Fraction of the original entries of all pruned matrices that is gone.
    public var sparsity: Double {
        let total = layers.reduce(0) { $0 + $1.rows * $1.columns }
        if total == 0 { return 0 }
        return layers.reduce(0.0) { $0 + $1.sparsity * Double($1.rows * $1.columns) } / Double(total)
    }

    /// Bytes of the pruned matrices before and after.
    public var bytes: (before: Int, after: Int) {
        (layers.reduce(0) { $0 + $1.bytesBefore }, layers.reduce(0) { $0 + $1.bytesAfter })
    }
}
