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

    /// Archives beyond 4 GiB have numbers in 64 bits, in a record and in fields of their own: here a small one has them.
    @Test func archivesOfLargeFiles() throws {
        let good = try Array(FileSystem.readBytes(try fixture("torch/archive.pth")))
        func number(_ at: Int, _ count: Int) -> Int { (0..<count).reduce(0) { $0 | Int(good[at + $1]) << (8 * $1) } }
        func written(_ value: Int, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        let end = good.count - 22
        let (count, start) = (number(end + 10, 2), number(end + 16, 4))
        var bytes = Array(good[..<start])
        var at = start
        for _ in 0..<count {
            let (name, extra) = (number(at + 28, 2), number(at + 30, 2))
            // A field of another kind, then the place of the entry.
            var fields: [UInt8] = [0x46, 0x42, 3, 0, 1, 2, 3, 1, 0, 8, 0]
            fields += written(number(at + 42, 4), 8)
            bytes += good[at..<at + 30]
            bytes += written(fields.count, 2)
            bytes += good[at + 32..<at + 42]
            bytes += written(0xFFFF_FFFF, 4)
            bytes += good[at + 46..<at + 46 + name]
            bytes += fields
            at += 46 + name + extra + number(at + 32, 2)
        }
        let record = bytes.count
        for (value, length) in [
            (0x0606_4B50, 4), (44, 8), (0, 12), (count, 8), (count, 8), (record - start, 8), (start, 8),
            (0x0706_4B50, 4), (0, 4), (record, 8), (1, 4),
            (0x0605_4B50, 4), (0, 4), (0xFFFF, 2), (0xFFFF, 2), (0xFFFF_FFFF, 4), (0xFFFF_FFFF, 4), (0, 2),
        ] {
            bytes += written(value, length)
        }
        let scratch = try Scratch()
        let found = try TorchFile(try scratch.write(bytes, to: "large.pth"))
        let whole = try TorchFile(try fixture("torch/archive.pth"))
        #expect(found.names == whole.names)
        #expect(try found.float("whole").scalars == whole.float("whole").scalars)
        // A number of entries below 0, and a record beyond the file.
        for place in [record + 32, record + 64] {
            var bad = bytes
            for i in place..<place + 8 { bad[i] = 0xFF }
            let path = try scratch.write(bad, to: "bad.pth")
            #expect(failure { try TorchFile(path) } != nil, "\(place)")
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

    /// Bytes changed at random: an error that says where, or other numbers.
    @Test(arguments: ["stream.pth", "archive.pth", "transposed.pth"]) func randomDamage(name: String) throws {
        let good = try Array(FileSystem.readBytes(try fixture("torch/\(name)")))
        let scratch = try Scratch()
        let path = try scratch.write(good, to: "d.pth")
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<500 {
            var bytes = good
            for _ in 0..<3 {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            try scratch.overwrite(bytes, in: "d.pth")
            do {
                let file = try TorchFile(path)
                for name in file.names { _ = try? file.float(name) }
            } catch {
                #expect(error is LacunaError)
            }
        }
    }

    /// Operations in any order.
    @Test func randomPrograms() {
        let operations = Array("NKMJGXUc()tle]}asuqrhj0QRb.".utf8) + [0x80, 0x85, 0x86, 0x88, 0x8A, 0x8C, 0x93, 0x94]
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<5000 {
            // Small numbers follow, as lengths and as keys.
            let program = (0..<30).flatMap { _ -> [UInt8] in
                let operation = operations[Int(generator.next() % UInt64(operations.count))]
                return [operation, UInt8(generator.next() % 3)]
            }
            do {
                _ = try program.withUnsafeBytes { try Pickle($0, file: "p") }
            } catch {
                #expect(error is LacunaError)
            }
        }
    }

    @Test func memoryIsBounded() {
        let many = String(repeating: "N", count: Pickle.limit + 2)
        #expect(failure { try pickle(many) }?.description.contains("objects") == true)
        let kept = "N" + String(repeating: "q\u{1}", count: Pickle.limit + 2)
        #expect(failure { try pickle(kept) }?.description.contains("objects") == true)
        // A text of 2048 letters, and a name that is made of it twice.
        let text = Array("X\u{0}\u{8}\u{0}\u{0}".utf8) + [UInt8](repeating: UInt8(ascii: "n"), count: 2048)
        let named = text + Array("q\u{1}h\u{1}".utf8) + [0x93, 0x2E]
        let error = failure { try named.withUnsafeBytes { try Pickle($0, file: "p") } }
        #expect(error?.description.contains("longer than 1024 bytes") == true)
        // A dictionary that holds itself: made, but not walked for ever.
        #expect(throws: Never.self) { try pickle("}q\u{1}U\u{1}ah\u{1}s.") }
    }
}
