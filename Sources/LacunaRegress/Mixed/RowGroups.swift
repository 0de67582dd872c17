import LacunaTensor

/// Which rows belong together, such as the visits of a patient. Groups are numbered from 0 in the order in which they appear.
public struct RowGroups: Sendable, Equatable {
    /// The group of each row.
    public let indices: [Int]
    /// Rows of each group.
    public let sizes: [Int]
    /// The first row of each group.
    public let firstRows: [Int]

    /// How many rows there are.
    public var rows: Int { indices.count }
    /// How many groups there are.
    public var count: Int { sizes.count }
    /// Whether any group has more than one row.
    public var hasCompany: Bool { rows > count }

    /// - Parameter labels: One for each row; rows with equal labels are a group.
    public init<Label: Hashable>(_ labels: [Label]) {
        var known: [Label: Int] = [:]
        var (indices, sizes, firstRows): ([Int], [Int], [Int]) = ([], [], [])
        indices.reserveCapacity(labels.count)
        for (row, label) in labels.enumerated() {
            if let group = known[label] {
                indices.append(group)
                sizes[group] += 1
            } else {
                known[label] = sizes.count
                indices.append(sizes.count)
                sizes.append(1)
                firstRows.append(row)
            }
        }
        self.indices = indices
        self.sizes = sizes
        self.firstRows = firstRows
    }

    /// Every row by itself.
    public static func singletons(rows: Int) -> RowGroups { RowGroups(Array(0..<rows)) }

    /// The fold of each row, such that no group is torn apart. Folds have equally many groups, give or take one, and depend
    /// on the seed alone.
    public func folds(count: Int, seed: UInt64) -> [Int] {
        let folds = CrossValidation.folds(rows: self.count, count: count, seed: seed)
        return indices.map { folds[$0] }
    }

    /// `Σ v` over the rows of each group.
    func sums(_ v: UnsafePointer<Double>, into out: inout [Double]) {
        for g in 0..<count { out[g] = 0 }
        for i in 0..<rows { out[indices[i]] += v[i] }
    }
}
