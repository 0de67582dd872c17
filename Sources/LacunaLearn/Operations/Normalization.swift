import CLacuna
import LacunaTensor

extension Variable {
    /// Every row less its mean, divided by its standard deviation, times `gain` plus `bias` (both [columns]).
    ///
    /// Jimmy Lei Ba, Jamie Ryan Kiros, Geoffrey Hinton, "Layer Normalization", arXiv 1607.06450.
    public func layerNormalized(gain: Variable, bias: Variable, epsilon: Double = 1e-5) -> Variable {
        require(gain.count == columns && bias.count == columns, "gain and bias must have \(columns) entries")
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self, gain, bias)
        let mean = tape.pool.take(r)
        let inverse = tape.pool.take(r)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c) {
            k.pointee.layer_norm(
                source + $0 * c, gain.pointer, bias.pointer, epsilon, target + $0 * c, mean.pointer + $0,
                inverse.pointer + $0, $1, c)
        }
        tape.record(y) { [self] dy in
            gain.accumulate { d, add in
                k.pointee.layer_norm_gain(pointer, mean.pointer, inverse.pointer, dy, d, r, c, add)
            }
            bias.accumulate { d, add in k.pointee.column_sums(dy, d, r, c, add) }
            accumulate { dx, add in
                spreadRows(r, c) {
                    k.pointee.layer_norm_backward(
                        pointer + $0 * c, gain.pointer, mean.pointer + $0, inverse.pointer + $0, dy + $0 * c,
                        dx + $0 * c, $1, c, add)
                }
            }
        }
        return y
    }

    /// Every row divided by the root of its mean square, times `gain` [columns].
    ///
    /// Biao Zhang, Rico Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
    public func rmsNormalized(gain: Variable, epsilon: Double = 1e-6) -> Variable {
        require(gain.count == columns, "the gain must have \(columns) entries")
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self, gain)
        let inverse = tape.pool.take(r)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c) {
            k.pointee.rms_norm(
                source + $0 * c, gain.pointer, epsilon, target + $0 * c, inverse.pointer + $0, $1, c)
        }
        tape.record(y) { [self] dy in
            gain.accumulate { d, add in k.pointee.rms_norm_gain(pointer, inverse.pointer, dy, d, r, c, add) }
            accumulate { dx, add in
                spreadRows(r, c) {
                    k.pointee.rms_norm_backward(
                        pointer + $0 * c, gain.pointer, inverse.pointer + $0, dy + $0 * c, dx + $0 * c, $1, c, add)
                }
            }
        }
        return y
    }

    /// Every channel of [n, channels, ...] less its mean, divided by its standard deviation, times `gain` plus `bias`
    /// (both [channels]).
    ///
    /// Sergey Ioffe, Christian Szegedy, "Batch Normalization", arXiv 1502.03167.
    ///
    /// - Parameter statistics: Means and variances (not deviations) to use; nil takes the batch's, through which the
    ///   gradient then flows.
    /// - Returns: The result, and the batch's means and (biased) variances if they were used.
    public func batchNormalized(
        gain: Variable, bias: Variable, statistics: (means: [Double], variances: [Double])? = nil,
        epsilon: Double = 1e-5
    ) -> (output: Variable, means: [Double], variances: [Double]) {
        require(shape.count >= 2, "batch norm needs [n, channels, ...], not \(shape)")
        let (n, channels) = (shape[0], shape[1])
        let length = shape.dropFirst(2).reduce(1, *)
        require(gain.count == channels && bias.count == channels, "gain and bias must have \(channels) entries")
        let k = Scalar.kernels
        let stride = channels * length
        let y = tape.output(shape, self, gain, bias)
        let fixed = statistics != nil
        let means = Buffer<Double>(statistics?.means ?? Array(repeating: 0, count: channels))
        let variances = Buffer<Double>(statistics?.variances ?? Array(repeating: 0, count: channels))
        let (source, target) = (pointer, y.pointer)
        Parallel.forRanges(channels, grain: max(1, (1 << 15) / max(n * length, 1))) { range in
            for channel in range {
                let x = source + channel * length
                if !fixed {
                    k.pointee.channel_moments(
                        x, n, stride, length, means.pointer + channel, variances.pointer + channel)
                }
                let a = Double(gain.pointer[channel]) / (variances.pointer[channel] + epsilon).squareRoot()
                k.pointee.channel_affine(
                    x, n, stride, length, a, Double(bias.pointer[channel]) - a * means.pointer[channel],
                    target + channel * length, 0)
            }
        }
        tape.record(y) { [self] dy in
            let count = Double(n * length)
            let sums = Buffer<Double>(uninitialized: channels)
            let dots = Buffer<Double>(uninitialized: channels)
            Parallel.forRanges(channels, grain: max(1, (1 << 15) / max(n * length, 1))) { range in
                for channel in range {
                    k.pointee.channel_dots(
                        pointer + channel * length, dy + channel * length, n, stride, length, means.pointer[channel],
                        sums.pointer + channel, dots.pointer + channel)
                }
            }
            func inverse(_ channel: Int) -> Double { 1 / (variances.pointer[channel] + epsilon).squareRoot() }
            gain.accumulate { d, add in
                for i in 0..<channels {
                    d[i] = (add != 0 ? d[i] : 0) + Scalar(dots.pointer[i] * inverse(i))
                }
            }
            bias.accumulate { d, add in
                for i in 0..<channels { d[i] = (add != 0 ? d[i] : 0) + Scalar(sums.pointer[i]) }
            }
            accumulate { dx, add in
                Parallel.forRanges(channels, grain: max(1, (1 << 15) / max(n * length, 1))) { range in
                    for channel in range {
                        let s = inverse(channel)
                        let a = Double(gain.pointer[channel]) * s
                        // dx = a (dy - mean(dy) - (x - mean) s² mean(dy (x - mean)))
                        let b = fixed ? 0 : -a * s * s * dots.pointer[channel] / count
                        let c = fixed ? 0 : -a * sums.pointer[channel] / count - b * means.pointer[channel]
                        k.pointee.channel_backward(
                            pointer + channel * length, dy + channel * length, n, stride, length, a, b, c,
                            dx + channel * length, add)
                    }
                }
            }
        }
        return (y, means.array, variances.array)
    }

    /// Every group of channels of every example of [n, channels, ...] less its mean, divided by its standard deviation,
    /// times `gain` plus `bias` (both [channels]).
    ///
    /// Yuxin Wu, Kaiming He, "Group Normalization", arXiv 1803.08494.
    public func groupNormalized(groups: Int, gain: Variable, bias: Variable, epsilon: Double = 1e-5) -> Variable {
        require(shape.count >= 2, "group norm needs [n, channels, ...], not \(shape)")
        let (n, channels) = (shape[0], shape[1])
        let length = shape.dropFirst(2).reduce(1, *)
        require(groups > 0 && channels % groups == 0, "\(channels) channels do not divide into \(groups) groups")
        require(gain.count == channels && bias.count == channels, "gain and bias must have \(channels) entries")
        let width = channels / groups * length
        let (ones, zeros) = (Tensor<Scalar>(repeating: 1, shape: [width]), Tensor<Scalar>(zeros: [width]))
        let normalized = reshaped([n * groups, width]).layerNormalized(
            gain: tape.constant(ones), bias: tape.constant(zeros), epsilon: epsilon)
        let byChannel = normalized.reshaped([n, channels, length])
        return (byChannel * gain.reshaped([channels, 1]) + bias.reshaped([channels, 1])).reshaped(shape)
    }
}
