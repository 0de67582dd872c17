import LacunaSparse
import LacunaTensor
import Testing

/// Random matrices for the tests of stores, and what products with them should give, worked out in plain loops.
enum StoreCases {
    /// A layout, a value type and a shape: one square of the grid.
    struct Square: Sendable, CustomTestStringConvertible {
        let layout: StorageLayout
        let values: ValueType
        let rows: Int
        let columns: Int
        var testDescription: String { "\(StorageFormat(layout, values)) \(rows)x\(columns)" }
    }

    static let layouts: [StorageLayout] = [
        .dense, .masked, .bitmask, .nm(n: 2, m: 4), .nm(n: 3, m: 7), .nm(n: 1, m: 16), .nm(n: 3, m: 32), .csr,
        .bsr(rows: 4, columns: 4),
        .bsr(rows: 1, columns: 16), .bsr(rows: 8, columns: 8), .bsr(rows: 16, columns: 32), .bsr(rows: 3, columns: 5),
    ]
    static let shapes = [(0, 64), (5, 0), (1, 1), (3, 63), (33, 64), (17, 200), (34, 577)]

    static let grid = layouts.flatMap { layout in
        ValueType.allCases.flatMap { values in
            shapes.map { Square(layout: layout, values: values, rows: $0.0, columns: $0.1) }
        }
    }

    /// Normal weights and a mask that the layout can hold, with an empty and a full row where the layout allows that.
    static func make(_ square: Square, density: Double = 0.3, seed: UInt64 = 1) -> (Tensor<Float>, SparsePattern) {
        var generator = SeededGenerator(seed: seed, stream: UInt64(square.rows * 1000 + square.columns))
        let weight = Tensor<Float>(normal: [square.rows, square.columns], using: &generator)
        var mask = SparsePattern(rows: square.rows, columns: square.columns)
        for r in 0..<square.rows {
            for c in 0..<square.columns where generator.uniform() < density { mask[r, c] = true }
        }
        switch square.layout.base {
        case let layout as NMLayout:
            let (n, m) = (layout.n, layout.m)
            for r in 0..<square.rows {
                for start in stride(from: 0, to: square.columns, by: m) {
                    var kept = 0
                    for c in start..<min(start + m, square.columns) where mask[r, c] {
                        kept += 1
                        if kept > n { mask[r, c] = false }
                    }
                }
            }
        case let layout as BSRLayout:
            let (height, width) = (layout.rows, layout.columns)
            for top in stride(from: 0, to: square.rows, by: height) {
                for left in stride(from: 0, to: square.columns, by: width) {
                    let kept = generator.uniform() < density
                    for r in top..<min(top + height, square.rows) {
                        for c in left..<min(left + width, square.columns) { mask[r, c] = kept }
                    }
                }
            }
        default:
            if square.rows > 2 {
                for c in 0..<square.columns {
                    mask[1, c] = false
                    mask[2, c] = true
                }
            }
        }
        return (weight, mask)
    }

    /// The kept weights rounded to a value type, in plain loops that share nothing with the library.
    static func rounded(_ weight: Tensor<Float>, _ mask: SparsePattern?, _ type: ValueType) -> [Float] {
        let (rows, columns) = (weight.rows, weight.columns)
        var result = weight.scalars
        for r in 0..<rows {
            for c in 0..<columns where mask.map({ !$0[r, c] }) ?? false { result[r * columns + c] = 0 }
            let row = r * columns..<(r + 1) * columns
            switch type {
            case .f32: break
            case .bf16: for i in row { result[i] = nearestBFloat16(result[i]) }
            case .f16: for i in row { result[i] = nearestHalf(result[i]) }
            case .int8:
                let scale = result[row].map(abs).max().map { $0 / 127 } ?? 0
                for i in row where scale > 0 { result[i] = (result[i] / scale).rounded(.toNearestOrEven) * scale }
            case .int4:
                for start in stride(from: row.lowerBound, to: row.upperBound, by: 64) {
                    let group = start..<min(start + 64, row.upperBound)
                    result.replaceSubrange(group, with: roundedGroup(Array(result[group])))
                }
            }
        }
        return result
    }

