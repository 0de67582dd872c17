import LacunaTensor

extension Collective {
    /// Adds up the gradients of all processes, in place, so that each has the gradient of all shares of the data.
    ///
    /// Rows travel that are not all 0: of an embedding or a dictionary those that the share of a process has named, of a list of
    /// numbers pieces of 64. Every process first gets what the others have for its part of each parameter and adds it up in the order of
    /// ranks; then the sums go to all. What a process sends and receives is at most twice the gradient, however many there are.
    ///
    /// - Parameter parameters: The same in every process. One that has a gradient in any has one in all afterwards.
    /// - Throws: As ``Collective/exchange(_:)``; `LacunaError.numerical` for processes whose parameters are not the same.
    public func sumGradients(_ parameters: [Parameter<Float>]) throws {
        if count == 1 { return }
        let parts = parameters.filter { $0.isTrainable && $0.count > 0 }.map(RowSum.init)
        let pieces = (0..<count).map { rank in
            var piece = RowMessage()
            for part in parts { part.write(rows: share(of: part.rows, rank: rank), into: &piece) }
            return piece.bytes
        }
        var received = try exchange(pieces).map { RowMessage(bytes: $0) }
        var sums = RowMessage()
        for part in parts { try part.sum(&received, rows: share(of: part.rows), into: &sums) }
        var all = try gather(sums.bytes).map { RowMessage(bytes: $0) }
        for part in parts { try part.read(&all) }
    }

    /// Adds up lists of numbers of all processes, in place, in the order of ranks; pieces that are 0 everywhere do not travel.
    ///
    /// - Parameter values: As many in every process.
    /// - Throws: As ``sumGradients(_:)``.
    public func sum(_ values: inout [Float]) throws {
        if count == 1 || values.isEmpty { return }
        let parameter = Parameter(Tensor<Float>(zeros: [values.count]))
        parameter.accumulate { target, _ in target.update(from: values, count: values.count) }
        try sumGradients([parameter])
        values = parameter.gradient!.scalars
    }

    /// Says so if the processes have not the same numbers.
    ///
    /// - Parameter when: What the message says of the moment.
    /// - Throws: `LacunaError.numerical`.
    /// - Complexity: O(numbers), and 8 bytes travel.
    public func requireSame(_ parameters: [Parameter<Float>], _ when: String) throws {
        if count == 1 { return }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for parameter in parameters {
            hash = (hash ^ UInt64(parameter.count)) &* 0x100_0000_01B3
            for value in parameter.buffer.elements { hash = (hash ^ UInt64(value.bitPattern)) &* 0x100_0000_01B3 }
        }
        if Set(try gather([hash]).map { $0[0] }).count > 1 {
            throw LacunaError.numerical(
                operation: "training by \(count) processes",
                reason:
                    "\(when) their parameters are not the same: they need one program, settings and kind of processor, and "
                    + "no layers that keep statistics of batches"
            )
        }
    }
}

/// Bytes of numbers, written and read in order.
private struct RowMessage {
    private(set) var bytes: [UInt8] = []
    private var place = 0

    init() {}
    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func append(_ number: UInt32) { withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) } }
    mutating func append(_ row: UnsafePointer<Float>, _ count: Int) {
        bytes.append(contentsOf: UnsafeRawBufferPointer(start: row, count: 4 * count))
    }

    /// What a message lacks if its sender has other parameters.
    private static let mismatch = LacunaError.numerical(
        operation: "sum of gradients", reason: "the processes do not train the same parameters")

    mutating func number() throws -> UInt32 {
        guard place + 4 <= bytes.count else { throw Self.mismatch }
        defer { place += 4 }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: UInt32.self) }
    }

    /// The number of a row of `rows`.
    mutating func row(of rows: Range<Int>) throws -> Int {
        let row = Int(try number())
        guard rows.contains(row) else { throw Self.mismatch }
        return row
    }

    mutating func floats(_ count: Int, into target: (Int, Float) -> Void) throws {
        guard place + 4 * count <= bytes.count else { throw Self.mismatch }
        bytes.withUnsafeBytes { bytes in
            for i in 0..<count { target(i, bytes.loadUnaligned(fromByteOffset: place + 4 * i, as: Float.self)) }
        }
        place += 4 * count
    }
}

