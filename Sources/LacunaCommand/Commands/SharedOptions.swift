import ArgumentParser
import LacunaIO
import LacunaModels
import LacunaTensor

/// What every command that computes takes.
struct RunOptions: ParsableArguments {
    @Option(in: 1...1024, help: ArgumentHelp("Threads to use; all cores by default.", valueName: "n"))
    var threads: Int?

    @Flag(help: "No progress on the error stream.")
    var quiet = false

    /// Sets the number of threads and makes the display for the command's progress.
    ///
    /// - Parameter speaks: Whether this process is the one that shows it.
    func begin(speaks: Bool = true) -> ProgressDisplay {
        if let threads { Parallel.threads = threads }
        return ProgressDisplay(isQuiet: quiet || !speaks)
    }
}

/// For commands whose result a program may want.
struct JSONOption: ParsableArguments {
    @Flag(help: "Print the result as JSON, for programs.")
    var json = false
}

/// Prints a result in the form that was asked for.
///
/// - Parameter files: What the command writes beside it. Where one of them is standard output, the result goes to the error
///   stream.
func printResult(
    json: Bool, _ value: @autoclosure () -> JSONValue, text: @autoclosure () -> String, files: [OutputFile?] = []
) {
    let console = files.contains { $0?.isStandardOutput ?? false } ? Console.error : Console.output
    console.print(json ? value().serialized(.pretty) : text())
}

/// Prints a JSON object whose last member is a list that may be long, a part at a time.
func printJSON(
    _ members: JSONValue, endingWith key: String, _ elements: some Sequence<JSONValue>, on console: Console
) {
    JSONStream.write(members.objectValue ?? JSONObject(), endingWith: key, elements, style: .pretty) {
        console.write(Printable.text(String(decoding: $0, as: UTF8.self)))
    }
    console.print()
}

/// In which form weights are kept in memory while they run.
struct PrecisionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Weights of the layers: stored, f32, bf16, f16, int8 or int4.", valueName: "type"))
    var weights: WeightPrecision = .stored

    @Option(
        help: ArgumentHelp(
            "Weights of embedding and output head; as the layers' by default, int8 for int4.", valueName: "type"))
    var head: WeightPrecision?
}

extension WeightPrecision: ExpressibleByArgument {}
