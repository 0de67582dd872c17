import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

// The functions of lacuna.h, which documents them. `Scripts/check-abi.py` compares the two.

/// See lacuna.h.
@_cdecl("lacuna_abi_version")
public func lacunaAbiVersion() -> Int32 { 1 }

/// See lacuna.h.
@_cdecl("lacuna_error_message")
public func lacunaErrorMessage() -> UnsafePointer<CChar>? {
    if LastError.text == nil { LastError.set("") }
    return LastError.text
}

/// See lacuna.h.
@_cdecl("lacuna_release")
public func lacunaRelease(_ object: UnsafeMutableRawPointer?) -> Int32 {
    guarded { try Objects.release(object.map { OpaquePointer($0) }) }
}

/// See lacuna.h.
@_cdecl("lacuna_object_count")
public func lacunaObjectCount() -> Int64 { Int64(Objects.count) }

/// See lacuna.h.
@_cdecl("lacuna_threads")
public func lacunaThreads() -> Int32 { Int32(clamping: Parallel.threads) }

/// See lacuna.h.
@_cdecl("lacuna_set_threads")
public func lacunaSetThreads(_ threads: Int32) -> Int32 {
    guarded {
        guard threads >= 1 else { throw refused("threads", "are \(threads); at least 1 is needed") }
        Parallel.threads = Int(threads)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_array_view")
public func lacunaArrayView(
    _ array: OpaquePointer?, _ type: UnsafeMutablePointer<Int32>?, _ count: UnsafeMutablePointer<Int64>?,
    _ data: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> Int32 {
    guarded {
        let array = try Objects.get(array, NumberArray.self, "array")
        type?.pointee = array.type
        count?.pointee = Int64(array.count)
        data?.pointee = array.data
    }
}

/// See lacuna.h.
@_cdecl("lacuna_text_free")
public func lacunaTextFree(_ text: UnsafeMutablePointer<CChar>?) { free(text) }
