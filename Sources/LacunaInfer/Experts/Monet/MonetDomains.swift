import LacunaLearn
import LacunaModels
import LacunaTensor

/// Which parts of a ``Monet`` layer serve which of some labelled domains, and what is left of the layer without those of one.
///
/// Jungwoo Park and others, "Monet: Mixture of Monosemantic Experts for Transformers", arXiv 2412.04139, who look at pairs of parts; here parts
/// are looked at one by one, so that sums still factor.
public struct MonetDomains: Sendable {
    /// Of each side, part and domain: the mean over the domain's rows of the gates that heads gave the part.
    public let mass: [[[Double]]]
    /// How many domains there are.
    public let domains: Int

    /// - Parameters:
    ///   - x: [n, width], what the layer reads.
    ///   - labels: The domain of each row, from 0; every domain up to the largest has a row.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of labels, or domains without rows.
    public init(_ layer: Monet, _ x: Tensor<Float>, labels: [Int]) throws {
        guard x.rank == 2, x.rows == labels.count, x.columns == layer.settings.width, labels.allSatisfy({ $0 >= 0 })
        else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for inputs \(x.shape)")
        }
        // As each domain has a row, no label is as large as there are rows.
        var counts = [Int](repeating: 0, count: labels.count)
        for label in labels where label < counts.count { counts[label] += 1 }
        let domains = counts.count { $0 > 0 }
        guard domains >= 2, labels.allSatisfy({ $0 < domains }) else {
            throw LacunaError.invalidArgument("labels", reason: "\(domains) domains, or some without rows")
        }
        let (heads, side) = (layer.settings.heads, layer.settings.side)
        let tape = Tape<Float>()
        mass = tape.evaluating {
            let (g1, g2) = layer.gates(tape.constant(x))
            return [g1, g2].map { gates in
                var sums = [[Double]](repeating: [Double](repeating: 0, count: domains), count: side)
                gates.withPointer { gates in
                    for (row, label) in labels.enumerated() {
                        for head in 0..<heads {
                            for i in 0..<side { sums[i][label] += Double(gates[(row * heads + head) * side + i]) }
                        }
                    }
                }
                return sums.map { zip($0, counts).map { $0 / Double($1) } }
            }
        }
        self.domains = domains
    }

    /// The parts of each side that serve a domain: those to which it gives more than `skew` times what any other gives.
    public func parts(of domain: Int, skew: Double = 2) -> [[Int]] {
        mass.map { side in
            side.indices.filter { i in
                let others = side[i].enumerated().filter { $0.offset != domain }.map(\.element).max() ?? 0
                return side[i][domain] > skew * others
            }
        }
    }

    /// What a layer gives for rows [n, width] without some parts of each side, whose gates become 0.
    ///
    /// - Parameter parts: Of the first side and of the second.
    /// - Precondition: Two lists of parts that there are.
    public static func purged(_ layer: Monet, _ x: Variable<Float>, parts: [[Int]]) -> Variable<Float> {
        let side = layer.settings.side
        require(
            parts.count == 2 && parts.joined().allSatisfy { (0..<side).contains($0) }, "no parts of \(side): \(parts)")
        let (g1, g2) = layer.gates(x)
        let left = zip([g1, g2], parts).map { gates, gone in
            var mask = Tensor<Float>(repeating: 1, shape: [side])
            mask.withMutablePointer { mask in for i in gone { mask[i] = 0 } }
            return gates.multipliedByRow(x.tape.constant(mask))
        }
        return layer.output(x, left[0], left[1])
    }
}
