import LacunaIO
import LacunaRegress
import LacunaTensor
import Testing

@testable import LacunaCommand

/// `lacuna fit` on small tables with a known answer.
@Suite struct FitCommandTests {
    /// 120 rows: price = 3 a - 2 b + 2 [city = Bern] + noise; ill = price > 0; one missing value in c.
    private final class Tables {
        let root: String

        init() throws {
            let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
            root = FileSystem.join(folder, "lacuna-fit-\(String(UInt64.random(in: 0 ... .max), radix: 36))")
            try FileSystem.createDirectory(root)
            var random = SeededGenerator(seed: 8)
            var csv = "a,b,c,d,city,price,ill,weight\n"
            var svm = ""
            var mtx = "%%MatrixMarket matrix array real general\n120 3\n"
            var (columns, prices): ([[Double]], [Double]) = ([[], [], []], [])
            for row in 0..<120 {
                let (a, b, d) = (random.normal(), random.normal(), random.normal())
                let city = ["Bern", "Chur", "Zug"][Int(random.next() % 3)]
                let price = 3 * a - 2 * b + (city == "Bern" ? 2 : 0) + 0.2 * random.normal()
                let missing = row == 7 ? "NA" : "\(random.normal())"
                csv += "\(a),\(b),\(missing),\(d),\(city),\(price),\(price > 0 ? "yes" : "no"),\(1 + row % 2)\n"
                svm += "\(price) 1:\(a) 2:\(b) 4:\(d)\n"
                for (k, value) in [a, b, d].enumerated() { columns[k].append(value) }
                prices.append(price)
            }
            mtx += columns.flatMap { $0 }.map { "\($0)\n" }.joined()
            try AtomicFile.write(csv, to: root + "/t.csv")
            try AtomicFile.write(svm, to: root + "/t.svm")
            try AtomicFile.write(mtx, to: root + "/t.mtx")
            try AtomicFile.write(prices.map { "\($0)\n" }.joined(), to: root + "/y.txt")
        }

        deinit { try? FileSystem.remove(root) }

        func run(_ arguments: String...) throws -> ChildProcess.Outcome { try run(arguments) }

        func run(_ arguments: [String]) throws -> ChildProcess.Outcome {
            let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
            return try ChildProcess(
                executable: executable, arguments: ["fit"] + arguments.map { $0.replacing("AT", with: root) }
            ).run()
        }

        func json(_ arguments: String...) throws -> JSONValue {
            let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
            let all = ["fit"] + arguments.map { $0.replacing("AT", with: root) } + ["--json"]
            let outcome = try ChildProcess(executable: executable, arguments: all).run()
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return try JSONValue(parsing: outcome.output)
        }
    }

    private func coefficients(_ result: JSONValue) -> [String: Double] {
        var found: [String: Double] = [:]
        for feature in result["features"]?.arrayValue ?? [] {
            found[feature["name"]?.stringValue ?? ""] = feature["coefficient"]?.doubleValue
        }
        return found
    }

    @Test(arguments: ["lasso", "elastic-net", "scad", "mcp", "l0"]) func findsTheColumns(method: String) throws {
        let tables = try Tables()
        let result = try tables.json(
            method, "AT/t.csv", "--target", "price", "--drop", "ill,weight", "--missing", "mean", "--text", "one-hot",
            "--quiet")
        let found = coefficients(result)
        #expect(abs((found["a"] ?? 0) - 3) < 0.4 && abs((found["b"] ?? 0) + 2) < 0.4)
        #expect((found["city=Bern"] ?? 0) > 0.8 && abs(found["d"] ?? 0) < 0.1)
        #expect(result["converged"]?.boolValue == true && (result["explained"]?.doubleValue ?? 0) > 0.95)
        #expect(result["path"]?.arrayValue?.count == 100 && result["columns"]?.intValue == 7)
    }

