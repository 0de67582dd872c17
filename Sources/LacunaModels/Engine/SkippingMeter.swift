import LacunaTensor

/// Counts what a gate leaves out while a model runs, by layer and role, and which keys attention reads: the sparsity that was achieved, as opposed to the one
/// that was asked for, and the bytes that were really not read.
public final class SkippingMeter: Sendable {
    /// A linear layer of a block.
    public struct Place: Sendable, Hashable {
        /// The block, from 0.
        public let layer: Int
        /// Which of the block's products.
        public let role: LinearRole

        /// The layer of a block in a role.
        public init(layer: Int, role: LinearRole) { (self.layer, self.role) = (layer, role) }
    }

    /// Products of one layer, or of several together.
    public struct Count: Sendable, Hashable {
        /// Vectors multiplied.
        public var vectors = 0
        /// Of these, the ones whose products went by single vectors and left out what the gate left out. The others were
        /// multiplied together, over zeros, and read all weights once.
        public var skipping = 0
        /// Weights of the products, and those that met an input (or made a neuron) that was active, or stood for the rest.
        public var weights = 0, activeWeights = 0
        /// Bytes of weights that `skipping` vectors would have read, and those that they read.
        public var bytes = 0, bytesRead = 0
        /// Numbers that a gate looked at to choose, once for layers that share a choice.
        public var compared = 0

        /// Share of the weights whose input or neuron was left out.
        public var sparsity: Double { weights == 0 ? 0 : 1 - Double(activeWeights) / Double(weights) }
        /// Share of the bytes of single products that were read.
        public var byteShare: Double { bytes == 0 ? 1 : Double(bytesRead) / Double(bytes) }

        /// Numbers that were looked at to choose, over the weights of the products.
        public var cost: Double { weights == 0 ? 0 : Double(compared) / Double(weights) }

        /// Bytes of single products that were not read.
        public var bytesSkipped: Int { bytes - bytesRead }

        /// Of nothing.
        public init() {}

        static func + (a: Count, b: Count) -> Count {
            var sum = a
            sum.vectors += b.vectors
            sum.skipping += b.skipping
            sum.weights += b.weights
            sum.activeWeights += b.activeWeights
            sum.bytes += b.bytes
            sum.bytesRead += b.bytesRead
            sum.compared += b.compared
            return sum
        }
    }

    /// Keys of single queries, those of every head by themselves.
    public struct Keys: Sendable, Hashable {
        /// That the queries could see, and that they read.
        public var visible = 0, read = 0
        /// Queries, and those of them that read all that they could see: in layers that a method leaves dense, and at the beginnings of
        /// texts.
        public var queries = 0, whole = 0
        /// Numbers of all keys and values that could be seen, and those that were read to choose beside the keys that were read: bounds
        /// of pages, labels, sums.
        public var numbers = 0, compared = 0

        /// Share of the keys that were read.
        public var share: Double { visible == 0 ? 1 : Double(read) / Double(visible) }
        /// Share of the queries that read all that they could see.
        public var wholeShare: Double { queries == 0 ? 1 : Double(whole) / Double(queries) }
        /// What was read to choose, over all keys and values that could be seen.
        public var cost: Double { numbers == 0 ? 0 : Double(compared) / Double(numbers) }

        /// Of nothing.
        public init() {}

        static func + (a: Keys, b: Keys) -> Keys {
            var sum = a
            sum.visible += b.visible
            sum.read += b.read
            sum.queries += b.queries
            sum.whole += b.whole
            sum.numbers += b.numbers
            sum.compared += b.compared
            return sum
        }
    }

    /// Queries of prompts that went by a plan, and their keys.
    public struct Prompts: Sendable, Hashable {
        /// Pairs of a query and a key that it could see, and those that were read.
        public var visible = 0, read = 0
        /// Products of vectors of the size of a head that were made to choose, beside the `read` ones.
        public var products = 0

        /// Share of the pairs that were read.
        public var share: Double { visible == 0 ? 1 : Double(read) / Double(visible) }
        /// What the choice took, over the products that there are in all.
        public var cost: Double { visible == 0 ? 0 : Double(products) / Double(visible) }
    }

    private let places = Locked<[Place: Count]>([:])
    private let attention = Locked<[Int: Keys]>([:])
    private let planned = Locked(Prompts())

    /// A meter that has counted nothing.
    public init() {}

    /// Forgets everything.
    public func reset() {
        places.withLock { $0 = [:] }
        attention.withLock { $0 = [:] }
        planned.withLock { $0 = Prompts() }
    }

    /// What attention read for single queries; those of prompts that go in blocks are not counted.
    public var keys: Keys { keysByLayer.values.reduce(Keys(), +) }

    /// The same by layer.
    public var keysByLayer: [Int: Keys] { attention.withLock { $0 } }

    /// What prompts read for which a selector made plans.
    public var prompts: Prompts { planned.withLock { $0 } }

    func note(prompt visible: Int, read: Int, products: Int) {
        planned.withLock {
            $0 = Prompts(
                visible: $0.visible + visible, read: $0.read + read, products: $0.products + products)
        }
    }

    /// Counts a query of one head.
    ///
    /// - Parameters:
    ///   - size: Entries of a key.
    ///   - compared: Numbers that were read to choose.
    func note(layer: Int, keys visible: Int, read: Int, size: Int, compared: Int) {
        var query = Keys()
        (query.visible, query.read, query.queries) = (visible, read, 1)
        query.whole = read == visible ? 1 : 0
        (query.numbers, query.compared) = (2 * size * visible, compared)
        attention.withLock { $0[layer] = ($0[layer] ?? Keys()) + query }
    }

    /// What was counted, by layer and role.
    public var counts: [Place: Count] { places.withLock { $0 } }

    /// All layers together.
    public var total: Count { counts.values.reduce(Count(), +) }

    /// All layers in a role.
    public func total(_ role: LinearRole) -> Count {
        counts.filter { $0.key.role == role }.values.reduce(Count(), +)
    }

    /// Counts a product with one vector.
    ///
    /// - Parameters:
    ///   - inputs: What there was to choose from: inputs, or neurons.
    ///   - bytes: Of the weights.
    ///   - others: Weights that were read in the place of those of the inputs left out.
    ///   - compared: Numbers that were looked at to choose.
    ///   - read: Bytes read of the weights; nil for a vector that was multiplied together with others.
    func note(
        layer: Int, role: LinearRole, weights: Int, inputs: Int, active: Int, others: Int = 0, compared: Int,
        bytes: Int, read: Int?
    ) {
        let place = Place(layer: layer, role: role)
        places.withLock { places in
            var count = places[place] ?? Count()
            count.vectors += 1
            count.weights += weights
            count.activeWeights += inputs == 0 ? 0 : weights / inputs * active + others
            count.compared += compared
            if let read {
                count.skipping += 1
                count.bytes += bytes
                count.bytesRead += read
            }
            places[place] = count
        }
    }
}
