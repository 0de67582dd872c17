import ArgumentParser
import LacunaDictionary

extension CodingPenalty: ExpressibleByArgument {}

struct ExplainCodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "code",
        abstract: "Learns atoms for vectors, image patches for instance, and codes the vectors with few of them.",
        discussion: """
            Example:
              lacuna explain code patches.npy --atoms 256 --penalty cel0 --weight 0.1 --output coded

            The output directory gets atoms.npy [atoms, dimensions] and codes.npz, a sparse matrix [vectors, atoms] as SciPy reads it.
            """)

    @Argument(help: "Vectors, one a row: a .npy file.")
    var vectors: InputFile

    @Option(in: 1...1_000_000, help: ArgumentHelp("Atoms.", valueName: "n"))
    var atoms = 256

    @Option(help: ArgumentHelp("l1, half, l0 or cel0.", valueName: "name"))
    var penalty: CodingPenalty = .cel0

    @Option(within: .above(0), help: ArgumentHelp("Weight of the penalty, for ½ of the squared error.", valueName: "λ"))
    var weight = 0.1

    @Option(in: 0...1_000_000_000, help: ArgumentHelp("Steps of learning the atoms.", valueName: "n"))
    var steps = 500

    @Option(in: 1...1_000_000, help: ArgumentHelp("Vectors of a step.", valueName: "n"))
    var batch = 250

    @Option(help: ArgumentHelp("Where results go.", valueName: "directory"))
    var output: OutputDirectory?

    @Flag(help: "Replace what Lacuna wrote there before.")
    var force = false

    @Option(seed: ArgumentHelp("Changes every random choice.", valueName: "n"))
    var seed: UInt64 = 0

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let lock = try output?.claim(overwriting: force)
        defer { lock?.release() }
        let array = try NumPyArray(contentsOf: vectors.path)
        guard array.rows > 0 && array.columns > 0 else {
            throw LacunaError.malformed(
                file: vectors.path, location: "shape", reason: "\(array.rows) vectors of \(array.columns) dimensions")
        }
        if let bad = array.columnMajor.firstIndex(where: { !Float($0).isFinite }) {
            throw LacunaError.malformed(
                file: vectors.path, location: "[\(bad % array.rows), \(bad / array.rows)]",
                reason: "\(array.columnMajor[bad]) is not a finite number")
        }
        try SparseCoding.requireMemory(vectors: array.rows, dimensions: array.columns, atoms: atoms)
        let x = Tensor(array.columnMajor.map { Float($0) }, shape: [array.columns, array.rows]).transposed()
        var coding = try SparseCoding(penalty: penalty, weight: weight, dimensions: x.columns, atoms: atoms, seed: seed)
        try coding.learn(x, batch: min(batch, x.rows), steps: steps, seed: seed, progress: progress)
        let codes = try coding.encode(x)
        let quality = CodingQuality(of: coding, x, codes)
        if let output {
            let directory = try AtomicDirectory(output.path, overwrite: force)
            try NumPyArray.write(coding.atoms, to: directory.file("atoms.npy"))
            try codes.write(npz: directory.file("codes.npz"))
            try directory.commit()
        }
        progress.clear()
        let written = output.map { "\nwritten: \($0.path)/" } ?? ""
        printResult(
            json: form.json,
            [
                "vectors": JSONValue(x.rows), "atoms": JSONValue(atoms), "active": .number(quality.active),
                "unexplained": .number(quality.unexplained), "objective": .number(quality.objective),
            ],
            text:
                "\(Quantities.grouped(x.rows)) vectors of \(x.columns) dimensions, \(Quantities.grouped(atoms)) atoms: "
                + "\(Quantities.fixed(quality.active, 2)) active a vector, "
                + "\(Quantities.percent(1 - quality.unexplained, 2)) of the squares explained" + written)
    }
}
