import LacunaTensor

/// A partition of the columns.
public struct Groups: Sendable, Equatable {
    /// The columns of each group.
    public let members: [[Int]]
    /// How many columns are divided.
    public let columns: Int

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless every column of `0..<columns` is in exactly one group.
    public init(_ members: [[Int]], columns: Int) throws {
        var seen = [Bool](repeating: false, count: columns)
        for group in members {
            for j in group {
                guard (0..<columns).contains(j) else {
                    throw LacunaError.invalidArgument("groups", reason: "column \(j) of \(columns)")
                }
                guard !seen[j] else {
                    throw LacunaError.invalidArgument("groups", reason: "column \(j) is in two groups")
                }
                seen[j] = true
            }
        }
        if let missing = seen.firstIndex(of: false) {
            throw LacunaError.invalidArgument("groups", reason: "column \(missing) is in no group")
        }
        self.members = members.filter { !$0.isEmpty }
        self.columns = columns
    }

    private init(unchecked members: [[Int]], columns: Int) {
        self.members = members
        self.columns = columns
    }

    /// Every column by itself.
    public static func singletons(_ columns: Int) -> Groups {
        Groups(unchecked: (0..<columns).map { [$0] }, columns: columns)
    }

    /// Runs of `size` columns; the last may be shorter.
    public static func runs(of size: Int, columns: Int) -> Groups {
        require(size > 0)
        return Groups(
            unchecked: stride(from: 0, to: columns, by: size).map { Array($0..<min($0 + size, columns)) },
            columns: columns)
    }

    /// How many groups there are.
    public var count: Int { members.count }
}

/// A penalty that is a sum over groups of columns. A block holds the coefficients of a group: its columns for the first
/// output, then for the second, and so on.
public protocol GroupPenalty: Penalty {
    /// Which columns belong together.
    var groups: Groups { get }
    /// What a block of `count` coefficients costs.
    func value(_ block: UnsafePointer<Double>, count: Int, group: Int) -> Double
    /// `block <- argmin_z ½‖z - block‖² + step · value(z)`.
    func proximal(_ block: UnsafeMutablePointer<Double>, count: Int, step: Double, group: Int)
    /// The Euclidean distance from `-gradient` to the subdifferential at a block.
    func distance(_ block: UnsafePointer<Double>, gradient: UnsafePointer<Double>, count: Int, group: Int) -> Double
    /// The largest `s <= 1` for which the conjugate at `-s · gradient` is finite.
    func dualScale(_ gradient: UnsafePointer<Double>, count: Int, group: Int) -> Double
}

extension GroupPenalty {
    public var isConvex: Bool { true }
    public var columns: Int? { groups.columns }

    /// Calls `body` with every group's blocks of one or two arrays.
    private func forEachBlock(
        _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>?, columns: Int, outputs: Int,
        _ body: (Int, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>, Int) -> Void
    ) {
        let widest = (groups.members.map(\.count).max() ?? 0) * outputs
        let first = Buffer<Double>(uninitialized: widest)
        let second = Buffer<Double>(uninitialized: widest)
        for (g, members) in groups.members.enumerated() {
            var count = 0
            for k in 0..<outputs {
                for j in members {
                    first.pointer[count] = a[k * columns + j]
                    if let b { second.pointer[count] = b[k * columns + j] }
                    count += 1
                }
            }
            body(g, first.pointer, second.pointer, count)
        }
    }

    public func value(_ beta: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var sum = 0.0
        forEachBlock(beta, nil, columns: columns, outputs: outputs) { g, block, _, count in
            sum += value(block, count: count, group: g)
        }
        return sum
    }

    public func proximal(_ beta: UnsafeMutablePointer<Double>, step: Double, columns: Int, outputs: Int) {
        forEachBlock(beta, nil, columns: columns, outputs: outputs) { g, block, _, count in
            proximal(block, count: count, step: step, group: g)
            var place = 0
            for k in 0..<outputs {
                for j in groups.members[g] {
                    beta[k * columns + j] = block[place]
                    place += 1
                }
            }
        }
    }

    public func distance(
        _ beta: UnsafePointer<Double>, gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int,
        outputs: Int
    ) -> Double {
        var largest = 0.0
        forEachBlock(beta, gradient, columns: columns, outputs: outputs) { g, block, slope, count in
            largest = max(largest, distance(block, gradient: slope, count: count, group: g))
        }
        return largest
    }

    public func dualScale(_ gradient: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var scale = 1.0
        forEachBlock(gradient, nil, columns: columns, outputs: outputs) { g, block, _, count in
            scale = min(scale, dualScale(block, count: count, group: g))
        }
        return scale
    }

    public func conjugate(_ gradient: UnsafePointer<Double>, scale: Double, columns: Int, outputs: Int) -> Double { 0 }
}

/// Euclidean length.
func length(_ v: UnsafePointer<Double>, _ count: Int) -> Double {
    var sum = 0.0
    for i in 0..<count { sum += v[i] * v[i] }
    return sum.squareRoot()
}