    static func nearestBFloat16(_ x: Float) -> Float {
        let below = Float(bitPattern: x.bitPattern & 0xFFFF_0000)
        let above = Float(bitPattern: (x.bitPattern & 0xFFFF_0000) + 0x1_0000)
        if abs(x - below) != abs(above - x) { return abs(x - below) < abs(above - x) ? below : above }
        return below.bitPattern & 0x1_0000 == 0 ? below : above
    }

    /// Eleven digits for normal numbers; below 2^-14 multiples of 2^-24.
    static func nearestHalf(_ x: Float) -> Float {
        let unit = Float(sign: .plus, exponent: max(x.isZero ? -14 : Int(x.exponent), -14) - 10, significand: 1)
        return (x / unit).rounded(.toNearestOrEven) * unit
    }

    /// The best of the int4 scales for a group: those that stretch the largest entry to about -8 or 7, and the least squares scale
    /// of what the best of these gives.
    static func roundedGroup(_ group: [Float]) -> [Float] {
        guard let extreme = group.max(by: { abs($0) < abs($1) }), extreme != 0 else { return group.map { _ in 0 } }
        func attempt(_ exact: Float) -> (codes: [Float], values: [Float], error: Double) {
            let scale = nearestBFloat16(exact)
            let codes = group.map { max(-8, min(7, ($0 / scale).rounded(.toNearestOrEven))) }
            let values = codes.map { $0 * scale }
            return (codes, values, zip(group, values).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) })
        }
        let scales: [Float] = [8, 8.7, 9.5].map { extreme / -$0 } + [7, 7.7, 8.5].map { abs(extreme) / $0 }
        let best = scales.map(attempt).min { $0.error < $1.error }!
        let dot = zip(best.codes, group).reduce(0) { $0 + $1.0 * $1.1 }
        let refit = attempt(dot / best.codes.reduce(0) { $0 + $1 * $1 })
        return refit.error < best.error ? refit.values : best.values
    }

    /// A vector as kernels see it.
    static func roundedInput(_ x: [Float], _ encoding: InputEncoding) -> [Float] {
        if encoding.contains(.bf16) { return x.map(nearestBFloat16) }
        guard let group = encoding.contains(.int8Groups64) ? 64 : encoding.contains(.int8Groups32) ? 32 : nil else {
            return x
        }
        var result = x
        for start in stride(from: 0, to: x.count, by: group) {
            let range = start..<min(start + group, x.count)
            let scale = x[range].map(abs).max()! / 127
            for i in range where scale > 0 { result[i] = (x[i] / scale).rounded(.toNearestOrEven) * scale }
        }
        return result
    }

    /// `Σ_c w[r, c] x[c]` for every row, and `Σ_c |w[r, c] x[c]|`: what rounding errors are measured by. In f64.
    static func product(_ w: [Float], rows: Int, x: [Float]) -> (sums: [Double], magnitudes: [Double]) {
        let vector = Tensor(x.map { Double($0) }, shape: [1, x.count])
        let matrix = Tensor(w.map { Double($0) }, shape: [rows, x.count])
        let magnitudes = Tensor(w.map { Double(abs($0)) }, shape: [rows, x.count])
        let entries = Tensor(x.map { Double(abs($0)) }, shape: [1, x.count])
        return (
            vector.multiplied(by: matrix, otherTransposed: true).scalars,
            entries.multiplied(by: magnitudes, otherTransposed: true).scalars
        )
    }

    /// Whether `y` [rows] is what the reference says, to within the rounding of f32 sums.
    static func agrees(_ y: ArraySlice<Float>, _ reference: (sums: [Double], magnitudes: [Double])) -> Bool {
        y.count == reference.sums.count
            && zip(y, zip(reference.sums, reference.magnitudes)).allSatisfy {
                abs(Double($0) - $1.0) <= 1e-5 * $1.1 + 1e-30
            }
    }

    static func vector(_ count: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed, stream: 99)
        return (0..<count).map { _ in Float(generator.normal()) }
    }
}
