import LacunaTensor
import Testing

@Suite struct BufferTests {
    @Test(arguments: [0, 1, 15, 16, 17, 262_127, 262_128, 262_144, 600_000])
    func alignedWithReadableZeroSlack(count: Int) {
        let buffer = Buffer<Float>(repeating: 3, count: count)
        #expect(Int(bitPattern: buffer.pointer) % 64 == 0)
        #expect(buffer.count == count && buffer.byteCount == 4 * count)
        #expect(buffer.elements.allSatisfy { $0 == 3 })
        let slack = UnsafeRawPointer(buffer.pointer + count)
        #expect((0..<Buffer<Float>.slack).allSatisfy { slack.load(fromByteOffset: $0, as: UInt8.self) == 0 })
    }

    @Test func copiesAreIndependent() {
        let original = Buffer<Int8>([1, 2, 3])
        let copy = original.copy()
        original.pointer[0] = 9
        #expect(copy.array == [1, 2, 3] && original.array == [9, 2, 3])
        #expect(Buffer(copying: original.pointer + 1, count: 2).array == [2, 3])
        #expect(Buffer<Double>([0, 0.5, 1, 1.5]).array == [0, 0.5, 1, 1.5])
    }

    /// In place or copied, by how much of the whole they are; what kernels read behind the last is 0.
    @Test(arguments: [0, 1, 74, 75, 76, 99, 100]) func firstElements(count: Int) {
        let whole = Buffer<UInt16>((0..<100).map { UInt16($0 + 1) })
        let first = Buffer(first: count, of: whole)
        #expect(first.count == count && first.array == (0..<count).map { UInt16($0 + 1) })
        #expect((first.pointer == whole.pointer) == (count >= 75))
        let behind = UnsafeRawBufferPointer(start: first.pointer + count, count: Buffer<UInt16>.slack)
        #expect(behind.allSatisfy { $0 == 0 })
        let copy = first.copy()
        copy.withMutableElements { $0.update(repeating: 7) }
        #expect(first.withElements { Array($0) } == (0..<count).map { UInt16($0 + 1) })
        #expect(copy.array == [UInt16](repeating: 7, count: count))
    }

    /// The first elements keep the memory alive that they are in.
    @Test func firstElementsOutliveTheWhole() {
        func part() -> Buffer<Double> { Buffer(first: 900_000, of: Buffer(repeating: 2.5, count: 1_000_000)) }
        let kept = part()
        let other = Buffer<Double>(repeating: 9, count: 1_000_000)
        #expect(kept.elements.allSatisfy { $0 == 2.5 } && other.elements.allSatisfy { $0 == 9 })
    }
}
