import Foundation
import LacunaTensor
import Testing

@testable import LacunaIO

/// Files that PyTorch wrote, and pickles that it did not.
@Suite struct TorchFileTests {
    @Test(arguments: ["stream.pth", "archive.pth"]) func tensorsAreThoseThatWereSaved(name: String) throws {
        let source = try TensorFiles.open(try fixture("torch/\(name)"))
        #expect(source is TorchFile)
        let expected = try JSONFields(contentsOf: try fixture("torch/expected.json"))
        #expect(source.names == expected.object.map(\.key), "in the order of the dictionary")
        for member in expected.object {
            let fields = try expected.fields(member.key)
            let shape = try fields.array("shape").compactMap(\.intValue)
            let values = try fields.array("values").compactMap(\.doubleValue)
            #expect(try source.info(member.key).shape == shape)
            let found = try source.float(member.key, shape: shape).scalars
            #expect(found.map(Double.init) == values, "\(member.key)")
        }
        #expect(try source.info("layer.half").type == .scalar(.f16))
        #expect(try source.info("layer.double").type == .scalar(.f64))
        #expect(try source.integers("scalar") == [7])
        // A part of another tensor is where that is.
        let (whole, part) = (try source.info("whole").byteRange, try source.info("part").byteRange)
        #expect(part.lowerBound == whole.lowerBound + 24 && part.count == 48)
    }

    /// [6, 4] of what is stored as [4, 6], a part of it, and dimensions in a third order.
    @Test func numbersArePutInOrder() throws {
        let whole = try TorchFile(try fixture("torch/stream.pth")).float("whole").scalars
        let source = try TorchFile(try fixture("torch/transposed.pth"))
        func numbers(_ count: Int, _ place: (Int) -> Int) -> [Float] { (0..<count).map { whole[place($0)] } }
        let turned = try source.float("a", shape: [6, 4]).scalars
        #expect(turned == numbers(24) { (i: Int) -> Int in i % 4 * 6 + i / 4 })
        let part = try source.float("b", shape: [3, 2]).scalars
        #expect(part == numbers(6) { (i: Int) -> Int in (i % 2 + 1) * 6 + i / 2 * 2 })
        // [2, 3, 4] of (i, j, k) at 8 j + 4 i + k.
        let three = try source.float("c", shape: [2, 3, 4]).scalars
        #expect(three == numbers(24) { (i: Int) -> Int in i / 4 % 3 * 8 + i / 12 * 4 + i % 4 })
        #expect(try source.float("a").scalars == turned, "asked for again")
    }

    @Test func otherObjectsAreRefused() throws {
        for (name, word) in [
            ("repeated.pth", "storage"), ("module.pth", "module"),
            ("numbers.pth", "without a dictionary of tensors"),
        ] {
            let error = failure { try TorchFile(try fixture("torch/\(name)")) }
            #expect(error?.description.contains(word) == true, "\(String(describing: error))")
        }
    }

    private func pickle(_ text: String) throws -> Pickle {
        let bytes = Array(text.utf8)
        return try bytes.withUnsafeBytes { try Pickle($0, file: "p") }
    }

    @Test func calls() throws {
        // os.system("x") is a description, and nothing else.
        let pickle = try pickle("cos\nsystem\n(U\u{1}xtR.")
        let parts = try #require(pickle.items(pickle.value))
        #expect(parts[0] == .global("os system"))
        #expect(pickle.items(parts[1]) == [.text("x")])
        let scratch = try Scratch()
        let path = try scratch.write(Array("PK\u{3}\u{4}".utf8), to: "f")
        #expect(failure { try TorchFile(path) } != nil)
    }

    @Test func numbers() throws {
        func value(_ bytes: [UInt8]) throws -> PickleValue {
            try bytes.withUnsafeBytes { try Pickle($0, file: "p") }.value
        }
        #expect(try value([0x8A, 1, 0xFF, 0x2E]) == .integer(-1))
        #expect(try value([0x8A, 0, 0x2E]) == .integer(0))
        #expect(try value([0x8A, 2, 0x00, 0x80, 0x2E]) == .integer(-32768))
        #expect(try value([0x8A, 8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x2E]) == .integer(.min))
        #expect(try value([UInt8(ascii: "J"), 0xFE, 0xFF, 0xFF, 0xFF, 0x2E]) == .integer(-2))
        #expect(try value([UInt8(ascii: "M"), 1, 2, 0x2E]) == .integer(513))
        #expect(try value([UInt8(ascii: "G"), 0xC0, 0x04, 0, 0, 0, 0, 0, 0, 0x2E]) == .number(-2.5))
    }

    /// Programs that take what is not there, go on for ever or fill memory.
    @Test(arguments: [
        "", ".", "R.", "t.", "(", "a.", "]a.", "h\u{1}.", "(h\u{1}.", "q", "X\u{7f}\u{7f}\u{7f}\u{7f}", "}(K\u{1}u.",
        "]K\u{1}s.", "\u{1}",
    ])
    func damagedPickles(text: String) {
        #expect(failure { try pickle(text) } != nil, "\(text)")
    }

    @Test func memoryIsBounded() {
        let many = String(repeating: "N", count: Pickle.limit + 2)
        #expect(failure { try pickle(many) }?.description.contains("objects") == true)
        // A dictionary that holds itself: made, but not walked for ever.
        #expect(throws: Never.self) { try pickle("}q\u{1}U\u{1}ah\u{1}s.") }
    }
}
