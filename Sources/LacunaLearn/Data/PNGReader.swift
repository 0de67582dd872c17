import LacunaIO
import LacunaTensor

/// Reads a PNG picture (ISO/IEC 15948): grey, coloured or with a palette, 1 to 16 bits deep, interlaced or not. What says how
/// brightnesses look on a screen (`gAMA`, `sRGB`, …) is left aside, as everybody does who feeds pictures to networks.
struct PNGReader {
    private let file: String
    private let bytes: [UInt8]
    private let width, height, depth: Int
    private let kind: Kind
    private let isInterlaced: Bool
    /// Three bytes a colour.
    private var palette: [UInt8] = []
    /// What can be seen through: a transparency for each colour of the palette, or one colour of 16-bit samples.
    private var transparency: [UInt8] = []
    /// The packed samples, from all chunks that have some.
    private var packed: [UInt8] = []

    private enum Kind: Int {
        case grey = 0
        case colour = 2
        case indexed = 3
        case greyAlpha = 4
        case colourAlpha = 6

        /// Samples of a pixel.
        var samples: Int {
            switch self {
            case .grey, .indexed: 1
            case .greyAlpha: 2
            case .colour: 3
            case .colourAlpha: 4
            }
        }
        var depths: [Int] {
            switch self {
            case .grey: [1, 2, 4, 8, 16]
            case .indexed: [1, 2, 4, 8]
            case .colour, .greyAlpha, .colourAlpha: [8, 16]
            }
        }
        var channels: Int { self == .grey || self == .greyAlpha ? 1 : 3 }
    }

    private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    static func isPNG(_ bytes: [UInt8]) -> Bool { bytes.starts(with: signature) }

