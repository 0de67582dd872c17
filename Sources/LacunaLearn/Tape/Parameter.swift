import LacunaTensor

/// Numbers that training changes, with their gradient and what optimisers keep about them.
///
/// A sparse weight is a parameter too: the list of its stored values. Everything that is kept about a parameter has one
/// number for each of its values, so memory follows what is stored, and ``rearrange(to:from:fill:)`` moves values,
/// gradient and optimiser state together when a pattern changes.
public final class Parameter<Scalar: LearningScalar> {
    /// Of the values.
    public private(set) var shape: [Int]
    /// The values, row-major.
    public private(set) var buffer: Buffer<Scalar>
    private var gradientBuffer: Buffer<Scalar>?
    /// Whether every entry of the gradient's memory is 0.
    private var gradientIsZero = false
    /// Whether a gradient has been accumulated since the last ``clearGradient()``.
    public private(set) var hasGradient = false
    /// What optimisers and averages keep, by name, one number a value each.
    public private(set) var slots: [String: Buffer<Scalar>] = [:]
    /// Whether gradients are computed and optimisers may change it. Running statistics, for instance, are not trained.
    public var isTrainable: Bool
    /// Whether weight decay applies: usually to matrices, not to biases and gains.
    public var decays: Bool
    /// What the optimiser's learning rate is multiplied by for this parameter. See ``ParameterGroup``.
    public var rateFactor = 1.0
    /// The weight decay of this parameter in the place of the optimiser's; nil for the optimiser's.
    public var ownDecay: Double?
    /// How often the values have changed through this class or an optimiser. A tape compares it to notice parameters that
    /// change between forward and backward pass; writing through ``buffer`` does not count unless ``noteChange()`` is
    /// called.
    public private(set) var version = 0
    /// 1 for entries that may be other than 0, 0 for those that stay 0; nil for a parameter without a mask.
    public private(set) var mask: Buffer<Scalar>? {
        didSet { kept = mask.map { $0.elements.count { $0 != 0 } } ?? 0 }
    }
    /// The ones of the mask, counted when it is set: layers ask for them at every step.
    private var kept = 0
    /// The rows that the gradient touches, when it is an embedding's and everything else is 0; nil if all may.
    public private(set) var touchedRows: [Int32]?

    /// - Parameter decays: Nil stands for true if the value has more than one dimension.
    public init(_ value: Tensor<Scalar>, isTrainable: Bool = true, decays: Bool? = nil) {
        shape = value.shape
        buffer = value.withPointer { Buffer(copying: $0, count: value.count) }
        self.isTrainable = isTrainable
        self.decays = decays ?? (value.rank > 1)
    }

    /// Number of values that may be other than 0.
    public var activeCount: Int { mask == nil ? count : kept }

    /// How many values there are.
    public var count: Int { buffer.count }

    /// A copy of the values; setting it keeps the shape, which must agree.
    public var value: Tensor<Scalar> {
        get {
            var result = Tensor<Scalar>(uninitialized: shape)
            result.withMutablePointer { $0.update(from: buffer.pointer, count: count) }
            return result
        }
        set {
            require(newValue.shape == shape, "a value of shape \(newValue.shape) for a parameter of \(shape)")
            newValue.withPointer { buffer.pointer.update(from: $0, count: count) }
            noteChange()
            applyMask()
        }
    }

    /// Tells tapes that the values have changed.
    public func noteChange() { version += 1 }

    /// The weight decay that applies, given the optimiser's.
    public func decay(_ general: Double) -> Double { decays ? ownDecay ?? general : 0 }

    /// The parameter as a leaf of a computation.
    public func on(_ tape: Tape<Scalar>) -> Variable<Scalar> {
        let needsGradient = isTrainable && tape.isRecording
        if needsGradient { tape.noteLeaf(self) }
        return Variable(
            shape: shape, tape: tape, storage: Storage(buffer, count: count, pool: nil), needsGradient: needsGradient,
            parameter: self)
    }

    // MARK: Gradient

    /// A copy of the gradient; nil if there is none.
    public var gradient: Tensor<Scalar>? {
        guard hasGradient, let gradientBuffer else { return nil }
        return Tensor(gradientBuffer.elements, shape: shape)
    }

    /// The gradient in place; what it holds matters only if ``hasGradient``.
    public var gradientPointer: UnsafeMutablePointer<Scalar> {
        if let gradientBuffer { return gradientBuffer.pointer }
        let buffer = Buffer<Scalar>(repeating: 0, count: count)
        gradientBuffer = buffer
        gradientIsZero = true
        return buffer.pointer
    }

    func accumulate(_ body: (UnsafeMutablePointer<Scalar>, Int32) -> Void) {
        body(gradientPointer, hasGradient ? 1 : 0)
        hasGradient = true
        gradientIsZero = false
        touchedRows = nil
    }

    /// Adds to rows `rows` of the gradient alone; the others are 0 if nothing else adds to them.
    func accumulate(rows: [Int32], _ body: (UnsafeMutablePointer<Scalar>) -> Void) {
        let gradient = gradientPointer
        if !hasGradient {
            if !gradientIsZero { gradient.update(repeating: 0, count: count) }
            touchedRows = []
        }
        body(gradient)
        hasGradient = true
        gradientIsZero = false
        touchedRows? += rows
    }

    /// Takes what stands in ``gradientPointer`` for the gradient.
    ///
    /// - Parameter rows: Those outside which it is 0; nil for all.
    func adoptGradient(rows: [Int32]?) {
        hasGradient = true
        gradientIsZero = false
        touchedRows = rows
    }

