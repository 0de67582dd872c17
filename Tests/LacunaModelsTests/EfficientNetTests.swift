import Foundation
import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaModels

/// EfficientNet-Lite0, if `lacuna data efficientnet-lite0` has put it into the cache.
enum TrainedLite0 {
    static let path: String? = {
        guard let entry = try? Catalogue.entry(named: "efficientnet-lite0"), let cache = try? DataCache() else {
            return nil
        }
        return cache.contains(entry) ? cache.path(of: entry) : nil
    }()

    static let skipReason: Comment =
        "EfficientNet-Lite0 is not in the cache: `lacuna data efficientnet-lite0` fetches it"
}

/// EfficientNet-Lite against PyTorch, which keeps batch normalisations apart (`Scripts/fixtures_vision.py`).
@Suite struct EfficientNetTests {
    private static let folder = Fixture.directory + "/efficientnet"

    private static func expected() throws -> JSONFields { try JSONFields(contentsOf: folder + "/expected.json") }

    private static func small() throws -> MobileNetwork {
        let stages = try expected().array("stages").map { entry in
            let n = (entry.arrayValue ?? []).compactMap(\.intValue)
            return EfficientNetLite.Stage(count: n[0], kernel: n[1], step: n[2], expansion: n[3], outputs: n[4])
        }
        return try EfficientNetLite.load(folder + "/small.pth", stages: stages)
    }

    /// The picture that the script made, too.
    private static func waves(_ height: Int, _ width: Int) -> Tensor<Float> {
        var image = Tensor<Float>(zeros: [3, height, width])
        for c in 0..<3 {
            for y in 0..<height {
                for x in 0..<width {
                    let (a, b) = (Double(x), Double(y))
                    image[c, y, x] = Float(
                        sin(0.11 * a + 0.07 * b + Double(c)) + 0.5 * cos(0.05 * a * Double(c + 1) - 0.13 * b))
                }
            }
        }
        return image
    }

