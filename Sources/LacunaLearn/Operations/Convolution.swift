import CLacuna
import LacunaTensor

/// How a kernel moves over an image: the same along both sides.
public struct Sliding: Sendable, Hashable {
    /// Pixels from one place of the kernel to the next.
    public var stride: Int
    /// Zeros on each side.
    public var padding: Int
    /// Pixels from one entry of the kernel to the next.
    public var dilation: Int
    /// Whether the kernel, one row high, moves along the width alone.
    var isFlat = false
    /// Whether ``padding`` follows from the image.
    private(set) var isFitted = false

    /// Pixel by pixel, without padding, unless it is said.
    ///
    /// - Precondition: Stride and dilation are positive, padding is not negative.
    public init(stride: Int = 1, padding: Int = 0, dilation: Int = 1) {
        require(stride > 0 && padding >= 0 && dilation > 0, "stride and dilation must be positive")
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
    }

    /// With as many zeros as it takes for `⌈length / stride⌉` places, half of them on each side, the odd one behind: what TensorFlow calls
    /// `SAME`.
    public static func fitted(stride: Int) -> Sliding {
        var sliding = Sliding(stride: stride)
        sliding.isFitted = true
        return sliding
    }

    /// Zeros before the first of `length` entries.
    private func before(_ length: Int, kernel: Int) -> Int {
        if !isFitted { return padding }
        return max(0, (positions(length, kernel: kernel) - 1) * stride + dilation * (kernel - 1) + 1 - length) / 2
    }

    /// Positions of a kernel of `kernel` entries along a side of `length`.
    public func positions(_ length: Int, kernel: Int) -> Int {
        if isFitted { return (length + stride - 1) / stride }
        return max(0, (length + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1)
    }

    func window(channels: Int, height: Int, width: Int, kernelHeight: Int, kernelWidth: Int) -> lk_window {
        let upright = isFlat ? Sliding() : self
        let (outHeight, outWidth) = (
            upright.positions(height, kernel: kernelHeight), positions(width, kernel: kernelWidth)
        )
        require(
            isFitted
                || height + 2 * upright.padding >= upright.dilation * (kernelHeight - 1) + 1
                    && width + 2 * padding >= dilation * (kernelWidth - 1) + 1,
            "a kernel of \(kernelHeight)x\(kernelWidth) does not fit an image of \(height)x\(width)")
        return lk_window(
            channels: channels, height: height, width: width, kernel_height: kernelHeight, kernel_width: kernelWidth,
            stride_height: upright.stride, stride_width: stride,
            padding_height: upright.before(height, kernel: kernelHeight),
            padding_width: before(width, kernel: kernelWidth),
            dilation_height: upright.dilation, dilation_width: dilation, out_height: outHeight, out_width: outWidth)
    }
}

extension Variable {
    /// The convolution (as networks use the word: the kernel is not mirrored) of images [n, channels, height, width] with
    /// `kernel` [outputs, channels / groups, height, width] and `bias` [outputs].
    ///
    /// With as many groups as channels and outputs every channel has a kernel of its own, and no unfolding is done.
    public func convolved(
        _ kernel: Variable, bias: Variable? = nil, sliding: Sliding = Sliding(), groups: Int = 1
    ) -> Variable {
        require(
            shape.count == 4 && kernel.shape.count == 4, "convolution needs images and kernels of 4 dimensions")
        require(
            groups > 0 && kernel.shape[1] * groups == shape[1] && kernel.shape[0] % groups == 0,
            "a kernel \(kernel.shape) in \(groups) groups for images \(shape)")
        require(bias == nil || bias!.count == kernel.shape[0], "one bias an output")
        let isDepthwise = groups == shape[1] && kernel.shape[0] == groups
        return isDepthwise
            ? depthwise(kernel, bias, sliding) : unfolded(kernel, bias, sliding, groups)
    }

