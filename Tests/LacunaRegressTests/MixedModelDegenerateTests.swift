import LacunaRegress
import LacunaTensor
import Testing

/// Mixed models of tables at the edge of sense: a correct answer or a typed error, never a hang.
@Suite(.timeLimit(.minutes(10))) struct MixedModelDegenerateTests {
    private static let tails: [Tail] = [.gaussian, (try? Tail(q: 1.5)) ?? .gaussian, (try? Tail(q: 2.5)) ?? .gaussian]

    private func refused(_ word: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void) {
        do {
            try body()
            Issue.record("no error", sourceLocation: sourceLocation)
        } catch let error as LacunaError {
            #expect(error.description.contains(word), "\(error)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("\(error)", sourceLocation: sourceLocation)
        }
    }

    @Test func oneGroupOrOneRow() throws {
        let design = correlatedDesign(rows: 20, columns: 4)
        let y = target(design, nonzeros: 2, noise: 0.5)
        for tail in Self.tails {
            let model = SparseMixedModel(tail: tail)
            // A random intercept beside an intercept: there is nothing for it to do.
            let one = try model.fit(design, y, groups: RowGroups([Int](repeating: 7, count: 20)), L1(0.05))
            #expect(one.solution.converged && one.scale.ratio == 0 && one.groups.count == 1, "\(tail)")
            #expect(one.randomIntercepts == [0])
            refused("does not vary") {
                _ = try model.fit(DenseDesign(columnMajor: [1, 2], rows: 1), [3], L1(0.1))
            }
            // Without an intercept one number has a scale.
            var bare = model
            bare.hasIntercept = false
            let single = try bare.fit(DenseDesign(columnMajor: [1, 2], rows: 1), [3], L1(100))
            #expect(single.solution.support.isEmpty && abs(single.scale.residual - 9) < 1e-6)
            let pair = try model.fit(DenseDesign(columnMajor: [1, 2], rows: 2), [3, 5], L1(100))
            #expect(pair.solution.support.isEmpty && abs(pair.solution.intercept - 4) < 1e-6)
        }
    }

    @Test func constantAndDuplicateColumns() throws {
        var generator = SeededGenerator(seed: 6)
        let a = (0..<30).map { _ in generator.normal() }
        let values = a + a + [Double](repeating: 1e6, count: 30) + [Double](repeating: 0, count: 30)
        let design = DenseDesign(columnMajor: values, rows: 30)
        let y = a.map { 3 + 2 * $0 + 0.3 * generator.normal() }
        let groups = RowGroups((0..<30).map { $0 / 3 })
        for tail in Self.tails {
            for strength in [0.02, 0] {
                let fit = try SparseMixedModel(tail: tail).fit(design, y, groups: groups, L1(strength))
                let found = fit.solution.coefficients
                #expect(fit.solution.converged && found[2] == 0 && found[3] == 0, "\(tail) \(strength)")
                #expect(abs(found[0] + found[1] - 2) < 0.4)
            }
        }
        // A column that is constant within groups is one like any other.
        let between = DenseDesign(columnMajor: (0..<30).map { Double($0 / 3) }, rows: 30)
        let level = (0..<30).map { 0.5 * Double($0 / 3) + 0.2 * generator.normal() }
        let fit = try SparseMixedModel().fit(between, level, groups: groups, L1(0))
        #expect(abs(fit.solution.coefficients[0] - 0.5) < 0.1)
    }

    @Test func numbersThatAreNone() throws {
        let good = DenseDesign(columnMajor: [1, 2, 3, 4], rows: 4)
        let model = SparseMixedModel()
        for bad in [Double.nan, .infinity] {
            refused("row 2") {
                _ = try model.fit(DenseDesign(columnMajor: [1, bad, 3, 4], rows: 4), [1, 2, 3, 5], L1(0.1))
            }
            refused("target") { _ = try model.fit(good, [1, 2, bad, 5], L1(0.1)) }
        }
        refused("too large") { _ = try model.fit(good, [1, 2, 1e200, 5], L1(0.1)) }
        refused("rows") { _ = try model.fit(good, [1, 2, 3], L1(0.1)) }
        refused("groups 3") { _ = try model.fit(good, [1, 2, 3, 5], groups: RowGroups([1, 1, 2]), L1(0.1)) }
        refused("no rows") { _ = try model.fit(DenseDesign(columnMajor: [], rows: 0), [], L1(0.1)) }
    }

    @Test func nothingVaries() throws {
        let design = correlatedDesign(rows: 12, columns: 3)
        let groups = RowGroups((0..<12).map { $0 / 3 })
        for tail in Self.tails {
            let model = SparseMixedModel(tail: tail)
            refused("does not vary") { _ = try model.fit(design, [Double](repeating: 4, count: 12), L1(0.1)) }
            // Rows of a group equal each other: all variance is between groups.
            refused("no bound") {
                let levels = (0..<12).map { Double(($0 / 3) * ($0 / 3)) }
                _ = try model.fit(design, levels, groups: groups, L1(0.1))
            }
            // A perfect fit.
            var exact = [Double](repeating: 1, count: 12)
            design.add(2, column: 0, to: &exact)
            refused("no bound") { _ = try model.fit(design, exact, L1(0)) }
            refused("no bound") { _ = try model.fit(design, exact, groups: groups, L1(0)) }
            // With a penalty, there is something left.
            let fit = try model.fit(design, exact, groups: groups, L1(0.1))
            #expect(fit.solution.converged && fit.solution.support == [0])
        }
        // Most of the target is one number: a scale of 0 for tails this heavy, not for lighter ones.
        var mostly = [Double](repeating: 1, count: 12)
        mostly[3] = 2
        mostly[7] = -1
        refused("most of the target") { _ = try SparseMixedModel(tail: try Tail(q: 2)).fit(design, mostly, L1(0.1)) }
        #expect(try SparseMixedModel().fit(design, mostly, L1(0.1)).solution.converged)
    }

    @Test func farMoreColumnsThanRows() throws {
        let design = correlatedDesign(rows: 24, columns: 600)
        let y = target(design, nonzeros: 3, noise: 0.3)
        let groups = RowGroups((0..<24).map { $0 % 6 })
        for tail in Self.tails {
            let model = SparseMixedModel(tail: tail)
            let path = try model.path(design, y, groups: groups, L1(1))
            #expect(!path.fits.isEmpty && path.fits.count <= 100 && (path.fits.count == 100) == (path.ending == nil))
            #expect(path.fits.allSatisfy { $0.scale.residual > 0 && $0.logLikelihood.isFinite })
            refused("no bound") { _ = try model.fit(design, y, groups: groups, L1(0)) }
        }
    }

    @Test func noColumns() throws {
        let none = SparseDesign(SparseMatrix(zeros: 6, 0))
        let groups = RowGroups(["a", "a", "b", "b", "c", "c"])
        let fit = try SparseMixedModel().fit(none, [1, 2, 4, 5, 1, 3], groups: groups, L1(0.1))
        #expect(fit.solution.converged && fit.solution.coefficients.isEmpty)
        // Balanced groups: the mean, and variances in closed form. Within: (0.5 + 0.5 + 2)/3 = 1; between, with the
        // divisor 3 of maximum likelihood: ((1.5 - 8/3)² + (4.5 - 8/3)² + (2 - 8/3)²)/3 = s²t + s²/2.
        #expect(abs(fit.solution.intercept - 16.0 / 6) < 1e-9)
        let between = (7.0 / 6 * 7 / 6 + 11.0 / 6 * 11 / 6 + 4.0 / 9) / 3
        #expect(abs(fit.scale.residual - 1) < 1e-9 && abs(fit.scale.intercepts - (between - 0.5)) < 1e-9)
        #expect(throws: LacunaError.self) { try SparseMixedModel().path(none, [1, 2, 4, 5, 1, 3], L1(1)) }
    }

    @Test func aBoundOnRoundsIsKeptAndTold() throws {
        let design = correlatedDesign(rows: 40, columns: 10)
        var y = target(design, nonzeros: 4, noise: 0.5)
        y[3] += 30
        let model = SparseMixedModel(tail: try Tail(q: 2), tolerance: 1e-12, maximumRounds: 2)
        let fit = try model.fit(design, y, L1(0.05))
        #expect(fit.rounds.count == 2 && !fit.solution.converged && fit.solution.certificate.relative > 1e-12)
    }

    @Test func scalesOfTheTargetDoNotMatter() throws {
        let design = correlatedDesign(rows: 40, columns: 6)
        let y = target(design, nonzeros: 2, noise: 0.5)
        let groups = RowGroups((0..<40).map { $0 % 8 })
        for tail in Self.tails {
            let model = SparseMixedModel(tail: tail, tolerance: 1e-9)
            let plain = try model.fit(design, y, groups: groups, L1(0.1))
            for factor in [1e-9, 1e9] {
                let scaled = try model.fit(design, y.map { $0 * factor }, groups: groups, L1(0.1 * factor))
                #expect(scaled.solution.converged)
                let back = scaled.solution.coefficients.map { $0 / factor }
                #expect(largestDifference(back, plain.solution.coefficients) < 1e-6, "\(tail) \(factor)")
                #expect(abs(scaled.scale.ratio - plain.scale.ratio) < 1e-6)
            }
        }
    }
}
