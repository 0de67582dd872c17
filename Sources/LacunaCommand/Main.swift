import ArgumentParser
import Lacuna

@main
struct LacunaMain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lacuna", abstract: "Sparse models: made, measured, and run faster for it.")
}
