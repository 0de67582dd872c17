import LacunaTensor

/// The objects that callers hold. A handle is a number that was never given out before, not an address: one that was released,
/// or belongs to another kind of object, is found out instead of followed.
enum Objects {
    private struct Held {
        var next: UInt = 0x1000
        var objects: [UInt: AnyObject] = [:]
    }

    private static let held = Locked(Held())

    static var count: Int { held.withLock { $0.objects.count } }

    static func add(_ object: AnyObject) -> OpaquePointer? {
        held.withLock {
            // Aligned as addresses are, for languages that look.
            $0.next += 16
            $0.objects[$0.next] = object
            return OpaquePointer(bitPattern: $0.next)
        }
    }

    static func get<Kind: AnyObject>(_ handle: OpaquePointer?, _ kind: Kind.Type, _ argument: String) throws -> Kind {
        guard let handle else { throw refused(argument, "is NULL") }
        guard let object = held.withLock({ $0.objects[UInt(bitPattern: handle)] }) else {
            throw refused(argument, "is no object, or one that was released")
        }
        guard let object = object as? Kind else { throw refused(argument, "is an object of another kind") }
        return object
    }

    static func release(_ handle: OpaquePointer?) throws {
        guard let handle else { return }
        // The object ends outside the lock.
        guard let object = held.withLock({ $0.objects.removeValue(forKey: UInt(bitPattern: handle)) }) else {
            throw refused("object", "is no object, or one that was released")
        }
        withExtendedLifetime(object) {}
    }
}

/// Writes a new object where the caller wants it.
func give(_ object: AnyObject, _ place: UnsafeMutablePointer<OpaquePointer?>?, _ argument: String) throws {
    guard let place else { throw refused(argument, "is NULL") }
    place.pointee = Objects.add(object)
}

/// Numbers that were computed, until the caller has read them.
final class NumberArray: @unchecked Sendable {
    let type: Int32
    let count: Int
    let data: UnsafeRawPointer
    private let owner: AnyObject

    private init<Element>(_ type: Int32, _ buffer: Buffer<Element>) {
        (self.type, count, owner) = (type, buffer.count, buffer)
        data = UnsafeRawPointer(buffer.pointer)
    }

    convenience init(_ numbers: some Collection<Double>) { self.init(1, Buffer(numbers)) }
    convenience init(_ numbers: some Collection<Float>) { self.init(0, Buffer(numbers)) }
    convenience init(_ numbers: some Collection<Int>) { self.init(2, Buffer(numbers)) }
}
