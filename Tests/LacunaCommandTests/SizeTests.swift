import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Numbers and inputs of absurd sizes: a sentence, never a trap.
@Suite struct SizeTests {
    /// Every option that takes a whole number, in a command line that is otherwise right.
    static let integers: [[String]] =
        ["rows", "columns", "vectors", "rounds", "threads"].map { ["bench", "kernels", "--\($0)"] }
        + ["rows", "columns", "vectors"].map { ["bench", "explain", "--\($0)"] }
        + ["sequences", "sequence-length", "seed", "threads"].map { ["prune", "m", "--output", "o", "--\($0)"] }
        + ["tokens", "window", "stride", "threads"].map { ["eval", "m", "--text", "t", "--\($0)"] }
        + ["tokens", "window", "sequences", "sequence-length", "seed"].map { ["sweep", "m", "--text", "t", "--\($0)"] }
        + ["max-tokens", "top-k", "seed", "context"].map { ["run", "m", "--prompt", "x", "--\($0)"] }
        + ["tokens", "sequences", "seed"].map { ["demo", "--\($0)"] }
        + ["folds", "count", "seed", "top", "threads"].map { ["fit", "lasso", "t.csv", "--target", "y", "--\($0)"] }
        + ["group-size"].map { ["fit", "group-lasso", "t.csv", "--target", "y", "--\($0)"] }
        + ["size"].map { ["fit", "l0", "t.csv", "--target", "y", "--\($0)"] }
        + ["top", "cells", "permutations", "seed"].map { ["fit", "screen", "t.csv", "--target", "y", "--\($0)"] }
        + ["steps"].map { ["fit", "dag", "t.csv", "--\($0)"] } + [
            ["reproduce", "23", "--seed"], ["inspect", "m", "--threads"],
        ]

    @Test(arguments: integers) func integersHaveRanges(_ arguments: [String]) throws {
        let option = try #require(arguments.last)
        for value in ["-1", "99999999999999999999", "1.5"] {
            for line in [arguments + [value], Array(arguments.dropLast()) + ["\(option)=\(value)"]] {
                do {
                    _ = try LacunaCommand.parseAsRoot(line)
                    Issue.record("\(line) is accepted")
                } catch {
                    let message = LacunaCommand.fullMessage(for: error)
                    #expect(message.contains(option), "\(line): \(message)")
                    #expect(message.contains("must be a whole number from "), "\(line): \(message)")
                }
            }
        }
    }

    @Test(arguments: [
        ["prune", "m", "--output", "o", "--sparsity"], ["bench", "explain", "--sparsity"], ["demo", "--sparsity"],
        ["eval", "m", "--text", "t", "--at-most"], ["run", "m", "--prompt", "x", "--temperature"],
        ["run", "m", "--prompt", "x", "--top-p"], ["sweep", "m", "--text", "t", "--tolerance"],
        ["fit", "lasso", "t", "--target", "y", "--lambda"], ["fit", "lasso", "t", "--target", "y", "--ratio"],
        ["fit", "lasso", "t", "--target", "y", "--tolerance"],
        ["fit", "elastic-net", "t", "--target", "y", "--mixing"],
        ["fit", "scad", "t", "--target", "y", "--shape"], ["fit", "mcp", "t", "--target", "y", "--shape"],
        ["fit", "mixed", "t", "--target", "y", "--degrees-of-freedom"], ["fit", "dag", "t", "--lambda"],
        ["fit", "dag", "t", "--threshold"], ["fit", "lasso", "t", "--target", "y", "--private"],
    ]) func numbersHaveRanges(_ arguments: [String]) throws {
        for value in ["-1", "nan", "inf", "-inf", "1e999", "x"] {
            do {
                _ = try LacunaCommand.parseAsRoot(arguments + [value])
                Issue.record("\(arguments) \(value) is accepted")
            } catch {
                #expect(LacunaCommand.fullMessage(for: error).contains("must be a number "), "\(arguments) \(value)")
            }
        }
    }

