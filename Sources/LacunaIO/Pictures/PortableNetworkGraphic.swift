import LacunaTensor

/// A picture in the format PNG: grey or coloured, of any depth, with a palette or without. What is transparent lets white through.
///
/// Interlaced pictures are refused; profiles and gamma are left out of account, as networks' training did.
public struct PortableNetworkGraphic: Sendable {
    /// 1 for grey, 3 for colours.
    public let channels: Int
    /// Pixels.
    public let height: Int
    /// Pixels.
    public let width: Int
    /// [channels, height, width], 0...1.
    public let values: [Float]

    /// What every such file begins with.
    public static let magic: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    /// - Throws: `LacunaError.file`, and as ``init(_:file:)``.
    public init(_ path: String) throws { try self.init(FileSystem.readBytes(path), file: path) }

    /// - Throws: `LacunaError.malformed` with the byte offset for damaged pictures; `.unsupported` for interlaced ones.
    public init(_ bytes: [UInt8], file: String) throws {
        let chunks = try Chunks(bytes, file: file)
        (height, width) = (chunks.height, chunks.width)
        channels = chunks.colour == 0 || chunks.colour == 4 ? 1 : 3
        try MachineMemory.require(shape: [channels, height, width], of: Float.self, for: "the pixels of \(file)")
        values = try Self.pixels(chunks, channels: channels, file: file)
    }

    /// Brightnesses, from packed rows.
    private static func pixels(_ chunks: Chunks, channels: Int, file: String) throws -> [Float] {
        let (width, height, depth, samples) = (chunks.width, chunks.height, chunks.depth, chunks.samples)
        let rowBytes = (width * samples * depth + 7) / 8
        let rows = try unfiltered(
            try Gzip.zlib(chunks.data, count: height * (rowBytes + 1), file: file), rowBytes: rowBytes, rows: height,
            step: max(1, samples * depth / 8), file: file)
        let most = Float((1 << depth) - 1)
        let plane = width * height
        var values = [Float](repeating: 0, count: channels * plane)
        for y in 0..<height {
            for x in 0..<width {
                /// A sample of this pixel, as a whole number.
                func sample(_ index: Int) -> Int {
                    let place = (x * samples + index) * depth
                    let at = y * rowBytes + place / 8
                    if depth == 16 { return Int(rows[at]) << 8 | Int(rows[at + 1]) }
                    return Int(rows[at]) >> (8 - depth - place % 8) & ((1 << depth) - 1)
                }
                let at = y * width + x
                /// Over white.
                func set(_ channel: Int, _ brightness: Float, _ alpha: Float) {
                    values[channel * plane + at] = 1 - alpha * (1 - brightness)
                }
                if chunks.colour == 3 {
                    let entry = sample(0)
                    guard 3 * entry + 2 < chunks.palette.count else {
                        throw LacunaError.malformed(
                            file: file, location: "row \(y)",
                            reason: "a pixel has colour \(entry), which the palette lacks")
                    }
                    let clear = chunks.transparency
                    let alpha = entry < clear.count ? Float(clear[entry]) / 255 : 1
                    for c in 0..<3 { set(c, Float(chunks.palette[3 * entry + c]) / 255, alpha) }
                } else {
                    var alpha: Float = 1
                    if samples > channels {
                        alpha = Float(sample(channels)) / most
                    } else if chunks.transparency.count == 2 * channels {
                        // One colour stands for nothing.
                        let isClear = (0..<channels).allSatisfy {
                            sample($0) == Int(chunks.transparency[2 * $0]) << 8 | Int(chunks.transparency[2 * $0 + 1])
                        }
                        if isClear { alpha = 0 }
                    }
                    for c in 0..<channels { set(c, Float(sample(c)) / most, alpha) }
                }
            }
        }
        return values
    }

