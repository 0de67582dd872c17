import LacunaIO
import LacunaLearn
import LacunaTensor
import Testing

/// Pictures against what Pillow reads of the same files.
@Suite struct PictureTests {
    private static let folder = String(#filePath.dropLast("PictureTests.swift".count)) + "Fixtures/pictures/"

    private func expected(_ name: String) throws -> (shape: [Int], values: [Double]) {
        let fields = try JSONFields(contentsOf: Self.folder + "expected.json").fields(name)
        return (
            try fields.array("shape").compactMap(\.intValue), try fields.array("values").compactMap(\.doubleValue)
        )
    }

    @Test(arguments: ["colour", "noise", "alpha", "grey", "grey-alpha", "bits", "palette", "deep"])
    func pixelsAreThoseOfPillow(name: String) throws {
        let picture = try Picture(Self.folder + name + ".png")
        let (shape, values) = try expected(name)
        #expect([picture.channels, picture.height, picture.width] == shape)
        #expect(picture.values.count == values.count)
        #expect(zip(picture.values, values).allSatisfy { abs(Double($0) - $1) < 2e-5 }, "\(name)")
    }

    @Test(arguments: ["smaller", "larger"]) func sizesChangeAsInPillow(name: String) throws {
        let (shape, values) = try expected(name)
        let picture = try Picture(Self.folder + "noise.png").resized(height: shape[1], width: shape[2])
        #expect(zip(picture.values, values).allSatisfy { abs(Double($0) - $1) < 2e-5 })
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
        #expect(grey.resized(height: 2, width: 4).values == grey.values)
    }

    @Test func damagedPicturesAreRefused() throws {
        let bytes = try FileSystem.readBytes(Self.folder + "palette.png")
        for length in 0..<bytes.count {
            #expect(throws: LacunaError.self) { try PortableNetworkGraphic(Array(bytes[..<length]), file: "p") }
        }
        // A checksum covers every byte behind the first eight.
        for at in 8..<bytes.count - 12 {
            var damaged = bytes
            damaged[at] ^= 4
            #expect(throws: LacunaError.self, "byte \(at)") { try PortableNetworkGraphic(damaged, file: "p") }
        }
    }
}
