import LacunaTensor

// The orders in which products visit the entries, worked out once a pattern.
extension SparsePattern {
    /// The order of products with many vectors.
    var segments: SegmentOrder { storage.derive(\.segments) { SegmentOrder(self) } }

    /// The same for panels that are at most half as wide as they can be.
    var narrowSegments: SegmentOrder {
        storage.derive(\.narrowSegments) { SegmentOrder(self, bandColumns: SegmentOrder.narrowBandColumns) }
    }

    /// The order of products of patterns of middling density.
    var groups: GroupOrder { storage.derive(\.groups) { GroupOrder(self) } }

    /// Where each row begins, in 32 bits.
    var starts32: Buffer<UInt32> {
        storage.derive(\.starts32) {
            let starts = compressedRows.starts
            require(starts.pointer[rows] <= Int(UInt32.max), "a product of more than 2^32 - 1 entries")
            return Buffer(starts.elements.map { UInt32(truncatingIfNeeded: $0) })
        }
    }
}
