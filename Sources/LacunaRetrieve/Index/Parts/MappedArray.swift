import LacunaIO
import LacunaTensor

/// Elements in memory of the program's own, or in a mapped file.
struct MappedArray<Element: BitwiseCopyable>: @unchecked Sendable {
    /// Valid while the array lives.
    let pointer: UnsafePointer<Element>
    let count: Int
    private let owner: AnyObject

    init(_ buffer: Buffer<Element>) {
        (pointer, count, owner) = (UnsafePointer(buffer.pointer), buffer.count, buffer)
    }

    init(_ elements: some Collection<Element>) { self.init(Buffer(elements)) }

    /// Bytes of a mapped file, which must be aligned and fit.
    init(_ bytes: UnsafeRawBufferPointer, in file: MappedFile) {
        require(bytes.count % MemoryLayout<Element>.stride == 0)
        owner = file
        count = bytes.count / MemoryLayout<Element>.stride
        if let base = bytes.baseAddress, count > 0 {
            require(Int(bitPattern: base) % MemoryLayout<Element>.alignment == 0)
            pointer = base.bindMemory(to: Element.self, capacity: count)
        } else {
            // Nothing is ever read here.
            pointer = UnsafePointer(bitPattern: MemoryLayout<Element>.alignment)!
        }
    }

    var byteCount: Int { count * MemoryLayout<Element>.stride }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: pointer, count: byteCount) }
    var elements: UnsafeBufferPointer<Element> { UnsafeBufferPointer(start: pointer, count: count) }

    @inline(__always) subscript(index: Int) -> Element { pointer[index] }
}
