/// What one layer's product cost in a forward pass.
public struct CostRecord: Sendable, Hashable {
    /// Multiply-adds if every entry of the weight counted.
    public var dense: Int
    /// Multiply-adds of the entries that may be other than 0.
    public var active: Int
}

extension Tape {
    /// Adds to the record of costs, if one is being kept: `rows` inputs through a weight of `dense` entries of which
    /// `active` may be other than 0.
    public func note(rows: Int, dense: Int, active: Int) {
        costs?.append(CostRecord(dense: rows * dense, active: rows * active))
    }

    /// Calls `body` and returns what the layers' products in it cost, in order.
    public func recordingCosts(_ body: () throws -> Void) rethrows -> [CostRecord] {
        let before = costs
        costs = []
        defer { costs = before }
        try body()
        return costs ?? []
    }
}
