import LacunaTensor

/// A sparse k × k convolution with fused bias and clamp, of which groups of consecutive output channels keep or drop kernels together: a
/// ``PointwiseConvolution`` on planes that are the image moved by each entry of a kernel. Only planes that some output reads are made.
///
/// A unit of the pattern is all k × k weights of `group` outputs for one input, `.block(rows: group, columns: k * k)` of the weight as a matrix:
/// the kernel groups of Haitao Xu et al., "SparseByteNN", arXiv 2310.19509. Single weights may be 0 too.
public final class SparseConvolution: @unchecked Sendable {
    /// Output channels.
    public let outputs: Int
    /// Input channels.
    public let inputs: Int
    /// Side of the kernel.
    public let size: Int
    /// Pixels that it moves by, down and across.
    public let step: Int
    /// Where the zeros around images are.
    public let border: DirectConvolution.Border
    private let product: PointwiseConvolution
    /// The input and the entry of the kernel of each plane.
    private let planes: [(channel: Int, down: Int, across: Int)]

    /// - Parameters:
    ///   - weight: [outputs, inputs, k, k], k odd; what is 0 in a whole group is not stored.
    ///   - group: 1, 2, 4, 8 or 16 outputs that share what they read.
    /// - Throws: `LacunaError.invalidArgument` for other shapes, a bias of another length, another group, a step below 1.
    public init(
        _ weight: Tensor<Float>, bias: [Float], group: Int, step: Int = 1, border: DirectConvolution.Border = .centred,
        clamp: ClosedRange<Float> = -.infinity ... .infinity
    ) throws {
        guard weight.rank == 4, weight.shape[2] == weight.shape[3], weight.shape[2] % 2 == 1 else {
            throw LacunaError.invalidArgument(
                "weight", reason: "shape \(weight.shape) is not [outputs, inputs, k, k] with odd k")
        }
        guard step >= 1 else { throw LacunaError.invalidArgument("step", reason: "\(step) is below 1") }
        (outputs, inputs, size) = (weight.shape[0], weight.shape[1], weight.shape[2])
        (self.step, self.border) = (step, border)
        let flat = weight.reshaped([outputs, inputs * size * size])
        let pattern = SparsePattern(nonzerosOf: flat)
        var isUsed = [Bool](repeating: false, count: flat.columns)
        for row in 0..<outputs { pattern.forEachKeptColumn(row: row) { isUsed[$0] = true } }
        let used = isUsed.indices.filter { isUsed[$0] }
        let taps = size * size
        planes = used.map { [size] in ($0 / taps, $0 % taps / size, $0 % size) }
        let compact = flat.transposed().selectingRows(used).transposed()
        product = try PointwiseConvolution(compact, bias: bias, group: group, clamp: clamp)
    }

    /// Values stored, zeros within groups included.
    public var storedCount: Int { product.storedCount }

    /// The size of the image that comes out of one of the given size.
    public func outputSize(height: Int, width: Int) -> (height: Int, width: Int) {
        ((height + step - 1) / step, (width + step - 1) / step)
    }

    /// The planes that the layer reads: the image moved by entries of the kernel, zeros from beyond it.
    public func unfolded(_ x: ImageActivation) -> ImageActivation {
        require(x.channels == inputs, "\(x.channels) channels of \(inputs)")
        let (height, width) = outputSize(height: x.height, width: x.width)
        let result = ImageActivation(channels: planes.count, height: height, width: width)
        let (top, left) = (
            border.zeros(before: x.height, kernel: size, step: step),
            border.zeros(before: x.width, kernel: size, step: step)
        )
        Parallel.forRanges(planes.count, grain: max(1, 32_768 / max(height * width, 1))) { range in
            for place in range {
                let plane = planes[place]
                let (source, target) = (x.pointer + plane.channel * x.stride, result.pointer + place * result.stride)
                // Places whose pixel lies in the image: 0 ≤ place · step + shift < width.
                let shift = plane.across - left
                let first = shift >= 0 ? 0 : (-shift + step - 1) / step
                let end = min(width, shift >= x.width ? 0 : (x.width - shift + step - 1) / step)
                for row in 0..<height {
                    let from = row * step + plane.down - top
                    if from < 0 || from >= x.height || first >= end { continue }
                    let (line, out) = (source + from * x.width + shift, target + row * width)
                    if step == 1 {
                        (out + first).update(from: line + first, count: end - first)
                    } else {
                        for column in first..<end { out[column] = line[column * step] }
                    }
                }
            }
        }
        return result
    }

    /// Convolves `x` [inputs, …] into `y` [outputs, …], of the size that ``outputSize(height:width:)`` says.
    public func callAsFunction(_ x: ImageActivation, into y: ImageActivation) {
        let (height, width) = outputSize(height: x.height, width: x.width)
        require(y.channels == outputs && y.height == height && y.width == width, "an image of another size")
        product(unfolded(x), into: y)
    }
}
