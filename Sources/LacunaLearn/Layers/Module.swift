import LacunaTensor

/// A part of a network that has parameters, directly or in its own parts.
///
/// Parts are found by reflection: every stored property that is a ``Parameter``, a module, an array or an optional of
/// these counts, under the property's name. A model is therefore just a class with layers as properties:
///
/// ```swift
/// final class Classifier: Module {
///     let hidden, output: Linear
///     init(using generator: inout SeededGenerator) {
///         hidden = Linear(inputDimensions: 784, outputDimensions: 512, using: &generator)
///         output = Linear(inputDimensions: 512, outputDimensions: 10, using: &generator)
///     }
///     func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { output(hidden(x).relu()) }
/// }
/// ```
public protocol Module: AnyObject {
    /// The parts and their names, in order. The default finds them by reflection. An empty name stands for the module
    /// itself in the names of parameters.
    var parts: [(name: String, part: Any)] { get }
    /// The linear layer whose output is the module's, a classifier or a head, which methods may want to leave as it is.
    /// The default is the last one; nil if the output comes from something else, such as a tied embedding table.
    var outputLayer: Linear? { get }
}

/// A module whose state is more than its parameters' values, such as the positions of a sparse weight.
public protocol StatefulModule: Module {
    /// Whole numbers to save, by name.
    var integerState: [(name: String, values: [Int32])] { get }
    /// Takes back what ``integerState`` gave, before the parameters are restored.
    ///
    /// - Throws: `LacunaError.malformed` naming `file` if the numbers cannot be this module's.
    func restore(integerState: [String: [Int32]], file: String) throws
}

/// A module with one input and one output.
public protocol UnaryLayer: Module {
    /// The output for an input; what shapes there are, the layer says.
    func callAsFunction(_ x: Variable<Float>) -> Variable<Float>
}

extension Module {
    public var parts: [(name: String, part: Any)] {
        var result: [(String, Any)] = []
        var mirror: Mirror? = Mirror(reflecting: self)
        while let current = mirror {
            result = current.children.map { (Self.plain($0.label ?? ""), $0.value) } + result
            mirror = current.superclassMirror
        }
        return result
    }

    /// Lazy properties are stored under another name.
    private static func plain(_ label: String) -> String {
        label.hasPrefix("$__lazy_storage_$_") ? String(label.dropFirst(18)) : label
    }

    /// Calls `body` for this module and all modules inside, each with its path, such as `blocks.0.attention`.
    public func forEachModule(_ body: (_ path: String, _ module: any Module) throws -> Void) rethrows {
        try walk("", parameter: { _, _ in }, module: body)
    }

    fileprivate func walk(
        _ path: String, parameter: (String, Parameter<Float>) throws -> Void,
        module: (String, any Module) throws -> Void
    ) rethrows {
        try module(path, self)
        for (name, part) in parts {
            try Self.walk(joined(path, name), part, parameter: parameter, module: module)
        }
    }

    private static func walk(
        _ path: String, _ part: Any, parameter: (String, Parameter<Float>) throws -> Void,
        module: (String, any Module) throws -> Void
    ) rethrows {
        if let found = part as? Parameter<Float> {
            try parameter(path, found)
        } else if let found = part as? any Module {
            try found.walk(path, parameter: parameter, module: module)
        } else {
            let mirror = Mirror(reflecting: part)
            switch mirror.displayStyle {
            case .optional:
                if let child = mirror.children.first {
                    try walk(path, child.value, parameter: parameter, module: module)
                }
            case .collection:
                for (index, child) in mirror.children.enumerated() {
                    // Arrays of numbers, such as labels, need not be walked to their end.
                    if index == 0, !(child.value is Parameter<Float>), !(child.value is any Module) { break }
                    try walk(joined(path, String(index)), child.value, parameter: parameter, module: module)
                }
            default: break
            }
        }
    }

    /// All parameters by path, in order; a parameter that is used in two places appears once, under its first path.
    public var namedParameters: [(name: String, parameter: Parameter<Float>)] {
        var result: [(String, Parameter<Float>)] = []
        var seen = Set<ObjectIdentifier>()
        walk(
            "",
            parameter: { name, parameter in
                if seen.insert(ObjectIdentifier(parameter)).inserted { result.append((name, parameter)) }
            }, module: { _, _ in })
        return result
    }

    /// All parameters, each once, in the order of their names.
    public var parameters: [Parameter<Float>] { namedParameters.map(\.parameter) }
    /// Those of ``parameters`` that gradients and optimisers change.
    public var trainableParameters: [Parameter<Float>] { parameters.filter(\.isTrainable) }

    /// Number of trained values. Of masked weights only those that may be other than 0 count.
    public var parameterCount: Int { trainableParameters.reduce(0) { $0 + $1.activeCount } }

    /// Makes the next gradients replace the present ones.
    public func clearGradients() { for parameter in parameters { parameter.clearGradient() } }

    /// All linear layers with their paths, in order.
    public var linears: [(name: String, layer: Linear)] {
        var result: [(String, Linear)] = []
        forEachModule { path, module in if let layer = module as? Linear { result.append((path, layer)) } }
        return result
    }

    public var outputLayer: Linear? { linears.last?.layer }

    /// Replaces the weights of the linear layers whose path matches, by a frozen or updated one for instance.
    ///
    /// - Parameter replacement: Given a layer's path and weight, a weight of the same shape.
    /// - Throws: `LacunaError.invalidArgument` if no layer's path matches, and what `replacement` throws.
    public func replaceWeights(
        matching pattern: NamePattern,
        _ replacement: (_ name: String, _ weight: any TrainableWeight) throws -> any TrainableWeight
    ) throws {
        let chosen = linears.filter { pattern.matches($0.name) }
        if chosen.isEmpty {
            throw LacunaError.invalidArgument("layers", reason: "'\(pattern)' matches no linear layer")
        }
        for (name, layer) in chosen { layer.weight = try replacement(name, layer.weight) }
    }
}

private func joined(_ path: String, _ name: String) -> String {
    path.isEmpty ? name : name.isEmpty ? path : "\(path).\(name)"
}

/// Layers one after the other.
public final class Sequential: UnaryLayer {
    /// In the order in which they are applied.
    public let layers: [any UnaryLayer]
    /// Layers in the order in which they are applied.
    public init(_ layers: [any UnaryLayer]) { self.layers = layers }
    /// None.
    public var parts: [(name: String, part: Any)] { layers.enumerated().map { (String($0), $1) } }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { layers.reduce(x) { $1($0) } }
}

/// A function without parameters as a layer.
public final class Lambda: UnaryLayer {
    private let function: (Variable<Float>) -> Variable<Float>
    /// A layer that applies `function`.
    public init(_ function: @escaping (Variable<Float>) -> Variable<Float>) { self.function = function }
    /// A layer that applies a function to every entry.
    public init(_ activation: Activation) { function = { $0.map(activation) } }
    public var parts: [(name: String, part: Any)] { [] }
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { function(x) }
}
