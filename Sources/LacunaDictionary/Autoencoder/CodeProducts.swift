import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The two products of a dictionary, by the entries of its code alone, in both directions.
///
/// With `n` active features among all tokens and `d` dimensions, each product and each of its gradients takes `2 n d`
/// operations: time follows what is active, not how wide the dictionary is. All are the products of ``SparseMatrix``
/// with the code [tokens, features] as the matrix and the dimensions as the batch.
extension Variable {
    /// The pre-activations `(x - c) Wᵀ + b` of `self` [tokens, d] at the entries of a pattern [tokens, features] and
    /// nowhere else, [pattern.count].
    ///
    /// - Parameters:
    ///   - center: `c` [d]; nil for 0.
    ///   - weight: `W` [features, d].
    ///   - bias: `b` [features]; nil for 0.
    ///   - known: The result, if selection has computed it.
    public func sampledLinear(
        center: Variable? = nil, _ weight: Variable, bias: Variable? = nil, at pattern: SparsePattern,
        known: [Scalar]? = nil
    ) -> Variable {
        let (tokens, d, features) = (rows, columns, weight.rows)
        require(
            weight.columns == d && pattern.rows == tokens && pattern.columns == features
                && center?.count ?? d == d && bias?.count ?? features == features
                && known?.count ?? pattern.count == pattern.count, "parts of different shapes")
        let centered = Self.centered(self, center)
        let inputs = [self, weight] + [center, bias].compactMap(\.self)
        let (centerPlace, biasPlace) = (center == nil ? nil : 2, bias == nil ? nil : center == nil ? 2 : 3)
        return tape.operation(inputs: inputs, shape: [pattern.count]) { read, output in
            guard let target = output.baseAddress else { return }
            if let known {
                known.withUnsafeBufferPointer { target.update(from: $0.baseAddress!, count: known.count) }
                return
            }
            let w = Panels<Scalar>(columns: read[1].baseAddress!, features: features, batch: d)
            SparseMatrix<Scalar>(pattern).accumulateGradient(output: centered(), input: w, into: target)
            if let biasPlace {
                let b = read[biasPlace]
                pattern.withCompressedRows { _, columns in
                    for i in output.indices { target[i] += b[Int(columns[i])] }
                }
            }
        } backward: { pass in
            if pattern.count == 0 { return }
            let code = SparseMatrix(pattern, buffer: Buffer(copying: pass.gradient.baseAddress!, count: pattern.count))
            pass.accumulate(1) { dw in
                let sums = Panels<Scalar>(zeros: d, features: features)
                code.multiplyTransposed(centered(), into: sums)
                sums.store(intoColumns: dw.baseAddress!, leading: d, beta: 1)
            }
            pass.accumulate(0) { dx in
                let w = Panels<Scalar>(columns: pass.inputs[1].baseAddress!, features: features, batch: d)
                let sums = Panels<Scalar>(zeros: d, features: tokens)
                code.multiply(w, into: sums)
                sums.store(intoColumns: dx.baseAddress!, leading: d, beta: 1)
            }
            if centerPlace == nil && biasPlace == nil { return }
            let totals = code.columnSums()
            if let biasPlace { pass.accumulate(biasPlace) { db in for j in db.indices { db[j] += totals[j] } } }
            if let centerPlace {
                pass.accumulate(centerPlace) { dc in
                    LinearAlgebra.gemm(
                        m: 1, n: d, k: features, alpha: -1, totals, leadingA: features,
                        pass.inputs[1].baseAddress!, leadingB: d, beta: 1, into: dc.baseAddress!, leadingC: d)
                }
            }
        }
    }

    /// Makes the panels of `x - c` when they are needed.
    private static func centered(_ x: Variable, _ center: Variable?) -> () -> Panels<Scalar> {
        {
            let (tokens, d) = (x.rows, x.columns)
            return x.withPointer { x in
                guard let center else { return Panels(columns: x, features: tokens, batch: d) }
                let difference = Buffer<Scalar>(uninitialized: tokens * d)
                center.withPointer { c in
                    let negative = Buffer<Scalar>(uninitialized: d)
                    for i in 0..<d { negative.pointer[i] = -c[i] }
                    Scalar.kernels.pointee.add_row(x, negative.pointer, difference.pointer, tokens, d, 0)
                }
                return withExtendedLifetime(difference) {
                    Panels(columns: difference.pointer, features: tokens, batch: d)
                }
            }
        }
    }