    /// Adds `bias` [channels] to every channel of an output that no one has read yet.
    func addChannelBias(_ bias: Variable?) {
        guard let bias else { return }
        let length = shape[2] * shape[3]
        for plane in 0..<shape[0] * shape[1] {
            Scalar.kernels.pointee.affine(
                1, pointer + plane * length, Double(bias.pointer[plane % shape[1]]), pointer + plane * length, length, 0
            )
        }
    }

    static func accumulateChannelBias(_ bias: Variable?, _ dy: UnsafePointer<Scalar>, _ shape: [Int]) {
        let length = shape[2] * shape[3]
        bias?.accumulate { db, add in
            for channel in 0..<shape[1] {
                var total = 0.0
                for image in 0..<shape[0] {
                    total += Scalar.kernels.pointee.sum(dy + (image * shape[1] + channel) * length, length)
                }
                db[channel] = (add != 0 ? db[channel] : 0) + Scalar(total)
            }
        }
    }

    private func unfolded(_ kernel: Variable, _ bias: Variable?, _ sliding: Sliding, _ groups: Int) -> Variable {
        let (n, inputs, outputs) = (shape[0], shape[1] / groups, kernel.shape[0] / groups)
        var window = sliding.window(
            channels: inputs, height: shape[2], width: shape[3], kernelHeight: kernel.shape[2],
            kernelWidth: kernel.shape[3])
        let taps = inputs * kernel.shape[2] * kernel.shape[3]
        let places = window.out_height * window.out_width
        let area = shape[2] * shape[3]
        // A kernel of one tap reads the image as it is.
        let isPointwise = taps == inputs && sliding == Sliding()
        let (k, pool) = (Scalar.kernels, tape.pool)
        let y = tape.output([n, outputs * groups, window.out_height, window.out_width], self, kernel, bias)
        let work = n * groups * outputs * taps * places
        tape.multiplyAdds += work
        // A piece of work is a run of images, each with one place to unfold into.
        let pieces = min(n, 8)
        let perPiece = (n + max(pieces, 1) - 1) / max(pieces, 1)
        let columns = isPointwise ? pool.take(0) : pool.take(pieces * taps * places)
        let (source, target) = (UnsafePointer(pointer), y.pointer)
        Parallel.forEach(pieces) { piece in
            let unfoldedColumns = columns.pointer + (isPointwise ? 0 : piece * taps * places)
            for image in piece * perPiece..<max(min(n, (piece + 1) * perPiece), piece * perPiece) {
                for group in 0..<groups {
                    let x = source + (image * groups + group) * inputs * area
                    if !isPointwise { k.pointee.unfold(x, &window, unfoldedColumns) }
                    LinearAlgebra.gemm(
                        m: outputs, n: places, k: taps, UnsafePointer(kernel.pointer) + group * outputs * taps,
                        leadingA: taps, isPointwise ? x : UnsafePointer(unfoldedColumns), leadingB: places,
                        into: target + (image * groups + group) * outputs * places, leadingC: places)
                }
            }
        }
        y.addChannelBias(bias)
        tape.record(y) { [self, unowned y] dy in
            Self.accumulateChannelBias(bias, dy, y.shape)
            let x = UnsafePointer(pointer)
            // Every piece sums the gradient of the kernel on its own; then they are added in order, whoever ran them.
            let kernelCount = kernel.count
            let columns = pool.take(2 * pieces * taps * places)
            if kernel.needsGradient {
                tape.multiplyAdds += work
                let partial = pool.take(pieces * kernelCount)
                Parallel.forEach(pieces) { piece in
                    let unfoldedColumns = columns.pointer + piece * taps * places
                    let sum = partial.pointer + piece * kernelCount
                    sum.update(repeating: 0, count: kernelCount)
                    for image in piece * perPiece..<max(min(n, (piece + 1) * perPiece), piece * perPiece) {
                        for group in 0..<groups {
                            let from = x + (image * groups + group) * inputs * area
                            if !isPointwise { k.pointee.unfold(from, &window, unfoldedColumns) }
                            LinearAlgebra.gemm(
                                m: outputs, n: taps, k: places, dy + (image * groups + group) * outputs * places,
                                leadingA: places, isPointwise ? from : UnsafePointer(unfoldedColumns),
                                leadingB: places, transposedB: true, beta: 1, into: sum + group * outputs * taps,
                                leadingC: taps)
                        }
                    }
                }
                kernel.accumulate { dw, add in
                    for piece in 0..<pieces {
                        k.pointee.affine(
                            1, partial.pointer + piece * kernelCount, 0, dw, kernelCount, piece == 0 ? add : 1)
                    }
                }
            }
            if needsGradient { tape.multiplyAdds += work }
            accumulate { dx, add in
                if add == 0 && !isPointwise { dx.update(repeating: 0, count: count) }
                Parallel.forEach(pieces) { piece in
                    let unfoldedColumns = columns.pointer + piece * taps * places
                    for image in piece * perPiece..<max(min(n, (piece + 1) * perPiece), piece * perPiece) {
                        for group in 0..<groups {
                            let to = dx + (image * groups + group) * inputs * area
                            LinearAlgebra.gemm(
                                m: taps, n: places, k: outputs, UnsafePointer(kernel.pointer) + group * outputs * taps,
                                leadingA: taps, transposedA: true,
                                dy + (image * groups + group) * outputs * places, leadingB: places,
                                beta: isPointwise ? Scalar(add) : 0, into: isPointwise ? to : unfoldedColumns,
                                leadingC: places)
                            if !isPointwise { k.pointee.fold_add(unfoldedColumns, &window, to) }
                        }
                    }
                }
            }
        }
        return y
    }

