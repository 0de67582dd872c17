import ArgumentParser
import LacunaIO
import LacunaModels
import LacunaTensor

/// What every command that computes takes.
struct RunOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Threads to use; all cores by default.", valueName: "n"))
    var threads: Int?

    @Flag(help: "No progress on the error stream.")
    var quiet = false

    func validate() throws {
        if let threads, threads < 1 { throw ValidationError("--threads must be at least 1, but is \(threads)") }
    }

    /// Sets the number of threads and makes the display for the command's progress.
    func begin() -> ProgressDisplay {
        if let threads { Parallel.threads = threads }
        return ProgressDisplay(isQuiet: quiet)
    }
}

/// For commands whose result a program may want.
struct JSONOption: ParsableArguments {
    @Flag(help: "Print the result as JSON, for programs.")
    var json = false
}

/// Prints a result in the form that was asked for.
func printResult(json: Bool, _ value: @autoclosure () -> JSONValue, text: @autoclosure () -> String) {
    Console.output.print(json ? value().serialized(.pretty) : text())
}

/// In which form weights are kept in memory while they run.
struct PrecisionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Weights of the layers: stored, f32, bf16, int8 or int4.", valueName: "type"))
    var weights: WeightPrecision = .stored

    @Option(
        help: ArgumentHelp(
            "Weights of embedding and output head; as the layers' by default, int8 for int4.", valueName: "type"))
    var head: WeightPrecision?
}

extension WeightPrecision: ExpressibleByArgument {}
