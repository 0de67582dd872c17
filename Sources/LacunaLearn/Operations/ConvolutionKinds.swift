import CLacuna
import LacunaTensor

// Convolutions of other things than images, and the one that goes the other way.
extension Variable {
    /// The convolution of sequences [n, channels, length] with `kernel` [outputs, channels / groups, length].
    ///
    /// - Returns: [n, outputs, places]. See ``convolved(_:bias:sliding:groups:)``.
    public func convolved1d(
        _ kernel: Variable, bias: Variable? = nil, sliding: Sliding = Sliding(), groups: Int = 1
    ) -> Variable {
        require(shape.count == 3 && kernel.shape.count == 3, "sequences and kernels have 3 dimensions")
        var sliding = sliding
        sliding.isFlat = true
        let y = reshaped([shape[0], shape[1], 1, shape[2]]).convolved(
            kernel.reshaped([kernel.shape[0], kernel.shape[1], 1, kernel.shape[2]]), bias: bias, sliding: sliding,
            groups: groups)
        return y.reshaped([y.shape[0], y.shape[1], y.shape[3]])
    }

    /// The convolution of volumes [n, channels, depth, height, width] with `kernel`
    /// [outputs, channels / groups, depth, height, width].
    ///
    /// The layers of a volume that a kernel sees together are channels of an image, which is convolved.
    ///
    /// - Returns: [n, outputs, depth, height, width] of the places. See ``convolved(_:bias:sliding:groups:)``.
    public func convolved3d(
        _ kernel: Variable, bias: Variable? = nil, sliding: Sliding = Sliding(), groups: Int = 1
    ) -> Variable {
        require(shape.count == 5 && kernel.shape.count == 5, "volumes and kernels have 5 dimensions")
        require(!sliding.isFitted, "fitted zeros are for images and sequences")
        let (n, channels, depth, height, width) = (shape[0], shape[1], shape[2], shape[3], shape[4])
        let (taps, area) = (kernel.shape[2], height * width)
        require(
            depth + 2 * sliding.padding >= sliding.dilation * (taps - 1) + 1,
            "a kernel of \(taps) layers does not fit a volume of \(depth)")
        let places = sliding.positions(depth, kernel: taps)
        // For every layer of the result the layers below the kernel, channel by channel; -1 beyond the volume.
        var source = [Int](repeating: -1, count: n * places * channels * taps)
        for image in 0..<n {
            for place in 0..<places {
                for channel in 0..<channels {
                    for tap in 0..<taps {
                        let layer = place * sliding.stride + tap * sliding.dilation - sliding.padding
                        if layer < 0 || layer >= depth { continue }
                        source[((image * places + place) * channels + channel) * taps + tap] =
                            (image * channels + channel) * depth + layer
                    }
                }
            }
        }
        let layers = tape.operation(inputs: [self], shape: [n * places, channels * taps, height, width]) { x, y in
            for (row, from) in source.enumerated() {
                let target = y.baseAddress! + row * area
                if from < 0 {
                    target.update(repeating: 0, count: area)
                } else {
                    target.update(from: x[0].baseAddress! + from * area, count: area)
                }
            }
        } backward: { pass in
            pass.accumulate(0) { dx in
                for (row, from) in source.enumerated() where from >= 0 {
                    for i in 0..<area { dx[from * area + i] += pass.gradient[row * area + i] }
                }
            }
        }
        let flat = kernel.reshaped([kernel.shape[0], kernel.shape[1] * taps, kernel.shape[3], kernel.shape[4]])
        let y = layers.convolved(flat, bias: bias, sliding: sliding, groups: groups)
        let outputs = y.shape[1]
        return y.reshaped([n, places, outputs, y.shape[2], y.shape[3]]).permuted([0, 2, 1, 3, 4])
    }

