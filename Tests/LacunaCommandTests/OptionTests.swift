import ArgumentParser
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaCommand

/// Every option of every command, those included that nobody has thought of here.
@Suite struct OptionTests {
    /// The program's own description of its commands, as pairs of the words that lead to a command and its arguments.
    private static func commands() throws -> [(path: [String], arguments: [JSONValue])] {
        let outcome = try Program().run("--experimental-dump-help")
        var result: [(path: [String], arguments: [JSONValue])] = []
        func walk(_ command: JSONValue, _ path: [String]) {
            result.append((path, command["arguments"]?.arrayValue ?? []))
            for child in command["subcommands"]?.arrayValue ?? [] {
                guard let name = child["commandName"]?.stringValue, name != "help" else { continue }
                walk(child, path + [name])
            }
        }
        walk(try #require(JSONValue(parsing: outcome.output)["command"]), [])
        return result
    }

    /// The command that words lead to.
    private static func command(_ path: [String]) throws -> any ParsableCommand.Type {
        try path.reduce(LacunaCommand.self as any ParsableCommand.Type) { command, name in
            try #require(command.configuration.subcommands.first { $0._commandName == name })
        }
    }

    /// What a command, asked itself, says of its arguments; nothing if it takes them. The whole program's tree of commands would
    /// be checked anew for every line.
    private static func message(_ command: any ParsableCommand.Type, _ arguments: [String]) -> String {
        do {
            _ = try command.parse(arguments)
            return ""
        } catch {
            return command.message(for: error)
        }
    }

    /// An option that takes a number says where that has to lie, and takes nothing else, with a space or a sign before it.
    @Test func everyNumberHasARange() throws {
        var numbers = 0
        // An option that several commands share is asked once, of the command that has fewest: reading a line takes the square of
        // their number.
        var asked: Set<[String]> = []
        for (path, arguments) in try Self.commands().sorted(by: { $0.arguments.count < $1.arguments.count }) {
            let command = try Self.command(path)
            for argument in arguments where argument["kind"]?.stringValue == "option" {
                for name in argument["names"]?.arrayValue ?? [] where name["kind"]?.stringValue == "long" {
                    let option = "--" + (try #require(name["name"]?.stringValue))
                    guard asked.insert([option, argument["abstract"]?.stringValue ?? ""]).inserted else { continue }
                    func refusal(_ line: [String]) -> String? {
                        let message = Self.message(command, line)
                        return message.contains("'\(option)") ? message : nil
                    }
                    guard let refused = refusal(["\(option)=x"]) else { continue }
                    guard refused.contains("must be a ") else {
                        // A word out of a list, which a number is not: what takes one has to say its range.
                        let takesNumbers = ["1", "0.5"].contains { refusal(["\(option)=\($0)"]) == nil }
                        #expect(!takesNumbers, "\(path) \(option): \(refused)")
                        continue
                    }
                    numbers += 1
                    for line in [["\(option)=nan"], ["\(option)=-inf"], [option, "-inf"]] {
                        #expect(refusal(line)?.contains("must be a ") == true, "\(path) \(line)")
                    }
                    let digits = String(repeating: "9", count: 38)
                    let message = Self.message(command, ["\(option)=\(digits)"])
                    #expect(!message.isEmpty, "\(path) \(option)=\(digits): \(message)")
                }
            }
        }
        #expect(numbers > 100)
    }

    @Test func everyCommandAndOptionIsDescribed() throws {
        for (path, arguments) in try Self.commands() where !path.isEmpty {
            for argument in arguments {
                let name = argument["valueName"]?.stringValue ?? ""
                #expect(argument["abstract"]?.stringValue?.isEmpty == false, "\(path) \(name) is not described")
            }
        }
    }

    // MARK: What is written down

    /// The words of the commands of a line as a shell makes them: quotation marks, comments, redirections, `&&`, `|`, `;`.
    private static func commands(of line: String) -> [[String]] {
        var (commands, words, word) = ([[String]](), [String](), "")
        var (quote, hasWord): (Character?, Bool) = (nil, false)
        func endWord() {
            if hasWord { words.append(word) }
            (word, hasWord) = ("", false)
        }
        func endCommand() {
            endWord()
            // What comes after a redirection is a file.
            if let arrow = words.firstIndex(where: { $0 == ">" || $0 == ">>" || $0 == "<" }) {
                words.removeSubrange(arrow...)
            }
            commands.append(words)
            words = []
        }
        for character in line {
            if let open = quote {
                if character == open { quote = nil } else { word.append(character) }
                continue
            }
            switch character {
            case "'", "\"": (quote, hasWord) = (character, true)
            case " ": endWord()
            case "#" where !hasWord:
                endCommand()
                return commands
            case "|", "&", ";": endCommand()
            default:
                word.append(character)
                hasWord = true
            }
        }
        endCommand()
        return commands
    }

    /// Every command line of the documentation and of the help is understood: options, their values, and what goes together.
    @Test func everyCommandThatIsWrittenDownIsOne() throws {
        let root = FileSystem.directory(of: FileSystem.directory(of: FileSystem.directory(of: #filePath)))
        var files = ["README.md", "CONTRIBUTING.md", "Examples/README.md", "Data/README.md"]
        files += try FileSystem.list(root + "/docs").filter { $0.hasSuffix(".md") }.map { "docs/" + $0 }
        var texts = try files.map { (name: $0, text: try FileSystem.readText(root + "/" + $0)) }
        let help = try JSONValue(parsing: Program().run("--experimental-dump-help").output)["command"]
        func walk(_ command: JSONValue) {
            let name = command["commandName"]?.stringValue ?? ""
            texts.append(("help of \(name)", command["discussion"]?.stringValue ?? ""))
            for child in command["subcommands"]?.arrayValue ?? [] { walk(child) }
        }
        walk(try #require(help))
        var found = 0
        for (name, text) in texts {
            for line in text.replacing("\\\n", with: " ").split(separator: "\n") {
                let line = String(line.drop { $0 == " " || $0 == "$" })
                let commands = Self.commands(of: line)
                guard commands.contains(where: { $0.first == "lacuna" }),
                    // A sentence that begins with the name is no command.
                    let first = commands.first?.first, ["lacuna", "cat"].contains(first), !line.hasSuffix(".")
                else { continue }
                for words in commands where words.first == "lacuna" && words.count > 1 {
                    found += 1
                    do {
                        _ = try LacunaCommand.parseAsRoot(Array(words.dropFirst()))
                    } catch  where !LacunaCommand.exitCode(for: error).isSuccess {
                        Issue.record("\(name): \(line): \(LacunaCommand.message(for: error))")
                    }
                }
            }
        }
        #expect(found > 80)
    }
}
