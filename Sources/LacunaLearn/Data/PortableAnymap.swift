import LacunaIO
import LacunaTensor

/// A picture in the Netpbm formats PGM and PPM, as text or bytes (`P2`, `P3`, `P5`, `P6`), of at most 255 steps or 65,535.
///
/// ``Picture`` reads PNG too; other formats, JPEG among them, become one of these by any converter: `convert photo.jpg photo.ppm`.
public struct PortableAnymap: Sendable {
    /// 1 or 3.
    public let channels: Int
    /// Pixels.
    public let height: Int
    /// Pixels.
    public let width: Int
    /// [channels, height, width], 0...1.
    public let values: [Float]

    /// - Throws: `LacunaError.file`, and `.malformed` for anything else than such a picture.
    public init(_ path: String) throws { try self.init(FileSystem.readBytes(path), file: path) }

    /// - Throws: `LacunaError.malformed` for anything else than such a picture.
    public init(_ bytes: [UInt8], file: String) throws {
        func bad(_ reason: String) -> LacunaError { .malformed(file: file, location: "image", reason: reason) }
        guard bytes.count >= 2, bytes[0] == UInt8(ascii: "P"), let kind = [50: 1, 51: 3, 53: 1, 54: 3][Int(bytes[1])]
        else { throw bad("is no PGM or PPM picture") }
        channels = kind
        let isText = bytes[1] < 52
        var position = 2
        func number() throws -> Int {
            // White space and comments, then digits.
            while position < bytes.count {
                if bytes[position] == UInt8(ascii: "#") {
                    while position < bytes.count && bytes[position] != 10 { position += 1 }
                } else if [9, 10, 11, 12, 13, 32].contains(bytes[position]) {
                    position += 1
                } else {
                    break
                }
            }
            let start = position
            var value = 0
            while position < bytes.count, (48...57).contains(bytes[position]), position - start < 9 {
                value = 10 * value + Int(bytes[position] - 48)
                position += 1
            }
            if position == start { throw bad("a number is missing at byte \(start)") }
            return value
        }
        (width, height) = (try number(), try number())
        let most = try number()
        guard width > 0, height > 0, width <= 1 << 16, height <= 1 << 16 else {
            throw bad("has \(width)x\(height) pixels")
        }
        guard most > 0, most < 1 << 16 else { throw bad("has \(most) steps of brightness") }
        let count = width * height * kind
        let size = most > 255 ? 2 : 1
        if !isText {
            // One white space ends the header.
            position += 1
            guard bytes.count - position >= count * size else {
                throw bad("has \(max(0, bytes.count - position)) bytes for \(width)x\(height) pixels")
            }
        } else if bytes.count < count {
            throw bad("ends before its \(count) numbers")
        }
        var values = [Float](repeating: 0, count: count)
        let plane = width * height
        for pixel in 0..<plane {
            for channel in 0..<kind {
                let value: Int
                if isText {
                    value = try number()
                } else {
                    let at = position + (pixel * kind + channel) * size
                    value = size == 1 ? Int(bytes[at]) : Int(bytes[at]) << 8 | Int(bytes[at + 1])
                }
                guard value <= most else { throw bad("a brightness of \(value) where \(most) is the most") }
                values[channel * plane + pixel] = Float(value) / Float(most)
            }
        }
        self.values = values
    }
}
