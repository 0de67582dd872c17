import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Where results may go, what they replace, and what they never do.
@Suite struct OutputTests {
    private static let table = "a,b,y\n" + (0..<12).map { "\($0),\($0 * $0 % 7),\(2 * $0 + 1)\n" }.joined()

    private func prune(_ tiny: TinyModel, to output: String, _ more: String..., in directory: String? = nil) throws
        -> ChildProcess.Outcome
    {
        try Program(directory: directory).run(
            ["prune", tiny.path, "--method", "magnitude", "--output", output, "--quiet"] + more)
    }

    // MARK: Directories

    @Test func theCurrentDirectoryIsWrittenInto() throws {
        let tiny = try TinyModel()
        let here = tiny.root + "/here"
        try FileSystem.createDirectory(here)
        #expect(try prune(tiny, to: ".", in: here).status == 0)
        #expect(try tiny.lacuna("run", "OUT/here", "--prompt", "x", "--max-tokens", "1", "--quiet").status == 0)
        // Again, over what is there; its neighbours see nothing of it.
        #expect(try prune(tiny, to: ".", in: here).status == 2)
        #expect(try prune(tiny, to: ".", "--force", "--sparsity", "0.75", in: here).status == 0)
        let mlp = try tiny.json("inspect", "OUT/here", "--filter", "mlp")["tensors"]?.arrayValue ?? []
        #expect(!mlp.isEmpty && mlp.allSatisfy { abs(($0["sparsity"]?.doubleValue ?? 0) - 0.75) < 1e-9 })
        #expect(try FileSystem.list(tiny.root) == ["here", "model", "text.txt"])
        #expect(try FileSystem.list(here).filter { $0.hasPrefix(".") } == [AtomicDirectory.markerName])
    }

    @Test func emptyDirectoriesAndLinksAreTaken() throws {
        let tiny = try TinyModel()
        try FileSystem.createDirectory(tiny.root + "/empty")
        #expect(symlink("empty", tiny.root + "/link") == 0)
        #expect(try prune(tiny, to: tiny.root + "/link").status == 0)
        #expect(try FileSystem.list(tiny.root + "/empty").contains("model.safetensors"))
        #expect(try prune(tiny, to: tiny.root + "/link/", "--force").status == 0)
        #expect(try FileSystem.list(tiny.root) == ["empty", "link", "model", "text.txt"])
    }

    /// What cannot work is refused before the model is even looked for.
    @Test func impossiblePlacesAreRefusedBeforeTheWork() throws {
        let tiny = try TinyModel()
        try FileSystem.createDirectory(tiny.root + "/web/src")
        try AtomicFile.write("{}", to: tiny.root + "/web/config.json")
        try AtomicFile.write("code", to: tiny.root + "/web/src/main.js")
        for (place, word) in [
            ("web", "was not written by Lacuna"), ("text.txt", "is a file"), ("text.txt/below", "not a directory"),
        ] {
            let outcome = try Program().run(
                "prune", tiny.root + "/absent", "--method", "magnitude", "--output", "\(tiny.root)/\(place)", "--force")
            #expect(outcome.status == 2 && outcome.errorOutput.contains(word), "\(outcome.errorOutput)")
        }
        #expect(try FileSystem.readText(tiny.root + "/web/src/main.js") == "code")
        let empty = try prune(tiny, to: "")
        #expect(empty.status == 2 && empty.errorOutput.contains("--output"))
    }

    @Test func strangersInADirectoryOfOursAreSpared() throws {
        let tiny = try TinyModel()
        #expect(try prune(tiny, to: tiny.root + "/out").status == 0)
        try AtomicFile.write("mine", to: tiny.root + "/out/notes.txt")
        let outcome = try prune(tiny, to: tiny.root + "/out", "--force")
        #expect(outcome.status == 2 && outcome.errorOutput.contains("notes.txt"))
        #expect(try FileSystem.readText(tiny.root + "/out/notes.txt") == "mine")
    }

    @Test func theSecondWriterIsToldTheFirst() throws {
        let tiny = try TinyModel()
        let lock = try DirectoryLock(tiny.root + "/out")
        let outcome = try prune(tiny, to: tiny.root + "/out")
        #expect(outcome.status == 2)
        #expect(outcome.errorOutput.contains("/out: is being written by process \(getpid())"))
        lock.release()
        #expect(try prune(tiny, to: tiny.root + "/out").status == 0)
    }

