import CLacuna
import LacunaTensor
import Testing

/// Kernels of training at every level against their formulas, written out in double precision.
@Suite struct TrainingFormulaTests {
    static let levels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }
    /// Rows and columns: one, tails of every vector width, whole vectors.
    static let shapes = [(1, 1), (3, 7), (2, 16), (4, 33), (9, 130)]

    private func kernels(_ level: Int32) -> lk_training { lk_training_f32_level(level)!.pointee }

    private func numbers(_ n: Int, _ seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<n).map { _ in Float(generator.normal()) }
    }

    private func near(_ found: [Float], _ expected: [Double], _ tolerance: Double = 2e-5) -> Bool {
        found.count == expected.count
            && zip(found, expected).allSatisfy { abs(Double($0) - $1) <= tolerance * max(1, abs($1)) }
    }

    /// Runs a kernel that adds to its last output or overwrites it, and compares it with `expected` both ways.
    private func check(
        _ name: String, _ expected: [Double], _ tolerance: Double = 2e-5, _ run: (inout [Float], Int32) -> Void
    ) {
        let old = numbers(expected.count, 99)
        for add: Int32 in [0, 1] {
            var out = old
            run(&out, add)
            let wanted = expected.indices.map { expected[$0] + (add == 1 ? Double(old[$0]) : 0) }
            #expect(near(out, wanted, tolerance), "\(name), add \(add)")
        }
    }

    @Test(arguments: levels, [1, 2, 15, 16, 17, 33, 100]) func vectors(level: Int32, n: Int) {
        let k = kernels(level)
        let (x, y, dy) = (numbers(n, 1), numbers(n, 2), numbers(n, 3))
        let b = numbers(n, 4).map { $0 < 0 ? $0 - 1 : $0 + 1 }
        let d = { (v: [Float], i: Int) in Double(v[i]) }
        check("divide_backward", (0..<n).map { -d(dy, $0) * d(y, $0) / d(b, $0) }) {
            k.divide_backward(y, b, dy, &$0, n, $1)
        }
        check("affine", (0..<n).map { 1.5 * d(x, $0) - 0.25 }) { k.affine(1.5, x, -0.25, &$0, n, $1) }
        let sigmoid = { (v: Double) in 1 / (1 + exponential(-v)) }
        var out = [Float](repeating: 0, count: n)
        k.swiglu(x, y, &out, n)
        #expect(near(out, (0..<n).map { d(x, $0) * sigmoid(d(x, $0)) * d(y, $0) }))
        let dgate = (0..<n).map { i in
            let s = sigmoid(d(x, i))
            return d(dy, i) * d(y, i) * (s + d(x, i) * s * (1 - s))
        }
        let dup = (0..<n).map { d(dy, $0) * d(x, $0) * sigmoid(d(x, $0)) }
        check("swiglu_backward, gate", dgate) { gate, add in
            var up = [Float](repeating: 0, count: n)
            k.swiglu_backward(x, y, dy, &gate, &up, n, add, 0)
            #expect(near(up, dup))
        }
        check("swiglu_backward, up", dup) { up, add in
            var gate = [Float](repeating: 0, count: n)
            k.swiglu_backward(x, y, dy, &gate, &up, n, 0, add)
            #expect(near(gate, dgate))
        }
        k.clamp_mask(x, -0.5, 0.75, &out, n)
        #expect((0..<n).allSatisfy { out[$0] == (x[$0] >= -0.5 && x[$0] <= 0.75 ? 1 : 0) })
        let sum = (0..<n).reduce(0.0) { $0 + d(x, $1) }
        let squares = (0..<n).reduce(0.0) { $0 + d(x, $1) * d(x, $1) }
        #expect(abs(k.sum(x, n) - sum) < 1e-4 && abs(k.sum_of_squares(x, n) - squares) < 1e-5 * squares + 1e-12)
        var average = y
        k.average(x, &average, n, 0.9)
        #expect(near(average, (0..<n).map { 0.9 * d(y, $0) + 0.1 * d(x, $0) }))
    }

    @Test(arguments: levels, shapes) func rowsAndColumns(level: Int32, shape: (Int, Int)) {
        let (k, (r, c)) = (kernels(level), shape)
        let (x, z, row, column) = (numbers(r * c, 1), numbers(r * c, 2), numbers(c, 3), numbers(r, 4))
        func each(_ f: (_ i: Int, _ j: Int) -> Double) -> [Double] { (0..<r * c).map { f($0 / c, $0 % c) } }
        func v(_ i: Int, _ j: Int) -> Double { Double(x[i * c + j]) }
        func w(_ i: Int, _ j: Int) -> Double { Double(z[i * c + j]) }
        check("add_row", each { v($0, $1) + Double(row[$1]) }) { k.add_row(x, row, &$0, r, c, $1) }
        check("multiply_row", each { v($0, $1) * Double(row[$1]) }) { k.multiply_row(x, row, &$0, r, c, $1) }
        check("multiply_column", each { v($0, $1) * Double(column[$0]) }) {
            k.multiply_column(x, column, &$0, r, c, $1)
        }
        check("broadcast_column", each { i, _ in 0.5 * Double(column[i]) }) {
            k.broadcast_column(column, 0.5, &$0, r, c, $1)
        }
        func sums(over count: Int, _ f: (Int) -> Double) -> Double { (0..<count).reduce(0) { $0 + f($1) } }
        check("column_sums", (0..<c).map { j in sums(over: r) { v($0, j) } }) { k.column_sums(x, &$0, r, c, $1) }
        check("column_dots", (0..<c).map { j in sums(over: r) { v($0, j) * w($0, j) } }) {
            k.column_dots(x, z, &$0, r, c, $1)
        }
        check("row_sums", (0..<r).map { i in 0.25 * sums(over: c) { v(i, $0) } }) { k.row_sums(x, 0.25, &$0, r, c, $1) }
        check("row_dots", (0..<r).map { i in sums(over: c) { v(i, $0) * w(i, $0) } }) {
            k.row_dots(x, z, &$0, r, c, $1)
        }
    }

    @Test(arguments: levels, shapes) func softmaxesAndLosses(level: Int32, shape: (Int, Int)) {
        let (k, (r, c)) = (kernels(level), shape)
        let (x, dy) = (numbers(r * c, 1), numbers(r * c, 2))
        func row(_ v: [Float], _ i: Int) -> [Double] { v[i * c..<(i + 1) * c].map(Double.init) }
        func softmax(_ v: [Double], seen: [Bool]) -> [Double] {
            let top = zip(v, seen).filter { $0.1 }.map { $0.0 }.max() ?? 0
            let e = zip(v, seen).map { $1 ? exponential($0 - top) : 0 }
            let total = e.reduce(0, +)
            return e.map { total > 0 ? $0 / total : 0 }
        }
        let all = [Bool](repeating: true, count: c)
        let p = (0..<r).map { softmax(row(x, $0), seen: all) }
        var out = [Float](repeating: 0, count: r * c)
        k.softmax(x, &out, r, c)
        #expect(near(out, p.flatMap { $0 }))
        k.log_softmax(x, &out, r, c)
        #expect(near(out, p.flatMap { $0.map { logarithm($0) } }))
        let logs = out
        let expected = (0..<r).flatMap { i -> [Double] in
            let sum = row(dy, i).reduce(0, +)
            return (0..<c).map { Double(dy[i * c + $0]) - p[i][$0] * sum }
        }
        check("log_softmax_backward", expected, 1e-4) { k.log_softmax_backward(logs, dy, &$0, r, c, $1) }

        // Windows that begin and end with the row, wholly outside too; biases, some of which exclude; bytes, one row for all
        // or one each.
        let (bias, bytes) = (
            numbers(r * c, 3).map { $0 > 1 ? -Float.infinity : $0 }, numbers(r * c, 4).map { UInt8($0 < 1 ? 1 : 0) }
        )
        for (first, last) in [(-r, c), (-r, 1), (0, 2), (-2, 0), (c, c + 1), (1, c)] {
            for (biasStride, byteStride) in [(-1, -1), (0, -1), (c, 0), (-1, c), (c, c)] {
                var y = x
                bias.withUnsafeBufferPointer { bias in
                    bytes.withUnsafeBufferPointer { bytes in
                        k.masked_softmax(
                            &y, 0.5, r, c, first, last, biasStride < 0 ? nil : UnsafeRawPointer(bias.baseAddress!),
                            max(biasStride, 0), byteStride < 0 ? nil : bytes.baseAddress!, max(byteStride, 0))
                    }
                }
                let wanted = (0..<r).flatMap { i -> [Double] in
                    let offsets = (0..<c).map { j in biasStride < 0 ? 0 : Double(bias[i * biasStride + j]) }
                    let seen = (0..<c).map { j in
                        j >= first + i && j < last + i && offsets[j].isFinite
                            && (byteStride < 0 || bytes[i * byteStride + j] == 1)
                    }
                    let scores = (0..<c).map { j in 0.5 * Double(x[i * c + j]) + (seen[j] ? offsets[j] : 0) }
                    return softmax(scores, seen: seen)
                }
                #expect(near(y, wanted), "window \(first)..<\(last), strides \(biasStride), \(byteStride)")
            }
        }

        let labels = (0..<r).map { Int32($0 % 4 == 3 ? -1 : $0 * 5 % c) }
        var (losses, probabilities) = ([Float](repeating: 0, count: r), [Float](repeating: 0, count: r * c))
        k.cross_entropy(x, labels, &losses, &probabilities, r, c)
        #expect(near(losses, (0..<r).map { labels[$0] < 0 ? 0 : -logarithm(p[$0][Int(labels[$0])]) }))
        let shown = (0..<r).flatMap { labels[$0] < 0 ? [Double](repeating: 0, count: c) : p[$0] }
        #expect(near(probabilities, shown))
        let gradient = (0..<r * c).map { i -> Double in
            labels[i / c] < 0 ? 0 : 0.5 * (p[i / c][i % c] - (Int(labels[i / c]) == i % c ? 1 : 0))
        }
        check("cross_entropy_backward", gradient) {
            k.cross_entropy_backward(probabilities, labels, 0.5, &$0, r, c, $1)
        }

        let taught = (0..<r).map { softmax(row(dy, $0).map { 0.5 * $0 }, seen: all) }
        let own = (0..<r).map { softmax(row(x, $0).map { 0.5 * $0 }, seen: all) }
        var difference = [Float](repeating: 9, count: r * c)
        k.divergence(x, dy, 0.5, &losses, &difference, r, c)
        #expect(
            near(
                losses,
                (0..<r).map { i in
                    zip(taught[i], own[i]).reduce(0) { $0 + $1.0 * (logarithm($1.0) - logarithm($1.1)) }
                }))
        #expect(near(difference, zip(own, taught).flatMap { zip($0, $1).map { $0 - $1 } }))
        k.divergence(x, x, 0.5, &losses, &difference, r, c)
        #expect(losses.allSatisfy { abs($0) < 1e-6 } && difference.allSatisfy { $0 == 0 })
        // What the teacher rules out costs nothing, and its probability is 0.
        var excluding = dy
        for i in 0..<r { excluding[i * c] = -.infinity }
        k.divergence(x, excluding, 0.5, &losses, &difference, r, c)
        #expect(c == 1 || losses.allSatisfy { $0.isFinite })
        #expect(c == 1 || (0..<r).allSatisfy { abs(Double(difference[$0 * c]) - own[$0][0]) < 1e-6 })
    }

    @Test(arguments: levels, shapes) func normalisations(level: Int32, shape: (Int, Int)) {
        let (k, (r, c)) = (kernels(level), shape)
        let (x, dy, gain) = (numbers(r * c, 1), numbers(r * c, 2), numbers(c, 3))
        let (mean, inverse) = (numbers(r, 4), numbers(r, 5).map { abs($0) + 0.5 })
        func v(_ i: Int, _ j: Int) -> Double { Double(x[i * c + j]) }
        func g(_ i: Int, _ j: Int) -> Double { Double(dy[i * c + j]) }
        func sum(_ n: Int, _ f: (Int) -> Double) -> Double { (0..<n).reduce(0) { $0 + f($1) } }
        check(
            "layer_norm_gain",
            (0..<c).map { j in sum(r) { g($0, j) * (v($0, j) - Double(mean[$0])) * Double(inverse[$0]) } }
        ) { k.layer_norm_gain(x, mean, inverse, dy, &$0, r, c, $1) }
        check("rms_norm_gain", (0..<c).map { j in sum(r) { g($0, j) * v($0, j) * Double(inverse[$0]) } }) {
            k.rms_norm_gain(x, inverse, dy, &$0, r, c, $1)
        }
        // y = gain x s with s = 1 / √(mean x² + ε), so dx = s (gain dy - x s² mean(gain dy x)).
        let expected = (0..<r).flatMap { i -> [Double] in
            let s = Double(inverse[i])
            let dot = sum(c) { Double(gain[$0]) * g(i, $0) * v(i, $0) } / Double(c)
            return (0..<c).map { s * (Double(gain[$0]) * g(i, $0) - v(i, $0) * s * s * dot) }
        }
        check("rms_norm_backward", expected, 1e-4) { k.rms_norm_backward(x, gain, inverse, dy, &$0, r, c, $1) }

        // Channels: r pieces of `length` numbers, c apart.
        let length = max(1, c - 2)
        let places = (0..<r * length).map { ($0 / length, $0 % length) }
        var (m, variance, dsum, dot) = (0.0, 0.0, 0.0, 0.0)
        k.channel_moments(x, r, c, length, &m, &variance)
        let count = Double(r * length)
        let mu = places.reduce(0) { $0 + v($1.0, $1.1) } / count
        let spread = places.reduce(0) { $0 + (v($1.0, $1.1) - mu) * (v($1.0, $1.1) - mu) } / count
        #expect(abs(m - mu) < 1e-5 && abs(variance - spread) < 1e-5 * (1 + spread))
        k.channel_dots(x, dy, r, c, length, 0.5, &dsum, &dot)
        #expect(abs(dsum - places.reduce(0) { $0 + g($1.0, $1.1) }) < 1e-3)
        #expect(abs(dot - places.reduce(0) { $0 + g($1.0, $1.1) * (v($1.0, $1.1) - 0.5) }) < 1e-3)
        let old = numbers(r * c, 9)
        for add: Int32 in [0, 1] {
            var (affine, backward) = (old, old)
            k.channel_affine(x, r, c, length, 2, -1, &affine, add)
            k.channel_backward(x, dy, r, c, length, 2, -3, 0.25, &backward, add)
            for i in 0..<r {
                for j in 0..<c {
                    let before = Double(old[i * c + j])
                    let base = add == 1 ? before : 0
                    let (a, b) =
                        j < length
                        ? (base + 2 * v(i, j) - 1, base + 2 * g(i, j) - 3 * v(i, j) + 0.25) : (before, before)
                    if abs(Double(affine[i * c + j]) - a) > 1e-4 || abs(Double(backward[i * c + j]) - b) > 1e-4 {
                        Issue.record("channel, row \(i), column \(j), add \(add)")
                    }
                }
            }
        }
    }

    @Test(arguments: levels) func moving(level: Int32) {
        let k = kernels(level)
        for width in [1, 5, 16, 37] {
            let (table, rows) = (numbers(6 * width, 1), [Int32(3), 0, 3, 5])
            var y = [Float](repeating: 0, count: 4 * width)
            k.gather_rows(table, rows, &y, 4, width)
            for i in 0..<4 * width { #expect(y[i] == table[Int(rows[i / width]) * width + i % width]) }
            var sums = table
            k.scatter_add_rows(y, rows, &sums, 4, width)
            for i in table.indices {
                let times = rows.filter { Int($0) == i / width }.count
                #expect(abs(sums[i] - table[i] * Float(1 + times)) < 1e-5)
            }
        }
        let places = [Int32(4), 4, 0, 7, 2]
        let (x, start) = (numbers(5, 2), numbers(9, 3))
        var scattered = start
        k.scatter_add(x, places, 5, &scattered)
        for i in 0..<9 {
            let added = places.indices.filter { Int(places[$0]) == i }.reduce(Float(0)) { $0 + x[$1] }
            #expect(abs(scattered[i] - start[i] - added) < 1e-6)
        }
        check("gather", places.map { Double(start[Int($0)]) }) { k.gather(start, places, 5, &$0, $1) }

        // [2, 3, 4, 5] read as [5, 2, 4, 3].
        let shape = [2, 3, 4, 5]
        let source = numbers(120, 4)
        let strides = [60, 20, 5, 1]
        for order in [[3, 0, 2, 1], [0, 2, 1, 3], [0, 1, 2, 3], [1, 0, 3, 2]] {
            let (out, step) = (order.map { shape[$0] }, order.map { strides[$0] })
            func place(_ i: Int) -> Int {
                var (rest, offset) = (i, 0)
                for d in stride(from: 3, through: 0, by: -1) {
                    offset += rest % out[d] * step[d]
                    rest /= out[d]
                }
                return offset
            }
            check("permute", (0..<120).map { Double(source[place($0)]) }) { k.permute(source, &$0, out, step, 4, $1) }
            var back = [Double](repeating: 0, count: 120)
            for i in 0..<120 { back[place(i)] = Double(source[i]) }
            check("unpermute", back) { k.unpermute(source, &$0, out, step, 4, $1) }
        }

        for dimensions in [2, 6, 32, 34] {
            let (rows, stride, half) = (3, dimensions + 3, dimensions / 2)
            let positions = [Int32(2), 0, 1]
            let (x, cosines, sines) = (numbers(rows * stride, 5), numbers(3 * half, 6), numbers(3 * half, 7))
            for sign in [1.0, -1] {
                let old = numbers(rows * stride, 8)
                for add: Int32 in [0, 1] {
                    var y = old
                    k.rotate(x, positions, cosines, sines, sign, &y, rows, stride, dimensions, add)
                    for i in 0..<rows * stride {
                        let (r, j) = (i / stride, i % stride)
                        guard j < dimensions else {
                            #expect(y[i] == old[i])
                            continue
                        }
                        let pair = j % half
                        let (a, b) = (Double(x[r * stride + pair]), Double(x[r * stride + pair + half]))
                        let at = Int(positions[r]) * half + pair
                        let (cos, sin) = (Double(cosines[at]), sign * Double(sines[at]))
                        let turned = j < half ? a * cos - b * sin : a * sin + b * cos
                        let wanted = turned + (add == 1 ? Double(old[i]) : 0)
                        #expect(abs(Double(y[i]) - wanted) < 1e-5)
                    }
                }
            }
        }
    }

    /// Windows: plain, with padding, with steps, dilated, kernels of unequal sides, reaching beyond the image.
    static let windows: [(kernel: (Int, Int), stride: (Int, Int), padding: (Int, Int), dilation: (Int, Int))] = [
        ((3, 3), (1, 1), (1, 1), (1, 1)), ((2, 3), (2, 1), (0, 1), (1, 1)), ((3, 2), (1, 2), (2, 0), (2, 3)),
        ((1, 1), (1, 1), (0, 0), (1, 1)), ((5, 5), (3, 3), (4, 4), (1, 1)),
    ]

    @Test(arguments: levels, windows.indices) func images(level: Int32, index: Int) {
        let k = kernels(level)
        let (channels, height, width) = (2, 9, 20)
        let (kernel, step, padding, dilation) = Self.windows[index]
        let out = (
            (height + 2 * padding.0 - dilation.0 * (kernel.0 - 1) - 1) / step.0 + 1,
            (width + 2 * padding.1 - dilation.1 * (kernel.1 - 1) - 1) / step.1 + 1
        )
        var w = lk_window(
            channels: channels, height: height, width: width, kernel_height: kernel.0, kernel_width: kernel.1,
            stride_height: step.0, stride_width: step.1, padding_height: padding.0, padding_width: padding.1,
            dilation_height: dilation.0, dilation_width: dilation.1, out_height: out.0, out_width: out.1)
        let (taps, pixels, area) = (kernel.0 * kernel.1, out.0 * out.1, height * width)
        /// The pixel under tap `t` of the window at output `p`, if it is in the image.
        func pixel(_ t: Int, _ p: Int) -> Int? {
            let y = p / out.1 * step.0 - padding.0 + t / kernel.1 * dilation.0
            let x = p % out.1 * step.1 - padding.1 + t % kernel.1 * dilation.1
            return (0..<height).contains(y) && (0..<width).contains(x) ? y * width + x : nil
        }
        let image = numbers(channels * area, 1)
        var columns = [Float](repeating: .nan, count: channels * taps * pixels)
        k.unfold(image, &w, &columns)
        let expected = columns.indices.map { i -> Double in
            let (channel, t, p) = (i / (taps * pixels), i / pixels % taps, i % pixels)
            return pixel(t, p).map { Double(image[channel * area + $0]) } ?? 0
        }
        #expect(near(columns, expected, 0))
        var folded = image
        k.fold_add(columns, &w, &folded)
        var sums = image.map(Double.init)
        for i in columns.indices {
            if let place = pixel(i / pixels % taps, i % pixels) {
                sums[i / (taps * pixels) * area + place] += Double(columns[i])
            }
        }
        #expect(near(folded, sums))

        let (plane, taken, dout) = (Array(image[..<area]), numbers(taps, 2), numbers(pixels, 3))
        var result = [Float](repeating: .nan, count: pixels)
        k.depthwise(plane, taken, &w, &result)
        var (dimage, dkernel) = (numbers(area, 4), numbers(taps, 5))
        var (wantedImage, wantedKernel) = (dimage.map(Double.init), dkernel.map(Double.init))
        var wanted = [Double](repeating: 0, count: pixels)
        for p in 0..<pixels {
            for t in 0..<taps {
                guard let place = pixel(t, p) else { continue }
                wanted[p] += Double(taken[t]) * Double(plane[place])
                wantedImage[place] += Double(taken[t]) * Double(dout[p])
                wantedKernel[t] += Double(plane[place]) * Double(dout[p])
            }
        }
        k.depthwise_input(dout, taken, &w, &dimage)
        k.depthwise_kernel(dout, plane, &w, &dkernel)
        #expect(near(result, wanted) && near(dimage, wantedImage) && near(dkernel, wantedKernel, 1e-4))

        var (largest, places) = (
            [Float](repeating: .nan, count: channels * pixels), [Int32](repeating: -7, count: channels * pixels)
        )
        k.max_pool(image, &w, &largest, &places)
        var average = [Float](repeating: .nan, count: channels * pixels)
        k.average_pool(image, &w, &average)
        let spread = numbers(channels * pixels, 6)
        var (back, averaged) = (numbers(channels * area, 7), numbers(channels * area, 8))
        var (wantedBack, wantedAveraged) = (back.map(Double.init), averaged.map(Double.init))
        for i in 0..<channels * pixels {
            let start = i / pixels * area
            let inside = (0..<taps).compactMap { pixel($0, i % pixels) }
            let top = inside.map { image[start + $0] }.max() ?? 0
            #expect(largest[i] == top)
            if let place = inside.first(where: { image[start + $0] == top }) {
                #expect(Int(places[i]) == start + place)
                wantedBack[start + place] += Double(spread[i])
            } else {
                #expect(places[i] == -1)
            }
            // Zeros of the padding count.
            let mean = inside.reduce(0.0) { $0 + Double(image[start + $1]) } / Double(taps)
            #expect(abs(Double(average[i]) - mean) < 1e-5)
            for place in inside { wantedAveraged[start + place] += Double(spread[i]) / Double(taps) }
        }
        k.max_pool_backward(spread, places, channels * pixels, &back)
        k.average_pool_backward(spread, &w, &averaged)
        #expect(near(back, wantedBack) && near(averaged, wantedAveraged))
    }
}
