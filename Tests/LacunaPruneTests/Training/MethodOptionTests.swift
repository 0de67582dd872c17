import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// What the options of a configuration become in its method, and what methods are without any.
@Suite struct MethodOptionTests {
    private struct Options: MethodOptions {
        var numbers: [String: Double] = [:]
        var integers: [String: Int] = [:]
        var texts: [String: String] = [:]
        var truths: [String: Bool] = [:]
        let seed: UInt64 = 5
        func number(_ name: String) -> Double? { numbers[name] }
        func integer(_ name: String) -> Int? { integers[name] }
        func text(_ name: String) -> String? { texts[name] }
        func truth(_ name: String) -> Bool? { truths[name] }
    }

    /// A method as a type; the sparsity is 0.8 unless it is given.
    private func make<Method>(_ name: String, _ options: Options = Options(), as type: Method.Type) throws -> Method {
        var options = options
        if options.numbers["sparsity"] == nil { options.numbers["sparsity"] = 0.8 }
        return try #require(try TrainingMethods.make(name, options: options) as? Method)
    }

    private let head = LayerChoice.matching([NamePattern("head*")])

    /// Words, or patterns; a name without wildcards stands for all paths that begin with it.
    @Test func layersByName() {
        #expect(LayerChoice("all") == .all && LayerChoice("all-but-output") == .allButOutput)
        #expect(LayerChoice("head") == head)
        let several = [NamePattern("*.up"), NamePattern("layers.?"), NamePattern("head*")]
        #expect(LayerChoice("*.up, layers.?,head") == .matching(several))
    }

