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
    }

    /// Products of one layer, or of several together.
    public struct Count: Sendable, Hashable {
        /// Vectors multiplied.
        public var vectors = 0
        /// Of these, the ones whose products went by single vectors and left out what the gate left out. The others were
        /// multiplied together, over zeros, and read all weights once.
        public var skipping = 0
        /// Weights of the products, and those that met an input (or made a neuron) that was active.
        public var weights = 0, activeWeights = 0
        /// Bytes of weights that `skipping` vectors would have read, and those that they read.
        public var bytes = 0, bytesRead = 0

        /// Share of the weights whose input or neuron was left out.
        public var sparsity: Double { weights == 0 ? 0 : 1 - Double(activeWeights) / Double(weights) }
        /// Share of the bytes of single products that were read.
        public var byteShare: Double { bytes == 0 ? 1 : Double(bytesRead) / Double(bytes) }

        /// Bytes of single products that were not read.
        public var bytesSkipped: Int { bytes - bytesRead }

        static func + (a: Count, b: Count) -> Count {
            Count(
                vectors: a.vectors + b.vectors, skipping: a.skipping + b.skipping, weights: a.weights + b.weights,
                activeWeights: a.activeWeights + b.activeWeights, bytes: a.bytes + b.bytes,
                bytesRead: a.bytesRead + b.bytesRead)
        }
    }

    /// Keys of single queries.
    public struct Keys: Sendable, Hashable {
        /// That the queries could see, and that they read.
        public var visible = 0, read = 0

        /// Share of the keys that were read.
        public var share: Double { visible == 0 ? 1 : Double(read) / Double(visible) }
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
    private let attention = Locked(Keys())
    private let planned = Locked(Prompts())

    /// A meter that has counted nothing.
    public init() {}

    /// Forgets everything.
    public func reset() {
        places.withLock { $0 = [:] }
        attention.withLock { $0 = Keys() }
        planned.withLock { $0 = Prompts() }
    }

    /// What attention read for single queries; those of prompts that go in blocks are not counted.
    public var keys: Keys { attention.withLock { $0 } }

    /// What prompts read for which a selector made plans.
    public var prompts: Prompts { planned.withLock { $0 } }

    func note(prompt visible: Int, read: Int, products: Int) {
        planned.withLock {
            $0 = Prompts(
                visible: $0.visible + visible, read: $0.read + read, products: $0.products + products)
        }
    }

    func note(keys visible: Int, read: Int) {
        attention.withLock { $0 = Keys(visible: $0.visible + visible, read: $0.read + read) }
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
    ///   - read: Bytes read of the weights; nil for a vector that was multiplied together with others.
    func note(layer: Int, role: LinearRole, weights: Int, inputs: Int, active: Int, bytes: Int, read: Int?) {
        let place = Place(layer: layer, role: role)
        places.withLock { places in
            var count = places[place] ?? Count()
            count.vectors += 1
            count.weights += weights
            count.activeWeights += inputs == 0 ? 0 : weights / inputs * active
            if let read {
                count.skipping += 1
                count.bytes += bytes
                count.bytesRead += read
            }
            places[place] = count
        }
    }
}