    /// Reads all but the samples.
    init(_ bytes: [UInt8], file: String) throws {
        func bad(_ reason: String, at offset: Int) -> LacunaError {
            .malformed(file: file, location: "byte \(offset)", reason: reason)
        }
        func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 << 8 | Int(bytes[offset + $1]) } }
        (self.file, self.bytes) = (file, bytes)
        var chunks: [(name: String, content: Range<Int>)] = []
        var position = Self.signature.count
        while chunks.last?.name != "IEND" {
            guard bytes.count - position >= 12 else { throw bad("the picture ends early", at: bytes.count) }
            let length = number(position)
            guard length <= bytes.count - position - 12 else {
                throw bad("a part of \(length) bytes where \(bytes.count - position - 12) are left", at: position)
            }
            let content = position + 8..<position + 8 + length
            let checksum = Gzip.checksum(bytes[position + 4..<content.upperBound])
            guard Int(checksum) == number(content.upperBound) else {
                throw bad("the checksum does not agree", at: content.upperBound)
            }
            let name = bytes[position + 4..<position + 8]
            guard name.allSatisfy({ (65...90).contains($0) || (97...122).contains($0) }) else {
                throw bad("a part without a name", at: position + 4)
            }
            chunks.append((String(decoding: name, as: UTF8.self), content))
            position = content.upperBound + 4
        }

        guard let header = chunks.first, header.name == "IHDR", header.content.count == 13 else {
            throw bad("the sizes do not come first", at: Self.signature.count)
        }
        let start = header.content.lowerBound
        (width, height) = (number(start), number(start + 4))
        guard 1...(1 << 16) ~= width, 1...(1 << 16) ~= height else { throw bad("\(width)x\(height) pixels", at: start) }
        guard let kind = Kind(rawValue: Int(bytes[start + 9])), kind.depths.contains(Int(bytes[start + 8])) else {
            throw bad("kind \(bytes[start + 9]) with \(bytes[start + 8]) bits", at: start + 8)
        }
        (self.kind, depth) = (kind, Int(bytes[start + 8]))
        guard bytes[start + 10] == 0, bytes[start + 11] == 0, bytes[start + 12] <= 1 else {
            throw bad("another way of packing", at: start + 10)
        }
        isInterlaced = bytes[start + 12] == 1

        for (name, content) in chunks.dropFirst() {
            switch name {
            case "PLTE":
                guard palette.isEmpty, packed.isEmpty, content.count % 3 == 0, 1...256 ~= content.count / 3 else {
                    throw bad("a palette of \(content.count) bytes", at: content.lowerBound)
                }
                palette = Array(bytes[content])
            case "tRNS": transparency = Array(bytes[content])
            case "IDAT": packed += bytes[content]
            case "IEND": break
            default:
                // A small first letter says that a picture can be read without the part.
                guard name.utf8.first! >= 97 else {
                    throw LacunaError.unsupported(file: file, what: "a PNG picture with a part '\(name)'")
                }
            }
        }
        if kind == .indexed && palette.isEmpty { throw bad("a picture of colours without a palette", at: start) }
    }

    /// The images that the file holds one after the other: one, or seven of an interlaced picture, each with the pixels from
    /// (x, y) on in steps.
    private var passes: [(x: Int, y: Int, stepX: Int, stepY: Int)] {
        isInterlaced
            ? [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
            : [(0, 0, 1, 1)]
    }

    /// - Parameter background: What pixels that one can see through lie on, 0...1.
    /// - Throws: `LacunaError.malformed`, `.resource`, and `.unsupported` for pixels that one can see through where there is no
    ///   background.
    func picture(over background: Float?) throws -> Picture {
        let channels = kind.channels
        try MachineMemory.require(shape: [channels, height, width], of: Float.self, for: "the picture \(file)")
        let bits = kind.samples * depth
        let sizes = passes.map { pass in
            (
                columns: (width - pass.x + pass.stepX - 1) / pass.stepX,
                rows: (height - pass.y + pass.stepY - 1) / pass.stepY
            )
        }
        /// Bytes of a row of so many pixels, without that of its filter.
        func rowBytes(_ columns: Int) -> Int { (columns * bits + 7) / 8 }
        let total = sizes.reduce(0) { $0 + ($1.columns > 0 ? $1.rows * (1 + rowBytes($1.columns)) : 0) }
        var samples = try Gzip.inflated(zlib: packed, count: total, file: file)

        var values = [Float](repeating: 0, count: channels * height * width)
        var position = 0
        for (pass, size) in zip(passes, sizes) where size.columns > 0 && size.rows > 0 {
            let length = rowBytes(size.columns)
            for row in 0..<size.rows {
                let above = row > 0 ? position - length : nil
                try unfilter(&samples, at: position, length: length, above: above, pixel: max(1, bits / 8))
                for column in 0..<size.columns {
                    try put(
                        pixel(samples, from: position + 1, column), over: background, into: &values,
                        at: (pass.y + row * pass.stepY) * width + pass.x + column * pass.stepX)
                }
                position += 1 + length
            }
        }
        return Picture(channels: channels, height: height, width: width, values: values)
    }

    /// Takes back what a row's filter did, in place.
    ///
    /// - Parameters:
    ///   - start: The byte that names the filter, in front of the row.
    ///   - above: Where the row above begins, behind its filter; nil for the first row, which has zeros above.
    ///   - pixel: Bytes to the pixel on the left.
    private func unfilter(_ bytes: inout [UInt8], at start: Int, length: Int, above: Int?, pixel: Int) throws {
        let (filter, row) = (bytes[start], start + 1)
        guard filter <= 4 else {
            throw LacunaError.malformed(file: file, location: "samples", reason: "there is no filter \(filter)")
        }
        if filter == 0 { return }
        for i in 0..<length {
            let left = i >= pixel ? Int(bytes[row + i - pixel]) : 0
            let up = above.map { Int(bytes[$0 + i]) } ?? 0
            let guess: Int
            switch filter {
            case 1: guess = left
            case 2: guess = up
            case 3: guess = (left + up) / 2
            default:
                // The one of left, up and the corner between them that is nearest to left + up - corner.
                let corner = above != nil && i >= pixel ? Int(bytes[above! + i - pixel]) : 0
                let (a, b, c) = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
                guess = a <= b && a <= c ? left : b <= c ? up : corner
            }
            bytes[row + i] &+= UInt8(truncatingIfNeeded: guess)
        }
    }

    /// The samples of a pixel of a row; those that a kind does not have are 0.
    private func pixel(_ bytes: [UInt8], from row: Int, _ column: Int) -> (Int, Int, Int, Int) {
        func sample(_ index: Int) -> Int {
            if index >= kind.samples { return 0 }
            let place = column * kind.samples + index
            switch depth {
            case 16: return Int(bytes[row + 2 * place]) << 8 | Int(bytes[row + 2 * place + 1])
            case 8: return Int(bytes[row + place])
            default:
                let bit = place * depth
                return Int(bytes[row + bit / 8]) >> (8 - depth - bit % 8) & (1 << depth - 1)
            }
        }
        return (sample(0), sample(1), sample(2), sample(3))
    }

    private func put(
        _ pixel: (Int, Int, Int, Int), over background: Float?, into values: inout [Float], at place: Int
    ) throws {
        let (most, plane) = (Float(1 << depth - 1), width * height)
        func key(_ index: Int) -> Int { Int(transparency[2 * index]) << 8 | Int(transparency[2 * index + 1]) }
        let samples: [Int]
        // How much of the pixel is there, 0...1.
        var cover: Float = 1
        switch kind {
        case .grey:
            samples = [pixel.0]
            if transparency.count == 2 && pixel.0 == key(0) { cover = 0 }
        case .greyAlpha:
            samples = [pixel.0]
            cover = Float(pixel.1) / most
        case .colour:
            samples = [pixel.0, pixel.1, pixel.2]
            if transparency.count == 6 && samples == [key(0), key(1), key(2)] { cover = 0 }
        case .colourAlpha:
            samples = [pixel.0, pixel.1, pixel.2]
            cover = Float(pixel.3) / most
        case .indexed:
            guard pixel.0 < palette.count / 3 else {
                throw LacunaError.malformed(
                    file: file, location: "samples",
                    reason: "colour \(pixel.0) of a palette of \(palette.count / 3)")
            }
            samples = palette[3 * pixel.0..<3 * pixel.0 + 3].map { Int($0) }
            if pixel.0 < transparency.count { cover = Float(transparency[pixel.0]) / 255 }
        }
        if cover < 1 && background == nil {
            throw LacunaError.unsupported(
                file: file,
                what: "a picture that one can see through: `convert a.png -flatten b.png` gives it a background")
        }
        let scale = kind == .indexed ? 255 : most
        for (channel, sample) in samples.enumerated() {
            let brightness = Float(sample) / scale
            values[channel * plane + place] =
                cover == 1 ? brightness : cover * brightness + (1 - cover) * (background ?? 0)
        }
    }
}
