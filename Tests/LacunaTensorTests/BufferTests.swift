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
}
