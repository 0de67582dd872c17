import Foundation
import LacunaIO
import LacunaTensor
import Testing

/// What becomes of what was there, and of what other processes are doing there.
@Suite struct WritingTests {
    private static func permissions(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return try #require(attributes[.posixPermissions] as? Int)
    }

    private static func setPermissions(_ path: String, _ mode: Int) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private static func link(_ path: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
    }

    private static func linkTarget(_ path: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: path)
    }

    // MARK: Files

    @Test func aReplacedFileHandsItsPermissionsOn() throws {
        let scratch = try Scratch()
        let path = try scratch.write([1], to: "secret")
        for mode in [0o600, 0o640, 0o755] {
            try Self.setPermissions(path, mode)
            try AtomicFile.write("new", to: path)
            #expect(try Self.permissions(path) == mode)
        }
    }

    @Test func linksStayAndWhatTheyLeadToIsReplaced() throws {
        let scratch = try Scratch()
        try FileSystem.createDirectory(scratch.file("real"))
        let target = try scratch.write([1], to: "real/file")
        try Self.link(scratch.file("near"), to: "real/file")
        try Self.link(scratch.file("far"), to: scratch.file("near"))
        try AtomicFile.write("new", to: scratch.file("far"))
        #expect(Self.linkTarget(scratch.file("far")) == scratch.file("near"))
        #expect(Self.linkTarget(scratch.file("near")) == "real/file")
        #expect(try FileSystem.readText(target) == "new")
        // One that leads nowhere yet makes what it leads to.
        try Self.link(scratch.file("later"), to: "real/later")
        try AtomicFile.write("late", to: scratch.file("later"))
        #expect(try FileSystem.readText(scratch.file("real/later")) == "late")
        try Self.link(scratch.file("circle"), to: "circle")
        guard case .file(_, let reason) = failure({ try AtomicFile(scratch.file("circle")) }) else { return }
        #expect(reason.contains("circles"))
        #expect(try FileSystem.list(scratch.path) == ["circle", "far", "later", "near", "real"])
    }

    @Test func devicesAndPipesAreWrittenThrough() throws {
        try AtomicFile.check("/dev/null")
        try AtomicFile.write("gone", to: "/dev/null")
        #expect(!FileSystem.isPlainFile("/dev/null"))
        let scratch = try Scratch()
        #expect(mkfifo(scratch.file("pipe"), 0o600) == 0)
        // A reader keeps the writer from waiting.
        let reader = open(scratch.file("pipe"), O_RDONLY | O_NONBLOCK)
        defer { close(reader) }
        try AtomicFile.check(scratch.file("pipe"))
        try AtomicFile.write("through", to: scratch.file("pipe"))
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(reader, &bytes, 64)
        #expect(String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self) == "through")
        #expect(try FileSystem.list(scratch.path) == ["pipe"])
        #expect(failure { try SafetensorsWriter(scratch.file("pipe")) } != nil)
    }

    @Test func socketsAreRefused() throws {
        let scratch = try Scratch()
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // The address has room for about 100 bytes; the current directory makes it short on no system.
        let short = "/tmp/lacuna-\(getpid())-socket"
        defer { unlink(short) }
        withUnsafeMutableBytes(of: &address.sun_path) { target in
            for (index, byte) in short.utf8.enumerated() { target[index] = byte }
        }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(bound == 0)
        for refused in [{ try AtomicFile.check(short) }, { _ = try AtomicFile(short) }] as [() throws -> Void] {
            guard case .file(_, let reason) = failure(refused) else { continue }
            #expect(reason.contains("socket"))
        }
        #expect(try FileSystem.list(scratch.path).isEmpty)
    }

    @Test func namesOfEveryLengthCanBeWritten() throws {
        let scratch = try Scratch()
        for name in [String(repeating: "n", count: 255), String(repeating: "ü", count: 127)] {
            try AtomicFile.write("x", to: scratch.file(name))
            #expect(try FileSystem.readText(scratch.file(name)) == "x")
        }
    }

    // MARK: Directories

    private func write(_ path: String, _ files: [String: String], overwrite: Bool = false) throws {
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        for (name, text) in files { try AtomicFile.write(text, to: directory.file(name)) }
        try directory.commit()
    }

    private func content(_ path: String) throws -> [String] {
        try FileSystem.list(path).filter { $0 != AtomicDirectory.markerName }
    }

    @Test func anEmptyDirectoryIsTakenWithItsPermissions() throws {
        let scratch = try Scratch()
        let path = scratch.file("out")
        try FileSystem.createDirectory(path)
        try Self.setPermissions(path, 0o700)
        try write(path, ["a": "1"])
        #expect(try content(path) == ["a"] && Self.permissions(path) == 0o700)
    }

    @Test func aLinkToADirectoryStays() throws {
        let scratch = try Scratch()
        try FileSystem.createDirectory(scratch.file("real"))
        try Self.link(scratch.file("out"), to: "real")
        try write(scratch.file("out"), ["a": "1"])
        #expect(Self.linkTarget(scratch.file("out")) == "real")
        #expect(try content(scratch.file("real")) == ["a"])
        // One that leads nowhere yet, and dots in the path.
        try Self.link(scratch.file("later"), to: "deep/er")
        try write(scratch.file("later"), ["b": "1"])
        #expect(try content(scratch.file("deep/er")) == ["b"])
        try write(scratch.file("real/../real/."), ["c": "1"], overwrite: true)
        #expect(try content(scratch.file("real")) == ["c"])
    }

    @Test func onlyWhatWasWrittenHereIsReplaced() throws {
        let scratch = try Scratch()
        func refused(_ path: String, _ word: String, sourceLocation: SourceLocation = #_sourceLocation) {
            for body in [
                { try AtomicDirectory.check(path, overwrite: true) },
                { _ = try AtomicDirectory(path, overwrite: true) },
            ] as [() throws -> Void] {
                guard case .file(_, let reason) = failure(body, sourceLocation: sourceLocation) else { continue }
                #expect(reason.contains(word), "\(reason)", sourceLocation: sourceLocation)
            }
        }
        // A web project has a config.json, too.
        try FileSystem.createDirectory(scratch.file("web"))
        _ = try scratch.write("{}".utf8, to: "web/config.json")
        refused(scratch.file("web"), "was not written by Lacuna")
        try write(scratch.file("own"), ["config.json": "{}"])
        try AtomicDirectory.check(scratch.file("own"), overwrite: true)
        _ = try scratch.write([1], to: "own/notes.txt")
        refused(scratch.file("own"), "holds 'notes.txt'")
        #expect(try content(scratch.file("own")) == ["config.json", "notes.txt"])
        // A marker that says nothing, or the wrong thing, is none.
        for text in ["", "{}", #"{"writer":"lacuna"}"#, #"{"writer":"other","files":["a"]}"#] {
            let path = scratch.file("marked")
            try FileSystem.remove(path)
            try FileSystem.createDirectory(path)
            _ = try scratch.write([1], to: "marked/a")
            _ = try scratch.write(text.utf8, to: "marked/\(AtomicDirectory.markerName)")
            refused(path, "was not written by Lacuna")
        }
        refused(try scratch.write([1], to: "file"), "is a file")
        #expect(failure { try AtomicDirectory.check(scratch.file("file/below")) } != nil)
        #expect(failure { try AtomicDirectory.check(scratch.file("own")) } != nil)
    }

    @Test func anExchangeNeverHidesBoth() throws {
        let scratch = try Scratch()
        let path = scratch.file("out")
        try write(path, ["a": "0"])
        let stop = Locked(false)
        let absent = Locked(0)
        let thread = Thread {
            while !stop.withLock({ $0 }) {
                if !FileSystem.exists(path + "/a") { absent.withLock { $0 += 1 } }
            }
        }
        thread.start()
        for round in 1...200 { try write(path, ["a": "\(round)"], overwrite: true) }
        stop.withLock { $0 = true }
        #expect(absent.withLock { $0 } == 0)
        #expect(try FileSystem.readText(path + "/a") == "200")
        #expect(try FileSystem.list(scratch.path) == ["out"])
    }

    /// Makes what a process leaves that dies while it moves files up: some are moved, the marker says where the others are.
    private func interrupted(
        _ scratch: Scratch, old: [String: String], new: [String: String], moved: [String], beside: Bool
    ) throws -> (path: String, working: String) {
        let path = scratch.file("out")
        try FileSystem.remove(path)
        if !old.isEmpty { try write(path, old) } else { try FileSystem.createDirectory(path) }
        let name = ".out.unfinished-\(Self.dead)-1"
        let working = beside ? scratch.file(name) : path + "/" + name
        let other = scratch.file("other")
        try write(other, new)
        try FileManager.default.moveItem(atPath: other, toPath: working)
        for name in moved {
            try FileSystem.remove(path + "/" + name)
            try FileManager.default.moveItem(atPath: working + "/" + name, toPath: path + "/" + name)
        }
        let files = Set(old.keys).union(new.keys).sorted().map { "\"\($0)\"" }.joined(separator: ",")
        try FileSystem.remove(path + "/" + AtomicDirectory.markerName)
        _ = try scratch.write(
            #"{"writer":"lacuna","files":[\#(files)],"unfinished":"\#(name)"}"#.utf8,
            to: "out/\(AtomicDirectory.markerName)")
        return (path, working)
    }

    @Test(arguments: [[], ["a"], ["a", "c"]], [false, true]) func whatADeadWriterBeganIsEnded(
        moved: [String], beside: Bool
    ) throws {
        let scratch = try Scratch()
        let new = ["a": "new", "c": "new"]
        for old in [["a": "old", "b": "old"], [:]] {
            let (path, _) = try interrupted(scratch, old: old, new: new, moved: moved, beside: beside)
            try AtomicDirectory.settle(path)
            #expect(try FileSystem.list(path) == [AtomicDirectory.markerName, "a", "c"])
            #expect(try FileSystem.readText(path + "/a") == "new" && FileSystem.readText(path + "/c") == "new")
            #expect(try FileSystem.list(scratch.path) == ["out"])
            // Nothing is left to do, and what is there is Lacuna's.
            try AtomicDirectory.settle(path)
            try AtomicDirectory.check(path, overwrite: true)
            try write(path, ["d": "1"], overwrite: true)
            #expect(try content(path) == ["d"])
        }
        // Readers and writers do so by themselves.
        let (path, _) = try interrupted(scratch, old: ["a": "old"], new: new, moved: moved, beside: beside)
        #expect(failure { try TensorFiles.open(path) } != nil)
        #expect(try content(path) == ["a", "c"])
        _ = try interrupted(scratch, old: ["a": "old"], new: new, moved: moved, beside: beside)
        #expect(failure { try AtomicDirectory.check(path) } != nil)
        #expect(try content(path) == ["a", "c"])
        _ = try interrupted(scratch, old: ["a": "old"], new: new, moved: moved, beside: beside)
        try write(path, ["e": "1"], overwrite: true)
        #expect(try content(path) == ["e"] && FileSystem.list(scratch.path) == ["out"])
    }

    @Test func aWriterThatLivesIsWaitedFor() throws {
        let scratch = try Scratch()
        let (path, working) = try interrupted(scratch, old: ["a": "old"], new: ["a": "new"], moved: [], beside: false)
        let descriptor = open(working, O_RDONLY)
        #expect(flock(descriptor, LOCK_EX | LOCK_NB) == 0)
        let thread = Thread {
            usleep(200_000)
            close(descriptor)
        }
        thread.start()
        try AtomicDirectory.settle(path)
        #expect(try FileSystem.readText(path + "/a") == "new")
    }

    @Test func halfADirectoryIsRefused() throws {
        let scratch = try Scratch()
        let (path, working) = try interrupted(
            scratch, old: ["a": "old"], new: ["a": "new", "b": "new"], moved: ["a"], beside: false)
        try FileSystem.remove(working)
        #expect(failure { try AtomicDirectory.settle(path) }?.description.contains("are gone") == true)
        // A marker that would have files moved from elsewhere.
        for name in ["..", "/etc", "x", ".x.unfinished-1-1/../.."] {
            _ = try scratch.write(
                #"{"writer":"lacuna","files":[],"unfinished":"\#(name)"}"#.utf8,
                to: "out/\(AtomicDirectory.markerName)")
            #expect(failure { try AtomicDirectory.settle(path) }?.description.contains("damaged") == true)
        }
        try FileSystem.createDirectory(scratch.file(".other.unfinished-\(Self.dead)-1"))
        _ = try scratch.write(
            #"{"writer":"lacuna","files":[],"unfinished":".other.unfinished-\#(Self.dead)-1"}"#.utf8,
            to: "out/\(AtomicDirectory.markerName)")
        #expect(failure { try AtomicDirectory.settle(path) }?.description.contains("are gone") == true)
    }

    // MARK: Runs

    @Test func aRunTakesOnlyAPlaceOfItsOwn() throws {
        let scratch = try Scratch()
        let path = scratch.file("runs/first")
        try RunDirectory.check(path)
        #expect(!FileSystem.exists(scratch.file("runs")))
        try RunDirectory.claim(path).release()
        _ = try scratch.write([1], to: "runs/first/metrics.jsonl")
        // It may begin again there; what is written at once does not replace it.
        let lock = try RunDirectory.claim(path)
        #expect(try FileSystem.list(scratch.file("runs")) == [".first.lock", "first"])
        lock.release()
        #expect(failure { try AtomicDirectory.check(path, overwrite: true) } != nil)

        try FileSystem.createDirectory(scratch.file("mine"))
        try RunDirectory.claim(scratch.file("mine")).release()
        try FileSystem.createDirectory(scratch.file("web"))
        _ = try scratch.write([1], to: "web/config.toml")
        for body in [
            { try RunDirectory.check(scratch.file("web")) }, { _ = try RunDirectory.claim(scratch.file("web")) },
        ] as [() throws -> Void] {
            #expect(failure(body)?.description.contains("holds 'config.toml'") == true)
        }
        #expect(try FileSystem.list(scratch.file("web")) == ["config.toml"])
        try RunDirectory.claim(scratch.file("web"), accepting: ["config.toml"]).release()
        // What an AtomicDirectory wrote is no run.
        try write(scratch.file("model"), ["a": "1"])
        #expect(failure { try RunDirectory.check(scratch.file("model")) } != nil)
        _ = try scratch.write([1], to: "file")
        #expect(failure { try RunDirectory.check(scratch.file("file")) }?.description.contains("is a file") == true)
    }

    @Test func aRunThatIsMissingIsNamedByItsFile() throws {
        let scratch = try Scratch()
        let path = scratch.file("first")
        for _ in 0..<2 {
            let missing = failure { try RunDirectory.require("state.json", in: path, otherwise: "begin") }
            guard case .file(let file, let reason)? = missing else {
                Issue.record("\(String(describing: missing))")
                continue
            }
            #expect(file == FileSystem.join(path, "state.json"))
            #expect(reason.contains("\(path) holds no run") && reason.hasSuffix("; begin"))
            try FileSystem.createDirectory(path)
        }
        _ = try scratch.write([1], to: "first/state.json")
        try RunDirectory.require("state.json", in: path)
    }

    // MARK: Other processes

    /// The number of no process.
    private static let dead = 0x3FFF_FFF0

    @Test func leftoversOfTheDeadAreRemoved() throws {
        let scratch = try Scratch()
        try FileSystem.createDirectory(scratch.file(".out.unfinished-\(Self.dead)-1/deep"))
        _ = try scratch.write([1], to: ".out.unfinished-\(Self.dead)-1/deep/file")
        _ = try scratch.write([1], to: ".out.unfinished-\(Self.dead)-2")
        // Of another target, of a living process that has just begun, and of one that holds its lock.
        _ = try scratch.write([1], to: ".other.unfinished-\(Self.dead)-1")
        _ = try scratch.write([1], to: ".out.unfinished-1-1")
        let held = try scratch.write([1], to: ".out.unfinished-\(Self.dead)-3")
        let descriptor = open(held, O_RDONLY)
        #expect(flock(descriptor, LOCK_EX) == 0)
        // Whoever has had a number long since given to another process.
        let old = try scratch.write([1], to: ".out.unfinished-1-2")
        try FileManager.default.setAttributes([.modificationDate: Date(timeIntervalSinceNow: -3600)], ofItemAtPath: old)
        try write(scratch.file("out"), ["a": "1"])
        let left = [".other.unfinished-\(Self.dead)-1", ".out.unfinished-1-1", ".out.unfinished-\(Self.dead)-3", "out"]
        #expect(try FileSystem.list(scratch.path) == left.sorted())
        close(descriptor)
        try AtomicFile.write("x", to: scratch.file("other"))
        try write(scratch.file("out"), ["a": "1"], overwrite: true)
        #expect(try FileSystem.list(scratch.path) == [".out.unfinished-1-1", "other", "out"])
    }

    @Test func oneWriterADirectory() throws {
        let scratch = try Scratch()
        let (path, file) = (scratch.file("out"), scratch.file(".out.lock"))
        let lock = try DirectoryLock(path)
        #expect(try FileSystem.readText(file) == "\(getpid())\n")
        // The same process may ask again, and gives the right back as often.
        let again = try DirectoryLock(path + "/")
        again.release()
        #expect(FileSystem.exists(file))
        lock.release()
        lock.release()
        #expect(!FileSystem.exists(file))

        // Another open file holds the lock as another process would.
        _ = try scratch.write("4711\n".utf8, to: ".out.lock")
        let other = open(file, O_RDWR)
        #expect(flock(other, LOCK_EX | LOCK_NB) == 0)
        for body in [{ _ = try DirectoryLock(path) }, { _ = try AtomicDirectory(path) }] as [() throws -> Void] {
            #expect(failure(body) == .file(path: path, reason: "is being written by process 4711"))
        }
        // It dies; its file is taken over and goes.
        close(other)
        try write(path, ["a": "1"])
        #expect(try FileSystem.list(scratch.path) == ["out"])
    }

    @Test func anAbandonedDirectoryGivesItsLockBack() throws {
        let scratch = try Scratch()
        do {
            let directory = try AtomicDirectory(scratch.file("out"))
            try AtomicFile.write("x", to: directory.file("a"))
            #expect(try FileSystem.list(scratch.path).count == 2)
        }
        #expect(try FileSystem.list(scratch.path).isEmpty)
    }

    // MARK: Disks

    /// A disk of 24 MB, where the tests may mount one.
    private static func withSmallDisk(_ body: (String) throws -> Void) throws {
        let scratch = try Scratch()
        func run(_ arguments: String...) -> Bool {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = arguments
            process.standardError = FileHandle.nullDevice
            try? process.run()
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
        guard run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", scratch.path) else { return }
        defer { _ = run("umount", "-l", scratch.path) }
        try body(scratch.path)
    }

    @Test func theWriterNeedsNoSecondCopy() throws {
        try Self.withSmallDisk { disk in
            let path = disk + "/x.safetensors"
            let writer = try SafetensorsWriter(path)
            // 5 parts of 3 MB and a bit: twice as much would not fit.
            for part in 0..<5 {
                let values = [Float](repeating: Float(part), count: 786_432 + part)
                try writer.write(
                    "part\(part)", type: part % 2 == 0 ? .f32 : .i32, shape: [values.count], values: values)
            }
            try writer.finish()
            let file = try SafetensorsFile(path)
            for part in stride(from: 0, to: 5, by: 2) {
                #expect(try file.float("part\(part)").scalars == [Float](repeating: Float(part), count: 786_432 + part))
            }
            #expect(try FileSystem.list(disk) == ["x.safetensors"])
        }
    }

    @Test func aFullDiskSaysWhatIsMissing() throws {
        // Said outright, because what macros expand to does not tell the compiler that the closure throws.
        try Self.withSmallDisk { (disk: String) throws in
            let bytes = [UInt8](repeating: 1, count: 40_000_000)
            let error = failure { try AtomicFile.write(bytes, to: disk + "/large") }
            guard case .resource(let what, let needed, let available)? = error else {
                Issue.record("another error")
                return
            }
            #expect(what == "\(disk)/large: room on the disk")
            #expect(needed > 0 && needed <= bytes.count && available < needed)
            #expect(try FileSystem.list(disk).isEmpty)
        }
    }

    @Test func aMountPointIsWrittenInto() throws {
        try Self.withSmallDisk { disk in
            try AtomicDirectory.check(disk)
            try write(disk, ["a": "1", "b": "2"])
            #expect(try FileSystem.list(disk) == [AtomicDirectory.markerName, "a", "b"])
            do {
                let directory = try AtomicDirectory(disk, overwrite: true)
                try AtomicFile.write("new", to: directory.file("a"))
                #expect(try FileSystem.readText(disk + "/a") == "1")
            }
            #expect(try content(disk) == ["a", "b"])
            // What the new one has not goes, what it has is new.
            try write(disk, ["a": "3", "c": "4"], overwrite: true)
            #expect(try content(disk) == ["a", "c"])
            #expect(try FileSystem.readText(disk + "/a") == "3")
        }
    }
}
