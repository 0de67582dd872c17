import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRegress

/// Tables in, models out: the same answers as the parts give, in whatever units the table is.
@Suite struct EstimatorTests {
    private static func folder() -> String {
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        return folder + "/lacuna-estimator-\(UInt64.random(in: 0 ... .max))"
    }

    /// Writes a file, calls `body` with its path and removes it.
    @discardableResult
    private func with<Result>(_ text: String, _ name: String = "t.csv", _ body: (String) throws -> Result) throws
        -> Result
    {
        let folder = Self.folder()
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        let path = folder + "/" + name
        try AtomicFile.write(text, to: path)
        return try body(path)
    }

    private func layout(_ target: String, _ adjust: (inout TableLayout) -> Void = { _ in }) -> TableLayout {
        var layout = TableLayout(target: target)
        adjust(&layout)
        return layout
    }

    private let rows = 60
    private let design = correlatedDesign(rows: 60, columns: 6, seed: 3)
    private var numbers: [Double] { target(design, nonzeros: 3, noise: 0.5) }

    private func column(_ j: Int) -> [Double] {
        var column = [Double](repeating: 0, count: rows)
        design.add(1, column: j, to: &column)
        return column
    }

    @Test func equalsItsParts() throws {
        let table = try Table(design, target: numbers)
        let fit = try Estimator(.lasso, strength: 0.2).fit(table)
        let weights = [Double](repeating: 1 / Double(rows), count: rows)
        let scaled = design.standardized(weights: weights)
        let expected = try ProximalNewton(tolerance: 1e-10).solve(Problem(scaled, SquaredLoss(numbers), L1(0.2)))
        #expect(largestDifference(fit.solution.coefficients, expected.coefficients) < 1e-5)
        #expect(largestDifference(fit.model.coefficients[0], expected.unscaled(scaled).coefficients) < 1e-5)
        #expect(abs(fit.model.intercepts[0] - expected.intercept) < 1e-5 && fit.strength == 0.2)
        #expect(
            abs(
                fit.maximumStrength
                    - RegularizationPath.maximumStrength(try Problem(scaled, SquaredLoss(numbers), L1(1)))) < 1e-9)
        let predicted = try fit.model.predict(table)
        #expect(largestDifference(predicted, expected.predictors(scaled)) < 1e-5)
        // The elastic net of a given strength is that of its documentation.
        let elastic = try Estimator(.elasticNet(mixing: 0.3), strength: 0.5).fit(table)
        let net = try ProximalNewton(tolerance: 1e-10).solve(
            Problem(scaled, SquaredLoss(numbers), ElasticNet(0.5, mixing: 0.3)))
        #expect(largestDifference(elastic.solution.coefficients, net.coefficients) < 1e-5)
        #expect(elastic.strength == 0.5 && abs((elastic.mixing ?? 0) - 0.3) < 1e-12)
        let price = try Estimator(.l0, strength: 0.1).fit(table)
        let few = try ProximalNewton(tolerance: 1e-10).solve(Problem(scaled, SquaredLoss(numbers), L0(0.1)))
        #expect(price.solution.support == few.support && price.strength == 0.1)
        #expect(abs(price.solution.objective - few.objective) < 1e-6)
    }

    /// Ridge regression has a closed form.
    @Test func ridge() throws {
        var estimator = Estimator(.ridge, strength: 0.7)
        (estimator.standardizes, estimator.tolerance) = (false, 1e-13)
        let fit = try estimator.fit(Table(design, target: numbers))
        let means = (0..<6).map { column($0).reduce(0, +) / Double(rows) }
        let mean = numbers.reduce(0, +) / Double(rows)
        var gram = Tensor<Double>(zeros: [6, 6])
        var right = Tensor<Double>(zeros: [6, 1])
        for a in 0..<6 {
            let x = column(a).map { $0 - means[a] }
            for b in 0..<6 { gram[a, b] = zip(x, column(b)).reduce(0) { $0 + $1.0 * ($1.1 - means[b]) } / Double(rows) }
            gram[a, a] += 0.7
            right[a, 0] = zip(x, numbers).reduce(0) { $0 + $1.0 * ($1.1 - mean) } / Double(rows)
        }
        let expected = try gram.solvePositiveDefinite(right).scalars
        #expect(
            largestDifference(fit.model.coefficients[0], expected) < 1e-6, "\(fit.model.coefficients[0]) \(expected)")
    }

    /// Chosen strengths, coefficients and intercepts follow the units of columns and target.
    @Test(arguments: [1e-12, 1e-3, 1e9, 1e12]) func units(factor: Double) throws {
        let columns = (0..<6).flatMap { j in column(j).map { $0 * (j % 2 == 0 ? factor : 1 / factor) } }
        let other = DenseDesign(columnMajor: columns, rows: rows)
        let all: [Regularizer] = [
            .lasso, .elasticNet(mixing: 0.4), .ridge, .scad(shape: 3.7), .mcp(shape: 3), .l0,
            .group(.runs(of: 2, columns: 6), mixing: 0.2),
        ]
        for regularizer in all {
            for family in [Family.gaussian, .huber(delta: nil), .quantile(0.4)] {
                if family != .gaussian && regularizer != .lasso && regularizer != .elasticNet(mixing: 0.4) { continue }
                var estimator = Estimator(regularizer, family: family)
                (estimator.choice.count, estimator.tolerance) = (15, 1e-9)
                let one = try estimator.fit(Table(design, target: numbers))
                let two = try estimator.fit(Table(other, target: numbers.map { $0 * factor }))
                #expect(
                    one.chosen == two.chosen && one.solution.support == two.solution.support, "\(regularizer) \(family)"
                )
                for j in 0..<6 {
                    let back = two.model.coefficients[0][j] / factor * (j % 2 == 0 ? factor : 1 / factor)
                    let expected = one.model.coefficients[0][j]
                    #expect(abs(back - expected) < 1e-5 * max(1, abs(expected)), "\(regularizer) \(family) \(factor)")
                }
                #expect(abs(two.model.intercepts[0] / factor - one.model.intercepts[0]) < 1e-5)
                // What is printed makes the same model again.
                var again = Estimator(regularizer, family: family, strength: two.strength)
                if case .elasticNet = regularizer { again.regularizer = .elasticNet(mixing: two.mixing ?? 1) }
                again.tolerance = 1e-9
                let third = try again.fit(Table(other, target: numbers.map { $0 * factor }))
                #expect(third.solution.support == two.solution.support)
                for (a, b) in zip(third.solution.values, two.solution.values) {
                    #expect(abs(a - b) < 1e-4 * max(abs(b), factor), "\(regularizer) \(family)")
                }
            }
        }
    }

    @Test func limitsAndFactors() throws {
        let table = try Table(design, target: numbers)
        var estimator = Estimator(.lasso, strength: 0.01)
        estimator.lower = 0
        let positive = try estimator.fit(table)
        let least = try FISTA(tolerance: 1e-11).solve(
            Problem(
                design.standardized(weights: [Double](repeating: 1, count: rows)), SquaredLoss(numbers),
                NonNegativeL1(0.01)))
        #expect(largestDifference(positive.solution.coefficients, least.coefficients) < 1e-5)
        #expect(positive.model.coefficients[0].allSatisfy { $0 >= 0 } && !positive.solution.support.isEmpty)
        estimator.lower = -0.4
        estimator.upper = 0.3
        let boxed = try estimator.fit(table).model.coefficients[0]
        #expect(boxed.allSatisfy { $0 >= -0.4 - 1e-12 && $0 <= 0.3 + 1e-12 } && boxed.contains { abs($0 - 0.3) < 1e-9 })
        var weighted = Estimator(.lasso, strength: 0.3)
        weighted.factors = [1, 1, 0, 1, 1, 5]
        let free = try weighted.fit(table)
        #expect(free.solution.support.contains(2), "a factor of 0 leaves a column unpenalised")
        var adaptive = Estimator(.lasso)
        adaptive.adaptivePower = 1
        let fit = try adaptive.fit(table)
        #expect(Set(fit.model.selected).isSubset(of: ["1", "3", "5"]) && fit.model.selected.count == 3)
        for (what, adjust) in [
            ("factors", { $0.factors = [1] }), ("limits", { $0.lower = 1 }),
            (
                "SCAD",
                {
                    $0.regularizer = .scad(shape: 3.7)
                    $0.upper = 1
                }
            ),
            ("adaptive", { $0.adaptivePower = -1 }), ("strength", { $0.strength = -1 }),
            ("folds", { $0.choice.folds = 1 }),
            ("auc", { $0.choice.measure = .auc }), ("quantile", { $0.family = .quantile(1) }),
        ] as [(String, (inout Estimator) -> Void)] {
            var wrong = Estimator(.lasso)
            adjust(&wrong)
            #expect(throws: LacunaError.self, "\(what)") { try wrong.fit(table) }
        }
    }

    /// A relaxed fit is least squares on what was selected.
    @Test func relaxed() throws {
        let table = try Table(design, target: numbers)
        var estimator = Estimator(.lasso, strength: 0.3)
        (estimator.isRelaxed, estimator.tolerance) = (true, 1e-10)
        let fit = try estimator.fit(table)
        let chosen = fit.solution.selectedColumns
        let small = DenseDesign(columnMajor: chosen.flatMap { column($0) }, rows: rows)
        let expected = try ProximalNewton(tolerance: 1e-12).solve(Problem(small, SquaredLoss(numbers), L1(0)))
        #expect(largestDifference(chosen.map { fit.model.coefficients[0][$0] }, expected.coefficients) < 1e-6)
        #expect(abs(fit.model.intercepts[0] - expected.intercept) < 1e-6 && chosen.count < 6)
    }

    @Test func offsets() throws {
        // Counts of rate e^{x} over known times: with the logarithm of the time as offset, the rate alone is left.
        var generator = SeededGenerator(seed: 6)
        var text = "x,log_time,n,rate,time\n"
        for _ in 0..<80 {
            let (x, time) = (generator.normal(), 1 + 9 * generator.uniform())
            let mean = time * exponential(0.5 * x + 0.3)
            let count = (mean + mean.squareRoot() * generator.normal()).rounded()
            let n = max(0, count)
            text += "\(x),\(logarithm(time)),\(n),\(n / time),\(time)\n"
        }
        try with(text) { path in
            let drop = ["rate", "time"]
            var estimator = Estimator(.lasso, family: .poisson, strength: 0)
            estimator.tolerance = 1e-10
            let offset = try estimator.fit(
                Table(contentsOf: path, layout("n") { ($0.offset, $0.drop) = ("log_time", drop) }))
            // The same likelihood: rates weighted by their times.
            let weighted = try estimator.fit(
                Table(contentsOf: path, layout("rate") { ($0.weights, $0.drop) = ("time", ["n", "log_time"]) }))
            #expect(abs(offset.model.coefficients[0][0] - weighted.model.coefficients[0][0]) < 1e-5)
            #expect(abs(offset.model.intercepts[0] - weighted.model.intercepts[0]) < 1e-5)
            let table = try Table(contentsOf: path, for: offset.model)
            #expect(table.offset != nil && offset.model.offsetColumn == "log_time")
            let eta = try offset.model.predictors(table)[0]
            #expect(abs(try offset.model.predict(table)[3] - exponential(eta[3])) < 1e-12)
            // For numbers an offset is subtracted.
            let shifted = try Estimator(.lasso, strength: 0.1).fit(
                Table(contentsOf: path, layout("time") { ($0.offset, $0.drop) = ("rate", ["n"]) }))
            #expect(shifted.model.offsetColumn == "rate")
        }
    }

    /// Half the rows below the median, a tenth below the tenth part.
    @Test(arguments: [0.1, 0.5, 0.9]) func quantiles(level: Double) throws {
        let large = correlatedDesign(rows: 400, columns: 3)
        let y = target(large, nonzeros: 2, noise: 1)
        let table = try Table(large, target: y)
        let fit = try Estimator(.lasso, family: .quantile(level), strength: 1e-4).fit(table)
        let below = Double(zip(y, try fit.model.predict(table)).count { $0 < $1 }) / 400
        #expect(abs(below - level) < 0.05, "\(below)")
        #expect(fit.solution.certificate.relative < 1e-4, "\(fit.solution.certificate)")
    }

    @Test func quantileLossAndOffsets() throws {
        let y = [1.0, -2, 0.5, 3, 0.2]
        let loss = try QuantileLoss(y, level: 0.3, width: 0.4, weights: [1, 2, 1, 0.5, 1])
        let shifted = try OffsetLoss(loss, offset: [0.1, -0.3, 2, 0, 1])
        func check<F: Datafit>(_ loss: F) {
            let eta = [0.9, -1.0, 0.6, 5, 0.1]
            var (gradient, bend) = ([Double](repeating: 0, count: 5), [Double](repeating: 0, count: 5))
            loss.gradient(eta, into: &gradient)
            loss.curvature(eta, into: &bend)
            for i in 0..<5 {
                var (up, down) = (eta, eta)
                up[i] += 1e-6
                down[i] -= 1e-6
                #expect(abs((loss.value(up) - loss.value(down)) / 2e-6 - gradient[i]) < 1e-7)
                // Within the width the curvature is the loss's own; beyond it there is a little.
                var (above, below) = (gradient, gradient)
                loss.gradient(up, into: &above)
                loss.gradient(down, into: &below)
                let second = (above[i] - below[i]) / 2e-6
                #expect(second == 0 ? bend[i] > 0 : abs(second - bend[i]) < 1e-6)
                #expect(bend[i] <= loss.weights[i] * (loss.curvatureBound ?? 0) + 1e-15)
            }
            // Fenchel and Young: equality at the gradient's own point, and a bound elsewhere.
            let product = zip(gradient, eta).reduce(0) { $0 + $1.0 * $1.1 }
            #expect(abs(loss.conjugate(gradient: gradient, scale: 1) - (product - loss.value(eta))) < 1e-12)
            for other in [[0.0, 0, 0, 0, 0], [2, -1, 0.3, 1, -4]] {
                let bound = zip(gradient, other).reduce(0) { $0 + 0.6 * $1.0 * $1.1 } - loss.value(other)
                #expect(loss.conjugate(gradient: gradient, scale: 0.6) >= bound - 1e-12)
            }
            let (centred, shifts) = loss.centered()
            #expect(abs(centred.value(eta.map { $0 - shifts[0] }) - loss.value(eta)) < 1e-12)
        }
        check(loss)
        check(shifted)
        #expect(shifted.value([0, 0, 0, 0, 0]) == loss.value([0.1, -0.3, 2, 0, 1]))
    }

    @Test func classesByTheirSpelling() throws {
        var generator = SeededGenerator(seed: 2)
        var text = "x,two,three,num\n"
        for i in 0..<90 {
            let x = generator.normal()
            text +=
                "\(x),\(x > 0.1 * generator.normal() ? "yes" : "no"),\(["a", "b", "c"][i % 3]),\(x > 0 ? "2" : i % 2 == 0 ? "1" : "1.0")\n"
        }
        try with(text) { path in
            var drop: [String] = ["three", "num"]
            let model = try Estimator(.lasso, family: .binomial, strength: 0.01).fit(
                Table(contentsOf: path, layout("two") { $0.drop = drop })
            ).model
            #expect(model.classes == ["no", "yes"] && !model.hasNumericClasses)
            for (rows, accuracy) in [("3,yes\n-3,no\n", 1.0), ("3,yes\n", 1), ("3,no\n", 0), ("3,no\n-2,no\n", 0.5)] {
                try with("x,t\n" + rows) { new in
                    let table = try Table(contentsOf: new, for: model, layout("t"))
                    #expect(try model.score(table)?.value == accuracy && model.score(table)?.name == "accuracy")
                }
            }
            try with("x,t\n3,Yes\n") { new in
                let table = try Table(contentsOf: new, for: model, layout("t"))
                #expect(
                    throws: LacunaError.malformed(
                        file: new, location: "target, row 1", reason: "'Yes' is none of the model's classes no, yes")
                ) { try model.score(table) }
            }
            // 1 and 1.0 are one class of numbers.
            drop = ["two", "three"]
            let numeric = try Estimator(.lasso, family: .binomial, strength: 0.01).fit(
                Table(contentsOf: path, layout("num") { $0.drop = drop })
            ).model
            #expect(numeric.classes?.count == 2 && numeric.hasNumericClasses && numeric.classes?[1] == "2")
            try with("x,t\n3,2.0\n-3,1\n") { new in
                let numericTable = try Table(contentsOf: new, for: numeric, layout("t"))
                #expect(try numeric.score(numericTable)?.value == 1)
            }
            drop = ["two", "num"]
            let three = try Table(contentsOf: path, layout("three") { $0.drop = drop })
            #expect(throws: LacunaError.self) { try Estimator(.lasso, family: .binomial).fit(three) }
            let several = try Estimator(.lasso, family: .multinomial, strength: 1e-3).fit(three)
            #expect(several.model.classes == ["a", "b", "c"] && several.model.coefficients.count == 3)
            let shares = try several.model.probabilities(three)
            #expect(shares.allSatisfy { abs($0.reduce(0, +) - 1) < 1e-12 })
        }
        for text in ["x,t\n1,a\n2,a\n3,a\n", "x,t\n1,1\n2,1\n"] {
            try with(text) { path in
                #expect(throws: LacunaError.self) {
                    try Estimator(.lasso, family: .binomial).fit(Table(contentsOf: path, TableLayout(target: "t")))
                }
            }
        }
    }

    /// A model that went through a file predicts the same.
    @Test func filesKeepModels() throws {
        var generator = SeededGenerator(seed: 5)
        var text = "when,grade,zip,\"a, b\",y\n"
        for i in 0..<60 {
            let grade = ["1", "2", "3", "A"][i % 4]
            let gap = i == 7 ? "" : "\(generator.normal())"
            text +=
                "2024-01-\(10 + i % 20),\(grade),\(["01", "1", "7"][i % 3]),\(gap),\(Double(i % 4) + generator.normal())\n"
        }
        try with(text) { path in
            let table = try Table(
                contentsOf: path,
                layout("y") {
                    ($0.text, $0.missing, $0.dates, $0.categories) = (.oneHot, .mean, .parts, ["zip"])
                })
            #expect(
                table.features.map(\.name) == [
                    "when", "when.year", "when.month", "when.weekday", "grade=1", "grade=2", "grade=3", "grade=A",
                    "zip=01",
                    "zip=1", "zip=7", "a, b",
                ])
            let fit = try Estimator(.lasso, strength: 0.01).fit(table)
            let saved = Self.folder() + ".json"
            defer { try? FileSystem.remove(saved) }
            try fit.model.save(to: saved)
            let loaded = try LinearModel(contentsOf: saved)
            #expect(loaded == fit.model)
            let again = try Table(contentsOf: path, for: loaded)
            #expect(largestDifference(try loaded.predict(again), try fit.model.predict(table)) < 1e-12)
            #expect(try loaded.score(again) == nil)
            // Words are matched by their letters, whatever else a file holds.
            let both = "when,grade,zip,\"a, b\"\n2024-01-11,1,01,0\n2024-01-11,2,7,\n"
            let one = try with(both) { try loaded.predict(Table(contentsOf: $0, for: loaded)) }
            let more = try with(both + "2024-01-11,A,1,5\n") { try loaded.predict(Table(contentsOf: $0, for: loaded)) }
            #expect(one == Array(more.prefix(2)))
            for (row, word) in [
                ("2024-01-11,B,1,0", "none of the words"), ("2024-01-11,,1,0", "missing"), ("soon,A,1,0", "no date"),
                ("2024-01-11,A,1.0,0", "none of the words"), ("2024-01-11,A,1,x", "not a number"),
            ] {
                try with("when,grade,zip,\"a, b\"\n2024-01-11,1,01,0\n\(row)\n") { path in
                    let error = #expect(throws: LacunaError.self) { try Table(contentsOf: path, for: loaded) }
                    #expect(error?.description.contains(word) == true, "\(String(describing: error))")
                }
            }
            #expect(throws: LacunaError.self) {
                try with("when,grade\n2024-01-11,1\n") { try Table(contentsOf: $0, for: loaded) }
            }
        }
    }

    @Test func numberedFeatures() throws {
        // Features 0 to 3, of which the new file does not use the first.
        var generator = SeededGenerator(seed: 1)
        var text = ""
        for _ in 0..<40 {
            let x = (0..<4).map { _ in generator.normal() }
            text += "\(1 + 3 * x[0] - 2 * x[1] + x[3])" + (0..<4).map { " \($0):\(x[$0])" }.joined() + "\n"
        }
        try with(text, "t.svm") { path in
            let model = try Estimator(.lasso, strength: 1e-4).fit(Table(contentsOf: path)).model
            #expect(model.isZeroBased == true && model.selected == ["0", "1", "3"])
            let found = try with("-1 1:1\n3 1:-1 9:5\n", "n.svm") { path in
                let table = try Table(contentsOf: path, for: model)
                return (try model.predict(table), try model.score(table)?.value ?? 9)
            }
            #expect(abs(found.0[0] + 1) < 0.01 && abs(found.0[1] - 3) < 0.01 && found.1 < 0.01)
        }
        try with(text.split(separator: "\n").map { $0.replacing(" 0:", with: " 4:") }.joined(separator: "\n"), "t.svm")
        { path in
            #expect(throws: LacunaError.self, "indices ascend") { try Table(contentsOf: path) }
        }
        try with("1 1:1 2:3\n2 1:2 2:-1\n3 1:3\n", "t.svm") { path in
            let model = try Estimator(.lasso, strength: 1e-4).fit(Table(contentsOf: path)).model
            #expect(model.isZeroBased == false && model.features.map(\.column) == ["1", "2"])
            try with("1 0:1\n", "n.svm") { new in
                #expect(throws: LacunaError.self) { try Table(contentsOf: new, for: model) }
            }
        }
        // A huge index costs no more than the file.
        try with("1 1:1 268435456:2\n2 1:2\n0.5 268435456:1\n", "t.svm") { path in
            let table = try Table(contentsOf: path)
            #expect(table.features.map(\.column) == ["1", "268435456"] && table.design.columns == 2)
        }
    }

    /// Columns that a file announces and never mentions cost nothing, and the model knows which ones it has.
    @Test func announcedColumnsAreLeftOut() throws {
        let header = "%%MatrixMarket matrix coordinate real general\n"
        let entries = "1 1 1\n2 1 2\n3 1 3\n2 4000000 1\n3 4000000 -1\n"
        try with("1\n3\n2\n", "y.txt") { target in
            let layout = TableLayout(target: target)
            let (wide, narrow) = (
                try with(header + "3 4000000 5\n" + entries, "t.mtx") { try Table(contentsOf: $0, layout) },
                try with(header + "3 2 5\n" + entries.replacing("4000000", with: "2"), "t.mtx") {
                    try Table(contentsOf: $0, layout)
                }
            )
            #expect(wide.features.map(\.column) == ["1", "4000000"] && narrow.features.map(\.column) == ["1", "2"])
            let model = try Estimator(.lasso, strength: 1e-6).fit(wide).model
            let other = try Estimator(.lasso, strength: 1e-6).fit(narrow).model
            #expect(model.coefficients == other.coefficients && model.selected == ["1", "4000000"])
            // As it was and from a file, on other rows, other columns of which are not asked for.
            let copy = try with("", "m.json") { path -> LinearModel in
                try model.save(to: path)
                return try LinearModel(contentsOf: path)
            }
            #expect(copy == model)
            for model in [model, copy] {
                try with(header + "2 4000001 3\n1 1 2\n2 4000000 3\n2 7 9\n", "n.mtx") { path in
                    let found = try model.predict(Table(contentsOf: path, for: model))
                    let b = model.coefficients[0]
                    #expect(found == [2 * b[0] + model.intercepts[0], 3 * b[1] + model.intercepts[0]])
                }
                try with(header + "1 9 1\n1 1 2\n", "n.mtx") { path in
                    #expect(throws: LacunaError.self, "too few columns") { try Table(contentsOf: path, for: model) }
                }
            }
            // Few entries, but the columns that the model has.
            let all = LinearModel(
                method: "lasso", family: .gaussian, features: FeatureList(counting: 100_000),
                coefficients: [(0..<100_000).map { Double($0) }], intercepts: [0], strength: 1)
            try with(header + "1 100000 1\n1 100000 1\n", "n.mtx") { path in
                let found = try all.predict(Table(contentsOf: path, for: all))
                #expect(found == [99_999])
            }
        }
    }

    @Test(arguments: [(0, 5), (1, 1), (7, 63), (9, 64), (20, 65), (40, 700)]) func occupiedColumns(
        entries: Int, columns: Int
    ) throws {
        var generator = SeededGenerator(seed: UInt64(columns))
        let triplets: [(row: Int, column: Int, value: Double)] = (0..<entries).map { _ in
            (Int.random(in: 0..<6, using: &generator), Int.random(in: 0..<columns, using: &generator), 1.5)
        }
        let matrix = try SparseMatrix<Double>(rows: 6, columns: columns, entries: triplets)
        let occupied = OccupiedColumns(of: matrix)
        let expected = Set(triplets.map(\.column)).sorted()
        #expect(occupied.indices == expected && occupied.count == expected.count)
        #expect(occupied.selected(of: matrix) == matrix.selecting(columns: expected))
        let some = (0..<columns).filter { _ in Bool.random(using: &generator) }
        let chosen = OccupiedColumns(some, of: columns)
        #expect(chosen.indices == some && chosen.selected(of: matrix) == matrix.selecting(columns: some))
    }

    @Test func listsOfFeatures() throws {
        let plain = FeatureCoding(column: "3")
        for (list, names) in [
            (FeatureList(counting: 3), ["1", "2", "3"]), (FeatureList(counting: 2, from: 0), ["0", "1"]),
            (FeatureList(numbers: [2, 5, 4]), ["2", "5", "4"]), (FeatureList(numbers: [4, 5]), ["4", "5"]),
            (FeatureList(numbers: [-1, 1 << 40]), ["-1", "1099511627776"]), (FeatureList(numbers: []), []),
            ([plain, FeatureCoding(column: "a", level: "b")], ["3", "a=b"]), ([], []),
        ] {
            #expect(list.map(\.name) == names && list.count == names.count)
            #expect(list == FeatureList(Array(list)) && list.hashValue == FeatureList(Array(list)).hashValue)
            #expect(FeatureList(compacting: Array(list)) == list)
            let copy = try JSONDecoder().decode(FeatureList.self, from: JSONEncoder().encode(list))
            #expect(copy == list)
            var longer = list
            longer.append(plain)
            longer[0] = FeatureCoding(column: "x")
            #expect(longer.map(\.name) == ["x"] + (names.isEmpty ? [] : names.dropFirst() + ["3"]))
        }
        #expect(FeatureList(counting: 9).scattered == nil && FeatureList(numbers: [3, 1]).scattered == nil)
        #expect(FeatureList(numbers: [1, 3]).scattered == [1, 3])
        // What is written otherwise than a number is spelt stays as it is.
        for word in ["01", "+1", "1.0"] {
            #expect(FeatureList(compacting: [FeatureCoding(column: word)]).map(\.column) == [word])
        }
    }

    @Test func groupsAndFolds() throws {
        var text = "user,fold,x,y\n"
        var generator = SeededGenerator(seed: 7)
        for i in 0..<60 {
            let x = generator.normal()
            // Identifiers that differ in digits that a double does not have.
            text +=
                "1234567890123456\(String(format3(i / 4))),\(["late", "early"][i % 2]),\(x),\(x + 0.1 * generator.normal())\n"
        }
        try with(text) { path in
            let table = try Table(contentsOf: path, layout("y") { ($0.group, $0.drop) = ("user", ["fold"]) })
            #expect(Set(table.groups ?? []).count == 15)
            let fit = try MixedEstimator().fit(table)
            #expect(fit.mixed?.fit.groups.count == 15 && fit.model.groups?.intercepts.count == 15)
            var estimator = Estimator(.lasso)
            estimator.choice.folds = 20
            #expect(throws: LacunaError.self, "20 folds of 15 groups") { try estimator.fit(table) }
            let own = try Table(contentsOf: path, layout("y") { ($0.fold, $0.drop) = ("fold", ["user"]) })
            #expect(own.folds == (0..<60).map { $0 % 2 })
            let chosen = try Estimator(.lasso).fit(own)
            #expect(chosen.validation != nil && chosen.solution.support == [0])
        }
    }

    private func format3(_ i: Int) -> String { (i < 10 ? "00" : i < 100 ? "0" : "") + "\(i)" }

    @Test func measures() throws {
        let scores = [0.1, 0.4, 0.4, 0.8, 0.2]
        let labels = [0, 1, 0, 1, 1]
        let weights = [1.0, 2, 1, 1, 0.5]
        var (won, all) = (0.0, 0.0)
        for i in 0..<5 where labels[i] == 1 {
            for j in 0..<5 where labels[j] == 0 {
                all += weights[i] * weights[j]
                won += weights[i] * weights[j] * (scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0)
            }
        }
        #expect(abs(Ranking.areaUnderCurve(scores, labels: labels, weights: weights) - won / all) < 1e-12)
        #expect(Ranking.areaUnderCurve(scores, labels: [0, 0, 0, 0, 0], weights: weights) == 0.5)
        let table = try Table(design, target: numbers.map { $0 > 0 ? 1 : 0 })
        for measure in [StrengthChoice.Measure.auc, .errors, .loss] {
            var estimator = Estimator(.lasso, family: .binomial)
            (estimator.choice.measure, estimator.choice.count) = (measure, 20)
            let losses = try estimator.fit(table).validation?.losses ?? []
            #expect(
                losses.count == 20 && (losses.min() ?? 1) < losses[0] && losses.allSatisfy { $0 >= 0 && $0 < 1 },
                "\(measure)")
        }
        var estimator = Estimator(.lasso)
        (estimator.choice.measure, estimator.choice.count) = (.absolute, 20)
        let fit = try estimator.fit(Table(design, target: numbers))
        // Without any column the best constant is near the median of the others.
        let spread = numbers.map { abs($0 - numbers.sorted()[30]) }.reduce(0, +) / Double(rows)
        #expect(abs((fit.validation?.losses[0] ?? 0) - spread) < 0.15 * spread)
    }

    @Test func severalTargets() throws {
        var text = "x,z,u,v\n"
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<40 {
            let (x, z) = (generator.normal(), generator.normal())
            text += "\(x),\(z),\(2 * x + 0.1 * generator.normal()),\(-x + 0.1 * generator.normal())\n"
        }
        try with(text) { path in
            var layout = TableLayout()
            layout.targets = ["u", "v"]
            let table = try Table(contentsOf: path, layout)
            let fit = try Estimator(.group(.singletons(2), mixing: 0)).fit(table)
            #expect(fit.model.outputs == ["u", "v"] && fit.model.coefficients.count == 2)
            #expect(abs(fit.model.coefficients[0][0] - 2) < 0.3 && abs(fit.model.coefficients[1][0] + 1) < 0.3)
            #expect(fit.pathTable.hasPrefix("strength,output,intercept,x"))
            #expect(throws: LacunaError.self) { try Estimator(.lasso, family: .poisson).fit(table) }
        }
    }

    // MARK: How sure

    /// With rows to spare, a debiased coefficient is the one of least squares, with its classical error.
    @Test func debiasedIsLeastSquares() throws {
        let table = try Table(design, target: numbers)
        let estimator = Estimator(.lasso, strength: 0.1)
        let fit = try estimator.fit(table)
        let found = try #require(try estimator.debiased(table, of: fit).intervals)
        #expect(found.map(\.feature) == Array(0..<6))
        // Normal equations with a column of ones.
        let columns = [[Double](repeating: 1, count: rows)] + (0..<6).map { column($0) }
        var gram = Tensor<Double>(zeros: [7, 7])
        var right = Tensor<Double>(zeros: [7, 1])
        for a in 0..<7 {
            for b in 0..<7 { gram[a, b] = zip(columns[a], columns[b]).reduce(0) { $0 + $1.0 * $1.1 } }
            right[a, 0] = zip(columns[a], numbers).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let beta = try gram.solvePositiveDefinite(right).scalars
        var identity = Tensor<Double>(zeros: [7, 7])
        for a in 0..<7 { identity[a, a] = 1 }
        let inverse = try gram.solvePositiveDefinite(identity)
        let predicted = try fit.model.predict(table)
        let support = fit.solution.support.count
        let noise =
            zip(numbers, predicted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(rows - 1 - support)
        for (j, interval) in found.enumerated() {
            #expect(abs(interval.estimate - beta[j + 1]) < 1e-5)
            let half = 1.959963984540054 * (noise * inverse[j + 1, j + 1]).squareRoot()
            #expect(
                abs(interval.upper - interval.estimate - half) < 1e-4
                    && abs(interval.estimate - interval.lower - half) < 1e-4)
        }
    }

    /// Of many tables with more columns than rows, intervals miss about one in twenty.
    @Test func debiasedCovers() throws {
        var (missed, all) = (0, 0)
        for seed in 0..<20 {
            let wide = correlatedDesign(rows: 50, columns: 60, seed: UInt64(seed + 10))
            var generator = SeededGenerator(seed: UInt64(seed))
            var y = (0..<50).map { _ in generator.normal() }
            wide.add(1, column: 3, to: &y)
            wide.add(-1, column: 20, to: &y)
            let table = try Table(wide, target: y)
            let estimator = Estimator(.lasso, strength: 0.2)
            let fit = try estimator.fit(table)
            for interval in try estimator.debiased(table, of: fit, features: [3, 20, 4, 40, 50]).intervals ?? [] {
                let truth = interval.feature == 3 ? 1.0 : interval.feature == 20 ? -1 : 0
                all += 1
                if interval.lower > truth || interval.upper < truth { missed += 1 }
            }
        }
        #expect(all == 100 && missed <= 15, "\(missed) of \(all)")
    }

    @Test func stabilityAndBootstrap() throws {
        let table = try Table(design, target: numbers)
        let estimator = Estimator(.lasso, strength: 0.4)
        let fit = try estimator.fit(table)
        let stable = try estimator.stability(table, of: fit, pairs: 10, seed: 1)
        let shares = try #require(stable.stability)
        #expect(shares[0] == 1 && shares[2] == 1 && shares.allSatisfy { (0...1).contains($0) } && shares[1] < 0.8)
        let mean = shares.reduce(0, +)
        #expect(abs((stable.meanSelected ?? 0) - mean) < 1e-12)
        #expect(abs((stable.expectedFalseSelections(threshold: 0.9) ?? 0) - mean * mean / (0.8 * 6)) < 1e-12)
        #expect(try estimator.stability(table, of: fit, pairs: 10, seed: 1) == stable)
        let drawn = try #require(try estimator.bootstrap(table, of: fit, samples: 60, seed: 2).intervals)
        #expect(drawn.map(\.feature) == fit.solution.selectedColumns)
        for interval in drawn {
            #expect(
                interval.lower < interval.upper && interval.lower < interval.estimate + 0.2
                    && interval.upper > interval.estimate - 0.2)
        }
        // Few rows make wide intervals.
        let half = try Table(
            DenseDesign(columnMajor: (0..<6).flatMap { Array(column($0).prefix(20)) }, rows: 20),
            target: Array(numbers.prefix(20)))
        let fewer = try #require(
            try estimator.bootstrap(half, of: estimator.fit(half), samples: 60, seed: 2).intervals?.first {
                $0.feature == 0
            })
        let first = try #require(drawn.first { $0.feature == 0 })
        #expect(fewer.upper - fewer.lower > first.upper - first.lower)
    }
}
