import LacunaTensor

/// Processes that compute one thing together, each with a share of the data: what data-parallel training needs of them.
///
/// All of them run the same program and ask for the same things in the same order; whatever one asks for returns when all have
/// asked for it. Sums are taken in the order of ranks, so that every process gets the same bits. There are
/// ``SingleProcess``, ``ThreadRanks`` for trying out, and the processes of MPI in the product `LacunaMPI`.
public protocol Collective: AnyObject, Sendable {
    /// Which of the processes this is, in `0..<count`. Files are written by the first.
    var rank: Int { get }
    /// How many there are.
    var count: Int { get }
    /// Sends each process a piece, and returns what each has sent to this one, by rank.
    ///
    /// - Parameter pieces: One for each process, of any length, this process among them.
    /// - Throws: `LacunaError.numerical` if a process cannot be reached.
    func exchange(_ pieces: [[UInt8]]) throws -> [[UInt8]]
}

extension Collective {
    /// What every process has given, by rank.
    public func gather<Element: BitwiseCopyable>(_ values: [Element]) throws -> [[Element]] {
        if count == 1 { return [values] }
        let bytes = values.withUnsafeBytes { Array($0) }
        return try exchange([[UInt8]](repeating: bytes, count: count)).map { piece in
            [Element](unsafeUninitializedCapacity: piece.count / MemoryLayout<Element>.stride) { target, filled in
                UnsafeMutableRawBufferPointer(target).copyBytes(from: piece)
                filled = piece.count / MemoryLayout<Element>.stride
            }
        }
    }

    /// The sums over all processes, added in the order of ranks.
    ///
    /// - Parameter values: As many in every process.
    public func sum<Number: Numeric & BitwiseCopyable>(_ values: [Number]) throws -> [Number] {
        if count == 1 { return values }
        let all = try gather(values)
        return values.indices.map { i in all.dropFirst().reduce(all[0][i]) { $0 + $1[i] } }
    }

    /// The sum of one number over all processes.
    public func sum<Number: Numeric & BitwiseCopyable>(_ value: Number) throws -> Number { try sum([value])[0] }

    /// Whether something holds in any process.
    public func any(_ holds: Bool) throws -> Bool { try sum(holds ? 1 : 0) > 0 }

    /// Waits until all processes have come here.
    public func barrier() throws { _ = try gather([UInt8]()) }

    /// The part of `total` things that is this process's; together the parts are all of them, in the order of ranks.
    public func share(of total: Int) -> Range<Int> { share(of: total, rank: rank) }

    func share(of total: Int, rank: Int) -> Range<Int> { total * rank / count..<total * (rank + 1) / count }
}

/// This process alone: every sum is what it was.
public final class SingleProcess: Collective {
    /// One process.
    public init() {}
    public var rank: Int { 0 }
    public var count: Int { 1 }
    public func exchange(_ pieces: [[UInt8]]) -> [[UInt8]] { pieces }
}