/// The gradient of one parameter as rows to be summed.
private struct RowSum {
    /// What a process has.
    private enum Kind: UInt32 {
        case nothing, rows, everything
    }

    let parameter: Parameter<Float>
    private let length: Int
    let rows: Int
    /// The rows that travel, ascending.
    private let own: [Int]
    private let kind: Kind

    init(_ parameter: Parameter<Float>) {
        self.parameter = parameter
        let (count, shape) = (parameter.count, parameter.shape)
        length = shape.count >= 2 ? count / shape[0] : min(64, count)
        rows = (count + length - 1) / length
        guard parameter.hasGradient else {
            // What the memory holds is an older gradient.
            parameter.gradientPointer.update(repeating: 0, count: count)
            (own, kind) = ([], .nothing)
            return
        }
        if let touched = parameter.touchedRows, shape.count == 2 {
            (own, kind) = (Set(touched).map(Int.init).sorted(), .rows)
            return
        }
        let (gradient, length) = (parameter.gradientPointer, length)
        own = (0..<rows).filter { row in
            let start = gradient + row * length
            return (0..<min(length, count - row * length)).contains { start[$0] != 0 }
        }
        kind = .everything
    }

    private func length(ofRow row: Int) -> Int { min(length, parameter.count - row * length) }

    func write(rows: Range<Int>, into message: inout RowMessage) {
        let wanted = own.drop { $0 < rows.lowerBound }.prefix { $0 < rows.upperBound }
        message.append(kind.rawValue)
        message.append(UInt32(wanted.count))
        for row in wanted {
            message.append(UInt32(row))
            message.append(parameter.gradientPointer + row * length, length(ofRow: row))
        }
    }

    /// Adds up what all have sent for some rows.
    func sum(_ messages: inout [RowMessage], rows: Range<Int>, into sums: inout RowMessage) throws {
        var totals = [Float](repeating: 0, count: rows.count * length)
        var isTouched = [Bool](repeating: false, count: rows.count)
        var highest = Kind.nothing.rawValue
        for rank in messages.indices {
            highest = max(highest, try messages[rank].number())
            for _ in 0..<(try messages[rank].number()) {
                let row = try messages[rank].row(of: rows) - rows.lowerBound
                isTouched[row] = true
                try totals.withUnsafeMutableBufferPointer { totals in
                    let start = row * length
                    try messages[rank].floats(length(ofRow: row + rows.lowerBound)) { totals[start + $0] += $1 }
                }
            }
        }
        sums.append(highest)
        sums.append(UInt32(isTouched.count { $0 }))
        totals.withUnsafeBufferPointer { totals in
            for row in isTouched.indices where isTouched[row] {
                sums.append(UInt32(row + rows.lowerBound))
                sums.append(totals.baseAddress! + row * length, length(ofRow: row + rows.lowerBound))
            }
        }
    }

    /// Puts the sums of all rows in the place of the gradient.
    func read(_ messages: inout [RowMessage]) throws {
        var highest = Kind.nothing.rawValue
        var touched: [Int32] = []
        let gradient = parameter.gradientPointer
        for rank in messages.indices {
            highest = max(highest, try messages[rank].number())
            for _ in 0..<(try messages[rank].number()) {
                let row = try messages[rank].row(of: 0..<rows)
                touched.append(Int32(row))
                try messages[rank].floats(length(ofRow: row)) { gradient[row * length + $0] = $1 }
            }
        }
        switch Kind(rawValue: highest) {
        case .nothing?: break
        case .rows?: parameter.adoptGradient(rows: touched)
        default: parameter.adoptGradient(rows: nil)
        }
    }
}