    /// What a kernel of `size` by `size` sees of images [n, channels, height, width] at each of its places: rows
    /// [n · places, channels · size · size], places row by row, zeros outside the images.
    public func patches(_ size: Int, sliding: Sliding = Sliding()) -> Variable {
        require(shape.count == 4, "patches are of images, not of \(shape)")
        let (n, channels, area) = (shape[0], shape[1], shape[2] * shape[3])
        var window = sliding.window(
            channels: channels, height: shape[2], width: shape[3], kernelHeight: size, kernelWidth: size)
        let (taps, places) = (channels * size * size, window.out_height * window.out_width)
        let (k, pool) = (Scalar.kernels, tape.pool)
        let y = tape.output([n * places, taps], self)
        let pieces = min(n, 8)
        let perPiece = (n + max(pieces, 1) - 1) / max(pieces, 1)
        /// Calls `body` with every image and a matrix [taps, places] to work in.
        func forEachImage(_ body: (_ image: Int, _ columns: UnsafeMutablePointer<Scalar>) -> Void) {
            let columns = pool.take(pieces * taps * places)
            Parallel.forEach(pieces) { piece in
                for image in piece * perPiece..<max(min(n, (piece + 1) * perPiece), piece * perPiece) {
                    body(image, columns.pointer + piece * taps * places)
                }
            }
        }
        let (source, target) = (UnsafePointer(pointer), y.pointer)
        forEachImage { image, columns in
            k.pointee.unfold(source + image * channels * area, &window, columns)
            Scalar.kernelTable.pointee.transpose_add(
                columns, places, taps, places, 1, 0, target + image * places * taps, taps)
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                forEachImage { image, columns in
                    Scalar.kernelTable.pointee.transpose_add(
                        dy + image * places * taps, taps, places, taps, 1, 0, columns, places)
                    k.pointee.fold_add(columns, &window, dx + image * channels * area)
                }
            }
        }
        return y
    }

