import LacunaTensor

extension Tape {
    /// Computes `body` without keeping what it computed on the way, and once more in the backward pass: memory for time.
    ///
    /// A network of L blocks, each inside one of these, keeps L results and the inner values of one block instead of
    /// those of all, for about a third more work in a step. Results are the same to the last bit: random numbers are
    /// drawn again from the same place.
    ///
    /// Tianqi Chen, Bing Xu, Chiyuan Zhang, Carlos Guestrin, "Training Deep Nets with Sublinear Memory Cost",
    /// arXiv 1604.06174.
    ///
    /// ```swift
    /// for block in blocks { hidden = tape.recomputing { [hidden] in block(hidden) } }
    /// ```
    ///
    /// - Parameter body: A function of variables and parameters alone: it is called twice and must compute the same. What
    ///   remembers something about a batch asks ``isRecomputing`` whether it already has.
    public func recomputing(_ body: @escaping () -> Variable<Scalar>) -> Variable<Scalar> {
        if !isRecording { return body() }
        let (start, mark) = (generator, count)
        let result = body()
        require(result.tape === self, "a variable of another tape")
        // A result that was there before is nobody's to compute again.
        if !result.needsGradient || count == mark { return result }
        forgetOperations(from: mark)
        return recomputed(result, from: start, body)
    }

    /// A number computed from `x`, such as the loss of some rows: its gradient is computed at once, of which `x`'s alone is kept, so
    /// that nothing `body` computed on the way outlives the call and nothing is computed again.
    ///
    /// Gradients of parameters cannot be computed at once, since they take the factor that the number gets later. If `body` reads
    /// parameters that are trained, or other variables that need a gradient, this is ``recomputing(_:)``.
    ///
    /// - Parameter body: As for ``recomputing(_:)``, with a single number as its result.
    public func reducing(
        _ x: Variable<Scalar>, _ body: @escaping (Variable<Scalar>) -> Variable<Scalar>
    ) -> Variable<Scalar> {
        if !isRecording || !x.needsGradient { return recomputing { body(x) } }
        let (start, mark, before, first) = (generator, count, leafCount, nextSerial())
        let own = Variable(shape: x.shape, tape: self, storage: x.storage, needsGradient: true)
        let result = body(own)
        require(result.tape === self && result.count == 1, "a body that gives shape \(result.shape), not a number")
        if leafCount > before {
            forgetOperations(from: mark)
            return recomputed(result, from: start) { body(x) }
        }
        if !result.needsGradient { return result }
        let outer = (reducedFrom, reachesOutside)
        (reducedFrom, reachesOutside) = (first, false)
        result.accumulate { gradient, _ in gradient[0] = 1 }
        runBackwards(to: mark)
        let isAlone = !reachesOutside
        (reducedFrom, reachesOutside) = outer
        if !isAlone { return recomputed(result, from: start) { body(x) } }
        let y = Variable(shape: result.shape, tape: self, storage: result.storage, needsGradient: true)
        guard let gradient = own.takeGradient() else { return y.detached() }
        record(y) { dy in
            x.accumulate { dx, add in
                spread(gradient.count) {
                    Scalar.kernels.pointee.affine(Double(dy[0]), gradient.pointer + $0, 0, dx + $0, $1, add)
                }
            }
        }
        return y
    }

    /// The result of a body whose operations were forgotten, with what computes it again in the backward pass.
    private func recomputed(
        _ result: Variable<Scalar>, from start: SeededGenerator, _ body: @escaping () -> Variable<Scalar>
    ) -> Variable<Scalar> {
        let training = isTraining
        let y = Variable(shape: result.shape, tape: self, storage: result.storage, needsGradient: true)
        record(y) { [self, unowned y] dy in
            let now = (generator, isTraining, isRecomputing)
            (generator, isTraining, isRecomputing) = (start, training, true)
            defer { (generator, isTraining, isRecomputing) = now }
            let mark = count
            recording(true) {
                let again = body()
                require(again.shape == y.shape, "recomputing gave another shape")
                again.addToGradient(dy, times: 1)
                runBackwards(to: mark)
            }
        }
        return y
    }
}
