import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A weight of 4-bit groups to be trained: `Ŵ = s (code - z)` in the groups that are kept, 0 elsewhere.
///
/// Either the values behind the codes are trained with scales and zeros, `code = clip(round(w / s) + z, 0, 15)`, or the codes stay
/// and scales and zeros alone are. Rounding lets gradients pass: a value within the range of its group gets that of its entry,
/// one beyond none; `s` gets `(code - z) - w / s` of a value within and `code - z` of one beyond, `z` gets `-s` of one beyond.
public final class CodeGroupWeight: SelfStoringWeight {
    /// What is trained.
    public enum Stage: String, Sendable, Hashable {
        /// Values, scales and zeros.
        case values
        /// Scales and zeros, with codes as they are.
        case scales
    }

    /// What is trained.
    public let stage: Stage
    /// `w` [groups, size] while values are trained; empty otherwise.
    public let values: Parameter<Float>
    /// `s` [groups].
    public let scales: Parameter<Float>
    /// `z` [groups], rounded where it is used.
    public let zeros: Parameter<Float>
    private let start: CodeGroups

    /// - Parameters:
    ///   - groups: Where training starts.
    ///   - values: The matrix whose values in the kept groups are trained; nil to keep the codes.
    /// - Precondition: The matrix has the groups' shape.
    public init(_ groups: CodeGroups, values weight: Tensor<Float>? = nil) {
        start = groups
        stage = weight == nil ? .scales : .values
        let size = groups.size
        var own: [Float] = []
        if let weight {
            require(weight.shape == [groups.rows, groups.columns], "a matrix of another shape")
            own.reserveCapacity(groups.codes.count)
            for row in 0..<groups.rows {
                for k in row * groups.kept..<(row + 1) * groups.kept {
                    for j in 0..<size { own.append(weight[row, Int(groups.groups[k]) * size + j]) }
                }
            }
        }
        values = Parameter(Tensor(own, shape: [own.count / size, size]), isTrainable: weight != nil, decays: false)
        scales = Parameter(Tensor(groups.scales), decays: false)
        zeros = Parameter(Tensor(groups.zeros.map { Float($0) }), decays: false)
        // One rate serves all: relative to the size of what it changes; zeros are of the size of codes.
        func mean(_ numbers: [Float]) -> Double {
            numbers.isEmpty ? 1 : max(numbers.reduce(0.0) { $0 + Double(abs($1)) } / Double(numbers.count), 1e-12)
        }
        values.rateFactor = mean(own)
        scales.rateFactor = mean(groups.scales)
    }

    public var parts: [(name: String, part: Any)] {
        (stage == .values ? [("values", values)] : []) + [("scales", scales), ("zeros", zeros)]
    }
    public var outputs: Int { start.rows }
    public var inputs: Int { start.columns }
    public var activeCount: Int { start.codes.count }
    public var multiplyAdds: Int { start.codes.count }
    public var byteCount: Int {
        values.buffer.byteCount + scales.buffer.byteCount + zeros.buffer.byteCount + start.codes.count / 2
    }
    public var storage: String { "4-bit groups" }
    public func densified() -> Tensor<Float> { codeGroups.densified() }
    public func storedMatrix(_ values: ValueType) throws -> any StoredMatrix { try CodeGroupMatrix(codeGroups) }

    /// The groups as they would be stored now: scales in f16, whole zeros.
    public var codeGroups: CodeGroups {
        var result = start
        result.scales = scales.value.scalars.map { Half(max($0, 0)).float }
        result.zeros = zeros.value.scalars.map { UInt8(Self.zero($0)) }
        guard stage == .values else { return result }
        let (own, size) = (values.value.scalars, start.size)
        for k in result.groups.indices {
            let (scale, zero) = (result.scales[k], Float(result.zeros[k]))
            for j in 0..<size {
                result.codes[k * size + j] =
                    scale > 0 ? UInt8(Self.code(own[k * size + j] / scale, zero)) : result.zeros[k]
            }
        }
        return result
    }

    @inline(__always) private static func zero(_ z: Float) -> Float { max(0, min(15, z.rounded(.toNearestOrEven))) }
    @inline(__always) private static func code(_ steps: Float, _ zero: Float) -> Float {
        max(0, min(15, steps.rounded(.toNearestOrEven) + zero))
    }

    /// `Ŵ` [outputs, inputs].
    func quantized(on tape: Tape<Float>) -> Variable<Float> {
        let (start, columns, size, kept) = (start, start.columns, start.size, start.kept)
        /// Calls `body` with every group and where its first entry is in the matrix.
        func forEachGroup(_ body: (_ group: Int, _ place: Int) -> Void) {
            for row in 0..<start.rows {
                for k in row * kept..<(row + 1) * kept { body(k, row * columns + Int(start.groups[k]) * size) }
            }
        }
        if stage == .scales {
            return tape.operation(inputs: [scales.on(tape), zeros.on(tape)], shape: [outputs, inputs]) {
                inputs, output in
                output.update(repeating: 0)
                forEachGroup { k, place in
                    let (scale, zero) = (max(inputs[0][k], 0), Self.zero(inputs[1][k]))
                    for j in 0..<size { output[place + j] = scale * (Float(start.codes[k * size + j]) - zero) }
                }
            } backward: { pass in
                pass.accumulate(0) { ds in
                    forEachGroup { k, place in
                        let zero = Self.zero(pass.inputs[1][k])
                        for j in 0..<size {
                            ds[k] += pass.gradient[place + j] * (Float(start.codes[k * size + j]) - zero)
                        }
                    }
                }
                pass.accumulate(1) { dz in
                    forEachGroup { k, place in
                        for j in 0..<size { dz[k] -= pass.gradient[place + j] * max(pass.inputs[0][k], 0) }
                    }
                }
            }
        }
        return tape.operation(
            inputs: [values.on(tape), scales.on(tape), zeros.on(tape)], shape: [outputs, inputs]
        ) { inputs, output in
            output.update(repeating: 0)
            forEachGroup { k, place in
                let (scale, zero) = (inputs[1][k], Self.zero(inputs[2][k]))
                guard scale > 0 else { return }
                for j in 0..<size {
                    output[place + j] = scale * (Self.code(inputs[0][k * size + j] / scale, zero) - zero)
                }
            }
        } backward: { pass in
            let (values, scales, zeros) = (pass.inputs[0], pass.inputs[1], pass.inputs[2])
            /// Calls `body` with every entry: its group, its index among the values, its gradient, its value and code in
            /// steps, and whether the code is within the range.
            func forEachEntry(_ body: (Int, Int, Float, Float, Float, Bool) -> Void) {
                forEachGroup { k, place in
                    let (scale, zero) = (scales[k], Self.zero(zeros[k]))
                    guard scale > 0 else { return }
                    for j in 0..<size {
                        let steps = values[k * size + j] / scale
                        let whole = steps.rounded(.toNearestOrEven)
                        let isWithin = whole + zero >= 0 && whole + zero <= 15
                        body(k, k * size + j, pass.gradient[place + j], steps, Self.code(steps, zero) - zero, isWithin)
                    }
                }
            }
            pass.accumulate(0) { dw in forEachEntry { _, i, g, _, _, isWithin in if isWithin { dw[i] += g } } }
            pass.accumulate(1) { ds in
                forEachEntry { k, _, g, steps, code, isWithin in ds[k] += g * (isWithin ? code - steps : code) }
            }
            pass.accumulate(2) { dz in
                forEachEntry { k, _, g, _, _, isWithin in if !isWithin { dz[k] -= g * scales[k] } }
            }
        }
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(quantized(on: x.tape), bias: bias)
    }
}
