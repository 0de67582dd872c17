import LacunaIO
import LacunaTensor
import Testing

@Suite struct FilesTests {
    @Test func mappingPlainEmptyAndOtherFiles() throws {
        let scratch = try Scratch()
        let file = try MappedFile(scratch.write("hello".utf8, to: "a"))
        #expect(Array(file.bytes) == Array("hello".utf8))
        #expect(try MappedFile(scratch.write("".utf8, to: "b")).count == 0)
        for path in [scratch.file("missing"), scratch.path, "/dev/null", "/dev/zero"] {
            guard case .file(path, _) = failure({ try MappedFile(path) }) else {
                Issue.record("mapped \(path)")
                continue
            }
        }
    }

    /// What is forgotten is read from the file again, whatever part of a page it is.
    @Test func forgottenPartsStayReadable() throws {
        let scratch = try Scratch()
        let content = (0..<50_000).map { UInt8(truncatingIfNeeded: $0 * 31 >> 3) }
        let file = try MappedFile(scratch.write(content, to: "a"))
        for range in [0..<50_000, 1..<49_999, 100..<200, 4096..<8192, 5000..<5000] {
            file.forget(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
            #expect(Array(file.bytes) == content, "\(range)")
        }
    }

    @Test func atomicFilesAppearWholeOrNotAtAll() throws {
        let scratch = try Scratch()
        let path = try scratch.write("old".utf8, to: "f")
        do {
            let file = try AtomicFile(path)
            try file.write([UInt8](repeating: 7, count: 1_000_000))
            #expect(try FileSystem.readText(path) == "old")
        }
        #expect(try FileSystem.list(scratch.path) == ["f"])
        let file = try AtomicFile(path)
        for _ in 0..<1000 { try file.write("new ".utf8) }
        try file.commit()
        file.discard()
        #expect(try FileSystem.readText(path) == String(repeating: "new ", count: 1000))
        #expect(try FileSystem.list(scratch.path) == ["f"])
        #expect(failure { try AtomicFile(scratch.path) } != nil)
        #expect(failure { try AtomicFile(scratch.file("no/such/directory")) } != nil)
    }

    @Test func atomicDirectories() throws {
        let scratch = try Scratch()
        let target = scratch.file("deep/out")
        do {
            let directory = try AtomicDirectory(target)
            try AtomicFile.write("x", to: directory.file("a"))
            #expect(!FileSystem.exists(target))
        }
        #expect(try FileSystem.list(scratch.file("deep")).isEmpty)
        var directory = try AtomicDirectory(target + "/")
        try AtomicFile.write("1", to: directory.file("a"))
        try directory.commit()
        #expect(try FileSystem.list(target) == [AtomicDirectory.markerName, "a"])

        guard case .file(target, _) = failure({ try AtomicDirectory(target) }) else {
            Issue.record("an existing directory was accepted")
            return
        }
        directory = try AtomicDirectory(target, overwrite: true)
        try AtomicFile.write("2", to: directory.file("b"))
        #expect(try FileSystem.list(target) == [AtomicDirectory.markerName, "a"])
        try directory.commit()
        #expect(try FileSystem.list(target) == [AtomicDirectory.markerName, "b"])
        #expect(try FileSystem.list(scratch.file("deep")) == ["out"])
        #expect(failure { try AtomicDirectory(target + "/b") } != nil)
    }

    @Test func textHasToBeUTF8() throws {
        let scratch = try Scratch()
        let path = try scratch.write([0x61, 0x62, 0xC3, 0x28], to: "t")
        #expect(
            failure { try FileSystem.readText(path) }
                == .malformed(file: path, location: "byte 2", reason: "is not UTF-8 text"))
        #expect(failure { try FileSystem.readBytes(path, limit: 3) } != nil)
        #expect(failure { try FileSystem.readBytes(scratch.path) } != nil)
    }

    @Test(arguments: [
        ("a/b", "a", "b"), ("a", "", "a"), ("/a", "/", "a"), ("a/b/", "a", "b"), ("/", "/", ""), ("a//", "", "a"),
    ])
    func paths(path: String, directory: String, name: String) {
        #expect(FileSystem.directory(of: path) == directory)
        #expect(FileSystem.name(of: path) == name)
    }

    @Test func sizesOfDirectories() throws {
        let scratch = try Scratch()
        _ = try scratch.write([1, 2, 3], to: "a")
        try FileSystem.createDirectory(scratch.file("x/y"))
        _ = try scratch.write([1, 2], to: "x/y/b")
        #expect(try FileSystem.size(scratch.path) == 5)
        try FileSystem.remove(scratch.file("x"))
        #expect(try FileSystem.list(scratch.path) == ["a"])
    }
}
