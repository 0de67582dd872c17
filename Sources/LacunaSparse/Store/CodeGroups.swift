import LacunaTensor

/// A matrix [rows, columns] of which every row keeps equally many groups of consecutive columns, each as 4-bit codes with a
/// scale and a whole zero of its own: `value = scale · (code - zero)`. What ``CodeGroupMatrix`` stores, open to be read and
/// made, as methods that learn scales and zeros do.
///
/// The k-th kept group of row r is entry `r · kept + k` of ``groups``, ``scales`` and ``zeros``, and begins at
/// `(r · kept + k) · size` of ``codes``.
public struct CodeGroups: Sendable, Equatable {
    /// Number of rows.
    public let rows: Int
    /// Number of columns, a multiple of ``size``.
    public let columns: Int
    /// Columns of a group: a multiple of 16, at most 256.
    public let size: Int
    /// Groups that a row keeps.
    public let kept: Int
    /// Which groups of its row are kept, ascending: columns `size · group..<size · (group + 1)`.
    public var groups: [UInt16]
    /// Rounded to f16 when they are stored.
    public var scales: [Float]
    /// 0...15.
    public var zeros: [UInt8]
    /// 0...15.
    public var codes: [UInt8]

    /// Groups whose values are all 0.
    ///
    /// - Parameter groups: As the property.
    /// - Throws: `LacunaError.invalidArgument` for a size that is no multiple of 16 in 16...256 or does not divide the columns,
    ///   and for groups that do not ascend within the rows.
    public init(rows: Int, columns: Int, size: Int, kept: Int, groups: [UInt16]) throws {
        guard rows >= 0, columns >= 0, size % 16 == 0, (16...256).contains(size), columns % size == 0,
            columns / size <= 1 << 16
        else {
            throw LacunaError.invalidArgument(
                "groups", reason: "of \(size) columns: a multiple of 16, at most 256, that divides \(columns)")
        }
        guard kept >= 0, groups.count == rows * kept else {
            throw LacunaError.invalidArgument("groups", reason: "\(groups.count), not \(kept) for each of \(rows) rows")
        }
        for row in 0..<rows {
            var previous = -1
            for group in groups[row * kept..<(row + 1) * kept] {
                guard Int(group) > previous, Int(group) < columns / size else {
                    throw LacunaError.invalidArgument(
                        "groups", reason: "those of row \(row) do not ascend below \(columns / size)")
                }
                previous = Int(group)
            }
        }
        self.init(unchecked: rows, columns, size: size, kept: kept, groups: groups)
    }

    /// Groups that are known to be in order.
    init(unchecked rows: Int, _ columns: Int, size: Int, kept: Int, groups: [UInt16]) {
        (self.rows, self.columns, self.size, self.kept, self.groups) = (rows, columns, size, kept, groups)
        scales = Array(repeating: 0, count: groups.count)
        zeros = Array(repeating: 0, count: groups.count)
        codes = Array(repeating: 0, count: groups.count * size)
    }

    /// The groups that a mask keeps, their values rounded: of each group `scale = (max - min) / 15` over its values and 0,
    /// rounded to f16, and `zero = -min / scale`, `code = value / scale + zero` to nearest.
    ///
    /// Rows whose masks touch fewer groups than others store some that are all 0 besides.
    ///
    /// - Parameters:
    ///   - weight: [rows, columns].
    ///   - mask: A group of which anything is kept is stored whole, other entries as 0; nil for all entries.
    /// - Throws: As ``init(rows:columns:size:kept:groups:)``; `LacunaError.numerical` for values that are not finite or whose
    ///   scale is beyond the numbers of f16.
    public init(_ weight: some RowSource, size: Int) throws {
        try weight.checkShape()
        let (height, width) = (weight.rows, weight.columns)
        guard size > 0, width % size == 0 else {
            throw LacunaError.invalidArgument("groups", reason: "of \(size) columns do not divide \(width)")
        }
        var touched = Array(repeating: [UInt16](), count: height)
        try weight.forEachRow(serially: true) { row, columns, _ in
            for column in columns where touched[row].last.map({ Int($0) != Int(column) / size }) ?? true {
                touched[row].append(UInt16(truncatingIfNeeded: Int(column) / size))
            }
        }
        let kept = touched.map(\.count).max() ?? 0
        for row in 0..<height where touched[row].count < kept {
            let own = Set(touched[row])
            let others = (0..<UInt16(truncatingIfNeeded: width / size)).lazy.filter { !own.contains($0) }
            touched[row] = (touched[row] + others.prefix(kept - own.count)).sorted()
        }
        try self.init(rows: height, columns: width, size: size, kept: kept, groups: touched.flatMap(\.self))
        var values = [Float](repeating: 0, count: size)
        var isFinite = true
        var result = self
        try weight.forEachRow(serially: true) { row, columns, floats in
            var next = 0
            for k in row * kept..<(row + 1) * kept {
                let start = Int(groups[k]) * size
                for j in 0..<size { values[j] = 0 }
                while next < columns.count, Int(columns[next]) < start + size {
                    values[Int(columns[next]) - start] = floats[next]
                    next += 1
                }
                isFinite = result.round(values, group: k) && isFinite
            }
        }
        guard isFinite else {
            throw LacunaError.numerical(
                operation: "rounding to 4-bit groups", reason: "a weight is not finite, or too large for a scale of f16"
            )
        }
        self = result
    }

    /// Rounds the values of one group. False, and nothing changed, if that cannot be.
    private mutating func round(_ values: [Float], group k: Int) -> Bool {
        guard values.allSatisfy(\.isFinite) else { return false }
        let (low, high) = (min(values.min() ?? 0, 0), max(values.max() ?? 0, 0))
        let scale = Half((high - low) / 15).float
        guard scale.isFinite else { return false }
        scales[k] = scale
        // A group too small to count in f16 is 0.
        guard scale > 0 else { return true }
        let zero = max(0, min(15, (-low / scale).rounded(.toNearestOrEven)))
        zeros[k] = UInt8(zero)
        for j in 0..<size {
            codes[k * size + j] = UInt8(max(0, min(15, (values[j] / scale).rounded(.toNearestOrEven) + zero)))
        }
        return true
    }

    /// The dense matrix, with the scales as they are here.
    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [rows, columns])
        result.withMutablePointer { target in
            for row in 0..<rows {
                for k in row * kept..<(row + 1) * kept {
                    let place = row * columns + Int(groups[k]) * size
                    for j in 0..<size {
                        target[place + j] = scales[k] * Float(Int(codes[k * size + j]) - Int(zeros[k]))
                    }
                }
            }
        }
        return result
    }

    /// The entries of the kept groups.
    public var pattern: SparsePattern {
        var result = SparsePattern(rows: rows, columns: columns)
        for row in 0..<rows {
            for k in row * kept..<(row + 1) * kept {
                for j in 0..<size { result[row, Int(groups[k]) * size + j] = true }
            }
        }
        return result
    }
}
