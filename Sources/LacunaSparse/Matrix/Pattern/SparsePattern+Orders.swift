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
}
