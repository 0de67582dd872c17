import LacunaIO
import LacunaRetrieve
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The description of the interface against what the server does.
struct DescriptionTests {
    private static let server = String(#filePath.dropLast("Tests/LacunaServingTests/DescriptionTests.swift".count))
    private static let encoder =
        server + "../Tests/LacunaRetrieveTests/Fixtures/inference-free/document_0_MLMTransformer"

    private static func members(_ value: JSONValue?) -> [(key: String, value: JSONValue)] {
        (value?.objectValue?.members ?? []).map { ($0.key, $0.value) }
    }

    private static func names(_ value: JSONValue?) -> Set<String> { Set(members(value).map(\.key)) }

    /// The files of the package are what is served. `LACUNA_DESCRIBE=1` writes them.
    @Test func files() async throws {
        let library = try DescribedIndex()
        let services: [(String, any WebService)] = [
            ("openapi.json", try TinyModel().service(apiKey: "secret")),
            ("openapi-search.json", try SearchService(library.path, apiKey: "secret")),
        ]
        for (name, service) in services {
            // Whoever has no key may know what there is.
            let served = try await service.get("/openapi.json").text
            #expect((try? JSONValue(parsing: served)) != nil, "\(name) is no JSON")
            if getenv("LACUNA_DESCRIBE") != nil { try AtomicFile.write(served, to: Self.server + name) }
            #expect(try FileSystem.readText(Self.server + name) == served, "\(name): LACUNA_DESCRIBE=1 writes it")
        }
    }

    /// Every path that is answered is described, and every one that is described is answered, by the method that it says.
    @Test func paths() async throws {
        let library = try DescribedIndex()
        let checks: [(any WebService, Set<String>)] = [
            (try TinyModel().service(), Set(Service.routes.map(\.path)).union(["/v1/models/{name}"])),
            (try SearchService(library.path), Set(SearchService.routes.map(\.path))),
        ]
        for (service, answered) in checks {
            let document = try await service.get("/openapi.json").json
            #expect(Self.names(document["paths"]) == answered)
            for (path, operations) in Self.members(document["paths"]) {
                let place = path == "/v1/models/{name}" ? "/v1/models/tiny" : path
                for method in ["GET", "POST", "PUT", "DELETE"] {
                    let found = try await service.outcome(ServiceRequest(method, place, body: Array("{}".utf8)))
                    let isThere = operations[method.lowercased()] != nil
                    #expect((found.status == 405) != isThere, "\(method) \(path): \(found.status)")
                    guard isThere else { continue }
                    let statuses = Self.names(operations[method.lowercased()]!["responses"])
                    #expect(statuses.contains("\(found.status)"), "\(method) \(path): \(found.status)")
                }
            }
        }
    }

    /// What `/health` says is what the description has it say, of either service.
    @Test func health() async throws {
        let library = try DescribedIndex()
        let services: [any WebService] = [try TinyModel().service(), try SearchService(library.path)]
        for service in services {
            let schema = try await service.get("/openapi.json").json["components"]?["schemas"]?["Health"]
            let found = try await service.get("/health").json
            #expect(Self.names(found) == Self.names(schema?["properties"]))
            #expect(Self.names(found) == Set((schema?["required"]?.arrayValue ?? []).compactMap(\.stringValue)))
            let statuses = schema?["properties"]?["status"]?["enum"]?.arrayValue ?? []
            #expect(statuses.contains(found["status"] ?? .null))
        }
    }

    /// Every member that is read is described, and every one that is described is read or refused as it says.
    @Test func members() throws {
        let texts: [(String, RequestMembers)] = [
            ("CompletionRequest", .completion), ("ChatRequest", .chat), ("StreamOptions", .streamOptions),
            ("Message", .message), ("TextPart", .textPart), ("ToolCall", .toolCall),
            ("CalledFunction", .calledFunction), ("TextFormat", .plainFormat), ("ObjectFormat", .plainFormat),
            ("SchemaFormat", .schemaFormat), ("NamedSchema", .namedSchema), ("Tool", .tool), ("Function", .function),
            ("ToolChoice", .toolChoice), ("ChosenFunction", .chosenFunction), ("EmbeddingRequest", .embedding),
            ("TextTokens", .textTokens), ("ChatTokens", .chatTokens), ("DetokenizeRequest", .detokenization),
        ]
        for (document, schemas) in [
            (InterfaceDescription.texts, texts), (InterfaceDescription.search, [("SearchRequest", .search)]),
        ] {
            let described = try JSONValue(parsing: document.body)["components"]?["schemas"]
            for (name, expected) in schemas {
                let properties = Self.members(described?[name]?["properties"])
                let refused = Set(properties.filter { $0.value["type"] == "null" }.map(\.key))
                #expect(Set(properties.map(\.key)).subtracting(refused) == expected.known, "\(name)")
                #expect(refused == expected.unsupported, "\(name)")
                #expect(described?[name]?["additionalProperties"] == false, "\(name)")
            }
            // No object of a request is left out: those that allow no other members are these.
            let closed = Self.members(described).filter { $0.value["additionalProperties"] == false }.map(\.key)
            #expect(Set(closed) == Set(schemas.map(\.0)))
        }
    }

    /// A member of another type than it says is refused by its name: none is read by nobody.
    @Test func everyMemberIsRead() async throws {
        let library = try DescribedIndex()
        let texts = try Service(
            ServedModel(TinyModel(template: TinyModel.toolTemplate).model),
            scheduling: .init(slots: 4, queue: 64, context: 256, promptRows: 16),
            embedder: ServedEmbedder(try DenseEncoder.load(Self.encoder), name: "tiny"))
        let call: JSONValue = ["function": ["name": "f", "arguments": "{}"]]
        let message: JSONValue = ["role": "user", "content": "a"]
        let tool: JSONValue = ["type": "function", "function": ["name": "f"]]
        let format: JSONValue = [
            "type": "json_schema", "json_schema": ["name": "a", "schema": ["type": "object"]],
        ]
        /// A request that is answered, where in it the object of a schema stands, and how that place is called.
        let bodies: [(schema: String, path: String, body: JSONValue, place: [String], name: String)] = [
            ("CompletionRequest", "/v1/completions", ["prompt": "a", "max_tokens": 1, "stream": true], [], ""),
            ("ChatRequest", "/v1/chat/completions", ["messages": [message], "max_tokens": 1], [], ""),
            (
                "StreamOptions", "/v1/completions",
                ["prompt": "a", "max_tokens": 1, "stream": true, "stream_options": [:]], ["stream_options"],
                "stream_options"
            ),
            (
                "Message", "/v1/chat/completions", ["messages": [message], "max_tokens": 1], ["messages", "0"],
                "messages[0]"
            ),
            (
                "TextPart", "/v1/chat/completions",
                ["messages": [["role": "user", "content": [["type": "text", "text": "a"]]]], "max_tokens": 1],
                ["messages", "0", "content", "0"], "messages[0].content[0]"
            ),
            (
                "ToolCall", "/v1/chat/completions",
                ["messages": [["role": "assistant", "tool_calls": [call]]], "max_tokens": 1],
                ["messages", "0", "tool_calls", "0"], "messages[0].tool_calls[0]"
            ),
            (
                "CalledFunction", "/v1/chat/completions",
                ["messages": [["role": "assistant", "tool_calls": [call]]], "max_tokens": 1],
                ["messages", "0", "tool_calls", "0", "function"], "messages[0].tool_calls[0].function"
            ),
            (
                "SchemaFormat", "/v1/chat/completions",
                ["messages": [message], "max_tokens": 1, "response_format": format], ["response_format"],
                "response_format"
            ),
            (
                "NamedSchema", "/v1/chat/completions",
                ["messages": [message], "max_tokens": 1, "response_format": format],
                ["response_format", "json_schema"], "response_format.json_schema"
            ),
            (
                "Tool", "/v1/chat/completions", ["messages": [message], "max_tokens": 1, "tools": [tool]],
                ["tools", "0"], "tools[0]"
            ),
            (
                "Function", "/v1/chat/completions", ["messages": [message], "max_tokens": 1, "tools": [tool]],
                ["tools", "0", "function"], "tools[0].function"
            ),
            (
                "ToolChoice", "/v1/chat/completions",
                [
                    "messages": [message], "max_tokens": 1, "tools": [tool],
                    "tool_choice": ["type": "function", "function": ["name": "f"]],
                ], ["tool_choice"], "tool_choice"
            ),
            (
                "ChosenFunction", "/v1/chat/completions",
                [
                    "messages": [message], "max_tokens": 1, "tools": [tool],
                    "tool_choice": ["type": "function", "function": ["name": "f"]],
                ], ["tool_choice", "function"], "tool_choice.function"
            ),
            ("EmbeddingRequest", "/v1/embeddings", ["input": "flow"], [], ""),
            ("TextTokens", "/tokenize", ["prompt": "a"], [], ""),
            ("ChatTokens", "/tokenize", ["messages": [message]], [], ""),
            ("DetokenizeRequest", "/detokenize", ["tokens": [1]], [], ""),
        ]
        let described = try JSONValue(parsing: InterfaceDescription.texts.body)["components"]!["schemas"]!
        var looked = 0
        for (schema, path, body, place, location) in bodies {
            let plain = try await texts.post(path, body)
            #expect(plain.status == 200, "\(schema): \(plain.text)")
            for (name, property) in Self.members(described[schema]?["properties"]) {
                // What the schema of nothing in the description is.
                for wrong in [["lacuna": [[]]], [[[:]]]] as [JSONValue] {
                    let types = property["type"]?.arrayValue ?? [property["type"] ?? .null]
                    // What takes any object, or any array, takes these.
                    if types.contains("object") && wrong.objectValue != nil && property["properties"] == nil
                        && name != "logit_bias"
                    {
                        continue
                    }
                    let found = try await texts.post(path, Self.replaced(body, place + [name], wrong))
                    let parameter = found.errorParameter ?? ""
                    let full = location.isEmpty ? name : "\(location).\(name)"
                    #expect(
                        found.status == 400 || name == "model" && found.status == 404,
                        "\(schema).\(name): \(found.text)")
                    #expect(
                        parameter.hasPrefix(full) || full.hasPrefix(parameter) && !parameter.isEmpty,
                        "\(schema).\(name): \(found.text)")
                    looked += 1
                }
            }
        }
        #expect(looked > 150)
        let search = try SearchService(library.path)
        let index = try JSONValue(parsing: InterfaceDescription.search.body)["components"]!["schemas"]!
        for (name, _) in Self.members(index["SearchRequest"]?["properties"]) {
            let found = try await search.post("/search", Self.replaced(["vector": ["x": 1]], [name], [[]]))
            #expect(found.status == 400 && found.errorParameter == name, "\(name): \(found.text)")
        }
    }

    /// A value with another one at a place.
    private static func replaced(_ value: JSONValue, _ place: [String], _ other: JSONValue) -> JSONValue {
        guard let first = place.first else { return other }
        let rest = Array(place.dropFirst())
        if var list = value.arrayValue, let index = Int(first) {
            list[index] = replaced(list[index], rest, other)
            return .array(list)
        }
        guard case .object(var object) = value else { return other }
        object[first] = replaced(object[first] ?? .null, rest, other)
        return .object(object)
    }

    /// A text that an encoder would cut off is refused.
    @Test func longTextsAreNotCutOff() async throws {
        let encoder = try DenseEncoder.load(Self.encoder)
        let service = Service(ServedEmbedder(encoder, name: "tiny"))
        let most = encoder.input.maximumLength
        let short = String(repeating: "a ", count: most - encoder.input.length(of: ""))
        let found = try await service.post("/v1/embeddings", ["input": [.string(short), "a"]])
        #expect(found.status == 200 && found.json["usage"]?["prompt_tokens"]?.intValue ?? 0 > most, "\(found.text)")
        let long = try await service.post("/v1/embeddings", ["input": .string(short + "a")])
        #expect(long.status == 400 && long.errorCode == "context_length_exceeded" && long.errorParameter == "input")
        let packed = try await service.post("/v1/embeddings", ["input": "a", "encoding_format": "base64"])
        #expect(packed.json["data"]?[0]["embedding"]?.stringValue?.isEmpty == false)
    }
}

/// An index of one vector.
private final class DescribedIndex {
    let path = "/tmp/lacuna-described-\(String(UInt64.random(in: 0 ... .max), radix: 36))"

    init() throws {
        let writer = try IndexWriter(creating: path)
        try writer.add(IndexedDocument(id: "v", weights: [("x", 2)]))
        try writer.commit()
    }

    deinit { try? FileSystem.remove(path) }
}
