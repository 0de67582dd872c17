import LacunaSparse
import LacunaTensor
import Testing

@Suite struct SparseVectorTests {
    private func table(_ count: Int, seed: UInt64) -> [Double] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in generator.uniform() < 0.3 ? Double(Int.random(in: -5...5, using: &generator)) : 0
        }
    }

    @Test(arguments: [0, 1, 2, 65, 300]) func entriesAndAlgebra(count: Int) throws {
        let (a, b) = (table(count, seed: 1), table(count, seed: 2))
        let (x, y) = (SparseVector(a), SparseVector(b))
        #expect(x.densified() == a && x.count == count && x.storedCount == a.filter { $0 != 0 }.count)
        for i in 0..<count { #expect(x[i] == a[i]) }
        #expect((x + y).densified() == zip(a, b).map { $0 + $1 } && (x - y).densified() == zip(a, b).map { $0 - $1 })
        #expect((3 * x).densified() == a.map { 3 * $0 } && x * 3 == 3 * x)
        #expect(x.dot(y) == zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } && x.dot(b) == x.dot(y))
        #expect(abs(x.norm - a.reduce(0) { $0 + $1 * $1 }.squareRoot()) < 1e-12 && x.sum() == a.reduce(0, +))
        #expect(
            x == SparseVector(a) && (x - x) == SparseVector(zeros: count) && (x - x).droppingZeros().storedCount == 0)
        let shuffled = x.map { ($0.index, $0.value) }.reversed()
        #expect(try SparseVector(count: count, entries: shuffled.map { (index: $0.0, value: $0.1) }) == x)
        #expect(x.rowMatrix.rows == 1 && x.rowMatrix.row(0) == x)
    }

    @Test func theLargestAreKept() {
        let x = SparseVector([3.0, 0, -4, 1, 3, 0.5])
        #expect(x.largest(2).indices == [2, 4] && x.largest(3).indices == [0, 2, 4])
        #expect(x.largest(0).storedCount == 0 && x.largest(9) == x && x.largest(-1).storedCount == 0)
    }

    @Test func badEntriesAreRefused() {
        #expect(throws: LacunaError.self) { try SparseVector<Double>(count: 3, entries: [(index: 3, value: 1.0)]) }
        #expect(throws: LacunaError.self) {
            try SparseVector<Double>(count: 3, entries: [(index: 1, value: 1.0), (index: 1, value: 2.0)])
        }
    }

    @Test func text() {
        #expect("\(SparseVector([0, 1.5, 0]))" == "SparseVector<Double> of 3, 1 stored [1: 1.5]")
        #expect("\(SparseVector<Float>(zeros: 4))" == "SparseVector<Float> of 4, 0 stored")
    }
}
