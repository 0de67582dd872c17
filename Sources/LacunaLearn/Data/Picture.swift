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

    /// - Throws: `LacunaError.file`, `.malformed` for anything else than such a picture, and `.unsupported` for a PNG picture in
    ///   which one can see through.
    public init(contentsOf path: String) throws { try self.init(FileSystem.readBytes(path), file: path) }

    /// - Throws: As ``init(contentsOf:)``.
    public init(_ bytes: [UInt8], file: String) throws {
        if PNGReader.isPNG(bytes) {
            self = try PNGReader(bytes, file: file).picture()
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