    /// The transposed convolution of images [n, channels, height, width] with `kernel`
    /// [channels, outputs / groups, height, width]: every entry spreads the kernel over a larger image. It is the gradient
    /// of a convolution with respect to its input, and undoes its change of size.
    ///
    /// - Parameters:
    ///   - bias: [outputs].
    ///   - sliding: That of the convolution whose size it undoes: the stride is the enlargement.
    ///   - outputPadding: Rows and columns of the result at its end beyond those that are needed, less than the stride.
    /// - Returns: [n, outputs, H, W] with `H = (height - 1) stride - 2 padding + dilation (kernel - 1) + 1 + outputPadding`.
    public func transposedConvolved(
        _ kernel: Variable, bias: Variable? = nil, sliding: Sliding = Sliding(), outputPadding: Int = 0,
        groups: Int = 1
    ) -> Variable {
        require(shape.count == 4 && kernel.shape.count == 4, "images and kernels have 4 dimensions")
        require(!sliding.isFitted, "fitted zeros are for images and sequences")
        require(
            groups > 0 && kernel.shape[0] == shape[1] && shape[1] % groups == 0,
            "a kernel \(kernel.shape) in \(groups) groups for images \(shape)")
        require(
            outputPadding >= 0 && outputPadding < max(sliding.stride, sliding.dilation),
            "an output padding of \(outputPadding) at a stride of \(sliding.stride)")
        func side(_ length: Int, _ kernel: Int) -> Int {
            (length - 1) * sliding.stride - 2 * sliding.padding + sliding.dilation * (kernel - 1) + 1 + outputPadding
        }
        let (kernelHeight, kernelWidth) = (kernel.shape[2], kernel.shape[3])
        let (outHeight, outWidth) = (side(shape[2], kernelHeight), side(shape[3], kernelWidth))
        require(outHeight > 0 && outWidth > 0, "nothing is left of a result of \(outHeight) x \(outWidth)")
        let (n, inputs, outputs) = (shape[0], shape[1] / groups, kernel.shape[1])
        require(bias == nil || bias!.count == outputs * groups, "one bias an output")
        // The image that is convolved is the result.
        var window = sliding.window(
            channels: outputs, height: outHeight, width: outWidth, kernelHeight: kernelHeight, kernelWidth: kernelWidth)
        (window.out_height, window.out_width) = (shape[2], shape[3])
        let (taps, places, area) = (outputs * kernelHeight * kernelWidth, shape[2] * shape[3], outHeight * outWidth)
        let (k, pool, work) = (Scalar.kernels, tape.pool, n * groups * inputs * taps * places)
        let y = tape.output([n, outputs * groups, outHeight, outWidth], self, kernel, bias)
        let parts = n * groups
        /// The first entry of a part's images, and of its kernel.
        func x(_ part: Int) -> Int { part * inputs * places }
        func out(_ part: Int) -> Int { part * outputs * area }
        func weight(_ part: Int) -> Int { part % groups * inputs * taps }
        tape.multiplyAdds += work
        let columns = pool.take(taps * places)
        y.pointer.update(repeating: 0, count: y.count)
        for part in 0..<parts {
            LinearAlgebra.gemm(
                m: taps, n: places, k: inputs, UnsafePointer(kernel.pointer) + weight(part), leadingA: taps,
                transposedA: true, UnsafePointer(pointer) + x(part), leadingB: places, into: columns.pointer,
                leadingC: places)
            k.pointee.fold_add(columns.pointer, &window, y.pointer + out(part))
        }
        y.addChannelBias(bias)
        tape.record(y) { [self, unowned y] dy in
            Self.accumulateChannelBias(bias, dy, y.shape)
            let columns = pool.take(taps * places)
            if kernel.needsGradient {
                tape.multiplyAdds += work
                kernel.accumulateAdding { dw in
                    for part in 0..<parts {
                        k.pointee.unfold(dy + out(part), &window, columns.pointer)
                        LinearAlgebra.gemm(
                            m: inputs, n: taps, k: places, UnsafePointer(pointer) + x(part), leadingA: places,
                            UnsafePointer(columns.pointer), leadingB: places, transposedB: true, beta: 1,
                            into: dw + weight(part), leadingC: taps)
                    }
                }
            }
            accumulate { dx, add in
                tape.multiplyAdds += work
                for part in 0..<parts {
                    k.pointee.unfold(dy + out(part), &window, columns.pointer)
                    LinearAlgebra.gemm(
                        m: inputs, n: places, k: taps, UnsafePointer(kernel.pointer) + weight(part), leadingA: taps,
                        UnsafePointer(columns.pointer), leadingB: places, beta: Scalar(add), into: dx + x(part),
                        leadingC: places)
                }
            }
        }
        return y
    }
}