    private func near(_ a: [Float], _ b: [Float], _ tolerance: Float = 1e-4) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= tolerance * (1 + abs($1)) }
    }

    @Test func saysWhatPyTorchSays() throws {
        let network = try Self.small()
        let expected = try Self.expected().array("small").compactMap(\.doubleValue).map { Float($0) }
        for engine in [MobileNetRunner.Engine.dense, .sparse(group: 1), .sparse(group: 4)] {
            let found = try MobileNetRunner(network, engine: engine, size: (33, 30))(Self.waves(33, 30))
            #expect(near(found, expected), "\(engine): \(found) \(expected)")
        }
        let sums = network.layers.filter { $0.added != nil }.map(\.name)
        #expect(sums == [0, 2, 3, 5].map { "_blocks.\($0)._project_conv" })
    }

    @Test(.enabled(if: TrainedLite0.path != nil, TrainedLite0.skipReason))
    func theTrainedNetworkSaysWhatPyTorchSays() throws {
        let network = try EfficientNetLite.load(#require(TrainedLite0.path))
        let expected = try Self.expected().array("lite0").compactMap(\.doubleValue).map { Float($0) }
        let found = try MobileNetRunner(network, engine: .dense)(Self.waves(224, 224))
        #expect(near(Array(found.prefix(expected.count)), expected, 1e-3))
        #expect(network.pointwise.count == 32 && found.count == 1000)
    }

    @Test func otherFilesAreRefused() throws {
        let path = Self.folder + "/small.pth"
        #expect(throws: LacunaError.self) { try EfficientNetLite.load(path) }
        let stages = [
            EfficientNetLite.Stage(count: 1, kernel: 3, step: 1, expansion: 1, outputs: 6),
            EfficientNetLite.Stage(count: 3, kernel: 5, step: 2, expansion: 2, outputs: 8),
        ]
        // What is left over is named.
        #expect {
            let last = EfficientNetLite.Stage(count: 1, kernel: 3, step: 1, expansion: 3, outputs: 12)
            return try EfficientNetLite.load(path, stages: stages + [last])
        } throws: {
            "\($0)".contains("_blocks.5")
        }
    }

    /// On the tape: the same numbers, and gradients that say how the loss changes.
    @Test func learnsWhatItRuns() throws {
        let network = try Self.small()
        let image = Self.waves(33, 30)
        let model = TrainableMobileNetwork(network)
        let tape = Tape<Float>()
        let batch = Tensor(image.scalars + image.scalars.map { -$0 }, shape: [2, 3, 33, 30])
        let logits = tape.evaluating { model(tape.constant(batch)).value }
        let runner = try MobileNetRunner(network, engine: .dense, size: (33, 30))
        #expect(near(Array(logits.scalars.prefix(7)), runner(image)))
        #expect(near(Array(logits.scalars.suffix(7)), runner(image.map { -$0 })))
        #expect(near(try MobileNetRunner(model.network, engine: .dense, size: (33, 30))(image), runner(image)))
        #expect(model.namedParameters.map(\.name).contains("_blocks.1._expand_conv.weight"))

        tape.isTraining = true
        model.clearGradients()
        tape.backward(from: model(tape.constant(batch)).map(.square).sum())
        for name in ["_conv_stem", "_blocks.1._depthwise_conv", "_blocks.3._project_conv", "_conv_head"] {
            let parameter = try #require(model.namedParameters.first { $0.name == name + ".weight" }?.parameter)
            let gradient = try #require(parameter.gradient)
            let direction = gradient.scalars
            func loss(_ shift: Float) -> Double {
                let before = parameter.value
                var moved = before
                moved.withMutablePointer { p in for i in direction.indices { p[i] += shift * direction[i] } }
                parameter.value = moved
                defer { parameter.value = before }
                return tape.evaluating {
                    Double(model(tape.constant(batch)).value.scalars.reduce(0) { $0 + Double($1) * Double($1) })
                }
            }
            let square = gradient.scalars.reduce(0.0) { $0 + Double($1) * Double($1) }
            let step = Float(1e-2 / max(square.squareRoot(), 1e-9)) * 0.1
            let slope = (loss(step) - loss(-step)) / Double(2 * step)
            // Steps cross the corners of ReLU6.
            #expect(abs(slope / square - 1) < 0.1, "\(name): \(slope) for \(square)")
        }
    }

    @Test func zerosStayZeros() throws {
        var network = try Self.small()
        let place = network.pointwise[2]
        network.layers[place].weight[0, 0] = 0
        let model = TrainableMobileNetwork(network)
        let tape = Tape<Float>()
        tape.isTraining = true
        model.clearGradients()
        tape.backward(from: model(tape.constant(Self.waves(33, 30).reshaped([1, 3, 33, 30]))).sum())
        Adam(learningRate: 0.1).step(model.parameters)
        let after = model.network.layers[place].weight
        #expect(after[0, 0] == 0 && after[0, 1] != network.layers[place].weight[0, 1])
        #expect(model.network.pointwiseSparsity > 0)
    }

    /// Channels in another order, undone by everything that reads them: through depthwise layers and sums.
    @Test func rearrangedNetworksSayTheSame() throws {
        let network = try Self.small()
        var generator = SeededGenerator(seed: 5)
        let groups = network.channelGroups
        // Blocks 1, 2 and 3 are joined by sums.
        let names = (1...3).map { "_blocks.\($0)._project_conv" }
        let joined = network.layers.indices.filter { names.contains(network.layers[$0].name) }
        #expect(joined.count == 3 && Set(joined.map { groups[$0] }).count == 1)
        var orders: [Int: [Int]] = [:]
        for group in Set(groups) {
            orders[group] = Array(0..<network.layers[group].outputs).shuffled(using: &generator)
        }
        let image = Self.waves(33, 30)
        func outputs(_ network: MobileNetwork) throws -> [Float] {
            try MobileNetRunner(network, engine: .dense, size: (33, 30))(image)
        }
        let expected = try outputs(network)
        #expect(near(try outputs(network.rearranged(orders)), expected, 1e-3))
        var wrong = network.rearranged(orders)
        wrong.classifier = network.classifier
        #expect(!near(try outputs(wrong), expected, 1e-3))
        // Orders that were searched for keep more in groups.
        let search = ChannelRearrangement(group: 2, sparsity: 0.5, swaps: 2000)
        let found = try network.orders(search, using: &generator)
        let better = network.rearranged(found)
        #expect(near(try outputs(better), expected, 1e-3))
        func kept(_ network: MobileNetwork) -> Double {
            network.pointwise.reduce(0) { sum, place in
                let scores = network.layers[place].weight.map { abs($0) }
                return sum + search.keptShare(scores, order: Array(0..<scores.rows))
            }
        }
        #expect(kept(better) > kept(network))
    }

    @Test func inputsArePixels() throws {
        let network = try Self.small()
        let image = Self.waves(33, 30)
        let inputs = try network.pointwiseInputs([image, image])
        #expect(Set(inputs.keys) == Set(network.pointwise))
        let place = network.pointwise[1]
        // Half of 33 × 30, rounded up.
        #expect(inputs[place]?.tokens == 2 * 17 * 15 && inputs[place]?.columns == network.layers[place].inputs)
        var seen: Tensor<Float>?
        let runner = try MobileNetRunner(network, engine: .dense, size: (33, 30))
        _ = runner(image) { if $0 == place { seen = $1.tensor } }
        let tensor = try #require(seen)
        let means = inputs[place]?.means ?? []
        for c in 0..<tensor.shape[0] {
            let values = tensor.scalars[c * 255..<(c + 1) * 255]
            #expect(abs(values.reduce(0, +) / 255 - means[c]) < 1e-3)
        }
        #expect(throws: LacunaError.self) { try network.pointwiseInputs([]) }
        #expect(throws: LacunaError.self) { try network.pointwiseInputs([image, Self.waves(30, 33)]) }
        #expect(throws: LacunaError.self) { try network.pointwiseInputs([Tensor(zeros: [33, 30])]) }
    }

    /// What a depthwise layer or a sum has in common with the image keeps the image's order.
    @Test func channelsOfTheImageStay() throws {
        var generator = SeededGenerator(seed: 2)
        let filter = Tensor<Float>(normal: [3, 1, 3, 3], using: &generator)
        let wide = Tensor<Float>(normal: [8, 3], using: &generator)
        let back = Tensor<Float>(normal: [3, 8], using: &generator)
        let classifier = Tensor<Float>(normal: [2, 3], using: &generator)
        let (few, many) = ([Float](repeating: 0.1, count: 3), [Float](repeating: 0.1, count: 8))
        let layers = [
            MobileNetwork.Layer("own", .depthwise, weight: filter, bias: few),
            MobileNetwork.Layer("wide", .pointwise, weight: wide, bias: many),
            MobileNetwork.Layer("back", .pointwise, weight: back, bias: few, added: 0),
        ]
        let network = try MobileNetwork(
            layers: layers, classifier: classifier, classifierBias: [0, 0], border: .centred)
        #expect(network.channelGroups == [-1, 1, -1])
        let search = ChannelRearrangement(group: 2, sparsity: 0.5, swaps: 50)
        let orders = try network.orders(search, using: &generator)
        #expect(Set(orders.keys) == [1])
        let image = Self.waves(5, 4)
        let before = try MobileNetRunner(network, engine: .dense, size: (5, 4))(image)
        let after = try MobileNetRunner(network.rearranged(orders), engine: .dense, size: (5, 4))(image)
        #expect(near(after, before))
    }

    @Test func badNetworksAreRefused() throws {
        let network = try Self.small()
        func refused(_ change: (inout [MobileNetwork.Layer]) -> Void) {
            var layers = network.layers
            change(&layers)
            #expect(throws: LacunaError.self) {
                try MobileNetwork(
                    layers: layers, classifier: network.classifier, classifierBias: network.classifierBias,
                    border: .fitted)
            }
        }
        refused { $0.removeAll() }
        refused { $0.remove(at: 1) }
        refused { $0[0].bias.removeLast() }
        refused { $0[2].step = 2 }
        refused { $0[6].added = 0 }
        refused { $0[6].added = 40 }
        #expect(throws: LacunaError.self) { try MobileNetRunner(network, engine: .sparse(group: 3), size: (8, 8)) }
        #expect(throws: LacunaError.self) { try MobileNetRunner(network, engine: .dense, size: (0, 8)) }
        #expect(throws: LacunaError.self) { try MobileNetRunner(network, engine: .dense, size: (1 << 40, 1 << 40)) }
        var changed = network
        changed.layers[1].bias.removeLast()
        #expect(throws: LacunaError.self) { try MobileNetRunner(changed, engine: .dense, size: (8, 8)) }
    }
}