    /// Verbs that fill a directory as they go write only where nothing of somebody else's can be overwritten.
    @Test func runsTakeNoPlaceOfOthers() throws {
        let tiny = try TinyModel()
        let folder = try Folder()
        try folder.write("a,b,class\n" + (0..<20).map { "\($0),\($0 % 7),\($0 % 2)\n" }.joined(), to: "t.csv")
        let config = try folder.write(
            """
            [data]
            kind = "csv"
            path = "\(folder.file("t.csv"))"
            [model]
            kind = "mlp"
            hidden = [4]
            [optimizer]
            learning_rate = 0.1
            [training]
            steps = 2
            """, to: "run.toml")
        let explain = [
            "explain", "train", tiny.path, "--layer", "0", "--text", tiny.text, "--context", "16", "--width", "16",
            "--k",
            "2", "--batch", "16", "--steps", "2", "--quiet", "--output",
        ]
        let compare = [
            "explain", "compare", tiny.path, tiny.path, "--layer", "0", "--text", tiny.text, "--context", "16",
            "--width",
            "16", "--k", "2", "--batch", "16", "--steps", "2", "--quiet", "--output",
        ]
        let train = ["train", config, "--quiet", "--output"]
        for name in ["config.toml", "report.html", "metrics.jsonl", "notes.txt", "first"] {
            try FileSystem.remove(folder.file("mine"))
            try FileSystem.createDirectory(folder.file("mine"))
            try folder.write("precious", to: "mine/\(name)")
            for command in [train, explain, compare] {
                let outcome = try Program().run(command + [folder.file("mine")])
                #expect(
                    outcome.status == 2 && outcome.errorOutput.contains("holds '\(name)'"), "\(command): \(outcome)")
            }
            #expect(try FileSystem.readText(folder.file("mine/\(name)")) == "precious")
            #expect(try FileSystem.list(folder.file("mine")) == [name])
            #expect(try Program().run(train + [folder.file("mine/\(name)")]).errorOutput.contains("is a file"))
        }
        // The user's own configuration may lie where the run goes.
        try FileSystem.remove(folder.file("mine"))
        try FileSystem.createDirectory(folder.file("mine"))
        try folder.write(FileSystem.readBytes(config), to: "mine/config.toml")
        #expect(
            try Program().run("train", folder.file("mine/config.toml"), "--quiet", "--output", folder.file("mine"))
                .status
                == 0)
        for (command, place) in [(explain, "explained"), (compare, "compared")] {
            let early = try Program().run(command + [folder.file(place), "--resume"])
            #expect(early.status == 2 && early.errorOutput.contains("checkpoint.safetensors: is not there"))
            #expect(early.errorOutput.contains("without --resume"))
            #expect(!FileSystem.exists(folder.file(place)))
            #expect(try Program().run(command + [folder.file(place)]).status == 0)
            #expect(try Program().run(command + [folder.file(place)]).errorOutput.contains("--resume"))
        }
        // A mistake in the configuration leaves nothing.
        let wrong = try folder.write("[data]\nkind = \"nothing\"\n", to: "wrong.toml")
        #expect(try Program().run("train", wrong, "--output", folder.file("never")).status == 2)
        #expect(!FileSystem.exists(folder.file("never")))
    }

    // MARK: Files

    @Test func aDashIsStandardOutput() throws {
        let folder = try Folder()
        let table = try folder.write(Self.table, to: "t.csv")
        let fit = ["fit", "lasso", table, "--target", "y", "--lambda", "0.1", "--quiet"]
        let page = try Program(directory: folder.path).run(fit + ["--report", "-"])
        #expect(page.status == 0 && page.output.hasPrefix("<!DOCTYPE html>") && page.output.hasSuffix("</html>\n"))
        #expect(page.errorOutput.contains("coefficient"))
        let model = try Program(directory: folder.path).run(fit + ["--model", "-", "--json"])
        #expect(try JSONValue(parsing: model.output)["format"]?.stringValue == "lacuna-fit")
        #expect(try FileSystem.list(folder.path) == ["t.csv"])
        for twice in [["--report", "-", "--model", "-"], ["--report", folder.file("x"), "--model", folder.file("x")]] {
            #expect(try Program().run(fit + twice).status == 2)
        }
    }

    @Test func aDashIsStandardInput() throws {
        let fit = try Program().run("fit", "lasso", "-", "--target", "y", "--lambda", "0.1", input: Self.table)
        #expect(fit.status == 0 && fit.output.contains("12 rows, 2 features"), "\(fit.errorOutput)")
        let tiny = try TinyModel()
        let words = String(repeating: "left out on purpose ", count: 40)
        let eval = try Program().run("eval", tiny.path, "--text", "-", "--json", "--quiet", input: words)
        #expect(try JSONValue(parsing: eval.output).arrayValue?.first?["tokens"]?.intValue == 800)
        let prune = try Program().run(
            "prune", tiny.path, "--calibration", "-", "--sequences", "4", "--sequence-length", "64", "--output",
            tiny.root + "/out", "--quiet", input: words)
        #expect(prune.status == 0 && prune.output.contains("256 tokens"), "\(prune.errorOutput)")
    }

    @Test func devicesPipesAndLinksStayWhatTheyAre() throws {
        let folder = try Folder()
        let table = try folder.write(Self.table, to: "t.csv")
        #expect(symlink("real.html", folder.file("link.html")) == 0)
        let fit = ["fit", "lasso", table, "--target", "y", "--lambda", "0.1", "--quiet"]
        #expect(try Program().run(fit + ["--report", "/dev/null", "--force"]).status == 0)
        #expect(!FileSystem.isPlainFile("/dev/null"))
        #expect(try Program().run(fit + ["--report", folder.file("link.html")]).status == 0)
        #expect(FileSystem.isPlainFile(folder.file("real.html")))
        #expect(try Program().run(fit + ["--report", folder.file("link.html")]).status == 2)
        let through = try Program().run(fit + ["--model", "/dev/stdout"])
        #expect(through.output.contains("lacuna-fit"), "\(through)")
        #expect(try FileSystem.list(folder.path) == ["link.html", "real.html", "t.csv"])
    }

    /// `>>` adds, also where the file is opened by the name of standard output.
    @Test func whatStandardOutputHasStays() throws {
        let folder = try Folder()
        try TinyModel.writeEncoder(to: folder.file("encoder"))
        try folder.write(#"{"_id": "a", "text": "gap"}"# + "\n", to: "c.jsonl")
        let table = try folder.write(Self.table, to: "t.csv")
        let executable = try #require(CommandLineTests.executable)
        for command in [
            "encode c.jsonl --model encoder", "encode c.jsonl --model encoder --output /dev/stdout",
            "fit lasso \(table) --target y --lambda 0.1 --quiet --model /dev/stdout",
        ] {
            let log = try folder.write("before\n", to: "log")
            let outcome = try ChildProcess(
                executable: "/bin/sh",
                arguments: ["-c", "cd '\(folder.path)'; '\(executable)' \(command) >> log; echo after >> log"]
            ).run()
            let text = try FileSystem.readText(log)
            #expect(
                outcome.status == 0 && text.hasPrefix("before\n{") && text.hasSuffix("}\nafter\n"),
                "\(command): \(text)")
        }
        // And what has been read of standard input is not read again.
        let rest = try ChildProcess(
            executable: "/bin/sh",
            arguments: [
                "-c",
                "cd '\(folder.path)'; { echo first; cat t.csv; } > in; { read x; '\(executable)' fit inspect -; } < in",
            ]
        ).run()
        #expect(rest.status == 0 && rest.output.contains("12 rows"), "\(rest)")
    }

    @Test func benchmarksReplaceNothingUnasked() throws {
        let folder = try Folder()
        let plot = try folder.write("mine", to: "plot.svg")
        let bench = ["bench", "kernels", "--rows", "32", "--columns", "32", "--rounds", "1", "--quiet", "--plot", plot]
        #expect(try Program().run(bench).status == 2)
        #expect(try FileSystem.readText(plot) == "mine")
        #expect(try Program().run(bench + ["--force"]).status == 0)
        #expect(try FileSystem.readText(plot).contains("<svg"))
    }

    @Test func permissionsStay() throws {
        let folder = try Folder()
        let table = try folder.write(Self.table, to: "t.csv")
        let model = try folder.write("", to: "m.json")
        chmod(model, 0o600)
        let outcome = try Program().run(
            "fit", "lasso", table, "--target", "y", "--lambda", "0.1", "--model", model, "--force", "--quiet")
        var status = stat()
        #expect(
            outcome.status == 0 && stat(model, &status) == 0 && status.st_mode & 0o777 == 0o600 && status.st_size > 0)
    }

    // MARK: Disks

    /// Where the tests may mount: a disk of some kilobytes.
    private func withDisk(_ size: String, _ body: (String) throws -> Void) throws {
        let folder = try Folder()
        func run(_ arguments: String...) throws -> Bool {
            try ChildProcess(executable: "/usr/bin/env", arguments: arguments).run().status == 0
        }
        guard try run("mount", "-t", "tmpfs", "-o", "size=\(size)", "tmpfs", folder.path) else { return }
        defer { _ = try? run("umount", "-l", folder.path) }
        try body(folder.path)
    }

    @Test func aMountPointTakesAModel() throws {
        let tiny = try TinyModel()
        try withDisk("8m") { (disk: String) throws in
            #expect(try prune(tiny, to: disk).status == 0)
            #expect(try prune(tiny, to: disk, "--force").status == 0)
            #expect(try Program().run("run", disk, "--prompt", "x", "--max-tokens", "1", "--quiet").status == 0)
            #expect(try FileSystem.list(disk).filter { $0.hasPrefix(".") } == [AtomicDirectory.markerName])
        }
    }

    /// Also the one that standard output goes to; a reader who has seen enough is no failure.
    @Test func resultsThatDoNotArriveAreAFailure() throws {
        guard FileSystem.exists("/dev/full") else { return }
        let folder = try Folder()
        let table = try folder.write(Self.table, to: "t.csv")
        let executable = try #require(CommandLineTests.executable)
        let fit = "'\(executable)' fit lasso '\(table)' --target y --lambda 0.1 --quiet"
        func status(_ line: String) throws -> (Int32, String) {
            let outcome = try ChildProcess(executable: "/bin/bash", arguments: ["-c", line]).run()
            return (outcome.status, outcome.errorOutput)
        }
        for line in ["\(fit) > /dev/full", "\(fit) --json > /dev/full", "\(fit) --model - > /dev/full"] {
            let (code, message) = try status(line)
            #expect(code == 1 && message.contains("standard output: not all results could be written"), "\(message)")
        }
        for line in ["\(fit) >&-", "\(fit) 2> /dev/full", "\(fit) > /dev/null"] {
            #expect(try status(line).0 == 0, "\(line)")
        }
    }

    @Test func aFullDiskIsFoundOutAndNamed() throws {
        let tiny = try TinyModel()
        try withDisk("64k") { disk in
            // Before the work, from what the result will take …
            let early = try prune(tiny, to: disk + "/out", "--weights", "f32", "--head", "f32")
            #expect(early.status == 1 && early.errorOutput.contains("room on the disk"), "\(early.errorOutput)")
            #expect(early.errorOutput.contains("are needed") && early.errorOutput.contains("are available"))
            #expect(try FileSystem.list(disk).isEmpty)
            // … and in the middle of it, which leaves nothing either.
            let folder = try Folder()
            let wide = (0..<2000).map { "c\($0)" }.joined(separator: ",") + ",y\n"
            let rows = (0..<6).map { r in
                (0..<2000).map { "\(($0 * 7 + r * 13) % 11)" }.joined(separator: ",") + ",\(r)\n"
            }
            let table = try folder.write(wide + rows.joined(), to: "t.csv")
            let late = try Program().run(
                "fit", "lasso", table, "--target", "y", "--lambda", "0.1", "--model", disk + "/m.json", "--quiet")
            #expect(late.status == 1 && late.errorOutput.contains("m.json: room on the disk"), "\(late.errorOutput)")
            #expect(try FileSystem.list(disk).isEmpty)
        }
    }
}
