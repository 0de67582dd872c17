import LacunaTensor

extension Tape {
    /// An operation of one's own: a function of some variables, and how the gradient of its result becomes gradients of
    /// them.
    ///
    /// Every operation of this library could be written this way; a method that needs one more adds it where the method
    /// is. Check it against central differences in `Double`, in which everything generic over ``LearningScalar`` runs:
    ///
    /// ```swift
    /// extension Variable {
    ///     /// x³ of every entry.
    ///     func cubed() -> Variable {
    ///         tape.operation(inputs: [self], shape: shape) { inputs, output in
    ///             for i in output.indices { output[i] = inputs[0][i] * inputs[0][i] * inputs[0][i] }
    ///         } backward: { pass in
    ///             pass.accumulate(0) { dx in
    ///                 for i in dx.indices { dx[i] += 3 * pass.inputs[0][i] * pass.inputs[0][i] * pass.gradient[i] }
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// - Parameters:
    ///   - inputs: Variables of this tape, the same one twice if need be.
    ///   - shape: Of the result.
    ///   - forward: Writes all of the result, whose memory holds anything before.
    ///   - backward: Adds to the gradients of the inputs. Called at most once, after the gradient of the result is
    ///     complete, and never if no input needs a gradient.
    /// - Returns: The result, which needs a gradient if an input does.
    /// - Throws: What `forward` throws; nothing is recorded then.
    public func operation(
        inputs: [Variable<Scalar>], shape: [Int],
        forward: (_ inputs: [UnsafeBufferPointer<Scalar>], _ output: UnsafeMutableBufferPointer<Scalar>) throws -> Void,
        backward: @escaping (_ pass: BackwardPass<Scalar>) -> Void
    ) rethrows -> Variable<Scalar> {
        require(inputs.allSatisfy { $0.tape === self }, "a variable of another tape")
        require(shape.allSatisfy { $0 >= 0 }, "a negative side in \(shape)")
        let y = output(shape, of: inputs)
        let read = inputs.map { UnsafeBufferPointer(start: $0.pointer, count: $0.count) }
        try forward(read, UnsafeMutableBufferPointer(start: y.pointer, count: y.count))
        record(y) { [unowned y] dy in
            backward(
                BackwardPass(
                    variables: inputs, inputs: read, output: UnsafeBufferPointer(start: y.pointer, count: y.count),
                    gradient: UnsafeBufferPointer(start: dy, count: y.count)))
        }
        return y
    }
}

/// What the backward function of ``Tape/operation(inputs:shape:forward:backward:)`` reads and writes. Memory is valid
/// during the call alone.
public struct BackwardPass<Scalar: LearningScalar> {
    fileprivate let variables: [Variable<Scalar>]
    /// The numbers of the inputs, as they were in the forward pass.
    public let inputs: [UnsafeBufferPointer<Scalar>]
    /// The numbers of the result.
    public let output: UnsafeBufferPointer<Scalar>
    /// The gradient of the result.
    public let gradient: UnsafeBufferPointer<Scalar>

    /// Whether input `index` needs a gradient; work for one that does not may be left out.
    public func needsGradient(_ index: Int) -> Bool { variables[index].needsGradient }

    /// Lets `body` add to the gradient of input `index`; it is not called if that input needs none. What it finds there
    /// is the sum of what other operations added, 0 at first: add, do not replace.
    public func accumulate(_ index: Int, _ body: (UnsafeMutableBufferPointer<Scalar>) -> Void) {
        let variable = variables[index]
        variable.accumulateAdding { body(UnsafeMutableBufferPointer(start: $0, count: variable.count)) }
    }
}
