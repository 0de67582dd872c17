import LacunaTensor

/// A memory that stores a binary pattern at once, under a sparse code that resembles the codes of similar patterns.
///
/// A field has `modules` winner-take-all modules of `cells` binary cells; a code is one winner a module. Weights are
/// bits, 0 at first. The code of an input is drawn so that it repeats old winners where the input is familiar and is
/// random where it is not; learning sets the weights from active inputs to the winners. Time does not depend on what
/// is stored. Rod Rinkus, "Superposed Episodic and Semantic Memory via Sparse Distributed Representation", arXiv
/// 1710.07829.
public struct SparseyField: Sendable {
    /// How familiarity becomes chance.
    public struct Settings: Sendable, Hashable {
        /// Familiarity below which codes are wholly random.
        public var floor = 0.1
        /// Exponent of familiarity above the floor.
        public var exponent = 2.0
        /// How much more likely than others a familiar winner may be, times the cells of a module.
        public var expansion = 100.0
        /// Steepness of the sigmoid from support to likelihood, above 0.
        public var steepness = 14.0
        /// The support at which that sigmoid is at its half. Lower ones make crosstalk look familiar.
        public var middle = 0.8
        /// Numbers of active inputs for which the field answers; nil for any above 0.
        public var activeInputs: ClosedRange<Int>?
        /// Exponents of the supports of feedforward and recurrent inputs in their product.
        public var exponents = (input: 1.0, context: 1.0)

        /// Settings with which 20 patterns of 20 of 200 inputs are told apart in a field of 24 modules of 8 cells.
        public init() {}

        public static func == (a: Settings, b: Settings) -> Bool {
            (a.floor, a.exponent, a.expansion, a.steepness, a.middle) == (
                b.floor, b.exponent, b.expansion, b.steepness, b.middle
            )
                && a.activeInputs == b.activeInputs && a.exponents == b.exponents
        }

        public func hash(into hasher: inout Hasher) {
            hasher.combine([floor, exponent, expansion, steepness, middle, exponents.input, exponents.context])
            hasher.combine(activeInputs)
        }
    }

    /// Winner-take-all modules: a code has so many winners.
    public let modules: Int
    /// Cells of each module.
    public let cells: Int
    /// Binary inputs.
    public let inputs: Int
    /// How familiarity becomes chance.
    public var settings: Settings
    /// One bit for every cell and input, and for every cell and cell of the code before, a row of words a cell.
    private var weights: [UInt64]
    private var recurrent: [UInt64]
    private var inputWords: Int { (inputs + 63) / 64 }
    private var codeWords: Int { (modules * cells + 63) / 64 }

    /// Takes `modules · cells · (inputs + modules · cells)` bits.
    ///
    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive, and settings out of range; `.resource`
    ///   for a field that memory does not hold.
    public init(modules: Int, cells: Int, inputs: Int, settings: Settings = Settings()) throws {
        for (name, value) in [("modules", modules), ("cells", cells), ("inputs", inputs)]
        where !(1...1 << 20).contains(value) {
            throw LacunaError.invalidArgument(name, reason: "\(value) is not in 1...\(1 << 20)")
        }
        guard (0..<1).contains(settings.floor), settings.exponent > 0, settings.expansion >= 0, settings.steepness > 0,
            settings.exponents.input >= 0, settings.exponents.context >= 0
        else { throw LacunaError.invalidArgument("settings", reason: "out of range") }
        let words = (inputs + 63) / 64 + (modules * cells + 63) / 64
        try MachineMemory.require(
            shape: [modules * cells, words], of: UInt64.self, for: "a field of \(modules) modules")
        (self.modules, self.cells, self.inputs, self.settings) = (modules, cells, inputs, settings)
        weights = [UInt64](repeating: 0, count: modules * cells * ((inputs + 63) / 64))
        recurrent = [UInt64](repeating: 0, count: modules * cells * ((modules * cells + 63) / 64))
    }

    /// Share of the weights from inputs that are set: above about a quarter, recall suffers.
    public var saturation: Double {
        Double(weights.reduce(0) { $0 + $1.nonzeroBitCount }) / Double(modules * cells * inputs)
    }