    /// Undoes the prediction of every byte from those to the left and above.
    private static func unfiltered(
        _ packed: [UInt8], rowBytes: Int, rows: Int, step: Int, file: String
    ) throws -> [UInt8] {
        var result = [UInt8](repeating: 0, count: rows * rowBytes)
        for row in 0..<rows {
            let from = row * (rowBytes + 1)
            let to = row * rowBytes
            let filter = packed[from]
            guard filter <= 4 else {
                throw LacunaError.malformed(
                    file: file, location: "row \(row)", reason: "has the unknown filter \(filter)")
            }
            for i in 0..<rowBytes {
                let left = i >= step ? Int(result[to + i - step]) : 0
                let above = row > 0 ? Int(result[to + i - rowBytes]) : 0
                let corner = i >= step && row > 0 ? Int(result[to + i - rowBytes - step]) : 0
                let prediction: Int =
                    switch filter {
                    case 1: left
                    case 2: above
                    case 3: (left + above) / 2
                    case 4: paeth(left, above, corner)
                    default: 0
                    }
                result[to + i] = packed[from + 1 + i] &+ UInt8(prediction)
            }
        }
        return result
    }

    /// Of three neighbours the one that is nearest to left + above - corner.
    private static func paeth(_ left: Int, _ above: Int, _ corner: Int) -> Int {
        let guess = left + above - corner
        let (a, b, c) = (abs(guess - left), abs(guess - above), abs(guess - corner))
        return a <= b && a <= c ? left : b <= c ? above : corner
    }
}

/// The parts of a file that matter for pixels.
private struct Chunks {
    private(set) var width = 0
    private(set) var height = 0
    /// Bits of a sample.
    private(set) var depth = 0
    /// 0 grey, 2 colours, 3 palette, 4 and 6 the first two with transparency.
    private(set) var colour = 0
    private(set) var palette: [UInt8] = []
    private(set) var transparency: [UInt8] = []
    private(set) var data: [UInt8] = []

    /// Numbers of a pixel.
    var samples: Int { [0: 1, 2: 3, 3: 1, 4: 2, 6: 4][colour] ?? 1 }

    init(_ bytes: [UInt8], file: String) throws {
        func bad(_ at: Int, _ reason: String) -> LacunaError {
            .malformed(file: file, location: "byte \(at)", reason: reason)
        }
        guard bytes.starts(with: PortableNetworkGraphic.magic) else { throw bad(0, "is no PNG picture") }
        func number(_ at: Int) -> Int { (0..<4).reduce(0) { $0 << 8 | Int(bytes[at + $1]) } }
        var at = PortableNetworkGraphic.magic.count
        while true {
            guard at <= bytes.count - 12 else { throw bad(at, "the picture is cut off") }
            let length = number(at)
            guard length <= bytes.count - 12 - at else { throw bad(at, "the picture is cut off") }
            let content = bytes[at + 8..<at + 8 + length]
            let kind = String(decoding: bytes[at + 4..<at + 8], as: UTF8.self)
            guard Gzip.checksum(bytes[at + 4..<at + 8 + length]) == UInt32(number(at + 8 + length)) else {
                throw bad(at, "the checksum of '\(kind)' does not agree")
            }
            switch kind {
            case "IHDR":
                guard length == 13, width == 0 else { throw bad(at, "the header is damaged") }
                (width, height) = (number(at + 8), number(at + 12))
                (depth, colour) = (Int(bytes[at + 16]), Int(bytes[at + 17]))
                guard width > 0, height > 0, width <= 1 << 16, height <= 1 << 16 else {
                    throw bad(at, "has \(width)x\(height) pixels")
                }
                let depths = [0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]][colour]
                guard depths?.contains(depth) == true, bytes[at + 18] == 0, bytes[at + 19] == 0 else {
                    throw bad(at, "has an unknown kind of pixels")
                }
                guard bytes[at + 20] == 0 else {
                    throw LacunaError.unsupported(file: file, what: "an interlaced picture")
                }
            case "PLTE": palette = Array(content)
            case "tRNS": transparency = Array(content)
            case "IDAT": data += content
            case "IEND":
                guard width > 0 else { throw bad(at, "the header is missing") }
                return
            default:
                // A capital letter: what no reader may leave out.
                guard bytes[at + 4] & 0x20 != 0 else {
                    throw LacunaError.unsupported(file: file, what: "a part '\(kind)'")
                }
            }
            at += 12 + length
        }
    }
}
