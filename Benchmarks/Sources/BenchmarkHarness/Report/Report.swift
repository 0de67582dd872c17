import Foundation

/// All that one run measured.
public struct Report: Sendable, Codable {
    public var machine: Machine
    /// When the run began, as "2026-01-31 12:00 UTC".
    public var date: String
    /// Names and versions of the programs that were measured alongside.
    public var peers: [String] = []
    /// What a reader has to know before trusting the numbers.
    public var notes: [String] = []
    public var sections: [Section] = []

    public init(machine: Machine = Machine(), date: Date = Date()) {
        self.machine = machine
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "UTC")
        formatter.dateFormat = "yyyy-MM-dd HH:mm 'UTC'"
        self.date = formatter.string(from: date)
    }

    /// Bars that were met, that were missed, and that a missing measurement left open.
    public var bars: (met: Int, missed: [(section: Section, row: Row, bar: Bar)], open: Int) {
        var met = 0
        var open = 0
        var missed: [(section: Section, row: Row, bar: Bar)] = []
        for section in sections {
            for row in section.rows {
                for bar in row.bars {
                    switch bar.isMet(by: row) {
                    case true?: met += 1
                    case false?: missed.append((section, row, bar))
                    case nil: open += 1
                    }
                }
            }
        }
        return (met, missed, open)
    }

    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return try encoder.encode(self)
    }

    public init(json: Data) throws { self = try JSONDecoder().decode(Report.self, from: json) }

    /// One line about the machine and one about each peer.
    var headLines: [String] {
        let m = machine
        let cache = Format.significant(Double(m.cacheBytes) / Double(1 << 20))
        return [
            "\(m.processor), \(m.threads) threads, largest cache \(cache) MiB, \(m.system)",
            "kernels: \(m.kernelLevel); dense library: \(m.denseLibrary)",
        ] + peers
    }
}