    /// What a field knows of an input.
    public struct Response: Sendable, Hashable {
        /// The winner of each module, [modules]; nil where the number of active inputs is outside the gate.
        public var code: [Int]?
        /// Mean over modules of the largest normalised support: 1 for an input all of which is stored together.
        public var familiarity: Double
    }

    private func words(_ active: [Int], of count: Int) -> [UInt64] {
        var result = [UInt64](repeating: 0, count: (count + 63) / 64)
        for i in active {
            require(i >= 0 && i < count, "input \(i) of \(count)")
            result[i / 64] |= 1 << UInt64(i % 64)
        }
        return result
    }

    private func support(_ bits: [UInt64], _ weights: [UInt64], _ cell: Int, active: Int) -> Double {
        var count = 0
        for w in bits.indices { count += (bits[w] & weights[cell * bits.count + w]).nonzeroBitCount }
        return Double(count) / Double(active)
    }

    /// Normalised supports of all cells, [modules, cells].
    private func supports(_ active: [Int], after code: [Int]?) -> [Double] {
        let bits = words(active, of: inputs)
        let before = code.map { words($0.enumerated().map { $0.offset * cells + $0.element }, of: modules * cells) }
        return (0..<modules * cells).map { cell in
            var v = power(support(bits, weights, cell, active: active.count), settings.exponents.input)
            if let before { v *= power(support(before, recurrent, cell, active: modules), settings.exponents.context) }
            return v
        }
    }

    /// The code that an input has, drawn anew where the field does not know it.
    ///
    /// - Parameters:
    ///   - active: Places of the active inputs, each once.
    ///   - code: The code of the moment before, if inputs are a sequence.
    ///   - recognises: Takes the best supported winner of each module (of equals one at random), rather than drawing
    ///     by support.
    public func response(
        to active: [Int], after code: [Int]? = nil, recognises: Bool = false, using generator: inout SeededGenerator
    ) -> Response {
        let gate = settings.activeInputs ?? 1...max(inputs, 1)
        guard !active.isEmpty, gate.contains(active.count) else { return Response(code: nil, familiarity: 0) }
        let v = supports(active, after: code)
        let best = (0..<modules).map { q in (0..<cells).reduce(0.0) { max($0, v[q * cells + $1]) } }
        let familiarity = best.reduce(0, +) / Double(modules)
        let excess = max(0, (familiarity - settings.floor) / (1 - settings.floor))
        let eta = 1 + power(excess, settings.exponent) * settings.expansion * Double(cells)
        var winners = [Int](repeating: 0, count: modules)
        for q in 0..<modules {
            if recognises {
                let tied = (0..<cells).filter { v[q * cells + $0] == best[q] }
                winners[q] = tied[Int.random(in: 0..<tied.count, using: &generator)]
                continue
            }
            let likelihoods = (0..<cells).map { i in
                (eta - 1) / (1 + exponential(-settings.steepness * (v[q * cells + i] - settings.middle))) + 1
            }
            var rest = generator.uniform() * likelihoods.reduce(0, +)
            winners[q] = cells - 1
            for i in 0..<cells {
                rest -= likelihoods[i]
                if rest < 0 {
                    winners[q] = i
                    break
                }
            }
        }
        return Response(code: winners, familiarity: familiarity)
    }

    /// Stores an input under a code: sets the weights from its active inputs, and from the code before, to the winners.
    public mutating func store(_ active: [Int], as code: [Int], after before: [Int]? = nil) {
        require(
            code.count == modules && code.allSatisfy { (0..<cells).contains($0) }, "a code of \(code.count) winners")
        let bits = words(active, of: inputs)
        let context = before.map { words($0.enumerated().map { $0.offset * cells + $0.element }, of: modules * cells) }
        for (q, winner) in code.enumerated() {
            let cell = q * cells + winner
            for w in 0..<inputWords { weights[cell * inputWords + w] |= bits[w] }
            if let context { for w in 0..<codeWords { recurrent[cell * codeWords + w] |= context[w] } }
        }
    }

    /// Draws the code of an input and stores it under it.
    @discardableResult
    public mutating func learn(
        _ active: [Int], after code: [Int]? = nil, using generator: inout SeededGenerator
    ) -> Response {
        let found = response(to: active, after: code, using: &generator)
        if let winners = found.code { store(active, as: winners, after: code) }
        return found
    }
}
