import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// `lacuna fit` of times to events, of so many columns, of classes without labels and of surveys, on tables with a known answer.
@Suite struct FitFamiliesCommandTests {
    private let folder: Folder
    private let program: Program

    init() throws {
        folder = try Folder()
        program = Program(directory: folder.path)
    }

    private func json(_ arguments: String...) throws -> JSONValue {
        let outcome = try program.run(arguments + ["--json", "--quiet"])
        #expect(outcome.status == 0, "\(arguments): \(outcome.errorOutput)")
        return try JSONValue(parsing: outcome.output)
    }

    private func refused(_ arguments: String..., saying part: String) throws {
        let outcome = try program.run(arguments)
        #expect(outcome.status == 2, "\(arguments): \(outcome)")
        #expect(outcome.errorOutput.contains(part), "\(arguments): \(outcome.errorOutput)")
    }

    private func coefficients(_ result: JSONValue) -> [String: Double] {
        var found: [String: Double] = [:]
        for feature in result["features"]?.arrayValue ?? [] {
            if let name = feature["name"]?.stringValue { found[name] = feature["coefficient"]?.doubleValue }
        }
        return found
    }

    /// 160 rows whose hazard is e^(1.5 a - b); a third was lost from sight.
    private func survival() throws {
        var random = SeededGenerator(seed: 5)
        var csv = "a,b,c,d,days,died\n"
        for row in 0..<160 {
            let (a, b, c, d) = (random.normal(), random.normal(), random.normal(), random.normal())
            let days = -logarithm(1 - random.uniform()) * exponential(b - 1.5 * a)
            csv += "\(a),\(b),\(c),\(d),\(days),\(row % 3 == 0 ? "no" : "yes")\n"
        }
        try folder.write(csv, to: "t.csv")
    }

    @Test func timesToEvents() throws {
        try survival()
        let found = coefficients(
            try json(
                "fit", "lasso", "t.csv", "--target", "days", "--family", "cox", "--event", "died", "--lambda", "0.02",
                "--model", "m.json"))
        #expect(found["a", default: 0] > 0.8 && found["b", default: 0] < -0.4, "\(found)")
        #expect(found["days"] == nil && found["died"] == nil)
        let judged = try program.run(["fit", "predict", "m.json", "t.csv", "--target", "days"])
        #expect(judged.status == 0 && (judged.output + judged.errorOutput).contains("concordance"), "\(judged)")
        try refused("fit", "lasso", "t.csv", "--target", "days", "--family", "cox", saying: "--event")
        try refused("fit", "lasso", "t.csv", "--target", "days", "--event", "died", saying: "--family cox")
        try refused(
            "fit", "lasso", "t.csv", "--target", "days", "--family", "cox", "--event", "c", saying: "c")
    }

    @Test func soManyColumns() throws {
        var random = SeededGenerator(seed: 6)
        var csv = "a,b,c,d,price\n"
        for _ in 0..<80 {
            let x = (0..<4).map { _ in random.normal() }
            csv += x.map { "\($0)" }.joined(separator: ",") + ",\(3 * x[0] - 2 * x[2] + 0.1 * random.normal())\n"
        }
        try folder.write(csv, to: "t.csv")
        let two = coefficients(try json("fit", "l0", "t.csv", "--target", "price", "--size", "2"))
        #expect(Set(two.filter { $0.value != 0 }.keys) == ["a", "c"] && abs(two["a", default: 0] - 3) < 0.1, "\(two)")
        let chosen = coefficients(try json("fit", "l0", "t.csv", "--target", "price", "--size", "cv"))
        #expect(chosen["a"] != nil && chosen["c"] != nil)
        let sorted = coefficients(try json("fit", "slope", "t.csv", "--target", "price", "--lambda", "0.05"))
        #expect(sorted["a", default: 0] > 2.5 && sorted["c", default: 0] < -1.5, "\(sorted)")
        try refused("fit", "l0", "t.csv", "--target", "price", "--size", "0", saying: "--size")
        try refused(
            "fit", "slope", "t.csv", "--target", "price", "--rate", "0.1", "--oscar", "0.5", saying: "--oscar")
    }

