import LacunaInfer

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

extension ServingClock {
    /// The local time, for templates that write the date; nil if the system does not tell.
    static var chatClock: ChatClock? {
        var (now, moment) = (time(nil), tm())
        guard localtime_r(&now, &moment) != nil else { return nil }
        return ChatClock(
            year: Int(moment.tm_year) + 1900, month: Int(moment.tm_mon) + 1, day: Int(moment.tm_mday),
            hour: Int(moment.tm_hour), minute: Int(moment.tm_min), second: Int(moment.tm_sec))
    }
}
