import CLacuna
import LacunaTensor

/// A sparse 1 × 1 convolution with fused bias and clamp: `Y[o, p] = min(max(b_o + Σ_i W[o, i] X[i, p], low), high)`.
///
/// Groups of 1, 2, 4, 8 or 16 consecutive output channels share the input channels that they read, so that an input that
/// is loaded serves the whole group. Groups of 1 are unstructured sparsity: Erich Elsen, Marat Dukhan, Trevor Gale, Karen
/// Simonyan, "Fast Sparse ConvNets", arXiv 1911.09723. Larger groups are the kernel-group sparsity of Haitao Xu, Songwei
/// Liu, Yuyang Xu, Shuai Wang, Jiashi Li, Chenqian Yan, Liangqiang Li, Lean Fu, Xin Pan, Fangmin Chen, "SparseByteNN",
/// arXiv 2310.19509.
public final class PointwiseConvolution: @unchecked Sendable {
    /// Output channels.
    public let outputs: Int
    /// Input channels.
    public let inputs: Int
    /// Output channels of a group.
    public let group: Int
    /// Values stored, zeros within groups included.
    public let storedCount: Int
    private let groupStart: Buffer<UInt32>
    private let channel: Buffer<UInt32>
    private let values: Buffer<Float>
    private let bias: Buffer<Float>
    private let kernel: lk_pointwise

    /// The numbers of rows that may share a pattern.
    public static let groups = [1, 2, 4, 8, 16]

    /// - Parameters:
    ///   - weight: [outputs, inputs]; what is 0 in a whole group is not stored.
    ///   - group: 1, 2, 4, 8 or 16; nil for what ``bestGroup(_:)`` finds.
    ///   - clamp: The range that outputs are clamped to.
    /// - Throws: `LacunaError.invalidArgument` for other ranks, a bias of another length, another group.
    public init(
        _ weight: Tensor<Float>, bias: [Float], group: Int? = nil,
        clamp: ClosedRange<Float> = -.infinity ... .infinity
    ) throws {
        guard weight.rank == 2 else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix")
        }
        guard bias.count == weight.rows else {
            throw LacunaError.invalidArgument("bias", reason: "\(bias.count) for \(weight.rows) output channels")
        }
        let group = group ?? PointwiseConvolution.bestGroup(weight)
        guard PointwiseConvolution.groups.contains(group) else {
            throw LacunaError.invalidArgument("group", reason: "\(group) is not 1, 2, 4, 8 or 16")
        }
        (outputs, inputs) = (weight.rows, weight.columns)
        self.group = group
        var starts: [UInt32] = [0]
        var channels: [UInt32] = []
        var stored: [Float] = []
        let (m, n) = (weight.rows, weight.columns)
        weight.withPointer { w in
            for top in stride(from: 0, to: m, by: group) {
                let rows = top..<min(top + group, m)
                for c in 0..<n where rows.contains(where: { w[$0 * n + c] != 0 }) {
                    channels.append(UInt32(c))
                    for r in top..<top + group { stored.append(r < m ? w[r * n + c] : 0) }
                }
                starts.append(UInt32(channels.count))
            }
        }
        storedCount = stored.count
        groupStart = Buffer(starts)
        channel = Buffer(channels)
        values = Buffer(stored)
        self.bias = Buffer(bias)
        kernel = lk_pointwise(
            group_start: groupStart.pointer, channel: channel.pointer, values: values.pointer, bias: self.bias.pointer,
            outputs: outputs, group: group, low: clamp.lowerBound, high: clamp.upperBound)
    }

    /// 4 or 2 if groups of that many output channels would be 90 % full, else 1: the rule of XNNPACK's sparse inference.
    public static func bestGroup(_ weight: Tensor<Float>) -> Int {
        let (m, n) = (weight.rows, weight.columns)
        let mask = SparsePattern(nonzerosOf: weight)
        for group in [4, 2] {
            var blocks = 0
            for top in stride(from: 0, to: m, by: group) {
                for c in 0..<n where (top..<min(top + group, m)).contains(where: { mask[$0, c] }) { blocks += 1 }
            }
            if blocks > 0 && mask.count * 10 >= blocks * group * 9 { return group }
        }
        return 1
    }

    /// Values, channels, offsets and bias.
    public var byteCount: Int { values.byteCount + channel.byteCount + groupStart.byteCount + bias.byteCount }

    /// Convolves `x` [inputs, …] into `y` [outputs, …], images of one size.
    public func callAsFunction(_ x: ImageActivation, into y: ImageActivation) {
        require(x.channels == inputs && y.channels == outputs && x.stride == y.stride, "images of other shapes")
        let groups = groupStart.count - 1
        let end = (x.pixels + 15) / 16 * 16
        // Pixels first: the channels of a tile of 64 pixels stay in the caches. What is left is cut by outputs.
        let tile = 64
        let tiles = (end + tile - 1) / tile
        let pieces = min(max(1, 8 / max(tiles, 1)), max(groups / 8, 1))
        let grain = (groups + pieces - 1) / max(pieces, 1)
        withUnsafePointer(to: kernel) { kernel in
            Parallel.forEach(tiles * pieces) { item in
                let (p, g) = (item / pieces * tile, item % pieces * grain)
                Kernels.best.pointwise_f32(
                    kernel, g, min(g + grain, groups), x.pointer, x.stride, p, min(p + tile, end), y.pointer)
            }
        }
    }
}