    /// Two classes far apart in two features, mixed 9 to 1, 1 to 1 and 1 to 9.
    @Test func classesWithoutLabels() throws {
        var random = SeededGenerator(seed: 7)
        var csv = "x,y,place,kind\n"
        for (place, share) in [("north", 0.9), ("middle", 0.5), ("south", 0.1)] {
            for _ in 0..<120 {
                let isFirst = random.uniform() < share
                let centre = isFirst ? 2.0 : -2.0
                csv += "\(centre + random.normal()),\(random.normal() - centre),\(place),\(isFirst ? "cat" : "dog")\n"
            }
        }
        try folder.write(csv, to: "t.csv")
        let found = try json(
            "fit", "shift", "t.csv", "--domain", "place", "--classes", "2", "--truth", "kind", "--output", "o.csv")
        #expect(try #require(found["accuracy"]?.doubleValue) > 0.9)
        #expect(found["domains"]?.arrayValue?.count == 3)
        let lines = try FileSystem.readText(folder.file("o.csv")).split(separator: "\n")
        #expect(lines.count == 361 && lines[0] == "class,probability")
        try refused(
            "fit", "shift", "t.csv", "--domain", "nowhere", "--classes", "2", "--truth", "kind", saying: "nowhere")
        try refused(
            "fit", "shift", "t.csv", "--domain", "place", "--classes", "9", "--truth", "kind", saying: "domains")
    }

    @Test func surveysWhoseRowsStay() throws {
        func survey(_ name: String, _ more: String...) throws -> ChildProcess.Outcome {
            try program.run(
                [
                    "fit", "private-survey", "--features", "a,b", "--target", "y", "--private", "4", "--feature-bound",
                    "1",
                    "--target-bound", "1", "--output", name,
                ] + more)
        }
        #expect(try survey("s.json").status == 0)
        var messages: [String] = []
        var random = SeededGenerator(seed: 8)
        for user in 0..<6 {
            let (a, b) = (random.uniform(), random.uniform())
            try folder.write("a,b,y\n\(a),\(b),\(0.8 * a)\n", to: "\(user).csv")
            let outcome = try program.run([
                "fit", "private-message", "s.json", "\(user).csv", "--output", "\(user).json", "--noise-seed",
                "\(user)",
            ])
            #expect(outcome.status == 0 && outcome.errorOutput.contains("ε = 4"), "\(outcome.errorOutput)")
            messages.append("\(user).json")
        }
        let sum = try JSONValue(
            parsing: program.run(["fit", "private-sum", "s.json"] + messages + ["--json", "--sum", "sum.json"]).output)
        #expect(sum["users"]?.intValue == 6 && sum["privacy"]?["epsilon"]?.doubleValue == 4)
        // Six users hide behind noise, and that is said.
        #expect(sum["isNoiseDominated"]?.boolValue == true)
        // Sums can be summed.
        let again = try JSONValue(parsing: program.run(["fit", "private-sum", "s.json", "sum.json", "--json"]).output)
        #expect(again["users"]?.intValue == 6)
        // Another survey's messages are not taken.
        #expect(try survey("other.json", "--rounds", "2", "--sparsity", "1").status == 0)
        try refused("fit", "private-sum", "other.json", "0.json", saying: "0.json")
        #expect(try survey("third.json", "--rounds", "2").errorOutput.contains("--sparsity"))
        // A single round of gradients has no threshold either.
        #expect(try survey("once.json", "--rounds", "1", "--sparsity", "1").status == 0)
        try refused("fit", "private-sum", "once.json", "0.json", "--lambda", "1", saying: "--lambda")
        #expect(try survey("s.json").status == 2, "a file that is there is not replaced")
    }
}