    @Test func rangesSayWhatTheyAre() {
        #expect(NumberRange.atLeast(0).description == "a number at least 0")
        #expect(NumberRange.above(0, atMost: 1).description == "a number above 0 and at most 1")
        #expect(NumberRange.from(0, below: 1).description == "a number at least 0 and below 1")
        let cases: [(NumberRange, [Double], [Double])] = [
            (.atLeast(0), [0, 1e300], [-1e-300, .infinity, .nan]), (.above(2), [2.1], [2, .infinity]),
            (.above(0, atMost: 1), [1e-9, 1], [0, 1.1]), (.above(0, below: 1), [0.5], [0, 1]),
            (.from(0, to: 1), [0, 1], [-0.1, 1.1]), (.from(0, below: 1), [0], [1]),
        ]
        for (range, inside, outside) in cases {
            #expect(inside.allSatisfy(range.contains) && !outside.contains(where: range.contains), "\(range)")
        }
    }

    @Test func matricesBeyondTheMachineAreRefused() throws {
        for verb in ["explain", "kernels"] {
            let outcome = try Program().run(["bench", verb, "--rows", "1000000", "--columns", "1000000"])
            #expect(outcome.status == 1 && outcome.errorOutput.contains("memory for matrices of 1000000 by 1000000"))
            #expect(outcome.errorOutput.contains("are needed") && outcome.errorOutput.contains("are available"))
        }
    }

    // MARK: Models

