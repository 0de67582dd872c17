import LacunaTensor
import Testing

@testable import LacunaIO

/// Where data of a checkout are found.
struct RepositoryDataTests {
    /// No name of the repository's own `Data`, which tests may be run beside.
    private static let name = "set-\(UInt64.random(in: 0 ... .max))/text.txt"

    @Test func isFoundFromTheProgramUpwards() throws {
        let scratch = try Scratch()
        let program = scratch.file("checkout/.build/debug/lacuna")
        #expect(RepositoryData.path(Self.name, program: program) == nil)
        let outer = scratch.file("checkout/Data/\(Self.name)")
        try FileSystem.createDirectory(FileSystem.directory(of: outer))
        try AtomicFile.write("outer", to: outer)
        #expect(RepositoryData.path(Self.name, program: program) == outer)
        #expect(try RepositoryData.require(Self.name, otherwise: "give one", program: program) == outer)
        // The nearest one is taken.
        let inner = scratch.file("checkout/.build/Data/\(Self.name)")
        try FileSystem.createDirectory(FileSystem.directory(of: inner))
        try AtomicFile.write("inner", to: inner)
        #expect(RepositoryData.path(Self.name, program: program) == inner)
        // A program elsewhere, or of nobody knows where, finds neither.
        #expect(RepositoryData.path(Self.name, program: scratch.file("bin/lacuna")) == nil)
        #expect(RepositoryData.path(Self.name, program: nil) == nil)
        #expect(RepositoryData.path(Self.name, program: "lacuna") == nil)
        #expect(RepositoryData.path(Self.name, program: "/lacuna") == nil)
    }

    @Test func whatIsNowhereIsNamedWithBothPlaces() throws {
        let scratch = try Scratch()
        let program = scratch.file("bin/lacuna")
        let missing = failure { try RepositoryData.require(Self.name, otherwise: "give one", program: program) }
        let text = missing?.description ?? ""
        let here = try #require(SystemCall.realPath("."))
        #expect(text.hasPrefix("Data/\(Self.name): "))
        #expect(text.contains("the working directory, \(here),"))
        #expect(text.contains("in \(scratch.file("bin"))"))
        #expect(text.hasSuffix(": give one"))
        let unknown = failure { try RepositoryData.require(Self.name, otherwise: "give one", program: nil) }
        #expect(unknown?.description.contains("an unknown place") == true)
    }

    @Test func theProgramIsKnown() throws {
        let path = try #require(FileSystem.programPath)
        #expect(path.hasPrefix("/") && FileSystem.isPlainFile(path))
    }
}
