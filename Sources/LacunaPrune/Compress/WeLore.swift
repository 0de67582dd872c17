import LacunaSparse
import LacunaTensor

/// Gives every matrix the rank that one threshold over all singular values leaves it, and keeps those whole that have no low
/// rank.
///
/// Singular values of a matrix are put between 0 and 1, `u = (σ - min σ) / (max σ - min σ)`, and those of at least `κ` stay;
/// `κ` is the smallest that meets the target over all matrices. A matrix becomes two factors only where these are smaller
/// than it is; otherwise it stays dense. Needs no data.
///
/// Ajay Jaiswal, Yifan Wang, Lu Yin, Shiwei Liu, Runjin Chen, Jiawei Zhao, Ananth Grama, Yuandong Tian, Zhangyang Wang, "From
/// Low Rank Gradient Subspace Stabilization to Low-Rank Weights" (WeLore), arXiv 2407.11239.
public struct WeLore: MatrixCompression {
    /// What the fraction asked for counts.
    public enum Target: Sendable, Hashable {
        /// Numbers that are stored, as for any other method. A matrix whose factors would not be smaller counts whole.
        case numbers
        /// Ranks, as in the authors' tables: half of all ranks leaves well over half of the numbers.
        case ranks
    }

    /// What the fraction asked for counts.
    public var target: Target

    /// The threshold `κ`, 0...1; nil before ``prepared(for:sparsity:weight:)``.
    public private(set) var threshold: Double?
    /// The rank that the threshold leaves each matrix, by name, 1 or more; none before
    /// ``prepared(for:sparsity:weight:)``.
    public private(set) var ranks: [String: Int] = [:]

    /// Not yet prepared: compresses nothing.
    public init(target: Target = .numbers) { self.target = target }

    public var card: MethodCard {
        MethodCard(
            name: "welore", family: .factorizing,
            paper: .init(
                authors: "Ajay Jaiswal, Yifan Wang, Lu Yin, Shiwei Liu and others",
                title: "From Low Rank Gradient Subspace Stabilization to Low-Rank Weights", arXiv: "2407.11239"),
            composition: ["singular values, 0...1 in each matrix", "one threshold over all matrices"])
    }
    public var requirement: ScoreRequirement { .none }
    public var sharesOutSparsity: Bool { true }

    /// The singular values that decide, of one matrix.
    private struct Spectrum {
        let name: String
        let rows: Int
        let columns: Int
        /// 0...1, descending.
        let normalized: [Double]

        func rank(_ threshold: Double) -> Int { normalized.prefix { $0 >= threshold }.count }

        /// Numbers stored at a rank.
        func size(_ rank: Int) -> Int { min(rank * (rows + columns), rows * columns) }
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without a sparsity in 0..<1, or for one that no threshold meets.
    /// - Complexity: A singular value decomposition for every matrix.
    public func prepared(
        for layers: [SparsityBudget.Layer], sparsity: Double?, weight: (String) throws -> Tensor<Float>
    ) throws -> any MatrixCompression {
        try shared(among: layers, sparsity: sparsity, weight: weight)
    }

    /// As ``prepared(for:sparsity:weight:)``.
    public func shared(
        among layers: [SparsityBudget.Layer], sparsity: Double?, weight: (String) throws -> Tensor<Float>
    ) throws -> WeLore {
        guard let sparsity, sparsity >= 0, sparsity < 1 else {
            throw LacunaError.invalidArgument("sparsity", reason: "must be at least 0 and below 1 for \(card.name)")
        }
        let spectra = try layers.map { layer in
            let matrix = try weight(layer.name)
            return Spectrum(
                name: layer.name, rows: matrix.rows, columns: matrix.columns,
                normalized: Self.normalized(try matrix.svd().s.map(Double.init)))
        }
        func kept(_ threshold: Double) -> Int {
            spectra.reduce(0) { $0 + (target == .ranks ? $1.rank(threshold) : $1.size($1.rank(threshold))) }
        }
        let all = spectra.reduce(0) { $0 + (target == .ranks ? $1.normalized.count : $1.rows * $1.columns) }
        let limit = (1 - sparsity) * Double(all) + 1e-9
        var result = self
        // Every value that occurs is a threshold; 0 keeps everything.
        let thresholds = Set(spectra.flatMap(\.normalized) + [0]).sorted()
        var (low, high) = (0, thresholds.count)
        while low < high {
            let middle = (low + high) / 2
            if Double(kept(thresholds[middle])) <= limit { high = middle } else { low = middle + 1 }
        }
        guard low < thresholds.count else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) leaves a matrix without any rank")
        }
        result.threshold = thresholds[low]
        for spectrum in spectra { result.ranks[spectrum.name] = spectrum.rank(thresholds[low]) }
        return result
    }

    /// `(σ - min) / (max - min)`; all 1 where the values do not differ.
    static func normalized(_ values: [Double]) -> [Double] {
        guard let largest = values.max(), let smallest = values.min(), largest > smallest else {
            return values.map { _ in 1 }
        }
        return values.map { ($0 - smallest) / (largest - smallest) }
    }

    public func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix {
        guard let rank = ranks[request.name] else {
            throw LacunaError.invalidArgument("layer", reason: "\(card.name) was not prepared for '\(request.name)'")
        }
        if rank * (weight.rows + weight.columns) >= weight.count {
            return try WeightStore.make(weight, layout: .dense, values: request.values)
        }
        return try LowRank(isWhitened: false).factored(weight, rank: rank, statistics: nil, values: request.values)
    }
}