    @Test func aModelsMemoryIsAskedForBeforeItIsLoaded() throws {
        let tiny = try TinyModel()
        // A file of 400 GB that takes next to nothing on the disk.
        let (rows, columns) = (400_000, 250_000)
        var header = Array(
            #"{"model.embed_tokens.weight":{"dtype":"F32","shape":[\#(rows),\#(columns)],"data_offsets":[0,\#(4 * rows * columns)]}}"#
                .utf8)
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> ($0 * 8)) }
        let file = tiny.path + "/model.safetensors"
        try AtomicFile.write(length + header, to: file)
        guard truncate(file, 8 + header.count + 4 * rows * columns) == 0 else { return }
        try AtomicFile.write(TinyModel.training(from: tiny.path, text: tiny.text), to: tiny.root + "/tune.toml")
        for command in [
            ["run", tiny.path, "--prompt", "x"], ["eval", tiny.path, "--text", tiny.text],
            ["train", tiny.root + "/tune.toml", "--output", tiny.root + "/out"],
        ] {
            let outcome = try Program(time: 10).run(command)
            #expect(outcome.status == 1, "\(outcome)")
            #expect(outcome.errorOutput.contains("model: 400.0 GB are needed"), "\(outcome)")
            // Where not even the address space suffices, that is no fault of the file either.
            let cramped = try Program(memory: 3_000_000, time: 10).run(command)
            #expect(cramped.status == 1 && cramped.errorOutput.contains("GB are needed"), "\(cramped)")
        }
        #expect(!FileSystem.exists(tiny.root + "/out"))
        let inspection = try Program(time: 10).run("inspect", tiny.path)
        #expect(inspection.status == 1 && inspection.errorOutput.contains("model.embed_tokens.weight"))
    }

    @Test func longConversationsAreAskedForToo() throws {
        let tiny = try TinyModel()
        let outcome = try Program().run("run", tiny.path, "--chat", "--context", "2000000000", input: "")
        #expect(outcome.status == 2, "\(outcome.errorOutput)")
    }

    // MARK: Tables

    /// The most memory that a command had while somebody looked, which is a hundred times a second.
    private func peak(_ arguments: [String]) throws -> Int {
        let executable = try #require(CommandLineTests.executable, "the program is not beside the tests")
        let script = """
            "$0" "$@" > /dev/null & p=$!
            while h=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$p/status) && [ -n "$h" ]; do m=$h; sleep 0.01; done
            wait $p || exit 1
            echo $m
            """
        var process = ChildProcess(executable: "/bin/sh", arguments: ["-c", script, executable] + arguments)
        process.environment = ["OPENBLAS_NUM_THREADS": "1"]
        // On a busy machine a command may be done before anybody has looked.
        for _ in 0..<5 {
            let outcome = try process.run()
            #expect(outcome.status == 0, "\(arguments): \(outcome.errorOutput)")
            if let seen = Int(outcome.output.split(separator: "\n").last ?? "") { return 1024 * seen }
        }
        Issue.record("nobody saw the memory of \(arguments)")
        return 0
    }

    /// Tables of the worst shapes: a column, or a row, for each entry, and columns that are announced and never come.
    @Test func tablesTakeASmallMultipleOfTheirFile() throws {
        guard FileSystem.exists("/proc/self/status") else { return }
        let folder = try Folder()
        let target = try folder.write((0..<200).map { "\($0 % 7)\n" }.joined(), to: "y.txt")
        let few = try folder.write("1 1:1\n2 2:1\n3 1:1\n4 2:3\n", to: "few.svm")
        func fit(_ file: String, _ more: String...) -> [String] {
            ["fit", "lasso", file, "--threads", "1", "--quiet"] + more
        }
        let least = try peak(fit(few, "--lambda", "0.1"))
        let columns = 300_000
        let wide = try folder.write(
            (0..<200).map { row in
                "\(row % 7)" + stride(from: row + 1, through: columns, by: 200).map { " \($0):1" }.joined() + "\n"
            }.joined(), to: "wide.svm")
        let strength = ["--lambda", "0.2"]
        // Measured: 141, 164 and 141 bytes a column.
        #expect(try peak(fit(wide) + strength) - least < 190 * columns)
        #expect(try peak(fit(wide, "--folds", "2", "--count", "3", "--ratio", "0.9")) - least < 210 * columns)
        // The model has a line for each of them.
        #expect(try peak(fit(wide, "--model", folder.file("m.json")) + strength) - least < 190 * columns)
        #expect(try peak(["fit", "inspect", wide]) - least < 110 * columns)
        #expect(try peak(["fit", "inspect", wide, "--json"]) - least < 120 * columns)
        let rows = 300_000
        let long = try folder.write((0..<rows).map { "\($0 % 5) \($0 % 50 + 1):1\n" }.joined(), to: "long.svm")
        #expect(try peak(fit(long) + strength) - least < 170 * rows)
        let announced = try folder.write(
            "%%MatrixMarket matrix coordinate pattern general\n200 4000000 200\n"
                + (1...200).map { "\($0) \($0 * 20_000)\n" }.joined(), to: "announced.mtx")
        #expect(try peak(fit(announced, "--target", target) + strength) - least < 16 << 20)
    }

    // MARK: Training

    @Test func trainingThatCannotFitIsRefused() throws {
        let folder = try Folder()
        try folder.write("a,b,class\n" + (0..<20).map { "\($0),1,\($0 % 2)\n" }.joined(), to: "t.csv")
        func train(_ more: String, hidden: String = "[4]") throws -> ChildProcess.Outcome {
            let config = try folder.write(
                """
                [data]
                kind = "csv"
                path = "\(folder.file("t.csv"))"
                [model]
                kind = "mlp"
                hidden = \(hidden)
                [optimizer]
                learning_rate = 0.1
                [training]
                steps = 2
                [method]
                \(more)
                """, to: "run.toml")
            return try Program(memory: 6_000_000, time: 20).run(
                "train", config, "--output", folder.file("out"), "--quiet")
        }
        let wide = try train("name = \"dense\"", hidden: "[65536, 65536]")
        #expect(wide.status == 1 && wide.errorOutput.contains("memory for training"), "\(wide)")
        for (more, key) in [
            ("name = \"sltrain\"\nrank = 9223372036854775807", "method.rank"),
            ("name = \"sltrain\"\nrank = 1000000", "method.rank"),
            ("name = \"random-search\"\ntrials = 0", "method.trials"),
            ("name = \"rigl\"\nsparsity = 0.5\ninterval = 99999999999", "method.interval"),
        ] {
            let outcome = try train(more)
            #expect(outcome.status == 2 && outcome.errorOutput.contains(key), "\(outcome.errorOutput)")
            #expect(outcome.errorOutput.contains("run.toml: line "))
        }
    }

    // MARK: Inputs of size 0

    /// A `.npy` file of doubles.
    private func npy(_ shape: String, fortran: Bool, _ values: [Double]) -> [UInt8] {
        var header = "{'descr': '<f8', 'fortran_order': \(fortran ? "True" : "False"), 'shape': \(shape), }"
        while (10 + header.utf8.count + 1) % 64 != 0 { header += " " }
        header += "\n"
        return [0x93] + Array("NUMPY".utf8)
            + [1, 0, UInt8(header.utf8.count % 256), UInt8(header.utf8.count / 256)] + Array(header.utf8)
            + values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
    }

    @Test func emptyTablesAreErrors() throws {
        let folder = try Folder()
        var files: [(String, [String])] = []
        for (index, shape) in ["(5, 0)", "(0, 5)", "(0,)", "(0, 0)"].enumerated() {
            for fortran in [false, true] {
                files.append(
                    (
                        try folder.write(npy(shape, fortran: fortran, []), to: "\(index)\(fortran).npy"),
                        ["--target", "1"]
                    ))
            }
        }
        // Nothing beside the target.
        files.append(
            (try folder.write(npy("(5, 1)", fortran: true, [1, 2, 3, 4, 5]), to: "one.npy"), ["--target", "1"]))
        files.append((try folder.write("", to: "e.csv"), ["--target", "y"]))
        files.append((try folder.write("a,y\n", to: "h.csv"), ["--target", "y"]))
        files.append((try folder.write("", to: "e.svm"), []))
        files.append(
            (try folder.write("%%MatrixMarket matrix array real general\n0 0\n", to: "e.mtx"), ["--target", "y.txt"]))
        for (file, more) in files {
            for command in ["lasso", "logistic", "screen", "mixed", "l0"] {
                let outcome = try Program(time: 10).run(["fit", command, file, "--quiet"] + more)
                #expect(
                    outcome.status == 2 && outcome.errorOutput.contains("lacuna: error: "),
                    "\(command) \(file): \(outcome)")
            }
            let dag = try Program(time: 10).run(["fit", "dag", file, "--quiet", "--steps", "1"])
            #expect(dag.status != 0 || file.hasSuffix("one.npy"), "dag \(file): \(dag)")
            #expect(dag.status <= 2, "dag \(file): \(dag)")
        }
    }

    @Test func noImagesAreAnError() throws {
        let folder = try Folder()
        func idx(_ shape: [UInt32]) -> [UInt8] {
            [0, 0, 8, UInt8(shape.count)]
                + shape.flatMap { value in (0..<4).map { UInt8(value >> UInt32(24 - 8 * $0) & 255) } }
        }
        for part in ["train", "t10k"] {
            try folder.write(idx([0, 28, 28]), to: "\(part)-images-idx3-ubyte")
            try folder.write(idx([0]), to: "\(part)-labels-idx1-ubyte")
        }
        let config = try folder.write(
            """
            [data]
            kind = "fashion-mnist"
            path = "\(folder.path)"
            limit = 5
            [model]
            kind = "mlp"
            hidden = [4]
            [optimizer]
            learning_rate = 0.1
            [training]
            epochs = 1
            """, to: "run.toml")
        let outcome = try Program(time: 10).run("train", config, "--output", folder.file("out"))
        #expect(outcome.status == 2 && outcome.errorOutput.contains("0 to train"), "\(outcome)")
    }

    /// Squares of these are not finite.
    @Test func numbersTooLargeToSquareAreErrors() throws {
        let folder = try Folder()
        let target = try folder.write("a,y\n1,1e308\n2,-1e308\n3,5e307\n4,2\n", to: "y.csv")
        let feature = try folder.write("a,y\n1e200,1\n2,-1\n3,5\n-1e200,2\n", to: "x.csv")
        for (file, more) in [
            (target, ["--lambda", "0.1"]), (target, ["--folds", "2"]), (feature, ["--lambda", "0.1"]),
        ] {
            for command in ["lasso", "elastic-net", "scad", "mcp", "l0", "group-lasso", "mixed"] {
                let outcome = try Program(time: 5).run(["fit", command, file, "--target", "y", "--quiet"] + more)
                #expect(
                    outcome.status == 2 && outcome.errorOutput.contains("to be squared"),
                    "\(command) \(file): \(outcome)")
            }
        }
    }
}