    /// Makes the next gradient replace this one.
    public func clearGradient() {
        if hasGradient, let rows = touchedRows, shape.count == 2 {
            // Large tables are not cleared as a whole at every step.
            for row in rows {
                (gradientPointer + Int(row) * shape[1]).update(repeating: 0, count: shape[1])
            }
            gradientIsZero = true
        }
        hasGradient = false
        touchedRows = nil
    }

    /// Multiplies the gradient.
    public func scaleGradient(by factor: Scalar) {
        guard hasGradient else { return }
        let g = gradientPointer
        spread(count) { Scalar.kernels.pointee.affine(Double(factor), g + $0, 0, g + $0, $1, 0) }
    }

    // MARK: State

    /// The state of this name, zeros at first.
    public func slot(_ name: String) -> UnsafeMutablePointer<Scalar> {
        if let slot = slots[name] { return slot.pointer }
        let slot = Buffer<Scalar>(repeating: 0, count: count)
        slots[name] = slot
        return slot.pointer
    }

    /// The name of the slot that holds an average of the values (``ParameterAverage``). Where a value is new, so is its
    /// average: it starts at the value, not at 0.
    static var averageSlot: String { "average" }

    /// Forgets the state of this name.
    public func removeSlot(_ name: String) { slots[name] = nil }
    /// Forgets all states.
    public func removeSlots() { slots = [:] }

    /// Bytes of values, gradient, optimiser state and mask.
    public var byteCount: Int {
        buffer.byteCount + (gradientBuffer?.byteCount ?? 0) + slots.values.reduce(0) { $0 + $1.byteCount }
            + (mask?.byteCount ?? 0)
    }

    // MARK: Masks and patterns

    /// Sets the entries that stay 0: one number for each value, 0 or 1. Values, gradient and state of masked entries
    /// become 0 now and after every step.
    ///
    /// - Parameter mask: Nil removes the mask; entries that were masked start at 0.
    public func setMask(_ mask: Tensor<Scalar>?) {
        guard let mask else {
            self.mask = nil
            return
        }
        require(mask.count == count, "a mask of \(mask.count) entries for a parameter of \(count)")
        self.mask = mask.withPointer { Buffer(copying: $0, count: count) }
        applyMask()
    }

    /// Makes masked values and their optimiser state 0. Optimisers call this after every step.
    public func applyMask() {
        guard let mask else { return }
        noteChange()
        let (w, m) = (buffer.pointer, mask.pointer)
        spread(count) { Scalar.kernels.pointee.binary(Int32(2), w + $0, m + $0, w + $0, $1, 0) }
        for slot in slots.values {
            let s = slot.pointer
            spread(count) { Scalar.kernels.pointee.binary(Int32(2), s + $0, m + $0, s + $0, $1, 0) }
        }
    }

    /// Replaces the list of values by one in which entry `i` is the former entry `source[i]`, or new where that is
    /// negative: then its value comes from `fill`, its average is that value, its gradient and other state are 0.
    public func rearrange(from source: [Int], fill: (_ index: Int) -> Scalar) {
        require(shape.count == 1, "only lists of values can be rearranged")
        func moved(_ old: Buffer<Scalar>, _ fill: (Int) -> Scalar) -> Buffer<Scalar> {
            let new = Buffer<Scalar>(uninitialized: source.count)
            for (i, j) in source.enumerated() { new.pointer[i] = j >= 0 ? old.pointer[j] : fill(i) }
            return new
        }
        buffer = moved(buffer, fill)
        if let old = gradientBuffer { gradientBuffer = moved(old) { _ in 0 } }
        gradientIsZero = false
        for (name, slot) in slots {
            let isAverage = name == Self.averageSlot
            slots[name] = moved(slot) { [buffer] in isAverage ? buffer.pointer[$0] : 0 }
        }
        if let old = mask { mask = moved(old) { _ in 1 } }
        shape = [source.count]
        noteChange()
    }

    /// Keeps slices of one dimension, in the order that is given: of values, gradient, state and mask alike. What trains goes on as if the
    /// others had never been.
    ///
    /// - Parameter indices: Slices that there are, each at most once.
    /// - Complexity: O(values kept).
    public func keep(_ indices: [Int], along axis: Int) {
        require(shape.indices.contains(axis), "no dimension \(axis) of \(shape)")
        require(
            indices.allSatisfy { (0..<shape[axis]).contains($0) } && Set(indices).count == indices.count,
            "slices that are not there, or twice, of dimension \(axis) of \(shape)")
        let (outer, length) = (shape[..<axis].reduce(1, *), shape[axis])
        let inner = shape[(axis + 1)...].reduce(1, *)
        func kept(_ old: Buffer<Scalar>) -> Buffer<Scalar> {
            let new = Buffer<Scalar>(uninitialized: outer * indices.count * inner)
            var target = new.pointer
            for o in 0..<outer {
                for index in indices {
                    target.update(from: old.pointer + (o * length + index) * inner, count: inner)
                    target += inner
                }
            }
            return new
        }
        buffer = kept(buffer)
        gradientBuffer = gradientBuffer.map(kept)
        (gradientIsZero, touchedRows) = (false, nil)
        slots = slots.mapValues(kept)
        mask = mask.map(kept)
        shape[axis] = indices.count
        noteChange()
    }

    /// Replaces values and state when a checkpoint is read.
    func restore(_ value: Buffer<Scalar>, shape: [Int], slots: [String: Buffer<Scalar>], mask: Buffer<Scalar>?) {
        buffer = value
        self.shape = shape
        self.slots = slots
        self.mask = mask
        gradientBuffer = nil
        hasGradient = false
        noteChange()
    }
}
