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
        let (start, training, mark) = (generator, isTraining, count)
        let result = body()
        require(result.tape === self, "a variable of another tape")
        // A result that was there before is nobody's to compute again.
        if !result.needsGradient || count == mark { return result }
        forgetOperations(from: mark)
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
