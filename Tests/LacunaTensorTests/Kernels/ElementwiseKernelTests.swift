import CLacuna
import LacunaTensor
import Testing

/// Vector arithmetic, conversions and decoder layers of every level against the scalar reference.
@Suite struct ElementwiseKernelTests {
    @Test(arguments: supportedLevels) func vectors(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 1, stream: UInt64(level))
        for n in [0] + awkwardLengths {
            let a = random.awkwardFloats(n + 1)
            let b = random.awkwardFloats(n + 1)
            a.withUnsafeBufferPointer { a in
                b.withUnsafeBufferPointer { b in
                    // From the second element: addresses that are no multiple of a vector.
                    let p = a.baseAddress! + 1
                    #expect(k.argmax_f32(p, n) == reference.argmax_f32(p, n))
                    var mine = Array(b)
                    var expected = mine
                    k.axpy_f32(0.3, p, &mine, n)
                    reference.axpy_f32(0.3, p, &expected, n)
                    #expect((0...n).allSatisfy { isClose(mine[$0], expected[$0], relative: 1e-5, absolute: 1e-4) })
                    #expect(mine[n] == b[n], "axpy wrote beyond its end")
                }
            }
        }
    }

    @Test(arguments: supportedLevels) func extremesAndNaN(level: Int32) {
        let k = kernels(level)
        for n in awkwardLengths {
            var x = [Float](repeating: -5, count: n)
            x[n / 2] = .nan
            x[n - 1] = n == 1 ? .nan : -1
            #expect(k.argmax_f32(x, n) == (n < 2 ? -1 : n - 1))
        }
        #expect(k.argmax_f32([3, 7, 7, 1], 4) == 1, "the first of equals")
    }

    @Test(arguments: supportedLevels) func findsWhatIsNotFinite(level: Int32) {
        let k = kernels(level)
        #expect(k.all_finite([], 0) == 1)
        for n in awkwardLengths {
            // The largest and the smallest numbers are finite, and what lies beyond the end does not count.
            var x = [Float](repeating: .greatestFiniteMagnitude, count: n) + [.nan]
            x[n / 2] = -Float.leastNonzeroMagnitude
            #expect(k.all_finite(x, n) == 1)
            for special in [Float.infinity, -.infinity, .nan, -.nan] {
                for place in Set([0, n / 2, n - 1]) {
                    var y = x
                    y[place] = special
                    #expect(k.all_finite(y, n) == 0, "\(special) at \(place) of \(n)")
                }
            }
        }
    }

    @Test(arguments: supportedLevels) func conversionsAgreeBitForBit(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 2, stream: UInt64(level))
        // Random bit patterns reach every exponent, infinities and NaNs; the others are ties and borders of f16.
        var x = (0..<20_000).map { _ in Float(bitPattern: UInt32(truncatingIfNeeded: random.next())) }
        x += (0..<20_000).map { _ in Float(bitPattern: 0x3000_0000 + UInt32(random.next() % 0x2000_0000) & ~0xFFF) }
        x += [0, -0.0, 65504, 65519.996, 65520, -65520, 0x1p-24, 0x1p-25, 0x1.8p-25, 0x1.ffep-15, .infinity, .nan]
        var mine = [UInt16](repeating: 0, count: x.count)
        k.f32_to_bf16(x, &mine, x.count)
        #expect(zip(mine, x).allSatisfy { $0 == BFloat16($1).bits })
        k.f32_to_f16(x, &mine, x.count)
        var expected = mine
        reference.f32_to_f16(x, &expected, x.count)
        #expect(mine == expected)

        let all = (0..<65536).map { UInt16($0) }
        var wide = [Float](repeating: 0, count: 65536)
        k.bf16_to_f32(all, &wide, 65536)
        #expect(zip(wide, all).allSatisfy { $0.bitPattern == UInt32($1) << 16 })
        k.f16_to_f32(all, &wide, 65536)
        #expect(zip(wide, all).allSatisfy { $0 == Half(bits: $1).float || ($0.isNaN && Half(bits: $1).float.isNaN) })
        // There and back again.
        var back = all
        k.f32_to_f16(wide, &back, 65536)
        #expect(zip(back, all).allSatisfy { $0 == $1 || Half(bits: $1).float.isNaN })
        for n in awkwardLengths {
            var guarded = [Float](repeating: 9, count: n + 1)
            k.f16_to_f32(Array(all[15000..<15000 + n]), &guarded, n)
            #expect((0..<n).allSatisfy { guarded[$0] == Half(bits: all[15000 + $0]).float } && guarded[n] == 9)
            k.bf16_to_f32(Array(all[15000..<15000 + n]), &guarded, n)
            #expect((0..<n).allSatisfy { guarded[$0] == BFloat16(bits: all[15000 + $0]).float } && guarded[n] == 9)
        }
    }

    @Test(arguments: supportedLevels) func inputForms(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 3, stream: UInt64(level))
        for n in awkwardLengths {
            var values = random.awkwardFloats(n)
            if n > 64 { for i in 0..<64 { values[i] = 0x1p-130 } }
            let expected = KernelInput(values)
            let padded = (n + 63) / 64 * 64
            var split = [Float](repeating: 9, count: padded)
            k.split_even_odd(expected.rounded.pointer, n, &split)
            #expect(split == Array(expected.split.elements))
            var (q, scale) = ([Int8](repeating: 9, count: padded), [Float](repeating: 9, count: padded / 32))
            k.quantize_x64(values, n, &q, &scale)
            #expect(q == Array(expected.q64.elements))
            #expect(Array(scale[..<(padded / 64)]) == Array(expected.scale64.elements))
            var total = [Float](repeating: 9, count: padded / 32)
            k.quantize_x32(values, n, &q, &scale, &total)
            let groups = (n + 31) / 32
            #expect(Array(q[..<(groups * 32)]) == Array(expected.q32.elements.prefix(groups * 32)))
            #expect(Array(scale[..<groups]) == Array(expected.scale32.elements.prefix(groups)))
            #expect(Array(total[..<groups]) == Array(expected.total32.elements.prefix(groups)))
        }
    }

    /// Bit for bit: what is stored does not depend on the processor.
    @Test(arguments: supportedLevels) func nibblesAreTheSameAtEveryLevel(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 6, stream: UInt64(level))
        for n in 0...64 {
            var kinds = [random.normals(n), random.awkwardFloats(n), random.normals(n).map { $0 * 0x1p-125 }]
            // Half of them 0; multiples of a number; one that is not finite.
            kinds.append(random.normals(n).enumerated().map { $0.offset % 2 == 0 ? 0 : $0.element })
            kinds.append((0..<n).map { _ in 0.75 * Float(Int(random.next() % 16) - 8) })
            kinds.append([.infinity] + random.normals(max(n, 1) - 1))
            for values in kinds where values.count == n {
                var (mine, expected) = ([Int8](repeating: 9, count: 65), [Int8](repeating: 9, count: 65))
                let scale = k.round_i4(values, n, &mine)
                #expect(scale == reference.round_i4(values, n, &expected), "\(values)")
                #expect(mine == expected, "\(values)")
                #expect(k.round_i4(values, n, nil) == scale && mine[n] == 9)
            }
        }
    }

    /// What the reference chooses is what its description says, in double precision.
    @Test func nibblesHaveTheLeastErrorOfTheScalesTried() {
        var random = SeededGenerator(seed: 7)
        for n in [1, 5, 16, 17, 64] {
            for _ in 0..<50 {
                let x = random.normals(n)
                func codes(_ scale: Float) -> [Double] {
                    x.map { Double(max(-8, min(7, ($0 * (1 / scale)).rounded(.toNearestOrEven)))) }
                }
                func error(_ scale: Float) -> Double {
                    zip(x, codes(scale)).reduce(0) {
                        let difference = Double($1.0) - $1.1 * Double(scale)
                        return $0 + difference * difference
                    }
                }
                let extreme = x.max { abs($0) < abs($1) }!
                var tried = [8, 8.7, 9.5].map { BFloat16(extreme / -$0).float }
                tried += [7, 7.7, 8.5].map { BFloat16(abs(extreme) / $0).float }
                let best = codes(tried.min { error($0) < error($1) }!)
                let square = best.reduce(0) { $0 + $1 * $1 }
                let dot = zip(x, best).reduce(0) { $0 + Double($1.0) * $1.1 }
                tried.append(BFloat16(Float(dot / square)).float)
                var found = [Int8](repeating: 9, count: n)
                let scale = BFloat16(bits: reference.round_i4(x, n, &found)).float
                #expect(error(scale) <= tried.map(error).min()! * 1.00001 + 1e-12)
                #expect(found.map(Double.init) == codes(scale))
            }
        }
    }

    @Test func quantisedInputIsWithinHalfAStep() {
        var random = SeededGenerator(seed: 4)
        let input = KernelInput(random.awkwardFloats(640))
        for c in 0..<640 {
            let step = input.scale64.pointer[c / 64]
            #expect((input.x.pointer[c] - step * Float(input.q64.pointer[c])).magnitude <= step * 0.5001)
        }
        #expect(input.values(.groups32).count == 640)
    }

    @Test(arguments: supportedLevels) func layers(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 5, stream: UInt64(level))
        for n in awkwardLengths {
            let x = random.normals(n).map { $0 * 8 }
            let other = random.normals(n)
            var mine = [Float](repeating: 9, count: n + 1)
            var expected = mine
            k.rmsnorm(x, other, 1e-5, n, &mine)
            reference.rmsnorm(x, other, 1e-5, n, &expected)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5) })

            k.silu_mul(x, other, &mine, n)
            reference.silu_mul(x, other, &expected, n)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1) })

            mine = x + [9]
            expected = x + [9]
            k.softmax(&mine, n)
            reference.softmax(&expected, n)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 3e-6) })
        }
    }

    @Test(arguments: supportedLevels) func exponentialOverItsWholeRange(level: Int32) {
        let k = kernels(level)
        // softmax of (0, -x) is exp(-x) / (1 + exp(-x)). Below exp(-87) it may be 0.
        var worst = 0.0
        for step in 0..<3000 {
            let x = Float(step) * 0.05
            var pair: [Float] = [0, -x]
            k.softmax(&pair, 2)
            let expected = 1 / (1 + exponential(Double(x)))
            worst = max(worst, ((Double(pair[1]) - expected).magnitude - 2e-38) / expected)
        }
        #expect(worst <= 3e-7)
        var huge: [Float] = [-.infinity, 3e38, -3e38]
        k.softmax(&huge, 3)
        #expect(huge == [0, 1, 0])
        var out: [Float] = [0, 0, 0]
        k.silu_mul([-200, 200, 0], [1, 1, 1], &out, 3)
        #expect(out[0].magnitude < 1e-30 && out[1] == 200 && out[2] == 0)
    }

    @Test(arguments: supportedLevels) func rotations(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 6, stream: UInt64(level))
        for pairs in [1, 3, 8, 16, 20, 32, 64] {
            let x = random.normals(2 * pairs)
            let angles = (0..<pairs).map { _ in random.uniform() * 6 }
            let (c, s) = (angles.map { Float(cosine($0)) }, angles.map { Float(sine($0)) })
            var (mine, expected) = (x, x)
            k.rope_interleaved(&mine, c, s, pairs)
            reference.rope_interleaved(&expected, c, s, pairs)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-6) })
            (mine, expected) = (x, x)
            k.rope_halves(&mine, c, s, pairs)
            reference.rope_halves(&expected, c, s, pairs)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-6) })
        }
        var unit: [Float] = [1, 0]
        k.rope_halves(&unit, [0], [1], 1)
        #expect(unit == [0, 1], "a quarter turn, counterclockwise")
    }

    @Test(arguments: supportedLevels) func attention(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 7, stream: UInt64(level))
        for (count, dimensions, stride) in [
            (1, 64, 64), (3, 64, 192), (9, 64, 64), (5, 128, 200), (6, 20, 33), (4, 7, 7), (11, 80, 81),
        ] {
            let query = random.normals(dimensions)
            let cache = random.normals(count * stride + stride)
            var mine = [Float](repeating: 9, count: count + 1)
            var expected = mine
            k.attention_scores(query, cache, stride, count, dimensions, 0.125, &mine)
            reference.attention_scores(query, cache, stride, count, dimensions, 0.125, &expected)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-5) })
            let weights = (0..<count).map { _ in Float(random.uniform()) }
            mine = [Float](repeating: 9, count: dimensions + 1)
            expected = mine
            k.attention_mix(weights, cache, stride, count, dimensions, &mine)
            reference.attention_mix(weights, cache, stride, count, dimensions, &expected)
            #expect(zip(mine, expected).allSatisfy { isClose($0, $1, relative: 1e-5, absolute: 1e-5) })
        }
    }

    @Test(arguments: supportedLevels) func calibrationSums(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 8, stream: UInt64(level))
        for columns in awkwardLengths {
            let stride = columns + 3
            let x = random.normals(5 * stride)
            var mine = [Double](repeating: 0.5, count: columns + 1)
            var expected = mine
            k.accumulate_squares(x, 5, columns, stride, &mine)
            reference.accumulate_squares(x, 5, columns, stride, &expected)
            #expect(zip(mine, expected).allSatisfy { ($0 - $1).magnitude < 1e-13 * $1.magnitude + 1e-14 })
            k.accumulate_sums(x, 5, columns, stride, &mine)
            reference.accumulate_sums(x, 5, columns, stride, &expected)
            #expect(zip(mine, expected).allSatisfy { ($0 - $1).magnitude < 1e-13 * $1.magnitude + 1e-13 })
        }
    }
}
