import LacunaTensor
import Testing

@Suite struct TensorTests {
    @Test func valueSemantics() {
        let a = Tensor<Float>([1, 2, 3, 4], shape: [2, 2])
        var b = a
        let shared = a.withPointer { pa in b.withPointer { $0 == pa } }
        #expect(shared)
        b[0, 1] = 20
        #expect(a[0, 1] == 2 && b[0, 1] == 20)
        var c = b.reshaped([4])
        c[0] = -1
        #expect(b[0, 0] == 1 && c.scalars == [-1, 20, 3, 4])
        // A unique owner writes in place.
        let before = c.withPointer { $0 }
        c[3] = 7
        #expect(c.withPointer { $0 } == before)
        // A copy held by an array or a closure counts as an owner.
        let held = [c]
        c.withMutablePointer { $0[0] = 5 }
        #expect(held[0][0] == -1 && c[0] == 5)
    }

    @Test func writersOnOtherThreadsDoNotMeet() async {
        let original = Tensor<Double>(repeating: 1, shape: [1000])
        let sums = await withTaskGroup(of: Double.self) { group in
            for task in 0..<8 {
                group.addTask {
                    var mine = original
                    mine.withMutablePointer { p in for i in 0..<1000 { p[i] *= Double(task) } }
                    return mine.scalars.reduce(0, +)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }.sorted()
        }
        #expect(sums == (0..<8).map { Double($0 * 1000) })
        #expect(original.scalars.allSatisfy { $0 == 1 })
    }

    @Test func shapesAndEdges() {
        #expect(Tensor<Float>(zeros: []).count == 1 && Tensor<Float>(zeros: []).rank == 0)
        #expect(Tensor<Float>(zeros: [3, 0, 2]).count == 0)
        #expect(Tensor<Float>([]).shape == [0])
        var scalar = Tensor<Double>(repeating: 2, shape: [])
        scalar[] = 3
        #expect(scalar.scalars == [3])
        let cube = Tensor<Float>((0..<24).map { Float($0) }, shape: [2, 3, 4])
        #expect(cube[1, 2, 3] == 23 && cube[0, 1, 0] == 4)
        #expect(cube.reshaped([6, 4])[5, 3] == 23)
    }

    @Test func equality() {
        let a = Tensor<Float>([1, 2, 3, 4], shape: [2, 2])
        #expect(a == Tensor<Float>([1, 2, 3, 4], shape: [2, 2]))
        #expect(a != Tensor<Float>([1, 2, 3, 4], shape: [4]))
        #expect(a != Tensor<Float>([1, 2, 3, 5], shape: [2, 2]))
        #expect(Tensor<Float>(zeros: [0, 3]) != Tensor<Float>(zeros: [3, 0]))
    }

    @Test func rowRanges() {
        let a = Tensor<Float>((0..<12).map { Float($0) }, shape: [4, 3])
        #expect(a.rows(1..<3) == Tensor([3, 4, 5, 6, 7, 8], shape: [2, 3]))
        #expect(a.rows(4..<4).shape == [0, 3] && a.rows(0..<4) == a)
    }

    @Test(arguments: [[0, 0], [0, 3], [3, 0], [1, 1], [1, 100], [100, 1], [31, 33], [64, 64], [300, 517]])
    func transposition(shape: [Int]) {
        var generator = SeededGenerator(seed: 1)
        let a = Tensor<Double>(uniform: shape, using: &generator)
        let b = a.transposed()
        #expect(b.shape == [shape[1], shape[0]])
        let same = a.withPointer { a in
            b.withPointer { b in
                (0..<shape[0]).allSatisfy { i in
                    (0..<shape[1]).allSatisfy { j in a[i * shape[1] + j] == b[j * shape[0] + i] }
                }
            }
        }
        #expect(same)
        #expect(b.transposed() == a)
    }
}
