import LacunaIO
import LacunaModels
import LacunaTensor

/// By what a file that was made for a model recognises it again: its shape, and a few weights of every layer, which rounding to
/// any type changes little and pruning or training changes much.
public struct ModelFingerprint: Sendable, Hashable {
    /// Width of the stream, and of each layer's feed-forward part.
    public let hiddenSize: Int
    /// Neurons of every block's feed-forward part.
    public let intermediateSizes: [Int]
    /// The first weights of every layer's query and down projections.
    public let sample: [Float]
    private static let sampled = 8

    /// What tells a model from others, without its weights.
    public init(_ decoder: Transformer) {
        hiddenSize = decoder.configuration.hiddenSize
        intermediateSizes = decoder.configuration.intermediateSizes
        sample = decoder.blocks.flatMap { block in
            [LinearRole.query, .down].flatMap { role -> [Float] in
                let weight = block[role].weight
                let row = Buffer<Float>(uninitialized: max(weight.columns, 1))
                if weight.rows > 0 { weight.decode(rows: 0..<1, into: row.pointer) }
                return Array(row.array.prefix(min(Self.sampled, weight.columns)))
            }
        }
    }

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if it is another model's.
    public func check(_ decoder: Transformer, file: String) throws {
        let own = ModelFingerprint(decoder)
        func fail(_ reason: String) -> LacunaError { .malformed(file: file, location: "model", reason: reason) }
        guard own.hiddenSize == hiddenSize, own.intermediateSizes == intermediateSizes,
            own.sample.count == sample.count
        else {
            throw fail(
                "made for \(intermediateSizes.count) layers of width \(hiddenSize), not for this model's "
                    + "\(own.intermediateSizes.count) of \(own.hiddenSize)")
        }
        var (difference, size) = (0.0, 0.0)
        for (a, b) in zip(own.sample, sample) {
            difference += Double((a - b) * (a - b))
            size += Double(b * b)
        }
        // Rounding to 4 bits moves weights by a tenth; another model's have nothing in common.
        guard difference <= 0.04 * size else {
            throw fail("made for a model of this shape with other weights: calibrate again")
        }
    }

    var json: JSONValue {
        [
            "hiddenSize": JSONValue(hiddenSize),
            "intermediateSizes": .array(intermediateSizes.map { JSONValue($0) }),
            "sample": .array(sample.map { .number(Double($0)) }),
        ]
    }

    init(_ fields: JSONFields) throws {
        hiddenSize = try fields.integer("hiddenSize")
        intermediateSizes = try fields.integers("intermediateSizes")
        sample = try fields.array("sample").map {
            guard let number = $0.doubleValue else { throw fields.failure("sample", "holds \($0.kind)") }
            return Float(number)
        }
    }
}
