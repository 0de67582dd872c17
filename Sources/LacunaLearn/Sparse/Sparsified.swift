import LacunaSparse
import LacunaTensor

/// In what form a sparse layer is trained.
public enum SparseStorage: Sendable, Hashable {
    /// Every entry stored, a mask keeps the removed ones at 0.
    case masked
    case csr
    /// One bit an entry: N:M patterns.
    case bitmask
    /// Blocks that divide the matrix.
    case blocks(rows: Int, columns: Int)

    /// Reads `masked`, `csr`, `bitmask` and `bsrRxC`, such as `bsr32x32`.
    ///
    /// - Throws: `LacunaError.invalidArgument` for anything else.
    public init(_ text: String) throws {
        switch text {
        case "masked": self = .masked
        case "csr": self = .csr
        case "bitmask": self = .bitmask
        default:
            let sides = text.dropFirst(3).split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
            guard text.hasPrefix("bsr"), sides.count == 2, let rows = sides[0], let columns = sides[1], rows > 0,
                columns > 0
            else {
                throw LacunaError.invalidArgument(
                    "storage", reason: "'\(text)' is none of masked, csr, bitmask, bsrRxC")
            }
            self = .blocks(rows: rows, columns: columns)
        }
    }
}

extension Linear {
    /// Keeps only the weights in `mask`, in the given storage. Optimiser state starts anew.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a mask of another shape or one that the storage cannot hold.
    public func sparsify(_ storage: SparseStorage, mask: Mask) throws {
        guard mask.rows == outputDimensions, mask.columns == inputDimensions else {
            throw LacunaError.invalidArgument(
                "mask", reason: "\(mask.rows)x\(mask.columns) for a layer of \(outputDimensions)x\(inputDimensions)")
        }
        let dense = weight.densified()
        switch storage {
        case .masked:
            let masked = DenseWeight(dense)
            masked.mask = mask
            weight = masked
        case .csr: weight = CSRWeight(dense, mask: mask)
        case .bitmask: weight = BitmaskWeight(dense, mask: mask)
        case .blocks(let rows, let columns):
            weight = try BlockWeight(dense, mask: mask, blockRows: rows, blockColumns: columns)
        }
    }

    /// The same layer with other storage; this one stays as it is. See ``sparsify(_:mask:)``.
    public func sparsified(_ storage: SparseStorage, mask: Mask) throws -> Linear {
        let copy = Linear(weight: DenseWeight(weight.densified()), bias: bias?.value)
        try copy.sparsify(storage, mask: mask)
        return copy
    }
}

extension Module {
    /// Changes the storage of the linear layers for which `masks` has an entry, by path.
    ///
    /// - Throws: As ``Linear/sparsify(_:mask:)``, and for names that are no layer's.
    public func sparsify(_ storage: SparseStorage, masks: [String: Mask]) throws {
        let layers = Dictionary(uniqueKeysWithValues: linears.map { ($0.name, $0.layer) })
        for (name, mask) in masks {
            guard let layer = layers[name] else {
                throw LacunaError.invalidArgument("masks", reason: "there is no linear layer '\(name)'")
            }
            try layer.sparsify(storage, mask: mask)
        }
    }
}

extension Module {
    /// Turns masks into storage: linear layers with a masked dense weight keep only what the mask keeps, as compressed
    /// rows where that is less than a quarter of the entries, by a bit an entry where it is more. Nothing that is computed
    /// changes; optimiser state starts anew. A weight with a view has no mask of its own and stays.
    ///
    /// - Returns: The paths of the layers that changed.
    @discardableResult
    public func compress() -> [String] {
        var changed: [String] = []
        for (name, layer) in linears {
            guard let dense = layer.dense, dense.view == nil, let mask = dense.mask else { continue }
            let isSparse = 4 * mask.keptCount < mask.rows * mask.columns
            layer.weight =
                isSparse
                ? CSRWeight(dense.parameter.value, mask: mask) : BitmaskWeight(dense.parameter.value, mask: mask)
            changed.append(name)
        }
        return changed
    }
}
