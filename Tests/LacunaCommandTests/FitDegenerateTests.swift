import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Tables at the edge of sense, for every method of `lacuna fit`: a correct answer or one clear message, never a hang.
@Suite struct FitDegenerateTests {
    static let methods = ["lasso", "elastic-net", "logistic", "group-lasso", "scad", "mcp", "l0"]

    private static func run(_ table: String, _ arguments: [String]) throws -> ChildProcess.Outcome {
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        let file = FileSystem.join(folder, "lacuna-edge-\(String(UInt64.random(in: 0 ... .max), radix: 36)).csv")
        defer { try? FileSystem.remove(file) }
        try AtomicFile.write(table, to: file)
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        return try ChildProcess(
            executable: executable, arguments: ["fit"] + arguments.map { $0 == "T" ? file : $0 } + ["--quiet"]
        ).run()
    }

    /// Fits and returns coefficients by name; all of them finite, the fit converged.
    private static func fit(
        _ method: String, _ table: String, _ more: [String] = [], converges: Bool = true,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> (coefficients: [String: Double], intercept: Double) {
        let outcome = try run(table, [method, "T", "--target", "y", "--json"] + more)
        #expect(outcome.status == 0, "\(outcome.errorOutput)", sourceLocation: sourceLocation)
        let result = try JSONValue(parsing: outcome.output)
        if converges { #expect(result["converged"]?.boolValue == true, sourceLocation: sourceLocation) }
        var found: [String: Double] = [:]
        for feature in result["features"]?.arrayValue ?? [] {
            found[feature["name"]?.stringValue ?? ""] = feature["coefficient"]?.doubleValue
        }
        let intercept = result["intercept"]?.doubleValue ?? .nan
        #expect(found.values.allSatisfy(\.isFinite) && intercept.isFinite, sourceLocation: sourceLocation)
        return (found, intercept)
    }

    private static func refused(
        _ method: String, _ table: String, _ more: [String] = [], naming word: String, status: Int32 = 2,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try run(table, [method, "T", "--target", "y"] + more)
        #expect(outcome.status == status && outcome.output.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
        #expect(outcome.errorOutput.contains(word), "\(outcome.errorOutput)", sourceLocation: sourceLocation)
    }

    /// `rows` of `columns` by a rule, and y: its sign for the logistic method.
    private static func table(
        _ method: String, rows: Int = 40, _ names: [String], seed: UInt64 = 1,
        _ row: (inout SeededGenerator, Int) -> (cells: [Double], y: Double)
    ) -> String {
        var random = SeededGenerator(seed: seed)
        var csv = (names + ["y"]).joined(separator: ",") + "\n"
        for i in 0..<rows {
            let (cells, y) = row(&random, i)
            let target = method == "logistic" ? (y > 0 ? 1 : 0) : y
            csv += (cells + [target]).map { "\($0)" }.joined(separator: ",") + "\n"
        }
        return csv
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func constantColumns(method: String) throws {
        let csv = Self.table(method, ["a", "three", "zero"]) { random, _ in
            let a = random.normal()
            return ([a, 3, 0], 2 * a + random.normal())
        }
        let found = try Self.fit(method, csv, ["--rule", "min"])
        #expect((found.coefficients["a"] ?? 0) > 0.5)
        #expect((found.coefficients["three"] ?? 0) == 0 && (found.coefficients["zero"] ?? 0) == 0)
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func duplicateColumns(method: String) throws {
        let csv = Self.table(method, ["a", "again", "b"]) { random, _ in
            let (a, b) = (random.normal(), random.normal())
            return ([a, a, b], 2 * a + random.normal())
        }
        let found = try Self.fit(method, csv, ["--rule", "min"])
        // However it is shared out.
        #expect((found.coefficients["a"] ?? 0) + (found.coefficients["again"] ?? 0) > 0.5)
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func farMoreColumnsThanRows(method: String) throws {
        let names = (0..<300).map { "x\($0)" }
        let csv = Self.table(method, rows: 12, names) { random, i in
            let cells = names.map { _ in random.normal() }
            return (cells, i % 2 == 0 ? abs(cells[0]) : -abs(cells[0]))
        }
        _ = try Self.fit(method, csv, ["--folds", "3", "--count", "20"])
        // Nothing but the strength asked for, also a very small one.
        _ = try Self.fit(method, csv, ["--lambda", "0.01"])
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func oneRow(method: String) throws {
        let csv = "a,b,y\n1,2,1\n"
        if method != "logistic" { try Self.refused(method, csv, naming: "no column is related", status: 1) }
        if method == "logistic" {
            return try Self.refused(method, csv, ["--lambda", "0.5"], naming: "in every row")
        }
        let found = try Self.fit(method, csv, ["--lambda", "0.5"])
        #expect(found.coefficients.values.allSatisfy { $0 == 0 } && found.intercept == 1)
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func noPenalty(method: String) throws {
        let csv = Self.table(method, ["a", "b"]) { random, _ in
            let (a, b) = (random.normal(), random.normal())
            return ([a, b], a - 2 * b + 0.5 + 2 * random.normal())
        }
        let found = try Self.fit(method, csv, ["--lambda", "0"])
        if method == "logistic" {
            #expect((found.coefficients["b"] ?? 0) < -0.3)
            return
        }
        // Least squares, by the normal equations.
        let rows = csv.split(separator: "\n").dropFirst().map { $0.split(separator: ",").compactMap { Double($0) } }
        var (gram, right) = (Tensor<Double>(zeros: [3, 3]), [0.0, 0, 0])
        for row in rows {
            let x = [row[0], row[1], 1]
            for i in 0..<3 {
                for j in 0..<3 { gram[i, j] += x[i] * x[j] }
                right[i] += x[i] * row[2]
            }
        }
        let exact = try gram.solvePositiveDefinite(Tensor(right, shape: [3, 1])).scalars
        #expect(abs((found.coefficients["a"] ?? 0) - exact[0]) < 1e-3)
        #expect(abs((found.coefficients["b"] ?? 0) - exact[1]) < 1e-3 && abs(found.intercept - exact[2]) < 1e-3)
    }

    @Test(.timeLimit(.minutes(10))) func separableClasses() throws {
        var csv = "a,y\n"
        for i in 0..<20 { csv += "\(Double(i) - 9.5),\(i < 10 ? "no" : "yes")\n" }
        let found = try Self.fit("logistic", csv, ["--lambda", "0.01"])
        #expect((found.coefficients["a"] ?? 0) > 0.3)
        _ = try Self.fit("logistic", csv, ["--rule", "min"])
        // Without a penalty the answer lies at infinity: a bounded number of steps, and finite numbers.
        let far = try Self.fit("logistic", csv, ["--lambda", "0"], converges: false)
        #expect((far.coefficients["a"] ?? 0) > 1)
        // One class only.
        try Self.refused("logistic", "a,y\n1,yes\n2,yes\n3,yes\n", naming: "'yes' in every row")
        try Self.refused("logistic", "a,y\n1,1\n2,1\n3,1\n", ["--lambda", "0.1"], naming: "in every row")
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods + ["screen"]) func numbersThatAreNone(method: String) throws {
        try Self.refused(method, "a,y\n1,0\nnan,1\n3,1\n4,0\n", naming: "a")
        try Self.refused(method, "a,y\n1,0\ninf,1\n3,1\n4,0\n", naming: "a")
        try Self.refused(method, "a,y\n1,0\n2,1\n3,inf\n4,0\n", naming: "target")
        try Self.refused(method, "a,y\n1,0\n2,1\n3,\n4,0\n", naming: "target")
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func weightsOfZero(method: String) throws {
        let csv = Self.table(method, ["a", "w"]) { random, i in
            let a = random.normal()
            // Rows without weight say the opposite, and loudly.
            return i % 2 == 0 ? ([a, 1], 2 * a + 0.5 * random.normal()) : ([a, 0], -100 * a)
        }
        let found = try Self.fit(method, csv, ["--weights", "w", "--lambda", "0.05"])
        #expect((found.coefficients["a"] ?? 0) > 0.3)
        let none = csv.replacing(",1.0,", with: ",0,")
        try Self.refused(method, none, ["--weights", "w", "--lambda", "0.05"], naming: "sum to 0")
        try Self.refused(
            method, csv.replacing(",1.0,", with: ",-1,"), ["--weights", "w", "--lambda", "0.05"], naming: "weight")
    }

    @Test(.timeLimit(.minutes(10)), arguments: methods) func aTargetThatNeverVaries(method: String) throws {
        let csv = "a,y\n1,1\n2,1\n3,1\n5,1\n4,1\n7,1\n"
        if method != "logistic" { try Self.refused(method, csv, naming: "no column is related", status: 1) }
        if method == "logistic" { return try Self.refused(method, csv, ["--lambda", "0.1"], naming: "in every row") }
        let found = try Self.fit(method, csv, ["--lambda", "0.1"])
        #expect((found.coefficients["a"] ?? 0) == 0 && found.intercept == 1)
    }

    /// Mixed models have scales to estimate: where there is nothing to estimate them from they say so.
    @Test(.timeLimit(.minutes(10)), arguments: ["1", "1.5"]) func mixedModels(tail: String) throws {
        let more = ["--tail", tail]
        let grouped = more + ["--group", "g"]
        func table(rows: Int = 40, _ y: (Int, Double) -> Double) -> String {
            var random = SeededGenerator(seed: 1)
            var csv = "a,three,g,y\n"
            for i in 0..<rows {
                let a = random.normal()
                csv += "\(a),3,team \(i % 8),\(y(i, a) + 0.5 * random.normal())\n"
            }
            return csv
        }
        let plain = table { i, a in 2 * a + Double(i % 8) }
        for options in [
            grouped + ["--rule", "min"], grouped + ["--choose", "bic"],
            grouped + ["--choose", "ebic", "--penalty", "mcp"],
        ] {
            let found = try Self.fit("mixed", plain, options)
            #expect(abs((found.coefficients["a"] ?? 0) - 2) < 0.4 && (found.coefficients["three"] ?? 0) == 0)
        }
        // Without groups the labels are a column of text.
        try Self.refused("mixed", plain, more, naming: "g")
        let robust = try Self.fit("mixed", plain, more + ["--text", "drop", "--rule", "min"])
        #expect(abs((robust.coefficients["a"] ?? 0) - 2) < 1.5)
        try Self.refused("mixed", plain, more + ["--group", "h"], naming: "--group")
        try Self.refused("mixed", plain, grouped + ["--folds", "9"], naming: "--folds")
        try Self.refused("mixed", plain, grouped + ["--weights", "a"], naming: "--weights")
        try Self.refused("mixed", plain, grouped + ["--degrees-of-freedom", "3"], naming: "not both")
        try Self.refused("mixed", plain, ["--tail", "3"], naming: "--tail")
        // One row, a target that never varies, a perfect fit.
        try Self.refused("mixed", "a,g,y\n1,x,1\n", grouped + ["--lambda", "1"], naming: "does not vary", status: 1)
        try Self.refused(
            "mixed", "a,g,y\n1,x,1\n2,x,1\n3,y,1\n4,y,1\n", grouped + ["--lambda", "1"], naming: "does not vary",
            status: 1)
        try Self.refused(
            "mixed", "a,g,y\n1,x,1\n2,x,2\n3,y,3\n5,y,5\n", grouped + ["--lambda", "0"], naming: "no bound", status: 1)
        // One group, where a random intercept has nothing to do.
        let single = try Self.fit(
            "mixed", (0..<8).reduce(plain) { $0.replacing("team \($1)", with: "team") }, grouped + ["--lambda", "0.1"])
        #expect((single.coefficients["a"] ?? 0) > 1)
        // A label that is missing.
        let hole = plain.replacing("team 3", with: "")
        try Self.refused("mixed", hole, grouped + ["--lambda", "0.1"], naming: "--missing drop")
        _ = try Self.fit("mixed", hole, grouped + ["--lambda", "0.1", "--missing", "drop"])
        try Self.refused("mixed", "a,g,y\n1,x,0\ninf,x,1\n3,z,1\n4,z,0\n", grouped, naming: "not a finite number")
        try Self.refused("mixed", "a,g,y\n1,x,0\n2,x,inf\n3,z,1\n4,z,0\n", grouped, naming: "target")
        // More columns than rows.
        let names = (0..<300).map { "x\($0)" }
        let wide = Self.table("mixed", rows: 24, names + ["g"]) { random, i in
            let cells = names.map { _ in random.normal() }
            return (cells + [Double(i % 6)], 2 * cells[0] + 0.3 * random.normal())
        }
        let found = try Self.fit("mixed", wide, grouped + ["--count", "20", "--folds", "3"], converges: false)
        #expect((found.coefficients["x0"] ?? 0) > 0.5)
    }

    @Test(.timeLimit(.minutes(10))) func screens() throws {
        func columns(_ csv: String, _ more: [String] = []) throws -> [JSONValue] {
            let outcome = try Self.run(csv, ["screen", "T", "--target", "y", "--json"] + more)
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return try JSONValue(parsing: outcome.output)["columns"]?.arrayValue ?? []
        }
        try Self.refused("screen", "a,y\n1,2\n", naming: "2 are needed")
        let pair = try columns("a,b,y\n1,1,2\n1,3,4\n")
        #expect(pair.count == 2 && pair[1]["name"]?.stringValue == "a", "a constant tells nothing")
        #expect(pair[1]["information"]?.doubleValue == 0 && pair[1]["correlation"]?.doubleValue == 0)
        let constant = try columns("a,y\n1,3\n2,3\n3,3\n")
        #expect(constant[0]["information"]?.doubleValue == 0 && constant[0]["p"]?.doubleValue == 1)
        let wide = (0..<200).map { "x\($0)" }
        let csv = Self.table("screen", rows: 6, wide) { random, _ in
            (wide.map { _ in random.normal() }, random.normal())
        }
        #expect(try columns(csv, ["--top", "500"]).count == 200)
        // Duplicates tell the same; one of them is clumped away.
        let twice = Self.table("screen", ["a", "again"]) { random, _ in
            let a = random.normal()
            return ([a, a], a + 0.3 * random.normal())
        }
        let same = try columns(twice)
        #expect(same[0]["information"] == same[1]["information"])
        #expect(try columns(twice, ["--clump"]).count == 1)
    }
}
