import LacunaTensor
import Testing

/// Arithmetic, reductions and slices against loops over indices.
@Suite struct TensorArithmeticTests {
    /// Every index of a shape, in row-major order.
    private func indices(_ shape: [Int]) -> [[Int]] {
        shape.reduce([[]]) { prefixes, length in prefixes.flatMap { prefix in (0..<length).map { prefix + [$0] } } }
    }

    private func entry(_ x: Tensor<Double>, _ index: [Int]) -> Double {
        x.scalars[zip(index, x.shape).reduce(0) { $0 * $1.1 + $1.0 }]
    }

    private func random(_ shape: [Int], seed: UInt64) -> Tensor<Double> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(uniform: shape, in: 0.5..<2, using: &generator)
    }

    @Test(arguments: [
        ([2, 3], [2, 3]), ([2, 3], [3]), ([3], [2, 3]), ([2, 3], [2, 1]), ([2, 1], [1, 3]), ([4], []), ([], [4]),
        ([], []),
        ([2, 3, 4], [3, 1]), ([2, 1, 4], [3, 4]), ([2, 3, 4], [2, 1, 1]), ([5, 1, 2, 1], [3, 1, 4]), ([1], [1, 1, 1]),
        ([0, 3], [3]), ([2, 0], [2, 1]), ([1, 70], [9, 1]),
    ])
    func broadcasting(a: [Int], b: [Int]) throws {
        let shape = try #require(Tensor<Double>.broadcast(a, b))
        let rank = max(a.count, b.count)
        let (padA, padB) = (
            Array(repeating: 1, count: rank - a.count) + a, Array(repeating: 1, count: rank - b.count) + b
        )
        #expect(shape == zip(padA, padB).map { $0 == 1 ? $1 : $0 })
        let (x, y) = (random(a, seed: 1), random(b, seed: 2))
        func expected(_ operation: (Double, Double) -> Double) -> Tensor<Double> {
            let values = indices(shape).map { index in
                let i = zip(index, padA).map { $1 == 1 ? 0 : $0 }.suffix(a.count)
                let j = zip(index, padB).map { $1 == 1 ? 0 : $0 }.suffix(b.count)
                return operation(entry(x, Array(i)), entry(y, Array(j)))
            }
            return Tensor(values, shape: shape)
        }
        #expect(x + y == expected(+) && x - y == expected(-) && x * y == expected(*) && x / y == expected(/))
        if shape == a {
            var (sum, difference, product, quotient) = (x, x, x, x)
            sum += y
            difference -= y
            product *= y
            quotient /= y
            #expect(sum == x + y && difference == x - y && product == x * y && quotient == x / y)
            #expect(x == random(a, seed: 1))
        }
    }

    @Test func shapesThatDoNotFit() {
        #expect(Tensor<Float>.broadcast([2, 3], [2]) == nil)
        #expect(Tensor<Float>.broadcast([2, 3], [3, 3]) == nil)
        #expect(Tensor<Float>.broadcast([0], [2]) == nil)
        #expect(Tensor<Float>.broadcast([], []) == [])
    }

    @Test func numbers() {
        let x = Tensor<Float>([1, -2, 4], shape: [3])
        #expect((x + 1).scalars == [2, -1, 5] && (1 + x).scalars == [2, -1, 5])
        #expect((x - 1).scalars == [0, -3, 3] && (1 - x).scalars == [0, 3, -3])
        #expect((x * 2).scalars == [2, -4, 8] && (2 * x).scalars == [2, -4, 8])
        #expect((x / 2).scalars == [0.5, -1, 2] && (2 / x).scalars == [2, -1, 0.5])
        #expect((-x).scalars == [-1, 2, -4])
        var y = x
        y += 1
        y *= 3
        y -= 2
        y /= 4
        #expect(y.scalars == [1, -1.25, 3.25] && x.scalars == [1, -2, 4])
        var z = x
        z += z
        #expect(z.scalars == [2, -4, 8])
        let widened: Tensor<Double> = x.map { Double($0) + 0.5 }
        #expect(widened.scalars == [1.5, -1.5, 4.5] && widened.shape == [3])
    }

    @Test func closeness() {
        let x = Tensor<Float>([100, -2], shape: [2])
        #expect(x.isApproximatelyEqual(to: x + 0.5, tolerance: 0.01))
        #expect(!x.isApproximatelyEqual(to: x + 1.5, tolerance: 0.01))
        #expect(!x.isApproximatelyEqual(to: x.reshaped([1, 2]), tolerance: 1))
        let broken = Tensor<Float>([.nan, -2], shape: [2])
        #expect(!broken.isApproximatelyEqual(to: broken, tolerance: 1))
        let endless = Tensor<Float>([.infinity, 1], shape: [2])
        #expect(!x.isApproximatelyEqual(to: endless, tolerance: 1))
    }

    @Test func wholeReductions() {
        for count in [1, 3, 4, 5, 8, 11] {
            let x = random([count], seed: 9) - 1
            let values = x.scalars
            #expect(abs(x.sum() - values.reduce(0, +)) < 1e-12)
            #expect(abs(x.mean() - values.reduce(0, +) / Double(count)) < 1e-12)
            #expect(x.max() == values.max() && x.min() == values.min())
            #expect(x.argmax() == values.firstIndex(of: values.max()!))
            #expect(x.argmin() == values.firstIndex(of: values.min()!))
            #expect(abs(x.norm() - values.reduce(0) { $0 + $1 * $1 }.squareRoot()) < 1e-12)
        }
        // Single additions would stop at 2^24.
        #expect(Tensor<Float>(repeating: 1, shape: [(1 << 24) + 8]).sum() == Float((1 << 24) + 8))
        #expect(Tensor<Float>(repeating: 3e38, shape: [4]).mean() == 3e38)
        #expect(Tensor<Float>([3e30, 4e30], shape: [2]).norm() == 5e30)
        #expect(Tensor<Float>([3e-30, 4e-30], shape: [2]).norm() == 5e-30)
        let none = Tensor<Float>(zeros: [0, 2])
        #expect(none.sum() == 0 && none.mean().isNaN && none.max() == nil && none.argmin() == nil && none.norm() == 0)
        let ties = Tensor<Float>([1, 7, 7, -3, -3], shape: [5])
        #expect(ties.argmax() == 1 && ties.argmin() == 3)
        let broken = Tensor<Float>([5, .nan, 9, .nan], shape: [4])
        #expect(broken.argmax() == 1 && broken.argmin() == 1 && broken.max()!.isNaN && broken.norm().isNaN)
    }

    @Test(arguments: [[3, 4], [4, 1], [2, 3, 4], [2, 3, 1, 2], [5]])
    func reductionsAlongADimension(shape: [Int]) {
        let x = random(shape, seed: 4)
        for axis in shape.indices {
            var rest = shape
            rest.remove(at: axis)
            var kept = shape
            kept[axis] = 1
            var (sums, largest, smallest, places, lows): ([Double], [Double], [Double], [Int], [Int]) = (
                [], [], [], [], []
            )
            for index in indices(rest) {
                let line = (0..<shape[axis]).map { k in
                    var whole = index
                    whole.insert(k, at: axis)
                    return entry(x, whole)
                }
                sums.append(line.reduce(0, +))
                largest.append(line.max()!)
                smallest.append(line.min()!)
                places.append(line.firstIndex(of: line.max()!)!)
                lows.append(line.firstIndex(of: line.min()!)!)
            }
            let length = Double(shape[axis])
            #expect(x.sum(axis: axis).isApproximatelyEqual(to: Tensor(sums, shape: rest), tolerance: 1e-14))
            #expect(
                x.mean(axis: axis).isApproximatelyEqual(
                    to: Tensor(sums.map { $0 / length }, shape: rest), tolerance: 1e-14))
            #expect(x.max(axis: axis) == Tensor(largest, shape: rest))
            #expect(x.min(axis: axis) == Tensor(smallest, shape: rest))
            #expect(x.argmax(axis: axis) == places && x.argmin(axis: axis) == lows)
            // Counted from the end, and kept.
            let last = axis - shape.count
            #expect(x.sum(axis: last) == x.sum(axis: axis) && x.argmax(axis: last) == places)
            #expect(x.sum(axis: axis, keepingAxis: true) == x.sum(axis: axis).reshaped(kept))
            #expect(x.max(axis: axis, keepingAxis: true) == x.max(axis: axis).reshaped(kept))
            let centred = x - x.mean(axis: axis, keepingAxis: true)
            #expect((centred.sum(axis: axis).max() ?? 0).magnitude < 1e-14)
        }
    }

    @Test func reductionsOfEmptyDimensions() {
        let x = Tensor<Double>(zeros: [2, 0, 3])
        #expect(x.sum(axis: 1) == Tensor(zeros: [2, 3]) && x.sum(axis: 0).shape == [0, 3])
        #expect(x.mean(axis: 1).scalars.allSatisfy(\.isNaN) && x.max(axis: 2).shape == [2, 0])
    }

    @Test(arguments: [[4, 5], [3, 4, 2], [6]])
    func slices(shape: [Int]) throws {
        let x = random(shape, seed: 6)
        for axis in shape.indices {
            for (lower, upper) in [(0, shape[axis]), (1, shape[axis]), (0, 1), (1, 1), (1, shape[axis] - 1)]
            where lower <= upper {
                var cut = shape
                cut[axis] = upper - lower
                let expected = indices(cut).map { index in
                    var index = index
                    index[axis] += lower
                    return entry(x, index)
                }
                #expect(x[axis: axis, lower..<upper] == Tensor(expected, shape: cut))
                #expect(x[axis: axis - shape.count, lower..<upper] == Tensor(expected, shape: cut))
                var written = x
                written[axis: axis, lower..<upper] = Tensor(repeating: -1, shape: cut)
                for index in indices(shape) {
                    #expect(entry(written, index) == (lower..<upper ~= index[axis] ? -1 : entry(x, index)))
                }
                #expect(x == random(shape, seed: 6))
                let parts = [x[axis: axis, ..<lower], x[axis: axis, lower..<upper], x[axis: axis, upper...]]
                #expect(try Tensor.concatenated(parts, axis: axis) == x)
            }
        }
        var raised = x
        raised[axis: 0, 1...2] += 10
        #expect(raised[axis: 0, 1...2] == x[axis: 0, 1...2] + 10 && raised[axis: 0, ..<1] == x[axis: 0, ..<1])
    }

    @Test func partsThatDoNotFit() {
        let (a, b) = (Tensor<Float>(zeros: [2, 3]), Tensor<Float>(zeros: [2, 4]))
        #expect(throws: LacunaError.self) { try Tensor.concatenated([a, b], axis: 0) }
        #expect(throws: LacunaError.self) { try Tensor.concatenated([a, a], axis: 2) }
        #expect(throws: LacunaError.self) { try Tensor.concatenated([a, Tensor(zeros: [2])], axis: 0) }
        #expect(throws: LacunaError.self) { try Tensor<Float>.concatenated([]) }
        #expect(throws: Never.self) { try #require(try Tensor.concatenated([a, b], axis: -1).shape == [2, 7]) }
    }

    @Test func rowsAndColumns() {
        let x = Tensor<Float>((0..<6).map { Float($0) }, shape: [2, 3])
        #expect(x.row(1) == [3, 4, 5] && x.column(2) == [2, 5])
        #expect(x.selectingRows([1, 0, 1]).scalars == [3, 4, 5, 0, 1, 2, 3, 4, 5])
    }

    @Test func text() {
        #expect(Tensor<Float>([1.5], shape: []).description == "Tensor<Float> [] 1.5")
        #expect(Tensor<Float>([1, -2.25, 1e-7]).description == "Tensor<Float> [3] [1, -2.25, 1.0e-7]")
        #expect(
            Tensor<Double>([1, 10, -3, 0.5], shape: [2, 2]).description == "Tensor<Double> [2, 2]\n   1   10\n  -3  0.5"
        )
        #expect(Tensor<Double>(zeros: [0, 3]).description == "Tensor<Double> [0, 3]")
        #expect(Tensor<Double>(zeros: [15]).description.hasSuffix("0, 0  … 3 more]"))
        let long = Tensor<Double>(zeros: [14, 1]).description
        #expect(long.hasSuffix("\n  … 2 more rows") && long.split(separator: "\n").count == 14)
        let cube = Tensor<Float>((0..<6).map { Float($0) }, shape: [6, 1, 1]).description
        #expect(cube == "Tensor<Float> [6, 1, 1]\n[0, …]\n  0\n[1, …]\n  1\n[2, …]\n  2\n[3, …]\n  3\n… 2 more")
        let four = Tensor<Float>(zeros: [2, 2, 1, 1]).description
        #expect(four.contains("\n[1, 0, …]\n"))
    }
}
