import LacunaIO
import LacunaTensor

/// A picture as a file holds it: PNG, or one of the Netpbm formats PGM and PPM, told apart by their content.
///
/// Other formats, JPEG among them, become one of these by any converter: `convert photo.jpg photo.png`.
public struct Picture: Sendable, Hashable {
    /// 1 for grey, 3 for red, green and blue.
    public let channels: Int
    /// Pixels.
    public let height: Int
    /// Pixels.
    public let width: Int
    /// [channels, height, width], 0...1.
    public let values: [Float]

    /// - Precondition: As many values as the sizes say.
    public init(channels: Int, height: Int, width: Int, values: [Float]) {
        require(values.count == channels * height * width, "\(values.count) values for \(channels)x\(height)x\(width)")
        (self.channels, self.height, self.width, self.values) = (channels, height, width, values)
    }

    /// - Parameter background: What pixels of a PNG picture that one can see through lie on, 0...1; nil to refuse these.
    /// - Throws: `LacunaError.file`, `.malformed` for anything else than such a picture, and `.unsupported` for a PNG picture in
    ///   which one can see through where there is no background.
    public init(contentsOf path: String, over background: Float? = nil) throws {
        try self.init(FileSystem.readBytes(path), file: path, over: background)
    }

    /// - Throws: As ``init(contentsOf:over:)``.
    public init(_ bytes: [UInt8], file: String, over background: Float? = nil) throws {
        if PNGReader.isPNG(bytes) {
            self = try PNGReader(bytes, file: file).picture(over: background)
        } else {
            guard bytes.first == UInt8(ascii: "P") else {
                throw LacunaError.malformed(
                    file: file, location: "image", reason: "is no PNG, PGM or PPM picture")
            }
            let picture = try PortableAnymap(bytes, file: file)
            self.init(
                channels: picture.channels, height: picture.height, width: picture.width, values: picture.values)
        }
    }

    /// The whole picture in the middle of a square of three channels, as large as fits, with white around it.
    public func fitted(side: Int) -> Picture {
        let scale = Double(side) / Double(max(height, width))
        func length(_ of: Int) -> Int { min(side, max(1, Int((Double(of) * scale).rounded()))) }
        let inner = resized(height: length(height), width: length(width))
        var result = [Float](repeating: 1, count: 3 * side * side)
        let (top, left) = ((side - inner.height) / 2, (side - inner.width) / 2)
        for channel in 0..<3 {
            for y in 0..<inner.height {
                let from = (channel % channels * inner.height + y) * inner.width
                let to = (channel * side + top + y) * side + left
                for x in 0..<inner.width { result[to + x] = inner.values[from + x] }
            }
        }
        return Picture(channels: 3, height: side, width: side, values: result)
    }

    /// The picture at another size, by ``Resizing/smooth``.
    public func resized(height: Int, width: Int) -> Picture {
        if height == self.height && width == self.width { return self }
        let resampling = ImageResampling(from: (self.height, self.width), to: (height, width), by: .smooth)
        let result = [Float](unsafeUninitializedCapacity: channels * height * width) { target, count in
            values.withUnsafeBufferPointer {
                resampling.apply($0.baseAddress!, planes: channels, into: target.baseAddress!)
            }
            count = channels * height * width
        }
        return Picture(channels: channels, height: height, width: width, values: result)
    }
}
