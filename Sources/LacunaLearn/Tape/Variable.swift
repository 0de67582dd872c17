import CLacuna
import LacunaTensor

/// An array of numbers in a computation, with the means to receive a gradient.
///
/// Variables are made by a ``Tape``, by ``Parameter/on(_:)`` and by operations. Arrays are row-major; a shape that an
/// operation cannot take is a programmer's error and stops the program.
public final class Variable<Scalar: LearningScalar> {
    /// Of the numbers; empty for a single one.
    public let shape: [Int]
    /// What records operations on it.
    public let tape: Tape<Scalar>
    /// Whether a loss computed from this has a gradient with respect to it.
    public let needsGradient: Bool
    let storage: Storage<Scalar>
    /// The parameter that this is, if it is one.
    let leafParameter: Parameter<Scalar>?
    private var gradientStorage: Storage<Scalar>?
    /// Of the tape's variables, in the order in which they were made.
    private let serial: Int

    init(
        shape: [Int], tape: Tape<Scalar>, storage: Storage<Scalar>, needsGradient: Bool,
        parameter: Parameter<Scalar>? = nil
    ) {
        self.shape = shape
        self.tape = tape
        self.storage = storage
        self.needsGradient = needsGradient
        leafParameter = parameter
        serial = tape.nextSerial()
    }

    /// How many numbers there are.
    public var count: Int { storage.count }
    /// Length of the last dimension; 1 for a single number.
    public var columns: Int { shape.last ?? 1 }
    /// Product of all dimensions but the last.
    public var rows: Int { shape.dropLast().reduce(1, *) }

    var pointer: UnsafeMutablePointer<Scalar> { storage.pointer }

    /// A copy of the numbers.
    public var value: Tensor<Scalar> {
        var result = Tensor<Scalar>(uninitialized: shape)
        result.withMutablePointer { $0.update(from: pointer, count: count) }
        return result
    }

    /// The number itself, for a variable of one.
    public var item: Scalar {
        require(count == 1, "a variable of shape \(shape) is not a single number")
        return pointer[0]
    }

    /// Reads the numbers in place.
    public func withPointer<R>(_ body: (UnsafePointer<Scalar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(UnsafePointer(pointer)) }
    }

    /// A copy of the gradient of a leaf, after ``Tape/backward(from:seed:)``; nil if nothing reached it.
    public var gradient: Tensor<Scalar>? {
        guard let gradientStorage else { return nil }
        var result = Tensor<Scalar>(uninitialized: shape)
        result.withMutablePointer { $0.update(from: gradientStorage.pointer, count: count) }
        return result
    }

    /// Whether a gradient that is computed now has to wait for the factor that a number gets later: see ``Tape/reducing(_:_:)``.
    var waitsForFactor: Bool { tape.reducedFrom.map { serial < $0 } ?? false }

    /// Lets `body` write to the gradient, as the first writer (`add` 0) or by adding to it (`add` 1). Does nothing if no
    /// gradient is needed.
    func accumulate(_ body: (_ gradient: UnsafeMutablePointer<Scalar>, _ add: Int32) -> Void) {
        if !needsGradient { return }
        if waitsForFactor {
            tape.reachesOutside = true
            let nobodys = tape.pool.take(count)
            return body(nobodys.pointer, 0)
        }
        if let leafParameter { return leafParameter.accumulate(body) }
        if let gradientStorage { return body(gradientStorage.pointer, 1) }
        let new = tape.pool.take(count)
        gradientStorage = new
        body(new.pointer, 0)
    }

    /// As ``accumulate(_:)`` for a `body` that only adds.
    func accumulateAdding(_ body: (UnsafeMutablePointer<Scalar>) -> Void) {
        accumulate { gradient, add in
            if add == 0 { gradient.update(repeating: 0, count: count) }
            body(gradient)
        }
    }

    func takeGradient() -> Storage<Scalar>? {
        defer { gradientStorage = nil }
        return gradientStorage
    }

    /// The same numbers as a constant: no gradient flows through it.
    public func detached() -> Variable {
        Variable(shape: shape, tape: tape, storage: storage, needsGradient: false)
    }
}
