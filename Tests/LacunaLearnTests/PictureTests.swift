import LacunaIO
import LacunaLearn
import LacunaTensor
import Testing

/// Pictures that other programs wrote (`Scripts/fixtures_pictures.py`), and files that are none.
@Suite struct PictureTests {
    private let folder: String
    private let fields: JSONFields

    init() throws {
        let place = #filePath
        folder = place.dropLast("PictureTests.swift".count) + "Fixtures/pictures/"
        fields = try JSONFields(contentsOf: folder + "pictures.json")
    }

    private func numbers(_ fields: JSONFields, _ key: String) throws -> [Float] {
        try fields.array(key).map { Float($0.doubleValue ?? .nan) }
    }

    /// Every kind and depth, interlaced or not, and every filter.
    @Test func readsWhatOthersWrite() throws {
        let pictures = try fields.fields("pictures")
        #expect(pictures.object.count == 29)
        for member in pictures.object {
            let expected = try pictures.fields(member.key)
            let picture = try Picture(contentsOf: folder + member.key)
            #expect(picture.width == (try expected.integer("width", default: fields.integer("width"))))
            #expect(picture.height == (try expected.integer("height", default: fields.integer("height"))))
            #expect(picture.channels == (try expected.integer("channels")))
            let values = try numbers(expected, "values")
            #expect(
                picture.values.count == values.count
                    && zip(picture.values, values).allSatisfy { abs($0 - $1) < 1e-6 }, "\(member.key)")
        }
    }

    /// Pillow's numbers; a picture of the size that is asked for stays as it is.
    @Test func otherSizes() throws {
        let (width, height) = (try fields.integer("width"), try fields.integer("height"))
        let source = Picture(
            channels: 1, height: height, width: width, values: try numbers(fields, "source"))
        let resized = try fields.fields("resized")
        for member in resized.object {
            let sides = member.key.split(separator: "x").map { Int($0)! }
            let found = source.resized(height: sides[1], width: sides[0])
            let values = try numbers(resized, member.key)
            #expect(
                found.values.count == values.count && zip(found.values, values).allSatisfy { abs($0 - $1) < 1e-5 },
                "\(member.key)")
        }
        #expect(source.resized(height: height, width: width) == source)
        // Channels do not mix.
        let colours = Picture(channels: 3, height: 1, width: 2, values: [0, 0, 0.5, 0.5, 1, 1])
        #expect(colours.resized(height: 3, width: 1).values == [0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1])
    }

    /// What Pillow shows over white.
    @Test func whatOneCanSeeThroughLiesOnABackground() throws {
        let pictures = try JSONFields(contentsOf: folder + "over-white.json")
        #expect(pictures.object.count == 3)
        for member in pictures.object {
            let (path, expected) = (folder + "over-white-\(member.key).png", try pictures.fields(member.key))
            #expect(throws: LacunaError.self) { try Picture(contentsOf: path) }
            let picture = try Picture(contentsOf: path, over: 1)
            #expect([picture.channels, picture.height, picture.width] == (try expected.array("shape").map(\.intValue)))
            let values = try numbers(expected, "values")
            #expect(zip(picture.values, values).allSatisfy { abs($0 - $1) < 2e-5 }, "\(member.key)")
        }
    }

    @Test func squares() throws {
        // Twice as wide as high: a white stripe above and below, grey made into colours.
        let grey = Picture(channels: 1, height: 2, width: 4, values: [Float](repeating: 0.25, count: 8))
        let square = grey.fitted(side: 8)
        #expect(square.channels == 3 && square.height == 8 && square.width == 8)
        for channel in 0..<3 {
            for y in 0..<8 {
                for x in 0..<8 {
                    let wanted: Float = (2..<6).contains(y) ? 0.25 : 1
                    #expect(abs(square.values[(channel * 8 + y) * 8 + x] - wanted) < 1e-6)
                }
            }
        }
    }

    private func refusal(_ bytes: [UInt8]) -> LacunaError? {
        do {
            _ = try Picture(bytes, file: "p.png")
            return nil
        } catch { return error as? LacunaError }
    }

    /// A PNG file of one part beside the last, with its checksum.
    private func png(_ parts: [(String, [UInt8])]) throws -> [UInt8] {
        func big(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
        func checksum(_ bytes: [UInt8]) -> UInt32 {
            var sum = ~UInt32(0)
            for byte in bytes {
                sum ^= UInt32(byte)
                for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0xEDB8_8320 : sum >> 1 }
            }
            return ~sum
        }
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + (parts + [("IEND", [])]).flatMap { name, content in
                let named = Array(name.utf8) + content
                return big(UInt32(content.count)) + named + big(checksum(named))
            }
    }

    /// Samples of a picture as a stream that zlib unpacks without packing.
    private func stored(_ samples: [UInt8]) -> [UInt8] {
        let (length, sums) = (
            UInt16(samples.count),
            samples.reduce((UInt32(1), UInt32(0))) { sums, byte in
                let a = (sums.0 + UInt32(byte)) % 65_521
                return (a, (sums.1 + a) % 65_521)
            }
        )
        return [0x78, 0x01, 0x01, UInt8(length & 255), UInt8(length >> 8), UInt8(~length & 255), UInt8(~length >> 8)]
            + samples + [sums.1 >> 8, sums.1, sums.0 >> 8, sums.0].map { UInt8(truncatingIfNeeded: $0) }
    }

    private func header(_ width: Int, _ height: Int, depth: UInt8 = 8, kind: UInt8 = 0, interlace: UInt8 = 0) -> [UInt8]
    {
        [width, height].flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
            + [depth, kind, 0, 0, interlace]
    }

    @Test func damagedFilesAreErrors() throws {
        let good = try png([("IHDR", header(2, 1)), ("IDAT", stored([0, 51, 255]))])
        #expect(try Picture(good, file: "p").values == [0.2, 1])
        for length in 0..<good.count { #expect(refusal(Array(good.prefix(length))) != nil, "\(length) bytes") }
        for place in 8..<good.count {
            var bytes = good
            bytes[place] ^= 0x10
            #expect(refusal(bytes) != nil, "byte \(place)")
        }
        let bad: [[(String, [UInt8])]] = [
            [("IDAT", stored([0, 1, 2]))],
            [("IHDR", header(2, 1))],
            [("IHDR", header(0, 1)), ("IDAT", stored([0]))],
            [("IHDR", header(1 << 17, 1)), ("IDAT", stored([0]))],
            [("IHDR", header(2, 1, depth: 3)), ("IDAT", stored([0, 1, 2]))],
            [("IHDR", header(2, 1, kind: 5)), ("IDAT", stored([0, 1, 2]))],
            [("IHDR", header(2, 1, depth: 4, kind: 2)), ("IDAT", stored([0, 1, 2]))],
            [("IHDR", header(2, 1, interlace: 2)), ("IDAT", stored([0, 1, 2]))],
            // Too few and too many samples, a filter that there is not, colours without a palette and outside it.
            [("IHDR", header(2, 1)), ("IDAT", stored([0, 1]))],
            [("IHDR", header(2, 1)), ("IDAT", stored([0, 1, 2, 3]))],
            [("IHDR", header(2, 1)), ("IDAT", stored([5, 1, 2]))],
            [("IHDR", header(2, 1, kind: 3)), ("IDAT", stored([0, 0, 0]))],
            [("IHDR", header(2, 1, kind: 3)), ("PLTE", [1, 2, 3]), ("IDAT", stored([0, 0, 1]))],
            [("IHDR", header(2, 1, kind: 3)), ("PLTE", [1, 2]), ("IDAT", stored([0, 0, 0]))],
            // A part that cannot be left aside.
            [("IHDR", header(2, 1)), ("ABCD", []), ("IDAT", stored([0, 1, 2]))],
            // Larger than what it is packed into can be.
            [("IHDR", header(65_536, 65_536)), ("IDAT", stored([0, 1, 2]))],
        ]
        for parts in bad { #expect(refusal(try png(parts)) != nil, "\(parts.map(\.0))") }
        #expect(refusal(Array("GIF89a".utf8)) != nil && refusal([]) != nil)
    }

    /// Any sizes, kinds and samples, with the right checksums: a picture of as many values as it says, or an error.
    @Test func anyContents() throws {
        var generator = SeededGenerator(seed: 2)
        func byte() -> UInt8 { UInt8.random(in: 0...255, using: &generator) }
        var read = 0
        for _ in 0..<4000 {
            let (width, height) = (
                Int.random(in: 1...9, using: &generator), Int.random(in: 1...9, using: &generator)
            )
            let kind = [UInt8(0), 2, 3, 4, 6].randomElement(using: &generator)!
            let depth = [UInt8(1), 2, 4, 8, 16].randomElement(using: &generator)!
            let samples = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4][Int(kind)]! * Int(depth)
            // As many bytes as it takes, mostly; opaque, mostly.
            var content: [UInt8] = []
            for _ in 0..<height {
                content.append(UInt8.random(in: 0...4, using: &generator))
                content += (0..<(width * samples + 7) / 8).map { _ in kind >= 4 ? 255 : byte() }
            }
            if Int.random(in: 0..<8, using: &generator) == 0 { content.append(byte()) }
            var parts = [("IHDR", header(width, height, depth: depth, kind: kind, interlace: byte() < 64 ? 1 : 0))]
            if kind == 3 || byte() < 64 {
                parts.append(("PLTE", (0..<3 * Int.random(in: 1...256, using: &generator)).map { _ in byte() }))
            }
            if byte() < 32 {
                parts.append(("tRNS", (0..<Int.random(in: 0...6, using: &generator)).map { _ in byte() }))
            }
            parts.append(("IDAT", stored(content)))
            guard let picture = try? Picture(png(parts), file: "p") else { continue }
            read += 1
            #expect(picture.height == height && picture.width == width)
            #expect(picture.values.count == picture.channels * width * height)
            #expect(picture.values.allSatisfy { 0...1 ~= $0 })
        }
        #expect(read > 200)
    }

    /// What one can see through has no brightness of its own.
    @Test func transparencyIsRefused() throws {
        func isRefused(_ parts: [(String, [UInt8])]) throws -> Bool {
            if case .unsupported? = refusal(try png(parts)) { true } else { false }
        }
        let colours: [(String, [UInt8])] = [("IHDR", header(2, 1, kind: 3)), ("PLTE", [1, 2, 3, 4, 5, 6])]
        let picture: [(String, [UInt8])] = [("IDAT", stored([0, 1, 0]))]
        #expect(try isRefused([("IHDR", header(1, 1, kind: 4)), ("IDAT", stored([0, 9, 254]))]))
        #expect(try isRefused([("IHDR", header(2, 1)), ("tRNS", [0, 7]), ("IDAT", stored([0, 1, 7]))]))
        #expect(try isRefused(colours + [("tRNS", [255, 0])] + picture))
        // Colours that could be seen through and do not occur.
        #expect(try !isRefused(colours + [("tRNS", [255, 255])] + picture))
        #expect(try !isRefused([("IHDR", header(2, 1)), ("tRNS", [0, 7]), ("IDAT", stored([0, 1, 6]))]))
    }
}
