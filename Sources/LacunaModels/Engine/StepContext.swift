import LacunaTensor

/// Consecutive rows of a step that are consecutive positions of one sequence.
struct Span {
    var rows: Range<Int>
    var firstPosition: Int
    /// Keys and values of earlier positions, and where those of these rows go; nil for a whole sequence by itself.
    var store: (any KeyValueStore)?
}

/// What the layers of a model share while a step's rows pass through them.
final class StepContext {
    let spans: [Span]
    let count: Int
    let selector: any KeySelector
    let gate: (any InputGate)?
    let meter: SkippingMeter?
    let workspace: StepWorkspace
    /// Cosines and sines of each row's position, [head size] for each entry of `places`; for global layers, and for
    /// windowed ones if they rotate differently.
    private let angles: [Buffer<Float>]
    private let places: [Int]
    private let headSize: Int

    init(
        rotations: [RotaryEmbedding], headSize: Int, spans: [Span], count: Int,
        selector: any KeySelector = AllKeys(), gate: (any InputGate)? = nil, meter: SkippingMeter? = nil,
        workspace: StepWorkspace
    ) {
        (self.spans, self.count, self.selector, self.gate) = (spans, count, selector, gate)
        self.meter = meter
        self.workspace = workspace
        self.headSize = headSize
        // Sequences of a batch are mostly at the same positions.
        var distinct: [Int] = []
        var known: [Int: Int] = [:]
        var places = [Int](repeating: 0, count: count)
        for span in spans {
            for row in span.rows {
                let position = span.firstPosition + row - span.rows.lowerBound
                if let place = known[position] {
                    places[row] = place
                } else {
                    known[position] = distinct.count
                    places[row] = distinct.count
                    distinct.append(position)
                }
            }
        }
        self.places = places
        angles = rotations.map { $0.angles(positions: distinct) }
    }

    /// The angles of a row's position, in the rotation of this number.
    func angles(_ row: Int, rotation: Int) -> UnsafePointer<Float> {
        UnsafePointer(angles[rotation].pointer) + places[row] * headSize
    }

    func pointer(_ slot: StepWorkspace.Slot, _ count: Int) -> UnsafeMutablePointer<Float> {
        workspace.pointer(slot, count)
    }
}

/// Arrays that the layers of a step write, kept from step to step: after the first, decoding allocates none of them.
final class StepWorkspace {
    enum Slot: Int, CaseIterable {
        case hidden, normalized, change, query, key, value, mixed, gate, up, activated, masked, scores, gathered, expert
    }

    private var buffers: [Buffer<Float>?] = Slot.allCases.map { _ in nil }

    /// Room for `count` numbers, whose values may be anything. Valid until more is asked for in this slot.
    func pointer(_ slot: Slot, _ count: Int) -> UnsafeMutablePointer<Float> {
        if let buffer = buffers[slot.rawValue], buffer.count >= count { return buffer.pointer }
        let buffer = Buffer<Float>(uninitialized: (max(count, 1) + 63) / 64 * 64)
        buffers[slot.rawValue] = buffer
        return buffer.pointer
    }
}
