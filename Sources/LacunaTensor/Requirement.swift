/// Ends the program with `message` unless `condition` holds.
///
/// For mistakes of the caller, as `precondition` is. That one drops its message in optimised builds, where users meet it;
/// this one says its sentence there too.
@inlinable @inline(__always)
package func require(
    _ condition: @autoclosure () -> Bool,
    _ message: @autoclosure () -> String = "what this function asks of its arguments does not hold",
    file: StaticString = #fileID, line: UInt = #line
) {
    if !condition() { fatalError(message(), file: file, line: line) }
}
