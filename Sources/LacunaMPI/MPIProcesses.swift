import LacunaLearn
import LacunaTensor

#if MPI
    import CMPI
#endif

/// The processes that `mpirun` has started, on one machine or several, as a ``Collective``.
///
/// ```swift
/// import LacunaDictionary
/// import LacunaMPI
///
/// let dictionary = try SparseAutoencoder(.init(inputDimensions: 576, width: 8192, rule: .topK(32)), seed: 1)
/// let batches = try ActivationStore("activations").batches(of: ActivationSite(layer: 12, .residual), size: 2048, seed: 1)
/// let processes = try MPIProcesses.join()
/// try DictionaryTrainer([(dictionary, DictionaryTraining())], source: batches, steps: 1000, collective: processes).train()
/// try processes.leave()
/// ```
///
/// It needs the package trait `MPI` and an implementation of MPI (on Debian `libopenmpi-dev` and `openmpi-bin`); without the trait
/// ``join()`` says so. A process that ends without ``leave()``, by an error for instance, makes `mpirun` end the others.
public final class MPIProcesses: Collective {
    public let rank: Int
    public let count: Int

    private init(rank: Int, count: Int) { (self.rank, self.count) = (rank, count) }

    /// Whether the library was built with the trait.
    public static var isBuilt: Bool {
        #if MPI
            true
        #else
            false
        #endif
    }

    #if MPI
        /// One call into MPI at a time, from whatever thread; and what has been joined, as MPI begins once in a process.
        private static let joined = Locked<MPIProcesses?>(nil)

        /// The processes that have been started with this one; a program that `mpirun` has not started is alone.
        ///
        /// - Throws: `LacunaError.unsupported` without the trait `MPI` and by an implementation that allows calls from one thread
        ///   only, `LacunaError.numerical` if MPI does not begin.
        public static func join() throws -> MPIProcesses {
            try joined.withLock { joined in
                if let joined { return joined }
                var (rank, count): (Int32, Int32) = (0, 0)
                switch lmpi_begin(&rank, &count) {
                case Int32(LMPI_OK): break
                case Int32(LMPI_THREADS):
                    throw LacunaError.unsupported(file: nil, what: "an MPI that is called from one thread only")
                default: throw LacunaError.numerical(operation: "MPI", reason: "does not begin")
                }
                let processes = MPIProcesses(rank: Int(rank), count: Int(count))
                joined = processes
                return processes
            }
        }

        public func exchange(_ pieces: [[UInt8]]) throws -> [[UInt8]] {
            require(pieces.count == count, "\(pieces.count) pieces for \(count) processes")
            return try Self.joined.withLock { _ in
                let sent = pieces.map(\.count)
                var received = [Int](repeating: 0, count: count)
                try check(lmpi_sizes(sent, &received))
                let targets = received.map {
                    Optional(UnsafeMutableRawPointer.allocate(byteCount: max($0, 1), alignment: 16))
                }
                defer { for target in targets { target!.deallocate() } }
                try check(
                    withAddresses(pieces) {
                        lmpi_exchange(Int32(rank), Int32(count), $0, sent, targets, received)
                    })
                return zip(targets, received).map { [UInt8](UnsafeRawBufferPointer(start: $0!, count: $1)) }
            }
        }

        /// Ends what ``join()`` began, when all processes have come here. Nothing may be asked of them afterwards.
        ///
        /// - Throws: `LacunaError.numerical` if MPI does not end.
        public func leave() throws { try Self.joined.withLock { _ in try check(lmpi_end()) } }

        private func check(_ status: Int32) throws {
            if status != Int32(LMPI_OK) {
                throw LacunaError.numerical(operation: "MPI", reason: "another process cannot be reached")
            }
        }

        /// The addresses of all pieces, which stay where they are during the call.
        private func withAddresses<R>(_ pieces: [[UInt8]], _ body: (UnsafePointer<UnsafeRawPointer?>) -> R) -> R {
            func next(_ known: [UnsafeRawPointer?]) -> R {
                if known.count == pieces.count { return body(known) }
                return pieces[known.count].withUnsafeBytes { next(known + [$0.baseAddress]) }
            }
            return next([])
        }
    #else
        /// - Throws: `LacunaError.unsupported`: the library was built without the trait `MPI`.
        public static func join() throws -> MPIProcesses {
            throw LacunaError.unsupported(
                file: nil, what: "several processes in a build without MPI: build with 'swift build --traits MPI'")
        }

        public func exchange(_ pieces: [[UInt8]]) throws -> [[UInt8]] { pieces }

        /// Nothing has been joined.
        public func leave() throws {}
    #endif
}
