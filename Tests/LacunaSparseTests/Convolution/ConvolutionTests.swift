import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

@Suite struct ConvolutionTests {
    static let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }

    private func sparse(_ m: Int, _ n: Int, group: Int, density: Double, seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        let draws = (0..<(m + group - 1) / group * n).map { _ in generator.uniform() }
        // One group in five is empty, one in seven full.
        return Tensor(
            (0..<m * n).map { i in
                let (g, c) = (i / n / group, i % n)
                let kept = g % 5 == 3 ? false : g % 7 == 2 || draws[g * n + c] < density
                return kept ? (i % 37 == 5 ? Float(bitPattern: 99) : Float(generator.normal())) : 0
            }, shape: [m, n])
    }

    @Test(arguments: levels, PointwiseConvolution.groups)
    func pointwiseKernels(level: Int32, group: Int) throws {
        let (table, reference) = (lk_level(level).pointee, lk_reference().pointee)
        for (m, n, pixels, density) in [
            (1, 1, 1, 1.0), (37, 20, 49, 0.4), (16, 33, 70, 0.1), (64, 64, 196, 0.5), (9, 5, 33, 0),
        ] {
            let layer = try Parts(sparse(m, n, group: group, density: density, seed: 2), group: group)
            let x = ImageActivation(channels: n, height: 1, width: pixels)
            var generator = SeededGenerator(seed: 5)
            for i in 0..<n * x.stride { x.pointer[i] = Float(generator.normal()) }
            let (a, b) = (
                ImageActivation(channels: m, height: 1, width: pixels),
                ImageActivation(channels: m, height: 1, width: pixels)
            )
            let end = (pixels + 15) / 16 * 16
            let groups = (m + group - 1) / group
            layer.with { w in
                table.pointwise_f32(w, 0, groups / 2, x.pointer, x.stride, 0, end, a.pointer)
                table.pointwise_f32(w, groups / 2, groups, x.pointer, x.stride, 0, end, a.pointer)
                reference.pointwise_f32(w, 0, groups, x.pointer, x.stride, 0, end, b.pointer)
            }
            let close = zip(a.tensor.scalars, b.tensor.scalars).allSatisfy { abs($0 - $1) <= 1e-4 }
            #expect(close)
            #expect(a.tensor.scalars.allSatisfy { $0 >= -1 && $0 <= 2 })
        }
    }

    /// A packed layer, as PointwiseConvolution makes it, with its own clamp.
    private final class Parts {
        private var starts: [UInt32] = [0]
        private var channels: [UInt32] = []
        private var values: [Float] = []
        private let bias: [Float]
        private let group: Int

        init(_ weight: Tensor<Float>, group: Int) throws {
            let (m, n, w) = (weight.rows, weight.columns, weight.scalars)
            self.group = group
            bias = (0..<m).map { Float($0 % 5) * 0.1 }
            for top in stride(from: 0, to: m, by: group) {
                for c in 0..<n where (top..<min(top + group, m)).contains(where: { w[$0 * n + c] != 0 }) {
                    channels.append(UInt32(c))
                    for r in top..<top + group { values.append(r < m ? w[r * n + c] : 0) }
                }
                starts.append(UInt32(channels.count))
            }
            values += [Float](repeating: 0, count: 16)
            channels.append(0)
        }

        func with(_ body: (UnsafePointer<lk_pointwise>) -> Void) {
            starts.withUnsafeBufferPointer { starts in
                channels.withUnsafeBufferPointer { channels in
                    values.withUnsafeBufferPointer { values in
                        bias.withUnsafeBufferPointer { bias in
                            var w = lk_pointwise(
                                group_start: starts.baseAddress, channel: channels.baseAddress,
                                values: values.baseAddress, bias: bias.baseAddress, outputs: bias.count, group: group,
                                low: -1, high: 2)
                            body(&w)
                        }
                    }
                }
            }
        }
    }

    @Test(arguments: PointwiseConvolution.groups)
    func pointwiseLayersAgreeWithDense(group: Int) throws {
        for (m, n, height, width) in [(37, 20, 7, 7), (64, 32, 14, 14), (130, 70, 5, 9), (5, 3, 1, 1)] {
            let weight = sparse(m, n, group: group, density: 0.3, seed: 7)
            var generator = SeededGenerator(seed: 3)
            let image = Tensor<Float>(normal: [n, height, width], using: &generator)
            let bias = (0..<m).map { _ in Float(generator.normal()) }
            let layer = try PointwiseConvolution(weight, bias: bias, group: group, clamp: -1...3)
            let y = ImageActivation(channels: m, height: height, width: width)
            layer(ImageActivation(image), into: y)
            let dense = weight.multiplied(by: image.reshaped([n, height * width])).scalars
            let found = y.tensor.scalars
            let close = found.indices.allSatisfy {
                abs(found[$0] - min(max(dense[$0] + bias[$0 / (height * width)], -1), 3)) < 1e-4
            }
            #expect(close)
        }
    }

    @Test(arguments: levels)
    func directKernels(level: Int32) {
        let (table, reference) = (lk_level(level).pointee, lk_reference().pointee)
        var generator = SeededGenerator(seed: 8)
        for (inputs, outputs, size, step, height, width, top, left) in [
            (3, 9, 3, 2, 17, 21, 1, 1), (1, 1, 3, 1, 5, 4, 1, 1), (2, 4, 5, 1, 9, 40, 2, 2), (1, 2, 5, 2, 16, 33, 1, 2),
            (2, 3, 1, 3, 7, 7, 0, 0), (2, 3, 3, 2, 8, 7, 0, 1),
        ] {
            let (border, outHeight, outWidth) = (size / 2, (height + step - 1) / step, (width + step - 1) / step)
            let pitch = ((width + 2 * border) / step + 1 + 16 + 15) / 16 * 16
            let part = step * (height + 2 * border) * pitch
            let stride = (outHeight * outWidth + 30) / 16 * 16
            let weights: [Float] = (0..<outputs * inputs * size * size).map { _ in Float(generator.normal()) }
            let bias: [Float] = (0..<outputs).map { _ in Float(generator.normal()) }
            let planes = Buffer<Float>((0..<inputs * height * width).map { _ in Float(generator.normal()) })
            let (p, q) = (
                Buffer<Float>(repeating: 7, count: inputs * part + 16),
                Buffer<Float>(repeating: 7, count: inputs * part + 16)
            )
            for i in 0..<inputs {
                let plane = planes.pointer + i * height * width
                table.pad_plane_f32(plane, height, width, border, top, left, step, pitch, p.pointer + i * part)
                reference.pad_plane_f32(
                    plane, height, width, border, top, left, step, pitch, q.pointer + i * part)
            }
            #expect(p.array == q.array)
            weights.withUnsafeBufferPointer { weights in
                bias.withUnsafeBufferPointer { bias in
                    var w = lk_direct(
                        weights: weights.baseAddress, bias: bias.baseAddress, inputs: inputs, height: height,
                        width: width, kernel: size, step: step, border: border, pitch: pitch, out_height: outHeight,
                        out_width: outWidth, out_stride: stride, low: -2, high: 6)
                    let (a, b) = (
                        Buffer<Float>(repeating: 0, count: outputs * stride),
                        Buffer<Float>(repeating: 0, count: outputs * stride)
                    )
                    table.direct_f32(&w, p.pointer, 0, outputs, a.pointer)
                    reference.direct_f32(&w, p.pointer, 0, outputs, b.pointer)
                    let close = (0..<outputs).allSatisfy { o in
                        (0..<outHeight * outWidth).allSatisfy {
                            abs(a.pointer[o * stride + $0] - b.pointer[o * stride + $0]) <= 1e-4
                        }
                    }
                    #expect(close)
                }
            }
        }
    }

    /// Against the definition of a convolution.
    @Test(
        arguments: [(1, true), (2, true), (1, false), (2, false), (3, true)],
        [(DirectConvolution.Border.centred, 3), (.fitted, 3), (.fitted, 5)])
    func directLayersAreConvolutions(kind: (step: Int, depthwise: Bool), border: (DirectConvolution.Border, Int)) throws
    {
        var generator = SeededGenerator(seed: 4)
        let (step, depthwise, k) = (kind.step, kind.depthwise, border.1)
        let (channels, outputs, height, width) = (6, depthwise ? 6 : 5, 11, 18)
        let image = Tensor<Float>(normal: [channels, height, width], using: &generator)
        let weight = Tensor<Float>(normal: [outputs, depthwise ? 1 : channels, k, k], using: &generator)
        let bias = (0..<outputs).map { Float($0) }
        let layer = try DirectConvolution(weight, bias: bias, step: step, depthwise: depthwise, border: border.0)
        let size = layer.outputSize(height: height, width: width)
        func before(_ length: Int, _ places: Int) -> Int {
            border.0 == .centred ? k / 2 : max(0, (places - 1) * step + k - length) / 2
        }
        let (top, left) = (before(height, size.height), before(width, size.width))
        let y = ImageActivation(channels: outputs, height: size.height, width: size.width)
        layer(ImageActivation(image), into: y)
        let found = y.tensor
        for o in 0..<outputs {
            for r in 0..<size.height {
                for c in 0..<size.width {
                    var sum = bias[o]
                    for i in depthwise ? o..<o + 1 : 0..<channels {
                        for ky in 0..<k {
                            for kx in 0..<k {
                                let (iy, ix) = (r * step + ky - top, c * step + kx - left)
                                if iy < 0 || iy >= height || ix < 0 || ix >= width { continue }
                                sum += weight[o, depthwise ? 0 : i, ky, kx] * image[i, iy, ix]
                            }
                        }
                    }
                    #expect(abs(found[o, r, c] - sum) < 1e-4)
                }
            }
        }
    }

    /// A dense convolution of the same weights, kernels dropped in groups.
    @Test(arguments: [1, 4, 8], [(1, DirectConvolution.Border.centred), (2, .centred), (2, .fitted), (3, .fitted)])
    func sparseKernelsConvolve(group: Int, kind: (step: Int, border: DirectConvolution.Border)) throws {
        var generator = SeededGenerator(seed: 11)
        for (outputs, inputs, k, height, width) in [(13, 5, 3, 9, 14), (8, 3, 5, 6, 5), (4, 2, 1, 7, 7)] {
            let image = ImageActivation(Tensor<Float>(normal: [inputs, height, width], using: &generator))
            var weight = Tensor<Float>(normal: [outputs, inputs * k * k], using: &generator)
            let scores = weight.map { abs($0) }
            let mask = try Selection.mask(
                scores: scores, pattern: .block(rows: group, columns: k * k), sparsity: 0.5)
            mask.apply(to: &weight)
            let kernels = weight.reshaped([outputs, inputs, k, k])
            let bias = (0..<outputs).map { Float($0) / 3 }
            let sparse = try SparseConvolution(
                kernels, bias: bias, group: group, step: kind.step, border: kind.border, clamp: 0...6)
            let dense = try DirectConvolution(
                kernels, bias: bias, step: kind.step, border: kind.border, clamp: 0...6)
            let size = sparse.outputSize(height: height, width: width)
            let (a, b) = (
                ImageActivation(channels: outputs, height: size.height, width: size.width),
                ImageActivation(channels: outputs, height: size.height, width: size.width)
            )
            sparse(image, into: a)
            dense(image, into: b)
            #expect(zip(a.tensor.scalars, b.tensor.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
            #expect(a.tensor.scalars.contains { $0 > 0.1 && $0 < 5.9 })
            #expect(sparse.storedCount < (outputs + group) * inputs * k * k * 3 / 4)
        }
    }

    @Test func fullGroupsAreFound() throws {
        #expect(PointwiseConvolution.bestGroup(sparse(64, 64, group: 4, density: 0.3, seed: 1)) == 4)
        #expect(PointwiseConvolution.bestGroup(sparse(64, 64, group: 2, density: 0.3, seed: 1)) == 2)
        #expect(PointwiseConvolution.bestGroup(sparse(64, 64, group: 1, density: 0.3, seed: 1)) == 1)
        #expect(PointwiseConvolution.bestGroup(Tensor(zeros: [4, 4])) == 1)
    }

    @Test func badLayersAreRefused() {
        let square = Tensor<Float>(zeros: [4, 4])
        #expect(throws: LacunaError.self) { try PointwiseConvolution(square, bias: [0], group: 1) }
        #expect(throws: LacunaError.self) { try PointwiseConvolution(square, bias: [0, 0, 0, 0], group: 3) }
        #expect(throws: LacunaError.self) { try DirectConvolution(square, bias: [0, 0, 0, 0]) }
        #expect(throws: LacunaError.self) { try SparseConvolution(square, bias: [0, 0, 0, 0], group: 1) }
        #expect(throws: LacunaError.self) {
            try SparseConvolution(Tensor<Float>(zeros: [2, 2, 3, 3]), bias: [0, 0], group: 3)
        }
        #expect(throws: LacunaError.self) {
            try DirectConvolution(Tensor<Float>(zeros: [2, 1, 3, 3]), bias: [0, 0], step: 0, depthwise: true)
        }
    }

    /// Rows that hidden groups of four share a support of are found again: the order found keeps what the planted one does.
    @Test(arguments: [UInt64(1), 2, 3]) func rearrangementFindsHiddenGroups(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let (scores, planted) = Self.plantedGroups(using: &generator)
        let search = ChannelRearrangement(group: 4, sparsity: 0.5)
        let shuffled = search.keptShare(scores, order: Array(0..<64))
        let order = try search.order(scores, using: &generator)
        #expect(order.sorted() == Array(0..<64))
        let (found, best) = (search.keptShare(scores, order: order), search.keptShare(scores, order: planted))
        #expect(shuffled < 0.9 * best && found >= best - 1e-6, "\(found) of \(best)")
    }

    /// Of four entries in units of two, one unit is kept: against as many single entries.
    @Test func sharesAreThoseOfAsManyEntries() {
        let scores = Tensor<Float>([4, 1, 2, 3], shape: [2, 2])
        #expect(ChannelRearrangement(group: 2, sparsity: 0.5).keptShare(scores, order: [0, 1]) == 6.0 / 7)
        #expect(ChannelRearrangement(group: 2, sparsity: 0).keptShare(scores, order: [1, 0]) == 1)
        #expect(ChannelRearrangement(group: 1, sparsity: 0.25).keptShare(scores, order: [0, 1]) == 1)
    }

    /// |W| [64, 64]: 16 groups of 4 rows that share a support of density 0.5, in a random order, and that order.
    static func plantedGroups(using generator: inout SeededGenerator) -> (Tensor<Float>, [Int]) {
        let place = Array(0..<64).shuffled(using: &generator)
        var scores = Tensor<Float>(zeros: [64, 64])
        for g in 0..<16 {
            let support = (0..<64).map { _ in generator.uniform() < 0.5 }
            for i in 0..<4 {
                for c in 0..<64 {
                    scores[place[4 * g + i], c] = abs(Float(generator.normal()) * (support[c] ? 1 : 0.05))
                }
            }
        }
        return (scores, place)
    }
}