    private func depthwise(_ kernel: Variable, _ bias: Variable?, _ sliding: Sliding) -> Variable {
        let (n, channels) = (shape[0], shape[1])
        var window = sliding.window(
            channels: 1, height: shape[2], width: shape[3], kernelHeight: kernel.shape[2],
            kernelWidth: kernel.shape[3])
        let (area, taps) = (shape[2] * shape[3], kernel.shape[2] * kernel.shape[3])
        let places = window.out_height * window.out_width
        let k = Scalar.kernels
        let y = tape.output([n, channels, window.out_height, window.out_width], self, kernel, bias)
        let (source, target) = (pointer, y.pointer)
        let grain = max(1, (1 << 14) / max(n * places * taps, 1))
        Parallel.forRanges(channels, grain: grain) { range in
            for channel in range {
                for image in 0..<n {
                    let plane = image * channels + channel
                    k.pointee.depthwise(
                        source + plane * area, kernel.pointer + channel * taps, &window, target + plane * places)
                }
            }
        }
        tape.multiplyAdds += n * channels * places * taps
        y.addChannelBias(bias)
        tape.record(y) { [self, unowned y] dy in
            Self.accumulateChannelBias(bias, dy, y.shape)
            kernel.accumulateAdding { dw in
                tape.multiplyAdds += n * channels * places * taps
                Parallel.forRanges(channels, grain: grain) { range in
                    for channel in range {
                        for image in 0..<n {
                            let plane = image * channels + channel
                            k.pointee.depthwise_kernel(
                                dy + plane * places, pointer + plane * area, &window, dw + channel * taps)
                        }
                    }
                }
            }
            accumulateAdding { dx in
                tape.multiplyAdds += n * channels * places * taps
                Parallel.forRanges(channels, grain: grain) { range in
                    for channel in range {
                        for image in 0..<n {
                            let plane = image * channels + channel
                            k.pointee.depthwise_input(
                                dy + plane * places, kernel.pointer + channel * taps, &window, dx + plane * area)
                        }
                    }
                }
            }
        }
        return y
    }

    // MARK: Pooling

    /// The largest entry under a square window, for images [n, channels, height, width]. The gradient goes to the first
    /// largest entry.
    public func maxPooled(_ size: Int, stride: Int? = nil, padding: Int = 0) -> Variable {
        let (y, window) = pooled(size, stride ?? size, padding)
        var w = window
        let places = Buffer<Int32>(uninitialized: y.count)
        let (k, planes) = (Scalar.kernels, shape[0])
        let (inPlane, outPlane) = (count / max(planes, 1), y.count / max(planes, 1))
        for image in 0..<planes {
            k.pointee.max_pool(
                pointer + image * inPlane, &w, y.pointer + image * outPlane, places.pointer + image * outPlane)
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                for image in 0..<planes {
                    k.pointee.max_pool_backward(
                        dy + image * outPlane, places.pointer + image * outPlane, outPlane, dx + image * inPlane)
                }
            }
        }
        return y
    }

    /// The mean under a square window; zeros outside the image count.
    public func averagePooled(_ size: Int, stride: Int? = nil, padding: Int = 0) -> Variable {
        let (y, window) = pooled(size, stride ?? size, padding)
        var w = window
        let (k, planes) = (Scalar.kernels, shape[0])
        let (inPlane, outPlane) = (count / max(planes, 1), y.count / max(planes, 1))
        for image in 0..<planes { k.pointee.average_pool(pointer + image * inPlane, &w, y.pointer + image * outPlane) }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                for image in 0..<planes {
                    k.pointee.average_pool_backward(dy + image * outPlane, &w, dx + image * inPlane)
                }
            }
        }
        return y
    }

    private func pooled(_ size: Int, _ stride: Int, _ padding: Int) -> (Variable, lk_window) {
        require(shape.count == 4, "pooling needs images of 4 dimensions, not \(shape)")
        let window = Sliding(stride: stride, padding: padding).window(
            channels: shape[1], height: shape[2], width: shape[3], kernelHeight: size, kernelWidth: size)
        return (tape.output([shape[0], shape[1], window.out_height, window.out_width], self), window)
    }

    /// The mean of every channel. Returns [n, channels].
    public func globalAveragePooled() -> Variable {
        require(shape.count >= 2, "pooling needs [n, channels, ...], not \(shape)")
        return reshaped([shape[0], shape[1], shape.dropFirst(2).reduce(1, *)]).rowMeans()
    }
}