    /// What a code stands for: `F W + b` [tokens, d] of the code `F` [tokens, features] that has the values `self`
    /// [pattern.count] at the entries of a pattern. Only the rows of `W` that the code names are read.
    ///
    /// - Parameters:
    ///   - weight: `W` [features, d], a direction a row.
    ///   - bias: `b` [d]; nil for 0.
    public func decoded(_ weight: Variable, bias: Variable? = nil, at pattern: SparsePattern) -> Variable {
        let (tokens, d, features) = (pattern.rows, weight.columns, weight.rows)
        require(
            count == pattern.count && pattern.columns == features && bias?.count ?? d == d, "parts of different shapes")
        let inputs = [self, weight] + (bias.map { [$0] } ?? [])
        return tape.operation(inputs: inputs, shape: [tokens, d]) { read, output in
            guard let target = output.baseAddress else { return }
            if read.count > 2 {
                for t in 0..<tokens { (target + t * d).update(from: read[2].baseAddress!, count: d) }
            } else {
                target.update(repeating: 0, count: tokens * d)
            }
            if pattern.count == 0 { return }
            let code = SparseMatrix(pattern, buffer: Buffer(copying: read[0].baseAddress!, count: pattern.count))
            let sums = Panels<Scalar>(zeros: d, features: tokens)
            code.multiply(Panels(columns: read[1].baseAddress!, features: features, batch: d), into: sums)
            sums.store(intoColumns: target, leading: d, beta: 1)
        } backward: { pass in
            if pass.gradient.isEmpty { return }
            let dy = Panels<Scalar>(columns: pass.gradient.baseAddress!, features: tokens, batch: d)
            if pattern.count > 0 {
                pass.accumulate(0) { dv in
                    SparseMatrix<Scalar>(pattern).accumulateGradient(
                        output: dy,
                        input: Panels(columns: pass.inputs[1].baseAddress!, features: features, batch: d),
                        into: dv.baseAddress!, adding: true)
                }
                pass.accumulate(1) { dw in
                    let code = SparseMatrix(
                        pattern, buffer: Buffer(copying: pass.inputs[0].baseAddress!, count: pattern.count))
                    let sums = Panels<Scalar>(zeros: d, features: features)
                    code.multiplyTransposed(dy, into: sums)
                    sums.store(intoColumns: dw.baseAddress!, leading: d, beta: 1)
                }
            }
            if pass.inputs.count > 2 {
                pass.accumulate(2) { db in
                    Scalar.kernels.pointee.column_sums(pass.gradient.baseAddress!, db.baseAddress!, tokens, d, 1)
                }
            }
        }
    }

    /// Entry `[column]` of `self` [features] for every entry of a pattern [tokens, features], in its order.
    public func atColumns(of pattern: SparsePattern) -> Variable {
        require(count == pattern.columns, "\(count) numbers for \(pattern.columns) columns")
        return tape.operation(inputs: [self], shape: [pattern.count]) { read, output in
            pattern.withCompressedRows { _, columns in
                for i in output.indices { output[i] = read[0][Int(columns[i])] }
            }
        } backward: { pass in
            pass.accumulate(0) { gradient in
                pattern.withCompressedRows { _, columns in
                    for i in columns.indices { gradient[Int(columns[i])] += pass.gradient[i] }
                }
            }
        }
    }

    /// The entries at ascending places of `self` [n]: [places.count].
    public func entries(_ places: [Int32]) -> Variable {
        reshaped([1, count]).taking(places, places.count).flattened()
    }
}

extension Panels {
    /// Panels of the columns of `x` [features, batch].
    convenience init(columns x: UnsafePointer<Scalar>, features: Int, batch: Int) {
        self.init(zeros: batch, features: features)
        load(columns: x, leading: batch)
    }
}
