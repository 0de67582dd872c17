import LacunaIO
import LacunaTensor

/// A picture of a file, whatever its format: PGM, PPM or PNG, told by what it begins with. What is transparent lets white through.
public struct Picture: Sendable {
    /// 1 for grey, 3 for colours.
    public let channels: Int
    /// Pixels.
    public let height: Int
    /// Pixels.
    public let width: Int
    /// [channels, height, width], 0...1.
    public let values: [Float]

    /// - Throws: `LacunaError.file`, and what the formats throw.
    public init(_ path: String) throws {
        let bytes = try FileSystem.readBytes(path)
        if bytes.starts(with: PortableNetworkGraphic.magic) {
            let image = try PortableNetworkGraphic(bytes, file: path)
            (channels, height, width, values) = (image.channels, image.height, image.width, image.values)
        } else {
            let image = try PortableAnymap(bytes, file: path)
            (channels, height, width, values) = (image.channels, image.height, image.width, image.values)
        }
    }

    /// - Precondition: As many values as pixels in all channels.
    public init(channels: Int, height: Int, width: Int, values: [Float]) {
        require(values.count == channels * height * width, "\(values.count) values")
        (self.channels, self.height, self.width, self.values) = (channels, height, width, values)
    }

    /// The picture in another size. Every new pixel is a mean of those around it, weighted by a triangle as wide as two of the larger
    /// pixels: interpolation between neighbours where it grows, and no pattern of its own where it shrinks.
    ///
    /// - Precondition: Sides are positive.
    public func resized(height: Int, width: Int) -> Picture {
        require(height > 0 && width > 0 && self.height > 0 && self.width > 0)
        let (across, down) = (Self.weights(from: self.width, to: width), Self.weights(from: self.height, to: height))
        var narrow = [Float](repeating: 0, count: channels * self.height * width)
        for row in 0..<channels * self.height {
            for (x, part) in across.enumerated() {
                var sum: Float = 0
                for (i, weight) in part.weights.enumerated() {
                    sum += weight * values[row * self.width + part.first + i]
                }
                narrow[row * width + x] = sum
            }
        }
        var result = [Float](repeating: 0, count: channels * height * width)
        for channel in 0..<channels {
            for (y, part) in down.enumerated() {
                for (i, weight) in part.weights.enumerated() {
                    let from = (channel * self.height + part.first + i) * width
                    let to = (channel * height + y) * width
                    for x in 0..<width { result[to + x] += weight * narrow[from + x] }
                }
            }
        }
        return Picture(channels: channels, height: height, width: width, values: result)
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

    /// For every new pixel of a side, the old ones that it is a mean of.
    private static func weights(from old: Int, to new: Int) -> [(first: Int, weights: [Float])] {
        let ratio = Double(old) / Double(new)
        let reach = max(ratio, 1)
        return (0..<new).map { place in
            let centre = (Double(place) + 0.5) * ratio
            let first = max(0, Int(centre - reach + 0.5))
            let end = min(old, Int(centre + reach + 0.5))
            var weights = (first..<max(end, first + 1)).map { max(0, 1 - abs((Double($0) + 0.5 - centre) / reach)) }
            let sum = weights.reduce(0, +)
            weights = sum > 0 ? weights.map { $0 / sum } : weights.map { _ in 1 / Double(weights.count) }
            return (first, weights.map { Float($0) })
        }
    }
}