    @Test func groupsAndWeightsAndClasses() throws {
        let tables = try Tables()
        let grouped = coefficients(
            try tables.json(
                "group-lasso", "AT/t.csv", "--target", "price", "--drop", "ill", "--weights", "weight", "--missing",
                "drop", "--text", "one-hot", "--quiet"))
        let cities = ["city=Bern", "city=Chur", "city=Zug"].map { grouped[$0] ?? 0 }
        #expect(cities.allSatisfy { $0 != 0 }, "the levels of one column come together")
        let classes = try tables.json(
            "logistic", "AT/t.csv", "--target", "ill", "--drop", "price,weight,c", "--text", "one-hot", "--quiet")
        let found = coefficients(classes)
        #expect((found["a"] ?? 0) > 1 && (found["b"] ?? 0) < -0.7)
        #expect(classes["classes"]?.arrayValue == ["no", "yes"])
    }

    @Test func privateFitsSayWhatTheySpend() throws {
        let tables = try Tables()
        let bounds = [
            "--target", "price", "--drop", "c,city,ill,weight", "--private", "500", "--feature-bound", "3",
            "--target-bound", "8", "--quiet",
        ]
        func json(_ arguments: [String]) throws -> JSONValue {
            let executable = try #require(CommandLineTests.executable)
            let outcome = try ChildProcess(
                executable: executable, arguments: ["fit"] + arguments + ["--json"]
            ).run()
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return try JSONValue(parsing: outcome.output)
        }
        let subset = try json(["l0", tables.root + "/t.csv", "--size", "2", "--radius", "5"] + bounds)
        #expect(Set(coefficients(subset).keys) == ["a", "b"])
        #expect(subset["privacy"]?["epsilon"]?.doubleValue == 500 && subset["privacy"]?["delta"]?.doubleValue == 0)
        #expect(subset["privacy"]?["isPrivate"]?.boolValue == true)
        let lasso = try json(["lasso", tables.root + "/t.csv", "--noise-seed", "1"] + bounds)
        #expect(
            lasso["privacy"]?["model"]?.stringValue == "local" && lasso["privacy"]?["isPrivate"]?.boolValue == false)
        #expect(lasso["privacy"]?["releases"]?.arrayValue?.count == 2)
        for wrong in [
            ["--report", tables.root + "/r.html"], ["--missing", "mean"], ["--missing", "drop"], ["--text", "one-hot"],
            ["--text", "drop"], ["--dates", "days"], ["--coefficients", tables.root + "/c.csv"], ["--stability", "3"],
        ] {
            let executable = try #require(CommandLineTests.executable)
            let outcome = try ChildProcess(
                executable: executable, arguments: ["fit", "lasso", tables.root + "/t.csv"] + bounds + wrong
            ).run()
            #expect(outcome.status == 2 && outcome.errorOutput.contains(wrong[0]), "\(outcome.errorOutput)")
        }
        // A field that is no number decides nothing: the column stays, and counts 0 in that row.
        let text = try FileSystem.readText(tables.root + "/t.csv")
        var lines = text.split(separator: "\n").map(String.init)
        lines[5] = "oops," + lines[5].split(separator: ",", maxSplits: 1)[1]
        try AtomicFile.write(lines.joined(separator: "\n"), to: tables.root + "/oops.csv")
        let other = try json(["l0", tables.root + "/oops.csv", "--size", "2", "--radius", "5"] + bounds)
        #expect(Set(coefficients(other).keys) == ["a", "b"])
        let unbounded = try tables.run("lasso", "AT/t.csv", "--target", "price", "--private", "1")
        #expect(unbounded.status != 0 && unbounded.errorOutput.contains("--feature-bound"))
    }

    @Test func mixedModelsKnowTheirGroups() throws {
        let tables = try Tables()
        var random = SeededGenerator(seed: 12)
        var csv = "clinic,a,b,noise,y\n"
        // 25 clinics of 4 rows with constants of their own; the last one is off by far, and so is row 7.
        for i in 0..<100 {
            let clinic = i / 4
            let (a, b) = (random.normal(), random.normal())
            var y = 10 + 3 * a - 2 * b + 4 * sine(Double(clinic)) + 0.5 * random.normal()
            if clinic == 24 { y += 80 * random.normal() }
            if i == 6 { y += 60 }
            csv += "clinic \(clinic),\(a),\(b),\(random.normal()),\(y)\n"
        }
        try AtomicFile.write(csv, to: tables.root + "/visits.csv")
        let options = ["--target", "y", "--group", "clinic", "--quiet"]
        func json(_ more: [String]) throws -> JSONValue {
            let executable = try #require(CommandLineTests.executable)
            let outcome = try ChildProcess(
                executable: executable,
                arguments: ["fit", "mixed", tables.root + "/visits.csv"] + options + more + ["--json"]
            ).run()
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
            return try JSONValue(parsing: outcome.output)
        }
        let result = try json(
            ["--rule", "min", "--model", tables.root + "/v.json", "--report", tables.root + "/v.html"])
        let found = coefficients(result)
        #expect(abs((found["a"] ?? 0) - 3) < 0.3 && abs((found["b"] ?? 0) + 2) < 0.3)
        let mixed = try #require(result["mixed"])
        #expect(mixed["q"]?.doubleValue == 1.5 && mixed["choice"]?.stringValue == "cv")
        #expect(
            Set((mixed["groups"]?.arrayValue ?? []).prefix(2).map { $0["group"]?.stringValue ?? "" })
                == ["clinic 24", "clinic 1"])
        let rows = (mixed["rows"]?.arrayValue ?? []).prefix(5).compactMap { $0["row"]?.intValue }
        #expect(rows.contains(7) && rows.filter { $0 > 96 }.count >= 3, "\(rows)")
        let correlation = mixed["intraclassCorrelation"]?.doubleValue ?? 0
        #expect(correlation > 0.8 && correlation < 1)
        // The normal model on the same table is far off.
        let normal = coefficients(try json(["--tail", "1", "--rule", "min"]))
        #expect(abs((normal["a"] ?? 0) - 3) > 0.5 || abs((normal["b"] ?? 0) + 2) > 0.5)
        let estimated = try json(["--tail", "estimate", "--choose", "bic"])
        #expect((estimated["mixed"]?["q"]?.doubleValue ?? 0) > 1.3)
        #expect(estimated["mixed"]?["tails"]?.arrayValue?.count == 7)
        let page = try FileSystem.readText(tables.root + "/v.html")
        #expect(page.contains("Groups that count least") && page.contains("clinic 24"))
        #expect(page.contains("Rows farthest from their group") && page.contains("intraclass correlation"))
        // Known groups have their constant, new ones have none; rows without labels neither.
        try AtomicFile.write(
            "clinic,a,b,noise\nclinic 8,0,0,0\nclinic 11,0,0,0\nelsewhere,0,0,0\n", to: tables.root + "/next.csv")
        try AtomicFile.write("a,b,noise\n0,0,0\n", to: tables.root + "/bare.csv")
        func predictions(_ file: String) throws -> [Double] {
            try tables.json("predict", "AT/v.json", file)["predictions"]?.arrayValue?.compactMap(\.doubleValue) ?? []
        }
        let next = try predictions("AT/next.csv")
        let intercept = result["intercept"]?.doubleValue ?? .nan
        #expect(next.count == 3 && abs(next[2] - intercept) < 1e-9)
        #expect(abs(next[0] - next[1] - 4 * (sine(8) - sine(11))) < 1.5, "\(next)")
        #expect(try predictions("AT/bare.csv") == [next[2]])
        let help = try tables.run("mixed", "--help")
        #expect(help.status == 0 && help.output.contains("--tail") && help.output.contains("Examples"))
    }

    @Test func everyFormatGivesTheSame() throws {
        let tables = try Tables()
        let csv = coefficients(
            try tables.json(
                "lasso", "AT/t.csv", "--target", "price", "--drop", "c,city,ill,weight", "--lambda", "0.1", "--quiet"))
        let svm = coefficients(try tables.json("lasso", "AT/t.svm", "--lambda", "0.1", "--quiet"))
        let mtx = coefficients(
            try tables.json("lasso", "AT/t.mtx", "--target", "AT/y.txt", "--lambda", "0.1", "--quiet"))
        for (name, other, third) in [("a", "1", "1"), ("b", "2", "2")] {
            let value = try #require(csv[name])
            #expect(abs(value - (svm[other] ?? 0)) < 1e-5 && abs(value - (mtx[third] ?? 0)) < 1e-5)
        }
    }

    /// A .npy file of doubles.
    private func write(_ columns: [[Double]], fortran: Bool, to path: String) throws {
        var header =
            "{'descr': '<f8', 'fortran_order': \(fortran ? "True" : "False"), 'shape': (\(columns[0].count), \(columns.count)), }"
        while (header.utf8.count + 11) % 64 != 0 { header += " " }
        header += "\n"
        var bytes =
            [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count & 255), UInt8(header.utf8.count >> 8)]
        bytes += Array(header.utf8)
        let values =
            fortran
            ? columns.flatMap { $0 } : (0..<columns[0].count).flatMap { i in columns.map { $0[i] } }
        for value in values { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += Array($0) } }
        try AtomicFile.write(bytes, to: path)
    }

    @Test func designsStayOnDisk() throws {
        let tables = try Tables()
        guard case .dense(let values) = try MatrixMarketFile(contentsOf: tables.root + "/t.mtx").content else {
            Issue.record("t.mtx is not dense")
            return
        }
        let columns = (0..<3).map { Array(values[120 * $0..<120 * $0 + 120]) }
        let y = try FileSystem.readText(tables.root + "/y.txt").split(separator: "\n").compactMap { Double($0) }
        try write(columns, fortran: true, to: tables.root + "/f.npy")
        try write(columns, fortran: false, to: tables.root + "/c.npy")
        try write([y], fortran: true, to: tables.root + "/y.npy")
        try write([y] + columns, fortran: true, to: tables.root + "/first.npy")
        try write(columns + [y], fortran: true, to: tables.root + "/last.npy")
        try write([columns[0], y, columns[1], columns[2]], fortran: true, to: tables.root + "/middle.npy")
        let expected = coefficients(
            try tables.json("lasso", "AT/t.mtx", "--target", "AT/y.txt", "--lambda", "0.1", "--quiet"))
        let cases = [
            ("f", "AT/y.npy", true), ("f", "AT/y.txt", true), ("c", "AT/y.npy", false), ("first", "1", true),
            ("last", "4", true), ("middle", "2", false),
        ]
        for (name, target, mapped) in cases {
            let found = coefficients(
                try tables.json("lasso", "AT/\(name).npy", "--target", target, "--lambda", "0.1", "--quiet"))
            // Columns are called by their places in the file, beside the target's.
            let features = name == "first" ? ["2", "3", "4"] : name == "middle" ? ["1", "3", "4"] : ["1", "2", "3"]
            for (feature, plain) in zip(features, ["1", "2", "3"]) {
                #expect(abs((found[feature] ?? 0) - (expected[plain] ?? 0)) < 1e-9, "\(name)")
            }
            let data = try LacunaRegress.Table(
                contentsOf: "\(tables.root)/\(name).npy", TableLayout(target: target.replacing("AT", with: tables.root))
            )
            #expect((data.design as? DenseDesign)?.isMapped == mapped, "\(name)")
            #expect(data.responses.first?.numbers == y)
        }
        for target in ["0", "5", "nowhere.npy"] {
            let refused = try tables.run("lasso", "AT/first.npy", "--target", target)
            #expect(refused.status == 2 && refused.errorOutput.contains(target))
        }
    }

    @Test func modelsPredictAndPagesAreWhole() throws {
        let tables = try Tables()
        let options = [
            "--target", "price", "--drop", "ill,weight", "--missing", "mean", "--text", "one-hot", "--quiet",
        ]
        let executable = try #require(CommandLineTests.executable)
        let fit = try ChildProcess(
            executable: executable,
            arguments: ["fit", "lasso", tables.root + "/t.csv"] + options
                + ["--model", tables.root + "/m.json", "--report", tables.root + "/r.html"]
        ).run()
        #expect(fit.status == 0, "\(fit.errorOutput)")
        #expect(fit.output.contains("cross-validated loss") && fit.output.contains("city=Bern"))
        let page = try FileSystem.readText(tables.root + "/r.html")
        #expect(page.contains("Cross-validation in 5 folds") && page.contains("Coefficients along the path"))
        #expect(!page.contains("http://") || page.contains("www.w3.org"), "nothing is loaded")
        let predicted = try tables.json("predict", "AT/m.json", "AT/t.csv", "--target", "price")
        #expect(predicted["predictions"]?.arrayValue?.count == 120)
        #expect((predicted["score"]?.doubleValue ?? 9) < 0.8)
        let written = try tables.run("predict", "AT/m.json", "AT/t.csv", "--output", "AT/p.csv")
        #expect(written.status == 0)
        #expect(try CSVTable(contentsOf: tables.root + "/p.csv").rows == 120)
        let again = try tables.run("predict", "AT/m.json", "AT/t.csv", "--output", "AT/p.csv")
        #expect(again.status == 2 && again.errorOutput.contains("--force"))
    }

    /// Runs that follow a law give it back, and what it says of another run.
    @Test func scalingLaws() throws {
        let tables = try Tables()
        var csv = "size,tokens,loss\n"
        func loss(_ size: Double, _ tokens: Double) -> Double {
            1.7 + 400 * power(size, -0.34) + 410 * power(tokens, -0.28)
        }
        for size in [1e6, 1e7, 1e8, 1e9] {
            for tokens in [1e8, 1e9, 1e10] { csv += "\(size),\(tokens),\(loss(size, tokens))\n" }
        }
        try AtomicFile.write(csv, to: tables.root + "/runs.csv")
        let found = try tables.json(
            "law", "AT/runs.csv", "--parameters", "size", "--at-parameters", "1e10", "--at-tokens", "1e11")
        func number(_ name: String) -> Double { found[name]?.doubleValue ?? .nan }
        #expect(abs(number("irreducible") - 1.7) < 0.01 && found["runs"]?.intValue == 12)
        #expect(abs(number("size_exponent") - 0.34) < 0.005 && abs(number("data_exponent") - 0.28) < 0.005)
        #expect(abs(number("predicted") - loss(1e10, 1e11)) < 0.01 && number("largest_error") < 1e-3)
        for (arguments, part) in [
            (["law", "AT/runs.csv"], "no column 'parameters'"),
            (["law", "AT/t.csv", "--parameters", "city", "--tokens", "a", "--loss", "b"], "is not all numbers"),
            (["law", "AT/t.csv", "--parameters", "a", "--tokens", "b", "--loss", "d"], "is not a positive number"),
        ] {
            let outcome = try tables.run(arguments)
            #expect(outcome.status == 2 && outcome.errorOutput.contains(part), "\(outcome.errorOutput)")
        }
        let alone = try tables.run("law", "AT/runs.csv", "--parameters", "size", "--at-tokens", "1e9")
        #expect(alone.status != 0 && alone.errorOutput.contains("--at-parameters"))
    }

    /// A column that acts through its square stands out; the target as words, and formats, make no difference to that.
    @Test func screening() throws {
        let tables = try Tables()
        var random = SeededGenerator(seed: 5)
        var csv = "noise,square,copy,line,y\n"
        for _ in 0..<300 {
            let (a, b) = (random.normal(), random.normal())
            let y = a * a + 0.5 * b + 0.3 * random.normal()
            csv += "\(random.normal()),\(a),\(a + 0.01 * random.normal()),\(b),\(y)\n"
        }
        try AtomicFile.write(csv, to: tables.root + "/s.csv")
        let result = try tables.json("screen", "AT/s.csv", "--target", "y", "--quiet")
        let columns = result["columns"]?.arrayValue ?? []
        let names = columns.compactMap { $0["name"]?.stringValue }
        #expect(names.prefix(2).contains("square"))
        #expect(columns.last?["name"]?.stringValue == "noise" && columns.count == 4)
        #expect(columns[0]["p"]?.doubleValue == 0.05 && (columns[0]["dependence"]?.doubleValue ?? 0) > 0.5)
        #expect(abs(columns[0]["correlation"]?.doubleValue ?? 1) < 0.4)
        let clumped = try tables.json(
            "screen", "AT/s.csv", "--target", "y", "--clump", "--top", "2", "--permutations", "0", "--quiet")
        let kept = clumped["columns"]?.arrayValue ?? []
        #expect(kept.count == 2 && kept[1]["name"]?.stringValue == "line" && kept[0]["p"] == .null)
        let text = try tables.run(
            "screen", "AT/s.csv", "--target", "y", "--top", "1", "--estimator", "histogram", "--quiet")
        #expect(text.status == 0 && text.output.contains("300 rows, 4 columns") && text.output.contains("information"))
        #expect(text.output.split(separator: "\n").count == 4, "a line, a header, a rule, a row")
        let words = try tables.json(
            "screen", "AT/t.csv", "--target", "ill", "--drop", "price,weight,c", "--text", "one-hot", "--quiet")
        #expect(words["columns"]?.arrayValue?.first?["name"]?.stringValue == "a")
        let svm = try tables.json("screen", "AT/t.svm", "--quiet")
        #expect(svm["columns"]?.arrayValue?.first?["name"]?.stringValue == "1")
        let help = try tables.run("screen", "--help")
        #expect(help.status == 0 && help.output.contains("lacuna fit screen expression.csv --target y --top 20"))
    }

    /// a -> b -> c with noise of one level.
    @Test func aGraphOfEffects() throws {
        let tables = try Tables()
        var random = SeededGenerator(seed: 2)
        var csv = "a,b,\"c \"\"x\"\"\"\n"
        for _ in 0..<500 {
            let a = random.normal()
            let b = 1.5 * a + random.normal()
            csv += "\(a),\(b),\(-1.2 * b + random.normal())\n"
        }
        try AtomicFile.write(csv, to: tables.root + "/g.csv")
        let result = try tables.json(
            "dag", "AT/g.csv", "--dot", "AT/g.dot", "--svg", "AT/g.svg", "--quiet")
        let edges = (result["edges"]?.arrayValue ?? []).map {
            "\($0["source"]?.stringValue ?? "")>\($0["target"]?.stringValue ?? "")"
        }
        #expect(Set(edges) == ["a>b", "b>c \"x\""])
        let dot = try FileSystem.readText(tables.root + "/g.dot")
        #expect(dot.hasPrefix("digraph {") && dot.contains("\"b\" -> \"c \\\"x\\\"\" [label=\"-1."))
        let svg = try FileSystem.readText(tables.root + "/g.svg")
        try expectWellFormed(svg)
        #expect(svg.contains("c &quot;x&quot;"))
        let text = try tables.run("dag", "AT/g.csv", "--quiet")
        #expect(text.status == 0 && text.output.contains("2 edges"))
        let refused = try tables.run("dag", "AT/t.csv")
        #expect(refused.status == 2 && refused.errorOutput.contains("column 'c'"))
    }

    @Test func graphsByScoreLeaveDirectionsOpen() throws {
        let tables = try Tables()
        // a and b meet in c, so that their directions are decided, and that of c to d with them; e and f could be either way.
        var random = SeededGenerator(seed: 7)
        var csv = "a,b,c,d,e,f\n"
        for _ in 0..<2000 {
            let (a, b, e) = (random.normal(), random.normal(), random.normal())
            let c = a + b + 0.7 * random.normal()
            let d = 1000 * (c + random.normal())
            csv += "\(a),\(b),\(c),\(d),\(e),\(0.8 * e + 0.6 * random.normal())\n"
        }
        try AtomicFile.write(csv, to: tables.root + "/g.csv")
        let result = try tables.json("dag", "AT/g.csv", "--method", "ges", "--dot", "AT/g.dot", "--svg", "AT/g.svg")
        let edges = result["edges"]?.arrayValue ?? []
        let decided = edges.filter { $0["decided"]?.boolValue == true }.map {
            "\($0["source"]?.stringValue ?? "")>\($0["target"]?.stringValue ?? "")"
        }
        #expect(Set(decided) == ["a>c", "b>c", "c>d"])
        let open = edges.filter { $0["decided"]?.boolValue == false }
        #expect(
            open.count == 1
                && Set(open.flatMap { [$0["source"]?.stringValue, $0["target"]?.stringValue] }) == ["e", "f"])
        let weight = edges.first { $0["target"]?.stringValue == "d" }?["weight"]?.doubleValue ?? 0
        #expect(abs(weight / 1000 - 1) < 0.1)
        let dot = try FileSystem.readText(tables.root + "/g.dot")
        #expect(dot.split(separator: "\n").filter { $0.contains("dir=none") }.count == 1)
        let svg = try FileSystem.readText(tables.root + "/g.svg")
        try expectWellFormed(svg)
        #expect(svg.split(separator: "marker-end=").count == 4, "three edges have a head")
        let text = try tables.run("dag", "AT/g.csv", "--method", "ges", "--quiet")
        #expect(text.status == 0 && text.output.contains("1 of the directions is open"))
        // A dear edge is none.
        let none = try tables.json("dag", "AT/g.csv", "--method", "ges", "--penalty", "1000")
        #expect(none["edges"]?.arrayValue?.isEmpty == true)
        for (option, method) in [
            (["--method", "ges", "--lambda", "0.1"], "colide"), (["--method", "ges", "--threshold", "0.1"], "colide"),
            (["--method", "ges", "--steps", "5"], "colide"), (["--method", "ges", "--unequal-noise"], "colide"),
            (["--penalty", "2"], "ges"),
        ] {
            let refused = try tables.run(["dag", "AT/g.csv"] + option)
            #expect(refused.status == 2 && refused.errorOutput.contains("--method \(method)"), "\(option)")
        }
        try AtomicFile.write("a,b,c\n1,2,3\n2,1,5\n", to: tables.root + "/few.csv")
        let few = try tables.run("dag", "AT/few.csv", "--method", "ges")
        #expect(few.status == 2 && few.errorOutput.contains("more rows than variables"))
    }

    /// What would not be heeded, and what does not combine, is refused by name before anything is read: there is no such file.
    @Test(arguments: [
        (["lasso", "--lambda", "0.1", "--rule", "min"], "--rule"),
        (["lasso", "--lambda", "0.1", "--folds", "3"], "--folds"),
        (["scad", "--lambda", "0.1", "--measure", "mae"], "--measure"),
        (["lasso", "--lambda", "0.1", "--fold-column", "f"], "--fold-column"),
        (["lasso", "--lambda", "0.1", "--ratio", "0.1"], "--ratio"),
        (["lasso", "--lambda", "0.1", "--group", "g"], "--group"),
        (["l0", "--size", "3", "--rule", "min"], "--rule"), (["l0", "--size", "3", "--count", "10"], "--count"),
        (["l0", "--radius", "3"], "--radius"), (["lasso", "--delta", "0.1"], "--delta"),
        (["lasso", "--family", "huber", "--delta", "0.5"], "--delta"), (["lasso", "--samples", "50"], "--samples"),
        (["lasso", "--intervals", "debiased", "--samples", "50"], "--samples"),
        (["lasso", "--intervals", "debiased", "--weights", "w"], "weights"),
        (["lasso", "--intervals", "debiased", "--positive"], "limits"),
        (["lasso", "--intervals", "debiased", "--adaptive", "1"], "factors"),
        (["lasso", "--intervals", "debiased", "--no-intercept"], "intercept"),
        (["scad", "--intervals", "debiased"], "scad"), (["lasso", "--relaxed", "--positive"], "relaxed"),
        (["multinomial", "--relaxed"], "relaxed"), (["multinomial", "--joint", "--mixing", "0.5"], "--mixing"),
        (["multinomial", "--joint", "--positive"], "--positive"),
        (["mixed", "--choose", "bic", "--rule", "min"], "--rule"),
        (["mixed", "--choose", "bic", "--lambda", "1"], "--choose"),
        (["screen", "--estimator", "histogram", "--cells", "50"], "--cells"),
        (["lasso", "--private", "1", "--feature-bound", "1", "--target-bound", "1", "--positive"], "--positive"),
        (["lasso", "--private", "1", "--feature-bound", "1", "--target-bound", "1", "--rule", "min"], "--rule"),
        (["l0", "--private", "1", "--feature-bound", "1", "--target-bound", "1", "--delta", "0.1"], "--delta"),
    ]) func nothingThatIsSaidIsPassedOver(arguments: [String], word: String) throws {
        let executable = try #require(CommandLineTests.executable)
        let outcome = try ChildProcess(
            executable: executable,
            arguments: ["fit", arguments[0], "/nowhere/none.csv", "--target", "y"] + arguments.dropFirst()
        ).run()
        #expect(outcome.status != 0 && outcome.output.isEmpty, "\(outcome)")
        #expect(outcome.errorOutput.contains(word) && !outcome.errorOutput.contains("No such file"))
    }

    /// Several targets are refused before too, and what is written about text where there is none.
    @Test func whatIsForOtherTablesIsRefused() throws {
        let tables = try Tables()
        for (arguments, word) in [
            (["lasso", "/nowhere/none.csv", "--target", "a,b", "--family", "poisson"], "several targets"),
            (["l0", "/nowhere/none.csv", "--target", "a,b", "--size", "2"], "several targets"),
            (["lasso", "AT/t.svm", "--lambda", "0.1", "--missing", "mean"], "--missing"),
            (["lasso", "AT/t.svm", "--lambda", "0.1", "--text", "drop"], "--text"),
            (["lasso", "AT/t.svm", "--lambda", "0.1", "--na", "x"], "--na"),
            (["lasso", "AT/t.svm", "--lambda", "0.1", "--header", "no"], "--header"),
            (["inspect", "AT/t.svm", "--decimal", "comma"], "--decimal"),
        ] {
            let outcome = try tables.run(arguments)
            #expect(outcome.status == 2 && outcome.errorOutput.contains(word), "\(arguments): \(outcome.errorOutput)")
        }
    }

    @Test(arguments: [
        (["lasso", "AT/t.csv", "--target", "price"], "column 'c'"),
        (["lasso", "AT/t.csv", "--target", "price", "--missing", "mean"], "--text one-hot"),
        (["lasso", "AT/t.csv", "--target", "nothing"], "no column 'nothing'"),
        (["lasso", "AT/t.csv"], "--target"), (["lasso", "AT/none.csv", "--target", "a"], "none.csv"),
        (["lasso", "AT/t.csv", "--target", "ill", "--missing", "mean", "--text", "drop"], "logistic"),
        (["logistic", "AT/t.csv", "--target", "a", "--missing", "mean", "--text", "drop"], "classes"),
        (["lasso", "AT/t.xyz", "--target", "a"], "xyz"),
        (["lasso", "AT/t.csv", "--target", "price", "--folds", "1"], "--folds"),
        (["lasso", "AT/t.csv", "--target", "price", "--lambda", "-1"], "--lambda"),
        (["mcp", "AT/t.svm", "--shape", "0.5"], "--shape"), (["lasso", "AT/t.mtx", "--target", "AT/t.csv"], "finite"),
        (["screen", "AT/t.csv", "--target", "price"], "column 'c'"), (["screen", "AT/t.mtx"], "--target"),
        (["screen", "AT/t.svm", "--top", "0"], "--top"), (["screen", "AT/t.svm", "--cells", "1"], "--cells"),
        (["screen", "AT/t.svm", "--permutations", "-1"], "--permutations"),
        (["predict", "AT/t.csv", "AT/t.csv"], "t.csv"), (["group-lasso", "AT/t.svm", "--group-size", "0"], "--group"),
    ]) func badInputIsRefused(arguments: [String], word: String) throws {
        let tables = try Tables()
        let executable = try #require(CommandLineTests.executable)
        let outcome = try ChildProcess(
            executable: executable, arguments: ["fit"] + arguments.map { $0.replacing("AT", with: tables.root) }
        ).run()
        #expect(outcome.status == 2 && outcome.output.isEmpty, "\(outcome)")
        #expect(outcome.errorOutput.contains(word), "\(outcome.errorOutput)")
    }
}