    @Test func fixedMasks() throws {
        let usual = try make("static", as: StaticRandomSparsity.self)
        #expect(usual.budget as? ErdosRenyiBudget == ErdosRenyiBudget(0.8) && usual.layers == .all)
        #expect(usual.storage == .csr && usual.rescalesWeights && usual.ratios == nil)
        let own = Options(
            texts: ["budget": "erk+", "storage": "masked", "layers": "head"], truths: ["rescale": false])
        let said = try make("static", own, as: StaticRandomSparsity.self)
        #expect(said.budget as? ErdosRenyiBudget == ErdosRenyiBudget(0.8, lastDensity: 1) && said.layers == head)
        #expect(said.storage == .masked && !said.rescalesWeights)
        let even = try make("static", Options(texts: ["budget": "uniform"]), as: StaticRandomSparsity.self)
        #expect(even.budget as? UniformBudget == UniformBudget(0.8))
        let dense = try make("static", Options(texts: ["budget": "uniform+"]), as: StaticRandomSparsity.self)
        #expect(dense.budget as? UniformPlusBudget == UniformPlusBudget(0.8))
        let ratios = try make("static", Options(texts: ["budget": "snip"]), as: StaticRandomSparsity.self)
        #expect(ratios.ratios == .snip && ratios.budget.sparsity == 0.8)
        #expect(throws: LacunaError.self) {
            try make("static", Options(texts: ["budget": "most"]), as: StaticRandomSparsity.self)
        }
    }

    @Test func oneShot() throws {
        let usual = try make("prune", as: OneShotPruning.self)
        #expect(usual.budget as? UniformBudget == UniformBudget(0.8) && usual.layers == .allButOutput)
        #expect(usual.pattern == .unstructured(.layer) && usual.storage == .masked)
        let global = try make("prune", Options(texts: ["budget": "global"]), as: OneShotPruning.self)
        #expect(global.budget as? GlobalBudget == GlobalBudget(0.8))
        let kernels = try make("prune", Options(texts: ["budget": "erk"]), as: OneShotPruning.self)
        #expect(kernels.budget as? ErdosRenyiBudget == ErdosRenyiBudget(0.8))
        let groups = try make("prune", Options(texts: ["pattern": "1:4"]), as: OneShotPruning.self)
        #expect(groups.budget == nil && groups.pattern == .nm(n: 1, m: 4))
    }

    @Test func movingMasks() throws {
        let random = try make("set", as: DropAndGrow.self).settings
        let usual = try make("rigl", as: DropAndGrow.self).settings
        #expect(random.growth == .random && usual.growth == .gradient)
        #expect(usual.interval == 100 && usual.fraction == 0.3 && usual.end == 0.75 && usual.leastFraction == 0)
        #expect(usual.drop == .magnitude && usual.start == .random && usual.isAnnealed && usual.rescalesWeights)
        #expect(usual.growthDeviation == 0 && usual.storage == .csr && usual.layers == .all)
        let own = Options(
            numbers: ["fraction": 0.1, "end": 0.5], integers: ["interval": 7], texts: ["storage": "masked"])
        let said = try make("rigl", own, as: DropAndGrow.self).settings
        #expect(said.interval == 7 && said.fraction == 0.1 && said.end == 0.5 && said.storage == .masked)
        let growing = try make("granet", as: NeuroRegeneration.self)
        #expect(growing.sparsity == 0.8 && growing.window == 0.1...0.8 && growing.regeneration == 0.5)
        #expect(growing.interval == 20 && growing.layers == .allButOutput)
        let late = Options(numbers: ["start": 0.3, "end": 0.6, "regeneration": 0.2], integers: ["interval": 3])
        let other = try make("granet", late, as: NeuroRegeneration.self)
        #expect(other.window == 0.3...0.6 && other.regeneration == 0.2 && other.interval == 3)
        #expect(throws: LacunaError.self) {
            try make("granet", Options(numbers: ["start": 0.9]), as: NeuroRegeneration.self)
        }
    }

    @Test func patterns() throws {
        let through = try make("sr-ste", as: SRSTE.self)
        #expect(through.pattern == .nm(n: 2, m: 4) && through.decay == 2e-4 && !through.isDecoupled)
        #expect(through.layers == .allButOutput)
        let pull = Options(numbers: ["decay": 0.5], texts: ["pattern": "1:8"], truths: ["decoupled": true])
        let apart = try make("sr-ste", pull, as: SRSTE.self)
        #expect(apart.pattern == .nm(n: 1, m: 8) && apart.decay == 0.5 && apart.isDecoupled)
        let cast = try make("cast", as: CAST.self)
        #expect(cast.pattern == .nm(n: 2, m: 4) && cast.lambda == 1e-3 && cast.interval == 10 && cast.scales == 2)
        let strong = Options(
            numbers: ["decay": 0.5], integers: ["interval": 3, "scales": 4], texts: ["layers": "head"])
        let other = try make("cast", strong, as: CAST.self)
        #expect(other.lambda == 0.5 && other.interval == 3 && other.layers == head && other.scales == 4)
        let directions = try make("bdwp", as: BDWP.self)
        #expect(directions.n == 2 && directions.m == 4 && directions.decay == 0)
        #expect(try make("bdwp", Options(numbers: ["decay": 2e-4]), as: BDWP.self).decay == 2e-4)
        let low = try make("sltrain", as: SLTrain.self)
        #expect(low.product == .factored && low.rank == 16 && low.density == 0.03)
        #expect(
            try make("sltrain", Options(texts: ["product": "materialized"]), as: SLTrain.self).product == .materialized)
        let flow = try make("pgf", as: ProgressiveGradientFlow.self)
        #expect(flow.n == 2 && flow.m == 4 && flow.flow == .exponential(6))
        #expect(flow.dense == 0 && flow.fineTune == 0 && !flow.appliesChainRule)
        let parts = Options(numbers: ["dense": 0.2, "fine_tune": 0.3], truths: ["chain_rule": true])
        let phased = try make("pgf", parts, as: ProgressiveGradientFlow.self)
        #expect(phased.dense == 0.2 && phased.fineTune == 0.3 && phased.appliesChainRule)
        let straight = Options(numbers: ["rate": 3], texts: ["flow": "linear", "pattern": "1:4"])
        let linear = try make("pgf", straight, as: ProgressiveGradientFlow.self)
        #expect(linear.n == 1 && linear.m == 4 && linear.flow == .linear(3))
        #expect(throws: LacunaError.self) {
            try make("pgf", Options(texts: ["pattern": "2:4:output"]), as: ProgressiveGradientFlow.self)
        }
    }

    @Test func ramps() throws {
        let gradual = try make("gradual", as: GradualPruning.self)
        #expect(gradual.sparsity == 0.8 && gradual.window == 0.25...0.75 && gradual.layers == .allButOutput)
        let early = try make("gradual", Options(numbers: ["start": 0, "end": 0.5]), as: GradualPruning.self)
        #expect(early.window == 0...0.5 && early.interval == 20 && early.ramp == .cubic)
        let straight = Options(integers: ["interval": 3], texts: ["ramp": "linear", "measure": "compute"])
        let linear = try make("gradual", straight, as: GradualPruning.self)
        #expect(linear.ramp == .linear && linear.interval == 3 && linear.window.lowerBound < 0.25)
        #expect(throws: LacunaError.self) {
            try make("gradual", Options(numbers: ["end": 0.2]), as: GradualPruning.self)
        }
        let envelope = try make("wgsef", as: EnvelopeRegularization.self)
        #expect(envelope.keep == 0.5 && envelope.lambda == 0.1 && envelope.fineTune == 0.25)
        let weak = Options(numbers: ["keep": 0.3, "lambda": 0.01, "fine_tune": 0.5])
        let other = try make("wgsef", weak, as: EnvelopeRegularization.self)
        #expect(other.keep == 0.3 && other.lambda == 0.01 && other.fineTune == 0.5)
        #expect(envelope.scope == .layer && envelope.penalty == .envelope)
        let together = Options(texts: ["scope": "weights", "penalty": "lasso"])
        let rival = try make("wgsef", together, as: EnvelopeRegularization.self)
        #expect(rival.scope == .weights && rival.penalty == .lasso)
    }

    @Test func rounds() throws {
        let index = try make("pq-index", as: AdaptivePruning.self)
        #expect(index.index == (try PQIndex(p: 1, q: 2)) && index.rounds == 5 && index.eta == 0 && index.gamma == 1)
        #expect(index.limit == 0.9 && index.rewinds && index.scope == .global && index.looks == 0)
        let own = Options(
            numbers: ["p": 0.5, "q": 1, "eta": 0.1, "gamma": 2, "limit": 0.4], integers: ["rounds": 3, "looks": 2],
            texts: ["scope": "layer"], truths: ["rewind": false])
        let said = try make("pq-index", own, as: AdaptivePruning.self)
        #expect(said.index == (try PQIndex(p: 0.5, q: 1)) && said.rounds == 3 && said.eta == 0.1 && said.gamma == 2)
        #expect(said.limit == 0.4 && !said.rewinds && said.scope == .layer && said.looks == 2)
        let soup = try make("soup", as: SoupPruning.self)
        #expect(soup.sparsity == 0.8 && soup.rounds == 3 && soup.copies == 3 && !soup.isGreedy && soup.recalibrates)
        let greedy = Options(integers: ["rounds": 2, "copies": 5], truths: ["greedy": true, "recalibrate": false])
        let other = try make("soup", greedy, as: SoupPruning.self)
        #expect(other.rounds == 2 && other.copies == 5 && other.isGreedy && !other.recalibrates)
        let low = try make("sltrain", as: SLTrain.self)
        #expect(low.rank == 16 && low.density == 0.03 && low.layers == .allButOutput)
        let high = Options(numbers: ["alpha": 8, "density": 0.1], integers: ["rank": 4])
        let lower = try make("sltrain", high, as: SLTrain.self)
        #expect(lower.rank == 4 && lower.alpha == 8 && lower.density == 0.1)
    }

    @Test func whatIsMissing() {
        for name in ["static", "prune", "set", "rigl", "gradual", "granet", "soup", "sparse-ift"] {
            #expect(throws: LacunaError.self, "\(name)") { try TrainingMethods.make(name, options: Options()) }
        }
        #expect(throws: LacunaError.self) { try TrainingMethods.make("none", options: Options()) }
        for sparsity in [-0.1, 1.1] {
            let options = Options(numbers: ["sparsity": sparsity])
            #expect(throws: LacunaError.self) { try TrainingMethods.make("static", options: options) }
        }
    }

    @Test func transformations() throws {
        let wide = try make("sparse-ift", as: IsoFLOPTraining.self)
        #expect(wide.transformation.sparsity == 0.8)
        for variant in IsoFLOPLayers.Variant.allCases {
            let method = try make("sparse-ift", Options(texts: ["variant": variant.rawValue]), as: IsoFLOPLayers.self)
            #expect(method.variant == variant && method.isLinear == (variant == .doped))
        }
        #expect(throws: LacunaError.self) {
            try make("sparse-ift", Options(texts: ["variant": "deep"]), as: IsoFLOPLayers.self)
        }
    }

    /// What of its paper a method has, everybody can read.
    @Test func everyMethodSaysWhatItHas() {
        let cards = TrainingMethods.cards + TrainingMethods.libraryCards
        #expect(cards.count > 30)
        for card in cards {
            #expect(!card.implements.isEmpty, "\(card.name)")
            #expect((card.implements + card.leavesOut).allSatisfy { !$0.isEmpty }, "\(card.name)")
        }
    }
}
